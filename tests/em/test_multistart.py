"""The best of several starts: reached optima, spikes that never win, an honest record."""

import threading
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from em_cases import best_fit, corrected_diabetes, mass_galaxies, mixture_from_responsibilities
from reference import FAMILIES, load_data
from sklearn.datasets import load_iris

from bayesgmm.data.blocks import Data
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.em.initialization import INIT_METHODS, Initialisation
from bayesgmm.em.local_search import EFFORTS
from bayesgmm.em.multistart import best_of_starts
from bayesgmm.em.start_plan import Plan
from bayesgmm.exceptions import (
    DegeneracyWarning,
    DegenerateComponentError,
    FewRowsWarning,
    InputError,
    SingularDataWarning,
)
from bayesgmm.mixture.information_criteria import bic, measure
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.model import Model
from bayesgmm.priors.prior import Prior

pytestmark = pytest.mark.draws


def rng(seed=0):
    return np.random.default_rng(seed)


# Data, family, K, log-likelihood, mclust's BIC (larger is better) where it belongs to the same optimum.
KNOWN = [
    ("faithful", "tied", 3, -1126.316, -2314.296),
    ("faithful", "full", 2, -1130.264, -2322.192),
    ("iris", "full", 3, -180.186, -580.840),
    ("iris", "tied", 3, -256.355, -632.965),
    ("thyroid", "diag", 3, -2303.023, -4777.907),
    ("diabetes, corrected", "full", 3, -2295.0934, -4734.51),
    ("acidity", "tied", 2, -185.949, -392.072),
    ("galaxies (MASS)", "full", 3, -203.179, -441.612),
    ("galaxies", "full", 3, -203.482, None),
]
SPECIAL = {"diabetes, corrected": corrected_diabetes, "galaxies (MASS)": mass_galaxies}


@pytest.mark.parametrize(("name", "covariance_type", "k", "log_likelihood", "mclust_bic"), KNOWN)
def test_known_optima_are_reached(name, covariance_type, k, log_likelihood, mclust_bic):
    X = SPECIAL[name]() if name in SPECIAL else load_data(name)
    best, starts = best_fit(Data.of(X), k, rng=rng(), covariance_type=covariance_type)
    assert best.log_likelihood >= log_likelihood - 1e-3
    assert best.converged
    assert not starts.degenerate[starts.best]
    if mclust_bic is not None:
        assert -bic(measure(Data.of(X), best.mixture)) == pytest.approx(mclust_bic, abs=0.02)


def test_fraley_raftery_prior_reaches_what_mclust_reports():
    """faithful EEE 3: data log-likelihood -1126.427 and mclust's BIC of it at the mode."""
    X = load_data("faithful")
    prior = Prior.fraley_raftery(X, 3, covariance_type="tied")
    settings = EMSettings(tol=1e-10)  # the objective is within its tolerance long before this part of it
    best, _ = best_fit(Data.of(X), 3, rng=rng(), covariance_type="tied", prior=prior, settings=settings)
    assert best.log_likelihood == pytest.approx(-1126.427, abs=1e-3)
    assert best.objective == pytest.approx(best.log_likelihood + prior.log_prob(best.mixture))


def test_the_record_counts_what_the_starts_found():
    X = load_data("iris")
    best, starts = best_fit(Data.of(X), 5, rng=rng(), n_init=10)
    assert starts.n_starts == len(starts.objectives) == len(starts.n_iter) == 10
    close = np.abs(starts.objectives - best.objective) <= 10 * 1e-6 * 150
    assert 1 <= starts.n_best_reached == close.sum() < 10  # iris has several optima
    assert starts.objectives[starts.best] == best.objective
    assert starts.tolerance == pytest.approx(10 * 1e-6 * 150)


