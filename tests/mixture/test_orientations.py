"""EEV, VEV, EVE and VVE: M-steps, members, priors, floors, standard errors, and what they are not for."""

import numpy as np
import pytest
from em_cases import load_data
from posterior_cases import numerical_gradient
from reference import random_mixture
from scipy.stats import special_ortho_group

from bayesgmm import (
    BayesianGaussianMixture,
    GaussianMixture,
    Mixture,
    MvNormalMixture,
    Prior,
    build_model,
    load,
    prior_predictive,
    select_components,
)
from bayesgmm.data import Data
from bayesgmm.em import run_em
from bayesgmm.em.em import EMSettings
from bayesgmm.em.m_step import m_step
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import covariance_family, expected_statistics
from bayesgmm.overview import overview_of_em
from bayesgmm.priors import pseudo_data
from bayesgmm.standard_errors import standard_errors

FAMILIES = ("EEV", "VEV", "EVE", "VVE")
IRIS = load_data("iris")
IRIS_BEST = {"EEV": -214.85038, "VEV": -186.07328, "EVE": -234.14024, "VVE": -214.05321}  # for three components


def loss(counts, scatters, covariances):
    """Twice what an M-step minimizes."""
    traces = np.trace(np.linalg.solve(covariances, scatters), axis1=1, axis2=2)
    return counts @ np.linalg.slogdet(covariances)[1] + traces.sum()


def equal_volumes(sums, counts):
    """Variances along axes in proportion to sums, of one product."""
    means = np.exp(np.log(sums).mean(axis=1, keepdims=True))
    return sums / means * means.sum() / counts.sum()


def reference_step(name, counts, scatters, axes):
    """The best covariances, by NumPy: of those with common axes the best that rotations from ``axes`` lead to."""
    if name in ("EEV", "VEV"):
        values, vectors = np.linalg.eigh(scatters)
        shape, volumes = values.sum(axis=0) / counts.sum(), np.ones((len(counts), 1))
        for _ in range(500 if name == "VEV" else 0):
            volumes = (values / shape).mean(axis=1, keepdims=True) / counts[:, None]
            shape = (values / volumes).sum(axis=0) / counts.sum()
        return (vectors * (volumes * shape)[:, None]) @ np.swapaxes(vectors, 1, 2)
    d = len(axes)
    for _ in range(500):
        sums = np.einsum("ij,kih,hj->kj", axes, scatters, axes)
        values = equal_volumes(sums, counts) if name == "EVE" else sums / counts[:, None]
        for i in range(d):
            for j in range(i):
                pair = axes[:, [i, j]]
                weights = 1.0 / values[:, i] - 1.0 / values[:, j]
                axes[:, [i, j]] = pair @ np.linalg.eigh(np.einsum("k,kab->ab", weights, pair.T @ scatters @ pair))[1]
    return (axes * values[:, None]) @ axes.T


def a_step(name, seed=0, prior=None):
    """A mixture of the family amid iris, its M-step, and counts and scatters about the new means."""
    mixture = random_mixture(np.random.default_rng(seed), name, (3, 4))
    mixture = Mixture(mixture.weights, IRIS[[10, 60, 120]], mixture.covariances, name)
    pseudo = pseudo_data(prior and prior.resolve(3, 4, name), 3, 4, covariance_family(name))
    found, n_floored = m_step(expected_statistics(IRIS, mixture), mixture, pseudo, floor=0.0)
    assert n_floored == 0
    resp = mixture.responsibilities(IRIS)
    apart = IRIS[:, None] - found.means
    return mixture, found, resp.sum(axis=0), np.einsum("nk,nki,nkj->kij", resp, apart, apart)


