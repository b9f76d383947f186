"""Calls as single ops: checkpoint computes again, and users' rules serve every transform from one definition."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import checkpoint, custom_jvp, custom_vjp, grad, hessian, hvp, jacfwd, jacrev, jvp, vjp, vmap
from fgrad.errors import ArgumentError, BranchError, EscapedNodeError, OutputError, StructureError
from tests.oracles import close


def plain(x: Any, y: Any) -> Any:
    return fgrad.sin(x) * y + x * x


def both(f: Callable[..., Any]) -> Callable[..., Any]:
    gradient: Callable[..., Any] = grad(f, (0, 1))
    return gradient


@custom_vjp
def ruled(x: Any, y: Any) -> Any:
    return plain(x, y)


ruled.defvjp(
    lambda x, y: (ruled(x, y), (x, y)),
    lambda residuals, g: (g * (fgrad.cos(residuals[0]) * residuals[1] + 2 * residuals[0]), g * fgrad.sin(residuals[0])),
)


@custom_jvp
def pushed(x: Any, y: Any) -> Any:
    return plain(x, y)


@pushed.defjvp
def rule(primals: Any, tangents: Any) -> Any:
    (x, y), (s, t) = primals, tangents
    return pushed(x, y), s * (fgrad.cos(x) * y + 2 * x) + t * fgrad.sin(x)


@custom_jvp
def summed(x: Any, y: Any) -> Any:
    return plain(x, y)


summed.defjvps(
    lambda t, ans, x, y: t * (fgrad.cos(x) * y + 2 * x),
    lambda t, ans, x, y: t * fgrad.sin(x),
)

SAME: list[Any] = [checkpoint(plain), checkpoint(checkpoint(plain)), ruled, pushed, summed, checkpoint(ruled)]


@pytest.mark.parametrize("f", SAME)
def test_one_rule_serves_every_transform(f: Callable[..., Any]) -> None:
    """Gradients, both modes, every mix of second and third derivatives, and batches, as without the rule."""
    args, xs = (1.2, -0.7), np.array([0.3, -1.0, 2.0])
    transforms: list[Callable[[Any], Any]] = [
        lambda f: both(f)(*args),
        lambda f: jvp(f, args, (0.4, 3.0)),
        lambda f: hessian(f, (0, 1))(*args),
        lambda f: jacrev(jacfwd(f))(*args),
        lambda f: jacrev(jacrev(f))(*args),
        lambda f: jacfwd(jacfwd(f, 1))(*args),
        lambda f: grad(grad(grad(f)))(*args),
        lambda f: hvp(f, args, (1.0, 2.0)),
        lambda f: vmap(f, (0, None))(xs, 2.0),
        lambda f: vmap(vmap(f, (0, None)), (None, 0))(xs, xs),
        lambda f: vmap(grad(f, (0, 1)), (0, None))(xs, 2.0),
        lambda f: vmap(hessian(f, (0, 1)), (None, 0))(2.0, xs),
        lambda f: grad(lambda y: fgrad.sum(vmap(f, (0, None))(xs, y) ** 2))(2.0),
        lambda f: hessian(lambda y: fgrad.sum(vmap(f, (0, None))(xs, y) ** 2))(2.0),
        lambda f: jvp(lambda y: fgrad.sum(vmap(f, (0, None))(xs, y) ** 2), (2.0,), (1.0,)),
        lambda f: jacfwd(vmap(f))(xs, xs),
        lambda f: vmap(grad(lambda x: fgrad.sum(vmap(f, (None, 0))(x, xs))))(xs),
    ]
    for transform in transforms:
        close(transform(f), transform(plain), 1e-12, 1e-13)


def test_rules_are_used() -> None:
    """The derivative is the rule's, not the function's; of the second order too."""

    @custom_vjp
    def damped(x: Any) -> Any:
        return x * x

    damped.defvjp(lambda x: (x * x, x), lambda x, g: (g * x,))
    assert grad(damped)(3.0) == 3.0
    assert jvp(damped, (3.0,), (2.0,)) == (9.0, 6.0)
    assert grad(grad(damped))(3.0) == 1.0
    close(vmap(grad(damped))(np.arange(3.0)), np.arange(3.0))

    @custom_jvp
    def odd(x: Any) -> Any:
        return x * x

    odd.defjvp(lambda primals, tangents: (odd(primals[0]), 10.0 * tangents[0]))
    assert grad(odd)(3.0) == 10.0
    assert jvp(odd, (3.0,), (2.0,)) == (9.0, 20.0)
    assert damped(3.0) == odd(3.0) == 9.0
    assert repr(damped) == "<custom_vjp damped>"


def expected(w: Any, x: Any) -> Any:
    return fgrad.sin(w * x) * w


def by_checkpoint(w: Any, x: Any) -> Any:
    return checkpoint(lambda x: fgrad.sin(w * x) * w)(x)


def by_vjp(w: Any, x: Any) -> Any:
    @custom_vjp
    def f(x: Any) -> Any:
        return fgrad.sin(w * x) * w

    f.defvjp(lambda x: (f(x), x), lambda x, g: (g * fgrad.cos(w * x) * (w * w),))
    return f(x)


def by_jvp(w: Any, x: Any) -> Any:
    @custom_jvp
    def f(x: Any) -> Any:
        return fgrad.sin(w * x) * w

    f.defjvp(lambda primals, tangents: (f(*primals), tangents[0] * fgrad.cos(w * primals[0]) * (w * w)))
    return f(x)


@pytest.mark.parametrize("f", [by_checkpoint, by_vjp, by_jvp])
def test_what_is_reached_as_a_closure_keeps_its_gradient(f: Callable[[Any, Any], Any]) -> None:
    """A node that the function, or its rule, closes over is differentiated as if it were an argument; every time."""
    xs = np.array([0.1, 0.7])
    transforms: list[Callable[[Callable[[Any, Any], Any]], Any]] = [
        lambda f: both(f)(1.3, 0.4),
        lambda f: jvp(f, (1.3, 0.4), (0.3, 2.0)),
        lambda f: grad(lambda w: f(w, 0.4))(1.3),
        lambda f: hessian(f, (0, 1))(1.3, 0.4),
        lambda f: grad(lambda w: grad(lambda x: f(w, x))(0.4))(1.3),
        lambda f: vmap(lambda x: f(1.3, x))(xs),
        lambda f: grad(lambda w: fgrad.sum(vmap(lambda x: f(w, x))(xs)))(1.3),
        lambda f: vmap(grad(f, (0, 1)), (0, None))(xs, 0.4),
    ]
    for transform in [*transforms, *transforms]:
        close(transform(f), transform(expected), 1e-12)


def test_a_rule_that_closes_over_one_example_of_many_is_an_error() -> None:
    """It would be right for the first example alone."""

    def f(w: Any, x: Any) -> Any:
        @custom_vjp
        def inner(x: Any) -> Any:
            return w * x

        inner.defvjp(lambda x: (inner(x), x), lambda x, g: (g * w,))
        return inner(x)

    with pytest.raises(EscapedNodeError):
        grad(lambda xs: fgrad.sum(vmap(f)(xs, xs)))(np.arange(3.0))


def forked(x: Any) -> Any:
    return x * x


by_pullback, by_pushforward = custom_vjp(forked), custom_jvp(forked)
by_pullback.defvjp(lambda x: (x * x, x), lambda x, g: (10.0 * g,) if x > 0 else (-g,))
by_pushforward.defjvp(lambda p, t: (forked(*p), 10.0 * t[0] if p[0] > 0 else -t[0]))


@pytest.mark.parametrize("f", [by_pullback, by_pushforward])
def test_a_rule_cannot_branch_on_one_example_of_many(f: Any) -> None:
    """As no function can under vmap, wherever vmap stands."""
    xs = np.array([1.0, -2.0])
    for transform in (
        lambda: grad(lambda x: fgrad.sum(vmap(f)(x)))(xs),
        lambda: jvp(vmap(f), (xs,), (xs,)),
        lambda: vmap(grad(f))(xs),
    ):
        with pytest.raises(BranchError):
            transform()
    assert [grad(f)(x) for x in (1.0, -2.0)] == [10.0, -1.0]


def test_a_rule_that_is_a_closure_in_a_loop_gives_numbers() -> None:
    """Not traced values, whatever the loop makes of the node that the rule reaches."""

    def made(w: Any) -> Any:
        f = custom_vjp(lambda x: fgrad.sin(w * x))
        f.defvjp(lambda x: (fgrad.sin(w * x), x), lambda x, g: (g * w * fgrad.cos(w * x),))
        return f

    def looped(f: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda x, w: fgrad.scan(lambda c, y: (f(w)(c * y), None), x, np.array([1.0, 2.0, 3.0]))[0]

    found: Any = both(looped(made))(0.7, 0.5)
    assert all(type(g) is float for g in found)
    close(found, both(looped(lambda w: lambda x: fgrad.sin(w * x)))(0.7, 0.5))
    with pytest.raises(EscapedNodeError, match=r"pass it to <lambda> as an argument"):
        grad(lambda w: checkpoint(lambda w: made(w)(w))(w))(0.5)


def test_rules_cannot_write_to_the_arrays_of_a_walk() -> None:
    """They are other values' too."""
    f = custom_vjp(lambda x: x * 1.0)

    def backward(residuals: Any, g: Any) -> Any:
        g *= 2
        return (g,)

    f.defvjp(lambda x: (x * 1.0, None), backward)
    with pytest.raises(ValueError, match="read-only"):
        grad(lambda x: fgrad.sum(x * 3 + f(x)))(np.ones(2))


