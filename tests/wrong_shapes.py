"""Every entry of compiled code with every wrong shape: names, and calls that must be refused.

``python wrong_shapes.py`` makes the calls and prints what came of each: a test does so with numba's bounds check,
under which compiled code that reads past an array raises IndexError.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode

from bayesgmm import Mixture, MvNormalMixture
from bayesgmm.data import Data
from bayesgmm.mixture.covariance.family import covariance_family
from bayesgmm.mixture.draws import Draws
from bayesgmm.mixture.mixture import expected_statistics
from bayesgmm.partitions.partition_losses import canonical_labels, contingency_table, expected_loss, losses
from bayesgmm.partitions.salso import SalsoSettings, salso
from bayesgmm.prediction.densities import log_densities
from bayesgmm.pymc_model.covariance_ops import InverseWishart, StackCholesky, StackCovariances
from bayesgmm.pymc_model.inverse_wishart import InverseWishartCovariances
from bayesgmm.pymc_model.lkj_separation import SeparationCovariances
from bayesgmm.pymc_model.wishart_scale import WishartScale

type Call = tuple[str, Callable[[], object]]

MODES = {name: Mode(linker=name, optimizer="fast_run") for name in ("py", "numba")}
FAMILIES = ("full", "diag", "spherical")
ROWS = np.arange(8.0).reshape(4, 2)
PARTS = [np.array([0.3, 0.7]), np.array([[0.0, 1.0], [2.0, 3.0]]), np.stack([np.eye(2), 2.0 * np.eye(2)])]
# The one that is wrong among rows, weights, means and covariances.
WRONG = {
    "rows of 1 feature": (0, np.ones((4, 1))),
    "rows of 3 features": (0, np.ones((4, 3))),
    "1 weight": (1, np.ones(1)),
    "3 weights": (1, np.ones(3) / 3.0),
    "no weights": (1, np.empty(0)),
    "1 mean": (2, np.zeros((1, 2))),
    "3 means": (2, np.zeros((3, 2))),
    "means of 1 feature": (2, np.zeros((2, 1))),
    "means of 3 features": (2, np.zeros((2, 3))),
    "1 covariance": (3, np.stack([np.eye(2)])),
    "3 covariances": (3, np.stack([np.eye(2)] * 3)),
    "1 x 1 covariances": (3, np.ones((2, 1, 1))),
    "3 x 3 covariances": (3, np.stack([np.eye(3)] * 2)),
    "1 x 2 covariances": (3, np.ones((2, 1, 2))),
    "2 x 1 covariances": (3, np.ones((2, 2, 1))),
}


def symbols() -> list[pt.TensorVariable]:
    """Rows, weights, means and covariances of which no length is known."""
    return [pt.matrix("rows"), pt.vector("weights"), pt.matrix("means"), pt.tensor3("covariances")]


def wrong_values() -> Iterator[tuple[str, list[np.ndarray]]]:
    for name, (place, value) in WRONG.items():
        values = [ROWS, *PARTS]
        values[place] = value
        yield name, values


ENTRIES = ("logp", "pullback", "gradient")


def mixture_functions(mode: Mode, family: str, *, entries: Sequence[str] = ENTRIES) -> dict[str, Callable[..., object]]:
    """Log density, its pullback, and value and gradient in one pass, of rows, weights, means, covariances."""
    inputs = symbols()
    log_density = pm.logp(MvNormalMixture.dist(*inputs[1:], covariance_type=family, shape=inputs[0].shape), inputs[0])
    total, cotangent = log_density.sum(), pt.arange(log_density.shape[0]) + 1.0
    outputs = {
        "logp": log_density,
        "pullback": pt.grad((cotangent * log_density).sum(), inputs[1:]),
        "gradient": [total, *pt.grad(total, inputs[1:])],
    }
    return {entry: pytensor.function(inputs, outputs[entry], mode=mode) for entry in entries}


def draw_function(mode: Mode, family: str) -> Callable[..., object]:
    inputs = symbols()
    rv = MvNormalMixture.dist(*inputs[1:], covariance_type=family, size=(3,))
    return pytensor.function(inputs, rv, mode=mode, on_unused_input="ignore")


def mixture_calls(mode: str, families: tuple[str, ...] = FAMILIES) -> Iterator[Call]:
    for family in families:
        functions = mixture_functions(MODES[mode], family)
        for (name, values), (entry, function) in ((w, f) for w in wrong_values() for f in functions.items()):
            yield f"{entry} {family}: {name}", lambda f=function, v=values: f(*v)
        draw = draw_function(MODES[mode], family)
        for name, values in wrong_values():
            if values[0] is ROWS:
                yield f"draw {family}: {name}", lambda f=draw, v=values: f(*v)


def known_shape_calls() -> Iterator[Call]:
    """Shapes that are known when the graph is built."""
    for name, values in wrong_values():
        if values[0] is ROWS:
            yield f"dist: {name}", lambda v=values: MvNormalMixture.dist(*v[1:])
        else:
            yield f"logp of constants: {name}", lambda v=values: pm.logp(MvNormalMixture.dist(*v[1:]), v[0])
    for name, values in {
        "weights without axis": (0.5, *PARTS[1:]),
        "means of one axis": (PARTS[0], [0.0, 1.0], np.ones((2, 1, 1))),
        "covariances of two axes": (*PARTS[:2], np.eye(2)),
    }.items():
        yield f"dist: {name}", lambda v=values: MvNormalMixture.dist(*v)


def batch_calls(mode: str) -> Iterator[Call]:
    """Rows with weights, or means, of their own."""
    shapes = ((4, 3), (4, 1)), ((4, 3, 2), (4, 1, 2), (4, 2, 1))
    for place, shape in ((p, s) for p in (0, 1) for s in shapes[p]):
        own, parts = pt.tensor("own", shape=(None,) * len(shape)), list(PARTS)
        parts[place] = own
        logp = pm.logp(MvNormalMixture.dist(*parts), pt.constant(ROWS))
        function = pytensor.function([own], logp, mode=MODES[mode])
        yield f"rows' own {('weights', 'means')[place]} {shape}", lambda f=function, s=shape: f(np.ones(s))
    if mode == "py":  # PyTensor's numba linker has an error of its own
        rows = MvNormalMixture.dist(np.full((4, 2), 0.5), *PARTS[1:], size=3)
        yield "draw: batch of 4, size 3", lambda: pm.draw(rows, mode=MODES[mode])


def shared_calls(mode: str) -> Iterator[Call]:
    """Shared variables and data that change their shape."""
    for name, values in wrong_values():
        variables = [pytensor.shared(value, shape=(None,) * value.ndim) for value in (ROWS, *PARTS)]
        rv = MvNormalMixture.dist(*variables[1:], shape=variables[0].shape)
        outputs = pm.logp(rv, variables[0])
        place = WRONG[name][0]

        def call(outputs=outputs, variable=variables[place], value=values[place]) -> object:
            variable.set_value(value)
            return outputs.eval(mode=MODES[mode])

        yield f"shared: {name}", call
    with pm.Model() as model:
        rows = pm.Data("rows", ROWS)
        MvNormalMixture("y", *PARTS, observed=rows)
    function = model.compile_fn(model.logp(), inputs=[], mode=MODES[mode])

    def with_other_data(value: np.ndarray) -> object:
        with model:
            pm.set_data({"rows": value})
        return function({})

    yield "set_data: 3 features", lambda: with_other_data(np.ones((4, 3)))
    yield "set_data: 1 feature", lambda: with_other_data(np.ones((4, 1)))


def covariance_calls(mode: str) -> Iterator[Call]:
    """The priors of covariances and their transforms."""
    stack, values = pt.tensor3("stack"), pt.matrix("values")
    dof, scale, matrix = pt.vector("dof"), pt.tensor3("scale"), pt.matrix("matrix")
    options = {"mode": MODES[mode], "on_unused_input": "ignore"}
    inverse_wishart = pytensor.function([stack, dof, scale], InverseWishart("full")(stack, dof, scale)[0], **options)
    prior = pytensor.function([dof, scale], InverseWishartCovariances.dist(dof, scale), **options)
    good = (np.stack([np.eye(2)] * 2), np.full(2, 5.0), np.stack([np.eye(2)] * 2))
    for name, place, value in (
        ("3 dof", 1, np.ones(3)),
        ("1 dof", 1, np.ones(1)),
        ("1 scale", 2, np.ones((1, 2, 2))),
        ("1 x 1 scales", 2, np.ones((2, 1, 1))),
        ("2 x 3 scales", 2, np.ones((2, 2, 3))),
        ("1 covariance", 0, np.ones((1, 2, 2))),
        ("2 x 1 covariances", 0, np.ones((2, 2, 1))),
    ):
        arguments = [*good[:place], value, *good[place + 1 :]]
        yield f"inverse Wishart: {name}", lambda a=arguments: inverse_wishart(*a)
        if place and name != "1 x 1 scales":
            yield f"draw of covariances: {name}", lambda a=arguments: prior(*a[1:])
    cholesky = pytensor.function([stack], pt.grad(StackCholesky()(stack).sum(), stack), **options)
    yield "Cholesky: 2 x 3", lambda: cholesky(np.ones((2, 2, 3)))
    yield "Cholesky: 3 x 2", lambda: cholesky(np.ones((2, 3, 2)))
    for family in FAMILIES:
        covariances, log_jacobian = StackCovariances(family)(values, 2, 2)
        unpack = pytensor.function([values], covariances, **options)
        back = pytensor.function([values], pt.grad(covariances.sum() + log_jacobian, values), **options)
        for shape in ((2, 4), (3, 3), (3, 2), (3, 1), (2, 0), (0, 3)):
            yield f"values {family} {shape}", lambda f=unpack, s=shape: f(np.zeros(s))
            yield f"gradient of values {family} {shape}", lambda f=back, s=shape: f(np.zeros(s))
        wishart = WishartScale.dist(5.0, matrix, covariance_type=family)
        draw = pytensor.function([matrix], wishart, **options)
        density = pytensor.function([matrix], pm.logp(wishart, np.eye(2)), **options)
        yield f"draw of a scale {family}: 2 x 3", lambda f=draw: f(np.ones((2, 3)))
        yield f"draw of a scale {family}: 3 x 2", lambda f=draw: f(np.ones((3, 2)))
        yield f"density of a scale {family}: 1 x 1", lambda f=density: f(np.ones((1, 1)))
        yield f"density of a scale {family}: 2 x 3", lambda f=density: f(np.ones((2, 3)))
    shape, rate = pt.matrix("shape"), pt.matrix("rate")
    separation = SeparationCovariances.dist(1.0, shape, rate)
    draw = pytensor.function([shape, rate], separation, **options)
    density = pytensor.function([shape, rate], pm.logp(separation, good[0]), **options)
    for name, given in (("1 component", (1, 2)), ("3 components", (3, 2)), ("1 feature", (2, 1))):
        yield f"draw of separated covariances: {name}", lambda g=given: draw(np.ones((2, 2)), np.ones(g))
        yield f"density of separated covariances: {name}", lambda g=given: density(np.ones(g), np.ones(g))


def array_calls() -> Iterator[Call]:
    """Entries without PyTensor."""
    mixture = Mixture(*PARTS)
    for name, values in wrong_values():
        if values[0] is ROWS:
            yield f"Mixture: {name}", lambda v=values: Mixture(*v[1:])
    for name, rows in {"3 features": np.ones((4, 3)), "1 feature": np.ones((4, 1)), "one axis": np.ones(4)}.items():
        yield f"log_prob: {name}", lambda r=rows: mixture.log_prob(r)
        yield f"responsibilities: {name}", lambda r=rows: mixture.responsibilities(r)
        yield f"statistics: {name}", lambda r=rows: expected_statistics(r, mixture)
    for size in (0, 3, 5):
        yield f"statistics: {size} weights", lambda n=size: expected_statistics(ROWS, mixture, np.ones(n))
    for order in ([0], [0, 0], [0, 2], [0, 1, 1], [-1, 0], [[0, 1]], 0):
        yield f"permute {order}", lambda o=order: mixture.permute(o)
    draws = Draws(*(np.stack([part] * 3) for part in PARTS), family=covariance_family("full"))
    yield "draws: 3 features", lambda: log_densities(draws, Data(np.ones((4, 3))))
    yield "draws: 1 feature", lambda: log_densities(draws, Data(np.ones((4, 1))))
    labels = np.array([[0, 0, 1, 1], [0, 1, 0, 1]])
    for name, wrong in {
        "negative": labels - 1,
        "fractions": labels / 2.0,
        "one axis": labels[0],
        "no rows": labels[:, :0],
        "no draws": labels[:0],
        "too large": labels * 2**40,
    }.items():
        yield f"losses: draws {name}", lambda w=wrong: losses(w, labels[0])
        yield f"expected_loss: draws {name}", lambda w=wrong: expected_loss(w, labels[0])
        yield f"salso: draws {name}", lambda w=wrong: salso(w, SalsoSettings(max_clusters=2), rng=RNG)
    for name, wrong in {
        "negative": labels[0] - 1,
        "fractions": labels[0] / 2.0,
        "two axes": labels,
        "fewer rows": labels[0, :3],
        "more rows": np.arange(5),
        "one row": labels[0, :1],
    }.items():
        yield f"losses: estimate {name}", lambda w=wrong: losses(labels, w)
        yield f"table: estimate {name}", lambda w=wrong: contingency_table(labels[0], w)
        yield (
            f"salso: start {name}",
            lambda w=wrong: salso(
                labels, SalsoSettings(max_clusters=2), rng=RNG, starts=np.atleast_2d(w) if np.ndim(w) == 1 else w[None]
            ),
        )
    yield "salso: start beyond", lambda: salso(labels, SalsoSettings(max_clusters=1), rng=RNG, starts=labels)
    yield "salso: no clusters", lambda: salso(labels, SalsoSettings(max_clusters=0), rng=RNG)
    yield "salso: no runs", lambda: salso(labels, SalsoSettings(max_clusters=2, n_runs=0), rng=RNG)
    yield "canonical: none", lambda: canonical_labels([])
    yield "canonical: fractions", lambda: canonical_labels([0.5, 1.0])


RNG = np.random.default_rng(0)


def calls(mode: str) -> Iterator[Call]:
    """All of them, in one of PyTensor's modes."""
    yield from known_shape_calls()
    yield from mixture_calls(mode)
    yield from batch_calls(mode)
    yield from shared_calls(mode)
    yield from covariance_calls(mode)
    yield from array_calls()


def outcome(call: Callable[[], object]) -> str:
    """The names of an exception's classes, or what was returned."""
    try:
        return f"returned {call()!r:.200}"
    except Exception as error:
        names = [kind.__name__ for kind in type(error).__mro__]
        return f"{'InputError' if 'InputError' in names else names[0]}: {str(error)[:300]}"


if __name__ == "__main__":
    print(json.dumps({name: outcome(call) for name, call in calls(sys.argv[1])}))
