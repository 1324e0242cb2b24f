"""Data sets and plain-NumPy steps that the tests of EM share."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference import load_data, log_joint
from scipy.special import softmax

from bayesgmm._common.arrays import Array
from bayesgmm.data.blocks import Data
from bayesgmm.em.em import EMResult
from bayesgmm.em.initialization import first_step, starting_mixture
from bayesgmm.em.moments import RegCovar, moments_of
from bayesgmm.em.multistart import best_of_starts
from bayesgmm.em.start_plan import Starts
from bayesgmm.mixture import covariance_family
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.model import Model
from bayesgmm.priors.prior import Prior
from bayesgmm.priors.resolved import ResolvedPrior

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
NAMES = ("faithful", "iris", "thyroid", "diabetes", "galaxies", "acidity", "enzyme")
SHARED_NAMES = ("banknote", "wine", "crabs", "geyser_mass", "baudry_ex4_1", "baudry_test1d", "creditcard")
PRIORS = {
    "none": lambda X: None,
    "normal_inverse_wishart": lambda X: Prior.normal_inverse_wishart(
        concentration=1.7, mean=X.mean(axis=0), kappa=0.4, dof=X.shape[1] + 3.0, scale=scatter(X) / 20.0
    ),
    "independent": lambda X: Prior.weakly_informative(X, concentration=1.3),
    "independent, sparse": lambda X: Prior.weakly_informative(X, concentration=0.4),
}


def best_fit(
    data: Data, n_components: int, *, covariance_type: str = "full", prior: Prior | None = None, **options
) -> tuple[EMResult, Starts]:
    """`best_of_starts` of a model that is named by its parts."""
    return best_of_starts(data, Model.of(covariance_type, n_components, data.shape[1], prior=prior), **options)


def one_start(data: Data, n_components: int, *, covariance_type: str = "full", **options) -> Mixture:
    """`starting_mixture` of a model that is named by its parts."""
    return starting_mixture(data, Model.of(covariance_type, n_components, data.shape[1]), **options)


def mixture_from_responsibilities(
    X: Array,
    resp: Array,
    covariance_type: str = "full",
    *,
    prior: ResolvedPrior | None = None,
    reg_covar: RegCovar = None,
    row_weights: Array | None = None,
) -> Mixture:
    """The M-step for given responsibilities: the mixture that EM would reach from them in one step."""
    data, model = Data.of(X, row_weights), Model.of(covariance_type, np.shape(resp)[1], np.shape(X)[1])
    pseudo = replace(model, prior=None if prior is None else prior.inverse_wishart).pseudo_data
    moments, shares = moments_of(data, model.family), resp * data.weights[:, None]
    return first_step(data.rows, shares, pseudo, moments=moments, family=model.family, reg_covar=reg_covar)


def scatter(X: Array) -> Array:
    """The sample covariance, always a matrix."""
    return np.cov(X, rowvar=False).reshape(X.shape[1], X.shape[1])


def shared_data(name: str) -> Array:
    """The numeric features of a data set beside the checkout, which not everybody has."""
    path = SHARED / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"{path.name} lies beside the project's own checkout only")
    table = np.genfromtxt(path, delimiter=",", skip_header=1, ndmin=2)
    table = table[:, ~np.isnan(table).any(axis=0)]
    return table[:, 1:] if name == "crabs" else table  # its first column is a running number


def mclust_fits(name: str) -> list[dict]:
    """mclust's fits of the shared diagonal families (one feature: E), beside the data sets of `shared_data`."""
    path = SHARED / "reference" / "mclust" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path.name} lies beside the project's own checkout only")
    fits = json.loads(path.read_text())["fits"]
    return [fit for fit in fits if fit["model"] in ("EEI", "EII", "E") and fit["status"] == "ok"]


def mass_galaxies() -> Array:
    """The galaxies as R's MASS ships them, with the typing error in the 78th value."""
    X = load_data("galaxies")
    assert X[77] == 26.960
    X[77] = 26.690
    return X


def corrected_diabetes() -> Array:
    """mclust's correction: row 104 has 455 where its data file has 45."""
    X = load_data("diabetes")
    row, column = np.argwhere(X[103:104] == 45.0)[0] + [103, 0]
    X[row, column] = 455.0
    return X


def plain_em_step(X: Array, mixture: Mixture, prior: Prior | None) -> Mixture:
    """One EM step as the formulas of a textbook say it, in the units of the data."""
    family, (k, d) = mixture.family, mixture.means.shape
    r = softmax(log_joint(X, mixture), axis=1)
    n = r.sum(axis=0)
    alpha = np.ones(k) if prior is None else np.broadcast_to(prior.concentration, k)
    weights = n + alpha - (alpha.min() >= 1)
    means = _plain_means(X, r, mixture, prior)
    deviation = X - means[:, None, :]
    scatters = np.einsum("nk,kni,knj->kij", r, deviation, deviation)
    if prior is not None and prior.kappa is not None:
        scatters += prior.kappa * np.einsum("ki,kj->kij", means - prior.mean, means - prior.mean)
    denominators = _plain_denominators(n, family.name, d, prior)
    scale = np.zeros((d, d)) if prior is None else prior.scale
    if family.name == "tied_diag":
        covariances = [np.diag(np.diagonal(scale + scatters.sum(axis=0)) / denominators)] * k
    elif family.name == "tied_spherical":
        covariances = [np.eye(d) * (np.trace(scale) / d + np.trace(scatters.sum(axis=0))) / denominators] * k
    elif family.shared:
        covariances = (scale + scatters.sum(axis=0)) / denominators
    elif family.parametrisation.correlated:
        covariances = (scale + scatters) / denominators[:, None, None]
    elif family.parametrisation.width(2) == 1:
        covariances = np.diagonal(scale + scatters, axis1=1, axis2=2) / denominators[:, None]
    else:
        covariances = (np.trace(scale) / d + np.trace(scatters, axis1=1, axis2=2)) / denominators
    return Mixture(weights / weights.sum(), means, covariances, family.name)


def _plain_means(X: Array, r: Array, mixture: Mixture, prior: Prior | None) -> Array:
    n, total = r.sum(axis=0)[:, None], r.T @ X
    if prior is None:
        return total / n
    if prior.kappa is not None:
        return (total + prior.kappa * prior.mean) / (n + prior.kappa)
    pull = np.linalg.inv(prior.mean_covariance)
    means = []
    for k, covariance in enumerate(mixture.full_covariances):
        precision = np.linalg.inv(covariance)
        means.append(np.linalg.solve(n[k] * precision + pull, precision @ total[k] + pull @ prior.mean))
    return np.array(means)


def _plain_denominators(n: Array, family_name: str, d: int, prior: Prior | None) -> Array:
    """What scatters are divided by: maximum likelihood, or the table of modes of the prior's families."""
    family = covariance_family(family_name)
    if prior is None:
        counts = n.sum() if family.shared else n
        return counts * d if family.parametrisation.width(2) > 1 else counts
    nu, k = prior.dof, len(n)
    one = 1.0 if prior.kappa is not None else 0.0  # a conjugate mean is one more row for its covariance
    if family.shared:
        n, one = n.sum(), one * k
    if family.parametrisation.correlated:
        return nu + n + d + 1.0 + one
    return nu + family.parametrisation.width(d) * (n + one) + 2.0
