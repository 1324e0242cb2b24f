"""EM with labels of some rows: the likelihood, its gradient and the E-step are those of plain array operations."""

import warnings

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import bayesgmm
from bayesgmm import GaussianMixture, check_model, compare, select_components
from bayesgmm.data import Data
from bayesgmm.datasets import load_old_faithful
from bayesgmm.exceptions import InputError, LabelWarning
from bayesgmm.mixture import column_statistics, expected_statistics, row_memberships
from bayesgmm.mixture.mixture import column_densities

K, D = 3, 2


def made(n=120, share=0.3, seed=0, apart=1.0):
    """Rows of three clusters, which overlap unless they are further apart, and the labels of some."""
    rng = np.random.default_rng(seed)
    z = np.resize(np.arange(K), n)
    X = rng.normal(size=(n, D)) + apart * np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.5]])[z]
    return X, np.where(rng.random(n) < share, z, -1)


def mask_of(labels):
    return np.equal.outer(labels, np.arange(K)) | (labels == -1)[:, None]


def log_joint(mixture, X, allowed):
    """log w_k N(x | k), (obs, cluster), minus infinity where it is not allowed."""
    parts = zip(mixture.weights, mixture.means, mixture.full_covariances, strict=True)
    each = np.stack([np.log(w) + multivariate_normal(mean, cov).logpdf(X) for w, mean, cov in parts], axis=1)
    return np.where(allowed, each, -np.inf)


@pytest.mark.parametrize("family", ["full", "tied", "diag", "tied_diag", "spherical", "tied_spherical", "VEI"])
def test_sums_of_a_block_are_those_of_its_components(family) -> None:
    X, _ = made()
    mixture = GaussianMixture(K, covariance_type=family, random_state=0, n_init=1).fit(X).mixture_
    allowed = np.array([True, False, True])
    joint = log_joint(mixture, X, allowed)
    resp = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    weights = np.linspace(0.5, 2.0, len(X))
    found = column_statistics(np.ascontiguousarray(X.T), mixture, weights, allowed=allowed)
    assert found.log_likelihood == pytest.approx(weights @ logsumexp(joint, axis=1), rel=1e-10)
    np.testing.assert_allclose(found.counts, weights @ resp, rtol=1e-8, atol=1e-12)
    assert not found.first[1].any()
    assert not found.second[1].any()
    log_density, memberships = column_densities(np.ascontiguousarray(X.T), mixture, allowed=allowed)
    np.testing.assert_allclose(log_density, logsumexp(joint, axis=1), rtol=1e-9)
    np.testing.assert_allclose(memberships.T, resp, atol=1e-9)
    free = column_statistics(np.ascontiguousarray(X.T), mixture, weights, allowed=np.ones(K, dtype=bool))
    whole = expected_statistics(X, mixture, weights)
    assert free.log_likelihood == pytest.approx(whole.log_likelihood, rel=1e-14)
    np.testing.assert_allclose(free.second, whole.second, rtol=1e-12)


@pytest.mark.parametrize("kind", ["numbers", "mask", "sets"])
def test_em_ends_where_its_own_step_by_array_operations_stays(kind) -> None:
    X, labels = made()
    allowed = mask_of(labels)
    if kind == "sets":  # a row is not from the component after its own
        allowed = np.not_equal.outer((np.maximum(labels, 0) + 1) % K, np.arange(K)) | (labels == -1)[:, None]
    given = labels if kind == "numbers" else allowed
    fit = GaussianMixture(K, random_state=0, tol=1e-12, max_iter=5_000).fit(X, labels=given)
    joint = log_joint(fit.mixture_, X, allowed)
    resp = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    counts = resp.sum(axis=0)
    assert fit.log_likelihood_ == pytest.approx(logsumexp(joint, axis=1).sum(), rel=1e-12)
    np.testing.assert_allclose(fit.weights_, counts / len(X), atol=1e-5)
    np.testing.assert_allclose(fit.means_, resp.T @ X / counts[:, None], atol=1e-4)
    for k in range(K):
        away = X - fit.means_[k]
        np.testing.assert_allclose(fit.covariances_[k], (resp[:, k] * away.T) @ away / counts[k], atol=1e-4)
    assert (np.diff(fit.history_) > -1e-9 * abs(fit.log_likelihood_)).all()
    assert fit.bic() == pytest.approx(-2 * fit.log_likelihood_ + fit.n_parameters() * np.log(len(X)))
    assert fit.n_labelled_ == (labels >= 0).sum()


