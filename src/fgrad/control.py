"""Control flow that stays small in the graph: scan, fori_loop, while_loop and cond, each one op that holds programs.

Knows how a step, or a branch, becomes a program, and that a loop's derivatives are loops and a choice's are choices;
nothing of how walks work inside.
"""

from collections.abc import Callable, Hashable, Sequence
from math import isqrt
from operator import index
from typing import Final, TypeAlias, TypeVar, cast

from fgrad import batch, errors, graph, tree
from fgrad.arrays import copied, namespace, quiet
from fgrad.calls import Batched, Leaves, checkpoint, dense, pull, push, understand, values
from fgrad.differentials import is_real
from fgrad.node import Op, Value, apply, concrete, shape, stands_for
from fgrad.ops.elementwise import where
from fgrad.ops.rearranging import flip
from fgrad.ops.reducing import sum
from fgrad.ops.results import Parts, item, several
from fgrad.ops.selecting import getitem
from fgrad.ops.shaping import concat, dtype_of, move_axes, reshape, zeros_like
from fgrad.trace import call_keyed, close, describe

C = TypeVar("C")
A = TypeVar("A")
B = TypeVar("B")
Some: TypeAlias = Sequence[Value | None]
Flags: TypeAlias = Sequence[bool]
Like: TypeAlias = tuple[tuple[int, ...], Hashable]
"""A shape and a dtype."""
Scan: TypeAlias = tuple[Leaves, int, int, int, bool, tuple[Like, ...]]
"""The step, on states, slices and constants; how many states and slices; the length; if backwards; what is stacked."""

_EVERY_STEP: Final = "every step of a loop"


def _like(x: object) -> Like:
    value = namespace(concrete(x)).asarray(concrete(x))
    return shape(value), value.dtype


def _moves(x: object) -> bool:
    """Whether a value has a derivative; integers and booleans, as counters are, have none."""
    value = concrete(x)
    if isinstance(value, float | int):
        return isinstance(value, float)
    return bool(namespace(value).isdtype(dtype_of(value), "real floating"))


def _moving(xs: Sequence[object]) -> list[int]:
    return [i for i, x in enumerate(xs) if _moves(x)]


def _given(places: Sequence[int], values: Sequence[Value], count: int) -> list[Value | None]:
    found = dict(zip(places, values, strict=True))
    return [found.get(i) for i in range(count)]


# --- scan ------------------------------------------------------------------------------------------------------------
def loop(
    step: Leaves,
    states: Sequence[object],
    xs: Sequence[object],
    constants: Sequence[object],
    length: int,
    backwards: bool,
) -> list[Value]:
    """Do a step on (states, a slice of each of xs, constants) after another: the last states, and what else, stacked.

    It is traced once, at the first slices. Nested in a walk, or in a batch, it is one op there too.
    """
    weak = _are_weak([*states, *constants])
    seen = [concrete(x) for x in (*states, *[_first(x, weak) for x in xs], *constants)]
    (program,), free, (traced,) = close([step], seen, _EVERY_STEP)
    likes = tuple(map(_like, values(traced)[len(states) :]))
    params = (program, len(states), len(xs), length, backwards, likes)
    ans = apply(_scan, (*states, *xs, *constants, *free), params)
    return [item(ans, i) for i in range(len(traced.outputs))]


def _first(x: object, weak: bool) -> object:
    value = concrete(x)
    if shape(value)[0]:
        return _rows(value[:1], weak)[0]  # type: ignore[index]  # an array
    xp = namespace(value)
    return xp.zeros(shape(value)[1:], dtype=dtype_of(value))[()]


def _are_weak(xs: Sequence[object]) -> bool:
    """Whether Python's floats are as good as float64 among these: with a float32 a product would be one too."""
    return all(dtype_of(concrete(x)) is None or "float64" in str(dtype_of(concrete(x))) for x in xs if _moves(x))


def _rows(x: object, weak: bool) -> Sequence[object]:
    """What each step sees of an array: of a row of float64 Python's floats, which are soonest computed with."""
    row = weak and len(shape(x)) == 1 and str(dtype_of(x)) == "float64"
    return x.tolist() if row else x  # type: ignore[attr-defined,return-value]  # an array


