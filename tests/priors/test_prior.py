"""Priors: densities against SciPy's, defaults that follow the data, and no posterior mass on spikes."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from reference import FAMILIES, load_data, load_json, random_mixture
from scipy.optimize import minimize, minimize_scalar
from scipy.special import softmax
from scipy.stats import dirichlet, gamma, invgamma, invwishart, multivariate_normal, norm

from bayesgmm.exceptions import DegeneracyWarning, InputError, SingularDataWarning
from bayesgmm.mixture import covariance_family
from bayesgmm.mixture.mixture import Mixture
from bayesgmm.priors.prior import Prior

SHAPES = ((1, 1), (3, 1), (1, 3), (3, 4))
REFERENCES = load_json("mclust_prior_map")
MODEL_NAMES = {"VVV": "full", "V": "full", "EEE": "tied", "E": "tied"}


def spd(rng, *shape):
    root = rng.normal(size=(*shape, shape[-1]))
    return root @ np.swapaxes(root, -1, -2) + np.eye(shape[-1])


def some_prior(rng, form, shape, *, shared_covariance, by_cluster):
    """A prior whose hyperparameters differ between clusters, or not."""
    k, d = shape
    axis = (k,) if by_cluster else ()
    blocks = () if shared_covariance else axis
    common = {
        "concentration": rng.uniform(0.5, 3.0, axis),
        "mean": rng.normal(size=(*axis, d)),
        "dof": d + rng.uniform(0.0, 4.0, blocks),
        "scale": spd(rng, *blocks, d),
    }
    if form == "independent":
        return Prior.independent(mean_covariance=spd(rng, *axis, d), **common)
    return Prior.normal_inverse_wishart(kappa=rng.uniform(0.1, 2.0, axis), **common)


def scipy_log_prob(prior, mixture):
    """The same density from SciPy's distributions, term by term."""
    k, d = mixture.means.shape
    family, full = mixture.family, mixture.full_covariances
    total = dirichlet(np.broadcast_to(prior.concentration, k)).logpdf(mixture.weights)
    mean = np.broadcast_to(prior.mean, (k, d))
    for j in range(k):
        if prior.kappa is None:
            cov = np.broadcast_to(prior.mean_covariance, (k, d, d))[j]
        else:
            cov = full[j] / np.broadcast_to(prior.kappa, k)[j]
        total += multivariate_normal(mean[j], cov).logpdf(mixture.means[j])
    n_blocks = family.n_blocks(k)
    dof, scale = np.broadcast_to(prior.dof, n_blocks), np.broadcast_to(prior.scale, (n_blocks, d, d))
    for g in range(n_blocks):
        diagonal = np.diagonal(scale[g])
        if family.name in ("full", "tied"):
            total += invwishart(dof[g], scale[g]).logpdf(full[g])
        elif family.name in ("diag", "tied_diag"):
            total += invgamma(dof[g] / 2, scale=diagonal / 2).logpdf(np.diagonal(full[g])).sum()
        else:
            total += invgamma(dof[g] / 2, scale=diagonal.sum() / (2 * d)).logpdf(full[g, 0, 0])
    return total


