"""Layers on arrays, as immutable pytrees: linear maps, tables, networks of them, and dropout.

Knows what a layer computes; nothing of gradients: `grad` of a loss of an MLP is an MLP.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, Literal, TypeAlias

import attrs
import numpy as np
from numpy.typing import DTypeLike

from fgrad import errors, random, tree
from fgrad.nn.initialisers import Floats, Initialiser, glorot_uniform, weights
from fgrad.nn.labels import Labels, require_labels
from fgrad.node import shape
from fgrad.ops.elementwise import gelu, relu, sigmoid, silu, softplus, tanh, where
from fgrad.ops.linalg import matmul
from fgrad.ops.selecting import take
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
        """Map (…, n) to (…, m). Raises `StructureError` for another number of features."""
        if shape(x)[-1:] != shape(self.w)[:1]:
            raise errors.StructureError(
                f"a layer of {shape(self.w)[0]} numbers was given an array of shape {shape(x)}: features are last"
            )
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

        Raises `ArgumentError` for fewer than two sizes, or an activation that is not known.

        >>> MLP.init(Key(0), [64, 32, 10], activation="relu")(np.ones((5, 64))).shape
        (5, 10)
        """
        if len(sizes) < 2:
            raise errors.ArgumentError(f"a network has two sizes at least, numbers in and numbers out, not {sizes!r}")
        if activation not in ACTIVATIONS:
            raise errors.ArgumentError(f"there is no activation {activation!r}: there are {', '.join(ACTIVATIONS)}")
        pairs = zip(key.split(len(sizes) - 1), pairwise(sizes), strict=True)
        layers = [Linear.init(own, n, m, initialiser=initialiser, dtype=dtype) for own, (n, m) in pairs]
        return cls(tuple(layers), activation)

    def __call__(self, x: Floats) -> Floats:
        """Map (…, sizes[0]) to (…, sizes[-1])."""
        *hidden, last = self.layers
        for layer in hidden:
            x = ACTIVATIONS[self.activation](layer(x))
        return last(x)


@attrs.frozen
class Embedding:
    """A vector for each of many things, such as words, that are named by integers."""

    table: Floats = weights()

    @classmethod
    def init(
        cls,
        key: Key,
        count: int,
        width: int,
        *,
        initialiser: Initialiser = random.normal,
        dtype: DTypeLike = np.float64,
    ) -> "Embedding":
        """Make `count` vectors of `width` numbers.

        >>> Embedding.init(Key(0), 10, 4)(np.array([[1, 2, 3], [3, 2, 1]])).shape
        (2, 3, 4)
        """
        return cls(initialiser(key, (count, width), dtype))

    def __call__(self, indices: Labels) -> Floats:
        """Map integers (…) to their vectors (…, width).

        Raises IndexError for an integer outside 0 … count - 1, and `ArgumentError` for what is none.
        """
        return take(self.table, require_labels(indices, shape(self.table)[0], "the indices of an embedding"), axis=0)


def _is_a_rate(_: object, field: object, rate: float) -> None:
    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate is 0 or more, and less than 1, not {rate}: it is the share that becomes 0")


@attrs.frozen
class Dropout:
    """Numbers become 0 at random, and what is left grows, so that the mean stays (Srivastava et al. 2014).

    >>> Dropout(0.5)(np.ones(6), Key(3)).tolist()
    [2.0, 2.0, 2.0, 0.0, 0.0, 0.0]
    """

    rate: float = attrs.field(default=0.5, metadata=tree.STATIC, validator=_is_a_rate)

    def __call__(self, x: Floats, key: Key | None = None) -> Floats:
        """Drop numbers of an array of any shape as the key says; without a key it is what it was."""
        if key is None or not self.rate:
            return x
        keep = 1.0 - self.rate
        return where(random.bernoulli(key, keep, shape(x)), x * (1 / keep), 0.0)
