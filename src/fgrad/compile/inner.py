"""Programs inside steps, as a loop's body is: made shorter and compiled like the program around them.

Knows which ops hold programs, and what these are run on; nothing of how a program is made shorter or compiled.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, TypeAlias, cast

import attrs

from fgrad.arrays import numpy, quiet
from fgrad.compile.rewrite import Kind, Typed, identity, kind_of, live, rewritten
from fgrad.compile.scans import Scan
from fgrad.compile.zeros import strengthened
from fgrad.graph import Link, Program
from fgrad.node import TABLE, Op

Compile: TypeAlias = Callable[[Typed, str], Callable[..., object]]
"""What makes a function of a program, by a name."""
CompileScan: TypeAlias = Callable[[Scan], Op | None]
"""What makes an op that does a whole scan, if it can."""


# --- on what the programs of a step are run --------------------------------------------------------------------------
def _of_scan(kinds: Sequence[Kind], params: Sequence[object]) -> dict[int, Sequence[Kind]]:
    """States, slices, constants: of a row of float64 slices are Python's floats, where no others are as good."""
    count, slices = cast("tuple[int, int]", params[1:3])
    states, rows, constants = kinds[:count], kinds[count : count + slices], kinds[count + slices :]
    weak = all(kind.dtype is None or str(kind.dtype) == "float64" for kind in (*states, *constants) if kind.floating)
    return {0: [*states, *[_slice(kind, weak) for kind in rows], *constants]}


def _slice(kind: Kind, weak: bool) -> Kind:
    if len(kind.shape) > 1:
        return attrs.evolve(kind, shape=kind.shape[1:])
    if weak and str(kind.dtype) == "float64":
        return kind_of(1.0)
    return kind_of(numpy().ones(1, kind.dtype)[0])


PROGRAMS: Final[Mapping[str, Callable[[Sequence[Kind], Sequence[object]], dict[int, Sequence[Kind]]]]] = {
    "scan": _of_scan,
    "while_loop": lambda kinds, params: {0: kinds, 1: kinds},
    "cond": lambda kinds, params: {0: kinds[1:], 1: kinds[1:]},
    "checkpoint": lambda kinds, params: {0: kinds},
    "custom_vjp": lambda kinds, params: {0: kinds},
    "custom_jvp": lambda kinds, params: {0: kinds},
}
"""Which params of an op are programs, and the kinds of what each is run on."""


def typed_inner(program: Program, kinds: Sequence[Kind]) -> Typed | None:
    """A program with the kinds of its values, which one run on ones tells; None where that would run another."""
    if any(type(param) is Program for _, _, params in program.steps for param in params):
        return None
    values = [_one(kind) for kind in kinds]
    try:
        with quiet():
            for op, parents, params in program.steps:
                args = [values[x.place] if type(x) is Link else x for x in parents]
                values.append(op.impl(*args, *params))
    except Exception:  # ones may be no arguments for it: then it is left as it is
        return None
    return Typed(program, tuple(map(kind_of, values)))


def _one(kind: Kind) -> object:
    if kind.type in (float, int, bool):
        return kind.type(1)
    found = numpy().ones(kind.shape, kind.dtype)
    return found if kind.type.__name__ == "ndarray" else found[()]


# --- programs anew ---------------------------------------------------------------------------------------------------
def compiled_inside(typed: Typed, fast_math: bool, compile_: Compile, compile_scan: CompileScan) -> Typed:
    """A program whose steps hold functions instead of programs; scans, where that can be, are one op each."""
    steps = list(typed.program.steps)
    for i, (op, parents, params) in enumerate(steps):
        if op.name not in PROGRAMS or TABLE.get(op.name) is not op:
            continue
        found = list(params)
        for at, inner in _inner(typed, i).items():
            short = strengthened(rewritten(inner, fast_math))
            whole = compile_scan(_scan(typed, i, short)) if op.name == "scan" else None
            if whole is not None:
                op, found = whole, []
                break
            found[at] = compile_(short, f"{op.name}_{i}_{at}" if at else f"{op.name}_{i}")
        steps[i] = op, parents, tuple(found)
    return attrs.evolve(typed, program=attrs.evolve(typed.program, steps=tuple(steps)))


