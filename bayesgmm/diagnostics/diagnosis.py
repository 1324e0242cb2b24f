"""`diagnose`: convergence diagnostics of a mixture's posterior, one verdict, findings and next steps."""

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from numbers import Integral
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayesgmm._common import Array, Rows, folded, listing, numbered, paragraph, sentence, shown, table
from bayesgmm.data import Data, IncompleteData
from bayesgmm.diagnostics.findings import findings_of, next_steps_of
from bayesgmm.diagnostics.label_invariants import invariants
from bayesgmm.diagnostics.messages import OTHER_SAMPLER, VERDICT, Figure
from bayesgmm.diagnostics.rhat_ess import (
    MAX_R_HAT,
    MIN_ESS_PER_CHAIN,
    ChainCluster,
    Mixing,
    chain_clusters,
    mixing,
    most_common_share,
    nested_r_hat,
)
from bayesgmm.diagnostics.verdict import (
    COLLAPSED_RATIO,
    EMPTY_COUNT,
    NOT_MIXED,
    Approximated,
    ChainGroup,
    Figures,
    PooledMode,
    verdict_of,
)
from bayesgmm.evidence import unpooled
from bayesgmm.exceptions import InformationError, InformationWarning, InputError
from bayesgmm.label_switching import bare_draws, relabel, relabelled_sample, relabelling
from bayesgmm.laplace import MAX_K_HAT
from bayesgmm.mixture import Draws
from bayesgmm.noise import NoisyMixture
from bayesgmm.partitions import Labels, canonical_labels, losses, sparse_occupancy
from bayesgmm.posterior import (
    CLUSTER,
    FEATURE,
    NO_NAMES,
    SAMPLE_DIMS,
    Names,
    Posterior,
    data_of,
    draws_of,
    mixture_posterior,
    model_of,
    prior_from_json,
    start_mixture,
)
from bayesgmm.prediction import each_draw
from bayesgmm.priors import constant_features
from bayesgmm.standard_errors import standard_errors
from bayesgmm.validation import told

MOST_ROWS = 4_000  # of which sums over rows are taken: any function of the parameters shows whether chains mix
MUCH_MISSING = 0.7  # of the information on a parameter: above it Gibbs sampling mixes worse than NUTS
_MANY_PARAMETERS = 500  # whose information takes long
_INDEPENDENT_DRAWS = 400  # of a Laplace approximation that are looked at
_EIGENVALUE_DRAWS = 1_000  # draws whose covariances are looked at


@dataclass(frozen=True)
class Diagnosis:
    """A verdict on the convergence of a posterior, with the figures behind it. Printing it shows everything.

    Attributes
    ----------
    verdict : str
        ``"converged"``, ``"converged, labels switched"``, ``"several modes, weighed"``, ``"several real modes"``,
        ``"not mixed"``, ``"collapsed or empty component"`` or ``"divergences"``; the precedence is in `diagnose`.
    findings : tuple of str
        Findings, the most severe first. With the verdict ``"converged"`` they do not invalidate the draws.
    next_steps : tuple of str
        Recommended actions, the most promising first.
    figures : bayesgmm.diagnostics.verdict.Figures
    """

    __module__ = "bayesgmm"

    verdict: str
    findings: tuple[str, ...]
    next_steps: tuple[str, ...]
    figures: Figures

    def to_dict(self) -> dict[str, Any]:
        """Everything as dictionaries, lists, strings and numbers for `json.dumps`; None if unknown."""
        return _plain(asdict(self))

    def __str__(self) -> str:
        approximation = self.figures.approximation
        return "\n".join(
            [
                sentence(VERDICT, verdict=self.verdict),
                "",
                *(_mixing_table(self.figures) if approximation is None else approximation_lines(approximation)),
                "",
                *_other_figures(self.figures),
                *_section("Findings", self.findings),
                *_section("What to do next", self.next_steps),
            ]
        )

    def _repr_html_(self) -> str:
        rows = [[name, *_mixing_cells(mixing), mixing.worst] for name, mixing in _mixing_rows(self.figures)]
        parts = [paragraph(sentence(VERDICT, verdict=self.verdict)), listing(self.findings)]
        parts += [paragraph("What to do next:"), listing(self.next_steps)] if self.next_steps else []
        if self.figures.approximation is None:
            parts += [table(("", "R-hat", "ESS bulk", "ESS tail", "worst R-hat"), rows)]
        else:
            parts += [listing(approximation_lines(self.figures.approximation))]
        return "".join([*parts, folded("All figures", "".join(map(paragraph, _other_figures(self.figures))))])


