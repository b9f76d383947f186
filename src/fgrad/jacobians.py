"""All derivatives of a function at once: Jacobians and Hessians, as trees of blocks.

Knows how to send many unit vectors through one walk, as a batch; nothing of how walks and batches work inside.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import cast

from fgrad import graph, tree
from fgrad.arrays import namespace
from fgrad.batching import vmap
from fgrad.differentials import leaf_cotangents, leaf_tangents, outside
from fgrad.node import Node, Value, concrete, shape
from fgrad.ops.shaping import move_axes, number, reshape
from fgrad.trace import Trace, run
from fgrad.transforms import Argnums, grad, understand


def jacrev(f: Callable[..., object], argnums: Argnums = None, *, has_aux: bool = False) -> Callable[..., object]:
    """Make the function that gives all derivatives of `f`, by the reverse walk: sooner where results are few.

    In all forms of `grad`, of a function from pytrees to a pytree: a tree like the result, of trees like the inputs, of
    arrays with the shape of the result's leaf and then of the input's, as JAX lays them out.

    >>> import numpy as np
    >>> jacrev(lambda x: x * x)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    return _jacobian(f, argnums, has_aux, lambda results, inputs: True)


def jacfwd(f: Callable[..., object], argnums: Argnums = None, *, has_aux: bool = False) -> Callable[..., object]:
    """Make the function that gives all derivatives of `f`, by the forward walk: sooner where inputs are few.

    >>> import numpy as np
    >>> jacfwd(lambda t: t * np.array([1.0, 2.0]))(3.0)
    array([1., 2.])
    """
    return _jacobian(f, argnums, has_aux, lambda results, inputs: False)


def jacobian(f: Callable[..., object], argnums: Argnums = None, *, has_aux: bool = False) -> Callable[..., object]:
    """Make the function that gives all derivatives of `f`, by the walk that has fewer numbers to start from.

    >>> jacobian(lambda a, b: {"sum": a + b, "product": a * b})(a=2.0, b=3.0)
    {'sum': {'a': 1.0, 'b': 1.0}, 'product': {'a': 3.0, 'b': 2.0}}
    """
    return _jacobian(f, argnums, has_aux, lambda results, inputs: results < inputs)


def hessian(f: Callable[..., object], argnums: Argnums = None, *, has_aux: bool = False) -> Callable[..., object]:
    """Make the function that gives all second derivatives of `f`, forward over reverse, as a tree of trees.

    >>> hessian(lambda a, b: a * a * b)(a=2.0, b=3.0)
    {'a': {'a': 6.0, 'b': 4.0}, 'b': {'a': 4.0, 'b': 0.0}}
    """
    return jacfwd(grad(f, argnums, has_aux=has_aux), argnums, has_aux=has_aux)  # type: ignore[call-overload]  # in all its forms


def _jacobian(
    f: Callable[..., object], argnums: Argnums, has_aux: bool, by_reverse: Callable[[int, int], bool]
) -> Callable[..., object]:
    @functools.wraps(f)
    def jacobian(*args: object, **kwargs: object) -> object:
        call = understand(f, argnums, args, kwargs)
        traced = run(call.function, call.inputs, call.root, has_aux=has_aux)
        xs, ys = [x.value for x in traced.inputs], [outside(y, traced.scope) for y in traced.outputs]
        order = graph.ancestors(traced.outputs, traced.scope)
        rows = _rows if by_reverse(sum(map(_size, ys)), sum(map(_size, xs))) else _columns
        blocks = [
            call.select(tree.unflatten(traced.in_structure, [_block(j, x, y) for j, x in zip(row, xs, strict=True)]))
            for row, y in zip(rows(traced, order, xs, ys), ys, strict=True)
        ]
        result = tree.unflatten(traced.out_structure, blocks)
        return (result, traced.aux) if has_aux else result

    return jacobian


def _rows(traced: Trace, order: Sequence[Node], xs: list[object], ys: list[object]) -> list[list[object]]:
    """The blocks of a Jacobian, row by row: all numbers of a result at once through the reverse walk."""

    def row(i: int) -> list[object]:
        def pull(c: object) -> list[object]:
            seeds = [c if i == k else None for k in range(len(ys))]
            return leaf_cotangents(traced, order, seeds)

        return vmap(pull)(_basis(ys[i]))

    return [row(i) for i in range(len(ys))]


def _columns(traced: Trace, order: Sequence[Node], xs: list[object], ys: list[object]) -> list[list[object]]:
    """The blocks of a Jacobian, from its columns: all numbers of an input at once through the forward walk."""

    def column(j: int) -> list[object]:
        def push(t: Value) -> list[object]:
            return leaf_tangents(traced, order, {traced.inputs[j]: t})

        across = vmap(push)(cast("Value", _basis(xs[j])))
        n = len(shape(xs[j]))
        return [
            move_axes(reshape(c, (*shape(xs[j]), *shape(y))), tuple(range(n)), tuple(range(-n, 0)))  # type: ignore[type-var]  # a value
            for c, y in zip(across, ys, strict=True)
        ]

    columns = [column(j) for j in range(len(xs))]
    return [[c[i] for c in columns] for i in range(len(ys))]


def _size(x: object) -> int:
    return math.prod(shape(x))


def _basis(x: object) -> object:
    """As many unit vectors as x has numbers, of its shape and dtype, along a first axis."""
    value = concrete(x)
    xp, n = namespace(value), _size(x)
    return xp.eye(n, dtype=getattr(value, "dtype", None)).reshape((n, *shape(x)))


def _block(j: object, x: object, y: object) -> object:
    """The derivatives of y with respect to x: a number if both are, else an array of the shape of y and then of x."""
    j = reshape(j, (*shape(y), *shape(x)))  # type: ignore[type-var]  # a value
    if type(concrete(x)) is float and type(concrete(y)) in (float, int):
        return number(cast("Value", j))
    if type(j) is Node:
        return j
    return j[()] if isinstance(x, float) or type(x).__name__.startswith("float") else j  # type: ignore[index]  # of NumPy's scalars too
