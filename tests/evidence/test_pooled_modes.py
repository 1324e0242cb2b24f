"""Chains in different modes put together: the record, the draws that are kept, and the hard case of Iris."""

import json
import warnings

import numpy as np
import pytest
import xarray as xr
from _mode_cases import HARD
from mode_cases import CONJUGATE, OTHERWISE, THREE_GROUPS, exact_log_evidences, stuck_chains
from monte_carlo import bound
from sklearn.datasets import load_iris

from bayesgmm import BayesianGaussianMixture, combine_modes, load
from bayesgmm.data.blocks import Data
from bayesgmm.datasets import load_old_faithful
from bayesgmm.evidence.modes import find_modes
from bayesgmm.evidence.pooled_modes import UNPOOLED, VISITS, mode_mean, mode_mean_range, unpooled
from bayesgmm.exceptions import InputError, SamplingWarning
from bayesgmm.mixture.covariance.family import covariance_family
from bayesgmm.mixture.draws import Draws
from bayesgmm.partitions.allocations import occupied_clusters
from bayesgmm.posterior.adapter import data_of, mixture_posterior
from bayesgmm.posterior.tree import draws_of
from bayesgmm.prediction.densities import each_draw

pytestmark = pytest.mark.draws
N_CHAINS = 3


@pytest.fixture(scope="module")
def stuck():
    """A user's own posterior whose chains stay in two modes."""
    arrays = stuck_chains().arrays
    shaped = {n: a.reshape(N_CHAINS, -1, *a.shape[1:]) for n, a in zip(("w", "mu", "S"), arrays, strict=False)}
    dims = {"w": ("k",), "mu": ("k", "d"), "S": ("k", "d", "e")}
    return xr.Dataset({name: (("chain", "draw", *dims[name]), values) for name, values in shaped.items()})


NAMES = {"weights": "w", "means": "mu", "covariances": "S"}


def test_a_posterior_of_ones_own_is_pooled_by_evidence(stuck):
    pooled = combine_modes(stuck, THREE_GROUPS, prior=CONJUGATE, names=NAMES, random_state=1)
    record = json.loads(pooled.attrs["modes"])
    assert len(record) == 2
    share = np.bincount(pooled["sample_stats"]["mode"].to_numpy().ravel()) / pooled["sample_stats"]["mode"].size
    np.testing.assert_allclose(share, [mode["weight"] for mode in record], atol=1e-3)
    raw = unpooled(pooled)
    np.testing.assert_array_equal(raw["posterior"]["means"], stuck["mu"])
    assert "modes" not in raw.attrs
    source = pooled["sample_stats"]["source"].to_numpy().ravel()
    taken = pooled["posterior"]["means"].to_numpy().reshape(-1, 2, 1)[source >= 0]
    np.testing.assert_array_equal(taken, stuck["mu"].to_numpy().reshape(-1, 2, 1)[source[source >= 0]])


def test_pooling_again_starts_from_the_chains(stuck):
    once = combine_modes(stuck, THREE_GROUPS, prior=CONJUGATE, names=NAMES, random_state=1)
    again = combine_modes(once, prior=CONJUGATE, random_state=1)
    xr.testing.assert_equal(once["posterior"].to_dataset(), again["posterior"].to_dataset())
    xr.testing.assert_equal(once[UNPOOLED].to_dataset(), again[UNPOOLED].to_dataset())


def test_densities_of_the_draws_before_are_not_kept(stuck):
    tree = mixture_posterior(stuck, THREE_GROUPS, names=NAMES)
    tree["log_likelihood"] = xr.DataTree(xr.Dataset({"y": 0.0}))
    pooled = combine_modes(tree, prior=CONJUGATE, random_state=1)
    assert "log_likelihood" in tree.children
    assert "log_likelihood" not in pooled.children
    pooled["log_likelihood"] = tree["log_likelihood"]
    assert "log_likelihood" not in unpooled(pooled).children


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")  # nine rows
def test_stacking_weights_predict_best(stuck):
    """Against a grid over the one free weight, with leave-one-out densities by plain importance sampling."""
    stacked = combine_modes(stuck, THREE_GROUPS, weights="stacking", names=NAMES, random_state=1)
    got = [mode["weight"] for mode in json.loads(stacked.attrs["modes"])]
    assert sum(got) == pytest.approx(1.0)
    assert stacked.attrs["mode_weights"] == "stacking"
    tree = mixture_posterior(stuck, THREE_GROUPS, names=NAMES)
    density = np.stack([np.exp(d) for d, _ in each_draw(draws_of(tree), data_of(tree), with_memberships=False)])
    arrays = (stuck[name].to_numpy() for name in NAMES.values())
    points = Draws(*arrays, family=covariance_family("full")).end_to_end()
    labels = find_modes(points, data_of(tree), rng=np.random.default_rng(0)).labels
    loo = np.stack([1.0 / (1.0 / density[labels == m]).mean(axis=0) for m in range(2)])
    grid = np.linspace(0.0, 1.0, 201)
    best = grid[np.argmax([np.log(w * loo[0] + (1.0 - w) * loo[1]).sum() for w in grid])]
    assert got[0] == pytest.approx(best, abs=0.1)


