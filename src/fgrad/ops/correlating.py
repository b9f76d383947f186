"""The convolution of networks: how much each place of an array is like a small kernel.

Knows where a kernel lies over an array of (…, places, channels), in any number of dimensions; nothing of layers. Such
a convolution is linear in both its operands, and so are its two transposes; those of each of the three rows are the
other two.

A kernel may have first axes of its own, one for each of those that the array begins with: then each example has its
own kernel, as vmap makes of it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from operator import index
from types import EllipsisType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import attrs

from fgrad.arrays import numpy
from fgrad.errors import StructureError
from fgrad.node import Op, Value, X, apply, shape, table
from fgrad.ops.rows import public, separate
from fgrad.ops.shaping import broadcast_to, integers

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[float64]

Padding: TypeAlias = Literal["same", "valid"] | int | Sequence[tuple[int, int]]
Lengths: TypeAlias = tuple[int, ...]
Params: TypeAlias = tuple[Lengths, Lengths, Lengths, Lengths, tuple[tuple[int, int], ...], int]
"""The fields of a geometry, and how many first axes of the array count examples that have kernels of their own."""

_CACHED: Final = 2**18  # bytes of patches that are made at a time


@attrs.frozen
class Geometry:
    """How a kernel goes over the places of an array, dimension by dimension; `inputs` are their lengths."""

    inputs: Lengths
    sizes: Lengths
    strides: Lengths
    dilations: Lengths
    frame: tuple[tuple[int, int], ...]

    @property
    def framed(self) -> Lengths:
        """The lengths with their padding."""
        return tuple([n + sum(ends) for n, ends in zip(self.inputs, self.frame, strict=True)])

    @property
    def outputs(self) -> Lengths:
        """At how many places the kernel lies wholly over the array and its padding."""
        spans = [d * (k - 1) for k, d in zip(self.sizes, self.dilations, strict=True)]
        return tuple([max(0, (n - k - 1) // s + 1) for n, k, s in zip(self.framed, spans, self.strides, strict=True)])

    @property
    def inside(self) -> tuple[EllipsisType | slice, ...]:
        """Where the array lies in its padding."""
        return (..., *[slice(a, a + n) for (a, _), n in zip(self.frame, self.inputs, strict=True)], slice(None))

    def under(self, place: Sequence[int]) -> tuple[EllipsisType | slice, ...]:
        """What lies under one place of the kernel, in the array with its padding, as it goes over it."""
        steps = zip(place, self.dilations, self.strides, self.outputs, strict=True)
        return (..., *[slice(i * d, i * d + s * (n - 1) + 1, s) for i, d, s, n in steps], slice(None))


def _framed(x: "Floats", at: Geometry) -> "Floats":
    """The arrays (arrays, places, channels) in zeros."""
    if not any(map(any, at.frame)):
        return x
    out = numpy().zeros((len(x), *at.framed, x.shape[-1]), x.dtype)
    out[at.inside] = x
    return cast("Floats", out)


def _examples(x: "Floats", n: int) -> "Floats":
    """The arrays of n dimensions of places, along one first axis."""
    return x.reshape(prod(x.shape[: -n - 1]), *x.shape[-n - 1 :])


def _patches(x: "Floats", at: Geometry) -> "Iterator[tuple[slice, Floats]]":
    """Of a few arrays at a time a matrix: what the kernel covers at each of its places, a row each.

    So few that the matrix stays in the cache, and its memory serves the next.
    """
    np, (most, *apart, last) = numpy(), (framed := _framed(x, at)).strides
    lengths = (*at.outputs, *at.sizes, x.shape[-1])
    goes = [k * s for k, s in zip(apart, at.strides, strict=True)]
    lies = [k * d for k, d in zip(apart, at.dilations, strict=True)]
    few = max(1, _CACHED // (prod(lengths) * x.dtype.itemsize or 1))
    if not prod(lengths):
        return  # a view might reach out of the arrays
    view = np.lib.stride_tricks.as_strided(framed, (len(x), *lengths), (most, *goes, *lies, last))
    out = np.empty((min(few, len(x)), *lengths), x.dtype)
    for start in range(0, len(x), few):
        part = view[start : start + few]
        found = out[: len(part)]
        found[...] = part
        yield slice(start, start + few), found.reshape(len(part) * prod(at.outputs), -1)


def _conv_impl(x: "Floats", w: "Floats", at: Geometry) -> "Floats":
    """Of each patch the products with the kernel."""
    np, n, m = numpy(), len(at.sizes), w.shape[-1]
    first, kernel = x.shape[: -n - 1], w.reshape(prod(w.shape[:-1]), m)
    out = np.empty((prod(first), *at.outputs, m), np.result_type(x, w))
    if not kernel.size:
        out[...] = 0
    for part, patches in _patches(_examples(x, n), at):
        np.matmul(patches, kernel, out=out[part].reshape(len(patches), m))
    return cast("Floats", out.reshape(*first, *at.outputs, m))


def _conv_input_impl(g: "Floats", w: "Floats", at: Geometry) -> "Floats":
    """What each place of the kernel adds to what lay under it; without strides that is a convolution too."""
    np, n, channels = numpy(), len(at.sizes), w.shape[-2]
    spans = [d * (k - 1) for k, d in zip(at.sizes, at.dilations, strict=True)]
    frame = tuple([(k - a, k - b) for k, (a, b) in zip(spans, at.frame, strict=True)])
    if max(at.strides) == 1 and min(map(min, frame)) >= 0 and min(at.outputs) > 0:
        turned = np.flip(w, tuple(range(n))).swapaxes(-1, -2)
        return _conv_impl(g, turned, Geometry(at.outputs, at.sizes, at.strides, at.dilations, frame))
    rows, first = g.reshape(prod(g.shape[:-1]), g.shape[-1]), g.shape[: -n - 1]
    out = np.zeros((*first, *at.framed, channels), np.result_type(g, w))
    for place in product(*map(range, at.sizes)) if rows.size else ():
        under = out[at.under(place)]
        under += (rows @ w[place].T).reshape(under.shape)
    return cast("Floats", np.ascontiguousarray(out[at.inside]))


def _conv_kernel_impl(x: "Floats", g: "Floats", at: Geometry) -> "Floats":
    """What each patch says of the kernel, summed."""
    n, m = len(at.sizes), g.shape[-1]
    arrays = _examples(g, n)
    out = numpy().zeros((prod(at.sizes) * x.shape[-1], m), numpy().result_type(x, g))
    for part, patches in _patches(_examples(x, n), at):
        out += patches.T @ arrays[part].reshape(len(patches), m)
    return cast("Floats", out.reshape(*at.sizes, x.shape[-1], m))


def _row(name: str, impl: Callable[..., "Floats"], vjp: Callable[..., Value]) -> Op:
    """A row of a bilinear function, whose kernels' examples are done one by one."""

    def each(a: "Floats", b: "Floats", *params: object) -> "Floats":
        at, examples = Geometry(*cast("Params", params)[:5]), cast("Params", params)[5]
        if not examples:
            return impl(a, b, at)
        pairs = [(a[i], b[i]) for i in range(len(a))] or [(numpy().ones_like(a.sum(0)), numpy().ones_like(b.sum(0)))]
        found = [each(x, y, *params[:5], examples - 1) for x, y in pairs]
        return cast("Floats", numpy().stack(found)[: len(a)])  # of no examples, none

    def push(i: int, t: Value, ans: Value, args: Sequence[Value], params: Params) -> Value:
        return apply(table[name], (t, args[1]) if i == 0 else (args[0], t), params)

    op = table[name] = separate(name, cast("Callable[..., Value]", each), vjp=vjp, jvp=push, batch=_batch)
    return op


