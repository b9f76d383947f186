"""vmap is the loop, over every row and under every transform; Jacobians and Hessians are their rows by any road."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import grad, hessian, hvp, jacfwd, jacobian, jacrev, jvp, linearize, value_and_grad, vjp, vmap
from fgrad.errors import ArgumentError, BranchError, ConversionError, LeafError, StructureError
from tests.expressions import Floats
from tests.oracles import close
from tests.sample import Sample
from tests.test_ops import CONSTANT, NAMES, SAMPLES, on_fgrad, over, some

# The result's shape depends on the data: an error under vmap.
DATA_DEPENDENT = [s for s in SAMPLES["getitem"] if re.search(r"x\[x > 0\]|argmax\(x\) \+ 1", inspect.getsource(s.call))]
ROWS = [name for name in NAMES if name not in CONSTANT]
FACTORS = (1.0, 0.999, 1.001)


def examples(x: Any) -> Any:
    return np.stack([np.asarray(x * k, np.asarray(x).dtype) for k in FACTORS])


def loop(f: Callable[..., Any], args: tuple[Any, ...], batched: tuple[bool, ...]) -> Any:
    """Call f on one example after the other, and stack the results, leaf by leaf."""
    results = [f(*[x[i] if flag else x for x, flag in zip(args, batched, strict=True)]) for i in range(len(FACTORS))]
    if isinstance(results[0], tuple):
        return tuple(np.stack(column) for column in zip(*results, strict=True))
    return np.stack(results)


@over(NAMES)
def test_vmap_is_the_loop(sample: Sample) -> None:
    """Over all arguments, and over each alone, vmap agrees with the loop to rounding."""
    f, args = on_fgrad(sample), sample.args
    if sample in DATA_DEPENDENT:
        with pytest.raises(BranchError, match=r"fgrad\.where"):
            vmap(f)(*[examples(x) for x in args])
        return
    masks = [(True,) * len(args), *[tuple(i == k for k in range(len(args))) for i in range(len(args))]]
    for mask in dict.fromkeys(masks):
        batch = tuple(examples(x) if flag else x for x, flag in zip(args, mask, strict=True))
        axes = tuple(0 if flag else None for flag in mask)
        with np.errstate(all="ignore"):
            close(vmap(f, axes)(*batch), loop(f, batch, mask), 1e-11, 1e-12)


@over(ROWS)
def test_vmap_of_derivatives_is_the_loop(sample: Sample) -> None:
    """Per-example pullbacks, tangents and second derivatives agree with the loop."""
    if sample in DATA_DEPENDENT:
        return  # see above
    f, args = on_fgrad(sample), sample.args
    w = some(vjp(f, *args)[0])
    v = tuple(some(x) for x in args)
    batch = tuple(examples(x) for x in args)
    mask = (True,) * len(args)

    def pulled(*args: Any) -> Any:
        return vjp(f, *args)[1](w)

    def tangent(*args: Any) -> Any:
        return jvp(f, args, v)[1]

    def twice(*args: Any) -> Any:
        return jvp(pulled, args, v)[1]

    for g in (pulled, tangent, twice):
        close(vmap(g)(*batch), loop(g, batch, mask), 1e-8, 1e-8)


@over(ROWS)
def test_grad_of_vmap_is_the_sum_of_gradients(sample: Sample) -> None:
    """The gradient of Σ over examples is each example's own."""
    if sample in DATA_DEPENDENT:
        return  # see above
    f, args = on_fgrad(sample), sample.args
    w = some(vjp(f, *args)[0])
    batch = tuple(examples(x) for x in args)

    def total(*args: Any) -> Any:
        return fgrad.sum(vmap(f)(*args) * w)

    def one(*args: Any) -> Any:
        return vjp(f, *args)[1](w)

    found: Any = grad(total, tuple(range(len(args))))(*batch)
    close(found, loop(one, batch, (True,) * len(args)), 1e-8, 1e-8)


def model(w: Floats, b: Floats, x: Floats) -> Floats:
    return fgrad.softmax(fgrad.tanh(x @ w + b) @ fgrad.matrix_transpose(w))


