"""Models side by side: the table repeats the estimators, mclust's choices are found, spikes never win."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from em_cases import SHARED, corrected_diabetes, shared_data
from reference import EVERY_FAMILY, load_data

from bayesgmm import BayesianGaussianMixture, GaussianMixture, Prior, select_components
from bayesgmm.exceptions import (
    DegeneracyWarning,
    DegenerateComponentError,
    FewRowsWarning,
    InterruptedWarning,
    SamplingWarning,
    SingleBestStartWarning,
)
from bayesgmm.mixture import covariance_family
from bayesgmm.selection import select
from bayesgmm.selection.criteria import CRITERIA, Score

pytestmark = pytest.mark.draws

FAITHFUL, ACIDITY = load_data("faithful"), load_data("acidity")
FEW = {"draws": 100, "tune": 60, "chains": 2, "init": "best", "n_init": 2}


@pytest.fixture(scope="module")
def faithful():
    return select_components(FAITHFUL, range(1, 5), ["full", "tied", "spherical"], random_state=1)


# ---- criteria by EM


def test_a_winner_with_more_parameters_than_rows_says_so() -> None:
    rng = np.random.default_rng(0)
    X = np.repeat([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]], [8, 8, 8, 7], axis=0)
    X = X + rng.normal(size=(31, 3))
    with pytest.warns(FewRowsWarning, match="The best model, full with K = 4: .* 39 free parameters"):
        found = select_components(X, [1, 4], ["full"], criterion="aic", random_state=0, n_init=3)
    assert found.winner == ("full", 4)
    assert "more parameters than rows" in found.table.loc[("full", 4), "note"]
    assert found.table.loc[("full", 1), "note"] == ""
    assert "About the best model: more parameters than rows." in str(found)


def test_every_row_is_repeated_by_the_estimator(faithful) -> None:
    for family, k in [("full", 2), ("spherical", 3), ("tied", 4)]:
        fit = GaussianMixture(k, covariance_type=family, random_state=1).fit(FAITHFUL)
        row = faithful.table.loc[(family, k)]
        expected = [fit.log_likelihood_, fit.n_parameters(), fit.bic(), fit.aic(), fit.icl()]
        assert list(row[["log_likelihood", "n_parameters", "bic", "aic", "icl"]]) == expected
        assert (row["n_best_reached"], row["n_starts"]) == (fit.starts_.n_best_reached, fit.starts_.n_starts)
        np.testing.assert_array_equal(faithful.fits[family, k].means_, fit.means_)


def test_the_winner_has_the_least_bic_and_the_record_says_so(faithful) -> None:
    assert faithful.winner == ("tied", 3)
    assert faithful.best is faithful.fits["tied", 3]
    assert faithful.table["bic"].idxmin() == faithful.winner
    assert faithful.table["bic"].min() == pytest.approx(2314.30, abs=0.01)
    assert str(faithful).startswith("The best model by BIC is tied with K = 3: 2314.30 (lower is better); 5 of ")
    assert faithful.winner_by("icl") == ("full", 2)
    assert "ICL prefers full with K = 2" in str(faithful)
    assert repr(faithful) == str(faithful)


@pytest.mark.parametrize("criterion", ["aic", "icl"])
def test_the_first_criterion_decides(faithful, criterion) -> None:
    found = select_components(FAITHFUL, range(1, 5), ["full", "tied", "spherical"], criterion=criterion, random_state=1)
    assert found.winner == faithful.winner_by(criterion) == found.table[criterion].idxmin()
    pd.testing.assert_frame_equal(found.table, faithful.table)


def test_families_by_default_and_by_other_names() -> None:
    quick = {"n_init": 1, "random_state": 1}
    two = select_components(FAITHFUL, 2, **quick).table.index.get_level_values(0)
    assert tuple(two) == EVERY_FAMILY
    assert list(select_components(ACIDITY, 2, **quick).fits) == [("full", 2), ("tied", 2)]
    assert list(select_components(ACIDITY, [2, 1, 2], ["E", "V", "tied"], **quick).fits) == [
        ("tied", 1),
        ("tied", 2),
        ("full", 1),
        ("full", 2),
    ]


def test_weights_are_repetitions_and_threads_change_nothing(faithful) -> None:
    times = np.random.default_rng(0).integers(0, 3, len(FAITHFUL))
    settings = {"n_components": [2, 3], "covariance_types": ["full", "tied"], "random_state": 1}
    weighted = select_components(FAITHFUL, sample_weight=times, n_jobs=2, **settings).table
    repeated = select_components(np.repeat(FAITHFUL, times, axis=0), **settings).table
    pd.testing.assert_frame_equal(weighted, repeated)


def test_a_prior_is_the_estimators() -> None:
    found = select_components(FAITHFUL, [2], "tied", prior="fraley_raftery", random_state=1)
    fit = GaussianMixture(2, covariance_type="tied", prior="fraley_raftery", random_state=1).fit(FAITHFUL)
    assert found.table.loc[("tied", 2), "bic"] == fit.bic()
    assert found.best.prior_.kappa == 0.01


def test_one_model_under_two_names_is_no_contender() -> None:
    X = np.random.default_rng(0).normal(size=(50, 2))
    found = select_components(X, [1, 2], ["full", "tied"], random_state=1)
    assert found.winner.n_components == 1
    assert "tied with K = 1" not in str(found)


def test_close_models_are_named() -> None:
    found = select_components(ACIDITY, [2, 3, 4], criterion="bic", random_state=1)
    behind = found.table["bic"] - found.table["bic"].min()
    close = [c for c in behind.index[behind <= 2.0] if c != found.winner]
    text = str(found)
    assert ("no more than 2 behind (Kass & Raftery 1995)" in text) == bool(close)
    assert "The next best is" in text or close


def test_the_most_components_tried_is_no_answer() -> None:
    found = select_components(FAITHFUL, [1, 2], "full", random_state=1)
    assert "The best model has the most components of those compared: try more." in found.findings


def test_criteria_by_em_load_neither_arviz_nor_a_sampler() -> None:
    code = (
        "import sys, numpy as np, bayesgmm\n"
        "bayesgmm.select_components(np.arange(9.0)[:, None], [1], random_state=1)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"pymc", "pytensor", "nutpie", "arviz", "arviz_base", "arviz_stats", "xarray", "matplotlib"}


# ---- mclust's choices


QUICK = ["faithful", "acidity"]
OTHERS = [
    "enzyme",
    "iris",
    "thyroid",
    "diabetes_corrected",
    "diabetes",
    "banknote",
    "galaxies",
    "geyser_mass",
    "wine",
    "crabs",
]
OTHERS += ["baudry_ex4_1", "baudry_test1d"]


def reference(name: str) -> dict:
    path = SHARED / "reference" / "mclust" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path.name} lies beside the project's own checkout only")
    return json.loads(path.read_text())


def rows_of(name: str) -> np.ndarray:
    if name == "diabetes_corrected":
        return corrected_diabetes()
    return (
        shared_data(name)
        if name in ("banknote", "geyser_mass", "wine", "crabs") or "baudry" in name
        else load_data(name)
    )


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SingleBestStartWarning")
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_mclusts_choice_is_found_or_beaten_by_a_higher_likelihood(name) -> None:
    mclust = reference(name)
    found = select_components(rows_of(name), range(1, 7), random_state=0)
    fits = {(covariance_family(f["model"]).name, f["G"]): f for f in mclust["fits"] if f["status"] == "ok"}
    for criterion in ("bic", "icl"):  # ICL may fall as EM converges, which mclust's EM does not do to the end
        theirs, winner = mclust[f"best_by_{criterion}"], found.winner_by(criterion)
        choice = found.table.loc[winner]
        if winner == (covariance_family(theirs["model"]).name, theirs["G"]):
            assert choice["log_likelihood"] >= theirs["loglik"] - 1e-3
            assert criterion != "bic" or choice["bic"] <= theirs["bic"] + 2e-3
        else:
            assert choice[criterion] < theirs[criterion]
            assert winner not in fits or choice["log_likelihood"] > fits[winner]["loglik"] + 1e-3


# ---- what must not win, and what must be told


def with_a_spike() -> np.ndarray:
    """A cloud and, far away, twenty equal rows, on which one of two components sits down."""
    return np.concatenate([np.random.default_rng(0).normal(0, 1, (60, 2)), np.full((20, 2), 30.0)])


def test_a_spike_is_left_out_though_its_bic_is_the_least() -> None:
    found = select_components(with_a_spike(), [1, 2], "full", random_state=1)
    assert found.table.loc[("full", 2), "degenerate"]
    assert found.table["bic"].idxmin() == ("full", 2)
    assert found.winner == ("full", 1)
    assert "Left out, since every start ended in a collapsed or emptied component: full with K = 2." in found.findings
    assert "Judged by value alone, full with K = 2 would have won; its value measures reg_covar" in str(found)
    assert "every start ended" in found.table.loc[("full", 2), "note"]


def test_if_all_are_spikes_the_winner_warns() -> None:
    with pytest.warns(DegeneracyWarning, match="The best model, full with K = 2: Every start"):
        found = select_components(with_a_spike(), 2, "full", random_state=1)
    assert found.winner == ("full", 2)
    assert "About the best model: every start ended" in str(found)


def test_a_model_that_cannot_be_scored_does_not_lose_the_others() -> None:
    few = {**FEW, "draws": 10, "chains": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        found = select_components(FAITHFUL, [1, 2], criterion=["bic", "loo"], nuts=few, random_state=1)
    assert found.table["loo"].isna().all()
    assert found.table["note"].str.contains("LOO: Expected at least").all()
    assert found.winner == ("full", 2)


def test_a_model_that_breaks_down_has_a_row_and_no_fit(monkeypatch) -> None:
    whole = GaussianMixture.fit

    def breaks(self, *args, **kwargs):
        if self.n_components == 2:
            raise DegenerateComponentError("broke", figures={})
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(GaussianMixture, "fit", breaks)
    found = select_components(FAITHFUL, [1, 2], "full", random_state=1)
    assert found.winner == ("full", 1)
    assert list(found.fits) == [("full", 1)]
    assert np.isnan(found.table.loc[("full", 2), "bic"])
    assert found.table.loc[("full", 2), "note"] == "EM broke down from every start"
    with pytest.raises(DegenerateComponentError, match="No model could be compared: EM broke down"):
        select_components(FAITHFUL, [2], "full", random_state=1)


def test_only_the_winners_doubts_are_warnings(monkeypatch) -> None:
    whole = GaussianMixture.fit

    def doubtful(self, *args, **kwargs):
        warnings.warn("found once", SingleBestStartWarning, stacklevel=2)
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(GaussianMixture, "fit", doubtful)
    with pytest.warns(SingleBestStartWarning, match="The best model, full with K = 2: found once") as caught:
        found = select_components(FAITHFUL, [1, 2], "full", random_state=1)
    assert len(caught) == 1
    assert set(found.table["note"]) == {"the best optimum was found once only"}


def test_an_interruption_keeps_what_is_there(monkeypatch) -> None:
    def until_three(task, candidate, checkpoint):
        if candidate.n_components == 3:
            raise KeyboardInterrupt
        return result(task, candidate, checkpoint)

    result = select._result
    monkeypatch.setattr(select, "_result", until_three)
    with pytest.warns(InterruptedWarning, match="the 2 models fitted so far"):
        found = select_components(FAITHFUL, [1, 2, 3], "full", random_state=1)
    assert list(found.fits) == [("full", 1), ("full", 2)]
    with pytest.raises(KeyboardInterrupt):
        select_components(FAITHFUL, [3], "full", random_state=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"criterion": "dic"}, "criterion one of bic, aic, icl, evidence, loo; got 'dic'"),
        ({"criterion": []}, "at least one criterion"),
        ({"n_components": []}, "at least one of n_components"),
        ({"n_components": [0, 1]}, "n_components an integer, at least 1"),
        ({"n_components": [1, 500]}, "n_components = 500"),
        ({"n_components": 2.5}, "n_components"),
        ({"covariance_types": []}, "at least one of covariance_types"),
        ({"covariance_types": ["full", "round"]}, "covariance_type one of"),
        ({"covariance_types": "V"}, "one feature with covariance_type"),
        ({"prior": "flat"}, "prior, or one of weakly_informative"),
        ({"prior": Prior.weakly_informative(ACIDITY)}, "a prior for 2 features"),
        ({"sample_weight": np.full(272, 0.5), "criterion": "loo"}, "whole numbers in sample_weight"),
        ({"random_state": -1}, "random_state an integer"),
        ({"n_init": 0}, "n_init"),
        ({"nuts": {"draws": 0}, "criterion": "loo"}, "draws"),
    ],
)
def test_bad_input_is_refused_before_any_work(settings, message, monkeypatch) -> None:
    monkeypatch.setattr(GaussianMixture, "fit", lambda *args, **kwargs: pytest.fail("it has begun"))
    with pytest.raises(ValueError, match=message):
        select_components(FAITHFUL, **{"n_components": [1, 2], **settings})


# ---- Bayesian criteria


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ParetoWarning")  # few draws
def test_bayesian_criteria_stand_beside_those_of_em() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        found = select_components(
            FAITHFUL, [1, 2], criterion=["evidence", "loo"], nuts=FEW, random_state=1, progress=False
        )
    assert found.winner == ("full", 2)
    fit = BayesianGaussianMixture(2, random_state=1, progress=False, **FEW)
    assert found.best.get_params() == fit.get_params()
    assert found.table["evidence"].is_monotonic_increasing
    assert (found.table[["evidence_se", "loo_se"]] > 0).all(axis=None)
    for name in ("evidence", "loo"):
        again = CRITERIA[name].score(found.best, 1)
        assert found.table.loc[("full", 2), name] == again.value
    bayesian = ["evidence", "evidence_se", "evidence_per_doubling", "loo", "loo_se"]
    assert list(found.table.columns[2:10]) == ["bic", "aic", "icl", *bayesian]
    assert "The next best is full with K = 1" in str(found)
    assert " ± " in str(found)


def test_a_difference_of_leave_one_out_has_the_error_of_its_parts() -> None:
    rng = np.random.default_rng(0)
    common, better = rng.normal(0, 5, 100), rng.normal(0.3, 0.1, 100)
    best, other = Score((common + better).sum(), 50.0, common + better), Score(common.sum(), 50.0, common)
    gap, se = CRITERIA["loo"].behind(other, best)
    assert gap == pytest.approx(better.sum())
    assert se == pytest.approx(10 * better.std(ddof=1))
    assert not CRITERIA["loo"].is_close(gap, se)
    gap, se = CRITERIA["evidence"].behind(Score(-12.0, 0.3), Score(-10.0, 0.4))
    assert (gap, se) == (2.0, 0.5)
    assert not CRITERIA["evidence"].is_close(gap, se)
    assert CRITERIA["evidence"].is_close(2.0, 1.1)
    assert CRITERIA["bic"].is_close(*CRITERIA["bic"].behind(Score(101.9), Score(100.0)))
