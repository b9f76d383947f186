"""How a value, and the op that made it, are written for people to read.

Knows Python's operators and which need brackets; nothing of graphs and derivatives.
"""

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Final, cast

from fgrad.arrays import namespace
from fgrad.graph import Program
from fgrad.ops.selecting import Hole, Span

OPERATORS: Final[Mapping[str, tuple[str, tuple[int, ...]]]] = {
    "add": ("{} + {}", (1,)),
    "subtract": ("{} - {}", (1,)),
    "multiply": ("{}*{}", (1,)),
    "divide": ("{}/{}", (1,)),
    "floor_divide": ("{} // {}", (1,)),
    "remainder": ("{} % {}", (1,)),
    "matmul": ("{} @ {}", ()),
    "negative": ("-{}", (0,)),
    "positive": ("+{}", (0,)),
    "pow": ("{}**{}", (0,)),
    "square": ("{}**2", (0,)),
    "reciprocal": ("1/{}", (0,)),
    "less": ("{} < {}", ()),
    "less_equal": ("{} <= {}", ()),
    "greater": ("{} > {}", ()),
    "greater_equal": ("{} >= {}", ()),
    "equal": ("{} == {}", ()),
    "not_equal": ("{} != {}", ()),
}
"""How an op is written, by its name, and which operands are bracketed where they have a sign."""
_REDUCING: Final = "sum mean max min logsumexp log_softmax argmax argmin"
_PARAMS: Final = {
    **dict.fromkeys(_REDUCING.split(), ("axis", "keepdims")),
    "concat": ("axis",),
}
_RULES: Final = {
    "matmul": ("g @ yᵀ", "xᵀ @ g"),
    "sum": ("g, spread out",),
    "mean": ("g / n, spread out",),
    "getitem": ("g, put in its place",),
    "where": ("", "g where it holds, else 0", "0 where it holds, else g"),
    **dict.fromkeys(["reshape", "permute_dims", "matrix_transpose"], ("g, rearranged back",)),
    "broadcast_to": ("g, summed back",),
    **dict.fromkeys(["named", "number", "astype"], ("g",)),
}
_WORD: Final = re.compile(r"[\w.]+(\[[^\[\]]*\]|\.\w+)*")
_FEW: Final = 4  # numbers of an array that are shown one by one
_LONGEST: Final = 40  # of a param, in a formula


