"""Explanations tell what `grad` does, to the bit; and formulas are what is computed."""

import io
import math
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import numpy as np
import pytest

import fgrad
from fgrad import errors, grad, micro, named, nn, relu, sqrt, tanh, where
from fgrad.random import Key
from fgrad.show.explain import Explanation, explain
from fgrad.show.expression import parse
from fgrad.show.formula import formula
from fgrad.show.walkthrough import Walkthrough, walk
from tests.expressions import micrograd_readme

F = Callable[..., Any]
HOSTILE = [
    *("<script>alert(1)</script>", '"', "'", "\\", "\\N", "\\", "a\nb", "]]>", "&lt;", "&", "}", "{x}|<y>", "%%", "`"),
    *("\x00\x1b[31m", "\u202ex", "\ud800", "é∂🙂", "end", "x" * 300, " ", "-->"),
]


def neuron(x1: float, x2: float, w1: float, w2: float, b: float) -> float:
    """The neuron of micrograd's lecture, with its names."""
    n = named(named(x1 * w1, "x1w1") + named(x2 * w2, "x2w2") + b, "n")
    return named(tanh(n), "o")


LECTURE = {"x1": 2.0, "x2": 0.0, "w1": -3.0, "w2": 1.0, "b": 6.8813735870195432}


def gradients(explanation: Explanation) -> dict[str, object]:
    return {row.name: row.gradient for row in explanation.rows}


def bits(x: Any) -> str:
    return float(x).hex()


def of(explanation: Explanation, name: str) -> Any:
    """The value of that name."""
    return explanation[name].value


def test_the_neuron_of_the_lecture() -> None:
    """The names, values and gradients are the known ones."""
    explanation = explain(neuron)(**LECTURE)
    expected = {"x1": -1.5, "w1": 1.0, "x2": 0.5, "w2": 0.0, "b": 0.5, "x1w1": 0.5, "x2w2": 0.5, "n": 0.5, "o": 1.0}
    found = gradients(explanation)
    for name, gradient in expected.items():
        assert found[name] == pytest.approx(gradient, abs=1e-12), name
    assert explanation["o"].value == pytest.approx(0.7071, abs=1e-4)
    assert [row.name for row in explanation.rows] == ["x1", "x2", "w1", "w2", "b", "x1w1", "x2w2", "v1", "n", "o"]
    assert [row.formula for row in explanation.rows[5:]] == ["x1*w1", "x2*w2", "x1w1 + x2w2", "v1 + b", "tanh(n)"]
    assert explanation["x1w1"].numbers == "2*(-3)"
    assert explanation["x1w1"].partials == (("x1", -3.0), ("w1", 2.0))


def test_micrograds_readme() -> None:
    explanation = explain(micrograd_readme)(-4.0, 2.0)
    assert explanation["a"].gradient == pytest.approx(138.8338, abs=1e-4)
    assert explanation["b"].gradient == pytest.approx(645.5773, abs=1e-4)
    assert explanation.rows[-1].value == pytest.approx(24.7041, abs=1e-4)


def at_zero(x: float, y: float) -> float:
    return where(x > 0.0, sqrt(x), 0.0 * x) + relu(x) + fgrad.maximum(x, y) + fgrad.abs(x) + sqrt(x) * sqrt(x)


