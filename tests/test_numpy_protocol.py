"""Traced values among plain Python and NumPy: code is differentiated as it stands, or told what to write instead.

Lines of code stand in tables, on traced values x (3, 4), v (4,) and s (a number), and constants C (3, 4) and W (4, 2).
"""

import copy
import math
import operator
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import fgrad
from fgrad import grad, vjp
from fgrad.errors import ConversionError, FgradError, MissingRowError, MutationError
from fgrad.node import Node
from tests.oracles import close, numeric_vjp

RNG = np.random.default_rng(1)
X, V, S = RNG.normal(size=(3, 4)), RNG.normal(size=4), 1.5
C, W = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2))
KNOTS = np.array([-1.0, 0.25, 1.2, 2.0])


def of(code: str) -> Callable[..., Any]:
    """Make a function of x, v and s of a line of code."""
    names = {"C": C, "W": W, "KNOTS": KNOTS, "np": np, "math": math, "special": special}
    function: Callable[..., Any] = eval(f"lambda x, v, s: {code}", names)
    return function


def cotangent(like: Any) -> Any:
    return np.cos(1.0 + np.arange(np.size(like))).reshape(np.shape(like))


# --- code as it stands -----------------------------------------------------------------------------------------------
UFUNCS = """sin cos tan arctan sinh cosh tanh arcsinh exp expm1 square negative positive absolute fabs sign floor ceil
rint reciprocal round sinc"""
POSITIVE_UFUNCS = "log log2 log10 log1p sqrt arccosh"
BOUNDED_UFUNCS = "arcsin arccos arctanh"
PAIRS = "add subtract multiply divide true_divide maximum minimum arctan2 logaddexp remainder mod floor_divide"

