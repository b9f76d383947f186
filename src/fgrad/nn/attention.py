"""Attention: each place of a sequence looks at the others, and takes from them what it finds there.

Knows queries, keys and values, and who may look where; nothing of what the sequence is made of.
"""

from math import inf, sqrt
from typing import TypeAlias

import attrs
import numpy as np
from numpy.typing import DTypeLike, NDArray

from fgrad import errors, tree
from fgrad.nn.initialisers import Floats, Initialiser, glorot_uniform
from fgrad.nn.layers import MLP, Dropout, Linear
from fgrad.nn.normalising import LayerNorm
from fgrad.node import shape
from fgrad.ops.elementwise import equal, exp, where
from fgrad.ops.linalg import matmul
from fgrad.ops.reducing import max, sum
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import dtype_of, matrix_transpose, permute_dims, reshape
from fgrad.random import Key
from fgrad.transforms import stop_gradient

Mask: TypeAlias = NDArray[np.bool]
"""True where may be looked."""


def attend(query: Floats, key: Floats, value: Floats, *, causal: bool = False, mask: Mask | None = None) -> Floats:
    """softmax(query · keyᵀ / √d) · value: scaled dot-product attention (Vaswani et al. 2017, section 3.2.1).

    Queries are (…, places, d), keys (…, others, d), values (…, others, m), and the result (…, places, m). If `causal`,
    no place looks at later ones, nor where the mask, which broadcasts to (…, places, others), is False; a place that
    may look nowhere finds 0. Raises `ArgumentError` for a mask that is not of booleans.

    >>> attend(np.zeros((1, 2)), np.zeros((2, 2)), np.array([[1.0], [3.0]]))
    array([[2.]])
    """
    scores = matmul(query * (1 / sqrt(shape(query)[-1])), matrix_transpose(key))
    seen = _seen(shape(scores)[-2:], causal, mask)
    if seen is not None:
        scores = where(seen, scores, -inf)
    peak = max(scores, -1, True)
    likes: Floats = exp(scores - stop_gradient(where(equal(peak, -inf), 0.0, peak)))
    total: Floats = sum(likes, -1, True)
    return matmul(likes, value) / where(equal(total, 0.0), 1.0, total)  # sooner here than on all pairs


def _seen(lengths: tuple[int, ...], causal: bool, mask: Mask | None) -> Mask | None:
    """Who may look where; None: everyone everywhere."""
    if mask is not None and dtype_of(mask) != np.dtype(bool):
        raise errors.ArgumentError(
            f"a mask is of booleans, True where may be looked, not of dtype {dtype_of(mask)}: write mask == 0 for one "
            "that is 0 there, and -inf elsewhere"
        )
    if not causal:
        return mask
    before: Mask = np.tri(*lengths, dtype=np.bool)
    return before if mask is None else mask & before


@attrs.frozen
class MultiHeadAttention:
    """Several attentions side by side, each on its share of the features (Vaswani et al. 2017, section 3.2.2).

    Queries, keys and values are made by one matrix, and stand in this order in its result.
    """

    qkv: Linear
    out: Linear
    heads: int = tree.static()

    @classmethod
    def init(
        cls,
        key: Key,
        width: int,
        heads: int,
        *,
        initialiser: Initialiser = glorot_uniform,
        dtype: DTypeLike = np.float64,
    ) -> "MultiHeadAttention":
        """Make a layer on `width` features, a multiple of `heads`, else a `StructureError` is raised.

        >>> MultiHeadAttention.init(Key(0), 8, 2)(np.ones((5, 3, 8)), causal=True).shape
        (5, 3, 8)
        """
        if heads < 1 or width % heads:
            raise errors.StructureError(f"{width} features cannot be shared equally by {heads} heads")
        first, second = key.split(2)
        qkv = Linear.init(first, width, 3 * width, initialiser=initialiser, dtype=dtype)
        return cls(qkv, Linear.init(second, width, width, initialiser=initialiser, dtype=dtype), heads)

    def __call__(self, x: Floats, *, causal: bool = False, mask: Mask | None = None) -> Floats:
        """Map (…, length, width) to (…, length, width).

        If `causal`, no place looks at later ones. Where the mask is False, a place does not look either: it broadcasts
        to (…, heads, length, length), the last axis being what is looked at, so that lengths[:, None, None, None] >
        np.arange(length) hides the padding of a batch.
        """
        *rest, length, width = shape(x)
        n, split = len(rest), (*rest, length, 3, self.heads, width // self.heads)
        # To (3, …, heads, length, features of a head).
        parts = permute_dims(reshape(self.qkv(x), split), (n + 1, *range(n), n + 2, n, n + 3))
        query, key, value = (getitem(parts, i) for i in range(3))
        found = attend(query, key, value, causal=causal, mask=mask)
        return self.out(reshape(permute_dims(found, (*range(n), n + 1, n, n + 2)), shape(x)))


@attrs.frozen
class TransformerBlock:
    """Attention and then a perceptron, each normalised before and added to what was (Xiong et al. 2020, pre-norm)."""

    attention_norm: LayerNorm
    attention: MultiHeadAttention
    mlp_norm: LayerNorm
    mlp: MLP
    dropout: Dropout

    @classmethod
    def init(
        cls,
        key: Key,
        width: int,
        heads: int,
        hidden: int | None = None,
        dropout: float = 0.0,
        *,
        initialiser: Initialiser = glorot_uniform,
        dtype: DTypeLike = np.float64,
    ) -> "TransformerBlock":
        """Make a block on `width` features, with `hidden` in its perceptron, four times as many if none is given.

        Raises `StructureError` unless width is a multiple of heads, and ValueError for a dropout rate outside [0, 1).

        >>> TransformerBlock.init(Key(0), 8, 2)(np.ones((5, 3, 8))).shape
        (5, 3, 8)
        """
        first, second = key.split(2)
        sizes = (width, 4 * width if hidden is None else hidden, width)
        return cls(
            LayerNorm.init(width, dtype=dtype),
            MultiHeadAttention.init(first, width, heads, initialiser=initialiser, dtype=dtype),
            LayerNorm.init(width, dtype=dtype),
            MLP.init(second, sizes, activation="gelu", initialiser=initialiser, dtype=dtype),
            Dropout(dropout),
        )

    def __call__(self, x: Floats, key: Key | None = None, *, causal: bool = False, mask: Mask | None = None) -> Floats:
        """Map (…, length, width) to (…, length, width), as `MultiHeadAttention` does; without a key nothing drops."""
        first, second = (None, None) if key is None else key.split(2)
        x = x + self.dropout(self.attention(self.attention_norm(x), causal=causal, mask=mask), first)
        return x + self.dropout(self.mlp(self.mlp_norm(x)), second)
