"""Reports: every section says what the results say, text of users stays text, and files appear whole or not at all."""

import base64
import io
import os
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from bayesgmm import BayesianGaussianMixture, GaussianMixture, diagnose
from bayesgmm.comparison import spread_table
from bayesgmm.datasets import load_old_faithful
from bayesgmm.em import Starts
from bayesgmm.exceptions import InputError, SamplingWarning
from bayesgmm.mixture import Mixture
from bayesgmm.report.em_sections import _starts
from bayesgmm.report.figures import Picture, svg_of
from bayesgmm.report.page import Section, Table, page, save_page

FAITHFUL = load_old_faithful()
BAD = "<script>alert(1)</script>"
TITLES = ["Data", "EM", "Posterior", "Convergence", "Components", "Partition", "Comparison", "Checks", "Reproduce"]
SETTINGS = {"draws": 100, "tune": 200, "progress": False, "random_state": 1}


class Document(HTMLParser):
    """What stands in a page: tags, attributes, headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.images, self.links, self.headings, self._inside = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self._inside = tag
        if tag == "figure":
            self.images.append(dict(attrs))
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data) -> None:
        if self._inside == "h2":
            self.headings.append(data)

    def handle_endtag(self, tag) -> None:
        self._inside = ""


def told(text: str, title: str) -> str:
    """The sentences of a section."""
    return unescape(re.search(rf"<h2>{title}</h2><p>(.*?)</p>", text)[1])


# ---- the report on a posterior


def test_sections_figures_and_size(text) -> None:
    document = Document(text)
    assert [title for title in document.headings if title in TITLES] == TITLES
    assert len(document.images) >= len(TITLES) - 1
    assert all(image["aria-label"] for image in document.images)
    assert len({image["aria-label"] for image in document.images}) == len(document.images), "no figure twice"
    assert len(text) < 2_000_000
    assert "script" not in document.tags


def test_nothing_is_loaded_from_elsewhere(text) -> None:
    assert all(link.startswith(("#", "data:")) for link in Document(text).links)
    assert all(link.startswith(("#", "data:")) for link in re.findall(r'(?:xlink:href|url)[=(]"?([^")]+)', text))
    assert "default-src 'none'" in text


def test_every_link_leads_to_a_section(text) -> None:
    anchors = set(re.findall(r'<section id="([^"]+)"', text))
    assert {link[1:] for link in Document(text).links if link.startswith("#")} == anchors - {"answer"}


def test_sentences_are_computed_from_the_results(text, fit) -> None:
    em = GaussianMixture(2, random_state=1).fit(FAITHFUL)
    assert "272 rows of 2 features: eruptions and waiting." in told(text, "Data")
    assert f"log-likelihood of {em.log_likelihood_:.2f}, BIC {em.bic():.2f}" in told(text, "EM")
    assert "4 chains of 1,000 draws" in told(text, "Posterior")
    assert f"Verdict: {diagnose(fit).verdict}." in told(text, "Convergence")
    assert f"with weight {fit.weights_.max():.3f}" in told(text, "Components")
    assert told(text, "Comparison").startswith("The fits agree in all 12 parameters")
    assert "Gaussian mixture with 2 components (p = " in told(text, "Checks")
    assert "2 clusters, of 175 and 97 rows" in told(text, "Partition")


def test_the_parameters_are_tabulated(text, fit) -> None:
    for name in fit.summary().index:
        assert f'<th scope="row" data-of="parameter">{name}</th>' in text


def test_the_code_fits_again(text, fit) -> None:
    script, check = (unescape(block) for block in re.findall(r"<code>(.*?)</code>", text, flags=re.DOTALL))
    space: dict = {}
    exec(script.replace("X = ...", "X = FAITHFUL", 1), {"FAITHFUL": FAITHFUL}, space)
    np.testing.assert_array_equal(space["model"].means_, fit.means_)
    exec(check, space)
    with pytest.raises(AssertionError):
        exec(check, {"X": FAITHFUL + 1e-9})


def test_one_component_of_one_feature(tmp_path) -> None:
    fit = BayesianGaussianMixture(1, **SETTINGS).fit(FAITHFUL[["waiting"]][::4])
    fit.report(tmp_path / "r.html", checks=False)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "All rows are in one cluster" in told(text, "Partition")
    assert "There is one component" in told(text, "Components")


@pytest.mark.draws
def test_components_that_are_not_identified_are_not_tabulated(tmp_path) -> None:
    X = np.random.default_rng(0).normal(size=(30, 1))
    fit = BayesianGaussianMixture(3, covariance_type="tied", **SETTINGS).fit(X)
    fit.report(tmp_path / "r.html", checks=False)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "not identified" in told(text, "Components")
    assert ">means[0, x0]</th>" not in text
    assert "density" in text


def test_text_of_users_stays_text_and_weights_and_four_features_are_told(tmp_path) -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(40, 4)), columns=[BAD, "a & b", "c", "price in $"])
    X.iloc[:20] += 6.0
    fit = BayesianGaussianMixture(2, covariance_type="diag", **SETTINGS).fit(X, sample_weight=np.full(40, 2.0))
    fit.report(tmp_path / "r.html", title=BAD, checks=False)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 5
    assert "script" not in Document(text).tags
    assert "they count as 80 rows" in told(text, "Data")
    assert "fit(X, sample_weight=weights)" in text


def test_em_of_another_model_is_refused(fit, tmp_path) -> None:
    with pytest.raises(InputError, match="2 components"):
        fit.report(tmp_path / "r.html", em=GaussianMixture(3, random_state=0).fit(FAITHFUL))
    assert list(tmp_path.iterdir()) == []


# ---- what it opens with, and what pages can do


def test_the_answer_comes_first(text, fit) -> None:
    answer = text[text.index('id="answer"') : text.index('id="data"')]
    plain = unescape(re.sub(r"<[^>]+>", " ", answer))
    printed, _, _ = str(fit).partition("Shape of the clusters")
    assert [word for word in printed.split() if word.strip(",.") not in plain] == []
    assert "has 2 clusters in 272 rows" in plain
    p = float(re.search(r"components? \(p = ([\d.]+)", told(text, "Checks"))[1])
    assert f"(p = {p:.2g})" in plain
    assert ("✗ not Gaussian" in plain) == (p <= 0.05)
    assert "✓ Verdict: converged" in plain
    assert answer.count('class="wide"') == answer.count('class="narrow"') == 2
    assert answer.count("<svg") == 4


def test_points_say_which_row_they_are(text, fit) -> None:
    titles = re.findall(r"<title>row (\d+): cluster (\d), probability ([\d.]+)</title>", text)
    assert sorted(int(number) for number, _, _ in titles) == list(range(len(FAITHFUL)))
    labels, proba = fit.predict(FAITHFUL), fit.predict_proba(FAITHFUL).max(axis=1)
    assert all(labels[int(number)] == int(cluster) for number, cluster, _ in titles)
    np.testing.assert_allclose([float(p) for _, _, p in titles], proba[[int(n) for n, _, _ in titles]], atol=0.02)


def test_tables_can_be_downloaded_in_all_digits(text, fit) -> None:
    files = dict(re.findall(r'download="([^"]+)" href="data:text/csv;base64,([^"]+)"', text))
    table = pd.read_csv(io.BytesIO(base64.b64decode(files["parameters.csv"])), index_col="parameter")
    np.testing.assert_allclose(table["mean"], fit.summary()["mean"], rtol=1e-12)
    assert list(table.index) == list(fit.summary().index)
    assert len(files) == text.count("Download as CSV") == text.count("<table") - 1  # but for that of the answer


def test_standard_deviations_and_correlations_are_those_of_the_draws(fit) -> None:
    table, draws = spread_table(fit.em_, fit.posterior_), fit.posterior_["posterior"]["covariances"]
    sd = np.sqrt(draws.sel(cluster=1, feature="waiting", feature_bis="waiting"))
    both = draws.sel(cluster=1, feature="waiting", feature_bis="eruptions")
    other = np.sqrt(draws.sel(cluster=1, feature="eruptions", feature_bis="eruptions"))
    assert table.loc["sds[1, waiting]", "mean"] == pytest.approx(float(sd.mean()))
    found = table.loc["correlations[1, eruptions, waiting]"]
    assert found["mean"] == pytest.approx(float((both / (sd * other)).mean()))
    assert found["em"] == pytest.approx(
        fit.em_.covariances[1, 0, 1] / np.sqrt(np.prod(np.diag(fit.em_.covariances[1])))
    )


def test_greys_follow_the_page_and_colours_do_not() -> None:
    figure = Figure()
    panel = figure.subplots()
    panel.plot([0, 1], color="#222222")
    panel.plot([1, 0], color="#3f90da")
    svg = svg_of(figure)
    assert "stroke: color-mix(in srgb, var(--ink) 87%, var(--ground))" in svg
    assert "stroke: #3f90da" in svg
    assert not re.search(r"#(222222|000000|ffffff)", svg)


# ---- the report on EM


def test_em_alone(tmp_path) -> None:
    em = GaussianMixture(2, random_state=0).fit(FAITHFUL)
    em.report(tmp_path / "em.html", FAITHFUL)
    text = (tmp_path / "em.html").read_text(encoding="utf-8")
    assert f"has 2 clusters in {len(FAITHFUL)} rows" in text
    assert "Several starts of EM ended in this optimum." in text
    assert Document(text).headings == ["Data", "EM", "Components", "Partition", "Reproduce"]
    error = em.standard_errors(FAITHFUL).weights[0]
    assert f"{em.weights_[0]:.3f} ({error:.3f})" in text
    assert "97 (component 0) and 175 (component 1) rows" in told(text, "Partition")


@pytest.mark.parametrize("objectives", [(-10.0, -12.5), (-10.0, -8.0)])
def test_a_higher_optimum_of_less_mass_is_told(objectives) -> None:
    """Which is where a prior may lead: the kept optimum is the first, not the highest."""
    ends, mixture = np.array(objectives), Mixture([1.0], [[0.0]], [[[1.0]]])
    starts = Starts(
        ends, np.zeros(2, bool), np.ones(2, bool), np.ones(2, int), 0, 1e-3, (mixture, mixture), False, ends
    )
    told = list(_starts(starts))
    assert f"next best has the objective {objectives[1]:.3f}, this one -10.000" in told[0]
    assert [text for text in told[1:] if "up to -8.000" in text] == told[1:]
    assert len(told) == 1 + (objectives[1] > objectives[0])


def test_a_fit_without_a_seed_says_that_it_cannot_be_made_again(tmp_path) -> None:
    GaussianMixture(2).fit(FAITHFUL).report(tmp_path / "em.html", FAITHFUL)
    assert "random_state was not a number" in told((tmp_path / "em.html").read_text(encoding="utf-8"), "Reproduce")


def test_a_part_that_cannot_be_made_says_why(tmp_path) -> None:
    X = FAITHFUL.iloc[::40]
    with pytest.warns(SamplingWarning):
        fit = BayesianGaussianMixture(1, **SETTINGS | {"draws": 20, "tune": 20}).fit(X)
    fit.report(tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "This section could not be generated." in told(text, "Checks")
    assert "10" in told(text, "Checks")


# ---- the page


def test_a_file_is_replaced_only_if_asked(fit, tmp_path) -> None:
    path = tmp_path / "r.html"
    path.write_text("old")
    with pytest.raises(InputError, match="overwrite=True"):
        fit.report(path)
    assert path.read_text() == "old"
    save_page("new", path, overwrite=True)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "r.html"
    path.write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_page("new", path, overwrite=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", ["none/r.html", "."])
def test_a_folder_that_is_none_or_a_file_that_is_a_folder(fit, tmp_path, path) -> None:
    with pytest.raises(InputError):
        fit.report(tmp_path / path)


def test_everything_in_a_section_is_escaped() -> None:
    section = Section(
        title=BAD, sentences=(BAD,), picture=Picture("", BAD), tables=(Table(BAD, [BAD], [[BAD]] * 20),),
        notes=(BAD,), code=(BAD,),
    )  # fmt: skip
    assert "<script" not in page(BAD, BAD, [section])
