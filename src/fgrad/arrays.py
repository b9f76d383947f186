"""What is a number and what an array, of whichever library follows the Array API standard.

Knows how to ask a value for its library, and what is refused; nothing of nodes and ops. NumPy is imported when the
first array is used.
"""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Final

from fgrad import errors

_libraries: Final[dict[type, ModuleType]] = {}  # a memo: the library of each array type seen
_checked: Final[dict[tuple[type, object], ModuleType]] = {}  # a memo: likewise, where dtypes are those of real numbers


def numpy() -> ModuleType:
    """NumPy, imported now."""
    import numpy as np  # lazily: scripts on floats never load it

    return np


def namespace(*args: object) -> ModuleType:
    """The library of the first array among `args`; NumPy if all are numbers."""
    for x in args:
        kind = type(x)
        if kind not in (float, int, bool):
            return _libraries.get(kind) or _find(x)
    return numpy()


def real_namespace(x: object) -> ModuleType:
    """The library of an array of real numbers, integers or booleans; a `ConversionError` for anything else."""
    key = type(x), getattr(x, "dtype", None)
    return _checked.get(key) or _checked.setdefault(key, _check(x))


def copied(x: object) -> object:
    """A copy of an array; anything else as it is."""
    if isinstance(x, float | int):
        return x
    try:
        namespace(x)
    except errors.ConversionError:
        return x
    return x.copy()  # type: ignore[attr-defined]  # arrays have it


def fresh_copies(xs: Sequence[object], others: Sequence[object]) -> list[object]:
    """Copies of arrays, but for those that share memory neither with another of them nor with `others`."""
    seen, found = set(map(id, others)), []
    for x in xs:
        array = numpy().asarray(x) if type(x).__module__ == "numpy" else None  # x itself, if it is an array
        own = array is not None and id(array) == id(x) and array.flags.owndata and id(x) not in seen
        seen.add(id(x))
        found.append(x if own else copied(x))
    return found


def read_only(x: object) -> object:
    """The same array of NumPy's, which cannot be written to; anything else as it is."""
    if "numpy" not in sys.modules or not isinstance(x, numpy().ndarray):
        return x
    view = numpy().asarray(x)[...]
    view.flags.writeable = False
    return view


def quiet() -> AbstractContextManager[object]:
    """Keep NumPy, if it is in use at all, from warning of infinities in derivative work."""
    np = sys.modules.get("numpy")
    return nullcontext() if np is None else np.errstate(all="ignore")


def no_value(x: object) -> errors.ConversionError:
    """Say that `x` is nothing to compute with."""
    return errors.ConversionError(
        f"{type(x).__name__} is neither a number nor an array{errors.user_line()}: write np.asarray(x) for a list of "
        "numbers, fgrad.stack(x) for a list of traced values"
    )


def _find(x: object) -> ModuleType:
    try:
        space: ModuleType = x.__array_namespace__()  # type: ignore[attr-defined]  # the standard's way to ask
    except AttributeError:
        raise no_value(x) from None
    if type(x).__name__ in ("MaskedArray", "matrix", "recarray"):  # NumPy's arrays that compute otherwise
        raise no_value(x)
    _libraries[type(x)] = space
    return space


def _check(x: object) -> ModuleType:
    space = namespace(x)
    dtype = x.dtype  # type: ignore[attr-defined]  # an array
    if space.isdtype(dtype, "complex floating"):
        raise errors.ConversionError("complex numbers are not differentiated: keep real and imaginary parts apart")
    if not space.isdtype(dtype, ("real floating", "integral", "bool")):
        raise errors.ConversionError(f"an array of dtype {dtype} cannot be differentiated: write fgrad.stack([x, y])")
    return space
