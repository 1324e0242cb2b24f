"""How the kernel lays a block of rows out in scratch memory, and the sums over rows that it takes there."""

from typing import NamedTuple

from bayesgmm._common import Array
from bayesgmm._compiled import LANES, TILE, allocation_free, fold, load, store, zeros

BLOCK = 128  # rows: whole tiles, and few enough for the first-level cache


class Layout(NamedTuple):
    """Places in ``work`` of what belongs to the rows of a block, and how far apart they are.

    Room for weighted residuals of two features, rows, their weights and log densities, (cluster, row) squared lengths
    and then responsibilities, what components keep of them, residuals of a tile, whitened rows: from one component's to
    the next's it is `z_step`, zero where each overwrites the last. What belongs to features or components is `stride`
    apart. `n_columns` are those of the components' factors.
    """

    stride: int
    weighted: int
    row_weights: int
    log_density: int
    resp: int
    kept: int
    residuals: int
    columns: int
    z: int
    z_step: int
    n_columns: int


@allocation_free
def add_to(work, place, value):  # type: ignore[no-untyped-def]
    """Add a vector of LANES lanes to those at a place."""
    store(work, place, load(LANES, work, place) + value)


@allocation_free
def lane_sum(work: Array, place: int) -> float:
    """Add up the lanes at a place."""
    total = 0.0
    for lane in range(LANES):
        total += work[place + lane]
    return total


@allocation_free
def add_single(padded, work, resp, z, weighted, first, square):  # type: ignore[no-untyped-def]
    """Add one feature's first moment and square; leaves r z in ``weighted``."""
    f, aa = zeros(TILE), zeros(TILE)
    for i in range(0, padded, TILE):
        z0 = load(TILE, work, z + i)
        a = load(TILE, work, resp + i) * z0
        store(work, weighted + i, a)
        f = f + a
        aa = aa + a * z0
    add_to(work, first, fold(f))
    add_to(work, square, fold(aa))


@allocation_free
def add_two(padded, work, resp, z, weighted, first, square, below):  # type: ignore[no-untyped-def]
    """Add two features' first moments, squares and product; leaves their r z in ``weighted``."""
    f0 = f1 = aa = ab = bb = zeros(LANES)
    for i in range(0, padded, LANES):
        r, z0, z1 = load(LANES, work, resp + i), load(LANES, work, z + i), load(LANES, work, z + BLOCK + i)
        a, b = r * z0, r * z1
        store(work, weighted + i, a)
        store(work, weighted + BLOCK + i, b)
        f0, f1 = f0 + a, f1 + b
        aa, ab, bb = aa + a * z0, ab + a * z1, bb + b * z1
    add_to(work, first, f0)
    add_to(work, first + LANES, f1)
    add_to(work, square, aa)
    add_to(work, below, ab)
    add_to(work, below + LANES, bb)


@allocation_free
def add_products(padded, work, two, four, row, below):  # type: ignore[no-untyped-def]
    """Add the products of two stored rows with four others, the bulk of the work."""
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zeros(LANES)
    for i in range(0, padded, LANES):
        a, b = load(LANES, work, two + i), load(LANES, work, two + BLOCK + i)
        z0, z1 = load(LANES, work, four + i), load(LANES, work, four + BLOCK + i)
        z2, z3 = load(LANES, work, four + 2 * BLOCK + i), load(LANES, work, four + 3 * BLOCK + i)
        a0, a1, a2, a3 = a0 + a * z0, a1 + a * z1, a2 + a * z2, a3 + a * z3
        b0, b1, b2, b3 = b0 + b * z0, b1 + b * z1, b2 + b * z2, b3 + b * z3
    add_to(work, row, a0)
    add_to(work, row + LANES, a1)
    add_to(work, row + 2 * LANES, a2)
    add_to(work, row + 3 * LANES, a3)
    add_to(work, below, b0)
    add_to(work, below + LANES, b1)
    add_to(work, below + 2 * LANES, b2)
    add_to(work, below + 3 * LANES, b3)


@allocation_free
def add_pair(padded, work, one, two, place0, place1):  # type: ignore[no-untyped-def]
    """Add the products of one stored row with two others."""
    sum0, sum1 = zeros(TILE), zeros(TILE)
    for i in range(0, padded, TILE):
        a = load(TILE, work, one + i)
        sum0 = sum0 + a * load(TILE, work, two + i)
        sum1 = sum1 + a * load(TILE, work, two + BLOCK + i)
    add_to(work, place0, fold(sum0))
    add_to(work, place1, fold(sum1))
