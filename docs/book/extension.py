"""What the site does beyond Sphinx: formulas without scripts, links to the source, and to what is named in code.

Knows Sphinx's events and trees; nothing of how pages are run or written.
"""

import html
import os
import pkgutil
import re
from itertools import pairwise
from pathlib import Path
from typing import Final, cast

from docutils import nodes
from latex2mathml.converter import convert
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode
from sphinx.writers.html5 import HTML5Translator

from docs.book import notebooks
from docs.book.pages import DOCS, ROOT

_LOG: Final = logging.getLogger(__name__)
_LINK: Final = re.compile(r"\]\((?!\w+:)([^)#\s]+)(#L\d+)?\)")
_NAME: Final = re.compile(r"(fgrad(?:\.\w+)+)(?:\(.*\))?")
# What latex2mathml writes and browsers show badly: primes too high, an upright letter slanted, names as operators.
_CORRECTIONS: Final = {
    r"<msup>(<mi>[^<]+</mi>)<mi>&#x02032;</mi></msup>": r'<mrow>\1<mo lspace="0" rspace="0">&#x02032;</mo></mrow>',
    r"<mi>(&#x000[0-9A-F]{2};)</mi>": r'<mi mathvariant="normal">\1</mi>',
    r"<mo>((?!mod)[a-z]{2,})</mo>": r"<mi>\1</mi>",
}
# A page of source: the site's colours and nothing else.
_PLAIN: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{name}</title>
<link rel="stylesheet" href="{top}_static/styles/furo.css"><link rel="stylesheet" href="{top}_static/pygments.css">
<link rel="stylesheet" href="{top}_static/book.css"></head>
<body class="plain"><script>document.body.dataset.theme = localStorage.getItem("theme") || "auto"</script>
<article><p><a href="{top}index.html">fgrad</a></p><h1>{name}</h1>{body}</article></body></html>
"""
_KINDS: Final = (".py", ".md", ".toml", ".html", ".txt", ".c", ".yml")


# --- formulas --------------------------------------------------------------------------------------------------------
def _math(node: nodes.math | nodes.math_block, display: str) -> str:
    """A formula as MathML, which browsers draw by themselves."""
    latex = node.astext().strip()
    found = convert(re.sub(r"(begin|end)\{aligned\}", r"\1{align*}", latex), display=display)
    if unknown := re.search(r"\\\w+|&amp;", found):
        _LOG.warning("%s is not known in formulas: %s", unknown[0], latex, location=node)
    for pattern, better in _CORRECTIONS.items():
        found = re.sub(pattern, better, found)
    return found


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(_math(node, "inline"))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="math">{_math(node, "block")}</div>')
    raise nodes.SkipNode


# --- links to the repository -----------------------------------------------------------------------------------------
def _mark_links(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give links out of the folder of pages a scheme of their own."""
    page = Path(app.env.doc2path(docname))

    def marked(match: re.Match[str]) -> str:
        target = (page.parent / match[1]).resolve()
        if target == ROOT / "README.md":
            return f"]({os.path.relpath(DOCS / 'reference' / 'readme.md', page.parent)})"
        is_page = target.is_relative_to(DOCS) and target.suffix in (".md", ".svg", ".png")
        if is_page or not target.is_relative_to(ROOT) or not target.exists():
            return match[0]
        return f"](source:{target.relative_to(ROOT)}{match[2] or ''})"

    source[0] = _LINK.sub(marked, source[0])


class Sources:
    """Pages of the repository's files, those that others link to; plain ones, which are quick to make."""

    def __init__(self) -> None:
        self.linked: set[Path] = set()

    def lead(self, app: Sphinx, tree: nodes.document, docname: str) -> None:
        """Lead links to the repository's files to their pages."""
        for link in tree.findall(nodes.reference):
            uri = link.get("refuri", "")
            if uri.startswith("source:"):
                name, _, line = uri.removeprefix("source:").partition("#")
                if not (ROOT / name).exists():
                    _LOG.warning("there is no file %s", name, location=link)
                    continue
                self.linked.add(ROOT / name)
                to_page = app.builder.get_relative_uri(docname, f"source/{name}")
                link["refuri"] = to_page + (f"#{line}" if line else "")

    def write(self, app: Sphinx, error: Exception | None) -> None:
        """Write these pages, and those of what is in a folder that is linked to."""
        if error is None:
            for path in self.linked.union(*[filter(_is_shown, p.rglob("*")) for p in self.linked if p.is_dir()]):
                name = path.relative_to(ROOT).as_posix()
                page = Path(app.outdir) / "source" / f"{name}.html"
                page.parent.mkdir(parents=True, exist_ok=True)
                body = _listing(path) if path.is_dir() else _highlighted(path)
                top = "../" * (name.count("/") + 1)
                page.write_text(_PLAIN.format(name=html.escape(name), top=top, body=body), encoding="utf-8")


