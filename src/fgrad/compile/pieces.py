"""Long straight lines, cut into functions: LLVM's time grows faster than the length of each.

Knows which numbers one piece leaves for another, in memory that they share; nothing of what is computed.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from fgrad.compile.frames import Frame, element
from fgrad.compile.nests import LoopWriter
from fgrad.compile.regions import Loop
from fgrad.compile.registers import Code

PIECE: Final = 4_000
"""So many steps a piece has at most."""


class _Shared(dict[int, str]):
    """Numbers in registers: those that are not yet there are read from the shared memory, once in each piece."""

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self.frame = frame

    def __contains__(self, place: object) -> bool:
        return isinstance(place, int) and place not in self.frame.memory

    def __missing__(self, place: int) -> str:
        kind, code = element(self.frame.known.kind(place)) or "double", self.frame.code
        held = code.value(f"load {_held(kind)}, ptr {_slot(code, place)}")
        self[place] = code.value(f"trunc i8 {held} to i1") if kind == "i1" else held
        return self[place]


def write(frame: Frame, loop: Loop, name: str, wanted: Iterable[int]) -> None:
    """Do a loop without axes in pieces; numbers that are wanted afterwards are in registers then."""
    known, steps = frame.known, loop.steps
    pieces = [steps[i : i + PIECE] for i in range(0, len(steps), PIECE)]
    own = {place: i for i, piece in enumerate(pieces) for place in piece}
    given: set[int] = set()
    left = own.keys() & set(wanted)
    for place, i in own.items():
        for view in known.operands(place):
            if view is None:
                continue
            if view.base in own:
                left |= {view.base} if own[view.base] != i else set()
            elif view.base not in frame.memory:
                given.add(view.base)
    for place in sorted(given):
        _keep(frame, place, frame.scalars[place])
    for i, piece in enumerate(pieces):
        _write_piece(frame, Loop((), piece), f"{name}.{i}", left)
    for place in sorted((own.keys() & set(wanted)).difference(frame.memory)):
        frame.scalars[place] = _Shared(frame)[place]


def _write_piece(frame: Frame, loop: Loop, name: str, left: set[int]) -> None:
    """Write a piece as a function of its own, and call it."""
    used = {view.base for place in loop.steps for view in frame.known.operands(place) if view is not None}
    arrays = sorted({frame.memory[place] for place in (used | set(loop.steps)) & frame.memory.keys()})
    arguments = ["ptr %shared", *[f"ptr {at}" for at in arrays]]
    code = Code(frame.code.fast, declared=frame.code.declared)
    piece = attrs.evolve(frame, code=code, scalars={}, reserved={})
    piece.scalars = _Shared(piece)
    LoopWriter(piece, loop, name, left=lambda place, x: _keep(piece, place, x) if place in left else None).write()
    frame.code.lines.append(f"  call void @{name}({', '.join(arguments)})")
    head = f"define internal void @{name}({', '.join(arguments)}) nounwind noinline {{"
    frame.functions.append("\n".join([head, *piece.on_stack(), *code.lines, "  ret void", "}"]))


def _keep(frame: Frame, place: int, x: str) -> None:
    """Leave a number in the shared memory."""
    code, kind = frame.code, element(frame.known.kind(place)) or "double"
    held = code.value(f"zext i1 {x} to i8") if kind == "i1" else x
    code.lines.append(f"  store {_held(kind)} {held}, ptr {_slot(code, place)}")


def _slot(code: Code, place: int) -> str:
    return code.value(f"getelementptr i64, ptr %shared, i64 {place}")


def _held(kind: str) -> str:
    return "i8" if kind == "i1" else kind
