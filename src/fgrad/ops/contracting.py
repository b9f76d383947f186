"""Sums of products in Einstein's notation.

Knows what subscripts mean, and multiplies operands two by two; nothing of derivatives: all is made of diagonals, sums,
transposes, multiplication and matrix products.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from math import prod
from typing import Generic, TypeAlias

import attrs

from fgrad.arrays import numpy
from fgrad.errors import MissingRowError
from fgrad.node import X, shape
from fgrad.ops.elementwise import multiply
from fgrad.ops.linalg import matmul, vecdot
from fgrad.ops.rearranging import diagonal
from fgrad.ops.reducing import sum
from fgrad.ops.rows import public, stand_in
from fgrad.ops.shaping import move_axes, permute_dims, reshape, squeeze

Label: TypeAlias = str | int
"""What an axis is called: a letter, or, for an axis of an ellipsis, its place from the last, which is -1."""
Labels: TypeAlias = tuple[Label, ...]
Shape: TypeAlias = tuple[int, ...]


@attrs.frozen(eq=False)
class Term(Generic[X]):
    """An operand, and the label of each of its axes."""

    x: X
    labels: Labels


@public()
def einsum(subscripts: str, *operands: X) -> X:
    """The sum of products that subscripts like "ij,jk->ik" describe, of any number of operands.

    As np.einsum has it: a letter names an axis, and one that the output lacks is summed over; a letter that is twice
    in a term takes the diagonal; "..." stands for the axes not named, which broadcast, as all axes of length 1 do;
    without "->" the output is "..." and then the letters that occur once, sorted. Three operands and more are
    multiplied in the order of np.einsum_path.

    >>> import numpy as np
    >>> einsum("ij,j->i", np.ones((2, 3)), np.arange(3.0))
    array([3., 3.])
    """
    if not isinstance(subscripts, str):
        raise MissingRowError("einsum reads its subscripts from one string: write fgrad.einsum('ij,jk->ik', x, y)")
    shapes = tuple([shape(x) for x in operands])
    names, output = _parse(subscripts, shapes)
    lengths = _lengths(subscripts, names, shapes)
    terms = [_simple(Term(x, labels), lengths) for x, labels in zip(operands, names, strict=True)]
    for places in _order(subscripts, shapes):
        taken, terms = [terms[i] for i in places], [t for i, t in enumerate(terms) if i not in places]
        while len(taken) > 1:
            later = [label for term in (*terms, *taken[2:]) for label in term.labels]
            taken[:2] = [_product(taken[0], taken[1], {*output, *later})]
        terms += taken
    return _arranged(_summed(terms[0], output), output)


def _parse(subscripts: str, shapes: Sequence[Shape]) -> tuple[list[Labels], Labels]:
    """The labels of each operand, and of the output."""
    inputs, arrow, out = subscripts.replace(" ", "").partition("->")
    parts = inputs.split(",")
    if len(parts) != len(shapes):
        raise ValueError(f"einsum's {subscripts!r} is for {len(parts)} operands, not {len(shapes)}")
    terms = [_labels(subscripts, part, len(lengths)) for part, lengths in zip(parts, shapes, strict=True)]
    every = [label for term in terms for label in term]
    dots = sorted({label for label in every if isinstance(label, int)})
    if not arrow:
        return terms, (*dots, *sorted(i for i in every if isinstance(i, str) and every.count(i) == 1))
    named = len(out.replace("...", ""))
    output = _labels(subscripts, out, named + len(dots) * ("..." in out))
    if len(set(output)) < len(output) or not {*dots} <= {*output} <= {*every}:
        raise ValueError(f"einsum's {subscripts!r} must name in its output axes of the operands, each once, and '...'")
    return terms, output


def _labels(subscripts: str, term: str, ndim: int) -> Labels:
    """The label of each axis of a term."""
    head, dots, tail = term.partition("...")
    letters = head + tail
    more = ndim - len(letters)
    if letters and not (letters.isascii() and letters.isalpha()):
        raise ValueError(f"einsum's {subscripts!r} may hold letters, ',', '->' and '...', not {term!r}")
    if more < 0 or (more and not dots):
        raise ValueError(f"einsum's {subscripts!r} has {term!r} for an operand of {ndim} axes")
    return (*head, *range(-more, 0), *tail)


def _lengths(subscripts: str, names: list[Labels], shapes: Sequence[Shape]) -> dict[Label, int]:
    """How long the axes of each label are, once those of length 1 are broadcast."""
    lengths: dict[Label, int] = {}
    for labels, have in zip(names, shapes, strict=True):
        for label, n in zip(labels, have, strict=True):
            if lengths.setdefault(label, n) == 1:
                lengths[label] = n
            if n not in (1, lengths[label]):
                raise ValueError(f"einsum's {subscripts!r} has {label!r} for axes of lengths {lengths[label]} and {n}")
    return lengths


def _simple(term: Term[X], lengths: dict[Label, int]) -> Term[X]:
    """The term with each label once, and without the axes of length 1 that another term has at full length."""
    x, labels = term.x, term.labels
    while repeated := [i for i, label in enumerate(labels) if label in labels[:i]]:
        axes = labels.index(labels[repeated[0]]), repeated[0]
        if shape(x)[axes[0]] != shape(x)[axes[1]]:
            raise ValueError(f"einsum takes no diagonal of axes of lengths {shape(x)[axes[0]]} and {shape(x)[axes[1]]}")
        x = diagonal(move_axes(x, axes, (-2, -1)))
        labels = (*[label for i, label in enumerate(labels) if i not in axes], labels[axes[0]])
    short = [i for i, n in enumerate(shape(x)) if n == 1 != lengths[labels[i]]]
    kept = tuple(label for i, label in enumerate(labels) if i not in short)
    return Term(squeeze(x, short) if short else x, kept)


@lru_cache
def _order(subscripts: str, shapes: tuple[Shape, ...]) -> list[tuple[int, ...]]:
    """Which terms to multiply next; their product becomes the last."""
    if len(shapes) < 3:
        return [tuple(range(len(shapes)))]
    np = numpy()
    like = [np.broadcast_to(0.0, lengths) for lengths in shapes]
    order: list[tuple[int, ...]] = np.einsum_path(subscripts, *like, optimize="greedy")[0][1:]
    return order


def _summed(term: Term[X], wanted: Collection[Label]) -> Term[X]:
    """The term summed over all labels but those wanted."""
    axes = [i for i, label in enumerate(term.labels) if label not in wanted]
    return Term(sum(term.x, axes), tuple(i for i in term.labels if i in wanted)) if axes else term


def _arranged(term: Term[X], labels: Labels) -> X:
    """The operand with its axes in the order of these labels."""
    order = [term.labels.index(label) for label in labels]
    return term.x if term.labels == labels else permute_dims(term.x, order)


def _product(one: Term[X], two: Term[X], wanted: Collection[Label]) -> Term[X]:
    """The product of two terms, summed over the labels that nothing wants later."""
    one, two = _summed(one, {*wanted, *two.labels}), _summed(two, {*wanted, *one.labels})
    lengths = dict(zip((*one.labels, *two.labels), (*shape(one.x), *shape(two.x)), strict=True))
    shared = [i for i in one.labels if i in two.labels]
    batch, inner = tuple(i for i in shared if i in wanted), tuple(i for i in shared if i not in wanted)
    rows = tuple(i for i in one.labels if i not in shared)
    columns = tuple(i for i in two.labels if i not in shared)
    x, y = _arranged(one, (*batch, *rows, *inner)), _arranged(two, (*batch, *inner, *columns))
    b, n, k, m = (tuple(lengths[i] for i in labels) for labels in (batch, rows, inner, columns))
    if not inner:
        z = multiply(_shaped(x, (*b, *n, *[1] * len(m))), _shaped(y, (*b, *[1] * len(n), *m)))
    elif not rows and not columns:
        z = vecdot(_shaped(x, (*b, prod(k))), _shaped(y, (*b, prod(k))))
    else:
        z = matmul(_shaped(x, (*b, prod(n), prod(k))), _shaped(y, (*b, prod(k), prod(m))))
    return Term(_shaped(z, (*b, *n, *m)), (*batch, *rows, *columns))


def _shaped(x: X, lengths: Shape) -> X:
    return x if shape(x) == lengths else reshape(x, lengths)


@stand_in("einsum")
def _numpy_einsum(subscripts: str, *operands: X, optimize: object = True) -> X:
    return einsum(subscripts, *operands)  # always in the order that is thought best
