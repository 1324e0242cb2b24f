"""Starts: usable whatever the data look like, refused clearly where they cannot be."""

import numpy as np
import pytest
from em_cases import PRIORS, mixture_from_responsibilities, one_start, plain_em_step
from reference import FAMILIES, load_data, random_mixture
from scipy.cluster.hierarchy import fcluster, ward
from scipy.spatial.distance import pdist

from bayesgmm.data.blocks import Data
from bayesgmm.em.initialization import (
    DECORRELATED,
    DISTANCES,
    INIT_METHODS,
    SCALED,
    Initialisation,
    aligned_to_prior,
    distances_for,
    groups_of_tree,
    scaled_for_distances,
)
from bayesgmm.em.moments import moments_of
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import covariance_family
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.prior import Prior


def rng(seed=0):
    return np.random.default_rng(seed)


AWKWARD = {
    "all rows equal": np.ones((5, 2)),
    "fewer distinct rows than components": np.array([[1.0, 2.0]] * 3 + [[2.0, 5.0]] * 2),
    "one feature": rng().normal(size=(6, 1)),
    "a constant column": np.column_stack([rng().normal(size=20), np.ones(20)]),
    "dependent columns": rng().normal(size=(20, 1)) * [[1.0, 2.0, -3.0]],
    "many ties": np.repeat([[0.0], [1.0], [5.0]], [20, 1, 1], axis=0),
    "two rows": np.array([[0.0, 1.0], [1.0, 0.0]]),
    "an outlier": np.vstack([rng().normal(size=(20, 2)), [[1e6, 1e6]]]),
    "columns of very different scale": rng().normal(size=(30, 2)) * [1e-4, 1e6],
}


@pytest.mark.parametrize("method", INIT_METHODS)
@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("name", AWKWARD)
def test_every_start_is_usable(name, covariance_type, method):
    X = AWKWARD[name]
    for n_components in {1, 2, 3, len(X)}:
        if n_components > len(X):
            continue
        for distances in DISTANCES:
            start = one_start(
                Data.of(X),
                n_components,
                rng=rng(n_components),
                covariance_type=covariance_type,
                initialisation=Initialisation(method),
                distances=distances,
            )
            assert start.means.shape == (n_components, X.shape[1])
            assert np.isfinite(start.log_prob(X)).all()
            assert start.weights.min() > 0
            assert np.linalg.eigvalsh(start.full_covariances).min() > 0


@pytest.mark.parametrize("n_components", [0, 6, 2.5])
def test_more_components_than_rows_are_refused(n_components):
    with pytest.raises(InputError, match="n_components"):
        one_start(Data.of(np.arange(5.0)[:, None]), n_components, rng=rng())


def test_an_unknown_method_is_refused():
    with pytest.raises(InputError, match=r"k-means\+\+"):
        one_start(Data.of(np.arange(5.0)[:, None]), 2, rng=rng(), initialisation=Initialisation("magic"))


@pytest.mark.parametrize("prior_name", ["none", "normal_inverse_wishart"])
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_mixture_from_responsibilities_is_the_m_step(covariance_type, prior_name):
    X = load_data("iris")
    before = random_mixture(rng(), covariance_type, (3, 4))
    before = Mixture(before.weights, X[[0, 60, 120]], before.covariances, covariance_type)
    prior = PRIORS[prior_name](X)
    resolved = None if prior is None else prior.resolve(3, 4, covariance_type)
    got = mixture_from_responsibilities(X, before.responsibilities(X), covariance_type, prior=resolved, reg_covar=0.0)
    want = plain_em_step(X, before, prior)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-9, atol=1e-11)


def test_weights_of_rows_are_repetitions():
    X, v = load_data("acidity"), np.arange(155) % 3
    resp = rng().dirichlet([1.0, 1.0], size=155)
    weighted = mixture_from_responsibilities(X, resp, row_weights=v)
    repeated = mixture_from_responsibilities(np.repeat(X, v, axis=0), np.repeat(resp, v, axis=0))
    np.testing.assert_allclose(weighted.covariances, repeated.covariances, rtol=1e-10)
    np.testing.assert_allclose(weighted.weights, repeated.weights, rtol=1e-12)


@pytest.mark.draws
@pytest.mark.parametrize("method", ["k-means++", "kmeans", "random_from_data"])
def test_well_separated_groups_are_found_at_once(method):
    centres = np.array([[0.0, 0.0], [0.0, 900.0], [8.0, 0.0]])  # the second column has large units
    X = np.vstack([centre + rng(1).normal(size=(30, 2)) * [0.1, 10.0] for centre in centres])
    found = [
        one_start(Data.of(X), 3, rng=rng(seed), initialisation=Initialisation(method)).weights.max() < 0.4
        for seed in range(20)
    ]
    assert sum(found) >= (5 if method == "random_from_data" else 17)


