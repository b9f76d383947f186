"""The op table: a row for everything that fgrad can differentiate. Importing this package fills it."""

from fgrad.ops import (
    accumulating,
    contracting,
    convolving,
    elementwise,
    interpolating,
    linalg,
    products,
    rearranging,
    reducing,
    results,
    rows,
    selecting,
    shaping,
    special,
)

__all__ = [
    "accumulating",
    "contracting",
    "convolving",
    "elementwise",
    "interpolating",
    "linalg",
    "products",
    "rearranging",
    "reducing",
    "results",
    "rows",
    "selecting",
    "shaping",
    "special",
]
