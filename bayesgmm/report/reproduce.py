"""Code and versions that reproduce a fit, exactly where its seed is known."""

import hashlib
import inspect
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from bayesgmm._common import Array, Rows
from bayesgmm.posterior import prior_to_json
from bayesgmm.priors import Prior

PACKAGES = (
    "bayesgmm", "numpy", "scipy", "numba", "nutpie", "pymc", "arviz", "xarray", "scikit-learn", "pandas", "matplotlib",
)  # fmt: skip
_SILENT = ("progress", "verbose", "verbose_interval", "n_jobs")  # parameters that do not change a fit


@dataclass(frozen=True)
class Source:
    """Where rows came from.

    Attributes
    ----------
    code : str
        Python that makes ``X``, one statement a line.
    command : str
        The command line that made the fit, if one did.
    """

    code: str = ""
    command: str = ""


def fingerprint(X: Rows) -> str:
    """SHA-256 of the rows as 64-bit numbers, row after row, lowest byte first."""
    return hashlib.sha256(np.ascontiguousarray(X, dtype="<f8").tobytes()).hexdigest()


def script(
    estimators: Sequence[tuple[str, Any]],
    X: Rows,
    *,
    source: Source,
    names: Sequence[str],
    weighted: bool,
    labelled: bool = False,
) -> str:
    """Python that fits again: named estimators, their parameters, the seed."""
    calls = [(name, _constructor(fit)) for name, fit in estimators]
    classes = sorted({type(fit).__name__ for _, fit in estimators})
    imports = [f"from bayesgmm import {', '.join(classes)}"]
    if any(_PRIOR in call for _, call in calls):
        imports.append(f"from bayesgmm.posterior import {_PRIOR}")
    rows = source.code or f"X = ...  # the {len(X):,} rows of {', '.join(_quoted(names))}; fingerprint below"
    fitted = f"fit(X{', sample_weight=weights' if weighted else ''}{', labels=labels' if labelled else ''})"
    given = ["weights = ...  # frequency weights of the rows"] if weighted else []
    given += ["labels = ...  # known components of rows"] if labelled else []
    return "\n".join([*imports, "", rows, *given, "", *(f"{name} = {call}.{fitted}" for name, call in calls)])


def fingerprint_code(X: Rows) -> str:
    """Python that tells whether rows are those of the fit."""
    return "\n".join(
        [
            "import hashlib",
            "import numpy as np",
            "",
            'rows = np.ascontiguousarray(X, dtype="<f8")',
            f'assert hashlib.sha256(rows.tobytes()).hexdigest() == (\n    "{fingerprint(X)}"\n)',
        ]
    )


def versions() -> list[tuple[str, str]]:
    """Names and versions of the packages in this process."""
    found = [("python", platform.python_version()), ("platform", f"{platform.system()} {platform.machine()}")]
    return [*((name, number) for name in PACKAGES if (number := _version(name))), *found]


def is_reproducible(fit: Any) -> bool:
    """Whether the estimator's seed is known."""
    return isinstance(_seed(fit), int)


_PRIOR = "prior_from_json"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _constructor(fit: Any) -> str:
    """The estimator with those of its parameters that are not the defaults, and its seed."""
    defaults = inspect.signature(type(fit)).parameters
    given = {name: value for name, value in fit.get_params(deep=False).items() if name not in _SILENT}
    given["random_state"] = _seed(fit)
    stated = [f"{name}={_literal(value)}" for name, value in given.items() if not _same(value, defaults[name].default)]
    return f"{type(fit).__name__}({', '.join(stated)})"


def _seed(fit: Any) -> Any:
    """Of a posterior what it recorded; otherwise the parameter, if it is a number."""
    if hasattr(fit, "posterior_"):
        return int(fit.posterior_.attrs["seed"])
    state = fit.random_state
    return int(state) if isinstance(state, int | np.integer) else None


def _same(value: Any, default: Any) -> bool:
    return value is default or (np.ndim(value) == 0 and type(value) is type(default) and value == default)


def _literal(value: Any) -> str:
    if isinstance(value, Prior):
        return f"{_PRIOR}({prior_to_json(value)!r})"
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    array: Array = np.asarray(value)
    return repr(array.tolist())


def _quoted(names: Sequence[str]) -> list[str]:
    """Names without line breaks, so that they stay within a comment."""
    return [" ".join(str(name).split()) for name in names]
