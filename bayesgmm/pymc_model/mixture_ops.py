r"""PyTensor Ops around the kernel: pointwise log density, its pullback, and the rewrite that fuses the two.

By Fisher's identity the gradient of :math:`\sum_i v_i \log p(x_i)` is algebra on the expected statistics with
row weights v, so the pullback of the pointwise log density is one kernel pass whose row weights are the
cotangent:

=====================  ==================================================================
with respect to        gradient
=====================  ==================================================================
:math:`w_k`            :math:`N_k / w_k`
:math:`\mu_k`          :math:`L_k^{-T} f_k`
:math:`\Sigma_k`       :math:`\tfrac12 L_k^{-T} (S_k - N_k I) L_k^{-1}`, symmetric
=====================  ==================================================================

with counts N, first moments f and second moments S of the whitened residuals. That pass returns the
log-likelihood too; so where the cotangent is one number for all rows, as it is when a model's log density is
differentiated, `fuse_value_and_gradient` lets it serve both and the pointwise pass is dropped.

Shapes are checked before the compiled functions, which read as far as means say: where they are known when a graph
is built, and in every evaluation, by Python or by numba.
"""

import inspect
import math
import sys
import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytensor.tensor as pt
from numba import njit
from pytensor.gradient import disconnected_type, grad_not_implemented
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key
from pytensor.tensor.basic import Alloc
from pytensor.tensor.math import Sum
from pytensor.tensor.rewriting.basic import register_specialize
from pytensor.tensor.variable import TensorConstant

from bayesgmm._compiled import LANES, Signature, Vector, cholesky_lower, invert_lower, link
from bayesgmm.mixture import DIAGONAL, FULL, LOG_2PI, SPHERICAL, Sums, add_statistics, pointwise

MIXTURE = "weights (k), means (k,d), covariances (k,d,d)"

_compiled = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def _precision_factors(residual, covariances, prec, log_det):  # type: ignore[no-untyped-def]
    """Write L_k^-1 and log |L_k^-1|; False unless every covariance is positive definite."""
    n_components, n_features = covariances.shape[0], covariances.shape[1]
    lower = np.empty((n_features, n_features))
    for k in range(n_components):
        if residual == FULL:
            if not cholesky_lower(covariances[k], lower):
                return False
            invert_lower(lower, prec[k])
            for d in range(n_features):
                log_det[k] += math.log(prec[k, d, d])
        elif residual == DIAGONAL:
            for d in range(n_features):
                if not covariances[k, d, d] > 0.0:
                    return False
                prec[k, 0, d] = 1.0 / math.sqrt(covariances[k, d, d])
                log_det[k] += math.log(prec[k, 0, d])
        else:
            variance = np.trace(covariances[k]) / n_features
            if not variance > 0.0:
                return False
            prec[k, 0, 0] = 1.0 / math.sqrt(variance)
            log_det[k] = -0.5 * n_features * math.log(variance)
    return True


@_compiled
def _prepare(residual, X, weights, means, covariances):  # type: ignore[no-untyped-def]
    """What the kernel reads: whether all is well, columns, log scale, means, inverse factors."""
    n_rows, n_features = X.shape
    n_components = means.shape[0]
    columns = np.empty((n_features, n_rows))
    for d in range(n_features):
        for i in range(n_rows):
            columns[d, i] = X[i, d]
    mu = np.empty((n_components, n_features))
    log_scale = np.zeros(n_components)
    rows = n_features if residual == FULL else 1
    prec = np.empty((n_components, rows, 1 if residual == SPHERICAL else n_features))
    mu[:, :] = means
    valid = _precision_factors(residual, covariances, prec, log_scale)
    positive = 0
    for k in range(n_components):
        valid = valid and weights[k] >= 0.0
        positive += weights[k] > 0.0
        log_scale[k] += -0.5 * n_features * LOG_2PI + (math.log(weights[k]) if weights[k] > 0.0 else -np.inf)
    return valid and positive > 0, columns, log_scale, mu, prec


@_compiled
def log_density(residual, X, weights, means, covariances):  # type: ignore[no-untyped-def]
    """Log density of each row (obs,); -inf everywhere if a covariance is not positive definite."""
    valid, columns, log_scale, mu, prec = _prepare(residual, X, weights, means, covariances)
    result = np.full(X.shape[0], -np.inf)
    if valid:
        pointwise(residual, columns, log_scale, mu, prec, result, np.empty((0, 0)))
    return result


