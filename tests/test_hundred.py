"""The hundred lines of docs/explanation: they are what the page builds, and they agree with the library."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from docs.explanation import hundred

import fgrad

FOLDER: Final = Path(__file__).parents[1] / "docs" / "explanation"
FILE: Final = FOLDER / "hundred.py"
_BLOCK: Final = re.compile(r"^```python\n(.*?)^```\n(\n```text\n)?", re.DOTALL | re.MULTILINE)


Function = Callable[..., Any]  # of either library's values


def _rosenbrock(x: Any, y: Any) -> Any:
    return (1.0 - x) ** 2 + 100.0 * (y - x * x) ** 2


def _quotient(x: Any, y: Any) -> Any:
    return (x * y - 2.0) / (x + y**2) - 1 / (2.0 - -y)


def _power(x: Any, y: Any) -> Any:
    return x**y + 2.0**x


def _branches(x: Any, y: Any) -> Any:
    total = x
    while total < 10.0:
        total = total + x * y
    return total if x > y else -total


def _constant(x: Any, y: Any) -> Any:
    return 3.0


FUNCTIONS: Final[list[Function]] = [_rosenbrock, _quotient, _power, _branches, _constant]
POINTS: Final = [(1.3, 2.1), (2.5, 0.7)]
every_function = pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__.strip("_"))
every_point = pytest.mark.parametrize("point", POINTS, ids=str)


def _close(found: object, expected: object) -> None:
    assert found == pytest.approx(expected, rel=1e-13, abs=1e-13)


def test_there_are_a_hundred_lines_at_most() -> None:
    assert len(FILE.read_text(encoding="utf-8").splitlines()) <= 100


def test_the_file_is_what_the_page_builds() -> None:
    """The blocks that print nothing, in order, are the file."""
    page = (FOLDER / "hundred-lines.md").read_text(encoding="utf-8")
    pieces = [code.rstrip("\n") for code, output in _BLOCK.findall(page) if not output]
    assert "\n\n\n".join(pieces) + "\n" == FILE.read_text(encoding="utf-8")


@every_function
@every_point
def test_values_and_gradients_are_the_librarys(f: Function, point: tuple[float, float]) -> None:
    value, gradients = hundred.value_and_grads(f, *point)
    expected, slopes = fgrad.value_and_grad(f, (0, 1))(*point)
    _close((value, *gradients), (expected, *slopes))


@every_function
@every_point
def test_derivatives_of_derivatives_are_the_librarys(f: Function, point: tuple[float, float]) -> None:
    ours, theirs = hundred.grad, fgrad.grad
    _close(ours(ours(f))(*point), theirs(theirs(f))(*point))
    _close(ours(ours(ours(f)))(*point), theirs(theirs(theirs(f)))(*point))


@every_function
@every_point
def test_forward_mode_is_the_librarys(f: Function, point: tuple[float, float]) -> None:
    tangents = (0.5, -2.0)
    _close(hundred.jvp(f, [*point], [*tangents]), fgrad.jvp(f, point, tangents))


@every_function
@every_point
def test_the_modes_compose(f: Function, point: tuple[float, float]) -> None:
    """Forward over reverse, reverse over forward and forward over forward are one number."""
    x, y = point
    tangents: list[hundred.Value] = [1.0, 0.0]
    expected = fgrad.jvp(fgrad.grad(f), point, (1.0, 0.0))[1]
    _close(hundred.jvp(hundred.grad(f), [x, y], tangents)[1], expected)
    _close(hundred.grad(lambda x: hundred.jvp(f, [x, y], tangents)[1])(x), expected)
    _close(hundred.jvp(lambda x: hundred.jvp(f, [x, y], tangents)[1], [x], [1.0])[1], expected)


@pytest.mark.parametrize("grad", [fgrad.grad, hundred.grad])
def test_perturbations_are_not_confused(grad: Callable[[Function], Function]) -> None:
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert grad(lambda x: x * grad(lambda y: x * y)(2.0))(3.0) == 6.0


def test_a_row_of_ones_own_has_derivatives_of_every_order() -> None:
    tanh = hundred.Op(math.tanh, (lambda ans, x: 1 - ans * ans,))
    for order in range(5):
        ours: Function = tanh
        theirs: Function = fgrad.tanh
        for _ in range(order):
            ours, theirs = hundred.grad(ours), fgrad.grad(theirs)
        _close(ours(0.5), theirs(0.5))


def test_long_chains_need_no_recursion() -> None:
    def chain(x: Any) -> Any:
        for _ in range(20_000):
            x = x + 1.0
        return x

    assert hundred.grad(chain)(0.0) == 1.0


def test_nothing_is_written_to_a_node() -> None:
    node = hundred.Node(1.0, 0)
    with pytest.raises(AttributeError):
        node.value = 2.0  # type: ignore[misc]  # which is the point
