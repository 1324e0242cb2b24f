"""Marginal likelihood (evidence) of a mixture by bridge sampling or tempering, with THAMES as a check."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm._common import PATIENCE, listing, progress_bar, table
from bayesgmm.data import IncompleteData
from bayesgmm.evidence.bridge_sampling import Bridge
from bayesgmm.evidence.conditional_densities import MOST_COMPONENTS
from bayesgmm.evidence.mode_weights import Target, inside_of, mode_evidence, near_modes
from bayesgmm.evidence.modes import find_modes
from bayesgmm.evidence.pooled_modes import points_of_tree, unpooled
from bayesgmm.evidence.thames_check import mode_thames
from bayesgmm.evidence.thames_estimator import Thames
from bayesgmm.exceptions import EvidenceWarning, InputError, warn_user
from bayesgmm.gibbs import refusal, tempered_evidence
from bayesgmm.mixture import Draws, covariance_family
from bayesgmm.noise import refuse_noise
from bayesgmm.posterior import (
    NO_NAMES,
    Names,
    Posterior,
    data_of,
    draws_of,
    mixture_posterior,
    model_of,
)
from bayesgmm.prediction import log_densities
from bayesgmm.priors import Prior
from bayesgmm.validation import check_flag, check_type, generator_of

DISAGREE = 3.0  # standard errors by which two estimates may differ: exceeded by chance once in 370 checks
_TOO_WIDE = 0.3  # standard error, in nats, from which a check or a Bayes factor is uninformative

_EMPTY_COUNT = float(np.log(2.0))  # expected rows below which a component is more probably empty than not
_EMPTY_SHARE = 0.01  # of the draws with an empty component, from which bridge sampling is not relied on
_UNSURE = 0.1  # its standard error, below which it is
_MOST_WORK = 40_000  # rows times components times squared features and one, above which tempering takes minutes

_STEP = 1e-3  # doublings

_IMPOSSIBLE = -1e12  # log density of a row a million standard deviations away


@dataclass(frozen=True)
class Estimate:
    """Result of one method.

    Attributes
    ----------
    log_evidence, se : float
        NaN and infinity if the method gave no estimate.
    """

    __module__ = "bayesgmm.evidence"

    log_evidence: float
    se: float

    def __str__(self) -> str:
        return f"{self.log_evidence:.3f} (se {self.se:.3f})"


@dataclass(frozen=True)
class Evidence:
    r"""An estimated log evidence :math:`\log p(X)` with its checks. Printing it shows everything.

    Attributes
    ----------
    log_evidence, se : float
        Natural logarithm, including all normalizing constants, and its standard error: by bridge sampling, or by
        tempering where that decides.
    bridge : Estimate
        Bridge sampling.
    thames : Estimate or None
        The truncated harmonic mean; None if it was not requested, or there were too few draws.
    n_modes : int
        Number of modes between which the chains do not move freely; their evidences were added.
    effective_draws : float
        Effective sample size of the draws, summed over modes.
    findings : tuple of str
        Reasons to doubt the estimate, and limits of the check; empty if there are none.
    tempered : Estimate or None
        Tempering, where bridge sampling is not relied on.
    per_doubling : float
        How much the log evidence grows per doubling of the pseudo-rows of the covariance prior, whose covariances stay
        as large: :math:`\log 2\; E[\partial \log p_c(\theta) / \partial \log c \mid X]` at c = 1, c times as many
        degrees of freedom and c times the scale. Models whose numbers differ are compared by the prior too.
    """

    __module__ = "bayesgmm.evidence"

    log_evidence: float
    se: float
    bridge: Estimate
    thames: Estimate | None
    n_modes: int
    effective_draws: float
    findings: tuple[str, ...]
    tempered: Estimate | None = None
    per_doubling: float = np.nan

    def __str__(self) -> str:
        lines = [f"log evidence {Estimate(self.log_evidence, self.se)}"]
        lines += [f"  {method} {estimate}" for method, estimate in self._estimates]
        lines += [f"  {name} {value}" for name, value in self._numbers]
        return "\n".join([*lines, *self.findings])

    @property
    def _estimates(self) -> list[tuple[str, str]]:
        each = {"bridge sampling": self.bridge, "THAMES": self.thames, "tempering": self.tempered}
        return [(method, str(estimate)) for method, estimate in each.items() if estimate is not None]

    @property
    def _numbers(self) -> list[tuple[str, str]]:
        effective = ("effective draws", f"{self.effective_draws:,.0f}")
        return [effective, ("per doubling of the prior's pseudo-rows", f"{self.per_doubling:+.2f}")]

    def _repr_html_(self) -> str:
        shown = table(("log evidence", ""), [*self._estimates, *self._numbers])
        return shown + listing(self.findings)


def log_evidence(
    posterior: Posterior,
    X: ArrayLike | None = None,
    *,
    prior: Prior | None = None,
    covariance_type: str | None = None,
    cross_check: bool = True,
    names: Names = NO_NAMES,
    random_state: int | None = None,
    progress: bool = True,
) -> Evidence:
    r"""Log evidence :math:`\log \int p(X \mid \theta)\, p(\theta)\, d\theta` of a mixture, with a standard error.

    Bridge sampling (Meng & Wong 1996) between the posterior and a proposal that follows it closely. Half of its points
    have the density of the parameters given allocations of the rows, averaged over allocations drawn for up to 200
    posterior draws and over all K! labellings (Frühwirth-Schnatter 2004),

    .. math:: q_1(\theta) = \frac{1}{L\,K!} \sum_{l=1}^{L} \sum_{\sigma} p(\sigma\theta \mid X, z_l), \qquad
        \hat Z = \frac{\frac1M \sum_m \alpha(\tilde\theta_m)\, p(X, \tilde\theta_m)}
                      {\frac1N \sum_n \alpha(\theta_n)\, q(\theta_n)},

    with the optimal :math:`\alpha = 1 / (s_1\, p(X, \cdot) + s_2 \hat Z q)`. The others have a normal density in
    unconstrained coordinates with the mean and covariance of the draws: where clusters overlap and parameters are many,
    allocations leave gaps. It is left out if half of it is in other labellings, or if there are fewer than two draws a
    parameter, or more than 500 parameters. The integral is taken over one labelling, times K!, into which points are
    relabelled; the sum over labellings is a permanent, so that this is exact however much components overlap. Above 8
    components points in other labellings do not count instead, which is exact too, but less precise if components
    overlap. Under a prior that is not exchangeable, labels are not permuted. The first half of each chain defines the
    proposal, the second gives the estimate; the standard error uses effective sample sizes. If chains stay in several
    modes, the evidence of each is estimated over its own region, and they are added.

    With many more components than clusters bridge sampling comes out low: draws and proposal do not cover what empty
    components do. If there are more than 8, or its standard error is above 0.1 and a component has fewer than log 2
    expected rows in a hundredth of the draws, the evidence is estimated by tempering too (Del Moral, Doucet & Jasra
    2006), see `bayesgmm.gibbs.tempering`: 1,000 particles from the prior are moved by Gibbs sweeps while the likelihood
    is raised to it by powers. It does without draws and labellings, but where clusters are far apart, particles may
    miss them. Both come out low if they miss something (an unbiased estimate exceeds the evidence by t nats with a
    probability of at most exp(-t)). So tempering decides if it is higher by more than three standard errors, or more
    precise and not lower by more than one, or by three where bridge sampling is not known to 0.3. For priors that are
    not conjugate given the labels, for rows with missing values, and where it would take minutes, a finding says that
    bridge sampling may be low. Missing values are drawn with each allocation, and the density is that of the parameters
    given both.

    The check is THAMES for mixtures (Metodiev et al. 2025), see `bayesgmm.evidence.thames`, which shares only the draws
    with bridge sampling and is less precise.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset, or mapping of arrays
        Draws from this package, PyMC, NumPyro or Stan; see `bayesgmm.posterior.mixture_posterior`.
    X : (obs, feature), optional
        The rows; by default those stored with the fit. Each counts once.
    prior : Prior, optional
        The prior of the model, needed for a posterior that was not fitted by this package.
    covariance_type : str, optional
        For a posterior that was not fitted by this package: ``"full"`` by default.
    cross_check : bool
        Whether to estimate by THAMES too.
    names : mapping, optional
        Names of the posterior's variables.
    random_state : int, optional
        For allocations and proposals.
    progress : bool
        Show a progress bar, in a terminal or notebook only.

    Returns
    -------
    Evidence

    Raises
    ------
    InputError
        There is no prior, fewer than four draws, or rows that cannot be those of the posterior.

    Warns
    -----
    EvidenceWarning
        The two estimates differ by more than three of their combined standard errors.

    Notes
    -----
    The evidence depends on the prior as much as on the data: a prior twice as wide in each of d parameters lowers it by
    d log 2.
    Evidences are comparable between models of the same rows in the same units.

    References
    ----------
    Meng & Wong (1996), Statistica Sinica 6. Frühwirth-Schnatter (2004), Econometrics Journal 7. Metodiev, Irons,
    Perrot-Dockès, Latouche & Raftery (2025), arXiv:2504.21812. Del Moral, Doucet & Jasra (2006), J. R. Statist. Soc. B
    68.

    Examples
    --------
    >>> from bayesgmm import BayesianGaussianMixture, log_evidence
    >>> from bayesgmm.datasets import load_old_faithful
    >>> fit = BayesianGaussianMixture(2, random_state=1, progress=False).fit(load_old_faithful())
    >>> found = log_evidence(fit, random_state=1)
    >>> bool(abs(found.log_evidence + 1171.12) < 0.05)
    True
    >>> found.findings
    ()
    """
    check_flag(cross_check=cross_check, progress=progress)
    check_type(Prior, optional=True, prior=prior)
    rng = generator_of(random_state)
    tree = mixture_posterior(posterior, X, names=names)
    refuse_noise(tree, "the evidence")
    model_of(tree).component.check_gaussian("the evidence")
    if covariance_type is not None:
        tree = tree.copy()
        tree.attrs = {**tree.attrs, "covariance_type": covariance_family(covariance_type).for_posterior().name}
    target = target_of_tree(tree, prior)
    points = points_of_tree(unpooled(tree))
    if len(points) < 4:
        raise InputError(expected="at least four draws", got=f"{len(points)}")
    _check_rows(points, target)
    modes = find_modes(points, target.data, rng=rng)
    log_joint = target.log_joint(points, modes)
    regions = [inside_of(modes, m) for m in near_modes(modes, points, target)]
    bridges = [mode_evidence(own, points, log_joint, target=target, rng=rng)[0] for own in regions]
    checks = (
        [mode_thames(own, points, log_joint, target=target, rng=rng) for own in regions]
        if cross_check and target.conjugate and (target.model.exchangeable or target.model.is_identified)
        else []
    )
    bridge, check, tempered = _total(bridges), _total(checks) if checks else None, None
    findings, own = [*_chains(tree), *_modes(len(regions))], bridge
    doubt = _doubt(points, bridge, target)
    if doubt and (unable := _unable(target)):
        findings.append(f"{doubt}: bridge sampling may be too low, and tempering {unable}.")
    elif doubt:
        with progress_bar("Tempering", show=progress, percent=True, patience=PATIENCE) as move:
            found = tempered_evidence(target.data, target.model, rng=rng, callback=move)
        tempered = Estimate(found.log_z, found.se)
        gain, error = tempered.log_evidence - bridge.log_evidence, sqrt(tempered.se**2 + bridge.se**2)
        if gain > DISAGREE * error:
            own, findings = tempered, [_decided(bridge, tempered)]
        elif tempered.se < bridge.se and gain > -(DISAGREE if bridge.se > _TOO_WIDE else 1.0) * error:
            own, findings = tempered, []
    if own is bridge:
        findings += _disagreement(bridge, check)
    effective = float(sum(found.effective_draws for found in bridges))
    findings += _precision(own)
    per_doubling = _per_doubling(draws_of(tree), target)
    return Evidence(
        own.log_evidence, own.se, bridge, check, len(regions), effective, tuple(findings), tempered, per_doubling
    )


def target_of_tree(tree: xr.DataTree, prior: Prior | None = None) -> Target:
    """The density that a posterior was sampled from."""
    model = model_of(tree, prior)
    if model.prior is None:
        raise InputError(expected="a prior", got="none", hint="Pass the prior= of the model.")
    return Target(data_of(tree, all_for="an evidence"), model)


def _per_doubling(draws: Draws, target: Target) -> float:
    """Change of the log evidence per doubling of the covariance prior's pseudo-rows, by a central difference."""
    more, fewer = (target.prior.with_pseudo_rows(2.0**step).log_density_of(draws) for step in (_STEP, -_STEP))
    return float((more - fewer).mean()) / (2.0 * _STEP)


