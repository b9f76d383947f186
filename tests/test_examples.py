"""The examples keep their promises: at a small size here, and with `-m campaign` as their index says."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fgrad import check_grads, jit, nn, tree, vjp
from fgrad.random import Key

FOLDER = Path(__file__).parent.parent / "docs" / "examples"
FILES = sorted(FOLDER.glob("*.py"))
INDEX = FOLDER / "README.md"


@pytest.fixture
def example(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The module that a test names; one thread does its products, which on a busy machine are sooner done so."""
    spec = importlib.util.spec_from_file_location(request.param, FOLDER / f"{request.param}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.importorskip("threadpoolctl").threadpool_limits(1):
        yield module


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [name], indirect=True)


# --- what is true of all ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_short(file: Path) -> None:
    assert len(file.read_text().splitlines()) < 100


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_index_has_each_example_and_its_command(file: Path) -> None:
    """The command that its docstring gives stands in the index too."""
    (command,) = re.findall(r"^    (python docs/examples/\S+\.py)", file.read_text(), re.MULTILINE)
    assert command in INDEX.read_text()
    assert f"({file.name})" in INDEX.read_text()


def test_the_index_has_no_more() -> None:
    assert set(re.findall(r"\((\w+\.py)\)", INDEX.read_text())) == {file.name for file in FILES}


@pytest.mark.parametrize("command", ["ruff check", "ruff format --check", "mypy --strict"])
def test_the_examples_are_clean(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), *map(str, FILES)],
        cwd=FOLDER.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- at a small size -------------------------------------------------------------------------------------------------
@of("moons")
def test_moons(example: ModuleType) -> None:
    """A network half as wide tells nearly all points apart in fewer steps."""
    assert example.main(steps=60, hidden=8) >= 0.95


@of("digits")
@pytest.mark.parametrize(("kind", "epochs", "least"), [("mlp", 4, 0.93), ("convnet", 4, 0.93)])
def test_digits(example: ModuleType, kind: str, epochs: int, least: float) -> None:
    """A few epochs read most of the held-out digits."""
    assert example.main(kind, epochs=epochs) >= least


@of("digits")
def test_pictures_move_by_a_pixel_at_most(example: ModuleType) -> None:
    """What the convolutional network sees is each picture at one of nine places."""
    pictures = np.random.default_rng(0).random((20, 8, 8))
    for picture, moved in zip(pictures, example.moved(pictures, Key(0)), strict=True):
        frame = np.pad(picture, 1)
        assert any(np.array_equal(moved, frame[i : i + 8, j : j + 8]) for i in range(3) for j in range(3))


@of("gpt")
def test_gpt(example: ModuleType) -> None:
    """A small one learns something, and writes as much as it is asked to."""
    held_out, bigrams, text = example.main(steps=60, context=24, width=32, length=20)
    assert bigrams < held_out < np.log(len(example.ALPHABET)) - 0.8
    assert len(text) == 21


@of("gpt")
def test_a_character_is_judged_by_those_before_it(example: ModuleType) -> None:
    """No logit depends on a later character."""
    model = example.GPT.init(Key(0), context=8, width=8)
    tokens = np.arange(8)
    changed = np.where(tokens < 5, tokens, 0)
    assert np.allclose(model(tokens)[:5], model(changed)[:5])
    assert not np.allclose(model(tokens)[5:], model(changed)[5:])


@of("gpt")
def test_the_bigrams_are_counts(example: ModuleType) -> None:
    """Of a text of one pair over and over, each next character is nearly sure."""
    text, n = np.array([0, 1] * 500), len(example.ALPHABET)
    assert example.bigram_loss(text, text[None, :]) == pytest.approx(-np.log(501 / (500 + n)), rel=1e-3)


@of("recurrent")
def test_recurrent(example: ModuleType) -> None:
    """Shorter sequences are soon added better than by guessing."""
    assert example.main(steps=300, length=10, width=16, n=32) < 0.5 * example.GUESSING


@of("recurrent")
def test_the_sums_are_of_two_numbers_of_which_guessing_misses_a_sixth(example: ModuleType) -> None:
    sequences, sums = example.draw(Key(0), 10, 20_000)
    numbers, marks = np.moveaxis(sequences, -1, 0)
    assert np.all(marks[:5].sum(0) == 1)
    assert np.all(marks[5:].sum(0) == 1)
    assert np.allclose((numbers * marks).sum(0), sums)
    assert np.mean((sums - 1.0) ** 2) == pytest.approx(example.GUESSING, rel=0.05)


