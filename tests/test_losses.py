"""Losses and metrics: what PyTorch and scikit-learn give, in values and gradients, and what they refuse."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fgrad import check_grads, errors, grad, jit, log_softmax, micro, nn, value_and_grad, vmap
from fgrad.random import Key, normal

ROWS, CLASSES = 7, 4
Loss = Callable[..., float]


def numbers(seed: int, *shape: int) -> nn.Floats:
    return normal(Key(seed), shape)


def some_labels() -> nn.Integers:
    return np.array([0, 3, 1, 1, 2, 0, 3])


def torch_gradient(f: Callable[..., Any], x: nn.Floats, *rest: object) -> tuple[Any, Any]:
    """PyTorch's value of f, and its gradient with respect to x."""
    torch = pytest.importorskip("torch")
    leaf = torch.tensor(x, requires_grad=True)
    value = f(torch.nn.functional, leaf, *map(torch.tensor, rest))
    value.backward()
    return value.detach().numpy(), leaf.grad.numpy()


Case = tuple[str, Loss, Callable[..., Any], tuple[Any, ...]]
SIGNS = np.sign(numbers(3, ROWS, CLASSES))
CASES: list[Case] = [
    ("mse", nn.mse, lambda f, x, y: f.mse_loss(x, y), (numbers(0, ROWS, CLASSES), numbers(1, ROWS, CLASSES))),
    ("mae", nn.mae, lambda f, x, y: f.l1_loss(x, y), (numbers(0, ROWS, CLASSES), numbers(1, ROWS, CLASSES))),
    *[
        (
            f"huber {delta}",
            lambda x, y, delta=delta: nn.huber(x, y, delta=delta),
            lambda f, x, y, delta=delta: f.huber_loss(x, y, delta=delta),
            (numbers(0, ROWS, CLASSES), numbers(1, ROWS, CLASSES)),
        )
        for delta in (1.0, 0.3)
    ],
    ("hinge", nn.hinge, lambda f, x, y: (1 - y * x).relu().mean(), (numbers(0, ROWS, CLASSES), SIGNS)),
    *[
        (
            f"cross-entropy {smoothing}",
            lambda x, y, s=smoothing: nn.cross_entropy(x, y, smoothing=s),
            lambda f, x, y, s=smoothing: f.cross_entropy(x, y, label_smoothing=s),
            (numbers(0, ROWS, CLASSES) * size, some_labels()),
        )
        for smoothing in (0.0, 0.1, 1.0)
        for size in (1.0, 1e3)
    ],
    *[
        (
            f"binary cross-entropy {smoothing}",
            lambda x, y, s=smoothing: nn.binary_cross_entropy(x, y, smoothing=s),
            lambda f, x, y, s=smoothing: f.binary_cross_entropy_with_logits(x, y * (1 - s) + s / 2),
            (numbers(0, ROWS, CLASSES) * size, (SIGNS + 1) / 2),
        )
        for smoothing in (0.0, 0.1)
        for size in (1.0, 1e3)
    ],
    (
        "divergence, by q",
        lambda q, p: nn.kl_divergence(p, q),
        lambda f, q, p: f.kl_div(q, p, log_target=True, reduction="batchmean"),
        (log_softmax(numbers(0, ROWS, CLASSES)), log_softmax(numbers(1, ROWS, CLASSES))),
    ),
    (
        "divergence, by p",
        nn.kl_divergence,
        lambda f, p, q: f.kl_div(q, p, log_target=True, reduction="batchmean"),
        (log_softmax(numbers(0, ROWS, CLASSES)), log_softmax(numbers(1, ROWS, CLASSES))),
    ),
]
PARAMS = [pytest.param(*case[1:], id=case[0]) for case in CASES]


@pytest.mark.parametrize(("ours", "theirs", "args"), PARAMS)
def test_losses_are_pytorchs(ours: Loss, theirs: Callable[..., Any], args: tuple[Any, ...]) -> None:
    value, gradient = value_and_grad(ours)(*args)
    expected, slope = torch_gradient(theirs, *args)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(gradient, slope, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("ours", "theirs", "args"), PARAMS)
