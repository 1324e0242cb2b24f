"""Extrapolation saves most passes where components overlap, costs hardly any elsewhere, and never descends."""

import numpy as np
import pytest
from em_cases import PRIORS, mixture_from_responsibilities
from reference import load_data
from scipy.stats import norm, qmc
from sklearn.datasets import load_wine

from bayesgmm.data.blocks import Data
from bayesgmm.em.em import EMSettings, _Run, run_em
from bayesgmm.em.squarem import (
    CAP,
    CHECK,
    FAILED,
    GOES_ON,
    N_FAILED,
    N_TRIED,
    NOW,
    PHASE,
    REJECTED,
    Iterates,
    aitken_remaining,
    check_convergence,
    step_length,
)
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.mixture.statistics import Statistics
from bayesgmm.priors.prior import Prior

PLAIN, FAST = EMSettings(max_iter=20_000, accelerate=False), EMSettings(max_iter=20_000)
STARTS = range(6)


def groups(distance, n_components, n_features):
    """2,048 rows from groups of unit variance in a line, so many standard deviations apart.

    Neither they nor the starts are random: how many steps EM takes is another number for other ones.
    """
    u = (qmc.Sobol(n_features + 1, scramble=False).random(2_048) + 0.5 / 2_048).clip(0.0, 1.0 - 1e-9)
    means = np.zeros((n_components, n_features))
    means[:, 0] = distance * np.arange(n_components)
    return means[(u[:, 0] * n_components).astype(int)] + norm.ppf(u[:, 1:])


def some_start(X, n_components, covariance_type, rows):
    """Memberships by distance from some rows, other ones for each number: EM has much to do."""
    if not isinstance(rows, list):
        rows = ((np.arange(1, n_components + 1) * (rows + 1) * 0.618034) % 1.0 * len(X)).astype(int)
    standard = (X - X.mean(axis=0)) / X.std(axis=0)
    centres = standard[rows]
    log_resp = -0.5 * ((standard[:, None] - centres) ** 2).sum(axis=-1)
    resp = np.exp(log_resp - log_resp.max(axis=1, keepdims=True))
    return mixture_from_responsibilities(X, resp / resp.sum(axis=1, keepdims=True), covariance_type)


def both(X, n_components, covariance_type, seed, **options):
    start = some_start(X, n_components, covariance_type, seed)
    return [run_em(Data.of(X), start, settings=settings, **options) for settings in (PLAIN, FAST)]


def check_never_falls(run):
    assert (np.diff(run.history) >= -1e-12 * np.abs(run.history[:-1])).all()
    assert len(run.history) == run.n_iter + 1


@pytest.mark.parametrize(
    ("distance", "n_components", "n_features", "covariance_type"),
    [(1.25, 2, 2, "full"), (1.5, 2, 2, "tied"), (1.5, 3, 2, "tied"), (2.0, 3, 1, "full")],
)
def test_a_third_of_the_passes_where_groups_overlap(distance, n_components, n_features, covariance_type):
    X = groups(distance, n_components, n_features)
    passes = np.zeros(2)
    for seed in STARTS:
        plain, fast = both(X, n_components, covariance_type, seed)
        check_never_falls(fast)
        assert plain.converged
        assert fast.converged
        assert fast.objective > plain.objective - 1e-3
        passes += plain.n_iter + 1, fast.n_iter + 1
    assert passes[0] >= 3.0 * passes[1]


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize(
    ("name", "n_components"),
    [("faithful", 2), ("faithful", 3), ("iris", 3), ("thyroid", 3), ("diabetes", 3), ("enzyme", 2)],
)
def test_hardly_more_passes_from_any_start_elsewhere(name, n_components, covariance_type):
    X = load_data(name)
    for seed in STARTS:
        plain, fast = both(X, n_components, covariance_type, seed)
        check_never_falls(fast)
        assert fast.objective > plain.objective - 1e-3
        if fast.objective < plain.objective + 1e-3:  # else plain EM has not come as far
            assert fast.n_iter + 1 <= 1.1 * (plain.n_iter + 1)


def test_a_rate_that_repeats_once_is_no_trend():
    """From this start a gain is 0.91 of the one before, then 0.90, and then EM speeds up: long steps would not pay."""
    plain, fast = both(load_wine().data, 3, "full", [157, 46, 49])
    assert fast.n_iter == plain.n_iter


def test_a_plateau_after_extrapolation_is_no_end():
    """This start crosses a plateau where a step gains 1e-4 and 3.2 log units are to come in 3,000 steps."""
    X = groups(2.0, 3, 1)
    plain, fast = both(X, 3, "full", 5)
    assert fast.objective > plain.objective - 1e-3
    assert 3 * fast.n_iter < plain.n_iter


