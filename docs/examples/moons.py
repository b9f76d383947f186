"""Two moons told apart neuron by neuron: micrograd's demo, on plain floats, as one native program.

The network maps one point to one number, weight by weight. `vmap` makes it a function of all points, and `jit`, in
`train`, turns that, its gradient and the update into loops over vectors (with the extra `jit`).

    python docs/examples/moons.py
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import make_moons

from fgrad import mean, nn, optim, relu, vmap
from fgrad.micro import MLP
from fgrad.train import batches, train

Floats = NDArray[np.float64]


def score(model: MLP, x: Floats) -> float:
    """Above 0 for one moon, below for the other."""
    return model([x[0], x[1]])[0]


def shortfall(model: MLP, x: Floats, side: Floats) -> Floats:
    """How much a point's score lacks to be 1, on its side: the hinge loss."""
    return relu(1.0 - side * score(model, x))


def loss(model: MLP, x: Floats, sides: Floats) -> float:
    """The mean over all points, and a penalty on large weights."""
    missing: float = mean(vmap(shortfall, in_axes=(None, 0, 0))(model, x, sides))
    return missing + 1e-4 * nn.l2_penalty(model)


def main(*, steps: int = 100, points: int = 100, hidden: int = 16, seed: int = 1) -> float:
    """Train on all points at once, and give the share of them that is on its side."""
    x, labels = (np.asarray(a, float) for a in make_moons(points, noise=0.1, random_state=seed))
    sides = 2.0 * labels - 1.0
    model = MLP.init([2, hidden, hidden, 1], seed=seed, activations=["relu", "relu", "linear"])
    optimizer = optim.sgd(optim.linear_schedule(1.0, 0.1, steps))
    for now in train(loss, model, batches((x, sides), points), optimizer, steps=steps):
        model = now.params
        if now.step % 10 == 0:
            print(f"step {now.step:3}  loss {now.value:.4f}  gradient {now.gradient_norm:.4f}")
    accuracy = float(np.mean(vmap(score, in_axes=(None, 0))(model, x) * sides > 0))
    print(f"{accuracy:.0%} of {points} points are on their side")
    return accuracy


if __name__ == "__main__":
    main()
