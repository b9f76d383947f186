"""Layers: what PyTorch's give with the same weights, in values and gradients; the same in every transform and dtype."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import check_grads, errors, grad, jit, nn, tree, value_and_grad, vmap
from fgrad.random import Key, normal

BATCH, LENGTH, WIDTH = 3, 5, 8
Layer = Any
"""A layer of either library."""


def numbers(seed: int, *shape: int) -> nn.Floats:
    return normal(Key(seed), shape)


def leaves(x: object) -> list[Any]:
    return tree.leaves(x)


def the_torch() -> Any:
    return pytest.importorskip("torch")


def fill(parameters: dict[str, Any], values: dict[str, nn.Floats]) -> None:
    """Give PyTorch's parameters our numbers."""
    torch = the_torch()
    for name, value in values.items():
        parameters[name].data = torch.tensor(np.ascontiguousarray(value))


def same(
    layer: Layer,
    theirs: Layer,
    values: Callable[[Layer], dict[str, Any]],
    *inputs: nn.Floats,
    call: Callable[..., Any] = lambda m, *xs: m(*xs),
    their_call: Callable[..., Any] = lambda m, *xs: m(*xs),
    zeros: tuple[str, ...] = (),
) -> None:
    """Both give the same numbers, and for a weighted sum of them the same gradients of weights and inputs."""
    torch, parameters = the_torch(), dict(theirs.named_parameters())
    fill(parameters, values(layer) | {name: np.zeros(parameters[name].shape) for name in zeros})
    assert values(layer).keys() == parameters.keys() - set(zeros)
    given = [torch.tensor(x, requires_grad=True) for x in inputs]
    expected = their_call(theirs, *given)
    weights = numbers(99, *expected.shape)
    theirs.zero_grad()
    (expected * torch.tensor(weights)).sum().backward()

    def loss(layer: Layer, inputs: tuple[nn.Floats, ...]) -> float:
        weighted: nn.Floats = call(layer, *inputs) * weights
        return fgrad.sum(weighted)

    np.testing.assert_allclose(call(layer, *inputs), expected.detach(), rtol=1e-12, atol=1e-12)
    for transform in (grad(loss, (0, 1)), jit(grad(loss, (0, 1)))):
        ours, slopes = transform(layer, inputs)
        for x, slope in zip(given, slopes, strict=True):
            np.testing.assert_allclose(slope, x.grad, rtol=1e-12, atol=1e-12)
        for name, slope in values(ours).items():
            np.testing.assert_allclose(slope, parameters[name].grad, rtol=1e-12, atol=1e-12, err_msg=name)


def random_like(layer: Layer, seed: int = 0) -> Layer:
    """The layer with all its numbers drawn anew, so that nothing is 0 or 1 by chance."""
    keys = iter(Key(seed).split(len(leaves(layer))))
    return tree.map(lambda x: normal(next(keys), np.shape(x)) / 2, layer)


# --- PyTorch's layers ------------------------------------------------------------------------------------------------
def linear(name: str, layer: nn.Linear, between: str = ".") -> dict[str, nn.Floats]:
    return {f"{name}{between}weight": layer.w.T, f"{name}{between}bias": layer.b}


def norm(name: str, layer: nn.LayerNorm) -> dict[str, nn.Floats]:
    return {f"{name}.weight": layer.gain, f"{name}.bias": layer.bias}


def attention(layer: nn.MultiHeadAttention, name: str = "") -> dict[str, nn.Floats]:
    return {**linear(f"{name}in_proj", layer.qkv, "_"), **linear(f"{name}out_proj", layer.out)}


def test_linear() -> None:
    theirs = the_torch().nn.Linear(WIDTH, 4, dtype=the_torch().float64)
    layer = random_like(nn.Linear.init(Key(0), WIDTH, 4))
    same(layer, theirs, lambda m: {"weight": m.w.T, "bias": m.b}, numbers(1, BATCH, LENGTH, WIDTH))


