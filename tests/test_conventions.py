"""The numerical conventions, each a test: IEEE values, kinds of leaves, kinks and ties, the strong zero, limits."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import grad, value_and_grad, vjp
from fgrad.errors import LeafError, MissingExtraError
from tests.oracles import close

Function = Callable[..., Any]
inf, nan = math.inf, math.nan


def of(code: str) -> Function:
    """Make a function of x of a line of code, in fgrad's names: tables of lines make readable names of tests."""
    function: Function = eval(f"lambda x: {code}", {**vars(fgrad), "np": np, "inf": inf, "nan": nan})
    return function


def derivative(f: Function) -> Function:
    return lambda x: grad(f)(x)


def first_order(f: Function, *point: float) -> tuple[float, ...]:
    """Differentiate f at a point, on floats and on arrays; both must agree, and only f itself may warn on arrays."""
    floats: Any = vjp(f, *point)[1](1.0)
    assert {type(g) for g in floats} == {float}
    with np.errstate(all="ignore"):
        pullback: Any = vjp(f, *(np.full(3, x) for x in point))[1]
    with np.errstate(all="raise"):
        arrays: Any = pullback(np.ones(3))
    for a, g in zip(arrays, floats, strict=True):
        np.testing.assert_allclose(a, np.full(3, g), rtol=1e-15, atol=0)
    found: tuple[float, ...] = floats
    return found


def second_order(f: Function, x: float) -> float:
    """Differentiate f twice by nesting, on a float and on arrays, which must agree."""
    gradient: Any = grad(lambda x: grad(f)(x))
    with np.errstate(all="ignore"):
        arrays: Any = grad(lambda x: fgrad.sum(grad(lambda x: fgrad.sum(f(x)))(x)))(np.full(3, x))
    number: float = gradient(x)
    np.testing.assert_allclose(arrays, np.full(3, number), rtol=1e-12, atol=0)
    return number


# --- IEEE values -----------------------------------------------------------------------------------------------------
IEEE: list[tuple[str, float, float]] = [
    ("exp(x)", 1000.0, inf),
    ("exp(x)", -1000.0, 0.0),
    ("expm1(x)", 1000.0, inf),
    ("sinh(x)", -1000.0, -inf),
    ("cosh(x)", 1000.0, inf),
    ("square(x)", 1e200, inf),
    ("log(x)", 0.0, -inf),
    ("log(x)", -1.0, nan),
    ("log2(x)", 0.0, -inf),
    ("log10(x)", -0.0, -inf),
    ("log1p(x)", -1.0, -inf),
    ("log1p(x)", -2.0, nan),
    ("sqrt(x)", -1.0, nan),
    ("reciprocal(x)", 0.0, inf),
    ("asin(x)", 2.0, nan),
    ("acos(x)", -2.0, nan),
    ("acosh(x)", 0.5, nan),
    ("atanh(x)", 1.0, inf),
    ("atanh(x)", 2.0, nan),
    ("sin(x)", inf, nan),
    ("cos(x)", -inf, nan),
    ("tan(x)", inf, nan),
    ("floor(x)", inf, inf),
    ("ceil(x)", -inf, -inf),
    ("round(x)", nan, nan),
    ("relu(x)", nan, nan),
    ("sign(x)", nan, nan),
    ("sigmoid(x)", -1000.0, 0.0),
    ("sigmoid(x)", 1000.0, 1.0),
    ("softplus(x)", -1000.0, 0.0),
    ("softplus(x)", 1000.0, 1000.0),
    ("1 / x", 0.0, inf),
    ("-1 / x", 0.0, -inf),
    ("1 / x", -0.0, -inf),
    ("x / x", 0.0, nan),
    ("x ** (1 / 3)", -8.0, nan),
    ("x**-1", 0.0, inf),
    ("x**2", 1e200, inf),
    ("10.0**x", 1000.0, inf),
    ("(-8.0) ** x", 1 / 3, nan),
    ("x * x", 1e200, inf),
    ("x % 0.0", 1.0, nan),
    ("x // 0.0", 1.0, inf),
    ("maximum(x, nan)", 1.0, nan),
    ("minimum(nan, x)", 1.0, nan),
    ("logaddexp(x, x)", inf, inf),
    ("logaddexp(x, x)", -inf, -inf),
    ("logaddexp(x, 1.0)", -inf, 1.0),
    ("atan2(x, 0.0)", 0.0, 0.0),
    ("erf(x)", -inf, -1.0),
    ("erf(x)", nan, nan),
    ("erfc(x)", 1e200, 0.0),
    ("lgamma(x)", 0.0, inf),
    ("lgamma(x)", -2.0, inf),
    ("lgamma(x)", 1e308, inf),
    ("lgamma(x)", nan, nan),
    ("digamma(x)", 0.0, -inf),
    ("digamma(x)", -1.0, nan),
    ("polygamma(1, x)", 0.0, inf),
]


