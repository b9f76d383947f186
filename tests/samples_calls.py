"""Samples of the ops that hold programs: calls, users' rules, loops and choices; and of several results."""

from typing import Any

import numpy as np

import fgrad
from fgrad.node import TABLE, apply
from fgrad.ops.results import item
from fgrad.ops.shaping import number
from tests.oracles import torch
from tests.sample import Sample

RNG = np.random.default_rng(7)
V3, M33, M23, M43 = (RNG.normal(size=shape) for shape in ((3,), (3, 3), (2, 3), (4, 3)))


def wave(xp: Any, x: Any, y: Any) -> Any:
    return xp.sin(x) * y + x * x


def checkpointed(xp: Any, x: Any, y: Any) -> Any:
    return fgrad.checkpoint(lambda x, y: wave(fgrad, x, y))(x, y)


def pulled(xp: Any, x: Any, y: Any) -> Any:
    """A function with a pullback of its own, which calls itself."""

    @fgrad.custom_vjp
    def f(x: Any, y: Any) -> Any:
        return wave(fgrad, x, y)

    def backward(residuals: Any, g: Any) -> Any:
        x, y = residuals
        return g * (fgrad.cos(x) * y + 2 * x), fgrad.sum(g * fgrad.sin(x), 0) if y.ndim < x.ndim else g * fgrad.sin(x)

    f.defvjp(lambda x, y: (f(x, y), (x, y)), backward)
    return f(x, y)


def pushed(xp: Any, x: Any, y: Any) -> Any:
    """A function with a pushforward of its own, which calls itself."""

    @fgrad.custom_jvp
    def f(x: Any, y: Any) -> Any:
        return wave(fgrad, x, y)

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (x, y), (s, t) = primals, tangents
        return f(x, y), s * (fgrad.cos(x) * y + 2 * x) + fgrad.sin(x) * t

    return f(x, y)


def recurrence(xp: Any, w: Any, h: Any, xs: Any, **options: Any) -> Any:
    """A recurrent net, by a scan: its last state, joined with the sums of all."""

    def step(h: Any, x: Any) -> Any:
        h = fgrad.tanh(w @ h + x)
        return h, fgrad.sum(h * x)

    last, sums = fgrad.scan(step, h, xs, **options)
    return fgrad.concat([last, sums])


def unrolled(xp: Any, w: Any, h: Any, xs: Any, backwards: bool = False) -> Any:
    t, sums = torch(), []
    for x in xs.flip(0) if backwards else xs:
        h = t.tanh(w @ h + x)
        sums.append((h * x).sum())
    return t.cat([h, t.stack(sums[::-1] if backwards else sums)])


def chosen(xp: Any, x: Any, y: Any) -> Any:
    """A choice in the step of a loop, where it cannot be made beforehand; the second step comes to another."""

    def step(state: Any, _: None) -> Any:
        i, z = state
        z = fgrad.cond(fgrad.sum(z) > i, lambda z, y: fgrad.sin(z) * y, lambda z, y: z * y * y - 1.0, z, y)
        return (i + 9, z), None

    return fgrad.scan(step, (0, x), length=2)[0][1]


def chosen_by_torch(xp: Any, x: Any, y: Any) -> Any:
    for i in (0, 9):
        x = x.sin() * y if x.sum() > i else x * y * y - 1.0
    return x


def both(xp: Any, x: Any) -> Any:
    """Two results of one op, of which one is used twice."""
    ans = apply(TABLE["checkpoint"], (x,), (lambda x: (fgrad.sin(x), fgrad.exp(x)),))
    return item(ans, 0) * item(ans, 1) + item(ans, 0)


PAIRS = [(V3, V3 + 1), (M23, V3)]
CALLS: dict[str, list[Sample]] = {
    "checkpoint": [Sample(checkpointed, args, wave) for args in PAIRS],
    "custom_vjp": [Sample(pulled, args, wave) for args in PAIRS],
    "custom_jvp": [Sample(pushed, args, wave) for args in PAIRS],
    "number": [Sample(lambda xp, x: number(fgrad.sum(x * x)) * x, (V3,), lambda xp, x: (x * x).sum() * x)],
    "item": [Sample(both, (V3,), lambda xp, x: x.sin() * x.exp() + x.sin())],
    "scan": [
        Sample(recurrence, (M33, V3, M43), unrolled),
        Sample(
            lambda xp, *args: recurrence(xp, *args, reverse=True),
            (M33, V3, M43),
            lambda xp, w, h, xs: unrolled(xp, w, h, xs, backwards=True),
        ),
        Sample(lambda xp, *args: recurrence(xp, *args, checkpoint=True), (M33, V3, np.vstack([M43, M23])), unrolled),
    ],
    "cond": [Sample(chosen, args, chosen_by_torch) for args in ((V3 + 3, V3), (V3 - 3, V3))],
    "named": [Sample(lambda xp, x: fgrad.named(x, "a"), (V3,), lambda xp, x: x * 1.0)],
    "stop_gradient": [Sample(lambda xp, x: fgrad.stop_gradient(x), (V3,), lambda xp, x: x.detach())],
}
