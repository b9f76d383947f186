"""The kinds of rows: elementwise, linear, bilinear, primitive, constant; and how a row computes on any library.

Knows what each kind's derivative looks like; nothing of graphs and sweeps.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from types import ModuleType
from typing import Final, Protocol, TypeVar, cast, overload

import attrs

from fgrad import errors
from fgrad.arrays import numpy, real_namespace
from fgrad.node import (
    Node,
    Op,
    Rule,
    Value,
    X,
    apply,
    apply_binary,
    apply_unary,
    numpy_functions,
    public_functions,
    table,
)

F = TypeVar("F", bound=Callable[..., object])


class Unary(Protocol):
    """A function of one number, array or node, which gives its like."""

    def __call__(self, x: X, /) -> X: ...  # noqa: D102  # the class says it


class Binary(Protocol):
    """A function of two numbers, arrays or nodes, which broadcasts."""

    @overload
    def __call__(self, x: X, y: float, /) -> X: ...
    @overload
    def __call__(self, x: float, y: X, /) -> X: ...
    @overload
    def __call__(self, x: X, y: X, /) -> X: ...


def ieee(function: Rule, *args: object) -> Value:
    """Compute on Python numbers as NumPy would: inf and nan where `math` raises."""
    np = numpy()
    with np.errstate(all="ignore"):
        return cast("Value", np.asarray(function(*[np.float64(x) for x in args])).item())


def implement(name: str, scalar: Rule, array: Rule | None = None) -> Rule:
    """Compute natively on Python numbers, else by the array library's function of that name, or `array(xp, *args)`."""

    @functools.cache
    def library(xp: ModuleType) -> Rule:
        return cast("Rule", getattr(xp, name)) if array is None else functools.partial(array, xp)

    def impl(*args: object) -> Value:
        function: Rule | None = None
        for x in args:
            kind = type(x)
            if kind is not float and kind is not int and kind is not bool:
                function = library(real_namespace(x))
        if function is not None:
            return function(*args)
        try:
            return scalar(*args)
        except (ArithmeticError, ValueError):
            return ieee(library(numpy()), *args)

    _libraries[impl] = library
    return impl


_libraries: Final[dict[Rule, Callable[[ModuleType], Rule]]] = {}  # what `implement` computes arrays by


def array_rule(op: Op, xp: ModuleType) -> Rule:
    """How a row computes on arrays of one library, without asking what it was given where that is known."""
    library = _libraries.get(op.impl)
    return op.impl if library is None else library(xp)


def stand_in(names: str) -> Callable[[F], F]:
    """Make a function known by NumPy's names (spaced) alone, where NumPy's arguments differ from ours."""

    def enter(function: F) -> F:
        numpy_functions.update(dict.fromkeys(names.split(), function))
        return function

    return enter


def public(names: str = "") -> Callable[[F], F]:
    """Make a composite function known by its name to methods, and to NumPy's protocol by its `names`, spaced."""

    def enter(function: F) -> F:
        public_functions[function.__name__] = function
        return stand_in(names)(function)

    return enter


def register(op: Op, function: F, names: str = "") -> F:
    """Enter a row in the table, and make the function of its name public."""
    table[op.name] = op
    return public(names)(function)


def elementwise(*partials: float | Rule) -> Callable[[F], F]:
    """Give a function that acts number by number its own row: a local derivative for each argument.

    A partial is a constant, or a rule on `ans` (the result) and the arguments, written with operators and fgrad's
    functions. The function must work on numbers and arrays alike, as operators and fgrad's functions do; it is not
    traced. Every transform works on it, to any order.

    >>> @elementwise(lambda ans, x: 3 * x * x)
    ... def cube(x: float) -> float:
    ...     return x * x * x
    >>> cube(2.0)
    8.0
    """

    def enter(f: F) -> F:
        op = local(f.__name__, cast("Rule", f), tuple(map(_constant, partials)))

        @functools.wraps(f)
        def function(*args: object) -> object:
            if len(args) != len(partials):
                raise errors.ArgumentError(
                    f"{f.__name__} has {len(partials)} partials and was given {len(args)} arguments"
                )
            return apply(op, args)

        return cast("F", function)

    return enter


def _constant(partial: float | Rule) -> float | Rule:
    return partial if callable(partial) else float(partial)


def local(name: str, impl: Rule, partials: tuple[float | Rule, ...] | None, scalar: Rule | None = None) -> Op:
    """Make an op whose derivative is local: one partial, a constant or a rule on `ans, *args`, for each argument."""
    if partials is None:
        return Op(name, impl, scalar)

    def derivative(i: int, g: Value, ans: Value, args: list[Value], params: object) -> Value | None:
        return scaled(g, partials[i], ans, args)

    op = separate(name, impl, scalar, partials, vjp=derivative, jvp=derivative)
    return attrs.evolve(op, jvp=_difference) if partials == (1.0, -1.0) else op


