"""How weights begin: random numbers of such a size that signals neither grow nor fade from layer to layer.

Knows fan-in and fan-out; nothing of layers.
"""

from collections.abc import Callable
from math import prod, sqrt
from typing import TypeAlias

import attrs
import numpy as np
from numpy.typing import DTypeLike, NDArray

from fgrad import random
from fgrad.ops.elementwise import where
from fgrad.ops.factoring import qr
from fgrad.ops.rearranging import diagonal
from fgrad.ops.shaping import astype, matrix_transpose, reshape
from fgrad.random import Key

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Initialiser: TypeAlias = Callable[[Key, tuple[int, ...], DTypeLike], Floats]
"""Makes weights of a shape (…, inputs, outputs) and a dtype; what stands before are the places of a kernel."""


def weights() -> Floats:
    """Declare a field of a layer that holds an array: two are equal if all their numbers are."""
    return attrs.field(eq=attrs.cmp_using(eq=np.array_equal))


def glorot_uniform(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> Floats:
    """Uniform in ±√(6 / (fan-in + fan-out)): for tanh and linear layers (Glorot and Bengio 2010).

    >>> bool(abs(glorot_uniform(Key(0), (4, 2))).max() <= 1.0)
    True
    """
    return _uniform(key, shape, dtype, sqrt(6 / sum(_fans(shape))))


def glorot_normal(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> Floats:
    """Normal with variance 2 / (fan-in + fan-out): for tanh and linear layers (Glorot and Bengio 2010).

    >>> glorot_normal(Key(0), (4, 2)).shape
    (4, 2)
    """
    return random.normal(key, shape, dtype) * sqrt(2 / sum(_fans(shape)))


def he_uniform(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> Floats:
    """Uniform in ±√(6 / fan-in): for relu and its kin, which let half of the signal pass (He et al. 2015).

    >>> bool(abs(he_uniform(Key(0), (6, 2))).max() <= 1.0)
    True
    """
    return _uniform(key, shape, dtype, sqrt(6 / _fans(shape)[0]))


def he_normal(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> Floats:
    """Normal with variance 2 / fan-in: for relu and its kin, which let half of the signal pass (He et al. 2015).

    >>> he_normal(Key(0), (4, 2)).shape
    (4, 2)
    """
    return random.normal(key, shape, dtype) * sqrt(2 / _fans(shape)[0])


def orthogonal(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> Floats:
    """A random matrix that keeps lengths: of its rows and its columns, the fewer are orthonormal (Saxe et al. 2014).

    A kernel's places count as inputs. All rotations are equally likely (Mezzadri 2007).

    >>> w = orthogonal(Key(0), (3, 3))
    >>> np.allclose(w @ w.T, np.eye(3))
    True
    """
    n, m = prod(shape[:-1]), shape[-1]
    q, r = qr(random.normal(key, (max(n, m), min(n, m))))
    q = q * where(diagonal(r) < 0, -1.0, 1.0)  # LAPACK's choice of signs is not random
    return astype(reshape(q if n >= m else matrix_transpose(q), shape), np.dtype(dtype))


def _uniform(key: Key, shape: tuple[int, ...], dtype: DTypeLike, bound: float) -> Floats:
    return random.uniform(key, shape, dtype, -bound, bound)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many numbers each output is made of, and how many outputs each input goes to."""
    *places, n, m = shape
    size = prod(places)
    return max(1, size * n), max(1, size * m)
