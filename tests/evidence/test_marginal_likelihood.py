"""Evidences: against closed forms, exact enumeration of allocations, and each other."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from em_cases import best_fit
from exact_posterior import exact_draws
from mode_cases import CONJUGATE, OTHERWISE, THREE_GROUPS, exact_log_evidences, sampled, stuck_chains
from monte_carlo import bound
from reference import FAMILIES, load_data
from scipy.special import logsumexp, multigammaln
from scipy.stats import chi2, norm

from bayesgmm import BayesianGaussianMixture, Prior, log_evidence
from bayesgmm.data.blocks import Data
from bayesgmm.datasets import load_old_faithful
from bayesgmm.evidence import marginal_likelihood as evidence
from bayesgmm.evidence import mode_weights
from bayesgmm.evidence.marginal_likelihood import Estimate, Evidence, target_of_tree
from bayesgmm.evidence.pooled_modes import points_of_tree, unpooled
from bayesgmm.evidence.thames_check import mode_thames
from bayesgmm.exceptions import EvidenceWarning, InputError
from bayesgmm.gibbs import Tempered
from bayesgmm.mixture.covariance.family import covariance_family
from bayesgmm.mixture.draws import Draws

pytestmark = pytest.mark.draws
SEVEN = np.array([0.0, 0.4, -0.3, 3.0, 3.5, 2.6, 1.4])[:, None]
OVERLAPPING = Prior.normal_inverse_wishart(concentration=1.5, mean=[1.0], kappa=0.3, dof=4.0, scale=[[1.0]])


def as_posterior(points: Draws) -> xr.Dataset:
    """Draws whose chains are equally long."""
    dims = {"weights": ("k",), "means": ("k", "d"), "covariances": ("k", "d", "e")}
    n_chains = len(np.unique(points.chain))
    arrays = (a.reshape(n_chains, -1, *a.shape[1:]) for a in points.arrays[:3])
    return xr.Dataset({name: (("chain", "draw", *dims[name]), a) for name, a in zip(dims, arrays, strict=True)})


def niw_log_evidence(X, prior):
    """One component in closed form (Murphy 2007, equation 266)."""
    n, d = X.shape
    mean, kappa, dof, scale = prior.mean, float(prior.kappa), float(prior.dof), prior.scale
    centred = X - X.mean(axis=0)
    shift = X.mean(axis=0) - mean
    posterior = scale + centred.T @ centred + kappa * n / (kappa + n) * np.outer(shift, shift)
    log_det = [np.linalg.slogdet(matrix)[1] for matrix in (scale, posterior)]
    gammas = multigammaln((dof + n) / 2, d) - multigammaln(dof / 2, d)
    powers = 0.5 * dof * log_det[0] - 0.5 * (dof + n) * log_det[1] + 0.5 * d * np.log(kappa / (kappa + n))
    return gammas + powers - 0.5 * n * d * np.log(np.pi)


def test_one_component_in_closed_form():
    X = np.random.default_rng(0).normal([1.0, -2.0], [1.0, 3.0], (60, 2))
    prior = Prior.normal_inverse_wishart(mean=[0.0, 0.0], kappa=0.2, dof=5.0, scale=[[2.0, 0.3], [0.3, 1.0]])
    fit = BayesianGaussianMixture(1, prior=prior, random_state=1, progress=False).fit(X)
    found = log_evidence(fit, random_state=1)
    exact = niw_log_evidence(X, prior)
    assert found.se < 0.004
    assert abs(found.log_evidence - exact) < bound() * found.se + 1e-9  # nothing but rounding is left
    assert abs(found.thames.log_evidence - exact) < bound() * found.thames.se
    assert found.thames.se < 0.1
    assert found.findings == ()


def test_change_of_the_evidence_with_the_priors_weight_in_closed_form():
    """By differences of the exact evidence, where degrees of freedom and scale grow together."""
    X = np.random.default_rng(0).normal([1.0, -2.0], [1.0, 3.0], (60, 2))

    def prior(factor):
        scale = factor * np.array([[2.0, 0.3], [0.3, 1.0]])
        return Prior.normal_inverse_wishart(mean=[0.0, 0.0], kappa=0.2, dof=5.0 * factor, scale=scale)

    fit = BayesianGaussianMixture(1, prior=prior(1.0), random_state=1, progress=False).fit(X)
    exact = (niw_log_evidence(X, prior(2.0**0.01)) - niw_log_evidence(X, prior(2.0**-0.01))) / 0.02
    found = log_evidence(fit, random_state=1)
    target, draws = target_of_tree(fit.posterior_), points_of_tree(fit.posterior_)
    own = [target.prior.with_pseudo_rows(factor).log_density_of(draws) for factor in (2.0**0.01, 2.0**-0.01)]
    se = np.std((own[0] - own[1]) / 0.02) / np.sqrt(len(draws) / 4)  # fewer effective draws than that are not usual
    assert abs(found.per_doubling - exact) < bound() * se
    assert 5.0 * se < abs(exact)
    assert f"pseudo-rows {found.per_doubling:+.2f}" in str(found)


def test_change_of_the_evidence_with_the_priors_weight_by_enumeration():
    """Under a prior of covariances far smaller than those of the rows."""

    def prior(doublings):
        factor = 2.0**doublings
        return Prior.normal_inverse_wishart(
            concentration=1.5, mean=[1.0], kappa=0.3, dof=4.0 * factor, scale=[[0.1 * factor]]
        )

    drawn, chain = exact_draws(SEVEN, prior(0.0), 2, size=4000), np.repeat(np.arange(4), 1000)
    draws = Draws(**drawn, family=covariance_family("full"), chain=chain)
    found = log_evidence(as_posterior(draws), SEVEN, prior=prior(0.0), random_state=1)
    exact = [logsumexp(exact_log_evidences(SEVEN, prior(step), 2)[1]) for step in (0.01, -0.01)]
    change = (exact[0] - exact[1]) / 0.02
    own = [prior(step).resolve(2, 1, "full").log_density_of(draws) for step in (0.01, -0.01)]
    se = np.std((own[0] - own[1]) / 0.02) / np.sqrt(len(draws))  # independent draws
    assert abs(found.per_doubling - change) < bound() * se
    assert abs(change) > 20.0 * se


@pytest.mark.parametrize("form", ["wishart", "separation"])
def test_more_pseudo_rows_leave_covariances_as_large(form):
    """Scales that are drawn, variances and correlations: the typical covariance stays, its spread falls."""
    mean, eye = [0.0, 0.0], np.eye(2)
    prior = {
        "wishart": Prior.independent(mean=mean, mean_covariance=eye, dof=6.0, scale=Prior.wishart(8.0, 0.25 * eye)),
        "separation": Prior.separation(
            mean=mean, mean_covariance=eye, variance_shape=[3.0, 3.0], variance_scale=[2.0, 4.0], eta=2.0
        ),
    }[form].resolve(2, 2, "full")
    more, x = prior.with_pseudo_rows(16.0), np.exp(np.linspace(-6.0, 6.0, 241))
    covariances = x[:, None, None, None] * np.array([[[2.0, 0.0], [0.0, 4.0]]] * 2)
    weights, means = np.full((len(x), 2), 0.5), np.zeros((len(x), 2, 2))
    heights = [each.log_density(weights, means, covariances) + 3.0 * 2 * np.log(x) for each in (prior, more)]
    densities = [np.exp(height - logsumexp(height)) for height in heights]
    centres = [float(density @ np.log(x)) for density in densities]
    spreads = [float(density @ (np.log(x) - centre) ** 2) for density, centre in zip(densities, centres, strict=True)]
    assert abs(centres[1] - centres[0]) < 0.5
    assert spreads[1] < 0.8 * spreads[0]  # a scale that is drawn keeps its own spread


def test_weighted_rows_count_as_often_as_their_weights_say():
    rng = np.random.default_rng(1)
    X, weights = rng.normal(size=(20, 1)), rng.integers(1, 5, 20)
    prior = Prior.normal_inverse_wishart(mean=[0.0], kappa=0.2, dof=3.0, scale=[[2.0]])
    fit = BayesianGaussianMixture(1, prior=prior, random_state=1, progress=False).fit(X, sample_weight=weights)
    found = log_evidence(fit, random_state=1)
    exact = niw_log_evidence(np.repeat(X, weights, axis=0), prior)
    assert found.se < 0.004
    assert abs(found.log_evidence - exact) < bound() * found.se + 1e-9  # nothing but rounding is left
    assert abs(found.thames.log_evidence - exact) < bound() * found.thames.se


@pytest.fixture(scope="module")
def overlapping():
    """Exact draws of two components that overlap so much that labels switch."""
    drawn = exact_draws(SEVEN, OVERLAPPING, 2, size=4000)
    return Draws(**drawn, family=covariance_family("full"), chain=np.repeat(np.arange(4), 1000))


def test_two_overlapping_components_by_enumeration(overlapping):
    found = log_evidence(as_posterior(overlapping), SEVEN, prior=OVERLAPPING, random_state=1)
    exact = logsumexp(exact_log_evidences(SEVEN, OVERLAPPING, 2)[1])
    assert found.se < 0.03
    assert abs(found.log_evidence - exact) < bound() * found.se
    assert found.thames.se < 0.2
    assert abs(found.thames.log_evidence - exact) < bound() * found.thames.se


def test_labels_as_the_chains_left_them_do_not_matter(overlapping):
    """Draws relabelled at random have the same evidence by both methods."""
    rng = np.random.default_rng(2)
    order = rng.permuted(np.tile([0, 1], (len(overlapping), 1)), axis=1)
    rows = np.arange(len(order))[:, None]
    arrays = (a[rows, order] for a in overlapping.arrays)
    switched = Draws(*arrays, family=overlapping.family, chain=overlapping.chain)
    found = [log_evidence(as_posterior(p), SEVEN, prior=OVERLAPPING, random_state=1) for p in (overlapping, switched)]
    for method in ("bridge", "thames"):
        one, other = (getattr(own, method) for own in found)
        assert abs(one.log_evidence - other.log_evidence) < bound() * np.hypot(one.se, other.se)


def test_one_labelling_of_too_many_is_as_exact(overlapping, monkeypatch):
    """What is done above eight components, at two that overlap."""
    monkeypatch.setattr(mode_weights, "MOST_COMPONENTS", 1)
    found = log_evidence(as_posterior(overlapping), SEVEN, prior=OVERLAPPING, random_state=1)
    exact = logsumexp(exact_log_evidences(SEVEN, OVERLAPPING, 2)[1])
    assert found.se < 0.05
    assert abs(found.log_evidence - exact) < bound() * found.se


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning")
@pytest.mark.parametrize(("k", "known"), [pytest.param(6, -225.92, marks=pytest.mark.slow), (10, -227.38)])
def test_surplus_components_by_tempering(k, known):
    """Galaxies, Richardson & Green's prior; the values are those of an independent program, known to a tenth."""
    X = load_data("galaxies")
    model = BayesianGaussianMixture(
        k, prior=Prior.richardson_green(X), inference="gibbs", init="best", random_state=1, progress=False
    )
    found = log_evidence(model.fit(X), random_state=1)
    assert found.se < 0.3
    assert abs(found.log_evidence - known) < bound() * np.hypot(found.se, 0.1)
    assert (found.tempered is not None) or k <= 8  # there bridge sampling may be precise enough
    assert found.log_evidence >= found.bridge.log_evidence - 3.0 * np.hypot(found.se, found.bridge.se)
    assert (f"tempering {found.tempered}" in str(found)) is (found.tempered is not None)


