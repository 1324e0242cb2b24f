"""Combine chains that stay in different modes, by the posterior weights of the modes."""

import json
from dataclasses import replace

import arviz_stats as azs
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm._common import Array, IntArray, PerRow
from bayesgmm.data import Data
from bayesgmm.evidence.mode_weights import Target, draws_as_they_are, in_proportion, pool, weigh_modes
from bayesgmm.evidence.modes import Modes, find_modes
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws
from bayesgmm.noise import refuse_noise
from bayesgmm.partitions import Labels, monte_carlo_errors
from bayesgmm.posterior import (
    CLUSTER,
    NO_NAMES,
    OBS,
    PARAMETERS,
    SAMPLE_DIMS,
    Names,
    Posterior,
    aligned,
    data_of,
    draws_of,
    mixture_posterior,
    model_of,
    start_mixture,
    with_hyperparameters,
)
from bayesgmm.prediction import log_densities
from bayesgmm.priors import Prior
from bayesgmm.validation import as_finite, check_option, check_type, generator_of

UNPOOLED, UNPOOLED_STATS, EXPLORATORY = "unpooled_posterior", "unpooled_sample_stats", "scouts_posterior"
_DERIVED = ("log_likelihood", "posterior_predictive")
EVIDENCE, VISITS = "evidence", "visits"
WEIGHTS = (EVIDENCE, "stacking")
_STACKING_STEPS, _STACKED = 100_000, 1e-9
_DRAWS_PER_MODE, _VALUES = 500, 20_000_000  # for stacking: draws of a mode, and log densities held at once


def combine_modes(
    posterior: Posterior,
    X: ArrayLike | Data | None = None,
    *,
    weights: str = "evidence",
    prior: Prior | None = None,
    names: Names = NO_NAMES,
    random_state: int | None = None,
) -> xr.DataTree:
    r"""Resample a posterior whose chains stay in different modes, in proportion to the weights of the modes.

    Chains that stay in one mode do not estimate its weight. With ``"evidence"`` mode m has the
    weight :math:`Z_m / \sum_j Z_j`, where :math:`Z_m = \int_{A_m} p(X \mid \theta)\, p(\theta)\, d\theta` is taken
    by bridge sampling over the mode's own region, in all labellings: the result is the posterior, if there are
    no further modes. ``"stacking"`` maximises the leave-one-out log predictive density
    :math:`\sum_i \log \sum_m w_m p(x_i \mid x_{-i}, A_m)`: better for prediction if the model is wrong, but not the
    posterior.

    Modes are told apart by the labels of 4,000 random rows if there are more: they may be taken for one mode if they
    differ in fewer than one row in a thousand.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset or mapping
        See `bayesgmm.posterior.mixture_posterior`.
    X : (obs, feature), optional
    weights : {"evidence", "stacking"}
    prior : Prior, optional
        The prior of the model, needed for evidences if the posterior was not fitted by this package.
    names : mapping, optional
    random_state : int, optional

    Returns
    -------
    DataTree
        As many draws as before. With evidences they are resampled from the draws of every mode together with the
        proposals of bridge sampling, with importance weights, so that the time chains spent in parts of a mode does
        not matter. ``sample_stats`` holds the ``mode`` of each and the ``source``: its index in the chains, end to
        end (exploratory chains last), -1 for a proposal. The original chains are in ``unpooled_posterior`` and
        ``unpooled_sample_stats``; ``attrs["modes"]`` is a JSON list of weights, standard errors, evidences and
        effective sizes. R-hat of resampled draws is meaningless: use `diagnose`. If there is one mode, the posterior
        is returned unchanged.

    Raises
    ------
    InputError
        For unknown weights, or evidences without a prior.

    References
    ----------
    Meng & Wong (1996); Frühwirth-Schnatter (2004); Yao, Vehtari & Gelman (2022) for stacking.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture, combine_modes
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> combine_modes(fit) is fit.posterior_  # one mode: nothing to combine
    True
    """
    check_option(WEIGHTS, weights=weights)
    check_type(Prior, optional=True, prior=prior)
    rng = generator_of(random_state)
    tree = mixture_posterior(posterior, X, names=names)
    refuse_noise(tree, "weights of modes")
    model_of(tree).component.check_gaussian("weights of modes")
    if weights == "evidence" and prior is None and "prior" not in tree.attrs:
        raise InputError(expected="a prior", got="none", hint='Pass prior=, or weights="stacking".')
    raw, data = unpooled(tree), data_of(tree, X, all_for="evidences" if weights == "evidence" else "")
    points = points_of_tree(raw)
    modes = find_modes(points, data, rng=rng)
    if not modes.separate:
        return tree
    if weights == "evidence":
        modes = weigh_modes(modes, points, Target(data, model_of(tree, prior)), rng=rng)
        if in_proportion(modes, points.chain, raw["posterior"].sizes["chain"]):
            return tree
    else:
        modes = stacked(modes, points, data)
    if not any(mode.weight > 0 for mode in modes.modes):  # too few draws of each for weights
        return tree
    return _pooled_tree(raw, modes, rng=rng, weights=weights)