@pytest.mark.parametrize(("code", "x", "expected"), IEEE)
def test_values_are_ieee(code: str, x: float, expected: float) -> None:
    """Overflow is inf, a pole ±inf, what is undefined nan, on floats and on arrays: no exception, no complex number."""
    f = of(code)
    value: Any = vjp(f, x)[0]
    assert type(value) is float
    with np.errstate(all="ignore"):
        array: Any = vjp(f, np.full(3, x))[0]
    np.testing.assert_equal(value, expected)
    np.testing.assert_equal(array, np.full(3, expected))


@pytest.mark.parametrize(("code", "x"), [(code, x) for code, x, _ in IEEE])
def test_derivatives_at_poles_neither_raise_nor_warn(code: str, x: float) -> None:
    """Derivative work raises and warns of nothing, to second order, on floats and arrays, whatever np.errstate says."""
    first_order(of(code), x)
    second_order(of(code), x)


DERIVATIVES_AT_POLES: list[tuple[str, float, float]] = [
    ("exp(x)", 1000.0, inf),
    ("log(x)", 0.0, inf),
    ("sqrt(x)", 0.0, inf),
    ("1 / x", 0.0, -inf),
    ("x ** (1 / 3)", -8.0, nan),
    ("x ** (1 / 3)", 0.0, inf),
    ("asin(x)", 1.0, inf),
    ("acosh(x)", 1.0, inf),
    ("sigmoid(x)", -1000.0, 0.0),
    ("tanh(x)", 1000.0, 0.0),
    ("relu(x)", nan, 0.0),
    ("erf(x)", 1e200, 0.0),
    ("lgamma(x)", 0.0, -inf),
    ("lgamma(x)", -2.0, nan),
    ("digamma(x)", 0.0, inf),
]


@pytest.mark.parametrize(("code", "x", "expected"), DERIVATIVES_AT_POLES)
def test_derivatives_at_poles(code: str, x: float, expected: float) -> None:
    """At a pole the derivative is the limit, ±inf where that is infinite, nan where there is none."""
    np.testing.assert_equal(first_order(of(code), x), (expected,))


# --- kinds of leaves -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("x", [3, np.int64(3), np.uint8(3), np.array([3, 4]), np.array(3, np.int8)])
def test_integers_are_taken_as_floats(x: Any) -> None:
    """An integer is differentiated as the float that it stands for; a Python int gives a Python float."""
    half_square: Function = lambda x: fgrad.sum(x * x / 2)
    gradient: Any = grad(half_square)(x)
    close(gradient, x * 1.0)
    assert type(gradient) is float if type(x) is int else gradient.dtype == np.float64


BAD_LEAVES: list[Any] = [
    *(True, np.bool_(True), np.array([True]), "tanh", b"b", 1j, np.complex64(1), np.array([1j])),
    *(object(), Fraction(1, 2), {1.0}, np.array([1.0, None]), np.array(["a"]), np.datetime64("2020-01-01")),
    np.ma.masked_array([1.0, 2.0], [False, True]),
]


@pytest.mark.parametrize("leaf", BAD_LEAVES, ids=repr)
def test_bad_leaves_are_named_by_path(leaf: Any) -> None:
    """What is no real number or array of them is an error that names the path of the leaf."""
    first: Function = lambda params: params["w"][0]
    with pytest.raises(LeafError, match=r"params\['w'\]\[1\] is .* which has no derivative: "):
        grad(first)({"w": (1.0, leaf)})
    with pytest.raises(LeafError, match=r"^argument 0 is|^x is"):
        vjp(lambda x: 1.0, leaf)


