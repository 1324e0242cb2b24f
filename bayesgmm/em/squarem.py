"""SQUAREM acceleration of EM (Varadhan & Roland 2008): two plain steps, then an extrapolation.

A cycle starts at theta_0. Two plain steps give theta_1 and theta_2; with r = theta_1 - theta_0 and
v = theta_2 - 2 theta_1 + theta_0 the extrapolation is

    theta = theta_0 - 2 alpha r + alpha^2 v,   alpha = -|r| / |v|  (their third step length),

where alpha = -1 would be theta_2. One plain step from there, as in their scheme, begins the next cycle. The
coordinates are unconstrained and relative to theta_0, so that units of the data do not matter: ratios of weights in
logarithms; means and Cholesky factors whitened by the factors of theta_0, with logarithms on the factors' diagonals;
ratios of degrees of freedom in logarithms, if components have any, which take steps of their own: they are the slowest
and hardly depend on the others.
Lengths are measured by the information of the complete data: there the derivative of EM's map is self-adjoint
(without a prior), so that 1 - |v| / |r| and |theta_2 - theta_1| / |r| bound its slowest rate from below.

The E-step at the extrapolated point is also its check. If the objective is not at least that of theta_1, or
the point has a covariance at the floor, EM goes on from theta_2 with shorter steps: a failed extrapolation costs
that one E-step, a successful one costs none. Extrapolation begins when the gains of plain steps have settled to a
rate at which many steps remain, or to slow growth after many steps (a plateau); elsewhere nothing changes. Before,
while gains are still erratic, a long step may lead to another optimum, or to a longer way.

An extrapolation mixes fast errors with slow ones, which hides how much is still to come. Hence afterwards a run has
converged only when plain steps have said so a few times in a row, at the slowest rate that was seen of late.

An E-step is taken between `next_iterate`, which makes the next point, and `check_convergence`, which says what to make
of the objective there. What they remember lies in arrays, so that compiled code can take many steps alone.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import types

from bayesgmm._common import Array, IntArray, Weights
from bayesgmm._compiled import (
    OUT_1,
    OUT_2,
    OUT_3,
    allocation_free,
    compiled,
    linked,
    record_type,
)
from bayesgmm.em.m_step import MixtureArrays, compiled_m_step, write_log_scales
from bayesgmm.mixture import COMPONENT, COVARIANCE, SUMS, Mixture
from bayesgmm.priors import PSEUDO_DATA

# What the state holds. FIRST, BEFORE and NOW are objectives of consecutive plain steps, NaN where there are fewer.
# RATE is the ratio of the last two gains, STEADY the number of steps in a row that hardly changed it, and QUIET that of
# estimates in a row that hardly anything is to come.
PHASE, FIRST, BEFORE, NOW, CAP, STEP, SLOWEST, FLOORED, FLOORED_SECOND, N_STEPS, N_TRIED, N_FAILED = range(12)
RATE, STEADY, QUIET = 12, 13, 14
PLAIN, SETTLE, BASE, HALF_WAY, CHECK, FAILED = 0.0, 1.0, 2.0, 3.0, 4.0, 5.0  # phases: what the present point is
GOES_ON, CONVERGED, REJECTED = 0, 1, 2  # verdicts
AT_NOW, AT_BASE, AT_SECOND, AT_FREE = range(4)  # buffers of the four points

# Settled by benchmarks/acceleration.py, so that hardly a start takes a tenth more passes than plain EM.
_FEWEST_TO_COME = 50.0  # plain steps that EM must have left for extrapolation to begin
_FASTEST_GROWTH, _PLATEAU = 1.2, 50.0  # or gains that grow by no more than this, after so many steps: a plateau
_STEADY = 0.25  # the change of that rate or growth from one step to the next, relative to its distance from one
_STEADY_STEPS = 4.0  # in a row
_PATIENCE = 20.0  # plain steps before the first extrapolation, and for each failure that successes do not outweigh
_FIRST_CAP, _LARGER, _SMALLER = 4.0, 2.0, 2.0  # the longest step -alpha, and how it changes
_FARTHER, _FARTHEST = 16.0, 1.0  # of degrees of freedom: the longest step over that, and change of a logarithm
_SHORTEST = 1.01  # a step of one is theta_2: not worth a check
_FORGET, _SLOWEST = 1.15, 0.9999  # how fast 1 - rate is forgotten, per cycle; the slowest rate that is believed
_ENOUGH, _DOUBT = 5.0, 2.0  # estimates in a row that end an extrapolated run, and what they are multiplied by
_EMPTY = 1e-200  # the weight an empty component keeps, as in the M-step
_ROUNDING = 1e-14


class Rules(NamedTuple):
    """What stays the same during a run: floors of variances (feature,), the gain to stop at, the most steps."""

    floors: Array
    smallest_gain: float
    max_iter: int


class Iterates(NamedTuple):
    """Four mixtures, what each is for, and the state of the acceleration.

    Attributes
    ----------
    weights, means, factors, precision_factors, blocks, log_scale : (buffer, ...)
        As in `MixtureArrays`.
    buffers : (4,) integers
        Which buffer holds the point that is evaluated now, began the cycle, ended its second step, is free.
    state : (15,)
    objectives : (step,)
        Of the steps that compiled code takes alone.
    """

    weights: Array
    means: Array
    factors: Array
    precision_factors: Array
    blocks: Array
    log_scale: Array
    buffers: IntArray
    state: Array
    objectives: Array

    @classmethod
    def begin(cls, start: Mixture, *, accelerate: bool, n_alone: int) -> "Iterates":
        """Before the first E-step."""
        weights, means, factors, precision, blocks, log_scale = (_four_of(array) for array in MixtureArrays.of(start))
        state = np.zeros(15)
        state[[FIRST, BEFORE, NOW, RATE]] = np.nan
        state[CAP] = _FIRST_CAP if accelerate else 0.0
        return cls(weights, means, factors, precision, blocks, log_scale, np.arange(4), state, np.empty(n_alone))

    @property
    def now(self) -> MixtureArrays:
        """A copy of the point that is evaluated now."""
        return MixtureArrays(*(array[self.buffers[AT_NOW]].copy() for array in self[:6]))


_OUT_4 = types.Array(types.float64, 4, "C")
RULES = record_type(Rules, OUT_1, types.float64, types.int64)
ITERATES = record_type(Iterates, OUT_2, OUT_3, _OUT_4, _OUT_4, _OUT_4, OUT_2, types.int64[::1], OUT_1, OUT_1)


def _four_of(array: Array) -> Array:
    """Four copies of an array; `numpy.repeat` takes longer."""
    four = np.empty((4, *array.shape))
    four[:] = array
    return four


@allocation_free
def begin_again(iterates):  # type: ignore[no-untyped-def]
    """Forget how a run came to the present point; returns the buffer that holds it."""
    state = iterates.state
    cap = _FIRST_CAP if state[CAP] > 0.0 else 0.0
    state.fill(0.0)
    state[FIRST] = state[BEFORE] = state[NOW] = state[RATE] = math.nan
    state[CAP] = cap
    return iterates.buffers[AT_NOW]


@allocation_free
def aitken_remaining(first: float, before: float, now: float) -> float:
    """Remaining gain by Aitken's extrapolation of three objectives."""
    gain = now - before
    if gain <= _ROUNDING * abs(now):
        return 0.0
    if not gain < before - first:
        return math.inf
    return gain * gain / (before - first - gain)