def chain(x: float, y: float) -> float:
    for _ in range(20):
        x, y = fgrad.sin(x * y) + y, y / (1.0 + x * x) - x**3 + x + x
    return x * y - y


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (micrograd_readme, (-4.0, 2.0)),
        (at_zero, (0.0, 0.0)),
        (at_zero, (2.0, 2.0)),
        (at_zero, (-1.0, 2.0)),
        (chain, (0.3, 0.7)),
        (lambda x, y: 0.0 * fgrad.log(x) + y**0 + x**y, (0.0, 2.0)),
        (lambda x, y: named(x, "x again") * x + named(named(x * y, "a"), "b") ** 2 + named(y * y, "y"), (0.1, 0.7)),
        (lambda x, y: y, (1.0, 2.0)),
        (lambda x, y: fgrad.clip(x, y, 3.0) + fgrad.logaddexp(x, y) - fgrad.atan2(x, y), (1.0, 1.0)),
        (grad(lambda x, y: micrograd_readme(x, y) * fgrad.exp(x * 0.1)), (-4.0, 2.0)),
        (lambda x, y: fgrad.checkpoint(chain)(x, y) * x, (0.3, 0.7)),
        (lambda x, y: fgrad.cond(x > y, lambda a: a * a, lambda a: -a, x) * y, (0.3, 0.7)),
        (lambda x, y: fgrad.fori_loop(0, 5, lambda i, s: s * y + x, x), (0.3, 0.7)),
        (fgrad.jit(chain), (0.3, 0.7)),
        (lambda x, y: fgrad.jit(grad(chain))(x, y), (0.3, 0.7)),
    ],
)
def test_gradients_are_grads_to_the_bit(f: F, args: tuple[float, float]) -> None:
    """The inputs' gradients, in both forms of a call, are those of `grad`, to the last bit."""
    expected = grad(f, (0, 1))(*args)
    walked = walk(f, args, {})
    assert [bits(q.gradient) for q in walked.quantities[:2]] == [*map(bits, expected)]


def test_arrays_and_models_too() -> None:
    """Gradients by arrays, in the layers of a model, are those of `grad`, with their dtypes."""
    model = nn.MLP.init(Key(0), [2, 3, 2], dtype=np.float32)
    x, labels = np.linspace(-1.0, 1.0, 10).reshape(5, 2).astype(np.float32), np.array([0, 1, 0, 1, 0])

    def loss(model: nn.MLP, x: Any, labels: Any) -> Any:
        return nn.cross_entropy(model(x), labels)

    gradient: F = grad(loss, (0, 1))
    expected: list[Any] = fgrad.tree.leaves(gradient(model, x, labels))
    explanation = explain(loss)(model, x, labels)
    assert [row.name for row in explanation.rows[:5]] == [
        *("model.layers[0].w", "model.layers[0].b", "model.layers[1].w", "model.layers[1].b", "x")
    ]
    for row, wanted in zip(explanation.rows, expected, strict=False):
        found: Any = row.gradient
        assert np.array_equal(found, wanted)
        assert found.dtype == wanted.dtype
    assert "float32" in str(explanation)
    assert explanation.rows[5].partials == (("x", "g @ yᵀ"), ("model.layers[0].w", "xᵀ @ g"))


def test_the_record_is_frozen_and_shares_nothing() -> None:
    """Neither what the user does to an array later, nor a write, changes a record."""
    x = np.ones(3)
    explanation = explain(lambda x: fgrad.sum(x * x))(x)
    x *= 10
    assert of(explanation, "x").tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        of(explanation, "x")[0] = 2.0
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        explanation.rows[0].name = "y"  # type: ignore[misc]  # that is the law


def test_the_forms_of_calls() -> None:
    """Keywords, one mapping and places mean the same, and keywords keep the order they were written in."""
    f = lambda b, a: a * b + b**3
    by_place, by_name = explain(f)(2.0, -4.0), explain(f)(b=2.0, a=-4.0)
    assert str(by_place) == str(by_name) == str(explain(f)({"b": 2.0, "a": -4.0}))  # type: ignore[call-arg]  # the mapping form
    assert [row.name for row in explain(f)(a=-4.0, b=2.0).rows[:2]] == ["a", "b"]


def test_what_cannot_be_differentiated_is_a_constant_behind_the_first() -> None:
    explanation = explain(lambda x, kind, n: x**n if kind == "power" else x)(2.0, "power", 3)
    assert explanation.rows[-1].formula == "x**n"
    with pytest.raises(errors.LeafError, match="kind"):
        explain(lambda kind, x: x)("power", 2.0)


