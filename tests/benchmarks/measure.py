"""How contestants are measured: in turns, so that a machine's drift hits all alike, with the garbage collector on.

Knows clocks, processes and memory; nothing of any particular work.
"""

import gc
import tracemalloc
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import attrs

from tests.benchmarks.work import Run, Work, check_agreement, set_up


@attrs.frozen
class Measured:
    """The samples of each contestant, turn by turn, and which contestants are missing for want of which module."""

    samples: dict[str, list[float]]
    missing: dict[str, str]


def measure(work: Work, *, repeat: int, turn: float) -> Measured:
    """Check that the contestants agree, then let them take turns, `repeat` times, of at least `turn` seconds each."""
    runs, missing = set_up(work)
    check_agreement(work, runs)
    sampler = _seconds(runs, turn) if work.timed else _returned(runs)
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeat):
        for name in runs:
            gc.collect()  # each cleans up behind itself in its own turn, and no one behind the one before
            samples[name].append(sampler(name))
    return Measured(samples, missing)


def _seconds(runs: Mapping[str, Run], turn: float) -> Callable[[str], float]:
    """The mean time of a call, over as many as fill a turn."""
    counts = {name: ceil(turn / _time(run.call, 1)) for name, run in runs.items()}
    return lambda name: _time(runs[name].call, counts[name]) / counts[name]


def _time(call: Callable[[], object], count: int) -> float:
    start = perf_counter()
    for _ in range(count):
        call()
    return perf_counter() - start


def _returned(runs: Mapping[str, Run]) -> Callable[[str], float]:
    return lambda name: float(runs[name].call())  # type: ignore[arg-type]  # a number, where the work is not timed


def apart(function: Callable[[], float]) -> Run:
    """Call a function of a module in a fresh process each time; it returns the sample."""

    def call() -> float:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(function).result()

    return Run(call)


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that a call holds at once, beyond what was held before it."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - before


def peak_resident(call: Callable[[], object]) -> int:
    """Likewise, as the system sees it, which knows of memory that Python does not: on Linux, in a fresh process."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forgets earlier peaks
    before = _resident("VmRSS")
    call()
    return _resident("VmHWM") - before


def _resident(entry: str) -> int:
    """An entry of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(entry))


def keep_pages() -> None:
    """Let the C library's allocator keep pages, as in any program that has used larger arrays before.

    Else it would give them back after each step, which would cost each contestant more than its arithmetic. It learns
    that when a large block is freed.
    """
    bytes(1 << 24)
