"""Rows of volumes: the determinant, and its logarithm.

Knows how volumes change as their matrix does; nothing of what a matrix does to vectors. Source of the formulas: Giles,
Collected matrix derivative results for forward and reverse mode (2008), sections 2.2.4 and 2.2.5 for regular matrices.
"""

from types import ModuleType
from typing import Generic, NamedTuple, cast

from fgrad.node import Op, Value, X, apply, shape
from fgrad.ops.elementwise import abs, scale, sqrt, where
from fgrad.ops.linalg import matmul
from fgrad.ops.matrices import Matrix, lapack, rounding, side, widened
from fgrad.ops.reducing import sum
from fgrad.ops.results import Parts, item
from fgrad.ops.rows import primitive, public
from fgrad.ops.shaping import expand_dims, matrix_transpose, squeeze
from fgrad.ops.solving import inv, product


class SlogdetResult(NamedTuple, Generic[X]):
    """What `slogdet` gives: sign · exp(logabsdet) is the determinant."""

    sign: X
    logabsdet: X


def _dot(x: Matrix, y: Matrix) -> Value:
    """The sum of the products of two matrices' numbers, as a matrix of one."""
    return sum(x * y, (-2, -1), True)


def _flat(x: Matrix) -> Value:
    """A matrix of one number, as that number."""
    return squeeze(x, (-2, -1))


# With x = u s vᵀ its minors are products of singular values: so the first two derivatives of the determinant, a
# polynomial, are exact for singular matrices too. They are symmetric, so that each is its own transpose.
def _others(xp: ModuleType, s: Matrix) -> Matrix:
    """The product of all but one, for each."""
    ones = xp.ones_like(s[..., :1])  # type: ignore[index]  # an array
    before = xp.cumulative_prod(xp.concat([ones, s[..., :-1]], axis=-1), axis=-1)  # type: ignore[index]  # as above
    after = xp.cumulative_prod(xp.concat([ones, xp.flip(s, axis=-1)[..., :-1]], axis=-1), axis=-1)
    return cast("Matrix", (before * xp.flip(after, axis=-1))[..., : s.shape[-1]])  # type: ignore[attr-defined]  # as above


def _apart(xp: ModuleType, x: Matrix) -> tuple[Matrix, ...]:
    """U, s, vᵀ and det(u vᵀ): the latter nan for what is not finite, which the library refuses."""
    finite = xp.all(xp.isfinite(x), axis=(-2, -1))[..., None]
    u, s, vh = xp.linalg.svd(xp.where(finite[..., None], x, 0))
    sign = xp.round(xp.linalg.det(u) * xp.linalg.det(vh))[..., None]
    return u, s, vh, xp.where(finite, sign, xp.nan)


def _cofactor_impl(xp: ModuleType, x: Matrix) -> Matrix:
    u, s, vh, sign = _apart(xp, x)
    return cast("Matrix", (u * (sign * _others(xp, s))[..., None, :]) @ vh)  # type: ignore[index]  # an array


def _cofactor_along_impl(xp: ModuleType, x: Matrix, t: Matrix) -> Matrix:
    u, s, vh, sign = _apart(xp, x)
    same = xp.eye(shape(s)[-1], dtype=xp.bool)
    pairs = xp.where(same, 0, _others(xp, xp.where(same, 1, expand_dims(s, -2))))
    p = product(matrix_transpose(u), t, matrix_transpose(vh))
    inner = same * (pairs @ xp.linalg.diagonal(p)[..., None]) - pairs * matrix_transpose(p)
    return expand_dims(sign, -1) * product(u, inner, vh)


def _third(g: Value, ans: Value, x: Matrix, t: Matrix) -> Matrix:
    """The derivative of (⟨C, t⟩ C - C tᵀ C) / det along g, C the cofactors; at a singular matrix, to rounding, nan."""
    c, det = apply(_cofactor, (x,)), expand_dims(apply(_det, (x,)), (-2, -1))
    least = 8 * rounding(x) * sqrt(_dot(x, x))  # what is 0 to rounding; the least singular value is det / |C|
    singular = abs(det) <= least * sqrt(_dot(c, c))
    along = apply(_cofactor_along, (x, g))
    ct, tc = matmul(c, matrix_transpose(t)), matmul(matrix_transpose(t), c)
    whole = _dot(along, t) * c + _dot(c, t) * along - matmul(along, tc) - matmul(ct, along)
    return (whole - _dot(c, g) * ans) / where(singular, float("nan"), det)


_cofactor_along: Op = primitive(
    "cofactor_along",
    widened(_cofactor_along_impl),
    vjps=(_third, lambda g, ans, x, t: apply(_cofactor_along, (x, g))),
    jvps=(_third, lambda t, ans, x, s: apply(_cofactor_along, (x, t))),
)
_cofactor: Op = primitive(
    "cofactor",
    widened(_cofactor_impl),
    vjps=(lambda g, ans, x: apply(_cofactor_along, (x, g)),),
    jvps=(lambda t, ans, x: apply(_cofactor_along, (x, t)),),
)
_det: Op = primitive(
    "det",
    lapack("det"),
    vjps=(lambda g, ans, x: expand_dims(g, (-2, -1)) * apply(_cofactor, (x,)),),
    jvps=(lambda t, ans, x: _flat(_dot(apply(_cofactor, (x,)), t)),),
)


@public(names="linalg.det")
def det(x: X) -> X:
    """The determinant of square matrices in the last two axes; its gradient is the matrix of cofactors.

    So it is at singular matrices; there a third derivative is nan.

    >>> import numpy as np
    >>> det(np.array([[0.0, 1.0], [1.0, 0.0]])).item()
    -1.0
    """
    side(x, "det", "fgrad.prod(fgrad.svdvals(x), axis=-1) for the volume")
    return cast("X", apply(_det, (x,)))


def _log_slope(ans: Value, x: Matrix) -> Matrix:
    """The inverse, transposed; where there is none, nan, for a stack may hold others."""
    singular = expand_dims(item(ans, 1), (-2, -1)) == -float("inf")
    return matrix_transpose(inv(where(singular, float("nan"), x)))


def _pull_slogdet(g: Parts, ans: Value, x: Matrix) -> Matrix | None:
    c = g.get(1)
    return None if c is None else scale(expand_dims(c, (-2, -1)), _log_slope(ans, x))


def _push_slogdet(t: Value, ans: Value, x: Matrix) -> Value:
    return cast("Value", Parts({1: _flat(sum(scale(t, _log_slope(ans, x)), (-2, -1), True))}))


_slogdet: Op = primitive("slogdet", lapack("slogdet"), vjps=(_pull_slogdet,), jvps=(_push_slogdet,))  # type: ignore[arg-type]  # None is zero


@public(names="linalg.slogdet")
def slogdet(x: X) -> SlogdetResult[X]:
    """The sign of the determinant of square matrices in the last two axes, and log|determinant|, without overflow.

    The sign has derivative 0; log|determinant|, which is -inf for a singular matrix, has derivative nan there.

    >>> import numpy as np
    >>> sign, logabsdet = slogdet(np.array([[1.0, 0.0], [0.0, -1.0]]))
    >>> sign.item(), logabsdet.item()
    (-1.0, 0.0)
    """
    side(x, "slogdet", "fgrad.sum(fgrad.log(fgrad.svdvals(x)), axis=-1) for the logarithm of the volume")
    both = apply(_slogdet, (x,))
    return SlogdetResult(cast("X", item(both, 0)), cast("X", item(both, 1)))
