"""Standard errors from the observed information: closed forms, finite differences, coverage."""

import numpy as np
import pytest
from em_cases import PRIORS, one_start
from incomplete_cases import without_some
from monte_carlo import FALSE_ALARM, bound
from numpy.testing import assert_allclose
from reference import FAMILIES, load_data, log_joint, random_mixture
from scipy.special import logit, logsumexp
from scipy.stats import binom, multivariate_normal, norm

from bayesgmm.data.blocks import Data, IncompleteData
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.exceptions import InformationError, InformationWarning, InputError
from bayesgmm.mixture import covariance_family
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.prior import Prior
from bayesgmm.standard_errors.bootstrap_replicates import KINDS, bootstrap
from bayesgmm.standard_errors.information import standard_errors

TIGHT = EMSettings(tol=1e-14, max_iter=20_000, reg_covar=1e-9)


def fitted(covariance_type, *, shape=(2, 2), n=400, prior="none", seed=1, row_weights=None):
    """Rows of a mixture with overlap, and the maximum near the truth."""
    rng = np.random.default_rng(seed)
    truth = random_mixture(rng, covariance_type, shape)
    X, _ = truth.sample(n, rng=rng)
    own = PRIORS[prior](X)
    resolved = None if own is None else own.resolve(*shape, covariance_type)
    mixture = run_em(Data.of(X, row_weights), truth, prior=resolved, settings=TIGHT).mixture
    return X, mixture, own


def free_entries(mixture):
    """Where the free entries of one covariance stand in the mixture's own shape, one list of places for each."""
    k, d, family = mixture.n_components, mixture.n_features, mixture.family
    if not family.in_scikit_learn:
        if family.code == "EII":
            return [[(g, i, i) for g in range(k) for i in range(d)]]
        return [[(g, i, i) for g in range(k)] for i in range(d)]
    lead = [()] if family.shared else [(g,) for g in range(k)]
    if family.parametrisation.correlated:
        return [[(*g, i, j), (*g, j, i)] for g in lead for i in range(d) for j in range(i + 1)]
    return [[g] for g in lead] if family.code == "VII" else [[(*g, i)] for g in lead for i in range(d)]


def moved(mixture, step):
    """The mixture with its free parameters moved, in the order of `StandardErrors.names`."""
    k, d = mixture.means.shape
    weights = mixture.weights.copy()
    weights[:-1] += step[: k - 1]
    weights[-1] -= step[: k - 1].sum()
    covariances = mixture.covariances.copy()
    for places, change in zip(free_entries(mixture), step[k - 1 + k * d :], strict=True):
        for place in set(places):
            covariances[place] += change
    means = mixture.means + step[k - 1 : k - 1 + k * d].reshape(k, d)
    return Mixture(weights, means, covariances, mixture.covariance_type)


def hessian(function, n, steps):
    """Second derivatives by central differences."""
    table = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            a, b = np.eye(n)[i] * steps[i], np.eye(n)[j] * steps[j]
            total = function(a + b) - function(a - b) - function(b - a) + function(-a - b)
            table[i, j] = table[j, i] = total / (4 * steps[i] * steps[j])
    return table


def gradient(function, n, steps):
    """First derivatives by central differences, (..., n)."""
    moves = np.diag(steps)
    columns = [(function(move) - function(-move)) / (2 * step) for step, move in zip(steps, moves, strict=True)]
    return np.stack(columns, axis=-1)


def test_one_component_has_the_textbooks_standard_errors():
    X = load_data("iris")
    n, covariance = len(X), np.cov(X, rowvar=False, bias=True)
    errors = standard_errors(X, Mixture([1.0], X.mean(axis=0)[None], covariance[None]))
    variances = np.diagonal(covariance)
    assert_allclose(errors.means[0], np.sqrt(variances / n), rtol=1e-10)
    assert_allclose(errors.covariances[0], np.sqrt((np.outer(variances, variances) + covariance**2) / n), rtol=1e-8)
    assert errors.weights == 0.0
    assert_allclose(errors.missing, 0.0, atol=1e-10)
    lower, upper = errors.intervals(0.95)
    width = norm.ppf(0.975)
    assert_allclose(np.diagonal(lower.covariances[0]), variances * np.exp(-width * np.sqrt(2 / n)), rtol=1e-8)
    assert_allclose(upper.means[0], X.mean(axis=0) + width * np.sqrt(variances / n))
    assert_allclose((lower.weights, upper.weights), 1.0)


