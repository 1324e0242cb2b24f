"""Rotations of whitened residuals that separate missing features from observed ones.

A precision factor P is lower triangular. Rotations of pairs of its rows zero the column of a missing feature m in all
rows of later observed features; row m takes what was there. The other rows stay triangular, and once all missing
features are dealt with they are the factor of the marginal precision of those observed.
"""

import math

from bayesgmm._compiled import allocation_free


@allocation_free
def rotate_away(prec, features, n_observed, work, marginal, rotations):  # type: ignore[no-untyped-def]
    """Rotate each missing feature's row with those of later observed ones, so that its column is in it alone."""
    n, change, place = prec.shape[0], 0.0, 0
    for i in range(n):
        for j in range(n):
            work[i, j] = prec[i, j]
    for at in range(n - 1, n_observed - 1, -1):
        m = features[at]
        for q in range(m - (at - n_observed), n_observed):
            i = features[q]
            a, b = work[m, m], work[i, m]
            r = math.sqrt(a * a + b * b)
            c, s = a / r, b / r
            rotations[place, 0], rotations[place, 1] = c, s
            place += 1
            for j in range(i + 1):
                a, b = work[m, j], work[i, j]
                work[m, j], work[i, j] = c * a + s * b, c * b - s * a
        change -= math.log(work[m, m])
    for i in range(n_observed):
        for j in range(n_observed):
            marginal[i, j] = work[features[i], features[j]] if j <= i else 0.0
    return change


@allocation_free
def rotate_back(features, rotations, found, work, whole):  # type: ignore[no-untyped-def]
    """Undo the rotations, the last first."""
    count, first, second = found
    z, outer = work
    n, n_observed = z.shape[0], first.shape[0]
    for i in range(n):
        z[i] = 0.0
        for j in range(n):
            outer[i, j] = 0.0
    for i in range(n_observed):
        z[features[i]] = first[i]
        for j in range(n_observed):
            outer[features[i], features[j]] = second[i, j]
    place = 0
    for at in range(n_observed, n):
        outer[features[at], features[at]] = count
        place += n_observed - (features[at] - (at - n_observed))
    for at in range(n_observed, n):
        m = features[at]
        for q in range(n_observed - 1, m - (at - n_observed) - 1, -1):
            i = features[q]
            place -= 1
            c, s = rotations[place, 0], rotations[place, 1]
            z[m], z[i] = c * z[m] - s * z[i], s * z[m] + c * z[i]
            for j in range(n):
                a, b = outer[m, j], outer[i, j]
                outer[m, j], outer[i, j] = c * a - s * b, s * a + c * b
            for j in range(n):
                a, b = outer[j, m], outer[j, i]
                outer[j, m], outer[j, i] = c * a - s * b, s * a + c * b
    for i in range(n):
        whole[0][i] += z[i]
        for j in range(n):
            whole[1][i, j] += outer[i, j]