def test_labels_of_every_row_give_the_moments_of_each_cluster() -> None:
    X, labels = made(share=2.0)
    fit = GaussianMixture(K, random_state=0).fit(X, labels=labels)
    for k in range(K):
        own = X[labels == k]
        np.testing.assert_allclose(fit.weights_[k], len(own) / len(X))
        np.testing.assert_allclose(fit.means_[k], own.mean(axis=0))
        np.testing.assert_allclose(fit.covariances_[k], np.cov(own.T, ddof=0))


def test_no_label_changes_nothing_but_the_start() -> None:
    X = np.array(load_old_faithful())
    free = GaussianMixture(2, random_state=0, tol=1e-10).fit(X)
    labelled = GaussianMixture(2, random_state=0, tol=1e-10).fit(X, labels=np.full(len(X), -1))
    assert labelled.n_labelled_ == 0
    assert labelled.log_likelihood_ == pytest.approx(free.log_likelihood_, abs=1e-6)


def test_wrong_labels_are_facts() -> None:
    X, labels = made()
    swapped = np.where(labels >= 0, (labels + 1) % K, -1)
    right = GaussianMixture(K, random_state=0).fit(X, labels=labels)
    moved = GaussianMixture(K, random_state=0).fit(X, labels=swapped)
    np.testing.assert_allclose(moved.means_[[1, 2, 0]], right.means_, atol=0.02)
    assert moved.log_likelihood_ == pytest.approx(right.log_likelihood_, abs=1e-2)


@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical", "VEI"])
@pytest.mark.parametrize("prior", [None, "weakly_informative"])
def test_a_component_without_labels_takes_unlabelled_rows_only(family, prior) -> None:
    X, labels = made()
    labels = np.where(labels == 2, -1, labels)
    fit = GaussianMixture(K, covariance_type=family, prior=prior, random_state=0).fit(X, labels=labels)
    data = Data(np.asfortranarray(X)).labelled(mask_of(labels))
    resp = row_memberships(data, fit.mixture_)
    assert not resp[data.labels >= 0, 2].any()
    assert fit.weights_[2] > 0.1
    assert fit.starts_.n_starts > 1


def test_sets_of_components_only() -> None:
    X, labels = made(share=0.0)
    allowed = np.ones((len(X), K), dtype=bool)
    allowed[:60, 0], allowed[60:, 1] = False, False
    fit = GaussianMixture(K, random_state=0).fit(X, labels=allowed)
    joint = log_joint(fit.mixture_, X, allowed)
    assert fit.log_likelihood_ == pytest.approx(logsumexp(joint, axis=1).sum(), rel=1e-12)
    assert fit.n_labelled_ == len(X)
    assert (labels == -1).all()


def test_weights_of_rows_count_rows() -> None:
    X, labels = made(60)
    times = np.resize([1, 2, 3], 60)
    weighted = GaussianMixture(K, random_state=0, tol=1e-10).fit(X, sample_weight=times, labels=labels)
    repeated = GaussianMixture(K, random_state=0, tol=1e-10).fit(
        np.repeat(X, times, axis=0), labels=np.repeat(labels, times)
    )
    np.testing.assert_allclose(weighted.means_, repeated.means_, atol=1e-5)
    assert weighted.log_likelihood_ == pytest.approx(repeated.log_likelihood_, rel=1e-9)


