"""PyTensor Ops behind `InverseWishartCovariances`: unconstrained values to covariances, and the log density.

One compiled pass each, whatever the number of components. The same maths in PyTensor's batched linear algebra
costs more than a minute to compile and several times as long to evaluate.
"""

from typing import Any

import numpy as np
import pytensor.tensor as pt
from numba import njit
from pytensor.gradient import DisconnectedType, disconnected_type, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key

from bayesgmm._compiled import Signature, cholesky_lower, invert_lower
from bayesgmm.mixture import Parametrisation
from bayesgmm.pymc_model.mixture_ops import CompiledOp, FamilyOp, code_stamp

_compiled = njit(cache=True, nogil=True, error_model="numpy")


_OF_FAMILY = Signature("values (block,size), values of the family (block,size)")


@_compiled
def _lengths_of_values(covariance, shape, n_components, n_features):  # type: ignore[no-untyped-def]
    """Those of values, and those that a family's values have, one block if all components share it."""
    return *shape, *covariance.values_shape(shape[0], n_components, n_features)


@_compiled
def stack_covariances(covariance, values, n_components, n_features):  # type: ignore[no-untyped-def]
    """Full matrices (cluster, feature, feature_bis) of values (block, size), and the log-Jacobian."""
    covariances, log_jacobian = np.zeros((n_components, n_features, n_features)), 0.0
    packed = covariance.expand_values(values, n_components, n_features)
    for g in range(packed.shape[0]):
        log_jacobian += covariance.unpack_matrix(packed[g], covariances[g])
    for k in range(packed.shape[0], n_components):
        covariances[k] = covariances[0]
    return covariances, log_jacobian


@_compiled
def stack_pulled_back(covariance, values, d_covariances, d_log_jacobian):  # type: ignore[no-untyped-def]
    """Gradient with respect to values (block, size)."""
    packed = covariance.expand_values(values, *d_covariances.shape[:2])
    n_blocks, gradient = packed.shape[0], np.zeros(packed.shape)
    for g in range(n_blocks):
        outer = d_covariances[g].copy()
        for k in range(n_blocks, d_covariances.shape[0]):
            outer += d_covariances[k]
        covariance.unpacked_gradient(packed[g], outer, d_log_jacobian, gradient[g])
    return covariance.gradient_of_values(gradient)


@_compiled
def inverse_wishart(covariance, n_blocks, covariances, dof, scale):  # type: ignore[no-untyped-def]
    """Log density of the first blocks and its gradients by covariances and scales; -inf if one is not legal."""
    total = 0.0
    d_covariances, d_scale = np.zeros(covariances.shape), np.zeros(covariances.shape)
    for k in range(n_blocks):
        total += covariance.log_prior(covariances[k], dof[k], scale[k], d_covariances[k], d_scale[k])
    if not total > -np.inf:
        return -np.inf, np.zeros(covariances.shape), np.zeros(covariances.shape)
    return total, d_covariances, d_scale


@_compiled
def stack_cholesky(covariances):  # type: ignore[no-untyped-def]
    """Lower Cholesky factors; NaN where there is none."""
    factors = np.zeros(covariances.shape)
    for k in range(covariances.shape[0]):
        if not cholesky_lower(covariances[k], factors[k]):
            factors[k] = np.nan
    return factors


@_compiled
def _times_inverses(inner, inverse, half, result):  # type: ignore[no-untyped-def]
    """Write L^-T M L^-1 for a symmetric M, without BLAS: its wrapper alone takes seconds to compile."""
    n = inner.shape[0]
    for i in range(n):
        for j in range(n):
            half[i, j] = 0.0
            for m in range(j, n):
                half[i, j] += inner[i, m] * inverse[m, j]
    for i in range(n):
        for j in range(n):
            for m in range(i, n):
                result[i, j] += inverse[m, i] * half[m, j]


@_compiled
def stack_cholesky_pulled_back(factors, d_factors):  # type: ignore[no-untyped-def]
    """Symmetric gradient by covariances: (P + P^T) / 2 in whitened axes, P the lower half of L^T dL."""
    n = factors.shape[1]
    result = np.zeros(factors.shape)
    inverse, inner, half = np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    for k in range(factors.shape[0]):
        for i in range(n):
            for j in range(i + 1):
                total = 0.0
                for m in range(i, n):
                    total += factors[k, m, i] * d_factors[k, m, j]
                inner[i, j] = inner[j, i] = 0.5 * total
        invert_lower(factors[k], inverse)
        _times_inverses(inner, inverse, half, result[k])
    return result


