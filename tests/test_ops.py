"""Every row of the op table, and every public function made of rows, against peers that know the right answers.

A row's samples stand in one of three tables: `SMOOTH` (elementwise, with its formula in mpmath), `STEPS`
(elementwise, with derivative zero) and `SHAPED` (all others). The tests run over the op table: a new row without
samples fails.
"""

import operator
import warnings
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import (
    BroadcastableShapes,
    array_shapes,
    basic_indices,
    integer_array_indices,
    mutually_broadcastable_shapes,
)

import fgrad
from fgrad import vjp
from fgrad.node import FUNCTIONS, TABLE, apply
from fgrad.ops.selecting import Hole
from tests.oracles import Array, Call, NumPy, Torch, close, mp_derivative, mpmath, numeric_vjp, torch, torch_derivatives
from tests.sample import RTOL, Sample, named
from tests.samples_calls import CALLS
from tests.samples_linalg import LINALG
from tests.samples_more import MORE

Points = list[tuple[float, ...]]


def of_mp(name: str) -> Call:
    return lambda *x: getattr(mpmath().mp, name)(*x)


# --- samples: elementwise rows ---------------------------------------------------------------------------------------
GENERIC: Points = [(-2.5,), (-0.3,), (0.4,), (1.7,)]
POSITIVE: Points = [(1e-3,), (0.4,), (1.5,), (70.0,)]
INSIDE: Points = [(-0.9,), (-1e-3,), (0.3,), (0.8,)]
WIDE: Points = [(-30.0,), (-2.5,), (0.3,), (4.0,), (600.0,)]
PAIRS: Points = [(-2.5, 0.7), (0.3, -1.3), (1.7, 2.6), (-0.6, -4.1)]
GAMMA: Points = [(-3.4,), (1e-3,), (0.4,), (2.6,), (70.0,)]
POWERS: Points = [(0.4, 2.0), (2.5, -1.3), (1.1, 0.5), (3.0, 3.0)]

SMOOTH: dict[str, tuple[Points, Call]] = {
    "add": (PAIRS, lambda x, y: x + y),
    "subtract": (PAIRS, lambda x, y: x - y),
    "multiply": (PAIRS, lambda x, y: x * y),
    "divide": (PAIRS, lambda x, y: x / y),
    "scale": (PAIRS, lambda x, y: x * y),
    "pow": (POWERS, lambda x, y: x**y),
    "remainder": (PAIRS, lambda x, y: x - y * mpmath().mp.floor(x / y)),
    "maximum": (PAIRS, lambda x, y: max(x, y)),
    "minimum": (PAIRS, lambda x, y: min(x, y)),
    "atan2": (PAIRS, of_mp("atan2")),
    "logaddexp": (PAIRS, lambda x, y: mpmath().mp.log(mpmath().mp.exp(x) + mpmath().mp.exp(y))),
    "negative": (GENERIC, lambda x: -x),
    "positive": (GENERIC, lambda x: +x),
    "abs": (GENERIC, lambda x: abs(x)),
    "square": (GENERIC, lambda x: x * x),
    "sqrt": (POSITIVE, of_mp("sqrt")),
    "reciprocal": (GENERIC, lambda x: 1 / x),
    "exp": (GENERIC, of_mp("exp")),
    "expm1": ([(-2.5,), (1e-9,), (1.7,)], of_mp("expm1")),
    "log": (POSITIVE, of_mp("log")),
    "log2": (POSITIVE, lambda x: mpmath().mp.log(x, 2)),
    "log10": (POSITIVE, of_mp("log10")),
    "log1p": ([(-0.9,), (1e-9,), (3.0,)], of_mp("log1p")),
    "sin": (GENERIC, of_mp("sin")),
    "cos": (GENERIC, of_mp("cos")),
    "tan": (GENERIC, of_mp("tan")),
    "asin": (INSIDE, of_mp("asin")),
    "acos": (INSIDE, of_mp("acos")),
    "atan": (GENERIC, of_mp("atan")),
    "sinh": (GENERIC, of_mp("sinh")),
    "cosh": (GENERIC, of_mp("cosh")),
    "tanh": (GENERIC, of_mp("tanh")),
    "asinh": (GENERIC, of_mp("asinh")),
    "acosh": ([(1.05,), (1.5,), (70.0,)], of_mp("acosh")),
    "atanh": (INSIDE, of_mp("atanh")),
    "relu": (GENERIC, lambda x: max(x, 0)),
    "sigmoid": (WIDE[:-1], lambda x: 1 / (1 + mpmath().mp.exp(-x))),
    "softplus": (WIDE, lambda x: mpmath().mp.log1p(mpmath().mp.exp(x))),
    "silu": (WIDE[:-1], lambda x: x / (1 + mpmath().mp.exp(-x))),
    "gelu": (
        GENERIC,
        lambda x: x / 2 * (1 + mpmath().mp.tanh(mpmath().mp.sqrt(2 / mpmath().mp.pi) * (x + 0.044715 * x**3))),
    ),
    "sinc": ([(-2.5,), (0.3,), (1.7,)], of_mp("sincpi")),
    "cbrt": (GENERIC, lambda x: mpmath().mp.sign(x) * mpmath().mp.cbrt(abs(x))),
    "exp2": (GENERIC, lambda x: mpmath().mp.power(2, x)),
    "deg2rad": (GENERIC, of_mp("radians")),
    "rad2deg": (GENERIC, of_mp("degrees")),
    "hypot": (PAIRS, of_mp("hypot")),
    "erf": ([*GENERIC, (1e-9,), (-5.5,)], of_mp("erf")),
    "erfc": ([*GENERIC, (1e-9,), (-5.5,)], of_mp("erfc")),
    "lgamma": (GAMMA, lambda x: mpmath().mp.log(abs(mpmath().mp.gamma(x)))),
    "digamma": (GAMMA, of_mp("digamma")),
}
EXTREME: dict[str, Points] = {  # where the peers in float64 lose digits
    "logaddexp": [(800.0, 1.0), (-900.0, -901.0)],
    "acosh": [(1.0001,)],
    "atanh": [(0.9999,)],
    "sinc": [(1e-6,), (0.0099,), (0.0101,), (-0.001,)],
    "erfc": [(6.5,), (25.0,)],
    "lgamma": [(-30.4,), (1e-9,), (1e9,)],
    "digamma": [(-30.4,), (1e-9,), (1e9,)],
}
STEPS: dict[str, Points] = {
    **{name: [*GENERIC, (2.5,), (3.5,), (-0.5,), (0.0,)] for name in ("sign", "floor", "ceil", "round")},
    **{name: [(0.0,), (np.inf,), (-np.inf,), (np.nan,)] for name in ("isnan", "isinf", "isfinite", "logical_not")},
    **{name: [(0.0, 0.0), (0.0, 2.0), (2.0, 0.0)] for name in ("logical_and", "logical_or", "logical_xor")},
    **{name: [*PAIRS, (1.5, 1.5), (0.0, np.nan)] for name in ("equal", "not_equal", "less", "less_equal")},
    **{name: [*PAIRS, (1.5, 1.5), (0.0, np.nan)] for name in ("greater", "greater_equal")},
    "floor_divide": PAIRS,
}
BINARY = [name for name, op in TABLE.items() if op.partials is not None and len(op.partials) == 2]


