"""EVI, VEE and EVV, tied together in volume or shape: M-step, members, prior, coordinates, standard errors, posterior.

VEI has a file of its own, `test_equal_shape`.
"""

import json

import numpy as np
import pytest
from em_cases import load_data
from posterior_cases import case, numerical_gradient
from reference import DATA, random_mixture
from scipy.optimize import minimize
from scipy.special import digamma, gammaln, logsumexp, polygamma
from scipy.stats import invwishart

from bayesgmm import BayesianGaussianMixture, GaussianMixture, Mixture, Prior, diagnose
from bayesgmm.data import Data
from bayesgmm.em import run_em
from bayesgmm.em.m_step import m_step
from bayesgmm.exceptions import InputError
from bayesgmm.log_posterior.transforms import Coordinates
from bayesgmm.mixture import covariance_family, expected_statistics
from bayesgmm.mixture.covariance.equal_volume import draw_with_equal_sums, log_coincidence
from bayesgmm.priors import pseudo_data
from bayesgmm.standard_errors import standard_errors

TIED = ("EVI", "VEE", "EVV")
SHAPES = [(1, 3), (2, 1), (3, 4)]


def n_free(name, k, d):
    """As mclust counts them."""
    if name == "VEE":
        return k - 1 + d * (d + 1) // 2
    return 1 + k * (d - 1) + (k * d * (d - 1) // 2 if name == "EVV" else 0)


def moved(mixture, free):
    """Covariances (cluster, feature, feature) at packed coordinates beside a mixture's."""
    one, (k, d) = mixture.family.parametrisation, mixture.means.shape
    restriction = mixture.family.restriction(k, d)
    packed = (restriction @ free).reshape(k, -1)
    return one.matrices(one.product(mixture.factors, one.unpack(packed, d)), d)


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("shape", SHAPES)
def test_free_parameters(name, shape):
    (k, d), family = shape, covariance_family(name)
    assert family.n_parameters(k, d) == k - 1 + k * d + n_free(name, k, d)
    if k > 1:
        one, free = family.parametrisation, np.random.default_rng(0).normal(size=n_free(name, k, d))
        restriction = family.restriction(k, d)
        np.testing.assert_allclose(one.free((restriction @ free).reshape(k, -1), np), free, atol=1e-14)


@pytest.mark.parametrize("name", TIED)
def test_packed_coordinates_are_linear_in_what_is_free(name):
    family, mixture = covariance_family(name), random_mixture(np.random.default_rng(0), name, (3, 4))
    covariances = moved(mixture, 0.3 * np.random.default_rng(1).normal(size=n_free(name, 3, 4)))
    np.testing.assert_allclose(family.compress(covariances), covariances, rtol=1e-12, atol=1e-12)
    dets = np.linalg.det(covariances)
    if name == "VEE":
        unit = covariances / dets[:, None, None] ** 0.25
        np.testing.assert_allclose(unit, np.broadcast_to(unit[0], unit.shape), rtol=1e-12)
    else:
        np.testing.assert_allclose(dets, dets[0], rtol=1e-12)


@pytest.mark.parametrize("name", TIED)
def test_others_are_refused_and_made_members(name):
    wrong = np.stack([np.diag([1.0, 2.0]), np.diag([4.0, 1.0])])
    with pytest.raises(InputError, match="volume"):
        Mixture([0.5, 0.5], np.eye(2), wrong, name)
    nearest = covariance_family(name).compress(wrong)
    Mixture([0.5, 0.5], np.eye(2), nearest, name)
    if name != "VEE":  # each times a number
        np.testing.assert_allclose(nearest, wrong * np.array([2**0.25, 2**-0.25])[:, None, None])


def objective(scatter, counts, covariances):
    """To be minimised by the M-step."""
    traces = np.einsum("kij,kji->k", scatter, np.linalg.inv(covariances))
    return 0.5 * (counts * np.linalg.slogdet(covariances)[1] + traces).sum()


def an_m_step(name, *, prior, floor):
    """A step of iris from a random mixture: before, after, how many are at the floor, scatters and counts by NumPy."""
    rng, X, family = np.random.default_rng(0), load_data("iris"), covariance_family(name)
    mixture = random_mixture(rng, name, (3, 4))
    mixture = Mixture(mixture.weights, X[[10, 60, 120]], mixture.covariances, name)
    resp, mean, scale = mixture.responsibilities(X), X.mean(axis=0), np.cov(X.T)
    own = Prior.normal_inverse_wishart(mean=mean, kappa=0.1, dof=8.0, scale=scale, concentration=1.0)
    pseudo = pseudo_data(own.resolve(3, 4, name) if prior else None, 3, 4, family)
    found, n_floored = m_step(expected_statistics(X, mixture), mixture, pseudo, floor=floor)
    deviation = X[:, None] - found.means
    scatter, counts = np.einsum("nk,nki,nkj->kij", resp, deviation, deviation), resp.sum(axis=0)
    if prior:
        offset = found.means - mean
        scatter += scale + 0.1 * offset[:, :, None] * offset[:, None]
        counts = counts + 8.0 + (5.0 if family.parametrisation.correlated else 2.0) + 1.0
    return mixture, found, n_floored, scatter if family.parametrisation.correlated else scatter * np.eye(4), counts


@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("name", TIED)
def test_the_m_step_is_the_maximum(name, prior):
    _, found, n_floored, scatter, counts = an_m_step(name, prior=prior, floor=0.0)
    assert n_floored == 0

    def loss(free):
        return objective(scatter, counts, moved(found, free))

    zero = np.zeros(n_free(name, 3, 4))
    assert loss(zero) <= minimize(loss, zero, method="BFGS", options={"gtol": 1e-8}).fun + 1e-9
    np.testing.assert_allclose(numerical_gradient(loss, zero), 0.0, atol=1e-6)


@pytest.mark.parametrize("name", TIED)
def test_the_m_step_in_plain_numpy(name):
    """Celeux & Govaert 1995."""
    _, found, _, scatter, counts = an_m_step(name, prior=False, floor=0.0)
    total, d = counts.sum(), 4
    if name == "VEE":
        matrix = scatter.sum(axis=0)
        for _ in range(2000):
            volumes = np.einsum("kij,ji->k", scatter, np.linalg.inv(matrix)) / d / counts
            matrix = (scatter / volumes[:, None, None]).sum(axis=0)
            matrix /= np.linalg.det(matrix) ** (1.0 / d)
        expected = np.einsum("kij,ji->k", scatter, np.linalg.inv(matrix))[:, None, None] / d / counts[:, None, None]
        expected = expected * matrix
    else:
        sizes = np.linalg.det(scatter) ** (1.0 / d)
        expected = scatter / sizes[:, None, None] * sizes.sum() / total
    np.testing.assert_allclose(found.covariances, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("name", TIED)
def test_the_m_step_at_the_floor(name, prior):
    """No eigenvalue below it, and no member near by that keeps to it is better."""
    floor = 1.5 * np.linalg.eigvalsh(an_m_step(name, prior=prior, floor=0.0)[1].covariances).min()
    before, found, n_floored, scatter, counts = an_m_step(name, prior=prior, floor=floor)
    assert n_floored > 0
    assert np.linalg.eigvalsh(found.covariances).min() == pytest.approx(floor, rel=1e-9)
    reached = objective(scatter, counts, found.covariances)
    assert reached < objective(scatter, counts, before.covariances)
    rng, n = np.random.default_rng(1), n_free(name, 3, 4)
    tried = 0
    for size in (1e-4, 1e-3, 1e-2):
        for _ in range(300):
            covariances = moved(found, size * rng.normal(size=n))
            if np.linalg.eigvalsh(covariances).min() >= floor:
                tried += 1
                assert objective(scatter, counts, covariances) >= reached - 1e-9
    assert tried > 10


@pytest.mark.parametrize("name", TIED)
def test_the_objective_rises_and_the_floor_holds(name):
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(40, 2)), np.full((3, 2), 5.0)])
    X = np.column_stack([X, np.full(len(X), 3.0)])  # a cluster of equal rows, and a constant feature
    result = run_em(Data.of(X), random_mixture(rng, name, (3, 3)))
    assert np.diff(result.history).min() > -1e-9 * np.abs(result.history).max()
    assert np.isfinite(result.mixture.covariances).all()
    Mixture(result.mixture.weights, result.mixture.means, result.mixture.covariances, name)  # still a member


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("data", ["iris", "faithful", "thyroid"])
def test_at_least_mclusts_log_likelihood(name, data):
    """Its best ones for G = 1 to 4, which are no spikes, see `loglik_tight` of mclust's `me` run on to 1e-12."""
    X = load_data(data)
    for k, best in json.loads((DATA / "mclust_tied.json").read_text())[data][name].items():
        fit = GaussianMixture(int(k), covariance_type=name, random_state=0).fit(X)
        assert fit.score(X) * len(X) >= best - 1e-3, k
        assert (
            fit.bic(X) <= -2.0 * best + covariance_family(name).n_parameters(int(k), X.shape[1]) * np.log(len(X)) + 2e-3
        )


