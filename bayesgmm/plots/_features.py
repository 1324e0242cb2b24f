"""Features of a figure: those asked for, those that separate the components best, or linear combinations that do."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.linalg import eigh
from scipy.special import rel_entr
from scipy.stats import chi2, norm

from bayesgmm._common import Array, Rows, counted, listed
from bayesgmm.conditionals import positions_of
from bayesgmm.exceptions import InputError
from bayesgmm.mixture import Draws, Mixture
from bayesgmm.plots._data import Shown
from bayesgmm.plots._style import MOST_FEATURES, limits_of, thinned_rows
from bayesgmm.posterior import FEATURE, FEATURE_BIS, PARAMETERS, SAMPLE_DIMS, draws_of

DISCRIMINANT = "discriminant"
_DRAWS, _ROWS = 50, 1_000  # that separation is estimated from
_LOADINGS = 3  # features in the description of a discriminant
_LINE = 62  # letters in a line of a title
_ROOM = 0.15  # the most that ellipses add to an axis, in its length

type Features = Sequence[str | int] | str | int | None


@dataclass(frozen=True)
class View:
    """Draws and rows in the features that a figure shows.

    Attributes
    ----------
    sample : Shown
    chosen : list of int
        Positions of the features among those of ``sample``.
    note : str
        What the figure does not show; empty if it shows every feature. Lines are paragraphs.
    axes : (feature, direction), optional
        Of a projection.
    """

    sample: Shown
    chosen: list[int]
    note: str
    axes: Array | None = None

    @property
    def whole(self) -> Shown:
        """Draws and rows of all features."""
        return self.sample.whole or self.sample

    def projected(self, mixture: Mixture) -> Mixture:
        """A mixture of all features, in those of ``sample``."""
        if self.axes is None:
            return mixture
        covariances = self.axes.T @ mixture.full_covariances @ self.axes
        return Mixture(mixture.components.weights, mixture.means @ self.axes, covariances, "full")

    def title(self, *texts: str, width: int = _LINE, binned: bool = True) -> str:
        """A title that says what is not shown, each text on lines of its own; rows are binned or a part is drawn."""
        all_rows, drawn = (f"{len(rows):,}" for rows in (self.sample.rows, self.sample.X))
        texts = *texts, *self._gaps()
        rows = f"{all_rows} rows, binned" if binned else f"{drawn} of {all_rows} rows"
        paragraphs = [*texts, *self.note.split("\n"), rows if self.sample.many else ""]
        return "\n".join(line for paragraph in paragraphs for line in textwrap.wrap(paragraph, width))

    def _gaps(self) -> list[str]:
        """How many rows lack a value that is shown."""
        rows = self.sample.rows[:, self.chosen]
        n = int(np.isnan(rows).any(axis=1).sum())
        return [f"{n:,} of {len(rows):,} rows lack a value shown here and are not drawn where it is"] if n else []

    def limits(self, j: int, mass: float) -> tuple[float, float]:
        """Limits of a feature's axis: its rows and, as far as that leaves them room, the mean ellipses."""
        low, high = limits_of(self.sample.rows[:, j])
        mean, room = self.sample.mean, _ROOM * (high - low)
        reach = np.sqrt(chi2.ppf(mass, 2) * mean.full_covariances[:, j, j])
        ends = 1.04 * reach.clip(0) * np.array([[-1.0], [1.0]]) + mean.means[:, j]
        return min(low, max(float(ends.min()), low - room)), max(high, min(float(ends.max()), high + room))


def view_of(sample: Shown, features: Features, most: int, *, least: int = 1) -> View:
    """At most ``most`` features: all in their order or, of more, those that separate best, the best one first."""
    names = sample.names
    if isinstance(features, str) and features == DISCRIMINANT and DISCRIMINANT not in names:
        return _discriminant_view(sample, min(most, MOST_FEATURES, max(2, sample.n_clusters - 1)), least)
    if features is None and len(names) > most:
        order = np.argsort(-separations(draws_of(sample.tree), sample.X), kind="stable")
        chosen = order[:most].tolist()
        ranked = "of {} that separate the clusters best" if sample.n_clusters > 1 else "of {}"
        head = f"{counted(most, 'feature')} {ranked.format(len(names))}; "
    else:
        chosen, head = positions_of(features, names), ""
    if len(chosen) > most:
        hint = "plot_pairs shows more than two." if most == 2 else "ArviZ's rcParams plot.max_subplots allows more."
        raise InputError(expected=f"at most {most} features", got=f"{len(chosen)}", hint=hint)
    if len(chosen) < least:
        raise InputError(expected="two features or more", got=f"{len(chosen)}", hint="plot_density shows one.")
    left = [name for j, name in enumerate(names) if j not in chosen]
    return View(sample, chosen, f"{head}not shown: {listed(left)}" if left else "")


