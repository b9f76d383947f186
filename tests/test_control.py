"""Loops and choices as single ops agree with Python's own for, while and if, under every transform."""

import functools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import (
    checkpoint,
    cond,
    fori_loop,
    hessian,
    hvp,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    scan,
    trace,
    vjp,
    vmap,
    while_loop,
)
from fgrad.errors import ArgumentError, BranchError, LeafError, MissingRowError, OutputError, StructureError
from tests.oracles import close

grad: Any = fgrad.grad  # of lambdas, whose types are not known
jacobian: Any = fgrad.jacobian
RNG = np.random.default_rng(0)
W, U, XS, H = (RNG.normal(size=shape) for shape in ((3, 3), (3, 2), (7, 2), (3,)))
ARGS = (W, U, 0.3, H, XS)
EVERY = tuple(range(len(ARGS)))
DIRECTIONS = tuple(np.cos(1.0 + np.arange(np.size(x))).reshape(np.shape(x))[()] for x in ARGS)
DIRECTIONS = (*DIRECTIONS[:2], 0.7, *DIRECTIONS[3:])


def by_python(w: Any, u: Any, b: Any, h: Any, xs: Any, reverse: bool = False) -> Any:
    ys: list[Any] = []
    for i in range(len(xs)):
        h = fgrad.tanh(w @ h + u @ xs[-1 - i if reverse else i] + b)
        ys.append(fgrad.sum(h * h) * b)
    return h, fgrad.stack(ys[::-1] if reverse else ys)


