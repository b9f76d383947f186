"""Works on numbers, one by one: micrograd's README expression, the tiny seed step, micrograd's moons demo.

JAX without jit is left out: it takes milliseconds for each, which its users know to avoid.
"""

import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from fgrad import micro, optim, relu, trace, tree, value_and_grad
from tests.benchmarks.measure import apart, peak_bytes
from tests.benchmarks.work import Run, Target, Work
from tests.expressions import micrograd_readme

X = TypeVar("X")

expression: Callable[..., Any] = micrograd_readme  # on every peer's numbers
RATE = 1e-9  # so small that each step of many finds the work of the first


def _expression_fgrad() -> Run:
    both = value_and_grad(micrograd_readme)
    return Run(lambda: both(a=-4.0, b=2.0), lambda result: (result[0], result[1]["a"], result[1]["b"]))


def expression_micrograd() -> Run:
    from micrograd.engine import Value

    def call() -> Any:
        a, b = Value(-4.0), Value(2.0)
        g = expression(a, b, Value.relu)
        g.backward()
        return g.data, a.grad, b.grad

    return Run(call, lambda result: result)


def _expression_hips() -> Run:
    import autograd
    import autograd.numpy as np

    def f(a: Any, b: Any) -> Any:
        return expression(a, b, lambda x: np.maximum(x, 0.0))

    both = autograd.value_and_grad(f, (0, 1))
    return Run(lambda: both(-4.0, 2.0), lambda result: (result[0], *result[1]))


def _expression_torch() -> Run:
    import torch

    def call() -> Any:
        a = torch.tensor(-4.0, dtype=torch.float64, requires_grad=True)
        b = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
        g = expression(a, b, torch.relu)
        return g, *torch.autograd.grad(g, (a, b))

    return Run(call, lambda result: [x.item() for x in result])


TINY_X = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
TINY_Y = [1.0, -1.0, -1.0, 1.0]


def squared_error(outputs: Sequence[Any]) -> Any:
    """The loss of the tiny step, on the four points of micrograd's lecture."""
    return sum((y - out) ** 2 for y, out in zip(TINY_Y, outputs, strict=True))


def start(sizes: Sequence[int]) -> micro.MLP:
    """The start for both sides: micrograd's own networks are relu, with a linear last layer."""
    hidden: list[micro.Activation] = ["relu"] * (len(sizes) - 2)
    return micro.MLP.init(sizes, seed=1, activations=[*hidden, "linear"])


def micrograd_start(sizes: Sequence[int]) -> Any:
    """The network of micrograd with the weights of `start`; both list them in one order."""
    from micrograd.nn import MLP

    model = MLP(sizes[0], list(sizes[1:]))
    for parameter, x in zip(model.parameters(), tree.leaves(start(sizes)), strict=True):
        parameter.data = x
    return model


def fgrad_step(loss: Callable[[micro.MLP], tuple[float, object]], sizes: Sequence[int]) -> Run:
    """Forward, backward and update, step after step."""
    both = value_and_grad(loss, has_aux=True)
    model = start(sizes)

    def step() -> object:
        nonlocal model
        (value, aux), grads = both(model)
        model = optim.sgd_step(model, grads, RATE)
        return value, aux, grads, model

    return Run(step, lambda result: (result[0], *tree.leaves(result[2]), *tree.leaves(result[3])))


def micrograd_step(loss: Callable[[Any], tuple[Any, object]], sizes: Sequence[int]) -> Run:
    """Forward, backward and update, step after step."""
    model = micrograd_start(sizes)

    def step() -> object:
        value, aux = loss(model)
        model.zero_grad()
        value.backward()
        for parameter in model.parameters():
            parameter.data -= RATE * parameter.grad
        return value, aux

    def numbers(result: Any) -> Sequence[float]:
        parameters = model.parameters()
        return result[0].data, *(p.grad for p in parameters), *(p.data for p in parameters)

    return Run(step, numbers)


def tiny_loss(model: micro.MLP) -> tuple[float, None]:
    return squared_error([model(x)[0] for x in TINY_X]), None


def tiny_loss_micrograd(model: Any) -> tuple[Any, None]:
    return squared_error([model(x) for x in TINY_X]), None


MOONS = (2, 16, 16, 1)


