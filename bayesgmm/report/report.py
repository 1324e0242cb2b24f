"""HTML reports of fits, section by section."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from bayesgmm._common import counted, progress_bar, sentence
from bayesgmm.comparison import estimates_table
from bayesgmm.data import N_LABELLED
from bayesgmm.diagnostics import diagnose
from bayesgmm.exceptions import (
    DegenerateComponentError,
    InformationError,
    InputError,
    NotIdentifiedError,
    SamplingError,
)
from bayesgmm.inference import sampler_name
from bayesgmm.io import check_target
from bayesgmm.label_switching import component_record
from bayesgmm.mixture import Mixture
from bayesgmm.model_checks import ModelCheck, check_model
from bayesgmm.overview import in_common_labels, overview_of_em
from bayesgmm.posterior import data_of
from bayesgmm.report.check_sections import checks_section, comparison_section
from bayesgmm.report.em_sections import (
    Sample,
    data_section,
    em_clusters,
    em_components_section,
    em_errors,
    em_partition_section,
    em_section,
)
from bayesgmm.report.head import Head, head_of
from bayesgmm.report.messages import EMSentence, SharedSentence
from bayesgmm.report.page import Section, Table, page, save_page
from bayesgmm.report.posterior_sections import (
    Posterior,
    components_section,
    partition_section,
    posterior_section,
    verdict_section,
)
from bayesgmm.report.reproduce import Source, fingerprint_code, is_reproducible, script, versions

type Builder = Callable[[], Section]

_REPLICATES = 199  # as `check_model` itself: of 39, the smallest of five p-values hardly falls below 5 %
_REASONS = (InputError, DegenerateComponentError, NotIdentifiedError, InformationError, SamplingError)


@dataclass(frozen=True)
class ReportSettings:
    """Settings of a report.

    Attributes
    ----------
    title : str
    source : Source
        Where the rows came from, for the code.
    overwrite : bool
        Replace a file that exists.
    progress : bool
        Show a bar, in a terminal or notebook only.
    checks : bool
        Check the model, which refits it to simulated data: the part that takes longest.
    """

    title: str = ""
    source: Source = field(default_factory=Source)
    overwrite: bool = False
    progress: bool = True
    checks: bool = True


def write_em_report(em: Any, sample: Sample, path: str | os.PathLike[str], settings: ReportSettings) -> None:
    """The report on a fit by EM alone."""
    check_target(path, overwrite=settings.overwrite)
    (errors, notes), rows = em_errors(em, sample), em_clusters(em, sample)
    builders: dict[str, Builder] = {
        "Data": lambda: data_section(sample),
        "EM": lambda: em_section(em),
        "Components": lambda: em_components_section(em, sample, errors, notes),
        "Partition": lambda: em_partition_section(rows, em.n_components),
        "Reproduce": lambda: code_section([("em", em)], sample, settings.source),
    }
    weights = None if errors is None else errors.weights
    overview = overview_of_em(em, sample.names, rows=rows, errors=weights)
    _write(
        builders,
        path,
        settings,
        subtitle=_subtitle(em, sample, "EM"),
        head=lambda: head_of(overview, rows, sample.names),
    )


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
    given = bayes.posterior_
    data = data_of(given, all_for="a report")
    record, diagnosis = component_record(given), diagnose(given)
    tree = in_common_labels(given, record, diagnosis)
    found = Posterior(tree, em_mixture, estimates_table(em_mixture, tree), record, diagnosis)
    sample = Sample(data.entries, found.names, data.row_weights, n_labelled=int(given.attrs.get(N_LABELLED, 0)))
    fits = [("em", em), ("model", bayes)] if em is not None else [("model", bayes)]

    @cache
    def checked() -> ModelCheck:
        return check_model(bayes, n_replicates=_REPLICATES, random_state=found.seed, progress=False)

    def head() -> Head:
        p_value = None
        if settings.checks:
            with suppress(*_REASONS):  # which the section on checks states
                p_value = checked().p_value
        return head_of(found.overview(p_value), found.clusters, found.names)

    builders: dict[str, Builder] = {
        "Data": lambda: data_section(sample),
        "EM": lambda: em_section(em, notes=notes) if em is not None else _no_em(notes),
        "Posterior": lambda: posterior_section(found),
        "Convergence": lambda: verdict_section(found),
        "Components": lambda: components_section(found),
        "Partition": lambda: partition_section(found),
        "Comparison": lambda: comparison_section(em, bayes, seed=found.seed, identified=found.identified),
        "Checks": lambda: checks_section(checked()),
        "Reproduce": lambda: code_section(fits, sample, settings.source),
    }
    left_out = {"Comparison"} if em is None else set()
    left_out |= set() if settings.checks else {"Checks"}
    builders = {title: build for title, build in builders.items() if title not in left_out}
    subtitle = _subtitle(bayes, sample, f"EM and {sampler_name(tree)}")
    _write(builders, path, settings, subtitle=subtitle, head=head)


def _no_em(notes: Sequence[str]) -> Section:
    return Section(title="EM", sentences=(EMSentence.NO_EM, EMSentence.MAP_INSTEAD), notes=tuple(notes))


def code_section(fits: Sequence[tuple[str, Any]], sample: Sample, source: Source) -> Section:
    """The exact code and versions, and how to tell that rows are the same."""
    seeded = all(is_reproducible(fit) for _, fit in fits)
    weighted, labelled = sample.row_weights is not None, sample.n_labelled > 0
    code = script(fits, sample.X, source=source, names=sample.names, weighted=weighted, labelled=labelled)
    return Section(
        title="Reproduce",
        sentences=(SharedSentence.SEEDED if seeded else SharedSentence.NOT_SEEDED, SharedSentence.FINGERPRINT),
        tables=(Table("Versions", ("package", "version"), versions()),),
        code=(*([source.command] if source.command else []), code, fingerprint_code(sample.X)),
    )


def _subtitle(fit: Any, sample: Sample, engines: str) -> str:
    n, d = sample.X.shape
    return sentence(
        SharedSentence.SUBTITLE,
        engines=engines,
        components=counted(fit.n_components, "component"),
        family=fit.covariance_type,
        rows=counted(n, "row"),
        features=counted(d, "feature"),
        date=datetime.now(UTC).date().isoformat(),
    )


def _write(
    builders: Mapping[str, Builder],
    path: str | os.PathLike[str],
    settings: ReportSettings,
    *,
    subtitle: str,
    head: Callable[[], Head],
) -> None:
    with progress_bar("Report", show=settings.progress) as callback:
        sections = list(_built(builders, callback))
    title = settings.title or "Gaussian mixture report"
    save_page(page(title, subtitle, sections, head()), path, overwrite=settings.overwrite)


def _built(builders: Mapping[str, Builder], callback: Callable[[int, int], None] | None) -> Iterator[Section]:
    for done, (title, build) in enumerate(builders.items()):
        if callback is not None:
            callback(done, len(builders))
        yield _guarded(title, build)


def _guarded(title: str, build: Builder) -> Section:
    """A section with its warnings as notes, or the reason why it could not be made."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            section = build()
        except _REASONS as error:
            return Section(title=title, sentences=(SharedSentence.FAILED, str(error)))
    warned = dict.fromkeys(str(each.message) for each in caught if issubclass(each.category, UserWarning))
    return replace(section, notes=(*section.notes, *warned))