def _split(args: Sequence[Value], params: Scan) -> tuple[Sequence[Value], Sequence[Value], Sequence[Value]]:
    _, states, slices, *_ = params
    return args[:states], args[states : states + slices], args[states + slices :]


def _scan_impl(*operands: object) -> tuple[object, ...]:
    args, params = cast("tuple[Value, ...]", operands[:-6]), cast("Scan", operands[-6:])
    step, count, _, length, backwards, likes = params
    first, xs, constants = _split(args, params)
    weak = _are_weak([*first, *constants])
    rows, stacked = (
        [_rows(x, weak) for x in xs],
        [namespace(*args).empty((length, *s), dtype=dtype) for s, dtype in likes],
    )
    floats, states = [type(x) is float for x in first], list(first)
    for i in reversed(range(length)) if backwards else range(length):
        results = step(*states, *[x[i] for x in rows], *constants)
        states = [float(cast("float", y)) if f else cast("Value", y) for y, f in zip(results, floats, strict=False)]
        for ys, y in zip(stacked, results[count:], strict=True):
            ys[i] = y
    return (*states, *stacked)


def _scan_vjp(wanted: Sequence[int], g: Parts, ans: Value, args: Sequence[Value], params: Scan) -> Some:
    """Go forward once more, to remember the states; then backwards, a step's pullback after the other."""
    step, count, slices, length, backwards, _ = params
    states, xs, constants = _split(args, params)
    remembered = loop(lambda *given: [*step(*given)[:count], *given[:count]], states, xs, constants, length, backwards)[
        count:
    ]
    moving, stacked = _moving(states), sorted(i for i in g.of if i >= count)
    shared = [i for i in wanted if i >= count + slices and _moves(args[i])]
    sliced = [i for i in wanted if count <= i < count + slices and _moves(args[i])]

    def back(*given: Value) -> list[Value]:
        flowing, given = given[: len(moving)], given[len(moving) :]
        sums, given = given[: len(shared)], given[len(shared) :]
        inputs = (*given[: count + slices], *given[count + slices + len(stacked) :])
        seeds = dict(zip([*moving, *stacked], [*flowing, *given[count + slices :]], strict=False))
        places = [*moving, *shared, *sliced]
        found = dense(pull(step, inputs, places, Parts(seeds)), [inputs[i] for i in places])
        n, m = len(moving), len(moving) + len(shared)
        return [*found[:n], *[a + b for a, b in zip(sums, found[n:m], strict=True)], *found[m:]]

    flowing = dense([g.get(i) for i in moving], [states[i] for i in moving])
    sums = [zeros_like(args[i]) for i in shared]
    rows = [*remembered, *xs, *[g.of[i] for i in stacked]]
    swept = loop(back, [*flowing, *sums], rows, constants, length, not backwards)
    return [dict(zip([*moving, *shared, *sliced], swept, strict=True)).get(i) for i in wanted]


def _scan_jvp(ts: Some, ans: Value, args: Sequence[Value], params: Scan) -> Parts:
    """Carry the tangents of the states along with them."""
    step, count, slices, length, backwards, _ = params
    states, xs, constants = _split(args, params)
    moving = _moving(states)
    given = [i for i in range(count, len(args)) if ts[i] is not None]
    sliced, shared = [i for i in given if i < count + slices], [i for i in given if i >= count + slices]
    stacked = [i for i in _moving(cast("tuple[object, ...]", concrete(ans))) if i >= count]

    def ahead(*given: Value) -> list[Value]:
        n, m = len(moving), len(moving) + count + slices
        inputs = (*given[n:m], *given[m + len(sliced) : m + len(sliced) + len(constants)])
        tangents = (*given[:n], *given[m : m + len(sliced)], *given[m + len(sliced) + len(constants) :])
        ys, moved = push(step, inputs, _given([*moving, *sliced, *shared], tangents, len(inputs)))
        places = [*moving, *stacked]
        found = dense([moved.get(i) for i in places], [ys[i] for i in places])
        return [*found[:n], *cast("list[Value]", ys[:count]), *found[n:]]

    tangents = dense([ts[i] for i in moving], [states[i] for i in moving])
    rows, more = [*xs, *[ts[i] for i in sliced]], [*constants, *[ts[i] for i in shared]]
    found = loop(ahead, [*tangents, *states], rows, more, length, backwards)
    return Parts(dict(zip([*moving, *stacked], [*found[: len(moving)], *found[len(moving) + count :]], strict=True)))


