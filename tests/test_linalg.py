"""Linear algebra where it is degenerate (singular matrices, equal eigenvalues, zeros), and what it refuses."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import grad, hessian, jacobian, jvp, value_and_grad, vjp, vmap
from fgrad.errors import MissingRowError, StructureError
from tests.oracles import Array, Call, NumPy, Torch, close, numeric_vjp, torch_derivatives
from tests.test_ops import pulled, second, some

inf, nan = np.inf, np.nan
RNG = np.random.default_rng(3)
TURN = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
RANKS = {
    "rank 2": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]),
    "rank 1": np.outer([1.0, -2.0, 0.5], [3.0, 1.0, 2.0]),
    "rank 0": np.zeros((3, 3)),
    "identity": np.eye(3),
    "rotation": TURN,
}
SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])
REGULAR = np.array([[2.0, 1.0], [0.5, 3.0]])
BOTH = np.stack([SINGULAR, REGULAR])


def of(code: str) -> Call:
    """Make a call of a line of code on x and a constant C."""
    call: Call = eval(f"lambda x: {code}", {"np": np, "fgrad": fgrad, "C": C})
    return call


C = RNG.normal(size=(3, 3)) + 3 * np.eye(3)


def direction(like: Any) -> Array:
    numbers: Array = np.cos(1.0 + np.arange(np.size(like))).reshape(np.shape(like))
    return numbers


def numeric_hessian(f: Call, x: Array, along: Array) -> Array:
    """Give the Hessian times a direction, by central differences of the gradient."""
    (found,) = numeric_vjp(lambda x: float(np.sum(np.asarray(grad(f)(x)) * along)), (x,), 1.0)
    return found


# --- singular matrices -----------------------------------------------------------------------------------------------
def minors(x: Array) -> Array:
    """Give the cofactors, each from its own minor of two rows and columns."""
    pairs = list(combinations(range(3), 2))[::-1]  # pair i leaves out i
    return np.array(
        [
            [(-1) ** (i + j) * (x[a, c] * x[b, d] - x[a, d] * x[b, c]) for j, (c, d) in enumerate(pairs)]
            for i, (a, b) in enumerate(pairs)
        ]
    )


@pytest.mark.parametrize("x", RANKS.values(), ids=RANKS)
def test_the_gradient_of_a_determinant_are_its_cofactors(x: Array) -> None:
    """At a matrix of any rank; and so is the second derivative, which is linear in 3 by 3 matrices, in all modes."""
    t = direction(x)
    gradient: Call = grad(fgrad.det)
    close(gradient(x), minors(x), 1e-12, 1e-12)
    expected = (minors(x + t) - minors(x - t)) / 2
    close(jvp(gradient, (x,), (t,))[1], expected, 1e-12, 1e-12)
    close(grad(lambda x: fgrad.sum(gradient(x) * t))(x), expected, 1e-12, 1e-12)
    close(grad(lambda x: jvp(fgrad.det, (x,), (t,))[1])(x), expected, 1e-12, 1e-12)


def test_third_derivatives_of_a_determinant() -> None:
    """For a regular matrix, also where singular values are equal, exact: 6 det(t) along t; for a singular one nan."""
    t = direction(TURN)

    def third(x: Array) -> Any:
        first = lambda x: jvp(fgrad.det, (x,), (t,))[1]
        second = lambda x: jvp(first, (x,), (t,))[1]
        return jvp(second, (x,), (t,))[1]

    for x in (np.eye(3), TURN, C):
        assert third(x) == pytest.approx(6 * np.linalg.det(t), rel=1e-10)
    for name in ("rank 0", "rank 1", "rank 2"):
        assert np.isnan(third(RANKS[name]))


def test_stacks_of_singular_and_regular_matrices() -> None:
    """What is singular does not spoil its neighbours in a stack, nor, where it is not chosen, itself."""
    close(grad(lambda x: fgrad.sum(fgrad.det(x)))(BOTH), np.array([[[4.0, -2], [-2, 1]], [[3, -0.5], [-1, 2]]]))
    value, found = value_and_grad(lambda x: fgrad.sum(fgrad.slogdet(x).logabsdet))(BOTH)
    assert value == -inf
    close(found, np.stack([np.full((2, 2), nan), np.linalg.inv(REGULAR).T]))
    close(vmap(grad(lambda x: fgrad.slogdet(x).logabsdet))(BOTH), found)
    close(jvp(lambda x: fgrad.slogdet(x)[1], (BOTH,), (BOTH,))[1], np.array([nan, 2.0]))
    chosen = grad(lambda x: fgrad.sum(fgrad.where(fgrad.det(x) > 1, fgrad.slogdet(x)[1], 0.0)))
    close(chosen(BOTH), np.stack([np.zeros((2, 2)), np.linalg.inv(REGULAR).T]))
    sign: Any = grad(lambda x: fgrad.sum(fgrad.slogdet(x).sign))(BOTH)
    close(sign, np.zeros((2, 2, 2)))


@pytest.mark.parametrize("code", ["fgrad.det(x)", "fgrad.slogdet(x)[1]", "fgrad.inv(x)", "fgrad.solve(x, x)"])
def test_nan_is_seen_in_gradients(code: str) -> None:
    """A nan in one matrix of a stack comes back as nan in its own gradient alone, in first and second order."""
    x = np.stack([REGULAR, REGULAR])
    x[0, 1, 0] = nan
    f = of(f"fgrad.sum({code})")
    with np.errstate(all="ignore"):
        (found,) = pulled(f, (x,), 1.0)[1]
        twice: Any = jvp(grad(f), (x,), (np.ones_like(x),))[1]
    assert np.isnan(found[0]).any()
    assert np.isnan(twice[0]).any()
    close(found[1], grad(f)(REGULAR), 1e-14)
    close(twice[1], jvp(grad(f), (REGULAR,), (np.ones((2, 2)),))[1], 1e-13, 1e-14)


@pytest.mark.parametrize(
    ("code", "instead"),
    [
        ("fgrad.inv(x)", r"fgrad\.pinv\(x\)"),
        ("np.linalg.inv(x)", r"fgrad\.pinv\(x\)"),
        ("fgrad.matrix_power(x, -2)", r"fgrad\.pinv\(x\)"),
        ("fgrad.solve(x, np.ones(2))", r"fgrad\.pinv\(x\) @ y"),
        ("fgrad.cholesky(-x)", "positive definite"),
    ],
)
def test_what_numpy_refuses_is_refused(code: str, instead: str) -> None:
    """A singular matrix has no inverse: NumPy's own error, plain and traced, which says what to write."""
    with pytest.raises(np.linalg.LinAlgError, match=instead if code.startswith("fgrad") else "ingular"):
        of(code)(SINGULAR)
    with pytest.raises(np.linalg.LinAlgError, match=rf"{instead}|test_linalg"):
        vjp(of(code), SINGULAR)


