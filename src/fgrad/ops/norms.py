"""Norms: of vectors along any axes, and of matrices.

Knows which numbers a norm is made of: sums, extremes, singular values; nothing of how those are found.
"""

from math import inf
from typing import cast

from fgrad.node import X, shape
from fgrad.ops.decompositions import svdvals
from fgrad.ops.elementwise import abs, not_equal, pow, sqrt, square, where
from fgrad.ops.matrices import sides
from fgrad.ops.reducing import Axis, max, min, sum
from fgrad.ops.rows import public, stand_in
from fgrad.ops.shaping import expand_dims, move_axes, positive_axes, zeros_like


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
    if ord == inf:
        return max(abs(x), axis, keepdims)
    if ord == -inf:
        return min(abs(x), axis, keepdims)
    if ord == 0:
        raise ValueError("norm has no order 0: to count what is not 0, write fgrad.vector_norm(x, ord=0)")
    return pow(sum(pow(abs(x), ord), axis, keepdims), 1 / ord)


@public(names="linalg.vector_norm")
def vector_norm(x: X, *, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> X:
    """`norm` as the Array API names it; with ord=0 the count of what is not 0, whose derivative is 0.

    >>> import numpy as np
    >>> vector_norm(np.array([3.0, 0.0, 4.0]), ord=0).item()
    2.0
    """
    if ord == 0:
        zeros = zeros_like(x)
        return sum(cast("X", where(not_equal(x, 0.0), zeros + 1, zeros)), axis, keepdims)
    return norm(x, axis, ord, keepdims)


@public(names="linalg.matrix_norm")
def matrix_norm(x: X, *, keepdims: bool = False, ord: float | str = "fro") -> X:
    """A norm of matrices in the last two axes.

    "fro" is the root of the sum of squares, "nuc" the sum of singular values, 2 and -2 the greatest and the least of
    them; 1 and -1 are the greatest and the least sum of |x| down a column, inf and -inf those along a row. Where the
    norm has a kink its derivative is a subgradient: 0 at the matrix 0, and shared equally where extremes tie.

    >>> import numpy as np
    >>> matrix_norm(np.array([[3.0, 0.0], [0.0, -4.0]]), ord="nuc").item()
    7.0
    """
    sides(x, "matrix_norm")
    if ord == "fro":
        return norm(x, (-2, -1), 2, keepdims)
    if ord not in ("nuc", 1, -1, 2, -2, inf, -inf):
        raise ValueError(f"matrix_norm has no order {ord!r}: it has 'fro', 'nuc', 1, -1, 2, -2, inf and -inf")
    ans = _of_sizes(x, ord)
    return expand_dims(ans, (-2, -1)) if keepdims else ans


def _of_sizes(x: X, ord: float | str) -> X:
    """The sum or an extreme of singular values, or of sums; an empty matrix has the greatest 0."""
    sizes = abs(svdvals(x)) if ord in ("nuc", 2, -2) else sum(abs(x), -2 if ord in (1, -1) else -1)
    if ord == "nuc" or not (shape(sizes)[-1] or str(ord).startswith("-")):
        return sum(sizes, -1)
    return min(sizes, -1) if str(ord).startswith("-") else max(sizes, -1)


# --- NumPy's arguments -----------------------------------------------------------------------------------------------
@stand_in("linalg.norm")
def _numpy_norm(x: X, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False) -> X:
    if ord is None:
        return norm(x, axis, 2, keepdims)
    axes = positive_axes(axis, len(shape(x)))
    if len(axes) == 1 and not isinstance(ord, str):
        return vector_norm(x, axis=axes, keepdims=keepdims, ord=ord)
    if len(axes) != 2:
        raise ValueError(f"np.linalg.norm with ord={ord!r} is of vectors or matrices: say with axis= which of the axes")
    ans = matrix_norm(move_axes(x, axes, (-2, -1)), ord=ord)
    return expand_dims(ans, axes) if keepdims else ans