def by_scan(w: Any, u: Any, b: Any, h: Any, xs: Any, **options: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = fgrad.tanh(w @ h + u @ x + b)
        return h, fgrad.sum(h * h) * b

    return scan(step, h, xs, **options)


def loss(f: Callable[..., Any]) -> Callable[..., Any]:
    def total(*args: Any) -> Any:
        h, ys = f(*args)
        return fgrad.sum(h) + fgrad.sum(ys**2)

    return total


def gradient(f: Callable[..., Any]) -> Any:
    return grad(loss(f), EVERY)


def along(f: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient's product with fixed directions: its own gradient takes two reverse walks."""

    def functional(*args: Any) -> Any:
        found = gradient(f)(*args)
        return sum((fgrad.sum(g * d) for g, d in zip(found, DIRECTIONS, strict=True)), 0.0)

    return functional


MANY = np.stack([XS, 1.1 * XS])
FEW = (np.stack([W, W + 0.1]), U, np.array([0.3, 0.5]), H, XS)
TRANSFORMS: dict[str, Callable[[Callable[..., Any]], Any]] = {
    "value": lambda f: f(*ARGS),
    "reverse": lambda f: gradient(f)(*ARGS),
    "forward": lambda f: jvp(loss(f), ARGS, DIRECTIONS),
    "linearize": lambda f: linearize(loss(f), *ARGS)[1](*DIRECTIONS),
    "forward over reverse": lambda f: hvp(loss(f), ARGS, DIRECTIONS),
    "reverse over reverse": lambda f: grad(along(f), EVERY)(*ARGS),
    "reverse over forward": lambda f: grad(lambda *args: jvp(loss(f), args, DIRECTIONS)[1], EVERY)(*ARGS),
    "forward over forward": lambda f: jvp(lambda *args: jvp(loss(f), args, DIRECTIONS)[1], ARGS, DIRECTIONS),
    "Hessian": lambda f: hessian(loss(f))(*ARGS),
    "Jacobian by rows": lambda f: jacrev(lambda h: f(W, U, 0.3, h, XS)[1])(H),
    "Jacobian by columns": lambda f: jacfwd(lambda h: f(W, U, 0.3, h, XS)[1])(H),
    "batch of inputs": lambda f: vmap(f, (None, None, None, None, 0))(W, U, 0.3, H, MANY),
    "batch of weights": lambda f: vmap(f, (0, None, 0, None, None))(*FEW),
    "batch of gradients": lambda f: vmap(gradient(f), (0, None, 0, None, None))(*FEW),
    "batch of products": lambda f: vmap(lambda v: hvp(lambda h: loss(f)(W, U, 0.3, h, XS), (H,), (v,)))(np.eye(3)),
    "gradient of a batch": lambda f: grad(
        lambda *args: fgrad.sum(vmap(loss(f), (0, None, 0, None, None))(*args)), EVERY
    )(*FEW),
    "closure": lambda f: grad(lambda w: loss(lambda h: f(w, U, 0.3, h, XS))(H))(W),
    "checkpointed whole": lambda f: grad(lambda w: checkpoint(lambda w: loss(f)(w, U, 0.3, H, XS))(w))(W),
}


@pytest.mark.parametrize(
    "options", [{}, {"checkpoint": True}, {"reverse": True}, {"checkpoint": True, "reverse": True}]
)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_scan_is_the_loop(name: str, options: dict[str, bool]) -> None:
    """Under every transform, in each of its forms, scan gives what Python's loop gives."""
    transform = TRANSFORMS[name]
    expected = transform(functools.partial(by_python, reverse=options.get("reverse", False)))
    close(transform(functools.partial(by_scan, **options)), expected, 1e-11, 1e-12)


def test_the_graph_of_a_loop_is_small() -> None:
    """A thousand steps are as many nodes as ten; and of the gradient's graph the same holds."""

    def f(n: int) -> Callable[[float], float]:
        return lambda w: scan(lambda x, _: (fgrad.sin(w * x), None), 0.5, length=n)[0]

    for transform in (lambda f: f, grad, lambda f: grad(grad(f))):
        sizes = {len(trace(transform(f(n)))(1.1).nodes) for n in (10, 1000)}
        assert len(sizes) == 1
        assert sizes.pop() < 100


def test_checkpointing_a_scan_takes_the_memory_of_a_root() -> None:
    """10,000 steps of 16 numbers, backwards: less than a tenth of the memory without; the same bits."""

    def f(x: Any, checkpoint: bool) -> Any:
        return fgrad.sum(
            scan(lambda x, _: (fgrad.tanh(1.01 * x + 0.1), None), x, length=10_000, checkpoint=checkpoint)[0]
        )

    def peak(checkpoint: bool) -> tuple[int, Any]:
        tracemalloc.start()
        found = grad(lambda x: f(x, checkpoint))(np.linspace(0.0, 1.0, 16))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size, found

    peak(True)  # what is imported and memoised at first is not counted
    (small, g), (large, h) = peak(True), peak(False)
    np.testing.assert_array_equal(g, h)
    assert small < large / 10


def test_states_slices_and_results_are_trees() -> None:
    """Their structures are kept; integers count; xs may be several arrays; length alone will do; no steps give none."""
    xs = {"a": np.arange(3.0), "b": np.ones((3, 2))}

    def step(state: Any, x: Any) -> Any:
        n, (total,) = state
        return (n + 1, (total + x["a"] * x["b"],)), {"n": n, "y": total * x["a"]}

    (n, (total,)), ys = scan(step, (0, (np.zeros(2),)), xs)
    assert n == 3
    assert isinstance(n, int)
    close(total, np.full(2, 3.0))
    close(ys["n"], np.arange(3))
    close(ys["y"], np.array([[0.0, 0.0], [0.0, 0.0], [2.0, 2.0]]))
    found: Any = grad(lambda xs: fgrad.sum(scan(step, (0, (np.zeros(2),)), xs)[1]["y"]))(xs)
    assert list(found) == ["a", "b"]
    close(found["a"], np.array([6.0, 4.0, 2.0]))
    last, none = scan(lambda x, _: (x * 2.0, None), 1.0, length=5)
    assert (last, none) == (32.0, None)
    empty: Any = scan(lambda c, x: (c + x, c * x), 0.5, np.zeros((0,)))
    assert empty[0] == 0.5
    assert empty[1].shape == (0,)
    assert grad(lambda c: scan(lambda c, x: (c + x, c * x), c, np.zeros((0,)))[0])(2.0) == 1.0
    single: Any = grad(lambda x: fgrad.sum(scan(lambda c, x: (c + x, c * x), x[0], x)[1]))(np.ones(3, np.float32))
    assert single.dtype == np.float32


@pytest.mark.parametrize("checkpoint", [False, True])
def test_fori_loop(checkpoint: bool) -> None:
    """It counts, indexes by the counter, and has derivatives in both modes; no round gives the state back."""

    def f(v: Any) -> Any:
        return fori_loop(1, 6, lambda i, x: x * fgrad.getitem(v, i) + i, 1.0, checkpoint=checkpoint)

    def plain(v: Any) -> Any:
        x = 1.0
        for i in range(1, 6):
            x = x * v[i] + i
        return x

    v = RNG.normal(size=6)
    for transform in (lambda f: f(v), lambda f: grad(f)(v), lambda f: hessian(f)(v), lambda f: jvp(f, (v,), (v,))):
        close(transform(f), transform(plain), 1e-12, 1e-13)
    assert fori_loop(3, 3, lambda i, x: x * 2.0, 1.5) == fori_loop(3, 0, lambda i, x: x * 2.0, 1.5) == 1.5


def newton(a: Any) -> Any:
    """The square root, by Newton's iteration."""
    return while_loop(lambda x: abs(x * x - a) > 1e-13 * a, lambda x: 0.5 * (x + a / x), 1.0 * a)


def test_while_loop_goes_forward() -> None:
    """The derivative of what it converges to, of the second order too, for many examples at once; not in reverse."""
    assert newton(2.0) == pytest.approx(2.0**0.5, rel=1e-14)
    assert jvp(newton, (2.0,), (1.0,))[1] == pytest.approx(0.5 / 2.0**0.5, rel=1e-12)
    assert jacfwd(jacfwd(newton))(2.0) == pytest.approx(-0.25 * 2.0**-1.5, rel=1e-10)
    examples = np.array([1e-3, 2.0, 50.0])
    close(vmap(newton)(examples), examples**0.5, 1e-12)
    close(vmap(jacfwd(newton))(examples), 0.5 * examples**-0.5, 1e-9)
    close(jvp(vmap(newton), (examples,), (examples,))[1], 0.5 * examples**0.5, 1e-9)
    counted: Any = while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, s[1] * 2.0), (0, 1.0))
    assert counted == (5, 32.0)
    w: Any = jvp(lambda w: while_loop(lambda x: x < 100.0, lambda x: x * w, 2.0), (3.0,), (1.0,))
    assert w == (162.0, 216.0)
    with pytest.raises(MissingRowError, match=r"while_loop.*fori_loop or scan.*jvp"):
        grad(newton)(2.0)


