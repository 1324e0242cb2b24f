"""Saved estimators: the settings needed to restore them, and EM fits as DataTrees, bit for bit."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from bayesgmm._common import Rows
from bayesgmm.data import Data, Source
from bayesgmm.em import Starts
from bayesgmm.estimators._attributes import BESIDE, Attributes
from bayesgmm.estimators._sources import FittedSource
from bayesgmm.estimators._validation import family_of
from bayesgmm.exceptions import InputError
from bayesgmm.io import CheckpointPath, Pieces, checkpoint_at, fingerprint_of_arrays
from bayesgmm.mixture import Component, CovarianceFamily, Equivariance, Measured, Mixture, component_of
from bayesgmm.noise import NoisyMixture, Uniform, noise_of
from bayesgmm.priors import Prior

if TYPE_CHECKING:
    import xarray as xr

_ARRAYS = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_", *BESIDE)
_OTHERS = (
    *("converged_", "n_iter_", "log_likelihood_", "objective_", "lower_bound_", "lower_bounds_"),
    *("n_features_in_", "n_labelled_"),
)
_NO_RESULT = ("n_jobs", "cores", "verbose", "verbose_interval", "progress", "max_seconds")  # parameters without effect
_PARTS = ("weights", "means", "covariances", "factors", "precision_factors", "log_scale")  # of a mixture


type KeptOf = Callable[[Callable[[], dict[str, Any]]], Pieces | None]


@contextmanager
def keeping(path: CheckpointPath) -> Iterator[KeptOf]:
    """A function that opens the checkpoint, once it is known what work it belongs to, until the block ends."""
    with ExitStack() as stack:
        yield lambda work: stack.enter_context(checkpoint_at(path, work))


def fit_record(
    settings: Mapping[str, Any], *, named_features: bool, starts: Starts, source: FittedSource | None
) -> dict[str, str | int | float]:
    """Attributes of a posterior: the estimator's parameters, ``prior`` aside, how EM's starts went, where rows are.

    The prior itself stands elsewhere; ``default_prior`` tells whether it is the one by default.
    """
    kept = {name: value for name, value in settings.items() if name != "prior"}
    return {
        "default_prior": int(settings["prior"] is None),
        "settings": json.dumps(kept, default=_plain),
        "seed": settings["random_state"],
        "engine": settings["engine"],
        "inference": settings["inference"],
        "named_features": int(named_features),
        "em_starts": starts.n_starts,
        "em_best_reached": starts.n_best_reached,
        **({} if source is None else {"source": json.dumps(source.record)}),
    }


def work_of(estimator: Any, call: str, rows: Data | Source, **further: Any) -> dict[str, Any]:
    """Everything that a result depends on, by the names that errors of a checkpoint give it."""
    settings = {name: value for name, value in estimator.get_params(deep=False).items() if name not in _NO_RESULT}
    if isinstance(rows, Data):
        names = getattr(estimator, "feature_names_in_", None)
        given = {"X": fingerprint_of_arrays(rows.entries), "sample_weight": fingerprint_of_arrays(rows.row_weights)}
        given |= {} if rows.allowed is None else {"labels": fingerprint_of_arrays(rows.allowed.astype(np.float64))}
    else:
        names, given = rows.feature_names, {"X": rows.fingerprint, "sample_weight": ""}
    last = getattr(estimator, "em_", getattr(estimator, "mixture_", None)) if estimator.warm_start else None
    start = None if last is None else fingerprint_of_arrays(last.weights, last.means, last.covariances)
    work = {"call": f"{type(estimator).__name__}.{call}", **given, "columns": names, **settings, "start": start}
    found: dict[str, Any] = json.loads(json.dumps(work | further, default=_plain))
    return found


def _plain(value: Any) -> Any:
    """What JSON does not know: priors, states of generators, arrays, numbers of NumPy's."""
    if isinstance(value, Prior):
        return asdict(value)
    if isinstance(value, Equivariance):
        return value.value
    if isinstance(value, np.random.RandomState):
        return {"state": value.get_state()}
    return np.asarray(value).tolist()


