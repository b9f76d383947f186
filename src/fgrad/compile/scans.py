"""Native scans: all steps of a `scan` as one loop, whose states stay where they are.

Knows where states, slices and stacked results lie from one step to the next; nothing of what a step does.
"""

from typing import Final, cast

import attrs

from fgrad.compile.frames import Kernel, element, is_array, kept_type
from fgrad.compile.kernels import Function, can
from fgrad.compile.regions import WHOLE, Loop, Plan, dense, plan, whole_block
from fgrad.compile.registers import WIDTHS, Code
from fgrad.compile.rewrite import Kind, Typed
from fgrad.graph import Link

LONGEST: Final = 1 << 31
"""So many steps at most: then integers that count them are not too large."""


@attrs.frozen(eq=False)
class Scan:
    """A scan: its step, a program of states, slices and constants that gives states and what is stacked."""

    step: Typed
    states: int
    slices: int
    length: int
    backwards: bool
    results: tuple[Kind, ...]
    """The kinds of the last states, and of the arrays of what is stacked."""


def write(scan: Scan, bits: int, fast: bool) -> Kernel | None:
    """Write a scan as one function; None where a step is more than arithmetic on numbers and arrays."""
    known = plan(scan.step, can)
    counters = _counters(scan, known)
    if not 0 < scan.length < LONGEST or not _is_native(scan, known, counters):
        return None
    return _Scan(known, whole_block(known), bits, Code(fast), scan=scan, counters=counters).written()


def _counters(scan: Scan, known: Plan) -> dict[int, int]:
    """The integers that count steps: of each such state how much is added in a step."""
    found: dict[int, int] = {}
    for i in range(scan.states):
        y = scan.step.program.outputs[i]
        if known.kind(i).type is not int or type(y) is not Link:
            continue
        if y.place == i:
            found[i] = 0
        elif y.place >= scan.step.program.arity:
            op, parents, _ = known.step(y.place)
            by = next((x for x in parents if type(x) is int), None)
            if op.name == "add" and Link(i) in parents and by is not None and abs(by) < LONGEST:
                found[i] = by
    return found


def _is_native(scan: Scan, known: Plan, counters: dict[int, int]) -> bool:
    """Whether all that a step does, and all that it is given, has its place in a kernel."""
    program = scan.step.program
    counted = {y.place for i in counters if type(y := program.outputs[i]) is Link}
    used = {x.place for _, parents, _ in program.steps for x in parents if type(x) is Link}
    for place in range(program.arity):
        kind = known.kind(place)
        if not (element(kind) or place in counters or (place not in used and place >= scan.states)):
            return False
    for place in range(program.arity, len(known.native)):
        if not known.native[place] and place not in known.views and place not in counted:
            return False
    if counted & {x for x in used if x >= program.arity}:
        return False
    for i, y in enumerate(program.outputs):
        kind = known.of(y)
        if i in counters:
            continue
        if not element(kind) or element(kind) != element(scan.results[i]):
            return False
        if type(y) is Link and y.place in known.views and not _is_whole(known, y.place):
            return False
    return True


def _is_whole(known: Plan, place: int) -> bool:
    """Whether a view shows all of a value, as it lies."""
    view = known.view(place)
    return view.strides == dense(known.kind(place).shape) and view.base >= 0


