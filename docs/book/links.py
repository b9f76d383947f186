"""Checks of the built site: every link leads somewhere within it, and nothing is loaded from the network.

Knows HTML and CSS; nothing of how they were made.
"""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import attrs

_LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}


@attrs.frozen
class Document:
    """What matters of a page: its anchors, its links, and what it loads."""

    anchors: frozenset[str]
    links: frozenset[str]
    loads: frozenset[str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loads: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        is_page = tag == "a" or (tag == "link" and given.get("rel") in ("next", "prev", "index", "search"))
        place = "href" if tag in ("a", "link") else _LOADS.get(tag, "")
        if place in given:
            (self.links if is_page else self.loads).add(given[place])


def read(page: Path) -> Document:
    """Read a page of the site."""
    reader = _Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    return Document(*map(frozenset, (reader.anchors, reader.links, reader.loads)))


def broken(site: Path) -> list[str]:
    """Every link, and every file that is loaded, of which the site has no such page, file or anchor."""
    documents = {page.resolve(): read(page) for page in sorted(site.rglob("*.html"))}
    return [
        f"{page.relative_to(site.resolve())}: {link} leads nowhere"
        for page, document in documents.items()
        for link in sorted(document.links | document.loads)
        if not _leads(page, link, documents)
    ]


def _leads(page: Path, link: str, documents: dict[Path, Document]) -> bool:
    if re.match(r"\w+:|//", link):
        return True
    address, anchor = urldefrag(link)
    target = (page.parent / unquote(address.split("?")[0])).resolve() if address else page
    if target not in documents:
        return target.is_file()
    return not anchor or unquote(anchor) in documents[target].anchors


def foreign(site: Path) -> list[str]:
    """Everything that a page or a style would load from the network."""
    return [*_foreign_tags(site), *_foreign_styles(site)]


def _foreign_tags(site: Path) -> Iterator[str]:
    for page in sorted(site.rglob("*.html")):
        for address in sorted(read(page).loads):
            if re.match(r"(\w+:)?//", address):
                yield f"{page.relative_to(site)}: loads {address}"


def _foreign_styles(site: Path) -> Iterator[str]:
    for file in sorted([*site.rglob("*.css"), *site.rglob("*.svg")]):
        for address in re.findall(
            r"(?:url\(|@import )\s*[\"']?((?:\w+:)?//[^\"')]+)", file.read_text(encoding="utf-8")
        ):
            yield f"{file.relative_to(site)}: loads {address}"
