"""What the type checkers must infer; run as a test too, so that the values have the types."""

from typing import assert_type

import attrs
import numpy as np
from numpy.typing import NDArray

import fgrad
from fgrad import grad, micro, nn, optim, tree, value_and_grad, vjp
from fgrad.random import Key, choice, permutation
from fgrad.train import batches, train

Floats = NDArray[np.float64]


@attrs.frozen
class Line:
    slope: float
    offset: float
    name: str = tree.static("line")


def product(a: float, b: float) -> float:
    return a * b + b**3


def loss(line: Line, x: float, y: float) -> float:
    return (line.slope * x + line.offset - y) ** 2


def array_loss(w: Floats, x: Floats) -> float:
    return fgrad.sum(fgrad.tanh(x @ w) ** 2)


def array_result(w: Floats) -> Floats:
    return fgrad.sum(w * w, keepdims=True)


def with_aux(line: Line, x: float) -> tuple[float, dict[str, float]]:
    y = line.slope * x
    return y, {"y": y}


def keyword_only(*, a: float, b: float) -> float:
    return a * b


def network_loss(model: nn.MLP, x: Floats, labels: NDArray[np.int64]) -> float:
    return nn.cross_entropy(model(x), labels)


def numbers(model: micro.MLP, x: list[float]) -> float:
    return model(x)[0]


def dictionary(p: dict[str, float], q: tuple[float, float]) -> float:
    return p["a"] * q[0] * q[1]


def arrays() -> tuple[Floats, Floats]:
    return np.ones(3), np.ones((2, 3))


line = Line(1.0, 2.0)
w, x = arrays()

# The gradient of a Line is a Line, of an MLP an MLP, of an array an array.
assert_type(grad(loss)(line, 1.0, 2.0), Line)
assert_type(grad(loss)(line, x=1.0, y=2.0), Line)
assert_type(grad(array_loss)(w, x), Floats)
assert_type(grad(network_loss)(nn.MLP.init(Key(0), [3, 2]), x, np.array([0, 1])), nn.MLP)
assert_type(grad(numbers)(micro.MLP.init([2, 1]), [1.0, 2.0]), micro.MLP)
assert_type(grad(dictionary)({"a": 1.0}, (2.0, 3.0)), dict[str, float])
assert_type(optim.sgd_step(line, grad(loss)(line, 1.0, 2.0), 0.1), Line)

# Positions, argnums, keywords, mappings.
assert_type(grad(product)(-4.0, 2.0), float)
assert_type(grad(product)(a=-4.0, b=2.0), dict[str, float])
assert_type(grad(product)({"a": -4.0, "b": 2.0}), dict[str, float])
assert_type(grad(product, 0)(-4.0, 2.0), float)
assert_type(grad(array_loss, 1)(w, x), Floats)
assert_type(grad(dictionary, (0, 1))({"a": 1.0}, (2.0, 3.0)), tuple[dict[str, float], tuple[float, float]])
assert_type(grad(product, (1, 0))(-4.0, 2.0), object)
assert_type(grad(keyword_only)(a=1.0, b=2.0), dict[str, float])

# Values and aux.
assert_type(value_and_grad(loss)(line, 1.0, 2.0), tuple[float, Line])
assert_type(value_and_grad(product)(a=-4.0, b=2.0), tuple[float, dict[str, float]])
assert_type(value_and_grad(array_loss, 1)(w, x), tuple[float, Floats])
assert_type(value_and_grad(keyword_only)(a=1.0, b=2.0), tuple[float, dict[str, float]])
assert_type(grad(with_aux, has_aux=True)(line, 2.0), tuple[Line, dict[str, float]])
assert_type(value_and_grad(with_aux, has_aux=True)(line, 2.0), tuple[tuple[float, dict[str, float]], Line])

# Nested.


def sine(x: float) -> float:
    return fgrad.sin(x)


