"""Schema of the posterior DataTree: draws, data, the EM start and the record of the run.

Groups: ``posterior`` (weights, means, covariances; covariances are full matrices for every family, but variances take
their place where matrices are diagonal and would take more than 256 MB, see `with_covariances`; hyperparameters that
have a prior, see `with_hyperparameters`),
``sample_stats`` (nutpie's, and ``permutation``: the component behind each label), ``observed_data`` (y),
``constant_data`` (the EM solution that started the chains, hyperparameters, ``row_weights`` if rows have weights,
``allowed`` (obs, cluster) if some have labels).
Where components are Student-t, ``posterior`` has their scale matrices as ``scales`` in place of covariances, which are
dof / (dof - 2) times as large and infinite for dof <= 2 (see `with_covariances`), and ``dof``, one number a component.
Where there is noise, ``posterior`` has ``noise_weight``, with which weights sum to one, and ``constant_data`` its box.
Root attributes describe the run.
"""

import json
import platform
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from bayesgmm._common import Array, IntArray, PerRow, Rows
from bayesgmm.data import N_LABELLED, Allowed, alike_components
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Component, CovarianceFamily, Draws, Equivariance, Mixture, component_of, covariance_family
from bayesgmm.noise import NOISE_WEIGHT, Uniform, noise_of
from bayesgmm.priors import FORMS, Gamma, Model, Prior, Separation, Wishart
from bayesgmm.validation import as_covariance

CLUSTER, FEATURE, FEATURE_BIS, OBS = "cluster", "feature", "feature_bis", "obs"
SAMPLE_DIMS = ("chain", "draw")
PARAMETERS = {
    "weights": (CLUSTER,),
    "means": (CLUSTER, FEATURE),
    "covariances": (CLUSTER, FEATURE, FEATURE_BIS),
    "variances": (CLUSTER, FEATURE),  # in place of diagonal covariances
    "scales": (CLUSTER, FEATURE, FEATURE_BIS),  # in place of covariances, of components that have dof
    "dof": (CLUSTER,),
}
_FULL, _COMPACT = ("weights", "means", "covariances"), ("weights", "means", "variances")
_WITH_DOF = ("weights", "means", "scales", "dof")
_OF_DRAWS = {"scales": "covariances"}  # names in `Draws`
COMPONENT = "component"  # attribute with the name and the dof of components, where they are not Gaussian
ALIKE = "alike"  # attribute with `alike_components`, of a fit with labels
_GAUSSIAN = '{"component": "gaussian"}'
LARGEST = 256 * 2**20  # bytes of full diagonal matrices above which variances are kept
_HYPERPARAMETERS: dict[str, tuple[str, ...]] = {"prior_scale": (FEATURE, FEATURE_BIS), "prior_concentration": ()}
_HYPERPRIORS: dict[str, Any] = {"scale_prior": Wishart, "concentration_prior": Gamma, "variances": Separation}
_PACKAGES = ("bayesgmm", "numpy", "numba", "nutpie", "xarray")


def draws_of(tree: xr.DataTree, *, groups: Sequence[str] = ("posterior",)) -> Draws:
    """All draws of a posterior, chains end to end, and those of further groups after them."""
    family, component, parts, n_chains = _family_of(tree), _component_of(tree), [], 0
    for group in groups:
        arrays = [tree[group][name].to_numpy() for name in _held(tree[group].data_vars, tree)]
        draws = Draws(*arrays[:3], family=family).with_component(component, *(arrays[3:] or [None]))
        parts.append(_with_noise(tree, group, draws).end_to_end(first=n_chains))
        n_chains += tree[group].sizes["chain"]
    return Draws.joined(parts)


def _component_of(tree: xr.DataTree) -> Component:
    """The distribution of the components of a posterior."""
    return component_of(**json.loads(str(tree.attrs.get(COMPONENT, _GAUSSIAN)))).with_prior


