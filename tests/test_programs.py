"""Random programs of about thirty ops: every road to a derivative, over numbers and over arrays, and exact fractions.

A program is plain data, a list of steps (name of an op, places of its operands), and is interpreted on any numbers:
floats, arrays, traced values, fractions, dual numbers. The default run takes few of them, the same each time; for
many, new each time, run `pytest -m campaign tests/test_programs.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fgrad
from fgrad import grad, hessian, hvp, jacfwd, jacrev, jvp, linearize, value_and_grad, vjp, vmap
from tests.oracles import Array, numeric_vjp

Step: TypeAlias = tuple[str, tuple[int, ...]]
Raw: TypeAlias = tuple[int, int, int]
"""What is drawn for a step: an op, and how far back its operands lie; `built` makes a step of it."""

QUICK = settings(max_examples=40, deadline=None, derandomize=True, database=None)
CAMPAIGN = settings(max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@attrs.frozen
class Row:
    """An op of the programs: how many operands it takes, what it does, and where it is smooth and defined."""

    arity: int
    call: Callable[..., Any]
    fits: Callable[..., bool] = lambda *operands: True


@attrs.frozen
class Program:
    """Steps; step k makes value number len(inputs) + k. The results are the last three values."""

    steps: tuple[Step, ...]

    def run(self, ops: Mapping[str, Row], inputs: Sequence[Any]) -> list[Any]:
        """All values, the inputs first."""
        values = list(inputs)
        for name, places in self.steps:
            values.append(ops[name].call(*[values[i] for i in places]))
        return values

    def results(self, ops: Mapping[str, Row]) -> Callable[[list[Any]], list[Any]]:
        return lambda inputs: self.run(ops, inputs)[-3:]

    def number(self, ops: Mapping[str, Row]) -> Callable[[list[Any]], Any]:
        """The program with one result: a weighted sum of all numbers of its results."""
        return lambda inputs: sum(
            [k * fgrad.sum(y) for k, y in zip((0.5, -1.0, 2.0), self.run(ops, inputs)[-3:], strict=False)], 0.0
        )


def built(ops: Mapping[str, Row], raw: Sequence[Raw], inputs: Sequence[Any], plain: str) -> Program:
    """Make steps of what was drawn, with the unary op `plain` where an op does not fit its operands."""
    names, values, steps = list(ops), list(inputs), []
    for pick, *back in raw:
        name = names[pick % len(names)]
        places = tuple([len(values) - 1 - b % len(values) for b in back][: ops[name].arity])
        if not ops[name].fits(*[values[i] for i in places]):
            name, places = plain, places[:1]
        values.append(ops[name].call(*[values[i] for i in places]))
        steps.append((name, places))
    return Program(tuple(steps))


def raws(longest: int) -> st.SearchStrategy[list[Raw]]:
    return st.lists(st.tuples(*[st.integers(0, 999)] * 3), min_size=longest // 3, max_size=longest)


# --- ops: smooth where they are used, of values that stay small ------------------------------------------------------
def apart(x: Any, y: Any) -> bool:
    """Whether no number is near its counterpart: where they are equal, maximum has a kink."""
    return broadcast(x, y) and bool(np.all(np.abs(np.asarray(x) - np.asarray(y)) > 0.05))


def broadcast(x: Any, y: Any) -> bool:
    try:
        return len(np.broadcast_shapes(np.shape(x), np.shape(y))) <= 3
    except ValueError:
        return False


def off_zero(x: Any) -> bool:
    return apart(x, 0.0)


SMOOTH: dict[str, Row] = {
    "sin": Row(1, lambda x: fgrad.sin(x)),
    "cos": Row(1, lambda x: np.cos(x)),
    "tanh": Row(1, fgrad.tanh),
    "atan": Row(1, fgrad.atan),
    "asinh": Row(1, fgrad.asinh),
    "sigmoid": Row(1, fgrad.sigmoid),
    "softplus": Row(1, lambda x: fgrad.softplus(x) / 2),
    "silu": Row(1, fgrad.silu),
    "exp": Row(1, lambda x: fgrad.exp(-x * x)),
    "log": Row(1, lambda x: fgrad.log(1 + x * x)),
    "log1p": Row(1, lambda x: fgrad.log1p(x**2) - 0.5),
    "sqrt": Row(1, lambda x: fgrad.sqrt(1 + x * x) - 1),
    "reciprocal": Row(1, lambda x: 1 / (1 + x * x)),
    "negative": Row(1, lambda x: -x),
    "square": Row(1, lambda x: x**2 / 4),
    "relu": Row(1, fgrad.relu, off_zero),
    "abs": Row(1, abs, off_zero),
    "add": Row(2, lambda x, y: (x + y) / 2, broadcast),
    "subtract": Row(2, lambda x, y: 0.7 * (x - y), broadcast),
    "multiply": Row(2, lambda x, y: x * y / 2, broadcast),
    "divide": Row(2, lambda x, y: x / (1 + y**2), broadcast),
    "pow": Row(2, lambda x, y: (1 + x * x / 4) ** fgrad.tanh(y) - 1, broadcast),
    "atan2": Row(2, lambda x, y: fgrad.atan2(x, 2 + y * y), broadcast),
    "logaddexp": Row(2, lambda x, y: fgrad.logaddexp(x, y) / 2, broadcast),
    "hypot": Row(2, lambda x, y: fgrad.hypot(x, 1 + y * y) / 2, broadcast),
    "maximum": Row(2, fgrad.maximum, apart),
    "minimum": Row(2, fgrad.minimum, apart),
    "where": Row(2, lambda x, y: fgrad.where(x > y, fgrad.sin(x), y / 2), apart),
    "select": Row(2, lambda x, y: fgrad.where(x < y, x, fgrad.tanh(y)), apart),
}


def rank(low: int, high: int = 3) -> Callable[[Any], bool]:
    return lambda x: low <= np.ndim(x) <= high


def distinct(x: Any) -> bool:
    """Whether the numbers along the last axis are apart, so that each keeps its place in their order."""
    return np.ndim(x) > 0 and bool(np.all(np.diff(np.sort(x, axis=-1), axis=-1) > 0.05))


def multiply_as_matrices(x: Any, y: Any) -> bool:
    return np.ndim(x) > 0 < np.ndim(y) and np.shape(x)[-1] == np.shape(y)[-2 if np.ndim(y) > 1 else 0] and fit(x, y)


def fit(x: Any, y: Any) -> bool:
    """Whether the axes before the last two broadcast."""
    return broadcast(np.empty(np.shape(x)[:-2]), np.empty(np.shape(y)[:-2]))


def alike(x: Any, y: Any) -> bool:
    return np.shape(x) == np.shape(y) and np.ndim(x) < 3


ARRAYS: dict[str, Row] = {
    **SMOOTH,
    "sum": Row(1, lambda x: fgrad.sum(x) / x.size, rank(1)),
    "sum along": Row(1, lambda x: fgrad.sum(x, axis=0) / len(x), rank(1)),
    "mean": Row(1, lambda x: np.mean(x, axis=-1), rank(1)),
    "mean kept": Row(1, lambda x: fgrad.mean(x, axis=-1, keepdims=True), rank(1)),
    "var": Row(1, lambda x: fgrad.var(x, axis=-1), rank(1)),
    "max": Row(1, lambda x: fgrad.max(x, axis=-1), distinct),
    "sort": Row(1, lambda x: fgrad.sort(x, axis=-1), distinct),
    "logsumexp": Row(1, lambda x: fgrad.logsumexp(x, axis=-1) / 2, rank(1)),
    "softmax": Row(1, lambda x: fgrad.softmax(x, axis=-1), rank(1)),
    "norm": Row(1, lambda x: fgrad.norm(1 + x * x, axis=-1) / 4, rank(1)),
    "running sum": Row(1, lambda x: fgrad.cumulative_sum(x, axis=-1) / x.shape[-1], rank(1)),
    "product": Row(1, lambda x: fgrad.prod(1 + fgrad.tanh(x) / 4, axis=-1), rank(1)),
    "first": Row(1, lambda x: x[0], rank(1)),
    "last": Row(1, lambda x: x[..., -1], rank(1)),
    "slice": Row(1, lambda x: x[..., 1:], lambda x: np.ndim(x) > 0 and np.shape(x)[-1] > 1),
    "backwards": Row(1, lambda x: x[..., ::-1], rank(1)),
    "gather": Row(1, lambda x: x[[0, -1, 0]], rank(1)),
    "new axis": Row(1, lambda x: fgrad.expand_dims(x, axis=-1), rank(0, 2)),
    "transpose": Row(1, lambda x: fgrad.matrix_transpose(x), rank(2)),
    "flat": Row(1, lambda x: fgrad.reshape(x, (-1,)), lambda x: np.size(x) <= 12),
    "broadcast": Row(1, lambda x: fgrad.broadcast_to(x, (2, *np.shape(x))), rank(0, 2)),
    "stack": Row(2, lambda x, y: fgrad.stack([x, y], axis=-1), alike),
    "concat": Row(2, lambda x, y: fgrad.concat([x, y]), lambda x, y: alike(x, y) and np.ndim(x) > 0),
    "matmul": Row(2, lambda x, y: x @ y / x.shape[-1], multiply_as_matrices),
}


# --- roads to first and second derivatives ---------------------------------------------------------------------------
def flat(tree: Sequence[Any]) -> Array:
    return np.concatenate([np.ravel(x) for x in tree])


def matrix(blocks: Sequence[Sequence[Any]], rows: Sequence[Any], columns: Sequence[Any]) -> Array:
    """One matrix of the blocks of a Jacobian."""
    return np.block(
        [
            [np.reshape(b, (np.size(y), np.size(x))) for b, x in zip(row, columns, strict=True)]
            for row, y in zip(blocks, rows, strict=True)
        ]
    )


def inner(xs: Sequence[Any], ys: Sequence[Any]) -> float:
    return float(flat(xs) @ flat(ys))


def units(xs: Sequence[Any]) -> list[list[Any]]:
    """Every unit vector, in the structure and types of xs."""
    sizes = np.cumsum([np.size(x) for x in xs])
    rows = [np.split(row, sizes[:-1]) for row in np.eye(sizes[-1])]
    return [
        [np.reshape(e, np.shape(x)) if np.ndim(x) else float(e[0]) for e, x in zip(row, xs, strict=True)]
        for row in rows
    ]


def agree(roads: Mapping[str, Any], rtol: float = 1e-9) -> Array:
    """Fail unless all roads lead to the same numbers, relative to the largest of them and 1; give the first's."""
    first, *_ = roads.values()
    scale = max(1.0, float(np.max(np.abs(first), initial=0.0)))
    for name, found in roads.items():
        assert np.shape(found) == np.shape(first), name
        np.testing.assert_allclose(found, first, rtol=0, atol=rtol * scale, err_msg=name)
    return np.asarray(first)