@pytest.mark.parametrize("prior", ["none", "normal_inverse_wishart", "independent"])
@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_the_information_is_the_hessian_of_the_plain_objective(covariance_type, prior):
    X, mixture, own = fitted(covariance_type, prior=prior)
    errors = standard_errors(X, mixture, prior=own)

    def objective(step):
        at = moved(mixture, step)
        return logsumexp(log_joint(X, at), axis=1).sum() + (0.0 if own is None else own.log_prob(at))

    n = len(errors.names)
    steps = 3e-3 * np.sqrt(np.diagonal(errors.covariance))
    want = np.linalg.inv(-hessian(objective, n, steps))
    scale = np.sqrt(np.diagonal(want))
    assert_allclose(errors.covariance / np.outer(scale, scale), want / np.outer(scale, scale), atol=2e-3)
    assert errors.distance < 1e-3
    flat = dict(zip(errors.names, np.sqrt(np.diagonal(errors.covariance)), strict=True))
    places = [f"covariances[{', '.join(map(str, entry[0]))}]" for entry in free_entries(mixture) if entry[0] != ()]
    for name in (*(f"means[{k}, {j}]" for k in range(2) for j in range(2)), "weights[0]", *places):
        kind, index = name.rstrip("]").split("[")
        got = getattr(errors, kind)[tuple(int(i) for i in index.split(","))]
        assert got == pytest.approx(flat[name], rel=1e-10), name
    assert_allclose(errors.weights[0], errors.weights[1])


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_memberships_and_densities_by_the_delta_method(covariance_type):
    X, mixture, _ = fitted(covariance_type, shape=(3, 2), n=600)
    errors = standard_errors(X, mixture)
    some, n = X[:20], len(errors.names)
    steps = 1e-3 * np.sqrt(np.diagonal(errors.covariance))
    slopes = gradient(lambda step: moved(mixture, step).responsibilities(some), n, steps)
    want = np.sqrt(np.einsum("nka,ab,nkb->nk", slopes, errors.covariance, slopes))
    got = errors.memberships(some, 0.95)
    assert_allclose(got.standard_error, want, rtol=1e-4, atol=1e-8)
    inside = (got.value > 1e-6) & (got.value < 1 - 1e-6)
    half = norm.ppf(0.975) * got.standard_error[inside] / (got.value * (1 - got.value))[inside]
    assert_allclose(logit(got.upper[inside]) - logit(got.value[inside]), half, rtol=1e-6)
    assert (got.lower >= 0).all()
    assert (got.upper <= 1).all()
    slopes = gradient(lambda step: moved(mixture, step).log_prob(some), n, steps)
    want = np.sqrt(np.einsum("na,ab,nb->n", slopes, errors.covariance, slopes))
    assert_allclose(errors.log_density(some).standard_error, want, rtol=1e-5)


def test_row_weights_count_rows():
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 4, 300).astype(float)
    X, mixture, _ = fitted("full", n=300, row_weights=counts)
    many = np.repeat(X, counts.astype(int), axis=0)
    for robust in (False, True):
        weighted = standard_errors(X, mixture, row_weights=counts, robust=robust)
        assert_allclose(weighted.covariance, standard_errors(many, mixture, robust=robust).covariance, rtol=1e-8)


def test_the_largest_missing_share_is_the_rate_of_em():
    X, mixture, _ = fitted("full", n=300, seed=4)
    errors = standard_errors(X, mixture)
    start = Mixture(mixture.weights, mixture.means + 0.05, mixture.covariances)
    gains = np.diff(run_em(Data.of(X), start, settings=EMSettings(1e-13, 20_000, 1e-9, accelerate=False)).history)
    late = gains[(gains < 1e-4) & (gains > 1e-8)]
    assert np.median(late[1:] / late[:-1]) == pytest.approx(errors.missing[0] ** 2, rel=2e-2)
    assert errors.condition == pytest.approx((1 - errors.missing[-1]) / (1 - errors.missing[0]))