def either(x: Any) -> Any:
    return cond(x > 0, lambda x: fgrad.sin(x) * x, lambda x: x * x * x, x)


def either_by_python(x: Any) -> Any:
    return fgrad.sin(x) * x if x > 0 else x * x * x


@pytest.mark.parametrize("x", [1.3, -0.7])
def test_cond_is_if(x: float) -> None:
    """The branch that holds is differentiated, to the third order in all modes; the other is not done."""
    transforms: list[Callable[[Any], Any]] = [
        lambda f: f(x),
        lambda f: grad(f)(x),
        lambda f: jvp(f, (x,), (2.0,)),
        lambda f: grad(grad(f))(x),
        lambda f: jvp(grad(f), (x,), (1.0,)),
        lambda f: grad(lambda x: jvp(f, (x,), (1.0,))[1])(x),
        lambda f: grad(grad(grad(f)))(x),
    ]
    for transform in transforms:
        close(transform(either), transform(either_by_python), 1e-13)


def test_cond_of_many_examples() -> None:
    """Each example goes its own way, in values and derivatives; a condition that all share is decided once."""
    xs = np.array([1.3, -0.7, 2.0])
    transforms: list[Callable[[Any], Any]] = [lambda f: f, grad, lambda f: grad(grad(f)), jacfwd]
    for transform in transforms:
        close(vmap(transform(either))(xs), np.stack([transform(either_by_python)(x) for x in xs.tolist()]), 1e-13)
    found: Any = grad(lambda xs: fgrad.sum(vmap(either)(xs)))(xs)
    close(found, np.stack([grad(either_by_python)(x) for x in xs.tolist()]), 1e-13)
    shared: Any = lambda w: fgrad.sum(vmap(lambda x: cond(w > 0, lambda x: x * w, lambda x: -x, x))(xs))
    assert grad(shared)(2.0) == pytest.approx(xs.sum())


