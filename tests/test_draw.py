"""Drawings hold every value and every use of one, stay legible, and are harmless whatever the names are."""

import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import errors, micro, named, nn
from fgrad.random import Key
from fgrad.show.draw import Drawing, draw
from tests.expressions import micrograd_readme
from tests.test_explain import HOSTILE, LECTURE, neuron

F = Callable[..., Any]
LINK = re.compile(r"^  n(\d+) -> n(\d+)", re.MULTILINE)


def links(drawing: Drawing) -> list[tuple[int, int]]:
    return [(int(tail), int(head)) for tail, head in LINK.findall(drawing.dot)]


def boxes(drawing: Drawing) -> list[str]:
    """What stands in each box, as text."""
    labels = re.findall(r"\[label=<(.*?)> fillcolor", drawing.dot)
    return [re.sub(r"<[^>]*>", " ", label).replace("&nbsp;", "") for label in labels]


def long_chain(length: int) -> F:
    def f(x: float) -> float:
        for _ in range(length):
            x = x * 1.001
        return x

    return f


def squares(xs: list[float]) -> float:
    total = 0.0
    for x in xs:
        total = total + x * x
    return total


def squared_error(model: micro.MLP, xs: list[list[float]], ys: list[float]) -> float:
    total = 0.0
    for x, y in zip(xs, ys, strict=True):
        total = total + (model(x)[0] - y) ** 2
    return total


def test_every_value_and_every_use() -> None:
    """A box for each value, with name, formula, value and gradient; an arrow for each operand, in order, repeated."""
    drawing = draw(neuron)(**LECTURE)
    assert [text.split()[0] for text in boxes(drawing)] == ["x1", "x2", "w1", "w2", "b", "x1w1", "x2w2", "v1", "n", "o"]
    assert [" ".join(box.split()) for box in boxes(drawing)[7:]] == [
        "v1 = x1w1 + x2w2 value -6 grad 0.5",
        "n = v1 + b value 0.8814 grad 0.5",
        "o = tanh(n) value 0.7071 grad 1",
    ]
    assert links(drawing) == [(0, 5), (2, 5), (1, 6), (3, 6), (5, 7), (6, 7), (7, 8), (4, 8), (8, 9)]
    assert links(draw(lambda a: a * a)(3.0)) == [(0, 1), (0, 1)]
    assert links(draw(lambda a, b: b - a)(3.0, 4.0)) == [(1, 2), (0, 2)]


def test_direction() -> None:
    assert "rankdir=LR" in draw(micrograd_readme)(-4.0, 2.0).dot
    top_down = draw(micrograd_readme, direction="TB")(-4.0, 2.0)
    assert "rankdir=TB" in top_down.dot
    assert top_down.mermaid.startswith("flowchart TB\n")
    with pytest.raises(errors.ArgumentError, match="LR"):
        draw(neuron, direction="up")  # type: ignore[arg-type]  # that is the point


def colours(drawing: Drawing) -> list[str]:
    return re.findall(r'> fillcolor="(#\w+)"', drawing.dot)


def red(colour: str) -> int:
    return int(colour[1:3], 16)


def blue(colour: str) -> int:
    return int(colour[5:7], 16)


def test_colours_tell_sign_and_size() -> None:
    """Grey for zero, blue for negative and orange for positive, stronger with the size; broken ones stand apart."""
    f = lambda x, y, z: 100.0 * x - 100.0 * y + 2.0 * z
    x, y, z, *_ = colours(draw(f)(1.0, 1.0, 1.0))
    assert red(x) > blue(x)
    assert red(y) < blue(y)
    assert blue(z) > blue(x)
    (zero, *_) = colours(draw(lambda w: 0.0 * w)(1.0))
    assert abs(red(zero) - blue(zero)) < 8
    (broken, *_) = colours(draw(lambda x: fgrad.sqrt(x))(0.0))
    assert broken not in {x, y, z, zero}


