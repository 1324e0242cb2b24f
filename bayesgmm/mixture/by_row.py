"""Log densities and memberships of checked rows under one mixture, block by block."""

import numpy as np

from bayesgmm._common import PerRow, Responsibilities
from bayesgmm.data import Data
from bayesgmm.mixture.mixture import Mixture, column_densities


def row_densities(data: Data, mixture: Mixture) -> PerRow:
    """Log density of each row, (obs,)."""
    return np.concatenate([column_densities(columns, mixture, memberships=False)[0] for columns, _ in data])


def row_memberships(data: Data, mixture: Mixture) -> Responsibilities:
    """Posterior probability of each component for each row, (obs, cluster)."""
    return np.concatenate([column_densities(columns, mixture)[1].T for columns, _ in data])
