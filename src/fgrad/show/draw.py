"""Drawings: the graph of a function with names, ops, values and gradients, as DOT, Mermaid, SVG and PNG.

Knows how a walkthrough becomes boxes and arrows, and folds it where there are too many; nothing of how to lay them out,
which Graphviz does.
"""

import html
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, ParamSpec, TypeAlias, cast

import attrs

from fgrad import errors
from fgrad.arrays import namespace
from fgrad.files import replace_files
from fgrad.show import notation
from fgrad.show.folding import Box, Link, fold
from fgrad.show.walkthrough import Walkthrough, walk

if TYPE_CHECKING:
    from fgrad.files import PathLike

P = ParamSpec("P")
Direction: TypeAlias = Literal["LR", "TB"]

# A diverging scale, blue for negative gradients and orange for positive ones, which the colour-blind tell apart; pale
# to strong with their size, by half decades below the largest. On a dark page each has its dark counterpart.
_LIGHT: Final = ("#5b9fdc", "#8fbfea", "#bcdaf4", "#e2effb", "#f3f4f6", "#fdeeda", "#fad6a5", "#f4b566", "#e8932e")
_DARK: Final = ("#2a69a9", "#255889", "#1d4163", "#182d42", "#2b3138", "#3f2d16", "#5e3f14", "#7a4e10", "#95590a")
_BROKEN: Final = ("#e5a9d2", "#7a2d63")  # nan and infinity: no size at all
_INK: Final = ("#1b1f24", "#f2f4f7")
_LINE: Final = "#7d8590"  # has contrast on white and on black
_FONT: Final = "Helvetica,Arial,sans-serif"
_TEXT: Final = f'fontname="{_FONT}" fontcolor="{_LINE}"'
_GROUND: Final = f"bgcolor=transparent ranksep=0.45 nodesep=0.18 pad=0.15 fontsize=10 labeljust=l {_TEXT}"
_BOXES: Final = f'shape=box style=filled fontsize=13 margin="0.12,0.05" color="{_LINE}" {_TEXT} fontcolor="{_INK[0]}"'
_ARROWS: Final = f'color="{_LINE}" arrowsize=0.7 fontsize=11 {_TEXT}'
_FRAME: Final = f'color="{_LINE}" fontsize=12 style="rounded,dashed"'
_KEY: Final = "gradient: blue negative, orange positive, a shade stronger for each √10 times"
_PIXELS: Final = 8e6  # of a PNG; larger ones take long and are too much to look at
_SIDE: Final = 32_000  # as above, of a side: Cairo knows no longer ones
_ZERO: Final = 4  # the middle of the scale
_LONGEST: Final = 36  # of a line in a box


@attrs.frozen(eq=False, repr=False)
class Drawing:
    """A graph as text, `dot` for Graphviz and `mermaid`, and as pictures; in a notebook it shows itself."""

    dot: str
    mermaid: str

    @cached_property
    def svg(self) -> str:
        """The picture as SVG, with colours for light and for dark pages.

        Raises `MissingExtraError` where pygraphviz is not installed.
        """
        return _styled(laid_out(self.dot, "svg").decode("utf-8"))

    @cached_property
    def png(self) -> bytes:
        """The picture as PNG, on a transparent ground; raises as `svg` does."""
        return laid_out(self.dot, "png", dpi=str(_resolution(self.svg)))

    def save(self, path: "PathLike") -> None:
        """Write the drawing to a file: .svg, .png, .dot or .mmd (Mermaid), as its name ends.

        Raises `ArgumentError` for another ending, `MissingExtraError` as `svg` does, and OSError where the file cannot
        be written.
        """
        file = Path(path)
        ways: dict[str, Callable[[], bytes]] = {
            ".svg": lambda: self.svg.encode("utf-8"),
            ".png": lambda: self.png,
            ".dot": lambda: self.dot.encode("utf-8"),
            ".mmd": lambda: self.mermaid.encode("utf-8"),
        }
        if file.suffix.lower() not in ways:
            raise errors.ArgumentError(
                f"{file.name} does not end in one of {', '.join(ways)}, by which a drawing knows what to write: "
                'write drawing.save("graph.svg")'
            )
        replace_files({file: ways[file.suffix.lower()]()})

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What a notebook shows: the picture, or, without Graphviz, what it may draw itself, or the text."""
        try:
            return {"image/svg+xml": self.svg, "text/plain": repr(self)}
        except errors.MissingExtraError:
            return {"text/vnd.mermaid": self.mermaid, "text/plain": self.dot}

    def __repr__(self) -> str:
        return f"<Drawing of {self.dot.count(' [label=<')} boxes: .svg, .png, .dot, .mermaid, .save(path)>"

    def __str__(self) -> str:
        return self.dot


def draw(f: Callable[P, object], *, direction: Direction = "LR", limit: int = 400) -> Callable[P, Drawing]:
    """Make the function that draws the graph of `f` at some arguments, with the gradient of its result in each box.

    It is called as f is, in the forms of `grad`; by position, all arguments are differentiated that can be. `direction`
    is "LR", left to right, or "TB", top down. A graph of more than `limit` values is folded: by what `named` names, by
    the layers of a model, or, where there are neither, by parts of equal length. Without a result that is one number
    there are values alone.

    >>> drawing = draw(lambda a: a * a)(3.0)
    >>> print(drawing.mermaid)
    flowchart LR
      n0["a<br/>value 3, grad 6"]:::c8
      n1["v1 = a#42;a<br/>value 9, grad 1"]:::c6
      n0 --> n1
      n0 --> n1
      ...
    """
    if direction not in ("LR", "TB"):
        raise errors.ArgumentError(f'direction must be "LR" or "TB", not {direction!r}')
    if limit < 1:
        raise errors.ArgumentError(f"a drawing has at least one box: write a positive limit, not {limit!r}")

    def drawn(*args: P.args, **kwargs: P.kwargs) -> Drawing:
        walked = walk(f, args, kwargs)
        boxes, links = fold(walked, limit)
        return _drawing(walked, boxes, links, direction)

    return drawn


# --- what stands in a box --------------------------------------------------------------------------------------------
def _title(box: Box) -> tuple[str, str]:
    """A box's name, and the formula of a single value."""
    formula = box.members[0].formula if len(box.members) == 1 else ""
    return notation.shortened(box.title, _LONGEST), notation.shortened(formula, _LONGEST)