AS_IT_STANDS = [
    *(f"np.{name}(x)" for name in UFUNCS.split()),
    *(f"np.{name}(np.exp(x) + 1.0)" for name in POSITIVE_UFUNCS.split()),
    *(f"np.{name}(np.tanh(x))" for name in BOUNDED_UFUNCS.split()),
    *(f"np.{name}(x, v)" for name in PAIRS.split()),
    *(f"np.{name}(C, v)" for name in PAIRS.split()),
    *(f"np.{name}(s, C)" for name in PAIRS.split()),
    *("np.power(np.abs(x), 1.7)", "np.power(np.exp(x), v)", "np.float_power(np.exp(x), s)", "np.abs(C) ** v"),
    # arithmetic, with an array or a NumPy scalar on either side
    *("C + x", "x + C", "C - x", "x - C", "C * x", "x * C", "C / x", "x / C", "np.abs(x) ** C", "C % x", "x % C"),
    *("C[0] * s", "s / C", "C**2 * v", "C.T @ x", "x @ W", "v @ W", "W.T @ v", "x @ v", "v @ v", "x @ x.T", "C @ x.T"),
    *(
        "np.float64(2.0) * s",
        "s * np.float64(2.0)",
        "np.float64(2.0) / x",
        "x - np.float64(2.0)",
        "np.float64(2.0) ** s",
    ),
    *(
        "s ** np.float64(2.0)",
        "np.float32(0.5) * x",
        "x * np.int64(3)",
        "np.array(2.0) * s",
        "s - np.array([1.0, 2.0])",
    ),
    # reductions
    *("np.sum(x)", "np.sum(x, 0)", "np.sum(x, axis=1, keepdims=True)", "np.sum(x, axis=(0, 1))", "np.sum(s)"),
    *("np.mean(x)", "np.mean(x, 1)", "np.mean(x, axis=(0, -1), keepdims=True)", "np.var(x)", "np.var(x, 0, ddof=1)"),
    *(
        "np.std(x, axis=1, ddof=1)",
        "np.std(x, axis=1, keepdims=True)",
        "np.max(x)",
        "np.max(x, 1)",
        "np.amax(x, axis=0)",
    ),
    *(
        "np.min(x, axis=0, keepdims=True)",
        "np.amin(x)",
        "np.add.reduce(x)",
        "np.add.reduce(x, axis=1)",
        "np.add.reduce(v)",
    ),
    *("np.add.reduce(x, axis=None)", "np.maximum.reduce(x)", "np.minimum.reduce(x, axis=1, keepdims=True)"),
    *("x.sum()", "x.sum(axis=0)", "x.sum(1, keepdims=True)", "x.mean()", "x.mean(axis=-1)"),
    # choices
    *("np.where(x > 0, x, v)", "np.where(C > 0, x, 0.0)", "np.where(C > 0, s, x)", "np.clip(x, -0.5, 0.5)"),
    *(
        "np.clip(x, -0.5, None)",
        "np.clip(x, min=-0.2, max=v**2)",
        "np.clip(C, v - 1, v + 1)",
        "np.clip(x, a_min=-0.5, a_max=0.5)",
    ),
    *(
        "(x > 0) * x",
        "x * (x != C)",
        "~(x > 0) * x",
        "((x > 0) & (C > 0)) * x",
        "((x > 1) | (x < 0)) * x",
        "(x <= v) * x",
    ),
    *("np.logical_and(x > 0, C > 0) * x", "np.logical_not(x > 0) * x", "np.isfinite(x) * x", "np.isnan(x) * x"),
    *("np.equal(x, C) * x", "np.greater(C, x) * x", "((x > 0) ^ (C > 0)) * x", "np.invert(x > 0) * x"),
    # shapes
    *("x.T", "x.T @ C", "np.transpose(x)", "np.transpose(x[None], (2, 0, 1))", "np.transpose(x, axes=(1, 0))"),
    *(
        "np.swapaxes(x, 0, 1)",
        "np.swapaxes(x[None], -1, 0)",
        "np.moveaxis(x[None], 0, -1)",
        "np.moveaxis(x[None], -1, 0)",
    ),
    *("np.moveaxis(x[None], (0, 1), (2, 0))", "np.matrix_transpose(x)", "np.permute_dims(x, (1, 0))"),
    *(
        "x.reshape(2, 6)",
        "x.reshape((2, -1))",
        "x.reshape(-1)",
        "np.reshape(x, (4, 3))",
        "np.reshape(x, -1)",
        "np.ravel(x)",
    ),
    *("np.squeeze(x[:, None])", "np.squeeze(x[None], axis=0)", "np.expand_dims(x, 1)", "np.expand_dims(x, (0, 2))"),
    *(
        "np.broadcast_to(v, (3, 4))",
        "np.broadcast_to(s, 3)",
        "np.copy(x)",
        "np.zeros_like(x) + x",
        "np.ones_like(v) * v",
    ),
    *(
        "np.concatenate([x, C])",
        "np.concatenate((C, x, x), axis=1)",
        "np.concatenate([x, v], axis=None)",
        "np.concat([v, v])",
    ),
    *(
        "np.stack([v, v * 2, C[0]], axis=1)",
        "np.stack([v, C[0]], -1)",
        "np.stack([s, 2.0, s * s])",
        "np.stack(list(x))",
    ),
    *("np.hstack([v, C[0]])", "np.hstack([x, C])", "np.hstack([s, 2.0])", "np.vstack([v, x])", "np.vstack([s, s])"),
    *(
        "x.shape[0] * s",
        "np.shape(x)[1] * s",
        "np.ndim(x) * s",
        "x.ndim * s",
        "np.size(x) * s",
        "x.size * s",
        "len(x) * s",
    ),
    # picking
    *("x[0]", "x[-1, 2]", "x[:, 1:3]", "x[::-1, ::2]", "x[..., None]", "x[[0, 0, 2]]", "x[np.array([0, 2]), [1, 1]]"),
    *(
        "x[C > 0]",
        "x[x > 0]",
        "x[:, C[0] > 0]",
        "np.take(x, [0, 0, 2])",
        "np.take(x, [3, 0, 3], axis=1)",
        "v[[True] * 4]",
    ),
    *("x[:, np.argmax(v)]", "v[np.argsort(v)]", "v[np.argmin(x, axis=1)]", "x[np.arange(3), np.argmax(x, axis=1)]"),
    # products and norms
    *(
        "np.dot(x, v)",
        "np.dot(v, v)",
        "np.dot(2.0, x)",
        "np.dot(s, x)",
        "np.dot(C.T, x)",
        "np.matmul(x, W)",
        "np.outer(v, C)",
    ),
    *(
        "np.vecdot(x, C)",
        "np.vecdot(x, v)",
        "np.vecdot(x, C, axis=0)",
        "np.linalg.norm(x)",
        "np.linalg.norm(x, axis=1)",
    ),
    *("np.linalg.norm(v, 3)", "np.linalg.norm(v, ord=1)", "np.linalg.norm(v, np.inf)", "np.linalg.norm(x, 'fro')"),
    *("np.linalg.norm(x, ord=1, axis=0, keepdims=True)", "np.linalg.vector_norm(x, axis=0)"),
    *("np.einsum('ij,ij->', x, x)", "np.einsum('ij,kj,j->i', x, C, v, optimize=True)", "np.einsum('i,i', v, C[0])"),
    *("np.einsum('...j,j', C, v)", "np.einsum('i,i,i,i->', v, v, v, C[1])", "np.convolve(v, C[0, :3], 'same')"),
    *("np.convolve(C[0], v)", "np.convolve(v, v, mode='valid')"),
    # tables, frames, repeats, what is not nan, SciPy's ufuncs
    *("np.interp(s, KNOTS, v)", "np.interp(x, KNOTS, C[0])", "np.interp(C, KNOTS, v, left=s, right=0.0)"),
    *("np.searchsorted(KNOTS, x) * s", "np.searchsorted(KNOTS, s, side='right') * s"),
    *("np.pad(x, 2, 'edge')", "np.pad(x, ((1, 0), (0, 3)), mode='reflect')", "np.repeat(x, [1, 0, 2], axis=0)"),
    "np.repeat(v, 1 + np.argmax(v))",
    *("np.diff(v, prepend=s)", "np.diff(x, axis=0, append=C[:1])", "np.diff(C, prepend=x[:, :2])"),
    *("np.nanmax(x)", "np.nanmin(x, axis=1)", "np.nanmax(np.where(C > -0.5, x, np.nan), 1, keepdims=True)"),
    *("special.erf(x)", "special.erfc(s)", "special.gammaln(np.abs(x) + 0.5)", "special.psi(np.abs(v) + 0.5)"),
    # Python's own functions
    *(
        "sum(x)",
        "sum(row @ v for row in x)",
        "max(v)",
        "min(v) * s",
        "sorted(v)[1]",
        "abs(x)",
        "pow(abs(s), 3)",
        "1.0 * round(1.1 * s)",
    ),
    *(
        "sum(a * b for a, b in zip(v, v[1:]))",
        "[*reversed(v)][0]",
        "(lambda a, b, *c: a * b)(*v)",
        "s if s > 1 else -s",
    ),
    *("s if s in [s, 1.0] else 0 * s", "s and s * s", "0 * s if not s else s", "{s: s * s}[s]", "math.prod([s, s, s])"),
    *("-x", "+x", "x**2", "2**x", "x**-1.0", "s // 1 + s", "s % 1.1", "7 % s", "divmod(s, 1.1)[1]"),
]


