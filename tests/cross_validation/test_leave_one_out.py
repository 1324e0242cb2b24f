"""Leave-one-out against ArviZ, against the definition, and against exact refits."""

import json

import arviz_stats as azs
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pretend_posterior import em_fit, pretend_posterior
from scipy.special import logsumexp

from bayesgmm import compute_log_likelihood, loo
from bayesgmm.cross_validation.psis import relative_efficiency
from bayesgmm.datasets import load_old_faithful
from bayesgmm.exceptions import InputError
from bayesgmm.posterior.tree import draws_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:The chains disagree"),  # two short ones of a Gibbs sampler
    pytest.mark.filterwarnings("ignore:.*rows have a Pareto k above"),
]
FRAME = pd.DataFrame(np.asarray(load_old_faithful()), columns=["eruptions", "waiting"])


def posterior_of(n_components, frame=FRAME, **settings):
    return pretend_posterior(frame, em_fit(frame, n_components), **{"draws": 150, **settings})


@pytest.fixture(scope="module")
def trees():
    return {k: posterior_of(k) for k in (1, 2, 3)}


def log_likelihoods(tree, X):
    """Rows by draws, one mixture at a time."""
    draws = draws_of(tree)
    full = tree["posterior"]["covariances"].to_numpy().reshape(len(draws), -1, 2, 2)
    values = np.empty((len(X), len(draws)))
    for s, (w, mu, sigma) in enumerate(zip(draws.weights, draws.means, full, strict=True)):
        deviation = X[:, None] - mu
        exponent = np.einsum("nki,kij,nkj->nk", deviation, np.linalg.inv(sigma), deviation)
        normaliser = np.log(w) - 0.5 * np.linalg.slogdet(2 * np.pi * sigma)[1]
        values[:, s] = logsumexp(normaliser - 0.5 * exponent, axis=1)
    return values


@pytest.mark.parametrize("k", [1, 2, 3])
def test_arviz_finds_the_same_in_the_whole_group(trees, k):
    ours, theirs = loo(trees[k]), azs.loo(compute_log_likelihood(trees[k]), pointwise=True)
    for name in ("elpd", "se", "p", "n_samples", "n_data_points", "good_k", "scale", "warning"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name)), name
    np.testing.assert_allclose(ours.elpd_i, theirs.elpd_i)
    np.testing.assert_allclose(ours.pareto_k, theirs.pareto_k)
    assert ours.kind == "loo"


def test_the_group_holds_the_marginal_density(trees):
    stored = compute_log_likelihood(trees[2])
    assert stored["log_likelihood"]["y"].dims == ("chain", "draw", "obs")
    values = stored["log_likelihood"]["y"].to_numpy().reshape(300, -1).T
    np.testing.assert_allclose(values, log_likelihoods(trees[2], FRAME.to_numpy()), rtol=1e-10)


def test_the_group_is_written_in_place_unless_rows_are_others(trees):
    own = trees[2].copy()
    assert compute_log_likelihood(own) is own
    assert own["log_likelihood"].sizes["obs"] == len(FRAME)
    others = compute_log_likelihood(own, FRAME[:10])
    assert others["log_likelihood"].sizes["obs"] == others["observed_data"].sizes["obs"] == 10
    assert own["log_likelihood"].sizes["obs"] == own["observed_data"].sizes["obs"] == len(FRAME)
    draws = {name: own["posterior"][name].rename(name) for name in ("weights", "means", "covariances")}
    elsewhere = xr.DataTree.from_dict({"posterior": xr.Dataset(draws).rename(weights="w")})
    found = compute_log_likelihood(elsewhere, FRAME, names={"weights": "w"})
    assert found is elsewhere
    np.testing.assert_allclose(found["log_likelihood"]["y"], own["log_likelihood"]["y"])
    assert list(compute_log_likelihood(draws, FRAME).children) == ["posterior", "observed_data", "log_likelihood"]


@pytest.mark.draws
def test_smoothing_changes_plain_importance_sampling_little(trees):
    values = log_likelihoods(trees[2], FRAME.to_numpy())
    plain = np.log(values.shape[1]) - logsumexp(-values, axis=1)
    found = loo(trees[2])
    assert found.elpd == pytest.approx(plain.sum(), abs=0.5)
    lpd = logsumexp(values, axis=1) - np.log(values.shape[1])
    np.testing.assert_allclose(found.p_loo_i, lpd - found.elpd_i, atol=1e-10)
    assert found.se == pytest.approx(np.sqrt(len(FRAME) * found.elpd_i.to_numpy().var(ddof=1)))


