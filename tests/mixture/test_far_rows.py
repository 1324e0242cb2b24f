"""Rows far from every component: memberships against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest

from bayesgmm import Mixture

FAMILIES = ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"]
MEANS = np.array([[-3.0, 0.5], [3.0, 0.0], [3.0, 7.0]])
SHARED = np.array([[2.0, 0.75], [0.75, 1.0]])


def mixture(family: str, *, unit: float = 1.0) -> Mixture:
    """Three components whose covariances are equal where the family allows it."""
    variances = {
        "full": np.stack([SHARED, SHARED, SHARED]),
        "tied": SHARED,
        "diag": np.tile(np.diag(SHARED), (3, 1)),
        "spherical": np.array([1.0, 1.0, 1.0]),
        "tied_diag": np.stack([np.diag(np.diag(SHARED))] * 3),
        "tied_spherical": np.stack([np.eye(2)] * 3),
    }
    return Mixture([0.2, 0.3, 0.5], MEANS * unit, variances[family] * unit**2, family)


def exact_squares(m: Mixture, x: np.ndarray) -> list[Fraction]:
    """Squared lengths of the whitened residuals, by rational arithmetic from the same factors."""
    found = []
    for k in range(m.n_components):
        factor = m.precision_factors[min(k, len(m.precision_factors) - 1)]
        prec = factor if factor.shape[0] == 2 else np.diag(np.broadcast_to(factor[0], 2))
        r = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(x, m.means[k], strict=True)]
        z = [sum(Fraction(float(p)) * each for p, each in zip(row, r, strict=True)) for row in prec]
        found.append(sum(each * each for each in z))
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("distance", [1e7, 1e13, 1e17, 1e30, 1e99])
def test_a_far_row_belongs_to_the_nearest_component(family, distance) -> None:
    m = mixture(family)
    directions = np.array([[1.0, 0.3], [-1.0, 0.2], [0.4, 1.0], [0.3, -1.0], [0.0, 0.7]])
    X = distance * directions
    resp, log_density = m.responsibilities(X), m.log_prob(X)
    np.testing.assert_allclose(resp.sum(axis=1), 1.0)
    for x, own, density in zip(X, resp, log_density, strict=True):
        squares = exact_squares(m, x)
        assert squares[own.argmax()] == min(squares)
        assert density == pytest.approx(-0.5 * float(min(squares)), rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_components_share_a_far_row_by_their_weights(family) -> None:
    m = mixture(family)
    same = Mixture(m.weights, np.zeros((3, 2)), m.covariances, family)
    np.testing.assert_allclose(same.responsibilities([[1e60, -3e60]]), [[0.2, 0.3, 0.5]])


def test_the_wider_component_takes_far_rows_on_either_side() -> None:
    m = Mixture([0.5, 0.5], [[0.0], [4.0]], [[[1.0]], [[9.0]]])
    assert (m.responsibilities([[1e100], [-1e100], [1e14]]).argmax(axis=1) == 1).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_densities_below_the_smallest_number_are_zero_never_nan(family) -> None:
    m = mixture(family, unit=1e-80)
    X = np.array([[1e100, 1e100], [-1e100, 0.0], [0.0, 1e-80]])
    resp, log_density = m.responsibilities(X), m.log_prob(X)
    assert log_density[0] == log_density[1] == -np.inf
    assert np.isfinite(log_density[2])
    np.testing.assert_allclose(resp.sum(axis=1), 1.0)
    for x, own in zip(X[:2], resp[:2], strict=True):
        squares = exact_squares(m, x)
        assert squares[own.argmax()] == min(squares)


@pytest.mark.parametrize("family", FAMILIES)
def test_near_and_far_formulas_agree_where_both_are_exact(family) -> None:
    from bayesgmm.mixture.far_rows import _far

    m = mixture(family)
    X = np.random.default_rng(0).normal(0.0, 3.0, (50, 2))
    log_density, resp = m.density_and_responsibilities(X)
    value, shares = _far(m.family.parametrisation, X, m.log_scale, m.means, m.precision_factors)
    np.testing.assert_allclose(shares, resp, atol=1e-12)
    assert (value <= log_density + 1e-9).all()
