"""Formulas: what a function computes, as an expression of SymPy's in the names of its arguments.

Knows how names become symbols and what a constant was before it was rounded; nothing of what ops mean on symbols, which
`exact` does.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Final, ParamSpec, cast

import attrs

from fgrad import errors, tree
from fgrad.arrays import numpy
from fgrad.exact import Numbers, evaluate, symbols
from fgrad.graph import Program
from fgrad.node import Node
from fgrad.show import notation
from fgrad.trace import argument_namer, call_keyed, describe, keyed, run

P = ParamSpec("P")
_POINT: Final = 0.5  # where a function is run: within the domains of most
_FEW: Final = 100  # as denominators of parts of π and e, and of squares
_DENOMINATOR: Final = 10**6  # of fractions that floats are taken to be


@attrs.frozen(eq=False, repr=False)
class Formula:
    """What a function computes: an expression of SymPy's, or a pytree of them. In a notebook it shows as LaTeX."""

    expression: object

    def simplified(self) -> "Formula":
        """The same with every expression simplified by SymPy, which may take its time."""
        import sympy as sp  # lazily: who has a formula has it

        # NumPy's way to do it number by number takes a single expression as well.
        return Formula(tree.map(numpy().frompyfunc(sp.simplify, 1, 1), self.expression))

    @property
    def latex(self) -> str:
        """The formula as LaTeX; of a pytree, a line for each leaf."""
        import sympy as sp  # lazily, as above

        leaves, structure = tree.flatten(self.expression)
        if structure.is_leaf():
            return cast("str", sp.latex(_shown(self.expression)))
        lines = [
            rf"\text{{{_text(path)}}} &= {sp.latex(_shown(leaf))}"
            for path, leaf in zip(tree.paths(structure, str), leaves, strict=True)
        ]
        return r"\begin{aligned}" + r" \\ ".join(lines) + r"\end{aligned}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex}$"

    def __str__(self) -> str:
        return str(self.expression)

    __repr__ = __str__


def formula(f: Callable[..., object]) -> Callable[..., Formula]:
    """Make the function that gives what `f` computes as a formula, on names in the place of numbers.

    An argument is a name, or a pytree of names and numbers, or an array of names: each becomes a real symbol. The
    derivatives of f are functions as any other: `formula(grad(f))("x")`. A constant that is the nearest float to a
    simple fraction, root or part of π or e is taken to be that.

    Raises `MissingExtraError` where SymPy is not installed, `BranchError` where f decides by an argument's value,
    `LeafError` for a name that is none, and as `Trace.replay` does for ops without a meaning on symbols.

    >>> from fgrad import grad, tanh
    >>> formula(grad(lambda x: tanh(x) / 3))("x")
    1/3 - tanh(x)**2/3
    >>> formula(grad(lambda x, y: x**y, (0, 1)))("x", "y")
    (x**(y - 1)*y, x**y*log(x))
    """

    def replayed(*names: object, **more: object) -> Formula:
        numbers = _symbolic()
        leaves, structure = tree.flatten(keyed(names, more))
        points = cast("dict[int | str, object]", tree.unflatten(structure, map(_point, leaves)))
        decisions: list[tuple[Node, bool | int]] = []
        traced = run(lambda inputs: call_keyed(f, inputs), points, argument_namer(f), decisions=decisions)
        if decisions:
            raise errors.BranchError(
                "a formula stands for all values, and the function decides by one which way it goes: write "
                "fgrad.where(condition, x, y) for a choice, or make a number of what it depends on"
            )
        values = [_constant(x) if _is_given(x) else _symbols(x) for x in leaves]
        return Formula(tree.unflatten(traced.out_structure, evaluate(_restored(traced.program), values, numbers)))

    return replayed


def _symbolic() -> Numbers:
    try:
        return symbols()
    except ImportError:
        raise errors.missing_extra("sympy", "sympy", "a formula") from None


def _is_given(leaf: object) -> bool:
    """Whether a leaf is a number or an array of numbers, which stays what it is."""
    return not isinstance(leaf, str) and getattr(getattr(leaf, "dtype", None), "kind", "f") not in "UO"


def _point(leaf: object) -> object:
    """What the function is run on in place of a name, or of an array of names."""
    if isinstance(leaf, str):
        return _POINT
    return leaf if _is_given(leaf) else numpy().full(leaf.shape, _POINT)  # type: ignore[attr-defined]  # an array


def _symbols(leaf: object) -> object:
    if not isinstance(leaf, str):
        return numpy().frompyfunc(_symbols, 1, 1)(leaf.astype(object))  # type: ignore[attr-defined]  # an array
    if not leaf.strip() or not leaf.isprintable():
        raise errors.LeafError(f'{describe(leaf)} is no name for a symbol: write formula(f)("x")')
    import sympy as sp

    return sp.Symbol(leaf, real=True)


def _restored(program: Program) -> Program:
    """A program whose constants are what they were before they were rounded to floats."""
    steps = [(op, tuple(map(_constant, parents)), params) for op, parents, params in program.steps]
    return attrs.evolve(program, steps=tuple(steps), outputs=tuple(map(_constant, program.outputs)))


def _constant(x: object) -> object:
    if getattr(getattr(x, "dtype", None), "kind", "") == "f":
        return numpy().frompyfunc(_exact, 1, 1)(x)
    return _exact(x) if isinstance(x, float) else x


def _exact(x: float) -> object:
    """The fraction with a small denominator that x is nearest to, or its multiple of π or e, or its root; or x."""
    import sympy as sp

    if not math.isfinite(x):
        return x
    near = Fraction(x).limit_denominator(_DENOMINATOR)
    if float(near) == x:
        return sp.Rational(near.numerator, near.denominator)
    for symbol, value in ((sp.pi, math.pi), (sp.E, math.e)):
        part = Fraction(x / value).limit_denominator(_FEW)
        if part and float(part) * value == x:
            return symbol * sp.Rational(part.numerator, part.denominator)
    square = Fraction(x * x).limit_denominator(_FEW)
    if math.copysign(math.sqrt(square), x) == x:
        return sp.sqrt(sp.Rational(square.numerator, square.denominator)) * int(math.copysign(1, x))
    return sp.Float(x)


def _is_array(x: object) -> bool:
    return isinstance(x, numpy().ndarray)


def _shown(leaf: object) -> object:
    """An array as one that SymPy can print."""
    import sympy as sp

    return sp.Array(leaf.tolist()) if _is_array(leaf) else leaf  # type: ignore[attr-defined]  # an array


def _text(path: str) -> str:
    """A path as text within a formula."""
    return "".join(
        f"\\{c}" if c in "&%$#_{}" else {"\\": "/", "~": "-", "^": "'"}.get(c, c) for c in notation.clean(path)
    )