def _facts(box: Box) -> list[str]:
    """What is said of a single value: it and its gradient; of many: what they are."""
    if len(box.members) == 1:
        (q,) = box.members
        facts = [f"value {notation.value(q.value, 4)}"]
        facts += [] if q.gradient is None else [f"grad {notation.extent(q.gradient, 4)}"]
        return [notation.shortened(fact, _LONGEST + 12) for fact in facts]
    ops = Counter(q.op for q in box.members if q.kind != "input")
    inputs = len(box.members) - ops.total()
    facts = [f"{inputs:,} argument{'s'[inputs == 1 :]}"] if inputs else []
    if ops:
        facts.append(f"{ops.total():,} op{'s'[ops.total() == 1 :]}")
    return facts


def _colour(box: Box, largest: float) -> int | None:
    """The place on the scale of the greatest gradient in a box, by its size and sign; None where it has no size."""
    strongest = max((_strongest(q.gradient) for q in box.members), key=lambda g: abs(g) if g == g else math.inf)
    if not math.isfinite(strongest):
        return None
    if strongest == 0:
        return _ZERO
    decades = 2 * (math.log10(abs(strongest)) - math.log10(largest))
    return _ZERO + int(math.copysign(max(1, _ZERO + math.ceil(decades - 0.5)), strongest))


def _strongest(gradient: object) -> float:
    """The number that is greatest in size."""
    if isinstance(gradient, tuple):
        return max(map(_strongest, gradient), key=abs, default=0.0)
    lengths = getattr(gradient, "shape", ())
    if 0 in lengths or gradient is None:
        return 0.0
    if not lengths:
        return float(gradient)  # type: ignore[arg-type]  # a number
    xp = namespace(gradient)
    low, high = xp.min(gradient).item(), xp.max(gradient).item()
    return float(high if abs(high) >= abs(low) else low)


# --- texts -----------------------------------------------------------------------------------------------------------
def _drawing(walked: Walkthrough, boxes: Sequence[Box], links: Sequence[Link], direction: Direction) -> Drawing:
    sizes = [abs(_strongest(q.gradient)) for q in walked.quantities]
    largest = max([size for size in sizes if 0 < size < math.inf], default=1.0)
    colours = [_colour(box, largest) for box in boxes]
    return Drawing(
        "\n".join(_dot_lines(walked, boxes, colours, links, direction)) + "\n",
        "\n".join(_mermaid_lines(boxes, colours, links, direction)) + "\n",
    )


def _dot_lines(
    walked: Walkthrough,
    boxes: Sequence[Box],
    colours: Sequence[int | None],
    links: Sequence[Link],
    direction: Direction,
) -> Iterator[str]:
    yield f"digraph {_quoted(walked.function)} {{"
    key = f" label={_quoted(_KEY)}" if walked.differentiated else ""
    yield f"  graph [rankdir={direction} newrank=true {_GROUND}{key}]"
    yield f"  node [{_BOXES}]"
    yield f"  edge [{_ARROWS}]"
    for cluster, places in _clusters(boxes).items():
        lines = [_dot_box(i, boxes[i], colours[i], walked) for i in places]
        if cluster and len(places) > 1:
            label = _quoted(notation.shortened(cluster, _LONGEST))
            lines = [f"subgraph cluster_{places[0]} {{ graph [label={label} {_FRAME}]", *lines, "}"]
        yield from (f"  {line}" for line in lines)
    for link in links:
        uses = f' [label="×{link.uses:,}"]' if link.uses > 1 else ""
        yield f"  n{link.tail} -> n{link.head}{uses}"
    yield "}"


