"""Student-t components: density and sums against SciPy and NumPy, the Gaussian limit, marginals, borders."""

import numpy as np
import pytest
from reference import EVERY_FAMILY, random_mixture, whitened
from scipy.special import digamma, gammaln, logsumexp
from scipy.stats import multivariate_t

from bayesgmm.data import IncompleteData
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import component_of, covariance_family, expected_statistics
from bayesgmm.mixture.components.student_t import _log_less_digamma, _log_normaliser
from bayesgmm.mixture.mixture import Mixture, column_densities, column_statistics


def t_mixture(rng, covariance_type="full", shape=(3, 4), dof=None):
    """A random mixture with degrees of freedom, by default of every size."""
    gaussian = random_mixture(rng, covariance_type, shape)
    given = np.resize([2.5, 12.0, 150.0], shape[0]) if dof is None else dof
    return Mixture(gaussian.weights, gaussian.means, gaussian.covariances, covariance_type, given)


def slopes_in_dof(sums, mixture):
    """The gradient of the log-likelihood in degrees of freedom, from the sums (full covariances)."""
    nu, d = mixture.dof, mixture.n_features
    slopes = sums.counts * (digamma((nu + d) / 2) - digamma(nu / 2) - d / nu) - sums.others[0]
    return 0.5 * (slopes + sums.second.trace(axis1=1, axis2=2) / nu)


def log_joint_of(X, mixture):
    """log w_k t(x | k), (obs, cluster), by SciPy."""
    parts = zip(mixture.weights, mixture.means, mixture.full_covariances, mixture.dof, strict=True)
    return np.stack([np.log(w) + multivariate_t(mean, scale, df=dof).logpdf(X) for w, mean, scale, dof in parts], 1)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_density_and_sums_are_those_of_numpy(covariance_type):
    rng = np.random.default_rng(3)
    mixture = t_mixture(rng, covariance_type)
    X, v = rng.normal(0.0, 4.0, (301, 4)), rng.uniform(0.0, 2.0, 301)
    joint = log_joint_of(X, mixture)
    log_density = logsumexp(joint, axis=1)
    np.testing.assert_allclose(mixture.log_prob(X), log_density, rtol=1e-12)
    r = v[:, None] * np.exp(joint - log_density[:, None])
    z = whitened(X, mixture)
    lengths = np.square(z).sum(axis=2).T
    u = (mixture.dof + 4) / (mixture.dof + lengths)
    found = expected_statistics(X, mixture, v)
    np.testing.assert_allclose(found.log_likelihood, v @ log_density, rtol=1e-12)
    np.testing.assert_allclose(found.counts, r.sum(axis=0), rtol=1e-11)
    np.testing.assert_allclose(found.first, np.einsum("nk,kni->ki", r * u, z), rtol=1e-10, atol=1e-10)
    trace = np.einsum("nk,kni,kni->k", r * u, z, z)
    sums = found.second.trace(axis1=1, axis2=2) if found.second.shape[1] > 1 else found.second.sum(axis=(1, 2))
    np.testing.assert_allclose(sums, trace, rtol=1e-10)
    others = [(r * np.log1p(lengths / mixture.dof)).sum(axis=0), (r * u).sum(axis=0)]
    np.testing.assert_allclose(found.others, others, rtol=1e-11)
    np.testing.assert_allclose(mixture.robust_weights(X) * v, (r * u).sum(axis=1), rtol=1e-11)


