"""A table made ready for training, and what came of it.

Knows how rows are split and standardised, and what is said of a network that was trained on them; nothing of how.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import attrs
import numpy as np
from numpy.typing import NDArray

from fgrad import errors, nn, random, table
from fgrad.nn.scaling import on_plain, to_plain
from fgrad.random import Key
from fgrad.show import plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]
_FEWEST: Final = 5  # rows that can be split into two parts that say something


@attrs.frozen(eq=False)
class Standard:
    """Numbers shifted and scaled to mean 0 and standard deviation 1, column by column; constant ones to 0."""

    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, x: Floats) -> "Standard":
        """Take the measure of a table (rows, columns)."""
        scale = np.where(x.max(axis=0) > x.min(axis=0), x.std(axis=0), 1.0)
        return cls(x.mean(axis=0), np.where(scale == 0, 1.0, scale))  # 0 by underflow

    def __call__(self, x: Floats) -> Floats:
        """Standardise a table (rows, columns)."""
        return (x - self.mean) / self.scale


@attrs.frozen(eq=False)
class Job:
    """A table, the standards of its rows to train on, and which these are, and which are held out."""

    table: table.Table
    inputs: Standard
    outputs: Standard
    training: Rows
    held_out: Rows

    @cached_property
    def numbers(self) -> tuple[Floats, Floats | Rows]:
        """The inputs, and the outputs or the indices of classes, that the network sees."""
        y = self.table.y
        return self.inputs(self.table.x), y.astype(np.int64) if self.table.classes else self.outputs(y[:, None])

    def rows(self, rows: Rows) -> tuple[Floats, Floats | Rows]:
        """Some rows of them."""
        x, y = self.numbers
        return x[rows], y[rows]

    @property
    def loss(self) -> Callable[[nn.MLP, Floats, Floats | Rows], float]:
        """The function of a network, inputs and outputs that training lowers."""
        if self.table.classes:
            return lambda model, x, labels: nn.cross_entropy(model(x), cast("Rows", labels))
        return lambda model, x, y: nn.mse(model(x), cast("Floats", y))

    @property
    def loss_name(self) -> str:
        """What the loss is called."""
        return "cross-entropy" if self.table.classes else "mean squared error, standardised"

    def plain(self, model: nn.MLP) -> nn.MLP:
        """Make the network that takes and gives numbers as they are in the table: the standards go into its weights."""
        layers, x = list(model.layers), self.table.x[self.training]
        # A constant column was all zeros: its weights have learnt nothing, and must not meet large numbers.
        size = np.where(x.max(axis=0) > x.min(axis=0), self.inputs.scale, np.inf)
        layers[0] = on_plain(layers[0], self.inputs.mean, size)
        layers[-1] = to_plain(layers[-1], self.outputs.mean, self.outputs.scale)
        return attrs.evolve(model, layers=tuple(layers))


def prepare(data: table.Table, name: str, share: float, key: Key) -> Job:
    """Split and measure a table; what is held out has no say in how numbers are standardised.

    Of each class the same share is held out. Raises `DataError` for a table that is too small, or of too large numbers.
    """
    count = len(data.y)
    if count < _FEWEST:
        raise errors.DataError(f"{name}: {count} rows are too few, at least {_FEWEST} are needed")
    size = min(max(round(count * share), 1), count - 2)
    order: Rows = random.permutation(key, count)
    by_class = order[np.argsort(data.y[order], kind="stable")] if data.classes else order
    chosen = np.isin(np.arange(count), np.arange(size) * count // size)
    training, held_out = by_class[~chosen], by_class[chosen]
    inputs, outputs = Standard.of(data.x[training]), Standard.of(data.y[training, None])
    for column, scale in zip((*data.features, data.target), (*inputs.scale, *outputs.scale), strict=True):
        if not math.isfinite(scale):
            raise errors.DataError(f'{name}: column "{column}": the numbers are too large to be squared')
    if data.classes:
        outputs = Standard(np.zeros(1), np.ones(1))  # indices of classes are no quantities
    return Job(data, inputs, outputs, training, held_out)


@attrs.frozen(eq=False)
class Result:
    """A plain network that was trained, and the loss of each epoch, by name, on the way there."""

    job: Job
    network: nn.MLP
    losses: dict[str, list[float]]

    @cached_property
    def truth(self) -> Floats:
        """The target of the rows held out, (rows,)."""
        return self.job.table.y[self.job.held_out]

    @cached_property
    def predicted(self) -> Floats:
        """What the network says of them, (rows,): a number, or the index of a class."""
        outputs = self.network(self.job.table.x[self.job.held_out])
        return outputs.argmax(axis=-1).astype(float) if self.job.table.classes else outputs[:, 0]

    @property
    def verdict(self) -> "Verdict":
        """How well it does on them."""
        if self.job.table.classes:
            return accuracy(self.predicted, self.truth)
        mean = float(self.job.table.y[self.job.training].mean())
        return error(self.predicted, self.truth, f"predicting the mean: {_rms(mean - self.truth):.4g}")

    def draw_plane(self, ax: "Axes") -> None:
        """Draw what the network says over the plane of two features, and the data on top."""
        data, (across, up) = self.job.table, self.job.table.features
        if data.classes:
            labels = data.y.astype(np.int64)
            plot.boundary(ax, self.network, data.x, labels, (across, up), data.classes, data.target)
        else:
            plot.surface(ax, self.network, data.x, data.y, (across, up), data.target)


@attrs.frozen
class Verdict:
    """A figure of how well a network does, what it is called, and what it is made of, or compares with."""

    name: str
    figure: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name} {self.figure} ({self.detail})"


def accuracy(predicted: Floats, truth: Floats) -> Verdict:
    """Judge indices of classes, (rows,)."""
    right = int((predicted == truth).sum())
    return Verdict("accuracy", f"{right / len(truth):.1%}", f"{right} of {len(truth)}")


def error(predicted: Floats, truth: Floats, detail: str) -> Verdict:
    """Judge numbers, (rows,)."""
    return Verdict("root-mean-square error", f"{_rms(predicted - truth):.4g}", detail)


def _rms(x: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(x))))