def columns(points: Points) -> tuple[Array, ...]:
    return tuple(np.array(column) for column in zip(*points, strict=True))


# --- samples: all others ---------------------------------------------------------------------------------------------
RNG = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape)


V3, V4, M23, M34, C34, T213, T234 = (normal(*n) for n in ((3,), (4,), (2, 3), (3, 4), (3, 4), (2, 1, 3), (2, 3, 4)))
MASK = C34 > 0
INDICES: list[Any] = [
    *(slice(1, None), slice(None, None, -1), slice(None, -1, 2), slice(2, None, -2), slice(0, 0)),
    *(1, -1, (0, -1), None, Ellipsis, (), np.int64(2), (np.int64(1), slice(None))),
    *((Ellipsis, None, 0), (slice(None), None, slice(3, 0, -2)), (None, 1, Ellipsis, None)),
    *(MASK, MASK[:, 0], (slice(None), MASK[0]), (MASK[:, 1], 2), True, False),
    *(np.array([0, 0, 2]), [2, 2, 0], [], np.array([], int), np.array([[0, -1], [1, 0]]), [True, False, True]),
    *((np.array([0, 2, 2]), np.array([1, 3, 3])), (np.array([[0], [2]]), np.array([1, 1, 3])), ([0, 0], [1, 1])),
    *((slice(None), [3, 3, 0]), ([2, 2], slice(None, None, -1)), (0, [1, 1]), ([1, 1], None), ([0, 2], Ellipsis, 1)),
]
AXES: list[dict[str, Any]] = [
    {},
    {"keepdims": True},
    {"axis": 0},
    {"axis": -2, "keepdims": True},
    {"axis": (0, 2)},
    {"axis": (-1, 1)},
]
PRODUCTS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    *(((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4))),
    *(((5, 1, 2, 3), (4, 3, 2)), ((3,), (5, 3, 2)), ((5, 2, 3), (3,)), ((1, 3), (3, 1)), ((2, 0), (0, 3))),
]


def reduced(name: str, **more: Any) -> list[Sample]:
    def call(keywords: dict[str, Any]) -> Call:
        return lambda xp, x: getattr(xp, name)(x, **keywords, **more)

    return [Sample(call(keywords), (x,)) for keywords in AXES for x in (T234, T213)] + [Sample(call({}), (V4,))]


def picked(index: Any) -> Sample:
    return Sample(lambda xp, x: xp.getitem(x, index), (M34,))


def product(shapes: Sequence[tuple[int, ...]]) -> Sample:
    return Sample(lambda xp, x, y: xp.matmul(x, y), tuple(normal(*shape) for shape in shapes))


def padded(x: Any, widths: tuple[int, ...]) -> Any:
    return torch().nn.functional.pad(x, widths, value=0.5)


def framed(x: Any, widths: Any, mode: Any) -> Any:
    """PyTorch's x at the places where NumPy finds its numbers."""
    places = np.pad(np.arange(x.numel()).reshape(tuple(x.shape)), widths, mode=mode)
    return x.reshape(-1)[torch().as_tensor(places)]


