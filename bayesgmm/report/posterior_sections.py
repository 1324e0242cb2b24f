"""Sections of a report on a posterior: the draws, the verdict on them, components, partition."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesgmm._common import Rows
from bayesgmm.comparison import component_intervals, estimates_cells, mean_and_bounds, shown_decimals, verdict_lines
from bayesgmm.comparison import shown as fixed
from bayesgmm.diagnostics import MOST_ROWS, Diagnosis
from bayesgmm.label_switching import Relabelling
from bayesgmm.mixture import Mixture
from bayesgmm.partitions import (
    CredibleBall,
    PartitionEstimate,
    credible_ball,
    estimate_partition,
    membership_uncertainty,
    sample_labels,
)
from bayesgmm.plots import (
    plot_clusters,
    plot_components,
    plot_density,
    plot_mixing,
    plot_pairs,
    plot_similarity,
    thinned_tree,
)
from bayesgmm.posterior import CLUSTER, SAMPLE_DIMS, prior_from_json
from bayesgmm.prediction import draw_set, interval_probability, mean_memberships
from bayesgmm.priors import Prior
from bayesgmm.report.em_sections import MOST_PAIRED, counted, listed, unsure_told
from bayesgmm.report.page import Picture, Section, Table, picture_of

_PARTITIONED, _PARTITION_DRAWS = 1_000, 1_000  # rows and draws that partitions are searched with
_MEMBERSHIP_ROWS, _MEMBERSHIP_DRAWS = 5_000, 400
_FORMS = {
    "normal_inverse_wishart": "normal-inverse-Wishart prior",
    "independent": "independent normal and inverse-Wishart priors",
    "separation": "priors on variances and correlations apart",
}


@dataclass(frozen=True)
class Posterior:
    """A posterior and what was made of it already.

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
        """Whether summaries of single components mean something."""
        return self.components is None or self.components.identified

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
        """What everything random in the report comes from."""
        return int(self.tree.attrs.get("seed", 0))

    @property
    def n_components(self) -> int:
        """K."""
        return int(self.tree["posterior"].sizes[CLUSTER])


# ---- the draws


def posterior_section(found: Posterior) -> Section:
    """How many draws under which prior, and where EM and the posterior mean are farthest apart."""
    sizes, attributes = found.tree["posterior"].sizes, found.tree.attrs
    stopped = ", interrupted before the end" if attributes.get("interrupted") else ""
    first = (
        f"NUTS drew {counted(sizes['chain'], 'chain')} of {counted(sizes['draw'], 'draw')} in "
        f"{attributes['sampling_time']:.1f} s{stopped} (engine {attributes['engine']}, seed {attributes['seed']}), "
        f"under {_prior_told(prior_from_json(str(attributes['prior'])))}."
    )
    figure = plot_clusters(found.tree, em=found.em)
    return Section(
        title="Posterior",
        sentences=(first, _farthest(found)),
        picture=picture_of(figure, f"Rows by cluster over {listed(found.names)}; EM dashed, posterior mean and draws"),
        tables=(Table("Parameters", *estimates_cells(found.table)),) if found.identified else (),
    )


def _prior_told(prior: Prior) -> str:
    """A prior in a few words; its numbers stand with the code."""
    hyper = [
        name
        for name, value in (("scale", prior.scale_prior), ("weights' concentration", prior.concentration_prior))
        if value
    ]
    sampled = f" whose {' and '.join(hyper)} are sampled too" if hyper else ""
    return f"{_FORMS[prior.form]}{sampled}"


def _farthest(found: Posterior) -> str:
    """The parameter at which the two estimates differ most, in posterior standard deviations."""
    if not found.identified:
        return "Its components are not identified, so that parameters of single components are not tabulated."
    table = found.table[found.table["sd"] > 0]
    if table.empty:
        return "No parameter varies from draw to draw."
    em, mean, sd = (table[column].to_numpy(dtype=float) for column in ("em", "mean", "sd"))
    gap = np.abs(em - mean) / sd
    worst = int(gap.argmax())
    digits = shown_decimals(sd[worst], 0.0)
    return (
        f"EM and the posterior mean differ most in {table.index[worst]}: {fixed(em[worst], digits)} and "
        f"{fixed(mean[worst], digits)}, {gap[worst]:.2f} posterior standard deviations apart."
    )


# ---- the verdict


def verdict_section(found: Posterior) -> Section:
    """Whether the draws can be believed, and the figures that say so."""
    r_hat, ess, divergences, verdict, *rest = verdict_lines(found.diagnosis)
    figures = f"{r_hat}; {ess[0].lower()}{ess[1:]}; {divergences[0].lower()}{divergences[1:]}."
    return Section(
        title="Convergence",
        sentences=(verdict, figures),
        picture=_mixing_picture(found.tree),
        notes=tuple(rest),
    )


