"""Rows that pick: indexing with integers, slices, None, ellipsis, and arrays of booleans or integers.

Knows how an index is written down; nothing of arithmetic but that what was picked twice is summed.
"""

from collections.abc import Sequence
from types import EllipsisType
from typing import TypeAlias, cast

import attrs

from fgrad import errors
from fgrad.arrays import namespace
from fgrad.node import Op, Value, X, apply, shape, table
from fgrad.ops.rows import public, separate
from fgrad.ops.shaping import broadcast_to, dtype_of, move_axes, positive_axes, reshape

Index: TypeAlias = object


@attrs.frozen
class Span:
    """A slice, hashable."""

    start: int | None
    stop: int | None
    step: int | None


@attrs.frozen
class Hole:
    """The place of an array in an index; the arrays themselves are parents."""


Place: TypeAlias = int | Span | Hole | EllipsisType | None


def _take_apart(index: Index) -> tuple[tuple[object, ...], tuple[Place, ...]]:
    """Split an index into its arrays and a hashable template with holes for them."""
    arrays: list[object] = []
    places: list[Place] = []
    for item in index if isinstance(index, tuple) else (index,):
        if isinstance(item, slice):
            places.append(Span(*(None if i is None else i.__index__() for i in (item.start, item.stop, item.step))))
        elif item is None or item is Ellipsis or (isinstance(item, int) and not isinstance(item, bool)):
            places.append(cast("Place", item))
        else:
            arrays.append(_index_array(item) if isinstance(item, list | bool) else item)
            places.append(Hole())
    return tuple(arrays), tuple(places)


def _index_array(item: object) -> object:
    xp = namespace(1.0)  # NumPy
    array = xp.asarray(item)
    return array if array.size else array.astype(xp.intp)


def _put_together(arrays: Sequence[object], places: tuple[Place, ...]) -> tuple[object, ...]:
    rest = iter(arrays)
    return tuple(
        slice(p.start, p.stop, p.step) if isinstance(p, Span) else next(rest) if isinstance(p, Hole) else p
        for p in places
    )


def _getitem_impl(x: object, *rest: object) -> Value:
    *arrays, places = rest
    if isinstance(x, float | int):
        x = namespace(x).asarray(x)
    return x[_put_together(arrays, cast("tuple[Place, ...]", places))]  # type: ignore[index,no-any-return]  # an array


def _scatter_impl(g: object, *rest: object) -> Value:
    *arrays, lengths, places = rest
    xp = namespace(g)
    out = xp.zeros(lengths, dtype=xp.asarray(g).dtype)
    index = _put_together(arrays, cast("tuple[Place, ...]", places))
    if arrays:
        xp.add.at(out, index, g)  # an array may pick a place twice
    else:
        out[index] = g
    return cast("Value", out)


_ALL = Span(None, None, None)


def _batched_getitem(
    op: Op, args: list[Value], batched: list[bool], params: tuple[tuple[Place, ...]], size: int
) -> Value:
    """Index each example: by a slice over the batch axis, or, where arrays are batched too, by its own number."""
    x, *arrays = args
    if not batched[0]:
        x = broadcast_to(x, (size, *shape(x)))
    lifted = _lift(arrays, batched[1:], params[0], len(shape(x)) - 1, size)
    picked = apply(op, (move_axes(x, 0, lifted.before), *lifted.arrays), (lifted.places,))
    return move_axes(picked, lifted.after, 0)


def _batched_scatter(
    op: Op, args: list[Value], batched: list[bool], params: tuple[tuple[int, ...], tuple[Place, ...]], size: int
) -> Value:
    (g, *arrays), (lengths, places) = args, params
    if not batched[0]:
        g = broadcast_to(g, (size, *shape(g)))
    lifted = _lift(arrays, batched[1:], places, len(lengths), size)
    lengths = (*lengths[: lifted.before], size, *lengths[lifted.before :])
    spread = apply(op, (move_axes(g, 0, lifted.after), *lifted.arrays), (lengths, lifted.places))
    return move_axes(spread, lifted.before, 0)