@pytest.mark.parametrize(
    ("gain", "decides"), [(2.0, "tempered"), (0.2, "tempered"), (-0.3, "bridge"), (-2.0, "bridge")]
)
def test_a_higher_estimate_by_tempering_decides_and_a_more_precise_one_that_is_not_lower(
    overlapping, monkeypatch, gain, decides
):
    """Of bridge sampling with an error of .2 and tempering with one of .05."""
    monkeypatch.setattr(evidence, "_total", lambda _parts: Estimate(-14.6, 0.2))
    monkeypatch.setattr(evidence, "tempered_evidence", lambda *_args, **_rest: Tempered(-14.6 + gain, 0.05, 1))
    found = log_evidence(as_posterior(overlapping), SEVEN, prior=OVERLAPPING, cross_check=False, random_state=1)
    assert found.tempered == Estimate(-14.6 + gain, 0.05)
    assert (found.log_evidence, found.se) == (
        (found.tempered if decides == "tempered" else found.bridge).log_evidence,
        0.05 if decides == "tempered" else 0.2,
    )
    assert [text for text in found.findings if "misses" in text] == list(found.findings)
    assert len(found.findings) == (gain == 2.0)


@pytest.mark.parametrize(("gain", "decides"), [(-0.8, "tempered"), (-2.0, "bridge")])
def test_bridge_sampling_that_knows_little_does_not_overrule(overlapping, monkeypatch, gain, decides):
    """Its error is .5: 1.6 errors are no reason to distrust a lower estimate ten times as precise, 4 are."""
    monkeypatch.setattr(evidence, "_total", lambda _parts: Estimate(-14.6, 0.5))
    monkeypatch.setattr(evidence, "tempered_evidence", lambda *_args, **_rest: Tempered(-14.6 + gain, 0.05, 1))
    found = log_evidence(as_posterior(overlapping), SEVEN, prior=OVERLAPPING, cross_check=False, random_state=1)
    assert found.se == (0.05 if decides == "tempered" else 0.5)


