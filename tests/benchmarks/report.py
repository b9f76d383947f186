"""The table: medians, spreads, ratios, and which targets are reached.

Knows how to write numbers; nothing of how they were measured.
"""

from collections.abc import Iterator, Sequence
from statistics import median

import attrs

from tests.benchmarks.measure import Measured
from tests.benchmarks.work import Target, Work

_HEAD = f"{'':<31}{'median':>11}{'min':>11}{'max':>11}{'relative':>12}   target"


def head() -> str:
    """The line above the table."""
    return f"{_HEAD}\n{'-' * (len(_HEAD) + 40)}"


@attrs.frozen
class Verdict:
    """What was found where fgrad is to reach something: `against` took so many times as much as `beside`."""

    target: Target
    beside: str
    ratio: float

    @property
    def text(self) -> str:
        """What was to be reached, and whether it was."""
        return f"{self.target.text}: {'reached' if self.target.reached(self.ratio) else 'NOT reached'}"


def verdicts(work: Work, measured: Measured) -> Iterator[Verdict]:
    """A work's targets, without those whose contestants were left out."""
    samples = measured.samples
    for target in work.targets:
        beside = target.beside or work.references.get(target.against, next(iter(samples)))
        if target.against in samples and beside in samples:
            yield Verdict(target, beside, relative(samples[target.against], samples[beside]))


def table(work: Work, measured: Measured) -> Iterator[str]:
    """The lines of one work: a row for each contestant; ratios are medians over the turns."""
    yield f"{work.name}: {work.about}"
    first, *_ = measured.samples
    found = list(verdicts(work, measured))
    for name, samples in measured.samples.items():
        reference = work.references.get(name, first)
        numbers = "".join(f"{number(x, work.unit):>11}" for x in (median(samples), min(samples), max(samples)))
        mine = [verdict for verdict in found if verdict.target.against == name]
        notes = [] if reference == first else [f"of {reference}"]
        notes += [verdict.text for verdict in mine if not verdict.target.beside]
        ratio = ratio_text(relative(samples, measured.samples[reference]))
        yield f"  {name:<29}{numbers}{ratio:>12}   {', '.join(notes)}".rstrip()
        for verdict in mine:
            if verdict.target.beside:
                yield f"  {'':<29}{'beside ' + verdict.beside:>33}{ratio_text(verdict.ratio):>12}   {verdict.text}"
    for name, module in measured.missing.items():
        yield f"  {name:<29}  left out: no module {module}"


def relative(samples: Sequence[float], reference: Sequence[float]) -> float:
    """How many times as much as the reference: the median over the turns, whose two share the machine's mood."""
    return median(a / b for a, b in zip(samples, reference, strict=True))


def ratio_text(x: float) -> str:
    """A ratio, to two digits at least."""
    digits = 3 if x < 0.1 else 2 if x < 1000 else 0
    return f"{x:,.{digits}f}×"


def number(x: float, unit: str) -> str:
    """A number with its unit, to about four digits."""
    scales = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")] if unit == "s" else [(1e6, "MB"), (1.0, "B")]
    scale, name = next((row for row in scales if x >= row[0]), scales[-1])
    x /= scale
    return f"{x:,.{max(0, 3 - len(str(int(x))))}f} {name}"
