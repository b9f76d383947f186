"""One way through a function: traced, made shorter, written, compiled, and run as long as its guards hold.

Knows what a program may share memory with, and what to do where a number is not a usual one; nothing of which way a
call will go.
"""

import functools
import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, cast

import attrs

from fgrad import errors, tree
from fgrad.arrays import copied, quiet
from fgrad.calls import is_operand
from fgrad.compile.forms import native_forms
from fgrad.compile.inner import PROGRAMS, compiled_inside, joined
from fgrad.compile.leaves import packer
from fgrad.compile.native import KERNEL, Native, in_python, native
from fgrad.compile.rewrite import Typed, rewritten, typed_graph
from fgrad.compile.source import NUMBERS, Guard, Outcome, Source, identifier, write
from fgrad.compile.zeros import strengthened
from fgrad.graph import Link, Program
from fgrad.node import Node, concrete
from fgrad.trace import Call, Trace, argument_namer, call_keyed, describe, keyed, run

_VIEWS: Final = frozenset(
    (
        "reshape",
        "permute_dims",
        "matrix_transpose",
        "getitem",
        "broadcast_to",
        "astype",
        "stop_gradient",
        "named",
        "item",
    )
)
"""Ops whose result may share memory with an argument."""


@attrs.define(eq=False)
class Path:
    """One way through a function: a program, right as long as its guards hold; its last outputs are what they read."""

    typed: Typed
    guards: tuple[Guard, ...]
    pack: Callable[[Sequence[object]], object]
    source: Source
    """The program; or what is left of it to Python, where kernels do the rest."""
    native: Native | None
    places: tuple[int, ...] | None
    """Where the inputs are among the leaves, if those are more."""
    _fast: Callable[..., Outcome] = attrs.field(init=False)
    _arrays: bool = attrs.field(init=False)
    _scales: bool = attrs.field(init=False)
    _numbers: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        whole = self.native and self.native.function
        self._fast = cast("Callable[..., Outcome]", whole or self.source.compiled())
        self._arrays = not whole and any(kind.type not in NUMBERS for kind in self.typed.kinds)
        looks = whole is not None and self.native is not None and self.native.looks_for_nan
        self._scales = not looks and any(op.name in ("scale", *PROGRAMS) for op, _, _ in self.typed.program.steps)
        outputs = self.typed.program.outputs[: len(self.typed.program.outputs) - len(self.guards)]
        self._numbers = all(type(x) is Link and self.typed.kinds[x.place].type in NUMBERS for x in outputs)

    def run(self, leaves: tuple[object, ...]) -> Outcome:
        """The outputs; or None if a guard fails."""
        if self.places is not None:
            leaves = tuple([leaves[i] for i in self.places])
        try:
            if self._arrays:
                with quiet():
                    found = self._fast(*leaves)
            else:
                found = self._fast(*leaves)
            if found is None or not self._scales:
                return self._carefully(leaves) if found is NotImplemented else found
            total = sum(cast("tuple[float, ...]", found)) if self._numbers else _total(found)
        except (ArithmeticError, ValueError):
            return self._carefully(leaves)
        return found if total == total else self._carefully(leaves)

    def _carefully(self, leaves: tuple[object, ...]) -> Outcome:
        """Do the program op by op: where Python's numbers raise it gives inf or nan, and 0 times nan is 0."""
        with quiet():
            found = self.typed.program(*leaves)
        count = len(found) - len(self.guards)
        for guard, value in zip(self.guards, found[count:], strict=True):
            if guard.fails(value):
                return None
        return tuple([copied(y) for y in found[:count]])


def _total(xs: tuple[object, ...]) -> float:
    """A sum of some numbers and arrays: nan if one is among them, and seldom without."""
    total = 0.0
    for x in xs:
        if type(x) in NUMBERS:
            total += x  # type: ignore[operator]  # a number
        else:
            flat = x.reshape(-1)  # type: ignore[attr-defined]  # an array, or one of its numbers
            total += flat @ flat if 1 < flat.shape[0] <= 10_000 else flat.sum()  # as in `scale`
    return total


# --- from a function to a path ---------------------------------------------------------------------------------------
@attrs.frozen(eq=False)
class Lowered:
    """A function's program on its way to what runs: its last outputs are what guards read, which was such."""

    function: Callable[..., object]
    call: Call
    traced: Trace
    typed: Typed
    read: tuple[tuple[bool | int, bool], ...]
    fast_math: bool = False

    def shorter(self, fast_math: bool) -> "Lowered":
        """With the program rewritten by all passes."""
        short = joined(rewritten(self.typed, fast_math), fast_math)
        short = strengthened(short, short.program.outputs[len(self.traced.outputs) :])
        return attrs.evolve(self, typed=short, fast_math=fast_math)

    @property
    def outputs(self) -> tuple[object, ...]:
        """What the function gives."""
        return self.typed.program.outputs[: len(self.traced.outputs)]

    @property
    def guards(self) -> tuple[Guard, ...]:
        """What its branches depend on."""
        values = self.typed.program.outputs[len(self.traced.outputs) :]
        return tuple([Guard(x, was, counted) for x, (was, counted) in zip(values, self.read, strict=True)])

    def native(self) -> Native | None:
        """What kernels can do of it."""
        formed = attrs.evolve(self, typed=native_forms(self.typed))
        return native(formed.typed, formed.outputs, formed.guards, self.fast_math)

    def source(self, found: Native | None = None) -> Source:
        """The program as Python; what is left of it to Python where kernels do the rest."""
        typed, outputs = self.typed, self.outputs
        if found is None:
            typed = compiled_inside(typed, self.fast_math, in_python, lambda scan: None)
        else:
            typed, outputs = found.typed, found.typed.program.outputs
        return write(
            typed,
            outputs,
            identifier(getattr(self.function, "__name__", "function")),
            [self.traced.scope.input_name(i) for i in range(len(self.traced.inputs))],
            self.guards if found is None else found.guards,
            about=_about(self.function),
            copied=_shared(typed, outputs),
        )

    def path(self, found: Native | None) -> Path:
        """The program compiled."""
        pack = packer(self.traced.out_structure)
        places = self.call.places if len(self.call.leaves) > len(self.call.places) else None
        return Path(self.typed, self.guards, pack, self.source(found), found, places)