def test_layer_norm() -> None:
    theirs = the_torch().nn.LayerNorm(WIDTH, dtype=the_torch().float64)
    layer = random_like(nn.LayerNorm.init(WIDTH))
    same(layer, theirs, lambda m: {"weight": m.gain, "bias": m.bias}, numbers(1, BATCH, LENGTH, WIDTH))


def test_rms_norm() -> None:
    theirs = the_torch().nn.RMSNorm(WIDTH, eps=1e-6, dtype=the_torch().float64)
    layer = random_like(nn.RMSNorm.init(WIDTH))
    same(layer, theirs, lambda m: {"weight": m.gain}, numbers(1, BATCH, LENGTH, WIDTH))


def test_embedding() -> None:
    """Also where a row is looked up more than once."""
    torch, indices = the_torch(), np.array([[0, 2, 2], [5, 2, 0]])
    layer = nn.Embedding.init(Key(0), 6, WIDTH)
    theirs = torch.nn.Embedding(6, WIDTH, dtype=torch.float64)
    same(
        layer,
        theirs,
        lambda m: {"weight": m.table},
        call=lambda m: m(indices),
        their_call=lambda m: m(torch.tensor(indices)),
    )


def test_batch_norm() -> None:
    """In training, where what is remembered is PyTorch's too, and by what is remembered."""
    torch = the_torch()
    theirs = torch.nn.BatchNorm1d(WIDTH, dtype=torch.float64)
    layer = random_like(nn.BatchNorm.init(WIDTH))
    state = layer.start()

    def values(m: nn.BatchNorm) -> dict[str, nn.Floats]:
        return {"weight": m.gain, "bias": m.bias}

    for seed in range(3):
        x = numbers(seed, 20, WIDTH) * 3 + 1
        same(layer, theirs, values, x, call=lambda m, x, state=state: m(x, state)[0])
        _, state = layer(x, state)
        np.testing.assert_allclose(state.mean, theirs.running_mean, rtol=1e-13)
        np.testing.assert_allclose(state.var, theirs.running_var, rtol=1e-13)
    theirs.eval()
    x = numbers(7, 4, WIDTH)
    same(layer, theirs, values, x, call=lambda m, x: m(x, state, training=False)[0])
    assert layer(x, state, False)[1] == state


def test_attention() -> None:
    """Of itself, without looking ahead, and past padding."""
    torch = the_torch()
    theirs = torch.nn.MultiheadAttention(WIDTH, 2, batch_first=True, dtype=torch.float64)
    layer = random_like(nn.MultiHeadAttention.init(Key(0), WIDTH, 2))
    ahead = torch.triu(torch.ones(LENGTH, LENGTH, dtype=torch.bool), 1)
    padding = np.arange(LENGTH) >= np.array([5, 3, 1])[:, None]
    mask, padded = {"mask": ~padding[:, None, None, :]}, {"key_padding_mask": torch.tensor(padding)}
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"causal": True}, {"attn_mask": ahead}),
        (mask, padded),
        ({"causal": True, **mask}, {"attn_mask": ahead, **padded}),
    ]
    for ours, options in cases:
        same(
            layer,
            theirs,
            attention,
            numbers(1, BATCH, LENGTH, WIDTH),
            call=lambda m, x, ours=ours: m(x, **ours),
            their_call=lambda m, x, options=options: m(x, x, x, need_weights=False, **options)[0],
        )


