"""NUTS by nutpie on a compiled log density. Independent of mixtures, PyMC and PyTensor.

nutpie calls the density through its C address, without Python and without the interpreter lock, for which chains
in several threads would compete at every gradient.
"""

import ctypes
import functools
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import nutpie
import pyarrow as pa
from numba import carray, cfunc
from numpy.typing import ArrayLike, NDArray
from nutpie.compile_pymc import CompiledPyMCModel
from nutpie.compiled_pyfunc import from_pyfunc
from nutpie.sample import CompiledModel, in_marimo_notebook

from bayesgmm._common import Array, IntArray, is_watched
from bayesgmm.data import HaltedError
from bayesgmm.exceptions import InputError, InterruptedWarning, SamplingError, SamplingWarning, warn_user
from bayesgmm.inference.settings import POINT, TOO_SHORT, SamplerSettings, Trace
from bayesgmm.io import Series
from bayesgmm.log_posterior import EXPAND_SIGNATURE, FINITE, VALUE_NOT_FINITE
from bayesgmm.validation import as_finite

type StartFunction = Callable[[int], Array]  # seed of a chain -> its first point

_C_LOG_DENSITY = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *[ctypes.c_void_p] * 4)
_STATISTICS = {  # nutpie's name -> ArviZ's, where it has one
    "diverging": "diverging",
    "logp": "lp",
    "energy": "energy",
    "energy_error": "energy_error",
    "max_energy_error": "max_energy_error",
    "mean_tree_accept": "acceptance_rate",
    "mean_tree_accept_sym": "mean_tree_accept_sym",
    "n_steps": "n_steps",
    "depth": "tree_depth",
    "maxdepth_reached": "reached_max_treedepth",
    "step_size": "step_size",
    "step_size_bar": "step_size_bar",
    "index_in_trajectory": "index_in_trajectory",
    "fisher_distance": "fisher_distance",
}
_WELL_SPACING = 1000.0
_SHORTEST_WAIT = 0.01  # seconds: below a millisecond nutpie does not hear that its chains have ended
_SHORT_TUNE = 100  # draws of warm-up of a chain that goes on after its process was killed


@dataclass(frozen=True)
class Target:
    """A compiled log density on unconstrained space.

    Parameters
    ----------
    n_dim : int
        Number of coordinates.
    address : int
        Address of a C function ``int64 f(uint64 n_dim, double *point, double *gradient_out, double *value_out,
        void *user_data)``, a numba cfunc of signature `bayesgmm.log_posterior._cfunc.LOG_DENSITY_SIGNATURE`. It
        returns 0 on success; a positive status (3: gradient, 4: value not finite) makes the step a divergence; a
        negative one aborts sampling. It is called from several threads at once and must only read shared data.
    user_data : ndarray
        Its buffer is what the function gets as ``user_data``.
    keep : tuple
        Whatever must stay alive while the function may be called: the compiled function, the data.
    """

    n_dim: int
    address: int
    user_data: NDArray[np.generic]
    keep: tuple[object, ...] = ()

    def __call__(self, point: ArrayLike) -> tuple[int, float, Array]:
        """Status, log density and gradient (n_dim,) at a point (n_dim,)."""
        position = np.array(point, dtype=np.float64, ndmin=1)
        if position.shape != (self.n_dim,):
            raise InputError(expected=f"a point of shape ({self.n_dim},)", got=f"{position.shape}")
        gradient, value = np.zeros(self.n_dim), np.zeros(1)
        pointers = (a.ctypes.data for a in (position, gradient, value, self.user_data))
        status = _C_LOG_DENSITY(self.address)(self.n_dim, *pointers)
        return status, float(value[0]), gradient


@dataclass(frozen=True)
class PythonTarget:
    """A log density that is evaluated in Python, one that takes milliseconds.

    Attributes
    ----------
    n_dim : int
    density : callable
        Value and gradient (n_dim,) at a point (n_dim,), called from several threads at once.
    stops : list of threading.Event
        Once one of them is set, as the first is when a run ends early, the density may raise `HaltedError`.
    """

    n_dim: int
    density: Callable[[Array], tuple[float, Array]]
    stops: list[threading.Event]

    def __call__(self, point: ArrayLike) -> tuple[int, float, Array]:
        """Status, log density and gradient (n_dim,) at a point (n_dim,)."""
        try:
            value, gradient = self.density(np.array(point, dtype=np.float64))
        except HaltedError:
            return VALUE_NOT_FINITE, np.nan, np.full(self.n_dim, np.nan)
        is_finite = np.isfinite(value) and np.isfinite(gradient).all()
        return FINITE if is_finite else VALUE_NOT_FINITE, value, gradient


