"""Training as a stream of immutable snapshots, in a loop that the user owns.

Knows steps, batches and where a run stands; nothing of models, of update rules, and of how a run is shown.

    data = batches((x, y), 128, key=Key(1))
    start = resume("run.safetensors", begin(model, optimizer))
    run = train(loss, model, data, optimizer, epochs=20, key=Key(2), start=start)
    for now in watch(saving(run, "run.safetensors", every=500), validation, every=data.per_epoch, patience=5):
        print(now.snapshot.step, now.score)
    model = now.best.params
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from operator import index
from pathlib import Path
from typing import Concatenate, Generic, TypeAlias, TypeVar, cast, overload

import attrs
import numpy as np
from numpy.typing import NDArray

from fgrad import errors, io, tree
from fgrad.arrays import copied, quiet, read_only
from fgrad.compile.jit import jit as compiled
from fgrad.files import PathLike
from fgrad.optim import Optimizer, apply_updates, global_norm
from fgrad.random import Key, permutation
from fgrad.transforms import value_and_grad

P = TypeVar("P")
C = TypeVar("C")
D = TypeVar("D")
S = TypeVar("S")
R = TypeVar("R", bound="Snapshot[object, object] | Watched[object, object]")
P_co = TypeVar("P_co", covariant=True)
C_co = TypeVar("C_co", covariant=True)
D_co = TypeVar("D_co", covariant=True)
Rows: TypeAlias = slice | NDArray[np.int64]
Gradient: TypeAlias = Callable[..., tuple[object, object, object]]
Step: TypeAlias = Callable[..., tuple[tuple[object, ...], object, float]]


@attrs.frozen(eq=False)
class Snapshot(Generic[P_co, C_co]):
    """Where a run stands after a number of steps: all that it takes to go on from there, as a pytree.

    `value` and `gradient_norm` are the loss and the norm of its gradient that the last step saw, before it moved the
    parameters; nan before the first. Arrays are read-only, and shared by snapshots between which they did not change.
    """

    params: P_co
    state: object
    step: int
    value: float
    gradient_norm: float
    carry: C_co


@attrs.frozen(eq=False)
class Batches(Generic[D_co]):
    """Batches by the number of their step, without end; see `batches`."""

    data: D_co
    size: int
    key: Key | None
    drop_last: bool
    count: int
    """How many rows there are."""
    _orders: dict[int, NDArray[np.int64]] = attrs.field(factory=dict, init=False, repr=False)  # a memo of one epoch

    @property
    def per_epoch(self) -> int:
        """How many batches it takes to see every row once."""
        return self.count // self.size if self.drop_last else -(-self.count // self.size)

    def __getitem__(self, step: int) -> D_co:
        """The batch of a step, counted from 0, as fresh arrays."""
        if index(step) < 0:
            raise IndexError(f"batch {step}: steps count from 0, and batches have no end")
        epoch, place = divmod(step, self.per_epoch)
        rows = self._rows(epoch, slice(place * self.size, (place + 1) * self.size))
        return tree.map(lambda x: np.array(np.asarray(x)[rows]), self.data)

    def __iter__(self) -> Iterator[D_co]:
        return map(self.__getitem__, itertools.count())

    def _rows(self, epoch: int, places: slice) -> Rows:
        """Which rows stand at some places; in the order of the data, so that files are read forwards."""
        if self.key is None:
            return places
        order = self._orders.get(epoch)
        if order is None:
            order = permutation(self.key.fold_in(epoch), self.count)
            self._orders.clear()
            self._orders[epoch] = order
        return np.sort(order[places])


def batches(data: D, size: int, key: Key | None = None, *, drop_last: bool = False) -> Batches[D]:
    """Cut a pytree of arrays with equally long first axes, such as `(x, y)`, into batches of `size` rows.

    Each epoch has every row once, in an order that follows from the key, or in their own without one. `batches[step]`
    depends on nothing but the data, the size, the key and the step. The last batch of an epoch may be shorter, and a
    compiled step then has a second program; `drop_last` leaves it out. Rows are read when they are asked for, so that
    `np.load("x.npy", mmap_mode="r")` may be larger than memory; the order takes 8 bytes a row.

    Raises `StructureError` naming a leaf that has no rows, or another number of them, and ValueError where there is no
    batch of that size.

    >>> data = batches({"x": np.arange(5)}, 2, key=Key(0))
    >>> [data[step]["x"].tolist() for step in range(data.per_epoch)]
    [[1, 2], [0, 4], [3]]
    """
    leaves = tree.named_leaves(data, "data")
    counts = {name: np.shape(cast("NDArray[np.generic]", leaf))[:1] for name, leaf in leaves.items()}
    first = next(iter(counts), "")
    for name, count in counts.items():
        if not count:
            raise errors.StructureError(f"{name} is a number, and has no rows: write np.asarray(x) for a list of them")
        if count != counts[first]:
            raise errors.StructureError(f"{name} has {count[0]} rows, and {first} has {counts[first][0]}")
    (rows,) = counts.get(first, (0,))
    if index(size) < 1 or rows < (size if drop_last else 1):
        raise ValueError(f"{rows} rows make no batch of {size}")
    return Batches(data, size, key, drop_last, rows)


@overload
def begin(params: P, optimizer: Optimizer[S]) -> Snapshot[P, None]: ...
@overload
def begin(params: P, optimizer: Optimizer[S], carry: C) -> Snapshot[P, C]: ...
def begin(params: P, optimizer: Optimizer[S], carry: object = None) -> Snapshot[P, object]:
    """Make the snapshot before the first step, which is also what `load` needs to know of one that was saved.

    >>> from fgrad import optim
    >>> begin({"w": 1.0}, optim.sgd(0.1)).step
    0
    """
    return Snapshot(params, optimizer.init(params), 0, math.nan, math.nan, carry)


@overload
def train(
    loss: Callable[Concatenate[P, ...], object],
    params: P,
    batches: Iterable[object],
    optimizer: Optimizer[S],
    *,
    steps: int | None = None,
    epochs: int | None = None,
    key: Key | None = None,
    start: Snapshot[P, None] | None = None,
    jit: bool = True,
) -> Iterator[Snapshot[P, None]]: ...
@overload
def train(
    loss: Callable[Concatenate[P, C, ...], object],
    params: P,
    batches: Iterable[object],
    optimizer: Optimizer[S],
    *,
    steps: int | None = None,
    epochs: int | None = None,
    key: Key | None = None,
    carry: C,
    start: Snapshot[P, C] | None = None,
    jit: bool = True,
) -> Iterator[Snapshot[P, C]]: ...
def train(
    loss: Callable[..., object],
    params: P,
    batches: Iterable[object],
    optimizer: Optimizer[S],
    *,
    steps: int | None = None,
    epochs: int | None = None,
    key: Key | None = None,
    carry: object = None,
    start: Snapshot[P, object] | None = None,
    jit: bool = True,
) -> Iterator[Snapshot[P, object]]:
    """Lower a loss step by step, and give a snapshot after each: the loop, and when it ends, are the user's.

    `loss(params, *batch)` is a number; a batch that is no tuple is one argument. With a `key` the loss is also given
    `key=`, another one at each step; with a `carry`, such as running statistics, it is `loss(params, carry, *batch)`
    and returns (number, carry). `batches` are `Batches` or anything that can be iterated. The run ends with them, after
    so many `steps` or `epochs` in all, or by a `break`. `start` goes on from a snapshot instead of `params` and
    `carry`: a run that was stopped and resumed gives the bits of one that was not. A step is compiled, with its
    gradient and update, unless `jit` is False.

    Raises `NonFiniteError` (a FloatingPointError) where the loss or its gradient becomes infinite or nan: its `.last`
    is the last snapshot whose parameters gave finite ones.

    >>> from fgrad import optim
    >>> def loss(w: float, x: NDArray[np.float64]) -> float:
    ...     return ((w - x) ** 2).mean()
    >>> for now in train(loss, 0.0, batches(np.ones(4), 2), optim.sgd(0.25), steps=3):
    ...     print(now.step, now.params, now.value)
    1 0.5 1.0
    2 0.75 0.25
    3 0.875 0.0625
    """
    if epochs is not None:
        if steps is not None or not isinstance(batches, Batches):
            raise errors.ArgumentError("epochs are counted of Batches, and without steps: write steps=… alone")
        steps = epochs * batches.per_epoch
    if not isinstance(optimizer, Optimizer):
        raise errors.ArgumentError(f"{optimizer!r} is no optimiser: write one such as optim.adam(1e-3)")
    first = begin(params, optimizer, carry) if start is None else start
    gradient = _gradient(loss, first.carry is not None)
    step = _step(gradient, optimizer)
    leaves, structure = tree.flatten((first.params, first.state, first.carry))
    kept = [read_only(copied(leaf)) for leaf in leaves]  # the user may write to theirs
    begun = cast("Snapshot[P, object]", _snapshot(structure, kept, first))
    return _run(compiled(step) if jit else step, gradient, begun, _inputs(batches, begun.step, steps), key)


def _inputs(batches: Iterable[object], first: int, last: int | None) -> Iterator[tuple[object, ...]]:
    """What the batches of the steps from `first` on are to a loss, as arguments."""
    if isinstance(batches, Batches):
        numbers = itertools.count(first) if last is None else range(first, last)
        found: Iterator[object] = map(batches.__getitem__, numbers)
    else:
        found = itertools.islice(batches, first, last if last is None else max(first, last))
    return (batch if isinstance(batch, tuple) else (batch,) for batch in found)


def _gradient(loss: Callable[..., object], carried: bool) -> Gradient:
    """From parameters, what is carried, the key, the number of the step and a batch to (value, carry, gradient)."""
    slope = value_and_grad(loss, has_aux=carried)

    def gradient(
        params: object, carry: object, key: Key | None, number: int, *batch: object
    ) -> tuple[object, object, object]:
        inputs = (params, carry, *batch) if carried else (params, *batch)
        value, grads = slope(*inputs) if key is None else slope(*inputs, key=key.fold_in(number))
        return (*cast("tuple[object, object]", value), grads) if carried else (value, carry, grads)

    return gradient


def _step(gradient: Gradient, optimizer: Optimizer[S]) -> Step:
    """From where a run stands, the key, the number of the step and a batch to where it goes, the value and the norm."""

    def step(
        params: object, state: S, carry: object, key: Key | None, number: int, *batch: object
    ) -> tuple[tuple[object, ...], object, float]:
        value, carry, grads = gradient(params, carry, key, number, *batch)
        updates, state = optimizer.update(grads, state, params)
        return (apply_updates(params, updates), state, carry), value, global_norm(grads)

    return step


def _run(
    step: Step, gradient: Gradient, start: Snapshot[P, C], inputs: Iterable[tuple[object, ...]], key: Key | None
) -> Iterator[Snapshot[P, C]]:
    old = tree.leaves((start.params, start.state, start.carry))
    before = now = start
    for batch in inputs:
        with quiet():
            moved, value, norm = step(now.params, now.state, now.carry, key, now.step, *batch)
            seen = Snapshot(None, None, now.step + 1, float(cast("float", value)), float(norm), None)
            if not (math.isfinite(seen.value) and math.isfinite(seen.gradient_norm)):
                _check_finite(gradient, before, now, seen.value, key, batch)
        new, structure = tree.flatten(moved)
        old = [_settled(x, y) for x, y in itertools.zip_longest(new, old[: len(new)])]
        before, now = now, cast("Snapshot[P, C]", _snapshot(structure, old, seen))
        yield now


def _snapshot(structure: tree.Structure, leaves: list[object], seen: Snapshot[object, object]) -> object:
    params, state, carry = cast("tuple[object, ...]", tree.unflatten(structure, leaves))
    return Snapshot(params, state, seen.step, seen.value, seen.gradient_norm, carry)


def _settled(new: object, old: object) -> object:
    """A leaf that can't be written to any more: that of the snapshot before, if not a bit of it has changed."""
    if type(new) is not np.ndarray:
        return new
    if type(old) is np.ndarray and new.shape == old.shape and new.dtype == old.dtype:
        bits = f"u{new.itemsize}"
        # The first number tells most of those apart that have changed.
        if not new.size or (new.item(0) == old.item(0) and np.array_equal(new.view(bits), old.view(bits))):
            return old
    return read_only(new)


