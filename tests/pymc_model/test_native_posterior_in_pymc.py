"""A posterior drawn without PyMC serves PyMC's and ArviZ's own functions, on the fit's own model."""

import arviz as az
import numpy as np
import pymc as pm
import pytest

from bayesgmm import BayesianGaussianMixture, Mixture
from bayesgmm.datasets import load_old_faithful

# PyTensor silences this hint about its own code at import; pytest resets that.
pytestmark = [
    pytest.mark.draws,
    pytest.mark.filterwarnings(r"ignore:.*np.dot\(\) is faster on contiguous arrays"),
]


@pytest.fixture(scope="module")
def fit() -> BayesianGaussianMixture:
    return BayesianGaussianMixture(2, random_state=3, progress=False).fit(load_old_faithful())


@pytest.fixture(scope="module")
def model(fit: BayesianGaussianMixture) -> pm.Model:
    return fit.model


def test_log_likelihood_is_the_mixtures_and_loo_works(fit: BayesianGaussianMixture, model: pm.Model) -> None:
    tree = fit.posterior_.copy()
    with model:
        pm.stats.compute_log_likelihood(tree, progressbar=False)
    pointwise = tree["log_likelihood"]["y"]
    assert pointwise.dims == ("chain", "draw", "obs")
    draw = tree["posterior"].to_dataset().isel(chain=1, draw=7)
    mixture = Mixture(*(draw[name].to_numpy() for name in ("weights", "means", "covariances")))
    expected = mixture.log_prob(load_old_faithful())
    np.testing.assert_allclose(pointwise.isel(chain=1, draw=7), expected)
    loo = az.loo(tree)
    assert loo.n_data_points == 272
    assert -1160 < loo.elpd < -1125
    assert 5 < loo.p < 20  # eleven parameters


def test_prediction_knows_that_the_draws_are_the_models(fit: BayesianGaussianMixture, model: pm.Model) -> None:
    with model:
        tree = pm.sample_posterior_predictive(fit.posterior_, random_seed=1, progressbar=False)
    drawn = tree["posterior_predictive"]["y"]
    assert drawn.sizes == {"chain": 4, "draw": 1000, "obs": 272, "feature": 2}
    observed = load_old_faithful().mean().to_numpy()
    spread = drawn.mean("obs").std(("chain", "draw"))
    assert (np.abs(drawn.mean(("chain", "draw", "obs")) - observed) < 0.5 * spread).all()
