"""Logistic regression by Newton's method, with exact second derivatives.

`hessian` gives the whole matrix, and a step solves one linear system with it. The number of right digits doubles
from step to step, once they are few, so that the gradient is zero to rounding in less than ten steps.

    python docs/examples/newton.py
"""

from typing import cast

import attrs
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from fgrad import grad, hessian, jit, mean, softplus, solve, square, sum

Floats = NDArray[np.float64]


@attrs.frozen
class Fit:
    """The coefficients, of the constant first, and the norm of the gradient before each step and after the last."""

    w: Floats
    norms: list[float]
    accuracy: float


def loss(w: Floats, x: Floats, sides: Floats, l2: float) -> float:
    """The mean of -log sigmoid(side · score), and a penalty on all coefficients but the constant."""
    return mean(softplus(-sides * (x @ w))) + l2 / 2 * sum(square(w[1:]))


@jit
def newton(w: Floats, x: Floats, sides: Floats, l2: float) -> tuple[Floats, Floats]:
    """Give the coefficients after one step, and the gradient before it."""
    slope = grad(loss)(w, x, sides, l2)
    curvature = cast("Floats", hessian(loss)(w, x, sides, l2))
    return w - solve(curvature, slope), slope


def main(*, steps: int = 9, l2: float | None = None) -> Fit:
    """Fit 569 tumours, benign or malignant, described by 30 numbers; `l2` is one over their number if none is given."""
    features, labels = map(np.asarray, load_breast_cancer(return_X_y=True))
    x = np.column_stack([np.ones(len(features)), (features - features.mean(0)) / features.std(0)])
    sides = 2.0 * labels - 1.0
    penalty = 1 / len(x) if l2 is None else l2
    w, norms = np.zeros(x.shape[1]), []
    for step in range(steps + 1):
        after, slope = newton(w, x, sides, penalty)
        norms.append(float(np.linalg.norm(slope)))
        print(f"step {step}  loss {loss(w, x, sides, penalty):.12f}  gradient {norms[-1]:.1e}")
        w = w if step == steps else after
    accuracy = float(np.mean((x @ w) * sides > 0))
    print(f"{accuracy:.1%} of the tumours are on their side")
    return Fit(w, norms, accuracy)


if __name__ == "__main__":
    main()
