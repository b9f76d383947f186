"""Pytrees on disk as safetensors files: no pickle, nothing in them is ever executed, any language can read them.

Knows the file format; nothing of what the leaves mean.

The format: one tensor for each leaf, named by its path from the root `params` (`params.layers[0].w`, `params['w']`);
a Python float is a 0-d float64 tensor, a Python int a 0-d int64 one. The header's `__metadata__` has one string,
`fgrad`, that holds a JSON object: `structure` says which containers and classes the leaves stand in, and what
their static fields are; `metadata` is what else the writer wants known. Equal trees and metadata give equal bytes.
"""

import ast
import json
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, EllipsisType, FunctionType, ModuleType
from typing import Final, TypeAlias, TypeVar, cast, overload

import attrs
import numpy as np
import optree
from numpy.typing import NDArray

from fgrad import errors
from fgrad.files import PathLike, replace_files
from fgrad.tree import NAMESPACE, fields, flatten, paths, unflatten

T = TypeVar("T")
Tensor: TypeAlias = NDArray[np.generic]
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Object: TypeAlias = dict[str, Json]
_ROOT: Final = "params"
_HEADER: Final = "fgrad"
_NONE: Final = "None"
_LEAVES: Final = ("float", "int", "bool", "scalar", "array")  # a scalar is one of NumPy's
_DTYPES: Final = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")


def save(path: PathLike, tree: object, metadata: Mapping[str, object] | None = None) -> None:
    """Write a pytree, and JSON-like metadata, into one file, which is there whole or not at all.

    Whatever ends the process while it is saving, be it `kill -9`, leaves the old file or the new one.

    Raises `LeafError` for a leaf that is no number or NumPy array, and OSError where the file cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> save(path, {"w": np.ones(2), "b": 0.5}, {"epochs": 3})
    >>> load(path, {"w": np.zeros(2), "b": 0.0}), read_metadata(path)
    ({'w': array([1., 1.]), 'b': 0.5}, {'epochs': 3})
    """
    replace_files({Path(path): encode(tree, metadata)})


@overload
def load(path: PathLike) -> object: ...
@overload
def load(path: PathLike, like: T) -> T: ...
def load(path: PathLike, like: object | EllipsisType = ...) -> object:
    """Read a pytree back in the structure and types of `like`, whose leaves' values don't matter; arrays are fresh.

    Without `like`, dicts, lists and tuples are built as they were, and each instance of a class is a dict of its
    fields; a file that another program wrote is a dict of its tensors.

    Raises `StructureError` naming the path of what is missing, left over, of another class, shape or dtype, or has
    another value in a static field; `DataError` for what is no safetensors file, or a damaged one; OSError where the
    file cannot be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> save(path, {"sizes": (2, 3), "layers": [{"w": np.ones(2)}]})
    >>> load(path)
    {'sizes': (2, 3), 'layers': [{'w': array([1., 1.])}]}
    """
    file = _File.read(path)
    return file.rebuilt() if like is ... else file.filled(like)


def read_metadata(path: PathLike) -> dict[str, object]:
    """Read the metadata that `save` was given; empty for a safetensors file that another program wrote.

    Raises `DataError` for what is no safetensors file, and OSError where the file cannot be read.
    """
    return _File.read(path).metadata


def load_state_dict(path: PathLike, like: T) -> T:
    """Read the parameters of a PyTorch module, a `state_dict` saved as safetensors, into a tree of the same layers.

    The modules stand in the order of their names (`0`, `2`, `10`; `layers.0`), each with its `weight` before its
    `bias`, and fill the leaves of `like` in order. A weight (out, in, …) becomes (…, in, out): matrices are transposed,
    and so are kernels. Numbers may widen, as from float32 to float64.

    Raises `StructureError` naming the tensor that doesn't fit, `DataError` for what is no safetensors file, and OSError
    where the file cannot be read.

    >>> import safetensors.numpy, tempfile
    >>> from fgrad import nn, random
    >>> path = Path(tempfile.mkdtemp()) / "torch.safetensors"
    >>> safetensors.numpy.save_file({"0.weight": np.array([[1.0, 2.0]]), "0.bias": np.zeros(1)}, path)
    >>> load_state_dict(path, nn.Linear.init(random.Key(0), 2, 1))
    Linear(w=array([[1.], [2.]]), b=array([0.]))
    """
    file, (leaves, structure) = _File.read(path), flatten(like)
    names, places = sorted(file.tensors, key=_module_order), paths(structure, _ROOT)
    if len(names) > len(places):
        raise file.misfit(f"{names[len(places)]} has no place in the tree to fill")
    if len(names) < len(places):
        raise file.misfit(f"no tensor is left for {places[len(names)]}")
    turned = [file.turned(*row) for row in zip(names, places, leaves, strict=True)]
    return unflatten(structure, turned)  # type: ignore[return-value]  # the structure is T's


