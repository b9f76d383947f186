"""The transforms: grad, vjp, jvp, Jacobians, vmap and their kin, each a sentence over a trace and a walk.

Knows what a call means (which arguments, which structure, which type); nothing of how the walks work inside.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Concatenate, Final, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, TypeVarTuple, cast, overload

import attrs

from fgrad import batch, errors, forward, graph, reverse, tree
from fgrad.arrays import copied, namespace
from fgrad.node import Arithmetic, Node, Op, Scope, Value, apply, concrete, escaped, shape
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import move_axes, reshape, sum_to
from fgrad.trace import Keyed, Trace, argument_namer, call_keyed, describe, keyed, run

T = TypeVar("T")
S = TypeVar("S")
A = TypeVar("A")
V = TypeVar("V")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
R = TypeVar("R", bound=Arithmetic)
A_co = TypeVar("A_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)
Argnums: TypeAlias = int | tuple[int, ...] | None
Axes: TypeAlias = "int | tuple[Axes, ...] | list[Axes] | Mapping[str, Axes] | None"
Inputs: TypeAlias = tuple[object, ...] | dict[str, object]

_STOP: Final = Op("stop_gradient", lambda x: x)


class Gradient(Protocol[T, P]):
    """What `grad(f)` is: the gradient has the type of what was differentiated."""

    @overload
    def __call__(self, x: T, /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def __call__(self, /, **inputs: float) -> dict[str, float]: ...
    @overload
    def __call__(self, inputs: Mapping[str, float], /) -> dict[str, float]: ...


class KeywordGradient(Protocol):
    """What `grad(f)` is where all arguments of f are keyword-only."""

    @overload
    def __call__(self, /, **inputs: float) -> dict[str, float]: ...
    @overload
    def __call__(self, inputs: Mapping[str, float], /) -> dict[str, float]: ...


class GradientAux(Protocol[T, P, A_co]):
    """What `grad(f, has_aux=True)` is: the gradient, and what f returned beside its result."""

    @overload
    def __call__(self, x: T, /, *args: P.args, **kwargs: P.kwargs) -> tuple[T, A_co]: ...
    @overload
    def __call__(self, /, **inputs: float) -> tuple[dict[str, float], A_co]: ...
    @overload
    def __call__(self, inputs: Mapping[str, float], /) -> tuple[dict[str, float], A_co]: ...


class ValueAndGradient(Protocol[T, P, V_co]):
    """What `value_and_grad(f)` is: the value (with has_aux=True, the pair that f returned) and the gradient."""

    @overload
    def __call__(self, x: T, /, *args: P.args, **kwargs: P.kwargs) -> tuple[V_co, T]: ...
    @overload
    def __call__(self, /, **inputs: float) -> tuple[V_co, dict[str, float]]: ...
    @overload
    def __call__(self, inputs: Mapping[str, float], /) -> tuple[V_co, dict[str, float]]: ...


class KeywordValueAndGradient(Protocol[V_co]):
    """What `value_and_grad(f)` is where all arguments of f are keyword-only."""

    @overload
    def __call__(self, /, **inputs: float) -> tuple[V_co, dict[str, float]]: ...
    @overload
    def __call__(self, inputs: Mapping[str, float], /) -> tuple[V_co, dict[str, float]]: ...


@overload
def grad(
    f: Callable[Concatenate[T, P], R], argnums: Literal[0] | None = None, *, has_aux: Literal[False] = False
) -> Gradient[T, P]: ...
@overload
def grad(
    f: Callable[Concatenate[T, P], tuple[R, A]], argnums: Literal[0] | None = None, *, has_aux: Literal[True]
) -> GradientAux[T, P, A]: ...
@overload
def grad(f: Callable[..., R], argnums: None = None, *, has_aux: Literal[False] = False) -> KeywordGradient: ...
@overload
def grad(
    f: Callable[Concatenate[S, T, P], R], argnums: Literal[1], *, has_aux: Literal[False] = False
) -> Callable[Concatenate[S, T, P], T]: ...
@overload
def grad(
    f: Callable[Concatenate[S, T, P], R],
    argnums: tuple[Literal[0], Literal[1]],
    *,
    has_aux: Literal[False] = False,
) -> Callable[Concatenate[S, T, P], tuple[S, T]]: ...
@overload
def grad(f: Callable[..., R], argnums: Argnums = None, *, has_aux: Literal[False] = False) -> Callable[..., object]: ...
@overload
def grad(
    f: Callable[..., tuple[R, A]], argnums: Argnums = None, *, has_aux: Literal[True]
) -> Callable[..., tuple[object, A]]: ...
def grad(f: Callable[..., object], argnums: Argnums = None, *, has_aux: bool = False) -> object:
    """Make the function that gives the gradient of `f`, a function of pytrees to one real number.

    Called with positional arguments: the gradient with respect to those in `argnums` (a number or a tuple; the first by
    default), in the structure and types they have; keywords are constants. Called with keywords alone, or with one
    mapping that stands for them: with respect to all of them, as a dict by name. With `has_aux`, f returns a pair
    (result, aux), and so does the gradient.

    Raises `LeafError` for what cannot be differentiated, `OutputError` if f gives anything but a real number,
    `EscapedNodeError` if it hands out a traced value of another transform, and `ArgumentError` for a form it has not.

    >>> def f(a: float, b: float) -> float:
    ...     return a * b + b**3
    >>> grad(f)(a=-4.0, b=2.0)
    {'a': 2.0, 'b': 8.0}
    >>> grad(f)(-4.0, 2.0)
    2.0
    """
    both = _value_and_grad(f, argnums, has_aux, "grad")

    @functools.wraps(f)
    def gradient(*args: object, **kwargs: object) -> object:
        _, aux, gradients = both(args, kwargs)
        return (gradients, aux) if has_aux else gradients

    return gradient


@overload
def value_and_grad(
    f: Callable[Concatenate[T, P], R], argnums: Literal[0] | None = None, *, has_aux: Literal[False] = False
) -> ValueAndGradient[T, P, R]: ...
@overload
def value_and_grad(
    f: Callable[Concatenate[T, P], tuple[R, A]], argnums: Literal[0] | None = None, *, has_aux: Literal[True]
) -> ValueAndGradient[T, P, tuple[R, A]]: ...
@overload
def value_and_grad(
    f: Callable[..., R], argnums: None = None, *, has_aux: Literal[False] = False
) -> KeywordValueAndGradient[R]: ...
@overload
def value_and_grad(
    f: Callable[Concatenate[S, T, P], R], argnums: Literal[1], *, has_aux: Literal[False] = False
) -> Callable[Concatenate[S, T, P], tuple[R, T]]: ...
@overload
def value_and_grad(
    f: Callable[Concatenate[S, T, P], R],
    argnums: tuple[Literal[0], Literal[1]],
    *,
    has_aux: Literal[False] = False,
) -> Callable[Concatenate[S, T, P], tuple[R, tuple[S, T]]]: ...
@overload
def value_and_grad(
    f: Callable[..., V], argnums: Argnums = None, *, has_aux: bool = False
) -> Callable[..., tuple[V, object]]: ...
def value_and_grad(f: Callable[..., object], argnums: Argnums = None, *, has_aux: bool = False) -> object:
    """Make the function that gives (value, gradient), or ((value, aux), gradient), in all forms of `grad`.

    >>> value_and_grad(lambda x: x * x)(3.0)
    (9.0, 6.0)
    """
    both = _value_and_grad(f, argnums, has_aux, "value_and_grad")

    @functools.wraps(f)
    def value_and_gradient(*args: object, **kwargs: object) -> object:
        value, aux, gradients = both(args, kwargs)
        return ((value, aux) if has_aux else value), gradients

    return value_and_gradient


@overload
def vjp(
    f: Callable[[*Ts], V], *primals: *Ts, has_aux: Literal[False] = False
) -> tuple[V, Callable[[V], tuple[*Ts]]]: ...
@overload
def vjp(
    f: Callable[[*Ts], tuple[V, A]], *primals: *Ts, has_aux: Literal[True]
) -> tuple[V, Callable[[V], tuple[*Ts]], A]: ...
def vjp(f: Callable[..., object], *primals: object, has_aux: bool = False) -> object:
    """Give f(*primals) and its pullback, from a cotangent of the result to a tuple with one for each primal.

    Results and cotangents are pytrees of one structure, with equal shapes. The pullback is pure: it can be called any
    number of times, and what is done later to arrays that f used does not change it.

    >>> import numpy as np
    >>> out, pullback = vjp(lambda x: x * x, np.array([1.0, 2.0]))
    >>> pullback(np.array([1.0, 10.0]))
    (array([ 2., 40.]),)
    """
    traced = run(lambda inputs: f(*inputs), primals, argument_namer(f), has_aux=has_aux, own=True)
    order = graph.ancestors(traced.outputs, traced.scope)

    def pullback(cotangent: object) -> object:
        seeds = _matching(cotangent, traced.outputs, traced.out_structure, "cotangent")
        return _pull_back(traced, order, seeds)

    out = _result(traced)
    return (out, pullback, traced.aux) if has_aux else (out, pullback)


def jvp(f: Callable[[*Ts], V], primals: tuple[*Ts], tangents: tuple[*Ts]) -> tuple[V, V]:
    """Give f(*primals) and its directional derivative along `tangents`, pytrees like the primals.

    >>> jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 10.0))
    (6.0, 23.0)
    """
    traced = run(lambda inputs: f(*inputs), primals, argument_namer(f))
    order = graph.ancestors(traced.outputs, traced.scope)
    return cast("V", _result(traced)), cast("V", _push(traced, order, tangents))


def linearize(f: Callable[[*Ts], V], *primals: *Ts) -> tuple[V, Callable[[*Ts], V]]:
    """Give f(*primals) and its pushforward, from tangents of the primals to the tangent of the result.

    The pushforward is pure, like the pullback of `vjp`.

    >>> out, pushforward = linearize(lambda x: x * x, 3.0)
    >>> out, pushforward(1.0), pushforward(10.0)
    (9.0, 6.0, 60.0)
    """
    traced = run(lambda inputs: f(*inputs), primals, argument_namer(f), own=True)
    order = graph.ancestors(traced.outputs, traced.scope)
    return cast("V", _result(traced)), lambda *tangents: cast("V", _push(traced, order, tangents))


def hvp(f: Callable[[*Ts], R], primals: tuple[*Ts], tangents: tuple[*Ts]) -> object:
    """The product of the Hessian of `f` with `tangents`: the derivative of the gradient along them.

    In the shape of the gradient with respect to all primals: a tuple of pytrees, or, of a single primal, no tuple.

    >>> hvp(lambda x: x**3, (2.0,), (1.0,))
    12.0
    """
    gradient = cast("Callable[[*Ts], tuple[object, ...]]", grad(f, tuple(range(len(primals)))))
    _, products = jvp(gradient, primals, tangents)
    return products[0] if len(primals) == 1 else products


def stop_gradient(x: T) -> T:
    """The same numbers, of any pytree, as constants: no derivative, of any order, goes through.

    >>> grad(lambda x: x * stop_gradient(x))(3.0)
    3.0
    """
    return tree.map(lambda leaf: apply(_STOP, (leaf,)) if type(leaf) is Node else leaf, x)


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
            raise errors.ArgumentError(f"in_axes has {len(in_axes)} entries for {len(args)} positional arguments")
        inputs = keyed(args, kwargs)
        prefix = in_axes if isinstance(in_axes, tuple | list) else (in_axes,) * len(args)
        axes = tree.spread(keyed(prefix, dict.fromkeys(kwargs, 0)), inputs, "in_axes")
        leaves, structure = tree.flatten(inputs)
        size = _batch_size(leaves, axes, lambda i: tree.paths(structure, argument_namer(f))[i])
        whole = [x if a is None else move_axes(x, a, 0) for x, a in zip(leaves, axes, strict=True)]  # type: ignore[type-var]  # values
        places = [i for i, a in enumerate(axes) if a is not None]

        def one(examples: tuple[object, ...]) -> object:
            replaced = list(whole)
            for i, x in zip(places, examples, strict=True):
                replaced[i] = x
            return call_keyed(f, cast("Keyed", tree.unflatten(structure, replaced)))

        examples = tuple([_example(whole[i], size) for i in places])
        traced = run(one, examples, lambda i: f"example {i}", raw=True, stands_for="many examples")
        given = [whole[i] for i in places]
        done = batch.replay(traced.program, given, [True] * len(given), size)
        results = [batch.repeated(y, many, size) for y, many in done]
        to = tree.spread(out_axes, tree.unflatten(traced.out_structure, results), "out_axes")
        moved = [_placed(y, many, z, a) for (y, many), z, a in zip(done, results, to, strict=True)]
        return cast("V", tree.unflatten(traced.out_structure, [copied(y) for y in moved]))

    return batched


def _value_and_grad(
    f: Callable[..., object], argnums: Argnums, has_aux: bool, transform: str
) -> Callable[[tuple[object, ...], Mapping[str, object]], tuple[object, object, object]]:
    """Make the function of (args, kwargs) that gives value, aux and gradient."""

    def both(args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[object, object, object]:
        call = _understand(f, argnums, args, kwargs)
        traced = run(call.function, call.inputs, call.root, has_aux=has_aux)
        y = _scalar_output(traced, f, transform)
        value = copied(_value(y, traced.scope))
        order = graph.ancestors(traced.outputs, traced.scope)
        return value, traced.aux, call.select(_pull_back(traced, order, [_one(value)]))

    return both


@attrs.frozen
class _Call:
    """A call, understood: f as a function of the inputs alone, and which of their gradients are asked for."""

    function: Callable[[Inputs], object]
    inputs: Inputs
    root: Callable[[object], str]
    select: Callable[[object], object] = lambda gradients: gradients


def _understand(
    f: Callable[..., object], argnums: Argnums, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> _Call:
    if len(args) == 1 and not kwargs and argnums is None:
        (mapping,) = args
        if isinstance(mapping, Mapping) and _stands_for(mapping, f):
            return _understand(f, argnums, (), mapping)
    if not args:
        if argnums is not None:
            raise errors.ArgumentError(
                f"argnums={argnums} counts positional arguments, and there are none: leave it out, to get the gradient "
                "with respect to all keywords as a dict, or pass the arguments by position"
            )
        if not kwargs:
            raise errors.ArgumentError("there is nothing to differentiate: the function was called without arguments")
        return _Call(lambda inputs: f(**cast("dict[str, object]", inputs)), dict(kwargs), str)
    chosen = (argnums or 0,) if not isinstance(argnums, tuple) else argnums
    places = tuple(_place(i, len(args)) for i in chosen)

    def function(inputs: Inputs) -> object:
        replaced = list(args)
        for i, x in zip(places, cast("tuple[object, ...]", inputs), strict=True):
            replaced[i] = x
        return f(*replaced, **kwargs)

    def select(gradients: object) -> object:
        return gradients if isinstance(argnums, tuple) else cast("tuple[object, ...]", gradients)[0]

    return _Call(function, tuple([args[i] for i in places]), argument_namer(f, places), select)


def _place(i: int, count: int) -> int:
    if isinstance(i, bool) or not isinstance(i, int):
        raise errors.ArgumentError(f"argnums must be an integer or a tuple of integers, not {describe(i)}")
    if not -count <= i < count:
        raise errors.ArgumentError(
            f"argnums={i} is out of range: the function was called with {count} positional arguments"
        )
    return i % count


def _stands_for(mapping: Mapping[str, object], f: Callable[..., object]) -> bool:
    """Whether a lone mapping means keywords: f cannot be called with it as it stands, but with its items it can."""
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):
        return False
    try:
        signature.bind(mapping)
    except TypeError:
        try:
            signature.bind(**mapping)
        except TypeError:
            return False
        return True
    return False


def _scalar_output(traced: Trace, f: Callable[..., object], transform: str) -> object:
    """The one output, if it is a real number; else say what to use."""
    outputs, structure = traced.outputs, traced.out_structure
    real = structure.is_leaf() and _is_real(outputs[0])
    if real and not shape(outputs[0]):
        return outputs[0]
    if real:
        fix = "write jacobian(f) or vjp(f, x), or reduce the result with .sum() or .mean()"
    elif structure.num_leaves == 2:
        fix = "return one number; if the second is auxiliary, pass has_aux=True; else write jacobian or vjp"
    else:
        fix = "return one number, or write jacobian or vjp"
    if not structure.is_leaf():
        fix += " (for the derivatives of a gradient, hessian(f))"
    got = describe(outputs[0]) if structure.is_leaf() else f"a pytree {structure}"
    name = getattr(f, "__name__", "the function")
    raise errors.OutputError(
        f"{transform} needs a function that returns one real number, but {name} returned {got}: {fix}"
    )


def _is_real(y: object) -> bool:
    """Whether y is a real number, or an array of them."""
    value = concrete(y)
    if isinstance(value, float | int):
        return not isinstance(value, bool)
    try:
        return bool(namespace(value).isdtype(value.dtype, ("real floating", "integral")))  # type: ignore[attr-defined]  # an array
    except errors.ConversionError:
        return False


def _value(y: object, scope: Scope) -> object:
    return y.value if type(y) is Node and y.scope is scope else y


def _one(value: object) -> object:
    """The cotangent of a result with respect to itself, in its dtype."""
    value = concrete(value)
    return 1.0 if isinstance(value, float | int) else namespace(value).ones_like(value)


def _matching(given: object, values: Sequence[object], structure: tree.Structure, what: str) -> list[object]:
    """The leaves of a user's cotangents or tangents, one for each value, as the walks want them."""
    leaves = tree.matching_leaves(structure, given, what)
    for i, (c, y) in enumerate(zip(leaves, values, strict=True)):
        if type(c) is Node and not c.scope.open:
            raise escaped(c, "given to a transform")
        if not _is_real(c):
            path = tree.paths(structure, what)[i]
            raise errors.LeafError(f"{path} must be a real number or an array, not {describe(c)}")
        if shape(c) != shape(y):
            path = tree.paths(structure, what)[i]
            raise errors.StructureError(f"{path} must have the shape {shape(y)} of what it belongs to, not {shape(c)}")
        leaves[i] = sum_to(cast("Value", float(c) if isinstance(c, int) else c), concrete(y))
    return leaves