@pytest.mark.filterwarnings("ignore:Every start:bayesgmm.exceptions.DegeneracyWarning")  # a single one may collapse
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_same_seed_same_fit_whatever_the_threads(n_jobs):
    X = load_data("thyroid")
    want, _ = best_fit(Data.of(X), 4, rng=rng(3), n_jobs=1)
    got, _ = best_fit(Data.of(X), 4, rng=rng(3), n_jobs=n_jobs)
    np.testing.assert_array_equal(got.mixture.means, want.mixture.means)
    other, _ = best_fit(Data.of(X), 4, rng=rng(5), n_init=1, n_jobs=n_jobs)
    assert not np.array_equal(other.history[:1], want.history[:1])


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_components_come_out_in_order_of_the_first_mean(covariance_type):
    best, _ = best_fit(Data.of(load_data("iris")), 3, rng=rng(), covariance_type=covariance_type, n_init=4)
    assert (np.diff(best.mixture.means[:, 0]) > 0).all()
    np.testing.assert_allclose(best.counts, best.mixture.responsibilities(load_data("iris")).sum(axis=0), atol=1e-4)


def test_ties_in_the_first_mean_are_ordered_by_the_next():
    X = np.array([[0.0, y] for y in (5.0, 5.1, 4.9, 5.05, 4.95, 1.0, 1.1, 0.9, 1.05, 0.95)])
    with pytest.warns(SingularDataWarning, match="column 0"):
        best, _ = best_fit(Data.of(X), 2, rng=rng(), covariance_type="tied", settings=EMSettings(reg_covar=1e-3))
    np.testing.assert_allclose(best.mixture.means, [[0.0, 1.0], [0.0, 5.0]], atol=1e-12)


def test_the_order_of_the_user_is_kept():
    X = load_data("faithful")
    given = Initialisation(means=[[4.3, 80.0], [2.0, 55.0]])
    best, starts = best_fit(Data.of(X), 2, rng=rng(), initialisation=given)
    assert best.mixture.means[0, 0] > best.mixture.means[1, 0]
    assert starts.n_starts == 1  # all ten would be the same
    start = Mixture([0.5, 0.5], [[4.3, 80.0], [2.0, 55.0]], [np.diag([0.2, 30.0])] * 2)
    again, starts = best_fit(Data.of(X), 2, rng=rng(), start=start)
    assert again.mixture.means[0, 0] > again.mixture.means[1, 0]
    assert starts.n_starts == 1


def test_a_prior_that_tells_components_apart_keeps_its_order():
    X = load_data("acidity")
    prior = Prior.independent(mean=[[6.3], [4.3]], mean_covariance=[[0.04]], dof=3.0, scale=[[0.1]])
    best, starts = best_fit(Data.of(X), 2, rng=rng(), prior=prior)
    np.testing.assert_allclose(best.mixture.means[:, 0], [6.3, 4.3], atol=0.15)
    assert starts.n_best_reached == 10


def ties_and_a_blob():
    return np.vstack([rng().normal(size=(80, 2)), [[1.0, 1.0]] * 6, [[-1.0, 0.5]] * 5])


def test_spikes_never_win_while_another_start_is_sound():
    """On rounded data some starts short_em a spike whose likelihood is higher and means nothing."""
    X = ties_and_a_blob()
    best, starts = best_fit(Data.of(X), 4, rng=rng(1), covariance_type="full", n_init=20)
    assert 0 < starts.n_degenerate < 20
    assert np.nanmax(starts.objectives[starts.degenerate]) > best.objective
    assert not starts.degenerate[starts.best]
    smallest = np.linalg.eigvalsh(best.mixture.covariances).min()
    assert smallest >= 1e-3 * np.linalg.eigvalsh(np.cov(X.T, bias=True)).min()
    assert best.counts.min() >= 3


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_when_every_start_collapses_the_user_is_told_what_to_do(covariance_type):
    X = np.repeat([[0.0, 0.0], [1.0, 5.0], [2.0, 1.0]], 10, axis=0)
    with pytest.warns(DegeneracyWarning, match=r"prior=Prior\.weakly_informative\(X\).*fewer components.*reg_covar"):
        best, starts = best_fit(Data.of(X), 3, rng=rng(), covariance_type=covariance_type, n_init=3)
    assert starts.n_degenerate == 3
    assert np.isfinite(best.objective)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prior = Prior.weakly_informative(X)
        best, starts = best_fit(Data.of(X), 3, rng=rng(), covariance_type=covariance_type, prior=prior, n_init=3)
    assert starts.n_degenerate == 0
    np.testing.assert_allclose(best.counts, 10.0, atol=1.0)


