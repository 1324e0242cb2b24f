"""Whole reports of constructed situations say nothing that contradicts what they say elsewhere."""

import json
import re
import warnings
from collections.abc import Callable
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayesgmm import BayesianGaussianMixture, GaussianMixture, Prior
from bayesgmm.datasets import load_old_faithful
from bayesgmm.overview.messages import VERDICTS
from bayesgmm.report import check_sections, em_sections, figures, head, posterior_sections

ROWS = load_old_faithful()[::4]
VERDICT = re.compile("Verdict: (" + "|".join(sorted(VERDICTS, key=len, reverse=True)) + ")")
SETTINGS = {"draws": 200, "tune": 200, "init": "best", "n_init": 2, "random_state": 1, "progress": False}

# ---- what a report claims


def contradictions(text: str) -> list[str]:
    """Pairs of claims in a report of which one must be wrong."""
    plain = unescape(re.sub(r"<(style|svg|pre).*?</\1>", " ", text, flags=re.DOTALL))
    plain = " ".join(re.sub(r"<[^>]+>", " ", plain).split())
    verdicts = set(VERDICT.findall(plain))
    unidentified = "not identified" in plain
    found = [] if len(verdicts) == 1 else [f"verdicts {sorted(verdicts)}"]
    verdict = min(verdicts)
    several = verdict.startswith("several")
    usable = verdict in ("converged", "converged, labels switched", "several modes, weighed")
    rules = {
        "identified or not": unidentified and "components are identified" in plain,
        "a table of components": unidentified and "mean of " in plain,
        "a single partition": unidentified != ("by the best single partition" in plain),
        "several modes as a reason": "'several modes'" in plain and not several,
        "not mixed as a reason": "'not mixed'" in plain and verdict != "not mixed",
        "not identified as a reason": "'not identified'" in plain and not unidentified,
        "usable numbers": "these numbers can be used" in plain and verdict != "converged",
        "provisional numbers": "are provisional" in plain and verdict in ("converged", "several modes, weighed"),
        "check convergence": ("Check the convergence first" in plain) == usable and "Comparison" in plain,
        "groups of chains": "groups that do not mix" in plain and verdict in ("converged", "not mixed"),
        "one optimum or several": "no other optimum" in plain and "different optima" in plain,
        "starts": "Only one start of EM" in plain and "Several starts of EM" in plain,
        "partitions": "into the same clusters" in plain and "two partitions differ" in plain,
        "shape": "nothing speaks against" in plain.lower() and "not Gaussian" in plain,
        "shape not checked": "not checked for being Gaussian" in plain and "(p = " in plain,
    }
    found += [name for name, broken in rules.items() if broken]
    for name, pattern in {
        "rows without a clear cluster": r"(?:clear cluster:|below 0.9 for) (\d+)(?: rows?)? of",
        "the verdict on the posterior": r"(?:Verdict:|the verdict on the posterior is ') ?([a-z, ]+?)(?:'|\.)",
        "p-values": r"mixture(?: with \d+ components?)? \(p = ([\d.]+)",
    }.items():
        if len(set(re.findall(pattern, plain))) > 1:
            found.append(name)
    clusters = re.search(r"has (\d+) clusters? in", plain)
    partition = re.search(r"variation of information(?: \([^)]*\))? has (\d+) clusters?", plain)
    if unidentified and clusters and partition and clusters[1] != partition[1]:
        found.append("numbers of clusters")
    return found


# ---- situations


