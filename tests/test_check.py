"""The tester is tested: right rules pass every law, and each wrong rule is caught by the laws that it breaks."""

import re
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest

import fgrad
from fgrad import check, check_grads, cos, elementwise, grad, hessian, jvp, stop_gradient, vmap
from fgrad.errors import ArgumentError, BranchError, GradientError, LeafError
from fgrad.node import TABLE, apply, table
from fgrad.ops.rows import primitive
from tests.sample import RTOL
from tests.test_ops import NAMES, SAMPLES, on_fgrad

RNG = np.random.default_rng(0)
V3, M33, N33 = RNG.normal(size=3), RNG.normal(size=(3, 3)), RNG.normal(size=(3, 3))


def wrong(factor: float) -> Callable[[Any], Any]:
    """A square whose partial is right only for a factor of 2."""

    @elementwise(lambda ans, x: factor * x)
    def square(x: Any) -> Any:
        return x * x

    return square


def test_right_gradients_pass() -> None:
    check_grads(lambda x, y: {"a": fgrad.sin(x) * y, "b": [x, 3.0]}, (0.3, 2.0))
    check_grads(lambda p: fgrad.exp(p["w"]) @ p["v"], ({"w": np.ones((2, 3)), "v": np.arange(3.0)},))
    check_grads(lambda x: fgrad.sum(x**3), (np.array([0.5, 2.0], np.float32),))
    check_grads(lambda: 1.0, ())
    check_grads(wrong(2.0), (3,))


@pytest.mark.parametrize("factor", [1.9999, 2.0001, -2.0, 0.0, np.nan])
@pytest.mark.parametrize("x", [3.0, np.array([1.0, 3.0])])
def test_wrong_gradients_are_shown_by_path(factor: float, x: object) -> None:
    """A partial that is wrong by 5e-5 is found, and both numbers are shown with the path of the leaf."""
    square = wrong(factor)
    with pytest.raises(GradientError) as caught:
        check_grads(lambda p, q: square(p["x"]) + q, ({"x": x}, 1.0))
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("  p['x']: analytic ")
    assert lines[1].endswith("<- differs")
    assert "numeric" in lines[1]
    assert not lines[2].endswith("<- differs")


def test_an_own_row_serves_every_transform() -> None:
    """One partial, written once: reverse, forward, second order, batched, on floats and arrays."""

    @elementwise(lambda ans, x, y: y * ans / x, lambda ans, x, y: ans * fgrad.log(x))
    def power(x: Any, y: Any) -> Any:
        return x**y

    call: Callable[..., Any] = power
    both: Callable[..., Any] = grad(power, (0, 1))
    xs = np.array([0.5, 2.0, 3.0])
    check_grads(power, (1.5, 2.5))
    check_grads(power, (xs, 2.0))
    assert both(2.0, 3.0) == (12.0, 8.0 * np.log(2.0))
    assert jvp(power, (2.0, 3.0), (1.0, 0.0))[1] == 12.0
    second: Any = hessian(power)(2.0, 3.0)
    assert second == pytest.approx(12.0)
    np.testing.assert_allclose(vmap(grad(power), (0, None))(xs, 2.0), 2 * xs)
    with pytest.raises(fgrad.errors.ArgumentError, match="2 partials"):
        call(1.0)


def test_stop_gradient() -> None:
    """What is stopped is a constant to derivatives of every order, in every mode, whole trees at once."""
    assert grad(lambda x: x * stop_gradient(x) ** 2)(3.0) == 9.0
    once: Callable[[float], float] = grad(lambda x: x * stop_gradient(x) ** 2)
    twice = grad(once)
    assert twice(3.0) == 0.0
    assert jvp(lambda x: stop_gradient(x) + x, (3.0,), (1.0,)) == (6.0, 1.0)
    assert grad(lambda x: grad(lambda y: stop_gradient(x) * y * y)(1.0) + x)(3.0) == 1.0
    assert grad(lambda p: stop_gradient(p)["a"] * p["b"])({"a": 2.0, "b": 3.0}) == {"a": 0.0, "b": 2.0}
    np.testing.assert_array_equal(vmap(grad(lambda x: stop_gradient(x) * x))(np.arange(3.0)), np.arange(3.0))
    assert stop_gradient({"a": 1.0, "s": "text"}) == {"a": 1.0, "s": "text"}


