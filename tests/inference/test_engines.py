"""Every sampler draws from the posterior: against closed forms, against exact draws, and against each other.

Means and standard deviations are compared by z-scores on Monte Carlo standard errors. The largest of
all scores is compared with a bound for so many.
"""

import warnings
from dataclasses import dataclass

import arviz as az
import numpy as np
import pytest
from em_cases import best_fit
from exact_posterior import exact_draws, updated
from monte_carlo import bound, z_score
from reference import FAMILIES, load_data

from bayesgmm._common.arrays import Array
from bayesgmm.data.blocks import Data
from bayesgmm.inference.engines import ENGINES
from bayesgmm.inference.gibbs import sample_gibbs
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.mixture.alignment import align_to
from bayesgmm.mixture.draws import Draws
from bayesgmm.priors.prior import Prior

SEED = 20
SAMPLERS = ENGINES | {"gibbs": sample_gibbs}
QUICK = ("native", "gibbs")


def problem(X, n_components, prior, covariance_type="full") -> Problem:
    X = np.asfortranarray(X)
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, _ = best_fit(Data.of(X), n_components, rng=rng, covariance_type=covariance_type, prior=prior)
    return Problem(Data.of(X), prior, found.mixture)


def run(sampler: str, given: Problem, *, seed=SEED, **settings) -> Draws:
    """Draws with axes (chain, draw)."""
    settings = SamplerSettings(seed=seed, progress=False, **{"draws": 1000, **settings})
    draws, trace = SAMPLERS[sampler](given, settings, np.random.default_rng(seed))
    shape = trace.stats["lp"].shape
    assert (draws.chain.reshape(shape) == np.arange(len(trace.chains))[:, None]).all()
    return Draws(*(values.reshape(*shape, *values.shape[1:]) for values in draws.arrays), family=draws.family)


# ---- comparing


@dataclass(frozen=True)
class Scores:
    """z-scores of means and of standard deviations, and ratios of standard deviations, one a quantity."""

    mean: Array
    sd: Array
    ratio: Array

    def check(self) -> None:
        most = bound(2 * self.mean.size)
        worst = f"means {np.abs(self.mean).max():.2f}, sds {np.abs(self.sd).max():.2f}, bound {most:.2f}; " + (
            f"sd ratios {self.ratio.min():.3f} to {self.ratio.max():.3f}"
        )
        print(worst)
        assert np.abs(np.concatenate([self.mean, self.sd])).max() < most, worst
        assert np.abs(np.log(self.ratio)).max() < 0.25, worst


def errors(draws: Array) -> tuple[Array, Array, Array, Array]:
    """Mean, its standard error, standard deviation and its standard error of (chain, draw, quantity)."""
    columns = np.moveaxis(draws, 2, 0)
    mcse = np.array([[az.mcse(column, method=method) for method in ("mean", "sd")] for column in columns])
    return draws.mean(axis=(0, 1)), mcse[:, 0], draws.std(axis=(0, 1)), mcse[:, 1]


def compare(draws: Array, others: Array) -> Scores:
    """Two sets of draws (chain, draw, quantity) of one distribution."""
    (mean, mean_error, sd, sd_error), (mean_2, mean_error_2, sd_2, sd_error_2) = errors(draws), errors(others)
    return Scores(
        (mean - mean_2) / np.hypot(mean_error, mean_error_2), (sd - sd_2) / np.hypot(sd_error, sd_error_2), sd / sd_2
    )


def against_truth(draws: Array, mean: Array, sd: Array) -> Scores:
    """Draws (chain, draw, quantity) against known means and standard deviations."""
    got, error, got_sd, sd_error = errors(draws)
    return Scores((got - mean) / error, (got_sd - sd) / sd_error, got_sd / sd)


def quantities(weights: Array, means: Array, covariances: Array) -> Array:
    """(..., quantity): all but the last weight, all means, log variances and correlations.

    Bounded or log scales have the fourth moments that the standard error of a standard deviation needs.
    """
    lead, (k, d) = weights.shape[:-1], means.shape[-2:]
    sd = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
    correlations = covariances / (sd[..., :, None] * sd[..., None, :])
    pairs = correlations[(..., *np.tril_indices(d, -1))]
    return np.concatenate([weights[..., : k - 1], *(a.reshape(*lead, -1) for a in (means, np.log(sd), pairs))], axis=-1)


