"""Units and coordinates: a fit of mapped rows is the mapped fit, for every map of the family's (and prior's) group.

From equal initial memberships that holds over the whole group: EM, MAP, scores, standard errors. A whole default fit
(starts, searches, degeneracy, warnings, the number of components chosen) follows one scale a feature, and for spherical
families rotations and one common scale.
"""

import tracemalloc
import warnings

import numpy as np
import pytest
from affine_maps import AffineMap, random_map
from em_cases import mixture_from_responsibilities
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reference import FAMILIES, load_data
from sklearn.datasets import load_breast_cancer

from bayesgmm import GaussianMixture, Prior, select_components
from bayesgmm.data.blocks import Data
from bayesgmm.em.em import EMSettings, run_em
from bayesgmm.exceptions import SingularDataWarning
from bayesgmm.mixture import Equivariance, covariance_family
from bayesgmm.standard_errors.information import standard_errors

few = settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 2**32 - 1)
# Starts are scaled by features, never whitened: a default fit follows what is left of the group then.
FOLLOWED_BY_DEFAULT = {Equivariance.AFFINE: Equivariance.SCALES}
GROUPS = {name: covariance_family(name).equivariance for name in FAMILIES}


def rng(seed=0):
    return np.random.default_rng(seed)


def clusters(seed=0, n=150, d=3):
    """Three overlapping clusters, no two rows equal."""
    draws = rng(seed)
    means = draws.normal(0.0, 2.0, (3, d))
    return means[draws.integers(3, size=n)] + draws.normal(size=(n, d)) * draws.uniform(0.3, 1.5, d)


def map_of_default(covariance_type, seed, *, log10_scale, offset=10.0):
    group = GROUPS[covariance_type]
    return random_map(FOLLOWED_BY_DEFAULT.get(group, group), rng(seed), 3, log10_scale=log10_scale, offset=offset)


def powers_of_two(covariance_type, seed):
    exponents = rng(seed).integers(-40, 41, 3 if Equivariance.SCALES in GROUPS[covariance_type] else 1)
    return AffineMap(np.zeros(3), np.diag(np.broadcast_to(2.0**exponents, 3)))


