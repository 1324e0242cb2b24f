"""What the tests compare with: the kernel in plain NumPy, random mixtures, and the reference data."""

import json
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from bayesgmm._common.arrays import Array
from bayesgmm.mixture import covariance_family
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.mixture.statistics import Statistics

DATA = Path(__file__).parent / "reference_data"
FLUSHED = 1e-80  # the kernel drops responsibilities below exp(-200), about 1e-87
SCIKIT_LEARNS = ("full", "tied", "diag", "spherical")
FAMILIES = (*SCIKIT_LEARNS, "tied_diag", "tied_spherical")
RESTRICTED = ("VEI", "EVI", "VEE", "EVV")  # whose covariances are tied together in part
ORIENTED = ("EEV", "VEV", "EVE", "VVE")  # whose axes are, or lengths along axes of their own
EVERY_FAMILY = (*FAMILIES, *RESTRICTED, *ORIENTED)


def load_data(name: str) -> Array:
    """The numeric features of a data set in tests/reference_data; galaxies in 1,000 km/s."""
    table = np.genfromtxt(DATA / f"{name}.csv", delimiter=",", skip_header=1, ndmin=2)
    return table[:, ~np.isnan(table).any(axis=0)] / (1000.0 if name == "galaxies" else 1.0)


def load_json(name: str) -> list[dict]:
    """A reference file in tests/reference_data."""
    return json.loads((DATA / f"{name}.json").read_text())


def random_mixture(rng: np.random.Generator, covariance_type: str, shape: tuple[int, int]) -> Mixture:
    """A mixture of ``shape`` (K, D) whose components overlap a little."""
    n_components, n_features = shape
    family = covariance_family(covariance_type)
    rows, columns = family.block_shape(n_features)
    factors = rng.uniform(0.5, 1.5, (family.n_blocks(n_components), rows, columns))
    if family.parametrisation.correlated:
        below = rng.normal(0.0, 0.5 / np.sqrt(n_features), factors.shape)
        factors = np.tril(below, -1) + factors * np.eye(n_features)
    weights = rng.dirichlet(np.full(n_components, 5.0))
    means = rng.normal(0.0, 2.0, (n_components, n_features))
    covariances = family.covariances(factors, *shape)
    if family.tied:
        covariances = family.compress(covariances)
    return Mixture(weights, means, covariances, covariance_type)


def whitened(X: Array, mixture: Mixture, *, magnitudes: bool = False) -> Array:
    """Whitened residuals z, (cluster, obs, feature), or the same sums of positive terms."""
    prec = mixture.precision_factors
    deviation = X - mixture.means[:, None, :]
    if magnitudes:
        prec, deviation = np.abs(prec), np.abs(deviation)
    if mixture.family.parametrisation.correlated:
        return np.einsum("gij,gnj->gni", np.broadcast_to(prec, (len(mixture.weights), *prec.shape[1:])), deviation)
    return deviation * prec


def log_joint(X: Array, mixture: Mixture) -> Array:
    """log w_k N(x | k), (obs, cluster)."""
    return mixture.log_scale - 0.5 * (whitened(X, mixture) ** 2).sum(axis=-1).T


def reference_statistics(X: Array, mixture: Mixture, row_weights: Array | None = None) -> Statistics:
    """`expected_statistics` in plain NumPy."""
    statistics, _ = reference_with_magnitudes(X, mixture, row_weights)
    return statistics


def reference_with_magnitudes(
    X: Array, mixture: Mixture, row_weights: Array | None = None
) -> tuple[Statistics, Statistics]:
    """The sums, and the same sums with every term made positive: the scale that rounding errors are set against.

    A responsibility is an exponential, whose relative error grows with its argument: by nine units of rounding a nat,
    which are .002 of the tolerance.
    """
    v = np.ones(len(X)) if row_weights is None else row_weights
    joint = log_joint(X, mixture)
    log_density = logsumexp(joint, axis=1)
    r = v[:, None] * np.exp(joint - log_density[:, None])
    z = whitened(X, mixture)

    def sums(r: Array, z: Array, log_density: Array) -> Statistics:
        return Statistics(float(v @ log_density), r.sum(axis=0), np.einsum("nk,kni->ki", r, z), _second(mixture, r, z))

    largest = whitened(X, mixture, magnitudes=True)
    inexact = r * (1.0 + 0.002 * 0.5 * np.square(largest).sum(axis=-1).T)
    return sums(r, z, log_density), sums(inexact, largest, np.abs(log_density))


def _second(mixture: Mixture, r: Array, z: Array) -> Array:
    if mixture.family.parametrisation.correlated:
        return np.einsum("nk,kni,knj->kij", r, z, z, optimize=True)
    squares = np.einsum("nk,kni->ki", r, z**2)[:, None, :]
    return squares.sum(axis=2, keepdims=True) if mixture.family.parametrisation.width(2) > 1 else squares


def assert_statistics_close(
    got: Statistics, want: Statistics, *, magnitudes: Statistics, tolerance: float = 1e-12
) -> None:
    """Every sum equals the wanted one up to ``tolerance`` times the sum of the terms' magnitudes."""
    for name in ("log_likelihood", "counts", "first", "second"):
        error = np.abs(np.subtract(getattr(got, name), getattr(want, name)))
        allowed = tolerance * np.asarray(getattr(magnitudes, name)) + FLUSHED
        assert (error <= allowed).all(), f"{name}: {np.max(error / allowed)} x the tolerance"