def test_qr_of_dependent_columns() -> None:
    """Where R has a 0 on its diagonal the derivative is nan; not so for its neighbours in a stack."""
    x = np.stack([np.array([[3.0, 0.0], [4.0, 0.0]]), REGULAR])
    found: Any = grad(lambda x: fgrad.sum(fgrad.qr(x).R))(x)
    assert np.isnan(found[0]).any()
    close(found[1], grad(lambda x: fgrad.sum(fgrad.qr(x).R))(REGULAR))
    wide = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]])
    close(vjp(lambda x: fgrad.qr(x).R, wide)[0], np.linalg.qr(wide).R)
    assert np.isnan(grad(lambda x: fgrad.sum(fgrad.qr(x).R))(wide)).any()


def test_pseudo_inverses_at_a_fixed_rank() -> None:
    """For a regular matrix it is the inverse, to second order; of the matrix 0 the derivative is 0."""
    t = direction(C)
    weighted = {f: (lambda x, f=f: fgrad.sum(f(x) * t)) for f in (fgrad.pinv, fgrad.inv)}
    close(grad(weighted[fgrad.pinv])(C), grad(weighted[fgrad.inv])(C), 1e-11, 1e-12)
    close(hessian(weighted[fgrad.pinv])(C), hessian(weighted[fgrad.inv])(C), 1e-10, 1e-11)
    close(grad(weighted[fgrad.pinv])(np.zeros((3, 3))), np.zeros((3, 3)))
    least: Any = jvp(lambda x: fgrad.pinv(x), (np.array([[3.0], [4.0]]),), (np.array([[3.0], [4.0]]),))[1]
    close(least, np.array([[-0.12, -0.16]]))


