"""Rows of linear algebra: products of vectors and matrices, and norms.

Knows which axes are summed; nothing of indexing.
"""

from typing import cast

from fgrad.arrays import namespace
from fgrad.errors import MissingRowError, StructureError
from fgrad.node import Op, X, apply, shape
from fgrad.ops.elementwise import abs, multiply, pow, sqrt, square
from fgrad.ops.reducing import Axis, max, min, sum
from fgrad.ops.rows import primitive, public, stand_in
from fgrad.ops.shaping import expand_dims, matrix_transpose, move_axes, reshape, squeeze

# The walk sums each cotangent over the batch axes that its operand was broadcast along.
_matmul: Op = primitive(
    "matmul",
    lambda x, y: namespace(x, y).matmul(x, y),
    vjps=(lambda g, ans, x, y: g @ matrix_transpose(y), lambda g, ans, x, y: matrix_transpose(x) @ g),
    jvps=(lambda t, ans, x, y: t @ y, lambda t, ans, x, y: x @ t),
)
_vecdot: Op = primitive(
    "vecdot",
    lambda x, y: namespace(x, y).vecdot(x, y),
    vjps=(lambda g, ans, x, y: expand_dims(g, -1) * y, lambda g, ans, x, y: expand_dims(g, -1) * x),
    jvps=(lambda t, ans, x, y: apply(_vecdot, (t, y)), lambda t, ans, x, y: apply(_vecdot, (x, t))),
)


@public(names="matmul")
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
    return cast("X", apply(_matmul, (x, y)))


@public(names="vecdot")
def vecdot(x: X, y: X, axis: int = -1) -> X:
    """The dot product of vectors along an axis, broadcast over the others.

    >>> import numpy as np
    >>> vecdot(np.array([1.0, 2.0]), np.array([3.0, 4.0])).item()
    11.0
    """
    if axis != -1:
        x, y = move_axes(x, axis, -1), move_axes(y, axis, -1)
    return cast("X", apply(_vecdot, (x, y)))


@public(names="outer")
def outer(x: X, y: X) -> X:
    """Every product of a number of x and one of y, both flattened.

    >>> import numpy as np
    >>> outer(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([[3., 4.],
           [6., 8.]])
    """
    return multiply(reshape(x, (-1, 1)), reshape(y, (1, -1)))


@public()
def norm(x: X, axis: Axis = None, ord: float = 2, keepdims: bool = False) -> X:
    """The vector norm of order `ord`: 1, 2, inf, -inf or any other p; its derivative at 0 is 0.

    >>> import numpy as np
    >>> norm(np.array([3.0, 4.0])).item()
    5.0
    """
    if ord == 2:
        return sqrt(sum(square(x), axis, keepdims))
    if ord == 1:
        return sum(abs(x), axis, keepdims)
    if ord == float("inf"):
        return max(abs(x), axis, keepdims)
    if ord == -float("inf"):
        return min(abs(x), axis, keepdims)
    if ord == 0:
        raise ValueError("norm has no order 0: to count what is not 0, write fgrad.sum(fgrad.not_equal(x, 0))")
    return pow(sum(pow(abs(x), ord), axis, keepdims), 1 / ord)


@stand_in("linalg.norm")
def _numpy_norm(x: X, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False) -> X:
    matrix = ord is not None and (len(shape(x)) if axis is None else 1 if isinstance(axis, int) else len(axis)) > 1
    if isinstance(ord, str) and ord != "fro":
        raise MissingRowError(
            f"np.linalg.norm with ord={ord!r} has no derivative in fgrad: fgrad.norm has orders of vectors"
        )
    if matrix and ord != "fro":
        raise MissingRowError(
            "np.linalg.norm with a matrix norm has no derivative in fgrad: use ord='fro', or fgrad.norm"
        )
    return norm(x, axis, 2 if ord is None or isinstance(ord, str) else ord, keepdims)


@stand_in("dot")
def _dot(a: X, b: X) -> X:
    if not shape(a) or not shape(b):
        return multiply(a, b)
    if len(shape(b)) > 2:
        raise MissingRowError("np.dot with more than two axes has no derivative in fgrad: write fgrad.matmul")
    return matmul(a, b)


@stand_in("linalg.vector_norm")
def _vector_norm(x: X, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> X:
    return norm(x, axis, ord, keepdims)