@attrs.frozen(eq=False)
class Lifted:
    """An index of a batch: its arrays and places; where the batch axis lies in x before, and in the result after."""

    arrays: tuple[object, ...]
    places: tuple[Place, ...]
    before: int
    after: int


def _lift(arrays: list[Value], batched: list[bool], places: tuple[Place, ...], ndim: int, size: int) -> Lifted:
    advanced = [i for i, p in enumerate(places) if isinstance(p, Hole | int)] if arrays else []
    separated = bool(advanced) and advanced[-1] - advanced[0] + 1 != len(advanced)
    ranks = [1 if _is_mask(a) else len(shape(a)) - flag for a, flag in zip(arrays, batched, strict=True)]
    if not any(batched):  # NumPy puts the axes of separated arrays first, before the batch axis
        return Lifted(tuple(arrays), (_ALL, *places), 0, max(ranks) if separated else 0)
    if any(map(_is_mask, arrays)):
        raise errors.BranchError(
            f"a batched boolean array cannot index{errors.user_line()}: each example would pick another number of "
            "places; write fgrad.where(mask, x, 0)"
        )
    if Ellipsis in places:
        i = places.index(Ellipsis)
        taken = sum(isinstance(p, Hole | int | Span) for p in places)
        return _lift(arrays, batched, (*places[:i], *[_ALL] * (ndim - taken), *places[i + 1 :]), ndim, size)
    rank, first = max(ranks), advanced[0]
    own = namespace(1.0).arange(size).reshape((size, *[1] * rank))
    lifted = [
        reshape(a, (size, *[1] * (rank - r), *shape(a)[1:])) if flag else a
        for a, r, flag in zip(arrays, ranks, batched, strict=True)
    ]
    before = sum(isinstance(p, Span) for p in places[:first])
    holes = sum(isinstance(p, Hole) for p in places[:first])
    return Lifted(
        (*lifted[:holes], own, *lifted[holes:]),
        (*places[:first], Hole(), *places[first:]),
        before,
        0 if separated else first,
    )


def _is_mask(x: object) -> bool:
    return "bool" in str(dtype_of(x))


_getitem: Op = separate(
    "getitem",
    _getitem_impl,
    vjp=lambda i, g, ans, args, params: None if i else apply(_scatter, (g, *args[1:]), (shape(args[0]), *params)),
    jvp=lambda i, t, ans, args, params: None if i else apply(_getitem, (t, *args[1:]), params),
    batch=_batched_getitem,
)
_scatter: Op = separate(
    "scatter",
    _scatter_impl,
    vjp=lambda i, g, ans, args, params: None if i else apply(_getitem, (g, *args[1:]), params[1:]),
    jvp=lambda i, t, ans, args, params: None if i else apply(_scatter, (t, *args[1:]), params),
    batch=_batched_scatter,
)
table.update(getitem=_getitem, scatter=_scatter)


@public()
def getitem(x: X, index: Index) -> X:
    """x[index], for every index that NumPy knows.

    >>> import numpy as np
    >>> getitem(np.arange(4.0), slice(1, 3))
    array([1., 2.])
    """
    arrays, places = _take_apart(index)
    return cast("X", apply(_getitem, (x, *arrays), (places,)))


@public(names="take")
def take(x: X, indices: object, axis: int | None = None) -> X:
    """Pick by integers along one axis, or from the flattened array.

    >>> import numpy as np
    >>> take(np.arange(4.0), np.array([3, 0, 3]))
    array([3., 0., 3.])
    """
    if axis is None:
        return getitem(reshape(x, -1), indices)
    (place,) = positive_axes(axis, len(shape(x)))
    return getitem(x, (slice(None),) * place + (indices,))
