"""An LSTM of short vectors over 1,024 steps, compiled: fgrad's and JAX's scans, PyTorch, and C by hand.

Its matrix is (inputs and units, gates), the gates standing as input, forget, candidate, output; the loss is the mean
over the steps of the squared distance between the state and a target.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import fgrad
from fgrad import jit, nn, scan, value_and_grad
from tests.benchmarks import by_hand
from tests.benchmarks.arrays import flat
from tests.benchmarks.transforms import jax64
from tests.benchmarks.work import Run, Target, Work

STEPS, INPUTS, UNITS = 1024, 4, 8


def data() -> tuple[nn.Floats, nn.Floats]:
    """The inputs, and the targets, step by step."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(STEPS, INPUTS)), rng.normal(size=(STEPS, UNITS))


def start() -> tuple[nn.Floats, nn.Floats]:
    """The matrix and the bias of all gates."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(INPUTS + UNITS, 4 * UNITS)) / 4, rng.normal(size=4 * UNITS) / 4


def cell(xp: Any, sigmoid: Callable[[Any], Any], w: Any, b: Any, h: Any, c: Any, x: Any) -> tuple[Any, Any]:
    """The next h and c, on every peer's arrays."""
    z = xp.concatenate([x, h]) @ w + b
    gates = sigmoid(z)
    c = gates[UNITS : 2 * UNITS] * c + gates[:UNITS] * xp.tanh(z[2 * UNITS : 3 * UNITS])
    return gates[3 * UNITS :] * xp.tanh(c), c


def _numbers(result: Any) -> Any:
    return flat(*result)


def _scanned(scan: Callable[..., Any], xp: Any, sigmoid: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """The loss, by a library's scan."""
    xs, ys = map(xp.asarray, data())

    def loss(w: Any, b: Any) -> Any:
        def step(state: Any, given: Any) -> Any:
            h, c, total = state
            h, c = cell(xp, sigmoid, w, b, h, c, given[0])
            return (h, c, total + ((h - given[1]) ** 2).sum()), None

        (_, _, total), _ = scan(step, (xp.zeros(UNITS), xp.zeros(UNITS), 0.0), (xs, ys))
        return total / STEPS

    return loss


def _fgrad() -> Run:
    both: Any = value_and_grad(_scanned(scan, np, fgrad.sigmoid), (0, 1))
    w, b = start()
    return Run(lambda: both(w, b), _numbers)


def _fgrad_jit() -> Run:
    both, (w, b) = jit(value_and_grad(_scanned(scan, np, fgrad.sigmoid), (0, 1))), start()
    return Run(lambda: both(w, b), _numbers)


def _jax() -> Run:
    jax, jnp = jax64()
    both = jax.jit(jax.value_and_grad(_scanned(jax.lax.scan, jnp, jax.nn.sigmoid), (0, 1)))
    w, b = jax.device_put(start())
    return Run(lambda: jax.block_until_ready(both(w, b)), _numbers)


def _torch() -> Run:
    """Step by step in Python."""
    import torch

    w, b = (torch.tensor(p, requires_grad=True) for p in start())
    xs, ys = map(torch.tensor, data())

    def call() -> Any:
        h, c, total = torch.zeros(UNITS, dtype=torch.float64), torch.zeros(UNITS, dtype=torch.float64), 0.0
        for x, y in zip(xs, ys, strict=True):
            h, c = cell(torch, torch.sigmoid, w, b, h, c, x)
            total = total + ((h - y) ** 2).sum()
        loss: Any = total / STEPS
        return loss.detach(), torch.autograd.grad(loss, (w, b))

    return Run(call, _numbers)


def _torch_module() -> Run:
    """By its own module for this, which is C++."""
    import torch

    lstm = torch.nn.LSTM(INPUTS, UNITS, dtype=torch.float64)
    w, b = map(torch.tensor, start())
    parts = w[:INPUTS].T, w[INPUTS:].T, b, torch.zeros_like(b)
    for parameter, part in zip(lstm.parameters(), parts, strict=True):
        parameter.data = part.contiguous()
    xs, ys = map(torch.tensor, data())

    def call() -> Any:
        lstm.zero_grad()
        loss = ((lstm(xs)[0] - ys) ** 2).sum() / STEPS
        loss.backward()
        return loss

    def numbers(loss: Any) -> Any:
        of_inputs, of_units, of_bias, _ = [np.asarray(p.grad) for p in lstm.parameters()]
        return flat(loss.detach(), [np.concatenate([of_inputs.T, of_units.T]), of_bias])

    return Run(call, numbers)


def _c() -> Run:
    w, b = start()
    text = by_hand.LSTM % {"steps": STEPS, "inputs": INPUTS, "units": UNITS}
    return by_hand.run(text, (w, b, *data()), 1 + w.size + b.size)


WORKS = [
    Work(
        "lstm",
        f"LSTM of {UNITS} units over {STEPS:,} steps of {INPUTS} inputs, value and gradient",
        {
            "fgrad jit scan": _fgrad_jit,
            "fgrad scan": _fgrad,
            "JAX jit scan": _jax,
            "PyTorch unrolled": _torch,
            "PyTorch nn.LSTM": _torch_module,
            "C -O3 by hand": _c,
        },
        [Target("JAX jit scan", 1.0, "ahead"), Target("C -O3 by hand", 1 / 1.5, "within 1.5×")],
    ),
]
