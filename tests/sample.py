"""A sample: one call of an op, from which the laws over all rows are checked.

Knows how a call is written down; nothing of any op.
"""

from typing import Any, Final

import attrs

from tests.oracles import Call

RTOL: Final = 1e-12


@attrs.frozen
class Sample:
    """A call of an op, on a namespace and the arguments that are differentiated; and what a peer does, if not that."""

    call: Call
    args: tuple[Any, ...]
    peer: Call | None = None
    rtol: float = RTOL


def named(name: str) -> Call:
    """Call the namespace's function of that name."""
    return lambda xp, *args: getattr(xp, name)(*args)