def _check_finite(
    gradient: Gradient,
    before: Snapshot[P, C],
    now: Snapshot[P, C],
    value: float,
    key: Key | None,
    batch: tuple[object, ...],
) -> None:
    """Say what was not finite first; a norm may be infinite of gradients that are finite, as they are large.

    If it is the loss, then the parameters are no good, but those before them were.
    """
    advice = "try a lower learning rate, or optim.chain(optim.clip_by_global_norm(1.0), …)"
    found, last = _non_finite(batch, "batch"), before
    if found is not None:
        problem, advice, last = f"{found} holds numbers that are not finite", "look at the data", now
    elif not math.isfinite(value):
        problem = f"the loss became {value}"
    else:
        found = _non_finite(gradient(now.params, now.carry, key, now.step, *batch)[2], "params")
        if found is None:
            return
        problem = f"the gradient of {found} became infinite or nan, of a loss of {value:g}"
    raise errors.NonFiniteError(f"step {now.step + 1}: {problem}: {advice} (.last is of step {last.step})", last)


def _non_finite(x: object, root: str) -> str | None:
    """The path of the first leaf that holds an infinity or nan."""
    named = tree.named_leaves(x, root).items()
    return next((name for name, leaf in named if not np.isfinite(cast("float", leaf)).all()), None)


