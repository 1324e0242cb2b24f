"""Findings on convergence and next steps, as sentences."""

from collections.abc import Sequence

from bayesgmm._common import counted, numbered, sentence, with_error
from bayesgmm.diagnostics.messages import (
    APPROXIMATION_STEPS,
    COLLAPSED_STEPS,
    EMPTY_STEPS,
    LOOK_AT_PARTITIONS,
    NOT_IDENTIFIED_STEPS,
    POOLED_STEPS,
    SPARSE_STEPS,
    STEPS,
    SWITCHED_STEPS,
    Finding,
    Fragment,
)
from bayesgmm.diagnostics.rhat_ess import MAX_R_HAT, MIN_ESS_PER_CHAIN, MIN_SETTLED_ESS, Mixing
from bayesgmm.diagnostics.verdict import (
    COLLAPSED_RATIO,
    DEGENERATE,
    GOOD_K_HAT,
    MAX_DEGENERATE,
    MAX_MISSING,
    MAX_WEIGHT_SE,
    NOT_MIXED,
    SEVERAL_MODES,
    SWITCHED,
    ChainGroup,
    Figures,
    PooledMode,
)


def findings_of(figures: Figures) -> tuple[str, ...]:
    """Everything that was found, one sentence each, the gravest first."""
    if figures.is_too_short:
        return (sentence(Finding.TOO_FEW_DRAWS),)
    parts = (_divergences, _degenerate, _occupied, _pooled, _weighed, _groups, _mixing, _labels, _starts, _missing)
    return tuple(finding for part in parts for finding in part(figures))


def next_steps_of(figures: Figures, verdict: str) -> tuple[str, ...]:
    """What to do next, the most promising first."""
    if figures.approximation is not None and verdict == NOT_MIXED:
        return APPROXIMATION_STEPS
    if figures.occupancy is not None and verdict in SPARSE_STEPS:
        return (*SPARSE_STEPS[verdict], LOOK_AT_PARTITIONS)
    if verdict == SEVERAL_MODES and figures.is_pooled:
        return POOLED_STEPS
    if verdict == DEGENERATE:
        return COLLAPSED_STEPS if figures.has_collapsed else EMPTY_STEPS
    if verdict == SWITCHED:
        return SWITCHED_STEPS if figures.identified else NOT_IDENTIFIED_STEPS
    return STEPS[verdict]


def _divergences(f: Figures) -> list[str]:
    counts = {"n_divergences": f.n_divergences, "n_samples": f.n_samples}
    return [sentence(Finding.DIVERGENCES, **counts)] if f.n_divergences else []


def _degenerate(f: Figures) -> list[str]:
    found = []
    if f.has_collapsed:
        found.append(sentence(Finding.COLLAPSED, shares=_shares(f.collapsed_share), ratio=COLLAPSED_RATIO))
    if f.occupancy is None and max(f.empty_share) > MAX_DEGENERATE:
        finding = Finding.MOSTLY_EMPTY if f.has_empty else Finding.EMPTY
        found.append(sentence(finding, shares=_shares(f.empty_share), n_components=f.n_components))
    return found


def _occupied(f: Figures) -> list[str]:
    return [] if f.occupancy is None else f.occupancy.findings


def _shares(shares: Sequence[float]) -> str:
    many = [chain for chain, share in enumerate(shares) if share > MAX_DEGENERATE]
    chains = "all chains" if len(many) == len(shares) else numbered(many, "chain")
    return sentence(Fragment.SHARES, share=sum(shares) / len(shares), chains=chains)


def _pooled(f: Figures) -> list[str]:
    if not f.is_pooled:
        return []
    modes = [sentence(Finding.MODE, number=i, figures=_mode(mode, f.n_chains)) for i, mode in enumerate(f.modes)]
    vague = any(mode.is_vague for mode in f.modes)
    uncertain = [sentence(Finding.UNCERTAIN_WEIGHTS, limit=MAX_WEIGHT_SE, least=MIN_SETTLED_ESS)] if vague else []
    return [sentence(Finding.POOLED, n_modes=len(f.modes)), *modes, *uncertain]


def _weighed(f: Figures) -> list[str]:
    if not f.is_weighed:
        return []
    n_chains = f.n_chains if f.approximation is None else 0  # which tell nothing of independent draws
    modes = [sentence(Finding.MODE, number=i, figures=_mode(mode, n_chains)) for i, mode in enumerate(f.modes)]
    finding = Finding.WEIGHED if f.approximation is None else Finding.APPROXIMATED_MODES
    return [sentence(finding, n_modes=len(f.modes)), *modes]


def _missing(f: Figures) -> list[str]:
    if f.missing is None or f.missing <= MAX_MISSING:
        return []
    return [sentence(Finding.MISSING, missing=f.missing, n=f.n_random_starts)]


