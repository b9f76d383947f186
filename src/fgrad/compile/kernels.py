"""Native kernels: which steps can be done natively, and a block of them as one function that Python calls.

Knows the order in which arguments, loops, guards and results come; nothing of how each is written.
"""

from collections.abc import Sequence
from typing import cast

import attrs

from fgrad.compile import pieces
from fgrad.compile.forms import PUT
from fgrad.compile.frames import Frame, Kernel, element, is_array
from fgrad.compile.nests import LoopWriter
from fgrad.compile.regions import PRODUCTS, REDUCTIONS, SMALL, Block, Loop, Plan, is_basic
from fgrad.compile.registers import ARITHMETIC, COMPARISONS, LOGIC, Code
from fgrad.compile.rewrite import Kind
from fgrad.compile.zeros import STRONG
from fgrad.node import TABLE, Op


def can(op: Op, operands: Sequence[Kind], result: Kind, params: Sequence[object]) -> bool:
    """Whether a step can be part of a kernel."""
    if TABLE.get(op.name) is not op and op not in (STRONG, PUT):
        return False
    given, made = [element(kind) or ("int" if kind.type is int else "") for kind in operands], element(result)
    if not all(given) or not made or not result.size or not all(kind.size for kind in operands):
        return False
    if op.name in PRODUCTS:
        columns = operands[1].shape[-1] if op.name == "matmul" and len(operands[1].shape) > 1 else 1
        small = max(result.size, operands[0].size) * columns <= SMALL
        return small and all(map(is_array, operands)) and set(given) == {made} != {"i1"}
    if op is PUT:
        return all(x == made for x in given) and is_basic(cast("tuple[object, ...]", params[0]))
    if op.name == "scatter":
        return len(operands) == 1 and given[0] == made and is_basic(cast("tuple[object, ...]", params[1]))
    if op.name in REDUCTIONS:
        return is_array(operands[0]) and given[0] == made != "i1"
    if op.name == "where":
        return given[0] == "i1" and (made != "i1" or given[1:] == ["i1", "i1"])
    if op.name in ARITHMETIC:
        return made != "i1"
    if op.name in COMPARISONS:
        return "int" not in given and len({x == "i1" for x in given}) == 1 and (given[0] != "i1" or "equal" in op.name)
    return op.name in LOGIC and set(given) == {"i1"}


def write(known: Plan, block: Block, bits: int, fast: bool) -> Kernel:
    """Write a block as a function for a machine whose vectors have so many bits."""
    return Function(known, block, bits, Code(fast)).kernel()


@attrs.define(eq=False)
class Function(Frame):
    """A function that does its loops once."""

    def kernel(self) -> Kernel:
        """Do the loops once."""
        outputs = self.block.outputs
        arrays = [i for i, place in enumerate(outputs) if is_array(self.known.kind(place))]
        self.begin(len(outputs))
        used = self.used()
        for i, place in enumerate(self.block.inputs):
            if place in used:
                self.read(i, place)
        if any(self.known.kind(i).type is int for i in self.block.inputs):
            self.check_errors()
        for i in arrays:
            self.memory[outputs[i]] = self.make(i, self.known.kind(outputs[i]))
        self.find_room(sorted(self.between()), self.shared)
        self.write_loops()
        for place, was in self.block.guards:
            self.check(place, was)
        if self.block.looks_for_nan:
            self.look_for_nan([(element(self.known.kind(x)), self.scalars[x]) for x in outputs])
        for i, place in enumerate(outputs):
            if i not in arrays:
                self.box(i, self.known.kind(place), self.scalars[place])
        return self.end()

    def write_loops(self) -> None:
        """Do the steps of the block."""
        for n, loop in enumerate(self.block.loops):
            if self.is_cut(loop):
                pieces.write(self, loop, f"piece{n}", self.wanted(loop))
            else:
                LoopWriter(self, loop, f"L{n}").write()

    @property
    def shared(self) -> int:
        """The bytes of the numbers that pieces share, a slot for each value, if a loop is done in pieces."""
        return 8 * len(self.known.native) if any(map(self.is_cut, self.block.loops)) else 0

    def is_cut(self, loop: Loop) -> bool:
        """Whether a loop is long enough to be done in pieces."""
        return not loop.shape and len(loop.steps) > pieces.PIECE

    def wanted(self, loop: Loop) -> set[int]:
        """The values that are used after a loop."""
        found = {*self.block.outputs, *[place for place, _ in self.block.guards]}
        for other in self.block.loops:
            if other is not loop:
                found |= {view.base for x in other.steps for view in self.known.operands(x) if view is not None}
        return found
