"""Works on what a gradient costs as programs grow, number by number: beside the function itself, and its trace.

The program steps along the motion of a spring that hardens: six ops a step, in which each number is used several times.
"""

import sys
from collections.abc import Callable
from typing import Any

from fgrad import trace, value_and_grad
from tests.benchmarks.work import Make, Run, Target, Work

SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
DEEPEST = 100_000  # so many ops for peers, whose times are known by then
PLAIN = "plain function"


def spring(x: Any, v: Any, ops: int) -> Any:
    """Where it is after about so many ops, on every peer's numbers."""
    for _ in range(ops // 6):
        v = v - x * x * x * 0.01
        x = x + v * 0.01
    return x


def _plain(ops: int) -> Run:
    return Run(lambda: spring(1.0, 0.5, ops))


def _trace(ops: int) -> Run:
    def f(x: float, v: float) -> float:
        last: float = spring(x, v, ops)
        return last

    return Run(lambda: trace(f)(1.0, 0.5))


def _grad(ops: int) -> Run:
    both: Any = value_and_grad(lambda x, v: spring(x, v, ops), (0, 1))
    return Run(lambda: both(1.0, 0.5), lambda result: (result[0], *result[1]))


def _micrograd(ops: int) -> Run:
    """Its backward pass recurses, in Python alone, which takes no more of the system's stack for it."""
    from micrograd.engine import Value

    sys.setrecursionlimit(max(sys.getrecursionlimit(), 10 * ops))

    def call() -> Any:
        x, v = Value(1.0), Value(0.5)
        last = spring(x, v, ops)
        last.backward()
        return last.data, x.grad, v.grad

    return Run(call, lambda result: result)


def _hips(ops: int) -> Run:
    import autograd

    both = autograd.value_and_grad(lambda x, v: spring(x, v, ops), (0, 1))
    return Run(lambda: both(1.0, 0.5), lambda result: (result[0], *result[1]))


def _torch(ops: int) -> Run:
    import torch

    def call() -> Any:
        x, v = (torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (1.0, 0.5))
        last = spring(x, v, ops)
        return last.item(), *torch.autograd.grad(last, (x, v))

    return Run(call, lambda result: [float(a) for a in result])


def _work(ops: int) -> Work:
    def at(setup: Callable[[int], Run]) -> Make:
        return lambda: setup(ops)

    contestants = {"fgrad grad": at(_grad), PLAIN: at(_plain), "fgrad trace": at(_trace)}
    if ops <= DEEPEST:
        contestants |= {"micrograd": at(_micrograd), "HIPS autograd": at(_hips), "PyTorch": at(_torch)}
    references = {name: PLAIN for name in contestants if name != PLAIN}
    targets = [Target("fgrad grad", 4.0, "≤ 4× the forward pass", at_most=True, beside="fgrad trace")]
    about = f"{ops:,} ops number by number: value and gradient relative to the plain function"
    return Work(f"growth-{ops}", about, contestants, targets, references, repeat=3)


WORKS = [_work(ops) for ops in SIZES]
