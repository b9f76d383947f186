"""Rows that make many numbers one: sums, extremes, and what is made of them.

Knows which axes were reduced; nothing of how arrays are indexed or multiplied.
"""

from collections.abc import Callable, Sequence
from math import inf, prod
from typing import Final, Literal, Protocol, TypeAlias, cast, overload

from fgrad.arrays import namespace
from fgrad.node import Arithmetic, Op, Rule, Value, X, apply, shape
from fgrad.ops.elementwise import divide, equal, exp, max_, multiply, scale, sqrt, square, where
from fgrad.ops.rows import constant, linear, primitive, public, stand_in
from fgrad.ops.shaping import broadcast_to, positive_axes, reshape

Axis: TypeAlias = int | Sequence[int] | None


class Reduction(Protocol):
    """A function that makes one number of all, or an array of those over `axis`."""

    @overload
    def __call__(self, x: Arithmetic, axis: None = None, *, keepdims: Literal[False] = False) -> float: ...
    @overload
    def __call__(self, x: X, axis: Axis = None, keepdims: bool = False) -> X: ...


def reduction(numpy: str = "", ufunc: str = "") -> Callable[[Callable[[X, Axis, bool], X]], Reduction]:
    """Make a reduction public, with its type, and known to NumPy by names of its functions and of a ufunc's reduce."""

    def enter(function: Callable[[X, Axis, bool], X]) -> Reduction:
        def reduce_all(a: X, axis: Axis = None, *, keepdims: bool = False) -> X:
            return function(a, axis, keepdims)  # NumPy's third place is not for keepdims

        def reduce_first(a: X, axis: Axis = 0, *, keepdims: bool = False) -> X:
            return function(a, axis, keepdims)

        stand_in(numpy)(reduce_all)
        stand_in(ufunc)(reduce_first)
        return cast("Reduction", public()(function))

    return enter


_UFUNCS: Final = {"sum": "add", "max": "maximum", "min": "minimum"}  # NumPy's shorter way to its sum, max and min


def _kept(g: Value, x: object, axes: tuple[int, ...]) -> Value:
    """Give a reduced value its axes back, with length 1, so that it broadcasts against x; a scalar does so anyway."""
    have = shape(x)
    if not have or (len(axes) == len(have) and not shape(g)):
        return g
    return reshape(g, tuple([1 if i in axes else n for i, n in enumerate(have)]))


def _over(op: Op, args: list[Value], batched: list[bool], params: tuple[tuple[int, ...], bool], size: int) -> Value:
    """The batch rule of a row whose first param are axes: they are counted from behind the batch axis."""
    axes, *rest = params
    return apply(op, tuple(args), (tuple([a + 1 for a in axes]), *rest))


def _reduction(name: str) -> Rule:
    """Compute by the array library's function of that name; one Python number is its own sum and extreme."""

    def impl(x: object, axes: tuple[int, ...], keepdims: bool) -> Value:
        if isinstance(x, float | int):
            return x
        xp = namespace(x)
        if xp.__name__ == "numpy" and name in _UFUNCS:
            return cast("Value", getattr(xp, _UFUNCS[name]).reduce(x, axis=axes, keepdims=keepdims))
        return cast("Value", getattr(xp, name)(x, axis=axes, keepdims=keepdims))

    return impl


_sum: Op = linear(
    "sum",
    _reduction("sum"),
    lambda g, x, axes, keepdims: broadcast_to(_kept(g, x, axes), shape(x)),
    batch=_over,
)


def _share(ans: Value, x: Value, axes: tuple[int, ...]) -> Value:
    """The part that each place has in an extreme: those that hold it share it equally."""
    mask = where(equal(x, _kept(ans, x, axes)), 1.0, 0.0)
    return divide(mask, sum(mask, axes, keepdims=True))


_mean = linear(
    "mean",
    _reduction("mean"),
    lambda g, x, axes, keepdims: broadcast_to(_kept(g * (1 / max_(_count(x, axes), 1)), x, axes), shape(x)),
    batch=_over,
)


