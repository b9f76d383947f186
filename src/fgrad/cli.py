"""The command line: `fgrad train FILE.csv --target NAME` trains a network on a table and shows the result.

Knows how a run is put together from the public parts, and how it is told to a person; nothing of how the parts work.

A run shuffles the rows, holds some out, standardises the features (and the target of a regression) by the mean and
standard deviation of the rows that are left, and trains an `nn.MLP` on those by gradient descent. Only when all is
done does it write, into one folder: `loss.png`; `boundary.png` if there are two features (the one of an earlier run is
removed if not); and `params.safetensors`, in the format of `fgrad.io`. The saved network takes the features **as they
are in the file**, and gives logits, or the target as it is in the file: the standardisation is folded into the weights
of its first and last layer. The metadata hold what rebuilds it, and what the numbers mean: `sizes`, `activation`,
`task`, `features`, `means`, `scales` (of the features; for information), `target` and `classes`.

    about = io.read_metadata("fgrad-train/params.safetensors")
    like = nn.MLP.init(random.Key(0), about["sizes"], activation=about["activation"])
    model = io.load("fgrad-train/params.safetensors", like)
"""

import argparse
import importlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias, TypeVar, cast, get_args

import attrs
import numpy as np
from numpy.typing import NDArray

from fgrad import errors, io, nn, optim, table
from fgrad.compile.jit import jit
from fgrad.files import replace_files
from fgrad.random import Key
from fgrad.show import plot
from fgrad.transforms import value_and_grad

if TYPE_CHECKING:
    from matplotlib.axes import Axes

