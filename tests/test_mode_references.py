"""References for posteriors with several modes: their sampler is exact, and default fits agree with them."""

from itertools import product

import numpy as np
import pytest
from _drawn_modes import drawn_case, fitted, parameters_of
from _mode_cases import cases
from _tempered_gibbs import labels_of, tempered
from exact_posterior import updated
from mode_cases import CONJUGATE, THREE_GROUPS
from mode_references import mean_and_error, read
from monte_carlo import bound, z_score
from scipy.special import gammaln, logsumexp, multigammaln

from bayesgmm.priors import Prior

pytestmark = [pytest.mark.slow, pytest.mark.draws]
FEW = np.array([0.0, 0.3, 0.9, 2.0, 2.2, 4.0, 4.1])[:, None]
TIED = np.repeat([0.0, 2.0, 4.0, 6.0], [3, 2, 2, 2])[:, None]
PLANE = np.array([[0, 0], [0.3, 0.1], [0.2, 1.0], [2, 2.2], [2.1, 1.5], [4, 0.1], [4.1, 0.5]])
REFERENCES = {case.key: case for case in cases() if read().get(case.key, {"mixed": False})["mixed"]}
MOST = 4.5  # combined Monte Carlo errors
NARROW = Prior.normal_inverse_wishart(mean=[3.0], kappa=0.1, dof=3.0, scale=[[0.02]])
IN_PLANE = Prior.normal_inverse_wishart(mean=[1.0, 1.0], kappa=0.1, dof=5.0, scale=[[0.4, 0.1], [0.1, 0.3]])


def conjugate_log_evidences(X, prior, k):
    """Allocations of rows to K components, and the log evidence of each."""
    labels = np.array(list(product(range(k), repeat=len(X))))
    member = (labels[:, None, :] == np.arange(k)[:, None]).astype(float)
    squares = np.einsum("aki,id,ie->akde", member, X, X)
    kappa, _, dof, scale = updated(prior, member.sum(axis=2), member @ X, squares)
    d = X.shape[1]
    own = multigammaln(0.5 * dof.ravel(), d).reshape(dof.shape) - 0.5 * dof * np.linalg.slogdet(scale)[1]
    return labels, (own - 0.5 * d * np.log(kappa) + gammaln(prior.concentration + member.sum(axis=2))).sum(axis=1)


def log_evidences_by_quadrature(X, prior, k):
    """The same, of rows of one feature, if means are independent of variances, whose scale may have a prior."""
    n, m, sd = len(X), float(prior.mean[0]), float(np.sqrt(prior.mean_covariance[0, 0]))
    mu = np.linspace(m - 6.0 * sd, m + 6.0 * sd, 4_001)[:, None]
    scale, log_scale = np.array([prior.scale[0, 0]]), np.zeros(1)
    if prior.scale_prior is not None:  # over log S, in which s^(n/2) exp(-s / 2V) is its density
        scale = np.exp(np.linspace(-14.0, 6.0, 400))
        v = prior.scale_prior
        log_scale = 0.5 * float(v.dof) * np.log(scale) - 0.5 * scale / float(np.squeeze(v.scale))
    log_mu, dof = -0.5 * np.square((mu - m) / sd), float(prior.dof)
    of_subset = {}
    for subset in product((False, True), repeat=n):
        within, count = np.square(X[list(subset)].T - mu).sum(axis=1, keepdims=True), sum(subset)
        log_p = 0.5 * dof * np.log(scale) - 0.5 * (dof + count) * np.log(scale + within) + log_mu
        of_subset[subset] = (
            logsumexp(log_p, axis=0) + gammaln(0.5 * (dof + count)) + gammaln(prior.concentration + count)
        )
    labels = np.array(list(product(range(k), repeat=n)))
    own = [sum(of_subset[tuple(z == j)] for j in range(k)) for z in labels]
    return labels, logsumexp(np.array(own) + log_scale, axis=1)


@pytest.mark.parametrize(
    ("X", "prior", "k", "exact"),
    [
        (FEW, Prior.weakly_informative(FEW), 3, log_evidences_by_quadrature),
        (FEW, Prior.richardson_green(FEW), 3, log_evidences_by_quadrature),
        (THREE_GROUPS, CONJUGATE, 2, conjugate_log_evidences),
        (PLANE, IN_PLANE, 3, conjugate_log_evidences),
        (TIED, NARROW, 3, conjugate_log_evidences),
    ],
    ids=["default", "sampled scale", "conjugate", "conjugate, in the plane", "ties"],
)
def test_tempered_gibbs_sampling_has_the_exact_posterior(X, prior, k, exact):
    """Probabilities of all pairs of rows to lie together, by enumeration of all allocations."""
    labels, log_evidence = exact(X, prior, k)
    p = np.exp(log_evidence - logsumexp(log_evidence))
    run = tempered(X, k, prior, sweeps=20_000, seeds=[1, 2, 3, 4], kept=20_000)
    assert min(run.round_trips) > 500
    density = np.stack([weighted(run.draws, row) for row in X], axis=-1)
    resp = density / density.sum(axis=2, keepdims=True)
    pairs = list(zip(*np.triu_indices(len(X), 1), strict=True))
    for i, j in pairs:
        series = (resp[..., i] * resp[..., j]).sum(axis=2)
        assert abs(z_score(series, p[labels[:, i] == labels[:, j]].sum())) < bound(4 * len(pairs)), (i, j)
    np.testing.assert_array_equal(labels_of(run.draws, X), resp.argmax(axis=2))


def test_split_merge_moves_leave_the_posterior_of_tied_rows_as_it_is():
    """Beside Gibbs sampling alone, in one dimension and with half of the rows tied."""
    case = drawn_case(1, 6)
    runs = [tempered(case.X, 3, case.own_prior, sweeps=4_000, seeds=[1, 2, 3, 4], tries=tries) for tries in (0, 2)]
    for name, of in case.quantities.items():
        (alone, own, _), (mean, error, _) = (mean_and_error(of(run.draws, case.X)) for run in runs)
        assert abs(mean - alone) / np.hypot(own, error) < bound(len(case.quantities)), (name, alone, mean)


def weighted(draws, row):
    """Weights times densities of components at a row."""
    offset = (row - draws.means)[..., None]
    square = (np.swapaxes(offset, -1, -2) @ np.linalg.solve(draws.covariances, offset))[..., 0, 0]
    return draws.weights * np.exp(-0.5 * square) / np.sqrt(np.linalg.det(draws.covariances))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("key", REFERENCES)
def test_default_fits_have_the_posterior_of_the_reference(key, seed):
    case, references = REFERENCES[key], read()[key]["quantities"]
    draws = parameters_of(fitted(case.X, case.k, seed, case.prior))
    for name, of in case.quantities.items():
        mean, error, _ = mean_and_error(of(draws, case.X))
        z = (mean - references[name]["value"]) / np.hypot(error, references[name]["error"])
        assert abs(z) < MOST, (name, mean, error, references[name])


def test_there_are_references():
    assert len(REFERENCES) >= 10
