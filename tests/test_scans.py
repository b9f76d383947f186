"""Loops of compiled functions: what the loops give, as Python and natively, with all derivatives."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import cond, fori_loop, hvp, jvp, scan, tree, vmap, while_loop
from fgrad.compile import regions
from tests.test_jit import same as same_bits

grad: Any = fgrad.grad
jit: Callable[..., Any] = fgrad.jit
NATIVE = False
XS = np.linspace(-1.0, 1.0, 7)
ROWS = np.cos(np.arange(21.0)).reshape(7, 3)
W = np.sin(np.arange(9.0)).reshape(3, 3)


@pytest.fixture(params=["python", "native"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """How functions are compiled."""
    global jit, NATIVE
    NATIVE = request.param == "native"
    monkeypatch.setattr(regions, "FEWEST", 1)
    jit = functools.partial(fgrad.jit, native=NATIVE)
    yield
    jit, NATIVE = fgrad.jit, False


def same(actual: Any, desired: Any) -> None:
    """Fail unless two trees agree: to the bit, or natively but for rounding."""
    if not NATIVE:
        same_bits(actual, desired)
        return
    assert tree.flatten(actual)[1] == tree.flatten(desired)[1]
    a: Any
    b: Any
    for a, b in zip(tree.leaves(actual), tree.leaves(desired), strict=True):
        assert type(a) is type(b)
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def number_step(c: Any, x: Any) -> Any:
    return fgrad.tanh(c * x + 0.3), c * 2.0


def vector_step(c: Any, x: Any) -> Any:
    return fgrad.tanh(c @ W + x), fgrad.sum(c * c)


def pair_step(c: Any, x: Any) -> Any:
    h, n = c
    return (fgrad.where(x > 0, h * 1.5 + x, h - x), n + 1), {"x": x, "n": n * 1.0, "up": h > 0.0, "one": 1.0}


def swapped(c: Any, x: Any) -> Any:
    a, b = c
    return (b, a), (a, b + x)


def sliced(c: Any, x: Any) -> Any:
    gates = fgrad.concat([c, x]) @ np.ones((6, 6)) * 0.1
    return fgrad.sigmoid(gates[:3]) * c + gates[3:], (c[::-1], c[1], gates[::2])


def parts(c: Any, x: Any) -> Any:
    joined = fgrad.concat([x, c]) * 0.5
    return joined[2:5], (c[1:], c[0], joined[1], joined[4:5] * 2.0)


def constants(c: Any, x: Any) -> Any:
    return np.arange(3.0), (ROWS[0], c)


SCANS: dict[str, Callable[[], Any]] = {
    "numbers": lambda: scan(number_step, 0.5, XS),
    "backwards": lambda: scan(number_step, 0.5, XS, reverse=True),
    "vectors": lambda: scan(vector_step, ROWS[0], ROWS),
    "counted": lambda: scan(pair_step, (0.5, 0), XS),
    "swapped": lambda: scan(swapped, (ROWS[0], ROWS[1]), ROWS),
    "sliced": lambda: scan(sliced, ROWS[0], ROWS),
    "parts": lambda: scan(parts, ROWS[0], ROWS),
    "constants": lambda: scan(constants, ROWS[0], ROWS),
    "nothing stacked": lambda: scan(lambda c, x: (c * 0.5 + x, None), 1.0, XS),
    "no xs": lambda: scan(lambda c, _: (c * 1.5, c), 1.0, length=5),
    "no steps": lambda: scan(number_step, 0.5, XS[:0]),
    "float32": lambda: scan(lambda c, x: (fgrad.tanh(c * x), c), np.ones(3, np.float32), ROWS.astype(np.float32)),
    "masks": lambda: scan(lambda c, x: ((x > 0) ^ c, c), True, XS),
    "integers": lambda: scan(lambda c, x: (c * x, x), 1.0, np.arange(1, 5)),
    "not contiguous": lambda: scan(vector_step, ROWS[0], ROWS[::-1]),
    "checkpoint": lambda: scan(number_step, 0.5, XS, checkpoint=True),
    "nested": lambda: scan(lambda c, x: (c + scan(number_step, x, XS)[0], c), 0.5, XS),
    "counting": lambda: fori_loop(2, 9, lambda i, x: x * 0.5 + i, 1.0),
    "while": lambda: while_loop(lambda x: x < 100.0, lambda x: x * x, 2.0),
    "one of two": lambda: scan(lambda c, x: (cond(x > 0, fgrad.sin, fgrad.cos, c), c), 0.5, XS),
}


@pytest.mark.parametrize("name", SCANS)
def test_loops(name: str) -> None:
    """The values of all kinds of loops, with arguments that are traced."""
    leaf: Any = {"x": 0.25}

    def f(p: Any) -> Any:
        return SCANS[name]() if p is None else tree.map(lambda y: y * 1.0 if _is_float(y) else y, SCANS[name]())

    def through(p: Any) -> Any:
        out = SCANS[name]()
        return out, p["x"] * 2.0

    same(jit(through)(leaf), through(leaf))
    same(jit(f)(None), f(None))


def _is_float(y: Any) -> bool:
    return "float" in str(getattr(y, "dtype", type(y)))


def recurrent(p: Any, xs: Any) -> Any:
    """A small recurrent network with gates."""

    def step(c: Any, x: Any) -> Any:
        h, s = c
        w = fgrad.concat([p["u"], p["w"]])
        gates = fgrad.sigmoid(fgrad.concat([x, h]) @ w + p["b"])
        s = gates[:3] * s + gates[3:] * p["a"]
        return (fgrad.tanh(s), s), fgrad.sum(s * s)

    (h, s), ys = scan(step, (np.zeros(3), np.zeros(3)), xs)
    return fgrad.mean(ys) + fgrad.sum(h * s)


def parameters(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {"u": random.normal(size=(3, 6)), "w": random.normal(size=(3, 6)), "b": random.normal(size=6), "a": 0.7}


def test_all_modes_through_a_loop() -> None:
    """Gradient, forward mode, Hessian-vector products and batches; new numbers, by one trace."""
    p, t = parameters(0), parameters(1)
    compiled = jit(fgrad.value_and_grad(recurrent))
    for seed in range(3):
        same(compiled(parameters(seed), ROWS), fgrad.value_and_grad(recurrent)(parameters(seed), ROWS))
    assert compiled.cache_info().traces == 1

    def forward(p: Any, t: Any) -> Any:
        return jvp(lambda p: recurrent(p, ROWS), (p,), (t,))

    def second(p: Any, t: Any) -> Any:
        return hvp(lambda p: recurrent(p, ROWS), (p,), (t,))

    def many(p: Any, xs: Any) -> Any:
        return vmap(grad(recurrent), (None, 0))(p, xs)

    batch = np.stack([ROWS, ROWS[::-1], 2.0 * ROWS])
    same(jit(forward)(p, t), forward(p, t))
    same(jit(second)(p, t), second(p, t))
    same(jit(many)(p, batch), many(p, batch))


def test_strong_zero_through_a_loop() -> None:
    """Where a loop's step would make nan of 0 times inf, there is 0, as without compiling."""

    def f(x: Any) -> Any:
        return scan(lambda c, y: (c + fgrad.where(y > 0, fgrad.sqrt(y), 0.0), c), 0.0, x)[0]

    for x in (np.array([1.0, 0.0, 4.0]), np.zeros(3), np.array([-1.0, 2.0, np.inf])):
        same(jit(grad(f))(x), grad(f)(x))


def test_a_loss_and_its_gradient_share_their_loop() -> None:
    """What the gradient needs of the way forward is done with the value's: two loops are left of three."""
    text = jit(fgrad.value_and_grad(recurrent)).lower(parameters(0), ROWS)["native" if NATIVE else "source"]
    assert text.count("scan(" if not NATIVE else "kernel") - text.count("def kernel") <= 4
