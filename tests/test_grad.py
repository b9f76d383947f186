"""grad, value_and_grad and vjp, in every form, on every structure."""

import functools
import inspect
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import attrs
import numpy as np
import pytest

import fgrad
from fgrad import grad, tree, value_and_grad, vjp
from tests.expressions import Floats, micrograd_readme

# --- the seeds' numbers -----------------------------------------------------------------------------------------------


def test_micrograds_readme_expression() -> None:
    """The README of micrograd prints 24.7041, 138.8338 and 645.5773."""
    value, gradient = value_and_grad(micrograd_readme)(a=-4.0, b=2.0)
    assert f"{value:.4f}" == "24.7041"
    assert f"{gradient['a']:.4f}" == "138.8338"
    assert f"{gradient['b']:.4f}" == "645.5773"


def test_lecture_product() -> None:
    """L = (a*b + c) * f is -8, with gradients that are exact in floats."""

    def loss(a: float, b: float, c: float, f: float) -> float:
        return (a * b + c) * f

    assert value_and_grad(loss)(a=2.0, b=-3.0, c=10.0, f=-2.0) == (-8.0, {"a": 6.0, "b": -4.0, "c": -2.0, "f": 4.0})


def neuron(x1: float, x2: float, w1: float, w2: float, b: float) -> float:
    return fgrad.tanh(x1 * w1 + x2 * w2 + b)


def neuron_by_exp(x1: float, x2: float, w1: float, w2: float, b: float) -> float:
    e = fgrad.exp(2 * (x1 * w1 + x2 * w2 + b))
    return (e - 1) / (e + 1)


@pytest.mark.parametrize("f", [neuron, neuron_by_exp])
def test_lecture_neuron(f: Callable[..., float]) -> None:
    """The neuron gives 0.7071 with gradients x1 -1.5, w1 1.0, x2 0.5, w2 0.0, by tanh and by exp."""
    value, g = value_and_grad(f)(x1=2.0, x2=0.0, w1=-3.0, w2=1.0, b=6.8813735870195432)
    assert value == pytest.approx(0.7071067811865476, abs=1e-15)
    expected = {"x1": -1.5, "w1": 1.0, "x2": 0.5, "w2": 0.0, "b": 0.5}
    assert g == pytest.approx(expected, abs=1e-14)


def test_parabola() -> None:
    """3x² - 4x + 5 has slope 14 at 3."""
    assert grad(lambda x: 3 * x**2 - 4 * x + 5)(3.0) == 14.0


# --- forms ------------------------------------------------------------------------------------------------------------


def product(a: float, b: float) -> float:
    return a * b + b**3


def test_forms() -> None:
    """Positions give the gradient of one, argnums of several, keywords and a mapping of all, as a dict."""
    assert grad(product)(-4.0, 2.0) == 2.0
    assert grad(product, 1)(-4.0, 2.0) == 8.0
    assert grad(product, -1)(-4.0, 2.0) == 8.0
    assert grad(product, (0, 1))(-4.0, 2.0) == (2.0, 8.0)
    assert grad(product, (1,))(-4.0, 2.0) == (8.0,)
    assert grad(product)(-4.0, b=2.0) == 2.0
    assert grad(product)(a=-4.0, b=2.0) == {"a": 2.0, "b": 8.0}
    assert grad(product)({"b": 2.0, "a": -4.0}) == {"a": 2.0, "b": 8.0}
    assert list(grad(product)(b=2.0, a=-4.0)) == ["b", "a"]
    assert value_and_grad(product)({"a": -4.0, "b": 2.0}) == (0.0, {"a": 2.0, "b": 8.0})
    assert value_and_grad(product, (0, 1))(-4.0, 2.0) == (0.0, (2.0, 8.0))


def test_a_mapping_that_f_takes_as_it_stands_is_one_argument() -> None:
    """A dict is a pytree where f has one parameter for it, and keywords where it has not."""
    assert grad(lambda p: p["a"] * p["b"])({"a": 2.0, "b": 3.0}) == {"a": 3.0, "b": 2.0}
    assert grad(lambda a, b=1.0: a["a"] * b)({"a": 2.0}) == {"a": 1.0}


