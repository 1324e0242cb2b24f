"""Work of ``demo`` and ``fit``: fit a table by EM and by NUTS, compare both, write the output files.

Rows that are too many for memory stay on disk.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bayesgmm._common import Array
from bayesgmm.comparison import estimates_table
from bayesgmm.data import Data, IncompleteData
from bayesgmm.estimators import PRIORS, BayesianGaussianMixture, GaussianMixture, in_labels_of
from bayesgmm.exceptions import InputError
from bayesgmm.io import OpenSource
from bayesgmm.label_switching import Relabelling, component_record
from bayesgmm.mixture import Mixture, covariance_family
from bayesgmm.noise import NOISE_WEIGHT
from bayesgmm.plots import plot_clusters
from bayesgmm.posterior import data_of, draws_of
from bayesgmm.prediction import mean_probabilities, most_probable
from bayesgmm.priors import Prior
from bayesgmm.report import ReportSettings, Source, write_report
from bayesgmm.validation import check_components, read_table

_MOST_EVALUATIONS, _FEWEST_DRAWS = 20_000_000, 100


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Settings of a job; see `BayesianGaussianMixture`.

    Attributes
    ----------
    prior : str
        A key of `bayesgmm.estimators.PRIORS`.
    checkpoint : path, optional
        A folder in which both fits have folders of their own.
    """

    n_components: int
    seed: int
    covariance_type: str = "full"
    component: str = "gaussian"
    dof: str | float = "each"
    noise: bool | float = False
    missing: str = "error"
    prior: str = "weakly_informative"
    draws: int | None = None
    tune: int = 400
    chains: int = 4
    cores: int | None = None
    target_accept: float | None = None
    engine: str = "native"
    inference: str = "nuts"
    init: str = "spread"
    effort: str = "standard"
    max_seconds: float | None = None
    progress: bool = True
    checkpoint: Path | None = None

    @property
    def of_both(self) -> dict[str, Any]:
        """Parameters that both estimators have."""
        names = ("n_components", "covariance_type", "component", "dof", "noise", "missing")
        return {name: getattr(self, name) for name in names}

    def folder(self, fit: str) -> Path | None:
        """Where a fit is kept."""
        return None if self.checkpoint is None else self.checkpoint / fit


