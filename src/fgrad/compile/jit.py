"""jit: a function becomes programs, one for each way that its branches go, that run as Python written for them.

Knows when a program may run in the function's place, and that any doubt is settled by tracing or by running the
function itself; nothing of how programs are rewritten and written.
"""

import functools
import inspect
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from threading import Lock
from typing import Final, Generic, NamedTuple, ParamSpec, TypeAlias, TypeVar, cast, overload

import attrs

from fgrad import errors, tree
from fgrad.arrays import quiet
from fgrad.calls import is_operand
from fgrad.compile import source as text
from fgrad.compile.captures import Captured, captured
from fgrad.compile.leaves import packer, unpacker
from fgrad.compile.rewrite import Typed, rewritten, stages, typed_graph
from fgrad.compile.source import NUMBERS, Guard, Outcome
from fgrad.graph import Link, Program
from fgrad.node import Node, concrete
from fgrad.trace import Call, Trace, argument_namer, call_keyed, describe, keyed, run

P = ParamSpec("P")
V = TypeVar("V")

Read: TypeAlias = tuple[Node, bool | int, bool]
"""A value that decided a branch or, counted, a shape; and what it was."""

MOST_PATHS: Final = 16
"""How many ways a function may go, for arguments of one kind, before it is run as it is."""
_log: Final = logging.getLogger("fgrad")
_VIEWS: Final = frozenset(
    ("reshape", "permute_dims", "matrix_transpose", "getitem", "broadcast_to", "astype", "stop_gradient", "item")
)
"""Ops whose result may share memory with an argument."""


class CacheInfo(NamedTuple):
    """What a compiled function has seen: calls that a program served, traces, programs kept, and guards that failed."""

    hits: int
    traces: int
    paths: int
    failed_guards: int


@attrs.define(eq=False)
class Path:
    """One way through a function: a program, right as long as its guards hold; its last outputs are what they read."""

    typed: Typed
    guards: tuple[Guard, ...]
    pack: Callable[[Sequence[object]], object]
    source: text.Source
    places: tuple[int, ...] | None = None
    """Where the inputs are among the leaves, if those are more."""
    _fast: Callable[..., Outcome] = attrs.field(init=False)
    _arrays: bool = attrs.field(init=False)
    _scales: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._fast = self.source.compiled()
        self._arrays = any(kind.type not in NUMBERS for kind in self.typed.kinds)
        self._scales = any(op.name == "scale" for op, _, _ in self.typed.program.steps)

    def run(self, leaves: tuple[object, ...]) -> Outcome:
        """The outputs; or None if a guard fails."""
        if self.places is not None:
            leaves = tuple([leaves[i] for i in self.places])
        try:
            if self._arrays:
                with quiet():
                    found = self._fast(*leaves)
            else:
                found = self._fast(*leaves)
        except (ArithmeticError, ValueError):
            return self._carefully(leaves)
        if found is None or not self._scales or not _hold_nan(found):
            return found
        return self._carefully(leaves)

    def _carefully(self, leaves: tuple[object, ...]) -> Outcome:
        """Do the program op by op: where Python's numbers raise it gives inf or nan, and 0 times nan is 0."""
        with quiet():
            found = self.typed.program(*leaves)
        count = len(found) - len(self.guards)
        for guard, value in zip(self.guards, found[count:], strict=True):
            if guard.fails(value):
                return None
        return found[:count]


def _hold_nan(xs: tuple[object, ...]) -> bool:
    """Whether a nan may be among some numbers and arrays; their sum is soon found, and seldom nan without."""
    total = 0.0
    for x in xs:
        if type(x) in NUMBERS:
            total += x  # type: ignore[operator]  # a number
        else:
            flat = x.reshape(-1)  # type: ignore[attr-defined]  # an array, or one of its numbers
            total += flat @ flat if 1 < flat.shape[0] <= 10_000 else flat.sum()  # as in `scale`
    return total != total


