"""EM beside the posterior on real data: agreement where there should be some, reasons where there is none."""

import warnings

import numpy as np
import pytest
from reference import load_data
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score

from bayesgmm import BayesianGaussianMixture, GaussianMixture, compare, partition_loss
from bayesgmm.comparison.messages import REASONS
from bayesgmm.exceptions import InputError, SamplingWarning

pytestmark = pytest.mark.draws

FAITHFUL, GALAXIES = load_data("faithful"), load_data("galaxies")
IRIS, SPECIES = load_iris(return_X_y=True)


def fitted_by_em(X, k, **settings):
    return GaussianMixture(k, random_state=0, tol=1e-9, **settings).fit(X)


def sampled(X, k, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        return BayesianGaussianMixture(k, random_state=1, progress=False, **{"draws": 400} | settings).fit(X)


@pytest.fixture(scope="module")
def em():
    return fitted_by_em(FAITHFUL, 2)


@pytest.fixture(scope="module")
def bayes():
    return sampled(FAITHFUL, 2)


@pytest.fixture(scope="module")
def faithful(em, bayes):
    return compare(em, bayes, bootstrap=60, random_state=0)


@pytest.fixture(scope="module")
def galaxies():
    return compare(fitted_by_em(GALAXIES, 3), sampled(GALAXIES, 3), GALAXIES, bootstrap=0)


# ---- where they agree


def test_old_faithful_agrees(faithful) -> None:
    assert not faithful.parameters["flag"].any()
    assert (faithful.parameters["why"] == "").all()
    assert faithful.partitions.ari == 1.0
    assert faithful.partitions.vi == 0.0
    assert abs(faithful.elpd_difference) < 2.0 * faithful.elpd_difference_se
    assert "agree in all 12 parameters" in str(faithful)
    assert set(faithful.predictive["method"]) == {
        "leave-one-out by exact refits",
        "leave-one-out by importance sampling (PSIS)",
    }


def test_the_table_repeats_what_each_fit_says_by_itself(faithful, em, bayes) -> None:
    errors = em.standard_errors(FAITHFUL)
    lower, _ = errors.intervals(faithful.ci_prob)
    row = faithful.parameters.loc["covariances[1, x0, x1]"]
    assert row["em"] == pytest.approx(em.covariances_[1, 0, 1])
    assert row["em_se"] == pytest.approx(errors.covariances[1, 0, 1])
    assert row["em_lb"] == pytest.approx(lower.covariances[1, 0, 1])
    draws = bayes.posterior_["posterior"]["covariances"].to_numpy()[..., 1, 0, 1]
    assert row["bayes"] == pytest.approx(draws.mean())
    assert row["bayes_sd"] == pytest.approx(draws.std(ddof=1))
    assert row["bayes_lb"] == pytest.approx(np.quantile(draws, 0.055), rel=1e-3)
    assert row["difference"] == pytest.approx((row["em"] - row["bayes"]) / row["bayes_sd"])
    ratio = faithful.parameters["em_boot_se"] / faithful.parameters["em_se"]
    assert ratio.between(0.6, 1.7).all()


def test_each_row_left_out_is_a_fit_without_it(faithful) -> None:
    row = 3
    others = np.delete(FAITHFUL, row, axis=0)
    refit = fitted_by_em(others, 2)
    assert faithful.pointwise["em"][row] == pytest.approx(refit.score_samples(FAITHFUL[row : row + 1])[0], abs=1e-4)


def test_components_are_matched_whatever_their_numbers(em, bayes) -> None:
    start = em.mixture_.permute(np.array([1, 0]))
    turned = GaussianMixture(
        2,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
        tol=1e-9,
    ).fit(FAITHFUL)
    found = compare(turned, bayes, bootstrap=0, folds=3)
    assert found.components[["em", "bayes"]].to_numpy().tolist() == [[0, 1], [1, 0]]
    assert not found.parameters["flag"].any()
    assert found.partitions.ari == 1.0
    assert len(found.partitions.changed) == 0
    assert found.predictive.loc["em", "method"] == "3-fold cross-validation by refits"


# ---- where they do not


def test_small_components_of_galaxies_disagree_and_it_says_why(galaxies) -> None:
    flagged = galaxies.flagged
    assert "covariances[2, x0, x0]" in flagged.index
    assert "covariances[1, x0, x0]" not in flagged.index
    assert flagged.loc["covariances[2, x0, x0]", "why"].find("small component") >= 0
    assert flagged.loc["covariances[2, x0, x0]", "why"].find("skewed posterior") >= 0
    named = {reason for why in flagged["why"] for reason in why.split(", ")}
    assert named <= set(REASONS)
    assert "too few for the normal approximation" in str(galaxies)
    assert galaxies.components["reasons"].str.contains("small component").tolist() == [True, False, True]


@pytest.mark.slow
def test_iris_has_several_modes() -> None:
    found = compare(fitted_by_em(IRIS, 3), sampled(IRIS, 3), IRIS, bootstrap=0, classes=SPECIES)
    assert found.flagged["why"].str.contains("several modes").all()
    assert found.calibration.index.name == "in one cluster"
    assert "not identified" in str(found)
    assert found.reliability is None


# ---- two of a kind, and different K


def test_two_fits_by_em_and_classes(em) -> None:
    tied = fitted_by_em(IRIS, 3, covariance_type="tied")
    full = fitted_by_em(IRIS, 3)
    found = compare(full, tied, IRIS, bootstrap=0, classes=SPECIES)
    assert found.names == ("em_1", "em_2")
    assert found.flagged["why"].str.contains("model").any()
    a, b = full.predict(IRIS), tied.predict(IRIS)
    assert found.partitions.ari == pytest.approx(adjusted_rand_score(a, b))
    assert found.partitions.vi == pytest.approx(partition_loss(a, b), abs=1e-9)
    scores = found.reliability.scores
    assert scores.loc["em_1", "accuracy"] == pytest.approx(145 / 150)  # the published five errors of EM on Iris
    assert 0.0 < scores.loc["em_1", "brier"] < 0.1
    assert scores.loc["em_1", "confidence"] > 0.95


def test_equal_fits_by_em_do_not_differ(em) -> None:
    found = compare(em, em, FAITHFUL, bootstrap=0, folds=4, random_state=3)
    assert (found.parameters[["difference", "difference_lb", "difference_ub"]] == 0.0).all(axis=None)
    assert found.partitions.ari == 1.0
    assert found.partitions.changed_weight == 0.0


def test_two_posteriors(bayes) -> None:
    other = sampled(FAITHFUL, 2, covariance_type="tied")
    found = compare(bayes, other, bootstrap=0)
    assert found.names == ("bayes_1", "bayes_2")
    assert {"bayes_1_sd", "bayes_2_sd"} <= set(found.parameters)
    assert not np.isnan(found.elpd_difference)
    assert found.partitions.ari > 0.95


def test_different_numbers_of_components(bayes) -> None:
    found = compare(fitted_by_em(FAITHFUL, 3), bayes, FAITHFUL, bootstrap=0, folds=3)
    assert len(found.unmatched["em"]) == 1
    assert found.unmatched["bayes"] == ()
    assert len(found.components) == 2
    assert found.partitions.cross_table.shape == (3, 2)
    assert found.partitions.cross_table.to_numpy().sum() == len(FAITHFUL)
    assert np.isfinite(found.elpd_difference)
    assert "has no partner for component" in str(found)
    assert found.calibration.index.name == "in one cluster"


# ---- weights


def test_weights_are_rows_repeated() -> None:
    rows = FAITHFUL[::3]
    weights = np.resize([1.0, 2.0, 0.0, 3.0], len(rows))
    repeated = np.repeat(rows, weights.astype(int), axis=0)
    settings = {"n_components": 2, "random_state": 0, "tol": 1e-9}
    weighted = GaussianMixture(**settings).fit(rows, sample_weight=weights)
    tied = GaussianMixture(**settings, covariance_type="tied").fit(rows, sample_weight=weights)
    found = compare(weighted, tied, rows, sample_weight=weights, bootstrap=0)
    plain = [GaussianMixture(**settings, covariance_type=t).fit(repeated) for t in ("full", "tied")]
    same = compare(*plain, repeated, bootstrap=0)
    columns = ["em_1", "em_1_se", "em_2", "em_2_se"]
    np.testing.assert_allclose(found.parameters[columns], same.parameters[columns], rtol=1e-4, atol=1e-8)
    assert found.partitions.vi == pytest.approx(same.partitions.vi, abs=1e-9)
    np.testing.assert_allclose(found.predictive["elpd"], same.predictive["elpd"], rtol=1e-6)
    assert found.elpd_difference_se == pytest.approx(same.elpd_difference_se, rel=1e-4)


def test_weights_that_are_not_whole_have_no_leave_one_out() -> None:
    weights = np.resize([0.5, 1.5], len(FAITHFUL))
    em = GaussianMixture(2, random_state=0, tol=1e-9).fit(FAITHFUL, sample_weight=weights)
    model = BayesianGaussianMixture(2, draws=100, tune=200, init="best", random_state=1, progress=False)
    found = compare(em, model.fit(FAITHFUL, sample_weight=weights), bootstrap=0, folds=3)
    assert np.isnan(found.predictive.loc["bayes", "elpd"])
    assert np.isfinite(found.predictive.loc["em", "elpd"])
    assert "whole numbers" in str(found)
    found.plot()


# ---- refusals


def test_bad_input_is_told_before_any_work(em, bayes) -> None:
    refused = [
        (GaussianMixture(2), bayes, {}, "fit first"),
        (em, BayesianGaussianMixture(2), {}, "fit first"),
        (em, em, {}, "rows X"),
        (em, "posterior", {}, "fitted"),
        (em, bayes, {"X": FAITHFUL[::2]}, "same rows"),
        (em, bayes, {"X": FAITHFUL + 1.0}, "same rows"),
        (em, bayes, {"X": FAITHFUL[:, :1]}, "features"),
        (em, bayes, {"X": FAITHFUL, "sample_weight": np.full(len(FAITHFUL), 2.0)}, "weights"),
        (fitted_by_em(FAITHFUL[::2], 2), bayes, {}, "log-likelihood"),
        (fitted_by_em(FAITHFUL[:, :1], 2), bayes, {}, "features"),
        (em, bayes, {"bootstrap": 1}, "bootstrap"),
        (em, bayes, {"folds": 1}, "folds"),
        (em, bayes, {"classes": [0, 1]}, "classes"),
        (em, bayes, {"ci_prob": 89}, "ci_prob"),
    ]
    for first, second, settings, words in refused:
        with pytest.raises(InputError, match=words):
            compare(first, second, **settings)


# ---- figures of rows


def test_the_figure_and_the_page(faithful, galaxies, tmp_path) -> None:
    for number, found in enumerate((faithful, galaxies)):
        figure = found.plot()
        figure.savefig(tmp_path / f"{number}.png")
        assert len(figure.axes) == 4
        bold = [text.get_text() for text in figure.axes[0].get_yticklabels() if text.get_fontweight() == "bold"]
        assert set(bold) == set(found.flagged.index)
        assert "<table" in found._repr_html_()
