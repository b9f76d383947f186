"""Works on a long loop in reverse: a recurrent network of 16 units, without inputs, for 100,000 steps; time and memory.

Its matrix is a rotation, so that what happens in the first step still matters in the last. All libraries run one and
the same function, unrolled step by step, unless the name of the contestant says scan.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from fgrad import nn, scan, tanh, value_and_grad
from tests.benchmarks.measure import apart, peak_bytes, peak_resident
from tests.benchmarks.transforms import jax64
from tests.benchmarks.work import Make, Run, Target, Work

UNITS, STEPS = 16, 100_000


def start() -> tuple[nn.Floats, nn.Floats]:
    """The matrix, and the first state."""
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(UNITS, UNITS)))
    return rotation, rng.normal(size=UNITS)


def unrolled(tanh: Callable[[Any], Any], steps: int, w: Any, x: Any) -> Any:
    """The loop in plain Python."""
    for _ in range(steps):
        x = tanh(x @ w)
    return x.sum()


def _numbers(result: Any) -> list[float]:
    value, gradients = result
    return [float(value), *(float(x) for g in gradients for x in np.asarray(g).ravel())]


def fgrad_scan(steps: int = STEPS, *, checkpoint: bool = False) -> Run:
    """In one op."""
    w, x = start()

    def loss(w: nn.Floats, x: nn.Floats) -> float:
        last, _ = scan(lambda x, _: (tanh(x @ w), None), x, length=steps, checkpoint=checkpoint)
        total: float = last.sum()
        return total

    both = value_and_grad(loss, (0, 1))
    return Run(lambda: both(w, x), _numbers)


def fgrad_unrolled(steps: int = STEPS) -> Run:
    """Op by op."""
    w, x = start()

    def loss(w: nn.Floats, x: nn.Floats) -> float:
        total: float = unrolled(tanh, steps, w, x)
        return total

    both = value_and_grad(loss, (0, 1))
    return Run(lambda: both(w, x), _numbers)


def hips_unrolled(steps: int = STEPS) -> Run:
    """Op by op."""
    autograd: Any = import_module("autograd")
    w, x = start()
    both = autograd.value_and_grad(partial(unrolled, import_module("autograd.numpy").tanh, steps), (0, 1))
    return Run(lambda: both(w, x), _numbers)


def torch_unrolled(steps: int = STEPS) -> Run:
    """Op by op."""
    import torch

    w, x = (torch.tensor(a, requires_grad=True) for a in start())

    def call() -> Any:
        loss = unrolled(torch.tanh, steps, w, x)
        return loss.detach(), torch.autograd.grad(loss, (w, x))

    return Run(call, _numbers)


def jax_scan(steps: int = STEPS) -> Run:
    """Compiled in advance."""
    jax, jnp = jax64()

    def loss(w: Any, x: Any) -> Any:
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, length=steps)[0].sum()

    w, x = map(jnp.asarray, start())
    both = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(w, x).compile()
    return Run(lambda: jax.block_until_ready(both(w, x)), _numbers)


Setup = Callable[..., Run]


def memory(peak: Callable[[Callable[[], object]], int], setup: Setup, **options: Any) -> float:
    """Peak memory of forward and backward; what a first call alone takes is left out, by a call of a few steps."""
    setup(20, **options).call()
    return peak(setup(**options).call)


def _fresh(module: str, peak: Callable[[Callable[[], object]], int], setup: Setup, **options: Any) -> Make:
    """Measure memory in a fresh process, if there is the module that is needed."""

    def make() -> Run:
        import_module(module)
        return apart(partial(memory, peak, setup, **options))

    return make


WORKS = [
    Work(
        "scan",
        f"{STEPS:,} steps of x = tanh(x @ w), {UNITS} numbers, value and gradient",
        {
            "fgrad scan": fgrad_scan,
            "fgrad scan, checkpoint": lambda: fgrad_scan(checkpoint=True),
            "fgrad unrolled": fgrad_unrolled,
            "HIPS autograd unrolled": hips_unrolled,
            "PyTorch unrolled": torch_unrolled,
            "JAX jit scan": jax_scan,
        },
        repeat=3,
    ),
    Work(
        "scan-memory",
        "peak memory of the same, as Python and NumPy allocate it",
        {
            "fgrad scan, checkpoint": _fresh("fgrad", peak_bytes, fgrad_scan, checkpoint=True),
            "fgrad scan": _fresh("fgrad", peak_bytes, fgrad_scan),
            "fgrad unrolled": _fresh("fgrad", peak_bytes, fgrad_unrolled),
            "HIPS autograd unrolled": _fresh("autograd", peak_bytes, hips_unrolled),
        },
        [Target("fgrad scan", 20.0, "with checkpoint ≤ 1/20 of it")],
        repeat=1,
        timed=False,
        unit="B",
    ),
    Work(
        "scan-resident",
        "peak memory of the same, as the system sees it",
        {
            "fgrad scan": _fresh("fgrad", peak_resident, fgrad_scan),
            "fgrad scan, checkpoint": _fresh("fgrad", peak_resident, fgrad_scan, checkpoint=True),
            "fgrad unrolled": _fresh("fgrad", peak_resident, fgrad_unrolled),
            "HIPS autograd unrolled": _fresh("autograd", peak_resident, hips_unrolled),
            "PyTorch unrolled": _fresh("torch", peak_resident, torch_unrolled),
            "JAX jit scan": _fresh("jax", peak_resident, jax_scan),
        },
        repeat=1,
        timed=False,
        unit="B",
    ),
]
