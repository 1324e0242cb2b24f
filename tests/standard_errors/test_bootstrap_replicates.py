"""The bootstrap: what a replicate is, that it does not depend on threads, labels, and what mclust finds."""

import threading
from dataclasses import replace
from math import log

import numpy as np
import pytest
from em_cases import best_fit
from monte_carlo import bound
from numpy.testing import assert_allclose, assert_array_equal
from reference import FAMILIES, load_data, random_mixture

from bayesgmm.data.blocks import Data
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.exceptions import DegeneracyWarning, DegenerateComponentError, InputError, InterruptedWarning
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.prior import Prior
from bayesgmm.standard_errors import bootstrap_replicates as module
from bayesgmm.standard_errors.bootstrap_replicates import KINDS, bootstrap
from bayesgmm.standard_errors.information import standard_errors


def rng(seed=0):
    return np.random.default_rng(seed)


def old_faithful(**kwargs):
    X = load_data("faithful")
    return X, best_fit(Data.of(X), 2, rng=rng(), settings=EMSettings(tol=1e-10), **kwargs)[0].mixture


@pytest.mark.draws
def test_the_textbooks_standard_errors_of_one_component():
    X = load_data("iris")
    one = Mixture([1.0], X.mean(axis=0)[None], np.cov(X, rowvar=False, bias=True)[None])
    errors = standard_errors(X, one, robust=True)
    error = 1.0 / np.sqrt(2 * 2000)  # relative, of a standard deviation of 2,000 normal numbers
    for kind in ("nonparametric", "weighted"):
        found = bootstrap(X, one, rng=rng(), kind=kind, n_replicates=2000).standard_errors
        assert_allclose(found.means, errors.means, rtol=bound(8) * error + 0.01)  # and 1 / n
        assert_allclose(found.covariances, errors.covariances, rtol=bound(20) * 1.1 * error + 0.02)  # long tails
        assert_array_equal(found.weights, [0.0])


@pytest.mark.draws
@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_many_rows_of_distinct_components_give_the_standard_errors_of_the_information(kind, covariance_type):
    truth = random_mixture(rng(2), covariance_type, (2, 2))
    truth = Mixture(truth.weights, truth.means * [[3.0], [1.0]] + [[8.0], [0.0]], truth.covariances, covariance_type)
    X, _ = truth.sample(2000, rng=rng(3))
    mixture = run_em(Data.of(X), truth).mixture
    want = standard_errors(X, mixture)
    result = bootstrap(X, mixture, rng=rng(4), kind=kind, n_replicates=300)
    for name in ("weights", "means", "covariances"):
        # Six Monte Carlo standard errors of a standard deviation, and the sampling of fourth moments.
        assert_allclose(getattr(result.standard_errors, name), getattr(want, name), rtol=0.3, atol=1e-12)
        assert (np.abs(getattr(result.bias, name)) <= getattr(want, name)).all()
    assert (result.n_replicates, result.n_degenerate, result.n_unconverged) == (300, 0, 0)


def test_replicates_do_not_depend_on_threads():
    X, mixture = old_faithful()
    one = bootstrap(X, mixture, rng=rng(1), n_replicates=20, n_jobs=1)
    many = bootstrap(X, mixture, rng=rng(1), n_replicates=20, n_jobs=4)
    assert_array_equal(one.means, many.means)
    assert_array_equal(one.covariances, many.covariances)
    assert np.ptp(one.means, axis=0).min() > 0


def test_a_nonparametric_replicate_is_a_fit_to_rows_drawn_with_replacement():
    X, mixture = old_faithful()
    settings = EMSettings(tol=1e-10)
    result = bootstrap(X, mixture, rng=rng(1), n_replicates=3, settings=settings)
    for child, means in zip(rng(1).spawn(3), result.means, strict=True):
        counts = child.multinomial(len(X), np.full(len(X), 1.0 / len(X)))
        assert counts.sum() == len(X)
        copies = np.repeat(X, counts, axis=0)
        assert_allclose(means, run_em(Data.of(copies), mixture, settings=settings).mixture.means, rtol=1e-6)


@pytest.mark.draws
def test_weights_of_the_weighted_bootstrap_are_dirichlet():
    data = Data(np.zeros((4, 1)), np.array([1.0, 1.0, 2.0, 0.0]))
    drawn = np.array([KINDS["weighted"](data, None, child).weights for child in rng(0).spawn(20_000)])
    assert_allclose(drawn.sum(axis=1), 4.0)
    alpha = np.array([1.0, 1.0, 2.0])
    variance = 16 * alpha * (4 - alpha) / (16 * 5)
    assert (np.abs(drawn[:, :3].mean(axis=0) - alpha) < bound(3) * np.sqrt(variance / 20_000)).all()
    squares = (drawn[:, :3] - alpha) ** 2
    assert (np.abs(squares.mean(axis=0) - variance) < bound(3) * squares.std(axis=0) / np.sqrt(20_000)).all()
    assert_array_equal(drawn[:, 3], 0.0)


