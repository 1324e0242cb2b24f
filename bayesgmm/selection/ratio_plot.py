"""Figure of bootstrap likelihood ratio tests: the replicates' statistics, and that of the data."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from bayesgmm._common import Array, shown
from bayesgmm.plots import ClusterFigure
from bayesgmm.style import EM, GREY, context

_IN_A_ROW, _WIDTH, _HEIGHT = 3, 2.7, 2.5  # panels, and inches of one


def draw_ratios(tests: Sequence[tuple[int, float, float, Array]]) -> Figure:
    """A histogram for each (K, statistic, p-value, statistics of replicates); infinite ones are not in it."""
    n_columns = min(_IN_A_ROW, len(tests))
    n_rows = -(-len(tests) // n_columns)
    with context():
        figure: Figure = ClusterFigure(figsize=(_WIDTH * n_columns + 0.6, _HEIGHT * n_rows + 0.3), layout="constrained")
        panels = figure.subplots(n_rows, n_columns, squeeze=False)
        for panel in panels.flat[len(tests) :]:
            panel.set_axis_off()
        for panel, (k, statistic, p, replicates) in zip(panels.flat, tests, strict=False):
            panel.hist(replicates[np.isfinite(replicates)], bins="auto", color=GREY)
            panel.axvline(statistic, color=EM, linewidth=1.5, gid="data")
            panel.set_title(f"K = {k} against {k + 1}: p = {shown(p, 'probability')}", fontsize=9)
            panel.spines[["top", "right"]].set_visible(False)
        for panel in panels[:, 0]:
            panel.set_ylabel("replicates")
        figure.supxlabel("likelihood ratio statistic (line: the data)", fontsize=9)
    return figure
