"""From figures about chains to findings, one verdict by stated precedence, and what to do next."""

from dataclasses import dataclass
from math import isnan, log

from bayesgmm.diagnostics.rhat_ess import MAX_R_HAT, MIN_DRAWS, MIN_ESS_PER_CHAIN, Mixing
from bayesgmm.partitions import Occupancy

CONVERGED = "converged"
SWITCHED = "converged, labels switched"
SEVERAL_MODES = "several real modes"
NOT_MIXED = "not mixed"
DEGENERATE = "collapsed or empty component"
DIVERGENCES = "divergences"

MAX_DIVERGING = 1e-3  # share of draws
MAX_DIVERGING_POOLED = 1e-2  # likewise; pooled draws are weighed by the density itself, and only coverage suffers
EMPTY_COUNT = log(2.0)  # expected rows below which a component more probably has none than some (Poisson)
COLLAPSED_RATIO = 1e-6  # least variance of a component over that of the data: a thousandth of the data's width
MAX_DEGENERATE = 0.1  # share of a chain's draws
MOSTLY = 0.5  # share of all draws
MAX_WEIGHT_SE = 0.05  # of a mode: more, and its weight is known to one digit at most
MAX_SWITCHED = 0.01  # share of draws whose labels are not those of the others


@dataclass(frozen=True)
class ChainGroup:
    """An island of chains, and what tells it from the others.

    Attributes
    ----------
    chains : tuple of int
    r_hat : float
        Worst split R-hat of invariants among its own chains.
    is_settled : bool
        Whether its chains stay where they are, rather than wander.
    log_likelihood, max_log_likelihood : float
        Mean over draws, and the highest.
    lp, max_lp : float, optional
        Likewise the log posterior density, if the sampler kept it.
    n_clusters : int
        Clusters with rows in the partition of its best draw.
    vi : tuple of float
        Variation of information in bits between that partition and those of all islands in turn.
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
    """A mode in the proportion in which its draws were pooled.

    Attributes
    ----------
    weight, weight_se : float
        The standard error is None for weights that are not evidences.
    log_evidence, log_evidence_se : float, optional
    effective_size : float, optional
        Of the weighted sample of the mode.
    n_clusters : int, optional
    chains : tuple of int
        Those with draws in it; numbers beyond the chains are scouts.
    """

    weight: float
    weight_se: float | None
    log_evidence: float | None
    log_evidence_se: float | None
    effective_size: float | None
    n_clusters: int | None
    chains: tuple[int, ...]


@dataclass(frozen=True)
class Figures:
    """All that a verdict rests on.

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
        Where short chains started that looked for other modes before.
    switched_share : float
        Share of draws whose labels are not those that most draws have.
    identified : bool
        Whether components can be told apart at all.
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
        If modes were pooled.
    occupancy : Occupancy, optional
        How many components hold rows, under a sparse prior: there empty components are meant to be.
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
    occupancy: Occupancy | None = None

    @property
    def n_samples(self) -> int:
        """Draws of all chains."""
        return self.n_chains * self.n_draws

    @property
    def is_too_short(self) -> bool:
        """Whether there are too few draws to tell anything."""
        return self.n_draws < MIN_DRAWS or isnan(self.invariants.r_hat + self.invariants.ess_bulk)

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
        """Islands whose chains stay where they are."""
        return tuple(group for group in self.islands if group.is_settled)

    @property
    def is_pooled(self) -> bool:
        """Whether the posterior was resampled from several modes."""
        return len(self.modes) > 1

    @property
    def has_several_modes(self) -> bool:
        """Whether chains stay in different places that no permutation of labels explains, or modes were pooled."""
        return self.is_pooled or len(self.settled) > 1

    @property
    def is_mixed(self) -> bool:
        """Whether invariants are, nested R-hat too, and relabelled parameters and occupied components if there are."""
        nested = self.nested_r_hat is None or self.nested_r_hat <= MAX_R_HAT
        relabelled = self.relabelled is None or not self.relabelled.worst or self.relabelled.is_fine(self.n_chains)
        occupied = self.occupancy is None or self.occupancy.is_fine(self.n_chains)
        return self.invariants.is_fine(self.n_chains) and nested and relabelled and occupied

    @property
    def has_switched(self) -> bool:
        """Whether the labels that the posterior has do not name components."""
        disagree = self.labelled.r_hat > MAX_R_HAT and self.labelled != self.relabelled
        return self.n_components > 1 and (disagree or self.switched_share > MAX_SWITCHED or not self.identified)


def verdict_of(figures: Figures) -> str:
    """The verdict: the first that holds of

    1. ``not mixed``, if there are too few draws to tell anything;
    2. ``divergences``: draws avoid a region, which biases all that follows;
    3. ``collapsed or empty component``, if one has collapsed: a spike of the density is an artefact of the prior, and
       weighing it as a mode would only let it win;
    4. ``several real modes``: at least two islands of chains that are settled, or modes that were pooled;
    5. ``collapsed or empty component``, if one is empty in most draws: bad mixing is often its symptom;
    6. ``not mixed``: R-hat above 1.01 or an effective sample size below 100 a chain;
    7. ``converged, labels switched``: only labels stand in the way;
    8. ``converged``.
    """  # noqa: D400
    rules = (
        (figures.is_too_short, NOT_MIXED),
        (figures.has_divergences, DIVERGENCES),
        (figures.has_collapsed, DEGENERATE),
        (figures.has_several_modes, SEVERAL_MODES),
        (figures.has_empty, DEGENERATE),
        (not figures.is_mixed, NOT_MIXED),
        (figures.has_switched, SWITCHED),
    )
    return next((verdict for holds, verdict in rules if holds), CONVERGED)


