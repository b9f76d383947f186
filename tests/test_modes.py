"""Forward and reverse mode are two walks over one graph: over every row of the table they tell the same derivative."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import grad, hvp, jacfwd, jacrev, jvp, linearize, vjp
from fgrad.errors import LeafError, StructureError
from tests.oracles import close
from tests.sample import RTOL, Sample
from tests.test_ops import CONSTANT, NAMES, on_fgrad, over, pulled, some

ROWS = [name for name in NAMES if name not in CONSTANT]


def inner(x: Any, y: Any) -> float:
    return sum(float(np.sum(np.asarray(a) * np.asarray(b))) for a, b in zip(x, y, strict=True))


@over(NAMES)
def test_adjoint_identity(sample: Sample) -> None:
    """⟨w, J v⟩ = ⟨Jᵀ w, v⟩; and the tangent has the kind of its primal's result."""
    f, args = on_fgrad(sample), sample.args
    directions = tuple(some(x) for x in args)
    out: Any
    tangent: Any
    out, tangent = jvp(f, args, directions)
    assert np.shape(out) == np.shape(tangent)
    if np.asarray(out).dtype.kind != "f":
        return
    assert type(out) is type(tangent)
    w = some(out)
    _, found = pulled(f, args, w)
    left, right = inner((w,), (tangent,)), inner(found, directions)
    rtol = 1e-10 if sample.rtol == RTOL else 1e-6
    assert left == pytest.approx(right, rel=rtol, abs=rtol)


@over(ROWS)
def test_second_derivatives_agree_in_four_ways(sample: Sample) -> None:
    """For φ = Σ w·f: forward over reverse, reverse over forward, forward over forward, reverse over reverse."""
    f, args = on_fgrad(sample), sample.args
    w = some(vjp(f, *args)[0])
    v = tuple(some(x) for x in args)

    def phi(*args: Any) -> Any:
        return fgrad.sum(f(*args) * w)

    def along(*args: Any) -> Any:
        return jvp(phi, args, v)[1]

    def gradient_along(*args: Any) -> Any:
        return sum((fgrad.sum(g * d) for g, d in zip(vjp(phi, *args)[1](1.0), v, strict=True)), 0.0)

    many = tuple(range(len(args)))
    gradient: Callable[..., Any] = grad(phi, many)
    forward_reverse: Any = jvp(gradient, args, v)[1]
    reverse_forward: Any = grad(along, many)(*args)
    reverse_reverse: Any = grad(gradient_along, many)(*args)
    forward_forward: Any = jvp(along, args, v)[1]
    close(forward_reverse, reverse_forward, 1e-9, 1e-9)
    close(forward_reverse, reverse_reverse, 1e-9, 1e-9)
    assert inner(forward_reverse, v) == pytest.approx(float(forward_forward), rel=1e-8, abs=1e-8)


@over(ROWS)
def test_the_pushforward_is_linear_and_pure(sample: Sample) -> None:
    """J(2u - v) = 2 J u - J v, and each call gives the same bits as jvp."""
    f, args = on_fgrad(sample), sample.args
    u, v = (tuple(k * some(x) for x in args) for k in (1.0, 0.3))
    out: Any
    out, push = linearize(f, *args)
    close(out, jvp(f, args, u)[0])
    np.testing.assert_array_equal(push(*u), jvp(f, args, u)[1])
    both = tuple(2.0 * a - b for a, b in zip(u, v, strict=True))
    close(
        push(*both), 2.0 * np.asarray(push(*u)) - np.asarray(push(*v)), *(2 * [1e-9 if sample.rtol == RTOL else 1e-6])
    )


def test_a_pushforward_owns_what_it_captured() -> None:
    """What a user does later to their arrays does not change it."""
    x, c = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    _, push = linearize(lambda x: x * x * c, x)
    x *= 10
    c *= 10
    np.testing.assert_array_equal(push(np.ones(2)), [6.0, 16.0])


