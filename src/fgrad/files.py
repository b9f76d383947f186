"""Files that are there whole or not at all.

Knows how to put files in place in one step; nothing of what is in them.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

PathLike: TypeAlias = str | os.PathLike[str]


def replace_files(files: Mapping[Path, bytes]) -> None:
    """Put files in place so that none is ever seen half-written: all are written beside their places, then moved.

    Raises OSError where that fails; what could not be moved leaves the old file as it was.
    """
    drafts = {path: path.with_name(f".{secrets.token_hex(8)}.tmp") for path in files}
    try:
        for path, draft in drafts.items():
            with draft.open("xb") as file:
                file.write(files[path])
                file.flush()
                os.fsync(file.fileno())
        for path, draft in drafts.items():
            draft.replace(path)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