def test_masks_are_arguments_and_owned() -> None:
    """A boolean array, traced or not, goes to the rule; what is done to it later does not change a pullback."""
    f = custom_vjp(lambda x, mask: fgrad.where(mask, x, 0.0))
    f.defvjp(lambda x, mask: (f(x, mask), mask), lambda mask, g: (fgrad.where(mask, g, 0.0), None))
    x, mask = np.array([1.0, -2.0, 3.0]), np.array([True, False, True])
    _, pullback = vjp(lambda x: f(x, mask), x)
    mask[:] = False
    close(pullback(np.ones(3))[0], np.array([1.0, 0.0, 1.0]))
    expected = np.array([1.0, 0.0, 1.0])
    close(grad(lambda x: fgrad.sum(f(x, x > 0)))(x), expected)
    close(grad(lambda x: fgrad.sum(vmap(lambda x: f(x, x > 0))(x)))(x), expected)
    close(grad(lambda x: fgrad.sum(vmap(f)(x, x > 0)))(x), expected)
    close(grad(lambda x: fgrad.scan(lambda c, y: (c + f(y, y > 0), None), 0.0, x)[0])(x), expected)


def test_settings_and_library_functions() -> None:
    """Strings go to the rules as they are; a function's own keyword-only defaults are left alone."""
    f = custom_jvp(lambda x, how: fgrad.sin(x) if how == "sin" else x)
    f.defjvp(lambda p, t: (f(*p), t[0] * fgrad.cos(p[0]) if p[1] == "sin" else t[0]))
    assert grad(lambda x: f(x, "sin"))(0.0) == 1.0

    def scaled(x: float, *, by: float = 2.0) -> float:
        return x * by

    g = custom_vjp(scaled)
    g.defvjp(lambda x: (scaled(x), None), lambda _, g: (3.0 * g,))
    assert grad(g)(1.0) == 3.0


