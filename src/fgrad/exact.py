"""What ops mean on numbers that are no floats: exact on fractions, formulas on SymPy's symbols, and on arrays of these.

Knows the meaning of each op that has one there, by its name; nothing of derivatives, of functions or of pytrees.

A fraction divided by 0 is ±inf or nan, as everywhere in fgrad, so that `where` can leave it out; these are the only
floats that come about, and what they become part of is exact again as soon as they are gone.
"""

import functools
import math
import operator
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import attrs

from fgrad import errors
from fgrad.arrays import numpy
from fgrad.graph import Link, Program
from fgrad.node import TABLE, Node, Op

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Rule: TypeAlias = Callable[..., object]
Rows: TypeAlias = Mapping[str, Rule]


@attrs.frozen(eq=False)
class Numbers:
    """A kind of numbers: what it is called, how other numbers become such, and what each op is on single ones."""

    name: str
    instead: str
    """What to write where an op has no meaning on them."""
    convert: Callable[[object], object]
    rows: Rows


# --- fractions -------------------------------------------------------------------------------------------------------
def _fraction(x: object) -> object:
    """A number as a fraction, at its binary value; inf and nan as they are."""
    if type(x) is Fraction:
        return x
    if isinstance(x, float):
        return Fraction(x) if math.isfinite(x) else float(x)
    if isinstance(x, int | Fraction):
        return Fraction(x)
    return _fraction(_python(x))


def _python(x: object) -> object:
    """A number of NumPy's, or an array that holds but one, as Python's."""
    if _is_array(x) and not x.shape:  # type: ignore[attr-defined]  # an array
        return x[()]  # type: ignore[index]  # as above
    if "numpy" in sys.modules and isinstance(x, numpy().generic) and not isinstance(x, numpy().longdouble):
        return cast("object", x.item())  # type: ignore[attr-defined,unused-ignore]  # NumPy's numbers have it
    if type(x) is Node:
        raise errors.ConversionError(
            "a traced value has no meaning among other numbers: trace the gradient and replay that, instead of "
            "differentiating the replay; and make an argument of what a function reaches as a closure does"
        )
    raise errors.ConversionError(f"a {type(x).__name__} is not a number that can be replayed on")


def _sign(x: Fraction | float) -> float:
    return float((x > 0) - (x < 0)) if x == x else x  # type: ignore[return-value]  # nan


def _ieee(f: Rule) -> Rule:
    """Where inf or nan is among the arguments, do f on floats; a finite number counts there by its sign alone."""

    def rule(*xs: Fraction | float) -> object:
        if any(type(x) is float for x in xs):
            return f(*[x if type(x) is float else _sign(x) for x in xs])
        return f(*xs)

    return rule


def _divide(x: Fraction | float, y: Fraction | float) -> object:
    return x / y if y else math.nan if not x else x * math.inf


def _quotient(x: Fraction | float, y: Fraction | float) -> object:
    return x // y if y else _ieee(_divide)(x, y)


def _remainder(x: Fraction | float, y: Fraction | float) -> object:
    if type(x) is float or not y or y != y:
        return math.nan
    if type(y) is float:
        return x if not x or (x > 0) == (y > 0) else y
    return x % y


def _pow(x: Fraction | float, y: Fraction | float) -> object:
    if y == 0 or x == 1:
        return 1
    if type(x) is float or type(y) is float:
        try:
            return math.pow(x, y)
        except ArithmeticError:
            return math.inf
    if cast("Fraction", y).denominator != 1:
        raise TypeError(f"{x} to the power {y} is no fraction")
    return x ** int(y) if x or y > 0 else math.inf


def _step(f: Callable[[Fraction], int]) -> Rule:
    return lambda x: x if type(x) is float else f(x)


def _scale(g: object, p: object) -> object:
    """The product; 0 where one factor is 0 and the other has no value."""
    c = _ieee(operator.mul)(g, p)
    return 0 if c != c and (g == 0 or p == 0) else c


def _choose(condition: object, x: object, y: object) -> object:
    return x if condition else y