def multiplied(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """PyTorch's product, as a chain of multiplications: right where there are zeros."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    for a in sorted((a % x.ndim for a in axes), reverse=True):
        ans = reduce(operator.mul, x.unbind(a), torch().ones_like(x.sum(a)))
        x = ans.unsqueeze(a) if keepdims else ans
    return x


def running(axis: int) -> Call:
    def chain(xp: Any, x: Any) -> Any:
        return torch().stack(list(accumulate(x.unbind(axis), operator.mul)), axis)

    return chain


def cumulated(name: str, axis: int) -> Call:
    return lambda xp, x: getattr(x, name)(axis)


ZEROS = np.array([[0.5, 0.0, -1.5], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.5, 0.5, -2.0]])
PRODS = [
    *zip(reduced("prod"), [k for k in AXES for _ in range(2)], strict=False),
    (Sample(named("prod"), (V4,)), {}),
]

SHAPED: dict[str, list[Sample]] = {
    "sum": reduced("sum"),
    "mean": reduced("mean"),
    "max": reduced("max"),
    "min": reduced("min"),
    "var": [*reduced("var"), *reduced("var", correction=0.5)],
    "std": [Sample(s.call, (np.concatenate([s.args[0], s.args[0] * 2 + 1]),)) for s in reduced("std")],
    "logsumexp": reduced("logsumexp"),
    "softmax": [Sample(lambda xp, x, a=a: xp.softmax(x, axis=a), (T234,)) for a in (-1, 0, (0, 2), None)],
    "log_softmax": [Sample(lambda xp, x, a=a: xp.log_softmax(x, axis=a), (T234,)) for a in (-1, 0, (0, 2), None)],
    "norm": [
        *reduced("norm"),
        *(Sample(lambda xp, x, p=p: xp.norm(x, ord=p), (M34,)) for p in (1, 1.5, 3, np.inf, -np.inf)),
        Sample(lambda xp, x: xp.norm(x, axis=-1, ord=3), (M34,)),
    ],
    "where": [
        Sample(lambda xp, x, y: xp.where(MASK, x, y), (M34, C34)),
        Sample(lambda xp, x, y: xp.where(MASK, x, y), (normal(3, 1), V4)),
        Sample(lambda xp, x, y: xp.where(np.array([True]), x, y), (1.5, V4)),
        Sample(lambda xp, x: xp.where(MASK, x, 2.0), (M34,)),
        Sample(lambda xp, x, y: xp.where(x > 0, x * y, y), (M34, V4)),
    ],
    "clip": [
        *(Sample(lambda xp, x, b=b: xp.clip(x, *b), (M34,)) for b in ((-0.5, 0.5), (None, 0.3), (0.3, None))),
        Sample(lambda xp, x, low, high: xp.clip(x, low, high), (M34, V4 - 1, V4 + 0.5)),
        Sample(lambda xp, x: xp.clip(x, min=-V4, max=V4), (M34,)),
    ],
    "getitem": [
        *map(picked, INDICES),
        Sample(lambda xp, x: x[0, ::-1] * x[-1], (M34,), lambda xp, x: x[0].flip(0) * x[-1]),
        Sample(lambda xp, x: xp.getitem(x, xp.argmax(x)) ** 3, (V4,), lambda xp, x: x.max() ** 3),
        Sample(lambda xp, x: x[np.arange(3), xp.argmin(x, axis=1)] ** 2, (M34,), lambda xp, x: x.amin(1) ** 2),
        Sample(lambda xp, x: x[x > 0] ** 2, (M34,)),
        Sample(lambda xp, x: x[: xp.argmax(x) + 1], (V4,), lambda xp, x: x[: int(x.argmax()) + 1]),
        Sample(lambda xp, x: xp.getitem(x, (None, ...)), (1.5,)),
    ],
    "scatter": [
        Sample(
            lambda xp, x: apply(TABLE["scatter"], (x, np.array([0, 2, 2])), ((4,), (Hole(),))),
            (V3,),
            lambda xp, x: xp.stack([x[0], 0.0 * x[0], x[1] + x[2], 0.0 * x[0]]).to(x.dtype),
        )
    ],
    "take": [
        *(Sample(lambda xp, x, a=a: xp.take(x, np.array([2, 0, 2]), axis=a), (M34,)) for a in (None, 0, -1)),
        Sample(lambda xp, x: xp.take(x, np.array([[0, -1], [1, 1]]), axis=1), (T234,)),
        Sample(lambda xp, x: xp.take(x, 2, axis=-1), (T234,)),
    ],
    "concat": [
        Sample(lambda xp, x, y: xp.concat([x, C34, y], axis=-2), (M34, normal(1, 4))),
        Sample(lambda xp, x, y: xp.concat([C34[:2], x, y], axis=1), (normal(2, 0), M23)),
        Sample(lambda xp, x, y: xp.concat([x, V4, y], axis=None), (M34, T213)),
        Sample(lambda xp, x: xp.concat([x, x, x * x]), (V3,)),
    ],
    "stack": [
        *(Sample(lambda xp, x, y, a=a: xp.stack([x, y, x], axis=a), (M34, C34)) for a in (0, 1, -1)),
        Sample(lambda xp, x, y: xp.stack([x, 2.0, y, x, 1]), (0.5, -1.5)),
    ],
    "reshape": [
        *(Sample(lambda xp, x, s=s: xp.reshape(x, s), (M34,)) for s in ((2, 6), (-1,), (2, -1), (1, 3, 2, 2))),
        Sample(lambda xp, x: xp.reshape(x, (1, 1)), (1.5,)),
        Sample(lambda xp, x: xp.reshape(x, ()), (np.ones((1, 1)),)),
        Sample(lambda xp, x: xp.reshape(x, (0, 3)), (np.ones((2, 0)),)),
    ],
    "broadcast_to": [
        *(Sample(lambda xp, x, s=s: xp.broadcast_to(x, s), (T213,)) for s in ((2, 1, 3), (2, 4, 3), (5, 2, 1, 3))),
        Sample(lambda xp, x: xp.broadcast_to(x, (2, 3)), (1.5,)),
        Sample(lambda xp, x: xp.broadcast_to(x, (0, 3)), (V3,)),
    ],
    "permute_dims": [Sample(lambda xp, x, a=a: xp.permute_dims(x, a), (T234,)) for a in ((2, 0, 1), (-1, 1, 0))],
    "matrix_transpose": [Sample(named("matrix_transpose"), (x,)) for x in (M34, T234)],
    "squeeze": [Sample(lambda xp, x, a=a: xp.squeeze(x, axis=a), (T213,)) for a in (None, 1, -2, (1,))],
    "expand_dims": [Sample(lambda xp, x, a=a: xp.expand_dims(x, axis=a), (M23,)) for a in (0, -1, 1, (0, 2), (-1, 0))],
    "astype": [Sample(lambda xp, x: xp.astype(x, np.float32) * x, (V4,), rtol=2e-7)],
    "matmul": list(map(product, PRODUCTS)),
    "vecdot": [
        *(Sample(named("vecdot"), args) for args in ((V3, V3 + 1), (T213, M23), (M23, V3))),
        Sample(lambda xp, x, y: xp.vecdot(x, y, axis=0), (M34, C34)),
    ],
    "outer": [Sample(named("outer"), args) for args in ((V3, V4), (M23, V4), (2.0, V3))],
    "argmax": [*reduced("argmax")[:6:2], Sample(lambda xp, x: xp.argmax(x, axis=-1, keepdims=True), (M34,))],
    "argmin": [*reduced("argmin")[:6:2], Sample(lambda xp, x: xp.argmin(x, axis=-1, keepdims=True), (M34,))],
    "argsort": [Sample(lambda xp, x, a=a: xp.argsort(x, axis=a), (M34,)) for a in (-1, 0)],
    "bitwise_invert": [Sample(lambda xp, x: xp.bitwise_invert(x > 0), (M34,))],
    "bitwise_and": [Sample(lambda xp, x, y: xp.bitwise_and(x > 0, y > 0), (M34, C34))],
    "bitwise_or": [Sample(lambda xp, x, y: xp.bitwise_or(x > 0, y > 0), (M34, C34))],
    "bitwise_xor": [Sample(lambda xp, x, y: xp.bitwise_xor(x > 0, y > 0), (M34, C34))],
    "cbrt": [Sample(named("cbrt"), columns(GENERIC), lambda xp, x: x.sign() * x.abs() ** (1 / 3))],
    "flip": [
        Sample(lambda xp, x, a=a: xp.flip(x, axis=a), (T234,), lambda xp, x, d=d: x.flip(d))
        for a, d in ((None, (0, 1, 2)), (1, (1,)), ((0, -1), (0, 2)))
    ],
    "roll": [
        Sample(lambda xp, x, s=s, a=a: xp.roll(x, s, axis=a), (T234,), lambda xp, x, s=s, a=a: x.roll(s, a))
        for s, a in ((5, None), (-1, 1), (9, -1), (0, 0), ((1, -2), (0, 2)))
    ],
    "tile": [
        Sample(lambda xp, x, r=r: xp.tile(x, r), (M23,), lambda xp, x, r=r: x.tile(r))
        for r in ((2,), (2, 3), (2, 1, 2), (0, 1))
    ],
    "repeat": [
        Sample(lambda xp, x, a=a: xp.repeat(x, 3, axis=a), (M23,), lambda xp, x, a=a: x.repeat_interleave(3, a))
        for a in (None, 0, -1)
    ]
    + [
        Sample(
            lambda xp, x, r=r, a=a: xp.repeat(x, r, axis=a),
            (M23,),
            lambda xp, x, r=r, a=a: x.repeat_interleave(xp.tensor(np.array(r)), a),
        )
        for r, a in (((2, 0, 1), 1), (np.array([0, 3]), 0), ([1, 0, 2, 0, 0, 1], None), ((2,), 0))
    ],
    "pad": [
        Sample(lambda xp, x, w=w: xp.pad(x, w, constant_values=0.5), (M23,), lambda xp, x, t=t: padded(x, t))
        for w, t in ((1, (1, 1, 1, 1)), ((1, 2), (1, 2, 1, 2)), (((0, 2), (3, 0)), (3, 0, 0, 2)), (0, (0, 0)))
    ]
    + [
        Sample(lambda xp, x, w=w, m=m: xp.pad(x, w, mode=m), (x,), lambda xp, x, w=w, m=m: framed(x, w, m))
        for m in ("edge", "reflect", "symmetric", "wrap")
        for x, w in ((M23, 1), (M34, ((0, 2), (3, 1))), (V3, (5, 7)), (M23, 0))
    ],
    "tril": [Sample(lambda xp, x, k=k: xp.tril(x, k), (x,)) for k in (0, 1, -1) for x in (M34, T234)],
    "triu": [Sample(lambda xp, x, k=k: xp.triu(x, k), (x,)) for k in (0, 1, -1) for x in (M34, T234)],
    "diagonal": [
        *(Sample(lambda xp, x, k=k: xp.diagonal(x, offset=k), (M34,)) for k in (0, 1, -1, 7)),
        Sample(
            lambda xp, x: np.diagonal(x, 1, 0, 2) * np.trace(x)[0],
            (T234,),
            lambda xp, x: x.diagonal(1, 0, 2) * x.diagonal(0, 0, 1).sum(-1)[0],
        ),
        Sample(
            lambda xp, x: np.linalg.diagonal(x, offset=1) * np.linalg.trace(x)[0],
            (T234,),
            lambda xp, x: x.diagonal(1, 1, 2) * x.diagonal(0, 1, 2).sum(-1)[0],
        ),
    ],
    "prod": [
        *(Sample(s.call, s.args, lambda xp, x, k=k: multiplied(x, **k)) for s, k in PRODS),
        *(
            Sample(lambda xp, x: xp.prod(x, axis=-1), (x,), lambda xp, x: multiplied(x, -1))
            for x in (ZEROS, M23[:, :0])
        ),
    ],
    "cumulative_sum": [
        *(Sample(lambda xp, x, a=a: xp.cumulative_sum(x, axis=a), (T234,), cumulated("cumsum", a)) for a in (0, 1, -1)),
        Sample(lambda xp, x: xp.cumulative_sum(x), (V4,), cumulated("cumsum", 0)),
        Sample(lambda xp, x: np.cumsum(x), (M23,), lambda xp, x: x.reshape(-1).cumsum(0)),
        Sample(lambda xp, x: np.add.accumulate(x), (M23,), cumulated("cumsum", 0)),
    ],
    "cumulative_prod": [
        *(Sample(lambda xp, x, a=a: xp.cumulative_prod(x, axis=a), (T234,), running(a)) for a in (0, 1, -1)),
        Sample(lambda xp, x: xp.cumulative_prod(x, axis=1), (ZEROS,), running(1)),
        Sample(lambda xp, x: np.cumprod(x), (ZEROS,), lambda xp, x: running(0)(xp, x.reshape(-1))),
        Sample(lambda xp, x: np.multiply.accumulate(x, 1), (ZEROS,), running(1)),
    ],
    "sort": [
        *(Sample(lambda xp, x, a=a: xp.sort(x, axis=a), (T234,), lambda xp, x, a=a: x.sort(a)[0]) for a in (0, 1, -1)),
        Sample(lambda xp, x: np.sort(x, axis=None) ** 2, (M34,), lambda xp, x: x.reshape(-1).sort()[0] ** 2),
        Sample(
            lambda xp, x: fgrad.sort(x, descending=True) * V4,
            (M34,),
            lambda xp, x: x.sort(-1, descending=True)[0] * xp.tensor(V4),
        ),
    ],
    "diff": [
        *(
            Sample(lambda xp, x, n=n, a=a: xp.diff(x, n=n, axis=a), (T234,), lambda xp, x, n=n, a=a: x.diff(n, a))
            for n, a in ((1, -1), (2, 1), (0, 0), (3, 1))
        ),
        Sample(lambda xp, x: np.diff(x, 2, 1), (M34,), lambda xp, x: x.diff(2, 1)),
        Sample(
            lambda xp, x, y, z: xp.diff(x, n=2, axis=0, prepend=y, append=z),
            (M34, C34[:1], normal(2, 4)),
            lambda xp, x, y, z: x.diff(2, 0, y, z),
        ),
        *(
            Sample(
                lambda xp, x, y, k=k: xp.diff(x, **{k: y}),
                (M34, np.array(0.7)),
                lambda xp, x, y, k=k: x.diff(**{k: y.expand(3, 1)}),
            )
            for k in ("prepend", "append")
        ),
        Sample(lambda xp, x: xp.diff(x, n=0, append=x), (V4,), lambda xp, x: x.diff(0)),
    ],
    "nansum": [
        Sample(
            lambda xp, x, a=a: xp.nansum(xp.where(MASK, x, np.nan) ** 2, axis=a),
            (M34,),
            lambda xp, x, a=a: (xp.tensor(MASK) * x**2).sum(a),
        )
        for a in (None, 0)
    ],
    "nanmean": [
        Sample(
            lambda xp, x, a=a: xp.nanmean(xp.where(MASK, x, np.nan) ** 2, axis=a, keepdims=True),
            (M34,),
            lambda xp, x, a=a: (xp.tensor(MASK) * x**2).sum(a, keepdim=True) / xp.tensor(MASK).sum(a, keepdim=True),
        )
        for a in ((0, 1), 1)
    ],
    "tensordot": [
        Sample(lambda xp, x, y, a=a: xp.tensordot(x, y, a), args, lambda xp, x, y, a=a: torch().tensordot(x, y, a))
        for a, args in (
            (2, (T234, normal(3, 4, 2))),
            (1, (M23, M34)),
            (0, (M23, V4)),
            (([0, -1], [1, 0]), (T234, normal(4, 2, 5))),
        )
    ],
    "kron": [Sample(named("kron"), args) for args in ((V3, V4), (M23, V4), (V3, M23), (M23, C34))],
    "cross": [
        Sample(named("cross"), (M23, normal(2, 3)), lambda xp, x, y: x.cross(y, -1)),
        Sample(lambda xp, x, y: xp.cross(x, y, axis=0), (M34, C34), lambda xp, x, y: x.cross(y, 0)),
        Sample(named("cross"), (M23, V3), lambda xp, x, y: x.cross(y.expand(2, 3), -1)),
        Sample(lambda xp, x, y: np.cross(x, y, axisb=0), (M23, normal(3, 2)), lambda xp, x, y: x.cross(y.mT, -1)),
    ],
}
SAMPLES: dict[str, list[Sample]] = {
    **{name: [Sample(named(name), columns(points))] for name, (points, _) in SMOOTH.items()},
    **{name: [Sample(named(name), columns(points))] for name, points in STEPS.items()},
    **SHAPED,
    **LINALG,
    **CALLS,
    **MORE,
}
FORWARD_ONLY = {"while_loop"}  # has its own tests
NAMES = sorted((TABLE.keys() | FUNCTIONS.keys()) - FORWARD_ONLY)
CONSTANT = [name for name in NAMES if name in TABLE and TABLE[name].vjp is None]


def over(names: Sequence[str]) -> pytest.MarkDecorator:
    found = [(f"{name}-{i}", sample) for name in names for i, sample in enumerate(SAMPLES.get(name, []))]
    return pytest.mark.parametrize("sample", [pytest.param(sample, id=label) for label, sample in found])


def on_fgrad(sample: Sample) -> Call:
    return lambda *args: sample.call(fgrad, *args)


def on_torch(sample: Sample) -> Call:
    return lambda *args: (sample.peer or sample.call)(Torch(), *args)


def cast_to(dtype: type, args: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(x.astype(dtype) if isinstance(x, np.ndarray) else x for x in args)


def some(like: Any) -> Any:
    """Give numbers in the shape and dtype of `like`, none of them special."""
    if type(like) is float:
        return 0.75
    return np.cos(1.0 + np.arange(np.size(like))).reshape(np.shape(like)).astype(like.dtype)[()]


def pulled(f: Call, args: Sequence[Any], cotangent: Any = None) -> tuple[Any, tuple[Any, ...]]:
    """Give f's value, and the cotangents of its arguments from one of the value: by default, from `some`."""
    value: Any
    value, pullback = vjp(f, *args)
    cotangents: Any = pullback(some(value) if cotangent is None else cotangent)
    return value, cotangents


def contracted(f: Call, cotangent: Any, directions: Sequence[Any]) -> Call:
    """Make the function Σ⟨direction, g⟩, where g are f's cotangents: its own cotangents are second derivatives."""

    def functional(*args: Any) -> Any:
        _, gradients = pulled(f, args, cotangent)
        return sum((fgrad.sum(d * g) for d, g in zip(directions, gradients, strict=True)), 0.0)

    return functional


def second(f: Call, args: Sequence[Any], cotangent: Any, directions: Sequence[Any]) -> Any:
    """Give the second derivatives of f, contracted with a cotangent and with directions, by nesting."""
    return pulled(contracted(f, cotangent, directions), args, 1.0)[1]


# --- the laws --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_samples(name: str) -> None:
    """No row enters the table, and no function the public names, without a sample in this file."""
    assert SAMPLES.get(name), f"write samples of {name} into SMOOTH, STEPS or SHAPED"
    assert name not in SMOOTH or name in CONSTANT or name not in TABLE or TABLE[name].vjp is not None


@pytest.mark.parametrize("precision", [np.float64, np.float32])
@over(NAMES)
def test_values(sample: Sample, precision: type) -> None:
    """A row computes what NumPy does (or PyTorch), in NumPy's dtype and shape; and traced it gives the same bits."""
    args = cast_to(precision, sample.args)
    value = sample.call(fgrad, *args)
    with np.errstate(all="ignore"):
        try:
            expected = sample.call(NumPy(), *args)
            assert isinstance(value, np.ndarray) == isinstance(expected, np.ndarray)
            dtype = np.asarray(expected).dtype
        except AttributeError:  # an op that NumPy has not
            expected = on_torch(sample)(*map(Torch().tensor, cast_to(np.float64, args))).numpy()
            dtype = np.result_type(*args)
    assert np.asarray(value).dtype == dtype
    close(value, expected, *((1e-12, 1e-13) if precision is np.float64 else (1e-5, 1e-6)))
    traced: Any = vjp(on_fgrad(sample), *args)[0]
    np.testing.assert_array_equal(traced, value, strict=True)


@over([name for name in NAMES if name not in CONSTANT])
def test_derivatives_are_limits_of_differences(sample: Sample) -> None:
    """First derivatives are central differences of f, second derivatives are central differences of the first."""
    f, args = on_fgrad(sample), sample.args
    value, found = pulled(f, args)
    cotangent, directions = some(value), [some(x) for x in args]
    twice = second(f, args, cotangent, directions)
    if sample.rtol == RTOL:
        close(found, tuple(numeric_vjp(f, args, cotangent)), 1e-7, 1e-7)
        close(twice, tuple(numeric_vjp(contracted(f, cotangent, directions), args, 1.0)), 1e-6, 1e-6)


@over([name for name in NAMES if name not in CONSTANT])
def test_derivatives_are_pytorchs(sample: Sample) -> None:
    """First and second derivatives are PyTorch's, to the last digits."""
    f, args = on_fgrad(sample), sample.args
    value, found = pulled(f, args)
    cotangent, directions = some(value), [some(x) for x in args]
    _, first, twice = torch_derivatives(on_torch(sample), args, cotangent, directions)
    close(found, tuple(first), sample.rtol)
    close(second(f, args, cotangent, directions), tuple(twice), 10 * sample.rtol, 1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@over([name for name in NAMES if name not in CONSTANT])
def test_cotangents_are_of_their_primals_kind(sample: Sample, dtype: type) -> None:
    """A cotangent has the type, shape and dtype of its primal, whatever else is traced and whatever NumPy promoted."""
    args = cast_to(dtype, sample.args)
    with np.errstate(over="ignore"):
        value, found = pulled(on_fgrad(sample), args)
        again = second(on_fgrad(sample), args, some(value), [some(x) for x in args])
    for x, g, h in zip(args, found, again, strict=True):
        assert type(g) is type(h) is type(x)
        assert np.shape(g) == np.shape(h) == np.shape(x)
        assert np.result_type(g) == np.result_type(h) == np.result_type(x)


@over([name for name in NAMES if name not in CONSTANT])
def test_constants_change_nothing(sample: Sample) -> None:
    """The cotangent of one argument is the same, to the bit, whether the others are traced or constants."""
    f, args = on_fgrad(sample), sample.args
    _, together = pulled(f, args)
    for i, x in enumerate(args):
        _, (alone,) = pulled(lambda x, i=i: f(*args[:i], x, *args[i + 1 :]), (x,))
        np.testing.assert_array_equal(alone, together[i], strict=True)


@over(CONSTANT)
def test_rows_without_derivative_are_constants(sample: Sample) -> None:
    """What a comparison, a step or an index gives is a constant: the gradient of x · op(x, …) is op(x, …) once more."""
    first, *rest = sample.args

    def f(*args: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return fgrad.where(np.isfinite(first), args[0], 0.0) * (1 * sample.call(fgrad, *args))

    value = sample.call(fgrad, *sample.args)
    if np.shape(value) not in ((), np.shape(first)):
        value, first = np.ones(()), first.ravel()[0]  # argmax over an axis: any one number will do
        f = lambda *args: args[0]
    _, found = pulled(f, (first, *rest), np.ones(np.shape(first))[()])
    close(found[0], np.where(np.isfinite(first), 1.0 * value, 0.0), 0, 0)
    for g in found[1:]:
        close(g, np.zeros(np.shape(g)), 0, 0)


@pytest.mark.parametrize(
    ("name", "point"), [(name, p) for name in SMOOTH for p in SMOOTH[name][0] + EXTREME.get(name, [])]
)
def test_floats_against_many_digits(name: str, point: tuple[float, ...]) -> None:
    """On Python floats the value, gradient and Hessian are those of 40-digit arithmetic, and Python floats."""
    f, exact = getattr(fgrad, name), SMOOTH[name][1]
    n = len(point)

    def order(*places: int) -> tuple[int, ...]:
        return tuple(places.count(i) for i in range(n))

    value, gradient = pulled(f, point, 1.0)
    hessian = [second(f, point, 1.0, [float(i == j) for j in range(n)]) for i in range(n)]
    assert f(*point) == value
    close(value, mp_derivative(exact, point, order()), 4e-15, 0)
    close(gradient, tuple(mp_derivative(exact, point, order(i)) for i in range(n)), 1e-12, 1e-15)
    close(hessian, [tuple(mp_derivative(exact, point, order(i, j)) for j in range(n)) for i in range(n)], 1e-11, 1e-12)
    assert {type(x) for x in (value, *gradient, *(h for row in hessian for h in row))} == {float}


@pytest.mark.parametrize(("name", "point"), [(name, p) for name, points in STEPS.items() for p in points])
def test_steps_on_floats(name: str, point: tuple[float, ...]) -> None:
    """On Python floats a step is NumPy's, a Python number, and its derivative is 0."""
    f: Any = getattr(fgrad, name)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(*point)
    assert type(f(*point)) is type(expected.item())
    np.testing.assert_equal(f(*point), expected.item())
    _, found = pulled(lambda *args: args[0] + 0 * f(*args), point, 1.0)
    assert found == (1.0, 0.0)[: len(point)]


# --- broadcasting ----------------------------------------------------------------------------------------------------
SHAPES = [((3, 1), (4,)), ((), (4,)), ((2, 3), (3,)), ((1,), (1, 1)), ((0,), (1,)), ((2, 1, 3), (4, 1)), ((0, 3), (3,))]


def filled(name: str, shapes: Sequence[tuple[int, ...]]) -> tuple[Array, ...]:
    """Give arrays of these shapes, from where the op's samples are."""
    return tuple(np.resize(x[:4], shape) for x, shape in zip(columns(SMOOTH[name][0]), shapes, strict=True))


def check_broadcasting(f: Call, on_numpy: Call, args: Sequence[Any]) -> None:
    value, found = pulled(f, args)
    np.testing.assert_array_equal(value, on_numpy(*args))
    close(found, tuple(numeric_vjp(on_numpy, args, some(value))), 1e-7, 1e-7)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("name", BINARY)
def test_broadcasting(name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    """Two arguments broadcast as in NumPy, either way round; cotangents are summed over what was broadcast."""
    for pair in (shapes, shapes[::-1]):
        check_broadcasting(getattr(fgrad, name), getattr(np, name, np.multiply), filled(name, pair))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(["add", "subtract", "multiply", "divide", "maximum", "atan2", "pow", "logaddexp"]),
    mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0),
)
def test_broadcasting_of_random_shapes(name: str, shapes: BroadcastableShapes) -> None:
    """Any two shapes that broadcast do, in the value and back in the cotangents."""
    check_broadcasting(getattr(fgrad, name), getattr(np, name), filled(name, shapes.input_shapes))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=3, min_side=0))
