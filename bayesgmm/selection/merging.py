"""Merging components into clusters by entropy (Baudry et al. 2010)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm._common import (
    Array,
    IntArray,
    PerRow,
    Responsibilities,
    counted,
    folded,
    frame_table,
    listed,
    listing,
    paragraph,
    sentence,
    shown,
)
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.label_switching import component_record
from bayesgmm.mixture import Draws
from bayesgmm.noise import refuse_noise
from bayesgmm.posterior import NO_NAMES, Names, data_of, draws_of, mixture_posterior
from bayesgmm.prediction import each_draw, mean_memberships
from bayesgmm.selection.entropy import Components, Merge, elbow_of, merge_tree, union_of
from bayesgmm.selection.messages import Merged
from bayesgmm.validation import as_finite, as_sample_weight, check_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_DRAWS, _MOST_ROWS = 200, 5_000  # of a posterior, evenly spaced
_ROUNDING = 1e-5  # by which probabilities, float32 ones too, may miss a sum of one
AGAINST = ("clusters", "rows")


@dataclass(frozen=True, repr=False, eq=False)
class Merging:
    """Components merged one pair after another; printing it gives the clusters at the elbow of the entropies.

    Clusters are numbered by their smallest component.

    Attributes
    ----------
    memberships : (obs, component)
        Responsibilities that were merged; of a posterior, their means over draws.
    row_weights : (obs,)
    tree : tuple of Merge
        The steps, first to last.
    entropies : (component,)
        Of the responsibilities with 1, 2, ..., K clusters, in nats.
    n_occupied : int
        How many components have at least one row; others are merged first, and the elbow is among the rest.
    n_clusters : int or None
        At the elbow: where two straight lines, one through the entropies up to it and one from it on, fit best. All
        occupied components if they do not overlap (entropy of at most log 2); otherwise None for fewer than four,
        through which two lines always pass.
    n_clusters_by_draw : (draw,) array of int
        The same for each of at most 200 draws of a posterior (at most 5,000 rows, evenly spaced), with 0 for None.
        It does not depend on how draws are labelled. Empty for a fit by EM.
    identified : bool
        Whether components mean the same in all draws, so that ``memberships`` does.
    """

    __module__ = "bayesgmm.selection"

    memberships: Responsibilities
    row_weights: PerRow
    tree: tuple[Merge, ...]
    entropies: Array
    n_occupied: int
    n_clusters: int | None
    n_clusters_by_draw: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    identified: bool = True

    @property
    def n_components(self) -> int:
        """The number of components before merging."""
        return len(self.entropies)

    def groups(self, n_clusters: int | None = None) -> tuple[Components, ...]:
        """Components of each cluster; by default at the elbow."""
        n = self._asked(n_clusters)
        groups: set[Components] = {(k,) for k in range(self.n_components)}
        for merge in self.tree[: self.n_components - n]:
            groups = groups - {merge.first, merge.second} | {union_of(merge.first, merge.second)}
        return tuple(sorted(groups))

    def responsibilities(self, n_clusters: int | None = None) -> Responsibilities:
        """Sums of responsibilities over each cluster's components, (obs, cluster); by default at the elbow."""
        groups = self.groups(n_clusters)
        return np.column_stack([self.memberships[:, list(group)].sum(axis=1) for group in groups])

    def labels(self, n_clusters: int | None = None) -> IntArray:
        """The most probable cluster of each row, (obs,); by default at the elbow."""
        return np.asarray(self.responsibilities(n_clusters).argmax(axis=1))

    @property
    def table(self) -> pd.DataFrame:
        """A row for each step, by the ``n_clusters`` after it.

        ``first`` and ``second``, which were merged; ``fall`` and ``entropy`` after it, in nats; ``n_rows``, how many
        (by their weights) were most probably of one of the two.
        """
        steps = [
            {
                "n_clusters": n,
                "first": merge.first,
                "second": merge.second,
                "fall": merge.fall,
                "entropy": self.entropies[n - 1],
                "n_rows": self._rows_of(merge, n + 1),
            }
            for n, merge in zip(range(self.n_components - 1, 0, -1), self.tree, strict=True)
        ]
        columns = ["n_clusters", "first", "second", "fall", "entropy", "n_rows"]
        return pd.DataFrame(steps, columns=columns).set_index("n_clusters")

    @property
    def linkage(self) -> Array:
        """The tree for `scipy.cluster.hierarchy.dendrogram`; its heights are falls of entropy, cumulated."""
        numbers: dict[Components, int] = {(k,): k for k in range(self.n_components)}
        rows, height = [], 0.0
        for merge in self.tree:
            union, height = union_of(merge.first, merge.second), height + merge.fall
            rows.append([numbers[merge.first], numbers[merge.second], height, len(union)])
            numbers[union] = len(numbers)
        return np.array(rows, dtype=np.float64).reshape(-1, 4)

    def plot_entropy(self, against: str | Sequence[str] = AGAINST, *, ax: "Axes | None" = None) -> "Figure":
        """Entropies against the number of clusters, and against the number of rows merged; the elbow is ringed.

        Where merging no longer removes overlap of components that describe one cluster, the curve bends. Against rows,
        a merge of large clusters, which lowers the entropy more than one of small ones, has a longer way to do so.

        Parameters
        ----------
        against : {"clusters", "rows"}, or both
            A panel each.
        ax : matplotlib axes, optional
            Where to draw one of them; by default a new figure.

        Returns
        -------
        matplotlib.figure.Figure
            Independent of pyplot.

        Raises
        ------
        InputError
            For another name, or two panels and one ``ax``.
        """
        from bayesgmm.selection.merging_plot import Curve, draw_entropies

        names = [against] if isinstance(against, str) else list(against)
        if not names or not set(names) <= set(AGAINST) or (ax is not None and len(names) > 1):
            raise InputError(
                expected=f"against one of {', '.join(AGAINST)}, or several without ax",
                got=f"{names}{'' if ax is None else ' with ax'}",
            )
        merged = self.table["n_rows"].to_numpy(dtype=np.float64)[::-1]
        x = {"clusters": np.arange(1.0, self.n_components + 1.0), "rows": np.r_[0.0, merged.cumsum()]}
        return draw_entropies(
            [Curve(name, x[name], self.entropies, self.n_occupied, self.n_clusters) for name in names], ax
        )

    def _asked(self, n_clusters: int | None) -> int:
        if n_clusters is None and self.n_clusters is None:
            raise InputError(
                expected="n_clusters, since there is no elbow among fewer than four overlapping components",
                got="None",
                hint=f"Say a number from 1 to {self.n_components}; print the result for the entropies.",
            )
        n = self.n_clusters if n_clusters is None else n_clusters
        check_whole(most=self.n_components, n_clusters=n)
        return int(n)  # type: ignore[arg-type]

    def _rows_of(self, merge: Merge, n_before: int) -> float:
        """Rows that were most probably of one of the two clusters before they were merged."""
        groups = self.groups(n_before)
        merged = np.isin(self.labels(n_before), [groups.index(merge.first), groups.index(merge.second)])
        return float(self.row_weights[merged].sum())

    def __str__(self) -> str:
        return "\n".join(self._sentences())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        first, *others = self._sentences()
        return paragraph(first) + listing(others) + folded("Steps", frame_table(self.table))

    def _sentences(self) -> list[str]:
        found = [self._of_elbow()]
        emptied = self.n_components - self.n_occupied
        if emptied:
            found.append(sentence(Merged.EMPTIED, components=counted(emptied, "component")))
        if len(self.n_clusters_by_draw):
            n_draws = len(self.n_clusters_by_draw)
            numbers = Counter(self.n_clusters_by_draw.tolist()).most_common()
            told = listed(f"{n or 'no elbow'} in {shown(times / n_draws, 'share')}" for n, times in numbers)
            found.append(sentence(Merged.DRAWS, n_draws=n_draws, numbers=told))
        return found if self.identified else [*found, sentence(Merged.BLURRED)]

    def _of_elbow(self) -> str:
        before = shown(float(self.entropies[self.n_occupied - 1]), 1)
        if self.n_clusters is None:
            told = ", ".join(shown(float(entropy), 1) for entropy in self.entropies)
            return sentence(Merged.NO_ELBOW, entropies=told)
        if self.n_clusters == self.n_occupied:
            return sentence(Merged.APART, entropy=before)
        groups = listed((" + ".join(map(str, group)) for group in self.groups()), most=self.n_components)
        after = shown(float(self.entropies[self.n_clusters - 1]), 1)
        counts = {"n_components": self.n_components, "n_clusters": self.n_clusters}
        return sentence(Merged.ELBOW, **counts, groups=groups, before=before, after=after)


