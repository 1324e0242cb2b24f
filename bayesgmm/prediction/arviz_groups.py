"""One DataTree for ArviZ: parameters, likelihood, prior and predictions of a posterior, a variable for each feature."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm._common import Array
from bayesgmm.data import Data
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws
from bayesgmm.noise import NOISE_PRIOR, NOISE_WEIGHT, log_noise_prior
from bayesgmm.posterior import (
    CLUSTER,
    FEATURE,
    NO_NAMES,
    OBS,
    SAMPLE_DIMS,
    Names,
    Posterior,
    aligned,
    data_of,
    draws_of,
    mean_mixture,
    mixture_posterior,
    model_of,
    start_mixture,
)
from bayesgmm.prediction.densities import log_densities
from bayesgmm.prediction.simulation import evenly_spaced, simulated_rows, without_row_weights
from bayesgmm.priors import Model, Prior
from bayesgmm.validation import check_option, check_type, check_whole, generator_of, texts

LARGEST = 2 * 2**30  # bytes
ROWS, REPEATS, PAIR = "y", "minus_repeats", "pair"
_OF_ROWS = ("log_likelihood", "posterior_predictive", "prior_predictive", "observed_data")
_OF_PRIOR = ("log_prior", "prior", "prior_predictive")

type Variable = tuple[tuple[str, ...], Array]  # dimensions beside chain and draw; values (draw, ...), chains end to end


def to_arviz(
    posterior: Posterior,
    X: ArrayLike | Data | None = None,
    *,
    groups: str | Iterable[str] | None = None,
    draws: int | None = None,
    prior: Prior | None = None,
    names: Names = NO_NAMES,
    random_state: int | None = None,
) -> xr.DataTree:
    r"""One DataTree on which ArviZ's functions work: all groups, equal draws, one variable for each feature.

    ========================  =====================================================================================
    ``posterior``             ``weights`` (cluster), ``means`` (cluster, feature), ``sds`` (cluster, feature) and
                              ``correlations`` (cluster, pair), the lower triangles. What does not vary is left out:
                              the weight of a single component, correlations of diagonal families, and the cluster
                              dimension of covariances that all components share; ``noise_weight`` where there is noise
    ``sample_stats``          one number for each draw: ``energy``, ``diverging``, ...
    ``log_likelihood``        ``y`` (obs), :math:`\log p(x_i \mid \theta^s)` of whole rows, again under the name of each
                              feature, and ``minus_repeats``, which subtracts the repetitions; see below
    ``log_prior``             ``mixture``, :math:`\log p(\theta^s)` of weights, means and covariances; hyperparameters
                              that have a prior are integrated out; with noise also ``noise_weight``, and weights
                              are those given that a row is no noise
    ``posterior_predictive``  each feature (obs) of replicated data, one data set for each draw
    ``prior``                 the variables of ``posterior``, as many draws from the prior
    ``prior_predictive``      each feature (obs) of a data set for each of these
    ``observed_data``         each feature (obs)
    ========================  =====================================================================================

    All variables but those of ``observed_data`` have the leading dimensions chain and draw. A slash in a feature's name
    becomes a bar, because a DataTree has no such names, and a name that is needed otherwise (``chain``, ``draw``,
    ``obs``, ``minus_repeats``) gets an underscore.

    **Rows are left out whole.** ArviZ takes the weights for predictions of a feature, in ``loo_pit``,
    ``loo_expectations`` and others, from the log likelihood of the same name: here that of the whole row, so that
    a feature is predicted without the row, not without this one number. So with several features
    ``log_likelihood`` has several variables, and ``loo``, ``compare`` and their like need ``var_name="y"``. With one
    feature it has only the feature's. ``psense`` takes the sum over all variables, to which repetitions add nothing
    thanks to ``minus_repeats``.

    **Prior and posterior have the same labels.** Labels of a prior are exchangeable: they do not name clusters, as
    those of the posterior do. So prior draws are labelled as a fit labels its draws, by matching them with the EM
    solution (with the posterior mean, if there is none). The prior of component k is that of the component most like
    cluster k, and ratios of densities, as ``bayes_factor`` takes them, compare like with like. They are approximate
    after `bayesgmm.relabel` by another method.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset or mapping
        See `bayesgmm.posterior.mixture_posterior`. `bayesgmm.relabel` it first if labels switch.
    X : (obs, feature), optional
        The rows of the fit; by default those stored with it. A fit of rows on disk stores a sample only: pass some of
        its rows; sensitivity to the likelihood is then sensitivity to these.
    groups : str or sequence of str, optional
        Some of the above; by default all for which rows and a prior are known.
    draws : int, optional
        Number of draws, evenly spaced; by default all. All groups have the same.
    prior : Prior, optional
        The prior of the model, if the posterior was not fitted by this package.
    names : mapping, optional
        Names of the posterior's variables.
    random_state : int, optional
        For predictions and draws from the prior.

    Returns
    -------
    DataTree
        A new one.

    Raises
    ------
    InputError
        A group is unknown, or needs rows or a prior that are not known; rows have weights (pass them repeated); or the
        groups would take more than 2 GiB: for each draw 8 bytes for each row and variable, and matrices; or the prior
        has draws that are no covariances in double precision.

    See Also
    --------
    bayesgmm.loo : leave-one-out with moment matching and refits, in little memory.
    bayesgmm.compute_log_likelihood : the log likelihood of whole rows only.

    References
    ----------
    Kallioinen, Paananen, Bürkner & Vehtari 2024, Statistics and Computing 34, for ``psense``; Dickey 1971, Annals of
    Mathematical Statistics 42, for ``bayes_factor``.

    Examples
    --------
    >>> import arviz_stats as azs
    >>> from bayesgmm import BayesianGaussianMixture, to_arviz
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> tree = to_arviz(fit, draws=1000, random_state=1)
    >>> list(tree["observed_data"].data_vars)
    ['eruptions', 'waiting']
    >>> round(float(azs.loo(tree, var_name="y").elpd))
    -1142
    >>> azs.loo_pit(tree)["waiting"].sizes["obs"]
    272
    """
    check_whole(optional=True, draws=draws)
    check_type(Prior, optional=True, prior=prior)
    rng = generator_of(random_state)
    asked = None if groups is None else texts(groups, "groups")
    for group in asked or ():
        check_option(_GROUPS, groups=group)
    tree = mixture_posterior(posterior, X, names=names)
    wanted = _known(tree, prior) if asked is None else asked
    if not wanted:
        raise InputError(expected="one group or more", got="none")
    source = _Source.of(_thinned(tree, draws), prior, wanted, rng=rng)
    return xr.DataTree.from_dict({group: _GROUPS[group](source) for group in _GROUPS if group in wanted})


def _known(tree: xr.DataTree, prior: Prior | None) -> list[str]:
    """The groups that a posterior and a prior suffice for."""
    missing = set() if "observed_data" in tree.children else {*_OF_ROWS}
    missing |= {*_OF_PRIOR} if model_of(tree, prior).prior is None else set()
    missing |= {"sample_stats"} - {*tree.children}
    return [group for group in _GROUPS if group not in missing]


def _thinned(tree: xr.DataTree, draws: int | None) -> xr.DataTree:
    """The posterior with evenly spaced draws of each chain."""
    sizes = tree["posterior"].sizes
    if draws is None:
        return tree
    chosen = {"draw": evenly_spaced(sizes["draw"], max(1, draws // sizes["chain"]))}
    thinned = tree.copy()
    for group in {"posterior", "sample_stats"} & {*tree.children}:
        thinned[group] = xr.DataTree(tree[group].to_dataset().isel(chosen))
    return thinned


@dataclass(frozen=True)
class _Source:
    """What the groups are made of.

    Attributes
    ----------
    tree : DataTree
    data : Data or None
        The rows, if a group needs them.
    model : Model
        With a prior, if a group needs it.
    rng : Generator
    """

    tree: xr.DataTree
    data: Data | None
    model: Model
    rng: np.random.Generator

    @classmethod
    def of(cls, tree: xr.DataTree, prior: Prior | None, groups: Sequence[str], *, rng: np.random.Generator) -> Self:
        """Checked: there are rows and a prior for the groups, and memory."""
        of_rows, of_prior = ([group for group in some if group in groups] for some in (_OF_ROWS, _OF_PRIOR))
        model = model_of(tree, prior)
        if of_prior and model.prior is None:
            raise InputError(expected=f"a prior for {', '.join(of_prior)}", got="none", hint="Pass prior=.")
        data = data_of(tree, all_for=", ".join(of_rows), some_do=True) if of_rows else None
        source = cls(tree, None if data is None else without_row_weights(data), model, rng)
        source._check_size(groups)
        return source

    def _check_size(self, groups: Sequence[str]) -> None:
        n, s = 0 if self.data is None else self.data.shape[0], len(self.draws)
        k, d = self.draws.means.shape[1:]
        matrices = k * d**2
        held = {
            "posterior": 0 if self.draws.family.diagonal else matrices,
            "log_likelihood": 2 * n,
            "posterior_predictive": n * d,
            "prior": matrices,
            "prior_predictive": n * d + matrices,
        }
        per_draw = 8 * sum(held.get(group, 0) for group in groups)
        if s * per_draw > LARGEST:
            raise InputError(
                expected=f"groups of at most {LARGEST / 2**30:.3g} GiB",
                got=f"{s * per_draw / 2**30:.3g} GiB for {s:,} draws, {n:,} rows and {d:,} features",
                hint=f"Pass draws={max(1, LARGEST // per_draw)}, or fewer groups or rows.",
            )

    @property
    def required_data(self) -> Data:
        """The rows of groups that cannot do without."""
        assert self.data is not None  # noqa: S101  `of` sees to it
        return self.data

    @cached_property
    def draws(self) -> Draws:
        return draws_of(self.tree)

    @cached_property
    def prior_draws(self) -> Draws:
        """As many draws from the prior, labelled as those of the posterior."""
        prior = self.model.required_prior
        reference = start_mixture(self.tree) if "constant_data" in self.tree.children else mean_mixture(self.tree)
        try:
            drawn = self.model.prior_draws(len(self.draws), rng=self.rng)
            if not np.isfinite(drawn.factors).all():
                raise np.linalg.LinAlgError("overflow")
            drawn = aligned(reference.components, drawn, alike=self.model.interchangeable)[0]
            noise = self.draws.noise
            return drawn if noise is None else drawn.with_noise(noise, self.rng.beta(*NOISE_PRIOR, len(drawn)))
        except np.linalg.LinAlgError as error:
            raise InputError(
                expected="a prior whose draws have covariances of full rank in double precision",
                got=f"{prior.dof.min():g} degrees of freedom",
                hint="Choose groups without prior and prior_predictive.",
            ) from error

    @cached_property
    def features(self) -> list[str]:
        """Names of the features as those of variables."""
        given = [str(name) for name in self.tree["posterior"][FEATURE].to_numpy()]
        taken = {*SAMPLE_DIMS, OBS, REPEATS}
        found = [name.replace("/", "|") + "_" * (name in taken) for name in given]
        if len({*found}) < len(found):
            raise InputError(expected="features whose names differ by more than / and |", got=f"{given}")
        return found

    def dataset(self, variables: Mapping[str, Variable], coords: Mapping[str, object]) -> xr.Dataset:
        """Variables of draws, chains end to end, with the chains and draws of the posterior."""
        posterior = self.tree["posterior"]
        sample = {dim: posterior[dim].to_numpy() for dim in SAMPLE_DIMS}
        shape = tuple(posterior.sizes[dim] for dim in SAMPLE_DIMS)
        laid_out = {
            name: ((*SAMPLE_DIMS, *dims), values.reshape(*shape, *values.shape[1:]))
            for name, (dims, values) in variables.items()
        }
        return xr.Dataset(laid_out, {**sample, **coords})

    def of_rows(self, variables: Mapping[str, Array]) -> xr.Dataset:
        """Variables (draw, obs)."""
        obs = {OBS: self.tree["observed_data"][OBS].to_numpy()}
        return self.dataset({name: ((OBS,), values) for name, values in variables.items()}, obs)


def _parameters(source: _Source, draws: Draws) -> xr.Dataset:
    """Weights, means, standard deviations and correlations."""
    (k, d), family = draws.means.shape[1:], draws.family
    names, (i, j) = source.tree["posterior"][FEATURE].to_numpy(), np.tril_indices(d, -1)
    of_cluster, own = ((), np.arange(1)) if family.shared else ((CLUSTER,), np.arange(k))
    sds: Array = np.sqrt(draws.variances[:, own])
    variables: dict[str, Variable] = {"weights": ((CLUSTER,), draws.weights)} if k > 1 else {}
    variables |= {"means": ((CLUSTER, FEATURE), draws.means), "sds": ((*of_cluster, FEATURE), sds)}
    if draws.dof is not None:
        variables["dof"] = ((CLUSTER,), draws.dof)
    coords = {CLUSTER: source.tree["posterior"][CLUSTER].to_numpy(), FEATURE: names}
    if d > 1 and not family.diagonal:
        values = draws.entries(own[:, None], i, j) / (sds[..., i] * sds[..., j])
        variables["correlations"] = ((*of_cluster, PAIR), values)
        coords[PAIR] = np.array([f"{names[b]}, {names[a]}" for a, b in zip(i, j, strict=True)])
    if family.shared:
        variables |= {name: (dims, v[:, 0]) for name, (dims, v) in variables.items() if CLUSTER not in dims}
    variables |= {} if draws.noise_weight is None else {NOISE_WEIGHT: ((), draws.noise_weight)}
    return source.dataset(variables, coords)


def _sample_stats(source: _Source) -> xr.Dataset:
    """What has one value for each draw."""
    if "sample_stats" not in source.tree.children:
        raise InputError(expected="a posterior with sample_stats", got="one without", hint="Name other groups.")
    stats = source.tree["sample_stats"].to_dataset()
    own = [name for name, values in stats.data_vars.items() if {*values.dims} == {*SAMPLE_DIMS}]
    return stats[own].transpose(*SAMPLE_DIMS)


def _log_likelihood(source: _Source) -> xr.Dataset:
    """Of whole rows, under the name of each feature too, and what makes the sum over variables the log likelihood."""
    values = log_densities(source.draws, source.required_data)
    if len(source.features) == 1:
        return source.of_rows(dict.fromkeys(source.features, values))
    repeated = dict.fromkeys((ROWS, *source.features), values)
    return source.of_rows(repeated | {REPEATS: (1 - len(repeated)) * values})


def _log_prior(source: _Source) -> xr.Dataset:
    """Of components, given that a row is no noise, and of the weight of noise."""
    draws, noise = source.draws, source.draws.noise_weight
    found = {"mixture": ((), source.model.log_prior_of(draws if noise is None else draws.alone))}
    of_noise = {} if noise is None else {NOISE_WEIGHT: ((), log_noise_prior(np.log(noise), np.log1p(-noise)))}
    return source.dataset(found | of_noise, {})


def _replicated(source: _Source, draws: Draws) -> xr.Dataset:
    """A data set of each draw."""
    simulated = simulated_rows(draws, np.arange(len(draws)), source.required_data.shape[0], rng=source.rng)
    return source.of_rows({name: simulated[..., j] for j, name in enumerate(source.features)})


def _observed(source: _Source) -> xr.Dataset:
    rows = source.required_data.entries
    variables = {name: ((OBS,), rows[:, j]) for j, name in enumerate(source.features)}
    return xr.Dataset(variables, {OBS: source.tree["observed_data"][OBS].to_numpy()})


_GROUPS: dict[str, Callable[[_Source], xr.Dataset]] = {
    "posterior": lambda source: _parameters(source, source.draws),
    "sample_stats": _sample_stats,
    "log_likelihood": _log_likelihood,
    "log_prior": _log_prior,
    "posterior_predictive": lambda source: _replicated(source, source.draws),
    "prior": lambda source: _parameters(source, source.prior_draws),
    "prior_predictive": lambda source: _replicated(source, source.prior_draws),
    "observed_data": _observed,
}
