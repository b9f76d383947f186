"""Explanations: both passes of a function as a table, step by step, and each gradient as a sum over paths.

Knows how a walkthrough is told in text, in a terminal and in HTML; nothing of how it came about.
"""

import html
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Final, ParamSpec

import attrs

from fgrad import errors
from fgrad.files import replace_files
from fgrad.show import notation, paths, stepper
from fgrad.show.paths import Path, Paths
from fgrad.show.walkthrough import Quantity, Step, Walkthrough, walk

if TYPE_CHECKING:
    from rich.table import Table

    from fgrad.files import PathLike

__all__ = ["Explanation", "Path", "Paths", "Row", "Step", "explain"]

P = ParamSpec("P")
_MOST: Final = 200  # rows that are shown; the data has all
_HEADS: Final = ("name", "formula", "with numbers", "value", "local partials", "gradient")
_STYLE: Final = """
.fgrad-explain{overflow-x:auto;font:13px/1.45 system-ui,sans-serif}
.fgrad-explain table{border-collapse:collapse;margin:.3em 0 1em}
.fgrad-explain caption{text-align:left;font-weight:600;padding:.3em 0}
.fgrad-explain :is(th,td){text-align:left;padding:.2em .8em;border-bottom:1px solid rgba(128,128,128,.35);
background:none;color:inherit;white-space:nowrap;font-variant-numeric:tabular-nums}
.fgrad-explain td{font-family:ui-monospace,monospace}
"""


@attrs.frozen(eq=False)
class Row:
    """One value: its name, the op that made it on names and on numbers, local derivatives by each operand, gradient.

    An argument has no formula. The partials stand in the operands' order, with repeats: a number, or, for arrays, what
    becomes of the gradient g, in words. Where there is no gradient it is None.
    """

    name: str
    formula: str
    numbers: str
    value: object
    partials: tuple[tuple[str, float | str], ...]
    gradient: object

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as it is shown, but for its name."""
        partials = [f"∂/∂{name} = {p if isinstance(p, str) else notation.number(p)}" for name, p in self.partials]
        gradient = "" if self.gradient is None else notation.value(self.gradient)
        return self.formula, self.numbers, notation.value(self.value), ", ".join(partials), gradient


@attrs.frozen(eq=False, repr=False)
class Explanation:
    """Both passes of a function at some arguments, as rows in forward order and steps in backward order.

    It prints as text, as a table where rich prints it, and shows itself in a notebook; `save` makes a page of it, to go
    through step by step. `explanation["n"]` is the row of that name.
    """

    walkthrough: Walkthrough

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """One for each value, in forward order."""
        return tuple([_row(q, self.walkthrough.quantities) for q in self.walkthrough.quantities])

    @property
    def steps(self) -> tuple[Step, ...]:
        """The backward pass: whose gradient is complete, and what it adds to those of its operands."""
        return self.walkthrough.steps

    def __getitem__(self, name: str) -> Row:
        return self.rows[self.walkthrough[name].index]

    def paths(self, name: str, most: int = 5) -> Paths:
        """Give the gradient by the value of that name as the sum over all paths to it, the `most` largest one by one.

        Raises `ArgumentError` where there is no such name, and where arrays lie on the way.
        """
        return paths.find(self.walkthrough, name, most)

    def data(self) -> list[dict[str, object]]:
        """The rows as dicts of plain values: text, numbers and arrays."""
        return [
            {
                "name": row.name,
                "formula": row.formula,
                "numbers": row.numbers,
                "value": row.value,
                "partials": list(row.partials),
                "gradient": row.gradient,
            }
            for row in self.rows
        ]

    def save(self, path: "PathLike") -> None:
        """Write a page, .html, that goes forward and backward step by step, and does so again on other numbers.

        It is one file that loads nothing. Raises `ArgumentError` for another ending, and OSError where the file cannot
        be written.
        """
        file = FilePath(path)
        if file.suffix.lower() != ".html":
            raise errors.ArgumentError(
                f"{file.name} does not end in .html, which is what an explanation is written as: "
                'write explanation.save("steps.html")'
            )
        replace_files({file: stepper.page(self.walkthrough).encode("utf-8")})

    def __str__(self) -> str:
        tables = [_aligned(_HEADS, self._cells())]
        if self.steps:
            tables.append(_aligned(("backward", "gradient", "adds"), self._told()))
        return "\n\n".join(tables)

    __repr__ = __str__

    def __rich__(self) -> "Table":
        """The rows as rich's table."""
        try:
            from rich.table import Table  # lazily: it comes with an extra
            from rich.text import Text
        except ImportError:
            raise errors.missing_extra("show", "rich", "a table in the terminal") from None
        table = Table(title=self._title, title_justify="left")
        for head in _HEADS:
            table.add_column(head, justify="right" if head in ("value", "gradient") else "left", overflow="fold")
        for cells in self._cells():
            table.add_row(*map(Text, cells))
        return table

    def _repr_html_(self) -> str:
        forward = _html_table(self._title, _HEADS, self._cells())
        backward = _html_table("backward", ("of", "gradient", "adds"), self._told()) if self.steps else ""
        return f'<div class="fgrad-explain"><style>{_STYLE}</style>{forward}{backward}</div>'

    @property
    def _title(self) -> str:
        q = self.walkthrough.quantities
        outcome = ", ".join(notation.value(q[i].value) for i in self.walkthrough.result)
        return f"{self.walkthrough.function} = {outcome}" if outcome else self.walkthrough.function

    def _cells(self) -> list[tuple[str, ...]]:
        return _some([(row.name, *row.cells) for row in self.rows])

    def _told(self) -> list[tuple[str, ...]]:
        """The steps, in words."""
        names = [q.name for q in self.walkthrough.quantities]
        return _some([(names[s.quantity], notation.value(s.gradient), _added(s, names)) for s in self.steps])