@pytest.mark.parametrize("code", AS_IT_STANDS)
def test_code_is_differentiated_as_it_stands(code: str) -> None:
    """The value is that of the code without fgrad, and the gradients are central differences'."""
    f = of(code)
    value: Any
    value, pullback = vjp(f, X, V, S)
    expected = f(X, V, S)
    close(value, expected, 1e-15, 1e-15)
    assert np.result_type(value) == np.result_type(expected)
    found: Any = pullback(cotangent(value)[()])
    close(found, tuple(numeric_vjp(f, (X, V, S), cotangent(value))), 1e-8, 1e-8)


# --- what has no row -------------------------------------------------------------------------------------------------
UNARY = "median diag any all modf nan_to_num fix ptp"
BINARY = "fmax fmod copysign inner allclose isclose divmod heaviside"
OF_MATRICES = "eig eigvals cond matrix_rank"
WITHOUT_ROW = {  # a line of code: what its error names
    **{f"np.{name}(x)": f"np.{name}" for name in UNARY.split()},
    **{f"np.{name}(x, C)": f"np.{name}" for name in BINARY.split()},
    **{f"np.linalg.{name}(x[:, :3])": f"np.linalg.{name}" for name in OF_MATRICES.split()},
    "np.linalg.svd(x, hermitian=True)": "np.linalg.svd with hermitian=",
    "np.fft.fft(v)": "np.fft.fft",
    "np.dot(x, C[:, :, None])": "np.dot",
    "np.einsum(x, [0, 1], [0])": "einsum",
    "np.einsum('ij->', x, dtype=np.float32)": "np.einsum with dtype=",
    "np.interp(s, KNOTS, v, period=3.0)": "np.interp with period=",
    "np.pad(x, 1, mode='mean')": "pad",
    "np.where(x > 0)": "np.where",
    "np.split(x, 3)": "np.split",
    "np.copyto(C, x)": "np.copyto",
    # arguments that would be ignored
    "np.add(x, C, dtype=np.float32)": "np.add with dtype=",
    "np.tanh(x, where=C > 0)": "np.tanh with where=",
    "np.sum(x, dtype=np.float32)": "np.sum with dtype=",
    "np.sum(x, 0, np.float32)": "np.sum",
    "np.sum(x, where=C > 0)": "np.sum with where=",
    "np.max(x, initial=0.0)": "np.max with initial=",
    "np.max(x, 0, np.zeros(4))": "np.max",
    "np.sum(x, out=np.zeros(()))": "np.sum with out=",
    "np.mean(x, dtype=np.float32)": "np.mean with dtype=",
    "np.mean(x, 0, np.float32)": "np.mean",
    "np.var(x, 0, np.float32)": "np.var",
    "np.round(x, 1)": "np.round",
    "np.round(x, decimals=1)": "np.round with decimals=",
    "np.reshape(x, (4, 3), 'F')": "np.reshape",
    "np.reshape(x, (4, 3), order='F')": "np.reshape with order=",
    "np.take(x, [9], mode='wrap')": "np.take with mode=",
    "np.concatenate([x, C], dtype=np.float32)": "np.concatenate with dtype=",
    "np.stack([x, C], 0, np.zeros((2, 3, 4)))": "np.stack",
    "np.argsort(x, kind='stable')": "np.argsort with kind=",
    "np.argmax(x, 0, np.zeros(4, int)) * v": "np.argmax",
    # methods of ufuncs
    "np.multiply.outer(v, v)": "np.multiply.outer",
    "np.add.at(C, 0, v)": "np.add.at",
    "np.add.reduceat(v, [0, 2])": "np.add.reduceat",
    "np.frompyfunc(lambda a: a, 1, 1)(x)": "np.",
}


