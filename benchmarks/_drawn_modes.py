"""Small random data sets with a reference each: is a default fit right, does it say so, and does its bound hold?"""

import sys
import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
from _mode_cases import Case, copies, generator, smallest_weight, together
from _tempered_gibbs import Parameters, labels_of, tempered
from mode_references import N_RUNS, mean_and_error, mixed
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from bayesgmm import BayesianGaussianMixture, Prior, diagnose
from bayesgmm._common.arrays import Array, IntArray
from bayesgmm.exceptions import SamplingWarning
from bayesgmm.partitions import losses

SUCCESSES = ("converged", "converged, labels switched", "several modes, weighed", "collapsed or empty component")
WRONG, LEAST = 4.5, 0.02  # combined Monte Carlo errors, and difference, from which on an answer is wrong
DOUBTFUL, WANTED = 2.0, 0.04  # combined errors above which, and error of the reference below which, it goes on
SWEEPS = (2_000, 10_000)  # of a reference
REGIONS, THINNED = 12, 400  # regions of partitions at most, and draws that they are made of
HEAVY = 0.05  # mass of a mode that is to be met


def drawn_case(seed: int, i: int) -> Case:
    """Case ``i``: 8 to 60 rows in groups, fewer than the components, as many, or one more.

    A quarter of the groups have one to three rows; a quarter of the sets are rounded, so that rows are tied.
    """
    rng = generator([seed, i])
    n, d, k = int(rng.integers(8, 61)), int(rng.integers(1, 4)), int(rng.integers(2, 5))
    n_groups = int(rng.integers(1, k + 2))
    shares = np.where(rng.random(n_groups) < 0.25, rng.integers(1, 4, n_groups) / n, rng.uniform(0.5, 1.5, n_groups))
    sizes = np.maximum(1, np.round(n * shares / shares.sum())).astype(int)
    centres = rng.normal(0.0, rng.uniform(0.5, 6.0), (n_groups, d))
    X = np.repeat(centres, sizes, axis=0) + rng.normal(size=(sizes.sum(), d)) * rng.uniform(0.5, 1.5)
    if len(X) < 8:
        X = np.vstack([X, rng.normal(size=(8, d))])
    if rng.random() < 0.25:
        X = np.round(2.0 * X) / 2.0 + 0.0
    pairs = [tuple(map(int, rng.choice(len(X), 2, replace=False))) for _ in range(4)]
    quantities = {f"rows {i}, {j} together": together(i, j) for i, j in pairs} | {"smallest weight": smallest_weight}
    return Case(f"drawn {seed}, {i}", X, k, quantities)


def fitted(X: Array, k: int, seed: int, prior: Prior | None = None) -> BayesianGaussianMixture:
    """A default fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)
        return BayesianGaussianMixture(k, prior=prior, random_state=seed, progress=False).fit(X)


def parameters_of(fit: BayesianGaussianMixture) -> Parameters:
    """The draws of a fit."""
    posterior = fit.posterior_["posterior"]
    return Parameters(*(posterior[name].to_numpy() for name in ("weights", "means", "covariances")))


@dataclass(frozen=True)
class Answer:
    """A fit beside the reference: a difference, in units and combined errors, of the quantity where it is largest.

    ``missed`` is the mass, by the reference, of regions of partitions in which no draw of the fit lies.
    """

    case: Case
    verdict: str
    quantity: str
    truth: tuple[float, float]
    ours: tuple[float, float]
    bound: float
    missed: float
    reference_mixed: bool

    @property
    def gap(self) -> float:
        """Difference."""
        return abs(self.ours[0] - self.truth[0])

    @property
    def z(self) -> float:
        """Difference in combined errors."""
        return self.gap / max(float(np.hypot(self.ours[1], self.truth[1])), 1e-9)

    @property
    def wrong(self) -> bool:
        """Whether the difference is too large."""
        return self.gap > LEAST and self.z > WRONG

    @property
    def doubtful(self) -> bool:
        """Whether a longer reference may tell more."""
        return self.truth[1] > WANTED or (self.gap > LEAST and self.z > DOUBTFUL)

    @property
    def succeeded(self) -> bool:
        """Whether the fit calls itself right."""
        return self.verdict in SUCCESSES

    def __str__(self) -> str:
        (truth, error), (ours, own) = self.truth, self.ours
        n, d = self.case.X.shape
        return (
            f"| {self.case.name} | {n} x {d} | {self.case.k} | {self.quantity} | {truth:.3f} ± {error:.3f} "
            f"| {ours:.3f} ± {own:.3f} | {self.z:.1f} | {self.missed:.3f} | {self.bound:.3f} | {self.verdict} |"
        )


def reference_run(case: Case, sweeps: int, seed: int) -> tuple[Parameters, bool, dict[str, tuple[float, float]]]:
    """Draws of the reference, whether it mixed, and mean and error of each quantity."""
    run = tempered(case.X, case.k, case.own_prior, sweeps=sweeps, seeds=[[seed, r] for r in range(N_RUNS)])
    found = {name: mean_and_error(of(run.draws, case.X)) for name, of in case.quantities.items()}
    good = mixed(run, [r_hat for *_, r_hat in found.values()])
    return run.draws, good, {name: (mean, error) for name, (mean, error, _) in found.items()}


def answer(case: Case, *, seed: int = 0, reference_seed: int = 7) -> Answer:
    """Fit, and compare with a reference that is made longer as long as it leaves a doubt."""
    fit = fitted(case.X, case.k, seed)
    own, verdict, bound = parameters_of(fit), diagnose(fit).verdict, float(fit.posterior_.attrs.get("missing", np.nan))
    ours = {name: mean_and_error(of(own, case.X))[:2] for name, of in case.quantities.items()}
    for sweeps in SWEEPS:
        draws, good, truth = reference_run(case, sweeps, reference_seed)
        missed = missed_mass(draws, own, case.X)
        answers = [
            Answer(case, verdict, name, truth[name], ours[name], bound, missed, good) for name in case.quantities
        ]
        if good and not any(each.doubtful for each in answers):
            break
    return max(answers, key=lambda each: (each.wrong, each.gap > LEAST, each.z))


def missed_mass(truth: Parameters, own: Parameters, X: Array) -> float:
    """Share of the reference's draws in regions of partitions that no draw of a fit lies in."""
    mass, met = regions(truth, own, X)
    return float(mass[~met].sum())


