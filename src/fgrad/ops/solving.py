"""Rows of square matrices that act: their inverse, the solution of their equations, powers and the exponential.

Knows what matrices do to vectors; nothing of volumes, and of how matrices are factored. Source of the formulas, where
none is named: Giles, Collected matrix derivative results for forward and reverse mode (2008), section 2.
"""

import importlib
from functools import reduce
from operator import index
from types import ModuleType
from typing import cast

from fgrad.errors import StructureError, missing_extra
from fgrad.node import Op, Value, X, apply, shape
from fgrad.ops.linalg import matmul
from fgrad.ops.matrices import Matrix, eye, lapack, side, widened
from fgrad.ops.rows import primitive, public
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import broadcast_to, concat, expand_dims, matrix_transpose, squeeze, zeros_like


def product(*matrices: Matrix) -> Matrix:
    """The matrix product of several."""
    return reduce(matmul, matrices)


# --- inverse and solution --------------------------------------------------------------------------------------------
_inv: Op = primitive(
    "inv",
    lapack("inv", "fgrad.pinv(x) for the pseudo-inverse"),
    vjps=(lambda g, ans, x: -product(matrix_transpose(ans), g, matrix_transpose(ans)),),
    jvps=(lambda t, ans, x: -product(ans, t, ans),),
)
# The walk sums each cotangent over the batch axes that its operand was broadcast along.
_solve: Op = primitive(
    "solve",
    lapack("solve", "fgrad.pinv(x) @ y for the solution of least squares"),
    vjps=(
        lambda g, ans, x, y: -matmul(_solved(matrix_transpose(x), g), matrix_transpose(ans)),
        lambda g, ans, x, y: _solved(matrix_transpose(x), g),
    ),
    jvps=(lambda t, ans, x, y: -_solved(x, matmul(t, ans)), lambda t, ans, x, y: _solved(x, t)),
)


def _solved(x: Matrix, y: Matrix) -> Matrix:
    return apply(_solve, (x, y))


@public(names="linalg.inv")
def inv(x: X) -> X:
    """The inverse of square matrices in the last two axes; a singular one raises, as in NumPy.

    >>> import numpy as np
    >>> inv(np.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    side(x, "inv", "fgrad.pinv(x) for the pseudo-inverse")
    return cast("X", apply(_inv, (x,)))


@public(names="linalg.solve")
def solve(x: X, y: X) -> X:
    """The z with x @ z = y, for square matrices x; y is one vector, or matrices of columns, which broadcast against x.

    A singular x raises, as in NumPy.

    >>> import numpy as np
    >>> solve(np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([1.0, 1.0]))
    array([0.5 , 0.25])
    """
    n = side(x, "solve", "fgrad.pinv(x) @ y for the solution of least squares")
    if len(shape(y)) == 1:
        return squeeze(solve(x, expand_dims(y, 1)), -1)
    if not shape(y) or shape(y)[-2] != n:
        raise StructureError(
            f"solve needs as many rows in y as in x, but the shapes are {shape(x)} and {shape(y)}: for a stack of "
            "vectors write solve(x, fgrad.expand_dims(y, -1))"
        )
    return cast("X", _solved(cast("Value", x), cast("Value", y)))


@public(names="linalg.matrix_power")
def matrix_power(x: X, n: int) -> X:
    """Square matrices in the last two axes multiplied n times; with n < 0 their inverses; with n = 0 the identity.

    >>> import numpy as np
    >>> matrix_power(np.array([[1.0, 1.0], [0.0, 1.0]]), 5)
    array([[1., 5.],
           [0., 1.]])
    """
    rows, n = side(x, "matrix_power", "x**n for the power of each number"), index(n)
    if n == 0:
        return cast("X", broadcast_to(eye(rows, x), shape(x)))
    if n < 0:
        return matrix_power(inv(x), -n)
    half = matrix_power(x, n // 2) if n > 1 else x
    return half if n == 1 else matmul(half, half) if n % 2 == 0 else matmul(matmul(half, half), x)


# --- exponential: Mathias, A chain rule for matrix functions (1996), theorem 2.1 -------------------------------------
def _expm_impl(xp: ModuleType, x: Matrix) -> object:
    try:
        scipy = importlib.import_module("scipy.linalg")
    except ImportError:
        raise missing_extra("scipy", "scipy", "fgrad's expm") from None
    return scipy.expm(x)


def _expm_along(x: Matrix, t: Matrix) -> Matrix:
    """The derivative along t: a block of the exponential of [[x, t], [0, x]]."""
    n = shape(x)[-1]
    last = len(shape(t)) - 1
    whole = concat([concat([x, t], last), concat([zeros_like(x), x], last)], last - 1)
    return getitem(apply(_expm, (whole,)), (..., slice(0, n), slice(n, None)))


_expm: Op = primitive(
    "expm",
    widened(_expm_impl),
    vjps=(lambda g, ans, x: _expm_along(matrix_transpose(x), g),),
    jvps=(lambda t, ans, x: _expm_along(x, t),),
)


@public()
def expm(x: X) -> X:
    """The exponential of square matrices in the last two axes: 1 + x + x @ x / 2 + … It needs SciPy.

    >>> import numpy as np
    >>> expm(np.array([[0.0, 1.0], [0.0, 0.0]]))
    array([[1., 1.],
           [0., 1.]])
    """
    side(x, "expm", "fgrad.exp(x) for the exponential of each number")
    return cast("X", apply(_expm, (x,)))
