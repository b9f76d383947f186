"""Native kernels give what NumPy gives, number by number and in sums, wherever numbers lie, and leave all else alone.

The smallest programs become kernels here. What "as NumPy" means: within 4 units in the last place, and nan and the
infinities just where NumPy has them; for sums, within what adding in another order can change.
"""

import functools
import gc
import hashlib
import inspect
import itertools
import math
import os
import random
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import numpy as np
import pytest
from hypothesis import Phase, given, settings

import fgrad
from fgrad import tree
from fgrad.compile import machine, regions
from fgrad.compile.registers import ARITHMETIC, COMPARISONS, LOGIC
from fgrad.node import FUNCTIONS, TABLE, apply
from tests.expressions import micrograd_readme
from tests.oracles import Array
from tests.test_programs import ARRAYS, SMOOTH, Program, on_arrays, on_numbers

pytest.importorskip("llvmlite")

Function: TypeAlias = Callable[..., Any]
grad: Any = fgrad.grad  # of lambdas, whose types are not known
ULPS = 4.0
KINDS = {"float64": np.float64, "float32": np.float32}
PROGRAMS = settings(max_examples=12, deadline=None, derandomize=True, database=None, phases=[Phase.generate])


@pytest.fixture(autouse=True)
def smallest(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a kernel of whatever can be one; NumPy's warnings are not the matter here."""
    monkeypatch.setattr(regions, "FEWEST", 1)
    with np.errstate(all="ignore"):
        yield


def native(f: Function, *args: Any) -> Any:
    """Compile f natively, and make sure that at such arguments a kernel does something of it."""
    compiled: Any = fgrad.jit(f, native=True)
    if args:
        assert "LLVM" in compiled.lower(*args), "there is no kernel"
    return compiled


def leaves(x: Any) -> list[Any]:
    return tree.flatten(x)[0]


def bits(x: Any) -> bytes:
    """Everything that numbers are: their kinds, shapes, and every bit."""
    parts = [(type(y).__name__, np.asarray(y).dtype.str, np.shape(y), np.asarray(y).tobytes()) for y in leaves(x)]
    return repr(parts).encode()


def alike(actual: Any, desired: Any) -> None:
    """Fail unless two trees have the same structure, kinds of numbers, shapes and dtypes."""
    assert tree.flatten(actual)[1] == tree.flatten(desired)[1]
    for x, y in zip(leaves(actual), leaves(desired), strict=True):
        assert type(x) is type(y) or {type(x), type(y)}.isdisjoint((float, int, bool))
        assert (np.shape(x), np.asarray(x).dtype) == (np.shape(y), np.asarray(y).dtype)


def near(actual: Any, desired: Any, ulps: float = ULPS) -> None:
    """Fail unless numbers are so many units in the last place apart at most, nan and infinite in the same places."""
    alike(actual, desired)
    for a, b in zip(leaves(actual), leaves(desired), strict=True):
        x, y = np.asarray(a), np.asarray(b)
        if y.dtype.kind != "f":
            np.testing.assert_array_equal(x, y)
            continue
        far = ~((np.isnan(x) & np.isnan(y)) | (x == y) | (np.abs(x - y) <= ulps * np.spacing(np.abs(y))))
        assert not far.any(), f"{x[far][:5]} for {y[far][:5]}, as number {np.flatnonzero(far)[:5]}"


def close(actual: Any, desired: Any, tolerance: float = 1e-11) -> None:
    """Fail unless numbers are close, in proportion to the largest; of single precision, as far as that goes."""
    alike(actual, desired)
    for a, b in zip(leaves(actual), leaves(desired), strict=True):
        x, y = np.asarray(a), np.asarray(b)
        if y.dtype.kind != "f":
            np.testing.assert_array_equal(x, y)
            continue
        unit = tolerance if y.dtype == np.float64 else max(tolerance, 1e-4)
        size = float(np.max(np.abs(y), where=np.isfinite(y), initial=1.0))
        np.testing.assert_allclose(x, y, rtol=unit, atol=unit * size)


# --- each op ---------------------------------------------------------------------------------------------------------
def special(dtype: Any) -> list[float]:
    """Zeros, infinities, nan, the least and the greatest numbers, integers, halves, and where functions overflow."""
    info = np.finfo(dtype)
    ends = [info.max, info.tiny, info.smallest_subnormal, 3 * info.smallest_subnormal, info.tiny / 2, info.eps]
    plain = [0.0, math.inf, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 10.0, 0.1, 20.0, 88.7, 104.0, 709.7, 745.2, 2.0**31, 1e22]
    near_one = [1.0 + float(info.eps), 1.0 - float(info.eps) / 2]
    found = [float(dtype(x)) for x in (*plain, *map(float, ends), *near_one)]
    return [math.nan, *found, *[-x for x in found]]


def wide(dtype: Any, count: int, seed: int) -> Array:
    """Numbers of every size, of both signs, and as many between -3 and 3."""
    rng, info = np.random.default_rng(seed), np.finfo(dtype)
    far = np.ldexp(rng.uniform(0.5, 1.0, count), rng.integers(info.minexp, info.maxexp, count)) * rng.choice([-1, 1])
    found: Array = np.where(rng.random(count) < 0.5, far, rng.uniform(-3, 3, count)).astype(dtype)
    return found


def operands(name: str, dtype: Any) -> list[Array]:
    """What an op is tried at: of two operands, all pairs of special numbers."""
    found = special(dtype)
    if name in FUNCTIONS and len(inspect.signature(FUNCTIONS[name]).parameters) == 2:
        pairs = np.array(list(itertools.product(found, found)), dtype).T
        return [np.concatenate([pair, wide(dtype, 1000, i)]) for i, pair in enumerate(pairs)]
    return [np.concatenate([np.array(found, dtype), wide(dtype, 2000, 0)])]


def calling(name: str) -> Function:
    """A function that is just one op, of any number of operands."""
    return lambda *xs: apply(TABLE[name], xs)


FLOATS = [*[name for name in ARITHMETIC if name not in ("number", "named", "astype", "strong_scale")], *COMPARISONS]


PRECISE: dict[str, Function] = {
    name: lambda x, f=f: np.array([f(float(v)) for v in x]).astype(x.dtype)
    for name, f in {"erf": math.erf, "erfc": math.erfc}.items()
}
"""Where eager's own results on arrays are further off."""


def near_sum(x: Array, y: Array, actual: Array, desired: Array) -> None:
    """Where the greater operand and a logarithm cancel, NumPy's result is as uncertain as these are."""
    alike(actual, desired)
    usual = np.isfinite(desired)
    np.testing.assert_array_equal(actual[~usual], desired[~usual])
    largest = np.maximum(np.abs(desired), np.minimum(1.0, np.abs(np.maximum(x, y))))[usual]
    assert np.all(np.abs(actual[usual] - desired[usual]) <= ULPS * np.spacing(largest))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FLOATS)