def test_a_better_optimum_of_iris_than_mclusts():
    X = load_data("iris")
    fit = GaussianMixture(3, covariance_type="EVV", random_state=0).fit(X)
    assert fit.score(X) * 150 >= -205.537


@pytest.mark.parametrize("shapes", [np.full((2, 1), 1.5), np.full((1, 3), 2.0), np.array([[2.0], [3.5], [1.0]])])
def test_coincidence_in_closed_form(shapes):
    """Of one sum it is certain; of single variables the product of gamma densities is that of one with their total."""
    total = shapes.sum()
    expected = gammaln(total) - gammaln(shapes).sum() - total * np.log(len(shapes)) if shapes.shape[1] == 1 else 0.0
    assert log_coincidence(shapes) == pytest.approx(expected, abs=1e-12)


def test_coincidence_by_quadrature():
    """Of two features, over the first variable of each component and the sum."""
    shapes, y = np.array([[2.0, 1.5], [4.0, 0.8]]), np.arange(-60.0, 6.0, 0.05)

    def density(shape, y):
        with np.errstate(over="ignore"):
            return np.exp(shape * y - np.exp(y) - gammaln(shape))

    sums = [(density(a, y) * density(b, (t := np.arange(-60.0, 6.0, 0.1))[:, None] - y)).sum(axis=1) for a, b in shapes]
    assert len(t) == len(sums[0])
    assert log_coincidence(shapes) == pytest.approx(np.log((sums[0] * sums[1]).sum() * 0.05**2 * 0.1), abs=1e-9)