@pytest.mark.parametrize("by_cluster", [False, True])
@pytest.mark.parametrize("form", ["independent", "normal_inverse_wishart"])
@pytest.mark.parametrize("covariance_type", FAMILIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_log_density_equals_scipys(covariance_type, form, shape, by_cluster):
    rng = np.random.default_rng(0)
    shared = covariance_family(covariance_type).shared
    for _ in range(3):
        prior = some_prior(rng, form, shape, shared_covariance=shared, by_cluster=by_cluster)
        mixture = random_mixture(rng, covariance_type, shape)
        assert prior.log_prob(mixture) == pytest.approx(scipy_log_prob(prior, mixture), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_resolved_prior_gives_the_same_density(covariance_type):
    rng = np.random.default_rng(1)
    mixture = random_mixture(rng, covariance_type, (3, 2))
    prior = Prior.weakly_informative(rng.normal(size=(40, 2)))
    assert prior.resolve(3, 2, covariance_type).log_prob(mixture) == prior.log_prob(mixture)


def test_weakly_informative_is_what_its_docstring_says():
    X = load_data("iris")
    prior, cov = Prior.weakly_informative(X), np.cov(X.T)
    np.testing.assert_allclose(prior.mean, X.mean(axis=0))
    np.testing.assert_allclose(prior.mean_covariance, 4.0 * cov)
    np.testing.assert_allclose(prior.scale / (prior.dof - 5.0), cov / 10.0)  # the mean of the inverse-Wishart
    assert (prior.dof, prior.concentration) == (6.0, 1.0)
    assert Prior.weakly_informative(X, concentration=0.5).concentration == 0.5


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_weakly_informative_is_affine_equivariant(covariance_type):
    """Moving data and parameters by x -> A x + b changes the log density by its Jacobian only."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(30, 3)) @ np.diag([1.0, 10.0, 0.1])
    A, b = rng.normal(size=(3, 3)), rng.normal(size=3)
    mixture = random_mixture(rng, covariance_type, (2, 3))
    moved = Mixture(mixture.weights, mixture.means @ A.T + b, A @ mixture.covariances @ A.T, covariance_type)
    n_blocks = 1 if covariance_type == "tied" else 2
    jacobian = np.linalg.slogdet(A)[1] * (2 + 4 * n_blocks)  # means: |A| each; covariances: |A|^(d+1) each
    before = Prior.weakly_informative(X).log_prob(mixture)
    after = Prior.weakly_informative(X @ A.T + b).log_prob(moved)
    assert after == pytest.approx(before - jacobian, rel=1e-10)


@pytest.mark.parametrize("entry", REFERENCES, ids=lambda e: f"{e['dataset']}-{e['model']}-{e['G']}")
def test_fraley_raftery_equals_mclust(entry):
    prior = Prior.fraley_raftery(load_data(entry["dataset"]), entry["G"], covariance_type=MODEL_NAMES[entry["model"]])
    want = entry["prior"]
    np.testing.assert_allclose(prior.mean, want["mean"], rtol=1e-9)
    np.testing.assert_allclose(prior.scale, want["scale"], rtol=1e-9)
    assert (prior.kappa, prior.dof) == (want["shrinkage"], want["dof"])


@pytest.mark.parametrize("entry", REFERENCES, ids=lambda e: f"{e['dataset']}-{e['model']}-{e['G']}")
def test_fraley_raftery_posterior_is_flat_at_mclusts_optimum(entry):
    """The log posterior there is stationary along scale and shift of every component, and falls on both sides."""
    X, name = load_data(entry["dataset"]), MODEL_NAMES[entry["model"]]
    prior = Prior.fraley_raftery(X, entry["G"], covariance_type=name)
    given = entry["parameters"]
    weights, means, covariances = (np.array(given[key]) for key in ("weights", "means", "covariances"))
    covariances = covariances[0] if name == "tied" else covariances

    def objective(log_factor, shift=0.0):
        mixture = Mixture(
            weights / weights.sum(), means + shift * X.std(axis=0), covariances * np.exp(log_factor), name
        )
        return mixture.log_prob(X).sum() + prior.log_prob(mixture)

    best, h = objective(0.0), 1e-3
    for step in ((h, 0.0), (0.0, h)):
        up, down = objective(*step), objective(*(-s for s in step))
        curvature = (2 * best - up - down) / h**2
        assert curvature > 0.0
        assert abs(up - down) / (2 * h) < 1e-5 * curvature


def test_weights_are_repeated_rows():
    X, v = load_data("iris"), np.arange(150) % 4
    repeated = np.repeat(X, v, axis=0)
    for ours, theirs in (
        (Prior.weakly_informative(X, sample_weight=v), Prior.weakly_informative(repeated)),
        (Prior.fraley_raftery(X, 3, sample_weight=v), Prior.fraley_raftery(repeated, 3)),
        (Prior.malsiner_walli(X, sample_weight=v), Prior.malsiner_walli(repeated)),
        (Prior.richardson_green(X[:, :1], sample_weight=v), Prior.richardson_green(repeated[:, :1])),
        (
            Prior.fraley_raftery(X, 3, covariance_type="EII", sample_weight=v),
            Prior.fraley_raftery(repeated, 3, covariance_type="EII"),
        ),
    ):
        np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-12)
        np.testing.assert_allclose(ours.scale, theirs.scale, rtol=1e-10)
    with pytest.raises(InputError, match="sample_weight"):
        Prior.weakly_informative(X, sample_weight=-v)
    one_row = np.eye(150)[0] * 5
    with pytest.raises(InputError, match="identical rows"):
        Prior.weakly_informative(X, sample_weight=one_row)


def test_fraley_raftery_pools_the_variances_of_diagonal_families():
    X = load_data("iris")
    mean_variance = X.var(axis=0, ddof=1).mean()
    for covariance_type in ("diag", "spherical", "EEI", "EII"):
        prior = Prior.fraley_raftery(X, 3, covariance_type=covariance_type)
        np.testing.assert_allclose(prior.scale, np.eye(4) * mean_variance / np.sqrt(3.0))


@pytest.mark.parametrize(
    "X",
    [
        np.c_[np.arange(9.0), 2.0 * np.arange(9.0)],  # dependent columns
        np.c_[np.arange(9.0), 2e-30 * np.arange(9.0) + 1e-29],  # the same in other units
        np.arange(6.0).reshape(2, 3) ** 2,  # fewer rows than features
    ],
)
def test_singular_data_warn_and_get_a_usable_prior(X):
    with pytest.warns(SingularDataWarning, match="singular"):
        prior = Prior.weakly_informative(X)
    cov, unit = np.cov(X.T), 1.0 / np.outer(X.std(axis=0), X.std(axis=0))
    assert np.linalg.eigvalsh(prior.scale * unit)[0] > 0.0
    np.testing.assert_allclose(prior.scale * unit, cov / 10.0 * unit, atol=1e-8)


def test_constant_columns_are_named_and_the_others_keep_their_prior():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 2)) * [1e9, 1e-2]
    with pytest.warns(DegeneracyWarning, match="column 0, column 2.") as seen:
        prior = Prior.weakly_informative(np.c_[np.full(20, -3.0), X[:, 0], np.zeros(20), X[:, 1]])
    assert len(seen) == 1
    np.testing.assert_allclose(np.diagonal(prior.scale)[[0, 2]], [9e-13, 0.1], rtol=1e-12)
    both = np.ix_([1, 3], [1, 3])
    np.testing.assert_allclose(prior.scale[both], Prior.weakly_informative(X).scale, rtol=1e-12)
    np.testing.assert_array_equal(prior.scale[:, [0, 2]][[1, 3]], 0.0)
    frame = pd.DataFrame({"dollars": X[:, 0], "country": 1.0})
    with pytest.warns(DegeneracyWarning, match="Constant: 'country'."):
        Prior.fraley_raftery(frame, 2)


def test_a_prior_of_many_features_is_quick_or_refused():
    rng = np.random.default_rng(0)
    with pytest.warns(SingularDataWarning, match="singular"):
        assert Prior.weakly_informative(rng.normal(size=(5, 600))).n_features == 600
    for make in (Prior.weakly_informative, Prior.malsiner_walli, partial(Prior.fraley_raftery, n_components=2)):
        with pytest.raises(InputError, match="at most 5,000 features"):
            make(np.zeros((2, 5_001)))


def test_identical_rows_raise():
    with pytest.raises(InputError, match="identical rows"):
        Prior.weakly_informative(np.ones((5, 2)))
    with pytest.raises(InputError, match="identical rows"):
        Prior.fraley_raftery([[1.0, 2.0]], 1)


GOOD = {"mean": [0.0, 0.0], "kappa": 1.0, "dof": 3.0, "scale": np.eye(2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dof": 1.0}, "dof > 1"),
        ({"dof": -1.0}, "dof > 0"),
        ({"kappa": 0.0}, "kappa > 0"),
        ({"concentration": [1.0, 0.0]}, "concentration > 0"),
        ({"scale": np.eye(3)}, "scale with shape"),
        ({"scale": [[1.0, 2.0], [2.0, 1.0]]}, "positive definite"),
        ({"scale": [[1.0, 0.5], [0.0, 1.0]]}, "symmetric"),
        ({"mean": [np.nan, 0.0]}, "mean without missing"),
        ({"mean": np.zeros((1, 1, 2))}, "mean with shape"),
    ],
)
def test_wrong_hyperparameters_raise(change, message):
    with pytest.raises(InputError, match=message):
        Prior.normal_inverse_wishart(**{**GOOD, **change})


def test_wrong_mean_covariance_raises():
    with pytest.raises(InputError, match="mean_covariance"):
        Prior.independent(mean=[0.0, 0.0], mean_covariance=-np.eye(2), dof=3.0, scale=np.eye(2))


def test_priors_that_do_not_fit_the_mixture_raise():
    prior = Prior.normal_inverse_wishart(**GOOD)
    with pytest.raises(InputError, match="a prior for 3 features; got one for 2"):
        prior.resolve(2, 3)
    by_cluster = Prior.normal_inverse_wishart(**{**GOOD, "dof": [3.0, 4.0]})
    assert by_cluster.resolve(2, 2).dof.tolist() == [3.0, 4.0]
    with pytest.raises(InputError, match="dof that fits"):
        by_cluster.resolve(3, 2)
    with pytest.raises(InputError, match="Tied covariances have one prior"):
        by_cluster.resolve(2, 2, "tied")


def test_exchangeable_means_that_no_hyperparameter_differs():
    assert Prior.normal_inverse_wishart(**GOOD).exchangeable
    assert Prior.normal_inverse_wishart(**{**GOOD, "mean": np.zeros((3, 2)), "kappa": np.ones(3)}).exchangeable
    for change in (
        {"mean": [[0.0, 0.0], [0.0, 1.0]]},
        {"kappa": [1.0, 2.0]},
        {"concentration": [1.0, 2.0]},
        {"dof": [3.0, 4.0]},
        {"scale": [np.eye(2), 2 * np.eye(2)]},
    ):
        assert not Prior.normal_inverse_wishart(**{**GOOD, **change}).exchangeable
    independent = {"mean": [0.0], "mean_covariance": [[[1.0]], [[2.0]]], "dof": 3.0, "scale": [[1.0]]}
    assert not Prior.independent(**independent).exchangeable


def test_malsiner_walli_is_what_its_docstring_says():
    X = load_data("iris")
    prior, squares = Prior.malsiner_walli(X), np.ptp(X, axis=0) ** 2
    np.testing.assert_array_equal(prior.mean, np.median(X, axis=0))
    np.testing.assert_allclose(prior.mean_covariance, np.diag(squares))
    c0 = 2.5 + 1.5
    assert (prior.dof, prior.scale_prior.dof, prior.concentration) == (2 * c0, 4.0, 0.01)
    np.testing.assert_allclose(prior.scale / 2, np.diag(c0 / 100 * squares))  # E C0 in the paper's terms
    np.testing.assert_allclose(prior.scale, prior.scale_prior.mean)
    assert prior.exchangeable


def test_richardson_green_is_what_its_docstring_says():
    X = load_data("galaxies")
    prior, square = Prior.richardson_green(X), np.ptp(X) ** 2
    assert prior.mean == pytest.approx(0.5 * (X.min() + X.max()))
    assert prior.mean_covariance == pytest.approx(square)
    assert (prior.dof, prior.concentration) == (4.0, 1.0)
    beta = gamma(0.2, scale=square / 10.0)  # S = 2 beta is Wishart(n, V), V times chi2_n
    n, v = prior.scale_prior.dof, float(prior.scale_prior.scale[0, 0])
    assert (n * v / 2, 2 * n * v**2 / 4) == pytest.approx((beta.mean(), beta.var()))
    with pytest.raises(InputError, match="malsiner_walli"):
        Prior.richardson_green(load_data("iris"))


@pytest.mark.parametrize("covariance_type", FAMILIES)
def test_sampled_scales_follow_the_units_of_the_data(covariance_type):
    rng = np.random.default_rng(0)
    X = load_data("iris")
    mixture = random_mixture(rng, covariance_type, (3, 4))
    family, factor = mixture.family, 10.0 if "spherical" in covariance_type else np.array([10.0, 0.2, 3.0, 7.0])
    moved = mixture.full_covariances * np.outer(np.full(4, factor), np.full(4, factor))
    other = Mixture(mixture.weights, mixture.means * factor + 5.0, family.compress(moved), covariance_type)
    log_factor = np.log(np.broadcast_to(factor, 4))
    per_block = {"full": 5.0, "diag": 2.0, "spherical": 0.5}[
        covariance_type.replace("tied_", "").replace("tied", "full")
    ]
    jacobian = (3 + per_block * family.n_blocks(3)) * log_factor.sum()
    before = Prior.malsiner_walli(X).log_prob(mixture)
    assert Prior.malsiner_walli(X * factor + 5.0).log_prob(other) == pytest.approx(before - jacobian, rel=1e-9)


def test_scales_that_do_not_vary_have_no_range():
    with pytest.raises(InputError, match="column 0 constant"):
        Prior.malsiner_walli(np.c_[np.ones(5), np.arange(5.0)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eta": 0.0}, "eta > 0"),
        ({"variance_shape": [1.0, -1.0]}, "variance_shape > 0"),
        ({"variance_scale": [1.0, 1.0, 1.0]}, "variance_scale a number"),
        ({"mean_covariance": np.eye(3)}, "mean_covariance with shape"),
    ],
)
def test_wrong_numbers_of_separation_priors_raise(change, message):
    good = {"mean": [0.0, 0.0], "mean_covariance": np.eye(2), "variance_shape": 2.0, "variance_scale": 1.0, "eta": 2.0}
    with pytest.raises(InputError, match=message):
        Prior.separation(**{**good, **change})


# Ties. Petal widths of Iris are rounded to 0.1 and 29 of them are 0.2. A component that shrinks onto those
# rows gains likelihood without bound, so what the log posterior gains there is up to the prior.

PETAL_WIDTH = load_data("iris")[:, 3:]
SPECIES = ([1 / 3, 1 / 3], [0.246, 1.326, 2.026], np.log([0.104, 0.196, 0.272]))


def _petal_mixture(vector):
    """Two log ratios of weights, three means, three log standard deviations."""
    return Mixture(softmax([*vector[:2], 0.0]), vector[2:5, None], np.exp(2.0 * vector[5:]), "spherical")


def _maximum(objective, start, *, fixed=()):
    """Maximise over all coordinates but the fixed ones."""
    free = np.setdiff1d(np.arange(8), fixed)

    def negative(values):
        vector = start.copy()
        vector[free] = values
        return -objective(vector)

    found = minimize(negative, start[free], method="BFGS")
    vector = start.copy()
    vector[free] = found.x
    return vector, -found.fun


def spike_gain(log_prior):
    """Log posterior, in natural coordinates, of the best spike on the tied rows, less that of the regular fit."""

    def objective(vector):
        mixture = _petal_mixture(vector)
        return mixture.log_prob(PETAL_WIDTH).sum() + log_prior(mixture)

    regular = np.concatenate([[0.0, 0.0], *SPECIES[1:]])
    _, regular_value = _maximum(objective, regular)
    # The rest of setosa has to be explained too: by the second component, at first as wide as setosa.
    spike = np.array([0.5, -0.5, 0.2, 0.25, 1.7, np.log(1e-3), np.log(0.1), np.log(0.45)])
    rest, _ = _maximum(objective, spike, fixed=[2, 5])

    def by_scale(log_sd):
        return -objective(np.concatenate([rest[:5], [log_sd], rest[6:]]))

    # A spike is much narrower than the rounding: 0.1 / 10.
    scale = minimize_scalar(by_scale, bounds=(np.log(1e-80), np.log(1e-2)), method="bounded")
    return -scale.fun - regular_value


def log_normal_prior(spread):
    """The weakly informative prior with log-normal standard deviations in place of its inverse gammas."""
    base = Prior.weakly_informative(PETAL_WIDTH)
    means = norm(base.mean[0], np.sqrt(base.mean_covariance[0, 0]))
    standard_deviations = norm(0.5 * np.log(base.scale[0, 0]), spread)

    def log_prob(mixture):
        log_variance = np.log(mixture.covariances)
        scales = standard_deviations.logpdf(0.5 * log_variance) - np.log(2.0) - log_variance
        return means.logpdf(mixture.means).sum() + scales.sum()

    return log_prob


def test_ties_hold_no_posterior_mass_under_the_default_prior():
    assert (PETAL_WIDTH == 0.2).sum() == 29
    assert spike_gain(Prior.weakly_informative(PETAL_WIDTH).log_prob) < -10.0


@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_the_tie_check_finds_the_spikes_of_log_normal_scales(spread):
    assert spike_gain(log_normal_prior(spread)) > 100.0


def test_a_prior_prints_on_one_line() -> None:
    printed = repr(Prior.weakly_informative(load_data("iris")[:, :2]))
    assert printed.startswith("Prior('independent' of 2 features: concentration 1, ")
    assert "\n" not in printed
