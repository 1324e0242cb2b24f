"""Features predicted from others: against a plain loop over draws, coverage, rows far from the data, names."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from arviz_base import rc_context
from monte_carlo import binomial_range
from pretend_posterior import em_fit, pretend_posterior
from reference import FAMILIES, RESTRICTED, load_data, random_mixture
from scipy.optimize import brentq
from scipy.stats import invwishart, norm

from bayesgmm import BayesianGaussianMixture, GaussianMixture, predict_features
from bayesgmm.exceptions import ExtrapolationWarning, InputError
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.posterior import draws_of
from bayesgmm.prediction import regression

COLUMNS = ["length", "width", "petal length", "petal width"]
FRAME = pd.DataFrame(load_data("iris")[:, :4], columns=COLUMNS)
ROWS = FRAME[["petal length", "width"]].iloc[::25]


@pytest.fixture(scope="module", params=(*FAMILIES, *RESTRICTED))
def tree(request):
    return pretend_posterior(FRAME, em_fit(FRAME, 3, request.param), draws=5)


@pytest.fixture(scope="module")
def full():
    return pretend_posterior(FRAME, em_fit(FRAME, 3), draws=10)


def quantile(prob: float, parts: list[tuple[float, float, float]]) -> float:
    """A quantile of a mixture of weights, means and standard deviations, by SciPy."""
    w, mu, sd = np.array(parts).T
    own = norm.ppf(prob, mu, sd)
    return brentq(lambda x: (w / w.sum()) @ norm.cdf(x, mu, sd) - prob, own.min() - 1e-9, own.max() + 1e-9, xtol=1e-13)


def plain(tree, rows: pd.DataFrame, target: list[str], prob: float, quantiles: list[float]) -> dict[str, np.ndarray]:
    """The definitions, draw by draw and row by row."""
    draws, tail = draws_of(tree), (1.0 - prob) / 2.0
    found: dict[str, list] = {name: [] for name in ("mean", "sd", "curve", "new_row", "quantiles", "quantile_curves")}
    for values in rows.to_numpy():
        given = {COLUMNS.index(name): value for name, value in zip(rows.columns, values, strict=True)}
        rest = [name for name in COLUMNS if name not in rows.columns]
        each = [draws.mixture(s).condition(given) for s in range(len(draws))]
        of_row: dict[str, list] = {name: [] for name in found}
        for name in target:
            j = rest.index(name)
            parts = [
                list(zip(m.weights, m.means[:, j], np.sqrt(m.full_covariances[:, j, j]), strict=True)) for m in each
            ]
            every = [part for own in parts for part in own]
            curves = np.array([sum(w * mu for w, mu, _ in own) for own in parts])
            squares = np.mean([sum(w * (mu**2 + sd**2) for w, mu, sd in own) for own in parts])
            of_row["mean"].append(curves.mean())
            of_row["sd"].append(np.sqrt(squares - curves.mean() ** 2))
            of_row["curve"].append(np.quantile(curves, [tail, 1.0 - tail]))
            of_row["new_row"].append([quantile(p, every) for p in (tail, 1.0 - tail)])
            of_row["quantiles"].append([quantile(p, every) for p in quantiles])
            own_quantiles = np.array([[quantile(p, own) for p in quantiles] for own in parts])
            of_row["quantile_curves"].append(np.quantile(own_quantiles, [tail, 1.0 - tail], axis=0).T)
        for name, value in of_row.items():
            found[name].append(value)
    return {name: np.array(value) for name, value in found.items()}


def test_predictions_are_those_of_a_plain_loop(tree):
    target, quantiles = ["petal width", "length"], [0.1, 0.5]
    found = predict_features(tree, ROWS, target=target, quantiles=quantiles, ci_prob=0.8)
    for name, expected in plain(tree, ROWS, target, 0.8, quantiles).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, err_msg=name)
    draws = draws_of(tree)
    densities = [np.exp(draws.mixture(s).marginal([2, 1]).log_prob(ROWS)) for s in range(len(draws))]
    np.testing.assert_allclose(found["log_density"], np.log(np.mean(densities, axis=0)), rtol=1e-11)


def test_names_of_what_is_found(full):
    found = predict_features(full, ROWS, quantiles=0.5)
    dims = {name: variable.dims for name, variable in found.data_vars.items()}
    assert dims == {
        "mean": ("obs", "feature"),
        "sd": ("obs", "feature"),
        "curve": ("obs", "feature", "ci_bound"),
        "new_row": ("obs", "feature", "ci_bound"),
        "quantiles": ("obs", "feature", "quantile"),
        "quantile_curves": ("obs", "feature", "quantile", "ci_bound"),
        "log_density": ("obs",),
        "tail_probability": ("obs",),
        "far": ("obs",),
    }
    assert found["feature"].to_numpy().tolist() == ["length", "petal width"]
    assert "quantile" not in predict_features(full, ROWS).dims


def test_labels_and_other_features_do_not_matter(full):
    found = predict_features(full, ROWS, target="length")
    draws = draws_of(full)
    order = np.random.default_rng(0).permuted(np.tile([0, 1, 2], (len(draws), 1)), axis=1)
    moved = draws.reordered(order)
    arrays = dict(zip(("weights", "means", "covariances"), (a[None] for a in moved.arrays), strict=True))
    again = predict_features(arrays, ROWS.to_numpy(), observed=[2, 1], target=0)
    some = predict_features(
        {
            "weights": arrays["weights"],
            "means": arrays["means"][..., :3],
            "covariances": arrays["covariances"][..., :3, :3],
        },
        ROWS.to_numpy(),
        observed=["x2", "x1"],
    )
    for name in ("mean", "sd", "curve", "new_row", "log_density"):
        np.testing.assert_allclose(found[name], again[name], rtol=1e-11)
        np.testing.assert_allclose(found[name], some[name], rtol=1e-11)


def test_pieces_of_rows_give_the_same(full, monkeypatch):
    whole = predict_features(full, ROWS, quantiles=[0.3])
    monkeypatch.setattr(regression, "_AT_ONCE", 1)
    parts = predict_features(full, ROWS, quantiles=[0.3])
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-13)


@pytest.mark.parametrize("convert", [pd.DataFrame, pl.from_pandas, np.asarray])
def test_ways_to_name_the_columns(full, convert):
    expected = predict_features(full, ROWS)["mean"]
    turned = ROWS[["width", "petal length"]]
    if convert is np.asarray:
        found = [predict_features(full, convert(turned), observed=["width", 2])]
        found += [predict_features(full, convert(turned), target=["length", 3])]
    else:
        found = [predict_features(full, convert(turned))]
        found += [predict_features(full, convert(FRAME.iloc[::25]), observed=["petal length", "width"])]
    for each in found:
        assert each["feature"].to_numpy().tolist() == ["length", "petal width"]
        np.testing.assert_allclose(each["mean"], expected, rtol=1e-12)


def test_a_series_with_a_name_is_a_column(full):
    series = predict_features(full, ROWS["width"])
    assert series.identical(predict_features(full, ROWS[["width"]]))


def test_a_fit_by_em_has_no_curve_band():
    fit = GaussianMixture(3, n_init=2, random_state=0).fit(FRAME)
    found, rows = fit.predict_features(ROWS, quantiles=[0.25]), fit.condition(dict(ROWS))
    assert not {"curve", "quantile_curves"} & {*found.data_vars}
    np.testing.assert_allclose(found["mean"], rows.mean, rtol=1e-12)
    np.testing.assert_allclose(found["sd"], rows.sd, rtol=1e-12)
    np.testing.assert_allclose(found["new_row"], rows.quantiles([0.055, 0.945]), rtol=1e-12)
    np.testing.assert_allclose(found["quantiles"], rows.quantiles(0.25), rtol=1e-12)
    np.testing.assert_allclose(found["log_density"], rows.log_density, rtol=1e-12)
    same = predict_features(fit.mixture_, ROWS.to_numpy(), observed=[2, 1])
    np.testing.assert_array_equal(same["mean"], found["mean"])


def test_arviz_settings_are_the_default(full):
    with rc_context({"stats.ci_prob": 0.5}):
        found = predict_features(full, ROWS)
    assert found.identical(predict_features(full, ROWS, ci_prob=0.5))


# ---- far from the data


def test_far_rows_are_told(full):
    rows = pd.DataFrame({"width": [3.0, 9.0, 3.1, -40.0]})
    with pytest.warns(ExtrapolationWarning, match=r"far from the data: 2 of 4 rows \(rows 1, 3\) .* one in 10,000"):
        found = predict_features(full, rows)
    assert found["far"].to_numpy().tolist() == [False, True, False, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not predict_features(full, FRAME[["width", "length"]])["far"].any()


@pytest.mark.draws
def test_tail_probabilities_are_those_of_the_fitted_mixture():
    mixture, n = random_mixture(np.random.default_rng(7), "full", (2, 3)), 4_000
    X, _ = mixture.sample(n, rng=np.random.default_rng(8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        tails = predict_features(mixture, X[:, :2], target=2)["tail_probability"].to_numpy()
    for prob in (0.01, 0.1, 0.5):
        low, high = binomial_range(n, prob)
        simulated = 4.0 * np.sqrt(2.0 * prob / 5_000)  # the error of 5,000 simulated rows, of weights up to two
        assert low - n * simulated <= (tails < prob).sum() <= high + n * simulated


def test_far_rows_follow_the_widest_component_and_stay_finite(full):
    with pytest.warns(ExtrapolationWarning):
        found = predict_features(full, pd.DataFrame({"width": [1e8, -1e100]}))
    assert all(np.isfinite(found[name]).all() for name in ("mean", "sd", "curve", "new_row", "log_density"))


# ---- coverage


@pytest.mark.draws
def test_bands_hold_new_rows_and_curves_as_often_as_they_say():
    rng, n_data_sets, n_rows, prob = np.random.default_rng(11), 30, 60, 0.8
    held, curve_held, n_new = 0, 0, 50
    for seed in rng.integers(2**31, size=n_data_sets):
        data_rng = np.random.default_rng(int(seed))
        truth = Mixture([1.0], data_rng.normal(size=(1, 2)), [[[1.0, 0.6], [0.6, 1.0]]])
        X, new = truth.sample(n_rows, rng=data_rng)[0], truth.sample(n_new, rng=data_rng)[0]
        draws = one_component(X, 200, data_rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExtrapolationWarning)
            found = predict_features(draws, new[:, :1], target=1, ci_prob=prob).isel(feature=0)
        inside = (found["new_row"][:, 0] < new[:, 1]) & (new[:, 1] < found["new_row"][:, 1])
        held += int(inside.sum())
        line = truth.condition({0: new[:1, 0]}).mean[0, 0]
        curve_held += bool(found["curve"][0, 0] < line < found["curve"][0, 1])
    low, high = binomial_range(n_data_sets, prob)
    assert low <= curve_held <= high
    assert abs(held / (n_data_sets * n_new) - prob) < 0.06  # rows of one data set share its draws


def one_component(X: np.ndarray, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Exact draws of the posterior of one normal component under Jeffreys' prior."""
    centred = X - X.mean(axis=0)
    covariances = invwishart.rvs(len(X) - 1, centred.T @ centred, size=n, random_state=rng)
    z = rng.standard_normal((n, 2))
    means = X.mean(axis=0) + np.einsum("sij,sj->si", np.linalg.cholesky(covariances / len(X)), z)
    return {"weights": np.ones((1, n, 1)), "means": means[None, :, None], "covariances": covariances[None, :, None]}


