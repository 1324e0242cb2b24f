"""Documentation of the plot functions: complete, however much of it is shared."""

import inspect
import re

import pytest

import bayesgmm
from bayesgmm.plots._docs import DESCRIPTIONS, documented

FUNCTIONS = [getattr(bayesgmm, name) for name in bayesgmm.__all__ if name.startswith("plot_")]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_every_parameter_is_documented_in_order(function) -> None:
    section = inspect.getdoc(function).partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    heads = re.findall(r"^(\S.*?)(?: : .*)?$", section, flags=re.MULTILINE)
    assert ", ".join(heads).replace("*", "").split(", ") == list(inspect.signature(function).parameters)


def test_a_description_has_the_indentation_of_its_line() -> None:
    def plot() -> None:
        """Plot.

        {force}
            Or not.
        """

    assert inspect.getdoc(documented(plot)) == f"Plot.\n\n{DESCRIPTIONS['force']}\n    Or not."


def test_an_unknown_description_is_an_error() -> None:
    def plot() -> None:
        """
        {foce}
        """

    with pytest.raises(KeyError, match="foce"):
        documented(plot)
