"""Figures on the convergence of chains, and the verdict by stated precedence."""

from dataclasses import dataclass
from math import isnan, log

from bayesgmm.diagnostics.rhat_ess import MAX_R_HAT, MIN_DRAWS, MIN_SETTLED_ESS, Mixing
from bayesgmm.laplace import MAX_K_HAT, MIN_EFFECTIVE_SHARE
from bayesgmm.partitions import Occupancy

CONVERGED = "converged"
SWITCHED = "converged, labels switched"
SEVERAL_MODES = "several real modes"
WEIGHED = "several modes, weighed"
NOT_MIXED = "not mixed"
DEGENERATE = "collapsed or empty component"
DIVERGENCES = "divergences"

SUCCESSES = (CONVERGED, WEIGHED)

MAX_MISSING = 0.1  # of the posterior that modes may hold that were not met, above which a fit warns
MAX_DIVERGING = 1e-3  # share of draws
MAX_DIVERGING_POOLED = 1e-2  # likewise; pooled draws are weighed by the density itself, and only coverage suffers
EMPTY_COUNT = log(2.0)  # expected rows below which a component more probably has none than some (Poisson)
COLLAPSED_RATIO = 1e-6  # least variance of a component over that of the data: a thousandth of the data's width
MAX_DEGENERATE = 0.1  # share of a chain's draws
MOSTLY = 0.5  # share of all draws
MAX_WEIGHT_SE = 0.05  # of a mode: more, and its weight is known to one digit at most
GOOD_K_HAT = 0.5  # above it the variance of importance ratios is infinite (Vehtari et al. 2024)
MAX_SWITCHED = 0.01  # share of draws whose labels are not those of the others


@dataclass(frozen=True)
class ChainGroup:
    """A group of chains that agree with one another and with no other chain.

    Attributes
    ----------
    chains : tuple of int
    r_hat : float
        Worst split R-hat of invariants among its own chains.
    is_settled : bool
        Whether its chains are stationary.
    log_likelihood, max_log_likelihood : float
        Mean over draws, and the highest.
    lp, max_lp : float, optional
        Likewise the log posterior density, if the sampler kept it.
    n_clusters : int
        Clusters with rows in the partition of its best draw.
    vi : tuple of float
        Variation of information in bits between that partition and those of all groups in turn.
    """

    __module__ = "bayesgmm.diagnostics"

    chains: tuple[int, ...]
    r_hat: float
    is_settled: bool
    log_likelihood: float
    max_log_likelihood: float
    lp: float | None
    max_lp: float | None
    n_clusters: int
    vi: tuple[float, ...]


@dataclass(frozen=True)
class PooledMode:
    """A mode in the proportion in which its draws were pooled, or chains visited it.

    Attributes
    ----------
    weight, weight_se : float
        The standard error is None for weights that are not evidences.
    log_evidence, log_evidence_se : float, optional
    effective_size : float, optional
        Of the weighted sample of the mode.
    n_clusters : int, optional
    chains : tuple of int
        Those with draws in it; numbers beyond the chains are exploratory chains.
    cluster_sizes : tuple of float
        Rows of its clusters, the largest first; empty if not known.
    """

    weight: float
    weight_se: float | None
    log_evidence: float | None
    log_evidence_se: float | None
    effective_size: float | None
    n_clusters: int | None
    chains: tuple[int, ...]
    cluster_sizes: tuple[float, ...] = ()

    @property
    def is_vague(self) -> bool:
        """Whether its weight is known to one digit at most, or rests on too few effective draws to tell."""
        few = self.effective_size is not None and self.effective_size < MIN_SETTLED_ESS
        return (self.weight_se or 0.0) > MAX_WEIGHT_SE or (few and self.weight > MAX_WEIGHT_SE)


@dataclass(frozen=True)
class Approximated:
    """How good a Laplace approximation is, of several that at the worst of the optima.

    Attributes
    ----------
    k_hat : float
        Pareto k-hat of the importance ratios.
    effective_draws : float
        Effective number of the proposals.
    n_proposals : int
    n_rows : int
        Rows by which the ratios were computed.
    log_ratio_error : float
        Standard deviation of the error of log ratios; zero if they are those of all rows.
    """

    __module__ = "bayesgmm.diagnostics"

    k_hat: float
    effective_draws: float
    n_proposals: int
    n_rows: int
    log_ratio_error: float

    @property
    def is_fine(self) -> bool:
        """Whether k-hat is at most 0.7 and a tenth of the proposals are effective."""
        return bool(self.k_hat <= MAX_K_HAT and self.effective_draws >= self.least_effective)

    @property
    def least_effective(self) -> float:
        """The smallest effective number that is fine."""
        return MIN_EFFECTIVE_SHARE * self.n_proposals


