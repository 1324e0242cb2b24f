"""Sentences on convergence: findings by code, next steps by verdict."""

from enum import StrEnum

from bayesgmm.diagnostics.verdict import CONVERGED, DIVERGENCES, NOT_MIXED, SEVERAL_MODES, SWITCHED, WEIGHED

VERDICT = "Verdict: {verdict}"
WARNING = "Verdict: {verdict}. {findings} What to do next: {next_steps}"


class Finding(StrEnum):
    """What was found, the gravest first."""

    TOO_FEW_DRAWS = "Too few draws, or constant draws, to tell whether the chains converged."
    DIVERGENCES = "Divergent transitions occurred at {n_divergences} of {n_samples} draws."
    COLLAPSED = (
        "A component has collapsed in {shares}: its smallest variance is below {ratio:g} of the data's. It is a spike "
        "of the density, not a cluster."
    )
    EMPTY = "A component is empty in {shares}."
    MOSTLY_EMPTY = "A component is empty in {shares}: the data need fewer than {n_components} components."

    POOLED = "The posterior was resampled from {n_modes} modes, assuming that there are no others."
    WEIGHED = "The chains jump between {n_modes} modes, in proportion to their weights."
    APPROXIMATED_MODES = "The posterior was approximated at {n_modes} optima, which are weighed by their evidence."
    ROUGH = (
        "Near the limit of the Laplace approximation: k-hat of its importance ratios is {k_hat:.2f}, and above {limit} "
        "means may be off by a tenth of a posterior standard deviation, more than their Monte Carlo errors say."
    )
    APPROXIMATION = (
        "The Laplace approximation is not good enough: k-hat of its importance ratios is {k_hat:.2f}, and {n:count} of "
        "{n_proposals} draws are effective."
    )
    MISSING = (
        "Modes may be missing: up to {missing:share} of the posterior, as far as {n} random starts of the search tell."
    )
    MODE = "The mode with number {number} has {figures}."
    UNCERTAIN_WEIGHTS = (
        "The weights are uncertain: their standard errors are above {limit}, or a mode that carries weight has fewer "
        "than {least} effective draws, too few for a standard error."
    )

    NOT_STATIONARY = (
        "The chains lie apart in {n_groups} groups, whatever their labels, but are not stationary: more draws may "
        "merge them."
    )
    GROUPS = "The chains split into {n_groups} groups that do not mix, whatever their labels."
    BEST_GROUP = "The group made of {chains} has {level}."
    OTHER_GROUP = (
        "The group made of {chains} has {level}; {density} {mean:+.1f} in the mean and {best:+.1f} at its best from "
        "{best_chains}; variation of information of the partitions {vi:.2f} bits."
    )

    R_HAT = "The chains disagree about {what}: R-hat is up to {r_hat:r_hat}, above {limit} (worst: {worst})."
    NESTED_R_HAT = "The chains depend on where they started: nested R-hat by starting mode is {r_hat:r_hat}."
    ESS = "The effective sample size of {what} is as low as {ess:count}, below {limit} per chain."

    NOT_IDENTIFIED = "Components are not identified, with or without relabelling."
    SWITCHED = (
        "Labels switched between draws: R-hat of parameters in the labels they have is {r_hat:r_hat}, and "
        "{share:share} of the draws are in other labels than the rest."
    )

    SINGLE_CHAIN = "A single chain cannot be compared with others."
    UNKNOWN_STARTS = (
        "Other modes were not looked for: where the chains started is not known, and if at the same optimum, their "
        "agreement is no proof that there is none."
    )
    ONE_OPTIMUM = (
        "The posterior was approximated at one optimum, which is no proof that there is no other mode; use "
        "init='spread'."
    )
    SAME_START = (
        "All chains started at the same optimum: agreement is no proof that there is no other mode; use init='spread', "
        "or with noise or Student-t components a fit with another random_state."
    )