@allocation_free
def _gain_at_slowest(state: Array) -> float:
    """The same from the last gain and the slowest rate of late: gains fall by the square of an error's rate."""
    gain, rate = state[NOW] - state[BEFORE], state[SLOWEST] ** 2
    if gain <= _ROUNDING * abs(state[NOW]):
        return 0.0
    return math.inf if math.isnan(gain) else gain * rate / (1.0 - rate)


@linked(types.int64(OUT_1, types.float64, types.float64), allocates=False)
def check_convergence(state: Array, objective: float, smallest_gain: float) -> int:
    """What to make of the objective at the point that was evaluated: a verdict.

    A rejected point leaves the objectives as they were. Converged is what has less to gain than ``smallest_gain``
    by the geometric sequence through three plain steps and, once there was an extrapolation, less than half of it
    also at the slowest rate of convergence seen of late, and that several times in a row.
    """
    state[N_STEPS] += 1.0
    if state[PHASE] == CHECK:
        state[N_TRIED] += 1.0
        if not (math.isfinite(objective) and objective >= state[NOW]):
            state[N_FAILED] += 1.0
            state[PHASE] = FAILED
            return REJECTED
        if state[STEP] >= state[CAP]:
            state[CAP] *= _LARGER
        state[PHASE] = SETTLE
        state[BEFORE] = state[NOW] = math.nan
    state[FIRST], state[BEFORE], state[NOW] = state[BEFORE], state[NOW], objective
    rate = (objective - state[BEFORE]) / (state[BEFORE] - state[FIRST])
    steady = rate > 0.0 and abs(rate - state[RATE]) <= _STEADY * abs(1.0 - rate)
    state[RATE], state[STEADY] = rate, state[STEADY] + 1.0 if steady else 0.0
    to_come = aitken_remaining(state[FIRST], state[BEFORE], objective)
    extrapolated = state[SLOWEST] > 0.0
    if extrapolated:
        to_come = _DOUBT * max(to_come, _gain_at_slowest(state))
    state[QUIET] = state[QUIET] + 1.0 if to_come <= smallest_gain else 0.0
    return CONVERGED if state[QUIET] >= (_ENOUGH if extrapolated else 1.0) else GOES_ON


