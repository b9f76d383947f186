"""Where a compiled program needs the strong zero itself, and not only a look at its results.

Knows which ops may give a number where they are given nan; nothing of how anything is computed.

A program computes `scale` as a plain product, and is run with care where a result is nan. That is right as long as a
nan, once there, comes to light: a comparison, or a power, may hide it.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from fgrad.compile.rewrite import Typed
from fgrad.graph import Link, Program
from fgrad.node import TABLE, Op

HIDING: Final = frozenset(
    [
        *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "isnan", "isinf", "isfinite"),
        *("argmax", "argmin", "argsort", "sort", "searchsorted", "pow", "hypot", "astype"),
        *(f"logical_{op}" for op in ("and", "or", "xor", "not")),
    ]
)
"""Ops whose result may be a number where an operand is nan."""
STRONG: Final[Op] = attrs.evolve(TABLE["scale"], name="strong_scale")
"""`scale`, to the letter."""


def strengthened(typed: Typed, decided: Iterable[object] = ()) -> Typed:
    """The program with the strong zero where its nan might be hidden: before such ops, and in what guards read.

    >>> from fgrad import grad, sqrt, trace, where
    >>> from fgrad.compile.rewrite import typed
    >>> slope = grad(lambda x: where(x > 0, sqrt(x) * 3.0, 0.0))
    >>> traced = typed(trace(lambda x: where(slope(x) > 1, 1.0, 2.0))(3.0))
    >>> {op.name for op, _, _ in strengthened(traced).program.steps if "scale" in op.name}
    {'strong_scale'}
    """
    program, scale = typed.program, TABLE["scale"]
    if not any(op is scale for op, _, _ in program.steps):
        return typed
    seen = {x.place for x in decided if type(x) is Link}
    steps = list(program.steps)
    for i in range(len(steps) - 1, -1, -1):
        op, parents, params = steps[i]
        if program.arity + i in seen or _hides(op, params):
            seen.update(x.place for x in parents if type(x) is Link)
        if program.arity + i in seen and op is scale:
            steps[i] = STRONG, parents, params
    return attrs.evolve(typed, program=attrs.evolve(program, steps=tuple(steps)))


def _hides(op: Op, params: Iterable[object]) -> bool:
    """Whether an op may hide a nan: itself, or in a program that it holds."""
    if op.name in HIDING:
        return True
    programs = [param for param in params if type(param) is Program]
    return any(_hides(inner, more) for program in programs for inner, _, more in program.steps)
