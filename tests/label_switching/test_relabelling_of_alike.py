"""Relabelling where labels of rows tell some components apart: only the others change places."""

from dataclasses import replace

import numpy as np
import pytest
from test_methods import CHOICES, NAMES, memberships_of, separated

from bayesgmm.label_switching.identifiability import clarity, margin_of
from bayesgmm.label_switching.methods import permutations
from bayesgmm.label_switching.search import identity
from bayesgmm.mixture import Mixture, align_to

ALIKE = np.array([0, 1, 1])


@pytest.mark.parametrize(("method", "options"), CHOICES, ids=NAMES)
def test_permutations_stay_among_alike_components(method, options) -> None:
    """Draws of which components 1 and 2 were permuted at random are undone, whatever component 0 is like."""
    weights, means, covariances, X = separated()
    rng = np.random.default_rng(0)
    order = np.column_stack([np.zeros(len(weights), dtype=int), 1 + rng.permuted(np.tile([0, 1], (60, 1)), axis=1)])
    order[::2, :] = order[::2, ::-1]  # and in every other draw the wrong component has label 0 or 2
    arrays = (np.stack([a[o] for a, o in zip(array, order, strict=True)]) for array in (weights, means, covariances))
    memberships = replace(memberships_of(*arrays, X), alike=ALIKE)
    found = permutations(memberships, method, options, None).permutation
    np.testing.assert_array_equal(found[:, 0], 0)
    np.testing.assert_array_equal(np.sort(found, axis=1), identity(memberships.draws))
    of_first = np.take_along_axis(order[1::2], found[1::2], axis=1)  # draws whose component 0 is itself
    assert len(np.unique(of_first, axis=0)) == 1


def test_a_component_alone_has_no_second_best() -> None:
    costs = np.array([[0.0, 9.0, 9.0], [9.0, 0.0, 1.0], [9.0, 2.0, 0.0]])
    among = np.where(ALIKE[:, None] == ALIKE, costs, np.inf)
    assert margin_of(among, np.arange(3)) == 3.0
    assert margin_of(np.where(np.eye(3, dtype=bool), costs, np.inf), np.arange(3)) == np.inf
    memberships = memberships_of(*separated(10))
    margins = [
        clarity(replace(memberships, alike=alike), identity(memberships.draws)).margin for alike in (None, ALIKE)
    ]
    assert (margins[1] >= margins[0]).all()


def test_alignment_stays_among_alike_components() -> None:
    mixture = Mixture([0.2, 0.3, 0.5], [[0.0], [5.0], [9.0]], np.ones((3, 1, 1)))
    turned = mixture.permute([2, 0, 1])
    arrays = turned.weights, turned.means, turned.covariances
    assert align_to(mixture, *arrays).tolist() == [1, 2, 0]
    assert align_to(mixture, *arrays, alike=ALIKE).tolist() == [0, 1, 2]
    assert align_to(mixture, *arrays, alike=np.array([0, 0, 1])).tolist() == [1, 0, 2]