def sample_nuts(target: Target | PythonTarget, starts: ArrayLike, settings: SamplerSettings) -> Trace:
    """Draw from a density by the No-U-Turn sampler, every chain from its own start.

    A chain starts exactly at its row of ``starts``. Only where the gradient has an exact zero, which nutpie
    refuses, that coordinate is moved by a relative 1e-10 (more if the zero persists).

    Parameters
    ----------
    target : Target
        The log density.
    starts : array_like, shape (chain, n_dim)
        One start a chain.
    settings : SamplerSettings
        Everything else.

    Returns
    -------
    Trace
        After Ctrl-C the draws made so far, cut to the largest block of chains of equal length, with an
        `InterruptedWarning`.

    Raises
    ------
    InputError
        ``starts`` has the wrong shape or is not finite.
    SamplingError
        The density is not finite, or flat in a coordinate, at a start; or the sampler broke down.
    KeyboardInterrupt
        Ctrl-C came before any draw after warm-up.

    References
    ----------
    Hoffman and Gelman (2014), JMLR 15, 1593-1623; nutpie, https://github.com/pymc-devs/nutpie.
    """

    def model_at(points: Array, settings: SamplerSettings) -> CompiledModel:
        return _nutpie_model(target, _start_function(_usable_starts(target, points), settings))

    points = _checked_starts(starts, target.n_dim, settings)
    stop = target.stops[0] if isinstance(target, PythonTarget) else None
    return _sample(model_at, points, settings, {POINT: (target.n_dim,)}, stop)


def sample_model(
    model: CompiledPyMCModel, starts: ArrayLike, settings: SamplerSettings, shapes: Mapping[str, tuple[int, ...]]
) -> Trace:
    """Draw from a model that nutpie compiled, every chain from its own start; see `sample_nuts`.

    Parameters
    ----------
    model : nutpie.compile_pymc.CompiledPyMCModel
        What ``nutpie.compile_pymc_model`` returns.
    starts : array_like, shape (chain, n_dim)
        Unconstrained points, in the model's order.
    settings : SamplerSettings
    shapes : mapping of str to tuple
        The variables to keep of each draw, and their shapes.
    """

    def model_at(points: Array, settings: SamplerSettings) -> CompiledModel:
        return replace(model, initial_point_func=_start_function(points, settings))

    points = _checked_starts(starts, model.n_dim, settings)
    return _sample(model_at, points, replace(settings, kept=None), shapes)


def _sample(
    model_at: Callable[[Array, SamplerSettings], CompiledModel],
    starts: Array,
    settings: SamplerSettings,
    shapes: Mapping[str, tuple[int, ...]],
    stop: threading.Event | None = None,
) -> Trace:
    """Draws of all chains: one run of nutpie, or what was kept before the process was killed and what is missing.

    Chains that had draws go on from the last of them after a short warm-up; the others begin anew.
    """
    made, series, interrupted = _Made(settings.chains), settings.kept_draws, False
    for part in series:
        made.add(part)
    while not interrupted and (chains := made.short_of(settings.draws)):
        lengths = made.lengths
        goes_on, seed = bool(lengths[chains].all()), settings.seed
        if lengths.any():
            seed = int(np.random.default_rng([settings.seed, *lengths]).integers(2**63))
        now = replace(
            settings,
            seed=seed,
            chains=len(chains),
            draws=settings.draws - int(lengths[chains].min()),
            tune=min(settings.tune, _SHORT_TUNE) if goes_on else settings.tune,
        )
        model = model_at(made.last_points(chains) if goes_on else starts[chains], now)
        interrupted = _run(model, now, _Reader(made, chains, series, shapes, stop))
    draws = made.trace(settings.draws, interrupted=interrupted, until=settings.until)
    if interrupted:
        n_chains, n_draws = draws.stats["lp"].shape
        message = f"Sampling was interrupted: kept {n_draws} draws of {n_chains} chains"
        asked = f" ({settings.draws} draws of {settings.chains} chains were asked for)."
        warn_user(message + asked, InterruptedWarning)
    return draws


