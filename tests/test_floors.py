"""The structure of the package, as laws."""

import ast
from pathlib import Path

import pytest

import fgrad

ROOT = Path(fgrad.__file__).parent
FLOORS = [
    ["errors"],
    ["files"],
    ["tree.pytrees"],
    ["tree.surgery"],
    ["tree"],
    ["arrays"],
    ["node"],
    ["ops.rows"],
    ["ops.results"],
    ["ops.elementwise"],
    ["ops.shaping"],
    ["ops.reducing"],
    ["ops.selecting"],
    ["ops.linalg"],
    ["ops.special"],
    ["ops.rearranging"],
    ["ops.accumulating"],
    ["ops.products"],
    ["ops.matrices"],
    ["ops.solving"],
    ["ops.determinants"],
    ["ops.factoring"],
    ["ops.decompositions"],
    ["ops.norms"],
    ["ops.contracting"],
    ["ops.convolving", "ops.correlating"],
    ["ops.interpolating"],
    ["ops"],
    ["graph"],
    ["reverse", "forward", "batch", "exact", "archive"],
    ["trace"],
    ["batching", "differentials"],
    ["transforms"],
    ["jacobians", "calls"],
    ["custom"],
    ["control"],
    ["compile", "compile.functions"],
    ["compile.rewrite", "compile.leaves", "compile.captures"],
    ["compile.source", "compile.zeros", "compile.forms"],
    ["compile.registers", "compile.regions"],
    ["compile.products"],
    ["compile.frames"],
    ["compile.nests"],
    ["compile.pieces"],
    ["compile.kernels"],
    ["compile.machine", "compile.scans"],
    ["compile.inner"],
    ["compile.native"],
    ["compile.paths"],
    ["compile.jit"],
    ["micro", "random"],
    ["nn.initialisers"],
    ["nn.labels"],
    ["nn.layers"],
    ["nn.scaling", "nn.convolutions", "nn.normalising", "nn.recurrent"],
    ["nn.attention", "nn.losses", "nn.metrics"],
    ["nn.summary"],
    ["nn"],
    ["optim.schedules", "optim.protocol"],
    ["optim.wrappers"],
    ["optim.transformations", "optim.descent", "optim.solvers"],
    ["optim", "io"],
    ["train"],
    ["sklearn"],
    ["show", "show.plot", "show.progress", "show.notation", "show.expression"],
    ["show.walkthrough"],
    ["show.paths", "show.folding"],
    ["show.draw", "show.formula"],
    ["show.stepper", "show.report"],
    ["show.explain"],
    ["probe"],
    ["numeric"],
    ["check"],
    ["scale"],
    ["table"],
    ["cli.console", "cli.options", "cli.saved", "cli.job"],
    ["cli.reporting", "cli.predicting", "cli.explaining"],
    ["cli.training"],
    ["cli"],
    ["__init__"],
    ["__main__"],
]
HEIGHT = {name: i for i, floor in enumerate(FLOORS) for name in floor}
BOOK = ["errors", "tree.pytrees", "arrays", "node", "graph", "reverse", "forward", "trace", "transforms"]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """The modules of this package that a file imports anywhere, but for what only type checkers see."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fgrad":
            base = node.module.removeprefix("fgrad").removeprefix(".")
            for alias in node.names:
                name = f"{base}.{alias.name}".removeprefix(".")
                found.add(name if name in MODULES else base or "__init__")
    return found


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name: str) -> None:
    """A file imports only from floors above it in the reading order, and every file has its floor."""
    assert name in HEIGHT, f"give {name} a floor"
    for imported in imports(MODULES[name]) - {name}:
        if name == "__init__":
            continue
        assert HEIGHT[imported] < HEIGHT[name], f"{name} imports {imported}, which is not above it"


def test_the_walks_do_not_know_what_they_need_not() -> None:
    """No walk imports another, functions or pytrees; node knows no pytrees, graphs or transforms."""
    for walk in {"reverse", "forward", "batch"} & MODULES.keys():
        assert not imports(MODULES[walk]) & {"reverse", "forward", "batch", "tree", "trace", "transforms"}
    assert imports(MODULES["node"]) == {"errors", "arrays"}
    assert imports(MODULES["tree.pytrees"]) == {"errors"}
    assert not imports(MODULES["errors"])


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """The core is a book: its files together have few lines. All counts are printed."""
    counts = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    with capsys.disabled():
        print()
        for name, count in sorted(counts.items(), key=lambda item: (HEIGHT.get(item[0], 99), item[0])):
            print(f"{count:6} {name}{'  (book)' if name in BOOK else ''}")
        print(f"{sum(counts[name] for name in BOOK):6} the book, errors to transforms")
    assert sum(counts[name] for name in BOOK) < 2000
