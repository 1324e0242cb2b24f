"""Short summaries: sizes, profiles and lines are those of plain computations, and fit a terminal."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pretend_posterior import em_fit, pretend_posterior

from bayesgmm import GaussianMixture, diagnose
from bayesgmm.datasets import load_old_faithful
from bayesgmm.diagnostics import CONVERGED, NOT_MIXED, verdict
from bayesgmm.overview import RowClusters, overview_of, overview_of_em, row_clusters, row_partition
from bayesgmm.overview.messages import VERDICTS, Step
from bayesgmm.overview.posterior_overview import _next_step
from bayesgmm.overview.short_summary import profiles

FAITHFUL = load_old_faithful()


def test_differences_are_those_of_all_rows() -> None:
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(90, 3)), np.repeat([0, 1, 1], 30)
    X[labels == 1] += [3.0, 0.0, -1.0]
    parts = [X[labels == k] for k in range(2)]
    means, sds = np.array([part.mean(axis=0) for part in parts]), np.array([part.std(axis=0) for part in parts])
    found = profiles(np.array([1 / 3, 2 / 3]), means, sds, names=["a", "b", "c"], n_rows=90)
    for k, (apart, told) in enumerate(found):
        np.testing.assert_allclose(apart, (means[k] - X.mean(axis=0)) / X.std(axis=0))
        assert float(told[0].split()[1]) == pytest.approx(means[k, 0], abs=0.05)
        assert f"({abs(apart[0]):.1f} sd {'above' if k else 'below'})" in told[0]
        assert not any(text.startswith("b ") for text in told)


def test_a_cluster_that_differs_in_its_spread_only_says_so() -> None:
    shares, means = np.array([0.5, 0.5]), np.zeros((2, 2))
    told = [text for _, text in profiles(shares, means, np.array([[1, 1], [1, 9.0]]), names=["a", "b"], n_rows=50)]
    assert "sd of b 1.4 times" not in told[1][0]
    assert "sd of b 0.2 times theirs" in told[0][0]
    alike = profiles(shares, means, np.ones((2, 2)), names=["a", "b"], n_rows=50)
    assert alike[0][1] == ("like all rows",)


def test_the_summary_of_em_is_that_of_its_parameters() -> None:
    fit = GaussianMixture(2, random_state=0).fit(FAITHFUL)
    proba = fit.predict_proba(FAITHFUL)
    rows = RowClusters(np.arange(272), FAITHFUL.to_numpy(), proba.argmax(axis=1), proba.max(axis=1))
    errors = fit.standard_errors(FAITHFUL).weights
    found = overview_of_em(fit, list(FAITHFUL.columns), rows=rows, errors=errors)
    assert [cluster.n_rows for cluster in found.clusters] == np.bincount(fit.predict(FAITHFUL)).tolist()
    assert found.uncertain == int((proba.max(axis=1) < 0.9).sum())
    for cluster, weight, error in zip(found.clusters, fit.weights_, errors, strict=True):
        assert cluster.share == pytest.approx(weight)
        assert cluster.upper - cluster.lower == pytest.approx(2 * 1.598 * error, rel=1e-3)


@pytest.fixture(scope="module")
def tree():
    return pretend_posterior(FAITHFUL, em_fit(FAITHFUL, 2), draws=60)


def test_components_that_are_identified_are_the_clusters(tree) -> None:
    found = overview_of(tree, None, diagnose(tree))
    weights = tree["posterior"]["weights"]
    assert [cluster.share for cluster in found.clusters] == pytest.approx(weights.mean(("chain", "draw")).to_numpy())
    lower, upper = np.quantile(weights.to_numpy().reshape(-1, 2), [0.055, 0.945], axis=0)
    assert [cluster.lower for cluster in found.clusters] == pytest.approx(lower)
    assert [cluster.upper for cluster in found.clusters] == pytest.approx(upper)
    rows = row_clusters(tree)
    assert sum(cluster.n_rows for cluster in found.clusters) == len(rows.labels) == 272
    assert found.uncertain == int((rows.proba < 0.9).sum())
    assert max(map(len, str(found).splitlines())) <= 80


def test_a_partition_counts_the_drawn_clusters_that_match_its_own(tree) -> None:
    found = row_partition(tree)
    labels = found.estimate.labels
    clusters = found.clusters()
    for c in range(found.estimate.n_clusters):
        for draw in (0, 17, 59):
            values, counts = np.unique(found.drawn[draw][labels == c], return_counts=True)
            assert found.sizes()[draw, c] == (found.drawn[draw] == values[counts.argmax()]).sum()
    agree = [
        np.mean([row[i] == np.bincount(row[labels == labels[i]]).argmax() for row in found.drawn]) for i in (0, 5, 243)
    ]
    np.testing.assert_allclose(clusters.proba[[0, 5, 243]], agree)


def test_the_next_step_follows_verdict_then_shape_then_rows(tree) -> None:
    found = diagnose(tree)
    converged, poor = (replace(found, verdict=each, next_steps=("this",)) for each in (CONVERGED, NOT_MIXED))
    assert _next_step(poor, 0.01, 3) == "this"
    assert _next_step(converged, None, 3) == Step.CHECK
    assert _next_step(converged, 0.01, 3) == Step.SELECT
    assert _next_step(converged, 0.5, 3) == Step.UNCERTAIN
    assert _next_step(converged, 0.5, 0) == "this"


def test_every_verdict_says_what_it_means() -> None:
    known = {value for name, value in vars(verdict).items() if name.isupper() and isinstance(value, str)}
    assert known
    assert known <= set(VERDICTS)


def test_many_clusters_of_long_names_fit_a_terminal() -> None:
    rng = np.random.default_rng(1)
    X = pd.DataFrame(rng.normal(size=(400, 3)) + 9.0 * rng.integers(0, 20, (400, 1)))
    X.columns = pd.Index([f"a feature with a name of many words, number {j}" for j in range(3)])
    printed = str(GaussianMixture(20, random_state=0, n_init=2, covariance_type="tied").fit(X))
    assert max(map(len, printed.splitlines())) <= 80
    assert "and 8 smaller ones" in printed
