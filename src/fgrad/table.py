"""Tables of numbers: a CSV file with one target column of numbers or of classes, and data sets to try things on.

Knows how such a file is read, and says what is wrong with it to the line and column; nothing of learning from it.
"""

import csv
import importlib
import io
import math
import os
import reprlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final, Literal, TypeAlias, TypeVar

import attrs
import numpy as np
from numpy.typing import NDArray

from fgrad import errors

Floats: TypeAlias = NDArray[np.float64]
Task: TypeAlias = Literal["auto", "classification", "regression"]
K = TypeVar("K", str, float)
_FEW: Final = 20  # a target with at most so many different values, all integers, is taken to be a class


@attrs.frozen(eq=False)
class Table:
    """Features x, (rows, features), and a target y, (rows,): numbers, or indices into `classes` where there are any."""

    features: tuple[str, ...]
    target: str
    x: Floats
    y: Floats
    classes: tuple[str, ...] = ()


@attrs.frozen(eq=False)
class Rows:
    """Features x, (rows, features), to be predicted from; where each row stands, and its cell of the target if any."""

    file: str
    x: Floats
    lines: tuple[int, ...]
    targets: tuple[str, ...] | None

    def labels(self, target: str, classes: Sequence[str]) -> list[float | None]:
        """The targets, if any: numbers, or indices into `classes` (-1: another class); None where the cell is empty.

        Raises `DataError`, which names file, line and column, where a number is wanted and there is none.
        """
        place = _Place(self.file, target)
        cells = [] if self.targets is None else list(zip(self.targets, self.lines, strict=True))
        if not classes:
            return [_number(cell, place, line) if cell else None for cell, line in cells]
        index = {name: float(i) for i, name in enumerate(classes)}
        return [index.get(cell, index.get(_as_class(cell), -1.0)) if cell else None for cell, _ in cells]


@attrs.frozen
class _Place:
    """A column of a file, for messages."""

    file: str
    column: str

    def error(self, line: int, problem: str) -> errors.DataError:
        return errors.DataError(f'{self.file}:{line}: column "{self.column}": {problem}')


def read(path: str | os.PathLike[str], target: str, task: Task = "auto") -> Table:
    """Read a CSV file (UTF-8; a byte order mark, CRLF, quotes and blank lines are fine) with a header line.

    Every column but the target must hold finite numbers. The target is a class if it holds text, or at most 20
    different integers (and at most half as many as rows); `task` overrules that. Classes stand in sorted order.

    Raises `DataError`, which names the file, and the line and column where there are some.
    """
    file = os.fspath(path)
    line, header, records = _opened(file)
    _check_header(header, target, f"{file}:{line}")
    features = [name for name in header if name != target]
    x, lines, cells = _columns(records, header, features, target, file)
    y, classes = _target(cells, lines, _Place(file, target), task)
    return Table(tuple(features), target, x, y, classes)


def read_features(path: str | os.PathLike[str], features: Sequence[str], target: str) -> Rows:
    """Read the columns of a CSV file that a model was trained on, wherever they stand, and the target if it is there.

    What else there is may hold anything. Raises `DataError`, which names the file, and the line and column where there
    are some.
    """
    file = os.fspath(path)
    line, header, records = _opened(file)
    for name in (*features, target):
        if header.count(name) > 1:
            raise errors.DataError(f'{file}:{line}: column "{name}": the name appears twice')
        if name not in header and name != target:
            raise errors.DataError(f'{file}:{line}: there is no column "{name}"; there are {_listed(header)}')
    x, lines, cells = _columns(records, header, features, target if target in header else None, file)
    return Rows(file, x, tuple(lines), tuple(cells) if target in header else None)


def _opened(file: str) -> tuple[int, list[str], Iterator[tuple[int, list[str]]]]:
    """The line of the header, the header, and the rows below it with theirs, of which each has as many cells."""
    records = _records(file)
    first, header = next(records, (0, []))
    if not header:
        raise errors.DataError(f"{file}: the file is empty")

    def below() -> Iterator[tuple[int, list[str]]]:
        line = None
        for line, row in records:
            if len(row) != len(header):
                raise errors.DataError(f"{file}:{line}: {len(row)} cells, but the header has {len(header)}")
            yield line, row
        if line is None:
            raise errors.DataError(f"{file}: there is no row below the header")

    return first, header, below()


def _columns(
    records: Iterator[tuple[int, list[str]]],
    header: Sequence[str],
    features: Sequence[str],
    target: str | None,
    file: str,
) -> tuple[Floats, list[int], list[str]]:
    """The features as numbers, (rows, features), the line of each row, and the cells of the target if there is one."""
    columns = [(header.index(name), _Place(file, name)) for name in features]
    x, lines, cells = [], [], []
    for line, row in records:
        x.append([_number(row[at], place, line) for at, place in columns])
        lines.append(line)
        if target is not None:
            cells.append(row[header.index(target)])
    return np.array(x), lines, cells