@pytest.mark.parametrize("constant", [1j, np.complex128(1 + 1j), np.array([1j, 1.0])], ids=repr)
def test_complex_constants_are_refused(constant: Any) -> None:
    """A complex number that meets a traced value raises: its imaginary part would be dropped on the way back."""
    for x in (1.0, np.ones(2)):
        with pytest.raises(TypeError):
            grad(lambda x: fgrad.sum(abs(x * constant)))(x)


def test_a_complex_cotangent_is_refused() -> None:
    """A cotangent is real: a complex one raises, and loses no imaginary part."""
    _, pullback = vjp(lambda x: 2 * x, np.ones(2))
    with pytest.raises(LeafError, match="cotangent"):
        pullback(np.array([1j, 1.0]))


DTYPE_FUNCTIONS: list[str] = [
    "exp(x) * 2.0",
    "np.where(x > 0, 1.0, 0.0) * x",
    "x * np.ones((3, 2))",
    "x @ np.ones((2, 2))",
    "maximum(x, np.float64(0.3)) ** 2",
    "mean(x, keepdims=True) - x / 3",
    "concat([x, np.zeros(1)])",
    "x[np.array([0, 0, 1])] ** 0.5",
    "logsumexp(x) * softmax(x)",
    "astype(x, np.float64) ** 2",
    "norm(x) * std(x)",
    "erf(x) * erfc(x)",
    "lgamma(x) * digamma(x)",
    "polygamma(1, x)",
    "einsum('i,j,j->i', x, x, x)",
    "convolve(x, x)",
    "interp(x, x * 2, x)",
    "pad(x, 2, mode='wrap') ** 2",
]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("code", DTYPE_FUNCTIONS)
def test_dtype_is_kept(code: str, dtype: type) -> None:
    """A gradient has the dtype of what was differentiated, to second order, whatever NumPy promoted on the way."""
    x: Any = np.array([0.25, 0.5], dtype)
    f = of(code)
    gradient: Function = grad(lambda x: fgrad.sum(f(x)))
    again: Function = grad(lambda x: fgrad.sum(gradient(x) ** 2))
    assert gradient(x).dtype == again(x).dtype == dtype
    close(gradient(x), gradient(x.astype(np.float64)), 5e-3)


@pytest.mark.parametrize("x", [1.5, np.float32(1.5), np.float16(1.5), np.array(1.5, np.float32)], ids=repr)
def test_kinds_of_numbers_are_kept(x: Any) -> None:
    """A Python float comes back as a Python float, a NumPy scalar as such, a 0-d array as such: to second order."""

    def f(x: Any) -> Any:
        return fgrad.sum(np.exp(np.ones(3) * x)) + np.float64(2.0) * x * np.stack([x, 1.0])[0]

    for gradient in (grad(f), grad(lambda x: grad(f)(x))):
        assert type(gradient(x)) is type(x)
        assert np.result_type(gradient(x)) == np.result_type(x)


# --- kinks and ties --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("x", [0.0, -0.0])
@pytest.mark.parametrize("f", [fgrad.relu, fgrad.abs, fgrad.sign, lambda x: abs(x), lambda x: fgrad.norm(x, ord=1)])
def test_derivatives_at_kinks_are_zero(f: Function, x: float) -> None:
    """The derivative of relu, abs and sign at 0 is 0, and so is the second."""
    assert grad(f)(x) == 0.0
    assert grad(lambda x: grad(f)(x))(x) == 0.0
    close(grad(lambda x: fgrad.sum(f(x)))(np.full(3, x)), np.zeros(3))