# ---- findings


def findings_of(figures: Figures) -> tuple[str, ...]:
    """Everything that was found, one sentence each, the gravest first."""
    if figures.is_too_short:
        return ("Too few draws, or draws that never move, to tell whether the chains converged.",)
    parts = (_divergences, _degenerate, _occupied, _pooled, _islands, _mixing, _labels, _starts)
    return tuple(sentence for part in parts for sentence in part(figures))


def _divergences(f: Figures) -> list[str]:
    return [f"Divergent transitions: {f.n_divergences:,} of {f.n_samples:,} draws."] if f.n_divergences else []


def _degenerate(f: Figures) -> list[str]:
    found = []
    if f.has_collapsed:
        found.append(
            f"A component has collapsed in {_shares(f.collapsed_share)}: its least variance is below "
            f"{COLLAPSED_RATIO:g} of the data's. It is a spike of the density, not a cluster."
        )
    if f.occupancy is None and max(f.empty_share) > MAX_DEGENERATE:
        need = f": the data need fewer than {f.n_components} components" if f.has_empty else ""
        found.append(f"A component is empty in {_shares(f.empty_share)}{need}.")
    return found


def _occupied(f: Figures) -> list[str]:
    return [] if f.occupancy is None else f.occupancy.findings


def _shares(shares: tuple[float, ...]) -> str:
    many = [chain for chain, share in enumerate(shares) if share > MAX_DEGENERATE]
    where = "all chains" if len(many) == len(shares) else chain_names(many)
    return f"{sum(shares) / len(shares):.0%} of the draws ({where})"


def chain_names(chains: tuple[int, ...] | list[int]) -> str:
    """``chain 3``, ``chains 0, 1``."""
    return f"chain{'s' if len(chains) > 1 else ''} {', '.join(map(str, chains))}"


def _pooled(f: Figures) -> list[str]:
    if not f.is_pooled:
        return []
    found = [f"The posterior was resampled from {len(f.modes)} modes, conditional on there being no other."]
    found += [f"Mode {number}: {_pooled_mode(mode, f.n_chains)}." for number, mode in enumerate(f.modes)]
    if max(mode.weight_se or 0.0 for mode in f.modes) > MAX_WEIGHT_SE:
        found.append("The weights are uncertain: their standard errors are above 0.05.")
    return found


def _pooled_mode(mode: PooledMode, n_chains: int) -> str:
    parts = [f"weight {mode.weight:.3f}" + ("" if mode.weight_se is None else f" ± {mode.weight_se:.3f}")]
    if mode.n_clusters is not None:
        parts.append(_clusters(mode.n_clusters))
    if mode.effective_size is not None:
        parts.append(f"{mode.effective_size:,.0f} effective draws")
    chains = [chain for chain in mode.chains if chain < n_chains]
    parts.append(chain_names(chains) if chains else "scouts only")
    return ", ".join(parts)


def _islands(f: Figures) -> list[str]:
    if len(f.islands) == 1:
        return []
    if len(f.settled) < 2:
        many = len(f.islands)
        wander = f"The chains lie apart in {many} groups, whatever their labels, but wander: more draws may join them."
        return [] if f.is_pooled else [wander]
    first, *others = f.islands
    found = [f"The chains form {len(f.islands)} islands that do not meet, whatever their labels."]
    found.append(f"{_island_name(first)}: {_level(first)}.")
    for group in others:
        density = "log-likelihood" if group.lp is None or first.lp is None else "log posterior density"
        mean, best = _difference(group, first)
        found.append(
            f"{_island_name(group)}: {_level(group)}; {density} {mean:+.1f} in the mean and {best:+.1f} at its "
            f"best from {chain_names(first.chains)}; partitions {group.vi[0]:.2f} bits of information apart."
        )
    return found


def _island_name(group: ChainGroup) -> str:
    name = chain_names(group.chains)
    return name[0].upper() + name[1:]


def _level(group: ChainGroup) -> str:
    level = f"mean log-likelihood {group.log_likelihood:.1f}, {_clusters(group.n_clusters)}"
    return level + ("" if group.is_settled else ", not settled")


def _clusters(number: int) -> str:
    return f"{number} cluster{'s' if number > 1 else ''} with rows"


def _difference(group: ChainGroup, first: ChainGroup) -> tuple[float, float]:
    if group.lp is None or group.max_lp is None or first.lp is None or first.max_lp is None:
        return group.log_likelihood - first.log_likelihood, group.max_log_likelihood - first.max_log_likelihood
    return group.lp - first.lp, group.max_lp - first.max_lp


