"""Data of a figure: thinned, relabelled draws and thinned rows with their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm._common import Array, IntArray, Rows
from bayesgmm.data import Data
from bayesgmm.exceptions import NotIdentifiedError
from bayesgmm.label_switching import RECORD, relabel, relabelling
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.noise import NOISE_WEIGHT, noise_of
from bayesgmm.plots._style import MOST_ROWS, evenly_spaced, thinned_index
from bayesgmm.posterior import (
    CLUSTER,
    FEATURE,
    FEATURE_BIS,
    OBS,
    PARAMETERS,
    SAMPLE_DIMS,
    Names,
    Posterior,
    data_of,
    draws_of,
    mean_mixture,
    mixture_posterior,
    model_of,
    root_of,
)
from bayesgmm.prediction import each_draw, mean_probabilities, most_probable
from bayesgmm.validation import check_flag, check_whole, default_names, read_table

_INSTEAD = "plot_density and plot_similarity do not depend on labels. force=True draws the components anyway."
SAMPLED = ("posterior", "sample_stats")  # groups whose draws belong together


@dataclass(frozen=True)
class Shown:
    """Draws and rows of one figure.

    Attributes
    ----------
    tree : DataTree
        Thinned draws, in this package's layout.
    X : (obs, feature)
        Thinned rows, NaN where values are missing.
    rows : (row, feature)
        All rows.
    data : Data
        Thinned rows with the labels that are known, of all features.
    weights : (cluster,)
        Posterior means over all draws, or over those shown if these had other labels.
    whole : Shown, optional
        Draws and rows of all features, if these are projections.
    """

    tree: xr.DataTree
    X: Rows
    rows: Rows
    data: Data
    weights: Array
    whole: "Shown | None" = None

    @property
    def names(self) -> list[str]:
        """Of the features."""
        return [str(name) for name in self.tree["posterior"][FEATURE].to_numpy()]

    @property
    def n_clusters(self) -> int:
        """Number of components."""
        return int(self.tree["posterior"].sizes[CLUSTER])

    @property
    def identified(self) -> bool:
        """Whether components are, as far as draws were relabelled."""
        return RECORD not in self.tree.attrs or relabelling(self.tree).identified

    @property
    def many(self) -> bool:
        """Whether rows are too many to be drawn one by one."""
        return len(self.rows) > len(self.X)

    @property
    def n_samples(self) -> int:
        """Number of draws."""
        sizes = self.tree["posterior"].sizes
        return int(np.prod([sizes[dim] for dim in SAMPLE_DIMS]))

    @cached_property
    def mean(self) -> Mixture:
        """Posterior means of the parameters."""
        return mean_mixture(self.tree)

    @cached_property
    def labels(self) -> IntArray:
        """The most probable label of each row, (obs,), -1 for noise."""
        return most_probable(draws_of((self.whole or self).tree), self.memberships)

    @property
    def noise_weight(self) -> float:
        """Posterior mean of the weight of noise, 0 without noise."""
        return noise_of((self.whole or self).mean)[1]

    @cached_property
    def memberships(self) -> Array:
        """Mean membership probabilities (obs, cluster), from all features; with noise, a last column for it."""
        return self.whole.memberships if self.whole else mean_probabilities(draws_of(self.tree), self.data)


def shown(
    posterior: Posterior, X: ArrayLike | None, *, names: Names, num_samples: int, labelled: bool = True, force: bool
) -> Shown:
    """Draws evenly spaced within chains, relabelled if the figure shows components.

    Raises
    ------
    NotIdentifiedError
        The figure shows components, and these are not identified.
    """
    check_whole(num_samples=num_samples)
    check_flag(force=force)
    own = mixture_posterior(posterior, names=names)
    canonical = own if "observed_data" in own.children else _named(mixture_posterior(posterior, X, names=names), X)
    thinned, data = thinned_tree(canonical, num_samples), data_of(canonical, X)
    tree = thinned
    if labelled:  # by the rows of the fit, if they are known: new ones may be few
        tree = in_same_labels(posterior, thinned, thinned_data(data_of(canonical)), force=force)
    same = np.array_equal(tree["posterior"]["weights"].to_numpy(), thinned["posterior"]["weights"].to_numpy())
    weights = (canonical if same else tree)["posterior"]["weights"].mean(SAMPLE_DIMS)
    some = thinned_data(data)
    return Shown(tree, some.entries, data.entries, some, weights.to_numpy())


def thinned_data(data: Data) -> Data:
    """At most 5,000 rows, see `thinned_index`."""
    return data if data.shape[0] <= MOST_ROWS else data.take(thinned_index(data.shape[0]))


def _named(tree: xr.DataTree, X: ArrayLike | None) -> xr.DataTree:
    """A posterior with the column names of a dataframe, if the rows are one."""
    names = [] if X is None else read_table(X).feature_names
    if names == default_names(len(names)):
        return tree
    groups = {
        key: group.to_dataset().assign_coords({dim: names for dim in (FEATURE, FEATURE_BIS) if dim in group.dims})
        for key, group in tree.children.items()
    }
    result = xr.DataTree.from_dict(groups)
    result.attrs = dict(tree.attrs)
    return result


def in_same_labels(posterior: Posterior, tree: xr.DataTree, data: Data, *, force: bool) -> xr.DataTree:
    """Relabelled draws (some of those of a posterior), if its components are identified.

    Draws that are relabelled already, and those that prior or labels of rows identify, keep their labels.

    Raises
    ------
    NotIdentifiedError
        They are not, and ``force`` is not set.
    """
    attrs = getattr(root_of(posterior), "attrs", {})
    one = tree["posterior"].sizes[CLUSTER] == 1
    if one or ("prior" in attrs and model_of(root_of(posterior)).is_identified):
        return tree
    if RECORD not in attrs:
        tree = relabel(tree, data, progress=False)
    record = relabelling(root_of(posterior) if RECORD in attrs else tree)
    if not (record.identified or force):
        raise NotIdentifiedError(record.findings, hint=_INSTEAD)
    return tree


def one_draw(mixture: Mixture, names: Sequence[str], rows: Rows) -> xr.DataTree:
    """A mixture, with its noise, as a posterior of one draw, and rows of features with these names."""
    weights = {"weights": mixture.weights, "means": mixture.means, "covariances": mixture.full_covariances}
    noise, weight = noise_of(mixture)
    of_noise = {} if noise is None else {NOISE_WEIGHT: np.array(weight)}
    coords = {FEATURE: list(names), FEATURE_BIS: list(names)}
    values = {name: ((*SAMPLE_DIMS, *PARAMETERS.get(name, ())), each[None, None]) for name, each in weights.items()}
    values |= {name: (SAMPLE_DIMS, each[None, None]) for name, each in of_noise.items()}
    of_rows = xr.Dataset({"y": ((OBS, FEATURE), rows)}, {OBS: np.arange(len(rows)), FEATURE: list(names)})
    groups = {"posterior": xr.Dataset(values, coords), "observed_data": of_rows}
    if noise is not None:
        groups["constant_data"] = xr.Dataset(noise.constants, {FEATURE: list(names)})
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {"covariance_type": "full"}
    return tree


def thinned_tree(tree: xr.DataTree, num_samples: int) -> xr.DataTree:
    """At most ``num_samples`` draws, evenly spaced within each chain and at least one of each."""
    n_chains, n_draws = (tree["posterior"].sizes[dim] for dim in SAMPLE_DIMS)
    kept = evenly_spaced(n_draws, max(1, num_samples // n_chains))
    groups = {
        name: group.to_dataset().isel(draw=kept) if name in SAMPLED else group.to_dataset()
        for name, group in tree.children.items()
        if name in SAMPLED or "draw" not in group.dims  # exploratory and original chains are not drawn
    }
    result = xr.DataTree.from_dict(groups)
    result.attrs = dict(tree.attrs)
    return result


def weighted_densities(draws: Draws, features: Sequence[int], at: Rows) -> Array:
    """Weight times density of some features in every component and draw, (sample, cluster, obs)."""
    each = each_draw(draws.components.marginal(features), Data(at), with_memberships=True)
    return np.array([np.exp(log_density) * memberships for log_density, memberships in each])


def noise_densities(draws: Draws, features: Sequence[int], at: Rows) -> Array:
    """Weight times density of noise in one or two features, (sample, obs); zeros without noise."""
    if draws.noise is None or draws.noise_weight is None:
        return np.zeros((len(draws), len(at)))
    return np.outer(draws.noise_weight, draws.noise.density_of(features, at))
