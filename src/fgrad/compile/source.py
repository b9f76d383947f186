"""Programs as Python that people read and the machine runs: a statement for each value that is shared.

Knows how each op is written in Python, on numbers and on arrays; nothing of derivatives and of when a program is right.
"""

import keyword
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from math import isfinite
from types import FunctionType
from typing import Final, TypeAlias, cast

import attrs

from fgrad.arrays import numpy
from fgrad.compile.functions import compiled, text_of
from fgrad.compile.rewrite import Kind, Typed
from fgrad.graph import Link, Program, Step
from fgrad.node import TABLE, Op
from fgrad.ops.rows import array_rule

Outcome: TypeAlias = tuple[object, ...] | None
"""The outputs; or None, if a guard failed."""

NUMBERS: Final = (float, int, bool)
_WIDTH: Final = 88  # of a statement, before it is cut in two
_OPERATORS: Final = {
    "add": "{} + {}",
    "subtract": "{} - {}",
    "multiply": "{} * {}",
    "scale": "{} * {}",
    "divide": "{} / {}",
    "negative": "-{}",
    "positive": "+{}",
    "equal": "{} == {}",
    "not_equal": "{} != {}",
    "less": "{} < {}",
    "less_equal": "{} <= {}",
    "greater": "{} > {}",
    "greater_equal": "{} >= {}",
}
"""What is written alike on numbers and arrays."""
_ON_NUMBERS: Final = {
    **_OPERATORS,
    "square": "{0} * {0}",
    "reciprocal": "1 / {}",
    "where": "{1} if {0} else {2}",
    "relu": "{0} if {0} >= 0.0 or {0} != {0} else 0.0",
    "maximum": "{0} if {0} >= {1} or {0} != {0} else {1}",
    "logical_not": "not {}",
}
_ANY, _DENSE, _OTHER = 0, 1, 2  # layouts of arrays: of one axis, in C's order, a constant's of another
_IN_PLACE: Final = {"add": "+=", "subtract": "-=", "multiply": "*=", "scale": "*=", "divide": "/="}
_ON_ARRAYS: Final = {**_OPERATORS, "matmul": "{} @ {}", "matrix_transpose": "{}.mT"}


@attrs.frozen
class Guard:
    """What a branch, or a shape, was decided by: a value of a program, and what it was, or how many of it held.

    Where a native function checks its own guards, its result is the value: None if one fails.
    """

    value: object
    was: bool | int | None
    counted: bool = False

    def fails(self, value: object) -> bool:
        """Whether it would be decided otherwise now."""
        if self.counted:
            return bool(value.sum() != self.was)  # type: ignore[attr-defined]  # a mask
        return (bool(value) if type(self.was) is bool else int(value)) != self.was  # type: ignore[call-overload]  # a number


@attrs.frozen(eq=False)
class Source:
    """A program as text, and what the names in it stand for."""

    name: str
    text: str
    names: Mapping[str, object]

    @property
    def shown(self) -> str:
        """The text, after those of the functions that it was given: the steps of loops."""
        inner = dict.fromkeys(filter(None, map(text_of, self.names.values())))
        return "\n".join([*inner, self.text])

    def compiled(self) -> Callable[..., Outcome]:
        """Make the function."""
        return cast("Callable[..., Outcome]", compiled(self.name, self.text, dict(self.names)))


def write(
    typed: Typed,
    outputs: Sequence[object],
    name: str,
    inputs: Sequence[str],
    guards: Sequence[Guard] = (),
    *,
    about: str = "",
    copied: Collection[int] = (),
) -> Source:
    """Write a program as a function of its inputs, by their names, that gives a tuple of some outputs.

    An array that is not needed any more serves its successor: what is computed number by number is written over it.
    Where a guard's value is another than it was, the function gives None as soon as it knows. `scale` is
    a plain product: the function is right where no output is nan. Outputs in `copied` are copied.
    """
    program = attrs.evolve(typed.program, outputs=tuple(outputs))
    names = tuple(map(identifier, inputs))
    return _Writer(program, typed.kinds, name, names, tuple(guards), frozenset(copied)).source(about)


def identifier(path: str) -> str:
    """A Python name for the path of a leaf.

    >>> identifier("params['layers'][0].w")
    'params_layers_0_w'
    """
    name = re.sub(r"\W+", "_", path).strip("_") or "x"
    return f"_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name