@pytest.mark.parametrize("prior_name", PRIORS)
def test_no_lower_mode_with_a_prior(prior_name):
    X = load_data("faithful")
    prior = PRIORS[prior_name](X)
    resolved = None if prior is None else prior.resolve(3, 2, "full")
    plain, fast = both(X, 3, "full", 0, prior=resolved)
    assert fast.objective > plain.objective - 1e-3
    check_never_falls(fast)


def test_blocks_take_the_same_path():
    X = groups(1.5, 2, 2)
    start = some_start(X, 2, "tied", 0)
    whole, blocks = run_em(Data.of(X), start, settings=FAST), run_em(list(Data.of(X)), start, settings=FAST)
    assert blocks.n_iter == whole.n_iter
    np.testing.assert_allclose(blocks.history, whole.history, rtol=1e-12)


def test_one_extrapolation_is_exact_on_a_line():
    for rate in (0.5, 0.9, 0.999):
        r, v = rate - 1.0, rate**2 - 2.0 * rate + 1.0
        alpha = -step_length(abs(r), abs(v), 1e6)
        assert alpha == pytest.approx(-1.0 / (1.0 - rate))
        assert 1.0 - 2.0 * alpha * r + alpha**2 * v == pytest.approx(0.0, abs=1e-9)
    assert step_length(1.0, 0.01, 4.0) == 4.0
    assert step_length(1.0, 5.0, 4.0) == step_length(0.0, 0.0, 4.0) == 1.0


def test_the_rest_of_a_geometric_series():
    assert aitken_remaining(0.0, 1.0, 1.5) == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [-101.0, np.nan, np.inf])
def test_a_lower_or_infinite_objective_is_rejected(bad):
    state = Iterates.begin(Mixture([1.0], [[0.0]], [[[1.0]]]), accelerate=True, n_alone=1).state
    state[[PHASE, NOW]] = CHECK, -100.0
    assert check_convergence(state, bad, 1e-6) == REJECTED
    assert state[PHASE] == FAILED
    assert state[NOW] == -100.0


def begun(source, start, settings) -> tuple[_Run, int, Statistics]:
    run = _Run(source, start, prior=None, settings=settings, pool=None)
    statistics = run.e_step(start)
    return run, run.check_convergence(statistics, start), statistics


def advanced(run: _Run, statistics: Statistics) -> tuple[int, Statistics]:
    mixture = run.m_step(statistics)
    statistics = run.e_step(mixture)
    return run.check_convergence(statistics, mixture), statistics


def rejected_run() -> tuple[_Run, Statistics]:
    """EM whose last step was extrapolated far too long; from most starts one is."""
    X = groups(1.5, 2, 2)
    for seed in range(50):
        run, verdict, statistics = begun(Data.of(X), some_start(X, 2, "tied", seed), FAST)
        while verdict == GOES_ON:
            run.iterates.state[CAP] = 1e4
            verdict, statistics = advanced(run, statistics)
        if verdict == REJECTED:
            return run, statistics
    raise AssertionError("no extrapolation was rejected")


def test_after_a_failed_extrapolation_em_goes_on_from_the_double_step():
    run, statistics = rejected_run()
    before = run.history[-1]
    assert run.history[-2] == before
    assert run.iterates.state[N_FAILED] >= 1
    _, statistics = advanced(run, statistics)
    assert run.history[-1] > before
    state = run.state(statistics)
    assert state.objective == run.history[-1]
    assert state.mixture.log_prob(groups(1.5, 2, 2)).sum() == pytest.approx(run.history[-1], rel=1e-12)


def test_without_acceleration_nothing_is_tried():
    X = groups(1.5, 2, 2)
    start = some_start(X, 2, "tied", 0)
    for settings, tried in ((PLAIN, False), (FAST, True)):
        run, _, statistics = begun(Data.of(X), start, settings)
        for _ in range(20):
            _, statistics = run.steps_on(run.block, statistics)
        assert (run.iterates.state[N_TRIED] > 0) == tried


def test_weighted_rows_and_a_prior_take_the_path_of_repeated_rows():
    X = groups(1.5, 2, 1)[:400]
    weights = np.random.default_rng(0).integers(1, 4, len(X)).astype(float)
    prior = Prior.weakly_informative(X).resolve(2, 1, "full")
    start = some_start(X, 2, "full", 1)
    weighted = run_em(Data.of(X, weights), start, prior=prior, settings=FAST)
    repeated = run_em(Data.of(np.repeat(X, weights.astype(int), axis=0)), start, prior=prior, settings=FAST)
    assert weighted.objective == pytest.approx(repeated.objective, abs=1e-5 * weights.sum())
