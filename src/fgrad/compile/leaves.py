"""Taking calls apart and putting results together: functions written for one structure, many times as fast as a walk.

Knows the kinds of pytrees and of leaves, and how to write Python for them; nothing of programs, guards and derivatives.

A compiled function is called again and again with pytrees of one structure. For that structure these functions are
straight lines of Python, as one would write them by hand; `linecache` has their source, for tracebacks and debuggers.
"""

import builtins
import functools
import itertools
import keyword
import textwrap
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType, MemberDescriptorType
from typing import Final, Literal, TypeAlias, cast

import attrs
import optree

from fgrad import tree
from fgrad.compile.functions import compiled
from fgrad.trace import keyed

Unpack: TypeAlias = Callable[[Sequence[object], Mapping[str, object]], tuple[object, ...] | None]
Pack: TypeAlias = Callable[[Sequence[object]], object]

LOOP_FROM: Final = 65
"""From so many entries of one structure on, a list or tuple is gone through by a loop."""
MOST_LINES: Final = 10_000
"""Where the source would have more lines, the structure is walked instead: to compile so many takes a second."""

DEEPEST: Final = 50
"""Likewise where containers are nested deeper: Python's parser takes 200 brackets."""

_RESERVED: Final = frozenset([*dir(builtins), *keyword.kwlist, "args", "kwargs", "leaves", "unpack", "pack"])
_BUILTINS: Final = {cls: name for name, cls in vars(builtins).items() if isinstance(cls, type)}


def unpacker(args: Sequence[object], kwargs: Mapping[str, object], describe: str = "") -> Unpack:
    """Make the function that gives the leaves of a call like this one, in the order of `tree.flatten`, or None.

    A call is like this one if it has the same structure and leaves of the same kinds: the same places and names of
    arguments, classes, keys in their order, equal static fields; floats, integers, bools and NumPy's numbers of exactly
    these types, arrays of these types, dtypes and shapes, strings that are equal. Other leaves have these types.
    Whatever it is given, the function raises nothing. It keeps no leaf of the example. `describe` names the call in
    tracebacks.

    Static data is compared as it was when the function was made, even if a list of it has been changed since; of
    objects other than Python's containers and NumPy's arrays `==` must tell.

    >>> unpack = unpacker(({"w": (1.0, 2.0)},), {"n": 3})
    >>> unpack(({"w": (4.0, 5.0)},), {"n": 6})
    (4.0, 5.0, 6)
    >>> unpack(({"w": (4.0, 5)},), {"n": 6}) is None
    True
    """
    inputs = keyed(args, kwargs)
    tree.flatten(inputs)  # registers classes
    part = _part(inputs)
    source = _Source()
    if not part.known or part.depth > DEEPEST or not _write_unpack(source, part, len(args)):
        return functools.partial(_walk, part.token)
    return cast("Unpack", source.function("unpack", describe))


def packer(structure: tree.Structure, describe: str = "") -> Pack:
    """Make the function that puts leaves together to a pytree of `structure`, as `tree.unflatten` does.

    Instances of attrs classes and frozen dataclasses are built past `__init__`. The function raises ValueError unless
    it is given as many leaves as there are.

    >>> packer(tree.flatten({"w": (1.0, 2.0), "b": [3.0]})[1])((4.0, 5.0, 6.0))
    {'w': (5.0, 6.0), 'b': [4.0]}
    """
    walk = functools.partial(tree.unflatten, structure)
    try:
        part = _part(walk(range(structure.num_leaves)))
    except Exception:  # a container of the user's that holds no integers
        return walk
    source = _Source()
    if not part.known or part.depth > DEEPEST or not _write_pack(source, part):
        return walk
    return cast("Pack", source.function("pack", describe))


def _walk(token: object, args: Sequence[object], kwargs: Mapping[str, object]) -> tuple[object, ...] | None:
    """What a function written by `unpacker` does, for any structure."""
    try:
        inputs = keyed(args, kwargs)
        leaves, _ = tree.flatten(inputs)
        return tuple(leaves) if _part(inputs).token == token else None
    except Exception:  # whatever a user's class raises: it is no such call
        return None


