"""Memory that is used again for block after block of rows."""

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class ReusedBuffer(threading.local):
    """One array a thread: what was in it before is overwritten.

    Examples
    --------
    >>> from bayesgmm.data import ReusedBuffer
    >>> buffer = ReusedBuffer()
    >>> buffer.array((2, 3))[:] = 1.0
    >>> buffer.array((4,)).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    __module__ = "bayesgmm.data"

    def __init__(self) -> None:
        self._bytes = np.empty(0, dtype=np.uint8)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """A C-contiguous array with anything in it."""
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        if len(self._bytes) < n_bytes:
            self._bytes = np.empty(n_bytes, dtype=np.uint8)
        return self._bytes[:n_bytes].view(dtype).reshape(shape)
