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

with counts N, first moments f and second moments S of the whitened residuals. The gradient with respect to a row is
:math:`-v_i \sum_k r_{ik} \Sigma_k^{-1} (x_i - \mu_k)`, with responsibilities r: an Op of its own, left out of graphs in
which rows are observed. The first pass returns the
log-likelihood too; so where the cotangent is one number for all rows, as it is when a model's log density is
differentiated, `fuse_value_and_gradient` lets it serve both and the pointwise pass is dropped.

Shapes are checked before the compiled functions, which read as far as means say: where they are known when a graph
is built, and in every evaluation, by Python or by numba.
"""

import inspect
import math
import sys
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import pytensor.tensor as pt
from numba import njit
from pytensor.gradient import disconnected_type
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_default_op_cache_key
from pytensor.tensor.basic import Alloc
from pytensor.tensor.math import Sum
from pytensor.tensor.rewriting.basic import register_specialize
from pytensor.tensor.variable import TensorConstant

from bayesgmm._compiled import LANES, Signature, cholesky_lower, exp, link, linked
from bayesgmm.data import Patterns
from bayesgmm.mixture import (
    FAMILIES,
    LOG_2PI,
    CovarianceFamily,
    Sums,
    add_rows,
    component_of,
    covariance_family,
    pointwise_rows,
)

MIXTURE = "weights (k), means (k,d), covariances (k,d,d)"

_compiled = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def _prepare(covariance, X, weights, means, covariances):  # type: ignore[no-untyped-def]
    """What the kernel reads: whether all is well, columns, log scale, means, inverse factors."""
    n_rows, n_features = X.shape
    n_components = means.shape[0]
    columns = np.empty((n_features, n_rows))
    for d in range(n_features):
        for i in range(n_rows):
            columns[d, i] = X[i, d]
    mu = np.empty((n_components, n_features))
    log_scale = np.zeros(n_components)
    prec = np.empty((n_components, *covariance.factor_shape(n_features)))
    mu[:, :] = means
    valid, positive = True, 0
    for k in range(n_components):
        log_scale[k] = covariance.whiten_matrix(covariances[k], prec[k])
        valid = valid and weights[k] >= 0.0 and not np.isnan(log_scale[k]) and not np.isnan(means[k]).any()
        positive += weights[k] > 0.0
        log_scale[k] += -0.5 * n_features * LOG_2PI + (math.log(weights[k]) if weights[k] > 0.0 else -np.inf)
    return valid and positive > 0, columns, log_scale, mu, prec


@_compiled
def _complete():  # type: ignore[no-untyped-def]
    """Patterns of rows without missing values."""
    return Patterns(np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.int64))


@_compiled
def log_density(covariance, component, X, weights, means, covariances):  # type: ignore[no-untyped-def]
    """Log density of each row (obs,); -inf everywhere if a covariance is not positive definite, or a mean NaN."""
    valid, columns, log_scale, mu, prec = _prepare(covariance, X, weights, means, covariances)
    result = np.full(X.shape[0], -np.inf)
    if valid:
        arrays = (log_scale, mu, prec, result, np.empty((0, 0)))
        pointwise_rows(covariance, component, columns, _complete(), *arrays)
    return result


@_compiled
def value_and_gradient(covariance, component, X, row_weights, weights, means, covariances):  # type: ignore[no-untyped-def]
    """Sum of row_weights * log density and its gradients; no row weights means one each.

    Where the log density is -inf because a parameter is illegal, the gradients are zero.
    """
    n_components, n_features = means.shape
    d_weights = np.zeros(n_components)
    d_means = np.zeros((n_components, n_features))
    d_covariances = np.zeros((n_components, n_features, n_features))
    valid, columns, log_scale, mu, prec = _prepare(covariance, X, weights, means, covariances)
    if not valid:
        return -np.inf, d_weights, d_means, d_covariances
    first, second = np.zeros((n_components, n_features)), np.zeros(prec.shape)
    v = np.empty(row_weights.size)
    v[:] = row_weights
    complete = _complete()
    sums = Sums(d_weights, first, second, np.empty((0, n_components)))
    total = add_rows(covariance, component, columns, v, complete, log_scale, mu, prec, sums)
    for k in range(n_components):
        covariance.matrix_gradient(prec[k], d_weights[k], first[k], second[k], d_means[k], d_covariances[k])
        d_weights[k] = d_weights[k] / weights[k] if weights[k] > 0.0 else 0.0
    return total, d_weights, d_means, d_covariances


@_compiled
def pulled_back(covariance, component, X, row_weights, *parameters):  # type: ignore[no-untyped-def]
    """The gradients of `value_and_gradient` alone."""
    return value_and_gradient(covariance, component, X, row_weights, *parameters)[1:]


@_compiled
def rows_pulled_back(covariance, component, X, cotangent, weights, means, covariances):  # type: ignore[no-untyped-def]
    """Gradient by the rows (obs, feature) of the sum of cotangent * log density; zero for illegal parameters."""
    n_rows, n_features = X.shape
    d_rows = np.zeros((n_rows, n_features))
    valid, columns, log_scale, mu, prec = _prepare(covariance, X, weights, means, covariances)
    if not valid:
        return d_rows
    log_densities, resp = np.empty(n_rows), np.empty((mu.shape[0], n_rows))
    pointwise_rows(covariance, component, columns, _complete(), log_scale, mu, prec, log_densities, resp)
    residual, whitened, slope = np.empty(n_features), np.empty(n_features), np.empty(n_features)
    for i in range(n_rows):
        for k in range(mu.shape[0]):
            for d in range(n_features):
                residual[d] = X[i, d] - mu[k, d]
            covariance.multiply(prec[k], residual, whitened)
            covariance.multiply_transposed(prec[k], whitened, slope)
            for d in range(n_features):
                d_rows[i, d] -= cotangent[i] * resp[k, i] * slope[d]
    return d_rows


def code_stamp(*modules: str) -> int:
    """A number that changes with the code behind a compiled Op; PyTensor's disk cache keeps it beside the Op's name."""
    families = {part for family in FAMILIES.values() for part in type(family.parametrisation).__mro__}
    common = {part.__module__ for part in (add_rows, Sums, cholesky_lower, Signature, exp, linked, *families)}
    sources = (inspect.getsource(sys.modules[name]) for name in (*modules, *sorted(common - {"abc", "builtins"})))
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


class FamilyOp(CompiledOp):
    """One whose compiled function depends on a covariance family."""

    __props__: tuple[str, ...] = ("covariance_type",)

    def __init__(self, covariance_type: str) -> None:
        self.covariance_type = covariance_type

    @property
    def family(self) -> CovarianceFamily:
        """The row of the family table."""
        return covariance_family(self.covariance_type)

    @property
    def kernel(self) -> tuple[Any, Any]:
        """What chooses the compiled code."""
        return self.family.parametrisation, component_of("gaussian")

    def compiled(self, function: Any) -> Any:
        """A compiled function, ready to be called with the kernel of this family."""
        return link(function, *map(type, self.kernel))


class MixtureLogDensity(FamilyOp):
    """Log density of each row: X (n, d), weights (k,), means (k, d), covariances (k, d, d) -> (n,)."""

    gufunc_signature = "(n,d),(k),(k,d),(k,d,d)->(n)"
    arguments = Signature(f"rows (n,d), {MIXTURE}")

    def make_node(self, X: Any, weights: Any, means: Any, covariances: Any) -> Apply:
        """Check shapes; see `Op.make_node`."""
        inputs = self.tensors(X, weights, means, covariances)
        return Apply(self, inputs, [pt.tensor(dtype="float64", shape=(inputs[0].type.shape[0],))])

    def evaluate(self, *inputs: Any) -> tuple[Any, ...]:
        """See `log_density`."""
        return (self.compiled(log_density)(*self.kernel, *inputs),)

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """One number a row."""
        return [(shapes[0][0],)]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Variable]:
        """The kernel pass with the cotangent as row weights, and a pass for rows, each left out where not used."""
        X, *parameters = inputs
        arguments = (X, cotangents[0], *parameters)
        by_rows = RowsPullback(self.covariance_type)(*arguments)
        return [by_rows, *MixturePullback(self.covariance_type)(*arguments)]


class MixturePullback(FamilyOp):
    """Gradients of the log densities' sum weighted by a cotangent (n,), which may have any sign."""

    gufunc_signature = "(n,d),(n),(k),(k,d),(k,d,d)->(k),(k,d),(k,d,d)"
    gradient = staticmethod(pulled_back)
    arguments = Signature(f"rows (n,d), cotangent (n), {MIXTURE}")

    def make_node(self, X: Any, cotangent: Any, weights: Any, means: Any, covariances: Any) -> Apply:
        """Check shapes; see `Op.make_node`."""
        inputs = self.tensors(X, cotangent, weights, means, covariances)
        return Apply(self, inputs, [parameter.type() for parameter in inputs[2:]])

    def evaluate(self, *inputs: Any) -> tuple[Any, ...]:
        """See `pulled_back`."""
        return self.compiled(self.gradient)(*self.kernel, *inputs)

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """Shapes of the parameters."""
        return list(shapes[2:])


