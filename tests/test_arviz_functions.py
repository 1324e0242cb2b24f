"""Every public function of ArviZ on `to_arviz(fit)`: it works, or the tables say why not."""

import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import arviz_base
import arviz_plots as azp
import arviz_stats as azs
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayesgmm import BayesianGaussianMixture
from bayesgmm.datasets import load_old_faithful

X = load_old_faithful().iloc[::8]
TESTED = "1.3"  # of ArviZ: other versions have other functions
PAGE = Path(__file__).parents[1] / "docs" / "arviz.md"

type Call = Callable[[xr.DataTree], Any]

NO_TREE = "take no DataTree"
NO_PREDICTORS = "are of regressions: a mixture has no predictors"
NO_TIMES = "are of times to an event, or of censored rows"
NO_CLASSES = "are of binary or ordinal rows"
NO_COUNTS = "are of counts"
NO_RANKS = "are of simulation-based calibration: `bayesgmm.calibrate(...).plot()`"
NO_WRAPPER = "refit a model in a `SamplingWrapper`: `bayesgmm.loo(fit, refit=True)` refits"
NO_MODEL = "need unconstrained draws and a function of them: `bayesgmm.loo(fit, moment_match=True)`"
EXACT = "are of draws from an approximation, with its density: those of a fit are draws from the posterior"


def posterior(tree: xr.DataTree) -> xr.Dataset:
    return tree["posterior"].to_dataset()


def half(tree: xr.DataTree) -> xr.DataTree:
    return tree.isel(draw=slice(25))


def pointwise(tree: xr.DataTree) -> Any:
    return azs.loo(tree, var_name="y", pointwise=True)


def compared(tree: xr.DataTree) -> pd.DataFrame:
    return azs.compare({"one": tree, "other": half(tree)}, var_name="y")


def alone(module: ModuleType, *names: str, **settings: Any) -> dict[str, Call | str]:
    """Functions that are called with the tree and the same settings."""
    return {name: lambda tree, name=name: getattr(module, name)(tree, **settings) for name in names}


