"""A trace is a value: it is replayed on other numbers, fingerprinted, saved as text, copied and pickled."""

import copy
import json
import math
import os
import pickle
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import fgrad
from fgrad import Trace, exact, grad, hessian, jacfwd, jvp, trace, vjp, vmap
from fgrad.errors import ConversionError, DataError, LeafError, MissingRowError, StructureError
from fgrad.node import TABLE, concrete
from fgrad.tree import leaves
from tests.expressions import micrograd_readme
from tests.sample import Sample
from tests.test_ops import NAMES, SMOOTH, on_fgrad, over
from tests.test_programs import RATIONAL, Program, exact_hessian, rational
from tests.test_programs import exact as exact_gradients

sympy = pytest.importorskip("sympy")


@attrs.frozen
class Dense:
    w: Any
    b: Any
    activation: str = fgrad.tree.static("tanh")

    def __call__(self, x: Any) -> Any:
        return getattr(fgrad, self.activation)(self.w @ x + self.b)


@dataclass(frozen=True)
class Point:
    x: Any
    y: Any


class Pair(NamedTuple):
    left: Any
    right: Any


def ratio(x: Any, y: Any) -> Any:
    return (x * x * y + 1) / (y * y + x)


def tangled(p: Any, x: Any) -> Any:
    """A bit of everything: structures, indexing, branches, constants of all kinds."""
    h = fgrad.tanh(p["w"] @ x + p["b"])
    picked = h[np.array([0, 1, 1])] * np.float32(0.5) + h[None, ..., ::-1][0, :1]
    masked = fgrad.where(np.array([True, False, True]), picked, -0.0) * math.pi
    return {"out": masked, "last": [fgrad.sum(masked, axis=0), (fgrad.astype(masked, np.float32), None)]}


P0: Any = {"w": np.arange(6.0).reshape(2, 3) / 7, "b": 0.25}
X0 = np.array([0.5, -1.0, 2.0])


def same(a: Any, b: Any) -> None:
    """Whether two pytrees agree, in structure, types and every bit."""
    (xs, s), (ys, t) = fgrad.tree.flatten(a), fgrad.tree.flatten(b)
    assert s == t
    for x, y in zip(xs, ys, strict=True):
        assert type(x) is type(y)
        assert np.asarray(x).dtype == np.asarray(y).dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


# --- replay on floats and arrays -------------------------------------------------------------------------------------
@over(NAMES)
def test_replay_is_bit_equal(sample: Sample) -> None:
    """At the inputs of the trace every output has the trace's own bits, for every row of the table."""
    made = trace(on_fgrad(sample))(*sample.args)
    replayed: Any = made.replay(*sample.args)
    for x, y in zip(leaves(replayed), made.outputs, strict=True):
        same(x, concrete(y))


def test_replay_at_other_inputs() -> None:
    made = trace(tangled)(P0, X0)
    p: Any = {"w": -P0["w"], "b": 1.5}
    again: Any = trace(tangled)(p, X0 * 3)
    same(made.replay(p, X0 * 3), fgrad.tree.unflatten(again.out_structure, [concrete(y) for y in again.outputs]))
    assert trace(micrograd_readme)(1.0, 1.0).replay(-4.0, 2.0) == micrograd_readme(-4.0, 2.0)
    assert trace(ratio)(1.0, 1.0).replay(2, 3) == ratio(2.0, 3.0)  # integers are taken as floats


def test_replay_takes_arguments_as_they_were() -> None:
    """Keywords where there were keywords, and user's classes; else an error names the place."""
    made: Any = trace(lambda *, x, y: x / y)(x=1.0, y=2.0)
    assert made.replay(x=3.0, y=4.0) == made.replay(y=4.0, x=3.0) == 0.75
    layer = Dense(np.ones((1, 2)), 0.0)
    applied: Any = trace(lambda layer, x: {"y": layer(x), "w": layer})(layer, np.ones(2)).replay(layer, np.zeros(2))
    assert applied["y"] == [0.0]
    assert isinstance(applied["w"], Dense)
    for args, kwargs in (((1.0, 2.0), {}), ((), {"x": 1.0}), ((), {"x": 1.0, "y": {"z": 2.0}})):
        with pytest.raises(StructureError, match="arguments"):
            made.replay(*args, **kwargs)
    with pytest.raises(StructureError, match=r"x has the shape \(2,\), and was traced with \(\).*vmap"):
        made.replay(x=np.ones(2), y=1.0)
    with pytest.raises(LeafError, match="y is str"):
        made.replay(x=1.0, y="2")


