"""Short Gibbs chains from given or random starts, which end in the modes of a posterior.

A chain that begins at random rows as means is at the height of the posterior after some ten sweeps and then stays in
the mode in whose reach it began. No temperature is needed: chains meet narrow modes that annealing, which begins where
some component is empty, passes by.
"""

import threading
from collections.abc import Sequence

import joblib
import numpy as np

from bayesgmm._common import Array, in_threads
from bayesgmm.data import Data
from bayesgmm.em import Initialisation, starting_mixture
from bayesgmm.gibbs.sweep import Kept, Sweeps
from bayesgmm.mixture import Draws, Mixture, row_densities
from bayesgmm.priors import Model

_METHODS = ("random_from_data", "k-means++", "random_from_data", "kmeans")  # any rows, rows apart, centres of clusters
_SEEDED, _AMONG = 3, 8  # every third start has a small component, at the least likely of an eighth of the rows
_SMALL = 0.1  # of the covariance that its prior has most weight at


def random_starts(data: Data, model: Model, n: int, *, rng: np.random.Generator) -> list[Mixture]:
    """``n`` mixtures: with any rows as means, rows that lie apart, or centres by k-means; some with one at a row.

    That row is likely to be an outlier, or to have few others beside it: modes with a small component are as many as
    places for it, and other starts meet few of them.
    """
    starts = []
    for i in range(n):
        method, seeded = Initialisation(_METHODS[i % len(_METHODS)]), i % _SEEDED == 0 and not model.family.shared
        own = model.with_components(model.n_components - 1) if seeded else model
        start = starting_mixture(data, own, rng=rng, initialisation=method)
        starts.append(_with_component_at_a_row(start, data, model, rng) if seeded else start)
    return starts


def _with_component_at_a_row(start: Mixture, data: Data, model: Model, rng: np.random.Generator) -> Mixture:
    """One component more, small, at the row of least density among some."""
    (n, d), prior = data.shape, model.required_prior.inverse_wishart
    some = rng.choice(n, size=max(1, n // _AMONG), replace=False)
    row = data.filled[some[row_densities(data.take(some), start).argmin()]]
    root = np.sqrt(_SMALL / (prior.dof[-1] + d + 1.0)) * model.family.parametrisation.scale_roots(prior.scale[-1:])
    own = model.family.expand(root, 1, d)
    weights = np.append(start.weights * (1.0 - 1.0 / n), 1.0 / n)
    covariances = model.family.compress(np.concatenate([start.full_covariances, own]))
    return Mixture(weights, np.vstack([start.means, row]), covariances, model.family.name)


def run_chains(
    sweeps: Sweeps, starts: Sequence[Mixture], *, burn: int, n: int, rng: np.random.Generator
) -> tuple[Draws, Array]:
    """``n`` draws of a chain from every start, after ``burn`` draws, chains end to end; and their log-likelihoods.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C.
    """
    generators = rng.spawn(len(starts))

    def run(c: int, stop: threading.Event) -> tuple[Kept, threading.Event]:
        chain = sweeps.chain(starts[c])
        kept = Kept.room(chain, n)
        if not stop.is_set():
            sweeps.run(generators[c], chain, kept, first=-burn, n=burn + n)
        return kept, stop

    found = in_threads(run, range(len(starts)), n_workers=joblib.cpu_count())
    if found[0][1].is_set():
        raise KeyboardInterrupt("interrupted before the first draw")
    parts = zip(*(kept for kept, _ in found), strict=True)
    weights, means, factors, log_likelihood = (np.stack(each) for each in parts)
    draws = Draws.of_factors(weights, means, factors, family=sweeps.model.family).end_to_end()
    return draws, log_likelihood.ravel()
