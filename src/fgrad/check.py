"""Checks that derivatives are right, for fgrad's own rows and for users' functions: the laws that each must obey.

Knows what holds of any derivative: functions in, verdict out; nothing of nodes and walks.
"""

from collections.abc import Callable, Sequence
from typing import Final, cast

from fgrad import errors
from fgrad.batching import vmap
from fgrad.jacobians import jacfwd, jacrev
from fgrad.numeric import Function, check_grads, pulled, pushed
from fgrad.ops.elementwise import tanh
from fgrad.ops.reducing import sum as total
from fgrad.probe import (
    Leaf,
    Leaves,
    Probe,
    Row,
    between,
    combined,
    drawn,
    examples,
    generator,
    inner,
    only,
    probe,
    stacked,
    typed,
    verdict,
    window,
)
from fgrad.transforms import grad, jvp, linearize, vjp

__all__ = [
    "adjoint",
    "batching",
    "chain_rule",
    "check_grads",
    "differences",
    "laws",
    "linearity",
    "modes",
    "symmetry",
]


def laws(f: Function, args: Sequence[object], *, rtol: float | None = None, seed: int = 0) -> None:
    """Check all laws that derivatives obey, for a function, or for a rule of one's own.

    f maps pytrees to a pytree. The laws are `differences`, `adjoint`, `linearity`, `chain_rule`, `modes`, `symmetry`
    and `batching`, each a function of its own. Each is skipped where it has no meaning: all but `batching` where no
    result is a float, `batching` where there is no input or where f takes a branch on a value. `rtol`, if given, holds
    for every law; by default each has its own: ε^0.6 for what is true to rounding (4e-10 in float64, 7e-5 in float32),
    ten times that for second derivatives, those of `check_grads` for differences. All are relative to the larger of 1
    and the largest number of the leaf. `seed` draws the directions.

    Raises `GradientError`, which says of each broken law what it is, where it fails and by how much, and
    what that means.

    >>> from fgrad import elementwise
    >>> @elementwise(lambda ans, x: 3 * x * x)
    ... def cube(x: float) -> float:
    ...     return x * x * x
    >>> laws(cube, (2.0,))
    """
    broken = []
    for law in LAWS:
        try:
            law(f, args, rtol=rtol, seed=seed)
        except errors.GradientError as error:
            broken.append(f"{law.__name__}: {error}")
    if broken:
        raise errors.GradientError(
            "\n".join([f"{len(broken)} of {len(LAWS)} laws {'is' if len(broken) == 1 else 'are'} broken", *broken])
        )


def differences(f: Function, args: Sequence[object], *, rtol: float | None = None, seed: int = 0) -> None:
    """First and second derivatives, in both modes, are what central differences give: `check_grads`.

    >>> differences(lambda x: x * x, (3.0,))
    """
    check_grads(f, args, rtol=rtol, seed=seed)


def adjoint(f: Function, args: Sequence[object], *, rtol: float | None = None, seed: int = 0) -> None:
    """Pullback and pushforward are each other's transpose: ⟨w, J v⟩ = ⟨Jᵀ w, v⟩, for v in each leaf of the inputs.

    >>> adjoint(lambda x, y: x * y, (3.0, 2.0))
    """
    at, rng = probe(f, args), generator(seed)
    v, w = drawn(rng, at.points), drawn(rng, at.values)
    _, push = linearize(at.function, *at.points)
    gradients = pulled(at, at.points, w)
    rows: list[Row] = [
        (path, inner(w, push(*only(v, i))), inner([gradients[i]], [v[i]])) for i, path in enumerate(at.paths)
    ]
    message = (
        "the adjoint identity ⟨w, J v⟩ = ⟨Jᵀ w, v⟩ does not hold: "
        "the jvp and the vjp of a rule disagree, and one of them is wrong"
    )
    verdict(message, ("⟨w, J v⟩", "⟨Jᵀ w, v⟩"), rows, _rounding(at, rtol))


def linearity(f: Function, args: Sequence[object], *, rtol: float | None = None, seed: int = 0) -> None:
    """The pullback is linear in its cotangent and the pushforward in its tangents: L(2a - b/2) = 2 L(a) - L(b)/2.

    >>> linearity(lambda x, y: x * y, (3.0, 2.0))
    """
    at, rng = probe(f, args), generator(seed)
    names = ("at the sum", "sum")
    _, pullback = vjp(at.function, *at.points)
    a, b = drawn(rng, at.values), drawn(rng, at.values)
    left = pullback(list(combined(2.0, a, -0.5, b)))
    right = combined(2.0, pullback(list(a)), -0.5, pullback(list(b)))
    message = "the pullback is not linear in its cotangent g: the vjp of a rule must multiply with g, once"
    verdict(message, names, list(zip(at.paths, left, right, strict=True)), _rounding(at, rtol))
    _, push = linearize(at.function, *at.points)
    s, t = drawn(rng, at.points), drawn(rng, at.points)
    moved = push(*combined(2.0, s, -0.5, t))
    both = combined(2.0, push(*s), -0.5, push(*t))
    message = "the pushforward is not linear in its tangents t: the jvp of a rule must multiply with t, once"
    verdict(message, names, list(zip(at.results, moved, both, strict=True)), _rounding(at, rtol))


