"""Building blocks of compiled code: linking, explicit SIMD, small triangular matrices, checks of array shapes."""

from typing import TYPE_CHECKING

from bayesgmm._common.lazy import lazy

if TYPE_CHECKING:
    from bayesgmm._compiled.linalg import allocation_free as allocation_free
    from bayesgmm._compiled.linalg import cholesky_lower as cholesky_lower
    from bayesgmm._compiled.linalg import compiled as compiled
    from bayesgmm._compiled.linalg import invert_lower as invert_lower
    from bayesgmm._compiled.linalg import multiply_lower as multiply_lower
    from bayesgmm._compiled.linalg import solve_cholesky as solve_cholesky
    from bayesgmm._compiled.linking import IN_1 as IN_1
    from bayesgmm._compiled.linking import IN_2 as IN_2
    from bayesgmm._compiled.linking import IN_3 as IN_3
    from bayesgmm._compiled.linking import OUT_1 as OUT_1
    from bayesgmm._compiled.linking import OUT_2 as OUT_2
    from bayesgmm._compiled.linking import OUT_3 as OUT_3
    from bayesgmm._compiled.linking import Behaviour as Behaviour
    from bayesgmm._compiled.linking import BehaviourType as BehaviourType
    from bayesgmm._compiled.linking import link as link
    from bayesgmm._compiled.linking import linked as linked
    from bayesgmm._compiled.linking import record_type as record_type
    from bayesgmm._compiled.shapes import ShapeError as ShapeError
    from bayesgmm._compiled.shapes import Signature as Signature
    from bayesgmm._compiled.simd import LANES as LANES
    from bayesgmm._compiled.simd import TILE as TILE
    from bayesgmm._compiled.simd import aligned_start as aligned_start
    from bayesgmm._compiled.simd import exp as exp
    from bayesgmm._compiled.simd import fold as fold
    from bayesgmm._compiled.simd import load as load
    from bayesgmm._compiled.simd import load_single as load_single
    from bayesgmm._compiled.simd import log as log
    from bayesgmm._compiled.simd import maximum as maximum
    from bayesgmm._compiled.simd import store as store
    from bayesgmm._compiled.simd import zeros as zeros

__getattr__, __dir__, __all__ = lazy(__name__)
