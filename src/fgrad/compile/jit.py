"""jit: a function becomes programs, one for each way that its branches go, that run as Python written for them.

Knows when a program may run in the function's place, and that any doubt is settled by tracing or by running the
function itself; nothing of how programs are rewritten and written.
"""

import functools
import inspect
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from threading import Lock
from typing import Final, Generic, NamedTuple, ParamSpec, TypeVar, cast, overload

import attrs

from fgrad import errors, tree
from fgrad.compile.captures import Captured, captured
from fgrad.compile.leaves import unpacker
from fgrad.compile.machine import assembly, available
from fgrad.compile.paths import Lowered, Path, listing, lowered
from fgrad.compile.rewrite import stages
from fgrad.node import Node
from fgrad.trace import describe

P = ParamSpec("P")
V = TypeVar("V")

MOST_PATHS: Final = 16
"""How many ways a function may go, for arguments of one kind, before it is run as it is."""
_log: Final = logging.getLogger("fgrad")


class CacheInfo(NamedTuple):
    """What a compiled function has seen: calls that a program served, traces, programs kept, and guards that failed."""

    hits: int
    traces: int
    paths: int
    failed_guards: int


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
        self,
        function: Callable[P, V],
        static_argnames: tuple[str, ...] = (),
        fast_math: bool = False,
        native: bool = False,
    ) -> None:
        functools.update_wrapper(cast("Callable[..., object]", self), function)
        self.function = function
        self.static_argnames = static_argnames
        self.fast_math = fast_math
        self.native = native
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
        """The static arguments, by their place or name, and all others as they were given."""
        self._signature.bind(*args, **kwargs)
        names = [*self._signature.parameters][: len(args)]
        places = [i for i, name in enumerate(names) if name in self.static_argnames]
        static = [*[(i, args[i]) for i in places], *[(k, x) for k, x in kwargs.items() if k in self.static_argnames]]
        rest = {k: x for k, x in kwargs.items() if k not in self.static_argnames}
        return tuple(static), tuple([x for i, x in enumerate(args) if i not in places]), rest

    @functools.cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function)  # which takes longer than many a call

    def _function(self, static: Hashable) -> Callable[..., V]:
        given = cast("tuple[tuple[int | str, object], ...]", static)
        if not given:
            return self.function

        @functools.wraps(self.function)
        def function(*args: object, **kwargs: object) -> V:
            whole = list(args)
            for key, x in given:
                if isinstance(key, int):
                    whole.insert(key, x)
                else:
                    kwargs[key] = x
            return cast("Callable[..., V]", self.function)(*whole, **kwargs)

        return function

    def _traced(
        self, static: Hashable, args: Sequence[object], kwargs: Mapping[str, object], special: Specialised | None
    ) -> V:
        """Run the function itself, and keep what it did as a program, if that would be right for the next call."""
        f = self._function(static)
        reached = captured(self.function)
        if any(map(_holds_nodes, (args, kwargs, *[was for _, was in reached.variables]))):
            return f(*args, **kwargs)  # inside another transform, which differentiates through
        found = self._lowered(f, args, kwargs)
        if found is None:
            return f(*args, **kwargs)
        path = found.path(found.native() if self.native else None)
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
        outcome = None if leaves is None else path.run(leaves)
        return f(*args, **kwargs) if outcome is None else cast("V", path.pack(outcome))

    def _lowered(self, f: Callable[..., V], args: Sequence[object], kwargs: Mapping[str, object]) -> Lowered | None:
        """The program of a call; None if it reaches values of another transform."""
        found = lowered(f, args, kwargs)
        return None if found.traced.free else found.shorter(self.fast_math)

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
        found = self._lowered(self._function(static), args_, kwargs_)
        if found is None:
            raise errors.ArgumentError(f"{self._name} uses traced values of another transform: it has no program")
        return found.source().shown

    def lower(self, *args: P.args, **kwargs: P.kwargs) -> dict[str, str]:
        """Every stage on the way from the trace to what runs, as text, by its name."""
        static, args_, kwargs_ = self._apart(args, kwargs) if self.static_argnames else ((), args, kwargs)
        traced = lowered(self._function(static), args_, kwargs_)
        texts = {"trace": listing(traced.typed.program)}
        for name, typed in stages(traced.typed, self.fast_math):
            texts[name] = listing(typed.program)
        short = traced.shorter(self.fast_math)
        texts["source"] = short.source().shown
        found = short.native() if self.native else None
        if found is not None:
            texts["native"] = short.source(found).shown
            texts["LLVM"] = "\n".join([kernel.text for kernel in found.kernels])
            texts["assembly"] = "\n".join(map(assembly, found.kernels))
        return texts

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


@overload
def jit(
    f: Callable[P, V], *, static_argnames: Sequence[str] = (), fast_math: bool = False, native: bool | None = None
) -> Jitted[P, V]: ...
@overload
def jit(
    f: None = None, *, static_argnames: Sequence[str] = (), fast_math: bool = False, native: bool | None = None
) -> Callable[[Callable[P, V]], Jitted[P, V]]: ...
def jit(
    f: Callable[P, V] | None = None,
    *,
    static_argnames: Sequence[str] = (),
    fast_math: bool = False,
    native: bool | None = None,
) -> Jitted[P, V] | Callable[[Callable[P, V]], Jitted[P, V]]:
    """Compile a function: traced at its first call, it runs as a program afterwards, to what fgrad's ops give.

    A program serves arguments of the same structure, types, shapes and dtypes. A branch on a value is a guard: where it
    would go another way, that way is traced too. Arguments named in `static_argnames` stand for themselves, and so do
    variables that f reaches as a closure or in its module: another object in one of them, and f is traced again. What
    is written into an array or an object there is not seen. What is no op, as reading a file, asking the clock, drawing
    at random or appending to a list, is done while tracing alone. With `fast_math` laws hold that are not exact in IEEE
    arithmetic, as x * 0 = 0.

    Where llvmlite is installed (the extra `jit`), what is done number by number runs as native loops over vectors:
    each op is within 4 ulp of NumPy's, and sums are added in another order. With `native=False` the program is Python,
    to the last bit what fgrad's ops give; `native=True` makes sure that llvmlite is there.

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
        return functools.partial(jit, static_argnames=static_argnames, fast_math=fast_math, native=native)  # type: ignore[return-value]  # the overload says it
    if not callable(f):
        raise errors.ArgumentError(f"jit compiles a function, not {describe(f)}")
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
    unknown = set(names).difference(_parameters(f))
    if unknown:
        raise errors.ArgumentError(
            f"static_argnames has {', '.join(sorted(unknown))}, which {getattr(f, '__name__', 'the function')} "
            f"has not: its arguments are {', '.join(_parameters(f))}"
        )
    if native and not available():
        raise errors.MissingExtraError("jit(f, native=True) needs CPython and llvmlite: pip install 'fgrad[jit]'")
    return Jitted(f, names, fast_math, available() if native is None else native)


def _parameters(f: Callable[..., object]) -> list[str]:
    try:
        return list(inspect.signature(f).parameters)
    except (TypeError, ValueError):  # a builtin without a signature
        return []