def noise_of_tree(tree: xr.DataTree) -> Uniform | None:
    """The box of noise that a posterior has, if it has noise."""
    if "constant_data" not in tree.children or "noise_volume" not in tree["constant_data"]:
        return None
    kept = tree["constant_data"]
    axes, lower, upper = (kept[f"noise_{name}"].to_numpy() for name in ("axes", "lower", "upper"))
    return Uniform(axes, lower, upper, float(kept["noise_volume"]), bool(kept["noise_given"]))


def _with_noise(tree: xr.DataTree, group: str, draws: Draws) -> Draws:
    """Draws (chain, draw), with noise if the posterior has it."""
    noise = noise_of_tree(tree)
    if noise is None:
        return draws
    return draws.with_noise(noise, tree[group][NOISE_WEIGHT].transpose(*SAMPLE_DIMS).to_numpy())


def _noise_constants(start: Mixture) -> dict[str, tuple[tuple[str, ...], Any]]:
    """The box of noise that a start has, and its weight there."""
    noise, weight = noise_of(start)
    return {} if noise is None else {**noise.constants, f"em_{NOISE_WEIGHT}": ((), weight)}


def aligned(reference: Mixture, draws: Draws, *, alike: IntArray) -> tuple[Draws, IntArray]:
    """Draws in the reference's labels, and the permutations (sample, cluster) applied to them.

    Components with the same number in ``alike`` (cluster,) may change places. If none may, as under a prior or labels
    that tell all of them apart, every permutation is the identity.
    """
    if len(np.unique(alike)) == len(alike):
        return draws, np.broadcast_to(np.arange(draws.weights.shape[-1]), draws.weights.shape).copy()
    order = draws.order_like(reference, alike=alike)
    return draws.reordered(order), order


def posterior_tree(
    draws: Draws,
    stats: Mapping[str, Array | IntArray],
    *,
    X: Rows,
    feature_names: Sequence[str],
    start: Mixture,
    attributes: Mapping[str, str | int | float],
    hyperparameters: Mapping[str, tuple[tuple[str, ...], Array]] | None = None,
    row_weights: PerRow | None = None,
    allowed: Allowed | None = None,
) -> xr.DataTree:
    """Lay draws out as a DataTree that every ArviZ function takes.

    Parameters
    ----------
    draws : Draws
        From chains of equal length.
    stats : mapping
        Sample statistics (chain, draw), and last ``permutation`` (sample, cluster).
    X : (obs, feature)
    feature_names : sequence of str
    start : Mixture
        The EM solution that started the chains.
    attributes : mapping
        Description of the run; versions and time are added.
    hyperparameters : mapping, optional
        Dims and values by name, see `bayesgmm.priors.hyperparameter_values`.
    row_weights : (obs,), optional
        Frequency weights.
    allowed : (obs, cluster), optional
        The components that each row may come from.
    """
    features = list(feature_names)
    coords = {CLUSTER: np.arange(start.n_components), FEATURE: features, FEATURE_BIS: features}
    own = _WITH_DOF if start.component.has_others else _FULL
    held = _COMPACT if own is _FULL and start.family.diagonal and _full_size(draws) > LARGEST else own
    em = start.weights, start.means, start.full_covariances, start.dof
    constants = {f"em_{name}": (PARAMETERS[name], values) for name, values in zip(own, em, strict=False)}
    fixed = xr.Dataset({**constants, **_noise_constants(start), **(hyperparameters or {})}, coords)
    of_rows = {"row_weights": ((OBS,), row_weights), "allowed": ((OBS, CLUSTER), allowed)}
    known = {name: (dims, values) for name, (dims, values) in of_rows.items() if values is not None}
    if known:
        fixed = fixed.assign_coords({OBS: np.arange(len(X))}).assign(known)
    shape = next(iter(stats.values())).shape[:2]
    names = held if draws.noise is None else (*held, NOISE_WEIGHT)
    groups = {
        "posterior": _sample_dataset(
            {name: getattr(draws, _OF_DRAWS.get(name, name)) for name in names}, shape, coords
        ),
        "sample_stats": _sample_dataset(stats, shape, {CLUSTER: coords[CLUSTER]}),
        "observed_data": xr.Dataset({"y": ((OBS, FEATURE), X)}, {OBS: np.arange(len(X)), FEATURE: features}),
        "constant_data": fixed,
    }
    tree = xr.DataTree.from_dict(groups)
    record = {COMPONENT: json.dumps(start.component.record)} if start.component.has_others else {}
    tree.attrs = {**attributes, **record, **({} if allowed is None else _labels_record(allowed)), **provenance()}
    return tree