def sorted_quantities(weights: Array, means: Array, covariances: Array) -> Array:
    """Quantities of components in ascending order of their first mean: the same for every labelling."""
    order = means[..., 0].argsort(axis=-1)
    return quantities(
        np.take_along_axis(weights, order, axis=-1),
        np.take_along_axis(means, order[..., None], axis=-2),
        np.take_along_axis(covariances, order[..., None, None], axis=-3),
    )


# ---- closed forms: one component


def small_data(n=15, d=3):
    rng = np.random.default_rng(1)
    return np.asfortranarray(rng.normal(size=(n, d)) @ np.tril(rng.normal(size=(d, d))) + 1.0)


def conjugate_prior(d=3, **changed):
    scale = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 3.0]])[:d, :d]
    numbers = {"mean": np.full(d, 0.5), "kappa": 0.5, "dof": d + 3.0, "scale": scale, "concentration": 1.5}
    return Prior.normal_inverse_wishart(**{**numbers, **changed})


@pytest.mark.draws
@pytest.mark.parametrize("sampler", QUICK)
@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_one_component_against_the_closed_form(covariance_type, sampler):
    X, prior = small_data(), conjugate_prior()
    n, d = X.shape
    kappa, mean, dof, scale = updated(prior, np.array(float(n)), X.sum(axis=0), X.T @ X)
    centre = scale / (dof - d - 1)
    factor = (dof - d) * (dof - d - 1) ** 2 * (dof - d - 3)
    diagonal = np.diag(scale)
    variance = ((dof - d + 1) * scale**2 + (dof - d - 1) * np.outer(diagonal, diagonal)) / factor
    lower = np.tril_indices(d)
    draws = run(sampler, problem(X, 1, prior, covariance_type), draws=4000)
    np.testing.assert_array_equal(draws.weights, 1.0)
    got = np.concatenate([draws.means[:, :, 0], draws.covariances[:, :, 0][(..., *lower)]], axis=-1)
    truth = np.concatenate([mean, centre[lower]])
    sds = np.sqrt(np.concatenate([np.diag(centre) / kappa, variance[lower]]))
    against_truth(got, truth, sds).check()


@pytest.mark.draws
@pytest.mark.parametrize("sampler", QUICK)
@pytest.mark.parametrize("covariance_type", ["diag", "spherical"])
def test_one_component_of_independent_features_against_the_closed_form(covariance_type, sampler):
    X, prior = small_data(), conjugate_prior()
    n, d = X.shape
    kappa, mean, _, scale = updated(prior, np.array(float(n)), X.sum(axis=0), X.T @ X)
    width = 1 if covariance_type == "diag" else d  # inverse gammas; a spherical one sees every feature
    shape = 0.5 * (prior.dof + n * width)
    rate = 0.5 * np.diag(scale)
    if covariance_type == "spherical":
        rate = np.full(d, (0.5 * np.trace(prior.scale) / d) + 0.5 * np.trace(scale - prior.scale))
    centre, spread = rate / (shape - 1), rate / ((shape - 1) * np.sqrt(shape - 2))
    draws = run(sampler, problem(X, 1, prior, covariance_type), draws=4000)
    covariances = draws.covariances[:, :, 0]
    assert not covariances[(..., *np.tril_indices(d, -1))].any()
    free = slice(None) if covariance_type == "diag" else slice(0, 1)
    got = np.concatenate([draws.means[:, :, 0], np.diagonal(covariances, axis1=-2, axis2=-1)[..., free]], axis=-1)
    against_truth(
        got, np.concatenate([mean, centre[free]]), np.concatenate([np.sqrt(centre / kappa), spread[free]])
    ).check()


# ---- exact draws: two components of a few rows


def exact(X, prior, n_components=2, size=8000):
    draws = exact_draws(np.asarray(X), prior, n_components, size=size)
    return sorted_quantities(*(draws[name][None] for name in ("weights", "means", "covariances")))


