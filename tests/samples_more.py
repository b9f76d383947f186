"""Samples of einsum, convolutions, tables and what else is made of many rows."""

from functools import cache
from typing import Any

import numpy as np

from fgrad.node import TABLE, apply
from tests.oracles import Array, mpmath, torch
from tests.sample import Sample, named

RNG = np.random.default_rng(2)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape)


def summed(subscripts: str, *shapes: tuple[int, ...]) -> Sample:
    return Sample(
        lambda xp, *args: xp.einsum(subscripts, *args),
        tuple(np.asarray(normal(*shape)) for shape in shapes),
        lambda xp, *args: torch().einsum(subscripts, *args),
    )


EINSUMS = [
    *(summed("ij,jk->ik", (2, 3), (3, 4)), summed("ij,jk", (2, 3), (3, 4)), summed("ji,kj->ik", (3, 2), (4, 3))),
    *(summed("i,i", (3,), (3,)), summed("i,j->ij", (3,), (4,)), summed("ij,ij->ij", (2, 3), (2, 3))),
    *(summed("bij,bjk->bik", (5, 2, 3), (5, 3, 4)), summed("bi,bi->b", (5, 3), (5, 3)), summed("i,j->", (3,), (4,))),
    *(summed("ij->ji", (2, 3)), summed("ij->", (2, 3)), summed("ij->j", (2, 3)), summed("ba", (2, 3))),
    *(summed("ii", (3, 3)), summed("ii->i", (3, 3)), summed("iji->j", (3, 2, 3)), summed("iii->i", (2, 2, 2))),
    *(summed("iijj->ij", (2, 2, 3, 3)), summed("ii,ij->j", (3, 3), (3, 4)), summed("Ab,bA", (2, 3), (3, 2))),
    *(summed("...ij,...jk->...ik", (5, 2, 3), (3, 4)), summed("...i,i...->...", (2, 3), (3, 2))),
    *(summed("i...,...->...i", (3, 4), (2, 4)), summed("...i,j...", (2, 3), (4, 2)), summed("...", (2, 3))),
    *(summed("ij,ij->ij", (1, 3), (2, 3)), summed("ij,jk", (2, 1), (3, 4)), summed("...i,...i->...", (2, 1), (1, 3))),
    *(summed("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)), summed("i,ij,j", (3,), (3, 4), (4,))),
    *(summed("ij,ik,il->jkl", (2, 3), (2, 4), (2, 2)), summed("a,ab,bc,cd->d", (2,), (2, 3), (3, 4), (4, 2))),
    *(summed(" i j , j -> i ", (2, 3), (3,)), summed(",i->i", (), (3,)), summed("ij,kl->", (2, 3), (3, 0))),
    *(summed("i,i,i->i", (3,), (3,), (3,)), summed("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4))),
]


def convolved(n: int, m: int, mode: str) -> Sample:
    def peer(xp: Any, x: Any, y: Any) -> Any:
        full = torch().nn.functional.conv1d(x[None, None], y.flip(0)[None, None], padding=m - 1)[0, 0]
        less, more = min(n, m), max(n, m)
        start, length = {"full": (0, n + m - 1), "same": ((less - 1) // 2, more), "valid": (less - 1, more - less + 1)}[
            mode
        ]
        return full[start : start + length]

    return Sample(lambda xp, x, y: xp.convolve(x, y, mode=mode), (normal(n), normal(m)), peer)


def torch_conv(x: Any, w: Any, **keywords: Any) -> Any:
    """PyTorch's, which has the channels first, in x as in the kernel, and one axis of examples."""
    n = w.ndim - 2
    function = (torch().nn.functional.conv1d, torch().nn.functional.conv2d)[n - 1]
    examples = x.reshape(-1, *x.shape[-n - 1 :]).movedim(-1, 1)
    found = function(examples, w.movedim(-1, 0).movedim(-1, 1), **keywords).movedim(1, -1)
    return found.reshape(*x.shape[: -n - 1], *found.shape[1:])


def laid(x: tuple[int, ...], w: tuple[int, ...], peer: dict[str, Any] | None = None, **keywords: Any) -> Sample:
    """A convolution of a network, told to the peer in its own words where they differ."""
    names = {"strides": "stride", "padding": "padding", "dilations": "dilation"}
    words = {names[key]: value for key, value in keywords.items()} if peer is None else peer
    return Sample(
        lambda xp, x, w: xp.conv(x, w, **keywords), (normal(*x), normal(*w)), lambda xp, x, w: torch_conv(x, w, **words)
    )


CONVS = [
    *(laid((7, 2), (3, 2, 4)), laid((2, 7, 1), (2, 1, 1)), laid((2, 3, 6, 2), (3, 2, 2), strides=2)),
    *(laid((2, 7, 2), (3, 2, 2), padding=2, dilations=2), laid((2, 6, 2), (3, 2, 2), padding="same", dilations=2)),
    *(laid((2, 5, 6, 3), (3, 2, 3, 2)), laid((5, 5, 1), (3, 3, 1, 2), padding="same"), laid((4, 4, 2), (1, 1, 2, 3))),
    laid((2, 7, 6, 2), (3, 2, 2, 2), strides=(2, 3), dilations=(2, 1), padding=1),
    laid((2, 5, 4, 2), (2, 3, 2, 2), {"padding": (1, 2)}, padding=((1, 1), (2, 2))),
    *(laid((2, 3, 1), (3, 1, 2)), laid((0, 5, 2), (3, 2, 2)), laid((2, 5, 2), (3, 2, 2), strides=3)),
]


def on_the_line(xp: Any, x: Any, p: Any, f: Any) -> Any:
    """PyTorch's broken line, piece by piece."""
    ans = 0.0 * x + f[0]
    for i in range(len(p) - 1):
        ans = xp.where(x >= p[i], f[i] + (x - p[i]) * (f[i + 1] - f[i]) / (p[i + 1] - p[i]), ans)
    return xp.where(x >= p[-1], 0.0 * x + f[-1], ans)


KNOTS = np.array([0.5, 1.1, 2.0, 3.2])
STEPS = np.array([0.5, 1.0, 1.0, 2.0])


def looked_up(x: Any, knots: Array = KNOTS) -> Sample:
    """np.interp gives float64 whatever it is given."""
    return Sample(
        lambda xp, x, p, f: xp.astype(xp.interp(x, p, f), np.float64), (x, knots, normal(len(knots))), on_the_line
    )


@cache
def gamma_chain() -> Any:
    """log|Γ| (n = -1), digamma (n = 0) and its derivatives of order n: mpmath's values, tied together in PyTorch.

    PyTorch's own second derivative of log|Γ| is right to nine digits alone.
    """
    mp = mpmath().mp

    def forward(context: Any, x: Any, n: int) -> Any:
        context.save_for_backward(x)
        context.n = n
        values = [mp.psi(n, v) if n >= 0 else mp.log(abs(mp.gamma(v))) for v in x.reshape(-1).tolist()]
        return torch().tensor([float(v) for v in values], dtype=x.dtype).reshape(x.shape)

    def backward(context: Any, g: Any) -> Any:
        (x,) = context.saved_tensors
        return g * chain.apply(x, context.n + 1), None

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    chain: Any = type("Chain", (torch().autograd.Function,), methods)
    return chain


OVER = ((7,), (2,), (2,), (1,), ((0, 0),), 0)  # a kernel of size 2 over 7 places, by strides of 2
GAMMA = np.array([-3.4, 0.3, 1.4, 2.6, 8.0])
MORE: dict[str, list[Sample]] = {
    "einsum": EINSUMS,
    "convolve": [
        convolved(n, m, mode) for n, m in ((5, 3), (3, 5), (4, 4), (6, 1), (4, 2)) for mode in ("full", "same", "valid")
    ],
    "conv": CONVS,
    "conv_input": [
        Sample(
            lambda xp, g, w: apply(TABLE["conv_input"], (g, w), OVER),
            (normal(2, 3, 2), normal(2, 4, 2)),
            lambda xp, g, w: (
                torch()
                .nn.functional.conv_transpose1d(
                    g.movedim(-1, 1), w.movedim(0, -1).movedim(0, 1), stride=2, output_padding=1
                )
                .movedim(1, -1)
            ),
        )
    ],
    "conv_kernel": [
        Sample(
            lambda xp, x, g: apply(TABLE["conv_kernel"], (x, g), OVER),
            (normal(2, 7, 4), normal(2, 3, 2)),
            lambda xp, x, g: xp.stack([xp.einsum("bpc,bpo->co", x[:, i : i + 5 : 2], g) for i in range(2)]),
        )
    ],
    "searchsorted": [
        Sample(lambda xp, a, v, s=s: xp.searchsorted(a, v, side=s), (STEPS, v))
        for s in ("left", "right")
        for v in (
            np.array([0.3, 1.0, 1.7, 5.0]),
            np.array([[1.0, 0.5], [2.0, 1.5]]),
            np.array(1.0),
            np.array([2.0, np.nan]),
        )
    ],
    "interp": [
        *map(looked_up, (np.array([0.1, 0.7, 1.9, 4.0]), np.array([[0.8, 2.9], [1.5, 9.0]]), np.array(1.3))),
        looked_up(np.array([0.2, 0.7]), KNOTS[:1]),
        looked_up(np.array([0.2, 0.7, 1.9]), KNOTS[:2]),
        Sample(
            lambda xp, x, p, f: xp.astype(xp.interp(x, p, f, left=7.0, right=-7.0), np.float64),
            (np.array([0.1, 1.5, 4.0]), KNOTS, normal(4)),
            lambda xp, x, p, f: xp.where(
                x < 0.4, 7.0 + 0 * x, xp.where(x > 3.5, 0 * x - 7.0, on_the_line(xp, x, p, f))
            ),
        ),
    ],
    "polygamma": [
        Sample(
            lambda xp, x, n=n: xp.polygamma(n, x),
            (GAMMA,),
            lambda xp, x, n=n: gamma_chain().apply(x, n),
        )
        for n in range(4)
    ],
    "lgamma": [Sample(named("lgamma"), (GAMMA,), lambda xp, x: gamma_chain().apply(x, -1))],
    "digamma": [Sample(named("digamma"), (GAMMA,), lambda xp, x: gamma_chain().apply(x, 0))],
    "nanmax": [
        Sample(
            lambda xp, x, a=a: xp.nanmax(xp.where(x > -0.5, x, np.nan) ** 2, axis=a, keepdims=a == 0),
            (x,),
            lambda xp, x, a=a: xp.max(xp.where(x > -0.5, x, 0.0 * x) ** 2, axis=a, keepdims=a == 0),
        )
        for x in (np.array([[0.3, -1.2, 0.7], [1.5, 0.4, -2.0]]),)
        for a in (None, 0, 1)
    ],
    "nanmin": [
        Sample(
            lambda xp, x, a=a: xp.nanmin(xp.where(x > -0.5, x, np.nan) ** 2, axis=a, keepdims=a == 0),
            (x,),
            lambda xp, x, a=a: xp.min(xp.where(x > -0.5, x, 9.0 + 0.0 * x) ** 2, axis=a, keepdims=a == 0),
        )
        for x in (np.array([[0.3, -1.2, 0.7], [1.5, 0.4, -2.0]]),)
        for a in (None, 0, 1)
    ],
}
