"""The numeric check: derivatives of any order, in all mixes of modes, against central differences.

Knows how a derivative is made a function that is checked in its turn; nothing of other laws.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

import attrs

from fgrad import errors
from fgrad.probe import (
    Leaf,
    Leaves,
    Probe,
    Row,
    difference,
    drawn,
    generator,
    in_proportion,
    inner,
    only,
    probe,
    verdict,
)
from fgrad.transforms import jvp, linearize, vjp

Function: TypeAlias = Callable[..., object]
Mode: TypeAlias = Literal["rev", "fwd"]
_NAMES: Final = {"rev": "reverse", "fwd": "forward"}


def check_grads(
    f: Function,
    args: Sequence[object],
    order: int = 2,
    modes: Sequence[Mode] = ("rev", "fwd"),
    *,
    rtol: float | None = None,
    seed: int = 0,
) -> None:
    """Compare the derivatives of `f` at `args`, up to `order` and in all mixes of `modes`, with central differences.

    f maps pytrees to a pytree; integers are taken as floats, as in `grad`. Each leaf is moved along a random direction
    (smaller numbers less, down to a hundredth), and the results are weighted with random numbers, so that one number is
    compared for each leaf: in mode "rev" from the pullback of the weights, in mode "fwd" from the pushforward of the
    direction. Pullback and pushforward are then functions of `args` that are checked in the same way, to one order
    less.

    `rtol` is relative to the larger of 1 and the numeric value; by default ε^0.4, and three times more for each further
    order: 5e-7 and 2e-6 in float64, 2e-3 and 5e-3 in float32 (ε of the least precise leaf). The differences are
    Richardson's, (4 D(h/2) - D(h)) / 3, with an error of h⁴ at h = ε^0.2 (7e-4 and 4e-2) times the
    largest |x| of the leaf, or 0.1: so far f must be smooth.

    Raises `GradientError`, which names order and modes and shows the analytic and the numeric values by path.

    >>> check_grads(lambda x, y: x * y**2, (3.0, 2.0))
    """
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise errors.ArgumentError(f"order={order!r} must be 1 or more: write order=1 for first derivatives alone")
    if isinstance(modes, str) or not modes or not set(modes) <= set(_NAMES):
        raise errors.ArgumentError(f'modes={modes!r} must be a tuple of "rev" and "fwd": write modes=("rev",) for one')
    at = probe(f, args)
    tolerance = at.epsilon**0.4 if rtol is None else rtol
    growth = 3.0 if rtol is None else 1.0
    _check_order(at, order, tuple(modes), tolerance, growth, seed, ())


def _check_order(
    at: Probe, order: int, modes: tuple[Mode, ...], rtol: float, growth: float, seed: int, within: tuple[Mode, ...]
) -> None:
    """Check the first derivatives of `at`, made by the modes `within`; then its derivatives as functions."""
    rng = generator(seed + len(within))
    directions, weights = in_proportion(drawn(rng, at.points), at.points), drawn(rng, at.values)
    numeric = [difference(at, weights, directions, i) for i in range(len(at.points))]
    for mode in modes:
        analytic = _along(at, mode, weights, directions)
        over = " over ".join(_NAMES[m] for m in (mode, *within))
        message = (
            f"analytic and numeric derivatives of order {1 + len(within)}, in {over} mode, differ, "
            "along one direction per leaf"
        )
        rows: list[Row] = list(zip(at.paths, analytic, numeric, strict=True))
        verdict(message, ("analytic", "numeric"), rows, rtol)
    if order > 1:
        for mode in modes:
            derived = _derivative(at, mode, weights, directions)
            _check_order(derived, order - 1, modes, rtol * growth, growth, seed, (mode, *within))


def _along(at: Probe, mode: Mode, weights: Leaves, directions: Leaves) -> list[float]:
    """The derivative of the weighted results along the direction of each leaf."""
    if mode == "rev":
        gradients = pulled(at, at.points, weights)
        return [inner([g], [d]) for g, d in zip(gradients, directions, strict=True)]
    _, push = linearize(at.function, *at.points)
    return [inner(weights, push(*only(directions, i))) for i in range(len(at.points))]


def _derivative(at: Probe, mode: Mode, weights: Leaves, directions: Leaves) -> Probe:
    """The pullback of the weights, or the pushforward of the directions, as a function of the points."""

    def function(*points: Leaf) -> list[Leaf]:
        return pulled(at, points, weights) if mode == "rev" else pushed(at, points, directions)

    results = at.paths if mode == "rev" else at.results
    return attrs.evolve(at, function=function, values=tuple(function(*at.points)), results=results)


def pulled(at: Probe, points: Leaves, weights: Leaves) -> list[Leaf]:
    """The cotangents of the points, for those of the values."""
    return list(vjp(at.function, *points)[1](list(weights)))


def pushed(at: Probe, points: Leaves, directions: Leaves) -> list[Leaf]:
    """The tangents of the values, for those of the points."""
    return jvp(at.function, points, directions)[1]