T = TypeVar("T")
Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]
Report: TypeAlias = Callable[[int, float], object]
_FEWEST: Final = 5  # rows that can be split into two parts that say something
_OUTPUTS: Final = ("params.safetensors", "loss.png", "boundary.png")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status: 0, 1 (training failed), 2 (bad input) or 130 (interrupted).

    Raises SystemExit, as argparse does, for --help (0) and for options that cannot be understood (2).
    """
    options = Options(**vars(_parser().parse_args(argv)))
    try:
        with np.errstate(all="ignore"):  # a loss that is not finite is told in our words
            train(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (FloatingPointError, MemoryError) as error:
        return _complain(str(error) or "out of memory", 1)
    except (errors.DataError, errors.MissingExtraError) as error:
        return _complain(str(error), 2)
    except OSError as error:
        return _complain(f"{error.filename2 or error.filename or options.out}: {error.strerror}", 2)
    return 0


@attrs.frozen
class Options:
    """What `fgrad train` was asked for; `batch` None means all rows at once, `rate` None one that fits the task."""

    data: str
    target: str | None
    task: table.Task
    hidden: tuple[int, ...]
    activation: nn.Activation
    epochs: int
    rate: float | None
    batch: int | None
    held_out: float
    seed: int
    out: Path


@attrs.frozen(eq=False)
class Standard:
    """Numbers shifted and scaled to mean 0 and standard deviation 1, column by column; constant ones to 0."""

    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, x: Floats) -> "Standard":
        """Take the measure of a table (rows, columns)."""
        scale = np.where(x.max(axis=0) > x.min(axis=0), x.std(axis=0), 1.0)
        return cls(x.mean(axis=0), np.where(scale == 0, 1.0, scale))  # 0 by underflow

    def __call__(self, x: Floats) -> Floats:
        """Standardise a table (rows, columns)."""
        return (x - self.mean) / self.scale


@attrs.frozen(eq=False)
class Job:
    """A table made ready for training: standardised, and split into rows to train on and rows held out."""

    table: table.Table
    inputs: Standard
    outputs: Standard
    training: Rows
    held_out: Rows

    @cached_property
    def numbers(self) -> tuple[Floats, Floats | Rows]:
        """The inputs, and the outputs or the indices of classes, that the network sees."""
        y = self.table.y
        return self.inputs(self.table.x), y.astype(np.int64) if self.table.classes else self.outputs(y[:, None])

    def batch(self, rows: Rows) -> tuple[Floats, Floats | Rows]:
        """Some rows of them."""
        x, y = self.numbers
        return x[rows], y[rows]

    @property
    def loss(self) -> Callable[[nn.MLP, Floats, Floats | Rows], float]:
        """The function of a network, inputs and outputs that training lowers."""
        if self.table.classes:
            return lambda model, x, labels: nn.cross_entropy(model(x), cast("Rows", labels))
        return lambda model, x, y: nn.mse(model(x), cast("Floats", y))

    def plain(self, model: nn.MLP) -> nn.MLP:
        """Make the network that takes and gives numbers as they are in the table: the standards go into its weights."""
        layers = list(model.layers)
        w, b = layers[0].w / self.inputs.scale[:, None], layers[0].b
        layers[0] = nn.Linear(w, b - self.inputs.mean @ w)
        w, b = layers[-1].w, layers[-1].b
        layers[-1] = nn.Linear(w * self.outputs.scale, b * self.outputs.scale + self.outputs.mean)
        return attrs.evolve(model, layers=tuple(layers))

    def verdict(self, model: nn.MLP) -> str:
        """Say how well a plain network does on the rows held out."""
        predicted, y = model(self.table.x[self.held_out]), self.table.y[self.held_out]
        if self.table.classes:
            right = int((predicted.argmax(axis=-1) == y).sum())
            return f"held-out accuracy {right / len(y):.1%} ({right} of {len(y)})"
        mean = float(self.table.y[self.training].mean())
        return (
            f"held-out root-mean-square error {_rms(predicted[:, 0] - y):.4g} "
            f"(predicting the mean: {_rms(mean - y):.4g})"
        )


def train(options: Options) -> None:
    """Do all that `fgrad train` does; nothing is written before everything has been computed.

    Raises `DataError` for bad input, `MissingExtraError`, FloatingPointError where the loss becomes infinite or nan,
    and OSError where the results cannot be written.
    """
    _check_extras()
    _check_folder(options.out)
    split_seed, network_seed, order_seed, data_seed = np.random.SeedSequence(options.seed).generate_state(4).tolist()
    job = _prepare(_read(options, data_seed), options, split_seed)
    rate = options.rate or (0.3 if job.table.classes else 0.1)  # squared errors bend twice as much
    _say(_summary(job, options))
    sizes = [len(job.table.features), *options.hidden, len(job.table.classes) or 1]
    model = nn.MLP.init(Key(network_seed), sizes, activation=options.activation)
    with _progress(options.epochs) as report:
        model, losses = _descend(job, model, options, rate, order_seed, report)
    model = job.plain(model)
    _say(job.verdict(model))
    _say("wrote " + ", ".join(_write(options.out, _results(job, model, options, losses))))


def _results(job: Job, model: nn.MLP, options: Options, losses: dict[str, list[float]]) -> dict[str, bytes | None]:
    """The bytes of every file that a run can write; None for the one that this run has nothing to put in."""
    network, curve, picture = _OUTPUTS
    name = "cross-entropy" if job.table.classes else "mean squared error, standardised"
    two = len(job.table.features) == 2
    return {
        network: io.encode(model, _about(job, model, options)),
        curve: plot.png(lambda ax: plot.curve(ax, losses, name)),
        picture: plot.png(lambda ax: _draw(ax, job.table, model)) if two else None,
    }


def _write(out: Path, results: dict[str, bytes | None]) -> list[str]:
    """Put the results in place, and an earlier run's out of the way where this one has none; give the paths written."""
    out.mkdir(parents=True, exist_ok=True)
    files = {out / name: data for name, data in results.items() if data is not None}
    replace_files(files)
    for name in results.keys() - {path.name for path in files}:
        (out / name).unlink(missing_ok=True)
    return [str(path) for path in files]


def _read(options: Options, seed: int) -> table.Table:
    """The table that was asked for: a file, or one of scikit-learn's data sets by name."""
    if options.data in table.DEMOS:
        data = table.DEMOS[options.data](seed)
        if options.target not in (None, data.target):
            raise errors.DataError(f'{options.data}: the target is "{data.target}", not "{options.target}"')
        return attrs.evolve(data, classes=()) if options.task == "regression" else data
    if not Path(options.data).exists():
        raise errors.DataError(f"{options.data}: there is no such file (without a file: {' or '.join(table.DEMOS)})")
    if options.target is None:
        raise errors.DataError(f"{options.data}: which column is to be learnt? Say --target NAME")
    return table.read(options.data, options.target, options.task)


