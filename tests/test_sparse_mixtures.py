"""Sparse finite mixtures from end to end: K+ against enumeration and Gibbs sampling, and components that are empty."""

import json
import warnings

import arviz_stats as azs
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from collapsed_gibbs import exact_occupied, gibbs_occupied, total_variation
from monte_carlo import bound
from pretend_posterior import pretend_posterior
from reference import load_data

from bayesgmm import (
    BayesianGaussianMixture,
    Mixture,
    Prior,
    diagnose,
    estimate_partition,
    occupied_clusters,
    relabel,
    sample_labels,
)
from bayesgmm.data.blocks import Data
from bayesgmm.exceptions import SamplingWarning
from bayesgmm.inference.engines import ENGINES
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.posterior.tree import prior_to_json

ROWS = np.array([[-2.0], [-1.8], [0.0], [0.3], [2.5], [2.6], [5.0]])
CONJUGATE = {"mean": [0.5], "kappa": 0.2, "dof": 3.0, "scale": [[0.5]]}


def assert_shares(numbers, exact) -> None:
    """Draws of K+ (chain, draw) have each number as often as they should."""
    ess = float(azs.ess(numbers, method="mean"))
    assert ess > 200
    error = np.sqrt(exact * (1.0 - exact) / ess)
    share = np.bincount(numbers.ravel(), minlength=len(exact)) / numbers.size
    assert (np.abs(share - exact) <= bound(len(exact)) * error).all(), (share, exact, error)


@pytest.mark.slow
@pytest.mark.draws
def test_the_references_agree():
    """Gibbs sampling of labels and the sum over all allocations."""
    exact = exact_occupied(ROWS, 3, **CONJUGATE, concentration=0.3)
    runs = [gibbs_occupied(ROWS, 3, **CONJUGATE, concentration=0.3, sweeps=4_000, seed=seed)[0] for seed in range(2)]
    assert exact.sum() == pytest.approx(1.0)
    assert_shares(np.array(runs), exact)


@pytest.mark.draws
@pytest.mark.parametrize("concentration", [0.05, pytest.param(0.3, marks=pytest.mark.slow)])
def test_occupied_components_against_enumeration(concentration):
    prior = Prior.normal_inverse_wishart(**CONJUGATE, concentration=concentration)
    rows = np.asfortranarray(ROWS)
    start = Mixture([0.6, 0.3, 0.1], [[-1.0], [2.5], [4.0]], np.full((3, 1, 1), 0.7))
    settings = SamplerSettings(seed=1, draws=1_500, tune=500, chains=4, target_accept=0.95, progress=False)
    sampled, _ = ENGINES["native"](Problem(Data.of(rows), prior, start), settings, np.random.default_rng(1))
    names = ("weights", "means", "covariances")
    draws = {name: a.reshape(4, -1, *a.shape[1:]) for name, a in zip(names, sampled.arrays, strict=True)}
    occupied = occupied_clusters(draws, rows, random_state=1)
    exact = exact_occupied(ROWS, 3, **CONJUGATE, concentration=concentration)
    labels = sample_labels(draws, rows, random_state=1).to_numpy()
    numbers = np.array([[len(np.unique(row)) for row in chain] for chain in labels])
    np.testing.assert_allclose(occupied["probability"], np.bincount(numbers.ravel(), minlength=4) / numbers.size)
    assert_shares(numbers, exact)
    assert (occupied["change_rate"] > 0.05).all()
    assert occupied["r_hat"] < 1.05


def test_weights_of_e_300_break_nothing():
    """A posterior with components that are as empty as numbers allow passes through everything without a warning."""
    X = load_data("faithful")
    rng = np.random.default_rng(0)
    order = X[:, 0] > 3.0
    means = np.vstack([X[~order].mean(axis=0), X[order].mean(axis=0), X.mean(axis=0), X.mean(axis=0)])
    covariances = np.stack([np.cov(X[~order].T), np.cov(X[order].T), np.cov(X.T), np.cov(X.T)])
    tiny = np.finfo(np.float64).tiny
    fit = Mixture([0.36, 0.64 - 1e-300 - tiny, 1e-300, tiny], means, covariances)
    tree = pretend_posterior(pd.DataFrame(X, columns=["eruptions", "waiting"]), fit)
    posterior = tree["posterior"].to_dataset()
    weights = posterior["weights"].to_numpy().copy()
    weights[..., 2:] = [1e-300, tiny]
    weights[..., 2] = np.exp(-rng.exponential(100.0, weights.shape[:2]).clip(0.1, 690.0)) * 1e-3
    weights /= weights.sum(axis=-1, keepdims=True)
    weights = np.maximum(weights, tiny)
    tree["posterior"] = xr.DataTree(posterior.assign(weights=(posterior["weights"].dims, weights)))
    tree.attrs["prior"] = prior_to_json(Prior.weakly_informative(X, concentration=0.01))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = diagnose(tree)
        assert found.figures.occupancy is not None
        assert json.dumps(found.to_dict(), allow_nan=False)
        assert "K+" in str(found) or "occupied" in str(found)
        relabel(tree)
        partition = estimate_partition(tree, random_state=0)
        assert np.isfinite(occupied_clusters(tree, random_state=0)["probability"]).all()
    del partition


GALAXIES = {"kappa": 0.05, "dof": 4.0}


def conjugate(X, concentration):
    return Prior.normal_inverse_wishart(
        mean=X.mean(axis=0), scale=np.cov(X.T).reshape(X.shape[1], -1) / 10, **GALAXIES, concentration=concentration
    )


@pytest.mark.draws
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "k", "concentration"),
    [("galaxies", 10, 0.01), ("galaxies", 10, (1.0, 20.0)), ("faithful", 6, 0.01)],
)
def test_occupied_components_against_gibbs_sampling(name, k, concentration):
    X = load_data(name)
    X = X.reshape(len(X), -1)
    prior = conjugate(X, concentration if np.isscalar(concentration) else Prior.gamma(*concentration))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        model = BayesianGaussianMixture(k, prior=prior, draws=4_000, random_state=1, progress=False).fit(X)
    occupied = occupied_clusters(model, random_state=1)
    reference = {"mean": X.mean(axis=0), "scale": np.cov(X.T).reshape(X.shape[1], -1) / 10, **GALAXIES}
    runs = [gibbs_occupied(X, k, **reference, concentration=concentration, sweeps=20_000, seed=s) for s in range(2)]
    shares = [np.bincount(numbers, minlength=k + 1) / len(numbers) for numbers, _ in runs]
    print(occupied["probability"].to_numpy().round(3), np.mean(shares, axis=0).round(3))
    assert total_variation(np.mean(shares, axis=0), occupied["probability"].to_numpy()) < 0.05
    assert (occupied["change_rate"] > 0.02).all()
    if not np.isscalar(concentration):
        drawn = model.posterior_["posterior"]["prior_concentration"]
        assert float(drawn.mean()) == pytest.approx(np.mean([e.mean() for _, e in runs]), rel=0.1)
