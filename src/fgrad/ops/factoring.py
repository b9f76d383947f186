"""Rows that factor matrices into triangular ones: Cholesky and QR.

Knows the triangular factors; nothing of eigenvalues and singular values.
"""

from typing import Generic, NamedTuple, cast

from fgrad.node import Op, Value, X, apply, shape
from fgrad.ops.elementwise import where
from fgrad.ops.linalg import matmul
from fgrad.ops.matrices import Matrix, lapack, on_diagonal, only_values, side, sides, symmetric
from fgrad.ops.rearranging import along, diagonal, tril
from fgrad.ops.results import Parts, item
from fgrad.ops.rows import primitive, public, stand_in
from fgrad.ops.shaping import concat, expand_dims, matrix_transpose
from fgrad.ops.solving import solve


class QRResult(NamedTuple, Generic[X]):
    """What `qr` gives: Q @ R is the matrix."""

    Q: X
    R: X


# --- Cholesky: Murray, Differentiation of the Cholesky decomposition (2016) ------------------------------------------
def _half(x: Matrix) -> Matrix:
    """The lower triangle, with half the diagonal."""
    return tril(x) - on_diagonal(diagonal(x)) * 0.5


def _between(lower: Matrix, x: Matrix) -> Matrix:
    """L⁻¹ x L⁻ᵀ."""
    return matrix_transpose(solve(lower, matrix_transpose(solve(lower, x))))


def _pull_cholesky(g: Value, ans: Value, x: Matrix) -> Matrix:
    up = matrix_transpose(ans)
    return symmetric(_between(up, _half(matmul(up, g))))


_cholesky: Op = primitive(
    "cholesky",
    lapack("cholesky", "fgrad.eigh(x), or add to the diagonal what makes it positive definite"),
    vjps=(_pull_cholesky,),
    jvps=(lambda t, ans, x: matmul(ans, _half(_between(ans, symmetric(t)))),),
)


@public(names="linalg.cholesky")
def cholesky(x: X, *, upper: bool = False) -> X:
    """The lower triangular L with L @ Lᵀ = x, for symmetric positive definite matrices in the last two axes, or Lᵀ.

    Only the lower triangle of x is read (for `upper` the upper one), as NumPy does; the derivative is that with respect
    to a symmetric matrix, as if (x + xᵀ) / 2 were factored: a symmetric gradient. A matrix that is not positive
    definite raises, as in NumPy.

    >>> import numpy as np
    >>> cholesky(np.array([[4.0, 2.0], [2.0, 2.0]]))
    array([[2., 0.],
           [1., 1.]])
    """
    side(x, "cholesky", "fgrad.qr(x)")
    if upper:
        return matrix_transpose(cholesky(matrix_transpose(x)))
    return cast("X", apply(_cholesky, (x,)))


# --- QR: Walter and Lehmann, Algorithmic differentiation of linear algebra functions (2010), section 3.2 -------------
def _divided(x: Matrix, r: Matrix) -> Matrix:
    """X r⁻ᵀ, for a triangular r; nan where r is singular, for a stack may hold others."""
    flawed = expand_dims(diagonal(r), -1) == 0
    return matrix_transpose(solve(where(flawed, float("nan"), r), matrix_transpose(x)))


def _pull_qr(g: Parts, ans: Value, x: Matrix) -> Matrix:
    q, r, gq, gr = item(ans, 0), item(ans, 1), g.get(0), g.get(1)
    m = 0.0 if gr is None else matmul(r, matrix_transpose(gr))
    m = m if gq is None else m - matmul(matrix_transpose(gq), q)
    inner = matmul(q, tril(m) + matrix_transpose(tril(m, -1)))
    return _divided(inner if gq is None else gq + inner, r)


def _push_qr(t: Value, ans: Value, x: Matrix) -> Value:
    q, r = item(ans, 0), item(ans, 1)
    c = _divided(t, matrix_transpose(r))
    s = matmul(matrix_transpose(q), c)
    below = tril(s, -1)
    upper = s - below + matrix_transpose(below)
    return cast("Value", Parts({0: c - matmul(q, upper), 1: matmul(upper, r)}))


_qr: Op = primitive("qr", lapack("qr"), vjps=(_pull_qr,), jvps=(_push_qr,))


@public()
def qr(x: X, mode: str = "reduced") -> QRResult[X]:
    """Q with orthonormal columns and the upper triangular R with Q @ R = x, for matrices in the last two axes.

    `mode` is "reduced", or "complete" for a square Q; the latter has derivatives for as many rows as columns, or fewer.
    The derivative is defined where the first columns, as many as there are rows, are independent; it is nan where R
    holds a 0 on their diagonal.

    >>> import numpy as np
    >>> q, r = qr(np.array([[-3.0], [-4.0]]))
    >>> q, r
    (array([[-0.6],
           [-0.8]]), array([[5.]]))
    """
    rows, columns = sides(x, "qr")
    if mode not in ("reduced", "complete"):
        raise ValueError(
            f"qr has no mode {mode!r} in fgrad: it has 'reduced' and 'complete'; for R alone write qr(x).R"
        )
    if rows > columns and mode == "complete":
        q, r = only_values("qr", "fgrad.qr(x)", x, mode="complete")
        return QRResult(q, r)
    if rows >= columns:
        both = apply(_qr, (x,))
        return QRResult(cast("X", item(both, 0)), cast("X", item(both, 1)))
    last = len(shape(x)) - 1
    q, r = qr(along(x, last, 0, rows))
    return QRResult(q, concat([r, matmul(matrix_transpose(q), along(x, last, rows))], last))


@stand_in("linalg.qr")
def _numpy_qr(a: X, mode: str = "reduced") -> QRResult[X] | X:
    return qr(a).R if mode == "r" else qr(a, mode)
