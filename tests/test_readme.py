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
PAGES = ["README.md", "docs/compiling.md"]


def tour(page: str) -> str:
    """The code of a page."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL))


@pytest.mark.parametrize("page", PAGES)
def test_the_tour_prints_what_it_says(page: str) -> None:
    """Every `print(…)  # output` prints that output."""
    expected = [line.split(")  # ")[-1] for line in tour(page).splitlines() if line.startswith("print(")]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tour(page), page, "exec"), {"__name__": "tour"})
    assert printed.getvalue().splitlines() == expected
    assert expected


def test_the_tour_is_short() -> None:
    """The README's has about 20 lines of code."""
    assert len([line for line in tour("README.md").splitlines() if line.strip()]) <= 29


@pytest.mark.parametrize("page", PAGES)
def test_the_tour_is_typed(page: str, tmp_path: Path) -> None:
    """Mypy --strict finds nothing in it."""
    (tmp_path / "tour.py").write_text(tour(page))
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