def test_axes() -> None:
    """in_axes and out_axes are integers, None, or pytrees that are prefixes; keywords lie along axis 0; nested too."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 3)), rng.normal(size=(3, 4))
    expected = np.stack([row @ w for row in x])
    close(vmap(lambda x, w: x @ w, (0, None))(x, w), expected)
    close(vmap(lambda x, w: x @ w, (1, None))(x.T, w), expected)
    close(vmap(lambda x, w: x @ w, (-1, None), out_axes=1)(x.T, w), expected.T)
    close(vmap(lambda p: p["x"] @ p["w"], ({"x": 0, "w": None},))({"x": x, "w": w}), expected)
    close(vmap(lambda p, q: p["x"] @ p["w"] * q, (None, 0))({"x": x[0], "w": w}, np.arange(5.0))[2], 2 * expected[0])
    close(vmap(lambda *, x: x @ w)(x=x), expected)
    close(
        vmap(vmap(lambda a, b: a * b, (None, 0)), (0, None))(np.arange(3.0), np.arange(2.0)),
        np.outer(np.arange(3.0), np.arange(2.0)),
    )
    pair: Any = vmap(lambda x: {"a": x, "b": 7.0}, out_axes={"a": 1, "b": 0})(x)
    close(pair["a"], x.T)
    close(pair["b"], np.full(5, 7.0))
    once: Any = vmap(lambda x: (x, 7.0), out_axes=(0, None))(x)
    assert once[1] == 7.0  # what is the same for all, once


def test_integers_and_booleans_are_batched_as_they_are() -> None:
    """Labels index, masks choose."""
    logits, labels = np.arange(12.0).reshape(4, 3), np.array([2, 0, 1, 1])
    close(vmap(lambda x, i: x[i])(logits, labels), np.array([2.0, 3.0, 7.0, 10.0]))
    close(vmap(lambda x, m: fgrad.where(m, x, -x))(np.arange(2.0), np.array([True, False])), np.array([0.0, -1.0]))
    table = np.arange(6.0).reshape(3, 2)
    close(vmap(lambda i: fgrad.getitem(table, (i, 0)) + 0.0)(np.array([2, 0])), table[[2, 0], 0])
    with pytest.raises(ConversionError, match=r"fgrad\.getitem"):
        vmap(lambda i: table[i])(np.array([2, 0]))
    close(vmap(lambda i: table[1] * 0 + fgrad.take(table, i, axis=0))(np.array([2, 0])), table[[2, 0]])


def test_an_empty_batch() -> None:
    """No examples give no results, of the right shape."""
    assert vmap(lambda x: fgrad.log(x) @ np.ones((3, 2)))(np.zeros((0, 3))).shape == (0, 2)


def test_per_example_gradients_of_an_array_loss() -> None:
    """Vmap of grad gives what a loop of grad gives; their mean is the gradient of the mean loss."""
    rng = np.random.default_rng(1)
    w, b, xs = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=(6, 3))

    def loss(w: Floats, b: Floats, x: Floats) -> float:
        return fgrad.sum(model(w, b, x) ** 2)

    each: Any = vmap(grad(loss, (0, 1)), (None, None, 0))(w, b, xs)
    looped = [grad(loss, (0, 1))(w, b, x) for x in xs]
    close(each, tuple(np.stack(g) for g in zip(*looped, strict=True)))
    mean: Any = grad(lambda w: fgrad.mean(vmap(loss, (None, None, 0))(w, b, xs)))(w)
    close(mean, each[0].mean(0), 1e-12)
    values: Any = vmap(value_and_grad(loss), (None, None, 0))(w, b, xs)
    close(values[0], np.array([loss(w, b, x) for x in xs]))
    whole: Any = vmap(hessian(lambda x: loss(w, b, x)))(xs)
    close(whole, np.stack([np.asarray(hessian(lambda x: loss(w, b, x))(x)) for x in xs]), 1e-10, 1e-12)


def test_seven_routes_to_one_hessian() -> None:
    """Forward and reverse in all orders, and products with unit vectors in three ways."""
    rng = np.random.default_rng(2)
    x, eye = rng.normal(size=5), np.eye(5)

    def f(x: Any) -> Any:
        return fgrad.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2) * fgrad.tanh(x[0])

    gradient: Callable[[Any], Any] = grad(f)
    routes: list[Any] = [
        hessian(f)(x),
        jacfwd(jacrev(f))(x),
        jacrev(jacfwd(f))(x),
        jacrev(jacrev(f))(x),
        jacfwd(jacfwd(f))(x),
        vmap(lambda v: hvp(f, (x,), (v,)))(eye),
        np.stack([vjp(gradient, x)[1](v)[0] for v in eye]),
        vmap(linearize(gradient, x)[1])(eye),
    ]
    h = 1e-6
    numeric = np.stack([(gradient(x + h * v) - gradient(x - h * v)) / (2 * h) for v in eye])
    close(routes[0], numeric, 1e-5, 1e-4)
    for other in routes[1:]:
        close(other, routes[0], 1e-11, 1e-11)
    close(routes[0], routes[0].T, 1e-12, 1e-12)


def test_jacobians_of_trees() -> None:
    """A tree like the result, of trees like the inputs, of blocks; all three names agree; in all forms of grad."""

    def f(p: Any, s: Any) -> Any:
        return {"y": p["w"] @ p["x"] * s, "n": fgrad.sum(p["x"])}

    rng = np.random.default_rng(3)
    p = {"w": rng.normal(size=(2, 3)), "x": rng.normal(size=3)}
    for transform in (jacobian, jacfwd, jacrev):
        found: Any = transform(f, (0, 1))(p, 2.0)
        assert list(found) == ["y", "n"]
        (of_p, of_s) = found["y"]
        assert of_p["w"].shape == (2, 2, 3)
        close(of_p["x"], 2.0 * p["w"])
        close(of_s, p["w"] @ p["x"])
        close(found["n"][0]["x"], np.ones(3))
        assert found["n"][1] == 0.0
        assert isinstance(found["n"][1], float)
        one: Any = transform(lambda a, b: (a * b, a + b))(a=2.0, b=3.0)
        assert one == ({"a": 3.0, "b": 2.0}, {"a": 1.0, "b": 1.0})
        assert transform(lambda x: (x * x, "kept"), has_aux=True)(3.0) == (6.0, "kept")
    assert hessian(lambda a, b: a * a * b)({"a": 2.0, "b": 3.0}) == {
        "a": {"a": 6.0, "b": 4.0},
        "b": {"a": 4.0, "b": 0.0},
    }
    blocks: Any = hessian(lambda p: p["x"] @ p["x"] * p["s"])({"x": np.ones(2), "s": 3.0})
    close(blocks["x"]["x"], 6.0 * np.eye(2))
    close(blocks["s"]["x"], np.full(2, 2.0))


def test_jacobians_carry_outer_gradients() -> None:
    """A Jacobian inside a function that is differentiated keeps its gradient."""

    def f(w: float) -> Any:
        block: Any = jacobian(lambda x: fgrad.sin(w * x))(np.array([0.3, 0.7]))
        return fgrad.sum(block)  # w cos(0.3 w) + w cos(0.7 w)

    w = 1.2
    expected = sum(np.cos(w * x) - w * x * np.sin(w * x) for x in (0.3, 0.7))
    assert grad(f)(w) == pytest.approx(expected, rel=1e-14)


WRONG: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: vmap(lambda x: x if x > 0 else -x)(np.ones(3)), BranchError, "fgrad.where"),
    (lambda: vmap(lambda x: x if x > 0 else -x)(np.ones(3)), BranchError, "test_batch.py"),
    (lambda: vmap(lambda x, i: [1, 2][i] * x)(np.ones(2), np.array([0, 1])), BranchError, "fgrad.where"),
    (lambda: vmap(grad(lambda x: x if x > 0 else -x))(np.ones(3)), BranchError, "fgrad.where"),
    (lambda: vmap(lambda x, p: x)(np.ones(3), {"a": np.ones(2)}), StructureError, "x has 3 examples, but p['a'] has 2"),
    (lambda: vmap(lambda x: x)(1.0), StructureError, "x has the shape (), which has no axis 0"),
    (lambda: vmap(lambda x: x, 2)(np.ones((1, 2))), StructureError, "no axis 2"),
    (lambda: vmap(lambda x, y: x, (0,))(np.ones(2), 1.0), ArgumentError, "1 entries for 2 positional"),
    (lambda: vmap(lambda x: x, None)(np.ones(2)), ArgumentError, "all of in_axes is None"),
    (lambda: vmap(lambda x: x, out_axes=None)(np.ones(2)), StructureError, "out_axes is None"),
    (lambda: vmap(lambda p: p["a"], ({"b": 0},))({"a": np.ones(2)}), StructureError, "is no prefix"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[case[2] for case in WRONG])
def test_wrong_calls(call: Callable[[], object], error: type[Exception], message: str) -> None:
    """Each says what happened, where, and what to write."""
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


def test_a_shared_value_may_decide_a_branch() -> None:
    """Only what differs from example to example cannot: an outer gradient's value can."""

    def f(w: float) -> Any:
        return fgrad.sum(vmap(lambda x: x * w if w > 0 else x)(np.arange(3.0)))

    assert grad(f)(2.0) == 3.0