def fitted(X, covariance_type="full", k=3, **kwargs):
    """A fit and the categories of its warnings."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit = GaussianMixture(k, covariance_type=covariance_type, random_state=0, **{"n_init": 3, **kwargs}).fit(X)
    return fit, {warning.category for warning in told}


def matched(X, ours, theirs):
    """Components of the second fit in the order of the first."""
    agreement = ours.predict_proba(X[0]).T @ theirs.predict_proba(X[1])
    order = agreement.argmax(axis=1)
    assert sorted(order) == list(range(len(order)))
    return order


def check_same_fit(X, moved, covariance_type, *, tolerance, **kwargs):
    Y = moved(X)
    (before, told), (after, told_after) = (fitted(rows, covariance_type, **kwargs) for rows in (X, Y))
    assert told == told_after
    n, order = len(X), matched((X, Y), before, after)
    shifted = after.log_likelihood_ + n * moved.log_det
    assert shifted == pytest.approx(before.log_likelihood_, rel=tolerance)
    memberships = before.predict_proba(X), after.predict_proba(Y)[:, order]
    assert_allclose(memberships[1], memberships[0], atol=tolerance)
    assert_array_equal(memberships[1].argmax(axis=1), memberships[0].argmax(axis=1))
    sd = np.sqrt(np.diagonal(np.cov(Y.T)))
    assert_allclose(after.means_[order] / sd, moved(before.means_) / sd, rtol=1e-12, atol=tolerance)
    assert_array_equal(before.starts_.degenerate, after.starts_.degenerate)


@pytest.fixture(params=FAMILIES)
def covariance_type(request):
    return request.param


@few
@given(seed=seeds)
@pytest.mark.parametrize("prior", [None, "weakly_informative"])
def test_em_from_equal_memberships_follows_the_whole_group(covariance_type, prior, seed):
    """Scores are those of rows far outside, too."""
    X, family = clusters(), covariance_family(covariance_type)
    moved = random_map(family.equivariance, rng(seed), 3, log10_scale=2.0)
    resp = rng(1).dirichlet(np.full(3, 0.3), size=len(X))
    priors = [None if prior is None else Prior.weakly_informative(Y) for Y in (X, moved(X))]
    resolved = [each and each.resolve(3, 3, covariance_type) for each in priors]
    starts = [
        mixture_from_responsibilities(Y, resp, covariance_type, prior=p)
        for Y, p in zip((X, moved(X)), resolved, strict=True)
    ]
    steps = EMSettings(tol=0.0, max_iter=30, accelerate=False)
    ends = [
        run_em(Data.of(Y), start, prior=p, settings=steps)
        for Y, start, p in zip((X, moved(X)), starts, resolved, strict=True)
    ]
    before, after = (end.mixture for end in ends)
    assert_allclose(after.weights, before.weights, rtol=1e-6)
    far = np.vstack([X, 10.0 * X])
    assert_allclose(after.responsibilities(moved(far)), before.responsibilities(far), atol=1e-6)
    assert_allclose(after.log_prob(moved(far)) + moved.log_det, before.log_prob(far), rtol=1e-6, atol=1e-6)
    gains = [np.diff(end.history) for end in ends]
    assert_allclose(gains[1], gains[0], rtol=1e-5, atol=1e-6)


@few
@given(seed=seeds)
def test_standard_errors_follow_the_whole_group(covariance_type, seed):
    X = clusters()
    moved = random_map(GROUPS[covariance_type], rng(seed), 3, log10_scale=2.0)
    resp = fitted(X, covariance_type)[0].predict_proba(X)
    errors = []
    for rows in (X, moved(X)):
        start = mixture_from_responsibilities(rows, resp, covariance_type)
        end = run_em(Data.of(rows), start, settings=EMSettings(1e-13, 5_000)).mixture
        errors.append(standard_errors(rows, end))
    before, after = errors
    assert_allclose(after.weights, before.weights, rtol=1e-4)
    assert_allclose(after.missing, before.missing, atol=1e-4)
    probabilities = [each.memberships(rows).standard_error for each, rows in zip(errors, (X, moved(X)), strict=True)]
    assert_allclose(probabilities[1], probabilities[0], rtol=1e-3, atol=1e-6)
    if moved.B[~np.eye(3, dtype=bool)].any():  # the errors of a turned mean need the covariances of its entries
        return
    assert_allclose(after.means / np.diagonal(moved.B), before.means, rtol=1e-4)


@few
@given(seed=seeds)
def test_the_default_fit_is_the_same_in_units_of_powers_of_two(covariance_type, seed):
    """But for the size of the objective, by whose rounding it is judged that nothing is left to gain."""
    check_same_fit(clusters(), powers_of_two(covariance_type, seed), covariance_type, tolerance=1e-6)


@few
@given(seed=seeds, log10_offset=st.floats(0.0, 6.0))
def test_the_default_fit_is_the_same_in_any_units(covariance_type, seed, log10_offset):
    moved = map_of_default(covariance_type, seed, log10_scale=12.0, offset=10.0**log10_offset)
    check_same_fit(clusters(), moved, covariance_type, tolerance=1e-6)


@few
@given(seed=seeds)
def test_offsets_of_a_milliard_standard_deviations_leave_labels_and_k(covariance_type, seed):
    X = clusters(3)
    moved = map_of_default(covariance_type, seed, log10_scale=3.0, offset=1e9)
    before, after = (fitted(rows, covariance_type)[0].predict(rows) for rows in (X, moved(X)))
    table = np.histogram2d(before, after, bins=3)[0]
    assert (table > 0).sum() == 3
    found = [
        select_components(rows, range(1, 4), [covariance_type], n_init=2, random_state=0, progress=False).winner
        for rows in (X, moved(X))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("K", [2, 5])
@pytest.mark.parametrize(
    "rows", [[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [1e-9, 1e9]]], ids=str
)
@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_rows_with_one_or_two_values_are_told(covariance_type, rows, K, scale):
    """The likelihood is unbounded, also where the data lie on a line."""
    X = np.repeat(rows, 100, axis=0) * scale
    fit, told = fitted(X, covariance_type, k=K)
    assert told
    assert np.isfinite(fit.log_likelihood_)
    if K == len(np.unique(rows, axis=0)):
        assert fit.starts_.degenerate.all()


@pytest.mark.parametrize("rows", [load_breast_cancer().data, load_data("thyroid"), load_data("iris") * 1e-9])
def test_one_component_is_the_closed_form(rows):
    n, d = rows.shape
    fit = GaussianMixture(1).fit(rows)
    sd = rows.std(axis=0)
    log_det = np.linalg.slogdet(np.corrcoef(rows.T))[1] + 2.0 * np.log(sd).sum()
    assert fit.log_likelihood_ == pytest.approx(-0.5 * n * (d * np.log(2 * np.pi) + log_det + d), abs=1e-5)
    assert_allclose(fit.means_[0], rows.mean(axis=0), rtol=1e-12)
    scale = np.outer(sd, sd)
    assert_allclose(fit.covariances_[0] / scale, np.cov(rows.T, bias=True) / scale, atol=1e-8)


@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e-6, 1e6])
def test_clusters_far_apart_are_found_in_any_unit(unit):
    X = rng().normal(size=(200, 2)) + np.repeat([[0.0, 0.0], [20.0, 0.0]], 100, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = GaussianMixture(2, random_state=0).fit(X * unit)
        found = select_components(X * unit, range(1, 4), ["full"], random_state=0, progress=False)
    assert_array_equal(fit.predict(X * unit), np.repeat([0, 1], 100))
    assert found.winner.n_components == 2
    with pytest.warns(SingularDataWarning, match="reg_covar is no smaller"):
        GaussianMixture(2, random_state=0, reg_covar=1e3 * unit**2).fit(X * unit)


@pytest.mark.parametrize(("value", "variance"), [(3.0, 9e-12), (0.1 + 0.2, 9e-14), (0.0, 1.0), (-1e9, 1e6)])
def test_a_constant_column_is_named_and_gets_a_share_of_its_square(value, variance):
    import pandas as pd

    X = pd.DataFrame({"length": rng().normal(size=60), "sort": np.full(60, value)})
    for covariance_type in ("full", "tied", "diag"):
        with pytest.warns(SingularDataWarning, match="'sort'"):
            fit = GaussianMixture(1, covariance_type=covariance_type).fit(X)
        covariances = fit.mixture_.full_covariances[0]
        assert covariances[1, 1] == pytest.approx(variance, rel=1e-6)
        assert covariances[0, 0] == pytest.approx(X["length"].var(ddof=0))


def test_columns_of_very_different_size_are_not_singular():
    X = clusters() * [1e9, 1e-2, 1.0]
    for covariance_type in FAMILIES:
        assert SingularDataWarning not in fitted(X, covariance_type)[1]


@pytest.mark.parametrize("weight", [None, 0.5])
@pytest.mark.parametrize("prior", [None, "weakly_informative"])
@pytest.mark.filterwarnings("ignore")
def test_the_objective_never_falls_on_collinear_rows(covariance_type, prior, weight):
    draws = rng(5)
    column = np.round(draws.standard_normal((40, 1)))
    v = None if weight is None else (draws.random(40) < weight).astype(float)
    for X in (column * np.arange(1, 9), column * 10.0 ** np.arange(-6, 6), np.repeat(column, 3, axis=1) + 1e6):
        for K in (1, 2, 5):
            fit = GaussianMixture(
                K, covariance_type=covariance_type, prior=prior, random_state=0, n_init=3, init_params="random"
            ).fit(X, sample_weight=v)
            assert (np.diff(fit.history_) >= -1e-9 * np.abs(fit.history_[:-1])).all()


@pytest.mark.parametrize("covariance_type", ["diag", "spherical"])
def test_many_columns_need_no_matrix_of_them(covariance_type):
    """Ten thousand columns: what is kept of the data grows with their number, not with its square."""
    X = rng().normal(size=(20, 10_000))
    tracemalloc.start()
    fit, _ = fitted(X, covariance_type, k=2, n_init=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fit.means_.shape == (2, 10_000)
    assert peak < 0.1 * 10_000**2 * 8