class Figure(StrEnum):
    """Lines of figures on which a verdict is based."""

    SIZES = "{n_components} components; {n_chains} chains of {n_draws} draws; divergences: {n_divergences}"
    DENSITY = "Mean {density} by chain: {means}"
    GROUPS = "Groups of chains: {groups}"
    DEGENERATE = "Draws with an empty component: {empty:share}; with a collapsed one: {collapsed:share}"
    EXPLORATORY = "Exploratory chains searched for other modes from: {starts}"
    MISSING = "Modes that {n} random starts did not lead to: at most {missing:share} of the posterior"
    K_HAT = "Laplace approximation: k-hat of the importance ratios is {k_hat:.2f} (fine up to {limit})"
    EFFECTIVE = "Effective draws by the importance weights: {effective:count} of {n} (fine from {least:count})"
    RATIOS = "Log ratios computed by {n} rows: the standard deviation of their error is {error:.2g}"
    NESTED_R_HAT = "Nested R-hat by starting mode: {r_hat:r_hat}"


class Fragment(StrEnum):
    """Parts of sentences."""

    SHARES = "{share:share} of the draws ({chains})"
    CLUSTERS = "clusters of {sizes} rows"
    EFFECTIVE_DRAWS = "{n:count} effective draws"
    LEVEL = "mean log-likelihood {log_likelihood:.1f}, {clusters}"
    NOT_SETTLED = ", not stationary"


_AVERAGE_NOTHING = "Do not average over these chains yet, neither parameters nor densities."
LOOK_AT_PARTITIONS = "Look at what needs no labels: similarity_matrix(), estimate_partition(), the density."
STEPS = {
    CONVERGED: ("Summarize the posterior: summary(), similarity_matrix(), estimate_partition().",),
    WEIGHED: (
        "Quote the weights of the modes with their standard errors: mode_mean().",
        "Look at the modes one by one (sample_stats['mode']): an average over different partitions describes none.",
        LOOK_AT_PARTITIONS,
    ),
    SEVERAL_MODES: (
        _AVERAGE_NOTHING,
        "Weight the modes by their evidence: combine_modes() resamples the draws in the right proportions; "
        "init='spread' or init='modes' starts chains in more of them.",
        "Compare the partitions of the groups: a stronger prior or another number of components may leave only one.",
    ),
    NOT_MIXED: (
        "Take more draws: max_draws=16000, tune=1000.",
        "Try fewer components or a stronger prior: components that the data do not separate mix slowly.",
        "If chains jump between modes now and then, start them in each: init='modes'.",
    ),
    DIVERGENCES: (
        "Raise target_accept to 0.95 or 0.99.",
        "Locate the divergences: nearly empty and nearly singular components cause them; try fewer components or "
        "a stronger prior.",
    ),
}
APPROXIMATION_STEPS = ("Sample the posterior: inference='nuts'.",)
OTHER_SAMPLER = {
    "gibbs": "Try inference='gibbs': unknown labels take away at most {missing:share} of the information on any "
    "parameter, and neighbouring sweeps of Gibbs sampling are no more alike than that.",
    "nuts": "Try inference='nuts': unknown labels take away up to {missing:share} of the information on a parameter, "
    "and neighbouring sweeps of Gibbs sampling are as much alike.",
}
SPARSE_STEPS = {
    CONVERGED: ("Report how many components are occupied: occupied_clusters().",),
    SWITCHED: ("Report how many components are occupied: occupied_clusters(); which ones are occupied varies.",),
    NOT_MIXED: (
        "Take more draws: max_draws=16000, tune=1000.",
        "Start where other components are occupied: init='spread', then combine_modes().",
        "Try fewer components: K far above the number of occupied ones only costs time.",
    ),
}
POOLED_STEPS = (
    "Quote the weights with their standard errors.",
    "Look at the modes one by one (sample_stats['mode']): an average over different partitions describes none.",
    LOOK_AT_PARTITIONS,
)
COLLAPSED_STEPS = (
    "Use a prior on covariances that vanishes at zero, as Prior.weakly_informative does, or a larger scale.",
    "Look for rows with tied values or duplicates: a spike sits on them.",
    "Try fewer components.",
)
EMPTY_STEPS = (
    "Fit fewer components, or keep them and report how many are occupied.",
    "An empty component's parameters are draws from its prior: do not interpret them.",
    LOOK_AT_PARTITIONS,
)
SWITCHED_STEPS = (
    "Call relabel() before anything that names a component: summaries, traces, means.",
    LOOK_AT_PARTITIONS,
)
NOT_IDENTIFIED_STEPS = (LOOK_AT_PARTITIONS, "Try fewer components or a stronger prior.")
