"""The command line: ``bayesgmm demo``, ``bayesgmm fit FILE --components K``, ``bayesgmm select FILE``.

Commands import what they need when they run, so that ``--help`` is fast.
"""

import os
import re
import secrets
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn, cast

import typer

from bayesgmm._common import listed
from bayesgmm.cli.options import (
    FIT,
    Chains,
    Checkpoint,
    Columns,
    Component,
    Cores,
    Criteria,
    Dof,
    Draws,
    Effort,
    EMOnly,
    Engine,
    Families,
    Family,
    File,
    Force,
    Header,
    Inference,
    Init,
    Jobs,
    MaxSeconds,
    Missing,
    Noise,
    NoiseVolume,
    Output,
    Overwrite,
    PriorIfAny,
    PriorName,
    Progress,
    Provenance,
    Quiet,
    Report,
    Seed,
    Sizes,
    Starts,
    TargetAccept,
    Tune,
    in_flags,
    sizes_in,
    source_of_demo,
    source_of_file,
)
from bayesgmm.exceptions import DegenerateComponentError, InputError, SamplingError, SamplingWarning
from bayesgmm.io import Terminated, ended_by_sigterm

if TYPE_CHECKING:
    import pandas as pd

    from bayesgmm.cli.job import Outcome
    from bayesgmm.estimators import GaussianMixture
    from bayesgmm.io import OpenSource

DEMO_SEED = 1
_WIDTH = 80  # columns
BAD_INPUT, FAILED, INTERRUPTED, TERMINATED = 2, 1, 130, 143
_UsageError = cast(type[Exception], typer.BadParameter.__base__)  # typer's name for it differs between versions

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Shown(NamedTuple):
    """Output options of a run; for a report also the code that reads the rows, and the command."""

    overwrite: bool
    force: bool
    quiet: bool
    source: Provenance | None = None


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"bayesgmm {version('bayesgmm')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Gaussian mixtures by EM, with the uncertainty of a Bayesian posterior, in seconds."""


@app.command()
def demo(
    draws: Draws = None,
    tune: Tune = 400,
    chains: Chains = 4,
    cores: Cores = None,
    seed: Seed = DEMO_SEED,
    output: Output = None,
    report: Report = False,
    overwrite: Overwrite = False,
    force: Force = False,
    quiet: Quiet = False,
    progress: Progress = True,
) -> None:
    """Fit the example data of the package: the two kinds of eruptions of the Old Faithful geyser.

    Prints EM's estimates beside the posterior, and convergence diagnostics of the chains.
    Writes posterior.nc, estimates.csv, memberships.csv and clusters.png.

    [bold]Examples[/bold]

        bayesgmm demo

        bayesgmm demo --output old-faithful --overwrite
    """
    from bayesgmm.datasets import load_old_faithful

    settings = {"n_components": 2, "draws": draws, "tune": tune, "chains": chains, "cores": cores, "seed": seed}
    settings["progress"] = progress and not quiet
    folder = Path("bayesgmm-demo-output") if output is None else output
    source = source_of_demo(settings) if report else None
    _run("Old Faithful", load_old_faithful(), settings, shown=Shown(overwrite, force, quiet, source), folder=folder)