def test_matmul_of_random_shapes(shapes: BroadcastableShapes) -> None:
    """Vectors, matrices and batches that broadcast multiply as in NumPy; cotangents are summed over the batches."""
    check_broadcasting(fgrad.matmul, np.matmul, [np.resize(M34, shape) for shape in shapes.input_shapes])


@st.composite
def arrays_and_indices(draw: st.DrawFn) -> tuple[Array, Any]:
    shape = draw(array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    basic = basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)
    index = draw(st.one_of(basic, integer_array_indices(shape, result_shape=array_shapes(max_dims=2, max_side=3))))
    return np.resize(M34, shape), index


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(arrays_and_indices())
def test_random_indices(sample: tuple[Array, Any]) -> None:
    """Indexing picks what NumPy picks, and its pullback adds every cotangent to the place that it was picked from."""
    x, index = sample
    value, (g,) = pulled(lambda x: x[index], (x,))
    np.testing.assert_array_equal(value, x[index])
    expected = np.zeros_like(x)
    np.add.at(expected, index, some(np.asarray(value)))
    np.testing.assert_array_equal(g, expected, strict=True)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3, min_side=0))
def test_where_broadcasts_three_ways(shapes: BroadcastableShapes) -> None:
    """Condition and branches broadcast among the three; each cotangent comes back in its branch's shape."""
    condition, *args = (np.resize(V4, shape) for shape in shapes.input_shapes)
    check_broadcasting(lambda x, y: fgrad.where(condition > 0, x, y), lambda x, y: np.where(condition > 0, x, y), args)


