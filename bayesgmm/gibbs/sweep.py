r"""One sweep of blocked Gibbs sampling: labels given the parameters, then each block of parameters given the labels.

A sweep draws, with :math:`n_k` rows in component k,

- the label of every row from its memberships (of a row with weight w the multinomial counts of w rows), those of a
  labelled row among the components it may come from; then, given it, what is missing of the row from its distribution
  given what was observed;
- weights from :math:`Dirichlet(\alpha + n)`;
- covariances from inverse Wisharts, or variances from inverse gammas: given the means where these are independent of
  them, with the means integrated out where they are conjugate;
- means from normals, given the covariances;
- a scale S with a prior from its Wishart, given the covariances; a concentration with a prior by slice sampling (Neal
  2003), given the weights.

Where densities of rows given their labels are taken to a power, the same holds with the power's share of each row.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from bayesgmm._common import Array, Factors, Means, Weights
from bayesgmm._compiled import (
    IN_1,
    OUT_1,
    OUT_2,
    OUT_3,
    allocation_free,
    cholesky_lower,
    compiled,
    linked,
    record_type,
    solve_cholesky,
)
from bayesgmm.data import COMPLETE, PATTERNS, Data, Patterns
from bayesgmm.mixture import COMPONENT, COVARIANCE, LOG_2PI, Draws, Mixture, pointwise_rows
from bayesgmm.priors import SMALLEST_WEIGHT, Model, ResolvedPrior

SWEEPS = 4  # of a draw, which then costs about as much as one of NUTS
_SLICE = 1.0  # width of the first interval of a slice, in log concentrations


class ConjugatePrior(NamedTuple):
    """A prior as compiled code reads it, see `ResolvedPrior`."""

    concentration: Weights
    concentration_prior: Array  # shape and rate, or empty
    mean: Means
    kappa: Weights
    mean_precision: Array
    dof: Array
    scale: Factors
    scale_precision: Factors
    scale_count: Array


class Labelled(NamedTuple):
    """Rows that may come from some components only, in groups that may come from the same ones.

    Attributes
    ----------
    rows : (labelled,)
        Their numbers, group by group.
    ends : (group,)
        Where each group ends among them.
    columns : (feature * labelled,)
        Their values by features, group by group.
    allowed : (group, cluster)
    """

    rows: NDArray[np.int64]
    ends: NDArray[np.int64]
    columns: Array
    allowed: NDArray[np.bool_]

    @classmethod
    def of(cls, data: Data) -> "Labelled":
        """The labelled rows of some rows."""
        if data.allowed is None:
            return NONE_LABELLED
        masks, group = np.unique(data.allowed, axis=0, return_inverse=True)
        own = [np.flatnonzero(group.ravel() == g) for g, mask in enumerate(masks) if not mask.all()]
        parts = [data.rows[each].T.ravel() for each in own]
        rows, columns = (np.concatenate([empty, *each]) for empty, each in ((_NO_ROWS, own), (np.empty(0), parts)))
        return cls(rows, np.cumsum([len(each) for each in own], dtype=np.int64), columns, masks[~masks.all(axis=1)])


_NO_ROWS = np.empty(0, dtype=np.int64)
NONE_LABELLED = Labelled(_NO_ROWS, _NO_ROWS, np.empty(0), np.empty((0, 0), dtype=np.bool_))


class Rows(NamedTuple):
    """Rows by features, as the kernel reads them, and one by one; how many rows each is, or nothing.

    Those labelled, and patterns of missing values, which are NaN.
    """

    columns: Array
    rows: Array
    counts: NDArray[np.int64]
    labelled: Labelled = NONE_LABELLED
    patterns: Patterns = COMPLETE


class Point(NamedTuple):
    """Parameters and hyperparameters, of one draw or, with a leading axis, of many."""

    weights: Weights
    means: Means
    factors: Factors
    precision_factors: Factors
    concentration: Weights
    scale: Factors


class Chain(NamedTuple):
    """Where a chain is, and room for sums over the rows of each component, which are relative to its mean."""

    at: Point
    tempered: Factors
    log_scale: Weights
    log_density: Array
    memberships: Array
    counts: Weights
    first: Means
    second: Factors

    @classmethod
    def room(cls, at: Point, n_rows: int) -> "Chain":
        """A chain at a point, with room for so many rows."""
        (k, d), shape = at.means.shape, at.factors.shape
        of_rows = np.empty(n_rows), np.empty((k, n_rows))
        return cls(at, np.empty(shape), np.empty(k), *of_rows, np.empty(k), np.empty((k, d)), np.empty(shape))


class Kept(NamedTuple):
    """What is kept of the draws of a chain, (draw, ...)."""

    weights: Array
    means: Array
    factors: Array
    log_likelihood: Array

    @classmethod
    def room(cls, chain: Chain, n_draws: int) -> "Kept":
        """Room for draws."""
        shapes = (chain.at.weights.shape, chain.at.means.shape, chain.at.factors.shape, ())
        return cls(*(np.empty((n_draws, *shape)) for shape in shapes))


OUT_4 = types.Array(types.float64, 4, "C")
PRIOR = record_type(ConjugatePrior, OUT_1, OUT_1, OUT_2, OUT_1, OUT_3, OUT_1, OUT_3, OUT_3, OUT_1)
_LABELLED = record_type(Labelled, types.int64[::1], types.int64[::1], OUT_1, types.boolean[:, ::1])
ROWS = record_type(Rows, OUT_2, OUT_2, types.int64[::1], _LABELLED, PATTERNS)
POINT = record_type(Point, OUT_1, OUT_2, OUT_3, OUT_3, OUT_1, OUT_3)
CHAIN = record_type(Chain, POINT, OUT_3, OUT_1, OUT_1, OUT_2, OUT_1, OUT_2, OUT_3)
_KEPT = record_type(Kept, OUT_2, OUT_3, OUT_4, OUT_1)


class Sweeps:
    """Gibbs sampling of the posterior of a model given rows, see this module; for a prior that `refusal` accepts."""

    def __init__(self, data: Data, model: Model) -> None:
        counts = np.empty(0) if data.row_weights is None else data.row_weights
        by_feature, by_row = (np.array(rows, order="C") for rows in (data.entries.T, data.entries))
        patterns = Patterns.of(~np.isnan(by_row))
        self.rows = Rows(by_feature, by_row, counts.astype(np.int64), Labelled.of(data), patterns)
        self.model, self.prior = model, compiled_prior(model.required_prior)
        self.kernel = model.family.parametrisation, model.component

    def chain(self, start: Mixture) -> Chain:
        """A chain that begins at a mixture, hyperparameters at their means."""
        return Chain.room(point_at(start, self.model), len(self.rows.rows))

    def place(self, chain: Chain, draws: Draws, s: int, *, rng: np.random.Generator) -> None:
        """Put a chain at one of some draws, with hyperparameters drawn given it."""
        prior, at, weights = self.model.required_prior, chain.at, np.maximum(draws.weights[s], SMALLEST_WEIGHT)
        at.weights[:], at.means[:], at.factors[:] = weights, draws.means[s], draws.factors[s]
        at.precision_factors[:] = draws.precision_factors[s]
        drawn = prior.hyperparameters_given(weights[None], at.precision_factors[None], rng=rng)
        if "prior_concentration" in drawn:
            at.concentration[:] = drawn["prior_concentration"][0]
        if "prior_scale" in drawn:
            at.scale[:] = self.model.family.parametrisation.blocks(drawn["prior_scale"])

    def run(self, rng: np.random.Generator, chain: Chain, kept: Kept, *, first: int, n: int) -> None:
        """Make ``n`` draws, the last of `SWEEPS` sweeps each, the first of which has the number ``first``.

        Those from number zero on are kept.
        """
        _draws(*self.kernel, rng, self.rows, self.prior, chain, kept, first, n)


def point_at(start: Mixture, model: Model) -> Point:
    """A mixture, and hyperparameters at their means."""
    prior = model.required_prior
    return Point(
        np.maximum(start.weights, SMALLEST_WEIGHT),
        start.means.copy(),
        np.array(start.factors, order="C"),
        np.array(start.precision_factors, order="C"),
        prior.concentration.copy(),
        np.array(prior.scale),
    )


def refusal(model: Model, data: Data) -> tuple[str, str] | None:
    """What is expected and what came, unless every block has a known distribution given the others."""
    if model.required_prior.separation is not None:
        return "a prior that is conjugate given the labels, for Gibbs sampling", "one on variances and correlations"
    if model.family.restriction(model.n_components, model.n_features) is not None:
        return "a family whose covariances are conjugate given the labels, for Gibbs sampling", model.family.name
    weights = data.row_weights
    if weights is not None and (weights != np.floor(weights)).any():
        fraction = weights[weights != np.floor(weights)][0]
        return "whole sample_weight for Gibbs sampling, which gives every row a component", f"{fraction:g}"
    return None


def compiled_prior(prior: ResolvedPrior) -> ConjugatePrior:
    """A prior as compiled code reads it."""
    gamma = prior.concentration_prior
    arrays = (
        prior.concentration,
        np.empty(0) if gamma is None else np.array([gamma.shape, gamma.rate]),
        prior.mean,
        prior.kappa,
        prior.mean_precision,
        prior.dof,
        prior.scale,
        prior.scale_precision,
        prior.scale_count,
    )
    return ConjugatePrior(*(np.require(array, np.float64, ["C", "W"]) for array in arrays))


@linked(
    types.void(COVARIANCE, COMPONENT, types.npy_rng, ROWS, PRIOR, CHAIN, _KEPT, types.int64, types.int64),
    allocates=False,
)
def _draws(covariance, component, rng, rows, prior, chain, kept, first, n):  # type: ignore[no-untyped-def]
    """``n`` draws; those from number zero on are kept, the first has the number ``first``."""
    evaluate(covariance, component, rows, chain, 1.0)
    for s in range(first, first + n):
        for _ in range(SWEEPS):
            sweep(covariance, component, rng, rows, prior, chain, 1.0)
        if s >= 0:
            write_multiple(1.0, chain.at.weights, kept.weights[s])
            write_multiple(1.0, chain.at.means, kept.means[s])
            write_multiple(1.0, chain.at.factors, kept.factors[s])
            kept.log_likelihood[s] = total_log_density(rows, chain)


@linked(types.void(COVARIANCE, COMPONENT, types.npy_rng, ROWS, PRIOR, CHAIN, types.float64))
def sweep(covariance, component, rng, rows, prior, chain, power):  # type: ignore[no-untyped-def]
    """One sweep, from memberships to memberships; of the rows' densities given their labels that power is taken."""
    _draw_labels(covariance, rng, rows, chain)
    draw_parameters(covariance, rng, prior, chain, power)
    evaluate(covariance, component, rows, chain, power)