def settings_of(tree: "xr.DataTree", known: Mapping[str, Any]) -> dict[str, Any]:
    """The estimator's parameters in a tree that was read.

    Raises
    ------
    InputError
        If there are none, or some that this version does not know.
    """
    if "settings" not in tree.attrs:
        raise InputError(expected="the record of a fit", got="a file without the record of a fit")
    settings: dict[str, Any] = json.loads(str(tree.attrs["settings"]))
    unknown = ", ".join(settings.keys() - known.keys())
    if unknown:
        raise InputError(expected="parameters that this version knows", got=unknown)
    return settings


class EMFileMixin:
    """`save` of an estimator that holds an EM fit."""

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the fit to a NetCDF file from which `bayesgmm.load` makes the same estimator, to the last bit.

        Parameters
        ----------
        path : str or path
        overwrite : bool
            Replace a file that exists. One that cannot be written leaves the old one untouched.

        Raises
        ------
        InputError
            If the file exists and ``overwrite`` is false, its folder does not exist, or parameters were set after the
            fit that are not the fit's.
        OSError
            If the system cannot write it, on a full disk say; the fit stays as it is.

        Examples
        --------
        >>> import tempfile, bayesgmm
        >>> from bayesgmm.datasets import load_old_faithful
        >>> fit = bayesgmm.GaussianMixture(2, random_state=0).fit(load_old_faithful())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fit.save(f"{folder}/geyser.nc")
        ...     again = bayesgmm.load(f"{folder}/geyser.nc")
        >>> again.bic() == fit.bic()
        True
        """
        from bayesgmm.io import save_tree

        check_is_fitted(self)
        save_tree(_em_tree(self), path, overwrite=overwrite)


def _em_tree(estimator: Any) -> "xr.DataTree":
    """A `GaussianMixture` as it is: attributes in the user's precision, mixtures in double, history and starts."""
    import xarray as xr

    from bayesgmm.posterior import provenance

    mixture, starts = estimator.mixture_, getattr(estimator, "starts_", None)
    shown = {name: getattr(estimator, name) for name in _ARRAYS if hasattr(estimator, name)}
    groups = {
        "parameters": xr.Dataset({name: _named(name, value, mixture.family) for name, value in shown.items()}),
        "mixtures": _mixtures_dataset([mixture, *(() if starts is None else starts.optima)]),
    }
    if starts is not None:
        _check_parameters(estimator, mixture.family, mixture.means.shape)
        arrays = {name: value for name, value in _starts_fields(starts).items() if isinstance(value, np.ndarray)}
        groups["starts"] = xr.Dataset(
            {name: ("optimum" if name == "optimum_objectives" else "start", value) for name, value in arrays.items()}
        )
        groups["history"] = xr.Dataset({"objective": ("step", estimator.history_)})
    if (noise := getattr(estimator, "noise_", None)) is not None:
        groups["noise"] = _noise_dataset(noise, [mixture, *(() if starts is None else starts.optima)])
    if (source := getattr(estimator, "source_", None)) is not None:
        groups["sample"] = xr.Dataset({"rows": (("obs", "feature"), source.sample)})
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {**_em_record(estimator, starts), **provenance()}
    return tree


def _em_record(estimator: Any, starts: Starts | None) -> dict[str, str]:
    """What is no array, as JSON."""
    record = {
        "settings": estimator.get_params(deep=False),
        "others": {name: getattr(estimator, name) for name in _OTHERS if hasattr(estimator, name)},
        "feature_names": getattr(estimator, "feature_names_in_", None),
        "prior": getattr(estimator, "prior_", None),
    }
    if (source := getattr(estimator, "source_", None)) is not None:
        record["source"] = source.record
    if starts is not None:
        values = _starts_fields(starts).items()
        record["starts"] = {name: value for name, value in values if not isinstance(value, np.ndarray)}
        record["training"] = asdict(estimator._training)
    return {"estimator": type(estimator).__name__} | {
        name: json.dumps(value, default=_plain) for name, value in record.items()
    }


