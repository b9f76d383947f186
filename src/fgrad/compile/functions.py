"""Text as functions: what fgrad wrote is compiled, and is to be seen in tracebacks for as long as it lives.

Knows how Python finds the source of a function; nothing of what is written.
"""

import linecache
import weakref
from itertools import count
from types import FunctionType
from typing import Final, cast

_serials: Final = count(1)


def compiled(name: str, text: str, names: dict[str, object], title: str = "") -> FunctionType:
    """The function of that name in a text, whose other names stand for `names`; `title` says what it is for.

    >>> compiled("double", "def double(x): return x * two", {"two": 2})(3)
    6
    """
    shown = title if title.isprintable() else ascii(title)
    filename = f"<fgrad {name} {next(_serials)}{shown and ': '}{shown}>"
    exec(compile(text, filename, "exec"), names)
    linecache.cache[filename] = len(text), None, text.splitlines(keepends=True), filename
    function = cast("FunctionType", names.pop(name))
    weakref.finalize(function, linecache.cache.pop, filename, None)
    return function


def text_of(x: object) -> str:
    """The text of a function that was made here; nothing for anything else.

    >>> text_of(compiled("double", "def double(x): return 2 * x", {}))
    'def double(x): return 2 * x'
    """
    if not isinstance(x, FunctionType) or not x.__code__.co_filename.startswith("<fgrad "):
        return ""
    return "".join(linecache.getlines(x.__code__.co_filename))
