"""Rewriting keeps every bit: laws one by one on special values, passes on random programs; what each pass removes."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fgrad
from fgrad import hvp, micro, trace, value_and_grad, vmap
from fgrad.compile import rewrite
from fgrad.compile.rewrite import (
    CONDITIONS,
    FAST_LAWS,
    LAWS,
    PASSES,
    Call,
    Kind,
    Law,
    Match,
    Number,
    Pattern,
    Typed,
    Variable,
    folded,
    identity,
    kind_of,
    lawful,
    live,
    rewritten,
    shared,
    stages,
    typed,
    validate,
)
from fgrad.errors import BrokenProgramError
from fgrad.graph import Link, Program
from fgrad.node import FUNCTIONS, TABLE
from tests import test_programs as programs
from tests.oracles import Array

BY_TEXT = {law.text: law for law in (*LAWS, *FAST_LAWS)}


def same_bits(x: Any, y: Any) -> bool:
    """Whether two results are the same: type, dtype, shape, and every bit, but that a nan is a nan."""
    if type(x) is not type(y) or np.shape(x) != np.shape(y):
        return False
    a, b = np.asarray(x), np.asarray(y)
    if a.dtype != b.dtype:
        return False
    if a.dtype.kind == "f":
        a, b = (np.where(np.isnan(z), a.dtype.type(math.nan), z) for z in (a, b))
    return a.tobytes() == b.tobytes()


def run(program: Program, values: Sequence[Any]) -> tuple[object, ...]:
    with np.errstate(all="ignore"):
        return program(*values)


def check_same(before: Typed, after: Typed, values: Sequence[Any]) -> None:
    """Both programs give the same bits on these values."""
    validate(after)
    assert after.kinds[: after.program.arity] == before.kinds[: before.program.arity]
    for x, y in zip(run(before.program, values), run(after.program, values), strict=True):
        assert same_bits(x, y), (x, y, before.program.steps, after.program.steps)


def names(typed: Typed) -> list[str]:
    return [op.name for op, _, _ in typed.program.steps]


# --- laws ------------------------------------------------------------------------------------------------------------
def specials(dtype: Any) -> Array:
    """Zeros, ones, infinities, nan, the least and greatest of their kinds, powers of two, and some at random."""
    info = np.finfo(dtype)
    edges = [
        info.smallest_subnormal,
        3 * info.smallest_subnormal,
        info.smallest_normal,
        info.max,
        info.eps,
        1 + info.eps,
    ]
    positive = [0.0, 1.0, 2.0, 0.5, 3.0, 0.1, 1024.0, math.inf, *edges]
    random = np.random.default_rng(0).standard_normal(8) * 2.0 ** np.arange(-4, 4)
    return np.array([*positive, *[-x for x in positive], *random, math.nan], dtype)


def holds(law: Law, values: dict[str, Any], kind: Kind) -> bool:
    """Whether the law's condition holds for these values."""
    return CONDITIONS[law.condition](Match(values, {}, [], [], kind))


def evaluate(pattern: Pattern, values: dict[str, Any]) -> Any:
    match pattern:
        case Variable(name):
            return values[name]
        case Number(value):
            return value
        case Call(op, args):
            return op.impl(*[evaluate(x, values) for x in args])


def letters(pattern: Pattern) -> list[str]:
    found = [pattern.name] if isinstance(pattern, Variable) else []
    return sorted({*found, *[name for x in (pattern.args if isinstance(pattern, Call) else ()) for name in letters(x)]})


def is_elementwise(pattern: Pattern) -> bool:
    return not isinstance(pattern, Call) or (
        (pattern.op.scalar is not None or pattern.op.name == "where") and all(map(is_elementwise, pattern.args))
    )


def cases(law: Law, dtype: Any) -> Iterator[dict[str, Any]]:
    """Values for the letters of a law: numbers if dtype is float, else arrays; c is always a number."""
    free = [name for name in letters(law.pattern) if name not in "bc"]
    values = specials(float if dtype is float else dtype)
    columns = [list(column) for column in zip(*itertools.product(values.tolist(), repeat=len(free)), strict=True)]
    rows = zip(*columns, strict=True) if dtype is float else [[np.array(column, dtype) for column in columns]]
    for row in rows:
        for b in (True, False) if "b" in letters(law.pattern) else (True,):
            for c in (*specials(float).tolist(), 4, 1 / 4, -8) if "c" in letters(law.pattern) else (1.0,):
                yield dict(zip(free, row, strict=True)) | {"b": b, "c": c}


