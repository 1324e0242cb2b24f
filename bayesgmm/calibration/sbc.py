"""`calibrate`: simulation-based calibration in one call."""

import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from joblib import Parallel, delayed

from bayesgmm._common import Rows, progress_bar, sentence
from bayesgmm.calibration.calibration import GROUP, SIMULATION, Calibration
from bayesgmm.calibration.messages import Finding
from bayesgmm.calibration.simulate import Design, simulate
from bayesgmm.data import Data
from bayesgmm.estimators import PRIORS, check_component
from bayesgmm.exceptions import InputError, InterruptedWarning, warn_user
from bayesgmm.inference import INFERENCES, check_gibbs
from bayesgmm.io import check_same_work, check_target, load_tree, save_tree
from bayesgmm.mixture import component_of
from bayesgmm.posterior import prior_to_json, provenance
from bayesgmm.priors import Prior
from bayesgmm.validation import check_components, check_flag, check_jobs, check_option, check_whole, generator_of

_SECONDS = 20.0  # between two writings of the file
type PriorLike = Prior | str | Callable[[Rows], Prior]


def calibrate(
    prior: PriorLike = "weakly_informative",
    *,
    n_rows: int,
    n_components: int,
    n_features: int | None = None,
    covariance_type: str = "full",
    component: str = "gaussian",
    dof: str | float = "each",
    inference: str = "nuts",
    n_simulations: int = 300,
    random_state: int | None = None,
    n_jobs: int | None = None,
    path: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Calibration:
    r"""Simulation-based calibration of a prior, a model and a sampler together.

    Parameters are drawn from the prior, rows from the parameters, and a posterior is sampled from the rows, many times:

    .. math:: \theta^* \sim p(\theta), \quad x \sim p(x \mid \theta^*), \quad \theta_1, \dots, \theta_S \sim
              p(\theta \mid x).

    If and only if the sampler is right, any quantity :math:`f(\theta, x)` of the truth ranks uniformly among those of
    the draws. Quantities are those of `bayesgmm.diagnostics.invariants`, which do not depend on labels: the
    log-likelihood, weights and expected counts in order, entropy, densities at a few rows, co-clustering of fixed pairs
    of rows; and means and covariances with components in order of their weights, of the truth as of the draws.

    Each posterior is a default fit of `BayesianGaussianMixture`, on one core. The truth is ranked among at most 100 of
    its draws, evenly spaced, and so few that their effective sample size is twice their number. Every quantity is
    tested with an exact p-value, see `bayesgmm.calibration.uniformity`.

    Parameters
    ----------
    prior : Prior, str or callable
        Numbers; or what makes a prior from rows: ``"weakly_informative"`` (the default of the fits),
        ``"fraley_raftery"``, or a function such as ``Prior.malsiner_walli``. It is given ``n_rows`` normal rows with
        mean exactly 0 and covariance I once, and its prior then kept, for truths and for fits.
    n_rows : int
        Rows of a simulated data set.
    n_components : int
        Number of components K.
    n_features : int, optional
        Number of features D; that of the numbers by default.
    covariance_type, component, dof
        As in `BayesianGaussianMixture`.
    inference : {"nuts", "gibbs", "laplace"}
        The sampler. A Laplace approximation has to be good enough in every simulation: one that is refused is an
        error, because ranks of the others would not be uniform.
    n_simulations : int
        Number of simulations. 300 tell distribution functions of ranks apart that differ by about 0.14.
    random_state : int, optional
        The result does not depend on ``n_jobs``.
    n_jobs : int, optional
        Processes, in joblib's meaning: -1 is all cores. One by default.
    path : path-like, optional
        A file that keeps what is done. The same call again goes on from it, also with more simulations.
    progress : bool
        Show a bar in a terminal or notebook.

    Returns
    -------
    Calibration
        ``table``, ``findings``, ``calibrated``, ``plot()``.

    Raises
    ------
    InputError
        For what cannot be simulated, before any work; if the file is of another calibration.
    SamplingError
        A posterior could not be sampled, or a Laplace approximation was refused; a note names the simulation.

    Warns
    -----
    InterruptedWarning
        After Ctrl-C: the simulations that were done are kept.

    References
    ----------
    Talts, Betancourt, Simpson, Vehtari & Gelman 2018, arXiv 1804.06788; Modrák et al. 2023, Bayesian Analysis, for
    quantities that depend on the data; Säilynoja, Bürkner & Vehtari 2022, Statistics and Computing 32, for bands.

    Examples
    --------
    >>> from bayesgmm import Prior, calibrate
    >>> prior = Prior.independent(mean=[0.0], mean_covariance=[[4.0]], dof=3, scale=[[0.1]])
    >>> found = calibrate(prior, n_rows=20, n_components=1, n_simulations=5, random_state=1, progress=False)
    >>> found.calibrated, found.ranks["log_likelihood"].sizes
    (True, Frozen({'simulation': 5}))
    """
    check_whole(n_simulations=n_simulations)
    check_whole(n_rows=n_rows, least=2)
    check_components(n_components, n_rows)
    check_whole(n_features=n_features, optional=True)
    check_option(INFERENCES, inference=inference)
    check_jobs(n_jobs)
    check_flag(progress=progress)
    generator = generator_of(random_state)
    check_component(component_of(component, dof), inference, "native")
    resolved = _resolved(prior, n_rows, n_components, n_features, covariance_type)
    seed = int(generator.integers(2**53))  # exact in files
    sizes = int(n_rows), int(n_components)
    design = Design(prior_to_json(resolved), *sizes, covariance_type, inference, seed, component, dof)
    if inference == "gibbs":
        check_gibbs(design.model, Data(_standard_rows(n_rows, resolved.n_features)))
    file = None if path is None else check_target(path, overwrite=True)
    design, parts = _begun(file, design, seeded=random_state is not None)
    interrupted = _go_on(design, parts, n_simulations, n_jobs=n_jobs, file=file, progress=progress)
    if interrupted and not parts:
        raise KeyboardInterrupt
    found = Calibration(_tree(design, parts))
    if interrupted:
        told = sentence(Finding.INTERRUPTED, n_done=found.n_simulations, n=n_simulations)
        warn_user(told, InterruptedWarning)
    return found


def _resolved(prior: Any, n_rows: int, n_components: int, n_features: int | None, covariance_type: str) -> Prior:
    """The prior's numbers."""
    if isinstance(prior, Prior):
        if n_features not in (None, prior.n_features):
            raise InputError(expected=f"n_features of the prior, {prior.n_features}", got=f"{n_features}")
        resolved = prior
    else:
        if n_features is None:
            raise InputError(expected="n_features, of a prior that is made from rows", got="None")
        rows = _standard_rows(n_rows, n_features)
        if isinstance(prior, str) and prior in PRIORS:
            resolved = PRIORS[prior](rows, n_components, covariance_type, None)
        elif callable(prior):
            resolved = prior(rows)
        else:
            named = ", ".join(PRIORS)
            raise InputError(expected=f"a Prior, one of {named}, or a function of rows", got=f"{prior!r}")
    resolved.resolve(n_components, resolved.n_features, covariance_type)
    return resolved


def _standard_rows(n_rows: int, n_features: int) -> Rows:
    """Rows with mean 0 and sample covariance I, from normal ones; at least so many that they have one."""
    rows = np.random.default_rng(0).standard_normal((max(n_rows, 2 * n_features + 2), n_features))
    rows -= rows.mean(axis=0)
    factor = np.linalg.cholesky(np.atleast_2d(np.cov(rows, rowvar=False)))
    return np.asfortranarray(np.linalg.solve(factor, rows.T).T)


def _begun(file: Path | None, design: Design, *, seeded: bool) -> tuple[Design, list[xr.Dataset]]:
    """The design, with the file's seed where none was asked for, and what the file has of it."""
    if file is None or not file.exists():
        return design, []
    tree = load_tree(file)
    if GROUP not in tree.children or "design" not in tree.attrs:
        raise InputError(expected="a file of calibrate()", got=f"another at {file}")
    found = Design(**json.loads(tree.attrs["design"]))
    check_same_work(asdict(found), asdict(design) | ({} if seeded else {"seed": found.seed}), at=file)
    return found, [tree[GROUP].to_dataset()]


def _go_on(
    design: Design, parts: list[xr.Dataset], n: int, *, n_jobs: int | None, file: Path | None, progress: bool
) -> bool:
    """Add the simulations that are missing to the parts, writing the file now and then; whether it was interrupted."""
    done = sum(part.sizes[SIMULATION] for part in parts)
    missing = (delayed(simulate)(design, number) for number in range(done, n))
    written = time.monotonic()
    try:
        with progress_bar("Calibrating", show=progress) as move, warnings.catch_warnings():
            # joblib replaces processes that have grown, and tells; what a fit leaves behind levels off at some 50 MB.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")
            for found in Parallel(n_jobs=n_jobs, return_as="generator")(missing):
                parts.append(found.expand_dims(SIMULATION))
                done += 1
                if move is not None:
                    move(done, n)
                if file is not None and time.monotonic() - written > _SECONDS:
                    save_tree(_tree(design, parts), file, overwrite=True)
                    written = time.monotonic()
    except KeyboardInterrupt:
        return True
    finally:
        if file is not None and parts:
            save_tree(_tree(design, parts), file, overwrite=True)
    return False


def _tree(design: Design, parts: list[xr.Dataset]) -> xr.DataTree:
    """The simulations as a tree; parts are put together."""
    parts[:] = [xr.concat(parts, SIMULATION)]
    tree = xr.DataTree.from_dict({GROUP: parts[0]})
    tree.attrs = {"design": json.dumps(asdict(design)), **provenance()}
    return tree