def test_batches_of_integers_are_differentiated_as_floats() -> None:
    """As grad takes integers as floats, so does vmap of grad; booleans are refused as in grad."""
    n = np.array([1, 2, 3])
    close(vmap(grad(lambda x: 0.3 * x * x))(n), 0.6 * n)
    whole: Any = vmap(hessian(lambda x: 0.3 * x * x))(n)
    close(whole, np.full(3, 0.6))
    with pytest.raises(LeafError, match="bool"):
        vmap(grad(lambda x: 1.0 * x))(np.array([True, False]))


INDICES: list[tuple[Callable[[Any, Any], Any], tuple[int, ...], tuple[int, ...]]] = [
    (lambda x, i: x[i], (4,), ()),
    (lambda x, i: x[i], (4, 2), (3,)),
    (lambda x, i: x[0, i], (2, 4), (3,)),
    (lambda x, i: x[:, i], (2, 4), (3,)),
    (lambda x, i: x[..., i], (2, 3, 4), (2,)),
    (lambda x, i: x[:, i, 1:], (2, 4, 3), ()),
    (lambda x, i: x[None, :, i], (2, 4), (3,)),
    (lambda x, i: x[i, :, i], (4, 2, 4), (3,)),
    (lambda x, i: x[:, i, np.array([0, 1, 0])], (2, 4, 2), (3,)),
    (lambda x, i: x[i, None, np.array([[0], [1]])], (4, 2), (3,)),
]