def _doubt(points: Draws, bridge: Estimate, target: Target) -> str:
    """Why bridge sampling is not relied on, or nothing."""
    if target.model.exchangeable and target.model.n_components > MOST_COMPONENTS:
        return f"There are more than {MOST_COMPONENTS} components"
    empty = float((points.weights.min(axis=1) * target.data.total < _EMPTY_COUNT).mean())
    unsure = bridge.se > _UNSURE and target.model.n_components > 1 and empty > _EMPTY_SHARE
    return f"A component is empty in {empty:.0%} of the draws" if unsure else ""


def _decided(bridge: Estimate, tempered: Estimate) -> str:
    """Finding of two estimates of which the lower one misses something."""
    return f"Bridge sampling, {bridge}, misses some of the posterior: tempering, {tempered}, decides."


def _unable(target: Target) -> str:
    """Why tempering is not done, or nothing."""
    if isinstance(target.data, IncompleteData):
        return "needs complete rows"
    if refusal(target.model, target.data) is not None:
        return "needs a model that is conjugate given the labels, and whole weights"
    (n, d), k = target.data.shape, target.model.n_components
    return "would take minutes" if n * k * (1 + d) ** 2 > _MOST_WORK else ""


def _check_rows(points: Draws, target: Target) -> None:
    """Check that each row is near a component of each draw."""
    log_density = log_densities(points[:1], target.data)[0]
    if (lowest := float(log_density.min())) < _IMPOSSIBLE:
        got = f"log density {lowest:.3g} of row {int(log_density.argmin())} in a draw"
        hint = "Pass the same rows, in the same units; score_samples gives the density of new ones."
        raise InputError(expected="the rows that the posterior was sampled with", got=got, hint=hint)