@allocation_free
def _is_slow(state: Array, smallest_gain: float) -> bool:
    """Whether to extrapolate: plain EM would steadily take many more steps, and failures have not been too many."""
    succeeded = state[N_TRIED] - state[N_FAILED]
    patience = _PATIENCE * (1.0 + state[N_FAILED] - 0.5 * succeeded)
    if state[CAP] == 0.0 or state[N_STEPS] < patience or state[QUIET] > 0.0:
        return False
    if state[SLOWEST] > 0.0:
        return True
    rate = state[RATE]
    if state[STEADY] < _STEADY_STEPS:
        return False
    if rate >= 1.0:
        return rate < _FASTEST_GROWTH and state[N_STEPS] >= _PLATEAU
    to_come = aitken_remaining(state[FIRST], state[BEFORE], state[NOW])
    goal = max(smallest_gain, _ROUNDING * abs(state[NOW]))
    return to_come > goal and math.log(goal / to_come) < _FEWEST_TO_COME * math.log(rate)


@compiled
def _coordinates(covariance, component, iterates, base, other):  # type: ignore[no-untyped-def]
    """Coordinates of one point relative to another: log-ratios of weights, whitened means, changes of factors.

    Those of the component come last.
    """
    n_components, n_features = iterates.means.shape[1:]
    n_blocks, n_rows, n_columns = iterates.factors.shape[1:]
    of_gaussian = n_components * (1 + n_features) + n_blocks * n_rows * n_columns
    q = np.empty(of_gaussian + component.n_coordinates(n_components))
    component.write_coordinates(iterates.log_scale[base], iterates.log_scale[other], n_components, q[of_gaussian:])
    offset = np.empty(n_features)
    place = n_components
    for k in range(n_components):
        q[k] = math.log(iterates.weights[other, k] / iterates.weights[base, k])
        for d in range(n_features):
            offset[d] = iterates.means[other, k, d] - iterates.means[base, k, d]
        prec = iterates.precision_factors[base, min(k, n_blocks - 1)]
        covariance.multiply(prec, offset, q[place : place + n_features])
        place += n_features
    changes = q[place:of_gaussian].reshape((n_blocks, n_rows, n_columns))
    for g in range(n_blocks):
        covariance.write_change(iterates.precision_factors[base, g], iterates.factors[other, g], changes[g])
    return q


