"""Text becomes a function of the names in it; anything but arithmetic is an error that shows its place."""

import ast
import inspect
import math
import random
import sys
from typing import Any

import numpy as np
import pytest

from fgrad import errors, grad, jit, value_and_grad, vmap
from fgrad.show.explain import explain
from fgrad.show.expression import CALLABLE, parse
from tests.expressions import micrograd_readme

VALUES = {"x": 1.5, "y": -0.25, "z": 3.0}


@pytest.mark.parametrize(
    "text",
    [
        "x + y*z - x/y",
        "-x**2 + (-x)**2 - 2**-x",
        "x//z + z%x - z % y",
        "(x + y)*(x - y)/z**(x*y)",
        "1e-3*x + .5*y + 1_000*z",
        "+x - -y",
        "x if x > y else z",
        "1.0*(x < y) + 2.0*(x >= 1.5) + 4.0*(0 < x < z) + 8.0*(x == 1.5 != y)",
        "x * (not (x > y and z > 0 or y > 0)) + 1",
        "max(x, y, z) - min(x, z) + abs(y) + round(z*x)",
    ],
)
def test_it_means_what_python_means(text: str) -> None:
    """On floats the value is Python's own."""
    expression = parse(text)
    assert expression(**{name: VALUES[name] for name in expression.names}) == eval(text, {}, VALUES)


def test_names_stand_in_the_order_of_appearance() -> None:
    expression = parse("b if a > pi else tanh(w1*x1 + b) - e")
    assert expression.names == ("b", "a", "w1", "x1")
    assert list(inspect.signature(expression).parameters) == ["b", "a", "w1", "x1"]
    assert parse("where(y > 0, x, y)").names == ("y", "x")
    assert parse("ﬁ*é").names == ("fi", "é")  # as Python normalises names


def test_all_transforms_take_it() -> None:
    """It is a function as any other: by name, by place, in every transform."""
    assert grad(parse("a*b + b**3"))(a=-4.0, b=2.0) == {"a": 2.0, "b": 8.0}
    assert value_and_grad(parse("x*x"))(3.0) == (9.0, 6.0)
    assert grad(parse("where(x > 0, sqrt(x), 0)"))(0.0) == 0.0
    assert jit(grad(parse("sin(x)*y")))(1.0, 2.0) == 2.0 * math.cos(1.0)
    many: Any = vmap(parse("x if x > 0 else -x"))
    assert many(np.array([-1.0, 2.0])).tolist() == [1.0, 2.0]
    explanation = explain(parse("tanh(w1*x1 + w2*x2 + b)"))(w1=-3.0, x1=2.0, w2=1.0, x2=0.0, b=6.8813735870195432)
    assert [row.gradient for row in explanation.rows[:5]] == pytest.approx([1.0, -1.5, 0.0, 0.5, 0.5])
    assert explanation.rows[-1].formula == "tanh(v4)"


def test_micrograds_readme_as_text() -> None:
    d = "(a*b + b**3)"
    d = f"({d} + ({d}*2 + relu(b + a)))"
    d = f"({d} + (3*{d} + relu(b - a)))"
    c = "(a + b)"
    c = f"({c} + ({c} + 1))"
    c = f"({c} + (1 + {c} + (-a)))"
    f = f"(({c} - {d})**2)"
    assert grad(parse(f"{f}/2.0 + 10.0/{f}"))(a=-4.0, b=2.0) == pytest.approx(grad(micrograd_readme)(a=-4.0, b=2.0))


def test_arithmetic_is_ieees() -> None:
    """No number is an error, and none is large enough to be slow."""
    assert parse("9**9**9**9")() == math.inf
    assert parse("1/0")() == math.inf
    assert math.isnan(parse("log(-1)")())
    assert parse("10**400 - 1")() == math.inf
    assert parse("2")() == 2.0
    assert type(parse("2")()) is float


def test_arguments_must_be_its_names() -> None:
    for args, kwargs in [((), {}), ((1.0, 2.0), {}), ((), {"x": 1.0, "z": 2.0}), ((1.0,), {"x": 1.0})]:
        with pytest.raises(errors.ArgumentError, match="a function of x"):
            parse("x*x")(*args, **kwargs)