def test_transformer_block() -> None:
    """With PyTorch's norm_first, and gelu in the form that is ours."""
    torch = the_torch()
    theirs = torch.nn.TransformerEncoderLayer(
        WIDTH,
        2,
        16,
        0.0,
        lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        batch_first=True,
        norm_first=True,
        dtype=torch.float64,
    )
    layer = random_like(nn.TransformerBlock.init(Key(0), WIDTH, 2, 16))

    def values(m: nn.TransformerBlock) -> dict[str, nn.Floats]:
        first, second = m.mlp.layers
        maps = {**linear("linear1", first), **linear("linear2", second)}
        return {
            **attention(m.attention, "self_attn."),
            **maps,
            **norm("norm1", m.attention_norm),
            **norm("norm2", m.mlp_norm),
        }

    same(layer, theirs, values, numbers(1, BATCH, LENGTH, WIDTH))


def gru(m: nn.GRUCell, end: str = "") -> dict[str, nn.Floats]:
    maps = {"ih": m.inputs, "hh": m.recurrent}
    return {f"{kind}_{name}{end}": x for name, p in maps.items() for kind, x in (("weight", p.w.T), ("bias", p.b))}


def lstm(m: nn.LSTMCell, end: str = "") -> dict[str, nn.Floats]:
    return {f"weight_ih{end}": m.inputs.w.T, f"weight_hh{end}": m.w.T, f"bias_ih{end}": m.inputs.b}


def test_gru() -> None:
    """One step, and a sequence, from a state that is differentiated too."""
    torch = the_torch()
    cell = random_like(nn.GRUCell.init(Key(0), 4, WIDTH))
    x, h = numbers(1, BATCH, 4), numbers(2, BATCH, WIDTH)
    same(cell, torch.nn.GRUCell(4, WIDTH, dtype=torch.float64), gru, x, h, call=lambda m, x, h: m(h, x))
    same(
        cell,
        torch.nn.GRU(4, WIDTH, dtype=torch.float64),
        lambda m: gru(m, "_l0"),
        numbers(1, LENGTH, BATCH, 4),
        h,
        call=lambda m, xs, h: nn.unroll(m, xs, h)[1],
        their_call=lambda m, xs, h: m(xs, h[None])[0],
    )


def test_lstm() -> None:
    """One step, and a sequence, from a state that is differentiated too."""
    torch = the_torch()
    cell = random_like(nn.LSTMCell.init(Key(0), 4, WIDTH))
    x, h, c = numbers(1, BATCH, 4), numbers(2, BATCH, WIDTH), numbers(3, BATCH, WIDTH)
    same(
        cell,
        torch.nn.LSTMCell(4, WIDTH, dtype=torch.float64),
        lstm,
        x,
        h,
        c,
        call=lambda m, x, h, c: fgrad.concat(leaves(m(nn.LSTMState(h, c), x))),
        their_call=lambda m, x, h, c: torch.cat(m(x, (h, c))),
        zeros=("bias_hh",),
    )
    same(
        cell,
        torch.nn.LSTM(4, WIDTH, dtype=torch.float64),
        lambda m: lstm(m, "_l0"),
        numbers(1, LENGTH, BATCH, 4),
        h,
        c,
        call=lambda m, xs, h, c: nn.unroll(m, xs, nn.LSTMState(h, c))[1],
        their_call=lambda m, xs, h, c: m(xs, (h[None], c[None]))[0],
        zeros=("bias_hh_l0",),
    )


