"""Sentences of a report, by section and code."""

from enum import StrEnum


class DataSentence(StrEnum):
    """The rows."""

    SIZE = "This data set has {rows} of {features}: {names}."
    WEIGHTED = (
        "This data set has {rows} of {features}: {names}; with their frequency weights they count as {total:,.5g} rows."
    )
    MISSING = "Missing from these rows are {values} ({share:small share}); {complete} are complete."
    LABELLED = "Components are known of {rows}, at least in part."
    CORRELATION = (
        "The strongest correlation is {r:.2f}, of {a} and {b}; {fewest} has {values} in {rows}, the fewest of all "
        "features."
    )
    ONE_FEATURE = (
        "The coarsest feature is {fewest}, with {values} in {rows}, mean {mean:.4g} and standard deviation {sd:.4g}."
    )


class EMSentence(StrEnum):
    """Maximum likelihood, or maximum a posteriori."""

    CONVERGED = "EM reached a log-likelihood of {log_likelihood:criterion}{kind}, BIC {bic:criterion}."
    NOT_CONVERGED = "EM had not converged at a log-likelihood of {log_likelihood:criterion}{kind}, BIC {bic:criterion}."
    ONE_OPTIMUM = "This optimum was reached by {n_best} of {starts}{degenerate}; no other optimum was found."
    SEVERAL_OPTIMA = (
        "This optimum was reached by {n_best} of {starts}{degenerate}; of {n_optima} different optima the next best "
        "has the objective {next_best:.3f}, this one {best:.3f}."
    )
    HIGHER_OPTIMA = (
        "Optima with higher objectives exist, up to {highest:.3f}; with a prior the one that has the largest posterior "
        "mass around it is kept."
    )
    NO_EM = "There is no fit by maximum likelihood."
    MAP_INSTEAD = "EM below refers to the maximum a posteriori estimate at which the chains started."

    NO_ERRORS = "There are no standard errors for it."
    ERRORS = "Standard errors of the means, in brackets, are from the observed information (Louis 1982)."
    WORST_ERROR = (
        "The weight of component {worst} is least certain, with standard error {se:probability}; standard errors, in "
        "brackets, are from the observed information (Louis 1982)."
    )
    PARTITION = "Clusters by most probable component have {sizes} rows."


class PosteriorSentence(StrEnum):
    """Draws, components and partition."""

    SAMPLED = (
        "The posterior was sampled by {sampler}: {chains} of {draws} in {seconds:.1f} s{stopped} (engine {engine}, "
        "seed {seed}), under {prior}."
    )
    FARTHEST = (
        "EM and the posterior mean differ most in {parameter}: {em} and {mean}, {gap:.2f} posterior standard "
        "deviations apart."
    )
    NOT_TABULATED = "Its components are not identified, so that parameters of single components are not tabulated."
    NOTHING_VARIES = "No parameter varies from draw to draw."

    IDENTIFIED = (
        "The components are identified: another labelling is nearly as good in {unclear:share} of the draws, and from "
        "draw to draw a component takes the same rows to at least {stability:share}."
    )
    NOT_IDENTIFIED = "The components are not identified: a table of them would be meaningless."
    WITHOUT_LABELS = "The density below and the partition do not depend on labels, and remain valid."

    PARTITION = (
        "The partition with the least expected variation of information{rows} has {clusters}, of {sizes} "
        "rows{noise}; "
        "{coverage:share} of the drawn partitions are within {radius:.2f} bits of it."
    )
    ONE_CLUSTER = "All rows are in one cluster, since the model has one component."
    NO_PARTITION = "There is nothing to partition."
    WITHOUT_COMPONENTS = (
        "Since components are not identified, the probability of a row's cluster is the share of draws in which it is "
        "where most of the cluster is."
    )


class SharedSentence(StrEnum):
    """What reports on EM and on posteriors both say."""

    SUBTITLE = (
        "Gaussian mixture model fitted by {engines}: {components}, {family} covariances, {rows}, {features}; {date}."
    )
    SIZES = "The largest component is {large}, with weight {largest}, and the smallest is {small}, with {smallest}."
    ONE_COMPONENT = "There is one component, so that labels cannot switch."
    EVERY_ROW = "It holds every row."
    NOISE = "Noise, a uniform distribution on a box around the rows, has the weight {weight}."
    UNCERTAIN = (
        "The most probable cluster has a probability below {sure} for {rows} of {n} ({share:small share}){split}."
    )
    FAILED = "This section could not be generated."

    SEEDED = "With the versions below, this code reproduces the fits, to the last digit on the same kind of machine."
    NOT_SEEDED = "This code repeats the fits, but random_state was not a number, so that its starts differ."
    FINGERPRINT = "The second block checks whether rows are those of the fit."


class Fragment(StrEnum):
    """Parts of sentences."""

    MAP = " (at the maximum a posteriori)"
    DEGENERATE = ", {starts} ended in a collapsed or emptied component"
    INTERRUPTED = ", interrupted before the end"
    SAMPLED_TOO = "{prior} whose {hyperparameters} are sampled too"
    INTERVAL = "{mean:probability} ({ci_prob:share} interval {lower:probability} to {upper:probability})"
    OF_NOISE = ", and {rows} of noise"
    SOME_ROWS = " (of {rows}, evenly spaced)"
    SPLIT = "; {parameters:share} of that uncertainty is due to parameters (epistemic), the rest to overlap (aleatoric)"


PRIORS = {
    "normal_inverse_wishart": "normal-inverse-Wishart prior",
    "independent": "independent normal and inverse-Wishart priors",
    "separation": "separate priors on variances and correlations",
}
