"""Posteriors with variances in place of full diagonal covariances: every public function gives the same on them."""

import re
import warnings
from typing import Any

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesgmm
import bayesgmm.posterior.tree
from bayesgmm import BayesianGaussianMixture, GaussianMixture, Prior
from bayesgmm.comparison.parameter_table import estimates_table
from bayesgmm.exceptions import CompactWarning, LabelWarning
from bayesgmm.label_switching.methods import METHODS
from bayesgmm.mixture.draws import Draws
from bayesgmm.posterior import mixture_posterior, with_covariances

RNG = np.random.default_rng(3)
X = pd.DataFrame(
    np.concatenate([RNG.normal([0, 5, 0], 1, (30, 3)), RNG.normal([6, 0, 0], [1, 2, 1], (30, 3))]),
    columns=["a", "b", "c"],
)


def fitted(covariance_type: str) -> BayesianGaussianMixture:
    settings = {"chains": 2, "draws": 150, "tune": 200, "random_state": 0, "progress": False}
    prior = Prior.malsiner_walli(X) if covariance_type == "diag" else None  # with a hyperparameter that is drawn
    return BayesianGaussianMixture(2, covariance_type=covariance_type, prior=prior, **settings).fit(X)


@pytest.fixture(scope="module", params=["diag", "tied_spherical"])
def fits(request) -> tuple[BayesianGaussianMixture, BayesianGaussianMixture]:
    """The same draws, with full covariances and with variances."""
    full = fitted(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bayesgmm.posterior.tree, "LARGEST", 0)
        with pytest.warns(CompactWarning, match="with_covariances"):
            return full, fitted(request.param)


def test_the_draws_are_the_same(fits):
    full, compact = fits
    one, other = (fit.posterior_["posterior"].to_dataset() for fit in fits)
    assert "covariances" not in other
    assert other["variances"].dims == ("chain", "draw", "cluster", "feature")
    xr.testing.assert_identical(with_covariances(compact.posterior_)["posterior"].to_dataset(), one)
    assert ("prior_scale" in one) == (full.covariance_type == "diag")
    for name in ("weights_", "means_", "covariances_", "precisions_"):
        np.testing.assert_array_equal(getattr(full, name), getattr(compact, name))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # zeros off the diagonal never vary
def test_arviz_takes_the_tree_as_it_stands(fits):
    one, other = (fit.posterior_ for fit in fits)
    assert az.summary(other).shape[0] == az.summary(other, var_names=[*other["posterior"].data_vars]).shape[0]
    for function in (az.rhat, az.ess):
        short, long = function(other), function(one)
        np.testing.assert_array_equal(short["means"], long["means"])
        np.testing.assert_array_equal(short["variances"], np.diagonal(long["covariances"], axis1=-2, axis2=-1))


def shown(result: Any) -> Any:
    """What is compared of a result: text, tables and everything that a figure shows."""
    if isinstance(result, str | np.ndarray | pd.DataFrame | xr.Dataset | xr.DataTree):
        return result
    axes = plt.gcf().axes if plt.get_fignums() else []
    parts = [line.get_xydata() for each in axes for line in each.get_lines()]
    parts += [path.vertices for each in axes for art in each.collections for path in art.get_paths()]
    plt.close("all")
    return np.concatenate(parts) if parts else str(result)


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, np.ndarray):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, rtol=1e-9, atol=1e-12)
    elif isinstance(one, xr.Dataset):
        xr.testing.assert_allclose(one, other)
    elif isinstance(one, xr.DataTree):
        assert_same(*(with_covariances(tree)["posterior"].to_dataset() for tree in (one, other)))
    else:
        assert one == other


def em_of(fit: BayesianGaussianMixture) -> GaussianMixture:
    return GaussianMixture(2, covariance_type=fit.covariance_type, random_state=0).fit(X)


