"""Warning of a fit whose chains did not converge."""

from bayesgmm._common import sentence
from bayesgmm.diagnostics.diagnosis import Diagnosis
from bayesgmm.diagnostics.messages import WARNING
from bayesgmm.diagnostics.verdict import MAX_MISSING, SUCCESSES
from bayesgmm.exceptions import SamplingWarning, warn_user


def warn_if_unconverged(found: Diagnosis) -> bool:
    """Warn with verdict, findings and next steps unless the chains converged; return whether they did.

    Chains that visit several modes in proportion to their weights have. If modes may be missing, it warns all the same.
    """
    converged = found.verdict in SUCCESSES
    if not converged or (found.figures.missing or 0.0) > MAX_MISSING:
        warn_user(warning_text(found), SamplingWarning)
    return converged


def warning_text(found: Diagnosis) -> str:
    """Verdict, findings and next steps in one paragraph."""
    texts = {"findings": " ".join(found.findings), "next_steps": " ".join(found.next_steps)}
    return sentence(WARNING, verdict=found.verdict, **texts)