def _total(parts: Sequence[Bridge] | Sequence[Thames]) -> Estimate:
    """Log of the sum of evidences, and its standard error by the delta method."""
    log_z, se = np.array([part.log_z for part in parts]), np.array([part.se for part in parts])
    if np.isnan(log_z).any():
        return Estimate(np.nan, np.inf)
    total = np.logaddexp.reduce(log_z)
    shares = np.exp(log_z - total)
    return Estimate(float(total), float(np.sqrt(((shares * se)[shares > 0] ** 2).sum())) if total > -np.inf else np.inf)


def _chains(tree: xr.DataTree) -> list[str]:
    if int(tree.attrs.get("converged", 1)):
        return []
    return ["The chains did not converge (see diagnose): the evidence covers only what they explored of the posterior."]


def _modes(n_modes: int) -> list[str]:
    if n_modes == 1:
        return []
    return [
        f"The chains stay in {n_modes} modes, whose evidences were added; modes that no chain found are not included."
    ]


def _disagreement(bridge: Estimate, check: Estimate | None) -> list[str]:
    """Finding of the check."""
    if check is None:
        return []
    apart, se = abs(bridge.log_evidence - check.log_evidence), sqrt(bridge.se**2 + check.se**2)
    if not isfinite(apart) or check.se > _TOO_WIDE:
        return [f"THAMES is no check here: its standard error is {check.se:.2g}. Increase draws."]
    if apart <= DISAGREE * se:
        return []
    message = (
        f"Two estimates of the log evidence differ by {apart / se:.1f} standard errors: bridge sampling {bridge}, "
        f"THAMES {check}. Increase draws, and see diagnose."
    )
    warn_user(message, EvidenceWarning)
    return [message]


def _precision(bridge: Estimate) -> list[str]:
    if bridge.se <= _TOO_WIDE:
        return []
    return [
        f"The standard error is {bridge.se:.2g}: Bayes factors are known to a factor of {np.exp(2 * bridge.se):.1f}."
    ]
