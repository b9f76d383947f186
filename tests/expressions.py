"""Functions that several tests differentiate."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fgrad import relu

Floats: TypeAlias = NDArray[np.float64]


def micrograd_readme(a: float, b: float, relu: Callable[[float], float] = relu) -> float:
    """The expression in micrograd's README, made of its own lines."""
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + relu(b + a)
    d += 3 * d + relu(b - a)
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    return g
