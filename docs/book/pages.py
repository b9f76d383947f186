"""Pages: Markdown whose Python blocks are run from top to bottom, and do what the page says that they do.

Knows the conventions of a page: outputs, errors and pictures; nothing of notebooks and of the site.

    python -m docs.book.pages docs/tutorial/01-name.md            # run pages, and say what is not as they say
    python -m docs.book.pages --write docs/tutorial/01-name.md    # … and write into them what came out
"""

import argparse
import ast
import contextlib
import difflib
import io
import linecache
import os
import re
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import indent
from typing import Final

import attrs
from markdown_it import MarkdownIt
from markdown_it.token import Token

from docs.book import theme

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PICTURES: Final = DOCS / "_pictures"
FOLDERS: Final = ("tutorial", "howto", "explanation")
_IMAGE: Final = re.compile(r"!\[([^]]+)]\(([^)\s]*_pictures/[^)\s]+\.svg)\)")
_WORDS: Final = ("none", "sh", "text", "toml", "json", "c", "llvm", "asm", "mermaid", "dot")


class PageError(AssertionError):
    """A page does not do what it says; the message has the page, the line and both texts."""


@attrs.frozen
class Block:
    """A block of Python on a page: its code, the line that it begins in, and what the page says comes of it."""

    line: int
    code: str
    end: int
    """The line of the fence that closes it."""
    output: str = ""
    output_lines: tuple[int, int] | None = None
    """The first and the last line of the text below."""
    picture: str | None = None
    """The name of the file in the folder of pictures."""
    description: str = ""

    @property
    def error(self) -> str | None:
        """The name of the error that must be raised."""
        match = re.match(r"# raises: (\w+)\s*$", self.code.partition("\n")[0])
        return match and match[1]


@attrs.frozen
class Done:
    """A block that was run: what it printed, with the error that it raised, and the picture, as SVG."""

    block: Block
    printed: str
    error: Exception | None = None
    picture: str | None = None

    @property
    def output(self) -> str:
        """What stands below the block."""
        raised = "" if self.error is None else f"{type(self.error).__name__}: {self.error}"
        return self.printed + ("\n" if self.printed and raised else "") + raised


def written() -> list[Path]:
    """Every page whose blocks are run, in order."""
    return [page for folder in FOLDERS for page in sorted((DOCS / folder).glob("*.md")) if page.name != "index.md"]


# --- reading ---------------------------------------------------------------------------------------------------------
def read(page: Path) -> list[Block]:
    """The blocks of a page; raises `PageError` for one that breaks the conventions."""
    tokens = [
        t for t in MarkdownIt().parse(page.read_text(encoding="utf-8")) if t.type in ("fence", "inline", "code_block")
    ]
    blocks = []
    used = set()
    for i, token in enumerate(tokens):
        if token.type == "fence" and token.info == "python":
            following = tokens[i + 1 : i + 3]
            blocks.append(_block(token, following, page))
            used |= {id(t) for t in following if _is_text(t)} if blocks[-1].output_lines else set()
    for token in tokens:
        _check(token, id(token) in used, page)
    return blocks


def _block(token: Token, following: Sequence[Token], page: Path) -> Block:
    """A block with the text and the image that stand right below."""
    first, last = _lines(token)
    block = Block(first + 1, token.content, last)
    for below in following:
        start, end = _lines(below)
        if _is_text(below) and start <= last + 2 and not block.output_lines:
            block = attrs.evolve(block, output=below.content.rstrip("\n"), output_lines=(start + 1, end - 1))
        elif below.type == "inline" and start <= last + 2 and (match := _IMAGE.match(below.content)):
            file = (page.parent / match[2]).resolve()
            block = attrs.evolve(block, picture=file.name, description=match[1])
        else:
            break
        last = end
    return block


def _lines(token: Token) -> tuple[int, int]:
    """The first and the last line, counted from 1."""
    start, end = token.map or (0, 0)
    return start + 1, end


def _is_text(token: Token) -> bool:
    return token.type == "fence" and token.info == "text"


def _check(token: Token, is_output: bool, page: Path) -> None:
    place = _place(page, _lines(token)[0])
    if token.type == "fence" and token.info == "text" and not is_output:
        raise PageError(f"{place}: a text block is the output of a Python block right above; for other text write none")
    if token.type == "fence" and token.info not in ("python", *_WORDS) and not token.info.startswith("{"):
        raise PageError(f"{place}: {token.info or 'no language'!r}: write python for what is run, else one of {_WORDS}")
    if token.type == "code_block":
        raise PageError(f"{place}: code is fenced, not indented")


def _place(page: Path, line: int) -> str:
    return f"{page.relative_to(ROOT) if page.is_relative_to(ROOT) else page}:{line}"


@attrs.frozen(eq=False)
class Script:
    """The blocks of a page as one file of Python, by whose lines errors name places: they stay where prose is added."""

    page: Path
    blocks: list[Block]

    @property
    def name(self) -> str:
        """What tracebacks call it."""
        return f"{self.page.stem}.py"

    @property
    def text(self) -> str:
        """All of it."""
        return "\n\n".join(block.code for block in self.blocks)

    def first(self, block: Block) -> int:
        """The line in which a block begins."""
        before = self.blocks[: self.blocks.index(block)]
        return 1 + sum(one.code.count("\n") + 2 for one in before)

    def place(self, line: int) -> int:
        """The page's line for one of the script's."""
        block = next(one for one in reversed(self.blocks) if self.first(one) <= line)
        return block.line + line - self.first(block)


