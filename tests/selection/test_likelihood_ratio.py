"""Bootstrap likelihood ratio tests: p-values of the formula, uniform under the null hypothesis, small otherwise."""

from contextlib import contextmanager
from itertools import count
from threading import Event

import numpy as np
import pytest
from monte_carlo import FALSE_ALARM
from scipy.stats import chi2, kstest

from bayesgmm import GaussianMixture, bootstrap_lrt
from bayesgmm.exceptions import DegeneracyWarning, InputError, InterruptedWarning
from bayesgmm.selection import BootstrapLRT, LikelihoodRatioTest, likelihood_ratio

pytestmark = pytest.mark.draws

QUICK = {"covariance_type": "tied", "n_init": 2, "random_state": 3, "progress": False}


def three_groups(rng, n: int = 25) -> np.ndarray:
    return rng.normal(size=(3 * n, 1)) + np.repeat([0.0, 9.0, 18.0], n)[:, None]


def test_statistic_and_replicates_are_two_fits_each() -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    found = bootstrap_lrt(X, 1, n_replicates=5, **QUICK)

    def ratio(rows, seed: int) -> float:
        settings = {"covariance_type": "tied", "n_init": 2, "random_state": seed}
        one, two = (GaussianMixture(k, **settings).fit(rows).log_likelihood_ for k in (1, 2))
        return 2.0 * (two - one)

    null = GaussianMixture(1, covariance_type="tied").fit(X).mixture_
    replicates = []
    for rng in np.random.default_rng([3, 1]).spawn(5):
        rows, _ = null.sample(40, rng=rng)
        replicates.append(ratio(rows, int(rng.integers(2**31))))
    (test,) = found.tests
    assert test.statistic == ratio(X, 3)
    np.testing.assert_array_equal(test.replicates, replicates)
    assert test.p_value == (1 + sum(value >= test.statistic for value in replicates)) / 6
    row = found.table.loc[1]
    assert (row["statistic"], row["p_value"], row["n_replicates"]) == (test.statistic, test.p_value, 5)
    threads = bootstrap_lrt(X, 1, n_replicates=5, n_jobs=2, **QUICK)
    np.testing.assert_array_equal(threads.tests[0].replicates, replicates)


def test_separated_components_are_counted() -> None:
    found = bootstrap_lrt(three_groups(np.random.default_rng(1)), n_replicates=19, level=0.1, **QUICK)
    assert list(found.table["p_value"][:2]) == [0.05, 0.05]
    assert found.n_components >= 3
    assert [test.n_components for test in found.tests] == list(range(1, len(found.tests) + 1))
    assert all(test.p_value <= 0.1 for test in found.tests[:-1])
    assert found.tests[-1].p_value > 0.1 or len(found.tests) == 7


def of_p_values(*values: float) -> BootstrapLRT:
    """Tests of 1, 2, ... components with these p-values, of 99 replicates."""
    tests = []
    for k, p in enumerate(values, start=1):
        n_larger = round(100 * p) - 1
        tests.append(LikelihoodRatioTest(k, 1.0, np.r_[np.full(n_larger, 1.0), np.zeros(99 - n_larger)]))
    return BootstrapLRT(tuple(tests), 0.05)


def test_the_first_number_that_is_not_rejected_is_chosen() -> None:
    found = of_p_values(0.01, 0.05, 0.06)
    assert found.n_components == 3
    assert found.table["p_value"].tolist() == [0.01, 0.05, 0.06]
    assert str(found).startswith("The bootstrap likelihood ratio test at level 0.05 chooses K = 3.")
    assert "The test of K = 3 against 4: statistic 1.00, p = 0.060 (99 replicates)." in str(found)
    assert "chooses K = 3" in found._repr_html_()
    every = of_p_values(0.01, 0.02)
    assert every.n_components == 3
    assert str(every).startswith("Each number of components was rejected, up to K = 2: try more.")


def test_replicates_that_collapse_count_against_rejection() -> None:
    test = LikelihoodRatioTest(2, 5.0, np.array([1.0, np.inf, 2.0]))
    assert (test.p_value, test.n_degenerate) == (0.5, 1)
    assert "at least as large: 1 of 3 replicates with K = 2" in str(BootstrapLRT((test,), 0.05))
    assert len(BootstrapLRT((test,), 0.05).plot().axes) == 1


