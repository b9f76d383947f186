"""Graphs of nodes: which of them an output depends on, in what order; a graph written as a list.

Knows topology; nothing of what an op means or of its derivative. Every walk is a loop: no graph is too deep.
"""

from collections.abc import Hashable, Iterable, Sequence
from operator import attrgetter
from typing import TypeAlias

import attrs

from fgrad.node import INPUT, TABLE, Node, Scope, record

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
    """A node, named by its place in a list."""

    place: int


Flat: TypeAlias = list[tuple[str, tuple[object, ...], tuple[Hashable, ...], object]]


def flattened(inputs: Sequence[Node], outputs: Sequence[object], scope: Scope) -> tuple[Flat, list[object]]:
    """Write a graph as a list of (op, parents, params, value), where a parent that is a node is a `Link`."""
    nodes = [*inputs, *reversed(ancestors(outputs, scope, constants=True))]
    place = {node: i for i, node in enumerate(nodes)}

    def refer(x: object) -> object:
        return Link(place[x]) if type(x) is Node else x

    flat = [(node.op.name, tuple([refer(x) for x in node.parents]), node.params, node.value) for node in nodes]
    return flat, [refer(x) for x in outputs]


def restored(flat: Flat, outputs: Sequence[object], scope: Scope) -> tuple[list[Node], list[object]]:
    """Undo `flattened` in another scope: all nodes, in order, and the outputs."""
    nodes: list[Node] = []

    def resolve(x: object) -> object:
        return nodes[x.place] if type(x) is Link else x

    for name, parents, params, value in flat:
        op = INPUT if name == INPUT.name else TABLE[name]
        nodes.append(record(op, tuple([resolve(x) for x in parents]), params, value, scope))
    return nodes, [resolve(x) for x in outputs]