# --- what is done with snapshots --------------------------------------------------------------------------------------
@attrs.frozen(eq=False)
class Watched(Generic[P_co, C_co]):
    """A snapshot and its score, and the best so far; `since` counts the judgements that followed the best."""

    snapshot: Snapshot[P_co, C_co]
    score: float
    best: Snapshot[P_co, C_co]
    best_score: float
    since: int

    @classmethod
    def begin(cls, first: Snapshot[P, C]) -> "Watched[P, C]":
        """What there is before the first judgement: no score."""
        return Watched(first, math.nan, first, math.nan, 0)


def watch(
    snapshots: Iterable[Snapshot[P, C]],
    score: Callable[[Snapshot[P, C]], float],
    *,
    every: int = 1,
    patience: int | None = None,
    start: Watched[P, C] | None = None,
) -> Iterator[Watched[P, C]]:
    """Judge the snapshots of every so many steps, remember the best, and stop after `patience` that were no better.

    A score is the better the lower it is, and nan the worst. `start` goes on from what was watched before, as `train`
    does from a snapshot: saved and loaded, it makes a resumed run stop where the other would have.

    >>> from fgrad import optim
    >>> def loss(w: float, x: NDArray[np.float64]) -> float:
    ...     return ((w - x) ** 2).mean()
    >>> run = train(loss, 0.0, batches(np.ones(4), 2), optim.sgd(0.25))
    >>> for now in watch(run, lambda snapshot: abs(snapshot.params - 0.7), every=2, patience=2):
    ...     print(now.snapshot.step, round(now.score, 3), now.best.step)
    2 0.05 2
    4 0.238 2
    6 0.284 2
    """
    _check_every(every)
    now = start
    if now is not None and patience is not None and now.since >= patience:
        yield now  # it had stopped
        return
    for snapshot in snapshots:
        if snapshot.step % every == 0:
            found = float(score(snapshot))
            if now is None or found < now.best_score or math.isnan(now.best_score) > math.isnan(found):
                now = Watched(snapshot, found, snapshot, found, 0)
            else:
                now = Watched(snapshot, found, now.best, now.best_score, now.since + 1)
            yield now
            if patience is not None and now.since >= patience:
                return