def _mixing_picture(tree: xr.DataTree) -> Picture | None:
    if tree["posterior"].sizes["draw"] < 4:
        return None
    rows = tree["observed_data"]["y"].to_numpy()
    some = rows[:: -(-len(rows) // MOST_ROWS)] if len(rows) > MOST_ROWS else None
    collection = plot_mixing(tree, some, backend="matplotlib", col_wrap=3, figure_kwargs={"figsize": (9.0, 6.6)})
    return picture_of(collection, "Ranks of each chain's draws of label-invariant quantities: flat for chains that mix")


# ---- components


def components_section(found: Posterior) -> Section:
    """Whether there are components at all that can be told apart, and what they are."""
    if not found.identified and found.components is not None:
        return Section(
            title="Components",
            sentences=("The components are not identified: a table of them would describe no cluster.", _instead()),
            picture=_density_picture(found),
            notes=tuple(found.components.findings),
        )
    return Section(
        title="Components",
        sentences=(_identified_told(found.components), _sizes_told(found)),
        picture=_components_picture(found),
        tables=(_components(found),),
    )


def _instead() -> str:
    return "The density below and the partition do not depend on labels, and hold all the same."


def _identified_told(record: Relabelling | None) -> str:
    if record is None:
        return "There is one component, so that labels cannot switch."
    return (
        f"The components are identified: another labelling is nearly as good in {record.unclear_share:.0%} of the "
        f"draws, and from draw to draw a component takes the same rows to at least {record.stability:.0%}."
    )


def _sizes_told(found: Posterior) -> str:
    """The largest and the smallest weight with their intervals."""
    mean, lower, upper = mean_and_bounds(found.tree["posterior"]["weights"].transpose(*SAMPLE_DIMS, ...).to_numpy())
    if len(mean) == 1:
        return "It holds every row."
    large, small = int(mean.argmax()), int(mean.argmin())
    told = [
        f"{mean[k]:.3f} ({interval_probability(None):.0%} interval {lower[k]:.3f} to {upper[k]:.3f})"
        for k in (large, small)
    ]
    return (
        f"Component {large} is the largest, with weight {told[0]}, and component {small} the smallest, with {told[1]}."
    )


def _components(found: Posterior) -> Table:
    caption = f"Posterior means, with {interval_probability(None):.0%} intervals"
    return Table(caption, *component_intervals(found.tree))


def _components_picture(found: Posterior) -> Picture:
    drawn: Any
    if len(found.names) > 2:
        drawn = plot_pairs(
            found.tree, features=range(min(MOST_PAIRED, len(found.names))), force=True, backend="matplotlib"
        )
    else:
        drawn = plot_components(found.tree, force=True, backend="matplotlib")
    return picture_of(drawn, f"Rows and the {counted(found.n_components, 'component')} with their posterior spread")


def _density_picture(found: Posterior) -> Picture:
    return picture_of(plot_density(found.tree, backend="matplotlib"), "Posterior mean of the density over the rows")


# ---- the partition


def partition_section(found: Posterior) -> Section:
    """The partition with the least expected loss, how far draws are from it, and how sure rows are."""
    if found.n_components == 1:
        sentences = ("All rows are in one cluster, since the model has one component.", "There is nothing to part.")
        return Section(title="Partition", sentences=sentences)
    tree = thinned_tree(found.tree, _PARTITION_DRAWS)
    rows = _some(found.rows, _PARTITIONED)
    drawn = sample_labels(tree, rows, random_state=found.seed).to_numpy()
    estimate = estimate_partition(drawn, random_state=found.seed, progress=False)
    ball = credible_ball(estimate, drawn)
    collection = plot_similarity(drawn, partition=estimate, random_state=found.seed, backend="matplotlib")
    return Section(
        title="Partition",
        sentences=(_partition_told(estimate, ball, len(found.rows)), _memberships_told(found)),
        picture=picture_of(
            collection, "Probability that two rows share a cluster, for all pairs, in order of clusters"
        ),
    )


def _some(X: Rows, most: int) -> Rows:
    """At most so many rows, evenly spaced."""
    return np.asfortranarray(X[:: -(-len(X) // most)])


def _partition_told(estimate: PartitionEstimate, ball: CredibleBall, n_rows: int) -> str:
    sizes = np.sort(np.bincount(estimate.labels))[::-1]
    shown = listed([f"{size:,}" for size in sizes])
    part = f" (of {len(estimate.labels):,} rows, evenly spaced)" if len(estimate.labels) < n_rows else ""
    return (
        f"The partition with the least expected variation of information{part} has {counted(len(sizes), 'cluster')}, "
        f"of {shown} rows; {ball.coverage:.0%} of the drawn partitions are within {ball.radius:.2f} bits of it."
    )


def _memberships_told(found: Posterior) -> str:
    """How many rows are unsure, and why."""
    if not found.identified:
        return "How sure single rows are of a component is not told, since components are not identified."
    rows = _some(found.rows, _MEMBERSHIP_ROWS)
    tree = thinned_tree(found.tree, _MEMBERSHIP_DRAWS)
    unsure = unsure_told(mean_memberships(draw_set(tree), rows).max(axis=1))
    split = membership_uncertainty(tree, rows)
    total, parameters = float(split["mean_total"]), float(split["mean_parameters"])
    if not (isfinite(total) and total > 0):
        return unsure
    return f"{unsure.rstrip('.')}; {parameters / total:.0%} of that uncertainty is about parameters, the rest overlap."
