"""Probes: a function at a point, seen through its leaves, with random directions, differences and comparisons.

Knows numbers, and how two of them are told apart; nothing of derivatives and their laws.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

import attrs

from fgrad import errors, tree
from fgrad.arrays import numpy
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import concat, reshape
from fgrad.trace import argument_namer, describe
from fgrad.transforms import vjp

if TYPE_CHECKING:
    from numpy import dtype, generic
    from numpy.random import Generator

Leaf: TypeAlias = float
"""A leaf: to type checkers a float; when it runs a number, an array, or a traced value."""
Leaves: TypeAlias = tuple[Leaf, ...]
Row: TypeAlias = tuple[str, object, object]
"""What is compared: a path, and two numbers or arrays that should be equal."""


@attrs.frozen
class Probe:
    """A function at a point, on leaves: `function(*points)` lists numbers and arrays like `values`, all of floats."""

    function: Callable[..., list[Leaf]]
    points: Leaves
    values: Leaves
    paths: tuple[str, ...]
    results: tuple[str, ...]

    @property
    def epsilon(self) -> float:
        """The rounding unit of the least precise leaf."""
        np = numpy()
        return max([float(np.finfo(np.asarray(x).dtype).eps) for x in (*self.points, *self.values)], default=0.0)


def probe(f: Callable[..., object], args: Sequence[object], *, every: bool = False) -> Probe:
    """See `f` at `args` through its leaves: integers become floats, and of the results floats are kept, or `every` one.

    Raises `LeafError` for what cannot be differentiated.
    """
    if not isinstance(args, tuple | list):
        raise errors.ArgumentError(f"args is a tuple with an entry for each argument: write (x,), not {describe(args)}")
    out, _ = vjp(f, *args)
    inputs, structure = tree.flatten(tuple(args))
    outputs, out_structure = tree.flatten(out)
    kept = [i for i, y in enumerate(outputs) if every or _dtype(y).kind == "f"]

    def function(*leaves: Leaf) -> list[Leaf]:
        found = tree.leaves(f(*cast("tuple[object, ...]", tree.unflatten(structure, leaves))))
        return [cast("Leaf", found[i]) for i in kept]

    names = tree.paths(out_structure, "result")
    return Probe(
        function,
        tuple([_as_float(x) for x in inputs]),
        tuple([cast("Leaf", outputs[i]) for i in kept]),
        tuple(tree.paths(structure, argument_namer(f))),
        tuple([names[i] for i in kept]),
    )


def window(at: Probe, rng: "Generator", most: int = 16) -> Probe:
    """The same function of at most so many numbers of each leaf, drawn at random; of each result as many."""
    np = numpy()
    grow, points = zip(*[_inward(x, rng, most) for x in at.points], strict=True) if at.points else ((), ())
    shrink = [_outward(y, rng, most) for y in at.values]

    def function(*leaves: Leaf) -> list[Leaf]:
        found = at.function(*[g(x) for g, x in zip(grow, leaves, strict=True)])
        return [s(y) for s, y in zip(shrink, found, strict=True)]

    with np.errstate(all="ignore"):
        return attrs.evolve(at, function=function, points=points, values=tuple(function(*points)))


def _inward(x: Leaf, rng: "Generator", most: int) -> tuple[Callable[[Leaf], Leaf], Leaf]:
    """How to make a leaf of a few of its numbers, and these."""
    np = numpy()
    if np.size(x) <= most:
        return lambda few: few, x
    order, flat = rng.permutation(np.size(x)), np.reshape(x, -1)
    rest, back = flat[order[most:]], np.argsort(order)
    return lambda few: reshape(getitem(concat([few, rest]), back), np.shape(x)), flat[order[:most]]


def _outward(y: Leaf, rng: "Generator", most: int) -> Callable[[Leaf], Leaf]:
    """How to take a few numbers of a result."""
    np = numpy()
    if np.size(y) <= most:
        return lambda y: y
    chosen = rng.permutation(np.size(y))[:most]
    return lambda y: getitem(reshape(y, (-1,)), chosen)


def generator(seed: int) -> "Generator":
    """Random numbers that depend on the seed alone."""
    np = numpy()
    return cast("Generator", np.random.Generator(np.random.Philox(seed)))


def drawn(rng: "Generator", leaves: Sequence[Leaf]) -> Leaves:
    """Random numbers of either sign between 0.5 and 1.5, of the leaves' types, shapes and dtypes."""
    shapes = [numpy().shape(x) for x in leaves]
    numbers = [rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape) for shape in shapes]
    return tuple([typed(n, x) for n, x in zip(numbers, leaves, strict=True)])


def typed(number: object, x: Leaf) -> Leaf:
    """A number or array, with the type and dtype of the leaf x."""
    np = numpy()
    array = np.asarray(number, _dtype(x))
    return float(array) if type(x) is float else cast("Leaf", array if isinstance(x, np.ndarray) else array[()])


def only(leaves: Leaves, i: int) -> Leaves:
    """Leaf number i, and zeros for the others."""
    return tuple([x if i == j else x * 0 for j, x in enumerate(leaves)])


