"""Each elementwise op on registers, in LLVM's language: a number, or as many as a vector of the host's holds.

Knows arithmetic, choices and the names of mathematical functions; nothing of loops, of memory and of Python's objects.

Functions come from the platform's vector library, libmvec, where that has them (4 ulp), else from its libm, number by
number. Python's numbers are computed by the same functions as `math` computes them by.
"""

import ctypes
import ctypes.util
import functools
import struct
from collections.abc import Callable, Mapping
from typing import Final

import attrs

WIDTHS: Final = {"double": 64, "float": 32, "i8": 8, "i1": 8}
"""The bits that a number of each type has in memory."""
_SHORT: Final = {"double": "f64", "float": "f32", "i8": "i8"}
_MANGLED: Final = {512: "e", 256: "d", 128: "b"}  # the letter of the instruction set in libmvec's names


@functools.cache
def library(name: str) -> ctypes.CDLL | None:
    """A shared library of the platform, if it is there."""
    try:
        return ctypes.CDLL(f"lib{name}.so.1") if name == "mvec" else ctypes.CDLL(ctypes.util.find_library(name))
    except (OSError, TypeError):
        return None


def address(name: str) -> int | None:
    """Where a mathematical function is in memory; None if the platform has none of that name."""
    found = getattr(library("mvec" if name.startswith("_ZGV") else "m"), name, None)
    return ctypes.cast(found, ctypes.c_void_p).value if found is not None else None


