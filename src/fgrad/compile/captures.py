"""What a function reaches beside its arguments: the variables of closures and modules that it and its helpers name.

Knows code objects and where names are looked up; nothing of traces and programs.
"""

import functools
from collections.abc import Callable, Iterator
from operator import is_
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Final, TypeAlias

import attrs

from fgrad import tree

Capture: TypeAlias = tuple[Callable[[], object], object]
"""How to look a variable up, and the object that it was."""

_FIXED: Final = (ModuleType, type, BuiltinFunctionType)


@attrs.frozen(eq=False)
class Captured:
    """The variables that a function reaches, and what they were."""

    variables: tuple[Capture, ...]
    containers: tuple[tuple[object, list[object]], ...]
    """The lists and dicts among them, which can change in place, and the leaves that they had."""

    def changed(self) -> bool:
        """Whether a variable is now another object than it was, or holds others."""
        for look, was in self.variables:
            if look() is not was:
                return True
        for container, leaves in self.containers:
            now = tree.leaves(container)
            if len(now) != len(leaves) or not all(map(is_, now, leaves)):
                return True
        return False


def captured(f: Callable[..., object]) -> Captured:
    """List the variables, neither modules nor classes nor functions, that f and the functions it reaches name.

    >>> module = {"rate": 0.1}
    >>> exec("def step(x): return x * rate", module)
    >>> [was for _, was in captured(module["step"]).variables]
    [0.1]
    """
    found: list[Capture] = []
    seen: set[FunctionType] = set()
    waiting: list[FunctionType] = [*filter(None, [_function(f)])]
    while waiting:
        reached = waiting.pop()
        seen.add(reached)
        for look in _variables(reached):
            was = look()
            inner = _function(was)
            if inner is not None and inner not in seen:
                waiting.append(inner)
            elif inner is None and not isinstance(was, _FIXED) and not _of_library(reached):
                found.append((look, was))
    containers = [was for _, was in found if isinstance(was, list | dict)]
    return Captured(tuple(found), tuple([(was, tree.leaves(was)) for was in containers]))


def _function(x: object) -> FunctionType | None:
    """The plain function that x is, or that it wraps as a method, a partial or a decorated function does."""
    while not isinstance(x, FunctionType):
        if not callable(x) or isinstance(x, _FIXED):
            return None
        x = getattr(x, "__func__", None) or getattr(x, "func", None) or getattr(x, "__wrapped__", None)
    return x


def _of_library(f: FunctionType) -> bool:
    """Whether f is fgrad's own: what it reaches does not change, but for users' functions that it was given."""
    return str(f.__globals__.get("__name__")).partition(".")[0] == "fgrad"  # wraps() has changed its __module__


def _variables(f: FunctionType) -> Iterator[Callable[[], object]]:
    for cell in f.__closure__ or ():
        yield functools.partial(_contents, cell)
    if not _of_library(f):
        for name in sorted({name for name in _names(f.__code__) if name in f.__globals__}):
            yield functools.partial(f.__globals__.get, name)


def _contents(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _names(code: CodeType) -> Iterator[str]:
    """The names that code looks up, and that of its inner functions."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)
