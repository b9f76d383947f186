"""Expressions: text such as `tanh(w1*x1 + b)` as a function of the names in it.

Knows which of Python's syntax is arithmetic, and says of everything else where it stands; nothing is ever executed.
"""

import ast
import difflib
import functools
import inspect
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature
from itertools import pairwise
from typing import Final, TypeAlias, cast

import attrs

from fgrad import errors
from fgrad.node import FUNCTIONS

Function: TypeAlias = Callable[..., float]
_LENGTH: Final = 5_000  # characters of a text
_LARGEST: Final = 2**53  # of an integer; beyond it is a float
_WIDTH: Final = 76  # of a line that a message shows

CONSTANTS: Final[Mapping[str, float]] = {"pi": math.pi, "e": math.e, "inf": math.inf, "nan": math.nan}
"""The names that stand for numbers."""


def _folded(name: str) -> Function:
    """A function of two numbers as one of any number of them."""
    function = cast("Function", FUNCTIONS[name])
    return lambda x, *more: functools.reduce(function, more, x)


_NUMERIC: Final = """
    abs sign sqrt cbrt exp exp2 expm1 log log2 log10 log1p logaddexp sin cos tan asin acos atan atan2 sinh cosh tanh
    asinh acosh atanh floor ceil round maximum minimum relu sigmoid softplus silu gelu sinc erf erfc lgamma digamma
    hypot deg2rad rad2deg square reciprocal pow remainder clip where isnan isinf isfinite
"""
CALLABLE: Final[Mapping[str, Function]] = {
    **{name: cast("Function", FUNCTIONS[name]) for name in _NUMERIC.split()},
    "max": _folded("maximum"),
    "min": _folded("minimum"),
}
"""The functions that an expression can call, by name."""
_OPERATORS: Final[Mapping[type[ast.AST], str]] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.FloorDiv: "floor_divide",
    ast.Mod: "remainder",
    ast.Pow: "pow",
    ast.USub: "negative",
    ast.UAdd: "positive",
    ast.Not: "logical_not",
    ast.And: "logical_and",
    ast.Or: "logical_or",
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
}


@attrs.frozen
class Instruction:
    """One step of an expression on a stack: a number, the value of a name, or a function of the last few results."""

    value: float | str | Function
    arity: int = 0


@attrs.frozen(eq=False, repr=False)
class Expression:
    """A function of floats, or traced values, made of text; `names` are its arguments, in the order of appearance.

    They are given by name, or by place in that order; an `ArgumentError` says which are missing.
    """

    text: str
    names: tuple[str, ...]
    program: tuple[Instruction, ...]

    def __call__(self, /, *args: float, **kwargs: float) -> float:
        """Compute it, as IEEE arithmetic does: without errors for what has no value."""
        try:
            values = self.__signature__.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise errors.ArgumentError(
                f"{error}: {self.text} is a function of {', '.join(self.names) or 'nothing'}"
            ) from None
        stack: list[float] = []
        for step in self.program:
            if callable(step.value):
                operands = stack[len(stack) - step.arity :]
                del stack[len(stack) - step.arity :]
                stack.append(step.value(*operands))
            else:
                stack.append(values[step.value] if isinstance(step.value, str) else step.value)
        (ans,) = stack
        return float(ans) if isinstance(ans, int) else ans

    @property
    def __signature__(self) -> Signature:
        return Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in self.names])

    @property
    def __name__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Expression of {', '.join(self.names) or 'nothing'}: {self.text}>"


def parse(text: str) -> Expression:
    """Make a function of the names in an expression: arithmetic, powers, comparisons, choices, and fgrad's functions.

    The text is Python's syntax, of which nothing else is understood, and nothing is executed; `pi` and `e` are numbers.
    Raises `ExpressionError`, which shows the place, for anything else.

    >>> neuron = parse("tanh(w1*x1 + w2*x2 + b)")
    >>> neuron.names
    ('w1', 'x1', 'w2', 'x2', 'b')
    >>> from fgrad import grad
    >>> grad(parse("a*b + b**3"))(a=-4.0, b=2.0)
    {'a': 2.0, 'b': 8.0}
    >>> parse("2*sine(x)")
    Traceback (most recent call last):
    fgrad.errors.ExpressionError: there is no function sine: the nearest is sin
      2*sine(x)
        ^^^^
    """
    text = text.strip()
    if len(text) > _LENGTH:
        raise errors.ExpressionError(f"an expression has {_LENGTH:,} characters at most, and this has {len(text):,}")
    if not text:
        raise errors.ExpressionError("there is no expression: write one such as tanh(w*x + b)")
    body = _syntax(text)
    names = [node for node in ast.walk(body) if isinstance(node, ast.Name)]
    names.sort(key=lambda node: (node.lineno, node.col_offset))
    program = _program(body, text)
    variables = dict.fromkeys(node.id for node in names if node.id not in CONSTANTS and node.id not in CALLABLE)
    return Expression(text, tuple(variables), program)