SCALARS: list[Any] = [2, 2.5, True, np.float64(2.5), np.float32(2.5), np.int64(2)]
CONSTANTS: list[Any] = [*SCALARS, np.array(2.5), np.array([[2.5], [2]])]
PRIMALS: list[Any] = [1.5, np.float64(1.5), np.float32(1.5), np.array(1.5), np.array([0.7, 1.5], np.float32)]
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "pow": operator.pow,
    "remainder": operator.mod,
    "floor_divide": operator.floordiv,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
}


@pytest.mark.parametrize("constant", CONSTANTS, ids=repr)
@pytest.mark.parametrize("x", PRIMALS, ids=repr)
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_with_constants(name: str, x: Any, constant: Any) -> None:
    """Operators: x op c and c op x are the row, and the operator on plain values, for every kind of number or array c.

    The cotangent is of x's kind; where c is an array that x is broadcast to, it is summed.
    """
    function, symbol = getattr(fgrad, name), OPERATORS[name]

    def check(f: Call, row: Call, in_float64: Call) -> None:
        value: Any
        value, pullback = vjp(f, x)
        np.testing.assert_array_equal(value, f(x), strict=True)
        np.testing.assert_array_equal(value, vjp(row, x)[0], strict=True)
        if name not in CONSTANT:
            g: Any = pullback(np.ones_like(value)[()])
            assert type(g[0]) is type(x)
            assert np.result_type(g[0]) == np.result_type(x)
            close(g, tuple(numeric_vjp(in_float64, (np.float64(x),), 1.0)), 1e-6, 1e-7)

    c = np.asarray(constant, np.float64)
    check(lambda v: symbol(v, constant), lambda v: function(v, constant), lambda v: symbol(v, c))
    check(lambda v: symbol(constant, v), lambda v: function(constant, v), lambda v: symbol(c, v))


