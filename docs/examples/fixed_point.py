"""An implicit layer: its result is the z that a cell maps to itself, z = tanh(z W + x U + b).

Forward, the cell is repeated until nothing moves. Backward, the implicit function theorem gives the cotangents from
the fixed point alone: nothing of the way there is remembered, however long it was. It tells two rings apart.

    python docs/examples/fixed_point.py
"""

import tracemalloc
from collections.abc import Callable

import attrs
import numpy as np
from sklearn.datasets import make_circles

from fgrad import abs, custom_vjp, fori_loop, grad, max, nn, norm, optim, sum, tanh, vjp, while_loop
from fgrad.nn import Floats
from fgrad.random import Key
from fgrad.train import batches, train


@attrs.frozen
class Cell:
    """tanh(z W + x U + b), with W scaled such that it contracts, and so has one fixed point."""

    w: Floats
    inputs: nn.Linear

    @classmethod
    def init(cls, key: Key, n: int, m: int) -> "Cell":
        """Make one from n numbers to m."""
        first, second = key.split()
        return cls(nn.glorot_normal(first, (m, m)), nn.Linear.init(second, n, m))

    def __call__(self, x: Floats, z: Floats) -> Floats:
        """Map x (rows, n) and z (rows, m) to the next z."""
        return tanh(z @ (self.w * (0.9 / norm(self.w))) + self.inputs(x))


def repeated(step: Callable[[Floats], Floats], z: Floats) -> Floats:
    """The fixed point of a contraction, from anywhere."""
    return while_loop(lambda z: max(abs(z[1] - z[0])) > 1e-9, lambda z: (z[1], step(z[1])), (z, step(z)))[1]


@custom_vjp
def fixed_point(cell: Cell, x: Floats) -> Floats:
    """The z that a cell maps to itself."""
    return repeated(lambda z: cell(x, z), np.zeros((len(x), len(cell.w))))


def forward(cell: Cell, x: Floats) -> tuple[Floats, tuple[Cell, Floats, Floats]]:
    """Give the fixed point, and what the pullback needs to know: the fixed point, and no more."""
    z = fixed_point(cell, x)
    return z, (cell, x, z)


def backward(known: tuple[Cell, Floats, Floats], g: Floats) -> tuple[Cell, Floats]:
    """Give the cotangents of the cell and of x: those of one step, for the u with u = g + u · ∂cell/∂z."""
    _, pull = vjp(lambda cell, x, z: cell(x, z), *known)
    return pull(repeated(lambda u: g + pull(u)[2], g))[:2]


fixed_point.defvjp(forward, backward)


def loss(network: tuple[Cell, nn.Linear], x: Floats, y: Floats) -> float:
    """The cross-entropy of what a linear layer makes of the fixed point."""
    cell, head = network
    return nn.binary_cross_entropy(head(fixed_point(cell, x))[:, 0], y)


def peak(f: Callable[[Cell], float], cell: Cell) -> int:
    """How many bytes the gradient of a function takes at most."""
    tracemalloc.start()
    grad(f)(cell)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def main(*, steps: int = 300, width: int = 32, seed: int = 0) -> tuple[float, int, int]:
    """Train, and give the held-out accuracy, and the bytes that a gradient takes: implicit, and through 100 steps."""
    x, y = (np.asarray(a, float) for a in make_circles(1000, noise=0.08, factor=0.6, random_state=seed))
    first, second = Key(seed).split()
    cell, head = Cell.init(first, 2, width), nn.Linear.init(second, width, 1)
    for now in train(loss, (cell, head), batches((x[:500], y[:500]), 500), optim.adam(0.02), steps=steps):
        cell, head = now.params
        if now.step % 100 == 0:
            print(f"step {now.step}  loss {now.value:.4f}")
    accuracy = float(nn.accuracy(head(fixed_point(cell, x[500:]))[:, 0], y[500:]))
    implicit = peak(lambda cell: sum(fixed_point(cell, x)), cell)
    unrolled = peak(lambda cell: sum(fori_loop(0, 100, lambda _, z: cell(x, z), np.zeros((1000, width)))), cell)
    print(f"{accuracy:.1%} of the held-out points are in their ring")
    print(f"a gradient takes {implicit / 1e6:.1f} MB, and through 100 steps {unrolled / 1e6:.1f} MB")
    return accuracy, implicit, unrolled


if __name__ == "__main__":
    main()
