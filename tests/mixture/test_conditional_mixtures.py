"""Marginal and conditional mixtures against definitions, the textbook's formula and a reference computed elsewhere."""

import json

import numpy as np
import pytest
from monte_carlo import bound
from reference import DATA, EVERY_FAMILY, ORIENTED, random_mixture
from scipy.stats import multivariate_normal, norm

from bayesgmm.conditionals import ConditionalMixtures
from bayesgmm.exceptions import InputError
from bayesgmm.mixture.mixture import Mixture

REFERENCE = json.loads((DATA / "conditional.json").read_text(encoding="utf-8"))
OF_PART = {"EVI": "diag", "EVV": "full", **dict.fromkeys(ORIENTED, "full")}  # some features have not what all share


def mixture_of(covariance_type: str, shape: tuple[int, int] = (3, 4)) -> Mixture:
    return random_mixture(np.random.default_rng(3), covariance_type, shape)


def textbook(mixture: Mixture, observed: list[int], x: np.ndarray):
    """Weights, means and covariances of the other features given x, as the formulas say."""
    rest = [j for j in range(mixture.n_features) if j not in observed]
    weights, means, covariances = [], [], []
    for w, mu, sigma in zip(mixture.weights, mixture.means, mixture.full_covariances, strict=True):
        oo, mo, mm = (sigma[np.ix_(a, b)] for a, b in ((observed, observed), (rest, observed), (rest, rest)))
        weights.append(w * multivariate_normal.pdf(x, mu[observed], oo))
        means.append(mu[rest] + mo @ np.linalg.inv(oo) @ (x - mu[observed]))
        covariances.append(mm - mo @ np.linalg.inv(oo) @ mo.T)
    return np.array(weights) / np.sum(weights), np.array(means), np.array(covariances)


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: f"{case['dataset']} {case['given']}")
def test_reference(case):
    parameters = REFERENCE["parameters"][case["dataset"]]
    mixture = Mixture(*(np.array(parameters[name]) for name in ("weights", "means", "covariances")))
    given = {parameters["columns"].index(name): value for name, value in case["given"].items()}
    one, rows = mixture.condition(given), mixture.condition({j: [value] for j, value in given.items()})
    for found in (one, rows):
        weights, means = (found.weights, found.means) if found is one else (found.weights[0], found.means[0])
        np.testing.assert_allclose(weights, case["weights"], rtol=1e-12)
        np.testing.assert_allclose(means, case["means"], rtol=1e-12)
        np.testing.assert_allclose(found.covariances, case["covariances"], rtol=1e-12)
    np.testing.assert_allclose(rows.log_density, case["log_marginal_density_of_given"], rtol=1e-12)
    np.testing.assert_allclose(rows.mean[0], case["mean"], rtol=1e-12)
    np.testing.assert_allclose(rows.covariance[0], case["covariance"], rtol=1e-12, atol=1e-14)
    quantiles = case["quantiles_first_rest"]
    found = rows.quantiles([float(prob) for prob in quantiles])[0, 0]
    np.testing.assert_allclose(found, list(quantiles.values()), rtol=1e-12)


@pytest.mark.parametrize("covariance_type", EVERY_FAMILY)
@pytest.mark.parametrize("observed", [[2], [3, 0], [1, 2, 0]])
def test_conditional_is_the_textbook_s(covariance_type, observed):
    mixture = mixture_of(covariance_type)
    x = mixture.sample(1, rng=np.random.default_rng(1))[0][0, observed]
    found = mixture.condition(dict(zip(observed, x, strict=True)))
    weights, means, covariances = textbook(mixture, observed, x)
    np.testing.assert_allclose(found.weights, weights, rtol=1e-12)
    np.testing.assert_allclose(found.means, means, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.full_covariances, covariances, rtol=1e-12, atol=1e-13)
    assert found.covariance_type == OF_PART.get(covariance_type, covariance_type)


@pytest.mark.parametrize("covariance_type", EVERY_FAMILY)
def test_conditional_density_is_joint_over_marginal(covariance_type):
    mixture, rng = mixture_of(covariance_type), np.random.default_rng(2)
    X = mixture.sample(20, rng=rng)[0]
    marginal = mixture.marginal([3, 1])
    assert marginal.covariance_type == OF_PART.get(covariance_type, covariance_type)
    for x in X:
        conditional = mixture.condition({"x3": x[3], 1: x[1]}).log_prob(x[None, [0, 2]])
        np.testing.assert_allclose(
            conditional, mixture.log_prob(x[None]) - marginal.log_prob(x[None, [3, 1]]), rtol=1e-11
        )


@pytest.mark.parametrize("covariance_type", EVERY_FAMILY)
def test_marginal_keeps_entries_in_the_order_asked_for(covariance_type):
    mixture = mixture_of(covariance_type)
    for features in ([2, 0], ["x3"], 1, [0, 1, 2, 3]):
        index = [2, 0] if features == [2, 0] else [3] if features == ["x3"] else np.atleast_1d(features)
        found = mixture.marginal(features)
        np.testing.assert_allclose(found.means, mixture.means[:, index], rtol=0)
        np.testing.assert_allclose(found.full_covariances, mixture.full_covariances[:, index][:, :, index], rtol=1e-13)
        np.testing.assert_array_equal(found.weights, mixture.weights)


