"""The reverse walk: cotangents from a graph's outputs back to its inputs.

Knows how to sum what flows along the edges; nothing of the other walks, of functions or of pytrees.
"""

from collections.abc import Iterable
from typing import TypeAlias

from fgrad.arrays import quiet
from fgrad.node import Node, Scope, Value
from fgrad.ops.shaping import sum_to

Cotangents: TypeAlias = dict[Node, Value]


def sweep(order: Iterable[Node], scope: Scope, cotangents: Cotangents) -> Cotangents:
    """Carry `cotangents` back through the nodes of `order`, newest first; what is left are those of the inputs.

    What is absent is zero. The dict that is given is used up.
    """
    pop, held = cotangents.pop, cotangents.get
    with scope, quiet():
        for node in order:
            g = pop(node, None)
            if g is None:
                continue
            ans, parents, partials = node.value, node.parents, node.op.partials
            if type(g) is not float or type(ans) is not float or partials is None:
                _pull(node, g, scope, cotangents)
                continue
            if g == 0.0:
                continue  # strong zero: from an exact 0 nothing flows on
            # Natively, for one or two floats, what _pull says: among floats every node is in scope.
            try:
                if len(parents) == 2:
                    x, y = parents
                    a = x.value if type(x) is Node else x
                    b = y.value if type(y) is Node else y
                    c = d = 0.0
                    if type(x) is Node:
                        p = partials[0]
                        c = g * (p(ans, a, b) if callable(p) else p)
                    if type(y) is Node:
                        p = partials[1]
                        d = g * (p(ans, a, b) if callable(p) else p)
                    if c != c or d != d:
                        raise ArithmeticError
                    if type(x) is Node:
                        e = held(x)
                        cotangents[x] = c if e is None else e + c
                    if type(y) is Node:
                        e = held(y)
                        cotangents[y] = d if e is None else e + d
                else:
                    (x,), (p,) = parents, partials
                    if type(x) is Node:
                        c = g * (p(ans, x.value) if callable(p) else p)
                        if c != c:
                            raise ArithmeticError
                        e = held(x)
                        cotangents[x] = c if e is None else e + c
            except (
                ArithmeticError,
                ValueError,
            ):  # more than two arguments, a nan, or numbers where Python raises
                _pull(node, g, scope, cotangents)
    return cotangents


def _pull(node: Node, g: Value, scope: Scope, cotangents: Cotangents) -> None:
    """Add to the cotangent of each parent what flows to it through `node`."""
    op, ans, parents = node.op, node.value, node.parents
    args: list[object] = []
    wanted: list[int] = []
    for i, x in enumerate(parents):
        if type(x) is Node and x.scope is scope:
            wanted.append(i)
            x = x.value
        args.append(x)
    found = op.vjp(wanted, g, ans, args, node.params)  # type: ignore[misc]  # only differentiable ops are in an order
    for i, c in zip(wanted, found, strict=True):
        while type(c) is Node and c.scope is scope:
            c = c.value  # from a user's rule, to which the nodes that it reaches as a closure are constants
        if c is not None:
            parent: Node = parents[i]  # type: ignore[assignment]  # what is wanted are nodes
            c = sum_to(c, args[i])
            e = cotangents.get(parent)
            cotangents[parent] = c if e is None else e + c
