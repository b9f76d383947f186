"""Which steps of a program are done together natively, and in which loops: blocks, between what NumPy does.

Knows shapes, how arrays lie in memory, and what depends on what; nothing of the language that kernels are written in.

A block is what one native function does: loops one after the other, each over all numbers of one shape, or straight
lines where that shape is (). Within a loop a value is a register; from one to the next it is kept in memory.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Final, TypeAlias, cast

import attrs

from fgrad.compile.forms import PUT
from fgrad.compile.rewrite import Kind, Typed, kind_of
from fgrad.compile.source import Guard
from fgrad.graph import Link, Program, Step
from fgrad.node import TABLE, Op
from fgrad.ops.selecting import Span

Shape = tuple[int, ...]

FEWEST = 3
"""So many steps a block has at least: fewer are as soon done by Python and NumPy."""
LARGEST: Final = 100_000
"""So many steps of a program are compiled natively at most: LLVM takes a tenth of a millisecond for each."""
PRODUCTS: Final = frozenset(["matmul", "vecdot"])
REDUCTIONS: Final = frozenset(["sum", "mean", "max", "min", *PRODUCTS])
WHOLE: Final = REDUCTIONS | {"scatter", PUT.name}
"""Ops over the numbers of their operands, whose results are complete when the loop is."""
SMALL: Final = 1 << 15
"""A product of matrices with so many products of numbers at most is a loop of ours; larger ones are BLAS's."""
VIEWS: Final = frozenset(["reshape", "broadcast_to", "permute_dims", "matrix_transpose", "getitem"])


@attrs.frozen
class View:
    """How numbers lie among those of a value: from number `offset` on, along each axis so many apart."""

    base: int
    offset: int
    strides: Shape


@attrs.frozen
class Loop:
    """Steps, by place, that are done together for every number of a shape, which has no axes of length 1."""

    shape: Shape
    steps: tuple[int, ...]


