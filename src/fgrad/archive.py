"""Traces as data: what of a trace is kept, that as JSON text, and a fingerprint of the program.

Knows how each kind of value is written down and read back, without pickle and without running anything; nothing of
what an op means.

The text is one JSON object: `format` and `version`; the `names` of the arguments; the `values` of the inputs; `inputs`
and `outputs`, as pytrees of places; and the `program`. Of a program, `ops` are names; each of `steps` is an op, by its
place among these, the step's parents and, if there are any, its params; a parent is the place of an input (these come
first) or of an earlier step, or `{"constant": …}`. Numbers, strings, true, false and null stand for themselves, a list
for a tuple; anything else is an object with one key that says what it is, as the rows below do.
"""

import base64
import hashlib
import json
import math
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType
from typing import Final, NamedTuple, TypeAlias, cast

import attrs

from fgrad import errors, graph, tree
from fgrad.arrays import numpy
from fgrad.graph import Link, Program, Step
from fgrad.node import TABLE, Op, concrete

Json: TypeAlias = object
"""What the json module reads and writes."""
Find: TypeAlias = Callable[[str], type]
"""The class of that path, `module:qualified.name`."""

FORMAT: Final = "fgrad trace"
VERSION: Final = 1
_PLAIN: Final = frozenset({int, bool, str, type(None)})  # what JSON has as it is, and float where it is finite
_DTYPE: Final = re.compile(r"[<|][fiub]\d+")


@attrs.frozen(eq=False)
class Stored:
    """A trace without its nodes: its program, the inputs' values, the arguments' names, and two trees of places."""

    program: Program
    values: tuple[object, ...]
    names: tuple[str, ...]
    inputs: object
    """The arguments, with its place for each leaf."""
    outputs: object


# --- one row for each kind of value ----------------------------------------------------------------------------------
class Kind(NamedTuple):
    """How values of one kind are told, written as the content of their tag, and read back from it."""

    tag: str
    holds: Callable[[object], bool]
    write: Callable[..., Json]
    read: Callable[..., object]


def _is(*types: type) -> Callable[[object], bool]:
    return lambda x: type(x) in types


def _is_record(x: object) -> bool:
    """Whether x is what `tree` takes for a record too: of an attrs class, or of a frozen dataclass."""
    return not isinstance(x, type) and tree.fields(type(x)) is not None


def _is_numpy(name: str) -> Callable[[object], bool]:
    """Whether a value is of that class of NumPy's, which is not imported for it."""
    return lambda x: "numpy" in sys.modules and isinstance(x, getattr(numpy(), name))


def _write_list(x: Sequence[object], strict: bool) -> list[Json]:
    return [write(y, strict) for y in x]


def _read_list(content: Sequence[Json], find: Find) -> list[object]:
    return [read(y, find) for y in content]


def _write_items(x: Mapping[int, object] | Mapping[object, object], strict: bool) -> Json:
    return [[write(key, strict), write(value, strict)] for key, value in x.items()]


def _read_items(content: list[list[Json]], find: Find) -> list[tuple[object, object]]:
    return [(read(key, find), read(value, find)) for key, value in content]


def _write_float(x: float, strict: bool) -> Json:
    return repr(x)


def _read_float(content: str, find: Find) -> float:
    if content not in ("inf", "-inf", "nan"):
        raise ValueError(f"{content!r} is no float")
    return float(content)


def _write_record(x: object, strict: bool) -> Json:
    return [_path(type(x), strict), {name: write(getattr(x, name), strict) for name in tree.fields(type(x)) or ()}]


def _read_record(content: list[Json], find: Find) -> object:
    """Rebuild past `__init__`, as `tree` does, so that nothing of the class is run."""
    path, values = cast("tuple[str, dict[str, Json]]", content)
    cls = find(path)
    fields = tree.fields(cls)
    if fields is None or sorted(values) != sorted(fields):
        raise ValueError(f"{path} has the fields {list(fields or ())}, and not {list(values)}")
    x: object = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(x, name, read(value, find))
    return x


def _is_named_tuple(x: object) -> bool:
    return isinstance(x, tuple) and "_fields" in vars(type(x))


def _write_named_tuple(x: tuple[object, ...], strict: bool) -> Json:
    return [_path(type(x), strict), _write_list(x, strict)]


def _read_named_tuple(content: list[Json], find: Find) -> object:
    path, values = cast("tuple[str, list[Json]]", content)
    cls = find(path)
    if not issubclass(cls, tuple) or len(cls._fields) != len(values):  # type: ignore[attr-defined]  # named tuples have it
        raise ValueError(f"{path} is no named tuple of {len(values)}")
    return tuple.__new__(cls, _read_list(values, find))


def _write_dtype(x: object, strict: bool) -> str:
    """A dtype in little-endian form, whatever the machine's own is."""
    dtype = numpy().dtype(x)
    if dtype.kind not in "fiub" or dtype.name.startswith("bfloat"):
        raise errors.LeafError(f"the dtype {dtype} cannot be written as text: only those of real numbers can")
    return str(dtype.newbyteorder("<").str)