@pytest.mark.parametrize(
    ("text", "place", "about"),
    [
        ("2*sine(x)", "sine", "the nearest is sin"),
        ("x.real + 1", "x.real", "an attribute"),
        ("x[0]", "x[0]", "an index"),
        ("__import__('os').system('rm')", "__import__('os').system", "by its name"),
        ("1 + __import__('os')", "__import__", "no function"),
        ("eval('1')", "eval", "no function"),
        ("(lambda: 1)()", "lambda: 1", "by its name"),
        ("[y for y in x]", "[y for y in x]", "cannot stand"),
        ("(y := 3) + y", "y := 3", "an assignment"),
        ("f'{x}'", "f'{x}'", "text"),
        ("'a'*9", "'a'", "str"),
        ("1 + 2j", "2j", "complex"),
        ("True", "True", "bool"),
        ("None", "None", "NoneType"),
        ("x ^ 2", "x ^ 2", "x\\*\\*y"),
        ("x @ y", "x @ y", "cannot stand"),
        ("~x", "~x", "cannot stand"),
        ("x is y", "x is y", "cannot stand"),
        ("x, y", "x, y", "a tuple"),
        ("tanh(*x)", "*x", "one by one"),
        ("tanh(x=y)", "y", "one by one"),
        ("tanh(x, y)", "tanh(x, y)", "too many"),
        ("tanh()", "tanh()", "missing"),
        ("tanh + 1", "tanh", "is a function"),
        ("é*foo(x)", "foo", "no function"),
        ("(1 +\n  x.y)", "x.y", "an attribute"),
    ],
)
def test_errors_show_the_place(text: str, place: str, about: str) -> None:
    """The carets stand under what cannot be."""
    with pytest.raises(errors.ExpressionError, match=about) as caught:
        parse(text)
    _, line, carets = str(caught.value).splitlines()
    assert line[carets.index("^") : carets.rindex("^") + 1] == place


@pytest.mark.parametrize(
    "text",
    [
        *("", "   ", "x +", "(x", "x)", "2x", "x = 3", "x; y", "import os", "x if y", "def f(): pass", "x\ny", "$"),
        *("x\0", "\ud800", "\\", "# nothing", "await x", "yield x", "lambda", "x:int", "print('a')", "...", "1 if x"),
        *(
            "(" * 1000 + "x" + ")" * 1000,
            "x" * 6000,
            "9" * 4500,
            "9" * 400,
            "+".join("x" * 2400) + "+",
        ),
        *("f(" * 90 + "x" + ")" * 90, "not " * 1200, "x if x else " * 400, "x**" * 1500, "[" * 150, "{" * 150 + "x"),
    ],
)
def test_what_is_no_expression(text: str) -> None:
    """Wrong, hostile or endless text is an error, shortly told, and nothing else."""
    with pytest.raises(errors.ExpressionError) as caught:
        parse(text)
    assert all(len(line) < 260 for line in str(caught.value).splitlines())
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, errors.FgradError)


def test_what_is_deep_is_computed_or_refused() -> None:
    """As deep as Python's parser goes, which depends on its limit of recursion."""
    before, deep = sys.getrecursionlimit(), "-" * 4000 + "x"
    try:
        sys.setrecursionlimit(10_000)
        assert parse(deep)(2.0) == 2.0
        sys.setrecursionlimit(1_000)
        with pytest.raises(errors.ExpressionError, match="nested too deeply"):
            parse(deep)
    finally:
        sys.setrecursionlimit(before)


def test_long_expressions_are_fine() -> None:
    """What is long, but not endless, is computed without recursion."""
    assert parse("+".join(["x*2"] * 1200))(1.0) == 2400.0
    assert parse("(" * 90 + "x" + ")" * 90)(1.0) == 1.0


def test_random_text_is_parsed_or_refused() -> None:
    """Whatever characters come in whatever order: there is a function or an ExpressionError, and nothing runs."""
    pieces = (
        "x|y|(|)|+|*|**|tanh(|,|1|.5|lambda|:|[|]|.|__class__|'| |\n|if | else |not |=|:=|{|}|é|\t|#|\\|@|<|open(|0x|_"
    )
    choose = random.Random(0)
    for _ in range(3000):
        text = "".join(choose.choices(pieces.split("|"), k=choose.randrange(1, 12)))
        try:
            expression = parse(text)
        except errors.ExpressionError:
            continue
        tree = ast.parse(text.strip(), mode="eval")
        assert not any(isinstance(node, ast.Attribute | ast.Subscript | ast.Lambda) for node in ast.walk(tree))
        called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call)}  # type: ignore[attr-defined]  # names alone can be called
        assert called <= CALLABLE.keys()
        assert all(name.isidentifier() for name in expression.names)
