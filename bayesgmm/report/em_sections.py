"""Sections of a report that need no posterior: the data, how EM went, its components, its partition."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bayesgmm._common import Array, PerRow, Rows, shown
from bayesgmm.comparison import component_cells
from bayesgmm.em import Starts
from bayesgmm.exceptions import InformationError
from bayesgmm.mixture import Mixture
from bayesgmm.plots import COLOURS, GREY, INK
from bayesgmm.report.page import Picture, Section, Table, picture_of
from bayesgmm.standard_errors import StandardErrors, standard_errors

SURE = 0.9  # membership probability from which a row counts as clearly assigned
_MOST_NAMED, _MOST_LETTERS = 6, 24
MOST_PAIRED = 4
_MOST_PANELS, _COLUMNS = 6, 3


@dataclass(frozen=True)
class Sample:
    """The rows of a fit, what their columns are called, and how often each row counts."""

    X: Rows
    names: Sequence[str]
    row_weights: PerRow | None = None

    @property
    def columns(self) -> str:
        """The first names of columns, in words."""
        return listed(self.names)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first few.

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed(list("abcdefgh"))
    ('a, b and c', 'a, b, c, d, e, f and 2 more')
    """
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def counted(n: int, singular: str, plural: str = "") -> str:
    """A number and its noun.

    Examples
    --------
    >>> counted(1, "row"), counted(2_000, "row"), counted(2, "optimum", "optima")
    ('1 row', '2,000 rows', '2 optima')
    """
    return f"{n:,} {singular if n == 1 else plural or f'{singular}s'}"


# ---- data


def data_section(sample: Sample) -> Section:
    """How many rows, of what, and what is striking about them."""
    n, d = sample.X.shape
    first = f"{counted(n, 'row')} of {counted(d, 'feature')}: {sample.columns}"
    if sample.row_weights is not None:
        first += f"; with their frequency weights they count as {sample.row_weights.sum():,.5g} rows"
    table = Table("Features", ("feature", "mean", "sd", "min", "median", "max", "different values"), _moments(sample))
    return Section(
        title="Data",
        sentences=(f"{first}.", _most_striking(sample)),
        picture=_histograms(sample),
        tables=(table,),
    )


def _moments(sample: Sample) -> list[list[str]]:
    X = sample.X
    values = (X.mean(axis=0), X.std(axis=0, ddof=1), X.min(axis=0), np.median(X, axis=0), X.max(axis=0))
    different = [len(np.unique(X[:, j])) for j in range(X.shape[1])]
    return [
        [name, *(shown(float(value)) for value in row), f"{n:,}"]
        for name, row, n in zip(sample.names, np.transpose(values), different, strict=True)
    ]


def _most_striking(sample: Sample) -> str:
    """The strongest correlation, or of one feature the spread; and how coarse the numbers are."""
    different = [len(np.unique(column)) for column in sample.X.T]
    coarsest = int(np.argmin(different))
    ties = f"{sample.names[coarsest]} has {counted(different[coarsest], 'different value')} in {len(sample.X):,} rows"
    varying = np.flatnonzero(np.ptp(sample.X, axis=0) > 0)
    if len(varying) < 2:
        mean, sd = sample.X[:, coarsest].mean(), sample.X[:, coarsest].std(ddof=1)
        return f"{ties}, with mean {mean:.4g} and standard deviation {sd:.4g}."
    r = np.triu(np.corrcoef(sample.X[:, varying], rowvar=False), 1)
    i, j = np.unravel_index(int(np.abs(r).argmax()), r.shape)
    pair = f"{sample.names[varying[i]]} and {sample.names[varying[j]]}"
    fewest = "; of all features " if sample.X.shape[1] > 2 else "; "
    return f"The strongest correlation is {r[i, j]:.2f}, of {pair}{fewest}{ties}, the fewest."


