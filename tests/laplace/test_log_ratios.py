"""Log ratios by subsamples of the rows: equal to those of all rows within the error that they state."""

import time

import numpy as np
import pytest
from monte_carlo import bound
from source_cases import MadeBlock

from bayesgmm import Mixture, Prior
from bayesgmm.data import Data, SourceData
from bayesgmm.exceptions import SamplingError
from bayesgmm.laplace import log_ratios as by_rows
from bayesgmm.laplace.log_ratios import _halves, _Run, log_ratios
from bayesgmm.laplace.mode import normal_approximation
from bayesgmm.mixture import row_memberships
from bayesgmm.priors import Model

pytestmark = pytest.mark.draws
TRUTH = Mixture(
    [0.2, 0.3, 0.5],
    [[-1.5, 0.0], [1.5, 0.5], [0.0, 2.5]],
    [[[1.0, 0.3], [0.3, 0.6]], [[0.5, 0.0], [0.0, 1.5]], [[1.0, -0.4], [-0.4, 0.7]]],
)


def approximated(n, *, weights=None, seed=0):
    rows = Data.of(TRUTH.sample(n, rng=np.random.default_rng(seed))[0], weights)
    prior = Prior.weakly_informative(rows.rows, sample_weight=rows.row_weights)
    return rows, normal_approximation(rows, Model.of_mixture(TRUTH, prior).required_prior, TRUTH)


def points(at, n, rng):
    return rng.standard_normal((n, at.coordinates.n_dim))


@pytest.mark.parametrize("weighted", [False, True])
def test_subsamples_say_what_all_rows_say_within_their_error(weighted, monkeypatch):
    """The plain reference is the density of all rows at every point; the mean of ratios too."""
    monkeypatch.setattr(by_rows, "FEW_ROWS", 5_000)
    weights = np.random.default_rng(1).integers(1, 4, 20_000).astype(float) if weighted else None
    data, at = approximated(20_000, weights=weights)
    rng = np.random.default_rng(0)
    y = points(at, 600, rng)
    exact = _Run(at, 2, np.inf, None).of_all(data, y)
    found = log_ratios(at, data, y, rng=rng)
    assert 0 < found.n_rows < 15_000
    assert exact.error == 0.0
    assert 0.0 < found.error <= 0.05
    difference = found.values - exact.values
    assert found.error / 3.0 < difference.std() < 3.0 * found.error
    assert abs(difference.mean()) < 10.0 * found.error
    assert difference.std() < 0.5 * exact.values.std()


def test_rows_are_drawn_from_disjoint_halves_and_stand_for_all():
    data, at = approximated(5_000)
    rng = np.random.default_rng(0)
    halves = _halves(at, data, rng)
    assert sum(half.data.shape[0] for half in halves) == 5_000
    seen = [{tuple(row) for row in half.data.rows} for half in halves]
    assert not seen[0] & seen[1]
    totals = np.array([[half.drawn(500, rng).total for half in halves] for _ in range(40)]) / 5_000
    assert abs(totals.mean() - 1.0) < bound() * totals.std() / np.sqrt(totals.size)


def test_rows_of_uncertain_component_are_drawn_more_often():
    data, at = approximated(5_000)
    halves = _halves(at, data, np.random.default_rng(0))
    for half in halves:
        memberships = row_memberships(half.data, at.mixture).max(axis=1)
        uncertain = memberships < np.quantile(memberships, 0.2)
        assert half.chances[uncertain].mean() > 1.3 * half.chances[~uncertain].mean()


def test_few_rows_are_all_summed():
    data, at = approximated(400)
    y = points(at, 50, np.random.default_rng(0))
    found = log_ratios(at, data, y, rng=np.random.default_rng(0))
    assert (found.n_rows, found.error, found.log_mean_error, found.agree) == (400, 0.0, 0.0, True)


def test_a_source_is_read_in_one_pass_and_then_by_its_sample():
    """The approximation at rows of a source is that at the same rows in memory, and so are ratios, within errors."""
    data, at = approximated(120_000)
    source = SourceData.read_once(Large(data.rows), rng=np.random.default_rng(0))
    assert isinstance(source, SourceData)
    other = normal_approximation(source, at.prior, TRUTH)
    np.testing.assert_allclose(other.coordinates.shift, at.coordinates.shift, atol=1e-8)
    y, rng = points(at, 300, np.random.default_rng(1)), np.random.default_rng(2)
    found, exact = log_ratios(other, source, y, rng=rng), _Run(at, 2, np.inf, None).of_all(data, y)
    difference = found.values - exact.values
    assert difference.std() < 3.0 * found.error
    assert abs(difference.mean()) < 10.0 * found.error


class Large:
    """A source of so many rows that only a sample is held."""

    n_features, feature_names, fingerprint = 2, None, "large"

    def __init__(self, X):
        self.blocks = [LargeBlock(X[i : i + 30_000], i) for i in range(0, len(X), 30_000)]


class LargeBlock(MadeBlock):
    def read(self):
        yield self.part


def test_subsamples_that_disagree_are_enlarged_and_then_given_up(monkeypatch):
    """In memory all rows decide; of a source it is an error that says what to do."""
    monkeypatch.setattr(by_rows, "FEW_ROWS", 1_000)
    monkeypatch.setattr(by_rows, "AGREED", 1e-9)
    data, at = approximated(6_000)
    y, rng = points(at, 20, np.random.default_rng(0)), np.random.default_rng(0)
    assert log_ratios(at, data, y, rng=rng).n_rows == 6_000

    class Elsewhere(Data):
        @property
        def sample(self):
            return data.take(slice(0, 4_500)).with_weights(np.full(4_500, 6_000 / 4_500))

    with pytest.raises(SamplingError, match=r'disagree in log ratio .* Use inference="nuts"'):
        log_ratios(at, Elsewhere(data.rows), y, rng=rng)


def test_time_that_ended_is_an_error():
    data, at = approximated(400)
    with pytest.raises(SamplingError, match="max_seconds ended before the ratios"):
        log_ratios(
            at, data, points(at, 50, np.random.default_rng(0)), rng=np.random.default_rng(0), until=time.monotonic()
        )
