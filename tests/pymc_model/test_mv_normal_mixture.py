"""`MvNormalMixture` and the covariance distribution: densities, gradients, transforms and draws."""

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from monte_carlo import bound
from pymc.distributions.transforms import CholeskyCovTransform
from pytensor.compile.mode import Mode
from pytensor.graph.traversal import ancestors
from pytensor.tensor.blockwise import Blockwise
from reference import FAMILIES, FLUSHED, random_mixture
from scipy.stats import invgamma, invwishart

from bayesgmm.exceptions import InputError
from bayesgmm.mixture import covariance_family
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.pymc_model.inverse_wishart import CovariancesTransform, InverseWishartCovariances
from bayesgmm.pymc_model.mixture_ops import MixtureLogDensity, MixturePullback, MixtureValueAndGradient
from bayesgmm.pymc_model.mv_normal_mixture import MvNormalMixture

# PyTensor silences this hint about its own code at import; pytest resets that.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*np.dot\(\) is faster on contiguous arrays")

PYTHON = Mode(linker="py", optimizer="fast_run")  # no compilation: the Ops' Python side
NUMBA = Mode(linker="numba", optimizer="fast_run")


def mixture_values(name, k, d, seed=0):
    rng = np.random.default_rng(seed)
    mixture = random_mixture(rng, name, (k, d))
    return mixture, rng.normal(0.0, 2.0, (40, d)), [mixture.weights, mixture.means, mixture.full_covariances]


def symbols():
    return [pt.vector("weights"), pt.matrix("means"), pt.tensor3("covariances")]


def differences(function, values, index, step=1e-6):
    """Central differences by one argument; a covariance moves symmetrically."""
    result = np.zeros_like(values[index])
    for position in np.ndindex(result.shape):
        change = np.zeros_like(result)
        change[position] = step
        if result.ndim == 3:
            change = 0.5 * (change + np.swapaxes(change, 1, 2))
        up, down = list(values), list(values)
        up[index], down[index] = values[index] + change, values[index] - change
        result[position] = (function(*up) - function(*down)) / (2 * step)
    return result


