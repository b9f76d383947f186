"""The README tells the truth."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TOUR = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))


def test_the_tour_prints_what_it_says() -> None:
    """Every `print(…)  # output` prints that output; the tour has about 20 lines of code."""
    expected = [line.split(")  # ")[-1] for line in TOUR.splitlines() if line.startswith("print(")]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(TOUR, "README.md", "exec"), {"__name__": "readme"})
    assert printed.getvalue().splitlines() == expected
    assert len(expected) >= 5
    assert len([line for line in TOUR.splitlines() if line.strip()]) <= 28


def test_the_tour_is_typed(tmp_path: Path) -> None:
    """Mypy --strict finds nothing in the tour."""
    (tmp_path / "tour.py").write_text(TOUR)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", str(tmp_path / "tour.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_commands_are_those_of_ci() -> None:
    """CI runs the README's own set-up-and-test command."""
    (command,) = re.findall(r"^(python3 -m venv.*pytest)$", README, re.MULTILINE)
    assert command in (ROOT / ".ci" / "run").read_text()
