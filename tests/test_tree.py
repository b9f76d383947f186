"""Pytrees: taking apart and putting together, names of leaves, classes at first sight."""

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field

import attrs
import pytest

from fgrad import optim, tree
from fgrad.errors import StructureError


@attrs.frozen
class Model:
    layers: tuple[object, ...]
    name: str = tree.static("m")
    sizes: list[int] = tree.static(factory=list)


@attrs.frozen
class Nothing:
    pass


@dataclass(frozen=True)
class Pair:
    left: float
    right: float
    kind: str = field(default="k", metadata=tree.STATIC)

    def __post_init__(self) -> None:
        if not isinstance(self.left, float):
            raise TypeError("post-init ran")


TREES: list[object] = [
    1.0,
    None,
    [],
    {"b": 1.0, "a": (2.0, [3.0])},
    OrderedDict(b=1.0, a=2.0),
    defaultdict(float, b=1.0, a=2.0),
    Model((Pair(1.0, 2.0), None), "n", [1, 2]),
    Nothing(),
]


@pytest.mark.parametrize("value", TREES, ids=repr)
def test_unflatten_undoes_flatten(value: object) -> None:
    leaves, structure = tree.flatten(value)
    assert tree.unflatten(structure, leaves) == value
    assert tree.map(lambda x: x, value) == value
    assert all(isinstance(x, float) for x in leaves)


def test_rebuilding_goes_past_init() -> None:
    """Converters, validators and post-init hooks are not run on what is put in."""
    assert str(tree.map(lambda _: "anything", Pair(1.0, 2.0)).left) == "anything"


def test_paths() -> None:
    """Leaves are named as Python would reach them."""
    model = {"net": Model(([1.0, 2.0], Pair(3.0, 4.0)))}
    assert tree.named_leaves(model, "params") == {
        "params['net'].layers[0][0]": 1.0,
        "params['net'].layers[0][1]": 2.0,
        "params['net'].layers[1].left": 3.0,
        "params['net'].layers[1].right": 4.0,
    }
    for path, leaf in tree.named_leaves(model, "params").items():
        assert eval(path, {"params": model}) == leaf


def test_key_order_is_the_users() -> None:
    """Dicts keep the order of the first tree, whatever that of the others."""
    assert list(tree.map(lambda x, y: x + y, {"z": 1.0, "a": 2.0}, {"a": 1.0, "z": 2.0})) == ["z", "a"]


@pytest.mark.parametrize(
    ("first", "second", "path"),
    [
        ({"w": 1.0}, {"v": 1.0}, "tree['w']"),
        ([1.0, 2.0], [1.0], "tree[1]"),
        ([1.0], [1.0, 2.0], "tree[1]"),
        (Model((1.0,), "a"), Model((1.0,), "b"), "tree"),
        ([1.0], (1.0,), "tree"),
        (Model(([1.0, 2.0],)), Model(([1.0, (2.0,)],)), "tree.layers[0][1]"),
    ],
)
def test_a_mismatch_names_the_path(first: object, second: object, path: str) -> None:
    with pytest.raises(StructureError) as caught:
        tree.map(lambda x, y: x, first, second)
    assert f"differ at {path}:" in str(caught.value)


def test_sgd_step_is_pure_and_names_mismatches() -> None:
    params, grads = {"w": (1.0, 2.0)}, {"w": (1.0, 1.0)}
    assert optim.sgd_step(params, grads, 0.5) == {"w": (0.5, 1.5)}
    assert params == {"w": (1.0, 2.0)}
    with pytest.raises(StructureError, match=r"tree\['w'\]\[1\]"):
        optim.sgd_step(params, {"w": (1.0,)}, 0.5)
