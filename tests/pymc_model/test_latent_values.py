"""`MvNormalMixture` of values that are not observed: gradients by rows, latent values, censored and truncated rows."""

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from arviz_stats import mcse
from pytensor.compile.mode import Mode
from reference import FAMILIES, random_mixture
from scipy.special import logsumexp
from scipy.stats import norm

from bayesgmm.mixture.mixture import Mixture
from bayesgmm.pymc_model.mixture_ops import MixturePullback, RowsPullback
from bayesgmm.pymc_model.mv_normal_mixture import MvNormalMixture

pytestmark = pytest.mark.filterwarnings(r"ignore:.*np.dot\(\) is faster on contiguous arrays")

PYTHON = Mode(linker="py", optimizer="fast_run")
NUMBA = Mode(linker="numba", optimizer="fast_run")
WEIGHTS, MEANS, SDS = np.array([0.3, 0.7]), np.array([-1.0, 2.0]), np.array([0.8, 1.3])
ONE_FEATURE = (WEIGHTS, MEANS[:, None], np.square(SDS)[:, None, None])


def slope_of_rows(mixture: Mixture, X: np.ndarray) -> np.ndarray:
    """By the formula, with matrices that are inverted."""
    residuals = X[:, None, :] - mixture.means
    slopes = np.einsum("kde,nke->nkd", np.linalg.inv(mixture.full_covariances), residuals)
    return -np.einsum("nk,nkd->nd", mixture.responsibilities(X), slopes)


@pytest.mark.parametrize(
    ("name", "mode"),
    [*((name, PYTHON) for name in FAMILIES), *(pytest.param(name, NUMBA, marks=pytest.mark.slow) for name in FAMILIES)],
)
def test_gradient_by_rows_with_any_cotangent(name, mode) -> None:
    rng = np.random.default_rng(0)
    mixture, rows, cotangent = random_mixture(rng, name, (3, 4)), pt.matrix("rows"), rng.standard_normal(40)
    X = rng.normal(0.0, 2.0, (40, 4))
    values = mixture.weights, mixture.means, mixture.full_covariances
    logp = pm.logp(MvNormalMixture.dist(*values, covariance_type=name, shape=X.shape), rows)
    function = pytensor.function([rows], pt.grad((cotangent * logp).sum(), rows), mode=mode)
    assert [type(node.op) for node in function.maker.fgraph.apply_nodes].count(RowsPullback) == 1
    np.testing.assert_allclose(function(X), cotangent[:, None] * slope_of_rows(mixture, X), rtol=1e-9, atol=1e-12)
    step = 1e-6 * rng.standard_normal(X.shape)
    change = (mixture.log_prob(X + step) - mixture.log_prob(X - step)) @ cotangent
    assert change == pytest.approx(2.0 * (step * function(X)).sum(), rel=1e-6)


def test_observed_rows_cost_nothing() -> None:
    weights = pt.vector("weights")
    logp = pm.logp(MvNormalMixture.dist(weights, *ONE_FEATURE[1:], shape=(3, 1)), np.ones((3, 1))).sum()
    function = pytensor.function([weights], pt.grad(logp, weights), mode=PYTHON)
    assert RowsPullback not in [type(node.op) for node in function.maker.fgraph.apply_nodes]


def test_illegal_parameters_have_no_slope() -> None:
    rows = pt.matrix("rows")
    broken = MvNormalMixture.dist(WEIGHTS, MEANS[:, None], -ONE_FEATURE[2], shape=(3, 1))
    gradient = pt.grad(pm.logp(broken, rows).sum(), rows).eval({rows: np.ones((3, 1))}, mode=PYTHON)
    np.testing.assert_array_equal(gradient, 0.0)


def test_one_mean_and_weights_a_row_have_gradients_too() -> None:
    rng = np.random.default_rng(0)
    mixture, shifts = random_mixture(rng, "full", (2, 3)), rng.normal(size=(5, 1, 3))
    X, rows = rng.normal(size=(5, 3)), pt.matrix("rows")
    values = mixture.weights, mixture.means + shifts, mixture.full_covariances
    logp = pm.logp(MvNormalMixture.dist(*values, shape=X.shape), rows).sum()
    got = pytensor.function([rows], pt.grad(logp, rows), mode=PYTHON)(X)
    np.testing.assert_allclose(got, slope_of_rows(mixture, X - shifts[:, 0]), rtol=1e-9)


def latent_model(y: np.ndarray, sd: float) -> pm.Model:
    """Effects of groups from a known mixture, each observed once with a normal error."""
    with pm.Model() as model:
        effects = MvNormalMixture("effects", *ONE_FEATURE, shape=(len(y), 1))
        pm.Normal("y", effects[:, 0], sd, observed=y)
    return model