def _scan_batch(op: Op, args: list[Value], batched: list[bool], params: Scan, size: int) -> Value:
    """Do each step for all examples; a state that stays the same for all of them, as a counter does, stays one."""
    step, count, slices, length, backwards, _ = params
    flags = _settled(step, batched, count)
    states = [batch.repeated(x, b, size) if f else x for x, b, f in zip(args, batched, flags[:count], strict=False)]
    end = count + slices
    rows = [move_axes(x, 1, 0) if f else x for x, f in zip(args[count:end], batched[count:end], strict=True)]
    many = Batched(step, tuple(flags), size, tuple([not f for f in flags[:count]]))
    found = loop(many, states, rows, args[end:], length, backwards)
    last = [batch.repeated(y, f, size) for y, f in zip(found, flags[:count], strict=False)]
    return cast("Value", (*last, *[move_axes(y, 1, 0) for y in found[count:]]))


def _settled(step: Leaves, batched: Flags, count: int) -> list[bool]:
    """Which arguments of a step are batched, when all the states are that come to depend on such."""
    flags = list(batched)
    while True:
        found = batch.spread(step, flags)[:count] if isinstance(step, graph.Program) else [True] * count
        after = [a or b for a, b in zip(flags, found, strict=False)]
        if after == flags[:count]:
            return flags
        flags[:count] = after


_scan: Final = several("scan", _scan_impl, vjp=_scan_vjp, jvp=_scan_jvp, batch=_scan_batch)


def scan(
    f: Callable[[C, A], tuple[C, B]],
    init: C,
    xs: A | None = None,
    length: int | None = None,
    *,
    reverse: bool = False,
    checkpoint: bool = False,
) -> tuple[C, B]:
    """Carry a state along the first axis of `xs`: `f(state, slice)` gives (state, y); give the last, and all y stacked.

    States, slices and results are pytrees; the state keeps its structure, shapes and dtypes. Without xs, f is called
    `length` times, with None. `reverse` goes from the end. f is traced once, so that a branch on what it is given
    raises `BranchError`: write `where` or `cond`. In reverse mode the states of all n steps are remembered; with
    `checkpoint` those of about 2√n, for the time of one more pass.

    >>> import numpy as np
    >>> scan(lambda total, x: (total + x, total * x), 0.0, np.array([1.0, 2.0, 3.0]))
    (6.0, array([0., 2., 9.]))
    """
    states, structure = tree.flatten(init)
    rows, row_structure = tree.flatten(xs)
    n = _length(rows, row_structure, length)
    if checkpoint and n > 3:
        return _in_segments(f, init, xs, n, reverse)
    for x, path in zip(states, tree.paths(structure, "init"), strict=True):
        if not is_real(x) and not isinstance(concrete(x), bool):
            raise errors.LeafError(f"{path} is {describe(x)}: a state is made of numbers and arrays of them")
    seen: list[tree.Structure] = []

    def step(*leaves: object) -> list[object]:
        state, x = (
            tree.unflatten(structure, leaves[: len(states)]),
            tree.unflatten(row_structure, leaves[len(states) :]),
        )
        result: object = f(cast("C", state), cast("A", x))
        if not isinstance(result, tuple) or len(result) != 2:
            raise errors.OutputError(f"the step of a scan returns (state, y), not {describe(result)}")
        ys, below = tree.flatten(result[1])
        seen[:] = [below]
        return [*_kept(result[0], states, structure), *ys]

    found = [copied(y) for y in loop(step, states, rows, (), n, reverse)]
    return cast("C", tree.unflatten(structure, found[: len(states)])), cast(
        "B", tree.unflatten(seen[0], found[len(states) :])
    )


