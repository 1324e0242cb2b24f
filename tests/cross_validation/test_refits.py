"""Rows that importance sampling cannot leave out: refits and moment matching against closed forms and whole fits."""

import warnings

import arviz_stats as azs
import numpy as np
import pytest
from exact_posterior import updated
from mode_cases import CONJUGATE as PRIOR_OF_GROUPS
from mode_cases import THREE_GROUPS, exact_log_evidences, stuck_chains
from monte_carlo import bound
from scipy.special import logsumexp
from scipy.stats import invwishart, multivariate_t

from bayesgmm import BayesianGaussianMixture, Prior, combine_modes, loo
from bayesgmm.cross_validation.moment_matching import match_rows
from bayesgmm.cross_validation.psis import smoothed_rows
from bayesgmm.cross_validation.refits import RefitSettings, problem_of, refit_rows, without
from bayesgmm.exceptions import InputError, InterruptedWarning, ParetoWarning, SamplingWarning
from bayesgmm.posterior.adapter import mixture_posterior
from bayesgmm.posterior.tree import draws_of

pytestmark = pytest.mark.draws
CONJUGATE = Prior.normal_inverse_wishart(mean=[0, 0], kappa=0.1, dof=4, scale=np.eye(2))
OUTLIERS = np.array([0, 1])
NAMES = {"weights": "weights", "means": "means", "covariances": "covariances"}


def rows_with_outliers(far):
    X = np.random.default_rng(3).standard_normal((25, 2))
    X[0], X[1] = [far, far], [-far, far]
    return X


def exact(X, i):
    """Log predictive density of a row given the others, one component, conjugate prior: Student's t."""
    others = np.delete(X, i, axis=0)
    n, mean = len(others), others.mean(axis=0)
    scatter = (others - mean).T @ (others - mean) + 0.1 * n / (n + 0.1) * np.outer(mean, mean)
    dof = 4 + n - 1
    shape = (np.eye(2) + scatter) * (n + 1.1) / ((n + 0.1) * dof)
    return multivariate_t.logpdf(X[i], n * mean / (n + 0.1), shape, dof)


@pytest.fixture(scope="module")
def one():
    X = rows_with_outliers(8.0)
    fit = BayesianGaussianMixture(1, prior=CONJUGATE, random_state=1, progress=False).fit(X)
    return fit, X, np.array([exact(X, i) for i in range(len(X))])


@pytest.fixture(scope="module")
def near():
    """10,000 exact draws given two rows that lie so far out that what others say of them has a small error."""
    X, rng = rows_with_outliers(3.0), np.random.default_rng(4)
    kappa, mean, dof, scale = updated(CONJUGATE, np.array(25.0), X.sum(axis=0), X.T @ X)
    covariances = invwishart.rvs(float(dof), scale, size=10_000, random_state=rng)
    noise = np.einsum("sij,sj->si", np.linalg.cholesky(covariances), rng.standard_normal((10_000, 2)))
    means = mean + noise / np.sqrt(kappa)
    own = {"weights": np.ones((4, 2_500, 1)), "means": means.reshape(4, -1, 1, 2)}
    own["covariances"] = covariances.reshape(4, -1, 1, 2, 2)
    return mixture_posterior(own, X, names=NAMES), np.array([exact(X, i) for i in OUTLIERS])


def test_importance_sampling_fails_where_k_says_so(one):
    fit, _, truth = one
    with pytest.warns(ParetoWarning, match="2 of 25 rows"):
        found = loo(fit)
    assert found.warning
    error = np.abs(found.elpd_i.to_numpy() - truth)
    assert error[2:].max() < 0.06
    assert error[0] > 0.5
    assert found.influence_pareto_k is None


FAR_OUT = pytest.mark.filterwarnings("ignore:.*refits are of little use")  # the density of such rows varies that much


@FAR_OUT
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ParetoWarning")  # moment matching may not suffice
@pytest.mark.parametrize("how", [{"moment_match": True}, {"refit": True, "random_state": 1}])
def test_outliers_are_matched_or_refitted_and_nothing_else(one, how):
    fit, _, truth = one
    found = loo(fit, **how)
    assert (found.influence_pareto_k[:2] > 0.7).all()
    assert (found.pareto_k[:2] < found.influence_pareto_k[:2]).all()
    assert found.warning == (found.pareto_k > found.good_k).any()
    np.testing.assert_array_equal(found.influence_pareto_k[2:], found.pareto_k[2:])
    assert np.abs(found.elpd_i - truth)[2:].max() < 0.06
    np.testing.assert_allclose(found.elpd_i.sum(), found.elpd)


