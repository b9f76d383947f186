"""`fgrad explain`: both passes of an expression as a table, a drawing, a page to step through, and formulas.

Knows how numbers are given to names, and where each view goes; nothing of how an expression is read or differentiated.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from fgrad import errors
from fgrad.cli.console import check_extras, check_writable, say
from fgrad.files import replace_files
from fgrad.show.draw import draw
from fgrad.show.explain import Explanation, explain
from fgrad.show.expression import Expression, parse
from fgrad.show.formula import Formula, formula
from fgrad.transforms import grad


@attrs.frozen
class ExplainOptions:
    """What `fgrad explain` was asked for."""

    expression: str
    numbers: Sequence[tuple[str, float]]
    svg: Path | None
    html: Path | None
    formula: Path | None


def explain_expression(options: ExplainOptions) -> None:
    """Do all that `fgrad explain` does.

    Raises `ExpressionError` for what is no expression, `DataError` for numbers that do not fit its names and for files
    that cannot be written, and `MissingExtraError`.
    """
    expression = parse(options.expression)
    given = _numbers(expression, options.numbers)
    check_extras([("rich.table", "show", "a table")])
    if options.svg:
        check_extras([("pygraphviz", "show", "drawing a graph")])
    if options.formula:
        check_extras([("sympy", "sympy", "a formula")])
    _check_suffix(options.svg, ".svg", ".png", ".dot", ".mmd")
    _check_suffix(options.html, ".html")
    files = [file for file in (options.svg, options.html, options.formula) if file]
    check_writable(files)
    explanation = explain(expression)(**given)
    formulas = "".join(_formulas(expression, options.formula.suffix == ".tex")) if options.formula else ""
    _show(explanation)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    if options.svg:
        draw(expression)(**given).save(options.svg)
    if options.html:
        explanation.save(options.html)
    if options.formula:
        replace_files({options.formula: formulas.encode()})


def _check_suffix(file: Path | None, *known: str) -> None:
    if file and file.suffix not in known:
        raise errors.DataError(f"{file}: the name must end in {' or '.join(known)}")


def _numbers(expression: Expression, given: Sequence[tuple[str, float]]) -> dict[str, float]:
    """A number for each name."""
    if not expression.names:
        raise errors.DataError("the expression has no names, so that nothing in it can change: write one such as 2*x")
    numbers = dict(given)
    for name in expression.names:
        if name not in numbers:
            raise errors.DataError(f"what is {name}? Say {name}=NUMBER")
    for name in numbers:
        if name not in expression.names:
            raise errors.DataError(f"the expression has no {name}: it has {', '.join(expression.names) or 'no names'}")
    if len(numbers) < len(given):
        raise errors.DataError("a name is given two numbers: say each once")
    return numbers


def _show(explanation: Explanation) -> None:
    """Colours on a terminal; in a pipe or a file plain text."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(explanation)
    else:
        say(str(explanation))


def _formulas(expression: Expression, in_latex: bool) -> Iterator[str]:
    """The expression, and its derivative by each name, a line each; of one that is true or false, itself alone."""
    yield _line("", formula(expression)(*expression.names), in_latex)
    for i, name in enumerate(expression.names):
        with suppress(errors.OutputError):
            yield _line(name, formula(grad(expression, i))(*expression.names), in_latex)


def _line(name: str, found: Formula, in_latex: bool) -> str:
    if in_latex:
        symbol = formula(lambda x: x)(name).latex if name else ""
        return (rf"\frac{{\partial f}}{{\partial {symbol}}}" if name else "f") + f" = {found.latex}\n"
    return (f"∂f/∂{name}" if name else "f") + f" = {found}\n"
