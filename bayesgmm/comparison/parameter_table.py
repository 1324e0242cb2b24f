"""Table of EM estimates beside posterior summaries, its rendering in a terminal, and lines on convergence."""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import mcse, summary
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bayesgmm._common import Array, decimals_of, sentence, shown
from bayesgmm.comparison.messages import Convergence
from bayesgmm.diagnostics import MAX_R_HAT, MIN_ESS_PER_CHAIN, Diagnosis, approximation_lines, diagnose
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import CovarianceFamily, Mixture
from bayesgmm.noise import NOISE_WEIGHT, noise_of
from bayesgmm.posterior import draws_of
from bayesgmm.prediction import interval_over_draws

_GAP = 2
MOST_FEATURES = 8  # in a table with a column for each


# ---- the table


def estimates_table(
    em: Mixture,
    posterior: xr.DataTree,
    *,
    ci_prob: float | None = None,
    ci_kind: Literal["eti", "hdi"] | None = None,
) -> pd.DataFrame:
    """EM estimates beside posterior summaries, one row for every weight, mean and free covariance entry.

    Parameters
    ----------
    em : Mixture
        The EM solution, K components and D features.
    posterior : DataTree
        As `BayesianGaussianMixture` leaves it in ``posterior_``: weights (chain, draw, cluster), means and
        full covariances or variances, aligned to ``em``.
    ci_prob, ci_kind : float, {"eti", "hdi"}, optional
        Probability and kind of the interval; ArviZ's rcParams ``stats.ci_prob`` (0.89) and
        ``stats.ci_kind`` (equal-tailed) by default.

    Returns
    -------
    pandas.DataFrame
        Index: the parameter, as one would index the fitted attribute, by cluster and feature name:
        ``covariances[0, eruptions, waiting]`` for full families (upper triangle only),
        ``covariances[eruptions, waiting]`` for tied, ``covariances[0, eruptions]`` for diagonal and
        ``covariances[0]`` for spherical ones (without the number of the cluster if all share it); of Student-t
        components ``scales`` in their place, and ``dof[0]``; with noise also ``noise_weight``. Columns: ``em``,
        then those of `arviz.summary`, not rounded: ``mean``, ``sd``, ``eti89_lb``, ``eti89_ub``, ``ess_bulk``,
        ``ess_tail``, ``r_hat``, ``mcse_mean``, ``mcse_sd``.

    Raises
    ------
    InputError
        The posterior has another shape than the mixture.
    """
    draws = posterior["posterior"].to_dataset()
    if draws["means"].shape[2:] != em.means.shape:
        raise InputError(
            expected=f"a posterior of {em.n_components} components and {em.n_features} features",
            got=f"{draws['means'].shape[2]} and {draws['means'].shape[3]}",
        )
    names = [str(name) for name in draws["feature"].to_numpy()]
    entries = dict(covariance_entries(em.family, em.n_components, names))
    where = tuple(np.array(list(entries.values())).T)
    noise = [NOISE_WEIGHT] if NOISE_WEIGHT in draws else []
    labels = [*(f"weights[{k}]" for k in range(em.n_components)), *noise]
    labels += [f"means[{k}, {name}]" for k in range(em.n_components) for name in names]
    estimates = [em.weights, [noise_of(em)[1]] * len(noise), em.means.ravel(), em.full_covariances[where]]
    sample_shape = draws["means"].shape[:2]
    sampled = [
        draws["weights"].to_numpy(),
        *(draws[name].to_numpy()[..., None] for name in noise),
        draws["means"].to_numpy().reshape(*sample_shape, -1),
        draws_of(posterior).entries(*where).reshape(*sample_shape, -1),
    ]
    labels += entries
    if em.dof is not None:  # and matrices are scales
        labels = [label.replace("covariances", "scales", 1) for label in labels]
        labels += [f"dof[{k}]" for k in range(em.n_components)]
        estimates, sampled = [*estimates, em.dof], [*sampled, draws["dof"].to_numpy()]
    table = _summary(np.concatenate(sampled, axis=-1), ci_prob, ci_kind)
    table.insert(0, "em", np.concatenate(estimates))
    return table.set_index(pd.Index(labels, name="parameter"))


