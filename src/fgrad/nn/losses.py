"""Losses: how far from the truth predictions are, as one number, which is a mean; and penalties on weights.

Knows predictions and targets; nothing of the models that make them.
"""

import builtins
from collections.abc import Callable
from typing import cast

import numpy as np

from fgrad import errors, tree
from fgrad.arrays import quiet
from fgrad.nn.initialisers import Floats
from fgrad.nn.labels import Labels, Sides, require_labels
from fgrad.node import Node, shape
from fgrad.ops.elementwise import abs, clip, exp, relu, scale, softplus, square
from fgrad.ops.reducing import log_softmax, mean, sum
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import reshape


def mse(predicted: Floats, target: Floats) -> float:
    """The mean of the squared errors; both of one shape, else a `StructureError` is raised.

    >>> mse(np.array([1.0, 3.0]), np.array([1.0, 1.0])).item()
    2.0
    """
    _require_fit(predicted, target)
    return mean(square(predicted - target))


def mae(predicted: Floats, target: Floats) -> float:
    """The mean of the absolute errors; both of one shape, else a `StructureError` is raised.

    >>> mae(np.array([1.0, 3.0]), np.array([1.0, 1.0])).item()
    1.0
    """
    _require_fit(predicted, target)
    return mean(abs(predicted - target))


def huber(predicted: Floats, target: Floats, *, delta: float = 1.0) -> float:
    """The mean of e²/2 for errors e up to delta, and of delta · (|e| - delta/2) beyond (Huber 1964).

    Both are of one shape, else a `StructureError` is raised.

    >>> huber(np.array([1.0, 4.0]), np.array([0.0, 1.0])).item()
    1.5
    """
    _require_fit(predicted, target)
    e = predicted - target
    near = clip(e, -delta, delta)
    return mean(near * (e - near * 0.5))


def hinge(scores: Floats, targets: Sides) -> float:
    """The mean of relu(1 - target · score): no loss where a score is beyond 1 on its target's side, which is ±1.

    Both are of one shape, else a `StructureError` is raised; ValueError for targets that are not ±1.

    >>> hinge(np.array([2.0, 0.5]), np.array([1.0, -1.0])).item()
    0.75
    """
    _require_fit(scores, targets)
    if not isinstance(targets, Node) and not np.all(np.abs(targets) == 1):
        raise ValueError("the targets of a hinge loss are -1 and 1: write 2 * labels - 1 for labels 0 and 1")
    return mean(relu(1.0 - targets * scores))


def cross_entropy(logits: Floats, labels: Labels, *, smoothing: float = 0.0) -> float:
    """The mean of -log softmax(logits)[label], over all rows; labels are integers from 0.

    With `smoothing`, that share of each target is spread over all classes (Szegedy et al. 2016). Raises
    `StructureError` unless logits are (…, classes) and labels (…), and IndexError for a label that is no class.

    >>> round(cross_entropy(np.zeros((1, 2)), np.array([1])).item(), 6)
    0.693147
    """
    *rows, classes = shape(logits) or (0,)
    if not shape(logits) or tuple(rows) != shape(labels):
        raise errors.StructureError(
            f"labels of shape {shape(labels)} do not fit logits of shape {shape(logits)}: logits have one axis more, "
            "the classes, at the end"
        )
    flat = log_softmax(reshape(logits, (-1, classes)))
    places = reshape(cast("Floats", require_labels(labels, classes, "labels")), -1)
    loss = -mean(getitem(flat, (np.arange(shape(places)[0]), places)))
    return loss if _is_none(smoothing) else loss * (1 - smoothing) - mean(flat) * smoothing


def binary_cross_entropy(logits: Floats, targets: Sides, *, smoothing: float = 0.0) -> float:
    """The mean of -log sigmoid(logit) where the target is 1, of -log(1 - sigmoid(logit)) where it is 0.

    Targets between are shares of both. With `smoothing`, half that share of each is moved to the other side. Both are
    of one shape, else a `StructureError` is raised.

    >>> binary_cross_entropy(np.array([1e3, -1e3]), np.array([1.0, 0.0])).item()
    0.0
    """
    _require_fit(logits, targets)
    shares = cast("Floats", targets)
    if not _is_none(smoothing):
        shares = shares * (1 - smoothing) + smoothing / 2
    return mean(softplus(logits) - logits * shares)


def kl_divergence(log_p: Floats, log_q: Floats) -> float:
    """The mean, over rows, of Σ p · (log p - log q): how much is lost where q stands for p (Kullback and Leibler 1951).

    Both are logarithms of probabilities (…, classes), as `log_softmax` gives them, of one shape, else a
    `StructureError` is raised. Where p is 0 it adds 0. PyTorch writes it
    kl_div(log_q, log_p, log_target=True, reduction="batchmean"), for rows.

    >>> kl_divergence(np.log([0.5, 0.5]), np.log([0.5, 0.5])).item()
    0.0
    """
    _require_fit(log_p, log_q)
    with quiet():  # 0 times an infinity is 0 here
        each: Floats = sum(scale(exp(log_p), log_p - log_q), -1)
    return mean(each)


def l1_penalty(params: object) -> float:
    """The sum of the absolute values of all leaves of a pytree, to be added to a loss with a small factor.

    >>> l1_penalty({"w": np.array([1.0, -2.0]), "b": 3.0}).item()
    6.0
    """
    return _over_leaves(abs, params)


def l2_penalty(params: object) -> float:
    """The sum of the squares of all leaves of a pytree, to be added to a loss with a small factor.

    >>> l2_penalty({"w": np.array([1.0, -2.0]), "b": 3.0}).item()
    14.0
    """
    return _over_leaves(square, params)


def _is_none(smoothing: float) -> bool:
    """Whether there is none, and nobody asks for the derivative by it."""
    return not isinstance(smoothing, Node) and smoothing == 0


def _over_leaves(f: Callable[[Floats], Floats], params: object) -> float:
    sums: list[float] = [sum(f(x)) for x in cast("list[Floats]", tree.leaves(params))]
    return builtins.sum(sums, 0.0)


def _require_fit(predicted: Floats, target: Sides) -> None:
    if shape(predicted) != shape(target):
        raise errors.StructureError(
            f"targets of shape {shape(target)} do not fit predictions of shape {shape(predicted)}: reshape one of "
            "them, so that each prediction has its target"
        )