@attrs.define(eq=False)
class Code:
    """Text under way: its instructions, the functions that they call, and how many numbers a register holds now."""

    fast: bool
    lanes: int = 1
    lines: list[str] = attrs.field(factory=list)
    declared: dict[str, str] = attrs.field(factory=dict)
    count: int = 0

    def type(self, element: str) -> str:
        """The type of a register of such numbers."""
        return element if self.lanes == 1 else f"<{self.lanes} x {element}>"

    def value(self, text: str, name: str = "") -> str:
        """A register, for what an instruction gives."""
        if not name:
            self.count += 1
            name = f"%t{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def number(self, element: str, x: float) -> str:
        """A constant, in every lane."""
        if element in ("i1", "i8"):
            one = str(int(x)) if element == "i8" else "true" if x else "false"
        else:
            bits = x if element == "double" else _single(x)
            one = f"0x{struct.pack('>d', bits).hex().upper()}"
        return one if self.lanes == 1 else f"splat ({element} {one})"

    @property
    def zeros(self) -> str:
        """The integer 0, in every lane."""
        return "0" if self.lanes == 1 else "zeroinitializer"

    def splat(self, element: str, x: str) -> str:
        """A number in every lane."""
        if self.lanes == 1:
            return x
        one = self.value(f"insertelement {self.type(element)} poison, {element} {x}, i64 0")
        return self.value(
            f"shufflevector {self.type(element)} {one}, {self.type(element)} poison, "
            f"<{self.lanes} x i32> zeroinitializer"
        )

    def arithmetic(self, op: str, element: str, x: str, y: str = "") -> str:
        """fadd, fsub, fmul, fdiv, fneg."""
        flags = " contract" if self.fast else ""
        return self.value(f"{op}{flags} {self.type(element)} {x}{y and f', {y}'}")

    def compare(self, how: str, element: str, x: str, y: str) -> str:
        """oeq, une, olt, ole, ogt, oge, uno, …; of booleans eq and ne."""
        kind = "icmp" if element == "i1" else "fcmp"
        return self.value(f"{kind} {how} {self.type(element)} {x}, {y}")

    def logic(self, op: str, x: str, y: str) -> str:
        """And, or, xor."""
        return self.value(f"{op} {self.type('i1')} {x}, {y}")

    def select(self, element: str, condition: str, x: str, y: str) -> str:
        """X where the condition holds, else y."""
        kind = self.type(element)
        return self.value(f"select {self.type('i1')} {condition}, {kind} {x}, {kind} {y}")

    def converted(self, x: str, old: str, new: str) -> str:
        """The same number in another type."""
        if old == new:
            return x
        how = {"i1": "uitofp", "float": "fpext", "double": "fptrunc"}[old]
        return self.value(f"{how} {self.type(old)} {x} to {self.type(new)}")

    def intrinsic(self, name: str, element: str, *args: str) -> str:
        """What LLVM writes in an instruction or a few: sqrt, fabs, floor and the like."""
        kind = self.type(element)
        suffix = _SHORT[element] if self.lanes == 1 else f"v{self.lanes}{_SHORT[element]}"
        full = f"llvm.{name}.{suffix}"
        self.declared[full] = f"declare {kind} @{full}({', '.join([kind] * len(args))})"
        return self.value(f"call {kind} @{full}({', '.join(f'{kind} {x}' for x in args)})")

    def across(self, op: str, element: str, x: str) -> str:
        """The numbers of all lanes put together: fadd, fmaximum, fminimum."""
        full, kind = f"llvm.vector.reduce.{op}.v{self.lanes}{_SHORT[element]}", self.type(element)
        start = f"{element} -0.0, " if op == "fadd" else ""
        self.declared[full] = f"declare {element} @{full}({f'{element}, ' if start else ''}{kind})"
        how = "reassoc " if start else ""  # in pairs, not one by one
        return self.value(f"call {how}{element} @{full}({start}{kind} {x})")

    def loaded(self, element: str, pointer: str, mask: str) -> str:
        """The numbers from an address on, in the lanes of a mask, if there is one."""
        if mask:
            return self.masked_load(element, pointer, mask)
        return self.value(f"load {self.type(element)}, ptr {pointer}, align {WIDTHS[element] // 8}")

    def stored(self, element: str, x: str, pointer: str, mask: str) -> None:
        """Keep the numbers from an address on, in the lanes of a mask, if there is one."""
        if mask:
            self.masked_store(element, x, pointer, mask)
        else:
            self.lines.append(f"  store {self.type(element)} {x}, ptr {pointer}, align {WIDTHS[element] // 8}")

    def masked_load(self, element: str, pointer: str, mask: str) -> str:
        """The numbers from an address on, in the lanes of a mask; 0 in others."""
        full, kind = f"llvm.masked.load.v{self.lanes}{_SHORT[element]}.p0", self.type(element)
        self.declared[full] = f"declare {kind} @{full}(ptr, i32, {self.type('i1')}, {kind})"
        align = WIDTHS[element] // 8
        return self.value(
            f"call {kind} @{full}(ptr {pointer}, i32 {align}, {self.type('i1')} {mask}, {kind} zeroinitializer)"
        )

    def masked_store(self, element: str, x: str, pointer: str, mask: str) -> None:
        """Keep the numbers in the lanes of a mask, from an address on."""
        full, kind = f"llvm.masked.store.v{self.lanes}{_SHORT[element]}.p0", self.type(element)
        self.declared[full] = f"declare void @{full}({kind}, ptr, i32, {self.type('i1')})"
        align = WIDTHS[element] // 8
        self.lines.append(f"  call void @{full}({kind} {x}, ptr {pointer}, i32 {align}, {self.type('i1')} {mask})")

    def scatter(self, element: str, x: str, pointers: str, mask: str) -> None:
        """Keep the numbers in the lanes of a mask, at an address for each."""
        full = f"llvm.masked.scatter.v{self.lanes}{_SHORT[element]}.v{self.lanes}p0"
        kind, where, which = self.type(element), self.type("ptr"), self.type("i1")
        self.declared[full] = f"declare void @{full}({kind}, {where}, i32, {which})"
        held = mask or self.number("i1", 1)
        align = WIDTHS[element] // 8
        self.lines.append(f"  call void @{full}({kind} {x}, {where} {pointers}, i32 {align}, {which} {held})")

    def gather(self, element: str, pointers: str, mask: str) -> str:
        """The numbers at an address for each lane of a mask; 0 in others."""
        full = f"llvm.masked.gather.v{self.lanes}{_SHORT[element]}.v{self.lanes}p0"
        kind, where, which = self.type(element), self.type("ptr"), self.type("i1")
        self.declared[full] = f"declare {kind} @{full}({where}, i32, {which}, {kind})"
        held = mask or self.number("i1", 1)
        align = WIDTHS[element] // 8
        return self.value(
            f"call {kind} @{full}({where} {pointers}, i32 {align}, {which} {held}, {kind} zeroinitializer)"
        )

    def function(self, name: str, element: str, *args: str) -> str:
        """A mathematical function, in all lanes at once if the platform has it so."""
        scalar = name if element == "double" else f"{name}f"
        kind = self.type(element)
        letter = _MANGLED.get(self.lanes * WIDTHS[element], "")
        vector = f"_ZGV{letter}N{self.lanes}{'v' * len(args)}_{scalar}"
        if self.lanes > 1 and letter and address(vector) is not None:
            return self._call(vector, kind, args)
        if self.lanes == 1:
            return self._call(scalar, element, args)
        found = "poison"
        for i in range(self.lanes):
            lanes = [self.value(f"extractelement {kind} {x}, i64 {i}") for x in args]
            one = self._call(scalar, element, lanes)
            found = self.value(f"insertelement {kind} {found}, {element} {one}, i64 {i}")
        return found

    def _call(self, name: str, kind: str, args: "tuple[str, ...] | list[str]") -> str:
        self.declared[name] = f"declare {kind} @{name}({', '.join([kind] * len(args))})"
        return self.value(f"call {kind} @{name}({', '.join(f'{kind} {x}' for x in args)})")