def _labels_record(allowed: Allowed) -> dict[str, str | int]:
    """Attributes that stay where rows are replaced."""
    n_labelled = int((~allowed.all(axis=1)).sum())
    return {N_LABELLED: n_labelled, ALIKE: json.dumps(alike_components(allowed).tolist())}


def with_hyperparameters(tree: xr.DataTree, *, rng: np.random.Generator) -> xr.DataTree:
    """Add draws of hyperparameters, given the other draws, if the prior has a distribution of them.

    ``prior_scale`` (chain, draw, feature, feature_bis) and ``prior_concentration`` (chain, draw): whatever the engine,
    hyperparameters are integrated out or discarded in sampling, and drawn from their exact conditional here.
    """
    prior, posterior = model_of(tree).prior, tree["posterior"].to_dataset()
    if prior is None or (prior.scale_prior is None and prior.concentration_prior is None):
        return tree
    draws, shape = draws_of(tree), posterior["weights"].shape[:2]
    drawn = prior.hyperparameters_given(draws.weights, draws.precision_factors, rng=rng)
    named = {
        name: ((*SAMPLE_DIMS, *_HYPERPARAMETERS[name]), value.reshape(*shape, *value.shape[1:]))
        for name, value in drawn.items()
    }
    tree["posterior"] = xr.DataTree(posterior.assign(named))
    return tree


def with_covariances(tree: xr.DataTree) -> xr.DataTree:
    r"""The posterior with full covariances, which `BayesianGaussianMixture` leaves out where other numbers say all.

    Parameters
    ----------
    tree : DataTree
        A posterior of this package. Thin it first if it is large.

    Returns
    -------
    DataTree
        A copy whose group ``posterior`` has ``covariances`` (chain, draw, cluster, feature, feature_bis) in place of
        ``variances`` (chain, draw, cluster, feature): those on the diagonal, zeros elsewhere; or, of Student-t
        components, beside their ``scales``: :math:`\nu / (\nu - 2)` times as large, infinite for :math:`\nu \le 2`.
        The tree itself if it has covariances.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture
    >>> from bayesgmm.datasets import load_old_faithful
    >>> from bayesgmm.posterior import with_covariances
    >>> fit = BayesianGaussianMixture(2, covariance_type="diag", random_state=1, progress=False)
    >>> tree = fit.fit(load_old_faithful()).posterior_
    >>> dict(with_covariances(tree)["posterior"]["covariances"].sizes)
    {'chain': 4, 'draw': 1000, 'cluster': 2, 'feature': 2, 'feature_bis': 2}
    """
    posterior, dims = tree["posterior"].to_dataset(), (*SAMPLE_DIMS, *PARAMETERS["covariances"])
    if "covariances" in posterior:
        return tree
    draws = draws_of(tree)
    factors = np.broadcast_to(draws.component.covariance_factors(draws.dof), draws.weights.shape)[..., None, None]
    exist = np.isfinite(factors)
    matrices = np.where(exist, np.where(exist, factors, 1.0) * draws.covariances, np.inf)
    shaped = matrices.reshape(*posterior["weights"].shape[:2], *matrices.shape[1:])
    full = posterior.assign(covariances=(dims, shaped)).assign_coords({FEATURE_BIS: posterior[FEATURE].to_numpy()})
    result = tree.copy()
    result["posterior"] = xr.DataTree(full.drop_vars("variances", errors="ignore"))
    return result


def _held(variables: Iterable[Hashable], tree: xr.DataTree) -> tuple[str, ...]:
    """Names of the parameters among a posterior's variables."""
    if _component_of(tree).has_others:
        return _WITH_DOF
    compact = {"variances", "covariances"} & {*variables} == {"variances"}
    return _COMPACT if _family_of(tree).diagonal and compact else _FULL