@pytest.mark.parametrize("covariance_type", EVERY_FAMILY)
def test_rows_are_each_value_s_mixture(covariance_type):
    mixture = mixture_of(covariance_type)
    x = np.linspace(-3.0, 3.0, 7)
    rows = mixture.condition({1: x, 3: 0.5})
    assert isinstance(rows, ConditionalMixtures)
    assert len(rows) == 7
    for i, value in enumerate(x):
        one = mixture.condition({1: value, 3: 0.5})
        np.testing.assert_allclose(rows.weights[i], one.weights, rtol=1e-13)
        np.testing.assert_allclose(rows.means[i], one.means, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(rows.covariances, one.full_covariances, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(rows.mean[i], one.weights @ one.means, rtol=1e-12, atol=1e-14)
        centred = one.means - one.weights @ one.means
        expected = np.einsum("k,kij->ij", one.weights, one.full_covariances + centred[:, :, None] * centred[:, None])
        np.testing.assert_allclose(rows.covariance[i], expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(rows.sd[i] ** 2, np.diagonal(expected), rtol=1e-12)
    np.testing.assert_allclose(rows.log_density, mixture.marginal([1, 3]).log_prob(np.column_stack([x, 0 * x + 0.5])))


def test_features_on_a_line_up_to_rounding_have_a_positive_variance():
    mixture = Mixture([1.0], [[0.0, 0.0]], [[[1.0, 1.0 - 1e-15], [1.0 - 1e-15, 1.0]]])
    found = mixture.condition({0: 2.0})
    assert 0.0 < found.covariances[0, 0, 0] < 1e-14
    assert found.means[0, 0] == pytest.approx(2.0)


def test_a_component_of_no_weight_stays():
    mixture = Mixture([0.5, 0.5], [[0.0, 0.0], [1e3, 0.0]], np.array([np.eye(2)] * 2))
    found = mixture.condition({0: 0.0})
    assert found.n_components == 2
    assert 0.0 < found.weights[1] < 1e-300


def test_far_values_take_the_widest_component():
    mixture = Mixture([0.5, 0.5], [[0.0, 0.0], [0.0, 5.0]], np.array([np.eye(2), 4.0 * np.eye(2)]))
    rows = mixture.condition({0: [1e3, -1e100]})
    np.testing.assert_allclose(rows.weights, [[0.0, 1.0]] * 2, atol=1e-300)
    assert np.isfinite(rows.log_density).all()


@pytest.mark.draws
def test_samples_have_the_conditional_moments():
    mixture, n = mixture_of("full"), 40_000
    rows = mixture.condition({0: np.full(n, 0.7), 2: -1.0})
    X = rows.sample(rng=np.random.default_rng(5))
    assert np.abs((X.mean(axis=0) - rows.mean[0]) / rows.sd[0]).max() * np.sqrt(n) < bound(2)
    below = (X < rows.quantiles([0.2])[0, :, 0]).mean(axis=0)
    assert np.abs(below - 0.2).max() / np.sqrt(0.2 * 0.8 / n) < bound(2)


def test_quantiles_of_one_component_are_the_normal_s():
    mixture = Mixture([1.0], [[1.0, 2.0]], [[[4.0, 1.0], [1.0, 9.0]]])
    rows, probs = mixture.condition({0: [3.0]}), [1e-6, 0.3, 0.999]
    expected = norm.ppf(probs, 2.5, np.sqrt(8.75))
    np.testing.assert_allclose(rows.quantiles(probs)[0, 0], expected, rtol=1e-12)
    assert rows.quantiles(0.3).shape == (1, 1, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, r"a mapping from features to values.*got 5"),
        ({}, "distinct features with a value among x0, x1"),
        ({"weight": 1.0}, "distinct features with a value among x0, x1; got .'weight'"),
        ({0: 1.0, "x0": 2.0}, "distinct features with a value"),
        ({0: 1.0, 1: 2.0}, "features named that leave at least one; got all: 'x0' and 'x1'"),
        ({0: "tall"}, "values of 0 to be numeric"),
        ({0: True}, "values of 0 .*true and false"),
        ({0: np.nan}, "values of 0 without missing"),
        ({0: [[1.0]]}, r"a number, or one for each row.*got shapes \(1, 1\)"),
        ({0: []}, r"a number, or one for each row.*got shapes \(0,\)"),
        ({0: 1e101}, r"below 1e\+100"),
    ],
)
def test_bad_values(given, message):
    with pytest.raises(InputError, match=message):
        mixture_of("full", (2, 2)).condition(given)


def test_arrays_of_other_lengths():
    with pytest.raises(InputError, match=r"one for each row.*got shapes \(2,\), \(3,\)"):
        mixture_of("full").condition({0: [1.0, 2.0], 1: [1.0, 2.0, 3.0]})


@pytest.mark.parametrize("features", [9, "height", [0, 0], [], [True], 1.5, {}])
def test_bad_features(features):
    with pytest.raises(InputError, match="distinct features among x0, x1, x2, x3"):
        mixture_of("full").marginal(features)


@pytest.mark.parametrize("probs", [0.0, 1.0, [0.5, 2.0], [np.nan], "half", [[0.5]], True])
def test_bad_probabilities(probs):
    with pytest.raises(InputError, match="probs"):
        mixture_of("full").condition({0: [1.0]}).quantiles(probs)
