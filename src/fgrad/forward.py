"""The forward walk: tangents from a graph's inputs on to its outputs.

Knows how to sum what flows into a node; nothing of the other walks, of functions or of pytrees.
"""

from collections.abc import Iterable
from typing import TypeAlias

from fgrad.arrays import quiet
from fgrad.node import Node, Scope, Value
from fgrad.ops.shaping import broadcast_like

Tangents: TypeAlias = dict[Node, Value]


def push(order: Iterable[Node], scope: Scope, tangents: Tangents) -> Tangents:
    """Carry `tangents` on through the nodes of `order`, oldest first, into the dict given; what is absent is zero."""
    with scope, quiet():
        for node in order:
            if type(node.value) is not float or not _push_floats(node, tangents):
                _push(node, scope, tangents)
    return tangents


def _push(node: Node, scope: Scope, tangents: Tangents) -> None:
    """Make the tangent of `node` from those of its parents."""
    op, ans, parents = node.op, node.value, node.parents
    args = [x.value if type(x) is Node and x.scope is scope else x for x in parents]
    ts = [tangents.get(x) if type(x) is Node and x.scope is scope else None for x in parents]
    if all(t is None for t in ts):
        return
    total = op.jvp(ts, ans, args, node.params)  # type: ignore[misc]  # only differentiable ops are in an order
    while type(total) is Node and total.scope is scope:
        total = total.value  # as in the reverse walk
    if total is not None:
        tangents[node] = broadcast_like(total, ans)


def _push_floats(node: Node, tangents: Tangents) -> bool:
    """Do `_push` natively for one or two floats; False, and nothing done, where that must decide."""
    ans, parents, partials = node.value, node.parents, node.op.partials
    if partials is None or len(parents) > 2:
        return False
    total = None
    args = [x.value if type(x) is Node else x for x in parents]  # among floats every node is in scope
    try:
        for x, p in zip(parents, partials, strict=True):
            t = tangents.get(x) if type(x) is Node else None
            if t is None:
                continue
            if type(t) is not float:
                return False
            c = t * (p(ans, *args) if callable(p) else p) if t else 0.0  # strong zero: an exact 0 adds nothing
            total = c if total is None else total + c
    except (ArithmeticError, ValueError):
        return False
    if total is None:
        return True
    if total != total:
        return False
    tangents[node] = total
    return True
