"""What a benchmark is: a work, its contestants, and what fgrad is to reach.

Knows how contestants are made and made to agree; nothing of clocks and of any particular work.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import attrs


@attrs.frozen
class Run:
    """A contestant, set up: a call does the work once, and `numbers` lists value and gradient in what it returned.

    Without `numbers` there are none to compare with the others'.
    """

    call: Callable[[], object]
    numbers: Callable[[Any], Sequence[float]] | None = None


Make: TypeAlias = Callable[[], Run]
"""Sets a contestant up; what it imports may be missing, and then it is left out."""


@attrs.frozen
class Target:
    """What fgrad is to reach: that the contestant `against` takes at least `ratio` times as much as its reference.

    Where `at_most` is set, fgrad itself is the contestant `against`, and that is its limit. `beside` names another
    contestant to take the place of the reference, as the kernel of a compiled function beside C.
    """

    against: str
    ratio: float
    text: str
    at_most: bool = False
    beside: str = ""

    def reached(self, found: float) -> bool:
        """Whether a ratio that was measured is good enough."""
        return found <= self.ratio if self.at_most else found >= self.ratio


@attrs.frozen
class Work:
    """One thing to do, and who does it; the first contestant is fgrad, and all others are measured relative to it.

    Those in `references` are not: each is measured relative to the contestant named there, as a library's derivatives
    are to its own forward pass.
    A sample is the time of a call, in seconds; where the work is not `timed`, it is the number that the call returns.
    """

    name: str
    about: str
    contestants: Mapping[str, Make]
    targets: Sequence[Target] = ()
    references: Mapping[str, str] = attrs.Factory(dict)
    repeat: int = 9
    timed: bool = True
    unit: Literal["s", "B"] = "s"


def set_up(work: Work) -> tuple[dict[str, Run], dict[str, str]]:
    """Make the contestants that can be made; the others by name, with the reason."""
    runs: dict[str, Run] = {}
    missing: dict[str, str] = {}
    for name, make in work.contestants.items():
        try:
            runs[name] = make()
        except ModuleNotFoundError as error:
            if (error.name or "fgrad").split(".")[0] == "fgrad":
                raise
            missing[name] = error.name or ""
    return runs, missing


def needs(module: str) -> None:
    """Raise ModuleNotFoundError where a module is missing, without importing it."""
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"no module {module}", name=module)


def check_agreement(work: Work, runs: Mapping[str, Run]) -> None:
    """Call each contestant once; raise ArithmeticError unless all give the same numbers, to a relative 1e-9."""
    found = {name: [float(x) for x in run.numbers(run.call())] for name, run in runs.items() if run.numbers}
    expected = next(iter(found.values()), [])
    # What cancels to nearly nothing is compared in proportion to the largest number.
    tiny = 1e-12 * max(map(abs, expected), default=0.0)
    for name, got in found.items():
        if len(got) != len(expected):
            raise ArithmeticError(f"{work.name}: {name} gives {len(got)} numbers, not {len(expected)}")
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            if not math.isclose(a, b, rel_tol=1e-9, abs_tol=tiny):
                raise ArithmeticError(f"{work.name}: number {i} is {a!r} for {name}, {b!r} for the first")
