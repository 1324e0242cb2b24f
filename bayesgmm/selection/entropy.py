"""Pairs of clusters merged by entropy, and the elbow of the entropies."""

from itertools import combinations
from math import log
from typing import NamedTuple

import numpy as np
from scipy.special import entr

from bayesgmm._common import Array, PerRow, Responsibilities

_APART = log(2.0)  # nats: together the rows are less doubtful than one between two components of equal density
_FEWEST = 4  # points of an elbow: two lines go through three, whatever they are

type Components = tuple[int, ...]


class Merge(NamedTuple):
    """One step of `Merging`: two clusters, as tuples of components, and the fall of entropy (nats) by merging them."""

    first: Components
    second: Components
    fall: float


Merge.__module__ = "bayesgmm.selection"  # in the body, type checkers take it for a field


def merge_tree(resp: Responsibilities, weights: PerRow) -> tuple[tuple[Merge, ...], Array, int]:
    """The tree, the entropies of 1, 2, ... clusters, and the number of components that have a row."""
    columns: dict[Components, Array] = {(k,): column for k, column in enumerate(resp.T)}
    own = {group: _entropy(column, weights) for group, column in columns.items()}
    joint = {(a, b): _entropy(columns[a] + columns[b], weights) for a, b in combinations(columns, 2)}
    tree, entropies, n_occupied = [], [sum(own.values())], len(columns)
    while len(columns) > 1:
        falls = {(a, b): own[a] + own[b] - together for (a, b), together in joint.items()}
        emptied = {group for group, column in columns.items() if weights @ column < 1.0}
        best = max((pair for pair in falls if not emptied or emptied & {*pair}), key=falls.__getitem__)
        first, second = sorted(best)
        tree.append(Merge(first, second, max(falls[best], 0.0)))
        column, union = columns.pop(best[0]) + columns.pop(best[1]), union_of(*best)
        own = {group: own[group] for group in columns} | {union: joint[best]}
        joint = {pair: value for pair, value in joint.items() if not {*best} & {*pair}}
        joint |= {(group, union): _entropy(other + column, weights) for group, other in columns.items()}
        columns[union] = column
        entropies.append(sum(own.values()))
        n_occupied -= bool(emptied)
    return tuple(tree), np.maximum(entropies[::-1], 0.0), n_occupied


def _entropy(column: Array, weights: PerRow) -> float:
    return float(entr(column) @ weights)


def union_of(first: Components, second: Components) -> Components:
    """The components of two clusters."""
    return tuple(sorted(first + second))


def elbow_of(entropies: Array, n_occupied: int) -> int | None:
    """The point from which two lines go that fit the entropies best."""
    among = entropies[:n_occupied]
    if among[-1] <= _APART:
        return n_occupied
    if n_occupied < _FEWEST:
        return None
    x = np.arange(1.0, n_occupied + 1.0)
    return min(range(2, n_occupied), key=lambda n: _misfit(x[:n], among[:n]) + _misfit(x[n - 1 :], among[n - 1 :]))


def _misfit(x: Array, y: Array) -> float:
    """Sum of squares around the best straight line."""
    return float(((y - straight_line(x, y)) ** 2).sum())


def straight_line(x: Array, y: Array) -> Array:
    """Least-squares line at x; a level one if all x are equal."""
    design = np.column_stack([np.ones_like(x), x - x.mean()])
    return np.asarray(design @ np.linalg.lstsq(design, y)[0])
