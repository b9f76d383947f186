"""Rows that rearrange numbers without changing them: reshape, broadcast, transpose, join.

Knows shapes and dtypes; nothing of arithmetic but that cotangents of what was broadcast are summed.
"""

from collections.abc import Hashable, Sequence
from math import prod
from operator import index
from typing import SupportsIndex, cast

from fgrad import errors
from fgrad.arrays import namespace
from fgrad.node import FUNCTIONS, Node, Op, Value, X, apply, concrete, shape, table
from fgrad.ops.results import Parts
from fgrad.ops.rows import linear, public, separate, stand_in

Shape = tuple[int, ...]


def dtype_of(x: object) -> object:
    """The dtype of an array or node; None for a Python number."""
    kind = type(x)
    if kind is float or kind is int or kind is bool:
        return None
    return dtype_of(x.value) if kind is Node else x.dtype  # type: ignore[attr-defined]  # a node, or any library's array


def integers(x: SupportsIndex | Sequence[SupportsIndex]) -> Shape:
    """One integer or several, of any library, as a tuple."""
    if isinstance(x, tuple | list):
        return tuple([index(i) for i in x])
    return (index(x),)  # type: ignore[arg-type]  # the rest are integers, or an error that says so


def positive_axes(axis: SupportsIndex | Sequence[SupportsIndex] | None, ndim: int) -> Shape:
    """The axes meant, counted from the front: all for None."""
    if axis is None:
        return tuple(range(ndim))
    axes = tuple([a + ndim if a < 0 else a for a in integers(axis)])
    for a in axes:
        if not 0 <= a < ndim:
            raise ValueError(f"axis {axis} is out of bounds for an array with {ndim} axes")
    if len(set(axes)) != len(axes):
        raise ValueError(f"an axis is named twice in {axis}")
    return axes


def aligned(args: Sequence[object], batched: Sequence[bool]) -> tuple[object, ...]:
    """Put axes of length 1 behind the batch axis, so that axes meet as they did in one example."""
    rank = max(len(shape(x)) - flag for x, flag in zip(args, batched, strict=True))

    def align(x: object) -> Value:
        batch, *rest = shape(x)
        return reshape(x, (batch, *[1] * (rank - len(rest)), *rest)) if len(rest) < rank else x  # type: ignore[return-value,type-var]  # a value

    return tuple([align(x) if flag else x for x, flag in zip(args, batched, strict=True)])


def sum_to(c: Value, x: object) -> Value:
    """Sum a cotangent over what was broadcast, to the shape of `x`, in its dtype."""
    if isinstance(c, Parts):
        return c  # each is of its result's shape already
    have, want = shape(c), shape(x)
    if have != want:
        extra = len(have) - len(want)
        axes = tuple([i for i, n in enumerate(have) if i < extra or (want[i - extra] == 1 and n != 1)])
        c = apply(table["sum"], (c,), (axes, False))
        if len(axes) != extra:
            c = apply(_reshape, (c,), (want,))
    dtype = dtype_of(x)
    if dtype_of(c) == dtype:
        return c
    if isinstance(c, Node):
        if dtype is None:  # rounded as eagerly it is: float64 is no other than Python's
            return c if "float64" in str(dtype_of(c)) else apply(_number, (c,))
        return apply(_astype, (c,), (dtype,))
    if "complex" in str(dtype_of(c)):
        raise errors.ConversionError("complex numbers are not differentiated: keep real and imaginary parts apart")
    return float(c) if dtype is None else _astype.impl(c, dtype)


def broadcast_like(t: Value, ans: object) -> Value:
    """Repeat a tangent to the shape of the result, in its dtype."""
    if isinstance(t, Parts):
        return t
    return sum_to(t if shape(t) == shape(ans) else apply(_broadcast_to, (t,), (shape(ans),)), ans)


def _broadcast_impl(x: object, shape: Shape) -> Value:
    xp = namespace(x)
    out = xp.empty(shape, dtype=xp.asarray(x).dtype)  # several times sooner than a view by broadcast_to
    out[...] = x
    return cast("Value", out)


def _astype_impl(x: object, dtype: object) -> Value:
    xp = namespace(x)
    return cast("Value", xp.astype(xp.asarray(x), dtype)[()])


def _cast(i: int, g: Value, ans: Value, args: Sequence[Value], params: tuple[object]) -> Value | None:
    """The walks cast to the dtype of the primal; a cast to integers or booleans is a step: nothing flows through."""
    return g if namespace(concrete(ans)).isdtype(dtype_of(ans), "real floating") else None


_astype: Op = separate("astype", _astype_impl, vjp=_cast, jvp=_cast)
table["astype"] = _astype


def _batched_reshape(op: Op, args: list[Value], batched: list[bool], params: tuple[Shape], size: int) -> Value:
    return apply(op, tuple(args), ((size, *params[0]),))


def _batched_broadcast(op: Op, args: list[Value], batched: list[bool], params: tuple[Shape], size: int) -> Value:
    (x,), (lengths,) = args, params
    behind = (1,) * (len(lengths) + 1 - len(shape(x)))
    return apply(op, (apply(_reshape, (x,), ((size, *behind, *shape(x)[1:]),)),), ((size, *lengths),))