@pytest.mark.parametrize(("k", "d"), [(3, 2), (1, 4), (2, 1)])
@pytest.mark.parametrize("name", FAMILIES)
def test_log_density_is_the_mixtures(name, k, d):
    mixture, X, values = mixture_values(name, k, d)
    rows = MvNormalMixture.dist(*values, covariance_type=name, shape=X.shape)
    np.testing.assert_allclose(pm.logp(rows, X).eval(mode=PYTHON), mixture.log_prob(X), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("full", PYTHON),
        ("diag", PYTHON),
        ("spherical", PYTHON),
        *(pytest.param(name, NUMBA, marks=pytest.mark.slow) for name in ("full", "diag", "spherical")),
    ],
    ids=["full", "diag", "spherical", "full-numba", "diag-numba", "spherical-numba"],
)
def test_gradient_with_any_cotangent(name, mode):
    _, X, values = mixture_values(name, 2, 3)
    cotangent = np.random.default_rng(1).standard_normal(len(X))  # negative ones too
    parameters = symbols()
    logp = pm.logp(MvNormalMixture.dist(*parameters, covariance_type=name, shape=X.shape), X)
    gradients = pt.grad((cotangent * logp).sum(), parameters)
    function = pytensor.function(parameters, gradients, mode=mode)
    ops = [type(node.op) for node in function.maker.fgraph.apply_nodes]
    assert MixturePullback in ops
    assert MixtureValueAndGradient not in ops
    value = pytensor.function(parameters, (cotangent * logp).sum(), mode=PYTHON)
    for index, gradient in enumerate(function(*values)):
        np.testing.assert_allclose(gradient, differences(value, values, index), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scaled", ["sum", "number", "variable", "inside"])
def test_one_pass_for_a_common_cotangent(scaled):
    _, X, values = mixture_values("full", 2, 3)
    parameters, factor = symbols(), pt.scalar("factor")
    logp = pm.logp(MvNormalMixture.dist(*parameters, shape=X.shape), X)
    total = {
        "sum": logp.sum(),
        "number": -0.3 * logp.sum(),
        "variable": factor * logp.sum(),
        "inside": (factor * logp).sum(),
    }[scaled]
    inputs = [factor, *parameters]
    outputs = [total, *pt.grad(total, parameters)]
    function = pytensor.function(inputs, outputs, mode=PYTHON, on_unused_input="ignore")
    ops = [type(node.op) for node in function.maker.fgraph.apply_nodes]
    assert ops.count(MixtureValueAndGradient) == 1
    assert MixtureLogDensity not in ops
    assert MixturePullback not in ops
    plain = Mode(linker="py", optimizer=None)
    unfused = pytensor.function(inputs, outputs, mode=plain, on_unused_input="ignore")
    for got, expected in zip(function(2.5, *values), unfused(2.5, *values), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_rows_used_twice_keep_their_own_values():
    _, X, values = mixture_values("full", 2, 2)
    parameters = symbols()
    logp = pm.logp(MvNormalMixture.dist(*parameters, shape=X.shape), X)
    function = pytensor.function(parameters, [logp, logp.sum(), *pt.grad(logp.sum(), parameters)], mode=PYTHON)
    rows, total, *_ = function(*values)
    np.testing.assert_allclose(rows.sum(), total)


@pytest.mark.parametrize("what", ["covariances", "mean"])
@pytest.mark.parametrize("name", ["full", "diag", "spherical"])
def test_illegal_parameters_have_no_density(name, what):
    _, X, (weights, means, covariances) = mixture_values(name, 2, 3)
    if what == "mean":
        means[0, 1] = np.nan
    else:
        covariances = -covariances
    parameters = symbols()
    logp = pm.logp(MvNormalMixture.dist(*parameters, covariance_type=name, shape=X.shape), X)
    outputs = [logp, *pt.grad(logp.sum(), parameters)]
    log_density, *gradients = pytensor.function(parameters, outputs, mode=PYTHON)(weights, means, covariances)
    assert (log_density == -np.inf).all()
    assert all((gradient == 0).all() for gradient in gradients)


def test_empty_component():
    mixture, X, (_, means, covariances) = mixture_values("full", 2, 2)
    parameters = symbols()
    logp = pm.logp(MvNormalMixture.dist(*parameters, shape=X.shape), X)
    outputs = [logp, *pt.grad(logp.sum(), parameters)]
    log_density, *gradients = pytensor.function(parameters, outputs, mode=PYTHON)([1.0, 0.0], means, covariances)
    one = type(mixture)([1.0], means[:1], covariances[:1])
    np.testing.assert_allclose(log_density, one.log_prob(X))
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_shapes_of_rows():
    mixture, X, values = mixture_values("full", 3, 2)
    single = MvNormalMixture.dist(*values)
    assert single.type.shape == (2,)
    np.testing.assert_allclose(pm.logp(single, X[0]).eval(mode=PYTHON), mixture.log_prob(X[:1])[0])
    cube = X.reshape(4, 10, 2)
    stacked = pm.logp(MvNormalMixture.dist(*values, shape=cube.shape), cube).eval(mode=PYTHON)
    np.testing.assert_allclose(stacked, mixture.log_prob(X).reshape(4, 10))


def test_batched_parameters():
    first, X, a = mixture_values("full", 2, 2, seed=1)
    second, _, b = mixture_values("full", 2, 2, seed=2)
    batched = [np.stack(pair) for pair in zip(a, b, strict=True)]
    rows = np.stack([X[0], X[1]])
    got = pm.logp(MvNormalMixture.dist(*batched), rows).eval(mode=PYTHON)
    np.testing.assert_allclose(got, [first.log_prob(X[:1])[0], second.log_prob(X[1:2])[0]])


@pytest.mark.parametrize(
    ("name", "own_means"),
    [
        ("full", False),
        ("diag", True),
        pytest.param("full", True, marks=pytest.mark.slow),
        pytest.param("spherical", False, marks=pytest.mark.slow),
    ],
)
def test_weights_and_means_of_each_row(name, own_means):
    """A pass for each component, in place of a call for each row: the same value and gradients."""
    _, X, (_, means, covariances) = mixture_values(name, 3, 2)
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(3), len(X))
    weights[0] = 0.0, 1.0, 0.0
    means = means + rng.normal(size=(len(X), 3, 2)) if own_means else means
    known = [pt.matrix(), pt.tensor(dtype="float64", shape=(*[None] * own_means, 3, 2)), pt.tensor3()]
    unknown = [pt.matrix(), pt.tensor(dtype="float64", shape=(None,) * means.ndim), pt.tensor3()]  # a call for each row

    def value_and_gradients(inputs):
        logp = pm.logp(MvNormalMixture.dist(*inputs, covariance_type=name), X)
        outputs = [logp, *pt.grad(logp.sum(), inputs)]
        calls = [each for each in ancestors([logp]) if each.owner is not None and isinstance(each.owner.op, Blockwise)]
        by_row = any(isinstance(each.owner.op.core_op, MixtureLogDensity) for each in calls)
        return by_row, logp, pytensor.function(inputs, outputs, mode=PYTHON)(weights, means, covariances)

    (passes, logp, found), (by_row, _, wanted) = value_and_gradients(known), value_and_gradients(unknown)
    assert (passes, by_row) == (False, True)
    shaped = {
        "full": covariances,
        "diag": np.diagonal(covariances, axis1=1, axis2=2),
        "spherical": covariances[:, 0, 0],
    }
    of_rows = zip(weights, np.broadcast_to(means, (len(X), 3, 2)), X, strict=True)
    alone = [Mixture(w, m, shaped[name], name).log_prob(x[None])[0] for w, m, x in of_rows if w.all()]
    np.testing.assert_allclose(found[0][1:], alone, rtol=1e-12)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-12)
    np.testing.assert_allclose(found[1][1:], wanted[1][1:], rtol=1e-9, atol=FLUSHED)
    np.testing.assert_allclose(found[1][0, 1], wanted[1][0, 1], rtol=1e-9)  # a weight of zero has the gradient zero
    np.testing.assert_allclose(found[2], wanted[2], rtol=1e-9, atol=1e-9)
    symmetric = [0.5 * (each + np.swapaxes(each, 1, 2)) for each in (found[3], wanted[3])]
    np.testing.assert_allclose(*symmetric, rtol=1e-9, atol=1e-9)
    function = pytensor.function(known, logp, mode=PYTHON)
    assert (function(weights, means, -covariances) == -np.inf).all()