@pytest.mark.draws
@pytest.mark.parametrize("kind", KINDS)
def test_row_weights_count_rows(kind):
    X, mixture = old_faithful()
    twice = bootstrap(X, mixture, rng=rng(1), kind=kind, n_replicates=400, row_weights=np.full(len(X), 2.0))
    once = bootstrap(X, mixture, rng=rng(2), kind=kind, n_replicates=400)
    ratio = np.log(once.standard_errors.means / twice.standard_errors.means)
    assert abs(ratio.mean() - log(2.0) / 2.0) < bound() / np.sqrt(400)  # .24, however the four go together


def test_labels_follow_the_fit(monkeypatch):
    X, mixture = old_faithful()
    plain = bootstrap(X, mixture, rng=rng(1), n_replicates=10)

    def permuted(*args, **kwargs):
        result = run_em(*args, **kwargs)
        return replace(result, mixture=result.mixture.permute([1, 0]), counts=result.counts[::-1])

    monkeypatch.setattr(module, "run_em", permuted)
    assert_array_equal(bootstrap(X, mixture, rng=rng(1), n_replicates=10).means, plain.means)


def test_memberships_density_and_intervals_are_those_of_the_replicates(monkeypatch):
    X, mixture = old_faithful()
    result = bootstrap(X, mixture, rng=rng(1), n_replicates=40)
    mixtures = [Mixture(*parts) for parts in zip(result.weights, result.means, result.covariances, strict=True)]
    monkeypatch.setattr(module, "_NUMBERS_PER_BLOCK", 1000)
    resp = np.stack([each.responsibilities(X) for each in mixtures])
    found = result.memberships(X, 0.8)
    assert_allclose(found.value, mixture.responsibilities(X))
    assert_allclose(found.standard_error, resp.std(axis=0, ddof=1), atol=1e-12)
    assert_allclose((found.lower, found.upper), np.quantile(resp, (0.1, 0.9), axis=0), atol=1e-12)
    density = np.stack([each.log_prob(X) for each in mixtures])
    assert_allclose(result.log_density(X).standard_error, density.std(axis=0, ddof=1), atol=1e-12)
    lower, upper = result.intervals(0.8)
    assert_allclose((lower.means, upper.means), np.quantile(result.means, (0.1, 0.9), axis=0))
    assert_allclose(result.bias.weights, result.weights.mean(axis=0) - mixture.weights)


@pytest.mark.draws
def test_spikes_are_counted_and_left_out():
    X = np.concatenate([rng(0).normal(0.0, 1.0, (30, 1)), rng(1).normal(8.0, 1.0, (4, 1))])
    mixture = Mixture([0.88, 0.12], [[0.0], [8.0]], [[[1.0]], [[1.0]]])
    with pytest.warns(DegeneracyWarning, match="of 400 replicates ended in a spike"):
        result = bootstrap(X, mixture, rng=rng(2), n_replicates=400)
    assert 0 < result.n_degenerate < 200
    assert result.n_degenerate + result.n_replicates == 400
    assert result.share_degenerate == result.n_degenerate / 400
    assert result.covariances.min() > 1e-3 * X.var() * 0.2
    with_prior = bootstrap(X, mixture, rng=rng(2), n_replicates=400, prior=Prior.weakly_informative(X))
    assert with_prior.n_degenerate == 0
    with pytest.raises(DegenerateComponentError, match="weighted"):
        bootstrap(X[:4], mixture, rng=rng(2), n_replicates=5)


@pytest.mark.draws
def test_more_starts_find_what_the_fit_does_not_lead_to():
    X = load_data("galaxies")
    mixture = best_fit(Data.of(X), 3, rng=rng())[0].mixture
    with pytest.warns(DegeneracyWarning):
        one, more = (bootstrap(X, mixture, rng=rng(1), n_replicates=20, n_starts=n) for n in (1, 3))
    assert 0 <= more.n_degenerate < one.n_degenerate


def test_progress_and_stopping():
    X, mixture = old_faithful()
    seen = []
    bootstrap(X, mixture, rng=rng(1), n_replicates=5, callback=lambda *progress: seen.append(progress))
    assert seen == [(i, 5) for i in range(1, 6)]
    with pytest.warns(InterruptedWarning, match="replicates were kept"):
        result = bootstrap(X, mixture, rng=rng(1), n_replicates=300, callback=lambda done, n: done >= 10)
    assert result.interrupted
    assert 10 <= result.n_replicates < 300
    whole = bootstrap(X, mixture, rng=rng(1), n_replicates=10)
    assert_array_equal(result.means[:10], whole.means)


def test_an_interruption_from_the_keyboard_keeps_what_is_done():
    X, mixture = old_faithful()

    def interrupt(done, n):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.warns(InterruptedWarning):
        assert 5 <= bootstrap(X, mixture, rng=rng(1), n_replicates=300, callback=interrupt).n_replicates < 300
    assert threading.active_count() < 20


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "jackknife"}, "'weighted'"),
        ({"n_replicates": 1}, "n_replicates an integer, at least 2"),
        ({"n_starts": 0}, "n_starts"),
    ],
)
def test_wrong_input_is_told(wrong, message):
    X, mixture = old_faithful()
    with pytest.raises(InputError, match=message):
        bootstrap(X, mixture, rng=rng(), **wrong)
    with pytest.raises(InputError, match="features"):
        bootstrap(X[:, :1], mixture, rng=rng())
