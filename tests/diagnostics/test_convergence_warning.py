"""The warning after a fit: there is none when chains converged, and otherwise it says what was found and what to do."""

import functools
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pretend_posterior import em_fit, pretend_posterior
from reference import load_data

from bayesgmm.diagnostics.convergence_warning import warn_if_unconverged
from bayesgmm.diagnostics.diagnosis import diagnose
from bayesgmm.diagnostics.verdict import MAX_MISSING
from bayesgmm.exceptions import SamplingWarning


@functools.cache
def drawn_once():
    frame = pd.DataFrame(load_data("faithful"), columns=["eruptions", "waiting"])
    return pretend_posterior(frame, em_fit(frame, 2), chains=4, draws=700)


def posterior():
    """Gibbs draws of Old Faithful, nearly independent; the log posterior density is noise."""
    return drawn_once().copy(deep=True)


@pytest.mark.draws
def test_chains_that_converged_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unconverged(diagnose(posterior()))


def test_one_warning_tells_verdict_findings_and_what_to_do():
    tree = posterior()
    tree["sample_stats"]["diverging"][1, :7] = True
    tree["sample_stats"]["lp"][:, 350:] += 1.0
    with pytest.warns(
        SamplingWarning,
        match=r"^Verdict: divergences\. Divergent .* 7 of 2,800 draws\..*R-hat.*\(worst: lp\).*next: Raise",
    ) as caught:
        warn_if_unconverged(diagnose(tree))
    assert len(caught) == 1


@pytest.mark.parametrize("draws", [1, 2, 3])
def test_a_handful_of_draws_cannot_be_judged(draws):
    tree = posterior().isel(draw=slice(draws))
    with pytest.warns(SamplingWarning, match=r"^Verdict: not mixed\. Too few draws"):
        warn_if_unconverged(diagnose(tree))


@pytest.mark.draws
def test_switched_labels_are_no_reason_to_distrust_the_draws_but_to_relabel_them():
    tree = posterior()
    draws = tree["posterior"].to_dataset()
    backwards = draws.isel(cluster=slice(None, None, -1)).assign_coords(cluster=draws["cluster"])
    tree["posterior"] = xr.DataTree(xr.concat([backwards.isel(chain=[0]), draws.isel(chain=[1, 2, 3])], "chain"))
    assert np.ptp(tree["posterior"]["weights"].mean("draw").to_numpy()) > 0.2
    with pytest.warns(SamplingWarning, match=r"^Verdict: converged, labels switched\..*relabel\(\)"):
        warn_if_unconverged(diagnose(tree))


@pytest.mark.draws
@pytest.mark.parametrize("missing", [MAX_MISSING, 0.2])
def test_modes_that_may_be_missing_are_warned_of_above_a_limit(missing):
    tree = posterior()
    tree.attrs |= {"missing": missing, "random_starts": '{"n": 20, "ended": [20]}'}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert warn_if_unconverged(diagnose(tree))
    told = [str(each.message) for each in caught]
    assert len(told) == (missing > MAX_MISSING)
    assert all("Verdict: converged. Modes may be missing: up to 20% of the posterior" in text for text in told)