@pytest.mark.draws
@pytest.mark.parametrize("mode", [PYTHON, pytest.param(NUMBA, marks=pytest.mark.slow)], ids=["python", "numba"])
def test_draws_have_the_mixtures_moments(mode):
    for name in ("full", "diag", "spherical") if mode is PYTHON else ("full",):
        mixture, _, values = mixture_values(name, 3, 2)
        n = 20_000
        draws = pm.draw(MvNormalMixture.dist(*values, covariance_type=name, shape=(n, 2)), random_seed=1, mode=mode)
        mean = mixture.weights @ mixture.means
        deviation = mixture.means - mean
        between = np.einsum("k,ki,kj->ij", mixture.weights, deviation, deviation)
        cov = np.einsum("k,kij->ij", mixture.weights, mixture.full_covariances) + between
        z = (draws.mean(axis=0) - mean) / np.sqrt(np.diag(cov) / n)
        assert np.abs(z).max() < bound(2)
        np.testing.assert_allclose(np.cov(draws.T), cov, atol=0.1 * np.diag(cov).max())


def test_unknown_family():
    with pytest.raises(InputError, match="covariance_type"):
        MvNormalMixture.dist([1.0], [[0.0]], [[[1.0]]], covariance_type="round")


def test_in_a_model_of_ones_own():
    """Scales, correlations and Cholesky factors of the user's choice; value and gradient in one pass."""
    rng = np.random.default_rng(5)
    X = np.concatenate([rng.standard_normal((20, 2)), rng.standard_normal((20, 2)) + 3.0])
    with pm.Model() as model:
        sd = pm.HalfNormal("sd", 2.0, shape=(2, 2))
        chol = pm.LKJCorr("corr", n=2, eta=2.0, shape=(2, 2, 2)) * sd[:, :, None]
        weights = pm.Dirichlet("weights", [2.0, 2.0])
        means = pm.Normal("means", 0.0, 5.0, shape=(2, 2))
        MvNormalMixture("y", weights, means, chol @ chol.mT, observed=X)
    with pytensor.config.change_flags(linker="py"):  # starting values too
        function = model.logp_dlogp_function(ravel_inputs=True, mode=PYTHON)
        n_values = sum(v.size for v in model.initial_point().values())
    function.set_extra_values({})
    assert MixtureValueAndGradient in [type(n.op) for n in function._pytensor_function.maker.fgraph.apply_nodes]
    q = rng.normal(0.0, 0.3, n_values)
    _, gradient = function(q)
    steps = 1e-6 * np.eye(q.size)
    expected = [(function(q + e)[0] - function(q - e)[0]) / 2e-6 for e in steps]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-4)


