"""`fgrad train`: train a network on a table, and write what came of it.

Knows how a run is put together from the public parts; nothing of how the parts work.

A run shuffles the rows, holds some out, standardises the features (and the target of a regression) by the mean and
standard deviation of the rows that are left, and trains an `nn.MLP` on those. Only when all is done does it write, in
one step: `params.safetensors` (see `saved`), `loss.png`, `boundary.png` if there are two features (the one of an
earlier run is removed if not), and the report if one is wanted.

A run that takes longer also writes `checkpoint.safetensors` every few seconds, after a whole epoch, and when Ctrl-C
ends it; once the results are in place it is removed. `--resume` goes on from there, and gives the bytes of a run that
was not interrupted. It holds the snapshot, the losses so far, and as metadata all that the result follows from: the
options, a digest of the data, and the version of fgrad. Where one differs, resuming is refused.
"""

import hashlib
import importlib.metadata
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from fgrad import errors, io, nn, table
from fgrad.cli.console import check_extras, check_writable, say
from fgrad.cli.job import Job, Result, prepare
from fgrad.cli.options import TrainOptions
from fgrad.cli.reporting import report
from fgrad.cli.saved import PARAMS, Saved
from fgrad.compile.jit import jit
from fgrad.files import replace_files
from fgrad.random import Key
from fgrad.show import plot
from fgrad.show.progress import progress
from fgrad.train import Batches, Snapshot, batches, begin
from fgrad.train import train as descend

Keep: TypeAlias = Callable[["Standing"], object]
_LOSS: Final = "loss.png"
_BOUNDARY: Final = "boundary.png"
_CHECKPOINT: Final = "checkpoint.safetensors"
_NEEDS: Final = (
    ("rich.progress", "show", "a progress bar"),
    ("matplotlib.figure", "show", "drawing the loss"),
    ("safetensors.numpy", "io", "saving the parameters"),
)


@attrs.frozen(eq=False)
class Standing:
    """Where a run stands after whole epochs, and the losses of each: in training, and of the rows held out after it."""

    snapshot: Snapshot[nn.MLP, None]
    training: NDArray[np.float64]
    """(epochs,), nan where there has been none; the mean of what the steps saw."""
    held_out: NDArray[np.float64]


@attrs.frozen(eq=False)
class Run:
    """A job with the options and the randomness to do it."""

    job: Job
    options: TrainOptions
    beginning: Key
    order: Key

    @cached_property
    def data(self) -> Batches[tuple[object, ...]]:
        """The rows to train on, batch by batch."""
        rows = self.job.rows(self.job.training)
        return batches(rows, min(self.options.batch, len(self.job.training)), self.order)

    @property
    def steps(self) -> int:
        """How many there will be."""
        return self.options.epochs * self.data.per_epoch

    @property
    def start(self) -> Standing:
        """Before the first step."""
        table, empty = self.job.table, np.full(self.options.epochs, math.nan)
        sizes = [len(table.features), *self.options.hidden, len(table.classes) or 1]
        model = nn.MLP.init(self.beginning, sizes, activation=self.options.activation)
        return Standing(begin(model, self.options.rule(self.steps)), empty, empty)

    @property
    def about(self) -> dict[str, object]:
        """All that the result follows from."""
        data, digest = self.job.table, hashlib.sha256()
        digest.update(repr((data.features, data.target, data.classes)).encode())
        digest.update(data.x.tobytes() + data.y.tobytes())
        version = importlib.metadata.version("fgrad")
        return {**self.options.decisive(), "data": digest.hexdigest(), "fgrad": version}