@pytest.mark.parametrize("dtype", [float, np.float64, np.float32, np.float16])
@pytest.mark.parametrize(
    "text", [law.text for law in LAWS if is_elementwise(law.pattern) and "logical" not in law.text]
)
def test_exact_laws_hold_to_the_bit(text: str, dtype: Any) -> None:
    """Both sides of an exact law, on all special values, give the same bits."""
    law, tried = BY_TEXT[text], 0
    kind = Kind(float) if dtype is float else Kind(np.ndarray, (1,), np.dtype(dtype))
    for values in cases(law, dtype):
        if holds(law, values, kind):
            with np.errstate(all="ignore"):
                left, right = evaluate(law.pattern, values), evaluate(law.replacement, values)
            assert same_bits(left, right), values
            tried += 1
    assert tried


def test_the_law_of_booleans_holds() -> None:
    law = BY_TEXT["logical_not(logical_not(x)) = x"]
    for x in (True, False, np.array([True, False])):
        assert same_bits(evaluate(law.pattern, {"x": x}), x)


def test_the_bits_are_compared() -> None:
    """What is no exact law is found out on the same values."""
    for text in ("x + 0.0 = x", "scale(x, 0) = 0.0", "-(x - y) = y - x", "x / 3 = x * (1 / 3)", "scale(x, y) = x * y"):
        law = rewrite.law(text)
        sides = [(evaluate(law.pattern, v), evaluate(law.replacement, v)) for v in cases(law, float)]
        assert not all(same_bits(left, right) for left, right in sides), text


def test_conditions_know_the_range_of_each_dtype() -> None:
    """A quotient x / c is x * (1 / c) if that is a power of two there too; and x * c must not be 0 * inf."""

    def allowed(text: str, dtype: Any, c: Any) -> bool:
        kind = Kind(float) if dtype is float else Kind(np.ndarray, (1,), np.dtype(dtype))
        return CONDITIONS[text](Match({"c": c}, {}, [], [], kind))

    halves = "c is a power of two"
    assert all(allowed(halves, float, c) for c in (2, 0.25, -4.0, 2.0**1022, 2.0**-1022))
    assert not any(allowed(halves, float, c) for c in (0, 0.0, 3.0, math.inf, math.nan, 2.0**-1023, 2.0**1023, 10**400))
    assert allowed(halves, np.float16, 2.0**14)
    assert not allowed(halves, np.float16, 2.0**-15)
    assert not allowed(halves, np.float32, 2.0**-127)
    assert not allowed(halves, np.float32, np.float32(2))  # its reciprocal would have to be a constant of its type
    finite = "c is finite and not 0"
    assert allowed(finite, np.float32, np.float32(0.1))
    assert not allowed(finite, np.float32, 1e300)  # inf in that dtype
    assert not allowed(finite, np.dtype("int64"), 2.0)


SHAPES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    # a law: a function where it must apply, to an array (2, 2); and one where it must not
    "reshape(x) = x": (lambda x: fgrad.reshape(2 * x, (2, 2)), lambda x: fgrad.reshape(2 * x, (4,))),
    "astype(x) = x": (lambda x: fgrad.astype(2 * x, np.float64), lambda x: fgrad.astype(2 * x, np.float32)),
    "broadcast_to(x) = x": (
        lambda x: fgrad.broadcast_to(2 * x, (2, 2)),
        lambda x: fgrad.broadcast_to(2 * x, (1, 2, 2)),
    ),
    "reshape(reshape(x)) = reshape(x)": (
        lambda x: fgrad.reshape(fgrad.reshape(2 * x, (4,)), (1, 4)),
        lambda x: fgrad.reshape(fgrad.matrix_transpose(fgrad.reshape(2 * x, (1, 4))), (2, 2)),
    ),
    "broadcast_to(broadcast_to(x)) = broadcast_to(x)": (
        lambda x: fgrad.broadcast_to(fgrad.broadcast_to(2 * x, (3, 2, 2)), (5, 3, 2, 2)),
        lambda x: fgrad.broadcast_to(fgrad.sum(fgrad.broadcast_to(2 * x, (3, 2, 2)), 0), (3, 2, 2)),
    ),
    "matrix_transpose(matrix_transpose(x)) = x": (
        lambda x: fgrad.matrix_transpose(fgrad.matrix_transpose(2 * x)),
        lambda x: fgrad.matrix_transpose(2 * fgrad.matrix_transpose(2 * x)),
    ),
    "permute_dims(x) = x where the axes keep their order": (
        lambda x: fgrad.permute_dims(2 * x, (0, 1)),
        lambda x: fgrad.permute_dims(2 * x, (1, 0)),
    ),
    "permute_dims(permute_dims(x)) = x where one undoes the other": (
        lambda x: fgrad.permute_dims(fgrad.permute_dims(2 * x, (1, 0)), (1, 0)),
        lambda x: fgrad.permute_dims(fgrad.permute_dims(2 * x, (1, 0)), (0, 1)),
    ),
    "sum(x) = x where x is a Python number": (lambda x: fgrad.sum(x), lambda x: fgrad.sum(x * np.float64(1.0))),
    "mean(x) = x where x is a Python number": (lambda x: fgrad.mean(x), lambda x: fgrad.mean(x * np.float64(1.0))),
    "sum(x) = x where there are no axes": (
        lambda x: fgrad.sum(2 * x, axis=()),
        lambda x: fgrad.sum(2 * x, axis=(0,), keepdims=True),
    ),
}
ELEMENTWISE = [text for text, law in BY_TEXT.items() if is_elementwise(law.pattern)]


