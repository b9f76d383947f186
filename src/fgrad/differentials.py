"""A trace's derivative as two linear maps: tangents of inputs to those of results, and cotangents back.

Knows the walks and which numbers may go in and come out, leaf by leaf; nothing of the calls that users write.
"""

from collections.abc import Sequence
from typing import cast

from fgrad import errors, forward, reverse, tree
from fgrad.arrays import copied, namespace
from fgrad.node import Node, Scope, Value, concrete, escaped, shape
from fgrad.ops.shaping import number, sum_to
from fgrad.trace import Trace, describe


def is_real(y: object) -> bool:
    """Whether y is a real number, or an array of them."""
    value = concrete(y)
    if isinstance(value, float | int):
        return not isinstance(value, bool)
    try:
        return bool(namespace(value).isdtype(value.dtype, ("real floating", "integral")))  # type: ignore[attr-defined]  # an array
    except errors.ConversionError:
        return False


def _is_integer(x: object) -> bool:
    value = concrete(x)
    if isinstance(value, float | int):
        return not isinstance(value, float)
    return bool(namespace(value).isdtype(value.dtype, "integral"))  # type: ignore[attr-defined]  # an array


def outside(y: object, scope: Scope) -> object:
    """What a result of a trace is to the enclosing scope."""
    return y.value if type(y) is Node and y.scope is scope else y


def one(value: object) -> object:
    """The cotangent of a result with respect to itself, in its dtype."""
    value = concrete(value)
    return 1.0 if isinstance(value, float | int) else namespace(value).ones_like(value)


def matching(given: object, values: Sequence[object], structure: tree.Structure, what: str) -> list[object]:
    """The leaves of a user's cotangents or tangents, one for each value, as the walks want them."""
    leaves = tree.matching_leaves(structure, given, what)
    for i, (c, y) in enumerate(zip(leaves, values, strict=True)):
        if type(c) is Node and not c.scope.open:
            raise escaped(c, "given to a transform")
        if not is_real(c):
            path = tree.paths(structure, what)[i]
            raise errors.LeafError(f"{path} must be a real number or an array, not {describe(c)}: write 1.0")
        if _is_integer(c) and not _is_integer(y):
            path = tree.paths(structure, what)[i]
            raise errors.LeafError(
                f"{path} is {describe(c)}, an integer, but what it belongs to is a float: write 1.0 for 1, and "
                "x.astype(float) for an array of integers"
            )
        if shape(c) != shape(y):
            path = tree.paths(structure, what)[i]
            raise errors.StructureError(
                f"{path} must have the shape {shape(y)} of what it belongs to, not {shape(c)}: broadcast or reshape it"
            )
        leaves[i] = sum_to(cast("Value", float(c) if isinstance(c, int) else c), concrete(y))
    return leaves


def result(traced: Trace) -> object:
    """What the function returned, fresh."""
    values = [copied(outside(y, traced.scope)) for y in traced.outputs]
    return tree.unflatten(traced.out_structure, values)


def pushed(traced: Trace, order: Sequence[Node], tangents: tuple[object, ...]) -> object:
    """The tangent of the result, fresh and of its structure and types, from tangents of the inputs."""
    leaves = matching(tuple(tangents), [x.value for x in traced.inputs], traced.in_structure, "tangents")
    given = dict(zip(traced.inputs, cast("list[Value]", leaves), strict=True))
    return tree.unflatten(traced.out_structure, leaf_tangents(traced, order, given))


def leaf_tangents(traced: Trace, order: Sequence[Node], given: forward.Tangents) -> list[object]:
    """The tangents of the results, as leaves, fresh and of their types, from those of some inputs."""
    pushed = forward.push(reversed(order), traced.scope, given)
    return [fresh(pushed.get(y) if type(y) is Node else None, outside(y, traced.scope)) for y in traced.outputs]


def pulled(traced: Trace, order: Sequence[Node], seeds: Sequence[object]) -> object:
    """The gradients in the structure of the inputs, from cotangents of the outputs."""
    return tree.unflatten(traced.in_structure, leaf_cotangents(traced, order, seeds))


def leaf_cotangents(traced: Trace, order: Sequence[Node], seeds: Sequence[object]) -> list[object]:
    """The cotangents of the inputs, as leaves, fresh and of their types, from those of some results."""
    left = reverse.sweep(order, traced.scope, seeded(traced.outputs, seeds, traced.scope))
    return [fresh(left.get(x), x.value) for x in traced.inputs]


def seeded(outputs: Sequence[object], seeds: Sequence[object], scope: Scope) -> reverse.Cotangents:
    """What a sweep starts from: the cotangents of the outputs, summed where two are one node; a None is zero."""
    cotangents: reverse.Cotangents = {}
    for y, c in zip(outputs, seeds, strict=True):
        if c is not None and type(y) is Node and y.scope is scope:
            held = cotangents.get(y)
            cotangents[y] = cast("Value", c) if held is None else held + cast("Value", c)
    return cotangents


def fresh(g: object, x: object) -> object:
    """A gradient that shares memory with nothing, of the type of what was differentiated."""
    if type(x) is float:
        return 0.0 if g is None else number(g) if type(g) is Node else float(g)  # type: ignore[arg-type]  # a number
    like = concrete(x)
    if type(like) is float:
        return 0.0 if g is None else number(cast("Value", g))
    if type(g) is Node:
        return g
    xp = namespace(like)
    out = xp.zeros_like(like) if g is None else xp.asarray(g, dtype=like.dtype, copy=True)  # type: ignore[attr-defined]  # an array
    return out if type(out) is type(like) else out[()]