def test_a_component_for_every_row_is_reported():
    with pytest.warns(DegeneracyWarning, match="rows' worth of weight"):
        best_fit(Data.of(rng().normal(size=(6, 2))), 6, rng=rng(), n_init=2)


def two_groups():
    return rng().normal(size=(60, 1)) + np.repeat([[0.0], [8.0]], 30, axis=0)


@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize(
    "X",
    [
        np.column_stack([two_groups(), np.ones(60)]),
        two_groups() * [[1.0, 2.0]],
        two_groups(),
    ],
    ids=["constant column", "dependent columns", "one feature"],
)
def test_data_that_do_not_vary_in_a_direction_are_not_blamed_on_the_components(X, covariance_type):
    told = "column 1" if not np.ptp(X[:, -1]) else "1 directions" if covariance_type in ("full", "tied") else None
    told = told if X.shape[1] > 1 else None
    for k in (1, 2):
        with pytest.warns(SingularDataWarning, match=told) if told else nullcontext():
            best, starts = best_fit(Data.of(X), k, rng=rng(), covariance_type=covariance_type, n_init=5)
        assert not starts.degenerate[starts.best]
        assert np.isfinite(best.objective)


def test_rows_that_are_all_equal_fit_one_component():
    with pytest.warns(SingularDataWarning, match="column 0, column 1"), pytest.warns(FewRowsWarning):
        best, _ = best_fit(Data.of(np.ones((5, 2))), 1, rng=rng())
    np.testing.assert_allclose(best.mixture.means, 1.0)


def test_a_breakdown_is_an_error_with_figures():
    X = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 3.0]])
    settings = EMSettings(reg_covar=0.0)
    with pytest.raises(DegenerateComponentError, match="increase reg_covar") as caught:
        best_fit(Data.of(X), 1, rng=rng(), covariance_type="diag", settings=settings, n_init=2)
    assert caught.value.figures["largest absolute value"] == 3.0


def test_more_parameters_than_different_rows_are_told():
    """Frequency weights and copies add no values, and a prior supplies what rows lack."""
    X = rng().normal(size=(31, 3)) + 5.0 * np.repeat([[0.0], [1.0], [2.0]], [10, 10, 11], axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        best_fit(Data.of(X), 3, rng=rng(), n_init=2)  # 29 parameters
        best_fit(Data.of(X[:28]), 3, rng=rng(), prior=Prior.weakly_informative(X), n_init=2)
    for rows, weights in ((X[:28], None), (X[:28], np.full(28, 2.0)), (np.repeat(X[:28], 3, axis=0), None)):
        with pytest.warns(FewRowsWarning, match="29 free parameters, more than 28 different rows"):
            best_fit(Data.of(rows, weights), 3, rng=rng(), n_init=2)
    with pytest.warns(FewRowsWarning, match="more than 15.5"):
        best_fit(Data.of(X, np.full(31, 0.5)), 3, rng=rng(), n_init=2)


def test_values_whose_squares_overflow_are_refused():
    with pytest.raises(InputError, match="1e"):
        best_fit(Data.of([[1e200], [-1e200], [0.0]]), 1, rng=rng())


@pytest.mark.parametrize("bad", [{"n_components": 9}, {"n_init": 0}, {"covariance_type": "round"}])
def test_bad_settings_are_refused_before_any_work(bad):
    with pytest.raises(InputError):
        best_fit(**{"data": Data.of(np.arange(5.0)[:, None]), "n_components": 2, "rng": rng()} | bad)


@pytest.mark.parametrize("method", INIT_METHODS)
def test_every_method_reaches_old_faithful(method):
    best, _ = best_fit(Data.of(load_data("faithful")), 2, rng=rng(), initialisation=Initialisation(method))
    assert best.log_likelihood == pytest.approx(-1130.264, abs=1e-3)


def test_callback_ends_the_fit_and_the_best_so_far_is_kept():
    seen = set()

    def callback(index, state):
        seen.add(index)
        return index == 2 and state.iteration > 0

    best, starts = best_fit(Data.of(load_data("iris")), 3, rng=rng(), callback=callback)
    assert starts.interrupted
    assert seen == {0, 1, 2}
    assert starts.n_starts == 3
    assert best.objective == starts.objectives.max()


@pytest.mark.filterwarnings("ignore:Every start:bayesgmm.exceptions.DegeneracyWarning")  # where it stood then
def test_an_interruption_from_the_keyboard_keeps_the_best_so_far(monkeypatch):
    """Ctrl-C reaches the main thread, which waits for the starts."""
    began = threading.Event()
    wait = threading.Event()

    pressed = []

    class Interrupted:
        def __init__(self, future):
            self.future = future

        def result(self):
            if not pressed:
                pressed.append(True)
                began.wait(10)
                raise KeyboardInterrupt
            wait.set()
            return self.future.result()

    from concurrent.futures import ThreadPoolExecutor

    submit = ThreadPoolExecutor.submit
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda *a, **k: Interrupted(submit(*a, **k)))

    def callback(index, state):
        if state.iteration > 0:
            began.set()
            wait.wait(10)

    best, starts = best_fit(
        Data.of(rng().normal(size=(9_000, 2))), 4, rng=rng(), settings=EMSettings(tol=-1.0), callback=callback, n_jobs=1
    )
    assert starts.interrupted
    assert starts.n_starts == 1
    assert np.isfinite(best.objective)