# --- laws of every layer ---------------------------------------------------------------------------------------------
def layers(dtype: Any = np.float64) -> dict[str, tuple[Layer, Callable[..., Any]]]:
    """Every layer, and how it is called on (…, LENGTH, WIDTH)."""
    call = lambda m, x: m(x)
    attend = nn.MultiHeadAttention.init(Key(0), WIDTH, 2, dtype=dtype)
    return {
        "linear": (nn.Linear.init(Key(0), WIDTH, 4, dtype=dtype), call),
        "mlp": (nn.MLP.init(Key(0), [WIDTH, 6, 4], activation="gelu", dtype=dtype), call),
        "layer norm": (nn.LayerNorm.init(WIDTH, dtype=dtype), call),
        "rms norm": (nn.RMSNorm.init(WIDTH, dtype=dtype), call),
        "batch norm": (nn.BatchNorm.init(WIDTH, dtype=dtype), lambda m, x: m(x, m.start())[0]),
        "evaluated batch norm": (nn.BatchNorm.init(WIDTH, dtype=dtype), lambda m, x: m(x, m.start(), False)[0]),
        "dropout": (nn.Dropout(0.5), lambda m, x: m(x, Key(1))),
        "attention": (attend, call),
        "causal attention": (attend, lambda m, x: m(x, causal=True)),
        "block": (
            nn.TransformerBlock.init(Key(0), WIDTH, 2, 12, 0.2, dtype=dtype),
            lambda m, x: m(x, Key(1), causal=True),
        ),
        "gru cell": (nn.GRUCell.init(Key(0), WIDTH, 4, dtype=dtype), lambda m, x: m(m.start(x.shape[:-1]), x)),
        "lstm cell": (nn.LSTMCell.init(Key(0), WIDTH, 4, dtype=dtype), lambda m, x: m(m.start(x.shape[:-1]), x).hidden),
        "gru": (nn.GRUCell.init(Key(0), WIDTH, 4, dtype=dtype), lambda m, x: nn.unroll(m, x)[1]),
        "lstm": (nn.LSTMCell.init(Key(0), WIDTH, 4, dtype=dtype), lambda m, x: nn.unroll(m, x)[1]),
    }


NAMES = list(layers())


@pytest.mark.parametrize("name", NAMES)
def test_derivatives(name: str) -> None:
    """In both modes, to second order, and of the layer's own type."""
    layer, call = layers()[name]
    x = numbers(0, 3, WIDTH)
    weights = numbers(1, *call(layer, x).shape)
    check_grads(lambda m, x: fgrad.sum(call(m, x) * weights), (layer, x))
    gradient = grad(lambda m: fgrad.sum(call(m, x) * weights))(layer)
    assert tree.flatten(gradient)[1] == tree.flatten(layer)[1]


@pytest.mark.parametrize("name", NAMES)
def test_compiled_is_eager(name: str) -> None:
    """And so is a gradient; keys are drawn from as they are eagerly."""
    layer, call = layers()[name]
    x = numbers(0, LENGTH, WIDTH)
    loss = lambda m, x: fgrad.mean(call(m, x) ** 2)
    np.testing.assert_allclose(jit(call)(layer, x), call(layer, x), rtol=1e-12, atol=1e-14)
    value, gradient = value_and_grad(loss)(layer, x)
    compiled, slope = jit(value_and_grad(loss))(layer, x)
    np.testing.assert_allclose(compiled, value, rtol=1e-12)
    for a, b in zip(leaves(slope), leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_mapped_is_a_loop(name: str) -> None:
    """Over examples, over layers, and over both."""
    layer, call = layers()[name]
    xs = numbers(0, BATCH, LENGTH, WIDTH)
    each = [call(layer, x) for x in xs]
    np.testing.assert_allclose(vmap(lambda x: call(layer, x))(xs), each, rtol=1e-12, atol=1e-14)
    loss = lambda m, x: fgrad.mean(call(m, x) ** 2)
    several = vmap(grad(loss), in_axes=(None, 0))(layer, xs)
    for i, x in enumerate(xs):
        for a, b in zip(leaves(several), leaves(grad(loss)(layer, x)), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-11, atol=1e-14)
    both = tree.map(lambda *x: np.stack(x), *[layer] * BATCH)
    if leaves(layer):
        np.testing.assert_allclose(vmap(call)(both, xs), each, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays(name: str) -> None:
    """In results and gradients, and near what float64 gives."""
    layer, call = layers()[name]
    made, narrow = layers(np.float32)[name][0], tree.map(lambda p: p.astype(np.float32), layer)
    assert all(p.dtype == np.float32 for p in leaves(made))
    x = numbers(0, LENGTH, WIDTH)
    y = call(narrow, x.astype(np.float32))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, call(layer, x), rtol=1e-4, atol=1e-5)
    gradient: Any = grad(lambda m, x: fgrad.mean(call(m, x) ** 2), (0, 1))
    for transform in (gradient, jit(gradient)):
        found = transform(narrow, x.astype(np.float32))
        assert all(g.dtype == np.float32 for g in leaves(found))


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("batch norm", "gru", "lstm", "dropout", "block")]
)
def test_leading_axes_are_examples(name: str) -> None:
    """What is done with each row, or each sequence, does not depend on the others."""
    layer, call = layers()[name]
    xs = numbers(0, 2, BATCH, LENGTH, WIDTH)
    found = call(layer, xs)
    for i in range(2):
        for j in range(BATCH):
            np.testing.assert_allclose(found[i, j], call(layer, xs[i, j]), rtol=1e-12, atol=1e-14)