TIES: list[tuple[str, Any, Any]] = [
    ("max(x)", np.array([1.0, 3.0, 3.0]), np.array([0.0, 0.5, 0.5])),
    ("min(x)", np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.0, 1.0]) / 3),
    ("max(x, axis=0)[0]", np.array([[2.0, 5.0], [2.0, 1.0]]), np.array([[0.5, 0.0], [0.5, 0.0]])),
    ("max(x, axis=(0, 1))", np.array([[inf, inf]]), np.array([[0.5, 0.5]])),
    ("maximum(x, 2.0)", 2.0, 0.5),
    ("minimum(2.0, x)", 2.0, 0.5),
    ("maximum(x, x)", 2.0, 1.0),
    ("sum(maximum(x, 0.0))", np.array([-1.0, 0.0, -0.0, 1.0]), np.array([0.0, 0.5, 0.5, 1.0])),
    ("sum(clip(x, 0.0, 1.0))", np.array([0.0, 0.5, 1.0, 2.0]), np.array([0.5, 1.0, 0.5, 0.0])),
    ("norm(x, ord=inf)", np.array([-2.0, 2.0, 1.0]), np.array([-0.5, 0.5, 0.0])),
]


@pytest.mark.parametrize(("code", "x", "expected"), TIES)
def test_ties_split_equally(code: str, x: Any, expected: Any) -> None:
    """Where several arguments, or places, hold the extreme, they share its gradient equally; the second is 0."""
    f = of(code)
    close(grad(f)(x), expected)
    close(grad(lambda x: fgrad.sum(grad(f)(x) * 2.0))(x), 0.0 * expected)


POWERS: list[tuple[float, float, float, float]] = [  # x, y, ∂/∂x x**y, ∂/∂y x**y
    (0.0, 0.0, 0.0, -inf),
    (0.0, 1.0, 1.0, 0.0),
    (0.0, 2.0, 0.0, 0.0),
    (0.0, 0.5, inf, 0.0),
    (0.0, -1.0, -inf, -inf),
    (2.0, 0.0, 0.0, math.log(2)),
    (-2.0, 0.0, 0.0, nan),
    (-2.0, 3.0, 12.0, nan),
    (-2.0, 0.5, nan, nan),
    (1.0, 5.0, 5.0, 0.0),
    (1e200, 2.0, 2e200, inf),
]


@pytest.mark.parametrize(("x", "y", "dx", "dy"), POWERS)
def test_powers_at_their_edges(x: float, y: float, dx: float, dy: float) -> None:
    """x**0 has d/dx 0 even at 0; 0**y has d/dy 0 for y > 0; a negative base has d/dy nan, and d/dx right."""
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(first_order(lambda x, y: x**y, x, y), (dx, dy), rtol=1e-15)
        np.testing.assert_allclose(first_order(lambda x: x**y, x), (dx,), rtol=1e-15)
        np.testing.assert_allclose(first_order(lambda y: x**y, y), (dy,), rtol=1e-15)
        if y == int(y):
            np.testing.assert_allclose(first_order(lambda x: x ** int(y), x), (dx,), rtol=1e-15)


@pytest.mark.parametrize(("n", "expected"), [(0, 0.0), (1, 0.0), (2, 2.0), (3, 0.0), (4, 0.0)])
def test_second_derivatives_of_powers_at_zero(n: int, expected: float) -> None:
    """The second derivative of x**n at 0 is 0 but for n = 2, whether n is an int or a float."""
    assert second_order(lambda x: x**n, 0.0) == expected
    assert second_order(lambda x: x ** float(n), 0.0) == expected


# --- the strong zero -------------------------------------------------------------------------------------------------
GUARDED: list[str] = [
    "where(x > 0, sqrt(x), 0.0)",
    "where(x > 0, log(x), 0.0)",
    "where(x > 0, x * log(x), 0.0)",
    "where(x != 0, 1 / x, 0.0)",
    "where(x != 0, sin(x) / x, 1.0)",
    "where(x > 0, x**-0.5, 0.0)",
    "where(x > 0, x**x, 1.0)",
    "where(x > 0, exp(-1 / x), 0.0)",
    "where(x > 0, atan2(x, x), 0.0)",
    "where(x < 1, 0.0, sqrt(log(x)))",
    "where(x > 0, where(x > 1, sqrt(x - 1), log(x)), 0.0)",
    "sqrt(x) * 0.0",
    "0.0 * log(x)",
]


