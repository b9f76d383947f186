"""Programs made shorter: equal steps shared, constants folded, laws of arithmetic applied, dead steps dropped.

Knows graphs as programs with the kinds of their values, and laws as text; nothing of how a program is printed or run.

Every pass is a pure function from `Typed` to `Typed`, and gives the very object that it was given where it has nothing
to do. By default all passes keep every bit of every result, but for what a nan carries beside being one. So they also
keep how arrays lie in memory where that could be seen, since sums and products of matrices depend on it in the last
bit. Steps whose params hold programs or functions are opaque: nothing looks into them.
"""

import ast
import functools
import math
import struct
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import permutations, product
from typing import Final, Protocol, TypeAlias, cast

import attrs

import fgrad.ops  # noqa: F401  # laws are read by the table, which it fills
from fgrad import errors, graph
from fgrad.arrays import numpy, quiet
from fgrad.graph import Link, Program, Step
from fgrad.node import INPUT, TABLE, Node, Op, Scope, concrete
from fgrad.trace import Trace

LARGEST_CONSTANT: Final = 10_000
"""How many numbers a constant may have that a pass makes: what is larger is computed sooner than it is kept."""
ROUNDS: Final = 20
"""How often `rewritten` runs all passes at most; a few times is the rule."""
COMMUTATIVE: Final = frozenset(
    ["add", "multiply", "scale", "equal", "not_equal"]
    + [f"{kind}_{op}" for kind in ("logical", "bitwise") for op in ("and", "or", "xor")]
)
"""The ops whose two operands may change places to the last bit: not maximum, of which 0.0 and -0.0 keep the first."""


# --- programs with kinds ---------------------------------------------------------------------------------------------
@attrs.frozen
class Kind:
    """What a value is: its Python type; of an array or a NumPy scalar also shape and dtype; of a tuple its parts.

    >>> kind_of(2.0)
    Kind(float)
    """

    type: type
    shape: tuple[int, ...] = ()
    dtype: object = None
    parts: "tuple[Kind, ...]" = ()

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(part.size for part in self.parts) if self.type is tuple else math.prod(self.shape)

    @property
    def floating(self) -> bool:
        """Whether these are floats, of any width."""
        return self.type is float or "float" in str(self.dtype)

    def __repr__(self) -> str:
        details = [] if self.dtype is None else [str(self.shape), str(self.dtype)]
        return f"Kind({', '.join([self.type.__name__, *details, *map(repr, self.parts)])})"


_NUMBERS: Final[dict[type, Kind]] = {kind: Kind(kind) for kind in (float, int, bool)}


def kind_of(value: object) -> Kind:
    """The kind of a number, an array or a tuple of these; of a traced value, that of the number under it."""
    value = concrete(value)
    found = _NUMBERS.get(type(value))
    if found is not None:
        return found
    if isinstance(value, tuple):
        return Kind(tuple, parts=tuple([kind_of(x) for x in value]))
    return Kind(type(value), tuple(getattr(value, "shape", ())), getattr(value, "dtype", None))


def plain(x: object) -> object:
    """A NumPy scalar as Python's number, to the bit; anything else as it is."""
    if type(x).__module__ == "numpy" and isinstance(x, numpy().generic):
        return cast("_NumPy", x).item()
    return x