def _starts_fields(starts: Starts) -> dict[str, Any]:
    return {field.name: getattr(starts, field.name) for field in fields(starts) if field.name != "optima"}


def restore_em(estimator: Any, tree: "xr.DataTree") -> None:
    """Give a `GaussianMixture` with the parameters of a tree its attributes."""
    from bayesgmm.posterior import check_prior

    others, names, prior = (json.loads(str(tree.attrs[name])) for name in ("others", "feature_names", "prior"))
    component = component_of(estimator.component, estimator.dof)
    component = component if prior is None else component.with_prior
    mixtures = _mixtures_in(tree["mixtures"].to_dataset(), family_of(estimator), component)
    first, *optima = _with_noise(tree, mixtures)
    estimator.noise_, estimator.noise_weight_ = noise_of(first)
    for name, variable in tree["parameters"].data_vars.items():
        setattr(estimator, str(name), variable.to_numpy())
    for name in _OTHERS:
        if name in others:
            setattr(estimator, name, others[name])
    if names is not None:
        estimator.feature_names_in_ = np.array(names, dtype=object)
    estimator._record = Attributes.of(estimator), first
    if "starts" not in tree.children:
        return
    _check_parameters(estimator, first.family, first.means.shape)
    estimator.prior_ = None if prior is None else prior_of(prior)
    if prior is not None:
        check_prior(estimator.prior_, first)
    arrays: dict[str, Any] = {str(name): found.to_numpy() for name, found in tree["starts"].data_vars.items()}
    rest = json.loads(str(tree.attrs["starts"]))
    estimator.starts_ = Starts(**arrays, **{**rest, "kinds": tuple(rest["kinds"])}, optima=tuple(optima))
    estimator.history_ = tree["history"]["objective"].to_numpy()
    estimator._training = Measured(**json.loads(str(tree.attrs["training"])))
    if "source" in tree.attrs:
        estimator.source_ = source_of(tree, tree["sample"]["rows"].to_numpy())


def source_of(tree: "xr.DataTree", rows: Rows) -> FittedSource:
    """What a file has of rows on disk."""
    kept = json.loads(str(tree.attrs["source"]))
    return FittedSource(**{**kept, "paths": tuple(kept["paths"])}, sample=np.asfortranarray(rows))


def prior_of(numbers: Mapping[str, Any]) -> Prior:
    """The prior of the numbers that a file has."""
    from bayesgmm.posterior import prior_from_json

    return prior_from_json(json.dumps(numbers))


def generator_of(random_state: Any) -> Any:
    """``random_state`` as it was, from what a file has."""
    if not isinstance(random_state, dict):
        return random_state
    generator = np.random.RandomState()
    generator.set_state(random_state["state"])
    return generator


def _check_parameters(estimator: Any, family: CovarianceFamily, shape: tuple[int, int]) -> None:
    """Raise unless parameters and attributes are those of one fit."""
    asked = (estimator.n_components, family_of(estimator))
    if asked != (shape[0], family):
        raise InputError(
            expected=f"n_components={shape[0]} and covariance_type={family.name!r}, as fitted",
            got=f"{asked[0]} and {asked[1].name!r}",
            hint="Fit again after setting parameters.",
        )
    in_family = "scales_" if hasattr(estimator, "scales_") else "covariances_"
    shapes = {"weights_": shape[:1], "means_": shape, in_family: family.covariances_shape(*shape)}
    for name, expected in shapes.items():
        if getattr(estimator, name).shape != expected:
            raise InputError(expected=f"{name} of shape {expected}", got=f"{getattr(estimator, name).shape}")


