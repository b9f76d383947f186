"""The table: medians, spreads, ratios, and which targets are reached.

Knows how to write numbers; nothing of how they were measured.
"""

from collections.abc import Iterator, Sequence
from statistics import median

from tests.benchmarks.measure import Measured
from tests.benchmarks.work import Work

_HEAD = f"{'':<26}{'median':>11}{'min':>11}{'max':>11}{'relative':>10}   target"


def head() -> str:
    """The line above the table."""
    return f"{_HEAD}\n{'-' * (len(_HEAD) + 40)}"


def table(work: Work, measured: Measured) -> Iterator[str]:
    """The lines of one work: a row for each contestant; ratios are medians over the turns."""
    yield f"{work.name}: {work.about}"
    first, *_ = measured.samples
    targets = {target.against: target for target in work.targets}
    for name, samples in measured.samples.items():
        reference = work.references.get(name, first)
        ratio = relative(samples, measured.samples[reference])
        numbers = "".join(f"{_number(x, work.unit):>11}" for x in (median(samples), min(samples), max(samples)))
        verdict = "" if reference == first else f"   of {reference}"
        if name in targets:
            reached = "reached" if targets[name].reached(ratio) else "NOT reached"
            verdict += f"   {targets[name].text}: {reached}"
        yield f"  {name:<24}{numbers}{ratio:>9.2f}×{verdict}"
    for name, module in measured.missing.items():
        yield f"  {name:<24}  left out: no module {module}"


def relative(samples: Sequence[float], reference: Sequence[float]) -> float:
    """How many times as much as the reference: the median over the turns, whose two share the machine's mood."""
    return median(a / b for a, b in zip(samples, reference, strict=True))


def _number(x: float, unit: str) -> str:
    """A number with its unit, to about four digits."""
    scales = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")] if unit == "s" else [(1e6, "MB"), (1.0, "B")]
    scale, name = next((row for row in scales if x >= row[0]), scales[-1])
    x /= scale
    return f"{x:,.{max(0, 3 - len(str(int(x))))}f} {name}"
