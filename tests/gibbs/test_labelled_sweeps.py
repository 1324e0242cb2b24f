"""Labelled rows in Gibbs sampling: memberships and sums over labels keep to the components that rows may come from."""

import numpy as np
import pytest
from exact_posterior import exact_draws
from mode_cases import exact_log_evidences
from monte_carlo import bound
from reference import FAMILIES

from bayesgmm import Prior
from bayesgmm.data import Data
from bayesgmm.gibbs import Kept, Sweeps, tempered_evidence
from bayesgmm.mixture import Mixture, row_densities, row_memberships
from bayesgmm.priors import Model

K, D = 3, 2
FAR = 200.0  # standard deviations, at which memberships of a row in other components round to zero


def rows(n=40, seed=0):
    """Rows of which some may come from some components only, one of them far from the only one allowed."""
    rng = np.random.default_rng(seed)
    X, allowed = rng.normal(size=(n, D)), rng.random((n, K)) < 0.6
    allowed[~allowed.any(axis=1)] = True
    X[0], allowed[0] = FAR, [True, False, False]
    return Data(np.asfortranarray(X), np.arange(n) % 3 + 1.0, allowed)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "VEI"])
def test_memberships_are_those_of_the_allowed_components(name) -> None:
    data = rows()
    model = Model.of(name, K, D, prior=Prior.weakly_informative(data.rows))
    means, family = np.array([[0.0, 0.0], [2.0, 0.0], [FAR, FAR]]), model.family
    mixture = Mixture([0.2, 0.3, 0.5], means, family.compress(np.tile(np.eye(D), (K, 1, 1))), name)
    sweeps = Sweeps(data, model)
    chain = sweeps.chain(mixture)
    sweeps.run(np.random.default_rng(0), chain, Kept.room(chain, 0), first=0, n=0)
    np.testing.assert_allclose(chain.memberships.T, row_memberships(data, mixture), atol=1e-12)
    np.testing.assert_allclose(chain.log_density, row_densities(data, mixture), rtol=1e-10)
    assert not chain.memberships.T[~data.allowed].any()


@pytest.mark.draws
def test_the_posterior_is_that_of_the_allowed_allocations() -> None:
    """Against exact draws, by summing over all allocations that labels allow."""
    X = np.array([0.0, 0.4, -0.3, 3.0, 3.5, 2.6, 1.4])[:, None]
    prior = Prior.normal_inverse_wishart(concentration=1.5, mean=[1.0], kappa=0.3, dof=4.0, scale=[[1.0]])
    allowed = np.ones((7, K), dtype=bool)
    allowed[0], allowed[3], allowed[6] = [1, 0, 0], [0, 1, 0], [0, 1, 1]
    exact = exact_draws(X, prior, K, size=8_000, allowed=allowed)
    sweeps = Sweeps(Data(X, None, allowed), Model.of("full", K, 1, prior=prior))
    chain = sweeps.chain(Mixture(np.full(K, 1 / K), X[[0, 3, 6]], np.ones((K, 1, 1))))
    kept = Kept.room(chain, 40_000)
    sweeps.run(np.random.default_rng(1), chain, kept, first=-500, n=40_500)
    drawn = {"weights": kept.weights, "means": kept.means[..., 0], "log sds": np.log(kept.factors[..., 0, 0])}
    others = {"weights": exact["weights"], "means": exact["means"][..., 0]}
    others["log sds"] = 0.5 * np.log(exact["covariances"][..., 0, 0])
    scores = [_z(drawn[name][:, k], others[name][:, k]) for name in drawn for k in range(K)]
    assert np.abs(scores).max() < bound(len(scores))


def _z(series, independent):
    """Difference of means in standard errors, of a chain by means of 200 batches."""
    batches = series.reshape(200, -1).mean(axis=1)
    return (series.mean() - independent.mean()) / np.hypot(
        batches.std() / np.sqrt(199.0), independent.std() / np.sqrt(len(independent))
    )


@pytest.mark.draws
def test_tempering_keeps_to_labels_too() -> None:
    """With every row labelled the evidence is a product of closed forms: shares, and one component each."""
    X = np.array([0.0, 0.4, -0.3, 3.0, 3.5])[:, None]
    prior = Prior.normal_inverse_wishart(concentration=1.5, mean=[1.0], kappa=0.3, dof=4.0, scale=[[1.0]])
    labels = np.array([0, 0, 0, 1, 1])
    allocations, values = exact_log_evidences(X, prior, 2)
    exact = float(values[(allocations == labels).all(axis=1)][0])
    data = Data(X, None, np.equal.outer(labels, np.arange(2)))
    found = tempered_evidence(data, Model.of("full", 2, 1, prior=prior), rng=np.random.default_rng(0))
    assert abs(found.log_z - exact) < bound() * max(found.se, 0.02)