def _batched_permutation(op: Op, args: list[Value], batched: list[bool], params: tuple[Shape], size: int) -> Value:
    return apply(op, tuple(args), ((0, *[a + 1 for a in params[0]]),))


_reshape: Op = linear(
    "reshape",
    lambda x, shape: namespace(x).reshape(x, shape),
    lambda g, x, _: apply(_reshape, (g,), (shape(x),)),
    _batched_reshape,
)
_broadcast_to: Op = linear("broadcast_to", _broadcast_impl, lambda g, x, _: sum_to(g, x), _batched_broadcast)
_permute_dims: Op = linear(
    "permute_dims",
    lambda x, axes: namespace(x).permute_dims(x, axes),
    lambda g, x, axes: apply(_permute_dims, (g,), (tuple(sorted(range(len(axes)), key=axes.__getitem__)),)),
    _batched_permutation,
)
_number: Op = linear("number", float, lambda g, x: g, lambda op, args, batched, params, size: args[0])
_matrix_transpose: Op = linear("matrix_transpose", lambda x: x.mT, lambda g, x: apply(_matrix_transpose, (g,)))


def number(x: Value) -> Value:
    """A number of an array library's as Python's float; of a batch each stays what it is."""
    return x if dtype_of(x) is None else apply(_number, (x,))


_named: Op = linear(
    "named",
    lambda x, label: x,
    lambda g, x, label: g,
    lambda op, args, batched, params, size: apply(op, tuple(args), params),
)


@public()
def named(x: X, label: str) -> X:
    """The same value, with a label for drawings, explanations and compiled programs.

    >>> from fgrad import jit
    >>> def more(x: float) -> float:
    ...     return named(x * x, "area") + 1.0
    >>> print(jit(more).source(2.0))
    # from more, ...
    def more(x):
        area = x * x
        return (area + 1.0,)
    <BLANKLINE>
    """
    if not isinstance(label, str) or not label.strip():
        raise errors.ArgumentError(f"a label is a text with a word in it, not {label!r}: write named(x, 'hidden')")
    return cast("X", apply(_named, (x,), (label,))) if isinstance(x, Node) else x


@public(names="astype")
def astype(x: X, dtype: Hashable) -> X:
    """The same numbers in another dtype; the gradient comes back in the first.

    >>> import numpy as np
    >>> astype(np.ones(2), np.float32).dtype
    dtype('float32')
    """
    xp = namespace(concrete(x))
    return cast("X", apply(_astype, (x,), (xp.dtype(dtype) if xp.__name__ == "numpy" else dtype,)))


@public(names="reshape")
def reshape(x: X, shape: int | Shape) -> X:
    """The same numbers, in row-major order, in another shape; one length may be -1.

    >>> import numpy as np
    >>> reshape(np.arange(4.0), (2, -1))
    array([[0., 1.],
           [2., 3.]])
    """
    return cast("X", apply(_reshape, (x,), (_known(x, shape),)))