# What a pytree is.

_Kind: TypeAlias = Literal["leaf", "none", "sequence", "mapping", "record", "other"]


@attrs.frozen(eq=False)
class _Part:
    """A pytree without its leaves: what its class is, how its entries are reached, and what they are.

    `data` is what it has besides: the static fields by name, the other arguments of its class (a defaultdict's
    factory, a deque's length), or a leaf's dtype and shape. Two pytrees are alike if their tokens are equal.
    """

    kind: _Kind
    cls: type
    token: tuple[object, ...]
    data: Mapping[str, object] = attrs.field(factory=dict)
    entries: tuple[object, ...] = ()
    children: "tuple[_Part, ...]" = ()
    order: tuple[object, ...] = ()
    """A mapping's keys as they were put in."""

    # These are found from the bottom up: a deep pytree needs no deep recursion.
    known: bool = attrs.field(init=False, default=attrs.Factory(lambda part: _known(part), takes_self=True))
    """No container in it is one that others taught optree."""
    depth: int = attrs.field(init=False, default=attrs.Factory(lambda part: _depth(part), takes_self=True))
    """How many containers there are one in the other, and a leaf."""
    size: int = attrs.field(init=False, default=attrs.Factory(lambda part: _size(part), takes_self=True))
    """How many leaves there are."""

    @functools.cached_property
    def repeats(self) -> bool:
        """It has many entries, of one structure."""
        first = self.children[0].token if len(self.children) >= LOOP_FROM and self.kind == "sequence" else None
        return first is not None and all(child.token == first for child in self.children)


def _known(part: _Part) -> bool:
    return part.kind != "other" and all(child.known for child in part.children)


def _depth(part: _Part) -> int:
    return 1 + max((child.depth for child in part.children), default=0)


def _size(part: _Part) -> int:
    return 1 if part.kind == "leaf" else sum(child.size for child in part.children)


def _part(x: object) -> _Part:
    """See what a pytree is, of classes that are registered."""
    if optree.tree_is_leaf(x, namespace=tree.NAMESPACE):  # type: ignore[arg-type]  # its PyTree admits no object
        return _leaf(x)
    children, metadata, entries, unflatten = optree.tree_flatten_one_level(x, namespace=tree.NAMESPACE)  # type: ignore[arg-type]  # as above
    cls, parts = type(x), tuple(map(_part, children))
    kind = _container(cls, ours=unflatten.__module__ == tree.unflatten.__module__)
    order: tuple[object, ...] = tuple(cast("Iterable[object]", x)) if kind == "mapping" else ()
    data: dict[str, object] = {}
    if kind == "record":
        data = {name: getattr(x, name) for name in tree.fields(cls) or () if name not in entries}
    elif isinstance(x, deque | defaultdict):
        data = {"maxlen": x.maxlen} if isinstance(x, deque) else {"default_factory": x.default_factory}
    besides = _token(metadata if kind == "other" else data)
    below = itertools.chain.from_iterable(part.token for part in parts)
    token = cls, _token(order), besides, len(parts), *below
    return _Part(kind, cls, token, data, tuple(entries), parts, order)


def _container(cls: type, *, ours: bool) -> _Kind:
    """What kind of container a class is; `ours` if `tree` registered it."""
    if cls is type(None):
        return "none"
    if cls in (list, tuple, deque) or _is_named_tuple(cls):
        return "sequence"
    if cls in (dict, OrderedDict, defaultdict):
        return "mapping"
    return "record" if ours else "other"


def _leaf(x: object) -> _Part:
    """What kind of leaf this is."""
    cls = type(x)
    if cls in (float, int, bool):
        return _Part("leaf", cls, (cls,))
    if cls in (str, bytes):
        return _Part("leaf", cls, (cls, x), {"value": x})
    dtype, shape = getattr(x, "dtype", None), getattr(x, "shape", None)
    if dtype is None or shape is None or (cls.__module__ == "numpy" and _names_dtype(cls, dtype)):
        return _Part("leaf", cls, (cls,))
    data = {"dtype": dtype, "shape": tuple(cast("Iterable[object]", shape))}
    return _Part("leaf", cls, (cls, *data.values()), data)