def test_losses_in_every_transform(ours: Loss, theirs: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Compiled they are what they are eagerly, labels being arguments too; over examples their mean is the loss."""
    value, gradient = value_and_grad(ours)(*args)
    compiled, slope = jit(value_and_grad(ours))(*args)
    np.testing.assert_allclose(compiled, value, rtol=1e-13)
    np.testing.assert_allclose(slope, gradient, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(np.mean(vmap(ours)(*args)), value, rtol=1e-13)
    np.testing.assert_allclose(np.mean(jit(vmap(ours))(*args)), value, rtol=1e-13)
    small = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in args]
    narrow, slope = value_and_grad(ours)(*small)
    assert narrow.dtype == slope.dtype == np.float32
    np.testing.assert_allclose(narrow, value, rtol=1e-5)


def test_losses_have_second_derivatives() -> None:
    """Also where logits are 0, as they are to begin with."""
    x, y = numbers(0, 3, CLASSES), numbers(1, 3, CLASSES)
    check_grads(lambda x: nn.binary_cross_entropy(x, (np.sign(y) + 1) / 2, smoothing=0.1), (x,))
    check_grads(lambda x: nn.binary_cross_entropy(x, (np.sign(y) + 1) / 2), (np.zeros((3, CLASSES)),))
    check_grads(lambda x: nn.cross_entropy(x, np.array([0, 2, 1]), smoothing=0.1), (x,))
    check_grads(lambda x: nn.huber(x, y), (x,))
    check_grads(lambda x, y: nn.kl_divergence(log_softmax(x), log_softmax(y)), (x, y))


def test_the_hinge_loss_is_micrograds() -> None:
    """relu(1 - y·score), averaged, plus alpha times the sum of squares of all weights and biases."""
    model = micro.MLP.init([2, 3, 1], seed=1)
    xs, ys = numbers(0, 5, 2), np.array([1, -1, 1, 1, -1])
    scores = np.array([model(x)[0] for x in xs])
    by_hand = sum(max(0.0, 1 - y * s) for y, s in zip(ys, scores, strict=True)) / 5
    assert nn.hinge(scores, ys) == pytest.approx(by_hand, rel=1e-14)
    leaves = [p for layer in model.layers for neuron in layer.neurons for p in (*neuron.w, neuron.b)]
    assert nn.l2_penalty(model) == pytest.approx(sum(p * p for p in leaves), rel=1e-14)
    assert nn.l1_penalty(model) == pytest.approx(sum(map(abs, leaves)), rel=1e-14)


def test_penalties_of_any_tree() -> None:
    """Their gradients are the signs, and twice the leaves, in the tree's own type."""
    model = nn.MLP.init(Key(0), [3, 2])
    w = model.layers[0].w
    for penalty, slope in ((nn.l1_penalty, np.sign(w)), (nn.l2_penalty, 2 * w)):
        gradient = grad(penalty)(model)
        assert isinstance(gradient, nn.MLP)
        np.testing.assert_array_equal(gradient.layers[0].w, slope)
    assert nn.l1_penalty({}) == nn.l2_penalty(()) == 0.0
    assert jit(nn.l2_penalty)(model) == pytest.approx(nn.l2_penalty(model), rel=1e-14)


def test_what_is_impossible_adds_nothing_to_the_divergence() -> None:
    """Where p is 0, whatever q is there; where q alone is 0, all is lost."""
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    with np.errstate(divide="ignore"):
        log_p, log_q = np.log(p), np.log(q)
    assert nn.kl_divergence(log_p, log_q) == pytest.approx(np.log(2))
    assert nn.kl_divergence(log_p, log_p) == 0.0
    assert nn.kl_divergence(log_q, log_p) == np.inf
    assert np.isfinite(grad(nn.kl_divergence, (0, 1))(log_p, log_q)).all()


def test_what_does_not_fit_is_refused() -> None:
    x, labels = numbers(0, ROWS, CLASSES), some_labels()
    for loss in (nn.mse, nn.mae, nn.huber, nn.hinge, nn.binary_cross_entropy, nn.kl_divergence):
        with pytest.raises(errors.StructureError, match=r"targets of shape \(7,\).*predictions of shape \(7, 4\)"):
            loss(x, x[:, 0])
    wrong: Any
    for wrong in (labels[:3], x, labels[:, None]):
        with pytest.raises(errors.StructureError, match="one axis more"):
            nn.cross_entropy(x, wrong)
    with pytest.raises(errors.StructureError, match="one axis more"):
        nn.cross_entropy(x[0, 0], 1)
    with pytest.raises(ValueError, match="2 \\* labels - 1"):
        nn.hinge(x[:, 0], labels)


@pytest.mark.parametrize("wrong", [-1, CLASSES])
def test_labels_are_classes(wrong: int) -> None:
    x, labels = numbers(0, ROWS, CLASSES), some_labels()
    bad = np.where(labels == 3, wrong, labels)
    for loss in (nn.cross_entropy, grad(nn.cross_entropy), jit(nn.cross_entropy)):
        with pytest.raises(IndexError, match=f"from 0 to 3: there is a {wrong}"):
            loss(x, bad)
    with pytest.raises(IndexError, match="labels"):
        nn.confusion_matrix(bad, labels, CLASSES)
    with pytest.raises(IndexError, match="predictions"):
        nn.confusion_matrix(labels, bad, CLASSES)
    with pytest.raises(errors.ArgumentError, match="astype"):
        nn.cross_entropy(x, labels * 1.0)  # type: ignore[arg-type]  # floats, which is the error


def test_one_row_is_an_example() -> None:
    """Without leading axes, and with many, losses mean the same."""
    x, labels = numbers(0, 2, 3, CLASSES), np.array([[0, 1, 2], [3, 2, 1]])
    each = [[nn.cross_entropy(x[i, j], labels[i, j]) for j in range(3)] for i in range(2)]
    assert nn.cross_entropy(x, labels) == pytest.approx(np.mean(each), rel=1e-14)


def test_accuracy() -> None:
    """The share of rows whose greatest logit is their label's, eagerly, compiled, and over examples."""
    sklearn = pytest.importorskip("sklearn.metrics")
    x, labels = numbers(0, ROWS, CLASSES), some_labels()
    expected = sklearn.accuracy_score(labels, x.argmax(-1))
    assert nn.accuracy(x, labels) == jit(nn.accuracy)(x, labels) == pytest.approx(expected)
    assert np.mean(vmap(nn.accuracy)(x, labels)) == pytest.approx(expected)
    scores = x[:, 0]
    targets: Any
    for targets in (labels > 1, np.where(labels > 1, 1, -1), (labels > 1) * 1.0):
        assert nn.accuracy(scores, targets) == pytest.approx(np.mean((scores > 0) == (labels > 1)))
    with pytest.raises(errors.StructureError):
        nn.accuracy(x, labels[:3])


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_confusion_matrix(dtype: type[np.int64]) -> None:
    """Rows are the truth; with many classes too, whatever integers they are written in."""
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 30, (2, 50, 4)).astype(dtype)
    found = nn.confusion_matrix(labels, predicted, 30)
    np.testing.assert_array_equal(
        found, sklearn.confusion_matrix(labels.ravel(), predicted.ravel(), labels=list(range(30)))
    )
    assert found.trace() / found.sum() == pytest.approx(np.mean(labels == predicted))
    with pytest.raises(errors.StructureError):
        nn.confusion_matrix(labels, predicted[0], 30)


