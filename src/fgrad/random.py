"""Random numbers as pure functions of a key: the same key gives the same bits, on every machine, each time.

Knows keys, and how numbers follow from them; nothing of what they are for. All that is random in fgrad takes a key:
a value, which is split where several things need one, and never used twice.

A key is the key of NumPy's Philox4x64, the counter-based generator of Salmon et al., "Parallel random numbers: as easy
as 1, 2, 3" (2011): its samples are the stream from counter 0 on, and keys derived from it are blocks of the same
function at counters that no stream reaches. Sampling is an op without a derivative: traced, it stays in the program,
so that a compiled function that is given another key gives other numbers.
"""

import math
from collections.abc import Callable, Sequence
from operator import index
from typing import Final, TypeAlias, TypeVar, cast, overload

import attrs
import numpy as np
from numpy.typing import DTypeLike, NDArray

from fgrad import errors
from fgrad.arrays import quiet
from fgrad.node import Node, Op, Value, apply
from fgrad.node import shape as _shape
from fgrad.ops.accumulating import cumulative_sum
from fgrad.ops.elementwise import less, log
from fgrad.ops.interpolating import searchsorted
from fgrad.ops.reducing import argsort
from fgrad.ops.selecting import getitem, take
from fgrad.ops.shaping import astype, dtype_of, integers, reshape

A = TypeVar("A", bound=NDArray[np.generic])
Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]
Shape: TypeAlias = Sequence[int]
_FOLD, _SPLIT = 1, 2  # the highest word of the counter, where keys are derived
_LEAST: Final = 1e-3  # the share of a normal's numbers that an interval must hold to be drawn from
_REFUSED: Final = "a Key is not differentiated: pass it as an argument of its own, beside those that are"