@pytest.mark.parametrize("most", [0, 10_000])
def test_what_tempering_cannot_do_is_told(overlapping, monkeypatch, most):
    monkeypatch.setattr(evidence, "_MOST_WORK", most)
    monkeypatch.setattr(evidence, "_UNSURE", 0.0)
    found = log_evidence(as_posterior(overlapping), SEVEN, prior=OVERLAPPING, random_state=1)
    told = "bridge sampling may be too low, and tempering would take minutes"
    assert (told in " ".join(found.findings)) == (most == 0)
    assert (found.tempered is None) == (most == 0)


def test_modes_in_which_chains_stay_add_up():
    """Unequally many chains in each of two modes, against enumeration."""
    found = log_evidence(as_posterior(stuck_chains()), THREE_GROUPS, prior=CONJUGATE, random_state=1)
    exact = logsumexp(exact_log_evidences(THREE_GROUPS, CONJUGATE, 2)[1])
    assert found.n_modes == 2
    assert "2 modes" in found.findings[0]
    assert found.se < 0.05
    assert abs(found.log_evidence - exact) < bound() * found.se + OTHERWISE
    assert abs(found.thames.log_evidence - exact) < bound() * found.thames.se + OTHERWISE


def test_labels_that_mean_something_are_not_permuted():
    """A prior that tells the components apart: each labelling has an evidence of its own."""
    prior = Prior.normal_inverse_wishart(
        concentration=[1.0, 3.0], mean=[[0.0], [3.0]], kappa=[0.5, 2.0], dof=[3.0, 6.0], scale=[[[1.0]], [[0.5]]]
    )
    assert not prior.exchangeable
    em, _ = best_fit(Data.of(SEVEN), 2, rng=np.random.default_rng(0), prior=prior)
    points = sampled(SEVEN, prior, [em.mixture] * 4, draws=1000)
    found = log_evidence(as_posterior(points), SEVEN, prior=prior, random_state=1)
    exact = logsumexp(exact_log_evidences(SEVEN, prior, 2)[1])
    assert abs(found.log_evidence - exact) < bound() * found.se < 0.25
    assert abs(found.thames.log_evidence - exact) < bound() * found.thames.se


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_both_methods_agree_for_every_family(covariance_type):
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(0.0, 1.0, (25, 2)), rng.normal(4.0, 0.7, (20, 2))])
    fit = BayesianGaussianMixture(
        2, covariance_type=covariance_type, draws=500, tune=300, init="best", random_state=1, progress=False
    ).fit(X)
    found = log_evidence(fit, random_state=1)
    assert found.se < 0.05
    assert found.thames.se < 0.3
    assert abs(found.log_evidence - found.thames.log_evidence) < bound() * np.hypot(found.se, found.thames.se)