def first_derivatives(f: Callable[[list[Any]], Any], xs: list[Any]) -> Array:
    """The gradient, by seven roads."""
    value, gradient = value_and_grad(f)(xs)
    _, push = linearize(f, xs)
    assert value == pytest.approx(f(xs), rel=1e-13, abs=1e-13)
    roads: dict[str, Any] = {
        "grad": flat(grad(f)(xs)),
        "value_and_grad": flat(gradient),
        "vjp": flat(vjp(f, xs)[1](1.0)[0]),
        "jvp": [jvp(f, (xs,), (e,))[1] for e in units(xs)],
        "linearize": [push(e) for e in units(xs)],
        "jacrev": flat(jacrev(f)(xs)),  # type: ignore[arg-type]  # a list like xs
        "jacfwd": flat(jacfwd(f)(xs)),  # type: ignore[arg-type]  # as above
    }
    return agree(roads)


def second_derivatives(f: Callable[[list[Any]], Any], xs: list[Any]) -> Array:
    """The Hessian, by eight roads; it is symmetric."""
    gradient: Any = grad(f)

    def blocks(found: Any) -> Array:
        return matrix(found, xs, xs)

    def along(d: list[Any]) -> Callable[[list[Any]], Any]:
        return lambda xs: jvp(f, (xs,), (d,))[1]

    roads = {
        "hessian": blocks(hessian(f)(xs)),
        "forward over reverse": blocks(jacfwd(jacrev(f))(xs)),
        "reverse over forward": blocks(jacrev(jacfwd(f))(xs)),
        "reverse over reverse": blocks(jacrev(jacrev(f))(xs)),
        "forward over forward": blocks(jacfwd(jacfwd(f))(xs)),
        "hvp": [flat(hvp(f, (xs,), (e,))) for e in units(xs)],  # type: ignore[arg-type]  # a list like xs
        "vjp of grad": [flat(vjp(gradient, xs)[1](e)[0]) for e in units(xs)],
        "jvp of jvp": [[jvp(along(d), (xs,), (e,))[1] for e in units(xs)] for d in units(xs)],
    }
    found = agree(roads)
    return agree({"H": found, "transposed": found.T})