def unpooled(tree: xr.DataTree) -> xr.DataTree:
    """The tree with its chains as sampled."""
    if UNPOOLED not in tree.children:
        return tree
    groups = {"posterior": UNPOOLED, "sample_stats": UNPOOLED_STATS}
    raw = _without_derived(tree)
    for own, kept in groups.items():
        if kept in tree.children:
            raw[own] = xr.DataTree(tree[kept].to_dataset())
            del raw[kept]
    raw.attrs = {name: value for name, value in tree.attrs.items() if name not in ("modes", "mode_weights")}
    return raw


def _without_derived(tree: xr.DataTree) -> xr.DataTree:
    """A copy without groups that were computed from its draws."""
    return tree.filter(lambda node: node.name not in _DERIVED)


def is_resampled(tree: xr.DataTree) -> bool:
    """Whether draws were resampled from modes, so that their order tells nothing."""
    return tree.attrs.get("mode_weights") in WEIGHTS


def points_of_tree(tree: xr.DataTree) -> Draws:
    """The draws of a posterior, chains end to end, followed by those of exploratory chains if they are stored."""
    return draws_of(tree, groups=[group for group in ("posterior", EXPLORATORY) if group in tree.children])


def _pooled_tree(tree: xr.DataTree, modes: Modes, *, rng: np.random.Generator, weights: str) -> xr.DataTree:
    """A posterior resampled by the weights of its modes; the original chains are kept."""
    draws = tree["posterior"].to_dataset()
    shape = (draws.sizes["chain"], draws.sizes["draw"])
    chosen = pool(modes, shape[0] * shape[1], rng=rng)
    points, stats, dims = chosen.points, {"mode": chosen.mode, "source": chosen.source}, [*SAMPLE_DIMS]
    if "constant_data" in tree.children:  # in the labels of the EM solution: those of proposals are arbitrary
        points, order = aligned(start_mixture(tree), points, alike=model_of(tree).interchangeable)
        stats["permutation"], dims = order, [*dims, CLUSTER]
    arrays = {name: getattr(points, name).reshape(draws[name].shape) for name in PARAMETERS if name in draws}
    pooled = _without_derived(tree)
    pooled["posterior"] = xr.DataTree(draws.assign({k: (draws[k].dims, v) for k, v in arrays.items()}))
    pooled[UNPOOLED] = xr.DataTree(draws)
    if "sample_stats" in tree.children:
        pooled[UNPOOLED_STATS] = xr.DataTree(tree["sample_stats"].to_dataset())
    laid_out = {k: (dims[: 1 + v.ndim], v.reshape(*shape, *v.shape[1:])) for k, v in stats.items()}
    pooled["sample_stats"] = xr.DataTree(xr.Dataset(laid_out, {dim: draws.coords[dim] for dim in dims}))
    pooled.attrs = {**tree.attrs, "modes": json.dumps(modes_record(modes)), "mode_weights": weights}
    return with_hyperparameters(pooled, rng=rng)


def modes_record(modes: Modes, row_weights: PerRow | None = None) -> list[dict[str, object]]:
    """The modes in types that JSON can store; of weighted rows with the weight of each cluster."""
    return [
        {
            "weight": mode.weight,
            "weight_se": mode.weight_se,
            "log_evidence": None if mode.bridge is None else mode.bridge.log_z,
            "log_evidence_se": None if mode.bridge is None else mode.bridge.se,
            "n_clusters": mode.n_clusters,
            "cluster_sizes": sorted(_sizes(mode.centre, row_weights), reverse=True),
            "n_draws": mode.n_draws,
            "chains": mode.chains,
            "mean_log_likelihood": mode.mean_log_likelihood,
            "effective_size": None if mode.sample is None else mode.sample.effective_size,
        }
        for mode in modes.modes
    ]


def _sizes(labels: Labels, row_weights: PerRow | None) -> list[float]:
    sizes = np.bincount(labels, weights=row_weights)
    return [float(size) if size % 1.0 else int(size) for size in sizes[sizes > 0]]


def mode_mean(values: ArrayLike, tree: xr.DataTree) -> tuple[float, float]:
    r"""Posterior mean of a quantity over weighted modes, and its standard error.

    Of draws that were resampled by the evidences of modes

    .. math:: \bar g = \sum_m w_m \bar g_m, \quad
        se^2 = \sum_m se(w_m)^2 (\bar g_m - \bar g)^2 + \sum_m w_m^2\, var_m(g) (1 / n_m + 1 / r_m)

    with :math:`n_m` the effective size of mode m's sample and :math:`r_m` the draws resampled from it. Of chains that
    visit all modes it is the mean of the draws, with the Monte Carlo error of chains.

    Parameters
    ----------
    values : (chain, draw)
        The quantity at the draws of the posterior.
    tree : DataTree
        A fit with several modes, or the result of `combine_modes` with ``weights="evidence"``.

    Returns
    -------
    mean, standard error : float

    Raises
    ------
    InputError
        ``tree`` has no record of modes, or ``values`` are not one number per draw.
    """
    flat, labels, record = _of_modes(values, tree)
    if not is_resampled(tree):
        chains = flat.reshape(tree["posterior"].sizes["chain"], -1)
        return float(flat.mean()), float(monte_carlo_errors(chains[None])[0])
    own = [(mode, flat[labels == m]) for m, mode in enumerate(record) if (labels == m).any()]
    weights, errors, sizes = (
        np.array([mode[name] for mode, _ in own]) for name in ("weight", "weight_se", "effective_size")
    )
    means, variances, counts = (np.array([moment(part) for _, part in own]) for moment in (np.mean, np.var, len))
    mean = float(weights @ means / weights.sum())
    return mean, float(np.sqrt(errors**2 @ (means - mean) ** 2 + weights**2 @ (variances / sizes + variances / counts)))


