"""The public names of fgrad, read from its source: signatures as they were written, docstrings, and where they stand.

Knows Python's syntax trees and turns docstrings into Markdown; nothing of which page a name belongs to.
"""

import ast
import functools
import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from docs.book.pages import ROOT

SOURCE: Final = ROOT / "src"
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_CHECKED: Final = re.compile(r"^\s*>>> ")


@attrs.frozen(eq=False)
class Entry:
    """A public name: where it is found, the module that has its source, and its definitions there, overloads first."""

    public: str
    module: str
    definitions: tuple[ast.stmt, ...]
    doc: str

    @property
    def name(self) -> str:
        """The last part of it."""
        return self.public.rpartition(".")[2]

    @property
    def line(self) -> int:
        """Where its last definition begins."""
        node = self.definitions[-1]
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        return min([node.lineno, *[decorator.lineno for decorator in decorators]])


@functools.cache
def path(module: str) -> Path:
    """The file of a module."""
    plain = SOURCE.joinpath(*module.split("."))
    return plain / "__init__.py" if plain.is_dir() else plain.with_suffix(".py")


@functools.cache
def text(module: str) -> str:
    """The source of a module."""
    return path(module).read_text(encoding="utf-8")


@functools.cache
def syntax(module: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(text(module))


def exists(module: str) -> bool:
    """Whether there is such a module."""
    return path(module).is_file()


def names(module: str) -> list[str]:
    """What a module makes public: `__all__`, or what it defines without an underscore, in order."""
    for node in syntax(module).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    found = dict.fromkeys(
        name for node in syntax(module).body for name in _defined(node) if _is_documented(node, module)
    )
    return [name for name in found if not name.startswith("_")]


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _is_documented(node: ast.stmt, module: str) -> bool:
    """Whether a definition says what it is: constants and types do so in a string below."""
    return isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or bool(_string_below(node, module))


def _string_below(node: ast.stmt, module: str) -> str:
    body = syntax(module).body
    after = body[body.index(node) + 1 :][:1] if node in body else []
    return _string(after[0]) if after else ""


def _string(node: ast.stmt) -> str:
    is_string = (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )
    return node.value.value if is_string else ""  # type: ignore[attr-defined]  # as was just seen


def find(module: str, name: str, public: str = "") -> Entry | None:
    """The entry of a name that a module has or imports; None for a module, and for what is not fgrad's."""
    public = public or f"{module}.{name}"
    own = [node for node in syntax(module).body if name in _defined(node)]
    if own:
        return Entry(public, module, tuple(own), _doc(module, name, own[-1]))
    for node in ast.walk(syntax(module)):
        if isinstance(node, ast.ImportFrom) and node.module and exists(node.module):
            for alias in node.names:
                if (alias.asname or alias.name) == name and not exists(f"{node.module}.{alias.name}"):
                    return find(node.module, alias.name, public)
    return None


def _doc(module: str, name: str, node: ast.stmt) -> str:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return ast.get_docstring(node) or ""
    said = _string_below(node, module)
    if said or isinstance(node, ast.Assign):
        return said
    value = getattr(
        importlib.import_module(module), name, None
    )  # the rows' meanings are given to them as they are made
    return (value.__doc__ or "") if callable(value) and not isinstance(value, type) else ""


# --- signatures ------------------------------------------------------------------------------------------------------
def signature(node: Function, *, of_method: bool = False) -> str:
    """The arguments and the result as they were written."""
    arguments = _positional(node)[1 if of_method and not _is_static(node) else 0 :]
    result = "" if node.returns is None else f" -> {annotation(node.returns)}"
    return f"({', '.join(arguments)}){result}"


def _is_static(node: Function) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)


def _positional(node: Function) -> list[str]:
    """The arguments, each as text, with the signs / and * between them."""
    given = node.args
    plain = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [*[None] * (len(plain) - len(given.defaults)), *given.defaults]
    shown = [_argument(argument, default) for argument, default in zip(plain, defaults, strict=True)]
    if given.posonlyargs:
        shown.insert(len(given.posonlyargs), "/")
    if given.vararg:
        shown.append(f"*{_argument(given.vararg, None)}")
    elif given.kwonlyargs:
        shown.append("*")
    shown += [
        _argument(argument, default) for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    return [*shown, f"**{_argument(given.kwarg, None)}"] if given.kwarg else shown


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    typed = "" if argument.annotation is None else f": {annotation(argument.annotation)}"
    equals = " = " if typed else "="
    return f"{argument.arg}{typed}" + ("" if default is None else f"{equals}{ast.unparse(default)}")


def annotation(node: ast.expr) -> str:
    """A type as it was written, without quotes."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)


def is_overload(node: ast.stmt) -> bool:
    """Whether a definition is there for type checkers alone."""
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(d, ast.Name) and d.id == "overload" for d in node.decorator_list
    )


def fields(node: ast.ClassDef) -> Iterator[tuple[str, str, str, str]]:
    """The fields of a record: name, type, default, and what the string below says."""
    for statement, after in zip(node.body, [*node.body[1:], ast.Pass()], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
            default = "" if statement.value is None else ast.unparse(statement.value)
            if not name.startswith("_"):
                yield name, annotation(statement.annotation), default, _string(after)


def methods(node: ast.ClassDef) -> Iterator[Function]:
    """The methods that say what they do: public ones, and calling."""
    for statement in node.body:
        is_public = isinstance(statement, ast.FunctionDef) and (
            not statement.name.startswith("_") or statement.name in ("__call__", "__getitem__", "__iter__")
        )
        if is_public and isinstance(statement, ast.FunctionDef) and ast.get_docstring(statement):
            yield statement


# --- docstrings ------------------------------------------------------------------------------------------------------
def markdown(doc: str) -> str:
    """A docstring as Markdown: its prose, in which nothing is Markdown's own, and its examples as code."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", doc.strip("\n")):
        lines = paragraph.split("\n")
        start = next((i for i, line in enumerate(lines) if _CHECKED.match(line)), len(lines))
        parts += [_prose(lines[:start])] if lines[:start] else []
        parts += [_code("pycon", lines[start:])] if lines[start:] else []
    return "\n\n".join(_joined(parts))


def _joined(parts: Sequence[str]) -> list[str]:
    """Examples that follow one another as one block."""
    joined: list[str] = []
    for part in parts:
        if joined and part.startswith("```pycon") and joined[-1].startswith("```pycon"):
            joined[-1] = joined[-1].removesuffix("```") + "\n" + part.removeprefix("```pycon\n")
        else:
            joined.append(part)
    return joined


def _code(language: str, lines: Sequence[str]) -> str:
    return f"```{language}\n{_dedented(lines)}\n```"


def _dedented(lines: Sequence[str]) -> str:
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    return "\n".join(line[margin:] for line in lines)


def _prose(lines: Sequence[str]) -> str:
    if all(line.startswith("    ") for line in lines):
        return _code("none", lines)
    return "\n".join(map(escaped, lines))


def escaped(line: str) -> str:
    """A line of prose with its code as it is and the rest without a meaning of its own; lists stay lists."""
    bullet = re.match(r"\s*(?:[*-]|\d+\.) ", line)
    head = bullet[0] if bullet else ""
    pieces = re.split(r"(`[^`]*`)", line[len(head) :])
    return head + "".join(
        piece if i % 2 else re.sub(r"([*_<>\[\]$#|~\\{}])", r"\\\1", piece) for i, piece in enumerate(pieces)
    )
