"""Ops with several results: their node holds a tuple, and the row `item` selects from it.

Knows how derivatives of several results are kept, sparsely: absence is zero; nothing of what any op computes.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import cast

import attrs

from fgrad.node import Node, Op, Rule, Value, apply, table


@attrs.frozen(eq=False)
class Parts:
    """Cotangents, or tangents, of some of an op's results, by their places."""

    of: Mapping[int, Value]

    def get(self, i: int) -> Value | None:
        """That of result i; None, which is zero, if nothing flows there."""
        return self.of.get(i)

    def __add__(self, other: "Parts") -> "Parts":
        both = {i: g + other.of[i] if i in other.of else g for i, g in self.of.items()}
        return Parts({**other.of, **both})


_item: Op = Op(
    "item",
    lambda results, i: results[i],
    vjp=lambda wanted, g, ans, args, params: [cast("Value", Parts({params[0]: g}))],
    jvp=lambda ts, ans, args, params: ts[0].get(params[0]),
    batch=lambda op, args, batched, params, size: item(args[0], params[0]),
)
table["item"] = _item


def item(results: object, i: int) -> Value:
    """Result i of an op that has several, from its tuple or from the node that holds it."""
    return apply(_item, (results,), (i,)) if type(results) is Node else results[i]  # type: ignore[index]  # a tuple


def several(
    name: str,
    impl: Callable[..., tuple[object, ...]],
    *,
    vjp: Callable[..., Iterable[Value | None]],
    jvp: Callable[..., Parts],
    batch: Rule,
) -> Op:
    """Make a row of several results: its rules see all arguments at once, as an `Op`'s do, and `g` as `Parts`."""
    op = table[name] = Op(name, cast("Rule", impl), vjp=vjp, jvp=cast("Rule", jvp), batch=batch)
    return op
