"""Quantiles of normal mixtures against a root search of SciPy's, one by one, and in extreme mixtures."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from bayesgmm.conditionals import mixture_quantiles

PROBS = np.array([1e-9, 0.055, 0.5, 0.945, 0.9999])


def plain(prob: float, w: np.ndarray, mu: np.ndarray, sd: np.ndarray) -> float:
    """The root between the components' own quantiles."""
    own = norm.ppf(prob, mu, sd)
    if own.min() == own.max():
        return own[0]
    return brentq(lambda x: w @ norm.cdf(x, mu, sd) - prob, own.min(), own.max(), xtol=1e-300, rtol=1e-14)


@pytest.mark.draws
@pytest.mark.parametrize("n_components", [1, 2, 7])
def test_quantiles_are_roots(n_components):
    rng = np.random.default_rng(n_components)
    w = rng.dirichlet(np.ones(n_components), size=(20, 1))
    mu = rng.normal(0.0, 3.0, (20, 3, n_components))
    sd = np.exp(rng.normal(0.0, 1.5, (3, n_components)))
    found = mixture_quantiles(PROBS, w, mu, sd)
    assert found.shape == (20, 3, len(PROBS))
    expected = [[[plain(p, w[i, 0], mu[i, j], sd[j]) for p in PROBS] for j in range(3)] for i in range(20)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    cdf = (w[..., None, :] * norm.cdf(found[..., None], mu[..., None, :], sd[:, None])).sum(axis=-1)
    np.testing.assert_allclose(cdf, np.broadcast_to(PROBS, cdf.shape), rtol=1e-9)


@pytest.mark.parametrize(
    ("w", "mu", "sd"),
    [
        ([0.5, 0.5], [0.0, 1e8], [1.0, 1e-3]),  # a long flat part between two steps
        ([1.0, 1e-300], [0.0, 1e6], [1.0, 1.0]),  # a bracket that weightless components widen
        ([0.3, 0.7], [0.0, 0.0], [1e-9, 1e9]),
        ([0.5, 0.5], [1e100, -1e100], [1.0, 1.0]),
        ([0.2, 0.8], [5.0, 5.0], [1e-30, 1e-30]),
    ],
)
def test_extreme_mixtures(w, mu, sd):
    w, mu, sd = (np.array(values) for values in (w, mu, sd))
    probs = np.array([0.01, 0.3, 0.99])
    found = mixture_quantiles(probs, w, mu, sd)
    assert (np.diff(found) >= 0.0).all()
    apart = 1e-9 * sd.min() + 1e-14 * np.abs(found)
    below, above = ((w * norm.cdf(x[:, None], mu, sd)).sum(axis=1) for x in (found - apart, found + apart))
    assert (below <= probs + 1e-12).all()
    assert (above >= probs - 1e-12).all()
