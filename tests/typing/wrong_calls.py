"""What the type checkers must refuse: every line that is marked, and no other."""

import attrs
import numpy as np

import fgrad
from fgrad import grad, nn, optim, value_and_grad, vjp
from fgrad.train import train


@attrs.frozen
class Line:
    slope: float
    offset: float


def loss(line: Line, x: float, y: float) -> float:
    return (line.slope * x + line.offset - y) ** 2


def text(x: float) -> str:
    return str(x)


def pair(x: float) -> tuple[float, float]:
    return x, x


line = Line(1.0, 2.0)
grad(loss)("line", 1.0, 2.0)  # E: no line
grad(loss)(line, 1.0)  # E: y is missing
grad(loss)(line, 1.0, "y")  # E: y is a number
grad(loss)(line, x=1.0, z=2.0)  # E: z is not a parameter
grad(text, 0)  # E: returns no number
value_and_grad(loss)(1.0, 1.0, 2.0)  # E: no line
value_and_grad(loss)(line, 1.0, 2.0)[1].weight()  # E: a Line has no weight
vjp(loss, line, 1.0)  # E: y is missing
vjp(loss, line, 1.0, 2.0)[1]("cotangent")  # E: the result is a number
optim.sgd_step(line, grad(loss)(line, 1.0, 2.0), "fast")  # E: a rate is a number
fgrad.tanh("x")  # E: no number
fgrad.maximum(np.ones(2), "x")  # E: no number
grad(loss)(line, 1.0, 2.0).slope.upper()  # E: a slope is a number
nn.Linear.init(0, 2, 3)  # E: a seed is no key
optim.adam("fast")  # E: a rate is a number or a schedule
next(train(loss, "line", [(1.0, 2.0)], optim.sgd(0.1)))  # E: no line
