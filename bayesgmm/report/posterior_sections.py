"""Sections of a report on a posterior: draws, convergence, components, partition."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import isfinite

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm._common import Rows, counted, decimals_of, listed, sentence, shown
from bayesgmm.comparison import component_intervals, estimates_cells, mean_and_bounds, spread_table, verdict_lines
from bayesgmm.diagnostics import MOST_ROWS, Diagnosis
from bayesgmm.inference import sampler_name
from bayesgmm.label_switching import Relabelling
from bayesgmm.mixture import Mixture
from bayesgmm.noise import NOISE_WEIGHT
from bayesgmm.overview import Overview, RowClusters, RowPartition, is_labelled, overview_of, row_clusters, row_partition
from bayesgmm.partitions import (
    CredibleBall,
    PartitionEstimate,
    credible_ball,
    membership_uncertainty,
)
from bayesgmm.plots import (
    plot_clusters,
    plot_density,
    plot_mixing,
    plot_similarity,
    thinned_tree,
)
from bayesgmm.posterior import CLUSTER, SAMPLE_DIMS, data_of, prior_from_json
from bayesgmm.prediction import interval_probability
from bayesgmm.priors import Prior
from bayesgmm.report.em_sections import uncertain
from bayesgmm.report.figures import Picture, picture_of
from bayesgmm.report.messages import PRIORS, Fragment, PosteriorSentence, SharedSentence
from bayesgmm.report.page import Section, Table

_MEMBERSHIP_DRAWS = 400


@dataclass(frozen=True)
class Posterior:
    """A posterior with its table, diagnosis and identifiability.

    Attributes
    ----------
    tree : DataTree
    em : Mixture
        The estimate beside it, in its labels.
    table : DataFrame
        See `bayesgmm.comparison.estimates_table`.
    components : Relabelling or None
        Whether components are identified; None with one.
    diagnosis : Diagnosis
    """

    tree: xr.DataTree
    em: Mixture
    table: pd.DataFrame
    components: Relabelling | None
    diagnosis: Diagnosis

    @property
    def identified(self) -> bool:
        """Whether components are identified."""
        return is_labelled(self.components)

    @cached_property
    def partition(self) -> RowPartition:
        """The best single partition of some rows."""
        return row_partition(self.tree)

    @cached_property
    def clusters(self) -> RowClusters:
        """The rows that the report is about, with their clusters."""
        return row_clusters(self.tree) if self.identified else self.partition.clusters()

    def overview(self, p_value: float | None) -> Overview:
        """The short summary, with a p-value of the hypothesis of a Gaussian mixture."""
        rows, partition = (self.clusters, None) if self.identified else (None, self.partition)
        return overview_of(self.tree, self.components, self.diagnosis, p_value=p_value, rows=rows, partition=partition)

    @property
    def names(self) -> list[str]:
        """The features."""
        return [str(name) for name in self.tree["posterior"]["feature"].to_numpy()]

    @property
    def rows(self) -> Rows:
        """The rows of the fit."""
        return np.asfortranarray(self.tree["observed_data"]["y"].to_numpy())

    @property
    def seed(self) -> int:
        """Seed of everything random in the report."""
        return int(self.tree.attrs.get("seed", 0))

    @property
    def n_components(self) -> int:
        """K."""
        return int(self.tree["posterior"].sizes[CLUSTER])


# ---- the draws


def posterior_section(found: Posterior) -> Section:
    """How many draws under which prior, and where EM and the posterior mean are farthest apart."""
    sizes, attributes = found.tree["posterior"].sizes, found.tree.attrs
    first = sentence(
        PosteriorSentence.SAMPLED,
        sampler=sampler_name(found.tree),
        chains=counted(sizes["chain"], "chain"),
        draws=counted(sizes["draw"], "draw"),
        seconds=attributes["sampling_time"],
        stopped=Fragment.INTERRUPTED.value if attributes.get("interrupted") else "",
        engine=attributes["engine"],
        seed=str(attributes["seed"]),
        prior=_prior_in_words(prior_from_json(str(attributes["prior"]))),
    )
    return Section(title="Posterior", sentences=(first, _farthest(found)), tables=_parameters(found))


def _parameters(found: Posterior) -> tuple[Table, ...]:
    """All parameters; standard deviations and correlations, which are easier to read than covariances."""
    if not found.identified:
        return ()
    spread = spread_table(found.em, found.tree)
    return (
        Table("Parameters", *estimates_cells(found.table), found.table),
        Table("Standard deviations and correlations", *estimates_cells(spread), spread),
    )


def _prior_in_words(prior: Prior) -> str:
    """The form of a prior; its numbers stand with the code."""
    hyper = [
        name
        for name, value in (("scale", prior.scale_prior), ("weights' concentration", prior.concentration_prior))
        if value
    ]
    form = PRIORS[prior.form]
    return sentence(Fragment.SAMPLED_TOO, prior=form, hyperparameters=listed(hyper)) if hyper else form


def _farthest(found: Posterior) -> str:
    """The parameter at which the two estimates differ most, in posterior standard deviations."""
    if not found.identified:
        return sentence(PosteriorSentence.NOT_TABULATED)
    table = found.table[found.table["sd"] > 0]
    if table.empty:
        return sentence(PosteriorSentence.NOTHING_VARIES)
    em, mean, sd = (table[column].to_numpy(dtype=float) for column in ("em", "mean", "sd"))
    gap = np.abs(em - mean) / sd
    worst = int(gap.argmax())
    digits = decimals_of(sd[worst])
    values = {"em": shown(em[worst], digits), "mean": shown(mean[worst], digits)}
    return sentence(PosteriorSentence.FARTHEST, parameter=str(table.index[worst]), gap=gap[worst], **values)


# ---- the verdict


def verdict_section(found: Posterior) -> Section:
    """Verdict on convergence and its figures."""
    r_hat, ess, divergences, verdict, *rest = verdict_lines(found.diagnosis)
    return Section(
        title="Convergence",
        sentences=(verdict, f"{r_hat}.", f"{ess}.", f"{divergences}."),
        picture=_mixing_picture(found.tree),
        notes=tuple(rest),
    )


def _mixing_picture(tree: xr.DataTree) -> Picture | None:
    if tree["posterior"].sizes["draw"] < 4 or "laplace" in tree.attrs:  # independent draws, which have no chains
        return None
    data = data_of(tree)
    n = data.shape[0]
    some = data.take(np.arange(0, n, -(-n // MOST_ROWS))) if n > MOST_ROWS else None
    collection = plot_mixing(tree, some, backend="matplotlib", col_wrap=2, figure_kwargs={"figsize": (6.4, 9.0)})
    return picture_of(collection, "Ranks of each chain's draws of label-invariant quantities: flat for chains that mix")


# ---- components


def components_section(found: Posterior) -> Section:
    """Whether components are identified, and what they are."""
    if not found.identified and found.components is not None:
        return Section(
            title="Components",
            sentences=(PosteriorSentence.NOT_IDENTIFIED, PosteriorSentence.WITHOUT_LABELS),
            picture=_density_picture(found),
            notes=tuple(found.components.findings),
        )
    return Section(
        title="Components",
        sentences=(_identified(found.components), _sizes(found), *_noise(found)),
        picture=_components_picture(found),
        tables=(_components(found),),
    )


def _identified(record: Relabelling | None) -> str:
    if record is None:
        return sentence(SharedSentence.ONE_COMPONENT)
    return sentence(PosteriorSentence.IDENTIFIED, unclear=record.unclear_share, stability=record.stability)


def _sizes(found: Posterior) -> str:
    """The largest and the smallest weight with their intervals."""
    mean, lower, upper = mean_and_bounds(found.tree["posterior"]["weights"].transpose(*SAMPLE_DIMS, ...).to_numpy())
    if len(mean) == 1:
        return sentence(SharedSentence.EVERY_ROW)
    large, small = int(mean.argmax()), int(mean.argmin())
    ci_prob = interval_probability(None)
    largest, smallest = (
        sentence(Fragment.INTERVAL, mean=mean[k], ci_prob=ci_prob, lower=lower[k], upper=upper[k])
        for k in (large, small)
    )
    return sentence(SharedSentence.SIZES, large=large, largest=largest, small=small, smallest=smallest)


def _noise(found: Posterior) -> list[str]:
    """The weight of noise with its interval, if there is noise."""
    if NOISE_WEIGHT not in found.tree["posterior"]:
        return []
    drawn = found.tree["posterior"][NOISE_WEIGHT].transpose(*SAMPLE_DIMS).to_numpy()[..., None]
    mean, lower, upper = (values[0] for values in mean_and_bounds(drawn))
    shown_weight = sentence(Fragment.INTERVAL, mean=mean, ci_prob=interval_probability(None), lower=lower, upper=upper)
    return [sentence(SharedSentence.NOISE, weight=shown_weight)]


def _components(found: Posterior) -> Table:
    caption = f"Posterior means, with {shown(interval_probability(None), 'share')} intervals"
    return Table(caption, *component_intervals(found.tree)).turned()


def _components_picture(found: Posterior) -> Picture:
    figure = plot_clusters(found.tree, em=found.em)
    return picture_of(figure, f"Rows by cluster over {listed(found.names)}; EM dashed, posterior mean and draws")


def _density_picture(found: Posterior) -> Picture:
    return picture_of(plot_density(found.tree, backend="matplotlib"), "Posterior mean of the density over the rows")


# ---- the partition


def partition_section(found: Posterior) -> Section:
    """Point estimate of the partition, credible ball, and uncertainty of memberships."""
    if found.n_components == 1:
        sentences = (PosteriorSentence.ONE_CLUSTER, PosteriorSentence.NO_PARTITION)
        return Section(title="Partition", sentences=sentences)
    drawn, estimate = found.partition.drawn, found.partition.estimate
    ball = credible_ball(estimate, drawn)
    collection = plot_similarity(drawn, partition=estimate, random_state=found.seed, backend="matplotlib")
    return Section(
        title="Partition",
        sentences=(_partition(estimate, ball, len(found.rows)), *_memberships(found)),
        picture=picture_of(
            collection, "Probability that two rows share a cluster, for all pairs, in order of clusters"
        ),
    )


def _partition(estimate: PartitionEstimate, ball: CredibleBall, n_rows: int) -> str:
    labels = estimate.labels
    sizes, n_noise = np.sort(np.bincount(labels[labels >= 0]))[::-1], int((labels < 0).sum())
    part = sentence(Fragment.SOME_ROWS, rows=counted(len(estimate.labels), "row"))
    return sentence(
        PosteriorSentence.PARTITION,
        rows=part if len(estimate.labels) < n_rows else "",
        clusters=counted(len(sizes), "cluster"),
        sizes=listed(map(shown, sizes)),
        noise=sentence(Fragment.OF_NOISE, rows=counted(n_noise, "row")) if n_noise else "",
        coverage=ball.coverage,
        radius=ball.radius,
    )


def _memberships(found: Posterior) -> Iterator[str]:
    """How many rows are uncertain, and why."""
    if not found.identified:
        yield sentence(PosteriorSentence.WITHOUT_COMPONENTS)
        yield uncertain(found.clusters.proba)
        return
    thinned, which = thinned_tree(found.tree, _MEMBERSHIP_DRAWS), found.clusters.which
    parts = membership_uncertainty(thinned, data_of(found.tree).take(which))
    total, parameters = float(parts["mean_total"]), float(parts["mean_parameters"])
    known = isfinite(total) and total > 0
    yield uncertain(
        found.clusters.proba, split=sentence(Fragment.SPLIT, parameters=parameters / total) if known else ""
    )