# ---- starts


def _usable_starts(target: Target | PythonTarget, points: Array) -> Array:
    return np.array([_usable_start(target, point, chain=chain) for chain, point in enumerate(points)])


def _checked_starts(starts: ArrayLike, n_dim: int, settings: SamplerSettings) -> Array:
    points = as_finite(starts, name="starts")
    expected = (settings.chains, n_dim)
    if points.shape != expected:
        raise InputError(expected=f"starts of shape (chains, n_dim) = {expected}", got=f"{points.shape}")
    return points


def _usable_start(target: Target | PythonTarget, start: Array, *, chain: int) -> Array:
    """The start itself, moved a little in coordinates where the gradient is exactly zero: nutpie refuses those."""
    point = start
    for step in (1e-10, 1e-8, 1e-6, 1e-4, 0.0):
        status, value, gradient = target(point)
        if status != FINITE or not (np.isfinite(value) and np.isfinite(gradient).all()):
            raise SamplingError(
                f"Chain {chain} cannot start: its log density is {value} with {np.isfinite(gradient).sum()} of "
                f"{target.n_dim} finite gradient entries (status {status})."
            )
        zero = gradient == 0.0
        if not zero.any():
            return point
        point = np.where(zero, start + step * (1.0 + np.abs(start)), start)
    flat = np.flatnonzero(zero).tolist()
    raise SamplingError(f"Chain {chain} cannot start: its log density is flat in coordinates {flat}.")


def _start_function(starts: Array, settings: SamplerSettings) -> StartFunction:
    """nutpie asks for a start with nothing but a seed of the chain's own; this knows whose seed it is."""
    chain_of = {seed: chain for chain, seed in enumerate(_chain_seeds(settings))}

    def start(seed: int) -> Array:
        if seed not in chain_of:  # a second try, so the first, checked beforehand, was refused
            raise SamplingError("nutpie refused the start of a chain")
        return starts[chain_of[seed]].copy()

    return start


def _chain_seeds(settings: SamplerSettings) -> list[int]:
    """The seeds that nutpie hands to the start function, in the order of chains, from a run of 3 milliseconds.

    Calls arrive in any order, so every call gets a harmonic well of its own to start in, too far from the next
    to leave it, and the well in which a chain is found tells which call was the chain's.
    """
    seeds: list[int] = []

    def start(seed: int) -> Array:
        seeds.append(seed)
        well = seeds.index(seed)
        return np.array([_WELL_SPACING * well + 1.0])

    def log_density(point: Array) -> tuple[float, Array]:
        offset = point - _WELL_SPACING * np.round(point / _WELL_SPACING)
        return -0.5 * float(offset @ offset), -offset

    model = _python_model(1, lambda: log_density, start)
    trace = nutpie.sample(model, **_arguments(settings, draws=1, tune=1), progress_bar=False, blocking=True)
    firsts = [_values(batch, POINT, (1,))[0, 0] for batch in trace.get_arrow_trace()[0]]
    return [seeds[round(first / _WELL_SPACING)] for first in firsts]


# ---- nutpie


def _nutpie_model(target: Target | PythonTarget, start: StartFunction) -> CompiledModel:
    if isinstance(target, PythonTarget):
        return _python_model(target.n_dim, lambda: functools.partial(_value_and_gradient, target), start)
    try:
        return _compiled_model(target, start)
    except (TypeError, AttributeError) as error:
        warn_user(
            f"nutpie {nutpie.__version__} does not take a C function as this version expects ({error}); "
            "sampling through Python, which costs tens of microseconds more a gradient.",
            SamplingWarning,
        )
        return _python_model(target.n_dim, lambda: functools.partial(_value_and_gradient, target), start)