def test_pytrees_defaults_keywords_and_arguments_without_derivative() -> None:
    """Arguments and results are trees; keywords go to their places; `nondiff_argnums` are passed as they are."""

    @custom_vjp
    def affine(p: Any, x: Any, scale: float = 2.0) -> Any:
        return {"y": p["w"] * x * scale, "n": (p["b"],)}

    affine.defvjp(
        lambda p, x, scale: (affine(p, x, scale), (p, x, scale)),
        lambda kept, g: ({"w": g["y"] * kept[1] * kept[2], "b": g["n"][0]}, g["y"] * kept[0]["w"] * kept[2], None),
    )
    out, pullback = vjp(affine, {"w": 3.0, "b": 1.0}, 5.0)
    assert out == {"y": 30.0, "n": (1.0,)}
    assert pullback({"y": 1.0, "n": (7.0,)}) == ({"w": 10.0, "b": 7.0}, 6.0)
    assert grad(lambda x: affine(x=x, p={"w": 3.0, "b": 1.0}, scale=4.0)["y"])(5.0) == 12.0

    def power(x: Any, n: int) -> Any:
        return x**n

    ruled = custom_vjp(power, nondiff_argnums=(1,))
    ruled.defvjp(lambda x, n: (x**n, x), lambda n, x, g: (g * n * x ** (n - 1),))
    assert grad(ruled)(2.0, 3) == 12.0
    pushed = custom_jvp(power, nondiff_argnums=(1,))
    pushed.defjvp(lambda n, x, t: (x[0] ** n, t[0] * n * x[0] ** (n - 1)))
    assert grad(pushed)(2.0, 3) == jvp(lambda x: pushed(x, 3), (2.0,), (1.0,))[1] == 12.0