def _check_extras() -> None:
    """Miss an optional dependency now, and not after the training."""
    for package, extra, purpose in (
        ("rich.progress", "show", "a progress bar"),
        ("matplotlib.figure", "show", "drawing the loss"),
        ("safetensors.numpy", "io", "saving the parameters"),
    ):
        try:
            importlib.import_module(package)
        except ImportError:
            raise errors.missing_extra(extra, package.partition(".")[0], purpose) from None


def _check_folder(out: Path) -> None:
    """Find out now, and not after the training, that nothing can be written there."""
    there = next(place for place in (out, *out.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        raise errors.DataError(f"{there}: is not a folder, so the results cannot be written into {out}")
    if not os.access(there, os.W_OK):
        raise errors.DataError(f"{there}: the folder cannot be written to")
    for name in _OUTPUTS:
        if (out / name).is_dir():
            raise errors.DataError(f"{out / name}: is a folder, where a file is to be written")


def _prepare(data: table.Table, options: Options, seed: int) -> Job:
    """Split and measure; what is held out has no say in how numbers are standardised."""
    count = len(data.y)
    if count < _FEWEST:
        raise errors.DataError(f"{options.data}: {count} rows are too few, at least {_FEWEST} are needed")
    held_out = min(max(round(count * options.held_out), 1), count - 2)
    rows = np.random.Generator(np.random.Philox(seed)).permutation(count)
    training = rows[held_out:]
    inputs, outputs = Standard.of(data.x[training]), Standard.of(data.y[training, None])
    for name, scale in zip((*data.features, data.target), (*inputs.scale, *outputs.scale), strict=True):
        if not math.isfinite(scale):
            raise errors.DataError(f'{options.data}: column "{name}": the numbers are too large to be squared')
    if data.classes:
        outputs = Standard(np.zeros(1), np.ones(1))  # indices of classes are no quantities
    return Job(data, inputs, outputs, training, rows[:held_out])


def _descend(
    job: Job, model: nn.MLP, options: Options, rate: float, seed: int, report: Report
) -> tuple[nn.MLP, dict[str, list[float]]]:
    """Gradient descent; also the losses of each epoch: the mean while it trains, and of the rows held out before it."""
    loss, order = jit(job.loss), np.random.Generator(np.random.Philox(seed))
    step = jit(value_and_grad(job.loss))
    training, held_out = [], []
    for epoch in range(1, options.epochs + 1):
        held_out.append(float(loss(model, *job.batch(job.held_out))))
        rows = job.training if options.batch is None else order.permutation(job.training)
        model, mean = _epoch(model, step, job, rows, options.batch or len(rows), rate)
        # The last step is judged too, for no other mean will tell of it.
        last = float(loss(model, *job.batch(rows))) if epoch == options.epochs else mean
        if not math.isfinite(mean + last):
            problem = f"the loss became {mean + last} in epoch {epoch}: try a --rate lower than {rate:g}"
            raise FloatingPointError(f"{options.data}: {problem}")
        training.append(mean)
        report(epoch, mean)
    return model, {"training": training, "held out": held_out}


def _epoch(
    model: nn.MLP, step: Callable[..., tuple[float, nn.MLP]], job: Job, rows: Rows, size: int, rate: float
) -> tuple[nn.MLP, float]:
    """One step for each batch of rows; also the mean loss."""
    total = 0.0
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        value, gradient = step(model, *job.batch(batch))
        model = optim.sgd_step(model, gradient, rate)
        total += float(value) * len(batch)
    return model, total / len(rows)


@contextmanager
def _progress(epochs: int) -> Iterator[Report]:
    """Show how far training is: a bar on a terminal, and ten plain lines in a file or pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console, every = Console(), max(1, epochs // 10)
    if not console.is_interactive:

        def line(epoch: int, loss: float) -> None:
            if epoch % every == 0 or epoch == epochs:
                _say(f"epoch {epoch} of {epochs}: loss {loss:.4g}")

        yield line
        return
    text = TextColumn("{task.fields[loss]}")
    with Progress(BarColumn(), MofNCompleteColumn(), text, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("training", total=epochs, loss="")
        yield lambda epoch, loss: bar.update(task, completed=epoch, loss=f"loss {loss:.4g}")


def _summary(job: Job, options: Options) -> str:
    data = job.table
    kind = f"classification, {len(data.classes)} classes" if data.classes else "regression"
    return (
        f"{options.data}: {len(job.training)} rows to train on, {len(job.held_out)} held out; "
        f'{len(data.features)} features; target "{data.target}": {kind}'
    )


def _about(job: Job, model: nn.MLP, options: Options) -> dict[str, object]:
    """The metadata that the module's docstring describes."""
    return {
        "sizes": [len(model.layers[0].w), *(len(layer.b) for layer in model.layers)],
        "activation": options.activation,
        "task": "classification" if job.table.classes else "regression",
        "features": list(job.table.features),
        "means": job.inputs.mean.tolist(),
        "scales": job.inputs.scale.tolist(),
        "target": job.table.target,
        "classes": list(job.table.classes),
    }


def _draw(ax: "Axes", data: table.Table, model: nn.MLP) -> None:
    across, up = data.features
    if data.classes:
        plot.boundary(ax, model, data.x, data.y.astype(np.int64), (across, up), data.classes, data.target)
    else:
        plot.surface(ax, model, data.x, data.y, (across, up), data.target)


def _rms(x: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def _say(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _complain(problem: str, status: int) -> int:
    """One line on stderr, whatever the problem's text holds."""
    print("fgrad: " + " ".join(problem.splitlines()), file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    """Tells of a wrong option in one line, as of everything else that is wrong."""

    def error(self, message: str) -> NoReturn:
        sys.exit(_complain(f"{message} ({self.prog} --help shows the options)", 2))


def _parser() -> _Parser:
    parser = _Parser(prog="fgrad", description="Functional automatic differentiation.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    add = commands.add_parser(
        "train",
        allow_abbrev=False,
        help="train a network on a CSV file and show the result",
        description="Train a multi-layer perceptron on a CSV file (a header line, columns of numbers, and a target of "
        "numbers or classes) and show how well it does on rows it has not seen.",
    ).add_argument
    add("data", metavar="FILE", help=f"a CSV file; {' and '.join(table.DEMOS)} need no file")
    add("--target", metavar="NAME", help="the column to learn")
    add("--task", choices=get_args(table.Task), default="auto", help="what the target is; auto looks at it")
    add("--hidden", metavar="N,N", type=_sizes, default="16,16", help="sizes of the hidden layers (%(default)s)")
    add("--activation", choices=get_args(nn.Activation), default="tanh", help="between layers (%(default)s)")
    add("--epochs", metavar="N", type=_count, default=500, help="how often every row is used (%(default)s)")
    add("--rate", metavar="R", type=_positive, help="learning rate (0.3 for classes, 0.1 for numbers)")
    add("--batch", metavar="N", type=_count, help="rows for each step (all of them)")
    add("--held-out", metavar="F", type=_fraction, default=0.2, help="share of the rows to test on (%(default)s)")
    add("--seed", metavar="N", type=_seed, default=0, help="all that is random follows from it (%(default)s)")
    add("--out", metavar="DIR", type=Path, default=Path("fgrad-train"), help="folder for the results (%(default)s)")
    return parser


def _checked(convert: Callable[[str], T], holds: Callable[[T], bool], kind: str) -> Callable[[str], T]:
    """A type for argparse: convert a word, and check what comes out."""

    def read(word: str) -> T:
        try:
            value = convert(word)
        except ValueError:
            value = None
        if value is None or not holds(value):
            raise argparse.ArgumentTypeError(f"{word!r} is not {kind}")
        return value

    return read


def _integers(word: str) -> tuple[int, ...]:
    return tuple(int(part) for part in word.split(","))


_count = _checked(int, lambda n: n > 0, "a positive integer")
_seed = _checked(int, lambda n: n >= 0, "an integer from 0")
_positive = _checked(float, lambda r: 0 < r < math.inf, "a positive number")
_fraction = _checked(float, lambda f: 0 < f < 1, "a number between 0 and 1")
_sizes = _checked(_integers, lambda sizes: min(sizes) > 0, "a list of positive integers, such as 16,16")
