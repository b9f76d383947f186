"""fgrad in a hundred lines: derivatives of functions of numbers, of any order, both ways."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TypeAlias

Value: TypeAlias = "float | Node"
Function: TypeAlias = Callable[..., Value]
birth = count().__next__  # serial numbers for nodes and scopes: the newer, the greater


@dataclass(frozen=True)
class Op:
    """How to compute, and a rule on (ans, *args) for the derivative by each argument."""

    compute: Callable[..., float]
    partials: tuple[Function, ...] = ()

    def __call__(self, *args: Value) -> Value:
        """Work in the newest scope among the arguments; older nodes are constants there."""
        scope = max((x.scope for x in args if isinstance(x, Node)), default=None)
        if scope is None:
            return self.compute(*args)
        return Node(self(*[outside(x, scope) for x in args]), scope, self, args)


def outside(x: Value, scope: int) -> Value:
    """What x is to whoever opened the scope."""
    return x.value if isinstance(x, Node) and x.scope == scope else x


add = Op(lambda x, y: x + y, (lambda ans, x, y: 1.0, lambda ans, x, y: 1.0))
mul = Op(lambda x, y: x * y, (lambda ans, x, y: y, lambda ans, x, y: x))
div = Op(lambda x, y: x / y, (lambda ans, x, y: 1 / y, lambda ans, x, y: -ans / y))
less = Op(lambda x, y: x < y, (lambda ans, x, y: 0.0, lambda ans, x, y: 0.0))
log = Op(math.log, (lambda ans, x: 1 / x,))
pow = Op(math.pow, (lambda ans, x, y: y * x ** (y - 1), lambda ans, x, y: ans * log(x)))


@dataclass(frozen=True, eq=False)
class Node:
    """A value as the enclosing scope sees it, a number or an older node; and what made it."""

    value: Value
    scope: int
    op: Op = Op(float)
    parents: tuple[Value, ...] = ()
    serial: int = field(default_factory=birth)

    __add__ = __radd__ = lambda x, y: add(x, y)
    __mul__ = __rmul__ = lambda x, y: mul(x, y)
    __neg__, __bool__ = lambda x: x * -1.0, lambda x: bool(x.value)
    __sub__, __rsub__ = lambda x, y: x + -y, lambda y, x: x + -y
    __truediv__, __rtruediv__ = lambda x, y: div(x, y), lambda y, x: div(x, y)
    __pow__, __rpow__ = lambda x, y: pow(x, y), lambda y, x: pow(x, y)
    __lt__, __gt__ = lambda x, y: less(x, y), lambda y, x: less(x, y)


def edges(y: Value, scope: int) -> list[tuple[Node, Value, Value]]:
    """The graph of y in a scope, newest first: (node, parent, derivative by the parent)."""
    found, waiting = set[Node](), [y]
    for x in waiting:  # which grows
        if isinstance(x, Node) and x.scope == scope and x not in found:
            found.add(x)
            waiting.extend(x.parents)
    return [
        (node, x, partial(node.value, *[outside(x, scope) for x in node.parents]))
        for node in sorted(found, key=lambda node: -node.serial)
        for x, partial in zip(node.parents, node.op.partials, strict=True)
        if x in found
    ]


def value_and_grads(f: Function, *args: Value) -> tuple[Value, list[Value]]:
    """Give f(*args) and its derivative by each argument, by one walk back."""
    scope = birth()
    inputs = [Node(x, scope) for x in args]
    y = f(*inputs)
    cotangents: dict[Value, Value] = {y: 1.0}
    for node, x, slope in edges(y, scope):
        cotangents[x] = cotangents.get(x, 0.0) + cotangents[node] * slope
    return outside(y, scope), [cotangents.get(x, 0.0) for x in inputs]


def grad(f: Function) -> Function:
    """Make the function that gives f's derivative by its first argument."""
    return lambda *args: value_and_grads(f, *args)[1][0]


def jvp(f: Function, xs: list[Value], ts: list[Value]) -> tuple[Value, Value]:
    """Give f(*xs) and its derivative along ts, by one walk forward."""
    scope = birth()
    inputs = [Node(x, scope) for x in xs]
    y = f(*inputs)
    moved: dict[Value, Value] = dict(zip(inputs, ts, strict=True))
    for node, x, slope in reversed(edges(y, scope)):
        moved[node] = moved.get(node, 0.0) + moved[x] * slope
    return outside(y, scope), moved.get(y, 0.0)
