"""Every wrong call says what happened, where, and what to write instead."""

import dataclasses
import math
from collections.abc import Callable

import attrs
import numpy as np
import pytest

import fgrad
from fgrad import errors, tree, value_and_grad

# Wrong calls are the matter here, and the type checkers would refuse most of them.
grad: Callable[..., Callable[..., object]] = fgrad.grad
vjp: Callable[..., tuple[object, Callable[..., object]]] = fgrad.vjp


def product(a: float, b: float) -> float:
    return a * b


@attrs.frozen
class Undeclared:
    w: float
    activation: str = "tanh"


@dataclasses.dataclass
class Mutable:
    w: float


kept: list[float] = []


def leak(x: float) -> float:
    kept.append(x * 2.0)
    return x


def call_leaked(use: Callable[[float], object]) -> object:
    kept.clear()
    grad(leak)(1.0)
    return use(kept[0])


# fmt: off
CASES: list[tuple[Callable[[], object], type[Exception], type[Exception], str]] = [
    # (what is called, its class, the builtin that it also is, a part of the message)
    (lambda: grad(product)(), errors.ArgumentError, TypeError, "without arguments"),
    (lambda: grad(product, 0)(a=1.0, b=2.0), errors.ArgumentError, TypeError, "argnums=0 counts positional"),
    (lambda: grad(product, 2)(1.0, 2.0), errors.ArgumentError, TypeError, "argnums=2 is out of range"),
    (lambda: grad(product, (0, -3))(1.0, 2.0), errors.ArgumentError, TypeError, "argnums=-3 is out of range"),
    (lambda: grad(product, "a")(1.0, 2.0), errors.ArgumentError, TypeError, "must be an integer"),
    (lambda: grad(grad(product))(a=1.0, b=2.0), errors.OutputError, TypeError, "hessian(f)"),
    (lambda: grad(lambda x: (x, x))(1.0), errors.OutputError, TypeError, "has_aux=True"),
    (lambda: grad(lambda x: x * np.ones(2))(1.0), errors.OutputError, TypeError, "jacobian(f) or vjp"),
    (lambda: grad(lambda x: [x] * 3)(1.0), errors.OutputError, TypeError, "return one number"),
    (lambda: grad(lambda x: "x")(1.0), errors.OutputError, TypeError, "returned str 'x'"),
    (lambda: grad(lambda x: None)(1.0), errors.OutputError, TypeError, "one real number"),
    (lambda: grad(lambda x: x > 0)(1.0), errors.OutputError, TypeError, "returned bool True"),
    (lambda: grad(lambda x: x, has_aux=True)(1.0), errors.OutputError, TypeError, "returns (result, aux)"),
    (lambda: grad(product)("a", 1.0), errors.LeafError, TypeError, "a is str 'a'"),
    (lambda: grad(product)(True, 1.0), errors.LeafError, TypeError, "a is bool True"),
    (lambda: grad(product)(1j, 1.0), errors.LeafError, TypeError, "real and the imaginary part"),
    (lambda: grad(product, 1)(1.0, np.ones(2, complex)), errors.LeafError, TypeError, "b is an array of shape (2,) and"),
    (lambda: grad(product)(np.array(["x"]), 1.0), errors.LeafError, TypeError, "a is an array"),
    (lambda: grad(product)(np.array([None]), 1.0), errors.LeafError, TypeError, "dtype object"),
    (lambda: grad(product)(np.array([True]), 1.0), errors.LeafError, TypeError, "dtype bool"),
    (lambda: grad(product)(object(), 1.0), errors.LeafError, TypeError, "a is object"),
    (lambda: grad(lambda p: p["m"].w)({"m": Undeclared(1.0)}), errors.LeafError, TypeError, "p['m'].activation is str 'tanh'"),
    (lambda: grad(lambda p: p["m"].w)({"m": Undeclared(1.0)}), errors.LeafError, TypeError, "fgrad.tree.static()"),
    (lambda: grad(lambda m: m.w)(Mutable(1.0)), errors.LeafError, TypeError, "frozen=True"),
    (lambda: grad(lambda a, b: a)(a=[1.0, {"k": "s"}], b=1.0), errors.LeafError, TypeError, "a[1]['k'] is str"),
    (lambda: call_leaked(lambda x: x + 1), errors.EscapedNodeError, RuntimeError, "made by multiply from the input x"),
    (lambda: call_leaked(fgrad.exp), errors.EscapedNodeError, RuntimeError, "used in exp"),
    (lambda: call_leaked(grad(leak)), errors.EscapedNodeError, RuntimeError, "given to a transform"),
    (lambda: call_leaked(lambda x: grad(lambda y: x)(1.0)), errors.EscapedNodeError, RuntimeError, "returned"),
    (lambda: call_leaked(lambda x: grad(lambda y: y + x)(1.0)), errors.EscapedNodeError, RuntimeError, "input x"),
    (lambda: call_leaked(lambda x: grad(lambda y: (y, x), has_aux=True)(1.0)), errors.EscapedNodeError, RuntimeError, "x"),
    (lambda: vjp(lambda x: x, 1.0)[1]((1.0, 2.0)), errors.StructureError, ValueError, "differ at cotangent"),
    (lambda: vjp(lambda x: {"y": x}, 1.0)[1]({"z": 1.0}), errors.StructureError, ValueError, "cotangent['y']"),
    (lambda: vjp(lambda x: x, np.ones(2))[1](np.ones(3)), errors.StructureError, ValueError, "must have the shape (2,)"),
    (lambda: vjp(lambda x: x, 1.0)[1]("g"), errors.LeafError, TypeError, "cotangent must be a real number"),
    (lambda: grad(lambda x: math.tanh(x))(1.0), errors.ConversionError, TypeError, "fgrad.tanh(x)"),
    (lambda: grad(lambda x: math.tanh(x))(1.0), errors.ConversionError, TypeError, "test_errors.py:"),
    (lambda: grad(lambda x: x + "a")(1.0), errors.ConversionError, TypeError, "str is neither a number nor an array"),
    (lambda: grad(lambda x: np.fft.fft(x).sum())(np.ones(2)), errors.MissingRowError, TypeError, "np.fft.fft has no"),
    (lambda: grad(lambda x: np.sum(x, dtype=float))(np.ones(2)), errors.MissingRowError, TypeError, "np.sum with dtype="),
    (lambda: tree.map(lambda x, y: x, {"a": 1.0}, {"b": 1.0}), errors.StructureError, ValueError, "tree['a']"),
]
# fmt: on


@pytest.mark.parametrize(("call", "error", "builtin", "message"), CASES, ids=[case[3] for case in CASES])
def test_errors_teach(
    call: Callable[[], object], error: type[Exception], builtin: type[Exception], message: str
) -> None:
    """Each is of its own class, and of the builtin one that a user would catch, and says what its table entry says."""
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, builtin)
    assert isinstance(caught.value, errors.FgradError)
    assert message in str(caught.value)


def test_users_errors_pass_through() -> None:
    """What a user's function raises is what its caller sees."""
    with pytest.raises(ZeroDivisionError):
        value_and_grad(lambda x: x * (1 // 0))(1.0)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        grad(product)(1.0)


def test_every_error_is_documented() -> None:
    classes = [x for x in vars(errors).values() if isinstance(x, type) and issubclass(x, errors.FgradError)]
    assert all(x.__doc__ for x in classes)
    assert len(classes) > 10
