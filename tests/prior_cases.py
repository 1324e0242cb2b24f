"""Priors whose hyperparameters are sampled, and separation priors: one of each kind for any family and shape."""

import numpy as np
from posterior_cases import Case, case, positive_definite
from reference import FAMILIES, RESTRICTED
from scipy.stats import gamma, wishart

from bayesgmm._common.arrays import Array
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.prior import Prior

SAMPLED_SCALES = ("independent", "normal_inverse_wishart")
LEGAL = [(family, form) for family in FAMILIES for form in SAMPLED_SCALES]
LEGAL += [(family, "independent") for family in RESTRICTED]
LEGAL += [(family, "separation") for family in ("full", "tied")]


def prior_of(form: str, d: int, *, rng: np.random.Generator) -> Prior:
    """A prior with numbers that are not round, the same for all components."""
    common = {"mean": rng.normal(size=d), "concentration": rng.uniform(1.0, 3.0)}
    if form == "separation":
        numbers = {"variance_shape": rng.uniform(0.5, 3.0, d), "variance_scale": rng.uniform(0.5, 3.0, d)}
        return Prior.separation(
            mean_covariance=positive_definite(rng, d), eta=rng.uniform(0.5, 3.0), **numbers, **common
        )
    common |= {"dof": d + rng.uniform(0.0, 3.0), "scale": Prior.wishart(d - 0.6, positive_definite(rng, d))}
    if form == "independent":
        return Prior.independent(mean_covariance=positive_definite(rng, d), **common)
    return Prior.normal_inverse_wishart(kappa=rng.uniform(0.1, 2.0), **common)


def case_of(covariance_type: str, form: str, shape: tuple[int, int]) -> Case:
    """A posterior under such a prior."""
    plain = case(covariance_type, "independent", shape)
    return Case(plain.X, prior_of(form, shape[1], rng=np.random.default_rng(shape)), plain.centre, plain.elsewhere)


def log_density_given(prior: Prior, mixture: Mixture, scale: Array) -> float:
    """Log density of a sampled scale S given the covariances, as SciPy has it."""
    family, d = mixture.family, mixture.n_features
    blocks = mixture.full_covariances[: family.n_blocks(mixture.n_components)]
    n, v = prior.scale_prior.dof + len(blocks) * float(prior.dof), prior.scale_prior.scale
    precisions = np.linalg.inv(blocks).sum(axis=0)
    if family.parametrisation.correlated:
        return wishart(n, np.linalg.inv(np.linalg.inv(v) + precisions)).logpdf(scale)
    if family.parametrisation.width(2) == 1:
        rates = 0.5 * (1.0 / np.diagonal(v) + np.diagonal(precisions))
        return gamma(n / 2, scale=1.0 / rates).logpdf(np.diagonal(scale)).sum()
    return gamma(n / 2, scale=2.0 / (d / np.trace(v) + precisions[0, 0])).logpdf(scale[0, 0])
