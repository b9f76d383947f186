"""Solvers for small full-batch problems, by SciPy's hands: L-BFGS, and Levenberg and Marquardt's least squares.

Knows pytrees as vectors, and SciPy's answers as records; nothing of how SciPy searches.
"""

import math
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeAlias, TypeVar, cast

import attrs

from fgrad import errors, tree
from fgrad.arrays import copied, numpy
from fgrad.jacobians import jacobian
from fgrad.node import Arithmetic, Value, shape
from fgrad.ops.shaping import concat, reshape
from fgrad.optim.protocol import check_floating, kept
from fgrad.transforms import value_and_grad

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
R = TypeVar("R", bound=Arithmetic)
Floats: TypeAlias = "NDArray[np.float64]"

_NO_FALL: Final = 2.3e-16
"""A function that falls by a smaller part of itself does not fall in float64."""


@attrs.frozen(eq=False)
class Solution(Generic[T]):
    """Where a solver ended: the parameters, like those it began at, and how it got there."""

    params: T
    value: float
    """What was minimised, there."""
    steps: int
    gradient_norm: float
    """The Euclidean norm of the gradient, there."""
    converged: bool = tree.static()
    message: str = tree.static()
    """Why the solver stopped, in SciPy's words."""


def lbfgs(
    f: Callable[[T], R], params: T, *, max_steps: int = 1000, tolerance: float = 1e-8, memory: int = 10
) -> Solution[T]:
    """Minimise a function of a pytree by L-BFGS (Liu and Nocedal 1989; SciPy's L-BFGS-B, without bounds).

    It ends when no entry of the gradient is above `tolerance` in size, when f falls no more, or after `max_steps`;
    `memory` is how many of the last steps tell of the curvature. SciPy computes in float64, f in the parameters' own
    dtypes. Raises `LeafError` for a leaf that is no float, `ArgumentError` where there is none, or where f or its
    gradient is not finite at the start, and `MissingExtraError` without SciPy.

    >>> found = lbfgs(lambda p: (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2, {"x": -1.0, "y": 2.0})
    >>> round(found.params["x"], 6), round(found.params["y"], 6), found.converged
    (1.0, 1.0, True)
    """
    optimize, vector = _scipy("lbfgs"), _Vector.of(params)

    def flat(x: Floats) -> R:
        return f(vector.tree(x))

    both = value_and_grad(flat)
    value, gradient = both(vector.start)
    _check_start(f=value, gradient=gradient)
    found = optimize.minimize(
        both,
        vector.start,
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": max_steps, "maxfun": 25 * max_steps, "gtol": tolerance, "ftol": _NO_FALL, "maxcor": memory},
    )
    return _solution(vector, found, found.fun, found.nit, found.jac)


def levenberg_marquardt(
    residuals: Callable[[T], object], params: T, *, max_steps: int = 1000, tolerance: float = 1e-8
) -> Solution[T]:
    """Minimise half the sum of squared residuals, a pytree, by Levenberg and Marquardt's method (Moré 1978; MINPACK).

    It ends when the sum, the parameters, or the angle between residuals and Jacobian change by less than `tolerance`,
    or after `max_steps` evaluations. Raises what `lbfgs` does, and `StructureError` where there are fewer residuals
    than parameters.

    >>> import numpy as np
    >>> t = np.linspace(0.0, 1.0, 5)
    >>> y = 2.0 * np.exp(-3.0 * t)
    >>> found = levenberg_marquardt(lambda p: p["a"] * np.exp(-p["b"] * t) - y, {"a": 1.0, "b": 1.0})
    >>> round(found.params["a"], 6), round(found.params["b"], 6)
    (2.0, 3.0)
    """
    optimize, vector = _scipy("levenberg_marquardt"), _Vector.of(params)

    def flat(x: Floats) -> Floats:
        found = cast("list[Floats]", tree.leaves(residuals(vector.tree(x))))
        return concat([reshape(r, -1) for r in found])

    slopes = jacobian(flat)
    start = flat(vector.start)
    _check_start(residuals=start, jacobian=slopes(vector.start))
    if start.size < vector.start.size:
        raise errors.StructureError(
            f"{start.size} residuals do not determine {vector.start.size} parameters: add residuals, or write lbfgs"
        )
    found = optimize.least_squares(
        flat, vector.start, slopes, method="lm", max_nfev=max_steps, ftol=tolerance, xtol=tolerance, gtol=tolerance
    )
    return _solution(vector, found, found.cost, found.njev, found.grad)


@attrs.frozen(eq=False)
class _Vector(Generic[T]):
    """A pytree of floats as one vector of float64, and back."""

    like: list[object]
    structure: tree.Structure
    start: Floats

    @classmethod
    def of(cls, params: T) -> "_Vector[T]":
        np = numpy()
        check_floating(params)
        leaves, structure = tree.flatten(params)
        if not leaves:
            raise errors.ArgumentError("there is nothing to solve for: params have no leaves")
        return cls(leaves, structure, np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in leaves]))

    def tree(self, x: Floats) -> T:
        """The pytree that a vector, which may be traced, stands for."""
        parts: list[object] = []
        first = 0
        for leaf in self.like:
            last = first + math.prod(shape(leaf))
            parts.append(kept(cast("Value", reshape(x[first:last], shape(leaf))), leaf))
            first = last
        return cast("T", tree.unflatten(self.structure, parts))


class _Found(Protocol):
    """What SciPy's solvers answer."""

    x: Floats
    success: bool
    message: str


def _solution(vector: _Vector[T], found: _Found, value: float, steps: int, gradient: Floats) -> Solution[T]:
    params = tree.map(copied, vector.tree(found.x))
    norm = float(numpy().linalg.norm(gradient))
    return Solution(params, float(value), int(steps), norm, bool(found.success), str(found.message))


def _check_start(**found: object) -> None:
    for what, x in found.items():
        if not numpy().isfinite(x).all():
            raise errors.ArgumentError(f"{what} is not finite at the start: write params where it is")


def _scipy(who: str) -> ModuleType:
    try:
        import scipy.optimize
    except ImportError:
        raise errors.missing_extra("scipy", "scipy", who) from None
    return cast("ModuleType", scipy.optimize)