assert_type(grad(grad(sine))(1.0), float)

# vjp.
out, pullback = vjp(product, -4.0, 2.0)
assert_type(out, float)
assert_type(pullback(1.0), tuple[float, float])
squares, back = vjp(array_result, w)
assert_type(squares, Floats)
assert_type(back(squares), tuple[Floats])
y, pull, aux = vjp(with_aux, line, 2.0, has_aux=True)
assert_type(pull(y), tuple[Line, float])
assert_type(aux, dict[str, float])

# Ops give like for like; reductions of all give a number.
assert_type(fgrad.exp(1.0), float)
assert_type(fgrad.exp(w), Floats)
assert_type(fgrad.maximum(w, 0.0), Floats)
assert_type(fgrad.maximum(0.0, 1.0), float)
assert_type(fgrad.where(w > 0, w, 0.0), Floats)
assert_type(fgrad.sum(w), float)
assert_type(fgrad.mean(x, axis=0), Floats)
assert_type(fgrad.softmax(x), Floats)
assert_type(tree.map(lambda p: p, line), Line)

# Forward mode, batches, programs.
assert_type(fgrad.jvp(product, (1.0, 2.0), (1.0, 0.0)), tuple[float, float])
value, pushforward = fgrad.linearize(array_result, w)
assert_type(pushforward(w), Floats)
assert_type(fgrad.vmap(array_result)(w), Floats)
assert_type(fgrad.checkpoint(product)(1.0, 2.0), float)
assert_type(grad(fgrad.checkpoint(loss))(line, 1.0, 2.0), Line)
assert_type(fgrad.stop_gradient(line), Line)


@fgrad.custom_vjp
def damped(x: float) -> float:
    return x


@fgrad.custom_jvp
def pushed(model: Line, x: float) -> float:
    return model.slope * x


damped.defvjp(lambda x: (x, None), lambda residuals, g: (0.5 * g,))
pushed.defjvp(lambda primals, tangents: (pushed(*primals), tangents[0].slope * primals[1]))
assert_type(damped(1.0), float)
assert_type(grad(damped)(1.0), float)
assert_type(grad(pushed)(line, 1.0), Line)


def running(total: float, x: Floats) -> tuple[float, Floats]:
    return total + fgrad.sum(x), x * total


assert_type(fgrad.scan(running, 0.0, x), tuple[float, Floats])
assert_type(fgrad.fori_loop(0, 3, lambda i, x: x * 2.0, 1.0), float)
assert_type(fgrad.while_loop(lambda x: x > 0.5, sine, 1.0), float)
assert_type(fgrad.cond(True, sine, sine, 1.0), float)

# Learning: snapshots have the type of what is trained, updates that of the gradients, a lens that of its place.
labels: NDArray[np.int64] = np.array([0, 1])
model, data = nn.MLP.init(Key(0), [3, 2]), batches((x, labels), 1, Key(1))
assert_type(data[0], tuple[Floats, NDArray[np.int64]])
optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(1e-3))
updates, state = optimizer.update(model, optimizer.init(model), model)
assert_type(updates, nn.MLP)
assert_type(optim.apply_updates(model, updates), nn.MLP)
now = next(train(network_loss, model, data, optimizer, steps=1))
assert_type(now.params, nn.MLP)


def first_weights(model: nn.MLP) -> Floats:
    return model.layers[0].w


assert_type(tree.at(first_weights).get(model), Floats)
assert_type(tree.at(first_weights).set(model, np.zeros((3, 2))), nn.MLP)
chosen, rest = tree.partition(model, lambda path, leaf: path.endswith("w"))
assert_type(tree.combine(chosen, rest), nn.MLP)
assert_type(choice(Key(0), 3, 2), NDArray[np.int64])
assert_type(permutation(Key(0), x), Floats)
assert_type(optim.lbfgs(lambda line: loss(line, 1.0, 2.0), line).params, Line)