@pytest.mark.draws
def test_the_sandwich_agrees_where_the_model_is_true_and_not_where_it_is_wrong():
    rng = np.random.default_rng(1)
    covariances = [[[1.0, 0.4], [0.4, 1.0]], [[1.0, -0.3], [-0.3, 0.6]]]
    truth = Mixture([0.4, 0.6], [[0.0, 0.0], [4.0, 0.0]], covariances)
    X, _ = truth.sample(20_000, rng=rng)
    mixture = run_em(Data.of(X), truth, settings=TIGHT).mixture
    plain, robust = standard_errors(X, mixture), standard_errors(X, mixture, robust=True)
    assert_allclose(robust.means, plain.means, rtol=bound(4) * 0.0085)  # standard deviation over 20 seeds
    heavy = np.random.default_rng(0).standard_t(5, (20_000, 1))
    one = Mixture([1.0], heavy.mean(axis=0)[None], [[[heavy.var()]]])
    fourth = ((heavy - heavy.mean()) ** 4).mean()
    want = np.sqrt((fourth - heavy.var() ** 2) / len(heavy))
    assert_allclose(standard_errors(heavy, one, robust=True).covariances[0, 0, 0], want, rtol=1e-8)
    assert standard_errors(heavy, one).covariances[0, 0, 0] < 0.8 * want


def test_units_do_not_matter():
    X, mixture, _ = fitted("full")
    scale = np.array([1e-5, 1e6])
    other = Mixture(mixture.weights, mixture.means * scale, mixture.covariances * np.outer(scale, scale))
    errors, scaled = standard_errors(X, mixture), standard_errors(X * scale, other)
    assert_allclose(scaled.means, errors.means * scale, rtol=1e-6)
    assert_allclose(scaled.covariances, errors.covariances * np.outer(scale, scale), rtol=1e-6)


def test_components_that_coincide_have_no_standard_errors():
    X = load_data("faithful")
    covariance = np.cov(X, rowvar=False, bias=True)
    twice = Mixture([0.5, 0.5], [X.mean(axis=0)] * 2, [covariance] * 2)
    with pytest.raises(InformationError, match=r"fewer components.*smallest share observed") as caught:
        standard_errors(X, twice)
    assert caught.value.figures["smallest share observed"] < 1e-6


def test_a_mixture_away_from_its_maximum_is_told():
    X, mixture, _ = fitted("full")
    near = Mixture(mixture.weights, mixture.means + 0.1, mixture.covariances)
    with pytest.warns(InformationWarning, match="standard errors away"):
        errors = standard_errors(X, near)
    assert 0.5 < errors.distance < 10
    with pytest.raises(InputError, match="ci_prob"):
        errors.intervals(1.5)
    with pytest.raises(InputError, match="features"):
        standard_errors(X[:, :1], mixture)


def test_blocks_of_rows_do_not_matter(monkeypatch):
    X, mixture, _ = fitted("tied")
    whole = standard_errors(X, mixture)
    monkeypatch.setattr("bayesgmm.standard_errors.score_coordinates._NUMBERS_PER_BLOCK", 100)
    blocks = standard_errors(X, mixture)
    assert_allclose(blocks.covariance, whole.covariance, rtol=1e-9)
    assert_allclose(blocks.memberships(X).upper, whole.memberships(X).upper, rtol=1e-9)


@pytest.mark.draws
@pytest.mark.slow
@pytest.mark.parametrize("covariance_type", ["full", "tied_diag"])
def test_intervals_cover_the_truth(covariance_type):
    """600 data sets of 2,000 rows; each parameter's coverage within a binomial bound."""
    rng = np.random.default_rng(5)
    covariances = covariance_family(covariance_type).compress(np.stack([np.eye(2), np.eye(2) * [[2.0, 1.0]]]))
    truth = Mixture([0.4, 0.6], [[0.0, 0.0], [4.0, 1.0]], covariances, covariance_type)
    rows = truth.sample(5, rng=rng)[0]
    hits, n_fits = [], 600
    for _ in range(n_fits):
        X, _ = truth.sample(2000, rng=rng)
        errors = standard_errors(X, run_em(Data.of(X), truth, settings=EMSettings(1e-10, 20_000)).mixture)
        lower, upper = errors.intervals(0.89)
        log_density, memberships = errors.log_density(rows), errors.memberships(rows)
        want = (truth.weights, truth.means, truth.covariances, truth.log_prob(rows), truth.responsibilities(rows))
        lower = (*lower, log_density.lower, memberships.lower)
        upper = (*upper, log_density.upper, memberships.upper)
        inside = [((a <= w) & (w <= b)).ravel() for w, a, b in zip(want, lower, upper, strict=True)]
        hits.append(np.concatenate(inside))
    covered = np.sum(hits, axis=0)
    fixed = np.concatenate([np.ravel(x) for x in (truth.weights, truth.means, truth.covariances)]) == 0.0
    fixed[: truth.weights.size + truth.means.size] = False
    covered = covered[np.concatenate([~fixed, np.ones(len(covered) - len(fixed), dtype=bool)])]
    # Intervals are right for many rows; two points of slack for 2,000.
    rate = FALSE_ALARM / (2 * covered.size)
    low, high = binom.ppf(rate, n_fits, 0.87), binom.isf(rate, n_fits, 0.91)
    assert ((covered >= low) & (covered <= high)).all(), covered / n_fits


