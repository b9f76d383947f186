"""Saving: what is read back is what was saved, in types, bits and structure; what does not fit is named by its path."""

import json
import os
import random
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, cast

import attrs
import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from fgrad import errors, grad, io, nn, tree
from fgrad.random import Key


@attrs.frozen
class Model:
    w: NDArray[np.float32]
    rate: float
    steps: int
    layers: tuple[nn.Linear, ...]
    name: str = tree.static("first")


def a_model(seed: int = 0) -> Model:
    w = np.random.default_rng(seed).normal(size=(3, 2)).astype(np.float32)
    return Model(w, 0.1 + seed, 7 + seed, (nn.Linear.init(Key(seed), 2, 3), nn.Linear.init(Key(seed + 1), 3, 1)))


def test_load_undoes_save(tmp_path: Path) -> None:
    saved = a_model(0)
    io.save(tmp_path / "m", saved)
    back = io.load(tmp_path / "m", a_model(1))
    assert isinstance(back, Model)
    assert back.name == "first"
    assert (back.rate, type(back.rate)) == (0.1, float)
    assert (back.steps, type(back.steps)) == (7, int)
    for a, b in zip(tree.leaves(saved), tree.leaves(back), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(
    "leaf",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12.0)[::-2],
        np.arange(3, dtype=">f8"),
        np.zeros((0, 3)),
        np.array(2.5),
        np.float32(1.5),
        np.array([True, False]),
        np.arange(3, dtype=np.float16),
        np.array([-0.0, np.inf, np.nan]),
        np.array([0, 2**64 - 1], np.uint64),
        np.uint64(2**64 - 1),
        True,
        -3,
    ],
    ids=lambda leaf: f"{type(leaf).__name__} {np.shape(leaf)} {np.asarray(leaf).dtype}",
)
def test_every_kind_of_leaf_comes_back_as_it_was(tmp_path: Path, leaf: object) -> None:
    io.save(tmp_path / "m", leaf)
    back = io.load(tmp_path / "m", leaf)
    assert type(back) is type(leaf)
    np.testing.assert_array_equal(np.asarray(back), np.asarray(leaf))


def test_loaded_arrays_are_fresh_and_writable(tmp_path: Path) -> None:
    like = {"w": np.ones(3)}
    io.save(tmp_path / "m", like)
    io.load(tmp_path / "m", like)["w"][0] = 5.0
    assert like["w"][0] == 1.0
    assert io.load(tmp_path / "m", like)["w"][0] == 1.0


def test_the_file_is_plain_safetensors_with_the_paths_as_names(tmp_path: Path) -> None:
    io.save(tmp_path / "m", {"layers": [nn.Linear.init(Key(0), 2, 3)], "b": 0.5})
    tensors = safetensors.numpy.load_file(tmp_path / "m")
    assert set(tensors) == {"params['layers'][0].w", "params['layers'][0].b", "params['b']"}
    assert tensors["params['b']"] == 0.5


class Pair(NamedTuple):
    x: float
    y: NDArray[np.float64]


def test_without_like_containers_are_built_as_they_were(tmp_path: Path) -> None:
    """And in their order; nothing in a file names code that would have to run."""
    saved = {"b": [1, (2.0, None, True)], "a": {3: np.arange(2), (1, "x"): np.float32(0.5)}, "empty": [(), {}]}
    io.save(tmp_path / "m", saved)
    back = io.load(tmp_path / "m")
    assert isinstance(back, dict)
    assert repr(back) == repr(saved)
    assert io.load(tmp_path / "m", saved).keys() == saved.keys()


def test_without_like_instances_are_dicts_of_their_fields(tmp_path: Path) -> None:
    io.save(tmp_path / "m", (a_model(), Pair(1.0, np.ones(2))))
    model, pair = cast("tuple[dict[str, object], dict[str, object]]", io.load(tmp_path / "m"))
    assert list(model) == ["w", "rate", "steps", "layers", "name"]
    assert (model["rate"], model["steps"], model["name"]) == (0.1, 7, "first")
    assert list(pair) == ["x", "y"]