@app.command()
def fit(
    file: File,
    components: Annotated[
        int, typer.Option("--components", "-k", min=1, help="Number of clusters K.", rich_help_panel=FIT)
    ],
    columns: Columns = None,
    covariance: Family = "full",
    component: Component = "gaussian",
    dof: Dof = "each",
    noise: Noise = False,
    noise_volume: NoiseVolume = None,
    missing: Missing = "error",
    prior: PriorName = "weakly_informative",
    header: Header = None,
    draws: Draws = None,
    tune: Tune = 400,
    chains: Chains = 4,
    cores: Cores = None,
    target_accept: TargetAccept = None,
    engine: Engine = "native",
    inference: Inference = "nuts",
    init: Init = "spread",
    effort: Effort = "standard",
    max_seconds: MaxSeconds = None,
    em_only: EMOnly = False,
    seed: Seed = None,
    output: Output = None,
    checkpoint: Checkpoint = None,
    report: Report = False,
    overwrite: Overwrite = False,
    force: Force = False,
    quiet: Quiet = False,
    progress: Progress = True,
) -> None:
    """Fit a Gaussian mixture to the columns of a file, by EM and by NUTS or Gibbs sampling.

    All columns used must be numeric, and without missing values unless there is --missing marginalize.
    Writes posterior.nc, estimates.csv, memberships.csv and clusters.png.
    More than 1,000,000 rows in several files or a large one stay on disk; their memberships.parquet is written row by
    row. With --em-only there is no posterior: fit.nc, estimates.csv, memberships.parquet.

    [bold]Examples[/bold]

        bayesgmm fit customers.csv --components 4

        bayesgmm fit customers.csv -k 4 --columns age,income --covariance diag

        bayesgmm fit customers.parquet -k 4 --output run2 --seed 1 --draws 2000

        bayesgmm fit 'part-*.parquet' -k 5 --columns a,b --em-only

        bayesgmm fit customers.csv -k 4 --noise --missing marginalize
    """
    rows = _read(file, columns, header, gaps=missing != "error")
    _check_components(components, rows)
    settings = {
        "n_components": components,
        "covariance_type": covariance,
        "component": component,
        "dof": _dof_in(dof),
        "noise": noise if noise_volume is None else noise_volume,
        "missing": missing,
        "prior": prior,
        "draws": draws,
        "tune": tune,
        "chains": chains,
        "cores": cores,
        "target_accept": target_accept,
        "engine": engine,
        "inference": inference,
        "init": init,
        "effort": effort,
        "max_seconds": max_seconds,
        "seed": _seed(seed, checkpoint),
        "progress": progress and not quiet,
        "checkpoint": checkpoint,
    }
    folder = Path(f"bayesgmm-{_stem(file)}-output") if output is None else output
    from bayesgmm.io import OpenSource

    hindrances = {
        "rows that stay on disk": isinstance(rows, OpenSource),
        "--em-only": em_only,
        f"--component {component}": component != "gaussian",
    }
    if report and any(hindrances.values()):
        got = next(name for name, is_there in hindrances.items() if is_there)
        expected = "rows in memory and their posterior of Gaussian components for --report"
        raise InputError(expected=expected, got=got, hint="Fit a sample." if isinstance(rows, OpenSource) else "")
    if em_only:
        _run_em(file.name, rows, settings, shown=Shown(overwrite, force, quiet), folder=folder)
        return
    source = source_of_file(file.name, list(rows.columns), header, settings=settings) if report else None
    _run(file.name, rows, settings, shown=Shown(overwrite, force, quiet, source), folder=folder)


@app.command()
def select(
    file: File,
    components: Sizes = "1:7",
    columns: Columns = None,
    covariance: Families = None,
    criterion: Criteria = None,
    prior: PriorIfAny = None,
    header: Header = None,
    starts: Starts = None,
    jobs: Jobs = None,
    draws: Draws = None,
    tune: Tune = 400,
    chains: Chains = 4,
    cores: Cores = None,
    seed: Seed = None,
    output: Output = None,
    checkpoint: Checkpoint = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    progress: Progress = True,
) -> None:
    """Compare numbers of clusters and covariance families, by EM in seconds or by NUTS.

    Prints the models, best first, and close competitors. Writes selection.csv and selection.png.

    [bold]Examples[/bold]

        bayesgmm select customers.csv --components 1:6

        bayesgmm select customers.csv -k 1:4 --criterion evidence --criterion loo --covariance full
    """
    sizes = sizes_in(components)
    rows = _read(file, columns, header)
    _check_components(sizes[-1], rows)
    from bayesgmm.mixture import covariance_family

    for name in covariance or []:
        covariance_family(name, rows.shape[1])
    settings: dict[str, Any] = {
        "n_components": sizes,
        "covariance_types": covariance or None,
        "criteria": list(dict.fromkeys(criterion or ["bic"])),
        "prior": prior,
        "n_init": "auto" if starts is None else starts,
        "n_jobs": jobs,
        "nuts": {"draws": draws, "tune": tune, "chains": chains, "cores": cores},
        "seed": seed,
        "progress": progress and not quiet,
        "checkpoint": checkpoint,
    }
    folder = Path(f"bayesgmm-{_stem(file)}-selection") if output is None else output
    _compare(file.name, rows, settings, folder=folder, overwrite=overwrite, quiet=quiet)


type Rows = "pd.DataFrame | OpenSource"


