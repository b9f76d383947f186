"""Products of arrays beside the matrix product: over any axes, of all pairs, and of vectors in space.

Knows which axes meet; nothing of derivatives: all are made of matrix products, reshapes and multiplication.
"""

from collections.abc import Sequence
from math import prod

from fgrad.node import X, shape
from fgrad.ops.elementwise import multiply, subtract
from fgrad.ops.linalg import matmul
from fgrad.ops.rearranging import roll
from fgrad.ops.rows import public, stand_in
from fgrad.ops.shaping import integers, move_axes, permute_dims, positive_axes, reshape

Axes = int | Sequence[int | Sequence[int]]


def _pairs(axes: Axes, left: int, right: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of each operand that are summed, from the front; an integer n: the last n, and the first n."""
    if isinstance(axes, Sequence):
        first, second = axes
        return positive_axes(first, left), positive_axes(second, right)
    (n,) = integers(axes)
    if not 0 <= n <= min(left, right):
        raise ValueError(f"tensordot cannot sum over {n} axes of arrays that have {left} and {right}")
    return tuple(range(left - n, left)), tuple(range(n))


@public(names="tensordot")
def tensordot(x: X, y: X, axes: Axes = 2) -> X:
    """The sum of products over the axes named: the last n of x with the first n of y, or (those of x, those of y).

    >>> import numpy as np
    >>> tensordot(np.ones((2, 3)), np.ones((3, 4)), 1).shape
    (2, 4)
    """
    left, right = shape(x), shape(y)
    xs, ys = _pairs(axes, len(left), len(right))
    summed = tuple(left[a] for a in xs)
    if summed != tuple(right[a] for a in ys):
        raise ValueError(
            f"tensordot cannot sum over axes {axes} of the shapes {left} and {right}: their lengths differ"
        )
    rows = [a for a in range(len(left)) if a not in xs]
    columns = [a for a in range(len(right)) if a not in ys]
    outside = (*[left[a] for a in rows], *[right[a] for a in columns])
    n, k, m = prod(left[a] for a in rows), prod(summed), prod(right[a] for a in columns)
    matrix = reshape(permute_dims(x, (*rows, *xs)), (n, k))
    return reshape(matmul(matrix, reshape(permute_dims(y, (*ys, *columns)), (k, m))), outside)


@public(names="kron")
def kron(x: X, y: X) -> X:
    """The Kronecker product: y as a block, multiplied by each number of x.

    >>> import numpy as np
    >>> kron(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([1., 1., 2., 2.])
    """
    n = max(len(shape(x)), len(shape(y)))
    blocks, places = ((1,) * (n - len(s)) + s for s in (shape(x), shape(y)))
    left = reshape(x, tuple(k for b in blocks for k in (b, 1)))
    right = reshape(y, tuple(k for p in places for k in (1, p)))
    return reshape(multiply(left, right), tuple(b * p for b, p in zip(blocks, places, strict=True)))


@public(names="linalg.cross")
def cross(x: X, y: X, axis: int = -1) -> X:
    """The cross product of vectors of three numbers along an axis, broadcast over the others.

    >>> import numpy as np
    >>> cross(np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    array([0., 0., 1.])
    """
    return _cross(x, y, axis, axis, axis)


@stand_in("cross")
def _cross(a: X, b: X, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> X:
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = move_axes(a, axisa, -1), move_axes(b, axisb, -1)
    if shape(x)[-1] != 3 or shape(y)[-1] != 3:
        raise ValueError(f"cross needs vectors of three numbers, not axes of length {shape(x)[-1]} and {shape(y)[-1]}")
    one, two = multiply(roll(x, -1, -1), roll(y, -2, -1)), multiply(roll(x, -2, -1), roll(y, -1, -1))
    return move_axes(subtract(one, two), -1, axisc)