def test_order_of_rows_does_not_matter() -> None:
    X, labels = made()
    order = np.random.default_rng(1).permutation(len(X))
    one = GaussianMixture(K, random_state=0, tol=1e-10).fit(X, labels=labels)
    other = GaussianMixture(K, random_state=0, tol=1e-10).fit(X[order], labels=labels[order])
    np.testing.assert_allclose(one.means_, other.means_, atol=1e-5)


def test_two_fits_by_em_are_not_compared_without_their_labels() -> None:
    X, labels = made()
    fit = GaussianMixture(K, random_state=0).fit(X, labels=labels)
    with pytest.raises(InputError, match=r"two fits with the same labels.*labelled rows"):
        compare(fit, GaussianMixture(K, random_state=0).fit(X), X, progress=False)


@pytest.mark.parametrize(
    "use",
    [
        lambda fit, X, folder: fit.report(folder / "report.html", X),
        lambda fit, X, folder: check_model(fit, X, n_replicates=39, progress=False),
    ],
)
def test_what_knows_of_no_labels_says_so(tmp_path, use) -> None:
    X, labels = made()
    fit = GaussianMixture(K, random_state=0).fit(X, labels=labels)
    fit.save(tmp_path / "fit.nc")
    for each in (fit, bayesgmm.load(tmp_path / "fit.nc")):
        with pytest.raises(InputError, match=r"a fit without labels .*labelled rows"):
            use(each, X, tmp_path)


@pytest.mark.draws
def test_standard_errors_take_the_labels_of_the_fit() -> None:
    X, labels = made(300, apart=2.5)
    fit = GaussianMixture(K, random_state=0, tol=1e-10)
    with pytest.raises(InputError, match="the labels= of the fit"):
        fit.fit(X, labels=labels).standard_errors(X)
    with pytest.raises(InputError, match="the labels= of the fit"):
        fit.bootstrap(X, n_replicates=10)
    known = fit.standard_errors(X, labels=labels)
    found = fit.bootstrap(X, n_replicates=40, labels=labels, progress=False)
    np.testing.assert_allclose(found.standard_errors.means, known.means, rtol=0.6)
    chosen = select_components(X, [K, K + 1], "full", labels=labels, random_state=0, progress=False)
    assert chosen.fits[chosen.winner].n_labelled_ == fit.n_labelled_


def test_other_rows_and_parameters_are_refused(tmp_path) -> None:
    X, labels = made()
    np.save(tmp_path / "rows.npy", X)
    with pytest.raises(InputError, match="labels with rows in memory"):
        GaussianMixture(K).fit(tmp_path / "rows.npy", labels=labels)
    with pytest.raises(InputError, match="labels or labels_init"):
        GaussianMixture(K, labels_init=labels).fit(X, labels=labels)
    with pytest.raises(InputError, match="integers from 0 to 2"):
        GaussianMixture(K).fit(X, labels=labels + 1)


def test_a_checkpoint_knows_its_labels(tmp_path) -> None:
    X, labels = made()
    first = GaussianMixture(K, random_state=0).fit(X, labels=labels, checkpoint=tmp_path / "work")
    again = GaussianMixture(K, random_state=0).fit(X, labels=labels, checkpoint=tmp_path / "work")
    np.testing.assert_array_equal(first.means_, again.means_)
    labels[np.flatnonzero(labels == -1)[0]] = 0
    with pytest.raises(InputError, match="labels"):
        GaussianMixture(K, random_state=0).fit(X, labels=labels, checkpoint=tmp_path / "work")


def test_y_is_not_read() -> None:
    X, labels = made()
    with pytest.warns(LabelWarning, match="y is not read"):
        told = GaussianMixture(K, random_state=0).fit(X, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        silent = GaussianMixture(K, random_state=0).fit(X)
    np.testing.assert_array_equal(told.means_, silent.means_)
    assert silent.n_labelled_ == 0