def test_replay_is_a_function() -> None:
    """It is differentiated, batched and traced as any other."""
    made: Any = trace(ratio)(1.0, 1.0)
    found: Any = grad(made.replay)
    assert found(0.5, 2.0) == grad(ratio)(0.5, 2.0)
    second: Callable[[Any], Any] = lambda f: grad(grad(lambda x: f(x, 2.0)))(0.5)  # type: ignore[call-overload]  # a bare lambda
    assert second(made.replay) == second(ratio)
    assert jvp(made.replay, (0.5, 2.0), (1.0, 1.0)) == jvp(ratio, (0.5, 2.0), (1.0, 1.0))
    xs = np.array([0.5, 1.5])
    np.testing.assert_array_equal(vmap(made.replay, (0, None))(xs, 2.0), ratio(xs, 2.0))
    assert trace(made.replay)(1.0, 1.0).program.steps == made.program.steps


def test_results_are_fresh() -> None:
    """They share memory with nothing: neither with arguments nor with the trace."""
    constant, x = np.ones(2), np.ones(2)
    made: Any = trace(lambda x: (x, x.reshape((2, 1)), constant, x))(x)
    first = made.replay(x)
    for y in first:
        assert not np.shares_memory(y, x)
        y *= 10
    assert [y.max() for y in made.replay(x)] == [1.0] * 4


def test_a_trace_is_silent_about_infinities() -> None:
    assert trace(lambda x: 1 / x)(1.0).replay(0.0) == math.inf
    assert trace(lambda x: fgrad.log(x))(np.ones(1)).replay(np.zeros(1)) == [-np.inf]


# --- replay on fractions ---------------------------------------------------------------------------------------------
def fractions(x: Any) -> Any:
    """Floats as fractions; inf and nan stay."""
    exactly: Callable[[float], Any] = lambda v: Fraction(v) if math.isfinite(v) else v
    if not isinstance(x, np.ndarray):
        return exactly(float(x))
    out = np.empty(x.shape, dtype=object)
    out[...] = np.frompyfunc(lambda v: exactly(float(v)), 1, 1)(x)
    return out


def test_the_gradient_of_a_rational_function_is_a_fraction() -> None:
    """By hand: d/dx (x²y + 1)/(y² + x)."""
    x, y = Fraction(1, 3), Fraction(2, 7)
    found = trace(grad(ratio))(0.5, 2.0).replay(x, y)
    assert type(found) is Fraction
    assert found == (2 * x * y * (y * y + x) - (x * x * y + 1)) / (y * y + x) ** 2
    assert trace(micrograd_readme)(-4.0, 2.0).replay(Fraction(-4), Fraction(2)) == Fraction(
        micrograd_readme(-4.0, 2.0)
    ).limit_denominator(10**6)


ROADS: dict[str, Callable[[Any], Callable[[Any], Any]]] = {
    "grad": grad,
    "jvp": lambda f: lambda xs: [jvp(f, (xs,), ([float(i == j) for j in range(len(xs))],))[1] for i in range(len(xs))],
    "vjp": lambda f: lambda xs: vjp(f, xs)[1](1.0)[0],
    "jacfwd": jacfwd,
}
SECOND: dict[str, Callable[[Any], Callable[[Any], Any]]] = {
    "forward over reverse": hessian,
    "reverse over forward": lambda f: fgrad.jacrev(jacfwd(f)),
    "forward over forward": lambda f: jacfwd(jacfwd(f)),
    "reverse over reverse": lambda f: fgrad.jacrev(grad(f)),
}


def check_exactly(program: Program, xs: list[float]) -> None:
    """Every road to a derivative, replayed on fractions, is equal to the gradient by dual numbers: no rounding."""

    def f(xs: Any) -> Any:
        return program.run(RATIONAL, xs)[-1] * 1.0  # so that an untouched input has a gradient too

    inputs = [Fraction(x) + Fraction(1, 7) for x in xs]  # not those that were traced
    value, gradient = exact_gradients(program, inputs)["forward"]
    assert trace(f)(xs).replay(inputs) == value
    for name, road in ROADS.items():
        assert trace(road(f))(xs).replay(inputs) == gradient, name
    curvature = exact_hessian(program, inputs)
    for name, road in SECOND.items():
        assert trace(road(f))(xs).replay(inputs) == curvature, name


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(rational())
def test_derivatives_of_rational_programs_are_exact(case: tuple[Program, list[float]]) -> None:
    check_exactly(*case)