BASE: dict[str, Call | str] = {
    **dict.fromkeys(("citations", "clear_data_home", "get_data_home", "list_datasets", "load_arviz_data"), NO_TREE),
    **dict.fromkeys(("dict_to_dataset", "from_dict", "generate_dims_coords", "make_attrs"), NO_TREE),
    **dict.fromkeys(("from_cmdstanpy", "from_emcee", "from_numpyro", "from_numpyro_svi", "from_pystan"), NO_TREE),
    "ndarray_to_dataarray": NO_TREE,
    **alone(arviz_base, "convert_to_dataset", "convert_to_datatree", "get_unconstrained_samples"),
    "dataset_to_dataarray": lambda tree: arviz_base.dataset_to_dataarray(posterior(tree)),
    "dataset_to_dataframe": lambda tree: arviz_base.dataset_to_dataframe(posterior(tree)),
    "explode_dataset_dims": lambda tree: arviz_base.explode_dataset_dims(posterior(tree), "cluster"),
    "extract": lambda tree: arviz_base.extract(tree, group="prior", num_samples=10),
    "references_to_dataset": lambda tree: arviz_base.references_to_dataset(0.0, posterior(tree)),
    "xarray_sel_iter": lambda tree: len([*arviz_base.xarray_sel_iter(posterior(tree))]),
    "xarray_to_ndarray": lambda tree: arviz_base.xarray_to_ndarray(posterior(tree))[1],
    "xarray_var_iter": lambda tree: [values for *_, values in arviz_base.xarray_var_iter(posterior(tree))],
}
STATS: dict[str, Call | str] = {
    **dict.fromkeys(("get_function", "hexbin", "histogram2d", "kde2d"), NO_TREE),
    **dict.fromkeys(("generate_survival_curves", "kaplan_meier"), NO_TIMES),
    **dict.fromkeys(("lfo_cv", "loo_kfold", "reloo"), NO_WRAPPER),
    **dict.fromkeys(("bayesian_r2", "residual_r2"), NO_PREDICTORS),
    "loo_moment_match": NO_MODEL,
    "loo_approximate_posterior": EXACT,
    **alone(azs, "bfmi", "diagnose", "ess", "eti", "hdi", "histogram", "iqr", "kde", "mad", "mcse", "mean", "median"),
    **alone(azs, "mode", "psense", "psense_summary", "qds", "rhat", "std", "summary", "thin", "var"),
    **alone(azs, "loo_expectations", "loo_influence", "loo_metrics", "loo_pit", "metrics"),
    **alone(azs, "loo_score", "loo_r2", var_name="waiting"),
    **alone(azs, "loo", "get_log_likelihood", var_name="y"),
    "bayes_factor": lambda tree: azs.bayes_factor(tree, "correlations", ref_vals=0.3),
    "ci_in_rope": lambda tree: azs.ci_in_rope(tree, (-0.1, 0.1), var_names="correlations"),
    "compare": lambda tree: compared(tree).dropna(axis="columns"),  # the best one has no probability of being worse
    "ecdf": lambda tree: azs.ecdf(posterior(tree)),
    "kl_divergence": lambda tree: azs.kl_divergence(tree, half(tree), num_samples=40),
    "loo_i": lambda tree: azs.loo_i(3, tree, var_name="y"),
    "loo_subsample": lambda tree: azs.loo_subsample(tree, 20, var_name="y"),
    "rhat_nested": lambda tree: azs.rhat_nested(tree, superchain_ids=[0, 0, 1, 1]),
    "update_subsample": lambda tree: azs.update_subsample(
        azs.loo_subsample(tree, 20, var_name="y", pointwise=True), tree, 5, var_name="y"
    ),
    "wasserstein": lambda tree: azs.wasserstein(tree, half(tree), num_samples=40),
    "weight_predictions": lambda tree: azs.weight_predictions([tree, tree]),
}
OF_PARAMETERS = ("autocorr", "convergence_dist", "dgof", "dgof_dist", "dist", "ess", "ess_evolution", "forest", "mcse")
OF_PARAMETERS += ("parallel", "psense_dist", "psense_quantities", "rank", "rank_dist", "ridge", "trace", "trace_dist")
OF_ALL = ("energy", "loo_interval", "loo_pit", "ppc_dist", "ppc_dist_pit", "ppc_interval", "ppc_pit", "ppc_tstat")
PLOTS: dict[str, Call | str] = {
    **alone(azp, *(f"plot_{name}" for name in OF_PARAMETERS), var_names="means"),
    **alone(azp, *(f"plot_{name}" for name in OF_ALL), "plot_prior_posterior"),
    "add_bands": lambda tree: azp.add_bands(azp.plot_dist(tree, var_names="means"), [(50, 60)]),
    "add_lines": lambda tree: azp.add_lines(azp.plot_dist(tree, var_names="means"), 55.0),
    "combine_plots": lambda tree: azp.combine_plots(
        tree, [(azp.plot_trace, {}), (azp.plot_dist, {})], var_names="weights"
    ),
    "plot_bf": lambda tree: azp.plot_bf(tree, "correlations", ref_val=0.3),
    "plot_compare": lambda tree: azp.plot_compare(compared(tree)),
    "plot_khat": lambda tree: azp.plot_khat(pointwise(tree)),
    "plot_pair": lambda tree: azp.plot_pair(tree, var_names="weights"),
    "plot_pair_focus": lambda tree: azp.plot_pair_focus(tree, posterior(tree)["weights"][..., 0], var_names="means"),
    "plot_ecdf_pit": NO_RANKS,
    "plot_lm": NO_PREDICTORS,
    **dict.fromkeys(("plot_loo_pava", "plot_ppc_pava", "plot_ppc_pava_residuals"), NO_CLASSES),
    "plot_ppc_censored": NO_TIMES,
    "plot_ppc_rootogram": NO_COUNTS,
}
TABLES: dict[ModuleType, dict[str, Call | str]] = {arviz_base: BASE, azs: STATS, azp: PLOTS}
# Of rows, and of prior and posterior: what fits alone do not suffice for.
QUICK = {"plot_bf", "plot_compare", "plot_khat", "plot_prior_posterior", "plot_psense_dist", "plot_energy"}
QUICK |= {f"plot_{name}" for name in OF_ALL}

