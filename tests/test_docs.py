"""Every block of code or commands of README.md and docs/ runs, in order, one namespace a file, in an empty folder."""

import doctest
import inspect
import io
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from bayesgmm import exceptions
from bayesgmm.cli import main
from bayesgmm.diagnostics import messages, verdict
from bayesgmm.overview.messages import Step

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GALLERY = ROOT / "docs" / "gallery.md"  # Sphinx executes it too
FENCE = r"```(?:python|console|\{code-cell\})"
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def blocks(text: str) -> list[tuple[int, str]]:
    """Line number and source of every fenced block of Python or commands, those that Sphinx executes among them."""
    found = re.finditer(rf"^{FENCE}[^\n]*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)), match[1]) for match in found]


def run_commands(source: str) -> None:
    """Run each command after a prompt; what it prints is as shown, but for the digits, which depend on the machine."""
    for command, expected in re.findall(r"^\$ bayesgmm (.*)\n((?:[^$].*\n|\n)*)", source, flags=re.MULTILINE):
        with redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit, match=r"^0$"):
            main(shlex.split(command))
        shown, printed = (re.sub(r"\d", "0", told) for told in (expected, out.getvalue()))
        assert doctest.OutputChecker().check_output(shown, printed, OPTIONS), out.getvalue()


def run_page(text: str, name: str) -> None:
    """Run the blocks; those with prompts are compared with the output they show."""
    namespace: dict[str, object] = {"__name__": "__page__"}
    for line, source in blocks(text):
        if source.startswith("$ "):
            run_commands(source)
        elif ">>>" in source:
            test = doctest.DocTestParser().get_doctest(source, {}, name, name, line)
            test.globs = namespace
            doctest.DebugRunner(optionflags=OPTIONS).run(test, clear_globs=False)
        else:
            code = compile("\n" * line + source, name, "exec")  # the newlines make tracebacks name the page's lines
            exec(code, namespace)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow) if page == GALLERY else page for page in PAGES],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--seed-offset"):
        pytest.skip("pages print the numbers of one seed")
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(FENCE, text)) == len(blocks(text)), "a block is indented or not closed"
    run_page(text, str(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_notebook_has_a_card_with_a_figure_of_its_own() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    cards = re.findall(r":link: \.\./(notebooks/.*)\n.*\n:img-top: made/(.*)-(\d+)\.png", text)
    assert sorted(f"{link}.ipynb" for link, *_ in cards) == sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").glob("*.ipynb")
    )
    for link, stem, number in cards:
        assert link == f"notebooks/{stem}"
        assert (ROOT / f"{link}.ipynb").read_text(encoding="utf-8").count('"image/png":') > int(number), link


def test_a_block_sees_the_names_of_those_before_it() -> None:
    run_page("```python\na = 1\n```\n\n```python\n>>> a + 1\n2\n```\n", "page")


def test_a_failing_block_is_found_with_its_line() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_page("text\n\n```python\n1 / 0\n```\n", "page")
    assert caught.traceback[-1].lineno + 1 == 4
    with pytest.raises(doctest.DocTestFailure):
        run_page("```python\n>>> 1 + 1\n3\n```\n", "page")


def test_a_command_that_prints_something_else_is_found() -> None:
    run_commands("$ bayesgmm --version\nbayesgmm 9.9.9\n")
    with pytest.raises(AssertionError):
        run_commands("$ bayesgmm --version\nbayesgmm nine\n")


def sentences(told: object) -> Iterator[str]:
    """The texts in nested tables and tuples, up to a value that is filled in."""
    if isinstance(told, str):
        yield re.sub(r": [^:]*\{.*", "", told)
    else:
        for part in told.values() if isinstance(told, Mapping) else told if isinstance(told, Iterable) else ():
            yield from sentences(part)


def test_every_next_step_verdict_warning_and_error_has_a_page() -> None:
    rows = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8").splitlines()
    explained = {
        row.split(" | ")[0].removeprefix("| ").strip("`") for row in rows if re.search(r"\]\([a-z_/]+\.md", row)
    }
    steps = [table for name, table in vars(messages).items() if name.endswith("STEPS") or name == "OTHER_SAMPLER"]
    verdicts = [told for name, told in vars(verdict).items() if name.isupper() and isinstance(told, str)]
    classes = [
        name
        for name, kind in vars(exceptions).items()
        if inspect.isclass(kind) and issubclass(kind, Exception) and not name.startswith("_")
    ]
    needed = [*sentences(steps), *sentences(list(Step)), *verdicts, *classes]
    assert len(needed) > 40
    assert sorted(set(needed) - explained) == []
