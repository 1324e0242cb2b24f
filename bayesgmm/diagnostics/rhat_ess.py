"""R-hat and effective sample sizes: the worst over many quantities, and clusters of chains that agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import arviz_stats as azs
import numpy as np
import xarray as xr
from scipy.sparse.csgraph import connected_components
from scipy.stats import norm, rankdata

from bayesgmm._common import Array, IntArray
from bayesgmm.posterior import SAMPLE_DIMS

MAX_R_HAT = 1.01  # Vehtari et al. 2021
MIN_ESS_PER_CHAIN = 100  # likewise: below it R-hat and ESS are not to be trusted themselves
SEPARATE = 1.2  # two chains whose means differ by 1.1 standard deviations
SETTLED = 1.1  # Gelman & Rubin's own bound, for the halves of a cluster's chains
MIN_SETTLED_ESS = 25  # effective draws of a cluster: a difference of 1.1 standard deviations is then four errors
MIN_DRAWS = 4  # below, a chain cannot be split in two halves that have a variance
_CONSTANT = 1e-11  # relative range below which a quantity does not vary but by rounding


@dataclass(frozen=True)
class Mixing:
    """The worst figures over a set of quantities.

    Attributes
    ----------
    r_hat : float
        Rank-normalised split R-hat; of a single chain, between its two halves. NaN with fewer than four draws.
    ess_bulk, ess_tail : float
    worst : str
        The quantity with the highest R-hat.
    """

    __module__ = "bayesgmm.diagnostics"

    r_hat: float
    ess_bulk: float
    ess_tail: float
    worst: str

    def is_fine(self, n_chains: int) -> bool:
        """Whether R-hat is at most 1.01 and both effective sample sizes at least 100 a chain."""
        least = min(self.ess_bulk, self.ess_tail)
        return bool(self.r_hat <= MAX_R_HAT and least >= MIN_ESS_PER_CHAIN * n_chains)


def mixing(draws: xr.Dataset) -> Mixing:
    """The worst R-hat and effective sample sizes of everything that varies in a dataset (chain, draw, ...)."""
    values, names = columns(draws)
    if draws.sizes["draw"] < MIN_DRAWS or not names:
        return Mixing(np.nan, np.nan, np.nan, "")
    with np.errstate(divide="ignore", invalid="ignore"):  # chains that do not move; distances from the median all alike
        r_hats = azs.rhat(_split(values)).to_numpy()
    ess_bulk, ess_tail = (float(azs.ess(values, method=method).min()) for method in ("bulk", "tail"))
    return Mixing(float(r_hats.max()), ess_bulk, ess_tail, names[int(np.argmax(r_hats))])


def _split(values: xr.DataArray) -> xr.DataArray:
    """A single chain as two, which R-hat needs; several as they are."""
    n_chains, n_draws, n_scalars = values.shape
    if n_chains > 1 or n_draws < 2 * MIN_DRAWS:
        return values
    half = n_draws // 2
    halves = values.to_numpy()[0, : 2 * half].reshape(2, half, n_scalars)
    return xr.DataArray(halves, dims=values.dims)


def columns(draws: xr.Dataset) -> tuple[xr.DataArray, list[str]]:
    """All scalars that vary, side by side (chain, draw, scalar), and their names.

    Structural zeros and the weight of a single component have no R-hat.
    """
    arrays, names = [], []
    for name, variable in draws.items():
        values = variable.transpose(*SAMPLE_DIMS, ...)
        arrays.append(values.to_numpy().reshape(*values.shape[:2], -1))
        names += _scalar_names(str(name), values)
    side_by_side = np.concatenate(arrays, axis=2).astype(np.float64)
    varying = np.ptp(side_by_side, axis=(0, 1)) > _CONSTANT * np.abs(side_by_side).max(axis=(0, 1))
    kept = [name for name, is_kept in zip(names, varying, strict=True) if is_kept]
    return xr.DataArray(side_by_side[..., varying], dims=(*SAMPLE_DIMS, "scalar")), kept


def _scalar_names(name: str, variable: xr.DataArray) -> list[str]:
    """``means[0, x1]``: coordinates where there are any, positions elsewhere."""
    own = [variable[dim].to_numpy() for dim in variable.dims[2:]]
    return [f"{name}[{', '.join(map(str, index))}]" if index else name for index in product(*own)]


def nested_r_hat(draws: xr.Dataset, starting_modes: Sequence[int]) -> float | None:
    """The worst nested R-hat, chains that started from one mode making a superchain (Margossian et al. 2024).

    Superchains have to be of one size: of every mode the first chains, as many as the rarest has. None if all chains
    started from one mode.
    """
    modes = np.asarray(starting_modes)
    known, counts = np.unique(modes, return_counts=True)
    values, names = columns(draws)
    if len(known) < 2 or draws.sizes["draw"] < MIN_DRAWS or not names:
        return None
    chosen = np.concatenate([np.flatnonzero(modes == mode)[: counts.min()] for mode in known])
    superchains = np.repeat(np.arange(len(known)), counts.min())
    found = azs.rhat_nested(values.isel(chain=chosen), superchain_ids=superchains.tolist())
    return float(found.max())


@dataclass(frozen=True)
class HalfChains:
    """Normal scores of every quantity and of its distance from the median, by half chains.

    Attributes
    ----------
    mean, variance : (chain, half, scalar)
    size : int
        Draws in a half.
    """

    mean: Array
    variance: Array
    size: int


def half_chains(draws: xr.Dataset) -> HalfChains:
    """Every quantity that varies, by half chains.

    Ranks, and the fold about the median, are those among all chains together: where chains are many this costs one
    sort a quantity instead of one a pair.
    """
    values = columns(draws)[0].to_numpy()
    n_chains, n_draws, _ = values.shape
    folded = np.abs(values - np.median(values, axis=(0, 1)))
    both = np.concatenate([values, folded], axis=2)
    ranks = rankdata(both.reshape(n_chains * n_draws, -1), axis=0)
    scores = norm.ppf((ranks - 0.375) / (len(ranks) + 0.25)).reshape(both.shape)
    half = n_draws // 2
    split = np.stack([scores[:, :half], scores[:, -half:]], axis=1)
    return HalfChains(split.mean(axis=2), split.var(axis=2, ddof=1), half)


def pairwise_r_hat(halves: HalfChains) -> Array:
    """The worst split R-hat of every two chains, and on the diagonal that of the halves of each, (chain, chain)."""
    n_chains = len(halves.mean)
    found = np.diag([_r_hat(halves, [chain]) for chain in range(n_chains)])
    for one, other in combinations(range(n_chains), 2):
        found[one, other] = found[other, one] = _r_hat(halves, [one, other])
    return found


def _r_hat(halves: HalfChains, chains: Sequence[int]) -> float:
    """The worst R-hat over quantities among the halves of some chains."""
    n_scalars = halves.mean.shape[2]
    means, variances = (a[list(chains)].reshape(-1, n_scalars) for a in (halves.mean, halves.variance))
    between, within = means.var(axis=0, ddof=1), variances.mean(axis=0)
    ratio = np.divide(between, within, out=np.where(between > 0, np.inf, 0.0), where=within > 0)
    return float(np.sqrt((halves.size - 1) / halves.size + ratio).max(initial=0.0))


@dataclass(frozen=True)
class ChainCluster:
    """Chains that agree with one another and with no other.

    Attributes
    ----------
    chains : tuple of int
    r_hat : float
        Worst split R-hat among its own chains.
    ess : float
        Least effective sample size of its own chains; NaN if there is no other cluster.
    """

    chains: tuple[int, ...]
    r_hat: float
    ess: float

    @property
    def is_stationary(self) -> bool:
        """Whether its chains are stationary."""
        return bool(self.r_hat <= SETTLED and not self.ess < MIN_SETTLED_ESS)


def chain_clusters(draws: xr.Dataset) -> tuple[ChainCluster, ...]:
    """Connected parts of the graph that joins every two chains whose R-hat is below 1.2, by their first chains."""
    n_chains = draws.sizes["chain"]
    values, names = columns(draws)
    if draws.sizes["draw"] < MIN_DRAWS or not names:
        return (ChainCluster(tuple(range(n_chains)), np.nan, np.nan),)
    halves = half_chains(draws)
    _, part = connected_components(pairwise_r_hat(halves) < SEPARATE, directed=False)
    members = [tuple(np.flatnonzero(part == number).tolist()) for number in range(part.max() + 1)]
    if len(members) == 1:
        return (ChainCluster(members[0], _r_hat(halves, members[0]), np.nan),)
    ess = [float(azs.ess(values.isel(chain=list(chains))).min()) for chains in members]
    return tuple(
        ChainCluster(chains, _r_hat(halves, chains), size) for chains, size in sorted(zip(members, ess, strict=True))
    )


def most_common_share(permutation: IntArray) -> float:
    """Share of draws (sample, cluster) that have the permutation most draws have."""
    _, counts = np.unique(permutation, axis=0, return_counts=True)
    return float(counts.max() / len(permutation))