def _syntax(text: str) -> ast.expr:
    """What Python's parser, which runs nothing, makes of a text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # such as of 1if x else y: what it means is clear
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        line, start = error.lineno or 1, (error.offset or 1) - 1
        end = error.end_offset - 1 if error.end_offset and error.end_lineno == line else start + 1
        raise errors.ExpressionError(f"{error.msg}{_pointed(text, line, start, end)}") from None
    except (RecursionError, MemoryError):
        raise errors.ExpressionError("the expression is nested too deeply: write it in parts") from None
    except ValueError:  # half a character, or a null
        raise errors.ExpressionError("the text holds what is no character") from None


def _program(body: ast.expr, text: str) -> tuple[Instruction, ...]:
    """The expression in postfix order; made without recursion, so that no nesting is too deep."""
    steps: list[Instruction] = []
    waiting: list[ast.expr | Instruction] = [body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Instruction):
            steps.append(node)
            continue
        step, operands = _understood(node, text)
        waiting += [step, *reversed(operands)]
    return tuple(steps)


def _understood(node: ast.expr, text: str) -> tuple[Instruction, list[ast.expr]]:
    """What one node of the syntax does, and the nodes that it does it on."""
    match node:
        case ast.Constant(value=value) if type(value) in (int, float):
            return Instruction(_number(node, cast("float", value), text)), []
        case ast.Name(id=name) if name in CALLABLE:
            raise _error(f"{name} is a function: write {name}(x), or give the argument another name", node, text)
        case ast.Name(id=name):
            return Instruction(CONSTANTS.get(name, name)), []
        case ast.UnaryOp(op=op, operand=x) if type(op) in _OPERATORS:
            return _applied(op, [x])
        case ast.BinOp(left=x, op=op, right=y) if type(op) in _OPERATORS:
            return _applied(op, [x, y])
        case ast.BinOp(op=ast.BitXor()):
            raise _error("^ is no power in Python: write x**y", node, text)
        case ast.BoolOp(op=op, values=xs):
            return Instruction(_folded(_OPERATORS[type(op)]), len(xs)), xs
        case ast.Compare(left=x, ops=ops, comparators=ys) if all(type(op) in _OPERATORS for op in ops):
            names = [_OPERATORS[type(op)] for op in ops]
            return Instruction(functools.partial(_compared, names), 1 + len(ys)), [x, *ys]
        case ast.IfExp(test=condition, body=x, orelse=y):
            return Instruction(CALLABLE["where"], 3), [condition, x, y]
        case ast.Call():
            return _called(node, text)
    raise _error(_refusal(node), node, text)


def _applied(op: ast.AST, operands: list[ast.expr]) -> tuple[Instruction, list[ast.expr]]:
    return Instruction(cast("Function", FUNCTIONS[_OPERATORS[type(op)]]), len(operands)), operands


def _number(node: ast.Constant, value: float, text: str) -> float:
    """A literal; an integer stays one while a float can be the same, so that 3 is shown as 3."""
    try:
        return float(value) if abs(value) > _LARGEST else value
    except OverflowError:
        raise _error("the number is too large", node, text) from None


def _compared(names: Sequence[str], *xs: float) -> float:
    """Whether all comparisons hold, each of two neighbours: x < y < z."""
    held = [cast("Function", FUNCTIONS[name])(x, y) for name, (x, y) in zip(names, pairwise(xs), strict=True)]
    return functools.reduce(cast("Function", FUNCTIONS["logical_and"]), held)


def _called(node: ast.Call, text: str) -> tuple[Instruction, list[ast.expr]]:
    if not isinstance(node.func, ast.Name):
        raise _error("only a function can be called, by its name: write * for a product", node.func, text)
    name = node.func.id
    if name not in CALLABLE:
        near = difflib.get_close_matches(name, CALLABLE, n=1, cutoff=0.7)
        instead = f"the nearest is {near[0]}" if near else "there are fgrad's of numbers, such as tanh and maximum"
        raise _error(f"there is no function {name}: {instead}", node.func, text)
    for extra in (*(x for x in node.args if isinstance(x, ast.Starred)), *(k.value for k in node.keywords)):
        raise _error("arguments are given by place, one by one", extra, text)
    try:
        inspect.signature(CALLABLE[name]).bind(*node.args)
    except TypeError as error:
        raise _error(f"{name}: {error}", node, text) from None
    return Instruction(CALLABLE[name], len(node.args)), node.args


def _refusal(node: ast.expr) -> str:
    """Say what an expression cannot hold."""
    what = {
        ast.Attribute: "an attribute",
        ast.Subscript: "an index",
        ast.Lambda: "a lambda",
        ast.NamedExpr: "an assignment",
        ast.JoinedStr: "text",
        ast.Tuple: "a tuple",
        ast.List: "a list",
    }.get(type(node))
    if isinstance(node, ast.Constant):
        what = f"{type(node.value).__name__}, which is no real number,"
    return (
        f"{what or 'this'} cannot stand in an expression: there are numbers, names, + - * / // % **, comparisons, "
        "and, or, not, x if condition else y, and functions such as tanh(x)"
    )


def _error(problem: str, node: ast.expr, text: str) -> errors.ExpressionError:
    line = _lines(text)[node.lineno - 1].encode()
    start = len(line[: node.col_offset].decode())
    same_line = node.end_lineno == node.lineno and node.end_col_offset is not None
    end = len(line[: node.end_col_offset].decode()) if same_line else len(line.decode())
    return errors.ExpressionError(problem + _pointed(text, node.lineno, start, end))


def _lines(text: str) -> list[str]:
    """The lines of a text as Python's parser counts them."""
    return re.split(r"\r\n|\r|\n", text)


def _pointed(text: str, number: int, start: int, end: int) -> str:
    """The line of a text, or the part of it that fits, with carets under a place."""
    lines = _lines(text)
    line = "".join(c if c.isprintable() else " " for c in lines[min(number, len(lines)) - 1])
    start = min(max(start, 0), len(line))
    first = max(0, start - _WIDTH // 2)
    shown = line[first : first + _WIDTH]
    length = max(1, min(end - start, len(shown) - (start - first)))
    return f"\n  {shown}\n  {' ' * (start - first)}{'^' * length}"
