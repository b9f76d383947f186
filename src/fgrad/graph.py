"""Graphs of nodes: which of them an output depends on, in what order; a graph as a program, without values.

Knows topology; nothing of what an op means or of its derivative. Every walk is a loop: no graph is too deep.
"""

from array import array
from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import attrgetter
from typing import TypeAlias

import attrs

from fgrad.node import INPUT, Node, Op, Scope, apply

_by_birth = attrgetter("serial")


def ancestors(outputs: Iterable[object], scope: Scope, *, constants: bool = False) -> list[Node]:
    """List the nodes of `scope` through which the outputs depend on its inputs, newest first, without the inputs.

    A node is younger than its parents, so the order of birth is a topological order. Nodes whose derivative is zero,
    and what only they depend on, come along where `constants` says so.
    """
    found: list[Node] = []
    seen: set[Node] = set()
    waiting: list[Node] = []
    parents = outputs
    while True:
        for x in parents:
            if type(x) is Node and x.scope is scope and x not in seen and (x.op.vjp is not None or constants):
                seen.add(x)
                waiting.append(x)
        if not waiting:
            break
        node = waiting.pop()
        if node.op is not INPUT:
            found.append(node)
        parents = node.parents
    found.sort(key=_by_birth, reverse=True)
    return found


@attrs.frozen
class Link:
    """A value, named by its place in a list."""

    place: int


Step: TypeAlias = tuple[Op, tuple[object, ...], tuple[Hashable, ...]]


@attrs.frozen(eq=False, repr=False)
class Program:
    """A graph without values: so many inputs, then an op after the other, then the outputs.

    A `Link` stands for what an input or an earlier step gave, by its place among them all; anything else is a constant.
    Called on as many values, nodes among them or not, it does its ops and gives its outputs.
    """

    arity: int
    steps: tuple[Step, ...]
    outputs: tuple[object, ...]

    def __call__(self, *args: object) -> tuple[object, ...]:  # noqa: D102  # the class says it
        values = list(args)
        for op, parents, params in self.steps:
            values.append(apply(op, tuple([values[x.place] if type(x) is Link else x for x in parents]), params))
        return tuple([values[x.place] if type(x) is Link else x for x in self.outputs])

    def __reduce__(self) -> "tuple[Callable[..., Program], tuple[object, ...]]":
        return _from_columns, (self.arity, *columns(self.steps), self.outputs)

    def __repr__(self) -> str:
        return f"<Program of {self.arity} inputs, {len(self.steps)} steps, {len(self.outputs)} outputs>"


def program(inputs: Sequence[Node], outputs: Sequence[object], scope: Scope) -> Program:
    """What the nodes of `scope` that the outputs depend on do; other nodes are constants, if they are no inputs."""
    order = ancestors(outputs, scope, constants=True)[::-1]
    links = {node: Link(i) for i, node in enumerate([*inputs, *order])}

    def refer(x: object) -> object:
        return links.get(x, x) if type(x) is Node else x

    steps = [(node.op, tuple([refer(x) for x in node.parents]), node.params) for node in order]
    return Program(len(inputs), tuple(steps), tuple([refer(x) for x in outputs]))


Integers: TypeAlias = "array[int]"
Columns: TypeAlias = tuple[tuple[Op, ...], Integers, Integers, Integers, list[object], dict[int, object]]


def columns(steps: Iterable[Step]) -> Columns:
    """Steps as a few long columns of integers, which are stored several times sooner than as many small tuples.

    They are the ops; for each step its op, and how many parents it has; each parent, as a place, or as -1 - i for
    constant i; these constants; and params, by step, where there are any.
    """
    codes: dict[Op, int] = {}
    which, widths, parents = array("q"), array("q"), array("q")
    constants: list[object] = []
    extra: dict[int, object] = {}
    for i, (op, xs, params) in enumerate(steps):
        which.append(codes.setdefault(op, len(codes)))
        widths.append(len(xs))
        for x in xs:
            if type(x) is Link:
                parents.append(x.place)
            else:
                constants.append(x)
                parents.append(-len(constants))
        if params:
            extra[i] = params
    return tuple(codes), which, widths, parents, constants, extra


def _from_columns(
    arity: int,
    ops: tuple[Op, ...],
    which: Integers,
    widths: Integers,
    parents: Integers,
    constants: list[object],
    extra: dict[int, tuple[Hashable, ...]],
    outputs: tuple[object, ...],
) -> Program:
    links = [Link(i) for i in range(arity + len(which))]
    found = iter([links[i] if i >= 0 else constants[-1 - i] for i in parents])
    steps = [
        (ops[code], tuple([next(found) for _ in range(width)]), extra.get(i, ()))
        for i, (code, width) in enumerate(zip(which, widths, strict=True))
    ]
    return Program(arity, tuple(steps), outputs)


def fault(program: Program) -> str:
    """What is wrong with a program that came from elsewhere: the first link that leads nowhere, or nothing."""
    places = program.arity
    for op, parents, _ in program.steps:
        for x in parents:
            if type(x) is Link and not 0 <= x.place < places:
                return f"step {places - program.arity}, {op.name}, links to value {x.place}, and has {places} before it"
        places += 1
    for x in program.outputs:
        if type(x) is Link and not 0 <= x.place < places:
            return f"an output links to value {x.place} of {places}"
    return ""


def last_uses(program: Program) -> dict[int, list[int]]:
    """Which values no step needs any more after each step, by its place among the steps; outputs are always needed."""
    ends = {x.place: i for i, (_, parents, _) in enumerate(program.steps) for x in parents if type(x) is Link}
    for x in program.outputs:
        if type(x) is Link:
            ends.pop(x.place, None)
    found: dict[int, list[int]] = {}
    for place, i in ends.items():
        found.setdefault(i, []).append(place)
    return found


def free_nodes(outputs: Sequence[object], scope: Scope) -> list[Node]:
    """The nodes of other scopes that the outputs depend on directly, or through nodes of `scope`, oldest use first."""
    order = ancestors(outputs, scope, constants=True)[::-1]
    used = [x for node in order for x in node.parents] + list(outputs)
    return list(dict.fromkeys([x for x in used if type(x) is Node and x.scope is not scope]))