@pytest.mark.parametrize("inner_mode", ["forward", "reverse"])
@pytest.mark.parametrize("middle_mode", ["forward", "reverse"])
@pytest.mark.parametrize("outer_mode", ["forward", "reverse"])
def test_eight_triple_nestings_agree(inner_mode: str, middle_mode: str, outer_mode: str) -> None:
    """d³/dx³ of sin(x²) exp(x), with each derivative in a product with the outer's variable, in all eight ways."""

    def d(mode: str, f: Callable[[float], float]) -> Callable[[float], float]:
        return grad(f) if mode == "reverse" else lambda x: jvp(f, (x,), (1.0,))[1]

    def f(x: float) -> float:
        return fgrad.sin(x * x) * fgrad.exp(x)

    def third(outer: str, middle: str, inner: str) -> float:
        first = d(inner, f)
        second = d(middle, lambda x: x * first(x))
        return d(outer, lambda x: x * second(x))(0.7)

    reference = third("reverse", "reverse", "reverse")
    assert third(outer_mode, middle_mode, inner_mode) == pytest.approx(reference, rel=1e-13)
    step = 1e-5
    first = grad(f)
    second = grad(lambda x: x * first(x))
    numeric = ((0.7 + step) * second(0.7 + step) - (0.7 - step) * second(0.7 - step)) / (2 * step)
    assert reference == pytest.approx(numeric, rel=1e-8)


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x: x * jvp(lambda y: x + y, (1.0,), (1.0,))[1], 1.0),
        (lambda x: x * grad(lambda y: x * y)(2.0), 2.0),
        (lambda x: jvp(lambda y: x * y * y, (x,), (1.0,))[1], 4.0),
        (lambda x: jvp(lambda y: y * y, (x,), (x,))[1], 4.0),
        (lambda x: linearize(lambda y: x * y, 3.0)[1](x), 2.0),
    ],
)
def test_perturbation_confusion(f: Callable[[float], float], expected: float) -> None:
    """Inner and outer derivatives never mix, in any mix of modes; all at x = 1."""
    assert grad(f)(1.0) == expected
    assert jvp(f, (1.0,), (1.0,))[1] == expected


def test_strong_zero_in_all_mode_pairs() -> None:
    """where(x > 0, sqrt(x), 0) has derivatives 0 at 0, first and second, in every mix of modes."""

    def f(x: float) -> float:
        return fgrad.where(x > 0, fgrad.sqrt(x), 0.0)

    def forward(f: Callable[[float], float]) -> Callable[[float], float]:
        return lambda x: jvp(f, (x,), (1.0,))[1]

    assert grad(f)(0.0) == forward(f)(0.0) == 0.0
    for outer in (grad, forward):
        for inside in (grad, forward):
            assert outer(inside(f))(0.0) == 0.0


def test_hvp() -> None:
    """The Hessian-vector product has the shape of the gradient, and is the directional derivative of it."""
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(2, 5))

    def rosenbrock(x: Any) -> Any:
        return fgrad.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    product: Any = hvp(rosenbrock, (x,), (v,))
    h = 1e-5
    close(product, (grad(rosenbrock)(x + h * v) - grad(rosenbrock)(x - h * v)) / (2 * h), 1e-7, 1e-6)
    pair: Any = hvp(lambda p, y: p["a"] * p["a"] * y, ({"a": 2.0}, 3.0), ({"a": 1.0}, 10.0))
    assert pair == ({"a": 46.0}, 4.0)


def test_wrong_tangents() -> None:
    """A tangent of another structure, shape or kind is named by its path."""
    with pytest.raises(StructureError, match=r"tangents\[0\]\['a'\]"):
        jvp(lambda p: p["a"], ({"a": 1.0},), ({"b": 1.0},))
    with pytest.raises(StructureError, match=r"tangents\[0\] must have the shape \(2,\)"):
        jvp(lambda x: x, (np.ones(2),), (np.ones(3),))
    with pytest.raises(LeafError, match=r"tangents\[0\] must be a real number"):
        jvp(lambda x: x, (1.0,), ("t",))


EDGES: dict[str, tuple[Callable[[Any], Any], float, float]] = {  # at 0: the first derivative, and the second
    "norm": (lambda x: fgrad.norm(x), 0.0, np.inf),
    "norm of order 1": (lambda x: fgrad.norm(x, ord=1), 0.0, 0.0),
    "norm of order inf": (lambda x: fgrad.norm(x, ord=np.inf), 0.0, 0.0),
    "sqrt": (lambda x: fgrad.sum(fgrad.sqrt(x)), np.inf, -np.inf),
    "sqrt, times 0": (lambda x: fgrad.sum(fgrad.sqrt(x) * 0.0), 0.0, 0.0),
    "sqrt, not chosen": (lambda x: fgrad.sum(fgrad.where(x > 0, fgrad.sqrt(x), 0.0)), 0.0, 0.0),
    "max of equal ones": (lambda x: fgrad.max(x), 1 / 3, 0.0),
    "maximum at a tie": (lambda x: fgrad.sum(fgrad.maximum(x, 0.0)), 0.5, 0.0),
    "abs": (lambda x: fgrad.sum(fgrad.abs(x)), 0.0, 0.0),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges_in_all_modes(name: str) -> None:
    """What the conventions say of 0 holds in both modes, and the second derivative is one in all four mixes of them."""
    f, first, twice = EDGES[name]
    zero = np.zeros(3)
    for transform in (grad, jacfwd, jacrev):
        close(transform(f)(zero), np.full(3, first), 1e-15, 0)
    for outer in (jacfwd, jacrev):
        for inner in (jacfwd, jacrev):
            found: Any = outer(inner(f))(zero)
            close(found, np.diag(np.full(3, twice)), 0, 0)
