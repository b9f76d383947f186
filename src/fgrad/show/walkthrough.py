"""What a function does at some arguments, forward and back, as one immutable record that all views share.

Knows each value's name, formula, local derivatives and gradient, and every step of the backward pass; nothing of how
they are shown.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import count
from typing import Final, Literal, TypeAlias, cast

import attrs

from fgrad import errors, graph, tree
from fgrad.arrays import copied, namespace, quiet, read_only
from fgrad.differentials import is_real, one, outside
from fgrad.node import INPUT, TABLE, Node, Value, concrete, shape
from fgrad.ops.results import Parts
from fgrad.ops.shaping import sum_to
from fgrad.show import notation
from fgrad.trace import Trace, run
from fgrad.transforms import understand

Kind: TypeAlias = Literal["input", "named", "made"]
_ENTRY: Final = re.compile(r"""\.\w+|\[(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\]'"]*)\]""")


@attrs.frozen(eq=False)
class Operand:
    """One use of a value by an op: of the quantity `source`, or, where that is None, of a constant."""

    source: int | None
    value: object
    partial: float | None = None
    """The local derivative of the op's result by this operand, where both are numbers and there is one."""
    rule: str = ""
    """What stands for it, in words, where they are not."""
    carries: bool = False
    """Whether any derivative flows back through this operand."""


@attrs.frozen(eq=False)
class Quantity:
    """One value of the program: an argument's leaf, or what an op made of others; `gradient` is the result's by it.

    Without a result that is one number there are no gradients: they are None.
    """

    index: int
    name: str
    kind: Kind
    op: str
    operands: tuple[Operand, ...]
    value: object
    gradient: object
    formula: str
    """The op on the names of its operands."""
    numbers: str
    """The op on their values."""
    groups: tuple[str, ...] = ()
    """The containers that an argument's leaf lies in, from the outermost: model, model.layers, model.layers[0]."""
    own: bool = False
    """Whether the op is a user's, and no row of fgrad's table."""


@attrs.frozen(eq=False)
class Contribution:
    """What a step of the backward pass adds to the gradient of one operand; before the first addition it is None."""

    operand: int
    source: int
    amount: object
    before: object
    after: object


@attrs.frozen(eq=False)
class Step:
    """One step of the backward pass: a quantity whose gradient is complete hands it on to its operands."""

    quantity: int
    gradient: object
    contributions: tuple[Contribution, ...]


@attrs.frozen(eq=False)
class Decision:
    """A branch that the function took by a value."""

    quantity: int
    taken: bool | int


@attrs.frozen(eq=False)
class Walkthrough:
    """Both passes of a function at some arguments: quantities in forward order, and the steps of the way back."""

    function: str
    quantities: tuple[Quantity, ...]
    result: tuple[int, ...]
    """The quantities that the function returned."""
    steps: tuple[Step, ...]
    differentiated: bool
    """Whether the result is one number, so that there are gradients."""
    aside: tuple[Quantity, ...] = ()
    """What only branches depend on; their indices go on from those of the quantities."""
    decisions: tuple[Decision, ...] = ()
    """The branches that were taken, in order."""

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Where each name stands among the quantities."""
        return {q.name: q.index for q in self.quantities}

    def __getitem__(self, name: str) -> Quantity:
        if name not in self.places:
            known = ", ".join([*self.places][:12]) + (", …" if len(self.places) > 12 else "")
            raise errors.ArgumentError(f"no value is called {name!r}: there are {known}")
        return self.quantities[self.places[name]]


def walk(f: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]) -> Walkthrough:
    """Do both passes of `f`, called in one of the forms that `grad` has, on all arguments that have a derivative.

    By position, the first argument is an input, and so is each of which every leaf is a number or an array of floats;
    the others, and keywords beside them, are constants. By keyword alone, all are inputs.
    """
    places = tuple([i for i, x in enumerate(args) if i == 0 or _is_differentiable(x)])
    call = understand(f, places if len(args) > 1 else None, tuple(args), kwargs)
    decisions: list[tuple[Node, bool | int]] = []
    traced = run(call.function, call.inputs, call.root, own=True, decisions=decisions)
    merged, labels = _labels(traced)
    paths = [notation.clean(path) for path in tree.paths(traced.in_structure, call.root)]
    order = _call_order(traced)
    kept = [traced.inputs[i] for i in order]
    kept += [node for node in traced.nodes[len(order) :] if node not in merged]
    known = {*kept, *merged}
    deciding = graph.ancestors([node for node, _ in decisions], traced.scope, constants=True)
    aside = [node for node in reversed(deciding) if node not in known]
    index = {node: i for i, node in enumerate([*kept, *aside])}
    index |= {node: index[labelled] for node, labelled in merged.items()}
    y = traced.outputs[0] if len(traced.outputs) == 1 and is_real(traced.outputs[0]) else None
    differentiated = y is not None and not shape(y)
    gradients, steps = _backward(traced, y if differentiated else None, index, merged)
    names = _names([*kept, *aside], labels, [paths[i] for i in order])
    found = [_seen(gradients.get(node), node.value) if differentiated else None for node in kept]
    quantities = [_quantity(x, index, names, x in labels, g) for x, g in zip(kept, found, strict=True)]
    return Walkthrough(
        notation.clean(str(getattr(f, "__name__", type(f).__name__))),
        tuple(quantities),
        tuple([index[x] for x in traced.outputs if type(x) is Node and x.scope is traced.scope]),
        tuple(steps),
        differentiated,
        tuple([_quantity(x, index, names, x in labels, None) for x in aside]),
        tuple([Decision(index[x], taken) for x, taken in decisions]),
    )


def _call_order(traced: Trace) -> list[int]:
    """The inputs in the order of the call: keywords as they were written, which optree sorts."""
    numbered = tree.unflatten(traced.in_structure, range(len(traced.inputs)))
    entries = numbered.values() if isinstance(numbered, dict) else cast("tuple[object, ...]", numbered)
    return [cast("int", i) for entry in entries for i in tree.leaves(entry)]


def _is_differentiable(argument: object) -> bool:
    leaves = tree.leaves(argument)
    return bool(leaves) and all(type(x) in (float, int) or "float" in str(getattr(x, "dtype", "")) for x in leaves)


# --- names -----------------------------------------------------------------------------------------------------------
def _labels(traced: Trace) -> tuple[dict[Node, Node], dict[Node, str]]:
    """Which nodes are but the names of others, and what users called values.

    A name is a value of its own where what it names is an argument, or is used besides: there the two have different
    gradients.
    """
    nodes = traced.nodes
    uses = Counter(id(x) for xs in (*[node.parents for node in nodes], traced.outputs) for x in xs)
    merged: dict[Node, Node] = {}
    labels: dict[Node, str] = {}
    for node in nodes:
        if node.op is TABLE["named"]:
            (x,) = cast("tuple[Node]", node.parents)
            if x.scope is traced.scope and x.op is not INPUT and uses[id(x)] == 1:
                merged[node] = merged.get(x, x)
            labels[merged.get(node, node)] = notation.clean(cast("str", node.params[0]))
    return merged, labels


def _names(kept: Sequence[Node], labels: Mapping[Node, str], paths: Sequence[str]) -> list[str]:
    """A name for each node that no other has: the argument's path, the user's label, or v1, v2, …."""
    taken = {*paths, *labels.values()}
    made = (name for i in count(1) if (name := f"v{i}") not in taken)
    seen: set[str] = set()
    names = []
    for i, node in enumerate(kept):
        name = paths[i] if node.op is INPUT else labels.get(node) or next(made)
        if name in seen:
            name = next(other for k in count(2) if (other := f"{name}_{k}") not in seen | taken)
        seen.add(name)
        names.append(name)
    return names


def _groups(path: str) -> tuple[str, ...]:
    """The containers on the way to a leaf.

    >>> _groups("model.layers[0].w")
    ('model', 'model.layers', 'model.layers[0]')
    """
    ends = [match.start() for match in _ENTRY.finditer(path)]
    return tuple([path[:end] for end in ends])


# --- the two passes --------------------------------------------------------------------------------------------------
def _quantity(
    node: Node, index: Mapping[Node, int], names: Sequence[str], labelled: bool, gradient: object
) -> Quantity:
    i = index[node]
    operands = tuple(_operands(node, index))
    terms = [notation.brief(x.value) if x.source is None else notation.term(names[x.source]) for x in operands]
    numbers = [notation.brief(x.value, 4) for x in operands]
    is_input, name = node.op is INPUT, names[i]
    return Quantity(
        index=i,
        name=name,
        kind="input" if is_input else "named" if labelled else "made",
        op=node.op.name,
        operands=operands,
        value=read_only(concrete(node.value)),
        gradient=gradient,
        formula="" if is_input else notation.formula(node.op.name, terms, node.params),
        numbers="" if is_input else notation.formula(node.op.name, numbers, node.params),
        groups=_groups(name) if is_input else (),
        own=not is_input and TABLE.get(node.op.name) is not node.op,
    )


def _operands(node: Node, index: Mapping[Node, int]) -> Iterator[Operand]:
    """What an op was given, in order, with repeats."""
    scope, op = node.scope, node.op
    args = _arguments(node)
    values = [read_only(concrete(x)) for x in args]
    numbers = _is_number(node.value) or type(node.value) is bool
    for i, x in enumerate(node.parents):
        source = index[x] if type(x) is Node and x.scope is scope else None
        if source is None or op.vjp is None:
            yield Operand(source, values[i])
        elif numbers and (_is_number(args[i]) or type(args[i]) is bool):
            with scope, quiet():
                found = dict(_pulled(node, [i], cast("Value", one(node.value))))
            partial = float(cast("float", concrete(found[i]))) if i in found else None
            yield Operand(source, values[i], partial, "", i in found)
        else:
            yield Operand(source, values[i], None, _rule(node, i, values), True)


def _rule(node: Node, i: int, values: Sequence[object]) -> str:
    """The derivative by an array, in words, of which g is the gradient of the result."""
    partials = node.op.partials
    if partials is None:
        return notation.rule(node.op.name, i)
    partial = partials[i]
    with quiet():
        factor = partial(concrete(node.value), *values) if callable(partial) else partial
    return notation.rule("multiply", i, notation.value(factor, 3))


def _backward(
    traced: Trace, y: object, index: Mapping[Node, int], merged: Mapping[Node, Node]
) -> tuple[dict[Node, Value], list[Step]]:
    """The gradients of y by all nodes, and the steps to them: what `reverse.sweep` does, op by op."""
    scope = traced.scope
    held: dict[Node, Value] = {}
    steps = []
    if type(y) is Node and y.scope is scope:
        held[y] = cast("Value", one(y.value))
    with scope, quiet():
        for node in graph.ancestors(traced.outputs, scope):
            if node not in held:
                continue
            contributions = []
            for i, c in _pulled(node, _own(node), held[node]):
                x = cast("Node", node.parents[i])
                before = held.get(x)
                held[x] = c if before is None else before + c
                seen = [None if z is None else _seen(z, x.value) for z in (c, before, held[x])]
                contributions.append(Contribution(i, index[x], *seen))
            if node not in merged:
                steps.append(Step(index[node], _seen(held[node], node.value), tuple(contributions)))
    return held, steps


def _own(node: Node) -> list[int]:
    """The places of the operands that are nodes of the same scope."""
    return [i for i, x in enumerate(node.parents) if type(x) is Node and x.scope is node.scope]


def _arguments(node: Node) -> list[object]:
    """What the op was computed from, as the enclosing scope sees it."""
    return [outside(x, node.scope) for x in node.parents]


def _pulled(node: Node, wanted: list[int], g: Value) -> Iterator[tuple[int, Value]]:
    """What flows to each wanted operand that has a derivative, from the gradient g of the result."""
    op, args = node.op, _arguments(node)
    if type(g) is float and type(node.value) is float and op.partials is not None and g == 0.0:
        return  # strong zero: from an exact 0 nothing flows on
    found = op.vjp(wanted, g, node.value, args, node.params)  # type: ignore[misc]  # only differentiable ops are asked
    for i, c in zip(wanted, found, strict=True):
        while type(c) is Node and c.scope is node.scope:
            c = c.value  # from a user's rule, to which the nodes that it reaches as a closure are constants
        if c is not None:
            yield i, sum_to(c, args[i])


def _is_number(x: object) -> bool:
    return is_real(x) and not shape(x)


def _seen(g: object, x: object) -> object:
    """A gradient as plain numbers; what was never reached is zero."""
    x = concrete(x)
    if isinstance(x, tuple):
        return tuple([_seen(g.get(i) if isinstance(g, Parts) else None, y) for i, y in enumerate(x)])
    if g is not None:
        return read_only(copied(concrete(g)))
    return 0.0 if isinstance(x, float | int) else read_only(namespace(x).zeros_like(x))