def test_an_op_of_arrays_is_numpys(name: str, kind: str) -> None:
    """At special and at random numbers of every size; in vectors of every width, down to single numbers."""
    f, xs = calling(name), operands(name, KINDS[kind])
    compiled, reference = native(f, *xs), PRECISE.get(name, f)
    agree: Function = near if name != "logaddexp" else functools.partial(near_sum, *xs)
    agree(compiled(*xs), reference(*xs))
    for n in (1, 2, 3):
        for start in range(0, min(len(xs[0]), 60), n):
            few = [x[start : start + n] for x in xs]
            near(compiled(*few), reference(*few))


@pytest.mark.parametrize("name", FLOATS)
def test_an_op_of_numbers_is_pythons(name: str) -> None:
    """Of Python's floats, as `math` and IEEE arithmetic have it; and of NumPy's numbers."""
    f, xs = calling(name), operands(name, np.float64)
    rows = list(zip(*[x.tolist() for x in xs], strict=True))
    compiled = native(f, *rows[0] if name != "positive" else ())  # which is nothing to do
    for row in rows[:300] + rows[-60:]:
        near(compiled(*row), f(*row))
    for kind in KINDS.values():
        for row in rows[:30]:
            scalars = [kind(x) for x in row]
            near(compiled(*scalars), f(*scalars))


@pytest.mark.parametrize("exponent", [2, 0.5, 3, -1, 0, 1, -0.5, 1.5, -2.0, math.inf, math.nan])
def test_powers_that_are_known(exponent: float) -> None:
    """Those that have a shorter way: as NumPy has them of arrays, however few numbers these have, and Python of one."""
    f: Function = lambda x: x**exponent * 1.0
    for kind in KINDS.values():
        xs = np.array(special(kind), kind)
        compiled = fgrad.jit(f, native=True)
        near(compiled(xs), f(xs))
        for n in (1, 2, 3):
            for start in range(0, len(xs), n):
                near(compiled(xs[start : start + n]), f(xs[start : start + n]))
    for x in special(np.float64):
        near(fgrad.jit(f, native=True)(x), fgrad.vjp(f, x)[0])


@pytest.mark.parametrize("name", LOGIC)
def test_an_op_of_booleans(name: str) -> None:
    """Of arrays, of Python's and of NumPy's, in every combination."""
    f, pairs = calling(name), list(itertools.product([False, True], repeat=2))
    arity = 1 if name.endswith(("not", "invert")) else 2
    columns = list(np.array(pairs * 9).T[:arity])
    near(native(f, *columns)(*columns), f(*columns))
    for pair in pairs:
        for kind in (bool, np.bool_):
            args = [kind(x) for x in pair[:arity]]
            near(native(f, *args)(*args), f(*args))


def test_an_op_of_two_kinds() -> None:
    """Of single and double precision, of Python's and of NumPy's numbers, in either place: promoted as in NumPy."""
    some: list[Any] = [np.linspace(0.1, 2.0, 11), np.linspace(0.2, 3.0, 11, dtype=np.float32), 0.1, 3, True]
    some += [np.float64(0.1), np.float32(0.1), np.bool_(True), np.arange(11) > 4]
    for x, y in itertools.permutations(some, 2):
        if {type(x), type(y)} <= {int, bool, np.bool_}:
            continue
        f: Function = lambda x, y: (x * y, fgrad.maximum(x, y), fgrad.where(y > 0, x, y), x / y)
        if np.asarray(x).dtype != bool and np.asarray(y).dtype != bool:
            near(native(f, x, y)(x, y), f(x, y))
        times: Function = lambda x, y: fgrad.multiply(x, y) + 0.1
        near(fgrad.jit(times, native=True)(x, y), times(x, y))
    for dtype in (np.float32, np.float64, np.float16, np.int32, np.bool_):
        f = lambda x, dtype=dtype: fgrad.astype(x * 1.5, dtype)
        near(native(f, some[0])(some[0]), f(some[0]))


# --- reductions ------------------------------------------------------------------------------------------------------
SHAPES = [(1,), (7,), (8,), (9,), (3, 5), (5, 1, 7), (2, 3, 4, 5), (128, 10), (1000,)]


def axes_of(shape: Sequence[int]) -> list[tuple[int, ...]]:
    n = len(shape)
    return [axes for k in range(n + 1) for axes in itertools.combinations(range(n), k)]


def every_reduction(name: str, shape: Sequence[int]) -> Function:
    """All ways to reduce an array of some shape, by axes and whether they are kept."""
    ways = list(itertools.product(axes_of(shape), (False, True)))
    return lambda x: {(axes, kept): getattr(fgrad, name)(x, axis=axes, keepdims=kept) for axes, kept in ways}


