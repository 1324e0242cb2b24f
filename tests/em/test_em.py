"""EM climbs, stops where the gradient is zero, and reaches the optima that other programs reached."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from em_cases import NAMES, PRIORS, SHARED_NAMES, mclust_fits, mixture_from_responsibilities, one_start, shared_data
from reference import FAMILIES, load_data, load_json, random_mixture

from bayesgmm.data.blocks import Data
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.em.squarem import aitken_remaining
from bayesgmm.mixture import covariance_family
from bayesgmm.mixture.alignment import align_to
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.prior import Prior

TO_THE_END = EMSettings(tol=0.0, max_iter=20_000)


def check_never_falls(X, covariance_type, prior, *, n_components=3, reg_covar=1e-6, seeds=range(2)):
    resolved = None if prior is None else prior.resolve(n_components, X.shape[1], covariance_type)
    settings = EMSettings(tol=1e-9, max_iter=200, reg_covar=reg_covar)
    for seed in seeds:
        start = one_start(
            Data.of(X),
            n_components,
            rng=np.random.default_rng(seed),
            covariance_type=covariance_type,
            reg_covar=reg_covar,
        )
        result = run_em(Data.of(X), start, prior=resolved, settings=settings)
        assert np.isfinite(result.history).all()
        falls = -np.diff(result.history)
        assert falls.max(initial=0.0) <= 1e-12 * np.abs(result.history).max(), (falls.max(), falls.argmax())
        assert len(result.history) == result.n_iter + 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prior_name", PRIORS)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_objective_never_falls(covariance_type, prior_name, name):
    X = load_data(name)
    check_never_falls(X, covariance_type, PRIORS[prior_name](X))


@pytest.mark.parametrize("name", [*NAMES, *SHARED_NAMES])
def test_shared_diagonal_families_reach_mclusts_likelihoods(name):
    """From mclust's own parameters to the optimum that it reaches at a tolerance of 1e-12."""
    fits = mclust_fits(name)
    for fit in fits:
        k, given = fit["G"], fit["parameters"]
        X = load_data(name) if name in NAMES else shared_data(name)
        weights, family = np.array(given["weights"]), covariance_family(fit["model"])
        covariances = family.compress(np.array(given["covariances"]))
        start = Mixture(weights / weights.sum(), given["means"], covariances, fit["model"])
        end = run_em(Data.of(X), start, settings=EMSettings(tol=1e-11, max_iter=20_000, reg_covar=0.0))
        assert family.n_parameters(k, X.shape[1]) == fit["df"]
        assert end.log_likelihood == pytest.approx(fit["loglik_tight"], abs=1e-3)


@pytest.mark.parametrize("name", SHARED_NAMES)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_objective_never_falls_on_more_data(covariance_type, name):
    X = shared_data(name)
    for make in PRIORS.values():
        check_never_falls(X, covariance_type, make(X), seeds=[0])


@pytest.mark.parametrize("reg_covar", [1e-4, 0.3])
@pytest.mark.parametrize("prior_name", PRIORS)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_objective_never_falls_while_the_floor_acts(covariance_type, prior_name, reg_covar):
    rng = np.random.default_rng(0)
    ties = np.repeat(np.round(rng.normal(size=(40, 2)), 1), 4, axis=0)  # many equal rows: spikes
    thin = np.column_stack([rng.normal(size=160), 1e-5 * rng.normal(size=160)])  # a nearly singular column
    for X in (ties, thin, np.vstack([ties, [[0.0, 0.0]] * 60])):
        check_never_falls(X, covariance_type, PRIORS[prior_name](X), n_components=5, reg_covar=reg_covar)


def test_the_floor_is_really_reached_there():
    X = np.vstack([np.random.default_rng(0).normal(size=(100, 2)), [[0.0, 0.0]] * 60])
    start = Mixture([0.6, 0.4], [[0.0, 0.0], [0.0, 0.0]], [np.eye(2), 1e-3 * np.eye(2)])
    result = run_em(Data.of(X), start, settings=EMSettings(reg_covar=1e-4))
    assert result.n_floored == 1
    assert np.linalg.eigvalsh(result.mixture.covariances[1]) == pytest.approx(1e-4, rel=1e-6)