def diagnose(
    posterior: Posterior,
    X: ArrayLike | Data | None = None,
    *,
    names: Names = NO_NAMES,
    starting_mode: Sequence[int] | None = None,
) -> Diagnosis:
    """Diagnose the convergence of a mixture's posterior, including label switching and multiple modes.

    R-hat and effective sample size (Vehtari et al. 2021) are computed first for label-invariant quantities
    (`bayesgmm.diagnostics.invariants`), then for parameters after relabelling (`relabel`). Chains whose
    invariants differ by a pairwise R-hat of 1.2 or more belong to different groups (``figures.islands``). The verdict
    is the first that holds of

    1. ``not mixed``: there are too few draws for any diagnostic;
    2. ``divergences``: of more than one draw in a thousand, or in a hundred if modes were pooled;
    3. ``collapsed or empty component``: in a tenth of some chain's draws the smallest variance of a component is
       below a millionth of the data's;
    4. ``several real modes``: two groups or more of stationary chains (split R-hat up to 1.1 and at least 25 effective
       draws), or modes that were pooled in proportion to their evidence (`combine_modes`);
    5. ``several modes, weighed``: chains jump between several modes, in proportion to their weights, and are mixed;
    6. ``collapsed or empty component``: in most draws a component has fewer than log 2 expected rows, so that it is
       more probably empty than not, unless the prior is sparse (a concentration below one, or with a prior): then a
       finding reports the number of occupied components, and whether the chains change it;
    7. ``not mixed``: R-hat above 1.01, or a bulk or tail effective sample size below 100 a chain, of invariants, of
       relabelled parameters if components are identified, or nested R-hat by starting mode (Margossian et al. 2024);
    8. ``converged, labels switched``: R-hat of the parameters before relabelling is above 1.01, more than a draw
       in a hundred has other labels than the rest, or the components are not identified;
    9. ``converged``.

    Above 4,000 rows, an evenly spaced subset is used, since any function of the parameters can show whether chains mix.

    If chains of a fit of this package are not mixed, the fraction of information on the parameters that unknown labels
    take away tells whether the other sampler, NUTS or Gibbs sampling, mixes better: if so, a next step says so.

    The draws of a Laplace approximation are independent but for copies: R-hat tells nothing of them. In place of mixing
    it is judged by Pareto k-hat of the importance ratios, at most 0.7, and by their effective number, at least a tenth.

    Agreement of chains is no proof of convergence: if all started at one optimum, without exploratory chains, a finding
    says so.

    Parameters
    ----------
    posterior : BayesianGaussianMixture, DataTree, Dataset, or mapping of arrays
        A fit, or draws from PyMC, NumPyro or Stan, see `bayesgmm.posterior.mixture_posterior`. If modes were
        pooled, the original chains are diagnosed.
    X : (obs, feature), optional
        The rows; by default those stored with a fit of this package.
    names : mapping, optional
        Names of the posterior's variables, for example ``{"weights": "w", "means": "mu", "sds": "sigma"}``.
    starting_mode : sequence of int, optional
        For each chain the number of the optimum at which it started; by default as recorded by a fit of this package.

    Returns
    -------
    Diagnosis
        The verdict, findings, figures and next steps.

    Raises
    ------
    InputError
        There are no rows, the posterior is not that of a mixture, or ``starting_mode`` is not one number a chain.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import diagnose
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-3, 1, 50), rng.normal(3, 1, 50)])[:, None]
    >>> mu = np.array([-3.0, 3.0]) + rng.normal(0, 0.1, (4, 500, 2))
    >>> draws = {"weights": np.full((4, 500, 2), 0.5), "means": mu, "sd": np.ones((4, 500, 2))}
    >>> diagnose(draws, X, names={"sds": "sd"}).verdict
    'converged'
    >>> draws["means"] = rng.permuted(mu, axis=2)
    >>> diagnose(draws, X, names={"sds": "sd"}).verdict
    'converged, labels switched'
    """
    given = mixture_posterior(posterior, X, names=names)
    tree = unpooled(given)
    data = data_of(tree, X)
    figures = _figures(given, data, starting_modes=_starting_modes(tree, starting_mode))
    verdict = verdict_of(figures)
    steps = next_steps_of(figures, verdict)
    if verdict == NOT_MIXED and not figures.is_too_short and figures.approximation is None:
        steps += _other_sampler(tree, data)
    return Diagnosis(verdict, findings_of(figures), steps, figures)