def _records(file: str) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not blank, with the number of the line where it starts."""
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True, skipinitialspace=True)
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if cells not in ([], [""]):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise errors.DataError(f"{file}:{line}: {error}") from None


def _text(file: str) -> str:
    try:
        return Path(file).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise errors.DataError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise errors.DataError(f"{file}:{line}: byte 0x{error.object[error.start]:02x} is not UTF-8") from None


def _check_header(header: Sequence[str], target: str, where: str) -> None:
    for i, name in enumerate(header):
        if not name:
            raise errors.DataError(f"{where}: column {i + 1} has no name")
        if name in header[:i]:
            raise errors.DataError(f'{where}: column "{name}": the name appears twice')
    if target not in header:
        raise errors.DataError(f'{where}: there is no column "{target}"; there are {_listed(header)}')
    if len(header) == 1:
        raise errors.DataError(f'{where}: there is no column beside the target "{target}"')


def _listed(header: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in header[:12]) + (", …" if len(header) > 12 else "")


def _number(cell: str, place: _Place, line: int) -> float:
    value = _as_number(cell)
    if value is None:
        raise place.error(line, f"{reprlib.repr(cell)} is not a number" if cell else "the cell is empty")
    if not math.isfinite(value):
        raise place.error(line, f"{reprlib.repr(cell)} is not a finite number")
    return value


def _as_number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)  # float takes 1_000 for 1000; a data file means a name
    except ValueError:
        return None


def _target(cells: list[str], lines: list[int], place: _Place, task: Task) -> tuple[Floats, tuple[str, ...]]:
    """The target as numbers, and the names of its classes if that is what it holds."""
    values = [_as_number(cell) for cell in cells]
    for cell, value, line in zip(cells, values, lines, strict=True):
        if not cell or value is not None or task == "regression":
            _number(cell, place, line)  # an empty cell and nan are no class names
    numbers = [value for value in values if value is not None]
    if not numbers or (len(numbers) < len(cells) and task == "classification"):
        return _classes(cells, place)
    if len(numbers) < len(cells):
        cell, line = cells[values.index(None)], lines[values.index(None)]
        problem = f"{reprlib.repr(cell)} is not a number, but other rows hold some"
        raise place.error(line, f"{problem} (if it is a class, say --task classification)")
    few = len(set(numbers)) <= min(_FEW, len(numbers) // 2) and all(number.is_integer() for number in numbers)
    if task == "classification" or (task == "auto" and few):
        return _classes(numbers, place)
    _check_varied(numbers, place)
    return np.array(numbers), ()


def _classes(keys: Sequence[K], place: _Place) -> tuple[Floats, tuple[str, ...]]:
    _check_varied(keys, place)
    distinct = sorted(set(keys))
    index = {key: float(i) for i, key in enumerate(distinct)}
    return np.array([index[key] for key in keys]), tuple(_class_name(key) for key in distinct)


def _class_name(key: str | float) -> str:
    return str(int(key)) if isinstance(key, float) and key.is_integer() else str(key)


def _as_class(cell: str) -> str:
    """The name of the class that a cell means, if it holds a number: 1.0 is 1."""
    value = _as_number(cell)
    return cell if value is None else _class_name(value)


def _check_varied(values: Sequence[K], place: _Place) -> None:
    if len(set(values)) == 1:
        every = reprlib.repr(values[0])
        raise errors.DataError(f'{place.file}: column "{place.column}": every row holds {every}: nothing to learn')


def moons(seed: int) -> Table:
    """Two half circles of 250 noisy points each, as scikit-learn draws them.

    Raises `MissingExtraError` where scikit-learn is not installed.
    """
    x, y = _sklearn_datasets().make_moons(500, noise=0.1, random_state=seed)
    return Table(("x", "y"), "moon", x, y.astype(float), ("upper", "lower"))


def digits(seed: int) -> Table:
    """1,797 handwritten digits of 8 by 8 pixels, from scikit-learn; they depend on no seed.

    Raises `MissingExtraError` where scikit-learn is not installed.
    """
    return _of_sklearn("load_digits", "digit")


def iris(seed: int) -> Table:
    """Fisher's 150 irises of 3 species, from scikit-learn; they depend on no seed.

    Raises `MissingExtraError` where scikit-learn is not installed.
    """
    return _of_sklearn("load_iris", "species")


def breast_cancer(seed: int) -> Table:
    """569 tumours, malignant or benign, by 30 measures of their cells, from scikit-learn; they depend on no seed.

    Raises `MissingExtraError` where scikit-learn is not installed.
    """
    return _of_sklearn("load_breast_cancer", "diagnosis")


DEMOS: Final[dict[str, Callable[[int], Table]]] = {
    "moons": moons,
    "digits": digits,
    "iris": iris,
    "breast-cancer": breast_cancer,
}
"""Data sets that need no file, by name, as functions of a seed."""


def _of_sklearn(load: str, target: str) -> Table:
    data = getattr(_sklearn_datasets(), load)()
    features, classes = [tuple(str(name) for name in names) for names in (data.feature_names, data.target_names)]
    return Table(features, target, data.data, data.target.astype(float), classes)


def _sklearn_datasets() -> ModuleType:
    try:
        return importlib.import_module("sklearn.datasets")
    except ImportError:
        raise errors.missing_extra("sklearn", "scikit-learn", "a data set without a file") from None