@attrs.define(eq=False, slots=False)
class _Scan(Function):
    """The function of a scan while it is written."""

    scan: Scan = attrs.field(kw_only=True)
    counters: dict[int, int] = attrs.field(kw_only=True)
    kept: dict[int, str] = attrs.field(factory=dict)  # where states are between steps
    rows: dict[int, str] = attrs.field(factory=dict)  # the arrays that are sliced, and stacked

    def written(self) -> Kernel:
        """Do the loops once for each step."""
        known, scan, code, outputs = self.known, self.scan, self.code, self.scan.step.program.outputs
        self.begin(len(outputs))
        used = self.used() | {self._base(y) for y in outputs if type(y) is Link}
        for i in range(scan.step.program.arity):
            if i < scan.states or i in used:
                self._take(i)
        self.check_errors()
        for i in range(scan.states, len(outputs)):
            self.rows[-1 - i] = self.make(i, scan.results[i])
        self._find_memory()
        for y in outputs:
            if type(y) is not Link and is_array(known.of(y)):
                used.add(cast("int", known.key(y)))
        for place in sorted(x for x in used if x < 0 and x not in self.memory):
            self.read(0, place)
        code.lines += ["  br label %steps.head", "steps.head:", "  br label %steps", "steps:"]
        code.value("phi i64 [ 0, %steps.head ], [ %steps.next, %steps.end ]", "%steps.i")
        at = code.value(f"sub i64 {scan.length - 1}, %steps.i") if scan.backwards else "%steps.i"
        self._begin_step(at)
        self.write_loops()
        self._end_step(at)
        code.lines += ["  br label %steps.end", "steps.end:"]
        code.value("add i64 %steps.i, 1", "%steps.next")
        more = code.value(f"icmp ult i64 %steps.next, {scan.length}")
        code.lines += [f"  br i1 {more}, label %steps, label %steps.done", "steps.done:"]
        for i in range(scan.states):
            if i in self.counters:
                far = code.value(f"add i64 {self.kept[i]}, {self.counters[i] * scan.length}")
                self.box(i, scan.results[i], far)
            elif not is_array(scan.results[i]):
                kind = element(scan.results[i])
                self.box(i, scan.results[i], code.value(f"load {kind}, ptr {self.kept[i]}"))
        return self.end()

    # --- before all steps --------------------------------------------------------------------------------------------
    def _base(self, y: Link) -> int:
        return self.known.view(y.place).base

    def _take(self, i: int) -> None:
        """Take an argument apart; keep a state where it will be changed."""
        code, scan = self.code, self.scan
        if i in self.counters:
            given = self.argument(i)
            self.kept[i] = code.value(f"call i64 @PyLong_AsLongLong(ptr {given})")
        elif scan.states <= i < scan.states + scan.slices:
            given = self.argument(i)
            self.rows[i] = self.numbers(given, f"%rows{i}")
        else:
            self.read(i, i)
            if i < scan.states and is_array(self.known.kind(i)):
                given, self.memory[i] = self.memory[i], self.make(i, scan.results[i])
                self._copy(self.memory[i], given, self.known.kind(i))
            elif i < scan.states:
                kind = element(self.known.kind(i))
                self.kept[i] = f"%state{i}"
                self.reserve(self.kept[i], kind, 1)
                code.lines.append(f"  store {kind} {self.scalars.pop(i)}, ptr {self.kept[i]}")

    def _find_memory(self) -> None:
        """Where a step's results are made: in the place of a state that is not needed any more, or apart."""
        bases = {self._base(x) for x in self.scan.step.program.outputs if type(x) is Link}
        arity = self.scan.step.program.arity
        made = {x for x in bases if x >= arity and is_array(self.known.kind(x))}
        for i in range(self.scan.states):
            y = self.scan.step.program.outputs[i]
            if type(y) is Link and y.place in made and y.place not in self.memory and self._may_replace(y.place, i):
                self.memory[y.place] = self.memory[i]
        apart = self.between() | made.difference(self.memory)
        self.find_room(sorted(place for place in apart if place >= arity), self.shared)

    def _may_replace(self, place: int, state: int) -> bool:
        """Whether a value may be written over a state while it is computed: nothing looks at the state afterwards."""
        known, outputs = self.known, self.scan.step.program.outputs
        op = known.step(place)[0]
        if op.name in WHOLE or known.kind(place) != known.kind(state) or known.kind(place).size == 1:
            return False
        if any(type(y) is Link and self._base(y) == state for i, y in enumerate(outputs) if i < self.scan.states):
            return False
        own = next(n for n, loop in enumerate(self.block.loops) if place in loop.steps)
        for n, loop in enumerate(self.block.loops):
            for x in loop.steps:
                for view in known.operands(x):
                    if view is not None and view.base == state:
                        same = not view.offset and view.strides == dense(loop.shape)
                        late = x > place and not self._is_read(state, loop, place)
                        if n > own or (n == own and (not same or late)):
                            return False
        return True

    def _is_read(self, state: int, loop: Loop, place: int) -> bool:
        """Whether a loop has a state in registers before it makes a value."""
        steps = [x for x in loop.steps if x <= place]
        return any(view is not None and view.base == state for x in steps for view in self.known.operands(x))

    def wanted(self, loop: Loop) -> set[int]:  # as inherited
        outputs = self.scan.step.program.outputs
        return super().wanted(loop) | {self._base(y) for y in outputs if type(y) is Link}

    # --- in each step ------------------------------------------------------------------------------------------------
    def _begin_step(self, at: str) -> None:
        """Find this step's slices and states; stack what it was given, before it is another."""
        code, scan = self.code, self.scan
        for i in range(scan.states):
            if i in self.counters:
                past = code.value(f"mul i64 %steps.i, {self.counters[i]}")
                now = code.value(f"add i64 {self.kept[i]}, {past}")
                self.scalars[i] = code.value(f"sitofp i64 {now} to double")
            elif i in self.kept:
                self.scalars[i] = code.value(f"load {element(self.known.kind(i))}, ptr {self.kept[i]}")
        for i in range(scan.states, scan.states + scan.slices):
            if i in self.rows:
                row, kind = self._row(self.rows[i], at, self.known.kind(i)), self.known.kind(i)
                if is_array(kind):
                    self.memory[i] = row
                else:
                    self.scalars[i] = self._number(row, element(kind))
        for i, y in enumerate(scan.step.program.outputs):
            if i >= scan.states and self._is_given(y):
                self._stack(i, y, at)
            elif i < scan.states and self._is_given(y) and is_array(scan.results[i]) and self._moves(i, y):
                self._copy(self._spare(i), self._place(y), scan.results[i])

    def _end_step(self, at: str) -> None:
        """Stack what was made, and keep the states for the next step."""
        code, scan = self.code, self.scan
        numbers: dict[int, str] = {}
        for i, y in enumerate(scan.step.program.outputs):
            if i >= scan.states:
                if not self._is_given(y):
                    self._stack(i, y, at)
            elif i not in self.counters and not is_array(scan.results[i]):
                numbers[i] = self._value(y, element(scan.results[i]))
        for i, x in numbers.items():
            code.lines.append(f"  store {element(scan.results[i])} {x}, ptr {self.kept[i]}")
        for i, y in enumerate(scan.step.program.outputs[: scan.states]):
            if is_array(scan.results[i]) and self._moves(i, y):
                given = self._spare(i) if self._is_given(y) else self._place(y)
                self._copy(self.memory[i], given, scan.results[i])

    def _is_given(self, y: object) -> bool:
        """Whether a result is a state, a slice or a constant as it was before the step."""
        return type(y) is not Link or self._base(y) < self.scan.step.program.arity

    def _moves(self, i: int, y: object) -> bool:
        """Whether the new state i is elsewhere than the old one."""
        return type(y) is not Link or self._place(y) != self.memory[i]

    def _spare(self, i: int) -> str:
        """Where a state waits that was another before the step."""
        kind = self.scan.results[i]
        self.reserve(f"%spare{i}", kept_type(element(kind)), kind.size)
        return f"%spare{i}"

    def _place(self, y: object) -> str:
        """The address of an array that is a result of the step."""
        if type(y) is Link:
            view = self.known.view(y.place)
            far = view.offset * WIDTHS[element(self.known.kind(y.place))] // 8
            at = self.memory[view.base]
            return self.code.value(f"getelementptr i8, ptr {at}, i64 {far}") if far else at
        return self.memory[cast("int", self.known.key(y))]

    def _value(self, y: object, kind: str) -> str:
        """A number that is a result of the step."""
        if type(y) is not Link:
            return self.code.number(kind, cast("float", y))
        old, base = element(self.known.kind(y.place)) or "double", self._base(y)
        found = self.scalars[base] if base in self.scalars else self._number(self._place(y), old)
        return self.code.converted(found, old, kind)

    def _stack(self, i: int, y: object, at: str) -> None:
        """Put a result where it belongs among those of all steps."""
        kind = self.known.of(y)
        row = self._row(self.rows[-1 - i], at, kind)
        if is_array(kind):
            self._copy(row, self._place(y), kind)
            return
        x, code = self._value(y, element(self.scan.results[i])), self.code
        if element(kind) == "i1":
            x = code.value(f"zext i1 {x} to i8")
        code.lines.append(f"  store {kept_type(element(self.scan.results[i]))} {x}, ptr {row}")

    def _row(self, array: str, at: str, kind: Kind) -> str:
        """The address of one step's numbers in an array of all steps'."""
        far = self.code.value(f"mul i64 {at}, {kind.size * WIDTHS[element(kind)] // 8}")
        return self.code.value(f"getelementptr i8, ptr {array}, i64 {far}")

    def _number(self, pointer: str, kind: str) -> str:
        code = self.code
        if kind != "i1":
            return code.value(f"load {kind}, ptr {pointer}")
        return code.value(f"icmp ne i8 {code.value(f'load i8, ptr {pointer}')}, 0")

    def _copy(self, to: str, given: str, kind: Kind) -> None:
        """Copy an array."""
        self.copy(to, given, kind.size * WIDTHS[element(kind)] // 8)