# --- symmetric matrices ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", ["fgrad.cholesky(x)", "fgrad.eigvalsh(x)", "fgrad.eigh(x)[1] ** 2"])
def test_symmetric_matrices(code: str) -> None:
    """Only the lower triangle is read, as NumPy does; the gradient is symmetric: that for (x + xᵀ) / 2."""
    x = C @ C.T
    f, half = of(code), of(code.replace("(x)", "((x + x.T) / 2)"))
    close(f(np.tril(x)), f(x), 1e-14, 1e-14)
    value: Any
    value, pullback = vjp(f, x)
    (found,) = pullback(direction(value))
    close(found, found.T, 1e-14, 1e-14)
    close(found, vjp(half, x)[1](direction(value))[0], 1e-12, 1e-13)
    one_sided = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    close(jvp(f, (x,), (one_sided,))[1], jvp(half, (x,), (one_sided,))[1], 1e-12, 1e-13)


def test_triangles_by_name() -> None:
    """`upper=` and UPLO name the triangle that is read, as in NumPy, on traced values too."""
    x = C @ C.T
    upper = np.triu(x)
    for code in ("np.linalg.cholesky(x, upper=True)", "np.linalg.eigvalsh(x, 'U')", "np.linalg.eigh(x, UPLO='U')[0]"):
        close(vjp(of(code), upper)[0], of(code)(x), 1e-12, 1e-12)
    close(fgrad.cholesky(upper, upper=True), np.linalg.cholesky(upper, upper=True))
    with pytest.raises(ValueError, match="UPLO"):
        vjp(of("np.linalg.eigh(x, 'X')[0]"), x)


def spectrum(*values: float) -> Array:
    """Give a symmetric matrix with these eigenvalues, which are equal only to rounding."""
    x: Array = TURN @ np.diag(values) @ TURN.T
    return x


def exponential(x: Array) -> Array:
    values, vectors = np.linalg.eigh(x)
    ans: Array = (vectors * np.exp(values)) @ vectors.T
    return ans


@pytest.mark.parametrize("x", [np.eye(3), spectrum(1.0, 1.0, 1.0), spectrum(1.0, 1.0, 2.0), np.zeros((3, 3))])
def test_eigenvalues_that_are_equal_have_derivatives(x: Array) -> None:
    """The gradient of Σ h(λ) is h'(x), whichever eigenvectors are found; finite, for each eigenvalue alone, too."""
    close(grad(lambda x: fgrad.sum(fgrad.eigvalsh(x) ** 3))(x), 3 * x @ x, 1e-12, 1e-12)
    close(grad(lambda x: fgrad.sum(fgrad.exp(fgrad.eigvalsh(x))))(x), exponential(x), 1e-12, 1e-12)
    rows: Any = jacobian(fgrad.eigvalsh)(x)
    assert np.isfinite(rows).all()
    close(np.trace(rows, axis1=1, axis2=2), np.ones(3), 1e-12)