def train(options: TrainOptions) -> None:
    """Do all that `fgrad train` does; but for checkpoints, nothing is written before everything has been computed.

    Raises `DataError` for bad input, `MissingExtraError`, FloatingPointError where the loss becomes infinite or nan,
    OSError where the results cannot be written, and KeyboardInterrupt, which says where a run can be resumed.
    """
    check_extras(_NEEDS)
    paths = [options.out / name for name in (PARAMS, _LOSS, _BOUNDARY, _CHECKPOINT)]
    check_writable(paths if options.report is None else [*paths, options.report], options.data)
    split, beginning, order, drawn = Key(options.seed).split(4)
    data = _read(options, int(drawn.words[0]) % 2**32)
    run = Run(prepare(data, options.data, options.held_out, split), options, beginning, order)
    standing = _beginning(run)
    say("\n".join([_summary(run), *_origin(run, standing)]))
    with _checkpoints(run, standing) as keep:
        result = _result(run, _descend(run, standing, keep))
        say(f"held-out {result.verdict}")
        written = _write(_files(options, result), options.out)
    say("wrote " + ", ".join(written))


def _read(options: TrainOptions, seed: int) -> table.Table:
    """The table that was asked for: a file, or one of scikit-learn's data sets by name."""
    if options.data in table.DEMOS:
        data = table.DEMOS[options.data](seed)
        if options.target not in (None, data.target):
            raise errors.DataError(f'{options.data}: the target is "{data.target}", not "{options.target}"')
        return attrs.evolve(data, classes=()) if options.task == "regression" else data
    if not Path(options.data).exists():
        raise errors.DataError(f"{options.data}: there is no such file (without a file: {', '.join(table.DEMOS)})")
    if options.target is None:
        raise errors.DataError(f"{options.data}: which column is to be learnt? Say --target NAME")
    return table.read(options.data, options.target, options.task)


def _summary(run: Run) -> str:
    job, data = run.job, run.job.table
    kind = f"classification, {len(data.classes)} classes" if data.classes else "regression"
    return (
        f"{run.options.data}: {len(job.training)} rows to train on, {len(job.held_out)} held out; "
        f'{len(data.features)} features; target "{data.target}": {kind}'
    )


# --- the loop ---------------------------------------------------------------------------------------------------------
def _descend(run: Run, standing: Standing, keep: Keep) -> Standing:
    """Train from where the run stands to its end, show how far it is, and keep where it stands after each epoch."""
    last, size = standing, run.data.per_epoch

    def epochs() -> Iterator[Snapshot[nn.MLP, None]]:
        nonlocal last
        for last in _epochs(run, standing):
            keep(last)
            yield last.snapshot

    def describe(now: Snapshot[nn.MLP, None]) -> str:
        return f"loss {last.training[now.step // size - 1]:.4g}"

    for _ in progress(epochs(), run.options.epochs, unit="epoch", size=size, describe=describe):
        pass
    return last


def _epochs(run: Run, standing: Standing) -> Iterator[Standing]:
    loss, held_out, values = jit(run.job.loss), run.job.rows(run.job.held_out), []
    data, last = run.data, len(run.job.training) - (run.data.per_epoch - 1) * run.data.size
    weights = [data.size] * (data.per_epoch - 1) + [last]
    for now in _steps(run, standing.snapshot):
        values.append(now.value)
        if len(values) == data.per_epoch:
            epoch, judged = now.step // data.per_epoch, float(loss(now.params, *held_out))
            if not math.isfinite(judged):  # the last step of a run is judged by nothing else
                raise _diverged(run, epoch)
            training = _with(standing.training, epoch, float(np.average(values, weights=weights)))
            standing = Standing(now, training, _with(standing.held_out, epoch, judged))
            values = []
            yield standing


