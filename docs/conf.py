"""The site: docs/, notebooks/ and the docstrings. Sphinx's source folder is the root, so that links work on GitHub too.

Build it: uv run --group docs sphinx-build -W -c docs . docs/_build
"""

import base64
import json
import shutil
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

project = "bayesgmm"
author = "the bayesgmm developers"
copyright = "2026, the bayesgmm developers"  # noqa: A001  Sphinx's name
version = release = version_of("bayesgmm")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
]
root_doc = "docs/index"
include_patterns = ["docs/**.md", "docs/**.rst", "notebooks/*.ipynb", "benchmarks/README.md", "CHANGELOG.md"]
exclude_patterns = ["docs/_*"]
templates_path = [str(Path(__file__).parent / "_templates")]
default_role = "autolink"
nitpicky = True
# Modules named in docstrings are read in the source; other projects' pages cannot be reached when this is built.
nitpick_ignore_regex = [("py:.*", r"(bayesgmm\.[a-z_]+|sklearn|arviz|json|numpy)\..*")]

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # CI executes the notebooks, and the site shows what is committed; some pages say "force"
nb_execution_in_temp = True
nb_execution_timeout = 1200  # pages may compile every family

autosummary_generate = True
toc_object_entries_show_parents = "hide"  # the side bar is narrow
autodoc_typehints = "none"  # shapes and meanings stand in the docstrings
numpydoc_show_class_members = False
numpydoc_attributes_as_param_list = True
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "bayesgmm"
html_extra_path = ["_extra"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False, "show_toc_level": 2}


def write_figures_of_notebooks(_app: Any) -> None:
    """Write docs/made/NOTEBOOK-NUMBER.png, the figures of the committed notebooks, for the cards of the first page."""
    made = ROOT / "docs" / "made"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
        for number, figure in enumerate(found["image/png"] for found in data if "image/png" in found):
            (made / f"{path.stem}-{number}.png").write_bytes(base64.b64decode(figure))


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", write_figures_of_notebooks)