def combined(a: float, xs: Sequence[Leaf], b: float, ys: Sequence[Leaf]) -> Leaves:
    """The sums a·x + b·y, leaf by leaf, of the leaves' types."""
    np = numpy()
    return tuple([typed(a * np.asarray(x) + b * np.asarray(y), x) for x, y in zip(xs, ys, strict=True)])


def inner(xs: Sequence[Leaf], ys: Sequence[Leaf]) -> float:
    """The inner product of leaves, all numbers of each, in float64."""
    np = numpy()
    return sum([float(np.sum(np.multiply(x, y, dtype=float))) for x, y in zip(xs, ys, strict=True)], 0.0)


def reach(x: Leaf) -> float:
    """The size of a leaf, by which it is moved: that of its largest finite number, and at least 0.1."""
    np = numpy()
    return float(np.max(np.abs(x), initial=0.1, where=np.isfinite(x)))


def in_proportion(directions: Leaves, leaves: Leaves) -> Leaves:
    """The directions, shorter for the smaller numbers of a leaf, down to a hundredth of what its largest one gets."""
    np = numpy()
    sizes = [np.clip(np.abs(np.asarray(x, float)) / reach(x), 0.01, 1.0) for x in leaves]
    return tuple([typed(d * np.nan_to_num(s, nan=1.0), x) for d, s, x in zip(directions, sizes, leaves, strict=True)])


def difference(at: Probe, weights: Leaves, directions: Leaves, i: int) -> float:
    """How the weighted results change along the direction of leaf i: Richardson's (4 D(h/2) - D(h)) / 3."""
    np = numpy()
    x = np.asarray(at.points[i])
    h = float(np.finfo(x.dtype).eps) ** 0.2 * reach(at.points[i])

    def along(t: float) -> float:
        moved = typed(x + t * np.asarray(directions[i]), at.points[i])
        return inner(weights, at.function(*at.points[:i], moved, *at.points[i + 1 :]))

    with np.errstate(all="ignore"):
        coarse = (along(h) - along(-h)) / (2 * h)
        fine = (along(h / 2) - along(-h / 2)) / h
        return float((4 * fine - coarse) / 3)


def examples(rng: "Generator", leaves: Leaves, size: int) -> Leaves:
    """As many examples near each leaf, along a first axis."""
    np = numpy()

    def near(x: Leaf) -> Leaf:
        array = np.asarray(x)
        near_one = 1.0 + rng.uniform(-0.01, 0.01, (size, *array.shape))
        return cast("Leaf", np.asarray(np.where(array == 0, near_one - 1.0, near_one * array), array.dtype))

    return tuple([near(x) for x in leaves])


def stacked(results: Sequence[Sequence[Leaf]]) -> list[object]:
    """The results of several runs, leaf by leaf along a first axis."""
    return [numpy().stack(column) for column in zip(*results, strict=True)]


def between(dy: Leaf, block: object, dx: Leaf) -> object:
    """A block of a Jacobian, each entry times the factors of its result and of its input."""
    np = numpy()
    return np.multiply.outer(dy, dx) * np.asarray(block)


def verdict(
    message: str, names: tuple[str, str], rows: Sequence[Row], tolerance: float, *, equal_nan: bool = False
) -> None:
    """Compare the two sides of each row, relative to the larger of 1 and the second's largest number.

    Raises `GradientError` with the message and both sides, by path, of the number in each row that differs most.
    """
    lines, differs = [], False
    for path, left, right in rows:
        place, a, b, bad = _worst(left, right, tolerance, equal_nan)
        mark = "  <- differs" if bad else ""
        lines.append(f"  {path}{place}: {names[0]} {a}, {names[1]} {b}{mark}")
        differs = differs or bad
    if differs:
        raise errors.GradientError("\n".join([f"{message}:", *lines]))


def _worst(left: object, right: object, tolerance: float, equal_nan: bool) -> tuple[str, str, str, bool]:
    """Where two arrays differ most, the two numbers there, and whether that is too much."""
    np = numpy()
    a, b = np.asarray(left), np.asarray(right)
    if a.shape != b.shape:
        return "", f"has the shape {a.shape}", f"has {b.shape}", True
    if not a.size:
        return "", "empty", "empty", False
    a, b = a.astype(float), b.astype(float)
    with np.errstate(all="ignore"):
        scale = max(1.0, float(np.max(np.abs(b), where=np.isfinite(b), initial=0.0)))
        far = np.where((a == b) | (equal_nan & np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    flat = int(np.argmax(np.where(np.isnan(far), np.inf, far)))
    index = [int(i) for i in np.unravel_index(flat, a.shape)]
    bad = not far.flat[flat] <= tolerance * scale
    return str(index or ""), f"{a.flat[flat]:.12g}", f"{b.flat[flat]:.12g}", bad


def _dtype(x: object) -> "dtype[generic]":
    return cast("dtype[generic]", numpy().asarray(x).dtype)


def _as_float(x: object) -> Leaf:
    """What a leaf is differentiated as: integers as floats."""
    np = numpy()
    if isinstance(x, float | int) and not isinstance(x, np.generic):
        return float(x)
    return cast("Leaf", x if np.asarray(x).dtype.kind == "f" else np.asarray(x, float)[()])
