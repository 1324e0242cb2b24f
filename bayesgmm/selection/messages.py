"""Sentences of a model comparison: findings by code, notes on single fits by warning."""

from enum import StrEnum

from sklearn.exceptions import ConvergenceWarning

from bayesgmm.exceptions import (
    DegeneracyWarning,
    EvidenceWarning,
    FewRowsWarning,
    ParetoWarning,
    SamplingWarning,
    SingleBestStartWarning,
)

# What a warning about a single fit says in its row; the winner's is also given as it is.
NOTES: dict[type[Warning], str] = {
    SingleBestStartWarning: "the best optimum was found once only",
    DegeneracyWarning: "every start ended in a collapsed or emptied component",
    FewRowsWarning: "more parameters than rows",
    ConvergenceWarning: "EM ran out of steps",
    SamplingWarning: "the chains did not converge",
    EvidenceWarning: "two estimates of the evidence disagree",
    ParetoWarning: "rows with a large Pareto k",
}
BROKEN = "EM broke down from every start"


class Finding(StrEnum):
    """Which model is best, and how certain that is."""

    BEST = (
        "The best model by {criterion} is {winner}: {value} ({direction}); {n_best} of {n_starts} starts reached EM's "
        "best optimum."
    )
    CLOSE = "Not distinguishable from it, {why}: {models}."
    NEXT = "The next best is {model}, {gap} behind."
    LEFT_OUT = "Left out, since every start ended in a collapsed or emptied component: {models}."
    DEGENERATE_FIRST = "Judged by value alone, {model} would have won; its value measures reg_covar and not the data."
    MOST_COMPONENTS = "The best model has the most components of those compared: try more."
    OTHER_CRITERIA = "Other criteria choose otherwise: {choices}."
    NOTE = "About the best model: {note}."
    NONE = "No model could be compared: {notes}."
    INTERRUPTED = "The comparison was interrupted: the {n} models fitted so far were compared."


class Fragment(StrEnum):
    """Parts of sentences."""

    CHOICE = "{criterion} prefers {model}"
    BY_ERROR = "less than {n_errors:g} standard errors behind"
    BY_CONVENTION = "no more than {close:g} behind ({convention})"
    OF_WINNER = "The best model, {model}: {warning}"


class Merged(StrEnum):
    """Clusters of merged components."""

    ELBOW = (
        "Merging pairs by entropy, {n_components} components make {n_clusters} clusters at the elbow: {groups}. The "
        "entropy falls from {before} to {after} nats."
    )
    APART = "The components do not overlap (entropy {entropy} nats): each is a cluster."
    NO_ELBOW = (
        "There is no elbow among fewer than four components that overlap: say n_clusters. The entropies with 1, 2, ... "
        "clusters are {entropies} nats."
    )
    EMPTIED = "Merged first, for want of rows: {components}."
    DRAWS = "The number of clusters by draw ({n_draws} draws, whatever their labels): {numbers}."
    BLURRED = "The components are not identified, so their mean memberships blur them: trust the numbers by draw only."


class Tested(StrEnum):
    """Bootstrap likelihood ratio tests."""

    CHOSEN = "The bootstrap likelihood ratio test at level {level:g} chooses K = {k}."
    EVERY = "Each number of components was rejected, up to K = {k}: try more."
    TEST = "The test of K = {k} against {more}: statistic {statistic}, p = {p} ({n} replicates)."
    NO_TEST = (
        "The test of K = {k} against {more} was not possible: every start ended in a collapsed or emptied component."
    )
    DEGENERATE = (
        "Counted as at least as large: {n} of {n_replicates} replicates with K = {k}, of which every start ended in a "
        "collapsed or emptied component."
    )
    INTERRUPTED = "The tests were interrupted: what was finished is kept, the last one with {n} replicates."