@pytest.mark.parametrize("text", SHAPES)
def test_laws_of_shapes(text: str) -> None:
    """Each applies where it should, keeps every bit, and leaves alone what looks alike."""
    applies, other = SHAPES[text]
    x = 0.7 if "Python" in text else np.array([[0.0, -1.5], [math.inf, math.nan]])
    before = typed(trace(applies)(x))
    after = live(lawful(before, [BY_TEXT[text]]))
    assert len(after.program.steps) < len(before.program.steps)
    check_same(before, after, [x])
    unchanged = typed(trace(other)(x))
    assert lawful(unchanged, [BY_TEXT[text]]) is unchanged


def test_every_law_is_tested() -> None:
    assert {*SHAPES, *ELEMENTWISE} == BY_TEXT.keys()
    assert not {*SHAPES} & {*ELEMENTWISE}


@pytest.mark.parametrize("value", [0.7, np.array([0.7, 1.9]), np.array([0.7, 1.9], np.float32)])
@pytest.mark.parametrize("text", ELEMENTWISE)
def test_laws_apply(text: str, value: Any) -> None:
    """Each law replaces its left side, written as the user would, by its right, of the same kind and value."""
    law, _, _ = text.partition(" where ")
    left, right = law.split(" = ")
    if "logical" in text:
        left, right = f"{left} * 1.0".replace("(x)", "(x > 1)"), "(x > 1) * 1.0"

    def function(source: str) -> Callable[..., Any]:
        # The letters stand for fresh arrays, which lie densely.
        code = compile(source, text, "eval")
        return lambda x, y, z: eval(code, {**FUNCTIONS, "x": x + 1, "y": y - 2, "z": z * 3, "b": True, "c": 4.0})

    before = typed(trace(function(left))(value, value + 1, value + 2))
    after = live(lawful(before, [BY_TEXT[text]]))
    expected = typed(trace(function(right))(value, value + 1, value + 2)) if right not in "01" else None
    if expected is not None and "1 / c" not in right:
        assert names(after) == names(live(expected))
    assert names(after) != names(before)
    assert len(after.program.steps) <= len(before.program.steps) or "**" in law
    found, wanted = run(after.program, (value,) * 3), run(before.program, (value,) * 3)
    assert kind_of(found[0]) == kind_of(wanted[0])
    np.testing.assert_allclose(np.asarray(found[0]), np.asarray(wanted[0]), rtol=1e-6)


def test_commuted_patterns_match() -> None:
    for f in (lambda x: 1.0 * x, lambda x: -0.0 + x, lambda x: fgrad.where(True, x, 2.0)):
        assert rewritten(typed(trace(f)(2.0))).program.outputs == (Link(0),)


def one_step(name: str, *args: object, params: tuple[Any, ...] = (), inputs: Sequence[object] = (2.0,)) -> Typed:
    """A program of one op on inputs (links) and constants."""
    op = TABLE[name]
    values = [inputs[x.place] if isinstance(x, Link) else x for x in args]
    kinds = [kind_of(x) for x in (*inputs, op.impl(*values, *params))]
    return Typed(Program(len(inputs), ((op, args, params),), (Link(len(inputs)),)), tuple(kinds))