def test_cond_is_decided_at_each_step_of_a_loop() -> None:
    """As the same cond in Python's loop is."""

    def f(w: Any) -> Any:
        return scan(lambda c, _: (cond(c > 1.0, lambda c: c * w, lambda c: c + w * w, c), None), 0.2, length=5)[0]

    def plain(w: Any) -> Any:
        c = 0.2
        for _ in range(5):
            c = c * w if c > 1.0 else c + w * w
        return c

    assert grad(f)(0.7) == pytest.approx(grad(plain)(0.7), rel=1e-14)
    close(vmap(grad(f))(np.array([0.7, 0.2, 1.5])), np.array([grad(plain)(w) for w in (0.7, 0.2, 1.5)]))


def test_a_loop_in_a_loop() -> None:
    """Matrix powers by two scans, one in the other, with everything reached as a closure."""

    def f(w: Any) -> Any:
        inner: Any = lambda x: scan(lambda x, _: (fgrad.tanh(w @ x), None), x, length=3)[0]
        return fgrad.sum(scan(lambda x, k: (inner(x) * k, fgrad.sum(x)), H, np.array([1.0, 2.0]))[0])

    def plain(w: Any) -> Any:
        x = H
        for k in (1.0, 2.0):
            for _ in range(3):
                x = fgrad.tanh(w @ x)
            x = x * k
        return fgrad.sum(x)

    close(grad(f)(W), grad(plain)(W))
    close(hessian(f)(W), hessian(plain)(W), 1e-10, 1e-12)
    close(vmap(grad(f))(np.stack([W, -W])), np.stack([np.asarray(grad(plain)(w)) for w in (W, -W)]), 1e-11, 1e-12)


def test_jacobians_and_pullbacks_of_loops_own_what_they_captured() -> None:
    """What is done to the arrays later does not change a pullback."""
    xs, h = XS.copy(), H.copy()
    _, pullback = vjp(lambda h: by_scan(W, U, 0.3, h, xs)[1], h)
    before = pullback(np.ones(7))
    xs *= 100
    h *= 100
    np.testing.assert_array_equal(pullback(np.ones(7)), before)
    close(jacobian(lambda h: by_scan(W, U, 0.3, h, XS)[1])(H).T @ np.ones(7), before[0])


def test_a_branch_that_is_not_taken_is_not_done() -> None:
    """Not even where it would raise; and where both are traced, it warns of nothing, and its nan goes nowhere."""
    matrix = np.array([[-1.0, 0.0], [0.0, 1.0]])
    found: Any = grad(lambda a: cond(a[0, 0] > 0, lambda a: fgrad.sum(fgrad.cholesky(a)), lambda a: fgrad.sum(a), a))(
        matrix
    )
    close(found, np.ones((2, 2)))
    roots: Any = vmap(grad(lambda x: cond(x > 0, fgrad.sqrt, lambda x: 2 * x, x)))(np.array([4.0, -1.0, 0.0]))
    close(roots, np.array([0.25, 2.0, 2.0]))


