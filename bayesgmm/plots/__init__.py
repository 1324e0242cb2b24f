"""Plots of mixtures and posteriors."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.plots._data import one_draw as one_draw
    from bayesgmm.plots._data import thinned_tree as thinned_tree
    from bayesgmm.plots._style import ClusterFigure as ClusterFigure
    from bayesgmm.plots._style import bin_edges as bin_edges
    from bayesgmm.plots.clusters import plot_clusters as plot_clusters
    from bayesgmm.plots.components import plot_components as plot_components
    from bayesgmm.plots.density import plot_density as plot_density
    from bayesgmm.plots.mixing import plot_mixing as plot_mixing
    from bayesgmm.plots.pairs import plot_pairs as plot_pairs
    from bayesgmm.plots.partition import plot_membership_uncertainty as plot_membership_uncertainty
    from bayesgmm.plots.partition import plot_similarity as plot_similarity

__getattr__, __dir__, __all__ = lazy(__name__)
