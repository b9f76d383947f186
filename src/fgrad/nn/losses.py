"""Losses: how far from the truth predictions are, as one number.

Knows predictions and targets; nothing of the models that make them.
"""

import numpy as np

from fgrad import errors
from fgrad.nn.initialisers import Floats, Integers
from fgrad.node import shape
from fgrad.ops.elementwise import square
from fgrad.ops.reducing import log_softmax, mean
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import reshape


def cross_entropy(logits: Floats, labels: Integers) -> float:
    """The mean of -log softmax(logits)[label], over all rows; labels are integers from 0.

    Raises `StructureError` unless logits are (…, classes) and labels (…).

    >>> round(cross_entropy(np.zeros((1, 2)), np.array([1])).item(), 6)
    0.693147
    """
    *rows, classes = shape(logits)
    if tuple(rows) != labels.shape:
        raise errors.StructureError(f"labels of shape {labels.shape} do not fit logits of shape {shape(logits)}")
    flat = reshape(logits, (-1, classes))
    return -mean(getitem(log_softmax(flat), (np.arange(labels.size), labels.ravel())))


def mse(predicted: Floats, target: Floats) -> float:
    """The mean of the squared errors; both of one shape.

    >>> mse(np.array([1.0, 3.0]), np.array([1.0, 1.0])).item()
    2.0
    """
    if shape(predicted) != shape(target):
        raise errors.StructureError(
            f"targets of shape {shape(target)} do not fit predictions of shape {shape(predicted)}"
        )
    return mean(square(predicted - target))