def test_a_tree_that_is_one_leaf_or_none(tmp_path: Path) -> None:
    for saved in (0.5, None, ()):
        io.save(tmp_path / "m", saved)
        assert io.load(tmp_path / "m") == saved
        assert io.load(tmp_path / "m", saved) == saved


@attrs.frozen
class Settings:
    rate: float = 0.1
    shape: tuple[int, ...] = (2, 3)


@attrs.frozen
class Configured:
    w: float
    setting: object = tree.static(None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("relu", "tanh"),
        (1, 2),
        (1, True),
        (0.1, 0.2),
        ((1, 2), (1, 2, 3)),
        (None, 0),
        (np.tanh, np.sin),
        (test_load_undoes_save, test_a_tree_that_is_one_leaf_or_none),
        (Settings, Configured),
        (Settings(), Settings(shape=(3, 2))),
        (np.dtype("f4"), np.dtype("f8")),
        (float("inf"), float("-inf")),
        ({"a": 1}, {"a": 2}),
    ],
    ids=str,
)
def test_another_static_field_is_an_error_that_names_it(tmp_path: Path, one: object, other: object) -> None:
    io.save(tmp_path / "m", {"model": Configured(1.0, one)})
    assert io.load(tmp_path / "m", {"model": Configured(0.0, one)})["model"].w == 1.0
    with pytest.raises(
        errors.StructureError, match=r"params\['model'\]\.setting is .* in the file, but .* in the tree"
    ):
        io.load(tmp_path / "m", {"model": Configured(0.0, other)})


def test_another_class_is_an_error_that_names_it(tmp_path: Path) -> None:
    """Even one with the same fields; the module that it is defined in may change."""
    io.save(tmp_path / "m", [Settings()])
    renamed = attrs.make_class("Configured", ["rate", "shape"], frozen=True)(0.1, (2, 3))
    with pytest.raises(errors.StructureError, match=r"params\[0\] is a Settings in the file, but a Configured"):
        io.load(tmp_path / "m", [renamed])
    moved = attrs.make_class("Settings", ["rate", "shape"], frozen=True)(0.0, (0, 0))
    assert io.load(tmp_path / "m", [moved])[0].shape == (2, 3)


def test_files_of_other_programs_fill_a_tree_by_names(tmp_path: Path) -> None:
    tensors = {"params['w']": np.ones(2), "params['b']": np.array(0.5)}
    safetensors.numpy.save_file(tensors, tmp_path / "m", metadata={"by": "another"})
    assert io.load(tmp_path / "m", {"w": np.zeros(2), "b": 0.0})["b"] == 0.5
    assert set(cast("dict[str, object]", io.load(tmp_path / "m"))) == set(tensors)
    with pytest.raises(errors.StructureError, match=r"params\['c'\] is missing"):
        io.load(tmp_path / "m", {"w": np.zeros(2), "b": 0.0, "c": 0.0})


def test_metadata_come_back_and_are_empty_for_foreign_files(tmp_path: Path) -> None:
    about = {"classes": ["ä", "b"], "sizes": [2, 3], "mean": 0.1}
    io.save(tmp_path / "m", 1.0, about)
    assert io.read_metadata(tmp_path / "m") == about
    safetensors.numpy.save_file({"x": np.ones(2)}, tmp_path / "f", metadata={"by": "another"})
    assert io.read_metadata(tmp_path / "f") == {}


