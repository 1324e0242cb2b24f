r"""Inverse-Wishart covariances of a mixture as one PyMC variable: full matrices (cluster, feature, feature_bis).

Each covariance family is a set of such stacks: any positive definite matrices for full, one matrix repeated for
tied, diagonal matrices for diag, multiples of the identity for spherical, one of these repeated for their tied
forms. The density is that of the family's own parameters, as `bayesgmm.priors.prior` defines it; the unconstrained
values are theirs too:

==============  =================================  ==================================
family          density of                         unconstrained value
==============  =================================  ==================================
full            lower triangles of K matrices      (K, D(D+1)/2) Cholesky, log pivots
tied            lower triangle of one matrix       (D(D+1)/2,) Cholesky, log pivots
diag            K x D variances                    (K, D) log variances
spherical       K variances                        (K,) log variances
tied_diag       D variances                        (D,) log variances
tied_spherical  one variance                       (1,) log variance
VEI             K - 1 factors and D variances      (K - 1 + D,) their logarithms
EVI             D + (K - 1)(D - 1) variances       as many, their logarithms
VEE             K - 1 factors and one matrix       (K - 1 + D(D+1)/2,) logarithms; Cholesky, rows in units of
                                                   their pivots, log pivots
EVV             K matrices, of one determinant     (K D(D+1)/2 - K + 1,) Cholesky, log pivots, without the last
                                                   of all but the first
==============  =================================  ==================================
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numba import njit
from pymc.distributions.distribution import Continuous, _support_point
from pymc.distributions.shape_utils import rv_size_is_none
from pymc.distributions.transforms import CholeskyCovTransform, _default_transform
from pymc.logprob.abstract import _logprob
from pymc.logprob.transforms import Transform
from pytensor.link.numba.dispatch.basic import numba_njit
from pytensor.link.numba.dispatch.random import numba_core_rv_funcify
from pytensor.tensor.variable import TensorVariable

from bayesgmm._common import Array
from bayesgmm._compiled import Signature
from bayesgmm.mixture import covariance_family
from bayesgmm.pymc_model.covariance_ops import InverseWishart, LogCoincidence, StackCovariances
from bayesgmm.pymc_model.mixture_ops import code_stamp
from bayesgmm.pymc_model.random_variables import FamilyRV, members, variable_of


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_covariances(rng, covariance, n_blocks, dof, scale):  # type: ignore[no-untyped-def]
    """One stack of covariances (cluster, feature, feature_bis)."""
    covariances = np.zeros(scale.shape)
    covariance.draw_covariances(rng, dof[:n_blocks], scale[:n_blocks], covariances)
    for k in range(n_blocks, scale.shape[0]):
        covariances[k] = covariances[0]
    return covariances


class InverseWishartCovariancesRV(FamilyRV):
    """The random variable behind `InverseWishartCovariances`."""

    name = "inverse_wishart_covariances"
    signature = "(k),(k,d,d)->(k,d,d)"
    _print_name = ("InverseWishartCovariances", "\\operatorname{InverseWishartCovariances}")
    arguments = Signature("dof (k), scale (k,d,d)")

    def draw_one(self, rng: np.random.Generator, *parameters: Array) -> Array:
        """A stack (cluster, feature, feature_bis)."""
        dof, scale = parameters
        n_blocks = self.family.n_blocks(len(scale))
        stack: Array = _draw_covariances(rng, self.family.parametrisation, n_blocks, dof, scale)
        return stack


@numba_core_rv_funcify.register(InverseWishartCovariancesRV)
def _numba_draw(op: InverseWishartCovariancesRV, node: Any) -> tuple[Any, int]:
    covariance, shared = op.family.parametrisation, op.family.shared
    agree = op.arguments.compiled

    @numba_njit
    def draw(rng, dof, scale):  # type: ignore[no-untyped-def]
        agree(dof.shape + scale.shape)
        return _draw_covariances(rng, covariance, 1 if shared else scale.shape[0], dof, scale)

    return draw, code_stamp(__name__)


def _covariances_rv(dof: Any, scale: Any, *, covariance_type: str = "full", **kwargs: Any) -> TensorVariable:
    return variable_of(InverseWishartCovariancesRV(covariance_type=covariance_type), dof, scale, **kwargs)


class InverseWishartCovariances(Continuous):
    r"""Covariances of all components of a mixture, inverse-Wishart or the matching inverse gammas.

    With degrees of freedom :math:`\nu_k` and scale :math:`S_k`, of the density
    :math:`IW(\Sigma \mid \nu, S) \propto |\Sigma|^{-(\nu+D+1)/2} \exp(-\tfrac12 tr(S \Sigma^{-1}))`:

    ==============  =========================================================================
    full            :math:`\Sigma_k \sim IW(\nu_k, S_k)`
    tied            :math:`\Sigma \sim IW(\nu_1, S_1)`, the same matrix for all components
    diag            :math:`\sigma^2_{kj} \sim IG(\nu_k/2, S_{k,jj}/2)` on the diagonal
    spherical       :math:`\sigma^2_k \sim IG(\nu_k/2, tr(S_k)/2D)` times the identity
    tied_diag       :math:`\sigma^2_j \sim IG(\nu_1/2, S_{1,jj}/2)`, the same for all components
    tied_spherical  :math:`\sigma^2 \sim IG(\nu_1/2, tr(S_1)/2D)`, the same for all components
    VEI, EVI        the density of diag, where all have one shape or one volume, and all :math:`S_k` are equal
    VEE, EVV        the density of full, where all have one shape or one volume, and all :math:`S_k` are equal
    ==============  =========================================================================

    Parameters
    ----------
    dof : tensor_like of float, (cluster,)
        Degrees of freedom, above D - 1.
    scale : tensor_like of float, (cluster, feature, feature)
        Symmetric positive definite scale matrices.
    covariance_type : str
        Covariance family; scikit-learn's name or mclust's code.

    Raises
    ------
    InputError
        If ``covariance_type`` is not known.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> from bayesgmm.pymc_model.inverse_wishart import InverseWishartCovariances
    >>> prior = InverseWishartCovariances.dist(dof=[4.0], scale=[[[2.0]]], covariance_type="diag")
    >>> bool(np.isclose(pm.logp(prior, [[[0.5]]]).eval(), pm.logp(pm.InverseGamma.dist(2.0, 1.0), 0.5).eval()))
    True
    """

    rv_type = InverseWishartCovariancesRV
    rv_op = _covariances_rv

    @classmethod
    def dist(cls, dof: Any, scale: Any, *, covariance_type: str = "full", **kwargs: Any) -> TensorVariable:
        """An unregistered variable of this distribution."""
        name = covariance_family(covariance_type).for_posterior().name
        parameters = [pt.as_tensor_variable(p, dtype="float64") for p in (dof, scale)]
        return super().dist(parameters, covariance_type=name, **kwargs)


@_support_point.register(InverseWishartCovariancesRV)
def _mode_of_full(op: InverseWishartCovariancesRV, rv: Any, rng: Any, size: Any, dof: Any, scale: Any) -> Any:
    """A point with density: the scale, made a member of the family, over nu + D + 1."""
    point = scale / (dof[..., None, None] + scale.shape[-1] + 1.0)
    if op.family.shared:
        point = point[..., :1, :, :] + pt.zeros_like(point)
    point = members(op.family, point)
    return point if rv_size_is_none(size) else pt.full(pt.concatenate([size, rv.shape[-3:]]), point)


@_logprob.register(InverseWishartCovariancesRV)
def _covariances_logprob(  # type: ignore[no-untyped-def]
    op: InverseWishartCovariancesRV, values: Sequence, rng: Any, size: Any, dof: Any, scale: Any, **kwargs: Any
):
    """One number a stack."""
    (value,) = values
    density, family = InverseWishart(op.covariance_type), op.family

    def logp(covariances: Any, dof: Any, scale: Any) -> Any:
        value = density(covariances, dof, scale)[0]
        if family.restriction(2, 2) is None:
            return value
        special = SimpleNamespace(
            gammaln=pt.gammaln, arange=pt.arange, log_coincidence=LogCoincidence(op.covariance_type)
        )
        return value + family.parametrisation.tied_log_constant(dof, scale.shape[-1], special)

    if value.type.ndim == 3 and dof.type.ndim == 1 and scale.type.ndim == 3:
        return logp(value, dof, scale)
    return pt.vectorize(logp, signature="(k,d,d),(k),(k,d,d)->()")(value, dof, scale)


class CovariancesTransform(Transform):
    """Between stacks of covariances (cluster, feature, feature_bis) and a family's unconstrained values.

    The last of the ``inputs`` (the variable's own parameters) is the scale, which gives K and D. For full
    matrices it is PyMC's ``CholeskyCovTransform``, evaluated for all components in one Op.
    """

    name = "covariances"
    ndim_supp = 3

    def __init__(self, covariance_type: str) -> None:
        self.family = covariance_family(covariance_type)

    def forward(self, value: Any, *inputs: Any) -> TensorVariable:
        """Unconstrained values of a stack; the first matrix stands for a tied one."""
        value = pt.as_tensor_variable(value)
        value = value[0] if self.family.shared else value
        one, tied = self.family.parametrisation, self.family.restriction(2, 2) is not None
        if one.correlated:
            packed = CholeskyCovTransform(n=inputs[-1].shape[-1]).forward(value)
            return one.free(one.values_of_cholesky(packed, pt), pt) if tied else packed
        log_variances = pt.log(pt.diagonal(value, axis1=-2, axis2=-1))
        if tied:
            return one.free(log_variances, pt)
        if one.width(2) == 1:
            return log_variances
        return log_variances[:1] if self.family.shared else log_variances[:, 0]

    def backward(self, value: Any, *inputs: Any) -> TensorVariable:
        """The stack of covariances of unconstrained values."""
        return self._stack(value, inputs[-1])[0]

    def log_jac_det(self, value: Any, *inputs: Any) -> TensorVariable:
        """Log absolute Jacobian determinant of `backward`, in the family's own parameters."""
        return self._stack(value, inputs[-1])[1]

    def _stack(self, value: Any, scale: Any) -> list[TensorVariable]:
        value = pt.as_tensor_variable(value)
        if value.type.ndim == 1:
            one_block = self.family.shared or self.family.restriction(2, 2) is not None
            value = value[None] if one_block else value[:, None]
        return StackCovariances(self.family.name)(value, scale.shape[-3], scale.shape[-1])


@_default_transform.register(InverseWishartCovariancesRV)
def _covariances_transform(op: InverseWishartCovariancesRV, rv: TensorVariable) -> CovariancesTransform:
    return CovariancesTransform(op.covariance_type)
