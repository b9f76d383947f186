"""The transforms: grad, vjp, jvp, Jacobians, vmap and their kin, each a sentence over a trace and a walk.

Knows what a call means (which arguments, which structure, which type); nothing of how the walks work inside.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Concatenate, Final, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, TypeVarTuple, cast, overload

import attrs

from fgrad import errors, graph, tree
from fgrad.arrays import copied
from fgrad.differentials import is_real, matching, one, outside, pulled, pushed, result
from fgrad.node import Arithmetic, Node, apply, shape
from fgrad.ops.rows import constant
from fgrad.trace import Trace, argument_namer, describe, run

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
Inputs: TypeAlias = tuple[object, ...] | dict[str, object]

_stop: Final = constant("stop_gradient", lambda x: x)


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
        seeds = matching(cotangent, traced.outputs, traced.out_structure, "cotangent")
        return pulled(traced, order, seeds)

    out = result(traced)
    return (out, pullback, traced.aux) if has_aux else (out, pullback)


def jvp(f: Callable[[*Ts], V], primals: tuple[*Ts], tangents: tuple[*Ts]) -> tuple[V, V]:
    """Give f(*primals) and its directional derivative along `tangents`, pytrees like the primals.

    >>> jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 10.0))
    (6.0, 23.0)
    """
    _check_tuples("jvp", primals, tangents)
    traced = run(lambda inputs: f(*inputs), primals, argument_namer(f))
    order = graph.ancestors(traced.outputs, traced.scope)
    return cast("V", result(traced)), cast("V", pushed(traced, order, tangents))


def linearize(f: Callable[[*Ts], V], *primals: *Ts) -> tuple[V, Callable[[*Ts], V]]:
    """Give f(*primals) and its pushforward, from tangents of the primals to the tangent of the result.

    The pushforward is pure, like the pullback of `vjp`.

    >>> out, pushforward = linearize(lambda x: x * x, 3.0)
    >>> out, pushforward(1.0), pushforward(10.0)
    (9.0, 6.0, 60.0)
    """
    traced = run(lambda inputs: f(*inputs), primals, argument_namer(f), own=True)
    order = graph.ancestors(traced.outputs, traced.scope)
    return cast("V", result(traced)), lambda *tangents: cast("V", pushed(traced, order, tangents))


def hvp(f: Callable[[*Ts], R], primals: tuple[*Ts], tangents: tuple[*Ts]) -> object:
    """The product of the Hessian of `f` with `tangents`: the derivative of the gradient along them.

    In the shape of the gradient with respect to all primals: a tuple of pytrees, or, of a single primal, no tuple.

    >>> hvp(lambda x: x**3, (2.0,), (1.0,))
    12.0
    """
    _check_tuples("hvp", primals, tangents)
    gradient = cast("Callable[[*Ts], tuple[object, ...]]", grad(f, tuple(range(len(primals)))))
    _, products = jvp(gradient, primals, tangents)
    return products[0] if len(primals) == 1 else products


def _check_tuples(transform: str, primals: object, tangents: object) -> None:
    for what, x in (("primals", primals), ("tangents", tangents)):
        if not isinstance(x, tuple):
            raise errors.ArgumentError(
                f"{transform} takes {what} as a tuple with one entry for each argument: write (x,) for a single x; it "
                f"was given {describe(x)}"
            )


def stop_gradient(x: T) -> T:
    """The same numbers, of any pytree, as constants: no derivative, of any order, goes through.

    >>> grad(lambda x: x * stop_gradient(x))(3.0)
    3.0
    """
    return tree.map(lambda leaf: apply(_stop, (leaf,)) if type(leaf) is Node else leaf, x)


def _value_and_grad(
    f: Callable[..., object], argnums: Argnums, has_aux: bool, transform: str
) -> Callable[[tuple[object, ...], Mapping[str, object]], tuple[object, object, object]]:
    """Make the function of (args, kwargs) that gives value, aux and gradient."""

    def both(args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[object, object, object]:
        call = understand(f, argnums, args, kwargs)
        traced = run(call.function, call.inputs, call.root, has_aux=has_aux)
        y = _scalar_output(traced, f, transform)
        value = copied(outside(y, traced.scope))
        order = graph.ancestors(traced.outputs, traced.scope)
        return value, traced.aux, call.select(pulled(traced, order, [one(value)]))

    return both


@attrs.frozen
class _Call:
    """A call, understood: f as a function of the inputs alone, and which of their gradients are asked for."""

    function: Callable[[Inputs], object]
    inputs: Inputs
    root: Callable[[object], str]
    select: Callable[[object], object] = lambda gradients: gradients


def understand(
    f: Callable[..., object], argnums: Argnums, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> _Call:
    """Tell which form of `grad` a call has; an `ArgumentError` says so if it has none."""
    if len(args) == 1 and not kwargs and argnums is None:
        (mapping,) = args
        if isinstance(mapping, Mapping) and _stands_for(mapping, f):
            return understand(f, argnums, (), mapping)
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
            f"argnums={i} is out of range: the function was called with {count} positional arguments, counted from 0"
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
    real = structure.is_leaf() and is_real(outputs[0])
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