# --- shapes at the edge ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1, 1)])
@pytest.mark.parametrize("name", [name for name, (points, _) in SMOOTH.items() if len(points[0]) == 1])
def test_elementwise_on_shapes_at_the_edge(name: str, shape: tuple[int, ...]) -> None:
    """An elementwise row keeps empty arrays, 0-d arrays and axes of length 1 as they are, in cotangents too."""
    x = np.resize(columns(SMOOTH[name][0])[0], shape)
    value, (g,) = pulled(getattr(fgrad, name), (x,))
    assert np.shape(value) == g.shape == shape
    assert type(g) is np.ndarray


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), ()])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "var", "norm"])
def test_reductions_of_empty_arrays(name: str, axis: Any, keepdims: bool) -> None:
    """A reduction of nothing gives what NumPy gives, or raises what NumPy raises; its cotangent is as empty as x."""

    def reduce(xp: Any, x: Any) -> Any:
        return getattr(xp, name)(x, axis=axis, keepdims=keepdims)

    x = np.zeros((0, 3))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = reduce(NumPy(), x)
        except ValueError as error:
            with pytest.raises(type(error)):
                reduce(fgrad, x)
            return
        value, (g,) = pulled(lambda x: reduce(fgrad, x), (x,))
    np.testing.assert_array_equal(value, expected)
    assert np.shape(value) == np.shape(expected)
    assert g.shape == (0, 3)


