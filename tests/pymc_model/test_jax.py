"""The JAX forms of the Ops: values and gradients of the compiled ones, for legal and illegal arguments."""

import subprocess
import sys

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from posterior_cases import FORMS, SHAPES, case, positive_definite
from prior_cases import LEGAL, case_of
from pymc.model.transform.optimization import freeze_dims_and_data
from reference import FAMILIES, RESTRICTED, random_mixture
from sparse_weight_cases import CONCENTRATIONS, sparse_case

from bayesgmm._compiled import Signature
from bayesgmm.exceptions import InputError
from bayesgmm.inference.engine_pymc import INTERPRETED
from bayesgmm.mixture import covariance_family
from bayesgmm.pymc_model.covariance_ops import (
    InverseWishart,
    StackCholesky,
    StackCholeskyPullback,
    StackCovariances,
    StackPullback,
)
from bayesgmm.pymc_model.mixture_ops import (
    MixtureLogDensity,
    MixturePullback,
    MixtureValueAndGradient,
    RowsPullback,
    checked,
)
from bayesgmm.pymc_model.model import build_model
from bayesgmm.pymc_model.mv_normal_mixture import MvNormalMixture

jax = pytest.importorskip("jax")
import jax.numpy as jnp  # noqa: E402
from pymc.sampling.jax import get_jaxified_logp  # noqa: E402
from pytensor.link.jax.dispatch import jax_funcify  # noqa: E402

import bayesgmm.pymc_model.jax  # noqa: E402, F401

ALL = (*FAMILIES, *RESTRICTED)
KERNELS = ("full", "diag", "spherical")  # those of the others are among them


def assert_same(found, expected, *, rtol=1e-10):
    """Each array equal relative to its largest number; NaN and infinities in the same places."""
    for one, other in zip(found, expected, strict=True):
        other = np.asarray(other)
        finite = np.abs(other[np.isfinite(other)])
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * finite.max(initial=0.0))


def symmetric(matrices):
    """All that matters of a gradient: covariances move symmetrically."""
    return 0.5 * (matrices + np.swapaxes(matrices, -1, -2))


def outputs(op, *inputs):
    """Of an Op's JAX form."""
    result = jax_funcify(op)(*map(jnp.asarray, inputs))
    return result if isinstance(result, tuple) else (result,)


# ---- one Op after another


def change(index, value, *place):
    def changed(*arguments):
        arguments = [np.array(argument) for argument in arguments]
        arguments[index][place] = value
        return arguments

    return changed


# Of rows, weights, means, covariances.
MIXTURES = {
    "legal": lambda *legal: legal,
    "empty component": change(1, 0.0, 0),
    "no weights": change(1, 0.0),
    "negative weight": change(1, -0.1, 0),
    "NaN weight": change(1, np.nan, 0),
    "far mean": change(2, 1e200, 0),
    "NaN mean": change(2, np.nan, 0, 1),
    "NaN covariance": change(3, np.nan, 0),
    "infinite variance": change(3, np.inf, 0, 1, 1),
    "variance of zero": change(3, 0.0, 1),
    "indefinite": change(3, -1.0, 1),
    "triangles that differ": change(3, 0.3, 1, 0, 1),
    "NaN row": change(0, np.nan, 3),
    "far row": change(0, 1e200, 3),
    "far rows": change(0, 1e200),
}


@pytest.mark.parametrize("arguments", MIXTURES.values(), ids=MIXTURES)
@pytest.mark.parametrize("name", KERNELS)
def test_the_mixture(name, arguments):
    rng = np.random.default_rng(0)
    mixture = random_mixture(rng, name, (3, 2))
    X = rng.normal(0.0, 2.0, (9, 2))
    X, *parameters = arguments(X, mixture.weights, mixture.means, mixture.full_covariances)
    cotangent = rng.normal(size=9)
    expected = MixturePullback(name).evaluate(X, cotangent, *parameters)
    density = MixtureLogDensity(name)
    assert_same(outputs(density, X, *parameters), density.evaluate(X, *parameters))
    assert_same(outputs(MixturePullback(name), X, cotangent, *parameters), expected)
    by_rows = RowsPullback(name)
    assert_same(outputs(by_rows, X, cotangent, *parameters), by_rows.evaluate(X, cotangent, *parameters))
    total = MixtureValueAndGradient(name)
    found, expected = outputs(total, X, *parameters), total.evaluate(X, *parameters)
    assert_same(found[1:], expected[1:])
    if np.isnan(expected[0]) and not np.isnan(X).any():  # of a row without density, whose pass in one says NaN
        assert found[0] == -np.inf
    else:
        assert_same(found[:1], expected[:1])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_rows(sign):
    mixture = random_mixture(np.random.default_rng(0), "full", (2, 2))
    arguments = (np.empty((0, 2)), mixture.weights, mixture.means, sign * mixture.full_covariances)
    total = MixtureValueAndGradient("full")
    assert_same(outputs(total, *arguments), total.evaluate(*arguments))