def chain_rule(f: Function, args: Sequence[object], *, rtol: float | None = None, seed: int = 0) -> None:
    """The Jacobian of b ∘ f ∘ a is the product of its pieces' Jacobians, in both modes.

    a and b act number by number: a(z) = x + s (tanh z - tanh z₀) at z₀, where it is x; b(y) = s tanh(y - f(x) + z₀).
    Of leaves with more than 16 numbers, 16 are looked at.

    >>> chain_rule(lambda x, y: x * y, (3.0, 2.0))
    """
    rng = generator(seed)
    at = window(probe(f, args), rng)
    (z, s), (c, r) = ([drawn(rng, leaves) for _ in range(2)] for leaves in (at.points, at.values))

    def composed(*zs: Leaf) -> list[Leaf]:
        xs = [x + k * (tanh(a) - tanh(a0)) for x, k, a, a0 in zip(at.points, s, zs, z, strict=True)]
        ys = at.function(*xs)
        return [k * tanh(y - y0 + d) for y, y0, k, d in zip(ys, at.values, r, c, strict=True)]

    before = [k * (1.0 - tanh(a) ** 2) for k, a in zip(s, z, strict=True)]
    after = [k * (1.0 - tanh(d) ** 2) for k, d in zip(r, c, strict=True)]
    for name, jacobian in (("forward", jacfwd), ("reverse", jacrev)):
        whole, piece = _blocks(jacobian, composed, z), _blocks(jacobian, at.function, at.points)
        rows: list[Row] = [
            (f"{y} by {x}", whole[j][i], between(after[j], piece[j][i], before[i]))
            for j, y in enumerate(at.results)
            for i, x in enumerate(at.paths)
        ]
        message = (
            f"the chain rule does not hold in {name} mode: the derivative of a composition is not the product of its "
            "pieces' derivatives; a rule does not carry on the g or t that it is given"
        )
        verdict(message, ("composition", "product"), rows, _rounding(at, rtol))


def modes(f: Function, args: Sequence[object], *, rtol: float | None = None, seed: int = 0) -> None:
    """Forward = reverse: `jacfwd` and `jacrev` give one Jacobian; of leaves with more than 16 numbers, of 16.

    >>> modes(lambda x, y: x * y, (3.0, 2.0))
    """
    at = window(probe(f, args), generator(seed))
    forward, reverse = (_blocks(jacobian, at.function, at.points) for jacobian in (jacfwd, jacrev))
    rows: list[Row] = [
        (f"{y} by {x}", forward[j][i], reverse[j][i]) for j, y in enumerate(at.results) for i, x in enumerate(at.paths)
    ]
    message = (
        "forward and reverse mode give different Jacobians: the jvp and the vjp of a rule disagree "
        "(or its batch rule is wrong, if ⟨w, J v⟩ = ⟨Jᵀ w, v⟩ holds)"
    )
    verdict(message, ("forward", "reverse"), rows, _rounding(at, rtol))


def symmetry(f: Function, args: Sequence[object], *, rtol: float | None = None, seed: int = 0) -> None:
    """Second derivatives H of Σ w·f are symmetric, ⟨u, H v⟩ = ⟨v, H u⟩, and the same in all four pairs of modes.

    >>> symmetry(lambda x, y: x * y, (3.0, 2.0))
    """
    at, rng = probe(f, args), generator(seed)
    if not at.points or not at.values:
        return
    w, u, v = drawn(rng, at.values), drawn(rng, at.points), drawn(rng, at.points)
    tolerance = 10 * _rounding(at, rtol) if rtol is None else rtol

    def phi(*xs: Leaf) -> Leaf:
        return sum([total(y * k) for y, k in zip(at.function(*xs), w, strict=True)], 0.0)

    message = (
        "second derivatives are not symmetric, ⟨u, H v⟩ ≠ ⟨v, H u⟩: the first derivative of a rule is no gradient, or "
        "is made of numbers that are cut off from the inputs"
    )
    verdict(message, ("⟨u, H v⟩", "⟨v, H u⟩"), _crossed(phi, at, u, v), tolerance)
    pairs = _four_ways(phi, at.points, u, v)
    expected = pairs["forward over reverse"]
    for name, found in pairs.items():
        message = (
            f"second derivatives ⟨u, H v⟩ differ between {name} and forward over reverse mode: "
            "the jvp and the vjp of a rule have different derivatives"
        )
        rows: list[Row] = list(zip(at.paths, found, expected, strict=True))
        verdict(message, (name, "forward over reverse"), rows, tolerance)


