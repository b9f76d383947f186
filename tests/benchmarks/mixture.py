"""The log-likelihood of a mixture of Gaussians, as in the ADBench suite: 1,000 points in 10 dimensions, 25 Gaussians.

Each Gaussian has a weight, a mean, and the Cholesky factor of its inverse covariance: the logarithms of its diagonal,
then what is below. All libraries run one and the same function, with their own functions under NumPy's names.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import attrs
import numpy as np

from fgrad import jit, nn, value_and_grad
from tests.benchmarks.arrays import flat
from tests.benchmarks.measure import keep_pages
from tests.benchmarks.transforms import jax64
from tests.benchmarks.work import Run, Target, Work

POINTS, SPACE, COUNT = 1000, 10, 25


@attrs.frozen
class Mixture:
    """What the likelihood is of, as arrays of one library, and that library's functions."""

    xp: Any
    x: Any
    places: Any
    """Where in a factor's numbers those of its transpose are."""
    upper: Any
    """1 above the diagonal, 0 elsewhere."""

    def likelihood(self, weights: Any, means: Any, factors: Any) -> Any:
        """The log-likelihood less a constant, of weights (k,), means (k, d) and factors (k, d (d + 1) / 2)."""
        xp, diagonals = self.xp, factors[:, :SPACE]
        centred = self.x[None, :, :] - means[:, None, :]
        moved = centred * xp.exp(diagonals)[:, None, :] + centred @ (factors[:, self.places] * self.upper)
        terms = (weights + diagonals.sum(1))[:, None] - 0.5 * (moved**2).sum(2)
        return self.log_sum(terms).sum() - POINTS * self.log_sum(weights)

    def log_sum(self, x: Any) -> Any:
        """The logarithm of the sum of exponentials, along the first axis."""
        most = self.xp.amax(x, 0)
        return self.xp.log(self.xp.exp(x - most).sum(0)) + most


def start() -> tuple[nn.Floats, nn.Floats, nn.Floats]:
    """Weights, means, factors."""
    keep_pages()
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(COUNT, SPACE * (SPACE + 1) // 2))
    return rng.normal(size=COUNT), rng.normal(size=(COUNT, SPACE)), factors / 3


def mixture(xp: Any = np, array: Callable[[Any], Any] = np.asarray) -> Mixture:
    """With arrays of a library."""
    rows, columns = np.tril_indices(SPACE, -1)
    places = np.zeros((SPACE, SPACE), dtype=int)
    places[columns, rows] = np.arange(len(rows)) + SPACE
    x = np.random.default_rng(1).normal(size=(POINTS, SPACE))
    return Mixture(xp, array(x), array(places), array(np.tri(SPACE, k=-1).T))


def _numbers(result: Any) -> Any:
    return flat(*result)


def _fgrad() -> Run:
    both, parameters = value_and_grad(mixture().likelihood, (0, 1, 2)), start()
    return Run(lambda: both(*parameters), _numbers)


def _fgrad_jit() -> Run:
    both, parameters = jit(value_and_grad(mixture().likelihood, (0, 1, 2))), start()
    return Run(lambda: both(*parameters), _numbers)


def _jax() -> Run:
    jax, jnp = jax64()
    both = jax.jit(jax.value_and_grad(mixture(jnp, jnp.asarray).likelihood, (0, 1, 2)))
    parameters = jax.device_put(start())
    return Run(lambda: jax.block_until_ready(both(*parameters)), _numbers)


def _torch() -> Run:
    import torch

    task, parameters = mixture(torch, torch.tensor), [torch.tensor(p, requires_grad=True) for p in start()]

    def call() -> Any:
        value = task.likelihood(*parameters)
        return value.detach(), torch.autograd.grad(value, parameters)

    return Run(call, _numbers)


def _hips() -> Run:
    autograd: Any = import_module("autograd")
    both = autograd.value_and_grad(mixture(import_module("autograd.numpy")).likelihood, (0, 1, 2))
    parameters = start()
    return Run(lambda: both(*parameters), _numbers)


WORKS = [
    Work(
        "gmm",
        f"log-likelihood of {POINTS:,} points under {COUNT} Gaussians in {SPACE} dimensions, value and gradient",
        {"fgrad jit": _fgrad_jit, "fgrad": _fgrad, "JAX jit": _jax, "PyTorch": _torch, "HIPS autograd": _hips},
        [
            Target("JAX jit", 1.0, "ahead"),
            Target("PyTorch", 1.0, "ahead"),
            Target("HIPS autograd", 2.0, "≥ 2×"),
            Target("HIPS autograd", 2.0, "≥ 2×", beside="fgrad"),
        ],
    ),
]
