"""Log densities and memberships of checked rows under one mixture, block by block."""

from collections.abc import Iterable

import numpy as np

from bayesgmm._common import PerRow, Responsibilities
from bayesgmm.data import Block
from bayesgmm.mixture.mixture import Mixture, column_densities


def row_densities(data: Iterable[Block], mixture: Mixture) -> PerRow:
    """Log density of each row of `Data`, or of some of its blocks, (obs,)."""
    return np.concatenate(
        [column_densities(block.columns, mixture, memberships=False, allowed=block.allowed)[0] for block in data]
    )


def row_memberships(data: Iterable[Block], mixture: Mixture) -> Responsibilities:
    """Posterior probability of each component for each row of `Data`, or of some of its blocks, (obs, cluster)."""
    return np.concatenate([column_densities(block.columns, mixture, allowed=block.allowed)[1].T for block in data])
