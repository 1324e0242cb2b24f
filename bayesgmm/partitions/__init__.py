"""Partitions: allocations, similarity matrix, losses, point estimates (SALSO), credible balls."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm.partitions.allocations import UNASSIGNED as UNASSIGNED
    from bayesgmm.partitions.allocations import RandomState as RandomState
    from bayesgmm.partitions.allocations import are_labels as are_labels
    from bayesgmm.partitions.allocations import drawn_labels as drawn_labels
    from bayesgmm.partitions.allocations import flat_draws as flat_draws
    from bayesgmm.partitions.allocations import label_draws as label_draws
    from bayesgmm.partitions.allocations import occupied_clusters as occupied_clusters
    from bayesgmm.partitions.allocations import sample_labels as sample_labels
    from bayesgmm.partitions.allocations import sparse_occupancy as sparse_occupancy
    from bayesgmm.partitions.occupancy import Occupancy as Occupancy
    from bayesgmm.partitions.occupancy import discrete_r_hat as discrete_r_hat
    from bayesgmm.partitions.occupancy import monte_carlo_errors as monte_carlo_errors
    from bayesgmm.partitions.partition_losses import Labels as Labels
    from bayesgmm.partitions.partition_losses import canonical_labels as canonical_labels
    from bayesgmm.partitions.partition_losses import contingency_table as contingency_table
    from bayesgmm.partitions.partition_losses import losses as losses
    from bayesgmm.partitions.partition_losses import table_loss as table_loss
    from bayesgmm.partitions.point_estimate import CredibleBall as CredibleBall
    from bayesgmm.partitions.point_estimate import PartitionEstimate as PartitionEstimate
    from bayesgmm.partitions.point_estimate import credible_ball as credible_ball
    from bayesgmm.partitions.point_estimate import estimate_partition as estimate_partition
    from bayesgmm.partitions.point_estimate import partition_loss as partition_loss
    from bayesgmm.partitions.representatives import RepresentativePartitions as RepresentativePartitions
    from bayesgmm.partitions.representatives import representative_partitions as representative_partitions
    from bayesgmm.partitions.similarity import MAX_MEMORY as MAX_MEMORY
    from bayesgmm.partitions.similarity import OBS_BIS as OBS_BIS
    from bayesgmm.partitions.similarity import similarity_matrix as similarity_matrix
    from bayesgmm.partitions.uncertainty import membership_uncertainty as membership_uncertainty

__getattr__, __dir__, __all__ = lazy(__name__)
