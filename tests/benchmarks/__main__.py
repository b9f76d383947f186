"""`python -m tests.benchmarks`: each work in a process of its own, by default with one thread for linear algebra."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from tests.benchmarks import (
    arrays,
    chain,
    compile_times,
    compiled,
    growth,
    imports,
    learning,
    loops,
    mixture,
    native,
    page,
    recurrent,
    scalars,
    transforms,
)
from tests.benchmarks.measure import Measured, measure
from tests.benchmarks.report import head, table
from tests.benchmarks.work import Work

FAMILIES = (
    scalars,
    chain,
    growth,
    arrays,
    mixture,
    compiled,
    native,
    compile_times,
    transforms,
    loops,
    recurrent,
    imports,
    learning,
)
WORKS: dict[str, Work] = {work.name: work for family in FAMILIES for work in family.WORKS}
ROOT, FOLDER = Path(__file__).parents[2], Path("docs/benchmarks")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the works asked for and print their table; 1 if one of them failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="fgrad and its peers, side by side."
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", choices=WORKS, help="only this work; may be repeated"
    )
    parser.add_argument("--repeat", type=int, metavar="N", help="turns for each contestant (default: as the work says)")
    parser.add_argument("--quick", action="store_true", help="a third of the turns, and shorter ones")
    parser.add_argument(
        "--threads", choices=("one", "default"), default="one", help="threads for linear algebra (default: one)"
    )
    parser.add_argument("--write", action="store_true", help=f"write results.md and results.png into {FOLDER}")
    parser.add_argument("--list", action="store_true", help="list the works")
    parser.add_argument("--child", choices=WORKS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{work.name:<20}{work.about}" for work in WORKS.values()))
        return 0
    if options.child:
        work = WORKS[options.child]
        repeat = options.repeat or max(1, work.repeat // (3 if options.quick else 1))
        measured = measure(work, repeat=repeat, turn=0.02 if options.quick else 0.1)
        print(json.dumps(attrs.asdict(measured)))
        return 0
    print(head())
    names = options.only or list(WORKS)
    shown = [(WORKS[name], _shown(name, options)) for name in names]
    results = [(work, measured) for work, measured in shown if measured is not None]
    if options.write and results:
        page.write(ROOT / FOLDER, results, options.threads)
    return int(len(results) < len(names))


def _shown(name: str, options: argparse.Namespace) -> Measured | None:
    """Measure a work and print its lines."""
    measured = _in_process(name, options)
    lines = [f"{name}: FAILED"] if measured is None else table(WORKS[name], measured)
    print("\n".join(lines), end="\n\n", flush=True)
    return measured


def _in_process(name: str, options: argparse.Namespace) -> Measured | None:
    """Measure a work in a process of its own; None if it fails, which it says itself."""
    command = [sys.executable, "-m", "tests.benchmarks", "--child", name]
    command += ["--repeat", str(options.repeat)] if options.repeat else []
    command += ["--quick"] if options.quick else []
    environment = os.environ | (ONE_THREAD if options.threads == "one" else {})
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1])) if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