@pytest.mark.parametrize("code", GUARDED)
def test_the_strong_zero(code: str) -> None:
    """Through a branch not taken nothing flows, be its local derivative inf or nan: to first and second order."""
    for f in (of(code), of(f"{code} + x * x * x")):
        assert first_order(f, 0.0) == (0.0,)
        assert second_order(f, 0.0) == 0.0


def test_the_strong_zero_has_a_price() -> None:
    """sqrt(x)·sqrt(x) at 0 has derivative 0, since each factor is an exact 0."""
    assert first_order(lambda x: fgrad.sqrt(x) * fgrad.sqrt(x), 0.0) == (0.0,)


SCALED = [(0.0, inf, 0.0), (inf, 0.0, 0.0), (nan, 0.0, 0.0), (-0.0, nan, 0.0), (inf, 2.0, inf), (nan, 2.0, nan)]


@pytest.mark.parametrize(("g", "p", "expected"), [*SCALED, (inf, -inf, -inf), (2.0, 3.0, 6.0), (inf, nan, nan)])
def test_scale_is_the_product_but_for_the_strong_zero(g: float, p: float, expected: float) -> None:
    """The row that the walks multiply with changes nothing but a nan of which one factor is 0."""
    np.testing.assert_equal(fgrad.scale(g, p), expected)
    with np.errstate(all="ignore"):
        np.testing.assert_equal(fgrad.scale(np.array([g, 1.0]), np.array([p, 5.0])), [expected, 5.0])


SELECTED: list[tuple[str, Any]] = [
    ("sqrt(max(x))", [inf, 0.0]),
    ("sqrt(-min(-x))", [inf, 0.0]),
    ("sqrt(x[0])", [inf, 0.0]),
    ("sqrt(maximum(x[0], x[1]))", [inf, 0.0]),
    ("sqrt(clip(x[1], 0.0, 1.0))", [0.0, 0.0]),
    ("sqrt(where(x[0] > x[1], x[0], x[1]))", [inf, 0.0]),
    ("sqrt(norm(x, ord=inf) - 1)", [0.0, -inf]),
]


@pytest.mark.parametrize(("code", "expected"), SELECTED)
def test_what_was_not_selected_gets_zero(code: str, expected: list[float]) -> None:
    """An infinite cotangent goes to what was selected alone: the others get an exact 0, not nan."""
    np.testing.assert_array_equal(grad(of(code))(np.array([0.0, -1.0])), expected)


# --- limits ----------------------------------------------------------------------------------------------------------
LIMITS: list[tuple[str, Any, Any, Any]] = [  # f, x, f(x), gradient
    ("norm(x)", np.zeros(3), 0.0, np.zeros(3)),
    ("norm(x, ord=3)", np.zeros(3), 0.0, np.zeros(3)),
    ("norm(x, ord=3)", np.array([0.0, 2.0]), 2.0, np.array([0.0, 1.0])),
    ("np.linalg.norm(x, axis=0).sum()", np.array([[0.0, 3.0], [0.0, 4.0]]), 5.0, [[0.0, 0.6], [0.0, 0.8]]),
    ("std(x)", np.ones(3), 0.0, np.zeros(3)),
    ("logsumexp(x)", np.full(2, -inf), -inf, np.zeros(2)),
    ("logsumexp(x)", np.array([-inf, 1.0, 1.0]), 1 + math.log(2), np.array([0.0, 0.5, 0.5])),
    ("logsumexp(x)", np.array([1e4, -1e4]), 1e4, np.array([1.0, 0.0])),
    ("logsumexp(x)", -3.0, -3.0, 1.0),
    ("logsumexp(x)", -inf, -inf, 0.0),
    ("log_softmax(x)[0]", np.array([1e4, 0.0]), 0.0, np.array([0.0, 0.0])),
    ("log_softmax(x)[1]", np.array([0.0, 0.0, -inf]), -math.log(2), np.array([-0.5, 0.5, 0.0])),
    ("softmax(x)[0]", np.array([1e10, 1e10]), 0.5, np.array([0.25, -0.25])),
    ("log_softmax(x)[0]", np.array([1e10, 1e10]), -math.log(2), np.array([0.5, -0.5])),
    ("softplus(x)", 1e3, 1e3, 1.0),
    ("softplus(x)", -1e3, 0.0, 0.0),
    ("softplus(x)", inf, inf, 1.0),
    ("softplus(x)", -inf, 0.0, 0.0),
    ("silu(x)", -1e3, 0.0, 0.0),
    ("silu(x)", 1e3, 1e3, 1.0),
    ("gelu(x)", 1e100, 1e100, 1.0),
    ("gelu(x)", -1e100, 0.0, 0.0),
    ("sinc(x)", 0.0, 1.0, 0.0),
    ("logaddexp(x, 0.0)", 1e3, 1e3, 1.0),
    ("logaddexp(x, 0.0)", -inf, 0.0, 0.0),
    ("mean(x)", np.array([1e308, 1e308]) / 2, 5e307, np.array([0.5, 0.5])),
]


