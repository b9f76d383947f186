"""Layers that keep numbers at one size: normalisation over the features of one example, or over a batch.

Knows means and variances, and what is remembered of them; nothing of the layers between.
"""

import attrs
import numpy as np
from numpy.typing import DTypeLike

from fgrad import errors, tree
from fgrad.nn.initialisers import Floats, weights
from fgrad.node import shape
from fgrad.ops.elementwise import sqrt, square
from fgrad.ops.reducing import mean


@attrs.frozen
class LayerNorm:
    """(x - mean) / √(variance + epsilon) · gain + bias, over the features of each example (Ba et al. 2016)."""

    gain: Floats = weights()
    bias: Floats = weights()
    epsilon: float = tree.static(1e-5)

    @classmethod
    def init(cls, n: int, *, epsilon: float = 1e-5, dtype: DTypeLike = np.float64) -> "LayerNorm":
        """Make a layer on n features; gains are 1, biases 0.

        >>> LayerNorm.init(2)(np.array([[1.0, 3.0], [5.0, 5.0]])).round(4)
        array([[-1.,  1.],
               [ 0.,  0.]])
        """
        return cls(np.ones(n, dtype), np.zeros(n, dtype), epsilon)

    def __call__(self, x: Floats) -> Floats:
        """Map (…, n) to (…, n)."""
        centred = x - mean(x, -1, True)
        return centred / sqrt(mean(square(centred), -1, True) + self.epsilon) * self.gain + self.bias


@attrs.frozen
class RMSNorm:
    """x / √(mean of x² + epsilon) · gain, over the features of each example (Zhang and Sennrich 2019)."""

    gain: Floats = weights()
    epsilon: float = tree.static(1e-6)

    @classmethod
    def init(cls, n: int, *, epsilon: float = 1e-6, dtype: DTypeLike = np.float64) -> "RMSNorm":
        """Make a layer on n features; gains are 1.

        >>> RMSNorm.init(2)(np.array([1.0, -1.0])).round(4)
        array([ 1., -1.])
        """
        return cls(np.ones(n, dtype), epsilon)

    def __call__(self, x: Floats) -> Floats:
        """Map (…, n) to (…, n)."""
        return x / sqrt(mean(square(x), -1, True) + self.epsilon) * self.gain


@attrs.frozen
class BatchNormState:
    """What a `BatchNorm` remembers of the batches it saw: the mean and the variance of each feature."""

    mean: Floats = weights()
    var: Floats = weights()


@attrs.frozen
class BatchNorm:
    """(x - mean) / √(variance + epsilon) · gain + bias, for each feature over a batch (Ioffe and Szegedy 2015).

    What it remembers of batches goes in and comes out as a `BatchNormState`, of which `momentum` says how much of it
    each batch renews.
    """

    gain: Floats = weights()
    bias: Floats = weights()
    momentum: float = tree.static(0.1)
    epsilon: float = tree.static(1e-5)

    @classmethod
    def init(
        cls, n: int, *, momentum: float = 0.1, epsilon: float = 1e-5, dtype: DTypeLike = np.float64
    ) -> "BatchNorm":
        """Make a layer on n features; gains are 1, biases 0.

        >>> layer = BatchNorm.init(1)
        >>> y, state = layer(np.array([[1.0], [3.0]]), layer.start())
        >>> y.round(4).tolist(), state.mean.tolist(), state.var.tolist()
        ([[-1.0], [1.0]], [0.2], [1.1])
        """
        return cls(np.ones(n, dtype), np.zeros(n, dtype), momentum, epsilon)

    def start(self) -> BatchNormState:
        """What there is to remember before the first batch: means 0, variances 1."""
        (n,), dtype = shape(self.gain), self.gain.dtype
        return BatchNormState(np.zeros(n, dtype), np.ones(n, dtype))

    def __call__(self, x: Floats, state: BatchNormState, training: bool = True) -> tuple[Floats, BatchNormState]:
        """Map (…, n) to (…, n), by the statistics over all axes but the last, and renew the state with them.

        The variance that is remembered is the unbiased one. Without `training`, map by the state, and keep it. Raises
        `StructureError` in training on a single row, which has no variance.
        """
        if not training:
            return self._mapped(x - state.mean, state.var), state
        rows = int(np.prod(shape(x)[:-1]))
        if rows < 2:
            raise errors.StructureError(
                f"an array of shape {shape(x)} has {rows} rows to normalise over: a batch has two at least; map the "
                "features of each row with LayerNorm, or pass training=False"
            )
        axes, share = tuple(range(len(shape(x)) - 1)), self.momentum
        centre = mean(x, axes)
        centred = x - centre
        var = mean(square(centred), axes)
        unbiased = var * (rows / (rows - 1))
        renewed = BatchNormState(
            state.mean * (1 - share) + centre * share,
            state.var * (1 - share) + unbiased * share,
        )
        return self._mapped(centred, var), renewed

    def _mapped(self, centred: Floats, var: Floats) -> Floats:
        return centred * (self.gain / sqrt(var + self.epsilon)) + self.bias