def _result(traced: Trace) -> object:
    """What the function returned, fresh."""
    values = [copied(_value(y, traced.scope)) for y in traced.outputs]
    return tree.unflatten(traced.out_structure, values)


def _push(traced: Trace, order: Sequence[Node], tangents: tuple[object, ...]) -> object:
    """The tangent of the result, fresh and of its structure and types, from tangents of the inputs."""
    leaves = _matching(tuple(tangents), [x.value for x in traced.inputs], traced.in_structure, "tangents")
    given = dict(zip(traced.inputs, cast("list[Value]", leaves), strict=True))
    return tree.unflatten(traced.out_structure, _tangents(traced, order, given))


def _tangents(traced: Trace, order: Sequence[Node], given: forward.Tangents) -> list[object]:
    """The tangents of the results, as leaves, fresh and of their types, from those of some inputs."""
    pushed = forward.push(reversed(order), traced.scope, given)
    return [_fresh(pushed.get(y) if type(y) is Node else None, _value(y, traced.scope)) for y in traced.outputs]


def _batch_size(leaves: Sequence[object], axes: Sequence[int | None], path: Callable[[int], str]) -> int:
    """How many examples there are; an error names two leaves that do not agree."""
    sizes: dict[int, int] = {}
    for i, (x, a) in enumerate(zip(leaves, axes, strict=True)):
        if a is not None:
            if not -len(shape(x)) <= a < len(shape(x)):
                raise errors.StructureError(f"{path(i)} has the shape {shape(x)}, which has no axis {a} of examples")
            sizes.setdefault(shape(x)[a], i)
    if not sizes:
        raise errors.ArgumentError("vmap needs an argument with examples: all of in_axes is None")
    (size, first), *others = sizes.items()
    if others:
        other, i = others[0]
        raise errors.StructureError(f"{path(first)} has {size} examples, but {path(i)} has {other}")
    return size


