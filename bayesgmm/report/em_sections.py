"""Sections of a report on EM: data, EM, components, partition."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bayesgmm._common import Array, PerRow, Rows, counted, decimals_of, listed, sentence, shown
from bayesgmm.comparison import component_cells
from bayesgmm.data import Data, IncompleteData
from bayesgmm.em import Starts
from bayesgmm.exceptions import InformationError
from bayesgmm.mixture import Mixture, row_memberships
from bayesgmm.noise import noise_of, refuse_noise
from bayesgmm.overview import SURE, RowClusters
from bayesgmm.report.figures import Picture, picture_of, svg_of
from bayesgmm.report.messages import DataSentence, EMSentence, Fragment, SharedSentence
from bayesgmm.report.page import Section, Table
from bayesgmm.standard_errors import StandardErrors, standard_errors
from bayesgmm.style import CLUSTERS, GREY, INK

_MOST_LETTERS = 24
MOST_PAIRED = 4
_MOST_PANELS = 6


@dataclass(frozen=True)
class Sample:
    """The rows of a fit, what their columns are called, how often each row counts, and how many have labels."""

    X: Rows
    names: Sequence[str]
    row_weights: PerRow | None = None
    n_labelled: int = 0

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which values are, (obs, feature)."""
        return np.isnan(self.X)

    @property
    def data(self) -> Data:
        """The rows with what was observed of them."""
        kind = IncompleteData if self.missing.any() else Data
        return kind(self.X, self.row_weights)

    def observed(self, j: int) -> Array:
        """The known values of a feature."""
        return self.X[~self.missing[:, j], j]

    @property
    def columns(self) -> str:
        """The first names of columns, in words."""
        return listed(self.names)


# ---- data


def data_section(sample: Sample) -> Section:
    """Numbers of rows and features, strongest correlation, coarsest feature."""
    n, d = sample.X.shape
    size = {"rows": counted(n, "row"), "features": counted(d, "feature"), "names": sample.columns}
    if sample.row_weights is None:
        first = sentence(DataSentence.SIZE, **size)
    else:
        first = sentence(DataSentence.WEIGHTED, total=sample.row_weights.sum(), **size)
    table = Table("Features", ("feature", "mean", "sd", "min", "median", "max", "different values"), _moments(sample))
    return Section(
        title="Data",
        sentences=(first, *_gaps(sample), _most_striking(sample)),
        picture=_histograms(sample),
        tables=(table,),
    )


def _gaps(sample: Sample) -> list[str]:
    """How many values are missing, and labels known; nothing where none is."""
    n = int(sample.missing.sum())
    complete = int((~sample.missing.any(axis=1)).sum())
    values = {"values": counted(n, "value"), "share": n / sample.X.size, "complete": counted(complete, "row")}
    told = [sentence(DataSentence.MISSING, **values)] if n else []
    known = [sentence(DataSentence.LABELLED, rows=counted(sample.n_labelled, "row"))] if sample.n_labelled else []
    return [*told, *known]


def _moments(sample: Sample) -> list[list[str]]:
    lines = []
    for j, name in enumerate(sample.names):
        x = sample.observed(j)
        mean, sd = x.mean(), x.std(ddof=1)
        digits = decimals_of(sd / np.sqrt(len(x)), mean=mean)
        values = (mean, sd, x.min(), np.median(x), x.max())
        lines.append([name, *(shown(float(value), digits) for value in values), shown(len(np.unique(x)))])
    return lines


def _most_striking(sample: Sample) -> str:
    """The strongest correlation, or the spread of a single feature; and the coarsest feature."""
    different = [len(np.unique(sample.observed(j))) for j in range(sample.X.shape[1])]
    coarsest = int(np.argmin(different))
    ties = {
        "fewest": sample.names[coarsest],
        "values": counted(different[coarsest], "different value"),
        "rows": counted(len(sample.X), "row"),
    }
    varying = np.flatnonzero(np.array(different) > 1)
    if len(varying) < 2:
        x = sample.observed(coarsest)
        return sentence(DataSentence.ONE_FEATURE, mean=x.mean(), sd=x.std(ddof=1), **ties)
    r = np.nan_to_num(np.triu(pd.DataFrame(sample.X[:, varying]).corr().to_numpy(), 1))
    i, j = np.unravel_index(int(np.abs(r).argmax()), r.shape)
    a, b = sample.names[varying[i]], sample.names[varying[j]]
    return sentence(DataSentence.CORRELATION, r=r[i, j], a=a, b=b, **ties)