@pytest.mark.parametrize(("f", "shape", "picks"), INDICES)
def test_indices_that_differ_from_example_to_example(
    f: Callable[[Any, Any], Any], shape: tuple[int, ...], picks: tuple[int, ...]
) -> None:
    """An index by batched arrays, at any place, is the loop's; and so are its derivatives, also where x is shared."""
    rng = np.random.default_rng(0)
    x, i = rng.normal(size=(3, *shape)), rng.integers(0, 4, (3, *picks))
    close(vmap(f)(x, i), loop(f, (x, i), (True, True)))

    def gradient(x: Any, i: Any) -> Any:
        return grad(lambda x: fgrad.sum(f(x, i) ** 2))(x)

    close(vmap(gradient)(x, i), loop(gradient, (x, i), (True, True)))
    close(vmap(gradient, (None, 0))(x[0], i), loop(gradient, (x[0], i), (False, True)))


def test_jacobians_of_what_sorts() -> None:
    """Indices that come from the data, in a batch, under a Jacobian."""
    x = np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    found: Any = vmap(jacrev(lambda x: x[fgrad.argsort(x)]))(x)
    close(found, np.stack([np.eye(3)[np.argsort(row)] for row in x]))
    curved: Any = vmap(hessian(lambda x: x[fgrad.argmax(x)] ** 2))(x)
    close(curved, np.stack([np.diag([2.0, 0, 0]), np.diag([0, 0, 2.0])]))


def test_jacobians_have_the_kind_of_their_inputs() -> None:
    """Python floats give floats, NumPy scalars give NumPy scalars, arrays arrays."""
    for x, kind in ((2.0, float), (2, float), (np.float64(2), np.float64), (np.float32(2), np.float32)):
        assert type(jacobian(lambda x: x * x)(x)) is kind
        assert type(hessian(lambda x: x * x * x)(x)) is kind
    assert jacobian(lambda x: 3)(2.0) == 0.0


def test_small_cases() -> None:
    """No inputs have no Jacobian; an empty batch may index; a flattening sort is batched."""
    assert jacfwd(lambda x: 2.0)(()) == jacrev(lambda x: 2.0)(()) == ()
    assert vmap(lambda i: fgrad.getitem(np.ones(1), i) + 0.0)(np.zeros(0, int)).shape == (0,)
    x = np.array([[[3.0, 1.0], [2.0, 0.0]]])
    close(vmap(lambda x: 1.0 * np.argsort(x, None))(x), np.array([[3.0, 1.0, 2.0, 0.0]]))
    with pytest.raises(StructureError, match=r"x has 3 examples, but training has 2"):
        vmap(lambda x, *, training: x)(np.ones(3), training=np.ones(2))
