"""The forms that steps take where they are done natively: what is joined, or summed up part by part, in place.

Knows which steps put numbers among others; nothing of where these are in memory.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, cast

from fgrad.compile.rewrite import Draft, Typed, live
from fgrad.graph import Link, Step
from fgrad.node import TABLE, Op
from fgrad.ops.selecting import Span


def _put(whole: Any, x: object, index: tuple[object, ...], added: bool) -> Any:
    found = whole.copy()
    places = tuple([slice(p.start, p.stop, p.step) if isinstance(p, Span) else p for p in index])
    found[places] = found[places] + x if added else x
    return found


PUT: Final = Op("put", _put)
"""An array in which some numbers are replaced by others, or those are added to them, in its own place."""


def native_forms(typed: Typed) -> Typed:
    """Joined arrays as parts put in their places; sums of scattered parts, as a gradient by `x[i]` has, likewise."""
    names = {op.name for op, _, _ in typed.program.steps}
    if "concat" not in names and "scatter" not in names:
        return typed
    draft, uses = Draft(typed), _uses(typed)
    once: set[int] = set()  # the new places of values that are used once
    for i, (op, parents, params, kind) in enumerate(draft.walk(), typed.program.arity):
        link = None
        if op is TABLE["concat"] and kind.floating and all(draft.kind(x).dtype == kind.dtype for x in parents):
            link = _joined(draft, parents, cast("int", params[0]), i)
        elif op is TABLE["add"] and kind.floating and all(draft.kind(x) == kind for x in parents):
            x, y = parents
            link = _added(draft, x, y, once) or _added(draft, y, x, once)
        draft.now.append(link or draft.append(op, parents, params, kind))
        if uses[i] == 1:
            once.add(cast("Link", draft.now[-1]).place)
    return live(draft.done(changed=True))


def _uses(typed: Typed) -> Counter[int]:
    xs = [x for _, parents, _ in typed.program.steps for x in parents]
    return Counter([x.place for x in (*xs, *typed.program.outputs) if type(x) is Link])


def _joined(draft: Draft, parents: Sequence[object], axis: int, place: int) -> Link:
    """Arrays along an axis: the first among zeros, the others put beside it."""
    kind, start = draft.old.kinds[place], 0
    link: Link | None = None
    for x in parents:
        size = draft.kind(x).shape[axis]
        index = (*[Span(None, None, None)] * axis, Span(start, start + size, None))
        start += size
        if not size:
            continue
        if link is None:
            link = draft.append(TABLE["scatter"], (x,), (kind.shape, index), kind)
        else:
            link = draft.append(PUT, (link, x), (index, False), kind)
    return link or draft.append(TABLE["concat"], tuple(parents), (axis,), kind)


def _added(draft: Draft, whole: object, part: object, once: set[int]) -> Link | None:
    """The sum of an array, which nothing else needs, and of a scattered part."""
    one, other = _scattered(draft, part), _scattered(draft, whole)
    if one is None or type(whole) is not Link:
        return None
    if other is not None and whole.place not in once:
        whole = draft.append(*other, draft.kind(whole))
    elif whole.place not in once or not _is_new(draft, whole):
        return None
    _, (x,), (_, index) = one
    return draft.append(PUT, (whole, x), (index, True), draft.kind(whole))


def _is_new(draft: Draft, x: Link) -> bool:
    """Whether a value is no argument, and no view of another."""
    if x.place < draft.arity:
        return False
    op = draft.steps[x.place - draft.arity][0]
    return op is PUT or op.scalar is not None or op.name in ("where", "scatter", "matmul", "sum")


def _scattered(draft: Draft, x: object) -> Step | None:
    """The step that scattered a part among zeros, if one did, to places that it knows."""
    if type(x) is not Link or x.place < draft.arity:
        return None
    step = draft.steps[x.place - draft.arity]
    return step if step[0] is TABLE["scatter"] and len(step[1]) == 1 else None