def test_smoothing_is_differentiated_where_it_is_none() -> None:
    logits, labels = normal(Key(1), (4, 3)), np.array([0, 1, 2, 0])
    losses: list[Callable[[Any], Any]] = [
        lambda s: nn.cross_entropy(logits, labels, smoothing=s),
        lambda s: nn.binary_cross_entropy(logits, logits > 0, smoothing=s),
    ]
    for loss in losses:
        check_grads(loss, (0.0,))
        assert vmap(loss)(np.array([0.0, 0.1])) == pytest.approx([loss(0.0), loss(0.1)], rel=1e-12)


def test_a_compiled_loss_refuses_labels_that_are_no_classes() -> None:
    """Also those of a later call, and below 0, where an index would count from the end."""
    loss, table = jit(nn.cross_entropy), nn.Embedding.init(Key(0), 3, 2)
    look: Any = jit(lambda table, i: table(i))
    assert loss(np.zeros((1, 3)), np.array([2])) == pytest.approx(np.log(3))
    look(table, np.array([2]))
    for wrong in (-1, 3, -3):
        with pytest.raises(IndexError, match="out of bounds"):
            loss(np.zeros((1, 3)), np.array([wrong]))
        with pytest.raises(IndexError, match="out of bounds"):
            look(table, np.array([wrong]))