def test_a_model_of_latent_values_has_its_density_and_gradient() -> None:
    y = np.array([-1.5, 0.3, 2.0])
    model = latent_model(y, 0.7)
    effects = np.array([[-1.0], [0.5], [1.5]])
    mixture = Mixture(*ONE_FEATURE)
    value = model.compile_logp(mode=PYTHON)({"effects": effects})
    assert value == pytest.approx(mixture.log_prob(effects).sum() + norm.logpdf(y, effects[:, 0], 0.7).sum())
    slope = model.compile_dlogp(mode=PYTHON)({"effects": effects})
    expected = slope_of_rows(mixture, effects)[:, 0] + (y - effects[:, 0]) / 0.7**2
    np.testing.assert_allclose(slope, expected)


@pytest.mark.slow
@pytest.mark.draws
def test_latent_values_are_sampled_from_their_posterior() -> None:
    """Normal errors and a normal mixture are conjugate: the posterior of an effect is a mixture too."""
    y, sd = np.array([-1.5, 0.3, 2.0]), 0.7
    with latent_model(y, sd):
        draws = pm.sample(2_000, tune=1_000, chains=4, random_seed=1, progressbar=False).posterior["effects"]
    variance = np.square(SDS) + sd**2
    log_joint = np.log(WEIGHTS) + norm.logpdf(y[:, None], MEANS, np.sqrt(variance))
    shares = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
    means = (shares * (MEANS * sd**2 + y[:, None] * np.square(SDS)) / variance).sum(axis=1)
    error = np.array([mcse(draws.to_numpy()[..., i, 0]) for i in range(3)])
    np.testing.assert_array_less(np.abs(draws.mean(("chain", "draw")).to_numpy()[:, 0] - means), 4.5 * error)


def log_cdf(x: np.ndarray) -> np.ndarray:
    return logsumexp(np.log(WEIGHTS) + norm.logcdf(x[..., None], MEANS, SDS), axis=-1)


def test_censored_rows_of_one_feature() -> None:
    y = np.array([0.0, 0.4, 3.0, 5.0])
    with pm.Model() as model:
        rows = MvNormalMixture.dist(*ONE_FEATURE, shape=(4,))
        pm.Censored("y", rows, lower=0.0, upper=5.0, observed=y)
    inside = Mixture(*ONE_FEATURE).log_prob(y[1:3, None]).sum()
    expected = log_cdf(np.array(0.0)) + inside + np.log1p(-np.exp(log_cdf(np.array(5.0))))
    assert model.compile_logp(mode=PYTHON)({}) == pytest.approx(expected)


def test_truncated_rows_of_one_feature() -> None:
    y = np.array([0.1, 0.4, 3.0])
    with pm.Model() as model:
        rows = MvNormalMixture.dist(*ONE_FEATURE, shape=(3,))
        pm.Truncated("y", rows, lower=0.0, upper=None, observed=y)
    inside = Mixture(*ONE_FEATURE).log_prob(y[:, None]).sum()
    expected = inside - 3.0 * np.log1p(-np.exp(log_cdf(np.array(0.0))))
    assert model.compile_logp(mode=PYTHON)({}) == pytest.approx(expected)


@pytest.mark.parametrize("wrap", [pm.Censored, pm.Truncated])
def test_of_several_features_pymc_says_what_is_missing(wrap) -> None:
    rows = MvNormalMixture.dist(WEIGHTS, np.zeros((2, 2)), np.stack([np.eye(2)] * 2), shape=(3, 2))
    with pm.Model(), pytest.raises(NotImplementedError, match="multivariate distributions"):
        wrap("y", rows, lower=0.0, upper=None, observed=np.ones((3, 2)))


def test_gradients_by_parameters_are_what_they_were() -> None:
    weights, rows = pt.vector("weights"), pt.matrix("rows")
    logp = pm.logp(MvNormalMixture.dist(weights, *ONE_FEATURE[1:], shape=(3, 1)), rows)
    cotangent = np.array([1.0, -2.0, 0.5])
    both = pytensor.function([weights, rows], pt.grad((cotangent * logp).sum(), [weights, rows]), mode=PYTHON)
    ops = [type(node.op) for node in both.maker.fgraph.apply_nodes]
    assert ops.count(MixturePullback) == ops.count(RowsPullback) == 1
    X = np.array([[0.0], [1.0], [4.0]])
    np.testing.assert_allclose(both(WEIGHTS, X)[0], cotangent @ Mixture(*ONE_FEATURE).responsibilities(X) / WEIGHTS)
