"""The batch walk: a program made from one example, done on all of them at once.

Knows how a row is lifted to a leading batch axis; nothing of derivatives, of functions or of pytrees.
"""

from collections.abc import Sequence

from fgrad import graph
from fgrad.arrays import quiet
from fgrad.graph import Link, Program
from fgrad.node import apply, shape
from fgrad.ops.shaping import aligned, broadcast_to


def replay(program: Program, args: Sequence[object], batched: Sequence[bool], size: int) -> list[tuple[object, bool]]:
    """Do a program for all `size` examples, which batched arguments have along a first axis.

    Gives each output, and whether it is batched: what depends on no batched argument is the same for all.
    """
    values, flags, last = list(args), list(batched), graph.last_uses(program)

    def look(x: object) -> tuple[object, bool]:
        return (values[x.place], flags[x.place]) if type(x) is Link else (x, False)

    with quiet():
        for i, (op, parents, params) in enumerate(program.steps):
            found = [look(x) for x in parents]
            xs, many = [x for x, _ in found], [flag for _, flag in found]
            flags.append(any(many))
            if not flags[-1]:
                values.append(apply(op, tuple(xs), params))
            elif op.batch is None:
                values.append(apply(op, aligned(xs, many), params))
            else:
                values.append(op.batch(op, xs, many, params, size))
            del found, xs
            for place in last.get(i, ()):
                values[place] = None  # so that its memory serves the next
    return [look(x) for x in program.outputs]


def spread(program: Program, batched: Sequence[bool]) -> list[bool]:
    """Which outputs of a program depend on a batched argument."""
    flags = list(batched)
    for _, parents, _ in program.steps:
        flags.append(any(flags[x.place] for x in parents if type(x) is Link))
    return [type(x) is Link and flags[x.place] for x in program.outputs]


def repeated(y: object, batched: bool, size: int) -> object:
    """A result for each of `size` examples, along a first axis."""
    return y if batched else broadcast_to(y, (size, *shape(y)))  # type: ignore[type-var]  # a value
