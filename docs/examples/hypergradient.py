"""Training itself, differentiated: the gradient of a held-out loss through a hundred steps of gradient descent.

Sixty noisy points are explained by forty features, of which eight matter. The learning rate, and how much each weight
decays, follow from the gradient of what the trained weights lose on other points; decay comes to rest on the features
that do not matter. `checkpoint` keeps the memory of the loop to the root of its length.

    python docs/examples/hypergradient.py
"""

from itertools import repeat
from typing import TypeAlias

import attrs
import numpy as np

from fgrad import exp, fori_loop, grad, nn, optim, random
from fgrad.nn import Floats
from fgrad.random import Key
from fgrad.train import train

Data: TypeAlias = tuple[Floats, Floats]
FEATURES, RELEVANT = 40, 8


@attrs.frozen
class Hyper:
    """What is not learned in training: logarithms of the learning rate, and of each weight's decay."""

    log_rate: float
    log_decay: Floats


def draw(key: Key, n: int) -> Data:
    """Points (n, features) and targets (n,), the sum of the first eight features and noise."""
    first, second = key.split()
    x = random.normal(first, (n, FEATURES))
    return x, x[:, :RELEVANT].sum(1) + random.normal(second, n)


def loss(w: Floats, x: Floats, y: Floats) -> float:
    """The mean squared error of a linear model."""
    return nn.mse(x @ w, y)


def trained(hyper: Hyper, x: Floats, y: Floats, steps: int) -> Floats:
    """The weights after some steps of gradient descent from zero, with decay."""

    def step(_: int, w: Floats) -> Floats:
        return w - exp(hyper.log_rate) * (grad(loss)(w, x, y) + exp(hyper.log_decay) * w)

    return fori_loop(0, steps, step, np.zeros(FEATURES), checkpoint=True)


def main(*, outer: int = 100, steps: int = 100, seed: int = 0) -> tuple[float, float, Hyper]:
    """Improve rate and decay, and give the loss on points that had no part in it, before and after, and the two."""
    known, judging, unseen = (draw(key, n) for key, n in zip(Key(seed).split(3), (60, 60, 1000), strict=True))

    def held_out(hyper: Hyper) -> float:
        return loss(trained(hyper, *known, steps), *judging)

    def tested(hyper: Hyper) -> float:
        return float(loss(trained(hyper, *known, steps), *unseen))

    hyper = start = Hyper(np.log(0.01).item(), np.full(FEATURES, np.log(0.1)))
    for now in train(held_out, hyper, repeat(()), optim.adam(0.05), steps=outer):
        if now.step == 1 or now.step % 20 == 0:
            print(f"step {now.step:3}  held-out loss {now.value:.4f}  learning rate {np.exp(hyper.log_rate):.4f}")
        hyper = now.params
    decay = np.exp(hyper.log_decay)
    print(
        f"decay of features that matter {np.median(decay[:RELEVANT]):.3f}, of others {np.median(decay[RELEVANT:]):.3f}"
    )
    print(f"loss on other points {tested(start):.3f} before, {tested(hyper):.3f} after")
    return tested(start), tested(hyper), hyper


if __name__ == "__main__":
    main()