@pytest.mark.draws
@pytest.mark.parametrize("sampler", [pytest.param("native", marks=pytest.mark.slow), "gibbs"])
def test_two_features_against_exact_draws(sampler):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(10, 2)) + np.repeat([[0.0, 0.0], [3.0, 1.0]], 5, axis=0)
    prior = conjugate_prior(2, dof=6.0, concentration=3.0)
    got = sorted_quantities(*run(sampler, problem(X, 2, prior), draws=4000, target_accept=0.9).arrays)
    compare(got, exact(X, prior)).check()


THREE_GROUPS = np.concatenate([np.linspace(-0.5, 0.5, 4) + centre for centre in (-3.0, 0.0, 3.0)])[:, None]
WIDE = Prior.normal_inverse_wishart(mean=[0.0], kappa=0.1, dof=3.0, scale=[[0.3]], concentration=2.0)


def log_ratio_of_spreads(draws: Draws) -> Array:
    """log sd of the left component less that of the right one, (chain, draw)."""
    return sorted_quantities(*draws.arrays)[..., [3, 4]] @ [1.0, -1.0]


def assert_two_modes_visited(ratio: Array) -> None:
    """Two peaks with a valley of less than half their height between them, and every chain often on both sides."""
    counts, _ = np.histogram(ratio, bins=[-1.75, -1.25, -0.75, -0.25, 0.25, 0.75, 1.25, 1.75])
    assert counts[3] < 0.5 * max(counts[:3])
    assert counts[3] < 0.5 * max(counts[4:])
    left = (ratio < 0).mean(axis=1)
    assert (left > 0.2).all()
    assert (left < 0.8).all()


def two_modes(sampler: str) -> Draws:
    """Three equal groups, two components: the middle group joins the left or the right one."""
    return run(sampler, problem(THREE_GROUPS, 2, WIDE), draws=5000, target_accept=0.9)


def check_two_modes(draws: Draws) -> None:
    ratio = log_ratio_of_spreads(draws)
    assert_two_modes_visited(ratio)
    side = (ratio < 0).astype(float)
    assert abs(z_score(side, 0.5)) < bound()  # the data are symmetric
    compare(sorted_quantities(*draws.arrays), exact(THREE_GROUPS, WIDE)).check()


@pytest.mark.draws
@pytest.mark.parametrize("sampler", [pytest.param("native", marks=pytest.mark.slow), "gibbs"])
def test_two_modes_that_chains_pass_between_against_exact_draws(sampler):
    check_two_modes(two_modes(sampler))


@pytest.mark.draws
def test_three_components_of_seven_rows_against_exact_draws_by_gibbs():
    X, prior = (
        THREE_GROUPS[[0, 1, 2, 5, 6, 9, 11]],
        Prior.normal_inverse_wishart(mean=[0.0], kappa=0.3, dof=6.0, scale=[[2.0]], concentration=2.0),
    )
    got = sorted_quantities(*run("gibbs", problem(X, 3, prior), draws=8000).arrays)
    compare(got, exact(X, prior, 3, size=16_000)).check()


@pytest.mark.slow
@pytest.mark.draws
def test_the_exact_posterior_has_the_two_modes():
    spread = exact(THREE_GROUPS, WIDE)[..., [3, 4]] @ [1.0, -1.0]
    assert_two_modes_visited(spread)


@pytest.mark.draws
@pytest.mark.slow
def test_two_modes_by_the_pymc_engine():
    draws = two_modes("pymc")
    check_two_modes(draws)
    compare(sorted_quantities(*draws.arrays), sorted_quantities(*two_modes("native").arrays)).check()


# ---- all samplers on Iris


def iris() -> Array:
    return load_data("iris")[:, :4]


def within_species(X: Array) -> Prior:
    """What one knows of flowers of one species: with free covariances weaker priors leave several modes on Iris.

    Under the default prior a component that empties, or two that split one species, hold much of the posterior:
    there chains differ whichever engine draws them, and nothing could be compared.
    """
    default = Prior.weakly_informative(X)
    return Prior.independent(
        concentration=5.0,
        mean=default.mean,
        mean_covariance=default.mean_covariance,
        dof=20.0,
        scale=14.0 * np.diag([0.25, 0.1, 0.2, 0.04]),
    )


