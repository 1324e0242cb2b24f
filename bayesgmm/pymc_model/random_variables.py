"""Random variables of our PyMC distributions: batched draws by compiled code."""

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.variable import TensorVariable

import bayesgmm.pymc_model.jax_registration  # noqa: F401
from bayesgmm._common import Array
from bayesgmm._compiled import Signature
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import CovarianceFamily, covariance_family


class BatchedRV(RandomVariable):
    """A random variable with one draw, `draw_one`, to be repeated over a batch."""

    dtype = "floatX"
    arguments: Signature

    def make_node(self, rng: Any, size: Any, *parameters: Any) -> Any:
        """Check the shapes of parameters as far as they are known; see `Op.make_node`."""
        tensors = [pt.as_tensor_variable(parameter) for parameter in parameters]
        self.check(*(tensor.type.shape for tensor in tensors))
        return super().make_node(rng, size, *tensors)

    def check(self, *shapes: Any) -> None:
        """Raise `InputError` unless the last axes of parameters agree; those before are a batch."""
        cores = [shape[len(shape) - len(dims) :] for shape, dims in zip(shapes, self.inputs_sig, strict=True)]
        self.arguments.check(*cores)

    def draw_one(self, rng: np.random.Generator, *parameters: Array) -> Array:
        """One draw from contiguous parameters without batch dimensions."""
        raise NotImplementedError

    def rng_fn(self, rng: np.random.Generator, *args: Any, **kwargs: Any) -> Array:
        """Draw (*size, ...), each place with its own parameters."""
        *parameters, size = args
        parameters = [np.asarray(p) for p in parameters]
        self.check(*(p.shape for p in parameters))
        n_batch = [p.ndim - len(dims) for p, dims in zip(parameters, self.inputs_sig, strict=True)]
        batches = [p.shape[:n] for p, n in zip(parameters, n_batch, strict=True)]
        try:
            size = np.broadcast_shapes(*batches) if size is None else tuple(size)
            parameters = [np.broadcast_to(p, (*size, *p.shape[n:])) for p, n in zip(parameters, n_batch, strict=True)]
        except ValueError as error:
            raise InputError(
                expected="parameters whose batches agree", got=f"batches {batches}, size {size}"
            ) from error
        lengths = {
            name: length
            for p, dims in zip(parameters, self.inputs_sig, strict=True)
            for name, length in zip(dims, p.shape[len(size) :], strict=True)
        }
        draws = np.empty((*size, *(lengths[name] for name in self.output_sig)))
        for index in np.ndindex(*size):
            draws[index] = self.draw_one(rng, *(np.array(p[index], order="C") for p in parameters))
        return draws


class FamilyRV(BatchedRV):
    """One whose draws depend on a covariance family."""

    __props__ = (*RandomVariable.__props__, "covariance_type")

    def __init__(self, *, covariance_type: str = "full", **kwargs: Any) -> None:
        self.covariance_type = covariance_type
        super().__init__(**kwargs)

    @property
    def family(self) -> CovarianceFamily:
        """The row of the family table."""
        return covariance_family(self.covariance_type)


def members(family: CovarianceFamily, matrices: TensorVariable) -> TensorVariable:
    """Matrices (..., feature, feature) as those of a family are read, whatever stands in other places."""
    if family.parametrisation.correlated:
        return matrices
    variances = pt.diagonal(matrices, axis1=-2, axis2=-1)
    if family.parametrisation.width(2) > 1:  # one variance for all features
        variances = pt.zeros_like(variances) + variances.mean(axis=-1, keepdims=True)
    return variances[..., None] * pt.eye(matrices.shape[-1])


def variable_of(op: BatchedRV, *parameters: Any, rng: Any = None, size: Any = None) -> TensorVariable:
    """The variable that a distribution's ``rv_op`` gives, without the state of the generator."""
    rng = pt.random.shared_rng(seed=None) if rng is None else rng
    variable: TensorVariable = op(*parameters, rng=rng, size=size, return_next_rng=True)[1]
    return variable