@pytest.fixture(autouse=True)
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures claim nothing in words, and take most of the time of a report."""
    for module in (figures, head, em_sections, check_sections):
        monkeypatch.setattr(module, "svg_of", lambda *_: "<svg></svg>")
    for name in ("plot_clusters", "plot_mixing", "plot_similarity", "plot_density"):
        monkeypatch.setattr(posterior_sections, name, lambda *_, **__: None)


@pytest.fixture(scope="module")
def em() -> GaussianMixture:
    return GaussianMixture(2, random_state=1).fit(ROWS)


@pytest.fixture(scope="module")
def base() -> BayesianGaussianMixture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BayesianGaussianMixture(2, **SETTINGS).fit(ROWS)


def changed(tree: xr.DataTree, **values: object) -> xr.DataTree:
    """The draws with other arrays, and attributes."""
    draws = tree["posterior"].to_dataset()
    new = {name: (draws[name].dims, value) for name, value in values.items() if name in draws}
    result = tree.copy()
    result["posterior"] = xr.DataTree(draws.assign(new))
    result.attrs = {**tree.attrs, **{name: value for name, value in values.items() if name not in draws}}
    return result


def arrays(tree: xr.DataTree) -> tuple[np.ndarray, ...]:
    return tuple(tree["posterior"][name].to_numpy().copy() for name in ("weights", "means", "covariances"))


def as_it_is(tree: xr.DataTree) -> xr.DataTree:
    return tree


def drifting(tree: xr.DataTree) -> xr.DataTree:
    _, means, _ = arrays(tree)
    means[0] += np.linspace(-3.0, 3.0, means.shape[1])[:, None, None] * means.std(axis=(0, 1))
    return changed(tree, means=means)


def two_groups(tree: xr.DataTree) -> xr.DataTree:
    _, means, _ = arrays(tree)
    means[:2] += 30.0 * means.std(axis=(0, 1))
    return changed(tree, means=means)


def weighed(tree: xr.DataTree) -> xr.DataTree:
    modes = [{"weight": share, "weight_se": 0.01, "cluster_sizes": [40, 28], "chains": [0, 1]} for share in (0.7, 0.3)]
    return changed(tree, modes=json.dumps(modes))


def collapsed(tree: xr.DataTree) -> xr.DataTree:
    _, _, covariances = arrays(tree)
    covariances[:, :, 0] *= 1e-9
    return changed(tree, covariances=covariances)


def emptied(tree: xr.DataTree) -> xr.DataTree:
    weights, means, covariances = arrays(tree)
    weights[..., 0] *= 1e-5
    means[:, :, 0], covariances[:, :, 0] = means[:, :, 1], covariances[:, :, 1]
    return changed(tree, weights=weights / weights.sum(axis=-1, keepdims=True), means=means, covariances=covariances)


def diverging(tree: xr.DataTree) -> xr.DataTree:
    result = tree.copy()
    stats = tree["sample_stats"].to_dataset()
    result["sample_stats"] = xr.DataTree(stats.assign(diverging=stats["diverging"] | (stats["draw"] % 20 == 0)))
    return result


def switched(tree: xr.DataTree) -> xr.DataTree:
    weights, means, covariances = arrays(tree)
    for values in (weights, means, covariances):
        values[:, ::3] = values[:, ::3, ::-1]
    return changed(tree, weights=weights, means=means, covariances=covariances)


def alike(tree: xr.DataTree) -> xr.DataTree:
    """Two components that nothing tells apart."""
    weights, means, covariances = arrays(tree)
    rng = np.random.default_rng(0)
    sd = ROWS.to_numpy().std(axis=0)
    means[:] = ROWS.to_numpy().mean(axis=0) + 0.1 * sd * rng.normal(size=means.shape)
    covariances[:] = np.cov(ROWS.to_numpy().T)
    weights[:] = rng.dirichlet([20.0, 20.0], size=weights.shape[:2])
    return changed(tree, weights=weights, means=means, covariances=covariances)


def few_draws(tree: xr.DataTree) -> xr.DataTree:
    groups = {name: tree[name].to_dataset() for name in tree.children}
    result = xr.DataTree.from_dict(
        {name: group.isel(draw=slice(3)) if "draw" in group.dims else group for name, group in groups.items()}
    )
    result.attrs = dict(tree.attrs)
    return result


SITUATIONS: dict[str, tuple[Callable[[xr.DataTree], xr.DataTree], set[str]]] = {
    "converged": (as_it_is, {"converged"}),
    "not mixed": (drifting, {"not mixed"}),
    "several real modes": (two_groups, {"several real modes"}),
    "several modes, weighed": (weighed, {"several modes, weighed"}),
    "collapsed": (collapsed, {"collapsed or empty component"}),
    "empty": (emptied, {"collapsed or empty component"}),
    "divergences": (diverging, {"divergences"}),
    "labels switched": (switched, {"converged, labels switched"}),
    "not identified": (alike, {"converged, labels switched", "not mixed"}),
    "few draws": (few_draws, {"not mixed"}),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_report_does_not_contradict_itself(
    situation: str, base: BayesianGaussianMixture, em: GaussianMixture, tmp_path: Path
) -> None:
    change, verdicts = SITUATIONS[situation]
    fit = BayesianGaussianMixture(**base.get_params())
    fit.n_features_in_, fit.feature_names_in_ = base.n_features_in_, base.feature_names_in_
    fit._set_posterior(change(base.posterior_))
    fit.report(tmp_path / "r.html", em=em, checks=situation == "converged", progress=False)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "could not be generated" not in text
    assert any(f"Verdict: {verdict}" in text for verdict in verdicts)
    assert contradictions(text) == []


def test_reports_on_em_do_not_contradict_themselves(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits = {
            "not converged": GaussianMixture(3, random_state=0, max_iter=1),
            "one start": GaussianMixture(3, n_init=1),
        }
        for name, fit in fits.items():
            fit.fit(ROWS).report(tmp_path / f"{name}.html", ROWS)
            assert contradictions((tmp_path / f"{name}.html").read_text(encoding="utf-8")) == []


@pytest.mark.slow
def test_a_sparse_mixture_and_one_component(tmp_path: Path) -> None:
    fits = {
        "sparse": BayesianGaussianMixture(5, prior=Prior.malsiner_walli(ROWS), **SETTINGS),
        "one": BayesianGaussianMixture(1, **SETTINGS),
    }
    for name, fit in fits.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit.fit(ROWS).report(tmp_path / f"{name}.html", progress=False)
        assert contradictions((tmp_path / f"{name}.html").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ("Verdict: converged.", "Verdict: not mixed.", "verdicts"),
        ("The components are identified: ", "Components are not identified in the posterior", "identified or not"),
        ("Verdict: not mixed.", "A reason for disagreement is 'several modes'", "several modes as a reason"),
        ("Verdict: not mixed.", "so that these numbers can be used.", "usable numbers"),
        ("Rows without a clear cluster: 3 of 9", "has a probability below 0.9 for 4 rows of 9", "rows without"),
        ("a Gaussian mixture (p = 0.02)", "a Gaussian mixture with 2 components (p = 0.2)", "p-values"),
    ],
)
def test_a_planted_contradiction_is_found(first: str, second: str, kind: str) -> None:
    verdict = "" if "Verdict" in first else "Verdict: converged."
    text = f"<p>{verdict} {first}</p><p>{second}</p>"
    assert any(each.startswith(kind) for each in contradictions(text))
