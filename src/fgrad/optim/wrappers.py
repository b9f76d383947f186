"""Optimisers made of another: for some of the leaves, or for every few steps.

Knows which leaves and which steps; nothing of what the inner optimiser does.
"""

from collections.abc import Sequence
from typing import TypeVar, cast

import attrs
import optree

from fgrad import errors, tree
from fgrad.control import cond
from fgrad.node import Value
from fgrad.ops.shaping import zeros_like
from fgrad.optim.protocol import Optimizer, check_floating, columns, first_rate, kept

T = TypeVar("T")


@attrs.frozen(eq=False)
class MaskedState:
    """The state of an optimiser that sees some of the leaves."""

    inner_state: object

    @property
    def learning_rate(self) -> float:
        """The rate that the last update used."""
        return first_rate([self.inner_state])


@attrs.frozen(eq=False)
class AccumulateState:
    """How many gradients were gathered, how many steps were taken, the inner state, and the gradients' mean so far."""

    mini_step: int
    gradient_step: int
    inner_state: object
    mean: object

    @property
    def learning_rate(self) -> float:
        """The rate that the last update used."""
        return first_rate([self.inner_state])


def masked(inner: Optimizer[object], mask: object) -> Optimizer[MaskedState]:
    """Let an optimiser see the leaves that `mask` has True for; the others' gradients pass through as they are.

    `mask` is a tree of bools like the parameters, or a prefix of it, or a function that makes one of them. Raises
    `StructureError` where it does not fit.

    >>> from fgrad import optim
    >>> optimizer = masked(optim.scale(0.5), {"w": True, "b": False})
    >>> grads = {"w": 1.0, "b": 1.0}
    >>> optimizer.update(grads, optimizer.init(grads))[0]
    {'w': 0.5, 'b': 1.0}
    """

    def init(params: object) -> MaskedState:
        return MaskedState(inner.init(_chosen(params, selected(mask, params))))

    def update(grads: T, state: MaskedState, params: T | None = None) -> tuple[T, MaskedState]:
        wanted = selected(mask, grads)
        seen = None if params is None else _chosen(params, wanted)
        given, inner_state = inner.update(_chosen(grads, wanted), state.inner_state, seen)
        leaves, structure = tree.flatten(grads)
        updates = iter(tree.leaves(given))
        merged = [next(updates) if chosen else g for chosen, g in zip(wanted, leaves, strict=True)]
        return cast("T", tree.unflatten(structure, merged)), MaskedState(inner_state)

    return Optimizer(init, update)


def _chosen(values: T, wanted: Sequence[bool]) -> T:
    """The tree with None, which is no leaf, for those that are not wanted."""
    leaves, structure = tree.flatten(values)
    if len(leaves) != len(wanted):
        raise errors.StructureError(f"params have {len(leaves)} leaves, and grads {len(wanted)}")
    return cast("T", tree.unflatten(structure, [x if w else None for x, w in zip(leaves, wanted, strict=True)]))


def selected(mask: object, values: object) -> list[bool]:
    """Whether a mask has True, for each leaf of a tree; it may be a function of that tree, or a prefix of it."""
    found = tree.leaves(mask)
    if callable(mask) and found and found[0] is mask:  # a function, and no model with a __call__
        mask = mask(values)
    tree.flatten((mask, values))  # so that optree knows their classes
    try:
        bools: list[object] = optree.broadcast_prefix(
            mask,  # type: ignore[arg-type]  # its PyTree admits no object
            values,  # type: ignore[arg-type]  # as above
            namespace=tree.NAMESPACE,
        )
    except ValueError as error:
        raise errors.StructureError(
            f"the mask is no prefix of the tree that it is for ({str(error).splitlines()[0]}): write True or False "
            "for all of it, or for each of its entries"
        ) from None
    return [bool(chosen) for chosen in bools]


def accumulate(inner: Optimizer[object], every: int) -> Optimizer[AccumulateState]:
    """Step once for the mean of every few gradients; the updates between are zeros.

    Raises `ArgumentError` unless `every` is a positive integer.

    >>> from fgrad import optim
    >>> optimizer = accumulate(optim.sgd(0.1), every=2)
    >>> state = optimizer.init(0.0)
    >>> first, state = optimizer.update(1.0, state)
    >>> second, state = optimizer.update(3.0, state)
    >>> first, second
    (0.0, -0.2)
    """
    if not isinstance(every, int) or every < 1:
        raise errors.ArgumentError(f"every={every}: write a positive number of gradients")

    def init(params: object) -> AccumulateState:
        check_floating(params)
        return AccumulateState(0, 0, inner.init(params), tree.map(zeros_like, params))

    def update(grads: T, state: AccumulateState, params: T | None = None) -> tuple[T, AccumulateState]:
        mean = _mean(grads, state)

        def step() -> tuple[T, AccumulateState]:
            updates, inner_state = inner.update(mean, state.inner_state, params)
            return updates, AccumulateState(0, state.gradient_step + 1, inner_state, tree.map(zeros_like, grads))

        def wait() -> tuple[T, AccumulateState]:
            gathered = AccumulateState(state.mini_step + 1, state.gradient_step, state.inner_state, mean)
            return tree.map(zeros_like, grads), gathered

        return cond(state.mini_step == every - 1, step, wait)

    return Optimizer(init, update)


def _mean(grads: T, state: AccumulateState) -> T:
    """The mean of the gradients so far and of one more (Welford 1962)."""

    def moved(g: Value, mean: Value) -> Value:
        return kept(mean + (g - mean) / (state.mini_step + 1), mean)

    (gs, means), structure = columns({"grads": grads, "state.mean": state.mean})
    return cast("T", tree.unflatten(structure, map(moved, gs, means)))
