"""Works on training: an epoch of a perceptron, of a convolutional network and of a small transformer, by Adam.

All is float64. Contestants begin with the same weights, see the same batches, and must come to the same losses.
"""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias

import attrs
import numpy as np

from fgrad import jit, nn, optim, relu, reshape, value_and_grad
from fgrad.random import Key
from tests.benchmarks.measure import keep_pages
from tests.benchmarks.transforms import jax64
from tests.benchmarks.work import Make, Run, Target, Work

Batches: TypeAlias = Sequence[tuple[Any, Any]]
"""Inputs (rows, …) and classes, (rows,) or (rows, length)."""
RATE, HEADS = 1e-3, 4


@attrs.frozen
class Task:
    """A network to begin with and its batches; and what peers compute, with their own library, from its weights."""

    model: Any
    batches: Batches
    in_torch: Callable[[Any], Any]
    """From a network to one of PyTorch's modules, which gives logits."""
    in_jax: Callable[[Any, Any, Any], Any]
    """Logits, from JAX, a network whose arrays are JAX's, and inputs."""


def fgrad(task: Task) -> Run:
    """As users write it: a compiled step, from parameters and state to the next."""
    optimizer = optim.adam(RATE)

    @jit
    def step(model: Any, state: Any, x: Any, y: Any) -> Any:
        value, gradient = value_and_grad(lambda model: nn.cross_entropy(model(x), y))(model)
        updates, state = optimizer.update(gradient, state, model)
        return value, optim.apply_updates(model, updates), state

    def call() -> list[float]:
        model, state, losses = task.model, optimizer.init(task.model), []
        for x, y in task.batches:
            value, model, state = step(model, state, x, y)
            losses.append(float(value))
        return losses

    return Run(call, lambda losses: losses)


def torch(task: Task) -> Run:
    torch: Any = import_module("torch")

    batches = [(torch.tensor(x), torch.tensor(y)) for x, y in task.batches]

    def call() -> list[float]:
        torch.set_num_threads(1)
        model, losses = task.in_torch(task.model), []
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        for x, y in batches:
            logits = model(x)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), y.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return Run(call, lambda losses: losses)


