"""Array aliases. Axes come in the order (chain, draw, cluster, feature, feature_bis) and (obs, cluster).

An alias names the axes of an array; all are float64 unless the name says otherwise.
"""

import numpy as np
from numpy.typing import NDArray

type Array = NDArray[np.float64]
type IntArray = NDArray[np.int64]

type Rows = Array  # (obs, feature)
type Columns = Array  # (feature, obs), C-contiguous: the layout the kernel reads
type PerRow = Array  # (obs,)
type Responsibilities = Array  # (obs, cluster)
type Weights = Array  # (cluster,)
type Means = Array  # (cluster, feature)
type Covariances = Array  # (cluster, feature, feature_bis), or the family's own smaller shape
type Factors = Array  # (cluster or 1, rows, columns): one whitening or Cholesky factor a block
