"""Traces: a function of pytrees, run once on nodes in a fresh scope, becomes an immutable value.

Knows functions, pytrees and scopes, and what may go in and come out; nothing of derivatives.
"""

import dataclasses
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, ParamSpec, Self, TypeAlias, TypeVar, cast

import attrs

from fgrad import errors, graph, tree
from fgrad.arrays import copied, namespace, quiet
from fgrad.node import INPUT, Node, Scope, concrete, escaped, record, shape

if TYPE_CHECKING:
    from fgrad.archive import Stored
    from fgrad.exact import Numbers
    from fgrad.files import PathLike

P = ParamSpec("P")
Inputs = TypeVar("Inputs")
V = TypeVar("V")
Keyed: TypeAlias = dict[int | str, object]

_dtype_kinds: Final[dict[object, str]] = {}  # a memo: asking an array library takes microseconds


@attrs.frozen(eq=False, repr=False)
class Trace:
    """The graph of one run of a function: its inputs and outputs, as leaves, and the structures they had as pytrees."""

    scope: Scope
    inputs: tuple[Node, ...]
    outputs: tuple[object, ...]
    in_structure: tree.Structure
    out_structure: tree.Structure
    aux: object = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that the outputs depend on, and all inputs, oldest first."""
        return (*self.inputs, *reversed(graph.ancestors(self.outputs, self.scope, constants=True)))

    @property
    def free(self) -> list[Node]:
        """The nodes of older scopes that the outputs depend on: what f reached as a closure does."""
        return graph.free_nodes(self.outputs, self.scope)

    def __repr__(self) -> str:
        return f"<Trace of {len(self.nodes)} nodes, {len(self.inputs)} inputs, {len(self.outputs)} outputs>"

    @cached_property
    def program(self) -> graph.Program:
        """What the trace does, without its values; nodes of older scopes are constants."""
        return graph.program(self.inputs, self.outputs, self.scope)

    @cached_property
    def fingerprint(self) -> str:
        """A name for what the trace does, in hexadecimal digits, whatever the inputs' values.

        It is the same in every process where the program is the same: the ops in their order, their params, the
        constants to the last bit, the structures of arguments and result, and the inputs' dtypes and shapes.

        >>> trace(lambda x: x * 2.0)(1.0).fingerprint == trace(lambda y: 2.0 * y)(1.0).fingerprint
        False
        >>> trace(lambda x: x * 2.0)(1.0).fingerprint == trace(lambda y: y * 2.0)(5.0).fingerprint
        True
        """
        from fgrad import archive  # lazily: importing fgrad stays quick

        return archive.fingerprint(self._stored(()))

    def replay(self, *args: object, **kwargs: object) -> object:
        """Do on other numbers what was done on those that were traced: arguments and result are pytrees as they were.

        The branches that were taken are taken again. On floats and arrays every bit is as in the function itself. On
        `fractions.Fraction` all is exact, and on SymPy's symbols the result is a formula, where the ops make sense
        there: constants become numbers of that kind, floats at their binary value. Arrays of either are NumPy's of
        dtype object. Traced values are derived through as through any function.

        Raises `StructureError` for arguments of another structure or shape, and `MissingRowError` or `ConversionError`
        naming an op that has no meaning on such numbers.

        >>> from fractions import Fraction
        >>> from fgrad import grad
        >>> traced = trace(grad(lambda x: (x + 1.0) / (x * x)))(2.0)
        >>> traced.replay(2.0), traced.replay(Fraction(1, 3))
        (-0.5, Fraction(-63, 1))
        """
        given = keyed(args, kwargs) if self.in_structure.type is dict else args
        leaves = tree.matching_leaves(self.in_structure, given, "arguments")
        from fgrad import exact  # lazily, as above

        numbers = exact.numbers_of(leaves)
        values = [self._like_input(i, x, numbers) for i, x in enumerate(leaves)]
        with quiet():
            outputs = self.program(*values) if numbers is None else exact.evaluate(self.program, values, numbers)
        return tree.unflatten(self.out_structure, [copied(y) for y in outputs])

    def _like_input(self, i: int, x: object, numbers: "Numbers | None") -> object:
        """The value for input i, which must have its shape."""
        if numbers is None and type(x) is not float:
            x = _value(x, i, self.scope.input_name)
        have, wanted = getattr(concrete(x), "shape", ()), shape(self.inputs[i])
        if have != wanted:
            raise errors.StructureError(
                f"{self.scope.input_name(i)} has the shape {have}, and was traced with {wanted}: write "
                "fgrad.vmap(traced.replay) for many at once, np.array([x, y], dtype=object) for an array of symbols"
            )
        return x

    def save(self, path: "PathLike") -> None:
        """Write the trace to a file as JSON text, which is there whole or not at all.

        Raises `LeafError` for what cannot be written, such as a user's own op or a class defined inside a function,
        and OSError where the file cannot be written.

        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "square.json"
        >>> trace(lambda x: {"y": x * x})(3.0).save(path)
        >>> Trace.load(path).replay(4.0)
        {'y': 16.0}
        """
        from pathlib import Path

        from fgrad import archive  # lazily, as above
        from fgrad.files import replace_files

        replace_files({Path(path): archive.dumps(self._stored(self._names)).encode("utf-8")})

    @classmethod
    def load(cls, path: "PathLike") -> Self:
        """Read a trace that `save` wrote. Nothing in the file is executed, and nothing is imported for it.

        Where arguments or result are of the user's own classes, their modules must be imported before. Raises
        `DataError` saying what is wrong with the file, and OSError where it cannot be read.
        """
        from pathlib import Path  # lazily, as above

        from fgrad import archive

        data = Path(path).read_bytes()
        try:
            return cast("Self", _rerun(archive.loads(data.decode("utf-8"))))
        except Exception as error:  # whatever an op may say of params that no trace has
            raise errors.DataError(f"{os.fspath(path)}: {error}") from error

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """The names of the arguments."""
        found, first = [], 0
        for entry, child in zip(self.in_structure.entries(), self.in_structure.children(), strict=True):
            by_place = isinstance(entry, int) and child.num_leaves
            # What an input is called is the argument's name, and then how its leaf is reached: x[0], params.w.
            found.append(re.split(r"[\[.]", self.scope.input_name(first))[0] if by_place else str(entry))
            first += child.num_leaves
        return tuple(found)

    def _stored(self, names: tuple[str, ...]) -> "Stored":
        """The trace as data."""
        inputs = tree.unflatten(self.in_structure, range(len(self.inputs)))
        outputs = tree.unflatten(self.out_structure, range(len(self.outputs)))
        from fgrad.archive import Stored  # lazily, as above

        return Stored(self.program, tuple([x.value for x in self.inputs]), names, inputs, outputs)

    def __reduce__(self) -> tuple[Callable[..., "Trace"], tuple[object, ...]]:
        return _rerun, (self._stored(self._names), self.aux)

    def __copy__(self) -> Self:
        return self  # nothing is ever written to it

    def __deepcopy__(self, memo: object) -> Self:
        return self


def _rerun(stored: "Stored", aux: object = None) -> Trace:
    """Make the nodes of a trace again, by doing its program."""
    _, in_structure = tree.flatten(stored.inputs)
    _, out_structure = tree.flatten(stored.outputs)
    names = dict(zip(in_structure.entries(), stored.names, strict=True))
    scope = Scope(lambda i: tree.paths(in_structure, lambda entry: names[entry])[i])
    inputs = tuple([record(INPUT, (), (i,), x, scope) for i, x in enumerate(stored.values)])
    try:
        with quiet():
            outputs = stored.program(*inputs)
    finally:
        scope.open = False
    return Trace(scope, inputs, outputs, in_structure, out_structure, aux)


def close(
    fs: Sequence[Callable[..., object]], args: Sequence[object], stands_for: str = ""
) -> tuple[list[graph.Program], list[Node], list[Trace]]:
    """Trace functions of the same arguments that will run again: as programs of these and of the free nodes of all.

    The free nodes are those of older scopes that the functions reach as closures do: they become further inputs, so
    that they keep their gradients. `args` are leaves; `stands_for` says what each stands for, if it is many values.
    """

    def traced(f: Callable[..., object]) -> Trace:
        return run(lambda inputs: f(*inputs), tuple(args), argument_namer(f), raw=True, stands_for=stands_for)

    traces = [traced(f) for f in fs]
    free = list(dict.fromkeys([x for t in traces for x in t.free]))
    return [graph.program([*t.inputs, *free], t.outputs, t.scope) for t in traces], free, traces


@attrs.frozen(eq=False)
class Call:
    """The arguments of a call, as a tree whose leaves at `places` are what it is computed from."""

    leaves: tuple[object, ...]
    structure: tree.Structure
    places: tuple[int, ...]

    @property
    def operands(self) -> tuple[object, ...]:
        """The leaves that it is computed from."""
        return tuple([self.leaves[i] for i in self.places])

    def filled(self, operands: Sequence[object]) -> Keyed:
        """The arguments, with other values for these leaves."""
        leaves = dict(enumerate(self.leaves)) | dict(zip(self.places, operands, strict=True))
        return cast("Keyed", tree.unflatten(self.structure, list(leaves.values())))


def trace(f: Callable[P, object]) -> Callable[P, Trace]:
    """Make the function that gives the graph of `f` at some arguments.

    >>> trace(lambda x: x * x + x)(3.0)
    <Trace of 3 nodes, 1 inputs, 1 outputs>
    """

    def traced(*args: P.args, **kwargs: P.kwargs) -> Trace:
        return run(lambda inputs: call_keyed(f, inputs), keyed(args, kwargs), argument_namer(f), own=True)

    return traced


def keyed(args: Sequence[object], kwargs: Mapping[str, object]) -> Keyed:
    """All arguments of a call in one dict, by place or name."""
    inputs: Keyed = dict(enumerate(args))
    inputs.update(kwargs)
    return inputs


def call_keyed(f: Callable[..., V], inputs: Keyed) -> V:
    """Call f with what `keyed` put together."""
    args = [inputs[i] for i in sorted(i for i in inputs if isinstance(i, int))]
    return f(*args, **{name: x for name, x in inputs.items() if isinstance(name, str)})


def argument_namer(f: Callable[..., object], argnums: Sequence[int] | None = None) -> Callable[[object], str]:
    """Name f's arguments for messages: by keyword, or by place (or by place in `argnums`)."""

    def name(entry: object) -> str:
        if not isinstance(entry, int):
            return str(entry)
        place = entry if argnums is None else argnums[entry]
        try:
            return list(inspect.signature(f).parameters)[place]
        except (ValueError, TypeError, IndexError):  # a builtin without a signature, or one of *args
            return f"argument {place}"

    return name