class StackCholesky(CompiledOp):
    """Lower Cholesky factors of a stack (cluster, feature, feature_bis).

    PyTensor's own batched Cholesky falls back to object mode in its gradient.
    """

    __props__ = ()
    arguments = Signature("covariances (k,d,d)")

    def make_node(self, covariances: Any) -> Apply:
        """Check shapes; see `Op.make_node`."""
        inputs = self.tensors(covariances)
        return Apply(self, inputs, [inputs[0].type()])

    def evaluate(self, *inputs: Any) -> tuple[Any, ...]:
        """See `stack_cholesky`."""
        return (stack_cholesky(*inputs),)

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """Shape of the stack."""
        return shapes

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        """See `stack_cholesky_pulled_back`."""
        return [StackCholeskyPullback()(outputs[0], cotangents[0])]


class StackCholeskyPullback(CompiledOp):
    """The pullback of `StackCholesky`."""

    __props__ = ()
    arguments = Signature("factors (k,d,d), cotangent (k,d,d)")

    def make_node(self, factors: Any, d_factors: Any) -> Apply:
        """Check shapes; see `Op.make_node`."""
        inputs = self.tensors(factors, d_factors)
        return Apply(self, inputs, [inputs[0].type()])

    def evaluate(self, *inputs: Any) -> tuple[Any, ...]:
        """See `stack_cholesky_pulled_back`."""
        return (stack_cholesky_pulled_back(*inputs),)

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """Shape of the stack."""
        return shapes[:1]


