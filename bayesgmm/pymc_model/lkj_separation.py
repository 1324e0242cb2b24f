r"""Covariances with inverse-gamma variances and LKJ correlations, all components in one PyMC variable.

The density is that of each covariance's lower triangle, as `bayesgmm.priors.resolved` defines it; the
unconstrained values are those of `InverseWishartCovariances`.
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
from bayesgmm.mixture import covariance_family
from bayesgmm.pymc_model.covariance_ops import StackCholesky
from bayesgmm.pymc_model.inverse_wishart import CovariancesTransform
from bayesgmm.pymc_model.mixture_ops import checked, code_stamp
from bayesgmm.pymc_model.random_variables import FamilyRV, variable_of

_OF_VALUE = Signature("covariances (k,d,d), variance_shape (k,d), variance_scale (k,d)")


@njit(cache=True, nogil=True, error_model="numpy")
def _draw_covariances(rng, shared, eta, shape, scale):  # type: ignore[no-untyped-def]
    """A stack (cluster, feature, feature), correlations from independent partial ones (Lewandowski et al. 2009)."""
    n_components, n = shape.shape
    covariances, lower = np.zeros((n_components, n, n)), np.zeros((n, n))
    for k in range(n_components):
        if shared and k > 0:
            covariances[k] = covariances[0]
            continue
        for i in range(n):
            rest = 1.0
            for j in range(i):
                half = eta + 0.5 * (n - 2 - j)
                lower[i, j] = (2.0 * rng.beta(half, half) - 1.0) * np.sqrt(rest)
                rest -= lower[i, j] ** 2
            lower[i, i] = np.sqrt(rest)
        for i in range(n):
            sd = np.sqrt(scale[k, i] / rng.standard_gamma(shape[k, i]))
            for j in range(i + 1):
                lower[i, j] *= sd
        for i in range(n):
            for j in range(n):
                for m in range(min(i, j) + 1):
                    covariances[k, i, j] += lower[i, m] * lower[j, m]
    return covariances


class SeparationCovariancesRV(FamilyRV):
    """The random variable behind `SeparationCovariances`."""

    name = "separation_covariances"
    signature = "(),(k,d),(k,d)->(k,d,d)"
    _print_name = ("SeparationCovariances", "\\operatorname{SeparationCovariances}")
    arguments = Signature("eta (), variance_shape (k,d), variance_scale (k,d)")

    def draw_one(self, rng: np.random.Generator, *parameters: Array) -> Array:
        """A stack (cluster, feature, feature_bis)."""
        eta, shape, scale = parameters
        stack: Array = _draw_covariances(rng, self.family.shared, float(eta), shape, scale)
        return stack


@numba_core_rv_funcify.register(SeparationCovariancesRV)
def _numba_draw(op: SeparationCovariancesRV, node: Any) -> tuple[Any, int]:
    shared = op.family.shared
    agree = op.arguments.compiled

    @numba_njit
    def draw(rng, eta, shape, scale):  # type: ignore[no-untyped-def]
        agree(shape.shape + scale.shape)
        return _draw_covariances(rng, shared, eta, shape, scale)

    return draw, code_stamp(__name__)


def _separation_rv(eta: Any, shape: Any, scale: Any, *, covariance_type: str = "full", **kwargs: Any) -> TensorVariable:
    return variable_of(SeparationCovariancesRV(covariance_type=covariance_type), eta, shape, scale, **kwargs)


class SeparationCovariances(Continuous):
    r"""Covariances of all components: :math:`\Sigma_k = D_k R_k D_k`, variances and correlations independent.

    :math:`\sigma^2_{kj} \sim IG(a_{kj}, b_{kj})` and :math:`R_k \sim LKJ(\eta)`; with ``"tied"`` one covariance, with
    the numbers of the first component, repeated.

    Parameters
    ----------
    eta : tensor_like of float
        Above zero.
    variance_shape, variance_scale : tensor_like of float, (cluster, feature)
        a and b.
    covariance_type : {"full", "tied"}

    Examples
    --------
    >>> import numpy as np
    >>> import pymc as pm
    >>> from bayesgmm.pymc_model.lkj_separation import SeparationCovariances
    >>> prior = SeparationCovariances.dist(eta=1.0, variance_shape=[[2.0]], variance_scale=[[1.5]])
    >>> bool(np.isclose(pm.logp(prior, [[[0.5]]]).eval(), pm.logp(pm.InverseGamma.dist(2.0, 1.5), 0.5).eval()))
    True
    """

    rv_type = SeparationCovariancesRV
    rv_op = _separation_rv

    @classmethod
    def dist(
        cls, eta: Any, variance_shape: Any, variance_scale: Any, *, covariance_type: str = "full", **kwargs: Any
    ) -> TensorVariable:
        """An unregistered variable of this distribution."""
        name = covariance_family(covariance_type).for_posterior().name
        parameters = [pt.as_tensor_variable(p, dtype="float64") for p in (eta, variance_shape, variance_scale)]
        return super().dist(parameters, covariance_type=name, **kwargs)


@_support_point.register(SeparationCovariancesRV)
def _modes_of_variances(
    op: SeparationCovariancesRV, rv: Any, rng: Any, size: Any, eta: Any, shape: Any, scale: Any
) -> Any:
    variances = scale / (shape + 1.0)
    if op.family.shared:
        variances = variances[..., :1, :] + pt.zeros_like(variances)
    return pt.zeros_like(rv) + variances[..., None] * pt.eye(scale.shape[-1])


@_logprob.register(SeparationCovariancesRV)
def _separation_logprob(  # type: ignore[no-untyped-def]
    op: SeparationCovariancesRV, values: Sequence, rng: Any, size: Any, eta: Any, shape: Any, scale: Any, **kwargs: Any
):
    """One number a stack (cluster, feature, feature_bis)."""
    value = checked(_OF_VALUE, *values, shape, scale)
    if op.family.shared:
        value, shape, scale = value[:1], shape[:1], scale[:1]
    d, variances = scale.shape[-1], pt.diagonal(value, axis1=-2, axis2=-1)
    log_det = 2.0 * pt.log(pt.diagonal(StackCholesky()(value), axis1=-2, axis2=-1)).sum(axis=-1)
    log_variances = shape * pt.log(scale) - pt.gammaln(shape) - scale / variances
    log_variances -= (shape + eta + 0.5 * (d - 1.0)) * pt.log(variances)
    return ((eta - 1.0) * log_det - _log_volume(eta, d) + log_variances.sum(axis=-1)).sum()


def _log_volume(eta: Any, d: Any) -> TensorVariable:
    """Log normaliser of LKJ correlations (Lewandowski, Kurowicka & Joe 2009, eq. 16)."""
    k = pt.arange(1, d)
    terms = 0.5 * k * np.log(np.pi) + pt.gammaln(eta + 0.5 * (d - 1 - k)) - pt.gammaln(eta + 0.5 * (d - 1))
    return terms.sum()


class SeparationTransform(CovariancesTransform):
    """That of inverse-Wishart covariances; the last of the ``inputs`` is (cluster, feature) here."""

    def forward(self, value: Any, *inputs: Any) -> TensorVariable:
        """Unconstrained values of a stack."""
        return super().forward(value, inputs[-1][:, None, :])

    def _stack(self, value: Any, scale: Any) -> list[TensorVariable]:
        return super()._stack(value, scale[:, None, :])


@_default_transform.register(SeparationCovariancesRV)
def _separation_transform(op: SeparationCovariancesRV, rv: TensorVariable) -> SeparationTransform:
    return SeparationTransform(op.covariance_type)
