"""Floor 1: the kernel, covariance families, mixtures and priors. Adds SciPy and numba."""