def _histograms(sample: Sample) -> Picture:
    """One figure a feature, which stand side by side where there is room."""
    chosen = list(range(min(sample.X.shape[1], _MOST_PANELS)))
    panels = []
    for j in chosen:
        figure = Figure(figsize=(3.2, 2.6), layout="constrained")
        panel: Any = figure.subplots()
        panel.hist(sample.observed(j), bins=_bins(sample.observed(j)), color=GREY, edgecolor="white", linewidth=0.5)
        panel.set(xlabel=_as_text(sample.names[j]), ylabel="rows")
        panel.spines[["top", "right"]].set_visible(False)
        panels.append(svg_of(figure))
    return Picture("".join(panels), f"Histograms of {listed([sample.names[j] for j in chosen])}")


def _bins(x: Array) -> Array:
    return np.histogram_bin_edges(x, bins=min(60, max(10, round(2 * len(x) ** 0.4))))


def _as_text(name: str) -> str:
    """The beginning of a name, such that matplotlib does not take it for mathematics."""
    return (name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}…").replace("$", r"\$")


# ---- EM


def em_section(em: Any, *, notes: Sequence[str] = ()) -> Section:
    """Log-likelihood, number of starts that reached the optimum, and EM's warnings."""
    starts: Starts = em.starts_
    first = sentence(
        EMSentence.CONVERGED if em.converged_ else EMSentence.NOT_CONVERGED,
        log_likelihood=em.log_likelihood_,
        kind="" if em.prior_ is None else Fragment.MAP.value,
        bic=em.bic(),
    )
    return Section(
        title="EM",
        sentences=(first, *_starts(starts)),
        picture=_starts_figure(starts),
        notes=tuple(notes),
    )


def _starts(starts: Starts) -> Iterator[str]:
    """How often the best optimum was reached, the objectives of it and the next one, and whether any is higher."""
    ended = sentence(Fragment.DEGENERATE, starts=counted(starts.n_degenerate, "start"))
    figures = {
        "n_best": starts.n_best_reached,
        "starts": counted(starts.n_starts, "start"),
        "degenerate": ended if starts.n_degenerate else "",
    }
    if starts.n_optima == 1:
        yield sentence(EMSentence.ONE_OPTIMUM, **figures)
        return
    best, next_best = (float(objective) for objective in starts.optimum_objectives[:2])
    yield sentence(EMSentence.SEVERAL_OPTIMA, n_optima=starts.n_optima, best=best, next_best=next_best, **figures)
    highest = float(starts.optimum_objectives.max())
    if highest > best:
        yield sentence(EMSentence.HIGHER_OPTIMA, highest=highest)


def _starts_figure(starts: Starts) -> Picture:
    figure = Figure(figsize=(5.2, 3.1), layout="constrained")
    panel = figure.subplots()
    ended = np.where(np.isfinite(starts.objectives), starts.objectives, np.nan)
    for kept, colour, label in (
        (~starts.degenerate & starts.completed, CLUSTERS[0], "sound"),
        (~starts.degenerate & ~starts.completed, CLUSTERS[1], "raced out"),
        (starts.degenerate, CLUSTERS[2], "collapsed"),
    ):
        if kept.any():
            panel.scatter(np.flatnonzero(kept) + 1, ended[kept], s=28, color=colour, label=label, zorder=2)
    panel.scatter(starts.best + 1, ended[starts.best], s=110, facecolors="none", edgecolors=INK, label="kept", zorder=3)
    panel.set(xlabel="start of EM", ylabel="objective at its end")
    if np.nanmax(ended) - np.nanmin(ended) < 1e-3:
        middle = float(np.nanmean(ended))
        panel.set_ylim(middle - 1.0, middle + 1.0)
    panel.legend(frameon=False, fontsize=8.5)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.ticklabel_format(axis="y", useOffset=False)
    panel.spines[["top", "right"]].set_visible(False)
    return picture_of(figure, "EM's objective at the end of each start")


# ---- components and partition of EM alone


def em_components_section(em: Any, sample: Sample, errors: StandardErrors | None, notes: Sequence[str]) -> Section:
    """Weights and means with their standard errors."""
    mixture: Mixture = em.mixture_
    return Section(
        title="Components",
        sentences=(_sizes(mixture), *_noise(mixture), _precision(errors)),
        picture=_em_picture(mixture, sample),
        tables=(Table("Components", *component_cells(sample.names, *_cells(mixture, errors, len(sample.X)))).turned(),),
        notes=tuple(notes),
    )


def _sizes(mixture: Mixture) -> str:
    if mixture.n_components == 1:
        return f"{SharedSentence.ONE_COMPONENT} {SharedSentence.EVERY_ROW}"
    largest, smallest = (shown(w, "probability") for w in (mixture.weights.max(), mixture.weights.min()))
    numbers = {"large": mixture.weights.argmax(), "small": mixture.weights.argmin()}
    return sentence(SharedSentence.SIZES, largest=largest, smallest=smallest, **numbers)