class _NumPy(Protocol):
    """An array or scalar of NumPy, which is not imported for its type."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: Hashable

    def item(self) -> object: ...
    def tobytes(self) -> bytes: ...


@attrs.frozen(eq=False, repr=False)
class Typed:
    """A program and the kinds of all its values: of the inputs, then of what each step gives."""

    program: Program
    kinds: tuple[Kind, ...]

    def __repr__(self) -> str:
        return f"<Typed program of {self.program.arity} inputs, {len(self.program.steps)} steps>"


def typed(trace: Trace) -> Typed:
    """The program of a trace, with the kinds of the values that were traced.

    >>> from fgrad import trace
    >>> typed(trace(lambda x: x * x < 2.0)(3.0)).kinds
    (Kind(float), Kind(float), Kind(bool))
    """
    return typed_graph(trace.inputs, trace.outputs, trace.scope)


def typed_graph(inputs: Sequence[Node], outputs: Sequence[object], scope: Scope) -> Typed:
    """`typed` for any inputs (a trace's, and its free nodes) and outputs (a trace's, and what its guards read)."""
    order = graph.ancestors(outputs, scope, constants=True)[::-1]
    return Typed(graph.program(inputs, outputs, scope), tuple([kind_of(x) for x in (*inputs, *order)]))


def validate(typed: Typed) -> Typed:
    """Give back a well-formed program; raise `BrokenProgramError` saying what is wrong with any other.

    >>> validate(Typed(Program(1, (), (Link(1),)), (kind_of(1.0),)))
    Traceback (most recent call last):
    ...
    fgrad.errors.BrokenProgramError: an output links to value 1 of 1
    """
    program = typed.program
    wrong = graph.fault(program)
    if not wrong and len(typed.kinds) != program.arity + len(program.steps):
        wrong = f"{len(typed.kinds)} kinds for {program.arity} inputs and {len(program.steps)} steps"
    if not wrong and not all(type(kind) is Kind for kind in typed.kinds):
        wrong = "what stands for a kind is none"
    if wrong:
        raise errors.BrokenProgramError(wrong)
    for i, (op, _, params) in enumerate(program.steps):
        try:
            hash(params)
        except TypeError as error:
            raise errors.BrokenProgramError(
                f"step {i}, {op.name}, has params that are not hashable: {params}"
            ) from error
    return typed


class Draft:
    """A program while it is written anew, from an old one: its steps so far, and what has become of old values."""

    def __init__(self, old: Typed) -> None:
        self.old, self.arity = old, old.program.arity
        self.steps: list[Step] = []
        self.kinds = list(old.kinds[: self.arity])
        self.now: list[object] = [Link(i) for i in range(self.arity)]

    def walk(self) -> Iterator[tuple[Op, tuple[object, ...], tuple[Hashable, ...], Kind]]:
        """The old steps in order, their parents as they are now; after each, `now` must be told what it has become."""
        now = self.now
        for (op, parents, params), kind in zip(self.old.program.steps, self.old.kinds[self.arity :], strict=True):
            yield op, tuple([now[x.place] if type(x) is Link else x for x in parents]), params, kind

    def append(self, op: Op, parents: tuple[object, ...], params: tuple[Hashable, ...], kind: Kind) -> Link:
        """Add a step."""
        self.steps.append((op, parents, params))
        self.kinds.append(kind)
        return Link(len(self.kinds) - 1)

    def kind(self, x: object) -> Kind:
        """The kind of a value or constant."""
        return self.kinds[x.place] if type(x) is Link else kind_of(x)

    def done(self, changed: bool) -> Typed:
        """The new program, or the old one where nothing has changed."""
        if not changed:
            return self.old
        outputs = [self.now[x.place] if type(x) is Link else x for x in self.old.program.outputs]
        return Typed(Program(self.arity, tuple(self.steps), tuple(outputs)), tuple(self.kinds))


# --- dead steps ------------------------------------------------------------------------------------------------------
def live(typed: Typed) -> Typed:
    """Drop the steps that no output depends on; all inputs stay."""
    program, arity = typed.program, typed.program.arity
    needed = [False] * len(typed.kinds)
    for x in program.outputs:
        if type(x) is Link:
            needed[x.place] = True
    for i in range(len(program.steps) - 1, -1, -1):
        if needed[arity + i]:
            for x in program.steps[i][1]:
                if type(x) is Link:
                    needed[x.place] = True
    if all(needed[arity:]):
        return typed
    draft = Draft(typed)
    for i, step in enumerate(draft.walk()):
        draft.now.append(draft.append(*step) if needed[arity + i] else None)
    return draft.done(changed=True)


# --- equal steps -----------------------------------------------------------------------------------------------------
def shared(typed: Typed) -> Typed:
    """Do equal steps once: those of one op on the same values, with the same params.

    Constants are the same if they are of one type and the same to the last bit: 1, 1.0 and True differ, as do 0.0 and
    -0.0. The operands of a commutative op are compared in one order; the first such step stays as it is.

    >>> from fgrad import trace
    >>> shared(typed(trace(lambda a, b: a * b + b * a)(2.0, 3.0))).program
    <Program of 2 inputs, 2 steps, 1 outputs>
    """
    draft = Draft(typed)
    known: dict[Hashable, Link] = {}
    for op, parents, params, kind in draft.walk():
        keys = [x.place if type(x) is Link else identity(x) for x in parents]
        if op.name in COMMUTATIVE and TABLE.get(op.name) is op:
            keys.sort(key=hash)  # any order will do, if it is the same each time
        key = (op, tuple(keys), identity(params) if params else ())
        found = known.get(key)
        if found is None:
            found = known[key] = draft.append(op, parents, params, kind)
        draft.now.append(found)
    return draft.done(changed=len(draft.steps) < len(typed.program.steps))


def identity(x: object) -> Hashable:
    """What two constants, or params, have in common if they are the same to the last bit, and only then.

    >>> identity(0.0) == identity(-0.0), identity(1) == identity(True), identity((1.0,)) == identity((1.0,))
    (False, False, True)
    """
    kind = type(x)
    if kind is float:
        return float, struct.pack("d", x)
    if kind is int or kind is bool or kind is str:
        return kind, x
    if isinstance(x, tuple):
        return kind, tuple([identity(y) for y in x])
    if attrs.has(kind) and kind.__eq__ is not object.__eq__ and kind is not Node:
        return kind, tuple([identity(getattr(x, field.name)) for field in attrs.fields(kind)])
    if kind.__module__ == "numpy" and isinstance(x, numpy().ndarray | numpy().generic):
        array = cast("_NumPy", x)  # its strides too: products of matrices depend on the layout
        return kind, array.dtype, array.shape, array.strides, array.tobytes()
    return "the very", id(x)  # both are alive while they are compared


# --- constants -------------------------------------------------------------------------------------------------------
def folded(typed: Typed) -> Typed:
    """Compute the steps now whose arguments are all constants, if the result has few numbers.

    Left as they are: ops that are not in fgrad's table, whose functions may do anything; opaque steps; and what cannot
    be computed.
    """
    if not any(_are_constants(parents) for _, parents, _ in typed.program.steps):
        return typed  # the rule, and the quick way
    draft, changed = Draft(typed), False
    with quiet():
        for op, parents, params, kind in draft.walk():
            found = _computed(op, parents, params, kind) if _are_constants(parents) else None
            changed = changed or found is not None
            draft.now.append(draft.append(op, parents, params, kind) if found is None else found)
    return draft.done(changed)


def _are_constants(xs: tuple[object, ...]) -> bool:
    for x in xs:  # noqa: SIM110  # a plain loop is quicker, and this is asked of every step
        if type(x) is Link or type(x) is Node:
            return False
    return True


def _computed(op: Op, args: tuple[object, ...], params: tuple[Hashable, ...], kind: Kind) -> object:
    """What a step on constants gives, or None if that is large, of another kind, or cannot be known now."""
    if kind.size > LARGEST_CONSTANT or TABLE.get(op.name) is not op or any(map(_runs, params)):
        return None
    try:
        found = op.impl(*args, *params)
    except Exception:  # whatever it is, it is the run's to raise
        return None
    return found if kind_of(found) == kind else None


def _runs(param: object) -> bool:
    """Whether a param is a program or a function."""
    return callable(param) and not isinstance(param, type)


# --- laws: how they are written --------------------------------------------------------------------------------------
@attrs.frozen
class Variable:
    """A letter in a law: any value, the same wherever it stands; c is any constant."""

    name: str


@attrs.frozen
class Number:
    """A number in a law: it stands for that number of any type, with its sign, which 0.0 and -0.0 have too."""

    value: float

    def matches(self, x: object) -> bool:
        """Whether a constant is this number."""
        number = plain(x)
        if not isinstance(number, float | int):
            return False
        return number == self.value and math.copysign(1.0, number) == math.copysign(1.0, self.value)


@attrs.frozen
class Call:
    """An op in a law, with any params."""

    op: Op
    args: "tuple[Pattern, ...]"


Pattern: TypeAlias = Variable | Number | Call


@attrs.frozen
class Match:
    """Where a law's left side was found: what its letters stand for, of what kinds, and the steps, outermost first."""

    values: dict[str, object]
    kinds: dict[str, Kind]
    steps: list[Step]
    uses: list[int]
    """How often the value of each of these steps is used."""
    kind: Kind
    """The kind of the whole."""