def explain(f: Callable[P, object]) -> Callable[P, Explanation]:
    """Make the function that explains what `f` does at some arguments and how its gradient comes about.

    It is called as f is, in the forms of `grad`; by position, all arguments are differentiated that can be. `named`
    gives names to what lies between. Without a result that is one number there is the forward pass alone.

    >>> from fgrad import named
    >>> def f(a: float, b: float) -> float:
    ...     return named(a * b, "e") + a
    >>> print(explain(f)(2.0, -3.0))
    name  formula  with numbers  value  local partials            gradient
    a                            2                                -2
    b                            -3                               2
    e     a*b      2*(-3)        -6     ∂/∂a = -3, ∂/∂b = 2       1
    v1    e + a    -6 + 2        -4     ∂/∂e = 1, ∂/∂a = 1        1
    ...
    >>> print(explain(f)(2.0, -3.0).paths("a"))
    gradient by a: -2, the sum over 2 paths
      -3 = 1·(-3)   v1 → e → a
      1 = 1   v1 → a
    """

    def explained(*args: P.args, **kwargs: P.kwargs) -> Explanation:
        return Explanation(walk(f, args, kwargs))

    return explained


def _row(q: Quantity, quantities: Sequence[Quantity]) -> Row:
    partials = [
        (quantities[x.source].name, x.rule if x.partial is None else x.partial)
        for x in q.operands
        if x.source is not None and x.carries
    ]
    return Row(q.name, q.formula, q.numbers, q.value, tuple(partials), q.gradient)


def _added(step: Step, names: Sequence[str]) -> str:
    """What a step adds to which gradients: to one that has something already, as a sum."""
    told = []
    for c in step.contributions:
        name, amount, after = names[c.source], notation.value(c.amount), notation.value(c.after)
        if c.before is None:
            told.append(f"{name}: {amount}")
        else:
            told.append(f"{name}: {notation.formula('add', [notation.value(c.before), amount])} = {after}")
    return "; ".join(told)


def _some(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The rows, without those in the middle where they are many."""
    if len(rows) <= _MOST:
        return rows
    half, left_out = _MOST // 2, len(rows) - _MOST
    return [*rows[:half], ("…", f"{left_out:,} more", *[""] * (len(rows[0]) - 2)), *rows[-half:]]


def _aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text, its columns under each other."""
    cells = [heads, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def _html_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row(tag: str, cells: Sequence[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    caption = f"<caption>{html.escape(title)}</caption>"
    return f"<table>{caption}<thead>{row('th', heads)}</thead><tbody>{body}</tbody></table>"
