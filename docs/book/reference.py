"""The reference: a page for each public module, and pages of ops, written as Markdown from the source.

Knows which names stand on which page and how an entry looks; what ops compute is told by `ops`.
"""

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from docs.book import api, ops
from docs.book.api import Entry
from docs.book.pages import DOCS, ROOT

FOLDER: Final = DOCS / "reference"
# The modules of `fgrad` itself, in the order in which one meets them, and the title of each part of its page.
_PARTS: Final = {
    "fgrad.transforms": "Gradients",
    "fgrad.jacobians": "Jacobians and Hessians",
    "fgrad.batching": "Batches",
    "fgrad.compile.jit": "Compiling",
    "fgrad.control": "Loops and choices",
    "fgrad.calls": "Memory",
    "fgrad.custom": "Rules of one's own",
    "fgrad.ops.rows": "Rules of one's own",
    "fgrad.trace": "Traces",
    "fgrad.node": "Traces",
    "fgrad.numeric": "Checking",
    "fgrad.check": "Checking",
}
_MODULES: Final = ("nn", "optim", "train", "random", "io", "tree", "check", "micro", "sklearn", "scale", "errors")
_SHOWN: Final = ("draw", "explain", "stepper", "formula", "expression", "plot", "progress", "report")


def write(*, fast: bool = False) -> list[Path]:
    """Write all pages of the reference, and gives them back; a fast one keeps the plots that there are."""
    pages = {"fgrad.md": _top(), **_modules(), **_shown(), **_ops(), "readme.md": _readme()}
    for name, content in pages.items():
        _put(FOLDER / name, content)
    ops.plots(fast=fast)
    stale = [p for p in FOLDER.rglob("*.md") if str(p.relative_to(FOLDER)) not in pages and p.name != "index.md"]
    for page in stale:
        page.unlink()
    return [FOLDER / name for name in pages]


def _put(page: Path, content: str) -> None:
    """Write a page if it is another than before, so that the site does not build it again for nothing."""
    page.parent.mkdir(parents=True, exist_ok=True)
    if not page.exists() or page.read_text(encoding="utf-8") != content:
        page.write_text(content, encoding="utf-8")


# --- pages -----------------------------------------------------------------------------------------------------------
def _top() -> str:
    """The page of `fgrad`: all but the ops and the modules."""
    parts: dict[str, list[Entry]] = {title: [] for title in _PARTS.values()}
    for name in api.names("fgrad"):
        entry = api.find("fgrad", name)
        if entry is not None and not ops.is_op(entry):
            title = _PARTS.get(entry.module, "More")
            parts.setdefault(title, []).append(entry)
    order = [*_PARTS]
    sections = [
        f"## {title}\n\n"
        + _entries(sorted(entries, key=lambda e: (order.index(e.module) if e.module in order else 99, e.line)))
        for title, entries in parts.items()
        if entries
    ]
    about = _about("fgrad")
    links = ", ".join(f"[{title}](ops/{slug}.md)" for slug, title, _ in ops.pages())
    return "\n\n".join([_title("fgrad"), about, f"The ops have pages of their own: {links}.", *sections]) + "\n"


def _modules() -> dict[str, str]:
    present = [f"fgrad.{name}" for name in _MODULES if api.exists(f"fgrad.{name}")]
    return {f"{module}.md": _page(module) for module in present}


def _shown() -> dict[str, str]:
    present = [f"fgrad.show.{name}" for name in _SHOWN if api.exists(f"fgrad.show.{name}")]
    return {f"{module}.md": _page(module) for module in present}


def _page(module: str) -> str:
    entries = [entry for name in api.names(module) if (entry := api.find(module, name)) is not None]
    entries.sort(key=lambda e: (not isinstance(e.definitions[-1], ast.FunctionDef | ast.ClassDef), 0))
    return "\n\n".join([_title(module), _about(module), _entries(entries)]) + "\n"


def _ops() -> dict[str, str]:
    pages = {f"ops/{slug}.md": _op_page(title, entries) for slug, title, entries in ops.pages()}
    return {**pages, "ops/index.md": _op_index()}


def _op_page(title: str, sections: Sequence[tuple[str, str, Sequence[Entry]]]) -> str:
    parts = [f"# {title}", "```{py:currentmodule} fgrad\n```"]
    for heading, about, entries in sections:
        parts += [f"## {heading}"] if heading else []
        parts += [about] if about else []
        parts += [_entry(entry, ops.told) for entry in entries]
    return "\n\n".join(parts) + "\n"


