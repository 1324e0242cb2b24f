"""Posteriors in foreign layouts: every public function that takes one reads it through the same adapter."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure
from scipy.special import logsumexp
from scipy.stats import norm

import bayesgmm
from bayesgmm import GaussianMixture, Prior, diagnose, loo
from bayesgmm.exceptions import InputError

NAMES = {"weights": "w", "means": "mu", "sds": "sigma"}
CENTRES = np.array([[0.0, 10.0], [5.0, -10.0]])  # as many clusters as features
SDS = np.array([[1.0, 1.0], [1.0, 2.0]])


def drawn(chains: int, draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draws near the truth, the same ones in either half of each chain; later chains in other labels."""
    n = draws // 2
    order = rng.permuted(np.tile(np.arange(n), (2 * chains, 1)), axis=1).reshape(chains, draws)
    arrays = {
        "w": np.array([0.6, 0.4]) + rng.normal(0, 0.03, (n, 1)) * [1, -1],
        "mu": CENTRES + rng.normal(0, 0.2, (n, 2, 2)),
        "sigma": SDS * np.exp(rng.normal(0, 0.1, (n, 2, 2))),
    }
    arrays = {name: values[order] for name, values in arrays.items()}
    for values in arrays.values():
        values[chains // 2 :] = values[chains // 2 :, :, ::-1]
    return arrays


RNG = np.random.default_rng(5)
X = np.concatenate([RNG.normal(CENTRES[0], SDS[0], (24, 2)), RNG.normal(CENTRES[1], SDS[1], (16, 2))])
ARRAYS = drawn(2, 40, RNG)


def feature_first(arrays: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Named dimensions in another order: means (draw, feature, chain, component)."""
    dims = ("chain", "draw", "component", "feature")
    dataset = xr.Dataset({name: (dims[: values.ndim], values) for name, values in arrays.items()})
    return dataset.transpose("draw", "feature", "chain", "component", missing_dims="ignore")


def numbers(figure: Any) -> list[np.ndarray]:
    """Everything that a plot shows: the data of its lines and collections."""
    axes = figure.axes if isinstance(figure, Figure) else plt.gcf().axes
    shown = [line.get_xydata() for each in axes for line in each.get_lines()]
    shown += [path.vertices for each in axes for art in each.collections for path in art.get_paths()]
    plt.close("all")
    assert shown
    return shown


PRIOR = Prior.weakly_informative(X)
EM = GaussianMixture(2, random_state=0).fit(X)
FIXED: dict[str, Any] = {"random_state": 0}
CALLS: dict[str, Callable[..., Any]] = {
    "check_model": lambda f, *a, **k: f(*a, n_replicates=39, **FIXED, **k).table,
    "combine_modes": lambda f, *a, **k: f(*a, prior=PRIOR, **FIXED, **k)["posterior"]["means"],
    "compare": lambda f, *a, **k: f(EM, *a, bootstrap=0, **FIXED, **k).parameters,
    "compute_log_likelihood": lambda f, *a, **k: f(*a, **k)["log_likelihood"]["y"],
    "compare_relabellings": lambda f, *a, **k: f(*a, methods=["stephens", "pra"], **k),
    "condition": lambda f, posterior, X, **k: f(posterior, {0: X[0, 0]}, **k)["posterior"]["means"],
    "credible_ball": lambda f, *a, **k: f([0] * 24 + [1] * 16, *a, **FIXED, **k).radius,
    "diagnose": lambda f, *a, **k: str(f(*a, **k)),
    "estimate_partition": lambda f, *a, **k: f(*a, **FIXED, **k).labels,
    "log_evidence": lambda f, *a, **k: f(*a, prior=PRIOR, cross_check=False, **FIXED, **k).log_evidence,
    "loo": lambda f, *a, **k: f(*a, **k).elpd,
    "marginal": lambda f, posterior, X, **k: f(posterior, 1, **k)["posterior"]["means"],
    "membership_uncertainty": lambda f, *a, **k: f(*a, **k)["overlap"],
    "occupied_clusters": lambda f, *a, **k: f(*a, **FIXED, **k)["probability"],
    "outlier_scores": lambda f, *a, **k: f(*a, **FIXED, **k).table,
    "plot_clusters": lambda f, *a, **k: numbers(f(*a, **k)),
    "plot_components": lambda f, *a, **k: numbers(f(*a, **k)),
    "plot_density": lambda f, *a, **k: numbers(f(*a, features=0, **k)),
    "plot_membership_uncertainty": lambda f, *a, **k: numbers(f(*a, **k)),
    "plot_mixing": lambda f, *a, **k: numbers(f(*a, **k)),
    "plot_pairs": lambda f, *a, **k: numbers(f(*a, **k)),
    "plot_similarity": lambda f, *a, **k: f(*a, **k).viz["figure"].item().axes[0].get_images()[0].get_array().data,
    "posterior_predictive": lambda f, *a, **k: f(*a, **FIXED, **k)["posterior_predictive"]["y"],
    "impute": lambda f, posterior, X, **k: f(posterior, np.where([False, True], np.nan, X), random_state=0, **k).mean,
    "predict_features": lambda f, posterior, X, **k: f(posterior, X[:, :1], target=1, **k)["new_row"],
    "relabel": lambda f, *a, **k: f(*a, **k)["sample_stats"]["permutation"],
    "representative_partitions": lambda f, *a, **k: f(*a, n=1, **FIXED, **k).labels,
    "sample_labels": lambda f, *a, **k: f(*a, **FIXED, **k),
    "similarity_matrix": lambda f, *a, **k: f(*a, **k),
    "to_arviz": lambda f, *a, **k: f(*a, prior=PRIOR, **FIXED, **k)["prior_predictive"]["x1"],
    "merge_components": lambda f, *a, **k: f(*a, **k).entropies,
    "power_scaling_sensitivity": lambda f, *a, **k: f(*a, prior=PRIOR, **k),
}


def test_all_functions_that_take_a_posterior_are_here():
    taking = {
        name
        for name in bayesgmm.__all__
        if inspect.isfunction(function := getattr(bayesgmm, name)) and "names" in inspect.signature(function).parameters
    }
    assert taking - {"component_summary"} == set(CALLS)  # which takes what relabel gave


@pytest.mark.filterwarnings("ignore::UserWarning")  # so few draws have Pareto k and evidences to warn of
@pytest.mark.parametrize("name", CALLS)
def test_dimensions_in_any_order_give_what_arrays_give(name):
    def call(posterior: Any) -> Any:
        return CALLS[name](getattr(bayesgmm, name), posterior, X, names=NAMES)

    assert_same(call(feature_first(ARRAYS)), call(ARRAYS))
    means = ARRAYS["mu"].copy()
    means[1, 5] = np.nan
    with pytest.raises(InputError, match="1 of 40 draws of chain 1"):
        call(ARRAYS | {"mu": means})


def assert_same(got: Any, want: Any) -> None:
    if isinstance(want, str):
        assert got == want
    elif isinstance(want, list):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b)
    elif isinstance(want, pd.DataFrame):
        pd.testing.assert_frame_equal(got, want)
    else:
        np.testing.assert_allclose(np.asarray(got), np.asarray(want))


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ParetoWarning")  # of rows far out, as this is no posterior
@pytest.mark.draws
def test_means_stored_feature_first_with_as_many_clusters_as_features():
    """The elpd of the transposed Dataset, and labels that switched; read in the order of axes, modes seemed several."""
    arrays = drawn(4, 250, np.random.default_rng(6))
    dataset = feature_first(arrays)
    got = loo(dataset, X, names=NAMES, progress=False).elpd
    np.testing.assert_allclose(got, loo(arrays, X, names=NAMES, progress=False).elpd, rtol=1e-12)
    densities = [
        log_density(*each) for each in zip(*(v.reshape(-1, *v.shape[2:]) for v in arrays.values()), strict=True)
    ]
    in_sample = (logsumexp(densities, axis=0) - np.log(len(densities))).sum()
    assert in_sample - 40 < got < in_sample
    assert diagnose(dataset, X, names=NAMES).verdict == "converged, labels switched"


def log_density(w: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    return logsumexp(np.log(w) + norm.logpdf(X[:, None], mu, sigma).sum(axis=2), axis=1)
