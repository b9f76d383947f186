"""The command line: `fgrad train` learns from a table, `fgrad predict` applies it, `fgrad explain` shows both passes.

Knows the words of the commands, and how what goes wrong is told; nothing of what the commands do.
"""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar, get_args
from unicodedata import normalize

import numpy as np

from fgrad import errors, nn, table
from fgrad.cli.console import complain
from fgrad.cli.explaining import ExplainOptions, explain_expression
from fgrad.cli.options import OPTIMIZERS, SCHEDULES, TrainOptions
from fgrad.cli.predicting import PredictOptions, predict
from fgrad.cli.training import train

T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status: 0, 1 (training failed), 2 (bad input) or 130 (interrupted).

    Raises SystemExit, as argparse does, for --help (0) and for options that cannot be understood (2).
    """
    words = vars(_parser().parse_args(_spaced(sys.argv[1:] if argv is None else argv)))
    command = words.pop("command")
    try:
        with np.errstate(all="ignore"):  # numbers that are not finite are told of in our words
            command(words)
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        return complain(" ".join(["interrupted", *map(str, stop.args)]), 130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (FloatingPointError, MemoryError) as error:
        return complain(str(error) or "out of memory", 1)
    except errors.ExpressionError as error:
        print(f"fgrad: {error}", file=sys.stderr)  # in lines, for it points to a place
        return 2
    except (errors.DataError, errors.MissingExtraError) as error:
        return complain(str(error), 2)
    except errors.FgradError as error:  # what fgrad cannot do with an expression
        return complain(str(error), 2)
    except OSError as error:
        return complain(f"{error.filename2 or error.filename or words.get('out')}: {error.strerror}", 2)
    return 0


def _spaced(words: Sequence[str]) -> list[str]:
    """The words, with a space before an expression that begins with a minus, for it is no option."""
    found = [*words]
    if found[:1] == ["explain"] and len(found) > 1 and found[1][:1] == "-" and not found[1].startswith(("--", "-h")):
        found[1] = f" {found[1]}"
    return found


class _Parser(argparse.ArgumentParser):
    """Tells of a wrong option in one line, as of everything else that is wrong."""

    def error(self, message: str) -> NoReturn:
        sys.exit(complain(f"{message} ({self.prog} --help shows the options)", 2))


def _parser() -> _Parser:
    parser = _Parser(prog="fgrad", description="Functional automatic differentiation.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _train_words(
        commands.add_parser(
            "train",
            allow_abbrev=False,
            help="train a network on a CSV file and show the result",
            description="Train a multi-layer perceptron on a CSV file (a header line, columns of numbers, and a target "
            "of numbers or classes) and show how well it does on rows it has not seen.",
        )
    )
    _predict_words(
        commands.add_parser(
            "predict",
            allow_abbrev=False,
            help="say what a trained network makes of the rows of a CSV file",
            description="Read a CSV file that has the columns a network was trained on, in any order and with any "
            "others, and write one with its predictions: classes and their probabilities, or numbers.",
        )
    )
    _explain_words(
        commands.add_parser(
            "explain",
            allow_abbrev=False,
            help="show both passes of an expression",
            description="Compute an expression and its gradient, and show every step. An expression is Python's "
            "arithmetic, with fgrad's functions.",
        )
    )
    return parser


def _train_words(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=lambda words: train(TrainOptions(**words)))
    add = parser.add_argument
    rates = ", ".join(f"{rule.rate:g} for {name}" for name, rule in OPTIMIZERS.items())
    add("data", metavar="FILE", help=f"a CSV file; {', '.join(table.DEMOS)} need no file")
    add("--target", metavar="NAME", help="the column to learn")
    add("--task", choices=get_args(table.Task), default="auto", help="what the target is; auto looks at it")
    add("--hidden", metavar="N,N", type=_sizes, default="64,64", help="sizes of the hidden layers (%(default)s)")
    add("--activation", choices=get_args(nn.Activation), default="gelu", help="between layers (%(default)s)")
    add("--optimizer", choices=OPTIMIZERS, default="adam", help="the rule of the steps (%(default)s)")
    add("--rate", metavar="R", type=_positive, help=f"the highest learning rate ({rates})")
    add("--schedule", choices=SCHEDULES, default="cosine", help="how the rate changes, step by step (%(default)s)")
    add("--weight-decay", metavar="W", type=_share, default=0.0, help="how fast weights shrink (%(default)s)")
    add("--batch", metavar="N", type=_count, default=32, help="rows for each step (%(default)s, or all if fewer)")
    add("--epochs", metavar="N", type=_count, default=60, help="how often every row is used (%(default)s)")
    add("--held-out", metavar="F", type=_fraction, default=0.2, help="share of the rows to test on (%(default)s)")
    add("--seed", metavar="N", type=_seed, default=0, help="all that is random follows from it (%(default)s)")
    add("--out", metavar="DIR", type=Path, default=Path("fgrad-train"), help="folder for the results (%(default)s)")
    add("--report", metavar="FILE.html", type=Path, help="also write all there is to see into one page")
    add("--checkpoint", metavar="S", type=_share, default=10.0, help="seconds between checkpoints (%(default)g)")
    add("--resume", action="store_true", help="go on from the checkpoint that an interrupted run has left in --out")


def _predict_words(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=lambda words: predict(PredictOptions(**words)))
    add = parser.add_argument
    add("model", metavar="MODEL", type=Path, help="a file that fgrad train has saved, or its folder")
    add("data", metavar="FILE", help="a CSV file; if it has the target too, how well it is predicted is told on stderr")
    add("--out", metavar="FILE", type=Path, help="the file to write (stdout)")


def _explain_words(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=lambda words: explain_expression(ExplainOptions(**words)))
    add = parser.add_argument
    add("expression", metavar="EXPRESSION", help='such as "tanh(w*x + b)"')
    add("numbers", metavar="NAME=NUMBER", nargs="*", type=_number, help="what each name in it stands for")
    add("--svg", metavar="FILE", type=Path, help="also draw the graph (by the suffix .svg, .png or .dot)")
    add("--html", metavar="FILE.html", type=Path, help="also write a page to step through both passes")
    add("--formula", metavar="FILE", type=Path, help="also write the derivatives as formulas (in LaTeX to a .tex file)")


def _number(word: str) -> tuple[str, float]:
    name, _, number = word.partition("=")
    try:
        return normalize("NFKC", name), float(number)  # as Python reads the names in an expression
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} is not NAME=NUMBER, such as x=2") from None


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
_share = _checked(float, lambda r: 0 <= r < math.inf, "a number from 0")
_fraction = _checked(float, lambda f: 0 < f < 1, "a number between 0 and 1")
_sizes = _checked(_integers, lambda sizes: min(sizes) > 0, "a list of positive integers, such as 16,16")
