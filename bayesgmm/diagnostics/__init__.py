"""Convergence diagnostics: label-invariant quantities, R-hat, effective sample sizes, verdict, `diagnose`."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.diagnostics.convergence_warning import warn_if_unconverged as warn_if_unconverged
    from bayesgmm.diagnostics.diagnosis import MOST_ROWS as MOST_ROWS
    from bayesgmm.diagnostics.diagnosis import Diagnosis as Diagnosis
    from bayesgmm.diagnostics.diagnosis import approximation_lines as approximation_lines
    from bayesgmm.diagnostics.diagnosis import diagnose as diagnose
    from bayesgmm.diagnostics.label_invariants import by_weight as by_weight
    from bayesgmm.diagnostics.label_invariants import invariants as invariants
    from bayesgmm.diagnostics.power_scaling import power_scaling_sensitivity as power_scaling_sensitivity
    from bayesgmm.diagnostics.rhat_ess import MAX_R_HAT as MAX_R_HAT
    from bayesgmm.diagnostics.rhat_ess import MIN_ESS_PER_CHAIN as MIN_ESS_PER_CHAIN
    from bayesgmm.diagnostics.rhat_ess import Mixing as Mixing
    from bayesgmm.diagnostics.verdict import CONVERGED as CONVERGED
    from bayesgmm.diagnostics.verdict import DEGENERATE as DEGENERATE
    from bayesgmm.diagnostics.verdict import DIVERGENCES as DIVERGENCES
    from bayesgmm.diagnostics.verdict import EMPTY_COUNT as EMPTY_COUNT
    from bayesgmm.diagnostics.verdict import MAX_MISSING as MAX_MISSING
    from bayesgmm.diagnostics.verdict import NOT_MIXED as NOT_MIXED
    from bayesgmm.diagnostics.verdict import SEVERAL_MODES as SEVERAL_MODES
    from bayesgmm.diagnostics.verdict import SUCCESSES as SUCCESSES
    from bayesgmm.diagnostics.verdict import SWITCHED as SWITCHED
    from bayesgmm.diagnostics.verdict import WEIGHED as WEIGHED
    from bayesgmm.diagnostics.verdict import Approximated as Approximated
    from bayesgmm.diagnostics.verdict import ChainGroup as ChainGroup
    from bayesgmm.diagnostics.verdict import Figures as Figures

__getattr__, __dir__, __all__ = lazy(__name__)