@pytest.mark.campaign
@settings(max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(rational())
def test_derivatives_of_many_rational_programs_are_exact(case: tuple[Program, list[float]]) -> None:
    check_exactly(*case)


@over([name for name in NAMES if name != "searchsorted"])  # whose samples have nan, for which objects have no order
def test_fractions_agree_with_floats(sample: Sample) -> None:
    """Over every row of the table: exact values, and gradients, are those of floats to rounding; or the op is named."""
    f = on_fgrad(sample)

    def gradient(*args: Any) -> Any:
        return vjp(f, *args)[1](vjp(f, *args)[0] * 0 + 1.0)

    for g in (f, gradient):
        made = trace(g)(*sample.args)
        try:
            replayed: Any = made.replay(*map(fractions, sample.args))
        except (MissingRowError, ConversionError) as error:
            assert any(f"the op {name} " in str(error) for name in TABLE), error  # noqa: PT017  # the law
            continue
        for x, y in zip(leaves(replayed), map(concrete, made.outputs), strict=True):
            assert np.asarray(x).shape == np.asarray(y).shape
            assert np.asarray(x).dtype.kind in "bi" or all(
                type(v) in (Fraction, float, int) for v in np.asarray(x).flat
            )
            np.testing.assert_allclose(np.asarray(x, float), np.asarray(y, float), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", sorted(exact.FRACTIONS.rows))
def test_a_row_on_fractions_keeps_the_conventions(name: str) -> None:
    """At zeros, halves, ties, inf and nan a row on fractions does what the op does on floats."""
    points = [0.0, 1.0, -1.0, 2.0, -2.5, 0.5, 1.5, 3.0, math.inf, -math.inf, math.nan]
    op, row = TABLE[name], exact.FRACTIONS.rows[name]
    arity = len(op.partials) if op.partials else 1 if name in UNARY else 3 if name == "where" else 2
    for args in np.ndindex(*[len(points)] * arity):
        xs = [points[i] for i in args]
        if name.startswith("bitwise"):
            xs = [bool(x > 0) for x in xs]
        elif name == "pow" and (xs[1] % 1 or math.isinf(xs[1])):
            continue  # roots are no fractions
        elif name in ("remainder", "floor_divide") and math.inf in map(abs, xs):
            continue  # Python's own % on inf is not NumPy's
        with np.errstate(all="ignore"):
            expected: Any = op.impl(*xs)
        found: Any = row(*map(fractions, xs) if not name.startswith("bitwise") else xs)
        assert type(found) in (Fraction, bool) or not math.isfinite(found)
        assert float(found) == float(expected) or (math.isnan(found) and math.isnan(expected)), (name, xs)


UNARY = ["floor", "ceil", "round", "sign", "logical_not", "isnan", "isinf", "isfinite", "bitwise_invert"]


def test_poles_that_are_left_out_leave_no_trace() -> None:
    """Strong zero holds on fractions too: the gradient of what `where` leaves out is exactly 0."""
    f = lambda x: fgrad.where(x > 0, 1 / x, x * x)
    made = trace(grad(f))(-1.0)
    assert made.replay(Fraction(0)) == 0
    assert type(made.replay(Fraction(0))) is Fraction
    assert trace(f)(1.0).replay(Fraction(0)) == 0
    assert trace(lambda x: 1 / x)(1.0).replay(Fraction(0)) == math.inf
    assert trace(grad(lambda x: x**0))(1.0).replay(Fraction(0)) == 0


def test_constants_are_taken_at_their_binary_value() -> None:
    assert trace(lambda x: x * 0.1)(1.0).replay(Fraction(1)) == Fraction(0.1) != Fraction(1, 10)
    assert trace(lambda x: x * np.float32(0.1))(1.0).replay(Fraction(1)) == Fraction(float(np.float32(0.1)))
    assert trace(lambda x: x**3.0)(1.0).replay(Fraction(2, 3)) == Fraction(8, 27)
    assert trace(lambda x, y: x + y)(1.0, 1.0).replay(Fraction(1, 3), 0.1) == Fraction(1, 3) + Fraction(0.1)


def test_arrays_of_fractions() -> None:
    """NumPy's arrays of objects hold them; the gradient of x·Ax is (A + Aᵀ)x, exactly."""
    a = np.array([[1.0, 0.5], [-2.0, 3.0]])
    x = np.array([Fraction(1, 3), Fraction(2, 7)])
    found: Any = trace(grad(lambda x: x @ a @ x))(np.ones(2)).replay(x)
    assert found.dtype == object
    assert list(found) == list(fractions(a + a.T) @ x)
    solution: Any = trace(grad(lambda b: fgrad.sum(fgrad.solve(a, b))))(np.ones(2)).replay(x)
    assert list(fractions(a.T) @ solution) == [1, 1]
    mean: Any = trace(lambda x: (fgrad.mean(x), fgrad.max(x), x[::-1]))(np.ones(3)).replay(
        np.array([Fraction(1, 2), 1, Fraction(1, 3)], dtype=object)
    )
    assert mean[:2] == (Fraction(11, 18), 1)
    assert list(mean[2]) == [Fraction(1, 3), 1, Fraction(1, 2)]


def test_ops_that_hold_programs_are_replayed_exactly() -> None:
    third = Fraction(1, 3)

    def geometric(x: Any) -> Any:
        total, powers = fgrad.scan(lambda s, _: (s * x + 1, s), 1.0, length=5)
        return total + fgrad.sum(powers)

    expected = sum((5 - k + 1) * third**k for k in range(6))
    assert trace(geometric)(0.5).replay(third) == expected
    assert trace(grad(geometric))(0.5).replay(third) == sum(k * (6 - k) * third ** (k - 1) for k in range(1, 6))
    assert trace(fgrad.checkpoint(lambda x: x * x))(0.5).replay(third) == third**2
    step = lambda x, _: (fgrad.cond(x > 0, lambda x: x * x, lambda x: x, x), None)
    chosen = trace(lambda x: fgrad.scan(step, x, length=1)[0])(0.5)
    assert (chosen.replay(third), chosen.replay(-third)) == (third**2, -third)
    grown = trace(lambda x: fgrad.while_loop(lambda x: x < 100.0, lambda x: x * x, x))(2.0)
    assert grown.replay(Fraction(3, 2)) == Fraction(3, 2) ** 16
    counted = trace(lambda x: fgrad.fori_loop(0, 3, lambda i, s: s + x[i], 0.0))(np.ones(3))
    assert counted.replay(np.array([third] * 3)) == 1


def test_ops_without_exact_values_are_named() -> None:
    with pytest.raises(MissingRowError, match=r"the op exp has no meaning on fractions.Fraction: .*sympy.Rational"):
        trace(lambda x: fgrad.exp(x))(1.0).replay(Fraction(1))
    with pytest.raises(ConversionError, match=r"the op pow .*4 to the power 1/2 is no fraction"):
        trace(lambda x: x**0.5)(1.0).replay(Fraction(4))
    with pytest.raises(ConversionError, match="str is not a number"):
        trace(lambda x, y: x * y)(1.0, 1.0).replay(Fraction(4), "x")


def test_a_users_own_op_is_done_by_their_function() -> None:
    @fgrad.elementwise(lambda ans, x: 3 * x * x)
    def cube(x: float) -> float:
        return x * x * x

    assert trace(grad(lambda x: cube(x) + x))(1.0).replay(Fraction(1, 3)) == Fraction(4, 3)


# --- replay on symbols -----------------------------------------------------------------------------------------------
X, Y = sympy.symbols("x y", real=True)
FORMULAS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "rational": (lambda x: (x * x + 1) / (x - 3), (X**2 + 1) / (X - 3)),
    "exp": (lambda x: fgrad.exp(-x * x), sympy.exp(-(X**2))),
    "sin": (lambda x: fgrad.sin(x) * np.cos(x), sympy.sin(X) * sympy.cos(X)),
    "tan": (lambda x: fgrad.tan(x), sympy.tan(X)),
    "log1p": (lambda x: fgrad.log1p(x * x), sympy.log(1 + X**2)),
    "sqrt": (lambda x: fgrad.sqrt(1 + x * x), sympy.sqrt(1 + X**2)),
    "power": (lambda x: (2 + fgrad.sin(x)) ** 3, (2 + sympy.sin(X)) ** 3),
    "sigmoid": (lambda x: fgrad.sigmoid(3 * x), 1 / (1 + sympy.exp(-3 * X))),
    "softplus": (lambda x: fgrad.softplus(x), sympy.log(1 + sympy.exp(X))),
    "atan": (lambda x: fgrad.atan(x) + fgrad.asinh(x), sympy.atan(X) + sympy.asinh(X)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_formula_of_a_derivative(name: str) -> None:
    """What is replayed on a symbol is what SymPy derives by itself, to second order."""
    f, formula = FORMULAS[name]
    assert sympy.simplify(trace(f)(0.5).replay(X) - formula) == 0
    assert sympy.simplify(trace(grad(f))(0.5).replay(X) - sympy.diff(formula, X)) == 0
    assert sympy.simplify(trace(grad(grad(f)))(0.5).replay(X) - sympy.diff(formula, X, 2)) == 0


def test_the_gradient_of_a_neuron() -> None:
    """Arrays of symbols, too: tanh(w·x + b)."""
    w1, w2, b = sympy.symbols("w1 w2 b")
    made = trace(grad(lambda p, x: fgrad.tanh(p["w"] @ x + p["b"])))({"w": np.ones(2), "b": 0.0}, np.ones(2))
    found: Any = made.replay({"w": np.array([w1, w2]), "b": b}, np.array([X, Y]))
    neuron = sympy.tanh(w1 * X + w2 * Y + b)
    for derivative, symbol in zip([*found["w"], found["b"]], (w1, w2, b), strict=True):
        assert sympy.simplify(derivative - sympy.diff(neuron, symbol)) == 0


def test_choices_are_formulas() -> None:
    x = X
    assert trace(lambda x: fgrad.where(x > 0, x, 0.0))(1.0).replay(x) == sympy.Piecewise((x, x > 0), (0, True))
    assert trace(lambda x, y: fgrad.maximum(x, y))(1.0, 2.0).replay(x, 2.0) == sympy.Max(x, 2)
    slope: Any = trace(grad(lambda x: fgrad.relu(x)))(1.0).replay(x)
    assert [slope.subs(x, v) for v in (-1, 0, 2)] == [0, 0, 1]
    both = trace(lambda x: fgrad.logical_and(x > 0, ~(x > 1)))(1.0).replay(x)
    assert sympy.simplify(sympy.Equivalent(both, (x > 0) & (x <= 1))) == sympy.true
    assert trace(lambda x: x * 2.0)(1.0).replay(sympy.Rational(1, 3)) == sympy.Rational(2, 3)
    assert trace(lambda x, y: x + y)(1.0, 1.0).replay(x, Fraction(1, 3)) == x + sympy.Rational(1, 3)


@pytest.mark.parametrize("name", [name for name in SMOOTH if name in TABLE])
def test_every_smooth_row_has_a_formula(name: str) -> None:
    """At its samples the formula has the op's value."""
    points, _ = SMOOTH[name]
    made = trace(getattr(fgrad, name))(*points[-1])
    for point in points:
        if name == "lgamma" and point[0] < 0:
            continue  # a formula for positive numbers
        found = sympy.N(made.replay(*[sympy.Rational(x) for x in point]), 30)
        assert float(found) == pytest.approx(float(TABLE[name].impl(*point)), rel=1e-12, abs=1e-300)


def test_ops_without_formulas_are_named() -> None:
    with pytest.raises(MissingRowError, match="the op round has no meaning on SymPy's symbols: replay it on floats"):
        trace(lambda x: fgrad.round(x))(1.0).replay(X)
    with pytest.raises(ConversionError, match="the op argmax cannot be done on SymPy's symbols"):
        trace(lambda x: x[fgrad.argmax(x)])(np.ones(2)).replay(np.array([X, Y]))


def test_sympy_is_imported_by_none_but_its_user() -> None:
    code = (
        "import sys; from fractions import Fraction; from fgrad import trace, grad;"
        "t = trace(grad(lambda x: x / (x + 1.0)))(1.0); t.replay(2.0); t.replay(Fraction(1, 3)); t.fingerprint;"
        "assert not {'sympy', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- fingerprints ----------------------------------------------------------------------------------------------------
PROGRAMS = """
import numpy as np, fgrad
from fgrad import grad, trace
from tests.test_trace import P0, X0, Dense, Pair, Point, ratio, tangled
made = [
    trace(ratio)(0.5, 2.0),
    trace(grad(ratio))(0.5, 2.0),
    trace(tangled)(P0, X0),
    trace(lambda layer, x: Pair(layer(x), Point(x, 2.0)))(Dense(np.eye(2), 0.5), np.ones(2)),
    trace(grad(lambda x: fgrad.scan(lambda s, _: (s * x, s), 1.0, length=3)[0]))(2.0),
    trace(lambda x: {name: x * i for i, name in enumerate({"a", "b", "c"} & {"c", "a"})} and x * float("nan"))(1.0),
]
print([t.fingerprint for t in made])
"""


def test_equal_programs_have_equal_fingerprints_in_every_process() -> None:
    """Whatever the hash seed, and however many nodes were made before."""
    found = set()
    for seed in ("0", "1", "4242"):
        run = subprocess.run(
            [
                sys.executable,
                "-c",
                PROGRAMS if seed != "1" else f"import fgrad; fgrad.grad(lambda x: x*x)(1.)\n{PROGRAMS}",
            ],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(run.stdout)
    assert len(found) == 1
    assert len(set(json.loads(found.pop().replace("'", '"')))) == 6


VARIANTS: list[Callable[[], Trace]] = [
    lambda: trace(lambda x: x * 2.0 + 1.0)(1.0),
    lambda: trace(lambda x: x * math.nextafter(2.0, 3.0) + 1.0)(1.0),  # a last bit
    lambda: trace(lambda x: x * 2.0 - 1.0)(1.0),  # an op
    lambda: trace(lambda x: 2.0 * x + 1.0)(1.0),  # the order of parents
    lambda: trace(lambda x: x * 2 + 1.0)(1.0),  # an integer
    lambda: trace(lambda x: x * 0.0 + 1.0)(1.0),
    lambda: trace(lambda x: x * -0.0 + 1.0)(1.0),
    lambda: trace(lambda x: x * math.nan + 1.0)(1.0),
    lambda: trace(lambda x: x * math.inf + 1.0)(1.0),
    lambda: trace(lambda x: x * np.float32(2.0) + 1.0)(1.0),
    lambda: trace(lambda x: x * np.array([2.0, 2.0]) + 1.0)(1.0),
    lambda: trace(lambda x: x * np.array([[2.0, 2.0]]) + 1.0)(1.0),
    lambda: trace(lambda x: x * np.array([2.0, 2.0], np.float32) + 1.0)(1.0),
    lambda: trace(lambda x: x * 2.0 + 1.0)(np.ones(2)),  # the inputs' shapes and dtypes
    lambda: trace(lambda x: x * 2.0 + 1.0)(np.ones(3)),
    lambda: trace(lambda x: x * 2.0 + 1.0)(np.ones(2, np.float32)),
    lambda: trace(lambda x: x[0] * 2.0 + 1.0)([1.0]),  # the structures
    lambda: trace(lambda x: x[0] * 2.0 + 1.0)((1.0,)),
    lambda: trace(lambda x: (x * 2.0 + 1.0,))(1.0),
    lambda: trace(lambda x: [x * 2.0 + 1.0])(1.0),
    lambda: trace(lambda x, y: x * 2.0 + 1.0)(1.0, 1.0),
    lambda: trace(lambda x: x * 2.0 + 1.0)(x=1.0),
    lambda: trace(lambda x: fgrad.sum(x, axis=0))(np.ones((2, 2))),  # params
    lambda: trace(lambda x: fgrad.sum(x, axis=1))(np.ones((2, 2))),
    lambda: trace(lambda x: fgrad.checkpoint(lambda x: x * 2.0 + 1.0)(x))(1.0),  # programs in params
    lambda: trace(lambda x: fgrad.checkpoint(lambda x: x * 2.0 + 1.5)(x))(1.0),
]


def test_different_programs_have_different_fingerprints() -> None:
    prints = [make().fingerprint for make in VARIANTS]
    assert len(set(prints)) == len(VARIANTS)
    assert prints == [make().fingerprint for make in VARIANTS]
    assert all(len(text) == 64 and int(text, 16) for text in prints)


def test_fingerprints_are_of_programs_not_of_values() -> None:
    assert trace(ratio)(1.0, 2.0).fingerprint == trace(ratio)(5.0, -0.0).fingerprint
    assert trace(tangled)(P0, X0).fingerprint == trace(tangled)(P0, X0 * 2).fingerprint
    with pytest.raises(LeafError, match="custom_vjp"):
        _ = trace(ruled())(1.0).fingerprint


def ruled() -> Callable[[float], float]:
    f = fgrad.custom_vjp(lambda x: x * x)
    f.defvjp(lambda x: (x * x, x), lambda x, g: (g * 2 * x,))
    return f


# --- saving ----------------------------------------------------------------------------------------------------------
def again(made: Trace, folder: Path) -> Trace:
    made.save(folder / "trace.json")
    return Trace.load(folder / "trace.json")


def equal(a: Trace, b: Trace) -> None:
    """Whether two traces are the same but for their nodes' identity."""
    assert a.fingerprint == b.fingerprint
    assert (a.in_structure, a.out_structure) == (b.in_structure, b.out_structure)
    assert [n.op for n in a.nodes] == [n.op for n in b.nodes]
    assert [n.params for n in a.nodes if n.op.name != "scan"] == [n.params for n in b.nodes if n.op.name != "scan"]
    for x, y in zip(a.nodes, b.nodes, strict=True):
        for u, v in zip(leaves(x.value), leaves(y.value), strict=True):
            same(u, v)
    assert [a.scope.input_name(i) for i in range(len(a.inputs))] == [
        b.scope.input_name(i) for i in range(len(b.inputs))
    ]


SAVED: list[Callable[[], Trace]] = [
    *VARIANTS[:24],
    lambda: trace(ratio)(0.5, 2.0),
    lambda: trace(grad(ratio))(0.5, -0.0),
    lambda: trace(tangled)(P0, X0),
    lambda: trace(lambda layer, x: Pair(layer(x), Point(x, 2.0)))(Dense(np.eye(2), 0.5, "sin"), np.ones(2)),
    lambda: trace(lambda x: OrderedDict(b=x, a=x + 1))({"z": 1.0, 3: [(), None, 2.0]}["z"]),
    lambda: trace(lambda x: {"z": x["z"], 3: x[3][2] * math.inf})({"z": math.inf, 3: [(), None, math.nan]}),
    lambda: trace(grad(lambda x: fgrad.scan(lambda s, _: (s * x, s), 1.0, length=3)[0]))(2.0),
    lambda: trace(lambda x: x * np.arange(3, dtype=">i2") + np.array(0.1, ">f4"))(np.zeros(3, np.float16)),
    lambda: trace(lambda x: fgrad.where(x > 0, x, 1.0)[..., None])(np.array(2.5)),
    lambda: trace(lambda **kwargs: kwargs["naïve"] * 10**30)(naïve=1.0),
]


@pytest.mark.parametrize("i", range(len(SAVED)))
def test_what_is_loaded_is_what_was_saved(i: int, tmp_path: Path) -> None:
    """Bits, dtypes, params, structures, names and values survive."""
    made = SAVED[i]()
    equal(made, again(made, tmp_path))
    equal(made, pickle.loads(pickle.dumps(made)))


@over([name for name in NAMES if name not in ("custom_vjp", "custom_jvp", "item")])
def test_every_row_can_be_saved(sample: Sample, tmp_path: Path) -> None:
    made = trace(on_fgrad(sample))(*sample.args)
    loaded = again(made, tmp_path)
    assert loaded.fingerprint == made.fingerprint
    same(loaded.replay(*sample.args), made.replay(*sample.args))


def test_the_file_is_json_and_says_what_it_is(tmp_path: Path) -> None:
    trace(lambda x, y: x * y + 0.1)(2.0, 3.0).save(tmp_path / "f.json")
    assert json.loads((tmp_path / "f.json").read_text()) == {
        "format": "fgrad trace",
        "version": 1,
        "names": ["x", "y"],
        "values": [2.0, 3.0],
        "inputs": {"dict": [[0, 0], [1, 1]]},
        "outputs": 0,
        "program": {
            "arity": 2,
            "ops": ["multiply", "add"],
            "steps": [[0, [0, 1]], [1, [2, {"constant": 0.1}]]],
            "outputs": [{"link": 3}],
        },
    }
    assert [path.name for path in tmp_path.iterdir()] == ["f.json"]


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    @attrs.frozen
    class Local:
        x: Any

    @fgrad.elementwise(1.0)
    def own(x: float) -> float:
        return x

    cases: list[tuple[Trace, str]] = [
        (trace(lambda p: p.x)(Local(1.0)), "Local could not be found again"),
        (trace(lambda x: own(x))(1.0), "the op own is not in fgrad's table"),
        (trace(ruled())(1.0), "custom_vjp"),
    ]
    for made, message in cases:
        with pytest.raises(LeafError, match=message):
            made.save(tmp_path / "trace.json")
    assert list(tmp_path.iterdir()) == []


def broken(content: Any) -> Iterator[tuple[Any, str]]:
    """Files that no trace has, and what is said of them."""

    def but(message: str, **changes: Any) -> tuple[Any, str]:
        return {**content, **changes}, message

    def program(message: str, **changes: Any) -> tuple[Any, str]:
        return but(message, program={**content["program"], **changes})

    steps, evil = content["program"]["steps"], {"record": ["os:system", {}]}
    yield [], "no trace"
    yield {"weights": [1.0]}, "no trace"
    yield but("version 99", version=99)
    yield {k: v for k, v in content.items() if k != "values"}, "'values' is missing"
    yield but("2 inputs, and 1 values", values=[1.0])
    yield but("tree has others", inputs={"dict": [[0, 0], [1, 7]]})
    yield but("tree has others", outputs=[0, 1])
    yield but("name for each argument", names=["x"])
    yield but("no kind of value", values=[{"pickle": "gASV"}, 1.0])
    yield but("is no float", values=[{"float": "__import__('os')"}, 1.0])
    yield but("is no class", outputs=evil)
    yield but("import no.such.module first", outputs={"record": ["no.such.module:X", {}]})
    yield but("has no class", outputs={"record": ["tests.test_trace:Nothing", {}]})
    yield but("has the fields", outputs={"record": ["tests.test_trace:Point", {"x": 0}]})
    yield but("is no class", outputs={"record": ["tests.test_trace:Sample", {}]})  # but tests.sample's
    yield but("has the fields", outputs={"record": ["subprocess:Popen", {"args": "true"}]})
    yield but("no named tuple", outputs={"named tuple": ["subprocess:Popen", []]})
    yield but("no dtype", values=[{"array": {"dtype": "|O8", "shape": [1], "data": ""}}, 1.0])
    yield but("damaged|base64", values=[{"array": {"dtype": "<f8", "shape": [1], "data": "?"}}, 1.0])
    yield but("reshape|size", values=[{"array": {"dtype": "<f8", "shape": [99], "data": ""}}, 1.0])
    yield but("list of lengths", values=[{"array": {"dtype": "<f8", "shape": [-1], "data": ""}}, 1.0])
    yield program("no op 'system'", ops=["system"])
    yield program("links to value 9", steps=[[0, [0, 9]], *steps[1:]])
    yield program("links to value -1", steps=[[0, [0, -1]], *steps[1:]])
    yield program("links to value 2", steps=[[0, [0, 2]], *steps[1:]])  # to itself
    yield program("op 7", steps=[[7, [0, 1]], *steps[1:]])
    yield program("output links", outputs=[{"link": 4}])
    yield program("tree has others", arity=10**30)
    yield program("cannot hold a os:system", steps=[[0, [0, {"constant": evil}]], *steps[1:]])
    yield program("cannot hold a tests", steps=[[0, [0, 1], [{"record": ["tests.test_trace:Point", {}]}]], *steps[1:]])
    yield program("", steps=[[0, [0, 1], [3, 4]], *steps[1:]])  # params that multiply has not
    yield program("damaged", steps=[[0]])
    yield program("damaged", steps=7)


def test_damaged_files_are_told(tmp_path: Path) -> None:
    """Each is a DataError that names the file and says what is wrong; nothing is run, imported or unpickled."""
    path = tmp_path / "trace.json"
    trace(lambda x, y: x * y + 0.1)(2.0, 3.0).save(path)
    text = path.read_text()
    for content, message in broken(json.loads(text)):
        path.write_text(json.dumps(content))
        with pytest.raises(DataError, match=rf"trace.json: .*{message}"):
            Trace.load(path)
    deep = "[" * 100_000 + "]" * 100_000
    for raw in (b"", b"\x80\x04\x95", b"{", b"null", deep.encode(), text.replace("0.1", "NaN").encode()):
        path.write_bytes(raw)
        with pytest.raises(DataError, match=r"trace.json"):
            Trace.load(path)
    for cut in range(0, len(text) - 1, 7):
        path.write_text(text[:cut])
        with pytest.raises(DataError):
            Trace.load(path)
    with pytest.raises(FileNotFoundError):
        Trace.load(tmp_path / "none.json")


def test_loading_imports_nothing(tmp_path: Path) -> None:
    """The module of a user's class must be imported before; the message says which."""
    path = tmp_path / "trace.json"
    trace(lambda p: p.x)(Point(1.0, 2.0)).save(path)
    path.write_text(path.read_text().replace("tests.test_trace:Point", "antigravity:Point"))
    with pytest.raises(DataError, match="it holds a Point: import antigravity first"):
        Trace.load(path)
    assert "antigravity" not in sys.modules


# --- copies, pickles, and size ---------------------------------------------------------------------------------------
def test_copies_are_the_trace_itself() -> None:
    """Nothing is ever written to a trace, so that a copy would differ in nothing."""
    made = trace(tangled)(P0, X0)
    assert copy.copy(made) is made
    assert copy.deepcopy({"trace": [made]})["trace"][0] is made


def test_a_pickle_knows_users_classes_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "trace.pickle"
    path.write_bytes(pickle.dumps(trace(lambda layer, x: layer(x))(Dense(np.eye(2), 0.5), np.ones(2))))
    code = (
        f"import pickle, pathlib; t = pickle.loads(pathlib.Path({str(path)!r}).read_bytes());"
        "from tests.test_trace import Dense; import numpy as np;"
        "assert t.replay(Dense(np.zeros((2, 2)), 0.0), np.ones(2)).tolist() == [0.0, 0.0]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


def chain(n: int) -> Trace:
    def f(x: float) -> float:
        for _ in range(n):
            x = x * 1.0000001
        return x

    return trace(f)(1.0)


def wide(n: int) -> Trace:
    return trace(lambda xs: [x * 2.0 for x in xs])([float(i) for i in range(n)])


def check_large(make: Callable[[int], Trace], n: int, folder: Path) -> None:
    """A large trace is copied, pickled, saved, fingerprinted and replayed without recursion; and how long that took."""
    limit, made = sys.getrecursionlimit(), make(n)
    start = time.perf_counter()

    def lap(what: str) -> None:
        nonlocal start
        print(f"{make.__name__} of {n}: {what} {time.perf_counter() - start:.2f} s")
        start = time.perf_counter()

    assert copy.deepcopy(made) is made
    lap("deepcopy")
    restored: Trace = pickle.loads(pickle.dumps(made))
    lap("pickle and back")
    loaded = again(made, folder)
    lap("save and load")
    assert restored.fingerprint == loaded.fingerprint == made.fingerprint
    lap("three fingerprints")
    values = [x.value for x in made.inputs]
    args: Any = values if make is chain else [values]
    result = [concrete(y) for y in made.outputs]
    assert leaves(made.replay(*args)) == leaves(loaded.replay(*args)) == result
    assert [concrete(y) for y in restored.outputs] == result
    lap("two replays")
    assert sys.getrecursionlimit() == limit


@pytest.mark.parametrize("make", [chain, wide])
def test_a_large_trace_is_a_value(make: Callable[[int], Trace], tmp_path: Path) -> None:
    check_large(make, 200_000 if make is chain else 100_000, tmp_path)


@pytest.mark.campaign
@pytest.mark.parametrize("make", [chain, wide])
def test_a_trace_of_a_million_nodes_is_a_value(make: Callable[[int], Trace], tmp_path: Path) -> None:
    check_large(make, 1_000_000 if make is chain else 500_000, tmp_path)
