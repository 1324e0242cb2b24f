"""ArviZ's rank and trace plots of label-invariant quantities or relabelled parameters."""

import re
import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from arviz_base import rcParams, xarray_sel_iter
from arviz_base.labels import BaseLabeller
from arviz_plots import PlotCollection, plot_rank, plot_trace
from arviz_plots.plots.utils import process_group_variables_coords
from numpy.typing import ArrayLike

from bayesgmm.data import Data
from bayesgmm.diagnostics import invariants
from bayesgmm.exceptions import InputError
from bayesgmm.plots._canvas import Canvas, Visuals, panels
from bayesgmm.plots._data import in_same_labels
from bayesgmm.plots._docs import documented
from bayesgmm.posterior import FEATURE, NO_NAMES, SAMPLE_DIMS, Names, Posterior, data_of, draws_of, mixture_posterior
from bayesgmm.validation import check_flag, check_option

_KINDS = {"rank": plot_rank, "trace": plot_trace}
_QUANTITIES = ("invariant", "relabelled")
_SHOWN = ["log_likelihood", "log_density", "weight", "entropy"]  # by default; ranks of the others are full of ties
_MOST, _KEPT = 20, 12  # quantities shown, and how many of more
_ACROSS, _WIDTH, _HEIGHT = 4, 7.4, 1.25  # panels; inches, of the figure and of a panel
_LETTERS = 23  # in a line of a panel's title
_WORDS = {"log_likelihood": "log-likelihood", "log_density": "log density", "entropy": "entropy of labels"}
_PLACES = {"cluster": "cluster {}", "rank": "rank {} by size", "anchor": "row {}"}
_AXES = {
    "rank": ("rank among the draws of all chains, from 0 to 1", "ECDF minus uniform"),
    "trace": ("draw", ""),
}


_VISUALS: dict[str, dict[str, Any]] = {
    "rank": {"xlabel": False},
    "trace": {"xlabel": False, "trace": {"width": 0.4, "alpha": 0.6}},
}
_TEST = "p: test of equal rank distributions in all chains; black where a chain differs (p < {:.2g})"


@documented
def plot_mixing(
    posterior: Posterior,
    X: ArrayLike | Data | None = None,
    *,
    kind: str = "rank",
    quantities: str = "invariant",
    names: Names = NO_NAMES,
    force: bool = False,
    plot_collection: PlotCollection | None = None,
    backend: str | None = None,
    visuals: Visuals | None = None,
    **arviz_kwargs: Any,
) -> PlotCollection:
    """Rank or trace plots of all chains, for quantities that are invariant under label switching.

    Parameters
    ----------
    {posterior} {X}
    kind : {"rank", "trace"}
        `arviz.plot_rank`: differences of the ranks' empirical distributions from uniform, flat for chains that mix; or
        `arviz.plot_trace`, with divergences.
    quantities : {"invariant", "relabelled"}
        Label-invariant quantities of `bayesgmm.diagnostics.invariants`, by default log-likelihood, log density at a few
        rows, sorted weights and entropy; or weight, mean and standard deviation of every component after
        `bayesgmm.relabel`.
    {names} {force}
    plot_collection, backend, visuals
        As in ArviZ.
    **arviz_kwargs
        Passed to ArviZ's function: ``var_names``, ``coords``, ``labeller``, ``figure_kwargs`` and so on.

    {returns}

    Raises
    ------
    InputError
        Unknown kind, quantities or backend, or no rows.
    NotIdentifiedError
        Relabelled parameters of components that are not identified.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import plot_mixing
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-3, 1, 50), rng.normal(3, 1, 50)])[:, None]
    >>> mu = np.array([-3.0, 3.0]) + rng.normal(0, 0.1, (4, 100, 2))
    >>> draws = {"w": np.full((4, 100, 2), 0.5), "mu": rng.permuted(mu, axis=2), "sd": np.ones((4, 100, 2))}
    >>> names = {"weights": "w", "means": "mu", "sds": "sd"}
    >>> collection = plot_mixing(draws, X, names=names, var_names=["log_likelihood", "entropy"])
    >>> list(collection.viz["plot"].data_vars)
    ['log_likelihood', 'entropy']
    """
    check_option(_KINDS, kind=kind)
    check_option(_QUANTITIES, quantities=quantities)
    check_flag(force=force)
    canvas = Canvas(None, plot_collection, backend).checked(("matplotlib", "plotly", "bokeh"))
    tree = mixture_posterior(posterior, X, names=names)
    if kind == "rank" and tree["posterior"].sizes["chain"] == 1:
        raise InputError(expected="two chains or more, whose ranks differ", got="1", hint="kind='trace' shows one.")
    data = data_of(tree, X)
    if quantities == "invariant":
        found = invariants(tree, data)
        arviz_kwargs = {"var_names": _SHOWN} | arviz_kwargs
    else:
        found = component_parameters(in_same_labels(posterior, tree, data, force=force))
    numbers = {dim: np.arange(found.sizes[dim]) for dim in SAMPLE_DIMS if dim not in found.coords}
    found = found.assign_coords(numbers)  # ArviZ tells chains apart by their coordinate
    chosen = _chosen(found, arviz_kwargs)
    few = _fewest_agreeing(chosen) if plot_collection is None else chosen
    title = "" if few is chosen else f"{_KEPT} of {_count(chosen)} quantities, those with the largest R-hat"
    groups = {"posterior": few}
    if "sample_stats" in tree.children:
        groups["sample_stats"] = tree["sample_stats"].to_dataset()
    own = canvas.own_figure and canvas.name == "matplotlib"
    with canvas.style():
        settings = _in_small_panels(_count(few), arviz_kwargs) if own else arviz_kwargs
        pc = _KINDS[kind](
            xr.DataTree.from_dict(groups),
            plot_collection=plot_collection,
            backend=backend,
            visuals=_VISUALS[kind] | dict(visuals or {}) if own else visuals,
            **{"labeller": QuantityLabeller(), **settings},
        )
        if own:
            test = _TEST.format(1.0 - rcParams["stats.envelope_prob"]) if _arrange(pc, kind) else ""
            if title or test:
                pc.add_title("\n".join(filter(None, [title, test])))
    return pc


