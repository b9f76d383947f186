"""Native kernels: a block of steps as one function in LLVM's language, that Python calls as it calls a builtin.

Knows loops over vectors, memory, and how Python's numbers and NumPy's arrays are taken apart and made; nothing of which
steps belong together, and nothing of derivatives.

A loop's last axis is done in vectors of the host's width, the last of which is masked. Sums are kept for each lane
until the loop ends, so that their order is the same at every run.
"""

import functools
from collections.abc import Callable, Sequence
from math import inf, prod
from typing import Final, cast

import attrs

from fgrad.arrays import numpy
from fgrad.compile.products import Factor, Product
from fgrad.compile.regions import (
    PRODUCTS,
    REDUCTIONS,
    SMALL,
    WHOLE,
    Block,
    Loop,
    Plan,
    Shape,
    View,
    dense,
    is_basic,
    is_register,
)
from fgrad.compile.registers import ARITHMETIC, COMPARISONS, LOGIC, WIDTHS, Code
from fgrad.compile.rewrite import Kind, plain
from fgrad.graph import Link
from fgrad.node import TABLE, Op

FEW: Final = 12
"""So many numbers, or sums, are kept in registers through a loop; more of them in memory."""
STACK: Final = 1 << 16
"""So many bytes of what a function needs for itself are on the stack; more of it is allocated."""


@attrs.frozen(eq=False)
class Kernel:
    """A function in LLVM's language, and the Python objects that it uses, which it finds in its `self`."""

    text: str
    helpers: tuple[object, ...]


def element(kind: Kind) -> str:
    """The type of a value's numbers in LLVM; nothing where there is none."""
    if kind.type in (float, bool):
        return "double" if kind.type is float else "i1"
    if kind.type.__module__ != "numpy" or (is_array(kind) and not kind.shape):
        return ""
    return {"float64": "double", "float32": "float", "bool": "i1"}.get(str(kind.dtype), "")


def is_array(kind: Kind) -> bool:
    """Whether a value is an array, and no number of NumPy's."""
    return kind.type.__name__ == "ndarray"


def can(op: Op, operands: Sequence[Kind], result: Kind, params: Sequence[object]) -> bool:
    """Whether a step can be part of a kernel."""
    if TABLE.get(op.name) is not op:
        return False
    given, made = [element(kind) or ("int" if kind.type is int else "") for kind in operands], element(result)
    if not all(given) or not made or not result.size or not all(kind.size for kind in operands):
        return False
    if op.name in PRODUCTS:
        columns = operands[1].shape[-1] if op.name == "matmul" and len(operands[1].shape) > 1 else 1
        small = max(result.size, operands[0].size) * columns <= SMALL
        return small and all(map(is_array, operands)) and set(given) == {made} != {"i1"}
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


# --- functions -------------------------------------------------------------------------------------------------------
_HEAD: Final = object.__basicsize__  # what every object begins with; in an array follow its numbers' address, …
_RUNTIME: Final = f"""\
@_Py_NoneStruct = external global i8
declare ptr @PyTuple_New(i64)
declare i32 @PyTuple_SetItem(ptr, i64, ptr)
declare ptr @PyFloat_FromDouble(double)
declare double @PyFloat_AsDouble(ptr)
declare ptr @PyBool_FromLong(i64)
declare ptr @PyLong_FromLongLong(i64)
declare i64 @PyLong_AsLongLong(ptr)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare i32 @PyObject_IsTrue(ptr)
declare ptr @PyErr_Occurred()
declare ptr @PyErr_NoMemory()
declare ptr @PyObject_CallNoArgs(ptr)
declare ptr @PyObject_CallOneArg(ptr, ptr)
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare ptr @PyMem_RawMalloc(i64)
declare void @PyMem_RawFree(ptr)

define internal ptr @item(ptr %tuple, i64 %i) nounwind alwaysinline {{
  %items = getelementptr i8, ptr %tuple, i64 {tuple.__basicsize__}
  %at = getelementptr ptr, ptr %items, i64 %i
  %x = load ptr, ptr %at
  ret ptr %x
}}
define internal ptr @argument(ptr %args, i64 %i) nounwind alwaysinline {{
  %at = getelementptr ptr, ptr %args, i64 %i
  %x = load ptr, ptr %at
  ret ptr %x
}}
define internal double @number(ptr %float) nounwind alwaysinline {{
  %at = getelementptr i8, ptr %float, i64 {float.__basicsize__ - 8}
  %x = load double, ptr %at
  ret double %x
}}
define internal ptr @numbers(ptr %array, ptr %ordered, ptr %keep) nounwind {{
  ; of an array, or of a copy, if they do not lie one after the other
  %flags.at = getelementptr i8, ptr %array, i64 {_HEAD + 48}
  %flags = load i32, ptr %flags.at
  %fit = and i32 %flags, 257
  %is_fit = icmp eq i32 %fit, 257
  br i1 %is_fit, label %found, label %unfit
unfit:
  %copy = call ptr @PyObject_CallOneArg(ptr %ordered, ptr %array)
  store ptr %copy, ptr %keep
  %failed = icmp eq ptr %copy, null
  br i1 %failed, label %none, label %found
found:
  %used = phi ptr [ %array, %0 ], [ %copy, %unfit ]
  %at = getelementptr i8, ptr %used, i64 {_HEAD}
  %data = load ptr, ptr %at
  ret ptr %data
none:
  ret ptr null
}}
define internal ptr @empty(ptr %results, i64 %i, ptr %make) nounwind {{
  ; the memory of a new array, which is result i
  %array = call ptr @PyObject_CallNoArgs(ptr %make)
  %failed = icmp eq ptr %array, null
  br i1 %failed, label %none, label %made
made:
  call i32 @PyTuple_SetItem(ptr %results, i64 %i, ptr %array)
  %at = getelementptr i8, ptr %array, i64 {_HEAD}
  %data = load ptr, ptr %at
  ret ptr %data
none:
  ret ptr null
}}
define internal ptr @boxed(ptr %object, ptr %make) nounwind {{
  ; a number of NumPy's, from Python's
  %number = call ptr @PyObject_CallOneArg(ptr %make, ptr %object)
  call void @Py_DecRef(ptr %object)
  ret ptr %number
}}
define internal ptr @rounded(ptr %x) nounwind {{
  %i = ptrtoint ptr %x to i64
  %j = add i64 %i, 63
  %k = and i64 %j, -64
  %y = inttoptr i64 %k to ptr
  ret ptr %y
}}
"""


