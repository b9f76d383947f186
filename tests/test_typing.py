"""Typing is part of the contract: mypy --strict and pyright infer what they should, and refuse what they should."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RIGHT = "tests/typing/right.py"
WRONG = "tests/typing/wrong_calls.py"


def mypy(*args: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def pyright(*args: str, folder: Path = ROOT) -> list[dict[str, object]]:
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found: list[dict[str, object]] = json.loads(done.stdout)["generalDiagnostics"]
    return found


def marked() -> set[int]:
    lines = (ROOT / WRONG).read_text().splitlines()
    return {i for i, line in enumerate(lines, 1) if "# E:" in line}


def test_the_types_are_those_of_the_values() -> None:
    """right.py runs: its calls are not for the checkers alone."""
    runpy.run_path(str(ROOT / RIGHT))


def test_mypy_is_clean() -> None:
    """Mypy --strict finds nothing in the package and its tests."""
    done = mypy()
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_refuses_wrong_calls() -> None:
    found = {int(n) for n in re.findall(rf"{WRONG}:(\d+): error", mypy("--strict", WRONG).stdout)}
    assert found == marked()


def test_pyright_is_clean() -> None:
    """Pyright finds no error in the package and its tests."""
    errors = [x for x in pyright() if x["severity"] == "error"]
    assert not errors, json.dumps(errors[:10], indent=1)


def test_pyright_refuses_wrong_calls(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text((ROOT / WRONG).read_text())  # the project's configuration leaves the file out
    found = {x["range"]["start"]["line"] + 1 for x in pyright("wrong.py", folder=tmp_path) if x["severity"] == "error"}  # type: ignore[index]  # JSON
    assert found == marked()


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_is_clean(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "src", "tests", "docs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
