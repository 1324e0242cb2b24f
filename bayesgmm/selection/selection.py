"""`Selection`: result of a model comparison, and its findings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose, isnan
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from bayesgmm._common import folded, frame_table, listed, listing, paragraph, sentence, with_error
from bayesgmm.exceptions import InputError
from bayesgmm.selection.criteria import CRITERIA, STANDARD_ERRORS, Criterion, Score, criterion_named
from bayesgmm.selection.messages import Finding, Fragment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesgmm.selection.plots import Column

_ROUNDING = 1e-9  # log-likelihoods, relative, by which one model under two names may differ


class Candidate(NamedTuple):
    """A covariance family, by its scikit-learn-like name, and a number of components."""

    covariance_type: str
    n_components: int

    def __str__(self) -> str:
        return f"{self.covariance_type} with K = {self.n_components}"

    @property
    def settings(self) -> dict[str, str]:
        """Parameters of the estimator beside these."""
        return {}


class ComponentCandidate(NamedTuple):
    """A covariance family, the distribution of components, and their number."""

    covariance_type: str
    component: str
    n_components: int

    def __str__(self) -> str:
        return f"{self.covariance_type} ({self.component}) with K = {self.n_components}"

    @property
    def settings(self) -> dict[str, str]:
        """Parameters of the estimator beside family and number."""
        return {"component": self.component}


ComponentCandidate.__module__ = "bayesgmm.selection"
Candidate.__module__ = "bayesgmm.selection"  # in the body, type checkers take it for a field


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparand:
    """One model: its row of the table.

    Attributes
    ----------
    log_likelihood : float
    n_parameters : int
    scores : mapping
        From the name of a criterion to its `Score`.
    n_best_reached, n_starts, n_degenerate, degenerate, converged, note
        As in `Selection`.
    """

    __module__ = "bayesgmm.selection"

    log_likelihood: float
    n_parameters: int
    scores: Mapping[str, Score]
    n_best_reached: int
    n_starts: int
    n_degenerate: int
    degenerate: bool
    converged: bool
    note: str = ""

    def in_table(self) -> dict[str, Any]:
        """Columns and values."""
        columns: dict[str, Any] = {"log_likelihood": self.log_likelihood, "n_parameters": self.n_parameters}
        for name in (name for name in CRITERIA if name in self.scores):
            score = self.scores[name]
            columns[name] = score.value
            if CRITERIA[name].bayesian:
                columns[f"{name}_se"] = score.se
            columns |= {f"{name}_{key}": value for key, value in score.further}
        rest = ("n_best_reached", "n_starts", "n_degenerate", "degenerate", "converged", "note")
        return columns | {name: getattr(self, name) for name in rest}


type AnyCandidate = Candidate | ComponentCandidate
type Comparands = Mapping[AnyCandidate, Comparand]


@dataclass(frozen=True, repr=False, eq=False)
class Selection:
    """Comparison of models; printing it gives the best one and how certain that is (± standard errors).

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each covariance family, component if some were asked for, and K, by which it is indexed:
        ``log_likelihood``, ``n_parameters``, ``bic``, ``aic``, ``icl`` of the best fit by EM, and for Bayesian criteria
        ``evidence`` or ``loo`` with ``_se``, and ``evidence_per_doubling`` of the prior's pseudo-rows (see
        `bayesgmm.evidence.Evidence`); ``n_best_reached`` of ``n_starts`` that reached EM's best optimum,
        ``n_degenerate`` that ended in a collapsed or emptied component; ``degenerate``, whether all did, so that the
        row cannot win; ``converged``, whether EM and any chains did; ``note``, as text.
    criterion : str
        The one that decides.
    winner : Candidate or ComponentCandidate
        The best model's ``covariance_type``, ``component`` if some were asked for, and ``n_components``.
    fits : mapping
        From what indexes the table to the fitted estimator: `BayesianGaussianMixture` if a criterion
        is Bayesian, `GaussianMixture` otherwise.
    findings : tuple of str
        Models indistinguishable from the best one, degenerate fits left out, and other findings.
    models : mapping
        From what indexes the table to the data of the table, with pointwise scores.
    """

    __module__ = "bayesgmm.selection"

    table: pd.DataFrame
    criterion: str
    winner: AnyCandidate
    fits: Mapping[AnyCandidate, Any]
    findings: tuple[str, ...]
    models: Comparands

    @property
    def best(self) -> Any:
        """The winner's fit."""
        return self.fits[self.winner]

    def winner_by(self, criterion: str) -> AnyCandidate:
        """The best model by any criterion of the table."""
        return winner_of(self.models, self._present(criterion)) or self.winner

    def plot(self, criterion: str | Sequence[str] | None = None, *, ax: "Axes | None" = None) -> "Figure":
        """Criteria against K, one line a covariance family; the best model ringed, degenerate fits hollow.

        Bars of Bayesian criteria are two standard errors of the difference from the best model, not of the value: the
        values of models for the same rows rise and fall together.

        Parameters
        ----------
        criterion : str or sequence of str, optional
            Columns of the table, a panel each; by default the one that decides.
        ax : matplotlib axes, optional
            Where to draw a single criterion; by default a new figure.

        Returns
        -------
        matplotlib.figure.Figure
            Independent of pyplot; ``figure.savefig(path)`` writes it.
        """
        from bayesgmm.selection.plots import draw_selection

        names = [self.criterion] if criterion is None else [criterion] if isinstance(criterion, str) else criterion
        criteria = [self._present(name) for name in names]
        if not criteria or (ax is not None and len(criteria) > 1):
            raise InputError(expected="one criterion with ax, at least one without", got=f"{len(criteria)}")
        return draw_selection(self.table, [self._column(each) for each in criteria], ax)

    def _column(self, criterion: Criterion) -> "Column":
        from bayesgmm.selection.plots import Column

        winner = self.winner_by(criterion.name)
        gaps = _gaps(self.models, criterion, winner)
        return Column(criterion, winner, {c: se for c, (_, se) in gaps.items() if c != winner})

    def _present(self, name: str) -> Criterion:
        criterion = criterion_named(name)
        if name not in self.table:
            raise InputError(
                expected=f"a criterion of the table ({', '.join(c for c in CRITERIA if c in self.table)})",
                got=f"{name!r}",
            )
        return criterion

    def __str__(self) -> str:
        criterion, model = CRITERIA[self.criterion], self.models[self.winner]
        score = model.scores[self.criterion]
        best = sentence(
            Finding.BEST,
            criterion=criterion.label,
            winner=str(self.winner),
            value=with_error(score.value, score.se, "criterion"),
            direction=criterion.direction,
            n_best=model.n_best_reached,
            n_starts=model.n_starts,
        )
        return "\n".join([best, *self.findings])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        first, *findings = str(self).splitlines()
        shown = folded(f"{len(self.table)} models", frame_table(self.table))
        return paragraph(first) + listing(findings) + shown


