"""Layers that look at neighbourhoods: convolutions and pooling, on arrays of (…, places, channels).

Knows signals, with one dimension of places, and pictures, with two; nothing of how a convolution is computed.
"""

from collections.abc import Sequence
from itertools import product
from math import inf, prod

import attrs
import numpy as np
from numpy.typing import DTypeLike

from fgrad import errors, tree
from fgrad.nn.initialisers import Floats, Initialiser, glorot_uniform, weights
from fgrad.node import shape
from fgrad.ops.correlating import Geometry, Padding, conv
from fgrad.ops.rearranging import pad
from fgrad.ops.reducing import max, sum
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import stack
from fgrad.random import Key


@attrs.frozen
class Conv1d:
    """Products of a kernel, (size, channels in, channels out), with each stretch of a signal, and a bias for each."""

    w: Floats = weights()
    b: Floats = weights()
    stride: int = tree.static(1)
    padding: Padding = tree.static("same")
    dilation: int = tree.static(1)

    @classmethod
    def init(
        cls,
        key: Key,
        n: int,
        m: int,
        size: int,
        *,
        stride: int = 1,
        padding: Padding = "same",
        dilation: int = 1,
        initialiser: Initialiser = glorot_uniform,
        dtype: DTypeLike = np.float64,
    ) -> "Conv1d":
        """Make a layer from n channels to m; biases are 0. `padding` is what `fgrad.conv` knows.

        >>> Conv1d.init(Key(0), 2, 4, 3, stride=2)(np.ones((5, 16, 2))).shape
        (5, 8, 4)
        """
        return cls(initialiser(key, (size, n, m), dtype), np.zeros(m, dtype), stride, padding, dilation)

    def __call__(self, x: Floats) -> Floats:
        """Map (…, length, n) to (…, length, m), shorter by the stride and by what is not padded."""
        return conv(x, self.w, self.stride, self.padding, self.dilation) + self.b


@attrs.frozen
class Conv2d:
    """Products of a kernel, (height, width, channels in, channels out), with each patch of a picture, and a bias."""

    w: Floats = weights()
    b: Floats = weights()
    stride: int | tuple[int, int] = tree.static(1)
    padding: Padding = tree.static("same")
    dilation: int | tuple[int, int] = tree.static(1)

    @classmethod
    def init(
        cls,
        key: Key,
        n: int,
        m: int,
        size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: Padding = "same",
        dilation: int | tuple[int, int] = 1,
        initialiser: Initialiser = glorot_uniform,
        dtype: DTypeLike = np.float64,
    ) -> "Conv2d":
        """Make a layer from n channels to m; biases are 0. `padding` is what `fgrad.conv` knows.

        >>> Conv2d.init(Key(0), 1, 4, 3)(np.ones((5, 8, 8, 1))).shape
        (5, 8, 8, 4)
        """
        sizes = (size, size) if isinstance(size, int) else size
        return cls(initialiser(key, (*sizes, n, m), dtype), np.zeros(m, dtype), stride, padding, dilation)

    def __call__(self, x: Floats) -> Floats:
        """Map (…, height, width, n) to (…, height, width, m), smaller by the stride and by what is not padded."""
        return conv(x, self.w, self.stride, self.padding, self.dilation) + self.b


def max_pool(x: Floats, sizes: Sequence[int], strides: Sequence[int] | None = None, padding: int = 0) -> Floats:
    """The largest number of each window of places; windows lie side by side if no strides are given.

    x is (…, places, channels), with as many dimensions of places as there are `sizes`; a window lies wholly over x and
    `padding` places that never win. The gradient of equal numbers is split equally. Raises `StructureError` for
    shapes that do not fit.

    >>> max_pool(np.arange(16.0).reshape(4, 4, 1), (2, 2))[..., 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """
    return max(_windows(x, sizes, strides, padding, -inf), axis=0)


def mean_pool(x: Floats, sizes: Sequence[int], strides: Sequence[int] | None = None, padding: int = 0) -> Floats:
    """The mean of each window of places, as `max_pool` has them; the places of the padding count as zeros.

    >>> mean_pool(np.arange(16.0).reshape(4, 4, 1), (2, 2))[..., 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    return sum(_windows(x, sizes, strides, padding, 0.0), axis=0) * (1.0 / prod(sizes))


def _windows(x: Floats, sizes: Sequence[int], strides: Sequence[int] | None, padding: int, frame: float) -> Floats:
    """What lies at each place of a window, as it goes over x, along a first axis."""
    n, steps = len(sizes), tuple(sizes if strides is None else strides)
    if len(shape(x)) < n + 1 or len(steps) != n or min(*sizes, *steps, 1) < 1:
        raise errors.StructureError(
            f"windows of sizes {tuple(sizes)} by strides {steps} do not fit an array of shape {shape(x)}: there is one "
            "of each for every axis of places before the channels, which are last"
        )
    if padding:
        x = pad(x, [(0, 0)] * (len(shape(x)) - n - 1) + [(padding, padding)] * n + [(0, 0)], constant_values=frame)
    at = Geometry(shape(x)[-n - 1 : -1], tuple(sizes), steps, (1,) * n, ((0, 0),) * n)
    if min(at.outputs) < 1:
        raise errors.StructureError(f"windows of sizes {tuple(sizes)} are larger than an array of shape {shape(x)}")
    return stack([getitem(x, at.under(place)) for place in product(*map(range, sizes))])