# --- running ---------------------------------------------------------------------------------------------------------
def run(page: Path) -> list[Done]:
    """Run the blocks of a page, in one fresh namespace and in an empty folder.

    Raises `PageError` where one raises what the page doesn't say; what is printed is not compared, which `complaints`
    does.
    """
    script = Script(page, read(page))
    with _fresh() as namespace:
        return [_run(block, namespace, script) for block in script.blocks]


@contextlib.contextmanager
def _fresh() -> Iterator[dict[str, object]]:
    """A new `__main__`, an empty folder, and pictures in the colours of the book; afterwards all as it was."""
    from matplotlib import pyplot

    module = types.ModuleType("__main__")
    kept = sys.modules["__main__"]
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        theme.applied(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        sys.modules["__main__"] = module
        try:
            yield module.__dict__
        finally:
            sys.modules["__main__"] = kept
            pyplot.close("all")


def _run(block: Block, namespace: dict[str, object], script: Script) -> Done:
    printed, value, error = io.StringIO(), None, None
    try:
        with contextlib.redirect_stdout(printed):
            value = _execute(block, namespace, script)
    except Exception as raised:
        if type(raised).__name__ != block.error:
            raise PageError(
                f"{_place(script.page, _line(raised, block, script))}: the block raises\n{_told(raised, script)}"
            ) from None
        error = raised.with_traceback(None)
    if block.error and error is None:
        raise PageError(f"{_place(script.page, block.line)}: the block does not raise {block.error}")
    picture = None if block.picture is None else _drawn(value, block, script.page)
    return Done(block, printed.getvalue().rstrip("\n"), error, picture)


def _execute(block: Block, namespace: dict[str, object], script: Script) -> object:
    """Run the code; the value of its last expression if it is drawn."""
    lines = script.text.splitlines(keepends=True)
    linecache.cache[script.name] = (len(script.text), None, lines, script.name)  # for tracebacks, as doctest does
    tree = ast.increment_lineno(ast.parse(block.code, script.name), script.first(block) - 1)
    last = tree.body.pop() if block.picture and tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, script.name, "exec"), namespace)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), script.name, "eval"), namespace)


def _told(error: Exception, script: Script) -> str:
    """The traceback from the page on."""
    step = error.__traceback__
    while step and step.tb_frame.f_code.co_filename != script.name:
        step = step.tb_next
    return "".join(traceback.format_exception(error.with_traceback(step)))


def _line(error: Exception, block: Block, script: Script) -> int:
    """The line of the page in which an error came about."""
    if isinstance(error, SyntaxError):
        return block.line + (error.lineno or 1) - 1
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == script.name]
    return script.place(lines[-1] or 1) if lines else block.line


def _drawn(value: object, block: Block, page: Path) -> str:
    """A value as SVG: a figure or axes of matplotlib's, or what saves itself or shows itself in a notebook."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    figure = value.figure if isinstance(value, Axes) else value
    if isinstance(figure, Figure):
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        return theme.adaptive(file.getvalue())
    if (show := getattr(value, "_repr_svg_", None)) is not None:
        return str(show())
    if (save := getattr(value, "save", None)) is not None:
        file_name = Path(tempfile.mkdtemp(dir=".")) / "picture.svg"
        save(file_name)
        return file_name.read_text(encoding="utf-8")
    raise PageError(
        f"{_place(page, block.line)}: an image follows, but the block's last expression is no picture: {value!r:.80}"
    )


# --- comparing -------------------------------------------------------------------------------------------------------
def complaints(page: Path, done: Sequence[Done]) -> list[str]:
    """What is printed and not as the page says, each with its line and both texts."""
    found = []
    for one in done:
        expected, got = one.block.output, one.output
        if expected != got:
            difference = "\n".join(
                difflib.unified_diff(expected.splitlines(), got.splitlines(), "the page says", "printed", lineterm="")
            )
            found.append(f"{_place(page, one.block.line)}: the output is another\n{difference or repr(got)}")
    return found


def write(page: Path, done: Sequence[Done]) -> None:
    """Put into a page what its blocks print."""
    lines = page.read_text(encoding="utf-8").split("\n")
    for one in reversed(done):
        fence = lines[one.block.line - 2]
        margin = fence[: len(fence) - len(fence.lstrip())]  # of a list
        below = indent(one.output, margin).split("\n")
        if one.block.output_lines:
            start, end = one.block.output_lines
            lines[start - 1 : end] = below if one.output else []
        elif one.output:
            lines[one.block.end : one.block.end] = ["", f"{margin}```text", *below, f"{margin}```"]
    page.write_text("\n".join(lines), encoding="utf-8")


def draw(done: Sequence[Done]) -> None:
    """Write the pictures of a page."""
    PICTURES.mkdir(exist_ok=True)
    for one in done:
        if one.block.picture and one.picture is not None:
            (PICTURES / one.block.picture).write_text(one.picture, encoding="utf-8")


def main() -> None:
    """Run pages and say what is not as they say."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("pages", nargs="*", type=Path, help="all by default")
    parser.add_argument("--write", action="store_true", help="write into the pages what came out")
    options = parser.parse_args()
    failed = 0
    for page in map(Path.resolve, options.pages or written()):
        begun = time.perf_counter()
        try:
            done = run(page)
            if options.write:
                write(page, done)
                done = run(page)
            draw(done)
            found = complaints(page, done)
        except PageError as error:
            found = [str(error)]
        failed += bool(found)
        print("\n".join(found) or f"{os.path.relpath(page)}: ok, {time.perf_counter() - begun:.1f} s", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