def _inner(typed: Typed, i: int) -> dict[int, Typed]:
    """The programs that step i holds, by the places of these params."""
    op, parents, params = typed.program.steps[i]
    kinds = [typed.kinds[x.place] if type(x) is Link else kind_of(x) for x in parents]
    found = {
        at: typed_inner(param, inputs)
        for at, inputs in PROGRAMS[op.name](kinds, params).items()
        if type(param := params[at]) is Program
    }
    return {at: inner for at, inner in found.items() if inner is not None}


def _scan(typed: Typed, i: int, step: Typed) -> Scan:
    _, _, params = typed.program.steps[i]
    _, states, slices, length, backwards, _ = cast("tuple[Program, int, int, int, bool, object]", params)
    return Scan(step, states, slices, length, backwards, typed.kinds[typed.program.arity + i].parts)


# --- scans of the same states ----------------------------------------------------------------------------------------
def joined(typed: Typed, fast_math: bool) -> Typed:
    """Do scans as one that go through the same states: that of a loss does what its gradient will need."""
    known: dict[Hashable, int] = {}
    for i, (op, parents, params) in enumerate(typed.program.steps):
        if op is not TABLE["scan"] or type(params[0]) is not Program:
            continue
        key = tuple([x.place if type(x) is Link else identity(x) for x in parents]), params[1:5]
        first = known.setdefault(key, i)
        found = _joined_pair(typed, first, i, fast_math) if first < i else None
        if found is not None:
            return joined(live(found), fast_math)
    return typed


def _joined_pair(typed: Typed, first: int, second: int, fast_math: bool) -> Typed | None:
    """The program in which one scan does what the other does too; None if their states are not the same."""
    program, arity = typed.program, typed.program.arity
    op, parents, (one, count, slices, length, backwards, likes) = program.steps[first]
    other = program.steps[second][2]
    one, count, likes = cast("tuple[Program, int, tuple[object, ...]]", (one, count, likes))
    two, more = cast("Program", other[0]), cast("tuple[object, ...]", other[5])
    kinds = _inner(typed, first).get(0)
    if kinds is None:
        return None
    after = len(one.steps)
    moved = [(op, tuple([_moved(x, one.arity, after) for x in xs]), params) for op, xs, params in two.steps]
    outputs = (*one.outputs, *[_moved(x, one.arity, after) for x in two.outputs])
    both = typed_inner(Program(one.arity, (*one.steps, *moved), outputs), kinds.kinds[: one.arity])
    if both is None:
        return None
    both = rewritten(both, fast_math)
    outputs, n = both.program.outputs, len(one.outputs)
    if not all(
        type(x) is Link and type(y) is Link and x == y for x, y in zip(outputs[:count], outputs[n:], strict=False)
    ):
        return None
    step = live(attrs.evolve(both, program=attrs.evolve(both.program, outputs=(*outputs[:n], *outputs[n + count :]))))
    steps = list(program.steps)
    steps[first] = op, parents, (step.program, count, slices, length, backwards, (*likes, *more))
    for i, (item, xs, params) in enumerate(steps):
        if item is TABLE["item"] and xs == (Link(arity + second),):
            at = cast("int", params[0])
            steps[i] = item, (Link(arity + first),), (at if at < count else at + n - count,)
    parts = (*typed.kinds[arity + first].parts, *typed.kinds[arity + second].parts[count:])
    found = list(typed.kinds)
    found[arity + first] = Kind(tuple, parts=parts)
    return Typed(attrs.evolve(program, steps=tuple(steps)), tuple(found))


def _moved(x: object, arity: int, by: int) -> object:
    """A link into a program whose steps come after so many others."""
    return Link(x.place + by) if type(x) is Link and x.place >= arity else x
