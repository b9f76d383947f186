"""Rows that take matrices apart: eigenvalues and eigenvectors, singular values and vectors, the pseudo-inverse.

Knows how bases turn as the matrix does; nothing of triangular factors. Where two eigenvalues or singular values are
equal, to rounding, their vectors are not determined and have no derivative: it is nan, where it is not multiplied by 0.
"""

from math import nan
from typing import Generic, NamedTuple, cast

from fgrad.node import Op, Value, X, apply, shape
from fgrad.ops.elementwise import abs, scale, where
from fgrad.ops.linalg import matmul
from fgrad.ops.matrices import (
    Matrix,
    eye,
    lapack,
    on_diagonal,
    only_values,
    rounding,
    side,
    sides,
    skew,
    symmetric,
    widened,
)
from fgrad.ops.rearranging import diagonal
from fgrad.ops.reducing import sum
from fgrad.ops.results import Parts, item
from fgrad.ops.rows import primitive, public, stand_in
from fgrad.ops.shaping import expand_dims, matrix_transpose
from fgrad.ops.solving import product


class EighResult(NamedTuple, Generic[X]):
    """What `eigh` gives: the eigenvalues ascend; the eigenvectors are columns."""

    eigenvalues: X
    eigenvectors: X


class SVDResult(NamedTuple, Generic[X]):
    """What `svd` gives: U * S @ Vh is the matrix; the singular values S descend."""

    U: X
    S: X
    Vh: X


def _reciprocal(x: Matrix, values: Matrix) -> Matrix:
    """1 / x, and nan where x is 0 to the rounding of eigenvalues or singular values."""
    tiny = abs(x) <= expand_dims(8 * rounding(values) * sum(abs(values), -1, True), -1)
    return where(tiny, nan, 1 / where(tiny, 1.0, x))


def _of_pairs(x: Matrix, values: Matrix) -> Matrix:
    """1 / x for each pair of values, and 0 on the diagonal, where nothing turns."""
    return where(eye(shape(x)[-1], values) == 1, 0.0, _reciprocal(x, values))


def _gaps(values: Matrix) -> Matrix:
    """1 / (value j - value i) at row i, column j."""
    return _of_pairs(expand_dims(values, -2) - expand_dims(values, -1), values)


# --- eigenvalues: Giles, Collected matrix derivative results (2008), section 3.1 -------------------------------------
def _pull_eigh(g: Parts, ans: Value, x: Matrix) -> Matrix:
    values, vectors, gvalues, gvectors = item(ans, 0), item(ans, 1), g.get(0), g.get(1)
    inner = 0.0 if gvalues is None else on_diagonal(gvalues)
    if gvectors is not None:
        inner = inner + scale(_gaps(values), skew(matmul(matrix_transpose(vectors), gvectors)))
    return symmetric(product(vectors, inner, matrix_transpose(vectors)))


def _push_eigh(t: Value, ans: Value, x: Matrix) -> Value:
    values, vectors = item(ans, 0), item(ans, 1)
    p = product(matrix_transpose(vectors), symmetric(t), vectors)
    return cast("Value", Parts({0: diagonal(p), 1: matmul(vectors, scale(_gaps(values), p))}))


_eigh: Op = primitive("eigh", lapack("eigh"), vjps=(_pull_eigh,), jvps=(_push_eigh,))


@public()
def eigh(x: X) -> EighResult[X]:
    """The eigenvalues, ascending, and eigenvectors, as columns, of symmetric matrices in the last two axes.

    Only the lower triangle of x is read, as NumPy does; the derivative is that with respect to a symmetric matrix, as
    if (x + xᵀ) / 2 were factored: a symmetric gradient. At equal eigenvalues any basis of their space is one of
    eigenvectors, which have no derivative there, as the eigenvalues have no second one: it is nan.

    >>> import numpy as np
    >>> eigh(np.array([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    array([1., 2.])
    """
    side(x, "eigh", "fgrad.svd(x, full_matrices=False)")
    both = apply(_eigh, (x,))
    return EighResult(cast("X", item(both, 0)), cast("X", item(both, 1)))


@public()
def eigvalsh(x: X) -> X:
    """The eigenvalues, ascending, of symmetric matrices in the last two axes: those of `eigh`.

    >>> import numpy as np
    >>> eigvalsh(np.array([[2.0, 0.0], [0.0, 1.0]]))
    array([1., 2.])
    """
    return eigh(x).eigenvalues


# --- singular values: Ionescu, Vantzos and Sminchisescu, Matrix backpropagation (2015); with p = Uᵀ dx V split into
# its symmetric part, which turns U and V together and has the gaps s_j - s_i below it, and its skew part, which turns
# them apart and has s_i + s_j below it --------------------------------------------------------------------------------
def _sums(values: Matrix) -> Matrix:
    """1 / (value j + value i) at row i, column j."""
    return _of_pairs(expand_dims(values, -2) + expand_dims(values, -1), values)


def _outside(x: Matrix, u: Matrix, values: Matrix) -> Matrix:
    """(1 - u uᵀ) x / s: what is in no column of u."""
    rest = x - product(u, matrix_transpose(u), x)
    return scale(rest, _reciprocal(expand_dims(values, -2), values))


def _pull_svd(g: Parts, ans: Value, x: Matrix) -> Matrix:
    u, s, v = item(ans, 0), item(ans, 1), matrix_transpose(item(ans, 2))
    gs = g.get(1)
    ans = 0.0 if gs is None else product(u, on_diagonal(gs), matrix_transpose(v))
    return ans if g.get(0) is None and g.get(2) is None else ans + _pull_vectors(g, u, s, v)


