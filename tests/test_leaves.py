"""Calls taken apart and results put together by functions written for their structure, as laws."""

import enum
import gc
import linecache
import traceback
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple, NoReturn

import attrs
import numpy as np
import optree
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fgrad import micro, nn, tree
from fgrad.compile.leaves import DEEPEST, LOOP_FROM, packer, unpacker
from fgrad.random import Key
from fgrad.trace import keyed, trace


class Colour(enum.Enum):
    RED = 1


class Text(str):
    __slots__ = ()


class Point(NamedTuple):
    x: object
    y: object


@attrs.frozen
class Slotted:
    left: object
    right: object = attrs.field(default=0.0)
    kind: object = tree.static("tanh")

    def __attrs_post_init__(self) -> None:
        if isinstance(self.left, int):
            raise TypeError("post-init ran")


@attrs.frozen(slots=False)
class Open:
    a: object
    note: object = tree.static(None)


@dataclass(frozen=True)
class Frozen:
    a: object
    kind: object = field(default=1, metadata=tree.STATIC)


@dataclass(frozen=True, slots=True)
class FrozenSlotted:
    a: object
    kind: object = field(default=1, metadata=tree.STATIC)


@attrs.frozen
class Below(Slotted):
    more: object = 1.0


class Registered(tuple[object, ...]):
    """A container that its author taught optree."""

    __slots__ = ()


optree.register_pytree_node(Registered, lambda x: (tuple(x), "r"), lambda _, xs: Registered(xs), namespace="fgrad")


def same(x: object, y: object) -> bool:
    """Whether two pytrees are of the same classes, keys in order, statics and very leaves."""
    if type(x) is not type(y):
        return False
    if isinstance(x, dict) and isinstance(y, dict):
        keys = len(x) == len(y) and all(
            a is b or (type(a) is type(b) is str and a == b) for a, b in zip(x, y, strict=True)
        )
        factories = getattr(x, "default_factory", None) is getattr(y, "default_factory", None)
        return keys and factories and all(map(same, x.values(), y.values()))
    if isinstance(x, list | tuple | deque) and isinstance(y, list | tuple | deque):
        lengths = len(x) == len(y) and getattr(x, "maxlen", None) == getattr(y, "maxlen", None)
        return lengths and all(map(same, x, y))
    if isinstance(x, Slotted | Open | Frozen | FrozenSlotted):
        names = list(x.__class__.__annotations__)
        names += ["left", "right", "kind"] if isinstance(x, Below) else []
        return all(same(getattr(x, name), getattr(y, name)) for name in names)
    return x is y


LEAVES = st.one_of(
    st.floats(),
    st.integers(),
    st.booleans(),
    st.sampled_from([np.ones((2, 3)), np.zeros(0, "f4"), np.ones(()), np.float32(1.0), np.float64(2.0), np.int64(3)]),
)
KEYS = st.one_of(st.text(max_size=3), st.integers(-2, 300), st.sampled_from(['"', "'", "\n", "class", "leaves", "x"]))
STATICS = st.one_of(st.none(), st.floats(), st.text(max_size=3), st.lists(st.integers(0, 2), max_size=2), KEYS)