# --- the laws --------------------------------------------------------------------------------------------------------
def rule(impl: Callable[..., Any], vjps: tuple[Any, ...], jvps: tuple[Any, ...], batch: Any = None) -> Any:
    """Make a function with its own row, which does not stay in the table."""
    op = primitive("of_a_test", impl, vjps=vjps, jvps=jvps, batch=batch)
    del table[op.name]
    return lambda *args: apply(op, args)


def sine(vjp: Callable[..., Any], jvp: Callable[..., Any]) -> Any:
    return rule(fgrad.sin, (vjp,), (jvp,))


def carried(g: Any, ans: Any, x: Any) -> Any:
    return g * cos(x)


def constant(g: Any, ans: Any, x: Any) -> Any:
    return g * stop_gradient(cos(x))


def product(vjp: tuple[Any, Any]) -> Any:
    """Make a product of two matrices with these transposes."""
    right = (lambda t, ans, x, y: t @ y, lambda t, ans, x, y: x @ t)
    return rule(lambda x, y: x @ y, vjp, right, fgrad.node.TABLE["matmul"].batch)


def reversal(batch: Any = None) -> Any:
    """Make a row that turns around all axes of an array."""
    turn: Any = rule(np.flip, (lambda g, ans, x: turn(g),), (lambda t, ans, x: turn(t),), batch)
    return turn


def turned(op: Any, args: Any, batched: Any, params: Any, size: int) -> Any:
    """All axes but the batch axis."""
    return fgrad.flip(args[0], axis=tuple(range(1, np.ndim(args[0]))))


def times(of_x: Any, of_y: Any) -> Any:
    return elementwise(of_x, of_y)(lambda x, y: x * y)


def branching(x: Any, y: Any) -> Any:
    return x * y if x > 0 else y


def with_pullback(backward: Callable[[Any, Any], Any]) -> Any:
    """Make a sine with a rule of the user's own, on residuals and cotangent."""
    f = fgrad.custom_vjp(lambda x: fgrad.sin(x))
    f.defvjp(lambda x: (fgrad.sin(x), x), lambda x, g: (backward(x, g),))
    return lambda x: f(x)


def with_pushforward(rule: Callable[[Any, Any], Any]) -> Any:
    """Make a sine with a rule of the user's own, on primal and tangent."""
    f = fgrad.custom_jvp(lambda x: fgrad.sin(x))
    f.defjvp(lambda primals, tangents: (fgrad.sin(*primals), rule(*primals, *tangents)))
    return lambda x: f(x)


@attrs.frozen
class Model:
    w: Any
    b: Any = 0.5
    name: str = fgrad.tree.static("model")


right_product = product((lambda g, ans, x, y: g @ y.T, lambda g, ans, x, y: x.T @ g))

RIGHT: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "a partial": (wrong(2.0), (3.0,)),
    "a partial, on an array": (wrong(2.0), (V3,)),
    "an integer": (wrong(2.0), (3,)),
    "integers": (lambda x, n: x**n, (np.array([1.0, 2.0]), np.array([2, 3]))),
    "a primitive": (sine(carried, carried), (0.3,)),
    "a custom_vjp": (with_pullback(lambda x, g: g * cos(x)), (V3,)),
    "a custom_jvp": (with_pushforward(lambda x, t: t * cos(x)), (V3,)),
    "two partials": (times(lambda ans, x, y: y, lambda ans, x, y: x), (V3, 2.0)),
    "a bilinear row": (right_product, (M33, N33)),
    "a batch rule": (reversal(turned), (M33,)),
    "float32": (lambda x, y: fgrad.tanh(x @ y), (M33.astype(np.float32), V3.astype(np.float32))),
    "float16": (lambda x: x * x, (np.arange(3, dtype=np.float16),)),
    "a NumPy scalar": (fgrad.exp, (np.float32(0.3),)),
    "a 0-d array": (fgrad.exp, (np.array(0.3),)),
    "an empty array": (lambda x: fgrad.sum(x * x), (np.zeros((0, 3)),)),
    "many numbers": (lambda x, y: fgrad.softmax(x @ y), (RNG.normal(size=(9, 5)), RNG.normal(size=(5, 7)))),
    "pytrees": (lambda m, p: {"y": m.w * p["x"], "k": 3, "m": attrs.evolve(m, w=p["x"] ** 2)}, (Model(V3), {"x": 2.0})),
    "a result that is no float": (lambda x: (fgrad.argmax(x), x * x, 7), (V3,)),
    "no result that is a float": (fgrad.argmax, (V3,)),
    "no input": (lambda: 2.0, ()),
    "a branch": (branching, (2.0, 3.0)),
    "a shape from the data": (lambda x: x[x > -9] ** 2, (V3,)),
    "a constant": (lambda x: (0.0 * x + 1e9, 3.0), (2.0,)),
    "a sum that cancels": (lambda x: fgrad.sum(fgrad.softmax(x)), (V3,)),
}