@pytest.mark.parametrize(("code", "name"), WITHOUT_ROW.items())
def test_functions_without_a_row(code: str, name: str) -> None:
    """What fgrad cannot differentiate raises; the error names the NumPy function, and what fgrad has instead."""
    with pytest.raises(MissingRowError) as caught:
        vjp(of(code), X, V, S)
    message = str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert name in message
    suggested = [word.partition("fgrad.")[2].strip(".,:;()") for word in message.split() if "fgrad." in word]
    assert suggested
    assert all(callable(getattr(fgrad, op.partition("(")[0])) for op in suggested)


# --- what would lose a gradient --------------------------------------------------------------------------------------
CONVERTED = {  # a line of code: what its error says to write
    "math.tanh(s)": r"fgrad\.tanh\(x\)",
    "math.sqrt(s)": r"fgrad\.\w+",
    "math.pow(s, 2)": r"fgrad\.\w+",
    "math.hypot(s, s)": r"fgrad\.\w+",
    "math.fsum([s])": r"fgrad\.\w+",
    "math.floor(s)": r"fgrad\.\w+",
    "math.ceil(s)": r"fgrad\.\w+",
    "math.trunc(s)": r"fgrad\.\w+",
    "round(s, 2)": r"fgrad\.round",
    "float(s)": r"x for float\(x\)",
    "float(x)": r"x for float\(x\)",
    "int(s)": r"fgrad\.floor\(x\)",
    "complex(s)": "real and imaginary parts apart",
    "range(s)": "integer",
    "[1][s]": "integer",
    "x[s:]": "integer",
    "np.array([s, s])": r"fgrad\.stack\(\[x, y\]\)",
    "np.array([x, x])": r"fgrad\.stack\(\[x, y\]\)",
    "np.array([[s, 1.0], [s, s]])": r"fgrad\.stack\(\[x, y\]\)",
    "np.array([s], object)": r"fgrad\.stack\(\[x, y\]\)",
    "np.array(x)": r"x for np\.asarray\(x\)",
    "np.asarray(x)": r"x for np\.asarray\(x\)",
    "np.float64(s)": r"x for np\.asarray\(x\)",
    "np.sum([s, s])": r"fgrad\.stack\(\[x, y\]\)",
    "np.full(3, s)": r"fgrad\.\w+",
    "np.vectorize(math.sin)(x)": r"fgrad\.\w+",
    "np.random.default_rng(0).normal(x)": r"x for np\.asarray\(x\)",
    "C.dot(v)": r"x for np\.asarray\(x\)",
    "C[x > 0]": r"fgrad\.\w+",
    "x @ [1.0, 2.0, 3.0, 4.0]": r"np\.asarray",
    "[1.0, 2.0, 3.0] @ x": r"np\.asarray",
    "x + [1.0, 2.0, 3.0, 4.0]": r"np\.asarray",
    "x / [v, v, v]": r"fgrad\.stack",
    "x * 'a'": "neither a number nor an array",
}
MUTATED = {  # a statement, which may write to an array `captured`: what its error says to write
    "x[0] = s": r"fgrad\.where.*fgrad\.stack",
    "x[0] += s": r"fgrad\.where.*fgrad\.stack",
    "x[x > 0] = 0.0": r"fgrad\.where.*fgrad\.stack",
    "captured += x": r"`y = y \+ x` for `y \+= x`",
    "captured *= s": r"`y = y \+ x` for `y \+= x`",
    "captured @= x.T": r"`y = y \+ x` for `y \+= x`|fgrad\.matmul",
    "captured[0] += v": r"`y = y \+ x` for `y \+= x`",
    "np.tanh(x, out=captured)": r"np\.f\(x\) for np\.f\(x, out=y\)",
    "np.tanh(x, captured)": r"np\.f\(x\) for np\.f\(x, out=y\)",
    "captured[:] = x": r"fgrad\.stack",
    "captured[0] = v": r"fgrad\.stack",
    "captured[0, 0] = s": r"fgrad\.stack",
    "captured.fill(s)": r"fgrad\.\w+",
}