def _other_sampler(tree: xr.DataTree, data: Data) -> tuple[str, ...]:
    """Whether the other sampler mixes better, by the information at the EM solution that unknown labels take away."""
    if "inference" not in tree.attrs or "sampler" in tree.attrs:  # whose draws these are, or what a fit chose itself
        return ()
    known = data.allowed is not None or isinstance(data, IncompleteData)
    if known or isinstance(start_mixture(tree), NoisyMixture):  # of which there is no such information, or no Gibbs
        return ()
    model, prior = model_of(tree), prior_from_json(str(tree.attrs["prior"]))
    if model.component.has_others:
        return ()
    sampled = (prior.scale_prior, prior.concentration_prior, prior.variances)
    numbers = all(each is None for each in sampled)  # for others there is no information, nor Gibbs sampling for some
    restriction = model.family.restriction(model.n_components, model.n_features)
    if model.n_parameters > _MANY_PARAMETERS or not numbers or restriction is not None:
        return ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InformationWarning)  # of a mixture that is no maximum for some of the rows
        try:
            missing = float(standard_errors(_some(data), start_mixture(tree), prior=prior).missing[0])
        except InformationError:
            return ()
    wins = "nuts" if missing > MUCH_MISSING else "gibbs"
    return () if wins == tree.attrs["inference"] else (sentence(OTHER_SAMPLER[wins], missing=missing),)


def _whole_numbers(given: Any) -> tuple[int, ...]:
    several = list(given) if isinstance(given, Iterable) else ["one"]
    if not all(isinstance(each, Integral) and not isinstance(each, bool | np.bool_) for each in several):
        raise InputError(expected="starting_mode whole numbers, several", got=told(given))
    return tuple(int(each) for each in several)


def _starting_modes(tree: xr.DataTree, given: Sequence[int] | None) -> tuple[int, ...] | None:
    n_chains = tree["posterior"].sizes["chain"]
    if given is not None:
        if len(modes := _whole_numbers(given)) != n_chains:
            raise InputError(expected=f"starting_mode with a number for each of {n_chains} chains", got=f"{len(modes)}")
        return modes
    kept = json.loads(str(tree.attrs.get("starting_modes", "[]")))
    return tuple(int(mode) for mode in kept) if len(kept) == n_chains else None


# ---- figures