def _known(x: object, lengths: SupportsIndex | Sequence[SupportsIndex]) -> Shape:
    """Replace a -1 by what is left."""
    wanted = integers(lengths)
    if wanted.count(-1) != 1:
        return wanted
    rest = prod(n for n in wanted if n != -1)
    return tuple(prod(shape(x)) // rest if n == -1 and rest else n for n in wanted)


@public(names="broadcast_to")
def broadcast_to(x: X, shape: Shape) -> X:
    """Repeat x along new axes and along axes of length 1.

    >>> import numpy as np
    >>> broadcast_to(np.array([1.0, 2.0]), (2, 2))
    array([[1., 2.],
           [1., 2.]])
    """
    return cast("X", apply(_broadcast_to, (x,), (integers(shape),)))


@public()
def permute_dims(x: X, axes: Sequence[int]) -> X:
    """Reorder the axes.

    >>> import numpy as np
    >>> permute_dims(np.ones((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return cast("X", apply(_permute_dims, (x,), (positive_axes(axes, len(shape(x))),)))


@public(names="matrix_transpose")
def matrix_transpose(x: X) -> X:
    """Swap the last two axes.

    >>> import numpy as np
    >>> matrix_transpose(np.ones((5, 2, 3))).shape
    (5, 3, 2)
    """
    if len(shape(x)) < 2:
        raise ValueError(f"matrix_transpose needs at least two axes, not the shape {shape(x)}")
    return cast("X", apply(_matrix_transpose, (x,)))


@public(names="squeeze")
def squeeze(x: X, axis: int | Sequence[int] | None = None) -> X:
    """Drop axes of length 1: those named, or all.

    >>> import numpy as np
    >>> squeeze(np.ones((1, 3, 1)), 0).shape
    (3, 1)
    """
    lengths = shape(x)
    drop = [i for i, n in enumerate(lengths) if n == 1] if axis is None else positive_axes(axis, len(lengths))
    if any(lengths[i] != 1 for i in drop):
        raise ValueError(f"cannot squeeze axis {axis} of the shape {lengths}: its length is not 1")
    return reshape(x, tuple(n for i, n in enumerate(lengths) if i not in drop))


@public(names="expand_dims")
def expand_dims(x: X, axis: int | Sequence[int] = 0) -> X:
    """Put in an axis of length 1 at each of the places named.

    >>> import numpy as np
    >>> expand_dims(np.ones(3), 1).shape
    (3, 1)
    """
    n = len(shape(x)) + len(integers(axis))
    new, rest = positive_axes(axis, n), iter(shape(x))
    return reshape(x, tuple(1 if i in new else next(rest) for i in range(n)))


def _part(i: int, g: Value, ans: Value, args: Sequence[Value], params: tuple[int]) -> Value:
    """Cut out of the cotangent of a concatenation what belongs to argument i."""
    (axis,) = params
    start = sum(shape(x)[axis] for x in args[:i])
    cut = (slice(None),) * axis + (slice(start, start + shape(args[i])[axis]),)
    return FUNCTIONS["getitem"](g, cut)  # type: ignore[return-value]  # a value


def _padded(i: int, t: Value, ans: Value, args: Sequence[Value], params: tuple[int]) -> Value:
    """Put the tangent of argument i in its place, among zeros."""
    return apply(_concat, tuple([t if j == i else zeros_like(x) for j, x in enumerate(args)]), params)


def _batched_concat(op: Op, args: list[Value], batched: list[bool], params: tuple[int], size: int) -> Value:
    parts = [x if flag else broadcast_to(x, (size, *shape(x))) for x, flag in zip(args, batched, strict=True)]
    return apply(op, tuple(parts), (params[0] + 1,))


_concat: Op = separate(
    "concat",
    lambda *args: namespace(*args[:-1]).concat(args[:-1], axis=args[-1]),
    vjp=_part,
    jvp=_padded,
    batch=_batched_concat,
)
table["concat"] = _concat


@public(names="concatenate concat")
def concat(arrays: Sequence[X], axis: int | None = 0) -> X:
    """Join arrays along an axis that they have; axis=None joins them flattened.

    >>> import numpy as np
    >>> concat([np.zeros(1), np.ones(2)])
    array([0., 1., 1.])
    """
    if axis is not None and shape(axis):
        raise TypeError("concat takes one sequence of arrays: write concat([x, y])")
    parts = tuple(reshape(x, -1) for x in arrays) if axis is None else tuple(arrays)
    if not parts:
        raise ValueError("concat needs at least one array")
    return cast("X", apply(_concat, parts, positive_axes(axis or 0, len(shape(parts[0])))))


@public(names="stack")
def stack(arrays: Sequence[X], axis: int = 0) -> X:
    """Join arrays, or numbers, of one shape along a new axis.

    >>> stack([1.0, 2.0])
    array([1., 2.])
    """
    return concat([expand_dims(x, axis) for x in arrays], axis)


@stand_in("transpose")
def _transpose(a: X, axes: Sequence[int] | None = None) -> X:
    return permute_dims(a, tuple(reversed(range(len(shape(a))))) if axes is None else axes)


@stand_in("swapaxes")
def _swapaxes(a: X, axis1: int, axis2: int) -> X:
    order = list(range(len(shape(a))))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return permute_dims(a, order)


@stand_in("moveaxis")
def move_axes(a: X, source: int | Sequence[int], destination: int | Sequence[int]) -> X:
    """Put the axes named at other places; the rest stay in order."""
    n = len(shape(a))
    sources, places = positive_axes(source, n), positive_axes(destination, n)
    rest = iter([i for i in range(n) if i not in sources])
    return permute_dims(a, [sources[places.index(i)] if i in places else next(rest) for i in range(n)])


@stand_in("ravel")
def _ravel(a: X) -> X:
    return reshape(a, -1)


@stand_in("vstack")
def _vstack(tup: Sequence[X]) -> X:
    return concat([reshape(x, (1, -1)) if len(shape(x)) < 2 else x for x in tup], 0)


@stand_in("hstack")
def _hstack(tup: Sequence[X]) -> X:
    arrays = [reshape(x, -1) if not shape(x) else x for x in tup]
    return concat(arrays, 0 if len(shape(arrays[0])) == 1 else 1)


@stand_in("copy")
def _copy(a: X) -> X:
    return a


@stand_in("shape")
def _shape(a: object) -> Shape:
    return shape(a)


@stand_in("ndim")
def _ndim(a: object) -> int:
    return len(shape(a))


@stand_in("size")
def _size(a: object) -> int:
    return prod(shape(a))


@stand_in("zeros_like")
def zeros_like(a: object) -> Value:
    """Zeros of a value's shape and dtype: a constant."""
    value = concrete(a)
    return 0.0 if type(value) is float else cast("Value", namespace(value).zeros_like(value)[()])


@stand_in("ones_like")
def _ones_like(a: object) -> object:
    return namespace(concrete(a)).ones_like(concrete(a))