@linked(types.void(COVARIANCE, COMPONENT, types.npy_rng, ROWS, CHAIN))
def draw_labels(covariance, component, rng, rows, chain):  # type: ignore[no-untyped-def]
    """Labels of rows at the point of a chain, and the sums over them."""
    evaluate(covariance, component, rows, chain, 1.0)
    _draw_labels(covariance, rng, rows, chain)


@linked(types.void(COVARIANCE, types.npy_rng, PRIOR, CHAIN, types.float64))
def draw_parameters(covariance, rng, prior, chain, power):  # type: ignore[no-untyped-def]
    """Every block of parameters, given the sums over rows by their labels."""
    _draw_weights(rng, prior, chain)
    if power != 1.0:
        write_multiple(power, chain.counts, chain.counts)
        write_multiple(power, chain.first, chain.first)
        write_multiple(power, chain.second, chain.second)
    _draw_covariances(covariance, rng, prior, chain)
    _draw_means(covariance, rng, prior, chain)
    _draw_hyperparameters(covariance, rng, prior, chain)


@allocation_free
def write_multiple(factor, array, product):  # type: ignore[no-untyped-def]
    """product = factor * array; assigning an array to a slice takes seconds to compile, for the text of its error."""
    for index in np.ndindex(array.shape):
        product[index] = factor * array[index]