@compiled
def _information(covariance, component, iterates, base):  # type: ignore[no-untyped-def]
    """The diagonal information of complete data per row, in these coordinates at the base."""
    n_components, n_features = iterates.means.shape[1:]
    n_blocks, n_rows, n_columns = iterates.factors.shape[1:]
    of_gaussian = n_components * (1 + n_features) + n_blocks * n_rows * n_columns
    information = np.empty(of_gaussian + component.n_coordinates(n_components))
    component.write_information(iterates.weights[base], information[of_gaussian:])
    place = n_components
    for k in range(n_components):
        weight = iterates.weights[base, k]
        information[k] = weight
        for _ in range(n_features):
            information[place] = weight
            place += 1
    for g in range(n_blocks):
        weight = 1.0 if n_blocks == 1 else iterates.weights[base, g]
        for i in range(n_rows):
            for j in range(n_columns):
                information[place] = weight * covariance.change_information(n_features, i, j)
                place += 1
    return information


@allocation_free
def step_length(r: float, v: float, cap: float) -> float:
    """-alpha from the lengths of r and v: at least 1, the plain double step, and at most ``cap``.

    Examples
    --------
    On a line, where a step shrinks the error to 0.9 of it, one extrapolation is exact.

    >>> from bayesgmm.em.squarem import step_length
    >>> r, v = 0.9 - 1.0, 0.81 - 2 * 0.9 + 1.0
    >>> alpha = -step_length(abs(r), abs(v), 100.0)
    >>> round(alpha), abs(1.0 - 2 * alpha * r + alpha**2 * v) < 1e-12
    (-10, True)
    """
    if not r > 0.0:
        return 1.0
    return cap if not v * cap > r else max(r / v, 1.0)


@linked(types.boolean(COVARIANCE, COMPONENT, RULES, ITERATES))
def _extrapolate(covariance, component, rules, iterates):  # type: ignore[no-untyped-def]
    """Write the extrapolated point into the free one; False if it would be theta_2, or is no point."""
    buffers, state = iterates.buffers, iterates.state
    base = buffers[AT_BASE]
    one = _coordinates(covariance, component, iterates, base, buffers[AT_NOW])
    two = _coordinates(covariance, component, iterates, base, buffers[AT_SECOND])
    information = _information(covariance, component, iterates, base)
    r = second_step = v = 0.0
    for i in range(one.shape[0]):
        r += information[i] * one[i] ** 2
        second_step += information[i] * (two[i] - one[i]) ** 2
        v += information[i] * (two[i] - 2.0 * one[i]) ** 2
    if not (r > 0.0 and math.isfinite(r) and math.isfinite(second_step)):
        return False
    rate = min(math.sqrt(second_step / r), _SLOWEST)
    state[SLOWEST] = max(rate, 1.0 - _FORGET * (1.0 - state[SLOWEST]))
    step = state[STEP] = step_length(math.sqrt(r), math.sqrt(v), state[CAP])
    if step < _SHORTEST:
        return False
    of_gaussian = one.shape[0] - component.n_coordinates(iterates.weights.shape[1])
    for i in range(one.shape[0]):
        bend = two[i] - 2.0 * one[i]
        own = step if i < of_gaussian else step_length(abs(one[i]), abs(bend), _FARTHER * state[CAP])
        two[i] = 2.0 * own * one[i] + own * own * bend
        if i >= of_gaussian:
            two[i] = min(max(two[i], -_FARTHEST), _FARTHEST)
    return _place(covariance, component, rules, iterates, base, buffers[AT_FREE], two)


@compiled
def _place(covariance, component, rules, iterates, base, target, q):  # type: ignore[no-untyped-def]
    """Make a point from its coordinates; False if it is none or may have a covariance at the floor."""
    new = point_at(iterates, target)
    n_components, n_features = new.means.shape
    n_blocks, place = new.factors.shape[0], n_components * (1 + n_features)
    of_gaussian = place + new.factors.size
    changes = q[place:of_gaussian].reshape(new.factors.shape)
    for g in range(n_blocks):
        old, factor, prec = iterates.factors[base, g], new.factors[g], new.precision_factors[g]
        if not covariance.move_factor(rules.floors, old, changes[g], factor, prec):
            return False
    _place_weights(iterates.weights[base], q, new.weights)
    covariance.make_members(new.weights, new.factors, new.precision_factors)
    for g in range(n_blocks):
        covariance.write_square(new.factors[g], new.blocks[g])
    place = n_components
    for k in range(n_components):
        g, mean = min(k, n_blocks - 1), new.means[k]
        covariance.multiply(iterates.factors[base, g], q[place : place + n_features], mean)
        for d in range(n_features):
            mean[d] += iterates.means[base, k, d]
        place += n_features
    component.move(iterates.log_scale[base], q[of_gaussian:], n_components, new.log_scale)
    write_log_scales(covariance, component, new)
    return True


