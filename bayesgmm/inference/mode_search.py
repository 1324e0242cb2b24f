"""Mode detection before the chains of a fit: random starts, and exploratory chains where these do not suffice.

Agreement of chains with a common start proves nothing. Short Gibbs chains, or EM, from random starts look for modes
(see `bayesgmm.inference.random_search`). After EM, and where chains lie apart that cannot jump, exploratory chains
start at the best optimum (two), at a mixture with one component emptied, at one with a duplicated component, and in
the other places that were found, unless the likelihood there is too low for any weight. If they become stationary in
different modes, the modes are weighted (see `bayesgmm.evidence.modes`), and the chains of the fit start in each mode
of relevant weight.
"""

import time
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import Self

import numpy as np

from bayesgmm.data import Data
from bayesgmm.em import EMSettings, best_of_starts
from bayesgmm.evidence import RELEVANT, Conditionals, Modes, Target, find_modes, weigh_modes
from bayesgmm.inference.engines import Engine, Sampled, sample_native
from bayesgmm.inference.gibbs import sample_gibbs
from bayesgmm.inference.jumps import Jumps, adapted_jumps, sample_with_jumps
from bayesgmm.inference.problem import Problem, log_mass
from bayesgmm.inference.random_search import RandomSearch, can_search, search_from_random_starts
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.priors import Model

EXPLORATORY_DRAWS, EXPLORATORY_TUNE = 150, 150
_DEPTH, _SHALLOW = 7, 5  # of trajectories, and where a step takes long
_MANY, _MANY_ROWS = 1_000, 25_000  # coordinates and rows above which it does
EXPLORATORY_MIXED = 1.2  # R-hat of an indicator of a mode: short chains allow no sharper one
_STARTS_OF_FEWER = 3  # EM starts of the mixture with one component fewer
_FURTHER = ("next optimum", "third optimum", "fourth optimum", "fifth optimum")
_HOPELESS, _PER_PARAMETER = 50.0, 0.1  # nats below the best mass at which an optimum is left out
_INTERRUPTED = "interrupted before the first draw"
_MOST_JUMPING = 120  # parameters: of more, the density of candidates does not cover the posterior
_COMPARABLE = 20.0  # nats below the best optimum at which another may still define the coordinates
_SAME = 0.01  # nats by which the masses of two optima differ that are one


@dataclass(frozen=True)
class ExploratoryChains:
    """Draws of exploratory chains, and the modes that they found.

    Attributes
    ----------
    names : list of str
        Starting point of each chain.
    sampled : Draws and Trace
    modes : Modes
        With weights if they are separate.
    """

    names: list[str]
    sampled: Sampled
    modes: Modes

    @property
    def relevant(self) -> list[int]:
        """The modes that carry weight, if there are separate ones."""
        return [m for m, mode in enumerate(self.modes.modes) if self.modes.separate and mode.weight >= RELEVANT]

    @property
    def several(self) -> bool:
        """Whether more than one mode carries weight."""
        return len(self.relevant) > 1

    @property
    def home(self) -> int:
        """The mode of the two chains from the best optimum."""
        return int(np.bincount(self.modes.labels[self.sampled[0].chain < 2]).argmax())

    @property
    def highest(self) -> Mixture:
        """The draw of highest density in the mode of largest weight."""
        points, run = self.sampled
        own = self.modes.labels == int(np.argmax([mode.weight for mode in self.modes.modes]))
        return points.mixture(int(np.where(own, run.stats["lp"].ravel(), -np.inf).argmax()))


def run_exploratory_chains(
    problem: Problem,
    starts: dict[str, Mixture],
    settings: SamplerSettings,
    rng: np.random.Generator,
    *,
    sampler: Engine = sample_native,
) -> ExploratoryChains:
    """Run short chains from the best optimum, two of them, and from other starts, and group them into modes.

    Two, because a chain may leave its mode during warm-up, and the reference for all others must not be lost.
    """
    starts = {"best optimum": problem.start, "best optimum, again": problem.start, **starts}
    is_large = problem.model.n_parameters > _MANY or problem.data.shape[0] > _MANY_ROWS
    short = replace(
        settings,
        seed=int(rng.integers(2**63)),
        draws=EXPLORATORY_DRAWS,
        tune=EXPLORATORY_TUNE,
        chains=len(starts),
        max_depth=_SHALLOW if is_large else _DEPTH,
        refresh=False,
        progress=False,
        kept=None,
    )
    points, run = sampler(replace(problem, chain_starts=tuple(starts.values())), short, rng)
    if run.interrupted and time.monotonic() < settings.until:
        raise KeyboardInterrupt(_INTERRUPTED)
    modes = find_modes(points, problem.data, rng=rng, mixed=EXPLORATORY_MIXED, by_chain=True)
    if modes.separate:
        modes = weigh_modes(modes, points, Target(problem.data, problem.model), rng=rng)
    return ExploratoryChains(list(starts), (points, run), modes)


