"""Saving: what is read back is what was saved, in types, bits and structure; what does not fit is named by its path."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

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
    back = io.load(tmp_path / "m", attrs.evolve(a_model(1), name="second"))
    assert isinstance(back, Model)
    assert back.name == "second"  # static fields come from `like`
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
        ({"w": np.ones((2, 3)), "b": [0.0]}, ["params['b'][0] is missing"]),
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


def test_damage_is_told_in_our_own_words(tmp_path: Path) -> None:
    like, dice = {"w": np.ones(2), "b": 0.5}, random.Random(0)
    data = io.encode(like, {"a": 1})
    for _ in range(2000):
        damaged = bytearray(data)
        damaged[dice.randrange(len(data))] = dice.randrange(256)
        (tmp_path / "m").write_bytes(damaged)
        try:
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


def test_without_safetensors_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(errors.MissingExtraError, match=r'"fgrad\[io\]"'):
        io.save(tmp_path / "m", 1.0)
