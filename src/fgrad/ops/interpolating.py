"""Functions that look numbers up in a table: where they would stand in it, and what lies between its knots.

Knows sorted arrays; nothing of derivatives: a place is a constant, and the rest is made of indexing and arithmetic.
"""

from math import nan
from typing import Literal, TypeAlias, cast

from fgrad.arrays import namespace
from fgrad.node import Op, Value, X, apply, shape
from fgrad.ops.elementwise import (
    add,
    divide,
    greater,
    greater_equal,
    isnan,
    less,
    logical_or,
    maximum,
    minimum,
    multiply,
    subtract,
    where,
)
from fgrad.ops.rows import constant, public
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import broadcast_to

Side: TypeAlias = Literal["left", "right"]


def _searchsorted_impl(a: object, v: object, side: Side, depth: int) -> Value:
    """Search in as many tables as the first `depth` axes of both count."""
    xp = namespace(a, v)
    if not depth:
        return cast("Value", xp.searchsorted(a, v, side=side))
    places = xp.empty(shape(v), dtype=xp.intp)
    for i in range(len(places)):
        places[i] = _searchsorted_impl(a[i], v[i], side, depth - 1)  # type: ignore[index]  # arrays
    return cast("Value", places)


def _batched_searchsorted(op: Op, args: list[Value], batched: list[bool], params: tuple[Side, int], size: int) -> Value:
    side, depth = params
    if not batched[0] and not depth:
        return apply(op, tuple(args), params)  # all in one table
    both = [x if flag else broadcast_to(x, (size, *shape(x))) for x, flag in zip(args, batched, strict=True)]
    return apply(op, tuple(both), (side, depth + 1))


_searchsorted = constant("searchsorted", _searchsorted_impl, _batched_searchsorted)


@public(names="searchsorted")
def searchsorted(a: X, v: X | float, side: Side = "left") -> X:
    """Where in the sorted vector a the numbers v would go: an integer, and a constant to every derivative.

    Before the numbers of a that equal v, or behind them: `side` is "left" or "right".

    >>> import numpy as np
    >>> searchsorted(np.array([1.0, 2.0, 3.0]), 2.5).item()
    2
    """
    if len(shape(a)) != 1:
        raise ValueError(f"searchsorted needs a vector to search in, not the shape {shape(a)}")
    return cast("X", apply(_searchsorted, (a, v), (side, 0)))


@public(names="interp")
def interp(x: X | float, xp: X, fp: X, left: X | float | None = None, right: X | float | None = None) -> X:
    """The value at x of the broken line through the points (xp, fp), where xp ascends.

    Beyond its ends the line is constant: `left`, `right`, or the values at the ends. It has derivatives with respect to
    x, xp and fp; at a knot, that with respect to x is the slope of the piece to its right: 0 at the last.

    >>> import numpy as np
    >>> interp(1.5, np.array([0.0, 1.0, 2.0]), np.array([0.0, 10.0, 30.0])).item()
    20.0
    """
    if len(shape(xp)) != 1 or shape(xp) != shape(fp) or not shape(xp)[0]:
        raise ValueError(f"interp needs a place and a height of each knot, not the shapes {shape(xp)} and {shape(fp)}")
    last = shape(xp)[0] - 1
    place = searchsorted(xp, x, "right")
    before, behind = maximum(add(place, -1), 0), minimum(place, last)  # the same one beyond the ends
    outside = logical_or(less(x, getitem(xp, 0)), greater_equal(x, getitem(xp, last)))
    start, base = getitem(xp, before), getitem(fp, before)
    width = where(outside, 1.0, where(isnan(x), nan, subtract(getitem(xp, behind), start)))
    slope = divide(subtract(getitem(fp, behind), base), width)
    ans = add(base, multiply(where(outside, 0.0, subtract(cast("X", x), start)), slope))
    ans = ans if left is None else where(less(x, getitem(xp, 0)), cast("X", left), ans)
    return ans if right is None else where(greater(x, getitem(xp, last)), cast("X", right), ans)
