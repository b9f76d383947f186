"""What commands say, and what they look at before they begin: is it installed, and can it be written.

Knows streams and folders; nothing of networks.
"""

import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from fgrad import errors

Needs = Iterable[tuple[str, str, str]]
"""Modules that are optional, the extra that brings each, and what it is for."""


def say(text: str) -> None:
    """Print a text; what the stream's encoding lacks is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def complain(problem: str, status: int) -> int:
    """Print one line on stderr, whatever the problem's text holds, and give the status back."""
    remark(f"fgrad: {problem}")
    return status


def remark(text: str) -> None:
    """Print one line on stderr."""
    print(" ".join(text.splitlines()), file=sys.stderr)


def check_extras(needs: Needs) -> None:
    """Miss an optional dependency now, and not when the work is done.

    Raises `MissingExtraError`.
    """
    for module, extra, purpose in needs:
        try:
            importlib.import_module(module)
        except ImportError:
            raise errors.missing_extra(extra, module.partition(".")[0], purpose) from None


def check_writable(files: Iterable[Path], given: str = "") -> None:
    """Find out now that a file cannot be written, or is the one that was given. Raises `DataError`."""
    for file in files:
        if given and file.exists() and Path(given).exists() and file.samefile(given):
            raise errors.DataError(f"{file}: is the data, which would be overwritten")
        out = file.parent
        there = next(place for place in (out, *out.absolute().parents) if os.path.lexists(place))
        if not there.is_dir():
            raise errors.DataError(f"{there}: is not a folder, so the results cannot be written into {out}")
        if not os.access(there, os.W_OK):
            raise errors.DataError(f"{there}: the folder cannot be written to")
        if file.is_dir():
            raise errors.DataError(f"{file}: is a folder, where a file is to be written")
