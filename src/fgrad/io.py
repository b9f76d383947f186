"""Pytrees on disk as safetensors files: no pickle, nothing in them is ever executed, any language can read them.

Knows the file format; nothing of what the leaves mean.

The format: one tensor for each leaf, named by its path from the root `params` (`params.layers[0].w`, `params['w']`);
a Python float is a 0-d float64 tensor, a Python int a 0-d int64 one. Structure and static fields are not in the file:
they come from the tree that `load` is given. What else the writer wants known stands in the header's `__metadata__` as
one string, `fgrad`, that holds a JSON object. Equal trees and metadata give equal bytes.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from fgrad import errors
from fgrad.files import PathLike, replace_files
from fgrad.tree import flatten, paths, unflatten

T = TypeVar("T")
Tensor: TypeAlias = NDArray[np.generic]
_ROOT: Final = "params"
_METADATA: Final = "fgrad"


def save(path: PathLike, tree: object, metadata: Mapping[str, object] | None = None) -> None:
    """Write the leaves of a pytree, and JSON-like metadata, into one file, which is there whole or not at all.

    Raises `LeafError` for a leaf that is no number or NumPy array, and OSError where the file cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> save(path, {"w": np.ones(2), "b": 0.5}, {"epochs": 3})
    >>> load(path, {"w": np.zeros(2), "b": 0.0}), read_metadata(path)
    ({'w': array([1., 1.]), 'b': 0.5}, {'epochs': 3})
    """
    replace_files({Path(path): encode(tree, metadata)})


def load(path: PathLike, like: T) -> T:
    """Read a pytree back in the structure and types of `like`, whose leaves' values don't matter; arrays are fresh.

    Raises `StructureError` naming the path of the leaf that is missing, left over, or of another shape or dtype,
    `DataError` for what is no safetensors file, and OSError where the file cannot be read.
    """
    tensors, _ = _read(path)
    leaves, structure = flatten(like)
    names = paths(structure, _ROOT)
    for name in names:
        if name not in tensors:
            raise errors.StructureError(f"{os.fspath(path)}: {name} is missing")
    for name in tensors:
        if name not in names:
            raise errors.StructureError(f"{os.fspath(path)}: {name} is in the file, but not in the tree to fill")
    restored = [_restored(path, n, tensors[n], leaf) for n, leaf in zip(names, leaves, strict=True)]
    return unflatten(structure, restored)  # type: ignore[return-value]  # the structure is T's


def read_metadata(path: PathLike) -> dict[str, object]:
    """Read the metadata that `save` was given; empty for a safetensors file that another program wrote.

    Raises `DataError` for what is no safetensors file, and OSError where the file cannot be read.
    """
    return _read(path)[1]


def encode(tree: object, metadata: Mapping[str, object] | None = None) -> bytes:
    """Give the bytes that `save` writes. Raises `LeafError` for a leaf that is no number or NumPy array."""
    leaves, structure = flatten(tree)
    names = paths(structure, _ROOT)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise errors.StructureError(f"two leaves have the path {twice}, so a file can't tell them apart")
    tensors = {name: _tensor(name, leaf) for name, leaf in zip(names, leaves, strict=True)}
    # One string, because safetensors writes several in an order that changes from run to run.
    text = None if metadata is None else {_METADATA: json.dumps(metadata, allow_nan=False)}
    data: bytes = _safetensors().numpy.save(tensors, text)
    return data


def _safetensors() -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError:
        raise errors.missing_extra("io", "safetensors", "saving and loading") from None
    return safetensors


def _read(path: PathLike) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The tensors by name, and the metadata."""
    library, data = _safetensors(), Path(path).read_bytes()
    try:
        tensors = library.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return tensors, json.loads(header.get("__metadata__", {}).get(_METADATA, "{}"))
    except (library.SafetensorError, KeyError, ValueError) as error:
        raise errors.DataError(f"{os.fspath(path)}: no safetensors file, or a damaged one ({error})") from None


def _tensor(name: str, leaf: object) -> Tensor:
    """A leaf as the library wants it: dense, row by row, in the machine's byte order."""
    if type(leaf) in (float, int, bool, np.ndarray) or isinstance(leaf, np.generic):
        array = np.asarray(leaf)
        if array.dtype.kind in "fiub" and array.dtype.itemsize <= 8:
            return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    kind = f"{type(leaf).__name__} of dtype {leaf.dtype}" if isinstance(leaf, np.ndarray) else type(leaf).__name__
    raise errors.LeafError(f"{name} is a {kind}: only numbers and NumPy arrays of real numbers can be saved")


def _restored(path: PathLike, name: str, tensor: Tensor, like: object) -> object:
    expected = _tensor(name, like)
    if (tensor.shape, tensor.dtype) != (expected.shape, expected.dtype):
        raise errors.StructureError(
            f"{os.fspath(path)}: {name} has shape {tensor.shape} and dtype {tensor.dtype}, "
            f"but the tree to fill has shape {expected.shape} and dtype {expected.dtype}"
        )
    if isinstance(like, np.ndarray):
        return tensor.copy()
    return tensor[()] if isinstance(like, np.generic) else tensor.item()
