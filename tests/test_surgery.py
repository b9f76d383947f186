"""Surgery on pytrees: what is set is what one gets, all else is shared; parts make the whole; differences are named."""

import pickle
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, assert_type

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

import fgrad
from fgrad import grad, nn, tree
from fgrad.errors import ArgumentError, StructureError
from fgrad.random import Key

Floats = NDArray[np.float64]


class Point(NamedTuple):
    x: float
    y: float


@dataclass(frozen=True)
class Pair:
    left: object
    right: object
    kind: str = field(default="k", metadata=tree.STATIC)

    def __post_init__(self) -> None:
        if isinstance(self.left, str):
            raise TypeError("post-init ran")


def as_tuple(values: Any) -> tuple[Any, ...]:
    return tuple(values)


@attrs.frozen
class Model:
    layers: Any = attrs.field(converter=as_tuple)
    options: dict[str, Any]
    bias: float | None = None
    name: str = tree.static("m")


def a_model() -> Model:
    pair = Pair([1.0, 2.0], OrderedDict(z=3.0, a=Point(4.0, 5.0)))
    return Model((pair, deque([6.0]), None), {"rate": 0.1, "deep": {1: 7.0, (2, "k"): 8.0}})


PLACES: dict[str, Callable[[Any], Any]] = {
    "": lambda m: m,
    "layers": lambda m: m.layers,
    "layers[0]": lambda m: m.layers[0],
    "layers[0].left[1]": lambda m: m.layers[0].left[1],
    "layers[-3].left[-1]": lambda m: m.layers[-3].left[-1],
    "layers[0].right['z']": lambda m: m.layers[0].right["z"],
    "layers[0].right['a'].y": lambda m: m.layers[0].right["a"].y,
    "layers[0].right['a'][1]": lambda m: m.layers[0].right["a"][1],
    "layers[0].kind": lambda m: m.layers[0].kind,
    "layers[1][0]": lambda m: m.layers[1][0],
    "layers[2]": lambda m: m.layers[2],
    "options['deep'][1]": lambda m: m.options["deep"][1],
    "options['deep'][(2, 'k')]": lambda m: m.options["deep"][2, "k"],
    "bias": lambda m: m.bias,
    "name": lambda m: m.name,
}


@pytest.mark.parametrize("path", PLACES)
def test_the_laws_of_a_lens(path: str) -> None:
    """One gets what is set; setting what is there changes nothing; the last to be set stays; the model is as before."""
    model, where = a_model(), PLACES[path]
    lens = tree.at(where)
    assert lens.path == path
    assert lens.get(model) is where(model)
    assert where(lens.set(model, "new")) == "new"
    assert lens.set(model, lens.get(model)) == model
    assert lens.set(lens.set(model, "old"), "new") == lens.set(model, "new") == tree.replace(model, path, "new")
    assert lens.apply(model, lambda x: (x,)) == lens.set(model, (where(model),))
    assert model == a_model()


def test_all_else_is_shared_and_of_its_class() -> None:
    model = a_model()
    changed = tree.replace(model, "layers[0].right['a'].y", 9.0)
    assert changed.options is model.options
    assert changed.layers[0].left is model.layers[0].left
    assert type(changed.layers[0].right) is OrderedDict
    assert list(changed.layers[0].right) == ["z", "a"]
    assert changed.layers[0].right["a"] == Point(4.0, 9.0)


def test_every_leaf_is_replaced_by_its_own_path() -> None:
    """The paths of named_leaves, without the root, are those of replace."""
    model = a_model()
    for path in tree.named_leaves(model, ""):
        changed = tree.replace(model, path.removeprefix("."), -1.0)
        assert sorted(map(str, tree.leaves(changed))).count("-1.0") == 1
        assert [line.path for line in tree.diff(model, changed)] == [path.removeprefix(".")]


def test_classes_are_rebuilt_past_init() -> None:
    changed = tree.replace(tree.replace(a_model(), "layers[0].left", "text"), "layers", [1.0])
    assert changed.layers == [1.0]  # the converter, which makes tuples, is not run