@dataclass(frozen=True)
class Figures:
    """Figures on which a verdict is based.

    Attributes
    ----------
    n_chains, n_draws, n_components : int
        Draws a chain.
    n_divergences : int
    invariants : Mixing
        Of label-invariant quantities.
    labelled : Mixing
        Of parameters in the labels the posterior has.
    relabelled : Mixing, optional
        Of parameters in common labels; None where components are not identified.
    nested_r_hat : float, optional
        Worst nested R-hat of invariants by starting mode.
    starting_modes : tuple of int, optional
        The mode at which each chain started.
    scouts : tuple of str
        Where exploratory chains for mode detection started.
    switched_share : float
        Share of draws whose labels are not those that most draws have.
    identified : bool
        Whether components are identified at all.
    label_findings : tuple of str
        What stands against that.
    empty_share, collapsed_share : tuple of float
        For each chain the share of draws with a component that holds less than log 2 expected rows, or whose least
        variance is below a millionth of the data's in the same direction. The first is of the pooled draws if modes
        were pooled.
    log_likelihood, lp : tuple of float
        Means by chain; ``lp`` is None if the sampler did not keep it.
    islands : tuple of ChainGroup
    modes : tuple of PooledMode
        If modes were pooled, or chains visit several.
    resampled : bool
        Whether modes were pooled.
    n_random_starts : int
        Random starts of the search for modes.
    missing : float, optional
        Bound of the weight of modes that they did not meet.
    occupancy : Occupancy, optional
        How many components hold rows, under a sparse prior: there empty components are meant to be.
    approximation : Approximated, optional
        Of a Laplace approximation, whose draws are independent but for copies: R-hat is NaN, and effective sample sizes
        are those of the importance weights.
    """

    __module__ = "bayesgmm.diagnostics"

    n_chains: int
    n_draws: int
    n_components: int
    n_divergences: int
    invariants: Mixing
    labelled: Mixing
    relabelled: Mixing | None
    nested_r_hat: float | None
    starting_modes: tuple[int, ...] | None
    scouts: tuple[str, ...]
    switched_share: float
    identified: bool
    label_findings: tuple[str, ...]
    empty_share: tuple[float, ...]
    collapsed_share: tuple[float, ...]
    log_likelihood: tuple[float, ...]
    lp: tuple[float, ...] | None
    islands: tuple[ChainGroup, ...]
    modes: tuple[PooledMode, ...]
    resampled: bool = False
    n_random_starts: int = 0
    missing: float | None = None
    occupancy: Occupancy | None = None
    approximation: Approximated | None = None

    @property
    def n_samples(self) -> int:
        """Draws of all chains."""
        return self.n_chains * self.n_draws

    @property
    def is_too_short(self) -> bool:
        """Whether there are too few draws to tell anything."""
        unknown = self.approximation is None and isnan(self.invariants.r_hat + self.invariants.ess_bulk)
        return self.n_draws < MIN_DRAWS or unknown

    @property
    def has_divergences(self) -> bool:
        """Whether more than a draw in a thousand ended a divergent transition; in a hundred if modes were pooled."""
        limit = MAX_DIVERGING_POOLED if self.is_pooled else MAX_DIVERGING
        return self.n_divergences > limit * self.n_samples

    @property
    def has_collapsed(self) -> bool:
        """Whether a component of some chain is far narrower than the data."""
        return max(self.collapsed_share) > MAX_DEGENERATE

    @property
    def has_empty(self) -> bool:
        """Whether a component has no rows in most of the draws, but under a sparse prior."""
        return self.occupancy is None and sum(self.empty_share) > MOSTLY * self.n_chains

    @property
    def settled(self) -> tuple[ChainGroup, ...]:
        """Groups of stationary chains."""
        return tuple(group for group in self.islands if group.is_settled)

    @property
    def is_pooled(self) -> bool:
        """Whether the posterior was resampled from several modes."""
        return self.resampled and len(self.modes) > 1

    @property
    def is_weighed(self) -> bool:
        """Whether chains visit several modes, so that their shares of the draws are their weights."""
        return not self.resampled and len(self.modes) > 1

    @property
    def has_several_modes(self) -> bool:
        """Whether stationary chains differ in more than a permutation of labels, or modes were pooled."""
        return self.is_pooled or len(self.settled) > 1

    @property
    def is_mixed(self) -> bool:
        """Whether invariants are, nested R-hat too, and relabelled parameters and occupied components if there are.

        Of a Laplace approximation, whether it is good enough.
        """
        if self.approximation is not None:
            return self.approximation.is_fine
        nested = self.nested_r_hat is None or self.nested_r_hat <= MAX_R_HAT
        relabelled = self.relabelled is None or not self.relabelled.worst or self.relabelled.is_fine(self.n_chains)
        occupied = self.occupancy is None or self.occupancy.is_fine(self.n_chains)
        return self.invariants.is_fine(self.n_chains) and nested and relabelled and occupied

    @property
    def has_switched(self) -> bool:
        """Whether labels switched, so that they do not identify components."""
        disagree = self.labelled.r_hat > MAX_R_HAT and self.labelled != self.relabelled
        return self.n_components > 1 and (disagree or self.switched_share > MAX_SWITCHED or not self.identified)


def verdict_of(figures: Figures) -> str:
    """The verdict: the first that holds of

    1. ``not mixed``, if there are too few draws to tell anything;
    2. ``divergences``: draws avoid a region, which biases all that follows;
    3. ``collapsed or empty component``, if one has collapsed: a spike of the density is an artefact of the prior, and
       weighing it as a mode would only let it win;
    4. ``several real modes``: at least two groups of stationary chains, or modes that were pooled;
    5. ``several modes, weighed``: chains visit several modes, in proportion to their weights, and are mixed;
    6. ``collapsed or empty component``, if one is empty in most draws: bad mixing is often its symptom;
    7. ``not mixed``: R-hat above 1.01 or an effective sample size below 100 a chain;
    8. ``converged, labels switched``: only labels stand in the way;
    9. ``converged``.
    """  # noqa: D400
    rules = (
        (figures.is_too_short, NOT_MIXED),
        (figures.has_divergences, DIVERGENCES),
        (figures.has_collapsed, DEGENERATE),
        (figures.has_several_modes, SEVERAL_MODES),
        (figures.is_weighed and figures.is_mixed, WEIGHED),
        (figures.has_empty, DEGENERATE),
        (not figures.is_mixed, NOT_MIXED),
        (figures.has_switched, SWITCHED),
    )
    return next((verdict for holds, verdict in rules if holds), CONVERGED)