def _names_dtype(cls: type, dtype: object) -> bool:
    """Whether a class of NumPy's is that of numbers of this dtype alone."""
    return cls.__name__ != "ndarray" and getattr(dtype, "type", None) is cls and getattr(dtype, "kind", "") in "biufc"


def _is_named_tuple(cls: type) -> bool:
    return optree.is_namedtuple_class(cls) and cls.__iter__ is tuple.__iter__  # type: ignore[attr-defined]  # a tuple


def _token(x: object) -> object:
    """A value that is equal for equal data of the same types, and that does not change when `x` is changed."""
    cls = type(x)
    if isinstance(x, float) and cls is float:
        return cls, x.hex()  # nan is nan, and 0.0 is not -0.0
    if cls in (tuple, list):
        return cls, tuple(map(_token, cast("Iterable[object]", x)))
    if isinstance(x, dict) and cls is dict:
        return cls, tuple([(_token(key), _token(value)) for key, value in x.items()])
    if cls in (set, frozenset):
        return cls, frozenset(map(_token, cast("Iterable[object]", x)))
    if cls.__module__ == "numpy" and cls.__name__ == "ndarray":
        dtype, shape = x.dtype, x.shape  # type: ignore[attr-defined]  # an array
        return cls, dtype, shape, _token(x.tolist()) if dtype.hasobject else x.tobytes()  # type: ignore[attr-defined]  # as above
    return cls, x


def _is_fixed(x: object) -> bool:
    """Whether data is as it was for as long as it is the same object, as far as `_token` can tell."""
    cls = type(x)
    if cls in (tuple, frozenset):
        return all(map(_is_fixed, cast("Iterable[object]", x)))
    return cls not in (list, dict, set) and not (cls.__module__ == "numpy" and cls.__name__ == "ndarray")


# How a function is written.


class _Source:
    """The lines of a function, with what its names stand for.

    Nothing of a user's is written as text but names that are plain identifiers; all else is bound to a name.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bound: dict[str, object] = {}
        self._names: dict[str, int] = dict.fromkeys(_RESERVED, 1)
        self._by_id: dict[int, str] = {}
        self._tokens: dict[int, str] = {}
        self._settings: dict[tuple[type, str], str] = {}

    def write(self, line: str, depth: int) -> None:
        """Add a statement, indented, and wrapped where it is long and all breaks are in brackets."""
        indent = "    " * depth
        if len(indent) + len(line) <= 120:
            self.lines.append(indent + line)
            return
        wrapped = textwrap.wrap(
            line,
            120,
            initial_indent=indent,
            subsequent_indent=indent + "    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        nesting = itertools.accumulate(sum(map(row.count, "([{")) - sum(map(row.count, ")]}")) for row in wrapped[:-1])
        self.lines += wrapped if all(nesting) else [indent + line]

    def name(self, hint: str) -> str:
        """A name that is not taken, like `hint` if that is a plain one."""
        hint = hint if _is_plain(hint) and len(hint) <= 60 else "x"
        taken = self._names.get(hint, 0)
        self._names[hint] = taken + 1
        return self.name(f"{hint}_{taken + 1}") if taken else hint

    def bind(self, x: object, hint: str) -> str:
        """The name that stands for `x`: its own if it is a builtin class."""
        if isinstance(x, type) and x in _BUILTINS:
            return _BUILTINS[x]
        if id(x) not in self._by_id:
            self._by_id[id(x)] = name = self.name(hint)
            self.bound[name] = x
        return self._by_id[id(x)]

    def token(self, x: object) -> str:
        """The name that stands for the token of `x`, which is bound too."""
        if id(x) not in self._tokens:
            self._tokens[id(x)] = self.bind(_token(x), "token")
        return self._tokens[id(x)]

    def setting(self, cls: type, field: str) -> str:
        """The call that sets a field of an instance, frozen or not: the slot's own, which is quicker, if it has one."""
        if (cls, field) not in self._settings:
            slot = next((vars(base)[field] for base in cls.__mro__ if field in vars(base)), None)
            if isinstance(slot, MemberDescriptorType):
                call = f"{self.bind(slot.__set__, f'set_{field}')}({{}}, {{}})"
            else:
                call = f"{self.bind(object.__setattr__, 'set_field')}({{}}, {self.bind(field, f'field_{field}')}, {{}})"
            self._settings[cls, field] = call
        return self._settings[cls, field]

    def child(self, name: str, entry: object, place: int) -> str:
        """A name for the entry of what is called `name`."""
        return self.name(f"{name}_{entry if type(entry) is str and _is_plain(entry) else place}")

    def function(self, name: str, describe: str) -> FunctionType:
        """Compile it."""
        return compiled(name, "\n".join(self.lines) + "\n", self.bound, describe)