def _noise(mixture: Mixture) -> list[str]:
    noise, weight = noise_of(mixture)
    return [] if noise is None else [sentence(SharedSentence.NOISE, weight=shown(weight, "probability"))]


def em_errors(em: Any, sample: Sample) -> tuple[StandardErrors | None, list[str]]:
    """Standard errors from the observed information, if there are any, and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            refuse_noise(em, "standard errors")
            errors = standard_errors(sample.data, em.mixture_, prior=em.prior_)
        except (InformationError, ValueError) as error:
            return None, [str(error)]
    return errors, [str(each.message) for each in caught]


def _precision(errors: StandardErrors | None) -> str:
    if errors is None:
        return sentence(EMSentence.NO_ERRORS)
    within = np.asarray(errors.weights)
    worst = int(within.argmax())
    if not (isfinite(within[worst]) and within[worst] > 0):
        return sentence(EMSentence.ERRORS)
    return sentence(EMSentence.WORST_ERROR, worst=worst, se=within[worst])


def _cells(mixture: Mixture, errors: StandardErrors | None, n_rows: int) -> tuple[list[str], list[list[str]]]:
    """Weights and means as text with standard errors, or with as many digits as they would have."""
    if errors is None:
        sds = np.sqrt(np.diagonal(mixture.full_covariances, axis1=-2, axis2=-1))
        guessed = sds / np.sqrt(np.maximum(n_rows * mixture.weights[:, None], 1.0))
        means = [
            [shown(m, decimals_of(se, mean=m)) for m, se in zip(*row, strict=True)]
            for row in zip(mixture.means.tolist(), guessed.tolist(), strict=True)
        ]
        return [shown(w, "probability") for w in mixture.weights], means
    weights = zip(mixture.weights, errors.weights, strict=True)
    pairs = zip(mixture.means.tolist(), np.asarray(errors.means).tolist(), strict=True)
    return (
        [f"{shown(w, 'probability')} ({shown(se, 'probability')})" for w, se in weights],
        [[_with_error(m, se) for m, se in zip(*row, strict=True)] for row in pairs],
    )


def _with_error(value: float, error: float) -> str:
    digits = decimals_of(error, mean=value)
    return f"{shown(value, digits)} ({shown(error, digits)})"


def _em_picture(mixture: Mixture, sample: Sample) -> Picture:
    from bayesgmm.plots import one_draw, plot_components, plot_pairs

    names = [_as_text(name) for name in sample.names]
    posterior = one_draw(mixture, names, sample.X)
    drawn: Any
    if len(names) > 2:
        chosen = range(min(MOST_PAIRED, len(names)))
        drawn = plot_pairs(posterior, features=chosen, n_draws=1, force=True, backend="matplotlib")
    else:
        drawn = plot_components(posterior, n_draws=1, force=True, backend="matplotlib")
    return picture_of(drawn, f"Rows and the {counted(mixture.n_components, 'component')} that EM found")


def em_clusters(em: Any, sample: Sample) -> RowClusters:
    """The most probable component of each row."""
    resp = row_memberships(sample.data, em.mixture_)
    return RowClusters(np.arange(len(resp)), sample.X, em.mixture_.most_probable(resp), resp.max(axis=1))


def em_partition_section(rows: RowClusters, n_components: int) -> Section:
    """Certainty of memberships."""
    sizes, n_noise = np.bincount(rows.labels[rows.labels >= 0], minlength=n_components), int((rows.labels < 0).sum())
    of_noise = [f"{shown(n_noise)} (noise)"] if n_noise else []
    listing = listed([*(f"{shown(n)} (component {k})" for k, n in enumerate(sizes)), *of_noise])
    return Section(
        title="Partition",
        sentences=(sentence(EMSentence.PARTITION, sizes=listing), uncertain(rows.proba)),
        picture=_certainty_figure(rows.proba),
    )


def uncertain(largest: PerRow, *, split: str = "") -> str:
    """How many rows have no clear cluster, in a sentence."""
    n = int((largest < SURE).sum())
    share = n / len(largest)
    return sentence(
        SharedSentence.UNCERTAIN, sure=SURE, rows=counted(n, "row"), n=len(largest), share=share, split=split
    )


def _certainty_figure(largest: PerRow) -> Picture:
    figure = Figure(figsize=(5.2, 2.8), layout="constrained")
    panel = figure.subplots()
    panel.plot(
        np.sort(largest), np.arange(1, len(largest) + 1) / len(largest), color=CLUSTERS[0], drawstyle="steps-post"
    )
    panel.axvline(SURE, color=INK, linewidth=0.8, linestyle=":")
    panel.set(xlabel="probability of the most probable component", ylabel="cumulative share of rows", ylim=(0.0, 1.0))
    panel.spines[["top", "right"]].set_visible(False)
    return picture_of(figure, "Distribution over rows of the probability of their most probable component")
