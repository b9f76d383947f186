"""What `fgrad train` was asked for, and the update rule that follows from it.

Knows the words of the command line; nothing of data, and of how training goes on.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from fgrad import nn, optim, table

OptimizerName: TypeAlias = Literal["adam", "adamw", "sgd", "momentum", "rmsprop", "adagrad", "lion"]
ScheduleName: TypeAlias = Literal["constant", "linear", "cosine", "warmup-cosine"]


@attrs.frozen
class Rule:
    """An optimiser, a rate at which it mostly works, and whether weights decay by a rule of its own."""

    make: Callable[..., optim.Optimizer[Any]]
    rate: float
    decays: bool = False


OPTIMIZERS: Final[dict[OptimizerName, Rule]] = {
    "adam": Rule(optim.adam, 0.005),
    "adamw": Rule(optim.adamw, 0.005, decays=True),
    "sgd": Rule(optim.sgd, 0.3),
    "momentum": Rule(functools.partial(optim.sgd, momentum=0.9), 0.05),
    "rmsprop": Rule(optim.rmsprop, 0.002),
    "adagrad": Rule(optim.adagrad, 0.1),
    "lion": Rule(optim.lion, 0.001, decays=True),
}
SCHEDULES: Final[dict[ScheduleName, Callable[[float, int], optim.Rate]]] = {
    "constant": lambda rate, steps: rate,
    "linear": lambda rate, steps: optim.linear_schedule(rate, 0.0, steps),
    "cosine": optim.cosine_decay_schedule,
    "warmup-cosine": lambda rate, steps: optim.warmup_cosine_decay_schedule(0.0, rate, steps // 10, steps),
}
"""From the highest rate, and how many steps there will be."""


@attrs.frozen
class TrainOptions:
    """Every option by its name; `rate` None is one that fits the optimiser."""

    data: str
    target: str | None
    task: table.Task
    hidden: tuple[int, ...]
    activation: nn.Activation
    optimizer: OptimizerName
    rate: float | None
    schedule: ScheduleName
    weight_decay: float
    batch: int
    epochs: int
    held_out: float
    seed: int
    out: Path
    report: Path | None
    resume: bool
    checkpoint: float

    @property
    def highest_rate(self) -> float:
        """The rate that the schedule begins with, or climbs to."""
        return self.rate or OPTIMIZERS[self.optimizer].rate

    def rule(self, steps: int) -> optim.Optimizer[Any]:
        """The optimiser for a run of so many steps."""
        rule, rate = OPTIMIZERS[self.optimizer], SCHEDULES[self.schedule](self.highest_rate, steps)
        if rule.decays:
            return rule.make(rate, weight_decay=self.weight_decay)
        return optim.chain(optim.add_decayed_weights(self.weight_decay), rule.make(rate))

    def decisive(self) -> dict[str, str]:
        """What the result follows from, beside the data, as it would be written."""
        given = cast("dict[str, object]", attrs.asdict(attrs.evolve(self, rate=self.highest_rate)))
        apart = ("data", "target", "out", "report", "resume", "checkpoint")
        words = {name: given[name] for name in given if name not in apart}
        return {f"--{name.replace('_', '-')}": _word(value) for name, value in words.items()}


def _word(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