@_compiled
def value_and_gradient(residual, X, row_weights, weights, means, covariances):  # type: ignore[no-untyped-def]
    """Sum of row_weights * log density and its gradients; no row weights means one each.

    Where the log density is -inf because a parameter is illegal, the gradients are zero.
    """
    n_components, n_features = means.shape
    d_weights = np.zeros(n_components)
    d_means = np.zeros((n_components, n_features))
    d_covariances = np.zeros((n_components, n_features, n_features))
    valid, columns, log_scale, mu, prec = _prepare(residual, X, weights, means, covariances)
    if not valid:
        return -np.inf, d_weights, d_means, d_covariances
    first, second = np.zeros((n_components, n_features)), np.zeros(prec.shape)
    v = np.empty(row_weights.size)
    v[:] = row_weights
    total = add_statistics(residual, columns, v, log_scale, mu, prec, Sums(d_weights, first, second))
    for k in range(n_components):
        if residual == FULL:
            _full_gradient(prec[k], d_weights[k], first[k], second[k], d_means[k], d_covariances[k])
        else:
            _scaled_gradient(prec[k, 0], d_weights[k], first[k], second[k, 0], d_means[k], d_covariances[k])
        d_weights[k] = d_weights[k] / weights[k] if weights[k] > 0.0 else 0.0
    return total, d_weights, d_means, d_covariances


@_compiled
def pulled_back(residual, X, row_weights, weights, means, covariances):  # type: ignore[no-untyped-def]
    """The gradients of `value_and_gradient` alone."""
    _, d_weights, d_means, d_covariances = value_and_gradient(residual, X, row_weights, weights, means, covariances)
    return d_weights, d_means, d_covariances


@_compiled
def _full_gradient(prec, count, first, second, d_mean, d_covariance):  # type: ignore[no-untyped-def]
    n = prec.shape[0]
    half = np.zeros((n, n))  # (S - N I) L^-1
    for i in range(n):
        for j in range(i, n):
            d_mean[i] += prec[j, i] * first[j]
        for j in range(n):
            total = 0.0
            for m in range(j, n):
                total += (second[i, m] - (count if i == m else 0.0)) * prec[m, j]
            half[i, j] = total
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for m in range(i, n):
                total += prec[m, i] * half[m, j]
            d_covariance[i, j] = d_covariance[j, i] = 0.5 * total


@_compiled
def _scaled_gradient(prec, count, first, second, d_mean, d_covariance):  # type: ignore[no-untyped-def]
    n, last = first.shape[0], prec.shape[0] - 1
    share = n if last < n - 1 else 1  # one variance for all features: the mean of the diagonal
    for d in range(n):
        p = prec[min(d, last)]
        d_mean[d] = p * first[d]
        d_covariance[d, d] = 0.5 * p * p * (second[min(d, last)] / share - count)


def code_stamp(*modules: str) -> int:
    """A number that changes with the code behind a compiled Op; PyTensor's disk cache keeps it beside the Op's name."""
    common = (part.__module__ for part in (add_statistics, cholesky_lower, Signature, Vector))
    sources = (inspect.getsource(sys.modules[name]) for name in (*modules, *common))
    return zlib.crc32("".join((*sources, str(LANES))).encode())


_CODE_STAMP = code_stamp(__name__)


class InferredShapes:
    """`output_shapes` for PyTensor, which gave the graph first before it left it out."""

    def infer_shape(self, *context: Any) -> list[tuple]:
        """See `Op.infer_shape`."""
        node, shapes = context[-2:]
        return self.output_shapes(node, shapes)

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """Shapes of the outputs."""
        raise NotImplementedError


