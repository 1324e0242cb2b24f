"""Execute every notebook (notebooks/*.py, jupytext) in a temporary folder; `--write` refreshes the .ipynb too."""

import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
SECONDS_A_CELL = 1200


def execute(source: Path, folder: Path) -> Path:
    """Run one notebook from top to bottom; a cell that raises ends the program."""
    notebook = jupytext.read(source)
    NotebookClient(
        notebook, timeout=SECONDS_A_CELL, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    target = folder / source.with_suffix(".ipynb").name
    nbformat.write(notebook, target)
    return target


def main() -> None:
    """Execute them all and say how long each took."""
    for source in sorted(NOTEBOOKS.glob("*.py")):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            executed = execute(source, Path(folder))
            if "--write" in sys.argv[1:]:
                source.with_suffix(".ipynb").write_bytes(executed.read_bytes())
        print(f"{source.name}: executed in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