def _is_plain(name: str) -> bool:
    return name.isidentifier() and name.isascii()


def _is_attribute(name: str) -> bool:
    return _is_plain(name) and not keyword.iskeyword(name)


def _tuple(items: Iterable[str]) -> str:
    """The display of a tuple, also of one or none."""
    first, *rest = [*items] or [""]
    return f"({', '.join([first, *rest])})" if rest or not first else f"({first},)"


# Taking apart.


def _write_unpack(source: _Source, part: _Part, places: int) -> bool:
    """Write the function for a call whose arguments, in one dict, are like `part`; False if it gets too long."""
    source.write("def unpack(args, kwargs):", 0)
    source.write("try:", 1)
    reached = dict(zip(part.entries, part.children, strict=True))
    names: dict[object, str] = {key: source.name(f"arg{key}" if type(key) is int else str(key)) for key in part.order}
    by_place, by_name = part.order[:places], part.order[places:]
    source.write(f"{_tuple(names[key] for key in by_place)} = args", 2)
    _write_keys(source, "kwargs", by_name, 2)
    for key in by_name:
        source.write(f"{names[key]} = kwargs[{source.bind(key, f'key_{key}')}]", 2)
    _write_types(source, [(names[key], reached[key]) for key in part.order], 2)
    found = [leaf for key in part.entries for leaf in _write_leaves(source, names[key], reached[key], 2)]
    source.write(f"return {_tuple(found)}", 2)
    source.write("except Exception:  # such as an entry or attribute that is not there: no such call", 1)
    source.write("return None", 2)
    return len(source.lines) <= MOST_LINES


def _write_unless(source: _Source, condition: str, depth: int) -> None:
    source.write(f"if {condition}:", depth)
    source.write("return None", depth + 1)


def _write_keys(source: _Source, name: str, order: Sequence[object], depth: int) -> None:
    """Write the check of a dict's keys: most are the very same strings."""
    if not order:
        _write_unless(source, name, depth)
        return
    keys = [source.name("key") for _ in order]
    source.write(f"{_tuple(keys)} = {name}", depth)
    for found, key in zip(keys, order, strict=True):
        _write_same(source, found, key, f"key_{key}" if type(key) is str else "key", depth)


def _write_same(source: _Source, found: str, x: object, hint: str, depth: int) -> None:
    """Write the check that data is as it was."""
    fixed = _is_fixed(x)
    token = source.token(x) if fixed else source.bind(_token(x), "token")
    differs = f"{source.bind(_token, 'token_of')}({found}) != {token}"
    _write_unless(source, f"{found} is not {source.bind(x, hint)} and {differs}" if fixed else differs, depth)


def _write_types(source: _Source, parts: Iterable[tuple[str, _Part]], depth: int) -> None:
    """Write the check of several values' classes, those of one class in one comparison."""
    by_class: dict[type, list[str]] = {}
    for name, part in parts:
        by_class.setdefault(part.cls, []).append(name)
    for cls, names in by_class.items():
        bound = source.bind(cls, cls.__name__)
        chain = f"not ({bound} is {' is '.join(f'type({name})' for name in names)})"
        _write_unless(source, chain if names[1:] else f"type({names[0]}) is not {bound}", depth)


