"""Components merged by entropy: equal to the formula, whatever the labels, and six become four as published."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from em_cases import SHARED, shared_data
from pretend_posterior import em_fit, pretend_posterior
from reference import load_data
from scipy.cluster.hierarchy import dendrogram, is_valid_linkage
from scipy.special import xlogy
from sklearn.metrics import adjusted_rand_score

from bayesgmm import GaussianMixture, Mixture, merge_components
from bayesgmm.exceptions import InputError
from bayesgmm.selection.entropy import elbow_of

FAITHFUL = load_data("faithful")


def random_responsibilities(rng, n: int = 60, k: int = 6) -> np.ndarray:
    return rng.dirichlet(np.full(k, 0.3), size=n)


def plain_entropy(resp, weights) -> float:
    return -float((weights[:, None] * xlogy(resp, resp)).sum())


def plain_merging(resp, weights) -> tuple[list[float], list[set[frozenset[int]]]]:
    """Entropies and partitions of components with K, K - 1, ... clusters, every pair tried in full."""
    groups = [frozenset({k}) for k in range(resp.shape[1])]
    entropies, partitions = [plain_entropy(resp, weights)], [set(groups)]
    while len(groups) > 1:
        tried = []
        for a, b in combinations(groups, 2):
            merged = [group for group in groups if group not in (a, b)] + [a | b]
            columns = np.stack([resp[:, sorted(group)].sum(axis=1) for group in merged], axis=1)
            tried.append((plain_entropy(columns, weights), merged))
        entropy, groups = min(tried, key=lambda each: each[0])
        entropies.append(entropy)
        partitions.append(set(groups))
    return entropies, partitions


def plain_elbow(entropies) -> int:
    """mclust's rule, by NumPy's polynomials: two lines that share a point."""
    x, found = np.arange(1, len(entropies) + 1), {}
    for c in range(2, len(entropies)):
        parts = [(x[:c], entropies[:c]), (x[c - 1 :], entropies[c - 1 :])]
        found[c] = sum(((y - np.polyval(np.polyfit(a, y, 1), a)) ** 2).sum() for a, y in parts)
    return min(found, key=found.__getitem__)


@pytest.mark.parametrize("seed", range(3))
def test_entropies_and_tree_are_those_of_the_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    resp, weights = random_responsibilities(rng), rng.integers(1, 4, 60).astype(float)
    merging = merge_components(resp, sample_weight=weights)
    entropies, partitions = plain_merging(resp, weights)
    np.testing.assert_allclose(merging.entropies, entropies[::-1], atol=1e-9)
    for n, partition in zip(range(6, 0, -1), partitions, strict=True):
        assert {frozenset(group) for group in merging.groups(n)} == partition
    assert merging.n_clusters == plain_elbow(entropies[::-1])
    np.testing.assert_allclose(merging.table["fall"], -np.diff(entropies), atol=1e-9)
    np.testing.assert_allclose(merging.table["entropy"], entropies[1:], atol=1e-9)
    repeated = merge_components(np.repeat(resp, weights.astype(int), axis=0))
    np.testing.assert_allclose(repeated.entropies, merging.entropies, atol=1e-9)
    np.testing.assert_array_equal(repeated.table["n_rows"], merging.table["n_rows"])


@pytest.mark.parametrize("seed", range(5))
def test_the_elbow_is_that_of_two_lines(seed: int) -> None:
    entropies = np.random.default_rng(seed).exponential(20.0, 8).cumsum()
    assert elbow_of(entropies, 8) == plain_elbow(entropies)
    assert elbow_of(np.maximum(0.0, 10.0 * (np.arange(1.0, 9.0) - 5.0)), 8) == 5


def overlapping() -> np.ndarray:
    """Components 0 and 3 share 40 rows, 1 and 2 share 20, and 4 has 30 of its own."""
    return np.repeat([[0.5, 0, 0, 0.5, 0], [0, 0.5, 0.5, 0, 0], [0, 0, 0, 0, 1.0]], [40, 20, 30], axis=0)


def test_a_tree_that_can_be_computed_by_hand() -> None:
    merging = merge_components(overlapping())
    bit = np.log(2.0)
    np.testing.assert_allclose(merging.entropies, [0, 0, 0, 20 * bit, 60 * bit], atol=1e-12)
    assert merging.tree[:2] == (((0,), (3,), pytest.approx(40 * bit)), ((1,), (2,), pytest.approx(20 * bit)))
    assert merging.n_clusters == 3
    assert merging.groups() == ((0, 3), (1, 2), (4,))
    np.testing.assert_array_equal(merging.labels(), np.repeat([0, 1, 2], [40, 20, 30]))
    np.testing.assert_array_equal(merging.responsibilities(), np.eye(3)[merging.labels()])
    np.testing.assert_array_equal(merging.responsibilities(5), overlapping())
    assert merging.groups(1) == ((0, 1, 2, 3, 4),)
    assert list(merging.table["n_rows"][:2]) == [40.0, 20.0]
    assert str(merging) == (
        "Merging pairs by entropy, 5 components make 3 clusters at the elbow: 0 + 3, 1 + 2 and 4. "
        "The entropy falls from 41.6 to 0.0 nats."
    )
    assert "Merging pairs by entropy" in merging._repr_html_()


def test_the_linkage_is_scipys() -> None:
    merging = merge_components(overlapping())
    assert is_valid_linkage(merging.linkage)
    leaves = dendrogram(merging.linkage, no_plot=True)["ivl"]
    assert sorted(leaves) == list("01234")
    assert abs(leaves.index("0") - leaves.index("3")) == 1
    assert merge_components(np.ones((5, 1))).linkage.shape == (0, 4)


def test_components_that_do_not_overlap_are_all_kept() -> None:
    merging = merge_components(np.eye(4)[np.arange(40) % 4])
    assert merging.n_clusters == 4
    assert str(merging) == "The components do not overlap (entropy 0.0 nats): each is a cluster."
    single = merge_components(np.ones((5, 1)))
    assert (single.n_clusters, len(single.table)) == (1, 0)
    assert single.plot_entropy().axes


def test_three_points_have_no_elbow() -> None:
    merging = merge_components(np.full((10, 3), 1 / 3))
    assert merging.n_clusters is None
    assert "no elbow among fewer than four" in str(merging)
    with pytest.raises(InputError, match=r"no elbow among fewer than four.*from 1 to 3"):
        merging.labels()
    assert set(merging.labels(2)) <= {0, 1}
    with pytest.raises(InputError, match="n_clusters an integer, at least 1, at most 3"):
        merging.labels(4)


def test_components_without_rows_are_merged_first_and_make_no_elbow() -> None:
    few = np.c_[0.99 * overlapping(), np.full((90, 2), 0.005)]
    merging, without = merge_components(few), merge_components(overlapping())
    assert merging.n_occupied == 5
    assert all({5, 6} & {*merge.first, *merge.second} for merge in merging.tree[:2])
    assert merging.n_clusters == without.n_clusters == 3
    assert "want of rows: 2 components" in str(merging)


def test_six_components_become_four_clusters_as_published() -> None:
    X = shared_data("baudry_ex4_1")
    reference = json.loads((SHARED / "reference" / "mclust14" / "baudry_ex4_1.json").read_text())
    assert (reference["best_by_bic"]["model"], reference["best_by_bic"]["G"]) == ("EEV", 6)
    fit = next(fit for fit in reference["fits"] if (fit["model"], fit["G"]) == ("EEV", 6))
    four = reference["best_by_icl"]["classification"]
    eev = Mixture(**{name: fit["parameters"][name] for name in ("weights", "means", "covariances")})
    of_mclust = merge_components(eev.responsibilities(X))
    assert of_mclust.entropies[-1] == pytest.approx(fit["entropy_nats"], rel=1e-3)
    ours = merge_components(GaussianMixture(6, random_state=0).fit(X), X)
    for merging in (of_mclust, ours):
        assert merging.n_clusters == 4
        assert sorted(map(len, merging.groups())) == [1, 1, 2, 2]
        assert adjusted_rand_score(merging.labels(), four) > 0.98


def test_a_fit_by_em_gives_its_responsibilities() -> None:
    fit = GaussianMixture(4, random_state=0).fit(FAITHFUL)
    np.testing.assert_array_equal(merge_components(fit, FAITHFUL).memberships, fit.predict_proba(FAITHFUL))
    frame = pd.DataFrame(fit.predict_proba(FAITHFUL))
    np.testing.assert_array_equal(merge_components(frame).entropies, merge_components(fit, FAITHFUL).entropies)
    with pytest.raises(InputError, match=r"the rows X.*does not keep them"):
        merge_components(fit)


def test_numbers_by_draw_do_not_depend_on_labels() -> None:
    frame = pd.DataFrame(FAITHFUL[::3], columns=["a", "b"])
    tree = pretend_posterior(frame, em_fit(frame, 5))
    drawn = {name: tree["posterior"][name].to_numpy().copy() for name in ("weights", "means", "covariances")}
    found = merge_components(tree)
    assert len(found.n_clusters_by_draw) == 80
    draws = [{name: values[c, s] for name, values in drawn.items()} for c in range(2) for s in range(40)]
    resp = [Mixture(**draw).responsibilities(frame.to_numpy()) for draw in draws]
    assert found.n_clusters_by_draw.tolist() == [merge_components(each).n_clusters or 0 for each in resp]
    np.testing.assert_allclose(found.memberships, np.mean(resp, axis=0), atol=1e-9)
    order = np.random.default_rng(0).permuted(np.tile(np.arange(5), (2, 40, 1)), axis=2)
    c, s = np.ogrid[:2, :40]
    switched = {name: values[c[..., None], s[..., None], order] for name, values in drawn.items()}
    again = merge_components(switched, frame.to_numpy())
    np.testing.assert_array_equal(again.n_clusters_by_draw, found.n_clusters_by_draw)
    assert "The number of clusters by draw (80 draws, whatever their labels): " in str(again)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ([[0.5, 0.4]], "sums from 0.9 to 0.9"),
        ([[1.5, -0.5]], "values from -0.5"),
        ([0.5, 0.5], r"axes \(obs, component\).*shape \(2,\)"),
        ([[np.nan, 1.0]], "missing"),
        (np.empty((0, 2)), "shape"),
    ],
)
def test_what_is_no_probability_is_refused(bad, told: str) -> None:
    with pytest.raises(InputError, match=told):
        merge_components(bad)


def by_gid(panel, gid: str) -> list:
    return [artist for artist in panel.get_children() if artist.get_gid() == gid]


def test_the_figure_shows_entropies_and_elbow() -> None:
    merging = merge_components(overlapping())
    clusters, rows = merging.plot_entropy().axes
    np.testing.assert_array_equal(by_gid(clusters, "entropy")[0].get_xydata()[:, 0], [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(by_gid(clusters, "entropy")[0].get_ydata(), merging.entropies)
    np.testing.assert_array_equal(by_gid(clusters, "elbow")[0].get_xydata(), [[3, merging.entropies[2]]])
    assert by_gid(clusters, "line")[1].get_xdata().tolist() == [3, 4, 5]
    merged = merging.table["n_rows"].to_numpy()[::-1]
    np.testing.assert_array_equal(by_gid(rows, "entropy")[0].get_xdata(), [0, *merged.cumsum()])
    assert [text.get_text() for text in rows.texts] == list("12345")
    assert merging.plot_entropy("rows", ax=clusters) is clusters.figure
    for against, ax in (("nonsense", None), ([], None), (("clusters", "rows"), clusters)):
        with pytest.raises(InputError, match="against one of clusters, rows"):
            merging.plot_entropy(against, ax=ax)