def stacked(trees: Sequence[Sequence[Any]]) -> list[Array]:
    return [np.stack(column) for column in zip(*trees, strict=True)]


def check_program(program: Program, ops: Mapping[str, Row], xs: list[Any]) -> None:
    """All roads agree, with numeric differences too; two modes give one Jacobian; vmap is the loop."""
    f, results = program.number(ops), program.results(ops)
    gradient = first_derivatives(f, xs)
    curvature = second_derivatives(f, xs)
    scale = max(1.0, np.max(np.abs(gradient)), np.max(np.abs(curvature)))
    numeric = flat(numeric_vjp(lambda *xs: f(list(xs)), xs, 1.0))
    np.testing.assert_allclose(gradient, numeric, rtol=0, atol=1e-7 * scale)
    along = [k * np.cos(x) for k, x in zip((0.5, -1.0, 1.0, 2.0), xs, strict=False)]
    slope = numeric_vjp(lambda *xs: inner(grad(f)(list(xs)), along), xs, 1.0)
    np.testing.assert_allclose(curvature @ flat(along), flat(slope), rtol=0, atol=1e-6 * scale)
    ys = results(xs)
    agree({"jacrev": matrix(jacrev(results)(xs), ys, xs), "jacfwd": matrix(jacfwd(results)(xs), ys, xs)})  # type: ignore[arg-type]  # lists
    examples = [[x * k for x in xs] for k in (1.0, 0.999, 1.001)]
    batch = stacked(examples)
    every: Any = vmap(results)(batch)
    for found, looped in zip(every, stacked([results(x) for x in examples]), strict=True):
        agree({"vmap": found, "loop": looped})
    each: Any = vmap(grad(f))(batch)
    for found, looped in zip(each, stacked([grad(f)(x) for x in examples]), strict=True):
        agree({"vmap": found, "loop": looped})