def test_replace_takes_traced_values() -> None:
    model = nn.MLP.init(Key(0), [3, 2])
    x = np.ones((4, 3))

    def loss(b: Floats) -> float:
        return fgrad.sum(tree.replace(model, "layers[0].b", b)(x))

    assert grad(loss)(np.zeros(2)).tolist() == [4.0, 4.0]
    assert fgrad.jit(grad(loss))(np.zeros(2)).tolist() == [4.0, 4.0]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("layer", "the tree has the fields layers, options, bias, name; there is no .layer"),
        ("layers[3]", "layers has the indices 0, 1, 2; there is no [3]"),
        ("layers[-4]", "layers has the indices 0, 1, 2; there is no [-4]"),
        ("layers[0].weight", "layers[0] has the fields left, right, kind; there is no .weight"),
        ("layers[0].right.z", "layers[0].right has the keys 'z', 'a'; there is no .z"),
        ("layers[0].right['a'].z", "layers[0].right['a'] has the fields x, y; there is no .z"),
        ("layers[2].w", "layers[2] is None, with nothing below it: there is no .w"),
        ("options['rate'][0]", "options['rate'] is 0.1, with nothing below it: there is no [0]"),
        ("name[0]", "name is 'm', with nothing below it: there is no [0]"),
    ],
)
def test_a_wrong_path_is_named_as_far_as_it_goes(path: str, message: str) -> None:
    with pytest.raises(StructureError) as caught:
        tree.replace(a_model(), path, 1.0)
    assert message in str(caught.value)


def test_a_long_list_of_keys_is_cut() -> None:
    with pytest.raises(StructureError, match="0, 1, 2, 3, 4, 5, 6, 7, …; there is no"):
        tree.replace(list(range(100)), "[100]", 1)