def clean(text: str) -> str:
    r"""One line of text without what cannot be printed.

    >>> clean("a  line\nand another\x00")
    'a line and another\ufffd'
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


def shortened(text: str, most: int) -> str:
    """The text, without its middle where it is too long.

    >>> shortened("model.layers[0].neurons[3].w[11]", 15)
    'model.l…].w[11]'
    """
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most - 1 - most // 2) :]}"


def number(x: object, digits: int = 6) -> str:
    """A number, to so many significant digits; an integer and a truth value as they are.

    >>> number(0.70710678), number(-3.0), number(2), number(1e-20)
    ('0.707107', '-3', '2', '1e-20')
    """
    if isinstance(x, bool | int):
        return str(x)
    return f"{float(x):.{digits}g}"  # type: ignore[arg-type]  # a number


def value(x: object, digits: int = 6) -> str:
    """A number; or an array's shape, dtype and range, or its numbers where they are few.

    >>> import numpy as np
    >>> value(np.array([1.0, 2.5])), value(np.linspace(0.0, 1.0, 12).reshape(3, 4))
    ('[1, 2.5]', '(3, 4) float64, 0 … 1')
    """
    lengths = getattr(x, "shape", ())
    if not lengths or _is_short(lengths):
        return extent(x, digits)
    about = f"{tuple(lengths)} {_dtype(x)}"
    return f"{about}, {spread}" if (spread := extent(x, digits)) else about


def extent(x: object, digits: int = 6) -> str:
    """A number; or an array's range, or its numbers where they are few.

    >>> import numpy as np
    >>> extent(np.linspace(0.0, 1.0, 12).reshape(3, 4)), extent((1.0, 2.0))
    ('0 … 1', '(1, 2)')
    """
    if isinstance(x, tuple):
        return f"({', '.join(value(y, digits) for y in x)})"
    lengths = getattr(x, "shape", ())
    if not lengths:
        return number(x if isinstance(x, int | float) else x.item(), digits)  # type: ignore[attr-defined]  # of NumPy's
    if _is_short(lengths):
        return f"[{', '.join(value(y, digits) for y in x)}]"  # type: ignore[attr-defined]  # an array
    xp = namespace(x)
    if 0 in lengths or not xp.isdtype(x.dtype, ("real floating", "integral")):  # type: ignore[attr-defined]  # as above
        return ""
    return f"{number(xp.min(x).item(), digits)} … {number(xp.max(x).item(), digits)}"


def _is_short(lengths: Sequence[int]) -> bool:
    return len(lengths) == 1 and 0 < lengths[0] <= _FEW


def _dtype(x: object) -> str:
    return str(x.dtype).rpartition(".")[2]  # type: ignore[attr-defined]  # an array


def brief(x: object, digits: int = 6) -> str:
    """A number; or an array's dtype and shape.

    >>> import numpy as np
    >>> brief(2.0), brief(np.ones((5, 2)))
    ('2', 'float64[5, 2]')
    """
    lengths = getattr(x, "shape", ())
    if not lengths:
        return value(x, digits)
    return f"{_dtype(x)}{list(lengths)}"


def formula(op: str, terms: Sequence[str], params: Sequence[Hashable] = ()) -> str:
    """An op on some terms: names, or numbers, of which negative ones get brackets where they need them.

    >>> formula("add", ["c", "d"]), formula("pow", ["-2", "3"]), formula("multiply", ["2", "-3"])
    ('c + d', '(-2)**3', '2*(-3)')
    >>> formula("sum", ["x"], ((0,), False))
    'sum(x, axis=0)'
    """
    if op == "getitem":
        return f"{terms[0]}[{_index(terms[1:], params[0])}]"
    if op == "item":
        return f"{terms[0]}[{params[0]}]"
    if op == "named":
        return terms[0]
    if op not in OPERATORS:
        return f"{op}({', '.join([*terms, *_settings(op, params)])})"
    template, bracketed = OPERATORS[op]
    return template.format(*[f"({x})" if i in bracketed and x[0] == "-" else x for i, x in enumerate(terms)])


def rule(op: str, place: int, factor: str = "") -> str:
    """How the gradient g of an op's result becomes that of an operand, x or y, in words; with a factor: g times it.

    >>> rule("matmul", 1), rule("multiply", 0, "(2,) float64, 0 … 1"), rule("det", 0)
    ('xᵀ @ g', 'g·[(2,) float64, 0 … 1]', 'the rule of det')
    """
    if factor:
        return "g" if factor == "1" else f"g·{factor}" if factor[0] != "(" else f"g·[{factor}]"
    words = _RULES.get(op, ())
    return words[place] if place < len(words) else f"the rule of {op}"


def term(name: str) -> str:
    """A name as it stands in formulas: in angle quotes where it is no single word.

    >>> term("params['w'][0]"), term("hidden state")
    ("params['w'][0]", '‹hidden state›')
    """
    return name if _WORD.fullmatch(name) else f"‹{name}›"


def _settings(op: str, params: Sequence[Hashable]) -> list[str]:
    """The params, by their names where they have some; what is so by default is left out."""
    names = _PARAMS.get(op)
    if names is None:
        return [_setting(x) for x in params]
    return [f"{name}={_setting(x)}" for name, x in zip(names, params, strict=False) if x is not False]


def _setting(x: Hashable) -> str:
    if isinstance(x, Program):
        return f"<{len(x.steps)} ops>"
    if isinstance(x, tuple) and len(x) == 1 and isinstance(x[0], int):
        return str(x[0])
    return shortened(clean(str(x)), _LONGEST)


def _index(arrays: Sequence[str], places: Hashable) -> str:
    rest = iter(arrays)
    return ", ".join(_place(p, rest) for p in cast("tuple[object, ...]", places))


def _place(place: object, rest: Iterator[str]) -> str:
    if isinstance(place, Hole):
        return next(rest)
    if isinstance(place, Span):
        ends = ["" if i is None else str(i) for i in (place.start, place.stop, place.step)]
        return ":".join(ends if ends[2] else ends[:2])
    return "..." if place is Ellipsis else str(place)