def test_moment_matching_is_exact_for_one_component(near):
    tree, truth = near
    problem = problem_of(tree, CONJUGATE)
    found = smoothed_rows(draws_of(tree), problem.data, shape=(4, 2_500), r_eff=1.0)
    matched = match_rows(tree, problem, OUTLIERS, found=found, r_eff=1.0)
    assert np.abs(matched.elpd[:2] - truth).max() < bound(2) * 0.06  # standard deviation over 16 seeds


def test_refits_are_exact_for_one_component_and_their_errors_honest(near):
    tree, truth = near
    problem, z = problem_of(tree, CONJUGATE), []
    for seed in range(2):
        refits = refit_rows(tree, problem, OUTLIERS, settings=RefitSettings(r_eff=1.0, seed=seed))
        z += [(r.elpd - truth[i]) / r.se for i, r in zip(refits.rows, refits.found, strict=True)]
    assert np.abs(z).max() < bound(4)


def test_a_refit_depends_on_nothing_but_its_row_and_the_seed(one):
    fit, _, _ = one
    problem, settings = problem_of(fit.posterior_), RefitSettings(r_eff=1.0, seed=5)
    both = refit_rows(fit.posterior_, problem, OUTLIERS, settings=settings)
    alone = refit_rows(fit.posterior_, problem, OUTLIERS[1:], settings=RefitSettings(r_eff=1.0, seed=5, cores=1))
    assert both.found[1] == alone.found[0]


def test_equal_rows_are_left_out_once_for_all(one):
    fit, X, _ = one
    tree = mixture_posterior(fit, np.vstack([X, X[:1]]))
    problem, told = problem_of(tree), []
    refits = refit_rows(
        tree,
        problem,
        np.array([0, 25]),
        settings=RefitSettings(r_eff=1.0, seed=1),
        callback=lambda *progress: told.append(progress),
    )
    assert refits.found[0] is refits.found[1]
    assert told == [(1, 1)]
    np.testing.assert_array_equal(np.sort(without(problem, 25).data.rows, axis=0), np.sort(X, axis=0))


def test_one_copy_of_a_weighted_row_is_left_out(one):
    _, X, _ = one
    weights = np.ones(25)
    weights[0] = 2.0
    fit = BayesianGaussianMixture(1, prior=CONJUGATE, random_state=1, progress=False, draws=500)
    problem = problem_of(fit.fit(X, sample_weight=weights).posterior_)
    assert without(problem, 0).data.row_weights is None
    assert without(problem, 0).data.total == 25
    assert without(problem, 3).data.total == 25
    assert len(without(problem, 3).data.rows) == 24


@FAR_OUT
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ParetoWarning")
def test_interrupted_refits_keep_what_is_done(one, monkeypatch):
    monkeypatch.setattr("bayesgmm.cross_validation.leave_one_out.good_k", lambda n: -1.0)  # every row asks for a refit
    refitting = []

    def stop_at_the_first_refit(done, total):
        refitting.append(done)
        return len(refitting) > 1  # the first call tells of importance sampling

    with pytest.warns(InterruptedWarning, match="of 25 rows were not refitted"):
        found = loo(one[0], refit=True, random_state=1, cores=1, callback=stop_at_the_first_refit)
    assert 1 <= (found.pareto_k == 0).sum() < 25


def test_refits_that_stay_in_several_modes_are_combined(one, monkeypatch):
    """Here they do not: looking for modes finds one and changes nothing."""
    fit, _, _ = one
    problem, settings = problem_of(fit.posterior_), RefitSettings(r_eff=1.0, seed=5)
    plain = refit_rows(fit.posterior_, problem, OUTLIERS, settings=settings)
    monkeypatch.setattr("bayesgmm.cross_validation.refits.MIXED", 0.0)
    assert refit_rows(fit.posterior_, problem, OUTLIERS, settings=settings).found == plain.found


