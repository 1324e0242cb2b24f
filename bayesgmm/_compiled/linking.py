"""Linking of compiled functions: callers call a symbol instead of inlining a copy.

Numba links the code of a compiled function into each of its callers and optimises it there once more, so that a
chain of callers compiles the innermost function as often as the chain is long. A `linked` function is compiled once,
with a declared signature and when it is first used; callers reach it through a symbol of the process.
"""

from collections.abc import Callable, Iterator
from functools import cache, update_wrapper
from typing import Any
from zlib import crc32

import llvmlite.binding as llvm
from numba import njit, types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.typing.templates import AbstractTemplate, Signature
from numba.extending import lower_builtin, typeof_impl

# Signatures are declared, so that read-only input can never trigger another compilation.
IN_1, IN_2, IN_3 = (types.Array(types.float64, n_axes, "C", readonly=True) for n_axes in (1, 2, 3))
OUT_1, OUT_2, OUT_3 = (types.Array(types.float64, n_axes, "C") for n_axes in (1, 2, 3))


def record_type(record: type, *fields: types.Type) -> types.Type:
    """The type of a NamedTuple in compiled code; its arrays must be writable, because numba does not convert it."""
    return types.BaseTuple.from_types(fields, record)


class LinkedFunction:
    """A compiled function with one signature, called from Python and from compiled code alike; see `linked`."""

    def __init__(self, signature: Signature, function: Callable[..., Any], *, allocates: bool) -> None:
        update_wrapper(self, function)
        self.signature, self.function, self.allocates = signature, function, allocates
        # The name changes with the signature: code from the disk cache never calls a function of another one.
        stamp = crc32(str(signature).encode())
        self.symbol = f"{function.__module__}.{function.__qualname__}.{stamp}"
        self.template = _template(self)
        self._dispatcher: Any = None

    def __call__(self, *args: Any) -> Any:
        return (self._dispatcher or self.dispatcher)(*args)

    @property
    def dispatcher(self) -> Any:  # a numba Dispatcher
        """The function, compiled or loaded from the disk cache, and what it calls."""
        with global_compiler_lock:  # once: callers keep the address
            if self._dispatcher is None:
                link(self.function)
                options = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": self.allocates}
                dispatcher = njit(self.signature, **options)(self.function)
                compiled = dispatcher.overloads[self.signature.args]
                address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
                llvm.add_symbol(self.symbol, address)
                self._dispatcher = dispatcher
        return self._dispatcher


def linked(signature: Signature, *, allocates: bool = True) -> Callable[[Callable[..., Any]], LinkedFunction]:
    """Decorator: compile a function once, when it is first used, for these types.

    One that allocates nothing need not count references to arrays, see `allocation_free`.
    """
    return lambda function: LinkedFunction(signature, function, allocates=allocates)


@cache
def link[F: Callable[..., Any]](function: F) -> F:
    """The function, once all that it calls is compiled: from the disk cache, its code only names linked functions."""
    for called in _called(function, set()):
        called.dispatcher  # noqa: B018
    return function


def _called(function: Any, seen: set[Any]) -> Iterator[LinkedFunction]:
    plain = function.py_func if isinstance(function, Dispatcher) else function
    seen.add(plain)
    for name in plain.__code__.co_names:
        value = plain.__globals__.get(name)
        if isinstance(value, LinkedFunction):
            yield value
        elif isinstance(value, Dispatcher) and value.py_func not in seen:
            yield from _called(value, seen)


def _template(linked_function: LinkedFunction) -> type[AbstractTemplate]:
    """How numba types a call, and the call itself, which hands on the exceptions of the function."""
    signature = linked_function.signature

    class Call(AbstractTemplate):
        key = linked_function

        def generic(self, args: Any, kws: Any) -> Signature:
            linked_function.dispatcher  # noqa: B018
            return signature

    @lower_builtin(linked_function, types.VarArg(types.Any))
    def call(context, builder, _signature, values):  # type: ignore[no-untyped-def]
        convention = context.call_conv
        kind = convention.get_function_type(signature.return_type, signature.args)
        function = cgutils.get_or_insert_function(builder.module, kind, linked_function.symbol)
        status, result = convention.call_function(builder, function, signature.return_type, signature.args, values)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return result

    return Call


@typeof_impl.register(LinkedFunction)
def _type_of(value: LinkedFunction, _context: Any) -> types.Type:
    return types.Function(value.template)
