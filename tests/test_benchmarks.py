"""The benchmarks run, and time only contestants that give one answer. No test here looks at a clock."""

from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest

from tests.benchmarks import by_hand, page
from tests.benchmarks.__main__ import WORKS, main
from tests.benchmarks.measure import Measured, measure
from tests.benchmarks.report import table
from tests.benchmarks.work import Run, Target, Work, check_agreement, set_up


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # PyTorch's own, on loading torch.func
@pytest.mark.parametrize(
    "name",
    [
        "expression",
        "tiny",
        "digits",
        "moons-matrices",
        "digits-cost",
        "expression-jit",
        "tiny-jit",
        "moons-jit",
        "gmm",
        "lstm",
        "growth-1000",
        "compile-expression",
        "digits-epoch",
        "convnet-epoch",
        "transformer-epoch",
    ],
)
def test_contestants_agree(name: str) -> None:
    """All peers that are installed give fgrad's value and gradient."""
    runs, missing = set_up(WORKS[name])
    assert next(iter(runs)).startswith("fgrad")
    assert all(which(module) is None and find_spec(module.split(".")[0]) is None for module in missing.values())
    check_agreement(WORKS[name], runs)


def test_disagreement_is_loud() -> None:
    """A wrong number stops the benchmark before anything is timed."""
    work = Work(
        "w", "", {"fgrad": lambda: Run(lambda: 1.0, lambda x: [x]), "it": lambda: Run(lambda: 1.1, lambda x: [x])}
    )
    with pytest.raises(ArithmeticError, match=r"1\.1 for it, 1\.0"):
        measure(work, repeat=1, turn=0.0)


def test_table_shows_ratios_and_the_missing() -> None:
    """A row for each contestant, relative to fgrad, with its target; a note for each that is left out."""
    work = WORKS["tiny"]
    lines = [*table(work, Measured({"fgrad": [1e-3, 2e-3], "micrograd": [3e-3, 6e-3]}, {"peer": "peer"}))]
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "fgrad 1.50 ms 1.00 ms 2.00 ms 1.00×",
        "micrograd 4.50 ms 3.00 ms 6.00 ms 3.00× ≥ 1× (aim 1.2×): reached",
        "peer left out: no module peer",
    ]


def test_table_measures_against_a_reference_and_its_limit() -> None:
    """A library's derivatives are relative to its own forward pass; a target may be an upper limit."""
    samples = {"fgrad traced forward": [1.0], "fgrad grad": [5.0], "PyTorch forward": [2.0], "PyTorch func.grad": [8.0]}
    lines = [*table(WORKS["digits-cost"], Measured(samples, {}))]
    assert [" ".join(line.split()).rsplit(" s ", 1)[1] for line in lines[1:]] == [
        "1.00×",
        "5.00× ≤ 4×: NOT reached",
        "2.00×",
        "4.00× of PyTorch forward",
    ]


def test_target_beside_another_contestant() -> None:
    """It stands on a line of its own, with a ratio of its own."""
    work = Work(
        "w",
        "",
        {},
        [Target("C", 1.0, "ahead"), Target("C", 1.0, "ahead", beside="kernel"), Target("none", 1.0, "ahead")],
    )
    lines = [*table(work, Measured({"fgrad": [4.0], "kernel": [1.0], "C": [2.0]}, {}))]
    assert [" ".join(line.split()) for line in lines[3:]] == [
        "C 2.00 s 2.00 s 2.00 s 0.50× ahead: NOT reached",
        "beside kernel 2.00× ahead: reached",
    ]


def test_without_a_compiler_c_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a peer is that is not installed."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    _, missing = set_up(Work("w", "", {"C": lambda: by_hand.run(by_hand.MOONS, (), 1)}))
    assert missing == {"C": "cc"}


def test_page_and_picture(tmp_path: Path) -> None:
    """The page has versions, targets and the table; the picture is a picture."""
    measured = Measured({"fgrad": [1e-3, 2e-3], "micrograd": [3e-3, 6e-3]}, {"peer": "peer"})
    page.write(tmp_path, [(WORKS["tiny"], measured)], threads="default")
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| tiny | micrograd | fgrad | 3.00× | ≥ 1× (aim 1.2×) | reached |" in text
    assert "threads: as many as" in text
    assert all(line in text for line in table(WORKS["tiny"], measured))
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")


def test_every_target_names_a_contestant() -> None:
    for work in WORKS.values():
        assert {target.against for target in work.targets} <= {*work.contestants}
        assert {target.beside for target in work.targets} <= {"", *work.contestants}
        assert {*work.references, *work.references.values()} <= {*work.contestants}


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*WORKS]
