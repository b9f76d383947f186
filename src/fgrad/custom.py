"""custom_vjp and custom_jvp: functions whose derivative is the user's own rule, in the shape that JAX's users know.

Knows how one rule serves both walks, since its transpose is the other's; nothing of how a walk works inside.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, ParamSpec, TypeAlias, TypeVar, cast

import attrs

from fgrad import errors, tree
from fgrad.arrays import copied, read_only
from fgrad.calls import Batched, Leaves, dense, do, pull, push, understand
from fgrad.node import Function, Op, Value, apply, shape
from fgrad.ops.reducing import sum
from fgrad.ops.results import Parts, item, several
from fgrad.ops.shaping import zeros_like
from fgrad.trace import Call, describe

P = ParamSpec("P")
V = TypeVar("V")
Some: TypeAlias = Sequence[Value | None]
Params: TypeAlias = tuple[Leaves, Leaves, int, int]
"""The program of f, on its arguments and free nodes; the rule; how many arguments there are, and how many results."""


def _owned(x: object) -> object:
    """What the user does to theirs later does not change a rule's argument."""
    return x if type(x) is str else copied(x)


def _sparse(some: Some) -> Parts:
    return Parts({i: g for i, g in enumerate(some) if g is not None})


def _transposed(linear: Leaves, likes: Sequence[object], seeds: Parts) -> Some:
    """Apply the transpose of a linear function of leaves like `likes`."""
    return pull(linear, [zeros_like(x) for x in likes], range(len(likes)), seeds)


def _results(ans: Value, count: int) -> list[Value]:
    return [item(ans, i) for i in range(count)]


def _custom(
    name: str, pull_args: Callable[..., Some], push_args: Callable[..., Some], batched_rule: Callable[..., Leaves]
) -> Op:
    """Make an op that has its arguments' derivative by a rule, and that of its free nodes by its own program."""

    def compute(*args: object) -> tuple[object, ...]:
        *operands, program, _, _, _ = args
        return tuple(cast("Leaves", program)(*operands))

    def vjp(wanted: Sequence[int], g: Parts, ans: Value, args: Sequence[Value], params: Params) -> Some:
        program, rule, arity, count = params
        own: Some = ()
        if any(i < arity for i in wanted):
            own = pull_args(rule, args[:arity], g, _results(ans, count))
        free = [i for i in wanted if i >= arity]
        rest = dict(zip(free, pull(program, args, free, g), strict=True)) if free else {}
        return [own[i] if i < arity else rest[i] for i in wanted]

    def jvp(ts: Some, ans: Value, args: Sequence[Value], params: Params) -> Parts:
        program, rule, arity, count = params
        total = Parts({})
        if any(t is not None for t in ts[:arity]):
            total += _sparse(push_args(rule, args[:arity], ts[:arity], _results(ans, count)))
        if any(t is not None for t in ts[arity:]):
            total += push(program, args, [None] * arity + [*ts[arity:]])[1]
        return total

    def batch(op: Op, args: list[Value], batched: list[bool], params: Params, size: int) -> Value:
        program, rule, arity, count = params
        many = batched_rule(rule, tuple(batched[:arity]), count, size)
        return apply(op, tuple(args), (Batched(program, tuple(batched), size), many, arity, count))

    return several(name, compute, vjp=vjp, jvp=jvp, batch=batch)


def _batched_backward(rule: Leaves, flags: tuple[bool, ...], count: int, size: int) -> Leaves:
    many = Batched(rule, (*flags, *[True] * count), size)

    def summed(*given: object) -> list[object]:
        """What all examples share has the sum of their cotangents."""
        return [x if flag else sum(cast("Value", x), 0) for x, flag in zip(many(*given), flags, strict=True)]

    return summed


_custom_vjp: Final = _custom(  # the rule, on arguments and cotangents of results, gives cotangents of arguments
    "custom_vjp",
    lambda rule, args, g, ys: rule(*args, *dense([g.get(i) for i in range(len(ys))], ys)),
    lambda rule, args, ts, ys: _transposed(lambda *g: rule(*args, *g), ys, _sparse(ts)),
    _batched_backward,
)
_custom_jvp: Final = _custom(  # the rule, on arguments and their tangents, gives tangents of results
    "custom_jvp",
    lambda rule, args, g, ys: _transposed(lambda *ts: rule(*args, *ts), args, g),
    lambda rule, args, ts, ys: rule(*args, *dense(ts, args)),
    lambda rule, flags, count, size: Batched(rule, (*flags, *flags), size),
)