def _placed(y: object, many: bool, batch: object, axis: int | None) -> object:
    """The results of all examples along an axis; or, where out_axes is None, the one result of them all."""
    if axis is not None:
        return move_axes(batch, 0, axis)  # type: ignore[type-var]  # a value
    if many:
        raise errors.StructureError("out_axes is None for a result that differs from example to example: give its axis")
    return y


def _example(x: object, size: int) -> object:
    """One example of a batch; of an empty one, ones, or zeros that can index."""
    if size:
        return getitem(x, 0)  # type: ignore[type-var]  # a value
    value = concrete(x)
    xp, dtype = namespace(value), value.dtype  # type: ignore[attr-defined]  # an array
    return (xp.ones if xp.isdtype(dtype, "real floating") else xp.zeros)(shape(x)[1:], dtype=dtype)[()]


def _jacobian(
    f: Callable[..., object], argnums: Argnums, has_aux: bool, by_reverse: Callable[[int, int], bool]
) -> Callable[..., object]:
    @functools.wraps(f)
    def jacobian(*args: object, **kwargs: object) -> object:
        call = _understand(f, argnums, args, kwargs)
        traced = run(call.function, call.inputs, call.root, has_aux=has_aux)
        xs, ys = [x.value for x in traced.inputs], [_value(y, traced.scope) for y in traced.outputs]
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
            return _cotangents(traced, order, seeds)

        return vmap(pull)(_basis(ys[i]))

    return [row(i) for i in range(len(ys))]