def hierarchical(X):
    """Priors whose hyperparameters are drawn, and one that is no inverse-Wishart."""
    spread = {"mean": X.mean(axis=0), "mean_covariance": 4.0 * np.cov(X.T).reshape([X.shape[1]] * 2)}
    return {
        "scale": Prior.malsiner_walli(X, concentration=1.0),
        "both": Prior.malsiner_walli(X, concentration=Prior.gamma(2.0, 2.0)),
        "separation": Prior.separation(**spread, variance_shape=2.0, variance_scale=X.var(axis=0), eta=2.0),
    }


@pytest.mark.parametrize("name", ["scale", "both", "separation"])
def test_both_methods_agree_for_priors_with_hyperparameters(name):
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(0.0, 1.0, (25, 2)), rng.normal(5.0, 0.7, (20, 2))])
    prior = hierarchical(X)[name]
    settings = {"draws": 500, "tune": 300, "init": "best", "random_state": 1, "progress": False}
    found = log_evidence(BayesianGaussianMixture(2, prior=prior, **settings).fit(X), random_state=1)
    assert found.se < 0.05
    assert found.thames.se < 0.3
    assert abs(found.log_evidence - found.thames.log_evidence) < bound() * np.hypot(found.se, found.thames.se)


def test_a_hierarchical_prior_by_integration_over_its_hyperparameter():
    """One component, one feature: the closed form given the scale, averaged over the scale's prior."""
    X = np.random.default_rng(0).normal(1.0, 2.0, (30, 1))
    shared = {"mean": [0.0], "kappa": 0.2, "dof": 4.0}
    prior = Prior.normal_inverse_wishart(**shared, scale=Prior.wishart(3.0, [[0.5]]))
    fit = BayesianGaussianMixture(1, prior=prior, random_state=1, progress=False).fit(X)
    scales = np.exp(np.linspace(-7.0, 5.0, 400))
    fixed = [niw_log_evidence(X, Prior.normal_inverse_wishart(**shared, scale=[[s]])) for s in scales]
    weights = chi2(3.0, scale=0.5).pdf(scales) * np.gradient(scales)
    exact = logsumexp(fixed, b=weights)
    found = log_evidence(fit, random_state=1)
    assert abs(found.log_evidence - exact) < bound() * found.se + 1e-3  # and the error of the integral


