"""The figure of a selection: every model at its place, the best one ringed, spikes hollow, hopeless ones outside."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from bayesgmm.exceptions import InputError
from bayesgmm.selection.criteria import Score
from bayesgmm.selection.selection import Candidate, Comparand, Selection, table_of


def pretend(values: dict[tuple[str, int], float], *, spikes=(), criterion="bic", se=np.nan) -> Selection:
    """A selection whose models have these values of one criterion."""
    models = {
        Candidate(*c): Comparand(
            log_likelihood=-value,
            n_parameters=c[1],
            scores={criterion: Score(value, se)},
            n_best_reached=1,
            n_starts=1,
            n_degenerate=0,
            degenerate=c in spikes,
            converged=True,
        )
        for c, value in values.items()
    }
    sound = {c: v for c, v in values.items() if c not in spikes}
    winner = (min if criterion == "bic" else max)(sound, key=sound.__getitem__)
    return Selection(table_of(models), criterion, Candidate(*winner), {}, (), models)


VALUES = {
    ("full", 1): 20.0,
    ("full", 2): 10.0,
    ("full", 3): 5.0,
    ("tied", 1): 18.0,
    ("tied", 2): 12.0,
    ("tied", 3): 14.0,
}


def by_gid(panel, gid: str) -> list:
    return [artist for artist in panel.get_children() if artist.get_gid() == gid]


def test_lines_ring_and_hollow_markers_are_where_the_table_says() -> None:
    figure = pretend(VALUES, spikes=[("full", 3)]).plot()
    panel = figure.axes[0]
    np.testing.assert_array_equal(by_gid(panel, "tied")[0].get_xydata(), [[1, 18], [2, 12], [3, 14]])
    np.testing.assert_array_equal(by_gid(panel, "best")[0].get_xydata(), [[2, 10]])
    assert not by_gid(panel, "best")[0].get_clip_on()  # whole at the edge, too
    np.testing.assert_array_equal(by_gid(panel, "degenerate full")[0].get_xydata(), [[3, 5]])
    assert panel.get_ylabel() == "BIC (lower is better)"
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["full", "tied", "best", "degenerate"]


def test_models_far_worse_are_outside_and_counted() -> None:
    values = VALUES | {("full", 4): 1000.0, ("tied", 4): 2000.0}
    panel = pretend(values).plot().axes[0]
    low, high = panel.get_ylim()
    assert low < 5.0
    assert 20.0 < high < 1000.0
    assert panel.get_title(loc="right").replace("\n", " ") == "2 of 8 models are worse than shown"
    assert pretend(VALUES).plot().axes[0].get_title(loc="right") == ""


def test_bars_are_of_the_difference_from_the_best() -> None:
    panel = pretend({("full", 1): -20.0, ("full", 2): -10.0}, criterion="evidence", se=0.3).plot().axes[0]
    (bars,) = [c for c in panel.collections if hasattr(c, "get_segments") and len(c.get_segments())]
    lengths = [np.ptp(segment[:, 1]) for segment in bars.get_segments() if len(segment)]
    np.testing.assert_allclose(np.array(lengths)[np.isfinite(lengths)], 2 * 2 * np.hypot(0.3, 0.3))


def test_an_axes_of_the_users() -> None:
    figure = Figure()
    ax = figure.add_subplot()
    assert pretend(VALUES).plot(ax=ax) is figure
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"full", "tied", "best"}
    with pytest.raises(InputError, match="one criterion with ax"):
        pretend(VALUES).plot(["bic", "bic"], ax=ax)
    with pytest.raises(InputError, match=r"a criterion of the table \(bic\)"):
        pretend(VALUES).plot("loo")