def _columns(traced: Trace, order: Sequence[Node], xs: list[object], ys: list[object]) -> list[list[object]]:
    """The blocks of a Jacobian, from its columns: all numbers of an input at once through the forward walk."""

    def column(j: int) -> list[object]:
        def push(t: Value) -> list[object]:
            return _tangents(traced, order, {traced.inputs[j]: t})

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
    if type(j) is Node:
        return j
    if type(x) is float and type(y) in (float, int):
        return float(j)  # type: ignore[arg-type]  # a number
    return j[()] if isinstance(x, float) or type(x).__name__.startswith("float") else j  # type: ignore[index]  # of NumPy's scalars too


def _pull_back(traced: Trace, order: Sequence[Node], seeds: Sequence[object]) -> object:
    """The gradients in the structure of the inputs, from cotangents of the outputs."""
    return tree.unflatten(traced.in_structure, _cotangents(traced, order, seeds))


def _cotangents(traced: Trace, order: Sequence[Node], seeds: Sequence[object]) -> list[object]:
    """The cotangents of the inputs, as leaves, fresh and of their types, from those of some results."""
    cotangents: reverse.Cotangents = {}
    for y, c in zip(traced.outputs, seeds, strict=True):
        if c is not None and type(y) is Node and y.scope is traced.scope:
            held = cotangents.get(y)
            cotangents[y] = cast("Value", c) if held is None else held + cast("Value", c)
    left = reverse.sweep(order, traced.scope, cotangents)
    return [_fresh(left.get(x), x.value) for x in traced.inputs]


def _fresh(g: object, x: object) -> object:
    """A gradient that shares memory with nothing, of the type of what was differentiated."""
    if type(x) is float:
        return 0.0 if g is None else g if type(g) is Node else float(g)  # type: ignore[arg-type]  # a number
    if type(g) is Node:
        return g
    like = concrete(x)
    if type(like) is float:
        return 0.0 if g is None else g
    xp = namespace(like)
    out = xp.zeros_like(like) if g is None else xp.asarray(g, dtype=like.dtype, copy=True)  # type: ignore[attr-defined]  # an array
    return out if type(out) is type(like) else out[()]