class CompiledOp(InferredShapes, Op):
    """An Op around one compiled function, `evaluate`, which is called once the shapes of its arguments agree."""

    arguments: Signature

    def evaluate(self, *inputs: Any) -> tuple[Any, ...]:
        """The outputs."""
        raise NotImplementedError

    def check(self, *inputs: Any) -> None:
        """Raise `InputError` unless the shapes of arrays agree."""
        self.arguments.check(*(array.shape for array in inputs))

    def tensors(self, *values: Any) -> list[Variable]:
        """Float tensors, whose shapes agree as far as they are known."""
        inputs = [pt.as_tensor_variable(value).astype("float64") for value in values]
        self.arguments.check(*(variable.type.shape for variable in inputs))
        return inputs

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Check and evaluate; see `Op.perform`."""
        self.check(*inputs)
        for storage, value in zip(output_storage, self.evaluate(*inputs), strict=True):
            storage[0] = np.asarray(value)


class MixtureLogDensity(CompiledOp):
    """Log density of each row: X (n, d), weights (k,), means (k, d), covariances (k, d, d) -> (n,)."""

    __props__ = ("residual",)
    gufunc_signature = "(n,d),(k),(k,d),(k,d,d)->(n)"
    arguments = Signature(f"rows (n,d), {MIXTURE}")

    def __init__(self, residual: int) -> None:
        self.residual = residual

    def make_node(self, X: Any, weights: Any, means: Any, covariances: Any) -> Apply:
        """Check shapes; see `Op.make_node`."""
        inputs = self.tensors(X, weights, means, covariances)
        return Apply(self, inputs, [pt.tensor(dtype="float64", shape=(inputs[0].type.shape[0],))])

    def evaluate(self, *inputs: Any) -> tuple[Any, ...]:
        """See `log_density`."""
        return (link(log_density)(self.residual, *inputs),)

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """One number a row."""
        return [(shapes[0][0],)]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        """The kernel pass with the cotangent as row weights; rows themselves have no gradient."""
        X, *parameters = inputs
        gradients = MixturePullback(self.residual)(X, cotangents[0], *parameters)
        reason = "the density of a mixture is not differentiated with respect to rows"
        return [grad_not_implemented(self, 0, X, reason), *gradients]


class MixturePullback(CompiledOp):
    """Gradients of the log densities' sum weighted by a cotangent (n,), which may have any sign."""

    __props__ = ("residual",)
    gufunc_signature = "(n,d),(n),(k),(k,d),(k,d,d)->(k),(k,d),(k,d,d)"
    arguments = Signature(f"rows (n,d), cotangent (n), {MIXTURE}")

    def __init__(self, residual: int) -> None:
        self.residual = residual

    def make_node(self, X: Any, cotangent: Any, weights: Any, means: Any, covariances: Any) -> Apply:
        """Check shapes; see `Op.make_node`."""
        inputs = self.tensors(X, cotangent, weights, means, covariances)
        return Apply(self, inputs, [parameter.type() for parameter in inputs[2:]])

    def evaluate(self, *inputs: Any) -> tuple[Any, ...]:
        """See `pulled_back`."""
        return link(pulled_back)(self.residual, *inputs)

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """Shapes of the parameters."""
        return list(shapes[2:])


class MixtureValueAndGradient(CompiledOp):
    """Sum of the log densities and its gradients in one pass: what the rewrite puts in place of the two Ops."""

    __props__ = ("residual",)
    arguments = MixtureLogDensity.arguments

    def __init__(self, residual: int) -> None:
        self.residual = residual

    def make_node(self, X: Any, weights: Any, means: Any, covariances: Any) -> Apply:
        """Check shapes; see `Op.make_node`."""
        inputs = self.tensors(X, weights, means, covariances)
        return Apply(self, inputs, [pt.dscalar(), *(parameter.type() for parameter in inputs[1:])])

    def evaluate(self, X: Any, *parameters: Any) -> tuple[Any, ...]:
        """See `value_and_gradient`."""
        return link(value_and_gradient)(self.residual, X, np.empty(0), *parameters)

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """A scalar and the shapes of the parameters."""
        return [(), *shapes[1:]]


