"""Each verdict on a case made for it, with chains of NUTS."""

import json
from math import log

import numpy as np
import pytest
import xarray as xr
from reference import load_data
from scipy.stats import entropy

from bayesgmm import BayesianGaussianMixture, Mixture, Prior, combine_modes, diagnose
from bayesgmm.data.blocks import Data
from bayesgmm.em.em import run_em
from bayesgmm.exceptions import InputError
from bayesgmm.inference.engines import sample_native
from bayesgmm.inference.problem import Problem
from bayesgmm.inference.settings import SamplerSettings
from bayesgmm.mixture.covariance.family import covariance_family
from bayesgmm.mixture.draws import Draws
from bayesgmm.posterior.tree import posterior_tree, prior_to_json

pytestmark = pytest.mark.draws
SHORT = pytest.mark.filterwarnings("ignore::bayesgmm.exceptions.SamplingWarning")  # bad chains, on purpose
FAITHFUL = load_data("faithful")
PARAMETERS = ("weights", "means", "covariances")


def optimum(X, prior: Prior, start: Mixture) -> Mixture:
    """The optimum to which EM leads from a start."""
    return run_em(Data.of(X), start, prior=prior.resolve(*start.means.shape, "full")).mixture


def at(*means: float, variance: float = 1.0) -> Mixture:
    """Equal components of one feature."""
    k = len(means)
    return Mixture(np.full(k, 1 / k), np.reshape(means, (k, 1)), np.full((k, 1, 1), variance))


def sampled(X, prior: Prior, starts, *, seed: int = 1, **settings) -> xr.DataTree:
    """Chains of NUTS, two from each start, in the labels in which they were sampled."""
    chosen = SamplerSettings(seed=seed, progress=False, **{"chains": 2, "draws": 600, "tune": 300, **settings})
    runs = [sample_native(Problem(Data.of(X), prior, start), chosen, np.random.default_rng(seed)) for start in starts]
    draws = Draws.joined([drawn for drawn, _ in runs])
    stats = {name: np.concatenate([run.stats[name] for _, run in runs]) for name in ("lp", "diverging")}
    names = [f"x{j}" for j in range(X.shape[1])]
    attributes = {"covariance_type": "full", "prior": prior_to_json(prior)}
    return posterior_tree(draws, stats, X=X, feature_names=names, start=starts[0], attributes=attributes)


def fit(X, k: int, **settings) -> BayesianGaussianMixture:
    chosen = {"init": "best", "random_state": 1, "progress": False, **settings}
    return BayesianGaussianMixture(k, **chosen).fit(X)


def backwards(tree: xr.DataTree, chains) -> xr.DataTree:
    """Components in the opposite order in some chains."""
    draws, result = tree["posterior"].to_dataset(), tree.copy()
    turned = draws.isel(cluster=slice(None, None, -1)).assign_coords(cluster=draws["cluster"])
    own = [(turned if c in chains else draws).isel(chain=[c]) for c in range(draws.sizes["chain"])]
    result["posterior"] = xr.DataTree(xr.concat(own, "chain"))
    return result


def words(diagnosis) -> str:
    return " ".join(diagnosis.findings)


# ---- converged, and labels switched


@pytest.fixture(scope="module")
def old_faithful():
    return fit(FAITHFUL, 2)


def test_old_faithful_has_converged(old_faithful):
    found = diagnose(old_faithful)
    assert found.verdict == "converged"
    figures = found.figures
    assert figures.invariants.is_fine(4)
    assert figures.relabelled == figures.labelled
    assert figures.relabelled.is_fine(4)
    assert (figures.n_chains, figures.n_draws, figures.n_components) == (4, 1000, 2)
    assert len(figures.islands) == 1
    assert figures.identified
    assert figures.switched_share == 0.0
    np.testing.assert_allclose(figures.lp, old_faithful.posterior_["sample_stats"]["lp"].mean("draw"))


def test_chains_that_started_together_are_flagged_though_they_agree(old_faithful):
    assert "same optimum: agreement is no proof" in words(diagnose(old_faithful))
    assert "agreement" not in words(diagnose(old_faithful, starting_mode=[0, 0, 1, 1]))
    spread = diagnose(fit(FAITHFUL, 2, init="spread", draws=1_000))
    assert spread.figures.n_random_starts == 128
    assert spread.figures.missing == pytest.approx(3 / 128)
    assert spread.findings == ()


