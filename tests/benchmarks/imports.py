"""What importing costs, in a fresh process, beyond the start of the bare interpreter."""

import os
import subprocess
import sys
from time import perf_counter

from tests.benchmarks.work import Make, Run, Target, Work, needs


def _seconds(code: str) -> float:
    # What pip installed is compiled already; an editable installation must be allowed to keep its bytecode too.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return perf_counter() - start


def _importing(module: str) -> Make:
    def make() -> Run:
        needs(module)
        return Run(lambda: _seconds(f"import {module}") - _seconds("pass"))

    return make


WORKS = [
    Work(
        "import",
        "import in a fresh process, less the interpreter's own start",
        {module: _importing(module) for module in ("fgrad", "numpy", "jax", "torch", "autograd")},
        [Target("jax", 5.0, "fgrad ≤ 1/5 of it")],
        timed=False,
    ),
]