# Rows of single numbers, with the arguments as fractions.
_RATIONAL: Final[Rows] = {
    "add": _ieee(operator.add),
    "subtract": _ieee(operator.sub),
    "multiply": _ieee(operator.mul),
    "divide": _ieee(_divide),
    "pow": _pow,
    "remainder": _remainder,
    "floor_divide": _ieee(_quotient),
    "negative": operator.neg,
    "positive": operator.pos,
    "abs": abs,
    "sign": _sign,
    "square": lambda x: x * x,
    "reciprocal": lambda x: _ieee(_divide)(Fraction(1), x),
    "floor": _step(math.floor),
    "ceil": _step(math.ceil),
    "round": _step(round),
    "maximum": lambda x, y: x if x >= y or x != x else y,
    "minimum": lambda x, y: x if x <= y or x != x else y,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "logical_and": lambda x, y: bool(x and y),
    "logical_or": lambda x, y: bool(x or y),
    "logical_xor": lambda x, y: bool(x) != bool(y),
    "logical_not": operator.not_,
    "isnan": lambda x: x != x,
    "isinf": lambda x: x in (math.inf, -math.inf),
    "isfinite": lambda x: type(x) is not float,
    "relu": lambda x: x if x > 0 or x != x else 0,
    "scale": _scale,
    "where": _choose,
}
# Rows of booleans and integers as they are.
_BITS: Final[Rows] = {
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "bitwise_invert": lambda x: not x if isinstance(x, bool) else ~x,
}


def _on(convert: Callable[[object], object], rows: Rows, back: Callable[[object], object]) -> Rows:
    """Rows whose arguments are converted first, and whose results are converted `back`."""

    def converted(f: Rule) -> Rule:
        return lambda *xs: back(f(*[convert(x) for x in xs]))

    return {name: converted(f) for name, f in rows.items()}


FRACTIONS: Final = Numbers(
    "fractions.Fraction",
    "replay it on floats, or on sympy.Rational(1, 3), which gives a formula",
    _fraction,
    {**_on(_fraction, _RATIONAL, lambda y: y if type(y) is bool else _fraction(y)), **_BITS},
)


# --- symbols ---------------------------------------------------------------------------------------------------------
@functools.cache
def symbols() -> Numbers:
    """SymPy's numbers, symbols and expressions."""
    import sympy as sp  # lazily: who has a symbol has imported it

    def convert(x: object) -> object:
        if isinstance(x, sp.Expr):
            return x
        if isinstance(x, sp.logic.boolalg.Boolean):
            return sp.Piecewise((1, x), (0, True))
        if isinstance(x, float):
            return sp.Rational(x) if math.isfinite(x) else sp.nan if x != x else sp.oo * _sign(x)
        if isinstance(x, Fraction):
            return sp.Rational(x.numerator, x.denominator)
        return sp.Integer(x) if isinstance(x, int) else convert(_python(x))

    def truth(x: object) -> object:
        """A number as a condition: whether it is not 0."""
        is_condition = isinstance(x, sp.logic.boolalg.Boolean | bool) and not isinstance(x, sp.Expr)
        return x if is_condition else sp.Ne(convert(x), 0)

    def known(x: object) -> object:
        """Python's bool where the truth is known."""
        return bool(x) if x in (sp.true, sp.false) else x

    def choose(condition: object, x: object, y: object) -> object:
        return sp.Piecewise((convert(x), truth(condition)), (convert(y), True))

    def scale(g: object, p: object) -> object:
        c = g * p  # type: ignore[operator]  # two expressions
        return 0 if c is sp.nan and 0 in (g, p) else c

    def logic(f: Rule) -> Rule:
        return lambda *xs: known(f(*map(truth, xs)))

    formulas = {
        **{name: _RATIONAL[name] for name in ("add", "subtract", "multiply", "negative", "positive", "square")},
        **{name: _RATIONAL[name] for name in ("less", "less_equal", "greater", "greater_equal")},
        **{name: getattr(sp, name) for name in _SAME_IN_SYMPY.split()},
        "divide": operator.truediv,
        "pow": operator.pow,
        "remainder": sp.Mod,
        "floor_divide": lambda x, y: sp.floor(x / y),
        "abs": sp.Abs,
        "reciprocal": lambda x: 1 / x,
        "ceil": sp.ceiling,
        "maximum": sp.Max,
        "minimum": sp.Min,
        "equal": sp.Eq,
        "not_equal": sp.Ne,
        "isnan": lambda x: x is sp.nan,
        "isinf": lambda x: x.is_infinite is True,
        "isfinite": lambda x: x is not sp.nan and x.is_infinite is not True,
        "relu": lambda x: sp.Max(x, 0),
        "scale": scale,
        "expm1": lambda x: sp.exp(x) - 1,
        "exp2": lambda x: 2**x,
        "log2": lambda x: sp.log(x) / sp.log(2),
        "log10": lambda x: sp.log(x) / sp.log(10),
        "log1p": lambda x: sp.log(1 + x),
        "logaddexp": lambda x, y: sp.log(sp.exp(x) + sp.exp(y)),
        "sigmoid": lambda x: 1 / (1 + sp.exp(-x)),
        "softplus": lambda x: sp.log(1 + sp.exp(x)),
        "cbrt": lambda x: sp.sign(x) * sp.Abs(x) ** sp.Rational(1, 3),
        "hypot": lambda x, y: sp.sqrt(x * x + y * y),
        "deg2rad": lambda x: x * sp.pi / 180,
        "rad2deg": lambda x: x * 180 / sp.pi,
        "lgamma": sp.loggamma,
        "polygamma": lambda x, n: sp.polygamma(n, x),
    }
    conditions = {
        "logical_and": logic(sp.And),
        "logical_or": logic(sp.Or),
        "logical_xor": logic(sp.Xor),
        "logical_not": logic(sp.Not),
        "where": choose,
        **_on(lambda x: x, _BITS, known),
    }
    rows = {**_on(convert, formulas, lambda y: known(y) if isinstance(y, sp.Basic) else y), **conditions}
    return Numbers("SymPy's symbols", "replay it on floats", convert, rows)