VERBS = {
    "predict_proba": lambda fit: fit.predict_proba(X),
    "score_samples": lambda fit: fit.score_samples(X),
    "summary": lambda fit: str(fit.summary()),
    "diagnose": lambda fit: repr(bayesgmm.diagnose(fit)),
    "compare": lambda fit: bayesgmm.compare(em_of(fit), fit, bootstrap=0, random_state=0, progress=False).parameters,
    "estimates": lambda fit: estimates_table(fit.em_, fit.posterior_),
    "check_model": lambda fit: str(bayesgmm.check_model(fit, random_state=0)),
    "loo": lambda fit: str(bayesgmm.loo(fit)),
    "exact loo": lambda fit: str(bayesgmm.loo(fit, moment_match=True)),
    "log_evidence": lambda fit: repr(bayesgmm.log_evidence(fit, random_state=0)),
    "combine_modes": lambda fit: bayesgmm.combine_modes(fit, random_state=0),
    "average_models": lambda fit: bayesgmm.average_models({"one": fit, "two": fit}, random_state=0).score_samples(X),
    "posterior_predictive": lambda fit: bayesgmm.posterior_predictive(fit, random_state=0)[
        "posterior_predictive"
    ].to_dataset(),
    "compute_log_likelihood": lambda fit: bayesgmm.compute_log_likelihood(fit)["log_likelihood"].to_dataset(),
    "to_arviz": lambda fit: bayesgmm.to_arviz(fit, random_state=0)["posterior"].to_dataset(),
    "power_scaling_sensitivity": bayesgmm.power_scaling_sensitivity,
    "outlier_scores": lambda fit: bayesgmm.outlier_scores(fit, random_state=0, progress=False).table,
    "membership_uncertainty": lambda fit: bayesgmm.membership_uncertainty(fit),
    "similarity_matrix": lambda fit: bayesgmm.similarity_matrix(fit),
    "estimate_partition": lambda fit: str(bayesgmm.estimate_partition(fit, random_state=0)),
    "occupied_clusters": lambda fit: str(bayesgmm.occupied_clusters(fit)),
    "relabel": lambda fit: bayesgmm.relabel(fit, progress=False),
    "wasserstein": lambda fit: bayesgmm.relabel(
        fit, method="optimal-assignment", divergence="wasserstein", progress=False
    ),
    "compare_relabellings": lambda fit: bayesgmm.compare_relabellings(fit, methods=tuple(METHODS), progress=False),
    "component_summary": lambda fit: bayesgmm.component_summary(
        bayesgmm.relabel(fit, progress=False), names={"means": "means"}
    ),
    "restore_labels": lambda fit: bayesgmm.restore_labels(bayesgmm.relabel(fit, progress=False)),
    "plot_clusters": lambda fit: bayesgmm.plot_clusters(fit),
    "plot_components": lambda fit: bayesgmm.plot_components(fit),
    "plot_density": lambda fit: bayesgmm.plot_density(fit),
    "plot_pairs": lambda fit: bayesgmm.plot_pairs(fit),
    "plot_mixing": lambda fit: bayesgmm.plot_mixing(fit, quantities="relabelled"),
    "plot_membership_uncertainty": lambda fit: bayesgmm.plot_membership_uncertainty(fit),
    "plot_similarity": lambda fit: bayesgmm.plot_similarity(fit),
}


@pytest.mark.filterwarnings("ignore:.*:bayesgmm.exceptions.ParetoWarning")
@pytest.mark.filterwarnings("ignore:.*:bayesgmm.exceptions.EvidenceWarning")
@pytest.mark.parametrize("verb", VERBS)
def test_results_are_the_same(fits, verb):
    assert_same(*(shown(VERBS[verb](fit)) for fit in fits))


def test_reading_does_not_expand_the_matrices(fits, monkeypatch):
    def refused(draws: Draws) -> None:
        raise AssertionError(f"{len(draws)} draws were expanded")

    monkeypatch.setattr(Draws, "covariances", property(refused))
    tree = mixture_posterior(fits[1])
    draws = bayesgmm.posterior.draws_of(tree)
    assert draws.factors.ndim == draws.reordered(np.tile([1, 0], (len(draws), 1))).factors.ndim == 4
    assert len(fits[1].predict(X)) == len(X)
    assert bayesgmm.similarity_matrix(fits[1]).shape == (len(X), len(X))


def test_files_keep_the_variances(fits, tmp_path):
    full, compact = fits
    compact.save(tmp_path / "fit.nc")
    again = bayesgmm.load(tmp_path / "fit.nc")
    xr.testing.assert_identical(
        again.posterior_["posterior"].to_dataset(), compact.posterior_["posterior"].to_dataset()
    )
    np.testing.assert_array_equal(again.predict_proba(X), full.predict_proba(X))


def test_a_report_has_the_same_sections(fits, tmp_path):
    texts = []
    for number, fit in enumerate(fits):
        fit.report(tmp_path / f"{number}.html", checks=False)
        texts.append(re.findall(r"<h[23].*?</h[23]>", (tmp_path / f"{number}.html").read_text(encoding="utf-8")))
    assert texts[0] == texts[1]
    assert len(texts[0]) > 3


def test_a_dataset_of_its_draws_is_read_too(fits):
    full, compact = (mixture_posterior(fit.posterior_["posterior"].to_dataset(), X) for fit in fits)
    xr.testing.assert_allclose(full["posterior"].to_dataset(), compact["posterior"].to_dataset())
    with warnings.catch_warnings():
        warnings.simplefilter("error", LabelWarning)
        bayesgmm.relabel(
            fits[1].posterior_["posterior"].to_dataset()[["weights", "means", "variances"]], X, progress=False
        )


@pytest.mark.filterwarnings("ignore:.*:bayesgmm.exceptions.CompactWarning")
@pytest.mark.filterwarnings("ignore:.*:bayesgmm.exceptions.SamplingWarning")  # the chains are short
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ParetoWarning")  # 300 draws are few
def test_models_are_selected_by_posteriors_with_variances(monkeypatch):
    nuts = {"chains": 2, "draws": 150, "tune": 200}
    settings = {"criterion": "loo", "nuts": nuts, "random_state": 0, "progress": False}
    full = bayesgmm.select_components(X, 2, "diag", **settings)
    monkeypatch.setattr(bayesgmm.posterior.tree, "LARGEST", 0)
    assert_same(full.table, bayesgmm.select_components(X, 2, "diag", **settings).table)