def away_starts(problem: Problem, rng: np.random.Generator) -> dict[str, Mixture]:
    """The best fit with one component fewer, with an empty or with a duplicated component added."""
    k = problem.model.n_components
    if k == 1 or not problem.model.exchangeable:
        return {}
    fewer, found = best_of_starts(
        problem.data,
        problem.model.with_components(k - 1),
        rng=rng,
        settings=EMSettings(reg_covar=0.0),
        n_init=_STARTS_OF_FEWER,
    )
    if found.interrupted:
        raise KeyboardInterrupt(_INTERRUPTED)
    return {"one emptied": _with_empty(fewer.mixture, problem, rng), "two in one place": _with_twin(fewer.mixture)}


def _with_empty(fewer: Mixture, problem: Problem, rng: np.random.Generator) -> Mixture:
    """One more component, drawn from the prior, with the weight of an empty component."""
    k = fewer.n_components + 1
    prior = problem.model.with_components(1).required_prior
    drawn = Conditionals.of_prior(prior).sample(1, rng=rng)
    alpha = float(prior.concentration[0])
    share = alpha / (problem.data.total + k * alpha)
    weights = np.append(fewer.weights * (1.0 - share), share)
    own = fewer.full_covariances[:1] if fewer.family.shared else drawn.covariances[0]
    both = fewer.family.compress(np.concatenate([fewer.full_covariances, own]))
    return Mixture(weights, np.vstack([fewer.means, drawn.means[0]]), both, fewer.covariance_type)


def _with_twin(fewer: Mixture) -> Mixture:
    """The largest component twice, at half its weight."""
    largest = int(fewer.weights.argmax())
    order = np.append(np.arange(fewer.n_components), largest)
    weights = fewer.weights[order]
    weights[[largest, -1]] *= 0.5
    covariances = fewer.family.compress(fewer.full_covariances[order])
    return Mixture(weights, fewer.means[order], covariances, fewer.covariance_type)


def chain_starts(
    exploratory: ExploratoryChains, chains: int, rng: np.random.Generator
) -> tuple[tuple[Mixture, ...], list[int]]:
    """Draws of exploratory chains to start at, and their modes: each relevant one, then in proportion to weights."""
    modes, relevant = exploratory.modes, exploratory.relevant
    weights = np.array([modes.modes[m].weight for m in relevant])
    first = [relevant[i] for i in np.argsort(-weights)][:chains]
    rest = rng.choice(relevant, size=max(0, chains - len(first)), p=weights / weights.sum())
    (points, _), chosen = exploratory.sampled, [*first, *(int(m) for m in rest)]
    picked = [int(rng.choice(np.flatnonzero(modes.labels == m))) for m in chosen]
    return tuple(points.mixture(s) for s in picked), chosen