class RowsPullback(FamilyOp):
    """Gradient by the rows (n, d) of the log densities' sum weighted by a cotangent (n,)."""

    gufunc_signature = "(n,d),(n),(k),(k,d),(k,d,d)->(n,d)"
    gradient = staticmethod(rows_pulled_back)
    arguments = MixturePullback.arguments

    def make_node(self, X: Any, cotangent: Any, weights: Any, means: Any, covariances: Any) -> Apply:
        """Check shapes; see `Op.make_node`."""
        inputs = self.tensors(X, cotangent, weights, means, covariances)
        return Apply(self, inputs, [inputs[0].type()])

    def evaluate(self, *inputs: Any) -> tuple[Any, ...]:
        """See `rows_pulled_back`."""
        return (self.compiled(self.gradient)(*self.kernel, *inputs),)

    def output_shapes(self, node: Apply, shapes: list[tuple]) -> list[tuple]:
        """That of the rows."""
        return shapes[:1]


class MixtureValueAndGradient(FamilyOp):
    """Sum of the log densities and its gradients in one pass: what the rewrite puts in place of the two Ops."""

    arguments = MixtureLogDensity.arguments

    def make_node(self, X: Any, weights: Any, means: Any, covariances: Any) -> Apply:
        """Check shapes; see `Op.make_node`."""
        inputs = self.tensors(X, weights, means, covariances)
        return Apply(self, inputs, [pt.dscalar(), *(parameter.type() for parameter in inputs[1:])])

    def evaluate(self, X: Any, *parameters: Any) -> tuple[Any, ...]:
        """See `value_and_gradient`."""
        return self.compiled(value_and_gradient)(*self.kernel, X, np.empty(0), *parameters)

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

    def check(self, lengths: Iterable[int | None]) -> None:
        """Raise `InputError` unless the lengths agree; what is not known passes."""
        rest = iter(lengths)
        self.arguments.check(*([next(rest) for _ in letters] for _, letters in self.arguments.parts))

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: list[list[Any]]) -> None:
        """Check; see `Op.perform`."""
        self.check(inputs[1])
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
    agree, evaluate = op.arguments.compiled, op.compiled(log_density)
    covariance, component = op.kernel

    @numba_njit
    def mixture_log_density(X, weights, means, covariances):  # type: ignore[no-untyped-def]
        agree(X.shape + weights.shape + means.shape + covariances.shape)
        return evaluate(covariance, component, X, weights, means, covariances)

    return mixture_log_density, _CODE_STAMP