def moons(count: int = 100) -> tuple[list[list[float]], list[float]]:
    """Two half circles that reach into each other, with noise 0.1, and labels -1 and 1: scikit-learn's make_moons."""
    rng = random.Random(1337)
    X, Y = [], []
    for i in range(count):
        angle = math.pi * (i // 2) / (count // 2 - 1)
        x, y = math.cos(angle), math.sin(angle)
        x, y = (x, y) if i % 2 else (1 - x, 0.5 - y)
        X.append([x + rng.gauss(0, 0.1), y + rng.gauss(0, 0.1)])
        Y.append(-1.0 if i % 2 else 1.0)
    return X, Y


MOONS_X, MOONS_Y = moons()


def max_margin(scores: Sequence[Any], parameters: Sequence[Any], relu: Callable[[Any], Any]) -> Any:
    """The loss of micrograd's demo: of a support vector machine, with weight decay."""
    losses = [relu(1 + -y * score) for y, score in zip(MOONS_Y, scores, strict=True)]
    return sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in parameters)


def _moons_loss(model: micro.MLP) -> tuple[float, list[float]]:
    scores = [model(x)[0] for x in MOONS_X]
    return max_margin(scores, tree.leaves(model), relu), scores


def moons_loss_micrograd(model: Any) -> tuple[Any, list[float]]:
    from micrograd.engine import Value

    scores = [model(list(map(Value, x))) for x in MOONS_X]  # as in its demo
    return max_margin(scores, model.parameters(), Value.relu), [score.data for score in scores]


def moons_memory_fgrad(*, per_node: bool) -> float:
    """Peak memory of forward and backward, over the number of nodes if so wanted."""
    model = start(MOONS)
    nodes = len(trace(lambda model: _moons_loss(model)[0])(model).nodes) if per_node else 1
    both = value_and_grad(_moons_loss, has_aux=True)
    return peak_bytes(lambda: both(model)) / nodes


def moons_memory_micrograd(*, per_node: bool) -> float:
    """Peak memory of forward and backward, over the number of nodes if so wanted."""
    model = micrograd_start(MOONS)
    nodes = _count_values(moons_loss_micrograd(model)[0]) if per_node else 1
    return peak_bytes(lambda: moons_loss_micrograd(model)[0].backward()) / nodes


def _count_values(root: Any) -> int:
    seen, waiting = {root}, [root]
    while waiting:
        new = waiting.pop()._prev - seen
        seen |= new
        waiting.extend(new)
    return len(seen)


WORKS = [
    Work(
        "expression",
        "micrograd's README expression, value and gradient",
        {
            "fgrad": _expression_fgrad,
            "micrograd": expression_micrograd,
            "HIPS autograd": _expression_hips,
            "PyTorch": _expression_torch,
        },
    ),
    Work(
        "tiny",
        "MLP 3-4-4-1 on 4 points: forward, backward, update, number by number",
        {
            "fgrad": lambda: fgrad_step(tiny_loss, (3, 4, 4, 1)),
            "micrograd": lambda: micrograd_step(tiny_loss_micrograd, (3, 4, 4, 1)),
        },
        [Target("micrograd", 1.0, "≥ 1× (aim 1.2×)")],
    ),
    Work(
        "moons",
        "micrograd's demo, MLP 2-16-16-1 on 100 points: forward, backward, update, number by number",
        {
            "fgrad": lambda: fgrad_step(_moons_loss, MOONS),
            "micrograd": lambda: micrograd_step(moons_loss_micrograd, MOONS),
        },
        [Target("micrograd", 3.0, "≥ 3×")],
    ),
    Work(
        "moons-memory",
        "peak memory per graph node, forward and backward of the same",
        {
            "fgrad": lambda: apart(partial(moons_memory_fgrad, per_node=True)),
            "micrograd": lambda: apart(partial(moons_memory_micrograd, per_node=True)),
        },
        [Target("micrograd", 3.0, "≤ 1/3 of micrograd's")],
        repeat=1,
        timed=False,
        unit="B",
    ),
    Work(
        "moons-peak",
        "peak memory of the whole, forward and backward of the same",
        {
            "fgrad": lambda: apart(partial(moons_memory_fgrad, per_node=False)),
            "micrograd": lambda: apart(partial(moons_memory_micrograd, per_node=False)),
        },
        repeat=1,
        timed=False,
        unit="B",
    ),
]
