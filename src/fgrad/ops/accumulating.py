"""Functions that fold numbers along an axis, step by step, or put them in order: products, running sums, sort, diff.

Knows the order of numbers along an axis. Products are multiplied in pairs, never divided, so that their derivatives of
every order are right where there are zeros; nothing of matrices.
"""

from math import inf, nan
from typing import cast

from fgrad.arrays import namespace
from fgrad.node import Op, Value, X, apply, concrete, shape
from fgrad.ops.elementwise import add, divide, equal, isnan, logical_not, multiply, negative, subtract, where
from fgrad.ops.rearranging import along, flip
from fgrad.ops.reducing import Axis, argsort, max, reduction, sum
from fgrad.ops.rows import linear, public, stand_in
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import astype, broadcast_to, concat, dtype_of, move_axes, positive_axes, reshape


@reduction("prod", ufunc="multiply.reduce")
def prod(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """Multiply over the axes named, or over all; the product of nothing is 1.

    >>> import numpy as np
    >>> prod(np.array([2.0, 3.0, 4.0])).item()
    24.0
    """
    lengths = shape(x)
    axes = positive_axes(axis, len(lengths))
    if not axes:
        return x
    rest = tuple(n for i, n in enumerate(lengths) if i not in axes)
    last = move_axes(x, axes, tuple(range(len(rest), len(lengths))))
    size = 1
    for a in axes:
        size *= lengths[a]
    ans = _fold(reshape(last, (*rest, size)), len(rest))
    return reshape(ans, tuple(1 if i in axes else n for i, n in enumerate(lengths))) if keepdims else ans


def _fold(x: X, axis: int) -> X:
    """Multiply along the last axis: its first half with its second, until one is left."""
    if not shape(x)[axis]:
        return add(sum(x, axis), 1.0)
    while (n := shape(x)[axis]) > 1:
        half = n // 2
        pairs = multiply(along(x, axis, 0, half), along(x, axis, half, 2 * half))
        x = concat([pairs, along(x, axis, 2 * half)], axis) if n % 2 else pairs
    return getitem(x, (slice(None),) * axis + (0,))


def _batched(op: Op, args: list[Value], batched: list[bool], params: tuple[int], size: int) -> Value:
    return apply(op, tuple(args), (params[0] + 1,))


_cumulative_sum: Op = linear(
    "cumulative_sum",
    lambda x, axis: namespace(x).cumulative_sum(x, axis=axis),
    lambda g, x, axis: flip(apply(_cumulative_sum, (flip(g, axis),), (axis,)), axis),
    _batched,
)


def _one_axis(x: object, axis: int | None) -> int:
    """The axis meant, from the front; None says that there is just one."""
    if axis is None and len(shape(x)) != 1:
        raise ValueError(f"axis=None needs an array of one axis, not the shape {shape(x)}: name the axis")
    (a,) = positive_axes(axis, len(shape(x)))
    return a


@public(names="cumulative_sum")
def cumulative_sum(x: X, axis: int | None = None) -> X:
    """The sums of the first number, of the first two, and so on, along an axis.

    >>> import numpy as np
    >>> cumulative_sum(np.array([1.0, 2.0, 3.0]))
    array([1., 3., 6.])
    """
    return cast("X", apply(_cumulative_sum, (x,), (_one_axis(x, axis),)))


@public(names="cumulative_prod")
def cumulative_prod(x: X, axis: int | None = None) -> X:
    """The products of the first number, of the first two, and so on, along an axis.

    >>> import numpy as np
    >>> cumulative_prod(np.array([1.0, 2.0, 3.0]))
    array([1., 2., 6.])
    """
    a, done = _one_axis(x, axis), 1
    while done < shape(x)[a]:  # each place holds the product of the `done` numbers up to it
        x = concat([along(x, a, 0, done), multiply(along(x, a, done), along(x, a, 0, -done))], a)
        done *= 2
    return x


@public()
def sort(x: X, axis: int = -1, descending: bool = False) -> X:
    """The numbers in order along an axis, nan last; the gradient goes back to where each number stood.

    >>> import numpy as np
    >>> sort(np.array([2.0, 3.0, 1.0]))
    array([1., 2., 3.])
    """
    lengths = shape(x)
    (a,) = positive_axes(axis, len(lengths))
    xp = namespace(concrete(x))
    order = argsort(negative(x) if descending else x, a)
    mesh = [xp.reshape(xp.arange(n), (n, *[1] * (len(lengths) - i - 1))) for i, n in enumerate(lengths)]
    return getitem(x, (*mesh[:a], order, *mesh[a + 1 :]))


@public()
def diff(x: X, *, axis: int = -1, n: int = 1, prepend: X | float | None = None, append: X | float | None = None) -> X:
    """Each number less the one before it, along an axis; done n times, on x between `prepend` and `append`.

    >>> import numpy as np
    >>> diff(np.array([1.0, 4.0, 9.0]))
    array([3., 5.])
    """
    if n < 0:
        raise ValueError(f"diff cannot be done {n} times")
    (a,) = positive_axes(axis, len(shape(x)))
    if n and not (prepend is None and append is None):
        x = concat([*_end(prepend, x, a), x, *_end(append, x, a)], a)
    for _ in range(n):
        x = subtract(along(x, a, 1), along(x, a, 0, -1))
    return x


def _end(y: X | float | None, x: X, axis: int) -> list[X]:
    """What is joined to x along an axis: nothing, an array, or a number."""
    lengths = tuple(1 if i == axis else k for i, k in enumerate(shape(x)))
    return [] if y is None else [cast("X", y if shape(y) else broadcast_to(y, lengths))]


@reduction("nansum")
def nansum(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """Add up what is not nan, over the axes named or over all; the derivative for a nan is 0.

    >>> import numpy as np
    >>> nansum(np.array([1.0, np.nan, 3.0])).item()
    4.0
    """
    return sum(where(isnan(x), 0, x), axis, keepdims)


@reduction("nanmean")
def nanmean(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The arithmetic mean of what is not nan, over the axes named or over all; nan where all are.

    >>> import numpy as np
    >>> nanmean(np.array([1.0, np.nan, 3.0])).item()
    2.0
    """
    count = sum(logical_not(isnan(x)), axis, keepdims)
    dtype = dtype_of(x)
    return divide(nansum(x, axis, keepdims), count if dtype is None else astype(count, dtype))


@reduction("nanmax")
def nanmax(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The greatest number that is not nan, over the axes named or over all; nan where all are; ties share the gradient.

    >>> import numpy as np
    >>> nanmax(np.array([1.0, np.nan, 3.0])).item()
    3.0
    """
    count = sum(logical_not(isnan(x)), axis, keepdims=True)
    return max(where(equal(count, 0), nan, where(isnan(x), -inf, x)), axis, keepdims)


@reduction("nanmin")
def nanmin(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The least number that is not nan, over the axes named or over all; nan where all are; ties share the gradient.

    >>> import numpy as np
    >>> nanmin(np.array([1.0, np.nan, 3.0])).item()
    1.0
    """
    return negative(nanmax(negative(x), axis, keepdims))


@stand_in("cumsum")
def _cumsum(a: X, axis: int | None = None) -> X:
    return cumulative_sum(reshape(a, -1) if axis is None else a, axis)


@stand_in("cumprod")
def _cumprod(a: X, axis: int | None = None) -> X:
    return cumulative_prod(reshape(a, -1) if axis is None else a, axis)


@stand_in("add.accumulate")
def _add_accumulate(array: X, axis: int = 0) -> X:
    return cumulative_sum(array, axis)


@stand_in("multiply.accumulate")
def _multiply_accumulate(array: X, axis: int = 0) -> X:
    return cumulative_prod(array, axis)


@stand_in("sort")
def _numpy_sort(a: X, axis: int | None = -1) -> X:
    return sort(reshape(a, -1)) if axis is None else sort(a, axis)


@stand_in("diff")
def _numpy_diff(
    a: X, n: int = 1, axis: int = -1, prepend: X | float | None = None, append: X | float | None = None
) -> X:
    return diff(a, axis=axis, n=n, prepend=prepend, append=append)
