"""Mixtures of factor analysers: the kernel beside SciPy, the M-step beside NumPy, EM beside scikit-learn."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis

import bayesgmm
from bayesgmm import GaussianMixture, Mixture, select_components
from bayesgmm._common import Array
from bayesgmm.data import Data, IncompleteData
from bayesgmm.em import EMSettings, run_em
from bayesgmm.exceptions import FewRowsWarning, InputError
from bayesgmm.mixture import column_statistics, covariance_family, expected_statistics, row_densities
from bayesgmm.mixture.covariance.low_rank.decomposition import decomposition

SIZES = ((3, 1), (6, 3), (13, 1), (13, 2), (13, 4), (14, 5), (40, 7), (24, 14))  # features, factors


def covariances_of(rng: np.random.Generator, k: int, d: int, q: int) -> Array:
    """Members of the family."""
    loadings = rng.normal(size=(k, d, q))
    return loadings @ loadings.transpose(0, 2, 1) + rng.uniform(0.2, 2.0, size=(k, d, 1)) * np.eye(d)


def some_mixture(d: int, q: int, k: int = 3, seed: int = 0) -> Mixture:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(k, 5.0))
    return Mixture(weights, rng.normal(size=(k, d)), covariances_of(rng, k, d, q), f"factor{q}")


def log_joint(mixture: Mixture, X: Array) -> Array:
    """log w_k + log density of each row (obs, cluster), by SciPy."""
    parts = zip(mixture.weights, mixture.means, mixture.full_covariances, strict=True)
    return np.column_stack([np.log(w) + multivariate_normal(mean, cov).logpdf(X) for w, mean, cov in parts])


def plain_step(mixture: Mixture, X: Array) -> tuple[Array, Array, Array]:
    """Weights, means and covariances after a step of EM, as the formulas read."""
    joint = log_joint(mixture, X)
    resp = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    counts = resp.sum(axis=0)
    means = resp.T @ X / counts[:, None]
    covariances = np.empty(mixture.covariances.shape)
    for k, mean in enumerate(means):
        loadings = mixture.factors[k, :, :-1]
        scatter = (resp[:, k, None] * (X - mean)).T @ (X - mean) / counts[k]
        beta = loadings.T @ np.linalg.inv(mixture.full_covariances[k])
        theta = np.eye(loadings.shape[1]) - beta @ loadings + beta @ scatter @ beta.T
        new = scatter @ beta.T @ np.linalg.inv(theta)
        left = np.diag(scatter - new @ beta @ scatter)
        covariances[k] = new @ theta @ new.T + np.diag(left)  # the factors' covariance belongs to the loadings
    return counts / len(X), means, covariances


@pytest.mark.parametrize(("d", "q"), SIZES)
@pytest.mark.parametrize("n", [1, 31, 300])
def test_densities_are_those_of_scipy(d: int, q: int, n: int) -> None:
    mixture = some_mixture(d, q)
    X, _ = mixture.sample(n, rng=np.random.default_rng(1))
    joint = log_joint(mixture, X)
    log_density, resp = mixture.density_and_responsibilities(X)
    assert_allclose(log_density, logsumexp(joint, axis=1), rtol=1e-11)
    assert_allclose(resp, np.exp(joint - logsumexp(joint, axis=1, keepdims=True)), atol=1e-11)


@pytest.mark.parametrize(("d", "q"), SIZES)
def test_sums_are_those_of_numpy(d: int, q: int) -> None:
    mixture = some_mixture(d, q)
    X, _ = mixture.sample(301, rng=np.random.default_rng(1))
    v = np.random.default_rng(2).uniform(0.5, 2.0, size=len(X))
    found, resp = expected_statistics(X, mixture, v), mixture.responsibilities(X) * v[:, None]
    for k in range(mixture.n_components):
        loadings, sds = mixture.factors[k, :, :-1], mixture.factors[k, :, -1]
        u = (X - mixture.means[k]) / sds
        y = (X - mixture.means[k]) @ np.linalg.solve(mixture.full_covariances[k], loadings)
        assert_allclose(found.first[k], resp[:, k] @ u, rtol=1e-9, atol=1e-9)
        assert_allclose(found.second[k, :, :-1], (resp[:, k, None] * u).T @ y, rtol=1e-9, atol=1e-9)
        assert_allclose(found.second[k, :, -1], resp[:, k] @ u**2, rtol=1e-9)
    assert_allclose(found.log_likelihood, v @ mixture.log_prob(X), rtol=1e-12)


@pytest.mark.parametrize(("d", "q"), SIZES[:-1])
def test_a_step_of_em_is_that_of_numpy(d: int, q: int) -> None:
    mixture = some_mixture(d, q)
    X, _ = some_mixture(d, q, seed=5).sample(400, rng=np.random.default_rng(1))
    found = run_em(Data.of(X), mixture, settings=EMSettings(max_iter=1, accelerate=False)).mixture
    weights, means, covariances = plain_step(mixture, X)
    assert_allclose(found.weights, weights, rtol=1e-9)
    assert_allclose(found.means, means, atol=1e-9)
    assert_allclose(found.full_covariances, covariances, atol=1e-8)


@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize(("d", "q"), SIZES[1:6])
def test_the_likelihood_never_falls(d: int, q: int, accelerate: bool) -> None:
    X, _ = some_mixture(d, q, seed=5).sample(200, rng=np.random.default_rng(1))
    run = run_em(Data.of(X), some_mixture(d, q), settings=EMSettings(tol=0.0, max_iter=300, accelerate=accelerate))
    assert (np.diff(run.history) >= -1e-9 * abs(run.objective)).all()
    assert_allclose(run.objective, logsumexp(log_joint(run.mixture, X), axis=1).sum(), rtol=1e-10)


def test_one_component_is_factor_analysis() -> None:
    X, _ = some_mixture(12, 2, k=1).sample(500, rng=np.random.default_rng(1))
    fit = GaussianMixture(1, covariance_type="factor", n_factors=2, tol=1e-9, random_state=0).fit(X)
    reference = FactorAnalysis(2, tol=1e-10, max_iter=10_000, svd_method="lapack").fit(X)
    assert_allclose(fit.log_likelihood_, reference.score(X) * len(X), atol=1e-4)
    assert_allclose(fit.covariances_[0], reference.get_covariance(), atol=1e-3)


@pytest.mark.parametrize(("d", "q"), SIZES[2:-1])
def test_a_member_is_decomposed_to_the_last_digits(d: int, q: int) -> None:
    for matrix in covariances_of(np.random.default_rng(d), 3, d, q):
        units = np.exp(np.random.default_rng(1).normal(size=d))
        matrix = matrix * np.outer(units, units)
        found = decomposition(matrix, q)
        sizes = np.sqrt(np.outer(np.diag(matrix), np.diag(matrix)))
        again = found[:, :-1] @ found[:, :-1].T + np.diag(found[:, -1] ** 2)
        assert_allclose(again / sizes, matrix / sizes, atol=1e-11)


def test_other_matrices_are_refused() -> None:
    with pytest.raises(InputError, match="loadings of rank 1 times their transpose"):
        Mixture([1.0], np.zeros((1, 6)), covariances_of(np.random.default_rng(0), 1, 6, 3), "factor1")


@pytest.mark.parametrize(
    ("q", "d", "free"),
    [(1, 10, 20), (2, 10, 29), (3, 100, 397)],  # D q - q (q - 1) / 2 + D
)
def test_free_parameters(q: int, d: int, free: int) -> None:
    family = covariance_family("factor", d, q)
    assert family is covariance_family(f"factor{q}")
    assert family.n_free(3, d) == 3 * free
    assert family.n_parameters(3, d) == 3 * free + 3 * d + 2


def test_the_full_family_includes_it_and_it_includes_fewer_factors() -> None:
    full, tied, diagonal = (covariance_family(name) for name in ("full", "tied", "diag"))
    one, two = covariance_family("factor1"), covariance_family("factor2")
    assert full.includes(two)
    assert two.includes(one)
    assert two.includes(diagonal)
    assert not one.includes(two)
    assert not two.includes(full)
    assert not two.includes(tied)


@pytest.mark.parametrize(
    ("covariance_type", "n_factors", "message"),
    [
        ("factor", None, "Expected a number of factors with covariance_type 'factor'"),
        ("full", 2, "Expected covariance_type='factor' with n_factors"),
        ("factor", 4, "Expected at most 3 factors of 6 features"),
        ("factor9", None, "Expected at most 3 factors of 6 features"),
        ("factor20", None, "Expected at most 3 factors of 6 features"),
    ],
)
def test_numbers_of_factors_that_are_refused(covariance_type: str, n_factors: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GaussianMixture(2, covariance_type=covariance_type, n_factors=n_factors).fit(np.eye(20, 6))


@pytest.mark.parametrize("name", ["factor0", "factor-1", "factors", "factor1.5"])
def test_names_that_are_no_family(name: str) -> None:
    with pytest.raises(InputError, match="'factor1', 'factor2'"):
        covariance_family(name)


@pytest.mark.draws
def test_groups_with_fewer_rows_than_features_are_found() -> None:
    rng = np.random.default_rng(0)
    truth = Mixture(np.full(3, 1 / 3), 2.0 * rng.normal(size=(3, 60)), covariances_of(rng, 3, 60, 2), "factor2")
    (X, labels), (new, _) = truth.sample(120, rng=rng), truth.sample(500, rng=rng)
    with pytest.warns(FewRowsWarning):
        fit = GaussianMixture(3, covariance_type="factor2", random_state=0).fit(X)
    together = np.array([[np.sum((labels == i) & (fit.predict(X) == j)) for j in range(3)] for i in range(3)])
    assert together.max(axis=1).sum() >= 118
    with pytest.warns(FewRowsWarning):
        diagonal = GaussianMixture(3, covariance_type="tied_diag", random_state=0).fit(X)
    assert fit.score(new) > diagonal.score(new)


@pytest.mark.draws
def test_units_of_the_features_do_not_matter() -> None:
    X, _ = some_mixture(8, 2).sample(300, rng=np.random.default_rng(0))
    units = np.exp(np.random.default_rng(1).normal(size=8))
    one, other = (GaussianMixture(2, covariance_type="factor2", random_state=0).fit(rows) for rows in (X, X * units))
    assert_allclose(other.log_likelihood_, one.log_likelihood_ - len(X) * np.log(units).sum(), atol=1e-2)


def test_parts_make_up_the_covariances() -> None:
    X, _ = some_mixture(8, 2).sample(300, rng=np.random.default_rng(0))
    fit = GaussianMixture(2, covariance_type="factor2", random_state=0).fit(X)
    loadings, noise = fit.loadings_, fit.noise_variances_
    assert_allclose(loadings @ loadings.transpose(0, 2, 1) + noise[:, :, None] * np.eye(8), fit.covariances_, rtol=1e-9)
    assert_allclose(fit.precisions_ @ fit.covariances_, np.broadcast_to(np.eye(8), (2, 8, 8)), atol=1e-9)
    explained = np.einsum("kji,kj,kjh->kih", loadings, 1.0 / noise, loadings)
    assert (np.diff(np.diagonal(explained, axis1=1, axis2=2)) <= 0).all()
    assert_allclose(explained * (1 - np.eye(2)), 0.0, atol=1e-8)
    assert not hasattr(GaussianMixture(2, random_state=0).fit(X), "loadings_")


def test_parameters_of_a_fit_start_another(tmp_path: object) -> None:
    X, _ = some_mixture(8, 2).sample(300, rng=np.random.default_rng(0))
    fit = GaussianMixture(2, covariance_type="factor", n_factors=2, random_state=0).fit(X)
    start = {"weights_init": fit.weights_, "means_init": fit.means_, "precisions_init": fit.precisions_}
    again = GaussianMixture(2, covariance_type="factor2", **start).fit(X)
    assert again.log_likelihood_ >= fit.log_likelihood_ - 1e-6
    fit.save(f"{tmp_path}/fit.nc")
    loaded = bayesgmm.load(f"{tmp_path}/fit.nc")
    assert loaded.n_factors == 2
    assert (loaded.score_samples(X) == fit.score_samples(X)).all()


def test_rows_are_drawn_from_the_covariances() -> None:
    mixture = some_mixture(5, 2, k=1)
    X, _ = mixture.sample(200_000, rng=np.random.default_rng(0))
    sds = np.sqrt(np.diag(mixture.full_covariances[0]))
    assert_allclose(np.cov(X.T) / np.outer(sds, sds), mixture.full_covariances[0] / np.outer(sds, sds), atol=0.02)


def test_rows_far_away_have_memberships() -> None:
    mixture = some_mixture(6, 2)
    same = Mixture(mixture.weights, mixture.means, mixture.full_covariances)
    far = np.random.default_rng(0).normal(size=(5, 6)) * 1e9
    assert_allclose(mixture.responsibilities(far), same.responsibilities(far), atol=1e-6)
    assert_allclose(mixture.log_prob(far), same.log_prob(far), rtol=1e-6)


def test_a_noise_variance_of_zero_stays_at_its_floor() -> None:
    """A Heywood case: the first feature's loading would have to be larger than its standard deviation."""
    correlations = np.array(
        [[1.0, 0.9, 0.8, 0.9], [0.9, 1.0, 0.6, 0.75], [0.8, 0.6, 1.0, 0.65], [0.9, 0.75, 0.65, 1.0]]
    )
    z = np.random.default_rng(0).normal(size=(200, 4))
    z = np.linalg.qr(z - z.mean(axis=0))[0] * np.sqrt(200)
    X = z @ np.linalg.cholesky(correlations).T
    fit = GaussianMixture(1, covariance_type="factor1").fit(X)
    assert fit.n_iter_ < 100
    assert_allclose(fit.noise_variances_[0, 0], 1e-6, rtol=1e-3)  # of its variance
    assert_allclose(fit.loadings_[0, 1:, 0], correlations[0, 1:], atol=1e-2)
    assert_allclose(fit.noise_variances_[0, 1:], 1.0 - correlations[0, 1:] ** 2, atol=1e-2)


