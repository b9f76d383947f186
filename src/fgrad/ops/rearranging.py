"""Functions that move, repeat and cut out numbers: flip, roll, tile, pad, triangles and diagonals of matrices.

Knows where each number goes; nothing of derivatives: all are made of indexing, joining, reshaping and choosing.
"""

from collections.abc import Sequence
from operator import index
from typing import cast

from fgrad.arrays import namespace, numpy
from fgrad.errors import MissingRowError
from fgrad.node import Value, X, concrete, shape
from fgrad.ops.elementwise import where
from fgrad.ops.reducing import sum
from fgrad.ops.rows import public, stand_in
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import (
    broadcast_to,
    concat,
    dtype_of,
    expand_dims,
    integers,
    move_axes,
    positive_axes,
    reshape,
)


def along(x: X, axis: int, start: int | None = None, stop: int | None = None, step: int | None = None) -> X:
    """A slice of x along one axis, counted from the front."""
    return getitem(x, (slice(None),) * axis + (slice(start, stop, step),))


def _picked(x: X, axis: int, places: object) -> X:
    """The numbers at these places along one axis, counted from the front."""
    return getitem(x, (slice(None),) * axis + (places,))


def _matrix(x: object, name: str) -> tuple[int, int]:
    if len(shape(x)) < 2:
        raise ValueError(f"{name} needs at least two axes, not the shape {shape(x)}")
    rows, columns = shape(x)[-2:]
    return rows, columns


@public(names="flip")
def flip(x: X, axis: int | Sequence[int] | None = None) -> X:
    """The numbers in reverse order, along the axes named or along all.

    >>> import numpy as np
    >>> flip(np.array([1.0, 2.0, 3.0]))
    array([3., 2., 1.])
    """
    for a in positive_axes(axis, len(shape(x))):
        x = along(x, a, step=-1)
    return x