# --- arguments of other kinds ----------------------------------------------------------------------------------------
def of(code: str) -> Call:
    """Make a call of a line of code: tables of lines make readable names of tests."""
    call: Call = eval(f"lambda xp, x: {code}", {"np": np})
    return call


INTEGERS: list[tuple[str, Array]] = [
    ("xp.sum(x, axis=np.int64(0))", M34),
    ("xp.max(x, axis=(np.int64(0), np.int32(1)))", M34),
    ("xp.softmax(x, axis=np.int64(-1))", M34),
    ("xp.reshape(x, np.int64(12))", M34),
    ("xp.reshape(x, (np.int64(4), np.int32(-1)))", M34),
    ("xp.broadcast_to(x, 3)", np.ones(1)),
    ("xp.broadcast_to(x, [2, np.int64(4)])", V4),
    ("xp.expand_dims(x, axis=np.int64(1))", M34),
    ("xp.squeeze(x, axis=np.int64(1))", T213),
    ("xp.permute_dims(x, (np.int64(1), np.int64(0)))", M34),
    ("xp.take(x, [0, 0, 1], axis=np.int64(1))", M34),
    ("xp.concat([x, x], axis=np.int64(1))", M34),
    ("xp.argmax(x, axis=np.int64(1)) * x[:, 0]", M34),
]