def _compiled_model(target: Target, start: StartFunction) -> CompiledModel:
    """The target as nutpie's own record of compiled functions, the one place that relies on its fields."""
    n_dim = target.n_dim
    return CompiledPyMCModel(
        dims=None,
        compiled_logp_func=target,  # only its address is read; nutpie holds the record, and so the target, alive
        compiled_expand_func=_compiled_copy(),
        initial_point_func=start,
        shared_data={},
        shared_var_keys={},
        user_data=target.user_data,
        n_expanded=n_dim,
        shape_info=([POINT], [slice(0, n_dim)], [(n_dim,)]),
        logp_func=None,
        expand_func=None,
        _n_dim=n_dim,
        _shapes={POINT: (n_dim,)},
        _coords=None,
    )


def _copy_point(n_dim, n_expanded, point_, expanded_, user_data):  # type: ignore[no-untyped-def]
    point, expanded = carray(point_, (n_dim,)), carray(expanded_, (n_dim,))
    for i in range(n_dim):
        expanded[i] = point[i]
    return 0


@functools.cache
def _compiled_copy() -> Any:
    """What nutpie stores of a draw: the point itself."""
    return cfunc(EXPAND_SIGNATURE, cache=True)(_copy_point)


def _python_model(n_dim: int, make_log_density: Callable[[], Any], start: StartFunction) -> CompiledModel:
    return from_pyfunc(
        n_dim,
        make_log_density,
        lambda *_: lambda point: {POINT: point.copy()},
        [np.dtype(np.float64)],
        [(n_dim,)],
        [POINT],
        make_initial_point_fn=start,
    )


def _value_and_gradient(target: Target | PythonTarget, point: Array) -> tuple[float, Array]:
    status, value, gradient = target(point)
    if status < FINITE:
        raise SamplingError(f"the log density returned status {status}")
    return (value if status == FINITE else np.nan), gradient


def _arguments(settings: SamplerSettings, *, draws: int, tune: int) -> dict[str, Any]:
    return {
        "draws": draws,
        "tune": tune,
        "chains": settings.chains,
        "cores": settings.n_cores,
        "seed": settings.seed,
        "adaptation": settings.adaptation,
        "return_raw_trace": True,
    }


def _run(model: CompiledModel, settings: SamplerSettings, reader: "_Reader") -> bool:
    """Sample, reading draws now and then if they are kept, and at the end; whether Ctrl-C, or the time, ended it."""
    sampler = nutpie.sample(
        model,
        **_arguments(settings, draws=settings.draws, tune=settings.tune),
        target_accept=settings.target_accept,
        maxdepth=settings.max_depth,
        progress_bar=settings.progress and (is_watched() or in_marimo_notebook()),
        blocking=False,
    )
    try:
        while True:
            seconds = max(min(reader.series.wait, settings.until - time.monotonic()), _SHORTEST_WAIT)
            try:
                reader.read(sampler.wait(timeout=None if math.isinf(seconds) else seconds))
                return False
            except TimeoutError:
                if time.monotonic() >= settings.until:
                    raise
                began = time.monotonic()
                reader.read(sampler.inspect())
                reader.series.postpone(time.monotonic() - began)
    except (KeyboardInterrupt, TimeoutError):
        if reader.stop is not None:
            reader.stop.set()
        reader.read(sampler.abort())
        return True
    except OSError:  # of the checkpoint, a full disk say
        sampler.cancel()
        raise
    except BaseException as error:
        # a panic inside nutpie is no Exception; anything else of that kind (SystemExit) passes on
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise SamplingError(f"nutpie stopped: {str(error).split('Stack backtrace')[0].strip()}") from error
        raise


# ---- draws


class _Drawn(NamedTuple):
    """Draws of a chain after warm-up, their statistics, and the gradients that they took, warm-up included."""

    values: dict[str, Array]
    stats: dict[str, NDArray[Any]]
    n_gradients: int


class _Part(NamedTuple):
    """Draws by chain that came together, and how long sampling had taken then."""

    drawn: dict[int, _Drawn]
    seconds: float