def _read(file: Path, columns: list[str] | None, header: bool | None, *, gaps: bool = False) -> Rows:
    """Read or open the rows; errors about columns that are not numeric name the option that chooses others."""
    from bayesgmm.io import read_or_open

    try:
        with _plain_warnings(quiet=False):
            return read_or_open(file, columns=columns, header=header, gaps=gaps)
    except InputError as error:
        if "missing='marginalize'" in error.hint:
            hint = "Drop these rows, fill them in, or choose --missing marginalize."
            raise InputError(expected=error.expected, got=error.got, hint=hint) from error
        if not error.alternatives:
            raise
        hint = f"Choose numeric ones: --columns {','.join(error.alternatives[:5])}"
        raise InputError(expected=error.expected, got=error.got, hint=hint) from error


def _dof_in(text: str) -> str | float:
    """A number, or the name of a rule as it is."""
    try:
        return float(text)
    except ValueError:
        return text


def _seed(seed: int | None, checkpoint: Path | None) -> int:
    """The seed that was asked for, or that of the checkpoint, or a new one."""
    from bayesgmm.io import checkpoint_at, once

    with checkpoint_at(checkpoint, lambda: {"call": "bayesgmm fit", "random_state": seed}) as kept:
        return once(kept, "seed", lambda: secrets.randbelow(2**32) if seed is None else seed)


def _check_components(components: int, rows: Rows) -> None:
    if components > rows.shape[0]:
        expected = f"--components no larger than the number of rows ({rows.shape[0]})"
        raise InputError(expected=expected, got=f"{components}")


def _stem(file: Path) -> str:
    """The name of a file, or of several, in the name of a folder."""
    return re.sub(r"[^\w-]+", "", file.name.split(".")[0]).strip("-_") or "rows"


def _run_em(title: str, rows: Rows, settings: dict[str, Any], *, folder: Path, shown: Shown) -> None:
    """Fit by EM alone, print and write."""
    from bayesgmm.io import EM_FILES, staged_output

    with _plain_warnings(shown.quiet), staged_output(folder, EM_FILES, overwrite=shown.overwrite) as stage:
        if not shown.quiet:
            _introduce(title, rows, settings)
        from bayesgmm.cli.job import JobSettings, fit_by_em, write_em_outputs

        em = fit_by_em(rows, JobSettings(**settings))
        if not shown.quiet:
            _say(_em_line(em), "", str(em))
        write_em_outputs(em, rows, stage)
    if not shown.quiet:
        _say_files(folder, EM_FILES)


def _run(title: str, rows: Rows, settings: dict[str, Any], *, folder: Path, shown: Shown) -> None:
    """Fit, print and write: the folder is checked before any work and filled at the end."""
    from bayesgmm.io import OUTPUT_FILES, REPORT_FILE, SOURCE_FILES, OpenSource, staged_output

    files = (SOURCE_FILES if isinstance(rows, OpenSource) else OUTPUT_FILES) | (REPORT_FILE if shown.source else {})
    with _plain_warnings(shown.quiet), staged_output(folder, files, overwrite=shown.overwrite) as stage:
        if not shown.quiet:
            _introduce(title, rows, settings)
        from bayesgmm.cli.job import JobSettings, fit_both, write_outputs

        outcome = fit_both(rows, JobSettings(**settings))
        if not shown.quiet:
            _report(outcome, force=shown.force)
        write_outputs(outcome, rows, stage, title=title, source=shown.source)
    if not shown.quiet:
        _say_files(folder, files)


def _compare(title: str, rows: Rows, settings: dict[str, Any], *, folder: Path, overwrite: bool, quiet: bool) -> None:
    """Compare models, print and write."""
    from bayesgmm.io import SELECTION_FILES, staged_output

    with _plain_warnings(quiet), staged_output(folder, SELECTION_FILES, overwrite=overwrite) as stage:
        if not quiet:
            _say(*wrap(f"{title}: {_columns(rows)}; K = {', '.join(map(str, settings['n_components']))}", _WIDTH), "")
        from bayesgmm.selection import SelectionSettings, compare_models, selection_renderable, write_selection

        found = compare_models(rows, SelectionSettings(**settings))
        if not quiet:
            from rich.console import Console

            Console(highlight=False, markup=False).print(selection_renderable(found, settings["criteria"]))
        write_selection(found, stage, settings["criteria"])
    if not quiet:
        _say_files(folder, SELECTION_FILES)


# ---- what is printed


def _say(*lines: str) -> None:
    for line in lines:
        typer.echo(line)