def _single(x: float) -> float:
    """The nearest number of single precision."""
    try:
        return float(struct.unpack("f", struct.pack("f", x))[0])
    except OverflowError:
        return x * float("inf")


Row = Callable[..., str]
"""How an op is written: on the code, the type of the numbers, and the registers of its operands."""


def _instruction(op: str) -> Row:
    return lambda code, kind, *args: code.arithmetic(op, kind, *args)


def _intrinsic(name: str) -> Row:
    return lambda code, kind, *args: code.intrinsic(name, kind, *args)


def _function(name: str) -> Row:
    return lambda code, kind, *args: code.function(name, kind, *args)


def _comparison(floats: str, booleans: str = "") -> Row:
    return lambda code, kind, x, y: code.compare(booleans if kind == "i1" else floats, kind, x, y)


def _extreme(how: str) -> Row:
    """X if it is the greater (less), or nan; else y."""

    def row(code: Code, kind: str, x: str, y: str) -> str:
        mine = code.logic("or", code.compare(how, kind, x, y), code.compare("uno", kind, x, x))
        return code.select(kind, mine, x, y)

    return row


def _strong_scale(code: Code, kind: str, g: str, p: str) -> str:
    c, zero = code.arithmetic("fmul", kind, g, p), code.number(kind, 0.0)
    none = code.logic("or", code.compare("oeq", kind, g, zero), code.compare("oeq", kind, p, zero))
    lost = code.logic("and", code.compare("uno", kind, c, c), none)
    return code.select(kind, lost, zero, c)


def _relu(code: Code, kind: str, x: str) -> str:
    zero = code.number(kind, 0.0)
    return code.select(kind, code.compare("uge", kind, x, zero), x, zero)


def _sign(code: Code, kind: str, x: str) -> str:
    zero, one, minus = [code.number(kind, n) for n in (0.0, 1.0, -1.0)]
    below = code.select(kind, code.compare("olt", kind, x, zero), minus, code.intrinsic("fabs", kind, x))
    # |x| is 0 at 0 and nan at nan.
    return code.select(kind, code.compare("ogt", kind, x, zero), one, below)


def _sigmoid(code: Code, kind: str, x: str) -> str:
    one = code.number(kind, 1.0)
    e = code.function("exp", kind, code.arithmetic("fneg", kind, code.intrinsic("fabs", kind, x)))
    above = code.select(kind, code.compare("oge", kind, x, code.number(kind, 0.0)), one, e)
    return code.arithmetic("fdiv", kind, above, code.arithmetic("fadd", kind, one, e))


