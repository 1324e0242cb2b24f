"""Posteriors in other units: the same chains say the same of other units, and a fit in other units is the same fit."""

import re

import arviz_stats as azs
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from affine_maps import AffineMap

from bayesgmm import (
    BayesianGaussianMixture,
    Prior,
    check_model,
    compare_relabellings,
    diagnose,
    estimate_partition,
    log_evidence,
    loo,
    membership_uncertainty,
    outlier_scores,
    posterior_predictive,
    relabel,
    representative_partitions,
)
from bayesgmm.datasets import load_old_faithful
from bayesgmm.diagnostics.label_invariants import invariants
from bayesgmm.exceptions import SamplingWarning, SingularDataWarning
from bayesgmm.posterior.tree import prior_to_json

X = load_old_faithful().to_numpy()
SD = X.std(axis=0)
SCALES = np.array([1e12, 1e-12])
UNITS = {
    "dollars and returns": AffineMap(np.zeros(2), np.diag([1e9, 1e-2])),
    "extremes": AffineMap(1e6 * SD * SCALES, np.diag(SCALES)),
}
MILLIONTHS = AffineMap(np.zeros(2), 1e-6 * np.eye(2))
EVIDENCE_TOLERANCE = 1e-5


def carried(tree, to):
    """A posterior in other units: rows, draws, pooled or not, starts of chains, and the prior made from the rows."""
    tree = tree.copy(deep=True)
    for group in tree.children:
        data = tree[group].to_dataset()
        moved = {name: (data[name].dims, _moved(str(name), data[name].to_numpy(), to)) for name in data.data_vars}
        tree[group] = xr.DataTree(data.assign(moved))
    tree.attrs["prior"] = prior_to_json(Prior.weakly_informative(tree["observed_data"]["y"].to_numpy()))
    return tree


def _moved(name, values, to):
    if name.endswith(("covariances", "covariance", "scale")):
        return to.covariances(values)
    return to(values) if name == "y" or name.endswith(("means", "mean")) else values


@pytest.fixture(scope="module")
def posterior():
    """Three components for two clusters: few draws, labels that mean little, some draws that are odd."""
    with pytest.warns(SamplingWarning):
        return BayesianGaussianMixture(3, draws=60, random_state=1, progress=False).fit(X).posterior_


@pytest.fixture(scope="module")
def elsewhere(posterior):
    return UNITS["extremes"], carried(posterior, UNITS["extremes"])


def _parts(text):
    """Text without its numbers, and these."""
    number = r"\d+(?:\.\d+)?"
    return re.sub(number, "0", text), [float(found) for found in re.findall(number, text)]


