"""Execute every notebook (notebooks/*.py, jupytext) in a temporary folder; `--write` refreshes the .ipynb too."""

import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
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


def finish(source: Path) -> str:
    """Execute one, refresh its .ipynb if asked to, and say how long it took."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        executed = execute(source, Path(folder))
        if "--write" in sys.argv[1:]:
            source.with_suffix(".ipynb").write_bytes(executed.read_bytes())
    return f"{source.name}: executed in {time.perf_counter() - start:.0f} s"


def main() -> None:
    """Execute them all, two at a time: much of each is one thread."""
    with ProcessPoolExecutor(2) as pool:
        for line in pool.map(finish, sorted(NOTEBOOKS.glob("*.py"))):
            print(line, flush=True)


if __name__ == "__main__":
    main()
