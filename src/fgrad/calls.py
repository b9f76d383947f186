"""Functions as single ops: a program that is called, pulled back and pushed forward whole; checkpoint.

Knows how a call becomes an op with several results; nothing of users' rules and of loops.
"""

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, ParamSpec, TypeAlias, TypeVar, cast

import attrs

from fgrad import batch, forward, graph, reverse, tree
from fgrad.arrays import copied
from fgrad.batching import example
from fgrad.differentials import is_real, outside, seeded
from fgrad.node import INPUT, Node, Op, Scope, Value, apply, concrete, record, stands_for
from fgrad.ops.results import Parts, item, several
from fgrad.ops.shaping import zeros_like
from fgrad.trace import Call, Trace, call_keyed, close, keyed

V = TypeVar("V")
P = ParamSpec("P")
Leaves: TypeAlias = Callable[..., Sequence[object]]
"""A function of leaves that gives leaves, all of them values: a `Program`, or Python that is traced again."""


def retrace(
    f: Leaves, args: Sequence[object], places: Sequence[int], many: str = ""
) -> tuple[Scope, dict[int, Node], list[object]]:
    """Do f once more, with the arguments at `places` as inputs of a fresh scope; give that, these, and the outputs."""
    scope = Scope(lambda i: f"value {i} of those given", many)
    inputs = {i: record(INPUT, (), (i,), args[i], scope) for i in places}
    try:
        return scope, inputs, list(f(*[inputs.get(i, x) for i, x in enumerate(args)]))
    finally:
        scope.open = False


def pull(f: Leaves, args: Sequence[object], wanted: Sequence[int], g: Parts) -> list[Value | None]:
    """The cotangents of the wanted arguments of f, from those of some of its outputs."""
    scope, inputs, outputs = retrace(f, args, wanted)
    seeds = seeded(outputs, [g.get(i) for i in range(len(outputs))], scope)
    left = reverse.sweep(graph.ancestors(outputs, scope), scope, seeds)
    return [left.get(inputs[i]) for i in wanted]


def push(f: Leaves, args: Sequence[object], ts: Sequence[Value | None]) -> tuple[list[object], Parts]:
    """The outputs of f, and their tangents from those of its arguments, where None is zero."""
    given = {i: t for i, t in enumerate(ts) if t is not None}
    scope, inputs, outputs = retrace(f, args, tuple(given))
    order = reversed(graph.ancestors(outputs, scope))
    pushed = forward.push(order, scope, {inputs[i]: t for i, t in given.items()})
    tangents = {i: pushed[y] for i, y in enumerate(outputs) if type(y) is Node and y in pushed}
    return [outside(y, scope) for y in outputs], Parts(tangents)


@attrs.frozen(eq=False)
class Batched:
    """A function of leaves, done for `size` examples, which batched arguments have along their first axis.

    So have all results, but those that stand `alone`, being the same for all examples.
    """

    f: Leaves
    batched: tuple[bool, ...]
    size: int
    alone: tuple[bool, ...] = ()

    def __call__(self, *args: object) -> list[object]:  # noqa: D102  # the class says it
        done = batch.replay(self._program(args), args, self.batched, self.size)
        alone = (*self.alone, *[False] * (len(done) - len(self.alone)))
        return [y if one else batch.repeated(y, many, self.size) for (y, many), one in zip(done, alone, strict=True)]

    def _program(self, args: Sequence[object]) -> graph.Program:
        if isinstance(self.f, graph.Program):
            return self.f
        one = [example(x, self.size) if flag else x for x, flag in zip(args, self.batched, strict=True)]
        scope, inputs, outputs = retrace(self.f, one, range(len(one)), "many examples")
        return graph.program(list(inputs.values()), outputs, scope)


def understand(args: Sequence[object], kwargs: Mapping[str, object]) -> Call:
    """Take a call's arguments apart."""
    leaves, structure = tree.flatten(keyed(args, kwargs))
    return Call(tuple(leaves), structure, tuple([i for i, x in enumerate(leaves) if is_operand(x)]))


def is_operand(x: object) -> bool:
    """Whether an op is computed from x: from a traced value, a float, or an array; other leaves are settings."""
    return type(x) is Node or (not isinstance(x, int) and (is_real(x) or str(getattr(x, "dtype", "")) == "bool"))


def do(op: Op, f: Callable[..., V], call: Call, more: Callable[[Trace], tuple[Hashable, ...]] = lambda traced: ()) -> V:
    """Make a call one op, on its operands and f's free nodes; its params are f's program and what `more` says.

    f runs now, once, on plain numbers where they stand for nothing else, and is not run again for the op's value.
    """
    seen = [x if stands_for(x) else concrete(x) for x in call.operands]
    (program,), free, (traced,) = close([lambda *operands: call_keyed(f, call.filled(operands))], seen)
    ans = apply(op, (*call.operands, *free), (program, *more(traced)), tuple(values(traced)))
    results = [copied(item(ans, i)) if type(y) is Node else y for i, y in enumerate(traced.outputs)]
    return cast("V", tree.unflatten(traced.out_structure, results))


def values(traced: Trace) -> list[object]:
    """The results of a trace, as numbers and arrays."""
    return [concrete(outside(y, traced.scope)) for y in traced.outputs]


def dense(some: Sequence[Value | None], likes: Sequence[object]) -> list[Value]:
    """Derivatives of all of some values, zeros where nothing flows."""
    return [zeros_like(x) if g is None else g for g, x in zip(some, likes, strict=True)]


def _push(ts: Sequence[Value | None], ans: Value, args: Sequence[Value], params: tuple[Leaves]) -> Parts:
    return push(params[0], args, ts)[1]


def _batched(op: Op, args: list[Value], batched: list[bool], params: tuple[Leaves], size: int) -> Value:
    return apply(op, tuple(args), (Batched(params[0], tuple(batched), size),))


_checkpoint: Final = several(
    "checkpoint",
    lambda *args: tuple(args[-1](*args[:-1])),
    vjp=lambda wanted, g, ans, args, params: pull(params[0], args, wanted, g),
    jvp=_push,
    batch=_batched,
)


def checkpoint(f: Callable[P, V]) -> Callable[P, V]:
    """The same function, whose inner values are not kept for the reverse walk but computed once more.

    It takes the memory of its arguments and results alone, and the time of one more call.

    >>> from fgrad import grad, sin
    >>> grad(lambda x: checkpoint(lambda x: sin(sin(x)))(x))(0.0)
    1.0
    """

    @functools.wraps(f)
    def checkpointed(*args: P.args, **kwargs: P.kwargs) -> V:
        return do(_checkpoint, f, understand(args, kwargs))

    return checkpointed
