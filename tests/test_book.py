"""The book does what it says, can be read without a network, and holds every public name."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docs import build
from docs.book import pages, theme

import fgrad

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parent.parent
PAGES = pages.written()
SIZES = [(390, 844), (1280, 800)]


# --- pages -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_do_what_they_say(page: Path) -> None:
    """Every block runs, prints what stands below it, raises what it says, and draws its picture."""
    pytest.importorskip("nbformat")
    assert not build.run_page(page)


def page_of(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


def said_of(page: Path) -> str:
    try:
        return "\n".join(pages.complaints(page, pages.run(page)))
    except pages.PageError as error:
        return str(error)


GOOD = """# Good

```python
print("a")
```

```text
a
```

Prose.

1. A list.

   ```python
   # raises: ZeroDivisionError
   print("b")
   1 / 0
   ```

   ```text
   b
   ZeroDivisionError: division by zero
   ```

:::{dropdown} Solution
```python
import matplotlib.pyplot as plt

figure, ax = plt.subplots()
ax.plot([1.0, 2.0], [3.0, 4.0])
ax
```
![A line](_pictures/line.svg)
:::
"""


def test_a_page_is_read_as_its_conventions_say(tmp_path: Path) -> None:
    first, second, third = pages.read(page_of(tmp_path, GOOD))
    assert (first.line, first.output) == (4, "a")
    assert (second.line, second.error) == (16, "ZeroDivisionError")
    assert (third.picture, third.description) == ("line.svg", "A line")
    assert not said_of(tmp_path / "page.md")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# T\n\n```python\nprint(1)\n```\n", "page.md:4: the output is another"),
        ("# T\n\n```python\nprint(1)\n```\n\n```text\n2\n```\n", "-2\n+1"),
        ("# T\n\n```python\nx = 1\nx / 0\n```\n", "page.md:5: the block raises"),
        ("# T\n\n```python\nx = 1\nif x:\n```\n", "page.md:5: the block raises"),
        ("# T\n\n```python\n# raises: KeyError\n1 / 0\n```\n", "ZeroDivisionError"),
        ("# T\n\n```python\n# raises: KeyError\n1\n```\n", "page.md:4: the block does not raise KeyError"),
        ("# T\n\n```python\n1\n```\n![One](_pictures/one.svg)\n", "is no picture: 1"),
        ("# T\n\n```text\n1\n```\n", "page.md:3: a text block is the output"),
        ("# T\n\n```\n1\n```\n", "page.md:3: 'no language'"),
        ("# T\n\n    code\n", "page.md:3: code is fenced"),
        ("# T\n\n```python\nimport warnings\nwarnings.warn('w')\n```\n", "page.md:5: the block raises"),
    ],
)
def test_what_is_wrong_is_said_with_page_and_line(text: str, message: str, tmp_path: Path) -> None:
    assert message in said_of(page_of(tmp_path, text))


def test_outputs_can_be_written_into_a_page(tmp_path: Path) -> None:
    """Writing makes a wrong page right, and a right one it leaves as it is."""
    wrong = page_of(tmp_path, GOOD.replace("\na\n", "\nz\nz\n").replace('print("b")', 'print("c")'))
    pages.write(wrong, pages.run(wrong))
    assert not said_of(wrong)
    good = page_of(tmp_path, GOOD)
    pages.write(good, pages.run(good))
    assert good.read_text(encoding="utf-8") == GOOD


def test_blocks_share_one_fresh_namespace(tmp_path: Path) -> None:
    """Classes and functions work as in a script, and nothing is left behind."""
    text = "import attrs, inspect\n@attrs.frozen\nclass A:\n    x: 'float'\ndef f(): return 1\n"
    page = page_of(tmp_path, f"# T\n\n```python\n{text}```\n\n```python\nprint(A, inspect.getsource(f), end='')\n```\n")
    main = sys.modules["__main__"]
    _, done = pages.run(page)
    assert done.printed == "<class '__main__.A'> def f(): return 1"
    assert sys.modules["__main__"] is main


def test_pictures_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    page = page_of(tmp_path, GOOD)
    first, second = (pages.run(page)[-1].picture for _ in range(2))
    assert first == second
    assert first is not None
    assert "prefers-color-scheme:dark" in first
    assert "prefers-color-scheme" not in theme.on_white(first)


# --- notebooks -------------------------------------------------------------------------------------------------------
def test_a_page_is_a_notebook(tmp_path: Path) -> None:
    """It holds the blocks with what came of them, and no directives."""
    nbformat = pytest.importorskip("nbformat")
    notebooks = pytest.importorskip("docs.book.notebooks")
    page = page_of(tmp_path, GOOD + "\n:::{note}\nMind this.\n:::\n")
    notebook = notebooks.notebook(page, pages.run(page))
    nbformat.validate(notebook)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [[output.output_type for output in cell.outputs] for cell in codes] == [
        ["stream"],
        ["stream", "error"],
        ["display_data"],
    ]
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert ":::" not in prose
    assert "**Solution**" in prose
    assert "> **Note**\n>\n> Mind this." in prose
    assert "_pictures" not in prose


@pytest.mark.filterwarnings("default")
def test_a_notebook_runs_in_jupyter() -> None:
    """It prints there what the page says."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebooks = pytest.importorskip("docs.book.notebooks")
    page = PAGES[0]
    assert not build.run_page(page, fast=True)
    notebook = nbformat.read(notebooks.path(page), as_version=4)
    nbformat.validate(notebook)
    said = [[o.text for o in cell.get("outputs", []) if o.output_type == "stream"] for cell in notebook.cells]
    nbclient.NotebookClient(notebook, timeout=120).execute()
    assert said == [[o.text for o in cell.get("outputs", []) if o.output_type == "stream"] for cell in notebook.cells]


