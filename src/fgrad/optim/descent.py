"""The optimisers that step along gradients: sgd, adam and their kin.

Knows each rule as its authors wrote it, for one leaf; nothing of how gradients are made.
"""

import functools
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar, cast

import attrs

from fgrad import tree
from fgrad.node import Value
from fgrad.ops.elementwise import sign, sqrt, where
from fgrad.ops.shaping import zeros_like
from fgrad.optim.protocol import Optimizer, check_floating, columns, kept, need
from fgrad.optim.schedules import Rate, at, check_rate
from fgrad.optim.wrappers import selected

T = TypeVar("T")
Rule: TypeAlias = Callable[..., tuple[Value, ...]]
"""From a leaf of the gradient, and what is remembered for it, to its update, and what is then remembered."""


@attrs.frozen(eq=False)
class StepState:
    """How many steps were taken, the rate of the last one (at first, of the next), and trees like the parameters."""

    count: int
    learning_rate: float
    mu: object = None
    """First moments: the moving average of gradients; None, as those below, where the rule has none."""
    nu: object = None
    """Second moments: the moving average, or the sum, of squared gradients."""
    trace: object = None
    """What momentum gathers."""


def sgd_step(params: T, grads: T, learning_rate: float) -> T:
    """One step of gradient descent, params - learning_rate · grads, leaf by leaf; the arguments stay as they are.

    Raises `StructureError` where the two trees part. Dtypes are kept.

    >>> sgd_step({"w": 1.0, "b": 0.0}, {"w": 2.0, "b": 1.0}, 0.5)
    {'w': 0.0, 'b': -0.5}
    """
    return tree.map(lambda p, g: kept(p - learning_rate * g, p), params, grads)


def sgd(learning_rate: Rate, momentum: float | None = None, nesterov: bool = False) -> Optimizer[StepState]:
    """Gradient descent, with momentum (Polyak 1964), or Nesterov's (Sutskever et al. 2013).

    >>> optimizer = sgd(0.1, momentum=0.9)
    >>> params = {"w": 1.0}
    >>> state = optimizer.init(params)
    >>> for _ in range(2):
    ...     updates, state = optimizer.update({"w": 1.0}, state, params)
    >>> updates, state.learning_rate
    ({'w': -0.19}, 0.1)
    """
    if momentum is None:
        return _descent(learning_rate, lambda count, rate: lambda g: (-rate * g,))
    decay = momentum

    def step(count: int, rate: float) -> Rule:
        def rule(g: Value, trace: Value) -> tuple[Value, ...]:
            trace = g + decay * trace
            return -rate * (g + decay * trace if nesterov else trace), trace

        return rule

    return _descent(learning_rate, step, trace=0.0)


def adam(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    *,
    nesterov: bool = False,
) -> Optimizer[StepState]:
    """Steps of about the size of the rate, from moving averages of gradients and their squares (Kingma and Ba 2015).

    With `nesterov`, the first of them looks a step ahead (Dozat 2016).

    >>> optimizer = adam(0.1)
    >>> updates, state = optimizer.update({"w": 5.0}, optimizer.init({"w": 1.0}))
    >>> round(updates["w"], 6)
    -0.1
    """
    return _descent(learning_rate, _adam(b1, b2, eps, eps_root, nesterov), mu=0.0, nu=0.0)


def adamw(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    weight_decay: Rate = 1e-4,
    mask: object = None,
    *,
    nesterov: bool = False,
) -> Optimizer[StepState]:
    """Adam, with weights that decay by the rate times `weight_decay`, whatever the gradients (Loshchilov, Hutter 2019).

    `mask` chooses the leaves that decay, as in `masked`. Raises `ArgumentError` for an update without params.

    >>> optimizer = adamw(0.1, weight_decay=0.5)
    >>> params = {"w": 1.0}
    >>> updates, state = optimizer.update({"w": 5.0}, optimizer.init(params), params)
    >>> round(updates["w"], 6)
    -0.15
    """
    step = _adam(b1, b2, eps, eps_root, nesterov)
    return _descent(learning_rate, step, _Decay("adamw", weight_decay, mask), mu=0.0, nu=0.0)