@pytest.mark.parametrize(
    "typed",
    [
        one_step("multiply", Link(0), 1.0, inputs=[3]),
        one_step("divide", Link(0), 1, inputs=[3]),
        one_step("divide", Link(0), 4, inputs=[3]),
        one_step("subtract", Link(0), 0.0, inputs=[3]),
        one_step("negative", Link(0), inputs=[3]),
        one_step("positive", Link(0), inputs=[True]),
        one_step("multiply", Link(0), np.float64(1.0), inputs=[2.0]),
        one_step("multiply", Link(0), np.float64(1.0), inputs=[np.float32(2.0)]),
        one_step("multiply", Link(0), np.ones((2, 1)), inputs=[np.ones(2)]),
        one_step("where", True, Link(0), np.ones(2), inputs=[2.0]),
        one_step("where", np.array([True, True]), Link(0), Link(0), inputs=[np.float64(2.0)]),
        one_step("astype", Link(0), params=(np.dtype(np.float64),), inputs=[2.0]),
        one_step("multiply", Link(0), 1.0, inputs=[np.ones((4, 4))[:, ::2]]),
        one_step("add", Link(0), 0.0),
        one_step("subtract", Link(0), -0.0),
        one_step("scale", Link(0), 0.0),
        one_step("scale", Link(0), math.inf),
    ],
)
def test_laws_keep_kind_and_layout(typed: Typed) -> None:
    """No law applies where type, dtype, shape or layout would be another, or a zero's sign."""
    assert lawful(typed) is typed


def test_scalars_do_not_become_arrays() -> None:
    """NumPy's scalar reshaped twice is an array without axes, reshaped once a scalar."""
    before = typed(trace(lambda x: fgrad.reshape(fgrad.reshape(fgrad.sum(x), (1,)), ()))(np.ones(3)))
    assert lawful(before) is before


def test_negation_of_integers_keeps_no_sign_of_zero() -> None:
    """A difference x - (-n) is x + n for floats, but not for x = -0.0 and the integer n = 0, whose negative is 0."""
    negative, subtract = TABLE["negative"], TABLE["subtract"]
    steps = ((negative, (Link(1),), ()), (subtract, (Link(0), Link(2)), ()))
    program = Typed(Program(2, steps, (Link(3),)), tuple(map(kind_of, (1.0, 1, -1, 2.0))))
    assert lawful(program) is program
    floats = attrs.evolve(program, kinds=(Kind(float),) * 4)
    assert names(live(lawful(floats))) == ["add"]


def test_layouts_are_kept() -> None:
    """A product of matrices has the same bits after rewriting, whatever the layout of what is given."""
    rng = np.random.default_rng(1)
    base, w = rng.standard_normal((60, 60)), rng.standard_normal((30, 7))

    def f(x: Any, w: Any) -> Any:
        y = fgrad.broadcast_to(x * 1.0, (60, 30)) / 2.0 + -fgrad.astype(x / 1.0, np.float64)
        return (
            fgrad.sum(y @ w, 0),
            fgrad.sum(-1.0 * (-x)),
            x * 1.0 @ w,
            fgrad.matrix_transpose(fgrad.matrix_transpose(x)) @ w,
        )

    for x in (base[:, ::2], base[:, :30], np.asfortranarray(base)[:, :30], base[::-1, 29::-1], base[:30].T):
        before = typed(trace(f)(x, w))
        check_same(before, rewritten(before), [x, w])


# --- passes on random programs ---------------------------------------------------------------------------------------
def special_inputs(draw: st.DrawFn, like: Sequence[Any]) -> list[Any]:
    """Inputs of the same kinds, special values among them."""
    values = st.sampled_from(specials(float).tolist())
    return [
        np.array(draw(st.lists(values, min_size=x.size, max_size=x.size))).reshape(x.shape)
        if np.ndim(x)
        else draw(values)
        for x in like
    ]


@st.composite
def typed_programs(draw: st.DrawFn) -> tuple[Typed, list[list[Any]]]:
    """Results or a gradient of a random program, and inputs to try it on."""
    arrays = draw(st.booleans())
    program, xs = draw(programs.on_arrays() if arrays else programs.on_numbers())
    ops = programs.ARRAYS if arrays else programs.SMOOTH
    f: Any = program.results(ops)
    if draw(st.booleans()):
        f = value_and_grad(program.number(ops))
    return typed(trace(lambda *xs: f(list(xs)))(*xs)), [xs, special_inputs(draw, xs), special_inputs(draw, xs)]