def table_of(models: Comparands) -> pd.DataFrame:
    """One row a model, indexed by covariance family and K."""
    index = pd.MultiIndex.from_tuples(list(models), names=next(iter(models))._fields)
    return pd.DataFrame([model.in_table() for model in models.values()], index=index)


def winner_of(models: Comparands, criterion: Criterion) -> AnyCandidate | None:
    """The best model that is not degenerate; None if all are."""
    sound = {c: model for c, model in models.items() if not model.degenerate}
    return next(iter(_gaps(sound, criterion)), None)


def least_bad(models: Comparands, criterion: Criterion) -> AnyCandidate | None:
    """The best model, degenerate or not; None if none could be fitted."""
    return next(iter(_gaps(models, criterion)), None)


def findings_of(models: Comparands, criterion: Criterion, *, winner: AnyCandidate) -> tuple[str, ...]:
    """Findings beside the best model."""
    found = [
        *_contenders(models, criterion, winner),
        *_left_out(models, criterion, winner),
        *_at_the_edge(models, winner),
        *_other_opinions(models, criterion, winner),
    ]
    note = models[winner].note
    return tuple([*found, sentence(Finding.NOTE, note=note)] if note else found)


def _gaps(
    models: Comparands, criterion: Criterion, best: AnyCandidate | None = None
) -> dict[AnyCandidate, tuple[float, float]]:
    """How far models are behind one of them, or behind the best, with standard errors; best first."""
    scores = {c: model.scores[criterion.name] for c, model in models.items()}
    losses = {c: criterion.loss(score.value) for c, score in scores.items()}
    ranked = sorted((c for c, loss in losses.items() if not isnan(loss)), key=losses.__getitem__)
    return {c: criterion.behind(scores[c], scores[best or ranked[0]]) for c in ranked}


