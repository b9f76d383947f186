"""Rows that act number by number: arithmetic, exponentials, trigonometry, choices, activations.

Knows each function's value and its local derivative, as a page of a calculus book; nothing of shapes.
Rules are on `ans, x, y`: the result and the arguments. Sources of the formulas: NIST DLMF, chapters 4 and 7.
"""

import math
import operator
import types
from builtins import round as round_
from typing import cast, overload

from fgrad.node import Op, Value, X, apply
from fgrad.ops.rows import Binary, Unary, binary, implement, primitive, public, register, stand_in, unary

# fmt: off
# --- arithmetic ------------------------------------------------------------------------------------------------------
add: Binary          = binary("add", "x + y.", operator.add, (1.0, 1.0), names="add")
subtract: Binary     = binary("subtract", "x - y.", operator.sub, (1.0, -1.0), names="subtract")
multiply: Binary     = binary("multiply", "x * y.", operator.mul, (lambda ans, x, y: y, lambda ans, x, y: x), names="multiply")
divide: Binary       = binary("divide", "x / y; ±inf or nan at y = 0.", operator.truediv,
                      (lambda ans, x, y: 1 / y, lambda ans, x, y: -ans / y), names="divide")
pow: Binary          = binary("pow", "x to the power y; nan for a negative x and a broken y.", math.pow,
                      (lambda ans, x, y: _power(x, y), lambda ans, x, y: scale(ans, log(x))),
                      names="power float_power pow")
remainder: Binary    = binary("remainder", "x modulo y, with the sign of y.", operator.mod,
                      (1.0, lambda ans, x, y: -floor_divide(x, y)), names="remainder")
floor_divide: Binary = binary("floor_divide", "The floor of x / y; its derivative is 0.", operator.floordiv, None, names="floor_divide")
negative: Unary     = unary("negative", "-x.", lambda x: -x, -1.0, names="negative")
positive: Unary     = unary("positive", "+x.", lambda x: +x, 1.0, names="positive")
abs: Unary          = unary("abs", "The absolute value |x|; its derivative at 0 is 0.", math.fabs, lambda ans, x: sign(x), names="absolute fabs")
sign: Unary         = unary("sign", "-1, 0 or 1, as x is; its derivative is 0.", lambda x: x if x != x else float((x > 0) - (x < 0)), None, names="sign")
square: Unary       = unary("square", "x * x.", lambda x: x * x, lambda ans, x: 2 * x, names="square")
sqrt: Unary         = unary("sqrt", "The square root; nan below 0.", math.sqrt, lambda ans, x: 0.5 / ans, names="sqrt")
reciprocal: Unary   = unary("reciprocal", "1 / x.", lambda x: 1 / x, lambda ans, x: -ans * ans, array=lambda xp, x: 1 / x, names="reciprocal")

# --- exponentials and logarithms -------------------------------------------------------------------------------------
exp: Unary       = unary("exp", "e to the power x.", math.exp, lambda ans, x: ans, names="exp")
expm1: Unary     = unary("expm1", "exp(x) - 1, exact near 0.", math.expm1, lambda ans, x: ans + 1, names="expm1")
log: Unary       = unary("log", "The natural logarithm; -inf at 0, nan below.", math.log, lambda ans, x: 1 / x, names="log")
log2: Unary      = unary("log2", "The logarithm to base 2.", math.log2, lambda ans, x: (1 / math.log(2)) / x, names="log2")
log10: Unary     = unary("log10", "The logarithm to base 10.", math.log10, lambda ans, x: (1 / math.log(10)) / x, names="log10")
log1p: Unary     = unary("log1p", "log(1 + x), exact near 0.", math.log1p, lambda ans, x: 1 / (1 + x), names="log1p")
logaddexp: Binary = binary("logaddexp", "log(exp(x) + exp(y)), without overflow.",
                   lambda x, y: x + math.log(2) if x == y else max_(x, y) + math.log1p(math.exp(-operator.abs(x - y))),
                   (lambda ans, x, y: sigmoid(x - y), lambda ans, x, y: sigmoid(y - x)), names="logaddexp")

# --- trigonometry ----------------------------------------------------------------------------------------------------
sin: Unary   = unary("sin", "The sine of x radians.", math.sin, lambda ans, x: cos(x), names="sin")
cos: Unary   = unary("cos", "The cosine of x radians.", math.cos, lambda ans, x: -sin(x), names="cos")
tan: Unary   = unary("tan", "The tangent of x radians.", math.tan, lambda ans, x: 1 + ans * ans, names="tan")
asin: Unary  = unary("asin", "The inverse sine, in radians.", math.asin, lambda ans, x: 1 / sqrt(1 - x * x), names="arcsin")
acos: Unary  = unary("acos", "The inverse cosine, in radians.", math.acos, lambda ans, x: -1 / sqrt(1 - x * x), names="arccos")
atan: Unary  = unary("atan", "The inverse tangent, in radians.", math.atan, lambda ans, x: 1 / (1 + x * x), names="arctan")
atan2: Binary = binary("atan2", "The angle of the point (y, x), in radians: the first argument is y.", math.atan2,
               (lambda ans, x, y: scale(y, 1 / (x * x + y * y)), lambda ans, x, y: -scale(x, 1 / (x * x + y * y))), names="arctan2")
