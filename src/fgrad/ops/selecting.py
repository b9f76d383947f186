"""Rows that pick: indexing with integers, slices, None, ellipsis, and arrays of booleans or integers.

Knows how an index is written down; nothing of arithmetic but that what was picked twice is summed.
"""

from collections.abc import Sequence
from types import EllipsisType
from typing import TypeAlias, cast

import attrs

from fgrad.arrays import namespace
from fgrad.node import Op, Value, X, apply, shape, table
from fgrad.ops.rows import public
from fgrad.ops.shaping import positive_axes, reshape

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


_getitem: Op = Op(
    "getitem",
    _getitem_impl,
    vjp=lambda i, g, ans, args, params: None if i else apply(_scatter, (g, *args[1:]), (shape(args[0]), *params)),
    jvp=lambda i, t, ans, args, params: None if i else apply(_getitem, (t, *args[1:]), params),
)
_scatter: Op = Op(
    "scatter",
    _scatter_impl,
    vjp=lambda i, g, ans, args, params: None if i else apply(_getitem, (g, *args[1:]), params[1:]),
    jvp=lambda i, t, ans, args, params: None if i else apply(_scatter, (t, *args[1:]), params),
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
