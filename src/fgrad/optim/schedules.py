"""Schedules: the learning rate as a function of how many steps were taken.

Knows numbers and counts, which may be traced; nothing of the optimisers that ask.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from fgrad import errors
from fgrad.differentials import is_real
from fgrad.node import Node, Value, shape
from fgrad.ops.elementwise import cos, floor, maximum, minimum, pow, where
from fgrad.ops.shaping import number

Schedule: TypeAlias = Callable[[int], float]
"""From the number of steps taken so far to a rate. Where the number is traced, `where` stands for `if`."""
Rate: TypeAlias = float | Schedule


def constant_schedule(value: float) -> Schedule:
    """The same rate at every step.

    >>> constant_schedule(0.1)(1000)
    0.1
    """
    return lambda count: value


def linear_schedule(init_value: float, end_value: float, transition_steps: int, transition_begin: int = 0) -> Schedule:
    """From one rate to another on a line of `transition_steps` steps, after the first `transition_begin`.

    >>> rate = linear_schedule(0.0, 1.0, transition_steps=10)
    >>> rate(0), rate(5), rate(20)
    (0.0, 0.5, 1.0)
    """

    def schedule(count: int) -> float:
        done = minimum(maximum(count - transition_begin, 0), transition_steps)
        return (init_value - end_value) * (1 - done / max(transition_steps, 1)) + end_value

    return schedule


def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """Times `decay_rate` in every `transition_steps` steps, smoothly or in a staircase, as far as `end_value`.

    Raises `ArgumentError` unless `transition_steps` is positive.

    >>> rate = exponential_decay(1.0, transition_steps=10, decay_rate=0.25)
    >>> rate(0), rate(5), rate(10)
    (1.0, 0.5, 0.25)
    """
    _check_steps(transition_steps=transition_steps)

    def schedule(count: int) -> float:
        done = maximum(count - transition_begin, 0) / transition_steps
        rate = init_value * pow(decay_rate, floor(done) if staircase else done)
        if end_value is None:
            return rate
        return maximum(rate, end_value) if decay_rate < 1 else minimum(rate, end_value)

    return schedule


def cosine_decay_schedule(init_value: float, decay_steps: int, alpha: float = 0.0, exponent: float = 1.0) -> Schedule:
    """From a rate down to `alpha` times it, on half a wave of a cosine (Loshchilov and Hutter 2017, without restarts).

    Raises `ArgumentError` unless `decay_steps` is positive.

    >>> rate = cosine_decay_schedule(1.0, decay_steps=10)
    >>> rate(0), round(rate(5), 12), rate(10)
    (1.0, 0.5, 0.0)
    """
    _check_steps(decay_steps=decay_steps)

    def schedule(count: int) -> float:
        wave = 0.5 * (1 + cos(math.pi * (minimum(count, decay_steps) / decay_steps)))
        return init_value * ((1 - alpha) * pow(wave, exponent) + alpha)

    return schedule


def piecewise_constant_schedule(
    init_value: float, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    """A rate that is scaled at each boundary, from the step of that number on.

    >>> rate = piecewise_constant_schedule(1.0, {10: 0.5, 20: 0.1})
    >>> rate(9), rate(10), rate(20)
    (1.0, 0.5, 0.05)
    """
    pieces = sorted((boundaries_and_scales or {}).items())

    def schedule(count: int) -> float:
        rate = init_value
        for boundary, scale in pieces:
            rate = where(count < boundary, rate, rate * scale)
        return rate

    return schedule


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after another; each counts its steps from the boundary that it begins at.

    Raises `ArgumentError` unless there is one boundary between every two schedules.

    >>> rate = join_schedules([constant_schedule(1.0), linear_schedule(1.0, 0.0, 10)], [5])
    >>> rate(4), rate(10)
    (1.0, 0.5)
    """
    if len(boundaries) != len(schedules) - 1:
        raise errors.ArgumentError(
            f"{len(schedules)} schedules are joined at {len(schedules) - 1} boundaries, not at {len(boundaries)}"
        )

    def schedule(count: int) -> float:
        rate = schedules[0](count)
        for boundary, later in zip(boundaries, schedules[1:], strict=True):
            rate = where(count < boundary, rate, later(count - boundary))
        return rate

    return schedule


def warmup_constant_schedule(init_value: float, peak_value: float, warmup_steps: int) -> Schedule:
    """Up on a line, and then the same rate for ever.

    >>> warmup_constant_schedule(0.0, 1.0, warmup_steps=10)(1000)
    1.0
    """
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    """Up on a line in `warmup_steps` steps, and down on half a wave of a cosine until step `decay_steps`.

    Raises `ArgumentError` unless there are more steps in all than of warm-up.

    >>> rate = warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=10, decay_steps=30)
    >>> rate(5), rate(10), round(rate(20), 12), rate(30)
    (0.5, 1.0, 0.5, 0.0)
    """
    alpha = 0.0 if peak_value == 0 else end_value / peak_value
    down = cosine_decay_schedule(peak_value, decay_steps - warmup_steps, alpha, exponent)
    return join_schedules([linear_schedule(init_value, peak_value, warmup_steps), down], [warmup_steps])


def at(rate: Rate, count: int) -> float:
    """What a rate is after `count` steps, as a Python float where it is no traced value."""
    value: Value = rate(count) if callable(rate) else rate
    return float(value) if isinstance(value, int) else number(value)


def check_rate(rate: Rate) -> None:
    """Raise `ArgumentError` for what is neither a schedule nor a finite number; what is traced is not looked at."""
    if callable(rate):
        return
    if not is_real(rate) or shape(rate) or not (isinstance(rate, Node) or math.isfinite(rate)):
        raise errors.ArgumentError(f"a learning rate is a finite number, or a schedule, not {rate!r}")


def _check_steps(**given: int) -> None:
    for name, steps in given.items():
        if steps <= 0:
            raise errors.ArgumentError(f"{name}={steps} is no number of steps: write a positive one")