sinh: Unary  = unary("sinh", "The hyperbolic sine.", math.sinh, lambda ans, x: cosh(x), names="sinh")
cosh: Unary  = unary("cosh", "The hyperbolic cosine.", math.cosh, lambda ans, x: sinh(x), names="cosh")
tanh: Unary  = unary("tanh", "The hyperbolic tangent.", math.tanh, lambda ans, x: 1 - ans * ans, names="tanh")
asinh: Unary = unary("asinh", "The inverse hyperbolic sine.", math.asinh, lambda ans, x: 1 / sqrt(x * x + 1), names="arcsinh")
acosh: Unary = unary("acosh", "The inverse hyperbolic cosine.", math.acosh, lambda ans, x: 1 / sqrt((x - 1) * (x + 1)), names="arccosh")
atanh: Unary = unary("atanh", "The inverse hyperbolic tangent.", math.atanh, lambda ans, x: 1 / ((1 - x) * (1 + x)), names="arctanh")

# --- steps and choices: the derivative is 0, or picks an argument; ties are split equally ----------------------------
floor: Unary   = unary("floor", "The nearest integer below; its derivative is 0.", lambda x: math.copysign(math.floor(x), x), None, names="floor")
ceil: Unary    = unary("ceil", "The nearest integer above; its derivative is 0.", lambda x: math.copysign(math.ceil(x), x), None, names="ceil")
round: Unary   = unary("round", "The nearest integer, halves to even; its derivative is 0.", lambda x: math.copysign(round_(x), x), None, names="round rint")
maximum: Binary = binary("maximum", "The greater of x and y.", lambda x, y: max_(x, y),
                 (lambda ans, x, y: _share(x, y), lambda ans, x, y: _share(y, x)), names="maximum")
minimum: Binary = binary("minimum", "The lesser of x and y.", lambda x, y: -max_(-x, -y),
                 (lambda ans, x, y: _share(y, x), lambda ans, x, y: _share(x, y)), names="minimum")

# --- comparisons and logic: constants to every derivative ------------------------------------------------------------
equal: Binary          = binary("equal", "x == y.", operator.eq, None, names="equal")
not_equal: Binary      = binary("not_equal", "x != y.", operator.ne, None, names="not_equal")
less: Binary           = binary("less", "x < y.", operator.lt, None, names="less")
less_equal: Binary     = binary("less_equal", "x <= y.", operator.le, None, names="less_equal")
greater: Binary        = binary("greater", "x > y.", operator.gt, None, names="greater")
greater_equal: Binary  = binary("greater_equal", "x >= y.", operator.ge, None, names="greater_equal")
logical_and: Binary    = binary("logical_and", "Whether both are true.", lambda x, y: bool(x and y), None, names="logical_and")
logical_or: Binary     = binary("logical_or", "Whether either is true.", lambda x, y: bool(x or y), None, names="logical_or")
logical_xor: Binary    = binary("logical_xor", "Whether just one is true.", lambda x, y: bool(x) != bool(y), None, names="logical_xor")
logical_not: Unary    = unary("logical_not", "Whether x is false.", operator.not_, None, names="logical_not")
bitwise_and: Binary    = binary("bitwise_and", "x & y, for booleans and integers.", operator.and_, None, names="bitwise_and")
bitwise_or: Binary     = binary("bitwise_or", "x | y, for booleans and integers.", operator.or_, None, names="bitwise_or")
bitwise_xor: Binary    = binary("bitwise_xor", "x ^ y, for booleans and integers.", operator.xor, None, names="bitwise_xor")
bitwise_invert: Unary = unary("bitwise_invert", "~x, for booleans and integers.", lambda x: not x if isinstance(x, bool) else ~x, None, names="invert")
isnan: Unary          = unary("isnan", "Whether x is nan.", math.isnan, None, names="isnan")
isinf: Unary          = unary("isinf", "Whether x is inf or -inf.", math.isinf, None, names="isinf")
isfinite: Unary       = unary("isfinite", "Whether x is neither inf nor nan.", math.isfinite, None, names="isfinite")

# --- activations -----------------------------------------------------------------------------------------------------
relu: Unary     = unary("relu", "x where it is positive, else 0; its derivative at 0 is 0.", lambda x: max_(x, 0.0), lambda ans, x: ans > 0,
                 array=lambda xp, x: xp.maximum(x, 0))
sigmoid: Unary  = unary("sigmoid", "1 / (1 + exp(-x)), without overflow.", lambda x: _sigmoid(math, x), lambda ans, x: ans * (1 - ans),
                 array=lambda xp, x: _sigmoid(xp, x))