def _op_index() -> str:
    lines = [
        "# Ops",
        "Every op under the name of the Array API standard, with its formula, its derivative, where it is defined, and "
        "what comes out where mathematics leaves a choice. All of it is made from the [table of ops]"
        "(../../../src/fgrad/ops): derivatives are its rules run on symbols, edge values its rows called there.",
    ]
    for slug, title, sections in ops.pages():
        found = " · ".join(f"{{py:obj}}`~{e.public}`" for _, _, entries in sections for e in entries)
        lines.append(f"**[{title}]({slug}.md)**\\\n{found}")
    contents = "\n".join(["```{toctree}", ":hidden:", "", *[slug for slug, _, _ in ops.pages()], "```"])
    return "\n\n".join([*lines, contents]) + "\n"


def _readme() -> str:
    """The README as a page: its links begin at the top of the repository."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8")
    return lines.replace("](docs/", "](../").replace("](src/", "](../../src/")


def _title(module: str) -> str:
    return f"```{{py:module}} {module}\n```\n\n# {module}"


def _about(module: str) -> str:
    doc = api.markdown(ast.get_docstring(api.syntax(module)) or "")
    return doc.partition("\n\n")[0]


# --- entries ---------------------------------------------------------------------------------------------------------
def _entries(entries: Iterable[Entry]) -> str:
    return "\n\n".join(_entry(entry) for entry in entries)


def _entry(entry: Entry, more: Callable[[Entry], str] = lambda entry: "") -> str:
    node = entry.definitions[-1]
    if isinstance(node, ast.ClassDef):
        return _class(entry, node)
    if isinstance(node, ast.FunctionDef):
        overloads = [d for d in entry.definitions if api.is_overload(d)]
        shown = api.signature(node)
        shown = shown.rpartition(" -> ")[0] if overloads else shown
        return _directive(
            "function", entry.name + shown, [_doc(entry), _forms(entry, overloads), more(entry), _source(entry)]
        )
    if (given := ops.arguments(entry)) is not None:
        return _directive("function", f"{entry.name}({given})", [_doc(entry), more(entry), _source(entry)])
    return _data(entry, node)


def _data(entry: Entry, node: ast.stmt) -> str:
    value = ast.unparse(node.value) if isinstance(node, ast.Assign | ast.AnnAssign) and node.value else ""
    said = [f"```python\n{entry.name} = {value}\n```"] if value and len(value) < 300 else []
    return _directive("data", entry.name, [*said, _doc(entry), _source(entry)])


def _class(entry: Entry, node: ast.ClassDef) -> str:
    fields = list(api.fields(node))
    is_error = any(ast.unparse(base).endswith("Error") for base in node.bases)
    is_record = any("frozen" in ast.unparse(d) or "define" in ast.unparse(d) for d in node.decorator_list)
    given = [
        f"{name}: {kind}" + (f" = {default}" if default and "(" not in default else "")
        for name, kind, default, _ in fields
    ]
    body = [_doc(entry), _source(entry)]
    body += [
        _directive("attribute", f"{name}", [api.markdown(said)], [f":type: {kind}"]) for name, kind, _, said in fields
    ]
    for method in api.methods(node):
        options = [
            f":{kind}:" for kind in ("classmethod", "staticmethod") if kind in map(ast.unparse, method.decorator_list)
        ]
        doc = api.markdown(ast.get_docstring(method) or "")
        if any("property" in ast.unparse(d) for d in method.decorator_list):
            typed = [f":type: {api.annotation(method.returns)}"] if method.returns else []
            body.append(_directive("property", method.name, [doc], typed))
        else:
            body.append(_directive("method", method.name + api.signature(method, of_method=True), [doc], options))
    kind = "exception" if is_error else "class"
    return _directive(kind, entry.name + (f"({', '.join(given)})" if is_record and given else ""), body)


def _doc(entry: Entry) -> str:
    return api.markdown(entry.doc)


def _forms(entry: Entry, overloads: Sequence[ast.stmt]) -> str:
    """What type checkers know: every form, typed."""
    if not overloads:
        return ""
    forms = "\n".join(ast.get_source_segment(api.text(entry.module), d) or "" for d in overloads)
    return f":::{{dropdown}} What type checkers know\n```python\n{forms}\n```\n:::"


def _source(entry: Entry) -> str:
    place = api.path(entry.module).relative_to(ROOT)
    return f"[source](source:{place}#L{entry.line}){{.source}}"


def _directive(kind: str, head: str, body: Iterable[str], options: Iterable[str] = ()) -> str:
    content = "\n\n".join(part for part in body if part)
    colons = ":" * (3 + max([0, *(len(run) - 2 for run in _runs(content))]))
    given = "".join(f"{option}\n" for option in options)
    return f"{colons}{{py:{kind}}} {head}\n{given}\n{content}\n{colons}"


def _runs(content: str) -> Iterator[str]:
    """The colons that directives within begin with."""
    for line in content.split("\n"):
        if line.startswith(":::"):
            yield line[: len(line) - len(line.lstrip(":"))]
