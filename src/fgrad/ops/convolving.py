"""The convolution of two vectors.

Knows where one vector lies over the other; nothing of derivatives but that both transposes are convolutions too.
"""

from typing import Literal, TypeAlias, cast

from fgrad.arrays import namespace
from fgrad.node import Op, Value, X, apply, shape
from fgrad.ops.rearranging import along, flip
from fgrad.ops.rows import primitive, public

Mode: TypeAlias = Literal["full", "same", "valid"]


def _convolve_impl(x: Value, y: Value) -> Value:
    """Convolve along the last axis, broadcast over the others, which stand for examples."""
    xp = namespace(x, y)
    if len(shape(x)) == len(shape(y)) == 1:
        return cast("Value", xp.convolve(x, y))
    examples = xp.broadcast_shapes(shape(x)[:-1], shape(y)[:-1])
    xs, ys = (xp.broadcast_to(z, (*examples, shape(z)[-1])) for z in (x, y))
    out = xp.empty((*examples, shape(x)[-1] + shape(y)[-1] - 1), dtype=xp.result_type(x, y))
    for place in xp.ndindex(examples):
        out[place] = xp.convolve(xs[place], ys[place])
    return cast("Value", out)


def _correlate(g: Value, x: Value, y: Value) -> Value:
    """The transpose of the convolution with y, as a function of x."""
    axis, n, m = len(shape(g)) - 1, shape(x)[-1], shape(y)[-1]
    return along(apply(_convolve, (g, flip(y, -1))), axis, m - 1, m - 1 + n)


_convolve: Op = primitive(
    "convolve",
    _convolve_impl,
    vjps=(lambda g, ans, x, y: _correlate(g, x, y), lambda g, ans, x, y: _correlate(g, y, x)),
    jvps=(lambda t, ans, x, y: apply(_convolve, (t, y)), lambda t, ans, x, y: apply(_convolve, (x, t))),
)


@public(names="convolve")
def convolve(x: X, y: X, mode: Mode = "full") -> X:
    """The sums of x[i] * y[j] over i + j = 0, 1, …: those of `mode`.

    "full" are all; "same" as many as the longer vector has, from the middle; "valid" those where one vector lies
    wholly over the other.

    >>> import numpy as np
    >>> convolve(np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0]))
    array([ 1.,  1.,  1., -3.])
    """
    if len(shape(x)) != 1 or len(shape(y)) != 1:
        raise ValueError(f"convolve needs two vectors, not the shapes {shape(x)} and {shape(y)}")
    less, more = sorted((shape(x)[0], shape(y)[0]))
    cuts = {"full": (0, less + more - 1), "same": ((less - 1) // 2, more), "valid": (less - 1, more - less + 1)}
    if mode not in cuts:
        raise ValueError(f"convolve has no mode {mode!r}: it has {', '.join(map(repr, cuts))}")
    start, length = cuts[mode]
    ans = cast("X", apply(_convolve, (x, y)))
    return ans if mode == "full" else along(ans, 0, start, start + length)
