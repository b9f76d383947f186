"""micrograd's network, number by number: Neuron, Layer and MLP as immutable pytrees of plain floats.

Knows how a neuron computes; nothing of gradients: `grad` of a loss of an MLP is an MLP.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

import attrs

from fgrad import tree
from fgrad.ops.elementwise import relu, tanh

Activation: TypeAlias = Literal["tanh", "relu", "linear"]

_ACTIVATIONS: Final[dict[Activation, Callable[[float], float]]] = {
    "tanh": tanh,
    "relu": relu,
    "linear": lambda x: x,
}


@attrs.frozen
class Neuron:
    """activation(w · x + b)."""

    w: tuple[float, ...]
    b: float
    activation: Activation = tree.static("tanh")

    def __call__(self, x: Sequence[float]) -> float:
        """The output for the inputs x."""
        total = self.b
        for w, x_i in zip(self.w, x, strict=True):
            total = total + w * x_i
        return _ACTIVATIONS[self.activation](total)


@attrs.frozen
class Layer:
    """Neurons side by side."""

    neurons: tuple[Neuron, ...]

    def __call__(self, x: Sequence[float]) -> list[float]:
        """The output of each neuron for the inputs x."""
        return [neuron(x) for neuron in self.neurons]


@attrs.frozen
class MLP:
    """Layers one after the other: a multi-layer perceptron."""

    layers: tuple[Layer, ...]

    @classmethod
    def init(
        cls,
        sizes: Sequence[int],
        *,
        seed: int = 0,
        activation: Activation = "tanh",
        last: Activation | None = None,
    ) -> "MLP":
        """Make a network with `sizes` numbers in, between its layers, and out; weights uniform in [-1, 1], biases 0.

        The last layer's activation is `last`, or `activation` like all others.

        >>> model = MLP.init([3, 4, 4, 1])
        >>> len(tree.leaves(model)), len(model([2.0, 3.0, -1.0]))
        (41, 1)
        """
        rng = random.Random(seed)

        def layer(n: int, m: int, kind: Activation) -> Layer:
            return Layer(
                tuple(Neuron(tuple(rng.uniform(-1, 1) for _ in range(n)), 0.0, kind) for _ in range(m))
            )

        kinds = [activation] * (len(sizes) - 2) + [last or activation]
        return cls(tuple(layer(n, m, kind) for n, m, kind in zip(sizes, sizes[1:], kinds, strict=False)))

    def __call__(self, x: Sequence[float]) -> list[float]:
        """The outputs of the last layer for the inputs x."""
        for layer in self.layers:
            x = layer(x)
        return list(x)
