"""Pytrees: nested dicts, lists, tuples, named tuples, attrs classes, frozen dataclasses and None, as data.

Knows how to take such a value apart and put it together again (a typed face on optree); nothing of derivatives.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from threading import Lock
from typing import Final, TypeAlias, TypeVar, cast, overload

import attrs
import optree

from fgrad import errors

T = TypeVar("T")
Structure: TypeAlias = optree.PyTreeSpec

STATIC: Final = {"fgrad.static": True}
"""Metadata that marks a field as static: ``dataclasses.field(default="tanh", metadata=tree.STATIC)``."""

NAMESPACE: Final = "fgrad"
"""Where optree finds the classes that are registered here."""
_leaf_types: Final[set[type]] = {float, int, bool, str, bytes, complex, object}  # a memo: types seen to be leaves
_registering: Final = Lock()


@overload
def static(default: T) -> T: ...
@overload
def static(*, factory: Callable[[], T]) -> T: ...
@overload
def static() -> T: ...  # type: ignore[type-var]  # no default: the field's annotation says what it is
def static(default: object = attrs.NOTHING, *, factory: Callable[[], object] | None = None) -> object:
    """Declare a field of an attrs class that travels in the structure and is never differentiated.

    >>> @attrs.frozen
    ... class Dense:
    ...     w: float
    ...     activation: str = static("tanh")
    >>> leaves(Dense(2.0))
    [2.0]
    """
    if factory is not None:
        return attrs.field(factory=factory, metadata=STATIC)
    return attrs.field(default=default, metadata=STATIC)


def flatten(tree: object) -> tuple[list[object], Structure]:
    """Take a pytree apart into its leaves, in order, and its structure.

    >>> flatten({"b": 1.0, "a": (2.0, None)})[0]
    [2.0, 1.0]
    """
    leaves: list[object]
    leaves, structure = optree.tree_flatten(tree, namespace=NAMESPACE)  # type: ignore[arg-type]  # its PyTree admits no object
    for leaf in leaves:
        if type(leaf) not in _leaf_types and _register(type(leaf)):
            return flatten(tree)
    return leaves, structure


def unflatten(structure: Structure, leaves: Iterable[object]) -> object:
    """Put a pytree together again; dicts keep the key order of the tree that was taken apart."""
    return optree.tree_unflatten(structure, leaves)


def leaves(tree: object) -> list[object]:
    """List the leaves of a pytree, in order."""
    return flatten(tree)[0]


def map(f: Callable[..., object], tree: T, *rest: object) -> T:
    """Apply `f` to corresponding leaves of trees of one structure, and give a tree of that structure.

    Raises `StructureError`, which names the first path that differs.

    >>> map(lambda x, y: x + y, {"w": 1.0, "b": 2.0}, {"w": 10.0, "b": 20.0})
    {'w': 11.0, 'b': 22.0}
    """
    first, structure = flatten(tree)
    columns = [first, *(matching_leaves(structure, other) for other in rest)]
    return unflatten(structure, [f(*row) for row in zip(*columns, strict=True)])  # type: ignore[return-value]  # the structure is T's


def matching_leaves(structure: Structure, tree: object, root: str = "tree") -> list[object]:
    """List the leaves of `tree`, which must have `structure`; else a `StructureError` names where they part."""
    leaves, other = flatten(tree)
    if other == structure:
        return leaves
    expected, found = paths(structure, root), paths(other, root)
    where = next((a for a, b in zip(expected, found, strict=False) if a != b), None)
    if where is None:
        longer = expected if len(expected) > len(found) else found
        where = longer[min(len(expected), len(found))] if len(expected) != len(found) else root
    raise errors.StructureError(
        f"two trees differ at {where}: expected {structure}, got {other}: "
        "write the same keys and as many entries, with a number or array for each *"
    )


def paths(structure: Structure, root: str | Callable[[object], str] = "tree") -> list[str]:
    """Name every leaf as Python would reach it; a function names each entry of a tuple or dict, as a root.

    >>> paths(flatten({"layers": [(1.0, 2.0)]})[1], "params")
    ["params['layers'][0][0]", "params['layers'][0][1]"]
    >>> paths(flatten({"x": (1.0, 2.0), "y": 3.0})[1], str)
    ['x[0]', 'x[1]', 'y']
    """
    accessors = optree.treespec_accessors(structure)
    if isinstance(root, str):
        return [accessor.codify(root) for accessor in accessors]
    named = functools.cache(root)
    return [accessor[1:].codify(named(accessor[0].entry)) for accessor in accessors]


def named_leaves(tree: object, root: str = "tree") -> dict[str, object]:
    """Every leaf by its path.

    >>> named_leaves({"w": 1.0}, "params")
    {"params['w']": 1.0}
    """
    leaves, structure = flatten(tree)
    return dict(zip(paths(structure, root), leaves, strict=True))


def fields(cls: type) -> dict[str, bool] | None:
    """Which fields of a class are static, for an attrs class or a frozen dataclass; None: its instances are leaves."""
    if getattr(cls, "__array_ufunc__", None) is not None:
        return None  # a class that speaks NumPy's protocol is an array, whatever it is made of
    found: Sequence[attrs.Attribute[object] | dataclasses.Field[object]]
    if attrs.has(cls):
        found = cast("tuple[attrs.Attribute[object], ...]", attrs.fields(cls))
    elif dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]  # typeshed hides it
        found = dataclasses.fields(cls)
    else:
        return None
    return {field.name: "fgrad.static" in field.metadata for field in found}


def _register(cls: type) -> bool:
    """Teach optree a class at first sight; False if its instances are leaves."""
    found = fields(cls)
    if found is None:
        _leaf_types.add(cls)
        return False
    children = tuple([name for name, is_static in found.items() if not is_static])
    statics = tuple([name for name, is_static in found.items() if is_static])
    fields_in_order, new, set_field = children + statics, object.__new__, object.__setattr__

    def take_apart(tree: object) -> tuple[list[object], tuple[object, ...], tuple[str, ...]]:
        return [getattr(tree, name) for name in children], tuple([getattr(tree, name) for name in statics]), children

    def put_together(values: Hashable | None, leaves: Iterable[object]) -> Collection[object]:
        # Past __init__: converters, validators and post-init hooks are for users' numbers and fail on nodes.
        tree: object = new(cls)
        for name, value in zip(fields_in_order, (*leaves, *cast("tuple[object, ...]", values)), strict=True):
            set_field(tree, name, value)
        return cast("Collection[object]", tree)  # what optree calls any container

    with _registering:
        try:
            optree.register_pytree_node(
                cls, take_apart, put_together, path_entry_type=optree.GetAttrEntry, namespace=NAMESPACE
            )
        except ValueError:
            return True  # another thread was first, or the class is a built-in pytree
    return True