@pytest.mark.parametrize(("code", "advice"), CONVERTED.items())
def test_conversions_raise(code: str, advice: str) -> None:
    """Nothing makes a plain number or array of a traced value, dropping its gradient: the error says what to write."""
    with pytest.raises(ConversionError, match=advice) as caught:
        vjp(of(code), X, V, S)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(("code", "advice"), MUTATED.items())
def test_mutations_raise(code: str, advice: str) -> None:
    """Nothing is written to a traced value, or of one to an array, which stays as it was: the error says what to write.

    For `captured[0, 0] = s`, NumPy raises a ValueError of its own: fgrad's error is its cause.
    """
    captured = np.zeros((3, 4))

    def f(x: Any, v: Any, s: Any) -> float:
        exec(code, {"np": np, "captured": captured, "x": x, "v": v, "s": s})
        return 0.0

    with pytest.raises((TypeError, ValueError)) as caught:
        vjp(f, X, V, S)
    error = caught.value if isinstance(caught.value, FgradError) else caught.value.__cause__
    assert isinstance(error, MutationError | ConversionError | MissingRowError)
    assert re.search(advice, str(error))
    np.testing.assert_array_equal(captured, np.zeros((3, 4)))


LINES: list[Callable[[Any], object]] = [
    lambda x: math.tanh(x[0]),  # mark
    lambda x: np.sum([x, x]),  # mark
    lambda x: np.fft.fft(x),  # mark
    lambda x: np.mean(x, dtype=np.float32),  # mark
    lambda x: operator.setitem(x, 0, 1.0),  # mark
    lambda x: np.add(x, x, out=np.zeros(4)),  # mark
    lambda x: x @ [1.0, 2.0, 3.0, 4.0],  # mark
    lambda x: iter(x[0]),  # mark
]