def test_data_that_collapse_are_not_tested() -> None:
    X = np.repeat([[0.0, 0.0], [3.0, 1.0], [1.0, 5.0], [4.0, 4.0]], 4, axis=0)
    X[:2] += [[0.1, 0.2], [0.3, -0.1]]
    with pytest.warns(DegeneracyWarning):
        found = bootstrap_lrt(X, 2, "full", n_replicates=3, n_init=2, random_state=0, progress=False)
    (test,) = found.tests
    assert np.isnan(test.p_value)
    assert len(test.replicates) == 0
    assert str(found).startswith("The test of K = 2 against 3 was not possible")
    assert found.n_components == 2
    with pytest.raises(InputError, match="at least one test that was possible"):
        found.plot()


def test_finished_replicates_are_kept(tmp_path, monkeypatch) -> None:
    X = np.random.default_rng(0).normal(size=(30, 1))
    few = bootstrap_lrt(X, 1, n_replicates=4, checkpoint=tmp_path / "kept", **QUICK)
    made = []
    replicate = likelihood_ratio._Task.replicate
    monkeypatch.setattr(likelihood_ratio._Task, "replicate", lambda *given: made.append(0) or replicate(*given))
    more = bootstrap_lrt(X, 1, n_replicates=6, checkpoint=tmp_path / "kept", **QUICK)
    assert len(made) == 2
    np.testing.assert_array_equal(more.tests[0].replicates[:4], few.tests[0].replicates)
    whole = bootstrap_lrt(X, 1, n_replicates=6, **QUICK)
    np.testing.assert_array_equal(more.tests[0].replicates, whole.tests[0].replicates)
    with pytest.raises(InputError, match="covariance_type"):
        bootstrap_lrt(X, 1, n_replicates=6, checkpoint=tmp_path / "kept", **QUICK | {"covariance_type": "full"})


def test_an_interruption_keeps_what_is_finished(monkeypatch) -> None:
    pressed, number, replicate = Event(), count(1), likelihood_ratio._Task.replicate

    @contextmanager
    def bar(description, *, show):
        def callback(done: int, total: int) -> None:
            if "K = 2" in description and done == 3:
                pressed.set()
                raise KeyboardInterrupt

        yield callback

    def waiting(task, k, null, rng):
        if k == 2 and next(number) > 3:
            assert pressed.wait(60.0)
        return replicate(task, k, null, rng)

    monkeypatch.setattr(likelihood_ratio, "progress_bar", bar)
    monkeypatch.setattr(likelihood_ratio._Task, "replicate", waiting)
    X = three_groups(np.random.default_rng(1))
    with pytest.warns(InterruptedWarning, match="The tests were interrupted"):
        found = bootstrap_lrt(X, n_replicates=19, level=0.1, **QUICK)
    assert found.interrupted
    assert found.table.loc[1, "n_replicates"] == 19
    assert 3 <= found.table.loc[2, "n_replicates"] < 19
    assert str(found).startswith("The tests were interrupted: ")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"n_components": [1, 3]}, "consecutive"),
        ({"n_components": []}, "consecutive"),
        ({"n_components": 30}, "n_components = 31, n_samples = 30"),
        ({"level": 1.0}, "level"),
        ({"em": {"prior": None}}, "prior"),
        ({"em": {"max_seconds": 5}}, "em without max_seconds"),
    ],
)
def test_settings_are_checked_before_any_work(given, told: str) -> None:
    with pytest.raises(InputError, match=told):
        bootstrap_lrt(np.random.default_rng(0).normal(size=(30, 1)), **QUICK | given)


# Randomised over the steps of 1 / (B + 1), p-values of a right null hypothesis are uniform: exactly for K = 1, where
# the statistic's distribution does not depend on parameters, and closely for two components far apart.
@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2])
def test_p_values_are_uniform_under_the_null_hypothesis(k: int) -> None:
    n_simulations, n_replicates, n_rows = 200, 19, 50
    uniform, by_chi_square = [], []
    for rng in np.random.default_rng(k).spawn(n_simulations):
        X = rng.normal(size=(n_rows, 1)) + 8.0 * rng.integers(k, size=(n_rows, 1))
        seed = int(rng.integers(2**31))
        (test,) = bootstrap_lrt(X, k, n_replicates=n_replicates, **QUICK | {"random_state": seed}).tests
        n_larger = int((test.replicates >= test.statistic).sum())
        uniform.append((n_larger + rng.random()) / (n_replicates + 1))
        by_chi_square.append(chi2.sf(test.statistic, 1))
    assert kstest(uniform, "uniform").pvalue > FALSE_ALARM
    assert kstest(by_chi_square, "uniform").pvalue < FALSE_ALARM  # a wrong reference distribution is seen