@attrs.frozen(eq=False, repr=False)
class Law:
    """A law of arithmetic: what its pattern matches may become its replacement, where the condition holds."""

    text: str
    pattern: Pattern
    replacement: Pattern
    condition: str

    @functools.cached_property
    def variants(self) -> "tuple[Pattern, ...]":
        """The pattern in every order that its commutative ops allow."""
        return tuple(_orders(self.pattern))

    def __repr__(self) -> str:
        return f"<Law: {self.text}>"


_OPERATORS: Final = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Mod: "remainder",
    ast.Pow: "pow",
    ast.USub: "negative",
    ast.UAdd: "positive",
}


def law(text: str) -> Law:
    """Read a law: an equation of Python expressions, where operators and names are ops; and a condition, if any.

    >>> law("x * 1 = x").replacement
    Variable(name='x')
    """
    equation, _, condition = text.partition(" where ")
    left, right = [pattern(side.strip()) for side in equation.split(" = ")]
    return Law(text, left, right, condition)


def pattern(text: str) -> Pattern:
    """Read one side of a law.

    >>> pattern("-0.0")
    Number(value=-0.0)
    """
    return _pattern(ast.parse(text, mode="eval").body)


def _pattern(tree: ast.expr) -> Pattern:
    match tree:
        case ast.Constant(value=bool() | int() | float() as value):
            return Number(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=float() | int() as value)):
            return Number(-value)
        case ast.Name(id=name) if len(name) == 1:
            return Variable(name)
        case ast.UnaryOp(op=op, operand=x):
            return Call(TABLE[_OPERATORS[type(op)]], (_pattern(x),))
        case ast.BinOp(left=x, op=op, right=y):
            return Call(TABLE[_OPERATORS[type(op)]], (_pattern(x), _pattern(y)))
        case ast.Call(func=ast.Name(id=name), args=args):
            return Call(TABLE[name], tuple(map(_pattern, args)))
    raise ValueError(f"{ast.unparse(tree)} has no meaning in a law")


