"""More rows that act number by number: the cube root, powers of two, angles, the error function, the gamma function.

Knows each function's value and its local derivative, as `elementwise` does; nothing of shapes. Sources of the
formulas: NIST DLMF, chapters 5 and 7. What neither `math` nor the array library has is SciPy's.
"""

import importlib
import math
from operator import index
from types import ModuleType
from typing import cast

from fgrad import errors
from fgrad.arrays import namespace
from fgrad.node import Op, Rule, Value, X, apply
from fgrad.ops.elementwise import exp, multiply, scale
from fgrad.ops.rows import Binary, Unary, binary, primitive, public, unary


def _scipy(name: str) -> Rule:
    """SciPy's function of that name, imported now."""
    try:
        return cast("Rule", getattr(importlib.import_module("scipy.special"), name))
    except ImportError:
        raise errors.missing_extra("scipy", "scipy", f"a special function (scipy.special.{name})") from None


def _by_scipy(name: str) -> Rule:
    """Compute arrays by SciPy's function of that name: in float64, which it has for all, and back in their dtype."""

    def array(xp: ModuleType, *args: object) -> Value:
        *params, x = args
        dtype = xp.asarray(x).dtype
        ans = _scipy(name)(*params, xp.astype(xp.asarray(x), xp.float64, copy=False))
        kept = dtype if xp.isdtype(dtype, "real floating") else xp.float64
        return cast("Value", xp.astype(xp.asarray(ans), kept, copy=False)[()])

    return array


def _lgamma(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # at a pole, or out of range
        return math.inf


# fmt: off
cbrt: Unary    = unary("cbrt", "The cube root, of negative numbers too; its derivative at 0 is inf.", math.cbrt,
                 lambda ans, x: 1 / (3 * ans * ans), names="cbrt")
exp2: Unary    = unary("exp2", "2 to the power x.", math.exp2, lambda ans, x: math.log(2) * ans, names="exp2")
deg2rad: Unary = unary("deg2rad", "Degrees as radians.", math.radians, math.pi / 180, names="deg2rad radians")
rad2deg: Unary = unary("rad2deg", "Radians as degrees.", math.degrees, 180 / math.pi, names="rad2deg degrees")
hypot: Binary  = binary("hypot", "sqrt(x² + y²), without overflow; its derivative at (0, 0) is 0.", math.hypot,
                 (lambda ans, x, y: scale(x, 1 / ans), lambda ans, x, y: scale(y, 1 / ans)), names="hypot")

# --- by SciPy on arrays; the names beside are those of SciPy's functions, which are known as NumPy's own are ---------
erf: Unary     = unary("erf", "The error function; of arrays it needs SciPy.", math.erf,
                 lambda ans, x: multiply(exp(-(x * x)), 2 / math.sqrt(math.pi)), array=_by_scipy("erf"), names="erf")
erfc: Unary    = unary("erfc", "1 - erf(x), exact for large x; of arrays it needs SciPy.", math.erfc,
                 lambda ans, x: multiply(exp(-(x * x)), -2 / math.sqrt(math.pi)), array=_by_scipy("erfc"), names="erfc")
lgamma: Unary  = unary("lgamma", "log|Γ(x)|, inf at 0, -1, …; of arrays, and for derivatives, it needs SciPy.", _lgamma,
                 lambda ans, x: digamma(x), array=_by_scipy("gammaln"), names="gammaln")
digamma: Unary = unary("digamma", "The derivative of lgamma; -inf at 0, nan at the poles below. It needs SciPy.",
                 lambda x: float(_scipy("psi")(x)), lambda ans, x: apply(_polygamma, (x,), (1,)),
                 array=_by_scipy("psi"), names="psi")
# fmt: on


def _polygamma_impl(x: object, n: int) -> Value:
    if isinstance(x, float | int):
        return float(_scipy("polygamma")(n, x))
    return _by_scipy("polygamma")(namespace(x), n, x)


_polygamma: Op = primitive(
    "polygamma",
    _polygamma_impl,
    vjps=(lambda g, ans, x, n: scale(g, apply(_polygamma, (x,), (n + 1,))),),
    jvps=(lambda t, ans, x, n: scale(t, apply(_polygamma, (x,), (n + 1,))),),
)


@public()
def polygamma(n: int, x: X) -> X:
    """The derivative of digamma of order n: of a number, an array or a traced value. It needs SciPy.

    >>> round(polygamma(1, 1.0), 12)  # π²/6
    1.644934066848
    """
    if index(n) < 0:
        raise ValueError(f"polygamma has no order {n}: it is 0 for digamma, or more")
    return cast("X", apply(_polygamma, (x,), (index(n),)))
