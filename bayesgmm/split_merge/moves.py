r"""Split-merge moves of two components between the sweeps of Gibbs sampling.

Sweeps hardly empty a component, nor fill an empty one from part of a large one. A move takes the rows S of two
components, given a label of every row, and draws the parameters of both anew: of m points of a density q and their own,
one is chosen with a probability proportional to p / q, p the density of S times the prior (iterated sampling importance
resampling, which leaves the posterior as it is; Andrieu, Lee & Vihola 2018). q depends on S, not on which row was in
which of the two: it is the density of the parameters given allocations of S (`PairDensity`), of short Gibbs chains of
two components that begin anew at two random rows (Jain & Neal 2007 begin likewise), and of those in which one component
has all rows, or all but one or a few neighbours, so that what is nearly empty is refreshed too.

Which two is decided by two random rows that are near each other: their components, or, if these are one, it and the
smallest of the others. Points after which the same two rows choose another pair are not candidates.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from bayesgmm._common import Array, IntArray
from bayesgmm.data import Data
from bayesgmm.gibbs import Chain, Kept, Sweeps, refusal
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.partitions import drawn_labels
from bayesgmm.prediction import each_draw
from bayesgmm.priors import Model, ResolvedPrior
from bayesgmm.split_merge.pair_density import PairDensity

_CHAINS, _BURN, _KEPT = 4, 3, 6  # short chains, and draws of each
_CANDIDATES = 24
_SPLIT, _EMPTY = 0.5, 0.2  # share of q of short chains, and of all rows in one component
_FEW = (1, 2, 4)  # rows of a nearly empty component, which are neighbours
_FEWEST_ROWS = 4
_TO_THE_SMALLEST = 0.5
_HALF = 0.5


def can_move(model: Model, data: Data) -> bool:
    """Whether the moves are possible: conjugate given labels, components alike, each with a covariance of its own."""
    own = model.exchangeable and not model.family.shared and model.n_components > 1
    return own and data.row_weights is None and refusal(model, data) is None


@dataclass(frozen=True)
class Moves:
    """Split-merge moves of chains of Gibbs sampling, see this module.

    Attributes
    ----------
    data : Data
    model : Model
        That `can_move` accepts.
    every, in_warm_up : int
        Draws of a chain after which a move is tried.
    settling : bool
        Whether chains have to find their place first, in half of their warm-up.
    """

    data: Data
    model: Model
    every: int = 20
    in_warm_up: int = 5
    settling: bool = False

    @cached_property
    def scaled(self) -> Array:
        """Rows in units in which they have unit covariance."""
        rows = self.data.rows - self.data.rows.mean(axis=0)
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(rows, rowvar=False)))
        used = values > np.finfo(np.float64).eps * len(values) * values[-1]
        return np.asarray(rows @ (vectors[:, used] / np.sqrt(values[used])))

    @cached_property
    def two(self) -> Model:
        """The model of two of the components."""
        two = self.model.with_components(2)
        return replace(two, prior=two.required_prior.inverse_wishart)

    def step(self, chain: Chain, rng: np.random.Generator, *, settling: bool = False) -> bool:
        """Move a chain whose memberships are those of its point; whether it changed.

        A chain that is ``settling`` has to find its place: half of the moves are of the smallest component and any
        other, and all points are candidates, so that the posterior is not left as it is.
        """
        labels = _labels(chain.memberships, rng)
        rows = self._two_rows(rng)
        rows = rows[:1] * 2 if settling and rng.random() < _TO_THE_SMALLEST else rows
        counts = np.bincount(labels, minlength=self.model.n_components)
        pair = np.array(_pair(labels[rows[0]], labels[rows[1]], counts))
        own = np.flatnonzero(np.isin(labels, pair))
        if len(own) < _FEWEST_ROWS:
            return False
        chosen = self._chosen(chain, pair, own, counts, None if settling else np.searchsorted(own, rows), rng)
        if chosen is None:
            return False
        at = chain.at
        at.weights[pair] = chosen.weights[0] * at.weights[pair].sum()
        at.means[pair], at.factors[pair] = chosen.means[0], chosen.factors[0]
        at.precision_factors[pair] = chosen.precision_factors[0]
        return True

    def _two_rows(self, rng: np.random.Generator) -> tuple[int, int]:
        """Any row, and another of those nearest to it, as many as components have on average."""
        n, row = len(self.scaled), int(rng.integers(len(self.scaled)))
        distances = np.square(self.scaled - self.scaled[row]).sum(axis=1)
        distances[row] = np.inf
        n_near = min(n - 1, max(_FEWEST_ROWS, n // self.model.n_components))
        return row, int(rng.choice(np.argpartition(distances, n_near - 1)[:n_near]))

    def _chosen(
        self,
        chain: Chain,
        pair: IntArray,
        own: IntArray,
        counts: IntArray,
        rows: IntArray | None,
        rng: np.random.Generator,
    ) -> Draws | None:
        """The new parameters of a pair with the rows ``own``, of which ``rows`` chose it, if any; None if it stays."""
        part, two = self.data.take(own), self._model_at(chain, pair)
        density = proposal(part, two, rng=rng)
        at = chain.at
        here = Draws.of_factors(
            (at.weights[pair] / at.weights[pair].sum())[None],
            at.means[pair][None],
            at.factors[pair][None],
            family=two.family,
        )
        points = Draws.joined([here, density.sample(_CANDIDATES, rng=rng)])
        log_ratio = two.required_prior.log_density_of(points) - density.log_density(points)
        for s, (log_density, memberships) in enumerate(each_draw(points, part, with_memberships=True)):
            log_ratio[s] += log_density.sum()
            if s > 0 and rows is not None:
                labels, after = pair[_labels(memberships, rng)], counts.copy()
                after[pair] = [(labels == c).sum() for c in pair]
                again = _pair(labels[rows[0]], labels[rows[1]], after)
                log_ratio[s] = log_ratio[s] if set(again) == set(pair.tolist()) else -np.inf
        best = int((log_ratio + rng.gumbel(size=len(log_ratio))).argmax())
        return points[best : best + 1] if best else None

    def _model_at(self, chain: Chain, pair: IntArray) -> Model:
        """The model of two components with the hyperparameters of a chain."""
        if self.model.required_prior.scale_prior is None and self.model.required_prior.concentration_prior is None:
            return self.two
        prior = replace(
            self.two.required_prior, concentration=chain.at.concentration[pair], scale=chain.at.scale[pair].copy()
        )
        return replace(self.two, prior=prior)


def _labels(memberships: Array, rng: np.random.Generator) -> IntArray:
    """A label of each row by its memberships (cluster, obs)."""
    cumulative = memberships.cumsum(axis=0)
    labels: IntArray = (rng.random(cumulative.shape[1]) * cumulative[-1] >= cumulative[:-1]).sum(axis=0)
    return labels


def _pair(one: int, other: int, counts: IntArray) -> tuple[int, int]:
    """The components of two rows, or of both and the smallest of the others."""
    if one != other:
        return min(int(one), int(other)), max(int(one), int(other))
    rest = np.where(np.arange(len(counts)) == one, counts.sum() + 1, counts)
    smallest = int(rest.argmin())
    return min(int(one), smallest), max(int(one), smallest)


# ---- the density of candidates


def proposal(part: Data, two: Model, *, rng: np.random.Generator) -> PairDensity:
    """Densities of two components given allocations of rows that do not depend on any allocation known."""
    prior = two.required_prior
    values = _moments(part, prior)
    split, (few, log_few) = _short_chains(part, two, rng=rng) @ values, _nearly_empty(part, values, two)
    log_split = np.full(len(split), np.log(_SPLIT / len(split)))
    log_weights = np.concatenate([log_split, np.log1p(-_SPLIT) + log_few])
    return PairDensity.of_moments(prior, log_weights, np.concatenate([split, few]))


def _moments(part: Data, prior: ResolvedPrior) -> Array:
    """1, x and x xᵀ of each row x, less the prior mean, (obs, 1 + d + d²)."""
    X = part.rows - prior.mean[0]
    return np.column_stack([np.ones(len(X)), X, (X[:, :, None] * X[:, None]).reshape(len(X), -1)])


def _short_chains(part: Data, two: Model, *, rng: np.random.Generator) -> Array:
    """Allocations (allocation, 2, obs) of chains from two random rows as means."""
    sweeps, kept = Sweeps(part, two), []
    half = two.family.compress(np.stack([_HALF * _covariance(part, two)] * 2))
    for _ in range(_CHAINS):
        means = part.rows[rng.choice(part.shape[0], size=2, replace=False)]
        chain = sweeps.chain(Mixture(np.full(2, 0.5), means, half, two.family.name))
        kept.append(Kept.room(chain, _KEPT))
        sweeps.run(rng, chain, kept[-1], first=-_BURN, n=_BURN + _KEPT)
    weights, means, factors, _ = (np.concatenate(each) for each in zip(*kept, strict=True))
    draws = Draws.of_factors(weights, means, factors, family=two.family)
    labels = np.stack(list(drawn_labels(draws, part, rng=rng)))
    return np.asarray(labels[:, None] == np.arange(2)[:, None], dtype=np.float64)


def _covariance(part: Data, two: Model) -> Array:
    """Of the rows, positive definite by a part of the prior's mean of a component's covariance."""
    prior, d, one = two.required_prior, two.n_features, two.family.parametrisation
    added = one.square(prior.scale[:1] / (one.width(d) * prior.dof[0]), d)[0]
    return np.asarray(np.cov(part.rows, rowvar=False).reshape(d, d) + added)


def _nearly_empty(part: Data, values: Array, two: Model) -> tuple[Array, Array]:
    """Moments (allocation, 2, ...) with all rows in one component, or all but few neighbours; and log weights.

    Half of these rows are any, half as likely as they are unlikely under a normal distribution of all.
    """
    n, total = part.shape[0], values.sum(axis=0)
    root = np.linalg.cholesky(_covariance(part, two))
    scaled = np.linalg.solve(root, (part.rows - part.rows.mean(axis=0)).T).T
    order = cKDTree(scaled).query(scaled, min(max(_FEW), n - 1))[1]
    log_unlikely = 0.5 * np.square(scaled).sum(axis=1)
    share = (1.0 - _EMPTY) / len(_FEW) * 0.5 * (1.0 / n + np.exp(log_unlikely - np.logaddexp.reduce(log_unlikely)))
    few = np.concatenate([np.zeros((1, len(total))), *(values[order[:, :m]].sum(axis=1) for m in _FEW)])
    weights = np.append(_EMPTY, np.tile(share, len(_FEW)))
    return np.stack([total - few, few], axis=1), np.log(weights)