def _difference(ts: Sequence[Value | None], *_: object) -> Value | None:
    """The tangent of x - y, in one pass over the numbers."""
    s, t = ts
    return s if t is None else -t if s is None else s - t


def separate(
    name: str,
    impl: Rule,
    scalar: Rule | None = None,
    partials: tuple[float | Rule, ...] | None = None,
    *,
    vjp: Callable[..., Value | None],
    jvp: Callable[..., Value | None],
    batch: Rule | None = None,
) -> Op:
    """Make an op from rules for one argument at a time, on its place i and `g` or `t, ans, args, params`."""

    def pull(
        wanted: Sequence[int], g: Value, ans: Value, args: Sequence[Value], params: tuple[Hashable, ...]
    ) -> Sequence[Value | None]:
        if len(wanted) == 1:  # as it is mostly, and sooner done
            return (vjp(wanted[0], g, ans, args, params),)
        return [vjp(i, g, ans, args, params) for i in wanted]

    def push(ts: Sequence[Value | None], *more: object) -> Value | None:
        total = None
        for i, t in enumerate(ts):
            c = None if t is None else jvp(i, t, *more)
            if c is not None:
                total = c if total is None else total + c
        return total

    return Op(name, impl, scalar, partials, vjp=pull, jvp=push, batch=batch)


def scaled(g: Value, partial: float | Rule, ans: Value, args: list[Value]) -> Value | None:
    """Multiply a cotangent or tangent with a local derivative; None where that is the constant 0."""
    if not callable(partial):
        return g if partial == 1.0 else g * partial if partial else None
    try:
        p = partial(ans, *args)
    except ArithmeticError:  # Python's numbers raise where NumPy's give inf or nan
        np = numpy()
        p = partial(*[np.float64(x) if type(x) in (float, int) else x for x in (ans, *args)])
    scale = table["scale"]
    return apply(scale, (g, p)) if isinstance(g, Node) or isinstance(p, Node) else scale.impl(g, p)


def unary(
    name: str,
    meaning: str,
    scalar: Rule,
    partial: float | Rule | None,
    *,
    array: Rule | None = None,
    names: str = "",
) -> Unary:
    """Make an elementwise row of one argument, with its local derivative (None: zero) on `ans, x`."""
    op = local(name, implement(name, scalar, array), None if partial is None else (partial,), scalar)

    def function(x: object, /) -> object:
        return apply_unary(op, x) if type(x) is Node else op.impl(x)

    return cast("Unary", _finish(op, function, meaning, names))


def binary(
    name: str,
    meaning: str,
    scalar: Rule,
    partials: tuple[float | Rule, float | Rule] | None,
    *,
    array: Rule | None = None,
    names: str = "",
) -> Binary:
    """Make an elementwise row of two arguments that broadcast, with a local derivative for each on `ans, x, y`."""
    op = local(name, implement(name, scalar, array), partials, scalar)

    def function(x: object, y: object, /) -> object:
        return apply_binary(op, x, y) if type(x) is Node or type(y) is Node else op.impl(x, y)

    return cast("Binary", _finish(op, function, meaning, names))


def linear(name: str, impl: Rule, transpose: Rule, batch: Rule | None = None) -> Op:
    """Make a row that is linear in its one argument: `transpose(g, x, *params)` gives the cotangent back."""
    op = table[name] = Op(
        name,
        impl,
        vjp=lambda wanted, g, ans, args, params: [transpose(g, *args, *params)],
        jvp=lambda ts, ans, args, params: apply(op, tuple(ts), params),
        batch=batch,
    )
    return op


def constant(name: str, impl: Rule, batch: Rule | None = None) -> Op:
    """Make a row whose derivative is zero."""
    op = table[name] = Op(name, impl, batch=batch)
    return op


def primitive(
    name: str,
    impl: Rule,
    *,
    vjps: tuple[Rule | None, ...],
    jvps: tuple[Rule | None, ...],
    batch: Rule | None = None,
) -> Op:
    """Make a row with a rule for each argument, on `g` or `t, ans, *args, *params`; None: the derivative is zero."""

    def choose(rules: tuple[Rule | None, ...]) -> Callable[..., Value | None]:
        def derivative(i: int, g: Value, ans: Value, args: list[Value], params: tuple[Hashable, ...]) -> Value | None:
            rule = rules[i]
            return None if rule is None else rule(g, ans, *args, *params)

        return derivative

    op = table[name] = separate(name, impl, vjp=choose(vjps), jvp=choose(jvps), batch=batch)
    return op


def _finish(op: Op, function: F, meaning: str, names: str) -> F:
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = f"{meaning} Elementwise, on numbers, arrays and traced values, which broadcast."
    return register(op, function, names)
