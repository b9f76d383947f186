"""Build the book: run its pages, draw its pictures, write the reference and the notebooks, and make a site of all.

python -m docs.build           # everything, strictly: a dead link is an error
python -m docs.build --fast    # pages that have not changed since they were run are not run again
python -m docs.build --draft   # as that, and only what has changed is read: quick, and sees not all that is wrong
"""

import argparse
import hashlib
import shutil
import sys
import time
from pathlib import Path
from typing import Final

from docs.book import pages
from docs.book.pages import DOCS

BUILD: Final = DOCS / "_build"
SITE: Final = BUILD / "html"


def run_pages(*, fast: bool = False) -> list[str]:
    """Run every page, draw its pictures and write its notebook; gives what is not as the pages say."""
    return [complaint for page in pages.written() for complaint in run_page(page, fast=fast)]


def run_page(page: Path, *, fast: bool = False) -> list[str]:
    """As `run_pages`, of one page; a mark remembers pages that did what they say."""
    from docs.book import notebooks

    mark = BUILD / "ran" / page.relative_to(DOCS).with_suffix("")
    digest = hashlib.sha256(page.read_bytes()).hexdigest()
    if fast and mark.exists() and mark.read_text() == digest and notebooks.path(page).exists():
        return []
    mark.unlink(missing_ok=True)
    try:
        done = pages.run(page)
    except pages.PageError as error:
        return [str(error)]
    pages.draw(done)
    notebooks.write(page, done)
    found = pages.complaints(page, done)
    if not found:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(digest)
    return found


def build_site(*, draft: bool = False) -> list[str]:
    """Write the reference, run Sphinx, and look at every link; gives what is wrong.

    A draft reads only what has changed, and so does not see all that is wrong.
    """
    from sphinx.cmd.build import build_main

    from docs.book import links, reference

    reference.write(fast=draft)
    options = ["-W", "-n", "-q", "--keep-going", "-d", str(BUILD / "trees"), *([] if draft else ["-E", "-a"])]
    if not draft:
        shutil.rmtree(SITE, ignore_errors=True)
    if build_main([*options, "-b", "html", str(DOCS), str(SITE)]):
        return ["Sphinx found errors: they stand above"]
    return [*links.broken(SITE), *links.foreign(SITE)]


def main() -> None:
    """Build the book."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--fast", action="store_true", help="do not run pages again that have not changed")
    parser.add_argument("--draft", action="store_true", help="nor read them again")
    options = parser.parse_args()
    begun = time.perf_counter()
    found = run_pages(fast=options.fast or options.draft)
    found += build_site(draft=options.draft)
    print("\n".join(found) or f"{SITE / 'index.html'}, in {time.perf_counter() - begun:.0f} s")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