def test_labels_that_differ_between_chains_and_between_draws(old_faithful):
    tree, reference = old_faithful.posterior_, diagnose(old_faithful).figures
    for name, switched in {"chains": backwards(tree, [1, 3]), "draws": every_other_draw(tree)}.items():
        found = diagnose(switched)
        assert found.verdict == "converged, labels switched", name
        assert found.figures.invariants == reference.invariants
        assert found.figures.relabelled.r_hat == pytest.approx(reference.labelled.r_hat)
        assert found.figures.switched_share == pytest.approx(0.5)
        assert (found.figures.labelled.r_hat > 1.5) == (name == "chains")
        assert "relabel()" in found.next_steps[0]


def every_other_draw(tree: xr.DataTree) -> xr.DataTree:
    """Components turned in two draws of four: any thinning by tens sees both."""
    draws, result = tree["posterior"].to_dataset(), tree.copy()
    turned = draws.isel(cluster=slice(None, None, -1)).assign_coords(cluster=draws["cluster"])
    odd = (draws["draw"] // 2) % 2 == 1
    result["posterior"] = xr.DataTree(xr.where(odd, turned, draws).transpose("chain", "draw", ...))
    return result


def test_chains_of_nuts_that_switch_labels_of_their_own_accord():
    X = np.array([[-1.2], [-1.0], [-0.8], [0.9], [1.0], [1.3]])
    prior = Prior.normal_inverse_wishart(mean=[0.0], kappa=0.3, dof=6.0, scale=[[1.0]], concentration=3.0)
    tree = sampled(np.asfortranarray(X), prior, [optimum(X, prior, at(-1, 1))], chains=4, draws=1000)
    first_is_higher = (tree["posterior"]["means"][..., 0, 0] > tree["posterior"]["means"][..., 1, 0]).mean("draw")
    assert (np.abs(first_is_higher - 0.5) < 0.45).any()  # a chain was long in both labellings
    found = diagnose(tree)
    assert found.verdict == "converged, labels switched"
    assert found.figures.relabelled.is_fine(4)
    assert not found.figures.labelled.is_fine(4)


# ---- several real modes


@pytest.fixture(scope="module")
def four_clusters():
    """Three components for four clusters: which pair shares one?"""
    rng = np.random.default_rng(0)
    X = np.asfortranarray(np.concatenate([rng.normal(centre, 0.5, 25) for centre in (0, 4, 10, 14)])[:, None])
    prior = Prior.weakly_informative(X)
    return X, prior, optimum(X, prior, at(0, 4, 12)), optimum(X, prior, at(2, 10, 14))


@pytest.fixture(scope="module")
def in_two_modes(four_clusters):
    """Two chains in each: to leave one, a cluster of 25 rows would have to be given up first."""
    X, prior, *optima = four_clusters
    return sampled(X, prior, optima)


def test_chains_in_two_modes(four_clusters, in_two_modes):
    X, _, *optima = four_clusters
    tree = in_two_modes
    found = diagnose(tree, starting_mode=[0, 0, 1, 1])
    assert found.verdict == "several real modes"
    one, other = found.figures.islands
    partitions = [mixture.responsibilities(X).argmax(axis=1) for mixture in optima]
    assert (one.chains, other.chains) == ((0, 1), (2, 3))
    assert one.n_clusters == other.n_clusters == 3
    assert one.vi[1] == other.vi[0] == pytest.approx(variation_of_information(*partitions))
    lp = tree["sample_stats"]["lp"]
    assert other.lp - one.lp == pytest.approx(float(lp[2:].mean() - lp[:2].mean()))
    assert other.max_lp - one.max_lp == pytest.approx(float(lp[2:].max() - lp[:2].max()))
    assert f"{other.lp - one.lp:+.1f} in the mean" in words(found)
    assert found.figures.nested_r_hat > 1.5
    assert "combine_modes" in " ".join(found.next_steps)


def variation_of_information(one, other) -> float:
    """2 H(one, other) - H(one) - H(other), in bits."""
    table = np.histogram2d(one, other, bins=(one.max() + 1, other.max() + 1))[0] / len(one)
    joint, *margins = (entropy(np.ravel(p)) for p in (table, table.sum(axis=0), table.sum(axis=1)))
    return (2 * joint - sum(margins)) / log(2)


def test_modes_that_only_labels_tell_apart_are_one(four_clusters):
    X, prior, one, _ = four_clusters
    turned = Mixture(one.weights[::-1], one.means[::-1], one.covariances[::-1])
    found = diagnose(sampled(X, prior, [one, turned], draws=1000))
    assert found.verdict == "converged, labels switched"
    assert len(found.figures.islands) == 1
    assert found.figures.labelled.r_hat > 1.5


def test_chains_that_all_started_in_one_mode_of_two_are_flagged(in_two_modes):
    """Nothing in them tells of the other mode, which they cannot reach: that they agree must not pass unremarked."""
    found = diagnose(in_two_modes.isel(chain=[0, 1]), starting_mode=[0, 0])
    assert found.figures.invariants.r_hat < 1.05
    assert "All chains started at the same optimum: agreement is no proof" in words(found)


def test_pooled_modes_are_judged_on_the_chains_as_they_were(in_two_modes):
    pooled = combine_modes(in_two_modes, random_state=0)
    found = diagnose(pooled)
    assert found.verdict == "several real modes"
    assert found.figures.invariants == diagnose(in_two_modes).figures.invariants
    for mode in json.loads(pooled.attrs["modes"]):
        assert f"weight {mode['weight']:.3f} ± {mode['weight_se']:.3f}" in words(found)


# ---- the others


def test_a_run_that_hardly_moves_has_not_mixed(old_faithful):
    """Sixty draws a chain, each ten times over: worth 240 where 400 are wanted."""
    tree = old_faithful.posterior_.isel(draw=np.repeat(np.arange(60), 10))
    found = diagnose(tree)
    assert found.verdict == "not mixed"
    assert not found.figures.invariants.is_fine(4)
    assert "more draws" in found.next_steps[0]


@SHORT
@pytest.mark.parametrize(("sampler", "distance", "better"), [("nuts", 6.0, "gibbs"), ("gibbs", 3.0, "nuts")])
def test_the_information_that_labels_take_away_tells_which_sampler_is_better(sampler, distance, better):
    """Two groups apart or overlapping, and sixty draws a chain, ten times over."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0.0, 1.0, 300), rng.normal(distance, 1.0, 300)])[:, None]
    for inference in ("nuts", "gibbs"):
        tree = fit(X, 2, inference=inference).posterior_
        found = diagnose(tree.isel(draw=np.repeat(np.arange(60), 10)))
        assert found.verdict == "not mixed"
        steps = [step for step in found.next_steps if "unknown labels" in step]
        assert len(steps) == (inference == sampler)
        assert all(f"inference='{better}'" in step for step in steps)


def test_a_component_too_many_is_empty():
    """Draws of one component that has all the rows, and of one that has less than half a row in three draws of four."""
    rng, shape = np.random.default_rng(3), (4, 300)
    X = rng.normal(size=(60, 1))
    small = np.where(rng.random(shape) < 0.75, 1e-3, 0.05)
    draws = {
        "weights": np.stack([1.0 - small, small], axis=-1),
        "means": np.stack([rng.normal(0.0, 0.13, shape), rng.normal(1.0, 0.2, shape)], axis=-1)[..., None],
        "covariances": np.exp(rng.normal(0.0, 0.1, (*shape, 2)))[..., None, None],
    }
    stats = {"lp": rng.normal(size=shape), "diverging": np.zeros(shape, dtype=bool)}
    attributes = {"covariance_type": "full", "prior": prior_to_json(Prior.weakly_informative(X))}
    drawn = Draws(**draws, family=covariance_family("full"))
    tree = posterior_tree(drawn, stats, X=X, feature_names=["x0"], start=at(0.0, 1.0), attributes=attributes)
    found = diagnose(tree)
    assert found.verdict == "collapsed or empty component"
    assert not found.figures.has_collapsed
    assert "fewer than 2 components" in words(found)
    resp = [mixture.responsibilities(X).sum(axis=0) for mixture in mixtures(tree)]
    share = (np.min(resp, axis=1) < log(2)).reshape(shape).mean(axis=1)
    np.testing.assert_allclose(found.figures.empty_share, share)


def mixtures(tree: xr.DataTree) -> list[Mixture]:
    arrays = [tree["posterior"][name].to_numpy() for name in PARAMETERS]
    flat = [array.reshape(-1, *array.shape[2:]) for array in arrays]
    return [Mixture(*parts, "full") for parts in zip(*flat, strict=True)]


def test_a_component_that_collapsed_onto_tied_rows():
    """The prior's scale allows a standard deviation of 1e-5, and twelve rows are the same."""
    rest = np.random.default_rng(3).normal(size=60)
    X = np.concatenate([rest[np.abs(rest) > 0.1], np.zeros(12)])[:, None]
    prior = Prior.normal_inverse_wishart(mean=[0.0], kappa=0.01, dof=1.0, scale=[[1e-9]])
    spike = Mixture([0.8, 0.2], [[0.1], [0.0]], [[[1.0]], [[1e-9]]])
    tree = sampled(np.asfortranarray(X), prior, [optimum(X, prior, spike)], chains=4, draws=300)
    found = diagnose(tree)
    assert found.verdict == "collapsed or empty component"
    least = tree["posterior"]["covariances"].min(("cluster", "feature", "feature_bis")) / X.var(ddof=1)
    np.testing.assert_allclose(found.figures.collapsed_share, (least < 1e-6).mean("draw"), atol=0.05)
    assert "tied values" in " ".join(found.next_steps)


def test_divergences_come_first(old_faithful):
    tree = old_faithful.posterior_.copy(deep=True)
    tree["sample_stats"]["diverging"][2, ::50] = True
    found = diagnose(tree)
    assert found.verdict == "divergences"
    assert found.figures.n_divergences == 20
    assert "target_accept" in found.next_steps[0]


def test_a_single_component_has_no_labels_and_no_other_mode():
    found = diagnose(fit(FAITHFUL, 1, draws=500))
    assert found.verdict == "converged"
    assert found.findings == ()


# ---- what is given and what comes out


def test_a_posterior_of_anybody_gets_the_same_verdict(old_faithful):
    draws = old_faithful.posterior_["posterior"]
    arrays = {"w": draws["weights"].to_numpy(), "mu": draws["means"].to_numpy(), "S": draws["covariances"].to_numpy()}
    found = diagnose(arrays, FAITHFUL, names={"weights": "w", "means": "mu", "covariances": "S"})
    own = diagnose(old_faithful)
    assert found.verdict == own.verdict == "converged"
    assert found.figures.labelled.r_hat == pytest.approx(own.figures.labelled.r_hat)
    assert found.figures.lp is None
    assert "Other modes were not looked for" in words(found)


def test_the_posterior_is_left_as_it_was(old_faithful):
    before = old_faithful.posterior_.copy(deep=True)
    diagnose(old_faithful)
    xr.testing.assert_identical(old_faithful.posterior_, before)


def test_starting_modes_are_one_a_chain(old_faithful):
    with pytest.raises(InputError, match="a number for each of 4 chains; got 2"):
        diagnose(old_faithful, starting_mode=[0, 1])


def test_json_and_print_show_everything(old_faithful):
    found = diagnose(old_faithful, starting_mode=[0, 0, 1, 1])
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again["verdict"] == "converged"
    assert again["figures"]["invariants"]["r_hat"] == found.figures.invariants.r_hat
    assert again["figures"]["islands"][0]["chains"] == [0, 1, 2, 3]
    text = str(found)
    assert text.startswith("Verdict: converged\n")
    for part in (
        "label-invariant quantities",
        "Nested R-hat",
        "What to do next",
        f"{found.figures.invariants.r_hat:.3f}",
    ):
        assert part in text
    html = found._repr_html_()
    assert html.startswith("<p>Verdict: converged")
    assert f'<th scope="row">label-invariant quantities</th><td>{found.figures.invariants.r_hat:.3f}</td>' in html


def test_a_single_draw_is_printed_too(old_faithful):
    draws = old_faithful.posterior_["posterior"].to_dataset().isel(draw=[0], chain=[0])
    found = diagnose(
        {name: draws[name].to_numpy() for name in PARAMETERS}, FAITHFUL, names={"covariances": "covariances"}
    )
    assert found.verdict == "not mixed"
    assert found.to_dict()["figures"]["invariants"]["r_hat"] is None
    assert "Too few draws" in str(found)
