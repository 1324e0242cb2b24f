"""Rows are checked once, and in several blocks give the answers that they give in one."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayesgmm import (
    BayesianGaussianMixture,
    GaussianMixture,
    Mixture,
    Prior,
    compare,
    diagnose,
    log_evidence,
    loo,
    membership_uncertainty,
    outlier_scores,
    relabel,
    sample_labels,
    similarity_matrix,
)
from bayesgmm.data import Data
from bayesgmm.diagnostics import invariants
from bayesgmm.evidence import Target, find_modes
from bayesgmm.inference import Problem
from bayesgmm.mixture import row_densities, row_memberships
from bayesgmm.model_checks.gaussianity import departures
from bayesgmm.posterior import draws_of, mixture_posterior
from bayesgmm.prediction import (
    log_densities,
    log_predictive_density,
    mean_memberships,
    membership_intervals,
    sampled_memberships,
)
from bayesgmm.priors import Model
from bayesgmm.standard_errors import bootstrap, standard_errors
from bayesgmm.validation import as_rows

N, PER_BLOCK = 60, 23
MIXTURE = Mixture([0.4, 0.6], [[-2.0, 0.0], [2.0, 1.0]], [[[1.0, 0.3], [0.3, 1.0]], [[1.5, -0.2], [-0.2, 0.8]]])
PRIOR = Prior.normal_inverse_wishart(scale=np.eye(2), kappa=0.1, dof=4.0, mean=[0.0, 0.0])


@pytest.fixture(scope="module")
def given() -> SimpleNamespace:
    rng = np.random.default_rng(0)
    X = MIXTURE.sample(N, rng=rng)[0]
    w = rng.dirichlet([40.0, 60.0], (2, 60))
    means = MIXTURE.means + rng.normal(0.0, 0.2, (2, 60, 2, 2))
    covariances = MIXTURE.covariances * rng.uniform(0.8, 1.2, (2, 60, 2, 1, 1))
    tree = mixture_posterior({"weights": w, "means": means, "covariances": covariances}, X)
    em = GaussianMixture(2, random_state=0, tol=1e-9).fit(X)
    return SimpleNamespace(X=X, v=rng.integers(1, 4, N).astype(float), tree=tree, draws=draws_of(tree), em=em)


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


ANSWERS: dict[str, Callable[[SimpleNamespace, Data], Any]] = {
    "densities": lambda g, data: row_densities(data, MIXTURE),
    "memberships": lambda g, data: row_memberships(data, MIXTURE),
    "standard errors": lambda g, data: standard_errors(data, g.em.mixture_, robust=True).covariance,
    "their memberships": lambda g, data: standard_errors(Data(g.X), g.em.mixture_).memberships(g.X),
    "their densities": lambda g, data: standard_errors(Data(g.X), g.em.mixture_).log_density(g.X),
    "bootstrap": lambda g, data: bootstrap(data, g.em.mixture_, rng=rng(), n_replicates=5).memberships(g.X),
    "log densities": lambda g, data: log_densities(g.draws, data),
    "mean memberships": lambda g, data: mean_memberships(g.draws, data),
    "sampled memberships": lambda g, data: sampled_memberships(g.draws, data),
    "membership intervals": lambda g, data: membership_intervals(g.draws, data),
    "predictive density": lambda g, data: log_predictive_density(g.draws, data),
    "labels": lambda g, data: sample_labels(g.tree, g.X, random_state=1),
    "similarity": lambda g, data: similarity_matrix(g.tree, data),
    "uncertainty": lambda g, data: membership_uncertainty(g.tree, g.X),
    "relabelling": lambda g, data: relabel(g.tree, data, progress=False)["posterior"].to_dataset(),
    "modes": lambda g, data: find_modes(g.draws, data, rng=np.random.default_rng(0)).modes[0].mean_log_likelihood,
    "proposal": lambda g, data: (
        Target(data, Model.of("full", 2, 2, prior=PRIOR)).conditionals(g.draws, rng=rng()).scale
    ),
    "evidence": lambda g, data: log_evidence(g.tree, g.X, prior=PRIOR, random_state=1).log_evidence,
    "log-likelihood": lambda g, data: Problem(data, PRIOR, MIXTURE).log_likelihood(MIXTURE),
    "invariants": lambda g, data: invariants(g.tree, data),
    "diagnosis": lambda g, data: diagnose(g.tree, data).figures.log_likelihood,
    "leave-one-out": lambda g, data: loo(g.tree, data, progress=False).elpd_i,
    "comparison": lambda g, data: compare(g.em, g.tree, g.X, bootstrap=5, random_state=1, progress=False).calibration,
    "parameters": lambda g, data: compare(g.em, g.tree, bootstrap=5, random_state=1, progress=False).parameters,
    "outliers": lambda g, data: outlier_scores(g.tree, random_state=1, progress=False).table,
    "departures": lambda g, data: list(departures(g.X, MIXTURE, rng=rng()).values()),
}


def numbers(answer: Any) -> np.ndarray:
    """All numbers of an answer, end to end."""
    if isinstance(answer, xr.Dataset):
        return np.concatenate([answer[name].to_numpy().ravel() for name in answer.data_vars])
    if isinstance(answer, pd.DataFrame):
        return answer.select_dtypes("number").to_numpy(dtype=np.float64).ravel()
    return np.concatenate([np.ravel(part) for part in answer]) if isinstance(answer, tuple) else np.ravel(answer)


@pytest.mark.filterwarnings("ignore")  # of few draws and few rows
@pytest.mark.parametrize("name", ANSWERS)
def test_blocks_do_not_change_answers(name: str, given: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, v = ANSWERS[name], given.v
    one = numbers(answer(given, Data(given.X, v)))
    monkeypatch.setattr("bayesgmm.data.blocks.ROWS_PER_BLOCK", PER_BLOCK)
    several = Data(given.X, v)
    assert [block.columns.shape[1] for block in several] == [23, 23, 14]
    np.testing.assert_allclose(numbers(answer(given, several)), one, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore")  # of short chains
def test_rows_are_checked_at_the_border_only(given: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []

    def counted(*args: Any, **settings: Any) -> np.ndarray:
        checked.append(args)
        return as_rows(*args, **settings)

    short = BayesianGaussianMixture(2, draws=200, tune=200, chains=2, random_state=0, progress=False)
    short.fit(given.X)  # loads all modules
    compare(given.em, short, given.X, bootstrap=2, progress=False)
    for name, module in list(sys.modules.items()):
        if name.startswith("bayesgmm.") and vars(module).get("as_rows") is as_rows:
            monkeypatch.setattr(module, "as_rows", counted)
    counts = {}
    for name, work in {
        "em": lambda: GaussianMixture(2, random_state=0).fit(given.X),
        "posterior": lambda: short.fit(given.X),
        "compare": lambda: compare(given.em, short, given.X, bootstrap=2, progress=False),
    }.items():
        checked.clear()
        work()
        counts[name] = len(checked)
    assert counts == {"em": 1, "posterior": 1, "compare": 2}  # of either fit
