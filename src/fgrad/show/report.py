"""Pages that a person opens: headings, figures, tables, in one HTML file that needs nothing else.

Knows HTML, and how it looks in light and dark, on a phone and on a desk; nothing of what is told. It has no scripts and
loads nothing. Pictures are SVG with text as text; equal contents give equal bytes.
"""

import html
import io
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NewType

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Html = NewType("Html", str)
"""Text in which everything that was not ours has been escaped."""
_STYLE: Final = Path(__file__).with_name("report.css")
_INK: Final = "#010203"  # what stands for the page's own colour of text, until the picture is in the page
_THEME: Final = {_INK: "currentColor", "#e6e6e6": "var(--line)", "#ffffff": "var(--card)", "#555555": "var(--grey)"}
_SETTINGS: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fgrad",
    "font.size": 9,
    "axes.titlesize": 9,
    **dict.fromkeys(["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"], _INK),
}
_DATA: Final = ("Date", "Creator", "Format", "Type")  # what pictures say of themselves, unless it is None
_MANY: Final = 40  # classes, of which a matrix can't be read any more


def page(title: str, *parts: Html) -> Html:
    """Give a whole page.

    >>> page("a < b", section("One", facts({"x": "1"}))).count("a &lt; b")
    2
    """
    return Html(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>\n{_STYLE.read_text('utf-8')}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{_text(title)}</h1>\n{_lines(parts)}\n</main>\n</body>\n</html>\n"
    )


def headline(figure: str, name: str, detail: str) -> Html:
    """Give the one figure that matters, what it is, and what it is made of."""
    return Html(
        f'<p class="headline"><strong>{_text(figure)}</strong> <span>{_text(name)}</span> '
        f"<small>{_text(detail)}</small></p>"
    )


def section(title: str, *parts: Html, wide: bool = False) -> Html:
    """Give a part of the page under a heading; a wide one has a row of its own."""
    width = ' class="wide"' if wide else ""
    return Html(f"<section{width}>\n<h2>{_text(title)}</h2>\n{_lines(parts)}\n</section>")


def sections(*parts: Html) -> Html:
    """Give parts that stand side by side where there is room."""
    return Html(f'<div class="sections">\n{_lines(parts)}\n</div>')


def part(title: str, *parts: Html) -> Html:
    """Give a part of a section under a smaller heading."""
    return Html(f"<h3>{_text(title)}</h3>\n{_lines(parts)}")


def paragraph(text: str) -> Html:
    """Give a paragraph.

    >>> paragraph("a < b")
    '<p>a &lt; b</p>'
    """
    return Html(f"<p>{_text(text)}</p>")


def code(text: str) -> Html:
    """Give a line to be typed."""
    return Html(f"<pre><code>{_text(text)}</code></pre>")


def facts(values: Mapping[str, str]) -> Html:
    """Give names and what they stand for."""
    rows = [f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in values.items()]
    return Html(f"<dl>{''.join(rows)}</dl>")


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """Give a table whose first column names the rows; its title is for those who can't see it."""
    top = "".join([f'<th scope="col">{_text(name)}</th>' for name in head])
    body = [_row(first, [f"<td>{_text(cell)}</td>" for cell in rest]) for first, *rest in rows]
    return framed(title, Html(f"<table><thead><tr>{top}</tr></thead><tbody>{_lines(body)}</tbody></table>"))


def framed(title: str, inner: Html) -> Html:
    """Give something that may be wider than a phone, and is then moved sideways."""
    return Html(f'<div class="frame" role="region" aria-label="{_text(title)}" tabindex="0">{inner}</div>')


def folded(title: str, inner: Html) -> Html:
    """Give something that is opened at a click."""
    return Html(f"<details><summary>{_text(title)}</summary>\n{inner}\n</details>")