def exact_sum(x: Array, axes: tuple[int, ...], kept: bool) -> Array:
    """The sum as it is without rounding, in double precision."""
    moved = np.moveaxis(x.astype(float), axes, range(len(axes)))
    rows = moved.reshape(-1, *moved.shape[len(axes) :])
    total = np.array([math.fsum(column) for column in rows.reshape(len(rows), -1).T]).reshape(rows.shape[1:])
    return np.expand_dims(total, axes) if kept else total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_reductions(name: str, shape: tuple[int, ...], kind: str) -> None:
    """Over all combinations of axes: extremes exactly; sums and means within n · eps · Σ|x| of the exact sum."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape)).astype(KINDS[kind])
    f = every_reduction(name, shape)
    found, expected = native(f, x)(x), f(x)
    alike(found, expected)
    for (axes, kept), y in found.items():
        if name in ("max", "min"):
            np.testing.assert_array_equal(y, expected[axes, kept])
            continue
        n = math.prod(shape[i] for i in axes)
        share = n if name == "mean" else 1
        bound = n * float(np.finfo(x.dtype).eps) * exact_sum(abs(x), axes, kept) / share
        assert np.all(np.abs(y - exact_sum(x, axes, kept) / share) <= bound), (axes, kept)


@pytest.mark.parametrize("kind", KINDS)
def test_long_sums(kind: str) -> None:
    """Of a million numbers, all alike: to about as many digits as NumPy's, and not fewer the more there are."""
    x = np.full(1_000_000, 0.1, KINDS[kind])
    f: Function = lambda x: (fgrad.sum(abs(x)), fgrad.mean(abs(x)), fgrad.sum(x * x))
    y = float(x[0])
    for found, expected in zip(native(f, x)(x), (y * 1e6, y, y * y * 1e6), strict=True):
        assert abs(float(found) / expected - 1.0) <= 100 * float(np.finfo(x.dtype).eps)


@pytest.mark.parametrize("kind", KINDS)
def test_reductions_of_special_numbers(kind: str) -> None:
    """A nan anywhere is the result; infinities are as in NumPy; so is what is broadcast, or computed, on the way."""
    f: Function = lambda x: {
        name: (r(x, axis=0), r(x, axis=1), r(x), r(x[None] * 2.0), r(fgrad.sin(x)), r(x, axis=1, keepdims=True) - x)
        for name, r in {"sum": fgrad.sum, "mean": fgrad.mean, "max": fgrad.max, "min": fgrad.min}.items()
    }
    ordinary = np.linspace(-1.0, 2.0, 33).reshape(3, 11).astype(KINDS[kind])
    compiled = native(f, ordinary)
    for place, value in itertools.product([0, 7, 8, 10, 32], [math.nan, math.inf, -math.inf, 0.0]):
        x = ordinary.copy()
        x.flat[place] = value
        close(compiled(x), f(x))
    for x in (ordinary + math.inf, ordinary - math.inf, ordinary * math.nan, ordinary * 0.0):
        close(compiled(x), f(x))
    x = ordinary.copy()
    x[0, 0], x[2, 10] = math.inf, -math.inf
    close(compiled(x), f(x))


def test_sums_that_are_sums_again() -> None:
    """Of sums, of what is made with sums, and of so many at once that registers do not suffice."""
    x = np.cos(np.arange(60.0)).reshape(3, 4, 5)
    chains: list[Function] = [
        lambda x: fgrad.sum(fgrad.sum(x, axis=2) * 2.0, axis=0),
        lambda x: fgrad.sum(x / fgrad.sum(abs(x), axis=1, keepdims=True), axis=(0, 2)),
        lambda x: fgrad.mean(fgrad.exp(x - fgrad.max(x, axis=-1, keepdims=True)), axis=0) + fgrad.sum(x),
        lambda x: [fgrad.sum(fgrad.sin(x * (i + 1.0))) for i in range(40)],
        lambda x: [fgrad.max(fgrad.sin(x * (i + 1.0)), axis=i % 3) for i in range(40)],
        lambda x: fgrad.softmax(x, axis=-1) + fgrad.var(x, axis=0) + fgrad.mean(x, axis=2, keepdims=True),
        lambda x: (x * 2.0).T * fgrad.sum(x, axis=0).T[..., None] + fgrad.sum((x * 2.0).T),
    ]
    for f in chains:
        close(native(f, x)(x), f(x))
        gradient = grad(lambda x, f=f: sum([fgrad.sum(y * y) for y in leaves(f(x))]))
        close(native(gradient, x)(x), gradient(x))


def test_what_loops_leave_for_each_other_may_be_large() -> None:
    """More than the stack should hold: as right, call after call."""
    x = np.random.default_rng(0).normal(size=(200, 200))
    f: Function = lambda x: (x * 2.0).T * x + fgrad.sum(fgrad.exp(x).T, axis=1)
    compiled = native(f, x)
    for _ in range(3):
        close(compiled(x), f(x))


