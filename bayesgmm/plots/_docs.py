"""Docstring parts shared by the plot functions, and the decorator that inserts them."""

import re
from collections.abc import Callable
from textwrap import indent
from typing import Any

DESCRIPTIONS = {
    "posterior": """\
posterior : BayesianGaussianMixture, DataTree, Dataset, or mapping of arrays
    Draws from this package, PyMC, NumPyro or Stan; see `bayesgmm.posterior.mixture_posterior`.""",
    "X": """\
X : (obs, feature), optional
    The rows; by default those stored with a fit of this package.""",
    "names": """\
names : mapping, optional
    Names of the posterior's variables, for example ``{"weights": "w", "means": "mu", "sds": "sigma"}``.""",
    "features": """\
features : one or two names or positions, or "discriminant", optional
    By default both of two; of more, those that separate the components best, by the mutual information of the component
    and each feature. "discriminant": the two linear combinations of all features in which components differ most
    (Scrucca 2010). The title says what is not shown.""",
    "num_samples": """\
num_samples : int
    Number of draws used, evenly spaced within chains.""",
    "n_draws": """\
n_draws : int
    Number of posterior draws shown as ellipses.""",
    "mass": """\
mass : float
    Probability content of each ellipse, between 0 and 1.""",
    "ci_prob, ci_kind": """\
ci_prob, ci_kind : float, {"eti", "hdi"}, optional
    Credible intervals; by default ArviZ's rcParams ``stats.ci_prob`` (0.89) and ``stats.ci_kind`` (equal-tailed).""",
    "force": """\
force : bool
    Draw components even if they are not identified.""",
    "ax": """\
ax : matplotlib axes, optional
    Axes to draw on; by default those of a new figure.""",
    "plot_collection": """\
plot_collection : PlotCollection, optional
    ArviZ's collection to draw on, for example the result of another plot function.""",
    "backend": """\
backend : {"matplotlib", "plotly"}, optional
    By default ArviZ's rcParams ``plot.backend``.""",
    "visuals": """\
visuals : mapping of str to mapping or bool, optional
    Keyword arguments of each visual, or False to omit it.""",
    "pc_kwargs": """\
**pc_kwargs
    Passed to `PlotCollection`, such as ``figure_kwargs``.""",
    "returns": """\
Returns
-------
PlotCollection""",
}


def documented[F: Callable[..., Any]](function: F) -> F:
    """Replace lines of names ``{ax} {backend}`` in a docstring by their descriptions."""

    def descriptions(line: re.Match[str]) -> str:
        names = re.findall(r"\{(.+?)\}", line["names"])
        return indent("\n".join(DESCRIPTIONS[name] for name in names), line["margin"])

    doc = function.__doc__ or ""
    function.__doc__ = re.sub(r"^(?P<margin> *)(?P<names>(\{[a-zA-Z][\w, ]*\} ?)+)$", descriptions, doc, flags=re.M)
    return function