@attrs.define(eq=False)
class Function:
    """A function while it is written: where its values are, and its instructions so far."""

    known: Plan
    block: Block
    bits: int
    code: Code
    scalars: dict[int, str] = attrs.field(factory=dict)  # numbers, in registers
    memory: dict[int, str] = attrs.field(factory=dict)  # arrays, by the address of their first number
    reserved: dict[str, str] = attrs.field(factory=dict)  # on the stack, by name
    helpers: dict[object, object] = attrs.field(factory=dict)
    slots: int = 0  # for what must be let go of at the end

    def kernel(self) -> Kernel:
        """Do the loops once."""
        outputs = self.block.outputs
        arrays = [i for i, place in enumerate(outputs) if is_array(self.known.kind(place))]
        self.begin(len(outputs))
        used = self.used()
        for i, place in enumerate(self.block.inputs):
            if place in used:
                self.read(i, place)
        for i in arrays:
            self.memory[outputs[i]] = self.make(i, self.known.kind(outputs[i]))
        self.find_room(sorted(self.between()))
        self.write_loops()
        for place, was in self.block.guards:
            self._check(place, was)
        for i, place in enumerate(outputs):
            if i not in arrays:
                self.box(i, self.known.kind(place), self.scalars[place])
        return self.end()

    def used(self) -> set[int]:
        """The values that steps have as operands; arrays among the constants are there from now on."""
        found = {view.base for loop in self.block.loops for x in loop.steps for view in self.known.operands(x) if view}
        for place in sorted(x for x in found if x < 0):
            self.read(0, place)
        return found

    def begin(self, count: int) -> None:
        """Make the tuple of results."""
        self.code.value(f"call ptr @PyTuple_New(i64 {count})", "%results")
        self.need("%results", "none")

    def write_loops(self) -> None:
        """Do the steps of the block."""
        for n, loop in enumerate(self.block.loops):
            LoopWriter(self, loop, f"L{n}").write()

    def end(self) -> Kernel:
        """Give the results, or the exception that was raised: an integer may be too large, memory may be short."""
        code = self.code
        error = code.value("call ptr @PyErr_Occurred()")
        fine = code.value(f"icmp eq ptr {error}, null")
        code.lines += [f"  br i1 {fine}, label %done, label %failed", "done:", *self._left("%results")]
        return Kernel(self._text(), tuple(self.helpers.values()))

    def _text(self) -> str:
        slots = [f"  %slot{i} = alloca ptr\n  store ptr null, ptr %slot{i}" for i in range(self.slots)]
        width = f'"min-legal-vector-width"="{self.bits}" "prefer-vector-width"="{self.bits}"'
        head = [
            f"define ptr @kernel(ptr %self, ptr %args, i64 %count) nounwind {width} {{",
            *slots,
            *self.reserved.values(),
        ]
        failed = ["failed:", "  call void @Py_DecRef(ptr %results)", *self._left("null")]
        short = ["short:", "  call ptr @PyErr_NoMemory()", "  br label %failed"] if self.heap else []
        lines = [*head, *self.code.lines, *short, *failed, "none:", "  ret ptr null", "}"]
        return "\n".join([_RUNTIME, *self.code.declared.values(), *lines]) + "\n"

    def label(self) -> str:
        """A new name for a place in the function."""
        self.code.count += 1
        return f"at{self.code.count}"

    def need(self, pointer: str, otherwise: str = "failed") -> None:
        """Leave, with the exception that was raised, where there is no pointer."""
        missing, on = self.code.value(f"icmp eq ptr {pointer}, null"), self.label()
        self.code.lines += [f"  br i1 {missing}, label %{otherwise}, label %{on}", f"{on}:"]

    def _left(self, result: str) -> list[str]:
        """Let go of what was made for this call alone, and give the result."""
        found = []
        for i in range(self.slots):
            name = f"%{self.label()}"
            how = "PyMem_RawFree" if i == self.slots - 1 and self.heap else "Py_DecRef"
            found += [f"  {name} = load ptr, ptr %slot{i}", f"  call void @{how}(ptr {name})"]
        return [*found, f"  ret ptr {result}"]

    def helper(self, key: object, helper: object) -> str:
        """A Python object that the function calls."""
        self.helpers.setdefault(key, helper)
        return self.code.value(f"call ptr @item(ptr %self, i64 {list(self.helpers).index(key)})")

    # --- arguments and results ---------------------------------------------------------------------------------------
    def read(self, i: int, place: int) -> None:
        """Take an argument apart."""
        code, kind, name = self.code, self.known.kind(place), f"%v{place}".replace("-", "c")
        if place < 0:
            constant = self.known.constants[-1 - place]
            given = self.helper(place, numpy().require(constant, requirements=["C", "A"]))
        else:
            given = code.value(f"call ptr @argument(ptr %args, i64 {i})")
        if is_array(kind):
            self.memory[place] = self.numbers(given, name)
        elif element(kind) == "i1":
            held = code.value(f"call i32 @PyObject_IsTrue(ptr {given})")
            self.scalars[place] = code.value(f"icmp ne i32 {held}, 0", name)
        elif kind.type is float:
            self.scalars[place] = code.value(f"call double @number(ptr {given})", name)
        else:
            found = code.value(f"call double @PyFloat_AsDouble(ptr {given})")
            self.scalars[place] = code.converted(found, "double", element(kind) or "double")

    def numbers(self, array: str, name: str) -> str:
        """The address of an array's numbers, or of a copy's that has them one after the other."""
        ordered = self.helper("ordered", _ordered)
        self.code.value(f"call ptr @numbers(ptr {array}, ptr {ordered}, ptr %slot{self.slots})", name)
        self.slots += 1
        self.need(name)
        return name

    def make(self, i: int, kind: Kind) -> str:
        """Make the array that is result i: the address of its numbers."""
        empty = functools.partial(numpy().empty, kind.shape, kind.dtype)
        make = self.helper((kind.shape, kind.dtype), empty)
        made = self.code.value(f"call ptr @empty(ptr %results, i64 {i}, ptr {make})", f"%result{i}")
        self.need(made)
        return made

    def box(self, i: int, kind: Kind, x: str) -> None:
        """Make the number that is result i."""
        code = self.code
        if kind.type is int:
            made = code.value(f"call ptr @PyLong_FromLongLong(i64 {x})")
        elif element(kind) == "i1":
            made = code.value(f"call ptr @PyBool_FromLong(i64 {code.value(f'zext i1 {x} to i64')})")
        else:
            made = code.value(f"call ptr @PyFloat_FromDouble(double {code.converted(x, element(kind), 'double')})")
        if kind.type not in (float, int, bool):
            made = code.value(f"call ptr @boxed(ptr {made}, ptr {self.helper(kind.type, kind.type)})")
        code.lines.append(f"  call i32 @PyTuple_SetItem(ptr %results, i64 {i}, ptr {made})")

    def _check(self, place: int, was: bool) -> None:
        """Leave with None where a branch would be decided otherwise."""
        code, kind, held = self.code, element(self.known.kind(place)), self.scalars[place]
        if kind != "i1":
            held = code.compare("une", kind, held, code.number(kind, 0.0))
        on, other = self.label(), self.label()
        yes, no = (on, other) if was else (other, on)
        code.lines += [f"  br i1 {held}, label %{yes}, label %{no}", f"{other}:"]
        code.lines += ["  call void @Py_IncRef(ptr @_Py_NoneStruct)", "  call void @Py_DecRef(ptr %results)"]
        code.lines += [*self._left("@_Py_NoneStruct"), f"{on}:"]

    # --- memory ------------------------------------------------------------------------------------------------------
    heap: bool = False

    def between(self) -> set[int]:
        """The arrays that one loop leaves for another, and that are no results."""
        loops = {place: loop for loop in self.block.loops for place in loop.steps}
        found = {x for x in loops if self.known.step(x)[0].name in WHOLE and self.known.kind(x).size > 1}
        for place, loop in loops.items():
            for view in self.known.operands(place):
                if view is None or view.base not in loops or self.known.kind(view.base).size == 1:
                    continue
                if loops[view.base] is not loop or not is_register(self.known, view, loop.shape):
                    found.add(view.base)
        return found.difference(self.memory)

    def find_room(self, places: Sequence[int]) -> None:
        """Find memory for some arrays."""
        code, sizes = self.code, [self.known.kind(x).size * WIDTHS[element(self.known.kind(x))] // 8 for x in places]
        rounded = [-(-size // 64) * 64 for size in sizes]
        total = sum(rounded)
        if total > STACK:
            code.value(f"call ptr @PyMem_RawMalloc(i64 {total + 64})", "%raw")
            code.lines.append(f"  store ptr %raw, ptr %slot{self.slots}")
            self.slots, self.heap = self.slots + 1, True
            self.need("%raw", "short")
            code.value("call ptr @rounded(ptr %raw)", "%room")
        elif total:
            self.reserve("%room", "i8", total)
        at = 0
        for place, size in zip(places, rounded, strict=True):
            self.memory[place] = code.value(f"getelementptr i8, ptr %room, i64 {at}", f"%m{place}")
            at += size

    def reserve(self, name: str, kind: str, size: int) -> None:
        """Find a place on the stack."""
        self.reserved[name] = f"  {name} = alloca {kind}, i64 {size}, align 64"

    def store(self, place: int, register: str) -> None:
        """Keep a number that is an array of one."""
        if place in self.memory:
            kind = element(self.known.kind(place))
            held = self.code.value(f"zext i1 {register} to i8") if kind == "i1" else register
            self.code.lines.append(f"  store {kept_type(kind)} {held}, ptr {self.memory[place]}")

    def each(self, pointer: str, size: int, kind: str, change: Callable[[str], str]) -> None:
        """Change some numbers in memory, one after the other; `change` is told the address of each."""
        code, head, loop, done = self.code, self.label(), self.label(), self.label()
        code.lanes = 1
        code.lines += [f"  br label %{head}", f"{head}:", f"  br label %{loop}", f"{loop}:"]
        i = code.value(f"phi i64 [ 0, %{head} ], [ %{loop}.next, %{loop} ]")
        at = code.value(f"getelementptr {kind}, ptr {pointer}, i64 {i}")
        code.lines.append(f"  store {kind} {change(at)}, ptr {at}")
        code.value(f"add i64 {i}, 1", f"%{loop}.next")
        more = code.value(f"icmp ult i64 %{loop}.next, {size}")
        code.lines += [f"  br i1 {more}, label %{loop}, label %{done}", f"{done}:"]


def _ordered(x: object) -> object:
    return numpy().require(x, requirements=["C", "A"])


def kept_type(kind: str) -> str:
    """The type of a number in memory."""
    return "i8" if kind == "i1" else kind


# --- loops -----------------------------------------------------------------------------------------------------------
_START: Final = {"max": -inf, "min": inf}  # what reductions begin with, if not with 0
_COMBINE: Final = {"max": ARITHMETIC["maximum"], "min": ARITHMETIC["minimum"]}  # …, if not by addition
_ACROSS: Final = {"max": "fmaximum", "min": "fminimum"}


@attrs.frozen
class _Access:
    """An array as a loop goes through it: strides along the loop's axes."""

    place: int
    offset: int
    strides: Shape


@attrs.define(eq=False)
class LoopWriter:
    """A loop while it is written: over all axes but the last one number by number, over the last in vectors."""

    function: Function
    loop: Loop
    name: str
    lanes: int = 1
    mask: str = ""
    places: str = ""
    groups: list[list[int]] = attrs.field(factory=list)  # axes that are gone through as one
    indices: list[str] = attrs.field(factory=list)  # of all axes but the last
    outside: list[str] = attrs.field(factory=list)  # instructions before all loops
    ahead: list[str] = attrs.field(factory=list)  # instructions before the innermost
    registers: dict[int, str] = attrs.field(factory=dict)
    splats: dict[tuple[int, str], str] = attrs.field(factory=dict)
    loads: dict[_Access, str] = attrs.field(factory=dict)
    rows: dict[_Access, str] = attrs.field(factory=dict)
    products: dict[int, int] = attrs.field(factory=dict)  # that are summed and nothing else, by the sum's place

    @property
    def known(self) -> Plan:
        """The program."""
        return self.function.known

    @property
    def code(self) -> Code:
        """The function's instructions so far."""
        return self.function.code

    def write(self) -> None:
        """Write the loop; where it has no axes, what is done once."""
        if self._op(self.loop.steps[0]) == "matmul":
            self._product(self.loop.steps[0])
        elif self.loop.shape:
            self._nest()
        else:
            self.code.lanes, self.ahead = 1, self.code.lines
            for place in self.loop.steps:
                if self._op(place) == "scatter" and self.known.kind(place).size > 1:
                    self._put_one(place)
                else:
                    self.function.scalars[place] = self._step(place)
                    self.function.store(place, self.function.scalars[place])

    def _nest(self) -> None:
        code, name = self.code, self.name
        self.groups = self._merged()
        shape = [prod([self.loop.shape[i] for i in group]) for group in self.groups]
        self.lanes = self._width(shape[-1])
        reductions = [place for place in self.loop.steps if self._is_reduction(place)]
        self.products = self._products(reductions)
        around = code.lines
        code.lines = []
        self.indices = [f"%{name}.{i}.i" for i in range(len(shape) - 1)]
        body = self._body(shape[-1], [x for x in reductions if not self._strides(x)[-1]])
        code.lanes = 1
        code.lines = [*around, *self.outside]
        for place in reductions:
            self._prepare(place)
        for i in range(len(shape) - 1):
            axis = f"{name}.{i}"
            code.lines += [f"  br label %{axis}.head", f"{axis}.head:", f"  br label %{axis}", f"{axis}:"]
            code.value(f"phi i64 [ 0, %{axis}.head ], [ %{axis}.next, %{axis}.end ]", f"%{axis}.i")
        code.lines += [f"  br label %{name}.head", f"{name}.head:", *self.ahead, f"  br label %{name}", *body]
        for i, size in reversed(list(enumerate(shape[:-1]))):
            axis = f"{name}.{i}"
            code.lines += [f"  br label %{axis}.end", f"{axis}.end:"]
            code.value(f"add i64 %{axis}.i, 1", f"%{axis}.next")
            more = code.value(f"icmp ult i64 %{axis}.next, {size}")
            code.lines += [f"  br i1 {more}, label %{axis}, label %{axis}.done", f"{axis}.done:"]
        for place in reductions:
            self._finish(place)

    def _body(self, n: int, summed: list[int]) -> list[str]:
        """The innermost loop, and what is done with its sums."""
        code, name, lanes = self.code, self.name, self.lanes
        code.lanes = lanes
        code.lines.append(f"{name}:")
        i = code.value(f"phi i64 [ 0, %{name}.head ], [ %{name}.next, %{name} ]", f"%{name}.i")
        if len(summed) <= FEW:
            for place in summed:
                kind = element(self.known.kind(place))
                start = self._first(place)
                code.value(
                    f"phi {code.type(kind)} [ {start}, %{name}.head ], [ %s{place}.next, %{name} ]", f"%s{place}"
                )
        if n % lanes:
            self.mask = code.value(f"icmp ult <{lanes} x i64> {self._along()}, splat (i64 {n})", f"%{name}.mask")
        for place in self.loop.steps:
            if self._is_reduction(place):
                self._add(place, place in summed, len(summed) <= FEW)
            elif place not in self.products.values():
                self.registers[place] = self._step(place)
                if place in self.function.memory:
                    self._store(place)
        code.value(f"add i64 {i}, {lanes}", f"%{name}.next")
        more = code.value(f"icmp ult i64 %{name}.next, {n}")
        code.lines += [f"  br i1 {more}, label %{name}, label %{name}.done", f"{name}.done:"]
        for place in summed:
            self._close(place, len(summed) <= FEW)
        return code.lines

    def _merged(self) -> list[list[int]]:
        """The loop's axes, those together that everything goes through as if they were one."""
        found = [self._strides(place) for place in self.loop.steps if self._is_reduction(place)]
        for place in self.loop.steps:
            found += [view.strides for view in self.known.operands(place) if view is not None and self._is_read(view)]
        groups = [[0]]
        for axis in range(1, len(self.loop.shape)):
            if all(s[axis - 1] == s[axis] * self.loop.shape[axis] for s in found):
                groups[-1].append(axis)
            else:
                groups.append([axis])
        return groups

    def _is_read(self, view: View) -> bool:
        """Whether an operand is read from memory."""
        return view.base in self.function.memory and view.base not in self.loop.steps

    def _width(self, n: int) -> int:
        """How many numbers are done at once."""
        places = {x.base for place in self.loop.steps for x in self.known.operands(place) if x and self._is_read(x)}
        kinds = {element(self.known.kind(place)) for place in places.union(self.loop.steps)}
        lanes = self.function.bits // (64 if "double" in kinds else 32)
        while lanes // 2 >= n:
            lanes //= 2
        return lanes

    def _product(self, place: int) -> None:
        """A product of matrices, which is alone in its loop."""
        kind, size = element(self.known.kind(place)), self.known.kind(place).size
        self.code.lanes = 1
        self.ahead = self.code.lines
        shape = self.known.whole(place)
        x, y = [self._factor(view, kind, shape) for view in self.known.factors(place)]
        at = self.function.memory.get(place) or self._slot(place)
        lanes = self.function.bits // WIDTHS[kind]
        Product(self.code, self.name, kind, shape, x, y, at, lanes).write()
        if size == 1:
            self.function.scalars[place] = self.code.value(f"load {kind}, ptr {at}")

    def _factor(self, view: View, kind: str, shape: Shape) -> Factor:
        """A matrix in memory; one of a single number may be in a register."""
        function = self.function
        if view.base not in function.memory:
            name = f"%{self.name}.one{view.base}"
            function.reserve(name, kind, 1)
            self.code.lines.append(f"  store {kind} {function.scalars[view.base]}, ptr {name}")
            return Factor(name, view.strides)
        return Factor(self._row(_Access(view.base, view.offset, ()), kind), view.strides)

    # --- reductions --------------------------------------------------------------------------------------------------
    def _op(self, place: int) -> str:
        return self.known.step(place)[0].name

    def _first(self, place: int) -> str:
        """What a reduction begins with, in every lane."""
        return self.code.number(element(self.known.kind(place)), _START.get(self._op(place), 0.0))

    def _combined(self, place: int, x: str, y: str) -> str:
        """Two parts of a reduction put together."""
        combine = _COMBINE.get(self._op(place), ARITHMETIC["add"])
        return combine(self.code, element(self.known.kind(place)), x, y)

    def _is_reduction(self, place: int) -> bool:
        return self._op(place) in WHOLE

    def _strides(self, place: int) -> Shape:
        """How the result of a reduction is gone through along the loop's axes: 0 where it is summed."""
        return self.known.target(place).strides

    def _products(self, sums: Sequence[int]) -> dict[int, int]:
        """Which sums are of products that nothing else needs: they are added without being rounded."""
        found = {place: place for place in sums if self._op(place) in PRODUCTS}
        for place in set(sums).difference(found):
            (x,) = self.known.step(place)[1]
            if self._op(place) not in ("sum", "mean") or type(x) is not Link or x.place not in self.loop.steps:
                continue
            op, parents, _ = self.known.step(x.place)
            floats = all("i1" not in element(self.known.of(y)) for y in parents)
            if op.name in ("multiply", "scale") and floats and self.known.uses[x.place] == 1:
                found[place] = x.place
        return found

    def _slot(self, place: int) -> str:
        """Where the result of a reduction is kept: an address."""
        if place not in self.function.memory:
            kind = element(self.known.kind(place))
            name = f"%{self.name}.slot{place}"
            self.function.reserve(name, kind, 1)
            return name
        return self._row(self._result(place), element(self.known.kind(place)))

    def _result(self, place: int) -> _Access:
        """Where the result of a reduction is made."""
        target = self.known.target(place)
        return _Access(place, target.offset, target.strides)

    def _prepare(self, place: int) -> None:
        """Fill the memory that a reduction adds to."""
        kind, code = kept_type(element(self.known.kind(place))), self.code
        start = code.number(kind, 0.0) if kind == "i8" else self._first(place)
        if place in self.function.memory:
            self.function.each(self.function.memory[place], self.known.kind(place).size, kind, lambda at: start)
        elif self.indices:
            code.lines.append(f"  store {kind} {start}, ptr {self._slot(place)}")

    def _add(self, place: int, over_last: bool, in_registers: bool) -> None:
        """Add what there is now."""
        code, kind = self.code, element(self.known.kind(place))
        if over_last and in_registers:
            old, at = f"%s{place}", ""
        elif over_last:
            at = f"%{self.name}.sum{place}"
            self.function.reserve(at, kind, self.lanes)
            self.ahead.append(f"  store {code.type(kind)} {self._first(place)}, ptr {at}")
            old = code.value(f"load {code.type(kind)}, ptr {at}")
        else:
            access = self._result(place)
            if self._op(place) == "scatter":
                self._put(place, access)
                return
            at = code.value(f"getelementptr {kind}, ptr {self._row(access, kind)}, i64 %{self.name}.i")
            old = code.loaded(kind, at, self.mask)
        if place in self.products:
            factors = self._operands(self.products[place], kind)
            new = code.intrinsic("fma", kind, *factors, old)
        else:
            (x,) = self._operands(place, kind)
            new = self._combined(place, old, x)
        if not over_last:
            code.stored(kind, new, at, self.mask)
            return
        if self.mask:
            new = code.select(kind, self.mask, new, old)
        if in_registers:
            code.value(f"bitcast {code.type(kind)} {new} to {code.type(kind)}", f"%s{place}.next")
        else:
            code.lines.append(f"  store {code.type(kind)} {new}, ptr {at}")

    def _put_one(self, place: int) -> None:
        """Put a number in its place among zeros."""
        kind, access = element(self.known.kind(place)), self._result(place)
        self._prepare(place)
        self.code.lanes, (x,) = 1, self._operands(place, kind)
        if kind == "i1":
            x = self.code.value(f"zext i1 {x} to i8")
        self.code.lines.append(f"  store {kept_type(kind)} {x}, ptr {self._row(access, kind)}")

    def _put(self, place: int, access: _Access) -> None:
        """Put what there is now in its places among zeros."""
        code, kind = self.code, element(self.known.kind(place))
        (x,), row = self._operands(place, kind), self._row(access, kind)
        if kind == "i1":
            x = code.value(f"zext {code.type('i1')} {x} to {code.type('i8')}")
        kept, stride = kept_type(kind), access.strides[-1]
        if stride == 1:
            at = code.value(f"getelementptr {kept}, ptr {row}, i64 %{self.name}.i")
            code.stored(kept, x, at, self.mask)
            return
        far = code.value(f"mul <{self.lanes} x i64> {self._along()}, splat (i64 {stride})")
        code.scatter(kept, x, code.value(f"getelementptr {kept}, ptr {row}, <{self.lanes} x i64> {far}"), self.mask)

    def _close(self, place: int, in_registers: bool) -> None:
        """Put the lanes of a sum together."""
        code, kind = self.code, element(self.known.kind(place))
        code.lanes = self.lanes
        vector = f"%s{place}.next"
        if not in_registers:
            vector = code.value(f"load {code.type(kind)}, ptr %{self.name}.sum{place}")
        found = code.across(_ACROSS.get(self._op(place), "fadd"), kind, vector)
        code.lanes = 1
        if place not in self.function.memory and not self.indices:
            self.function.scalars[place] = found
            return
        at = self._slot(place)
        old = code.value(f"load {kind}, ptr {at}")
        code.lines.append(
            f"  store {kind} {_COMBINE.get(self._op(place), ARITHMETIC['add'])(code, kind, old, found)}, ptr {at}"
        )

    def _finish(self, place: int) -> None:
        """Take a result out of its memory, if it is a number; of a mean, divide."""
        code, result, function = self.code, self.known.kind(place), self.function
        code.lanes = 1
        kind = element(result)
        count = code.number(kind, prod(self.known.whole(place)) / result.size)
        if place not in function.memory and self.indices:
            function.scalars[place] = code.value(f"load {kind}, ptr {self._slot(place)}")
        if place in function.memory:
            if self._op(place) == "mean":
                function.each(
                    function.memory[place],
                    result.size,
                    kind,
                    lambda at: code.arithmetic("fdiv", kind, code.value(f"load {kind}, ptr {at}"), count),
                )
            if result.size == 1:
                function.scalars[place] = code.value(f"load {kind}, ptr {function.memory[place]}")
        elif self._op(place) == "mean":
            function.scalars[place] = code.arithmetic("fdiv", kind, function.scalars[place], count)

    # --- steps -------------------------------------------------------------------------------------------------------
    def _step(self, place: int) -> str:
        """Do a step number by number: the register that it gives."""
        code, (op, parents, _) = self.code, self.known.step(place)
        kinds = [self._element(x) for x in parents]
        made = element(self.known.kind(place))
        if op.name == "where":
            (condition,) = self._operands(place, "i1", [0])
            return code.select(made, condition, *self._operands(place, made, [1, 2]))
        if op.name == "scale" and kinds.count("i1") == 1:
            factor = kinds.index("i1")  # the strong zero: where a factor is 0, so is the product
            (condition,), (x,) = self._operands(place, "i1", [factor]), self._operands(place, made, [1 - factor])
            return code.select(made, condition, x, code.number(made, 0.0))
        if op.name in COMPARISONS:
            common = "i1" if kinds[0] == "i1" else self._common(parents)
            return COMPARISONS[op.name](code, common, *self._operands(place, common))
        if op.name in LOGIC:
            return LOGIC[op.name](code, *self._operands(place, "i1"))
        if op.name in WHOLE:  # of one number, or two
            factors = self._operands(place, made)
            return code.arithmetic("fmul", made, *factors) if op.name in PRODUCTS else factors[0]
        return ARITHMETIC[op.name](code, made, *self._operands(place, made))

    def _element(self, x: object) -> str:
        """The type of an operand's numbers."""
        return element(self.known.of(x)) or "double"

    def _common(self, parents: Sequence[object]) -> str:
        """The type that operands are compared in: Python's numbers take that of others."""
        strong = {self._element(x) for x in parents if self.known.of(x).type not in (float, int, bool)}
        return "float" if strong == {"float"} else "double"

    def _operands(self, place: int, wanted: str, which: Sequence[int] | None = None) -> list[str]:
        """Registers for the operands of a step, or for some of them, as numbers of a type."""
        parents, views = self.known.step(place)[1], self.known.operands(place)
        return [self._operand(parents[i], views[i], wanted) for i in which or range(len(parents))]

    def _operand(self, x: object, view: View | None, wanted: str) -> str:
        code, function = self.code, self.function
        if view is None:
            return code.number(wanted, cast("float", plain(x)))
        old = element(self.known.kind(view.base)) or "double"
        if view.base in self.registers:
            return code.converted(self.registers[view.base], old, wanted)
        if view.base in function.scalars:
            return self._splat(view.base, old, wanted)
        return code.converted(self._load(_Access(view.base, view.offset, view.strides), old), old, wanted)

    def _splat(self, place: int, old: str, wanted: str) -> str:
        """A number in all lanes: made once, if these are few; else read from memory each time."""
        code, function = self.code, self.function
        if code.lanes == 1:
            return code.converted(function.scalars[place], old, wanted)
        if (place, wanted) not in self.splats:
            lines, code.lines, code.lanes = code.lines, self.outside, 1
            x = code.converted(function.scalars[place], old, wanted)
            if len(self.splats) < FEW or wanted == "i1":
                code.lanes = self.lanes
                self.splats[place, wanted] = code.splat(wanted, x)
            else:
                at = self.splats[place, wanted] = f"%{self.name}.v{place}{wanted[0]}"
                function.reserve(at, wanted, 1)
                code.lines.append(f"  store {wanted} {x}, ptr {at}")
            code.lines, code.lanes = lines, self.lanes
        found = self.splats[place, wanted]
        return code.splat(wanted, code.value(f"load {wanted}, ptr {found}")) if ".v" in found else found

    # --- memory ------------------------------------------------------------------------------------------------------
    def _along(self) -> str:
        """The numbers of the places that the lanes are at."""
        if not self.places:
            lanes, code = f"<{self.lanes} x i64>", self.code
            first = code.value(f"insertelement {lanes} poison, i64 %{self.name}.i, i64 0")
            all_ = code.value(f"shufflevector {lanes} {first}, {lanes} poison, <{self.lanes} x i32> zeroinitializer")
            steps = ", ".join(f"i64 {i}" for i in range(self.lanes))
            self.places = code.value(f"add {lanes} {all_}, <{steps}>")
        return self.places

    def _row(self, access: _Access, kind: str) -> str:
        """The address of an array's first number in the innermost loop."""
        if access not in self.rows:
            code = self.code
            lines, code.lines = code.lines, self.ahead
            at = str(access.offset)
            for index, group in zip(self.indices, self.groups, strict=False):
                if access.strides[group[-1]]:
                    at = code.value(f"add i64 {at}, {code.value(f'mul i64 {index}, {access.strides[group[-1]]}')}")
            self.rows[access] = code.value(
                f"getelementptr {kept_type(kind)}, ptr {self.function.memory[access.place]}, i64 {at}"
            )
            code.lines = lines
        return self.rows[access]

    def _load(self, access: _Access, kind: str) -> str:
        """The numbers of an array where the lanes are."""
        if access not in self.loads:
            self.loads[access] = self._loaded(access, kind)
        return self.loads[access]

    def _loaded(self, access: _Access, kind: str) -> str:
        code, kept, row = self.code, kept_type(kind), self._row(access, kind)
        stride = access.strides[-1] if access.strides else 0
        if not stride:
            if code.lanes == 1:
                return self._truth(code.value(f"load {kept}, ptr {row}"), kind)
            lines, code.lines, code.lanes = code.lines, self.ahead, 1
            x = self._truth(code.value(f"load {kept}, ptr {row}"), kind)
            code.lanes = self.lanes
            found = code.splat(kind, x)
            code.lines = lines
            return found
        if stride == 1:
            at = code.value(f"getelementptr {kept}, ptr {row}, i64 %{self.name}.i")
            return self._truth(code.loaded(kept, at, self.mask), kind)
        far = code.value(f"mul <{self.lanes} x i64> {self._along()}, splat (i64 {stride})")
        at = code.value(f"getelementptr {kept}, ptr {row}, <{self.lanes} x i64> {far}")
        return self._truth(code.gather(kept, at, self.mask), kind)

    def _truth(self, x: str, kind: str) -> str:
        if kind != "i1":
            return x
        return self.code.value(f"icmp ne {self.code.type('i8')} {x}, {self.code.zeros}")

    def _store(self, place: int) -> None:
        """Keep a value for others."""
        code, kind = self.code, element(self.known.kind(place))
        shape = self.loop.shape
        row = self._row(_Access(place, 0, dense(shape)), kind)
        at = code.value(f"getelementptr {kept_type(kind)}, ptr {row}, i64 %{self.name}.i")
        x = self.registers[place]
        if kind == "i1":
            x = code.value(f"zext {code.type('i1')} {x} to {code.type('i8')}")
        code.stored(kept_type(kind), x, at, self.mask)