# --- laws: the table -------------------------------------------------------------------------------------------------
LAWS: Final = tuple(map(law, (
    # arithmetic
    "x * 1 = x",
    "x / 1 = x",
    "x - 0.0 = x",
    "x + -0.0 = x",
    "x * -1 = -x",
    "x / -1 = -x",
    "-0.0 - x = -x",
    "+x = x",
    "-(-x) = x",
    "x + -y = x - y",
    "x - -y = x + y",
    "-x * -y = x * y",
    "-x / -y = x / y",
    "x / c = x * (1 / c) where c is a power of two",
    # the strong zero
    "scale(x, 1) = x",
    "scale(x, -1) = -x",
    "scale(-x, -y) = scale(x, y)",
    "scale(x, c) = x * c where c is finite and not 0",
    "scale(x, x) = x * x",
    # choices
    "abs(-x) = abs(x)",
    "abs(abs(x)) = abs(x)",
    "relu(relu(x)) = relu(x)",
    "logical_not(logical_not(x)) = x",
    "where(True, x, y) = x",
    "where(False, x, y) = y",
    "where(b, x, x) = x",
    # shapes and dtypes: a law holds only where it keeps both
    "reshape(x) = x",
    "astype(x) = x",
    "broadcast_to(x) = x",
    "reshape(reshape(x)) = reshape(x)",
    "broadcast_to(broadcast_to(x)) = broadcast_to(x)",
    "matrix_transpose(matrix_transpose(x)) = x",
    "permute_dims(x) = x where the axes keep their order",
    "permute_dims(permute_dims(x)) = x where one undoes the other",
    "sum(x) = x where x is a Python number",
    "mean(x) = x where x is a Python number",
)))  # fmt: skip
"""The laws that are exact in IEEE arithmetic, for all values whatever.

Not among them: x + 0.0 = x, for x = -0.0; scale(x, 0) = 0, for the sign of x; x - y = -(y - x), for x = y; a sum over
no axes, which makes 0.0 of -0.0 in an array; powers, which each library rounds in its own way.
"""
FAST_LAWS: Final = tuple(map(law, (
    "x + 0.0 = x",
    "0.0 - x = -x",
    "-(x - y) = y - x",
    "x - x = 0",
    "x * 0 = 0",
    "0 / x = 0",
    "scale(x, 0) = 0",
    "x / x = 1",
    "x / c = x * (1 / c) where c is finite and not 0",
    "x * y + x * z = x * (y + z) where the products serve nothing else",
    "x ** 0 = 1",
    "x ** 1 = x",
    "x ** 2 = x * x",
    "x ** 3 = x * x * x",
    "x ** -1 = 1 / x",
    "x ** 0.5 = sqrt(x)",
    "exp(log(x)) = x",
    "log(exp(x)) = x",
    "sum(x) = x where there are no axes",
)))  # fmt: skip
"""The laws of real numbers that rounding, overflow, -0.0, inf or nan may break: for `fast_math`."""


