"""Features of a figure: the order in which they separate, discriminants against a plain reference, what is left out."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.linalg import eigh
from scipy.stats import norm

from bayesgmm import plot_components, plot_density, plot_membership_uncertainty, plot_pairs
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws, Mixture, covariance_family
from bayesgmm.plots._features import discriminants, separations

NAMES = {"weights": "w", "means": "mu", "sds": "sd"}


def draws_of_mixtures(*mixtures: Mixture) -> Draws:
    arrays = (np.array([getattr(m, name) for m in mixtures]) for name in ("weights", "means", "full_covariances"))
    return Draws(*arrays, family=covariance_family("full"))


def random_mixture(rng: np.random.Generator, n_components: int = 3, n_features: int = 4) -> Mixture:
    factors = rng.normal(size=(n_components, n_features, n_features))
    covariances = factors @ factors.transpose(0, 2, 1) + np.eye(n_features)
    return Mixture(rng.dirichlet(np.ones(n_components)), 3 * rng.normal(size=(n_components, n_features)), covariances)


def twenty_features(n_rows: int = 120):
    """Rows and draws of two clusters that differ in features 7, most, and 13."""
    rng = np.random.default_rng(0)
    centres = np.zeros((2, 20))
    centres[1, [7, 13]] = [6.0, 3.0]
    X = centres[np.arange(n_rows) % 2] + rng.normal(size=(n_rows, 20))
    mu = centres + rng.normal(0, 0.1, (2, 20, 2, 20))
    return X, {"w": np.full((2, 20, 2), 0.5), "mu": mu, "sd": np.ones((2, 20, 2, 20))}


# ---- separation


def test_separation_is_the_mutual_information_of_component_and_feature() -> None:
    mixture = Mixture([0.3, 0.7], [[0.0, 0.0], [2.0, 0.0]], [np.eye(2), np.diag([1.0, 9.0])])
    X, _ = mixture.sample(100_000, rng=np.random.default_rng(0))
    some = np.sort(X, axis=0)[50::100]  # quantiles of each feature

    def information(j: int) -> float:
        w, mu, sd = mixture.weights, mixture.means[:, j], np.sqrt(mixture.full_covariances[:, j, j])

        def integrand(x: float) -> float:
            parts = w * norm.pdf(x, mu, sd)
            return float((parts * np.log(norm.pdf(x, mu, sd) / parts.sum())).sum())

        return quad(integrand, -12, 14, limit=200)[0]

    found = separations(draws_of_mixtures(mixture), some)
    np.testing.assert_allclose(found, [information(0), information(1)], rtol=0.02)


def test_separation_is_nothing_if_components_are_equal_and_the_entropy_if_they_are_far_apart() -> None:
    mixture = Mixture([0.3, 0.7], [[0.0, 0.0], [0.0, 50.0]], [np.eye(2), np.eye(2)])
    rows = np.column_stack([np.linspace(-2, 2, 1_000), np.repeat([0.0, 50.0], [300, 700])])
    found = separations(draws_of_mixtures(mixture), rows)
    np.testing.assert_allclose(found, [0.0, -0.3 * np.log(0.3) - 0.7 * np.log(0.7)], atol=1e-9)


def test_separation_does_not_depend_on_labels() -> None:
    rng = np.random.default_rng(1)
    mixture = random_mixture(rng)
    X, _ = mixture.sample(200, rng=rng)
    switched = Mixture(mixture.weights[::-1], mixture.means[::-1], mixture.full_covariances[::-1])
    found = separations(draws_of_mixtures(mixture, mixture), X)
    np.testing.assert_allclose(separations(draws_of_mixtures(mixture, switched), X), found, rtol=1e-9)


# ---- discriminants


def test_discriminants_are_those_of_a_plain_computation() -> None:
    mixture = random_mixture(np.random.default_rng(2))
    mean = mixture.weights @ mixture.means
    between, within = np.zeros((4, 4)), np.zeros((4, 4))
    for w, mu, sigma in zip(mixture.weights, mixture.means, mixture.full_covariances, strict=True):
        between += w * np.outer(mu - mean, mu - mean)
        within += w * sigma
    shapes = np.zeros((4, 4))
    for w, sigma in zip(mixture.weights, mixture.full_covariances, strict=True):
        shapes += w * (sigma - within) @ np.linalg.inv(between + within) @ (sigma - within)
    ratios, vectors = eigh(between, between + within)
    found = discriminants(draws_of_mixtures(mixture), 4)
    for j, k in ((0, 3), (1, 2)):
        np.testing.assert_allclose(abs(found[:, j]), abs(vectors[:, k]), rtol=1e-6)
    np.testing.assert_allclose(found.T @ (between + within) @ found, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(np.diagonal(found.T @ between @ found), [ratios[3], ratios[2], 0.0, 0.0], atol=1e-9)
    third, fourth = np.diagonal(found.T @ shapes @ found)[2:]
    assert third > fourth
    assert found[:, 2] @ shapes @ found[:, 3] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.draws
def test_discriminants_follow_linear_maps_of_the_features() -> None:
    rng = np.random.default_rng(3)
    mixture, linear = random_mixture(rng), rng.normal(size=(4, 4)) + 2 * np.eye(4)
    mapped = Mixture(mixture.weights, mixture.means @ linear, linear.T @ mixture.full_covariances @ linear)
    X = rng.normal(size=(20, 4))
    ours = X @ discriminants(draws_of_mixtures(mixture), 4)
    theirs = X @ linear @ discriminants(draws_of_mixtures(mapped), 4)
    np.testing.assert_allclose(abs(theirs), abs(ours), rtol=1e-6, atol=1e-9)


def test_discriminants_do_not_depend_on_labels() -> None:
    mixture = random_mixture(np.random.default_rng(4))
    switched = Mixture(mixture.weights[::-1], mixture.means[::-1], mixture.full_covariances[::-1])
    np.testing.assert_allclose(
        discriminants(draws_of_mixtures(mixture, switched), 3), discriminants(draws_of_mixtures(mixture), 3), rtol=1e-9
    )


# ---- what figures show and say


def panel_of(pc):
    return pc.viz["figure"].item().axes[0]


def test_two_of_twenty_features_are_those_that_separate_and_the_title_names_the_others() -> None:
    X, draws = twenty_features()
    for plot in (plot_components, plot_density):
        panel = panel_of(plot(draws, X, names=NAMES))
        assert (panel.get_xlabel(), panel.get_ylabel()) == ("x7", "x13")
        title = panel.get_title().replace("\n", " ")
        assert "2 features of 20 that separate the clusters best; not shown: x0, x1, x2, x3, x4 and 13 more" in title
    pc = plot_membership_uncertainty(draws, X, names=NAMES)
    assert panel_of(pc).get_xlabel() == "x7"
    assert "not shown: x0" in pc.viz["figure"].item().get_suptitle().replace("\n", " ")


def test_features_that_are_asked_for_leave_the_others_named() -> None:
    X, draws = twenty_features()
    panel = panel_of(plot_components(draws, X[:, :20], names=NAMES, features=["x0", 7]))
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("x0", "x7")
    assert "not shown: x1, x2" in panel.get_title()
    assert "separate" not in panel.get_title()


def test_pairs_of_twenty_features_begin_with_those_that_separate() -> None:
    X, draws = twenty_features()
    pc = plot_pairs(draws, X, names=NAMES, n_draws=2)
    assert pc.viz["plot"]["row"].to_numpy().tolist()[:2] == ["x7", "x13"]
    assert pc.viz["plot"].sizes["row"] == 5
    assert "5 features of 20" in pc.viz["figure"].item().get_suptitle()


def test_a_projection_says_what_it_is_made_of_and_keeps_the_labels_of_all_features() -> None:
    X, draws = twenty_features()
    pc = plot_components(draws, X, names=NAMES, features="discriminant")
    assert (panel_of(pc).get_xlabel(), panel_of(pc).get_ylabel()) == ("discriminant 1", "discriminant 2")
    title = panel_of(pc).get_title()
    assert re.search(r"discriminant 1: 0\.\d+ x7 \+ 0\.\d+ x13", title)
    clouds = [pc.viz["rows"]["rows"].sel(cluster=k).item().get_offsets().data for k in range(2)]
    assert [len(cloud) for cloud in clouds] == [60, 60]
    left, right = sorted(clouds, key=lambda cloud: cloud[:, 0].mean())
    assert left[:, 0].max() < right[:, 0].min()
    axes = discriminants(draws_of_mixtures(Mixture([0.5, 0.5], draws["mu"].mean((0, 1)), [np.eye(20)] * 2)), 1)
    centres = [pc.viz["mean"]["mean"].sel(cluster=k).item().get_xydata()[:-1, 0].mean() for k in range(2)]
    assert max(centres) == pytest.approx(float(draws["mu"].mean((0, 1))[1] @ axes[:, 0]), rel=0.05)


def test_pairs_of_discriminants_are_as_many_as_there_are_means_to_tell_apart() -> None:
    rng = np.random.default_rng(0)
    centres = 5 * rng.normal(size=(4, 6))
    X = centres[np.arange(80) % 4] + rng.normal(size=(80, 6))
    draws = {"w": np.full((2, 5, 4), 0.25), "mu": centres + rng.normal(0, 0.1, (2, 5, 4, 6)), "sd": np.ones((2, 5, 4))}
    pc = plot_pairs(draws, X, names=NAMES, features="discriminant", n_draws=1)
    assert pc.viz["plot"]["row"].to_numpy().tolist() == [f"discriminant {j}" for j in (1, 2, 3)]


def test_a_feature_of_this_name_is_a_feature() -> None:
    X, draws = twenty_features()
    frame = pd.DataFrame(X, columns=["discriminant", *(f"x{j}" for j in range(1, 20))])
    assert panel_of(plot_density(draws, frame, names=NAMES, features="discriminant")).get_xlabel() == "discriminant"


def test_one_component_has_no_discriminants() -> None:
    X = np.random.default_rng(0).normal(size=(30, 3))
    draws = {"w": np.ones((1, 5, 1)), "mu": np.zeros((1, 5, 1, 3)), "sd": np.ones((1, 5, 1))}
    with pytest.raises(InputError, match=r"two features and two components, or more.*got 3 and 1"):
        plot_density(draws, X, names=NAMES, features="discriminant")
    assert "2 features of 3; not shown: x2" in panel_of(plot_density(draws, X, names=NAMES)).get_title()
