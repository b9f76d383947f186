"""What is done to gradients before a step: clipping, scaling, decay of weights, moving averages.

Knows trees of gradients; nothing of learning rates.
"""

from typing import TypeVar, cast

import attrs

from fgrad import errors, tree
from fgrad.node import Value
from fgrad.ops import elementwise
from fgrad.ops.elementwise import maximum, sqrt, square
from fgrad.ops.reducing import sum
from fgrad.ops.shaping import astype, dtype_of, number, zeros_like
from fgrad.optim.protocol import EmptyState, Optimizer, check_floating, columns, kept, leafwise, need, stateless
from fgrad.optim.schedules import Rate, at
from fgrad.optim.wrappers import selected

T = TypeVar("T")


@attrs.frozen(eq=False)
class CountState:
    """How many steps were taken."""

    count: int


@attrs.frozen(eq=False)
class EmaState:
    """How many trees were averaged, and their exponential moving average, which begins at zero."""

    count: int
    ema: object


def scale(step_size: float) -> Optimizer[EmptyState]:
    """Multiply by a number.

    >>> optimizer = scale(-1.0)
    >>> optimizer.update({"w": 2.0}, optimizer.init({"w": 0.0}))[0]
    {'w': -2.0}
    """
    return leafwise(lambda g: kept(step_size * g, g))


def clip(max_delta: float) -> Optimizer[EmptyState]:
    """Keep every number between -max_delta and max_delta.

    >>> optimizer = clip(1.0)
    >>> optimizer.update({"w": 2.0, "b": -0.5}, optimizer.init({"w": 0.0, "b": 0.0}))[0]
    {'w': 1.0, 'b': -0.5}
    """
    return leafwise(lambda g: kept(elementwise.clip(g, -max_delta, max_delta), g))


def clip_by_global_norm(max_norm: float) -> Optimizer[EmptyState]:
    """Scale all gradients by one number, so that their norm together is at most `max_norm` (Pascanu et al. 2013).

    Raises `ArgumentError` unless `max_norm` is positive.

    >>> optimizer = clip_by_global_norm(1.0)
    >>> optimizer.update({"w": 3.0, "b": 4.0}, optimizer.init({"w": 0.0, "b": 0.0}))[0]
    {'w': 0.6000000000000001, 'b': 0.8}
    """
    if max_norm <= 0:
        raise errors.ArgumentError(f"max_norm={max_norm}: write a positive number")

    def clipped(grads: object) -> object:
        factor = max_norm / maximum(global_norm(grads), max_norm)
        return tree.map(lambda g: kept(factor * g, g), grads)

    return stateless(clipped)


def global_norm(updates: object) -> float:
    """The Euclidean norm of all numbers of a tree together; 0 for an empty one.

    >>> global_norm({"w": 3.0, "b": 4.0})
    5.0
    """
    total: Value = 0.0
    for leaf in cast("list[Value]", tree.leaves(updates)):
        if "float16" in str(dtype_of(leaf)):
            leaf = astype(leaf, "float32")  # squares of float16 soon are infinite
        total = total + sum(square(leaf))
    return number(sqrt(total))


def add_decayed_weights(weight_decay: Rate = 0.0, mask: object = None) -> Optimizer[CountState]:
    """Add the parameters times `weight_decay` to the gradients, for the leaves that `mask` (see `masked`) chooses.

    Before a plain `sgd` this is a penalty of the squared weights. Raises `ArgumentError` for an update without params.

    >>> optimizer = add_decayed_weights(0.1)
    >>> params = {"w": 2.0}
    >>> optimizer.update({"w": 1.0}, optimizer.init(params), params)[0]
    {'w': 1.2}
    """

    def update(grads: T, state: CountState, params: T | None = None) -> tuple[T, CountState]:
        decay = at(weight_decay, state.count)
        (gs, ps), structure = columns({"grads": grads, "params": need(params, "add_decayed_weights")})
        chosen = [True] * len(ps) if mask is None else selected(mask, params)
        decayed = [kept(g + decay * p, g) if c else g for g, p, c in zip(gs, ps, chosen, strict=True)]
        return cast("T", tree.unflatten(structure, decayed)), CountState(state.count + 1)

    return Optimizer(lambda params: CountState(0), update)


def ema(decay: float, debias: bool = True) -> Optimizer[EmaState]:
    """The exponential moving average of what comes: of gradients in a chain, or of parameters, called by itself.

    With `debias` it is divided by 1 - decayᵗ, since it begins at zero (Kingma and Ba 2015, section 3).

    >>> average = ema(0.9)
    >>> state = average.init({"w": 0.0})
    >>> for params in ({"w": 1.0}, {"w": 2.0}):
    ...     smooth, state = average.update(params, state)
    >>> round(smooth["w"], 6)
    1.526316
    """

    def init(params: object) -> EmaState:
        check_floating(params)
        return EmaState(0, tree.map(zeros_like, params))

    def update(grads: T, state: EmaState, params: T | None = None) -> tuple[T, EmaState]:
        (gs, ms), structure = columns({"grads": grads, "state.ema": state.ema})
        moved = [kept(decay * m + (1 - decay) * g, m) for g, m in zip(gs, ms, strict=True)]
        weight = 1 - decay ** (state.count + 1) if debias else 1.0
        updates = [kept(m / weight, m) for m in moved]
        following = EmaState(state.count + 1, tree.unflatten(structure, moved))
        return cast("T", tree.unflatten(structure, updates)), following

    return Optimizer(init, update)