def _logaddexp(code: Code, kind: str, x: str, y: str) -> str:
    """max(x, y) + log1p(exp(-|x - y|)), and x + log(2) where they are equal, as both may be infinite."""
    apart = code.intrinsic("fabs", kind, code.arithmetic("fsub", kind, x, y))
    more = code.function("log1p", kind, code.function("exp", kind, code.arithmetic("fneg", kind, apart)))
    found = code.arithmetic("fadd", kind, _extreme("oge")(code, kind, x, y), more)
    twice = code.arithmetic("fadd", kind, x, code.number(kind, 0.6931471805599453))
    return code.select(kind, code.compare("oeq", kind, x, y), twice, found)


def _pow(code: Code, kind: str, x: str, y: str) -> str:
    if y == code.number(kind, 2.0):
        return code.arithmetic("fmul", kind, x, x)
    return code.function("pow", kind, x, y)


def _abs(code: Code, kind: str, x: str) -> str:
    return code.intrinsic("fabs", kind, x)


ARITHMETIC: Final[Mapping[str, Row]] = {
    "add": _instruction("fadd"),
    "subtract": _instruction("fsub"),
    "multiply": _instruction("fmul"),
    "scale": _instruction("fmul"),  # right where no result is nan
    "strong_scale": _strong_scale,
    "divide": _instruction("fdiv"),
    "negative": _instruction("fneg"),
    "positive": lambda code, kind, x: x,
    "number": lambda code, kind, x: x,
    "stop_gradient": lambda code, kind, x: x,
    "named": lambda code, kind, x: x,
    "astype": lambda code, kind, x: x,
    "square": lambda code, kind, x: code.arithmetic("fmul", kind, x, x),
    "reciprocal": lambda code, kind, x: code.arithmetic("fdiv", kind, code.number(kind, 1.0), x),
    "abs": _abs,
    "sign": _sign,
    "relu": _relu,
    "maximum": _extreme("oge"),
    "minimum": _extreme("ole"),
    "sigmoid": _sigmoid,
    "logaddexp": _logaddexp,
    "softplus": lambda code, kind, x: _logaddexp(code, kind, x, code.number(kind, 0.0)),
    "pow": _pow,
    "rad2deg": lambda code, kind, x: code.arithmetic("fmul", kind, x, code.number(kind, 57.29577951308232)),
    "deg2rad": lambda code, kind, x: code.arithmetic("fmul", kind, x, code.number(kind, 0.017453292519943295)),
    "round": _intrinsic("rint"),
    **{name: _intrinsic(name) for name in ("sqrt", "floor", "ceil")},
    **{
        name: _function(name)
        for name in (
            *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "cbrt", "hypot", "erf", "erfc"),
            *("sin", "cos", "tan", "asin", "acos", "atan", "atan2"),
            *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
        )
    },
}
"""Ops of floats, which give floats."""
COMPARISONS: Final[Mapping[str, Row]] = {
    "equal": _comparison("oeq", "eq"),
    "not_equal": _comparison("une", "ne"),
    "less": _comparison("olt"),
    "less_equal": _comparison("ole"),
    "greater": _comparison("ogt"),
    "greater_equal": _comparison("oge"),
    "isnan": lambda code, kind, x: code.compare("uno", kind, x, x),
    "isinf": lambda code, kind, x: code.compare("oeq", kind, _abs(code, kind, x), code.number(kind, float("inf"))),
    "isfinite": lambda code, kind, x: code.compare("olt", kind, _abs(code, kind, x), code.number(kind, float("inf"))),
}
"""Ops of floats, which give booleans."""
LOGIC: Final[Mapping[str, Row]] = {
    **{
        f"{prefix}_{op}": lambda code, x, y, op=op: code.logic(op, x, y)
        for prefix in ("logical", "bitwise")
        for op in ("and", "or", "xor")
    },
    **dict.fromkeys(("logical_not", "bitwise_invert"), lambda code, x: code.logic("xor", x, code.number("i1", 1))),
}
"""Ops of booleans, which give booleans: on the code and the operands."""
