"""Explicit SIMD in compiled code: short vectors as values.

A `Vector` of n lanes holds n doubles. A vector of `TILE` lanes fills four registers of the machine: enough
independent work to hide the latency of a multiplication, with every accumulator in a register.

`LANES`, the doubles in a register, are those of the processor that numba compiles for, which ``NUMBA_CPU_NAME`` and
``NUMBA_CPU_FEATURES`` may make another one than this machine's. The environment variable ``BAYESGMM_LANES`` (2, 4 or
8) forces another width, and so plays another machine: sums are then taken in another order.
"""

import operator
import os
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.codegen import JITCPUCodegen
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, overload, register_model

from bayesgmm.exceptions import InputError

_WIDTHS = {"%zmm": 8, "%ymm": 4}  # doubles in the registers that x86 names so; elsewhere a register holds two
_ADD_EIGHT = "define <8 x double> @f(<8 x double> %a) {\n %b = fadd <8 x double> %a, %a\n ret <8 x double> %b\n}"


def _lanes_of_target() -> int:
    """Doubles in a register of numba's target: the registers that it adds eight doubles in."""
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    assembly = machine.emit_assembly(llvm.parse_assembly(_ADD_EIGHT))
    return next((lanes for register, lanes in _WIDTHS.items() if register in assembly), 2)


def _forced_lanes(value: str) -> int:
    if value not in ("2", "4", "8"):
        raise InputError(
            expected="BAYESGMM_LANES, doubles in a register, one of 2, 4 and 8",
            got=f"BAYESGMM_LANES={value}",
            hint="Unset it to use those of the processor.",
        )
    return int(value)


def _lanes() -> int:
    """Numba files machine code by its target, which settles the width; a forced one is made part of the target."""
    value = os.environ.get("BAYESGMM_LANES")
    if not value:
        return _lanes_of_target()
    lanes, target = _forced_lanes(value), JITCPUCodegen.magic_tuple
    JITCPUCodegen.magic_tuple = lambda codegen: (*target(codegen), lanes)
    return lanes


LANES = _lanes()  # doubles in a register
TILE = 4 * LANES
LOWEST = -200.0  # exponentials below exp(-200) are flushed to zero: denormals cost ten times as much

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.693147180369123816490
_LN2_LOW = 1.90821492927058770002e-10
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to the nearest integer, kept in the low bits
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_MANTISSA_BITS = 0x000FFFFFFFFFFFFF
_TWO_52, _TWO_52_BITS = 4503599627370496.0, 0x4330000000000000


class Vector(types.Type):
    """The type of n doubles."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Vector({lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, ir.VectorType(ir.DoubleType(), vector.lanes))


def _constant(kind: ir.Type, value: float, lanes: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(kind, lanes), [value] * lanes)


def _spread(builder: Any, value: Any, lanes: int) -> Any:
    """A scalar in every lane; a vector as it is."""
    if isinstance(value.type, ir.VectorType):
        return value
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, _constant(ir.IntType(32), 0, lanes))


def _address(context: Any, builder: Any, array: tuple[Any, Any], index: Any, lanes: int) -> Any:
    data = context.make_array(array[0])(context, builder, array[1]).data
    vector = ir.VectorType(ir.DoubleType(), lanes)
    return builder.bitcast(cgutils.gep(builder, data, index), vector.as_pointer())


@intrinsic(prefer_literal=True)
def load(_typing, lanes, array, index):  # type: ignore[no-untyped-def]
    """``lanes`` doubles of a flat array from ``index`` on."""
    n = lanes.literal_value

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = _address(context, builder, (signature.args[1], args[1]), args[2], n)
        return builder.load(pointer, align=8)

    return Vector(n)(lanes, array, types.intp), codegen


@intrinsic(prefer_literal=True)
def load_single(_typing, lanes, array, index):  # type: ignore[no-untyped-def]
    """``lanes`` numbers of a flat array of single precision from ``index`` on, as doubles."""
    n = lanes.literal_value

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[1])(context, builder, args[1]).data
        narrow = ir.VectorType(ir.FloatType(), n)
        pointer = builder.bitcast(cgutils.gep(builder, data, args[2]), narrow.as_pointer())
        return builder.fpext(builder.load(pointer, align=4), ir.VectorType(ir.DoubleType(), n))

    return Vector(n)(lanes, array, types.intp), codegen


@intrinsic
def store(_typing, array, index, vector):  # type: ignore[no-untyped-def]
    """Write a vector into a flat array from ``index`` on."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = _address(context, builder, (signature.args[0], args[0]), args[1], vector.lanes)
        builder.store(args[2], pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def fold(_typing, tile):  # type: ignore[no-untyped-def]
    """Add the registers of a vector of TILE lanes: LANES lanes."""

    def part(builder, value, start):  # type: ignore[no-untyped-def]
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(range(start, start + LANES)))
        return builder.shuffle_vector(value, value, lanes)

    def codegen(_context, builder, _signature, args):  # type: ignore[no-untyped-def]
        a, b, c, d = (part(builder, args[0], start) for start in range(0, TILE, LANES))
        return builder.fadd(builder.fadd(a, b), builder.fadd(c, d))

    return Vector(LANES)(tile), codegen


