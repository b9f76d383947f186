"""What rows of matrices share: how the array library is called, which shapes it takes, and the matrices of rules.

Knows squares, diagonals and symmetry; nothing of what any function computes, or of derivatives.
"""

from collections.abc import Callable
from types import ModuleType
from typing import TypeAlias, cast

from fgrad.arrays import namespace
from fgrad.errors import MissingRowError, StructureError, user_line
from fgrad.node import Node, Rule, X, concrete, shape
from fgrad.ops.shaping import dtype_of, expand_dims, matrix_transpose

Matrix: TypeAlias = float
"""A matrix, or a stack of them: to type checkers a float, as every value that rules compute with."""


def widened(function: Callable[..., object]) -> Rule:
    """Compute `function(xp, *args)`, in float32 what is narrower, and back; of several results make a plain tuple."""

    def impl(*args: object) -> object:
        xp = namespace(*args)
        dtypes = [None if isinstance(x, float | int | None) else dtype_of(x) for x in args]
        kept = xp.result_type(*[dtype for dtype in dtypes if dtype is not None])
        wide = [xp.astype(x, xp.float32) if _narrow(xp, d) else x for x, d in zip(args, dtypes, strict=True)]

        def back(y: object) -> object:
            return xp.astype(xp.asarray(y), kept)[()] if _narrow(xp, kept) else y

        ans = function(xp, *wide)
        return tuple(map(back, ans)) if isinstance(ans, tuple) else back(ans)

    return cast("Rule", impl)


def _narrow(xp: ModuleType, dtype: object) -> bool:
    return dtype is not None and xp.isdtype(dtype, "real floating") and xp.finfo(dtype).bits < 32


def lapack(name: str, instead: str = "", **options: str | bool) -> Rule:
    """Compute by the array library's function of that name; where it refuses, say what to write `instead`."""

    def compute(xp: ModuleType, *args: object) -> object:
        try:
            return getattr(xp.linalg, name)(*args, **options)
        except ValueError as error:  # NumPy's LinAlgError is one
            raise type(error)(f"{name}: {error}{user_line()}{instead and ': write '}{instead}") from None

    return widened(compute)


def sides(x: object, name: str) -> tuple[int, int]:
    """How many rows and columns the matrices in the last two axes have."""
    if len(shape(x)) < 2:
        raise StructureError(f"{name} needs matrices, in the last two axes, not the shape {shape(x)}")
    rows, columns = shape(x)[-2:]
    return rows, columns


def side(x: object, name: str, instead: str) -> int:
    """How many rows the square matrices in the last two axes have."""
    rows, columns = sides(x, name)
    if rows != columns:
        raise StructureError(
            f"{name} needs square matrices, in the last two axes, not the shape {shape(x)}: write {instead}"
        )
    return rows


def eye(n: int, like: object) -> Matrix:
    """The identity matrix, in the dtype of another."""
    return cast("Matrix", namespace(concrete(like)).eye(n, dtype=dtype_of(like)))


def rounding(like: object) -> float:
    """The distance from 1 to the next number, in the dtype of an array."""
    return float(namespace(concrete(like)).finfo(dtype_of(like)).eps)


def on_diagonal(values: Matrix) -> Matrix:
    """The diagonal matrix of these numbers."""
    return expand_dims(values, -1) * eye(shape(values)[-1], values)


def symmetric(x: Matrix) -> Matrix:
    """The symmetric part."""
    return (x + matrix_transpose(x)) * 0.5


def skew(x: Matrix) -> Matrix:
    """The antisymmetric part."""
    return (x - matrix_transpose(x)) * 0.5


def only_values(name: str, instead: str, x: X, **options: str | bool) -> tuple[X, ...]:
    """What is not determined up to a sign, so that it has no derivative."""
    if isinstance(x, Node):
        raise MissingRowError(
            f"{name} with {options} of matrices that are not square has no derivative in fgrad: what is more than in "
            f"{instead} is any basis; write that"
        )
    return cast("tuple[X, ...]", lapack(name, instead, **options)(x))
