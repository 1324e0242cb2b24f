"""The precedence of verdicts, on figures made up for it, and what each says."""

from dataclasses import replace

import numpy as np
import pytest

from bayesgmm.diagnostics.findings import findings_of, next_steps_of
from bayesgmm.diagnostics.rhat_ess import Mixing
from bayesgmm.diagnostics.verdict import (
    CONVERGED,
    DEGENERATE,
    DIVERGENCES,
    NOT_MIXED,
    SEVERAL_MODES,
    SUCCESSES,
    SWITCHED,
    WEIGHED,
    ChainGroup,
    Figures,
    PooledMode,
    verdict_of,
)

GOOD, BAD = Mixing(1.001, 2000.0, 1900.0, "entropy"), Mixing(1.5, 12.0, 20.0, "weight[0]")


def group(*chains: int, settled: bool = True, lp: float | None = -10.0) -> ChainGroup:
    best, vi = None if lp is None else lp + 5.0, (0.75, 0.0) if chains[0] else (0.0, 0.75)
    return ChainGroup(chains, 1.01, settled, -90.0 - chains[0], -85.0, lp, best, 2, vi)


ALL_WELL = Figures(
    n_chains=4,
    n_draws=1000,
    n_components=3,
    n_divergences=0,
    invariants=GOOD,
    labelled=GOOD,
    relabelled=GOOD,
    nested_r_hat=None,
    starting_modes=(0, 0, 1, 1),
    scouts=(),
    switched_share=0.0,
    identified=True,
    label_findings=(),
    empty_share=(0.0,) * 4,
    collapsed_share=(0.0,) * 4,
    log_likelihood=(-90.0,) * 4,
    lp=(-100.0,) * 4,
    islands=(group(0, 1, 2, 3),),
    modes=(),
)
TWO = (group(0, 1), group(2, 3))
POOLED = (
    PooledMode(0.94, 0.004, -70.2, 0.004, 2500.0, 2, (0, 1)),
    PooledMode(0.06, 0.004, -73.0, 0.1, 900.0, 3, (2, 3, 5)),
)

# What is wrong, the verdict it leads to and a word that must be among the findings: the gravest first.
WRONGS = [
    ({"n_draws": 3}, NOT_MIXED, "Too few draws"),
    ({"n_divergences": 9}, DIVERGENCES, "9 of 4,000"),
    ({"collapsed_share": (0.0, 0.0, 0.2, 0.0)}, DEGENERATE, "collapsed in 5% of the draws (chain 2)"),
    ({"islands": TWO}, SEVERAL_MODES, "2 groups"),
    ({"empty_share": (0.6, 0.6, 0.6, 0.3)}, DEGENERATE, "empty in 52% of the draws (all chains)"),
    ({"invariants": BAD}, NOT_MIXED, "The chains disagree about label-invariant quantities: R-hat is up to 1.500"),
    ({"labelled": BAD}, SWITCHED, "Labels switched"),
]


def changed(*wrongs) -> Figures:
    return replace(ALL_WELL, **{name: value for wrong in wrongs for name, value in wrong.items()})


def test_all_well_is_converged_without_a_finding():
    assert verdict_of(ALL_WELL) == CONVERGED
    assert findings_of(ALL_WELL) == ()


@pytest.mark.parametrize("first", range(len(WRONGS)))
def test_the_gravest_gives_the_verdict_and_all_are_found(first):
    figures = changed(*(wrong for wrong, _, _ in WRONGS[first:]))
    assert verdict_of(figures) == WRONGS[first][1]
    found = findings_of(figures)
    if first == 0:
        assert len(found) == 1  # nothing else can be told
        return
    last = -1 if figures.has_several_modes else None  # labels mean nothing across modes
    for _, _, words in WRONGS[first:last]:
        assert words in " ".join(found)
    assert WRONGS[first][2] in " ".join(found[:2])