def test_vectors_of_equal_eigenvalues_have_no_derivative() -> None:
    """It is nan, never a wrong number, of the eigenvalues' second derivatives too; other matrices are not touched."""
    x = spectrum(1.0, 1.0, 2.0)
    for f in (
        lambda x: fgrad.sum(fgrad.eigh(x).eigenvectors[:, 0] * C[0]),
        lambda x: fgrad.sum(fgrad.svd((x + x.T) / 2).Vh * direction(x)),
        lambda x: fgrad.sum(fgrad.matrix_transpose(fgrad.eigh(x)[1]) @ (fgrad.eigh(x)[1] * fgrad.eigh(x)[0])),
        lambda x: grad(lambda x: fgrad.sum(fgrad.eigvalsh(x) ** 2))(x)[0, 1],
    ):
        assert np.isnan(grad(f)(x)).any()
        assert np.isnan(jvp(f, (x,), (direction(x),))[1])
    stack = np.stack([x, spectrum(1.0, 2.0, 3.0)])
    both: Any = grad(lambda x: fgrad.sum(fgrad.eigh(x).eigenvectors[..., 0] * C[0]))(stack)
    assert np.isnan(both[0]).any()
    assert np.isfinite(both[1]).all()
    untouched: Any = grad(lambda x: fgrad.sum(fgrad.eigh(x).eigenvectors * 0.0) + fgrad.sum(fgrad.eigvalsh(x)))(x)
    close(untouched, np.eye(3), 1e-12, 1e-12)


# --- singular values and norms ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("x", [np.eye(3), TURN, 2 * TURN[:, :2], 2 * TURN[:2]])
def test_the_nuclear_norm_where_singular_values_are_equal(x: Array) -> None:
    """Its gradient is the nearest orthonormal matrix."""
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    close(grad(of("fgrad.matrix_norm(x, ord='nuc')"))(x), u @ vh, 1e-12, 1e-12)


@pytest.mark.parametrize("x", [*RANKS.values(), np.zeros((3, 2)), np.ones((2, 3)), np.ones((4, 2))])
def test_zero_singular_values(x: Array) -> None:
    """Singular values have a finite first derivative at every matrix, and so have the norms."""
    close(grad(lambda x: fgrad.sum(fgrad.svdvals(x) ** 2))(x), 2 * x, 1e-12, 1e-12)
    assert np.isfinite(grad(lambda x: fgrad.sum(fgrad.svdvals(x)))(x)).all()


@pytest.mark.parametrize("order", ["fro", "nuc", 1, -1, 2, -2, inf, -inf])
def test_matrix_norms_at_zero(order: Any) -> None:
    """Every norm of the matrix 0 is 0, with derivative 0: the least of its subgradients."""
    value, found = value_and_grad(lambda x: fgrad.matrix_norm(x, ord=order))(np.zeros((3, 2)))
    assert value == 0.0
    close(found, np.zeros((3, 2)), 0, 0)


@pytest.mark.parametrize(("order", "part"), [(2, 1 / 3), (-2, 1 / 3), (1, 1 / 3), (-1, 1 / 3), (inf, 1 / 3)])
def test_matrix_norms_at_ties(order: Any, part: float) -> None:
    """Extremes that tie share the derivative equally."""
    close(grad(lambda x: fgrad.matrix_norm(x, ord=order))(np.eye(3)), part * np.eye(3), 1e-12)


def test_the_vector_norm_of_order_zero() -> None:
    """It counts what is not 0, in the dtype of the vector; its derivative is 0."""
    x = np.array([3.0, 0.0, nan, -1.0], np.float32)
    value, found = value_and_grad(lambda x: fgrad.vector_norm(x, ord=0))(x)
    np.testing.assert_array_equal(value, np.linalg.vector_norm(x, ord=0), strict=True)
    close(found, np.zeros(4), 0, 0)


# --- small matrices --------------------------------------------------------------------------------------------------
SMALL = "inv det matrix_norm svdvals pinv eigvalsh cholesky"


