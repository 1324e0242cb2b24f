"""Bridge sampling on densities whose constants are known."""

import numpy as np
import pytest
from monte_carlo import bound, chi_square_range
from scipy.stats import multivariate_normal, norm

from bayesgmm.evidence.bridge_sampling import bridge
from bayesgmm.exceptions import InputError

pytestmark = pytest.mark.draws


def log_ratio(points, d, log_z):
    """An unnormalised standard normal in d dimensions over a wider, shifted proposal."""
    target, proposal = multivariate_normal(np.zeros(d)), multivariate_normal(np.full(d, 0.2), 1.5 * np.eye(d))
    return target.logpdf(points) + log_z - proposal.logpdf(points)


@pytest.mark.parametrize("log_z", [-700.0, 0.0, 900.0])
def test_the_constant_is_found_whatever_its_size(log_z):
    rng = np.random.default_rng(0)
    d = 5
    draws, proposals = rng.normal(size=(3000, d)), 0.2 + np.sqrt(1.5) * rng.normal(size=(9000, d))
    found = bridge(log_ratio(draws, d, log_z), log_ratio(proposals, d, log_z), effective_size=len)
    assert found.se < 0.05
    assert abs(found.log_z - log_z) < bound() * found.se


def test_the_standard_error_covers_and_is_not_too_wide():
    """z-scores over repetitions have about unit variance."""
    rng, scores = np.random.default_rng(1), []
    for _ in range(100):
        draws, proposals = rng.normal(size=(400, 3)), 0.2 + np.sqrt(1.5) * rng.normal(size=(400, 3))
        found = bridge(log_ratio(draws, 3, 0.0), log_ratio(proposals, 3, 0.0), effective_size=len)
        scores.append(found.log_z / found.se)
    low, high = chi_square_range(len(scores))
    assert low < np.square(scores).sum() < high


def test_correlated_draws_widen_the_standard_error():
    rng = np.random.default_rng(2)
    ratio = lambda x: log_ratio(x, 3, 0.0)  # noqa: E731
    draws, proposals = ratio(rng.normal(size=(2000, 3))), ratio(0.2 + np.sqrt(1.5) * rng.normal(size=(2000, 3)))
    alone, correlated = (bridge(draws, proposals, effective_size=lambda x, c=c: len(x) / c).se for c in (1, 50))
    assert correlated > 1.2 * alone


def test_part_of_a_density_has_its_own_constant():
    """A density cut off at zero: proposals outside have ratio zero."""
    rng = np.random.default_rng(3)
    draws, proposals = np.abs(rng.normal(size=4000)), rng.normal(0.5, 1.5, size=4000)
    ratio = lambda x: np.where(x > 0, norm.logpdf(x), -np.inf) - norm(0.5, 1.5).logpdf(x)  # noqa: E731
    found = bridge(ratio(draws), ratio(proposals), effective_size=len)
    assert abs(found.log_z - np.log(0.5)) < bound() * found.se


def test_no_proposal_inside_says_so():
    found = bridge(np.zeros(10), np.full(10, -np.inf), effective_size=len)
    assert found.log_z == -np.inf
    assert found.se == np.inf


def test_too_little_to_go_by():
    with pytest.raises(InputError, match="at least two"):
        bridge(np.zeros(1), np.zeros(10), effective_size=len)