def _mixing(f: Figures) -> list[str]:
    if f.is_pooled:
        return []
    found = _disagreement("what does not depend on labels", f.invariants, f.n_chains)
    if f.nested_r_hat is not None and f.nested_r_hat > MAX_R_HAT:
        found.append(
            f"Nested R-hat by starting mode is {f.nested_r_hat:.3f}: chains still remember where they started."
        )
    if f.relabelled is not None:
        found += _disagreement("relabelled parameters", f.relabelled, f.n_chains)
    return found


def _disagreement(what: str, mixing: Mixing, n_chains: int) -> list[str]:
    found, least = [], min(mixing.ess_bulk, mixing.ess_tail)
    if mixing.r_hat > MAX_R_HAT:
        found.append(f"R-hat of {what} is up to {mixing.r_hat:.3f}, above {MAX_R_HAT} (worst: {mixing.worst}).")
    if least < MIN_ESS_PER_CHAIN * n_chains:
        found.append(f"Effective sample size of {what} is down to {least:.0f}, below {MIN_ESS_PER_CHAIN} a chain.")
    return found


def _labels(f: Figures) -> list[str]:
    if not f.has_switched or f.has_several_modes:
        return []
    if not f.identified:
        return ["Components are not identified, relabelled or not.", *f.label_findings]
    return [
        f"Labels switched: R-hat of parameters in the labels they have is {f.labelled.r_hat:.3f}, and "
        f"{f.switched_share:.0%} of the draws are in other labels than the rest."
    ]


def _starts(f: Figures) -> list[str]:
    if f.n_components == 1 or len(f.islands) > 1 or f.is_pooled or f.scouts:
        return []
    if f.n_chains == 1:
        return ["A single chain has nothing to agree with."]
    if f.starting_modes is None:
        return [
            "Where the chains started is not known: if at the same optimum, their agreement is no proof that there is "
            "no other mode."
        ]
    if len(set(f.starting_modes)) == 1:
        return [
            "All chains started at the same optimum: agreement is no proof that there is no other mode; use "
            "init='spread'."
        ]
    return []


# ---- what to do next

_TELLS_NOTHING = "Average nothing over these chains yet, neither parameters nor densities."
_PARTITION = "Look at what needs no labels: similarity_matrix(), estimate_partition(), the density."
_MODES = (
    "combine_modes() weighs the modes by their evidence and resamples the draws in the right proportions; "
    "init='spread' or init='modes' starts chains in more of them."
)


def next_steps_of(figures: Figures, verdict: str) -> tuple[str, ...]:
    """What to do next, the most promising first."""
    if figures.occupancy is not None and verdict in _OCCUPIED_STEPS:
        return (*_OCCUPIED_STEPS[verdict], _PARTITION)
    if verdict == SEVERAL_MODES and figures.is_pooled:
        return (
            "Quote the weights with their standard errors.",
            "Look at the modes one by one (sample_stats['mode']): an average over different partitions describes none.",
            _PARTITION,
        )
    if verdict == DEGENERATE:
        return _DEGENERATE_STEPS["collapsed" if figures.has_collapsed else "empty"]
    if verdict == SWITCHED:
        return _LABEL_STEPS["identified" if figures.identified else "not identified"]
    return _STEPS[verdict]


_STEPS = {
    CONVERGED: ("Read the posterior: summary(), similarity_matrix(), estimate_partition().",),
    SEVERAL_MODES: (
        _TELLS_NOTHING,
        _MODES,
        "Compare the islands' partitions: a stronger prior or another number of components may leave one of them.",
    ),
    NOT_MIXED: (
        "Take more draws: draws=4000, tune=1000.",
        "Try fewer components or a stronger prior: components that the data do not separate mix slowly.",
        "If chains jump between places now and then, start them in each: init='modes'.",
    ),
    DIVERGENCES: (
        "Raise target_accept to 0.95 or 0.99.",
        "Look where they are: nearly empty and nearly singular components cause them; try fewer components or "
        "a stronger prior.",
    ),
}
_OCCUPIED_STEPS = {
    CONVERGED: ("Report how many components are occupied: occupied_clusters().",),
    SWITCHED: ("Report how many components are occupied: occupied_clusters(); which ones they are changes.",),
    NOT_MIXED: (
        "Take more draws: draws=4000, tune=1000.",
        "Start where other components are occupied: init='spread', then combine_modes().",
        "Try fewer components: K well above the occupied ones costs time only.",
    ),
}
_DEGENERATE_STEPS = {
    "collapsed": (
        "Use a prior on covariances that vanishes at zero, as Prior.weakly_informative does, or a larger scale.",
        "Look for rows with tied values or duplicates: a spike sits on them.",
        "Try fewer components.",
    ),
    "empty": (
        "Fit fewer components, or keep them and report how many are occupied.",
        "An empty component's parameters are draws from its prior: do not read them.",
        _PARTITION,
    ),
}
_LABEL_STEPS = {
    "identified": ("Call relabel() before anything that names a component: summaries, traces, means.", _PARTITION),
    "not identified": (_PARTITION, "Try fewer components or a stronger prior."),
}