def test_distances_do_not_depend_on_units_where_the_family_does_not():
    X = load_data("thyroid")
    units = np.array([1e3, 1.0, 1e-2, 5.0, 1.0])
    for covariance_type, distances in (("diag", SCALED), ("full", SCALED), ("full", DECORRELATED)):
        family = covariance_family(covariance_type)
        ours, theirs = (
            scaled_for_distances(Y, family, moments=moments_of(Data.of(Y, np.ones(215))), distances=distances)[0]
            for Y in (X, X * units)
        )
        np.testing.assert_allclose(np.abs(ours), np.abs(theirs), rtol=1e-6)
        np.testing.assert_allclose(ours.std(axis=0), 1.0)
    plain, to_scaled = scaled_for_distances(
        X, covariance_family("spherical"), moments=moments_of(Data.of(X, np.ones(215)))
    )
    unit = np.sqrt(X.var(axis=0).mean())
    np.testing.assert_allclose(plain, (X - X.mean(axis=0)) / unit)
    np.testing.assert_array_equal(to_scaled(X[:3]), plain[:3])


def test_distances_differ_where_the_family_allows_it():
    X = load_data("thyroid")
    for covariance_type, n_kinds in (("spherical", 1), ("diag", 2), ("tied_diag", 2), ("full", 3), ("tied", 3)):
        family = covariance_family(covariance_type)
        moments = moments_of(Data.of(X))
        kinds = [scaled_for_distances(X, family, moments=moments, distances=each)[0] for each in distances_for(family)]
        assert len(kinds) == n_kinds
        np.testing.assert_allclose(kinds[0], (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0).mean()))
        assert all(not np.allclose(one, kinds[0]) for one in kinds[1:])


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_what_the_user_gives_is_kept(covariance_type):
    X = load_data("faithful")
    wanted = random_mixture(rng(), covariance_type, (2, 2))
    matrices = covariance_type not in ("diag", "spherical")
    precisions = np.linalg.inv(wanted.covariances) if matrices else 1.0 / wanted.covariances
    given = Initialisation("k-means++", wanted.weights, wanted.means, precisions)
    start = one_start(Data.of(X), 2, rng=rng(), covariance_type=covariance_type, initialisation=given)
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(start, name), getattr(wanted, name), rtol=1e-12)


def test_given_means_share_the_rows_out():
    X = load_data("faithful")
    given = Initialisation(means=[[4.3, 80.0], [2.0, 55.0]])
    start = one_start(Data.of(X), 2, rng=rng(), initialisation=given)
    assert start.weights[0] > 0.6 > 0.4 > start.weights[1]
    assert given.fixed(3)
    assert given.labelled
    assert not Initialisation().labelled


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": [0.5, 0.6]}, r"normalized, but got sum\(weights\) = 1.10000 \(weights_init\)"),
        ({"weights": [1.2, -0.2]}, "weights_init positive, at most one"),
        ({"weights": [0.5, 0.3, 0.2]}, r"shape of \(2,\), but got \(3,\) \(weights_init\)"),
        ({"means": [[0.0], [1.0]]}, r"shape of \(2, 2\), but got \(2, 1\) \(means_init\)"),
        ({"means": [[0.0, np.nan], [1.0, 1.0]]}, "means_init without missing"),
        ({"precisions": np.eye(2)}, r"shape of \(2, 2, 2\), but got \(2, 2\) \(precisions_init\)"),
        ({"precisions": [np.eye(2), -np.eye(2)]}, r"positive-definite \(precisions_init\)"),
        ({"precisions": [np.eye(2), [[1.0, 0.5], [0.0, 1.0]]]}, "not symmetric"),
    ],
)
def test_given_parameters_that_are_none_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        one_start(Data.of(load_data("faithful")), 2, rng=rng(), initialisation=Initialisation(**given))


def test_a_prior_that_tells_components_apart_orders_them():
    mixture = Mixture([0.2, 0.3, 0.5], [[0.0], [5.0], [10.0]], [[[1.0]], [[1.0]], [[1.0]]])
    common = {"concentration": 1.0, "dof": 3.0, "scale": [[1.0]]}
    for order in ([2, 0, 1], [1, 2, 0]):
        means = mixture.means[order] + 0.3
        conjugate = Prior.normal_inverse_wishart(mean=means, kappa=1.0, **common)
        independent = Prior.independent(mean=means, mean_covariance=[[4.0]], **common)
        for prior in (conjugate, independent):
            aligned = aligned_to_prior(mixture, prior.resolve(3, 1))
            np.testing.assert_array_equal(aligned.means, mixture.means[order])


def test_trees_are_cut_as_scipy_cuts_them():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        n, d, most = rng.integers((2, 1, 1), (60, 4, 12))
        rows = rng.normal(size=(n, d)) if seed % 2 else rng.integers(0, 3, size=(n, d))  # with ties
        tree = ward(pdist(rows))
        np.testing.assert_array_equal(groups_of_tree(tree, most), fcluster(tree, most, "maxclust") - 1)
