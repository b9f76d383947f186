"""Oracles: NumPy for values, PyTorch for first and second derivatives, mpmath for many digits, central differences.

Knows numbers and arrays alone; nothing of fgrad. PyTorch and NumPy are worn as namespaces in the Array API's names, as
fgrad has them, so that one function of (xp, *args) says what all three should do. A test that asks a peer which is not
installed is skipped.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]
Call: TypeAlias = Callable[..., Any]
"""A function of (xp, *args), or of args alone: what it takes and gives depends on xp."""


MATRICES = {
    *("inv", "solve", "det", "slogdet", "matrix_power", "cholesky", "qr", "eigh", "eigvalsh", "svd", "svdvals"),
    *("pinv", "matrix_norm", "vector_norm"),
}
"""What NumPy and PyTorch keep in their `linalg`."""


@cache
def torch() -> Any:
    return pytest.importorskip("torch")


@cache
def mpmath() -> Any:
    return pytest.importorskip("mpmath")


class NumPy:
    """NumPy in fgrad's names; what it has not is an AttributeError."""

    def __getattr__(self, name: str) -> Call:
        function: Call = getattr(np.linalg if name in MATRICES else np, name)
        return function

    def var(self, x: Array, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
        return np.var(x, axis=axis, correction=correction, keepdims=keepdims)

    def std(self, x: Array, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
        return np.std(x, axis=axis, correction=correction, keepdims=keepdims)

    def getitem(self, x: Array, index: Any) -> Any:
        return np.asarray(x)[index]

    def logsumexp(self, x: Array, axis: Any = None, keepdims: bool = False) -> Any:
        return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))

    def norm(self, x: Array, axis: Any = None, ord: Any = 2, keepdims: bool = False) -> Any:
        return np.linalg.vector_norm(x, axis=axis, ord=ord, keepdims=keepdims)