EVERY = {"differences", "adjoint", "linearity", "chain_rule", "modes", "symmetry", "batching"}
DISAGREE = {"differences", "adjoint", "modes", "symmetry"}

WRONG: dict[str, tuple[Callable[..., Any], tuple[Any, ...], set[str]]] = {
    # what is wrong: (a function, its arguments, the laws that it breaks)
    "vjp, by a factor": (sine(lambda g, ans, x: 2.0 * g * cos(x), carried), (0.3,), DISAGREE),
    "vjp, by 1e-6": (sine(lambda g, ans, x: 1.000001 * g * cos(x), carried), (0.3,), DISAGREE),
    "jvp, by a factor": (sine(carried, lambda t, ans, x: 2.0 * t * cos(x)), (0.3,), DISAGREE),
    "jvp, of another function": (sine(carried, lambda t, ans, x: t * ans), (V3,), DISAGREE),
    "both, alike": (wrong(2.1), (V3,), {"differences"}),
    "vjp forgets g": (sine(lambda g, ans, x: cos(x), carried), (0.3,), EVERY - {"batching", "modes"}),
    "vjp takes |g|": (sine(lambda g, ans, x: fgrad.abs(g) * cos(x), carried), (V3,), EVERY - {"batching", "modes"}),
    "vjp adds to g": (sine(lambda g, ans, x: (g + 0.1) * cos(x), carried), (V3,), EVERY - {"batching"}),
    "jvp forgets t": (sine(carried, lambda t, ans, x: cos(x)), (0.3,), EVERY - {"batching", "modes"}),
    "jvp squares t": (sine(carried, lambda t, ans, x: t * t * cos(x)), (V3,), EVERY - {"batching", "modes"}),
    "second derivative, of the vjp": (sine(constant, carried), (0.3,), {"differences", "symmetry"}),
    "second derivative, of the jvp": (sine(carried, constant), (V3,), {"differences", "symmetry"}),
    "second derivative, of both": (sine(constant, constant), (V3,), {"differences"}),
    "one mixed second derivative": (
        times(lambda ans, x, y: stop_gradient(y), lambda ans, x, y: x),
        (2.0, 3.0),
        {"differences", "symmetry"},
    ),
    "no batch rule": (reversal(), (V3,), {"batching", "chain_rule"}),
    "transposes are swapped": (
        product((lambda g, ans, x, y: x.T @ g, lambda g, ans, x, y: g @ y.T)),
        (M33, N33),
        DISAGREE,
    ),
    "a transpose is not transposed": (
        product((lambda g, ans, x, y: g @ y, lambda g, ans, x, y: x.T @ g)),
        (M33, N33),
        DISAGREE,
    ),
    "a custom_vjp, by a factor": (with_pullback(lambda x, g: 1.1 * g * cos(x)), (V3,), {"differences"}),
    "a custom_jvp, by a factor": (with_pushforward(lambda x, t: 1.1 * t * cos(x)), (V3,), {"differences"}),
    "a custom_vjp that clips g": (
        with_pullback(lambda x, g: fgrad.clip(g * cos(x), -0.9, 0.9)),
        (V3,),
        EVERY - {"batching"},
    ),
    "a custom_jvp that clips t": (
        with_pushforward(lambda x, t: fgrad.clip(t * cos(x), -0.9, 0.9)),
        (V3,),
        EVERY - {"batching"},
    ),
    "a result is cut off": (lambda x, y: stop_gradient(x) * y, (2.0, 3.0), {"differences"}),
}