def test_priors_whose_curvature_is_not_that_of_pseudo_data_are_refused():
    X = load_data("iris")
    mixture = one_start(Data.of(X), 2, rng=np.random.default_rng(0))
    for prior in (Prior.malsiner_walli(X), Prior.weakly_informative(X, concentration=Prior.gamma(1, 2))):
        with pytest.raises(InputError, match="bootstrap"):
            standard_errors(X, mixture, prior=prior)


# ---- missing values and labels


def incomplete(X, labels):
    return IncompleteData(without_some(X, 0.25), np.arange(len(X)) % 2 + 1.0)


def labelled(X, labels):
    allowed = np.ones((len(X), 2), dtype=bool)
    allowed[:60] = np.equal.outer(labels[:60], [0, 1])
    return Data(np.asfortranarray(X)).labelled(allowed)


def log_densities(mixture, data):
    """Of what was observed, in the components that rows may come from."""
    X, joint = data.entries, np.empty((len(data.entries), mixture.n_components))
    for seen in np.unique(~np.isnan(X), axis=0):
        own = np.flatnonzero((~np.isnan(X) == seen).all(axis=1))
        for k, (mu, sigma) in enumerate(zip(mixture.means, mixture.full_covariances, strict=True)):
            normal = multivariate_normal(mu[seen], sigma[np.ix_(seen, seen)])
            joint[own, k] = np.log(mixture.weights[k]) + normal.logpdf(X[np.ix_(own, seen)])
    return logsumexp(joint if data.allowed is None else np.where(data.allowed, joint, -np.inf), axis=1)


@pytest.mark.parametrize("case", [incomplete, labelled])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
def test_information_and_scores_of_what_was_observed_by_differences(case, covariance_type):
    rng = np.random.default_rng(1)
    truth = random_mixture(rng, covariance_type, (2, 2))
    data = case(*truth.sample(200, rng=rng))
    mixture = run_em(data, truth, settings=TIGHT).mixture
    found, robust = standard_errors(data, mixture), standard_errors(data, mixture, robust=True)
    n, steps = len(found.names), 3e-3 * np.sqrt(np.diagonal(found.covariance))
    by_row = gradient(lambda step: log_densities(moved(mixture, step), data), n, steps)
    want = np.linalg.inv(-hessian(lambda step: data.weights @ log_densities(moved(mixture, step), data), n, steps))
    scale = np.sqrt(np.outer(np.diagonal(want), np.diagonal(want)))
    assert_allclose(found.covariance / scale, want / scale, atol=2e-3)
    sandwich = want @ ((by_row * data.weights[:, None]).T @ by_row) @ want
    scale = np.sqrt(np.outer(np.diagonal(sandwich), np.diagonal(sandwich)))
    assert_allclose(robust.covariance / scale, sandwich / scale, atol=5e-3)
    assert found.distance < 1e-3


def test_a_bootstrap_keeps_to_missing_values_and_labels():
    rng = np.random.default_rng(1)
    truth = Mixture([0.4, 0.6], [[0.0, 0.0], [4.0, 4.0]], np.tile([[1.0, 0.5], [0.5, 1.0]], (2, 1, 1)))
    X, labels = truth.sample(200, rng=rng)
    for case, kinds in ((incomplete, KINDS), (labelled, ("nonparametric", "weighted"))):
        data = case(X, labels)
        mixture = run_em(data, truth, settings=TIGHT).mixture
        errors = standard_errors(data, mixture)
        for kind in kinds:
            found = bootstrap(data, mixture, rng=np.random.default_rng(0), kind=kind, n_replicates=60)
            assert_allclose(found.standard_errors.means, errors.means, rtol=0.5)
    with pytest.raises(InputError, match="'nonparametric' or 'weighted' with labels"):
        bootstrap(data, mixture, rng=rng, kind="parametric")