@attrs.define(eq=False)
class Specialised:
    """A function for arguments of one structure, with leaves of certain kinds: the paths that were taken so far."""

    unpack: Callable[[Sequence[object], Mapping[str, object]], tuple[object, ...] | None]
    captured: Captured
    paths: tuple[Path, ...] = ()
    given_up: bool = False
    failed: int = 0

    def find(self, leaves: tuple[object, ...]) -> tuple[Path, tuple[object, ...]] | None:
        """The path that these leaves take, if it is known, and its outputs; it comes first the next time."""
        for path in self.paths:
            found = path.run(leaves)
            if found is not None:
                if path is not self.paths[0]:
                    self.paths = (path, *[other for other in self.paths if other is not path])
                return path, found
            self.failed += 1
        return None


class Jitted(Generic[P, V]):
    """A compiled function: called as the function itself, with `.source`, `.lower`, `.cache_info` and `.clear`."""

    def __init__(
        self, function: Callable[P, V], static_argnames: tuple[str, ...] = (), fast_math: bool = False
    ) -> None:
        functools.update_wrapper(cast("Callable[..., object]", self), function)
        self.function = function
        self.static_argnames = static_argnames
        self.fast_math = fast_math
        self._lock = Lock()
        self._known: dict[Hashable, tuple[Specialised, ...]] = {}
        self._hits = self._traces = 0

    def __repr__(self) -> str:
        return f"<jit {self._name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> V:  # noqa: D102  # the class says it
        static, args_, kwargs_ = self._apart(args, kwargs) if self.static_argnames else ((), args, kwargs)
        for special in self._known.get(static, ()):
            leaves = special.unpack(args_, kwargs_)
            if leaves is None:
                continue
            if special.given_up:
                return self.function(*args, **kwargs)
            if not special.captured.changed():
                found = special.find(leaves)
                if found is not None:
                    self._hits += 1
                    return cast("V", found[0].pack(found[1]))
            return self._traced(static, args_, kwargs_, special)
        return self._traced(static, args_, kwargs_, None)

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", "function")

    def _apart(
        self, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> tuple[Hashable, tuple[object, ...], dict[str, object]]:
        """The values of static arguments, which stand for themselves, and all other arguments by name."""
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        static = tuple([(name, bound.arguments.pop(name)) for name in self.static_argnames])
        return static, (), {**bound.arguments.pop("kwargs", {}), **bound.arguments}

    def _function(self, static: Hashable) -> Callable[..., V]:
        given = dict(cast("tuple[tuple[str, object], ...]", static))
        return functools.partial(self.function, **given) if given else self.function  # type: ignore[arg-type]  # some

    def _traced(
        self, static: Hashable, args: Sequence[object], kwargs: Mapping[str, object], special: Specialised | None
    ) -> V:
        """Run the function itself, and keep what it did as a program, if that would be right for the next call."""
        f = self._function(static)
        reached = captured(self.function)
        if any(map(_holds_nodes, (args, kwargs, *[was for _, was in reached.variables]))):
            return f(*args, **kwargs)  # inside another transform, which differentiates through
        path = self._path(f, args, kwargs)
        if path is None:
            return f(*args, **kwargs)
        reached = captured(self.function)  # as tracing has left it
        with self._lock:
            self._traces += 1
            if special is None:
                special = Specialised(unpacker(args, kwargs, self._name), reached)
                self._known = {**self._known, static: (special, *self._known.get(static, ()))}
            elif special.captured.changed():
                special.captured, special.paths = reached, ()
            special.paths = (path, *special.paths)
            if len(special.paths) > MOST_PATHS:
                special.given_up, special.paths = True, ()
                _log.warning("%s goes more than %d ways: it is run as it is from now on", self._name, MOST_PATHS)
        leaves = special.unpack(args, kwargs)
        found = None if leaves is None else path.run(leaves)
        return f(*args, **kwargs) if found is None else cast("V", path.pack(found))

    def _path(self, f: Callable[..., V], args: Sequence[object], kwargs: Mapping[str, object]) -> Path | None:
        call, traced, guards = _trace(f, args, kwargs)
        if traced.free:
            return None
        typed = rewritten(_typed(traced, guards), self.fast_math)
        path = _compiled(typed, traced, guards, self._name, f)
        if len(call.leaves) > len(call.places):
            path.places = call.places
        return path

    def source(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The program for such arguments, as Python.

        >>> from fgrad import grad, jit
        >>> def f(x: float, y: float) -> float:
        ...     return x * y + x
        >>> print(jit(grad(f)).source(2.0, 3.0))
        # from f, ...
        def f(x, y):
            return (1.0 + y,)
        <BLANKLINE>
        """
        static, args_, kwargs_ = self._apart(args, kwargs) if self.static_argnames else ((), args, kwargs)
        path = self._path(self._function(static), args_, kwargs_)
        if path is None:
            raise errors.ArgumentError(f"{self._name} uses traced values of another transform: it has no program")
        return path.source.text

    def lower(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, str]:
        """Every stage on the way from the trace to what runs, as text, by its name."""
        static, args_, kwargs_ = self._apart(args, kwargs) if self.static_argnames else ((), args, kwargs)
        f = self._function(static)
        _, traced, guards = _trace(f, args_, kwargs_)
        typed = _typed(traced, guards)
        found = {"trace": listing(typed.program)}
        for name, typed in stages(typed, self.fast_math):  # noqa: B020  # the last stage is the next one's start
            found[name] = listing(typed.program)
        return {**found, "source": _compiled(typed, traced, guards, self._name, f).source.text}

    def cache_info(self) -> CacheInfo:
        """What has been seen since the function was made, or cleared."""
        every = [special for specials in self._known.values() for special in specials]
        return CacheInfo(self._hits, self._traces, sum(len(s.paths) for s in every), sum(s.failed for s in every))

    def clear(self) -> None:
        """Forget all programs."""
        self._known = {}
        self._hits = self._traces = 0


def _holds_nodes(x: object) -> bool:
    return any(type(leaf) is Node for leaf in tree.leaves(x))


def _trace(
    f: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]
) -> tuple[Call, Trace, list[Read]]:
    """Trace f at its numbers and arrays, and note what its branches were decided by; strings stand for themselves."""
    decisions: list[tuple[Node, bool | int]] = []
    leaves, structure = tree.flatten(keyed(args, kwargs))
    paths = tree.paths(structure, argument_namer(f))
    call = Call(tuple(leaves), structure, tuple(_places(leaves, paths)))

    def on_numbers(numbers: tuple[object, ...]) -> object:
        return call_keyed(f, call.filled(numbers))

    def path(i: object) -> str:
        return paths[call.places[cast("int", i)]]

    traced = run(on_numbers, call.operands, path, raw=True, decisions=decisions)
    found = dict.fromkeys([(node, was, False) for node, was in decisions])
    for node in traced.nodes:
        if node.op.name in ("getitem", "scatter"):  # as many places as a mask picks has the result
            masks = [x for x in node.parents[1:] if type(x) is Node and str(x.dtype) == "bool"]
            found.update(dict.fromkeys([(x, int(concrete(x).sum()), True) for x in masks]))  # type: ignore[attr-defined]  # arrays
    return call, traced, list(found)


def _places(leaves: Sequence[object], paths: Sequence[str]) -> list[int]:
    """Where the numbers and arrays are; strings are compared at every call, anything else must be named as static."""
    found = [i for i, x in enumerate(leaves) if isinstance(x, int) or is_operand(x)]
    for i in set(range(len(leaves))).difference(found):
        if not isinstance(leaves[i], str | bytes):
            raise errors.LeafError(
                f"{paths[i]} is {describe(leaves[i])}, neither number nor array: name the argument in static_argnames"
            )
    return found


def _typed(traced: Trace, guards: Sequence[Read]) -> Typed:
    return typed_graph(traced.inputs, [*traced.outputs, *[node for node, _, _ in guards]], traced.scope)


def _compiled(typed: Typed, traced: Trace, read: Sequence[Read], name: str, f: Callable[..., object]) -> Path:
    """Write and compile a rewritten program."""
    program, count = typed.program, len(traced.outputs)
    guards = [Guard(x, was, counted) for x, (_, was, counted) in zip(program.outputs[count:], read, strict=True)]
    numbers = [kind.type in NUMBERS for kind in typed.kinds]
    inputs = [traced.scope.input_name(i) for i in range(len(traced.inputs))]
    written = text.write(
        typed,
        program.outputs[:count],
        text.identifier(name),
        inputs,
        guards,
        about=_about(f),
        copied=_shared(program, count, numbers),
    )
    return Path(typed, tuple(guards), packer(traced.out_structure), written)


def _shared(program: Program, count: int, numbers: Sequence[bool]) -> set[int]:
    """Which outputs must be copied, since they may share memory with an input, with each other or with a constant."""
    found, seen = set(), set()
    for i, x in enumerate(program.outputs[:count]):
        if type(x) is not Link:
            if type(x) not in NUMBERS and not isinstance(x, str | bytes):
                found.add(i)
        elif not numbers[x.place]:
            own = x.place >= program.arity and program.steps[x.place - program.arity][0].name not in _VIEWS
            if not own or x.place in seen:
                found.add(i)
            seen.add(x.place)
    return found


def _about(f: Callable[..., object]) -> str:
    """Where the function stands that a program was made from."""
    inner = inspect.unwrap(f.func if isinstance(f, functools.partial) else f)
    code = getattr(inner, "__code__", None)
    if code is None:
        return f"from {inner!r}"
    return f"from {inner.__name__}, {code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno}"


def listing(program: Program) -> str:
    """A program as text, an op on each line.

    >>> from fgrad import trace
    >>> print(listing(trace(lambda x: x * x + 1.0)(2.0).program))
    inputs: v0
    v1 = multiply(v0, v0)
    v2 = add(v1, 1.0)
    outputs: v2
    """

    def term(x: object) -> str:
        if type(x) is Link:
            return f"v{x.place}"
        size = getattr(x, "shape", ())
        return f"constant{list(size)}" if size else repr(x)

    lines = [f"inputs: {', '.join(f'v{i}' for i in range(program.arity))}"]
    for place, (op, parents, params) in enumerate(program.steps, program.arity):
        lines.append(f"v{place} = {op.name}({', '.join([*map(term, parents), *map(repr, params)])})")
    return "\n".join([*lines, f"outputs: {', '.join(map(term, program.outputs))}"])


@overload
def jit(f: Callable[P, V], *, static_argnames: Sequence[str] = (), fast_math: bool = False) -> Jitted[P, V]: ...
@overload
def jit(
    f: None = None, *, static_argnames: Sequence[str] = (), fast_math: bool = False
) -> Callable[[Callable[P, V]], Jitted[P, V]]: ...
def jit(
    f: Callable[P, V] | None = None, *, static_argnames: Sequence[str] = (), fast_math: bool = False
) -> Jitted[P, V] | Callable[[Callable[P, V]], Jitted[P, V]]:
    """Compile a function: traced at its first call, it runs as a program afterwards, to what fgrad's ops give.

    A program serves arguments of the same structure, types, shapes and dtypes. A branch on a value is a guard: where it
    would go another way, that way is traced too. Arguments named in `static_argnames` stand for themselves, and so do
    variables that f reaches as a closure or in its module: another object in one of them, and f is traced again. What
    is written into an array or an object there is not seen. What is no op, as reading a file, asking the clock, drawing
    at random or appending to a list, is done while tracing alone. With `fast_math` laws hold that are not exact in IEEE
    arithmetic, as x * 0 = 0.

    `.source(*args)` is the program as text, in which c, c_1, … are constant arrays; `.lower(*args)` has every stage
    before it, `.cache_info()` what was seen, and `.clear()` forgets it. Raises `LeafError` for an argument that is
    neither number nor array nor string, and not static.

    >>> @jit
    ... def f(x: float) -> float:
    ...     return x * x if x > 0 else -x
    >>> f(3.0), f(-3.0), f(4.0)
    (9.0, 3.0, 16.0)
    >>> f.cache_info()
    CacheInfo(hits=1, traces=2, paths=2, failed_guards=2)
    """
    if f is None:
        return functools.partial(jit, static_argnames=static_argnames, fast_math=fast_math)  # type: ignore[return-value]  # the overload says it
    if not callable(f):
        raise errors.ArgumentError(f"jit compiles a function, not {describe(f)}")
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
    unknown = set(names).difference(_parameters(f))
    if unknown:
        raise errors.ArgumentError(
            f"static_argnames has {', '.join(sorted(unknown))}, which {getattr(f, '__name__', 'the function')} "
            f"has not: its arguments are {', '.join(_parameters(f))}"
        )
    return Jitted(f, names, fast_math)


def _parameters(f: Callable[..., object]) -> list[str]:
    try:
        return list(inspect.signature(f).parameters)
    except (TypeError, ValueError):  # a builtin without a signature
        return []