# --- shapes and views ------------------------------------------------------------------------------------------------
ROW, COLUMN, GRID = np.linspace(0.5, 2.0, 7), np.linspace(-1.0, 1.0, 5)[:, None], np.cos(np.arange(35.0)).reshape(5, 7)
CUBE = np.sin(np.arange(120.0)).reshape(4, 5, 6)
VIEWS: dict[str, tuple[Function, tuple[Any, ...]]] = {
    "row and column": (lambda x, y: x * y + x, (ROW, COLUMN)),
    "row and grid": (lambda x, y: fgrad.exp(x) - y, (ROW, GRID)),
    "column and grid": (lambda x, y: x / (2.0 + y), (COLUMN, GRID)),
    "number and grid": (lambda x, y: fgrad.maximum(x, y) * x, (0.3, GRID)),
    "array of one": (lambda x, y: x * y - x, (np.array([[3.0]]), GRID)),
    "of fewer axes": (lambda x, y: x * y, (GRID[0, :6], CUBE)),
    "row and column of intermediates": (lambda x, y: fgrad.sin(x) * fgrad.cos(y) + fgrad.sin(x), (ROW, COLUMN)),
    "broadcast_to": (lambda x: fgrad.broadcast_to(x * 2.0, (3, 5, 7)) * 2.0, (COLUMN,)),
    "reshape": (lambda x: fgrad.reshape(x, (7, 5)) * 2.0 + fgrad.reshape(x * x, (7, 5)), (GRID,)),
    "flat": (lambda x: fgrad.reshape(x.T, (-1,)) + fgrad.reshape(x * 2.0, (-1,)), (GRID,)),
    "transposed": (lambda x: x.T * 2.0 + fgrad.exp(x).T, (GRID,)),
    "transposed square": (lambda x: (x * 2.0).T + x * 2.0, (GRID[:, :5],)),
    "transposed and reshaped": (lambda x: fgrad.reshape((x * 2.0).T, (5, 7)) + x, (GRID,)),
    "permuted": (lambda x: fgrad.permute_dims(x * 2.0, (2, 0, 1)) * fgrad.permute_dims(x, (2, 0, 1)), (CUBE,)),
    "rows backwards": (lambda x: x[::-1] * x + (2.0 * x)[::-1], (GRID,)),
    "columns backwards": (lambda x: x[:, ::-1] * x + (2.0 * x)[:, ::-1], (GRID,)),
    "every other": (lambda x: x[::2, 1::3] * 2.0 + (x * x)[::2, 1::3], (GRID,)),
    "from the end": (lambda x: x[-2:1:-1, -3:] * 2.0, (GRID,)),
    "ellipsis": (lambda x: x[..., 2] * 2.0 + (x * x)[..., -1] - x[1, ..., 3:5][:, 0][0], (CUBE,)),
    "new axes": (lambda x: x[:, None] * x[None, :] + (x * 2.0)[None], (ROW,)),
    "one number": (lambda x: x[2, 3] * x + (x * x)[-1, -1], (GRID,)),
    "shifted": (lambda x: x[:, 1:] - x[:, :-1] + (x * x)[:, 1:], (GRID,)),
    "views of views": (lambda x: x[1:].T[::-1][2:5, ::2] * 2.0, (GRID,)),
    "one row, broadcast": (lambda x: x[1:2] * x, (GRID,)),
    "one column, broadcast": (lambda x: x * x[:, 3:4] + (x * x)[:, 3:4], (GRID,)),
    "one row, broadcast_to": (lambda x: fgrad.broadcast_to(x[1:2], (5, 7)) * 2.0, (GRID,)),
    "one column of intermediates, broadcast_to": (
        lambda x: fgrad.broadcast_to((x * 2.0)[:, 6:], (5, 7)) * x,
        (GRID,),
    ),
    "one row by a step, broadcast": (lambda x: x[4::-7] * x + x[::5] * x, (GRID,)),
    "sums of views": (lambda x: fgrad.sum(x[::-1, ::2] * 2.0, axis=0) + fgrad.sum((x * x).T[::2], axis=1), (GRID,)),
    "sum of a broadcast": (lambda x: fgrad.sum(fgrad.broadcast_to(x, (3, 5, 7)) * 2.0, axis=(0, 2)), (COLUMN,)),
    "max of a row": (lambda x: fgrad.max(x[1:2] + x, axis=0), (GRID,)),
    "bool views": (lambda x: fgrad.where((x > 0)[::-1].T, x.T, (x < 0.5).T[::-1] * 1.0), (GRID,)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_shapes_and_views(name: str) -> None:
    """Of arguments and of what is computed on the way: as eager; in single precision, and their gradients, too."""
    f, args = VIEWS[name]
    total: Function = lambda *args: fgrad.sum(f(*args) * f(*args))
    for kind in KINDS.values():
        xs = [x.astype(kind) if isinstance(x, np.ndarray) else x for x in args]
        close(native(f, *xs)(*xs), f(*xs), 1e-13)
        gradient = grad(total, tuple(range(len(xs))))
        close(native(gradient, *xs)(*xs), gradient(*xs), 1e-11 if kind is np.float64 else 1e-4)


def unaligned(x: Array) -> Array:
    room = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    room[...] = x
    return room


def read_only(x: Array) -> Array:
    found = x.copy()
    found.flags.writeable = False
    return found


LAYOUTS: dict[str, Function] = {
    "as it is": np.copy,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every other column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "one row again and again": lambda x: np.broadcast_to(x[0], x.shape),
    "unaligned": unaligned,
    "read-only": read_only,
    "part of a larger one": lambda x: np.pad(x, 3)[3:-3, 3:-3],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_how_arguments_lie_in_memory_does_not_matter(layout: str) -> None:
    """Of any dtype; one program serves all layouts, and writes to none."""
    f: Function = lambda x, m: (fgrad.where(m, x * 2.0, fgrad.exp(x)), x.T + 1.0, fgrad.sum(x * x, axis=0))
    for kind in KINDS.values():
        x, m = GRID.astype(kind), GRID > 0
        y, n = LAYOUTS[layout](x), LAYOUTS[layout](m)
        compiled = native(f, x, m)
        compiled(x, m)
        before = bits((y, n))
        close(compiled(y, n), f(y, n), 1e-13)
        assert compiled.cache_info().traces == 1
        assert bits((y, n)) == before


def test_arguments_of_all_kinds() -> None:
    """Numbers of Python's and NumPy's, arrays without axes and without numbers, other dtypes: as eager."""
    f: Function = lambda x: (x * 2.0 + 1.0, fgrad.exp(x * 0.5), x * x, fgrad.where(x * 1.0 > 0.5, x * 3.0, 0.0))
    values: list[Any] = [0.5, 2, True, np.float64(0.5), np.float32(0.5), np.float16(0.5), np.int64(3), np.bool_(True)]
    values += [np.array(0.5), np.array(2), np.array(True), np.zeros(0), np.zeros((3, 0)), np.zeros((0, 3), np.float32)]
    values += [ROW.astype(dtype) for dtype in (">f8", ">f4", "f2", "i4", "u1", "i8")]
    values += [np.longdouble(0.5), ROW.astype(np.longdouble), np.ones((1, 1)), np.ones(1, np.float32)]
    for x in values:
        near(fgrad.jit(f, native=True)(x), f(x))
        mixed: Function = lambda x, y: f(x)[0] * y + f(y)[1]
        if np.shape(x) in ((), (7,)):
            close(fgrad.jit(mixed, native=True)(x, ROW), mixed(x, ROW))


def test_arrays_that_are_files(tmp_path: Path) -> None:
    """A memory map is an array, of another class."""
    x = np.memmap(tmp_path / "x", dtype=np.float64, mode="w+", shape=(3,))
    x[:] = [1.0, 2.0, 3.0]
    f: Function = lambda x: x * 2.0 + fgrad.exp(x)
    np.testing.assert_allclose(fgrad.jit(f, native=True)(x), f(x))


def test_constants_are_what_they_were_traced_as() -> None:
    """Arrays in every layout, and numbers of every kind, within the function."""
    constants: list[Any] = [layout(GRID) for layout in LAYOUTS.values()]
    constants += [GRID.astype(">f8"), GRID.astype(np.float32), GRID > 0, np.float32(0.1), 3, True, 0.1]
    constants += [np.arange(7), 2**60, math.inf, np.float64(0.1), -0.0, np.array(2.0), np.array([[2.0]])]
    for c in constants:
        for kind in KINDS.values():
            x = GRID.astype(kind)
            f: Function = lambda x, c=c: fgrad.multiply(x, c) + x * x
            close(native(f, x)(x), f(x), 1e-13)


def test_results_that_are_no_kernels() -> None:
    """An argument, a constant, a view, the same value twice: beside what a kernel gives."""
    f: Function = lambda x, n: (x, x * 2.0, np.zeros(3), 3, n, (x * 2.0)[1:], x * 2.0, x.T, "text")
    near(native(f, GRID, 2)(GRID, 2), f(GRID, 2))
    g: Function = lambda x: (np.zeros(3), x * 2.0 + 1.0)
    near(native(g, GRID)(GRID), g(GRID))
    h: Function = lambda x: (x * 2.0 + 1.0, np.zeros(3))
    near(native(h, 3.0)(3.0), h(3.0))


# --- masks -----------------------------------------------------------------------------------------------------------
def test_masks() -> None:
    """Arrays of booleans as arguments and results, chosen by, counted in and combined; compared to integers."""
    x, m, n = GRID, GRID > 0, GRID.T.reshape(5, 7) > 0.3
    cases: list[Function] = [
        lambda x, m, n: (m & n, m | n, m ^ n, ~m, fgrad.logical_and(m, n), m == n, m != n),
        lambda x, m, n: fgrad.where(m, 1.0, 0.0) + fgrad.where(n, x, 2) - fgrad.where(m, 3.0, x),
        lambda x, m, n: fgrad.where(m & ~n, x, fgrad.where(m, -x, 0.0)),
        lambda x, m, n: fgrad.where(m[0], n[:, :1], m),
        lambda x, m, n: fgrad.where(True, x * 2.0, x) + fgrad.where(x[0, 0] > 0, x, 0.0),
        lambda x, m, n: x * m + n * (x * x),
        lambda x, m, n: (x > 0) & (x < 1) | (x * 2.0 == 1) & (x != 0) | (x * 1.0 >= 2) & (x <= -1),
        lambda x, m, n: (fgrad.isnan(x / 0.0), fgrad.isinf(x / 0.0), fgrad.isfinite(x * 2.0)),
        lambda x, m, n: (fgrad.sum(fgrad.where(m, x, 0.0), axis=0), fgrad.max(fgrad.where(n, x, -math.inf), axis=1)),
        lambda x, m, n: (m[::-1] & n, m.T | n.T, fgrad.reshape(m, (-1,)) ^ fgrad.reshape(n & m, (-1,))),
        lambda x, m, n: (fgrad.sum(m * 1.0), fgrad.mean(x > 0.5), m[0, 0] & n[0, 0]),
    ]
    for f in cases:
        near(native(f, x, m, n)(x, m, n), f(x, m, n), 100.0)
    odd = np.full(7, 2, np.uint8).view(bool)  # true, though not 1
    f = lambda m: (fgrad.where(m, 1.0, 2.0), fgrad.logical_not(m), m & (ROW > 1.0))
    near(native(f, odd)(odd), f(odd != 0))


def test_the_strong_zero() -> None:
    """Nothing times nan is 0 in derivatives: of numbers, arrays and sums, and where results are compared."""
    f: Function = lambda x: fgrad.where(x > 0, fgrad.sqrt(x), 0.0)
    x = np.array([0.0, 1.0, -1.0, 4.0, 0.0])
    rows = grad(lambda x: fgrad.sum(f(x) * x))
    near(native(rows, x + 1.0)(x), rows(x))
    near(native(grad(f), 1.0)(0.0), 0.0)
    near(native(grad(grad(f)), 1.0)(0.0), 0.0)
    total: Function = lambda x: fgrad.sum(rows(x))
    near(native(total, x + 1.0)(x), total(x))


def test_the_strong_zero_where_a_nan_would_be_lost() -> None:
    """A derivative that is compared, or tested for nan, is 0 there too: on no way is the nan seen."""
    f: Function = lambda x: fgrad.sum(fgrad.where(x > 0, fgrad.sqrt(x), 0.0))
    x = np.array([0.0, 1.0, -1.0])
    for g in (
        lambda x: fgrad.where(grad(f)(x) >= 0, 1.0, 2.0),
        lambda x: fgrad.where(fgrad.isnan(grad(f)(x)), 1.0, 2.0),
        lambda x: grad(f)(x) ** 0.0,
    ):
        near(native(g, x + 2.0)(x), g(x))
        near(native(g, 2.0)(0.0), g(0.0))


# --- guards and numbers that are too large ---------------------------------------------------------------------------
def test_guards_are_checked_in_kernels() -> None:
    """Each way through a function is its own kernel, which gives nothing where another way would be gone."""

    def f(x: Any, y: Any) -> Any:
        if x * y > 1.0:
            return fgrad.exp(x) - y if fgrad.sin(x) < 0.5 else x / y
        while y > 0.5:
            y = y * 0.5
        return x + y if x else y

    compiled = native(f, 1.0, 0.3)
    assert "is None" in compiled.lower(1.0, 0.3)["native"] or "None" in compiled.lower(1.0, 0.3)["LLVM"]
    for _ in range(2):
        for x, y in [(1.0, 0.3), (2.0, 3.0), (0.2, 9.0), (0.0, 0.1), (0.1, 40.0), (math.nan, 1.0), (1.0, 0.3)]:
            near(compiled(x, y), f(x, y))
            near(native(grad(f, (0, 1)), x, y)(x, y), grad(f, (0, 1))(x, y))
    assert compiled.cache_info().traces == compiled.cache_info().paths

    def h(x: Any, y: Any) -> Any:
        return fgrad.exp(x) * 2.0 if fgrad.sum(x * x) > y else fgrad.cos(x) - y

    both = native(h, ROW, 1.0)
    for y in (1.0, 1e9, -1.0, math.nan):
        near(both(ROW, y), h(ROW, y))
        near(both(GRID, y), h(GRID, y))


HUGE = 10**400


def outcome(f: Function, *args: Any) -> Any:
    """What a call gives, or the class of what it raises."""
    try:
        return f(*args)
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("x", [2.0, np.float64(2.0), ROW, ROW.astype(np.float32)], ids=str)
def test_an_integer_that_is_no_float(x: Any) -> None:
    """One that is too large raises what it raises in eager, or gives what that gives; and the next call is right."""
    cases: list[Function] = [
        lambda x, n: x * n + 1.0,
        lambda x, n: (n / 10**399, x * 2.0 + 1.0),
        lambda x, n: x * n if fgrad.sum(x * n) > 1.0 else x,
        lambda x, n: (x * 2.0 - 1.0, n),
        lambda x, n: fgrad.maximum(x * 2.0, 1.0) * (n > 5) + 1.0,
    ]
    for f in cases:
        compiled = native(f, x, 3)
        for n in (3, HUGE, 3, -HUGE, 2**70, 2**53 + 1, 3):
            found, expected = outcome(compiled, x, n), outcome(f, x, n)
            if isinstance(expected, str) or isinstance(found, str):
                assert found == expected
            else:
                near(found, expected)
    for n in (HUGE, 2**70, 2**53 + 1, -(2**1000)):
        f = lambda x, n=n: x * n + 1.0
        found, expected = outcome(fgrad.jit(f, native=True), x), outcome(f, x)
        if isinstance(expected, str) or isinstance(found, str):
            assert found == expected
        else:
            near(found, expected)


# --- arguments, results, runs ----------------------------------------------------------------------------------------
def outputs(x: Any, s: Any) -> dict[str, Any]:
    """Several results, of several loops."""
    e = fgrad.exp(x * s)
    return {
        "e": e,
        "same": e,
        "turned": e.T,
        "row": fgrad.sum(e, axis=0),
        "part": e[1:2],
        "all": fgrad.mean(e * x),
        "mask": e > 1,
        "plain": x + 0.0,
        "x": x,
    }


def test_results_share_memory_with_nothing() -> None:
    """Not with arguments, with each other, nor with those of another call; nothing is written to."""
    compiled = native(outputs, GRID, 0.5)
    x = read_only(GRID)
    first, second = compiled(x, 0.5), compiled(x, 0.25)
    arrays = [y for y in (*leaves(first), *leaves(second), x) if isinstance(y, np.ndarray)]
    for i, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in arrays[i + 1 :])
    kept = bits(second)
    for y in leaves(first):
        if isinstance(y, np.ndarray):
            assert y.flags.writeable
            y[...] = 1
    assert bits(second) == kept
    assert bits(compiled(x, 0.25)) == kept
    assert bits(x) == bits(GRID)


SCRIPT = """\
import hashlib
import fgrad
from fgrad.compile import regions
from tests.test_kernels import GRID, bits, outputs
regions.FEWEST = 1
f = fgrad.jit(outputs, native=True)
print(hashlib.sha256(bits((f(GRID, 0.3), fgrad.jit(fgrad.grad(lambda x: outputs(x, 0.3)["all"]), native=True)(GRID))))
    .hexdigest(), hashlib.sha256(f.lower(GRID, 0.3)["LLVM"].encode()).hexdigest())
"""


def test_the_same_bits_at_every_run() -> None:
    """In one process, in eight threads at once, and in processes with other hash seeds: programs and results."""
    f = native(outputs, GRID, 0.3)
    gradient = native(grad(lambda x: outputs(x, 0.3)["all"]), GRID)
    once = bits((f(GRID, 0.3), gradient(GRID)))
    assert all(bits((f(GRID, 0.3), gradient(GRID))) == once for _ in range(100))
    wrong: list[int] = []

    def work(seed: int) -> None:
        x = np.random.default_rng(seed).normal(size=(5, 7))
        expected = bits(f(x, 0.1 * seed))
        wrong.extend([seed] * (sum(bits(f(x, 0.1 * seed)) != expected for _ in range(200)) > 0))
        mine = native(lambda x: fgrad.sum(fgrad.sin(x * (seed + 1.0))))  # compiled at the same time
        if abs(mine(x) - np.sum(np.sin(x * (seed + 1.0)))) > 1e-12:
            wrong.append(seed)

    run([functools.partial(work, seed) for seed in range(8)])
    assert not wrong
    expected = f"{hashlib.sha256(once).hexdigest()} {hashlib.sha256(f.lower(GRID, 0.3)['LLVM'].encode()).hexdigest()}"
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        here = Path(__file__).parent.parent
        done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=here, env=env, capture_output=True, text=True)
        assert done.stdout.strip() == expected, done.stderr


def run(jobs: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- random programs -------------------------------------------------------------------------------------------------
def check_random(program: Program, ops: Any, xs: list[Any]) -> None:
    """A program and its gradient: as Python to the bit, natively closely."""
    results, value = program.results(ops), program.number(ops)
    for f in (results, fgrad.value_and_grad(value)):
        expected = fgrad.vjp(f, xs)[0]  # as traced: np.cos of a float is none of NumPy's numbers there
        near(fgrad.jit(f, native=False)(xs), expected, 0.0)
        close(fgrad.jit(f, native=True)(xs), expected, 1e-9)


@PROGRAMS
@given(on_numbers())
def test_random_programs_on_numbers(case: tuple[Program, list[Any]]) -> None:
    """Those that derivatives are checked with."""
    check_random(case[0], SMOOTH, case[1])


@PROGRAMS
@given(on_arrays())
def test_random_programs_on_arrays(case: tuple[Program, list[Any]]) -> None:
    """Those that derivatives are checked with, where kernels do only a part."""
    check_random(case[0], ARRAYS, case[1])


def test_the_expression_in_micrograds_readme() -> None:
    """Value and gradient, all in one kernel."""
    f = fgrad.value_and_grad(micrograd_readme, (0, 1))
    compiled = native(f, -4.0, 2.0)
    for a, b in [(-4.0, 2.0), (1.0, 3.0), (0.0, 0.0), (-1.0, 1.0)]:
        near(compiled(a, b), f(a, b), 16.0)


@attrs.frozen(eq=False)
class Move:
    """An op of random array programs: how many operands it takes, of floats or booleans, and what it does."""

    takes: str
    call: Function


UNARY: list[Function] = [
    lambda x: fgrad.exp(-fgrad.square(x)),
    fgrad.tanh,
    fgrad.sin,
    fgrad.sigmoid,
    lambda x: fgrad.softplus(x) * 0.5,
    fgrad.relu,
    abs,
    lambda x: fgrad.sqrt(1.0 + abs(x)),
    lambda x: fgrad.log(1 + x * x),
    lambda x: x**3 / 8,
    lambda x: (abs(x) + 0.1) ** 0.5,
    lambda x: 1 / (1.5 + abs(x)),
    lambda x: -x,
    lambda x: x * 3 - 1,
    fgrad.atan,
    lambda x: fgrad.floor(x * 2.0),
]
BINARY: list[Function] = [
    lambda x, y: (x + y) * 0.5,
    lambda x, y: x - y,
    lambda x, y: x * y * 0.5,
    lambda x, y: x / (1.5 + abs(y)),
    fgrad.maximum,
    fgrad.minimum,
    lambda x, y: fgrad.logaddexp(x, y) * 0.5,
    lambda x, y: (1 + abs(x) * 0.3) ** fgrad.tanh(y),
    lambda x, y: fgrad.where(x > y, x, y * 0.5),
]
MASKED: list[Move] = [
    Move("bff", fgrad.where),
    Move("bf", lambda m, x: fgrad.where(m, x, 0.0)),
    Move("bf", lambda m, x: x * m),
    Move("bb", lambda m, n: m & n),
    Move("bb", lambda m, n: m ^ n),
    Move("b", fgrad.logical_not),
    Move("ff", lambda x, y: x < y),
    Move("f", lambda x: x >= 0.5),
]
MOVES = [*[Move("f", f) for f in UNARY], *[Move("ff", f) for f in BINARY], *MASKED * 2]


def view(rng: random.Random, shape: tuple[int, ...]) -> Function:
    """A random view of an array of some shape."""
    order = tuple(rng.sample(range(len(shape)), len(shape)))
    index = [
        rng.choice([slice(None), slice(None, None, -1), slice(None, None, 2), slice(n // 2, n // 2 + 1), n - 1, -n])
        for n in shape
    ]
    wide = tuple(3 if n == 1 else n for n in shape)
    return rng.choice(
        [
            lambda x: fgrad.permute_dims(x, order),
            lambda x: x[tuple(index)],
            lambda x: x[..., None] if x.ndim < 4 else x,
            lambda x: fgrad.reshape(x, (-1,)),
            lambda x: fgrad.reshape(x, shape[::-1]),
            lambda x: fgrad.broadcast_to(x, wide),
        ]
    )


def reduction(rng: random.Random, shape: tuple[int, ...]) -> Function:
    """A random reduction of an array of some shape."""
    axes, kept = rng.choice(axes_of(shape)), rng.random() < 0.5
    reduce: Function = rng.choice([fgrad.sum, fgrad.mean, fgrad.max, fgrad.min])
    return lambda x: reduce(x, axis=axes, keepdims=kept)


def program(rng: random.Random, xs: Sequence[Any], length: int) -> list[tuple[Function, tuple[int, ...]]]:
    """A random program on such inputs: functions, and the places of their operands."""
    values, steps = list(xs), list[tuple[Function, tuple[int, ...]]]()
    while len(steps) < length:
        move, roll = rng.choice(MOVES), rng.random()
        takes, f = move.takes, move.call
        if roll < 0.25:
            takes, f = "a", abs
        places = [[i for i, v in enumerate(values) if fits(v, kind)] for kind in takes]
        if not all(places):
            continue
        picked = tuple([rng.choice(p[-6:] if rng.random() < 0.7 else p) for p in places])
        if roll < 0.25:
            shape = np.shape(values[picked[0]])
            f = view(rng, shape) if roll < 0.15 or fits(values[picked[0]], "b") else reduction(rng, shape)
        try:
            value = f(*[values[i] for i in picked])
        except ValueError:  # shapes that do not broadcast
            continue
        if 0 < np.size(value) <= 3000 and np.ndim(value) < 6:
            values.append(value)
            steps.append((f, picked))
    return steps


def fits(x: Any, kind: str) -> bool:
    """Whether a value is of floats (f), booleans (b), or any array with axes (a)."""
    found = np.asarray(x).dtype.kind
    return np.ndim(x) > 0 if kind == "a" else found == kind


def inputs(rng: random.Random, shape: tuple[int, ...], dtype: Any) -> list[Any]:
    """Arrays that broadcast, in some layout, a mask and numbers."""
    draw = np.random.default_rng(rng.randrange(1000))
    thin = tuple(1 if rng.random() < 0.5 else n for n in shape)
    arrays = [draw.normal(size=s).astype(dtype) for s in (shape, shape, thin, shape[1:], shape[-1:])]
    return [np.asfortranarray(arrays[0]), *arrays[1:], draw.normal(size=shape) > 0, float(draw.normal()), True]


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_of_views_masks_and_sums(seed: int) -> None:
    """Values and gradients, at the numbers that were traced and at others: as eager, but for rounding."""
    rng = random.Random(seed)
    shape = rng.choice([(3, 5), (4, 1, 9), (17,), (2, 3, 8), (7, 16), (1, 1)])
    dtype = rng.choice([np.float64, np.float64, np.float32])
    xs = inputs(rng, shape, dtype)
    steps = program(rng, xs, rng.choice([5, 15, 30]))
    weights = [rng.uniform(-1, 1) for _ in steps]

    def f(*xs: Any) -> list[Any]:
        values = list(xs)
        for call, places in steps:
            values.append(call(*[values[i] for i in places]))
        return values[-4:]

    def number(*xs: Any) -> Any:
        return sum([w * fgrad.sum(y * 1.0) for w, y in zip(weights, f(*xs), strict=False)], 0.0)

    gradient, tolerance = fgrad.value_and_grad(number, (0, 1, 2)), 1e-9 if dtype is np.float64 else 1e-3
    compiled, derived = native(f, *xs), native(gradient, *xs)
    for ys in (xs, inputs(rng, shape, dtype), xs):
        shaped = [y if np.shape(y) == np.shape(x) else x for x, y in zip(xs, ys, strict=True)]
        close(compiled(*shaped), f(*shaped), tolerance)
        close(derived(*shaped), gradient(*shaped), tolerance)


# --- memory ----------------------------------------------------------------------------------------------------------
def resident() -> int:
    """How many bytes of memory this process uses."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pytest.skip("only Linux tells")


def test_calls_leave_nothing_behind() -> None:
    """A hundred thousand calls, of numbers and arrays, with copies, failed guards and errors, take no memory."""
    numbers = native(lambda x, y: (x * y + 1.0, fgrad.exp(x), x > y), 1.0, 2.0)
    arrays = native(lambda x: (fgrad.exp(x), fgrad.sum(x, axis=0), fgrad.mean(x)), GRID)
    turned, single = np.asfortranarray(GRID), np.float32(0.5)
    typed = native(lambda x: (x * 2.0 + 1.0, x > 0), single)
    huge = native(lambda x, n: x * n + 1.0, 1.0, 3)
    branch: Any = fgrad.jit(lambda x: fgrad.exp(x) if x * 2.0 > 0 else fgrad.sin(x) * 2.0, native=True)

    def round_() -> None:
        for i in range(12_500):
            numbers(float(i), 0.5)
            numbers(0.5, float(i))
            arrays(GRID)
            typed(single)
            if i % 10 == 0:
                arrays(turned)
                branch(0.5)
                branch(-0.5)
                assert outcome(huge, 2.0, HUGE) == "OverflowError"

    for _ in range(100):
        arrays(turned)
    round_()
    gc.collect()
    before = resident()
    counts = [sys.getrefcount(x) for x in (GRID, turned, single, None, True, False)]
    round_()
    gc.collect()
    assert resident() - before < 2**20
    after = [sys.getrefcount(x) for x in (GRID, turned, single, None, True, False)]
    assert max(abs(a - b) for a, b in zip(after, counts, strict=True)) < 100


def test_functions_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions compiled, called and dropped: of machine code a fixed number is kept, here 20, and no more memory."""
    assert machine._compiled.cache_info().maxsize == machine.KEPT
    kept = functools.lru_cache(20)(machine._compiled.__wrapped__)
    monkeypatch.setattr(machine, "_compiled", kept)
    used = []
    for i in range(100):
        assert native(lambda x, i=i: x * (i + 0.5) + 1.0)(2.0) == 2.0 * (i + 0.5) + 1.0
        if i in (39, 99):
            gc.collect()
            used.append(resident())
    assert kept.cache_info().misses == 100
    assert used[1] - used[0] < 2**24  # one takes more than a megabyte


def test_a_kernel_lives_as_long_as_it_is_used() -> None:
    """After its function was cleared, after machine code was forgotten, and by threads that alone hold it."""
    f = native(lambda x: fgrad.exp(x) * 2.0 + fgrad.sum(x), GRID)
    expected = f(GRID)
    f.clear()
    machine._compiled.cache_clear()
    gc.collect()
    near(f(GRID), expected)
    (special,) = f._known[()]
    kernel = special.paths[0].run
    del special
    f.clear()
    del f
    machine._compiled.cache_clear()
    gc.collect()
    for i in range(20):  # what was freed is used for others
        native(lambda x, i=i: fgrad.sin(x) * (i + 2.5))(GRID)
    near(kernel((GRID,))[0], expected)
    wrong: list[str] = []

    def work(i: int, kernel: Function) -> None:
        mine = [native(lambda x, i=i, k=k: x * (i + 0.25) - k)(GRID) for k in range(5)]
        machine._compiled.cache_clear()
        gc.collect()
        if any(bits(y) != bits(GRID * (i + 0.25) - k) for k, y in enumerate(mine)):
            wrong.append("another")
        wrong.extend(["held"] * any(bits(kernel((GRID,))[0]) != bits(expected) for _ in range(100)))

    jobs = [functools.partial(work, i, kernel) for i in range(4)]
    del kernel
    run(jobs)
    assert not wrong


def test_deep_stacks() -> None:
    """In a thread with little stack a kernel with very many numbers at once is as right."""
    f = native(lambda x: [fgrad.sum(fgrad.sin(x * (1.0 / (i + 1)))) for i in range(300)])
    expected = f(ROW)
    found: list[Any] = []
    before = threading.stack_size(256 * 1024)
    try:
        run([lambda: found.append(f(ROW))])
    finally:
        threading.stack_size(before)
    assert struct.pack("300d", *found[0]) == struct.pack("300d", *expected)
