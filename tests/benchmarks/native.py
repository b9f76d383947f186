"""micrograd's moons demo, written number by number and compiled natively; beside matrices, and C by hand.

All give the loss and its gradient; nobody updates.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from fgrad import jit, micro, nn, relu, tree, value_and_grad, vmap
from tests.benchmarks import by_hand, scalars
from tests.benchmarks.transforms import jax64
from tests.benchmarks.work import Run, Target, Work

X, Y = np.array(scalars.MOONS_X), np.array(scalars.MOONS_Y)
DECAY = 1e-4


def start() -> micro.MLP:
    """2-16-16-1."""
    return scalars.start(scalars.MOONS)


def hinge(model: micro.MLP, x: Sequence[float], y: float) -> float:
    """The loss of one example, number by number."""
    return relu(1 - y * model([x[0], x[1]])[0])


def loss(model: micro.MLP) -> float:
    """The loss of all, with weight decay."""
    hinges: Any = vmap(hinge, in_axes=(None, 0, 0))
    parameters: list[Any] = tree.leaves(model)
    total: float = hinges(model, X, Y).mean() + DECAY * sum(p * p for p in parameters)
    return total


def numbers(result: Any) -> Sequence[float]:
    """The loss, and the gradient neuron by neuron, weights before the bias."""
    gradient: list[Any] = tree.leaves(result[1])
    return (result[0], *gradient)


def kernel_alone(compiled: Any, args: Sequence[object], kwargs: Mapping[str, object]) -> Callable[[], object]:
    """What a compiled function's kernel does: without finding it, taking pytrees apart and putting them together."""
    import_module("llvmlite")
    compiled(*args, **kwargs)
    ((special, *_),) = compiled._known.values()
    path, leaves = special.paths[0], special.unpack(args, kwargs)
    return partial(path._fast, *(leaves if path.places is None else [leaves[i] for i in path.places]))


def _fgrad() -> Run:
    both, model = jit(value_and_grad(loss)), start()
    return Run(lambda: both(model), numbers)


def _kernel() -> Run:
    return Run(kernel_alone(jit(value_and_grad(loss)), (start(),), {}), lambda result: result)


def _micrograd() -> Run:
    model = scalars.micrograd_start(scalars.MOONS)

    def call() -> Any:
        value, _ = scalars.moons_loss_micrograd(model)
        model.zero_grad()
        value.backward()
        return value

    return Run(call, lambda value: (value.data, *(p.grad for p in model.parameters())))


def matrices() -> list[tuple[nn.Floats, nn.Floats]]:
    """The same network: weights (in, out), and biases, layer by layer."""
    return [
        (np.array([neuron.w for neuron in layer.neurons]).T.copy(), np.array([neuron.b for neuron in layer.neurons]))
        for layer in start().layers
    ]


def matrix_numbers(result: Any) -> Sequence[float]:
    """As `numbers`, of a loss and gradients by matrices."""
    rows = [np.vstack([np.asarray(w), np.asarray(b)]).T.ravel() for w, b in result[1]]
    return (float(result[0]), *np.concatenate(rows).tolist())


def _numpy() -> Run:
    layers = matrices()
    (w1, b1), (w2, b2), (w3, b3) = layers
    y, n = Y[:, None], len(Y)

    def call() -> Any:
        a1 = np.maximum(X @ w1 + b1, 0)
        a2 = np.maximum(a1 @ w2 + b2, 0)
        margin = 1 - y * (a2 @ w3 + b3)
        value = np.maximum(margin, 0).mean()
        for w, b in layers:
            value += DECAY * (np.vdot(w, w) + b @ b)
        d = (margin > 0) * -y / n
        d2 = d @ w3.T * (a2 > 0)
        d1 = d2 @ w2.T * (a1 > 0)
        twice = 2 * DECAY
        return value, [
            (X.T @ d1 + twice * w1, d1.sum(0) + twice * b1),
            (a1.T @ d2 + twice * w2, d2.sum(0) + twice * b2),
            (a2.T @ d + twice * w3, d.sum(0) + twice * b3),
        ]

    return Run(call, matrix_numbers)


def jax_loss(layers: Any) -> Any:
    """The same with matrices."""
    jax, jnp = jax64()
    out: Any = jnp.asarray(X)
    for i, (w, b) in enumerate(layers):
        out = (jax.nn.relu(out) if i else out) @ w + b
    losses = jax.nn.relu(1 - Y[:, None] * out)
    return jnp.mean(losses) + DECAY * sum(jnp.sum(p * p) for pair in layers for p in pair)


def matrices_jax() -> Run:
    """Compiled at the first call."""
    jax, _ = jax64()
    both, layers = jax.jit(jax.value_and_grad(jax_loss)), jax.device_put(matrices())
    return Run(lambda: jax.block_until_ready(both(layers)), matrix_numbers)


def _c() -> Run:
    flat = np.array(tree.leaves(start()))
    return by_hand.run(by_hand.MOONS, (flat, X, Y), 1 + len(flat))


def _c_vectors() -> Run:
    flat, more = np.array(tree.leaves(start())), (0, -len(Y) % 8)
    return by_hand.run(by_hand.MOONS_VECTORS, (flat, np.pad(X.T, ((0, 0), more)), np.pad(Y, more)), 1 + len(flat))


KERNEL = "fgrad kernel alone"
WORKS = [
    Work(
        "moons-jit",
        "micrograd's demo compiled, MLP 2-16-16-1 on 100 points, fgrad's number by number: value and gradient",
        {
            "fgrad jit": _fgrad,
            KERNEL: _kernel,
            "micrograd": _micrograd,
            "NumPy by hand, matrices": _numpy,
            "JAX jit, matrices": matrices_jax,
            "C -O3 by hand": _c,
            "C with vectors by hand": _c_vectors,
        },
        [
            Target("micrograd", 10_000, "≥ 10,000×"),
            Target("micrograd", 10_000, "≥ 10,000×", beside=KERNEL),
            Target("NumPy by hand, matrices", 2.0, "≥ 2×"),
            Target("NumPy by hand, matrices", 2.0, "≥ 2×", beside=KERNEL),
            Target("JAX jit, matrices", 2.0, "≥ 2×"),
            Target("C -O3 by hand", 1.0, "ahead"),
            Target("C -O3 by hand", 1.0, "ahead", beside=KERNEL),
            Target("C with vectors by hand", 1 / 3, "within 3×", beside=KERNEL),
        ],
        repeat=5,
    ),
]
