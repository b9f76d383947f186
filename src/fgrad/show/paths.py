"""Paths from a result back to an input, each with the product of the local derivatives along it.

Knows how to count them all, and how to find the largest, without walking every one; nothing of how they are shown.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, cast

import attrs

from fgrad import errors
from fgrad.ops.elementwise import scale
from fgrad.show.walkthrough import Operand, Quantity, Walkthrough

Edges: TypeAlias = Mapping[int, list[tuple[int, float]]]
"""For each quantity its operands, with the local derivative by each."""


_SHOWN: Final = 24  # steps of a path that are shown


@attrs.frozen
class Path:
    """One way from the result back to an input: the names on it, the local derivatives between them, their product."""

    names: tuple[str, ...]
    partials: tuple[float, ...]
    product: float

    def __str__(self) -> str:
        factors = [f"({p:.6g})" if p < 0 else f"{p:.6g}" for p in self.partials] or ["1"]
        return f"{self.product:.6g} = {'·'.join(_short(factors))}   {' → '.join(_short(self.names))}"


@attrs.frozen
class Paths:
    """The gradient by an input as the sum over all paths: the largest of them, and what the others come to."""

    input: str
    gradient: float
    largest: tuple[Path, ...]
    """Those whose products are greatest in size, in that order."""
    count: int
    """How many paths there are in all."""

    @property
    def others(self) -> int:
        """How many paths are not among the largest."""
        return self.count - len(self.largest)

    @property
    def rest(self) -> float:
        """What these come to together."""
        return self.gradient - sum(path.product for path in self.largest) if self.others else 0.0

    def __str__(self) -> str:
        paths = "1 path" if self.count == 1 else f"{_counted(self.count)} paths"
        lines = [f"gradient by {self.input}: {self.gradient:.6g}, the sum over {paths}"]
        lines += [f"  {path}" for path in self.largest]
        if self.others:
            lines.append(f"  {self.rest:.6g} from {_counted(self.others)} more")
        return "\n".join(lines)

    __repr__ = __str__


def _short(words: Sequence[str]) -> Sequence[str]:
    """Not all words of a long way."""
    return words if len(words) <= _SHOWN else [*words[: _SHOWN // 2], "…", *words[-_SHOWN // 2 :]]


def _counted(n: int) -> str:
    return f"{n:,}" if n < 10**15 else f"about 10^{math.log10(n):.0f}"


def find(walked: Walkthrough, name: str, most: int = 5) -> Paths:
    """Give the paths from the result to the quantity of that name, the `most` largest one by one.

    Raises `ArgumentError` where there is no such name, or arrays lie on the way: a product of numbers is only there
    where all are numbers.
    """
    target = walked[name].index
    if not walked.differentiated:
        raise errors.ArgumentError(f"{walked.function} does not return one number: it has no gradient to take apart")
    edges = _edges(walked, target)
    if not edges.get(walked.result[0] if walked.result else -1) and walked.result != (target,):
        return Paths(name, 0.0, (), 0)
    (start,) = walked.result
    counts = {target: 1}
    best = {target: [_Chain(1.0, target)]}
    for i in sorted(edges):
        counts[i] = sum(counts[x] for x, _ in edges[i])
        longer = [_Chain(scale(p, chain.product), i, p, chain) for x, p in edges[i] for chain in best[x]]
        best[i] = heapq.nlargest(most, longer, key=_Chain.size)
    names = [q.name for q in walked.quantities]
    largest = tuple([chain.path(names) for chain in best[start][:most]])
    return Paths(name, float(cast("float", walked.quantities[target].gradient)), largest, counts[start])


@attrs.frozen(eq=False)
class _Chain:
    """A path from quantity i to the input: its first local derivative, and the rest of it."""

    product: float
    i: int
    partial: float = 1.0
    rest: "_Chain | None" = None

    def size(self) -> float:
        return abs(self.product) if self.product == self.product else math.inf

    def path(self, names: Sequence[str]) -> Path:
        found, partials, chain = [names[self.i]], [], self
        while chain.rest is not None:
            partials.append(chain.partial)
            chain = chain.rest
            found.append(names[chain.i])
        return Path(tuple(found), tuple(partials), self.product)


def _edges(walked: Walkthrough, target: int) -> Edges:
    """The edges that lie on a path from the result to the target."""
    quantities, reached = walked.quantities, {*walked.result}
    for i in range(len(quantities) - 1, target, -1):
        if i in reached:
            reached |= {x.source for x in quantities[i].operands if x.carries and x.source is not None}
    leading, edges = {target}, {}
    for i in sorted(reached - {target}):
        on_way = [x for x in quantities[i].operands if x.carries and x.source in leading]
        if on_way:
            leading.add(i)
            edges[i] = [(cast("int", x.source), _factor(x, quantities[i])) for x in on_way]
    return edges


def _factor(operand: Operand, quantity: Quantity) -> float:
    if operand.partial is None:
        raise errors.ArgumentError(
            f"a path is a product of numbers, and {quantity.name} = {quantity.formula} has arrays on its way: ask for "
            "the paths of a function of single numbers, such as those of fgrad.micro"
        )
    return operand.partial
