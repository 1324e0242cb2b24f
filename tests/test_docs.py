"""Every Python block of README.md and docs/ runs, in order, one namespace a file, in an empty folder."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def python_blocks(text: str) -> list[tuple[int, str]]:
    """Line number and source of every fenced block that says it is Python."""
    found = re.finditer(r"^```python[^\n]*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)), match[1]) for match in found]


def run_page(text: str, name: str) -> None:
    """Run the blocks; those with prompts are compared with the output they show."""
    namespace: dict[str, object] = {"__name__": "__page__"}
    for line, source in python_blocks(text):
        if ">>>" in source:
            test = doctest.DocTestParser().get_doctest(source, {}, name, name, line)
            test.globs = namespace
            doctest.DebugRunner(optionflags=OPTIONS).run(test, clear_globs=False)
        else:
            code = compile("\n" * line + source, name, "exec")  # the newlines make tracebacks name the page's lines
            exec(code, namespace)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--seed-offset"):
        pytest.skip("pages print the numbers of one seed")
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.count("```python") == len(python_blocks(text)), "a block is indented or not closed"
    run_page(text, str(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_a_block_sees_the_names_of_those_before_it() -> None:
    run_page("```python\na = 1\n```\n\n```python\n>>> a + 1\n2\n```\n", "page")


def test_a_failing_block_is_found_with_its_line() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_page("text\n\n```python\n1 / 0\n```\n", "page")
    assert caught.traceback[-1].lineno + 1 == 4
    with pytest.raises(doctest.DocTestFailure):
        run_page("```python\n>>> 1 + 1\n3\n```\n", "page")
