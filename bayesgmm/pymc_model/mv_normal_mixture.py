"""`MvNormalMixture`: a Gaussian mixture as a PyMC distribution, for `build_model` and user-defined models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numba import njit
from pymc.distributions.continuous import Normal
from pymc.distributions.distribution import Continuous, _support_point
from pymc.distributions.multivariate import quaddist_chol
from pymc.distributions.shape_utils import convert_shape, rv_size_is_none
from pymc.logprob.abstract import _logcdf, _logprob
from pymc.logprob.basic import logcdf
from pymc.pytensorf import constant_fold
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.link.numba.dispatch.basic import numba_njit
from pytensor.link.numba.dispatch.random import numba_core_rv_funcify
from pytensor.tensor.variable import TensorVariable

from bayesgmm._common import Array
from bayesgmm._compiled import Signature
from bayesgmm.mixture import LOG_2PI, covariance_family
from bayesgmm.pymc_model.mixture_ops import MIXTURE, MixtureLogDensity, checked, code_stamp
from bayesgmm.pymc_model.random_variables import FamilyRV, members, variable_of

_OF_ROWS = Signature("weights (k), row (d), means (k,d), covariances (k,d,d)")
_SMALLEST = np.finfo(np.float64).tiny  # stands for a weight of zero, whose logarithm has no gradient


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_row(rng, covariance, weights, means, covariances):  # type: ignore[no-untyped-def]
    """One row of the mixture; NaN if a weight is negative, or the covariance of its component not positive definite."""
    n_features = means.shape[1]
    if not weights.min() >= 0.0:
        return np.full(n_features, np.nan)
    threshold, k, passed = rng.random() * weights.sum(), 0, weights[0]
    while passed < threshold and k < weights.shape[0] - 1:
        k += 1
        passed += weights[k]
    noise, row = np.empty(n_features), np.empty(n_features)
    for d in range(n_features):
        noise[d] = rng.standard_normal()
    covariance.times_root(covariances[k], noise, row)
    return means[k] + row


class MvNormalMixtureRV(FamilyRV):
    """The random variable behind `MvNormalMixture`."""

    name = "mv_normal_mixture"
    signature = "(k),(k,d),(k,d,d)->(d)"
    _print_name = ("MvNormalMixture", "\\operatorname{MvNormalMixture}")
    arguments = Signature(MIXTURE)

    def draw_one(self, rng: np.random.Generator, *parameters: Array) -> Array:
        """A row (feature,)."""
        row: Array = _draw_row(rng, self.family.parametrisation, *parameters)
        return row


class NormalMixtureRV(MvNormalMixtureRV):
    """The same with one feature, whose rows are numbers."""

    signature = "(k),(k,d),(k,d,d)->()"

    def draw_one(self, rng: np.random.Generator, *parameters: Array) -> Array:
        """A number."""
        return super().draw_one(rng, *parameters)[0]


@numba_core_rv_funcify.register(MvNormalMixtureRV)
def _numba_draw(op: MvNormalMixtureRV, node: Any) -> tuple[Any, int]:
    covariance, agree, single = op.family.parametrisation, op.arguments.compiled, isinstance(op, NormalMixtureRV)

    @numba_njit
    def draw_row(rng, weights, means, covariances):  # type: ignore[no-untyped-def]
        agree(weights.shape + means.shape + covariances.shape)
        return _draw_row(rng, covariance, weights, means, covariances)

    @numba_njit
    def draw_number(rng, weights, means, covariances):  # type: ignore[no-untyped-def]
        return draw_row(rng, weights, means, covariances)[0]

    return draw_number if single else draw_row, code_stamp(__name__)


def _mixture_rv(
    weights: Any, means: Any, covariances: Any, *, covariance_type: str = "full", numbers: bool = False, **kwargs: Any
) -> TensorVariable:
    op = (NormalMixtureRV if numbers else MvNormalMixtureRV)(covariance_type=covariance_type)
    return variable_of(op, weights, means, covariances, **kwargs)


class MvNormalMixture(Continuous):
    r"""Mixture of multivariate normal distributions, with component memberships marginalized.

    .. math::

       p(x \mid w, \mu, \Sigma) = \sum_{k=1}^K w_k\, N(x \mid \mu_k, \Sigma_k)

    The log density and its gradient are computed in one compiled pass over the rows. The log density is pointwise:
    ``pm.compute_log_likelihood`` gives one value per row. It is -inf if a covariance is not positive definite.
    It is differentiated with respect to parameters and rows, so that it also serves as a prior of latent values, group
    effects for example. Second derivatives are not available. With one feature ``pymc.Censored`` and ``pymc.Truncated``
    take it; PyMC censors and truncates no distribution of several.

    Parameters
    ----------
    weights : tensor_like of float, (cluster,) or (obs, cluster)
        Mixture weights, non-negative and summing to one, which is not checked. Weights may vary by row, for example
        with a covariate: that takes one pass per component.
    means : tensor_like of float, (cluster, feature) or (obs, cluster, feature)
        Component means, which may vary by row.
    covariances : tensor_like of float, (cluster, feature, feature)
        Component covariances, full symmetric matrices for every family. They may vary by row, but that is slow.
    covariance_type : str
        ``"full"``, ``"tied"``, ``"diag"``, ``"spherical"``, ``"tied_diag"``, ``"tied_spherical"``, ``"VEI"``,
        ``"EVI"``, ``"VEE"``, ``"EVV"`` or mclust's code. It selects the kernel: for diagonal families only the
        diagonals are read, for spherical ones only their means.

    Notes
    -----
    With one feature, rows may be scalars: ``observed``, ``shape`` or ``dims`` with one axis (obs,) then stand for
    (obs, 1). ``pymc.logp`` of such a vector under a variable of a single row is the sum over the vector.

    Raises
    ------
    InputError
        If ``covariance_type`` is not known, or the shapes of rows, weights, means and covariances disagree. Shapes that
        are unknown when the model is built are checked when it is evaluated.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> from bayesgmm import MvNormalMixture
    >>> rows = MvNormalMixture.dist(weights=[0.3, 0.7], means=[[0.0], [5.0]], covariances=[[[1.0]], [[4.0]]])
    >>> pm.logp(rows, np.array([0.0])).eval().round(3).item()
    -2.073
    """

    rv_type = MvNormalMixtureRV
    rv_op = _mixture_rv

    @classmethod
    def dist(
        cls, weights: Any, means: Any, covariances: Any, *, covariance_type: str = "full", **kwargs: Any
    ) -> TensorVariable:
        """An unregistered variable of this distribution."""
        name = covariance_family(covariance_type).for_posterior().name
        parameters = [pt.as_tensor_variable(p, dtype="float64") for p in (weights, means, covariances)]
        shape = convert_shape(kwargs.get("shape"))
        if shape is not None and len(shape) == 1 and _known_length(parameters[1]) == 1:
            kwargs.update(shape=None, size=shape, numbers=True)
        return super().dist(parameters, covariance_type=name, **kwargs)

    @staticmethod
    def support_point(rv: Any, size: Any, weights: Any, means: Any, covariances: Any) -> TensorVariable:
        """Mean of the mixture."""
        mean = (weights[..., None] * means).sum(axis=-2)
        return mean if rv_size_is_none(size) else pt.full(pt.concatenate([size, [means.shape[-1]]]), mean)


@_support_point.register(NormalMixtureRV)
def _mean_of_numbers(op: NormalMixtureRV, rv: Any, rng: Any, size: Any, weights: Any, means: Any, _: Any) -> Any:
    return pt.zeros_like(rv) + (weights * means[..., 0]).sum(axis=-1)


def _known_length(array: TensorVariable) -> int | None:
    """The length of the last axis, if it is known by now; a dimension of the model may be resized later."""
    if array.type.shape[-1:] != (None,):
        return array.type.shape[-1] if array.type.ndim else None
    (length,) = constant_fold([array.shape[-1]], raise_not_constant=False)
    if isinstance(length, SharedVariable):
        return int(length.get_value())
    return None if isinstance(length, Variable) else int(length)


@_logprob.register(NormalMixtureRV)
def _logprob_of_numbers(op: NormalMixtureRV, values: Sequence, *args: Any, **kwargs: Any) -> TensorVariable:
    return _mixture_logprob(op, [value[..., None] for value in values], *args, **kwargs)


@_logcdf.register(NormalMixtureRV)
def _logcdf_of_numbers(op: NormalMixtureRV, value: Any, rng: Any, size: Any, weights: Any, means: Any, variances: Any):  # type: ignore[no-untyped-def]
    of_components = logcdf(Normal.dist(means[..., 0], pt.sqrt(variances[..., 0, 0])), value[..., None])
    return pt.logsumexp(pt.log(pt.maximum(weights, _SMALLEST)) + of_components, axis=-1)


@_logprob.register(MvNormalMixtureRV)
def _mixture_logprob(op: MvNormalMixtureRV, values: Sequence, rng: Any, size: Any, *parameters: Any, **kwargs: Any):  # type: ignore[no-untyped-def]
    """Log density of rows (..., feature), in one pass over all of them.

    Where weights or means are a row's own, in one for each component. Where covariances are, a call for each row.
    """
    (value,) = values
    density = MixtureLogDensity(op.covariance_type)
    batches = [p.type.broadcastable[:-core] for p, core in zip(parameters, (1, 2, 3), strict=True)]
    single = [p.squeeze(tuple(range(len(b)))) if all(b) else p for p, b in zip(parameters, batches, strict=True)]
    rows, shape, ndim = value.reshape((-1, value.shape[-1])), value.shape[:-1], value.type.ndim - 1
    if all(map(all, batches)):
        if ndim == 0:
            return density(_as_rows(value, single[1]), *single).sum()
        return density(value, *single) if ndim == 1 else density(rows, *single).reshape(shape, ndim=ndim)
    weights, means, covariances = single
    n_components = means.type.shape[-2]
    if n_components is None or not all(batches[2]):
        return pt.vectorize(lambda x, *p: density(x[None, :], *p)[0], signature="(d),(k),(k,d),(k,d,d)->()")(
            value, *parameters
        )

    weights = checked(_OF_ROWS, weights, value, means, covariances)

    def of_component(k: int) -> TensorVariable:
        if all(batches[1]):
            return density(rows, pt.ones(1), means[k : k + 1], covariances[k : k + 1]).reshape(shape, ndim=ndim)
        quadratic, log_scale, definite = quaddist_chol(value, means[..., k, :], members(op.family, covariances[k]))
        normal = -0.5 * quadratic - log_scale - 0.5 * LOG_2PI * value.shape[-1]
        return pt.switch(definite, normal, -np.inf)

    of_components = pt.stack([of_component(k) for k in range(n_components)], axis=-1)
    log_density = pt.logsumexp(pt.log(pt.maximum(weights, _SMALLEST)) + of_components, axis=-1)
    # One covariance that is not positive definite makes the density zero, whatever the weights.
    return pt.switch(pt.isinf(of_components).any(axis=-1), -np.inf, log_density)


def _as_rows(vector: TensorVariable, means: TensorVariable) -> TensorVariable:
    """One row; with one feature, as many as there are numbers."""
    numbers = pt.eq(means.shape[-1], 1)
    return vector.reshape((pt.switch(numbers, vector.shape[0], 1), pt.switch(numbers, 1, vector.shape[0])))