# --- layer by layer --------------------------------------------------------------------------------------------------
def test_embedding_in_every_transform() -> None:
    layer, indices = nn.Embedding.init(Key(0), 6, 3), np.array([[0, 2, 2], [5, 2, 0]])
    np.testing.assert_array_equal(layer(indices), layer.table[indices])
    assert layer(5).shape == (3,)
    loss = lambda m, i: nn.l2_penalty(m(i))
    expected = 2 * layer.table * np.bincount(indices.ravel(), minlength=6)[:, None]
    np.testing.assert_allclose(grad(loss)(layer, indices).table, expected)
    np.testing.assert_allclose(jit(grad(loss))(layer, indices).table, expected)
    np.testing.assert_allclose(vmap(layer)(indices), layer(indices))
    each = vmap(grad(loss), in_axes=(None, 0))(layer, indices)
    np.testing.assert_allclose(each.table.sum(0), expected)
    assert nn.Embedding.init(Key(0), 6, 3, dtype=np.float32)(indices).dtype == np.float32


@pytest.mark.parametrize("wrong", [-1, 6])
def test_an_embedding_knows_its_rows(wrong: int) -> None:
    layer = nn.Embedding.init(Key(0), 6, 3)
    loss = lambda m, i: nn.l2_penalty(m(i))
    for f in (loss, grad(loss), jit(loss)):
        with pytest.raises(IndexError, match=f"from 0 to 5: there is a {wrong}"):
            f(layer, np.array([0, wrong]))
    with pytest.raises(errors.ArgumentError, match="integers"):
        layer(np.array([0.0]))
    assert vmap(layer)(np.zeros((0, 2), int)).shape == (0, 2, 3)


def test_dropout() -> None:
    """The key alone decides; the mean stays; the rate is the share of zeros; nothing drops without a key."""
    layer, x = nn.Dropout(0.2), np.ones(20_000)
    y = layer(x, Key(0))
    assert set(np.unique(y)) == {0.0, 1.25}
    assert np.mean(y) == pytest.approx(1.0, abs=0.02)
    np.testing.assert_array_equal(y, layer(x, Key(0)))
    assert not np.array_equal(y, layer(x, Key(1)))
    assert layer(x) is x
    np.testing.assert_array_equal(nn.Dropout(0.0)(x, Key(0)), x)
    np.testing.assert_array_equal(grad(lambda x: fgrad.sum(layer(x, Key(0))))(x), y)
    compiled = jit(layer)
    for key in Key(5).split(3):  # a compiled function takes the key it is given
        np.testing.assert_array_equal(compiled(x, key), layer(x, key))
    assert leaves(layer) == []
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="dropout rate"):
            nn.Dropout(rate)


def test_dropout_of_examples() -> None:
    """Each by its own key, or all by one."""
    layer, keys, xs = nn.Dropout(0.5), Key(0).split(3), np.ones((3, 20))
    many = tree.map(lambda *words: np.stack(words), *keys)
    np.testing.assert_array_equal(vmap(layer)(xs, many), [layer(x, key) for x, key in zip(xs, keys, strict=True)])
    shared = vmap(layer, in_axes=(0, None))(xs, keys[0])
    np.testing.assert_array_equal(shared, [layer(x, keys[0]) for x in xs])