@allocation_free
def _place_weights(before: Weights, log_ratios: Array, weights: Weights) -> None:
    highest, total = -math.inf, 0.0
    for k in range(weights.shape[0]):
        weights[k] = math.log(before[k]) + log_ratios[k]
        highest = max(highest, weights[k])
    for k in range(weights.shape[0]):
        weights[k] = math.exp(weights[k] - highest)
        total += weights[k]
    for k in range(weights.shape[0]):
        weights[k] = max(weights[k] / total, _EMPTY)


@allocation_free
def _swap(buffers: IntArray, a: int, b: int) -> None:
    buffers[a], buffers[b] = buffers[b], buffers[a]


@allocation_free
def point_at(iterates, i):  # type: ignore[no-untyped-def]
    """The mixture in a buffer."""
    return MixtureArrays(
        iterates.weights[i],
        iterates.means[i],
        iterates.factors[i],
        iterates.precision_factors[i],
        iterates.blocks[i],
        iterates.log_scale[i],
    )


@allocation_free
def _plain_step(covariance, component, rules, iterates, sums, prior, role):  # type: ignore[no-untyped-def]
    """One M-step from the present point into the buffer of that role; returns how many covariances were lifted."""
    now, new = point_at(iterates, iterates.buffers[AT_NOW]), point_at(iterates, iterates.buffers[role])
    return compiled_m_step(covariance, component, rules.floors, sums, now, prior, new)


@allocation_free
def _end_cycle(covariance, component, rules, sums, prior, iterates):  # type: ignore[no-untyped-def]
    """The second plain step, and the extrapolation if there is one and an E-step to spare for its failure."""
    buffers, state = iterates.buffers, iterates.state
    floored = state[FLOORED]
    state[FLOORED] = _plain_step(covariance, component, rules, iterates, sums, prior, AT_SECOND)
    n_left = rules.max_iter + 1.0 - state[N_STEPS]
    free = floored == 0.0 and state[FLOORED] == 0.0 and n_left > 1 and state[QUIET] == 0.0
    if free and _extrapolate(covariance, component, rules, iterates):
        _swap(buffers, AT_NOW, AT_FREE)
        state[FLOORED_SECOND], state[FLOORED] = state[FLOORED], 0.0
        state[PHASE] = CHECK
    else:
        _swap(buffers, AT_NOW, AT_SECOND)
        state[PHASE] = PLAIN


@linked(types.void(COVARIANCE, COMPONENT, RULES, SUMS, PSEUDO_DATA, ITERATES), allocates=False)
def next_iterate(covariance, component, rules, sums, prior, iterates):  # type: ignore[no-untyped-def]
    """Make the next point to evaluate from the sums at the present one."""
    buffers, state = iterates.buffers, iterates.state
    if state[PHASE] == HALF_WAY:
        _end_cycle(covariance, component, rules, sums, prior, iterates)
    elif state[PHASE] == FAILED:  # back to theta_2
        _swap(buffers, AT_NOW, AT_SECOND)
        state[FLOORED] = state[FLOORED_SECOND]
        state[PHASE] = PLAIN
        state[CAP] = max(state[STEP] / _SMALLER, _SMALLER)
    else:
        begins = state[PHASE] == BASE or (state[PHASE] == PLAIN and _is_slow(state, rules.smallest_gain))
        state[FLOORED] = _plain_step(covariance, component, rules, iterates, sums, prior, AT_BASE)
        _swap(buffers, AT_NOW, AT_BASE)
        state[PHASE] = HALF_WAY if begins else BASE if state[PHASE] == SETTLE else PLAIN
