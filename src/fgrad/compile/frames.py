"""What is around the loops of a native function: Python's objects taken apart and made, and memory.

Knows how numbers, arrays and tuples lie in memory, and who owns what; nothing of what is computed.
"""

import functools
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

import attrs

from fgrad.arrays import numpy
from fgrad.compile.forms import PUT
from fgrad.compile.regions import WHOLE, Block, Plan, changed, is_register
from fgrad.compile.registers import WIDTHS, Code
from fgrad.compile.rewrite import Kind

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
    if kind.type.__module__ != "numpy" or kind.type.__name__ not in _NUMPY or (is_array(kind) and not kind.shape):
        return ""
    return {"float64": "double", "float32": "float", "bool": "i1"}.get(str(kind.dtype), "")


_NUMPY: Final = ("ndarray", "float64", "float32", "bool", "bool_")


def is_array(kind: Kind) -> bool:
    """Whether a value is an array, and no number of NumPy's."""
    return kind.type.__name__ == "ndarray"


_HEAD: Final = object.__basicsize__  # what every object begins with; in an array follow its numbers' address, …
_DECLARED: Final = """\
@_Py_NoneStruct = external global i8
@_Py_NotImplementedStruct = external global i8
declare ptr @PyTuple_New(i64)
declare ptr @PyFloat_FromDouble(double)
declare double @PyFloat_AsDouble(ptr)
declare ptr @PyBool_FromLong(i64)
declare ptr @PyLong_FromLongLong(i64)
declare i64 @PyLong_AsLongLong(ptr)
declare i32 @PyObject_IsTrue(ptr)
declare ptr @PyErr_Occurred()
declare ptr @PyErr_NoMemory()
declare ptr @PyObject_CallNoArgs(ptr)
declare ptr @PyObject_CallOneArg(ptr, ptr)
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare ptr @PyMem_RawMalloc(i64)
declare void @PyMem_RawFree(ptr)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare ptr @fgrad_numbers(ptr, ptr, ptr)
declare ptr @fgrad_empty(ptr, i64, ptr)
declare ptr @fgrad_boxed(ptr, ptr)
declare ptr @fgrad_rounded(ptr)
"""
RUNTIME: Final = f"""\
declare ptr @PyObject_CallNoArgs(ptr)
declare ptr @PyObject_CallOneArg(ptr, ptr)
declare i32 @PyTuple_SetItem(ptr, i64, ptr)
declare void @Py_DecRef(ptr)

define ptr @fgrad_numbers(ptr %array, ptr %ordered, ptr %keep) nounwind {{
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
define ptr @fgrad_empty(ptr %results, i64 %i, ptr %make) nounwind {{
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
define ptr @fgrad_boxed(ptr %object, ptr %make) nounwind {{
  ; a number of NumPy's, from Python's
  %number = call ptr @PyObject_CallOneArg(ptr %make, ptr %object)
  call void @Py_DecRef(ptr %object)
  ret ptr %number
}}
define ptr @fgrad_rounded(ptr %x) nounwind {{
  %i = ptrtoint ptr %x to i64
  %j = add i64 %i, 63
  %k = and i64 %j, -64
  %y = inttoptr i64 %k to ptr
  ret ptr %y
}}
"""
"""What all kernels call: it is compiled once."""


