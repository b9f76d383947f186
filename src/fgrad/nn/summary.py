"""What a model holds, as a table: the path, shape, dtype and count of numbers of each leaf.

Knows leaves and how a table looks; nothing of layers, so that any pytree has a summary.
"""

import html
import math
from collections.abc import Sequence

import attrs
import numpy as np

from fgrad import tree

_TITLES = ("path", "shape", "dtype", "count")


@attrs.frozen
class Row:
    """One leaf of a model."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    count: int
    nbytes: int


@attrs.frozen(repr=False)
class Summary:
    """The leaves of a model, which print as a table, in a notebook too."""

    rows: tuple[Row, ...]

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return sum(row.count for row in self.rows)

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        return sum(row.nbytes for row in self.rows)

    def __repr__(self) -> str:
        lines = [_TITLES, *self._cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join([_aligned(line, widths) for line in lines])

    def _repr_html_(self) -> str:
        """The table as HTML, which notebooks show."""
        head, *body = [
            "<tr>" + "".join([f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line]) + "</tr>"
            for tag, line in [("th", _TITLES), *[("td", cells) for cells in self._cells()]]
        ]
        return f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"

    def _cells(self) -> list[tuple[str, ...]]:
        cells = [(row.path, str(row.shape), row.dtype, f"{row.count:,}") for row in self.rows]
        return [*cells, ("total", "", f"{self.nbytes:,} bytes", f"{self.count:,}")]


def summary(model: object) -> Summary:
    """Tabulate the leaves of a model, or of any pytree, and how many numbers and bytes they are.

    >>> summary({"w": np.zeros((3, 4)), "b": 0.5})
    path   shape   dtype      count
    ['b']  ()      float64        1
    ['w']  (3, 4)  float64       12
    total          104 bytes     13
    """
    return Summary(tuple([_row(path.removeprefix("."), leaf) for path, leaf in tree.named_leaves(model, "").items()]))


def _row(path: str, leaf: object) -> Row:
    array = np.asarray(leaf)
    return Row(path, array.shape, str(array.dtype), math.prod(array.shape), array.nbytes)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    words = [cell.ljust(width) for cell, width in zip(cells[:-1], widths, strict=False)]
    return "  ".join([*words, cells[-1].rjust(widths[-1])])
