"""Labels: integers that name one of several classes, or one of the rows of a table.

Knows which integers may stand there; nothing of what is done with them.
"""

from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from fgrad import errors
from fgrad.nn.initialisers import Floats, Integers
from fgrad.node import Node, concrete, stands_for
from fgrad.ops.elementwise import less, where

Labels: TypeAlias = Integers | int
Sides: TypeAlias = Floats | Integers | NDArray[np.bool]
"""Which of two classes, as numbers: 0 and 1, or -1 and 1; or shares of both."""


def require_labels(labels: Labels, count: int, what: str) -> Labels:
    """The labels; an ArgumentError for what are no integers, and an IndexError for one outside 0 … count - 1.

    Where they are traced, as in a compiled function, a later call may have others: those below 0, which would count
    from the end, become `count`, for which there is no place either.
    """
    values = np.asarray(concrete(labels))
    if values.dtype.kind not in "iu":
        raise errors.ArgumentError(
            f"{what} are integers, not of dtype {values.dtype}: write labels.astype(int), and differentiate with "
            "respect to other arguments alone"
        )
    if isinstance(labels, Node):
        traced = cast("Floats", labels)
        found = cast("Integers", where(less(traced, 0), count, traced))
        if stands_for(labels):
            return found
        labels = found
    if not values.size:
        return labels
    least, greatest = values.min(), values.max()
    if least < 0 or greatest >= count:
        wrong = least if least < 0 else greatest
        raise IndexError(f"{what} are integers from 0 to {count - 1}: there is a {wrong} among them")
    return labels