class _Custom(Generic[P, V]):
    """A function with a derivative of its own: what both decorators have in common."""

    def __init__(self, function: Callable[P, V], nondiff_argnums: tuple[int, ...] = ()) -> None:
        functools.update_wrapper(cast("Function", self), function)
        self.function = function
        self.nondiff_argnums = nondiff_argnums
        self._forward: Callable[..., object] | None = None
        self._rule: Callable[..., object] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", "the function")

    def _apart(self, args: Sequence[object]) -> tuple[list[object], list[object]]:
        """Arguments without a derivative, in the order of `nondiff_argnums`, and the others."""
        fixed = [i % len(args) for i in self.nondiff_argnums]
        return [args[i] for i in fixed], [x for i, x in enumerate(args) if i not in fixed]

    def _together(self, fixed: Sequence[object], others: Sequence[object]) -> list[object]:
        count, rest = len(fixed) + len(others), iter(others)
        by_place = {i % count: x for i, x in zip(self.nondiff_argnums, fixed, strict=True)}
        return [by_place[i] if i in by_place else next(rest) for i in range(count)]

    def _call(
        self, op: Op, leaf_rule: Callable[..., list[object]], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> V:
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        if bound.kwargs:
            raise errors.ArgumentError(f"{self._name} has keyword-only arguments: its rule takes arguments by place")
        bound.apply_defaults()
        fixed, others = self._apart(tree.map(_owned, bound.args))
        call = understand(others, {})

        def f(*others: object) -> V:
            return cast("Callable[..., V]", self.function)(*self._together(fixed, others))

        return do(
            op,
            f,
            call,
            lambda traced: (
                functools.partial(leaf_rule, fixed, call, traced.out_structure),
                len(call.places),
                len(traced.outputs),
            ),
        )

    def _ruled(self, *args: object, define: str) -> object:
        """Do what the user's rule says."""
        if self._rule is None:
            raise errors.ArgumentError(f"{self._name} has no rule: write {self._name}.{define}")
        return self._guarded(self._rule, args)

    def _guarded(self, rule: Callable[..., object], args: Sequence[object]) -> object:
        """Do what the user wrote, on arrays that cannot be written to, since they are the walk's own."""
        try:
            return rule(*[tree.map(read_only, x) for x in args])
        except errors.EscapedNodeError as error:
            raise errors.EscapedNodeError(
                f"the rule of {self._name} reaches a traced value as a closure, where it is done for many examples, "
                f"for every step of a loop, or once more: pass it to {self._name} as an argument ({error})"
            ) from None

    def _pair(self, result: object, meaning: str) -> tuple[object, object]:
        if not isinstance(result, tuple) or len(result) != 2:
            raise errors.OutputError(f"the rule of {self._name} returns the pair {meaning}, not {describe(result)}")
        return result

    def _matched(self, found: object, structure: tree.Structure, likes: Sequence[object], what: str) -> list[object]:
        """The leaves of what a rule gave, zeros for a None; they must fit what they belong to."""
        what = f"{what} by the rule of {self._name}"
        leaves = [None] * len(likes) if found is None else tree.matching_leaves(structure, found, what)
        for i, (g, x) in enumerate(zip(leaves, likes, strict=True)):
            if g is not None and shape(g) != shape(x):
                path = tree.paths(structure, what)[i]
                raise errors.StructureError(f"{path} must have the shape {shape(x)}, not {shape(g)}")
        return cast("list[object]", dense(cast("Some", leaves), likes))


class custom_vjp(_Custom[P, V]):  # noqa: N801  # a decorator
    """A function whose pullback is the user's rule: write `f.defvjp(forward, backward)`, as in JAX.

    `forward(*args)` gives (result, residuals) and `backward(residuals, cotangent)` a tuple with a cotangent for each
    argument, of which a None is zero. Arguments at `nondiff_argnums` have none, and backward takes them first. It must
    be linear in the cotangent; its transpose is the pushforward, and vmap batches both. Both run each time that a
    derivative is taken. What f reaches as a closure keeps the derivative that f itself has.

    >>> from fgrad import grad
    >>> @custom_vjp
    ... def damped(x: float) -> float:
    ...     return x
    >>> damped.defvjp(lambda x: (x, None), lambda residuals, g: (0.5 * g,))
    >>> grad(lambda x: damped(x) ** 2)(3.0)
    3.0
    """

    def defvjp(self, forward: Callable[..., object], backward: Callable[..., object]) -> None:
        """Say how to compute the result, with what the pullback needs to know; and the pullback."""
        self._forward, self._rule = forward, backward

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> V:  # noqa: D102  # the class says it
        return self._call(_custom_vjp, self._leaf_rule, args, kwargs)

    def _leaf_rule(self, fixed: list[object], call: Call, structure: tree.Structure, *given: object) -> list[object]:
        arity = len(call.places)
        others = list(call.filled(given[:arity]).values())
        if self._forward is None:
            self._ruled(define="defvjp(forward, backward)")
        result = self._guarded(cast("Callable[..., object]", self._forward), self._together(fixed, others))
        _, residuals = self._pair(result, "(result, residuals)")
        found = self._ruled(*fixed, residuals, tree.unflatten(structure, given[arity:]), define="defvjp")
        if not isinstance(found, tuple) or len(found) != len(others):
            raise errors.OutputError(
                f"the backward rule of {self._name} returns a tuple with a cotangent for each of its {len(others)} "
                f"arguments, not {describe(found)}"
            )
        leaves: list[object] = []
        for i, (g, x) in enumerate(zip(found, others, strict=True)):
            likes, inside = tree.flatten(x)
            leaves += self._matched(g, inside, likes, f"cotangent {i}")
        return [leaves[i] for i in call.places]


class custom_jvp(_Custom[P, V]):  # noqa: N801  # a decorator
    """A function whose pushforward is the user's rule: write `@f.defjvp` above it, as in JAX.

    `rule(primals, tangents)`, both tuples, gives (result, its tangent). Arguments at `nondiff_argnums` have no tangent,
    and the rule takes them first. It must be linear in the tangents; its transpose is the pullback, and vmap batches
    both. What f reaches as a closure keeps the derivative that f itself has.

    >>> from fgrad import exp, grad, log1p
    >>> @custom_jvp
    ... def log1pexp(x: float) -> float:
    ...     return log1p(exp(x))
    >>> @log1pexp.defjvp
    ... def rule(primals: tuple[float], tangents: tuple[float]) -> tuple[float, float]:
    ...     (x,), (t,) = primals, tangents
    ...     return log1pexp(x), t * (1 - 1 / (1 + exp(x)))
    >>> grad(log1pexp)(100.0)
    1.0
    """

    def defjvp(self, rule: Callable[..., object]) -> Callable[..., object]:
        """Say how to compute the result and its tangent."""
        self._rule = rule
        return rule

    def defjvps(self, *rules: Callable[..., Value] | None) -> None:
        """Say what the tangent of each argument adds, by a rule on `t, ans, *primals`; None: nothing."""

        def rule(primals: tuple[object, ...], tangents: tuple[object, ...]) -> tuple[object, Value]:
            ans = cast("Callable[..., V]", self)(*primals)
            parts = [r(t, ans, *primals) for r, t in zip(rules, tangents, strict=True) if r is not None]
            total: Value = zeros_like(ans)
            for part in parts:
                total = total + part
            return ans, total

        self._rule = rule

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> V:  # noqa: D102  # the class says it
        return self._call(_custom_jvp, self._leaf_rule, args, kwargs)

    def _leaf_rule(self, fixed: list[object], call: Call, structure: tree.Structure, *given: object) -> list[object]:
        arity = len(call.places)
        primals = tuple(call.filled(given[:arity]).values())
        still = attrs.evolve(call, leaves=tuple([x if type(x) is str else zeros_like(x) for x in call.leaves]))
        tangents = tuple(still.filled(given[arity:]).values())
        result, tangent = self._pair(self._ruled(*fixed, primals, tangents, define="defjvp(rule)"), "(result, tangent)")
        return self._matched(tangent, structure, tree.leaves(result), "the tangent")