_LEAST: Final = {"float16": -14, "float32": -126, "float64": -1022}  # the exponents of the least normal numbers


def _magnitude(match: Match) -> float:
    """How large c is; nan where that is not sure to be a number, neither 0 nor inf, in the dtype computed in."""
    c = match.values["c"]
    number = plain(c)
    if type(number) not in (float, int):
        return math.nan
    least = -1022 if match.kind.type is float else _LEAST.get(str(match.kind.dtype), 1)
    size = abs(cast("float", number))
    return size if size and size <= 2.0**-least else math.nan  # the least of none, 1: nothing is sure


def _is_power_of_two(match: Match) -> bool:
    """Whether c and 1 / c are powers of two, exactly, in the dtype computed in."""
    size = _magnitude(match)
    if size != size or type(match.values["c"]) not in (float, int):
        return False
    reciprocal = 1 / size if size > 2.0**-1023 else math.inf
    return math.frexp(size)[0] == 0.5 and _magnitude(attrs.evolve(match, values={"c": reciprocal})) == reciprocal


def _is_finite(match: Match) -> bool:
    return _magnitude(match) > 0


def _undo(match: Match) -> bool:
    outer, inner = (cast("tuple[int, ...]", params[0]) for _, _, params in match.steps)
    return [inner[i] for i in outer] == list(range(len(outer)))


CONDITIONS: Final[Mapping[str, Callable[[Match], bool]]] = {
    "": lambda match: True,
    "c is a power of two": _is_power_of_two,
    "c is finite and not 0": _is_finite,
    "x is a Python number": lambda match: match.kinds["x"] in _NUMBERS.values(),
    "there are no axes": lambda match: match.steps[0][2][0] == (),
    "the axes keep their order": lambda match: match.steps[0][2][0] == tuple(range(len(match.kind.shape))),
    "one undoes the other": _undo,
    "the products serve nothing else": lambda match: match.uses[1:] == [1, 1],
}
"""What a law may ask for, beside its pattern."""


# --- laws: how they are applied --------------------------------------------------------------------------------------
def lawful(typed: Typed, laws: Sequence[Law] = LAWS) -> Typed:
    """Replace what a law's left side matches by its right side, where that keeps type, dtype and shape.

    >>> from fgrad import trace
    >>> lawful(typed(trace(lambda x: -(-x) * 1.0)(2.0))).program.outputs
    (Link(place=0),)
    """
    draft, changed, laws = _Lawful(typed), False, tuple(laws)
    for op, parents, params, kind in draft.walk():
        heads = (op, *[draft.made[x.place] if type(x) is Link else _CONSTANT for x in parents])
        value: object = draft.append(op, parents, params, kind)
        for law, variant in _applicable(laws, heads):
            found = draft.replaced(law, variant, cast("Link", value))
            if found is not None:
                value, changed = found, True
                break
        draft.become(value)
    return draft.done(changed)


_CONSTANT: Final = Op("constant", impl=lambda value: value)  # stands for the op of what no op has made


@functools.lru_cache(10_000)
def _applicable(laws: tuple[Law, ...], heads: tuple[Op, ...]) -> list[tuple[Law, Pattern]]:
    """The laws, and in which order of operands, that may hold of a step of an op on what these others have made."""
    return [(law, variant) for law in laws for variant in law.variants if _may_match(variant, heads)]