def test_dropped_numbers_may_be_anything() -> None:
    """An infinity that is dropped is 0, in gradients too."""
    x = np.where(nn.Dropout(0.5)(np.ones(50), Key(0)) == 0, np.inf, 1.0)
    value, slope = value_and_grad(lambda x: fgrad.sum(nn.Dropout(0.5)(x, Key(0)) ** 2))(x)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("x", [np.full((2, WIDTH), 3.0), np.zeros((2, WIDTH))])
@pytest.mark.parametrize("layer", [nn.LayerNorm.init(WIDTH), nn.RMSNorm.init(WIDTH)])
def test_norms_of_what_has_no_size_are_finite(layer: Layer, x: nn.Floats) -> None:
    """Constant rows, and zeros, in values and gradients."""
    weights = numbers(0, 2, WIDTH)
    value, slope = value_and_grad(lambda x: fgrad.sum(layer(x) * weights))(x)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_norms_normalise() -> None:
    """Means 0 and mean squares 1, for large numbers and small."""
    for size in (1e-2, 1.0, 1e6):
        x = numbers(0, BATCH, 50) * size
        y = nn.LayerNorm.init(50, epsilon=0.0)(x)
        np.testing.assert_allclose(y.mean(-1), 0, atol=1e-12)
        np.testing.assert_allclose((y**2).mean(-1), 1)
        np.testing.assert_allclose((nn.RMSNorm.init(50, epsilon=0.0)(x) ** 2).mean(-1), 1)


def test_batch_norm_state() -> None:
    """It comes out anew, of the layer's dtype, through jit and as aux; one row is no batch."""
    layer = nn.BatchNorm.init(WIDTH, momentum=0.5, dtype=np.float32)
    x: Any = numbers(0, BATCH, LENGTH, WIDTH).astype(np.float32)
    state = layer.start()
    (_, after), _ = jit(value_and_grad(lambda m, s: ((r := m(x, s))[0].sum(), r[1]), has_aux=True))(layer, state)
    assert isinstance(after, nn.BatchNormState)
    assert after.mean.dtype == after.var.dtype == np.float32
    np.testing.assert_allclose(after.mean, x.mean((0, 1)) / 2, rtol=1e-5)
    np.testing.assert_allclose(after.var, 0.5 + x.var((0, 1), ddof=1) / 2, rtol=1e-5)
    np.testing.assert_array_equal(state.mean, np.zeros(WIDTH))
    with pytest.raises(errors.StructureError, match="LayerNorm"):
        layer(x[:1, 0], state)


def test_causal_attention_does_not_look_ahead() -> None:
    """Another token changes nothing before it, and its derivatives there are 0."""
    place = 3
    for layer in (nn.MultiHeadAttention.init(Key(0), WIDTH, 2), nn.TransformerBlock.init(Key(0), WIDTH, 4)):
        x = numbers(0, LENGTH, WIDTH)
        changed = np.concatenate([x[:place], numbers(1, LENGTH - place, WIDTH)])
        np.testing.assert_array_equal(layer(x, causal=True)[:place], layer(changed, causal=True)[:place])
        assert not np.allclose(layer(x)[:place], layer(changed)[:place])
        slope = grad(lambda x, m=layer: fgrad.sum(m(x, causal=True)[:place]))(x)
        assert not slope[place:].any()
        assert slope[:place].all()