@dataclass(frozen=True)
class Exploration:
    """Starting points of the chains of a fit, and how they were found.

    Attributes
    ----------
    problem : Problem
        With the starts of its chains.
    starting_modes : list of int
        The mode or optimum that each chain starts in.
    exploratory : ExploratoryChains or None
    far_below : list of str
        Starts that no exploratory chain was run from, because the likelihood there is too low.
    search : RandomSearch or None
        From random starts.
    sampler : {"gibbs", "jumps"}, optional
        What the chains of the fit are better made by than the sampler that was asked for.
    jumps : Jumps or None
        Of chains that jump.
    """

    problem: Problem
    starting_modes: list[int]
    exploratory: ExploratoryChains | None = None
    far_below: list[str] = field(default_factory=list)
    search: RandomSearch | None = None
    sampler: str | None = None
    jumps: Jumps | None = None

    def going_on(self, draws: Draws) -> Self:
        """The same, with chains that start at the last of some draws."""
        lasts = [int(np.flatnonzero(draws.chain == c)[-1]) for c in np.unique(draws.chain)]
        return replace(self, problem=replace(self.problem, chain_starts=tuple(draws.mixture(s) for s in lasts)))

    def with_all_rows(self, problem: Problem) -> Self:
        """What was explored on a sample of rows, for the problem with all of them.

        Chains start where EM on all rows leads to from the places on the sample, if its mass there is comparable.
        """
        n_chains = len(self.starting_modes)
        places = dict(zip(self.starting_modes, self.problem.chain_starts, strict=False))
        moved = [*places.values()] or [each for each in [self.problem.start] if each is not problem.start]
        optima = [problem.start, *(problem.at_optimum(place).start for place in moved)]
        masses = np.array([problem.log_mass(mixture) for mixture in optima]) if moved else np.zeros(1)
        order = [int(i) for i in np.argsort(-masses, kind="stable") if masses[i] > masses.max() - _COMPARABLE]
        differ = -np.diff(masses[order], prepend=np.inf) > _SAME
        starts = [optima[i] for i, is_other in zip(order, differ, strict=True) if is_other]
        return replace(
            self,
            problem=replace(problem, start=starts[0], chain_starts=tuple(starts if len(starts) > 1 else ())),
            starting_modes=[c % len(starts) for c in range(n_chains)],
            exploratory=None if places else self.exploratory,  # their draws are not of this posterior
            sampler=None,  # and what suits the sample may be slow here
            jumps=None,
        )

    def sample(self, asked: Engine, settings: SamplerSettings, rng: np.random.Generator) -> Sampled:
        """Draws of the chains of the fit."""
        if self.jumps is not None:
            return sample_with_jumps(self.jumps, self.problem, settings, rng)
        return (sample_gibbs if self.sampler == "gibbs" else asked)(self.problem, settings, rng)


def populated_first(optima: tuple[Mixture, ...], data: Data, model: Model) -> tuple[Mixture, ...]:
    """Optima, best first, without those of a mass far below; first the one whose smallest component has most rows.

    In its coordinates, if its mass is comparable, chains reach all places, also those where a component is empty; the
    scales at an optimum with one row in a component are those of that row. If weights are to vanish, it is the best.
    """
    if len(optima) == 1:
        return optima
    masses = [log_mass(mixture, data, model) for mixture in optima]
    lowest = max(masses) - _HOPELESS - _PER_PARAMETER * model.n_parameters
    order = [i for i, mass in enumerate(masses) if i == 0 or mass > lowest]
    comparable = [] if model.required_prior.sparse else [i for i in order if masses[i] > max(masses) - _COMPARABLE]
    smallest = {i: data.total * float(optima[i].weights.min()) for i in comparable}
    first = max(comparable, key=lambda i: smallest[i], default=0)
    if first == 0 or smallest[first] < model.n_features + 1.0:
        return tuple(optima[i] for i in order)
    chosen = optima[first]
    in_order = chosen.permute(np.lexsort(chosen.means.T[::-1])) if model.exchangeable else chosen
    return (in_order, *(optima[i] for i in order if i != first))