def merge_components(
    fit_or_responsibilities: Any,
    X: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    names: Names = NO_NAMES,
) -> Merging:
    r"""Merge components that overlap into clusters, by the entropy of the responsibilities.

    A criterion such as BIC finds the density: several components may describe one cluster that is not Gaussian. With
    responsibilities :math:`r_{ik}` and row weights :math:`v_i`, merging two clusters, whose responsibilities add up,
    lowers the entropy

    .. math:: -\sum_i v_i \sum_k r_{ik} \log r_{ik}.

    In each step the pair is merged with which it falls most. As long as pairs overlap, it falls steeply; the elbow of
    the curve suggests the number of clusters (``plot_entropy``). The density stays what it was. The elbow is a
    description, not a test: look at the plot.

    Parameters
    ----------
    fit_or_responsibilities : GaussianMixture, BayesianGaussianMixture, posterior or array (obs, component)
        A fit, a posterior as `bayesgmm.posterior.mixture_posterior` takes it, or responsibilities.
    X : (obs, feature), optional
        The rows, which a fit by EM does not keep; by default those stored with a posterior.
    sample_weight : (obs,), optional
        Frequency weights.
    names : mapping, optional
        Names of the posterior's variables.

    Returns
    -------
    Merging
        ``n_clusters``, ``labels()``, ``responsibilities()``, ``table``, ``entropies``, ``plot_entropy()``; of a
        posterior also ``n_clusters_by_draw``.

    Raises
    ------
    InputError
        For responsibilities that are no probabilities, or a fit by EM without its rows.

    Notes
    -----
    The elbow is that of two lines with a common point, as in mclust's ``clustCombiOptim``. Unlike there, components
    of less than one row are merged first and do not take part in it, and components that do not overlap are all kept.

    A posterior is merged by the means of its memberships, in which components need the same meaning in all draws, see
    `relabel`; a finding says if they have not.

    References
    ----------
    Baudry, Raftery, Celeux, Lo & Gottardo 2010, Journal of Computational and Graphical Statistics 19.

    Examples
    --------
    Two clusters that are crosses, of two components each:

    >>> import numpy as np
    >>> from bayesgmm import Mixture, merge_components
    >>> bars = [[[9.0, 0.0], [0.0, 0.1]], [[0.1, 0.0], [0.0, 9.0]]]
    >>> mixture = Mixture([0.25] * 4, [[0.0, 0.0], [0.0, 0.0], [20.0, 0.0], [20.0, 0.0]], bars * 2)
    >>> X, _ = mixture.sample(600, rng=np.random.default_rng(0))
    >>> merging = merge_components(mixture.responsibilities(X))
    >>> merging.n_clusters, merging.groups()
    (2, ((0, 1), (2, 3)))
    >>> merging.entropies.round(1)
    array([ 0. ,  0.1, 36.3, 74.5])
    """
    given = fit_or_responsibilities
    if not hasattr(given, "posterior_") and hasattr(given, "mixture_"):
        if X is None:
            raise InputError(expected="the rows X", got="a fit by EM, which does not keep them", hint="Pass X.")
        refuse_noise(given, "merging components")
        return _merging(given.predict_proba(X), sample_weight)
    if isinstance(given, np.ndarray | pd.DataFrame | xr.DataArray | list | tuple):
        return _merging(_probabilities(given), sample_weight)
    tree = mixture_posterior(given, X, names=names)
    refuse_noise(tree, "merging components")
    data, draws = data_of(tree, X), draws_of(tree)
    weights = data.row_weights if sample_weight is None else sample_weight
    some = data.take(slice(None, None, -(-data.shape[0] // _MOST_ROWS)))
    record = component_record(tree, data) if "prior" in tree.attrs else None
    return replace(
        _merging(mean_memberships(draws, data), weights),
        n_clusters_by_draw=np.array(
            [elbow_of(*merge_tree(resp, some.weights)[1:]) or 0 for resp in _each(draws, some)]
        ),
        identified=record is None or record.identified,
    )


def _each(draws: Draws, data: Data) -> Iterator[Responsibilities]:
    """Memberships under some of the draws; the buffer is reused."""
    return (resp.T for _, resp in each_draw(draws.thinned(_MOST_DRAWS), data, with_memberships=True))


def _probabilities(given: ArrayLike) -> Responsibilities:
    """Checked responsibilities, (obs, component)."""
    resp = as_finite(given, name="responsibilities")
    if resp.ndim != 2 or 0 in resp.shape:
        raise InputError(expected="responsibilities with axes (obs, component)", got=f"shape {resp.shape}")
    sums = resp.sum(axis=1)
    if resp.min() < 0 or (np.abs(sums - 1.0) > _ROUNDING).any():
        raise InputError(
            expected="responsibilities that are not negative and sum to one in each row",
            got=f"values from {resp.min():g}, and sums from {sums.min():g} to {sums.max():g}",
            hint="Give what predict_proba returns, or a fit and its rows.",
        )
    return resp


def _merging(resp: Responsibilities, sample_weight: ArrayLike | None) -> Merging:
    given = as_sample_weight(sample_weight, len(resp))
    weights = np.ones(len(resp)) if given is None else given
    tree, entropies, n_occupied = merge_tree(resp, weights)
    return Merging(resp, weights, tree, entropies, n_occupied, elbow_of(entropies, n_occupied))
