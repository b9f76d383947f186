"""How far a run is: a bar on a terminal and in a notebook, and a few plain lines in a log file.

Knows where a run stands and what it is called there; nothing of what drives it: it hands on what it is given.
"""

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from fgrad import errors
from fgrad.train import Snapshot, Watched, step_of

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
Due: TypeAlias = Callable[[int, int], bool]
Show: TypeAlias = Callable[[int, str], object]
_LINES: Final = 10  # in a log file
_PAUSE: Final = 0.1  # seconds between two looks at a bar: showing must not slow a run down


def progress(
    items: Iterable[T],
    total: int | None = None,
    *,
    unit: str = "step",
    size: int = 1,
    describe: Callable[[T], str] | None = None,
    console: "Console | None" = None,
) -> Iterator[T]:
    """Hand on snapshots, or anything else, and show how many of `total` there were, and what is said of the last.

    A unit is `size` items, as `unit="epoch", size=data.per_epoch`; snapshots count by their own step, so that a resumed
    run begins where it stood. `describe` says something else than the loss or the score. Where there is neither a
    terminal nor a notebook, ten lines are written in all; without a `total`, one whenever the count has doubled.

    Raises `MissingExtraError` without rich.

    >>> from rich.console import Console
    >>> for x in progress([0.5, 0.25], 2, describe=lambda x: f"loss {x}", console=Console(force_terminal=False)):
    ...     pass
    step 1 of 2: loss 0.5
    step 2 of 2: loss 0.25
    """
    shown = _console() if console is None else console
    return _told(items, total, unit, size, describe or _described, shown)


def _console() -> "Console":
    try:
        from rich.console import Console
    except ImportError:
        raise errors.missing_extra("show", "rich", "a progress bar") from None
    return Console()


def _told(
    items: Iterable[T], total: int | None, unit: str, size: int, describe: Callable[[T], str], console: "Console"
) -> Iterator[T]:
    count = told = 0
    last: Callable[[], str] = str
    tell = _bar if _moves(console) else _lines
    with tell(total, unit, console) as (due, show):
        try:
            for number, item in enumerate(items, 1):
                # A partial, for describing may cost something.
                count, last = _count(item, number) // size, functools.partial(describe, item)
                if count > told and due(count, told):
                    show(count, last())
                    told = count
                yield item
        finally:
            if count > told:
                show(count, last())


def _moves(console: "Console") -> bool:
    """Whether what was shown can be shown anew: on a terminal, and in a notebook with the widgets that rich needs."""
    return find_spec("ipywidgets") is not None if console.is_jupyter else console.is_interactive


def _count(item: object, number: int) -> int:
    return step_of(item) if isinstance(item, Snapshot | Watched) else number


def _described(item: object) -> str:
    if isinstance(item, Watched):
        return f"score {item.score:.4g}, best {item.best_score:.4g}"
    return f"loss {item.value:.4g}" if isinstance(item, Snapshot) else ""


@contextmanager
def _bar(total: int | None, unit: str, console: "Console") -> Iterator[tuple[Due, Show]]:
    """A bar that is moved now and then."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.fields[text]}", markup=False)
    with Progress(
        TextColumn(unit), BarColumn(), MofNCompleteColumn(), text, TimeElapsedColumn(), console=console
    ) as bar:
        task, shown = bar.add_task(unit, total=total, text=""), -math.inf

        def show(count: int, text: str) -> None:
            nonlocal shown
            shown = time.monotonic()
            bar.update(task, completed=count, text=text)

        yield lambda count, told: time.monotonic() - shown >= _PAUSE, show


@contextmanager
def _lines(total: int | None, unit: str, console: "Console") -> Iterator[tuple[Due, Show]]:
    """Lines, a tenth of the run apart; or as far as it has come, where its length is not known."""
    of = "" if total is None else f" of {total}"

    def due(count: int, told: int) -> bool:
        return count >= 2 * told if not total else count * _LINES // total > told * _LINES // total

    yield due, lambda count, text: console.out(f"{unit} {count}{of}" + (f": {text}" if text else ""), highlight=False)
