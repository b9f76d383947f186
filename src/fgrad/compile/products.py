"""Products of small matrices, natively: blocks of rows and columns whose sums stay in registers.

Knows how the loops of a matrix product are arranged; nothing of any other step. Large products are BLAS's.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import attrs

from fgrad.compile.regions import Shape, dense
from fgrad.compile.registers import Code

BLOCK: Final = 8
"""So many sums are kept in registers at once: enough to wait for none."""


@attrs.frozen
class Factor:
    """A matrix in memory, or a stack of them: its first number's address, and the strides along its axes."""

    pointer: str
    strides: Shape


@attrs.define(eq=False)
class Product:
    """The product of two stacks of matrices of numbers of one type, over (…, rows, summed, columns)."""

    code: Code
    name: str
    kind: str
    shape: Shape
    left: Factor
    right: Factor
    result: str
    lanes: int
    count: int = 0

    def write(self) -> None:
        """Write it, in vectors along the columns, or along what is summed where that lies densely."""
        self.code.lanes = 1
        outer = self.shape[:-3]
        pointers = self.left.pointer, self.right.pointer, self.result
        strides = self.left.strides, self.right.strides, dense((*outer, self.shape[-3], self.shape[-1]))
        self._outer(list(range(len(outer))), pointers, strides)

    def _outer(self, axes: Sequence[int], pointers: tuple[str, str, str], strides: tuple[Shape, Shape, Shape]) -> None:
        """Go through the stacks, then do the product of two matrices."""
        if axes:
            with self._loop(self.shape[axes[0]]) as (i, _):
                moved = [self._at(p, (i, s[axes[0]])) for p, s in zip(pointers, strides, strict=True)]
                self._outer(axes[1:], (moved[0], moved[1], moved[2]), strides)
        elif self.shape[-1] > 1 and (self.right.strides[-1] == 1 or self.right.strides[-2] != 1):
            self._by_columns(*pointers)
        else:
            self._by_sums(*pointers)

    def _by_columns(self, x: str, y: str, z: str) -> None:
        """Of some rows and vectors of columns at once, go along what is summed."""
        code, (rows, summed, columns) = self.code, self.shape[-3:]
        chunks = -(-columns // self.lanes)
        high = min(rows, BLOCK)
        wide = min(chunks, BLOCK // high)
        with self._loop(rows, high) as (i, _), self._loop(columns, wide * self.lanes) as (j, _):
            row = self._last(i, rows, high)
            starts = [self.code.value(f"add i64 {j}, {c * self.lanes}") for c in range(wide)]
            masks = [self._mask(start, columns) if columns % (wide * self.lanes) else "" for start in starts]
            lefts = [self._at(x, (code.value(f"add i64 {row}, {r}"), self.left.strides[-2])) for r in range(high)]
            rights = [self._at(y, (start, self.right.strides[-1])) for start in starts]
            with self._loop(summed) as (k, label):
                code.lanes = self.lanes
                old = [[self._sum(label, f"{r}.{c}") for c in range(wide)] for r in range(high)]
                code.lanes = 1
                found = [
                    self._vector(self._at(p, (k, self.right.strides[-2])), self.right.strides[-1], mask)
                    for p, mask in zip(rights, masks, strict=True)
                ]
                for r, p in enumerate(lefts):
                    one = code.value(f"load {self.kind}, ptr {self._at(p, (k, self.left.strides[-1]))}")
                    code.lanes = self.lanes
                    all_ = code.splat(self.kind, one)
                    for c, vector in enumerate(found):
                        self._add(label, f"{r}.{c}", all_, vector, old[r][c])
                    code.lanes = 1
            for r in range(high):
                for c, start in enumerate(starts):
                    at = self._at(z, (code.value(f"add i64 {row}, {r}"), columns), (start, 1))
                    self._store(f"%{label}.sum{r}.{c}.next", at, masks[c])

    def _by_sums(self, x: str, y: str, z: str) -> None:
        """Of one row and some columns at once, go along what is summed in vectors."""
        code, (rows, summed, columns) = self.code, self.shape[-3:]
        wide = min(columns, BLOCK)
        with self._loop(rows) as (i, _), self._loop(columns, wide) as (j, _):
            column = self._last(j, columns, wide)
            places = [code.value(f"add i64 {column}, {c}") for c in range(wide)]
            left = self._at(x, (i, self.left.strides[-2]))
            rights = [self._at(y, (place, self.right.strides[-1])) for place in places]
            with self._loop(summed, self.lanes) as (k, label):
                code.lanes = self.lanes
                old = [self._sum(label, f"{c}") for c in range(wide)]
                mask = self._mask(k, summed) if summed % self.lanes else ""
                row = self._vector(self._at(left, (k, self.left.strides[-1])), self.left.strides[-1], mask)
                for c, p in enumerate(rights):
                    right = self._vector(self._at(p, (k, self.right.strides[-2])), self.right.strides[-2], mask)
                    self._add(label, f"{c}", row, right, old[c])
                code.lanes = 1
            for c, place in enumerate(places):
                code.lanes = self.lanes
                total = code.across("fadd", self.kind, f"%{label}.sum{c}.next")
                code.lanes = 1
                code.lines.append(f"  store {self.kind} {total}, ptr {self._at(z, (i, columns), (place, 1))}")

    # --- instructions ------------------------------------------------------------------------------------------------
    @contextmanager
    def _loop(self, size: int, step: int = 1) -> Iterator[tuple[str, str]]:
        """A loop over so many places; give its index, and its label."""
        self.count += 1
        code, label = self.code, f"{self.name}.{self.count}"
        code.lines += [f"  br label %{label}.head", f"{label}.head:", f"  br label %{label}", f"{label}:"]
        yield code.value(f"phi i64 [ 0, %{label}.head ], [ %{label}.next, %{label}.end ]", f"%{label}.i"), label
        code.lines += [f"  br label %{label}.end", f"{label}.end:"]
        code.value(f"add i64 %{label}.i, {step}", f"%{label}.next")
        more = code.value(f"icmp ult i64 %{label}.next, {size}")
        code.lines += [f"  br i1 {more}, label %{label}, label %{label}.done", f"{label}.done:"]

    def _at(self, pointer: str, *moves: tuple[str, int]) -> str:
        """An address some strides further."""
        for index, stride in moves:
            if stride:
                far = index if stride == 1 else self.code.value(f"mul i64 {index}, {stride}")
                pointer = self.code.value(f"getelementptr {self.kind}, ptr {pointer}, i64 {far}")
        return pointer

    def _last(self, i: str, size: int, step: int) -> str:
        """Where a block starts: the last is done so that it ends with the matrix, what it shares with others again."""
        if size % step == 0:
            return i
        late = self.code.value(f"icmp ugt i64 {i}, {size - step}")
        return self.code.value(f"select i1 {late}, i64 {size - step}, i64 {i}")

    def _mask(self, start: str, size: int) -> str:
        """Which lanes, from a place on, are before the end."""
        lanes, code = f"<{self.lanes} x i64>", self.code
        left = code.value(f"sub i64 {size}, {start}")
        one = code.value(f"insertelement {lanes} poison, i64 {left}, i64 0")
        all_ = code.value(f"shufflevector {lanes} {one}, {lanes} poison, <{self.lanes} x i32> zeroinitializer")
        steps = ", ".join(f"i64 {i}" for i in range(self.lanes))
        return code.value(f"icmp slt {lanes} <{steps}>, {all_}")

    def _vector(self, pointer: str, stride: int, mask: str) -> str:
        """As many numbers as there are lanes, from an address on."""
        code, before = self.code, self.code.lanes
        code.lanes = self.lanes
        if stride == 1:
            found = code.loaded(self.kind, pointer, mask)
        else:
            steps = ", ".join(f"i64 {i * stride}" for i in range(self.lanes))
            places = code.value(f"getelementptr {self.kind}, ptr {pointer}, <{self.lanes} x i64> <{steps}>")
            found = code.gather(self.kind, places, mask)
        code.lanes = before
        return found

    def _store(self, register: str, pointer: str, mask: str) -> None:
        self.code.lanes = self.lanes
        self.code.stored(self.kind, register, pointer, mask)
        self.code.lanes = 1

    def _sum(self, label: str, name: str) -> str:
        """A sum, as a loop finds it."""
        code, register = self.code, f"%{label}.sum{name}"
        start = code.number(self.kind, 0.0)
        edges = f"[ {start}, %{label}.head ], [ {register}.next, %{label}.end ]"
        return code.value(f"phi {code.type(self.kind)} {edges}", register)

    def _add(self, label: str, name: str, x: str, y: str, old: str) -> None:
        """Add a product to a sum, rounded once."""
        new = self.code.intrinsic("fma", self.kind, x, y, old)
        kind = self.code.type(self.kind)
        self.code.value(f"bitcast {kind} {new} to {kind}", f"%{label}.sum{name}.next")
