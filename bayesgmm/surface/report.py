"""Reports: what a fit found, section by section, in one HTML file."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bayesgmm.bayes.adapter import row_weights_of
from bayesgmm.bayes.diagnosis import diagnose
from bayesgmm.bayes.relabel import component_record
from bayesgmm.ground.mixture import Mixture
from bayesgmm.surface.progress import progress_bar
from bayesgmm.surface.report_code import Source, fingerprint_code, is_reproducible, script, versions
from bayesgmm.surface.report_em import (
    Sample,
    counted,
    data_section,
    em_components_section,
    em_partition_section,
    em_section,
)
from bayesgmm.surface.report_page import Section, Table, check_target, page, save_page
from bayesgmm.surface.report_posterior import (
    Posterior,
    components_section,
    partition_section,
    posterior_section,
    verdict_section,
)
from bayesgmm.surface.tables import estimates_table

type Builder = Callable[[], Section]


@dataclass(frozen=True)
class ReportSettings:
    """How a report is made.

    Attributes
    ----------
    title : str
    source : Source
        Where the rows came from, for the code.
    overwrite : bool
        Replace a file that exists.
    progress : bool
        Show a bar, in a terminal or notebook only.
    """

    title: str = ""
    source: Source = field(default_factory=Source)
    overwrite: bool = False
    progress: bool = True


def write_em_report(em: Any, sample: Sample, path: str | os.PathLike[str], settings: ReportSettings) -> None:
    """The report on a fit by EM alone."""
    builders: list[Builder] = [
        lambda: data_section(sample),
        lambda: em_section(em),
        lambda: em_components_section(em, sample),
        lambda: em_partition_section(em, sample),
        lambda: code_section([("em", em)], sample, settings.source),
    ]
    _write(builders, path, settings, subtitle=_subtitle(em, sample, "EM"))


def write_report(
    bayes: Any,
    em: Any,
    em_mixture: Mixture,
    path: str | os.PathLike[str],
    settings: ReportSettings,
    *,
    notes: Sequence[str] = (),
) -> None:
    """The report on a posterior beside EM.

    Parameters
    ----------
    bayes : BayesianGaussianMixture
    em : GaussianMixture or None
        Maximum likelihood; None if there is none.
    em_mixture : Mixture
        Its solution in the labels of the posterior; or else the one the chains started at.
    path : str or path
    settings : ReportSettings
    notes : sequence of str
        What EM warned of.

    Raises
    ------
    InputError
        If the file exists and may not be replaced, or its folder does not exist; before any work.
    """
    check_target(path, overwrite=settings.overwrite)
    tree = bayes.posterior_
    table, record = estimates_table(em_mixture, tree), component_record(tree)
    found = Posterior(tree, em_mixture, table, record, diagnose(tree))
    sample = Sample(found.rows, found.names, row_weights_of(tree))
    fits = [("em", em), ("model", bayes)] if em is not None else [("model", bayes)]
    builders: list[Builder] = [
        lambda: data_section(sample),
        lambda: em_section(em, notes=notes) if em is not None else _no_em(notes),
        lambda: posterior_section(found),
        lambda: verdict_section(found),
        lambda: components_section(found),
        lambda: partition_section(found),
        lambda: code_section(fits, sample, settings.source),
    ]
    _write(builders, path, settings, subtitle=_subtitle(bayes, sample, "EM and NUTS"))


def _no_em(notes: Sequence[str]) -> Section:
    sentences = (
        "There is no fit by maximum likelihood.",
        "What stands for EM below is the maximum a posteriori at which the chains started.",
    )
    return Section(title="EM", sentences=sentences, notes=tuple(notes))


def code_section(fits: Sequence[tuple[str, Any]], sample: Sample, source: Source) -> Section:
    """The exact code and versions, and how to tell that rows are the same."""
    seeded = all(is_reproducible(fit) for _, fit in fits)
    code = script(fits, sample.X, source=source, names=sample.names, weighted=sample.row_weights is not None)
    first = (
        "With the versions below, this code makes the same fits again, to the last digit on the same kind of machine."
        if seeded
        else "This code makes the fits again, but random_state was not a number, so that its starts are others."
    )
    return Section(
        title="Reproduce",
        sentences=(first, "The second block tells whether rows are those of the fit."),
        tables=(Table("Versions", ("package", "version"), versions()),),
        code=(*([source.command] if source.command else []), code, fingerprint_code(sample.X)),
    )


def _subtitle(fit: Any, sample: Sample, engines: str) -> str:
    n, d = sample.X.shape
    today = datetime.now(UTC).date().isoformat()
    model = f"{counted(fit.n_components, 'component')}, {fit.covariance_type} covariances"
    return f"Gaussian mixture by {engines}: {model}, {counted(n, 'row')}, {counted(d, 'feature')}; {today}."


def _write(
    builders: Sequence[Builder], path: str | os.PathLike[str], settings: ReportSettings, *, subtitle: str
) -> None:
    check_target(path, overwrite=settings.overwrite)
    with progress_bar("Report", show=settings.progress) as callback:
        sections = list(_built(builders, callback))
    title = settings.title or "Gaussian mixture report"
    save_page(page(title, subtitle, sections), path, overwrite=settings.overwrite)


def _built(builders: Sequence[Builder], callback: Callable[[int, int], None] | None) -> Iterable[Section]:
    for done, build in enumerate(builders):
        if callback is not None:
            callback(done, len(builders))
        yield build()