def jax(task: Task) -> Run:
    optax: Any = import_module("optax")

    jax, jnp = jax64()
    optimizer, start = optax.adam(RATE), _as_jax(jax, task.model)
    batches = [(jnp.array(x), jnp.array(y)) for x, y in task.batches]

    def loss(model: Any, x: Any, y: Any) -> Any:
        logits = jax.nn.log_softmax(task.in_jax(jax, model, x)).reshape(y.size, -1)
        return -jnp.mean(logits[jnp.arange(y.size), y.ravel()])

    def step(model: Any, state: Any, x: Any, y: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(model, x, y)
        updates, state = optimizer.update(gradient, state)
        return value, optax.apply_updates(model, updates), state

    compiled = jax.jit(step)

    def call() -> list[float]:
        model, state, losses = start, optimizer.init(start), []
        for x, y in batches:
            value, model, state = compiled(model, state, x, y)
            losses.append(float(value))
        return losses

    return Run(call, lambda losses: losses)


def _as_jax(jax: Any, model: Any) -> Any:
    """The fields that hold arrays, by name, as nested dicts and lists."""
    if isinstance(model, np.ndarray):
        return jax.numpy.array(model)
    if isinstance(model, tuple):
        return [_as_jax(jax, x) for x in model]
    found = {a.name: getattr(model, a.name) for a in attrs.fields(type(model))}
    return {
        name: _as_jax(jax, x) for name, x in found.items() if isinstance(x, np.ndarray | tuple) or attrs.has(type(x))
    }


def _digits(size: int = 128) -> tuple[nn.Floats, nn.Integers]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(y))[: len(y) // size * size]
    return x[rows].reshape(-1, size, 64) / 16, y[rows].reshape(-1, size)


# --- the perceptron --------------------------------------------------------------------------------------------------
def perceptron() -> Task:
    """64-128-64-10, 14 batches of 128."""
    x, y = _digits()
    model = nn.MLP.init(Key(0), [64, 128, 64, 10], activation="relu")
    return Task(model, [*zip(x, y, strict=True)], _perceptron_torch, _perceptron_jax)


def _linear_torch(layer: nn.Linear) -> Any:
    torch: Any = import_module("torch")

    linear = torch.nn.Linear(*layer.w.shape, dtype=torch.float64)
    linear.weight.data, linear.bias.data = torch.tensor(layer.w.T.copy()), torch.tensor(layer.b)
    return linear


def _perceptron_torch(model: nn.MLP) -> Any:
    torch: Any = import_module("torch")

    modules = [module for layer in model.layers for module in (_linear_torch(layer), torch.nn.ReLU())]
    return torch.nn.Sequential(*modules[:-1])


def _perceptron_jax(jax: Any, model: Any, x: Any) -> Any:
    *hidden, last = model["layers"]
    for layer in hidden:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ last["w"] + last["b"]


# --- the convolutional network ---------------------------------------------------------------------------------------
@attrs.frozen
class ConvNet:
    """Two convolutions, the larger of each two by two, and a linear layer."""

    first: nn.Conv2d
    second: nn.Conv2d
    out: nn.Linear

    @classmethod
    def init(cls, key: Key) -> "ConvNet":
        a, b, c = key.split(3)
        return cls(nn.Conv2d.init(a, 1, 16, 3), nn.Conv2d.init(b, 16, 32, 3), nn.Linear.init(c, 512, 10))

    def __call__(self, x: nn.Floats) -> nn.Floats:
        x = relu(self.second(relu(self.first(x))))
        return self.out(reshape(nn.max_pool(x, (2, 2)), (len(x), -1)))


def convnet() -> Task:
    """14 batches of 128 pictures of 8 by 8."""
    x, y = _digits()
    batches = [*zip(x.reshape(*x.shape[:2], 8, 8, 1), y, strict=True)]
    return Task(ConvNet.init(Key(0)), batches, _convnet_torch, _convnet_jax)


def _convnet_torch(model: ConvNet) -> Any:
    """PyTorch has the channels before the places."""
    torch: Any = import_module("torch")

    def conv(layer: nn.Conv2d) -> Any:
        _, _, n, m = layer.w.shape
        found = torch.nn.Conv2d(n, m, 3, padding=1, dtype=torch.float64)
        found.weight.data, found.bias.data = torch.tensor(layer.w.transpose(3, 2, 0, 1).copy()), torch.tensor(layer.b)
        return found

    rows = model.out.w.reshape(16, 32, 10).swapaxes(0, 1).reshape(512, 10)
    return torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, 8)),  # with the only channel, which stands last here, left where it is
        torch.nn.Flatten(3),
        conv(model.first),
        torch.nn.ReLU(),
        conv(model.second),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        _linear_torch(nn.Linear(rows, model.out.b)),
    )


def _convnet_jax(jax: Any, model: Any, x: Any) -> Any:
    for layer in (model["first"], model["second"]):
        axes = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, layer["w"], (1, 1), "SAME", dimension_numbers=axes)
        x = jax.nn.relu(x + layer["b"])
    x = jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return x.reshape(len(x), -1) @ model["out"]["w"] + model["out"]["b"]


# --- the transformer -------------------------------------------------------------------------------------------------
@attrs.frozen
class Transformer:
    """Two blocks on the embeddings of 64 places, and scores for each of 64 characters."""

    characters: nn.Embedding
    places: nn.Embedding
    blocks: tuple[nn.TransformerBlock, ...]
    norm: nn.LayerNorm
    out: nn.Linear

    @classmethod
    def init(cls, key: Key, count: int = 64, width: int = 64) -> "Transformer":
        a, b, c, *more = key.split(5)
        return cls(
            nn.Embedding.init(a, count, width),
            nn.Embedding.init(b, 64, width),
            tuple(nn.TransformerBlock.init(one, width, HEADS) for one in more),
            nn.LayerNorm.init(width),
            nn.Linear.init(c, width, count),
        )

    def __call__(self, x: nn.Integers) -> nn.Floats:
        y = self.characters(x) + self.places(np.arange(x.shape[-1]))
        for block in self.blocks:
            y = block(y, causal=True)
        return self.out(self.norm(y))


def transformer() -> Task:
    """Ten batches of 16 texts of 64 characters."""
    texts = np.random.default_rng(0).integers(0, 64, (10, 16, 65))
    batches = [(text[:, :-1], text[:, 1:]) for text in texts]
    return Task(Transformer.init(Key(0)), batches, _transformer_torch, _transformer_jax)


