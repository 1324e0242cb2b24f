"""Sentences of a calibration."""

from enum import StrEnum


class Finding(StrEnum):
    """Whether posteriors are calibrated, and what stands behind the answer."""

    CALIBRATED = (
        "Posteriors are calibrated, as far as {simulations} can tell: the ranks of none of {n} quantities depart from "
        "uniform (smallest p {p:p}, {name}; {limit:.1g} would be small). Ranks whose distribution function is wrong by "
        "less than {reach:.2f} may still pass."
    )
    NOT_CALIBRATED = (
        "Posteriors are not calibrated: of {n} quantities, the ranks of {which} depart from uniform in {simulations} "
        "(p below {limit:.1g}; if posteriors are calibrated, any p is that small with a probability of {together:g})."
    )
    DEPARTURE = "What ranks say of {name}: {what} (p {p:p})."
    UNCONVERGED = "Not converged, or in several modes, were {n_bad} of {n} fits; they count like the others."
    FEW_DRAWS = "Nearly independent draws were fewer than {least} in {n_bad} of {n} posteriors: ranks there say less."
    INTERRUPTED = "Calibration was interrupted after {n_done} of {n} simulations, which are kept."


class Departure(StrEnum):
    """How ranks depart from uniform."""

    LOW = "posteriors are too low, truths lie above them too often"
    HIGH = "posteriors are too high, truths lie below them too often"
    NARROW = "posteriors are too narrow, truths lie in their tails too often"
    WIDE = "posteriors are too wide, truths lie in their middle too often"
