"""Sentences of a calibration."""

from enum import StrEnum


class Finding(StrEnum):
    """Whether posteriors are calibrated, and what stands behind the answer."""

    CALIBRATED = (
        "Calibrated as far as {simulations} can tell: the ranks of none of {n} quantities depart from uniform "
        "(smallest p {p:p}, {name}; {limit:.1g} would be small). Ranks whose distribution function is wrong by less "
        "than {reach:.2f} may still pass."
    )
    NOT_CALIBRATED = (
        "Not calibrated: of {n} quantities, the ranks of {which} depart from uniform in {simulations} (p below "
        "{limit:.1g}; all are that large together with a probability of {together:g} if posteriors are calibrated)."
    )
    DEPARTURE = "{name}: {what} (p {p:p})."
    UNCONVERGED = (
        "{n_bad} of {n} fits warned that they had not converged or stayed in several modes; they count like the others."
    )
    FEW_DRAWS = (
        "In {n_bad} of {n} posteriors fewer than {least} draws were nearly independent; ranks among so few say less."
    )
    INTERRUPTED = "Interrupted: {n_done} of {n} simulations were done and are kept."


class Departure(StrEnum):
    """How ranks depart from uniform."""

    LOW = "posteriors are too low, truths lie above them too often"
    HIGH = "posteriors are too high, truths lie below them too often"
    NARROW = "posteriors are too narrow, truths lie in their tails too often"
    WIDE = "posteriors are too wide, truths lie in their middle too often"
