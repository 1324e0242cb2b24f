r"""Weights of a sparse prior in a PyMC model: logarithms of gamma variables, which do not underflow.

With g_k ~ Gamma(a_k, 1) the weights g / sum g are Dirichlet(a). For a_k = 0.01 one draw of g_k in a thousand is below
the smallest number and the rest bunch at the edge of the simplex; their logarithms are ordinary numbers on the line.
"""

from typing import Any

import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable


def sparse_weights(concentration: Any, *, dims: str) -> TensorVariable:
    r"""The variables ``log_gammas``, free, and ``weights``, their softmax, Dirichlet with the given parameters.

    Parameters
    ----------
    concentration : tensor_like of float, (cluster,)
    dims : str
        The name of the one dimension.

    Examples
    --------
    >>> import pymc as pm
    >>> from bayesgmm.pymc_model.sparse_weights import sparse_weights
    >>> with pm.Model(coords={"cluster": range(3)}) as model:
    ...     weights = sparse_weights([0.01, 0.01, 0.01], dims="cluster")
    >>> weights.name, [variable.name for variable in model.free_RVs]
    ('weights', ['log_gammas'])
    """
    log_gammas = pm.CustomDist("log_gammas", concentration, dist=_draw, logp=_log_density, dims=dims)
    return pm.Deterministic("weights", pm.math.softmax(log_gammas, axis=-1), dims=dims)


def _draw(concentration: Any, size: Any) -> TensorVariable:
    """A gamma variable is one of a shape greater by one, times a uniform one to the power 1 / a."""
    larger = pm.Gamma.dist(concentration + 1.0, 1.0, size=size)
    uniform = pm.Uniform.dist(pt.zeros_like(concentration), 1.0, size=size)
    return pt.log(larger) + pt.log(uniform) / concentration


def _log_density(value: TensorVariable, concentration: Any) -> TensorVariable:
    return concentration * value - pt.exp(value) - pt.gammaln(concentration)