def scales(k, d, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((k, d, d))
    return rng, d + rng.uniform(6.0, 8.0, k), a @ np.swapaxes(a, 1, 2) + np.eye(d)


def test_density_of_covariances_against_scipy():
    rng, dof, scale = scales(2, 3)
    stack = random_mixture(rng, "full", (2, 3)).full_covariances
    got = pm.logp(InverseWishartCovariances.dist(dof, scale), stack).eval(mode=PYTHON)
    expected = sum(invwishart(df=dof[k], scale=scale[k]).logpdf(stack[k]) for k in range(2))
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    got = pm.logp(InverseWishartCovariances.dist(dof, scale, covariance_type="diag"), stack).eval(mode=PYTHON)
    pairs = [(k, j) for k in range(2) for j in range(3)]
    expected = sum(invgamma(dof[k] / 2, scale=scale[k, j, j] / 2).logpdf(stack[k, j, j]) for k, j in pairs)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_density_of_covariances_by_scale():
    """Scales may be variables of a hierarchical prior."""
    rng, dof, scale = scales(2, 2)
    for name in FAMILIES:
        stack = random_mixture(rng, name, (2, 2)).full_covariances
        symbol = pt.tensor3("scale")
        logp = pm.logp(InverseWishartCovariances.dist(dof, symbol, covariance_type=name), stack)
        function = pytensor.function([symbol], [logp, pt.grad(logp, symbol)], mode=PYTHON)
        expected = differences(lambda s, f=function: f(s)[0], [scale], 0)
        np.testing.assert_allclose(function(scale)[1], expected, rtol=1e-6, atol=1e-7)


def test_illegal_stack_has_no_density():
    _, dof, scale = scales(2, 2)
    for name in FAMILIES:
        logp = pm.logp(InverseWishartCovariances.dist(dof, scale, covariance_type=name), -scale)
        assert logp.eval(mode=PYTHON) == -np.inf


def natural(name, stack):
    """A family's own parameters as one vector."""
    family = covariance_family(name)
    k, d = stack.shape[:2]
    if name in ("full", "tied"):
        lower = np.tril_indices(d)
        return stack[: family.n_blocks(k), lower[0], lower[1]].ravel()
    variances = np.diagonal(stack[: family.n_blocks(k)], axis1=1, axis2=2)
    return (variances if family.parametrisation.width(2) == 1 else variances[:, 0]).ravel()


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_transform(name, d):
    """Round trip, and the log-Jacobian against a numerical determinant."""
    k = 2
    rng, dof, scale = scales(k, d)
    stack = random_mixture(rng, name, (k, d)).full_covariances
    transform, rv = CovariancesTransform(name), InverseWishartCovariances.dist(dof, scale, covariance_type=name)
    value = transform.forward(pt.constant(stack), *rv.owner.inputs).eval(mode=PYTHON)
    symbol = pt.constant(value).type()
    both = [transform.backward(symbol, *rv.owner.inputs), transform.log_jac_det(symbol, *rv.owner.inputs)]
    function = pytensor.function([symbol], both, mode=PYTHON)
    back, log_jacobian = function(value)
    np.testing.assert_allclose(back, stack, rtol=1e-12)
    steps = 1e-6 * np.eye(value.size).reshape(value.size, *value.shape)
    columns = [(natural(name, function(value + e)[0]) - natural(name, function(value - e)[0])) / 2e-6 for e in steps]
    np.testing.assert_allclose(log_jacobian, np.linalg.slogdet(np.array(columns))[1], rtol=1e-7, atol=1e-8)
    if name == "full":
        pymc = CholeskyCovTransform(n=d)
        np.testing.assert_allclose(pymc.backward(value).eval(mode=PYTHON), stack)
        np.testing.assert_allclose(pymc.log_jac_det(value).sum().eval(mode=PYTHON), log_jacobian)


@pytest.mark.parametrize("mode", [PYTHON, pytest.param(NUMBA, marks=pytest.mark.slow)], ids=["python", "numba"])
@pytest.mark.parametrize("name", FAMILIES)
def test_prior_draws_have_the_right_mean(name, mode):
    k, d, n = 2, 2, 4000
    _, dof, scale = scales(k, d)
    prior = InverseWishartCovariances.dist(dof, scale, covariance_type=name)
    draws = pm.draw(prior, draws=n, random_seed=3, mode=mode)
    family = covariance_family(name)
    if name in ("full", "tied"):
        expected = scale / (dof - d - 1.0)[:, None, None]
    else:
        one = scale[[0, 0]] if family.shared else scale
        variances = np.diagonal(one, axis1=1, axis2=2)
        variances = variances if family.parametrisation.width(2) == 1 else variances.mean(axis=1, keepdims=True)
        expected = variances[..., None] * np.eye(d) / (dof - 2.0)[:, None, None]
    expected = expected[[0, 0]] if family.shared else expected
    error = draws.std(axis=0) / np.sqrt(n)
    z = np.abs(draws.mean(axis=0) - expected)[error > 0] / error[error > 0]
    assert z.max() < 4.5
    np.testing.assert_array_equal(draws[:, error == 0], 0.0)


def test_draws_of_python_and_numba_agree():
    _, dof, scale = scales(2, 3)
    prior = InverseWishartCovariances.dist(dof, scale)
    python, compiled = (pm.draw(prior, random_seed=3, mode=mode) for mode in (PYTHON, NUMBA))
    np.testing.assert_allclose(python, compiled, rtol=1e-12)


@pytest.mark.parametrize("weight", [-0.5, np.nan])
def test_weights_that_are_none_draw_no_rows(weight):
    rows = MvNormalMixture.dist([weight, 1.5], np.zeros((2, 1)), np.ones((2, 1, 1)), shape=(3, 1))
    assert np.isnan(pm.draw(rows, random_seed=1)).all()