def run(
    f: Callable[[Inputs], object],
    inputs: Inputs,
    root: Callable[[object], str],
    *,
    has_aux: bool = False,
    own: bool = False,
    raw: bool = False,
    stands_for: str = "",
    decisions: list[tuple[Node, bool | int]] | None = None,
) -> Trace:
    """Trace `f` on a tuple or dict of pytrees, its inputs; `root` names an entry, for messages.

    With `has_aux`, f returns a pair, whose second half is kept, with nodes of this scope unwrapped.
    With `own`, arrays among the inputs are copied. With `raw`, they are taken as they are, of any dtype; else a
    `LeafError` is raised for what cannot be differentiated. `stands_for` and `decisions` are the scope's.
    """
    leaves, structure = tree.flatten(inputs)

    def input_name(i: int) -> str:
        return tree.paths(structure, root)[i]

    values = leaves
    if not raw:
        values = [x if type(x) is float else _value(x, i, input_name) for i, x in enumerate(leaves)]
    if own:
        values = [copied(x) for x in values]
    scope = Scope(input_name, stands_for, decisions)
    try:
        nodes = [record(INPUT, (), (i,), x, scope) for i, x in enumerate(values)]
        result: object = f(tree.unflatten(structure, nodes))  # type: ignore[arg-type]  # of the structure that they have
    finally:
        scope.open = False
    aux = None
    if has_aux:
        if not isinstance(result, tuple) or len(result) != 2:
            raise errors.OutputError(
                f"with has_aux=True a function returns (result, aux), not {describe(result)}: "
                "return both, or leave has_aux out"
            )
        result, aux = result
        aux = tree.map(lambda x: _seen_outside(x, scope), aux)
    outputs, out_structure = tree.flatten(result)
    for x in outputs:
        if type(x) is Node and x.scope is not scope:
            _seen_outside(x, scope)
    return Trace(scope, tuple(nodes), tuple(outputs), structure, out_structure, aux)