pytestmark = [
    pytest.mark.skipif(
        any(not version(module.__name__).startswith(TESTED) for module in TABLES), reason=f"not ArviZ {TESTED}"
    ),
    pytest.mark.filterwarnings("ignore"),  # ArviZ's, of few draws
]


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = BayesianGaussianMixture(2, draws=50, tune=100, random_state=1, progress=False).fit(X)
    return fit.to_arviz(random_state=1)


def public(module: ModuleType) -> set[str]:
    return {name for name, value in vars(module).items() if inspect.isfunction(value) and not name.startswith("_")}


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
def test_every_public_function_is_in_a_table(module: ModuleType) -> None:
    new, gone = public(module) - {*TABLES[module]}, {*TABLES[module]} - public(module)
    assert not new, f"{module.__name__} has functions that no table here knows: add a call, or the reason why not"
    assert not gone, f"{module.__name__} has them no more"


def calls(module: ModuleType) -> dict[str, Call]:
    return {name: call for name, call in TABLES[module].items() if not isinstance(call, str)}


def numbers(result: Any) -> Iterator[np.ndarray]:
    """All numbers in what a function of ArviZ returns."""
    if isinstance(result, xr.DataTree):
        for node in result.subtree:
            yield from numbers(node.to_dataset())
    elif isinstance(result, xr.Dataset):
        yield from (values.to_numpy() for values in result.data_vars.values())
    elif isinstance(result, azs.ELPDData):
        yield np.array([result.elpd, result.se, result.p])
    elif isinstance(result, pd.DataFrame):
        yield result.select_dtypes("number").to_numpy()
    elif isinstance(result, tuple | list):
        for part in result:
            yield from numbers(part)
    else:
        yield np.asarray(result)


@pytest.mark.parametrize("name", [*calls(arviz_base), *calls(azs)])
def test_it_gives_numbers(name: str, tree: xr.DataTree) -> None:
    found = [values for values in numbers({**BASE, **STATS}[name](tree)) if values.dtype.kind in "fiu"]
    assert sum(values.size for values in found) > 0 or name == "diagnose"
    assert not any(np.isnan(values).any() for values in found)


@pytest.mark.parametrize("name", sorted(QUICK))
def test_it_plots(name: str, tree: xr.DataTree) -> None:
    with arviz_base.rc_context({"plot.backend": "none"}):
        assert isinstance(PLOTS[name](tree), azp.PlotCollection)


@pytest.mark.slow
@pytest.mark.parametrize("name", calls(azp))
def test_it_draws(name: str, tree: xr.DataTree) -> None:
    with arviz_base.rc_context({"plot.backend": "matplotlib"}):
        PLOTS[name](tree)
    assert any(axes.has_data() for axes in plt.gcf().axes)
    plt.close("all")


def test_the_page_tells_the_same() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = {name: text for names, text in rows for name in re.findall(r"`(\w+)`", names)}
    tables = {name: call for table in TABLES.values() for name, call in table.items()}
    reasons = {name: call for name, call in tables.items() if isinstance(call, str) and call != NO_TREE}
    assert {name: text for name, text in told.items() if isinstance(tables[name], str)} == reasons
    working = {name for module in (azs, azp) for name in calls(module)}
    assert working == {name for name in told if not isinstance(tables[name], str)}
