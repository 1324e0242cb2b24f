"""Input of every engine: a problem with starting points."""

import math
import time
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle, islice
from typing import Self

import numpy as np

from bayesgmm._common import Array
from bayesgmm.data import Data
from bayesgmm.em import EMSettings, run_em
from bayesgmm.exceptions import InputError, SamplingWarning, warn_user
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.log_posterior import (
    DENSE_LIMIT,
    BlockLogPosterior,
    Coordinates,
    LogPosterior,
    noisy_log_posterior,
    whitened_log_posterior,
)
from bayesgmm.mixture import Draws, Mixture, measure
from bayesgmm.noise import NoisyMixture
from bayesgmm.priors import Model, Prior

_NEAR = 1e-3  # posterior standard deviations from the mode at which halving stops
_LONG = 120.0  # seconds of one core that are told before they begin
_PER_ENTRY = 3.5e-10  # seconds for an entry of a whitening matrix, in a gradient
_MANY, _LEAPFROGS = 150, (7, 15)  # leapfrog steps of a draw of up to so many coordinates, and of more


@dataclass(frozen=True)
class Problem:
    """The posterior to sample: rows, prior, and the mixture at which the chains start.

    Attributes
    ----------
    data : Data
        Weights are positive.
    prior : Prior
    start : Mixture
        The EM solution under the same prior; also defines coordinates, family and number of components.
    chain_starts : tuple of Mixture
        Starting points of the chains; by default draws of the normal approximation at ``start``.
    pool : concurrent.futures.Executor, optional
        Threads for the blocks of rows that are not in memory.
    """

    data: Data
    prior: Prior
    start: Mixture
    chain_starts: tuple[Mixture, ...] = ()
    pool: Executor | None = None

    @property
    def on_sample(self) -> Self:
        """The problem of rows in memory that stand for all, with weights if there are more."""
        return self if self.data.sample is self.data else replace(self, data=self.data.sample, pool=None)

    @cached_property
    def model(self) -> Model:
        """The model of the start, with the prior, and what labels of rows tell apart."""
        return Model.of_mixture(self.start, self.prior).labelled(self.data.allowed)

    @cached_property
    def log_posterior(self) -> LogPosterior | BlockLogPosterior:
        """The native density in whitened coordinates."""
        if isinstance(self.start, NoisyMixture):
            return noisy_log_posterior(self.data, self.model.required_prior, self.start)
        return whitened_log_posterior(self.data, self.model.required_prior, self.start, self.pool)

    def log_likelihood(self, mixture: Mixture) -> float:
        """Total over the rows."""
        return measure(self.data, mixture, self.pool).log_likelihood

    def log_mass(self, mixture: Mixture) -> float:
        """See `log_mass`."""
        return log_mass(mixture, self.data, self.model, self.pool)

    def seconds_ahead(self, settings: SamplerSettings) -> float:
        """Seconds of one core that sampling takes, roughly, without exploratory chains."""
        sample = self.data.sample
        plain = LogPosterior(sample, self.model.required_prior, Coordinates.around(self.start.components))
        point, seconds = np.zeros(plain.n_dim), math.inf
        for _ in range(3):
            began = time.perf_counter()
            plain(point)
            seconds = min(seconds, time.perf_counter() - began)
        bounds = plain.coordinates.component_bounds() if plain.n_dim > DENSE_LIMIT else np.array([0, plain.n_dim])
        whitened = seconds * self.data.shape[0] / sample.shape[0] + _PER_ENTRY * float((np.diff(bounds) ** 2).sum())
        n_draws = settings.chains * (settings.tune + settings.draws)
        leapfrogs = min(_LEAPFROGS[plain.n_dim > _MANY], 2**settings.max_depth - 1)
        return 2 * plain.n_dim * seconds + n_draws * leapfrogs * whitened

    def warn_if_long(self, settings: SamplerSettings) -> None:
        """Say before sampling that it takes minutes, and what takes less."""
        seconds = self.seconds_ahead(settings)
        if seconds < _LONG:
            return
        (n_rows, _), n = self.data.shape, self.model.n_parameters
        warn_user(
            f"Sampling takes about {seconds / 60.0:.0f} processor minutes: {n:,} parameters, {n_rows:,} rows. Ctrl-C "
            "and max_seconds keep the draws made so far. Fewer draws take less (draws=250), so do fewer features or "
            'parameters (covariance_type="diag" or "tied"), and GaussianMixture with standard_errors() takes seconds.',
            SamplingWarning,
        )

    def at_optimum(self, mixture: Mixture) -> Self:
        """The same problem with the optimum that EM reaches from a mixture as its start."""
        settings = EMSettings(reg_covar=0.0)
        found = run_em(self.data, mixture, prior=self.model.prior, settings=settings, pool=self.pool)
        return replace(self, start=found.mixture)

    def starting_points(self, chains: int, rng: np.random.Generator) -> Array:
        """Points (chain, n_dim): the given ones, or draws of the normal approximation.

        Such draws are halved towards the mode until the density there is finite.
        """
        if self.chain_starts:
            given = [self.log_posterior.coordinates.point(mixture) for mixture in self.chain_starts]
            return np.stack(list(islice(cycle(given), chains)))
        points = rng.standard_normal((chains, self.log_posterior.n_dim))
        for point in points:
            while not np.isfinite(self.log_posterior(point)[0]) and np.abs(point).max() > _NEAR:
                point *= 0.5
        return points

    def parameters(self, points: Array) -> Draws:
        """Mixtures at native points (..., n_dim)."""
        return self.log_posterior.coordinates.parameters(points)


def log_mass(mixture: Mixture, data: Data, model: Model, pool: Executor | None = None) -> float:
    """Roughly the log of the posterior's mass around an optimum (Cheeseman & Stutz 1996)."""
    height = measure(data, mixture, pool).log_likelihood + model.log_prior(mixture)
    return model.log_mass(height, mixture, data.total * mixture.weights)


def weights_refused() -> InputError:
    """The error for row weights in the PyMC model."""
    return InputError(
        expected="rows without weights for the PyMC model",
        got="sample_weight",
        hint='Its likelihood counts every row once: use engine="native", or repeat the rows.',
    )