_SAME_IN_SYMPY: Final = (
    "sign sqrt exp log sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh floor erf erfc digamma"
)


# --- arrays of either, which are NumPy's of dtype object --------------------------------------------------------------
def _is_array(x: object) -> bool:
    return "numpy" in sys.modules and isinstance(x, numpy().ndarray)


def _each(f: Rule, *xs: object) -> object:
    """Do f number by number, broadcasting; the result holds booleans only if all are Python's."""
    if not any(_is_array(x) for x in xs):
        return f(*xs)
    ans = numpy().frompyfunc(f, len(xs), 1)(*xs)
    return ans.astype(bool) if _is_array(ans) and ans.size and all(type(y) is bool for y in ans.flat) else ans


def _objects(x: object, numbers: Numbers) -> object:
    """An array of these numbers."""
    out = numpy().empty(getattr(x, "shape", ()), dtype=object)
    out[...] = _each(numbers.convert, x)
    return out


def _converted(x: object, numbers: Numbers) -> object:
    """A number or array as one of these."""
    return _objects(x, numbers) if _is_array(x) else numbers.convert(x)


def _is_broken(x: object) -> bool:
    """Whether x is a number or array of numbers that may be broken: no integers or booleans."""
    if _is_array(x):
        return x.dtype.kind in "fO"  # type: ignore[attr-defined]  # an array
    return isinstance(x, float) or ("numpy" in sys.modules and isinstance(x, numpy().floating))


def _loose(x: object, numbers: Numbers) -> object:
    """The same for what may also be an index or a condition: integers and booleans stay."""
    kept = isinstance(x, int) or (_is_array(x) and x.dtype.kind in "iub")  # type: ignore[attr-defined]  # an array
    return x if kept else _objects(x, numbers)


def _number(x: object) -> object:
    """An array without axes is its number."""
    return x[()] if _is_array(x) else x  # type: ignore[index]  # an array


def _index(x: object) -> object:
    """An index, whose integers may have become fractions on the way."""
    if _is_array(x):
        return x if x.dtype.kind in "iub" else numpy().frompyfunc(_index, 1, 1)(x).astype(numpy().intp)  # type: ignore[attr-defined]  # an array
    return x if isinstance(x, bool | numpy().bool) else operator.index(int(x))  # type: ignore[call-overload]  # a number


def _moved(op: Op, numbers: Numbers, args: Sequence[object], params: Sequence[object]) -> object:
    """Rows that move numbers without looking at them: NumPy's own functions do it."""
    return _number(op.impl(*[_loose(x, numbers) for x in args], *params))


def _picked(op: Op, numbers: Numbers, args: Sequence[object], params: Sequence[object]) -> object:
    return _number(op.impl(_loose(args[0], numbers), *map(_index, args[1:]), *params))


def _computed(op: Op, numbers: Numbers, args: Sequence[object], params: Sequence[object]) -> object:
    """Rows that NumPy does with the numbers' own operators."""
    return _number(op.impl(*[_objects(x, numbers) for x in args], *params))