# --- numbers and arrays ----------------------------------------------------------------------------------------------
NUMBERS = st.integers(-160, 160).map(lambda n: n / 64)


@st.composite
def on_numbers(draw: st.DrawFn) -> tuple[Program, list[Any]]:
    xs = draw(st.lists(NUMBERS, min_size=1, max_size=4))
    return built(SMOOTH, draw(raws(30)), xs, "tanh"), xs


@st.composite
def on_arrays(draw: st.DrawFn) -> tuple[Program, list[Any]]:
    numbers = draw(st.lists(NUMBERS, min_size=10, max_size=10))
    xs = [numbers[0], np.array(numbers[1:4]), np.array(numbers[4:]).reshape(2, 3)]
    return built(ARRAYS, draw(raws(30)), xs, "tanh"), xs


@QUICK
@given(on_numbers())
def test_programs_on_numbers(case: tuple[Program, list[Any]]) -> None:
    check_program(case[0], SMOOTH, case[1])


@QUICK
@given(on_arrays())
def test_programs_on_arrays(case: tuple[Program, list[Any]]) -> None:
    check_program(case[0], ARRAYS, case[1])


@pytest.mark.campaign
@CAMPAIGN
@given(on_numbers())
def test_many_programs_on_numbers(case: tuple[Program, list[Any]]) -> None:
    check_program(case[0], SMOOTH, case[1])


