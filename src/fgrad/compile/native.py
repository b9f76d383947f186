"""Programs of which native kernels do what they can, and Python the rest.

Knows in which order a program goes from blocks to machine code; nothing of any of these steps.
"""

from collections.abc import Callable, Sequence
from typing import Final, cast

import attrs

from fgrad.compile import kernels, machine, regions, scans
from fgrad.compile.forms import native_forms
from fgrad.compile.frames import Kernel
from fgrad.compile.inner import Compile, compiled_inside
from fgrad.compile.regions import Block, Plan
from fgrad.compile.rewrite import Typed
from fgrad.compile.scans import Scan
from fgrad.compile.source import Guard, write
from fgrad.graph import Link
from fgrad.node import TABLE, Op, Rule

KERNEL: Final = "kernel"
"""The name of the op that a block becomes."""


@attrs.frozen(eq=False)
class Native:
    """A program some of whose steps are kernels, the guards on it, and these kernels."""

    typed: Typed
    guards: tuple[Guard, ...]
    kernels: tuple[Kernel, ...]
    looks_for_nan: bool = False
    """Whether the kernel that does all gives NotImplemented where a result is nan."""

    @property
    def function(self) -> Callable[..., object] | None:
        """The kernel that does all: the function of the program; None if there is no such."""
        program, arity = self.typed.program, self.typed.program.arity
        if not program.steps or any(guard.was is not None for guard in self.guards):  # those are Python's to check
            return None
        (op, parents, _), *items = program.steps
        count = len(self.typed.kinds[arity].parts)
        whole = [(TABLE["item"], (Link(arity),), (i,)) for i in range(count)]
        if op.name != KERNEL or not _are_links(parents, 0) or len(parents) != arity or items != whole:
            return None
        return op.impl if len(program.outputs) == count and _are_links(program.outputs, arity + 1) else None


def _are_links(xs: Sequence[object], first: int) -> bool:
    """Whether these are the values from a place on, in their order."""
    return all(type(x) is Link and x.place == first + i for i, x in enumerate(xs))


def compile_step(fast_math: bool, made: list[Kernel]) -> Compile:
    """What compiles the program of a step: kernels do what they can."""

    def compile_(typed: Typed, name: str) -> Callable[..., object]:
        formed = native_forms(typed)
        found = native(formed, formed.program.outputs, (), fast_math)
        if found is None:
            return in_python(typed, name)
        made.extend(found.kernels)
        return found.function or in_python(found.typed, name)

    return compile_


def in_python(typed: Typed, name: str) -> Callable[..., object]:
    """The program of a step as a function in Python."""
    inputs = [f"x{i}" for i in range(typed.program.arity)]
    return write(typed, typed.program.outputs, name, inputs).compiled()


def native(typed: Typed, outputs: Sequence[object], guards: Sequence[Guard], fast_math: bool) -> Native | None:
    """Compile what can be done natively of a program that gives some outputs; None if there is nothing to gain."""
    made: list[Kernel] = []

    looks: list[bool] = []

    def make(known: Plan, block: Block) -> Op:
        looks.append(block.looks_for_nan)
        made.append(kernels.write(known, block, machine.bits(), fast_math))
        return Op(KERNEL, cast("Rule", machine.function(made[-1])))

    def make_scan(scan: Scan) -> Op | None:
        scan = attrs.evolve(scan, step=native_forms(scan.step))
        kernel = scans.write(scan, machine.bits(), fast_math)
        if kernel is None:
            return None
        made.append(kernel)
        return Op(KERNEL, cast("Rule", machine.function(kernel)))

    typed = compiled_inside(typed, fast_math, compile_step(fast_math, made), make_scan)
    found = regions.fused(regions.plan(typed, kernels.can), outputs, guards, make)
    if found is None:
        if not made:
            return None
        found = attrs.evolve(typed, program=attrs.evolve(typed.program, outputs=tuple(outputs))), list(guards)
    return Native(found[0], tuple(found[1]), tuple(made), any(looks))