def test_within_another_transform() -> None:
    """Where arguments are traced values themselves, it tells their numbers, and the other transform goes on."""
    told: list[Explanation] = []

    def f(x: float) -> float:
        told.append(explain(lambda y: y * y * x)(x))
        return x * x

    assert grad(f)(3.0) == 6.0
    assert (told[0]["y"].value, told[0]["y"].gradient) == (3.0, 18.0)


def test_without_one_number_there_is_the_forward_pass() -> None:
    explanation = explain(lambda x: (x * x, x + 1.0))(2.0)
    assert explanation.steps == ()
    assert gradients(explanation) == {"x": None, "v1": None, "v2": None}
    with pytest.raises(errors.ArgumentError, match="one number"):
        explanation.paths("x")


# --- the backward pass -----------------------------------------------------------------------------------------------
def test_the_steps_add_up() -> None:
    """Each total goes on from the last, and ends at the gradient; a step's gradient is complete."""
    walked = walk(micrograd_readme, (-4.0, 2.0), {})
    held: dict[int, object] = {walked.result[0]: 1.0}
    for step in walked.steps:
        q = walked.quantities[step.quantity]
        assert step.gradient == held[step.quantity] == q.gradient
        for c in step.contributions:
            operand = q.operands[c.operand]
            assert operand.source == c.source
            assert c.amount == step.gradient * operand.partial  # type: ignore[operator]  # numbers
            assert c.before == held.get(c.source)
            assert c.after == (c.amount if c.before is None else c.before + c.amount)  # type: ignore[operator]  # as above
            held[c.source] = c.after
    assert all(later.quantity < earlier.quantity for earlier, later in pairwise(walked.steps))
    assert all(held.get(q.index, 0.0) == q.gradient for q in walked.quantities)


def test_repeats_are_kept() -> None:
    walked = walk(lambda a: a * a, (3.0,), {})
    (step,) = walked.steps
    assert [(c.amount, c.before, c.after) for c in step.contributions] == [(3.0, None, 3.0), (3.0, 3.0, 6.0)]


# --- paths -----------------------------------------------------------------------------------------------------------
def all_paths(walked: Walkthrough, i: int, target: int) -> list[float]:
    """The products along all paths, one by one."""
    if i == target:
        return [1.0]
    return [
        x.partial * product
        for x in walked.quantities[i].operands
        if x.carries and x.source is not None and x.partial is not None
        for product in all_paths(walked, x.source, target)
    ]


def random_program(seed: int) -> F:
    """A function of two numbers: twelve ops on what came before."""
    choose = random.Random(seed)
    picks = [(choose.randrange(5), choose.randrange(2 + i), choose.randrange(2 + i)) for i in range(12)]

    def f(x: float, y: float) -> float:
        values = [x, y]
        for op, i, j in picks:
            a, b = values[i], values[j]
            values.append([a + b, a * b, a - b * 0.5, tanh(a), fgrad.sin(a) + b][op])
        return values[-1] + values[-2]

    return f


@pytest.mark.parametrize("seed", range(20))
def test_the_gradient_is_the_sum_over_paths(seed: int) -> None:
    """All paths together are the gradient; the largest are those of a full enumeration; the rest is counted."""
    explanation = explain(random_program(seed))(0.7, -1.3)
    for name in ("x", "y"):
        target = explanation.walkthrough[name].index
        every = sorted(all_paths(explanation.walkthrough, explanation.walkthrough.result[0], target), key=abs)[::-1]
        paths = explanation.paths(name, 4)
        assert math.fsum(every) == pytest.approx(explanation[name].gradient, rel=1e-9, abs=1e-12)
        assert paths.count == len(every)
        assert [abs(p.product) for p in paths.largest] == pytest.approx([abs(p) for p in every[:4]], rel=1e-9)
        assert math.fsum([p.product for p in paths.largest]) + paths.rest == pytest.approx(paths.gradient, rel=1e-9)
        for path in paths.largest:
            assert math.prod(path.partials) == pytest.approx(path.product, rel=1e-9)
            assert path.names[-1] == name