def test_sums_of_blocks_add():
    rng = np.random.default_rng(1)
    mixture, X = t_mixture(rng), rng.normal(size=(50, 4))
    whole = expected_statistics(X, mixture)
    halves = expected_statistics(X[:20], mixture) + expected_statistics(X[20:], mixture)
    np.testing.assert_allclose(halves.others, whole.others, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", EVERY_FAMILY[:4])
def test_many_degrees_of_freedom_are_a_gaussian(covariance_type):
    rng = np.random.default_rng(5)
    gaussian = random_mixture(rng, covariance_type, (3, 2))
    near = Mixture(gaussian.weights, gaussian.means, gaussian.covariances, covariance_type, 1e8)
    X = gaussian.sample(200, rng=rng)[0]
    np.testing.assert_allclose(near.log_prob(X), gaussian.log_prob(X), atol=1e-6)
    one, other = expected_statistics(X, near), expected_statistics(X, gaussian)
    for name in ("counts", "first", "second"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dof", [0.3, 2.0, 7.9, 15.9, 16.1, 200.0, 1e5])
def test_normalizer_and_digamma(dof):
    for d in (1, 5):
        exact = gammaln((dof + d) / 2) - gammaln(dof / 2) - d / 2 * np.log(dof * np.pi)
        assert _log_normaliser(dof, d) == pytest.approx(exact, rel=1e-11, abs=1e-9)
    assert _log_less_digamma(dof) == pytest.approx(np.log(dof) - digamma(dof), rel=1e-10, abs=1e-12)


def test_rows_with_missing_values_are_rows_of_marginals():
    rng = np.random.default_rng(2)
    mixture, X = t_mixture(rng, shape=(2, 3)), rng.normal(0.0, 3.0, (40, 3))
    X[::2, 1] = np.nan
    X[1::4, 0] = np.nan
    block = IncompleteData(X).blocks[0]
    found = column_statistics(block.columns, mixture, block.row_weights, block.patterns)
    log_density = column_densities(block.columns, mixture, block.patterns)[0]
    total = 0.0
    for row, own in zip(X, log_density, strict=True):
        seen = np.flatnonzero(~np.isnan(row))
        exact = mixture.marginal(seen.tolist()).log_prob(row[None, seen])[0]
        assert own == pytest.approx(exact, rel=1e-11)
        total += exact
    assert found.log_likelihood == pytest.approx(total, rel=1e-12)
    assert found.counts.sum() == pytest.approx(40.0)
    step = 1e-4  # and the sums give the gradient in degrees of freedom, as of complete rows
    scaled = mixture.weights, mixture.means, mixture.covariances, "full"
    nearby = [Mixture(*scaled, mixture.dof * [times, 1.0]) for times in (1.0 - step, 1.0 + step)]
    below, above = (column_statistics(block.columns, m, block.row_weights, block.patterns) for m in nearby)
    difference = (above.log_likelihood - below.log_likelihood) / (2 * step * mixture.dof[0])
    np.testing.assert_allclose(difference, slopes_in_dof(found, mixture)[0], rtol=1e-5)


def test_gradients_by_fishers_identity():
    """The sums give the gradient in means, factors and degrees of freedom, as of Gaussians."""
    rng = np.random.default_rng(4)
    mixture, X, step = t_mixture(rng, shape=(2, 2), dof=[3.0, 9.0]), rng.normal(0.0, 3.0, (60, 2)), 1e-5
    sums = expected_statistics(X, mixture)

    def total(means=mixture.means, dof=mixture.dof):
        return Mixture(mixture.weights, means, mixture.covariances, "full", dof).log_prob(X).sum()

    h = np.array([[step, 0.0], [0.0, 0.0]])
    by_mean = mixture.precision_factors[0].T @ sums.first[0]
    difference = total(mixture.means + h) - total(mixture.means - h)
    np.testing.assert_allclose(difference / (2 * step), by_mean[0], rtol=1e-6)
    of_dof = slopes_in_dof(sums, mixture)
    difference = total(dof=mixture.dof + h[0]) - total(dof=mixture.dof - h[0])
    np.testing.assert_allclose(difference / (2 * step), of_dof[0], rtol=1e-6)


@pytest.mark.draws
def test_sampled_rows_have_the_covariances():
    rng = np.random.default_rng(6)
    mixture = Mixture([1.0], [[1.0, -2.0]], [[[2.0, 0.5], [0.5, 1.0]]], dof=9.0)
    X, _ = mixture.sample(200_000, rng=rng)
    np.testing.assert_allclose(np.cov(X.T), mixture.full_covariances[0] * 9.0 / 7.0, atol=0.05)


def test_components_in_another_order_keep_their_degrees_of_freedom():
    mixture = t_mixture(np.random.default_rng(0), dof=[3.0, 4.0, 5.0])
    turned = mixture.permute([2, 0, 1])
    assert turned.dof.tolist() == [5.0, 3.0, 4.0]
    X = np.zeros((1, 4))
    np.testing.assert_allclose(turned.log_prob(X), mixture.log_prob(X), rtol=1e-14)
    assert mixture.n_parameters == covariance_family("full").n_parameters(3, 4) + 3
    assert t_mixture(np.random.default_rng(0), dof=4.0).n_parameters == mixture.n_parameters - 2


def test_gaussian_rows_all_weigh_one():
    mixture = random_mixture(np.random.default_rng(0), "full", (2, 2))
    np.testing.assert_allclose(mixture.robust_weights(np.ones((3, 2))), 1.0)


@pytest.mark.parametrize("dof", [0.0, -1.0, np.nan, [3.0], [1.0, 2.0, 3.0], "many"])
def test_bad_degrees_of_freedom_are_refused(dof):
    with pytest.raises(InputError, match="dof"):
        Mixture([0.5, 0.5], [[0.0], [1.0]], [[[1.0]], [[1.0]]], dof=dof)


@pytest.mark.parametrize(("name", "dof"), [("cauchy", "each"), ("student_t", "own"), ("student_t", np.inf)])
def test_unknown_components_are_refused(name, dof):
    with pytest.raises(InputError, match=r"component one of|dof 'shared', 'each'"):
        component_of(name, dof)


def test_conditionals_are_refused_by_name():
    mixture = t_mixture(np.random.default_rng(0))
    with pytest.raises(InputError, match=r"Gaussian components for conditional mixtures; got component='student_t'"):
        mixture.condition({0: 1.0})