def broken(f: Callable[..., Any], args: tuple[Any, ...]) -> set[str]:
    found = set()
    for law in check.LAWS:
        try:
            law(f, args)
        except GradientError:
            found.add(law.__name__)
    return found


@pytest.mark.parametrize("name", RIGHT)
def test_right_rules_pass_every_law(name: str) -> None:
    f, args = RIGHT[name]
    for seed in range(3):
        check.laws(f, args, seed=seed)
        check_grads(f, args, 3, seed=seed)


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_rule_is_caught_by_the_laws_it_breaks(name: str) -> None:
    """By these, by no other; and `laws` tells of all of them at once."""
    f, args, expected = WRONG[name]
    assert broken(f, args) == expected
    with pytest.raises(GradientError) as caught:
        check.laws(f, args)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{len(expected)} of 7 laws {'is' if len(expected) == 1 else 'are'} broken"
    assert {line.partition(":")[0] for line in lines[1:] if not line.startswith(" ")} == expected
    assert any(line.endswith("  <- differs") for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_obeys_the_laws(name: str) -> None:
    """As users run them on their own rules; `differences` apart, since some samples lie at kinks."""
    sample = SAMPLES[name][-1]
    for law in check.LAWS[1:]:
        law(on_fgrad(sample), sample.args, rtol=None if sample.rtol == RTOL else 1e-6)


def test_every_law_catches_a_wrong_rule() -> None:
    assert {law.__name__ for law in check.LAWS} == EVERY == set().union(*[laws for _, _, laws in WRONG.values()])
    assert "of_a_test" not in TABLE


DOUBLE = sine(lambda g, ans, x: 2.0 * g * cos(x), carried)
UNMOVED = sine(lambda g, ans, x: cos(x), carried)
HALF_STOPPED = times(lambda ans, x, y: stop_gradient(y), lambda ans, x, y: x)

VIOLATIONS: list[tuple[Callable[..., None], Callable[[Any], Any], list[str]]] = [
    (
        check.adjoint,
        lambda p: DOUBLE(p["a"]),
        ["⟨w, J v⟩ = ⟨Jᵀ w, v⟩", "jvp and the vjp of a rule disagree", "p['a']: ⟨w"],
    ),
    (
        check.modes,
        lambda p: [DOUBLE(p["a"])],
        ["different Jacobians", "disagree", "result[0] by p['a'][0, 0]: forward "],
    ),
    (
        check.linearity,
        lambda p: UNMOVED(p["a"]),
        ["not linear in its cotangent g", "multiply with g", "p['a'][0]: at the"],
    ),
    (
        check.chain_rule,
        lambda p: UNMOVED(p["a"]),
        ["product of its pieces", "reverse mode", "result by p['a']["],
    ),
    (
        check.symmetry,
        lambda p: DOUBLE(p["a"]),
        ["between reverse over forward and", "different derivatives", "p['a']: "],
    ),
    (check.symmetry, lambda p: HALF_STOPPED(*p.values()), ["not symmetric", "cut off", "p['b'] and p['a']: ⟨u, H v⟩ "]),
    (
        check.batching,
        lambda p: reversal()(p["a"]),
        ["vmap of the value over p['a'], p['b'] is not", "batch rule", "result["],
    ),
]


@pytest.mark.parametrize(("law", "f", "parts"), VIOLATIONS, ids=[parts[0] for _, _, parts in VIOLATIONS])
def test_a_violation_says_what_where_and_why(
    law: Callable[..., None], f: Callable[[Any], Any], parts: list[str]
) -> None:
    """The law in words, what its violation likely means, the path, and both numbers."""
    with pytest.raises(GradientError) as caught:
        law(f, ({"a": np.array([0.3, 0.4]), "b": 1.0},))
    for part in parts:
        assert part in str(caught.value)
    found = re.search(r" (-?[\d.]+), .* (-?[\d.]+)  <- differs", str(caught.value))
    assert found is not None
    assert float(found[1]) != float(found[2])


# --- order and modes -------------------------------------------------------------------------------------------------
def test_each_order_is_checked_in_the_modes_asked_for() -> None:
    """A derivative that is wrong first at order n passes at order n - 1, and the error says order and modes."""
    flat = sine(constant, constant)  # right at order 1 alone
    slope = sine(lambda g, ans, x: g * flat(x + np.pi / 2), lambda t, ans, x: t * flat(x + np.pi / 2))
    check_grads(flat, (0.3,), 1)
    check_grads(slope, (0.3,), 2)
    for f, order in ((flat, 2), (flat, 3), (slope, 3)):
        with pytest.raises(GradientError, match=f"of order {2 if f is flat else 3}, in reverse over "):
            check_grads(f, (0.3,), order)
    backward = sine(lambda g, ans, x: 2.0 * g * cos(x), carried)
    check_grads(backward, (0.3,), 3, ("fwd",))
    with pytest.raises(GradientError, match="order 1, in reverse mode"):
        check_grads(backward, (0.3,), 1, ("rev",))
    half = sine(carried, lambda t, ans, x: t * stop_gradient(cos(x)))
    check_grads(half, (0.3,), 3, ("rev",))
    check_grads(half, (0.3,), 1)
    with pytest.raises(GradientError, match="order 2, in forward over forward mode"):
        check_grads(half, (0.3,), 2, ("fwd",))
    with pytest.raises(GradientError, match="order 2, in reverse over forward mode"):
        check_grads(half, (0.3,))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_tolerances_follow_the_precision(dtype: type) -> None:
    """To third order: right derivatives pass in every precision, and such as are wrong by a quarter do not."""
    x: Any = V3.astype(dtype)
    y: Any = N33.astype(dtype)
    check_grads(lambda x, y: fgrad.sin(x) @ fgrad.tanh(y), (x, y), 3)
    for factor in (1.5, 2.5):
        with pytest.raises(GradientError):
            check_grads(wrong(factor), (x,))
    with pytest.raises(GradientError):
        check_grads(wrong(2.0), (x,), rtol=1e-20)
    check_grads(wrong(2.2), (x,), rtol=0.5)  # of all orders


def test_the_seed_draws_the_directions() -> None:
    """One seed gives one message, to the last digit; another gives another."""

    def message(seed: int) -> str:
        with pytest.raises(GradientError) as caught:
            check.laws(wrong(2.1), (V3,), seed=seed)
        return str(caught.value)

    assert message(0) == message(0) != message(1)


def test_wrong_calls() -> None:
    order: Any
    modes: Any
    for order in (0, -1, 1.5, True):
        with pytest.raises(ArgumentError, match="write order=1"):
            check_grads(cos, (1.0,), order)
    for modes in ("rev", (), ("rev", "forward"), ["both"]):
        with pytest.raises(ArgumentError, match='"rev" and "fwd"'):
            check_grads(cos, (1.0,), modes=modes)
    for call in (check_grads, check.laws, check.batching):
        with pytest.raises(LeafError, match=r"p\['a'\] is bool True"):
            call(lambda p: p["a"] * 1.0, ({"a": True},))


def test_a_rule_that_branches_on_values_has_no_batch() -> None:
    """Where f itself decides by a value vmap has no meaning; where a rule does, its error is seen."""
    check.batching(branching, (2.0, 3.0))
    decides = sine(lambda g, ans, x: g * cos(x) if x > 0 else -g * -cos(x), carried)
    check.adjoint(decides, (0.3,))
    with pytest.raises(BranchError, match=r"fgrad\.where"):
        check.batching(decides, (0.3,))


def test_nan_is_never_right() -> None:
    """A derivative that is nan, or a point where f is, passes no numeric check."""
    for f, x in ((wrong(np.nan), 3.0), (fgrad.sqrt, -1.0), (fgrad.log, 0.0)):
        with pytest.raises(GradientError, match=r"nan|inf"):
            check_grads(f, (x,))


def test_check_is_public() -> None:
    assert {law.__name__ for law in check.LAWS} | {"laws", "check_grads"} == set(check.__all__)
    assert fgrad.check.check_grads is fgrad.check_grads
    assert all(getattr(fgrad.check, name).__doc__ for name in check.__all__)


@pytest.mark.parametrize("checked", [check.laws, check_grads])
def test_arguments_are_a_tuple(checked: Any) -> None:
    """A lone argument says how it is written."""
    with pytest.raises(ArgumentError, match=r"write \(x,\), not float 2\.0"):
        checked(fgrad.sin, 2.0)
