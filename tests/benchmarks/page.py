"""The results as files: a page with versions, machine, targets and the table, and a picture of the ratios.

Knows Markdown and matplotlib; nothing of how anything was measured.
"""

import os
import platform
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from tests.benchmarks.measure import Measured
from tests.benchmarks.report import head, ratio_text, relative, table, verdicts
from tests.benchmarks.work import Work

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Results: TypeAlias = Sequence[tuple[Work, Measured]]
PACKAGES: Final = ("numpy", "llvmlite", "micrograd", "autograd", "torch", "jax", "jaxlib", "casadi")
FAMILIES: Final = {
    "fgrad": ("fgrad, other forms", "tab:blue", "o"),
    "micrograd": ("micrograd", "tab:brown", "s"),
    "HIPS": ("HIPS autograd", "tab:purple", "v"),
    "autograd": ("HIPS autograd", "tab:purple", "v"),
    "PyTorch": ("PyTorch", "tab:orange", "D"),
    "torch": ("PyTorch", "tab:orange", "D"),
    "JAX": ("JAX", "tab:green", "^"),
    "jax": ("JAX", "tab:green", "^"),
    "CasADi": ("CasADi", "tab:pink", "p"),
    "NumPy": ("NumPy by hand", "tab:gray", "P"),
    "C": ("C by hand", "tab:red", "X"),
}
"""By the first word of a contestant's name: whose it is in the picture, its colour and its mark."""


BARE: Final = re.compile("alone|buffers")
"""In the names of contestants without a call's own work, as C by hand is too: drawn hollow."""
SMALLER: Final = re.compile("fgrad, .*[0-9]")
"""The names of those that do the same of a smaller size."""


def write(folder: Path, results: Results, threads: str) -> None:
    """Write results.md and results.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text("\n".join(page(results, threads)) + "\n", encoding="utf-8")
    picture(folder / "results.png", results)


def page(results: Results, threads: str) -> Iterator[str]:
    """The lines of results.md."""
    yield from (
        "# Results",
        "",
        "Written by `python -m tests.benchmarks --write`; [what they mean](../benchmarks.md).",
        "",
    )
    yield from (f"* {name}: {what}" for name, what in surroundings(threads))
    yield from ("", "![Ratios to fgrad](results.png)", "", "## Targets", "")
    yield from ("The ratio is what one takes, divided by what the one beside it takes.", "")
    yield from ("| work | what | beside | ratio | to reach | |", "|---|---|---|---:|---|---|")
    for work, measured in results:
        for found in verdicts(work, measured):
            reached = "reached" if found.target.reached(found.ratio) else "**not reached**"
            cells = work.name, found.target.against, found.beside, ratio_text(found.ratio), found.target.text, reached
            yield f"| {' | '.join(cells)} |"
    yield from ("", "## All measurements", "", "```text", head())
    for work, measured in results:
        yield from (*table(work, measured), "")
    yield "```"


def surroundings(threads: str) -> Iterator[tuple[str, str]]:
    """What the figures depend on."""
    yield "date", datetime.now(UTC).date().isoformat()
    yield "processor", f"{processor()}, {os.cpu_count()} cores"
    yield "system", f"{platform.system()} {platform.machine()}"
    yield "threads", "one for linear algebra" if threads == "one" else "as many as the libraries take by default"
    yield "Python", f"{platform.python_implementation()} {platform.python_version()}"
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"


def processor() -> str:
    """The processor's model, by its name where the system says it."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    fields = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", text.split("\n\n")[0], re.MULTILINE))
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    numbers = [f"{name} {fields[name]}" for name in ("cpu family", "model") if name in fields]
    return f"{fields['model name']} ({', '.join(numbers)})" if numbers else fields["model name"]


# --- the picture -----------------------------------------------------------------------------------------------------
def picture(path: Path, results: Results) -> None:
    """Draw each contestant's ratio to fgrad, on a logarithmic scale; right of 1 fgrad is ahead.

    Works whose contestants are relative to something else are left to the table.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    points = {work.name: _points(measured) for work, measured in results if not work.references}
    drawn = {name: found for name, found in points.items() if found}
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(9.5, 1.6 + 0.3 * len(drawn)), layout="constrained")
        axes = figure.subplots()
        for row, found in enumerate(drawn.values()):
            _draw(axes, row, found)
        axes.set_yticks(range(len(drawn)), list(drawn))
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        _finish(axes)
        figure.savefig(path, dpi=130)


def _points(measured: Measured) -> list[tuple[str, float]]:
    """The ratios to fgrad of those that belong into the picture, by name."""
    first, *others = measured.samples
    found = [(name, relative(measured.samples[name], measured.samples[first])) for name in others]
    return [(name, x) for name, x in found if x > 0 and _family(name) in FAMILIES and not SMALLER.search(name)]


def _family(name: str) -> str:
    return re.split(r"[ ,]", name)[0]


def _draw(axes: "Axes", row: int, points: Sequence[tuple[str, float]]) -> None:
    if row % 2:
        axes.axhspan(row - 0.5, row + 0.5, color="0.96", zorder=0)
    for name, ratio in points:
        label, colour, mark = FAMILIES[_family(name)]
        filled = "white" if BARE.search(name) else colour
        axes.plot(ratio, row, mark, color=colour, markerfacecolor=filled, label=label, markersize=6, zorder=3)


def _finish(axes: "Axes") -> None:
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1, zorder=2)
    axes.grid(axis="x", color="0.85", linewidth=0.6, zorder=1)
    axes.set_xlabel(
        "time or memory relative to fgrad's: left of the line less than fgrad, right of it more\n"
        "hollow, and C by hand: the machine code alone, called with numbers that are ready"
    )
    axes.tick_params(axis="y", length=0)
    known = {label: mark for mark, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    order = [label for label in dict.fromkeys(label for label, _, _ in FAMILIES.values()) if label in known]
    axes.legend(
        [known[label] for label in order], order, loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, frameon=False
    )