softplus: Unary = unary("softplus", "log(1 + exp(x)), without overflow.", lambda x: max_(x, 0.0) + math.log1p(math.exp(-operator.abs(x))),
                 lambda ans, x: sigmoid(x), array=lambda xp, x: xp.logaddexp(x, xp.zeros_like(x)))
# fmt: on


def max_(x: float, y: float) -> float:
    """The greater of two Python numbers; nan where either is nan, as in NumPy."""
    return x if x >= y or x != x else y


def _sigmoid(xp: types.ModuleType, x: Value) -> Value:
    e: Value = xp.exp(-operator.abs(x))
    return (1.0 if x >= 0 else e) / (1 + e) if xp is math else xp.where(x >= 0, 1, e) / (1 + e)


def _power(x: Value, y: Value) -> Value:
    """The derivative of x**y by x; of a square at once, which is most of what is raised to powers."""
    return 2 * x if type(y) in (int, float) and y == 2 else scale(y, pow(x, y - 1))


def _share(x: Value, y: Value) -> Value:
    """The part of the cotangent of max(x, y) that is x's: all, none, or half."""
    return where(equal(x, y), 0.5, where(greater(x, y), 1.0, 0.0))


def _scale_array(xp: types.ModuleType, g: Value, p: Value) -> Value:
    c = g * p
    if (type(p) is float and 0 < operator.abs(p) < math.inf) or (type(g) is float and 0 < operator.abs(g) < math.inf):
        return c  # neither factor makes a nan of the other
    flat = c.reshape(-1)  # type: ignore[attr-defined]  # an array of any library has it
    # One quick pass, nan if c holds one; BLAS hands a longer product to threads, which wait for each other.
    with_nan = xp.vecdot(flat, flat) if flat.shape[0] <= 10_000 else xp.max(flat)
    return c if with_nan == with_nan else xp.where(xp.isnan(c) & ((g == 0) | (p == 0)), 0, c)


def _scale(g: float, p: float) -> float:
    c = g * p
    return 0.0 if c != c and (g == 0 or p == 0) else c


scale: Binary = binary(
    "scale",
    "g * p, but 0 where that is nan and one factor is an exact 0 (the strong zero of derivatives).",
    _scale,
    (lambda ans, g, p: p, lambda ans, g, p: g),
    array=_scale_array,
)

_where: Op = primitive(
    "where",
    implement("where", lambda condition, x, y: x if condition else y),
    vjps=(
        None,
        lambda g, ans, condition, x, y: apply(_where, (condition, g, 0.0)),
        lambda g, ans, condition, x, y: apply(_where, (condition, 0.0, g)),
    ),
    jvps=(
        None,
        lambda t, ans, condition, x, y: apply(_where, (condition, t, 0.0)),
        lambda t, ans, condition, x, y: apply(_where, (condition, 0.0, t)),
    ),
)


@overload
def where(condition: object, x: X, y: float) -> X: ...
@overload
def where(condition: object, x: float, y: X) -> X: ...
@overload
def where(condition: object, x: X, y: X) -> X: ...
def where(condition: object, x: object, y: object) -> object:
    """Choose x where the condition holds, else y; the three broadcast.

    >>> where(True, 1.0, 2.0)
    1.0
    """
    return apply(_where, (condition, x, y))


register(_where, where, names="where")


@public()
def clip(x: X, min: X | float | None = None, max: X | float | None = None) -> X:
    """x, but not below `min` nor above `max`; where x meets a bound they share the gradient equally.

    >>> clip(3.0, 0.0, 1.0)
    1.0
    """
    above = x if min is None else maximum(x, cast("X", min))
    return above if max is None else minimum(above, cast("X", max))


@stand_in("clip")
def _numpy_clip(
    a: X,
    a_min: X | float | None = None,
    a_max: X | float | None = None,
    *,
    min: X | float | None = None,
    max: X | float | None = None,
) -> X:
    return clip(a, min if a_min is None else a_min, max if a_max is None else a_max)


@public()
def silu(x: X) -> X:
    """The sigmoid linear unit x · sigmoid(x) (Elfwing et al. 2017).

    >>> silu(0.0)
    0.0
    """
    return x * sigmoid(x)


@public()
def gelu(x: X) -> X:
    """The Gaussian error linear unit, in its tanh form (Hendrycks and Gimpel 2016, section 2).

    >>> gelu(0.0)
    0.0
    """
    inner = multiply(x + multiply(0.044715, x * x * x), math.sqrt(2 / math.pi))
    return multiply(x, 0.5) * add(tanh(inner), 1.0)


@public(names="sinc")
def sinc(x: X) -> X:
    """sin(πx) / (πx), which is 1 at 0, with derivatives that are right there too.

    >>> sinc(0.0)
    1.0
    """
    t = multiply(x, math.pi)
    near = less(abs(x), 1e-2)
    u = t * t
    # Near 0 the quotient's derivatives cancel; the Taylor series is exact there to the last bit.
    series = add(multiply(u, add(multiply(u, add(multiply(u, -1 / 5040), 1 / 120)), -1 / 6)), 1.0)
    return where(near, series, divide(sin(t), where(near, 1.0, t)))