class _Made:
    """All draws of a run so far."""

    def __init__(self, n_chains: int) -> None:
        self.chains: list[list[_Drawn]] = [[] for _ in range(n_chains)]
        self.seconds = 0.0

    def add(self, part: _Part) -> None:
        """Put new draws behind the others."""
        for chain, drawn in part.drawn.items():
            self.chains[chain].append(drawn)
        self.seconds = part.seconds

    @property
    def lengths(self) -> IntArray:
        """Draws of each chain."""
        return np.array([sum(len(drawn.stats["lp"]) for drawn in own) for own in self.chains])

    def short_of(self, n_draws: int) -> list[int]:
        """The chains that are to be run next: those without any draw, or else those with fewer than so many."""
        lengths = self.lengths
        return np.flatnonzero(lengths < (n_draws if lengths.all() else 1)).tolist()

    def last_points(self, chains: list[int]) -> Array:
        """The last draw of some chains, (chain, n_dim)."""
        return np.stack([self.chains[c][-1].values[POINT][-1] for c in chains])

    def trace(self, most: int, *, interrupted: bool, until: float) -> Trace:
        """The largest block of chains of equal length, at most so many draws of each."""
        chains, n_draws = _largest_block(np.minimum(self.lengths, most).tolist())
        if n_draws == 0:
            if time.monotonic() >= until:
                raise SamplingError(TOO_SHORT)
            raise KeyboardInterrupt("sampling was interrupted before the first draw after warm-up")
        kept = [self.chains[c] for c in chains]

        def block(parts: Callable[[_Drawn], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
            return {
                name: np.stack([np.concatenate([parts(drawn)[name] for drawn in own])[:n_draws] for own in kept])
                for name in parts(kept[0][0])
            }

        n_gradients = np.array([sum(drawn.n_gradients for drawn in own) for own in kept], dtype=np.int64)
        values, stats = block(lambda drawn: drawn.values), block(lambda drawn: drawn.stats)
        return Trace(values, stats, n_gradients, np.array(chains), interrupted, self.seconds)


class _Reader:
    """Reads new draws of some chains from nutpie's traces, and keeps them."""

    def __init__(
        self,
        made: _Made,
        chains: list[int],
        series: Series,
        shapes: Mapping[str, tuple[int, ...]],
        stop: threading.Event | None,
    ) -> None:
        self.made, self.chains, self.series, self.shapes, self.stop = made, chains, series, shapes, stop
        self.n_read, self.began = dict.fromkeys(chains, 0), time.perf_counter() - made.seconds

    def read(self, trace: Any) -> None:
        """Add what is new, if that is any draw after warm-up."""
        batches = zip(self.chains, *trace.get_arrow_trace(), strict=True)
        found = {chain: self._new(chain, values, stats) for chain, values, stats in batches}
        part = _Part({c: new for c, new in found.items() if new is not None}, time.perf_counter() - self.began)
        if part.drawn:
            self.made.add(part)
            self.series.append(part)

    def _new(self, chain: int, values: Any, stats: Any) -> _Drawn | None:
        first, kept = self.n_read[chain], ~_column(stats, "tuning").astype(bool)
        kept[:first] = False
        if self.stop is not None and self.stop.is_set():
            kept &= _until_last_sound(stats)
        if not kept.any():
            return None
        self.n_read[chain] = len(kept)
        return _Drawn(
            {name: _values(values, name, shape)[kept] for name, shape in self.shapes.items()},
            {name: _column(stats, theirs)[kept] for theirs, name in _STATISTICS.items()},
            int(_column(stats, "n_steps")[first:].sum()),
        )


def _until_last_sound(batch: Any) -> NDArray[np.bool_]:
    """The draws up to the last that did not diverge: where the density is halted, all do."""
    sound = ~_column(batch, "diverging").astype(bool)
    return np.logical_or.accumulate(sound[::-1])[::-1]


def _largest_block(lengths: Sequence[int]) -> tuple[list[int], int]:
    """The chains to keep and the length to cut them to, so that most draws survive.

    Examples
    --------
    >>> _largest_block([900, 910, 905, 0])
    ([0, 1, 2], 900)
    >>> _largest_block([1000, 1000, 3, 2])
    ([0, 1], 1000)
    """
    n_draws = max(lengths, key=lambda length: (length * sum(other >= length for other in lengths), length))
    return [chain for chain, length in enumerate(lengths) if length >= n_draws], n_draws


def _column(batch: Any, name: str) -> NDArray[Any]:
    column = pa.array(batch.column(name))
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


def _values(batch: Any, name: str, shape: tuple[int, ...]) -> Array:
    values: Array = pa.array(batch.column(name)).flatten().to_numpy()
    return values.reshape(batch.num_rows, *shape)