@register_funcify_default_op_cache_key(MixturePullback)
@register_funcify_default_op_cache_key(RowsPullback)
def _numba_pullback(op, node, **kwargs):  # type: ignore[no-untyped-def]
    agree, evaluate = op.arguments.compiled, op.compiled(op.gradient)
    covariance, component = op.kernel

    @numba_njit
    def mixture_pullback(X, cotangent, weights, means, covariances):  # type: ignore[no-untyped-def]
        agree(X.shape + cotangent.shape + weights.shape + means.shape + covariances.shape)
        return evaluate(covariance, component, X, cotangent, weights, means, covariances)

    return mixture_pullback, _CODE_STAMP


@register_funcify_default_op_cache_key(MixtureValueAndGradient)
def _numba_value_and_gradient(op, node, **kwargs):  # type: ignore[no-untyped-def]
    agree, evaluate = op.arguments.compiled, op.compiled(value_and_gradient)
    covariance, component = op.kernel

    @numba_njit
    def mixture_value_and_gradient(X, weights, means, covariances):  # type: ignore[no-untyped-def]
        agree(X.shape + weights.shape + means.shape + covariances.shape)
        total, d_weights, d_means, d_covariances = evaluate(
            covariance, component, X, np.empty(0), weights, means, covariances
        )
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
    total, *gradients = MixtureValueAndGradient(node.op.covariance_type)(X, *parameters)
    scaled = [factor * gradient for gradient in gradients]
    replacements = dict(zip(node.outputs, scaled, strict=True))
    density = MixtureLogDensity(node.op.covariance_type)
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