def _write_leaves(source: _Source, name: str, part: _Part, depth: int) -> list[str]:
    """Write the checks of a value whose class is right; give its leaves, as items of a tuple display."""
    if part.kind == "leaf":
        _write_leaf(source, name, part, depth)
        return [name]
    if part.kind == "mapping":
        _write_keys(source, name, part.order, depth)
    for field, value in part.data.items():
        _write_same(source, _attribute(source, name, field), value, f"{part.cls.__name__}_{field}", depth)
    if part.repeats:
        return _write_loop(source, name, part, depth)
    names = [source.child(name, entry, i) for i, entry in enumerate(part.entries)]
    if part.kind == "sequence":
        source.write(f"{_tuple(names)} = {name}", depth)
    for child, entry in zip(names, part.entries, strict=True):
        if part.kind == "mapping":
            source.write(f"{child} = {name}[{source.bind(entry, 'key')}]", depth)
        elif part.kind == "record":
            source.write(f"{child} = {_attribute(source, name, cast('str', entry))}", depth)
    parts = list(zip(names, part.children, strict=True))
    _write_types(source, parts, depth)
    return [leaf for child, below in parts for leaf in _write_leaves(source, child, below, depth)]


def _write_leaf(source: _Source, name: str, part: _Part, depth: int) -> None:
    if "value" in part.data:
        _write_same(source, name, part.data["value"], "text", depth)
    elif "dtype" in part.data:
        dtype, shape = part.data["dtype"], part.data["shape"]
        bound = source.bind(dtype, str(dtype))
        lengths = cast("tuple[object, ...]", shape)
        literal = repr(lengths) if all(type(n) is int for n in lengths) else source.bind(shape, "shape")
        same = f"({name}.dtype is {bound} or {name}.dtype == {bound})"  # comparing takes longer
        _write_unless(source, f"not ({same} and {name}.shape == {literal})", depth)


def _write_loop(source: _Source, name: str, part: _Part, depth: int) -> list[str]:
    """Write one check for all entries of a sequence."""
    below, child, found = part.children[0], source.name(f"{name}_i"), ""
    _write_unless(source, f"len({name}) != {len(part.children)}", depth)
    if below.kind not in ("leaf", "none"):
        found = source.name(f"{name}_leaves")
        source.write(f"{found} = []", depth)
    source.write(f"for {child} in {name}:", depth)
    _write_types(source, [(child, below)], depth + 1)
    leaves = _write_leaves(source, child, below, depth + 1)
    if found:
        source.write(f"{found} += {_tuple(leaves)}", depth + 1)
    return [f"*{found or name}"] if below.kind != "none" else []


def _attribute(source: _Source, name: str, field: str) -> str:
    if _is_attribute(field):
        return f"{name}.{field}"
    return f"getattr({name}, {source.bind(field, 'field')})"


# Putting together.


def _write_pack(source: _Source, part: _Part) -> bool:
    """Write the function that makes a pytree like `part`; False if it gets too long."""
    source.write("def pack(leaves):", 0)
    source.write(f"if len(leaves) != {part.size}:", 1)
    source.write(f'raise ValueError(f"{{len(leaves)}} leaves where there are {part.size}")', 2)
    result = _write_block(source, "leaves", part, source.name("tree"), 1)
    source.write(f"return {result}", 1)
    return len(source.lines) <= MOST_LINES


@attrs.define(eq=False)
class _Leaves:
    """A sequence of leaves, by its name in the source, and the names of those that have one: a loop's have none."""

    name: str
    taken: list[str | None] = attrs.field(factory=list)

    def slice(self, start: int, stop: int) -> str:
        return self.name if stop - start == len(self.taken) else f"{self.name}[{start}:{stop}]"

    def take(self, number: int) -> range:
        """Leave the next ones to a loop."""
        start = len(self.taken)
        self.taken += [None] * number
        return range(start, start + number)


