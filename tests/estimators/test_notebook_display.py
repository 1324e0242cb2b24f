"""What a notebook shows: scikit-learn's diagram, below it the fit; records as text and tables, nobody's markup."""

import re
from html import unescape

import numpy as np
import pytest
from sklearn import config_context
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bayesgmm import (
    BayesianGaussianMixture,
    GaussianMixture,
    average_models,
    check_model,
    diagnose,
    load,
    log_evidence,
    outlier_scores,
    select_components,
)
from bayesgmm.datasets import load_old_faithful

BAD = "<script>alert(1)</script>"
FAITHFUL = load_old_faithful().set_axis([BAD, "waiting"], axis="columns")


@pytest.fixture(scope="module")
def em():
    return GaussianMixture(2, random_state=1).fit(FAITHFUL)


@pytest.fixture(scope="module")
def bayes():
    return BayesianGaussianMixture(2, random_state=1, progress=False).fit(FAITHFUL)


def shown(value) -> str:
    """The HTML that a notebook takes."""
    bundle = getattr(value, "_repr_mimebundle_", None)
    return bundle()["text/html"] if bundle else value._repr_html_()


# ---- estimators


def test_em_shows_the_diagram_and_the_fit(em) -> None:
    html = shown(em)
    assert "sk-top-container" in html
    assert f"log-likelihood {em.log_likelihood_:.2f}, BIC {em.bic():.2f}; {em.starts_.n_best_reached} of" in html
    assert f"<td>{em.weights_[0]:.3f}</td>" in html
    assert BAD not in html
    assert em._repr_html_().endswith(html.split("<strong>The mixture found")[1])


def test_a_posterior_shows_the_diagram_and_the_fit(bayes) -> None:
    html = shown(bayes)
    assert "sk-top-container" in html
    assert "4 chains of 1,000 draws." in html
    assert "Verdict: converged" in html
    assert f"<td>{bayes.weights_[0]:.3f} (" in html
    assert BAD not in html


def test_showing_a_posterior_does_not_make_its_model(bayes, monkeypatch) -> None:
    def made(_fit: object) -> None:
        raise AssertionError

    monkeypatch.setattr(type(bayes), "model", property(made))
    assert "sk-estimator" in bayes._repr_html_()


def test_print_the_notebook_and_a_loaded_fit_say_the_same(em, bayes, tmp_path) -> None:
    for fit in (em, bayes):
        printed = str(fit)
        assert max(map(len, printed.splitlines())) <= 80
        assert "has 2 clusters in 272 rows" in printed
        html = unescape(re.sub("<[^>]+>", " ", shown(fit)))
        assert [word for word in printed.split() if word.strip(",.") not in html] == []
        fit.save(tmp_path / "fit.nc", overwrite=True)
        again = load(tmp_path / "fit.nc")
        assert str(again) == printed
        assert repr(again) == repr(fit)
        assert repr(again) != str(again)


def test_print_is_made_anew_after_another_fit() -> None:
    model = GaussianMixture(1, random_state=0).fit(FAITHFUL)
    first = str(model)
    assert str(model.fit(FAITHFUL[:100])) != first
    assert "100 rows" in str(model)
    assert str(GaussianMixture(1)) == repr(GaussianMixture(1))


@pytest.mark.parametrize("model", [GaussianMixture(2), BayesianGaussianMixture(2)])
def test_before_the_fit_there_is_scikit_learns_diagram_only(model) -> None:
    assert "sk-top-container" in shown(model)
    assert "<td>0" not in shown(model).split("</style>")[-1]
    assert "overflow-x:auto" not in shown(model)


@pytest.mark.draws
def test_components_that_are_not_identified_are_not_tabulated() -> None:
    X = np.random.default_rng(0).normal(size=(60, 1))
    fit = BayesianGaussianMixture(3, covariance_type="tied", random_state=1, progress=False).fit(X)
    assert "not identified" in shown(fit)
    assert "mean of x0" not in shown(fit)


def test_a_mixture_that_was_set_by_hand_shows_its_components() -> None:
    model = GaussianMixture(1)
    model.weights_, model.means_, model.precisions_cholesky_ = np.ones(1), np.array([[7.5]]), np.ones((1, 1, 1))
    assert "<td>7.5</td>" in shown(model)
    model.weights_ = "nonsense"
    assert model._found_or_nothing() == ""


def test_scikit_learns_settings_are_kept(em) -> None:
    with config_context(display="text"):
        assert "text/html" not in em._repr_mimebundle_()
        assert not hasattr(em, "_repr_html_")
    assert "GaussianMixture" in shown(make_pipeline(StandardScaler(), em))


# ---- records


def test_a_verdict(bayes) -> None:
    assert shown(diagnose(bayes)).startswith("<p>Verdict: converged</p>")


def test_a_selection_has_every_model_in_its_table() -> None:
    found = select_components(FAITHFUL, [1, 2], covariance_types=["full", "tied"], random_state=0, progress=False)
    html = shown(found)
    assert "The best model by BIC" in html
    assert html.count("<tr>") == 1 + len(found.table)


def test_evidences_and_averages(bayes) -> None:
    found = log_evidence(bayes, random_state=0)
    assert str(found.bridge) in shown(found)
    assert f"{found.log_evidence:.5g}" in shown(average_models([bayes], random_state=0))


def test_checks_and_outliers(em) -> None:
    checked = check_model(em, FAITHFUL, n_replicates=39, random_state=0, progress=False)
    outliers = outlier_scores(em, FAITHFUL, random_state=0, progress=False)
    for found in (checked, outliers):
        assert found.findings[0] in shown(found).replace("&#x27;", "'")
        assert BAD not in shown(found)
