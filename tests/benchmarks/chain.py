"""Works on a chain of a million ops: time and memory grow with its length, and nothing recurses.

micrograd's backward pass is recursive: it runs in a thread with a large stack and the recursion limit out of the way.
"""

import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from fgrad import value_and_grad
from tests.benchmarks.measure import apart, peak_bytes
from tests.benchmarks.work import Run, Target, Work

LONG, SHORT = 1_000_000, 100_000


def chain(x: Any, ops: int) -> Any:
    """Products and sums by turns, each of the one before."""
    for _ in range(ops // 2):
        x = x * 1.0000001 + 1e-9
    return x


def _fgrad(ops: int) -> Run:
    both = value_and_grad(lambda x: chain(x, ops))
    return Run(lambda: both(1.0), lambda result: result) if ops == LONG else Run(lambda: both(1.0))


def _micrograd() -> Run:
    from micrograd.engine import Value

    def call() -> Any:
        x = Value(1.0)
        y = chain(x, LONG)
        y.backward()
        return y.data, x.grad

    return Run(lambda: _deep(call), lambda result: result)


def _deep(call: Callable[[], object]) -> object:
    """Call a function that recurses a million deep."""
    results: list[object] = []
    limit, stack = sys.getrecursionlimit(), threading.stack_size()
    sys.setrecursionlimit(10 * LONG)
    threading.stack_size(1 << 30)
    try:
        thread = threading.Thread(target=lambda: results.append(call()))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(stack)
        sys.setrecursionlimit(limit)
    return results[0]


def chain_memory(ops: int) -> float:
    """Peak memory of forward and backward."""
    return peak_bytes(_fgrad(ops).call)


WORKS = [
    Work(
        "chain",
        "1,000,000 ops, one after the other, value and gradient",
        {"fgrad": lambda: _fgrad(LONG), "fgrad, 100,000 ops": lambda: _fgrad(SHORT), "micrograd": _micrograd},
        [
            Target("fgrad, 100,000 ops", 1 / 11, "≤ 11× the time at 100,000"),
            Target("micrograd", 3.0, "≥ 3×"),
        ],
        repeat=3,
    ),
    Work(
        "chain-memory",
        "peak memory of the same",
        {
            "fgrad": lambda: apart(partial(chain_memory, LONG)),
            "fgrad, 100,000 ops": lambda: apart(partial(chain_memory, SHORT)),
        },
        [Target("fgrad, 100,000 ops", 1 / 11, "≤ 11× the memory at 100,000")],
        repeat=1,
        timed=False,
        unit="B",
    ),
]
