"""Bayesian model averaging: posterior over K, Bayes factors, averaged predictions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import gammaln

from bayesgmm._common import Array, PerRow, frame_table, listing
from bayesgmm.evidence.marginal_likelihood import Evidence, log_evidence
from bayesgmm.evidence.mode_weights import RELEVANT
from bayesgmm.exceptions import InputError
from bayesgmm.noise import refuse_noise
from bayesgmm.partitions import MAX_MEMORY, OBS_BIS, similarity_matrix
from bayesgmm.posterior import CLUSTER, OBS, data_of, draws_of, mixture_posterior, model_of
from bayesgmm.prediction import log_predictive_density
from bayesgmm.validation import check_type, generator_of

UNIFORM, POISSON = "uniform", "poisson"
type PriorOnK = str | Mapping[int, float] | Callable[[int], float]
_NEGLIGIBLE = 1e-6  # models of less probability do not change reported averages


@dataclass(frozen=True)
class ModelAverage:
    r"""Fits with their posterior probabilities. Printing it shows the table.

    Attributes
    ----------
    table : DataFrame
        One row per fit: ``n_components``, ``covariance_type``, ``log_evidence`` and ``se``, its change ``per_doubling``
        of the prior's pseudo-rows (see `Evidence`), ``prior``, ``probability`` and its standard error
        ``probability_se``.
    fits : tuple
        The fits, in the same order.
    findings : tuple of str
        Reasons to doubt the evidences of models of at least 1 % probability; empty if there are none.
    """

    __module__ = "bayesgmm.evidence"

    table: pd.DataFrame
    fits: tuple[Any, ...]
    findings: tuple[str, ...] = ()

    @property
    def probabilities(self) -> pd.DataFrame:
        """Posterior over the number of components: ``prior``, ``probability`` and ``probability_se`` by K."""
        slopes, k = _slopes(self.table["probability"].to_numpy()), self.table["n_components"].to_numpy()
        values = np.unique(k)
        members = (k == values[:, None]).astype(np.float64)
        errors = np.sqrt((members @ slopes) ** 2 @ self.table["se"].to_numpy() ** 2)
        sums = self.table.groupby("n_components")[["prior", "probability"]].sum()
        return sums.assign(probability_se=errors)

    @property
    def log_bayes_factors(self) -> pd.DataFrame:
        """Natural logarithm of the Bayes factor of each row's model over each column's."""
        values = self.table["log_evidence"].to_numpy()
        return pd.DataFrame(values[:, None] - values, self.table.index, self.table.index)

    def score_samples(self, X: ArrayLike) -> PerRow:
        r"""Log predictive density :math:`\log \sum_m p(m \mid X)\, p(x \mid X, m)` of each row, (obs,)."""
        terms = [np.log(p) + log_predictive_density(draws_of(tree), data_of(tree, X)) for p, tree in self._relevant()]
        return np.logaddexp.reduce(terms, axis=0)

    def similarity_matrix(
        self, *, rows: int | ArrayLike | None = None, max_memory: int = MAX_MEMORY, random_state: int | None = None
    ) -> xr.DataArray:
        """Probabilities that two rows share a component, averaged over models; see `bayesgmm.similarity_matrix`."""
        seed = generator_of(random_state).integers(2**32)  # the same rows of every model
        total: xr.DataArray | None = None
        for p, tree in self._relevant():
            own = p * similarity_matrix(tree, rows=rows, max_memory=max_memory, random_state=int(seed))
            total = own if total is None else total + own
        assert total is not None  # noqa: S101  probabilities sum to one
        index = np.arange(total.sizes[OBS])
        values = total.to_numpy()
        values[index, index] = 1.0
        return xr.DataArray(values, total.coords, (OBS, OBS_BIS), name="similarity")

    def __str__(self) -> str:
        return "\n".join([self.table.to_string(), *self.findings])

    def _repr_html_(self) -> str:
        return frame_table(self.table) + listing(self.findings)

    def _relevant(self) -> list[tuple[float, xr.DataTree]]:
        probability = self.table["probability"].to_numpy()
        probability = np.where(probability >= _NEGLIGIBLE, probability, 0.0)
        pairs = zip(probability / probability.sum(), self.fits, strict=True)
        return [(float(p), mixture_posterior(fit)) for p, fit in pairs if p > 0.0]


def average_models(
    fits: Sequence[Any] | Mapping[str, Any],
    *,
    prior: PriorOnK = UNIFORM,
    evidences: Sequence[Evidence] | None = None,
    random_state: int | None = None,
) -> ModelAverage:
    r"""Bayesian model averaging: weight fits to the same rows by their evidences.

    .. math:: p(m \mid X) \propto p(K_m)\, p(X \mid m) / \#\{m' : K_{m'} = K_m\}

    where the prior probability of a number of components is divided equally among the fits that have it.

    Parameters
    ----------
    fits : sequence or mapping of str to BayesianGaussianMixture, or their DataTrees
        Fits with different numbers of components or families, to the same rows.
    prior : {"uniform", "poisson"}, mapping, or callable
        Prior over K, normalized over the numbers of components among the fits: uniform (Richardson &
        Green 1997), :math:`K - 1 \sim Poisson(1)` (after Nobile 2005), or values by K.
    evidences : sequence of Evidence, optional
        Results of `log_evidence` for the fits, in the same order; by default they are computed.
    random_state : int, optional
        For `log_evidence`.

    Returns
    -------
    ModelAverage

    Raises
    ------
    InputError
        There are no fits, they are to different rows, or the prior gives none of them a positive probability.

    References
    ----------
    Hoeting, Madigan, Raftery & Volinsky (1999), Statistical Science 14.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture, average_models
    >>> from bayesgmm.datasets import load_old_faithful
    >>> X = load_old_faithful()
    >>> fits = [BayesianGaussianMixture(k, random_state=1, progress=False).fit(X) for k in (1, 2)]
    >>> average = average_models(fits, random_state=1)
    >>> average.table["probability"].round(3).to_list()
    [0.0, 1.0]
    >>> bool(average.log_bayes_factors.loc["K=2, full", "K=1, full"] > 100)
    True
    >>> average.score_samples(X[:2]).shape
    (2,)
    """
    generator_of(random_state)
    check_type(Iterable, fits=fits)
    check_type(Iterable, optional=True, evidences=evidences)
    named = dict(fits) if isinstance(fits, Mapping) else None
    members = tuple(fits if named is None else named.values())
    if not members:
        raise InputError(expected="at least one fit", got="none")
    trees = [mixture_posterior(fit) for fit in members]
    for tree in trees:
        refuse_noise(tree, "model averaging")
        model_of(tree).component.check_gaussian("model averaging")
    _check_rows(trees)
    found = [log_evidence(fit, random_state=random_state) for fit in members] if evidences is None else list(evidences)
    if len(found) != len(members) or not all(hasattr(each, "log_evidence") for each in found):
        raise InputError(expected=f"{len(members)} evidences, one a fit, of log_evidence", got=f"{found!r}")
    table = _table(trees, found, prior)
    table = table if named is None else table.set_axis(list(named))
    rows = zip(table.index, table["probability"], found, strict=True)
    findings = [f"{name}: {told}" for name, p, own in rows if p >= RELEVANT for told in getattr(own, "findings", ())]
    return ModelAverage(table, members, tuple(findings))


def _table(trees: Sequence[xr.DataTree], found: Sequence[Evidence], prior: PriorOnK) -> pd.DataFrame:
    k = np.array([tree["posterior"].sizes[CLUSTER] for tree in trees])
    families = [str(tree.attrs["covariance_type"]) for tree in trees]
    log_z, se = np.array([own.log_evidence for own in found]), np.array([own.se for own in found])
    before = _prior_of_models(prior, k)
    with np.errstate(divide="ignore"):
        log_joint = log_z + np.log(before)
    after = np.exp(log_joint - np.logaddexp.reduce(log_joint))
    per_doubling = [float(getattr(own, "per_doubling", np.nan)) for own in found]
    columns = {"n_components": k, "covariance_type": families, "log_evidence": log_z, "se": se}
    columns |= {"per_doubling": np.array(per_doubling)}
    columns |= {"prior": before, "probability": after, "probability_se": np.sqrt(_slopes(after) ** 2 @ se**2)}
    return pd.DataFrame(columns, [f"K={n}, {name}" for n, name in zip(k, families, strict=True)])


def _slopes(probability: Array) -> Array:
    """Derivatives of probabilities with respect to log evidences, (model, model)."""
    return np.diag(probability) - np.outer(probability, probability)


def _prior_of_models(prior: PriorOnK, k: Array) -> Array:
    """Prior probability of each fit, (model,): that of its K, shared by the fits that have it."""
    values, which, counts = np.unique(k, return_inverse=True, return_counts=True)
    weights = np.array([_weight_of(prior, int(value)) for value in values], dtype=np.float64)
    if not np.isfinite(weights).all() or weights.min() < 0.0 or weights.sum() <= 0.0:
        raise InputError(expected="a prior with numbers >= 0, not all zero", got=f"{weights} at K = {values}")
    return (weights / weights.sum() / counts)[which]


def _weight_of(prior: PriorOnK, k: int) -> float:
    if isinstance(prior, Mapping):
        return float(prior.get(k, 0.0))
    if callable(prior):
        return float(prior(k))
    if prior == POISSON:
        return float(np.exp(-gammaln(k)))  # 1 / (K - 1)!
    if prior == UNIFORM:
        return 1.0
    raise InputError(expected=f"prior {UNIFORM!r}, {POISSON!r}, a mapping or a function of K", got=f"{prior!r}")


def _check_rows(trees: Sequence[xr.DataTree]) -> None:
    """Check that all fits are to the same rows, with the same weights."""
    first, *others = map(data_of, trees)
    for data in others:
        same = np.array_equal(data.entries, first.entries, equal_nan=True)
        if not same or not np.array_equal(data.weights, first.weights):
            raise InputError(
                expected="fits to the same rows with the same weights, in the same units and order",
                got=f"shapes {first.shape} and {data.shape}",
            )
