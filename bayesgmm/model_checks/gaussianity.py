"""Statistics of departure from a fitted Gaussian mixture."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist, pdist
from scipy.special import chdtr, ndtr

from bayesgmm._common import Array, PerRow, Responsibilities, Rows
from bayesgmm.data import Data
from bayesgmm.mixture import Mixture, row_memberships
from bayesgmm.noise import noise_of

_MOST_ROWS = 400  # whose distances from one another are taken
_REFERENCE = 600  # rows of the mixture that they are compared with
_FARTHEST = 1e40  # standard deviations beyond which every statistic says the same


class _Residuals(NamedTuple):
    """What several statistics need of rows under a mixture.

    Attributes
    ----------
    resp : (obs, cluster)
        Without noise.
    whitened : list of (obs, feature)
        Residuals of each component.
    squares : list of (obs,)
        Their squared lengths.
    transforms : (obs, feature)
        See `feature_transforms`.
    """

    X: Rows
    mixture: Mixture
    resp: Responsibilities
    whitened: list[Rows]
    squares: list[PerRow]
    transforms: Array


def departures(
    X: Rows, mixture: Mixture, *, rng: np.random.Generator, transforms: Array | None = None
) -> dict[str, float]:
    r"""Statistics of rows under a mixture that was fitted to them.

    With residuals :math:`z_{ik}` whitened by component k, responsibilities :math:`r_{ik}`, their sums :math:`n_k` and
    the sum n of these (less than the number of rows where there is noise):

    kurtosis
        :math:`\frac{1}{n d (d+2)} \sum_{ik} r_{ik} |z_{ik}|^4` (Mardia 1970): above one for heavy tails, below it
        for boxes.
    skewness
        :math:`\frac{1}{n} \sum_k n_k |s_k|^2`, :math:`s_k = \frac{1}{n_k} \sum_i r_{ik} |z_{ik}|^2 z_{ik}` (Móri,
        Rohatgi & Székely 1993): large for curved and asymmetric clusters.
    distances
        Cramér-von Mises distance of :math:`F_{\chi^2_d}(|z_{ik}|^2)`, weighted by :math:`r_{ik}`, from uniformity.
    features
        That of :math:`F_j(x_{ij})`, the mixture's distribution functions of single features, summed over features.
    energy
        Energy distance of (at most 400) rows from the mixture, in coordinates whitened by the rows' covariance
        (Székely & Rizzo 2013): everything else.

    ``transforms`` are those of `feature_transforms`, where they are known.
    """
    whitened = [_whitened(X, mixture, k) for k in range(mixture.n_components)]
    squares = [np.einsum("ij,ij->i", z, z) for z in whitened]
    u = feature_transforms(X, mixture) if transforms is None else transforms
    resp = row_memberships(Data(X), mixture)[:, : mixture.n_components]
    residuals = _Residuals(X, mixture, resp, whitened, squares, u)
    return {name: measure(residuals, rng) for name, measure in DEPARTURES.items()}


def feature_transforms(X: Rows, mixture: Mixture) -> Array:
    """Each feature's probability integral transform, (obs, feature)."""
    found = feature_cdf(X, mixture.weights, mixture.means, _sds(mixture))
    noise, weight = noise_of(mixture)
    return found if noise is None else found + weight * noise.cdf(X)


def uniform_distances(u: Array) -> Array:
    """Cramér-von Mises distance of each column (obs, column) from uniformity, (column,)."""
    n = len(u)
    place = (np.arange(n) + 0.5) / n
    return np.asarray(((np.sort(u, axis=0) - place[:, None]) ** 2).sum(axis=0) + 1.0 / (12.0 * n))


def uniform_differences(u: Array, at: Array) -> Array:
    """Shares of each column (obs, column) up to some values, minus these values, (column, value)."""
    return np.array([np.searchsorted(np.sort(column), at, side="right") / len(u) - at for column in u.T])


def feature_cdf(X: Rows, weights: Array, means: Array, sds: Array) -> Array:
    """Distribution function of each feature at each row, (obs, feature); sds (cluster, feature)."""
    total = np.zeros(X.shape)
    for w, mean, sd in zip(weights, means, sds, strict=True):
        total += w * ndtr((X - mean) / sd)
    return total


def _sds(mixture: Mixture) -> Array:
    return np.sqrt(np.diagonal(mixture.full_covariances, axis1=1, axis2=2))


def _whitened(X: Rows, mixture: Mixture, k: int) -> Rows:
    """Residuals (obs, feature) of independent entries with variance one, were the rows of this component.

    Those beyond 1e40 stand at 1e40: products of six of them are still numbers.
    """
    precision = mixture.family.parametrisation.precision_roots(
        mixture.precision_factors[min(k, len(mixture.factors) - 1)]
    )
    deviation = X - mixture.means[k]
    whitened = deviation * precision[0] if precision.shape[0] == 1 else deviation @ precision.T
    return np.clip(whitened, -_FARTHEST, _FARTHEST)


def _kurtosis(rows: _Residuals, _: np.random.Generator) -> float:
    d = rows.X.shape[1]
    fourth = sum(float((own * squares * squares).sum()) for own, squares in zip(rows.resp.T, rows.squares, strict=True))
    return fourth / (float(rows.resp.sum()) * d * (d + 2))


def _skewness(rows: _Residuals, _: np.random.Generator) -> float:
    total = 0.0
    for own, z, squares in zip(rows.resp.T, rows.whitened, rows.squares, strict=True):
        third = np.einsum("i,ij->j", own * squares, z)  # BLAS would start threads within each replicate's thread
        total += float(third @ third) / max(float(own.sum()), 1.0)
    return total / float(rows.resp.sum())


def _distances(rows: _Residuals, _: np.random.Generator) -> float:
    n = float(rows.resp.sum())
    u = chdtr(rows.X.shape[1], np.concatenate(rows.squares))
    return _cramer_von_mises(u, rows.resp.T.ravel() / n) * n


def _cramer_von_mises(u: PerRow, shares: PerRow) -> float:
    """Integral of the squared difference between weighted shares below and the uniform distribution function."""
    order = u.argsort()
    below, at = shares[order].cumsum(), u[order]
    return float((shares[order] * (below - 0.5 * shares[order] - at) ** 2).sum())


def _features(rows: _Residuals, _: np.random.Generator) -> float:
    return float(uniform_distances(rows.transforms).sum())


def _energy(residuals: _Residuals, rng: np.random.Generator) -> float:
    X, mixture = residuals.X, residuals.mixture
    whitening = _whitening(X)
    some = X if len(X) <= _MOST_ROWS else X[rng.choice(len(X), _MOST_ROWS, replace=False)]
    rows, model = (part @ whitening for part in (some, mixture.sample(_REFERENCE, rng=rng)[0]))
    n = len(rows)
    within = 2.0 * pdist(rows).sum() / n**2
    return float(n * (2.0 * cdist(rows, model).mean() - within - pdist(model).mean()))


def _whitening(X: Rows) -> Array:
    """W (feature, direction) such that X W has uncorrelated columns of variance one, as many as X has directions."""
    sds = X.std(axis=0, ddof=1)
    scales = np.divide(1.0, sds, out=np.zeros_like(sds), where=sds > 0)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(X * scales, rowvar=False)))
    kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
    return np.asarray(scales[:, None] * vectors[:, kept] / np.sqrt(values[kept]))


DEPARTURES: dict[str, Callable[[_Residuals, np.random.Generator], float]] = {
    "kurtosis": _kurtosis,
    "skewness": _skewness,
    "distances": _distances,
    "features": _features,
    "energy": _energy,
}
