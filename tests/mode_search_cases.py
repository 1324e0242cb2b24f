"""A prior under which chains find several modes."""

import numpy as np

from bayesgmm.priors.prior import Prior

HARD = Prior.normal_inverse_wishart(mean=(5.8, 3.1, 3.8, 1.2), kappa=0.01, dof=6, scale=np.diag([0.4, 0.1, 1.8, 0.34]))
