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
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.priors import Model

_METHODS = ("random_from_data", "k-means++")  # any rows as means, or rows that lie apart


def random_starts(data: Data, model: Model, n: int, *, rng: np.random.Generator) -> list[Mixture]:
    """``n`` mixtures that EM could begin at: with any rows as means and, as many, with rows that lie apart."""
    methods = [Initialisation(_METHODS[i % len(_METHODS)]) for i in range(n)]
    return [starting_mixture(data, model, rng=rng, initialisation=method) for method in methods]


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
