"""The op table: a row for everything that fgrad can differentiate. Importing this package fills it."""

from fgrad.ops import elementwise, linalg, reducing, rows, selecting, shaping

__all__ = ["elementwise", "linalg", "reducing", "rows", "selecting", "shaping"]