@dataclass(frozen=True)
class Outcome:
    """Both fits and the table that compares them.

    Attributes
    ----------
    em : GaussianMixture
        Maximum likelihood.
    em_mixture : Mixture
        Its solution with the labels of the posterior.
    bayes : BayesianGaussianMixture
    table : pandas.DataFrame
        See `estimates_table`.
    components : Relabelling or None
        Whether the components are identified; None with one component.
    """

    em: GaussianMixture
    em_mixture: Mixture
    bayes: BayesianGaussianMixture
    table: pd.DataFrame
    components: Relabelling | None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the sampling early."""
        return bool(self.bayes.posterior_.attrs["interrupted"])


type Rows = pd.DataFrame | OpenSource


def fit_both(rows: Rows, settings: JobSettings) -> Outcome:
    """Fit by EM (maximum likelihood) and by NUTS or Gibbs sampling with the chosen prior.

    Examples
    --------
    >>> from bayesgmm.datasets import load_old_faithful
    >>> from bayesgmm.cli.job import JobSettings, fit_both
    >>> outcome = fit_both(load_old_faithful(), JobSettings(n_components=2, seed=1, progress=False))
    >>> outcome.table.loc["means[1, waiting]", ["em", "mean"]].astype(float).round(0).tolist()
    [80.0, 80.0]
    """
    if rows.shape[0] < 2:
        raise InputError(expected="at least two rows", got=f"{rows.shape[0]}")
    check_components(settings.n_components, rows.shape[0])
    covariance_family(settings.covariance_type, rows.shape[1]).for_posterior()
    parameters = asdict(settings)
    seed, prior, _ = (parameters.pop(name) for name in ("seed", "prior", "checkpoint"))

    def scaled_by(sample: Array | Data) -> Prior:
        return PRIORS[prior](sample, settings.n_components, settings.covariance_type, None)

    scaled = None if isinstance(rows, OpenSource) else scaled_by(data_in(rows, settings))  # refused before any work
    em = fit_by_em(rows, settings)
    bayes = BayesianGaussianMixture(**parameters, prior=scaled or scaled_by(em.source_.sample), random_state=seed)
    bayes.fit(rows, checkpoint=settings.folder("posterior"))
    mixture = in_labels_of(bayes.em_, em.mixture_)
    table = estimates_table(mixture, bayes.posterior_)
    return Outcome(em, mixture, bayes, table, component_record(bayes.posterior_))


def data_in(rows: pd.DataFrame, settings: JobSettings) -> Data:
    """Rows in memory, some of which may have missing values if the settings say so."""
    entries = read_table(rows, gaps=settings.missing != "error").rows
    return IncompleteData(entries) if pd.isna(entries).any() else Data(entries)


def fit_by_em(rows: Rows, settings: JobSettings) -> GaussianMixture:
    """Fit by EM (maximum likelihood)."""
    em = GaussianMixture(**settings.of_both, random_state=settings.seed)
    em.fit(rows, checkpoint=settings.folder("em"))
    if em.starts_.interrupted:
        raise KeyboardInterrupt
    return em


def em_table(em: GaussianMixture, names: Sequence[str]) -> pd.DataFrame:
    """Every parameter of a fit by EM."""
    mixture, d = em.mixture_, len(names)
    found = {f"weights[{k}]": weight for k, weight in enumerate(mixture.weights)}
    found |= {} if em.noise_ is None else {NOISE_WEIGHT: em.noise_weight_}
    found |= {} if mixture.dof is None else {f"dof[{k}]": value for k, value in enumerate(mixture.dof)}
    found |= {f"means[{k}, {names[j]}]": mean for k, row in enumerate(mixture.means) for j, mean in enumerate(row)}
    for k, matrix in enumerate(mixture.full_covariances):
        found |= {f"covariances[{k}, {names[i]}, {names[j]}]": matrix[i, j] for i in range(d) for j in range(i + 1)}
    return pd.DataFrame({"em": found}).rename_axis("parameter")


def write_em_outputs(em: GaussianMixture, rows: Rows, folder: Path) -> None:
    """Write the files of `bayesgmm.io.EM_FILES` to a folder that exists."""
    em.save(folder / "fit.nc")
    em_table(em, list(map(str, rows.columns))).to_csv(folder / "estimates.csv")
    em.predict_to(folder / "memberships.parquet", rows, proba=True)


def memberships(bayes: BayesianGaussianMixture, frame: pd.DataFrame) -> pd.DataFrame:
    """Each row's most probable cluster (-1 for noise), its uncertainty, and the probability of every cluster.

    Averaged over all draws, or over fewer (at least 100, evenly spaced) if there are many rows.
    """
    draws = draws_of(bayes.posterior_).thinned(max(_FEWEST_DRAWS, _MOST_EVALUATIONS // len(frame)))
    proba = mean_probabilities(draws, data_of(bayes.posterior_))
    named = [f"p{k}" for k in range(bayes.n_components)] + ["p_noise"] * (draws.noise is not None)
    columns = dict(zip(named, proba.T, strict=True))
    found = {"cluster": most_probable(draws, proba), "uncertainty": 1.0 - proba.max(axis=1)}
    return pd.DataFrame({**found, **columns})


def write_outputs(
    outcome: Outcome, rows: Rows, folder: Path, *, title: str = "", source: tuple[str, str] | None = None
) -> None:
    """Write the files of `bayesgmm.io.OUTPUT_FILES`, or `SOURCE_FILES` if rows are on disk, to a folder that exists.

    With a source (code that reads the rows, and the command), also the report with that title.
    """
    outcome.bayes.save(folder / "posterior.nc")
    outcome.table.to_csv(folder / "estimates.csv")
    if isinstance(rows, OpenSource):
        outcome.bayes.predict_to(folder / "memberships.parquet", rows, proba=True)
    else:
        memberships(outcome.bayes, rows).to_csv(folder / "memberships.csv", index_label="row")
    plot_clusters(outcome.bayes, em=outcome.em_mixture).savefig(folder / "clusters.png", dpi=200)
    if source is not None:
        settings = ReportSettings(title=title, source=Source(*source), progress=outcome.bayes.progress)
        write_report(outcome.bayes, outcome.em, outcome.em_mixture, folder / "report.html", settings)