@pytest.mark.parametrize("f", LINES)
def test_errors_show_the_users_line(f: Callable[[Any], object]) -> None:
    """An error shows the line of the user's that it arose from, though NumPy stands between."""
    with pytest.raises(TypeError, match=r"at test_numpy_protocol\.py:\d+: lambda x: .*# mark"):
        vjp(f, V)


def test_augmented_assignment_rebinds() -> None:
    """`y += v` on a traced value makes a new one: what y was bound to before is as it was."""

    def f(x: Any) -> Any:
        y = x
        y += 1.0
        y *= x
        y -= x
        y **= 2
        y /= 2.0
        return fgrad.sum(y)

    close(grad(f)(X), 2 * X**3, 1e-12)
    close(grad(f)(S), 2 * S**3, 1e-12)


OBJECTS = [  # lines of code on an array of objects that holds 2s and 3s, and on s
    *("a + s", "s * a", "np.maximum(s, a)", "np.where(s > 0, a, s)", "a**s", "np.stack([s, s]) * a", "fgrad.exp(a)"),
    *("np.concatenate([a, np.stack([s])])", "np.stack([a, np.stack([s, s])])", "np.outer(np.stack([s, s]), a)"),
    *("np.stack([s, s]) @ a", "np.dot(a, [s, s])", "fgrad.take(a, np.argmax(np.stack([s, 2 * s])))"),
]


@pytest.mark.parametrize("code", OBJECTS)
def test_object_arrays_hide_no_gradient(code: str) -> None:
    """An array of objects that holds traced values, and would hide them from the walks, is refused by every op."""

    def f(s: Any) -> Any:
        a = np.empty(2, object)
        a[0], a[1] = 2.0 * s, 3.0 * s
        return fgrad.sum(eval(code, {"np": np, "fgrad": fgrad, "a": a, "s": s}))

    with pytest.raises(TypeError):
        grad(f)(S)


@pytest.mark.parametrize("operation", ["add", "sub", "mul", "truediv", "pow", "lt", "eq"])
@pytest.mark.parametrize("array", [["a", "b"], [1j, 2.0], [None, 1.0], np.array([1, 2], "m8[s]")], ids=str)
def test_arrays_of_no_real_numbers(array: Any, operation: str) -> None:
    """An array of strings, complex numbers, objects or times raises TypeError beside a traced value, on either side."""
    op = getattr(operator, operation)
    for x in (S, V[:2]):
        with pytest.raises(TypeError):
            vjp(lambda x: op(x, np.array(array)), x)
        with pytest.raises(TypeError):
            vjp(lambda x: op(np.array(array), x), x)


def test_object_arrays_by_themselves() -> None:
    """An array of objects on which NumPy does Python's arithmetic keeps gradients: nothing hides in it."""

    def f(s: Any) -> Any:
        a = np.empty(2, object)
        a[0], a[1] = s, 3.0 * s
        return np.sum(a * a) + (a @ np.ones(2))

    assert grad(f)(S) == 20.0 * S + 4.0