def test_compare_takes_the_results(trees):
    found = {str(k): loo(tree) for k, tree in trees.items()}
    table = azs.compare(found, round_to="none")
    best = str(table.index[0])
    assert table.index[-1] == "1"
    for name in found:
        difference = (found[name].elpd_i - found[best].elpd_i).to_numpy()
        assert table.loc[name, "elpd_diff"] == pytest.approx(difference.sum())
        assert table.loc[name, "dse"] == pytest.approx(np.sqrt(len(FRAME) * difference.var()))
    assert table["weight"].sum() == pytest.approx(1.0)


def test_labels_mean_nothing(trees):
    tree = trees[3].copy()
    rng = np.random.default_rng(0)
    draws = tree["posterior"].to_dataset()
    order = rng.permuted(np.broadcast_to(np.arange(3), draws["weights"].shape), axis=2)
    own = {
        name: (
            values.dims,
            np.take_along_axis(values.to_numpy(), order.reshape(*order.shape, *[1] * (values.ndim - 3)), 2),
        )
        for name, values in draws.data_vars.items()
    }
    tree["posterior"] = xr.DataTree(draws.assign(own))
    np.testing.assert_allclose(loo(tree, r_eff=1.0).elpd_i, loo(trees[3], r_eff=1.0).elpd_i)


def test_blocks_of_rows_and_progress(trees, monkeypatch):
    whole, told = loo(trees[2]), []
    monkeypatch.setattr("bayesgmm.prediction.densities._BLOCK_DENSITIES", 300 * 100)
    blocks = loo(trees[2], callback=lambda done, total: told.append((done, total)))
    np.testing.assert_array_equal(whole.elpd_i, blocks.elpd_i)
    assert told == [(100, 272), (200, 272), (272, 272)]


def weighted(tree, weights):
    """The same draws, with rows that count several times."""
    new = tree.copy()
    fixed = tree["constant_data"].to_dataset().assign(row_weights=("obs", weights))
    new["constant_data"] = xr.DataTree(fixed)
    return new


def test_of_a_weighted_row_one_copy_is_left_out(trees):
    weights = np.where(np.arange(len(FRAME)) % 5 == 0, 3, 1)
    found = loo(weighted(trees[2], weights.astype(float)))
    repeated = loo(trees[2], np.repeat(FRAME.to_numpy(), weights, axis=0))
    for name in ("elpd", "se", "p", "n_data_points"):
        assert getattr(found, name) == pytest.approx(getattr(repeated, name)), name
    np.testing.assert_allclose(found.elpd_i, repeated.elpd_i)
    np.testing.assert_array_equal(found.elpd_i["obs"], np.repeat(np.arange(len(FRAME)), weights))


def test_a_part_of_a_row_cannot_be_left_out(trees):
    with pytest.raises(InputError, match="whole numbers"):
        loo(weighted(trees[2], np.full(len(FRAME), 1.5)))


def test_resampled_draws_are_worth_what_their_modes_are(trees):
    pooled = trees[2].copy()
    record = [{"weight": 0.8, "effective_size": 90.0}, {"weight": 0.2, "effective_size": 40.0}]
    pooled.attrs |= {"modes": json.dumps(record), "mode_weights": "evidence"}
    variance = 0.8**2 * (1 / 90 + 1 / 240) + 0.2**2 * (1 / 40 + 1 / 60)
    assert relative_efficiency(pooled) == pytest.approx(1 / variance / 300)
    assert loo(pooled).elpd == pytest.approx(loo(trees[2]).elpd, abs=0.3)


def test_stacked_draws_are_refused(trees):
    stacked = trees[2].copy()
    stacked.attrs |= {"modes": "[]", "mode_weights": "stacking"}
    with pytest.raises(InputError, match="draws of the posterior"):
        loo(stacked)


def test_too_few_draws_are_refused():
    with pytest.raises(InputError, match="at least 25 draws"):
        loo(posterior_of(1, draws=12))


def test_draws_that_are_all_the_same_have_an_infinite_k():
    tree = posterior_of(2)
    draws = tree["posterior"].to_dataset()
    tree["posterior"] = xr.DataTree(draws.isel(chain=[0] * 2, draw=[0] * 150).assign_coords(draws.coords))
    with pytest.warns(UserWarning, match="272 of 272 rows have a Pareto k above"):
        found = loo(tree, r_eff=1.0)
    assert np.isinf(found.pareto_k).all()
    np.testing.assert_allclose(found.p_loo_i, 0.0, atol=1e-10)