def test_diagnosis(posterior, elsewhere):
    here, there = diagnose(posterior), diagnose(elsewhere[1])
    assert there.verdict == here.verdict
    (words, numbers), (own_words, own_numbers) = (_parts(" ".join(found.findings)) for found in (there, here))
    assert words == own_words
    np.testing.assert_allclose(numbers, own_numbers, rtol=1e-3, atol=1e-3)  # the last digit that is printed
    a, b = here.figures, there.figures
    assert b.collapsed_share == a.collapsed_share
    assert b.label_findings == a.label_findings
    for one, other in ((a.invariants, b.invariants), (a.labelled, b.labelled)):
        assert other.worst == one.worst
        np.testing.assert_allclose([other.r_hat, other.ess_bulk], [one.r_hat, one.ess_bulk], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Two estimates of the log evidence")
def test_evidence_by_both_estimators(posterior, elsewhere):
    to, tree = elsewhere
    here, there = (log_evidence(each, random_state=1) for each in (posterior, tree))
    for name in ("bridge", "thames"):
        one, other = getattr(here, name), getattr(there, name)
        moved = other.log_evidence + len(X) * to.log_det
        assert moved == pytest.approx(one.log_evidence, abs=EVIDENCE_TOLERANCE, nan_ok=True)
        assert other.se == pytest.approx(one.se, rel=1e-5)
    assert [each.partition(":")[0] for each in there.findings] == [each.partition(":")[0] for each in here.findings]


@pytest.mark.filterwarnings("ignore:The chains disagree", "ignore:.*Pareto k")
def test_leaving_rows_out(posterior, elsewhere):
    to, tree = elsewhere
    here, there = loo(posterior), loo(tree)
    np.testing.assert_allclose(there.elpd_i + to.log_det, here.elpd_i, atol=1e-6)
    np.testing.assert_allclose(there.pareto_k, here.pareto_k, atol=1e-6)


def test_partitions_and_labels(posterior, elsewhere):
    _, tree = elsewhere
    found = [estimate_partition(each, random_state=1).labels for each in (posterior, tree)]
    np.testing.assert_array_equal(*found)
    found = [representative_partitions(each, random_state=1).labels for each in (posterior, tree)]
    np.testing.assert_array_equal(*found)
    found = [relabel(each, progress=False)["sample_stats"]["permutation"] for each in (posterior, tree)]
    np.testing.assert_array_equal(*found)
    found = [compare_relabellings(each) for each in (posterior, tree)]
    np.testing.assert_array_equal(*found)
    for name, values in membership_uncertainty(posterior).items():
        np.testing.assert_allclose(membership_uncertainty(tree)[name], values, atol=1e-6)


def test_invariants(posterior, elsewhere):
    to, tree = elsewhere
    here, there = invariants(posterior), invariants(tree)
    for name, values in here.items():
        rows = {"log_likelihood": len(X), "log_density": 1}.get(name, 0)
        np.testing.assert_allclose(there[name] + rows * to.log_det, values, atol=1e-5)
    np.testing.assert_array_equal(there["anchor"], here["anchor"])


def test_checks_of_the_model(posterior, elsewhere):
    _, tree = elsewhere
    here, there = (check_model(each, n_replicates=39, random_state=1, progress=False) for each in (posterior, tree))
    assert there.p_value == pytest.approx(here.p_value)
    np.testing.assert_allclose(there.gaussianity["observed"], here.gaussianity["observed"], rtol=1e-4)
    np.testing.assert_allclose(there.table["p"], here.table["p"])
    here, there = (outlier_scores(each, random_state=1, progress=False).table for each in (posterior, tree))
    np.testing.assert_allclose(there["tail_probability"], here["tail_probability"], atol=1e-6)


def test_predicted_rows(posterior, elsewhere):
    to, tree = elsewhere
    here, there = (
        posterior_predictive(each, random_state=1)["posterior_predictive"]["y"].to_numpy() for each in (posterior, tree)
    )
    unit = np.abs(to.a) + np.diagonal(to.B) * SD
    np.testing.assert_allclose(there / unit, to(here) / unit, atol=1e-9)


def two_clusters(rng):
    """Two clusters seven standard deviations apart."""
    return np.r_[rng.normal(0.0, 1.0, (80, 2)), rng.normal(5.0, 1.0, (60, 2))]


@pytest.mark.parametrize("more", [{}, {"mean_precision_prior": 0.5}])
def test_a_posterior_names_a_constant_column_once(more):
    frame = pd.DataFrame({"dollars": 1e9 * X[:, 0], "country": 7.0})
    model = BayesianGaussianMixture(1, draws=20, tune=50, chains=1, init="best", random_state=1, progress=False, **more)
    with pytest.warns() as seen:
        model.fit(frame)
    assert [str(each.message).split(".")[0] for each in seen if each.category is SingularDataWarning] == [
        "Constant: 'country'"
    ]
    assert model.means_[0] == pytest.approx([1e9 * X[:, 0].mean(), 7.0], rel=0.1)


@pytest.mark.draws
@pytest.mark.parametrize("unit", UNITS)
def test_a_default_fit_finds_the_same_clusters_in_any_units(unit):
    """Means within 1.5 posterior standard deviations: six Monte Carlo errors of thirty effective draws."""
    to, rows = UNITS[unit], two_clusters(np.random.default_rng(0))
    with pytest.warns(SamplingWarning) as seen:
        fits = [BayesianGaussianMixture(2, draws=50, random_state=1, progress=False).fit(Z) for Z in (rows, to(rows))]
    assert {warning.category for warning in seen} == {SamplingWarning}
    here, there = (fit.means_[fit.means_[:, 0].argsort()] for fit in fits)
    scale = np.diagonal(to.B)
    sd = fits[0].posterior_["posterior"]["means"].std(("chain", "draw")).to_numpy().max(axis=0)
    assert (np.abs((there - to.a) / scale - here) < 1.5 * sd).all()
    sure = fits[0].predict_proba(rows).max(axis=1) > 0.99
    same = fits[0].predict(rows) == fits[1].predict(to(rows))
    assert sure.mean() > 0.9
    assert same[sure].all() or not same[sure].any()


@pytest.mark.draws
def test_clusters_are_found_a_billion_standard_deviations_from_zero():
    rows = two_clusters(np.random.default_rng(0))
    with pytest.warns(SamplingWarning):
        fit = BayesianGaussianMixture(2, draws=50, random_state=1, progress=False).fit(rows + 1e9)
    first = fit.predict(rows + 1e9) == fit.predict([[1e9, 1e9]])
    assert first[:80].mean() > 0.95
    assert first[80:].mean() < 0.05


@pytest.mark.slow
@pytest.mark.draws
def test_a_posterior_in_other_units_is_the_same_by_monte_carlo_error():
    """Thirty-odd means in z scores below six, a false alarm in 10^7; evidences likewise."""
    rows = two_clusters(np.random.default_rng(0))
    maps = [AffineMap(np.zeros(2), np.eye(2)), UNITS["dollars and returns"], MILLIONTHS]
    fits = [BayesianGaussianMixture(2, draws=2_000, random_state=1, progress=False).fit(to(rows)) for to in maps]
    found = [_means_and_errors(fit, to) for fit, to in zip(fits, maps, strict=True)]
    evidences = [log_evidence(fit, random_state=1) for fit in fits]
    for to, fit, (mean, error), evidence in zip(maps[1:], fits[1:], found[1:], evidences[1:], strict=True):
        assert diagnose(fit).verdict == diagnose(fits[0]).verdict == "converged"
        z = (mean - found[0][0]) / np.hypot(error, found[0][1])
        assert np.abs(z).max() < 6.0
        apart = evidence.log_evidence + len(rows) * to.log_det - evidences[0].log_evidence
        assert abs(apart) < 6.0 * np.hypot(evidence.se, evidences[0].se)


def _means_and_errors(fit, to):
    """Posterior means in the units of the rows, and Monte Carlo errors, the lower cluster first."""
    draws = fit.posterior_["posterior"].to_dataset().isel(cluster=fit.means_[:, 0].argsort())
    scale = np.diagonal(to.B)
    values = [
        draws["weights"].to_numpy()[..., :1],
        (draws["means"].to_numpy() - to.a) / scale,
        (draws["covariances"].to_numpy() / np.outer(scale, scale))[..., [0, 0, 1], [0, 1, 1]],
    ]
    flat = np.concatenate([each.reshape(*each.shape[:2], -1) for each in values], axis=2)
    scalars = xr.DataArray(flat, dims=("chain", "draw", "scalar"))
    return flat.mean(axis=(0, 1)), azs.mcse(scalars, method="mean").to_numpy()