@pytest.mark.parametrize(("code", "x", "value", "gradient"), LIMITS)
def test_limits(code: str, x: Any, value: Any, gradient: Any) -> None:
    """Values and gradients are finite where the mathematics has a limit, without a warning on the way."""
    found: Any = value_and_grad(of(code))(x)
    close(found, (value, np.asarray(gradient)), 1e-15, 1e-15)


def test_atan2_at_the_origin() -> None:
    """The angle of the origin is 0, and so are its derivatives, as in PyTorch."""
    assert first_order(fgrad.atan2, 0.0, 0.0) == (0.0, 0.0)


def test_sinc_at_zero_to_fourth_order() -> None:
    """The derivatives of sin(πx)/(πx) at 0 are 1, 0, -π²/3, 0, π⁴/5."""
    f: Any = fgrad.sinc
    for expected in (1.0, 0.0, -(math.pi**2) / 3, 0.0, math.pi**4 / 5):
        close(f(0.0), expected, 1e-13)
        close(f(1e-9), expected, 1e-13, 1e-6)
        f = derivative(f)
    close(second_order(fgrad.sinc, 0.0), -(math.pi**2) / 3)


KNOTS, HEIGHTS = np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 0.0])
LINE: list[tuple[float, float, float]] = [  # x, interp(x), its derivative
    (-1.0, 1.0, 0.0),
    (0.0, 1.0, 1.0),
    (0.5, 1.5, 1.0),
    (1.0, 2.0, -1.0),
    (3.0, 0.0, 0.0),
    (9.0, 0.0, 0.0),
    (inf, 0.0, 0.0),
    (-inf, 1.0, 0.0),
]


@pytest.mark.parametrize(("x", "value", "slope"), LINE)
def test_interp_at_its_knots_and_ends(x: float, value: float, slope: float) -> None:
    """At a knot the derivative is the slope to its right; beyond the ends it is 0; the values are np.interp's."""
    f: Function = lambda x: fgrad.interp(x, KNOTS, HEIGHTS)
    assert value_and_grad(f)(x) == (value, slope)
    assert fgrad.interp(x, KNOTS, HEIGHTS) == np.interp(x, KNOTS, HEIGHTS)


def test_interp_where_the_line_jumps_or_has_one_knot() -> None:
    """Two knots at one place are a jump, to the right one's value; one knot is a constant; nan gives nan."""
    knots, heights = np.array([0.0, 1.0, 1.0, 2.0]), np.array([0.0, 1.0, 5.0, 6.0])
    for x in (0.5, 1.0, 1.5):
        assert value_and_grad(lambda x: fgrad.interp(x, knots, heights))(x) == (np.interp(x, knots, heights), 1.0)
    assert value_and_grad(lambda x: fgrad.interp(x, np.ones(1), np.full(1, 7.0)))(1.0) == (7.0, 0.0)
    assert np.isnan(value_and_grad(lambda x: fgrad.interp(x, KNOTS, HEIGHTS))(nan)).all()


def test_interp_of_its_table_at_a_knot() -> None:
    """At a knot the value is that knot's height, and moves with no other: the knots move it by the slope's reverse."""
    _, pullback = vjp(lambda x, f: fgrad.interp(1.0, x, f), KNOTS, HEIGHTS)
    close(pullback(1.0), (np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0])))
    _, pullback = vjp(lambda x, f: fgrad.interp(9.0, x, f), KNOTS, HEIGHTS)
    close(pullback(1.0), (np.zeros(3), np.array([0.0, 0.0, 1.0])))