# --- Python's protocols ----------------------------------------------------------------------------------------------
def test_printing(capsys: pytest.CaptureFixture[str]) -> None:
    """A traced value prints as its value does; its repr names the op that made it, and no other node."""

    def f(x: Any, s: Any) -> Any:
        print(s, f"{s:.3f}", f"{s:>8}", f"{s!s}")
        print(x[0, :2] * 0.0)
        y = s
        for _ in range(50):
            y = y * y / s
        return y * len(repr(y)) + len(str(x)) + s * repr(s).count("1.5") + repr(s * s).startswith("<multiply: 2.25>")

    vjp(f, X, S)
    assert capsys.readouterr().out.splitlines() == [f"{S} {S:.3f} {S:>8} {S}", str(X[0, :2] * 0.0)]


def test_what_arrays_say_of_themselves() -> None:
    """Shape, ndim, size, dtype, len and truth are those of the value."""

    def f(x: Any, s: Any) -> Any:
        for y, value in (
            (x, X),
            (x[0], X[0]),
            (x.sum(), X.sum()),
            (x.T @ x, X.T @ X),
            (fgrad.astype(x, np.float32), X),
        ):
            assert (y.shape, y.ndim, y.size) == (value.shape, value.ndim, value.size)
            assert y.dtype == (np.float32 if y.op.name == "astype" else np.float64)
        assert (s.shape, s.ndim, s.size, s.dtype) == ((), 0, 1, float)
        assert len(x) == 3
        assert s
        assert not 0 * s
        assert isinstance(np.isscalar(s), bool)
        assert operator.index(fgrad.argmax(x)) == int(fgrad.argmax(x)) == np.argmax(X)
        with pytest.raises(TypeError, match="len"):
            len(s)
        with pytest.raises(TypeError, match="iterate"):
            iter(s)
        with pytest.raises(ValueError, match="ambiguous"):
            bool(x)
        return s

    vjp(f, X, S)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda t: copy.deepcopy({"t": t})["t"]])
def test_copies_are_the_node_itself(duplicate: Callable[[Any], Any]) -> None:
    """Copying a traced value, alone or deep in something else, keeps its gradient."""
    assert grad(lambda s: duplicate([s])[0] * duplicate(s))(S) == 2 * S


@pytest.mark.parametrize("dump", [pickle.dumps, lambda node: pickle.dumps({"a": [node]})])
def test_pickling_names_the_trace(dump: Callable[[Any], object]) -> None:
    """A node is no value by itself: pickling one says to save the Trace."""
    with pytest.raises(TypeError, match="Trace"):
        vjp(lambda s: dump(s * s), S)


def test_nodes_hash_by_identity_and_compare_by_value() -> None:
    """A node is a key by identity, while == compares numbers; so `in`, `index` and `count` go by numbers."""

    def f(s: Any) -> Any:
        t = s * 1.0
        assert len({s, t, s}) == 2
        assert {s: "s", t: "t"}[t] == "t"
        assert s == t
        assert (s != t) == False  # noqa: E712  # a node, which compares by value
        assert t in [0.0, s]
        assert s not in (1.0, 2.0)
        assert [1.0, S, s].index(t) == 1
        assert [t, s, 1.0].count(S) == 2
        assert type(s == t) is Node
        return s

    assert grad(f)(S) == 1.0


BAD: list[Any] = [
    "a",
    b"a",
    None,
    [1, 2],
    [1.0, 2.0, 3.0, 4.0],
    (1.0,),
    {},
    {"a": 1.0},
    {1.0},
    object(),
    len,
    1j,
    ...,
]
OPERATORS = "add sub mul truediv floordiv pow matmul lt le gt ge and_ or_ xor"


@pytest.mark.parametrize("primal", [S, V, X], ids=["number", "vector", "matrix"])
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: type(bad).__name__)
def test_bad_operands(bad: Any, primal: Any) -> None:
    """What is no real number or array raises TypeError beside a traced value, on either side, and never equals it."""

    def f(x: Any) -> Any:
        for name in OPERATORS.split():
            for operands in ((x, bad), (bad, x)):
                with pytest.raises(TypeError):
                    getattr(operator, name)(*operands)
        assert (x == bad) is (bad == x) is False
        assert (x != bad) is (bad != x) is True
        return 0.0

    vjp(f, primal)
