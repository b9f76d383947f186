"""A recurrent network that remembers: the adding problem of Hochreiter and Schmidhuber (1997).

Each step of a sequence shows a number, and two of the numbers are marked; what is asked for at the end is their sum.
To guess 1 each time costs 1/6. The sequences are drawn inside the loss from the key of the step, so none comes twice,
and the loop over time is one `scan`.

    python docs/examples/recurrent.py
"""

from itertools import repeat

import attrs
import numpy as np

from fgrad import nn, optim, random, stack
from fgrad.nn import Floats
from fgrad.random import Key
from fgrad.train import train

GUESSING = 1 / 6


@attrs.frozen
class Adder:
    """A cell that reads, and what its last state says."""

    cell: nn.GRUCell
    head: nn.Linear

    @classmethod
    def init(cls, key: Key, width: int) -> "Adder":
        """Make one that remembers `width` numbers."""
        first, second = key.split()
        return cls(nn.GRUCell.init(first, 2, width), nn.Linear.init(second, width, 1))

    def __call__(self, sequences: Floats) -> Floats:
        """Map sequences (length, n, 2) to sums (n,)."""
        last, _ = nn.unroll(self.cell, sequences)
        return self.head(last)[:, 0]


def draw(key: Key, length: int, n: int) -> tuple[Floats, Floats]:
    """Sequences (length, n, 2) of numbers and marks, one in each half, and the sums (n,) of what is marked."""
    first, second, third = key.split(3)
    numbers, places = random.uniform(first, (length, n)), np.arange(length)
    early, late = (random.choice(key, half, n) for key, half in zip((second, third), np.split(places, 2), strict=True))
    marks = 1.0 * ((places[:, None] == early) | (places[:, None] == late))
    return stack([numbers, marks], -1), (numbers * marks).sum(0)


def main(*, steps: int = 1000, length: int = 50, width: int = 32, n: int = 64, seed: int = 0) -> float:
    """Train, and give the mean squared error on sequences that were never seen."""

    def loss(model: Adder, *, key: Key) -> float:
        sequences, sums = draw(key, length, n)
        return nn.mse(model(sequences), sums)

    begin, unseen, during = Key(seed).split(3)
    optimizer = optim.chain(
        optim.clip_by_global_norm(1.0), optim.adam(optim.warmup_cosine_decay_schedule(0.0, 1e-2, steps // 10, steps))
    )
    model = Adder.init(begin, width)
    for now in train(loss, model, repeat(()), optimizer, steps=steps, key=during):
        model = now.params
        if now.step % 100 == 0:
            print(f"step {now.step:4}  loss {now.value:.5f}")
    sequences, sums = draw(unseen, length, 1000)
    error = float(nn.mse(model(sequences), sums))
    print(f"mean squared error {error:.5f}, of guessing {GUESSING:.5f}")
    return error


if __name__ == "__main__":
    main()