def test_refits_that_say_little_are_told(one, monkeypatch):
    monkeypatch.setattr("bayesgmm.cross_validation.leave_one_out.LARGE_ERROR", 1e-3)
    with pytest.warns(SamplingWarning, match="2 of 2 refits are of little use"):
        loo(one[0], refit=True, random_state=1)


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ParetoWarning")  # moment matching may not suffice
def test_ones_own_posterior_needs_its_prior(one):
    fit, X, truth = one
    own = {name: fit.posterior_["posterior"][name].to_numpy() for name in NAMES}
    with pytest.raises(InputError, match="a prior"):
        loo(own, X, names=NAMES, moment_match=True)
    found = loo(own, X, names=NAMES, prior=CONJUGATE, moment_match=True)
    assert np.abs(found.elpd_i.to_numpy() - truth)[2:].max() < 0.06


@FAR_OUT
def test_nothing_to_match_or_refit_changes_nothing(one):
    fit, _, _ = one
    with pytest.warns(ParetoWarning):
        plain = loo(fit)
    tree, problem = fit.posterior_, problem_of(fit.posterior_)
    found = smoothed_rows(draws_of(tree), problem.data, shape=(4, 1000), r_eff=1.0)
    nothing = np.array([], dtype=np.int64)
    assert match_rows(tree, problem, nothing, found=found, r_eff=1.0) is found
    assert refit_rows(tree, problem, nothing, settings=RefitSettings(r_eff=1.0, seed=1)).found == []
    assert azs.compare({"plain": plain, "refitted": loo(fit, refit=True)}).index[0] == "plain"


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ParetoWarning")
def test_modes_in_their_shares_equal_enumeration():
    """Chains that stay in two modes of three groups of rows: wrong as they are, though k is small; right combined."""
    own = {name: part.reshape(3, -1, *part.shape[1:]) for name, part in zip(NAMES, stuck_chains().arrays, strict=False)}

    def log_evidence(X):
        return logsumexp(exact_log_evidences(X, PRIOR_OF_GROUPS, 2)[1])

    truth = log_evidence(THREE_GROUPS) - [log_evidence(np.delete(THREE_GROUPS, i, axis=0)) for i in range(10)]
    combined = loo(combine_modes(own, THREE_GROUPS, prior=PRIOR_OF_GROUPS, random_state=1))
    outer = np.r_[:4, 6:10]  # without a row of the middle group the modes' shares are quite others: k is above 0.6
    most = bound(8) * 0.04 + 0.02  # standard deviation over seeds and bias, of 15 seeds
    np.testing.assert_allclose(combined.elpd_i[outer], truth[outer], atol=most)
    with pytest.warns(SamplingWarning, match="The chains disagree"):
        apart = loo(own, THREE_GROUPS)
    assert np.abs(apart.elpd_i - truth)[outer].min() > most
    assert (apart.pareto_k[outer] < apart.good_k).all()


def two_groups():
    rng = np.random.default_rng(4)
    return np.vstack([rng.standard_normal((13, 2)), rng.standard_normal((12, 2)) + np.array([5, 3])])


@pytest.mark.slow
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_leave_one_out_equals_as_many_whole_fits(covariance_type):
    """25 fits from scratch, each by the public estimator without a row, under the prior of all rows."""
    X = two_groups()
    prior = Prior.weakly_informative(X)

    def fit(rows):
        settings = {
            "covariance_type": covariance_type,
            "draws": 4000,
            "tune": 1000,
            "random_state": 1,
            "progress": False,
        }
        return BayesianGaussianMixture(2, prior=prior, **settings).fit(rows)

    truth = np.array([fit(np.delete(X, i, axis=0)).score_samples(X[i : i + 1])[0] for i in range(len(X))])
    whole = fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParetoWarning)
        plain = loo(whole)
    good = plain.pareto_k.to_numpy() <= plain.good_k
    np.testing.assert_allclose(plain.elpd_i[good], truth[good], atol=0.15)
    for found in (loo(whole, refit=True, random_state=1), loo(whole, moment_match=True)):
        assert found.elpd == pytest.approx(truth.sum(), abs=0.3)
        np.testing.assert_allclose(found.elpd_i, truth, atol=0.15)
