"""Surgery on pytrees: change one place of an immutable model, take a model into two parts, see where two models differ.

Knows places in a tree, by the steps that Python takes there; nothing of what the leaves are for.
"""

import ast
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import islice
from operator import index
from reprlib import repr as short
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, NoReturn, Protocol, SupportsIndex, TypeVar, cast, overload

import attrs
import optree

from fgrad import errors
from fgrad.tree.pytrees import NAMESPACE, Structure, fields, flatten, matching_leaves, paths, unflatten

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
U = TypeVar("U")
_HOLE: Final = object()  # stands for a None where a tree is compared with one that has a leaf there
_LISTED: Final = 8  # entries at most that an error lists


# --- places ----------------------------------------------------------------------------------------------------------
class _Step(NamedTuple):
    """From a node to one of its entries: to an attribute, or to an item."""

    key: Hashable
    is_field: bool = False

    def __str__(self) -> str:
        return f".{self.key}" if self.is_field else f"[{self.key!r}]"


def _path(steps: Sequence[_Step]) -> str:
    return "".join([str(step) for step in steps])


@attrs.frozen(repr=False)
class Lens(Generic[T, U]):
    """One place in trees of a class: looks at what is there, and gives trees that have something else there."""

    _steps: tuple[_Step, ...]

    @property
    def path(self) -> str:
        """The place as Python would reach it from the root, such as ``layers[0].w``."""
        return _path(self._steps).removeprefix(".")

    def __repr__(self) -> str:
        return f"at(lambda m: m{_path(self._steps)})"

    def get(self, model: T) -> U:
        """Give what stands there. Raises `StructureError` where the model has no such place."""
        return cast("U", _along(model, self._steps)[0])

    def set(self, model: T, value: U) -> T:
        """Give a model with `value` there, which shares all else with this one.

        Leaves, whole subtrees and static fields can be set. Classes are rebuilt past their ``__init__``. Raises
        `StructureError` where the model has no such place.
        """
        changed: object = value
        for node, step in reversed(_along(model, self._steps)[1]):
            changed = _rebuilt(node, step, changed)
        return cast("T", changed)

    def apply(self, model: T, f: Callable[[U], U]) -> T:
        """Give a model with f(what stands there) there; raises as `set` does."""
        return self.set(model, f(self.get(model)))


class UntypedLens(Protocol):
    """What type checkers know of a lens on the place that a lambda gives: it gives models of the class it is given."""

    @property
    def path(self) -> str:
        """As that of a `Lens`."""
        ...

    def get(self, model: object) -> object:
        """As that of a `Lens`."""
        ...

    def set(self, model: T, value: object) -> T:
        """As that of a `Lens`."""
        ...

    def apply(self, model: T, f: Callable[..., object]) -> T:
        """As that of a `Lens`."""
        ...


@overload
def at(where: "Callable[[Place], Place]") -> UntypedLens: ...  # type: ignore[overload-overlap]  # which is what tells lambdas apart
@overload
def at(where: Callable[[T], U]) -> Lens[T, U]: ...
def at(where: Callable[[T], U]) -> Lens[T, U] | UntypedLens:
    """Give the lens on the place that a function follows attributes and items to, such as ``lambda m: m.layers[0].w``.

    Type checkers know what stands at the place if the function is annotated. Raises `ArgumentError` for a function that
    does anything else.

    >>> last = at(lambda m: m["layers"][-1])
    >>> last.set({"layers": [1.0, 2.0], "rate": 0.1}, 3.0)
    {'layers': [1.0, 3.0], 'rate': 0.1}
    """
    found: object = where(cast("T", Place(())))
    if not isinstance(found, Place):
        raise errors.ArgumentError(
            f"at needs one place, but its function gave {_brief(found)}: "
            "write at(lambda m: m.layers[0].w), one lens for each place"
        )
    return Lens(found.__steps__)


