"""EM beside the posterior: the right rows, ArviZ's own figures, and a rendering that fits a terminal."""

import io

import arviz as az
import numpy as np
import pandas as pd
import pytest
from pretend_posterior import em_fit, pretend_posterior
from rich.console import Console

from bayesgmm.comparison.parameter_table import (
    convergence_lines,
    estimates_renderable,
    estimates_table,
    interval_columns,
)
from bayesgmm.datasets import load_galaxies, load_old_faithful, load_thyroid
from bayesgmm.exceptions import InputError
from bayesgmm.mixture.draws import Draws
from bayesgmm.posterior.tree import posterior_tree

FAITHFUL = load_old_faithful()


def fitted(frame: pd.DataFrame, n_components: int, covariance_type: str = "full", **settings):
    em = em_fit(frame, n_components, covariance_type)
    return em, pretend_posterior(frame, em, **settings)


def rendered(table: pd.DataFrame, *, width: int = 80, **settings) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(estimates_renderable(table, width=width, **settings))
    return console.file.getvalue().splitlines()


@pytest.fixture(scope="module")
def faithful():
    return fitted(FAITHFUL, 2)


def test_full_covariances_have_their_upper_triangle_once(faithful) -> None:
    table = estimates_table(*faithful)
    assert list(table.index) == [
        "weights[0]",
        "weights[1]",
        "means[0, eruptions]",
        "means[0, waiting]",
        "means[1, eruptions]",
        "means[1, waiting]",
        "covariances[0, eruptions, eruptions]",
        "covariances[0, eruptions, waiting]",
        "covariances[0, waiting, waiting]",
        "covariances[1, eruptions, eruptions]",
        "covariances[1, eruptions, waiting]",
        "covariances[1, waiting, waiting]",
    ]


def test_figures_are_those_of_arviz_not_rounded(faithful) -> None:
    em, posterior = faithful
    table = estimates_table(em, posterior)
    expected = az.summary(posterior, round_to="none").loc[table.index]
    pd.testing.assert_frame_equal(
        table.drop(columns="em"), pd.DataFrame(expected), check_names=False, rtol=1e-12, check_frame_type=False
    )


def test_the_em_column_holds_the_em_solution(faithful) -> None:
    em, posterior = faithful
    column = estimates_table(em, posterior)["em"]
    assert column["weights[1]"] == em.weights[1]
    assert column["means[1, eruptions]"] == em.means[1, 0]
    np.testing.assert_allclose(column["covariances[0, eruptions, waiting]"], em.covariances[0, 0, 1], rtol=1e-12)


@pytest.mark.parametrize(
    ("covariance_type", "expected"),
    [
        ("tied", ["[eruptions, eruptions]", "[eruptions, waiting]", "[waiting, waiting]"]),
        ("diag", ["[0, eruptions]", "[0, waiting]", "[1, eruptions]", "[1, waiting]"]),
        ("spherical", ["[0]", "[1]"]),
        ("tied_diag", ["[eruptions]", "[waiting]"]),
        ("tied_spherical", [""]),
    ],
)
def test_each_family_shows_its_free_entries_only(covariance_type, expected) -> None:
    em, posterior = fitted(FAITHFUL, 2, covariance_type, draws=10)
    table = estimates_table(em, posterior)
    covariances = table[table.index.str.startswith("covariances")]
    assert [label.removeprefix("covariances") for label in covariances.index] == expected
    assert (covariances["sd"] > 0).all()
    shape = em.covariances[np.triu_indices(2)] if covariance_type == "tied" else em.factors.ravel() ** 2
    np.testing.assert_allclose(covariances["em"], shape, rtol=1e-12)
    n_free = em.family.n_parameters(2, 2) + 1  # the weights sum to one
    assert len(table) == n_free


def test_intervals_follow_the_rc_parameters_and_the_arguments(faithful) -> None:
    assert interval_columns(estimates_table(*faithful)) == ("eti89_lb", "eti89_ub")
    with az.rc_context({"stats.ci_kind": "hdi", "stats.ci_prob": 0.5}):
        assert interval_columns(estimates_table(*faithful)) == ("hdi50_lb", "hdi50_ub")
    asked = estimates_table(*faithful, ci_prob=0.95, ci_kind="hdi")
    assert interval_columns(asked) == ("hdi95_lb", "hdi95_ub")
    assert "95% HDI" in rendered(asked)[0]


