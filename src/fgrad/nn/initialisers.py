"""How weights begin: random numbers of such a size that signals neither grow nor fade from layer to layer.

Knows fan-in and fan-out; nothing of layers.
"""

from collections.abc import Callable
from typing import TypeAlias

import attrs
import numpy as np
from numpy.typing import DTypeLike, NDArray

from fgrad import random
from fgrad.random import Key

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Initialiser: TypeAlias = Callable[[Key, tuple[int, ...], DTypeLike], Floats]
"""Makes weights of a shape (…, inputs, outputs) and a dtype; what stands before are the places of a kernel."""


def weights() -> Floats:
    """Declare a field of a layer that holds an array: two are equal if all their numbers are."""
    return attrs.field(eq=attrs.cmp_using(eq=np.array_equal))


def glorot_uniform(key: Key, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> Floats:
    """Uniform in ±√(6 / (fan-in + fan-out)) (Glorot and Bengio 2010).

    >>> bool(abs(glorot_uniform(Key(0), (4, 2))).max() <= 1.0)
    True
    """
    bound = float(np.sqrt(6 / sum(_fans(shape))))
    return random.uniform(key, shape, dtype, -bound, bound)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many numbers each output is made of, and how many outputs each input goes to."""
    *places, n, m = shape
    size = int(np.prod(places))
    return size * n, size * m