def test_attention_to_nothing_finds_nothing() -> None:
    """A place that may look nowhere finds 0, with finite gradients; the others are as without it."""
    query, key, value = (numbers(i, LENGTH, 4) for i in range(3))
    mask = np.ones((LENGTH, LENGTH), bool)
    mask[2] = False
    found = nn.attend(query, key, value, mask=mask)
    assert not found[2].any()
    np.testing.assert_allclose(np.delete(found, 2, 0), np.delete(nn.attend(query, key, value), 2, 0))
    check_grads(lambda q, k, v: fgrad.sum(nn.attend(q, k, v, mask=mask) ** 2), (query, key, value))
    jitted = jit(grad(lambda q: fgrad.sum(nn.attend(q, key, value, mask=mask) ** 2)))(query)
    assert not jitted[2].any()


def test_masks() -> None:
    """They may be arguments of what is compiled or mapped over; floats, as PyTorch takes too, are refused."""
    layer, xs = nn.MultiHeadAttention.init(Key(0), WIDTH, 2), numbers(0, BATCH, LENGTH, WIDTH)
    masks = np.arange(LENGTH) < np.array([5, 3, 1])[:, None, None, None]

    def call(m: nn.MultiHeadAttention, x: nn.Floats, mask: Any) -> nn.Floats:
        return m(x, causal=True, mask=mask)

    expected = call(layer, xs, masks)
    np.testing.assert_allclose(jit(call)(layer, xs, masks), expected, rtol=1e-12)
    np.testing.assert_allclose(vmap(call, in_axes=(None, 0, 0))(layer, xs, masks), expected, rtol=1e-12)
    with pytest.raises(errors.ArgumentError, match="write mask == 0"):
        call(layer, xs, np.where(masks, 0.0, -np.inf))


def test_attention_is_stable() -> None:
    """Likes that are far apart, or all huge, give what they give in the limit."""
    one, value = np.eye(2) * 1e4, np.array([[1.0], [2.0]])
    np.testing.assert_array_equal(nn.attend(one, one, value), value)
    same = np.full((2, 2), 1e5)
    np.testing.assert_array_equal(nn.attend(same, same, value), [[1.5], [1.5]])


def test_attention_with_fewer_queries_than_keys() -> None:
    """It is of any lengths, as in looking at another sequence."""
    torch = the_torch()
    query, key, value = numbers(0, 2, 3, 4), numbers(1, 2, 6, 4), numbers(2, 2, 6, 5)
    expected = torch.nn.functional.scaled_dot_product_attention(*map(torch.tensor, (query, key, value)))
    np.testing.assert_allclose(nn.attend(query, key, value), expected, rtol=1e-13)


def test_heads_share_the_width() -> None:
    for heads in (0, 3):
        with pytest.raises(errors.StructureError, match=f"8 features .* {heads} heads"):
            nn.MultiHeadAttention.init(Key(0), 8, heads)


def test_a_block_drops_by_its_key() -> None:
    block, x = nn.TransformerBlock.init(Key(0), WIDTH, 2, dropout=0.5), numbers(0, LENGTH, WIDTH)
    np.testing.assert_array_equal(block(x, Key(1)), block(x, Key(1)))
    assert not np.allclose(block(x, Key(1)), block(x, Key(2)))
    assert not np.allclose(block(x, Key(1)), block(x))
    compiled = jit(block)
    for key in Key(5).split(2):
        np.testing.assert_allclose(compiled(x, key), block(x, key), rtol=1e-12)


