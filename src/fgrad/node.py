"""Node, Scope and Op: what a traced value is, and how an operation makes a new one.

Knows how to record; nothing of any op's meaning (operators, methods and NumPy's protocols look rows up in the table),
of pytrees, graphs or transforms.
"""

import functools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from math import inf
from threading import Lock
from types import MappingProxyType
from typing import Final, NoReturn, Protocol, Self, TypeAlias, TypeVar, cast

import attrs

from fgrad import errors
from fgrad.arrays import no_value, real_namespace


class Arithmetic(Protocol):
    """What a differentiable value can do: floats, arrays and nodes are each closed under it."""

    def __add__(self, other: Self, /) -> Self: ...
    def __mul__(self, other: Self, /) -> Self: ...
    def __neg__(self) -> Self: ...


X = TypeVar("X", bound=Arithmetic)
V = TypeVar("V", bool, int)
Value: TypeAlias = float
"""What rules compute with: to type checkers a float; when they run a number, an array, or a node of an older scope."""
Rule: TypeAlias = Callable[..., Value]
Function: TypeAlias = Callable[..., object]


@attrs.frozen(eq=False)
class Op:
    """One row of the table: a name, how to compute it, and its derivative.

    `impl(*args, *params)` computes on numbers and arrays. `scalar(*args)` does so on floats alone, natively; where it
    raises ArithmeticError or ValueError, `impl` decides. `vjp(wanted, g, ans, args, params)` gives the cotangents of
    the arguments at the places `wanted`, and `jvp(ts, ans, args, params)` the result's tangent from the arguments', of
    which a None is zero; without them the derivative is zero. Elementwise rows also show the `partials` that theirs are
    made of: a local derivative, a constant or a rule on `ans, *args`, for each argument. `batch(op, args, batched,
    params, size)` does the op for all examples at once, which batched arguments have along their first axis; without
    one broadcasting does it.
    """

    name: str
    impl: Rule
    scalar: Rule | None = None
    partials: tuple[float | Rule, ...] | None = None
    vjp: Callable[..., Iterable[Value | None]] | None = None
    jvp: Callable[..., Value | None] | None = None
    batch: Rule | None = None

    def __reduce__(self) -> tuple[Callable[[str], "Op"], tuple[str]]:
        if table.get(self.name) is not self:
            raise TypeError(f"the op {self.name} is not in fgrad's table, so that no other process would know it")
        return _row, (self.name,)


def _row(name: str) -> Op:
    return table[name]


INPUT: Final = Op("input", impl=lambda value: value)
table: Final[dict[str, Op]] = {}
public_functions: Final[dict[str, Function]] = {}
numpy_functions: Final[dict[str, Function]] = {}
"""What stands for each NumPy function when it meets a node, by that function's name."""

_visiting: Final = Lock()

TABLE: Final = MappingProxyType(table)
"""Every op by its name: the one registry. `ops.rows` fills it while the package is imported; then it is frozen."""
FUNCTIONS: Final = MappingProxyType(public_functions)
"""The public function for each name, for methods."""


@attrs.define(eq=False)
class Scope:
    """The name of one call of a transform. It is open while its function runs, and to the walks over its graph."""

    input_name: Callable[[int], str] = str
    """Names input number i, for messages."""
    stands_for: str = ""
    """What a traced value stands for where it is more than one, so that it cannot decide a branch."""
    decisions: "list[tuple[Node, bool | int]] | None" = None
    """Where it is a list: the values that branches were decided by, in order, for who must decide them again."""
    open: bool = True
    serial: int = attrs.field(init=False, factory=count().__next__)
    visitors: int = attrs.field(init=False, default=0)
    """How many walks are on this scope's graph now: a user's rule, which they call, may use its nodes as constants."""

    def __enter__(self) -> None:
        with _visiting:
            self.visitors += 1
            self.open = True

    def __exit__(self, *_: object) -> None:
        with _visiting:
            self.visitors -= 1
            self.open = self.visitors > 0


def _operators(name: str) -> "tuple[Callable[[Node, object], Node], Callable[[Node, object], Node]]":
    """Make the methods for a row of two arguments and for its reflection."""
    return lambda x, y: apply_binary(table[name], x, y), lambda y, x: apply_binary(table[name], x, y)


