"""Optimisers as pure functions: parameters and gradients in, new parameters out.

Knows update rules; nothing of models and of how gradients are made.
"""

from typing import TypeVar

from fgrad import tree

T = TypeVar("T")


def sgd_step(params: T, grads: T, rate: float) -> T:
    """One step of gradient descent, params - rate · grads, leaf by leaf; the arguments stay as they are.

    Raises `StructureError` where the two trees part. Dtypes are kept.

    >>> sgd_step({"w": 1.0, "b": 0.0}, {"w": 2.0, "b": 1.0}, 0.5)
    {'w': 0.0, 'b': -0.5}
    """
    return tree.map(lambda p, g: p - rate * g, params, grads)