def luminance(colour: str) -> float:
    """The relative luminance of the Web Content Accessibility Guidelines."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(a: str, b: str) -> float:
    high, low = sorted([luminance(a), luminance(b)], reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_texts_have_contrast_in_light_and_dark() -> None:
    """Text on every colour has a contrast of 4.5, and lines have 3 on white and on black (WCAG, AA)."""
    from fgrad.show import draw as module

    assert all(contrast(fill, module._INK[0]) >= 4.5 for fill in (*module._LIGHT, module._BROKEN[0]))
    assert all(contrast(fill, module._INK[1]) >= 4.5 for fill in (*module._DARK, module._BROKEN[1]))
    assert all(contrast(module._LINE, ground) >= 3 for ground in ("#ffffff", "#0d1117", "#111111"))


def test_layers_are_framed() -> None:
    """The parameters of a layer stand together in a frame with its name."""
    model = nn.MLP.init(Key(0), [2, 3, 2])
    dot = draw(lambda model, x: fgrad.mean(model(x)))(model, np.ones((5, 2))).dot
    frames = re.findall(r'subgraph cluster_\d+ \{ graph \[label="([^"]*)"', dot)
    assert frames == ["model.layers[0]", "model.layers[1]"]
    assert "(2, 3) float64" in dot


# --- folding ---------------------------------------------------------------------------------------------------------
def is_acyclic(drawing: Drawing) -> bool:
    remaining = set(links(drawing))
    while remaining:
        heads = {head for _, head in remaining}
        kept = {(tail, head) for tail, head in remaining if tail in heads}
        if kept == remaining:
            return False
        remaining = kept
    return True


def counted(drawing: Drawing) -> tuple[int, int]:
    """How many arguments and ops the boxes say that they hold."""
    text = " ".join(boxes(drawing)).replace(",", "")
    single = Counter("=" in box for box in boxes(drawing) if "value" in box)
    arguments = sum(map(int, re.findall(r"(\d+) arguments?", text))) + single[False]
    return arguments, sum(map(int, re.findall(r"(\d+) ops?", text))) + single[True]


def test_by_layer() -> None:
    """A network of thousands of values is a box for each layer, with counts that add up, and no circle."""
    model = micro.MLP.init([2, 16, 16, 1])
    drawing = draw(squared_error)(model, [[1.0, 2.0]] * 5, [1.0] * 5)
    titles = [box.split()[0] for box in boxes(drawing)]
    assert titles == ["model.layers[0]", "model.layers[1]", "model.layers[2]", *[f"xs[{i}]" for i in range(5)], "ys"]
    explained = fgrad.trace(squared_error)(model, [[1.0, 2.0]] * 5, [1.0] * 5)
    assert counted(drawing) == (len(explained.inputs), len(explained.nodes) - len(explained.inputs))
    assert is_acyclic(drawing)


def test_by_name() -> None:
    """Values fold into the named one that they lead to."""

    def f(x: float, y: float) -> float:
        for i in range(5):
            for _ in range(100):
                x = x * y + 1.0
            x = named(x, f"block {i}")
        return x * 2.0

    drawing = draw(f)(0.5, 0.9)
    text = " ".join(boxes(drawing))
    assert all(f"block {i}" in text for i in range(5))
    assert text.count("200 ops") == 5
    assert is_acyclic(drawing)
    assert len(boxes(drawing)) == 8


def test_by_part() -> None:
    drawing = draw(long_chain(5000))(1.0)
    assert 2 < len(boxes(drawing)) <= 24
    assert counted(drawing) == (1, 5000)
    assert is_acyclic(drawing)
    assert len(boxes(draw(long_chain(50), limit=10)(1.0))) <= 10
    assert len(boxes(draw(long_chain(50), limit=1)(1.0))) == 1


# --- pictures --------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module", autouse=True)
def _graphviz() -> None:
    pytest.importorskip("pygraphviz")


def rectangles(svg: str) -> list[tuple[float, float, float, float]]:
    """Where the boxes of a picture are: left, top, right, bottom."""
    found = []
    for group in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}g"):
        if group.get("class") == "node":
            shape = next(x for x in group.iter() if x.tag.endswith(("polygon", "path")))
            numbers = [float(x) for x in re.findall(r"-?\d+(?:\.\d+)?", shape.get("points") or shape.get("d") or "")]
            found.append((min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])))
    return found


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


MODEL = micro.MLP.init([3, 4, 4, 1])
POINTS = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]


@pytest.mark.parametrize(
    ("f", "args", "count"),
    [
        (lambda a: a * a, (3.0,), 2),
        (micrograd_readme, (-4.0, 2.0), 27),
        (long_chain(50), (1.0,), 51),
        (squared_error, (MODEL, POINTS, [1.0, -1.0, -1.0, 1.0]), 361),
        (squares, ([float(i) for i in range(1, 130)],), 388),
        (long_chain(5000), (1.0,), 24),
    ],
)
def test_no_box_overlaps_another(f: F, args: tuple[Any, ...], count: int) -> None:
    """From two values to thousands, boxes lie apart; and soon (this bound is ten times what it takes)."""
    start = time.perf_counter()
    found = rectangles(draw(f)(*args).svg)
    assert time.perf_counter() - start < 10
    assert len(found) == pytest.approx(count, abs=2)
    assert not any(overlap(a, b) for i, a in enumerate(found) for b in found[:i])


def test_svg_has_colours_for_dark_pages() -> None:
    svg = draw(neuron)(**LECTURE).svg
    assert svg.startswith('<svg class="fgrad-graph" ')
    assert "prefers-color-scheme:dark" in svg
    style = svg[svg.index("<style>") : svg.index("</style>")]
    assert {*re.findall(r'fill="(#\w+)"', svg)} <= {*re.findall(r'\[fill="(#\w+)"\]', style), "#7d8590"}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_harmless(name: str) -> None:
    """Whatever a name holds, the picture is well-formed, and shows it as text; Mermaid has one box for each value."""
    drawing = draw(lambda p: named(p[name] * 2.0, name + "!") + 1.0)({name: 3.0})
    root = ET.fromstring(drawing.svg)
    assert not any(x.tag.endswith(("script", "image", "foreignObject")) for x in root.iter())
    assert len(rectangles(drawing.svg)) == 3
    assert len(re.findall(r"^  n\d+\[\"[^\"]*\"\]:::\w+$", drawing.mermaid, re.MULTILINE)) == 3
    assert len(links(drawing)) == 2
    if "<script>" in name:
        assert any("<script>" in (x.text or "") for x in root.iter())
        assert "<script" not in drawing.svg


def test_hostile_names_of_layers_and_functions() -> None:
    for name in HOSTILE:
        f = lambda p: p[0] * p[1]
        f.__name__ = name
        tree = {name: (1.0, 2.0)}
        assert len(rectangles(draw(f)((1.0, 2.0)).svg)) == 3
        assert len(rectangles(draw(lambda q: q[name][0] * q[name][1], limit=1)(tree).svg)) >= 1  # noqa: B023
        assert len(rectangles(draw(lambda q: q[name][0] * q[name][1])(tree).svg)) == 3  # noqa: B023


def test_files(tmp_path: Path) -> None:
    """What is written is what its name says."""
    drawing = draw(neuron)(**LECTURE)
    for ending, begin in {"svg": b"<svg", "png": b"\x89PNG", "dot": b"digraph", "mmd": b"flowchart"}.items():
        file = tmp_path / f"graph.{ending}"
        drawing.save(file)
        assert file.read_bytes().startswith(begin)
    with pytest.raises(errors.ArgumentError, match=r"\.svg"):
        drawing.save(tmp_path / "graph.gif")
    assert drawing._repr_mimebundle_()["image/svg+xml"] == drawing.svg


def test_without_the_extra_there_is_text() -> None:
    """Where pygraphviz is missing, DOT and Mermaid are there, a notebook gets them, and pictures name the extra."""
    code = """
import sys
sys.modules["pygraphviz"] = None
from fgrad import errors
from fgrad.show.draw import draw
drawing = draw(lambda a: a * a)(3.0)
assert drawing.dot.startswith("digraph") and drawing.mermaid.startswith("flowchart")
assert drawing._repr_mimebundle_() == {"text/vnd.mermaid": drawing.mermaid, "text/plain": drawing.dot}
try:
    drawing.save("never.svg")
except errors.MissingExtraError as error:
    assert "fgrad[show]" in str(error)
else:
    raise SystemExit(1)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_values_alone_without_one_number() -> None:
    drawing = draw(lambda x: (x * x, x + 1.0))(2.0)
    assert "grad" not in drawing.dot
    assert "a shade stronger" not in drawing.dot
    assert len(links(drawing)) == 3


def test_gradients_of_all_sizes_have_a_colour() -> None:
    assert draw(lambda x, y: x * 1e-320 + y * 1e308)(1.0, 1.0).dot
    with pytest.raises(errors.ArgumentError, match="positive limit, not 0"):
        draw(lambda x: x * x, limit=0)