@pytest.mark.parametrize(("wrong", "verdict", "words"), WRONGS)
def test_each_alone(wrong, verdict, words):
    figures = changed(wrong)
    assert verdict_of(figures) == verdict
    assert words in " ".join(findings_of(figures))
    assert next_steps_of(figures, verdict)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"invariants": Mixing(np.nan, np.nan, np.nan, "")}, NOT_MIXED),
        ({"n_divergences": 4}, CONVERGED),
        ({"n_divergences": 5}, DIVERGENCES),
        ({"n_divergences": 5, "modes": POOLED, "resampled": True}, SEVERAL_MODES),
        ({"n_divergences": 41, "modes": POOLED, "resampled": True}, DIVERGENCES),
        ({"modes": POOLED[:1], "resampled": True}, CONVERGED),
        ({"modes": POOLED, "resampled": True, "empty_share": (0.9,) * 4}, SEVERAL_MODES),
        ({"modes": POOLED, "empty_share": (0.9,) * 4}, WEIGHED),
        ({"modes": POOLED, "invariants": BAD}, NOT_MIXED),
        ({"modes": POOLED, "relabelled": None, "identified": False}, WEIGHED),
        ({"islands": (group(0, 1), group(2, 3, settled=False)), "invariants": BAD}, NOT_MIXED),
        ({"empty_share": (0.4,) * 4}, CONVERGED),
        ({"collapsed_share": (0.05,) * 4}, CONVERGED),
        ({"invariants": replace(GOOD, r_hat=1.011)}, NOT_MIXED),
        ({"invariants": replace(GOOD, r_hat=1.009)}, CONVERGED),
        ({"invariants": replace(GOOD, ess_bulk=399.0)}, NOT_MIXED),
        ({"invariants": replace(GOOD, ess_tail=399.0)}, NOT_MIXED),
        ({"relabelled": BAD}, NOT_MIXED),
        ({"relabelled": None, "identified": False}, SWITCHED),
        ({"nested_r_hat": 1.03}, NOT_MIXED),
        ({"switched_share": 0.02}, SWITCHED),
        ({"switched_share": 0.009}, CONVERGED),
        ({"labelled": BAD, "relabelled": BAD}, NOT_MIXED),
        ({"n_components": 1, "labelled": BAD}, CONVERGED),
    ],
)
def test_where_the_lines_are(change, verdict):
    assert verdict_of(changed(change)) == verdict


def test_a_few_divergences_are_a_finding_all_the_same():
    assert findings_of(changed({"n_divergences": 1})) == ("Divergent transitions occurred at 1 of 4,000 draws.",)


def test_chains_that_disagree_in_labels_that_never_changed_did_not_switch():
    assert "switched" not in " ".join(findings_of(changed({"labelled": BAD, "relabelled": BAD})))


def test_groups_say_which_chains_and_how_far_apart():
    _, first, second = findings_of(changed({"islands": (group(0, 1), group(2, 3, lp=-14.0))}))
    assert first == "The group made of chains 0, 1 has mean log-likelihood -90.0, 2 clusters with rows."
    assert second == (
        "The group made of chains 2, 3 has mean log-likelihood -92.0, 2 clusters with rows; log posterior density -4.0 "
        "in the mean and -4.0 at its best from chains 0, 1; variation of information of the partitions 0.75 bits."
    )


def test_without_a_log_posterior_groups_differ_in_log_likelihood():
    found = findings_of(changed({"islands": (group(0, 1, lp=None), group(2, 3, lp=None))}))
    assert "log-likelihood -2.0 in the mean and +0.0 at its best" in found[2]


def test_modes_that_chains_visit_are_quoted_and_no_reason_to_warn():
    figures = changed({"modes": POOLED})
    assert findings_of(figures)[0] == "The chains jump between 2 modes, in proportion to their weights."
    assert "weight 0.940 ± 0.004, 2 clusters with rows" in findings_of(figures)[1]
    known = changed({"modes": (replace(POOLED[0], cluster_sizes=(60, 31.5)), POOLED[1])})
    assert "weight 0.940 ± 0.004, clusters of 60, 31.5 rows" in findings_of(known)[1]
    assert "mode_mean()" in next_steps_of(figures, WEIGHED)[0]
    assert WEIGHED in SUCCESSES


def test_pooled_modes_are_quoted_with_standard_errors():
    figures = changed({"modes": POOLED, "resampled": True})
    assert findings_of(figures)[1:] == (
        "The mode with number 0 has weight 0.940 ± 0.004, 2 clusters with rows, 2,500 effective draws, chains 0, 1.",
        "The mode with number 1 has weight 0.060 ± 0.004, 3 clusters with rows, 900 effective draws, chains 2, 3.",
    )
    assert "standard errors" in next_steps_of(figures, SEVERAL_MODES)[0]
    vague = changed({"resampled": True, "modes": (replace(POOLED[0], weight_se=0.2), POOLED[1])})
    assert "The weights are uncertain" in findings_of(vague)[-1]
    few = changed({"resampled": True, "modes": (replace(POOLED[0], effective_size=12.0), POOLED[1])})
    assert "fewer than 25 effective draws" in findings_of(few)[-1]
    unimportant = changed(
        {"resampled": True, "modes": (POOLED[0], replace(POOLED[1], weight=0.01, effective_size=3.0))}
    )
    assert not any("uncertain" in finding for finding in findings_of(unimportant))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"starting_modes": (0, 0, 0, 0)}, "All chains started at the same optimum: agreement is no proof"),
        ({"starting_modes": None}, "Other modes were not looked for"),
        ({"n_chains": 1, "starting_modes": (0,)}, "A single chain cannot be compared with others"),
    ],
)
def test_chains_that_agree_are_no_proof(change, words):
    (found,) = findings_of(changed(change))
    assert found.startswith(words)
    assert findings_of(changed(change, {"scouts": ("best optimum", "one emptied")})) == ()
    assert findings_of(changed(change, {"n_components": 1})) == ()