def test_checkpoint_computes_again_instead_of_remembering() -> None:
    """The peak memory of a long chain of checkpointed links is a fraction of that without; f itself runs once."""
    calls = []

    def link(x: Any) -> Any:
        calls.append(1)
        for _ in range(50):
            x = fgrad.sin(x) + 0.1
        return x

    def chain(link: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def f(x: Any) -> Any:
            for _ in range(20):
                x = link(x)
            return fgrad.sum(x)

        return f

    def peak(f: Callable[[Any], Any]) -> int:
        grad(f)(x)
        tracemalloc.start()
        grad(f)(x)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    x = np.linspace(0.0, 1.0, 1000)
    np.testing.assert_array_equal(grad(chain(checkpoint(link)))(x), grad(chain(link))(x))
    assert peak(chain(checkpoint(link))) < peak(chain(link)) / 5
    calls.clear()
    grad(chain(checkpoint(link)))(x)
    assert len(calls) == 20


def test_checkpoint_passes_on_what_is_no_number() -> None:
    """Settings, counts and labels go in, and constants come out, as they are; a branch may be decided."""

    def f(x: Any, how: str, n: int, labels: Any) -> Any:
        for _ in range(n):
            x = fgrad.tanh(x) if how == "tanh" else fgrad.sin(x)
        return {"y": fgrad.sum(x[labels]) if fgrad.sum(x) > 0 else -fgrad.sum(x), "how": 3}

    x, labels = np.array([0.3, 0.2, -0.1]), np.array([0, 2, 2])
    for how in ("tanh", "sin"):
        close(
            grad(lambda x, how=how: checkpoint(f)(x, how, n=2, labels=labels)["y"])(x),
            grad(lambda x, how=how: f(x, how, 2, labels)["y"])(x),
        )
    assert checkpoint(f)(x, "sin", 2, labels)["how"] == 3
    with pytest.raises(BranchError, match=r"many examples.*fgrad\.where"):
        vmap(checkpoint(lambda x: x if x > 0 else -x))(x)


def no_rule(x: Any) -> Any:
    return x


def make(forward: Any, backward: Any) -> Any:
    f = custom_vjp(no_rule)
    f.defvjp(forward, backward)
    return f


def make_forward(rule: Any) -> Any:
    f = custom_jvp(no_rule)
    f.defjvp(rule)
    return f


WRONG: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: grad(custom_vjp(no_rule))(1.0), ArgumentError, "no_rule.defvjp(forward, backward)"),
    (lambda: grad(custom_jvp(no_rule))(1.0), ArgumentError, "no_rule.defjvp(rule)"),
    (lambda: grad(make(lambda x: x, lambda r, g: (g,)))(1.0), OutputError, "the pair (result, residuals), not float"),
    (lambda: grad(make(lambda x: (x, None), lambda r, g: g))(1.0), OutputError, "a tuple with a cotangent for each"),
    (lambda: grad(make(lambda x: (x, None), lambda r, g: (g, g)))(1.0), OutputError, "each of its 1 arguments"),
    (
        lambda: grad(make(lambda x: (x, None), lambda r, g: (g * np.ones(3),)))(1.0),
        StructureError,
        "cotangent 0 by the rule of no_rule must have the shape (), not (3,)",
    ),
    (
        lambda: grad(make(lambda x: (x, None), lambda r, g: ({"a": g},)))(1.0),
        StructureError,
        "cotangent 0 by the rule of no_rule",
    ),
    (lambda: grad(make_forward(lambda p, t: p[0]))(1.0), OutputError, "the pair (result, tangent), not float"),
    (
        lambda: grad(make_forward(lambda p, t: (p[0], t)))(1.0),
        StructureError,
        "the tangent by the rule of no_rule",
    ),
    (lambda: custom_vjp(lambda *, x: x)(x=1.0), ArgumentError, "keyword-only"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[case[2] for case in WRONG])
def test_wrong_rules(call: Callable[[], object], error: type[Exception], message: str) -> None:
    """Each says which rule, what it gave, and what it must give."""
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