def _kept(state: object, before: Sequence[object], structure: tree.Structure) -> list[object]:
    """The leaves of a step's new state, which must be like those before."""
    after = tree.matching_leaves(structure, state, "the state")
    for i, (x, y) in enumerate(zip(before, after, strict=True)):
        if _like(x) != _like(y) and not (type(concrete(x)) is float and not shape(y) and _moves(y)):
            path = tree.paths(structure, "the state")[i]
            raise errors.StructureError(
                f"{path} was {describe(x)} before a step and is {describe(y)} after it: a state keeps shape and dtype "
                "(write 0.0 for 0 where it becomes a broken number)"
            )
    return after


def _length(rows: Sequence[object], structure: tree.Structure, length: int | None) -> int:
    """How many steps there are; an error names the leaf that does not fit."""
    n = None if length is None else index(length)
    for x, path in zip(rows, tree.paths(structure, "xs"), strict=True):
        if not shape(x):
            raise errors.StructureError(f"{path} is {describe(x)}: xs needs an axis to go along")
        n = shape(x)[0] if n is None else n
        if shape(x)[0] != n:
            raise errors.StructureError(f"{path} has {shape(x)[0]} slices, where {n} steps were to be done")
    if n is None:
        raise errors.ArgumentError("scan needs xs, or the number of steps as length=")
    return n


def _in_segments(f: Callable[[C, A], tuple[C, B]], init: C, xs: A | None, n: int, reverse: bool) -> tuple[C, B]:
    """Do a scan as one over segments, which remembers the state before each of them alone, and then the rest."""
    if reverse:
        state, ys = _in_segments(f, init, tree.map(lambda x: flip(x, 0), xs), n, False)
        return state, tree.map(lambda y: flip(y, 0), ys)
    width = isqrt(n)
    count = n // width
    whole = count * width

    def segment(state: C, part: A) -> tuple[C, B]:
        return scan(f, state, part, length=width)

    parts = tree.map(lambda x: reshape(getitem(x, slice(0, whole)), (count, width, *shape(x)[1:])), xs)
    state, ys = scan(checkpoint(segment), init, parts, length=count)
    joined = tree.map(lambda y: reshape(y, (whole, *shape(y)[2:])), ys)
    if whole == n:
        return state, joined
    state, rest = scan(f, state, tree.map(lambda x: getitem(x, slice(whole, n)), xs), length=n - whole)
    return state, tree.map(lambda a, b: concat([a, b]), joined, rest)


def fori_loop(lower: int, upper: int, body: Callable[[int, C], C], init: C, *, checkpoint: bool = False) -> C:
    """Do `state = body(i, state)` for i from `lower` up to `upper`, without it: a `scan` that counts.

    >>> fori_loop(0, 3, lambda i, x: x * 2.0 + i, 1.0)
    12.0
    """

    def step(state: tuple[int, C], _: None) -> tuple[tuple[int, C], None]:
        i, x = state
        return (i + 1, body(i, x)), None

    start = index(lower)
    length = len(range(start, index(upper)))
    (_, last), _ = scan(step, (start, init), length=length, checkpoint=checkpoint)
    return last


# --- while -----------------------------------------------------------------------------------------------------------
def _repeat(test: Leaves, step: Leaves, states: Sequence[object], constants: Sequence[object]) -> list[Value]:
    """Do a step on (states, constants) as long as a test of them says so: the last states."""
    seen = [concrete(x) for x in (*states, *constants)]
    programs, free, _ = close([test, step], seen, _EVERY_STEP)
    ans = apply(_while, (*states, *constants, *free), (*programs, len(states)))
    return [item(ans, i) for i in range(len(states))]


def _while_impl(*operands: object) -> tuple[object, ...]:
    *args, test, step, count = operands
    states, constants = tuple(args[: cast("int", count)]), args[cast("int", count) :]
    floats = [type(x) is float for x in states]
    while cast("Leaves", test)(*states, *constants)[0]:
        after = cast("Leaves", step)(*states, *constants)
        states = tuple([float(cast("float", y)) if f else y for y, f in zip(after, floats, strict=True)])
    return states


