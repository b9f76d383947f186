"""Samples of the rows of linear algebra: functions of the factors that do not hang on the signs of their vectors."""

from typing import Any

import numpy as np

from fgrad.node import TABLE, apply
from tests.oracles import Array, torch
from tests.sample import Sample, named

RNG = np.random.default_rng(1)


def matrix(*shape: int, far: float = 2.5) -> Array:
    """Give random matrices that are well conditioned: far from singular, and with singular values apart."""
    rows, columns = shape[-2:]
    return far * np.eye(rows, columns) * (1 + np.arange(columns) / 3) + 0.5 * RNG.normal(size=shape)


def symmetric(xp: Any, x: Any) -> Any:
    return (x + xp.matrix_transpose(x)) / 2


def positive(xp: Any, x: Any) -> Any:
    return xp.matmul(x, xp.matrix_transpose(x)) / 8


S2, S3, S4, STACK = matrix(2, 2), matrix(3, 3), matrix(4, 4), matrix(2, 3, 3)
TALL, WIDE, TALLS, ONE = matrix(4, 3), matrix(2, 4), matrix(2, 3, 2), np.array([[1.5]])
EMPTY = np.zeros((0, 0))
SQUARES = [S2, S3, STACK, ONE, EMPTY]
SHAPES = [S3, TALL, WIDE, TALLS, ONE]
VECTOR, COLUMNS, MANY = RNG.normal(size=3), RNG.normal(size=(3, 2)), RNG.normal(size=(5, 1, 3, 2))
ORDERS = ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf]
LOW = RNG.normal(size=(4, 2))


def of_eigenvectors(xp: Any, x: Any) -> Any:
    values, vectors = xp.eigh(symmetric(xp, x))
    return xp.matmul(vectors * vectors, xp.matrix_transpose(vectors * vectors)) * xp.expand_dims(values, -1)


def projector(xp: Any, x: Any) -> Any:
    first = xp.eigh(symmetric(xp, x)).eigenvectors[..., :1]
    return xp.matmul(first, xp.matrix_transpose(first))


def of_singular_vectors(xp: Any, x: Any) -> Any:
    u, s, vh = xp.svd(x, full_matrices=False)
    return xp.matmul(u * u * xp.expand_dims(xp.sin(s), -2), vh * vh) + xp.matmul(u, vh) ** 2


def of_left(xp: Any, x: Any) -> Any:
    u, s, _ = xp.svd(x, full_matrices=False)
    return u * u / (1 + xp.expand_dims(s, -2))


def of_right(xp: Any, x: Any) -> Any:
    vh = xp.svd(x, full_matrices=False).Vh
    return vh * vh


def signed(xp: Any, x: Any) -> Any:
    """Both factors of QR, weighted as Q @ R does not."""
    q, r = xp.qr(x)
    return xp.matmul(q * q, r * r) + xp.matmul(q, xp.sin(1.0 * r))


def log_volume(xp: Any, x: Any) -> Any:
    sign, logabsdet = xp.slogdet(x)
    return sign * logabsdet**2


def cofactors(xp: Any, x: Any) -> Any:
    return torch().linalg.det(x)[..., None, None] * torch().linalg.inv(x).mT


def cofactors_along(xp: Any, x: Any, t: Any) -> Any:
    inverse = torch().linalg.inv(x)
    turned = inverse @ t
    trace = turned.diagonal(0, -2, -1).sum(-1)[..., None, None]
    eye = torch().eye(x.shape[-1], dtype=x.dtype)
    return torch().linalg.det(x)[..., None, None] * ((trace * eye - turned) @ inverse).mT