@pytest.mark.parametrize(("code", "x"), INTEGERS)
def test_axes_and_lengths_are_any_integers(code: str, x: Array) -> None:
    """An axis or a length is an integer of Python or of NumPy, alone or in a list or tuple: as for NumPy."""
    call = of(code)
    value, found = pulled(lambda x: call(fgrad, x), (x,))
    if "softmax" not in code:
        np.testing.assert_array_equal(value, call(NumPy(), x))
    close(found, tuple(numeric_vjp(lambda x: call(fgrad, x), (x,), some(value))), 1e-6, 1e-6)


WRONG: list[tuple[str, type[Exception] | tuple[type[Exception], ...]]] = [
    ("xp.sum(x, axis=2)", ValueError),
    ("xp.sum(x, axis=(0, 0))", ValueError),
    ("xp.sum(x, axis=0.5)", TypeError),
    ("xp.take(x, 0, axis=2)", ValueError),
    ("xp.take(x[0, 0], 0, axis=0)", ValueError),
    ("xp.take(x, 7, axis=0)", IndexError),
    ("xp.expand_dims(x, (0, 0))", ValueError),
    ("xp.squeeze(x, 0)", ValueError),
    ("xp.permute_dims(x, (0, 0))", ValueError),
    ("xp.permute_dims(x, (0,))", ValueError),
    ("xp.reshape(x, (5, -1))", ValueError),
    ("xp.reshape(x, (-1, -1))", ValueError),
    ("xp.broadcast_to(x, (2, 4))", ValueError),
    ("xp.matrix_transpose(x[0])", ValueError),
    ("xp.matmul(x, 2.0)", ValueError),
    ("xp.matmul(x, x)", ValueError),
    ("xp.vecdot(x, x[:, :1])", ValueError),
    ("xp.concat([])", ValueError),
    ("xp.concat([x, x[0]])", ValueError),
    ("xp.stack([x, x[0]])", ValueError),
    ("xp.norm(x, ord=0)", (TypeError, ValueError)),
    ("xp.sum([x, x])", TypeError),
    ("xp.exp([1.0, x])", TypeError),
    ("xp.matmul(x, None)", TypeError),
    ("xp.repeat(x, [1, 2])", ValueError),
    ("xp.repeat(x, [0.5] * 12)", TypeError),
    ("xp.pad(x, -1, mode='edge')", ValueError),
    ("xp.pad(x[:0], 1, mode='wrap')", ValueError),
    ("xp.convolve(x, x)", ValueError),
    ("xp.convolve(x[0], x[0], mode='half')", ValueError),
    ("xp.interp(x, x, x)", ValueError),
    ("xp.searchsorted(x, 1.0)", ValueError),
    ("xp.searchsorted(x[0], 1.0, side='middle')", ValueError),
    ("xp.polygamma(-1, x)", ValueError),
    ("xp.polygamma(0.5, x)", TypeError),
    ("x[5]", IndexError),
    ("x[0, 0, 0]", IndexError),
    ("x['a']", (IndexError, TypeError)),
    ("x[1.0]", IndexError),
    ("x + np.ones(3)", ValueError),
]


@pytest.mark.parametrize(("code", "error"), WRONG)
def test_wrong_arguments(code: str, error: type[Exception] | tuple[type[Exception], ...]) -> None:
    """What NumPy refuses, or fgrad has not, is refused at the call, plain and traced, by an error of NumPy's kind."""
    with pytest.raises(error):
        of(code)(fgrad, M34)
    with pytest.raises(error):
        vjp(lambda x: of(code)(fgrad, x), M34)


@pytest.mark.parametrize("shapes", [((3, 3), (3,)), ((3, 4), (3, 4)), ((3, 4), (3, 1, 4))])
def test_vecdot_counts_its_axis_in_each_operand(shapes: tuple[tuple[int, ...], ...]) -> None:
    """The axis that vecdot sums over is taken out of each operand, before the others broadcast: as NumPy does."""
    args = tuple(normal(*shape) for shape in shapes)
    value, found = pulled(lambda x, y: fgrad.vecdot(x, y, axis=0), args)
    close(value, NumPy().vecdot(*args, axis=0))
    _, first, _ = torch_derivatives(lambda x, y: (x.movedim(0, -1) * y.movedim(0, -1)).sum(-1), args, some(value), args)
    close(found, tuple(first))


FLOATING: list[Any] = [np.float32, np.float16, np.longdouble, float, np.dtype("f4"), "f4", "d", "float32", "double"]


@pytest.mark.parametrize("dtype", FLOATING, ids=repr)
def test_a_cast_to_floats_is_linear(dtype: Any) -> None:
    """A cast to a dtype of floats, however that is spelled, gives its cotangent back in the dtype of what was cast."""
    x = V4.astype(np.float16).astype(np.float64)  # exact in every dtype
    value, (g,) = pulled(lambda x: fgrad.astype(x, dtype), (x,), np.ones(4))
    np.testing.assert_array_equal(value, x.astype(dtype), strict=True)
    np.testing.assert_array_equal(g, np.ones(4), strict=True)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.bool_, "i4", int])
def test_a_cast_to_integers_is_a_step(dtype: Any) -> None:
    """What was cast to integers or booleans is a constant, as floor(x) is: nothing flows back through it."""
    value, (g,) = pulled(lambda x: x * x + 2.5 * fgrad.astype(x, dtype), (V4,), np.ones(4))
    close(value, V4 * V4 + 2.5 * V4.astype(dtype))
    close(g, 2 * V4)