@attrs.define(eq=False, slots=False)
class Frame:
    """A function while it is written: where its values are, and its instructions so far."""

    known: Plan
    block: Block
    bits: int
    code: Code
    scalars: dict[int, str] = attrs.field(factory=dict)  # numbers, in registers
    memory: dict[int, str] = attrs.field(factory=dict)  # arrays, by the address of their first number
    reserved: dict[str, tuple[str, int]] = attrs.field(factory=dict)  # memory, by name: of which type, how many
    helpers: dict[object, tuple[int, object]] = attrs.field(factory=dict)
    slots: int = 0  # for what must be let go of at the end
    functions: list[str] = attrs.field(factory=list)  # that this one calls

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

    def end(self) -> Kernel:
        """Give the results, or the exception that was raised: memory may be short."""
        self.check_errors()
        self.code.lines += self._left("%results")
        return Kernel(self._text(), tuple([helper for _, helper in self.helpers.values()]))

    def _text(self) -> str:
        slots = [f"  %slot{i} = alloca ptr\n  store ptr null, ptr %slot{i}" for i in range(self.slots)]
        width = f'"min-legal-vector-width"="{self.bits}" "prefer-vector-width"="{self.bits}"'
        head = f'define ptr @kernel(ptr %self, ptr %args, i64 %count) nounwind "probe-stack"="inline-asm" {width} {{'
        failed = ["failed:", "  call void @Py_DecRef(ptr %results)", *self._left("null")]
        short = ["short:", "  call ptr @PyErr_NoMemory()", "  ret ptr null", "none:", "  ret ptr null", "}"]
        lines = [head, *slots, *self._frame(), *self.code.lines, *failed, *short]
        return "\n".join([_DECLARED, *self.code.declared.values(), *self.functions, *lines]) + "\n"

    def _frame(self) -> list[str]:
        """Find all memory that was reserved: on the stack, if that is little."""
        lines = ["  %heap = alloca ptr", "  store ptr null, ptr %heap"]
        sizes = {name: -(-WIDTHS[kind] * size // 512) * 64 for name, (kind, size) in self.reserved.items()}
        if sum(sizes.values()) <= STACK:
            return [*lines, *self.on_stack()]
        lines += [f"  %raw = call ptr @PyMem_RawMalloc(i64 {sum(sizes.values()) + 64})", "  store ptr %raw, ptr %heap"]
        lines += ["  %no.room = icmp eq ptr %raw, null", "  br i1 %no.room, label %short, label %room.found"]
        lines += ["room.found:", "  %frame = call ptr @fgrad_rounded(ptr %raw)"]
        starts = accumulate(sizes.values(), initial=0)
        return lines + [
            f"  {name} = getelementptr i8, ptr %frame, i64 {at}" for name, at in zip(sizes, starts, strict=False)
        ]

    def on_stack(self) -> list[str]:
        """Reserve what is reserved on the stack."""
        return [f"  {name} = alloca {kind}, i64 {size}, align 64" for name, (kind, size) in self.reserved.items()]

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
        for slot, how in [*[(f"%slot{i}", "Py_DecRef") for i in range(self.slots)], ("%heap", "PyMem_RawFree")]:
            name = f"%{self.label()}"
            found += [f"  {name} = load ptr, ptr {slot}", f"  call void @{how}(ptr {name})"]
        return [*found, f"  ret ptr {result}"]

    def check_errors(self) -> None:
        """Leave with the exception that was raised, if any: an integer may be too large for a float."""
        fine, on = self.code.value(f"icmp eq ptr {self.code.value('call ptr @PyErr_Occurred()')}, null"), self.label()
        self.code.lines += [f"  br i1 {fine}, label %{on}, label %failed", f"{on}:"]

    def helper(self, key: object, helper: object) -> str:
        """A Python object that the function calls."""
        i, _ = self.helpers.setdefault(key, (len(self.helpers), helper))
        at = self.code.value(f"getelementptr i8, ptr %self, i64 {tuple.__basicsize__ + 8 * i}")
        return self.code.value(f"load ptr, ptr {at}")

    def argument(self, i: int) -> str:
        """Argument i, an object."""
        at = self.code.value(f"getelementptr ptr, ptr %args, i64 {i}")
        return self.code.value(f"load ptr, ptr {at}")

    # --- arguments and results ---------------------------------------------------------------------------------------
    def read(self, i: int, place: int) -> None:
        """Take an argument apart."""
        code, kind, name = self.code, self.known.kind(place), f"%v{place}".replace("-", "c")
        if place < 0:
            constant = self.known.constants[-1 - place]
            given = self.helper(place, numpy().require(constant, requirements=["C", "A"]))
        else:
            given = self.argument(i)
        if is_array(kind):
            self.memory[place] = self.numbers(given, name)
        elif element(kind) == "i1":
            held = code.value(f"call i32 @PyObject_IsTrue(ptr {given})")
            self.scalars[place] = code.value(f"icmp ne i32 {held}, 0", name)
        elif kind.type is float:
            at = code.value(f"getelementptr i8, ptr {given}, i64 {float.__basicsize__ - 8}")
            self.scalars[place] = code.value(f"load double, ptr {at}", name)
        else:
            found = code.value(f"call double @PyFloat_AsDouble(ptr {given})")
            self.scalars[place] = code.converted(found, "double", element(kind) or "double")

    def numbers(self, array: str, name: str) -> str:
        """The address of an array's numbers, or of a copy's that has them one after the other."""
        ordered = self.helper("ordered", _ordered)
        self.code.value(f"call ptr @fgrad_numbers(ptr {array}, ptr {ordered}, ptr %slot{self.slots})", name)
        self.slots += 1
        self.need(name)
        return name

    def make(self, i: int, kind: Kind) -> str:
        """Make the array that is result i: the address of its numbers."""
        empty = functools.partial(numpy().empty, kind.shape, kind.dtype)
        make = self.helper((kind.shape, kind.dtype), empty)
        made = self.code.value(f"call ptr @fgrad_empty(ptr %results, i64 {i}, ptr {make})", f"%result{i}")
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
            made = code.value(f"call ptr @fgrad_boxed(ptr {made}, ptr {self.helper(kind.type, kind.type)})")
        at = code.value(f"getelementptr i8, ptr %results, i64 {tuple.__basicsize__ + 8 * i}")
        code.lines.append(f"  store ptr {made}, ptr {at}")

    def look_for_nan(self, numbers: Sequence[tuple[str, str]]) -> None:
        """Leave with NotImplemented if one of some numbers is nan, or if these are inf and -inf."""
        code = self.code
        total = code.number("double", 0.0)
        for kind, x in numbers:
            if kind != "i1":
                total = code.value(f"fadd double {total}, {code.converted(x, kind, 'double')}")
        self._leave_unless(code.compare("ord", "double", total, total), "@_Py_NotImplementedStruct")

    def _leave_unless(self, held: str, result: str) -> None:
        on, other = self.label(), self.label()
        self.code.lines += [f"  br i1 {held}, label %{on}, label %{other}", f"{other}:"]
        self.code.lines += [f"  call void @Py_IncRef(ptr {result})", "  call void @Py_DecRef(ptr %results)"]
        self.code.lines += [*self._left(result), f"{on}:"]

    def check(self, place: int, was: bool) -> None:
        """Leave with None where a branch would be decided otherwise."""
        code, kind, held = self.code, element(self.known.kind(place)), self.scalars[place]
        if kind != "i1":
            held = code.compare("une", kind, held, code.number(kind, 0.0))
        self._leave_unless(held if was else code.value(f"xor i1 {held}, true"), "@_Py_NoneStruct")

    # --- memory ------------------------------------------------------------------------------------------------------
    def between(self) -> set[int]:
        """The arrays that one loop leaves for another, and that are no results."""
        loops = {place: loop for loop in self.block.loops for place in loop.steps}
        found = {x for x in loops if self.known.step(x)[0].name in WHOLE and self.known.kind(x).size > 1}
        found |= {x for x in loops if self.known.step(x)[0] is PUT}
        for place, loop in loops.items():
            for view in self.known.operands(place):
                if view is None or view.base not in loops or self.known.kind(view.base).size == 1:
                    continue
                if loops[view.base] is not loop or not is_register(self.known, view, loop.shape):
                    found.add(view.base)
        return found.difference(self.memory, self.replaced.values())

    @functools.cached_property
    def replaced(self) -> dict[int, int]:
        """The values that a step changes in their own place, by the place of that step."""
        return changed(self.known, self.block.loops)

    def find_room(self, places: Sequence[int], shared: int = 0) -> None:
        """Find memory for some arrays, and so many bytes for numbers that several functions share."""
        code, sizes = self.code, [self.known.kind(x).size * WIDTHS[element(self.known.kind(x))] // 8 for x in places]
        rounded = [-(-size // 64) * 64 for size in sizes]
        if places or shared:
            self.reserve("%room", "i8", sum(rounded) + shared)
        at = 0
        for place, size in zip(places, rounded, strict=True):
            self.memory[place] = code.value(f"getelementptr i8, ptr %room, i64 {at}", f"%m{place}")
            at += size
        if shared:
            code.value(f"getelementptr i8, ptr %room, i64 {at}", "%shared")
        for place, whole in sorted(self.replaced.items(), reverse=True):
            self.memory[whole] = self.memory[place]

    def reserve(self, name: str, kind: str, size: int) -> None:
        """Reserve memory for some numbers, for as long as the function runs."""
        self.reserved[name] = kind, size

    def store(self, place: int, register: str) -> None:
        """Keep a number that is an array of one."""
        if place in self.memory:
            kind = element(self.known.kind(place))
            held = self.code.value(f"zext i1 {register} to i8") if kind == "i1" else register
            self.code.lines.append(f"  store {kept_type(kind)} {held}, ptr {self.memory[place]}")

    def copy(self, to: str, given: str, size: int) -> None:
        """Copy so many bytes."""
        self.code.lines.append(f"  call void @llvm.memcpy.p0.p0.i64(ptr {to}, ptr {given}, i64 {size}, i1 false)")

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
