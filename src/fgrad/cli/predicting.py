"""`fgrad predict`: what a saved network says of the rows of a table.

Knows how predictions are written as a table; nothing of how the network was trained.

The table, in CSV, has a row for each row of the file, in order. For a classification its columns are the target (the
class that is most probable) and `p(CLASS)` for each class; for a regression, the target alone. Numbers are written so
that they are read back to the bit.
"""

import csv
import io
from pathlib import Path
from typing import Final

import attrs
import numpy as np

from fgrad import errors, table
from fgrad.cli.console import check_extras, check_writable, remark, say
from fgrad.cli.job import Verdict, accuracy, error
from fgrad.cli.saved import Saved, read
from fgrad.files import replace_files
from fgrad.nn import Floats
from fgrad.ops.reducing import softmax

_NEEDS: Final = (("safetensors.numpy", "io", "reading the parameters"),)


@attrs.frozen
class PredictOptions:
    """What `fgrad predict` was asked for; `out` None means stdout."""

    model: Path
    data: str
    out: Path | None


def predict(options: PredictOptions) -> None:
    """Do all that `fgrad predict` does. If the file has the target too, how well it was predicted is told on stderr.

    Raises `DataError` for bad input, `MissingExtraError`, and OSError where a file cannot be read or written.
    """
    check_extras(_NEEDS)
    check_writable([] if options.out is None else [options.out], options.data)
    saved = read(options.model)
    rows = table.read_features(options.data, saved.features, saved.target)
    outputs = _outputs(saved, rows)
    verdict = _verdict(saved, rows, outputs)
    text = _written(saved, outputs)
    if options.out is None:
        say(text.removesuffix("\n"))
    else:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        replace_files({options.out: text.encode()})
    if verdict is not None:
        remark(str(verdict))


def _outputs(saved: Saved, rows: table.Rows) -> Floats:
    """The number, or the probability of each class, of each row."""
    outputs = saved.network(rows.x)
    finite = np.isfinite(outputs).all(axis=-1)
    if not finite.all():
        line = rows.lines[int(finite.argmin())]
        raise errors.DataError(f"{rows.file}:{line}: the numbers are too large for the network")
    return softmax(outputs) if saved.classes else outputs


def _verdict(saved: Saved, rows: table.Rows, outputs: Floats) -> Verdict | None:
    """How well the rows that have a target were predicted."""
    labels = rows.labels(saved.target, saved.classes)
    known = [i for i, label in enumerate(labels) if label is not None]
    if not known:
        return None
    truth = np.array([labels[i] for i in known], dtype=float)
    if saved.classes:
        return accuracy(outputs[known].argmax(axis=-1), truth)
    return error(outputs[known, 0], truth, f"{len(known)} rows")


def _written(saved: Saved, outputs: Floats) -> str:
    file = io.StringIO()
    write = csv.writer(file, lineterminator="\n").writerow
    if saved.classes:
        write([saved.target, *[f"p({name})" for name in saved.classes]])
        for row in outputs:
            write([saved.classes[int(row.argmax())], *row.tolist()])
    else:
        write([saved.target])
        for row in outputs:
            write(row.tolist())
    return file.getvalue()