@pytest.mark.parametrize("name", SMALL.split())
def test_one_number_and_none(name: str) -> None:
    """A matrix of one number behaves as the number does, twice; one of none has derivatives of its shape."""
    f = getattr(fgrad, name)
    number: dict[str, Call] = {"inv": lambda x: 1 / x, "pinv": lambda x: 1 / x, "cholesky": fgrad.sqrt}
    scalar = number.get(name, lambda x: 1.0 * x)
    close(grad(lambda x: fgrad.sum(f(x)))(np.array([[2.0]])), np.array([[grad(scalar)(2.0)]]), 1e-14)
    curved: Any = hessian(lambda x: fgrad.sum(f(x)))(np.array([[2.0]]))
    close(curved.item(), hessian(scalar)(2.0), 1e-14)
    for shape in ((0, 0), (2, 0, 0)):
        value, found = value_and_grad(lambda x: fgrad.sum(f(x)))(np.zeros(shape))
        close(value, np.sum(getattr(NumPy(), name)(np.zeros(shape))))
        assert found.shape == shape


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 3)])
@pytest.mark.parametrize("code", ["svd(x, False).U", "svdvals(x)", "qr(x).Q", "qr(x).R", "pinv(x)", "matrix_norm(x)"])
def test_empty_matrices(code: str, shape: tuple[int, ...]) -> None:
    """Matrices without rows, or without columns, have results of NumPy's shape, and gradients of theirs."""
    value, found = value_and_grad(lambda x: fgrad.sum(of(f"fgrad.{code}")(x)))(np.zeros(shape))
    close(value, 0.0)
    assert found.shape == shape
    assert np.shape(of(f"fgrad.{code}")(np.zeros(shape))) == np.shape(of(f"np.linalg.{code}")(np.zeros(shape)))


# --- NumPy's functions as they stand ---------------------------------------------------------------------------------
NUMPY = """
np.linalg.inv(x); np.linalg.solve(x, C); np.linalg.solve(C, x[0]); np.linalg.solve(x, C[0]); np.linalg.det(x)
np.linalg.slogdet(x)[1]; np.linalg.slogdet(x).logabsdet; np.linalg.matrix_power(x, 3); np.linalg.matrix_power(x, -1)
np.linalg.cholesky(x @ x.T); np.linalg.cholesky(x @ x.T, upper=True); np.linalg.qr(x).R; np.linalg.qr(x[:2])[1]
np.linalg.qr(x, 'r'); np.linalg.qr(x, mode='complete').Q; np.linalg.eigvalsh(x + x.T); np.linalg.eigh(x + x.T)[0]
np.linalg.eigh(x + x.T).eigenvectors ** 2; np.linalg.svd(x).S; np.linalg.svd(x)[0] ** 2; np.linalg.svdvals(x[:2])
np.linalg.svd(x[:2], full_matrices=False).Vh ** 2; np.linalg.svd(x, compute_uv=False); np.linalg.pinv(x[:2])
np.linalg.pinv(x, 1e-9); np.linalg.pinv(x, rtol=1e-9); np.linalg.norm(x, 2); np.linalg.norm(x, 'nuc')
np.linalg.norm(x, -2, keepdims=True); np.linalg.norm(C * x[:, :1, None], 1, (2, 0), True); np.linalg.norm(x, inf)
np.linalg.norm(x, 'fro', axis=(0, 1)); np.linalg.norm(x[0], 0) * x[0, 0]; np.linalg.norm(x, axis=(1, 0))
np.linalg.matrix_norm(x, ord=-1); np.linalg.vector_norm(x, axis=1, ord=3); np.linalg.matmul(x, C)
np.linalg.vecdot(x, C); np.linalg.outer(x[0], C[1]); np.linalg.matrix_transpose(x) * C; np.linalg.trace(x) * x[0]
"""


