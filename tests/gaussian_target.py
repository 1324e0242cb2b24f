"""A correlated Gaussian as a compiled log density; mean and precision come through the header."""

import functools

import numpy as np
from numba import carray, cfunc

from bayesgmm.log_posterior._cfunc import (
    FINITE,
    LOG_DENSITY_SIGNATURE,
    VALUE_NOT_FINITE,
    header_of,
    matrix_at,
    vector_at,
)


def _log_density(n_dim, point_, gradient_, value_, header_):
    header = carray(header_, (4,), np.int64)  # dimension, mean, precision, wall
    mean = vector_at(header[1], header[0])
    precision = matrix_at(header[2], header[0], header[0])
    wall = vector_at(header[3], 1)[0]
    point, gradient, value = carray(point_, (n_dim,)), carray(gradient_, (n_dim,)), carray(value_, (1,))
    value[0] = 0.0
    for i in range(n_dim):
        gradient[i] = 0.0
        for j in range(n_dim):
            gradient[i] -= precision[i, j] * (point[j] - mean[j])
        value[0] += 0.5 * gradient[i] * (point[i] - mean[i])
    if point[0] > wall:
        value[0] = -np.inf
        return VALUE_NOT_FINITE
    return FINITE


@functools.cache
def compiled_log_density():
    return cfunc(LOG_DENSITY_SIGNATURE, cache=True, error_model="numpy")(_log_density)


def gaussian_arrays(mean, covariance, *, wall=np.inf):
    """Mean, precision and wall of a density that is -inf where the first coordinate is above the wall."""
    precision = np.ascontiguousarray(np.linalg.inv(covariance))
    return np.array(mean, dtype=np.float64), precision, np.array([wall], dtype=np.float64)


def gaussian_header(mean, precision, wall):
    return header_of(mean.size, mean, precision, wall)
