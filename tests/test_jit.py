"""A compiled function gives what the function gives, with branches, closures, threads and transforms.

Each test is run twice: as Python, to the bit, and with native kernels, which even the smallest programs become here.
"""

import functools
import logging
import math
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
import pytest

import fgrad
from fgrad import hessian, jvp, micro, tree, value_and_grad, vjp, vmap
from fgrad.compile import pieces, regions
from fgrad.compile.jit import MOST_PATHS
from fgrad.errors import ArgumentError, LeafError
from tests.oracles import close
from tests.sample import Sample
from tests.test_ops import CONSTANT, NAMES, on_fgrad, over, some

grad: Any = fgrad.grad  # of lambdas, whose types are not known
jit: Callable[..., Any] = fgrad.jit
WEIGHT: Any = 2.0
ROUNDING = 0.0


@pytest.fixture(params=["python", "native"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """How functions are compiled; natively, results may be rounded otherwise."""
    global jit, ROUNDING
    native = request.param == "native"
    monkeypatch.setattr(regions, "FEWEST", 1)
    jit, ROUNDING = functools.partial(fgrad.jit, native=native), 50.0 * native
    yield request.param
    jit, ROUNDING = fgrad.jit, 0.0


def same(actual: Any, desired: Any) -> None:
    """Fail unless two trees agree in structure, kinds of leaves, and every bit but a nan's and a zero's sign.

    Natively numbers may differ by rounding, in proportion to the largest of an array, and to what they come from.
    """
    first, structure = tree.flatten(actual)
    second, expected = tree.flatten(desired)
    assert structure == expected
    for x, y in zip(first, second, strict=True):
        assert (type(x) in (float, int, bool)) == (type(y) in (float, int, bool))
        a, b = np.asarray(x), np.asarray(y)  # NumPy's numbers and arrays of one number are alike
        if not ROUNDING or a.dtype.kind != "f":
            np.testing.assert_array_equal(a, b, strict=True)
        else:
            unit = ROUNDING * float(np.finfo(a.dtype).eps)
            size = float(np.max(np.abs(b), where=np.isfinite(b), initial=1.0))
            np.testing.assert_allclose(a, b, rtol=1e4 * unit, atol=size * unit, strict=True)


@over(NAMES)
def test_every_row_compiled_is_the_row(sample: Sample) -> None:
    """Values, pullbacks and pushforwards, at the sample's arguments and, by the same program, at others."""
    f, args = on_fgrad(sample), sample.args
    if any(np.asarray(x).dtype.kind != "f" for x in args):
        return
    weights = some(vjp(f, *args)[0]) if sample not in CONSTANT_SAMPLES else None

    def derivatives(*args: Any) -> Any:
        if weights is None:
            return f(*args)
        out, pullback = vjp(f, *args)
        return out, pullback(weights), jvp(f, args, tuple(some(x) for x in SAMPLE_ARGS[id(sample)]))

    SAMPLE_ARGS[id(sample)] = args
    compiled = jit(derivatives)
    others = tuple(x * 1.0009765625 for x in args)
    with np.errstate(all="ignore"):
        for given in (args, others, args):
            same(compiled(*given), derivatives(*given))


SAMPLE_ARGS: dict[int, Any] = {}
CONSTANT_SAMPLES: list[Sample] = [
    sample.values[0] for mark in [over(CONSTANT)] for sample in mark.args[1] if isinstance(sample.values[0], Sample)
]


SPECIAL = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 5e-324, 1e308, 1000.0, -1000.0]


@pytest.mark.parametrize("x", SPECIAL)
def test_special_values(x: float) -> None:
    """IEEE arithmetic, strong zero and infinities, as without compiling; whatever the function was traced at."""
    functions: list[Callable[[Any], Any]] = [
        lambda x: fgrad.exp(x) * 2.0,
        lambda x: fgrad.log(x) + 1.0,
        lambda x: 1.0 / x,
        lambda x: x**0.5,
        lambda x: x**2 + 3 * x,
        lambda x: fgrad.where(x > 0, fgrad.sqrt(x), 0.0),
        lambda x: fgrad.maximum(x, 0.0) - fgrad.relu(-x),
        lambda x: fgrad.tanh(fgrad.sigmoid(x) * x),
        lambda x: fgrad.softplus(x) - fgrad.logaddexp(x, 1.0),
    ]
    for f in functions:
        # A plain call of f on Python's floats may raise; in fgrad they are IEEE's.
        for g in (lambda x, f=f: vjp(f, x)[0], grad(f), grad(grad(f))):
            compiled = jit(g)
            compiled(0.5)
            same(compiled(x), g(x))
            array = np.array([x, 0.5])
            rows: Any = jit(vmap(g))
            with np.errstate(all="ignore"):
                same(rows(array), vmap(g)(array))


def test_networks_number_by_number_and_as_arrays() -> None:
    """The gradient of an MLP is an MLP, with the same bits, from one program for all values."""

    def loss(model: micro.MLP, xs: list[list[float]], ys: list[float]) -> Any:
        return sum((model(x)[0] - y) ** 2 for x, y in zip(xs, ys, strict=True))

    both = fgrad.value_and_grad(loss)
    compiled = jit(both)
    for seed in range(3):
        model = micro.MLP.init([2, 3, 1], seed=seed)
        same(
            compiled(model, [[1.0, 2.0], [0.5, -1.0]], [1.0, -1.0]), both(model, [[1.0, 2.0], [0.5, -1.0]], [1.0, -1.0])
        )
    info = compiled.cache_info()
    assert (info.traces, info.hits) == (info.paths, 3 - info.traces)
    layers = {"w": np.linspace(-1, 1, 12).reshape(3, 4), "b": np.zeros(4)}

    def array_loss(p: Any, x: Any) -> Any:
        return fgrad.sum(fgrad.logsumexp(fgrad.tanh(x @ p["w"] + p["b"]), axis=-1))

    x = np.cos(np.arange(15.0)).reshape(5, 3)
    same(jit(grad(array_loss))(layers, x), grad(array_loss)(layers, x))


def test_branches_are_guards() -> None:
    """Each way is traced once; loops over counts, while, assert and early returns work; a counter is not baked in."""

    @jit
    def f(x: Any, n: int) -> Any:
        assert n >= 0
        total = 0.0 * x
        for i in range(n):
            total = total + x**i
            if total > 100:
                return -total
        while total > 3:
            total = total / 2
        return total

    def plain(x: Any, n: int) -> Any:
        return f.function(x, n)

    for x, n in [(1.5, 3), (1.6, 3), (9.0, 3), (1.5, 4), (1.5, 3), (0.1, 0), (20.0, 5)]:
        same(f(x, n), plain(x, n))
        same(grad(f)(x, n), grad(plain)(x, n))
    assert f.cache_info().traces == f.cache_info().paths

    @jit
    def step(x: Any, k: int) -> Any:
        return x * 0.9 + k

    for k in range(20):
        assert step(1.0, k) == 1.0 * 0.9 + k
    assert step.cache_info() == (19, 1, 1, 0)


def test_how_many_a_mask_picks_is_a_guard() -> None:
    """Of a mask too that is written over another: what was divided by their number is traced anew."""
    means: list[Any] = [
        lambda x: fgrad.mean(x[x > 0] ** 2),
        lambda x: fgrad.mean(x[(x > 0) & (x < 2)] ** 2),
        lambda x: fgrad.mean(x[~(x <= 0)] ** 2),
    ]
    for f in means:
        for g in (f, grad(f)):
            compiled: Any = jit(g)
            for x in (np.array([1.0, -1.0, 3.0]), np.array([1.0, 1.5, 0.5]), np.array([1.0, -1.0, -3.0])):
                same(compiled(x), g(x))


def test_too_many_paths_are_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """A function that goes another way each time is run as it is, and says so once."""

    @jit
    def f(x: float, n: int) -> float:
        for _ in range(n):
            x = x * 1.5
        return x

    with caplog.at_level(logging.WARNING, "fgrad"):
        for n in range(MOST_PATHS + 10):
            assert f(2.0, n) == f.function(2.0, n)
    assert len(caplog.records) == 1
    assert "more than 16 ways" in caplog.text


def test_what_is_reached_as_a_closure() -> None:
    """A variable that is now another object is seen; one that is differentiated keeps its gradient, every time."""
    global WEIGHT

    @jit
    def f(x: Any) -> Any:
        return WEIGHT * x * x

    def through(w: Any) -> Any:
        global WEIGHT
        before, WEIGHT = WEIGHT, w
        try:
            return f(3.0)
        finally:
            WEIGHT = before

    assert f(3.0) == 18.0
    for _ in range(100):
        assert grad(through)(2.0) == 9.0
        assert f(3.0) == 18.0
    held = {"w": 2.0}
    g = jit(lambda x: held["w"] * x)

    def by_holding(w: Any) -> Any:
        held["w"] = w
        return g(3.0)

    assert g(3.0) == 6.0
    assert [grad(by_holding)(2.0) for _ in range(3)] == [3.0] * 3
    held["w"] = 4.0
    assert g(3.0) == 12.0
    WEIGHT = 5.0
    assert f(3.0) == 45.0
    WEIGHT = 2.0

    def made(w: Any) -> Any:
        return jit(lambda x: w * x)(3.0) * jit(lambda x: w["a"] * x if isinstance(w, dict) else w * x)(2.0)

    assert [grad(made)(2.0) for _ in range(3)] == [24.0] * 3


def test_transforms_of_compiled_and_compiled_transforms() -> None:
    """Either way round, and one in the other, as without."""

    def f(x: Any, y: Any) -> Any:
        return fgrad.sin(x) * y + (x * x if x > 0 else -x)

    xs = np.array([0.3, 1.0, 2.0])
    g = jit(f)
    same(grad(g, (0, 1))(0.5, 2.0), grad(f, (0, 1))(0.5, 2.0))
    same(jit(grad(g, (0, 1)))(-0.5, 2.0), grad(f, (0, 1))(-0.5, 2.0))
    same(jit(hessian(f, (0, 1)))(0.5, 2.0), hessian(f, (0, 1))(0.5, 2.0))

    def smooth(x: Any, y: Any) -> Any:
        return fgrad.sin(x) * y + x * x

    h = jit(smooth)
    same(vmap(h, (0, None))(xs, 2.0), vmap(smooth, (0, None))(xs, 2.0))
    same(jit(vmap(hessian(smooth)))(xs, xs), vmap(hessian(smooth))(xs, xs))
    same(jit(jit(smooth))(0.5, 2.0), smooth(0.5, 2.0))
    same(jvp(h, (0.5, 2.0), (1.0, 3.0)), jvp(smooth, (0.5, 2.0), (1.0, 3.0)))
    loop: Any = jit(grad(lambda w: fgrad.scan(lambda c, x: (fgrad.tanh(c * w + x), None), 0.1, xs)[0]))
    same(loop(0.7), loop.function(0.7))
    masked: Any = jit(grad(lambda x: fgrad.sum(x[x > 0] ** 2)))
    for x in (np.array([1.0, -1.0, 2.0]), np.array([1.0, 1.0, -2.0]), np.array([-1.0, -1.0, -2.0])):
        same(masked(x), masked.function(x))


@attrs.frozen
class Dense:
    w: Any
    name: str = tree.static("tanh")


def test_static_arguments_stay_where_they_are() -> None:
    """Given by place they are none of the keyword form of `grad`, and none that `vmap` maps."""

    def power(x: float, n: int) -> float:
        return x**n

    slope: Any = jit(grad(power), static_argnames="n")
    assert slope(2.0, 3) == slope(2.0, n=3) == 12.0
    assert jit(value_and_grad(power), static_argnames="n")(2.0, 3) == (8.0, 12.0)
    np.testing.assert_array_equal(
        jit(vmap(power, in_axes=(0, None)), static_argnames="n")(np.arange(3.0), 3),
        [0.0, 1.0, 8.0],
    )
    total: Any = jit(lambda n, x, *rest, k=2.0, **more: n * x + sum(rest) * k + sum(more.values()), static_argnames="n")
    assert (total(3, 1.0, 2.0, z=4.0), total(4, 1.0), total(n=3, x=1.0)) == (11.0, 4.0, 3.0)
    assert total.cache_info().traces == 3


def test_calls_of_other_kinds() -> None:
    """Keywords, static fields and arguments, dtypes, shapes and structures each have a program of their own."""

    @jit
    def f(layer: Dense, x: Any, scale: float = 1.0) -> dict[str, Any]:
        h = x @ layer.w * scale
        return {"h": fgrad.tanh(h) if layer.name == "tanh" else fgrad.relu(h), "n": 3}

    w, x = np.eye(2), np.array([0.5, -0.5])
    for layer in (Dense(w), Dense(w, "relu"), Dense(w.astype(np.float32)), Dense(np.ones((2, 3)))):
        for keywords in ({}, {"scale": 2.0}, {}):
            same(f(layer, x=x, **keywords), f.function(layer, x=x, **keywords))
            same(f(layer, x, **keywords), f.function(layer, x, **keywords))
    power = jit(lambda x, how: x**2 if how == "square" else x, static_argnames=("how",))
    assert [power(3.0, "square"), power(3.0, how="none"), power(4.0, "square")] == [9.0, 3.0, 16.0]
    assert power.cache_info().traces == 2
    empty: Any = jit(lambda: 2.0)
    assert empty() == empty() == 2.0


def test_arguments_that_are_no_numbers() -> None:
    """Strings are settings, compared at every call; anything else must be static, and says so."""

    def f(x: Any, mode: Any) -> Any:
        return {"x": x if mode == "a" else -x, "mode": mode}

    compiled = jit(f)
    for mode in ("a", "b", "a"):
        assert compiled(1.0, mode) == compiled(1.0, mode=mode) == f(1.0, mode)
    nested: Any = jit(lambda x, o: {"a": x, "b": -x}[o["m"]])
    assert [nested(1.0, {"m": m}) for m in "abba"] == [1.0, -1.0, -1.0, 1.0]
    with pytest.raises(LeafError, match=r"mode is .*neither number nor array: name the argument in static_argnames"):
        compiled(1.0, math.sin)
    applied: Any = jit(lambda x, how: how(x), static_argnames="how")
    assert applied(0.0, fgrad.cos) == 1.0
    assert applied(0.0, fgrad.sin) == 0.0
    with pytest.raises(ArgumentError, match="static_argnames has m, which <lambda> has not: its arguments are x, n"):
        jit(lambda x, n: x**n, static_argnames=("m",))
    with pytest.raises(ArgumentError, match="jit compiles a function, not int 3"):
        any_jit(3)


any_jit: Any = jit


def test_results_share_memory_with_nothing() -> None:
    """Not with arguments, constants, each other, nor with the results of the next call."""
    constant = np.arange(3.0)
    f: Any = jit(lambda x: (x, x[:2], x, constant, fgrad.reshape(x + 1, (3, 1)), x + 1))
    x = np.ones(3)
    first, second = f(x), f(x)
    everything = [*first, *second, x, constant]
    for i, a in enumerate(everything):
        assert not any(np.shares_memory(a, b) for b in everything[i + 1 :])
    first[3][:] = 7.0
    same(f(x)[3], np.arange(3.0))


def test_threads_share_a_compiled_function() -> None:
    """Eight threads, each with its own branches, and every result right."""
    f = jit(grad(lambda x: fgrad.sin(x) if x > 0 else x * x * x))
    wrong: list[Any] = []

    def work(seed: int) -> None:
        for x in np.random.default_rng(seed).normal(size=300).tolist():
            expected = math.cos(x) if x > 0 else 3 * x * x
            if abs(f(x) - expected) > 1e-12:
                wrong.append(x)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_source_is_readable_and_what_runs(way: str) -> None:
    """The user's names, a statement for a shared value, where it comes from; a traceback shows it."""

    def neuron(x: float, w: float, b: float) -> float:
        return fgrad.tanh(x * w + b)

    compiled: Any = jit(grad(neuron, (0, 1, 2)))
    text = compiled.source(1.0, 2.0, 3.0)
    assert text.startswith("# from neuron, test_jit.py:")
    assert "def neuron(x, w, b):" in text
    assert "tanh(" in text
    namespace = {"tanh": math.tanh}
    exec(text, namespace)
    run: Any = namespace["neuron"]
    assert run(1.0, 2.0, 3.0) == compiled(1.0, 2.0, 3.0)
    lowered = compiled.lower(1.0, 2.0, 3.0)
    assert next(iter(lowered)) == "trace"
    assert lowered["source"] == text
    last = list(lowered)[list(lowered).index("source") - 1]
    assert len(lowered["trace"].splitlines()) > len(lowered[last].splitlines())
    if way == "native":
        assert "kernel(x, w, b)" in lowered["native"]
        assert "call double @tanh(double" in lowered["LLVM"]
        assert "tanh" in lowered["assembly"]

    @fgrad.elementwise(1.0)
    def picky(x: float) -> float:
        if x > 1:
            raise TypeError("too large")
        return x

    broken: Any = jit(lambda x: picky(x) * 2.0)
    broken(0.5)
    with pytest.raises(TypeError, match="too large") as caught:
        broken(2.0)
    assert any(
        "fgrad" in frame.filename and "picky(x)" in (frame.line or "") for frame in traceback.extract_tb(caught.tb)
    )


def test_what_cannot_be_compiled() -> None:
    """An error of the function is the function's; a program that depends on an outer transform has no source."""
    failing: Any = jit(lambda x: [][1])
    with pytest.raises(IndexError):
        failing(1.0)
    wrong: Any = jit(lambda x: math.sin(x))
    with pytest.raises(fgrad.errors.ConversionError, match=r"fgrad\.tanh|math"):
        wrong(1.0)
    with pytest.raises(ArgumentError, match="uses traced values of another transform"):
        grad(lambda w: jit(lambda x: w * x).source(1.0) and w)(2.0)
    impure: list[Any] = []

    def doubled(x: float) -> float:
        impure.append(1)
        return x * 2.0

    f = jit(doubled)
    close(f(1.0), 2.0)
    close(f(2.0), 4.0)
    assert len(impure) == 1  # while tracing alone, as the docstring says


def test_long_programs_are_cut(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Whatever the length of the pieces: numbers, masks, arrays of one and guards pass from one to the next."""

    def f(x: Any, y: Any, a: Any) -> Any:
        up = x > y
        s = fgrad.sin(x) * y + a[1]
        t = fgrad.where(up, s * s, -s) + fgrad.sum(a * s)
        if t > 100:
            return t
        return {"t": t * fgrad.cos(t - x) + a[2:3] * t, "up": fgrad.where(up, 1.0, t)}

    both = fgrad.value_and_grad(lambda x, y, a: fgrad.sum(f(x, y, a)["t"]), (0, 1, 2))
    a = np.arange(3.0)
    for length in (1, 2, 5):
        monkeypatch.setattr(pieces, "PIECE", length)
        for g in (f, both):
            compiled = jit(g)
            for args in ((0.5, 2.0, a), (1.5, -0.5, a * 0.1), (0.5, 2.0, a + 40)):
                if g is f or args[2][0] < 40:
                    same(compiled(*args), g(*args))