def test_einsum_broadcasts_and_sums_what_is_not_there() -> None:
    """Axes of length 1 broadcast, an empty axis sums to 0, and the derivatives are those of the sum."""
    x, y = np.array([[2.0], [3.0]]), np.ones((4, 5))
    close(value_and_grad(lambda x: fgrad.sum(fgrad.einsum("ij,jk->k", x, y)))(x), (100.0, np.full((2, 1), 20.0)))
    close(fgrad.einsum("ij,jk->ik", np.ones((2, 0)), np.ones((0, 3))), np.zeros((2, 3)))


WRONG_SUBSCRIPTS: list[tuple[str, tuple[tuple[int, ...], ...]]] = [
    *(("ij,jk", ((2, 3),)), ("ij", ((2,),)), ("i", ((2, 3),)), ("i->j", ((2,),)), ("i->ii", ((2,),))),
    *(("i1", ((2, 2),)), ("i.j", ((2, 2),)), ("......", ((2, 2),)), ("i->i->i", ((2,),)), ("...->", ((2,),))),
    *(("ij,jk", ((2, 3), (4, 5))), ("ii", ((2, 3),)), ("ii->i", ((1, 3),)), ("é", ((2,),)), ("i,...->i", ((2,), (3,)))),
]


@pytest.mark.parametrize(("subscripts", "shapes"), WRONG_SUBSCRIPTS)
def test_wrong_subscripts_are_named(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    """What np.einsum refuses raises ValueError, before anything is computed."""
    operands = [np.ones(shape) for shape in shapes]
    with pytest.raises(ValueError):  # noqa: PT011  # NumPy's sentences differ
        np.einsum(subscripts, *operands)
    with pytest.raises(ValueError, match="einsum"):
        fgrad.einsum(subscripts, *operands)


@pytest.mark.parametrize("f", [fgrad.nanmax, fgrad.nanmin, fgrad.nansum])
def test_nan_is_left_out_of_derivatives(f: Function) -> None:
    """A nan that a reduction leaves out has derivative 0; extremes share theirs where they tie."""
    gradient: Any = grad(f)(np.array([2.0, nan, 2.0]))
    close(gradient, np.array([1.0, 0.0, 1.0]) * (1.0 if f is fgrad.nansum else 0.5))


@pytest.mark.parametrize("f", [fgrad.nanmax, fgrad.nanmin])
def test_extremes_of_nothing_but_nan(f: Function) -> None:
    """Where all are nan so is their extreme, as in NumPy but without a warning; its derivative is 0."""
    value, gradient = value_and_grad(lambda x: f(x, axis=1)[1])(np.array([[1.0, 2.0], [nan, nan]]))
    assert math.isnan(value)
    close(gradient, np.zeros((2, 2)))


@pytest.mark.parametrize("f", [fgrad.erf, fgrad.erfc, fgrad.lgamma, fgrad.digamma, lambda x: fgrad.polygamma(1, x)])
def test_special_functions_name_their_extra(f: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SciPy, what needs it says how to install it; the error function and lgamma of floats do without."""
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(MissingExtraError, match=r"fgrad\[scipy\]"):
        f(np.ones(2))
    assert derivative(fgrad.erf)(0.0) == -derivative(fgrad.erfc)(0.0) == 2 / math.sqrt(math.pi)
    assert fgrad.lgamma(1.0) == 0.0
    with pytest.raises(MissingExtraError, match="scipy"):
        derivative(fgrad.lgamma)(1.0)


# --- empty arrays, nan -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("f", [fgrad.sum, fgrad.mean, fgrad.max, fgrad.min, fgrad.var, fgrad.logsumexp, fgrad.norm])
def test_nan_goes_through_reductions(f: Function) -> None:
    """A nan among the inputs is the value of every reduction, as in NumPy; so it is of extremes of two."""
    assert math.isnan(value_and_grad(f)(np.array([1.0, nan, 2.0]))[0])
    rows: Any = vjp(lambda x: f(x, axis=1), np.array([[1.0, nan], [1.0, 2.0]]))[0]
    np.testing.assert_array_equal(np.isnan(rows), [True, False])


@pytest.mark.parametrize("f", [fgrad.max, fgrad.min, fgrad.logsumexp, fgrad.norm, fgrad.std, fgrad.softmax])
def test_nan_is_seen_in_gradients(f: Function) -> None:
    """A nan does not come back as zeros, as if all were well: the gradient holds a nan, as JAX's and PyTorch's do."""
    assert np.isnan(grad(lambda x: fgrad.sum(f(x)))(np.array([1.0, nan]))).any()


def test_logsumexp_of_nothing() -> None:
    """The logsumexp of nothing is log(0) = -inf, as np.logaddexp.reduce has it."""
    assert value_and_grad(fgrad.logsumexp)(np.zeros(0))[0] == -inf
    close(vjp(lambda x: fgrad.softmax(x), np.zeros((3, 0)))[0], np.zeros((3, 0)))


@pytest.mark.parametrize("n", [1000, 2**16])
def test_float16_means_do_not_overflow(n: int) -> None:
    """A mean of float16 is as exact as NumPy's, which adds up in float32; so is its gradient, of however many."""
    x = np.tile(np.array([99.0, 101.0], np.float16), n // 2)
    assert fgrad.mean(x) == np.mean(x) == 100.0
    assert fgrad.var(x) == 1.0
    mean, var = of("mean(x)"), of("var(x)")
    close(grad(mean)(x), np.full(n, 1 / n, np.float16), 1e-3)
    close(grad(var)(x), (2 * (x - np.float16(100)) / np.float32(n)).astype(np.float16), 1e-3)


def test_what_outlives_its_call_has_copied_what_it_captured() -> None:
    """A pullback is as it was made, whatever becomes of the arrays that went in, were captured, or came out."""
    x, c = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    value: Any
    value, pullback = vjp(lambda x: x * c * x, x)
    for array in (x, c, value):
        array *= 10.0
    for _ in range(2):
        gradient: Any = pullback(np.ones(2))
        close(gradient, (np.array([6.0, 16.0]),))
        gradient[0][:] = 0.0


# --- the same bits ---------------------------------------------------------------------------------------------------
PROGRAM = """
import numpy as np, fgrad
rng = np.random.default_rng(0)
params = {name: {"w": rng.normal(size=(5, 5)), "b": rng.normal()} for name in ("one", "two", "three", "alpha")}
def loss(params):
    x = np.linspace(-1.0, 1.0, 5)
    for layer in params.values():
        x = np.tanh(x @ layer["w"] + layer["b"]) * x + x.sum() / layer["b"] ** 2
    return fgrad.logsumexp(x) + sum(layer["b"] for layer in params.values())
value, gradients = fgrad.value_and_grad(loss)(params)
print(value.hex(), *[(float(g["b"]).hex(), g["w"].tobytes().hex()) for g in gradients.values()])
"""


def test_hash_seeds_change_no_bit() -> None:
    """The same inputs give the same bits in every process, whatever its hash seed."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 1000


@pytest.mark.parametrize("x", [0.3, 1.7, -2.5, 40.0])
def test_the_value_beside_a_gradient_is_the_functions_own(x: float) -> None:
    """`value_and_grad` gives the bits that f gives: on floats with fgrad's functions, on arrays with NumPy's too."""

    def f(x: Any) -> Any:
        return fgrad.sum(fgrad.tanh(x) * fgrad.exp(x / 7) ** 2 + fgrad.logaddexp(x, 1.0) - abs(x) % 3)

    def g(x: Any) -> Any:
        return np.sum(np.tanh(x) * np.exp(x / 7) ** 2 + np.logaddexp(x, 1.0) - np.abs(x) % 3)

    assert value_and_grad(f)(x)[0] == f(x)
    assert value_and_grad(f)(np.array([x, 1.0]))[0] == f(np.array([x, 1.0]))
    assert value_and_grad(g)(np.array([x, 1.0]))[0] == g(np.array([x, 1.0]))
    assert value_and_grad(g)(x)[0] == pytest.approx(g(x), rel=1e-15)