def encode(tree: object, metadata: Mapping[str, object] | None = None) -> bytes:
    """Give the bytes that `save` writes.

    Raises `LeafError` for a leaf that is no number or NumPy array, and `ArgumentError` for metadata that JSON has not.
    """
    leaves, structure = flatten(tree)
    names = paths(structure, _ROOT)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise errors.StructureError(f"two leaves have the path {twice}, so a file can't tell them apart")
    tensors = {name: _tensor(name, leaf) for name, leaf in zip(names, leaves, strict=True)}
    about = json.dumps({"structure": _described(tree), "metadata": metadata or {}}, allow_nan=False)
    try:
        _about({"__metadata__": {_HEADER: about}}, names)
    except (TypeError, ValueError) as error:
        raise errors.ArgumentError(f"metadata are a mapping from texts to what JSON has ({error})") from None
    # One string, because safetensors writes several in an order that changes from run to run.
    data: bytes = _safetensors().numpy.save(tensors, {_HEADER: about})
    return data


# --- what is in a file ------------------------------------------------------------------------------------------------
@attrs.frozen(eq=False)
class _File:
    """The tensors by name, the description of what they stand in (None: not known), and the metadata."""

    path: str
    tensors: dict[str, Tensor]
    structure: Json
    metadata: dict[str, object]

    @classmethod
    def read(cls, path: PathLike) -> "_File":
        """Read all of a file, and check it: nothing is believed unseen."""
        library, data = _safetensors(), Path(path).read_bytes()
        try:
            tensors = {name: _sound(name, tensor) for name, tensor in library.numpy.load(data).items()}
            structure, metadata = _about(_header(data), tensors)
        except (library.SafetensorError, LookupError, ValueError, TypeError, RecursionError) as error:
            problem = f"{os.fspath(path)}: no safetensors file, or a damaged one ({_damage(data) or error})"
            raise errors.DataError(problem) from None
        return cls(os.fspath(path), tensors, structure, metadata)

    def filled(self, like: object) -> object:
        """The tree that has the file's leaves in the places of those of `like`."""
        leaves, structure = flatten(like)
        names = paths(structure, _ROOT)
        if self.structure is not None:
            self._compare(_ROOT, self.structure, _described(like))
        self._compare_names("", self.tensors, names)
        return unflatten(structure, [self._restored(name, leaf) for name, leaf in zip(names, leaves, strict=True)])

    def rebuilt(self) -> object:
        """The tree as it was, but for classes, which are dicts; the tensors by name if no more is known."""
        return dict(self.tensors) if self.structure is None else self._built(_ROOT, self.structure)

    def _built(self, name: str, described: Json) -> object:
        if isinstance(described, str):
            if described == _NONE:
                return None
            tensor = self.tensors[name]
            return tensor if described == "array" else tensor[()] if described == "scalar" else tensor.item()
        kind, below, static = _apart(described)
        values = {segment: self._built(name + segment, child) for segment, child in below.items()}
        if kind in ("list", "tuple"):
            return [*values.values()] if kind == "list" else (*values.values(),)
        return {_key(segment): value for segment, value in {**values, **static}.items()}

    def _compare(self, name: str, found: Json, wanted: Json) -> None:
        """Raise at the first place, from the root on, where the file and the tree to fill part."""
        if _kind(found) != _kind(wanted):
            raise self.misfit(f"{name} is {_kind(found)} in the file, but {_kind(wanted)} in the tree to fill")
        if isinstance(found, str):
            return
        (_, below, static), (_, our_below, our_static) = _apart(found), _apart(wanted)
        self._compare_names(name, static, our_static)
        for segment, ours in our_static.items():
            there, here = json.dumps(static[segment]), json.dumps(ours)
            if there != here:  # as texts, for 1 == True
                raise self.misfit(f"{name}{segment} is {there} in the file, but {here} in the tree to fill")
        self._compare_names(name, below, our_below)
        for segment, ours in our_below.items():
            self._compare(name + segment, below[segment], ours)

    def _compare_names(self, root: str, found: Collection[str], wanted: Collection[str]) -> None:
        there, asked = set(found), set(wanted)
        for name in wanted:
            if name not in there:
                raise self.misfit(f"{root}{name} is missing")
        for name in found:
            if name not in asked:
                raise self.misfit(f"{root}{name} is in the file, but not in the tree to fill")

    def _restored(self, name: str, like: object) -> object:
        tensor, expected = self.tensors[name], _tensor(name, like)
        if (tensor.shape, tensor.dtype) != (expected.shape, expected.dtype):
            raise self.misfit(
                f"{name} has shape {tensor.shape} and dtype {tensor.dtype}, "
                f"but the tree to fill has shape {expected.shape} and dtype {expected.dtype}"
            )
        if isinstance(like, np.ndarray):
            return tensor
        return tensor[()] if isinstance(like, np.generic) else tensor.item()

    def turned(self, name: str, place: str, like: object) -> Tensor:
        """A tensor of PyTorch's, with its first two axes last, for the leaf at a place."""
        tensor, expected = self.tensors[name], _tensor(place, like)
        turned = tensor if tensor.ndim < 2 else np.moveaxis(tensor, (0, 1), (-1, -2))
        if turned.shape != expected.shape or not np.can_cast(turned.dtype, expected.dtype):
            raise self.misfit(
                f"{name} has shape {tensor.shape} and dtype {tensor.dtype}, which does not fit {place} "
                f"of shape {expected.shape} and dtype {expected.dtype}"
            )
        return np.array(turned, expected.dtype, order="C")

    def misfit(self, problem: str) -> errors.StructureError:
        """Say what does not fit, and which file it is in."""
        return errors.StructureError(f"{self.path}: {problem}")