IRIS = {
    "tied": (Prior.weakly_informative, "tied"),
    "full": (within_species, "full"),
}


def iris_problem(name: str) -> Problem:
    make_prior, covariance_type = IRIS[name]
    return problem(iris(), 3, make_prior(iris()), covariance_type)


def aligned_quantities(given: Problem, draws: Draws) -> Array:
    weights, means, covariances = draws.reordered(align_to(given.start, *draws.arrays)).arrays
    return quantities(weights, means, covariances[:, :, : draws.family.n_blocks(weights.shape[2])])


def log_densities(given: Problem, draws: Draws) -> Array:
    """Log likelihood of every tenth row under every draw: the same for every labelling, (chain, draw, quantity)."""
    rows = given.data.rows[::10]
    shift = rows[:, None] - draws.means[:, :, None]
    precision = np.linalg.inv(draws.covariances)
    distance = np.einsum("cdnki,cdkij,cdnkj->cdnk", shift, precision, shift, optimize=True)
    log_det = np.linalg.slogdet(draws.covariances)[1]
    logp = np.log(draws.weights)[:, :, None] - 0.5 * (distance + log_det[:, :, None])
    return np.logaddexp.reduce(logp, axis=-1)


@pytest.mark.draws
@pytest.mark.slow
@pytest.mark.parametrize("name", IRIS)
@pytest.mark.parametrize("other", ["pymc", "gibbs"])
def test_samplers_draw_from_the_same_posterior_on_iris(name, other):
    given = iris_problem(name)
    native, others = (run(sampler, given, draws=3000, seed=seed) for sampler, seed in (("native", 1), (other, 2)))
    for draws in (native, others):
        assert max(az.rhat(column) for column in np.moveaxis(log_densities(given, draws), 2, 0)) < 1.01
    compare(aligned_quantities(given, native), aligned_quantities(given, others)).check()
    compare(log_densities(given, native), log_densities(given, others)).check()


# ---- seeds and starts


def draws_on_faithful(sampler="native", **settings) -> Draws:
    X = load_data("faithful")
    return run(sampler, problem(X, 2, Prior.weakly_informative(X)), **{"draws": 50, "tune": 100, **settings})


@pytest.mark.parametrize("sampler", QUICK)
def test_the_same_seed_gives_the_same_draws_whatever_the_cores(sampler):
    one, two, other = (draws_on_faithful(sampler, cores=c, seed=seed) for c, seed in ((1, 20), (4, 20), (1, 21)))
    for a, b in zip(one.arrays, two.arrays, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.means != other.means).all()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_draws_by_the_pymc_engine():
    one, two = draws_on_faithful("pymc", cores=1), draws_on_faithful("pymc", cores=4)
    for a, b in zip(one.arrays, two.arrays, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_draws_are_full_matrices_of_the_family(covariance_type):
    X = load_data("faithful")
    given = problem(X, 2, Prior.weakly_informative(X), covariance_type)
    covariances = run("native", given, draws=20, tune=50, chains=1).covariances
    assert covariances.shape == (1, 20, 2, 2, 2)
    assert np.linalg.eigvalsh(covariances).min() > 0
    if given.start.family.shared:
        np.testing.assert_array_equal(covariances[:, :, 0], covariances[:, :, 1])
    if not given.start.family.parametrisation.correlated:
        assert not covariances[..., 0, 1].any()
    if given.start.family.parametrisation.width(2) > 1:
        np.testing.assert_array_equal(covariances[..., 0, 0], covariances[..., 1, 1])


@pytest.mark.draws
def test_starts_scatter_like_the_posterior_and_are_finite():
    X = load_data("faithful")
    given = problem(X, 2, Prior.weakly_informative(X))
    points = given.starting_points(200, np.random.default_rng(0))
    assert points.std() == pytest.approx(1.0, abs=0.05)
    assert all(np.isfinite(given.log_posterior(point)[0]) for point in points)