def spread_table(em: Mixture, posterior: xr.DataTree) -> pd.DataFrame:
    """`estimates_table` of standard deviations and correlations: ``sds[0, waiting]``, ``correlations[0, a, b]``."""
    draws, names = draws_of(posterior), [str(name) for name in posterior["posterior"]["feature"].to_numpy()]
    d, n_blocks = len(names), em.family.n_blocks(em.n_components)
    sample_shape = posterior["posterior"]["means"].shape[:2]
    columns: dict[str, Array] = {}
    estimates: dict[str, float] = {}
    for k in range(n_blocks):
        cluster = [] if em.family.shared else [str(k)]
        variances = draws.entries(np.full(d, k), np.arange(d), np.arange(d))
        own = np.sqrt(np.diagonal(em.full_covariances[k]))
        for j, name in enumerate(names):
            label = _label("sds", [*cluster, name])
            columns[label], estimates[label] = np.sqrt(variances[:, j]), own[j]
        pairs = [] if em.family.diagonal else [(i, j) for i in range(d) for j in range(i + 1, d)]
        for i, j in pairs:
            label = _label("correlations", [*cluster, names[i], names[j]])
            shared = draws.entries(np.array([k]), np.array([i]), np.array([j]))[:, 0]
            columns[label] = shared / np.sqrt(variances[:, i] * variances[:, j])
            estimates[label] = em.full_covariances[k, i, j] / (own[i] * own[j])
    table = _summary(np.stack(list(columns.values()), axis=-1).reshape(*sample_shape, -1), None, None)
    table.insert(0, "em", list(estimates.values()))
    return table.set_index(pd.Index(list(columns), name="parameter"))


def covariance_entries(
    family: CovarianceFamily, n_components: int, names: Sequence[str]
) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Label and position (cluster, feature, feature_bis) of every free entry of a family's covariances."""
    d, one = len(names), family.parametrisation
    for k in range(family.n_blocks(n_components)):
        cluster = [] if family.shared else [str(k)]
        for i, j in sorted((int(j), int(i)) for i, j in zip(*one.entries(d), strict=True)):
            index = [*cluster, *[names[i], names[j]][: len(one.natural_shape(d))]]
            yield _label("covariances", index) if index else "covariances", (k, i, j)


def _label(name: str, index: Sequence[str]) -> str:
    return f"{name}[{', '.join(index)}]"


def _summary(values: np.ndarray, ci_prob: float | None, ci_kind: Literal["eti", "hdi"] | None) -> pd.DataFrame:
    """ArviZ's summary of (chain, draw, entry), not rounded."""
    dataset = xr.Dataset({"entry": (("chain", "draw", "index"), values)})
    with np.errstate(divide="ignore", invalid="ignore"):  # the weight of a single component never varies
        table = summary(dataset, ci_prob=ci_prob, ci_kind=ci_kind, round_to="none")
    return pd.DataFrame(table)


# ---- convergence


def convergence_lines(posterior: xr.DataTree) -> list[str]:
    """R-hat, effective sample size, divergences, verdict, findings and next steps, a line each."""
    return verdict_lines(diagnose(posterior))


def verdict_lines(found: Diagnosis) -> list[str]:
    """`convergence_lines` of a verdict that is known already.

    Of a Laplace approximation k-hat, the effective number and the error of log ratios in the place of the first three.
    """
    figures = found.figures
    if figures.approximation is not None:
        lines = approximation_lines(figures.approximation)
        return [*lines, sentence(Convergence.VERDICT, verdict=found.verdict), *found.findings, *found.next_steps]
    sets = [figures.invariants] if figures.relabelled is None else [figures.invariants, figures.relabelled]
    r_hat, ess_bulk, ess_tail = (
        max(mixing.r_hat for mixing in sets),
        min(mixing.ess_bulk for mixing in sets),
        min(mixing.ess_tail for mixing in sets),
    )
    n, least = figures.n_samples, MIN_ESS_PER_CHAIN * figures.n_chains
    return [
        sentence(Convergence.R_HAT if isfinite(r_hat) else Convergence.NO_R_HAT, r_hat=r_hat, limit=MAX_R_HAT),
        sentence(Convergence.ESS, bulk=ess_bulk, tail=ess_tail, n=n, least=least),
        sentence(Convergence.DIVERGENCES, n_divergences=figures.n_divergences, n=n),
        sentence(Convergence.VERDICT, verdict=found.verdict),
        *found.findings,
        *found.next_steps,
    ]


# ---- components