def _is_shown(path: Path) -> bool:
    """Whether a file is source and not something that was made of it."""
    within = path.relative_to(ROOT).parts
    is_made = any(part.startswith(("_", ".")) and part != ".ci" for part in within[:-1])
    is_hidden = path.is_dir() and within[-1] != ".ci" and within[-1].startswith(("_", "."))
    return not is_made and not is_hidden and (path.is_dir() or path.suffix in _KINDS or path.parent.name == ".ci")


def _listing(path: Path) -> str:
    shown = filter(_is_shown, sorted(path.iterdir()))
    items = [f'<li><a href="{path.name}/{p.name}.html">{html.escape(p.name)}</a></li>' for p in shown]
    return f"<ul>{''.join(items)}</ul>"


def _highlighted(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    try:
        lexer = get_lexer_for_filename(path.name)
    except ClassNotFound:
        lexer = TextLexer()
    formatter: HtmlFormatter[str] = HtmlFormatter(linespans="L", cssclass="highlight", wrapcode=True)
    shown = highlight(text, lexer, formatter)
    return '<div class="highlight-python">' + re.sub(r'id="L-(\d+)"', r'id="L\1"', shown) + "</div>"


# --- outputs ---------------------------------------------------------------------------------------------------------
def _mark_outputs(app: Sphinx, tree: nodes.document) -> None:
    """Outputs belong to the block above, and long messages of errors are wrapped."""
    blocks = list(tree.findall(nodes.literal_block))
    for block, below in pairwise(blocks):
        if below.get("language") == "text" and block.get("language") == "python":
            below["classes"].append("raised" if block.astext().startswith("# raises:") else "printed")


# --- links from names ------------------------------------------------------------------------------------------------
class NamesAreLinks(SphinxPostTransform):
    """`fgrad.grad`, written as code, leads to its entry; a name that is none is an error."""

    default_priority = 5

    def run(self, **_: object) -> None:
        """Replace each such name by a link."""
        domain = cast("PythonDomain", self.env.get_domain("py"))
        for node in list(self.document.findall(nodes.literal)):
            match = _NAME.fullmatch(node.astext())
            if match is None or isinstance(node.parent, nodes.reference):
                continue
            entry = domain.objects.get(match[1])
            if entry is not None:
                link = make_refnode(self.app.builder, self.env.docname, entry.docname, entry.node_id, node.deepcopy())
                node.replace_self(link)
            elif not _exists(match[1]):
                _LOG.warning("there is no %s", match[1], location=node)


def _exists(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


# --- notebooks -------------------------------------------------------------------------------------------------------
def _offer_notebook(app: Sphinx, pagename: str, template: str, context: dict[str, object], tree: object) -> None:
    """Say on each page that was run where its notebook is."""
    file = notebooks.path(DOCS / f"{pagename}.md")
    if tree is not None and file.exists():
        target = app.builder.get_relative_uri(pagename, f"notebooks/{pagename}").removesuffix(".html") + ".ipynb"
        link = f'<p class="notebook"><a href="{target}" download>This page as a notebook</a></p>'
        context["body"] = str(context["body"]).replace("</h1>", f"</h1>{link}", 1)


def _copy_notebooks(app: Sphinx, error: Exception | None) -> None:
    if error is None:
        for file in notebooks.FOLDER.rglob("*.ipynb"):
            copy = Path(app.outdir) / "notebooks" / file.relative_to(notebooks.FOLDER)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of all this."""
    sources = Sources()
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("source-read", _mark_links)
    app.connect("doctree-read", _mark_outputs)
    app.connect("doctree-resolved", sources.lead)
    app.connect("build-finished", sources.write)
    app.connect("html-page-context", _offer_notebook)
    app.connect("build-finished", _copy_notebooks)
    app.add_post_transform(NamesAreLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
