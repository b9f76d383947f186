"""Works of compiled functions: micrograd's expression, the tiny step, networks with matrices; beside JAX, by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fgrad import jit, micro, nn, relu, tree, value_and_grad
from tests.benchmarks import arrays, scalars
from tests.benchmarks.arrays import Task
from tests.benchmarks.measure import keep_pages
from tests.benchmarks.scalars import RATE
from tests.benchmarks.work import Make, Run, Target, Work
from tests.expressions import micrograd_readme


def _expression() -> Run:
    both: Any = jit(value_and_grad(micrograd_readme))  # by keywords, a form that jit's type does not keep
    return Run(lambda: both(a=-4.0, b=2.0), lambda result: (result[0], result[1]["a"], result[1]["b"]))


def _expression_jax() -> Run:
    import jax as untyped

    jax: Any = untyped
    jax.config.update("jax_enable_x64", True)
    both = jax.jit(jax.value_and_grad(lambda a, b: scalars.expression(a, b, jax.nn.relu), (0, 1)))
    return Run(
        lambda: jax.block_until_ready(both(-4.0, 2.0)), lambda result: [float(result[0]), *map(float, result[1])]
    )


def _tiny() -> Run:
    """Forward, backward and update as one compiled function, step after step."""

    def step(model: micro.MLP) -> tuple[float, micro.MLP, micro.MLP]:
        value, gradient = value_and_grad(lambda model: scalars.tiny_loss(model)[0])(model)
        return value, gradient, tree.map(lambda p, g: p - RATE * g, model, gradient)

    compiled = jit(step)
    model = scalars.start((3, 4, 4, 1))

    def call() -> object:
        nonlocal model
        result = compiled(model)
        model = result[2]
        return result

    return Run(call, lambda result: (result[0], *tree.leaves(result[1]), *tree.leaves(result[2])))


def _network(task: Task) -> Run:
    def loss(model: nn.MLP) -> float:
        out = model(task.x)
        return nn.cross_entropy(out, task.y) if task.classes else relu(1 - task.y * out).mean()

    both = jit(value_and_grad(loss))
    return Run(lambda: both(task.model), lambda result: arrays.flat(result[0], tree.leaves(result[1])))


def _network_jax(task: Task) -> Run:
    import jax as untyped
    import jax.numpy as jnp

    jax: Any = untyped
    jax.config.update("jax_enable_x64", True)
    rows = np.arange(len(task.x))

    def loss(layers: Any) -> Any:
        out: Any = jnp.asarray(task.x)
        for i, (w, b) in enumerate(layers):
            out = (jax.nn.relu(out) if i else out) @ w + b
        if task.classes:
            return -jnp.mean(jax.nn.log_softmax(out)[rows, task.y])
        return jnp.mean(jax.nn.relu(1 - task.y * out))

    both, layers = jax.jit(jax.value_and_grad(loss)), jax.device_put(task.layers)
    return Run(
        lambda: jax.block_until_ready(both(layers)),
        lambda result: arrays.flat(result[0], [g for pair in result[1] for g in pair]),
    )


def _networks(task: Callable[[], Task]) -> dict[str, Make]:
    def ready() -> Task:
        keep_pages()
        return task()

    return {
        "fgrad jit": lambda: _network(ready()),
        "fgrad": lambda: arrays.eager(ready()),
        "NumPy by hand": lambda: arrays.by_hand(ready()),
        "JAX jit": lambda: _network_jax(ready()),
    }


WORKS = [
    Work(
        "expression-jit",
        "micrograd's README expression compiled, value and gradient",
        {"fgrad jit": _expression, "micrograd": scalars.expression_micrograd, "JAX jit": _expression_jax},
        [Target("JAX jit", 1.0, "ahead")],
    ),
    Work(
        "tiny-jit",
        "MLP 3-4-4-1 on 4 points compiled to Python: forward, backward, update, number by number",
        {
            "fgrad jit": _tiny,
            "fgrad": lambda: scalars.fgrad_step(scalars.tiny_loss, (3, 4, 4, 1)),
            "micrograd": lambda: scalars.micrograd_step(scalars.tiny_loss_micrograd, (3, 4, 4, 1)),
        },
        [Target("micrograd", 25.0, "≥ 25×")],
    ),
    Work(
        "digits-jit",
        "MLP 64-128-64-10 with matrices compiled, batch 128, cross-entropy, value and gradient",
        _networks(arrays.digits_task),
        [Target("NumPy by hand", 1 / 1.05, "≤ 1.05× its time"), Target("JAX jit", 1.0, "ahead")],
        repeat=15,
    ),
    Work(
        "matrices-jit",
        "MLP 2-16-16-1 with matrices compiled, 100 points, max-margin loss, value and gradient",
        _networks(arrays.moons_task),
        [Target("JAX jit", 1.0, "ahead")],
        repeat=15,
    ),
]