class CheckedShapes(InferredShapes, Op):
    """A tensor as it is, if ``lengths``, the axes that a signature names, agree."""

    __props__ = ("signature",)
    view_map: ClassVar = {0: [0]}

    def __init__(self, signature: str) -> None:
        self.signature, self.arguments = signature, Signature(signature)

    def make_node(self, tensor: Any, lengths: Any) -> Apply:
        """See `Op.make_node`."""
        inputs = [pt.as_tensor_variable(value) for value in (tensor, lengths)]
        return Apply(self, inputs, [inputs[0].type()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Check; see `Op.perform`."""
        self.arguments.compiled.py_func(inputs[1])
        output_storage[0][0] = inputs[0]

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """That of the tensor."""
        return shapes[:1]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Lengths have no gradient."""
        return [[True], [False]]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        """The cotangent as it is."""
        return [cotangents[0], disconnected_type()]


def checked(signature: Signature, tensor: Variable, *others: Variable) -> Variable:
    """The tensor, if the last axes of all agree, be it found now or when the graph is evaluated."""
    ranks = [len(letters) for _, letters in signature.parts]
    cores = [(t, t.type.ndim - rank) for t, rank in zip((tensor, *others), ranks, strict=True)]
    signature.check(*(t.type.shape[max(start, 0) :] for t, start in cores))
    lengths = [t.shape[axis] for t, start in cores for axis in range(start, t.type.ndim)]
    return CheckedShapes(signature.text)(tensor, pt.stack(lengths))


@register_funcify_default_op_cache_key(MixtureLogDensity)
def _numba_log_density(op, node, **kwargs):  # type: ignore[no-untyped-def]
    residual, agree, evaluate = op.residual, op.arguments.compiled, link(log_density)

    @numba_njit
    def mixture_log_density(X, weights, means, covariances):  # type: ignore[no-untyped-def]
        agree(X.shape + weights.shape + means.shape + covariances.shape)
        return evaluate(residual, X, weights, means, covariances)

    return mixture_log_density, _CODE_STAMP


@register_funcify_default_op_cache_key(MixturePullback)
def _numba_pullback(op, node, **kwargs):  # type: ignore[no-untyped-def]
    residual, agree, evaluate = op.residual, op.arguments.compiled, link(pulled_back)

    @numba_njit
    def mixture_pullback(X, cotangent, weights, means, covariances):  # type: ignore[no-untyped-def]
        agree(X.shape + cotangent.shape + weights.shape + means.shape + covariances.shape)
        return evaluate(residual, X, cotangent, weights, means, covariances)

    return mixture_pullback, _CODE_STAMP


@register_funcify_default_op_cache_key(MixtureValueAndGradient)
def _numba_value_and_gradient(op, node, **kwargs):  # type: ignore[no-untyped-def]
    residual, agree, evaluate = op.residual, op.arguments.compiled, link(value_and_gradient)

    @numba_njit
    def mixture_value_and_gradient(X, weights, means, covariances):  # type: ignore[no-untyped-def]
        agree(X.shape + weights.shape + means.shape + covariances.shape)
        total, d_weights, d_means, d_covariances = evaluate(residual, X, np.empty(0), weights, means, covariances)
        return np.asarray(total), d_weights, d_means, d_covariances

    return mixture_value_and_gradient, _CODE_STAMP


@register_funcify_default_op_cache_key(CheckedShapes)
def _numba_checked(op, node, **kwargs):  # type: ignore[no-untyped-def]
    agree = op.arguments.compiled

    @numba_njit
    def checked_shapes(tensor, lengths):  # type: ignore[no-untyped-def]
        agree(lengths)
        return tensor

    return checked_shapes, _CODE_STAMP


@register_specialize
@node_rewriter([MixturePullback])
def fuse_value_and_gradient(fgraph: FunctionGraph, node: Apply) -> dict[Variable, Variable] | None:
    """Where the cotangent is one number for all rows, take gradient and sum of log densities from one pass."""
    X, cotangent, *parameters = node.inputs
    factor = _common_value(cotangent)
    if factor is None:
        return None
    total, *gradients = MixtureValueAndGradient(node.op.residual)(X, *parameters)
    scaled = [factor * gradient for gradient in gradients]
    replacements = dict(zip(node.outputs, scaled, strict=True))
    density = MixtureLogDensity(node.op.residual)
    for client, _ in fgraph.clients[X]:
        if client.op == density and client.inputs == [X, *parameters]:
            replacements.update(dict.fromkeys(_sums(fgraph, client.outputs[0]), total))
    return replacements


def _common_value(cotangent: Variable) -> Variable | None:
    """The scalar that every element equals, if the graph shows that there is one."""
    if isinstance(cotangent, TensorConstant):
        value = cotangent.unique_value
        return None if value is None else pt.constant(value)
    owner = cotangent.owner
    if owner is not None and isinstance(owner.op, Alloc) and all(owner.inputs[0].type.broadcastable):
        return owner.inputs[0].squeeze()
    return None


def _sums(fgraph: FunctionGraph, vector: Variable) -> list[Variable]:
    return [client.outputs[0] for client, _ in fgraph.clients[vector] if isinstance(client.op, Sum)]