def test_keyword_only() -> None:
    def f(*, a: float, b: float) -> float:
        return a * b

    assert grad(f)(a=2.0, b=3.0) == {"a": 3.0, "b": 2.0}
    assert grad(f)({"a": 2.0, "b": 3.0}) == {"a": 3.0, "b": 2.0}


def test_has_aux() -> None:
    """Aux comes along, with nodes unwrapped, and is not differentiated."""

    def f(x: float, y: float) -> tuple[float, dict[str, object]]:
        return x * y, {"double": 2 * x, "note": "kept", "list": [x, None]}

    aux = {"double": 4.0, "note": "kept", "list": [2.0, None]}
    assert grad(f, has_aux=True)(2.0, 3.0) == (3.0, aux)
    assert value_and_grad(f, has_aux=True)(2.0, 3.0) == ((6.0, aux), 3.0)
    assert value_and_grad(f, has_aux=True)(x=2.0, y=3.0) == ((6.0, aux), {"x": 3.0, "y": 2.0})
    out, pullback, got = vjp(f, 2.0, 3.0, has_aux=True)
    assert (out, pullback(1.0), got) == (6.0, (3.0, 2.0), aux)


def test_callables_of_all_kinds() -> None:
    """Partials, bound methods, callable objects and builtins are functions too."""

    @attrs.frozen
    class Scale:
        by: float

        def __call__(self, x: float) -> float:
            return x * self.by

        def method(self, x: float) -> float:
            return x * x * self.by

    assert grad(Scale(3.0))(2.0) == 3.0
    assert grad(Scale(3.0).method)(2.0) == 12.0
    assert grad(functools.partial(product, b=2.0))(-4.0) == 2.0
    tanh: Callable[[float], float] = fgrad.tanh
    assert grad(tanh)(0.0) == 1.0
    assert inspect.unwrap(grad(product)) is product


# --- structures -------------------------------------------------------------------------------------------------------


class Point(NamedTuple):
    x: float
    y: float


@attrs.frozen
class Dense:
    w: tuple[float, ...]
    b: float
    activation: str = tree.static("tanh")


@dataclass(frozen=True)
class Data:
    scale: float
    kind: str = field(default="plain", metadata=tree.STATIC)


@attrs.frozen
class Guarded:
    """A class whose converter and validator fail on nodes."""

    w: float = attrs.field(converter=float, validator=attrs.validators.instance_of(float))


def total(x: object) -> float:
    leaves = tree.leaves(x)
    return sum((i + 1) * leaf * leaf for i, leaf in enumerate(leaves))  # type: ignore[operator,misc]  # numbers


@pytest.mark.parametrize(
    "inputs",
    [
        2.0,
        (1.0, 2.0),
        [1.0, [2.0, (3.0,)]],
        {"z": 1.0, "a": {"b": 2.0}},
        OrderedDict(z=1.0, a=2.0),
        Point(1.0, 2.0),
        Dense((1.0, 2.0), 3.0, "relu"),
        Data(2.0, "fancy"),
        Guarded(2.0),
        (None, 1.0, {"x": None}),
        {"layers": [Dense((1.0,), 2.0), Dense((3.0,), 4.0)], "data": Data(1.0)},
    ],
    ids=lambda x: type(x).__name__,
)
def test_gradients_have_the_structure_and_type_of_the_input(inputs: object) -> None:
    """d/dx Σ i·xᵢ² is 2·i·xᵢ, leaf by leaf, in the same classes, with static fields kept."""
    gradient = grad(total)(inputs)
    leaves, structure = tree.flatten(inputs)
    expected = [2.0 * (i + 1) * leaf for i, leaf in enumerate(leaves)]  # type: ignore[operator]  # numbers
    assert gradient == tree.unflatten(structure, expected)
    assert type(gradient) is type(inputs)
    if isinstance(inputs, dict):
        assert list(gradient) == list(inputs)  # type: ignore[call-overload]  # the insertion order too