@pytest.mark.parametrize("name", TIED)
def test_the_prior_integrates_to_one(name):
    """Two components of two features, on a grid of packed coordinates, exact for so smooth a function.

    Those below the diagonal are normal or nearly so, logarithms of the diagonal not far from normal.
    """
    family, one = covariance_family(name), covariance_family(name).parametrisation
    below = {"EVI": (), "VEE": (2,), "EVV": (1, 4)}[name]
    logs = np.arange(-2.4, 4.0, 0.2 if name != "EVV" else 0.3)
    others = np.arange(-6.0, 6.0, 0.3) if name == "VEE" else np.arange(-4.0, 4.5, 1.0)
    axes = [
        others if j in below else logs - (1.5 if name == "VEE" and j == 0 else 0.0) for j in range(n_free(name, 2, 2))
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    packed = (grid @ family.restriction(2, 2).T).reshape(len(grid), 2, -1)
    covariances = one.matrices(one.unpack(packed, 2), 2)
    log_measure = (packed @ one.volume_powers(2)).sum(axis=1) + (4 if one.correlated else 3) * np.log(2.0)
    dof, scale = np.array([5.0, 7.0]), np.diag([1.5, 0.7])
    prior = Prior.independent(concentration=1.0, mean=[0.0, 0.0], mean_covariance=np.eye(2), dof=dof, scale=scale)
    weights, means = np.full((len(grid), 2), 0.5), np.zeros((len(grid), 2, 2))
    log_density = prior.resolve(2, 2, name).log_density(weights, means, covariances) + 2.0 * np.log(2.0 * np.pi)
    widths = sum(np.log(axis[1] - axis[0]) for axis in axes)
    assert logsumexp(log_density + log_measure) + widths == pytest.approx(0.0, abs=1e-4)


@pytest.mark.draws
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", TIED)
def test_draws_from_the_prior(name, compiled):
    """Members all of them; tr S Sigma^-1 has the moments that the density says, by its derivatives in the scale.

    With S times s the normalizer is s to the power of half of all D nu: the sum over components of the traces is
    chi-square with so many degrees of freedom, whatever is tied together.
    """
    rng, n, dof, scale = np.random.default_rng(0), 4_000, np.array([5.0, 7.0]), np.array([[1.5, 0.4], [0.4, 0.7]])
    family, one = covariance_family(name), covariance_family(name).parametrisation
    if compiled:
        matrices = np.zeros((n, 2, 2, 2))
        for each in matrices:
            one.draw_covariances(rng, dof, np.stack([scale, scale]), each)
    else:
        blocks = np.broadcast_to(one.blocks(scale), (n, 2, *one.blocks(scale).shape))
        matrices = one.matrices(one.draw_factors(np.broadcast_to(dof, (n, 2)), blocks, rng), 2)
    np.testing.assert_allclose(family.compress(matrices), matrices, rtol=1e-9, atol=1e-12)
    own = scale if one.correlated else np.diag(np.diagonal(scale))
    traces = np.einsum("ij,nkji->nk", own, np.linalg.inv(matrices)).sum(axis=1)
    total = 2.0 * dof.sum()
    assert traces.mean() == pytest.approx(total, abs=5 * np.sqrt(2 * total / n))
    assert traces.var() == pytest.approx(2 * total, rel=5 * np.sqrt((2 + 12 / total) / n))


@pytest.mark.draws
def test_draws_with_equal_sums():
    """Of one variable each they are all equal, and a gamma variable of all shapes with the number of them as rate."""
    rng, n, shapes = np.random.default_rng(0), 4_000, np.array([[2.0], [0.7], [1.5]])
    drawn = np.empty((n, 3, 1))
    for each in drawn:
        draw_with_equal_sums(rng, shapes, each)
    np.testing.assert_allclose(drawn, drawn[:, :1] * np.ones((1, 3, 1)), atol=1e-12)
    logs = drawn[:, 0, 0] + np.log(3.0)
    assert logs.mean() == pytest.approx(digamma(4.2), abs=5 * np.sqrt(polygamma(1, 4.2) / n))
    assert logs.var() == pytest.approx(polygamma(1, 4.2), rel=5 * np.sqrt(3 / n))


@pytest.mark.draws
@pytest.mark.parametrize("name", ["EVI", "EVV"])
def test_shapes_given_one_volume_are_those_of_draws_that_agree(name):
    """Draws of unrestricted covariances whose determinants nearly agree, by importance of how nearly."""
    rng, n, dof, scale = np.random.default_rng(0), 4_000, np.array([5.0, 7.0]), np.diag([1.5, 0.7])
    one = covariance_family(name).parametrisation
    blocks = np.broadcast_to(one.blocks(scale), (n, 2, *one.blocks(scale).shape))
    tied = one.matrices(one.draw_factors(np.broadcast_to(dof, (n, 2)), blocks, rng), 2)
    many = 400_000
    if name == "EVV":
        free = np.stack([invwishart(v, scale).rvs(many, random_state=rng) for v in dof], axis=1)
    else:
        free = np.diagonal(scale) / rng.chisquare(np.repeat(dof, 2).reshape(2, 2), (many, 2, 2))
        free = free[..., None] * np.eye(2)
    log_dets = np.linalg.slogdet(free)[1]
    near = free[np.abs(log_dets[:, 0] - log_dets[:, 1]) < 0.05]
    for of in (lambda s: np.log(s[:, 0, 0, 0] / s[:, 0, 1, 1]), lambda s: np.linalg.slogdet(s)[1][:, 0]):
        a, b = of(tied), of(near)
        error = np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert a.mean() == pytest.approx(b.mean(), abs=5 * error)
        assert a.std() == pytest.approx(b.std(), rel=5 * np.sqrt(1 / len(a) + 1 / len(b)))


@pytest.mark.parametrize("name", TIED)
def test_what_the_prior_cannot_be(name):
    scales = np.stack([np.eye(2), 2.0 * np.eye(2)])
    different = Prior.independent(mean=[0.0, 0.0], mean_covariance=np.eye(2), dof=3.0, scale=scales, concentration=1.0)
    with pytest.raises(InputError, match="one scale for all components"):
        different.resolve(2, 2, name)
    separation = Prior.separation(mean=[0.0, 0.0], mean_covariance=np.eye(2), variance_shape=2, variance_scale=1, eta=2)
    with pytest.raises(InputError, match="covariance_type one of \\('full', 'tied'\\)"):
        separation.resolve(2, 2, name)


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_log_jacobian_of_coordinates(name, shape):
    """With the measure of `tied_log_constant`: packed coordinates beside the identity."""
    rng, family = np.random.default_rng(1), covariance_family(name)
    centre, mixture = random_mixture(rng, name, shape), random_mixture(rng, name, shape)
    coordinates, (k, d), one = Coordinates.around(centre), shape, family.parametrisation
    point = coordinates.point(mixture)

    def natural(y):
        at = coordinates.parameters(y)
        packed = one.pack(at.factors)
        free = packed.ravel() if k == 1 else one.free(packed, np)
        return np.concatenate([at.weights[:-1], at.means.ravel(), free])

    _, of_coordinates = np.linalg.slogdet(numerical_gradient(natural, point))
    packed = one.pack(mixture.factors)
    expected = of_coordinates + (packed @ one.volume_powers(d)).sum()
    expected += (k * d if one.correlated else n_free(name, k, d)) * np.log(2.0)
    assert coordinates.log_jacobian(point) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", TIED)
def test_standard_errors_are_those_of_the_hessian(name):
    X = load_data("iris")
    mixture = GaussianMixture(2, covariance_type=name, tol=1e-10, random_state=0).fit(X).mixture_
    errors = standard_errors(X, mixture)
    (k, d), n = mixture.means.shape, mixture.family.n_parameters(2, 4)

    def moved_by(step):
        u, m, free = np.split(step, [k - 1, k - 1 + k * d])
        weights = mixture.weights * np.exp(np.append(u, 0.0))
        return Mixture(weights / weights.sum(), mixture.means + m.reshape(k, d), moved(mixture, free), name)

    def objective_at(step):
        return moved_by(step).log_prob(X).sum()

    zero = np.zeros(n)
    hessian = numerical_gradient(lambda y: numerical_gradient(objective_at, y, 1e-3), zero, 1e-3)
    covariance = np.linalg.inv(-hessian)
    change = numerical_gradient(lambda y: moved_by(y).covariances.ravel(), zero, 1e-3)
    sds = np.sqrt(np.einsum("ai,ab,bi->i", change, covariance, change)).reshape(k, d, d)
    np.testing.assert_allclose(errors.covariances, sds, rtol=2e-4, atol=1e-9)
    of_means = np.sqrt(np.diag(covariance)[k - 1 : k - 1 + k * d])
    np.testing.assert_allclose(errors.means.ravel(), of_means, rtol=2e-4)
    assert len(errors.missing) == n


@pytest.mark.parametrize("name", TIED)
def test_one_component_is_the_unrestricted_family(name):
    """The same density, constants included."""
    at = case(name, "normal_inverse_wishart", (1, 3))
    full = "full" if covariance_family(name).parametrisation.correlated else "diag"
    other = Mixture([1.0], at.centre.means, at.centre.covariances if full == "full" else _variances(at.centre), full)
    assert at.prior.log_prob(at.centre) == pytest.approx(at.prior.log_prob(other), rel=1e-12)


def _variances(mixture):
    return np.diagonal(mixture.covariances, axis1=1, axis2=2).copy()


@pytest.mark.slow
@pytest.mark.draws
@pytest.mark.parametrize("name", TIED)
def test_the_posterior_of_iris(name):
    X = load_data("iris")
    fit = BayesianGaussianMixture(3, covariance_type=name, init="best", random_state=0).fit(X)
    covariances = fit.posterior_["posterior"]["covariances"].to_numpy()
    np.testing.assert_allclose(covariance_family(name).compress(covariances), covariances, rtol=1e-8, atol=1e-12)
    found = diagnose(fit.posterior_)
    assert found.verdict == "converged", found
    assert float(fit.posterior_["sample_stats"]["n_steps"].mean()) < 30.0
