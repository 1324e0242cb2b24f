"""How chains mix: against ArviZ, and on series whose answer is known."""

import arviz_stats as azs
import numpy as np
import pytest
import xarray as xr

from bayesgmm.diagnostics.rhat_ess import chain_clusters, columns, half_chains, mixing, nested_r_hat, pairwise_r_hat

DIMS = ("chain", "draw", "part")


def dataset(**arrays) -> xr.Dataset:
    return xr.Dataset({name: (DIMS[: values.ndim], values) for name, values in arrays.items()})


def noise(*shape: int, seed: int = 0):
    return np.random.default_rng(seed).normal(size=shape)


def slow(chains: int, draws: int, seed: int = 0):
    """A random walk: no two stretches are alike."""
    return noise(chains, draws, seed=seed).cumsum(axis=1)


def test_the_worst_figures_are_arviz_own():
    values = noise(4, 300, 3)
    values[..., 1] += 0.5 * np.arange(4)[:, None]
    found = mixing(dataset(a=values, b=noise(4, 300, seed=1)))
    table = xr.Dataset({"a": (DIMS, values), "b": (DIMS[:2], noise(4, 300, seed=1))})
    bulk, tail = (min(float(v.min()) for v in azs.ess(table, method=method).values()) for method in ("bulk", "tail"))
    assert found.r_hat == pytest.approx(max(float(v.max()) for v in azs.rhat(table).values()))
    assert (found.ess_bulk, found.ess_tail) == pytest.approx((bulk, tail))
    assert found.worst == "a[1]"


def test_what_never_varies_is_left_out():
    values = np.zeros((2, 50, 3))
    values[..., 1] = noise(2, 50)
    values[..., 2] = 1.0 + 1e-12 * noise(2, 50)
    array, names = columns(dataset(a=values))
    assert names == ["a[1]"]
    np.testing.assert_array_equal(array.to_numpy()[..., 0], values[..., 1])


@pytest.mark.parametrize("values", [np.ones((2, 50)), noise(4, 3), noise(4, 1)])
def test_what_cannot_be_judged_is_not_a_number_and_not_fine(values):
    found = mixing(dataset(a=values))
    assert np.isnan([found.r_hat, found.ess_bulk, found.ess_tail]).all()
    assert not found.is_fine(len(values))


@pytest.mark.draws
def test_a_single_chain_is_compared_with_itself():
    drifting = noise(1, 400)
    drifting[:, 200:] += 3.0
    assert mixing(dataset(a=noise(1, 4_000))).is_fine(1)
    assert mixing(dataset(a=drifting)).r_hat > 1.5


@pytest.mark.draws
@pytest.mark.parametrize("bad", ["r_hat", "ess"])
def test_good_figures_need_both_r_hat_and_effective_draws(bad):
    assert mixing(dataset(a=noise(4, 1_000))).is_fine(4)
    same = np.random.default_rng(0).permuted(np.tile(np.arange(20.0), (8, 1)), axis=1)  # in each half of each chain
    values = noise(4, 1_000) + np.arange(4)[:, None] if bad == "r_hat" else same.reshape(4, 40)
    found = mixing(dataset(a=values))
    assert not found.is_fine(4)
    assert (found.r_hat > 1.01) == (bad == "r_hat")


# ---- pairs of chains


def test_pairs_agree_with_arviz_for_chains_of_one_kind():
    values = noise(2, 500, 4)
    expected = float(azs.rhat(xr.DataArray(values, dims=DIMS)).max())
    found = pairwise_r_hat(half_chains(dataset(a=values)))
    np.testing.assert_allclose(found[0, 1], expected, rtol=1e-6)
    np.testing.assert_array_equal(found, found.T)


def test_scales_that_differ_are_seen_though_means_agree():
    values = noise(2, 500)
    values[1] *= 5.0
    assert pairwise_r_hat(half_chains(dataset(a=values)))[0, 1] > 1.2


@pytest.mark.draws
def test_clusters_are_chains_that_agree():
    values = noise(5, 1_000)
    values[[1, 4]] += 10.0
    found = chain_clusters(dataset(a=values, b=noise(5, 1_000, seed=1)))
    assert [part.chains for part in found] == [(0, 2, 3), (1, 4)]
    assert all(part.is_stationary and part.r_hat < 1.02 for part in found)


def test_a_bridge_joins_clusters():
    """A chain that moves between two places belongs to both, and what it joins is not stationary."""
    values = noise(3, 400, seed=2)
    values[0] += 3.0
    values[1] += 3.0 * (np.arange(400) // 50 % 2)
    (found,) = chain_clusters(dataset(a=values))
    assert found.chains == (0, 1, 2)
    assert not found.is_stationary


@pytest.mark.draws
def test_slow_chains_are_not_stationary():
    for seed in range(5):
        found = chain_clusters(dataset(a=slow(4, 200, seed)))
        assert len(found) > 1
        assert not any(part.is_stationary for part in found)


@pytest.mark.draws
def test_chance_does_not_part_chains_of_fifty_effective_draws():
    """Autoregressive chains of 1,000 draws and 25 quantities: never parted in 20 sets of four."""
    rho = 0.905  # 1,000 (1 - rho) / (1 + rho) = 50
    for seed in range(20):
        values = noise(4, 1_000, 25, seed=seed)
        for t in range(1, values.shape[1]):
            values[:, t] = rho * values[:, t - 1] + np.sqrt(1.0 - rho**2) * values[:, t]
        assert len(chain_clusters(dataset(a=values))) == 1


# ---- nested R-hat


@pytest.mark.draws
def test_nested_r_hat_sees_chains_that_remember_their_start():
    values = noise(4, 2_000)
    assert nested_r_hat(dataset(a=values), [0, 0, 1, 1]) < 1.01
    values[2:] += 1.0
    assert nested_r_hat(dataset(a=values), [0, 0, 1, 1]) > 1.1
    expected = azs.rhat_nested(xr.DataArray(values, dims=DIMS[:2]), superchain_ids=[0, 0, 1, 1])
    assert nested_r_hat(dataset(a=values), [5, 5, 2, 2]) == pytest.approx(float(expected))


@pytest.mark.draws
def test_of_every_starting_mode_as_many_chains_as_of_the_rarest():
    values = noise(5, 2_000)
    values[4] += 9.0
    assert nested_r_hat(dataset(a=values), [0, 0, 1, 1, 1]) < 1.01  # the last chain of mode 1 does not count
    assert nested_r_hat(dataset(a=values), [0, 0, 0, 0, 1]) > 1.5


def test_one_starting_mode_has_no_nested_r_hat():
    assert nested_r_hat(dataset(a=noise(4, 300)), [0, 0, 0, 0]) is None


def test_a_quantity_that_is_one_in_half_of_the_draws_has_the_r_hat_of_its_ranks():
    """Its distances from the median are all alike: they have none, and nobody is warned."""
    values = np.random.default_rng(0).permuted(np.tile([0.0, 1.0], (4, 50)), axis=1)
    found = mixing(xr.Dataset({"together": (("chain", "draw"), values)}))
    assert found.r_hat == float(azs.rhat(values, method="z_scale"))
