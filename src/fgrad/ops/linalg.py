"""Rows of linear algebra: products of vectors and matrices.

Knows which axes are summed; nothing of indexing.
"""

from math import prod
from typing import cast

from fgrad.arrays import namespace
from fgrad.errors import MissingRowError, StructureError
from fgrad.node import Op, Value, X, apply, shape
from fgrad.ops.elementwise import multiply
from fgrad.ops.rows import primitive, public, stand_in
from fgrad.ops.shaping import aligned, expand_dims, matrix_transpose, move_axes, reshape, squeeze


def _batched_matmul(op: Op, args: list[Value], batched: list[bool], params: tuple[()], size: int) -> Value:
    """A product with one matrix for all examples is one product of matrices."""
    if batched == [True, False] and len(shape(args[1])) == 2:
        return matmul(*args)
    return apply(op, aligned(args, batched), params)


# The walk sums each cotangent over the batch axes that its operand was broadcast along.
_matmul: Op = primitive(
    "matmul",
    lambda x, y: namespace(x, y).matmul(x, y),
    vjps=(lambda g, ans, x, y: g @ matrix_transpose(y), lambda g, ans, x, y: matrix_transpose(x) @ g),
    jvps=(lambda t, ans, x, y: t @ y, lambda t, ans, x, y: x @ t),
    batch=_batched_matmul,
)
_vecdot: Op = primitive(
    "vecdot",
    lambda x, y: namespace(x, y).vecdot(x, y),
    vjps=(lambda g, ans, x, y: expand_dims(g, -1) * y, lambda g, ans, x, y: expand_dims(g, -1) * x),
    jvps=(lambda t, ans, x, y: apply(_vecdot, (t, y)), lambda t, ans, x, y: apply(_vecdot, (x, t))),
)


@public(names="matmul linalg.matmul")
def matmul(x: X, y: X) -> X:
    """The matrix product over the last two axes, broadcast over the others; vectors stand for a row, or a column.

    >>> import numpy as np
    >>> matmul(np.eye(2), np.array([1.0, 2.0]))
    array([1., 2.])
    """
    left, right = len(shape(x)), len(shape(y))
    if not left or not right:
        raise StructureError("matmul needs vectors or matrices: write x * y for a number")
    if left == 1 and right == 1:
        return vecdot(x, y)
    if left == 1:
        return squeeze(matmul(expand_dims(x, 0), y), -2)
    if right == 1:
        return squeeze(matmul(x, expand_dims(y, 1)), -1)
    if left > 2 and right == 2:  # one product of matrices, several times sooner than one for each of them
        rows = apply(_matmul, (reshape(x, (prod(shape(x)[:-1]), shape(x)[-1])), y))
        return cast("X", reshape(rows, (*shape(x)[:-1], shape(y)[-1])))
    return cast("X", apply(_matmul, (x, y)))


@public(names="vecdot linalg.vecdot")
def vecdot(x: X, y: X, axis: int = -1) -> X:
    """The dot product of vectors along an axis, broadcast over the others.

    >>> import numpy as np
    >>> vecdot(np.array([1.0, 2.0]), np.array([3.0, 4.0])).item()
    11.0
    """
    if axis != -1:
        x, y = move_axes(x, axis, -1), move_axes(y, axis, -1)
    return cast("X", apply(_vecdot, (x, y)))


@public(names="outer linalg.outer")
def outer(x: X, y: X) -> X:
    """Every product of a number of x and one of y, both flattened.

    >>> import numpy as np
    >>> outer(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([[3., 4.],
           [6., 8.]])
    """
    return multiply(reshape(x, (-1, 1)), reshape(y, (1, -1)))


@stand_in("dot")
def _dot(a: X, b: X) -> X:
    if not shape(a) or not shape(b):
        return multiply(a, b)
    if len(shape(b)) > 2:
        raise MissingRowError("np.dot with more than two axes has no derivative in fgrad: write fgrad.matmul")
    return matmul(a, b)


stand_in("linalg.matrix_transpose")(matrix_transpose)
