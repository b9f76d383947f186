"""Scales that go into a layer's weights: a network that was trained on scaled numbers takes and gives plain ones.

Knows how a shift and a scale pass through a linear layer; nothing of how they were found.
"""

from fgrad.nn.initialisers import Floats
from fgrad.nn.layers import Linear


def on_plain(layer: Linear, mean: Floats, size: Floats) -> Linear:
    """The layer that does to x (…, n) what this one does to (x - mean) / size; where size is inf, x does not matter.

    >>> import numpy as np
    >>> layer = Linear(np.array([[1.0], [1.0]]), np.zeros(1))
    >>> on_plain(layer, np.array([1.0, 5.0]), np.array([2.0, np.inf]))(np.array([3.0, 7.0]))
    array([1.])
    """
    w = layer.w / size[:, None]
    return Linear(w, layer.b - mean @ w)


def to_plain(layer: Linear, mean: Floats, size: Floats) -> Linear:
    """The layer that gives y (…, m) where this one gives (y - mean) / size.

    >>> import numpy as np
    >>> to_plain(Linear(np.eye(1), np.zeros(1)), np.array([10.0]), np.array([2.0]))(np.array([3.0]))
    array([16.])
    """
    return Linear(layer.w * size, layer.b * size + mean)
