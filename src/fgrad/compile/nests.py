"""Loops of native kernels: over the last axis in vectors, over all others number by number.

Knows how steps become instructions on registers, and arrays addresses; nothing of Python's objects, or of which steps
belong together. The last vector of a row is masked. Sums are kept for each lane until the loop ends, so that their
order is the same at every run.
"""

from collections.abc import Callable, Sequence
from math import inf, prod
from typing import Final, cast

import attrs

from fgrad.compile.forms import PUT
from fgrad.compile.frames import Frame, element, is_array, kept_type
from fgrad.compile.products import Factor, Product
from fgrad.compile.regions import PRODUCTS, WHOLE, Loop, Plan, Shape, View, dense
from fgrad.compile.registers import ARITHMETIC, COMPARISONS, LOGIC, WIDTHS, Code
from fgrad.compile.rewrite import plain
from fgrad.compile.zeros import STRONG
from fgrad.graph import Link

PART: Final = 1024
"""So many numbers are summed at a time, where there are many: then these sums, with what their rounding loses."""
FEW: Final = 12
"""So many numbers, or sums, are kept in registers through a loop; more of them in memory."""

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

    function: Frame
    loop: Loop
    name: str
    left: Callable[[int, str], None] = lambda place, x: None
    """Told of each number that is computed, where there are no axes."""
    lanes: int = 1
    in_parts: bool = False
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
                if self._op(place) == PUT.name or (self._op(place) == "scatter" and self.known.kind(place).size > 1):
                    self._put_one(place)
                else:
                    x = self.function.scalars[place] = self._step(place)
                    self.function.store(place, x)
                    self.left(place, x)

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
        axes = [(f"{name}.{i}", size, 1) for i, size in enumerate(shape[:-1])]
        axes += [(f"{name}.part", shape[-1], PART)] if self.in_parts else []
        for axis, _, _ in axes:
            code.lines += [f"  br label %{axis}.head", f"{axis}.head:", f"  br label %{axis}", f"{axis}:"]
            code.value(f"phi i64 [ 0, %{axis}.head ], [ %{axis}.next, %{axis}.end ]", f"%{axis}.i")
        code.lines += [f"  br label %{name}.head", f"{name}.head:", *self.ahead, f"  br label %{name}", *body]
        for axis, size, step in reversed(axes):
            code.lines += [f"  br label %{axis}.end", f"{axis}.end:"]
            code.value(f"add i64 %{axis}.i, {step}", f"%{axis}.next")
            more = code.value(f"icmp ult i64 %{axis}.next, {size}")
            code.lines += [f"  br i1 {more}, label %{axis}, label %{axis}.done", f"{axis}.done:"]
        for place in reductions:
            self._finish(place)

    def _body(self, n: int, summed: list[int]) -> list[str]:
        """The innermost loop, and what is done with its sums."""
        code, name, lanes = self.code, self.name, self.lanes
        code.lanes = lanes
        self.in_parts = bool(summed) and not self.indices and n >= 2 * PART
        start, end = (f"%{name}.part.i", f"%{name}.limit") if self.in_parts else ("0", str(n))
        if self.in_parts:
            self.ahead += [
                f"  %{name}.full = add i64 {start}, {PART}",
                f"  %{name}.last = icmp ugt i64 %{name}.full, {n}",
            ]
            self.ahead.append(f"  {end} = select i1 %{name}.last, i64 {n}, i64 %{name}.full")
        code.lines.append(f"{name}:")
        i = code.value(f"phi i64 [ {start}, %{name}.head ], [ %{name}.next, %{name} ]", f"%{name}.i")
        if len(summed) <= FEW:
            for place in summed:
                edges = f"[ {self._first(place)}, %{name}.head ], [ %s{place}.next, %{name} ]"
                code.value(f"phi {code.type(element(self.known.kind(place)))} {edges}", f"%s{place}")
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
        more = code.value(f"icmp ult i64 %{name}.next, {end}")
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
        x, y = [self._factor(view, kind) for view in self.known.factors(place)]
        at = self.function.memory.get(place) or self._slot(place)
        lanes = self.function.bits // WIDTHS[kind]
        Product(self.code, self.name, kind, shape, x, y, at, lanes).write()
        if size == 1:
            self.function.scalars[place] = self.code.value(f"load {kind}, ptr {at}")

    def _factor(self, view: View, kind: str) -> Factor:
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
        for place in [place for place in sums if self._op(place) in ("sum", "mean")]:
            (x,) = self.known.step(place)[1]
            if type(x) is not Link or x.place not in self.loop.steps:
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
        if self.known.step(place)[0] is PUT:
            self._begin_with(place)
        elif place in self.function.memory:
            self.function.each(self.function.memory[place], self.known.kind(place).size, kind, lambda at: start)
        elif self.indices or self.in_parts:
            code.lines.append(f"  store {kind} {start}, ptr {self._slot(place)}")
        if self.in_parts and place not in self.function.memory:
            self.function.reserve(f"%{self.name}.lost{place}", kind, 1)
            code.lines.append(f"  store {kind} {code.number(kind, 0.0)}, ptr %{self.name}.lost{place}")

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
            if self._op(place) in ("scatter", PUT.name):
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
        self.code.lanes, row = 1, self._row(access, kind)
        x = self._operands(place, kind)[-1]
        if kind == "i1":
            x = self.code.value(f"zext i1 {x} to i8")
        elif self._is_added(place):
            x = self.code.arithmetic("fadd", kind, self.code.value(f"load {kind}, ptr {row}"), x)
        self.code.lines.append(f"  store {kept_type(kind)} {x}, ptr {row}")
        if self.known.kind(place).size == 1 and kind != "i1":
            self.function.scalars[place] = x

    def _is_added(self, place: int) -> bool:
        """Whether a part is added to what is there."""
        op, _, params = self.known.step(place)
        return op is PUT and bool(params[1])

    def _begin_with(self, place: int) -> None:
        """Let a step that changes an array begin with a copy, where it may not change that."""
        whole, kind = self.known.view(cast("Link", self.known.step(place)[1][0]).place), self.known.kind(place)
        if self.function.memory.get(whole.base) != self.function.memory[place]:
            size = kind.size * WIDTHS[element(kind)] // 8
            given = self.code.value(
                f"getelementptr {kept_type(element(kind))}, ptr {self.function.memory[whole.base]}, i64 {whole.offset}"
            )
            self.function.copy(self.function.memory[place], given, size)

    def _put(self, place: int, access: _Access) -> None:
        """Put what there is now in its places among zeros."""
        code, kind = self.code, element(self.known.kind(place))
        x, row = self._operands(place, kind)[-1], self._row(access, kind)
        if kind == "i1":
            x = code.value(f"zext {code.type('i1')} {x} to {code.type('i8')}")
        kept, stride, added = kept_type(kind), access.strides[-1], self._is_added(place)
        if stride == 1:
            at = code.value(f"getelementptr {kept}, ptr {row}, i64 %{self.name}.i")
            x = code.arithmetic("fadd", kind, code.loaded(kind, at, self.mask), x) if added else x
            code.stored(kept, x, at, self.mask)
            return
        far = code.value(f"mul <{self.lanes} x i64> {self._along()}, splat (i64 {stride})")
        at = code.value(f"getelementptr {kept}, ptr {row}, <{self.lanes} x i64> {far}")
        x = code.arithmetic("fadd", kind, code.gather(kind, at, self.mask), x) if added else x
        code.scatter(kept, x, at, self.mask)

    def _close(self, place: int, in_registers: bool) -> None:
        """Put the lanes of a sum together."""
        code, kind = self.code, element(self.known.kind(place))
        code.lanes = self.lanes
        vector = f"%s{place}.next"
        if not in_registers:
            vector = code.value(f"load {code.type(kind)}, ptr %{self.name}.sum{place}")
        found = code.across(_ACROSS.get(self._op(place), "fadd"), kind, vector)
        code.lanes = 1
        if place not in self.function.memory and not self.indices and not self.in_parts:
            self.function.scalars[place] = found
            return
        at = self._slot(place)
        old = code.value(f"load {kind}, ptr {at}")
        if self.in_parts and self._op(place) not in _COMBINE and place not in self.function.memory:
            found = self._restored(place, old, found)
        code.lines.append(f"  store {kind} {self._combined(place, old, found)}, ptr {at}")

    def _restored(self, place: int, old: str, x: str) -> str:
        """What is to be added, with what was lost when the part before was (W. Kahan, 1965)."""
        code, kind, lost = self.code, element(self.known.kind(place)), f"%{self.name}.lost{place}"
        x = code.value(f"fsub {kind} {x}, {code.value(f'load {kind}, ptr {lost}')}")
        new = code.value(f"fadd {kind} {old}, {x}")
        more = code.value(f"fsub {kind} {code.value(f'fsub {kind} {new}, {old}')}, {x}")
        finite = code.compare("ord", kind, more, more)
        code.lines.append(f"  store {kind} {code.select(kind, finite, more, code.number(kind, 0.0))}, ptr {lost}")
        return x

    def _finish(self, place: int) -> None:
        """Take a result out of its memory, if it is a number; of a mean, divide."""
        code, result, function = self.code, self.known.kind(place), self.function
        code.lanes = 1
        kind = element(result)
        count = code.number(kind, prod(self.known.whole(place)) / result.size)
        if place not in function.memory and (self.indices or self.in_parts):
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
        if op.name in ("scale", STRONG.name) and kinds.count("i1") == 1:
            factor = kinds.index("i1")  # the strong zero: where a factor is 0, so is the product
            (condition,), (x,) = self._operands(place, "i1", [factor]), self._operands(place, made, [1 - factor])
            return code.select(made, condition, x, code.number(made, 0.0))
        if op.name in COMPARISONS:
            common = "i1" if kinds[0] == "i1" else self._common(parents)
            return COMPARISONS[op.name](code, common, *self._operands(place, common))
        if op.name in LOGIC:
            return LOGIC[op.name](code, *self._operands(place, "i1"))
        if op.name == "pow" and type(parents[1]) is float and parents[1] == 0.5 and is_array(self.known.kind(place)):
            # As NumPy has it: nan at -inf.
            return code.intrinsic("sqrt", made, self._operands(place, made, [0])[0])
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
            all_ = code.splat("i64", f"%{self.name}.i")
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
