"""Sentences of model checks and outlier scores: findings by code, departures by statistic, rates by rule."""

from enum import StrEnum

DEPARTURES = {
    "kurtosis above": "tails of the clusters are heavier than Gaussian",
    "kurtosis below": "tails of the clusters are lighter than Gaussian",
    "skewness": "clusters are asymmetric or curved",
    "distances": "distances from the clusters' centres are not those of Gaussian rows",
    "features": "marginal distributions of single features differ",
    "energy": "the joint distribution of the rows differs",
}
RATES = {
    "row": "of the rows of such a mixture would be",
    "all": "of data sets of such a mixture would have any",
    "discoveries": "of those flagged are none, on average at most",
}
SMALL_DEPARTURES = "small departures add up"


class Finding(StrEnum):
    """Whether the data are like those that the model predicts."""

    GAUSSIAN = "Nothing speaks against a Gaussian mixture with {components} (p = {p:p}, by simulation with refits)."
    NOT_GAUSSIAN = (
        "The data are not a Gaussian mixture with {components} (p = {p:p}, by simulation with refits): {reasons}. "
        "Either there are more components, or clusters are not Gaussian."
    )
    HEAVY_TAILS = (
        "Heavy tails suggest Student-t components: GaussianMixture(component='student_t'), and "
        "select_components(X, component=['gaussian', 'student_t']) compares them with Gaussian ones."
    )
    USUAL = "No test quantity is unusual among predicted data, of {n}."
    UNUSUAL = "Unusual among predicted data, of {n} test quantities: {quantities}."
    PIT = "Not predicted well individually (PIT not uniform): {features}."
    PLUG_IN = "EM's solution was plugged in: predictions ignore parameter uncertainty."
    SOME_ROWS = "Left out one by one were {n} of {n_rows} rows, drawn at random."
    LARGE_K = "Leave-one-out is not reliable for {n_bad} of {n} rows (Pareto k above {limit:.2f})."


class OutlierFinding(StrEnum):
    """Which rows are outliers."""

    OUTLIERS = "Flagged as outliers are {n_flagged} of {n} {rows}; {percent:g} % {rate}."
    STRANGEST = "The most improbable rows, with their tail probabilities: {rows}."
    FALSE_ALARMS = "False alarms are expected for about {n:.1f} rows."
    PLUG_IN = "EM's solution was plugged in: parameters are treated as known{own_rows}."
    SOME_ROWS = "Left out one by one were {n} of {n_rows} rows, drawn at random."
    LARGE_K = (
        "Leaving out changes the posterior a lot for {n_bad} rows (Pareto k above {limit:.2f}): their scores "
        "understate how improbable they are."
    )


class Fragment(StrEnum):
    """Parts of sentences."""

    QUANTITY = "{name} ({observed:.3g}, predicted {lower:.3g} to {upper:.3g})"
    OWN_ROWS = ", and rows are not left out"