@allocation_free
def total_log_density(rows, chain):  # type: ignore[no-untyped-def]
    """The log-likelihood, as it was evaluated."""
    total = 0.0
    for i in range(chain.log_density.shape[0]):
        total += chain.log_density[i] * (rows.counts[i] if rows.counts.shape[0] else 1)
    return total


@linked(types.void(COVARIANCE, COMPONENT, ROWS, CHAIN, types.float64), allocates=False)
def evaluate(covariance, component, rows, chain, power):  # type: ignore[no-untyped-def]
    """Log densities and memberships of all rows, of w_k N(x | mu_k, Sigma_k)^power."""
    at = chain.at
    n_blocks, (k, d) = at.precision_factors.shape[0], at.means.shape
    for c in range(k):
        log_det = covariance.log_determinant(at.precision_factors[min(c, n_blocks - 1)], d)
        chain.log_scale[c] = math.log(at.weights[c]) + power * (log_det - 0.5 * d * LOG_2PI)
    write_multiple(math.sqrt(power), at.precision_factors, chain.tempered)
    parameters, found = (chain.log_scale, at.means, chain.tempered), (chain.log_density, chain.memberships)
    pointwise_rows(covariance, component, rows.columns, rows.patterns, *parameters, *found)
    if rows.labelled.rows.shape[0] > 0:
        _evaluate_labelled(covariance, component, rows.labelled, chain)