@pytest.mark.parametrize("code", NUMPY.replace("\n", ";").strip(";").split(";"))
def test_numpys_functions(code: str) -> None:
    """NumPy's functions on traced matrices give NumPy's values, and gradients that are central differences'."""
    f = of(code.strip().replace("inf", "np.inf"))
    value: Any
    value, pullback = vjp(f, C.T + 0.5)
    close(value, f(C.T + 0.5), 1e-12, 1e-12)
    found: Any = pullback(direction(value)[()])
    close(found, tuple(numeric_vjp(f, (C.T + 0.5,), direction(value))), 1e-7, 1e-7)


def test_results_have_numpys_fields() -> None:
    """What has several results is a named tuple with NumPy's fields, of plain arrays outside a trace."""
    for name in ("slogdet", "qr", "eigh", "svd"):
        ours, theirs = getattr(fgrad, name)(C), getattr(np.linalg, name)(C)
        assert ours._fields == theirs._fields
        close(tuple(ours), tuple(theirs))
    whole: Any = jvp(lambda x: fgrad.svd(x), (C,), (C,))  # a tree as any other
    close(whole[1].S, whole[0].S)
    close(vmap(fgrad.qr)(np.stack([C, C.T])).R[1], fgrad.qr(C.T).R)


def test_precisions_meet() -> None:
    """A solution has the wider dtype of the two; each cotangent its primal's own."""
    value, (left, right) = pulled(fgrad.solve, (C.astype(np.float32), C.astype(np.float16)))
    assert value.dtype == left.dtype == np.float32
    assert right.dtype == np.float16
    close(value, fgrad.solve(C, C.astype(np.float16)), 1e-5, 1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", ["inv", "det", "cholesky", "svd", "pinv", "solve", "cofactor"])
def test_precisions(name: str, dtype: Any) -> None:
    """Values and gradients keep their dtype; what NumPy's linear algebra has not, float16, is computed in float32."""
    x = (C @ C.T / 8).astype(dtype)

    def f(x: Any) -> Any:
        if name == "cofactor":
            return grad(fgrad.det)(x)
        ans = fgrad.solve(x, x[0] * 2) if name == "solve" else getattr(fgrad, name)(x)
        return ans.S if name == "svd" else ans

    value: Any
    value, pullback = vjp(f, x)
    rtol = 30 * float(np.finfo(dtype).eps)
    assert value.dtype == f(x).dtype == dtype
    close(value.astype(float), f(x.astype(float)), rtol, rtol)
    weights = np.ones_like(value)[()]
    (found,) = pullback(weights)
    assert found.dtype == dtype
    close(found.astype(float), vjp(f, x.astype(float))[1](weights.astype(float))[0], 10 * rtol, 10 * rtol)


# --- PyTorch's answers -----------------------------------------------------------------------------------------------
def gram(xp: Any, x: Any) -> Any:
    return xp.matmul(x, xp.matrix_transpose(x))


def low_rank(xp: Any, x: Any) -> Any:
    u, s, vh = xp.svd(x, full_matrices=False)
    return xp.matmul((u * s)[:, :2], vh[:2])


PROGRAMS: dict[str, tuple[Call, Array]] = {
    "a Gaussian": (lambda xp, x: xp.slogdet(gram(xp, x))[1] + xp.sum(xp.solve(gram(xp, x), C[0]) * x[1]), C),
    "a whitened vector": (lambda xp, x: xp.sin(xp.solve(xp.cholesky(gram(xp, x)), C[:, :1])), C),
    "a subspace": (lambda xp, x: gram(xp, xp.qr(x).Q), C[:, :2]),
    "a part of low rank": (low_rank, C),
    "least squares": (lambda xp, x: xp.matmul(xp.pinv(x), C[:, :1]), C[:, :2]),
    "a product of determinants": (lambda xp, x: xp.det(x) * xp.det(gram(xp, x)), C / 3),
}


@pytest.mark.parametrize(("f", "x"), PROGRAMS.values(), ids=PROGRAMS)
def test_programs_have_pytorchs_derivatives(f: Call, x: Array) -> None:
    """First and second derivatives of what depends on no choice of signs are PyTorch's."""
    value, found = pulled(lambda x: f(fgrad, x), (x,))
    cotangent, directions = some(value), (some(x),)
    expected, first, twice = torch_derivatives(lambda x: f(Torch(), x), (x,), cotangent, directions)
    close(value, expected, 1e-12, 1e-12)
    close(found, tuple(first), 1e-11, 1e-12)
    close(second(lambda x: f(fgrad, x), (x,), cotangent, directions), tuple(twice), 1e-10, 1e-11)


# --- bad input -------------------------------------------------------------------------------------------------------
WRONG: list[tuple[str, type[Exception], str]] = [
    ("fgrad.inv(x[:2])", StructureError, r"inv needs square matrices.*\(2, 3\): write fgrad\.pinv"),
    ("fgrad.inv(x[0])", StructureError, r"needs matrices"),
    ("fgrad.det(x[:2])", StructureError, r"fgrad\.svdvals"),
    ("fgrad.slogdet(x[:2])", StructureError, r"fgrad\.svdvals"),
    ("fgrad.cholesky(x[:2])", StructureError, r"fgrad\.qr"),
    ("fgrad.eigh(x[:2])", StructureError, r"fgrad\.svd"),
    ("fgrad.eigvalsh(x[:2])", StructureError, r"fgrad\.svd"),
    ("fgrad.matrix_power(x[:2], 2)", StructureError, r"x\*\*n"),
    ("fgrad.matrix_power(x, 0.5)", TypeError, "integer"),
    ("fgrad.solve(x[:2], x)", StructureError, r"fgrad\.pinv"),
    ("fgrad.solve(x, x[:2])", StructureError, r"as many rows in y as in x.*expand_dims"),
    ("fgrad.solve(x, x[0, 0])", StructureError, r"as many rows"),
    ("fgrad.solve(x, x[0, :2])", StructureError, r"as many rows"),
    ("fgrad.qr(x[0])", StructureError, r"needs matrices"),
    ("fgrad.qr(x, mode='raw')", ValueError, r"'reduced' and 'complete'"),
    ("fgrad.svd(x[0])", StructureError, r"needs matrices"),
    ("fgrad.pinv(x[0])", StructureError, r"needs matrices"),
    ("fgrad.matrix_norm(x[0])", StructureError, r"needs matrices"),
    ("fgrad.matrix_norm(x, ord=3)", ValueError, r"'fro', 'nuc'"),
    ("fgrad.matrix_norm(x, ord='max')", ValueError, r"'fro', 'nuc'"),
    ("np.linalg.norm(1.0 * x[None], 2)", ValueError, r"."),
    ("fgrad.inv([[1.0]])", TypeError, r"np\.asarray"),
]


@pytest.mark.parametrize(("code", "error", "message"), WRONG, ids=[code for code, _, _ in WRONG])
def test_wrong_arguments(code: str, error: type[Exception], message: str) -> None:
    """What cannot be is refused at the call, plain and traced, by an error that says what to write."""
    for call in (of(code), lambda x: vjp(of(code), x)):
        with pytest.raises(error, match=message):
            call(C)


def test_bases_that_are_not_determined() -> None:
    """The full bases of matrices that are not square have values, NumPy's, but no derivative: the error says so."""
    tall = C[:, :2]
    close(tuple(fgrad.svd(tall)), tuple(np.linalg.svd(tall)))
    close(tuple(fgrad.qr(tall, mode="complete")), tuple(np.linalg.qr(tall, mode="complete")))
    for code in ("fgrad.svd(x)[0]", "np.linalg.svd(x)[0]"):
        with pytest.raises(MissingRowError, match=r"fgrad\.svd\(x, full_matrices=False\)"):
            vjp(of(code), tall)
    with pytest.raises(MissingRowError, match=r"fgrad\.qr\(x\)"):
        vjp(lambda x: np.linalg.qr(x, mode="complete").Q, tall)