def _read_dtype(content: str, find: Find) -> object:
    if not _DTYPE.fullmatch(content):
        raise ValueError(f"{content!r} is no dtype of real numbers")
    return numpy().dtype(content).newbyteorder("=")


def _write_array(x: object, strict: bool) -> Json:
    array = numpy().asarray(x)
    dtype = _write_dtype(array.dtype, strict)
    data = array.astype(dtype, order="C").tobytes()
    return {"dtype": dtype, "shape": list(array.shape), "data": base64.b64encode(data).decode("ascii")}


def _read_array(content: dict[str, Json], find: Find) -> object:
    np, dtype = numpy(), _read_dtype(cast("str", content["dtype"]), find)
    flat = np.frombuffer(base64.b64decode(cast("str", content["data"]), validate=True), content["dtype"])
    return flat.reshape(_integers(content["shape"])).astype(dtype)


def _integers(content: Json) -> list[int]:
    if not isinstance(content, list) or not all(type(i) is int and i >= 0 for i in content):
        raise ValueError(f"{content!r} is no list of lengths")
    return content


def _write_program(program: Program, strict: bool) -> Json:
    places: dict[Op, int] = {}
    steps: list[Json] = []
    for op, parents, params in program.steps:
        if op not in places and strict and TABLE.get(op.name) is not op:
            raise errors.LeafError(f"the op {op.name} is not in fgrad's table, so that no other process would know it")
        step: list[Json] = [places.setdefault(op, len(places))]
        step.append([x.place if type(x) is Link else {"constant": write(x, strict)} for x in parents])
        if params:
            step.append(_write_list(params, strict))
        steps.append(step)
    outputs = _write_list(program.outputs, strict)
    return {"arity": program.arity, "ops": [op.name for op in places], "steps": steps, "outputs": outputs}


def _read_program(content: dict[str, Json], find: Find) -> Program:
    """A program whose links are sound. No class but fgrad's own is taken into it, since ops may call what they hold."""
    ops = [_op(name) for name in cast("list[str]", content["ops"])]
    links: dict[int, Link] = {}
    steps = [_read_step(ops, links, *step) for step in cast("list[tuple[Json, Json]]", content["steps"])]
    outputs = _read_list(cast("list[Json]", content["outputs"]), own_class)
    program = Program(cast("int", content["arity"]), tuple(steps), tuple(outputs))
    if type(program.arity) is not int or program.arity < 0:
        raise ValueError(f"a program of {program.arity!r} inputs")
    if fault := graph.fault(program):
        raise ValueError(fault)
    return program


def _op(name: str) -> Op:
    if name not in TABLE:
        raise ValueError(f"this version of fgrad has no op {name!r}")
    return TABLE[name]


def _read_step(
    ops: Sequence[Op], links: dict[int, Link], code: Json, parents: Json, params: Sequence[Json] = ()
) -> Step:
    if type(code) is not int or not 0 <= code < len(ops):
        raise ValueError(f"op {code!r} of {len(ops)}")
    found: list[object] = []
    for x in cast("list[Json]", parents):
        if type(x) is int:
            found.append(links[x] if x in links else links.setdefault(x, Link(x)))
        else:
            found.append(read(cast("dict[str, Json]", x)["constant"], own_class))
    return ops[code], tuple(found), tuple(_read_list(params, own_class))


_KINDS: Final = (
    Kind("float", _is(float), _write_float, _read_float),
    Kind("link", _is(Link), lambda x, strict: x.place, lambda content, find: Link(content)),
    Kind("list", _is(list), _write_list, _read_list),
    Kind("dict", _is(dict), _write_items, lambda content, find: dict(_read_items(content, find))),
    Kind("ordered dict", _is(OrderedDict), _write_items, lambda content, find: OrderedDict(_read_items(content, find))),
    Kind("ellipsis", _is(EllipsisType), lambda x, strict: None, lambda content, find: ...),
    Kind("program", _is(Program), _write_program, _read_program),
    Kind("named tuple", _is_named_tuple, _write_named_tuple, _read_named_tuple),
    Kind("record", _is_record, _write_record, _read_record),
    Kind("dtype", _is_numpy("dtype"), _write_dtype, _read_dtype),
    Kind("array", _is_numpy("ndarray"), _write_array, _read_array),
    Kind("number", _is_numpy("generic"), _write_array, lambda content, find: _read_array(content, find)[()]),  # type: ignore[index]  # an array
)
_BY_TAG: Final = {kind.tag: kind for kind in _KINDS}


def write(x: object, strict: bool = True) -> Json:
    """Give what stands for a value in JSON. If `strict`, other processes must be able to read it."""
    kind = type(x)
    if kind in _PLAIN or (kind is float and math.isfinite(cast("float", x))):
        return x
    if kind is tuple:
        return _write_list(cast("tuple[object, ...]", x), strict)
    for row in _KINDS:
        if row.holds(x):
            return {row.tag: row.write(x, strict)}
    raise errors.LeafError(
        f"a {kind.__name__} cannot be written as text: only numbers, NumPy arrays, strings and containers of them can. "
        "Where it is a rule of your own (custom_vjp, custom_jvp), trace the gradient, which has none left in it"
    )