GALAXIES = [  # corrected 78th value or MASS's, K, log evidence, error of that number
    ("mass", 1, -247.464, 0.02),
    pytest.param("mass", 3, -226.65, 0.05, marks=pytest.mark.slow),
    pytest.param("corrected", 3, -226.94, 0.05, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("version", "k", "want", "tolerance"), GALAXIES)
def test_galaxies_under_the_prior_of_richardson_and_green(version, k, want, tolerance):
    X = load_data("galaxies")
    if version == "mass":
        X[np.isclose(X, 26.96)] = 26.69
    prior = Prior.richardson_green(X)
    fit = BayesianGaussianMixture(k, prior=prior, draws=1500, random_state=1, progress=False).fit(X)
    found = log_evidence(fit, random_state=1)
    assert abs(found.log_evidence - want) < tolerance + bound() * found.se
    assert abs(found.thames.log_evidence - want) < tolerance + bound() * found.thames.se
    assert found.se < 0.05


def importance_sampled(X, target, points, *, n, rng):
    """Log evidence and standard error of two components by draws of conditionals and of a broad density, half each."""
    close, middle = target.conditionals(points[:: len(points) // 150], rng=rng), X.mean()
    scale = np.exp(rng.uniform(np.log(0.3), np.log(60.0), (n, 1)))
    arrays = rng.dirichlet([1.0, 1.0], n), rng.normal(middle, 8.0, (n, 2, 1)), scale / rng.gamma(2.0, 1.0, (n, 2))
    broad = Draws(*arrays[:2], arrays[2][..., None, None], family=covariance_family("full"))
    both = Draws.joined([close.sample(n, rng=rng), broad])
    precisions = 1.0 / both.covariances[:, :, 0, 0]
    scales = np.exp(np.linspace(np.log(0.3), np.log(60.0), 400))
    step = np.full(400, 1.0 / 399.0)
    step[[0, -1]] *= 0.5
    log_broad = 4.0 * np.log(scales) + 3.0 * np.log(precisions).sum(axis=1)[:, None]
    log_broad = logsumexp(log_broad - scales * precisions.sum(axis=1)[:, None], b=step, axis=1)
    log_broad += norm(middle, 8.0).logpdf(both.means[:, :, 0]).sum(axis=1)
    log_proposal = np.logaddexp(close.log_density(both), log_broad) - np.log(2.0)
    ratio = target.log_joint(both) - log_proposal
    weights = np.exp(ratio - ratio.max())
    return logsumexp(ratio) - np.log(2 * n), weights.std() / weights.mean() / np.sqrt(2 * n)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["mass", "corrected"])
def test_two_components_for_galaxies_by_importance_sampling(version):
    X = load_data("galaxies")
    if version == "mass":
        X[np.isclose(X, 26.96)] = 26.69
    prior = Prior.richardson_green(X)
    fit = BayesianGaussianMixture(2, prior=prior, draws=2000, random_state=1, progress=False).fit(X)
    found = log_evidence(fit, random_state=1)
    points = points_of_tree(unpooled(fit.posterior_))
    want, se = importance_sampled(X, target_of_tree(fit.posterior_), points, n=60_000, rng=np.random.default_rng(0))
    assert se < 0.02
    assert found.se < 0.02
    assert abs(found.log_evidence - want) < bound() * np.hypot(se, found.se)
    assert abs(want - {"mass": -235.228, "corrected": -235.358}[version]) < bound() * se


def test_disagreement_is_told_and_warned_of(monkeypatch):
    fit = BayesianGaussianMixture(1, draws=400, random_state=1, progress=False).fit(load_old_faithful())

    def shifted(*args, **options):
        found = mode_thames(*args, **options)
        return replace(found, log_z=found.log_z + 1.0)

    monkeypatch.setattr(evidence, "mode_thames", shifted)
    with pytest.warns(EvidenceWarning, match="differ by"):
        found = log_evidence(fit, random_state=1)
    assert "Increase draws" in found.findings[0]
    assert "THAMES" in str(found)


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning")
def test_too_few_draws_for_the_check_leave_an_estimate():
    fit = BayesianGaussianMixture(1, draws=400, random_state=1, progress=False).fit(load_old_faithful())
    few = fit.posterior_.isel(draw=slice(0, 3))  # six of twelve draws, for an ellipsoid in five dimensions
    found = log_evidence(few, random_state=1)
    assert np.isfinite(found.log_evidence)
    assert np.isnan(found.thames.log_evidence)
    assert any("THAMES is no check here" in finding for finding in found.findings)


def test_without_a_check_there_is_none():
    fit = BayesianGaussianMixture(1, draws=400, random_state=1, progress=False).fit(load_old_faithful())
    found = log_evidence(fit, cross_check=False, random_state=1)
    assert isinstance(found, Evidence)
    assert found.thames is None
    assert found.bridge == Estimate(found.log_evidence, found.se)


def test_what_is_needed(overlapping):
    with pytest.raises(InputError, match="a prior"):
        log_evidence(as_posterior(overlapping), SEVEN)
    with pytest.raises(InputError, match="four draws"):
        log_evidence(as_posterior(overlapping[np.array([0])]), SEVEN, prior=OVERLAPPING)
