"""Traces: a function of pytrees, run once on nodes in a fresh scope, becomes an immutable value.

Knows functions, pytrees and scopes, and what may go in and come out; nothing of derivatives.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Final, ParamSpec, TypeAlias, TypeVar

import attrs

from fgrad import errors, graph, tree
from fgrad.arrays import copied, namespace, quiet
from fgrad.node import INPUT, Node, Scope, concrete, escaped, record

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

    @property
    def program(self) -> graph.Program:
        """What the trace does, without its values; nodes of older scopes are constants."""
        return graph.program(self.inputs, self.outputs, self.scope)

    def __reduce__(self) -> tuple[Callable[..., "Trace"], tuple[object, ...]]:
        names = [self.scope.input_name(i) for i in range(len(self.inputs))]
        values = [x.value for x in self.inputs]
        return _rerun, (self.program, values, names, self.in_structure, self.out_structure, self.aux)


def _rerun(
    program: graph.Program,
    values: list[object],
    names: list[str],
    in_structure: tree.Structure,
    out_structure: tree.Structure,
    aux: object,
) -> Trace:
    scope = Scope(names.__getitem__)
    inputs = tuple([record(INPUT, (), (i,), x, scope) for i, x in enumerate(values)])
    with quiet():
        outputs = program(*inputs)
    scope.open = False
    return Trace(scope, inputs, outputs, in_structure, out_structure, aux)


def close(f: Callable[..., object], args: Sequence[object], stands_for: str = "") -> tuple[graph.Program, Trace]:
    """Trace a function that will run again, and make it a program of its own arguments and of its free nodes.

    The free nodes are those of older scopes that f reaches as a closure does: they become further inputs, so that they
    keep their gradients. `args` are leaves; `stands_for` says what each stands for, if it is many values.
    """
    traced = run(lambda inputs: f(*inputs), tuple(args), argument_namer(f), raw=True, stands_for=stands_for)
    return graph.program([*traced.inputs, *traced.free], traced.outputs, traced.scope), traced


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
) -> Trace:
    """Trace `f` on a tuple or dict of pytrees, its inputs; `root` names an entry, for messages.

    With `has_aux`, f returns a pair, whose second half is kept, with nodes of this scope unwrapped.
    With `own`, arrays among the inputs are copied. With `raw`, they are taken as they are, of any dtype; else a
    `LeafError` is raised for what cannot be differentiated. `stands_for` is the scope's.
    """
    leaves, structure = tree.flatten(inputs)

    def input_name(i: int) -> str:
        return tree.paths(structure, root)[i]

    values = leaves
    if not raw:
        values = [x if type(x) is float else _value(x, i, input_name) for i, x in enumerate(leaves)]
    if own:
        values = [copied(x) for x in values]
    scope = Scope(input_name, stands_for)
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
