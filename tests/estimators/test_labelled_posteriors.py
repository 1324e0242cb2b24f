"""Posteriors of rows of which some have labels: exact ones, both samplers, what follows from them, refusals."""

from functools import cache

import arviz as az
import numpy as np
import pytest
from exact_posterior import exact_draws
from mode_cases import exact_log_evidences
from monte_carlo import bound
from scipy.special import logsumexp
from test_labelled_rows import K, log_joint, made, mask_of

import bayesgmm
from bayesgmm import (
    BayesianGaussianMixture,
    GaussianMixture,
    Prior,
    check_model,
    compare,
    log_evidence,
    loo,
    relabel,
    sample_labels,
)
from bayesgmm.data import Data, alike_components
from bayesgmm.exceptions import InputError, LabelWarning
from bayesgmm.posterior import draws_of, model_of
from bayesgmm.prediction import log_densities, mean_memberships, sampled_memberships

SEVEN = np.array([0.0, 0.4, -0.3, 3.0, 3.5, 2.6, 1.4])[:, None]
PRIOR = Prior.normal_inverse_wishart(concentration=1.5, mean=[1.0], kappa=0.3, dof=4.0, scale=[[1.0]])
ALL_TOLD = np.array([0, -1, -1, 1, -1, 2, -1])
ONE_TOLD = np.array([0, -1, 0, -1, -1, -1, -1])  # the other components may change places


@cache
def exact_draws_of(labels):
    return exact_draws(SEVEN, PRIOR, K, size=8_000, allowed=mask_of(np.array(labels)))


def fitted(X, labels, *, y=None, **settings):
    settings = {"random_state": 1, "progress": False, **settings}
    return BayesianGaussianMixture(K, **settings).fit(X, y, labels=labels)


@pytest.fixture(scope="module")
def fit():
    X, labels = made()
    return X, labels, fitted(X, labels, draws=200, tune=200)


# ---- the posterior


@pytest.mark.draws
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning")
@pytest.mark.parametrize(
    ("labels", "inference"),
    [
        pytest.param(ALL_TOLD, "gibbs", id="all components by Gibbs sampling"),
        pytest.param(ONE_TOLD, "nuts", id="one component by NUTS"),
        pytest.param(ALL_TOLD, "nuts", id="all components by NUTS", marks=pytest.mark.slow),
        pytest.param(ONE_TOLD, "gibbs", id="one component by Gibbs sampling", marks=pytest.mark.slow),
    ],
)
def test_draws_are_those_of_all_allocations_that_labels_allow(labels, inference) -> None:
    """Three components of seven rows: every quantity that has a meaning, against exact draws."""
    model = fitted(SEVEN, labels, prior=PRIOR, inference=inference, draws=4_000, target_accept=0.99)
    exact = exact_draws_of(tuple(labels))
    known, posterior = [0] if labels is ONE_TOLD else [0, 1, 2], model.posterior_["posterior"]
    scores = []
    for name, change in (("weights", np.log), ("means", np.arctan), ("covariances", np.log)):
        own, other = posterior[name].to_numpy(), exact[name]
        for k in known:
            drawn, truth = change(own[:, :, k].reshape(own.shape[:2])), change(other[:, k].ravel())
            error = np.hypot(az.mcse(drawn), truth.std() / np.sqrt(len(truth)))
            scores.append((drawn.mean() - truth.mean()) / error)
    assert np.abs(scores).max() < bound(len(scores))


@pytest.mark.draws
@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning")
@pytest.mark.parametrize("labels", [ALL_TOLD, ONE_TOLD], ids=["all components", "one component"])
def test_the_evidence_is_a_sum_over_all_allocations_that_labels_allow(labels) -> None:
    model = fitted(SEVEN, labels, prior=PRIOR, inference="gibbs", draws=2_000)
    allocations, values = exact_log_evidences(SEVEN, PRIOR, K)
    allowed = ((allocations == labels) | (labels == -1)).all(axis=1)
    found = log_evidence(model, random_state=1, progress=False)
    assert found.se < 0.1
    assert abs(found.log_evidence - logsumexp(values[allowed])) < bound() * found.se
    assert (found.thames is None) == (labels is ONE_TOLD)


