"""Every exception that fgrad raises, each with what happened, where, and what to write instead.

Knows nothing of the rest of the package. Each class is also the builtin that a user would already catch.
"""

import linecache
import sys


class FgradError(Exception):
    """The base of every error that fgrad raises by itself."""


class EscapedNodeError(FgradError, RuntimeError):
    """A traced value was used after the transform that made it had returned."""


class LeafError(FgradError, TypeError):
    """A leaf of a pytree is not a number or array that can be differentiated."""


class StructureError(FgradError, ValueError):
    """Two pytrees, or two shapes, that must agree do not."""


class OutputError(FgradError, TypeError):
    """A function returned something that its transform cannot use."""


class ArgumentError(FgradError, TypeError):
    """A transform was called in a form that it does not have."""


class ConversionError(FgradError, TypeError):
    """A traced value met code that wants a plain number or array, which would lose its gradient."""


class BranchError(FgradError, TypeError):
    """Python's `if`, `while` or indexing met a value that stands for many examples at once."""


class MutationError(FgradError, TypeError):
    """A traced value, or an array that would have to hold one, was assigned to in place."""


class MissingRowError(FgradError, TypeError):
    """A function has no row in the op table, so its derivative is not known."""


class MissingExtraError(FgradError, ImportError):
    """An optional dependency is not installed."""


class GradientError(FgradError, AssertionError):
    """An analytic derivative and a numeric one disagree."""


class BrokenProgramError(FgradError, AssertionError):
    """A pass of the compiler made a program that is none: an error in fgrad itself."""


class DataError(FgradError, ValueError):
    """A data file cannot be read as numbers."""


class ExpressionError(FgradError, ValueError):
    """A text is no expression that can be computed; the message shows the place."""


class NonFiniteError(FgradError, FloatingPointError):
    """A loss or a gradient became infinite or nan; `last` is the last snapshot of the run that was good."""

    def __init__(self, problem: str, last: object = None) -> None:
        super().__init__(problem)
        self.last = last


def user_line() -> str:
    """Where the user's code stands right now: ``" (at script.py:12: y = math.tanh(x))"``, or ``""`` if unknown."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("fgrad", "numpy"):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(file, line).strip()
    return f" (at {file.replace(chr(92), '/').rpartition('/')[2]}:{line}: {source})" if source else ""


def missing_extra(extra: str, package: str, purpose: str) -> MissingExtraError:
    """Say which extra brings the missing package.

    >>> print(missing_extra("io", "safetensors", "saving parameters"))
    saving parameters needs safetensors: pip install "fgrad[io]"
    """
    return MissingExtraError(f'{purpose} needs {package}: pip install "fgrad[{extra}]"')