def test_loops_of_no_examples_and_loops_that_only_count() -> None:
    """An empty batch goes through; what only decides how often a loop runs has no derivative, in reverse too."""
    assert vmap(lambda x: while_loop(lambda x: x < 10, lambda x: x * 2, x))(np.zeros(0)).shape == (0,)
    twice = lambda x: x * while_loop(lambda c: c[0] < x, lambda c: (c[0] + 1, c[1] * 2.0), (0, 1.0))[1]
    assert grad(twice)(2.5) == 8.0


def test_dtypes_and_memory_are_their_own() -> None:
    """A float32 state stays one in a batch as alone; results share no memory with arguments, nor with each other."""
    f = lambda s, xs: scan(lambda s, x: (s * x, s * x), s, xs)
    s, xs = np.ones((2, 3), np.float32), np.ones((2, 4))
    any_f: Any = f
    with pytest.raises(StructureError, match="keeps shape and dtype"):
        any_f(s[0], xs[0])
    xs = xs.astype(np.float32)
    for found in (any_f(s[0], xs[0]), vmap(any_f)(s, xs)):
        assert found[0].dtype == found[1].dtype == np.float32
    a = np.ones(2)
    first, second = scan(lambda c, _: (c, None), (a, a), length=2)[0]
    assert not np.shares_memory(first, a)
    assert not np.shares_memory(first, second)
    assert not np.shares_memory(fori_loop(0, 0, lambda i, x: x, a), a)
    assert not np.shares_memory(checkpoint(lambda x: x)(a), a)


any_scan: Any = scan  # unchecked by types, as many scripts are
any_while: Any = while_loop
any_cond: Any = cond
WRONG: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: any_scan(lambda c, x: (c if c > 0 else -c, None), 1.0, length=3), BranchError, "every step of a loop"),
    (lambda: any_scan(lambda c, x: (c if c > 0 else -c, None), 1.0, length=3), BranchError, "fgrad.cond"),
    (lambda: any_scan(lambda c, x: (c + 0.5, None), 1, length=3), StructureError, "write 0.0 for 0"),
    (
        lambda: any_scan(lambda c, x: (c[:1], None), np.ones(2), length=3),
        StructureError,
        "the state was an array of shape",
    ),
    (lambda: any_scan(lambda c, x: ((c, c), x), 1.0, np.ones(3)), StructureError, "differ at the state"),
    (lambda: any_scan(lambda c, x: c, 1.0, length=3), OutputError, "returns (state, y), not float"),
    (lambda: any_scan(lambda c, x: (c, x), 1.0), ArgumentError, "length="),
    (
        lambda: any_scan(lambda c, x: (c, x), 1.0, np.ones(3), length=4),
        StructureError,
        "xs has 3 slices, where 4 steps",
    ),
    (
        lambda: any_scan(lambda c, x: (c, None), 1.0, {"a": np.ones(3), "b": np.ones(2)}),
        StructureError,
        "xs['b'] has 2 slices, where 3",
    ),
    (lambda: any_scan(lambda c, x: (c, None), 1.0, 2.0), StructureError, "xs needs an axis to go along"),
    (lambda: any_scan(lambda c, x: (c, None), {"mode": "a"}, length=2), LeafError, "init['mode'] is str 'a'"),
    (lambda: any_while(lambda c: c < 3, lambda c: (c, c), 1.0), StructureError, "differ at the state"),
    (
        lambda: vmap(lambda x: any_cond(x > 0, lambda x: x, lambda x: (x, x), x))(np.ones(2)),
        StructureError,
        "the branches of cond give different results",
    ),
    (
        lambda: vmap(lambda x: any_cond(x > 0, lambda x: np.ones(2) * x, lambda x: x, x))(np.ones(2)),
        StructureError,
        "the branches of cond give different results",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[case[2] for case in WRONG])
def test_wrong_calls(call: Callable[[], object], error: type[Exception], message: str) -> None:
    """Each says what happened, where, and what to write."""
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
