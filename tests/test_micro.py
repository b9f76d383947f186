"""micrograd's network: the lecture's training run, and its numbers against micrograd's."""

import numpy as np
import pytest

from fgrad import micro, nn, optim, relu, tree, value_and_grad
from fgrad.check import check_grads
from fgrad.errors import StructureError
from fgrad.random import Key

XS = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
YS = [1.0, -1.0, -1.0, 1.0]


def squared_error(model: micro.MLP) -> float:
    return sum((model(x)[0] - y) ** 2 for x, y in zip(XS, YS, strict=True))


def test_the_lectures_four_points() -> None:
    """MLP(3, [4, 4, 1]) trains to a loss under 1e-3; each step's parameters stay what they were."""
    model = first = micro.MLP.init([3, 4, 4, 1], seed=1337)
    leaves = tree.leaves(first)
    step = value_and_grad(squared_error)
    loss = np.inf
    for _ in range(400):
        loss, gradient = step(model)
        model = optim.sgd_step(model, gradient, 0.1)
    assert loss < 1e-3
    assert tree.leaves(first) == leaves
    assert step(first) == step(first)
    assert len(leaves) == 41


def test_the_gradient_is_a_network() -> None:
    model = micro.MLP.init([3, 2, 1], activations=["relu", "linear"])
    _, gradient = value_and_grad(squared_error)(model)
    assert isinstance(gradient, micro.MLP)
    assert [neuron.activation for layer in gradient.layers for neuron in layer.neurons] == ["relu", "relu", "linear"]
    check_grads(squared_error, (model,))


def test_as_micrograd() -> None:
    """The values and gradients of micrograd's own MLP, bit for bit where the order of its sums is ours."""
    micrograd = pytest.importorskip("micrograd.nn")
    model = micro.MLP.init([3, 4, 4, 1], seed=3, activations=["relu", "relu", "linear"])
    theirs = micrograd.MLP(3, [4, 4, 1])
    ours = [x for layer in model.layers for neuron in layer.neurons for x in (*neuron.w, neuron.b)]
    for p, x in zip(theirs.parameters(), ours, strict=True):
        p.data = x
    loss = sum((theirs(x) - y) ** 2 for x, y in zip(XS, YS, strict=True))
    loss.backward()
    value, gradient = value_and_grad(squared_error)(model)
    assert value == pytest.approx(loss.data, rel=1e-14)
    flat = [x for layer in gradient.layers for neuron in layer.neurons for x in (*neuron.w, neuron.b)]
    np.testing.assert_allclose(flat, [p.grad for p in theirs.parameters()], rtol=1e-13)


def test_init_follows_from_the_seed() -> None:
    assert micro.MLP.init([2, 3, 1], seed=5) == micro.MLP.init([2, 3, 1], seed=5)
    assert micro.MLP.init([2, 3, 1], seed=5) != micro.MLP.init([2, 3, 1], seed=6)
    with pytest.raises(ValueError, match="zip"):
        micro.MLP.init([2, 3, 1], activations=["tanh", "tanh", "tanh"])
    assert nn.MLP.init(Key(5), [2, 3, 1]) == nn.MLP.init(Key(5), [2, 3, 1])
    assert nn.MLP.init(Key(5), [2, 3, 1]) != nn.MLP.init(Key(6), [2, 3, 1])


def test_networks_on_arrays() -> None:
    """The losses of nn have the gradients of their formulas, on the network written neuron by neuron too."""
    rng = np.random.default_rng(0)
    x, labels, target = rng.normal(size=(7, 3)), rng.integers(0, 4, 7), rng.normal(size=(7, 4))
    for activation in ("tanh", "relu", "sigmoid", "softplus", "silu", "gelu"):
        model = nn.MLP.init(Key(2), [3, 5, 4], activation=activation)
        check_grads(lambda m, x: nn.cross_entropy(m(x), labels), (model, x))
        check_grads(lambda m, x: nn.mse(m(x), target), (model, x))
    logits = model(x)
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -log_softmax[np.arange(7), labels].mean()
    assert nn.cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-14)
    with pytest.raises(StructureError):
        nn.cross_entropy(logits, labels[:3])
    with pytest.raises(StructureError):
        nn.mse(logits, target[:3])


def test_an_array_network_equals_its_neurons() -> None:
    """The network of micro and nn's are the same function of the same numbers."""
    small = micro.MLP.init([3, 4, 1], seed=1, activations=["tanh", "linear"])
    layers = [
        nn.Linear(np.array([n.w for n in layer.neurons]).T, np.array([n.b for n in layer.neurons]))
        for layer in small.layers
    ]
    big = nn.MLP(tuple(layers))
    np.testing.assert_allclose(big(np.array(XS))[:, 0], [small(x)[0] for x in XS], rtol=1e-14)
    assert relu(-1.0) == 0.0