def _while_vjp(
    wanted: Sequence[int], g: Parts, ans: Value, args: Sequence[Value], params: tuple[Leaves, Leaves, int]
) -> Some:
    _, step, count = params
    reached = [_settled(step, [i == j for j in range(len(args))], count) for i in wanted]
    if not any(_moves(args[i]) and any(flags[:count]) for i, flags in zip(wanted, reached, strict=True)):
        return [None] * len(wanted)  # it decides no more than how often
    raise errors.MissingRowError(
        "the reverse walk cannot go through while_loop, which forgets its states: write fori_loop or scan, of as many "
        "steps as are needed at most, or differentiate forward, with jvp or jacfwd"
    )


def _while_jvp(ts: Some, ans: Value, args: Sequence[Value], params: tuple[Leaves, Leaves, int]) -> Parts:
    test, step, count = params
    moving, shared = _moving(args[:count]), [i for i in range(count, len(args)) if ts[i] is not None]
    n = len(moving)

    def ahead(*given: Value) -> list[Value]:
        inputs, tangents = given[n : n + len(args)], (*given[:n], *given[n + len(args) :])
        ys, moved = push(step, inputs, _given([*moving, *shared], tangents, len(inputs)))
        return [*dense([moved.get(i) for i in moving], [ys[i] for i in moving]), *cast("list[Value]", ys)]

    tangents = dense([ts[i] for i in moving], [args[i] for i in moving])
    constants = [*args[count:], *[ts[i] for i in shared]]
    found = _repeat(lambda *given: test(*given[n : n + len(args)]), ahead, [*tangents, *args[:count]], constants)
    return Parts(dict(zip(moving, found, strict=False)))


def _while_batch(
    op: Op, args: list[Value], batched: list[bool], params: tuple[Leaves, Leaves, int], size: int
) -> Value:
    """Go on until all examples are done; those that are keep their states."""
    test, step, count = params
    flags = (*[True] * count, *batched[count:])
    tests, steps = Batched(test, flags, size), Batched(step, flags, size)

    def ahead(*given: Value) -> list[Value]:
        going = tests(*given)[0]
        return [_choose(going, new, old) for new, old in zip(steps(*given), given, strict=False)]

    states = [batch.repeated(x, b, size) for x, b in zip(args[:count], batched, strict=False)]

    def going(*given: Value) -> list[Value]:
        return [sum(where(tests(*given)[0], 1.0, 0.0)) > 0]  # also of no examples

    found = _repeat(going, ahead, states, args[count:])
    return cast("Value", tuple(found))


def _choose(examples: object, x: object, y: object) -> Value:
    """For each example x or y."""
    mask = reshape(cast("Value", examples), (-1, *[1] * (len(shape(x)) - 1)))
    return where(mask, cast("Value", x), cast("Value", y))


_while: Final = several("while_loop", _while_impl, vjp=_while_vjp, jvp=_while_jvp, batch=_while_batch)


def while_loop(cond: Callable[[C], object], body: Callable[[C], C], init: C) -> C:
    """Do `state = body(state)` as long as `cond(state)` holds. Forward mode alone goes through it.

    The state is a pytree of numbers and arrays, which keeps its structure, shapes and dtypes.

    >>> while_loop(lambda x: x < 100.0, lambda x: x * x, 2.0)
    256.0
    """
    states, structure = tree.flatten(init)

    def test(*leaves: object) -> list[object]:
        return [cond(cast("C", tree.unflatten(structure, leaves)))]

    def step(*leaves: object) -> list[object]:
        return _kept(body(cast("C", tree.unflatten(structure, leaves))), states, structure)

    return cast("C", tree.unflatten(structure, [copied(y) for y in _repeat(test, step, states, ())]))


# --- cond ------------------------------------------------------------------------------------------------------------
def _branch(chosen: object, yes: Leaves, no: Leaves, args: Sequence[object]) -> list[Value]:
    """Do one of two functions of leaves, whose results are alike."""
    seen = [x if stands_for(x) else concrete(x) for x in args]
    with quiet():  # what one of them gives where it is not meant for
        programs, free, traces = close([yes, no], seen)
    likes = [list(map(_like, values(traced))) for traced in traces]
    if likes[0] != likes[1]:
        results = [", ".join(describe(y) for y in values(traced)) for traced in traces]
        raise errors.StructureError(
            f"the branches of cond give different results: {results[0]}, and {results[1]}; give both the same "
            "structure, shapes and dtypes"
        )
    ans = apply(_cond, (chosen, *args, *free), (*programs, len(likes[0])))
    return [item(ans, i) for i in range(len(likes[0]))]