def _method(name: str) -> "Callable[..., Node]":
    """Make the method that does what NumPy's function of that name does."""
    return lambda self, *args, **kwargs: _numpy(name, self, *args, **kwargs)


def _operator(name: str) -> "Callable[[Node], Node]":
    """Make the method for a row of one argument."""
    return lambda x: apply_unary(table[name], x)


@attrs.frozen(eq=False, repr=False, weakref_slot=False)
class Node:
    """A traced value: the op that made it, its parents and params, its value, and for whom and when it was made.

    Parents that are no nodes of the same `scope` are constants. `value` is this node as the enclosing scope sees it: a
    number, an array, or a node of an older scope. Nodes are made by `apply`; nothing is ever written to one.
    """

    op: Op
    parents: tuple[object, ...]
    params: tuple[Hashable, ...]
    value: object
    scope: Scope
    serial: int

    __hash__ = object.__hash__  # nodes are keys by identity, while == is an op like <

    __add__, __radd__ = _operators("add")
    __sub__, __rsub__ = _operators("subtract")
    __mul__, __rmul__ = _operators("multiply")
    __truediv__, __rtruediv__ = _operators("divide")
    __floordiv__, __rfloordiv__ = _operators("floor_divide")
    __mod__, __rmod__ = _operators("remainder")
    __pow__, __rpow__ = _operators("pow")
    __and__, __rand__ = _operators("bitwise_and")
    __or__, __ror__ = _operators("bitwise_or")
    __xor__, __rxor__ = _operators("bitwise_xor")
    __lt__, __gt__ = _operators("less")[0], _operators("greater")[0]
    __le__, __ge__ = _operators("less_equal")[0], _operators("greater_equal")[0]
    __neg__, __pos__, __abs__, __invert__ = map(_operator, ("negative", "positive", "abs", "bitwise_invert"))

    def __eq__(self, y: object) -> "Node":  # type: ignore[override]  # a comparison row, as for arrays
        return _compare("equal", self, y)

    def __ne__(self, y: object) -> "Node":  # type: ignore[override]  # as above
        return _compare("not_equal", self, y)

    def __matmul__(self, y: object) -> "Node":
        return _call("matmul", self, y)

    def __rmatmul__(self, x: object) -> "Node":
        return _call("matmul", x, self)

    def __divmod__(self, y: object) -> "tuple[Node, Node]":
        return self // y, self % y

    def __rdivmod__(self, x: object) -> "tuple[Node, Node]":
        return x // self, x % self

    def __round__(self, digits: int | None = None) -> "Node":
        if digits is not None:
            raise _untraceable("round(x, digits) has no row", "write fgrad.round(x * 10**digits) / 10**digits")
        return _call("round", self)

    def exp(self) -> "Node":
        """E to the power of this."""
        return _call("exp", self)

    def log(self) -> "Node":
        """Natural logarithm."""
        return _call("log", self)

    def tanh(self) -> "Node":
        """Hyperbolic tangent."""
        return _call("tanh", self)

    def relu(self) -> "Node":
        """The positive part: 0 elsewhere."""
        return _call("relu", self)

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> "Node":
        """Sum over `axis`, or over all."""
        return _call("sum", self, axis, keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> "Node":
        """Mean over `axis`, or over all."""
        return _call("mean", self, axis, keepdims)

    def reshape(self, *shape: int | tuple[int, ...]) -> "Node":
        """Give the same numbers, in row-major order, another shape."""
        first = shape[0] if len(shape) == 1 else shape
        return _call("reshape", self, first)

    # NumPy's methods, as its functions: x.max(0) is np.max(x, 0).
    argmax, argmin, argsort, max, min, std, var = map(
        _method, ["argmax", "argmin", "argsort", "max", "min", "std", "var"]
    )
    astype, clip, copy, dot, round, take = map(_method, ["astype", "clip", "copy", "dot", "round", "take"])
    ravel, squeeze, swapaxes, flatten = map(_method, ["ravel", "squeeze", "swapaxes", "ravel"])
    cumprod, cumsum, diagonal, prod, repeat, trace = map(
        _method, ["cumprod", "cumsum", "diagonal", "prod", "repeat", "trace"]
    )

    def transpose(self, *axes: int | tuple[int, ...]) -> "Node":
        """Reorder the axes; reversed without any."""
        first = axes[0] if len(axes) == 1 else axes
        return _call("permute_dims", self, first) if axes else self.T

    def item(self) -> NoReturn:
        """Refuse: it would lose the gradient."""
        raise _untraceable("item() and tolist() would lose the gradient", "write x for x.item(), x[i] for one of many")

    tolist = item

    @property
    def T(self) -> "Node":  # noqa: N802  # the field's name
        """The transpose: all axes reversed."""
        return _call("permute_dims", self, tuple(reversed(range(self.ndim))))

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes; () for a number."""
        return shape(self)

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(shape(self))

    @property
    def size(self) -> int:
        """How many numbers there are."""
        size = 1
        for length in shape(self):
            size *= length
        return size

    @property
    def dtype(self) -> object:
        """The dtype of an array; of a Python number its type."""
        value = concrete(self)
        return type(value) if type(value) in (float, int, bool) else value.dtype  # type: ignore[attr-defined]  # any array library's

    def __getitem__(self, index: object) -> "Node":
        return _call("getitem", self, index)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a traced number has no len()")
        return self.shape[0]

    def __iter__(self) -> Iterator["Node"]:
        if not self.shape:
            raise TypeError(f"cannot iterate over a traced number{errors.user_line()}")
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return _read(self, bool(concrete(self)))

    def __index__(self) -> int:
        return _integer(self, "an integer is wanted here", "keep it a float, or compute the integer from .shape")

    def __int__(self) -> int:
        return _integer(self, "int() has no gradient", "write fgrad.floor(x) or fgrad.round(x)")

    def __float__(self) -> NoReturn:
        raise _untraceable(
            "float() and the functions of `math` would lose the gradient",
            "write fgrad.tanh(x) or np.tanh(x) for math.tanh(x), x for float(x), fgrad.stack([x, y]) to build an array",
        )

    __trunc__ = __float__

    def __complex__(self) -> NoReturn:
        raise _untraceable("complex numbers are not differentiated", "keep real and imaginary parts apart")

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise _untraceable(
            "np.array and np.asarray would lose the gradient",
            "write fgrad.stack([x, y]) for np.array([x, y]), x for np.asarray(x), and fgrad.getitem(a, x) for a[x]",
        )

    def __setitem__(self, index: object, value: object) -> NoReturn:
        raise errors.MutationError(
            f"a traced array cannot be assigned to{errors.user_line()}: write fgrad.where(mask, value, x), "
            "or build the array with fgrad.stack or fgrad.concat"
        )

    def __array_ufunc__(self, ufunc: Callable[..., object], method: str, *args: object, **kwargs: object) -> object:
        """Route a NumPy ufunc to its row."""
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        if "out" in kwargs:
            raise errors.MutationError(
                f"np.{name} would write a traced value into an array, in place{errors.user_line()}: "
                "write `y = y + x` for `y += x`, and np.f(x) for np.f(x, out=y)"
            )
        return _numpy(name, *args, **kwargs)

    def __array_function__(
        self,
        function: Callable[..., object],
        types: object,
        args: Sequence[object],
        kwargs: Mapping[str, object],
    ) -> object:
        """Route any other NumPy function to its row."""
        module = function.__module__.removeprefix("numpy").removeprefix(".")
        return _numpy(f"{module}.{function.__name__}" if module else function.__name__, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<{self.op.name}: {concrete(self)!r}>"

    def __str__(self) -> str:
        return str(concrete(self))

    def __format__(self, spec: str) -> str:
        return format(concrete(self), spec)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a node is part of a graph and cannot be pickled alone: save the Trace, fgrad.trace(f)(*args)")


class _Draft:
    """A node while it is being made: the same slots, still writable."""

    __slots__ = ("op", "params", "parents", "scope", "serial", "value")
    op: Op
    parents: tuple[object, ...]
    params: tuple[Hashable, ...]
    value: object
    scope: Scope
    serial: int


_new, _birth = object.__new__, count().__next__


def record(op: Op, parents: tuple[object, ...], params: tuple[Hashable, ...], value: object, scope: Scope) -> Node:
    """Make a node, unchecked.

    A frozen record's own __init__ goes through object.__setattr__, field by field, and takes twice the time. Here the
    slots are filled natively, and the last step makes the draft a Node, as frozen as any.
    """
    node = _new(_Draft)
    node.op = op
    node.parents = parents
    node.params = params
    node.value = value
    node.scope = scope
    node.serial = _birth()
    node.__class__ = Node  # type: ignore[assignment]  # the two classes have the same layout, which is the point
    return node  # type: ignore[return-value]  # it is one now


def apply(op: Op, args: tuple[object, ...], params: tuple[Hashable, ...] = (), known: object = None) -> Value:
    """Do `op` in the newest scope among `args`, where older nodes are constants; without nodes, just compute it.

    Where the result, without nodes, is `known`, it is not computed.
    """
    scope = None
    for x in args:
        if type(x) is Node and (scope is None or x.scope.serial > scope.serial):
            scope = x.scope
    if scope is None:
        return op.impl(*args, *params) if known is None else known  # type: ignore[return-value]  # a value
    if not scope.open:
        raise escaped(next(x for x in args if type(x) is Node and x.scope is scope), f"used in {op.name}")
    parents, values, nested = [], [], False
    for x in args:
        kind = type(x)
        if kind is not Node and kind is not float and kind is not int and kind is not bool:
            # A constant is an array of numbers, or an error. What the user does to theirs afterwards is not seen; its
            # layout is kept, since products of matrices depend on that in the last bit.
            x = real_namespace(x).asarray(x, copy=True)[()]
        elif kind is Node and not x.scope.open:  # type: ignore[attr-defined]  # a node
            raise escaped(x, f"used in {op.name}")  # type: ignore[arg-type]  # as above
        value = x.value if type(x) is Node and x.scope is scope else x
        nested = nested or type(value) is Node
        parents.append(x)
        values.append(value)
    ans = apply(op, tuple(values), params, known) if nested or known is not None else op.impl(*values, *params)
    return record(op, tuple(parents), params, ans, scope)  # type: ignore[return-value]  # a value, see above


def apply_unary(op: Op, x: Node) -> Node:
    """`apply(op, (x,))`, sooner where x holds a float."""
    value = x.value
    if type(value) is float and x.scope.open:
        try:
            ans = op.scalar(value)  # type: ignore[misc]  # elementwise rows have it
        except (ArithmeticError, ValueError):
            ans = op.impl(value)
        return record(op, (x,), (), ans, x.scope)
    return apply(op, (x,))  # type: ignore[return-value]  # with a node among its arguments it gives one


def apply_binary(op: Op, x: object, y: object) -> Node:
    """`apply(op, (x, y))`, sooner where both are numbers in one scope; at least one is a node."""
    if type(x) is Node:
        scope, a = x.scope, x.value
        b = y.value if type(y) is Node and y.scope is scope else y
    else:
        scope, a, b = y.scope, x, y.value  # type: ignore[attr-defined]  # y is the node then
    if (type(a) is float or type(a) is int) and (type(b) is float or type(b) is int) and scope.open:
        try:
            ans = op.scalar(a, b)  # type: ignore[misc]  # as above
        except (ArithmeticError, ValueError):
            ans = op.impl(a, b)
        return record(op, (x, y), (), ans, scope)
    return apply(op, (x, y))  # type: ignore[return-value]  # as above


def concrete(x: object) -> object:
    """The number or array under any depth of nodes."""
    while type(x) is Node:
        x = x.value
    return x


def stands_for(x: object) -> str:
    """What a node, or one that it stands for in an outer scope, stands for where that is many values; or nothing."""
    while type(x) is Node:
        if x.scope.stands_for:
            return x.scope.stands_for
        x = x.value
    return ""


def shape(x: object) -> tuple[int, ...]:
    """The lengths of the axes of a number (none), array or node."""
    value = x if type(x) is not Node else concrete(x)
    if isinstance(value, (float, int)):
        return ()
    try:
        return tuple(value.shape)  # type: ignore[attr-defined]  # any array library's
    except AttributeError:
        raise no_value(value) from None


def escaped(node: Node, how: str) -> errors.EscapedNodeError:
    """Say that `node` outlived its transform, naming its op and an input that it came from."""
    source = node
    while source.op is not INPUT:
        source = next(x for x in source.parents if type(x) is Node and x.scope is node.scope)
    index = cast("int", source.params[0])
    made = "is the input" if source is node else f"was made by {node.op.name} from the input"
    return errors.EscapedNodeError(
        f"a traced value was {how} after its transform had returned{errors.user_line()}: it {made} "
        f"{node.scope.input_name(index)}. Return what you need from the function, through has_aux=True if it is not "
        "the result, instead of keeping it in a variable outside"
    )


def _call(name: str, *args: object) -> Node:
    return FUNCTIONS[name](*args)  # type: ignore[return-value]  # a node is among the arguments


def _compare(name: str, x: Node, y: object) -> Node:
    try:
        return apply_binary(table[name], x, y)
    except errors.ConversionError:
        return NotImplemented  # type: ignore[no-any-return]  # no number or array: Python then says that they differ


def _integer(node: Node, what: str, instead: str) -> int:
    """The value of a node that holds an integer; there is no gradient to lose."""
    value = concrete(node)
    if isinstance(value, float) or "float" in str(node.dtype):
        raise _untraceable(what, instead)
    return _read(node, int(cast("int", value)))


def _read(node: Node, value: V) -> V:
    """Let a branch be decided by the value of `node`, unless it stands for many; who asked for it is told."""
    if many := stands_for(node):
        raise errors.BranchError(
            f"a branch cannot depend on a value that stands for {many}{errors.user_line()}: each may go its own way; "
            "write fgrad.where(condition, x, y) or fgrad.cond(condition, f, g, x)"
        )
    x: object = node
    while type(x) is Node:
        if x.scope.decisions is not None:
            x.scope.decisions.append((x, value))
        x = x.value
    return value


def _untraceable(what: str, instead: str) -> errors.ConversionError:
    return errors.ConversionError(f"a traced value cannot be converted{errors.user_line()}: {what}; {instead}")


def _numpy(name: str, /, *args: object, **kwargs: object) -> "Node":
    """Do what a NumPy function, by its name, does."""
    stand_in = numpy_functions.get(name)
    if stand_in is None:
        raise _missing_row(f"np.{name}")
    needed, most, names = _signature(stand_in)
    if not kwargs.keys() <= names:
        raise _missing_row(f"np.{name} with {', '.join(sorted(kwargs.keys() - names))}=")
    if not needed <= len(args) + len(kwargs) or len(args) > most:
        raise _missing_row(f"np.{name} with {len(args) + len(kwargs)} arguments")
    return stand_in(*args, **kwargs)  # type: ignore[return-value]  # a node is among its arguments, or an array of it


@functools.cache
def _signature(function: Function) -> tuple[int, float, frozenset[str]]:
    """How many arguments a function needs, how many it takes by place, and which by name."""
    import inspect  # lazily: importing fgrad stays quick

    parameters = inspect.signature(function).parameters.values()
    needed = sum(p.default is p.empty and p.kind is not p.VAR_POSITIONAL for p in parameters)
    by_place = sum(inf if p.kind is p.VAR_POSITIONAL else p.kind is not p.KEYWORD_ONLY for p in parameters)
    return needed, by_place, frozenset(p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY)


def _missing_row(function: str) -> errors.MissingRowError:
    name = function.removeprefix("np.").split()[0].split(".")[-1]
    return errors.MissingRowError(f"{function} has no derivative in fgrad{errors.user_line()}: {_instead(name)}")


def _instead(name: str) -> str:
    import difflib  # lazily: importing fgrad stays quick

    near = difflib.get_close_matches(name, FUNCTIONS, n=1, cutoff=0.85)
    return (
        f"the nearest op is fgrad.{near[0]}"
        if near
        else "write it with fgrad's ops, or give it a rule by fgrad.custom_vjp"
    )