def confusion(matrix: NDArray[np.int64], classes: Sequence[str]) -> Html:
    """Give how often each class was taken for each, `nn.confusion_matrix`, with recall and precision in per cent.

    Of more than 40 classes the most frequent mistakes are listed instead.
    """
    if len(classes) > _MANY:
        return _mistakes(matrix, classes)
    top = "".join([f'<th scope="col">{_text(name)}</th>' for name in [*classes, "recall"]])
    said, true, right = matrix.sum(axis=0), matrix.sum(axis=1), matrix.diagonal()
    body = []
    for i, name in enumerate(classes):
        cells = [_cell(int(count), int(true[i]), i == j) for j, count in enumerate(matrix[i])]
        body.append(_row(name, [*cells, f"<td>{_of(right[i], true[i])}</td>"]))
    foot = _row("precision", [f"<td>{_of(*pair)}</td>" for pair in zip(right, said, strict=True)] + ["<td></td>"])
    inner = f"<thead><tr><td></td>{top}</tr></thead><tbody>{_lines(body)}</tbody><tfoot>{foot}</tfoot>"
    return framed("Confusion matrix", Html(f'<table class="confusion">{inner}</table>'))


def _mistakes(matrix: NDArray[np.int64], classes: Sequence[str]) -> Html:
    wrong = matrix - np.diag(matrix.diagonal())
    places = [divmod(int(place), len(classes)) for place in np.argsort(-wrong, axis=None, kind="stable")[:20]]
    rows = [(classes[i], classes[j], f"{wrong[i, j]}") for i, j in places if wrong[i, j]]
    return table("The most frequent mistakes", ("class", "said to be", "times"), rows)


def _cell(count: int, of: int, right: bool) -> str:
    """A count, and its share of the row as the strength of a colour."""
    if not count:
        return '<td class="none">0</td>'
    return f'<td class="{"right" if right else "wrong"}" style="--share:{count / of:.0%}">{count}</td>'


def _of(part: np.int64, whole: np.int64) -> str:
    return f"{100 * part / whole:.0f}" if whole else "–"


def _row(name: str, cells: Sequence[str]) -> str:
    return f'<tr><th scope="row">{_text(name)}</th>{"".join(cells)}</tr>'


def figure(draw: "Callable[[Axes], object]", name: str, alt: str, caption: str) -> Html:
    """Give what `draw` puts on its axes, in the page's colours; the name must be its own in the page, and a word.

    `alt` says what there is to see to those who can't.
    """
    return Html(f"<figure>{_svg(draw, name, alt)}<figcaption>{_text(caption)}</figcaption></figure>")


def _svg(draw: "Callable[[Axes], object]", name: str, alt: str) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    file = io.StringIO()
    with rc_context(_SETTINGS), warnings.catch_warnings():  # type: ignore[arg-type]  # names of settings are literals
        warnings.simplefilter("ignore", UserWarning)  # names may hold letters that the font lacks
        picture = Figure(figsize=(4.0, 3.1), layout="constrained")
        ax = picture.add_subplot(facecolor="none")
        draw(ax)
        ax.set_title("")  # the page has a heading
        picture.savefig(file, format="svg", transparent=True, dpi=100, metadata=dict.fromkeys(_DATA))
    return _in_page(file.getvalue(), name, alt)


def _in_page(svg: str, name: str, alt: str) -> str:
    """A picture of Matplotlib's as part of a page: no prologue, ids that are its own, colours that are the page's."""

    def adapt(tag: re.Match[str]) -> str:
        text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", tag[0])
        for ours, theirs in _THEME.items():
            text = text.replace(ours, theirs)
        return text

    start = re.search(r'<svg [^>]*(viewBox="[^"]*")[^>]*>', svg)
    assert start is not None  # what Matplotlib writes
    inner = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[start.end() :], flags=re.DOTALL)
    return f'<svg {start[1]} role="img" aria-label="{_text(alt)}">' + re.sub(r"<[^>]+>", adapt, inner).strip()


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(parts)


def _text(text: str) -> str:
    return html.escape(text)
