"""Boxes and arrows for a walkthrough: one for each value, or, where these are too many, one for many.

Knows which values belong together: those that lead to a name, those of a layer, those that follow one another; nothing
of how boxes are drawn.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, TypeAlias

import attrs

from fgrad.show.walkthrough import Quantity, Walkthrough

Key: TypeAlias = tuple[str, str]
"""What a box is: of which sort, and its title."""
_FEW: Final = 24  # boxes that a folded graph has at most: a picture to be taken in at a glance


@attrs.frozen(eq=False)
class Box:
    """Some values in one box: a single one, or all that belong to `title`."""

    title: str
    members: tuple[Quantity, ...]
    cluster: str = ""
    """The layer that a single argument belongs to."""


@attrs.frozen
class Link:
    """An arrow between two boxes, by their places; `uses` of values it stands for."""

    tail: int
    head: int
    uses: int = 1


def fold(walked: Walkthrough, limit: int) -> tuple[list[Box], list[Link]]:
    """Give the boxes in forward order and the arrows in the order of operands, with repeats where nothing is folded."""
    quantities = walked.quantities
    if len(quantities) <= limit:
        boxes = [Box(q.name, (q,), next(reversed(_layers(q.groups)), "")) for q in quantities]
        uses = [(x.source, q.index) for q in quantities for x in q.operands]
        return boxes, [Link(tail, head) for tail, head in uses if tail is not None]
    few = min(limit, _FEW)
    by = (_by_name, _by_layer)
    keys = next((found for find in by if (found := find(walked, few)) and 1 < len(set(found)) <= few), None)
    return _folded(quantities, keys or _by_part(walked, few))


def _folded(quantities: Sequence[Quantity], keys: Sequence[Key]) -> tuple[list[Box], list[Link]]:
    """One box for each key, and one arrow for all uses between two of them."""
    members: dict[Key, list[Quantity]] = {}
    for q, key in zip(quantities, keys, strict=True):
        members.setdefault(key, []).append(q)
    place = {key: i for i, key in enumerate(members)}
    uses = Counter(
        (place[keys[x.source]], place[key])
        for q, key in zip(quantities, keys, strict=True)
        for x in q.operands
        if x.source is not None and keys[x.source] != key
    )
    boxes = [Box(title, tuple(qs)) for (_, title), qs in members.items()]
    return boxes, [Link(tail, head, n) for (tail, head), n in uses.items()]


def _layers(groups: tuple[str, ...]) -> tuple[str, ...]:
    """The containers of a leaf, without the tuple of numbers that it lies in where something else holds that."""
    return groups[:-1] if len(groups) > 2 and not groups[-1].endswith("]") else groups


def _by_name(walked: Walkthrough, few: int) -> list[Key]:
    """Every value goes to the first that has a name, or is returned, of those it leads to; arguments by containers."""
    quantities = walked.quantities
    if not any(q.kind == "named" for q in quantities):
        return []
    goal = [len(quantities)] * len(quantities)
    for q in reversed(quantities):
        if q.kind == "named" or q.index in walked.result:
            goal[q.index] = q.index
        for x in q.operands:
            if x.source is not None:
                goal[x.source] = min(goal[x.source], goal[q.index])
    made = {q.index: quantities[goal[q.index]].name for q in quantities if q.kind != "input"}
    containers = _containers(quantities, few - len(set(made.values())))
    return [("to", made[q.index]) if q.index in made else ("in", containers[q.index]) for q in quantities]


def _by_layer(walked: Walkthrough, few: int) -> list[Key]:
    """Every value goes to the last layer whose parameters it depends on; other arguments by containers.

    The layers are the containers within the argument that has the deepest.
    """
    quantities = walked.quantities
    depths = [len(q.groups) for q in quantities]
    if max(depths) < 2:
        return []
    model = quantities[depths.index(max(depths))].groups[0]
    containers = _containers(quantities, few - 1)
    layers = [*dict.fromkeys(containers[q.index] for q in quantities if q.groups[:1] == (model,))]
    keys: list[Key] = []
    ranks: list[int] = []
    for q in quantities:
        own = layers.index(containers[q.index]) if q.groups[:1] == (model,) else -1
        rank = max([own, *[ranks[x.source] for x in q.operands if x.source is not None]])
        ranks.append(rank)
        keys.append(("in", layers[rank] if rank >= 0 else containers.get(q.index, "before the layers")))
    return keys if len(layers) > 1 else []


def _by_part(walked: Walkthrough, few: int) -> list[Key]:
    """Parts of equal length, in forward order."""
    names = [q.name for q in walked.quantities]
    length = -(-len(names) // few)
    parts = [names[i : i + length] for i in range(0, len(names), length)]
    return [("part", f"{part[0]} … {part[-1]}") for part in parts for _ in part]


def _containers(quantities: Sequence[Quantity], few: int) -> dict[int, str]:
    """For each argument a container: so few as the largest families, taken together, make them."""
    chains = {q.index: _layers(q.groups) or (q.name,) for q in quantities if q.kind == "input"}
    sizes = Counter(chain[: end + 1] for chain in chains.values() for end in range(len(chain)))
    found = dict(chains)
    while len(different := {*found.values()}) > few:
        families = Counter(chain[:-1] for chain in different if len(chain) > 1)
        if not families:
            break
        ((family, _),) = families.most_common(1)
        depth = len(family)  # all families as deep in that argument: the neurons of every layer, not of one
        found |= {i: chain[:depth] for i, chain in found.items() if chain[0] == family[0]}
    for i, chain in found.items():
        while len(chain) > 1 and sizes[chain[:-1]] == sizes[chain]:
            chain = chain[:-1]  # a container of one other says no less
        found[i] = chain
    return {i: chain[-1] for i, chain in found.items()}