@pytest.mark.parametrize(
    ("name", "free"), [("EEV", 4 + 3 * 6), ("VEV", 3 + 3 + 3 * 6), ("EVE", 1 + 9 + 6), ("VVE", 12 + 6)]
)
def test_free_parameters_are_as_mclust_counts_them(name, free):
    family = covariance_family(name)
    assert family.n_parameters(3, 4) == 2 + 12 + free
    assert family.n_parameters(1, 4) == covariance_family("full").n_parameters(1, 4)
    assert family.n_parameters(3, 1) == covariance_family("E" if name[0] == "E" else "V").n_parameters(3, 1)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_the_m_step_is_that_of_numpy(name, seed):
    mixture, found, counts, scatters = a_step(name, seed)
    before, after = (loss(counts, scatters, each.covariances) for each in (mixture, found))
    assert after < before
    for _ in range(200 if name[1:] == "VE" else 0):  # rotations go on where the last step ended
        pseudo = pseudo_data(None, 3, 4, found.family)
        whitened = found.precision_factors @ scatters @ np.swapaxes(found.precision_factors, 1, 2)
        statistics = expected_statistics(IRIS, found)
        fixed = type(statistics)(0.0, counts, np.zeros((3, 4)), np.ascontiguousarray(whitened))
        found = m_step(fixed, found, pseudo, floor=0.0)[0]
        last, after = after, loss(counts, scatters, found.covariances)
        assert after <= last + 1e-9
    pooled = np.linalg.eigh(sum(each / np.trace(each) for each in mixture.covariances))[1]
    expected = reference_step(name, counts, scatters, pooled)
    assert after == pytest.approx(loss(counts, scatters, expected), abs=1e-7)
    np.testing.assert_allclose(found.covariances, expected, atol=1e-5)
    np.testing.assert_allclose(found.factors @ np.swapaxes(found.factors, 1, 2), found.covariances, atol=1e-12)
    np.testing.assert_allclose(found.factors @ found.precision_factors, np.tile(np.eye(4), (3, 1, 1)), atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("form", ["normal_inverse_wishart", "independent"])
def test_a_prior_is_pseudo_data(name, form):
    """Each component has the scale and the exponents: a share of them where all have one volume."""
    scale, mean = np.cov(IRIS.T), IRIS.mean(axis=0)
    own = {"kappa": 0.1} if form == "normal_inverse_wishart" else {"mean_covariance": 4.0 * scale}
    prior = getattr(Prior, form)(mean=mean, dof=8.0, scale=scale, concentration=1.0, **own)
    mixture, found, counts, scatters = a_step(name, prior=prior)
    share = 1.0 / 3.0 if name[0] == "E" else 1.0
    scatters = scatters + share * scale
    counts = counts + share * (8.0 + 5.0)
    if form == "normal_inverse_wishart":
        scatters += 0.1 * (found.means - mean)[:, :, None] * (found.means - mean)[:, None]
        counts = counts + 1.0
    assert loss(counts, scatters, found.covariances) < loss(counts, scatters, mixture.covariances)
    if name[1:] == "EV":
        expected = reference_step(name, counts, scatters, None)
        np.testing.assert_allclose(found.covariances, expected, atol=1e-8)
    result = run_em(Data.of(IRIS), found, prior=prior.resolve(3, 4, name), settings=EMSettings(tol=1e-10))
    assert np.diff(result.history).min() > -1e-7
    assert result.converged
    log_prior = result.objective - result.log_likelihood
    covariances, means, log_w = result.mixture.covariances, result.mixture.means, np.log(result.mixture.weights)
    expected = -0.5 * share * (13.0 * np.linalg.slogdet(covariances)[1] + np.trace(
        np.linalg.solve(covariances, np.broadcast_to(scale, (3, 4, 4))), axis1=1, axis2=2)).sum()  # fmt: skip
    again = prior.resolve(3, 4, name).log_prob(Mixture(np.exp(log_w), means, 2.0 * covariances, name))
    doubled = -0.5 * share * (13.0 * np.linalg.slogdet(2.0 * covariances)[1] + 0.5 * np.trace(
        np.linalg.solve(covariances, np.broadcast_to(scale, (3, 4, 4))), axis1=1, axis2=2)).sum()  # fmt: skip
    if form == "independent":
        assert again - log_prior == pytest.approx(doubled - expected, rel=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_others_are_refused_and_made_members(name):
    rng = np.random.default_rng(0)
    factors = np.tril(rng.normal(size=(3, 4, 4))) + 2.0 * np.eye(4)
    others, family = factors @ np.swapaxes(factors, 1, 2), covariance_family(name)
    with pytest.raises(InputError, match=r"matrices (with|whose)"):
        Mixture(np.full(3, 1.0 / 3.0), np.zeros((3, 4)), others, name)
    nearest = family.compress(others)
    member = Mixture(np.full(3, 1.0 / 3.0), np.zeros((3, 4)), nearest, name)
    np.testing.assert_allclose(family.compress(nearest), nearest, atol=1e-10)
    expected = reference_step(name, np.ones(3), others, np.linalg.eigh(others.sum(axis=0))[1])
    assert loss(np.ones(3), others, nearest) == pytest.approx(loss(np.ones(3), others, expected), abs=1e-6)
    many = family.compress(np.stack([others, 2.0 * others]))
    np.testing.assert_allclose(many, np.stack([nearest, 2.0 * nearest]), rtol=1e-9)
    np.testing.assert_allclose(family.compact_factors(nearest), member.factors)
    alike = family.compress(np.tile(others[0], (3, 1, 1)))
    np.testing.assert_allclose(alike, np.tile(others[0], (3, 1, 1)), atol=1e-10)


@pytest.mark.parametrize("name", ["EVE", "VVE"])
def test_common_axes_are_found_where_sums_of_covariances_do_not_show_them(name):
    """The sum is a multiple of the identity, and so is another component."""
    axes = special_ortho_group.rvs(3, random_state=0)
    values = np.array([[1.0, 2.0, 4.0], [4.0, 2.0, 1.0], [2.0, 2.0, 2.0], [2.0, 1.0, 4.0]])
    members = (axes * values[:, None]) @ axes.T
    mixture = Mixture(np.full(4, 0.25), np.zeros((4, 3)), members, name)
    np.testing.assert_allclose(mixture.factors @ np.swapaxes(mixture.factors, 1, 2), members, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_worse_than_the_best_known_on_iris(name):
    fit = GaussianMixture(3, covariance_type=name, random_state=0).fit(IRIS)
    assert fit.log_likelihood_ >= IRIS_BEST[name] - 1e-3
    family = covariance_family(name)
    assert fit.bic(IRIS) == pytest.approx(-2.0 * fit.log_likelihood_ + family.n_parameters(3, 4) * np.log(150))
    Mixture(fit.weights_, fit.means_, fit.covariances_, name)  # a member still
    assert np.diff(fit.history_).min() > -1e-8


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("accelerate", [False, True])
def test_the_objective_rises_and_extrapolations_are_members(name, accelerate):
    rng = np.random.default_rng(2)
    X = np.vstack([rng.normal(size=(60, 3)) @ rng.normal(size=(3, 3)) + shift for shift in (0.0, 0.7, 1.5)])
    start = random_mixture(rng, name, (3, 3))
    result = run_em(Data.of(X), start, settings=EMSettings(tol=1e-9, max_iter=5000, accelerate=accelerate))
    assert result.converged
    assert np.diff(result.history).min() > -1e-8
    Mixture(result.mixture.weights, result.mixture.means, result.mixture.covariances, name)
    assert result.objective == pytest.approx(result.mixture.log_prob(X).sum(), rel=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("reg_covar", [None, 0.05])
def test_the_floor_holds(name, reg_covar):
    """Groups of equal rows and a constant feature: members stay above the floor, and the objective rises."""
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(40, 2)), np.full((3, 2), 5.0), np.full((9, 2), -5.0)])
    X = np.column_stack([X, np.full(len(X), 3.0)])
    start = random_mixture(rng, name, (3, 3))
    start = Mixture(start.weights, X[[0, 41, 50]], start.covariances, name)
    result = run_em(Data.of(X), start, settings=EMSettings(reg_covar=reg_covar))
    assert np.isfinite(result.objective)
    assert result.n_floored > 0
    assert np.diff(result.history).min() > -1e-8 * np.abs(result.history).max()
    values = np.linalg.eigvalsh(result.mixture.covariances)
    assert values.min() >= (reg_covar or 1e-12) * (1.0 - 1e-6)
    if reg_covar is not None:
        Mixture(result.mixture.weights, result.mixture.means, result.mixture.covariances, name)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prior_keeps_spikes_away(name):
    """Many equal rows: with a prior every start ends above the floor."""
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(40, 2)), np.repeat(np.round(rng.normal(size=(4, 2)), 1), 6, axis=0)])
    fit = GaussianMixture(4, covariance_type=name, prior="weakly_informative", n_init=4, random_state=0).fit(X)
    assert not fit.starts_.degenerate.any()
    variances = np.linalg.eigvalsh(np.cov(X.T))
    assert np.linalg.eigvalsh(fit.covariances_).min() > 1e-3 * variances[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_rotations_and_a_common_scale_change_nothing(name):
    turn = 100.0 * special_ortho_group.rvs(4, random_state=1)
    start = random_mixture(np.random.default_rng(5), name, (2, 4))
    start = Mixture(start.weights, IRIS[[10, 120]], start.covariances, name)
    turned = Mixture(start.weights, start.means @ turn.T, turn @ start.covariances @ turn.T, name)
    one, other = (run_em(Data.of(rows), begin) for rows, begin in ((IRIS, start), (IRIS @ turn.T, turned)))
    assert other.objective + 600.0 * np.log(100.0) == pytest.approx(one.objective, abs=1e-3)
    expected = turn @ one.mixture.covariances @ turn.T
    np.testing.assert_allclose(other.mixture.covariances, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", FAMILIES)
def test_an_estimator_like_the_others(name, tmp_path):
    fit = GaussianMixture(2, covariance_type=name, random_state=0).fit(IRIS)
    assert fit.covariances_.shape == fit.precisions_cholesky_.shape == (2, 4, 4)
    np.testing.assert_allclose(fit.precisions_ @ fit.covariances_, np.tile(np.eye(4), (2, 1, 1)), atol=1e-9)
    upper = fit.precisions_cholesky_
    np.testing.assert_allclose(upper @ np.swapaxes(upper, 1, 2), fit.precisions_, rtol=1e-9)
    known = GaussianMixture(2, covariance_type=name)
    known.weights_, known.means_, known.precisions_cholesky_ = fit.weights_, fit.means_, upper
    np.testing.assert_allclose(known.predict_proba(IRIS), fit.predict_proba(IRIS), atol=1e-9)
    fit.report(tmp_path / "fit.html", IRIS)
    assert name in (tmp_path / "fit.html").read_text(encoding="utf-8")
    assert overview_of_em(fit, list("abcd")).next_step == "Get intervals: standard_errors(X), or bootstrap(X)."
    assert set(fit.predict(IRIS)) == {0, 1}
    assert fit.sample(5)[0].shape == (5, 4)
    fit.save(tmp_path / "fit.nc")
    again = load(tmp_path / "fit.nc")
    np.testing.assert_allclose(again.predict_proba(IRIS), fit.predict_proba(IRIS), atol=1e-12)
    np.testing.assert_allclose(fit.to_sklearn().predict_proba(IRIS), fit.predict_proba(IRIS), atol=1e-10)
    replicates = fit.bootstrap(IRIS, n_replicates=20)
    assert np.isfinite(replicates.standard_errors.covariances).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_standard_errors_are_those_of_the_hessian(name):
    """Of weights, means and covariances moved in all directions, to which members are the nearest."""
    fit = GaussianMixture(2, covariance_type=name, tol=1e-11, random_state=0).fit(IRIS)
    mixture = fit.mixture_
    errors = standard_errors(IRIS, mixture)
    family, (k, d) = mixture.family, mixture.means.shape
    n_free = family.n_parameters(k, d)
    assert len(errors.missing) == n_free
    rows, columns = np.tril_indices(d)

    def moved(step):
        u, m, c = np.split(step, [k - 1, k - 1 + k * d])
        weights = mixture.weights * np.exp(np.append(u, 0.0))
        change = np.zeros((k, d, d))
        change[:, rows, columns] = change[:, columns, rows] = c.reshape(k, -1)
        factors = mixture.factors
        covariances = factors @ (np.eye(d) + change) @ np.swapaxes(factors, 1, 2)
        return Mixture(weights / weights.sum(), mixture.means + m.reshape(k, d), family.compress(covariances), name)

    def entries(step):
        at = moved(step)
        return np.concatenate([at.weights[:-1], at.means.ravel(), at.covariances[:, rows, columns].ravel()])

    # The projection maps a neighbourhood onto the members; along a basis of its range it gives coordinates.
    n = k - 1 + k * d + k * len(rows)
    jacobian = numerical_gradient(entries, np.zeros(n), 1e-4)
    jacobian = jacobian if jacobian.shape == (n, n) else jacobian.T
    directions = np.linalg.svd(jacobian)[2][:n_free].T

    def objective(y):
        return moved(directions @ y).log_prob(IRIS).sum()

    hessian = numerical_gradient(lambda y: numerical_gradient(objective, y, 1e-3), np.zeros(n_free), 1e-3)
    change = numerical_gradient(lambda y: entries(directions @ y), np.zeros(n_free), 1e-4)
    change = change if change.shape[0] == n else change.T
    variances = np.diag(change @ np.linalg.inv(-hessian) @ change.T)
    np.testing.assert_allclose(np.diag(errors.covariance), variances, rtol=2e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_their_posterior_cannot_be_sampled(name):
    says = rf"for a posterior; got '{name}'.*GaussianMixture\(covariance_type='{name}'\)"
    prior = Prior.weakly_informative(IRIS)
    with pytest.raises(InputError, match=says):
        BayesianGaussianMixture(3, covariance_type=name).fit(IRIS)
    with pytest.raises(InputError, match=says):
        build_model(IRIS, 3, covariance_type=name)
    with pytest.raises(InputError, match=says):
        MvNormalMixture.dist(np.ones(1), np.zeros((1, 2)), np.eye(2)[None], covariance_type=name)
    with pytest.raises(InputError, match=says):
        select_components(IRIS, 2, name, criterion="evidence")
    with pytest.raises(InputError, match=says):
        prior_predictive(prior, 2, covariance_type=name)
    with pytest.raises(InputError, match=says):
        prior.log_prob(random_mixture(np.random.default_rng(0), name, (3, 4)))


@pytest.mark.parametrize("name", FAMILIES)
def test_priors_without_a_density_in_the_family_are_refused(name):
    common = {"mean": np.zeros(2), "mean_covariance": np.eye(2)}
    with pytest.raises(InputError, match=r"one of \('full', 'tied'\) with Prior.separation"):
        Prior.separation(variance_shape=2.0, variance_scale=1.0, eta=2.0, **common).resolve(3, 2, name)
    with pytest.raises(InputError, match="a scale in numbers"):
        Prior.independent(dof=4.0, scale=Prior.wishart(3.0, np.eye(2)), **common).resolve(3, 2, name)
    with pytest.raises(InputError, match="one scale for all components"):
        Prior.independent(dof=4.0, scale=np.stack([np.eye(2), 2.0 * np.eye(2)]), **common).resolve(2, 2, name)


@pytest.mark.parametrize("name", FAMILIES)
def test_with_one_component_or_one_feature_they_are_other_families(name):
    settings = {"n_init": 2, "tol": 1e-9, "random_state": 0}
    one, full = (GaussianMixture(1, covariance_type=each, **settings).fit(IRIS) for each in (name, "full"))
    np.testing.assert_allclose(one.covariances_, full.covariances_, rtol=1e-9)
    feature = IRIS[:, 2:3]
    known = "E" if name[0] == "E" else "V"
    two, other = (GaussianMixture(2, covariance_type=each, **settings).fit(feature) for each in (name, known))
    assert two.log_likelihood_ == pytest.approx(other.log_likelihood_, abs=1e-6)
