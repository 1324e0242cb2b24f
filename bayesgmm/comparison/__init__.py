"""Comparison of two fits: estimates, partitions, memberships and predictions of EM beside the posterior."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.comparison.agreement import Partitions as Partitions
    from bayesgmm.comparison.compare_fits import compare as compare
    from bayesgmm.comparison.comparison import Comparison as Comparison
    from bayesgmm.comparison.parameter_table import component_cells as component_cells
    from bayesgmm.comparison.parameter_table import component_intervals as component_intervals
    from bayesgmm.comparison.parameter_table import convergence_lines as convergence_lines
    from bayesgmm.comparison.parameter_table import estimates_cells as estimates_cells
    from bayesgmm.comparison.parameter_table import estimates_renderable as estimates_renderable
    from bayesgmm.comparison.parameter_table import estimates_table as estimates_table
    from bayesgmm.comparison.parameter_table import mean_and_bounds as mean_and_bounds
    from bayesgmm.comparison.parameter_table import spread_table as spread_table
    from bayesgmm.comparison.parameter_table import verdict_lines as verdict_lines
    from bayesgmm.comparison.plots import comparison_panels as comparison_panels

__getattr__, __dir__, __all__ = lazy(__name__)
