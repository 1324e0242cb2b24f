"""Features by name or position, and values given for some of them."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bayesgmm._common import Rows, quoted
from bayesgmm.exceptions import InputError
from bayesgmm.validation import as_finite, as_rows, told


def positions_of(
    features: Sequence[str | int] | str | int | None, names: Sequence[str], *, called: str = "features"
) -> list[int]:
    """Positions of the features named, or of all."""
    if features is None:
        return list(range(len(names)))
    wanted: list[Any] = [features] if isinstance(features, str) or not isinstance(features, Iterable) else [*features]
    known: dict[str | int, int] = {j: j for j in range(len(names))}
    known.update({name: j for j, name in enumerate(names)})
    unknown = [name for name in wanted if isinstance(name, bool) or not isinstance(name, Hashable) or name not in known]
    positions = [known[name] for name in wanted if name not in unknown]
    if unknown or not positions or len(set(positions)) < len(positions):
        raise InputError(expected=f"distinct {called} among {', '.join(names)}", got=f"{features!r}")
    return positions


def others(positions: Sequence[int], names: Sequence[str]) -> list[int]:
    """Positions of the features that are not among those, of which there must be one."""
    rest = [j for j in range(len(names)) if j not in positions]
    if not rest:
        raise InputError(
            expected="features named that leave at least one",
            got=f"all: {quoted(names)}",
            hint="log_prob and score_samples give the density of whole rows.",
        )
    return rest


class Given(NamedTuple):
    """Values given for some features.

    Attributes
    ----------
    observed, rest : list of int
        Positions of these features, and of all others.
    rows : (obs, observed feature)
    one : bool
        Whether every feature has a single number.
    """

    observed: list[int]
    rest: list[int]
    rows: Rows
    one: bool


def given_values(given: Mapping[Any, Any], names: Sequence[str]) -> Given:
    """Read a mapping from features to numbers, or to arrays (obs,) of one length.

    Raises
    ------
    InputError
        Features are unknown, named twice or all of them, or values are not finite numbers, or of different lengths.
    """
    if not isinstance(given, Mapping):
        raise InputError(expected="a mapping from features to values, {feature: value}", got=told(given))
    observed = positions_of(list(given), names, called="features with a value")
    rest = others(observed, names)
    values = [as_finite(value, name=f"the values of {key!r}") for key, value in given.items()]
    sizes = {value.size for value in values if value.ndim == 1}
    if any(value.ndim > 1 for value in values) or 0 in sizes or len(sizes) > 1:
        raise InputError(
            expected="a number, or one for each row, as the value of a feature",
            got=f"shapes {', '.join(str(value.shape) for value in values)}",
        )
    columns = np.broadcast_arrays(*(np.atleast_1d(value) for value in values))
    return Given(observed, rest, as_rows(np.column_stack(columns), name="the given values"), one=not sizes)
