"""`outlier_scores`: leave-one-out predictive density and tail probability of each row, and outlier flags."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import false_discovery_control

from bayesgmm._common import Array, Rows, frame_table, listed, listing, progress_bar, sentence, shown
from bayesgmm.cross_validation import good_k
from bayesgmm.data import Data
from bayesgmm.model_checks.fitted_mixture import FittedMixture, fitted_mixture_of
from bayesgmm.model_checks.messages import RATES, Fragment, OutlierFinding
from bayesgmm.model_checks.predictive_cdf import PredictiveCDF, predictive_cdf
from bayesgmm.posterior import NO_NAMES, Names
from bayesgmm.prediction import reference
from bayesgmm.validation import check_flag, check_number, check_option, generator_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_SHOWN = 20  # rows in a notebook
_SMALLEST_RATE = 1e-9


def _per_row(tail: Array) -> Array:
    return tail


def _any_row(tail: Array) -> Array:
    return np.asarray(1.0 - (1.0 - tail) ** len(tail))


def _discoveries(tail: Array) -> Array:
    return np.asarray(false_discovery_control(tail))


RULES: dict[str, Callable[[Array], Array]] = {"row": _per_row, "all": _any_row, "discoveries": _discoveries}


@dataclass(frozen=True, repr=False, eq=False)
class OutlierScores:
    """Outlier scores of rows; printing it names the outliers.

    Attributes
    ----------
    table : pandas.DataFrame
        For each row ``score``, the negative log predictive density; ``tail_probability`` of a lower density under the
        model; ``p_adjusted``, which is compared with the rate; ``outlier``; ``pareto_k``, above about 0.65 if leaving
        the row out is unreliable, and zero for new rows.
    threshold : float
        The score above which a new row falls with probability ``false_alarms``.
    false_alarms : float
    over : str
        Definition of the rate, see `outlier_scores`.
    new_rows : bool
        Whether the rows are new; rows of the fit are left out in turn.
    findings : tuple of str
    """

    __module__ = "bayesgmm"

    table: pd.DataFrame
    threshold: float
    false_alarms: float
    over: str
    new_rows: bool
    findings: tuple[str, ...]
    _rows: Rows
    _features: tuple[str, ...]

    @property
    def outliers(self) -> Array:
        """Positions of flagged rows, the most improbable first."""
        flagged = np.flatnonzero(self.table["outlier"])
        return np.asarray(flagged[self.table["tail_probability"].to_numpy()[flagged].argsort(kind="stable")])

    def plot(self, *, ax: "Axes | None" = None) -> "Figure":
        """Plot sorted tail probabilities against expected ones, and the rows with outliers marked.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Axes for the tail probabilities alone; by default a new figure with both.
        """
        from bayesgmm.model_checks.plots import draw_outliers

        return draw_outliers(self.table, self._rows, features=self._features, ax=ax)

    def __str__(self) -> str:
        return "\n".join(self.findings)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        flagged = self.table[self.table["outlier"]].sort_values("tail_probability").head(_MOST_SHOWN)
        return listing(self.findings) + (frame_table(flagged) if len(flagged) else "")


def outlier_scores(
    fit: Any,
    X: ArrayLike | None = None,
    *,
    X_new: ArrayLike | None = None,
    false_alarms: float = 0.01,
    over: str = "row",
    sample_weight: ArrayLike | None = None,
    random_state: int | None = None,
    progress: bool = True,
    names: Names = NO_NAMES,
) -> OutlierScores:
    r"""Score rows by how improbable they are under the posterior predictive distribution, and flag outliers.

    .. math:: score_i = -\log p(x_i \mid x_{-i}), \qquad
        tail_i = P\left(p(x^{rep} \mid x_{-i}) \le p(x_i \mid x_{-i})\right), \quad x^{rep} \sim p(\cdot \mid x_{-i}).

    A row of the fit is left out (by Pareto smoothed importance sampling, as in `loo`), so that an outlier does not
    mask itself; new rows are scored by the fit to all rows. Tail probabilities are estimated by importance sampling
    with more rows in the tails, which resolves them down to 1e-12. They are uniform if the model and its prior are
    right, and the false alarm rate is then as stated; with few rows per parameter it depends on the prior (50 rows in
    six dimensions: 8 % for 5 %, `notebooks/anomalies`).

    Parameters
    ----------
    fit : BayesianGaussianMixture, GaussianMixture, DataTree, Dataset or mapping
        A posterior, or a fit by EM. EM's solution is plugged in, and rows are not left out: an outlier with its own
        component is then missed.
    X : (obs, feature), optional
        The rows of the fit; by default those stored with a posterior. EM stores none, and needs none for ``X_new``.
    X_new : (obs, feature), optional
        New rows to score instead.
    false_alarms : float
        The false alarm rate if the model is right.
    over : {"row", "all", "discoveries"}
        The rate per row; of data sets with any false alarm (Šidák's bound); or the false discovery rate among flagged
        rows (Benjamini & Hochberg 1995).
    sample_weight : (obs,), optional
        For EM, the weights of the fit, which do not change its scores; a posterior stores them. For a row of weight
        three, one copy is left out and the other two remain.
    random_state : int, optional
    progress : bool
        Show a bar in a terminal or notebook.
    names : mapping, optional
        Names of the posterior's variables.

    Returns
    -------
    OutlierScores

    Raises
    ------
    InputError
        For an invalid rate or rule, or missing rows.

    References
    ----------
    Box 1980, J. Royal Statistical Society A 143; Gelfand, Dey & Chang 1992, Bayesian Statistics 4; Benjamini & Hochberg
    1995, J. Royal Statistical Society B 57; Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25(72).

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture, outlier_scores
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> found = outlier_scores(fit, X_new=[[4.3, 80.0], [3.0, 95.0]], random_state=1)
    >>> found.table["outlier"].tolist()
    [False, True]
    """
    _check_rule(false_alarms, over)
    check_flag(progress=progress)
    rng = generator_of(random_state)
    is_em = not hasattr(fit, "posterior_") and hasattr(fit, "mixture_")
    known = X_new if is_em and X is None else X
    fitted = fitted_mixture_of(fit, known, sample_weight=None if known is X_new else sample_weight, names=names)
    data = (
        fitted.data
        if X_new is None
        else Data.of(X_new, n_features=fitted.best.n_features, features=fitted.features, name="X_new")
    )
    simulated = reference(fitted.draws, rng=rng)
    with progress_bar("Rows", show=progress) as bar:
        cdf = predictive_cdf(
            fitted.draws,
            data,
            simulated,
            left_out=X_new is None and fitted.bayesian,
            r_eff=fitted.r_eff,
            callback=bar,
        )
    table = _table(cdf, RULES[over], false_alarms)
    findings = _findings(fitted, table, false_alarms, over, new_rows=X_new is not None)
    threshold = -simulated.threshold(false_alarms)
    return OutlierScores(
        table, threshold, false_alarms, over, X_new is not None, findings, data.rows, tuple(fitted.features)
    )


def _check_rule(false_alarms: float, over: str) -> None:
    check_number(least=_SMALLEST_RATE, most=1.0, closed="left", false_alarms=false_alarms)
    check_option(RULES, over=over)


def _table(cdf: PredictiveCDF, adjust: Callable[[Array], Array], rate: float) -> pd.DataFrame:
    tail = cdf.tail.clip(0.0, 1.0)
    adjusted = adjust(tail)
    columns = {
        "score": -cdf.log_density,
        "tail_probability": tail,
        "p_adjusted": adjusted,
        "outlier": adjusted <= rate,
        "pareto_k": cdf.pareto_k,
    }
    return pd.DataFrame(columns, pd.RangeIndex(len(tail), name="obs"))


def _findings(fitted: FittedMixture, table: pd.DataFrame, rate: float, over: str, *, new_rows: bool) -> tuple[str, ...]:
    flagged = table[table["outlier"]].sort_values("tail_probability")
    counts = {"n_flagged": len(flagged), "n": len(table), "rows": "new rows" if new_rows else "rows"}
    found = [sentence(OutlierFinding.OUTLIERS, percent=100 * rate, rate=RATES[over], **counts)]
    if len(flagged):
        tails = flagged["tail_probability"].items()
        rows = listed(f"{row} ({shown(tail, 'p')})" for row, tail in tails)
        found.append(sentence(OutlierFinding.STRANGEST, rows=rows))
    if over == "row" and not new_rows:
        found.append(sentence(OutlierFinding.FALSE_ALARMS, n=rate * len(table)))
    return (*found, *_caveats(fitted, table, new_rows=new_rows))


def _caveats(fitted: FittedMixture, table: pd.DataFrame, *, new_rows: bool) -> list[str]:
    if not fitted.bayesian:
        return [sentence(OutlierFinding.PLUG_IN, own_rows="" if new_rows else Fragment.OWN_ROWS.value)]
    limit = good_k(len(fitted.draws))
    n_bad = int((table["pareto_k"] > limit).sum())
    return [sentence(OutlierFinding.LARGE_K, n_bad=n_bad, limit=limit)] if n_bad else []
