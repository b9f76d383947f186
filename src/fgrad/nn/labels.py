"""Labels: integers that name one of several classes, or one of the rows of a table.

Knows which integers may stand there; nothing of what is done with them.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fgrad import errors
from fgrad.nn.initialisers import Floats, Integers
from fgrad.node import concrete, stands_for

Labels: TypeAlias = Integers | int
Sides: TypeAlias = Floats | Integers | NDArray[np.bool]
"""Which of two classes, as numbers: 0 and 1, or -1 and 1; or shares of both."""


def require_labels(labels: Labels, count: int, what: str) -> None:
    """Raise ArgumentError for what are no integers, and IndexError for one outside 0 … count - 1.

    Where a label stands for many, as it does under vmap, which integer it is cannot be known. A compiled function
    looks when it is traced.
    """
    values = np.asarray(concrete(labels))
    if values.dtype.kind not in "iu":
        raise errors.ArgumentError(
            f"{what} are integers, not of dtype {values.dtype}: write labels.astype(int), and differentiate with "
            "respect to other arguments alone"
        )
    if stands_for(labels) or not values.size:
        return
    least, greatest = values.min(), values.max()
    if least < 0 or greatest >= count:
        wrong = least if least < 0 else greatest
        raise IndexError(f"{what} are integers from 0 to {count - 1}: there is a {wrong} among them")
