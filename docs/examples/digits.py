"""Handwritten digits, 8 by 8 pixels, read by a perceptron or by a convolutional network.

Both are trained on four fifths of scikit-learn's 1,797 digits and judged on the last fifth, which has no say in
anything before. The convolutional network sees each digit somewhere else every time, as a key says.

    python docs/examples/digits.py mlp          # or convnet
"""

import sys
from collections.abc import Callable

import attrs
import numpy as np
from sklearn.datasets import load_digits

from fgrad import astype, getitem, nn, optim, pad, random, relu, reshape
from fgrad.nn import Floats, Integers
from fgrad.random import Key
from fgrad.train import batches, train


@attrs.frozen
class Perceptron:
    """All pixels at once, in two hidden layers."""

    mlp: nn.MLP

    @classmethod
    def init(cls, key: Key) -> "Perceptron":
        """Make one with weights that follow from a key."""
        return cls(nn.MLP.init(key, [64, 256, 128, 10], activation="relu", dtype=np.float32))

    def __call__(self, pictures: Floats, key: Key | None = None) -> Floats:
        """Map (n, 8, 8) to logits (n, 10)."""
        return self.mlp(reshape(pictures, (-1, 64)))


@attrs.frozen
class ConvNet:
    """Strokes, what they join to, and then which digit that is."""

    strokes: nn.Conv2d
    joints: nn.Conv2d
    head: nn.MLP

    @classmethod
    def init(cls, key: Key) -> "ConvNet":
        """Make one with weights that follow from a key."""
        first, second, third = key.split(3)
        return cls(
            nn.Conv2d.init(first, 1, 32, 3, dtype=np.float32),
            nn.Conv2d.init(second, 32, 64, 3, dtype=np.float32),
            nn.MLP.init(third, [256, 128, 10], activation="relu", dtype=np.float32),
        )

    def __call__(self, pictures: Floats, key: Key | None = None) -> Floats:
        """Map (n, 8, 8) to logits (n, 10), of pictures that are moved where there is a key."""
        x = pictures if key is None else moved(pictures, key)
        x = nn.max_pool(relu(self.strokes(x[..., None])), (2, 2))
        x = nn.max_pool(relu(self.joints(x)), (2, 2))
        return self.head(reshape(x, (-1, 256)))


Network = Perceptron | ConvNet
NETWORKS: dict[str, Callable[[Key], Network]] = {"mlp": Perceptron.init, "convnet": ConvNet.init}


def moved(pictures: Floats, key: Key) -> Floats:
    """Each picture moved by up to a pixel, up or down, left or right."""
    rows, places = np.arange(len(pictures))[:, None, None], np.arange(8)
    down, right = (random.choice(own, 3, (len(rows), 1)) + places for own in key.split())
    return getitem(pad(pictures, ((0, 0), (1, 1), (1, 1))), (rows, down[:, :, None], right[:, None, :]))


def loss(network: Network, pictures: Floats, digits: Integers, *, key: Key) -> float:
    """The cross-entropy of a batch, with labels that are not wholly sure."""
    return nn.cross_entropy(network(pictures, key), digits, smoothing=0.1)


def main(kind: str = "mlp", *, epochs: int = 40, seed: int = 0) -> float:
    """Train a network, and give the share of held-out digits that it reads right."""
    x, y = map(np.asarray, load_digits(return_X_y=True))
    x = astype(reshape(x / 16, (-1, 8, 8)), np.float32)
    held, known = np.split(np.random.default_rng(0).permutation(len(y)), [len(y) // 5])
    begin, order, during = Key(seed).split(3)
    network = NETWORKS[kind](begin)
    data = batches((x[known], y[known]), 64, order, drop_last=True)
    optimizer = optim.adamw(optim.cosine_decay_schedule(3e-3, epochs * data.per_epoch), weight_decay=0.1)
    for now in train(loss, network, data, optimizer, epochs=epochs, key=during):
        network = now.params
        if now.step % (10 * data.per_epoch) == 0:
            print(f"epoch {now.step // data.per_epoch}  loss {now.value:.4f}")
    accuracy = float(nn.accuracy(network(x[held]), y[held]))
    print(f"{accuracy:.2%} of {len(held)} held-out digits are read right")
    return accuracy


if __name__ == "__main__":
    main(*sys.argv[1:])