# ---- mixtures


def _dims(part: str, family: CovarianceFamily, *, n_dims: int) -> tuple[str, ...]:
    """Axes of an array of parameters."""
    if part in ("factors", "precision_factors"):
        return ("block", "row", "column")
    if part in ("weights", "means", "log_scale", "dof"):
        return ("cluster", "feature")[:n_dims]
    first = () if family.shared and family.in_scikit_learn and n_dims < 3 else ("cluster",)
    return (*first, "feature", "feature_bis")[:n_dims]


def _named(name: str, value: Any, family: CovarianceFamily) -> tuple[tuple[str, ...], Any]:
    array = np.asarray(value)
    return _dims(name.rstrip("_"), family, n_dims=array.ndim), array


def _mixtures_dataset(mixtures: Sequence[Mixture]) -> "xr.Dataset":
    """Mixtures of one shape, one after the other: the fit, and the optima of its starts."""
    import xarray as xr

    family = mixtures[0].family
    parts, k = _parts_of(mixtures[0].component), mixtures[0].n_components
    stacked = {part: np.stack([getattr(mixture.components, part) for mixture in mixtures]) for part in parts}
    stacked["log_scale"] = stacked["log_scale"][:, :k]
    return xr.Dataset({part: (("mixture", *_dims(part, family, n_dims=v.ndim - 1)), v) for part, v in stacked.items()})


def _parts_of(component: Component) -> tuple[str, ...]:
    return (*_PARTS, "dof") if component.has_others else _PARTS


def _noise_dataset(noise: Uniform, mixtures: Sequence[Mixture]) -> "xr.Dataset":
    """The box of noise and its weight in each mixture."""
    import xarray as xr

    sides = {"axes": (("side", "feature"), noise.axes), "lower": ("side", noise.lower), "upper": ("side", noise.upper)}
    weights = np.array([noise_of(mixture)[1] for mixture in mixtures])
    numbers = {"volume": noise.volume, "given": int(noise.given)}
    return xr.Dataset({**sides, **numbers, "noise_weight": ("mixture", weights)})


def _with_noise(tree: "xr.DataTree", mixtures: list[Mixture]) -> list[Mixture]:
    """Mixtures with the noise that the file has, if it has any."""
    if "noise" not in tree.children:
        return mixtures
    kept = {str(name): found.to_numpy() for name, found in tree["noise"].data_vars.items()}
    weights = kept.pop("noise_weight").tolist()
    noise = Uniform(kept["axes"], kept["lower"], kept["upper"], float(kept["volume"]), bool(kept["given"]))
    return [NoisyMixture.of(mixture, noise, weight) for mixture, weight in zip(mixtures, weights, strict=True)]


def _mixtures_in(dataset: "xr.Dataset", family: CovarianceFamily, component: Component) -> list[Mixture]:
    """The inverse of `_mixtures_dataset`, factors included, which covariances would give back but for rounding."""
    parts = _parts_of(component)
    stacked = {part: dataset[part].to_numpy() for part in parts}
    n, k, d = stacked["means"].shape
    blocks = (family.n_blocks(k), *family.block_shape(d))
    shapes = ((k,), (k, d), family.covariances_shape(k, d), blocks, blocks, (k,), (k,))
    for part, shape in zip(parts, shapes[: len(parts)], strict=True):
        if stacked[part].shape != (n, *shape):
            raise InputError(
                expected=f"{part} of {family.name} mixtures with shape {shape}", got=f"{stacked[part].shape}"
            )
    behind = stacked.get("dof", np.empty((n, 0))), np.tile(component.start(k)[k:], (n, 1))
    stacked["log_scale"] = np.hstack([stacked["log_scale"], *behind])
    of_each: Any = zip(*(stacked[part] for part in _PARTS), [component] * n, strict=True)
    return [Mixture.from_checked(family, *parts_of_one) for parts_of_one in of_each]
