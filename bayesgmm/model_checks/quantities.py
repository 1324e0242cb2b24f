"""Test quantities of posterior predictive checks."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from bayesgmm._common import Array, Rows
from bayesgmm.exceptions import InputError

type Quantity = Callable[[Rows], object]
type Names = Sequence[str]

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_OF_FEATURES = (
    *("mean", "sd", "skewness", "kurtosis"),
    *(f"quantile {100 * q:g} %" for q in _QUANTILES),
    *("min", "max"),
)
_OF_PAIRS = ("correlation", "cross moment a² b", "cross moment a b²")
_MOST_ROWS = 2_000  # whose nearest neighbours are looked for


def quantities(X: Rows, features: Names, more: Mapping[str, Quantity]) -> pd.Series:
    """All test quantities of rows, indexed by quantity and feature, pair, or nothing.

    For each feature mean, standard deviation, skewness, excess kurtosis, quantiles, smallest and largest value; for
    each pair the correlation, and the cross moments of third order E[a² b] and E[a b²] of standardised features, which
    curved clusters have; the median distance to the nearest neighbour, in standard deviations; and the user's own.
    """
    own = _of_user(X, features, more)
    pairs = [f"{a}, {b}" for a, b in combinations(features, 2)]
    names = [(name, feature) for name in _OF_FEATURES for feature in features]
    names += [(name, pair) for name in _OF_PAIRS for pair in pairs]
    index = pd.MultiIndex.from_tuples([*names, ("nearest neighbour", ""), *own], names=["quantity", "of"])
    return pd.Series(np.append(standard_values(X), list(own.values())), index, dtype=np.float64)


def quantity_values(X: Rows, features: Names, more: Mapping[str, Quantity]) -> Array:
    """The values of `quantities` alone."""
    return np.append(standard_values(X), list(_of_user(X, features, more).values()))


def standard_values(X: Rows) -> Array:
    """The values of the package's own quantities, in the order of `quantities`."""
    x, n = np.ascontiguousarray(X.T), len(X)  # sums over contiguous rows are several times as fast
    centred = x - x.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred * centred).mean(axis=1, keepdims=True))
    z = centred / np.where(spread > 0, spread, 1.0)
    squares, ordered = z * z, np.sort(x, axis=1)
    third, fourth = (squares * z).mean(axis=1), (squares * squares).mean(axis=1)  # numpy's z**3 takes ten times as long
    first = [x.mean(axis=1), x.std(axis=1, ddof=1), third, fourth - 3.0]
    of_features = [*first, *_quantiles(ordered), ordered[:, 0], ordered[:, -1]]
    i, j = np.triu_indices(len(x), 1)
    second, cross = z @ z.T / n, squares @ z.T / n
    of_pairs = [second[i, j], cross[i, j], cross[j, i]]
    near = np.ascontiguousarray(z[:, :_MOST_ROWS].T)  # of as many rows in data and replicates
    nearest = np.median(KDTree(near).query(near, k=2)[0][:, 1])
    return np.concatenate([*of_features, *of_pairs, [nearest]])


def _quantiles(ordered: Array) -> Array:
    """Quantiles (quantile, feature) of sorted values (feature, obs), interpolated as by `numpy.quantile`."""
    place = (ordered.shape[1] - 1) * np.array(_QUANTILES)
    low = place.astype(np.int64)
    below, above = ordered[:, low], ordered[:, np.minimum(low + 1, ordered.shape[1] - 1)]
    return np.asarray((below + (place - low) * (above - below)).T)


def _of_user(X: Rows, features: Names, more: Mapping[str, Quantity]) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for name, quantity in more.items():
        value = np.asarray(quantity(X), dtype=np.float64)
        if value.shape not in ((), (len(features),)):
            raise InputError(
                expected=f"statistics[{name!r}] to give a number, or one for each of {len(features)} features",
                got=f"shape {value.shape}",
            )
        names = [""] if value.ndim == 0 else features
        found |= {(name, feature): float(x) for feature, x in zip(names, value.ravel(), strict=True)}
    return found


def quantity_table(observed: pd.Series, replicated: Array, *, ci_prob: float) -> pd.DataFrame:
    """Observed values beside predicted ones (replicate, quantity), with tail probabilities.

    ``p`` is twice the smaller share of replicates on one side of the observed value, which is counted among them.
    ``p_adjusted`` allows for the number of quantities: the share of replicates whose most unusual quantity is as many
    standard deviations from its median as this one (Westfall & Young 1993, maxT).
    """
    value, n = observed.to_numpy(), len(replicated)
    upper = (1.0 + (replicated >= value).sum(axis=0)) / (n + 1.0)
    lower = (1.0 + (replicated <= value).sum(axis=0)) / (n + 1.0)
    centre, sd = np.median(replicated, axis=0), np.maximum(replicated.std(axis=0), np.finfo(float).tiny)
    largest = (np.abs(replicated - centre) / sd).max(axis=1)
    own = np.abs(value - centre) / sd
    bounds = np.quantile(replicated, [0.5 - 0.5 * ci_prob, 0.5 + 0.5 * ci_prob], axis=0)
    kind = f"eti{round(100 * ci_prob)}"
    columns = {
        "observed": value,
        "mean": replicated.mean(axis=0),
        f"{kind}_lb": bounds[0],
        f"{kind}_ub": bounds[1],
        "p": np.minimum(1.0, 2.0 * np.minimum(upper, lower)),
        "p_adjusted": (1.0 + (largest[:, None] >= own).sum(axis=0)) / (n + 1.0),
    }
    return pd.DataFrame(columns, observed.index)