@pytest.mark.campaign
@CAMPAIGN
@given(on_arrays())
def test_many_programs_on_arrays(case: tuple[Program, list[Any]]) -> None:
    check_program(case[0], ARRAYS, case[1])


# --- rational programs, exactly --------------------------------------------------------------------------------------
RATIONAL: dict[str, Row] = {
    "add": Row(2, lambda x, y: x + y),
    "subtract": Row(2, lambda x, y: x - y),
    "multiply": Row(2, lambda x, y: x * y),
    "divide": Row(2, lambda x, y: x / (1 + y * y)),
    "reflected divide": Row(1, lambda x: 1 / (2 + x * x)),
    "reflected subtract": Row(1, lambda x: 1 - x),
    "square": Row(1, lambda x: x**2),
    "cube": Row(1, lambda x: x**3),
    "inverse": Row(1, lambda x: (1 + x * x) ** -1),
    "inverse square": Row(1, lambda x: (1 + x * x) ** -2),
    "constant": Row(1, lambda x: x**0),
    "negative": Row(1, lambda x: -x),
}
PARTIALS: dict[str, Callable[..., tuple[Any, ...]]] = {  # by hand
    "add": lambda x, y: (1, 1),
    "subtract": lambda x, y: (1, -1),
    "multiply": lambda x, y: (y, x),
    "divide": lambda x, y: (1 / (1 + y * y), -2 * x * y / (1 + y * y) ** 2),
    "reflected divide": lambda x: (-2 * x / (2 + x * x) ** 2,),
    "reflected subtract": lambda x: (-1,),
    "square": lambda x: (2 * x,),
    "cube": lambda x: (3 * x * x,),
    "inverse": lambda x: (-2 * x / (1 + x * x) ** 2,),
    "inverse square": lambda x: (-4 * x / (1 + x * x) ** 3,),
    "constant": lambda x: (0,),
    "negative": lambda x: (-1,),
}
BITS, LARGEST = 600, 30


def tame(*operands: Fraction) -> bool:
    """Whether fractions are still small enough, and short enough, for any op."""
    return all(abs(x) < LARGEST and x.denominator.bit_length() < BITS for x in operands)


@attrs.frozen
class Dual:
    """A number and its tangent, of any kind of numbers, and so of dual numbers too."""

    x: Any
    t: Any

    def __add__(self, y: Any) -> Dual:
        return Dual(self.x + y.x, self.t + y.t) if isinstance(y, Dual) else Dual(self.x + y, self.t)

    __radd__ = __add__

    def __neg__(self) -> Dual:
        return Dual(-self.x, -self.t)

    def __sub__(self, y: Any) -> Any:
        return self + (-y)

    def __rsub__(self, y: Any) -> Any:
        return -self + y

    def __mul__(self, y: Any) -> Dual:
        return Dual(self.x * y.x, self.t * y.x + self.x * y.t) if isinstance(y, Dual) else Dual(self.x * y, self.t * y)

    __rmul__ = __mul__

    def __truediv__(self, y: Any) -> Any:
        return self * y**-1

    def __rtruediv__(self, y: Any) -> Any:
        return self**-1 * y

    def __pow__(self, n: int) -> Dual:
        return Dual(self.x**n, n * self.x ** (n - 1) * self.t if n else 0 * self.t)


Exact: TypeAlias = tuple[Any, list[Any]]
"""The value of a program's last step, and its gradient."""


def by_dual_numbers(program: Program, inputs: Sequence[Any]) -> Exact:
    runs = [
        program.run(RATIONAL, [Dual(x, Fraction(i == j)) for j, x in enumerate(inputs)])[-1] for i in range(len(inputs))
    ]
    return runs[0].x, [run.t for run in runs]