def _full_size(draws: Draws) -> int:
    """Bytes of the full covariances of draws."""
    return draws.means.nbytes * draws.means.shape[-1]


def _sample_dataset(
    variables: Mapping[str, Array | IntArray], shape: tuple[int, ...], coords: Mapping[str, object]
) -> xr.Dataset:
    """Variables by name, their draws laid out as (chain, draw)."""
    data = {}
    for name, values in variables.items():
        own = PARAMETERS.get(name, (CLUSTER,) if name == "permutation" else ())
        data[name] = ((*SAMPLE_DIMS, *own), values.reshape(*shape, *values.shape[values.ndim - len(own) :]))
    sample = {dim: np.arange(size) for dim, size in zip(SAMPLE_DIMS, shape, strict=True)}
    return xr.Dataset(data, {**sample, **coords})


def provenance() -> dict[str, str]:
    """Attributes with the time and the versions of a fit."""
    versions = {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()}
    return {"created_at": datetime.now(UTC).isoformat(timespec="seconds"), "versions": json.dumps(versions)}


def in_order(tree: xr.DataTree) -> xr.DataTree:
    """A posterior of this package, its dimensions in the order that they are written in.

    Raises
    ------
    InputError
        Weights, means or covariances are missing, or have lost or gained a dimension.
    """
    draws = tree["posterior"].to_dataset()
    wanted = {name: (*SAMPLE_DIMS, *PARAMETERS[name]) for name in _held(draws, tree)}
    found = {name: draws[name].dims if name in draws else () for name in wanted}
    if found == wanted:
        return tree
    for name, dims in wanted.items():
        if {*found[name]} != {*dims}:
            raise InputError(
                expected=f"a posterior with {name} {dims}",
                got=f"{found[name] or 'none'}",
                hint="Keep all dimensions, as in isel(chain=[0]).",
            )
    result = tree.copy()
    order = (*SAMPLE_DIMS, *PARAMETERS["covariances"])
    result["posterior"] = xr.DataTree(draws.transpose(*order, ..., missing_dims="ignore"))
    return result


def model_of(tree: xr.DataTree, prior: Prior | None = None) -> Model:
    """The model that a posterior was sampled from, with its prior or the one given."""
    if prior is None and "prior" in tree.attrs:
        prior = prior_from_json(str(tree.attrs["prior"]))
    k, d = (tree["posterior"]["means"].sizes[dim] for dim in (CLUSTER, FEATURE))
    model = Model.of(str(tree.attrs["covariance_type"]), k, d, prior=prior, component=_component_of(tree))
    return replace(model, alike=tuple(json.loads(str(tree.attrs[ALIKE])))) if ALIKE in tree.attrs else model


def start_mixture(tree: xr.DataTree) -> Mixture:
    """The EM solution stored with a posterior."""
    data = tree["constant_data"]
    component, noise = _component_of(tree), noise_of_tree(tree)
    names = _WITH_DOF if component.has_others else _FULL
    weights, means, covariances, *dof = (data[f"em_{name}"].to_numpy() for name in names)
    if noise is None:
        found = in_family(Mixture(weights, means, covariances), _family_of(tree))
        return found.with_component(component, *dof) if dof else found
    components = in_family(Mixture(weights / weights.sum(), means, covariances), _family_of(tree))
    return noise.beside(components, float(data[f"em_{NOISE_WEIGHT}"]))


def in_family(mixture: Mixture, family: CovarianceFamily) -> Mixture:
    """A mixture with full covariances, rewritten in the shape of its family."""
    return Mixture(mixture.weights, mixture.means, family.compress(mixture.full_covariances), family.name)


def _family_of(tree: xr.DataTree) -> CovarianceFamily:
    return covariance_family(str(tree.attrs["covariance_type"]))