def _histograms(sample: Sample) -> Picture:
    chosen = list(range(min(sample.X.shape[1], _MOST_PANELS)))
    n_columns = min(len(chosen), _COLUMNS)
    n_rows = -(-len(chosen) // n_columns)
    figure = Figure(figsize=(max(5.0, 3.2 * n_columns), 2.7 * n_rows), layout="constrained")
    for panel, j in zip(figure.subplots(n_rows, n_columns, squeeze=False).ravel(), chosen, strict=False):
        panel.hist(sample.X[:, j], bins=_bins(sample.X[:, j]), color=GREY, edgecolor="white", linewidth=0.5)
        panel.set_xlabel(_as_text(sample.names[j]))
        panel.set_ylabel("rows")
        panel.spines[["top", "right"]].set_visible(False)
    for panel in figure.axes[len(chosen) :]:
        panel.set_axis_off()
    return picture_of(figure, f"Histograms of {listed([sample.names[j] for j in chosen])}")


def _bins(x: Array) -> Array:
    return np.histogram_bin_edges(x, bins=min(60, max(10, round(2 * len(x) ** 0.4))))


def _as_text(name: str) -> str:
    """The beginning of a name, such that matplotlib does not take it for mathematics."""
    return (name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}…").replace("$", r"\$")


# ---- EM


def em_section(em: Any, *, notes: Sequence[str] = ()) -> Section:
    """How high the starts came, how many came highest, and what EM warned of."""
    starts: Starts = em.starts_
    end = f"in {counted(em.n_iter_, 'step')}" if em.converged_ else f"and had not converged after {em.n_iter_:,} steps"
    kind = "log-likelihood" if em.prior_ is None else "log-likelihood (maximum a posteriori)"
    return Section(
        title="EM",
        sentences=(f"EM reached a {kind} of {em.log_likelihood_:.2f}, BIC {em.bic():.2f}, {end}.", starts_told(starts)),
        picture=_starts_figure(starts, em.history_, em.converged_),
        notes=tuple(notes),
    )


def starts_told(starts: Starts) -> str:
    """How often the best optimum was reached, and how far the next one lies below, in a sentence."""
    reached = f"{starts.n_best_reached:,} of {counted(starts.n_starts, 'start')} reached this optimum"
    lost = f", {counted(starts.n_degenerate, 'start')} ended in a collapsed or emptied component"
    told = reached + (lost if starts.n_degenerate else "")
    if starts.n_optima > 1:
        behind = starts.optimum_objectives[0] - starts.optimum_objectives[1]
        return f"{told}; of {starts.n_optima} different optima the next best is lower by {behind:.3g}."
    return f"{told}; no other optimum was found."


def _starts_figure(starts: Starts, history: Array, converged: bool) -> Picture:
    figure = Figure(figsize=(8.6, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(np.arange(len(history)), history, color=COLOURS[0])
    left.set(xlabel="step of the start that was kept", ylabel="objective")
    ended = np.where(np.isfinite(starts.objectives), starts.objectives, np.nan)
    for kept, colour, label in (
        (~starts.degenerate, COLOURS[0], "sound"),
        (starts.degenerate, COLOURS[2], "collapsed"),
    ):
        if kept.any():
            where = np.flatnonzero(kept)
            right.scatter(where + 1, ended[kept], s=28, color=colour, label=label, zorder=2)
    right.scatter(starts.best + 1, ended[starts.best], s=110, facecolors="none", edgecolors=INK, label="kept", zorder=3)
    right.set(xlabel="start", ylabel="objective at its end")
    if np.nanmax(ended) - np.nanmin(ended) < 1e-3:
        middle = float(np.nanmean(ended))
        right.set_ylim(middle - 1.0, middle + 1.0)
    right.legend(frameon=False, fontsize=8.5)
    for panel in (left, right):
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.ticklabel_format(axis="y", useOffset=False)
        panel.spines[["top", "right"]].set_visible(False)
    return picture_of(figure, "EM's objective at each step, and at the end of each start")


# ---- components and partition of EM alone


def em_components_section(em: Any, sample: Sample) -> Section:
    """Weights and means with their standard errors."""
    mixture: Mixture = em.mixture_
    errors, notes = _standard_errors(em, sample)
    weights = mixture.weights
    large, small = int(weights.argmax()), int(weights.argmin())
    first = (
        f"Component {large} is the largest, with weight {weights[large]:.3f}, and component {small} the smallest, with "
        f"{weights[small]:.3f}."
        if len(weights) > 1
        else "There is one component, which holds every row."
    )
    return Section(
        title="Components",
        sentences=(first, _precision(errors)),
        picture=_em_picture(mixture, sample),
        tables=(Table("Components", *component_cells(sample.names, *_cells(mixture, errors))),),
        notes=tuple(notes),
    )


def _standard_errors(em: Any, sample: Sample) -> tuple[StandardErrors | None, list[str]]:
    """Those of the observed information, where there are some, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            errors = standard_errors(sample.X, em.mixture_, prior=em.prior_, row_weights=sample.row_weights)
        except (InformationError, ValueError) as error:
            return None, [str(error)]
    return errors, [str(each.message) for each in caught]


def _precision(errors: StandardErrors | None) -> str:
    if errors is None:
        return "There are no standard errors for it."
    within = np.asarray(errors.weights)
    worst = int(within.argmax())
    if not (isfinite(within[worst]) and within[worst] > 0):
        return "Standard errors of the means, in brackets, are from the observed information (Louis 1982)."
    return (
        f"The weight of component {worst} is known least, with standard error {within[worst]:.3f}; standard errors, in "
        "brackets, are from the observed information (Louis 1982)."
    )


def _cells(mixture: Mixture, errors: StandardErrors | None) -> tuple[list[str], list[list[str]]]:
    weights, means = mixture.weights, mixture.means
    if errors is None:
        return [f"{w:.3f}" for w in weights], [[shown(float(m)) for m in row] for row in means]
    told = [f"{w:.3f} ({se:.3f})" for w, se in zip(weights, errors.weights, strict=True)]
    pairs = zip(means, np.asarray(errors.means), strict=True)
    return told, [[f"{shown(float(m))} ({se:.2g})" for m, se in zip(*row, strict=True)] for row in pairs]


def _em_picture(mixture: Mixture, sample: Sample) -> Picture:
    from bayesgmm.plots import plot_components, plot_pairs

    once = {"weights": mixture.weights, "means": mixture.means, "covariances": mixture.full_covariances}
    posterior = {name: values[None, None] for name, values in once.items()}
    frame = pd.DataFrame(sample.X, columns=pd.Index([_as_text(name) for name in sample.names]))
    drawn: Any
    if len(frame.columns) > 2:
        chosen = range(min(MOST_PAIRED, len(frame.columns)))
        drawn = plot_pairs(posterior, frame, features=chosen, n_draws=1, force=True, backend="matplotlib")
    else:
        drawn = plot_components(posterior, frame, n_draws=1, force=True, backend="matplotlib")
    return picture_of(drawn, f"Rows and the {counted(mixture.n_components, 'component')} that EM found")


def em_partition_section(em: Any, sample: Sample) -> Section:
    """How clearly rows belong to components."""
    resp = em.mixture_.responsibilities(sample.X)
    sizes = np.bincount(resp.argmax(axis=1), minlength=resp.shape[1])
    told = listed([f"{n:,} (component {k})" for k, n in enumerate(sizes)])
    return Section(
        title="Partition",
        sentences=(f"By the most probable component the clusters have {told} rows.", unsure_told(resp.max(axis=1))),
        picture=_certainty_figure(resp.max(axis=1)),
    )


def unsure_told(largest: PerRow) -> str:
    """How many rows have no clear cluster, in a sentence."""
    n = int((largest < SURE).sum())
    share = f"{counted(n, 'row')} of {len(largest):,} ({n / len(largest):.1%})"
    return f"For {share} the most probable cluster has a probability below {SURE}."


def _certainty_figure(largest: PerRow) -> Picture:
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    panel = figure.subplots()
    panel.plot(
        np.sort(largest), np.arange(1, len(largest) + 1) / len(largest), color=COLOURS[0], drawstyle="steps-post"
    )
    panel.axvline(SURE, color=INK, linewidth=0.8, linestyle=":")
    panel.set(xlabel="probability of the most probable component", ylabel="share of rows up to it", ylim=(0.0, 1.0))
    panel.spines[["top", "right"]].set_visible(False)
    return picture_of(figure, "Distribution over rows of the probability of their most probable component")