def by_accumulation(program: Program, inputs: Sequence[Any]) -> Exact:
    values = program.run(RATIONAL, inputs)
    adjoints: list[Any] = [0 * x for x in values]
    adjoints[-1] += 1
    for k, (name, places) in reversed(list(enumerate(program.steps, len(inputs)))):
        partials = PARTIALS[name](*[values[i] for i in places])
        for i, partial in zip(places, partials, strict=True):
            adjoints[i] += adjoints[k] * partial
    return values[-1], adjoints[: len(inputs)]


EXACT: dict[str, Callable[[Program, Sequence[Any]], Exact]] = {
    "forward": by_dual_numbers,
    "reverse": by_accumulation,
}
"""How a gradient is found on exact numbers, each on its own."""


def exact(program: Program, inputs: Sequence[Any], modes: Sequence[str] = tuple(EXACT)) -> dict[str, Exact]:
    """Value and gradient of a program's last step, on exact numbers, in each of `modes`."""
    return {mode: EXACT[mode](program, inputs) for mode in modes}


def exact_hessian(program: Program, inputs: Sequence[Fraction]) -> list[list[Fraction]]:
    """Second derivatives: the hand-written reverse accumulation, done on dual numbers."""
    rows = []
    for i in range(len(inputs)):
        _, gradient = by_accumulation(program, [Dual(x, Fraction(i == j)) for j, x in enumerate(inputs)])
        rows.append([g.t for g in gradient])
    return rows


def check_rational(program: Program, xs: list[float]) -> None:
    """Two hand-written modes agree exactly, to second order; fgrad's floats agree with them to rounding."""
    inputs = [Fraction(x) for x in xs]
    value, gradient = exact(program, inputs)["forward"]
    assert all(found == (value, gradient) for found in exact(program, inputs).values())
    curvature = exact_hessian(program, inputs)
    assert curvature == [list(column) for column in zip(*curvature, strict=True)]

    def f(xs: list[float]) -> float:
        last: float = program.run(RATIONAL, xs)[-1]
        return last

    scale = max(1.0, *(abs(float(x)) for x in [value, *gradient]), *(abs(float(x)) for row in curvature for x in row))
    found = first_derivatives(f, xs)
    np.testing.assert_allclose(f(xs), float(value), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(found, [float(g) for g in gradient], rtol=0, atol=1e-9 * scale)
    second = second_derivatives(f, xs)
    np.testing.assert_allclose(second, [[float(h) for h in row] for row in curvature], rtol=0, atol=1e-9 * scale)


@st.composite
def rational(draw: st.DrawFn) -> tuple[Program, list[float]]:
    xs = draw(st.lists(NUMBERS, min_size=1, max_size=3))
    ops = {name: attrs.evolve(row, fits=tame) for name, row in RATIONAL.items()}
    return built(ops, draw(raws(30)), [Fraction(x) for x in xs], "reflected subtract"), xs


@QUICK
@given(rational())
def test_rational_programs_are_exact(case: tuple[Program, list[float]]) -> None:
    check_rational(*case)


@pytest.mark.campaign
@CAMPAIGN
@given(rational())
def test_many_rational_programs_are_exact(case: tuple[Program, list[float]]) -> None:
    check_rational(*case)


def test_the_oracle_is_tested() -> None:
    """On a program whose derivatives are known: x² / (1 + y²), by hand; and a wrong partial is told apart."""
    program = Program((("square", (0,)), ("divide", (2, 1))))
    x, y = Fraction(3, 2), Fraction(1, 3)
    known = x**2 / (1 + y**2), [2 * x / (1 + y**2), -2 * x**2 * y / (1 + y**2) ** 2]
    assert exact(program, [x, y]) == {"forward": known, "reverse": known}
    assert exact_hessian(program, [x, y])[0] == [2 / (1 + y**2), -4 * x * y / (1 + y**2) ** 2]
    assert exact(program, [x, y], ["forward"])["forward"] != by_accumulation(Program((("cube", (0,)),)), [x, y])
