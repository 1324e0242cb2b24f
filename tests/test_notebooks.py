"""Notebooks: the committed .ipynb is the executed form of the .py beside it; .ci/run executes the .py itself."""

from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
ONE_MEGABYTE = 1_000_000


def sources(path: Path) -> list[tuple[str, str]]:
    """Kind and source of each cell."""
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


def test_every_notebook_has_both_forms() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {path.stem for path in FOLDER.glob("*.ipynb")}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_is_executed_whole_and_small(path: Path) -> None:
    assert sources(path) == sources(path.with_suffix(".py"))
    assert path.stat().st_size < ONE_MEGABYTE
    code = [cell for cell in jupytext.read(path).cells if cell.cell_type == "code" and cell.source.strip()]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert "/ipykernel_" not in path.read_text(encoding="utf-8"), "a warning that nobody meant to show, with a path"
    written = [output.text for cell in code for output in cell.outputs if output.get("name") == "stderr"]
    assert not any("Warning: " in text for text in written), "a warning that nobody explains, with a path"
    assert any("assert" in cell.source for cell in code)