def mean_mixture(tree: xr.DataTree) -> Mixture:
    """Posterior means of weights, means, covariances and degrees of freedom as a mixture of the fit's family."""
    draws = draws_of(tree)
    weights, means, covariances = draws.average
    components = in_family(Mixture(weights / weights.sum(), means, covariances, "full"), draws.family)
    if draws.dof is not None:
        return components.with_component(draws.component, draws.dof.mean(axis=0))
    return components if draws.noise is None else draws.noise.beside(components, 1.0 - float(weights.sum()))


def prior_to_json(prior: Prior) -> str:
    """A prior as JSON, every number exact."""
    return json.dumps(asdict(prior), default=lambda v: v.value if isinstance(v, Equivariance) else v.tolist())


def prior_from_json(text: str) -> Prior:
    """The inverse of `prior_to_json`."""
    return Prior(**{name: _prior_field(name, value) for name, value in json.loads(text).items()})


def _prior_field(name: str, value: Any) -> Any:
    if value is None or name == "form":
        return value
    if name == "equivariance":
        return Equivariance(value)
    if name in _HYPERPRIORS:
        return _HYPERPRIORS[name](**{k: v if np.isscalar(v) else np.asarray(v) for k, v in value.items()})
    return np.asarray(value, dtype=np.float64)


def check_posterior(tree: xr.DataTree, n_components: int, covariance_type: str) -> None:
    """Raise `InputError` unless the parts of a tree that was read agree with each other and with the estimator's."""
    missing = [name for name in ("posterior", "observed_data", "constant_data") if name not in tree.children]
    if missing or "covariance_type" not in tree.attrs:
        raise InputError(expected="a posterior of this package", got=f"one without its groups ({', '.join(missing)})")
    d = tree["observed_data"]["y"].sizes[FEATURE]
    sizes = {CLUSTER: n_components, FEATURE: d, FEATURE_BIS: d}
    held = _held(tree["posterior"].data_vars, tree)
    of_start = held if _component_of(tree).has_others else _FULL
    for group, names, prefix, leading in (("posterior", held, "", SAMPLE_DIMS), ("constant_data", of_start, "em_", ())):
        for name in names:
            found, dims = tree[group][prefix + name], PARAMETERS[name]
            if found.dims != (*leading, *dims) or any(found.sizes[dim] != sizes[dim] for dim in dims):
                wanted = ", ".join(f"{dim}: {sizes[dim]}" for dim in dims)
                raise InputError(expected=f"{group}/{prefix}{name} with {wanted}", got=f"{dict(found.sizes)}")
    family = covariance_family(covariance_type, d)
    if covariance_family(str(tree.attrs["covariance_type"]), d) is not family:
        raise InputError(expected=f"{family.name} covariances", got=f"{tree.attrs['covariance_type']} ones")
    start, shown = start_mixture(tree), tree["constant_data"][f"em_{of_start[2]}"].to_numpy()
    if not np.allclose(start.full_covariances, shown, rtol=1e-6, atol=0.0):
        raise InputError(expected=f"{family.name} covariances", got="those of another family")
    check_prior(prior_from_json(str(tree.attrs["prior"])), start)


def check_prior(prior: Prior, mixture: Mixture) -> None:
    """Raise `InputError` unless every number of a prior has the shape that the parameters ask for."""
    if prior.form not in FORMS or (prior.kappa is None) == (prior.mean_covariance is None):
        raise InputError(expected=f"a prior that is {' or '.join(FORMS)}", got=f"{prior.form!r} with other parts")
    matrices = {"scale": prior.scale, "mean_covariance": prior.mean_covariance}
    if prior.scale_prior is not None:
        matrices["scale of the scale"] = prior.scale_prior.scale
    for name, value in matrices.items():
        if value is not None:
            as_covariance(value, n_features=mixture.n_features, name=f"the prior's {name}")
    if prior.variances is not None and prior.variances.variance_shape.shape != (mixture.n_features,):
        raise InputError(
            expected=f"variances of {mixture.n_features} features in the prior",
            got=f"shape {prior.variances.variance_shape.shape}",
        )
    Model.of_mixture(mixture, prior)