def test_distinct_optima_are_kept_best_first():
    X = np.asarray(load_iris().data)
    _, starts = best_fit(Data.of(X), 5, rng=np.random.default_rng(0), n_init=12)
    found = [mixture.log_prob(X).sum() for mixture in starts.optima]
    assert found == sorted(found, reverse=True)
    assert len(found) > 1
    assert -np.diff(found).max() > starts.tolerance
    np.testing.assert_allclose(found[0], starts.objectives[starts.best], atol=starts.tolerance)
    good = starts.objectives[~starts.degenerate]
    assert np.abs(good[:, None] - np.array(found)).min(axis=1).max() <= starts.tolerance * 2.0


def test_with_a_prior_the_largest_mass_wins_not_the_highest_density():
    """In many dimensions a component of one row is the highest mode, in a place too small to matter."""
    d, n = 20, 900
    groups = np.repeat(np.eye(3, d) * 24.0, n // 3, axis=0)
    X = groups + rng(1).normal(size=(n, d))
    prior = Prior.weakly_informative(X)
    data, model = Data.of(X), Model.of("full", 3, d, prior=prior)
    fit, starts = best_of_starts(data, model, rng=rng(), n_init=4)
    np.testing.assert_allclose(fit.counts, n / 3, atol=1.0)
    resp = np.zeros((n, 3))
    resp[0, 0], resp[1 : 2 * n // 3, 1], resp[2 * n // 3 :, 2] = 1.0, 1.0, 1.0
    alone = run_em(data, mixture_from_responsibilities(X, resp, prior=model.prior), prior=model.prior)
    assert alone.counts.min() < 1.5
    assert alone.objective > fit.objective + 100.0
    masses = [model.log_mass(end.objective, end.mixture, end.counts) for end in (fit, alone)]
    assert masses[0] > masses[1] + 100.0
    assert starts.optima[0].weights.min() > 0.3


@pytest.mark.parametrize("n_rows", [6_000, 4_000])
def test_where_searches_on_a_part_end_in_spikes_starts_without_one_are_made(n_rows, monkeypatch):
    """On few rows a search has seen all there is, and its end stands."""
    centres = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    X = np.asfortranarray(np.repeat(centres, n_rows // 3 + 1, axis=0)[:n_rows] + rng().normal(size=(n_rows, 2)))
    X[:2] = [4.5, 4.5]  # twice the same row: a component that begins there shrinks to nothing
    spike = Mixture([0.001, 0.333, 0.666], [X[0], [9.0, 0.0], [0.0, 4.0]], [np.eye(2) * s for s in (0.1, 1.0, 20.0)])
    monkeypatch.setattr(Plan, "starting_mixture", lambda self, *arguments, **options: spike)
    fits = lambda: best_of_starts(Data.of(X), Model.of("full", 3, 2), rng=rng(1), n_init=1)  # noqa: E731
    if n_rows > 5_000:
        result, starts = fits()
        np.testing.assert_allclose(sorted(result.mixture.weights), 1 / 3, atol=0.01)
        assert not starts.degenerate.any()
        assert starts.n_starts == 1
    else:
        with pytest.warns(DegeneracyWarning, match="Every start"):
            fits()


@pytest.mark.parametrize("loose", [True, False])
def test_where_ends_collapse_the_last_proper_point_is_kept(loose, monkeypatch):
    """A start proper up to some objective: at a loose tolerance that is its end, else it stands where no other does."""
    data, model = Data.of(load_data("iris")), Model.of("full", 3, 4)
    begin = three_of_iris()
    near, end = (run_em(data, begin, settings=EMSettings(max_iter=n)) for n in (3, 1000))
    assert near.objective < end.objective - 0.01
    limit = (near.objective + end.objective) / 2
    monkeypatch.setattr(Plan, "starting_mixture", lambda self, *arguments, **options: begin)
    monkeypatch.setattr("bayesgmm.em.degeneracy.Degeneracy.is_proper", lambda self, run: run.objective < limit)
    monkeypatch.setattr("bayesgmm.em.multistart._ALMOST", 1.0)
    effort = EFFORTS["standard"]._replace(enough=1.0 if loose else 0.0)
    result, starts = best_of_starts(data, model, rng=rng(), n_init=2, effort=effort)
    assert result.objective == pytest.approx(near.objective)
    assert not result.converged
    assert len(result.history) == result.n_iter + 1
    assert (np.diff(result.history) >= -1e-9).all()
    assert starts.degenerate.tolist() == [False, not loose]


def test_a_loose_tolerance_ends_a_start_when_going_on_takes_long(monkeypatch):
    data, model = Data.of(load_data("iris")), Model.of("full", 3, 4)
    begin = three_of_iris()
    found = []
    for enough, longest in ((1.0, 0.0), (1e-12, 0.0), (1.0, 4.0)):
        monkeypatch.setattr("bayesgmm.em.multistart._BEYOND", longest)
        effort = EFFORTS["standard"]._replace(enough=enough)
        monkeypatch.setattr(Plan, "starting_mixture", limited(begin))
        result, _ = best_of_starts(data, model, rng=rng(), n_init=1, effort=effort)
        found.append(result)
    assert (found[0].n_iter, found[0].converged) == (5, False)
    assert found[1].converged
    assert found[1].objective == pytest.approx(found[2].objective, abs=1e-3)
    assert len(found[1].history) == found[1].n_iter + 1 > 6
    assert found[2].converged


def test_a_search_that_has_ended_where_em_would_is_the_end(monkeypatch):
    """Far groups: EM has nothing to gain from where the search of all rows ends, and makes no further pass."""
    X = np.repeat([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]], 40, axis=0) + rng().normal(size=(120, 2))
    data, model, seen, runs = Data.of(X), Model.of("full", 3, 2), [], []
    monkeypatch.setattr(
        "bayesgmm.em.multistart.run_em", lambda *args, **kwargs: runs.append(1) or run_em(*args, **kwargs)
    )
    settings = EMSettings(tol=1e-6)
    result, starts = best_of_starts(
        data, model, rng=rng(), n_init=3, settings=settings, callback=lambda index, state: seen.append(index)
    )
    again = run_em(data, result.mixture, settings=EMSettings(tol=0.0))
    assert not runs
    assert sorted(set(seen)) == [0, 1, 2]
    assert starts.converged.all()
    assert -1e-9 <= again.objective - result.objective <= 1e-6 * len(X)  # but for rounding


def three_of_iris():
    """A start from three fixed rows."""
    X = load_data("iris")
    return Mixture(np.full(3, 1 / 3), X[[0, 60, 120]], np.repeat(np.cov(X.T)[None] / 4, 3, axis=0))


def limited(begin):
    """A start that may cost a second."""

    def starting_mixture(self, index, generator, short_em):
        short_em.limit = 1.0
        return begin

    return starting_mixture
