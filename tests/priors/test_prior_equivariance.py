"""Priors in other units and coordinates: the posterior's density falls by n log |det B|, and by the Jacobian's part."""

from dataclasses import replace

import numpy as np
import pytest
from affine_maps import AffineMap, random_map
from hypothesis import given, settings
from hypothesis import strategies as st
from posterior_cases import random_prior
from prior_cases import prior_of
from reference import FAMILIES, random_mixture

from bayesgmm.data import Data
from bayesgmm.estimators._prior_parameters import PriorParameters
from bayesgmm.evidence.conditional_densities import Conditionals
from bayesgmm.log_posterior.log_posterior import LogPosterior
from bayesgmm.log_posterior.log_weights import SparseWeights
from bayesgmm.log_posterior.transforms import Coordinates
from bayesgmm.mixture import Equivariance, covariance_family
from bayesgmm.mixture.draws import Draws
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.posterior.tree import prior_from_json, prior_to_json
from bayesgmm.priors.prior import Prior

K, N = 3, 60
BY_ROWS = {
    "weakly_informative": lambda X, _: Prior.weakly_informative(X),
    "weakly_informative, sparse": lambda X, _: Prior.weakly_informative(X, concentration=0.05),
    "weakly_informative, concentration sampled": lambda X, _: Prior.weakly_informative(
        X, concentration=Prior.gamma(1, 20)
    ),
    "fraley_raftery": lambda X, family: Prior.fraley_raftery(X, K, covariance_type=family),
    "malsiner_walli": lambda X, _: Prior.malsiner_walli(X),
    "richardson_green": lambda X, _: Prior.richardson_green(X),
    "scikit-learn's": lambda X, family: PriorParameters().prior(X, K, covariance_type=family),
}
PAIRS = [(family, name) for family in FAMILIES for name in BY_ROWS]
OWN_NUMBERS = ("independent", "normal_inverse_wishart", "separation")
OWN = [(family, form, sampled) for family in FAMILIES for form in OWN_NUMBERS[:2] for sampled in (False, True)]
OWN += [(family, "separation", False) for family in ("full", "tied")]


def rows_of(name, rng, d):
    d = 1 if name == "richardson_green" else d
    return 2.0 * rng.standard_normal((N, d)) @ (np.eye(d) + 0.3 * rng.standard_normal((d, d)))


def powers_of_two(group, rng, d):
    exponents = rng.integers(-40, 41, d if Equivariance.SCALES in group else 1)
    return AffineMap(np.zeros(d), np.diag(np.broadcast_to(2.0**exponents, d)))


def carried(mixture, to):
    """The mixture in the other coordinates."""
    covariances = mixture.family.compress(to.covariances(mixture.full_covariances))
    return Mixture(mixture.weights, to(mixture.means), covariances, mixture.covariance_type)


def carried_prior(prior, to):
    """A prior of one's own numbers in the other coordinates, by what its parameters mean."""
    if (np.diag(np.diagonal(to.B)) == to.B).all():
        return prior.rescaled(to.a, np.diagonal(to.B))
    changes = {"mean": to(prior.mean), "scale": to.covariances(prior.scale)}
    if prior.mean_covariance is not None:
        changes["mean_covariance"] = to.covariances(prior.mean_covariance)
    if prior.scale_prior is not None:
        changes["scale_prior"] = replace(prior.scale_prior, scale=to.covariances(prior.scale_prior.scale))
    return replace(prior, **changes)


def parameters_log_det(mixture, to):
    """log |d (carried parameters) / d parameters|: means, then covariances in the family's free entries."""
    d, family = mixture.n_features, mixture.family
    a_block = {"full": d + 1.0, "diag": 2.0, "spherical": 2.0 / d}[
        family.name.replace("tied_", "").replace("tied", "full")
    ]
    return (mixture.n_components + a_block * len(mixture.factors)) * to.log_det


def log_posterior_of(X, prior, centre):
    resolved = prior.resolve(centre.n_components, centre.n_features, centre.covariance_type)
    coordinates = Coordinates.around(centre, SparseWeights.of(resolved, len(X)))
    return LogPosterior(Data.of(X), resolved, coordinates)


def native_log_density(X, prior, centre, mixture):
    """Log likelihood and log prior, as the sampler's code has them, at a mixture."""
    density = log_posterior_of(X, prior, centre)
    point = density.coordinates.point(mixture)
    return density(point)[0] - float(density.coordinates.log_jacobian(point))


def check(X, prior, other, to, *, covariance_type, rng, rtol):
    """Two priors are one in two coordinates: by densities of the posterior and of the prior."""
    centre, mixture = (random_mixture(rng, covariance_type, (K, X.shape[1])) for _ in range(2))
    there = carried(centre, to), carried(mixture, to)
    jacobian = parameters_log_det(mixture, to)
    here = native_log_density(X, prior, centre, mixture)
    got = native_log_density(to(X), other, *there)
    unit = abs(here) + len(X) * abs(to.log_det)
    assert got + len(X) * to.log_det + jacobian == pytest.approx(here, abs=rtol * unit)
    unit = max(abs(prior.log_prob(mixture)), abs(jacobian), 1.0)
    assert other.log_prob(there[1]) + jacobian == pytest.approx(prior.log_prob(mixture), abs=rtol * unit)


@pytest.mark.parametrize(("covariance_type", "name"), PAIRS)
def test_powers_of_two_change_no_digit(covariance_type, name):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X = rows_of(name, rng, 3)
        prior = BY_ROWS[name](X, covariance_type)
        group = covariance_family(covariance_type).equivariance & prior.equivariance
        to = powers_of_two(group, rng, X.shape[1])
        other = BY_ROWS[name](to(X), covariance_type)
        check(X, prior, other, to, covariance_type=covariance_type, rng=rng, rtol=1e-9)


