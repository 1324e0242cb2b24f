r"""Scales of inverse-Wishart covariances as a PyMC variable: Wishart, or the matching gamma variables.

A family's scale is a full matrix (full, tied), a diagonal one (diag, tied_diag) or a multiple of the identity
(spherical, tied_spherical). Density and unconstrained value are those of its own numbers: the lower triangle, the
diagonal, or the one number.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numba import njit
from pymc.distributions.distribution import Continuous, _support_point
from pymc.distributions.transforms import _default_transform
from pymc.logprob.abstract import _logprob
from pytensor.link.numba.dispatch.basic import numba_njit
from pytensor.link.numba.dispatch.random import numba_core_rv_funcify
from pytensor.tensor.variable import TensorVariable

from bayesgmm._common import Array
from bayesgmm._compiled import Signature
from bayesgmm.mixture import FAMILIES, covariance_family
from bayesgmm.pymc_model.covariance_ops import StackCholesky
from bayesgmm.pymc_model.inverse_wishart import CovariancesTransform
from bayesgmm.pymc_model.mixture_ops import checked, code_stamp
from bayesgmm.pymc_model.random_variables import FamilyRV, members, variable_of

# The family of one such matrix that all share.
_ONE_MATRIX = {type(family.parametrisation): family.name for family in FAMILIES.values() if family.shared}
_OF_VALUE = Signature("scale (d,d), value (d,d)")


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_scale(rng, covariance, dof, scale):  # type: ignore[no-untyped-def]
    """One scale (feature, feature)."""
    drawn = np.zeros(scale.shape)
    covariance.draw_scale(rng, dof, scale, drawn)
    return drawn


class WishartScaleRV(FamilyRV):
    """The random variable behind `WishartScale`."""

    name = "wishart_scale"
    signature = "(),(d,d)->(d,d)"
    _print_name = ("WishartScale", "\\operatorname{WishartScale}")
    arguments = Signature("dof (), scale (d,d)")

    def draw_one(self, rng: np.random.Generator, *parameters: Array) -> Array:
        """A matrix (feature, feature)."""
        dof, scale = parameters
        matrix: Array = _draw_scale(rng, self.family.parametrisation, float(dof), scale)
        return matrix


@numba_core_rv_funcify.register(WishartScaleRV)
def _numba_draw(op: WishartScaleRV, node: Any) -> tuple[Any, int]:
    covariance = op.family.parametrisation
    agree = op.arguments.compiled

    @numba_njit
    def draw(rng, dof, scale):  # type: ignore[no-untyped-def]
        agree(scale.shape)
        return _draw_scale(rng, covariance, dof, scale)

    return draw, code_stamp(__name__)


def _scale_rv(dof: Any, scale: Any, *, covariance_type: str = "full", **kwargs: Any) -> TensorVariable:
    return variable_of(WishartScaleRV(covariance_type=covariance_type), dof, scale, **kwargs)


class WishartScale(Continuous):
    r"""The scale S that the covariances of a mixture share.

    ==========================  ==============================================
    full, tied, VEE, EVV        :math:`S \sim Wishart(n, V)`
    diag, tied_diag, VEI, EVI   :math:`S_{jj} \sim V_{jj} \chi^2_n`
    spherical, tied_spherical   :math:`S = s 1, s \sim tr(V)/D \; \chi^2_n`
    ==========================  ==============================================

    Parameters
    ----------
    dof : tensor_like of float
        n, above D - 1.
    scale : tensor_like of float, (feature, feature)
        V, symmetric positive definite.
    covariance_type : str
        Covariance family; scikit-learn's name or mclust's code.

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> from bayesgmm.pymc_model.wishart_scale import WishartScale
    >>> prior = WishartScale.dist(dof=3.0, scale=[[2.0]])
    >>> bool(np.isclose(pm.logp(prior, [[0.5]]).eval(), pm.logp(pm.Gamma.dist(1.5, 0.25), 0.5).eval()))
    True
    """

    rv_type = WishartScaleRV
    rv_op = _scale_rv

    @classmethod
    def dist(cls, dof: Any, scale: Any, *, covariance_type: str = "full", **kwargs: Any) -> TensorVariable:
        """An unregistered variable of this distribution."""
        name = covariance_family(covariance_type).for_posterior().name
        parameters = [pt.as_tensor_variable(p, dtype="float64") for p in (dof, scale)]
        return super().dist(parameters, covariance_type=name, **kwargs)


@_support_point.register(WishartScaleRV)
def _mean(op: WishartScaleRV, rv: Any, rng: Any, size: Any, dof: Any, scale: Any) -> Any:
    return pt.zeros_like(rv) + members(op.family, dof[..., None, None] * scale)


@_logprob.register(WishartScaleRV)
def _scale_logprob(  # type: ignore[no-untyped-def]
    op: WishartScaleRV, values: Sequence, rng: Any, size: Any, dof: Any, scale: Any, **kwargs: Any
):
    (value,) = values
    scale = checked(_OF_VALUE, scale, value)
    if op.family.parametrisation.correlated:
        return _log_wishart(value, dof, scale)
    diagonals = [pt.diagonal(matrix, axis1=-2, axis2=-1) for matrix in (value, scale)]
    if op.family.parametrisation.width(2) > 1:
        diagonals = [diagonal.mean(axis=-1, keepdims=True) for diagonal in diagonals]
    s, half, rate = diagonals[0], 0.5 * dof, 0.5 / diagonals[1]
    density = half * pt.log(rate) - pt.gammaln(half) + (half - 1.0) * pt.log(s) - rate * s
    return pt.switch(pt.all(s > 0.0), density.sum(axis=-1), -np.inf)


def _log_wishart(value: Any, dof: Any, scale: Any) -> TensorVariable:
    d = scale.shape[-1]
    log_dets = [
        2.0 * pt.log(pt.diagonal(StackCholesky()(matrix[None])[0])).sum() for matrix in (value, scale)
    ]  # NaN where there is no factor
    gammas = pt.gammaln(0.5 * (dof - pt.arange(d))).sum() + 0.25 * d * (d - 1) * np.log(np.pi)
    density = 0.5 * (dof - d - 1.0) * log_dets[0] - 0.5 * (pt.linalg.inv(scale) * value).sum()
    return density - 0.5 * dof * (log_dets[1] + d * np.log(2.0)) - gammas


class ScaleTransform(CovariancesTransform):
    """Between a scale (feature, feature) and unconstrained values: those of one covariance of the family."""

    ndim_supp = 2

    def forward(self, value: Any, *inputs: Any) -> TensorVariable:
        """Unconstrained values of a scale."""
        return super().forward(pt.as_tensor_variable(value)[None], inputs[-1][None])

    def backward(self, value: Any, *inputs: Any) -> TensorVariable:
        """The scale of unconstrained values."""
        return super().backward(value, inputs[-1][None])[0]

    def log_jac_det(self, value: Any, *inputs: Any) -> TensorVariable:
        """Log absolute Jacobian determinant of `backward`."""
        return super().log_jac_det(value, inputs[-1][None])


@_default_transform.register(WishartScaleRV)
def _scale_transform(op: WishartScaleRV, rv: TensorVariable) -> ScaleTransform:
    kinds = type(op.family.parametrisation).__mro__  # the family's own, or the one whose covariances it ties together
    return ScaleTransform(next(_ONE_MATRIX[kind] for kind in kinds if kind in _ONE_MATRIX))