def test_equal_trees_give_equal_bytes_in_every_process(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from fgrad import io, nn, random\n"
        "about = {key: [1, 2] for key in 'the quick brown fox jumps over'.split()}\n"
        "io.save(sys.argv[1], {'a': nn.MLP.init(random.Key(0), [2, 8, 3]), 'rate': 0.1}, about)"
    )
    for name in ("first", "second"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ({"w": np.ones((2, 3))}, ["params['b']", "not in the tree"]),
        ({"w": np.ones((2, 3)), "b": 0.0, "c": 0.0}, ["params['c'] is missing"]),
        ({"w": np.ones((3, 2)), "b": 0.0}, ["params['w']", "(2, 3)", "(3, 2)"]),
        ({"w": np.ones((2, 3), np.float32), "b": 0.0}, ["params['w']", "float64", "float32"]),
        ({"w": np.ones((2, 3)), "b": 0}, ["params['b']", "float64", "int64"]),
        ({"w": np.ones((2, 3)), "b": [0.0]}, ["params['b'] is a number or array in the file, but a list"]),
        ([np.ones((2, 3)), 0.5], ["params is a dict in the file, but a list"]),
        ({"w": np.ones((2, 3)), "b": None}, ["params['b'] is a number or array in the file, but None"]),
        ({"w": nn.Linear(np.ones(1), np.ones(1)), "b": 0.5}, ["params['w'] is", "but a Linear in the tree"]),
        ({}, ["params['w'] is in the file, but not in the tree"]),
    ],
)
def test_a_tree_that_does_not_fit_is_named_by_the_path(tmp_path: Path, like: object, words: list[str]) -> None:
    io.save(tmp_path / "m", {"w": np.ones((2, 3)), "b": 0.5})
    with pytest.raises(errors.StructureError) as caught:
        io.load(tmp_path / "m", like)
    for word in [str(tmp_path / "m"), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "leaf",
    [
        "tanh",
        1j,
        np.array([1j]),
        np.array(["a"]),
        np.array([None]),
        object(),
        np.longdouble(1),
        np.ma.masked_array([1.0]),
    ],
    ids=lambda leaf: type(leaf).__name__,
)
def test_what_is_no_real_number_is_not_saved(tmp_path: Path, leaf: object) -> None:
    with pytest.raises(errors.LeafError, match=r"params\['w'\] is a"):
        io.save(tmp_path / "m", {"w": leaf})
    assert list(tmp_path.iterdir()) == []


def test_a_traced_value_is_not_saved(tmp_path: Path) -> None:
    def f(x: float) -> float:
        io.save(tmp_path / "m", {"x": x})
        return x

    with pytest.raises(errors.LeafError, match="Node"):
        grad(f)(1.0)


def test_no_truncated_file_is_read(tmp_path: Path) -> None:
    data = io.encode({"w": np.ones(2), "b": 0.5}, {"a": 1})
    for length in range(len(data)):
        (tmp_path / "m").write_bytes(data[:length])
        with pytest.raises(errors.DataError, match="damaged"):
            io.load(tmp_path / "m", {"w": np.ones(2), "b": 0.5})


def test_a_truncated_file_names_the_leaf_that_is_cut_off(tmp_path: Path) -> None:
    data = io.encode({"first": np.ones(4), "last": np.ones(4)})
    for missing, name in ((1, "last"), (32, "last"), (33, "first")):
        (tmp_path / "m").write_bytes(data[:-missing])
        with pytest.raises(errors.DataError, match=rf"ends before params\['{name}'\] does"):
            io.load(tmp_path / "m")


