"""The batch walk: a graph traced on one example, done again on all of them at once.

Knows how a row is lifted to a leading batch axis; nothing of derivatives, of functions or of pytrees.
"""

from collections.abc import Iterable
from typing import TypeAlias

from fgrad.arrays import quiet
from fgrad.node import Node, Scope, Value, apply, shape
from fgrad.ops.shaping import reshape

Batches: TypeAlias = dict[Node, Value]


def replay(order: Iterable[Node], scope: Scope, batches: Batches, size: int) -> Batches:
    """Fill `batches` with the value of each node of `order`, oldest first, for all `size` examples along a first axis.

    Every node of `scope` depends on the batch; all other parents are the same for each example.
    """
    with quiet():
        for node in order:
            batched = [type(x) is Node and x.scope is scope for x in node.parents]
            args = [batches[x] if type(x) is Node and x.scope is scope else x for x in node.parents]
            if node.op.batch is None:
                batches[node] = apply(node.op, aligned(args, batched), node.params)
            else:
                batches[node] = node.op.batch(node.op, args, batched, node.params, size)
    return batches


def aligned(args: list[object], batched: list[bool]) -> tuple[object, ...]:
    """Put axes of length 1 behind the batch axis, so that axes meet as they did in one example."""
    rank = max(len(shape(x)) - flag for x, flag in zip(args, batched, strict=True))

    def align(x: object) -> object:
        batch, *rest = shape(x)
        return reshape(x, (batch, *[1] * (rank - len(rest)), *rest)) if len(rest) < rank else x  # type: ignore[type-var]  # a value

    return tuple([align(x) if flag else x for x, flag in zip(args, batched, strict=True)])