def _safetensors() -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError:
        raise errors.missing_extra("io", "safetensors", "saving and loading") from None
    return safetensors


def _header(data: bytes) -> Object:
    return _object(data[8 : 8 + int.from_bytes(data[:8], "little")])


def _object(text: str | bytes) -> Object:
    """A JSON object in which no name stands twice."""

    def unique(pairs: list[tuple[str, Json]]) -> Object:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name stands twice in its header")
        return found

    found = json.loads(text, object_pairs_hook=unique)
    if not isinstance(found, dict):
        raise TypeError("its header is no JSON object")
    return found


def _about(header: Object, names: Collection[str]) -> tuple[Json, dict[str, object]]:
    """The description of the structure in which tensors stand, None if there is none, and the metadata."""
    texts = cast("dict[str, str]", header.get("__metadata__", {}))  # the library has seen to it
    ours = _object(texts.get(_HEADER, "{}"))
    metadata = ours.get("metadata", {})
    if not isinstance(metadata, dict):
        raise TypeError("its metadata are no JSON object")
    structure = ours.get("structure")
    if structure is not None and sorted(_leaf_names(_ROOT, structure)) != sorted(names):
        raise ValueError("its structure and its tensors disagree")
    return structure, {**metadata}


def _sound(name: str, tensor: Tensor) -> Tensor:
    """A tensor whose memory is its own, and whose truth values are such."""
    if tensor.dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {tensor.dtype}, and not real numbers")
    if tensor.dtype.kind == "b" and (tensor.view(np.uint8) > 1).any():
        raise ValueError(f"{name} holds what is neither True nor False")
    return tensor if tensor.flags.writeable else tensor.copy()