def _some(data: Data) -> Data:
    """Evenly spaced rows."""
    return data.take(slice(None, None, -(-data.shape[0] // MOST_ROWS)))


def _figures(given: xr.DataTree, data: Data, *, starting_modes: tuple[int, ...] | None) -> Figures:
    tree, modes = unpooled(given), _pooled_modes(given)
    some = _some(data)
    every = data.total / some.total  # rows that each stands for
    approximation = _approximation(tree)
    sizes, judged = tree["posterior"].sizes, tree
    if approximation is not None:
        judged = bare_draws(tree, step=-(-sizes["chain"] * sizes["draw"] // _INDEPENDENT_DRAWS))
    found = invariants(judged, some)
    if approximation is None:
        mixed, labels = mixing(found), _label_figures(tree, some)
    else:  # of independent draws around one labelling of an optimum
        mixed = Mixing(np.nan, approximation.effective_draws, approximation.effective_draws, "")
        labels = _Labels(mixed, mixed)
    found = found.assign({name: found[name] * every for name in ("log_likelihood", "count")})
    counts = found["count"] if given is tree else invariants(given, some)["count"] * every
    by_chain = found.mean("draw")
    return Figures(
        n_chains=sizes["chain"],
        n_draws=sizes["draw"],
        n_components=sizes[CLUSTER],
        n_divergences=_divergences(tree),
        invariants=mixed,
        labelled=labels.labelled,
        relabelled=labels.relabelled,
        nested_r_hat=None if starting_modes is None else nested_r_hat(found, starting_modes),
        starting_modes=starting_modes,
        scouts=_scouts(tree),
        switched_share=labels.switched_share,
        identified=labels.identified,
        label_findings=labels.findings,
        empty_share=_floats((counts.min("rank") < EMPTY_COUNT).mean("draw")),
        collapsed_share=_collapsed_share(judged, some.filled),
        log_likelihood=_floats(by_chain["log_likelihood"]),
        lp=_floats(by_chain["lp"]) if "lp" in by_chain else None,
        islands=_chain_groups(judged, some, found, together=approximation is not None),
        modes=modes,
        resampled=given is not tree,
        n_random_starts=int(json.loads(str(tree.attrs.get("random_starts", "{}"))).get("n", 0)),
        missing=float(tree.attrs["missing"]) if "missing" in tree.attrs else None,
        occupancy=sparse_occupancy(tree, given, some),
        approximation=approximation,
    )


def _approximation(tree: xr.DataTree) -> Approximated | None:
    """Of a Laplace approximation the worst figures over its optima."""
    record = json.loads(str(tree.attrs.get("laplace", "[]")))
    if not record:
        return None
    worst = {name: max(each[name] for each in record) for name in ("k_hat", "n_rows", "log_ratio_error")}
    share = min(each["effective_draws"] / each["n_proposals"] for each in record)
    n_proposals = int(record[0]["n_proposals"])
    return Approximated(effective_draws=share * n_proposals, n_proposals=n_proposals, **worst)


def _scouts(tree: xr.DataTree) -> tuple[str, ...]:
    """Where exploratory chains started, or would have if the likelihood there were not far below."""
    record = json.loads(str(tree.attrs.get("scouts", "{}")))
    return (*record.get("starts", ()), *(f"{name} (far below)" for name in record.get("far_below", ())))


def _floats(values: xr.DataArray) -> tuple[float, ...]:
    return tuple(float(value) for value in values.to_numpy())


def _divergences(tree: xr.DataTree) -> int:
    if "sample_stats" not in tree.children or "diverging" not in tree["sample_stats"]:
        return 0
    return int(tree["sample_stats"]["diverging"].sum())


def _collapsed_share(tree: xr.DataTree, X: Rows) -> tuple[float, ...]:
    """For each chain the share of draws with a component that is far narrower than the data in some direction."""
    n_chains, n_draws = (tree["posterior"].sizes[dim] for dim in SAMPLE_DIMS)
    chosen = np.arange(n_chains * n_draws).reshape(n_chains, -1)[:, :: -(-n_chains * n_draws // _EIGENVALUE_DRAWS)]
    varying = np.delete(np.arange(X.shape[1]), constant_features(X))
    if len(varying) == 0:
        return (0.0,) * n_chains
    sds = X[:, varying].std(axis=0)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.corrcoef(X[:, varying], rowvar=False)))
    usable = values > np.finfo(np.float64).eps * len(values) * values[-1]
    scaling = vectors[:, usable] / np.sqrt(values[usable])
    scaled = (
        scaling.T @ (part.covariances[:, :, varying[:, None], varying] / np.outer(sds, sds)) @ scaling
        for part in draws_of(tree)[chosen.ravel()].parts()
    )
    least = np.concatenate([np.linalg.eigvalsh(each)[..., 0] for each in scaled])  # (draw, cluster)
    return tuple((least < COLLAPSED_RATIO).any(axis=1).reshape(n_chains, -1).mean(axis=1).tolist())


def _pooled_modes(tree: xr.DataTree) -> tuple[PooledMode, ...]:
    known = json.loads(str(tree.attrs.get("modes", "[]")))
    names = [field.name for field in fields(PooledMode) if field.name not in ("chains", "cluster_sizes")]
    return tuple(
        PooledMode(
            **{name: mode.get(name) for name in names},
            chains=tuple(mode.get("chains", ())),
            cluster_sizes=tuple(mode.get("cluster_sizes", ())),
        )
        for mode in known
    )


# ---- labels


@dataclass(frozen=True)
class _Labels:
    """How parameters mix with and without relabelling, and whether components are identified."""

    labelled: Mixing
    relabelled: Mixing | None
    switched_share: float = 0.0
    identified: bool = True
    findings: tuple[str, ...] = ()


def _label_figures(tree: xr.DataTree, data: Data) -> _Labels:
    """Labels judged on some draws; all are relabelled only where that changes any of these and means something."""
    labelled = mixing(parameters(tree))
    if model_of(tree).is_identified:
        return _Labels(labelled, labelled)
    screened = relabelled_sample(tree, data)
    record, permutation = relabelling(screened), screened["sample_stats"]["permutation"]
    share = 1.0 - most_common_share(permutation.to_numpy().reshape(-1, permutation.sizes[CLUSTER]))
    if not record.identified:
        return _Labels(labelled, None, share, False, tuple(record.findings))
    relabelled = labelled if share == 0.0 else mixing(parameters(relabel(bare_draws(tree), data, progress=False)))
    return _Labels(labelled, relabelled, share)


def parameters(tree: xr.DataTree) -> xr.Dataset:
    """Weights, means and the different entries of covariances (chain, draw, ...), of diagonal ones the variances."""
    posterior, draws = tree["posterior"].to_dataset(), draws_of(tree)
    features, clusters = (posterior[dim].to_numpy() for dim in (FEATURE, CLUSTER))
    rows, columns = np.diag_indices(len(features)) if draws.family.diagonal else np.tril_indices(len(features))
    block, blocks = ("all", clusters[:1]) if draws.family.shared else (CLUSTER, clusters)
    own = draws.entries(np.arange(len(blocks))[:, None], rows, columns)
    lower = xr.DataArray(
        own.reshape(*posterior["weights"].shape[:2], *own.shape[1:]),
        dims=(*SAMPLE_DIMS, block, "entry"),
        coords={block: blocks, "entry": [f"{features[i]}, {features[j]}" for i, j in zip(rows, columns, strict=True)]},
    )
    matrices = {"covariances": lower} if draws.dof is None else {"scales": lower, "dof": posterior["dof"]}
    return xr.Dataset({"weights": posterior["weights"], "means": posterior["means"], **matrices})


# ---- groups of chains


def _chain_groups(tree: xr.DataTree, data: Data, found: xr.Dataset, *, together: bool) -> tuple[ChainGroup, ...]:
    everything = ChainCluster(tuple(range(found.sizes["chain"])), 1.0, np.nan)
    parts = (everything,) if together else chain_clusters(found)
    density = found["lp"] if "lp" in found else found["log_likelihood"]
    best = [_best_draw(density.to_numpy(), part) for part in parts]
    partitions = _partitions(draws_of(tree), data, best)
    return tuple(
        _chain_group(part, found, partitions, partitions[number : number + 1]) for number, part in enumerate(parts)
    )


def _best_draw(density: Array, part: ChainCluster) -> int:
    """Number of the draw of highest density among a part's chains, all chains end to end."""
    within = density[list(part.chains)]
    chain, draw = np.unravel_index(int(within.argmax()), within.shape)
    return int(part.chains[int(chain)] * density.shape[1] + draw)


def _partitions(draws: Draws, data: Data, chosen: Sequence[int]) -> Labels:
    """The most probable label of every row under each of a few draws, (draw, obs)."""
    part = draws[np.asarray(chosen)]
    return canonical_labels(np.array([resp.argmax(axis=0) for _, resp in each_draw(part, data, with_memberships=True)]))


def _chain_group(part: ChainCluster, found: xr.Dataset, partitions: Labels, own: Labels) -> ChainGroup:
    values = found.isel(chain=list(part.chains))
    lp = values.get("lp")
    return ChainGroup(
        chains=part.chains,
        r_hat=part.r_hat,
        is_settled=part.is_stationary,
        log_likelihood=float(values["log_likelihood"].mean()),
        max_log_likelihood=float(values["log_likelihood"].max()),
        lp=None if lp is None else float(lp.mean()),
        max_lp=None if lp is None else float(lp.max()),
        n_clusters=int(own.max()) + 1,
        vi=tuple(losses(partitions, own[0], loss="vi").tolist()),
    )


# ---- as text


def _mixing_table(figures: Figures) -> list[str]:
    least = f">= {shown(MIN_ESS_PER_CHAIN * figures.n_chains)}"
    rows = [(name, *_mixing_cells(mixing), mixing.worst) for name, mixing in _mixing_rows(figures)]
    rows = [("", "R-hat", "ESS bulk", "ESS tail", "worst R-hat"), *rows, ("fine", f"<= {MAX_R_HAT}", least, least, "")]
    return [f"{name:36}{r_hat:>8}{bulk:>10}{tail:>10}  {worst}".rstrip() for name, r_hat, bulk, tail, worst in rows]


def approximation_lines(own: Approximated) -> list[str]:
    """How good a Laplace approximation is, a line each."""
    n, error = own.n_proposals, own.log_ratio_error
    return [
        sentence(Figure.K_HAT, k_hat=own.k_hat, limit=MAX_K_HAT),
        sentence(Figure.EFFECTIVE, effective=own.effective_draws, n=f"{n:,}", least=own.least_effective),
        sentence(Figure.RATIOS, n=f"{own.n_rows:,}", error=error),
    ]


def _mixing_rows(figures: Figures) -> list[tuple[str, Mixing]]:
    rows = [
        ("label-invariant quantities", figures.invariants),
        ("parameters in the labels they have", figures.labelled),
    ]
    return rows if figures.relabelled is None else [*rows, ("relabelled parameters", figures.relabelled)]


def _mixing_cells(mixing: Mixing) -> tuple[str, str, str]:
    return shown(mixing.r_hat, "r_hat"), shown(mixing.ess_bulk, "count"), shown(mixing.ess_tail, "count")


def _other_figures(figures: Figures) -> list[str]:
    density, means = ("log-likelihood", figures.log_likelihood)
    if figures.lp is not None:
        density, means = "log posterior density", figures.lp
    counts = {name: getattr(figures, name) for name in ("n_components", "n_chains", "n_draws", "n_divergences")}
    shares = {"empty": _mean(figures.empty_share), "collapsed": _mean(figures.collapsed_share)}
    lines = [
        sentence(Figure.SIZES, **counts),
        sentence(Figure.DENSITY, density=density, means=", ".join(shown(mean, 1) for mean in means)),
        sentence(Figure.GROUPS, groups="; ".join(numbered(group.chains, "chain") for group in figures.islands)),
        sentence(Figure.DEGENERATE, **shares),
    ]
    if figures.scouts:
        lines.append(sentence(Figure.EXPLORATORY, starts=", ".join(figures.scouts)))
    if figures.missing is not None:
        lines.append(sentence(Figure.MISSING, n=figures.n_random_starts, missing=figures.missing))
    if figures.nested_r_hat is not None:
        lines.append(sentence(Figure.NESTED_R_HAT, r_hat=figures.nested_r_hat))
    return lines


def _mean(shares: tuple[float, ...]) -> float:
    return sum(shares) / len(shares)


def _section(title: str, sentences: Sequence[str]) -> list[str]:
    return ["", title, *(f"- {sentence}" for sentence in sentences)] if sentences else []


def _plain(value: Any) -> Any:
    """Numbers that JSON does not know become None, tuples lists."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
