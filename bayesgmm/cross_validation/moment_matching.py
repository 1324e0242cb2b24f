"""Moment matching: draws shifted and scaled towards a leave-one-out posterior if importance sampling fails."""

import warnings

import numpy as np
import xarray as xr
from arviz_stats import loo_moment_match
from arviz_stats.base import array_stats
from arviz_stats.utils import ELPDDataLOO

from bayesgmm._common import Array, IntArray
from bayesgmm.cross_validation.psis import Pointwise, good_k
from bayesgmm.cross_validation.refits import mixtures_of
from bayesgmm.inference import Problem
from bayesgmm.mixture import Draws
from bayesgmm.posterior import OBS, SAMPLE_DIMS, draws_of
from bayesgmm.prediction import log_densities

_COORDINATE = "coordinate"
_ROWS_AT_ONCE = 200  # whose log-likelihoods and weights are held


def match_rows(tree: xr.DataTree, problem: Problem, which: IntArray, *, found: Pointwise, r_eff: float) -> Pointwise:
    r"""Pointwise results of some rows, by ArviZ's moment matching in the unconstrained coordinates of the sampler.

    Draws are shifted, scaled and sheared to the moments that their importance weights give them, as long as that
    lowers :math:`\hat k`.

    Parameters
    ----------
    tree : DataTree
    problem : Problem
        See `bayesgmm.cross_validation.refits.problem_of`.
    which : array of int
        The rows.
    found : Pointwise
        Results of importance sampling for all rows.
    r_eff : float

    References
    ----------
    Paananen, Piironen, Bürkner & Vehtari 2021, Statistics and Computing 31.
    """
    matching = _Matching(tree, problem)
    for i in range(0, len(which), _ROWS_AT_ONCE):
        own = which[i : i + _ROWS_AT_ONCE]
        matched = matching.rows(own, found[own], r_eff)
        found = found.changed(own, elpd=matched.elpd_i.to_numpy(), pareto_k=matched.pareto_k.to_numpy())
    return found


class _Matching:
    """Draws in unconstrained coordinates, and the two densities that ArviZ needs."""

    def __init__(self, tree: xr.DataTree, problem: Problem) -> None:
        self.problem, self.draws = problem, draws_of(tree)
        sizes = tree["posterior"].sizes
        self.shape = (sizes["chain"], sizes["draw"])
        coordinates = problem.log_posterior.coordinates
        points = np.stack([coordinates.point(mixture) for mixture in mixtures_of(self.draws, range(len(self.draws)))])
        self.points = xr.DataArray(
            points.reshape(*self.shape, -1),
            {dim: np.arange(n) for dim, n in zip(SAMPLE_DIMS, self.shape, strict=True)},
            (*SAMPLE_DIMS, _COORDINATE),
        )

    def rows(self, which: IntArray, found: Pointwise, r_eff: float) -> ELPDDataLOO:
        """ArviZ's answer for some rows."""
        data = self.problem.data

        def log_likelihood_of(points: xr.DataArray, i: int) -> xr.DataArray:
            return self._per_draw(log_densities(self._drawn(points), data.take(which[i : i + 1])))

        values = log_densities(self.draws, data.take(which)).reshape(*self.shape, -1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a row that cannot be matched keeps its k, and is warned of later
            return loo_moment_match(
                self._data(values),
                _as_arviz(values, found, r_eff),
                log_prob_upars_fn=self._log_posterior,
                log_lik_i_upars_fn=log_likelihood_of,
                upars=self.points,
                reff=r_eff,
                pointwise=True,
            )

    def _data(self, values: Array) -> xr.DataTree:
        likelihoods = xr.Dataset({"y": ((*SAMPLE_DIMS, OBS), values)})
        return xr.DataTree.from_dict({"log_likelihood": likelihoods})

    def _log_posterior(self, points: xr.DataArray) -> xr.DataArray:
        flat = points.transpose(*SAMPLE_DIMS, _COORDINATE).to_numpy().reshape(-1, points.sizes[_COORDINATE])
        values = np.array([self.problem.log_posterior(point)[0] for point in flat])
        return self._per_draw(np.where(np.isfinite(values), values, -np.inf))

    def _drawn(self, points: xr.DataArray) -> Draws:
        flat = points.transpose(*SAMPLE_DIMS, _COORDINATE).to_numpy().reshape(-1, points.sizes[_COORDINATE])
        return self.problem.parameters(flat)

    def _per_draw(self, values: Array) -> xr.DataArray:
        return self.points.isel({_COORDINATE: 0}, drop=True).copy(data=values.reshape(self.shape))


def _as_arviz(values: Array, found: Pointwise, r_eff: float) -> ELPDDataLOO:
    """Importance sampling's result for log-likelihoods (chain, draw, obs), as ArviZ's function takes it."""
    log_weights, _ = array_stats.psislw(np.moveaxis(values, 2, 0), r_eff=r_eff, axis=(1, 2))
    n_samples = values.shape[0] * values.shape[1]
    return ELPDDataLOO(
        elpd=float(found.elpd.sum()),
        se=0.0,
        p=0.0,
        n_samples=n_samples,
        n_data_points=len(found.elpd),
        scale="log",
        warning=True,
        good_k=good_k(n_samples),
        elpd_i=xr.DataArray(found.elpd.copy(), dims=OBS),
        pareto_k=xr.DataArray(found.pareto_k.copy(), dims=OBS),
        log_weights=xr.DataArray(log_weights, dims=(OBS, *SAMPLE_DIMS)),
    )