def _mode(mode: PooledMode, n_chains: int) -> str:
    parts = [f"weight {with_error(mode.weight, mode.weight_se, 'probability')}"]
    if mode.cluster_sizes:
        parts.append(sentence(Fragment.CLUSTERS, sizes=", ".join(f"{size:g}" for size in mode.cluster_sizes)))
    elif mode.n_clusters is not None:
        parts.append(_clusters(mode.n_clusters))
    if mode.effective_size is not None:
        parts.append(sentence(Fragment.EFFECTIVE_DRAWS, n=mode.effective_size))
    if n_chains == 0:
        return ", ".join(parts)
    chains = [chain for chain in mode.chains if chain < n_chains]
    return ", ".join([*parts, numbered(chains, "chain") if chains else "exploratory chains only"])


def _groups(f: Figures) -> list[str]:
    n_groups = len(f.islands)
    if n_groups == 1:
        return []
    if len(f.settled) < 2:
        return [] if f.is_pooled else [sentence(Finding.NOT_STATIONARY, n_groups=n_groups)]
    first, *others = f.islands
    best = sentence(Finding.BEST_GROUP, chains=numbered(first.chains, "chain"), level=_level(first))
    return [sentence(Finding.GROUPS, n_groups=n_groups), best, *(_other_group(group, first) for group in others)]


def _other_group(group: ChainGroup, first: ChainGroup) -> str:
    mean, best = _difference(group, first)
    return sentence(
        Finding.OTHER_GROUP,
        chains=numbered(group.chains, "chain"),
        level=_level(group),
        density="log-likelihood" if group.lp is None or first.lp is None else "log posterior density",
        mean=mean,
        best=best,
        best_chains=numbered(first.chains, "chain"),
        vi=group.vi[0],
    )


def _level(group: ChainGroup) -> str:
    level = sentence(Fragment.LEVEL, log_likelihood=group.log_likelihood, clusters=_clusters(group.n_clusters))
    return level + ("" if group.is_settled else Fragment.NOT_SETTLED)


def _clusters(number: int) -> str:
    return f"{counted(number, 'cluster')} with rows"


def _difference(group: ChainGroup, first: ChainGroup) -> tuple[float, float]:
    if group.lp is None or group.max_lp is None or first.lp is None or first.max_lp is None:
        return group.log_likelihood - first.log_likelihood, group.max_log_likelihood - first.max_log_likelihood
    return group.lp - first.lp, group.max_lp - first.max_lp


def _mixing(f: Figures) -> list[str]:
    if f.is_pooled:
        return []
    if (own := f.approximation) is not None:
        if own.is_fine:
            return [sentence(Finding.ROUGH, k_hat=own.k_hat, limit=GOOD_K_HAT)] if own.k_hat > GOOD_K_HAT else []
        figures = {"k_hat": own.k_hat, "n": own.effective_draws, "n_proposals": own.n_proposals}
        return [sentence(Finding.APPROXIMATION, **figures)]
    found = _disagreement("label-invariant quantities", f.invariants, f.n_chains)
    if f.nested_r_hat is not None and f.nested_r_hat > MAX_R_HAT:
        found.append(sentence(Finding.NESTED_R_HAT, r_hat=f.nested_r_hat))
    if f.relabelled is not None:
        found += _disagreement("relabelled parameters", f.relabelled, f.n_chains)
    return found


def _disagreement(what: str, mixing: Mixing, n_chains: int) -> list[str]:
    found, least = [], min(mixing.ess_bulk, mixing.ess_tail)
    if mixing.r_hat > MAX_R_HAT:
        found.append(sentence(Finding.R_HAT, what=what, r_hat=mixing.r_hat, limit=MAX_R_HAT, worst=mixing.worst))
    if least < MIN_ESS_PER_CHAIN * n_chains:
        found.append(sentence(Finding.ESS, what=what, ess=least, limit=MIN_ESS_PER_CHAIN))
    return found


def _labels(f: Figures) -> list[str]:
    if not f.has_switched or f.has_several_modes or f.is_weighed:
        return []
    if not f.identified:
        return [sentence(Finding.NOT_IDENTIFIED), *f.label_findings]
    return [sentence(Finding.SWITCHED, r_hat=f.labelled.r_hat, share=f.switched_share)]


def _starts(f: Figures) -> list[str]:
    if f.n_components == 1 or len(f.islands) > 1 or f.is_pooled or f.scouts or f.missing is not None:
        return []
    if f.approximation is not None:
        return [sentence(Finding.ONE_OPTIMUM)]
    if f.n_chains == 1:
        return [sentence(Finding.SINGLE_CHAIN)]
    if f.starting_modes is None:
        return [sentence(Finding.UNKNOWN_STARTS)]
    return [sentence(Finding.SAME_START)] if len(set(f.starting_modes)) == 1 else []
