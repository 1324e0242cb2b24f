"""EM of Student-t components against plain NumPy, optima that other programs reached, and the Gaussian limit."""

import numpy as np
import pytest
from reference import EVERY_FAMILY, RESTRICTED, load_data, load_json, whitened
from scipy.optimize import brentq
from scipy.special import digamma

from bayesgmm.data.blocks import Data
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.em.initialization import starting_mixture
from bayesgmm.em.m_step import m_step
from bayesgmm.mixture import component_of, expected_statistics
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.model import Model
from bayesgmm.priors.prior import Prior

KINDS = {"free": "each", "common": "shared"}  # as the reference names them
USUAL = (*EVERY_FAMILY[:3], *RESTRICTED[2:])
SOME = [*USUAL, *(pytest.param(name, marks=pytest.mark.slow) for name in EVERY_FAMILY if name not in USUAL)]


def start_of(X, covariance_type="full", *, dof="each", n_components=2, prior=None):
    component = component_of("student_t", dof)
    model = Model.of(covariance_type, n_components, X.shape[1], prior=prior, component=component)
    return model, starting_mixture(Data.of(X), model, rng=np.random.default_rng(1))


def plain_step(X, mixture, *, shared):
    """One M-step with parameter expansion of full covariances, in NumPy and SciPy."""
    n_rows, d = X.shape
    resp = mixture.responsibilities(X)
    lengths = np.square(whitened(X, mixture)).sum(axis=2).T
    u = (mixture.dof + d) / (mixture.dof + lengths)
    counts, expansion = resp.sum(axis=0), (resp * mixture.dof * u).sum() / (resp * mixture.dof).sum()
    means = (resp * u).T @ X / (resp * u).sum(axis=0)[:, None]
    apart = X - means[:, None]
    scales = np.einsum("nk,kni,knj->kij", resp * u, apart, apart) / (counts * expansion)[:, None, None]
    log_u = np.log(u) + digamma((mixture.dof + d) / 2) - np.log((mixture.dof + d) / 2)
    constants = (resp * (log_u - np.log(expansion) + 1 - u / expansion)).sum(axis=0)

    def root(count, constant):
        def slope(nu):
            return count * (np.log(nu / 2) - digamma(nu / 2)) + constant

        if slope(200.0) > 0:
            return 200.0
        return 2.0 if slope(2.0) < 0 else brentq(slope, 2.0, 200.0, xtol=1e-10)

    if shared:
        dof = np.full(len(counts), root(counts.sum(), constants.sum()))
    else:
        dof = np.array([root(n, c) for n, c in zip(counts, constants, strict=True)])
    return Mixture(counts / n_rows, means, scales, "full", dof)


@pytest.mark.parametrize("name", ["iris", "faithful", "galaxies"])
@pytest.mark.parametrize("dof", ["each", "shared"])
def test_em_steps_are_those_of_numpy(dof, name):
    X = load_data(name)
    model, mixture = start_of(X, dof=dof)
    for _ in range(3):
        want = plain_step(X, mixture, shared=dof == "shared")
        mixture = m_step(expected_statistics(X, mixture), mixture, model.pseudo_data, floor=0.0)[0]
        np.testing.assert_allclose(mixture.weights, want.weights, rtol=1e-9)
        np.testing.assert_allclose(mixture.means, want.means, rtol=1e-8)
        np.testing.assert_allclose(mixture.covariances, want.covariances, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(mixture.dof, want.dof, rtol=1e-6)


@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.parametrize("covariance_type", SOME)
def test_objective_never_falls(covariance_type, with_prior):
    X = load_data("iris")
    prior = Prior.weakly_informative(X) if with_prior else None
    model, start = start_of(X, covariance_type, n_components=3, prior=prior)
    settings = EMSettings(tol=1e-9, max_iter=300, reg_covar=1e-6)
    result = run_em(Data.of(X), start, prior=model.prior, settings=settings)
    assert np.isfinite(result.history).all()
    assert -np.diff(result.history).min() <= 1e-11 * np.abs(result.history).max()
    assert result.n_iter > 5


@pytest.mark.parametrize("name", ["faithful", "iris", "thyroid"])
def test_other_programs_optima_are_reached(name):
    """From their parameters, but for degrees of freedom, which begin at 20."""
    X = load_data(name)
    for fit in load_json("student_t")[name]:
        model, _ = start_of(X, dof=KINDS[fit["dof"]], n_components=fit["K"])
        weights = np.array(fit["weights"])
        start = model.with_component(Mixture(weights / weights.sum(), fit["means"], fit["scales"]))
        end = run_em(Data.of(X), start, settings=EMSettings(tol=None, max_iter=5000))
        assert model.n_parameters == fit["df"]
        assert end.mixture.n_parameters == fit["df"]
        assert end.log_likelihood >= fit["loglik"] - 1e-3, (name, fit["K"], fit["dof"])


def test_acceleration_reaches_the_same_optimum_sooner():
    X = load_data("faithful")
    _, start = start_of(X, dof="shared")
    plain, fast = (
        run_em(Data.of(X), start, settings=EMSettings(tol=1e-9, max_iter=20_000, accelerate=accelerate))
        for accelerate in (False, True)
    )
    assert fast.converged
    assert fast.log_likelihood >= plain.log_likelihood - 1e-5
    assert fast.n_iter < plain.n_iter


@pytest.mark.parametrize("covariance_type", USUAL)
def test_many_degrees_of_freedom_are_em_of_gaussians(covariance_type):
    X = load_data("iris")
    _, near = start_of(X, covariance_type, dof=1e8)
    start = Mixture(near.weights, near.means, near.covariances, covariance_type)
    settings = EMSettings(tol=1e-8, max_iter=5)
    one, other = (run_em(Data.of(X), each, settings=settings).mixture for each in (near, start))
    np.testing.assert_allclose(one.means, other.means, rtol=1e-6)
    np.testing.assert_allclose(one.covariances, other.covariances, rtol=1e-5, atol=1e-7)
    assert one.dof.tolist() == [1e8, 1e8]


def test_blocks_give_what_one_block_gives():
    X = load_data("faithful")
    _, start = start_of(X)
    settings = EMSettings(tol=1e-8, max_iter=50)
    whole = run_em(Data.of(X), start, settings=settings)
    blocks = [(np.ascontiguousarray(part.T), np.empty(0)) for part in np.array_split(X, 3)]
    parts = run_em(blocks, start, settings=settings)
    np.testing.assert_allclose(parts.mixture.dof, whole.mixture.dof, rtol=1e-6)
    assert parts.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-9)


def test_a_prior_pulls_degrees_of_freedom():
    """With a Gamma(2, 0.1) prior they are inside of the bounds, and the objective contains its density."""
    X = load_data("faithful")
    model, start = start_of(X, prior=Prior.weakly_informative(X))
    settings = EMSettings(tol=1e-9, max_iter=5000)
    end = run_em(Data.of(X), start, prior=model.prior, settings=settings)
    assert (end.mixture.dof < 100.0).all()
    shape, rate = model.component.prior
    log_prior = (np.log(rate**shape) + np.log(end.mixture.dof) - rate * end.mixture.dof).sum()
    assert end.objective == pytest.approx(end.log_likelihood + model.prior.log_prob(end.mixture) + log_prior)