def containers(below: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    few = st.lists(below, max_size=4)
    dicts = st.lists(st.tuples(KEYS, below), max_size=4).map(dict)
    return st.one_of(
        few,
        few.map(tuple),
        few.map(lambda items: deque(items, 7)),
        few.map(lambda x: x[:1] * LOOP_FROM),
        dicts,
        dicts.map(OrderedDict),
        dicts.map(lambda x: defaultdict(list, x)),
        st.builds(Point, below, below),
        st.tuples(below, below, STATICS).map(lambda x: made(Slotted, left=x[0], right=x[1], kind=x[2])),
        st.tuples(below, below).map(lambda x: made(Below, left=x[0], right=x[1], kind=2, more=x[1])),
        st.builds(Open, below, STATICS),
        st.builds(Frozen, below, STATICS),
        st.builds(FrozenSlotted, below, STATICS),
    )


def made(cls: type, **values: object) -> object:
    """An instance past `__init__`."""
    x: object = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(x, name, value)
    return x


TREES = st.recursive(st.one_of(LEAVES, st.none()), containers, max_leaves=12)
CALLS = st.tuples(st.lists(TREES, max_size=3), st.dictionaries(st.text(max_size=3), TREES, max_size=2))
MANY = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


@MANY
@given(CALLS)
def test_unpack_gives_the_leaves_and_pack_undoes_it(call: tuple[list[object], dict[str, object]]) -> None:
    """Unpack gives the leaves; pack ∘ unpack is the identity on classes, keys, statics and leaves."""
    args, kwargs = tuple(call[0]), call[1]
    inputs = keyed(args, kwargs)
    leaves, structure = tree.flatten(inputs)
    found = unpacker(args, kwargs)(args, kwargs)
    assert type(found) is tuple
    assert len(found) == len(leaves)
    assert all(x is y for x, y in zip(found, leaves, strict=True))
    assert same(packer(structure)(found), tree.unflatten(structure, leaves))
    assert same(packer(structure)(found), inputs)


@MANY
@given(TREES, TREES)
def test_written_and_walked_agree(x: object, y: object) -> None:
    """On any pair, the function that is written tells like from unlike as the walk does."""
    walked = unpacker((x, Registered()), {})
    assert (unpacker((x,), {})((y,), {}) is None) == (walked((y, Registered()), {}) is None)
    assert walked((x, Registered()), {}) is not None


ONES = np.ones((2, 3))
NAN = float("nan")
DIFFERENT: list[tuple[object, object]] = [
    (1.0, 1),
    (1, True),
    (True, 1),
    (1.0, np.float64(1.0)),
    (1.0, None),
    (None, 1.0),
    (1.0, "1.0"),
    ("a", "b"),
    (1.0, np.array(1.0)),
    (np.float32(1), np.float64(1)),
    (ONES, np.ones((3, 2))),
    (ONES, np.ones(6)),
    (ONES, np.ones((2, 3), "f4")),
    (ONES, np.ones((2, 3), ">f8")),
    (ONES, np.ma.masked_array(np.ones((2, 3)))),
    (ONES, 1.0),
    (ONES, ONES.tolist()),
    ([1.0], (1.0,)),
    ([1.0], [1.0, 2.0]),
    ([1.0, 2.0], [1.0]),
    ([], [1.0]),
    ([1.0], []),
    ((), []),
    ({}, OrderedDict()),
    ({"a": 1.0}, {"b": 1.0}),
    ({"a": 1.0}, {"a": 1.0, "b": 1.0}),
    ({"a": 1.0, "b": 1.0}, {"b": 1.0, "a": 1.0}),
    ({"a": 1.0}, {Text("a"): 1.0}),
    ({1: 1.0}, {True: 1.0}),
    ({1: 1.0}, {1.0: 1.0}),
    ({(1, 2): 1.0}, {(1, 2.0): 1.0}),
    ({"a": 1.0}, OrderedDict(a=1.0)),
    (defaultdict(float, a=1.0), defaultdict(int, a=1.0)),
    (deque([1.0], 3), deque([1.0], 4)),
    (Point(1.0, 2.0), (1.0, 2.0)),
    (Slotted(1.0), Slotted(1.0, kind="relu")),
    (Slotted(1.0, kind=1), Slotted(1.0, kind=True)),
    (Slotted(1.0, kind=0.0), Slotted(1.0, kind=-0.0)),
    (Slotted(1.0, kind=(1, 2)), Slotted(1.0, kind=(1, 2.0))),
    (Slotted(1.0, kind=[1, 2]), Slotted(1.0, kind=[1, 3])),
    (Slotted(1.0, kind={"a": 1, "b": 2}), Slotted(1.0, kind={"b": 2, "a": 1})),
    (Slotted(1.0, kind={1}), Slotted(1.0, kind={2})),
    (Slotted(1.0, kind=ONES), Slotted(1.0, kind=ONES * 2.0)),
    (Slotted(1.0), Below(1.0)),
    (Slotted(1.0), made(Slotted, left=1.0)),
    (Slotted((1.0, 2.0)), Slotted((1.0, 2))),
    (Open(1.0), Frozen(1.0)),
    (Open(1.0), made(Open)),
    (Frozen(1.0), replace(Frozen(1.0), kind=2)),
    (Registered([1.0]), Registered([1.0, 2.0])),
    (Registered([1.0]), Registered([1])),
    ([1.0] * 100, [1.0] * 99),
    ([1.0] * 100, [1.0] * 99 + [1]),
    ([[1.0, 2.0]] * 100, [[1.0, 2.0]] * 99 + [[1.0]]),
    ([[1.0, 2.0]] * 100, [[1.0, 2.0]] * 99 + [[1.0, 2]]),
    ([{"a": ONES}] * 100, [{"a": ONES}] * 99 + [{"a": ONES[:1]}]),
    ([None] * 100, [None] * 99 + [1.0]),
]


@pytest.mark.parametrize(("x", "y"), DIFFERENT)
def test_any_difference_is_none(x: object, y: object) -> None:
    """A call in which one thing is different is no such call, alone, in a container, by name and in a loop."""
    for wrap in (lambda x: x, lambda x: {"a": [x, 1.0]}, lambda x: [(x, 2.0)] * 99, lambda x: Registered([x])):
        args = (wrap(x),)
        assert unpacker(args, {})(args, {}) is not None
        assert unpacker(args, {})((wrap(y),), {}) is None
        assert unpacker((), {"a": args[0]})((), {"a": wrap(y)}) is None


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (1.0, NAN),
        (1, 2),
        (True, False),
        (np.float64(1), np.float64(2)),
        (ONES, np.asfortranarray(np.zeros((2, 3)))),
        ("one two", "one" + " two"[:]),
        (Slotted(1.0, kind=NAN), Slotted(2.0, kind=float("nan"))),
        (Slotted(1.0, kind=[1, 2]), Slotted(2.0, kind=[1, 2])),
        (Slotted(1.0, kind=ONES), Slotted(2.0, kind=ONES.copy())),
        (Slotted(1.0, kind=Colour.RED), Slotted(2.0, kind=Colour.RED)),
        ({"".join(["k", "ey"]): 1.0, 300: 2.0}, {"key": 1.0, int("300"): 2.0}),
    ],
)
def test_values_are_not_looked_at(x: object, y: object) -> None:
    """Only kinds of leaves, and the equality of static data, count."""
    assert unpacker((x,), {"k": x})((y,), {"k": y}) is not None


