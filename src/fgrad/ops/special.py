"""More rows that act number by number: the cube root, powers of two, the length of a vector in the plane, angles.

Knows each function's value and its local derivative, as `elementwise` does; nothing of shapes.
"""

import math

from fgrad.ops.elementwise import scale
from fgrad.ops.rows import Binary, Unary, binary, unary

# fmt: off
cbrt: Unary    = unary("cbrt", "The cube root, of negative numbers too; its derivative at 0 is inf.", math.cbrt,
                 lambda ans, x: 1 / (3 * ans * ans), names="cbrt")
exp2: Unary    = unary("exp2", "2 to the power x.", math.exp2, lambda ans, x: math.log(2) * ans, names="exp2")
deg2rad: Unary = unary("deg2rad", "Degrees as radians.", math.radians, math.pi / 180, names="deg2rad radians")
rad2deg: Unary = unary("rad2deg", "Radians as degrees.", math.degrees, 180 / math.pi, names="rad2deg degrees")
hypot: Binary  = binary("hypot", "sqrt(x² + y²), without overflow; its derivative at (0, 0) is 0.", math.hypot,
                 (lambda ans, x, y: scale(x, 1 / ans), lambda ans, x, y: scale(y, 1 / ans)), names="hypot")
# fmt: on