@attrs.frozen(init=False, eq=False)
class Key:
    """What random numbers follow from: made of a seed, an integer from 0.

    A key is a pytree of one array, the two words of Philox's key, and may be passed to compiled and mapped functions,
    and saved. Raises ValueError for a negative seed.

    >>> first, second = Key(0).split(2)
    >>> normal(first, 2).tolist() == normal(first, 2).tolist() != normal(second, 2).tolist()
    True
    """

    words: Words

    def __init__(self, seed: int = 0) -> None:
        words = np.random.SeedSequence(index(seed)).generate_state(2, np.uint64)
        object.__setattr__(self, "words", words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and bool(np.array_equal(self.words, other.words))

    def __hash__(self) -> int:
        return hash(np.asarray(self.words).tobytes())

    def split(self, n: int = 2) -> tuple["Key", ...]:
        """Give n keys, independent of each other and of this one."""
        return tuple([_key(apply(_derive, (self.words, i), (_SPLIT,))) for i in range(n)])

    def fold_in(self, data: int) -> "Key":
        """Give the key that belongs to an integer, such as the number of a step; it may be traced."""
        whole = np.uint64(data % 2**64) if type(data) is int else data  # of any size
        return _key(apply(_derive, (self.words, whole), (_FOLD,)))


def _key(words: object) -> Key:
    key = Key.__new__(Key)
    object.__setattr__(key, "words", words)
    return key


# --- rows, on the words of one key or of many along first axes -------------------------------------------------------
def _each(words: object, sizes: tuple[int, ...], dtype: str, draw: Callable[[np.random.Generator], object]) -> Value:
    """The numbers of each key."""
    keys = np.asarray(words)
    if keys.dtype != np.uint64:
        raise errors.LeafError(_REFUSED)
    out = np.empty((*keys.shape[:-1], *sizes), dtype)
    for place in np.ndindex(keys.shape[:-1]):
        out[place] = draw(np.random.Generator(np.random.Philox(key=keys[place])))
    return cast("Value", out[()])


def _derived(words: object, data: object, domain: int) -> Value:
    if np.asarray(words).dtype != np.uint64:
        raise errors.LeafError(_REFUSED)
    if np.asarray(data).dtype.kind not in "iu":
        raise errors.LeafError(f"a key is folded with an integer, not with {data!r}")
    keys, numbers = np.asarray(words), np.asarray(data)
    places = np.broadcast_shapes(keys.shape[:-1], numbers.shape)
    keys, numbers = np.broadcast_to(keys, (*places, 2)), np.broadcast_to(numbers, places)
    out = np.empty((*places, 2), np.uint64)
    for place in np.ndindex(places):
        counter = np.array([int(numbers[place]) % 2**64, 0, 0, domain], np.uint64)
        out[place] = np.random.Philox(key=keys[place], counter=counter).random_raw(2)
    return cast("Value", out)


def _row(name: str, impl: Callable[..., Value]) -> Op:
    """A row without a derivative, for which keys along a first axis are nothing new."""
    return Op(name, impl, batch=lambda op, args, batched, params, size: apply(op, tuple(args), params))


def _wide(dtype: str) -> type[np.float64]:
    """What the generator can draw, of which the rest is rounded."""
    return cast("type[np.float64]", np.float64 if dtype == "float64" else np.float32)


def _unit(rng: np.random.Generator, sizes: tuple[int, ...], dtype: str) -> Floats:
    """From 0 up to, but without, 1; the largest must not be rounded to it."""
    x = rng.random(sizes, _wide(dtype))
    return np.floor(x * 2**11) / 2**11 if dtype == "float16" else x


def _truncated(rng: np.random.Generator, sizes: tuple[int, ...], dtype: str, low: float, high: float) -> Floats:
    """Draw again what lies outside, once it is rounded."""
    x = np.asarray(rng.standard_normal(sizes, _wide(dtype))).astype(dtype)
    while (outside := (x < low) | (x > high)).any():
        x[outside] = rng.standard_normal(int(outside.sum()), _wide(dtype))
    return x


_derive: Final = _row("derive_key", _derived)
_uniform: Final = _row(
    "random_uniform",
    lambda words, sizes, dtype: _each(words, sizes, dtype, lambda rng: _unit(rng, sizes, dtype)),
)
_normal: Final = _row(
    "random_normal",
    lambda words, sizes, dtype: _each(words, sizes, dtype, lambda rng: rng.standard_normal(sizes, _wide(dtype))),
)
_truncated_normal: Final = _row(
    "random_truncated_normal",
    lambda words, sizes, dtype, low, high: _each(
        words, sizes, dtype, lambda rng: _truncated(rng, sizes, dtype, low, high)
    ),
)
_permutation: Final = _row(
    "random_permutation", lambda words, n: _each(words, (n,), "int64", lambda rng: rng.permutation(n))
)


def _drawn(row: Op, key: Key, shape: int | Shape, dtype: DTypeLike, *params: float) -> Floats:
    name = np.dtype(dtype).name
    if np.dtype(dtype).kind != "f":
        raise errors.ArgumentError(f"random numbers of dtype {name} are not drawn: ask for float64 or float32")
    return cast("Floats", apply(row, (_words(key),), (integers(shape), name, *params)))


def _check_chances(p: Floats, n: int, count: int) -> None:
    """Raise an error for what are no n chances, or where too few can be chosen; traced ones are taken as they are."""
    if _shape(p) != (n,):
        raise errors.StructureError(f"p has the shape {_shape(p)}, but there are {n} to choose from")
    if isinstance(p, Node):
        return
    if not (np.isfinite(p) & (p >= 0)).all() or np.count_nonzero(p) < count:
        raise ValueError(f"p are numbers from 0, of which at least {max(count, 1)} are not 0")


def _words(key: Key) -> Words:
    if not isinstance(key, Key):
        raise errors.ArgumentError(f"a Key is needed, not a {type(key).__name__}: write random.Key(0)")
    return key.words


# --- what can be drawn -----------------------------------------------------------------------------------------------
def uniform(
    key: Key, shape: int | Shape = (), dtype: DTypeLike = np.float64, low: float = 0.0, high: float = 1.0
) -> Floats:
    """Numbers from low up to, but without, high, unless rounding reaches it, as it may between bounds of one's own.

    >>> uniform(Key(0), 2).round(6).tolist()
    [0.014067, 0.257767]
    """
    x = _drawn(_uniform, key, shape, dtype)
    plain = type(low) is float and type(high) is float and (low, high) == (0.0, 1.0)
    if plain:
        return x
    moved = low + (high - low) * x
    return moved if dtype_of(moved) == np.dtype(dtype) else astype(moved, np.dtype(dtype))


def normal(key: Key, shape: int | Shape = (), dtype: DTypeLike = np.float64) -> Floats:
    """Numbers with mean 0 and standard deviation 1, normally distributed.

    >>> normal(Key(0), 2).round(6).tolist()
    [-0.205974, -0.128845]
    """
    return _drawn(_normal, key, shape, dtype)


def truncated_normal(
    key: Key, shape: int | Shape = (), dtype: DTypeLike = np.float64, low: float = -2.0, high: float = 2.0
) -> Floats:
    """Numbers of a normal distribution (mean 0, standard deviation 1), without those outside low and high.

    Raises ValueError for an interval that holds less than a thousandth of such numbers.

    >>> x = truncated_normal(Key(0), 1000, low=-1.0)
    >>> bool(-1.0 <= x.min() < x.max() <= 2.0)
    True
    """
    share = (math.erfc(low / math.sqrt(2)) - math.erfc(high / math.sqrt(2))) / 2
    if not share >= _LEAST:
        raise ValueError(f"hardly a number of a normal distribution lies from {low} to {high}")
    return _drawn(_truncated_normal, key, shape, dtype, float(low), float(high))


def bernoulli(key: Key, p: float = 0.5, shape: int | Shape | None = None) -> NDArray[np.bool]:
    """True with probability p, in the shape of p if none is given.

    >>> bernoulli(Key(0), 0.5, 4).tolist()
    [True, True, True, True]
    """
    sizes = _shape(p) if shape is None else shape
    return cast("NDArray[np.bool]", less(_drawn(_uniform, key, sizes, np.float64), p))


@overload
def permutation(key: Key, x: int) -> Integers: ...
@overload
def permutation(key: Key, x: A) -> A: ...
def permutation(key: Key, x: int | A) -> Integers | A:
    """The integers below n in random order; or the rows of an array in random order.

    >>> permutation(Key(0), 5).tolist()
    [0, 3, 4, 2, 1]
    """
    n = _shape(x)[0] if _shape(x) else index(cast("int", x))
    order = apply(_permutation, (_words(key),), (n,))
    return cast("A", take(cast("Floats", x), order, axis=0)) if _shape(x) else cast("Integers", order)


@overload
def choice(key: Key, a: int, shape: int | Shape = (), *, replace: bool = True, p: Floats | None = None) -> Integers: ...
@overload
def choice(key: Key, a: A, shape: int | Shape = (), *, replace: bool = True, p: Floats | None = None) -> A: ...
def choice(
    key: Key, a: int | A, shape: int | Shape = (), *, replace: bool = True, p: Floats | None = None
) -> Integers | A:
    """Some of the integers below n, or some of the rows of an array; those not put back are chosen once at most.

    `p` (n,) says how likely each is; it need not sum to 1. Without putting back they are the largest of
    log p + Gumbel noise (Yellott 1977). Raises ValueError where more are asked for than there are.

    >>> choice(Key(0), 5, 3, replace=False).tolist()
    [0, 3, 4]
    """
    n = _shape(a)[0] if _shape(a) else index(cast("int", a))
    sizes = integers(shape)
    count = math.prod(sizes)
    if n < 1 or (count > n and not replace):
        raise ValueError(f"{count} of {n} cannot be chosen")
    if p is not None:
        _check_chances(p, n, 1 if replace else count)
    if replace:
        sums = np.arange(1.0, n + 1) if p is None else cumulative_sum(p)
        found = searchsorted(sums, _drawn(_uniform, key, (count,), np.float64) * sums[-1], side="right")
    elif p is None:
        found = getitem(permutation(key, n), slice(count))
    else:
        with quiet():
            noise = -log(-log(_drawn(_uniform, key, (n,), np.float64)))
            found = getitem(argsort(-(log(p) + noise)), slice(count))
    places = reshape(cast("Floats", found), sizes)
    return cast("A", take(cast("Floats", a), places, axis=0)) if _shape(a) else cast("Integers", places)
