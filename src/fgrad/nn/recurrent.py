"""Recurrent cells, which carry a state along a sequence, and the loop that does it.

Knows what one step does, and that a sequence is a step after the other; nothing of how loops are differentiated.
"""

from typing import Protocol, TypeVar

import attrs
import numpy as np
from numpy.typing import DTypeLike

from fgrad.control import scan
from fgrad.nn.initialisers import Floats, Initialiser, glorot_uniform, orthogonal, weights
from fgrad.nn.layers import Linear
from fgrad.node import shape
from fgrad.ops.elementwise import sigmoid, tanh
from fgrad.ops.linalg import matmul
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import concat
from fgrad.random import Key

S = TypeVar("S")


class Cell(Protocol[S]):
    """What `unroll` repeats: a step from a state, and inputs, to the next state."""

    def start(self, batch: tuple[int, ...] = ()) -> S:
        """The state before the first step."""
        ...

    def output(self, state: S) -> Floats:
        """What a state shows to the outside."""
        ...

    def __call__(self, state: S, x: Floats) -> S:
        """The next state."""
        ...


@attrs.frozen
class GRUCell:
    """The gated recurrent unit (Cho et al. 2014), as cuDNN and PyTorch compute it; its state is an array (…, m).

    Gates stand in the order reset, update, candidate.
    """

    inputs: Linear
    recurrent: Linear

    @classmethod
    def init(
        cls, key: Key, n: int, m: int, *, initialiser: Initialiser = glorot_uniform, dtype: DTypeLike = np.float64
    ) -> "GRUCell":
        """Make a cell of m units for n numbers; what goes round is orthogonal, biases are 0.

        >>> cell = GRUCell.init(Key(0), 3, 2)
        >>> cell(cell.start((5,)), np.ones((5, 3))).shape
        (5, 2)
        """
        first, second = key.split(2)
        inputs = Linear.init(first, n, 3 * m, initialiser=initialiser, dtype=dtype)
        return cls(inputs, Linear(_orthogonal_gates(second, m, 3, dtype), np.zeros(3 * m, dtype)))

    def start(self, batch: tuple[int, ...] = ()) -> Floats:
        """Zeros (*batch, m), the state before the first step."""
        return np.zeros((*batch, shape(self.recurrent.w)[0]), self.recurrent.w.dtype)

    def output(self, state: Floats) -> Floats:
        """The state itself."""
        return state

    def __call__(self, state: Floats, x: Floats) -> Floats:
        """The next state (…, m), from a state and inputs (…, n)."""
        m, seen, known = shape(state)[-1], self.inputs(x), self.recurrent(state)
        gates = sigmoid(_gates(seen, m, 0, 2) + _gates(known, m, 0, 2))
        reset, update = _gates(gates, m, 0, 1), _gates(gates, m, 1, 2)
        candidate = tanh(_gates(seen, m, 2, 3) + reset * _gates(known, m, 2, 3))
        return candidate + update * (state - candidate)


@attrs.frozen
class LSTMState:
    """What an `LSTMCell` carries: what it shows, and what it keeps, each (…, m)."""

    hidden: Floats = weights()
    memory: Floats = weights()


@attrs.frozen
class LSTMCell:
    """Long short-term memory (Hochreiter and Schmidhuber 1997), with a forget gate (Gers et al. 2000).

    Gates stand in the order input, forget, candidate, output, as in PyTorch, which has two biases for our one.
    """

    inputs: Linear
    w: Floats = weights()

    @classmethod
    def init(
        cls, key: Key, n: int, m: int, *, initialiser: Initialiser = glorot_uniform, dtype: DTypeLike = np.float64
    ) -> "LSTMCell":
        """Make a cell of m units for n numbers; what goes round is orthogonal, biases are 0.

        >>> cell = LSTMCell.init(Key(0), 3, 2)
        >>> cell(cell.start((5,)), np.ones((5, 3))).hidden.shape
        (5, 2)
        """
        first, second = key.split(2)
        inputs = Linear.init(first, n, 4 * m, initialiser=initialiser, dtype=dtype)
        return cls(inputs, _orthogonal_gates(second, m, 4, dtype))

    def start(self, batch: tuple[int, ...] = ()) -> LSTMState:
        """Zeros (*batch, m), the state before the first step."""
        sizes = (*batch, shape(self.w)[0])
        return LSTMState(np.zeros(sizes, self.w.dtype), np.zeros(sizes, self.w.dtype))

    def output(self, state: LSTMState) -> Floats:
        """What the state shows."""
        return state.hidden

    def __call__(self, state: LSTMState, x: Floats) -> LSTMState:
        """The next state, each part (…, m), from a state and inputs (…, n)."""
        m, z = shape(state.memory)[-1], self.inputs(x) + matmul(state.hidden, self.w)
        gates = sigmoid(z)
        candidate = tanh(_gates(z, m, 2, 3))
        memory = _gates(gates, m, 1, 2) * state.memory + _gates(gates, m, 0, 1) * candidate
        return LSTMState(_gates(gates, m, 3, 4) * tanh(memory), memory)


def unroll(cell: Cell[S], xs: Floats, state: S | None = None) -> tuple[S, Floats]:
    """Carry a state along a sequence (length, …, n): give the last one, and the outputs of all steps (length, …, m).

    Without a state, from `cell.start`. It is one `scan`, so it stays one op in the graph, whatever the length.

    >>> last, outputs = unroll(GRUCell.init(Key(0), 3, 2), np.ones((7, 5, 3)))
    >>> last.shape, outputs.shape
    ((5, 2), (7, 5, 2))
    """

    def step(before: S, x: Floats) -> tuple[S, Floats]:
        after = cell(before, x)
        return after, cell.output(after)

    return scan(step, cell.start(shape(xs)[1:-1]) if state is None else state, xs)


def _gates(x: Floats, m: int, start: int, stop: int) -> Floats:
    """Some of the gates of m units that stand side by side."""
    return getitem(x, (..., slice(start * m, stop * m)))


def _orthogonal_gates(key: Key, m: int, count: int, dtype: DTypeLike) -> Floats:
    """An orthogonal matrix for each gate, side by side."""
    return concat([orthogonal(own, (m, m), dtype) for own in key.split(count)], 1)