class Torch:
    """PyTorch in fgrad's names, on tensors and constants alike."""

    _names: ClassVar = {
        "equal": "eq",
        "bitwise_invert": "bitwise_not",
        "permute_dims": "permute",
        "concat": "cat",
    }

    def __getattr__(self, name: str) -> Call:
        function = getattr(torch().linalg if name in MATRICES else torch(), self._names.get(name, name))
        return lambda *args, **kwargs: function(*map(self.tensor, args), **kwargs)

    def tensor(self, x: Any) -> Any:
        return torch().as_tensor(x) if isinstance(x, float | int | np.ndarray | np.generic) else x

    def axes(self, x: Any, axis: Any) -> tuple[int, ...]:
        return tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)

    def softplus(self, x: Any) -> Any:
        return torch().nn.functional.softplus(x, threshold=1000)

    def silu(self, x: Any) -> Any:
        return torch().nn.functional.silu(x)

    def gelu(self, x: Any) -> Any:
        return torch().nn.functional.gelu(x, approximate="tanh")

    def clip(self, x: Any, min: Any = None, max: Any = None) -> Any:
        return torch().clamp(x, *(None if bound is None else self.tensor(bound).to(x.dtype) for bound in (min, max)))

    def scale(self, x: Any, y: Any) -> Any:
        return x * y

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return torch().sum(x, dim=self.axes(x, axis), keepdim=keepdims)

    def mean(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return torch().mean(x, dim=self.axes(x, axis), keepdim=keepdims)

    def var(self, x: Any, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
        return torch().var(x, dim=self.axes(x, axis), correction=correction, keepdim=keepdims)

    def std(self, x: Any, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
        return torch().std(x, dim=self.axes(x, axis), correction=correction, keepdim=keepdims)

    def max(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return torch().amax(x, dim=self.axes(x, axis), keepdim=keepdims)

    def min(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return torch().amin(x, dim=self.axes(x, axis), keepdim=keepdims)

    def logsumexp(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return torch().logsumexp(x, dim=self.axes(x, axis), keepdim=keepdims)

    def log_softmax(self, x: Any, axis: Any = -1) -> Any:
        return x - self.logsumexp(x, axis, True)

    def softmax(self, x: Any, axis: Any = -1) -> Any:
        return torch().exp(self.log_softmax(x, axis))

    def argsort(self, x: Any, axis: int = -1) -> Any:
        return torch().argsort(x, dim=axis, stable=True)

    def take(self, x: Any, indices: Array, axis: int | None = None) -> Any:
        if axis is None:
            return self.getitem(x.reshape(-1), indices)
        return self.getitem(x, (*[slice(None)] * (axis % x.ndim), indices))

    def getitem(self, x: Any, index: Any) -> Any:
        """Index as NumPy does: what it picks of an array of places, flat, is what it picks of x."""
        places = np.arange(x.numel()).reshape(tuple(x.shape))[index]
        return x.reshape(-1)[self.tensor(np.array(places))]

    def concat(self, arrays: Sequence[Any], axis: int | None = 0) -> Any:
        parts = [self.tensor(x) for x in arrays]
        return torch().cat([x.reshape(-1) for x in parts] if axis is None else parts, dim=axis or 0)

    def stack(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        return torch().stack([torch().as_tensor(x, dtype=torch().float64) for x in arrays], dim=axis)

    def squeeze(self, x: Any, axis: Any = None) -> Any:
        return torch().squeeze(x) if axis is None else torch().squeeze(x, axis)

    def expand_dims(self, x: Any, axis: Any = 0) -> Any:
        return x.reshape(np.expand_dims(np.empty(tuple(x.shape)), axis).shape)

    def matrix_transpose(self, x: Any) -> Any:
        return x.mT

    def vecdot(self, x: Any, y: Any, axis: int = -1) -> Any:
        return torch().sum(x * y, axis)

    def outer(self, x: Any, y: Any) -> Any:
        return torch().outer(x.reshape(-1), y.reshape(-1))

    def norm(self, x: Any, axis: Any = None, ord: Any = 2, keepdims: bool = False) -> Any:
        return torch().linalg.vector_norm(x, ord, dim=self.axes(x, axis), keepdim=keepdims)

    def vector_norm(self, x: Any, axis: Any = None, ord: Any = 2, keepdims: bool = False) -> Any:
        return self.norm(x, axis, ord, keepdims)

    def matrix_norm(self, x: Any, ord: Any = "fro", keepdims: bool = False) -> Any:
        return torch().linalg.matrix_norm(x, ord, keepdim=keepdims)

    def astype(self, x: Any, dtype: Any) -> Any:
        return x.to(getattr(torch(), np.dtype(dtype).name))


def torch_derivatives(
    f: Call, args: Iterable[Any], cotangent: ArrayLike, directions: Iterable[ArrayLike]
) -> tuple[Array, list[Array], list[Array]]:
    """Give f's value, its cotangents g, and those of the number Σ⟨direction, g⟩: first and second derivatives."""
    t = torch()
    xs = [t.tensor(np.array(x), requires_grad=True) for x in args]

    def pull(y: Any, c: Any) -> list[Any]:
        if not y.requires_grad:
            return [t.zeros_like(x) for x in xs]
        found = t.autograd.grad(y, xs, c, create_graph=True, allow_unused=True)
        return [t.zeros_like(x) if g is None else g for g, x in zip(found, xs, strict=True)]

    y = f(*xs)
    first = pull(y, t.tensor(np.array(cotangent)).to(y.dtype).reshape(y.shape))
    functional = sum(t.sum(t.tensor(np.array(d)) * g) for d, g in zip(directions, first, strict=True))
    second = pull(functional, None)
    return y.numpy(force=True), [g.numpy(force=True) for g in first], [g.numpy(force=True) for g in second]


def numeric_vjp(f: Call, args: Sequence[Any], cotangent: ArrayLike) -> list[Array]:
    """Give the cotangents of f's arguments by central differences of the fourth order."""

    def at(i: int, x: Array) -> float:
        moved = [*args]
        moved[i] = x if isinstance(args[i], np.ndarray) else x.item()
        return float(np.sum(np.asarray(cotangent) * f(*moved)))

    def along(i: int, x: Array, place: tuple[int, ...]) -> float:
        step = np.zeros_like(x)
        step[place] = h = 1e-4 * min(max(abs(float(x[place])), 1e-2), 1.0)
        return (8 * (at(i, x + step) - at(i, x - step)) - at(i, x + 2 * step) + at(i, x - 2 * step)) / (12 * h)

    arrays = [np.asarray(x, np.float64) for x in args]
    return [
        np.array([along(i, x, place) for place in np.ndindex(x.shape)]).reshape(x.shape) for i, x in enumerate(arrays)
    ]


def mp_derivative(f: Call, point: Sequence[float], orders: tuple[int, ...]) -> float:
    """Differentiate a function of mpmath numbers, `orders` times in each argument, to 40 digits."""
    mp = mpmath().mp
    with mp.workdps(40):
        exact = [mp.mpf(x) for x in point]
        return float(mp.diff(f, exact, orders) if any(orders) else f(*exact))


def close(actual: Any, desired: Any, rtol: float = 1e-12, atol: float = 1e-13) -> None:
    """Fail unless two trees of numbers agree, in their shapes too."""
    if isinstance(desired, tuple | list):
        assert isinstance(actual, tuple | list)
        assert len(actual) == len(desired)
        for a, d in zip(actual, desired, strict=True):
            close(a, d, rtol, atol)
        return
    assert np.shape(actual) == np.shape(desired)
    np.testing.assert_allclose(actual, desired, rtol=rtol, atol=atol)