@linked(types.void(COVARIANCE, COMPONENT, _LABELLED, CHAIN))
def _evaluate_labelled(covariance, component, labelled, chain):  # type: ignore[no-untyped-def]
    """The same for rows that may come from some components only: others have no share of them."""
    (k, d), n, begin = chain.at.means.shape, labelled.rows.shape[0], 0
    complete = Patterns(np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.int64))
    log_scale, log_density, memberships = np.empty(k), np.empty(n), np.empty(k * n)
    for g in range(labelled.ends.shape[0]):
        end = labelled.ends[g]
        size = end - begin
        for c in range(k):
            log_scale[c] = chain.log_scale[c] if labelled.allowed[g, c] else -np.inf
        x, shares = labelled.columns[d * begin : d * end].reshape(d, size), memberships[: k * size].reshape(k, size)
        arguments = (x, complete, log_scale, chain.at.means, chain.tempered, log_density[:size], shares)
        pointwise_rows(covariance, component, *arguments)
        for i in range(size):
            row = labelled.rows[begin + i]
            chain.log_density[row] = log_density[i]
            for c in range(k):
                chain.memberships[c, row] = shares[c, i]
        begin = end


@compiled
def _draw_labels(covariance, rng, rows, chain):  # type: ignore[no-untyped-def]
    """Counts, and first and second moments about its mean, of the rows that each component is given."""
    at = chain.at
    k, z = at.means.shape[0], np.empty(at.means.shape[1])
    chain.counts[:], chain.first[:], chain.second[:] = 0.0, 0.0, 0.0
    if rows.patterns.members.shape[0] > 0:
        _draw_incomplete(covariance, rng, rows, chain)
        return
    for i in range(rows.rows.shape[0]):
        left, mass = rows.counts[i] if rows.counts.shape[0] else 1, 0.0
        for c in range(k):
            mass += chain.memberships[c, i]
        if left == 1:
            c = _label(rng, chain.memberships, i, mass)
            _give(covariance, chain, c, 1.0, rows.rows[i], z)
        else:
            _share_out(covariance, rng, chain, i, left, mass, rows.rows[i], z)


@compiled
def _label(rng, memberships, i, mass):  # type: ignore[no-untyped-def]
    """A component of row i, whose memberships sum to ``mass``."""
    c, u = 0, rng.random() * mass - memberships[0, i]
    while u >= 0.0 and c < memberships.shape[0] - 1:
        c += 1
        u -= memberships[c, i]
    return c


@linked(types.void(COVARIANCE, types.npy_rng, ROWS, CHAIN))
def _draw_incomplete(covariance, rng, rows, chain):  # type: ignore[no-untyped-def]
    """The same of rows with missing values: each is completed given its label, as often as it counts.

    A row x* of the component is drawn whole; x* and the regression of the missing features on x - x* observed are then
    together a draw given what was observed.
    """
    at, patterns, start = chain.at, rows.patterns, 0
    n_blocks, (k, d) = at.precision_factors.shape[0], at.means.shape
    work, nothing = (np.empty(d), np.empty(at.factors.shape[1:])), np.zeros(at.factors.shape[1:])
    noise, row, regressed, whitened, z = np.empty(d), np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    for p in range(patterns.table.shape[0]):
        stop, n_observed = patterns.table[p, 0], patterns.table[p, 1]
        features = patterns.table[p, 2:]
        n_rows, n_columns = covariance.factor_shape(n_observed)
        marginal = np.empty((n_blocks, n_rows, n_columns))
        rotations = np.empty((n_blocks, n_observed * (d - n_observed), 2))
        for g in range(n_blocks):
            covariance.marginalise(at.precision_factors[g], features, n_observed, work[1], marginal[g], rotations[g])
        residual, first, second = np.empty(n_observed), np.empty(n_observed), np.zeros((n_rows, n_columns))
        for member in range(start, stop):
            i, mass = patterns.members[member], 0.0
            for c in range(k):
                mass += chain.memberships[c, i]
            for _ in range(rows.counts[i] if rows.counts.shape[0] else 1):
                c = _label(rng, chain.memberships, i, mass)
                g = min(c, n_blocks - 1)
                for j in range(d):
                    noise[j], whitened[j] = rng.standard_normal(), 0.0
                covariance.multiply(at.factors[g], noise, row)
                for j in range(n_observed):
                    residual[j] = rows.rows[i, features[j]] - at.means[c, features[j]] - row[features[j]]
                covariance.multiply(marginal[g], residual, first)
                sums = (0.0, first, second)
                covariance.add_expected(features, rotations[g], sums, work, (whitened, nothing))
                covariance.multiply(at.factors[g], whitened, regressed)
                for j in range(d):
                    row[j] += at.means[c, j] + regressed[j]
                for j in range(n_observed):
                    row[features[j]] = rows.rows[i, features[j]]
                _give(covariance, chain, c, 1.0, row, z)
        start = stop


