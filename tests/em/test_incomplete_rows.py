"""EM on rows with missing values: reference fits, an independent EM, and complete rows as before."""

import json

import numpy as np
import pandas as pd
import pytest
from em_cases import SHARED, best_fit
from incomplete_cases import expected_sums, log_joint, without_some
from reference import load_data
from scipy.special import logsumexp

from bayesgmm.data import Data, IncompleteData
from bayesgmm.em.moments import moments_of
from bayesgmm.mixture import FAMILIES, Mixture

FOLDER = SHARED / "reference" / "missing"
FITS = [
    pytest.param(path.with_suffix(".csv"), fit, id=f"{path.stem}-{fit['covariance_type']}-{fit['K']}")
    for path in sorted(FOLDER.glob("*.json"))
    for fit in json.loads(path.read_text(encoding="utf-8"))["fits"]
]


def lacking(name, share):
    """A data set of which a share of the values was removed at random."""
    return IncompleteData(without_some(load_data(name), share))


def plain_step(mixture, data):
    """A step of EM by explicit sums, for full and tied covariances."""
    counts, first, second = expected_sums(mixture, data)
    factors, shift = np.linalg.cholesky(mixture.full_covariances), first / counts[:, None]
    means = mixture.means + np.einsum("kij,kj->ki", factors, shift)
    own = second - counts[:, None, None] * shift[:, :, None] * shift[:, None, :]
    scatter = factors @ own @ factors.transpose(0, 2, 1)
    shared = mixture.family.shared
    covariances = scatter.sum(axis=0) / counts.sum() if shared else scatter / counts[:, None, None]
    return Mixture(counts / counts.sum(), means, covariances, mixture.covariance_type)


@pytest.mark.draws
@pytest.mark.parametrize(("path", "fit"), FITS)
def test_fits_are_no_lower_than_the_reference(path, fit):
    data, rng = IncompleteData(pd.read_csv(path).to_numpy(np.float64)), np.random.default_rng(0)
    found, _ = best_fit(data, fit["K"], covariance_type=fit["covariance_type"], rng=rng, n_init=20)
    assert found.log_likelihood >= fit["loglik"] - 1e-3
    density = logsumexp([log_joint(found.mixture, x) for x in data.entries], axis=1)
    assert found.log_likelihood == pytest.approx(density.sum(), rel=1e-12)


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_thirty_more_plain_steps_gain_nothing(covariance_type):
    data = lacking("iris", 0.3)
    found, _ = best_fit(data, 2, covariance_type=covariance_type, rng=np.random.default_rng(0), n_init=5)
    mixture = found.mixture
    for _ in range(30):
        mixture = plain_step(mixture, data)
    gain = sum(logsumexp(log_joint(mixture, x)) for x in data.entries) - found.log_likelihood
    assert -1e-9 < gain < 1e-3


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_moments_are_those_of_one_normal_distribution(covariance_type):
    data = lacking("iris", 0.3)
    found, _ = best_fit(data, 1, covariance_type=covariance_type, rng=np.random.default_rng(0))
    mean, covariance = moments_of(data, FAMILIES[covariance_type])
    np.testing.assert_allclose(mean, found.mixture.means[0], rtol=1e-3)
    if covariance_type == "full":
        np.testing.assert_allclose(covariance, found.mixture.covariances[0], rtol=1e-2, atol=1e-3)
    else:
        assert covariance.mean() == pytest.approx(found.mixture.covariances.mean(), rel=1e-3)


def test_weights_count_rows_as_repetitions_do():
    values = lacking("faithful", 0.1).entries
    times = np.random.default_rng(0).integers(0, 3, size=len(values))
    fits = [
        best_fit(data, 2, rng=np.random.default_rng(1), n_init=3)[0]
        for data in (IncompleteData(values, times.astype(float)), IncompleteData(np.repeat(values, times, axis=0)))
    ]
    assert fits[0].objective == fits[1].objective
    np.testing.assert_array_equal(fits[0].mixture.means, fits[1].mixture.means)


def test_rows_in_many_blocks_give_the_same_fit(monkeypatch):
    values = lacking("iris", 0.1).entries
    one, _ = best_fit(IncompleteData(values), 3, rng=np.random.default_rng(0), n_init=2)
    monkeypatch.setattr("bayesgmm.data.blocks.ROWS_PER_BLOCK", 40)
    many, _ = best_fit(IncompleteData(values), 3, rng=np.random.default_rng(0), n_init=2)
    assert many.log_likelihood == pytest.approx(one.log_likelihood, abs=1e-3)


def test_rows_without_gaps_fit_as_complete_ones_do():
    X = Data.of(lacking("iris", 0.1).filled).rows
    complete, _ = best_fit(Data.of(X), 3, rng=np.random.default_rng(0), n_init=2)
    known, _ = best_fit(IncompleteData(X), 3, rng=np.random.default_rng(0), n_init=2)
    assert known.log_likelihood == pytest.approx(complete.log_likelihood, abs=1e-6)
