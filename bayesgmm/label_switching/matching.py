"""Components of a mixture under the numbers of an earlier one, with a score for each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from bayesgmm._common import Array, IntArray, numbered, shown
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Mixture, divergences

LEAST_SCORE = 0.1  # Gaussians of equal shape score 0.14 if their means are two standard deviations apart, 0.01 if three


@dataclass(frozen=True, repr=False, eq=False)
class Matching:
    r"""Which component of an earlier mixture each component is; printing it shows the scores.

    Attributes
    ----------
    numbers : (cluster,) integers
        The number that each component takes: that of its partner, or a new one if it has none.
    scores : (cluster,)
        :math:`\exp(-d)` of the divergence from the partner (see `align_to`): 1 for the same component, NaN without one.
    gone : tuple of int
        Components of the earlier mixture without a partner; nobody takes their numbers.
    n_previous : int
        Components of the earlier mixture, from which on numbers are new.
    """

    __module__ = "bayesgmm.label_switching"

    numbers: IntArray
    scores: Array
    gone: tuple[int, ...]
    n_previous: int

    @property
    def is_new(self) -> NDArray[np.bool_]:
        """Whether a component has no partner, (cluster,)."""
        return np.asarray(self.numbers >= self.n_previous)

    def renumber(self, labels: ArrayLike) -> IntArray:
        """Labels of rows, as `predict` gives them, under the numbers of the earlier mixture.

        Raises
        ------
        InputError
            If they are not labels of these components.
        """
        given = np.asarray(labels)
        if given.dtype.kind not in "iu" or (given.size and not 0 <= given.min() <= given.max() < len(self.numbers)):
            raise InputError(expected=f"labels of rows from 0 to {len(self.numbers) - 1}", got=f"{labels!r:.60}")
        return np.asarray(self.numbers[given])

    def __str__(self) -> str:
        pairs = zip(self.numbers.tolist(), self.scores.tolist(), self.is_new.tolist(), strict=True)
        lines = [
            f"component {k} is new: {number}" if new else f"component {k} is {number}, score {shown(score, '.2f')}"
            for k, (number, score, new) in enumerate(pairs)
        ]
        return "\n".join([*lines, *([f"without a partner: {numbered(self.gone, 'component')}"] if self.gone else [])])

    __repr__ = __str__


def match_components(mixture: Mixture, previous: Mixture) -> Matching:
    """Components of a mixture under the numbers of an earlier one.

    Pairs are those of the least total divergence (see `align_to`); those that score below 0.1 are none.

    Parameters
    ----------
    mixture, previous : Mixture
        Of the same features; numbers of components may differ.

    Raises
    ------
    InputError
        If the numbers of features differ.

    Examples
    --------
    >>> from bayesgmm import Mixture
    >>> from bayesgmm.label_switching import match_components
    >>> old = Mixture([0.3, 0.7], [[0.0], [5.0]], [[[1.0]], [[4.0]]])
    >>> new = Mixture([0.6, 0.2, 0.2], [[5.1], [0.1], [40.0]], [[[4.0]], [[1.0]], [[1.0]]])
    >>> match_components(new, old)
    component 0 is 1, score 0.99
    component 1 is 0, score 0.98
    component 2 is new: 2
    """
    if mixture.n_features != previous.n_features:
        raise InputError(
            expected=f"a fit of the same {mixture.n_features} features", got=f"one of {previous.n_features}"
        )
    scores = np.exp(-divergences(previous, mixture.weights, mixture.means, mixture.full_covariances))
    pairs = [(j, k) for j, k in zip(*linear_sum_assignment(-scores), strict=True) if scores[j, k] >= LEAST_SCORE]
    partner = {int(j): int(k) for j, k in pairs}
    alone = [j for j in range(mixture.n_components) if j not in partner]
    fresh = {j: previous.n_components + i for i, j in enumerate(alone)}
    return Matching(
        numbers=np.array([(partner | fresh)[j] for j in range(mixture.n_components)]),
        scores=np.array([scores[j, partner[j]] if j in partner else np.nan for j in range(mixture.n_components)]),
        gone=tuple(k for k in range(previous.n_components) if k not in partner.values()),
        n_previous=previous.n_components,
    )