def _cond_impl(chosen: object, *operands: object) -> tuple[object, ...]:
    *args, yes, no, _ = operands
    return tuple(cast("Leaves", yes if chosen else no)(*args))


def _cond_vjp(
    wanted: Sequence[int], g: Parts, ans: Value, args: Sequence[Value], params: tuple[Leaves, Leaves, int]
) -> Some:
    chosen, *rest = args
    places = [i - 1 for i in wanted if i and _moves(args[i])]
    seeds = list(g.of)

    def back(f: Leaves) -> Leaves:
        def pulled(*given: Value) -> list[Value]:
            inputs = given[: len(rest)]
            parts = Parts(dict(zip(seeds, given[len(rest) :], strict=True)))
            return dense(pull(f, inputs, places, parts), [inputs[i] for i in places])

        return pulled

    found = _branch(chosen, back(params[0]), back(params[1]), [*rest, *g.of.values()])
    return [dict(zip(places, found, strict=True)).get(i - 1) for i in wanted]


def _cond_jvp(ts: Some, ans: Value, args: Sequence[Value], params: tuple[Leaves, Leaves, int]) -> Parts:
    chosen, *rest = args
    given = [i - 1 for i, t in enumerate(ts) if i and t is not None]
    moving = _moving(cast("tuple[object, ...]", concrete(ans)))

    def ahead(f: Leaves) -> Leaves:
        def pushed(*leaves: Value) -> list[Value]:
            inputs, tangents = leaves[: len(rest)], leaves[len(rest) :]
            ys, moved = push(f, inputs, _given(given, tangents, len(rest)))
            return dense([moved.get(i) for i in moving], [ys[i] for i in moving])

        return pushed

    found = _branch(chosen, ahead(params[0]), ahead(params[1]), [*rest, *[ts[i + 1] for i in given]])
    return Parts(dict(zip(moving, found, strict=True)))


def _cond_batch(op: Op, args: list[Value], batched: list[bool], params: tuple[Leaves, Leaves, int], size: int) -> Value:
    """Do both branches where examples go different ways."""
    chosen, *rest = args
    yes, no = (Batched(f, tuple(batched[1:]), size) for f in params[:2])
    if not batched[0]:
        return cast("Value", tuple(_branch(chosen, yes, no, rest)))
    return cast("Value", tuple([_choose(chosen, x, y) for x, y in zip(yes(*rest), no(*rest), strict=True)]))


_cond: Final = several("cond", _cond_impl, vjp=_cond_vjp, jvp=_cond_jvp, batch=_cond_batch)


def cond(chosen: object, yes: Callable[..., B], no: Callable[..., B], *operands: object) -> B:
    """`yes(*operands)` if `chosen` holds, else `no(*operands)`; both give results of one structure, shapes and dtypes.

    It is an `if` wherever that can be decided. In a loop's step, and under vmap, both functions are traced: the step
    does the one that is chosen each time; for examples that go different ways both are done, and `where` picks.

    >>> cond(True, lambda x: x + 1.0, lambda x: x * 2.0, 3.0)
    4.0
    """
    if not stands_for(chosen):
        return yes(*operands) if chosen else no(*operands)
    call = understand(operands, {})
    seen: list[tree.Structure] = []

    def on_leaves(f: Callable[..., B]) -> Leaves:
        def branch(*given: object) -> list[object]:
            result, below = tree.flatten(call_keyed(f, call.filled(given)))
            seen.append(below)
            return result

        return branch

    found = _branch(chosen, on_leaves(yes), on_leaves(no), call.operands)
    if seen[0] != seen[1]:
        raise errors.StructureError(f"the branches of cond give different results: {seen[0]} and {seen[1]}")
    return cast("B", tree.unflatten(seen[0], found))
