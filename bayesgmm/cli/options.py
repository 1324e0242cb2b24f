"""Options shared by several commands of the command line."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from bayesgmm.exceptions import InputError

FIT, SAMPLER, OUTPUT = "Model", "Sampler", "Output"
_FLAGS = {"n_components": "components", "covariance_type": "covariance", "max_draws": "draws"}  # with another name
_ADVISED = re.compile(r"\b(max_draws|tune|target_accept|inference|init|effort|max_seconds)(=| to )['\"]?([\w.]+)['\"]?")
_CALLS = {"check_model(fit)": "--report", "select_components(X)": "bayesgmm select"}  # and the command that does it


def _flag(parameter: str) -> str:
    return f"--{_FLAGS.get(parameter, parameter).replace('_', '-')}"


def in_flags(advice: str) -> str:
    """Advice with options of the command line in the place of parameters.

    Examples
    --------
    >>> in_flags("Take more draws: max_draws=16000, tune=1000.")
    'Take more draws: --draws 16000, --tune 1000.'
    >>> in_flags("Is it a Gaussian mixture at all: check_model(fit); chains start in each mode: init='modes'.")
    'Is it a Gaussian mixture at all: --report; chains start in each mode: --init modes.'
    """
    for call, command in _CALLS.items():
        advice = advice.replace(call, command)
    return _ADVISED.sub(lambda found: f"{_flag(found[1])}{found[2].replace('=', ' ')}{found[3]}", advice)


def _named(
    table: str, package: str, text: str, *flags: str, metavar: str = "NAME", panel: str = FIT
) -> typer.models.OptionInfo:
    """An option of names in a table, in any case and with hyphens too; imported only if a name is given."""

    def keys(param: typer.CallbackParam, value: Any) -> Any:
        if not value or value == param.default:
            return value
        known = {key.lower(): key for key in getattr(import_module(f"bayesgmm.{package}"), table)}
        names = [value] if isinstance(value, str) else value
        unknown = [name for name in names if name.lower().replace("-", "_") not in known]
        if unknown:
            raise typer.BadParameter(f"{unknown[0]!r} is not one of {', '.join(known.values())}.")
        found = [known[name.lower().replace("-", "_")] for name in names]
        return found[0] if isinstance(value, str) else found

    return typer.Option(*flags, metavar=metavar, help=text, callback=keys, rich_help_panel=panel)


def _one_of(*names: str) -> Callable[[str], str]:
    """A callback that refuses other names."""

    def check(value: str) -> str:
        if value not in names:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(names)}.")
        return value

    return check


File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="CSV file with column names in its first line, Parquet or .npy file, or a pattern for several, in quotes.",
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--columns", "-c", metavar="A,B", help="Columns to use; all by default.", rich_help_panel=FIT),
]
Sizes = Annotated[
    str,
    typer.Option("--components", "-k", metavar="A:B", help="Numbers of clusters, 1:6 or 2,3,5.", rich_help_panel=FIT),
]
Family = Annotated[
    str,
    _named(
        "FAMILIES",
        "mixture",
        "full (VVV), tied (EEE), diag (VVI), spherical (VII), tied_diag (EEI), tied_spherical (EII), VEI, EVI, VEE, "
        "EVV or, with --em-only, EEV, VEV, EVE, VVE, by name or mclust's code; V or E for one column.",
        metavar="TYPE",
    ),
]
Families = Annotated[
    list[str] | None,
    _named(
        "FAMILIES",
        "mixture",
        "Once for each family, as in fit; by default all of them, or full if NUTS is needed.",
        "--covariance",
        "--covariance-type",
        metavar="TYPE",
    ),
]
Criteria = Annotated[
    list[str] | None,
    _named(
        "CRITERIA",
        "selection",
        "bic (the default), aic or icl by EM; evidence or loo by NUTS. Once for each; the first decides.",
        "--criterion",
    ),
]
Component = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        callback=_one_of("gaussian", "student_t"),
        help="Distribution of a component: gaussian or student_t, whose tails are heavier.",
        rich_help_panel=FIT,
    ),
]
Dof = Annotated[
    str,
    typer.Option(
        metavar="NU",
        help="Degrees of freedom of student_t: each (estimated for each component), shared, or a number.",
        rich_help_panel=FIT,
    ),
]
Noise = Annotated[
    bool,
    typer.Option("--noise", help="Rows may come from uniform noise on a box around them.", rich_help_panel=FIT),
]
NoiseVolume = Annotated[
    float | None,
    typer.Option("--noise-volume", metavar="V", help="Noise of this volume instead of the box's.", rich_help_panel=FIT),
]
Missing = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        callback=_one_of("error", "marginalize"),
        help="Missing values: error, or marginalize, which counts rows with what was observed of them.",
        rich_help_panel=FIT,
    ),
]
PriorName = Annotated[str, _named("PRIORS", "estimators", "weakly_informative or fraley_raftery, scaled by the data.")]
PriorIfAny = Annotated[
    str | None,
    _named(
        "PRIORS",
        "estimators",
        "weakly_informative or fraley_raftery; by default none for EM, the former for NUTS.",
    ),
]
Starts = Annotated[
    int | None,
    typer.Option(min=1, help="EM's starts for each model; by default until they agree.", rich_help_panel=FIT),
]
Jobs = Annotated[int | None, typer.Option(help="Threads that run starts.", rich_help_panel=FIT)]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the first line of a CSV file holds column names.",
        rich_help_panel=FIT,
    ),
]
Draws = Annotated[
    int | None,
    typer.Option(
        min=4,
        help="Draws kept per chain; by default 1,000, or up to 4,000 if that is too few.",
        rich_help_panel=SAMPLER,
    ),
]
Tune = Annotated[int, typer.Option(min=1, help="Draws of warm-up per chain.", rich_help_panel=SAMPLER)]
Chains = Annotated[int, typer.Option(min=1, help="Number of chains.", rich_help_panel=SAMPLER)]
Cores = Annotated[
    int | None,
    typer.Option(min=1, help="Chains that run in parallel; as many as possible by default.", rich_help_panel=SAMPLER),
]
TargetAccept = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=0.999,
        help="Acceptance rate, 0.8 by default; raise it towards 1 against divergences.",
        rich_help_panel=SAMPLER,
    ),
]
EMOnly = Annotated[
    bool,
    typer.Option("--em-only", help="No posterior: rows that stay on disk take minutes to hours.", rich_help_panel=FIT),
]
Engine = Annotated[
    str,
    _named(
        "ENGINES",
        "inference",
        "native (compiled log posterior) or pymc (PyMC model): the same posterior.",
        panel=SAMPLER,
    ),
]
Inference = Annotated[
    str,
    _named(
        "INFERENCES",
        "inference",
        "nuts; gibbs (Gibbs sampling), to check it; or laplace (Laplace approximation), of many rows a component.",
        panel=SAMPLER,
    ),
]
Init = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        callback=_one_of("spread", "modes", "best"),
        help="Where chains start: spread (after a search for modes), modes (EM's optima in turn) or best.",
        rich_help_panel=SAMPLER,
    ),
]
Effort = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        callback=_one_of("standard", "thorough"),
        help="How long optima and modes are looked for: standard or thorough.",
        rich_help_panel=FIT,
    ),
]
MaxSeconds = Annotated[
    float | None,
    typer.Option(
        min=1.0, help="End sampling after so many seconds, with the draws made so far.", rich_help_panel=SAMPLER
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0, max=2**32 - 1, help="The same seed gives the same draws; a new one by default.", rich_help_panel=SAMPLER
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder to write to; bayesgmm-NAME-output by default.", rich_help_panel=OUTPUT),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        help="Folder for finished pieces of long work: after it was killed, the same command goes on from there.",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace output of an earlier run.", rich_help_panel=OUTPUT)
]
Report = Annotated[
    bool,
    typer.Option("--report", help="Also write report.html, a page with all results.", rich_help_panel=OUTPUT),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Print the table even if components are not identified.", rich_help_panel=OUTPUT),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.", rich_help_panel=OUTPUT)
]
Progress = Annotated[bool, typer.Option(help="Show a progress bar in a terminal.", rich_help_panel=OUTPUT)]


def sizes_in(components: str) -> list[int]:
    """``1:6`` or ``2,3,5`` in numbers, ascending."""
    first, colon, last = components.partition(":")
    try:
        sizes = list(range(int(first), int(last) + 1)) if colon else [int(part) for part in components.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise InputError(expected="--components as A:B with 1 <= A <= B, or as numbers A,B,C", got=components)
    return sorted(set(sizes))


_SILENT = ("progress",)


class Provenance(NamedTuple):
    """Code that reads the rows, and the command that reproduces the output."""

    code: str
    command: str


def source_of_demo(settings: Mapping[str, Any]) -> Provenance:
    """Provenance of the rows of the demo."""
    again = {name: value for name, value in settings.items() if name != "n_components"}
    code = "from bayesgmm.datasets import load_old_faithful\n\nX = load_old_faithful()"
    return Provenance(code, command_line(["demo"], again))


def source_of_file(
    file: str, columns: Sequence[str], header: bool | None, *, settings: Mapping[str, Any]
) -> Provenance:
    """Provenance of the rows of a file."""
    names = [str(name) for name in columns]
    arguments = f"{file!r}, columns={names!r}" + ("" if header is None else f", header={header}")
    arguments += ", gaps=True" if settings.get("missing", "error") != "error" else ""
    code = f"from bayesgmm.io import read_or_open\n\nX = read_or_open({arguments})"
    chosen = [word for name in names for word in ("--columns", name)]
    heading = [] if header is None else ["--header" if header else "--no-header"]
    return Provenance(code, command_line(["fit", file, *chosen, *heading], settings))


def command_line(words: Sequence[str], settings: Mapping[str, Any]) -> str:
    """The command that repeats a job with these settings; defaults are omitted.

    Examples
    --------
    >>> command_line(["fit", "a file.csv"], {"n_components": 2, "draws": None, "seed": 1})
    "bayesgmm fit 'a file.csv' --components 2 --seed 1"
    """
    from bayesgmm.cli.job import JobSettings

    defaults = {field.name: field.default for field in fields(JobSettings)}
    given = {name: value for name, value in settings.items() if defaults[name] != value and name not in _SILENT}
    noise = given.pop("noise", False)
    of_noise = [] if noise is False else ["--noise"] if noise is True else ["--noise-volume", str(noise)]
    options = [part for name, value in given.items() for part in (_flag(name), str(value))]
    return shlex.join(["bayesgmm", *words, *options, *of_noise])