def mode_mean_range(values: ArrayLike, tree: xr.DataTree) -> tuple[float, float]:
    """The range of a posterior mean if all the weight that modes may have that were not met were at one that was.

    At the one with the smallest mean of the quantity, or with the largest, with the bound of that weight,
    ``posterior_.attrs["missing"]``. The range is no interval: it tells how much may depend on what was not met.

    Parameters
    ----------
    values : (chain, draw)
        The quantity at the draws of the posterior.
    tree : DataTree
        A fit of which modes were searched by random starts.

    Returns
    -------
    lowest, highest : float

    Raises
    ------
    InputError
        ``tree`` has no record of modes or of what may be missing, or ``values`` are not one number per draw.
    """
    flat, labels, _ = _of_modes(values, tree)
    if "missing" not in tree.attrs:
        raise InputError(expected="a fit of which modes were searched by random starts", got="one without the record")
    share, mean = float(tree.attrs["missing"]), mode_mean(values, tree)[0]
    means = [flat[labels == m].mean() for m in np.unique(labels)]
    return float((1.0 - share) * mean + share * min(means)), float((1.0 - share) * mean + share * max(means))


def _of_modes(values: ArrayLike, tree: xr.DataTree) -> tuple[Array, IntArray, list[dict[str, float]]]:
    """The quantity and the mode of every draw, and the record of the modes."""
    if not isinstance(tree, xr.DataTree) or "modes" not in tree.attrs:
        raise InputError(expected="a posterior with several modes", got="one without a record of its modes")
    given = np.asarray(values)
    flat = as_finite(given.astype(np.float64) if given.dtype == bool else given, name="values").ravel()
    labels = tree["sample_stats"]["mode"].to_numpy().ravel()
    if flat.shape != labels.shape:
        raise InputError(expected=f"a value for each of {len(labels)} draws", got=f"{len(flat)}")
    return flat, labels, json.loads(str(tree.attrs["modes"]))


def stacked(modes: Modes, points: Draws, data: Data) -> Modes:
    """Stacking weights, by leave-one-out cross-validation of each mode (Yao, Vehtari & Gelman 2022).

    One copy of a weighted row is left out at a time, and its term counts with the weight.
    """
    found = {}
    for m, mode in enumerate(modes.modes):
        own = np.flatnonzero(modes.labels == m)
        most = max(20, min(_DRAWS_PER_MODE, _VALUES // data.shape[0]))
        own = own[np.unique(np.linspace(0, len(own) - 1, most).astype(np.int64))]
        if mode.n_draws:
            found[m] = azs.loo(_with_log_likelihood(points[own], data), pointwise=True).elpd_i.to_numpy()
    best = dict(zip(found, stacking_weights(np.stack(list(found.values())), data.row_weights), strict=True))
    weights = [float(best.get(m, 0.0)) for m in range(len(modes.modes))]
    samples = [draws_as_they_are(points, np.flatnonzero(modes.labels == m)) for m in range(len(modes.modes))]
    triples = zip(modes.modes, weights, samples, strict=True)
    return replace(modes, modes=tuple(replace(mode, weight=w, sample=own) for mode, w, own in triples))


def stacking_weights(elpd: Array, row_weights: PerRow | None = None) -> Array:
    r"""Weights (mode,) that maximise :math:`\sum_i v_i \log \sum_m w_m \exp(elpd_{mi})`, for elpd (mode, obs).

    By EM for the weights of a mixture whose components are known; the objective is concave.
    """
    density = np.exp(elpd - elpd.max(axis=0))
    v = np.ones(elpd.shape[1]) if row_weights is None else row_weights
    weights: Array = np.full(len(elpd), 1.0 / len(elpd))
    for _ in range(_STACKING_STEPS):
        shares = weights[:, None] * density
        before, weights = weights, (shares / shares.sum(axis=0)) @ v / v.sum()
        if np.abs(weights - before).max() < _STACKED:
            break
    return weights


def _with_log_likelihood(points: Draws, data: Data) -> xr.DataTree:
    values, dims = log_densities(points, data), (*SAMPLE_DIMS, OBS)
    posterior = xr.Dataset({"weights": (("chain", "draw", "cluster"), points.weights[None])})
    return xr.DataTree.from_dict({"posterior": posterior, "log_likelihood": xr.Dataset({"y": (dims, values[None])})})