def test_exponentially_many_paths_are_counted() -> None:
    def doubled(x: float) -> float:
        for _ in range(500):
            x = x + x
        return x * 1e-150

    paths = explain(doubled)(1.0).paths("x", 3)
    assert paths.count == 2**500
    assert [p.product for p in paths.largest] == [1e-150] * 3
    assert paths.others == 2**500 - 3


def test_where_there_are_no_paths() -> None:
    """An unused argument has none; what arrays lie on cannot be a product of numbers; an unknown name is an error."""
    assert explain(lambda x, y: x * 2.0)(1.0, 2.0).paths("y").count == 0
    assert explain(lambda x: x)(1.0).paths("x").count == 1
    assert explain(lambda x, y: x * (y > 0.0))(1.0, 2.0).paths("y").count == 0
    with pytest.raises(errors.ArgumentError, match="arrays"):
        explain(lambda x: fgrad.sum(x))(np.ones(3)).paths("x")
    with pytest.raises(errors.ArgumentError, match="there are x"):
        explain(lambda x: x * 2.0)(1.0).paths("z")


# --- how it is shown -------------------------------------------------------------------------------------------------
def test_names_are_unique_and_formulas_unambiguous() -> None:
    """Labels that are used twice, or are some other name, are told apart; those that are no word stand in quotes."""

    def f(x: float) -> float:
        for _ in range(3):
            x = named(x * 2.0, "h")
        return named(x + 1.0, "v1") * named(x - 1.0, "a + b") + x

    explanation = explain(f)(1.0)
    names = [row.name for row in explanation.rows]
    assert names == ["x", "h", "h_2", "h_3", "v1", "a + b", "v2", "v3"]
    assert explanation["v2"].formula == "v1*‹a + b›"
    kinds = [q.kind for q in explanation.walkthrough.quantities]
    assert kinds == ["input", *["named"] * 5, "made", "made"]


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_names_are_harmless(label: str) -> None:
    """Whatever a name holds, HTML shows it as text, and texts have one line a row."""
    explanation = explain(lambda p: named(p[label] * 2.0, label + "!") + 1.0)({label: 3.0})
    shown = explanation._repr_html_()
    assert "<script" not in shown.replace("<style>", "")
    assert shown.count("<tr>") == shown.count("</tr>") == 3 + 1 + len(explanation.steps) + 1
    assert len(str(explanation).splitlines()) == 4 + 2 + len(explanation.steps)
    assert all(c.isprintable() for line in str(explanation).splitlines() for c in line)


def test_as_data_rich_and_text() -> None:
    """The rows are plain data; rich prints all cells; a long explanation is cut where it is shown, and nowhere else."""
    console = pytest.importorskip("rich.console")
    explanation = explain(neuron)(**LECTURE)
    (x1, *_) = explanation.data()
    assert (x1["name"], x1["value"], x1["gradient"]) == ("x1", 2.0, pytest.approx(-1.5))
    screen = console.Console(width=140, record=True, file=io.StringIO())
    screen.print(explanation)
    assert "x1w1 + x2w2" in screen.export_text()
    long = explain(lambda x: [x := x * 1.001 for _ in range(1000)][-1])(1.0)
    assert len(long.data()) == 1001
    assert "801 more" in str(long)


# --- formulas --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "f",
    [
        lambda x: x**3,
        lambda x: tanh(x) / 3.0,
        lambda x: fgrad.gelu(x),
        lambda x: fgrad.exp(-x * x) * fgrad.sin(2.0 * math.pi * x) * math.sqrt(2.0) * 0.1,
        lambda x: where(x > 0.3, x * x, -x),
    ],
)
def test_a_formula_is_the_function(f: F) -> None:
    """The formulas of a function and its first two derivatives, at a number, are what these give there."""
    sympy = pytest.importorskip("sympy")
    for g in (f, grad(f), grad(grad(f))):
        expression: Any = formula(g)("x").expression
        assert float(expression.subs(sympy.Symbol("x", real=True), sympy.Float(0.7))) == pytest.approx(
            g(0.7), rel=1e-12
        )