class StackCovariances(FamilyOp):
    """Values (block, size), K and D to covariances (cluster, feature, feature_bis) and the log-Jacobian."""

    arguments = Signature("values (block,size)")

    def make_node(self, values: Any, n_components: Any, n_features: Any) -> Apply:
        """Check ranks; see `Op.make_node`."""
        sizes = [pt.as_tensor_variable(n).astype("int64") for n in (n_components, n_features)]
        outputs = [pt.tensor(dtype="float64", shape=(None, None, None)), pt.dscalar()]
        return Apply(self, [*self.tensors(values), *sizes], outputs)

    def check(self, values: Any, n_components: Any, n_features: Any) -> None:
        """Raise `InputError` unless values are those of a family of these sizes."""
        _check_values(self.kernel[0], values.shape, int(n_components), int(n_features))

    def evaluate(self, values: Any, n_components: Any, n_features: Any) -> tuple[Any, ...]:
        """See `stack_covariances`."""
        return stack_covariances(self.kernel[0], values, int(n_components), int(n_features))

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """(K, D, D) and a scalar."""
        _, n_components, n_features = node.inputs
        return [(n_components, n_features, n_features), ()]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Sizes have no gradient."""
        return [[True, True], [False, False], [False, False]]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        """See `stack_pulled_back`."""
        d_covariances, d_log_jacobian = (
            output.zeros_like() if isinstance(cotangent.type, DisconnectedType) else cotangent
            for output, cotangent in zip(outputs, cotangents, strict=True)
        )
        gradient = StackPullback(self.covariance_type)(inputs[0], d_covariances, d_log_jacobian)
        return [gradient, disconnected_type(), disconnected_type()]


class StackPullback(FamilyOp):
    """The pullback of `StackCovariances`."""

    arguments = Signature("values (block,size), cotangent (k,d,d), cotangent of the log Jacobian ()")

    def make_node(self, values: Any, d_covariances: Any, d_log_jacobian: Any) -> Apply:
        """Check shapes; see `Op.make_node`."""
        inputs = self.tensors(values, d_covariances, d_log_jacobian)
        return Apply(self, inputs, [inputs[0].type()])

    def check(self, values: Any, d_covariances: Any, d_log_jacobian: Any) -> None:
        """Raise `InputError` unless values are those of a family of the sizes of the covariances."""
        super().check(values, d_covariances, d_log_jacobian)
        _check_values(self.kernel[0], values.shape, *d_covariances.shape[:2])

    def evaluate(self, values: Any, d_covariances: Any, d_log_jacobian: Any) -> tuple[Any, ...]:
        """See `stack_pulled_back`."""
        return (stack_pulled_back(self.kernel[0], values, d_covariances, float(d_log_jacobian)),)

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """Shape of the values."""
        return [shapes[0]]


class InverseWishart(FamilyOp):
    """Log density of a stack of covariances, with its gradients as further outputs, which the pullback uses."""

    arguments = Signature("covariances (k,d,d), dof (k), scale (k,d,d)")

    def make_node(self, covariances: Any, dof: Any, scale: Any) -> Apply:
        """Check shapes; see `Op.make_node`."""
        inputs = self.tensors(covariances, dof, scale)
        return Apply(self, inputs, [pt.dscalar(), inputs[0].type(), inputs[2].type()])

    def evaluate(self, covariances: Any, dof: Any, scale: Any) -> tuple[Any, ...]:
        """See `inverse_wishart`."""
        return inverse_wishart(self.kernel[0], self.family.n_blocks(len(covariances)), covariances, dof, scale)

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """A scalar and the shapes of covariances and scales."""
        return [(), shapes[0], shapes[2]]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        """The gradients are there already; degrees of freedom have none."""
        cotangent, *others = cotangents
        if any(not isinstance(other.type, DisconnectedType) for other in others):
            raise NotImplementedError("The density of covariances is differentiable once only.")
        reason = "the density is not differentiated with respect to degrees of freedom"
        return [cotangent * outputs[1], grad_not_implemented(self, 1, inputs[1], reason), cotangent * outputs[2]]


class LogCoincidence(FamilyOp):
    """What ties volumes together in the normalizer of a prior, see `EqualVolume`, of shapes (k, d)."""

    arguments = Signature("shapes (k,d)")

    def make_node(self, shapes: Any) -> Apply:
        """Check shapes; see `Op.make_node`."""
        return Apply(self, self.tensors(shapes), [pt.dscalar()])

    def evaluate(self, shapes: Any) -> tuple[Any, ...]:
        """See `bayesgmm.mixture.covariance.equal_volume.log_coincidence`."""
        return (self.kernel[0].log_coincidence(shapes),)

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """A scalar."""
        return [()]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        """Degrees of freedom have none, as in `InverseWishart`."""
        reason = "the density is not differentiated with respect to degrees of freedom"
        return [grad_not_implemented(self, 0, inputs[0], reason)]


def _check_values(covariance: Parametrisation, shape: tuple[int, ...], n_components: int, n_features: int) -> None:
    lengths = _lengths_of_values.py_func(covariance, shape, n_components, n_features)
    _OF_FAMILY.check(lengths[:2], lengths[2:])


@register_funcify_default_op_cache_key(StackCovariances)
def _numba_stack(op, node, **kwargs):  # type: ignore[no-untyped-def]
    covariance, agree = op.kernel[0], _OF_FAMILY.compiled

    @numba_njit
    def stack(values, n_components, n_features):  # type: ignore[no-untyped-def]
        agree(_lengths_of_values(covariance, values.shape, n_components.item(), n_features.item()))
        covariances, log_jacobian = stack_covariances(covariance, values, n_components.item(), n_features.item())
        return covariances, np.asarray(log_jacobian)

    return stack, code_stamp(__name__)


@register_funcify_default_op_cache_key(StackCholesky)
def _numba_cholesky(op, node, **kwargs):  # type: ignore[no-untyped-def]
    agree = op.arguments.compiled

    @numba_njit
    def cholesky(covariances):  # type: ignore[no-untyped-def]
        agree(covariances.shape)
        return stack_cholesky(covariances)

    return cholesky, code_stamp(__name__)


@register_funcify_default_op_cache_key(StackCholeskyPullback)
def _numba_cholesky_pullback(op, node, **kwargs):  # type: ignore[no-untyped-def]
    agree = op.arguments.compiled

    @numba_njit
    def cholesky_pullback(factors, d_factors):  # type: ignore[no-untyped-def]
        agree(factors.shape + d_factors.shape)
        return stack_cholesky_pulled_back(factors, d_factors)

    return cholesky_pullback, code_stamp(__name__)


@register_funcify_default_op_cache_key(StackPullback)
def _numba_stack_pullback(op, node, **kwargs):  # type: ignore[no-untyped-def]
    covariance, agree, agree_with_family = op.kernel[0], op.arguments.compiled, _OF_FAMILY.compiled

    @numba_njit
    def stack_pullback(values, d_covariances, d_log_jacobian):  # type: ignore[no-untyped-def]
        agree(values.shape + d_covariances.shape)
        n_components, n_features = d_covariances.shape[:2]
        agree_with_family(_lengths_of_values(covariance, values.shape, n_components, n_features))
        return stack_pulled_back(covariance, values, d_covariances, d_log_jacobian.item())

    return stack_pullback, code_stamp(__name__)


@register_funcify_default_op_cache_key(InverseWishart)
def _numba_inverse_wishart(op, node, **kwargs):  # type: ignore[no-untyped-def]
    covariance, shared, agree = op.kernel[0], op.family.shared, op.arguments.compiled

    @numba_njit
    def inverse_wishart_logp(covariances, dof, scale):  # type: ignore[no-untyped-def]
        agree(covariances.shape + dof.shape + scale.shape)
        n_blocks = 1 if shared else covariances.shape[0]
        logp, d_covariances, d_scale = inverse_wishart(covariance, n_blocks, covariances, dof, scale)
        return np.asarray(logp), d_covariances, d_scale

    return inverse_wishart_logp, code_stamp(__name__)


@register_funcify_default_op_cache_key(LogCoincidence)
def _numba_log_coincidence(op, node, **kwargs):  # type: ignore[no-untyped-def]
    covariance = op.kernel[0]

    @numba_njit
    def log_coincidence(shapes):  # type: ignore[no-untyped-def]
        return np.asarray(covariance.log_coincidence(np.ascontiguousarray(shapes)))

    return log_coincidence, code_stamp(__name__)