@linked(
    types.void(COVARIANCE, types.npy_rng, CHAIN, types.int64, types.int64, types.float64, OUT_1, OUT_1),
    allocates=False,
)
def _share_out(covariance, rng, chain, i, left, mass, row, z):  # type: ignore[no-untyped-def]
    """Give the components their shares of ``left`` rows that are alike, whose memberships sum to ``mass``."""
    k = chain.counts.shape[0]
    for c in range(k):
        share = chain.memberships[c, i]
        n = left if c == k - 1 or share >= mass else rng.binomial(left, share / mass)
        mass -= share
        left -= n
        if n > 0:
            _give(covariance, chain, c, float(n), row, z)


@allocation_free
def _give(covariance, chain, c, n, row, z):  # type: ignore[no-untyped-def]
    """Count a row n times in a component."""
    chain.counts[c] += n
    for j in range(z.shape[0]):
        z[j] = row[j] - chain.at.means[c, j]
        chain.first[c, j] += n * z[j]
    covariance.add_outer(n, z, z, chain.second[min(c, chain.second.shape[0] - 1)])


@compiled
def _draw_weights(rng, prior, chain):  # type: ignore[no-untyped-def]
    """From their Dirichlet distribution, by the logarithms of gamma variables, which do not vanish."""
    at = chain.at
    k, highest, total = at.weights.shape[0], -np.inf, 0.0
    for c in range(k):
        shape = at.concentration[c] + chain.counts[c]
        log_gamma = math.log(rng.standard_gamma(shape + 1.0)) + math.log1p(-rng.random()) / shape
        at.weights[c] = log_gamma
        highest = max(highest, log_gamma)
    for c in range(k):
        at.weights[c] = math.exp(at.weights[c] - highest)
        total += at.weights[c]
    for c in range(k):
        at.weights[c] = max(at.weights[c] / total, SMALLEST_WEIGHT)


@compiled
def _draw_covariances(covariance, rng, prior, chain):  # type: ignore[no-untyped-def]
    """Given the labels, and given the means unless these are conjugate: then those are integrated out."""
    at = chain.at
    n_blocks, (k, d) = chain.second.shape[0], at.means.shape
    away, width = np.empty(d), covariance.n_alike(d)
    for c in range(k):
        n, kappa = chain.counts[c], prior.kappa[c]
        if kappa > 0.0 and n > 0.0:
            for j in range(d):
                away[j] = at.means[c, j] + chain.first[c, j] / n - prior.mean[c, j]
            block = chain.second[min(c, n_blocks - 1)]
            covariance.add_outer(-1.0 / n, chain.first[c], chain.first[c], block)
            covariance.add_outer(kappa * n / (kappa + n), away, away, block)
    for g in range(n_blocks):
        dof = prior.dof[g]
        for c in range(k):
            if min(c, n_blocks - 1) == g:
                dof += width * chain.counts[c]
        for index in np.ndindex(at.scale.shape[1:]):
            chain.second[g][index] += at.scale[g][index]
        covariance.draw_factor(rng, dof, chain.second[g], at.factors[g], at.precision_factors[g])


