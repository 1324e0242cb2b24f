"""Compiled functions that others call instead of containing a copy of them, one for each family that is used.

Numba links the code of a compiled function into each of its callers and optimises it there once more, so that a
chain of callers compiles the innermost function as often as the chain is long. A `linked` function is compiled once,
for declared types and when it is first called, from Python or from compiled code: callers reach it through a cell
that holds its address, and an empty cell compiles it.

Families of covariances and of components are `Behaviour` objects. Compiled code receives them as arguments without
data, by whose type it finds their compiled methods: ``covariance.multiply(...)`` is the method of that family, chosen
when the caller is compiled. A linked function that takes some, before its other arguments, has a version for each.
"""

import _thread
import ctypes
import sys
from collections.abc import Callable, Iterator
from functools import cache, cached_property, partial, update_wrapper
from typing import Any
from zlib import crc32

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.datamodel import models
from numba.core.dispatcher import Dispatcher
from numba.core.imputils import lower_builtin, lower_constant, lower_getattr_generic
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, Signature, infer_getattr
from numba.extending import NativeValue, register_model, typeof_impl, unbox

from bayesgmm._common import is_watched
from bayesgmm._compiled.linalg import compiled

_COMPILING = 45  # seconds of a core that all functions of a posterior take

# Signatures are declared, so that read-only input can never trigger another compilation.
IN_1, IN_2, IN_3 = (types.Array(types.float64, n_axes, "C", readonly=True) for n_axes in (1, 2, 3))
OUT_1, OUT_2, OUT_3 = (types.Array(types.float64, n_axes, "C") for n_axes in (1, 2, 3))


def record_type(record: type, *fields: types.Type) -> types.Type:
    """The type of a NamedTuple in compiled code; its arrays must be writable, because numba does not convert it."""
    return types.BaseTuple.from_types(fields, record)


class Behaviour:
    """Base of objects that compiled code knows by their class; it may call their compiled static methods."""


class BehaviourType(types.Type):
    """The type of a `Behaviour` in compiled code; in declared signatures that of a base class stands for any."""

    def __init__(self, behaviour: type[Behaviour]) -> None:
        self.behaviour = behaviour
        super().__init__(name=f"{behaviour.__module__}.{behaviour.__qualname__}")

    def can_convert_from(self, typingctx: Any, other: types.Type) -> Conversion | None:
        """From Python a zero stands for it, whose type numba tells ten times as fast."""
        return Conversion.safe if isinstance(other, types.Integer) else None


register_model(BehaviourType)(models.OpaqueModel)


@typeof_impl.register(Behaviour)
def _type_of_behaviour(value: Behaviour, _context: Any) -> types.Type:
    return BehaviourType(type(value))


@unbox(BehaviourType)
def _unbox_behaviour(_type: types.Type, _value: Any, context: Any) -> NativeValue:
    return NativeValue(context.context.get_dummy_value())


@infer_getattr
class _Methods(AttributeTemplate):
    key = BehaviourType

    def generic_resolve(self, kind: BehaviourType, name: str) -> types.Type:
        method = getattr(kind.behaviour, name)
        return types.Dispatcher(method) if isinstance(method, Dispatcher) else types.Function(method.template)


@lower_getattr_generic(BehaviourType)
def _method_without_data(context: Any, _builder: Any, _type: Any, _value: Any, _name: str) -> Any:
    return context.get_dummy_value()


@lower_constant(BehaviourType)
def _constant_behaviour(context: Any, _builder: Any, _type: Any, _value: Any) -> Any:
    return context.get_dummy_value()


class LinkedFunction:
    """A compiled function with a declared signature, called from Python and from compiled code alike; see `linked`."""

    def __init__(self, signature: Signature, function: Callable[..., Any], *, allocates: bool) -> None:
        update_wrapper(self, function)
        self.signature, self.function, self.allocates = signature, function, allocates
        self.template = _template(self)
        self.bases = [kind.behaviour for kind in signature.args if isinstance(kind, BehaviourType)]
        self._zeros = (0,) * len(self.bases)
        self.versions: dict[tuple[type, ...], Version] = {}

    def __call__(self, *args: Any) -> Any:
        n = len(self.bases)
        return self.version(*map(type, args[:n])).dispatcher(*self._zeros, *args[n:])

    def bound(self, *behaviours: Behaviour) -> Callable[..., Any]:
        """The function of the other arguments, for callers in Python that call it often."""
        return partial(self.version(*map(type, behaviours)).dispatcher, *self._zeros)

    def version(self, *behaviours: type) -> "Version":
        """The version for these classes of behaviours, in the order in which the signature has them."""
        if behaviours not in self.versions:
            with global_compiler_lock:  # once: its symbols name memory of the last one made
                if behaviours not in self.versions:
                    self.versions[behaviours] = Version(self, behaviours)
        return self.versions[behaviours]

    def for_types(self, args: tuple[types.Type, ...]) -> "Version":
        """The version for arguments of these types."""
        return self.version(*(kind.behaviour for kind in args[: len(self.bases)]))

    def among(self, behaviours: tuple[type, ...]) -> "Version":
        """The version for those of some behaviours that the signature asks for."""
        return self.version(*(next(each for each in behaviours if issubclass(each, base)) for base in self.bases))