def _sum(x: object, axes: tuple[int, ...], keepdims: bool, numbers: Numbers) -> object:
    add = numpy().frompyfunc(numbers.rows["add"], 2, 1)
    return _reduced(add, x, axes, keepdims, numbers, initial=numbers.convert(0))


def _reduced(f: Rule, x: object, axes: tuple[int, ...], keepdims: bool, numbers: Numbers, **initial: object) -> object:
    """Fold along one axis after another, from the last."""
    ans = _objects(x, numbers)
    for axis in sorted(axes, reverse=True):
        ans = f.reduce(ans, axis=axis, keepdims=keepdims, **initial)  # type: ignore[attr-defined]  # one of NumPy's
    return _number(ans)


def _total(op: Op, numbers: Numbers, args: Sequence[object], params: Sequence[object]) -> object:
    axes, keepdims = cast("tuple[tuple[int, ...], bool]", tuple(params))
    return _sum(args[0], axes, keepdims, numbers)


def _mean(op: Op, numbers: Numbers, args: Sequence[object], params: Sequence[object]) -> object:
    axes, keepdims = cast("tuple[tuple[int, ...], bool]", tuple(params))
    count = math.prod([numpy().shape(args[0])[a] for a in axes])
    return _each(numbers.rows["divide"], _sum(args[0], axes, keepdims, numbers), count)


def _extreme(op: Op, numbers: Numbers, args: Sequence[object], params: Sequence[object]) -> object:
    axes, keepdims = cast("tuple[tuple[int, ...], bool]", tuple(params))
    pick = numpy().frompyfunc(numbers.rows[f"{op.name}imum"], 2, 1)
    return _reduced(pick, args[0], axes, keepdims, numbers)


def _logsumexp(op: Op, numbers: Numbers, args: Sequence[object], params: Sequence[object]) -> object:
    axes, *keepdims = params
    total = _sum(_each(_row("exp", numbers), *args), cast("tuple[int, ...]", axes), keepdims != [False], numbers)
    ans = _each(_row("log", numbers), total)
    return ans if keepdims else _each(numbers.rows["subtract"], *args, ans)  # log_softmax has no keepdims


def _vecdot(op: Op, numbers: Numbers, args: Sequence[object], params: Sequence[object]) -> object:
    products = _each(numbers.rows["multiply"], *args)
    return _sum(products, (numpy().ndim(products) - 1,), False, numbers)


def _solved(op: Op, numbers: Numbers, args: Sequence[object], params: Sequence[object]) -> object:
    """The inverse of each matrix, or the solution of its equations."""
    np = numpy()
    x = _objects(args[0], numbers)
    side = x.shape[-1]  # type: ignore[attr-defined]  # an array
    y = _objects(args[1] if len(args) > 1 else np.eye(side), numbers)
    stack = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])  # type: ignore[attr-defined]  # as above
    xs, ys = (np.broadcast_to(z, (*stack, *z.shape[-2:])) for z in (x, y))  # type: ignore[attr-defined]  # as above
    out = np.empty(ys.shape, dtype=object)
    for place in np.ndindex(stack):
        out[place] = _eliminated(np.concatenate([xs[place], ys[place]], axis=1))[:, side:]
    return out


def _eliminated(rows: "NDArray[np.object_]") -> "NDArray[np.object_]":
    """Gauss and Jordan's elimination: the square on the left becomes the identity."""
    rows = rows.copy()
    for k in range(len(rows)):
        pivot = next((i for i in range(k, len(rows)) if rows[i, k] != 0), None)
        if pivot is None:
            raise ValueError("the matrix is singular")
        rows[[k, pivot]] = rows[[pivot, k]]
        rows[k] = rows[k] / rows[k, k]
        for i in range(len(rows)):
            if i != k:
                rows[i] = rows[i] - rows[i, k] * rows[k]
    return rows


def _astype(op: Op, numbers: Numbers, args: Sequence[object], params: Sequence[object]) -> object:
    xp = numpy()
    if xp.isdtype(params[0], "real floating"):
        return _number(_objects(args[0], numbers))
    return _number(xp.asarray(_each(bool if xp.isdtype(params[0], "bool") else int, args[0])).astype(params[0]))


# --- programs within a program ---------------------------------------------------------------------------------------
def _held(op: Op, numbers: Numbers, args: Sequence[object], params: Sequence[object]) -> object:
    """Ops that do a program of theirs as it is: on these numbers it is done on them."""
    return op.impl(*args, *[_inner(p, numbers) for p in params])


