"""`check_model`: posterior predictive checks, LOO-PIT, and a goodness-of-fit test for Gaussian mixtures."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from joblib import effective_n_jobs
from numpy.typing import ArrayLike
from scipy.stats import cramervonmises

from bayesgmm._common import (
    Array,
    IntArray,
    Rows,
    counted,
    folded,
    frame_table,
    in_threads,
    listed,
    listing,
    progress_bar,
    sentence,
)
from bayesgmm.cross_validation import good_k
from bayesgmm.exceptions import InputError
from bayesgmm.model_checks.fitted_mixture import FittedMixture, fitted_mixture_of
from bayesgmm.model_checks.gaussianity import uniform_distances
from bayesgmm.model_checks.goodness import GoodnessOfFit, goodness_of_fit
from bayesgmm.model_checks.messages import DEPARTURES, SMALL_DEPARTURES, Finding, Fragment
from bayesgmm.model_checks.predictive_cdf import PredictiveCDF, predictive_cdf
from bayesgmm.model_checks.quantities import Quantity, quantities, quantity_table, quantity_values
from bayesgmm.noise import noise_of
from bayesgmm.posterior import NO_NAMES, Names
from bayesgmm.prediction import interval_probability, reference, simulated_rows
from bayesgmm.validation import check_flag, check_jobs, check_type, check_whole, generator_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVEL = 0.05
NO_STATISTICS: Mapping[str, Quantity] = {}
_FEWEST_ROWS = 10
_MOST_LEFT_OUT = 5_000
_SHOWN = 200  # data sets in the figure
_FEWEST_REPLICATES = 39  # two-sided p-values of 0.05 exist


@dataclass(frozen=True, repr=False, eq=False)
class ModelCheck:
    """Results of model checks; printing it gives the findings.

    Attributes
    ----------
    table : pandas.DataFrame
        Test quantities, indexed by quantity and feature: the ``observed`` value, the ``mean`` and interval over
        predicted data sets, the two-sided tail probability ``p``, and ``p_adjusted``, adjusted for multiple
        testing.
    gaussianity : pandas.DataFrame
        Departures from a Gaussian mixture, indexed by statistic: ``observed``, the ``median`` and 95 % quantile
        (``upper``) of refitted replicates, ``p``.
    p_value : float
        p-value of the hypothesis of a Gaussian mixture with this number of components: one test that combines all
        statistics of ``gaussianity``.
    pit : pandas.DataFrame
        For each row the predictive distribution function of each feature at its value, and of the density
        (``density``); leave-one-out if there is a posterior, then of at most 5,000 rows, drawn at random, whose numbers
        are the index. Uniform if the model is right.
    pit_table : pandas.DataFrame
        For each column of ``pit`` the Cramér-von Mises distance from uniformity, and ``p``: for features by simulation
        with refits, for the density as if rows were independent, which is conservative.
    pareto_k : (row of pit,)
        Pareto k of the leave-one-out importance weights.
    bayesian : bool
        Whether predictions include parameter uncertainty; otherwise EM's solution was plugged in.
    findings : tuple of str
        Sentences, see `bayesgmm.model_checks.messages`.
    """

    __module__ = "bayesgmm"

    table: pd.DataFrame
    gaussianity: pd.DataFrame
    p_value: float
    pit: pd.DataFrame
    pit_table: pd.DataFrame
    pareto_k: Array
    bayesian: bool
    findings: tuple[str, ...]
    _drawing: "Drawing"

    @property
    def gaussian(self) -> bool:
        """Whether a Gaussian mixture is not rejected at the 5 % level."""
        return self.p_value > LEVEL

    def plot(self) -> "Figure":
        """Plot densities of data and predicted data by feature, LOO-PIT with a simultaneous band, departures.

        Returns
        -------
        matplotlib.figure.Figure
            Independent of pyplot; ``figure.savefig(path)`` writes it.
        """
        (figure,) = _drawn(self)
        return figure

    def __str__(self) -> str:
        return "\n".join(self.findings)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        departures = folded("Departures from a Gaussian mixture", frame_table(self.gaussianity))
        return listing(self.findings) + departures + folded("Test quantities", frame_table(self.table))


def check_panels(found: ModelCheck) -> list["Figure"]:
    """The parts of the figure of a model check, in figures of their own."""
    return _drawn(found, apart=True)


def _drawn(found: ModelCheck, *, apart: bool = False) -> list["Figure"]:
    from bayesgmm.model_checks.plots import draw_check

    drawing = found._drawing
    return draw_check(
        found.pit,
        found.gaussianity,
        X=drawing.X,
        predicted=drawing.predicted,
        departures=drawing.departures,
        transforms=drawing.transforms,
        p_value=found.p_value,
        left_out=found.bayesian,
        apart=apart,
    )


@dataclass(frozen=True)
class Drawing:
    """What only the figure needs: rows, and data sets (replicate, obs, feature), departures and PIT of replicates."""

    __module__ = "bayesgmm.model_checks"

    X: Rows
    predicted: Array
    departures: Array
    transforms: Array


def check_model(
    fit: Any,
    X: ArrayLike | None = None,
    *,
    statistics: Mapping[str, Quantity] = NO_STATISTICS,
    n_replicates: int = 199,
    sample_weight: ArrayLike | None = None,
    random_state: int | None = None,
    n_jobs: int | None = None,
    progress: bool = True,
    names: Names = NO_NAMES,
) -> ModelCheck:
    r"""Check a fitted mixture against its data.

    *Test quantities* :math:`T(x)` compared with those of predicted data sets, :math:`T(y^{rep,s})`, with
    :math:`p = 2 \min\{P(T^{rep} \ge T), P(T^{rep} \le T)\}` (Gelman, Meng & Stern 1996). Such p-values are
    conservative: quantities to which the model was fitted agree by construction.

    *LOO-PIT*: :math:`u_{ij} = P(y_{ij} \le x_{ij} \mid x_{-i})`, from exact distribution functions of the draws,
    weighted by Pareto smoothed importance sampling to leave the row out (Gelfand, Dey & Chang 1992; Vehtari et al.
    2024), and the same for the density, :math:`P(p_{-i}(y) \le p_{-i}(x_i))`: uniform if the model is right.

    *Is it a Gaussian mixture?* Kurtosis, skewness and distances within clusters, features, and energy distance,
    compared with those of data sets simulated from the model and refitted by EM: one p-value. If it is small, clusters
    are not Gaussian, or there are more of them. See `bayesgmm.model_checks.goodness.goodness_of_fit`.

    Parameters
    ----------
    fit : BayesianGaussianMixture, GaussianMixture, DataTree, Dataset or mapping
        A posterior (see `bayesgmm.posterior.mixture_posterior`), or a fit by EM, whose solution is plugged in: then
        predictions ignore parameter uncertainty, and rows are not left out.
    X : (obs, feature), optional
        The rows of the fit; by default those stored with it. EM stores none.
    statistics : mapping, optional
        Further test quantities: names, and functions of rows (obs, feature) that return a number or one per feature.
    n_replicates : int
        Number of refitted data sets; the smallest possible p-value is one over this number plus one. Five times as
        many are predicted for the test quantities.
    sample_weight : (obs,), optional
        For EM, the weights of the fit; a posterior stores them. Integers: a weight of two counts the row twice.
    random_state : int, optional
        The result does not depend on ``n_jobs``.
    n_jobs : int, optional
        Threads for refits and predicted data sets; all cores by default. With ``statistics``, data sets are predicted
        in one thread.
    progress : bool
        Show a bar in a terminal or notebook.
    names : mapping, optional
        Names of the posterior's variables.

    Returns
    -------
    ModelCheck
        Tables, findings, ``plot()``.

    Raises
    ------
    InputError
        For fewer than 10 rows or 39 replicates, weights that are not whole numbers, or rows that are missing.

    References
    ----------
    Gelman, Meng & Stern 1996, Statistica Sinica 6; Gelfand, Dey & Chang 1992, Bayesian Statistics 4; Vehtari, Simpson,
    Gelman, Yao & Gabry 2024, JMLR 25(72); Robins, van der Vaart & Ventura 2000, JASA 95; Westfall & Young 1993; Mardia
    1970, Biometrika 57; Móri, Rohatgi & Székely 1993, Theory of Probability 38; Székely & Rizzo 2013, J. Statistical
    Planning and Inference 143.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture, check_model
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> check = check_model(fit, random_state=1, progress=False)
    >>> check.table.loc[("correlation", "eruptions, waiting"), ["observed", "mean"]].round(1).tolist()
    [0.9, 0.9]
    """
    check_whole(least=_FEWEST_REPLICATES, n_replicates=n_replicates)
    check_flag(progress=progress)
    check_jobs(n_jobs)
    check_type(Mapping, statistics=statistics)
    for name, statistic in statistics.items():
        if not callable(statistic):
            raise InputError(expected=f"statistics[{name!r}] a function of the rows", got=repr(statistic))
    rng = generator_of(random_state)
    fitted = fitted_mixture_of(fit, X, sample_weight=sample_weight, names=names)
    rows = fitted.counted_rows
    _check_rows(rows)
    observed = quantities(rows, fitted.features, statistics)
    with progress_bar("Checks", show=progress, percent=True) as bar:
        gof = goodness_of_fit(fitted, n_replicates=n_replicates, rng=rng, n_jobs=n_jobs, callback=_part(bar, 0.0, 0.6))
        table, predicted = _predicted(
            fitted, observed, statistics, n=5 * n_replicates, rng=rng, n_jobs=n_jobs, callback=_part(bar, 0.6, 0.9)
        )
        simulated = reference(fitted.draws, rng=rng)
        callback = _part(bar, 0.9, 1.0)
        which = _rows_left_out(fitted, rng)
        some = fitted.data if len(which) == fitted.data.shape[0] else fitted.data.take(which)
        cdf = predictive_cdf(
            fitted.draws, some, simulated, left_out=fitted.bayesian, r_eff=fitted.r_eff, callback=callback
        )
    pit = pd.DataFrame(cdf.features, which, fitted.features).assign(density=cdf.tail)
    of_copies = pit.loc[fitted.copies[np.isin(fitted.copies, which)]]
    pit_table, gaussianity = _pit_table(of_copies, gof), _gaussianity(gof)
    findings = _findings(fitted, gof=gof, table=table, pit_table=pit_table, cdf=cdf)
    curves = gof.feature_differences * np.sqrt(fitted.data.shape[0] / len(which))  # of so many rows
    drawing = Drawing(rows, predicted, gof.replicated, curves)
    return ModelCheck(table, gaussianity, gof.p_value, pit, pit_table, cdf.pareto_k, fitted.bayesian, findings, drawing)


def _check_rows(rows: Rows) -> None:
    if len(rows) < _FEWEST_ROWS:
        raise InputError(expected=f"at least {_FEWEST_ROWS} rows", got=f"{len(rows)}")
    if rows.std(axis=0).min() == 0:
        raise InputError(expected="features that vary", got="a constant one")


def _rows_left_out(fitted: FittedMixture, rng: np.random.Generator) -> IntArray:
    """The rows whose LOO-PIT is computed: all, or 5,000 drawn at random, which show a distribution as well."""
    n = fitted.data.shape[0]
    if not fitted.bayesian or n <= _MOST_LEFT_OUT:
        return np.arange(n)
    return np.sort(rng.choice(n, _MOST_LEFT_OUT, replace=False))


type Callback = Callable[[int, int], object]


def _part(bar: Callback | None, start: float, end: float) -> Callback | None:
    """A callback for one part of the work, in thousandths of the whole."""
    if bar is None:
        return None
    return lambda done, total: bar(round(1000 * (start + (end - start) * done / total)), 1000)


def _predicted(
    fitted: FittedMixture,
    observed: pd.Series,
    statistics: Mapping[str, Quantity],
    *,
    n: int,
    rng: np.random.Generator,
    n_jobs: int | None,
    callback: Callback | None,
) -> tuple[pd.DataFrame, Array]:
    """The table of test quantities, and the first predicted data sets for the figure."""
    n_rows, which = len(fitted.copies), np.linspace(0, len(fitted.draws) - 1, n).round().astype(np.int64)
    chosen, streams, kept = rng.permutation(which), rng.spawn(n), dict[int, Array]()

    def values(i: int, stop: threading.Event) -> Array | None:
        if stop.is_set():
            return None
        data = simulated_rows(fitted.draws, chosen[i : i + 1], n_rows, rng=streams[i])[0]
        if i < _SHOWN:
            kept[i] = data
        return quantity_values(data, fitted.features, statistics)

    # functions of a user may not be safe in threads
    n_workers = 1 if statistics else effective_n_jobs(-1 if n_jobs is None else n_jobs)
    found = [one for one in in_threads(values, range(n), n_workers=n_workers, callback=callback) if one is not None]
    if len(found) < n:
        raise KeyboardInterrupt
    shown = np.array([kept[i] for i in sorted(kept)])
    return quantity_table(observed, np.array(found), ci_prob=interval_probability(None)), shown


def _gaussianity(gof: GoodnessOfFit) -> pd.DataFrame:
    columns = {
        "observed": gof.observed,
        "median": np.median(gof.replicated, axis=0),
        "upper": np.quantile(gof.replicated, 1.0 - LEVEL, axis=0),
        "p": gof.p_values,
    }
    return pd.DataFrame(columns, pd.Index(gof.names, name="statistic"))


def _pit_table(pit: pd.DataFrame, gof: GoodnessOfFit) -> pd.DataFrame:
    distance = uniform_distances(pit.to_numpy())
    p = np.append(gof.feature_p_values, cramervonmises(pit["density"].to_numpy(), "uniform").pvalue)
    return pd.DataFrame({"distance": distance, "p": p}, pd.Index(pit.columns, name="of"))


# ---- findings


def _findings(
    fitted: FittedMixture, *, gof: GoodnessOfFit, table: pd.DataFrame, pit_table: pd.DataFrame, cdf: PredictiveCDF
) -> tuple[str, ...]:
    found = [_verdict(fitted, gof), *_heavy_tails(gof), *_unusual_quantities(table), *_unusual_features(pit_table)]
    return (*found, *_caveats(fitted, cdf))


def _verdict(fitted: FittedMixture, gof: GoodnessOfFit) -> str:
    beside = " and noise" if noise_of(fitted.best)[0] is not None else ""
    figures = {"components": counted(fitted.best.n_components, "component") + beside, "p": gof.p_value}
    if gof.p_value > LEVEL:
        return sentence(Finding.GAUSSIAN, **figures)
    chosen = [i for i in np.argsort(gof.p_values, kind="stable") if gof.p_values[i] <= LEVEL]
    above = gof.observed > np.median(gof.replicated, axis=0)
    reasons = "; ".join(_departure(gof.names[i], above=bool(above[i])) for i in chosen) or SMALL_DEPARTURES
    return sentence(Finding.NOT_GAUSSIAN, reasons=reasons, **figures)


def _heavy_tails(gof: GoodnessOfFit) -> list[str]:
    """What to try where tails are among the reasons."""
    i = gof.names.index("kurtosis")
    heavier = gof.observed[i] > np.median(gof.replicated[:, i]) and gof.p_values[i] <= LEVEL
    return [sentence(Finding.HEAVY_TAILS)] if gof.p_value <= LEVEL and heavier else []


def _departure(name: str, *, above: bool) -> str:
    return DEPARTURES[f"kurtosis {'above' if above else 'below'}" if name == "kurtosis" else name]


def _unusual_quantities(table: pd.DataFrame) -> list[str]:
    unusual = table[table["p_adjusted"] <= LEVEL].sort_values("p_adjusted")
    if unusual.empty:
        return [sentence(Finding.USUAL, n=len(table))]
    names = [f"{name} of {of}" if of else str(name) for name, of in unusual.index.to_list()]
    values = unusual.iloc[:, [0, 2, 3]].to_numpy()
    extreme = listed(
        sentence(Fragment.QUANTITY, name=name, observed=observed, lower=lower, upper=upper)
        for name, (observed, lower, upper) in zip(names, values, strict=True)
    )
    return [sentence(Finding.UNUSUAL, n=len(table), quantities=extreme)]


def _unusual_features(pit_table: pd.DataFrame) -> list[str]:
    unusual = pit_table[pit_table["p"] <= LEVEL / len(pit_table)]
    return [] if unusual.empty else [sentence(Finding.PIT, features=listed(map(str, unusual.index)))]


def _caveats(fitted: FittedMixture, cdf: PredictiveCDF) -> list[str]:
    if not fitted.bayesian:
        return [sentence(Finding.PLUG_IN)]
    limit = good_k(len(fitted.draws))
    n_bad = int((cdf.pareto_k > limit).sum())
    n, n_rows = len(cdf.pareto_k), fitted.data.shape[0]
    told = [sentence(Finding.SOME_ROWS, n=n, n_rows=n_rows)] if n < n_rows else []
    return [*told, sentence(Finding.LARGE_K, n_bad=n_bad, n=n, limit=limit)] if n_bad else told