@pytest.mark.parametrize("prior_name", PRIORS)
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_gradient_vanishes_at_the_optimum(covariance_type, prior_name):
    """Numerical derivatives of log-likelihood plus log prior, in every mean, variance and log-ratio of weights."""
    X = load_data("faithful")
    prior = PRIORS[prior_name](X)
    resolved = None if prior is None else prior.resolve(2, 2, covariance_type)
    start = one_start(Data.of(X), 2, rng=np.random.default_rng(0), covariance_type=covariance_type)
    end = run_em(Data.of(X), start, prior=resolved, settings=TO_THE_END)
    assert end.converged
    scale = X.std(axis=0)
    sparse = prior_name == "independent, sparse"

    def objective(mixture):
        total = mixture.log_prob(X).sum() + (0.0 if prior is None else prior.log_prob(mixture))
        return total + (np.log(mixture.weights).sum() if sparse else 0.0)

    def slope(move):
        h = 1e-4
        return (objective(move(h)) - objective(move(-h))) / (2 * h)

    best = end.mixture
    for index in np.ndindex(best.means.shape):
        assert abs(slope(lambda h, i=index: changed(best, "means", i, h * scale[i[1]]))) < 1e-3
    shape = best.covariances.shape if best.family.in_scikit_learn else best.factors.shape[1:]
    for index in np.ndindex(shape):
        index = index if best.family.in_scikit_learn else (0, index[1], index[1])
        size = best.covariances[index] * 0.1
        assert abs(slope(lambda h, i=index, size=size: changed(best, "covariances", i, h * size))) < 1e-3
    assert abs(slope(lambda h: changed(best, "weights", 0, h))) < 1e-3
    # The same slopes are far from zero elsewhere, so the test can fail.
    best = start
    assert abs(slope(lambda h: changed(best, "means", (0, 0), h * scale[0]))) > 1e-2


def changed(mixture, name, index, step):
    parts = {key: getattr(mixture, key).copy() for key in ("weights", "means", "covariances")}
    parts[name][index] += step
    if name == "weights":
        parts[name][1] -= step
    if name == "covariances" and mixture.family.name in ("full", "tied"):
        parts[name][(*index[:-2], index[-1], index[-2])] = parts[name][index]
    if name == "covariances" and not mixture.family.in_scikit_learn:
        where = np.arange(mixture.n_features) if mixture.family.parametrisation.width(2) > 1 else index[-1]
        parts[name][:, where, where] = parts[name][index]
    return Mixture(**parts, covariance_type=mixture.covariance_type)


@pytest.mark.parametrize("fit", load_json("mclust_prior_map"), ids=lambda f: f"{f['dataset']}-{f['model']}-{f['G']}")
def test_map_equals_mclust_in_every_parameter(fit):
    """From mclust's final labels EM climbs to the mode that mclust reports."""
    X, k = load_data(fit["dataset"]), fit["G"]
    covariance_type = "tied" if fit["model"].startswith("E") else "full"
    prior = Prior.fraley_raftery(X, k, covariance_type=covariance_type)
    resolved = prior.resolve(k, X.shape[1], covariance_type)
    labels = np.eye(k)[np.array(fit["classification"]) - 1]
    start = mixture_from_responsibilities(X, labels, covariance_type, prior=resolved)
    # The objective is flat to rounding error before the parameters stand still: go on regardless of it.
    end = run_em(Data.of(X), start, prior=resolved, settings=EMSettings(tol=-1.0, max_iter=3_000))
    scale = X.std(axis=0)
    want = fit["parameters"]
    means = np.array(want["means"]).reshape(k, -1)
    covariances = np.array(want["covariances"]).reshape(-1, X.shape[1], X.shape[1])
    assert np.abs(start.means - means).max() > 1e-4  # the labels are not the answer
    np.testing.assert_allclose(end.mixture.weights, want["weights"], atol=1e-6)
    np.testing.assert_allclose(end.mixture.means / scale, means / scale, atol=1e-6)
    difference = (end.mixture.full_covariances - covariances) / np.outer(scale, scale)
    assert np.abs(difference).max() < 1e-6
    assert end.log_likelihood == pytest.approx(fit["loglik_without_prior_term"], abs=1e-4)


