"""Metrics: how often predictions are right; for people, since they have no gradient.

Knows predictions and labels; nothing of the models that make them.
"""

from typing import cast

import numpy as np

from fgrad import errors
from fgrad.nn.initialisers import Floats, Integers
from fgrad.nn.labels import Labels, Sides, require_labels
from fgrad.node import shape
from fgrad.ops.elementwise import equal, greater, where
from fgrad.ops.reducing import argmax, mean


def accuracy(logits: Floats, labels: Labels | Sides) -> float:
    """The share of rows whose greatest logit is that of their label; of ties the first counts.

    Logits are (…, classes) and labels (…), from 0; or both of one shape, two classes by their sign: a positive score
    says yes, as a positive label does. Raises `StructureError` for other shapes.

    >>> accuracy(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([1, 1])).item()
    0.5
    >>> accuracy(np.array([2.0, -1.0]), np.array([1, 0])).item()
    1.0
    """
    truth = cast("Floats", labels)
    if shape(logits) == shape(labels):
        right = equal(greater(logits, 0.0), greater(truth, 0.0))
    elif shape(logits)[:-1] == shape(labels):
        right = equal(argmax(logits, -1), truth)
    else:
        raise errors.StructureError(
            f"labels of shape {shape(labels)} do not fit logits of shape {shape(logits)}: logits have one axis more, "
            "the classes, at the end, or, for two classes, the same shape"
        )
    return mean(where(right, 1.0, 0.0))


def confusion_matrix(labels: Integers, predicted: Integers, classes: int) -> Integers:
    """How often things of class i were said to be of class j: a row for each true class, a column for each said.

    Both are integers of one shape, else a `StructureError` is raised; IndexError for one outside 0 … classes - 1.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    if shape(labels) != shape(predicted):
        raise errors.StructureError(
            f"labels of shape {shape(labels)} do not fit predictions of shape {shape(predicted)}: predictions are "
            "integers too, as logits.argmax(-1) gives them"
        )
    require_labels(labels, classes, "labels")
    require_labels(predicted, classes, "predictions")
    pairs = np.ravel(labels).astype(np.int64) * classes + np.ravel(predicted).astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