def _extreme(name: str) -> Op:
    return primitive(
        name,
        _reduction(name),
        vjps=(lambda g, ans, x, axes, keepdims: scale(_kept(g, x, axes), _share(ans, x, axes)),),
        jvps=(lambda t, ans, x, axes, keepdims: sum(scale(t, _share(ans, x, axes)), axes, keepdims),),
        batch=_over,
    )


_max, _min = _extreme("max"), _extreme("min")


def _reduce(op: Op, x: X, axis: Axis, keepdims: bool) -> X:
    return cast("X", apply(op, (x,), (positive_axes(axis, len(shape(x))), keepdims)))


def _count(x: object, axis: Axis) -> int:
    return prod(shape(x)[i] for i in positive_axes(axis, len(shape(x))))


@reduction("sum", ufunc="add.reduce")
def sum(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """Add up over the axes named, or over all.

    >>> import numpy as np
    >>> sum(np.ones((2, 3)), axis=0)
    array([2., 2., 2.])
    """
    return _reduce(_sum, x, axis, keepdims)


@reduction("max amax", ufunc="maximum.reduce")
def max(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The greatest number over the axes named, or over all; ties share the gradient equally.

    >>> import numpy as np
    >>> max(np.array([1.0, 3.0, 2.0])).item()
    3.0
    """
    return _reduce(_max, x, axis, keepdims)


@reduction("min amin", ufunc="minimum.reduce")
def min(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The least number over the axes named, or over all; ties share the gradient equally.

    >>> import numpy as np
    >>> min(np.array([1.0, 3.0, 2.0])).item()
    1.0
    """
    return _reduce(_min, x, axis, keepdims)


@reduction("mean")
def mean(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """The arithmetic mean over the axes named, or over all; nan of nothing.

    >>> import numpy as np
    >>> mean(np.array([1.0, 2.0])).item()
    1.5
    """
    return _reduce(_mean, x, axis, keepdims)


@public()
def var(x: X, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> X:
    """The variance, with n - `correction` as the divisor.

    >>> import numpy as np
    >>> var(np.array([1.0, 3.0])).item()
    1.0
    """
    centred = x + -mean(x, axis, True)
    n = _count(x, axis)
    biased = mean(square(centred), axis, keepdims)
    return multiply(biased, divide(float(n), n - correction)) if correction else biased


@public()
def std(x: X, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> X:
    """The standard deviation, with n - `correction` as the divisor; its derivative where all are equal is 0.

    >>> import numpy as np
    >>> std(np.array([1.0, 3.0])).item()
    1.0
    """
    return sqrt(var(x, axis, correction, keepdims))


def _logsumexp_impl(x: object, axes: tuple[int, ...], keepdims: bool) -> Value:
    xp = namespace(x)
    if not _count(x, axes):
        return cast("Value", xp.sum(x, axis=axes, keepdims=keepdims) - inf)  # log(0)
    peak = xp.max(x, axis=axes, keepdims=True)
    finite = xp.isfinite(peak)
    total = xp.sum(xp.exp(x - xp.where(finite, peak, 0.0)), axis=axes, keepdims=True)
    ans = xp.log(xp.where(finite, total, 1.0)) + peak
    return cast("Value", ans if keepdims else xp.squeeze(ans, axis=axes)[()])


def _weights(ans: Value, x: Value, axes: tuple[int, ...]) -> Value:
    peak = _kept(ans, x, axes)
    return exp(x - where(equal(peak, -inf), 0.0, peak))  # where all are -inf, so is their sum, and the derivative is 0


_logsumexp = primitive(
    "logsumexp",
    _logsumexp_impl,
    vjps=(lambda g, ans, x, axes, keepdims: _kept(g, x, axes) * _weights(ans, x, axes),),
    jvps=(lambda t, ans, x, axes, keepdims: sum(t * _weights(ans, x, axes), axes, keepdims),),
    batch=_over,
)


@reduction(ufunc="logaddexp.reduce")
def logsumexp(x: X, axis: Axis = None, keepdims: bool = False) -> X:
    """log(sum(exp(x))), without overflow; -inf where all are -inf, with derivative 0.

    >>> import numpy as np
    >>> logsumexp(np.array([1000.0, -np.inf])).item()
    1000.0
    """
    return _reduce(_logsumexp, x, axis, keepdims)


def _log_softmax_impl(x: object, axes: tuple[int, ...]) -> Value:
    xp = namespace(x)
    if not _count(x, axes):
        return cast("Value", x)
    shifted = x - xp.max(x, axis=axes, keepdims=True)
    return cast("Value", shifted - xp.log(xp.sum(xp.exp(shifted), axis=axes, keepdims=True)))


_log_softmax = primitive(
    "log_softmax",
    _log_softmax_impl,
    vjps=(lambda g, ans, x, axes: g - exp(ans) * sum(g, axes, keepdims=True),),
    jvps=(lambda t, ans, x, axes: t - sum(exp(ans) * t, axes, keepdims=True),),
    batch=_over,
)


@public()
def log_softmax(x: X, axis: Axis = -1) -> X:
    """The logarithm of softmax: as exact for large x as for small.

    >>> import numpy as np
    >>> log_softmax(np.array([0.0, 0.0]))
    array([-0.69314718, -0.69314718])
    """
    return cast("X", apply(_log_softmax, (x,), (positive_axes(axis, len(shape(x))),)))


@public()
def softmax(x: X, axis: Axis = -1) -> X:
    """exp(x) / sum(exp(x)), without overflow.

    >>> import numpy as np
    >>> softmax(np.array([1.0, 1.0]))
    array([0.5, 0.5])
    """
    return exp(log_softmax(x, axis))


def _over_index(
    op: Op, args: list[Value], batched: list[bool], params: tuple[int | None, tuple[str, bool]], size: int
) -> Value:
    axis, option = params
    (x,) = args
    if axis is not None:
        return apply(op, (x,), (axis if axis < 0 else axis + 1, option))
    flat = apply(op, (reshape(x, (size, -1)),), (1, ("keepdims", False) if option[0] == "keepdims" else option))
    return reshape(flat, (size, *[1] * (len(shape(x)) - 1))) if option == ("keepdims", True) else flat


def _index_row(name: str) -> Op:
    impl: Rule = lambda x, axis, *params: getattr(namespace(x), name)(x, axis=axis, **dict(params))
    return constant(name, impl, _over_index)


_argmax, _argmin, _argsort = _index_row("argmax"), _index_row("argmin"), _index_row("argsort")


@public()
def argmax(x: X, axis: int | None = None, keepdims: bool = False) -> X:
    """Where the greatest number stands, the first of them: an integer, and a constant to every derivative.

    >>> import numpy as np
    >>> argmax(np.array([1.0, 3.0, 2.0])).item()
    1
    """
    return cast("X", apply(_argmax, (x,), (axis, ("keepdims", keepdims))))


@public()
def argmin(x: X, axis: int | None = None, keepdims: bool = False) -> X:
    """Where the least number stands, the first of them: an integer, and a constant to every derivative.

    >>> import numpy as np
    >>> argmin(np.array([1.0, 3.0, 2.0])).item()
    0
    """
    return cast("X", apply(_argmin, (x,), (axis, ("keepdims", keepdims))))


@public()
def argsort(x: X, axis: int = -1) -> X:
    """The order that sorts x, equal ones in their order: integers, and constants to every derivative.

    >>> import numpy as np
    >>> argsort(np.array([1.0, 3.0, 2.0]))
    array([0, 2, 1])
    """
    return cast("X", apply(_argsort, (x,), (axis, ("stable", True))))


@stand_in("var")
def _numpy_var(a: X, axis: Axis = None, *, ddof: float = 0.0, keepdims: bool = False, correction: float = 0.0) -> X:
    return var(a, axis, ddof or correction, keepdims)


@stand_in("std")
def _numpy_std(a: X, axis: Axis = None, *, ddof: float = 0.0, keepdims: bool = False, correction: float = 0.0) -> X:
    return std(a, axis, ddof or correction, keepdims)


@stand_in("argmax")
def _numpy_argmax(a: X, axis: int | None = None, *, keepdims: bool = False) -> X:
    return argmax(a, axis, keepdims)


@stand_in("argmin")
def _numpy_argmin(a: X, axis: int | None = None, *, keepdims: bool = False) -> X:
    return argmin(a, axis, keepdims)


@stand_in("argsort")
def _numpy_argsort(a: X, axis: int = -1) -> X:
    return argsort(a, axis)
