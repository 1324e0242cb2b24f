"""JAX forms of the PyTensor Ops: the values of the compiled functions, differentiable by JAX itself.

`jax_registration` loads this module, and JAX with it, when PyTensor first prepares a graph for JAX. Illegal arguments
are replaced by harmless ones before any arithmetic, so that their gradients are zero, not NaN.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln, logsumexp
from pytensor.link.jax.dispatch import jax_funcify

from bayesgmm.exceptions import InputError
from bayesgmm.mixture import LOG_2PI, CovarianceFamily
from bayesgmm.pymc_model.covariance_ops import (
    InverseWishart,
    LogCoincidence,
    StackCholesky,
    StackCholeskyPullback,
    StackCovariances,
    StackPullback,
)
from bayesgmm.pymc_model.mixture_ops import (
    CheckedShapes,
    FamilyOp,
    MixtureLogDensity,
    MixturePullback,
    MixtureValueAndGradient,
    RowsPullback,
)

_LOG_2, _LOG_PI = float(np.log(2.0)), float(np.log(np.pi))


# ---- the mixture


def log_density(family: CovarianceFamily, X: Any, *parameters: Any) -> jax.Array:
    """Log density of each row (n,); -inf everywhere if the parameters are illegal."""
    rows, legal = _rows_and_legality(family, X, *parameters)
    return jnp.where(legal, rows, -jnp.inf)


def log_density_pullback(family: CovarianceFamily, X: Any, cotangent: Any, *parameters: Any) -> tuple:
    """Its gradients with respect to the parameters."""
    return jax.vjp(partial(log_density, family, X), *parameters)[1](cotangent)


def rows_pullback(family: CovarianceFamily, X: Any, cotangent: Any, *parameters: Any) -> jax.Array:
    """Its gradient with respect to the rows."""
    return jax.vjp(lambda rows: log_density(family, rows, *parameters), X)[1](cotangent)[0]


def value_and_gradient(family: CovarianceFamily, X: Any, *parameters: Any) -> tuple:
    """Sum of the log densities, and its gradients with respect to the parameters."""

    def total(*parameters: Any) -> jax.Array:
        rows, legal = _rows_and_legality(family, X, *parameters)
        return jnp.where(legal, rows.sum(), -jnp.inf)

    value, gradients = jax.value_and_grad(total, argnums=(0, 1, 2))(*parameters)
    return value, *gradients


def _rows_and_legality(family: CovarianceFamily, X: Any, weights: Any, means: Any, covariances: Any) -> tuple:
    """Log densities (n,), and whether the parameters are legal; if not, they are those of another mixture."""
    d = means.shape[-1]
    legal = _legal(family, covariances).all() & (weights >= 0.0).all() & (weights > 0.0).any() & ~jnp.isnan(means).any()
    occupied = (weights > 0.0) & jnp.isfinite(_diagonal(covariances)).all(axis=-1)
    log_weights = jnp.where(occupied, jnp.log(jnp.where(occupied, weights, 1.0)), -jnp.inf)
    means = jnp.where(legal, means, 0.0)
    prec = _precision_factors(family, jnp.where((legal & occupied)[:, None, None], covariances, jnp.eye(d)))
    log_scale = jnp.where(legal, log_weights, 0.0) + jnp.log(_diagonal(prec)).sum(axis=-1) - 0.5 * d * LOG_2PI
    squares = jax.vmap(lambda mean, inverse: jnp.square((X - mean) @ inverse.T).sum(axis=-1))(means, prec)
    return logsumexp(log_scale[:, None] - 0.5 * squares, axis=0), legal


# ---- covariances


def stack_cholesky(covariances: Any) -> jax.Array:
    """Lower factors of a stack, NaN where there is none."""
    factors = jax.lax.linalg.cholesky(_read_lower(covariances), symmetrize_input=False)
    return jnp.where(jnp.isnan(factors).any(axis=(-2, -1), keepdims=True), jnp.nan, factors)


def stack_cholesky_pullback(factors: Any, d_factors: Any) -> jax.Array:
    """Symmetric gradient by covariances: (P + P^T) / 2 in whitened axes, P the lower half of L^T dL."""
    inverse, inner = _inverse(factors), jnp.tril(_transposed(factors) @ d_factors)
    inner = 0.5 * (inner + _transposed(inner)) - 0.5 * _diagonal(inner)[..., None] * jnp.eye(factors.shape[-1])
    return _transposed(inverse) @ inner @ inverse


def stack_covariances(family: CovarianceFamily, values: Any, n_components: Any, n_features: Any) -> tuple:
    """Full matrices (cluster, feature, feature_bis) of unconstrained values (block, size), and the log-Jacobian."""
    k, d = int(n_components), int(n_features)
    values, restriction = jnp.asarray(values), family.restriction(k, d)
    if restriction is not None:
        values = (restriction @ values[0]).reshape(k, -1)
    if family.parametrisation.correlated:
        rows, columns = np.tril_indices(d)
        pivots = np.flatnonzero(rows == columns)
        values = family.parametrisation.cholesky_values(values, jnp)
        packed = values.at[:, pivots].set(jnp.exp(values[:, pivots]))
        factors = jnp.zeros((len(values), d, d)).at[:, rows, columns].set(packed)
        blocks = factors @ _transposed(factors)
        log_jacobian = (_LOG_2 + family.parametrisation.cholesky_powers(d) * values[:, pivots]).sum()
    else:
        blocks = jnp.exp(values)[..., None] * jnp.eye(d)
        log_jacobian = values.sum()
    return jnp.broadcast_to(blocks, (k, d, d)), log_jacobian


def stack_pullback(family: CovarianceFamily, values: Any, d_covariances: Any, d_log_jacobian: Any) -> jax.Array:
    """The gradient of `stack_covariances`."""
    k, d = d_covariances.shape[:2]
    pullback = jax.vjp(lambda values: stack_covariances(family, values, k, d), values)[1]
    return pullback((d_covariances, d_log_jacobian))[0]


def inverse_wishart(family: CovarianceFamily, covariances: Any, dof: Any, scale: Any) -> tuple:
    """Log density of the first blocks and its gradients by covariances and scales; -inf if one is not legal."""
    density = partial(_inverse_wishart, family)
    value, gradients = jax.value_and_grad(density, argnums=(0, 2))(covariances, dof, scale)
    return value, *gradients


def _inverse_wishart(family: CovarianceFamily, covariances: Any, dof: Any, scale: Any) -> jax.Array:
    n, d = family.n_blocks(len(covariances)), covariances.shape[-1]
    covariances, half, scale = covariances[:n], 0.5 * dof[:n], scale[:n]
    legal = (_legal(family, covariances) & _legal(family, scale) & jnp.isfinite(half)).all()
    covariances, scale = (jnp.where(legal, matrices, jnp.eye(d)) for matrices in (covariances, scale))
    half = jnp.where(legal, half, 0.5 * d)
    if family.parametrisation.correlated:
        inverse, root = _precision_factors(family, covariances), stack_cholesky(scale)
        log_dets = [jnp.log(_diagonal(lower)).sum(axis=-1) for lower in (inverse, root)]
        trace = (scale * (_transposed(inverse) @ inverse)).sum(axis=(-2, -1))
        gammas = gammaln(half[:, None] - 0.5 * np.arange(d)).sum(axis=-1) + 0.25 * d * (d - 1.0) * _LOG_PI
        total = 2.0 * half * log_dets[1] - half * d * _LOG_2 - gammas - 0.5 * trace
        total += (2.0 * half + d + 1.0) * log_dets[0]
    else:
        variances, s = (_variances(family, matrices) for matrices in (covariances, scale))
        half = half[:, None]
        total = half * jnp.log(0.5 * s) - gammaln(half) - (half + 1.0) * jnp.log(variances) - 0.5 * s / variances
    total = total.sum()
    return jnp.where(legal & (total > -jnp.inf), total, -jnp.inf)


def log_coincidence(family: CovarianceFamily, shapes: Any) -> jax.Array:
    """The compiled function, of numbers: nothing is differentiated by degrees of freedom."""
    compiled, scalar = family.parametrisation.log_coincidence, jax.ShapeDtypeStruct((), np.float64)

    def of_numbers(shapes: Any) -> Any:
        return np.float64(compiled(np.ascontiguousarray(shapes)))

    return jax.pure_callback(of_numbers, scalar, shapes, vmap_method="sequential")


# ---- matrices


@jax.custom_jvp
def _read_lower(matrices: jax.Array) -> jax.Array:
    """Symmetric matrices of lower triangles, which alone are read; gradients are symmetric all the same."""
    return jnp.tril(matrices) + _transposed(jnp.tril(matrices, -1))


@_read_lower.defjvp
def _symmetric_change(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    return _read_lower(*primals), 0.5 * (tangents[0] + _transposed(tangents[0]))


def _legal(family: CovarianceFamily, matrices: jax.Array) -> jax.Array:
    """Whether each matrix is positive definite."""
    if family.parametrisation.correlated:
        return ~jnp.isnan(stack_cholesky(matrices)[..., 0, 0])
    return (_variances(family, matrices) > 0.0).all(axis=-1)


def _precision_factors(family: CovarianceFamily, matrices: jax.Array) -> jax.Array:
    """L^-1 of matrices L L^T (..., feature, feature)."""
    if family.parametrisation.correlated:
        return _inverse(stack_cholesky(matrices))
    return (1.0 / jnp.sqrt(_variances(family, matrices)))[..., None] * jnp.eye(matrices.shape[-1])


def _variances(family: CovarianceFamily, matrices: jax.Array) -> jax.Array:
    """Variances (..., feature) of uncorrelated features, or their mean (..., 1) if they are one."""
    variances = _diagonal(matrices)
    return variances if family.parametrisation.width(2) == 1 else variances.mean(axis=-1, keepdims=True)


def _inverse(lower: jax.Array) -> jax.Array:
    return solve_triangular(lower, jnp.broadcast_to(jnp.eye(lower.shape[-1]), lower.shape), lower=True)


def _diagonal(matrices: jax.Array) -> jax.Array:
    return jnp.diagonal(matrices, axis1=-2, axis2=-1)


def _transposed(matrices: jax.Array) -> jax.Array:
    return jnp.swapaxes(matrices, -1, -2)


# ---- registration


def _form(evaluate: Callable[..., Any], op: Any, **_: Any) -> Callable[..., Any]:
    """What PyTensor has JAX trace; shapes are known by then, and checked."""
    evaluate = partial(evaluate, op.family) if isinstance(op, FamilyOp) else evaluate

    def form(*inputs: Any) -> Any:
        if not jax.config.jax_enable_x64:
            raise InputError(
                expected="JAX in double precision",
                got="jax_enable_x64=False",
                hint="Call jax.config.update('jax_enable_x64', True), with PyTensor's floatX at 'float64'.",
            )
        op.check(*(value if isinstance(value, jax.Array) else np.asarray(value) for value in inputs))
        return evaluate(*inputs)

    return form


@jax_funcify.register(CheckedShapes)
def _checked_shapes(op: CheckedShapes, **_: Any) -> Callable[..., Any]:
    def checked_shapes(tensor: Any, lengths: Any) -> Any:
        lengths = lengths if isinstance(lengths, tuple) else np.asarray(lengths)
        op.check(None if isinstance(length, jax.core.Tracer) else int(length) for length in lengths)
        return tensor

    return checked_shapes


for _kind, _evaluate in (
    (InverseWishart, inverse_wishart),
    (LogCoincidence, log_coincidence),
    (MixtureLogDensity, log_density),
    (MixturePullback, log_density_pullback),
    (RowsPullback, rows_pullback),
    (MixtureValueAndGradient, value_and_gradient),
    (StackCholesky, stack_cholesky),
    (StackCholeskyPullback, stack_cholesky_pullback),
    (StackCovariances, stack_covariances),
    (StackPullback, stack_pullback),
):
    jax_funcify.register(_kind, partial(_form, _evaluate))