def test_arrays_come_back_as_arrays() -> None:
    """Array in, array of the same shape and dtype out: 0-d, NumPy scalars and float32 too."""
    for x in (
        np.ones((2, 3)),
        np.array(2.0),
        np.float64(2.0),
        np.ones(3, np.float32),
        np.float32(2.0),
        np.ones((0, 2)),
    ):
        g = grad(lambda x: fgrad.sum(x * x))(x)
        assert type(g) is type(x)
        assert g.shape == x.shape
        assert g.dtype == x.dtype
        np.testing.assert_array_equal(g, 2 * x)


def test_integers_are_floats() -> None:
    """Ints, NumPy ints and integer arrays are taken as floats."""
    assert repr(grad(lambda x: x * x)(3)) == "6.0"
    assert grad(lambda x: fgrad.sum(x * x))(np.arange(3)).tolist() == [0.0, 2.0, 4.0]
    assert grad(lambda x: x * x)(np.int64(3)).dtype == np.float64


def test_no_dependence_is_zero() -> None:
    """A function that does not depend on its input has gradient zero, of the right shape and type."""
    assert grad(lambda x: 3.0)(2.0) == 0.0
    assert grad(lambda x: 3)(2.0) == 0.0
    assert grad(lambda x, y: y * 1.0)({"w": np.ones((2, 1)), "b": 1.0}, 2.0)["b"] == 0.0
    np.testing.assert_array_equal(grad(lambda x, y: y * 1.0)(np.ones((2, 1)), 2.0), np.zeros((2, 1)))
    assert grad(lambda x: grad(lambda y: x * 1.0)(1.0) + x)(2.0) == 1.0


def total_sum(x: Floats, y: Floats) -> float:
    return fgrad.sum(x + y)


def test_results_are_fresh() -> None:
    """Gradients and values are writable and share memory with nothing."""
    x, c = np.ones(3), np.ones(3)
    seed = np.ones(3)
    gx, gy = grad(total_sum, (0, 1))(x, c)
    assert gx.flags.writeable
    assert not np.shares_memory(gx, gy)
    out, pullback = vjp(lambda x: x, x)
    assert not np.shares_memory(out, x)
    assert not np.shares_memory(pullback(seed)[0], seed)
    first, second = pullback(seed), pullback(seed)
    assert not np.shares_memory(first[0], second[0])
    assert not np.shares_memory(grad(lambda x: fgrad.vecdot(x, c))(x), c)


def test_a_pullback_owns_what_it_captured() -> None:
    """What a user does later to their arrays does not change a pullback."""
    x, c = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    _, pullback = vjp(lambda x: x * x * c, x)
    x *= 10
    c *= 10
    np.testing.assert_array_equal(pullback(np.ones(2))[0], [6.0, 16.0])
    np.testing.assert_array_equal(pullback(np.ones(2))[0], [6.0, 16.0])