def _transformer_torch(model: Transformer) -> Any:
    """Modules, and PyTorch's own attention."""
    torch: Any = import_module("torch")

    def norm(layer: nn.LayerNorm) -> Any:
        found = torch.nn.LayerNorm(len(layer.gain), dtype=torch.float64)
        found.weight.data, found.bias.data = torch.tensor(layer.gain), torch.tensor(layer.bias)
        return found

    def embedding(layer: nn.Embedding) -> Any:
        return torch.nn.Embedding.from_pretrained(torch.tensor(layer.table), freeze=False)

    class Block(torch.nn.Module):  # type: ignore[misc]  # a class without types
        def __init__(self, block: nn.TransformerBlock) -> None:
            super().__init__()
            self.norms = torch.nn.ModuleList([norm(block.attention_norm), norm(block.mlp_norm)])
            self.qkv, self.out = _linear_torch(block.attention.qkv), _linear_torch(block.attention.out)
            gelu = torch.nn.GELU(approximate="tanh")
            self.mlp = torch.nn.Sequential(_linear_torch(block.mlp.layers[0]), gelu, _linear_torch(block.mlp.layers[1]))

        def forward(self, x: Any) -> Any:
            rows, length, width = x.shape
            parts = self.qkv(self.norms[0](x)).view(rows, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
            found = torch.nn.functional.scaled_dot_product_attention(*parts, is_causal=True)
            x = x + self.out(found.transpose(1, 2).reshape(x.shape))
            return x + self.mlp(self.norms[1](x))

    class Whole(torch.nn.Module):  # type: ignore[misc]  # as above
        def __init__(self) -> None:
            super().__init__()
            self.characters, self.places = embedding(model.characters), embedding(model.places)
            self.blocks = torch.nn.Sequential(*map(Block, model.blocks))
            self.norm, self.out = norm(model.norm), _linear_torch(model.out)

        def forward(self, x: Any) -> Any:
            return self.out(self.norm(self.blocks(self.characters(x) + self.places(torch.arange(x.shape[-1])))))

    return Whole()


def _transformer_jax(jax: Any, model: Any, x: Any) -> Any:
    jnp = jax.numpy

    def linear(layer: Any, x: Any) -> Any:
        return x @ layer["w"] + layer["b"]

    def norm(layer: Any, x: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * layer["gain"] + layer["bias"]

    y = model["characters"]["table"][x] + model["places"]["table"][jnp.arange(x.shape[-1])]
    for block in model["blocks"]:
        rows, length, width = y.shape
        parts = linear(block["attention"]["qkv"], norm(block["attention_norm"], y))
        q, k, v = parts.reshape(rows, length, 3, HEADS, width // HEADS).transpose(2, 0, 1, 3, 4)
        found = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        y = y + linear(block["attention"]["out"], found.reshape(y.shape))
        first, last = block["mlp"]["layers"]
        y = y + linear(last, jax.nn.gelu(linear(first, norm(block["mlp_norm"], y)), approximate=True))
    return linear(model["out"], norm(model["norm"], y))


def _contestants(task: Callable[[], Task]) -> dict[str, Make]:
    def ready(contestant: Callable[[Task], Run]) -> Run:
        keep_pages()
        return contestant(task())

    return {"fgrad jit": partial(ready, fgrad), "PyTorch": partial(ready, torch), "JAX jit": partial(ready, jax)}


def _targets(ratio: float, text: str) -> list[Target]:
    return [Target(peer, ratio, text) for peer in ("PyTorch", "JAX jit")]


WITHIN = (1 / 1.5, "within 1.5×")
WORKS = [
    Work(
        "digits-epoch",
        "MLP 64-128-64-10, an epoch of 14 batches of 128 digits, Adam",
        _contestants(perceptron),
        _targets(1.0, "ahead"),
    ),
    Work(
        "convnet-epoch",
        "two convolutions, 16 and 32 channels, an epoch of the same digits, Adam",
        _contestants(convnet),
        _targets(*WITHIN),
    ),
    Work(
        "transformer-epoch",
        "two blocks of width 64 with 4 heads, ten batches of 16 texts of 64 characters, Adam",
        _contestants(transformer),
        _targets(*WITHIN),
    ),
]
