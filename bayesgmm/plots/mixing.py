"""ArviZ's rank and trace plots of label-invariant quantities or relabelled parameters."""

from typing import Any

import numpy as np
import xarray as xr
from arviz_base import rcParams
from arviz_plots import PlotCollection, plot_rank, plot_trace
from numpy.typing import ArrayLike

from bayesgmm.diagnostics import invariants
from bayesgmm.plots._canvas import Canvas, Visuals
from bayesgmm.plots._data import in_same_labels
from bayesgmm.plots._docs import documented
from bayesgmm.posterior import NO_NAMES, SAMPLE_DIMS, Names, Posterior, data_of, draws_of, mixture_posterior
from bayesgmm.validation import check_flag, check_option

_KINDS = {"rank": plot_rank, "trace": plot_trace}
_QUANTITIES = ("invariant", "relabelled")
_SHOWN = ["log_likelihood", "log_density", "weight", "entropy"]  # by default; ranks of the others are full of ties


@documented
def plot_mixing(
    posterior: Posterior,
    X: ArrayLike | None = None,
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
    Canvas(None, plot_collection, backend).checked(("matplotlib", "plotly", "bokeh"))
    tree = mixture_posterior(posterior, X, names=names)
    data = data_of(tree, X)
    if quantities == "invariant":
        found = invariants(tree, data)
        arviz_kwargs = {"var_names": _SHOWN} | arviz_kwargs
    else:
        found = component_parameters(in_same_labels(posterior, tree, data.rows, force=force))
    numbers = {dim: np.arange(found.sizes[dim]) for dim in SAMPLE_DIMS if dim not in found.coords}
    groups = {"posterior": found.assign_coords(numbers)}  # ArviZ tells chains apart by their coordinate
    if "sample_stats" in tree.children:
        groups["sample_stats"] = tree["sample_stats"].to_dataset()
    return _KINDS[kind](
        xr.DataTree.from_dict(groups),
        plot_collection=plot_collection,
        backend=backend,
        visuals=visuals,
        **_with_layout(plot_collection, backend, arviz_kwargs),
    )


def component_parameters(tree: xr.DataTree) -> xr.Dataset:
    """Weight, mean and standard deviation (chain, draw, cluster, feature) of every component."""
    draws = tree["posterior"].to_dataset()
    sd = np.sqrt(draws_of(tree).variances).reshape(draws["means"].shape)
    return xr.Dataset({"weight": draws["weights"], "mean": draws["means"], "sd": (draws["means"].dims, sd)}).drop_vars(
        "feature_bis", errors="ignore"
    )


def _with_layout(pc: PlotCollection | None, backend: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Matplotlib's constrained layout by default, so that titles do not overlap."""
    if pc is not None or (backend or rcParams["plot.backend"]) != "matplotlib":
        return settings
    return {**settings, "figure_kwargs": {"layout": "constrained", **settings.get("figure_kwargs", {})}}
