"""Sentences of short summaries: what was fitted, verdicts in plain words, next steps."""

from enum import StrEnum

from bayesgmm.diagnostics import (
    CONVERGED,
    DEGENERATE,
    DIVERGENCES,
    NOT_MIXED,
    SEVERAL_MODES,
    SWITCHED,
    WEIGHED,
)

EM_CONVERGED, EM_ALONE, EM_UNFINISHED, SET_BY_HAND = (
    "optimum found repeatedly",
    "optimum found only once",
    "EM not converged",
    "parameters set by hand",
)

GOOD, DOUBTFUL, BAD, UNKNOWN = "good", "doubtful", "bad", "unknown"
# What a verdict means for somebody who wants to use the clusters, and how far they may.
VERDICTS = {
    CONVERGED: (GOOD, "The draws agree, so that these numbers can be used."),
    SWITCHED: (DOUBTFUL, "The chains agree about the rows, but the numbers of components change from draw to draw."),
    WEIGHED: (DOUBTFUL, "The rows have several explanations, all counted by their weights."),
    SEVERAL_MODES: (DOUBTFUL, "The rows have several explanations between which the chains do not move."),
    NOT_MIXED: (BAD, "The chains do not agree yet, so that these numbers are provisional."),
    DEGENERATE: (BAD, "A component collapsed or has no rows, so that there are probably fewer clusters."),
    DIVERGENCES: (BAD, "The sampler avoided a part of the posterior, so that these numbers may be biased."),
    EM_CONVERGED: (GOOD, "Several starts of EM ended in this optimum."),
    EM_ALONE: (DOUBTFUL, "Only one start of EM ended in this optimum, so that there may be a better one."),
    EM_UNFINISHED: (BAD, "The best start of EM had not converged, so that these numbers are provisional."),
    SET_BY_HAND: (UNKNOWN, "These parameters were not estimated."),
}


class Line(StrEnum):
    """One line each of a short summary."""

    FOUND = "The mixture found has {clusters}{rows}{how}."
    VERDICT = "Verdict: {verdict}. {meaning}"
    GAUSSIAN = "Shape of the clusters: nothing speaks against a Gaussian mixture (p = {p:p})."
    NOT_GAUSSIAN = "Shape of the clusters: not those of a Gaussian mixture (p = {p:p})."
    NOT_CHECKED = "Shape of the clusters: not checked for being Gaussian."
    UNCERTAIN = (
        "Rows without a clear cluster: {uncertain} of {n} ({share:small share}; probability below {sure:share})."
    )
    NEXT = "What to do next: {step}"


class Fragment(StrEnum):
    """Parts of lines."""

    ROWS = " in {rows}"
    PARTITION = ", by the best single partition"
    NOISE = "; noise is {share:share} of the rows"
    COMPONENTS = ", of {components} fitted"
    INTERVAL = " ({lower:share} … {upper:share})"
    DIFFERENCE = "{feature} {value} ({sds:.1f} sd {side})"
    WIDER = "means like those of all rows; sd of {feature} {ratio:.1f} times theirs"
    NONE = "like all rows"
    MORE = "and {n} smaller ones"


class Step(StrEnum):
    """Next steps that do not depend on convergence alone."""

    CHECK = "Check whether these rows are a Gaussian mixture at all: check_model(fit)."
    SELECT = "Compare numbers of components and families: select_components(X)."
    UNCERTAIN = "Look at the rows without a clear cluster: membership_uncertainty(fit)."
    SAMPLE = "Sample the posterior for intervals and a check of the model: BayesianGaussianMixture."
    ERRORS = "Get intervals: standard_errors(X), or bootstrap(X)."
    STARTS = "Make more starts: n_init, or effort='thorough'."
    STEPS = "Allow more steps: max_iter."