def separations(draws: Draws, X: Rows) -> Array:
    r"""Mutual information (feature,) of a row's component and each single feature, in nats.

    :math:`E_x \sum_k r_k(x_j) \log(r_k(x_j) / w_k)` with memberships :math:`r_k` given feature j alone, averaged over
    rows and draws: 0 if components do not differ, at most the entropy of the weights. Invariant under label switching.
    """
    some, rows = draws.thinned(_DRAWS), thinned_rows(X, _ROWS)
    weights, sd = some.weights[:, :, None], np.sqrt(some.variances)
    found = []
    for j in range(rows.shape[1]):
        log_joint = np.log(np.maximum(weights, 1e-300)) + norm.logpdf(
            rows[:, j], some.means[:, :, j, None], sd[:, :, j, None]
        )
        joint = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
        apart = rel_entr(joint / joint.sum(axis=1, keepdims=True), weights).sum(axis=1)
        found.append(apart[:, ~np.isnan(rows[:, j])].mean())
    return np.array(found)


def discriminants(draws: Draws, n: int) -> Array:
    r"""Directions (feature, direction) in which the components differ most, with variance 1 in the mixture.

    The first K - 1 solve :math:`B v = \lambda \Sigma v`: B is the covariance between the components' means,
    :math:`\Sigma` the mixture's covariance. Further ones are those among the uncorrelated ones in which the components'
    covariances :math:`\Sigma_k` differ most from their mean W, by
    :math:`\sum_k w_k (\Sigma_k - W) \Sigma^{-1} (\Sigma_k - W)` (Scrucca 2010, Statistics and Computing 20:471-484).
    All are averages over draws, which are invariant under label switching. A linear map of the features changes at most
    the signs of the projected rows.
    """
    some = draws.thinned(_DRAWS)
    w, mu, sigma = some.weights, some.means, some.covariances
    apart = mu - np.einsum("sk,ski->si", w, mu)[:, None]
    between = np.einsum("sk,ski,skj->ij", w, apart, apart, optimize=True) / len(some)
    within = np.einsum("sk,skij->sij", w, sigma)
    total = between + within.mean(axis=0)
    unlike = sigma - within[:, None]
    shapes = np.einsum("sk,skij,skjl->il", w, unlike, np.linalg.solve(total, unlike), optimize=True) / len(some)
    _, directions = eigh(between, total)
    n_means = min(w.shape[1] - 1, len(total))
    rest = directions[:, : len(total) - n_means]
    _, order = eigh(rest.T @ shapes @ rest)
    found = np.hstack([directions[:, len(total) - n_means :][:, ::-1], (rest @ order)[:, ::-1]])[:, :n]
    loadings = found * np.sqrt(np.diagonal(total))[:, None]
    largest = np.abs(loadings).argmax(axis=0)
    return found * np.sign(loadings[largest, np.arange(found.shape[1])])


def _discriminant_view(sample: Shown, n: int, least: int) -> View:
    """The first discriminants of all features; `n` or, of fewer features, as many as there are."""
    if sample.n_clusters < 2 or len(sample.names) < max(2, least):
        raise InputError(
            expected="two features and two components, or more, for features='discriminant'",
            got=f"{len(sample.names)} and {sample.n_clusters}",
        )
    draws = draws_of(sample.tree)
    axes = discriminants(draws, n)
    names = [f"discriminant {j + 1}" for j in range(axes.shape[1])]
    posterior = xr.Dataset(
        {
            name: ((*SAMPLE_DIMS, *PARAMETERS[name]), values.reshape(*_shape(sample), *values.shape[1:]))
            for name, values in (
                ("weights", draws.weights),
                ("means", draws.means @ axes),
                ("covariances", axes.T @ draws.covariances @ axes),
            )
        },
        {FEATURE: names, FEATURE_BIS: names},
    )
    tree = xr.DataTree.from_dict({"posterior": posterior})
    tree.attrs = {"covariance_type": "full"}
    X, rows = np.asfortranarray(sample.X @ axes), np.asfortranarray(sample.rows @ axes)
    view = Shown(tree, X, rows, sample.data, sample.weights, whole=sample)
    sd = np.nanstd(sample.rows, axis=0)
    formulas = [_formula(name, axes[:, j] * sd, sample.names) for j, name in enumerate(names)]
    return View(view, list(range(len(names))), "\n".join(formulas), axes)


def _shape(sample: Shown) -> list[int]:
    return [sample.tree["posterior"].sizes[dim] for dim in SAMPLE_DIMS]


def _formula(name: str, loadings: Array, features: list[str]) -> str:
    """The largest coefficients of standardized features: "discriminant 1: 1.2 Diagonal - 0.9 Bottom"."""
    largest = np.argsort(-np.abs(loadings))[:_LOADINGS]
    terms = "".join(f" {'+' if loadings[j] > 0 else '−'} {abs(loadings[j]):.2g} {features[j]}" for j in largest)
    more = " …" if len(features) > _LOADINGS else ""
    return f"{name}:{terms.removeprefix(' +')}{more}"
