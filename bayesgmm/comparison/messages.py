"""Sentences of a comparison: findings, reasons for disagreement, notes and convergence, by code."""

from enum import StrEnum

REASONS = {
    "several modes": (
        "the posterior has several modes: a posterior mean lies between them and describes none, and EM describes one"
    ),
    "not mixed": "the chains of the posterior did not mix, so that its means and intervals are provisional",
    "not identified": (
        "the components of the posterior are not identified: the mean of one is an average over different clusters"
    ),
    "several optima": "the fits are different optima of EM, which describe the data differently",
    "boundary": (
        "the estimate is near the boundary of the parameter space (a covariance close to singular, or a component "
        "close to empty), where standard errors mean nothing"
    ),
    "small component": (
        "the component has fewer than {rows:g} rows per parameter: too few for the normal approximation behind "
        "standard errors, and for the influence of the prior to vanish"
    ),
    "skewed posterior": (
        "the posterior is skewed: EM's estimate is near its mode, the mean lies in the longer tail, and a symmetric "
        "interval is too short on that side"
    ),
    "prior": "the prior moves the estimate: EM with this prior gives most of the difference",
    "overlap": (
        "the component shares rows with others, and which rows belong to it is uncertain: EM's estimate takes its own "
        "memberships for granted"
    ),
    "model": "the fits have different covariance families or numbers of components",
    "unexplained": "the likelihood is not quadratic around its maximum, so that sd and intervals differ",
}


class Finding(StrEnum):
    """What two fits agree and disagree about."""

    VERDICT = "Check the convergence first: the verdict on {fit} is {verdict!r}, see `diagnose`."
    NOT_IDENTIFIED = (
        "Components are not identified in {fit}: compare partitions, densities and predictions, and no single "
        "parameter."
    )
    BEST_START_ALONE = "Only a single start of {n_starts} reached the best optimum of {fit}: try more starts."

    NO_PARTNER = "The other fit has no partner for {components} of {fit}."
    FAR_APART = (
        "Matched components are far apart: {a} of {first} and {b} of {second} (divergence {divergence:.1f}), with no "
        "better match."
    )

    NO_STANDARD_ERRORS = "Without standard errors parameters cannot be compared; use the bootstrap."
    AGREE = (
        "The fits agree in all {n} parameters: estimates and both ends of their intervals are within half a unit "
        "({unit})."
    )
    DIFFER = (
        "The fits agree in {n_agreeing} of {n} parameters; {n_flagged} differ by more than half a unit ({unit}): "
        "{differences}."
    )
    REASON = "A reason for disagreement is {name!r} ({n} of {n_flagged} parameters): {reason}."

    SAME_PARTITION = "Both fits put the rows into the same clusters ({measures})."
    OTHER_PARTITION = "The two partitions differ in {changed:g} of {total:g} rows ({share:small share}; {measures})."

    PREDICTED_ALIKE = (
        "Both fits predict rows left out equally well: the log predictive density of {better} is "
        "{difference:criterion} higher (se {se:criterion}; {methods})."
    )
    PREDICTED_BETTER = (
        "Held-out rows are predicted better by {better}: its log predictive density is "
        "{difference:criterion} higher (se {se:criterion}; {methods})."
    )
    FEWER_ROWS = "Refits without a fold use fewer rows, which is a slight disadvantage."
    NO_PREDICTIVE_DENSITY = (
        "No predictive density of {fit}: leave-one-out needs weights that are whole numbers, and draws of the "
        "posterior."
    )

    PAIRS = (
        "Memberships have no common labels; of two rows, the probability of being in one cluster differs by "
        "{difference:probability} in the mean over bins."
    )
    EQUALLY_CERTAIN = (
        "Memberships are equally certain: the most probable component of a row has probability {a:probability} in "
        "{first} and {b:probability} in {second}, on average."
    )
    MORE_CERTAIN = (
        "Memberships are more certain in {surer} than in {other}: the most probable component of a row has probability "
        "{high:probability} on average, against {low:probability}{why}."
    )
    CLASSES = "Against the known classes: {scores}."
    NO_CLASSES = "Memberships cannot be compared with the classes: some components are not identified."


class Note(StrEnum):
    """Failures and warnings of single steps."""

    NO_BOOTSTRAP = "There is no bootstrap of {fit}: {reason}"
    BOOTSTRAP = "A warning of the bootstrap of {fit}: {warning}"
    NO_INFORMATION = "No standard errors of {fit} from the observed information: {reason}"
    INFORMATION = "A warning of the observed information of {fit}: {warning}"
    LOO = "A warning of `loo` of {fit}: {warning}"
    COLLAPSED_REFITS = "Refits collapsed onto a few rows: {n} of those of {fit}."


class Fragment(StrEnum):
    """Parts of sentences."""

    DIFFERENCE = "{label} ({of} {value:+.1f})"
    MEASURES = "adjusted Rand index {ari:probability}, variation of information {vi:.3f} bits"
    PARAMETERS_KNOWN = ", because it treats its parameters as known"
    SCORES = "{fit}: mean confidence {confidence:probability}, accuracy {accuracy:probability}, Brier {brier:.3f}"


class Convergence(StrEnum):
    """How the chains of a posterior converged."""

    R_HAT = "R-hat is at most {r_hat:r_hat} (acceptable up to {limit})"
    NO_R_HAT = "R-hat needs at least four distinct draws (acceptable up to {limit})"
    ESS = "Effective draws: at least {bulk:count} (bulk) and {tail:count} (tail) of {n} (acceptable from {least})"
    DIVERGENCES = "Divergences of the sampler: {n_divergences} of {n} draws"
    VERDICT = "Verdict: {verdict}."