def _may_match(pattern: Pattern, heads: Sequence[object]) -> bool:
    """Whether a pattern may match a step of this op on what these ops have made: most never do."""
    op, *parents = heads
    if not isinstance(pattern, Call) or pattern.op is not op or len(pattern.args) != len(parents):
        return False
    return all(
        x.op is made if isinstance(x, Call) else made is _CONSTANT or (isinstance(x, Variable) and x.name != "c")
        for x, made in zip(pattern.args, parents, strict=True)
    )


def _orders(pattern: Pattern) -> list[Pattern]:
    """A pattern with the operands of its commutative ops in every order."""
    if not isinstance(pattern, Call):
        return [pattern]
    found: dict[Pattern, None] = {}
    for args in product(*map(_orders, pattern.args)):
        for order in permutations(args) if pattern.op.name in COMMUTATIVE else [args]:
            found[Call(pattern.op, order)] = None
    return list(found)


_NEW: Final = frozenset(["where", "broadcast_to", "astype"])  # what lays its result out anew, like elementwise rows
_VIEWS: Final = frozenset(["reshape", "permute_dims", "matrix_transpose"])


class _Lawful(Draft):
    """A program while laws are applied: also how often values are used, and which arrays lie densely in memory.

    A ufunc gives a dense array, with the axes in its operands' order, so that a ufunc that changes no number keeps the
    layout of a dense array alone.
    """

    def __init__(self, old: Typed) -> None:
        super().__init__(old)
        before = [0] * len(old.kinds)
        for xs in [*[parents for _, parents, _ in old.program.steps], old.program.outputs]:
            for x in xs:
                if type(x) is Link:
                    before[x.place] += 1
        self.before, self.uses = before, before[: self.arity]
        self.dense = [not kind.shape for kind in self.kinds]
        self.made: list[Op] = [INPUT] * self.arity

    def append(self, op: Op, parents: tuple[object, ...], params: tuple[Hashable, ...], kind: Kind) -> Link:
        dense = not kind.shape or op.scalar is not None or op.name in _NEW
        self.dense.append(dense or (op.name in _VIEWS and self.is_dense(parents[0])))
        self.uses.append(0)
        self.made.append(op)
        return super().append(op, parents, params, kind)

    def is_dense(self, x: object) -> bool:
        """Whether a value is known to be a number or a dense array."""
        return self.dense[x.place] if type(x) is Link else not kind_of(x).shape

    def become(self, x: object) -> None:
        """Say what the old value has become that is next."""
        if type(x) is Link:
            self.uses[x.place] += self.before[len(self.now)]
        self.now.append(x)

    def replaced(self, law: Law, variant: Pattern, root: Link) -> object:
        """What the root becomes by a law, or None where it does not hold."""
        values: dict[str, object] = {}
        calls: list[Link] = []
        if not self.matches(variant, root, values, calls):
            return None
        kinds = {name: self.kind(x) for name, x in values.items()}
        places = [x.place for x in calls]
        steps, uses = [self.steps[i - self.arity] for i in places], [self.uses[i] for i in places]
        found = Match(values, kinds, steps, uses, self.kinds[root.place])
        if not CONDITIONS[law.condition](found):
            return None
        right = law.replacement
        if isinstance(right, Number):
            return _constant(right.value, found.kind)
        if isinstance(right, Variable):
            kept = kinds[right.name] == found.kind and self.keeps_layout(found, right.name)
            return values[right.name] if kept else None
        if not all(self.may_move(x, found) for name, x in values.items() if name != "c"):
            return None
        return self.built(right, found, outermost=True)

    def matches(self, pattern: Pattern, x: object, values: dict[str, object], calls: list[Link]) -> bool:
        """Whether a pattern matches a value: then tell what its letters stand for, and its steps."""
        if isinstance(pattern, Call):
            if type(x) is not Link or x.place < self.arity:
                return False
            op, parents, _ = self.steps[x.place - self.arity]
            if op is not pattern.op or len(parents) != len(pattern.args):
                return False
            calls.append(x)
            # A plain loop: this is where a pass over a large program spends its time.
            for y, z in zip(pattern.args, parents, strict=True):  # noqa: SIM110  # as said
                if not self.matches(y, z, values, calls):
                    return False
            return True
        if isinstance(pattern, Number):
            return type(x) is not Link and pattern.matches(x)
        if pattern.name == "c" and type(x) is Link:
            return False
        known = values.setdefault(pattern.name, x)
        return known is x or (type(known) is Link and type(x) is Link and known.place == x.place)

    def keeps_layout(self, match: Match, name: str) -> bool:
        """Whether an array may stand for the result, as it lies in memory: among several, the first decides on that."""
        x = match.values[name]
        if all(op.name in _VIEWS for op, _, _ in match.steps):
            return True  # what they gave was a view of it, with the strides that it has
        return self.is_dense(x) and (len(match.values) == 1 or len(match.kinds[name].shape) < 2)

    def may_move(self, x: object, match: Match) -> bool:
        """Whether what stands for a letter may become the operand of another op: only floats have a -0.0."""
        kind = self.kind(x)
        if not kind.floating:
            return False
        return len(kind.shape) < 2 or self.is_dense(x) or any(x is y for y in match.steps[0][1])

    def built(self, pattern: Pattern, match: Match, outermost: bool = False) -> object:
        """Append the steps of a replacement, and give its value; None where its kind would be another, or unknown."""
        if isinstance(pattern, Variable):
            return match.values[pattern.name]
        if isinstance(pattern, Number):
            return pattern.value
        op, args = pattern.op, tuple([self.built(x, match) for x in pattern.args])
        if any(x is None for x in args):
            return None
        params = next((step[2] for step in match.steps if step[0] is op), ())
        if all(type(x) in _NUMBERS for x in args):
            return _computed(op, args, params, _NUMBERS[float])
        kinds = [self.kind(x) for x in args]
        if op.scalar is None:  # of arrays: on a NumPy scalar it may give one, or an array without axes
            kind = match.kind if all(kind.type is match.kind.type for kind in kinds) else None
        else:
            kind = _joined(kinds)
        if kind is None or (outermost and kind != match.kind):
            return None
        return self.append(op, args, params, kind)


