"""Optimisers as pairs of pure functions, in the protocol of Optax, and how they are put one after another.

Knows trees, leaf by leaf, and what an update is; nothing of any rule by which parameters move.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar, cast

import attrs

from fgrad import errors, tree
from fgrad.node import Value
from fgrad.ops.shaping import astype, dtype_of, number
from fgrad.trace import describe

T = TypeVar("T")
S_co = TypeVar("S_co", covariant=True)


class Update(Protocol[S_co]):  # type: ignore[misc]  # covariant: where states are `object`, any optimiser will do
    """From gradients and a state to updates, a tree like the gradients, and the next state."""

    def __call__(  # noqa: D102  # the class says it
        self,
        grads: T,
        state: S_co,  # type: ignore[misc]  # as above: `chain` gives each optimiser the state that it made
        params: T | None = None,
    ) -> tuple[T, S_co]: ...


@attrs.frozen(eq=False)
class Optimizer(Generic[S_co]):
    """A rule by which parameters move, as two pure functions; any two of these types make one.

    `init(params)` is the first state, and `update(grads, state, params)` is (updates, state): what is to be added to
    the parameters, and the next state. A state is a pytree, with a leaf `learning_rate` where there is such a rate.

    >>> def update(grads: T, state: int, params: T | None = None) -> tuple[T, int]:
    ...     return tree.map(lambda g: -g / (state + 1), grads), state + 1
    >>> harmonic = Optimizer(lambda params: 0, update)
    >>> harmonic.update({"w": 6.0}, 1)
    ({'w': -3.0}, 2)
    """

    init: Callable[[object], S_co]
    update: Update[S_co]


@attrs.frozen(eq=False)
class EmptyState:
    """The state of an optimiser that remembers nothing."""


EMPTY: Final = EmptyState()


@attrs.frozen(eq=False)
class ChainState:
    """The states of optimisers that follow one another."""

    states: tuple[object, ...]

    @property
    def learning_rate(self) -> float:
        """The rate that the last update used, of the first of them that has one."""
        return first_rate(self.states)


def apply_updates(params: T, updates: T) -> T:
    """Add updates to parameters, leaf by leaf, in the parameters' dtypes.

    Raises `StructureError` naming the path where the trees part.

    >>> apply_updates({"w": 1.0, "b": 0.0}, {"w": -0.5, "b": 0.25})
    {'w': 0.5, 'b': 0.25}
    """
    (us, ps), structure = columns({"updates": updates, "params": params})
    return cast("T", tree.unflatten(structure, [kept(p + u, p) for p, u in zip(ps, us, strict=True)]))


def chain(*optimizers: Optimizer[object]) -> Optimizer[ChainState]:
    """Do one optimiser after another: each is given the updates of the one before as its gradients.

    >>> from fgrad import optim
    >>> optimizer = optim.chain(optim.clip(1.0), optim.sgd(0.1))
    >>> state = optimizer.init({"w": 0.0})
    >>> optimizer.update({"w": 5.0}, state)[0], state.learning_rate
    ({'w': -0.1}, 0.1)
    """

    def init(params: object) -> ChainState:
        return ChainState(tuple([optimizer.init(params) for optimizer in optimizers]))

    def update(grads: T, state: ChainState, params: T | None = None) -> tuple[T, ChainState]:
        if len(state.states) != len(optimizers):
            raise errors.StructureError(
                f"a state of {len(state.states)} optimisers was given to a chain of {len(optimizers)}: "
                "write optimizer.init(params) for the first one"
            )
        states: list[object] = []
        for optimizer, before in zip(optimizers, state.states, strict=True):
            grads, after = optimizer.update(grads, before, params)
            states.append(after)
        return grads, ChainState(tuple(states))

    return Optimizer(init, update)


def leafwise(rule: Callable[[Value], Value]) -> Optimizer[EmptyState]:
    """Make the optimiser that does `rule` to each leaf, and remembers nothing."""
    return stateless(lambda grads: tree.map(rule, grads))


def stateless(rule: Callable[[object], object]) -> Optimizer[EmptyState]:
    """Make the optimiser that does `rule` to the tree of gradients, and remembers nothing."""

    def update(grads: T, state: EmptyState, params: T | None = None) -> tuple[T, EmptyState]:
        return cast("T", rule(grads)), state

    return Optimizer(lambda params: EMPTY, update)


def columns(trees: Mapping[str, object]) -> tuple[list[list[Value]], tree.Structure]:
    """The leaves of trees that must all have the structure of the last, and that; each has a name for errors."""
    flat = {name: tree.flatten(x) for name, x in trees.items()}
    *_, (_, structure) = flat.values()
    for name, (_, other) in flat.items():
        if other != structure:
            tree.matching_leaves(structure, trees[name], name)  # says where they part
    return [cast("list[Value]", leaves) for leaves, _ in flat.values()], structure


def kept(x: Value, like: object) -> Value:
    """The same number or array in the dtype of what it takes the place of."""
    dtype = dtype_of(like)
    if dtype is None:
        return number(x)
    return x if dtype_of(x) == dtype else astype(x, dtype)


def check_floating(params: object) -> None:
    """Raise `LeafError` for a leaf that cannot move by small steps: an integer, a string or a function."""
    leaves, structure = tree.flatten(params)
    for i, leaf in enumerate(leaves):
        dtype = getattr(leaf, "dtype", type(leaf))
        if dtype is not float and "float" not in str(dtype):
            raise errors.LeafError(
                f"{tree.paths(structure, 'params')[i]} is {describe(leaf)}, which cannot move by small steps: write "
                "2.0 for 2 and x.astype(float) for an array, or declare the field tree.static() if it is to stay"
            )


def first_rate(states: Sequence[object]) -> float:
    """The learning rate of the first state that has one, by that name."""
    for state in states:
        match state:
            case object(learning_rate=rate):
                return cast("float", rate)
    raise AttributeError("no optimiser of this state has a learning rate")


def need(params: T | None, who: str) -> T:
    """Give the parameters, if the caller did not leave them out."""
    if params is None:
        raise errors.ArgumentError(
            f"{who} needs the parameters, and update was given none: write optimizer.update(grads, state, params)"
        )
    return params
