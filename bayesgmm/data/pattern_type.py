"""The type of `Patterns` in compiled code; rows alone need no compiler."""

from numba import types

from bayesgmm._compiled import record_type
from bayesgmm.data.blocks import Patterns

PATTERNS = record_type(Patterns, types.int64[::1], types.int64[:, ::1])