def _damage(data: bytes) -> str | None:
    """Which tensor is cut off, or of no dtype that can be read, where the header is whole."""
    held = len(data) - 8 - int.from_bytes(data[:8], "little")
    try:
        header = _header(data)
    except (ValueError, TypeError, RecursionError):
        return None
    for name, about in header.items():
        match about:
            case {"dtype": str(dtype)} if dtype not in _DTYPES:
                return f"{name} holds {dtype}, and not real numbers of a dtype of NumPy's"
            case {"data_offsets": [_, int(end)]} if end > held:
                return f"it ends before {name} does"
    return None


# --- leaves and structures --------------------------------------------------------------------------------------------
def _tensor(name: str, leaf: object) -> Tensor:
    """A leaf as the library wants it: dense, row by row, in the machine's byte order."""
    if type(leaf) in (float, int, bool, np.ndarray) or isinstance(leaf, np.generic):
        array = np.asarray(leaf)
        if array.dtype.kind in "fiub" and array.dtype.itemsize <= 8:
            return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    kind = f"{type(leaf).__name__} of dtype {leaf.dtype}" if isinstance(leaf, np.ndarray) else type(leaf).__name__
    raise errors.LeafError(f"{name} is a {kind}: only numbers and NumPy arrays of real numbers can be saved")


def _described(tree: object) -> Json:
    """A tree as JSON: a leaf is the name of its kind; what a node holds stands under what leads there (`[0]`, `.w`).

    It has been taken apart before, so that its classes are known.
    """
    children, structure = optree.tree_flatten(tree, is_leaf=lambda x: x is not tree, namespace=NAMESPACE)  # type: ignore[arg-type, var-annotated]  # its PyTree admits no object
    if tree is None:
        return _NONE
    if structure.is_leaf():
        return (
            "array"
            if isinstance(tree, np.ndarray)
            else "scalar"
            if isinstance(tree, np.generic)
            else str(type(tree).__name__)
        )
    below = dict(zip(paths(structure, ""), children, strict=True))
    if isinstance(tree, dict):
        below = {segment: below[segment] for segment in (f"[{key!r}]" for key in tree)}  # in the order they came in
    static = [name for name, is_static in (fields(type(tree)) or {}).items() if is_static]
    return {
        "is": "dict" if isinstance(tree, dict) else type(tree).__name__,
        "has": {segment: _described(child) for segment, child in below.items()},
        "static": {f".{name}": _plain(getattr(tree, name)) for name in static},
    }


def _plain(value: object) -> Json:
    """A static field as JSON: itself where it can be, and else as much as tells one from another in every process."""
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return f"<{value.__qualname__}>"
    if isinstance(value, float | np.dtype | np.generic | np.ufunc):
        return str(value)
    known = fields(type(value)) or {}
    return {"is": type(value).__name__, **{name: _plain(getattr(value, name)) for name in known}}


def _apart(described: Json) -> tuple[str, Object, Object]:
    """The kind of a node, its children and its static fields."""
    if isinstance(described, dict):
        kind, below, static = described.get("is"), described.get("has"), described.get("static")
        if isinstance(kind, str) and isinstance(below, dict) and isinstance(static, dict):
            return kind, below, static
    raise ValueError("its structure is none")


def _leaf_names(name: str, described: Json) -> Iterator[str]:
    if described in _LEAVES:
        yield name
    elif described != _NONE:
        for segment, child in _apart(described)[1].items():
            yield from _leaf_names(name + segment, child)


def _kind(described: Json) -> str:
    if isinstance(described, str):
        return "None" if described == _NONE else "a number or array"
    return f"a {_apart(described)[0]}"


def _key(segment: str) -> object:
    """What leads to an entry, as a key of a dict: `.w` and `['w']` are "w", `[3]` is 3."""
    if segment.startswith("."):
        return segment[1:]
    try:
        key = ast.literal_eval(segment[1:-1])
        hash(key)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return segment
    return key


def _module_order(name: str) -> tuple[list[str | int], bool]:
    """Modules in the order of the numbers in their names; what is no weight comes after it."""
    module, _, kind = name.rpartition(".")
    return [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", module)], kind != "weight"
