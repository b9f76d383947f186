"""vmap: a function of one example becomes the function of many.

Knows which axes of which leaves hold the examples; nothing of how a row is lifted to a batch.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeAlias, TypeVar, cast

import optree

from fgrad import batch, errors, tree
from fgrad.arrays import fresh_copies, namespace
from fgrad.node import concrete, shape
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import move_axes
from fgrad.trace import Call, argument_namer, call_keyed, describe, keyed, run

V = TypeVar("V")
P = ParamSpec("P")
Axes: TypeAlias = "int | tuple[Axes, ...] | list[Axes] | Mapping[str, Axes] | None"


def vmap(f: Callable[P, V], in_axes: Axes = 0, out_axes: Axes = 0) -> Callable[P, V]:
    """Make the function of many examples at once from `f`, a function of one.

    `in_axes` says along which axis of the arguments the examples lie: an integer or None (the same for all) for every
    argument, or a tuple with one for each, each a pytree that is a prefix of the argument. Keywords have them along
    axis 0. `out_axes` says where they go in the result. f is traced once and done on all examples together.

    Raises `StructureError` where sizes disagree, and `BranchError` where f branches on an example's value.

    >>> import numpy as np
    >>> vmap(lambda x, y: x @ y, in_axes=(0, None))(np.eye(2), np.array([3.0, 4.0]))
    array([3., 4.])
    """

    @functools.wraps(f)
    def batched(*args: P.args, **kwargs: P.kwargs) -> V:
        if isinstance(in_axes, tuple | list) and len(in_axes) != len(args):
            raise errors.ArgumentError(
                f"in_axes has {len(in_axes)} entries for {len(args)} positional arguments: write one for each, None "
                "for what all examples share, or one integer for all"
            )
        inputs = keyed(args, kwargs)
        prefix = in_axes if isinstance(in_axes, tuple | list) else (in_axes,) * len(args)
        axes = _spread(keyed(prefix, dict.fromkeys(kwargs, 0)), inputs, "in_axes")
        leaves, structure = tree.flatten(inputs)
        size = _batch_size(leaves, axes, lambda i: tree.paths(structure, argument_namer(f))[i])
        whole = [x if a is None else move_axes(x, a, 0) for x, a in zip(leaves, axes, strict=True)]  # type: ignore[type-var]  # values
        call = Call(tuple(whole), structure, tuple([i for i, a in enumerate(axes) if a is not None]))
        given = call.operands
        examples = tuple([example(x, size) for x in given])

        def one(examples: tuple[object, ...]) -> object:
            return call_keyed(f, call.filled(examples))

        traced = run(one, examples, lambda i: f"example {i}", raw=True, stands_for="many examples")
        done = batch.replay(traced.program, given, [True] * len(given), size)
        results = [batch.repeated(y, many, size) for y, many in done]
        to = _spread(out_axes, tree.unflatten(traced.out_structure, results), "out_axes")
        moved = [_placed(y, many, z, a) for (y, many), z, a in zip(done, results, to, strict=True)]
        return cast("V", tree.unflatten(traced.out_structure, fresh_copies(moved, leaves)))

    return batched


def _spread(prefix: object, values: object, what: str) -> list[int | None]:
    """One integer or None for each leaf of a tree, from a pytree of them that is a prefix of it."""
    leaves, structure = tree.flatten(values)
    numbered = tree.unflatten(structure, range(len(leaves)))
    found: list[int | None] = [None] * len(leaves)

    def visit(axis: int | None, below: object) -> None:
        for i in tree.flatten(below)[0]:
            found[cast("int", i)] = axis

    try:
        optree.tree_map_(visit, prefix, numbered, is_leaf=lambda x: x is None, namespace=tree.NAMESPACE)  # type: ignore[arg-type]  # its PyTree admits no object
    except (ValueError, TypeError) as error:
        named = optree.prefix_errors(prefix, numbered, is_leaf=lambda x: x is None, namespace=tree.NAMESPACE)  # type: ignore[arg-type]  # as above
        reason, where, *_ = str(named[0](what)).splitlines() if named else (str(error), what)
        raise errors.StructureError(
            f"{where.strip().removesuffix(' tree root')} is no prefix of the pytree it is for "
            f"({reason.removeprefix('pytree structure error: ').removesuffix(' at key path')}): "
            "write an integer or None for all of it, or one for each of its entries"
        ) from None
    return found


def _batch_size(leaves: Sequence[object], axes: Sequence[int | None], path: Callable[[int], str]) -> int:
    """How many examples there are; an error names two leaves that do not agree."""
    sizes: dict[int, int] = {}
    for i, (x, a) in enumerate(zip(leaves, axes, strict=True)):
        if a is not None:
            _check_integer(a, "in_axes", path(i))
            if not -len(shape(x)) <= a < len(shape(x)):
                raise errors.StructureError(
                    f"{path(i)} has the shape {shape(x)}, which has no axis {a} of examples: write None for it in "
                    "in_axes if all examples share it, or the axis that they lie along"
                )
            sizes.setdefault(shape(x)[a], i)
    if not sizes:
        raise errors.ArgumentError(
            "vmap needs an argument with examples: all of in_axes is None; write 0 for one that has them along axis 0"
        )
    (size, first), *others = sizes.items()
    if others:
        other, i = others[0]
        raise errors.StructureError(
            f"{path(first)} has {size} examples, but {path(i)} has {other}: write None in in_axes for one that is the "
            "same for all, or the axis along which it has as many"
        )
    return size


def _placed(y: object, many: bool, batch: object, axis: int | None) -> object:
    """The results of all examples along an axis; or, where out_axes is None, the one result of them all."""
    if axis is not None:
        _check_integer(axis, "out_axes", "a result")
        if not -len(shape(batch)) <= axis < len(shape(batch)):
            raise errors.StructureError(
                f"out_axes is {axis} for a result of shape {shape(batch)[1:]}: with the axis of examples it has "
                f"{len(shape(batch))}; write an axis from {-len(shape(batch))} to {len(shape(batch)) - 1}"
            )
        return move_axes(batch, 0, axis) if axis else batch  # type: ignore[type-var]  # a value
    if many:
        raise errors.StructureError("out_axes is None for a result that differs from example to example: give its axis")
    return y


def _check_integer(axis: object, what: str, where: str) -> None:
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise errors.ArgumentError(f"{what} must be made of integers and None, not {describe(axis)} for {where}")


def example(x: object, size: int) -> object:
    """One example of a batch; of an empty one, ones, or zeros that can index."""
    if size:
        return getitem(x, 0)  # type: ignore[type-var]  # a value
    value = concrete(x)
    xp, dtype = namespace(value), value.dtype  # type: ignore[attr-defined]  # an array
    return (xp.ones if xp.isdtype(dtype, "real floating") else xp.zeros)(shape(x)[1:], dtype=dtype)[()]