def test_a_source_of_several_blocks_is_the_same_run():
    X = load_data("iris")
    start = one_start(Data.of(X), 3, rng=np.random.default_rng(0))
    whole = run_em(Data.of(X), start)
    blocks = [block for part in np.array_split(X, 4) for block in Data.of(part)]
    parts = run_em(blocks, start)
    assert parts.n_iter == whole.n_iter
    np.testing.assert_allclose(parts.history, whole.history, rtol=1e-12)
    np.testing.assert_allclose(parts.mixture.covariances, whole.mixture.covariances, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_row_weights_are_repeated_rows(covariance_type):
    X = load_data("galaxies")
    v = np.arange(len(X)) % 4
    start = one_start(Data.of(X), 3, rng=np.random.default_rng(0), covariance_type=covariance_type)
    weighted = run_em(Data.of(X, v), start, settings=EMSettings(tol=1e-9))
    repeated = run_em(Data.of(np.repeat(X, v, axis=0)), start, settings=EMSettings(tol=1e-9))
    np.testing.assert_allclose(weighted.history, repeated.history, rtol=1e-12)
    np.testing.assert_allclose(weighted.mixture.means, repeated.mixture.means, rtol=1e-10)


def test_callback_sees_the_states_and_stops_the_run():
    X = load_data("faithful")
    start = one_start(Data.of(X), 3, rng=np.random.default_rng(0))
    blocks = list(Data.of(X))  # a general source comes back after every step
    seen = []
    result = run_em(blocks, start, callback=lambda state: seen.append(state) or len(seen) == 5)
    assert [state.iteration for state in seen] == [0, 1, 2, 3, 4]
    assert result.n_iter == 4
    assert not result.converged
    assert result.mixture is seen[-1].mixture
    assert result.objective == seen[-1].objective == pytest.approx(result.mixture.log_prob(X).sum())
    np.testing.assert_allclose(seen[-1].counts, result.mixture.responsibilities(X).sum(axis=0))


def test_callback_stops_data_in_memory_too():
    X = np.random.default_rng(0).normal(size=(3_000, 2))
    start = one_start(Data.of(X), 4, rng=np.random.default_rng(0))
    result = run_em(Data.of(X), start, settings=EMSettings(tol=-1.0), callback=lambda state: state.iteration > 0)
    assert 0 < result.n_iter <= 64


@pytest.mark.parametrize("max_iter", [0, 1, 2, 63, 64, 65, 66, 130])
def test_max_iter_is_kept(max_iter):
    X = load_data("faithful")
    start = one_start(Data.of(X), 3, rng=np.random.default_rng(0))
    settings = EMSettings(tol=-1.0, max_iter=max_iter)
    result, general = (run_em(source, start, settings=settings) for source in (Data.of(X), list(Data.of(X))))
    assert result.n_iter == max_iter
    assert not result.converged
    np.testing.assert_allclose(result.history, general.history, rtol=1e-13)
    assert result.objective == pytest.approx(result.mixture.log_prob(X).sum(), rel=1e-12)


@pytest.mark.parametrize("name", ["faithful", "iris", "diabetes"])
def test_what_was_left_to_gain_is_below_the_tolerance(name):
    X = load_data(name)
    start = one_start(Data.of(X), 3, rng=np.random.default_rng(3))
    stopped = run_em(Data.of(X), start, settings=EMSettings(tol=1e-6))
    end = run_em(Data.of(X), stopped.mixture, settings=TO_THE_END)
    assert stopped.converged
    assert end.objective - stopped.objective < 3e-6 * len(X)


def test_aitken_remaining_is_the_rest_of_a_geometric_series():
    assert aitken_remaining(0.0, 1.0, 1.5) == pytest.approx(0.5)
    assert aitken_remaining(0.0, 1.0, 2.5) == np.inf
    assert aitken_remaining(np.nan, 1.0, 1.5) == np.inf
    assert aitken_remaining(0.0, 1.0, 1.0) == 0.0


def test_compiled_steps_do_not_recompile():
    from bayesgmm.em.em import compiled_steps
    from bayesgmm.em.m_step import compiled_m_step

    rng = np.random.default_rng(0)
    for covariance_type in FAMILIES:
        for k, d in ((1, 1), (3, 2), (2, 5)):
            mixture = random_mixture(rng, covariance_type, (k, d))
            X, _ = mixture.sample(60, rng=rng)
            X.setflags(write=False)
            for prior in (None, Prior.weakly_informative(X).resolve(k, d, covariance_type)):
                run_em(Data.of(X, rng.integers(1, 3, 60)), mixture, prior=prior, settings=EMSettings(max_iter=5))
    for function in (compiled_steps, compiled_m_step):  # a version for each family
        assert {len(version.dispatcher.signatures) for version in function.versions.values()} == {1}


def test_a_run_that_breaks_down_ends():
    X = np.array([[1e99], [-1e99], [0.0]])
    result = run_em(Data.of(X), Mixture([1.0], [[0.0]], [[[1e-150]]]))
    assert not result.converged
    assert not np.isfinite(result.objective)
    assert result.n_iter < 5


def test_labels_of_the_optimum_do_not_depend_on_the_order_of_the_start():
    X = load_data("iris")
    start = one_start(Data.of(X), 3, rng=np.random.default_rng(0))
    first, second = (run_em(Data.of(X), s).mixture for s in (start, start.permute([2, 0, 1])))
    order = align_to(first, second.weights, second.means, second.full_covariances)
    np.testing.assert_allclose(second.permute(order).means, first.means, rtol=1e-8)


def test_threads_share_the_blocks_and_change_nothing(monkeypatch):
    monkeypatch.setattr("bayesgmm.data.blocks.ROWS_PER_BLOCK", 100)
    rng = np.random.default_rng(4)
    X, v = rng.normal(size=(950, 3)), rng.integers(1, 4, 950)
    start = Mixture([0.5, 0.5], X[:2], [np.eye(3)] * 2)
    source = Data.of(X, v)
    assert [block.row_weights.size for block in source] == [100] * 9 + [50]
    with ThreadPoolExecutor(3) as pool:
        shared = run_em(source, start, pool=pool)
    alone = run_em(source, start)
    assert np.array_equal(shared.history, alone.history)
    assert np.array_equal(shared.mixture.means, alone.mixture.means)
    monkeypatch.undo()
    whole = run_em(Data.of(X, v), start)
    np.testing.assert_allclose(shared.mixture.means, whole.mixture.means, rtol=1e-6, atol=1e-6)