class QuantityLabeller(BaseLabeller):
    """Names of quantities in words, with the component, feature, row or rank that they belong to."""

    def make_label_vert(self, var_name: str | None, sel: Mapping[Any, Any], isel: Mapping[Any, Any]) -> str:
        """The name of one scalar quantity, for the title of its panel."""
        words = _WORDS.get(str(var_name), str(var_name))
        if FEATURE in sel:
            words += f" of {sel[FEATURE]}"
        places = [_PLACES[dim].format(sel[dim]) for dim in _PLACES if dim in sel]
        return ", ".join([words, *places])


def _chosen(found: xr.Dataset, settings: dict[str, Any]) -> xr.Dataset:
    """The quantities asked for by ArviZ's ``var_names``, ``filter_vars`` and ``coords``, which are removed."""
    asked = {name: settings.pop(name, None) for name in ("var_names", "filter_vars", "coords")}
    tree = xr.DataTree.from_dict({"posterior": found})
    return process_group_variables_coords(tree, group="posterior", **asked)


def _count(quantities: xr.Dataset) -> int:
    return sum(1 for _ in xarray_sel_iter(quantities, skip_dims=set(SAMPLE_DIMS)))


def _fewest_agreeing(quantities: xr.Dataset) -> xr.Dataset:
    """Of many quantities those whose chains differ most, as variables of their own."""
    if _count(quantities) <= _MOST:
        return quantities
    scalars = {
        QuantityLabeller().make_label_vert(name, sel, isel): quantities[name].isel(isel, drop=True)
        for name, sel, isel in xarray_sel_iter(quantities, skip_dims=set(SAMPLE_DIMS))
    }
    rhat = xr.Dataset(scalars).azstats.rhat()
    worst = sorted(scalars, key=lambda name: -float(rhat[name]))[:_KEPT]
    return xr.Dataset({name: scalars[name] for name in worst})


def _in_small_panels(n: int, settings: dict[str, Any]) -> dict[str, Any]:
    """A figure of n panels as wide as a page, in constrained layout."""
    n_rows = -(-n // settings.get("col_wrap", _ACROSS))
    figure = {"layout": "constrained", "figsize": (_WIDTH, _HEIGHT * n_rows + 0.8)}
    return {"col_wrap": _ACROSS, **settings, "figure_kwargs": figure | settings.get("figure_kwargs", {})}


def _arrange(pc: PlotCollection, kind: str) -> bool:
    """Titles with the p-values of ranks, if there are any, one label for all axes of a kind, and a legend of chains."""
    tested = any(panel.texts for panel in panels(pc))
    for panel in panels(pc):
        panel.set_title("\n".join(textwrap.wrap(panel.get_title(), _LETTERS)))
        for text in list(panel.texts):
            p_value = re.sub(r"\(α=.*\)", "", text.get_text()).replace("=", " = ").replace("= 0.00", "< 0.005")
            panel.set_title(f"{panel.get_title()}\n{p_value}")
            text.remove()
        for marks in panel.collections if tested else ():  # where a chain differs
            marks.set_sizes([3.0])
    figure = pc.get_viz("figure")
    x, y = _AXES[kind]
    figure.supxlabel(x, x=0.99, ha="right", fontsize=mpl.rcParams["axes.labelsize"])
    figure.supylabel(y, fontsize=mpl.rcParams["axes.labelsize"])
    n_chains = pc.aes["color"].dataset.sizes.get("chain", 1) if "color" in pc.aes_set else 1
    if n_chains > 1:
        pc.add_legend("chain", loc="outside lower left", ncols=min(n_chains, 8))
    return tested


def component_parameters(tree: xr.DataTree) -> xr.Dataset:
    """Weight, mean and standard deviation (chain, draw, cluster, feature) of every component."""
    draws = tree["posterior"].to_dataset()
    sd = np.sqrt(draws_of(tree).variances).reshape(draws["means"].shape)
    return xr.Dataset({"weight": draws["weights"], "mean": draws["means"], "sd": (draws["means"].dims, sd)}).drop_vars(
        "feature_bis", errors="ignore"
    )
