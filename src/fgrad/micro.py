"""micrograd's network, number by number: Neuron, Layer and MLP as immutable pytrees of plain floats.

Knows how a neuron computes; nothing of gradients: the gradient of a loss of an MLP is an MLP.
"""

from collections.abc import Sequence
from random import Random
from typing import Final, Literal, TypeAlias

import attrs

from fgrad import tree
from fgrad.ops.elementwise import relu, tanh

Activation: TypeAlias = Literal["tanh", "relu", "linear"]
_FUNCTIONS: Final = {"tanh": tanh, "relu": relu}


@attrs.frozen
class Neuron:
    """A map from numbers to activation(w · x + b)."""

    w: tuple[float, ...]
    b: float
    activation: Activation = tree.static("tanh")

    def __call__(self, x: Sequence[float]) -> float:
        total = sum((w * x_i for w, x_i in zip(self.w, x, strict=True)), self.b)
        return total if self.activation == "linear" else _FUNCTIONS[self.activation](total)


@attrs.frozen
class Layer:
    """Neurons side by side."""

    neurons: tuple[Neuron, ...]

    def __call__(self, x: Sequence[float]) -> list[float]:
        return [neuron(x) for neuron in self.neurons]


@attrs.frozen
class MLP:
    """Layers one after the other.

    >>> len(MLP.init([3, 4, 4, 1], activations=["relu", "relu", "linear"])([2.0, 3.0, -1.0]))
    1
    """

    layers: tuple[Layer, ...]

    @classmethod
    def init(cls, sizes: Sequence[int], *, seed: int = 0, activations: Sequence[Activation] = ("tanh",)) -> "MLP":
        """Make one of `sizes` in, between, out, an activation for all or for each; w uniform in [-1, 1], b 0."""
        uniform, kinds = Random(seed).uniform, tuple(activations) * (len(sizes) - 1 if len(activations) == 1 else 1)
        shapes = zip(sizes[:-1], sizes[1:], kinds, strict=True)
        rows = [[Neuron(tuple(uniform(-1, 1) for _ in range(n)), 0.0, a) for _ in range(m)] for n, m, a in shapes]
        return cls(tuple(Layer(tuple(row)) for row in rows))

    def __call__(self, x: Sequence[float]) -> list[float]:
        for layer in self.layers:
            x = layer(x)
        return [*x]
