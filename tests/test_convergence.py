"""Findings about chains: constructed posteriors, each with one thing wrong."""

import warnings

import numpy as np
import pytest
import xarray as xr

from bayesgmm.bayes.convergence import convergence, warn_if_unconverged
from bayesgmm.words.errors import SamplingWarning


def tree(weights, *, diverging=0, lp=None) -> xr.DataTree:
    """A posterior of two components with given weights (chain, draw) of the first."""
    chains, draws = weights.shape
    rng = np.random.default_rng(9)
    flags = np.zeros((chains, draws), dtype=bool)
    flags.flat[:diverging] = True
    means = rng.normal(size=(chains, draws, 2, 1))
    covariances = np.zeros((chains, draws, 2, 2, 2))  # structural zeros and constants off the diagonal
    covariances[..., 0, 0] = rng.uniform(1, 2, (chains, draws, 2))
    dims = ("chain", "draw", "cluster", "feature", "feature_bis")
    posterior = xr.Dataset(
        {
            "weights": (dims[:3], np.stack([weights, 1.0 - weights], axis=-1)),
            "means": ((*dims[:3], "one"), means),
            "covariances": (dims, covariances),
        }
    )
    lp = rng.normal(size=(chains, draws)) if lp is None else lp
    stats = xr.Dataset({"diverging": (dims[:2], flags), "lp": (dims[:2], lp)})
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})


def good(chains=4, draws=500):
    return np.random.default_rng(0).uniform(0.4, 0.6, (chains, draws))


def test_good_chains_give_no_finding():
    found = convergence(tree(good()))
    assert found.findings == []
    assert found.max_r_hat == pytest.approx(1.0, abs=0.01)
    assert 1000 < found.min_ess_bulk < 4000
    assert 1000 < found.min_ess_tail < 4000
    assert (found.n_chains, found.n_divergences) == (4, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unconverged(tree(good()))


def test_divergences():
    (finding,) = convergence(tree(good(), diverging=7)).findings
    assert finding.startswith("Divergent transitions, 7: raise target_accept")


def test_chains_that_disagree():
    weights = good() + 0.3 * np.arange(4)[:, None] / 4
    found = convergence(tree(weights))
    assert found.max_r_hat > 1.2
    assert "the chains disagree" in found.findings[0]


def test_the_log_density_counts_too():
    drift = np.random.default_rng(1).normal(size=(4, 500)) + np.arange(4)[:, None]
    assert convergence(tree(good(), lp=drift)).max_r_hat > 1.2


def test_draws_that_hang_together():
    rng = np.random.default_rng(2)
    slow = np.cumsum(rng.normal(size=(4, 500)), axis=1)
    found = convergence(tree(0.5 + 0.001 * slow))
    assert found.min_ess_bulk < 100
    assert any("Effective sample size" in finding for finding in found.findings)


def test_a_single_chain_has_no_r_hat_but_an_effective_sample_size():
    weights = good(1, 1000)
    assert convergence(tree(weights)).findings == []
    weights[:, 500:] += 0.2
    found = convergence(tree(weights))
    assert np.isnan(found.max_r_hat)
    (finding,) = found.findings
    assert finding.startswith("Effective sample size 1 ")


@pytest.mark.parametrize("draws", [1, 2, 3])
def test_a_handful_of_draws_cannot_be_judged(draws):
    found = convergence(tree(good(1, draws)))
    assert np.isnan(found.max_r_hat)
    assert found.findings == ["Too few draws to tell whether the chains converged: take more."]


def test_one_warning_tells_every_finding():
    weights = good() + 0.3 * np.arange(4)[:, None] / 4
    with pytest.warns(SamplingWarning, match=r"Divergent transitions, 3.*R-hat.*Effective sample size") as caught:
        warn_if_unconverged(tree(weights, diverging=3))
    assert len(caught) == 1