@attrs.frozen(eq=False)
class Block:
    """What one native function does: its loops, in their order, its arguments, its results, and what it checks."""

    loops: tuple[Loop, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    guards: tuple[tuple[int, bool], ...]
    looks_for_nan: bool = False
    """Whether it says so if one of its results, all numbers, is nan."""


@functools.cache
def dense(shape: Shape) -> Shape:
    """The strides of an array that lies in C's order, in numbers; 0 along axes of length 1.

    >>> dense((2, 3, 1))
    (3, 1, 0)
    """
    return tuple([prod(shape[i + 1 :]) if n > 1 else 0 for i, n in enumerate(shape)])


def squeezed(shape: Shape) -> Shape:
    """A shape without its axes of length 1."""
    return tuple([n for n in shape if n != 1])


@attrs.define(eq=False, slots=False)
class Plan:
    """A program with what is known of its values natively; arrays among the constants get places below 0."""

    typed: Typed
    native: list[bool]
    views: dict[int, View]
    constants: list[object]
    instead: dict[int, Op] = attrs.field(factory=dict)  # ops that do the same as those of some steps
    _operands: dict[int, list[View | None]] = attrs.field(factory=dict, init=False)  # a memo
    _keys: dict[int, int] = attrs.field(factory=dict, init=False)  # of constants, which the plan keeps, by identity

    def kind(self, place: int) -> Kind:
        """The kind of a value or of an array among the constants."""
        return kind_of(self.constants[-1 - place]) if place < 0 else self.typed.kinds[place]

    def of(self, x: object) -> Kind:
        """The kind of an operand; an integer that is the same as a float counts as one."""
        if type(x) is Link:
            return self.typed.kinds[x.place]
        return kind_of(float(x)) if type(x) is int and abs(x) <= 2**53 else kind_of(x)

    @functools.cached_property
    def uses(self) -> Counter[int]:
        """How often each value is an operand, or an output."""
        program = self.typed.program
        xs = [x for _, parents, _ in program.steps for x in parents]
        return Counter([x.place for x in (*xs, *program.outputs) if type(x) is Link])

    def step(self, place: int) -> Step:
        """The step that makes a value."""
        op, parents, params = self.typed.program.steps[place - self.typed.program.arity]
        return self.instead.get(place, op), parents, params

    def key(self, x: object) -> int | None:
        """The place of an operand, or None for a number."""
        if type(x) is Link:
            return x.place
        if not kind_of(x).shape:
            return None
        if id(x) not in self._keys:
            self.constants.append(x)
            self._keys[id(x)] = -len(self.constants)
        return self._keys[id(x)]

    def view(self, place: int) -> View:
        """How a value lies in memory, or in that of the one whose numbers it shows."""
        return self.views.get(place) or View(place, 0, dense(self.kind(place).shape))

    def operands(self, place: int) -> list[View | None]:
        """Where the operands of a step lie along the axes that its loop has; None for numbers."""
        found = self._operands.get(place)
        if found is None:
            found = self._operands[place] = self._found_operands(place)
        return found

    def _found_operands(self, place: int) -> list[View | None]:
        op, parents, _ = self.step(place)
        keys = [self.key(x) for x in parents]
        space = self.whole(place)
        if op.name == "matmul":
            return [_along(view, space) for view in _spread(self.factors(place))]
        if op is PUT:  # of the array that it changes, it needs that it is there
            whole, part = cast("tuple[int, int | None]", tuple(keys))
            there = _along(View(whole, 0, ()), space)
            return [there, None if part is None else _along(self.view(part), space)]
        return [None if key is None else _along(self.view(key), space) for key in keys]

    def factors(self, place: int) -> list[View]:
        """How the factors of a product lie in memory, along the axes of each, as many as the other has."""
        views = [self.view(cast("int", self.key(x))) for x in self.step(place)[1]]
        rank = max(len(view.strides) for view in views)
        return [attrs.evolve(v, strides=(0,) * (rank - len(v.strides)) + v.strides) for v in views]

    def whole(self, place: int) -> Shape:
        """The shape over which a step is done: for each number of its result, and of what is summed for one."""
        op, parents, _ = self.step(place)
        if op.name not in WHOLE:
            return self.kind(place).shape
        if op is PUT:
            return self.of(parents[1]).shape
        first, *rest = [self.of(x).shape for x in parents]
        if op.name == "matmul":
            return _product(first, rest[0])
        return _broadcast(first, *rest)

    def summed(self, place: int) -> tuple[int, ...]:
        """The axes, of all over which a step is done, that are put together."""
        op, _, params = self.step(place)
        n = len(self.whole(place))
        if op.name in PRODUCTS:
            return (n - 2,) if op.name == "matmul" else (n - 1,)
        return cast("Shape", params[0]) if op.name in REDUCTIONS else ()

    def target(self, place: int) -> View:
        """Where, along the axes of its loop, the result of a step is that is made as a whole: 0 where it is summed."""
        op, _, params = self.step(place)
        space = self.whole(place)
        if op.name == "scatter" or op is PUT:
            result, index = self.kind(place).shape, params[0] if op is PUT else params[1]
            found = _indexed(View(place, 0, dense(result)), result, cast("tuple[object, ...]", index))
            return _along(cast("View", found), space)
        summed = self.summed(place)
        return _along(View(place, 0, dense(tuple([1 if i in summed else n for i, n in enumerate(space)]))), space)

    def space(self, place: int) -> Shape:
        """The shape of the loop that a step is done in."""
        return squeezed(self.whole(place))


def _along(view: View, space: Shape) -> View:
    """How a value that broadcasts to a shape lies along its axes, but for those of length 1."""
    strides = (0,) * (len(space) - len(view.strides)) + view.strides
    return attrs.evolve(view, strides=tuple([s for s, n in zip(strides, space, strict=True) if n != 1]))


def _broadcast(*shapes: Shape) -> Shape:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple([max(lengths) for lengths in zip(*padded, strict=True)])


def _product(x: Shape, y: Shape) -> Shape:
    """Over what x @ y is computed: (…, rows, what is summed, columns)."""
    return (*_broadcast(x[:-2], y[:-2]), x[-2], x[-1], y[-1])


def _spread(factors: Sequence[View]) -> tuple[View, View]:
    """The factors of a product along all the axes over which it is computed."""
    x, y = factors
    return attrs.evolve(x, strides=(*x.strides, 0)), attrs.evolve(y, strides=(*y.strides[:-2], 0, *y.strides[-2:]))


def plan(typed: Typed, can: Callable[[Op, Sequence[Kind], Kind, Sequence[object]], bool]) -> Plan:
    """See which steps can be done natively, as `can` says of an op on such operands, and which are views."""
    found = Plan(typed, [False] * typed.program.arity, {}, [])
    for place, (op, parents, params) in enumerate(typed.program.steps, typed.program.arity):
        kinds = [found.of(x) for x in parents]
        if any(type(x) is int and abs(x) > 2**53 for x in parents):
            found.native.append(False)
            continue
        if op.name == "matmul" and kinds[0].shape[-1] == 1:  # a column times a row
            op = found.instead[place] = TABLE["multiply"]
        found.native.append(can(op, kinds, typed.kinds[place], params))
        if op.name in VIEWS and len(parents) == 1 and not found.native[-1]:
            base = found.key(parents[0])
            view = None if base is None else _viewed(found, base, op.name, params, typed.kinds[place].shape)
            if view is not None:  # an axis of length 1 may be broadcast
                lengths = zip(view.strides, typed.kinds[place].shape, strict=True)
                found.views[place] = attrs.evolve(view, strides=tuple([s if n > 1 else 0 for s, n in lengths]))
    return found


def _viewed(known: Plan, base: int, name: str, params: Sequence[object], shape: Shape) -> View | None:
    """What a view of a value, or of a view, is of that value; None where strides cannot tell."""
    old, have = known.view(base), known.kind(base).shape
    if not prod(shape) or not prod(have):
        return None
    match name:
        case "reshape":
            return attrs.evolve(old, strides=dense(shape)) if _is_dense(old.strides, have) else None
        case "broadcast_to":
            strides = (0,) * (len(shape) - len(have)) + old.strides
            return attrs.evolve(old, strides=strides)
        case "permute_dims":
            return attrs.evolve(old, strides=tuple([old.strides[i] for i in cast("Shape", params[0])]))
        case "matrix_transpose":
            return attrs.evolve(old, strides=(*old.strides[:-2], old.strides[-1], old.strides[-2]))
        case _:
            return _indexed(old, have, cast("tuple[object, ...]", params[0]))


def _is_dense(strides: Shape, shape: Shape) -> bool:
    return all(s == t for s, t, n in zip(strides, dense(shape), shape, strict=True) if n > 1)


def is_basic(index: tuple[object, ...]) -> bool:
    """Whether an index is made of integers and slices."""
    return all(p is None or p is Ellipsis or type(p) in (int, Span) for p in index)


def _indexed(old: View, shape: Shape, index: tuple[object, ...]) -> View | None:
    """What an index of integers and slices shows."""
    if not is_basic(index):
        return None
    taken = sum(type(p) in (int, Span) for p in index)
    rest = (Span(None, None, None),) * (len(shape) - taken)
    at = index.index(Ellipsis) if Ellipsis in index else len(index)
    offset, strides, axis = old.offset, list[int](), 0
    for p in (*index[:at], *rest, *index[at + 1 :]):
        if p is None:
            strides.append(0)
            continue
        n, stride = shape[axis], old.strides[axis]
        axis += 1
        if isinstance(p, int):
            offset += stride * (p + n if p < 0 else p)
        else:
            span = cast("Span", p)
            start, _, step = slice(span.start, span.stop, span.step).indices(n)
            offset += stride * start
            strides.append(stride * step)
    return View(old.base, offset, tuple(strides))


# --- blocks ----------------------------------------------------------------------------------------------------------
def levels(known: Plan) -> list[int]:
    """For each value the number of the block that makes it natively, or after which it can be made otherwise."""
    found = [-1] * known.typed.program.arity
    for place, (_, parents, _) in enumerate(known.typed.program.steps, known.typed.program.arity):
        level = 0 if known.native[place] else -1
        for x in parents:
            if type(x) is Link:
                base = known.view(x.place).base if known.native[place] else x.place
                after = known.native[place] and base >= 0 and not known.native[base]
                level = max(level, found[base] + after if base >= 0 else -1)
        found.append(level)
    return found


def _levels_without_small_blocks(known: Plan) -> list[int]:
    """The levels, once no block is too small; its steps are native no more."""
    if sum(known.native) > LARGEST:
        known.native[:] = [False] * len(known.native)
    while True:
        level = levels(known)
        sizes = Counter([level[place] for place, native in enumerate(known.native) if native])
        if all(n >= FEWEST for n in sizes.values()):
            return level
        known.native[:] = [native and sizes[level[place]] >= FEWEST for place, native in enumerate(known.native)]


def _needed(known: Plan, level: Sequence[int], used: Iterable[object]) -> set[int]:
    """The values that are used outside of blocks, or by another block than their own."""
    program = known.typed.program
    found = {x.place for x in used if type(x) is Link}
    for place in range(len(level) - 1, program.arity - 1, -1):
        native = known.native[place]
        if not native and place not in found:
            continue  # a view that only blocks look through
        for x in program.steps[place - program.arity][1]:
            if type(x) is Link:
                base = known.view(x.place).base if native else x.place
                if base >= 0 and not (native and known.native[base] and level[base] == level[place]):
                    found.add(base)
    return found


def _block(known: Plan, places: Sequence[int], needed: set[int], guards: Iterable[tuple[int, bool]]) -> Block:
    own = set(places)
    views = [view for place in places for view in known.operands(place) if view is not None]
    inputs = sorted({view.base for view in views if view.base >= 0 and view.base not in own})
    checks = tuple([(place, was) for place, was in guards if place in own])
    return Block(tuple(_loops(known, places)), tuple(inputs), tuple([x for x in places if x in needed]), checks)


def changed(known: Plan, loops: Iterable[Loop]) -> dict[int, int]:
    """The values of a block that a step of it changes in their own place, by the place of that step."""
    steps = [place for loop in loops for place in loop.steps]
    found = {
        place: known.view(cast("Link", known.step(place)[1][0]).place).base
        for place in steps
        if known.step(place)[0] is PUT
    }
    return {place: whole for place, whole in found.items() if whole in set(steps)}


def whole_block(known: Plan) -> Block:
    """All native steps as one block, whose results are for others to find."""
    places = [place for place, native in enumerate(known.native) if native]
    return Block(tuple(_loops(known, places)), tuple(range(known.typed.program.arity)), (), ())


def _loops(known: Plan, places: Sequence[int]) -> list[Loop]:
    """Put the steps of a block into few loops: those first that nothing more will join."""
    queue = _Queue(known, places)
    found: list[Loop] = []
    while queue.waiting:
        found.append(queue.take())
    return found


Kin: TypeAlias = tuple[Shape, int]
"""What the steps of a loop have in common: their shape; a product of matrices is alone."""


class _Queue:
    """Steps that wait for a loop, and those of each kind of loop that could be done now."""

    def __init__(self, known: Plan, places: Sequence[int]) -> None:
        self.kin: dict[int, Kin] = {}
        self.missing: dict[int, int] = {}  # of each step the operands that are neither done nor in the same loop
        self.after: dict[tuple[int, bool], list[int]] = {}  # the steps that need one, as a register or not
        self.open: dict[Kin, list[int]] = {}
        self.waiting: Counter[Kin] = Counter()
        for place in places:
            alone = place if known.step(place)[0].name == "matmul" else -1
            kin = self.kin[place] = known.space(place), alone
            self.waiting[kin] += 1
            needs = [view for view in known.operands(place) if view is not None and view.base in self.missing]
            self.missing[place] = len(needs)
            for view in needs:
                same = self.kin[view.base] == kin and is_register(known, view, kin[0])
                self.after.setdefault((view.base, same), []).append(place)
        for place in [place for place, n in self.missing.items() if not n]:
            self._open(place)

    def _open(self, place: int) -> None:
        """A step, and those that need it alone as a register, can be done."""
        ready = [place]
        while ready:
            place = ready.pop()
            self.open.setdefault(self.kin[place], []).append(place)
            ready += self._without(place, register=True)

    def _without(self, place: int, register: bool) -> list[int]:
        """The steps that miss nothing now that one is there."""
        found = []
        for other in self.after.get((place, register), ()):
            self.missing[other] -= 1
            if not self.missing[other]:
                found.append(other)
        return found

    def take(self) -> Loop:
        """The next loop: a product, if there is one; else what is complete, and among these the largest."""
        kin = max(self.open, key=lambda k: (k[1] >= 0, len(self.open[k]) == self.waiting[k], len(self.open[k])))
        steps = tuple(sorted(self.open.pop(kin)))
        self.waiting[kin] -= len(steps)
        if not self.waiting[kin]:
            del self.waiting[kin]
        for place in steps:
            for other in self._without(place, register=False):
                self._open(other)
        return Loop(kin[0], steps)


def is_register(known: Plan, view: View, shape: Shape) -> bool:
    """Whether a value of the same loop is used there number by number."""
    if known.step(view.base)[0].name in WHOLE:
        return not shape and not known.space(view.base)
    return not view.offset and _is_dense(view.strides, shape)


# --- programs with blocks --------------------------------------------------------------------------------------------
Make: TypeAlias = Callable[[Plan, Block], Op]
"""What compiles a block, as an op that gives a tuple of its outputs; or None, if one of its guards fails."""


def fused(
    known: Plan, outputs: Sequence[object], guards: Sequence[Guard], make: Make
) -> tuple[Typed, list[Guard]] | None:
    """A program of some outputs with each block as one step, and the guards on it; None if there are no blocks."""
    level = _levels_without_small_blocks(known)
    native = [guard for guard in guards if _is_checked(known, guard)]
    left = [guard for guard in guards if not _is_checked(known, guard)]
    needed = _needed(known, level, [*outputs, *[guard.value for guard in left]])
    checks = [(cast("Link", guard.value).place, bool(guard.was)) for guard in native]
    members: dict[tuple[int, bool], list[int]] = {}
    order = {x.place: -i for i, x in enumerate(reversed(outputs)) if type(x) is Link}
    for place in range(known.typed.program.arity, len(level)):
        if known.native[place] or place in needed:
            members.setdefault((level[place], not known.native[place]), []).append(place)
    if all(python for _, python in members):
        return None
    draft, found = _Draft(known), list[Guard]()
    for (_, python), places in sorted(members.items()):
        if python:
            for place in places:
                draft.copy(place)
        else:
            block = _block(known, places, needed, checks)
            if len(members) == 1:  # the whole program: its arguments and results are the block's
                inputs, as_they_are = tuple(range(known.typed.program.arity)), not left and _are_all(block, outputs)
                block = attrs.evolve(block, inputs=inputs, looks_for_nan=as_they_are and _gives_numbers(known, block))
            block = attrs.evolve(block, outputs=tuple(sorted(block.outputs, key=lambda x: order.get(x, 1))))
            link = draft.call(block, make(known, block))
            if block.guards:
                found.append(Guard(link, None))
    done = Program(known.typed.program.arity, tuple(draft.steps), tuple(map(draft.now, outputs)))
    found += [attrs.evolve(guard, value=draft.now(guard.value)) for guard in left]
    return Typed(done, tuple(draft.kinds)), found


def _are_all(block: Block, outputs: Sequence[object]) -> bool:
    """Whether a block's results are just those of the program."""
    places = [x.place if type(x) is Link else -1 for x in outputs]
    return sorted(places) == sorted(block.outputs)


def _gives_numbers(known: Plan, block: Block) -> bool:
    return all(known.kind(x).size == 1 and not known.kind(x).shape for x in block.outputs)


def _is_checked(known: Plan, guard: Guard) -> bool:
    """Whether a block checks a guard."""
    x = guard.value
    return type(x) is Link and known.native[x.place] and type(guard.was) is bool and not known.kind(x.place).shape


class _Draft:
    """A program with blocks, while it is written."""

    def __init__(self, known: Plan) -> None:
        self.known = known
        self.steps: list[Step] = []
        self.kinds = list(known.typed.kinds[: known.typed.program.arity])
        self.places: dict[int, int] = {i: i for i in range(len(self.kinds))}

    def now(self, x: object) -> object:
        """What an old value or constant is now."""
        return Link(self.places[x.place]) if type(x) is Link else x

    def append(self, step: Step, kind: Kind) -> Link:
        """Add a step."""
        self.steps.append(step)
        self.kinds.append(kind)
        return Link(len(self.kinds) - 1)

    def copy(self, place: int) -> None:
        """Do an old step as before."""
        op, parents, params = self.known.step(place)
        step = op, tuple(map(self.now, parents)), params
        self.places[place] = self.append(step, self.known.kind(place)).place

    def call(self, block: Block, op: Op) -> Link:
        """Do a block, and take its results."""
        known = self.known
        parents = [self.now(Link(i)) for i in block.inputs]
        kinds = tuple([known.kind(i) for i in block.outputs])
        link = self.append((op, tuple(parents), ()), Kind(tuple, parts=kinds))
        for i, place in enumerate(block.outputs):
            self.places[place] = self.append((TABLE["item"], (link,), (i,)), kinds[i]).place
        return link