def _joined(kinds: Iterable[Kind]) -> Kind | None:
    """The kind that elementwise arithmetic on such floats gives: Python's numbers take any other's; None: unclear."""
    found = set(kinds)
    strong = [kind for kind in found if kind.type not in _NUMBERS]
    if not strong and _NUMBERS[float] in found:
        return _NUMBERS[float]
    return strong[0] if len(strong) == 1 and strong[0].floating else None


def _constant(value: float, kind: Kind) -> object:
    """That number as a constant of a kind; None where it would be large, or of another library."""
    if kind.type in _NUMBERS:
        return kind.type(value)
    if kind.size > LARGEST_CONSTANT or kind.type.__module__ != "numpy" or not kind.floating:
        return None
    return numpy().full(kind.shape, value, kind.dtype)[()]


# --- all together ----------------------------------------------------------------------------------------------------
Pass: TypeAlias = Callable[[Typed], Typed]


def _fast(typed: Typed) -> Typed:
    return lawful(typed, LAWS + FAST_LAWS)


PASSES: Final[tuple[tuple[str, Pass], ...]] = (
    ("folded", folded),
    ("lawful", lawful),
    ("shared", shared),
    ("live", live),
)
"""The passes by name, in the order in which they run."""
FAST_PASSES: Final = tuple([(name, _fast if name == "lawful" else run) for name, run in PASSES])
"""The passes with `fast_math`."""


def stages(typed: Typed, fast_math: bool = False) -> Iterator[tuple[str, Typed]]:
    """Run all passes until none changes anything, giving each pass's name and what it made, if that is new."""
    for _ in range(ROUNDS):
        before = typed
        for name, run in FAST_PASSES if fast_math else PASSES:
            after = validate(run(typed))
            if after is not typed:
                typed = after
                yield name, typed
        if typed is before:
            return


def rewritten(typed: Typed, fast_math: bool = False) -> Typed:
    """Make a program shorter, by all passes. With `fast_math` its results may differ in rounding and special values.

    >>> from fgrad import grad, trace
    >>> long = typed(trace(grad(lambda x: (x * x - 1.0) / 4.0))(3.0))
    >>> long.program, rewritten(long).program
    (<Program of 1 inputs, 3 steps, 1 outputs>, <Program of 1 inputs, 2 steps, 1 outputs>)
    """
    last = validate(typed)
    for _, after in stages(last, fast_math):
        last = after
    return last
