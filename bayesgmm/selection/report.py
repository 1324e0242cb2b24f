"""Model comparison from the command line: printed table and files."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bayesgmm._common import shown, with_error
from bayesgmm.selection.criteria import BY_EM, CRITERIA, Criterion
from bayesgmm.selection.select import select_components
from bayesgmm.selection.selection import AnyCandidate, Comparand, Selection

_MOST_ROWS = 15


@dataclass(frozen=True, kw_only=True)
class SelectionSettings:
    """Settings of the user; see `select_components`.

    Attributes
    ----------
    prior : str or None
        ``"weakly-informative"`` or ``"fraley-raftery"``.
    nuts : dict
        Parameters of `BayesianGaussianMixture`.
    """

    n_components: Sequence[int]
    seed: int | None = None
    covariance_types: Sequence[str] | None = None
    criteria: Sequence[str] = ("bic",)
    prior: str | None = None
    n_init: int | str = "auto"
    n_jobs: int | None = None
    nuts: dict[str, Any]
    progress: bool = True
    checkpoint: Path | None = None


def compare_models(rows: Any, settings: SelectionSettings) -> Selection:
    """`select_components` for a table of columns, or rows not in memory."""
    return select_components(
        rows,
        settings.n_components,
        settings.covariance_types,
        criterion=settings.criteria,
        prior=None if settings.prior is None else settings.prior.replace("-", "_"),
        n_init=settings.n_init,
        n_jobs=settings.n_jobs,
        nuts=settings.nuts,
        random_state=settings.seed,
        progress=settings.progress,
        checkpoint=settings.checkpoint,
    )


def write_selection(selection: Selection, folder: Path, criteria: Sequence[str]) -> None:
    """Write `SELECTION_FILES` of `bayesgmm.io.files` to a folder that exists, a panel for each of the criteria."""
    selection.table.to_csv(folder / "selection.csv")
    selection.plot(criteria).savefig(folder / "selection.png", dpi=200)


def selection_renderable(selection: Selection, criteria: Sequence[str], *, max_rows: int = _MOST_ROWS) -> Group:
    """The table for a terminal, best first by the deciding criterion, and the findings.

    Criteria by EM are all shown, or BIC alone beside Bayesian ones, which have a standard error.
    """
    bayesian = [name for name in criteria if CRITERIA[name].bayesian]
    columns = [CRITERIA[name] for name in ([*bayesian, "bic"] if bayesian else BY_EM)]
    ranked = sorted(selection.models, key=lambda c: _place(selection.models[c], CRITERIA[selection.criterion]))
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    grid.add_column("covariances", no_wrap=True)
    for heading in ("K", "log-lik.", "p", *(criterion.label for criterion in columns), "starts"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for candidate in ranked[:max_rows]:
        grid.add_row(*_cells(candidate, selection.models[candidate], columns))
    more = len(ranked) - max_rows
    cut = [Text(f"… and {more:,} more", style="dim")] if more > 0 else []
    return Group(grid, *cut, Text(""), Text(str(selection)))


def _place(model: Comparand, criterion: Criterion) -> tuple[bool, float]:
    """Degenerate models and those without a value last."""
    loss = criterion.loss(model.scores[criterion.name].value)
    return (model.degenerate or isnan(loss), loss)


def _cells(candidate: AnyCandidate, model: Comparand, criteria: Sequence[Criterion]) -> list[str]:
    scores = [model.scores[criterion.name] for criterion in criteria]
    values = [shown(model.log_likelihood, "criterion"), shown(model.n_parameters)]
    values += [with_error(score.value, score.se, "criterion") for score in scores]
    reached = "collapsed" if model.degenerate else f"{model.n_best_reached} of {model.n_starts}"
    family = ", ".join([candidate.covariance_type, *candidate.settings.values()])
    return [family, f"{candidate.n_components}", *values, reached]
