"""`check_model` on real data: its tables, its words, weights, EM, figure."""

import numpy as np
import pandas as pd
import pytest
from pretend_posterior import em_fit, pretend_posterior
from scipy.stats import kurtosis, skew

from bayesgmm import GaussianMixture, check_model
from bayesgmm.datasets import load_old_faithful
from bayesgmm.exceptions import InputError
from bayesgmm.model_checks import checks
from bayesgmm.model_checks.quantities import quantities, quantity_table

pytestmark = pytest.mark.draws

FRAME = pd.DataFrame(np.asarray(load_old_faithful()), columns=["eruptions", "waiting"])
QUICK = {"n_replicates": 39, "random_state": 1, "progress": False}


@pytest.fixture(scope="module")
def two():
    return check_model(pretend_posterior(FRAME, em_fit(FRAME, 2), draws=60), **QUICK)


@pytest.fixture(scope="module")
def one():
    return check_model(pretend_posterior(FRAME, em_fit(FRAME, 1), draws=60), **QUICK)


def test_observed_quantities_are_scipy_s_and_numpy_s():
    found = quantities(
        FRAME.to_numpy(), list(FRAME.columns), {"range": np.ptp, "median": lambda X: np.median(X, axis=0)}
    )
    for name in FRAME.columns:
        x = FRAME[name]
        expected = {"mean": x.mean(), "sd": x.std(), "skewness": skew(x), "kurtosis": kurtosis(x), "max": x.max()}
        expected |= {"quantile 25 %": x.quantile(0.25), "median": x.median()}
        for quantity, value in expected.items():
            assert found[quantity, name] == pytest.approx(value), quantity
    pair = "eruptions, waiting"
    z = (FRAME - FRAME.mean()) / FRAME.std(ddof=0)
    assert found["correlation", pair] == pytest.approx(FRAME.corr().iloc[0, 1])
    assert found["cross moment a² b", pair] == pytest.approx((z["eruptions"] ** 2 * z["waiting"]).mean())
    assert found["cross moment a b²", pair] == pytest.approx((z["eruptions"] * z["waiting"] ** 2).mean())
    assert found["range", ""] == np.ptp(FRAME.to_numpy())


def test_tail_probabilities_of_quantities():
    index = pd.MultiIndex.from_tuples([("a", ""), ("b", "")])
    replicated = np.column_stack([np.arange(99.0), np.arange(99.0)])
    table = quantity_table(pd.Series([49.0, 1000.0], index), replicated, ci_prob=0.9)
    assert table["p"].tolist() == pytest.approx([1.0, 0.02])
    assert table["p_adjusted"].tolist() == pytest.approx([1.0, 0.01])
    assert table["eti90_lb"].iloc[0] == pytest.approx(4.9)


def test_two_components_predict_what_one_does_not(one, two):
    assert two.table["p_adjusted"].min() > 0.05
    assert one.table.loc[("quantile 25 %", "eruptions"), "p_adjusted"] <= 0.05
    assert one.p_value <= 0.05
    assert not one.gaussian
    assert "more components" in str(one)
    assert "No test quantity is unusual among predicted data, of 26." in str(two)


def test_geysers_short_eruptions_are_lopsided(two):
    assert two.gaussianity.loc["skewness", "p"] <= 0.05
    assert two.gaussianity.loc["kurtosis", "p"] > 0.05


def test_loo_pit_of_every_row(two):
    assert list(two.pit.columns) == ["eruptions", "waiting", "density"]
    assert two.pit.shape == (272, 3)
    assert two.pit.to_numpy().min() >= 0
    assert two.pit.to_numpy().max() <= 1
    assert two.pit["waiting"].corr(FRAME["waiting"], method="spearman") > 0.99
    assert two.pareto_k.shape == (272,)


def test_the_figure(two, tmp_path):
    figure = two.plot()
    figure.savefig(tmp_path / "check.png")
    densities, transforms, departures = figure.subfigs
    assert [panel.get_xlabel() for panel in densities.axes] == ["eruptions", "waiting"]
    assert [panel.get_xlabel() for panel in transforms.axes] == ["eruptions", "waiting", "density"]
    titles = [panel.get_title().partition(",")[0] for panel in departures.axes if panel.axison]
    assert titles == list(two.gaussianity.index)


def test_em_is_plugged_in_and_weights_are_rows():
    n = 60
    weights = np.ones(n)
    weights[::3] = 2
    part = FRAME.iloc[:n]
    repeated = part.loc[np.repeat(part.index, weights.astype(int))]
    fit = GaussianMixture(2, random_state=0).fit(part, sample_weight=weights)
    found = check_model(fit, part, sample_weight=weights, statistics={"range": np.ptp}, **QUICK)
    same = check_model(fit, repeated, statistics={"range": np.ptp}, **QUICK)
    pd.testing.assert_frame_equal(found.table, same.table)
    pd.testing.assert_frame_equal(found.gaussianity, same.gaussianity)
    pd.testing.assert_frame_equal(found.pit_table, same.pit_table)
    assert len(found.pit) == n
    assert "plugged in" in str(found)
    assert found.table.loc[("range", ""), "observed"] == np.ptp(part.to_numpy())


def test_what_is_refused():
    fit = GaussianMixture(2, random_state=0).fit(FRAME)
    with pytest.raises(InputError, match="n_replicates"):
        check_model(fit, FRAME, n_replicates=10)
    with pytest.raises(InputError, match="at least 10 rows"):
        check_model(fit, FRAME.iloc[:5], progress=False)
    with pytest.raises(InputError, match="does not keep"):
        check_model(fit, progress=False)
    with pytest.raises(InputError, match="whole numbers"):
        check_model(fit, FRAME, sample_weight=np.full(272, 0.5), progress=False)
    with pytest.raises(InputError, match="a number, or one for each"):
        check_model(fit, FRAME, statistics={"bad": lambda X: X}, **QUICK)


def test_of_many_rows_some_are_left_out(two, monkeypatch):
    """Those that are have the values that they have among all; the band of the figure is that of so few."""
    monkeypatch.setattr(checks, "_MOST_LEFT_OUT", 68)
    some = check_model(pretend_posterior(FRAME, em_fit(FRAME, 2), draws=60), **QUICK)
    assert some.pit.shape == (68, 3)
    assert some.pit.index.is_unique
    features = list(FRAME.columns)
    pd.testing.assert_frame_equal(some.pit[features], two.pit.loc[some.pit.index, features])
    np.testing.assert_allclose(some.pareto_k, two.pareto_k[some.pit.index])
    assert "Left out one by one were 68 of 272 rows" in str(some)
    assert "Left out one by one" not in str(two)
    np.testing.assert_allclose(some._drawing.transforms, 2.0 * two._drawing.transforms)
    em = check_model(GaussianMixture(2, random_state=0).fit(FRAME), FRAME, **QUICK)
    assert len(em.pit) == 272
