"""Files that are there whole or not at all.

Knows how to put files in place in one step, and to clear away what killed processes left; nothing of what is in them.
"""

import errno
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

try:
    import fcntl
except ImportError:  # Windows, where nothing is cleared away: a draft's owner can't be seen to be dead
    fcntl = None  # type: ignore[assignment]  # asked for below

PathLike: TypeAlias = str | os.PathLike[str]
_PREFIX: Final = ".fgrad-"
_SUFFIX: Final = ".tmp"
_ALONE: Final = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


def replace_files(files: Mapping[Path, bytes]) -> None:
    """Put files in place so that none is ever seen half-written: all are written beside their places, then moved.

    They survive a crash of the machine too. Drafts that killed processes left in these folders are removed: while a
    process lives, it holds a lock on its own. Raises OSError where writing fails; what could not be moved leaves the
    old file as it was.
    """
    files = {Path(os.path.realpath(path)): data for path, data in files.items()}  # what a link leads to
    for path in files:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    folders = {path.parent for path in files}
    for folder in folders:
        _clear(folder)
    with ExitStack() as drafts:
        moves = {drafts.enter_context(_draft(path.parent, data)): path for path, data in files.items()}
        for draft, path in moves.items():
            with suppress(FileNotFoundError):
                draft.chmod(path.stat().st_mode)  # what is there keeps its permissions
            draft.replace(path)
        for folder in folders:
            _settle(folder)


@contextmanager
def _draft(folder: Path, data: bytes) -> Iterator[Path]:
    """A file of its own, written to the disk, and locked until it has been moved; if it has not been, it is removed."""
    path, file = _opened(folder)
    try:
        with os.fdopen(os.dup(file), "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(file)
        if fcntl is None:  # an open file can't be moved
            os.close(file)
            file = -1
        yield path
    finally:
        path.unlink(missing_ok=True)
        if file >= 0:
            os.close(file)


def _opened(folder: Path) -> tuple[Path, int]:
    """A new file and its descriptor, locked; again, should another process have cleared it away before the lock."""
    while True:
        path = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        file = os.open(path, _ALONE | os.O_CREAT | os.O_EXCL, 0o666)
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks, where nobody can take it for an orphan either
                fcntl.flock(file, fcntl.LOCK_EX)
            if not path.exists():
                os.close(file)
                continue
        return path, file


def _clear(folder: Path) -> None:
    """Remove the drafts whose lock nobody holds: their processes are dead."""
    if fcntl is None:
        return
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):  # locked, gone by now, or another user's
            file = os.open(path, _ALONE)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(file)


def _settle(folder: Path) -> None:
    """Write the folder's own entries to the disk."""
    with suppress(OSError):  # not every system can; the files are in place
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
