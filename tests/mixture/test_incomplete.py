"""The kernel on rows with missing values beside sums over rows, one at a time, with explicit inverses."""

import numpy as np
import pytest
from incomplete_cases import expected_sums, log_joint, problem

from bayesgmm.data import COMPLETE, Block, IncompleteData, Patterns
from bayesgmm.mixture import column_statistics, row_densities, row_memberships

FAMILIES = ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical", "VEI")


def of_block(mixture, block):
    return column_statistics(block.columns, mixture, block.row_weights, block.patterns)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_sums_and_densities_are_those_of_single_rows(covariance_type):
    mixture, data = problem(covariance_type)
    found = of_block(mixture, data.blocks[0])
    joint = np.array([log_joint(mixture, x) for x in data.entries])
    density = np.logaddexp.reduce(joint, axis=1)
    np.testing.assert_allclose(row_densities(data, mixture), density, rtol=1e-12)
    np.testing.assert_allclose(row_memberships(data, mixture), np.exp(joint - density[:, None]), atol=1e-13)
    assert found.log_likelihood == pytest.approx(data.weights @ density, rel=1e-13)
    counts, first, second = expected_sums(mixture, data)
    if not mixture.family.parametrisation.correlated:
        second = np.diagonal(second, axis1=1, axis2=2)[:, None]
    if found.second.shape[2] == 1:
        second = second.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(found.counts, counts, rtol=1e-12)
    np.testing.assert_allclose(found.first, first, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(found.second, second, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("n_rows", [1, 2, 300])
@pytest.mark.parametrize("d", [2, 7])
def test_any_number_of_rows_and_features(n_rows, d):
    mixture, data = problem("full", n_rows=n_rows, d=d, share=0.6, seed=n_rows + d)
    found, (counts, first, second) = of_block(mixture, data.blocks[0]), expected_sums(mixture, data)
    np.testing.assert_allclose(found.counts, counts, rtol=1e-11)
    np.testing.assert_allclose(found.first, first, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.second, second, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_memberships_of_far_rows_are_those_of_their_marginals(covariance_type):
    mixture, _ = problem(covariance_type)
    data = IncompleteData(np.array([[np.nan, 1e30, 1.0, np.nan, 2e30], [0.0, np.nan, np.nan, -3e40, 0.0]]))
    shares = row_memberships(data, mixture)
    for x, own in zip(data.entries, shares, strict=True):
        seen = np.flatnonzero(~np.isnan(x)).tolist()
        np.testing.assert_allclose(own, mixture.marginal(seen).responsibilities(x[None, seen])[0], atol=1e-12)


def test_a_pattern_stands_once_and_its_rows_in_order():
    X = np.array([[1.0, np.nan], [1.0, 2.0], [np.nan, 3.0], [4.0, np.nan]])
    members, table = Patterns.of(~np.isnan(X))
    parts = zip(np.split(members, table[:-1, 0]), table.tolist(), strict=True)
    rows = {tuple(features[:n]): own.tolist() for own, (_, n, *features) in parts}
    assert rows == {(0,): [0, 3], (0, 1): [1], (1,): [2]}
    assert Block.of(np.ones((2, 3)), np.empty(0)).patterns is COMPLETE
