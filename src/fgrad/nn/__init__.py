"""Networks on arrays, as immutable pytrees, and losses.

Knows layers and losses; nothing of gradients: `grad` of a loss of an MLP is an MLP.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, Literal, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from fgrad import errors, tree
from fgrad.node import shape
from fgrad.ops.elementwise import gelu, relu, sigmoid, silu, softplus, square, tanh
from fgrad.ops.linalg import matmul
from fgrad.ops.reducing import log_softmax, mean
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import reshape

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Activation: TypeAlias = Literal["tanh", "relu", "sigmoid", "softplus", "silu", "gelu"]

_ACTIVATIONS: Final[dict[Activation, Callable[[Floats], Floats]]] = {
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

    w: Floats = attrs.field(eq=attrs.cmp_using(eq=np.array_equal))
    b: Floats = attrs.field(eq=attrs.cmp_using(eq=np.array_equal))

    @classmethod
    def init(cls, n: int, m: int, *, seed: int = 0) -> "Linear":
        """Make a layer from n numbers to m: weights uniform in ±√(6 / (n + m)) (Glorot and Bengio 2010), biases 0.

        >>> Linear.init(3, 2)(np.ones((5, 3))).shape
        (5, 2)
        """
        bound = np.sqrt(6 / (n + m))
        return cls(np.random.Generator(np.random.Philox(seed)).uniform(-bound, bound, (n, m)), np.zeros(m))

    def __call__(self, x: Floats) -> Floats:
        """Map (…, n) to (…, m)."""
        return matmul(x, self.w) + self.b


@attrs.frozen
class MLP:
    """Linear layers with an activation between them: a multi-layer perceptron that gives logits."""

    layers: tuple[Linear, ...]
    activation: Activation = tree.static("tanh")

    @classmethod
    def init(cls, sizes: Sequence[int], *, seed: int = 0, activation: Activation = "tanh") -> "MLP":
        """Make a network with `sizes` numbers in, between its layers, and out.

        >>> MLP.init([64, 32, 10], activation="relu")(np.ones((5, 64))).shape
        (5, 10)
        """
        pairs = enumerate(pairwise(sizes))
        seeds = np.random.SeedSequence(seed).generate_state(max(len(sizes) - 1, 1))
        return cls(tuple(Linear.init(n, m, seed=int(seeds[i])) for i, (n, m) in pairs), activation)

    def __call__(self, x: Floats) -> Floats:
        """Map (…, sizes[0]) to (…, sizes[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            x = _ACTIVATIONS[self.activation](layer(x))
        return last(x)


def cross_entropy(logits: Floats, labels: Integers) -> float:
    """The mean of -log softmax(logits)[label], over all rows; labels are integers from 0.

    Raises `StructureError` unless logits are (…, classes) and labels (…).

    >>> round(cross_entropy(np.zeros((1, 2)), np.array([1])).item(), 6)
    0.693147
    """
    *rows, classes = shape(logits)
    if tuple(rows) != labels.shape:
        raise errors.StructureError(f"labels of shape {labels.shape} do not fit logits of shape {shape(logits)}")
    flat = reshape(logits, (-1, classes))
    return -mean(getitem(log_softmax(flat), (np.arange(labels.size), labels.ravel())))


def mse(predicted: Floats, target: Floats) -> float:
    """The mean of the squared errors; both of one shape.

    >>> mse(np.array([1.0, 3.0]), np.array([1.0, 1.0])).item()
    2.0
    """
    if shape(predicted) != shape(target):
        raise errors.StructureError(
            f"targets of shape {shape(target)} do not fit predictions of shape {shape(predicted)}"
        )
    return mean(square(predicted - target))
