"""Outlier scores: calibrated for rows of a mixture, and outliers that do not vouch for themselves."""

import numpy as np
import pandas as pd
import pytest
from monte_carlo import FALSE_ALARM, binomial_range, bound
from pretend_posterior import em_fit, pretend_posterior
from scipy.stats import false_discovery_control, kstest

from bayesgmm import GaussianMixture, Mixture, loo, outlier_scores
from bayesgmm.datasets import load_old_faithful
from bayesgmm.exceptions import InputError

pytestmark = pytest.mark.filterwarnings("ignore:The chains disagree")  # two short ones of a Gibbs sampler
FRAME = pd.DataFrame(np.asarray(load_old_faithful()), columns=["eruptions", "waiting"])
TRUTH = Mixture([0.4, 0.6], [[0.0, 0.0], [6.0, 2.0]], [[[1.0, 0.5], [0.5, 1.0]], [[2.0, -0.4], [-0.4, 0.5]]])
DEPENDENT = 4  # rows of a data set share a fit: the variance of a count is so many times the binomial one at most
SILENT = {"random_state": 1, "progress": False}


@pytest.fixture(scope="module")
def tree():
    return pretend_posterior(FRAME, em_fit(FRAME, 2), draws=150)


@pytest.fixture(scope="module")
def simulated():
    """Tail probabilities of rows left out, and of new ones, in twelve data sets of a known mixture."""
    rng = np.random.default_rng(8)
    old, new = [], []
    for _ in range(12):
        frame = pd.DataFrame(TRUTH.sample(150, rng=rng)[0], columns=["a", "b"])
        fit = pretend_posterior(frame, em_fit(frame, 2), draws=80)
        old.append(outlier_scores(fit, **SILENT).table["tail_probability"].to_numpy())
        X_new = TRUTH.sample(150, rng=rng)[0]
        new.append(outlier_scores(fit, X_new=X_new, **SILENT).table["tail_probability"].to_numpy())
    return {"old": np.array(old), "new": np.array(new)}


@pytest.mark.draws
@pytest.mark.parametrize("rows", ["old", "new"])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_false_alarms_come_at_the_stated_rate(simulated, rows, rate):
    tail = simulated[rows].ravel()
    low, high = binomial_range(len(tail) // DEPENDENT, rate)
    assert low <= (tail <= rate).sum() / DEPENDENT <= high


@pytest.mark.draws
def test_tail_probabilities_are_uniform(simulated):
    assert kstest(simulated["old"].ravel(), "uniform").pvalue > FALSE_ALARM


@pytest.mark.draws
@pytest.mark.parametrize("rule", ["all", "discoveries"])
def test_over_all_rows_hardly_a_data_set_has_a_false_alarm(simulated, rule):
    tail = simulated["old"]
    adjusted = {
        "all": 1 - (1 - tail) ** tail.shape[1],
        "discoveries": np.array([false_discovery_control(own) for own in tail]),
    }[rule]
    n_false = (adjusted <= 0.1).any(axis=1).sum()
    assert n_false <= binomial_range(len(tail), 0.1)[1]


@pytest.mark.draws
def test_planted_outliers_are_found_and_little_else(tree):
    planted = pd.DataFrame([[3.0, 97.0], [1.2, 90.0], [5.6, 40.0]], columns=FRAME.columns)
    frame = pd.concat([FRAME, planted], ignore_index=True)
    fit = pretend_posterior(frame, em_fit(frame, 2), draws=150)
    found = outlier_scores(fit, over="discoveries", **SILENT)
    assert len(found.outliers) <= 5
    assert "outliers" in str(found)
    assert set(found.outliers[:3]) == {272, 273, 274}


def test_scores_of_rows_left_out_are_those_of_loo(tree):
    found = outlier_scores(tree, **SILENT)
    expected = loo(tree)
    np.testing.assert_allclose(-found.table["score"], expected.elpd_i, atol=0.01)


@pytest.mark.draws
def test_em_is_plugged_in():
    fit = GaussianMixture(2, random_state=0).fit(FRAME)
    found = outlier_scores(fit, FRAME, **SILENT)
    np.testing.assert_allclose(found.table["score"], -fit.score_samples(FRAME))
    new = outlier_scores(fit, X_new=[[4.3, 80.0], [3.0, 97.0]], over="all", **SILENT)
    assert new.table["outlier"].tolist() == [False, True]
    assert "plugged in" in str(found)
    assert "rows are not left out" in str(found)
    assert "not left out" not in str(new)
    scores = -fit.mixture_.log_prob(fit.mixture_.sample(50_000, rng=np.random.default_rng(0))[0])
    assert (scores > found.threshold).mean() == pytest.approx(0.01, rel=bound() * 0.07)  # 5,000 simulated rows


def test_a_row_with_a_weight_is_scored_once(tree):
    weighted = tree.copy()
    weights = np.ones(len(FRAME))
    weights[:10] = 2
    constants = tree["constant_data"].to_dataset()
    weighted["constant_data"] = constants.assign(row_weights=("obs", weights))
    assert len(outlier_scores(weighted, **SILENT).table) == len(FRAME)
    weighted["constant_data"] = constants.assign(row_weights=("obs", weights + 0.5))
    with pytest.raises(InputError, match="whole numbers"):
        outlier_scores(weighted, **SILENT)


def test_what_is_refused(tree):
    with pytest.raises(InputError, match="over one of"):
        outlier_scores(tree, over="rows", **SILENT)
    with pytest.raises(InputError, match="false_alarms"):
        outlier_scores(tree, false_alarms=0.0, **SILENT)
    with pytest.raises(InputError, match="X_new with 2 features"):
        outlier_scores(tree, X_new=[[1.0]], **SILENT)
    with pytest.raises(InputError, match="does not keep"):
        outlier_scores(GaussianMixture(2, random_state=0).fit(FRAME), **SILENT)


def test_figures(tree):
    found = outlier_scores(tree, **SILENT)
    figure = found.plot()
    assert len(figure.axes) == 2
    assert found.plot(ax=figure.axes[0]) is figure
    single = pretend_posterior(FRAME[["waiting"]], em_fit(FRAME[["waiting"]], 2))
    assert outlier_scores(single, **SILENT).plot().axes[1].get_ylabel() == "score"