def test_arguments_have_their_places_and_names() -> None:
    unpack = unpacker((1.0, 2.0), {"z": 3.0, "a": 4.0})
    assert unpack((1.0, 2.0), {"z": 3.0, "a": 4.0}) == (1.0, 2.0, 4.0, 3.0)
    others: list[tuple[tuple[object, ...], Mapping[str, object]]] = [
        ((), {}),
        ((1.0,), {"z": 3.0, "a": 4.0}),
        ((1.0, 2.0, 3.0), {"a": 4.0}),
        ((1.0, 2.0, 5.0), {"z": 3.0, "a": 4.0}),
        ((1.0, 2.0), {"a": 4.0, "z": 3.0}),
        ((1.0, 2.0), {"z": 3.0}),
        ((1.0, 2.0), {"z": 3.0, "b": 4.0}),
        ((1.0, 2.0), {"z": 3.0, "a": 4.0, "b": 5.0}),
    ]
    assert [unpack(args, kwargs) for args, kwargs in others] == [None] * len(others)
    assert unpacker((), {})((), {}) == ()
    assert unpacker((), {})((), {"a": 1.0}) is None


def test_a_node_is_no_number() -> None:
    """Traced values in the place of floats make another call."""
    seen: list[object] = []

    def f(x: float) -> float:
        seen.append(unpacker((1.0, [2.0]), {})((x, [2.0]), {}))
        return x

    trace(f)(1.0)
    assert seen == [None]