def test_one_feature_and_one_component() -> None:
    em, posterior = fitted(load_galaxies(), 1)
    table = estimates_table(em, posterior)
    assert list(table.index) == ["weights[0]", "means[0, velocity_kms]", "covariances[0, velocity_kms, velocity_kms]"]
    row = next(line for line in rendered(table) if line.startswith("0 "))
    assert row.split()[1:4] == ["1.000", "1.000", "0.000"]


def test_a_posterior_of_another_size_is_refused(faithful) -> None:
    with pytest.raises(InputError, match="3 components and 2 features; got 2 and 2"):
        estimates_table(em_fit(FAITHFUL, 3), faithful[1])


# ---- the rendering


def test_blocks_and_values_in_the_terminal(faithful) -> None:
    em, posterior = faithful
    lines = rendered(estimates_table(em, posterior))
    headings = [line.split()[0] for line in lines if "EM" in line]
    assert headings == ["weights", "means", "covariances"]
    row = next(line for line in lines if line.startswith("1, waiting "))
    mean = posterior["posterior"]["means"].sel(cluster=1, feature="waiting")
    assert float(row.split()[2]) == pytest.approx(em.means[1, 1], abs=0.06)
    assert float(row.split()[3]) == pytest.approx(float(mean.mean()), abs=0.06)
    assert "…" in row


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e7])
def test_no_line_is_wider_than_the_terminal(scale) -> None:
    frame = load_thyroid().select_dtypes("number") * scale
    frame.columns = [f"a rather long name of a column, number {j}" for j in range(frame.shape[1])]
    em, posterior = fitted(frame, 2, "diag" if scale != 1.0 else "full", draws=10)
    lines = rendered(estimates_table(em, posterior))
    assert max(map(len, lines)) <= 80
    assert not any("…" in line.replace(" … ", "") for line in lines), "a value was cut"
    joined = "".join("".join(line.split()) for line in lines)
    assert "number4" in joined


def test_long_blocks_are_cut_and_say_so() -> None:
    em, posterior = fitted(load_thyroid().select_dtypes("number"), 2, draws=10)
    lines = rendered(estimates_table(em, posterior), max_rows=7)
    assert lines.count("… and 3 more") == 1  # 10 means
    assert lines[-1] == "… and 23 more"  # 30 entries of covariances


# ---- convergence


def test_convergence_in_words_when_all_is_well() -> None:
    r_hat, ess, divergences, verdict, *_ = convergence_lines(independent_draws())
    assert float(r_hat.split()[4]) < 1.01
    assert "of 2,000 (acceptable from 200)" in ess
    assert divergences == "Divergences of the sampler: 0 of 2,000 draws"
    assert verdict == "Verdict: converged."


def test_convergence_in_words_when_something_is_wrong() -> None:
    posterior = independent_draws()
    posterior["posterior"]["means"][1] += 100.0
    posterior["sample_stats"]["diverging"][0, :3] = True
    lines = convergence_lines(posterior)
    assert lines[2] == "Divergences of the sampler: 3 of 2,000 draws"
    assert lines[3] == "Verdict: divergences."
    advice = " ".join(lines[4:])
    assert "groups that do not mix" in advice
    assert "target_accept" in advice


def test_a_single_chain_has_nothing_to_agree_with() -> None:
    lines = convergence_lines(independent_draws(chains=1))
    assert "A single chain cannot be compared with others." in lines


def independent_draws(chains: int = 2, draws: int = 1000):
    """A posterior that mixes perfectly: every draw on its own."""
    em, rng = em_fit(FAITHFUL, 2), np.random.default_rng(0)
    centres = {"weights": em.weights, "means": em.means, "covariances": em.full_covariances}
    drawn = {name: value * rng.normal(1.0, 0.01, (chains, draws, *value.shape)) for name, value in centres.items()}
    stats = {"diverging": np.zeros((chains, draws), dtype=bool), "lp": rng.normal(size=(chains, draws))}
    return posterior_tree(
        Draws(**drawn, family=em.family),
        stats,
        X=FAITHFUL.to_numpy(dtype=float),
        feature_names=list(FAITHFUL.columns),
        start=em,
        attributes={"covariance_type": "full"},
    )
