"""`noise=` of `GaussianMixture`: what a fit says of noise, keeps in a file, and refuses."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from reference import load_data
from sklearn.base import clone

import bayesgmm
from bayesgmm import GaussianMixture, Prior, select_components
from bayesgmm.exceptions import InputError
from bayesgmm.style import DATA

TABLE = load_data("faithful_noise")
ROWS, TRUTH = TABLE[:, :2], TABLE[:, 2] == 1.0


@pytest.fixture(scope="module")
def fit():
    return GaussianMixture(3, covariance_type="tied", noise=True, random_state=0).fit(ROWS)


def test_weights_and_that_of_noise_sum_to_one(fit):
    assert fit.weights_.shape == (3,)
    assert fit.weights_.sum() + fit.noise_weight_ == pytest.approx(1.0)
    assert fit.mixture_.components.weights.sum() == pytest.approx(1.0)
    plain = GaussianMixture(2, n_init=1, random_state=0).fit(ROWS)
    assert (plain.noise_weight_, plain.noise_) == (0.0, None)


def test_labels_and_probabilities_have_noise_apart(fit):
    proba, labels = fit.predict_proba(ROWS), fit.predict(ROWS)
    assert proba.shape == (len(ROWS), 4)
    np.testing.assert_array_equal(labels == -1, proba.argmax(axis=1) == 3)
    np.testing.assert_array_equal(fit.fit_predict(ROWS), labels)
    assert proba[:, 3].mean() == pytest.approx(fit.noise_weight_, abs=1e-3)


def test_outside_the_box_there_is_no_noise(fit):
    far = fit.noise_.upper[None] + 100.0
    assert fit.predict_proba(far)[0, 3] == 0.0
    assert fit.predict(far)[0] >= 0


def test_scores_and_criteria_count_noise(fit):
    assert fit.score(ROWS) * len(ROWS) == pytest.approx(fit.log_likelihood_)
    assert fit.lower_bound_ == pytest.approx(fit.score(ROWS))
    assert fit.n_parameters() == 13
    assert fit.bic() == pytest.approx(fit.bic(ROWS)) == -2.0 * fit.log_likelihood_ + 13 * np.log(len(ROWS))
    assert (fit.starts_.kinds[0], len(fit.starts_.kinds)) == ("sparsest 0.2", fit.starts_.n_starts)


def test_a_saved_fit_is_the_same(fit, tmp_path):
    fit.save(tmp_path / "fit.nc")
    again = bayesgmm.load(tmp_path / "fit.nc")
    np.testing.assert_array_equal(again.predict_proba(ROWS), fit.predict_proba(ROWS))
    assert again.bic() == fit.bic()
    assert [each.noise_weight for each in again.starts_.optima] == [each.noise_weight for each in fit.starts_.optima]


def test_files_of_clusters_say_minus_one_for_noise(fit, tmp_path):
    fit.predict_to(tmp_path / "rows.parquet", ROWS, proba=True)
    found = pd.read_parquet(tmp_path / "rows.parquet")
    np.testing.assert_array_equal(found["cluster"], fit.predict(ROWS))
    np.testing.assert_array_equal(found["p3"], fit.predict_proba(ROWS)[:, 3])


def test_a_checkpoint_repeats_the_fit(tmp_path):
    fits = [clone(GaussianMixture(2, noise=True, random_state=1)).fit(ROWS, checkpoint=tmp_path) for _ in range(2)]
    np.testing.assert_array_equal(fits[0].means_, fits[1].means_)
    assert len(list(tmp_path.iterdir())) > 0


def test_parameters_that_are_set_count(fit):
    changed = clone(fit).fit(ROWS)
    changed.weights_, changed.noise_weight_ = np.array([0.3, 0.3, 0.2]), 0.2
    assert changed.mixture_.noise_weight == 0.2
    changed.noise_weight_ = 0.5
    with pytest.raises(InputError, match="weights_ that are positive and sum to one"):
        changed.predict(ROWS)


def test_a_fit_goes_on_from_the_last_one_and_from_given_means():
    warm = GaussianMixture(2, noise=True, random_state=0, warm_start=True).fit(ROWS)
    before = warm.log_likelihood_
    assert warm.fit(ROWS).log_likelihood_ >= before - 1e-9
    assert warm.starts_.kinds == ("given",)
    given = GaussianMixture(2, noise=True, means_init=[[4.3, 80.0], [2.0, 54.0]], random_state=0).fit(ROWS)
    np.testing.assert_allclose(given.means_[::-1], warm.means_, atol=0.05)


def test_a_larger_volume_leaves_less_noise(fit):
    wide = GaussianMixture(3, covariance_type="tied", noise=3.0 * fit.noise_.volume, random_state=0).fit(ROWS)
    assert wide.noise_weight_ < fit.noise_weight_
    assert wide.n_parameters() == 12


def test_the_summary_tells_the_share_of_noise(fit):
    assert "3 clusters in 340 rows; noise is 24% of the rows" in str(fit)


def test_models_with_noise_are_compared_by_em():
    found = select_components(ROWS, [2, 3], ["tied"], noise=True, random_state=0, progress=False)
    assert found.table.loc[("tied", 3), "n_parameters"] == 13
    assert found.best.noise_weight_ > 0.1
    with pytest.raises(InputError, match="criteria by EM for models with noise"):
        select_components(ROWS, [2], ["tied"], criterion="loo", noise=True, progress=False)


REFUSED = {
    "standard errors": lambda fit: fit.standard_errors(ROWS),
    "the bootstrap": lambda fit: fit.bootstrap(ROWS, progress=False),
    "marginal and conditional": lambda fit: fit.marginal(0),
    "marginal and conditional mixtures": lambda fit: fit.predict_features(ROWS[:, :1], target=1),
    "scikit-learn's mixture": lambda fit: fit.to_sklearn(),
    "merging components": lambda fit: bayesgmm.merge_components(fit, ROWS),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_fits_with_noise_do_not_offer_is_refused_by_name(fit, what):
    with pytest.raises(InputError, match=f"a fit without noise for {what}"):
        REFUSED[what](fit)


def test_of_fits_with_noise_rows_are_scored_plotted_and_reported(fit, tmp_path):
    found = bayesgmm.outlier_scores(fit, ROWS, random_state=0, progress=False)
    expected = fit.mixture_.log_prob(ROWS)
    np.testing.assert_allclose(found.table["score"], -expected, rtol=1e-9)
    sampled, _ = fit.mixture_.sample(200_000, rng=np.random.default_rng(0))
    density = np.sort(fit.mixture_.log_prob(sampled))
    tail = np.searchsorted(density, expected, side="right") / len(density)
    assert np.abs(found.table["tail_probability"] - tail).max() < 0.03
    n_noise = int((fit.predict(ROWS) == -1).sum())
    (panel,) = fit.plot(ROWS).viz["figure"].item().axes
    grey = [each for each in panel.collections if np.allclose(each.get_edgecolors()[:, :3], to_rgb(DATA))]
    assert sum(len(each.get_offsets()) for each in grey) == n_noise
    fit.report(tmp_path / "report.html", ROWS)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{n_noise} (noise) rows" in text
    assert "has the weight" in text


@pytest.mark.parametrize(
    ("settings", "given", "what"),
    [
        ({"missing": "marginalize"}, {}, "missing='marginalize'"),
        ({}, {"labels": np.full(len(ROWS), -1)}, "labels"),
        ({}, {"X": "rows.parquet"}, "rows that are not in memory"),
    ],
)
def test_what_does_not_go_with_noise_is_refused_before_any_work(settings, given, what):
    with pytest.raises(InputError, match=f"no {what} with a noise component"):
        GaussianMixture(2, noise=True, **settings).fit(**{"X": ROWS, **given})


def test_a_prior_of_the_concentration_is_refused():
    prior = Prior.malsiner_walli(ROWS, concentration=Prior.gamma(10.0, 20.0))
    with pytest.raises(InputError, match="a concentration in numbers with a noise component"):
        GaussianMixture(2, noise=True, prior=prior).fit(ROWS)