def test_formulas_are_what_is_written() -> None:
    """Constants are what they were before rounding, and results have their structure."""
    sympy = pytest.importorskip("sympy")
    x, y = sympy.symbols("x y", real=True)
    assert formula(grad(lambda x: 0.1 * x * x / 6.0))("x").expression == x / 30
    assert formula(lambda x: math.pi / 2 * x * math.sqrt(3.0))("x").expression == sympy.pi / 2 * sympy.sqrt(3) * x
    assert formula(grad(lambda a, b: a * b + b**3))(a="x", b="y").expression == {"a": y, "b": x + 3 * y**2}
    second: Any = formula(fgrad.hessian(lambda v: v[0] ** 2 * v[1]))(np.array(["x", "y"])).expression
    assert second.tolist() == [[2 * y, 2 * x], [2 * x, 0]]
    assert formula(lambda p, n: p["w"] * n)({"w": "x"}, 2.5).expression == x * sympy.Rational(5, 2)
    assert formula(grad(lambda x: x**3))("x")._repr_latex_() == r"$\displaystyle 3 x^{2}$"
    assert r"\text{a} &= y" in formula(grad(lambda a, b: a * b))(a="x", b="y").latex
    assert str(formula(lambda x: fgrad.sin(x) ** 2 + fgrad.cos(x) ** 2)("x").simplified()) == "1"


def test_what_has_no_formula() -> None:
    pytest.importorskip("sympy")
    with pytest.raises(errors.BranchError, match=r"fgrad\.where"):
        formula(lambda x: x if x > 0.0 else -x)("x")
    with pytest.raises(errors.BranchError):
        formula(grad(lambda x: x if x > 0.0 else -x))("x")
    with pytest.raises(errors.LeafError, match="name"):
        formula(lambda x: x)(" ")


def test_a_network_number_by_number() -> None:
    """Micrograd's network: the paths to a weight of the first layer go through every neuron behind it."""
    model = micro.MLP.init([2, 3, 3, 1])
    explanation = explain(lambda model, x: model(x)[0])(model, [1.0, -2.0])
    assert explanation.paths("model.layers[0].neurons[0].w[0]").count == 3
    assert explanation.paths("x[0]").count == 9
    expected = grad(lambda model: model([1.0, -2.0])[0])(model)
    assert [row.gradient for row in explanation.rows][: len(fgrad.tree.leaves(model))] == fgrad.tree.leaves(expected)


def test_paths_of_large_numbers_and_of_many() -> None:
    """Their sums overflow, and so would their count; long ones are shortened."""

    def doubled(x: float) -> float:
        for _ in range(15_000):
            x = x + x
        return x

    assert "nan from 1 more" in str(
        explain(lambda x, y: x * 1e308 * 10 - x * 1e308 * 10 + y * x)(1.0, 2.0).paths("x", 2)
    )
    assert "more" in str(explain(lambda x: x * 1.5e308 + x * 1.5e308 - x * 1.5e308 + x)(1.0).paths("x", 2))
    shown = str(explain(doubled)(0.3).paths("x", 1))
    assert "the sum over about 10^4515 paths" in shown
    assert len(shown) < 1000


def test_paths_through_a_choice_of_truth_values() -> None:
    chosen = explain(parse("max(x>0, y)*3"))(x=1.0, y=1.0)
    assert [path.product for path in chosen.paths("y").largest] == [1.5]
    assert not explain(parse("(y > 0 if x > 0 else y)*2"))(x=1.0, y=3.0).paths("y").gradient