def rmsprop(
    learning_rate: Rate,
    decay: float = 0.9,
    eps: float = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: float | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> Optimizer[StepState]:
    """Gradients divided by the root of the moving average of their squares (Tieleman and Hinton 2012).

    With `centered`, by their standard deviation (Graves 2013); `momentum` gathers the steps that this gives.

    >>> optimizer = rmsprop(0.1, decay=0.75)
    >>> updates, state = optimizer.update({"w": 5.0}, optimizer.init({"w": 1.0}))
    >>> round(updates["w"], 6)
    -0.2
    """

    def step(count: int, rate: float) -> Rule:
        correction = 1 - decay**count if bias_correction else 1.0

        def rule(g: Value, nu: Value, *more: Value) -> tuple[Value, ...]:
            nu = decay * nu + (1 - decay) * (g * g)
            remembered, spread = [nu], nu / correction
            if centered:
                mu = decay * more[0] + (1 - decay) * g
                remembered.append(mu)
                spread = spread - (mu / correction) * (mu / correction)
            update = -rate * g / (sqrt(spread + eps) if eps_in_sqrt else sqrt(spread) + eps)
            if momentum is not None:
                trace = update + momentum * more[-1]
                remembered.append(trace)
                update = update + momentum * trace if nesterov else trace
            return update, *remembered

        return rule

    slots = {"nu": initial_scale} | ({"mu": 0.0} if centered else {}) | ({} if momentum is None else {"trace": 0.0})
    return _descent(learning_rate, step, None, **slots)


def adagrad(learning_rate: Rate, initial_accumulator_value: float = 0.1, eps: float = 1e-7) -> Optimizer[StepState]:
    """Gradients divided by the root of the sum of their squares so far (Duchi, Hazan and Singer 2011).

    >>> optimizer = adagrad(0.1, initial_accumulator_value=0.0)
    >>> updates, state = optimizer.update({"w": 5.0}, optimizer.init({"w": 1.0}))
    >>> round(updates["w"], 6)
    -0.1
    """

    def step(count: int, rate: float) -> Rule:
        def rule(g: Value, nu: Value) -> tuple[Value, ...]:
            nu = nu + g * g
            return -rate * g / sqrt(where(nu > 0, nu + eps, 1.0)), nu  # where the sum is 0, so are all gradients

        return rule

    return _descent(learning_rate, step, nu=initial_accumulator_value)


def lion(
    learning_rate: Rate, b1: float = 0.9, b2: float = 0.99, weight_decay: Rate = 1e-3, mask: object = None
) -> Optimizer[StepState]:
    """Steps of the size of the rate, by the sign of momentum, with weights that decay (Chen et al. 2023).

    `mask` chooses the leaves that decay, as in `masked`. Raises `ArgumentError` for an update without params.

    >>> optimizer = lion(0.1, weight_decay=0.0)
    >>> params = {"w": 1.0}
    >>> optimizer.update({"w": 5.0}, optimizer.init(params), params)[0]
    {'w': -0.1}
    """

    def step(count: int, rate: float) -> Rule:
        def rule(g: Value, mu: Value) -> tuple[Value, ...]:
            return -rate * sign(b1 * mu + (1 - b1) * g), b2 * mu + (1 - b2) * g

        return rule

    return _descent(learning_rate, step, _Decay("lion", weight_decay, mask), mu=0.0)


def _adam(b1: float, b2: float, eps: float, eps_root: float, nesterov: bool) -> Callable[[int, float], Rule]:
    """Adam's rule, with what corrects the bias in scalars, once a step (Kingma and Ba 2015, end of section 2)."""

    def step(count: int, rate: float) -> Rule:
        c1, c2 = 1 - b1**count, 1 - b2**count
        size = -rate * sqrt(c2)
        of_mu = size * b1 / (1 - b1 ** (count + 1)) if nesterov else size / c1
        of_g, near_zero, in_root = size * (1 - b1) / c1, eps * sqrt(c2), eps_root * c2

        def rule(g: Value, mu: Value, nu: Value) -> tuple[Value, ...]:
            mu = b1 * mu + (1 - b1) * g
            nu = b2 * nu + (1 - b2) * (g * g)
            ahead = of_mu * mu + of_g * g if nesterov else of_mu * mu
            return ahead / (sqrt(nu + in_root) + near_zero), mu, nu

        return rule

    return step


@attrs.frozen(eq=False)
class _Decay:
    """Weights that decay: whose, by how much of the rate, and which."""

    who: str
    weight: Rate
    mask: object

    def taken(
        self, updates: Sequence[Value], params: object, structure: tree.Structure, count: int, rate: float
    ) -> list[Value]:
        """The updates, less what decays."""
        factor = rate * at(self.weight, count)
        leaves = cast("list[Value]", tree.matching_leaves(structure, need(params, self.who), "params"))
        chosen = [True] * len(leaves) if self.mask is None else selected(self.mask, params)
        return [kept(u - factor * p, u) if c else u for u, p, c in zip(updates, leaves, chosen, strict=True)]


def _descent(
    learning_rate: Rate, step: Callable[[int, float], Rule], decay: _Decay | None = None, **slots: float
) -> Optimizer[StepState]:
    """Make the optimiser that, in step number `count` from 1, moves each leaf by the rule `step(count, rate)`.

    `slots` names what is remembered for each leaf, and what all of it begins as. Each tree is taken apart once.
    """
    check_rate(learning_rate)

    def init(params: object) -> StepState:
        check_floating(params)
        begun = {name: tree.map(functools.partial(_filled, value), params) for name, value in slots.items()}
        return StepState(0, at(learning_rate, 0), **begun)

    def update(grads: T, state: StepState, params: T | None = None) -> tuple[T, StepState]:
        rate = at(learning_rate, state.count)
        rule = step(state.count + 1, rate)
        trees = {f"state.{name}": getattr(state, name) for name in slots}
        leaves, structure = columns({"grads": grads, **trees})
        rows = [[kept(new, old) for new, old in zip(rule(*row), row, strict=True)] for row in zip(*leaves, strict=True)]
        updates, *remembered = [list(column) for column in zip(*rows, strict=True)] or [[]] * len(leaves)
        if decay is not None:
            updates = decay.taken(updates, params, structure, state.count, rate)
        moved = {name: tree.unflatten(structure, xs) for name, xs in zip(slots, remembered, strict=True)}
        return cast("T", tree.unflatten(structure, updates)), StepState(state.count + 1, rate, **moved)

    return Optimizer(init, update)


def _filled(value: float, x: object) -> Value:
    return zeros_like(x) + value