def replace(model: T, path: str, value: object) -> T:
    """Give a model with `value` at a path such as ``layers[0].w``, which shares all else with this one.

    Raises `StructureError` where the model has no such place, and `ArgumentError` for what is no path.

    >>> replace({"w": (1.0, 2.0), "b": 0.0}, "['w'][1]", 5.0)
    {'w': (1.0, 5.0), 'b': 0.0}
    """
    return Lens[T, object](_parsed(path)).set(model, value)


class Place:
    """Stands for a model in the function of `at`, and records which attributes and items are asked for."""

    __slots__ = ("__steps__",)

    def __init__(self, steps: tuple[_Step, ...]) -> None:
        self.__steps__ = steps

    def __getattr__(self, name: str) -> "Place":
        if name.startswith("__"):
            self.__refused()  # NumPy asks whether this is an array
        return Place((*self.__steps__, _Step(name, is_field=True)))

    def __getitem__(self, key: Hashable) -> "Place":
        here = _path(self.__steps__)
        if not _is_key(key):
            raise errors.ArgumentError(f"at: m{here}[{key!r}] is not one place: write an index or a key")
        return Place((*self.__steps__, _Step(key)))

    def __refused(self, *_: object, **__: object) -> NoReturn:
        raise errors.ArgumentError(
            f"at: its function does more with m{_path(self.__steps__)} than to follow attributes and items: "
            "write at(lambda m: m.layers[0].w).apply(model, f) to change what stands there by f"
        )

    __call__ = __bool__ = __iter__ = __len__ = __contains__ = __float__ = __refused
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __abs__ = __refused
    __add__ = __sub__ = __mul__ = __truediv__ = __matmul__ = __pow__ = __mod__ = __floordiv__ = __refused
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rmatmul__ = __rpow__ = __rmod__ = __rfloordiv__ = __refused


def _is_key(key: object) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return not isinstance(key, slice)  # which have a hash from Python 3.12 on


def _parsed(path: str) -> tuple[_Step, ...]:
    steps: list[_Step] = []
    try:
        place = ast.parse(f"_{path}" if path[:1] in ("", "[") else f"_.{path}", mode="eval").body
        while isinstance(place, ast.Attribute | ast.Subscript):
            if isinstance(place, ast.Attribute):
                steps.insert(0, _Step(place.attr, is_field=True))
            else:
                steps.insert(0, _Step(ast.literal_eval(place.slice)))
            place = place.value
        if isinstance(place, ast.Name) and all(_is_key(step.key) for step in steps):
            return tuple(steps)
    except (SyntaxError, ValueError):
        pass
    raise errors.ArgumentError(f"{path!r} is no path: write layers[0].w, or ['w'][0] for dicts; at takes any key")


# --- one level of a tree ---------------------------------------------------------------------------------------------
def _entries(tree: object) -> dict[_Step, object]:
    """What stands right below a node, static fields too; nothing for a leaf."""
    declared = fields(type(tree))
    if declared is not None:
        return {_Step(name, is_field=True): getattr(tree, name) for name in declared}
    children, structure = _one_level(tree)
    accessors = optree.treespec_accessors(structure)
    return {_step(accessor[0]): child for accessor, child in zip(accessors, children, strict=True) if accessor}


def _one_level(tree: object) -> tuple[list[object], Structure]:
    return optree.tree_flatten(tree, lambda x: x is not tree, namespace=NAMESPACE)  # type: ignore[arg-type]  # its PyTree admits no object


def _step(entry: optree.PyTreeEntry) -> _Step:
    if isinstance(entry, optree.NamedTupleEntry | optree.StructSequenceEntry):
        return _Step(entry.field, is_field=True)
    return _Step(entry.entry)


def _rebuilt(tree: object, step: _Step, value: object) -> object:
    """A node with another entry, made past __init__, as all pytrees are."""
    entries = {**_entries(tree), step: value}
    if fields(type(tree)) is None:
        return unflatten(_one_level(tree)[1], entries.values())
    changed: object = object.__new__(type(tree))
    for field, entry in entries.items():
        object.__setattr__(changed, cast("str", field.key), entry)
    return changed


