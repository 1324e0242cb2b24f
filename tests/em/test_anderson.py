"""Anderson acceleration: the optimum of plain EM in far fewer passes, and an honest end."""

import numpy as np
import pytest
from em_cases import one_start
from reference import EVERY_FAMILY

from bayesgmm.data.blocks import Data
from bayesgmm.em.anderson import Anderson
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.model import Model

ACCELERATED, PLAIN = EMSettings(tol=None, max_iter=20_000), EMSettings(tol=1e-10, max_iter=20_000, accelerate=False)


def two_of_four_overlap(n_rows=6_000, units=1.0):
    rng = np.random.default_rng(0)
    means = np.array([[0.0, 0.0], [1.3, 0.4], [7.0, 1.0], [-6.0, 3.0]])
    return (means[rng.integers(4, size=n_rows)] + rng.normal(size=(n_rows, 2))) * units


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch):
    monkeypatch.setattr("bayesgmm.data.blocks.ROWS_PER_BLOCK", 2_500)
    monkeypatch.setattr("bayesgmm.em.em._MANY_ROWS", 2_500)


@pytest.fixture(scope="module", params=EVERY_FAMILY)
def start(request):
    X = Data.of(two_of_four_overlap())
    seed = 1 if request.param == "VEE" else 0  # from where it has one optimum to go to, not several
    return one_start(X, 4, covariance_type=request.param, rng=np.random.default_rng(seed))


def test_the_optimum_is_that_of_plain_em_in_no_more_passes(start):
    data = Data.of(two_of_four_overlap())
    fast, plain = (run_em(data, start, settings=settings) for settings in (ACCELERATED, PLAIN))
    assert fast.converged
    assert fast.objective >= plain.objective - 2e-3
    assert fast.n_iter <= plain.n_iter
    assert np.diff(fast.history).min() >= -1e-9  # rounding of plain steps
    assert fast.log_likelihood == pytest.approx(fast.mixture.log_prob(data.rows).sum(), rel=1e-12)
    np.testing.assert_allclose(fast.counts, fast.mixture.responsibilities(data.rows).sum(axis=0), rtol=1e-9)


def test_where_plain_em_is_slow_passes_are_saved():
    data = Data.of(two_of_four_overlap())
    start = one_start(data, 4, rng=np.random.default_rng(0))
    fast, plain = (run_em(data, start, settings=settings) for settings in (ACCELERATED, PLAIN))
    assert plain.n_iter > 500
    assert fast.n_iter < plain.n_iter / 5
    np.testing.assert_allclose(fast.mixture.means, plain.mixture.means, atol=0.02)


def test_the_end_is_where_it_is_said_to_be():
    """Another few thousand steps gain no more than was to come."""
    data = Data.of(two_of_four_overlap())
    end = run_em(data, one_start(data, 4, rng=np.random.default_rng(0)), settings=ACCELERATED)
    onwards = run_em(data, end.mixture, settings=EMSettings(tol=0.0, max_iter=3_000, accelerate=False))
    assert onwards.objective - end.objective <= 1e-3


@pytest.mark.parametrize("units", [1e-6, np.array([1e-4, 1e5])])
def test_units_do_not_matter(units):
    found = []
    for scale in (1.0, units):
        data = Data.of(two_of_four_overlap(units=scale))
        model = Model.of("full", 4, 2)
        labels = two_of_four_overlap()[:, 0]
        means = np.array([data.rows[(labels > a) & (labels < b)].mean(axis=0) for a, b in
                          ((-9, -3), (-2, 0.5), (1.5, 3.5), (5, 9))])  # fmt: skip
        covariances = np.tile(np.cov(data.rows.T), (4, 1, 1)) / 16.0
        mixture = Mixture(np.full(4, 0.25), means, covariances, model.family.name)
        found.append(run_em(data, mixture, settings=EMSettings(tol=None)))
    one, other = found
    np.testing.assert_allclose(np.diff(other.history[:15]), np.diff(one.history[:15]), rtol=1e-4)  # then rounding grows
    n_logs = len(two_of_four_overlap()) * np.log(np.broadcast_to(units, 2)).sum()
    assert other.objective == pytest.approx(one.objective - n_logs, abs=2e-3)


def anderson_at(start):
    return Anderson(start, Model.of_mixture(start).pseudo_data, np.full(2, 1e-10))


def test_coordinates_and_points_are_inverse(start):
    data = Data.of(two_of_four_overlap())
    other = run_em(data, start, settings=EMSettings(max_iter=3)).mixture
    anderson = anderson_at(start)
    back = anderson._point(anderson._coordinates(other))
    for name in ("weights", "means", "factors", "precision_factors", "log_scale"):
        np.testing.assert_allclose(getattr(back, name), getattr(other, name), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(back.full_covariances, other.full_covariances, rtol=1e-9, atol=1e-9)
    assert not np.abs(anderson._coordinates(start)).max() > 1e-12


def test_a_point_at_the_floor_is_none(start):
    anderson = Anderson(start, Model.of_mixture(start).pseudo_data, np.full(2, 1e3))
    assert anderson._point(anderson._coordinates(start)) is None


def test_after_many_rejections_squarem_goes_on(monkeypatch):
    """Combinations that lead astray cost a pass each, and never the objective."""
    astray = []

    def combine(self, total):
        self._tried = self._base if self.objective > first else self._plain
        astray.append(total)

    data = Data.of(two_of_four_overlap())
    start = one_start(data, 4, rng=np.random.default_rng(0))
    first = start.log_prob(data.rows).sum()
    monkeypatch.setattr(Anderson, "_combine", combine)
    monkeypatch.setattr(Anderson, "_forget", lambda self: None)
    end = run_em(data, start, settings=ACCELERATED)
    assert len(astray) == 10
    assert end.converged
    assert np.diff(end.history).min() >= -1e-9
    assert end.objective >= run_em(data, start, settings=PLAIN).objective - 2e-3