def component_cells(
    names: Sequence[str], weights: Sequence[str], means: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of text, one a component: its weight, and the mean of each of the first features."""
    headings = ["component", "weight", *(f"mean of {name}" for name in names[:MOST_FEATURES])]
    rows = [[str(k), w, *m[:MOST_FEATURES]] for k, (w, m) in enumerate(zip(weights, means, strict=True))]
    return headings, rows


def component_intervals(tree: xr.DataTree) -> tuple[list[str], list[list[str]]]:
    """`component_cells` of a posterior: means over draws with ArviZ's interval, ``0.36 (0.31 … 0.41)``."""
    draws = tree["posterior"].to_dataset().transpose("chain", "draw", ...)
    names = [str(name) for name in draws["feature"].to_numpy()]
    weights = _interval_texts(draws["weights"].to_numpy())
    return component_cells(names, weights, _interval_texts(draws["means"].to_numpy()[..., :MOST_FEATURES]))


def mean_and_bounds(draws: Array) -> tuple[Array, Array, Array]:
    """Mean and bounds of ArviZ's interval over the first two axes."""
    samples = np.moveaxis(draws.reshape(-1, *draws.shape[2:]), 0, -1)
    bounds = interval_over_draws(None, None)(samples)
    return samples.mean(axis=-1), bounds[..., 0], bounds[..., 1]


def _interval_texts(draws: Array) -> list:
    def text(mean: float, lower: float, upper: float, sd: float, error: float) -> str:
        digits = decimals_of(sd, mean=mean, mcse=error)
        return f"{shown(mean, digits)} ({shown(lower, digits)} … {shown(upper, digits)})"

    with np.errstate(divide="ignore", invalid="ignore"):  # the weight of a single component never varies
        error = mcse(draws, chain_axis=0, draw_axis=1)
    return np.vectorize(text, otypes=[object])(*mean_and_bounds(draws), draws.std(axis=(0, 1)), error).tolist()


# ---- in a terminal


def estimates_renderable(table: pd.DataFrame, *, max_rows: int = 60, width: int = 80) -> Group:
    """The table for a terminal: one block each for weights, means and covariances, no wider than ``width``.

    Values have the digits that the posterior standard deviation supports. ESS is the smaller of bulk and
    tail. A block longer than ``max_rows`` is cut, and says so.
    """
    names = table.index.str.partition("[").get_level_values(0)
    cells = {str(name): _block_cells(table[names == name].head(max_rows)) for name in names.unique()}
    headings = _headings(table)
    rows = [headings, *(row for block in cells.values() for row in block)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(headings))]
    widths[0] = max(10, min(widths[0], width - sum(widths[1:]) - _GAP * len(headings[1:])))
    parts: list[Table | Text] = []
    for name, block in cells.items():
        more = int((names == name).sum()) - len(block)
        parts.append(_block_table([name, *headings[1:]], block, widths))
        parts.append(Text(f"… and {more:,} more" if more else "", style="dim"))
    return Group(*parts[: None if more else -1])


def estimates_cells(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table as text, each row named in full: ``means[0, waiting]``."""
    rows = [[str(label), *cells[1:]] for label, cells in zip(table.index, _block_cells(table), strict=True)]
    return ["parameter", *_headings(table)[1:]], rows


def interval_columns(table: pd.DataFrame) -> tuple[str, str]:
    """Names of the lower and upper bound, as ArviZ calls them: ``eti89_lb``, ``eti89_ub``."""
    lower, upper = (str(name) for name in table.columns if str(name).endswith(("_lb", "_ub")))
    return lower, upper


def _headings(table: pd.DataFrame) -> list[str]:
    lower, _ = interval_columns(table)
    return ["covariances", "EM", "mean", "sd", f"{lower[3:-3]}% {lower[:3].upper()}", "R-hat", "ESS"]


def _block_cells(block: pd.DataFrame) -> list[list[str]]:
    lower, upper = interval_columns(block)
    return [[_index_of(str(label)), *_cells(row, lower, upper)] for label, row in block.iterrows()]


def _index_of(label: str) -> str:
    """``means[0, waiting]`` -> ``0, waiting``."""
    return label.partition("[")[2].removesuffix("]") or "all"


def _cells(row: pd.Series, lower: str, upper: str) -> list[str]:
    digits = decimals_of(row["sd"], mean=row["mean"], mcse=row["mcse_mean"])
    interval = f"{shown(row[lower], digits)} … {shown(row[upper], digits)}"
    ess = min(row["ess_bulk"], row["ess_tail"])
    values = [shown(row[column], digits) for column in ("em", "mean", "sd")]
    return [*values, interval, shown(row["r_hat"], "r_hat"), shown(ess, "count")]


def _block_table(headings: Sequence[str], cells: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    for column, (heading, width) in enumerate(zip(headings, widths, strict=True)):
        if column == 0:
            grid.add_column(heading, header_style="bold", width=width, overflow="fold")
        else:
            grid.add_column(heading, justify="right", no_wrap=True, width=width)
    for row in cells:
        grid.add_row(*row)
    return grid