@attrs.define(eq=False)
class _Writer:
    """What is written so far."""

    program: Program
    kinds: Sequence[Kind]
    name: str
    inputs: tuple[str, ...]
    guards: tuple[Guard, ...]
    copied: frozenset[int]
    names: dict[str, object] = attrs.field(factory=dict)  # global to the function
    lines: list[str] = attrs.field(factory=list)
    terms: list[str] = attrs.field(factory=list)  # how each value is referred to
    bare: dict[str, str] = attrs.field(factory=dict)  # a term in brackets, without them
    taken: set[str] = attrs.field(factory=set)
    labels: dict[int, str] = attrs.field(factory=dict)

    def source(self, about: str) -> Source:
        inputs = [self._fresh(x) for x in self.inputs]
        self.terms += inputs
        self.labels = self._labels()
        inlined, waiting = self._inlined().difference(self.labels), self._guards_by_place()
        over = self._written_over(inlined)
        targets = set(over.values())
        for place in range(len(inputs)):
            self._check(waiting, place)
        for place, step in enumerate(self.program.steps, len(inputs)):
            if step[0] is TABLE["named"]:
                self.terms.append(self._term(step[1][0]))
            elif place in over:
                self.lines.append(self._over(over[place], *step))
                self.terms.append(self.terms[over[place]])
            else:
                self._state(place, self._expression(*step), place in inlined and place not in targets)
            self._check(waiting, place)
        outputs = [
            f"{self._term(x)}.copy()" if i in self.copied else self.bare.get(self._term(x), self._term(x))
            for i, x in enumerate(self.program.outputs)
        ]
        self.lines.append(f"return ({''.join(f'{x}, ' for x in outputs).rstrip(' ')})")
        comment = [f"# {line}" for line in about.splitlines()]
        head = f"def {self.name}({', '.join(inputs)}):"
        text = "\n".join([*comment, head, *[f"    {line}" for line in self.lines]]) + "\n"
        return Source(self.name, text, self.names)

    def _state(self, place: int, term: str, inlined: bool) -> None:
        """Give a value its name, or let it stand in brackets where it is needed."""
        if inlined and len(term) < _WIDTH:
            self.terms.append(f"({term})" if " " in term or term[0] in "-+" else term)
            self.bare[self.terms[-1]] = term
            return
        self.terms.append(self._fresh(self.labels.get(place, f"v{place - self.program.arity}")))
        self.lines.append(f"{self.terms[-1]} = {term}")

    def _labels(self) -> dict[int, str]:
        """The names that users gave to values: to what they labelled."""
        steps = [(x.place, params[0]) for op, (x, *_), params in self._named() if type(x) is Link]
        return {place: identifier(cast("str", label)) for place, label in reversed(steps)}

    def _named(self) -> list[Step]:
        return [step for step in self.program.steps if step[0] is TABLE["named"]]

    def _inlined(self) -> set[int]:
        """The values that stand just once, in a later step, so that they need no name."""
        uses: dict[int, int] = {}
        for op, parents, _ in self.program.steps:
            repeats = "{0}" in self._template(op, parents)
            for x in parents:
                if type(x) is Link:
                    uses[x.place] = uses.get(x.place, 0) + (2 if repeats else 1)
        for x in self.program.outputs:
            if type(x) is Link:
                uses[x.place] = uses.get(x.place, 0) + (1 if len(self.program.outputs) == 1 else 2)
        for guard in self.guards:
            if type(guard.value) is Link:
                uses[guard.value.place] = 2
        return {place for place, n in uses.items() if n == 1}

    def _guards_by_place(self) -> dict[int, list[Guard]]:
        found: dict[int, list[Guard]] = {}
        for guard in self.guards:
            if type(guard.value) is Link:
                found.setdefault(guard.value.place, []).append(guard)
        return found

    def _check(self, waiting: Mapping[int, list[Guard]], place: int) -> None:
        """Leave the function where a branch would now be decided otherwise."""
        for guard in waiting.get(place, ()):
            term = self.terms[place]
            wrong = f"{term} != {guard.was}" if type(guard.was) is int else f"not {term}" if guard.was else term
            if guard.was is None:
                wrong = f"{term} is None"
            elif guard.counted:
                wrong = f"{term}.sum() != {guard.was}"
            if f"if {wrong}: return None" not in self.lines:
                self.lines.append(f"if {wrong}: return None")

    def _template(self, op: Op, parents: Sequence[object]) -> str:
        """How an op is written, if it is not called by its name."""
        return (_ON_NUMBERS if self._are_numbers(parents) else _ON_ARRAYS).get(op.name, "")

    def _are_numbers(self, parents: Sequence[object]) -> bool:
        return all(self.kinds[x.place].type in NUMBERS if type(x) is Link else type(x) in NUMBERS for x in parents)

    def _written_over(self, single: set[int]) -> dict[int, int]:
        """The steps whose result takes the place of an operand that nothing else needs, by the operand's place."""
        found: dict[int, int] = {}
        layouts = self._layouts()
        for place, (op, parents, _) in enumerate(self.program.steps, self.program.arity):
            if self._ufunc(op) is None or len({self._layout(x, layouts) for x in parents} - {_ANY}) > 1:
                continue
            for x in parents:
                if type(x) is Link and x.place in single and self._is_own(x.place) and self._alike(x.place, place):
                    found[place] = x.place
                    break
        return found

    def _layouts(self) -> list[int]:
        """For each value a number for the order of its axes in memory, the same for those of the same order.

        Sums and products of matrices depend on it in the last bit, and a ufunc's result has that of its operands: if
        these have different ones, what is written over one of them might have another than a new array.
        """
        found = [_ANY if len(kind.shape) < 2 else -1 - i for i, kind in enumerate(self.kinds[: self.program.arity])]
        for place, (op, parents, _) in enumerate(self.program.steps, self.program.arity):
            given = {self._layout(x, found) for x in parents} - {_ANY}
            if len(self.kinds[place].shape) < 2:
                found.append(_ANY)
            elif op.name == "matmul":
                found.append(_DENSE)
            else:
                found.append(given.pop() if len(given) == 1 and op.scalar is not None else -1 - place)
        return found

    def _layout(self, x: object, layouts: Sequence[int]) -> int:
        if type(x) is Link:
            return layouts[x.place]
        return _ANY if len(getattr(x, "shape", ())) < 2 else _DENSE if x.flags.c_contiguous else _OTHER  # type: ignore[attr-defined]  # an array

    def _ufunc(self, op: Op) -> object:
        """NumPy's function that can write over an operand, for the ops that are no more than that."""
        name = {"relu": "maximum", "scale": "multiply"}.get(op.name, op.name)
        rule = array_rule(TABLE[name], numpy()) if name in TABLE else None
        return rule if isinstance(rule, numpy().ufunc) else None

    def _is_own(self, place: int) -> bool:
        """Whether an array shares memory with no other."""
        if place < self.program.arity:
            return False
        op = self.program.steps[place - self.program.arity][0]
        return op.name in ("matmul", "sum", "mean") or (op.scalar is not None and op.name != "positive")

    def _alike(self, one: int, other: int) -> bool:
        kind = self.kinds[one]
        return kind == self.kinds[other] and len(kind.shape) > 0 and kind.type is numpy().ndarray

    def _over(self, place: int, op: Op, parents: Sequence[object], params: Sequence[object]) -> str:
        """Write a step over its operand at `place`."""
        target, args = self.terms[place], [self._term(x) for x in parents]
        sign = _IN_PLACE.get(op.name)
        if sign and args[0] == target:
            return f"{target} {sign} {self.bare.get(args[1], args[1])}"
        called = self._bound("maximum" if op.name == "relu" else op.name, self._ufunc(op))
        more = ["0"] if op.name == "relu" else []
        return f"{called}({', '.join([*[self.bare.get(x, x) for x in args], *more])}, out={target})"

    def _expression(self, op: Op, parents: Sequence[object], params: Sequence[object]) -> str:
        args = [self._term(x) for x in parents]
        if op.name == "item":
            return f"{args[0]}[{params[0]}]"
        if template := self._template(op, parents):
            return template.format(*args)
        numbers = self._are_numbers(parents) and op.scalar is not None
        function = op.scalar if numbers else array_rule(op, numpy())
        called = self._bound(op.name, function)
        bare = [self.bare.get(x, x) for x in args]
        return f"{called}({', '.join([*bare, *map(self._constant, params)])})"

    def _term(self, x: object) -> str:
        return self.terms[x.place] if type(x) is Link else self._constant(x)

    def _constant(self, x: object) -> str:
        """A constant as it is written, or a name for it."""
        if type(x) is float and isfinite(x):
            return repr(x) if str(x)[0] != "-" else f"({x!r})"
        if _is_plain(x):
            return repr(x)
        return self._bound(cast("FunctionType", x).__name__ if text_of(x) else "c", x)

    def _bound(self, name: str, x: object) -> str:
        """The name for an object, made from `name`."""
        for i in count():
            candidate = f"{name}_{i}" if i else f"{name}_" if keyword.iskeyword(name) else name
            if candidate not in self.taken and candidate != self.name:  # which is global too
                self.taken.add(candidate)
                self.names[candidate] = x
            if self.names.get(candidate) is x:
                return candidate
        raise AssertionError  # count() has no end

    def _fresh(self, name: str) -> str:
        candidate = next(n for i in count() if (n := f"{name}_{i}" if i else name) not in self.taken)
        self.taken.add(candidate)
        return candidate


def _is_plain(x: object) -> bool:
    """Whether a param is written as its repr."""
    if type(x) is tuple:
        return all(map(_is_plain, x))
    return x is None or type(x) in (int, bool, str)