@compiled
def _draw_means(covariance, rng, prior, chain):  # type: ignore[no-untyped-def]
    """Given labels and covariances, as displacements from where they were."""
    at = chain.at
    n_blocks, (k, d) = chain.second.shape[0], at.means.shape
    noise, moved, half, pull = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    precision, root = np.empty((d, d)), np.empty((d, d))
    for c in range(k):
        n, kappa, g = chain.counts[c], prior.kappa[c], min(c, n_blocks - 1)
        for j in range(d):
            noise[j] = rng.standard_normal()
            pull[j] = prior.mean[c, j] - at.means[c, j]
        if kappa > 0.0:
            covariance.multiply(at.factors[g], noise, moved)
            for j in range(d):
                mean = (kappa * pull[j] + chain.first[c, j]) / (kappa + n)
                at.means[c, j] += mean + moved[j] / math.sqrt(kappa + n)
            continue
        prec = at.precision_factors[g]
        for j in range(d):
            half[:] = 0.0
            half[j] = 1.0
            covariance.multiply(prec, half, moved)
            covariance.multiply_transposed(prec, moved, half)
            for i in range(d):
                precision[i, j] = prior.mean_precision[c, i, j] + n * half[i]
        covariance.multiply(prec, chain.first[c], half)
        covariance.multiply_transposed(prec, half, moved)
        for i in range(d):
            for j in range(d):
                moved[i] += prior.mean_precision[c, i, j] * pull[j]
        cholesky_lower(precision, root)
        _add_noise_of_precision(root, noise, moved)
        solve_cholesky(root, moved)
        for j in range(d):
            at.means[c, j] += moved[j]


@allocation_free
def _add_noise_of_precision(root, noise, vector):  # type: ignore[no-untyped-def]
    """vector += R z: a normal with the precision matrix R Rᵀ, times it."""
    for i in range(root.shape[0]):
        for j in range(i + 1):
            vector[i] += root[i, j] * noise[j]


@linked(types.void(COVARIANCE, types.npy_rng, PRIOR, POINT))
def _draw_scale(covariance, rng, prior, at):  # type: ignore[no-untyped-def]
    """One scale of all blocks."""
    inverse = np.empty(at.scale.shape[1:])
    covariance.write_mean_scale(at.precision_factors, prior.scale_precision[0], 1.0, inverse)
    covariance.draw_block(rng, prior.scale_count[0], inverse, at.scale[0])
    for g in range(1, at.scale.shape[0]):
        write_multiple(1.0, at.scale[0], at.scale[g])


@compiled
def _draw_hyperparameters(covariance, rng, prior, chain):  # type: ignore[no-untyped-def]
    """A scale and a concentration that have a prior."""
    at = chain.at
    if prior.scale_count.shape[0]:
        _draw_scale(covariance, rng, prior, at)
    if prior.concentration_prior.shape[0]:
        k, total, n_lost = at.weights.shape[0], 0.0, 0
        for c in range(k):
            total += math.log(at.weights[c])
            n_lost += at.weights[c] <= SMALLEST_WEIGHT
        at.concentration[:] = _draw_concentration(rng, prior.concentration_prior, k, total, n_lost, at.concentration[0])


@linked(types.float64(types.npy_rng, IN_1, types.int64, types.float64, types.int64, types.float64))
def _draw_concentration(rng, gamma, k, total, n_lost, now):  # type: ignore[no-untyped-def]
    """A concentration given the sum of k log weights, by slice sampling of its logarithm.

    Of weights at the smallest number it is only known that they are no greater.
    """
    t = math.log(now)
    level = _log_concentration(t, gamma, k, total, n_lost) - rng.standard_exponential()
    low = t - _SLICE * rng.random()
    high = low + _SLICE
    while _log_concentration(low, gamma, k, total, n_lost) > level:
        low -= _SLICE
    while _log_concentration(high, gamma, k, total, n_lost) > level:
        high += _SLICE
    while True:
        other = low + (high - low) * rng.random()
        if _log_concentration(other, gamma, k, total, n_lost) > level:
            return math.exp(other)
        if other < t:
            low = other
        else:
            high = other


@allocation_free
def _log_concentration(t, gamma, k, total, n_lost):  # type: ignore[no-untyped-def]
    """Log density of t = log e: Gamma(shape, rate) of e, Dirichlet of the weights."""
    e = math.exp(t)
    of_e = (gamma[0] - n_lost) * t - gamma[1] * e
    return of_e + math.lgamma(k * e) - k * math.lgamma(e) + e * total
