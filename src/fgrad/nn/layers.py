"""Layers on arrays, as immutable pytrees.

Knows what a layer computes; nothing of gradients: `grad` of a loss of an MLP is an MLP.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, Literal, TypeAlias

import attrs
import numpy as np
from numpy.typing import DTypeLike

from fgrad import tree
from fgrad.nn.initialisers import Floats, Initialiser, glorot_uniform, weights
from fgrad.ops.elementwise import gelu, relu, sigmoid, silu, softplus, tanh
from fgrad.ops.linalg import matmul
from fgrad.random import Key

Activation: TypeAlias = Literal["tanh", "relu", "sigmoid", "softplus", "silu", "gelu"]
ACTIVATIONS: Final[dict[Activation, Callable[[Floats], Floats]]] = {
    "tanh": tanh,
    "relu": relu,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "silu": silu,
    "gelu": gelu,
}


@attrs.frozen
class Linear:
    """x @ w + b."""

    w: Floats = weights()
    b: Floats = weights()

    @classmethod
    def init(
        cls, key: Key, n: int, m: int, *, initialiser: Initialiser = glorot_uniform, dtype: DTypeLike = np.float64
    ) -> "Linear":
        """Make a layer from n numbers to m; biases are 0.

        >>> Linear.init(Key(0), 3, 2)(np.ones((5, 3))).shape
        (5, 2)
        """
        return cls(initialiser(key, (n, m), dtype), np.zeros(m, dtype))

    def __call__(self, x: Floats) -> Floats:
        """Map (…, n) to (…, m)."""
        return matmul(x, self.w) + self.b


@attrs.frozen
class MLP:
    """Linear layers with an activation between them: a multi-layer perceptron that gives logits."""

    layers: tuple[Linear, ...]
    activation: Activation = tree.static("tanh")

    @classmethod
    def init(
        cls,
        key: Key,
        sizes: Sequence[int],
        *,
        activation: Activation = "tanh",
        initialiser: Initialiser = glorot_uniform,
        dtype: DTypeLike = np.float64,
    ) -> "MLP":
        """Make a network with `sizes` numbers in, between its layers, and out.

        >>> MLP.init(Key(0), [64, 32, 10], activation="relu")(np.ones((5, 64))).shape
        (5, 10)
        """
        pairs = zip(key.split(len(sizes) - 1), pairwise(sizes), strict=True)
        layers = [Linear.init(own, n, m, initialiser=initialiser, dtype=dtype) for own, (n, m) in pairs]
        return cls(tuple(layers), activation)

    def __call__(self, x: Floats) -> Floats:
        """Map (…, sizes[0]) to (…, sizes[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            x = ACTIVATIONS[self.activation](layer(x))
        return last(x)