@settings(max_examples=150, deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    d=st.integers(1, 5),
    log10_scale=st.sampled_from([1.0, 6.0, 12.0]),
    offset=st.sampled_from([0.0, 10.0, 1e6]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_prior_made_from_rows_follows_them_over_its_group(pair, d, log10_scale, offset, seed):
    (covariance_type, name), rng = pair, np.random.default_rng(seed)
    X = rows_of(name, rng, d)
    prior = BY_ROWS[name](X, covariance_type)
    group = covariance_family(covariance_type).equivariance & prior.equivariance
    to = random_map(group, rng, X.shape[1], log10_scale=log10_scale, offset=offset)
    other = BY_ROWS[name](to(X), covariance_type)
    assert other.equivariance == prior.equivariance
    check(X, prior, other, to, covariance_type=covariance_type, rng=rng, rtol=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    own=st.sampled_from(OWN), d=st.integers(1, 4), offset=st.sampled_from([0.0, 1e6]), seed=st.integers(0, 2**32 - 1)
)
def test_numbers_of_ones_own_carried_by_hand_are_the_same_prior(own, d, offset, seed):
    (covariance_type, form, sampled), rng = own, np.random.default_rng(seed)
    by_hand = sampled or form == "separation"
    prior = prior_of(form, d, rng=rng) if by_hand else random_prior(rng, covariance_type, form, (K, d), by_cluster=True)
    assert prior.equivariance is None
    group = Equivariance.SCALES if form == "separation" else covariance_family(covariance_type).equivariance
    to = random_map(group, rng, d, log10_scale=12.0, offset=offset)
    check(
        rows_of(form, rng, d), prior, carried_prior(prior, to), to, covariance_type=covariance_type, rng=rng, rtol=1e-6
    )


@pytest.mark.parametrize(("covariance_type", "name"), [pair for pair in PAIRS if pair[1] != "richardson_green"])
def test_no_group_is_larger_than_it_says(covariance_type, name):
    rng = np.random.default_rng(0)
    X = rows_of(name, rng, 3)
    prior = BY_ROWS[name](X, covariance_type)
    family = covariance_family(covariance_type)
    for group in (Equivariance.SCALES, Equivariance.ROTATIONS):
        if group in family.equivariance and group not in prior.equivariance:
            to = random_map(group, rng, 3)
            mixture = random_mixture(rng, covariance_type, (K, 3))
            there = BY_ROWS[name](to(X), covariance_type).log_prob(carried(mixture, to))
            assert abs(there + parameters_log_det(mixture, to) - prior.log_prob(mixture)) > 1e-3


@pytest.mark.parametrize("name", ["weakly_informative", "fraley_raftery", "malsiner_walli"])
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_proposals_of_bridge_sampling_follow_the_rows(covariance_type, name):
    rng = np.random.default_rng(0)
    X = rows_of(name, rng, 3)
    prior = BY_ROWS[name](X, covariance_type)
    group = covariance_family(covariance_type).equivariance & prior.equivariance
    to = random_map(group, rng, 3, log10_scale=12.0, offset=1e6)
    points = [random_mixture(rng, covariance_type, (K, 3)) for _ in range(4)]
    labels = rng.integers(K, size=(4, N))

    def log_density(rows, prior, mixtures):
        arrays = (np.stack([getattr(m, name) for m in mixtures]) for name in ("weights", "means", "full_covariances"))
        draws = Draws(*arrays, family=covariance_family(covariance_type))
        resolved = prior.resolve(K, 3, covariance_type).inverse_wishart
        density = Conditionals.of_prior(resolved).given(Data(rows), labels, draws)
        drawn = density.sample(50, rng=np.random.default_rng(1))
        return density.log_density(draws), density.log_density(drawn)

    here = log_density(X, prior, points)
    there = log_density(to(X), BY_ROWS[name](to(X), covariance_type), [carried(m, to) for m in points])
    jacobian = parameters_log_det(points[0], to)
    np.testing.assert_allclose(there[0] + jacobian, here[0], rtol=0, atol=1e-5 * np.abs(here[0]).max())
    if not Equivariance.ROTATIONS & group:  # the same random numbers are then the same draws
        np.testing.assert_allclose(there[1] + jacobian, here[1], rtol=0, atol=1e-5 * np.abs(here[1]).max())


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_the_sampler_sees_the_same_density_in_any_units(covariance_type):
    """Around centres that are one mixture in two units a point has the same density but for a constant, and slope."""
    rng = np.random.default_rng(0)
    X, centre = rows_of("", rng, 3), random_mixture(rng, covariance_type, (K, 3))
    group = covariance_family(covariance_type).equivariance & Equivariance.SCALES
    to = random_map(group, rng, 3, log10_scale=12.0, offset=1e6)
    here = log_posterior_of(X, Prior.weakly_informative(X), centre)
    there = log_posterior_of(to(X), Prior.weakly_informative(to(X)), carried(centre, to))
    for point in 0.3 * rng.standard_normal((5, here.n_dim)):
        (value, slope), (other, other_slope) = here(point), there(point)
        assert other + N * to.log_det == pytest.approx(value, abs=1e-6 * (abs(value) + N * abs(to.log_det)))
        np.testing.assert_allclose(other_slope, slope, atol=1e-6 * np.abs(slope).max())


def test_a_saved_prior_keeps_its_group():
    X = rows_of("", np.random.default_rng(0), 2)
    for prior in (
        Prior.weakly_informative(X),
        Prior.malsiner_walli(X),
        prior_of("separation", 2, rng=np.random.default_rng(0)),
    ):
        assert prior_from_json(prior_to_json(prior)).equivariance is prior.equivariance
