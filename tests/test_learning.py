"""The training loops of micrograd's lecture and demo, in fgrad and in its peers: the same losses, step by step."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np
import pytest

from fgrad import jit, micro, nn, optim, relu, tree, value_and_grad
from tests.benchmarks.scalars import TINY_X, TINY_Y, micrograd_start, moons, start

STEPS = 100
Data = tuple[Sequence[Sequence[float]], Sequence[float], float]
"""Points, what they should give, and a learning rate."""


@attrs.frozen
class Lesson:
    """A network to begin with, what it is shown at each step, and its loss.

    That is a function of the network's outputs, what they should be, the sum of the squares of its parameters, and a
    library's relu.
    """

    sizes: tuple[int, ...]
    shown: Callable[[int], Data]
    loss: Callable[[Sequence[Any], Sequence[float], Any, Callable[[Any], Any]], Any]


def ten_moons(step: int) -> Data:
    """Ten of the demo's hundred points each time, and its learning rate."""
    x, y = moons()
    rows = [(10 * step + 7 * i) % 100 for i in range(10)]
    return [x[i] for i in rows], [y[i] for i in rows], 1.0 - 0.9 * step / STEPS


LESSONS = {
    "lecture": Lesson(
        (3, 4, 4, 1),
        lambda step: (TINY_X, TINY_Y, 0.02),
        lambda outs, ys, squares, relu: sum((out - y) ** 2 for out, y in zip(outs, ys, strict=True)),
    ),
    "demo": Lesson(
        (2, 16, 16, 1),
        ten_moons,
        lambda outs, ys, squares, relu: (
            sum(relu(1 + -y * out) for out, y in zip(outs, ys, strict=True)) * (1 / len(ys)) + 1e-4 * squares
        ),
    ),
}


def by_neurons(lesson: Lesson, *, compiled: bool) -> Iterator[float]:
    def loss(model: micro.MLP, x: Any, y: Any) -> Any:
        parameters: list[Any] = tree.leaves(model)
        return lesson.loss([model(point)[0] for point in x], y, sum(p * p for p in parameters), relu)

    both, model = value_and_grad(loss), start(lesson.sizes)
    step = jit(both) if compiled else both
    for i in range(STEPS):
        x, y, rate = lesson.shown(i)
        value, gradient = step(model, x, y)
        model = optim.sgd_step(model, gradient, rate)
        yield value


def matrices(lesson: Lesson) -> list[tuple[nn.Floats, nn.Floats]]:
    """The network to begin with: the weights (inputs, outputs) and the biases of each layer."""
    layers = start(lesson.sizes).layers
    return [(np.array([n.w for n in layer.neurons]).T, np.array([n.b for n in layer.neurons])) for layer in layers]


def by_layers(lesson: Lesson) -> Iterator[float]:
    def loss(model: nn.MLP, x: nn.Floats, y: nn.Floats) -> Any:
        parameters: list[Any] = tree.leaves(model)
        return lesson.loss(model(x)[:, 0], y, sum((p * p).sum() for p in parameters), relu)  # type: ignore[arg-type]  # a row of scores

    model, step = nn.MLP(tuple(nn.Linear(w, b) for w, b in matrices(lesson)), "relu"), value_and_grad(loss)
    for i in range(STEPS):
        x, y, rate = lesson.shown(i)
        value, gradient = step(model, np.array(x), np.array(y))
        model = optim.sgd_step(model, gradient, rate)
        yield float(value)


def by_torch(lesson: Lesson) -> Iterator[float]:
    torch: Any = pytest.importorskip("torch")
    parameters = [torch.tensor(p, requires_grad=True) for pair in matrices(lesson) for p in pair]
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    for i in range(STEPS):
        x, y, optimizer.param_groups[0]["lr"] = lesson.shown(i)
        out = torch.tensor(x, dtype=torch.float64)
        for place in range(0, len(parameters), 2):
            out = (torch.relu(out) if place else out) @ parameters[place] + parameters[place + 1]
        value = lesson.loss(out[:, 0], y, sum((p * p).sum() for p in parameters), torch.relu)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        yield value.item()


def by_micrograd(lesson: Lesson) -> Iterator[float]:
    engine: Any = pytest.importorskip("micrograd.engine")
    model = micrograd_start(lesson.sizes)
    for i in range(STEPS):
        x, y, rate = lesson.shown(i)
        squares = sum(p * p for p in model.parameters())
        value = lesson.loss([model(point) for point in x], y, squares, engine.Value.relu)
        model.zero_grad()
        value.backward()
        for p in model.parameters():
            p.data -= rate * p.grad
        yield value.data


@pytest.mark.parametrize("name", LESSONS)
@pytest.mark.parametrize(
    "peer",
    [partial(by_neurons, compiled=True), by_layers, by_torch, by_micrograd],
    ids=["compiled", "layers", "PyTorch", "micrograd"],
)
def test_a_hundred_steps_are_the_same(name: str, peer: Callable[[Lesson], Iterator[float]]) -> None:
    """From the same weights the same losses, to 1e-10; and they fall."""
    ours = [*by_neurons(LESSONS[name], compiled=False)]
    assert [*peer(LESSONS[name])] == pytest.approx(ours, rel=1e-10, abs=1e-12)
    assert len(ours) == STEPS
    assert sum(ours[-10:]) < 0.5 * sum(ours[:10])
