"""The PyMC model: its density is the prior times the mixture, and PyMC's own functions work on it."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytest
import xarray as xr
from pytensor.compile.mode import Mode
from scipy import stats

from bayesgmm.exceptions import InputError
from bayesgmm.mixture import FAMILIES, covariance_family
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.hyperparameter_values import hyperparameters
from bayesgmm.priors.prior import Prior
from bayesgmm.pymc_model.mixture_ops import MixtureLogDensity, MixturePullback, MixtureValueAndGradient
from bayesgmm.pymc_model.model import build_model

# PyTensor silences this hint about its own code at import; pytest resets that.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*np.dot\(\) is faster on contiguous arrays")

PYTHON = Mode(linker="py", optimizer="fast_run")  # no compilation: the Ops' Python side
FAMILY_NAMES = ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical")
FORMS = ("normal_inverse_wishart", "independent")
NAMES = ("weights", "means", "covariances")


def spd(rng, *shape):
    a = rng.standard_normal((*shape, shape[-1]))
    return a @ np.swapaxes(a, -1, -2) + np.eye(shape[-1])


def make_prior(form, k, d, rng, *, shared=False):
    common = {
        "concentration": rng.uniform(1.0, 3.0, k),  # below one the weights have other variables: test_sparse_model
        "mean": rng.standard_normal((k, d)),
        "dof": d + 2.5 if shared else d + rng.uniform(1.0, 4.0, k),
        "scale": spd(rng, d) if shared else spd(rng, k, d),
    }
    if form == "normal_inverse_wishart":
        return Prior.normal_inverse_wishart(kappa=rng.uniform(0.1, 2.0, k), **common)
    return Prior.independent(mean_covariance=spd(rng, k, d), **common)


def make_mixture(name, k, d, rng):
    family = covariance_family(name)
    covariances = family.compress(spd(rng, k, d))
    return Mixture(rng.dirichlet(np.full(k, 3.0)), rng.standard_normal((k, d)), covariances, name)


def point_of(model, mixture):
    """Unconstrained values of a mixture."""
    values = {"weights": mixture.weights, "means": mixture.means, "covariances": mixture.full_covariances}
    point = {}
    for rv in model.free_RVs:
        transform = model.rvs_to_transforms[rv]
        value = values[rv.name]
        if transform is not None:
            value = transform.forward(pytensor.tensor.constant(value), *rv.owner.inputs).eval(mode=PYTHON)
        point[model.rvs_to_values[rv].name] = value
    return point


CASES = [(name, form, 3, 2) for name in FAMILY_NAMES for form in FORMS]
CASES += [("full", FORMS[0], 1, 3), ("full", FORMS[1], 2, 1), ("spherical", FORMS[1], 1, 3), ("diag", FORMS[0], 2, 1)]


@pytest.mark.parametrize(("name", "form", "k", "d"), CASES)
def test_density_is_prior_times_mixture(name, form, k, d):
    rng = np.random.default_rng(10 * k + d)
    prior = make_prior(form, k, d, rng, shared=FAMILIES[name].shared)
    mixture = make_mixture(name, k, d, rng)
    X = 2.0 * rng.standard_normal((20, d))
    model = build_model(X, k, covariance_type=name, prior=prior)
    point = point_of(model, mixture)
    log_prior, log_density = (
        model.compile_logp(vars=v, jacobian=False, mode=PYTHON)(point) for v in (model.free_RVs, None)
    )
    np.testing.assert_allclose(log_prior, prior.log_prob(mixture), rtol=1e-8)
    np.testing.assert_allclose(log_density, prior.log_prob(mixture) + mixture.log_prob(X).sum(), rtol=1e-8)


@pytest.mark.parametrize(("name", "form"), [("full", FORMS[0]), ("spherical", FORMS[1])])
def test_gradient_of_unconstrained_density(name, form):
    rng = np.random.default_rng(7)
    k, d = 2, 3
    prior = make_prior(form, k, d, rng, shared=FAMILIES[name].shared)
    model = build_model(rng.standard_normal((30, d)), k, covariance_type=name, prior=prior)
    value_and_gradient = model.logp_dlogp_function(ravel_inputs=True, mode=PYTHON)
    value_and_gradient.set_extra_values({})
    point = point_of(model, make_mixture(name, k, d, rng))
    q = np.concatenate([np.ravel(point[v.name]) for v in model.value_vars])
    _, gradient = value_and_gradient(q)
    step = 1e-5
    differences = [
        (value_and_gradient(q + e)[0] - value_and_gradient(q - e)[0]) / (2 * step) for e in step * np.eye(q.size)
    ]
    np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    rows = np.concatenate([rng.standard_normal((15, 2)), rng.standard_normal((20, 2)) + 4.0])
    return pd.DataFrame(rows, columns=["length", "width"])


@pytest.fixture(scope="module")
def model(frame):
    return build_model(frame, 2)


@pytest.fixture(scope="module")
def posterior(frame):
    """Draws made by hand, in the schema of this package."""
    rng = np.random.default_rng(4)
    mixtures = [[make_mixture("full", 2, 2, rng) for _ in range(3)] for _ in range(2)]
    dims = {"weights": ["cluster"], "means": ["cluster", "feature"]}
    dims["covariances"] = ["cluster", "feature", "feature_bis"]
    arrays = {name: np.array([[getattr(m, name) for m in chain] for chain in mixtures]) for name in NAMES}
    coords = {"chain": range(2), "draw": range(3), "cluster": range(2)}
    coords |= {"feature": list(frame.columns), "feature_bis": list(frame.columns)}
    variables = {name: (["chain", "draw", *dims[name]], arrays[name]) for name in NAMES}
    constants = hyperparameters(Prior.weakly_informative(frame), 2, 2)
    groups = {"posterior": xr.Dataset(variables, coords=coords), "constant_data": xr.Dataset(constants)}
    return mixtures, xr.DataTree.from_dict(groups)


def test_model_is_readable(model):
    assert [rv.name for rv in model.free_RVs] == ["weights", "covariances", "means"]
    assert [rv.name for rv in model.observed_RVs] == ["y"]
    assert model.potentials == []
    assert set(model.rvs_to_initial_values.values()) == {None}
    assert model.named_vars_to_dims["covariances"] == ("cluster", "feature", "feature_bis")
    assert model.named_vars_to_dims["y"] == ("obs", "feature")
    assert model.coords["feature"] == ("length", "width")
    assert "MvNormalMixture" in model.str_repr()


def test_one_pass_serves_value_and_gradient(model):
    function = model.logp_dlogp_function(ravel_inputs=True, mode=PYTHON)
    ops = [type(node.op) for node in function._pytensor_function.maker.fgraph.toposort()]
    assert ops.count(MixtureValueAndGradient) == 1
    assert MixtureLogDensity not in ops
    assert MixturePullback not in ops


def test_log_likelihood_of_foreign_posterior(model, posterior, frame):
    mixtures, tree = posterior
    with model:
        quick = {"progressbar": False, "compile_kwargs": {"mode": PYTHON}}
        result = pm.stats.compute_log_likelihood(tree.copy(), **quick)["log_likelihood"]["y"]
    assert result.dims == ("chain", "draw", "obs")
    expected = [[m.log_prob(frame.to_numpy()) for m in chain] for chain in mixtures]
    np.testing.assert_allclose(result, expected, rtol=1e-10)


def test_log_prior_of_foreign_posterior(model, posterior, frame):
    mixtures, tree = posterior
    with model:
        result = pm.stats.compute_log_prior(tree.copy(), progressbar=False, compile_kwargs={"mode": PYTHON})[
            "log_prior"
        ]
    total = sum(result[name].sum([d for d in result[name].dims if d not in ("chain", "draw")]) for name in NAMES)
    prior = Prior.weakly_informative(frame)
    np.testing.assert_allclose(total, [[prior.log_prob(m) for m in chain] for chain in mixtures], rtol=1e-8)


def test_new_rows_and_posterior_prediction(frame, posterior):
    _, tree = posterior
    new = np.zeros((4, 2))
    with build_model(frame, 2):
        pm.set_data({"X": new})
        quick = {"progressbar": False, "compile_kwargs": {"mode": PYTHON}}
        likelihood = pm.stats.compute_log_likelihood(tree.copy(), **quick)["log_likelihood"]["y"]
        drawn = pm.sample_posterior_predictive(tree.copy(), predictions=True, random_seed=1, **quick)
    assert likelihood.sizes == {"chain": 2, "draw": 3, "obs": 4}
    np.testing.assert_allclose(likelihood, likelihood[..., :1] + np.zeros(4))
    assert drawn["predictions"]["y"].sizes == {"chain": 2, "draw": 3, "obs": 4, "feature": 2}


def test_prior_prediction(model):
    with model:
        drawn = pm.sample_prior_predictive(draws=5, random_seed=2, compile_kwargs={"mode": PYTHON})
    np.testing.assert_allclose(drawn["prior"]["weights"].sum("cluster"), 1.0)
    assert drawn["prior"]["covariances"].dims == ("chain", "draw", "cluster", "feature", "feature_bis")
    assert np.linalg.eigvalsh(drawn["prior"]["covariances"]).min() > 0
    assert drawn["prior_predictive"]["y"].sizes["obs"] == 35


def test_extending_the_model(frame):
    with build_model(frame, 2) as model:
        pm.Potential("order", -model["means"][0, 0])
    point = model.initial_point()
    base = build_model(frame, 2).compile_logp(mode=PYTHON)(point)
    np.testing.assert_allclose(model.compile_logp(mode=PYTHON)(point), base - point["means"][0, 0])


def test_hyperpriors_take_the_place_of_numbers(frame):
    rng = np.random.default_rng(5)
    prior, mixture = Prior.weakly_informative(frame), make_mixture("full", 2, 2, rng)
    scale = np.broadcast_to(prior.scale, (2, 2, 2))
    sampled = {"scale": lambda: pm.HalfNormal("spread", 1.0) * scale}
    hierarchical = build_model(frame, 2, prior=prior, hyperpriors=sampled)
    given = replace(prior, scale=0.7 * prior.scale)
    point = point_of(build_model(frame, 2, prior=given), mixture)
    expected = mixture.log_prob(frame).sum() + given.log_prob(mixture) + stats.halfnorm.logpdf(0.7)
    with hierarchical:
        value = hierarchical.compile_logp(jacobian=False, mode=PYTHON)({**point, "spread_log__": np.log(0.7)})
    np.testing.assert_allclose(value, expected)
    with pytest.raises(InputError, match="hyperpriors for some of"):
        build_model(frame, 2, hyperpriors={"width": lambda: pm.HalfNormal("width")})


def test_input_errors(frame):
    with pytest.raises(InputError, match="n_components"):
        build_model(frame, 36)
    with pytest.raises(InputError, match="feature names"):
        build_model(frame, 2, feature_names=["a"])
    with pytest.raises(InputError, match="covariance_type"):
        build_model(frame, 2, covariance_type="round")
    with pytest.raises(InputError, match="prior for 2 features"):
        build_model(frame, 2, prior=Prior.weakly_informative([[1.0], [2.0]]))


@pytest.mark.draws
@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2])
def test_sampling(frame, k):
    with build_model(frame, k), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = pm.sample(50, tune=100, chains=2, random_seed=1, progressbar=False, nuts_sampler="nutpie")
    assert tree["posterior"]["covariances"].sizes == {
        "chain": 2,
        "draw": 50,
        "cluster": k,
        "feature": 2,
        "feature_bis": 2,
    }
    if k == 1:
        means = tree["posterior"]["means"].mean(["chain", "draw"])[0]
        np.testing.assert_allclose(means, frame.mean(), atol=1.0)
        np.testing.assert_array_equal(tree["posterior"]["weights"], 1.0)


def test_there_are_no_second_derivatives_and_the_docstring_says_so() -> None:
    assert "``model.compile_d2logp()`` raises NotImplementedError" in str(build_model.__doc__)
    with pytest.raises(NotImplementedError, match="MixturePullback"):
        build_model(np.array([[0.0], [0.1], [5.0], [5.2]]), 2).compile_d2logp()
