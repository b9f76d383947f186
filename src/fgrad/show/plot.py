"""Drawings of training: the loss curve, the regions that a classifier tells apart, how far a regression agrees.

Knows matplotlib's axes and colours that the colour-blind can tell apart; nothing of models: it is given functions.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

# Okabe and Ito, "Color Universal Design" (2008), the most distinct first.
_COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#555555")
_MARKERS: Final = "osD^vPX*"
_CELLS: Final = 250  # of the grid that a picture is made of, on each side
_LEGEND: Final = 16  # classes at most; with more, a legend would be larger than the picture


def png(draw: "Callable[[Axes], object]") -> bytes:
    """Give the bytes of a PNG picture, 960 by 720 pixels, of what `draw` puts on its axes."""
    from matplotlib.figure import Figure

    figure, file = Figure(figsize=(6.4, 4.8), layout="constrained"), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # names may hold letters that the font lacks
        draw(figure.add_subplot())
        figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def curve(
    ax: "Axes", losses: Mapping[str, Sequence[float]] | Sequence[float], name: str = "loss", unit: str = "epoch"
) -> "Axes":
    """Draw a line of losses, or one for each name, on a logarithmic scale if all are positive.

    >>> from matplotlib.figure import Figure
    >>> curve(Figure().add_subplot(), {"training": [1.0, 0.1], "held out": [1.1, 0.2]}).get_yscale()
    'log'
    """
    lines = losses if isinstance(losses, Mapping) else {"": losses}
    styles = ("-", "--", ":", "-.")
    for i, (label, values) in enumerate(lines.items()):
        numbers = range(1, len(values) + 1)
        ax.plot(numbers, values, styles[i % 4], color=_COLOURS[i % 8], label=label, linewidth=1.8)
    if all(value > 0 for values in lines.values() for value in values):
        ax.set_yscale("log")
    _tidy(ax, f"{name[:1].upper()}{name[1:]} by {unit}", (unit, name))
    ax.grid(visible=True, which="both", color="#e6e6e6", linewidth=0.6)
    if isinstance(losses, Mapping):
        ax.legend(frameon=False)
    return ax


def boundary(
    ax: "Axes",
    logits: Callable[[Floats], Floats],
    x: Floats,
    labels: Integers,
    features: tuple[str, str] = ("x", "y"),
    classes: Sequence[str] = (),
    target: str = "",
) -> "Axes":
    """Draw where each class has the highest logit, (n, 2) -> (n, classes), and the points x, (n, 2), on top.

    A single score, (n, 2) -> (n, 1), is positive for the second of two classes. Labels are indices into `classes`;
    without those, whatever they are, as -1 and 1, in their order.

    >>> from matplotlib.figure import Figure
    >>> x = np.array([[-1.0, 0.0], [1.0, 0.0]])
    >>> boundary(Figure().add_subplot(), lambda x: x[:, :1], x, np.array([-1, 1])).get_title()
    'Decision boundary'
    """
    from matplotlib.colors import to_rgb

    if not classes:
        known, labels = np.unique(labels, return_inverse=True)
        classes = [str(label) for label in known]
    colours = np.array([to_rgb(_COLOURS[i % 8]) for i in range(len(classes))])
    extent = _extent(x)
    scores = _on_grid(logits, extent)
    regions = np.argmax(scores, axis=-1) if scores.shape[-1] > 1 else (scores[..., 0] > 0).astype(int)
    tints = np.dstack([colours[regions], np.full(regions.shape, 0.3)])  # of whatever colour is behind
    ax.imshow(tints, extent=extent, origin="lower", aspect="auto", interpolation="bilinear")
    for i in range(len(classes)):
        points, marker = x[labels == i], _MARKERS[i // 8 % 8 if len(classes) > 8 else i % 8]
        ax.scatter(
            points[:, 0],
            points[:, 1],
            s=24,
            color=colours[i],
            marker=marker,
            edgecolors="white",
            linewidths=0.6,
            label=str(i),
        )
    if len(classes) <= _LEGEND:
        legend = ax.legend(title=target, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        for text, name in zip(legend.get_texts(), classes, strict=True):
            text.set(text=name, parse_math=False)
        legend.get_title().set_parse_math(False)
    return _tidy(ax, "Decision boundary", features)


def surface(
    ax: "Axes",
    predict: Callable[[Floats], Floats],
    x: Floats,
    y: Floats,
    features: tuple[str, str],
    target: str,
) -> "Axes":
    """Draw a prediction over the plane as colour, and the points x, (n, 2), in the colour of their y, (n,), on top."""
    extent = _extent(x)
    values = _on_grid(predict, extent)[..., 0]
    low, high = float(min(values.min(), y.min())), float(max(values.max(), y.max()))
    image = ax.imshow(values, cmap="cividis", vmin=low, vmax=high, extent=extent, origin="lower", aspect="auto")
    ax.scatter(x[:, 0], x[:, 1], c=y, s=26, cmap="cividis", vmin=low, vmax=high, edgecolors="white", linewidths=0.7)
    ax.figure.colorbar(image, ax=ax).set_label(target, parse_math=False)
    return _tidy(ax, "Prediction (points: data)", features)


def agreement(ax: "Axes", predicted: Floats, truth: Floats, target: str) -> "Axes":
    """Draw what was predicted over what is true, (n,) each, and the line on which they agree."""
    ends = [float(min(predicted.min(), truth.min())), float(max(predicted.max(), truth.max()))]
    ax.plot(ends, ends, color=_COLOURS[7], linewidth=1.2, linestyle="--")
    ax.scatter(truth, predicted, s=24, color=_COLOURS[0], edgecolors="white", linewidths=0.6)
    ax.grid(visible=True, color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.locator_params(nbins=5)  # or long numbers run into each other
    return _tidy(ax, "Prediction and truth", (f"{target}, as it is", f"{target}, as predicted"))


def _tidy(ax: "Axes", title: str, names: tuple[str, str]) -> "Axes":
    ax.set_title(title)
    ax.set_xlabel(names[0], parse_math=False)  # a column may be called "$x"
    ax.set_ylabel(names[1], parse_math=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _extent(x: Floats) -> tuple[float, float, float, float]:
    """The rectangle (left, right, bottom, top) that holds all points, with a margin."""
    low, high = x.min(axis=0), x.max(axis=0)
    margin = np.where(high > low, 0.07 * (high - low), 1.0)
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    return left, right, bottom, top


def _on_grid(f: Callable[[Floats], Floats], extent: tuple[float, float, float, float]) -> Floats:
    """F at the middle of every cell of the picture, row by row, so that no large batch is needed."""
    left, right, bottom, top = extent
    middles = (np.arange(_CELLS) + 0.5) / _CELLS
    across, up = left + (right - left) * middles, bottom + (top - bottom) * middles
    return np.stack([f(np.stack([across, np.full(_CELLS, height)], axis=-1)) for height in up])