@intrinsic
def aligned_start(_typing, array):  # type: ignore[no-untyped-def]
    """The first index of a flat array whose address is a multiple of 64 bytes, a cache line."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        address = builder.ptrtoint(data, ir.IntType(64))
        past = builder.and_(builder.neg(address), ir.Constant(ir.IntType(64), 63))
        return builder.lshr(past, ir.Constant(ir.IntType(64), 3))

    return types.intp(array), codegen


@intrinsic(prefer_literal=True)
def zeros(_typing, lanes):  # type: ignore[no-untyped-def]
    """A vector of zeros."""
    n = lanes.literal_value
    return Vector(n)(lanes), lambda _context, _builder, _signature, _args: _constant(ir.DoubleType(), 0.0, n)


def _elementwise(emit: Callable[[Any, Any, Any], Any]) -> Any:
    """An intrinsic of two operands, at least one of them a vector; a scalar is spread over the lanes."""

    @intrinsic
    def apply(_typing, a, b):  # type: ignore[no-untyped-def]
        vector = a if isinstance(a, Vector) else b

        def codegen(_context, builder, _signature, args):  # type: ignore[no-untyped-def]
            return emit(builder, *(_spread(builder, value, vector.lanes) for value in args))

        kinds = (kind if isinstance(kind, Vector) else types.float64 for kind in (a, b))
        return vector(*kinds), codegen

    return apply


def _define_operator(symbol: Callable[..., Any], name: str) -> None:
    apply = _elementwise(lambda builder, a, b: getattr(builder, name)(a, b, flags=("contract",)))

    @overload(symbol)
    def choose(a, b):  # type: ignore[no-untyped-def]
        if isinstance(a, Vector) or isinstance(b, Vector):
            return lambda a, b: apply(a, b)
        return None


for _symbol, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define_operator(_symbol, _name)

maximum = _elementwise(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))


def _zero_below(builder: Any, x: Any, value: Any) -> Any:
    lanes = x.type.count
    enough = builder.fcmp_ordered(">=", x, _constant(ir.DoubleType(), LOWEST, lanes))
    return builder.select(enough, value, _constant(ir.DoubleType(), 0.0, lanes))


_zero_below_lowest = _elementwise(_zero_below)


def _on_bits(emit: Callable[[Any, Any, Callable[[int], Any]], Any]) -> Any:
    """An intrinsic of one vector that works on its lanes as 64-bit integers."""

    @intrinsic
    def apply(_typing, x):  # type: ignore[no-untyped-def]
        integers, doubles = (ir.VectorType(kind, x.lanes) for kind in (ir.IntType(64), ir.DoubleType()))

        def codegen(_context, builder, _signature, args):  # type: ignore[no-untyped-def]
            bits = builder.bitcast(args[0], integers)
            result = emit(builder, bits, lambda value: _constant(ir.IntType(64), value, x.lanes))
            return builder.bitcast(result, doubles)

        return x(x), codegen

    return apply


# 2**n, where n stands in the low bits of its argument
_power_of_two = _on_bits(lambda b, bits, c: b.shl(b.add(bits, c(1023)), c(52)))
# 2**52 + the exponent that brings the argument to [sqrt(1/2), sqrt(2)), and what it is brought to
_exponent = _on_bits(lambda b, bits, c: b.or_(b.lshr(b.sub(bits, c(_SQRT_HALF_BITS)), c(52)), c(_TWO_52_BITS)))
_mantissa = _on_bits(
    lambda b, bits, c: b.add(b.and_(b.sub(bits, c(_SQRT_HALF_BITS)), c(_MANTISSA_BITS)), c(_SQRT_HALF_BITS))
)


@njit(nogil=True)
def exp(x):  # type: ignore[no-untyped-def]
    """exp(x) for x <= 0, zero below LOWEST."""
    clipped = maximum(x, LOWEST)
    shifted = clipped * _LOG2_E + _ROUND
    n = shifted - _ROUND
    r = clipped - n * _LN2_HIGH - n * _LN2_LOW
    p = r * (1.0 / 6227020800.0) + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return _zero_below_lowest(x, p * _power_of_two(shifted))


@njit(nogil=True)
def log(x):  # type: ignore[no-untyped-def]
    """log(x) for finite x >= 1."""
    exponent = _exponent(x) - _TWO_52
    mantissa = _mantissa(x)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    t = s * s
    p = t * (1.0 / 21.0) + 1.0 / 19.0
    p = p * t + 1.0 / 17.0
    p = p * t + 1.0 / 15.0
    p = p * t + 1.0 / 13.0
    p = p * t + 1.0 / 11.0
    p = p * t + 1.0 / 9.0
    p = p * t + 1.0 / 7.0
    p = p * t + 1.0 / 5.0
    p = p * t + 1.0 / 3.0
    return exponent * _LN2_HIGH + (2.0 * s + (2.0 * s * t * p + exponent * _LN2_LOW))
