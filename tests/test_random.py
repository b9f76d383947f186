"""Random numbers: they follow from the key alone, in every process and transform, and are distributed as said."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fgrad import errors, grad, io, jit, tree, vmap
from fgrad.random import Key, bernoulli, choice, normal, permutation, truncated_normal, uniform

DRAWS: dict[str, Callable[[Key], Any]] = {
    "uniform": lambda key: uniform(key, (2, 3)),
    "uniform between": lambda key: uniform(key, 3, low=-1.0, high=2.5),
    "uniform float32": lambda key: uniform(key, 3, np.float32),
    "normal": lambda key: normal(key, (2, 3)),
    "normal number": normal,
    "normal float16": lambda key: normal(key, 3, np.float16),
    "truncated": lambda key: truncated_normal(key, 50, low=-0.5),
    "bernoulli": lambda key: bernoulli(key, 0.3, (4,)),
    "bernoulli of an array": lambda key: bernoulli(key, np.array([0.1, 0.9])),  # type: ignore[arg-type]  # probabilities broadcast
    "permutation": lambda key: permutation(key, 6),
    "permuted rows": lambda key: permutation(key, np.arange(8.0).reshape(4, 2)),
    "choice": lambda key: choice(key, 6, (2, 2)),
    "choice of rows": lambda key: choice(key, np.arange(8.0).reshape(4, 2), 3, replace=False),
    "weighted choice": lambda key: choice(key, 3, 5, p=np.array([0.2, 0.0, 0.8])),
    "weighted choice, once": lambda key: choice(key, 4, 2, replace=False, p=np.array([0.2, 0.0, 0.5, 0.3])),
    "split": lambda key: key.split(2)[1].words,
    "fold_in": lambda key: key.fold_in(7).words,
}


@pytest.mark.parametrize("name", DRAWS)
def test_traced_numbers_are_the_eager_ones(name: str) -> None:
    """Compiled, another key gives other numbers without another trace; mapped, each key its own."""
    draw = DRAWS[name]
    compiled = jit(draw)
    keys = Key(3).split(3)
    for key in keys:
        found = compiled(key)
        np.testing.assert_array_equal(found, draw(key), strict=True)
    assert compiled.cache_info().traces == 1
    stacked = tree.map(lambda *words: np.stack(words), *keys)
    np.testing.assert_array_equal(vmap(draw)(stacked), [draw(key) for key in keys])
    np.testing.assert_array_equal(jit(vmap(draw))(stacked), [draw(key) for key in keys])


@pytest.mark.parametrize("name", DRAWS)
def test_a_key_gives_the_same_bits_and_another_others(name: str) -> None:
    draw = DRAWS[name]
    assert np.asarray(draw(Key(3))).tobytes() == np.asarray(draw(Key(3))).tobytes()
    assert any(np.asarray(draw(Key(3))).tobytes() != np.asarray(draw(Key(seed))).tobytes() for seed in range(4, 9))


def test_the_bits_are_these_everywhere() -> None:
    """Written down once: no release of anything below may change them."""
    key = Key(2026)
    assert key.words.tolist() == [9479640617736930317, 6466925300248251303]
    assert key.fold_in(1).words.tolist() == [7285248824088935858, 14155720558619206929]
    assert [k.words.tolist() for k in key.split(2)] == [
        [5020474092861893288, 1989610812223896094],
        [3862934876430501932, 16157434327934689267],
    ]
    assert uniform(key, 3).tolist() == [0.17174895248729471, 0.00637712572177529, 0.774576334588037]
    assert normal(key, 3).tolist() == [0.2522572813640747, 0.06178943664522143, -0.24763446728947486]
    assert normal(key, 3, np.float32).tolist() == [0.037224818021059036, -0.19582203030586243, 0.5056630373001099]
    assert permutation(key, 8).tolist() == [4, 5, 1, 7, 2, 0, 6, 3]


def test_another_process_gives_the_same_bits() -> None:
    code = "from fgrad.random import *; print(normal(Key(5).split(3)[2].fold_in(9), 4).tobytes().hex())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == normal(Key(5).split(3)[2].fold_in(9), 4).tobytes().hex()


def test_derived_keys_are_all_different() -> None:
    """Those of a split, those folded with integers (negative and large ones too), and what is derived from them."""
    key = Key(0)
    derived = [key, *key.split(100), *[key.fold_in(i) for i in (*range(100), -1, 2**40)]]
    derived += [k.fold_in(0) for k in key.split(100)] + [k.split(1)[0] for k in key.split(100)]
    assert len({tuple(k.words.tolist()) for k in derived}) == len(derived)
    assert key.split(5)[:2] == key.split(2)
    assert key.split(2) != key.split(2)[::-1]


N = 100_000
HALF = math.sqrt(2 / math.pi)  # the mean of the upper half of a normal


@pytest.mark.parametrize(
    ("draw", "mean", "deviation"),
    [
        (lambda key: uniform(key, N), 1 / 2, math.sqrt(1 / 12)),
        (lambda key: uniform(key, N, np.float32, -1.0, 3.0), 1.0, math.sqrt(16 / 12)),
        (lambda key: normal(key, N), 0.0, 1.0),
        (lambda key: truncated_normal(key, N), 0.0, 0.879626),  # of the normal within two deviations
        (
            lambda key: truncated_normal(key, N, low=0.0, high=math.inf),
            math.sqrt(2 / math.pi),
            math.sqrt(1 - 2 / math.pi),
        ),
        (lambda key: bernoulli(key, 0.3, N), 0.3, math.sqrt(0.21)),
        (lambda key: choice(key, 3, N, p=np.array([1.0, 1.0, 2.0])), 1.25, math.sqrt(11 / 16)),
        (lambda key: choice(key, 10, N), 4.5, math.sqrt(99 / 12)),
        (lambda key: permutation(key, N)[: N // 4] / N, 1 / 2, math.sqrt(1 / 12)),
    ],
)
def test_moments(draw: Callable[[Key], Any], mean: float, deviation: float) -> None:
    """Mean and deviation are as the distribution has them, to five standard errors."""
    x = np.asarray(draw(Key(1)), float)
    assert abs(x.mean() - mean) < 5 * deviation / math.sqrt(x.size)
    assert abs(x.std() - deviation) < 5 * deviation / math.sqrt(x.size)


def test_neighbours_are_not_correlated() -> None:
    """Neither numbers of keys that follow each other, nor of one key."""
    x = np.stack([normal(key, 2000) for key in (*Key(0).split(4), *map(Key, range(4)), *map(Key(9).fold_in, range(4)))])
    correlations = np.corrcoef(x) - np.eye(len(x))
    assert np.abs(correlations).max() < 5 / math.sqrt(2000)


def test_ranges_and_dtypes() -> None:
    x = uniform(Key(0), 10_000, low=2.0, high=3.0)
    assert 2.0 <= x.min() < 2.01
    assert 2.99 < x.max() < 3.0
    y = truncated_normal(Key(0), 10_000, np.float32, -1.0, 0.5)
    assert y.dtype == np.float32
    assert -1.0 <= y.min() < y.max() <= 0.5
    assert sorted(choice(Key(0), 50, 50, replace=False).tolist()) == [*range(50)]
    assert sorted(permutation(Key(0), 50).tolist()) == [*range(50)]
    assert uniform(Key(0), (0, 3)).shape == (0, 3)
    assert normal(Key(0)).shape == ()
    assert set(choice(Key(0), 4, 200, p=np.array([0.0, 1.0, 0.0, 1.0])).tolist()) == {1, 3}
    assert set(choice(Key(0), 3, 2, replace=False, p=np.array([1.0, 0.0, 1.0])).tolist()) == {0, 2}


def test_bounds_are_differentiated_and_numbers_are_not() -> None:
    """Low + (high - low) u has the derivatives 1 - u and u."""
    u = uniform(Key(0))
    assert grad(lambda low, key: uniform(key, low=low))(0.25, Key(0)) == pytest.approx(1 - u)
    assert grad(lambda high, key: uniform(key, high=high))(0.25, Key(0)) == pytest.approx(u)
    assert grad(lambda p, key: p * bernoulli(key, p))(0.5, Key(0)) == bernoulli(Key(0), 0.5)


def test_a_key_is_a_value(tmp_path: Any) -> None:
    """It is compared by its words, cannot be changed, and is saved as it is."""
    assert Key(1) == Key(1) != Key(2)
    io.save(tmp_path / "key", Key(1))
    assert io.load(tmp_path / "key", Key(0)) == Key(1)
    with pytest.raises(AttributeError):
        Key(1).words = np.zeros(2, np.uint64)  # type: ignore[misc]  # frozen


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Key(-1), ValueError, "non-negative"),
        (lambda: Key(1.5), TypeError, "integer"),  # type: ignore[arg-type]  # wrong
        (lambda: normal(0), errors.ArgumentError, r"random.Key\(0\)"),  # type: ignore[arg-type]  # as above
        (lambda: normal(Key(0), 2, np.int64), errors.ArgumentError, "float64 or float32"),
        (lambda: Key(0).fold_in(0.5), errors.LeafError, "integer"),  # type: ignore[arg-type]  # as above
        (lambda: grad(lambda key: normal(key))(Key(0)), errors.LeafError, "argument of its own"),
        (lambda: grad(lambda key: normal(key.fold_in(1)))(Key(0)), errors.LeafError, "argument of its own"),
        (lambda: truncated_normal(Key(0), low=8.0, high=9.0), ValueError, "from 8.0 to 9.0"),
        (lambda: truncated_normal(Key(0), low=math.nan), ValueError, "nan"),
        (lambda: choice(Key(0), 3, 4, replace=False), ValueError, "4 of 3"),
        (lambda: choice(Key(0), 0), ValueError, "of 0"),
        (lambda: choice(Key(0), 3, p=np.ones(2)), errors.StructureError, r"\(2,\)"),
        (lambda: choice(Key(0), 3, 2, replace=False, p=np.array([1.0, 0.0, 0.0])), ValueError, "at least 2"),
        (lambda: choice(Key(0), 3, p=np.array([1.0, np.nan, 1.0])), ValueError, "from 0"),
        (lambda: choice(Key(0), 3, p=np.zeros(3)), ValueError, "at least 1"),
        (lambda: choice(Key(0), 2, p=np.array([1.0, -1.0])), ValueError, "from 0"),
    ],
)
def test_errors_teach(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_integers_of_any_size_are_folded_in() -> None:
    """Traced or not, from Python or from NumPy, the same."""
    assert Key(0).fold_in(2**70 + 5) == Key(0).fold_in(5)
    assert Key(0).fold_in(-1) == Key(0).fold_in(np.int64(-1))  # type: ignore[arg-type]  # an integer as well
    assert jit(lambda key, i: uniform(key.fold_in(i)))(Key(0), -1) == uniform(Key(0).fold_in(-1))
    assert len({Key(0), Key(1), Key(0)}) == 2


def test_small_floats_stay_below_their_bounds() -> None:
    half = uniform(Key(0), 100_000, np.float16)
    assert half.max() < 1
    assert np.abs(truncated_normal(Key(0), 100_000, np.float16, -0.9, 0.9)).max() <= np.float16(0.9)
    assert uniform(Key(0), 3, np.float32, np.float64(-1), np.float64(1)).dtype == np.float32