def _inner(param: object, numbers: Numbers) -> object:
    return (lambda *xs: evaluate(param, xs, numbers)) if isinstance(param, Program) else param


_Scan: TypeAlias = tuple[Program, int, int, int, bool, Sequence[object]]


def _scan(op: Op, numbers: Numbers, args: Sequence[object], params: Sequence[object]) -> object:
    step, count, slices, length, backwards, likes = cast("_Scan", params)
    states, xs, constants = args[:count], args[count : count + slices], args[count + slices :]
    rows: list[Sequence[object]] = []
    for i in reversed(range(length)) if backwards else range(length):
        slice_ = [_number(_loose(x[i], numbers)) for x in xs]  # type: ignore[index]  # arrays
        results = evaluate(step, (*states, *slice_, *constants), numbers)
        states = results[:count]
        rows.append(results[count:])
    ordered = rows[::-1] if backwards else rows
    return (*states, *[_stacked([row[j] for row in ordered], like) for j, like in enumerate(likes)])


def _stacked(rows: Sequence[object], like: object) -> object:
    (lengths, _) = cast("tuple[tuple[int, ...], object]", like)
    out = numpy().empty((len(rows), *lengths), dtype=object)
    for i, row in enumerate(rows):
        out[i] = row
    return out


_ROWS: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(["reshape", "broadcast_to", "permute_dims", "matrix_transpose", "concat"], _moved),
    **dict.fromkeys(["getitem", "scatter"], _picked),
    **dict.fromkeys(["cumulative_sum", "matmul", "convolve", "argmax", "argmin", "argsort", "searchsorted"], _computed),
    "sum": _total,
    "mean": _mean,
    "max": _extreme,
    "min": _extreme,
    "logsumexp": _logsumexp,
    "log_softmax": _logsumexp,
    "vecdot": _vecdot,
    "inv": _solved,
    "solve": _solved,
    "astype": _astype,
    "item": lambda op, numbers, args, params: args[0][params[0]],
    **dict.fromkeys(["checkpoint", "cond", "while_loop", "custom_vjp", "custom_jvp"], _held),
    "scan": _scan,
    "stop_gradient": lambda op, numbers, args, params: args[0],
    "named": lambda op, numbers, args, params: args[0],
    "number": lambda op, numbers, args, params: args[0],
}


# --- programs --------------------------------------------------------------------------------------------------------
def numbers_of(leaves: Iterable[object]) -> Numbers | None:
    """The most general kind of number there is, symbols before fractions; None for floats, their arrays and nodes."""
    found = None
    for leaf in leaves:
        many = _is_array(leaf) and leaf.dtype == object  # type: ignore[attr-defined]  # an array
        if many or isinstance(leaf, Fraction):
            found = FRACTIONS
        if "sympy" in sys.modules:
            expression = sys.modules["sympy"].Expr
            if any(isinstance(x, expression) for x in (leaf.flat if many else (leaf,))):  # type: ignore[attr-defined]  # as above
                return symbols()
    return found


def evaluate(program: Program, args: Sequence[object], numbers: Numbers) -> list[object]:
    """Do a program on numbers of this kind; others among the arguments, and its constants, become such.

    Raises `MissingRowError` or `ConversionError`, naming the op, where one has no meaning on them.
    """
    values = [_converted(x, numbers) for x in args]
    for op, parents, params in program.steps:
        values.append(_do(op, [values[x.place] if type(x) is Link else x for x in parents], params, numbers))
    found = [values[x.place] if type(x) is Link else x for x in program.outputs]
    return [_converted(y, numbers) if _is_broken(y) else y for y in found]


def _do(op: Op, args: Sequence[object], params: Sequence[object], numbers: Numbers) -> object:
    try:
        if TABLE.get(op.name) is not op:
            return op.impl(*args, *params)  # a user's own, by their own function
        if op.name in _ROWS:
            return _ROWS[op.name](op, numbers, args, params)
        return _each(_row(op.name, numbers), *args, *params)
    except errors.MissingRowError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise errors.ConversionError(
            f"the op {op.name} cannot be done on {numbers.name} here ({error}): {numbers.instead}"
        ) from error


def _row(name: str, numbers: Numbers) -> Rule:
    if name not in numbers.rows:
        raise errors.MissingRowError(f"the op {name} has no meaning on {numbers.name}: {numbers.instead}")
    return numbers.rows[name]
