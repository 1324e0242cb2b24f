"""Warning of a fit whose chains did not converge."""

import warnings

import xarray as xr

from bayesgmm._common import sentence
from bayesgmm.data import Data
from bayesgmm.diagnostics.diagnosis import Diagnosis, diagnose
from bayesgmm.diagnostics.messages import WARNING
from bayesgmm.diagnostics.verdict import CONVERGED
from bayesgmm.exceptions import SamplingWarning


def warn_if_unconverged(tree: xr.DataTree, data: Data | None = None) -> bool:
    """Warn with verdict, findings and next steps unless the chains converged; return whether they did."""
    found = diagnose(tree, data)
    converged = found.verdict == CONVERGED
    if not converged:
        warnings.warn(warning_text(found), SamplingWarning, stacklevel=3)
    return converged


def warning_text(found: Diagnosis) -> str:
    """Verdict, findings and next steps in one paragraph."""
    texts = {"findings": " ".join(found.findings), "next_steps": " ".join(found.next_steps)}
    return sentence(WARNING, verdict=found.verdict, **texts)