def lowered(f: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]) -> Lowered:
    """Trace f at its numbers and arrays, and note what its branches were decided by; strings stand for themselves."""
    decisions: list[tuple[Node, bool | int]] = []
    leaves, structure = tree.flatten(keyed(args, kwargs))
    paths = tree.paths(structure, argument_namer(f))
    call = Call(tuple(leaves), structure, tuple(_places(leaves, paths)))

    def on_numbers(numbers: tuple[object, ...]) -> object:
        return call_keyed(f, call.filled(numbers))

    def path(i: object) -> str:
        return paths[call.places[cast("int", i)]]

    traced = run(on_numbers, call.operands, path, raw=True, decisions=decisions)
    read = dict.fromkeys([(node, was, False) for node, was in decisions])
    for node in traced.nodes:
        if node.op.name in ("getitem", "scatter"):  # as many places as a mask picks has the result
            masks = [x for x in node.parents[1:] if type(x) is Node and str(x.dtype) == "bool"]
            read.update(dict.fromkeys([(x, int(concrete(x).sum()), True) for x in masks]))  # type: ignore[attr-defined]  # arrays
    program = typed_graph(traced.inputs, [*traced.outputs, *[node for node, _, _ in read]], traced.scope)
    return Lowered(f, call, traced, program, tuple([(was, counted) for _, was, counted in read]))


def _places(leaves: Sequence[object], paths: Sequence[str]) -> list[int]:
    """Where the numbers and arrays are; strings are compared at every call, anything else must be named as static."""
    found = [i for i, x in enumerate(leaves) if isinstance(x, int) or is_operand(x)]
    for i in set(range(len(leaves))).difference(found):
        if not isinstance(leaves[i], str | bytes):
            raise errors.LeafError(
                f"{paths[i]} is {describe(leaves[i])}, neither number nor array: name the argument in static_argnames"
            )
    return found


def _shared(typed: Typed, outputs: Sequence[object]) -> set[int]:
    """Which outputs must be copied, since they may share memory with an input, with each other or with a constant."""
    found, seen = set(), set()
    for i, x in enumerate(outputs):
        if type(x) is not Link:
            if type(x) not in NUMBERS and not isinstance(x, str | bytes):
                found.add(i)
        elif typed.kinds[x.place].type not in NUMBERS:
            same = _same(typed.program, x.place)
            if same in seen or not _is_own(typed.program, x.place):
                found.add(i)
            seen.add(same)
    return found


def _same(program: Program, place: int) -> Hashable:
    """What two values have in common that are one: several steps may take the same of a step's results."""
    if place >= program.arity:
        op, parents, params = program.steps[place - program.arity]
        if op.name == "item" and type(parents[0]) is Link:
            return parents[0].place, params
    return place


def _is_own(program: Program, place: int) -> bool:
    """Whether a value shares memory with no other: it is a kernel's, or that of an op that gives no view."""
    if place < program.arity:
        return False
    op, parents, _ = program.steps[place - program.arity]
    if op.name == "item" and type(parents[0]) is Link and parents[0].place >= program.arity:
        return program.steps[parents[0].place - program.arity][0].name == KERNEL
    return op.name not in _VIEWS


def _about(f: Callable[..., object]) -> str:
    """Where the function stands that a program was made from."""
    inner = inspect.unwrap(f.func if isinstance(f, functools.partial) else f)
    code = getattr(inner, "__code__", None)
    if code is None:
        return f"from {inner!r}"
    return f"from {inner.__name__}, {code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno}"


def listing(program: Program) -> str:
    """A program as text, an op on each line.

    >>> from fgrad import trace
    >>> print(listing(trace(lambda x: x * x + 1.0)(2.0).program))
    inputs: v0
    v1 = multiply(v0, v0)
    v2 = add(v1, 1.0)
    outputs: v2
    """

    def term(x: object) -> str:
        if type(x) is Link:
            return f"v{x.place}"
        size = getattr(x, "shape", ())
        return f"constant{list(size)}" if size else repr(x)

    lines = [f"inputs: {', '.join(f'v{i}' for i in range(program.arity))}"]
    for place, (op, parents, params) in enumerate(program.steps, program.arity):
        lines.append(f"v{place} = {op.name}({', '.join([*map(term, parents), *map(repr, params)])})")
    return "\n".join([*lines, f"outputs: {', '.join(map(term, program.outputs))}"])