def _seen_outside(x: object, scope: Scope) -> object:
    """Unwrap a node of `scope`, and let one of an older scope be; any other has escaped."""
    if type(x) is not Node:
        return copied(x)
    if x.scope is scope:
        return copied(x.value)
    if x.scope.open and x.scope.serial < scope.serial:
        return x
    raise escaped(x, "returned")


def _value(leaf: object, i: int, input_name: Callable[[int], str]) -> object:
    """What a leaf is differentiated as: floats as they are, integers as floats."""
    if type(leaf) is Node:
        if not leaf.scope.open:
            raise escaped(leaf, "given to a transform")
        value = concrete(leaf)
        if type(value) is float or value is _value(value, i, input_name):
            return leaf
        return leaf * 1.0  # an integer, as in a batch of them
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        return float(leaf)
    if isinstance(leaf, float) and type(leaf).__module__ != "numpy":
        return float(leaf)
    try:
        xp = namespace(leaf)
        dtype = leaf.dtype  # type: ignore[attr-defined]  # an array has it
    except (errors.ConversionError, AttributeError):
        raise _bad_leaf(leaf, input_name(i)) from None
    kind = _dtype_kinds.get(dtype)
    if kind is None:
        kind = _dtype_kinds[dtype] = next((k for k in ("real floating", "integral") if xp.isdtype(dtype, k)), "other")
    if kind == "real floating":
        return leaf
    if kind == "integral":
        return xp.astype(xp.asarray(leaf), xp.float64)[()]
    raise _bad_leaf(leaf, input_name(i))


def _bad_leaf(leaf: object, path: str) -> errors.LeafError:
    fix = "differentiate with respect to real numbers and arrays of them alone"
    if isinstance(leaf, bool | str):
        fix = (
            "if it is a setting, declare the field static, `name: str = fgrad.tree.static()` in an attrs class or "
            "`dataclasses.field(metadata=fgrad.tree.STATIC)` in a frozen dataclass, or bind it with functools.partial"
        )
    elif isinstance(leaf, complex) or "complex" in str(getattr(leaf, "dtype", "")):
        fix = "differentiate with respect to the real and the imaginary part"
    elif dataclasses.is_dataclass(leaf):
        fix = "make the dataclass frozen: @dataclasses.dataclass(frozen=True)"
    return errors.LeafError(f"{path} is {describe(leaf)}, which has no derivative: {fix}")


def describe(x: object) -> str:
    """Name a value shortly, for messages."""
    value = concrete(x)
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"an array of shape {tuple(shape)} and dtype {value.dtype}"  # type: ignore[attr-defined]  # an array
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"