COVARIANCES = {
    "legal": lambda *legal: legal,
    "NaN": change(0, np.nan, 0),
    "NaN above the diagonal": change(0, np.nan, 0, 0, 1),
    "variance of zero": change(0, 0.0, 0),
    "indefinite": change(0, -1.0, 0),
    "triangles that differ": change(0, 0.3, 0, 0, 1),
    "no degrees of freedom": change(1, 0.0),
    "negative degrees of freedom": change(1, -1.5),
    "NaN degrees of freedom": change(1, np.nan),
    "scale of zero": change(2, 0.0, 0),
    "indefinite scale": change(2, -1.0, 0),
    "triangles of a scale that differ": change(2, 0.3, 0, 1, 0),
}


@pytest.mark.parametrize("arguments", COVARIANCES.values(), ids=COVARIANCES)
@pytest.mark.parametrize("name", ["full", "tied_diag", "spherical"])
def test_inverse_wishart(name, arguments):
    rng = np.random.default_rng(1)
    mixture = random_mixture(rng, name, (3, 2))
    given = arguments(mixture.full_covariances, rng.uniform(2.0, 5.0, 3), positive_definite(rng, 3, 2))
    op = InverseWishart(name)
    (value, *gradients), (other, *others) = outputs(op, *given), op.evaluate(*given)
    assert_same([value, *map(symmetric, gradients)], [other, *map(symmetric, others)])


@pytest.mark.parametrize("arguments", [COVARIANCES[name] for name in list(COVARIANCES)[:6]], ids=list(COVARIANCES)[:6])
def test_cholesky_factors(arguments):
    rng = np.random.default_rng(2)
    covariances, *_ = arguments(positive_definite(rng, 3, 4), 0.0)
    op, pullback = StackCholesky(), StackCholeskyPullback()
    (factors,) = op.evaluate(covariances)
    d_factors = rng.normal(size=factors.shape)
    assert_same(outputs(op, covariances), (factors,))
    expected = pullback.evaluate(factors, d_factors)
    assert_same(outputs(pullback, factors, d_factors), expected)
    assert_same(jax.vjp(jax_funcify(op), jnp.asarray(covariances))[1](jnp.asarray(d_factors)), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ALL)
def test_stacks(name, shape):
    rng, family = np.random.default_rng(3), covariance_family(name)
    n_blocks, size = family.parametrisation.values_shape.py_func(family.n_blocks(shape[0]), *shape)
    values = rng.normal(size=(n_blocks, size))
    op = StackCovariances(name)
    assert_same(outputs(op, values, *shape), op.evaluate(values, *shape))
    cotangents = rng.normal(size=(shape[0], shape[1], shape[1])), np.asarray(0.7)
    pullback = StackPullback(name)
    assert_same(outputs(pullback, values, *cotangents), pullback.evaluate(values, *cotangents))


# ---- whole models


def sparse(name, form, _):
    return sparse_case(name, CONCENTRATIONS[form])


MODELS = [(case, name, form, (3, 2)) for name in ALL for form in FORMS]
MODELS += [(case, "full", "independent", shape) for shape in SHAPES[1:]]
MODELS += [(case_of, *pair, (3, 2)) for pair in LEGAL]
MODELS += [(sparse, "full", form, (3, 2)) for form in CONCENTRATIONS]
QUICK = [  # each parametrisation, form of prior and sampled hyperparameter; compiling takes seconds
    (case, "full", "independent", (2, 4)),
    (case, "spherical", "independent", (3, 2)),
    (case, "VEI", "normal_inverse_wishart", (3, 2)),
    (case_of, "tied", "separation", (3, 2)),
    (case_of, "tied", "independent", (3, 2)),
    (case_of, "diag", "normal_inverse_wishart", (3, 2)),
    (sparse, "full", "gamma", (3, 2)),
]