def regions(truth: Parameters, own: Parameters, X: Array) -> tuple[Array, Array]:
    """The reference's mass of each region of partitions, and whether a draw of a fit lies in it.

    Regions: at most twelve groups of partitions of the reference by average linkage of variations of information; a
    draw lies in that of the nearest medoid.
    """
    partitions = labels_of(truth, X).reshape(-1, len(X))
    thinned = np.ascontiguousarray(partitions[np.linspace(0, len(partitions) - 1, THINNED).astype(int)])
    distances = np.stack([losses(thinned, each, loss="vi") for each in thinned])
    distances = 0.5 * (distances + distances.T)
    np.fill_diagonal(distances, 0.0)
    groups = fcluster(linkage(squareform(distances, checks=False), "average"), REGIONS, "maxclust")
    medoids = []
    for name in np.unique(groups):
        members = np.flatnonzero(groups == name)
        medoids.append(thinned[members[distances[np.ix_(members, members)].sum(axis=1).argmin()]])

    def counts(labels: IntArray) -> IntArray:
        nearest = np.stack([losses(np.ascontiguousarray(labels), each, loss="vi") for each in medoids]).argmin(axis=0)
        return np.bincount(nearest, minlength=len(medoids))

    return counts(partitions) / len(partitions), counts(labels_of(own, X).reshape(-1, len(X))) > 0


def noisy_groups(n_sets: int, n_seeds: int) -> str:
    """Five groups of seven rows and four components: in how many fits is every mode of mass .05 or more met?"""
    told, n_fits, complete = [], 0, 0
    for data_seed in range(n_sets):
        case = Case(f"noisy groups {data_seed}", copies(5, 7, 0.4, data_seed), 4, {"pair": together(0, 7)})
        truth, good, _ = reference_run(case, SWEEPS[0], data_seed)
        for seed in range(n_seeds):
            mass, met = regions(truth, parameters_of(fitted(case.X, case.k, seed)), case.X)
            heavy = mass >= HEAVY
            n_fits, complete = n_fits + 1, complete + bool(met[heavy].all())
            print(f"{case.name}, {seed}: {met[heavy].sum()} of {heavy.sum()}", file=sys.stderr, flush=True)
            if not met[heavy].all():
                told.append(f"{case.name}, seed {seed}: masses not met {mass[heavy & ~met].round(3)}, mixed: {good}")
    counted = (
        f"Noisy groups, {n_sets} data sets: every mode of mass {HEAVY} or more was met in {complete} of {n_fits} fits."
    )
    return "\n".join([counted, *told])


HEADER = "| data | rows | K | quantity | truth | ours | z | missed | bound | verdict |\n" + "|---" * 10 + "|"


def compared(seed: int, n_cases: int) -> str:
    """The answers to so many drawn cases counted, after those that are wrong or miss more than the bound.

    Ctrl-C counts those that were made.
    """
    answers: list[Answer] = []
    try:
        for i in range(n_cases):
            answers.append(answer(drawn_case(seed, i)))
            print(answers[-1], answers[-1].reference_mixed, file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"interrupted after {len(answers)}", file=sys.stderr)
    known = [each for each in answers if each.reference_mixed]
    wrong, bounded = [each for each in known if each.wrong], [each for each in known if np.isfinite(each.bound)]
    right = [each for each in known if not each.wrong]
    held = sum(each.missed <= each.bound for each in bounded)
    verdicts = Counter(each.verdict for each in known).most_common()
    told = [str(each) for each in known if each.wrong or each.missed > each.bound]
    bounds, missed = [each.bound for each in bounded] or [1.0], [each.missed for each in bounded] or [0.0]
    counted = (
        f"{len(answers)} data sets, {len(known)} with a reference: {', '.join(f'{n} {name}' for name, n in verdicts)}.",
        f"Wrong but called a success: {sum(each.succeeded for each in wrong)} ({len(wrong)} wrong in all).",
        f"Right but not called a success: {sum(not each.succeeded for each in right)}.",
        f"Mass that was missed is within the bound in {held} of {len(bounded)} fits that state one. Bounds: median "
        f"{np.median(bounds):.3f}, largest {max(bounds):.3f}; largest mass missed: {max(missed):.3f}.",
    )
    return "\n".join([HEADER, *told, "", *counted])
