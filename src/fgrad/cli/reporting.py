"""The page that `fgrad train --report` writes: how well a network does, how it came to it, and what it was made of.

Knows which parts of a run a person wants to see, and in which order; nothing of HTML and of drawing.
"""

import importlib.metadata
import platform
import shlex
from pathlib import Path
from typing import Final

import numpy as np

from fgrad import nn
from fgrad.cli.job import Job, Result
from fgrad.cli.options import TrainOptions
from fgrad.nn.summary import summary
from fgrad.show import plot
from fgrad.show import report as html

_FEW: Final = 12  # rows that a table shows before it is folded
_MEASURES: Final = ("column", "mean", "std", "min", "max")


def report(options: TrainOptions, result: Result) -> html.Html:
    """Give the page of a run."""
    data, verdict = result.job.table, result.verdict
    planes = [_plane(result)] if len(data.features) == 2 else []
    judged = _confusion(result) if data.classes else _agreement(result)
    return html.page(
        f"{data.target}, learnt from {Path(options.data).name}",
        html.headline(verdict.figure, f"held-out {verdict.name}", verdict.detail),
        html.sections(
            _losses(result), *planes, judged, _model(result.network), _data(result.job), _run(options, data.target)
        ),
    )


def _losses(result: Result) -> html.Html:
    first, last = [", ".join(f"{name} {losses[i]:.4g}" for name, losses in result.losses.items()) for i in (0, -1)]
    alt = f"Loss by epoch, after the first: {first}; after the last: {last}."
    caption = f"In the end: {last}. Training is the mean over an epoch's steps; held out is judged after it."
    return html.section(
        "Loss", html.figure(lambda ax: plot.curve(ax, result.losses, result.job.loss_name), "loss", alt, caption)
    )


def _plane(result: Result) -> html.Html:
    data, (across, up) = result.job.table, result.job.table.features
    what = f"the predicted {data.target}" if not data.classes else f"where each {data.target} is predicted"
    caption = f"The tint is {what}; the points are all the data."
    alt = f"{caption} Across: {across}. Up: {up}."
    title = "Decision boundary" if data.classes else "Prediction"
    return html.section(title, html.figure(result.draw_plane, "plane", alt, caption))


def _confusion(result: Result) -> html.Html:
    truth, predicted = result.truth.astype(np.int64), result.predicted.astype(np.int64)
    classes = result.job.table.classes
    matrix = nn.confusion_matrix(truth, predicted, len(classes))
    note = html.paragraph("A row is what it is, a column what is predicted; recall and precision in per cent.")
    return html.section("Confusion matrix", note, html.confusion(matrix, classes), wide=len(classes) > 10)


def _agreement(result: Result) -> html.Html:
    target, verdict = result.job.table.target, result.verdict
    caption = f"The rows held out. On the line, prediction and truth agree; {verdict}."
    picture = html.figure(
        lambda ax: plot.agreement(ax, result.predicted, result.truth, target), "agreement", caption, caption
    )
    return html.section("Prediction and truth", picture)


def _model(network: nn.MLP) -> html.Html:
    found = summary(network)
    sizes = [len(network.layers[0].w), *(len(layer.b) for layer in network.layers)]
    shape = f"{' → '.join(map(str, sizes))}, {network.activation} between them: {found.count:,} parameters."
    rows = [(row.path, " × ".join(map(str, row.shape)), row.dtype, f"{row.count:,}") for row in found.rows]
    return html.section(
        "Model", html.paragraph(shape), html.table("Parameters", ("path", "shape", "dtype", "count"), rows)
    )


def _data(job: Job) -> html.Html:
    data = job.table
    rows = html.facts({"rows to train on": f"{len(job.training):,}", "rows held out": f"{len(job.held_out):,}"})
    if data.classes:
        counts = np.bincount(data.y.astype(np.int64), minlength=len(data.classes)).tolist()
        target = html.facts({name: f"{count:,}" for name, count in zip(data.classes, counts, strict=True)})
    else:
        target = html.table("Target", _MEASURES, [_measures(data.target, data.y)])
    columns = [_measures(name, column) for name, column in zip(data.features, data.x.T, strict=True)]
    features = html.table("Features", _MEASURES, columns)
    return html.section(
        "Data",
        rows,
        html.part("Target", _short(target, f"{len(data.classes)} classes", len(data.classes))),
        html.part("Features", _short(features, f"{len(columns)} features", len(columns))),
    )


def _measures(name: str, x: nn.Floats) -> tuple[str, ...]:
    return name, *[f"{float(value):.4g}" for value in (x.mean(), x.std(), x.min(), x.max())]


def _short(table: html.Html, title: str, rows: int) -> html.Html:
    """A table that is folded if it is long."""
    return table if rows <= _FEW else html.folded(title, table)


def _run(options: TrainOptions, target: str) -> html.Html:
    given = options.decisive()
    words = ["fgrad", "train", options.data, "--target", target]
    words += [word for name, value in given.items() for word in (name, value)]
    return html.section(
        "Run",
        html.paragraph("The same command gives the same network:"),
        html.code(shlex.join(words)),
        html.facts(_versions()),
        wide=True,
    )


def _versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in ("fgrad", "numpy")}
    return {**found, "python": platform.python_version()}