def test_a_sequence_is_its_steps() -> None:
    """`unroll` gives what the cell gives step after step, from the start and from a state; so does its gradient."""
    xs = numbers(0, LENGTH, BATCH, 4)

    def by_steps(cell: Any, xs: nn.Floats) -> Any:
        state, outputs = cell.start((BATCH,)), []
        for x in xs:
            state = cell(state, x)
            outputs.append(cell.output(state))
        return state, fgrad.stack(outputs)

    cells: list[Any] = [nn.GRUCell.init(Key(0), 4, WIDTH), nn.LSTMCell.init(Key(0), 4, WIDTH)]
    for cell in cells:
        for a, b in zip(leaves(nn.unroll(cell, xs)), leaves(by_steps(cell, xs)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        half, outputs = nn.unroll(cell, xs[:2])
        last, rest = nn.unroll(cell, xs[2:], half)
        np.testing.assert_allclose(np.concatenate([outputs, rest]), nn.unroll(cell, xs)[1], rtol=1e-12)
        assert type(last) is type(half)
        ours, theirs = (grad(lambda m, f=f: fgrad.sum(f(m, xs)[1] ** 2))(cell) for f in (nn.unroll, by_steps))
        for a, b in zip(leaves(ours), leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11)


# --- initialisers ----------------------------------------------------------------------------------------------------
SHAPES = [(60, 40), (40, 60), (3, 3, 20, 30)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("initialiser", "variance"),
    [
        (nn.glorot_uniform, lambda n, m: 2 / (n + m)),
        (nn.glorot_normal, lambda n, m: 2 / (n + m)),
        (nn.he_uniform, lambda n, m: 2 / n),
        (nn.he_normal, lambda n, m: 2 / n),
    ],
)
def test_variances(initialiser: nn.Initialiser, variance: Callable[[int, int], float], shape: tuple[int, ...]) -> None:
    """They are those of the papers; means are 0; the key decides."""
    *places, n, m = shape
    size = int(np.prod(places))
    w = initialiser(Key(0), shape, np.float64)
    assert w.shape == shape
    assert np.var(w) == pytest.approx(variance(size * n, size * m), rel=0.1)
    assert np.mean(w) == pytest.approx(0, abs=4 * np.std(w) / np.sqrt(w.size))
    np.testing.assert_array_equal(w, initialiser(Key(0), shape, np.float64))
    assert initialiser(Key(0), shape, np.float32).dtype == np.float32


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (2, 2, 3, 4), (1, 1)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    """Of rows and columns the fewer are orthonormal, in any dtype, also where keys are mapped over."""
    w = nn.orthogonal(Key(0), shape).reshape(-1, shape[-1])
    product = w @ w.T if len(w) < shape[-1] else w.T @ w
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-14)
    assert nn.orthogonal(Key(0), shape, np.float32).dtype == np.float32


def test_orthogonal_matrices_are_all_equally_likely() -> None:
    """A rotation's sign is as often + as -, which it is not as LAPACK gives it."""
    signs = [np.linalg.det(nn.orthogonal(key, (3, 3))) for key in Key(0).split(400)]
    assert abs(np.mean(signs)) < 0.2
    assert abs(np.mean([nn.orthogonal(key, (1, 1)) for key in Key(0).split(400)])) < 0.2


def test_layers_are_made_in_every_transform() -> None:
    """One network for each key, at once; and compiled."""
    keys = Key(0).split(3)

    def make(key: Key) -> nn.TransformerBlock:
        return nn.TransformerBlock.init(key, 4, 2, dtype=np.float32)

    many = vmap(make)(tree.map(lambda *words: np.stack(words), *keys))
    for i, key in enumerate(keys):
        for a, b in zip(leaves(many), leaves(make(key)), strict=True):
            np.testing.assert_array_equal(a[i], b)
    assert jit(make)(keys[0]) == make(keys[0])


def test_networks_refuse_what_they_are_not() -> None:
    with pytest.raises(errors.ArgumentError, match="two sizes"):
        nn.MLP.init(Key(0), [3])
    with pytest.raises(errors.ArgumentError, match="tanh, relu"):
        nn.MLP.init(Key(0), [3, 2], activation="step")  # type: ignore[arg-type]  # an unknown one is the error


def test_a_layer_says_what_does_not_fit_it() -> None:
    with pytest.raises(errors.StructureError, match=r"a layer of 3 numbers was given an array of shape \(5, 4\)"):
        nn.MLP.init(Key(0), [3, 2])(np.ones((5, 4)))