def read(content: Json, find: Find) -> object:
    """Give the value that `write` wrote; `find` finds the classes that may be in it."""
    if type(content) in _PLAIN or type(content) is float:
        return content
    if isinstance(content, list):
        return tuple(_read_list(content, find))
    ((tag, inner),) = cast("dict[str, Json]", content).items()
    if tag not in _BY_TAG:
        raise ValueError(f"{tag!r} is no kind of value")
    return _BY_TAG[tag].read(inner, find)


# --- classes, by name ------------------------------------------------------------------------------------------------
def _path(cls: type, strict: bool) -> str:
    path = f"{cls.__module__}:{cls.__qualname__}"
    if strict and "<locals>" in path:
        raise errors.LeafError(
            f"the class {cls.__qualname__} could not be found again by its name: define it outside of functions"
        )
    return path


def any_class(path: str) -> type:
    """The class of that path, of a module that is imported already: reading a file imports and runs nothing."""
    module, _, names = path.partition(":")
    if module not in sys.modules:
        raise ValueError(f"it holds a {names}: import {module} first")
    found: object = sys.modules[module]
    for name in names.split("."):
        if name not in vars(found):
            raise ValueError(f"{module} has no class {names}")
        found = vars(found)[name]
    if not isinstance(found, type) or _path(found, strict=False) != path:  # a class under its own name alone
        raise ValueError(f"{path} is no class")
    return found


def own_class(path: str) -> type:
    """The class of that path, which must be one of fgrad's own."""
    if path.partition(".")[0] != "fgrad":
        raise ValueError(f"a program cannot hold a {path}")
    return any_class(path)


# --- whole traces ----------------------------------------------------------------------------------------------------
def dumps(stored: Stored) -> str:
    """Write a trace as JSON text. Raises `LeafError` for what cannot be written, or could not be read back."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "names": list(stored.names),
        "values": _write_list(stored.values, strict=True),
        "inputs": write(stored.inputs),
        "outputs": write(stored.outputs),
        "program": _write_program(stored.program, strict=True),
    }
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def loads(text: str) -> Stored:
    """Read what `dumps` wrote; nothing of it is run or imported. Raises ValueError saying what is wrong with it."""
    try:
        content = json.loads(text, parse_constant=_refuse)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError("this is no trace that fgrad saved")
        if content.get("version") != VERSION:
            raise ValueError(f"it is of version {content.get('version')!r}, and this fgrad reads {VERSION}")
        return _sound(
            Stored(
                program=_read_program(content["program"], own_class),
                values=tuple(_read_list(content["values"], own_class)),
                names=tuple(map(str, content["names"])),
                inputs=read(content["inputs"], any_class),
                outputs=read(content["outputs"], any_class),
            )
        )
    except KeyError as error:
        raise ValueError(f"{error} is missing") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (TypeError, AttributeError, IndexError) as error:  # one kind of JSON value where another should be
        raise ValueError(f"it is damaged: {error}") from None


def _sound(stored: Stored) -> Stored:
    """The same, if its parts fit together."""
    program = stored.program
    for name, count, places in (
        ("inputs", program.arity, stored.inputs),
        ("outputs", len(program.outputs), stored.outputs),
    ):
        leaves = tree.leaves(places)
        if len(leaves) != count or any(type(x) is not int or x != i for i, x in enumerate(leaves)):
            raise ValueError(f"its program has {count} {name}, and their tree has others")
    if len(stored.values) != program.arity:
        raise ValueError(f"its program has {program.arity} inputs, and {len(stored.values)} values are there")
    if not isinstance(stored.inputs, tuple | dict) or len(stored.inputs) != len(stored.names):
        raise ValueError("there is not a name for each argument")
    return stored


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def fingerprint(stored: Stored) -> str:
    """A name for what a trace does, in hexadecimal digits: the same in every process, whatever the inputs' values.

    It is the SHA-256 of the inputs' dtypes and shapes, the trees, and the program's columns, as text and as integers.
    """
    ops, which, widths, parents, constants, params = graph.columns(stored.program.steps)
    content = [
        VERSION,
        [_like(concrete(x)) for x in stored.values],
        write(stored.inputs, strict=False),
        write(stored.outputs, strict=False),
        _write_list(stored.program.outputs, strict=False),
        len(which),
        [op.name for op in ops],
        _write_list(constants, strict=False),
        _write_items(params, strict=False),
    ]
    digest = hashlib.sha256(json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii"))
    for column in (which, widths, parents):
        if sys.byteorder == "big":
            column.byteswap()
        digest.update(column)
    return digest.hexdigest()


def _like(x: object) -> Json:
    """The dtype and shape of a value."""
    shape = getattr(x, "shape", None)
    return type(x).__name__ if shape is None else [str(x.dtype), list(shape)]  # type: ignore[attr-defined]  # an array