def raw(header: bytes | dict[str, object], data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def one(dtype: str = "F64", shape: list[int] | None = None, ends: tuple[int, int] = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": [1] if shape is None else shape, "data_offsets": [*ends]}


def with_structure(structure: object, **more: object) -> bytes:
    about = json.dumps({"structure": structure, "metadata": {}} | more)
    return raw({"__metadata__": {"fgrad": about}, "params": one()}, bytes(8))


def deep(levels: int) -> bytes:
    """Nested far deeper than Python's own stack, in text that no json.dumps would write."""
    text = '{"is": "list", "has": {"[0]": ' * levels + '"float"' + "}}" * levels
    about = json.dumps('{"metadata": {}, "structure": ' + text + "}")
    return raw(
        b'{"__metadata__": {"fgrad": ' + about.encode() + b'}, "params": ' + json.dumps(one()).encode() + b"}",
        bytes(8),
    )


HOSTILE = {
    "a header longer than the file": raw(b"{}", length=2**40),
    "a header of all the world": raw(b"{}", length=2**64 - 1),
    "a tensor larger than memory": raw({"params": one(shape=[2**40, 2**20], ends=(0, 2**63))}, bytes(8)),
    "a shape that overflows": raw({"params": one(shape=[2**40, 2**40])}, bytes(8)),
    "an empty tensor of huge shape": raw({"params": one(shape=[0, 2**62, 2**62], ends=(0, 0))}),
    "more axes than NumPy has": raw({"params": one(shape=[1] * 100)}, bytes(8)),
    "negative offsets": raw({"params": one(ends=(-8, 0))}, bytes(8)),
    "offsets the wrong way round": raw({"params": one(ends=(8, 0))}, bytes(8)),
    "tensors that overlap": raw({"params": one(), "b": one()}, bytes(8)),
    "a hole": raw({"params": one(ends=(8, 16))}, bytes(16)),
    "bytes after the last tensor": raw({"params": one()}, bytes(9)),
    "a name twice": raw(b'{"params": %b, "params": %b}' % ((json.dumps(one()).encode(),) * 2), bytes(8)),
    "no UTF-8": raw(b'{"\xff": 1}'),
    "a header that is nested deeply": raw(b"[" * 100_000),
    "a structure that is nested deeply": deep(100_000),
    "a structure that is nested less deeply": deep(600),
    "complex numbers": raw({"params": one("C64")}, bytes(8)),
    "a dtype of other hardware": raw({"params": one("BF16", [4])}, bytes(8)),
    "truth values that are none": raw({"params": one("BOOL", [8])}, bytes([2] * 8)),
    "metadata that are no object": with_structure("float", metadata=[1]),
    "a structure that is a number": with_structure(3),
    "a structure that names a leaf too much": with_structure({"is": "list", "has": {"[0]": "float"}, "static": {}}),
    "a structure without kinds": with_structure({"has": {}}),
    "a kind that is no string": with_structure({"is": ["list"], "has": {}, "static": {}}),
    "a leaf of no kind": with_structure("os.system"),
    "metadata that are no JSON": raw({"__metadata__": {"fgrad": "{"}, "params": one()}, bytes(8)),
    "metadata that are a list": raw({"__metadata__": {"fgrad": "[1]"}, "params": one()}, bytes(8)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_an_error(tmp_path: Path, name: str) -> None:
    """One of ours: no crash, no recursion, no memory for numbers that are not there."""
    (tmp_path / "m").write_bytes(HOSTILE[name])
    for read in (
        io.load,
        io.read_metadata,
        lambda path: io.load(path, 0.0),
        lambda path: io.load_state_dict(path, 0.0),
    ):
        with pytest.raises(errors.DataError, match="no safetensors file, or a damaged one"):
            read(tmp_path / "m")


def test_keys_that_are_no_literals_stay_text(tmp_path: Path) -> None:
    """Whatever stands there, it is not run."""
    for segment in ("[__import__('os')]", "[[1]]", "[" + "(" * 300 + ")" * 300 + "]", "", "["):
        structure = {"is": "dict", "has": {segment: "float"}, "static": {}}
        about = json.dumps({"structure": structure, "metadata": {}})
        (tmp_path / "m").write_bytes(
            raw({"__metadata__": {"fgrad": about}, f"params{segment}": one(shape=[])}, bytes(8))
        )
        assert io.load(tmp_path / "m") == {segment: 0.0}


def test_damage_is_told_in_our_own_words(tmp_path: Path) -> None:
    like, dice = {"w": np.ones(2), "b": 0.5}, random.Random(0)
    data = io.encode(like, {"a": 1})
    for _ in range(2000):
        damaged = bytearray(data)
        damaged[dice.randrange(len(data))] = dice.randrange(256)
        (tmp_path / "m").write_bytes(damaged)
        try:
            io.load(tmp_path / "m")
            io.load(tmp_path / "m", like)
            io.read_metadata(tmp_path / "m")
        except (errors.DataError, errors.StructureError):
            pass


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04K\x01.", json.dumps({"w": 1}).encode(), bytes(1000)])
def test_a_foreign_file_is_not_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(errors.DataError, match="no safetensors file"):
        io.load(tmp_path / "m", 0.0)
    with pytest.raises(errors.DataError, match="no safetensors file"):
        io.read_metadata(tmp_path / "m")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    io.save(tmp_path / "m", 1.0)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        io.save(tmp_path / "m", 2.0)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert io.load(tmp_path / "m", 0.0) == 1.0


# --- PyTorch ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("named", ["{}", "layers.{}", "model.body.{}"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_state_dict_of_pytorch_fills_an_mlp(tmp_path: Path, named: str, dtype: str) -> None:
    """The outputs are those of the module; more than ten layers come in the order of their numbers."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    sizes = [3, *[5] * 11, 2]
    layers = [torch.nn.Linear(n, m, dtype=getattr(torch, dtype)) for n, m in pairwise(sizes)]
    module = torch.nn.Sequential(*[part for layer in layers for part in (layer, torch.nn.Tanh())][:-1])
    tensors = {named.format(name): tensor.numpy() for name, tensor in module.state_dict().items()}
    safetensors.numpy.save_file(tensors, tmp_path / "m")
    model = io.load_state_dict(tmp_path / "m", nn.MLP.init(Key(0), sizes))
    x = np.random.default_rng(0).normal(size=(7, 3))
    with torch.no_grad():
        expected = module.double()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model(x), expected, rtol=0, atol=1e-12)
    assert all(np.asarray(leaf).flags.c_contiguous for leaf in tree.leaves(model))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"0.weight": np.ones((2, 3))}, "no tensor is left for params.b"),
        ({"0.weight": np.ones((2, 3)), "0.bias": np.ones(2), "2.weight": np.ones(1)}, "2.weight has no place"),
        ({"0.weight": np.ones((3, 2)), "0.bias": np.ones(2)}, "0.weight has shape (3, 2)"),
        ({"0.weight": np.ones((2, 3)), "0.bias": np.ones(3)}, "0.bias has shape (3,)"),
        ({"0.weight": np.ones((2, 3)), "0.bias": np.ones(2, np.complex64)}, "0.bias holds C64"),
    ],
)
def test_a_state_dict_that_does_not_fit_names_the_tensor(
    tmp_path: Path, tensors: dict[str, NDArray[np.generic]], words: str
) -> None:
    safetensors.numpy.save_file(tensors, tmp_path / "m")
    with pytest.raises((errors.StructureError, errors.DataError), match=re.escape(words)):
        io.load_state_dict(tmp_path / "m", nn.Linear.init(Key(0), 3, 2))


def test_numbers_of_a_state_dict_are_not_narrowed(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"0.weight": np.ones((2, 3)), "0.bias": np.ones(2)}, tmp_path / "m")
    with pytest.raises(
        errors.StructureError, match=r"0\.weight has .* float64, which does not fit params\.w .* float32"
    ):
        io.load_state_dict(tmp_path / "m", nn.Linear.init(Key(0), 3, 2, dtype=np.float32))


def test_kernels_of_convolutions_have_their_channels_last(tmp_path: Path) -> None:
    kernel = np.arange(2.0 * 3 * 4 * 5).reshape(2, 3, 4, 5)  # (out, in, height, width)
    safetensors.numpy.save_file({"0.weight": kernel}, tmp_path / "m")
    back = io.load_state_dict(tmp_path / "m", {"w": np.zeros((4, 5, 3, 2))})["w"]
    np.testing.assert_array_equal(back, kernel.transpose(2, 3, 1, 0))


def test_without_safetensors_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(errors.MissingExtraError, match=r'"fgrad\[io\]"'):
        io.save(tmp_path / "m", 1.0)


@pytest.mark.parametrize("metadata", [{"m": {1: 2, "1": 3}}, [1, 2], {"m": float("nan")}])
def test_metadata_that_cannot_be_read_are_not_saved(tmp_path: Path, metadata: object) -> None:
    with pytest.raises(ValueError if metadata == {"m": float("nan")} else (errors.ArgumentError, ValueError)):
        io.save(tmp_path / "m", 1.0, metadata)  # type: ignore[arg-type]  # wrong
    assert not [*tmp_path.iterdir()]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions and links are others there")
def test_what_is_there_keeps_its_permissions_and_links(tmp_path: Path) -> None:
    io.save(tmp_path / "secret", 1.0)
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "link").symlink_to("secret")
    io.save(tmp_path / "link", 2.0)
    assert (tmp_path / "link").is_symlink()
    assert io.load(tmp_path / "secret", 0.0) == 2.0
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    with pytest.raises(IsADirectoryError):
        io.save(tmp_path, 1.0)