def _contenders(models: Comparands, criterion: Criterion, winner: AnyCandidate) -> list[str]:
    """Models indistinguishable from the winner; otherwise the difference from the next one."""
    sound = {c: model for c, model in models.items() if c == winner or not model.degenerate}
    gaps = {c: gap for c, gap in _gaps(sound, criterion, winner).items() if not _same_model(models, c, winner)}
    behind = {str(c): with_error(*gap, "criterion") for c, gap in gaps.items()}
    close = [str(c) for c, gap in gaps.items() if criterion.is_close(*gap)]
    if close:
        alike = listed(f"{model} ({behind[model]})" for model in close)
        return [sentence(Finding.CLOSE, why=_why_close(criterion), models=alike)]
    return [sentence(Finding.NEXT, model=model, gap=gap) for model, gap in list(behind.items())[:1]]


def _why_close(criterion: Criterion) -> str:
    """What counts as close."""
    by_error = sentence(Fragment.BY_ERROR, n_errors=STANDARD_ERRORS)
    by_convention = sentence(Fragment.BY_CONVENTION, close=criterion.close, convention=criterion.convention)
    if not criterion.bayesian:
        return by_convention if criterion.close else "equal"
    return f"{by_error} or {by_convention}" if criterion.close else by_error


def _same_model(models: Comparands, a: AnyCandidate, b: AnyCandidate) -> bool:
    """Whether two names stand for one model, as full and tied do with a single component."""
    first, second = models[a], models[b]
    equal = isclose(first.log_likelihood, second.log_likelihood, rel_tol=_ROUNDING)
    return a == b or (a.n_components == b.n_components and first.n_parameters == second.n_parameters and equal)


def _left_out(models: Comparands, criterion: Criterion, winner: AnyCandidate) -> list[str]:
    """Degenerate models, and whether one of them had the best value."""
    spikes = [c for c, model in models.items() if model.degenerate and c != winner]
    if not spikes:
        return []
    found = [sentence(Finding.LEFT_OUT, models=listed(map(str, spikes)))]
    first = least_bad(models, criterion)
    return [*found, sentence(Finding.DEGENERATE_FIRST, model=str(first))] if first in spikes else found


def _at_the_edge(models: Comparands, winner: AnyCandidate) -> list[str]:
    tried = {c.n_components for c in models}
    if len(tried) == 1 or winner.n_components < max(tried):
        return []
    return [sentence(Finding.MOST_COMPONENTS)]


def _other_opinions(models: Comparands, criterion: Criterion, winner: AnyCandidate) -> list[str]:
    """What the other criteria of the table would choose, where it is another model."""
    others = [CRITERIA[name] for name in CRITERIA if name in models[winner].scores and name != criterion.name]
    found = {other.label: winner_of(models, other) for other in others}
    choices = [
        sentence(Fragment.CHOICE, criterion=label, model=str(c))
        for label, c in found.items()
        if c is not None and not _same_model(models, c, winner)
    ]
    return [sentence(Finding.OTHER_CRITERIA, choices="; ".join(choices))] if choices else []