def _along(tree: object, steps: Sequence[_Step]) -> tuple[object, list[tuple[object, _Step]]]:
    """What the steps lead to, and the nodes that they come through, each with its own name of the step."""
    nodes = []
    for i, step in enumerate(steps):
        entries = _entries(tree)
        own = _own(tree, entries, step)
        if own is None:
            raise errors.StructureError(
                f"{_path(steps[:i]).removeprefix('.') or 'the tree'} {_described(tree, entries)} no {step}"
            )
        nodes.append((tree, own))
        tree = entries[own]
    return tree, nodes


def _own(tree: object, entries: dict[_Step, object], step: _Step) -> _Step | None:
    """The step as the node has it: counted from the start, or by the name of a field of a named tuple."""
    if step in entries:
        return step
    if step.is_field or not isinstance(tree, Sequence) or not isinstance(step.key, SupportsIndex):
        return None
    i = index(step.key)
    return list(entries)[i] if -len(entries) <= i < len(entries) else None


def _described(tree: object, entries: dict[_Step, object]) -> str:
    if not entries:
        return f"is {_brief(tree)}, with nothing below it: there is"
    named = [str(step.key) if step.is_field else repr(step.key) for step in islice(entries, _LISTED)]
    kind = "fields" if next(iter(entries)).is_field else "indices" if isinstance(tree, Sequence) else "keys"
    return f"has the {kind} {', '.join(named)}{', …' if len(entries) > _LISTED else ''}; there is"


def _brief(x: object) -> str:
    """A value in a few words."""
    if _entries(x):
        return f"{type(x).__name__}(…)"
    shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
    return short(x) if shape is None else f"{type(x).__name__} {shape} {dtype}"


# --- parts -----------------------------------------------------------------------------------------------------------
def partition(tree: T, where: Callable[[str, object], bool] | Lens[T, U] | UntypedLens) -> tuple[T, T]:
    """Take a tree into two: the leaves that `where` chooses, and the rest, with None in place of all others.

    `where` is a function of a leaf's path, such as ``layers[0].w``, and the leaf; or a lens, which chooses all that
    stands below its place. `combine` undoes it. Raises `StructureError` where the tree has no such place.

    >>> model = {"body": [1.0, 2.0], "head": 3.0}
    >>> trainable, frozen = partition(model, at(lambda m: m["head"]))
    >>> trainable, frozen
    ({'body': [None, None], 'head': 3.0}, {'body': [1.0, 2.0], 'head': None})
    >>> partition(model, lambda path, leaf: path.startswith("['body']"))[0]
    {'body': [1.0, 2.0], 'head': None}
    """
    leaves, structure = flatten(tree)
    if not callable(where):
        marks = [object() for _ in leaves]
        below = {id(leaf) for leaf in flatten(where.get(cast("T", unflatten(structure, marks))))[0]}
        chosen = [id(mark) in below for mark in marks]
    else:
        names = [name.removeprefix(".") for name in paths(structure, "")]
        chosen = [where(name, leaf) for name, leaf in zip(names, leaves, strict=True)]
    first = [leaf if own else None for leaf, own in zip(leaves, chosen, strict=True)]
    second = [None if own else leaf for leaf, own in zip(leaves, chosen, strict=True)]
    return cast("T", unflatten(structure, first)), cast("T", unflatten(structure, second))