@pytest.mark.slow
@pytest.mark.draws
def test_bands_of_a_fit_hold_new_rows():
    truth = random_mixture(np.random.default_rng(5), "full", (2, 2))
    rng, n = np.random.default_rng(6), 2_000
    X, new = truth.sample(400, rng=rng)[0], truth.sample(n, rng=rng)[0]
    fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        found = fit.predict_features(new[:, :1], target=1, ci_prob=0.8).isel(feature=0)
    inside = ((found["new_row"][:, 0] < new[:, 1]) & (new[:, 1] < found["new_row"][:, 1])).to_numpy()
    assert abs(inside.mean() - 0.8) < 0.06


# ---- the border


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (ROWS.to_numpy(), {}, "a dataframe, or observed= or target="),
        (ROWS, {"target": "width"}, "target features other than the observed ones; got 'width' among both"),
        (ROWS, {"target": "height"}, "distinct target features among length"),
        (ROWS.to_numpy(), {"observed": "height"}, "distinct observed features among length"),
        (ROWS.to_numpy(), {"observed": [0]}, "X_observed with the columns 'length'; got 2 columns.*observed="),
        (
            ROWS.to_numpy(),
            {"target": "width"},
            "X_observed with the columns 'length', 'petal length' and 'petal width'",
        ),
        (ROWS.assign(site=1.0), {}, "distinct columns of X_observed among length"),
        (ROWS, {"observed": "length"}, "columns among 'petal length' and 'width'; got 'length'"),
        (ROWS.to_numpy(), {"target": COLUMNS}, "features named that leave at least one"),
        (FRAME, {}, "features named that leave at least one"),
        (ROWS.where(ROWS > 3.0), {}, "NaN"),
        (ROWS, {"quantiles": [0.5, 1.0]}, "quantiles between 0 and 1"),
        (ROWS, {"ci_prob": 1.0}, "ci_prob"),
    ],
)
def test_bad_input(full, rows, settings, message):
    with pytest.raises(InputError, match=message):
        predict_features(full, rows, **settings)
