"""Components found again: numbers of an earlier mixture, scores, and refusals."""

import numpy as np
import pandas as pd
import pytest

from bayesgmm import BayesianGaussianMixture, GaussianMixture, Mixture
from bayesgmm.datasets import load_old_faithful
from bayesgmm.exceptions import InputError, NotIdentifiedError
from bayesgmm.label_switching import match_components

FAITHFUL = load_old_faithful()


def three(seed: int = 0) -> Mixture:
    rng = np.random.default_rng(seed)
    return Mixture(
        [0.2, 0.3, 0.5], [[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]] + 0.1 * rng.normal(size=(3, 2)), [np.eye(2)] * 3
    )


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 0, 2]])
def test_permuted_components_take_their_old_numbers(order: list[int]) -> None:
    found = match_components(three(1).permute(np.array(order)), three())
    assert found.numbers.tolist() == order
    assert (found.scores > 0.9).all()
    assert found.gone == ()
    assert found.renumber([0, 0, 2]).tolist() == [order[0], order[0], order[2]]


def test_the_score_of_a_shift_is_that_of_the_divergence() -> None:
    def at(x: float) -> Mixture:
        return Mixture([1.0], [[x]], [[[1.0]]])

    for shift in (0.0, 1.0, 2.0):
        assert match_components(at(shift), at(0.0)).scores == pytest.approx([np.exp(-(shift**2) / 2)])
    assert match_components(at(3.0), at(0.0)).is_new.tolist() == [True]


def test_what_has_no_partner_is_new_and_what_nobody_matches_is_gone() -> None:
    moved = Mixture([0.5, 0.5], [[0.0, 9.0], [40.0, 40.0]], [np.eye(2)] * 2)
    found = match_components(moved, three())
    assert found.numbers.tolist() == [2, 3]
    assert np.isnan(found.scores[1])
    assert found.gone == (0, 1)
    assert "component 1 is new: 3" in str(found)
    assert "without a partner: components 0, 1" in str(found)
    with pytest.raises(InputError, match="from 0 to 1"):
        found.renumber([2])


def test_estimators_match_and_refuse() -> None:
    em = GaussianMixture(2, random_state=0).fit(FAITHFUL)
    turned = GaussianMixture(2, means_init=em.means_[::-1], weights_init=em.weights_[::-1]).fit(FAITHFUL)
    assert turned.match(em).numbers.tolist() == [1, 0]
    np.testing.assert_array_equal(turned.match(em).renumber(turned.predict(FAITHFUL)), em.predict(FAITHFUL))
    with pytest.raises(InputError, match="an earlier fit of this package"):
        em.match("january")
    with pytest.raises(InputError, match="of the features"):
        em.match(GaussianMixture(1, random_state=0).fit(FAITHFUL[["waiting", "eruptions"]]))
    with pytest.raises(InputError, match="same 2 features"):
        em.match(GaussianMixture(1, random_state=0).fit(FAITHFUL.to_numpy()[:, :1]))


@pytest.mark.draws
def test_components_that_are_not_identified_are_refused() -> None:
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 1)))
    fit = BayesianGaussianMixture(
        3, covariance_type="tied", draws=100, tune=200, init="best", progress=False, random_state=1
    )
    fit.fit(X)
    with pytest.raises(NotIdentifiedError):
        fit.match(GaussianMixture(1, random_state=0).fit(X))