@of("newton")
def test_newton(example: ModuleType) -> None:
    """In less than ten steps the gradient is 0, at last by its square, and the coefficients are scikit-learn's."""
    fit = example.main()
    assert fit.norms[-1] < 1e-10
    assert len(fit.norms) <= 10
    assert all(after < 50 * before**2 for before, after in pairwise(fit.norms[-4:]))
    linear = pytest.importorskip("sklearn.linear_model")
    datasets = pytest.importorskip("sklearn.datasets")
    x, labels = datasets.load_breast_cancer(return_X_y=True)
    oracle = linear.LogisticRegression(tol=1e-12, max_iter=10_000).fit((x - x.mean(0)) / x.std(0), labels)
    assert np.allclose(fit.w, [*oracle.intercept_, *oracle.coef_[0]], atol=1e-5)


@of("hypergradient")
def test_hypergradient(example: ModuleType) -> None:
    """A few steps outside lower the loss on points that had no part in them."""
    before, after, _ = example.main(outer=20, steps=40)
    assert after < 0.8 * before


@of("hypergradient")
def test_the_gradient_through_training_is_that_of_differences(example: ModuleType) -> None:
    """Through a hundred steps, in both modes."""
    known, judging = example.draw(Key(1), 20), example.draw(Key(2), 20)
    hyper = example.Hyper(-4.0, np.full(example.FEATURES, -2.0))

    def held_out(hyper: object) -> float:
        value: float = example.loss(example.trained(hyper, *known, 100), *judging)
        return value

    check_grads(held_out, (hyper,), order=1)


@of("fixed_point")
def test_fixed_point(example: ModuleType) -> None:
    """Most points fall into their ring, and the memory is a fraction of what it is through 100 steps."""
    accuracy, implicit, unrolled = example.main(steps=60, width=16)
    assert accuracy > 0.95
    assert implicit < 0.5 * unrolled


@of("fixed_point")
def test_the_implicit_gradient_is_that_through_the_steps(example: ModuleType) -> None:
    """For the cell and for x, compiled or not."""
    cell, x = example.Cell.init(Key(0), 2, 5), np.random.default_rng(0).normal(size=(4, 2))
    g = np.random.default_rng(1).normal(size=(4, 5))

    def through(cell: Callable[..., nn.Floats], x: nn.Floats) -> nn.Floats:
        z = np.zeros((4, 5))
        for _ in range(100):
            z = cell(x, z)
        return z

    def pulled(f: Callable[..., nn.Floats]) -> Callable[..., list[object]]:
        return lambda cell, x: tree.leaves(vjp(f, cell, x)[1](g))

    explicit = pulled(through)(cell, x)
    for implicit in pulled(example.fixed_point), jit(pulled(example.fixed_point)):
        for found, expected in zip(implicit(cell, x), explicit, strict=True):
            assert np.allclose(found, expected, atol=1e-7)  # type: ignore[arg-type]  # arrays


# --- at full size, as the index says ---------------------------------------------------------------------------------
@pytest.mark.campaign
@pytest.mark.parametrize("command", re.findall(r"`python (docs/examples/[^`]*)`", INDEX.read_text()))
def test_the_commands_of_the_index_run(command: str) -> None:
    subprocess.run([sys.executable, *command.split()], cwd=FOLDER.parent.parent, capture_output=True, check=True)


@pytest.mark.campaign
@of("moons")
def test_moons_in_full(example: ModuleType) -> None:
    assert example.main() == 1.0


@pytest.mark.campaign
@of("digits")
@pytest.mark.parametrize(("kind", "least"), [("mlp", 0.97), ("convnet", 0.985)])
def test_digits_in_full(example: ModuleType, kind: str, least: float) -> None:
    assert example.main(kind) >= least


@pytest.mark.campaign
@of("gpt")
def test_gpt_in_full(example: ModuleType) -> None:
    held_out, bigrams, _ = example.main()
    assert held_out < bigrams - 0.3


@pytest.mark.campaign
@of("recurrent")
def test_recurrent_in_full(example: ModuleType) -> None:
    assert example.main() < 0.01 * example.GUESSING


@pytest.mark.campaign
@of("hypergradient")
def test_hypergradient_in_full(example: ModuleType) -> None:
    """What does not matter decays more than what does."""
    before, after, hyper = example.main()
    assert after < 0.5 * before
    matter, other = np.split(hyper.log_decay, [example.RELEVANT])
    assert np.median(other) > np.median(matter) + 2


@pytest.mark.campaign
@of("fixed_point")
def test_fixed_point_in_full(example: ModuleType) -> None:
    accuracy, implicit, unrolled = example.main()
    assert accuracy >= 0.98
    assert implicit < 0.25 * unrolled