LINALG: dict[str, list[Sample]] = {
    "inv": [*(Sample(named("inv"), (x,)) for x in SQUARES)],
    "solve": [
        Sample(named("solve"), args)
        for args in (
            *((S3, VECTOR), (S3, COLUMNS), (STACK, VECTOR), (STACK, COLUMNS), (S3, MANY), (STACK, MANY)),
            (ONE, np.array([0.5])),
        )
    ],
    "det": [Sample(named("det"), (x,)) for x in SQUARES],
    "cofactor": [Sample(lambda xp, x: apply(TABLE["cofactor"], (x,)), (x,), cofactors) for x in (S2, S3, STACK, ONE)],
    "cofactor_along": [
        Sample(lambda xp, x, t: apply(TABLE["cofactor_along"], (x, t)), (x, t), cofactors_along)
        for x, t in ((S2, S2 - 1), (S3, S3 * S3), (STACK, STACK - 2))
    ],
    "slogdet": [
        *(Sample(lambda xp, x: xp.slogdet(x)[1], (x,)) for x in SQUARES),
        *(Sample(log_volume, (x,)) for x in (S3[::-1], np.stack([S3, S3[::-1]]))),
    ],
    "matrix_power": [
        *(Sample(lambda xp, x, n=n: xp.matrix_power(x / 4, n), (S3,)) for n in (1, 2, 3, 6, -1, -2)),
        Sample(lambda xp, x: xp.matrix_power(x / 4, 3), (STACK,)),
        Sample(lambda xp, x: xp.matrix_power(x, 0) * x, (STACK,)),
    ],
    "expm": [
        *(Sample(named("expm"), (x / 3,), lambda xp, x: torch().linalg.matrix_exp(x)) for x in SQUARES[:-1]),
        Sample(lambda xp, x: xp.expm(x - xp.matrix_transpose(x)), (S3,), lambda xp, x: (x - x.mT).matrix_exp()),
    ],
    "cholesky": [
        *(Sample(lambda xp, x: xp.cholesky(positive(xp, x)), (x,)) for x in SQUARES),
        Sample(lambda xp, x: xp.cholesky(positive(xp, x), upper=True), (STACK,)),
    ],
    "qr": [
        *(Sample(signed, (x,)) for x in (S3, TALL, TALLS, WIDE, ONE)),
        *(Sample(lambda xp, x: xp.qr(x)[0], (x,)) for x in (S3, TALL)),
        *(Sample(lambda xp, x: xp.qr(x)[1], (x,)) for x in (TALLS, WIDE)),
        Sample(lambda xp, x: xp.qr(x, mode="complete").Q, (STACK,)),
    ],
    "eigh": [
        *(Sample(of_eigenvectors, (x,)) for x in (S2, S3, STACK, ONE)),
        *(Sample(projector, (x,)) for x in (S4, STACK)),
        Sample(lambda xp, x: xp.eigh(symmetric(xp, x))[0], (STACK,)),
    ],
    "eigvalsh": [Sample(lambda xp, x: xp.eigvalsh(symmetric(xp, x)), (x,)) for x in SQUARES],
    "svd": [
        *(Sample(of_singular_vectors, (x,)) for x in SHAPES),
        *(Sample(f, (x,)) for f in (of_left, of_right) for x in (TALL, WIDE)),
        Sample(lambda xp, x: xp.svd(x)[1], (S3,)),
    ],
    "svdvals": [Sample(named("svdvals"), (x,)) for x in SHAPES],
    "pinv": [
        *(Sample(named("pinv"), (x,)) for x in SHAPES),
        Sample(lambda xp, x: xp.pinv(xp.matmul(x, np.ones((2, 3))), rtol=1e-4), (LOW,)),
        Sample(lambda xp, x, y: xp.pinv(xp.matmul(x, y), rtol=1e-4), (LOW, WIDE)),
    ],
    "matrix_norm": [
        *(Sample(lambda xp, x, p=p: xp.matrix_norm(x, ord=p), (x,)) for p in ORDERS for x in (S3, TALLS)),
        *(Sample(lambda xp, x, p=p: xp.matrix_norm(x, ord=p, keepdims=True), (WIDE,)) for p in ORDERS[:3]),
    ],
    "vector_norm": [
        *(Sample(lambda xp, x, p=p: xp.vector_norm(x, ord=p), (TALL,)) for p in (2, 1, 3, -1.5, np.inf, -np.inf)),
        Sample(lambda xp, x: xp.vector_norm(x, axis=-1, ord=0) * x[:, 0], (TALL,)),
        Sample(lambda xp, x: xp.vector_norm(x, axis=(0, 2), keepdims=True), (STACK,)),
    ],
}
