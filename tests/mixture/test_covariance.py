"""The table of covariance families: complete, self-consistent, and counting as scikit-learn counts."""

import numpy as np
import pytest
from reference import FAMILIES, ORIENTED, RESTRICTED, SCIKIT_LEARNS, random_mixture
from sklearn.mixture import GaussianMixture

from bayesgmm.exceptions import InputError
from bayesgmm.mixture import FAMILIES as TABLE
from bayesgmm.mixture import covariance_family
from bayesgmm.mixture.mixture import Mixture

CODES = {
    "full": "VVV",
    "tied": "EEE",
    "diag": "VVI",
    "spherical": "VII",
    "tied_diag": "EEI",
    "tied_spherical": "EII",
    **{name: name for name in (*RESTRICTED, *ORIENTED)},
}
SHAPES = ((1, 1), (1, 3), (4, 1), (3, 5))


def test_every_name_and_code_is_in_the_table():
    assert set(TABLE) == {*CODES, *CODES.values(), "E", "V"}
    for name, code in CODES.items():
        assert covariance_family(name) is covariance_family(code)
        assert (covariance_family(name).name, covariance_family(name).code) == (name, code)


@pytest.mark.parametrize(("code", "name"), [("V", "full"), ("E", "tied")])
def test_univariate_codes_are_for_one_feature(code, name):
    assert covariance_family(code, 1) is covariance_family(code) is covariance_family(name)
    with pytest.raises(InputError, match="one feature"):
        covariance_family(code, 2)
    with pytest.raises(InputError, match="one feature"):
        Mixture([1.0], [[0.0, 0.0]], np.eye(2), code)
    assert Mixture([1.0], [[0.0]], np.ones(covariance_family(name).covariances_shape(1, 1)), code).n_features == 1


@pytest.mark.parametrize("unknown", ["VEX", "Full", None, 3, ["full"]])
def test_unknown_families_raise(unknown):
    with pytest.raises(InputError, match=r"'full' \(VVV\)"):
        covariance_family(unknown)


@pytest.mark.parametrize("name", SCIKIT_LEARNS)
@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_and_shapes_are_those_of_scikit_learn(name, shape):
    n_components, n_features = shape
    family = covariance_family(name)
    X = np.random.default_rng(0).normal(size=(60, n_features))
    theirs = GaussianMixture(n_components, covariance_type=name, max_iter=500).fit(X)
    assert family.n_parameters(n_components, n_features) == theirs._n_parameters()
    assert family.covariances_shape(n_components, n_features) == theirs.covariances_.shape


@pytest.mark.parametrize(("name", "free"), [("tied_diag", 3), ("tied_spherical", 1)])
def test_the_others_have_full_matrices_and_count_as_mclust_does(name, free):
    family = covariance_family(name)
    assert family.covariances_shape(5, 3) == (5, 3, 3)
    assert family.n_parameters(5, 3) == 4 + 15 + free  # mclust's nMclustParams("EEI" or "EII", 3, 5)


@pytest.mark.parametrize("name", ["tied_diag", "tied_spherical"])
def test_full_matrices_outside_the_family_raise(name):
    for covariances in (
        [np.diag([1.0, 1.0]), np.diag([2.0, 2.0])],
        [[[1.0, 0.1], [0.1, 1.0]]] * 2,
        *([[np.diag([1.0, 2.0])] * 2] if name == "tied_spherical" else []),
    ):
        with pytest.raises(InputError, match="same for all components"):
            Mixture([0.5, 0.5], np.zeros((2, 2)), covariances, name)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_factors_round_trip(name, shape):
    family, mixture = covariance_family(name), random_mixture(np.random.default_rng(1), name, shape)
    factors = family.factors(mixture.covariances, shape[1])
    assert factors.shape == (family.n_blocks(shape[0]), *family.block_shape(shape[1]))
    np.testing.assert_allclose(family.covariances(factors, *shape), mixture.covariances, rtol=1e-12)
    again = family.factors(family.covariances(factors, *shape), shape[1])
    np.testing.assert_allclose(again, factors, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_expanded_matrices_are_the_covariances(name, shape):
    family, mixture = covariance_family(name), random_mixture(np.random.default_rng(2), name, shape)
    full = family.expand(mixture.factors, *shape)
    assert full.shape == (shape[0], shape[1], shape[1])
    identity = np.eye(shape[1])
    for k in range(shape[0]):
        c = mixture.covariances if family.name == "tied" else mixture.covariances[k]
        np.testing.assert_allclose(full[k], c * identity if family.name in ("diag", "spherical") else c, rtol=1e-12)
    np.testing.assert_allclose(family.compress(full), mixture.covariances, rtol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_leading_axes_are_carried_along(name):
    family, rng = covariance_family(name), np.random.default_rng(3)
    mixtures = [[random_mixture(rng, name, (3, 2)) for _ in range(4)] for _ in range(2)]
    factors = np.array([[m.factors for m in row] for row in mixtures])
    covariances = np.array([[m.covariances for m in row] for row in mixtures])
    full = np.array([[m.full_covariances for m in row] for row in mixtures])
    np.testing.assert_allclose(family.covariances(factors, 3, 2), covariances, rtol=1e-12)
    np.testing.assert_allclose(family.expand(factors, 3, 2), full, rtol=1e-12)
    np.testing.assert_allclose(family.compress(full), covariances, rtol=1e-12)


def test_compress_averages_what_a_family_ties():
    full = np.array([np.diag([1.0, 3.0]), np.diag([5.0, 7.0])])
    np.testing.assert_array_equal(covariance_family("tied").compress(full), np.diag([3.0, 5.0]))
    np.testing.assert_array_equal(covariance_family("spherical").compress(full), [2.0, 6.0])
    np.testing.assert_allclose(covariance_family("tied_diag").compress(full), [np.diag([3.0, 5.0])] * 2)
    np.testing.assert_allclose(covariance_family("tied_spherical").compress(full), [4.0 * np.eye(2)] * 2)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_precision_factors_and_determinants(name, shape):
    family, mixture = covariance_family(name), random_mixture(np.random.default_rng(4), name, shape)
    precision = family.precision_factors(mixture.factors)
    log_det = np.broadcast_to(family.log_precision_determinants(precision, shape[1]), shape[:1])
    np.testing.assert_allclose(log_det, -0.5 * np.linalg.slogdet(mixture.full_covariances)[1], rtol=1e-11, atol=1e-13)
    if family.name in ("full", "tied"):
        product = precision @ mixture.factors
        np.testing.assert_allclose(product, np.broadcast_to(np.eye(shape[1]), product.shape), atol=1e-13)
    else:
        np.testing.assert_allclose(precision * mixture.factors, 1.0, rtol=1e-14)


@pytest.mark.parametrize("name", FAMILIES)
def test_covariances_that_are_not_positive_definite_raise(name):
    family = covariance_family(name)
    bad = np.zeros(family.covariances_shape(2, 3))
    with pytest.raises(np.linalg.LinAlgError):
        family.factors(bad, 3)