def _write_block(source: _Source, leaves: str, part: _Part, name: str, depth: int) -> str:
    """Write what makes a pytree of all the leaves that are called so; give the expression for it."""
    here, before, source.lines = _Leaves(leaves), source.lines, []
    result = _write_tree(source, here, part, name, depth)
    before, source.lines = source.lines, before
    for _, run in itertools.groupby(enumerate(here.taken), lambda item: item[1] is not None):
        places = dict(run)
        names = [found for found in places.values() if found is not None]
        if names:
            source.write(f"{_tuple(names)} = {here.slice(min(places), max(places) + 1)}", depth)
    source.lines += before
    return result


def _write_tree(source: _Source, leaves: _Leaves, part: _Part, name: str, depth: int) -> str:
    """Write what must come before the expression for a pytree of the next leaves; give that."""
    if part.kind == "leaf":
        leaves.taken.append(name)
        return name
    if part.kind == "none":
        return "None"
    if part.repeats:
        return _sequence(source, part, [_write_repeats(source, leaves, part, name, depth)])
    names = [source.child(name, entry, i) for i, entry in enumerate(part.entries)]
    made = [_write_tree(source, leaves, below, child, depth) for child, below in zip(names, part.children, strict=True)]
    if part.kind == "sequence":
        return _sequence(source, part, made)
    values = dict(zip(part.entries, made, strict=True))
    if part.kind == "mapping":
        return _mapping(source, part, values)
    return _write_record(source, part, values, name, depth)


def _write_repeats(source: _Source, leaves: _Leaves, part: _Part, name: str, depth: int) -> str:
    """Write a loop that makes a list of all entries; give it as an item of a display."""
    below = part.children[0]
    taken = leaves.take(part.size)
    if below.kind == "leaf":
        return f"*{leaves.name}[{taken.start}:{taken.stop}]"
    items, few = source.name(f"{name}_all"), source.name(f"{name}_i")
    here = f"{leaves.name}[{taken.start}:{taken.stop}]"
    groups = f"zip(*[iter({here})] * {below.size})" if below.size else f"range({len(part.children)})"
    source.write(f"{items} = []", depth)
    source.write(f"for {few} in {groups}:", depth)
    source.write(f"{items}.append({_write_block(source, few, below, source.name(few), depth + 1)})", depth + 1)
    return f"*{items}"


def _sequence(source: _Source, part: _Part, made: Sequence[str]) -> str:
    """The expression for a sequence."""
    if part.cls is tuple:
        return _tuple(made)
    if part.cls is list:
        return f"[{', '.join(made)}]"
    cls = source.bind(part.cls, part.cls.__name__)
    if part.cls is deque:
        return f"{cls}({_tuple(made)}, {source.bind(part.data['maxlen'], 'maxlen')})"
    return f"{cls}({', '.join(made)})"


def _mapping(source: _Source, part: _Part, values: Mapping[object, str]) -> str:
    """The expression for a mapping, its keys in their order."""
    keys = {key: repr(key) if type(key) is str and _is_plain(key) else source.bind(key, "key") for key in part.order}
    if part.cls is OrderedDict:
        pairs = "".join(f"({keys[key]}, {values[key]}), " for key in part.order)
        return f"{source.bind(OrderedDict, 'OrderedDict')}(({pairs.rstrip()}))"
    display = f"{{{', '.join(f'{keys[key]}: {values[key]}' for key in part.order)}}}"
    if part.cls is defaultdict:
        factory = source.bind(part.data["default_factory"], "default_factory")
        return f"{source.bind(defaultdict, 'defaultdict')}({factory}, {display})"
    return display


def _write_record(source: _Source, part: _Part, values: Mapping[object, str], name: str, depth: int) -> str:
    """Write what makes an instance, past `__init__`: converters and validators fail on nodes."""
    cls, new = source.bind(part.cls, part.cls.__name__), source.bind(object.__new__, "new")
    fields = {cast("str", field): value for field, value in values.items()}
    fields |= {field: source.bind(x, f"{part.cls.__name__}_{field}") for field, x in part.data.items()}
    source.write(f"{name} = {new}({cls})", depth)
    for field, value in fields.items():
        source.write(source.setting(part.cls, field).format(name, value), depth)
    return name
