"""A fit on disk: what a saved posterior must know to become an estimator again, and the way back."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from bayesgmm.algorithms.multistart import Starts


def fit_record(settings: Mapping[str, Any], *, named_features: bool, starts: Starts) -> dict[str, str | int | float]:
    """Attributes of a posterior: the estimator's parameters, ``prior`` aside, and how EM's starts went."""
    kept = {name: _plain(value) for name, value in settings.items() if name != "prior"}
    return {
        "settings": json.dumps(kept),
        "seed": settings["random_state"],
        "engine": settings["engine"],
        "named_features": int(named_features),
        "em_starts": starts.n_starts,
        "em_best_reached": starts.n_best_reached,
    }


def _plain(value: Any) -> Any:
    """Arrays, and numbers of NumPy's, as JSON knows them."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return np.asarray(value).tolist()
