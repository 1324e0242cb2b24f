"""ArviZ's rank and trace plots, on the right quantities."""

import re

import numpy as np
import pytest
from arviz_plots import PlotCollection
from pretend_posterior import em_fit, pretend_posterior

from bayesgmm import plot_mixing
from bayesgmm.datasets import load_old_faithful
from bayesgmm.diagnostics.label_invariants import invariants
from bayesgmm.exceptions import InputError, NotIdentifiedError

FAITHFUL = load_old_faithful()


@pytest.fixture(scope="module")
def faithful():
    return pretend_posterior(FAITHFUL, em_fit(FAITHFUL, 2))


def switched(tree):
    draws = {name: tree["posterior"][name].to_numpy().copy() for name in ("weights", "means", "covariances")}
    for values in draws.values():
        values[:, ::2] = values[:, ::2, ::-1]
    return draws


def test_traces_of_invariants_are_those_of_every_chain(faithful) -> None:
    pc = plot_mixing(faithful, kind="trace")
    assert set(pc.viz["plot"].data_vars) == {"log_likelihood", "log_density", "weight", "entropy"}
    found = invariants(faithful)["log_likelihood"].to_numpy()
    for chain in range(2):
        line = pc.viz["trace"]["log_likelihood"].sel(chain=chain).item()
        np.testing.assert_allclose(line.get_ydata(), found[chain])


def test_relabelled_traces_undo_switches(faithful) -> None:
    pc = plot_mixing(switched(faithful), FAITHFUL, kind="trace", quantities="relabelled")
    assert set(pc.viz["plot"].data_vars) == {"weight", "mean", "sd"}
    line = pc.viz["trace"]["sd"].sel(chain=1, cluster=0, feature="x1").item()
    expected = np.sqrt(faithful["posterior"]["covariances"].to_numpy()[1, :, 0, 1, 1])
    np.testing.assert_allclose(line.get_ydata(), expected)


def test_ranks_are_drawn_for_the_variables_asked_for(faithful) -> None:
    pc = plot_mixing(switched(faithful), FAITHFUL, var_names=["entropy"])
    assert list(pc.viz["plot"].data_vars) == ["entropy"]
    lines = pc.viz["ecdf_lines"]["entropy"]
    assert lines.sizes == {"chain": 2}
    assert all(len(line.item().get_xdata()) == 40 for line in lines)


def test_panels_are_named_in_words_with_their_p_values_and_chains_have_a_legend(faithful) -> None:
    pc = plot_mixing(faithful)
    figure = pc.viz["figure"].item()
    panels = [panel for panel in figure.axes if panel.axison]
    titles = [panel.get_title().partition("\n") for panel in panels]
    names = [name for name, _, _ in titles]
    assert names[0] == "log-likelihood"
    assert names[1].startswith("log density, row ")
    assert names[-3:] == ["weight, rank 0 by size", "weight, rank 1 by size", "entropy of labels"]
    assert all(re.fullmatch(r"p [=<] [\d.]+", p.strip()) for _, _, p in titles)
    assert not any(panel.texts for panel in panels)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0", "1"]
    assert "rank among the draws" in figure.get_supxlabel()


def test_of_many_quantities_those_are_shown_whose_chains_differ_most() -> None:
    tree = pretend_posterior(FAITHFUL, em_fit(FAITHFUL, 2), draws=30)
    arrays = {name: tree["posterior"][name].to_numpy().copy() for name in ("weights", "means", "covariances")}
    arrays["means"] = np.repeat(arrays["means"], 3, axis=-1)
    arrays["covariances"] = np.kron(arrays["covariances"], np.eye(3))
    arrays["means"][1, :, 1, 4] += 2.0  # one chain is elsewhere
    X = np.repeat(FAITHFUL.to_numpy(), 3, axis=1)
    pc = plot_mixing(arrays, X, kind="trace", quantities="relabelled", force=True)
    names = list(pc.viz["plot"].data_vars)
    assert len(names) == 12
    assert names[0] == "mean of x4, cluster 1"
    assert pc.viz["figure"].item().get_suptitle() == "12 of 26 quantities, those with the largest R-hat"


def test_quantities_are_named_as_in_arviz(faithful) -> None:
    without = plot_mixing(faithful, kind="trace", var_names=["~log_density", "~weight", "~count"])
    assert {"log_likelihood", "entropy"} <= set(without.viz["plot"].data_vars)
    assert not {"log_density", "weight"} & set(without.viz["plot"].data_vars)
    like = plot_mixing(faithful, kind="trace", var_names="log", filter_vars="like")
    assert set(like.viz["plot"].data_vars) == {"log_likelihood", "log_density"}
    one = plot_mixing(faithful, kind="trace", var_names="weight", coords={"rank": [1]})
    assert one.viz["plot"]["weight"].sizes == {"rank": 1}


def test_a_single_chain_has_traces_and_no_ranks_to_compare(faithful) -> None:
    single = {key: faithful["posterior"][key].to_numpy()[:1] for key in ("weights", "means", "covariances")}
    with pytest.raises(InputError, match="two chains or more"):
        plot_mixing(single, FAITHFUL)
    assert plot_mixing(single, FAITHFUL, kind="trace", var_names="entropy").viz["trace"]["entropy"].sizes["chain"] == 1


def test_divergences_are_marked(faithful) -> None:
    tree = faithful.copy()
    tree["sample_stats"]["diverging"][0, 3] = True
    pc = plot_mixing(tree, kind="trace", var_names="entropy")
    tree["sample_stats"]["diverging"][0, 3] = False
    assert "divergence" in pc.viz.children


def test_settings_reach_arviz(faithful) -> None:
    first = plot_mixing(faithful, kind="trace", var_names=["entropy"], visuals={"xlabel": False})
    assert isinstance(first, PlotCollection)
    assert "xlabel" not in first.viz.children
    again = plot_mixing(faithful, kind="trace", var_names=["entropy"], plot_collection=first)
    assert again is first


def test_components_that_cannot_be_told_apart_are_refused_unless_forced() -> None:
    rng = np.random.default_rng(0)
    draws = {"weights": np.full((2, 40, 2), 0.5), "means": 0.3 * rng.normal(size=(2, 40, 2)), "sd": np.ones((2, 40))}
    settings = {"X": rng.normal(size=(60, 1)), "names": {"sds": "sd"}, "kind": "trace", "quantities": "relabelled"}
    with pytest.raises(NotIdentifiedError):
        plot_mixing(draws, **settings)
    assert plot_mixing(draws, **settings, force=True)
    assert plot_mixing(draws, **{**settings, "quantities": "invariant"})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"kind": "forest"}, "kind one of"),
        ({"quantities": "all"}, "quantities one of"),
        ({"backend": "gnuplot"}, "backend among matplotlib, plotly, bokeh"),
    ],
)
def test_wrong_requests_are_refused(faithful, settings, expected) -> None:
    with pytest.raises(InputError, match=expected):
        plot_mixing(faithful, **settings)
