"""One simulation: parameters from the prior, rows from these, their posterior, and where the truth ranks in it."""

import warnings
from dataclasses import dataclass
from typing import Any

import arviz_stats as azs
import numpy as np
import xarray as xr

from bayesgmm._common import Array
from bayesgmm.diagnostics import by_weight, invariants
from bayesgmm.estimators import BayesianGaussianMixture
from bayesgmm.mixture import Draws, component_of
from bayesgmm.posterior import FEATURE, SAMPLE_DIMS, draws_of, model_of, prior_from_json
from bayesgmm.priors import Model

MOST_DRAWS = 100  # that a truth is ranked among
_SPACING = 2.0  # draws whose effective sample size is one, between two that are kept: they are nearly independent
_N_PAIRS = 4


@dataclass(frozen=True)
class Design:
    """What is simulated, in plain values: it travels to other processes and is written to files.

    Attributes
    ----------
    prior : str
        As JSON.
    n_rows, n_components : int
    covariance_type, inference : str
    seed : int
    component, dof : str, str or float
    """

    prior: str
    n_rows: int
    n_components: int
    covariance_type: str
    inference: str
    seed: int
    component: str = "gaussian"
    dof: str | float = "each"

    @property
    def model(self) -> Model:
        """The model, with its prior."""
        prior = prior_from_json(self.prior)
        component = component_of(self.component, self.dof)
        return Model.of(self.covariance_type, self.n_components, prior.n_features, prior=prior, component=component)


def simulate(design: Design, number: int) -> xr.Dataset:
    """Ranks of the truth in one posterior, for all quantities, divided by the draws so that they are uniform in (0, 1).

    Also ``draws``, the number of draws it was ranked among, and ``converged``.

    Raises
    ------
    KeyboardInterrupt
        If the fit was interrupted.
    """
    rng = np.random.default_rng([design.seed, number])
    model = design.model
    truth = model.prior_draws(1, rng=rng)
    rows = truth.mixture(0).sample(design.n_rows, rng=rng)[0]
    try:
        tree = _posterior(design, rows, seed=int(rng.integers(2**31)))
    except Exception as error:
        error.add_note(
            f"In simulation {number}, which begins with numpy.random.default_rng([{design.seed}, {number}])."
        )
        raise
    if tree.attrs.get("interrupted"):
        raise KeyboardInterrupt
    draws, true = quantities(tree), quantities(_with_draws(tree, truth))
    kept = spaced(draws)
    ranks = {str(name): (true[name].dims[2:], _rank(kept[name], true[name], rng)) for name in draws}
    found = xr.Dataset(ranks, {dim: draws[dim] for dim in draws.coords if dim not in SAMPLE_DIMS})
    return found.assign(draws=kept.sizes["sample"], converged=bool(tree.attrs["converged"]))


def _posterior(design: Design, rows: Array, *, seed: int) -> xr.DataTree:
    """A fit as users make it: what it warns of is counted, not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = BayesianGaussianMixture(
            design.n_components,
            covariance_type=design.covariance_type,
            prior=prior_from_json(design.prior),
            component=design.component,
            dof=design.dof,
            inference=design.inference,
            cores=1,
            random_state=seed,
            progress=False,
        ).fit(rows)
    return fit.posterior_


def quantities(tree: xr.DataTree) -> xr.Dataset:
    """Label-invariant quantities of every draw, and its parameters with the components in order of their weights.

    If the prior distinguishes the components, they are in their own order.
    """
    model, names = model_of(tree), tree["posterior"][FEATURE].to_numpy()
    found = invariants(tree, n_pairs=_N_PAIRS).drop_vars(["anchor", "lp"], errors="ignore")
    draws = by_weight(draws_of(tree)) if model.exchangeable else draws_of(tree)
    i, j = model.family.parametrisation.entries(model.n_features)
    blocks = np.arange(model.family.n_blocks(model.n_components))
    entries = [f"{names[a]}, {names[b]}" if a != b else f"{names[a]}" for a, b in zip(i, j, strict=True)]
    shape = tree["posterior"]["weights"].shape[:2]
    values: dict[str, tuple[tuple[str, ...], Array]] = {
        "mean": (("component", FEATURE), draws.means),
        "covariance": (("block", "entry"), draws.entries(blocks[:, None], i, j)),
    }
    if draws.dof is not None:
        values["dof"] = (("component",), draws.dof)
    parameters: Any = {
        name: ((*SAMPLE_DIMS, *dims), array.reshape(*shape, *array.shape[1:])) for name, (dims, array) in values.items()
    }
    return found.assign(parameters).assign_coords({FEATURE: names, "entry": entries})


def _with_draws(tree: xr.DataTree, draws: Draws) -> xr.DataTree:
    """The tree with other draws, of one chain: they are handled just like its own."""
    own = tree["posterior"].to_dataset().isel({dim: [0] for dim in SAMPLE_DIMS})
    held = {name: name for name in ("weights", "means", "covariances", "variances", "dof") if name in own}
    held |= {"scales": "covariances"} if "scales" in own else {}
    new = own.assign({name: own[name].copy(data=getattr(draws, of)[None]) for name, of in held.items()})
    data = {name: tree[name].to_dataset() for name in ("observed_data", "constant_data")}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=tree.attrs), **data, "posterior": new})


def spaced(draws: xr.Dataset) -> xr.Dataset:
    """At most 100 draws (sample), evenly spaced, so far from one another that they are nearly independent."""
    n = draws.sizes["chain"] * draws.sizes["draw"]
    with np.errstate(divide="ignore", invalid="ignore"):  # of what does not vary
        ess = [float(values.min()) for values in azs.ess(draws).values()]
    least = min((size for size in ess if np.isfinite(size)), default=1.0)
    kept = int(np.clip(least / _SPACING, 1, min(MOST_DRAWS, n)))
    index = np.linspace(0, n - 1, kept).round().astype(np.int64)
    return draws.stack(sample=SAMPLE_DIMS, create_index=False).isel(sample=index)


def _rank(draws: xr.DataArray, truth: xr.DataArray, rng: np.random.Generator) -> Array:
    """Where the truth lies among draws, from 0 to 1; its place among equal ones, and in its interval, is drawn."""
    values = draws.transpose("sample", ...).to_numpy()
    true = truth.to_numpy()[0, 0]
    below, equal = (values < true).sum(axis=0), (values == true).sum(axis=0)
    return (rng.integers(0, equal + 1) + below + rng.random(true.shape)) / (len(values) + 1)
