"""Aleatoric and epistemic uncertainty of memberships: overlap of clusters, and uncertainty of parameters."""

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import entr, rel_entr

from bayesgmm._common import Array, PerRow
from bayesgmm.data import Data
from bayesgmm.mixture import Draws
from bayesgmm.partitions.allocations import row_ids
from bayesgmm.posterior import NO_NAMES, OBS, Names, Posterior, data_of, draws_of, mixture_posterior
from bayesgmm.prediction import interval_over_draws, pieces_in_memory, sampled_groups

type _Interval = Callable[[Array], Array]

_BOUND = "ci_bound"


def membership_uncertainty(
    posterior: Posterior,
    X: ArrayLike | Data | None = None,
    *,
    ci_prob: float | None = None,
    ci_kind: str | None = None,
    names: Names = NO_NAMES,
) -> xr.Dataset:
    r"""Decompose the uncertainty of each row's cluster into aleatoric and epistemic parts, in nats.

    With memberships :math:`p_s = p(z_i = \cdot \mid x_i, \theta_s)`, their mean over draws :math:`\bar p`, and
    entropy :math:`H`,

    .. math::
        \underbrace{H(\bar p)}_\text{total} = \underbrace{\tfrac1S \sum_s H(p_s)}_\text{overlap}
        + \underbrace{\tfrac1S \sum_s \mathrm{KL}(p_s \,\|\, \bar p)}_\text{parameters} .

    Noise, where a posterior has it, is one more cluster. Overlap (expected entropy) is aleatoric and does not
    shrink with more data; the parameter part (mutual information of label and parameters) is epistemic and does.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset, or mapping of arrays
        Relabelled draws, see `relabel`: otherwise label switching counts as uncertainty.
    X : (obs, feature), optional
        Observed or new rows; by default those stored with the posterior.
    ci_prob, ci_kind : float, {"eti", "hdi"}, optional
        ArviZ's rcParams ``stats.ci_prob`` (0.89) and ``stats.ci_kind`` (equal-tailed) by default.
    names : mapping, optional
        Names of the posterior's variables.

    Returns
    -------
    Dataset
        Over ``obs``: ``total``, ``overlap``, ``parameters``; ``overlap_ci`` and ``parameters_ci`` are intervals over
        draws of :math:`H(p_s)` and of :math:`\mathrm{KL}(p_s \| \bar p)`. The same names with the prefix ``mean_``
        are averages over rows.

    Raises
    ------
    InputError
        The posterior is not one of a mixture, the rows are missing or do not match it, or the interval is unknown.

    References
    ----------
    Depeweg, Hernández-Lobato, Doshi-Velez & Udluft 2018, ICML; Houlsby, Huszár, Ghahramani & Lengyel 2011.

    Examples
    --------
    Two clusters that are known exactly: all uncertainty is overlap.

    >>> import numpy as np
    >>> from bayesgmm import membership_uncertainty
    >>> draws = {"w": np.full((2, 50, 2), 0.5), "mu": np.tile([-5.0, 5.0], (2, 50, 1)), "sd": np.ones((2, 50))}
    >>> names = {"weights": "w", "means": "mu", "sds": "sd"}
    >>> split = membership_uncertainty(draws, [[0.0], [5.0]], names=names)
    >>> split["overlap"].round(3).to_numpy(), split["parameters"].round(3).to_numpy()
    (array([0.693, 0.   ]), array([0., 0.]))
    """
    interval = interval_over_draws(ci_prob, ci_kind)
    tree = mixture_posterior(posterior, X, names=names)
    data, ids = data_of(tree, X), row_ids(tree)
    ids = ids if len(ids) == data.shape[0] else np.arange(data.shape[0])  # `Data` of other rows
    return xr.Dataset(_by_row(draws_of(tree), data, interval), {OBS: ids, _BOUND: ["lower", "upper"]})


def _by_row(draws: Draws, data: Data, interval: _Interval) -> dict[str, tuple[tuple[str, ...], Array]]:
    """Every variable with its dimensions; averages over rows are summed block by block."""
    parts, sums = [], np.zeros((2, len(draws)))
    for piece in pieces_in_memory(draws, data):
        total, overlap, divergence = _split(sampled_groups(draws, piece))
        parts.append((total, overlap.mean(axis=-1), interval(overlap), interval(divergence)))
        sums += [overlap.sum(axis=0), divergence.sum(axis=0)]
    total, overlap, overlap_ci, parameters_ci = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    points = {"total": total, "overlap": overlap, "parameters": np.maximum(total - overlap, 0.0)}
    bounds = {"overlap_ci": overlap_ci, "parameters_ci": parameters_ci}
    averages = dict(zip(bounds, interval(sums / len(total)), strict=True))
    return (
        {name: ((OBS,), values) for name, values in points.items()}
        | {name: ((OBS, _BOUND), values) for name, values in bounds.items()}
        | {f"mean_{name}": ((), np.asarray(values.mean())) for name, values in points.items()}
        | {f"mean_{name}": ((_BOUND,), values) for name, values in averages.items()}
    )


def _split(sampled: Array) -> tuple[PerRow, Array, Array]:
    """H of the mean (obs,), H of each draw (obs, sample) and KL of each draw to the mean (obs, sample)."""
    mean = sampled.mean(axis=-1)
    divergence = rel_entr(sampled, mean[..., None]).sum(axis=1)
    return entr(mean).sum(axis=1), entr(sampled).sum(axis=1), divergence