def _steps(run: Run, start: Snapshot[nn.MLP, None]) -> Iterator[Snapshot[nn.MLP, None]]:
    rule, step = run.options.rule(run.steps), start.step
    try:
        for now in descend(run.job.loss, start.params, run.data, rule, steps=run.steps, start=start):
            step = now.step
            yield now
    except errors.NonFiniteError:
        raise _diverged(run, step // run.data.per_epoch + 1) from None


def _diverged(run: Run, epoch: int) -> FloatingPointError:
    advice = f"try a --rate lower than {run.options.highest_rate:g}"
    return FloatingPointError(f"{run.options.data}: the loss became infinite or nan in epoch {epoch}: {advice}")


def _with(losses: NDArray[np.float64], epoch: int, loss: float) -> NDArray[np.float64]:
    losses = losses.copy()
    losses[epoch - 1] = loss
    return losses


# --- checkpoints ------------------------------------------------------------------------------------------------------
def _beginning(run: Run) -> Standing:
    """Where the run begins, or is resumed. Raises `DataError` for a checkpoint of a run that is not this one."""
    path = run.options.out / _CHECKPOINT
    if not (run.options.resume and path.exists()):
        return run.start
    found, retreat = io.read_metadata(path), "; to begin anew, leave out --resume"
    for name, value in run.about.items():
        if found.get(name) != value:
            what = "data" if name == "data" else f"{name} {found.get(name)}, not {value}"
            raise errors.DataError(f"{path}: the interrupted run had other {what}{retreat}")
    try:
        return io.load(path, run.start)
    except errors.StructureError as error:
        raise errors.DataError(f"{error}{retreat}") from None


def _origin(run: Run, standing: Standing) -> list[str]:
    """What is to be said of a checkpoint that is there, or is not."""
    path, epoch = run.options.out / _CHECKPOINT, standing.snapshot.step // run.data.per_epoch
    if epoch:
        return [f"resumed after epoch {epoch} of {run.options.epochs}"]
    if run.options.resume:
        return [f"{path}: there is no checkpoint to resume: the run begins anew"]
    if path.exists():
        return [f"{path}: an earlier run was interrupted: this one begins anew, --resume would go on"]
    return []


@contextmanager
def _checkpoints(run: Run, begun: Standing) -> Iterator[Keep]:
    """Give what keeps a standing: in memory, on the disk when it is time, and there too if Ctrl-C ends the run."""
    path, newest, saved = run.options.out / _CHECKPOINT, begun, time.monotonic()

    def save() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        io.save(path, newest, run.about)

    def keep(standing: Standing) -> None:
        nonlocal newest, saved
        newest = standing
        if time.monotonic() - saved >= run.options.checkpoint:
            save()
            saved = time.monotonic()

    try:
        yield keep
    except KeyboardInterrupt:
        if newest is begun:
            raise
        save()
        epoch = newest.snapshot.step // run.data.per_epoch
        place = f"after epoch {epoch} of {run.options.epochs}; the same command with --resume goes on from there"
        raise KeyboardInterrupt(place) from None


# --- the results ------------------------------------------------------------------------------------------------------
def _result(run: Run, end: Standing) -> Result:
    losses = {"training": end.training.tolist(), "held out": end.held_out.tolist()}
    return Result(run.job, run.job.plain(end.snapshot.params), losses)


def _files(options: TrainOptions, result: Result) -> dict[Path, bytes]:
    """The bytes of every file that the run writes."""
    job, data = result.job, result.job.table
    saved = Saved(result.network, data.features, data.target, data.classes)
    files = {
        options.out / PARAMS: saved.encode(job.inputs.mean, job.inputs.scale),
        options.out / _LOSS: plot.png(lambda ax: plot.curve(ax, result.losses, job.loss_name)),
    }
    if len(data.features) == 2:
        files[options.out / _BOUNDARY] = plot.png(result.draw_plane)
    if options.report is not None:
        files[options.report] = report(options, result).encode()
    return files


def _write(files: dict[Path, bytes], out: Path) -> list[str]:
    """Put the results in place, and out of the way what is none of theirs any more; give the paths written."""
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_files(files)
    for path in {out / _BOUNDARY, out / _CHECKPOINT} - files.keys():
        path.unlink(missing_ok=True)
    return [str(path) for path in files]
