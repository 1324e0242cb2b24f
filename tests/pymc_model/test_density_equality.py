"""The native log posterior against the PyMC model: one density, constants included, and one gradient."""

import numpy as np
import pytest
from incomplete_cases import without_some
from posterior_cases import PAIRS, SHAPES, Case, case, numerical_gradient
from prior_cases import LEGAL, case_of, log_density_given
from pymc.blocking import DictToArrayBijection, RaveledVars

from bayesgmm.data import Data, IncompleteData
from bayesgmm.inference.engine_pymc import INTERPRETED, unconstrained_points
from bayesgmm.log_posterior.log_posterior import LogPosterior
from bayesgmm.priors.prior import Prior
from bayesgmm.pymc_model.model import build_model


def constrained(at: Case, points):
    """Values of the model's free variables at native points (..., n_dim)."""
    parameters = at.coordinates().parameters(points)
    family, (k, d) = at.centre.family, at.centre.means.shape
    covariances = family.expand(parameters.factors, k, d)
    return {"weights": parameters.weights, "means": parameters.means, "covariances": covariances}


def model_of(at: Case):
    return build_model(at.X, at.centre.n_components, covariance_type=at.centre.covariance_type, prior=at.prior)


def model_point(model, z):
    """What compiled functions of a model take, from one unconstrained vector."""
    info = DictToArrayBijection.map(model.initial_point()).point_map_info
    return DictToArrayBijection.rmap(RaveledVars(z, info))


def native(at: Case, point) -> float:
    """The native density in natural parameters."""
    return at.log_posterior()(point)[0] - float(at.coordinates().log_jacobian(point))


SHAPED = [("full", "independent"), ("tied", "normal_inverse_wishart"), ("diag", "independent")]
CASES = [(*pair, SHAPES[0]) for pair in PAIRS] + [(*pair, shape) for pair in SHAPED for shape in SHAPES[1:]]


@pytest.mark.parametrize(("covariance_type", "form", "shape"), CASES)
def test_both_densities_are_equal_constants_included(covariance_type, form, shape):
    at = case(covariance_type, form, shape)
    model = model_of(at)
    log_density = model.compile_logp(jacobian=False, mode=INTERPRETED)
    points = np.stack([at.coordinates().point(mixture) for mixture in (at.centre, at.elsewhere)])
    for point, z in zip(points, unconstrained_points(model, constrained(at, points)), strict=True):
        assert log_density(model_point(model, z)) == pytest.approx(native(at, point), rel=1e-10)


@pytest.mark.parametrize(("covariance_type", "form"), PAIRS[::4] + PAIRS[3::4])  # every family once
def test_both_gradients_are_equal_through_the_chain_rule(covariance_type, form):
    at = case(covariance_type, form, (3, 2))
    model, coordinates = model_of(at), at.coordinates()
    point = coordinates.point(at.elsewhere)
    forward = compiled_forward(model, at)
    slope = model.compile_dlogp(jacobian=False, mode=INTERPRETED)(model_point(model, forward(point)))
    expected = numerical_gradient(forward, point) @ slope
    jacobian = numerical_gradient(lambda y: coordinates.log_jacobian(y), point)
    np.testing.assert_allclose(
        at.log_posterior()(point)[1] - jacobian, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max()
    )


def compiled_forward(model, at: Case):
    """Native point -> the model's unconstrained point; asked for one by one, computed once for all."""
    known = {}

    def forward(point):
        key = point.tobytes()
        if key not in known:
            stencil = [point, *(point + s * e for e in np.eye(len(point)) * 1e-4 for s in (1, -1, 2, -2))]
            values = unconstrained_points(model, constrained(at, np.stack(stencil)))
            known.update({p.tobytes(): z for p, z in zip(stencil, values, strict=True)})
        return known[key]

    return forward


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "EVI"])
@pytest.mark.parametrize("known", ["missing values", "labels"])
def test_missing_values_and_labels_count_alike(covariance_type, known):
    at = case(covariance_type, "normal_inverse_wishart", (3, 2))
    if known == "labels":
        labels = np.resize([0, -1, -1, 2, -1, 1, -1], len(at.X))
        data = Data(at.X).labelled(np.equal.outer(labels, np.arange(3)) | (labels == -1)[:, None])
        given = {"X": at.X, "labels": labels}
    else:
        data = IncompleteData(without_some(at.X, 0.3))
        given = {"X": data.entries, "missing": "marginalize"}
    model = build_model(n_components=3, covariance_type=covariance_type, prior=at.prior, **given)
    density = LogPosterior(data, at.prior.resolve(3, 2, covariance_type), at.coordinates())
    log_density = model.compile_logp(jacobian=False, mode=INTERPRETED)
    points = np.stack([at.coordinates().point(mixture) for mixture in (at.centre, at.elsewhere)])
    for point, z in zip(points, unconstrained_points(model, constrained(at, points)), strict=True):
        expected = density(point)[0] - float(at.coordinates().log_jacobian(point))
        assert log_density(model_point(model, z)) == pytest.approx(expected, rel=1e-10)
    assert (
        sum(model[f"X_{i}"].get_value().size for i in range(len(model.observed_RVs))) == np.isfinite(given["X"]).sum()
    )