def _check_every(every: int) -> None:
    if every < 1:
        raise errors.ArgumentError(f"every={every}: write a positive number of steps")


def step_of(item: Snapshot[P, C] | Watched[P, C]) -> int:
    """The number of steps after which a snapshot was taken, or the one that was watched."""
    return item.snapshot.step if isinstance(item, Watched) else item.step


def saving(items: Iterable[R], path: PathLike, *, every: int) -> Iterator[R]:
    """Save the snapshots of every so many steps, and the last, on their way; each takes the place of the one before.

    What is watched is saved with its scores. The last is also saved where the loop is left by a `break` or an error:
    when this generator is closed, which is at once if it stands in the `for` itself and has no other name.
    Raises what `io.save` does.
    """
    _check_every(every)
    last = None
    try:
        for item in items:
            last = item
            if step_of(item) % every == 0:
                io.save(path, item)
            yield item
    finally:
        if last is not None and step_of(last) % every != 0:
            io.save(path, last)


def resume(path: PathLike, start: R) -> R:
    """Load what `saving` has left, in the structure and types of `start`; `start` itself if there is nothing yet.

    Raises what `io.load` does for a file that does not fit.

    >>> from fgrad import optim
    >>> resume("no.safetensors", begin({"w": 1.0}, optim.sgd(0.1))).params
    {'w': 1.0}
    """
    return io.load(path, start) if Path(path).exists() else start