# --- the reference ---------------------------------------------------------------------------------------------------
def test_every_public_name_has_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `fgrad` and of its modules, with what it means."""
    reference = pytest.importorskip("docs.book.reference")
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    text = "\n".join(page.read_text(encoding="utf-8") for page in reference.write(fast=True))
    for name in fgrad.__all__:
        assert f"}} {name}(" in text or f"}} {name}\n" in text or f"}} fgrad.{name}\n" in text, name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tanh", ["f'(x) &= 1 - f(x)^{2}", "Defined for all real numbers.", "| −0 | −0 | 1 |", "ops/tanh.svg"]),
        ("sqrt", [r"f'(x) &= \frac{1}{2 f(x)}", r"Defined on $[0, \infty)$", "| 0 | 0 | ∞ |"]),
        ("maximum", ["| 1 | 1 | 1 | 0.5 | 0.5 |"]),
        ("digamma", ["nan at −1, −2, −3, …"]),
        ("erf", [r"\frac{2 e^{- x^{2}}}{\sqrt{\pi}}"]),
        ("floor", ["A constant to every derivative."]),
        ("sum", ["Linear, so that its derivative is the op itself."]),
        ("matmul", ["matrix_transpose(y)"]),
    ],
)
def test_ops_tell_their_derivative(name: str, words: list[str]) -> None:
    api, ops = pytest.importorskip("docs.book.api"), pytest.importorskip("docs.book.ops")
    told = ops.told(api.find("fgrad", name))
    assert [word for word in words if word not in told] == []


@pytest.mark.parametrize(
    ("doc", "markdown"),
    [
        ("x**y and a_b, in `c*d`.", r"x\*\*y and a\_b, in `c*d`."),
        ("S.\n\n>>> 1\n1\n\n>>> 2\n2", "S.\n\n```pycon\n>>> 1\n1\n\n>>> 2\n2\n```"),
        ("* one\n* two", "* one\n* two"),
    ],
)
def test_docstrings_become_markdown(doc: str, markdown: str) -> None:
    assert pytest.importorskip("docs.book.api").markdown(doc) == markdown


# --- the site --------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def site() -> Path:
    """The book, built strictly: pages that the tests above ran are not run again."""
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "docs.build", "--fast"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return build.SITE


def test_the_site_is_whole(site: Path) -> None:
    """Every link and anchor leads somewhere, and each chapter is there as a notebook."""
    from docs.book import links

    assert not links.broken(site)
    assert {page.stem for page in PAGES} <= {file.stem for file in (site / "notebooks").rglob("*.ipynb")}


def test_nothing_is_loaded_from_the_network(site: Path) -> None:
    from docs.book import links

    assert not links.foreign(site)


def test_what_is_broken_is_found(tmp_path: Path) -> None:
    from docs.book import links

    (tmp_path / "a.html").write_text('<a href="b.html#x">b</a><a href="#y">y</a><script src="//cdn.org/x.js"></script>')
    (tmp_path / "b.html").write_text('<p id="z"><a href="a.html">a</a>')
    (tmp_path / "c.css").write_text("@font-face { src: url(https://fonts.org/f.woff) }")
    assert [line.split(": ")[1] for line in links.broken(tmp_path)] == ["#y leads nowhere", "b.html#x leads nowhere"]
    assert links.foreign(tmp_path) == ["a.html: loads //cdn.org/x.js", "c.css: loads https://fonts.org/f.woff"]


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=["phone", "desktop"])
def test_pages_fit_the_screen(site: Path, browser: "Browser", size: tuple[int, int], colours: str) -> None:
    """Nothing is wider than the screen, nothing fails, nothing comes from elsewhere."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if colours == "dark" else "light"
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith("file:") else complaints.append(request.url))
    chapters = [str(p.relative_to(pages.DOCS).with_suffix(".html")) for p in PAGES[:2]]
    for name in ["index.html", *chapters, "reference/fgrad.html", "reference/ops/steps-and-choices.html"]:
        page.goto((site / name).as_uri())
        widest: int = page.evaluate("document.documentElement.scrollWidth")
        assert widest <= width, name
        (r, g, b) = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        )
        assert (r + g + b < 384) == (colours == "dark"), name
    assert complaints == []
    context.close()
