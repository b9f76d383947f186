"""The tester is tested with wrong rules."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import check_grads, elementwise, grad, hessian, jvp, stop_gradient, vmap
from fgrad.errors import GradientError


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