def _say_files(folder: Path, files: dict[str, str]) -> None:
    width = max(map(len, files))
    _say(f"\n{folder}{os.sep}", *(f"  {name:{width}}  {purpose}" for name, purpose in files.items()))


def _columns(rows: Rows) -> str:
    return f"{rows.shape[0]:,} rows of {listed(map(str, rows.columns))}"


def _introduce(title: str, rows: Rows, settings: dict[str, Any]) -> None:
    family = settings.get("covariance_type", "full")
    parts = [f"K = {settings['n_components']}", f"{family} covariances"]
    parts += ["Student-t components"] if settings.get("component") == "student_t" else []
    parts += ["noise"] if settings.get("noise", False) is not False else []
    _say(*wrap(f"{title}: {_columns(rows)}; {', '.join(parts)}", _WIDTH))


def _report(outcome: "Outcome", *, force: bool) -> None:
    """Print a line for each fit, the table that compares them, convergence diagnostics, and the short summary.

    Components that are not identified are not summarised unless forced.
    """
    from rich.console import Console

    from bayesgmm.comparison import estimates_renderable, verdict_lines
    from bayesgmm.diagnostics import diagnose
    from bayesgmm.overview import in_common_labels, overview_of

    console = Console(highlight=False, markup=False)
    console.print(_em_line(outcome.em))
    console.print(_posterior_line(outcome))
    console.print()
    if force or outcome.components is None or outcome.components.identified:
        console.print(estimates_renderable(outcome.table, width=min(console.width, 100)))
    else:
        console.print("The components are not identified, so a table of them would be meaningless:")
        console.print(*outcome.components.findings, sep="\n")
        console.print("Use the similarity matrix and the partition instead, or print the table anyway with --force.")
    console.print()
    tree, found = outcome.bayes.posterior_, diagnose(outcome.bayes.posterior_)
    overview = overview_of(in_common_labels(tree, outcome.components, found), outcome.components, found)
    for line in verdict_lines(found):
        if line not in (f"Verdict: {found.verdict}.", overview.next_step):  # which the summary says
            console.print(in_flags(line))
    console.print()
    console.print(in_flags(str(overview)))


def _em_line(em: "GaussianMixture") -> str:
    starts = em.starts_
    return (
        f"EM: log-likelihood {em.log_likelihood_:.2f} at its maximum, BIC {em.bic():.2f}; "
        f"reached by {starts.n_best_reached} of {starts.n_starts} starts"
    )


def _posterior_line(outcome: "Outcome") -> str:
    from bayesgmm.inference import sampler_name

    tree = outcome.bayes.posterior_
    sizes, attributes = tree["posterior"].sizes, tree.attrs
    return (
        f"{sampler_name(tree)}: {sizes['chain']} chains x {sizes['draw']:,} draws in "
        f"{attributes['sampling_time']:.1f} s; seed {attributes['seed']}"
    )


@contextmanager
def _plain_warnings(quiet: bool) -> Iterator[None]:
    """Print warnings as single lines on stderr, except those about convergence, which are printed with the fit."""

    def show(message: Warning | str, category: type[Warning], *_: object) -> None:
        if quiet or not issubclass(category, SamplingWarning):
            _complain("Warning", str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("once", UserWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _complain(kind: str, message: str) -> None:
    """Print a message as one line on stderr."""
    typer.echo(f"{kind}: {' '.join(message.split())}", err=True)


# ---- the entry point


def main(args: list[str] | None = None) -> NoReturn:
    """Run a command; errors of the user end in one line on stderr and exit status 2."""
    sys.exit(_status(args))


def _status(args: list[str] | None) -> int:
    command = typer.main.get_command(app)
    try:
        with ended_by_sigterm():
            status = command.main(args, prog_name="bayesgmm", standalone_mode=False)
    except _UsageError as error:
        message = cast(Any, error).format_message()
        if message:  # there is none where help was shown instead
            _complain("Error", message)
        return BAD_INPUT
    except InputError as error:
        _complain("Error", str(error))
        return BAD_INPUT
    except OSError as error:  # for example a full disk
        _complain("Error", f"{error}; nothing was written.")
        return BAD_INPUT
    except (DegenerateComponentError, SamplingError) as error:
        _complain("Error", in_flags(str(error)))
        return FAILED
    except Terminated:
        status = TERMINATED
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status in (INTERRUPTED, TERMINATED):
        _complain("Interrupted" if status == INTERRUPTED else "Terminated", "nothing was written.")
    return int(status or 0)