def test_evidence_needs_a_prior_and_weights_a_name(stuck):
    with pytest.raises(InputError, match="a prior"):
        combine_modes(stuck, THREE_GROUPS, names=NAMES)
    with pytest.raises(InputError, match="weights one of"):
        combine_modes(stuck, THREE_GROUPS, weights="equal", names=NAMES)


def test_mode_means_carry_both_errors(stuck):
    """The probability that a row of the middle group lies with one of the first, against enumeration."""
    pooled = combine_modes(stuck, THREE_GROUPS, prior=CONJUGATE, names=NAMES, random_state=1)
    data = data_of(pooled)
    memberships = [(r[:, 0] * r[:, 4]).sum() for _, r in each_draw(draws_of(pooled), data, with_memberships=True)]
    got, error = mode_mean(np.reshape(memberships, pooled["posterior"]["weights"].shape[:2]), pooled)
    allocations, log_z = exact_log_evidences(THREE_GROUPS, CONJUGATE, 2)
    share = np.exp(log_z - np.logaddexp.reduce(log_z))
    want = share[allocations[:, 0] == allocations[:, 4]].sum()
    assert 0.1 < want < 0.9
    assert error < 0.02
    assert abs(got - want) < bound() * error + OTHERWISE


def visiting(missing=0.1):
    """Four chains of 250 draws, a quantity of which is 0 or 1 by mode, and twice as often 1."""
    rng = np.random.default_rng(0)
    labels = (rng.random((4, 250)) < 2 / 3).astype(int)
    stats = xr.Dataset({"mode": (("chain", "draw"), labels)})
    draws = xr.Dataset({"weights": (("chain", "draw", "cluster"), np.ones((4, 250, 1)))})
    tree = xr.DataTree.from_dict({"posterior": draws, "sample_stats": stats})
    tree.attrs = {"modes": "[]", "mode_weights": VISITS, "missing": missing}
    return tree, labels.astype(float)


def test_means_over_modes_that_chains_visit_have_errors_of_chains():
    tree, values = visiting()
    mean, error = mode_mean(values, tree)
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(values.std() / np.sqrt(1_000), rel=0.25)


def test_the_range_of_a_mean_puts_what_may_be_missing_at_the_modes_that_were_met():
    tree, values = visiting(missing=0.1)
    mean = values.mean()
    assert mode_mean_range(values, tree) == pytest.approx((0.9 * mean, 0.9 * mean + 0.1))
    del tree.attrs["missing"]
    with pytest.raises(InputError, match="random starts"):
        mode_mean_range(values, tree)


def test_one_mode_is_left_alone():
    fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    assert combine_modes(fit) is fit.posterior_
    assert UNPOOLED not in fit.posterior_.children
    assert json.loads(fit.posterior_.attrs["random_starts"]) == {"n": 128, "ended": [128]}


def smallest_clusters(tree, rng):
    """Rows in the smallest cluster, labels drawn for each draw, (chain, draw)."""
    X = np.asfortranarray(load_iris().data)
    sizes = []
    for _, resp in each_draw(draws_of(tree), Data(X), with_memberships=True):
        labels = (rng.random(len(X)) > resp.cumsum(axis=0)).sum(axis=0)
        sizes.append(np.bincount(np.minimum(labels, 2), minlength=3).min())
    return np.reshape(sizes, tree["posterior"]["weights"].shape[:2])


def hard_fit(seed, **settings):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SamplingWarning)
        fit = BayesianGaussianMixture(3, prior=HARD, random_state=seed, progress=False, **settings)
        fit.fit(load_iris().data)
    return fit, " ".join(str(warning.message) for warning in caught)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_hard_case_of_iris(seed, tmp_path):
    """Collapsed Gibbs, six long runs: smallest cluster of 20 rows or more .060 .059 .077 .051 .065 .040, empty .81."""
    fit, message = hard_fit(seed)
    assert "modes" in message  # never silent
    sizes = smallest_clusters(fit.posterior_, np.random.default_rng(seed))
    large, error = mode_mean(sizes >= 20, fit.posterior_)
    empty, of_empty = mode_mean(sizes == 0, fit.posterior_)
    assert abs(large - 0.06) < bound() * np.hypot(error, 0.005)  # the mean of those runs, and its standard error
    assert error <= 0.015
    assert abs(empty - 0.81) < bound() * np.hypot(of_empty, 0.015)
    occupied = occupied_clusters(fit.posterior_, random_state=seed)
    assert abs(float(occupied["probability"].sel(n_clusters=2)) - empty) < 0.03
    fit.save(tmp_path / "iris.nc")
    again = load(tmp_path / "iris.nc").posterior_
    assert json.loads(again.attrs["modes"]) == json.loads(fit.posterior_.attrs["modes"])
    xr.testing.assert_equal(
        unpooled(again)["posterior"].to_dataset(), unpooled(fit.posterior_)["posterior"].to_dataset()
    )
