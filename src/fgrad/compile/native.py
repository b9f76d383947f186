"""Programs of which native kernels do what they can, and Python the rest.

Knows in which order a program goes from blocks to machine code; nothing of any of these steps.
"""

from collections.abc import Sequence
from typing import Final, cast

import attrs

from fgrad.compile import kernels, machine, regions
from fgrad.compile.kernels import Kernel
from fgrad.compile.regions import Block, Plan
from fgrad.compile.rewrite import Typed
from fgrad.compile.source import Guard
from fgrad.graph import Link
from fgrad.node import Op, Rule

KERNEL: Final = "kernel"
"""The name of the op that a block becomes."""


@attrs.frozen(eq=False)
class Native:
    """A program some of whose steps are kernels, the guards on it, and these kernels."""

    typed: Typed
    guards: tuple[Guard, ...]
    kernels: tuple[Kernel, ...]

    @property
    def function(self) -> object:
        """The kernel that does all: the function of the program; None if there is no such."""
        program = self.typed.program
        (op, parents, _), *items = program.steps
        if len(self.kernels) > 1 or op.name != KERNEL or parents != tuple(map(Link, range(program.arity))):
            return None
        checked = all(guard.was is None for guard in self.guards)  # by the kernel itself
        whole = checked and program.outputs == tuple([Link(program.arity + 1 + i) for i in range(len(items))])
        return op.impl if whole and all(step[0].name == "item" for step in items) else None


def native(typed: Typed, outputs: Sequence[object], guards: Sequence[Guard], fast_math: bool) -> Native | None:
    """Compile what can be done natively of a program that gives some outputs; None if there is nothing to gain."""
    made: list[Kernel] = []

    def make(known: Plan, block: Block) -> Op:
        made.append(kernels.write(known, block, machine.bits(), fast_math))
        return Op(KERNEL, cast("Rule", machine.function(made[-1])))

    found = regions.fused(regions.plan(typed, kernels.can), outputs, guards, make)
    return None if found is None else Native(found[0], tuple(found[1]), tuple(made))
