"""Graphs of nodes: which of them an output depends on, in what order; a graph as a program, without values.

Knows topology; nothing of what an op means or of its derivative. Every walk is a loop: no graph is too deep.
"""

from collections.abc import Hashable, Iterable, Sequence
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

    def __repr__(self) -> str:
        return f"<Program of {self.arity} inputs, {len(self.steps)} steps, {len(self.outputs)} outputs>"


def program(inputs: Sequence[Node], outputs: Sequence[object], scope: Scope) -> Program:
    """What the nodes of `scope` that the outputs depend on do; other nodes are constants, if they are no inputs."""
    order = ancestors(outputs, scope, constants=True)[::-1]
    place = {node: i for i, node in enumerate([*inputs, *order])}

    def refer(x: object) -> object:
        return Link(place[x]) if type(x) is Node and x in place else x

    steps = [(node.op, tuple([refer(x) for x in node.parents]), node.params) for node in order]
    return Program(len(inputs), tuple(steps), tuple([refer(x) for x in outputs]))


def free_nodes(outputs: Sequence[object], scope: Scope) -> list[Node]:
    """The nodes of other scopes that the outputs depend on directly, or through nodes of `scope`, oldest use first."""
    order = ancestors(outputs, scope, constants=True)[::-1]
    used = [x for node in order for x in node.parents] + list(outputs)
    return list(dict.fromkeys([x for x in used if type(x) is Node and x.scope is not scope]))