def _batch(op: Op, args: list[Value], batched: list[bool], params: Params, size: int) -> Value:
    """The batch is one more of the array's first axes, unless each example has another kernel."""
    *geometry, examples = params
    if batched == [True, False] and not examples and op.name != "conv_kernel":
        return apply(op, tuple(args), params)
    both = [x if flag else broadcast_to(x, (size, *shape(x))) for x, flag in zip(args, batched, strict=True)]
    return apply(op, tuple(both), (*geometry, examples + 1))


_conv: Op = _row(
    "conv",
    _conv_impl,
    lambda i, g, ans, args, params: (
        apply(_conv_kernel, (args[0], g), params) if i else apply(_conv_input, (g, args[1]), params)
    ),
)
_conv_input: Op = _row(
    "conv_input",
    _conv_input_impl,
    lambda i, g, ans, args, params: (
        apply(_conv_kernel, (g, args[0]), params) if i else apply(_conv, (g, args[1]), params)
    ),
)
_conv_kernel: Op = _row(
    "conv_kernel",
    _conv_kernel_impl,
    lambda i, g, ans, args, params: (
        apply(_conv, (args[0], g), params) if i else apply(_conv_input, (args[1], g), params)
    ),
)


@public()
def conv(
    x: X, w: X, strides: int | Sequence[int] = 1, padding: Padding = "valid", dilations: int | Sequence[int] = 1
) -> X:
    """The products of a kernel w, (sizes, channels in, channels out), with each patch of x, (…, places, channels in).

    There are as many dimensions of places as the kernel has sizes: one for signals, two for pictures. The kernel is
    not flipped. It lies wholly over x and its padding by zeros: none ("valid"), as much as keeps the number of
    places at stride 1 ("same"; the odd one is put behind), the same number on all sides, or (before, after) for each
    dimension. Raises `StructureError` for shapes that do not fit.

    >>> import numpy as np
    >>> conv(np.arange(5.0)[:, None], np.array([1.0, -1.0])[:, None, None])[:, 0]
    array([-1., -1., -1., -1.])
    """
    sizes, n = shape(w)[:-2], len(shape(w)) - 2
    if n < 1 or len(shape(x)) < n + 1 or shape(x)[-1] != shape(w)[-2]:
        raise StructureError(
            f"a kernel of shape {shape(w)} does not fit an array of shape {shape(x)}: they are (sizes, channels in, "
            "channels out) and (…, places, channels in)"
        )
    steps, apart = (each * n if len(each) == 1 else each for each in (integers(strides), integers(dilations)))
    if len(steps) != n or len(apart) != n or min(*steps, *apart) < 1:
        raise StructureError(f"strides {strides} and dilations {dilations} do not fit a kernel of {n} dimensions")
    frame = _frame(padding, [d * (k - 1) for k, d in zip(sizes, apart, strict=True)])
    return cast("X", apply(_conv, (x, w), (shape(x)[-n - 1 : -1], sizes, steps, apart, frame, 0)))


def _frame(padding: Padding, spans: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """How many zeros stand before and after, in each dimension; a kernel reaches over its span."""
    if padding == "valid":
        return ((0, 0),) * len(spans)
    if padding == "same":
        return tuple([(k // 2, k - k // 2) for k in spans])
    frame = ((padding, padding),) * len(spans) if isinstance(padding, int) else padding
    if isinstance(frame, str) or len(frame) != len(spans) or min(map(min, frame)) < 0:
        raise StructureError(
            f"padding {padding!r} is neither 'same' nor 'valid', a number, or {len(spans)} pairs of numbers from 0"
        )
    return tuple([(index(a), index(b)) for a, b in frame])