@pytest.mark.draws
def test_few_labels_settle_what_rows_leave_open() -> None:
    """Four clusters in a square are two by columns or by rows; one label each says which."""
    rng = np.random.default_rng(0)
    corners = np.array([[0.0, 0.0], [0.0, 8.0], [8.0, 0.0], [8.0, 8.0]])
    X = np.concatenate([corner + rng.normal(size=(15, 2)) for corner in corners])
    for wanted in ([0, 0, 1, 1], [1, 0, 1, 0]):
        labels = np.full(60, -1)
        labels[::15] = wanted
        model = BayesianGaussianMixture(2, random_state=1, progress=False).fit(X, labels=labels)
        np.testing.assert_array_equal(model.labels_, np.repeat(wanted, 15))
        assert model.converged_
        assert "modes" not in model.posterior_.attrs


@pytest.mark.draws
def test_both_samplers_agree_with_weights_of_rows_and_sets_of_components() -> None:
    X, labels = made()
    allowed = mask_of(labels)
    allowed[::7] = [True, True, False]
    counts = np.random.default_rng(0).integers(0, 4, len(X)).astype(float)
    draws = []
    for inference in ("nuts", "gibbs"):
        model = BayesianGaussianMixture(K, inference=inference, random_state=1, draws=2_000, progress=False)
        draws.append(model.fit(X, labels=allowed, sample_weight=counts).posterior_)
        assert model.n_labelled_ == (~allowed[counts > 0].all(axis=1)).sum()
    scores = []
    for name in ("weights", "means"):
        one, other = (tree["posterior"][name].to_numpy().reshape(4, 2_000, -1) for tree in draws)
        scores += [
            (a.mean() - b.mean()) / np.hypot(az.mcse(a), az.mcse(b))
            for a, b in zip(np.moveaxis(one, 2, 0), np.moveaxis(other, 2, 0), strict=True)
        ]
    assert np.abs(scores).max() < bound(len(scores))


# ---- what follows


def test_rows_of_the_fit_keep_their_labels_and_others_have_none(fit) -> None:
    X, labels, model = fit
    known = labels >= 0
    assert model.n_labelled_ == known.sum()
    np.testing.assert_array_equal(model.labels_[known], labels[known])
    np.testing.assert_array_equal(model.membership()["mean"].to_numpy()[known].argmax(axis=1), labels[known])
    assert model.membership()["sd"].to_numpy()[known].max() == 0.0
    drawn = sample_labels(model, random_state=0).to_numpy()
    np.testing.assert_array_equal(drawn[..., known], np.broadcast_to(labels[known], drawn[..., known].shape))
    np.testing.assert_allclose(
        model.predict_proba(X), mean_memberships(draws_of(model.posterior_), Data.of(X)), rtol=1e-12
    )
    assert (model.predict(X) != labels)[known].any()  # as in EM, `predict` knows of no labels
    np.testing.assert_array_equal(model.posterior_["observed_data"]["y"], X)
    np.testing.assert_array_equal(model.posterior_["constant_data"]["allowed"], mask_of(labels))


def test_densities_and_memberships_of_labelled_rows_draw_by_draw(fit) -> None:
    X, labels, model = fit
    draws, data = draws_of(model.posterior_)[::97], Data(np.asfortranarray(X), None, mask_of(labels))
    joint = [log_joint(draws.mixture(s), X, data.allowed) for s in range(len(draws))]
    expected = logsumexp(joint, axis=2)
    np.testing.assert_allclose(log_densities(draws, data), expected, rtol=1e-9)
    resp = np.exp(np.array(joint) - expected[..., None])
    np.testing.assert_allclose(sampled_memberships(draws, data), np.moveaxis(resp, 0, 2), atol=1e-9)
    assert not sampled_memberships(draws, data)[~data.allowed].any()


def test_labels_that_are_all_unknown_are_none() -> None:
    X, _ = made()
    trees = [
        BayesianGaussianMixture(2, draws=20, tune=20, random_state=0, progress=False, init="best").fit(X, labels=each)
        for each in (None, np.full(len(X), -1))
    ]
    np.testing.assert_array_equal(*(each.posterior_["posterior"]["means"] for each in trees))
    assert trees[1].n_labelled_ == 0


def test_components_that_labels_do_not_tell_apart() -> None:
    np.testing.assert_array_equal(alike_components(mask_of(np.array([0, -1, 0]))), [1, 0, 0])
    assert len(set(alike_components(mask_of(ALL_TOLD)).tolist())) == K


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.ParetoWarning")
def test_a_fit_from_a_file_knows_its_labels(fit, tmp_path) -> None:
    model = fit[2]
    model.save(tmp_path / "fit.nc")
    again = bayesgmm.load(tmp_path / "fit.nc")
    assert again.n_labelled_ == model.n_labelled_
    np.testing.assert_array_equal(again.labels_, model.labels_)
    assert model_of(again.posterior_).is_identified
    assert np.isfinite(loo(again, progress=False).elpd)
    assert log_evidence(again, random_state=0, progress=False).se < 0.2
    assert again.diagnose().figures.identified
    assert len(again.summary())


@pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning")
def test_only_components_without_labels_change_places() -> None:
    X, labels = made()
    model = fitted(X, np.where(labels == 0, 0, -1), draws=50, tune=50, init="best", inference="gibbs")
    order = model.posterior_["sample_stats"]["permutation"].to_numpy()
    assert (order[..., 0] == 0).all()
    found = relabel(model, X[::2], progress=False)["sample_stats"]["permutation"].to_numpy()
    assert (found[..., 0] == 0).all()


@pytest.mark.slow
def test_comparisons_and_reports_use_the_labels(fit, tmp_path) -> None:
    X, labels, model = fit
    em = GaussianMixture(K, random_state=0).fit(X, labels=labels)
    found = compare(em, model, X, bootstrap=0, folds=2, progress=False)
    known = labels >= 0
    for name in ("em", "bayes"):
        np.testing.assert_array_equal(found.partitions.labels[name][known], labels[known])
    with pytest.raises(InputError, match="two fits with the same labels"):
        compare(GaussianMixture(K, random_state=0).fit(X), model, bootstrap=0, X=X, progress=False)
    model.report(tmp_path / "report.html", checks=False, progress=False)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"Components are known of {known.sum()} rows" in text
    assert "could not be generated" not in text
    assert "labels = ..." in text


# ---- refusals


@pytest.mark.parametrize(
    "use",
    [
        lambda fit, X, folder: check_model(fit, n_replicates=39, progress=False),
        lambda fit, X, folder: loo(fit, refit=True, progress=False),
    ],
)
def test_what_knows_of_no_labels_says_so(fit, tmp_path, use) -> None:
    X, _, model = fit
    with pytest.raises(InputError, match=r"a fit without labels for .*labelled rows"):
        use(model, X, tmp_path)


def test_what_needs_the_labels_says_so(fit) -> None:
    X, _, model = fit
    with pytest.raises(InputError, match=r"rows of the fit with their labels.*Leave X out"):
        log_evidence(model, X, progress=False)
    with pytest.raises(InputError, match="nothing to relabel"):
        relabel(model, progress=False)


@pytest.mark.draws
def test_the_laplace_approximation_is_of_the_same_posterior(fit) -> None:
    X, labels, model = fit
    one, other = (each.posterior_["posterior"] for each in (fitted(X, labels, inference="laplace"), model))
    scores = []
    for name in ("weights", "means"):
        for k in range(K):
            a, b = (each[name][:, :, k].to_numpy().reshape(*each[name].shape[:2], -1)[..., 0] for each in (one, other))
            scores.append((a.mean() - b.mean()) / np.hypot(az.mcse(a), az.mcse(b)))
    assert np.abs(scores).max() < bound(len(scores))


def test_the_pymc_model_has_a_variable_for_rows_of_the_same_components(fit) -> None:
    _, labels, model = fit
    names = {variable.name for variable in model.model.observed_RVs}
    assert len(names) == len(np.unique(mask_of(labels), axis=0))


def test_rows_that_cannot_have_labels(tmp_path) -> None:
    X, labels = made()
    np.save(tmp_path / "rows.npy", X)
    with pytest.raises(InputError, match="labels with rows in memory"):
        fitted(tmp_path / "rows.npy", labels)
    X[0, 0] = np.nan
    with pytest.raises(InputError, match="complete rows with labels"):
        fitted(X, labels, missing="marginalize")


def test_labels_are_checked_and_y_is_not_read() -> None:
    X, labels = made()
    with pytest.raises(InputError, match="integers from 0 to 2"):
        fitted(X, labels + 1)
    with pytest.warns(LabelWarning, match="y is not read"):
        fitted(X, None, y=labels, inference="gibbs", draws=5, tune=5, n_init=1, init="best")


def test_a_checkpoint_knows_its_labels(tmp_path) -> None:
    X, labels = made()
    settings = {"draws": 20, "tune": 20, "init": "best", "random_state": 0, "progress": False}
    model = BayesianGaussianMixture(K, **settings)
    first = model.fit(X, labels=labels, checkpoint=tmp_path / "work").posterior_
    again = model.fit(X, labels=labels, checkpoint=tmp_path / "work").posterior_
    np.testing.assert_array_equal(first["posterior"]["means"], again["posterior"]["means"])
    labels[np.flatnonzero(labels == -1)[0]] = 0
    with pytest.raises(InputError, match="labels"):
        model.fit(X, labels=labels, checkpoint=tmp_path / "work")