def check_passes(case: tuple[Typed, list[list[Any]]]) -> None:
    """Every pass alone, and all together, keep every bit; and every value is of the kind that is noted."""
    before, inputs = case
    runs = [run for _, run in PASSES]
    for shorten in (*runs, rewritten):
        after = shorten(before)
        for values in inputs:
            check_same(before, after, values)
        everything = attrs.evolve(after.program, outputs=tuple([Link(i) for i in range(len(after.kinds))]))
        assert [kind_of(x) for x in run(everything, inputs[0])] == list(after.kinds)
    assert rewritten(rewritten(before)).program.steps == rewritten(before).program.steps


@programs.QUICK
@given(typed_programs())
def test_passes_keep_every_bit(case: tuple[Typed, list[list[Any]]]) -> None:
    check_passes(case)


@pytest.mark.campaign
@programs.CAMPAIGN
@given(typed_programs())
def test_passes_keep_every_bit_of_many(case: tuple[Typed, list[list[Any]]]) -> None:
    check_passes(case)


@programs.QUICK
@given(typed_programs())
def test_fast_math_is_near(case: tuple[Typed, list[list[Any]]]) -> None:
    """With all laws results differ in rounding alone, on ordinary numbers."""
    before, (values, *_) = case
    after = rewritten(before, fast_math=True)
    assert len(after.program.steps) <= len(before.program.steps)
    for x, y in zip(run(before.program, values), run(after.program, values), strict=True):
        assert kind_of(x) == kind_of(y)
        np.testing.assert_allclose(np.asarray(y), np.asarray(x), rtol=1e-9, atol=1e-9)


# --- each pass -------------------------------------------------------------------------------------------------------
def test_shared_computes_once() -> None:
    """The sum a * b + b * a has one product, but maximum(a, b) and maximum(b, a) may differ in the sign of zero."""
    assert names(shared(typed(trace(lambda a, b: a * b + b * a)(2.0, 3.0)))) == ["multiply", "add"]
    extremes = typed(trace(lambda a, b: fgrad.maximum(a, b) - fgrad.maximum(b, a))(2.0, 3.0))
    assert shared(extremes) is extremes
    assert same_bits(run(extremes.program, [0.0, -0.0])[0], 0.0)


def test_commutative_ops_commute() -> None:
    """Each op of the table that may change its operands' places gives the same bits."""
    for name in rewrite.COMMUTATIVE:
        values: list[Any] = (
            [True, False, 3, 5, 0] if name.startswith("bitwise") else [*specials(float).tolist(), 3, True]
        )
        for x, y in itertools.product(values, repeat=2):
            with np.errstate(all="ignore"):
                assert same_bits(TABLE[name].impl(x, y), TABLE[name].impl(y, x)), (name, x, y)
        if not name.startswith("bitwise"):
            x, y = np.array(list(itertools.product(specials(float), repeat=2))).T
            with np.errstate(all="ignore"):
                assert same_bits(TABLE[name].impl(x, y), TABLE[name].impl(y, x)), name


def test_constants_are_told_by_type_and_bits() -> None:
    a = np.arange(6.0).reshape(2, 3)
    payload = np.array([0x7FF8000000000001], np.uint64).view(float)[0].item()
    alike: list[list[Any]] = [[0.0], [-0.0], [1], [1.0], [True], [math.nan, float("nan")], [payload], [np.float64(1)]]
    alike += [[np.float32(1)], [a, a.copy()], [np.asfortranarray(a)], [a.astype(int)], [a.reshape(3, 2)], [None]]
    alike += [[(1, 2), (1, 2)], [(1, 2.0)], [(True, 2)], [slice(1)], [np.dtype(float)], [a[:1, :1]], ["a"], [("a",)]]
    for i, group in enumerate(alike):
        for j, other in enumerate(alike):
            assert all((identity(x) == identity(y)) == (i == j) for x in group for y in other), (group, other)


def test_params_are_told_apart() -> None:
    """x[0] twice is one step, x[1] another; so are sums with and without kept axes."""
    before = typed(trace(lambda x: (x[0], x[0], x[1], x[:1], x[:1], x[1:]))(np.ones(3)))
    assert len(shared(before).program.steps) == 4
    sums = typed(trace(lambda x: (fgrad.sum(x), fgrad.sum(x, keepdims=True), fgrad.sum(x)))(np.ones(3)))
    assert len(shared(sums).program.steps) == 2


