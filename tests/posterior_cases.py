"""Posteriors to test with: data, mixtures and priors of every family, form and shape, small enough to differentiate."""

from dataclasses import dataclass

import numpy as np
from reference import FAMILIES, RESTRICTED, random_mixture

from bayesgmm._common.arrays import Array, Rows
from bayesgmm.data import Data
from bayesgmm.log_posterior.log_posterior import LogPosterior
from bayesgmm.log_posterior.log_weights import SparseWeights
from bayesgmm.log_posterior.transforms import Coordinates
from bayesgmm.mixture import covariance_family
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.prior import Prior

FORMS = ("independent", "normal_inverse_wishart")
SHAPES = ((3, 2), (2, 1), (1, 3), (1, 1), (2, 4))  # (cluster, feature)
PAIRS = [(family, form) for family in (*FAMILIES, *RESTRICTED) for form in FORMS]


@dataclass(frozen=True)
class Case:
    """A posterior, the centre of its coordinates and a mixture somewhere else."""

    X: Rows
    prior: Prior
    centre: Mixture
    elsewhere: Mixture

    def coordinates(self, affine: str = "identity") -> Coordinates:
        return affine_coordinates(self.centre, affine)

    def log_posterior(self, affine: str = "identity", row_weights: Array | None = None) -> LogPosterior:
        k, d = self.centre.means.shape
        resolved = self.prior.resolve(k, d, self.centre.covariance_type)
        return LogPosterior(Data.of(self.X, row_weights), resolved, self.coordinates(affine))


def case(covariance_type: str, form: str, shape: tuple[int, int], *, seed: int = 0, by_cluster: bool = True) -> Case:
    rng = np.random.default_rng([seed, *shape])
    X = np.asfortranarray(rng.normal(0.0, 2.0, (23, shape[1])))
    centre, elsewhere = random_mixture(rng, covariance_type, shape), random_mixture(rng, covariance_type, shape)
    return Case(X, random_prior(rng, covariance_type, form, shape, by_cluster=by_cluster), centre, elsewhere)


def random_prior(rng, covariance_type: str, form: str, shape: tuple[int, int], *, by_cluster: bool) -> Prior:
    """A prior whose concentration is not one and whose components differ, or not."""
    k, d = shape
    axis = (k,) if by_cluster else ()
    family = covariance_family(covariance_type)
    blocks = () if family.shared else axis
    tied = family.restriction(*shape) is not None
    common = {
        "concentration": rng.uniform(1.1, 3.0, axis),
        "mean": rng.normal(size=(*axis, d)),
        "dof": d + rng.uniform(0.5, 4.0, blocks),
        "scale": positive_definite(rng, *(() if tied else blocks), d),
    }
    if form == "independent":
        return Prior.independent(mean_covariance=positive_definite(rng, *axis, d), **common)
    return Prior.normal_inverse_wishart(kappa=rng.uniform(0.1, 2.0, axis), **common)


def positive_definite(rng, *shape: int) -> Array:
    root = rng.normal(size=(*shape, shape[-1]))
    return root @ np.swapaxes(root, -1, -2) + np.eye(shape[-1])


def affine_coordinates(centre: Mixture, affine: str, sparse_weights: SparseWeights | None = None) -> Coordinates:
    """Coordinates with A the identity, one dense triangle, or one triangle a component; shifted unless identity."""
    plain = Coordinates.around(centre, sparse_weights)
    if affine == "identity":
        return plain
    rng = np.random.default_rng(1)
    bounds = np.array([0, plain.n_dim]) if affine == "dense" else plain.component_bounds()
    blocks = [np.tril(rng.normal(0.0, 0.2, (n, n)), -1) + np.diag(rng.uniform(0.5, 1.5, n)) for n in np.diff(bounds)]
    return plain.whitened(rng.normal(0.0, 0.3, plain.n_dim), blocks)


def numerical_gradient(function, point: Array, step: float = 1e-4) -> Array:
    """Central differences, error of fourth order; one row a coordinate."""
    rows = []
    for direction in np.eye(len(point)) * step:
        near = np.subtract(function(point + direction), function(point - direction))
        far = np.subtract(function(point + 2 * direction), function(point - 2 * direction))
        rows.append((8.0 * near - far) / (12.0 * step))
    return np.array(rows)


def free_parameters(mixture_weights: Array, means: Array, covariances: Array, covariance_type: str) -> Array:
    """w_1 .. w_K-1, mu and the free entries of covariances in the family's shape, end to end."""
    if covariance_type in ("full", "tied"):
        rows, columns = np.tril_indices(means.shape[1])
        covariances = covariances[..., rows, columns]
    if covariance_type.startswith("tied_"):
        variances = np.diagonal(covariances[0])
        covariances = variances if covariance_type == "tied_diag" else variances[0]
    return np.concatenate([mixture_weights[:-1], means.ravel(), np.ravel(covariances)])
