"""Layers that look at neighbourhoods: PyTorch's numbers, and pooling's law for equal numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fgrad import conv, errors, grad, jit, nn, value_and_grad, vjp, vmap
from fgrad.random import Key, normal
from tests.oracles import torch

LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "plain": (nn.Conv2d.init(Key(0), 2, 3, 3), (4, 6, 5, 2)),
    "strided": (nn.Conv2d.init(Key(1), 2, 3, (3, 2), stride=(2, 1), padding=1), (4, 6, 5, 2)),
    "dilated": (nn.Conv2d.init(Key(2), 2, 3, 3, dilation=2, padding="valid"), (4, 6, 5, 2)),
    "signal": (nn.Conv1d.init(Key(3), 2, 3, 5), (4, 9, 2)),
    "strided signal": (nn.Conv1d.init(Key(4), 2, 3, 3, stride=2, padding=2), (4, 9, 2)),
}


def first(x: Any) -> Any:
    """Channels first."""
    return torch().tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_pytorchs(name: str) -> None:
    """In values and gradients, and in each form of call."""
    layer, shape = LAYERS[name]
    x, g = normal(Key(8), shape), normal(Key(9), layer(np.ones(shape)).shape)

    def loss(layer: Any, x: nn.Floats) -> Any:
        return (layer(x) * g).sum()

    n = layer.w.ndim - 2
    module = (torch().nn.Conv1d, torch().nn.Conv2d)[n - 1](
        2, 3, layer.w.shape[:n], stride=layer.stride, padding=layer.padding, dilation=layer.dilation
    ).double()
    module.weight.data = torch().tensor(np.moveaxis(layer.w, (-1, -2), (0, 1)).copy())
    module.bias.data = torch().tensor(layer.b)
    y = first(x)
    (module(y) * first(g)).sum().backward()

    slopes: list[Callable[..., Any]] = [grad(loss, (0, 1)), jit(grad(loss, (0, 1)))]
    for slope in slopes:
        of_layer, of_x = slope(layer, x)
        np.testing.assert_allclose(of_x, np.moveaxis(y.grad.numpy(), 1, -1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(
            np.moveaxis(of_layer.w, (-1, -2), (0, 1)), module.weight.grad.numpy(), rtol=1e-12, atol=1e-12
        )
        np.testing.assert_allclose(of_layer.b, module.bias.grad.numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(vmap(layer)(x), layer(x), rtol=1e-12, atol=1e-12)


POOLS: dict[str, dict[str, Any]] = {
    "beside each other": {"sizes": (2, 2)},
    "over each other": {"sizes": (3, 2), "strides": (2, 1)},
    "padded": {"sizes": (3, 3), "strides": (2, 2), "padding": 1},
}


@pytest.mark.parametrize("kind", ["max", "mean"])
@pytest.mark.parametrize("name", POOLS)
def test_pooling_is_pytorchs(kind: str, name: str) -> None:
    how = POOLS[name]
    pool: Callable[..., Any] = nn.max_pool if kind == "max" else nn.mean_pool
    functional = torch().nn.functional
    peer = functional.max_pool2d if kind == "max" else functional.avg_pool2d
    x = normal(Key(0), (2, 6, 7, 3))
    y = first(x)
    expected = peer(y, how["sizes"], how.get("strides"), how.get("padding", 0))
    found, pullback = vjp(lambda x: pool(x, **how), x)
    np.testing.assert_allclose(found, np.moveaxis(expected.detach().numpy(), 1, -1), rtol=1e-12)
    g = normal(Key(1), found.shape)
    expected.backward(first(g).detach())
    np.testing.assert_allclose(pullback(g)[0], np.moveaxis(y.grad.numpy(), 1, -1), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(jit(vmap(lambda x: pool(x, **how)))(x), found, rtol=1e-12)


def test_equal_numbers_share_the_gradient() -> None:
    """Where three of four win, each gets a third."""
    x = np.array([[1.0, 1.0], [1.0, 0.0]])[..., None]
    np.testing.assert_allclose(
        grad(lambda x: nn.max_pool(x, (2, 2)).sum())(x)[..., 0], [[1 / 3, 1 / 3], [1 / 3, 0]], rtol=1e-15
    )


def test_same_keeps_the_places() -> None:
    """For kernels of even size the odd zero stands behind, as in PyTorch and JAX."""
    x, w = normal(Key(0), (7, 1)), normal(Key(1), (4, 1, 1))
    np.testing.assert_array_equal(conv(x, w, padding="same"), conv(x, w, padding=[(1, 2)]))
    for size, dilation in ((1, 1), (2, 1), (5, 1), (3, 2), (4, 3)):
        assert conv(x, normal(Key(2), (size, 1, 2)), padding="same", dilations=dilation).shape == (7, 2)


def test_float32_stays() -> None:
    layer = nn.Conv2d.init(Key(0), 1, 2, 3, dtype=np.float32)
    x = np.ones((2, 4, 4, 1), np.float32)
    value, gradient = value_and_grad(lambda layer: nn.max_pool(layer(x), (2, 2)).sum())(layer)
    assert (value.dtype, gradient.w.dtype, gradient.b.dtype) == (np.float32,) * 3


def test_many_places_at_once() -> None:
    """More than are made at a time."""
    x, w = normal(Key(0), (40, 20, 20, 3)), normal(Key(1), (5, 5, 3, 4))
    y, k = first(x), torch().tensor(np.moveaxis(w, (-1, -2), (0, 1)).copy(), requires_grad=True)
    out = torch().nn.functional.conv2d(y, k, padding=2)
    out.square().sum().backward()
    slope: Callable[..., Any] = grad(lambda x, w: (conv(x, w, padding=2) ** 2).sum(), (0, 1))
    of_x, of_w = slope(x, w)
    np.testing.assert_allclose(of_x, np.moveaxis(y.grad.numpy(), 1, -1), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(np.moveaxis(of_w, (-1, -2), (0, 1)), k.grad.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv(np.ones((5, 2)), np.ones((3, 1, 4))), r"kernel of shape \(3, 1, 4\)"),
        (lambda: conv(np.ones(5), np.ones((3, 1))), "kernel"),
        (lambda: conv(np.ones((5, 5, 1)), np.ones((3, 3, 1, 1)), strides=(1, 1, 1)), "strides"),
        (lambda: conv(np.ones((5, 1)), np.ones((3, 1, 1)), strides=0), "strides"),
        (lambda: conv(np.ones((5, 1)), np.ones((3, 1, 1)), padding="full"), "'full' is neither"),  # type: ignore[arg-type]  # wrong
        (lambda: conv(np.ones((5, 1)), np.ones((3, 1, 1)), padding=-1), "neither"),
        (lambda: conv(np.ones((5, 1)), np.ones((3, 1, 1)), padding=[(1, 1), (1, 1)]), "1 pairs"),
        (lambda: nn.max_pool(np.ones((4, 1)), (2, 2)), "windows"),
        (lambda: nn.max_pool(np.ones((1, 1, 1)), (2, 2)), "larger than"),
        (lambda: nn.mean_pool(np.ones((4, 4, 1)), (2, 2), (0, 1)), "windows"),
    ],
)
def test_errors_teach(call: Callable[[], object], message: str) -> None:
    with pytest.raises(errors.StructureError, match=message):
        call()


@pytest.mark.parametrize(
    ("x", "w", "padding"),
    [((3, 2, 2), (3, 2, 4), 0), ((2, 0, 2), (3, 2, 4), 2), ((2, 5, 0), (3, 0, 4), 0), ((2, 5, 2), (3, 2, 0), 0)],
)
def test_axes_may_be_empty(x: tuple[int, ...], w: tuple[int, ...], padding: int) -> None:
    """A kernel that is too large, no places, no channels in, none out."""
    array, kernel = np.ones(x), np.ones(w)
    slope: Callable[..., Any] = grad(lambda x, w: conv(x, w, padding=padding).sum(), (0, 1))
    of_x, of_w = slope(array, kernel)
    assert conv(array, kernel, padding=padding).shape == (x[0], max(0, x[1] + 2 * padding - 2), w[2])
    assert (of_x.shape, of_w.shape) == (x, w)
    assert not of_x.any()
