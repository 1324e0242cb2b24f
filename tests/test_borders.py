"""Bad input at every public entry: an `InputError`, before any work, that says what came and what to do.

The tables below list every public name and every parameter: one that is missing here fails.
"""

import datetime as dt
import inspect
import pickle
import re
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from pretend_posterior import pretend_posterior
from sklearn.utils import _param_validation

import bayesgmm
from bayesgmm import BayesianGaussianMixture, GaussianMixture, Mixture, MixtureClassifier, Prior, build_model
from bayesgmm._compiled.shapes import ShapeError
from bayesgmm.estimators._validation import InvalidParameterError
from bayesgmm.exceptions import DegenerateComponentError, InformationError, InputError, NotIdentifiedError

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
ROWS = np.concatenate([RNG.normal(0.0, 1.0, (15, 2)), RNG.normal(8.0, 1.5, (15, 2))])
FRAME = pd.DataFrame(ROWS, columns=["a", "b"])
LABELS = np.tile(np.repeat([0, 1], 15), (6, 1))
PRIOR = Prior.weakly_informative(ROWS)
SHORT = {"draws": 20, "tune": 30, "chains": 2, "init": "best", "n_init": 2, "random_state": 0, "progress": False}


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The fits that all entries share, and a file of rows."""
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    FRAME.to_parquet(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bayes = BayesianGaussianMixture(2, **SHORT).fit(ROWS)
        tree = bayesgmm.relabel(bayes, progress=False)
    em = GaussianMixture(2, n_init=2, random_state=0).fit(ROWS)
    named = GaussianMixture(2, n_init=2).fit(FRAME)
    classifier = MixtureClassifier().fit(ROWS, LABELS[0])
    return SimpleNamespace(em=em, named=named, bayes=bayes, tree=tree, classifier=classifier, path=path)


# ---- every entry that takes rows: what feeds it

type Entry = Callable[[SimpleNamespace, Any], Any]

_QUIET = {"progress": False}
OF_ROWS: dict[str, Entry] = {
    "GaussianMixture.fit": lambda f, X: GaussianMixture(2).fit(X),
    "GaussianMixture.fit_predict": lambda f, X: GaussianMixture(2).fit_predict(X),
    "GaussianMixture.fit with a prior": lambda f, X: GaussianMixture(2, prior="weakly_informative").fit(X),
    "GaussianMixture.predict": lambda f, X: f.em.predict(X),
    "GaussianMixture.predict_proba": lambda f, X: f.em.predict_proba(X),
    "GaussianMixture.score_samples": lambda f, X: f.em.score_samples(X),
    "GaussianMixture.score": lambda f, X: f.em.score(X),
    "GaussianMixture.predict_to": lambda f, X: f.em.predict_to("unwritten.parquet", X),
    "GaussianMixture.score_samples_to": lambda f, X: f.em.score_samples_to("unwritten.parquet", X),
    "GaussianMixture.plot": lambda f, X: f.em.plot(X),
    "GaussianMixture.predict_features": lambda f, X: f.em.predict_features(X, target=1),
    "GaussianMixture.impute": lambda f, X: f.em.impute(X),
    "GaussianMixture.aic": lambda f, X: f.em.aic(X),
    "GaussianMixture.bic": lambda f, X: f.em.bic(X),
    "GaussianMixture.icl": lambda f, X: f.em.icl(X),
    "GaussianMixture.standard_errors": lambda f, X: f.em.standard_errors(X),
    "GaussianMixture.bootstrap": lambda f, X: f.em.bootstrap(X, **_QUIET),
    "GaussianMixture.report": lambda f, X: f.em.report("unwritten.html", X),
    "MixtureClassifier.fit": lambda f, X: MixtureClassifier().fit(X, LABELS[0]),
    "MixtureClassifier.predict": lambda f, X: f.classifier.predict(X),
    "MixtureClassifier.predict_proba": lambda f, X: f.classifier.predict_proba(X),
    "MixtureClassifier.score": lambda f, X: f.classifier.score(X, LABELS[0]),
    "BayesianGaussianMixture.fit": lambda f, X: BayesianGaussianMixture(2, **SHORT).fit(X),
    "BayesianGaussianMixture.predict_to": lambda f, X: f.bayes.predict_to("unwritten.parquet", X),
    "BayesianGaussianMixture.score_samples_to": lambda f, X: f.bayes.score_samples_to("unwritten.parquet", X),
    "BayesianGaussianMixture.fit_predict": lambda f, X: BayesianGaussianMixture(2, **SHORT).fit_predict(X),
    "BayesianGaussianMixture.predict": lambda f, X: f.bayes.predict(X),
    "BayesianGaussianMixture.predict_proba": lambda f, X: f.bayes.predict_proba(X),
    "BayesianGaussianMixture.score_samples": lambda f, X: f.bayes.score_samples(X),
    "BayesianGaussianMixture.score": lambda f, X: f.bayes.score(X),
    "BayesianGaussianMixture.membership": lambda f, X: f.bayes.membership(X),
    "BayesianGaussianMixture.predict_features": lambda f, X: f.bayes.predict_features(X, target=1),
    "BayesianGaussianMixture.impute": lambda f, X: f.bayes.impute(X),
    "BayesianGaussianMixture.robust_weights": lambda f, X: f.bayes.robust_weights(X),
    "Mixture.log_prob": lambda f, X: f.em.mixture_.log_prob(X),
    "Mixture.responsibilities": lambda f, X: f.em.mixture_.responsibilities(X),
    "Prior.weakly_informative": lambda f, X: Prior.weakly_informative(X),
    "Prior.fraley_raftery": lambda f, X: Prior.fraley_raftery(X, 2),
    "Prior.malsiner_walli": lambda f, X: Prior.malsiner_walli(X),
    "Prior.richardson_green": lambda f, X: Prior.richardson_green(X),
    "average_models.score_samples": lambda f, X: averaged(f).score_samples(X),
    "bootstrap_lrt": lambda f, X: bayesgmm.bootstrap_lrt(X, 1, **_QUIET),
    "build_model": lambda f, X: build_model(X, 2),
    "check_model": lambda f, X: bayesgmm.check_model(f.em, X, **_QUIET),
    "combine_modes": lambda f, X: bayesgmm.combine_modes(f.bayes, X),
    "compare": lambda f, X: bayesgmm.compare(f.em, f.bayes, X, **_QUIET),
    "compare_relabellings": lambda f, X: bayesgmm.compare_relabellings(f.bayes, X, **_QUIET),
    "compute_log_likelihood": lambda f, X: bayesgmm.compute_log_likelihood(f.bayes, X),
    "credible_ball": lambda f, X: bayesgmm.credible_ball(LABELS[0], f.bayes, X),
    "diagnose": lambda f, X: bayesgmm.diagnose(f.bayes, X),
    "estimate_partition": lambda f, X: bayesgmm.estimate_partition(f.bayes, X, **_QUIET),
    "impute": lambda f, X: bayesgmm.impute(f.em.mixture_, X),
    "log_evidence": lambda f, X: bayesgmm.log_evidence(f.bayes, X),
    "loo": lambda f, X: bayesgmm.loo(f.bayes, X, **_QUIET),
    "merge_components": lambda f, X: bayesgmm.merge_components(f.em, X),
    "merge_components of a posterior": lambda f, X: bayesgmm.merge_components(f.bayes, X),
    "membership_uncertainty": lambda f, X: bayesgmm.membership_uncertainty(f.bayes, X),
    "occupied_clusters": lambda f, X: bayesgmm.occupied_clusters(f.bayes, X),
    "outlier_scores": lambda f, X: bayesgmm.outlier_scores(f.em, X, **_QUIET),
    "outlier_scores of new rows": lambda f, X: bayesgmm.outlier_scores(f.bayes, X_new=X, **_QUIET),
    "plot_clusters": lambda f, X: bayesgmm.plot_clusters(f.bayes, X),
    "plot_components": lambda f, X: bayesgmm.plot_components(f.bayes, X),
    "plot_density": lambda f, X: bayesgmm.plot_density(f.bayes, X),
    "plot_membership_uncertainty": lambda f, X: bayesgmm.plot_membership_uncertainty(f.bayes, X),
    "plot_mixing": lambda f, X: bayesgmm.plot_mixing(f.bayes, X),
    "plot_pairs": lambda f, X: bayesgmm.plot_pairs(f.bayes, X),
    "plot_similarity": lambda f, X: bayesgmm.plot_similarity(f.bayes, X),
    "posterior_predictive": lambda f, X: bayesgmm.posterior_predictive(f.bayes, X),
    "predict_features": lambda f, X: bayesgmm.predict_features(f.bayes, X, target=1),
    "prior_predictive": lambda f, X: bayesgmm.prior_predictive(PRIOR, 2, X=X),
    "relabel": lambda f, X: bayesgmm.relabel(f.bayes, X, **_QUIET),
    "representative_partitions": lambda f, X: bayesgmm.representative_partitions(f.bayes, X, **_QUIET),
    "sample_labels": lambda f, X: bayesgmm.sample_labels(f.bayes, X),
    "select_components": lambda f, X: bayesgmm.select_components(X, 2, **_QUIET),
    "similarity_matrix": lambda f, X: bayesgmm.similarity_matrix(f.bayes, X),
    "to_arviz": lambda f, X: bayesgmm.to_arviz(f.bayes, X),
    "power_scaling_sensitivity": lambda f, X: bayesgmm.power_scaling_sensitivity(f.bayes, X),
}
# Public names that take no rows; what they take is in the tables below, or in the tests of their modules.
WITHOUT_ROWS = {
    "Diagnosis",
    "ModelCheck",
    "MvNormalMixture",
    "OutlierScores",
    "Source",
    "calibrate",
    "component_summary",
    "condition",
    "datasets",
    "exceptions",
    "load",
    "marginal",
    "mode_mean",
    "mode_mean_range",
    "open_source",
    "partition_loss",
    "restore_labels",
    "style",
}


def averaged(f: SimpleNamespace) -> Any:
    evidence = SimpleNamespace(log_evidence=0.0, se=0.1)
    return bayesgmm.average_models([f.bayes], evidences=[evidence])


def with_value(value: Any, dtype: Any = None) -> Any:
    rows = ROWS.astype(dtype) if dtype else ROWS.copy()
    rows[3, 1] = value
    return rows


# What is fed, and what the message says.
BAD_ROWS: dict[str, tuple[Any, str]] = {
    "NaN": (
        with_value(np.nan),
        r"NaN.*1 missing in 'x1' \(1 of 30 rows .*missing='marginalize'.*impute",
    ),
    "infinity": (with_value(-np.inf), "infinity.*1 infinite in 'x1'"),
    "gaps in columns": (FRAME.where(FRAME < 8.0), r"\d+ missing in 'a' and \d+ missing in 'b' \(\d+ of 30 rows"),
    "pandas.NA": (FRAME.astype("Float64").mask(FRAME > 8.0), "missing in 'a'"),
    "nullable integers": (FRAME.round().astype("Int64").mask(FRAME > 8.0), "missing in 'a'"),
    "objects with None": (with_value(None, object), "1 missing in 'x1'"),
    "polars nulls": (pl.DataFrame({"a": [1.0, None] * 15, "b": ROWS[:, 1]}), "15 missing in 'a'"),
    "arrow nulls": (pa.table({"a": [1.0, None] * 15, "b": ROWS[:, 1]}), "15 missing in 'a'"),
    "masked": (np.ma.masked_greater(ROWS, 9.0), r"\d+ masked values"),
    "sparse matrix": (scipy.sparse.csr_matrix(ROWS), "sparse.*toarray"),
    "sparse array": (scipy.sparse.coo_array(ROWS), "sparse.*toarray"),
    "text column": (FRAME.assign(site="north"), "'site' .*not numeric.*Categories"),
    "category column": (
        FRAME.assign(site=pd.Categorical(["n", "s"] * 15)),
        "'site' .*not numeric.*Categories",
    ),
    "numbered categories": (FRAME.assign(site=pd.Categorical([1, 2] * 15)), "'site' .*categorical.*not numeric"),
    "date column": (FRAME.assign(day=pd.Timestamp("2020-01-01")), "'day' .*datetime.*not numeric"),
    "duration column": (FRAME.assign(wait=pd.Timedelta("1s")), "'wait' .*duration.*not numeric"),
    "true and false": (FRAME.assign(flag=True), r"'flag' .*boolean.*astype\(float\)"),
    "list column": (FRAME.assign(parts=[[1.0, 2.0]] * 30), "'parts' .*not numeric"),
    "polars list column": (pl.DataFrame({"a": [[1.0]] * 30, "b": ROWS[:, 1]}), "'a' .list.*not numeric"),
    "struct column": (pl.DataFrame({"a": [{"u": 1.0}] * 30, "b": ROWS[:, 1]}), "'a' .struct.*not numeric"),
    "arrow struct": (pa.table({"a": [{"u": 1.0}] * 30, "b": ROWS[:, 1]}), "'a' .struct.*not numeric"),
    "complex column": (FRAME.assign(z=1j), "'z' .*not numeric"),
    "doubled names": (FRAME.set_axis(["a", "a"], axis=1), "distinct column names; got .*'a'"),
    "lazy frame": (pl.LazyFrame({"a": ROWS[:, 0], "b": ROWS[:, 1]}), "lazy"),
    "complex": (ROWS + 1j, "Complex data not supported"),
    "text": (ROWS.astype(str), "text"),
    "bytes": (ROWS.astype("S"), "text"),
    "objects with text": (with_value("1.5", object), "numeric"),
    "objects with flags": (with_value(True, object), "numeric"),
    "dates": (np.full((30, 2), np.datetime64("2020-01-01")), "dates"),
    "durations": (np.full((30, 2), np.timedelta64(1, "s")), "durations"),
    "date objects": (np.full((30, 2), dt.date(2020, 1, 1), dtype=object), "numeric"),
    "flags": (ROWS > 4.0, r"true and false.*astype\(float\)"),
    "records": (np.array([(1.0, 2.0)] * 30, dtype=[("a", float), ("b", float)]), "records.*DataFrame"),
    "list of dicts": ([{"a": 1.0, "b": 2.0}] * 30, "dict.*DataFrame"),
    "ragged lists": ([[1.0, 2.0], [3.0]], "numeric"),
    "one axis": (ROWS[:, 0], "Expected 2D array, got 1D.*reshape"),
    "one axis of a frame": (FRAME["a"].rename(None), "Expected 2D array, got 1D.*reshape"),
    "three axes": (ROWS[None], "Expected 2D array, got 3D"),
    "a number": (3.0, "Expected 2D array, got 0D"),
    "a path": ("nowhere.csv", "rows not in memory: 'nowhere.csv'.*sample|no file at nowhere.csv"),
    "no rows": (ROWS[:0], r"0 sample\(s\)"),
    "no columns": (ROWS[:, :0], r"0 feature\(s\)"),
    "frame without rows": (FRAME[:0], r"0 sample\(s\)"),
    "frame without columns": (FRAME[[]], r"0 feature\(s\)"),
    "an empty list": ([], "Expected 2D array"),
    "too large": (with_value(1e101), r"below 1e\+100 .*larger ones in 'x1', up to 1e\+101"),
    "too large a whole number": (with_value(10**400, object), "infin"),
    "too large in longdouble": (ROWS.astype(np.longdouble) * np.longdouble("1e400"), "infin|below 1e"),
}


WITH_GAPS = {
    "NaN",
    "gaps in columns",
    "pandas.NA",
    "nullable integers",
    "objects with None",
    "polars nulls",
    "arrow nulls",
}
TAKE_GAPS = [name for name in OF_ROWS if name.endswith("impute")]


def wrong_answers(call: Callable[[Any], Any], bad: dict[str, tuple[Any, str]]) -> dict[str, str]:
    """What happened where the right error did not: empty if all is refused as it should be."""
    wrong = {}
    for name, (value, message) in bad.items():
        try:
            call(value)
        except InputError as error:
            if not re.search(message, str(error)) or "\n" in str(error):
                wrong[name] = str(error)
        except Exception as error:
            wrong[name] = repr(error)
        else:
            wrong[name] = "accepted"
    return wrong


@pytest.mark.parametrize("entry", OF_ROWS)
def test_bad_rows_are_refused_by_name(entry: str, fits: SimpleNamespace) -> None:
    bad = {name: rows for name, rows in BAD_ROWS.items() if not (entry in TAKE_GAPS and name in WITH_GAPS)}
    assert wrong_answers(lambda rows: OF_ROWS[entry](fits, rows), bad) == {}


@pytest.mark.parametrize("entry", TAKE_GAPS)
def test_gaps_are_filled_where_that_is_asked_for(entry: str, fits: SimpleNamespace) -> None:
    for name in ("NaN", "objects with None", "polars nulls", "arrow nulls"):
        found = OF_ROWS[entry](fits, BAD_ROWS[name][0])
        assert np.isfinite(found.draws).all()
        assert isinstance(
            found.mean, np.ndarray if isinstance(BAD_ROWS[name][0], np.ndarray) else type(BAD_ROWS[name][0])
        )


def test_every_public_name_is_in_a_table() -> None:
    of_rows = {name.partition(".")[0].partition(" ")[0] for name in OF_ROWS}
    assert sorted(of_rows | WITHOUT_ROWS) == bayesgmm.__all__
    assert not of_rows & WITHOUT_ROWS


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture, MixtureClassifier])
def test_every_method_that_takes_rows_is_in_the_table(estimator: type) -> None:
    methods = {
        f"{estimator.__name__}.{name}"
        for name, method in inspect.getmembers(estimator, inspect.isfunction)
        if not name.startswith("_") and "X" in inspect.signature(method).parameters
    }
    assert methods - set(OF_ROWS) == set()


# ---- rows that are right, in whatever form

WHOLE = ROWS.round()
GOOD_ROWS: dict[str, Any] = {
    "lists": WHOLE.tolist(),
    "tuples": tuple(map(tuple, WHOLE)),
    "Fortran": np.asfortranarray(WHOLE),
    "strided": np.repeat(WHOLE, 2, axis=0)[::2],
    "backwards": WHOLE[::-1][::-1],
    "big-endian": WHOLE.astype(">f8"),
    "half": WHOLE.astype(np.float16),
    "single": WHOLE.astype(np.float32),
    "longdouble": WHOLE.astype(np.longdouble),
    "int8": WHOLE.astype(np.int8),
    "int64": WHOLE.astype(np.int64),
    "objects": WHOLE.astype(object),
    "decimals": [[Decimal(int(value)) for value in row] for row in WHOLE],
    "fractions": np.array([[Fraction(int(value)) for value in row] for row in WHOLE], dtype=object),
    "read-only": np.frombuffer(WHOLE.tobytes()).reshape(WHOLE.shape),
    "nothing masked": np.ma.masked_greater(WHOLE, 1e9),
    "pandas": pd.DataFrame(WHOLE),
    "pandas, nullable": pd.DataFrame(WHOLE, columns=["x0", "x1"]).astype("Float64"),
    "pandas, arrow": pd.DataFrame(WHOLE, columns=["x0", "x1"]).astype(pd.ArrowDtype(pa.float64())),
    "pandas, sparse": pd.DataFrame(WHOLE, columns=["x0", "x1"]).astype(pd.SparseDtype("float64", 0.0)),
    "pandas, mixed": pd.DataFrame({"x0": WHOLE[:, 0].astype(np.int16), "x1": WHOLE[:, 1].astype(np.float32)}),
    "polars": pl.DataFrame({"x0": WHOLE[:, 0], "x1": WHOLE[:, 1]}),
    "pyarrow": pa.table({"x0": WHOLE[:, 0], "x1": WHOLE[:, 1]}),
}


@pytest.mark.parametrize("form", GOOD_ROWS)
@pytest.mark.filterwarnings("ignore:X (has|does not have).*feature names:UserWarning")
def test_the_same_rows_in_any_form_give_the_same(form: str, fits: SimpleNamespace) -> None:
    X = GOOD_ROWS[form]
    single = form == "single"
    for ask in (fits.em.predict_proba, fits.em.score_samples, fits.bayes.score_samples):
        np.testing.assert_allclose(ask(X), ask(WHOLE), rtol=1e-5 if single else 1e-12)
    np.testing.assert_array_equal(Prior.weakly_informative(X).scale, Prior.weakly_informative(WHOLE).scale)
    refit, fit = (GaussianMixture(2, n_init=2, random_state=0).fit(rows) for rows in (X, WHOLE))
    np.testing.assert_allclose(refit.means_, fit.means_, rtol=1e-6 if single else 1e-12)


@pytest.mark.parametrize("convert", [lambda f: f, pl.from_pandas, pa.Table.from_pandas], ids=["pandas", "polars", "pa"])
def test_columns_are_those_of_the_fit_in_its_order(convert: Callable[..., Any], fits: SimpleNamespace) -> None:
    own, turned, other = (convert(frame) for frame in (FRAME, FRAME[["b", "a"]], FRAME.set_axis(["a", "c"], axis=1)))
    fit = GaussianMixture(2, n_init=2, random_state=0).fit(own)
    assert list(fit.feature_names_in_) == ["a", "b"]
    fit.predict(own)
    with pytest.raises(InputError, match="order"):
        fit.predict(turned)
    with pytest.raises(InputError, match="feature names"):
        fit.score_samples(other)
    named = pretend_posterior(FRAME, fits.em.mixture_, draws=5)
    bayesgmm.membership_uncertainty(named, own)
    with pytest.raises(InputError, match=r"in this order; got 'b' and 'a'.*order the columns"):
        bayesgmm.membership_uncertainty(named, turned)
    with pytest.raises(InputError, match="'a' and 'b', in this order; got 'a' and 'c'"):
        bayesgmm.sample_labels(named, other)
    with pytest.raises(InputError, match="in this order"):
        bayesgmm.outlier_scores(fits.named, turned, progress=False)


@pytest.mark.parametrize("size", [1e15, 9e99])
def test_a_far_row_beside_those_of_a_fit_is_shown_and_judged_or_refused(size: float, fits: SimpleNamespace) -> None:
    X = ROWS.copy()
    X[3] = size, -size
    for name in ("plot_density", "plot_pairs", "plot_components", "plot_clusters", "membership_uncertainty"):
        OF_ROWS[name](fits, X)
    found = OF_ROWS["check_model"](fits, X).gaussianity
    assert np.isfinite(found).all(axis=None)
    assert found["p"].min() < 0.02
    with pytest.raises(InputError, match=r"rows that the posterior was sampled with; got log density .* of row 3"):
        OF_ROWS["log_evidence"](fits, X)


@pytest.mark.parametrize(
    "error",
    [
        InputError(expected="a", got="b", hint="c", alternatives=["d"]),
        InvalidParameterError("a"),
        ShapeError("x (n)", [3]),
        DegenerateComponentError("a", figures={"b": 1.0}),
        NotIdentifiedError(["a"], hint="b"),
        InformationError("a", figures={"b": 1.0}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_back_from_other_processes(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("size", [1e8, 1e30, 1e100])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_far_rows_have_a_component_and_a_density(size: float, dtype: type, fits: SimpleNamespace) -> None:
    X = np.clip(size, None, np.finfo(dtype).max / 2) * np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    for model in (fits.em, fits.bayes):
        proba, density = model.predict_proba(X.astype(dtype)), model.score_samples(X.astype(dtype))
        np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-6)
        assert not np.isnan(density).any()
        if dtype is np.float64 or size < 1e18:
            assert np.isfinite(density).all()
    largest = [fits.em.mixture_.covariances[k] for k in range(2)]
    lengths = [[x / size @ np.linalg.solve(cov, x / size) for cov in largest] for x in X.astype(float)]
    np.testing.assert_array_equal(fits.em.predict(X.astype(dtype)), np.argmin(lengths, axis=1))


def test_single_precision_keeps_what_it_can_hold(fits: SimpleNamespace) -> None:
    fit = GaussianMixture(2, n_init=2, random_state=0, covariance_type="diag").fit((ROWS * 1e30).astype(np.float32))
    assert np.isfinite(fit.covariances_).all()
    np.testing.assert_allclose(fit.means_ / 1e30, fits.em.means_, atol=0.1)


# ---- weights

OF_WEIGHTS: dict[str, Entry] = {
    "GaussianMixture.fit": lambda f, v: GaussianMixture(2).fit(ROWS, sample_weight=v),
    "GaussianMixture.fit_predict": lambda f, v: GaussianMixture(2).fit_predict(ROWS, sample_weight=v),
    "GaussianMixture.score": lambda f, v: f.em.score(ROWS, sample_weight=v),
    "GaussianMixture.aic": lambda f, v: f.em.aic(ROWS, sample_weight=v),
    "GaussianMixture.bic": lambda f, v: f.em.bic(ROWS, sample_weight=v),
    "GaussianMixture.icl": lambda f, v: f.em.icl(ROWS, sample_weight=v),
    "GaussianMixture.standard_errors": lambda f, v: f.em.standard_errors(ROWS, v),
    "GaussianMixture.bootstrap": lambda f, v: f.em.bootstrap(ROWS, v, **_QUIET),
    "GaussianMixture.report": lambda f, v: f.em.report("unwritten.html", ROWS, v),
    "MixtureClassifier.fit": lambda f, v: MixtureClassifier().fit(ROWS, LABELS[0], sample_weight=v),
    "MixtureClassifier.score": lambda f, v: f.classifier.score(ROWS, LABELS[0], sample_weight=v),
    "BayesianGaussianMixture.fit": lambda f, v: BayesianGaussianMixture(2, **SHORT).fit(ROWS, sample_weight=v),
    "BayesianGaussianMixture.fit_predict": lambda f, v: BayesianGaussianMixture(2, **SHORT).fit_predict(
        ROWS, sample_weight=v
    ),
    "BayesianGaussianMixture.score": lambda f, v: f.bayes.score(ROWS, sample_weight=v),
    "Prior.weakly_informative": lambda f, v: Prior.weakly_informative(ROWS, sample_weight=v),
    "Prior.fraley_raftery": lambda f, v: Prior.fraley_raftery(ROWS, 2, sample_weight=v),
    "Prior.malsiner_walli": lambda f, v: Prior.malsiner_walli(ROWS, sample_weight=v),
    "Prior.richardson_green": lambda f, v: Prior.richardson_green(ROWS[:, :1], sample_weight=v),
    "check_model": lambda f, v: bayesgmm.check_model(f.em, ROWS, sample_weight=v, **_QUIET),
    "compare": lambda f, v: bayesgmm.compare(f.em, f.bayes, ROWS, sample_weight=v, **_QUIET),
    "merge_components": lambda f, v: bayesgmm.merge_components(f.em, ROWS, sample_weight=v),
    "outlier_scores": lambda f, v: bayesgmm.outlier_scores(f.em, ROWS, sample_weight=v, **_QUIET),
    "select_components": lambda f, v: bayesgmm.select_components(ROWS, 2, sample_weight=v, **_QUIET),
}
# Weighted means: totals do not matter.
RELATIVE = {"GaussianMixture.score", "BayesianGaussianMixture.score", "MixtureClassifier.score"}
ONES = np.ones(30)
BAD_WEIGHTS: dict[str, tuple[Any, str]] = {
    "normalised": (ONES / 30, r"30 rows that sum to 1, as one observation.*sample_weight \* len\(X\)"),
    "negative": (-ONES, "sample_weight .*non-negative.*smallest one of -1"),
    "all zero": (0 * ONES, "sample_weight .*all zero"),
    "NaN": (np.where(np.arange(30) == 3, np.nan, 1.0), "sample_weight .*1 of 30 values missing"),
    "infinite": (np.where(np.arange(30) == 3, np.inf, 1.0), "sample_weight .*1 of 30 values missing or infinite"),
    "masked": (np.ma.masked_equal(np.arange(30.0), 3.0), "sample_weight .*1 masked"),
    "huge": (1e300 * ONES, r"sample_weight .*at most 2\*\*53"),
    "huge together": (2**49 * ONES, r"sample_weight .*at most 2\*\*53"),
    "a column": (ONES[:, None], r"sample_weight of shape \(30,\).*np.ravel"),
    "too few": (ONES[:-1], r"sample_weight of shape \(30,\).*\(29,\)"),
    "one number": (2.0, r"sample_weight of shape \(30,\)"),
    "flags": (ONES > 0, "sample_weight .*true and false"),
    "text": (["1"] * 30, "sample_weight .*text"),
    "complex": (ONES + 0j, "sample_weight .*complex"),
    "gaps": (pd.Series([1, None] * 15, dtype="Int64"), "sample_weight .*15 of 30 values missing"),
}


@pytest.mark.parametrize("entry", OF_WEIGHTS)
def test_bad_weights_are_refused(entry: str, fits: SimpleNamespace) -> None:
    bad = {name: told for name, told in BAD_WEIGHTS.items() if not (entry in RELATIVE and name == "normalised")}
    assert wrong_answers(lambda weights: OF_WEIGHTS[entry](fits, weights), bad) == {}


def test_every_entry_that_takes_weights_is_in_the_table() -> None:
    functions = [(name, getattr(bayesgmm, name)) for name in bayesgmm.__all__]
    for owner in (GaussianMixture, BayesianGaussianMixture, MixtureClassifier, Prior):
        functions += [(f"{owner.__name__}.{name}", method) for name, method in inspect.getmembers(owner, callable)]
    takers = {
        name
        for name, function in functions
        if inspect.isroutine(function)
        and not name.partition(".")[2].startswith(("_", "set_"))
        and "sample_weight" in inspect.signature(function).parameters
    }
    assert takers == set(OF_WEIGHTS)


def test_a_total_below_the_number_of_components_is_told_as_one() -> None:
    for model in (GaussianMixture(3), BayesianGaussianMixture(3, **SHORT)):
        with pytest.raises(InputError, match=r"n_samples = 2 \(the sum of sample_weight\)"):
            model.fit(ROWS, sample_weight=ONES / 15)


def test_criteria_and_scores_of_weighted_rows_are_those_of_rows_repeated(fits: SimpleNamespace) -> None:
    counts = np.arange(30) % 4
    repeated = np.repeat(ROWS, counts, axis=0)
    fit = GaussianMixture(2, n_init=2, random_state=0).fit(ROWS, sample_weight=counts)
    for name in ("aic", "bic", "icl"):
        of_fit = getattr(fit, name)()
        assert getattr(fit, name)(ROWS, sample_weight=counts) == pytest.approx(of_fit, rel=1e-12)
        assert getattr(fit, name)(repeated) == pytest.approx(of_fit, rel=1e-12)
        with pytest.raises(InputError, match="rows X; got sample_weight without X"):
            getattr(fit, name)(sample_weight=counts)
    for model in (fit, fits.bayes):
        assert model.score(ROWS, sample_weight=counts) == pytest.approx(model.score(repeated), rel=1e-12)
        assert model.score(ROWS, sample_weight=counts / 1e9) == pytest.approx(model.score(repeated), rel=1e-12)


def test_bic_of_a_histogram() -> None:
    x = np.random.default_rng(5)
    x = np.r_[x.normal(-2, 0.6, 400), x.normal(1.5, 1, 600)]
    counts, edges = np.histogram(x, 60)
    middle = (edges[1:] + edges[:-1])[:, None] / 2
    fit = GaussianMixture(2, random_state=0).fit(middle, sample_weight=counts)
    assert fit.bic(middle, sample_weight=counts) == pytest.approx(3714.28, abs=0.01)
    shares = counts / counts.sum()
    with pytest.raises(InputError, match="sample_weight"):
        GaussianMixture(2).fit(middle, sample_weight=shares)
    as_told = GaussianMixture(2, random_state=0).fit(middle, sample_weight=shares * len(middle))
    np.testing.assert_allclose(as_told.weights_, fit.weights_, atol=1e-3)


# ---- parameters

_NUMBERS_OF = [True, 0, -1, 2.0, 2.5, float("nan"), "2", 10**30, [2], None]
_SWITCHES = [1, 0, "yes", None, float("nan")]
_SHARES = [0.0, -0.1, 1.5, float("nan"), float("inf"), "0.5", True, [0.5], None]
_REALS = [-1.0, float("nan"), float("inf"), "1", True, 1j, [1.0], None]
_SEEDS = [True, -1, 1.5, float("nan"), "seed"]
_NAMES = ["nonsense", 5, True, None, ["nonsense"]]
_OBJECTS = [5, "nonsense", True, {}]
_NO_NONE = [value for value in _NAMES if value is not None]
_FEATURES = [99, -1, "c", ["c"], [0, 0], [True], [], 1.5, {}]
_FROM_ZERO = [value for value in _NUMBERS_OF if value is True or value != 0]
_LABELS = [1.0, LABELS[0][:-1], LABELS[0] + 5, LABELS[0] - 0.5, ["a"] * 30]
BAD_VALUES: dict[str, list[Any]] = {
    **dict.fromkeys(("chains", "draws", "max_n", "max_rows", "min_size", "n_components", "n_init"), _NUMBERS_OF),
    **dict.fromkeys(("n_replicates", "n_rows", "n_runs", "n_samples", "n_starts", "num_samples"), _NUMBERS_OF),
    "n_simulations": _NUMBERS_OF,
    "n_features": [value for value in _NUMBERS_OF if value is not None],
    **dict.fromkeys(("verbose_interval",), _NUMBERS_OF),
    **dict.fromkeys(("bootstrap", "max_iter", "n_draws", "n_zealous"), _FROM_ZERO),
    **dict.fromkeys(("cores", "folds", "max_clusters", "max_draws", "n", "n_factors", "tune"), _NUMBERS_OF[:-1]),
    "max_memory": [value for value in _NUMBERS_OF if value != 10**30],
    "n_jobs": [True, 0, 1.5, float("nan"), "2", 10**30, [2]],
    **dict.fromkeys(("cross_check", "force", "moment_match", "proba", "progress", "refit"), _SWITCHES),
    **dict.fromkeys(("robust", "standardize", "warm_start"), _SWITCHES),
    **dict.fromkeys(("false_alarms", "level", "mass", "min_drop", "prob"), _SHARES),
    **dict.fromkeys(("ci_prob", "target_accept"), _SHARES[:-1]),
    "a": _REALS,
    **dict.fromkeys(("tol", "max_seconds"), _REALS[:-1]),
    "r_eff": _REALS[:-1],
    "random_state": _SEEDS,
    **dict.fromkeys(
        ("covariance_type", "engine", "inference", "init", "init_params", "kind", "loss", "method"), _NAMES
    ),
    **dict.fromkeys(("criterion", "divergence", "over", "quantities", "weights"), _NAMES),
    "component": _NAMES,
    "dof": [0.0, -1.0, float("nan"), float("inf"), "own", True, [5.0], None],
    **dict.fromkeys(("effort", "missing", "weight_concentration_prior_type"), _NAMES),
    **dict.fromkeys(("ci_kind", "covariance_types"), _NO_NONE),
    "methods": _NAMES,
    "variables": [5, True, "nothing", ["nothing"], {"nothing": 0}, [1.0], {"weights": 9}],
    "noise": [0.0, 0, -1.0, float("nan"), float("inf"), "yes", None, [True]],
    "prior": _OBJECTS,
    "class_prior": [1.0, [0.5], [0.5, float("nan")], [0.9, 0.9], [0.0, 1.0], ["a", "b"], [True, False], {}],
    "reg_covar": _REALS[:-1],
    "rows": [True, 0, -1, 2.5, "2", 10**30, [True], [99], [-1], [0.5]],
    "verbose": [-1, "yes", None],
    "weight_concentration_prior": [0.0, -1.0, float("nan"), float("inf"), "1", True],
    "mean_precision_prior": [0.0, -1.0, float("nan"), float("inf"), "1", True],
    "degrees_of_freedom_prior": [0.0, 1.0, float("nan"), float("inf"), "1", True],
    "mean_prior": [1.0, [1.0], [1.0, float("nan")], ["a", "b"], [True, False], [1j, 1.0]],
    "covariance_prior": [0.0, -1.0, float("nan"), "1", np.eye(3), -np.eye(2), np.eye(2) > 0],
    "weights_init": [1.0, [0.5], [0.5, float("nan")], [0.9, 0.9], ["a", "b"]],
    "means_init": [1.0, [[0.0, 1.0]], [[0.0, float("nan")]] * 2, [["a", "b"]] * 2],
    "precisions_init": [1.0, np.eye(2), [-np.eye(2)] * 2, [np.eye(2) * float("nan")] * 2],
    **dict.fromkeys(("labels", "labels_init"), _LABELS),
    "starting_mode": [5, [0], ["a", "b"], [0.5, 1]],
    **dict.fromkeys(("features", "observed", "target"), _FEATURES),
    "given": [5, True, None, "x0", [], {}, {"c": 1.0}, {0: "1"}, {0: float("nan")}, {0: None}, {0: 1.0, 1: 2.0}],
    "X_observed": [5, True, None, "x0", [], {}, ROWS[:, 0], ROWS > 0.0],
    "quantiles": [0.0, 1.5, True, "0.5", [[0.5]], [0.5, float("nan")]],
    "feature_names": [["a"], ["a", "a"], 5, "ab"],
    "classes": [5, LABELS[0][:-1], LABELS],
    "client": [5, True, "tcp://nowhere:8786", object()],
    "columns": [5, True, [1], [], "nonsense", ["nonsense"], ["a", "a"]],
    "groups": ["nonsense", 5, True, [], ["nonsense"], ["prior", 5]],
    "by": [99, -1, "c", 1.5, None, True],
    "parts": [*_NAMES, []],
    "hdi_probs": [0.5, [], [0.0], [1.5], ["a"], [float("nan")]],
    "statistics": [5, {"mean": 5}, ["mean"]],
    "evidences": [5, [], ["a"]],
    "hyperpriors": [5, {"nonsense": 5}, {"dof": 5}],
    "checkpoint": [5, True, b"folder", [], {}, str(ROOT), str(ROOT / "README.md")],
    "em": [5, "nonsense", [], {"nonsense": 1}],
    "nuts": [5, "nonsense", []],
}
# Rows and weights stand above; others are objects of matplotlib and ArviZ, functions, and what names variables.
NOT_HERE = {"X", "X_new", "sample_weight", "y", "names", "callback", "ax", "plot_collection", "backend", "visuals"}
NOT_HERE |= {"pc_kwargs", "arviz_kwargs", "path", "title", "overwrite"}
FIRST = {
    "posterior",
    "labels_or_posterior",
    "fit_or_responsibilities",
    "fit",
    "fits",
    "tree",
    "bayes",
    "estimate",
    "truth",
    "values",
    "partition",
}
_BAD_POSTERIORS = [None, 5, "fit", GaussianMixture(2), BayesianGaussianMixture(2), object(), {}]

# A call that is right, for each public function.
ENTRIES: dict[str, Callable[[SimpleNamespace], dict[str, Any]]] = {
    "calibrate": lambda f: {"prior": PRIOR, "n_rows": 9, "n_components": 1, "n_simulations": 1, "progress": False},
    "average_models": lambda f: {"fits": [f.bayes], "evidences": [SimpleNamespace(log_evidence=0.0, se=0.1)]},
    "bootstrap_lrt": lambda f: {"X": ROWS, "n_components": 1, "n_replicates": 2, **_QUIET},
    "build_model": lambda f: {"X": ROWS, "n_components": 2},
    "check_model": lambda f: {"fit": f.em, "X": ROWS, **_QUIET},
    "combine_modes": lambda f: {"posterior": f.bayes},
    "compare": lambda f: {"em": f.em, "bayes": f.bayes, "X": ROWS, **_QUIET},
    "compare_relabellings": lambda f: {"posterior": f.bayes, **_QUIET},
    "component_summary": lambda f: {"tree": f.tree},
    "compute_log_likelihood": lambda f: {"posterior": f.bayes},
    "condition": lambda f: {"fit": f.bayes, "given": {0: 1.0}},
    "credible_ball": lambda f: {"estimate": LABELS[0], "labels_or_posterior": LABELS},
    "diagnose": lambda f: {"posterior": f.bayes},
    "estimate_partition": lambda f: {"labels_or_posterior": LABELS, **_QUIET},
    "log_evidence": lambda f: {"posterior": f.bayes},
    "loo": lambda f: {"posterior": f.bayes, **_QUIET},
    "marginal": lambda f: {"fit": f.bayes, "features": [0]},
    "membership_uncertainty": lambda f: {"posterior": f.bayes},
    "merge_components": lambda f: {"fit_or_responsibilities": f.em, "X": ROWS},
    "mode_mean": lambda f: {"values": np.zeros(40), "tree": f.tree},
    "mode_mean_range": lambda f: {"values": np.zeros(40), "tree": f.tree},
    "occupied_clusters": lambda f: {"labels_or_posterior": LABELS},
    "open_source": lambda f: {"X": f.path},
    "outlier_scores": lambda f: {"fit": f.em, "X": ROWS, **_QUIET},
    "partition_loss": lambda f: {"truth": LABELS, "estimate": LABELS[0]},
    "plot_clusters": lambda f: {"fit": f.bayes},
    "plot_components": lambda f: {"posterior": f.bayes},
    "plot_density": lambda f: {"posterior": f.bayes},
    "plot_membership_uncertainty": lambda f: {"posterior": f.bayes},
    "plot_mixing": lambda f: {"posterior": f.bayes},
    "plot_pairs": lambda f: {"posterior": f.bayes},
    "plot_similarity": lambda f: {"labels_or_posterior": LABELS},
    "posterior_predictive": lambda f: {"posterior": f.bayes},
    "impute": lambda f: {"fit": f.bayes, "X": ROWS},
    "predict_features": lambda f: {"fit": f.bayes, "X_observed": ROWS[:, :1], "observed": [0]},
    "prior_predictive": lambda f: {"prior": PRIOR, "n_components": 2},
    "relabel": lambda f: {"posterior": f.bayes, **_QUIET},
    "representative_partitions": lambda f: {"labels_or_posterior": LABELS, **_QUIET},
    "restore_labels": lambda f: {"tree": f.tree},
    "sample_labels": lambda f: {"posterior": f.bayes},
    "select_components": lambda f: {"X": ROWS, "n_components": 2, **_QUIET},
    "similarity_matrix": lambda f: {"labels_or_posterior": LABELS},
    "to_arviz": lambda f: {"posterior": f.bayes},
    "power_scaling_sensitivity": lambda f: {"posterior": f.bayes},
}
# Values that are right in some entries.
RIGHT = {
    ("bootstrap_lrt", "n_components", "[2]"),
    ("select_components", "n_components", "[2]"),
    ("select_components", "component", "None"),
    ("log_evidence", "covariance_type", "None"),
    ("plot_similarity", "partition", "None"),
    ("BayesianGaussianMixture", "draws", "None"),
    ("MixtureClassifier", "draws", "None"),
    ("to_arviz", "draws", "None"),
}
METHODS: dict[str, Callable[..., Any]] = {
    "MixtureClassifier": lambda f, **given: MixtureClassifier(**{"progress": False} | given).fit(ROWS, LABELS[0]),
    "GaussianMixture": lambda f, **given: GaussianMixture(**{"n_components": 2, "n_init": 2} | given).fit(ROWS),
    "BayesianGaussianMixture": lambda f, **given: BayesianGaussianMixture(**{"n_components": 2, **SHORT} | given).fit(
        ROWS
    ),
    "GaussianMixture.sample": lambda f, **given: f.em.sample(**given),
    "GaussianMixture.marginal": lambda f, **given: f.em.marginal(**given),
    "GaussianMixture.condition": lambda f, **given: f.em.condition(**given),
    "GaussianMixture.predict_features": lambda f, **given: f.em.predict_features(
        **{"X_observed": ROWS[:, :1], "observed": [0], **given}
    ),
    "GaussianMixture.standard_errors": lambda f, **given: f.em.standard_errors(ROWS, **given),
    "GaussianMixture.predict_to": lambda f, **given: f.em.predict_to("unwritten.parquet", ROWS, **given),
    "GaussianMixture.bootstrap": lambda f, **given: f.em.bootstrap(ROWS, **{**_QUIET, **given}),
    "BayesianGaussianMixture.sample": lambda f, **given: f.bayes.sample(**given),
    "BayesianGaussianMixture.predict_to": lambda f, **given: f.bayes.predict_to("unwritten.parquet", ROWS, **given),
    "BayesianGaussianMixture.membership": lambda f, **given: f.bayes.membership(**given),
    "BayesianGaussianMixture.summary": lambda f, **given: f.bayes.summary(**given),
}


def bad_values_of(entry: str, parameter: str) -> dict[str, tuple[Any, str]]:
    bad = _BAD_POSTERIORS if parameter in FIRST or (entry, parameter) == ("compare", "em") else BAD_VALUES[parameter]
    bad = [5, "fit", GaussianMixture(2)] if (entry, parameter) == ("plot_clusters", "em") else bad
    return {f"{value!r}": (value, "") for value in bad if (entry, parameter, f"{value!r}") not in RIGHT}


def parameters_of(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in NOT_HERE | {"self"}]


@pytest.mark.parametrize("entry", ENTRIES)
def test_bad_parameters_of_functions_are_refused(entry: str, fits: SimpleNamespace) -> None:
    function, right = getattr(bayesgmm, entry), ENTRIES[entry](fits)
    for parameter in parameters_of(function):
        bad = bad_values_of(entry, parameter)
        wrong = wrong_answers(lambda value, p=parameter: function(**{**right, p: value}), bad)
        assert wrong == {}, parameter


@pytest.mark.parametrize("entry", METHODS)
def test_bad_parameters_of_estimators_are_refused(entry: str, fits: SimpleNamespace) -> None:
    owner, _, method = entry.partition(".")
    function = getattr(bayesgmm, owner)
    for parameter in parameters_of(getattr(function, method) if method else function):
        bad = bad_values_of(entry, parameter)
        wrong = wrong_answers(lambda value, p=parameter: METHODS[entry](fits, **{p: value}), bad)
        assert wrong == {}, parameter


def test_every_public_function_is_in_the_table() -> None:
    functions = {name for name in bayesgmm.__all__ if inspect.isfunction(getattr(bayesgmm, name))}
    assert functions - {"load"} == set(ENTRIES)  # load takes a path: tests/io/test_files.py


def test_errors_of_parameters_are_scikit_learn_s_too() -> None:
    with pytest.raises(
        _param_validation.InvalidParameterError, match=r"'n_components' parameter .*must be an int"
    ) as caught:
        GaussianMixture(True).fit(ROWS)
    assert isinstance(caught.value, InputError)


# ---- records that hold a mixture or a prior

_NAN = float("nan")
_EYE = np.eye(2)
_NO_NUMBERS = [_NAN, float("inf"), -1, 0, True, "x", None, {}, 1j, [_NAN], ["a", "b"], [True, False], [], 1e300]
_NO_NUMBERS += [np.ma.masked_equal([0.0, 1.0], 1.0), np.ones((3, 2))]
_NO_ARRAYS = [value for value in _NO_NUMBERS if not isinstance(value, np.ndarray)]
RECORDS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "Mixture": (Mixture, {"weights": [0.5, 0.5], "means": np.zeros((2, 2)), "covariances": [_EYE, _EYE]}),
    "Prior.normal_inverse_wishart": (
        Prior.normal_inverse_wishart,
        {"scale": _EYE, "kappa": 1, "dof": 3, "concentration": 1.0, "mean": [0.0, 0.0]},
    ),
    "Prior.independent": (
        Prior.independent,
        {"scale": _EYE, "mean_covariance": _EYE, "dof": 3, "concentration": 1.0, "mean": [0.0, 0.0]},
    ),
    "Prior.separation": (
        Prior.separation,
        {"mean_covariance": _EYE, "variance_shape": 2, "variance_scale": 1, "eta": 2, "mean": [0.0, 0.0]},
    ),
    "Prior.wishart": (Prior.wishart, {"dof": 3, "scale": _EYE}),
    "Prior.gamma": (Prior.gamma, {"shape": 1, "rate": 2}),
    "Prior.weakly_informative": (lambda **given: Prior.weakly_informative(ROWS, **given), {"concentration": 1.0}),
    "Prior.malsiner_walli": (lambda **given: Prior.malsiner_walli(ROWS, **given), {"concentration": 1.0}),
    "Prior.richardson_green": (lambda **given: Prior.richardson_green(ROWS[:, :1], **given), {"concentration": 1.0}),
    "Prior.fraley_raftery": (
        lambda **given: Prior.fraley_raftery(ROWS, **given),
        {"n_components": 2, "covariance_type": "full"},
    ),
    "Prior.resolve": (PRIOR.resolve, {"n_components": 2, "n_features": 2, "covariance_type": "full"}),
}


@pytest.mark.parametrize("record", RECORDS)
def test_bad_numbers_of_records_are_refused(record: str) -> None:
    make, right = RECORDS[record]
    make(**right)
    for name in right:
        bad = {repr(value): (value, "") for value in (_NO_ARRAYS if name == "mean" else _NO_NUMBERS)}
        assert wrong_answers(lambda value, n=name: make(**{**right, n: value}), bad) == {}, name
