"""The tester is tested with wrong rules."""

import numpy as np
import pytest

import fgrad
from fgrad import check_grads
from fgrad.errors import GradientError
from fgrad.node import Op, apply
from fgrad.ops.rows import elementwise


def wrong(factor: float) -> Op:
    return elementwise("wrong", lambda x: x * x, (lambda ans, x: factor * x,), lambda xp, x: x * x)


def test_right_gradients_pass() -> None:
    check_grads(lambda x, y: {"a": fgrad.sin(x) * y, "b": [x, 3.0]}, (0.3, 2.0))
    check_grads(lambda p: fgrad.exp(p["w"]) @ p["v"], ({"w": np.ones((2, 3)), "v": np.arange(3.0)},))
    check_grads(lambda x: fgrad.sum(x**3), (np.array([0.5, 2.0], np.float32),))
    check_grads(lambda: 1.0, ())
    check_grads(lambda x: apply(wrong(2.0), (x,)), (3,))


@pytest.mark.parametrize("factor", [1.9999, 2.0001, -2.0, 0.0, np.nan])
@pytest.mark.parametrize("x", [3.0, np.array([1.0, 3.0])])
def test_wrong_gradients_are_shown_by_path(factor: float, x: object) -> None:
    """A partial that is wrong by 5e-5 is found, and both numbers are shown with the path of the leaf."""
    op = wrong(factor)
    with pytest.raises(GradientError) as caught:
        check_grads(lambda p, q: apply(op, (p["x"],)) + q, ({"x": x}, 1.0))
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("  p['x']: analytic ")
    assert lines[1].endswith("<- differs")
    assert "numeric" in lines[1]
    assert not lines[2].endswith("<- differs")
