"""Works on arrays, eager, in float64: a network for digits, and one for moons with matrices; value and gradient."""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from fgrad import nn, relu, tree, value_and_grad
from fgrad.random import Key
from tests.benchmarks.measure import keep_pages
from tests.benchmarks.scalars import moons
from tests.benchmarks.work import Make, Run, Target, Work

Layers: TypeAlias = list[tuple[nn.Floats, nn.Floats]]


@attrs.frozen
class Task:
    """Points, labels (-1 and 1, or a class for each), and a network with relu between its layers."""

    x: nn.Floats
    y: Any
    model: nn.MLP
    classes: bool

    @property
    def layers(self) -> Layers:
        """The weights and biases."""
        return [(layer.w, layer.b) for layer in self.model.layers]


def digits_task() -> Task:
    """64-128-64-10, a batch of 128, cross-entropy."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 1, (128, 64)), rng.integers(0, 10, 128)
    return Task(x, y, nn.MLP.init(Key(0), [64, 128, 64, 10], activation="relu"), classes=True)


def moons_task() -> Task:
    """2-16-16-1, 100 points, the loss of a support vector machine."""
    x, y = moons()
    model = nn.MLP.init(Key(0), [2, 16, 16, 1], activation="relu")
    return Task(np.array(x), np.array(y)[:, None], model, classes=False)


def flat(value: Any, gradients: Sequence[Any]) -> Sequence[float]:
    return [float(value), *(float(x) for g in gradients for x in np.asarray(g).ravel())]


def eager(task: Task) -> Run:
    def loss(model: nn.MLP) -> float:
        out = model(task.x)
        return nn.cross_entropy(out, task.y) if task.classes else relu(1 - task.y * out).mean()

    both = value_and_grad(loss)
    return Run(lambda: both(task.model), lambda result: flat(result[0], tree.leaves(result[1])))


def _hips(task: Task) -> Run:
    import autograd
    import autograd.numpy as anp
    from autograd.scipy.special import logsumexp

    hot = np.eye(10)[task.y] if task.classes else None

    def loss(layers: Any) -> Any:
        out: Any = task.x
        for i, (w, b) in enumerate(layers):
            out = anp.dot(anp.maximum(out, 0.0) if i else out, w) + b
        if hot is None:
            return anp.mean(anp.maximum(1 - task.y * out, 0.0))
        return -anp.sum((out - logsumexp(out, axis=1, keepdims=True)) * hot) / len(hot)

    both, layers = autograd.value_and_grad(loss), task.layers
    return Run(lambda: both(layers), lambda result: flat(result[0], [g for pair in result[1] for g in pair]))


def _torch(task: Task, threads: int) -> Run:
    """As PyTorch's users write it: modules, and gradients that are zeroed before each pass."""
    import torch

    modules: list[torch.nn.Module] = []
    for w, b in task.layers:
        linear = torch.nn.Linear(w.shape[0], w.shape[1], dtype=torch.float64)
        linear.weight.data, linear.bias.data = torch.tensor(w.T), torch.tensor(b)
        modules += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    x, y, loss_of = torch.tensor(task.x), torch.tensor(task.y), _torch_loss(task)

    def call() -> Any:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        model.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        return loss

    # PyTorch keeps weights as (out, in).
    return Run(call, lambda loss: flat(loss.detach(), [np.asarray(p.grad).T for p in model.parameters()]))


def _torch_functions(task: Task) -> Run:
    """Without modules, which spares PyTorch some of its work."""
    import torch

    x, y, loss_of = torch.tensor(task.x), torch.tensor(task.y), _torch_loss(task)
    parameters = [torch.tensor(p, requires_grad=True) for pair in task.layers for p in pair]

    def call() -> Any:
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
        out = x
        for i in range(0, len(parameters), 2):
            out = torch.addmm(parameters[i + 1], torch.relu(out) if i else out, parameters[i])
        loss = loss_of(out, y)
        return loss, torch.autograd.grad(loss, parameters)

    return Run(call, lambda result: flat(result[0].detach(), result[1]))


def _torch_loss(task: Task) -> Callable[[Any, Any], Any]:
    import torch

    if task.classes:
        loss: Callable[[Any, Any], Any] = torch.nn.functional.cross_entropy
        return loss
    return lambda out, y: torch.relu(1 - y * out).mean()


def by_hand(task: Task) -> Run:
    """The chain rule, written out."""
    (w1, b1), (w2, b2), (w3, b3) = task.layers
    x, y, n = task.x, task.y, len(task.x)
    rows = np.arange(n)

    def call() -> Any:
        a1 = np.maximum(x @ w1 + b1, 0)
        a2 = np.maximum(a1 @ w2 + b2, 0)
        out = a2 @ w3 + b3
        if task.classes:
            e = np.exp(out - out.max(1, keepdims=True))
            d = e / e.sum(1, keepdims=True)
            loss = -np.log(d[rows, y]).mean()
            d[rows, y] -= 1
            d /= n
        else:
            margin = 1 - y * out
            loss = np.maximum(margin, 0).mean()
            d = (margin > 0) * -y / n
        d2 = d @ w3.T * (a2 > 0)
        d1 = d2 @ w2.T * (a1 > 0)
        return loss, [x.T @ d1, d1.sum(0), a1.T @ d2, d2.sum(0), a2.T @ d, d.sum(0)]

    return Run(call, lambda result: flat(*result))


def _contestants(task: Callable[[], Task]) -> dict[str, Make]:
    every = os.cpu_count() or 1

    def ready() -> Task:
        keep_pages()
        return task()

    return {
        "fgrad": lambda: eager(ready()),
        "HIPS autograd": lambda: _hips(ready()),
        "PyTorch nn": lambda: _torch(ready(), 1),
        "PyTorch nn, all threads": lambda: _torch(ready(), every),
        "PyTorch functions": lambda: _torch_functions(ready()),
        "NumPy by hand": lambda: by_hand(ready()),
    }


WORKS = [
    Work(
        "digits",
        "MLP 64-128-64-10 with matrices, batch 128, cross-entropy, value and gradient",
        _contestants(digits_task),
        [Target("HIPS autograd", 2.0, "≥ 2×")],
        repeat=15,
    ),
    Work(
        "moons-matrices",
        "MLP 2-16-16-1 with matrices, 100 points, max-margin loss, value and gradient",
        _contestants(moons_task),
        [
            Target("HIPS autograd", 2.0, "≥ 2×"),
            Target("PyTorch nn", 1.0, "ahead"),
            Target("PyTorch functions", 1.0, "ahead"),
        ],
        repeat=15,
    ),
]
