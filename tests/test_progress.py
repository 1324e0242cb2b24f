"""Progress: silent where nobody watches, a bar in a notebook without further packages, gone at the end."""

import subprocess
import sys

import nbformat
from nbclient import NotebookClient

from bayesgmm.surface.progress import progress_bar

CELL = """
import warnings
warnings.simplefilter("error")
from bayesgmm.surface import progress
with progress.progress_bar("Working <b>", show=True) as move:
    move(1, 4)
print(move is not None)
"""


def test_nothing_is_shown_unless_asked_or_where_nobody_watches() -> None:
    with progress_bar("Working", show=False) as move:
        assert move is None
    code = "from bayesgmm.surface.progress import progress_bar\nwith progress_bar('W', show=True) as m: print(m)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("None\n", "")


def test_a_notebook_shows_a_bar_that_goes_away() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    seen = []
    client = NotebookClient(notebook, kernel_name="python3", timeout=120)
    update = client.process_message

    def watch(message, cell, index):
        seen.append(message.get("content", {}).get("data", {}).get("text/html"))
        return update(message, cell, index)

    client.process_message = watch
    client.execute()
    assert 'Working &lt;b&gt; <progress value="1" max="4"></progress> 1/4' in seen
    shown, printed = notebook.cells[0].outputs
    assert shown["data"] == {"text/plain": "", "text/html": ""}
    assert printed["text"] == "True\n"
