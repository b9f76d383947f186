"""Checks that derivatives are right, for fgrad's own rows and for users' functions.

Knows functions and numbers: functions in, verdict out; nothing of nodes and walks.
"""

from collections.abc import Callable, Sequence
from typing import cast

from fgrad import errors, tree
from fgrad.trace import argument_namer
from fgrad.transforms import vjp


def check_grads(f: Callable[..., object], args: Sequence[object], *, rtol: float | None = None, seed: int = 0) -> None:
    """Compare the gradient of `f` at `args` with central differences, leaf by leaf.

    f maps pytrees to a pytree. Each leaf is moved along a random direction, and the results are weighted with random
    numbers, so that one number is compared for each leaf. `rtol` is relative to the larger of 1 and that number; by
    default ε^0.4, 5e-7 in float64. The differences are Richardson's, (4 D(h/2) - D(h)) / 3, with an error of h⁴.

    Raises `GradientError`, which shows the analytic and the numeric values of all leaves by path.

    >>> check_grads(lambda x, y: x * y**2, (3.0, 2.0))
    """
    import numpy as np  # lazily: importing fgrad stays quick

    rng = np.random.Generator(np.random.Philox(seed))
    inputs, structure = tree.flatten(tuple(args))
    points = [np.asarray(x) if np.asarray(x).dtype.kind == "f" else np.asarray(x, float) for x in inputs]
    directions = [rng.choice([-1.0, 1.0], x.shape) * rng.uniform(0.5, 1.5, x.shape) for x in points]
    epsilon = max((float(np.finfo(x.dtype).eps) for x in points), default=0.0)

    outputs, pullback = vjp(f, *args)
    results, out_structure = tree.flatten(outputs)
    weights = [rng.uniform(0.5, 1.5, np.asarray(y, float).shape) for y in results]
    cotangent = tree.unflatten(
        out_structure, [np.asarray(w, np.asarray(y).dtype)[()] for w, y in zip(weights, results, strict=True)]
    )
    gradients = [np.asarray(g, float) for g in tree.leaves(pullback(cotangent))]
    analytic = [float(np.sum(g * d)) for g, d in zip(gradients, directions, strict=True)]

    def along(i: int, t: float) -> float:
        moved: list[object] = [np.asarray(x + t * d * (i == j), x.dtype)[()] for j, (x, d) in enumerate(lines)]
        restored = [
            float(cast("float", x)) if type(y) in (int, float) else x for x, y in zip(moved, inputs, strict=True)
        ]
        ys = tree.leaves(f(*cast("tuple[object, ...]", tree.unflatten(structure, restored))))
        return sum(float(np.sum(w * np.asarray(y, float))) for w, y in zip(weights, ys, strict=True))

    def difference(i: int) -> float:
        h = epsilon**0.2 * max(1.0, float(np.max(np.abs(points[i]), initial=0.0)))
        coarse = (along(i, h) - along(i, -h)) / (2 * h)
        fine = (along(i, h / 2) - along(i, -h / 2)) / h
        return float((4 * fine - coarse) / 3)

    lines = list(zip(points, directions, strict=True))
    numeric = [difference(i) for i in range(len(points))]
    tolerance = epsilon**0.4 if rtol is None else rtol
    wrong = [not abs(a - n) <= tolerance * max(1.0, abs(n)) for a, n in zip(analytic, numeric, strict=True)]
    if any(wrong):
        paths = tree.paths(structure, argument_namer(f))
        table = "\n".join(
            f"  {path}: analytic {a:.12g}, numeric {n:.12g}{'  <- differs' if bad else ''}"
            for path, a, n, bad in zip(paths, analytic, numeric, wrong, strict=True)
        )
        raise errors.GradientError(f"analytic and numeric derivatives differ, along one direction per leaf:\n{table}")
