"""Steppers: one self-contained page that goes through both passes of a function, value by value.

Knows what the page is told of a walkthrough, and where its boxes lie; nothing of what it shows at each step, and of how
it computes on other numbers: its scripts do that.
"""

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Final

from fgrad import errors
from fgrad.show import notation
from fgrad.show.draw import laid_out
from fgrad.show.folding import Box, Link, fold
from fgrad.show.walkthrough import Operand, Quantity, Step, Walkthrough

_PAGE: Final = Path(__file__).with_name("stepper.html")
_STYLE: Final = Path(__file__).with_name("stepper.css")
_SCRIPTS: Final = (Path(__file__).with_name("stepper_ops.js"), Path(__file__).with_name("stepper.js"))
_MOST: Final = 400  # boxes; beyond, the drawing is folded
_POINTS: Final = 72  # to the inch, in which Graphviz measures
_LETTER: Final = 7.3  # points that a letter in a box is wide
_WIDTH, _HEIGHT = 156, 50  # of a box, in points: room for two numbers side by side, under a line of text
_LONGEST: Final = 24  # letters of a name or a formula in a box


def page(walked: Walkthrough) -> str:
    """Give the page as HTML: it loads nothing, and equal walkthroughs give equal pages.

    The graph is in it where pygraphviz is installed.

    >>> from fgrad.show.walkthrough import walk
    >>> page(walk(lambda a: a * a, (3.0,), {})).splitlines()[0]
    '<!doctype html>'
    """
    style = _STYLE.read_text("utf-8")
    script = "\n".join(path.read_text("utf-8") for path in _SCRIPTS)
    data = json.dumps(_told(walked), allow_nan=False, separators=(",", ":"))
    return Template(_PAGE.read_text("utf-8")).substitute(
        policy=f"default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src '{_fingerprint(script)}'; style-src '{_fingerprint(style)}'",
        function=html.escape(walked.function),
        style=style,
        data=data.replace("<", "\\u003c"),  # the data hold no end of a script
        script=script,
    )


def _fingerprint(text: str) -> str:
    """What a page's policy calls a script or a style that it allows, and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


# --- what the page is told -------------------------------------------------------------------------------------------
def _told(walked: Walkthrough) -> dict[str, object]:
    return {
        "function": walked.function,
        "differentiated": walked.differentiated,
        "result": walked.result,
        "quantities": [_quantity(q) for q in (*walked.quantities, *walked.aside)],
        "kept": len(walked.quantities),
        "steps": [_step(step) for step in walked.steps],
        "decisions": [{"quantity": x.quantity, "taken": x.taken} for x in walked.decisions],
        "operators": dict(notation.OPERATORS),
        "graph": _graph(walked),
    }


def _quantity(q: Quantity) -> dict[str, object]:
    return {
        "name": q.name,
        "kind": q.kind,
        "op": q.op,
        "own": q.own,
        "operands": [_operand(x) for x in q.operands],
        "value": _plain(q.value),
        "integer": type(q.value) is int,
        "gradient": _plain(q.gradient),
        "formula": q.formula,
        "numbers": q.numbers,
    }


def _operand(x: Operand) -> dict[str, object]:
    if x.source is None:
        return {"constant": _plain(x.value), "text": notation.brief(x.value, 4)}
    return {"source": x.source, "partial": (x.rule if x.partial is None else _plain(x.partial)) if x.carries else None}


def _step(step: Step) -> dict[str, object]:
    return {
        "quantity": step.quantity,
        "gradient": _plain(step.gradient),
        "adds": [
            {"operand": c.operand, "source": c.source}
            | {"amount": _plain(c.amount), "before": _plain(c.before), "after": _plain(c.after)}
            for c in step.contributions
        ],
    }


def _plain(x: object) -> object:
    """One of Python's numbers as JSON has it, in a list where JSON has it not; anything else in words."""
    if x is None or type(x) in (bool, int):
        return x
    if type(x) is float:
        return x if math.isfinite(x) else [str(x)]
    return notation.value(x)


# --- where the boxes lie ---------------------------------------------------------------------------------------------
def _graph(walked: Walkthrough) -> dict[str, object] | None:
    """The boxes and the paths of the arrows between them, in points from the top left; None without pygraphviz."""
    boxes, links = fold(walked, _MOST)
    try:
        plain = laid_out("\n".join(_dot_lines(boxes, links)), "plain").decode("utf-8")
    except errors.MissingExtraError:
        return None
    lines = [line.split() for line in plain.splitlines()]
    height = float(lines[0][3])

    def points(numbers: Sequence[str]) -> list[float]:
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        return [round(x * _POINTS, 1) for a, b in pairs for x in (float(a), height - float(b))]

    places = {line[1]: points(line[2:4]) for line in lines if line[0] == "node"}
    return {
        "size": points([lines[0][2], "0"]),
        "boxes": [_box(box, places[f"n{i}"]) for i, box in enumerate(boxes)],
        "links": [
            {"tail": int(line[1][1:]), "head": int(line[2][1:]), "path": points(line[4 : 4 + 2 * int(line[3])])}
            for line in lines
            if line[0] == "edge"
        ],
    }


def _dot_lines(boxes: Sequence[Box], links: Sequence[Link]) -> Iterator[str]:
    yield "digraph { graph [rankdir=LR ranksep=0.85 nodesep=0.25] edge [dir=none]"
    yield 'node [shape=box fixedsize=true label=""]'
    for i, box in enumerate(boxes):
        yield f"n{i} [width={_width(box) / _POINTS:.4f} height={_HEIGHT / _POINTS:.4f}]"
    for link in links:
        yield f"n{link.tail} -> n{link.head}"
    yield "}"


def _lines(box: Box) -> tuple[str, str]:
    """A box's name, and the formula of a single value."""
    formula = box.members[0].formula if len(box.members) == 1 else ""
    return notation.shortened(box.title, _LONGEST), notation.shortened(formula, _LONGEST)


def _width(box: Box) -> float:
    name, formula = _lines(box)
    return max(_WIDTH, 20 + _LETTER * len(name + (formula and f" = {formula}")))


def _box(box: Box, centre: Sequence[float]) -> dict[str, object]:
    name, formula = _lines(box)
    return {
        "centre": centre,
        "size": [round(_width(box), 1), _HEIGHT],
        "name": name,
        "formula": formula,
        "members": [q.index for q in box.members],
    }