@pytest.mark.parametrize(
    ("covariance_type", "form", "shape"),
    [(*each, (3, 2)) for each in LEGAL] + [(*each, (2, 1)) for each in LEGAL if each[0] == "full"],
)
def test_sampled_scales_and_separation_priors(covariance_type, form, shape):
    """PyMC's density has the scale among its variables: less that of the scale given the rest it is the native one."""
    at = case_of(covariance_type, form, shape)
    model = model_of(at)
    log_density = model.compile_logp(jacobian=False, mode=INTERPRETED)
    points = np.stack([at.coordinates().point(mixture) for mixture in (at.centre, at.elsewhere)])
    values = constrained(at, points)
    scales = at.prior.hyperparameters_given(
        values["weights"], values["covariances"], covariance_type=covariance_type, rng=np.random.default_rng(0)
    )
    for i, z in enumerate(unconstrained_points(model, values | scales)):
        mixture = (at.centre, at.elsewhere)[i]
        hidden = log_density_given(at.prior, mixture, scales["prior_scale"][i]) if scales else 0.0
        assert log_density(model_point(model, z)) - hidden == pytest.approx(native(at, points[i]), rel=1e-10)


@pytest.mark.parametrize(
    ("covariance_type", "form"),
    [
        ("full", "independent"),
        ("tied", "separation"),
        pytest.param("diag", "normal_inverse_wishart", marks=pytest.mark.slow),
        pytest.param("spherical", "independent", marks=pytest.mark.slow),
    ],
)
def test_gradients_under_them_are_those_of_differences(covariance_type, form):
    at = case_of(covariance_type, form, (2, 2))
    model = model_of(at)
    values = constrained(at, at.coordinates().point(at.elsewhere)[None])
    scales = at.prior.hyperparameters_given(
        values["weights"], values["covariances"], covariance_type=covariance_type, rng=np.random.default_rng(0)
    )
    (z,) = unconstrained_points(model, values | scales)
    log_density, slope = model.compile_logp(mode=INTERPRETED), model.compile_dlogp(mode=INTERPRETED)
    directions = np.random.default_rng(0).normal(size=(2, len(z))) / np.sqrt(len(z))
    expected = numerical_gradient(lambda t: log_density(model_point(model, z + t @ directions)), np.zeros(2))
    found = directions @ slope(model_point(model, z))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("n_components", [1, 3])
def test_the_default_prior_is_the_same_in_both(n_components):
    at = case("full", "independent", (n_components, 2))
    at = Case(at.X, Prior.weakly_informative(at.X), at.centre, at.elsewhere)
    model = build_model(at.X, n_components)
    point = at.coordinates().point(at.elsewhere)
    (z,) = unconstrained_points(model, constrained(at, point[None]))
    log_density = model.compile_logp(jacobian=False, mode=INTERPRETED)
    assert log_density(model_point(model, z)) == pytest.approx(native(at, point), rel=1e-10)


def test_the_comparison_can_fail():
    at = case("full", "independent", (2, 2))
    other = case("full", "independent", (2, 2), seed=1)
    model = model_of(Case(at.X, other.prior, at.centre, at.elsewhere))
    point = at.coordinates().point(at.elsewhere)
    (z,) = unconstrained_points(model, constrained(at, point[None]))
    log_density = model.compile_logp(jacobian=False, mode=INTERPRETED)
    assert abs(log_density(model_point(model, z)) - native(at, point)) > 0.1
