"""Posteriors with several modes, and label-invariant quantities whose means are compared."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from _tempered_gibbs import Parameters, labels_of
from sklearn.datasets import load_iris

from bayesgmm import Prior
from bayesgmm._common.arrays import Array
from bayesgmm.datasets import load_acidity, load_galaxies

type Quantity = Callable[[Parameters, Array], Array]  # (chain, draw)

HARD = Prior.normal_inverse_wishart(mean=(5.8, 3.1, 3.8, 1.2), kappa=0.01, dof=6, scale=np.diag([0.4, 0.1, 1.8, 0.34]))


class Case(NamedTuple):
    """Rows, number of components, quantities, the mean of the first by symmetry, and sweeps of a reference, if any."""

    name: str
    X: Array
    k: int
    quantities: dict[str, Quantity]
    truth: float | None = None
    prior: Prior | None = None
    sweeps: int = 0

    @property
    def own_prior(self) -> Prior:
        """The prior, by default that of a fit."""
        return Prior.weakly_informative(self.X) if self.prior is None else self.prior

    @property
    def key(self) -> str:
        """Name and number of components."""
        return f"{self.name}, K = {self.k}"


def generator(seed: int | list[int]) -> np.random.Generator:
    """As ``np.random.default_rng``, whose seeds tests may shift: rows that have a reference stay the same."""
    return np.random.Generator(np.random.PCG64(seed))


def copies(n: int, rows: int = 10, noise: float = 0.0, seed: int = 0) -> Array:
    """Copies of one cluster, rotated about the origin: with one component fewer all joins of neighbours are alike."""
    rng = generator(seed)
    block = rng.normal(size=(rows, 2))
    block += [6.0, 0.0] - block.mean(axis=0)
    angles = 2.0 * np.pi * np.arange(n) / n
    turns = np.stack([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
    return np.vstack(block @ turns) + noise * rng.normal(size=(n * rows, 2))


def together(i: int, j: int) -> Quantity:
    """Whether two rows have the same most probable label."""

    def of(draws: Parameters, X: Array) -> Array:
        labels = labels_of(draws, X[[i, j]])
        return (labels[..., 0] == labels[..., 1]).astype(float)

    return of


def smallest_weight(draws: Parameters, _: Array) -> Array:
    """The weight of the smallest component."""
    return draws.weights.min(axis=2)


def far_away(draws: Parameters, _: Array) -> Array:
    """Whether the smaller component is not at the three rows near (12, 12)."""
    smallest = draws.weights.argmin(axis=2)[..., None, None]
    mean = np.take_along_axis(draws.means, smallest, axis=2)[:, :, 0]
    return (np.abs(mean - 12.0) > 3.0).any(axis=2).astype(float)


def cases() -> Iterator[Case]:
    """All of them."""
    iris, galaxies, acidity = load_iris().data, np.asarray(load_galaxies()), np.asarray(load_acidity())
    neighbours = {"neighbours together": together(0, 10)}
    for n, k in ((5, 4), (3, 2), (4, 3), (4, 2)):
        yield Case(f"{n} copies", copies(n), k, neighbours, 0.5 if k == 2 and n == 4 else 1.0 / n)
    for seed in range(5):
        X, first = copies(5, 7, 0.4, seed), {"first neighbours together": together(0, 7)}
        yield Case(f"noisy groups {seed}", X, 4, first, sweeps=20_000)
    species = {"rows 70, 130 together": together(70, 130)}
    yield Case("iris", iris, 3, species, sweeps=24_000)
    yield Case("iris, hard prior", iris, 3, species, prior=HARD, sweeps=10_000)
    both = {"smallest weight": smallest_weight, "rows 7, 77 together": together(7, 77)}
    for k in (3, 4, 5, 6):
        yield Case("galaxies", galaxies, k, both, prior=Prior.richardson_green(galaxies), sweeps=5_000)
    yield Case("acidity", acidity, 3, both, sweeps=4_000)
    rng = generator(0)
    few = np.concatenate([rng.normal(size=(997, 2)), rng.normal(12.0, 0.3, (3, 2))])
    yield Case("997 + 3 rows", few, 2, {"component elsewhere": far_away})
    crossed = np.concatenate([rng.normal(size=(250, 2)) * [1, 9], rng.normal(size=(250, 2)) * [9, 1]])
    for k in (2, 3):
        yield Case("crossed clusters", crossed, k, {"smallest weight": smallest_weight})