def _pull_vectors(g: Parts, u: Matrix, s: Matrix, v: Matrix) -> Matrix:
    gu, gvh = g.get(0), g.get(2)
    a = 0.0 if gu is None else matmul(matrix_transpose(u), gu)
    b = 0.0 if gvh is None else matrix_transpose(matmul(gvh, v))
    turned = scale(_gaps(s), skew(a + b)) + scale(_sums(s), skew(a - b))
    total, (rows, columns) = product(u, turned, matrix_transpose(v)), (shape(u)[-2], shape(v)[-2])
    if gu is not None and rows > columns:
        total = total + matmul(_outside(gu, u, s), matrix_transpose(v))
    if gvh is not None and columns > rows:
        total = total + matmul(u, matrix_transpose(_outside(matrix_transpose(gvh), v, s)))
    return total


def _push_svd(t: Value, ans: Value, x: Matrix) -> Value:
    u, s, v = item(ans, 0), item(ans, 1), matrix_transpose(item(ans, 2))
    p, (rows, columns) = product(matrix_transpose(u), t, v), sides(x, "svd")
    together, apart = scale(_gaps(s), symmetric(p)), scale(_sums(s), skew(p))
    du, dv = matmul(u, together + apart), matmul(v, together - apart)
    if rows > columns:
        du = du + _outside(matmul(t, v), u, s)
    if columns > rows:
        dv = dv + _outside(matmul(matrix_transpose(t), u), v, s)
    return cast("Value", Parts({0: du, 1: diagonal(p), 2: matrix_transpose(dv)}))


_svd: Op = primitive("svd", lapack("svd", full_matrices=False), vjps=(_pull_svd,), jvps=(_push_svd,))


@public()
def svd(x: X, full_matrices: bool = True) -> SVDResult[X]:
    """Singular vectors and values, U * S @ Vh = x, of matrices in the last two axes.

    U and Vh are square, or with full_matrices=False as narrow as S is short; for matrices that are not square only the
    latter has a derivative. Vectors of equal singular values, and those of a singular value 0 in as far as it leaves
    them open, have no derivative, nor have these values a second one: it is nan.

    >>> import numpy as np
    >>> svd(np.array([[0.0, 2.0], [1.0, 0.0]])).S
    array([2., 1.])
    """
    rows, columns = sides(x, "svd")
    if full_matrices and rows != columns:
        u, s, vh = only_values("svd", "fgrad.svd(x, full_matrices=False)", x, full_matrices=True)
        return SVDResult(u, s, vh)
    three = apply(_svd, (x,))
    return SVDResult(cast("X", item(three, 0)), cast("X", item(three, 1)), cast("X", item(three, 2)))


@public(names="linalg.svdvals")
def svdvals(x: X) -> X:
    """The singular values, descending, of matrices in the last two axes; the derivative at one that is 0 is one-sided.

    >>> import numpy as np
    >>> svdvals(np.array([[0.0, 2.0], [1.0, 0.0]]))
    array([2., 1.])
    """
    return svd(x, full_matrices=False).S


# --- pseudo-inverse: Golub and Pereyra, The differentiation of pseudo-inverses (1973), equation 4.12 -----------------
def _pull_pinv(g: Value, ans: Value, x: Matrix, rtol: float | None) -> Matrix:
    back, up = matrix_transpose(ans), matrix_transpose(g)
    inner = product(up, ans, back)
    outer = product(back, ans, up)
    return inner - product(x, ans, inner) + outer - product(outer, ans, x) - product(back, g, back)


def _push_pinv(t: Value, ans: Value, x: Matrix, rtol: float | None) -> Matrix:
    back, up = matrix_transpose(ans), matrix_transpose(t)
    inner = product(ans, back, up)
    outer = product(up, back, ans)
    return inner - product(inner, x, ans) + outer - product(ans, x, outer) - product(ans, t, ans)


_pinv: Op = primitive(
    "pinv", widened(lambda xp, x, rtol: xp.linalg.pinv(x, rtol=rtol)), vjps=(_pull_pinv,), jvps=(_push_pinv,)
)


@public()
def pinv(x: X, *, rtol: float | None = None) -> X:
    """The pseudo-inverse of matrices in the last two axes; the derivative is that among matrices of the same rank.

    Singular values up to `rtol` times the greatest are taken as 0: by default rounding times the longer side.

    >>> import numpy as np
    >>> pinv(np.array([[2.0], [0.0]]))
    array([[0.5, 0. ]])
    """
    sides(x, "pinv")
    return cast("X", apply(_pinv, (x,), (rtol,)))


# --- NumPy's arguments -----------------------------------------------------------------------------------------------
def _lower(a: X, triangle: str) -> X:
    """A matrix whose lower triangle is the one named."""
    if triangle.upper() not in ("L", "U"):
        raise ValueError(f"UPLO is 'L' or 'U', not {triangle!r}")
    return a if triangle.upper() == "L" else matrix_transpose(a)


@stand_in("linalg.eigh")
def _numpy_eigh(a: X, UPLO: str = "L") -> EighResult[X]:  # noqa: N803  # NumPy's name
    return eigh(_lower(a, UPLO))


@stand_in("linalg.eigvalsh")
def _numpy_eigvalsh(a: X, UPLO: str = "L") -> X:  # noqa: N803  # NumPy's name
    return eigvalsh(_lower(a, UPLO))


@stand_in("linalg.svd")
def _numpy_svd(a: X, full_matrices: bool = True, compute_uv: bool = True) -> SVDResult[X] | X:
    return svd(a, full_matrices) if compute_uv else svdvals(a)


@stand_in("linalg.pinv")
def _numpy_pinv(a: X, rcond: float | None = None, *, rtol: float | None = 1e-15) -> X:
    return pinv(a, rtol=rtol if rcond is None else rcond)