class Hostile:
    """A class whose every question raises."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise ZeroDivisionError(name)

    def __eq__(self, other: object) -> NoReturn:
        raise ZeroDivisionError

    def __hash__(self) -> int:
        return 1


def test_nothing_is_raised() -> None:
    """Whatever is passed, a call that is not like the example is None."""
    example = ({"a": [1.0, ONES]}, Slotted(1.0, kind=3), Point(1.0, 2.0), None, "s", [1.0] * 99)
    strange = [Hostile(), Hostile, NotImplemented, object(), "", 1j, {Hostile(): 1.0}, Slotted(1.0, kind=Hostile())]
    for unpack in (unpacker(example, {}), unpacker((*example, Registered()), {})):
        for i in range(len(example)):
            for x in strange:
                assert unpack((*example[:i], x, *example[i + 1 :]), {}) is None
                assert unpack(example, {"a": x}) is None


def test_statics_are_compared_as_they_were() -> None:
    """A list among the static data that is changed in place makes another call, though it is the same list."""
    model = Slotted(1.0, kind=[1, [2]])
    unpack = unpacker((model,), {})
    assert unpack((model,), {}) == (1.0, 0.0)
    model.kind[1].append(3)  # type: ignore[index]  # a list
    assert unpack((model,), {}) is None


def test_hostile_names_are_not_run() -> None:
    """Keys and statics are bound, never written as text, whatever they are."""
    keys: list[object] = ['"', "'''", "\n    raise ValueError", "class", "__debug__", "type", "float", "args", "é", "ﬁ"]
    keys += [Colour.RED, (1, "a"), 3, -1, None, True, 2.5, frozenset({1}), Text("x"), "a" * 500, "", "{}", "{0}", "%s"]
    for wrap in (dict, OrderedDict):
        given = wrap((key, float(i)) for i, key in enumerate(keys))
        kwargs = {key: Slotted(1.0, kind=key) for key in keys if type(key) is str}
        found = unpacker((given,), kwargs, "a\nb\0c")((given,), kwargs)
        inputs = keyed((given,), kwargs)
        leaves, structure = tree.flatten(inputs)
        assert found == tuple(leaves)
        assert same(packer(structure, "\n\0")(found), inputs)


def test_attributes_of_any_name() -> None:
    """Fields named as no source may name them, private or not, are read and set all the same."""
    x = made(WEIRD, **{"class": 1.0, "ﬁ": 2.0, "__private": 3.0})
    args = (x,)
    assert unpacker(args, {})(args, {}) == (1.0, 2.0, 3.0)
    back = packer(tree.flatten(x)[1])((1.0, 2.0, 3.0))
    assert [getattr(back, name) for name in ("class", "ﬁ", "__private")] == [1.0, 2.0, 3.0]


WEIRD = attrs.make_class(
    "Wei rd\n",
    {name: attrs.field(init=False) for name in ("class", "ﬁ", "__private")},
    init=False,
    frozen=True,
    eq=False,
    repr=False,
)


def test_instances_are_built_past_init() -> None:
    """No converter, validator or post-init is run; frozen classes are as frozen as before."""
    pack = packer(tree.flatten(Slotted(1.0))[1])
    assert pack((1, "anything")).left == 1  # type: ignore[attr-defined]  # post-init would have raised
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        pack((1.0, 2.0)).left = 2.0  # type: ignore[attr-defined]  # as above


def test_nothing_of_the_example_is_kept() -> None:
    """Neither function keeps a leaf alive, nor does its source outlive it."""
    for wrap in (lambda x: x, lambda x: Registered([x]), lambda x: [x] * 99):
        array = np.ones(1000)
        args = (wrap({"a": [array], "s": Slotted(array)}),)
        leaves, structure = tree.flatten(args)
        functions = unpacker(args, {}), packer(structure)
        assert functions[0](args, {}) is not None
        gone = weakref.ref(array)
        del array, args, leaves
        gc.collect()
        assert gone() is None
        del functions
    gc.collect()
    before = len(linecache.cache)
    held = [unpacker((1.0,), {}) for _ in range(5)]
    assert len(linecache.cache) == before + 5
    del held
    gc.collect()
    assert len(linecache.cache) == before


def test_source_is_seen_in_a_traceback() -> None:
    pack = packer(tree.flatten({"w": Slotted(1.0)})[1], "loss")
    with pytest.raises(ValueError, match="1 leaves where there are 2") as caught:
        pack((1.0,))
    text = "".join(traceback.format_exception(caught.value))
    assert "raise ValueError(" in text
    assert "pack" in text
    assert ": loss>" in text


def test_any_number_of_wrong_leaves_is_an_error() -> None:
    for value in ([], [1.0], [1.0] * 99, [[1.0, 2.0]] * 99, Registered([1.0])):
        leaves, structure = tree.flatten(value)
        for wrong in ([*leaves, 1.0], leaves[1:]):
            if len(wrong) != len(leaves):
                with pytest.raises(ValueError, match=r"\d"):
                    packer(structure)(tuple(wrong))


def test_what_is_deep_or_long_is_walked() -> None:
    """No size or depth is too much for the parser."""
    deep: object = 1.0
    for _ in range(DEEPEST * 10):
        deep = (deep,)
    keys: Iterable[int] = range(12_000)
    for value in (deep, {i: float(i) for i in keys}):
        leaves, structure = tree.flatten(value)
        assert unpacker((value,), {})((value,), {}) == tuple(leaves)
        assert tree.leaves(packer(structure)(leaves)) == leaves


def test_threads() -> None:
    """Functions may be made and called by many threads at once."""
    model = micro.MLP.init([3, 4, 4, 1])
    leaves, structure = tree.flatten(model)
    unpack, pack = unpacker((model,), {}), packer(structure)

    def work(i: int) -> bool:
        other = pack([float(i)] * len(leaves))
        assert unpacker((other,), {})((other,), {}) == unpack((other,), {})
        return unpack((other,), {}) == (float(i),) * len(leaves)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(100)))


def test_models() -> None:
    """The library's own models go through both functions."""
    for model in (micro.MLP.init([2, 16, 16, 1]), nn.MLP.init(Key(0), [4, 8, 2])):
        leaves, structure = tree.flatten(model)
        found = unpacker((model,), {})((model,), {})
        assert found is not None
        assert all(x is y for x, y in zip(found, leaves, strict=True))
        assert packer(structure)(found) == model