def _clusters(boxes: Sequence[Box]) -> dict[str, list[int]]:
    """The places of the boxes of each layer; of those of none, under no name."""
    found: dict[str, list[int]] = {}
    for i, box in enumerate(boxes):
        found.setdefault(box.cluster, []).append(i)
    return found


def _dot_box(i: int, box: Box, colour: int | None, walked: Walkthrough) -> str:
    title, formula = map(html.escape, _title(box))
    head = f"<b>{title}</b>{formula and ' = '}{formula}"
    facts = _facts(box)
    together = "<br/>" if sum(map(len, facts)) > _LONGEST else " &nbsp; "  # arrays take a line each
    label = f'{head}<br/><font point-size="11">{together.join(map(html.escape, facts))}</font>'
    fill = _BROKEN[0] if colour is None else _LIGHT[colour]
    look = ' style="rounded,filled"' if all(q.kind == "input" for q in box.members) else ""
    look += " penwidth=2.5" if any(q.index in walked.result for q in box.members) else ""
    return f'n{i} [label=<{label}> fillcolor="{fill}"{look} tooltip={_quoted(_hint(box))}]'


def _hint(box: Box) -> str:
    """What a box says when it is pointed at: the op, and texts that were cut."""
    if len(box.members) == 1:
        (q,) = box.members
        return f"{q.op}: {q.name} = {q.formula or notation.value(q.value)}"
    ops = Counter(q.op for q in box.members if q.kind != "input")
    return f"{box.title}: {', '.join(f'{op} ×{n:,}' for op, n in ops.most_common())}"


def _quoted(text: str) -> str:
    """A string of DOT, in which nothing has a meaning of its own: neither quotes, nor backslashes, nor entities."""
    escaped = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _mermaid_lines(
    boxes: Sequence[Box], colours: Sequence[int | None], links: Sequence[Link], direction: Direction
) -> Iterator[str]:
    yield f"flowchart {direction}"
    for i, (box, colour) in enumerate(zip(boxes, colours, strict=True)):
        title, formula = _title(box)
        head = _coded(title + (formula and f" = {formula}"))
        yield f'  n{i}["{head}<br/>{_coded(", ".join(_facts(box)))}"]:::{_class(colour)}'
    for link in links:
        yield f"  n{link.tail} -->{f'|×{link.uses:,}|' if link.uses > 1 else ''} n{link.head}"
    for colour in sorted({*colours}, key=_class):
        fill = _BROKEN[0] if colour is None else _LIGHT[colour]
        yield f"  classDef {_class(colour)} fill:{fill},stroke:{_LINE},color:{_INK[0]}"


def _class(colour: int | None) -> str:
    return "broken" if colour is None else f"c{colour}"


def _coded(text: str) -> str:
    """Text in a box of Mermaid's: everything that could have a meaning there as its number."""
    return "".join(c if c.isalnum() or c in " .,=()" else f"#{ord(c)};" for c in text)


# --- pictures --------------------------------------------------------------------------------------------------------
def laid_out(dot: str, form: str, **settings: str) -> bytes:
    """Let Graphviz lay a graph out, in one of its formats.

    Raises `MissingExtraError` where pygraphviz is not installed.
    """
    try:
        from pygraphviz import AGraph  # lazily: it comes with an extra, and Graphviz with it
    except ImportError:
        raise errors.missing_extra("show", "pygraphviz", "a picture of a graph") from None
    graph = AGraph(string=dot)
    graph.graph_attr.update(settings)
    return cast("bytes", graph.draw(format=form, prog="dot"))


def _resolution(svg: str) -> int:
    """The dots per inch of a PNG: so many that it is sharp, but no more than a large picture can have."""
    width, height = (float(x) for x in re.findall(r'(?:width|height)="([\d.]+)pt"', svg)[:2])
    return int(min(144, 72 * math.sqrt(_PIXELS / (width * height)), 72 * _SIDE / max(width, height)))


def _styled(svg: str) -> str:
    """Graphviz's SVG for use in a page, which has other colours where that is dark."""
    pairs = [*zip(_LIGHT, _DARK, strict=True), _BROKEN, _INK]
    rules = "".join(f'.fgrad-graph [fill="{light}"]{{fill:{dark}}}' for light, dark in pairs)
    style = f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>"
    start = svg.index("<svg")
    end = svg.index(">", start)
    return f'<svg class="fgrad-graph"{svg[start + 4 : end]}>{style}{svg[end + 1 :]}'