class Version:
    """A linked function for some behaviours: its symbol, the cell with its address, and its machine code."""

    def __init__(self, linked_function: LinkedFunction, behaviours: tuple[type, ...]) -> None:
        function = linked_function.function
        self.function, self.behaviours, self.allocates = function, behaviours, linked_function.allocates
        others = linked_function.signature.args[len(behaviours) :]
        self.signature: Signature = linked_function.signature.return_type(*map(BehaviourType, behaviours), *others)
        # The name changes with the signature: code from the disk cache never calls a function of another one.
        self.symbol = f"{function.__module__}.{function.__qualname__}.{crc32(str(self.signature).encode())}"
        self._cell = ctypes.c_void_p(None)
        self._compile = ctypes.CFUNCTYPE(None)(self._fill)
        llvm.add_symbol(f"{self.symbol}.cell", ctypes.addressof(self._cell))
        llvm.add_symbol(f"{self.symbol}.compile", ctypes.cast(self._compile, ctypes.c_void_p).value)

    @cached_property
    def dispatcher(self) -> Any:  # a numba Dispatcher
        """The function, compiled or loaded from the disk cache."""
        with global_compiler_lock:  # once: callers keep the address
            if not self._cell.value:
                link(self.function, *self.behaviours)
                self._dispatcher = compiled(self.signature, _nrt=self.allocates)(self.function)
                result = self._dispatcher.overloads[self.signature.args]
                self._cell.value = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
                if self._dispatcher.stats.cache_misses:
                    _tell_of_compiling()
        return self._dispatcher

    def _fill(self) -> None:
        """Compile for a caller that is compiled code: it cannot be interrupted here, only after it has returned."""
        try:
            self.dispatcher  # noqa: B018
        except KeyboardInterrupt:
            self.dispatcher  # noqa: B018
            _thread.interrupt_main()

    def call(self, context: Any, builder: Any, values: Any) -> Any:
        """The machine code of a call, which hands on the exceptions of the function."""
        convention, signature, pointer = context.call_conv, self.signature, ir.IntType(8).as_pointer()
        cell = _external(builder.module, pointer, f"{self.symbol}.cell")
        kind = ir.FunctionType(ir.VoidType(), ())
        with cgutils.if_unlikely(builder, cgutils.is_null(builder, builder.load(cell))):
            builder.call(cgutils.get_or_insert_function(builder.module, kind, f"{self.symbol}.compile"), ())
        kind = convention.get_function_type(signature.return_type, signature.args)
        function = builder.bitcast(builder.load(cell), kind.as_pointer())
        status, result = convention.call_function(builder, function, signature.return_type, signature.args, values)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return result


@cache
def _tell_of_compiling() -> None:
    """Say once, if somebody watches, why the first run takes long."""
    if is_watched():
        sys.stderr.write(f"Compiling once, about {_COMPILING} seconds: later runs load the machine code.\n")


def linked(signature: Signature, *, allocates: bool = True) -> Callable[[Callable[..., Any]], LinkedFunction]:
    """Decorator: compile a function once for these types, when it is first called.

    One that allocates nothing need not count references to arrays, see `allocation_free`. Where the signature begins
    with types of base classes of behaviours, their subclasses have versions of their own.
    """
    return lambda function: LinkedFunction(signature, function, allocates=allocates)


def link[F: Callable[..., Any]](function: F, *behaviours: type) -> F:
    """The function, once the cells of what it calls have names: its code from the disk cache asks for them."""
    for called in _called(function, behaviours, set()):
        called.among(behaviours)
    return function


def _called(function: Any, behaviours: tuple[type, ...], seen: set[Any]) -> Iterator[LinkedFunction]:
    plain = function.py_func if isinstance(function, Dispatcher) else function
    seen.add(plain)
    for name in plain.__code__.co_names:
        for value in (plain.__globals__.get(name), *(getattr(each, name, None) for each in behaviours)):
            if isinstance(value, LinkedFunction):
                yield value
            elif isinstance(value, Dispatcher) and value.py_func not in seen:
                yield from _called(value, behaviours, seen)


def _external(module: Any, kind: ir.Type, name: str) -> Any:
    return module.globals[name] if name in module.globals else ir.GlobalVariable(module, kind, name)


def _template(linked_function: LinkedFunction) -> type[AbstractTemplate]:
    """How numba types a call."""

    class Call(AbstractTemplate):
        key = linked_function

        def generic(self, args: Any, kws: Any) -> Signature:
            return linked_function.for_types(args).signature

    @lower_builtin(linked_function, types.VarArg(types.Any))
    def call(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return linked_function.for_types(signature.args).call(context, builder, values)

    return Call


@typeof_impl.register(LinkedFunction)
def _type_of(value: LinkedFunction, _context: Any) -> types.Type:
    return types.Function(value.template)