def chain(*steps: tuple[str, tuple[object, ...], tuple[Any, ...]], kinds: Sequence[object]) -> Typed:
    """A program without inputs, whose result is its last step."""
    found = tuple([(TABLE[name], parents, params) for name, parents, params in steps])
    return Typed(Program(0, found, (Link(len(found) - 1),)), tuple(map(kind_of, kinds)))


def test_folded_computes_constants() -> None:
    """As the run would: inf for 1 / 0, through tuples, and without warnings."""
    found = folded(chain(("divide", (1.0, 0.0), ()), ("negative", (Link(0),), ()), kinds=[math.inf, -math.inf]))
    assert found.program == found.program
    assert live(found).program.steps == ()
    assert found.program.outputs == (-math.inf,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zeros = folded(chain(("log", (np.zeros(2),), ()), kinds=[np.zeros(2)]))
    assert same_bits(zeros.program.outputs[0], np.full(2, -math.inf))
    values = TABLE["slogdet"].impl(np.eye(2))
    pair = folded(chain(("slogdet", (np.eye(2),), ()), ("item", (Link(0),), (1,)), kinds=[values, values[1]]))  # type: ignore[index]  # a pair
    assert pair.program.outputs == (0.0,)


def test_folded_leaves_the_rest() -> None:
    """What is large, of another kind than was traced, cannot be computed, runs functions, or is not fgrad's own."""
    large = chain(("broadcast_to", (1.0,), ((200, 200),)), kinds=[np.ones((200, 200))])
    other = chain(("add", (1.0, 2.0), ()), kinds=[np.float64(3.0)])
    wrong = chain(("reshape", (np.ones(3),), ((2,),)), kinds=[np.ones(2)])
    scalars = Typed(Program(0, ((attrs.evolve(TABLE["add"]), (1.0, 2.0), ()),), (Link(0),)), (Kind(float),))
    for program in (large, other, wrong, scalars):
        assert folded(program) is program
    calls = chain(("checkpoint", (1.0,), (Program(1, (), (Link(0),)),)), kinds=[(1.0,)])
    assert folded(calls) is calls


def test_live_keeps_inputs() -> None:
    add = TABLE["add"]
    steps = ((add, (Link(0), 1.0), ()), (add, (Link(1), 2.0), ()), (add, (Link(2), 3.0), ()))
    before = Typed(Program(2, steps, (Link(3),)), (Kind(float),) * 5)
    after = live(before)
    assert (after.program.arity, after.program.steps, after.program.outputs) == (2, (steps[1],), (Link(2),))
    assert live(after) is after


def test_opaque_steps_are_kept() -> None:
    """Loops, choices and checkpoints stay as they are, and give the same."""

    def f(x: Any) -> Any:
        y = fgrad.cond(x > 0.0, lambda x: x * 1.0, lambda x: -x, x)
        return fgrad.checkpoint(lambda x: x * 1.0 + y)(x) + fgrad.fori_loop(0, 3, lambda i, x: x * 1.0 * y, x)

    before = typed(trace(value_and_grad(f))(2.0))
    after = rewritten(before)
    opaque = ("cond", "checkpoint", "scan", "while_loop", "map")
    assert [name for name in names(after) if name in opaque] == [name for name in names(before) if name in opaque]
    check_same(before, after, [3.0])


# --- validation ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("steps", "outputs", "kinds", "message"),
    [
        ([("add", (Link(1), 1.0), ())], (Link(1),), 2, "step 0, add, links to value 1, and has 1 before it"),
        ([("add", (Link(-1), 1.0), ())], (Link(1),), 2, "links to value -1"),
        ([("add", (Link(0), 1.0), ())], (Link(2),), 2, "an output links to value 2 of 2"),
        ([("add", (Link(0), 1.0), ())], (Link(1),), 1, "1 kinds for 1 inputs and 1 steps"),
        (
            [("reshape", (Link(0),), ([1],))],
            (Link(1),),
            2,
            r"step 0, reshape, has params that are not hashable: \(\[1\],\)",
        ),
    ],
)
def test_validation(steps: list[Any], outputs: tuple[object, ...], kinds: int, message: str) -> None:
    program = Program(1, tuple([(TABLE[name], *rest) for name, *rest in steps]), outputs)
    with pytest.raises(BrokenProgramError, match=message):
        validate(Typed(program, (Kind(float),) * kinds))


