"""`fgrad explain`: both passes on the terminal, in pictures, pages and formulas; what is wrong is pointed at."""

import sys
from pathlib import Path
from typing import cast

import pytest

from fgrad import cli

NEURON = ["tanh(w1*x1 + w2*x2 + b)", "w1=-3", "x1=2", "w2=1", "x2=0", "b=6.8813735870195432"]


def run(*words: str | Path) -> int:
    """The exit status of `fgrad explain words…`."""
    try:
        return cli.main(["explain", *map(str, words)])
    except SystemExit as end:
        return cast("int", end.code)


def test_the_table_has_the_lectures_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*NEURON) == 0
    lines = capsys.readouterr().out.splitlines()
    gradients = {line.split()[0]: line.split()[-1] for line in lines if line}
    assert lines[0].split()[:1] == ["name"]
    expected = {"w1": "1", "x1": "-1.5", "w2": "0", "x2": "0.5", "b": "0.5"}
    assert {name: gradients[name] for name in expected} == expected


def test_files_are_written(tmp_path: Path) -> None:
    svg, html, tex, txt = (tmp_path / name for name in ("f.svg", "f.html", "f.tex", "f.txt"))
    assert run(*NEURON, "--svg", svg, "--html", html, "--formula", tex) == 0
    assert run("a*b + b**3", "a=-4", "b=2", "--formula", txt, "--svg", tmp_path / "f.png") == 0
    assert svg.read_text().startswith("<")
    assert "tanh" in svg.read_text()
    assert "<!doctype html>" in html.read_text().lower()
    assert tex.read_text().splitlines()[1].startswith(r"\frac{\partial f}{\partial w_{1}} = x_{1} ")
    assert txt.read_text() == "f = a*b + b**3\n∂f/∂a = b\n∂f/∂b = a + 3*b**2\n"
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_an_expression_may_begin_with_a_minus(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-x**2", "x=3") == 0
    assert "-6" in capsys.readouterr().out


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run("a", "a=1") == 0
    assert "\x1b[" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["2*sine(x)", "x=1"], "there is no function sine: the nearest is sin\n  2*sine(x)\n    ^^^^"),
        (["__import__('os').system('true')"], "only a function can be called"),
        (["2*3"], "the expression has no names, so that nothing in it can change: write one such as 2*x"),
        (["a*b", "a=1"], "what is b? Say b=NUMBER"),
        (["a", "a=1", "c=2"], "the expression has no c: it has a"),
        (["a", "a=1", "a=2"], "a name is given two numbers"),
        (["a", "a=one"], "argument NAME=NUMBER: 'a=one' is not NAME=NUMBER, such as x=2"),
        (["a", "a=1", "--html", "steps.txt"], "steps.txt: the name must end in .html"),
        (["a", "a=1", "--svg", "steps"], "steps: the name must end in .svg or .png or .dot or .mmd"),
        (["a", "a=1", "--svg", "/dev/null/x.svg"], "/dev/null: is not a folder"),
    ],
)
def test_bad_input_is_told_before_anything_is_written(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"fgrad: {message}")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("package", "words"), [("rich.table", []), ("pygraphviz", ["--svg", "f.svg"]), ("sympy", ["--formula", "f.txt"])]
)
def test_a_missing_extra_is_named(
    package: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    assert run("a", "a=1", *words) == 2
    assert 'pip install "fgrad[' in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_what_is_true_or_false_has_a_formula_of_its_own(tmp_path: Path) -> None:
    assert run("x<y", "x=3", "y=2", "--formula", tmp_path / "new" / "f.txt") == 0
    assert (tmp_path / "new" / "f.txt").read_text() == "f = x < y\n"


def test_what_has_no_formula_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("round(x)*x", "x=3", "--formula", tmp_path / "f.txt") == 2
    said = capsys.readouterr()
    assert said.err.startswith("fgrad: the op round has no meaning on SymPy's symbols")
    assert (said.out, said.err.count("\n"), [*tmp_path.iterdir()]) == ("", 1, [])


def test_names_are_read_as_python_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    """The micro sign is a Greek letter there; self is a name as any other."""
    assert run("µ*self", "µ=3", "self=2") == 0
    assert "3*2" in capsys.readouterr().out
