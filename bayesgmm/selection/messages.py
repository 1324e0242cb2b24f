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