def test_a_broken_pass_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(typed: Typed) -> Typed:
        return attrs.evolve(typed, kinds=typed.kinds[:-1])

    monkeypatch.setattr(rewrite, "PASSES", (("broken", broken),))
    with pytest.raises(BrokenProgramError, match="kinds for"):
        rewritten(typed(trace(lambda x: x * x)(2.0)))


def test_kinds_are_those_of_the_trace() -> None:
    found = typed(trace(lambda x, w: fgrad.sum(fgrad.argsort(w) * x))(2.0, np.ones(3, np.float32))).kinds
    assert found[:2] == (Kind(float), Kind(np.ndarray, (3,), np.dtype("float32")))
    assert Kind(np.ndarray, (2, 3), np.dtype(bool)).size == 6
    assert kind_of((1.0, np.ones(3))).size == 4
    assert [k.floating for k in map(kind_of, (1.0, 1, True, np.ones(2, np.float16), np.ones(2, int)))] == [
        1,
        0,
        0,
        1,
        0,
    ]
    assert repr(typed(trace(lambda x: x * x)(2.0))) == "<Typed program of 1 inputs, 1 steps>"


def test_guards_are_outputs() -> None:
    """Values that no output depends on come along where they are asked for."""
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(x > 1.0)
        return x * 2.0

    t = trace(f)(3.0)
    found = rewrite.typed_graph(t.inputs, (*t.outputs, *kept), t.scope)
    assert run(found.program, [0.5]) == (1.0, False)


# --- sizes -----------------------------------------------------------------------------------------------------------
def loss(net: micro.MLP, points: Any) -> Any:
    total: Any = 0.0
    for x, y in points:
        difference = net(x)[0] - y
        total += difference * difference
    return total / len(points)


@pytest.mark.parametrize(("sizes", "count"), [([3, 4, 4, 1], 4), ([2, 16, 16, 1], 1), ([2, 16, 16, 1], 10)])
def test_gradients_shrink(sizes: list[int], count: int) -> None:
    """Programs of gradients, and more so of Hessian-vector products, get shorter, and keep every bit."""
    points = [([math.sin(i + j) for j in range(sizes[0])], (-1.0) ** i) for i in range(count)]
    net = micro.MLP.init(sizes)

    def gradient(net: micro.MLP) -> Any:
        return value_and_grad(loss)(net, points)

    def curvature(net: micro.MLP) -> Any:
        return hvp(lambda net: loss(net, points), (net,), (net,))

    for f, most in ((gradient, 1.0), (curvature, 0.97)):
        before = typed(trace(f)(net))
        after = rewritten(before)
        assert len(after.program.steps) < most * len(before.program.steps)
        assert names(after).count("scale") < names(before).count("scale")
        for factor in (0.1, 1e200):
            check_same(before, after, [(-1) ** i * factor * (i % 9) for i in range(before.program.arity)])


def test_batches_keep_their_bits() -> None:
    """The program of one example, shortened, then done on a batch, is the batched program."""

    def f(x: Any, y: Any) -> Any:
        return fgrad.relu(1.0 - y * fgrad.tanh(x * 2.0) / 4.0) + 0.5 * (x * x)

    xs = specials(float)
    t = trace(lambda xs, ys: vmap(value_and_grad(f))(xs, ys))(xs, xs[::-1].copy())
    before = typed(t)
    after = rewritten(before)
    assert len(after.program.steps) < len(before.program.steps)
    check_same(before, after, [xs, xs[::-1].copy()])


def test_stages_are_told() -> None:
    before = typed(trace(lambda a, b: a * b * 1.0 + b * a)(2.0, 3.0))
    found = list(stages(before))
    assert [name for name, _ in found] == ["lawful", "shared", "live"]
    assert names(found[-1][1]) == ["multiply", "add"]
    assert list(stages(found[-1][1])) == []


def test_no_graph_is_too_deep() -> None:
    """Every pass is a loop: 20,000 steps in a row, each with something to do."""

    def f(x: Any) -> Any:
        for _ in range(5_000):
            y = -(x * 0.5 + 0.5 * x)
            x = -y / 1.0
        return x

    before = typed(trace(f)(2.0))
    assert len(before.program.steps) == 30_000
    after = rewritten(before)
    assert len(after.program.steps) == 10_000
    check_same(before, after, [2.0])