def test_a_function_may_use_its_own_buffers() -> None:
    """What an array held when an op used it counts, whatever the function writes to it afterwards."""

    def f(x: Floats) -> float:
        mask, total = np.zeros(3), 0.0
        for i in range(3):
            mask[:] = 0
            mask[i] = i + 1.0
            total = total + fgrad.sum(x * mask)
        return total

    x = np.ones(3)
    np.testing.assert_array_equal(grad(f)(x), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(vjp(f, x)[1](1.0)[0], [1.0, 2.0, 3.0])
    assert fgrad.jvp(f, (x,), (x,))[1] == 6.0
    np.testing.assert_array_equal(fgrad.vmap(f)(np.ones((2, 3))), [6.0, 6.0])


def test_nothing_of_the_users_comes_back() -> None:
    """Values and aux that are the user's own arrays, or views of them, are copied."""
    z, c = np.array(2.0), np.ones(2)
    assert value_and_grad(lambda x: x)(z)[0] is not z
    (_, aux), _ = value_and_grad(lambda x: (fgrad.sum(x), (x, c)), has_aux=True)(c)
    assert not any(np.shares_memory(a, c) for a in aux)
    view = value_and_grad(lambda x: x[0, ...])(c)[0]
    assert not np.shares_memory(np.asarray(view), c)


def test_vjp_of_structures() -> None:
    """Results and cotangents are pytrees; an output that is an input, a constant or given twice counts as it should."""

    def f(x: float, p: dict[str, float]) -> dict[str, object]:
        y = x * p["a"]
        return {"x": x, "constant": 5.0, "twice": (y, y)}

    out, pullback = vjp(f, 2.0, {"a": 3.0})
    assert out == {"x": 2.0, "constant": 5.0, "twice": (6.0, 6.0)}
    assert pullback({"x": 1.0, "constant": 7.0, "twice": (10.0, 100.0)}) == (331.0, {"a": 220.0})


# --- nesting ----------------------------------------------------------------------------------------------------------


def test_fifth_order() -> None:
    """By nesting, d⁵/dx⁵ of x⁵ is 120, and of sin it is cos."""
    f: Callable[[float], float] = lambda x: x**5
    g: Callable[[float], float] = fgrad.sin
    for _ in range(5):
        f, g = grad(f), grad(g)
    assert f(1.5) == pytest.approx(120.0, rel=1e-14)
    assert g(0.3) == pytest.approx(math.cos(0.3), rel=1e-14)


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x: x * grad(lambda y: x + y)(1.0), 1.0),
        (lambda x: x * grad(lambda y: x * y)(2.0), 2.0),
        (lambda x: grad(lambda y: x * y * y)(x), 4.0),
        (lambda x: x * grad(lambda y: grad(lambda z: x * y * z)(y))(x), 2.0),
        (lambda x: grad(lambda _: x)(1.0) + x, 1.0),
        (lambda x: value_and_grad(lambda y: y * x)(3.0)[0], 3.0),
        (lambda x: vjp(lambda y: y * x, x)[1](x)[0], 2.0),
        (lambda x: fgrad.sum(vjp(lambda y: y * y * x, np.ones(2))[1](np.ones(2))[0]), 4.0),
    ],
)
def test_perturbation_confusion(f: Callable[[float], float], expected: float) -> None:
    """Inner and outer derivatives of one function never mix (Siskind and Pearlmutter 2005); all at x = 1."""
    assert grad(f)(1.0) == expected


def test_closures_over_outer_nodes_keep_their_gradients() -> None:
    """A pullback made inside an outer gradient carries it."""

    def outer(w: float) -> float:
        _, pullback = vjp(lambda x: fgrad.sin(w * x), 0.5)
        return pullback(1.0)[0]  # w cos(w / 2)

    w = 0.7
    assert grad(outer)(w) == pytest.approx(math.cos(w / 2) - w / 2 * math.sin(w / 2), rel=1e-15)


def test_threads() -> None:
    """8 threads that run nested gradients 20,000 times in all have not one wrong answer."""
    wrong: list[object] = []

    def work(k: int) -> None:
        for i in range(2500):
            x = float(k + i % 7)
            got = grad(lambda x: x * grad(lambda y: x * y * y)(x))(x)  # d/dx 2x³
            if got != 6 * x * x:
                wrong.append((x, got))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_purity() -> None:
    """Calling grad again and again gives the same bits, and the parameters are what they were."""
    params = {"w": np.linspace(0, 1, 7), "b": np.array(0.3)}
    before = tree.map(lambda x: x.copy(), params)

    def loss(p: dict[str, Floats]) -> float:
        return fgrad.sum(fgrad.tanh(p["w"] * p["b"]) ** 2)

    first = grad(loss)(params)
    for _ in range(5):
        again = grad(loss)(params)
        assert again["w"].tobytes() == first["w"].tobytes()
        assert again["b"] == first["b"]
    np.testing.assert_array_equal(params["w"], before["w"])


def test_exceptions_leave_nothing_behind() -> None:
    """After an error in the user's function, everything works as before, and its nodes have escaped."""
    kept = []

    def broken(x: float) -> float:
        kept.append(x)
        raise KeyError("mine")

    for _ in range(3):
        with pytest.raises(KeyError, match="mine"):
            grad(broken)(1.0)
        assert grad(lambda x: x * x)(3.0) == 6.0
    with pytest.raises(fgrad.errors.EscapedNodeError):
        kept[0] * 2.0
