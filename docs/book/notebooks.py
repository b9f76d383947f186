"""Notebooks: a page that was run, as cells with their outputs and pictures in them.

Knows Jupyter's format and what Markdown it understands; nothing of how blocks are run.
"""

import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

import nbformat
from nbformat import NotebookNode, v4

from docs.book import theme
from docs.book.pages import DOCS, ROOT, Done

FOLDER: Final = DOCS / "_build" / "notebooks"
_FORMAT: Final[Any] = nbformat  # their functions have no types
_CELLS: Final[Any] = v4
_KERNEL: Final = {"display_name": "Python 3", "language": "python", "name": "python3"}
_OPENED: Final = re.compile(r"^(:{3,})\{(\w+)\}\s*(.*)$")
_LINK: Final = re.compile(r"\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")


def path(page: Path) -> Path:
    """Where the notebook of a page is kept."""
    return FOLDER / page.relative_to(DOCS).with_suffix(".ipynb")


def write(page: Path, done: Sequence[Done]) -> None:
    """Write the notebook of a page that was run."""
    file = path(page)
    file.parent.mkdir(parents=True, exist_ok=True)
    text = _FORMAT.writes(notebook(page, done))
    file.write_text(text + "\n", encoding="utf-8")


def notebook(page: Path, done: Sequence[Done]) -> NotebookNode:
    """A page as a notebook: its blocks with what came of them, and the text between."""
    lines = page.read_text(encoding="utf-8").split("\n")
    cells, read = [], 0
    for one in done:
        cells += _text(lines[read : one.block.line - 2], page)
        cells.append(_code(one))
        read = _after(one, lines)
    cells += _text(lines[read:], page)
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"  # the same page gives the same bytes
    made = _CELLS.new_notebook(cells=cells, metadata={"kernelspec": _KERNEL, "language_info": {"name": "python"}})
    return cast("NotebookNode", made)


def _after(one: Done, lines: Sequence[str]) -> int:
    """The first line after a block, its output and its picture."""
    line = one.block.output_lines[1] + 1 if one.block.output_lines else one.block.end
    if one.block.picture:
        line = next(i for i in range(line, len(lines)) if one.block.picture in lines[i]) + 1
    return line


def _code(one: Done) -> NotebookNode:
    outputs = [_CELLS.new_output("stream", name="stdout", text=one.printed + "\n")] if one.printed else []
    if one.error is not None:
        name, said = type(one.error).__name__, str(one.error)
        outputs.append(_CELLS.new_output("error", ename=name, evalue=said, traceback=[f"{name}: {said}"]))
    if one.picture is not None:
        data = {"image/svg+xml": theme.on_white(one.picture), "text/plain": one.block.description}
        outputs.append(_CELLS.new_output("display_data", data=data))
    tags = {"tags": ["raises-exception"]} if one.block.error else {}
    return cast("NotebookNode", _CELLS.new_code_cell(one.block.code.rstrip("\n"), outputs=outputs, metadata=tags))


# --- text ------------------------------------------------------------------------------------------------------------
def _text(lines: Sequence[str], page: Path) -> list[NotebookNode]:
    """A cell of Markdown, if there is anything in it."""
    content = "\n".join(_plain(lines)).strip("\n")
    return [_CELLS.new_markdown_cell(_linked(content, page))] if content.strip() else []


def _plain(lines: Sequence[str]) -> list[str]:
    """Without MyST's directives: a dropdown is a title and what is in it, an admonition is a quotation."""
    found, quoting = [], False
    for line in lines:
        if match := _OPENED.match(line):
            kind, title = match[2], match[3] or match[2].capitalize()
            quoting = kind != "dropdown"
            found += ["", f"> **{title}**" if quoting else f"**{title}**", ">" if quoting else ""]
        elif re.fullmatch(r":{3,}", line):
            quoting = False
            found.append("")
        elif not (quoting and line.startswith(":")):  # an option
            found.append(f"> {line}".rstrip() if quoting else line)
    return found


def _linked(text: str, page: Path) -> str:
    """Links to other pages lead to the site, and those to files to the repository."""
    return _LINK.sub(lambda match: f"]({_address(match[1], page)}{match[2] or ''})", text)


def _address(link: str, page: Path) -> str:
    target = (page.parent / link).resolve()
    start = _published() or os.path.relpath(DOCS / "_build" / "html", path(page).parent)
    if target.is_relative_to(DOCS) and target.suffix == ".md":
        return f"{start}/{PurePosixPath(target.relative_to(DOCS)).with_suffix('.html')}"
    if target.is_relative_to(DOCS):
        return os.path.relpath(target, path(page).parent)
    name = PurePosixPath(target.relative_to(ROOT))
    return f"{start}/reference/readme.html" if str(name) == "README.md" else f"{start}/source/{name}.html"


def _published() -> str:
    """Where the project says that its site stands, if it does."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    return str(urls.get("Documentation", "")).rstrip("/")
