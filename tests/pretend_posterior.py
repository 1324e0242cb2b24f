"""Posteriors drawn in a second without NUTS, for tests of tables, plots and files: a few sweeps of Gibbs sampling."""

import numpy as np
import pandas as pd
import xarray as xr
from em_cases import mixture_from_responsibilities
from scipy.stats import invwishart

from bayesgmm.data.blocks import Data
from bayesgmm.em.em import run_em
from bayesgmm.mixture.draws import Draws
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.posterior.tree import in_family, posterior_tree


def em_fit(frame: pd.DataFrame, n_components: int, covariance_type: str = "full") -> Mixture:
    """EM from a cut of the data into equal parts along their first feature."""
    X = frame.to_numpy(dtype=float)
    order = X[:, 0].argsort().argsort()
    resp = np.eye(n_components)[order * n_components // len(X)]
    start = mixture_from_responsibilities(X, resp, covariance_type, reg_covar=1e-6)
    return run_em(Data.of(X), start).mixture


def pretend_posterior(
    frame: pd.DataFrame, em: Mixture, *, chains: int = 2, draws: int = 40, seed: int = 0
) -> xr.DataTree:
    """Draws of the contract's layout around an EM solution."""
    rng = np.random.default_rng(seed)
    X = frame.to_numpy(dtype=float)
    mixtures = [mixture for _ in range(chains) for mixture in _sweeps(X, em, draws, rng)]
    arrays = (np.array([getattr(m, name) for m in mixtures]) for name in ("weights", "means", "full_covariances"))
    drawn = Draws(*arrays, family=em.family)
    stats = {"diverging": np.zeros((chains, draws), dtype=bool), "lp": rng.normal(size=(chains, draws))}
    names = [str(name) for name in frame.columns]
    attributes = {"covariance_type": em.covariance_type}
    return posterior_tree(drawn, stats, X=X, feature_names=names, start=em, attributes=attributes)


def _sweeps(X, em, draws, rng):
    mixture, d = em, X.shape[1]
    prior_scale = np.atleast_2d(np.cov(X, rowvar=False)) / 10
    for _ in range(draws):
        resp = mixture.responsibilities(X)
        labels = (rng.random((len(X), 1)) > resp.cumsum(axis=1)).sum(axis=1).clip(0, em.n_components - 1)
        counts = np.bincount(labels, minlength=em.n_components)
        weights = rng.dirichlet(counts + 1.0)
        parts = [X[labels == k] for k in range(em.n_components)]
        covariances = [_covariance(part, prior_scale, rng) for part in parts]
        full = Mixture(weights, em.means, np.array(covariances), "full")
        tied = in_family(full, em.family)
        means = [
            rng.multivariate_normal(part.mean(axis=0) if len(part) else m, c / (len(part) + 0.1))
            for part, m, c in zip(parts, em.means, tied.full_covariances, strict=True)
        ]
        mixture = Mixture(weights, np.array(means).reshape(-1, d), tied.covariances, em.covariance_type)
        yield mixture


def _covariance(part, prior_scale, rng):
    d = len(prior_scale)
    scatter = (part - part.mean(axis=0)).T @ (part - part.mean(axis=0)) if len(part) else 0.0
    return np.reshape(invwishart.rvs(len(part) + d + 2, prior_scale + scatter, random_state=rng), (d, d))