@pytest.mark.parametrize("path", ["layers[", "layers[0:1]", "f(x)", "layers[i]", "a b", "[[1]]", "a+b", "1"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ArgumentError, match=r"write layers\[0\].w"):
        tree.replace(a_model(), path, 1.0)


@pytest.mark.parametrize(
    "where",
    [
        lambda m: m.layers[0:1],
        lambda m: m.layers[[0]],
        lambda m: m.layers[0].w * 2,
        lambda m: 2 * m.layers[0].w,
        lambda m: -m.w,
        lambda m: m.w == 1.0,
        lambda m: m.w or m.b,
        lambda m: m(1.0),
        lambda m: m.w.sum(),
        lambda m: np.tanh(m.w),
        lambda m: np.sum(m.w),
        lambda m: list(m.layers),
        lambda m: len(m.layers),
        lambda m: 1.0 in m.layers,
        lambda m: (m.w, m.b),
        lambda m: 1.0,
    ],
)
def test_a_function_that_computes_is_refused(where: Callable[[Any], Any]) -> None:
    with pytest.raises(ArgumentError, match=r"at: m|at: its function|at needs one place"):
        tree.at(where)


def test_lenses_are_values() -> None:
    first, second = tree.at(lambda m: m.layers[0]["w"]), tree.at(lambda m: m.layers[0]["w"])
    assert first == second
    assert repr(first) == "at(lambda m: m.layers[0]['w'])"
    assert pickle.loads(pickle.dumps(first)) == first


def last_weights(model: nn.MLP) -> Floats:
    return model.layers[-1].w


def test_lenses_are_typed() -> None:
    """The checkers know both types of an annotated function's lens, and the model's of a lambda's."""
    model = nn.MLP.init(Key(0), [3, 4, 2])
    lens = tree.at(last_weights)
    assert_type(lens, tree.Lens[nn.MLP, Floats])
    assert_type(lens.get(model), Floats)
    assert_type(lens.apply(model, lambda w: 2.0 * w), nn.MLP)
    assert_type(tree.replace(model, "activation", "relu"), nn.MLP)
    assert_type(tree.partition(model, lens), tuple[nn.MLP, nn.MLP])
    assert_type(tree.combine(*tree.partition(model, lens)), nn.MLP)
    changed: nn.MLP = tree.at(lambda m: m.layers[0].w).set(model, np.ones((3, 4)))
    assert changed.layers[0].w.sum() == 12


# --- parts -----------------------------------------------------------------------------------------------------------
CHOICES: list[Any] = [
    lambda path, leaf: True,
    lambda path, leaf: False,
    lambda path, leaf: path.startswith("layers[0]"),
    lambda path, leaf: leaf > 4.0,
    *[tree.at(where) for where in PLACES.values()],
]


@pytest.mark.parametrize("where", CHOICES)
def test_combine_undoes_partition(where: Any) -> None:
    """Each leaf is in one of the two parts, and both orders give the whole; what was None stays None."""
    model = a_model()
    chosen, rest = tree.partition(model, where)
    assert type(chosen) is type(rest) is Model
    assert sorted(tree.leaves(chosen) + tree.leaves(rest)) == sorted(tree.leaves(model))  # type: ignore[type-var]  # floats
    assert tree.combine(chosen, rest) == tree.combine(rest, chosen) == model


def test_a_lens_chooses_what_is_below_it() -> None:
    model = a_model()
    chosen, _ = tree.partition(model, tree.at(lambda m: m.layers[0].right))
    assert tree.leaves(chosen) == tree.leaves(model.layers[0].right)
    assert tree.partition(model, lambda path, leaf: path.startswith("layers[0].right"))[0] == chosen


def test_frozen_parts_have_no_gradient() -> None:
    model, x = nn.MLP.init(Key(0), [3, 4, 2]), np.ones((5, 3))

    def loss(model: nn.MLP) -> float:
        return fgrad.sum(model(x) ** 2)

    trainable, frozen = tree.partition(model, tree.at(lambda m: m.layers[-1]))
    found = grad(lambda trainable: loss(tree.combine(trainable, frozen)))(trainable)
    whole = grad(loss)(model)
    assert tree.leaves(found.layers[0]) == []
    np.testing.assert_array_equal(found.layers[1].w, whole.layers[1].w)
    np.testing.assert_array_equal(found.layers[1].b, whole.layers[1].b)


def test_what_does_not_fit_together_is_named() -> None:
    with pytest.raises(StructureError, match=r"both trees have a leaf at tree\['w'\]"):
        tree.combine({"w": np.ones(2)}, {"w": np.ones(2)})
    with pytest.raises(StructureError, match=r"differ at tree\['b'\]"):
        tree.combine({"b": None}, {"w": 1.0})
    with pytest.raises(StructureError, match=r"there is no \.w"):
        tree.partition({"b": 1.0}, tree.at(lambda m: m.w))


# --- differences -----------------------------------------------------------------------------------------------------
def arrays(*numbers: float) -> dict[str, Floats]:
    return {"w": np.array(numbers)}


@pytest.mark.parametrize(
    "value", [a_model(), arrays(np.nan, np.inf, -0.0), float("nan"), None, (), "text", {"k": {1, 2}}, abs], ids=repr
)
def test_nothing_differs_from_itself(value: object) -> None:
    assert not tree.diff(value, tree.map(lambda x: x, value))
    assert repr(tree.diff(value, value)) == "no differences"


@pytest.mark.parametrize(
    ("a", "b", "lines"),
    [
        (1.0, 2.0, ["the tree: 1.0 → 2.0"]),
        (1.0, 1, ["the tree: 1.0 → 1"]),
        (np.float32(1.0), np.float32(2.0), ["the tree: 1.0 → 2.0"]),
        (arrays(1.0, 2.0), arrays(1.0, 2.5), ["['w']: 1 of 2 entries differ, by 0.5 at most"]),
        (arrays(1.0, 2.0), arrays(1.0, np.nan), ["['w']: 1 of 2 entries differ, by nan at most"]),
        (arrays(1.0, np.inf), arrays(1.0, np.inf), []),
        (arrays(1.0, np.inf), arrays(1.0, -np.inf), ["['w']: 1 of 2 entries differ, by inf at most"]),
        (arrays(1.0, 2.0), arrays(1.0), ["['w']: shape (2,) → (1,)"]),
        (
            np.zeros(2),
            np.ones(2, np.float32),
            ["the tree: dtype float64 → float32, 2 of 2 entries differ, by 1 at most"],
        ),
        (np.array([True, False]), np.array([True, True]), ["the tree: 1 of 2 entries differ, by 1 at most"]),
        (np.array([0], np.uint8), np.array([255], np.uint8), ["the tree: 1 of 1 entries differ, by 255 at most"]),
        (np.array(["a"]), np.array(["bc"]), ["the tree: 1 of 1 entries differ"]),
        (np.array(1.0), 1.0, ["the tree: ndarray () float64 → 1.0"]),
        ({"a": 1.0}, {"b": (1.0, 2.0)}, ["['a']: 1.0 → nothing", "['b']: nothing → tuple(…)"]),
        ([1.0, 2.0], [1.0], ["[1]: 2.0 → nothing"]),
        ([1.0], (1.0,), ["the tree: list(…) → tuple(…)"]),
        ([], {}, ["the tree: [] → {}"]),
        ([], [1.0], ["[0]: nothing → 1.0"]),
        ({"a": None}, {"a": 1.0}, ["['a']: None → 1.0"]),
        (Pair(1.0, 2.0, "k"), Pair(1.0, 3.0, "other"), ["right: 2.0 → 3.0", "kind: 'k' → 'other'"]),
    ],
    ids=str,
)
def test_differences_are_named(a: object, b: object, lines: list[str]) -> None:
    found = tree.diff(a, b)
    assert [str(line) for line in found] == lines
    assert repr(found) == ("\n".join(lines) or "no differences")
    assert [line.path for line in tree.diff(b, a)] == [line.path for line in found] or len(found) == 2


def test_small_integers_do_not_wrap_around() -> None:
    assert "by 255 at most" in str(tree.diff(np.array([-128], np.int8), np.array([127], np.int8)))
    assert "by 1.84e+19 at most" in str(tree.diff(np.array([-(2**63)]), np.array([2**63 - 1])))