def _four_ways(phi: Callable[..., Leaf], points: Leaves, u: Leaves, v: Leaves) -> dict[str, list[float]]:
    """⟨u, H v⟩ in each pair of modes, with u in each leaf alone."""
    every = tuple(range(len(points)))
    gradient = cast("Callable[..., Leaves]", grad(phi, every))

    def along(*xs: Leaf) -> Leaf:
        return jvp(phi, xs, v)[1]

    def dotted(*xs: Leaf) -> Leaf:
        return sum([total(g * d) for g, d in zip(gradient(*xs), v, strict=True)], 0.0)

    products = {
        "forward over reverse": jvp(gradient, points, v)[1],
        "reverse over forward": cast("Leaves", grad(along, every)(*points)),
        "reverse over reverse": cast("Leaves", grad(dotted, every)(*points)),
    }
    found = {name: [inner([d], [h]) for d, h in zip(u, product, strict=True)] for name, product in products.items()}
    _, push = linearize(along, *points)
    found["forward over forward"] = [float(push(*only(u, i))) for i in range(len(points))]
    return found


def _crossed(phi: Callable[..., Leaf], at: Probe, u: Leaves, v: Leaves) -> list[Row]:
    """⟨u, H v⟩ and ⟨v, H u⟩ for u in each leaf alone, and v in each."""
    places = range(len(at.points))
    gradient = cast("Callable[..., Leaves]", grad(phi, tuple(places)))
    _, push = linearize(gradient, *at.points)
    of_u, of_v = ([push(*only(d, i)) for i in places] for d in (u, v))
    return [
        (f"{at.paths[i]} and {at.paths[j]}", inner([u[i]], [of_v[j][i]]), inner([v[j]], [of_u[i][j]]))
        for i in places
        for j in places
    ]


def batching(f: Function, args: Sequence[object], *, rtol: float | None = None, seed: int = 0) -> None:
    """Vmap = loop, for the value, pullback and pushforward, over all leaves together and over each alone.

    It is skipped over leaves whose value decides a branch of f (a `BranchError`): there vmap has no meaning.

    >>> batching(lambda x, y: x * y, (3.0, 2.0))
    """
    at, rng = probe(f, args), generator(seed)
    if not at.points:
        return
    value = probe(f, args, every=True)
    batch = examples(rng, at.points, 3)
    v, w = drawn(rng, at.points), drawn(rng, at.values)
    runs: list[tuple[str, Callable[..., list[Leaf]], tuple[str, ...]]] = [
        ("the value", value.function, value.results),
        ("the pullback", lambda *xs: pulled(at, xs, w), at.paths),
        ("the pushforward", lambda *xs: pushed(at, xs, v), at.results),
    ]
    n = len(batch)
    for mask in dict.fromkeys([(True,) * n, *[tuple(i == j for j in range(n)) for i in range(n)]]):
        for what, function, paths in runs:
            try:
                found = _batched(function, batch, at.points, mask)
            except errors.BranchError:
                if what == "the value":
                    break
                raise
            looped = _looped(function, batch, at.points, mask)
            over = ", ".join(path for path, flag in zip(at.paths, mask, strict=True) if flag)
            message = f"vmap of {what} over {over} is not the loop: the batch rule of a row mixes or misplaces examples"
            rows: list[Row] = list(zip(paths, found, looped, strict=True))
            verdict(message, ("vmap", "loop"), rows, _rounding(at, rtol), equal_nan=True)


def _batched(function: Callable[..., list[Leaf]], batch: Leaves, points: Leaves, mask: Sequence[bool]) -> list[Leaf]:
    axes = tuple([0 if flag else None for flag in mask])
    args = [b if flag else x for b, x, flag in zip(batch, points, mask, strict=True)]
    return vmap(function, axes)(*args)


def _looped(function: Callable[..., list[Leaf]], batch: Leaves, points: Leaves, mask: Sequence[bool]) -> list[object]:
    def one(row: Leaves) -> list[Leaf]:
        return function(*[typed(b, x) if flag else x for b, x, flag in zip(row, points, mask, strict=True)])

    return stacked([one(cast("Leaves", row)) for row in zip(*cast("list[list[Leaf]]", batch), strict=True)])


def _blocks(
    jacobian: Callable[..., Callable[..., object]], f: Callable[..., list[Leaf]], points: Leaves
) -> list[tuple[object, ...]]:
    """The blocks of a Jacobian: for each result, for each input."""
    return cast("list[tuple[object, ...]]", jacobian(f, tuple(range(len(points))))(*points)) if points else []


def _rounding(at: Probe, rtol: float | None) -> float:
    """How far apart two numbers may be that differ by rounding alone."""
    return at.epsilon**0.6 if rtol is None else rtol


LAWS: Final[tuple[Callable[..., None], ...]] = (differences, adjoint, linearity, chain_rule, modes, symmetry, batching)
"""All laws, in the order in which `laws` checks them: each returns if it holds or does not apply."""