def explore(
    init: str,
    problem: Problem,
    optima: tuple[Mixture, ...],
    *,
    settings: SamplerSettings,
    rng: np.random.Generator,
    sampler: Engine = sample_native,
    random_starts: bool = True,
    thorough: bool = False,
) -> Exploration:
    """Choose the starting points of the chains.

    With ``"spread"``, the search from random starts comes first (`bayesgmm.inference.random_search`). If its Gibbs
    chains lie apart, or a component has few rows, so that its posterior is no normal one, the chains of the fit jump
    between all places (`bayesgmm.inference.jumps`) if they do so often enough. If not and a component has no rows in
    some draws, where trajectories of NUTS are long, the chains of the fit are made by Gibbs sampling, from different
    places if these lie apart. If they move freely, chains start together. In other cases exploratory chains follow.

    Parameters
    ----------
    init : {"spread", "modes", "best"}
        ``"spread"`` runs exploratory chains first; ``"modes"`` starts the chains at the distinct optima of EM in
        turn; ``"best"`` starts them all at the best.
    problem : Problem
    optima : tuple of Mixture
        Distinct optima, best first.
    sampler : callable
        Of the exploratory chains.
    random_starts : bool
        Whether chains may begin at random starts, and another sampler may be chosen.
    thorough : bool
        Whether random starts are three times as many.

    Rows that are not in memory are explored by their sample, and the places that it leads to compared on all of them.
    """
    if init == "spread" and problem.on_sample is not problem:
        return explore(
            init,
            problem.on_sample,
            optima,
            settings=settings,
            rng=rng,
            sampler=sampler,
            random_starts=random_starts,
            thorough=thorough,
        ).with_all_rows(problem)
    together = Exploration(problem, [0] * settings.chains)
    if init == "modes" and len(optima) > 1:
        starts = tuple(islice(cycle(optima), settings.chains))
        return Exploration(replace(problem, chain_starts=starts), [c % len(optima) for c in range(settings.chains)])
    if init != "spread":
        return together
    further = optima[1:]
    if random_starts and can_search(problem.model, problem.data):
        search = search_from_random_starts(problem, optima, rng=rng, thorough=thorough, until=settings.until)
        if search.better is not None:
            problem = problem.at_optimum(search.better)
        together = replace(together, problem=problem, search=search)
        together = _with_sampler(together, search, rng) if search.by_chains else together
        if search.by_chains and (together.sampler is not None or not search.apart):
            return together
        further = search.others(problem) if search.apart else ()
    away = away_starts(problem, rng) | dict(zip(_FURTHER, further, strict=False))
    lowest = problem.log_likelihood(problem.start) - Target(problem.data, problem.model).far
    near = {name: mixture for name, mixture in away.items() if problem.log_likelihood(mixture) > lowest}
    far_below = [name for name in away if name not in near]
    if not near:
        return replace(together, far_below=far_below)
    exploratory = run_exploratory_chains(problem, near, settings, rng, sampler=sampler)
    if set(exploratory.relevant) <= {exploratory.home}:
        return replace(together, exploratory=exploratory, far_below=far_below)
    if exploratory.home not in exploratory.relevant:
        others = (problem.at_optimum(exploratory.highest).start, *optima[1:])
        problem = replace(problem, start=max(others, key=lambda each: log_mass(each, problem.data, problem.model)))
    starts, modes = chain_starts(exploratory, settings.chains, rng)
    return Exploration(replace(problem, chain_starts=starts), modes, exploratory, far_below, together.search)


def explore_optima(
    init: str,
    problem: Problem,
    optima: tuple[Mixture, ...],
    *,
    settings: SamplerSettings,
    rng: np.random.Generator,
    thorough: bool = False,
) -> Exploration:
    """The different optima at which the posterior is approximated, as starts of chains that are not run.

    Parameters
    ----------
    init : {"spread", "modes", "best"}
        ``"spread"`` adds those that random starts lead to; ``"modes"`` takes the distinct optima of EM; ``"best"`` the
        best one.
    problem, optima, settings, rng, thorough
        As in `explore`.
    """
    search, found = None, optima[1:] if init == "modes" else ()
    if init == "spread" and can_search(problem.model, problem.data.sample):
        search = search_from_random_starts(problem.on_sample, optima, rng=rng, thorough=thorough, until=settings.until)
        if search.better is not None:
            problem = problem.at_optimum(search.better)
        found = search.others(problem.on_sample) if search.apart else ()
        if search.by_chains or problem.on_sample is not problem:  # optima of the posterior of all rows
            found = tuple(problem.at_optimum(place).start for place in found)
    masses = [problem.log_mass(mixture) for mixture in (problem.start, *found)]
    lowest = max(masses) - _HOPELESS - _PER_PARAMETER * problem.model.n_parameters
    near = tuple(mixture for mixture, mass in zip(found, masses[1:], strict=True) if mass > lowest)
    return Exploration(replace(problem, chain_starts=(problem.start, *near)), [0] * settings.chains, search=search)


def _with_sampler(together: Exploration, search: RandomSearch, rng: np.random.Generator) -> Exploration:
    """The exploration with a sampler that suits what random starts found better than NUTS, if there is one."""
    problem = together.problem
    if not (search.apart or search.has_small):
        return together
    if problem.model.n_parameters <= _MOST_JUMPING and Target(problem.data, problem.model).symmetric:
        jumps = adapted_jumps(problem, search.draws, search.places, rng=rng)
        if jumps.usable:
            return replace(together, sampler="jumps", jumps=jumps)
    if not search.has_empty:
        return together
    if not search.apart:
        return replace(together, sampler="gibbs")
    lasts, n_chains = search.lasts, len(together.starting_modes)
    places = [c % len(lasts) for c in range(n_chains)]
    problem = replace(problem, chain_starts=tuple(lasts[place] for place in places))
    return replace(together, problem=problem, starting_modes=places, sampler="gibbs")
