"""Log densities and memberships of checked rows under one mixture, block by block."""

from collections.abc import Iterable

import numpy as np

from bayesgmm._common import Array, PerRow, Responsibilities
from bayesgmm.data import Block
from bayesgmm.mixture.mixture import Mixture, column_densities


def row_densities(data: Iterable[Block], mixture: Mixture) -> PerRow:
    """Log density of each row of `Data`, or of some of its blocks, (obs,)."""
    return np.concatenate([_of_block(block, mixture, memberships=False)[0] for block in data])


def row_memberships(data: Iterable[Block], mixture: Mixture) -> Responsibilities:
    """Posterior probability of each component for each row of `Data`, or of some of its blocks, (obs, cluster)."""
    return np.concatenate([_of_block(block, mixture)[1].T for block in data])


def _of_block(block: Block, mixture: Mixture, *, memberships: bool = True) -> tuple[PerRow, Array]:
    return column_densities(block.columns, mixture, block.patterns, memberships=memberships, allowed=block.allowed)