def test_bic_chooses_the_number_of_factors() -> None:
    X, _ = some_mixture(10, 2, k=2).sample(400, rng=np.random.default_rng(0))
    found = select_components(X, 2, ["factor1", "factor2", "factor3", "diag"], random_state=0)
    assert found.best.covariance_type == "factor2"


@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("a prior", lambda X: GaussianMixture(2, covariance_type="factor1", prior="weakly_informative").fit(X)),
        ("a noise component", lambda X: GaussianMixture(2, covariance_type="factor1", noise=True).fit(X)),
        ("missing values", lambda X: GaussianMixture(2, covariance_type="factor1", missing="marginalize").fit(X)),
        (
            "standard errors",
            lambda X: GaussianMixture(2, covariance_type="factor1", random_state=0).fit(X).standard_errors(X),
        ),
    ],
)
def test_what_is_not_supported_is_refused_by_name(what: str, call: object) -> None:
    X, _ = some_mixture(6, 1).sample(100, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match=f"another covariance_type for {what}"):
        call(X)  # type: ignore[operator]


def test_rows_with_gaps_never_reach_the_kernel() -> None:
    mixture = some_mixture(6, 1)
    block = IncompleteData(np.where(np.eye(3, 6), np.nan, 1.0)).blocks[0]
    with pytest.raises(InputError, match="another covariance_type for missing values"):
        column_statistics(block.columns, mixture, block.row_weights, block.patterns)
    with pytest.raises(InputError, match="another covariance_type for missing values"):
        row_densities([block], mixture)


def test_posteriors_are_refused_with_the_reason() -> None:
    X, _ = some_mixture(6, 1).sample(100, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="Loadings are known up to rotations"):
        bayesgmm.BayesianGaussianMixture(2, covariance_type="factor1").fit(X)