@public(names="roll")
def roll(x: X, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> X:
    """The numbers moved on by `shift` places, those at the end to the front; axis=None moves them as if flattened.

    >>> import numpy as np
    >>> roll(np.array([1.0, 2.0, 3.0]), 1)
    array([3., 1., 2.])
    """
    if axis is None:
        return reshape(roll(reshape(x, -1), shift, 0), shape(x))
    shifts, axes = integers(shift), integers(axis)
    n = max(len(shifts), len(axes))
    if {len(shifts), len(axes)} - {1, n}:
        raise ValueError(f"roll has {len(shifts)} shifts for {len(axes)} axes")
    for s, a in zip(shifts * (n // len(shifts)), axes * (n // len(axes)), strict=True):
        x = _roll(x, s, *positive_axes(a, len(shape(x))))
    return x


def _roll(x: X, shift: int, axis: int) -> X:
    n = shape(x)[axis]
    cut = n - shift % n if n else 0
    return x if cut == n else concat([along(x, axis, cut), along(x, axis, 0, cut)], axis)


@public(names="tile")
def tile(x: X, reps: int | Sequence[int]) -> X:
    """Copies of x side by side: as many along each axis as `reps` says, counted from the last.

    >>> import numpy as np
    >>> tile(np.array([1.0, 2.0]), 2)
    array([1., 2., 1., 2.])
    """
    times = integers(reps)
    n = max(len(times), len(shape(x)))
    times, lengths = ((1,) * (n - len(t)) + t for t in (times, shape(x)))
    apart = broadcast_to(
        reshape(x, tuple(k for length in lengths for k in (1, length))),
        tuple(k for pair in zip(times, lengths, strict=True) for k in pair),
    )
    return reshape(apart, tuple(t * length for t, length in zip(times, lengths, strict=True)))


@public(names="repeat")
def repeat(x: X, repeats: int | Sequence[int], axis: int | None = None) -> X:
    """Each number `repeats` times in a row, along an axis or of the flattened array; or each as often as it says.

    >>> import numpy as np
    >>> repeat(np.array([1.0, 2.0]), 2)
    array([1., 1., 2., 2.])
    """
    if axis is None:
        return repeat(reshape(x, -1), repeats, 0)
    (a,) = positive_axes(axis, len(shape(x)))
    if isinstance(repeats, Sequence) or shape(repeats):
        return _picked(x, a, numpy().repeat(numpy().arange(shape(x)[a]), numpy().asarray(repeats)))
    before, after, times = shape(x)[: a + 1], shape(x)[a + 1 :], index(repeats)
    many = broadcast_to(expand_dims(x, a + 1), (*before, times, *after))
    return reshape(many, (*before[:-1], before[-1] * times, *after))


@public(names="pad")
def pad(
    x: X,
    pad_width: int | Sequence[int] | Sequence[Sequence[int]],
    mode: str = "constant",
    constant_values: float = 0.0,
) -> X:
    """X in a frame, whose width is one number for all sides, (before, after), or a pair for each axis.

    By `mode`, the frame holds "constant" numbers, or numbers of x: its "edge", x mirrored about the middle of that
    ("reflect") or about its outside ("symmetric"), or, as if x went round, its other end ("wrap").

    >>> import numpy as np
    >>> pad(np.array([1.0, 2.0]), (1, 2))
    array([0., 1., 2., 0., 0.])
    >>> pad(np.array([1.0, 2.0, 3.0]), 1, mode="reflect")
    array([2., 1., 2., 3., 2.])
    """
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise MissingRowError(
            f"pad has no mode {mode!r} in fgrad: it has 'constant', 'edge', 'reflect', 'symmetric' and 'wrap'; "
            "join slices with fgrad.concat"
        )
    widths = numpy().broadcast_to(numpy().asarray(pad_width), (len(shape(x)), 2)).tolist()
    for axis, (before, after) in enumerate(widths):
        if min(index(before), index(after)) < 0:
            raise ValueError(f"a frame cannot be {min(before, after)} wide")
        if mode == "constant":
            frame = [_frame(x, axis, width, constant_values) for width in (before, after)]
        else:
            places = numpy().pad(numpy().arange(shape(x)[axis]), (before, after), mode=mode)
            frame = [_picked(x, axis, side) for side in (places[:before], places[len(places) - after :])]
        x = concat([frame[0], x, frame[1]], axis) if before or after else x
    return x


def _frame(x: X, axis: int, width: int, constant: float) -> X:
    lengths = (*shape(x)[:axis], width, *shape(x)[axis + 1 :])
    return cast("X", namespace(concrete(x)).full(lengths, constant, dtype=dtype_of(x)))


def _below(x: object, k: int, name: str) -> Value:
    """Whether a place is on or below diagonal k."""
    rows, columns = _matrix(x, name)
    xp = namespace(concrete(x))
    return cast("Value", xp.reshape(xp.arange(rows), (rows, 1)) + index(k) >= xp.arange(columns))


@public(names="tril")
def tril(x: X, k: int = 0) -> X:
    """The lower triangle of matrices in the last two axes, up to diagonal k, and 0 above.

    >>> import numpy as np
    >>> tril(np.ones((2, 2)))
    array([[1., 0.],
           [1., 1.]])
    """
    return where(_below(x, k, "tril"), x, 0)


@public(names="triu")
def triu(x: X, k: int = 0) -> X:
    """The upper triangle of matrices in the last two axes, from diagonal k on, and 0 below.

    >>> import numpy as np
    >>> triu(np.ones((2, 2)))
    array([[1., 1.],
           [0., 1.]])
    """
    return where(_below(x, k - 1, "triu"), 0, x)


@public(names="linalg.diagonal")
def diagonal(x: X, offset: int = 0) -> X:
    """The diagonal of matrices in the last two axes: the one `offset` places above the main one.

    >>> import numpy as np
    >>> diagonal(np.arange(4.0).reshape(2, 2))
    array([0., 3.])
    """
    rows, columns = _matrix(x, "diagonal")
    k = index(offset)
    length = max(0, min(rows + min(k, 0), columns - max(k, 0)))
    places = namespace(concrete(x)).arange(length)
    return getitem(x, (..., places - min(k, 0), places + max(k, 0)))


@stand_in("diagonal")
def _diagonal(a: X, offset: int = 0, axis1: int = 0, axis2: int = 1) -> X:
    return diagonal(move_axes(a, (axis1, axis2), (-2, -1)), offset)


@stand_in("trace")
def _trace(a: X, offset: int = 0, axis1: int = 0, axis2: int = 1) -> X:
    return sum(_diagonal(a, offset, axis1, axis2), -1)


@stand_in("linalg.trace")
def _matrix_trace(x: X, offset: int = 0) -> X:
    return sum(diagonal(x, offset), -1)