@pytest.mark.parametrize(
    ("make", "name", "form", "shape"),
    [*QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in MODELS if each not in QUICK)],
)
def test_models_have_the_compiled_density_and_both_gradients(make, name, form, shape):
    at = make(name, form, shape)
    model = build_model(at.X, shape[0], covariance_type=name, prior=at.prior)
    rng = np.random.default_rng(4)
    point = {key: value + rng.normal(0.0, 0.3, np.shape(value)) for key, value in model.initial_point().items()}
    expected = model.compile_logp(mode=INTERPRETED)(point), model.compile_dlogp(mode=INTERPRETED)(point)

    frozen = freeze_dims_and_data(model)  # as nutpie does
    variables = [frozen.values_to_rvs[v] for v in frozen.value_vars]
    order = [variable.name for variable in variables]
    variables = [variables[order.index(variable.name)] for variable in model.free_RVs]
    compiled = frozen.compile_fn([frozen.logp(), frozen.dlogp(variables)], mode="JAX")
    assert_same(compiled(point), expected)

    log_density = jax.jit(jax.value_and_grad(get_jaxified_logp(model)))  # as pm.sample does
    value, gradient = log_density([jnp.asarray(point[variable.name]) for variable in model.value_vars])
    assert_same((value, np.concatenate([np.ravel(part) for part in gradient])), expected)


@pytest.mark.slow
def test_rows_with_weights_of_their_own():
    """They are no call of an Op for all rows, but one for each component."""
    rng = np.random.default_rng(5)
    X, mixture = rng.normal(size=(7, 2)), random_mixture(rng, "full", (2, 2))
    slope = pt.vector("slope")
    weights = pt.special.softmax(X[:, :1] * slope, axis=-1)
    rows = MvNormalMixture.dist(weights, mixture.means, mixture.full_covariances, shape=X.shape)
    logp = pm.logp(rows, X)
    results = [
        pytensor.function([slope], [logp, pt.grad(logp.sum(), slope)], mode=mode)(rng.normal(size=2))
        for rng, mode in ((np.random.default_rng(6), mode) for mode in (INTERPRETED, "JAX"))
    ]
    assert_same(*reversed(results))


# ---- borders


def test_shapes_that_disagree_are_told_before_anything_is_computed():
    X, weights, means, covariances = pt.matrix("X"), pt.vector("w"), pt.matrix("mu"), pt.tensor3("S")
    logp = MixtureLogDensity("full")(X, weights, means, covariances)
    function = pytensor.function([X, weights, means, covariances], logp, mode="JAX")
    legal = (np.zeros((4, 2)), np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    np.testing.assert_allclose(function(*legal), -np.log(2 * np.pi))
    with pytest.raises(InputError, match=r"shapes that agree.*got rows \(4,3\)"):
        function(np.zeros((4, 3)), *legal[1:])
    with pytest.raises(InputError, match=r"got values \(2,4\), values of the family \(2,3\)"):
        outputs(StackCovariances("full"), np.zeros((2, 4)), 2, 2)


def test_lengths_are_checked_as_far_as_jax_knows_them():
    one, other = pt.matrix("one"), pt.matrix("other")
    joined = pt.concatenate([other, other])
    function = pytensor.function(
        [one, other],
        [checked(Signature("one (k,d), other (k,d)"), one, other), checked(Signature("a (d), b (d)"), one, joined)],
        mode="JAX",
    )
    assert [result.shape for result in function(np.zeros((2, 3)), np.zeros((2, 3)))] == [(2, 3), (2, 3)]
    with pytest.raises(InputError, match=r"got one \(2,3\), other \(4,3\)"):
        function(np.zeros((2, 3)), np.zeros((4, 3)))


def test_single_precision_is_refused():
    with jax.enable_x64(False), pytest.raises(InputError, match="JAX in double precision"):
        outputs(StackCholesky(), np.eye(2)[None])


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


MODEL = "from bayesgmm import build_model; model = build_model([[0.0], [0.1], [5.0], [5.2]], 2)"
LOGP = "from pymc.sampling.jax import get_jaxified_logp"
CALL = "get_jaxified_logp(model)([model.initial_point()[v.name] for v in model.value_vars])"


def test_models_do_not_load_jax():
    code = f"{MODEL}; model.compile_logp(mode='FAST_COMPILE')(model.initial_point())"
    assert run(f"{code}; import sys; print('jaxlib' in sys.modules)").split() == ["False"]


@pytest.mark.parametrize("lines", [("import jax", LOGP, MODEL), (MODEL, LOGP)])
def test_jax_may_be_imported_before_or_after(lines):
    assert np.isfinite(float(run("; ".join([*lines, f"print(float({CALL}))"]))))


def test_the_comparison_can_fail():
    with pytest.raises(AssertionError):
        assert_same((np.array([1.0, 1e3]),), (np.array([1.0 + 1e-6, 1e3]),))
    with pytest.raises(AssertionError):
        assert_same((np.array([np.nan]),), (np.array([-np.inf]),))
