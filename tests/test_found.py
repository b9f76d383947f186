"""What fuzzing found in compiled functions, each in its smallest form: a compiled function gives what eager gives."""

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import scan, tree, vmap

grad: Any = fgrad.grad
A, C, X = np.arange(1.0, 4.0), np.array([1.0, 2.0, 3.0]), np.arange(6.0).reshape(2, 3)
SINGLE = np.arange(1, 5, dtype=np.float32)


def spread(a: Any, c: Any) -> Any:
    return scan(lambda s, x: ((x * 2.0, s[1] + s[0] * 3.0), None), (a, c), X)[0]


def two_scans(a: Any) -> Any:
    k = np.ones((3, 2))
    return fgrad.hvp(lambda a: fgrad.sum(fgrad.sin(scan(lambda s, x: (k, None), a, None, length=2)[0])), (a,), (a,))


def long_step(s: Any, y: Any) -> Any:
    for _ in range(4100):
        s = fgrad.sin(s + y)
    return s, None


def picked(x: Any) -> Any:
    parts, t = [x[i] for i in range(20)], 0.0
    for k in range(250):
        for i in range(20):
            t = t + fgrad.sin(parts[i] * parts[(i + k) % 20])
    return t


def of_turned(a: Any, c: Any) -> Any:
    turned, one = fgrad.permute_dims(a, (2, 0, 3, 1)), fgrad.vecdot(c[None, ...], c)
    return fgrad.sum(fgrad.sin(turned @ one)) + fgrad.sum(fgrad.sin(fgrad.sin(turned)))


@fgrad.elementwise(lambda ans, x: 3 * x * x)
def cube(x: float) -> float:
    return x * x * x


@fgrad.elementwise(lambda ans, x: ans * ans)
def grown(x: float) -> float:
    return 1.0 / (1.0 - x)


def with_itself(x: Any) -> Any:
    return (x * 2.0).T @ x + x.sum()


CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "concat of two dtypes": (lambda a: fgrad.sin(fgrad.concat([a, np.ones(3)])) * 2.0 + 1.0, (SINGLE,)),
    "a state read after its successor is there": (spread, (np.ones(3), np.zeros(3))),
    "its gradient": (lambda a, c: grad(lambda p: fgrad.sum(spread(*p)[1]))((a, c)), (np.ones(3), np.zeros(3))),
    "two scans of a constant state": (two_scans, (np.ones((3, 2)),)),
    "a constant stacked twice": (lambda a: scan(lambda s, x: (s * 2.0, (C, C)), a, None, length=2), (A,)),
    "a constant added and stacked": (lambda a: scan(lambda s, x: (s + C, C), a, None, length=2), (A,)),
    "an element of a step's array": (
        lambda a: scan(lambda s, x: ((s[0] * 2.0, (s[0] * 3.0)[1]), None), (a, 0.5), None, length=2),
        (A,),
    ),
    "a view of a constant": (lambda a: scan(lambda s, x: (s * 2.0, C[::2][1:]), a, None, length=2), (A,)),
    "the order of axes in memory": (
        grad(of_turned, (0, 1)),
        (np.cos(np.arange(384.0)).reshape(3, 1, 16, 8), np.sin(np.arange(8.0))),
    ),
    "a long step": (lambda a: scan(long_step, a, C)[0], (0.5,)),
    "pieces of sums in place": (grad(picked), (np.linspace(0.0, 1.0, 20),)),
    "float32 and a number": (grad(lambda s, a: fgrad.sum(fgrad.exp(s) * a)), (0.3, SINGLE / 3)),
    "the same scan twice": (
        lambda a: [scan(lambda s, y: (s * 2.0 + y, None), a, X)[0] for _ in range(2)],
        (A,),
    ),
    "a function with the name of an op": (fgrad.tanh, (0.5,)),
    "an op of one's own": (cube, (2.0,)),
    "an op of one's own in its own derivative": (grad(grown), (0.5,)),
    "axes turned to where they are": (vmap(with_itself), (np.asfortranarray(np.ones((3, 4))),)),
    "an argument and a nan": (
        lambda x: (x, grad(lambda q: fgrad.sum(fgrad.log(q) * q))(x)),
        (np.array([1.0, np.nan]),),
    ),
}


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_found(name: str, native: bool) -> None:
    """The same values, in Python to the bit, of the same types; results share memory with nothing."""
    f, args = CASES[name]
    compiled: Any = fgrad.jit(f, native=native)
    with np.errstate(all="ignore"):
        expected = f(*args)
    for _ in range(2):
        found = compiled(*args)
        x: Any
        y: Any
        for x, y in zip(tree.leaves(found), tree.leaves(expected), strict=True):
            assert type(x) is type(y)
            if not native:
                np.testing.assert_array_equal(x, y)
            np.testing.assert_allclose(x, y, rtol=1e-5 if np.asarray(y).dtype == np.float32 else 1e-12)
        arrays = [x for x in [*tree.leaves(found), *tree.leaves(args), C] if isinstance(x, np.ndarray)]
        for i, a in enumerate(arrays):
            assert not any(np.shares_memory(a, b) for b in arrays[i + 1 :])


def test_threads_compile_at_once() -> None:
    """Eight threads compile their first functions at the same moment."""
    code = functools.partial(sys.setswitchinterval, sys.getswitchinterval())
    sys.setswitchinterval(1e-5)
    x, barrier, wrong = np.ones(50), threading.Barrier(8), list[Any]()

    def work(i: int) -> None:
        barrier.wait()
        for k in range(3):
            c = float(i * 10 + k)
            f: Any = fgrad.jit(lambda x, c=c: fgrad.sum(fgrad.sin(x * c) + c * x) * x + fgrad.exp(-x))
            if not np.allclose(f(x), f.function(x)):
                wrong.append(c)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    code()
    assert not wrong