def combine(chosen: T, rest: T) -> T:
    """Put together what `partition` took apart: each leaf from the tree that has one.

    Raises `StructureError` where the trees differ otherwise than by None for a leaf, or where both have a leaf.

    >>> combine({"body": [None, None], "head": 3.0}, {"body": [1.0, 2.0], "head": None})
    {'body': [1.0, 2.0], 'head': 3.0}
    """
    leaves, structure = flatten(_with_holes(chosen))
    found = []
    for i, (a, b) in enumerate(zip(leaves, matching_leaves(structure, _with_holes(rest)), strict=True)):
        if a is not _HOLE and b is not _HOLE:
            raise errors.StructureError(f"both trees have a leaf at {paths(structure)[i]}: one must have None there")
        leaf = b if a is _HOLE else a
        found.append(None if leaf is _HOLE else leaf)
    return cast("T", unflatten(structure, found))


def _with_holes(tree: object) -> object:
    """A tree with a leaf in place of each None."""
    flatten(tree)  # which registers the classes in it
    return optree.tree_map(lambda x: _HOLE if x is None else x, tree, is_leaf=lambda x: x is None, namespace=NAMESPACE)  # type: ignore[arg-type]  # as above


# --- differences -----------------------------------------------------------------------------------------------------
class Difference(NamedTuple):
    """Where two trees differ, and how."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path or 'the tree'}: {self.what}"


class Differences(tuple[Difference, ...]):
    """The differences of two trees, which print as lines."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join([str(line) for line in self]) or "no differences"


def diff(a: object, b: object) -> Differences:
    """List where two trees differ, for people to read: classes, static fields, entries, shapes, dtypes, values.

    Empty where they are equal; nan is equal to nan.

    >>> diff({"rate": 0.1, "w": [1.0, 2.0]}, {"w": [1.0, 2.5], "steps": 3})
    ['rate']: 0.1 → nothing
    ['w'][1]: 2.0 → 2.5
    ['steps']: nothing → 3
    """
    return Differences(_differences((), a, b))


def _differences(steps: tuple[_Step, ...], a: object, b: object) -> Iterator[Difference]:
    mine, others = _entries(a), _entries(b)
    if type(a) is not type(b) or not (mine or others):
        what = _unlike(a, b)
        yield from [Difference(_path(steps).removeprefix("."), what)] if what else []
        return
    for step in {**mine, **others}:
        path = (*steps, step)
        if step in mine and step in others:
            yield from _differences(path, mine[step], others[step])
        else:
            first, second = [_brief(x[step]) if step in x else "nothing" for x in (mine, others)]
            yield Difference(_path(path).removeprefix("."), f"{first} → {second}")


def _unlike(a: object, b: object) -> str:
    """How two leaves, or nodes of two classes, differ; nothing if they don't."""
    if type(a) is not type(b):
        first, second = _brief(a), _brief(b)
        return f"{first} → {second}" if first != second else f"{type(a)!r} → {type(b)!r}"
    import numpy as np  # lazily: scripts on floats never load it

    x, y = np.asarray(a), np.asarray(b)
    pairs = ("shape", x.shape, y.shape), ("dtype", x.dtype, y.dtype)
    notes = [f"{name} {p} → {q}" for name, p, q in pairs if p != q and x.dtype.kind not in "SU"]
    if x.shape == y.shape:
        differ = np.asarray((x != y) & ((x == x) | (y == y)))  # nan alone is not itself
        notes += [_how_far(x, y, differ)] if differ.any() else []
    return ", ".join(notes)


def _how_far(x: "NDArray[np.generic]", y: "NDArray[np.generic]", differ: "NDArray[np.bool]") -> str:
    if not x.shape:
        return f"{short(x.tolist())} → {short(y.tolist())}"
    import numpy as np  # lazily: as above

    counted = f"{differ.sum()} of {differ.size} entries differ"
    if x.dtype.kind not in "biufc" or y.dtype.kind not in "biufc":
        return counted
    wide = np.longdouble if x.dtype.kind != "c" and y.dtype.kind != "c" else complex  # integers must not wrap around
    with np.errstate(all="ignore"):
        return f"{counted}, by {np.max(np.abs(x[differ].astype(wide) - y[differ].astype(wide))):.3g} at most"
