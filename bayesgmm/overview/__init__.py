"""Short summaries of fits: sizes and profiles of clusters, verdict, next step; one source for all displays."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.overview.em_overview import overview_of_em as overview_of_em
    from bayesgmm.overview.posterior_overview import RowClusters as RowClusters
    from bayesgmm.overview.posterior_overview import RowPartition as RowPartition
    from bayesgmm.overview.posterior_overview import in_common_labels as in_common_labels
    from bayesgmm.overview.posterior_overview import is_labelled as is_labelled
    from bayesgmm.overview.posterior_overview import overview_of as overview_of
    from bayesgmm.overview.posterior_overview import row_clusters as row_clusters
    from bayesgmm.overview.posterior_overview import row_partition as row_partition
    from bayesgmm.overview.short_summary import SURE as SURE
    from bayesgmm.overview.short_summary import Cluster as Cluster
    from bayesgmm.overview.short_summary import Overview as Overview

__getattr__, __dir__, __all__ = lazy(__name__)
