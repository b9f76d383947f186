"""Training: a stream of immutable snapshots, pure in its data and keys, that stops and resumes to the same bits."""

import io as text_io
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

import fgrad
from fgrad import errors, io, nn, optim, tree, value_and_grad
from fgrad.random import Key, normal
from fgrad.show.progress import progress
from fgrad.train import Batches, Snapshot, Watched, batches, begin, resume, saving, train, watch

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
X = normal(Key(10), (50, 4))
Y = (X[:, 0] > X[:, 1]).astype(np.int64)


def model(seed: int = 0) -> nn.MLP:
    return nn.MLP.init(Key(seed), [4, 8, 2])


def loss(model: nn.MLP, x: Floats, y: Integers) -> float:
    return nn.cross_entropy(model(x), y)


def noisy(model: nn.MLP, x: Floats, y: Integers, key: Key) -> float:
    return nn.cross_entropy(model(x + 0.1 * normal(key, x.shape)), y)


def carried(model: nn.MLP, mean: Floats, x: Floats, y: Integers) -> tuple[float, Floats]:
    mean = 0.9 * mean + 0.1 * x.mean(axis=0)
    return nn.cross_entropy(model(x - mean), y), mean


def arrays(x: object) -> list[Floats]:
    return [leaf for leaf in tree.leaves(x) if isinstance(leaf, np.ndarray)]


def same(a: object, b: object) -> bool:
    """Equal in structure and in every bit."""
    (xs, s), (ys, t) = tree.flatten(a), tree.flatten(b)
    return s == t and all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(xs, ys, strict=True))


def last(snapshots: Iterator[Snapshot[nn.MLP, None]]) -> Snapshot[nn.MLP, None]:
    *_, snapshot = snapshots
    return snapshot


# --- batches ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [1, 7, 25, 50, 60])
def test_every_epoch_has_each_row_once(size: int) -> None:
    """Whatever the size, in another order each time."""
    data = batches(np.arange(50), size, key=Key(0))
    epochs = [[data[epoch * data.per_epoch + i].tolist() for i in range(data.per_epoch)] for epoch in range(3)]
    for epoch in epochs:
        assert sorted(itertools.chain(*epoch)) == list(range(50))
        assert [len(batch) for batch in epoch[:-1]] == [size] * (len(epoch) - 1)
    assert size >= 50 or (epochs[0] != epochs[1] and epochs[1] != epochs[2])


def test_rows_stay_together() -> None:
    data = batches({"x": X, "y": X * 2.0}, 8, key=Key(0))
    for i in range(20):
        np.testing.assert_array_equal(data[i]["x"] * 2.0, data[i]["y"])


def test_a_batch_is_a_function_of_its_step() -> None:
    """In any order, of any object made alike."""
    data, again = batches((X, Y), 8, key=Key(1)), batches((X, Y), 8, key=Key(1))
    first = list(itertools.islice(data, 30))
    for step in [29, 3, 17, 3, 0]:
        assert same(first[step], again[step])
    assert not same(first[0], batches((X, Y), 8, key=Key(2))[0])


def test_without_a_key_rows_keep_their_order() -> None:
    data = batches(np.arange(5), 2)
    assert [data[i].tolist() for i in range(4)] == [[0, 1], [2, 3], [4], [0, 1]]


def test_the_short_batch_can_be_left_out() -> None:
    data = batches(np.arange(5), 2, key=Key(0), drop_last=True)
    assert data.per_epoch == 2
    assert {len(data[i]) for i in range(10)} == {2}


def test_batches_share_no_memory() -> None:
    x = np.arange(4.0)
    for data in (batches(x, 2), batches(x, 2, key=Key(0)), batches(x, 4)):
        data[0][:] = -1.0
        assert x.tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("data", "size", "problem"),
    [
        ((np.ones(3), np.ones(4)), 2, r"data\[1\] has 4 rows, and data\[0\] has 3"),
        ({"x": np.ones(3), "y": 1.0}, 2, r"data\['y'\] is a number, and has no rows"),
        (np.ones(3), 0, "3 rows make no batch of 0"),
        (np.ones(0), 1, "0 rows make no batch of 1"),
        ((), 1, "0 rows make no batch of 1"),
    ],
)
def test_data_that_are_no_table_are_refused(data: object, size: int, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        batches(data, size)
    with pytest.raises(IndexError, match="batch -1"):
        batches(np.ones(3), 2)[-1]


def test_data_may_be_larger_than_memory(tmp_path: Path) -> None:
    """A file of more numbers than the machine can hold is trained on in little memory."""
    code = """
import resource, sys
import numpy as np
from fgrad import optim, train
from fgrad.random import Key

rows = np.load(sys.argv[1], mmap_mode="r")
data = train.batches(rows, 4, key=Key(0))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def loss(w, x):
    return ((x @ w) ** 2).mean() + (w * w).sum()
*_, now = train.train(loss, np.ones(rows.shape[1]), data, optim.sgd(0.1), steps=50)
print(now.value, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    pytest.importorskip("resource")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    columns, path = 4096, tmp_path / "rows.npy"
    shape = (2 * memory // (8 * columns), columns)
    with path.open("wb") as file:  # of zeros, that take no room on the disk
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + 8 * shape[0] * shape[1])
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    value, megabytes = done.stdout.split()
    assert float(value) < 1.0
    assert int(megabytes) < 200


def test_a_file_gives_the_batches_that_memory_does(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    for key in (None, Key(0)):
        data, held = batches(np.load(tmp_path / "x.npy", mmap_mode="r"), 8, key=key), batches(X, 8, key=key)
        for step in range(10):
            assert type(data[step]) is np.ndarray
            assert same(data[step], held[step])


# --- the loop ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("jit", [True, False])
def test_training_is_the_loop_that_one_would_write(jit: bool) -> None:
    data, optimizer, params = batches((X, Y), 8, key=Key(0)), optim.adam(0.01), model()
    state = optimizer.init(params)
    now = begin(params, optimizer)
    for now in train(loss, params, data, optimizer, steps=20, jit=jit):
        value, grads = value_and_grad(loss)(params, *data[now.step - 1])
        updates, state = optimizer.update(grads, state, params)
        params = optim.apply_updates(params, updates)
        norm = float(np.linalg.norm(np.concatenate([np.ravel(g) for g in arrays(grads)])))
        assert (now.value, now.gradient_norm) == pytest.approx((value, norm), rel=1e-10)
        for a, b in zip(arrays(now.params), arrays(params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert now.step == 20


def test_training_learns() -> None:
    now = last(train(loss, model(), batches((X, Y), 10, key=Key(0)), optim.adam(0.03), epochs=40))
    assert now.step == 200
    assert (now.params(X).argmax(axis=1) == Y).mean() > 0.95


def test_a_step_is_compiled_once_for_each_size_of_batch() -> None:
    """A compiled loss runs as Python while it is traced alone."""
    calls = itertools.count()

    def counted(model: nn.MLP, x: Floats, y: Integers, key: Key) -> float:
        next(calls)
        return noisy(model, x, y, key)

    for drop_last, sizes in ((True, 1), (False, 2)):
        before = next(calls)
        data = batches((X, Y), 8, key=Key(0), drop_last=drop_last)
        last(train(counted, model(), data, optim.adam(0.01), epochs=4, key=Key(1)))
        assert next(calls) - before - 1 == sizes


def test_each_step_has_a_key_of_its_own() -> None:
    """Which follows from the one that was given, and the step."""
    data, key = batches((X, Y), 50), Key(5)
    for now in train(noisy, model(), data, optim.sgd(0.0), steps=3, key=key):
        expected = noisy(model(), X, Y, key.fold_in(now.step - 1))
        assert now.value == pytest.approx(float(expected), rel=1e-12)


def test_what_is_carried_goes_from_step_to_step() -> None:
    mean = np.zeros(4)
    data = batches((X, Y), 8, key=Key(0))
    for now in train(carried, model(), data, optim.sgd(0.1), steps=5, carry=np.zeros(4)):
        mean = 0.9 * mean + 0.1 * data[now.step - 1][0].mean(axis=0)
        np.testing.assert_allclose(now.carry, mean, rtol=1e-12)


def test_batches_can_be_anything_that_is_iterated() -> None:
    """They end the run; a batch that is no tuple is one argument, an empty one none."""

    def near(w: float, x: Floats) -> float:
        return nn.mse(w + 0.0 * x, x)

    def bowl(w: float) -> float:
        return w * w

    values = [now.value for now in train(near, 0.0, [np.ones(2), np.ones(3)], optim.sgd(0.25))]
    assert values == [1.0, 0.25]
    assert [now.step for now in train(bowl, 1.0, itertools.repeat(()), optim.sgd(0.1), steps=2)] == [1, 2]


def test_epochs_are_counted_of_batches_alone() -> None:
    with pytest.raises(errors.ArgumentError, match="epochs are counted of Batches"):
        train(loss, model(), batches((X, Y), 8), optim.sgd(0.1), epochs=1, steps=1)
    with pytest.raises(errors.ArgumentError, match="epochs are counted of Batches"):
        train(loss, model(), [(X, Y)], optim.sgd(0.1), epochs=1)


def test_the_user_owns_the_loop() -> None:
    """Nothing runs ahead of it, and leaving it is all that it takes to stop."""
    seen = []

    def rows() -> Iterator[tuple[Floats, Integers]]:
        for i in itertools.count():
            seen.append(i)
            yield X, Y

    for now in train(loss, model(), rows(), optim.sgd(0.1)):
        assert len(seen) == now.step
        if now.step == 3:
            break
    assert seen == [0, 1, 2]


# --- snapshots --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("jit", [True, False])
def test_a_snapshot_cannot_be_changed(jit: bool) -> None:
    """Nor do the arrays that a run began with become read-only, or matter any more."""
    params = model()
    for now in train(loss, params, batches((X, Y), 8), optim.adam(0.1), steps=3, jit=jit):
        for leaf in arrays(now):
            with pytest.raises(ValueError, match="read-only"):
                leaf[...] = 0.0
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            now.step = 0  # type: ignore[misc]  # the law
        for leaf in arrays(params):
            leaf[...] = np.nan


@pytest.mark.parametrize("jit", [True, False])
def test_what_does_not_change_is_shared(jit: bool) -> None:
    """So that keeping every snapshot costs nothing but what changed."""

    def top(layers: list[nn.Linear], x: Floats, y: Integers) -> float:
        return nn.cross_entropy(layers[1](np.tanh(layers[0](x))), y)

    layers = [nn.Linear.init(Key(0), 4, 8), nn.Linear.init(Key(1), 8, 2)]
    optimizer = optim.masked(optim.sgd(0.1), [False, True])
    frozen = optim.chain(optimizer, optim.masked(optim.scale(0.0), [True, False]))
    kept = list(train(top, layers, batches((X, Y), 8), frozen, steps=4, jit=jit))
    for a, b in itertools.pairwise(kept):
        assert a.params[0].w is b.params[0].w
        assert a.params[0].b is b.params[0].b
        assert a.params[1].w is not b.params[1].w
        assert not np.shares_memory(a.params[1].w, b.params[1].w)


def test_a_difference_of_one_bit_is_a_change() -> None:
    def f(w: Floats, carry: Floats) -> tuple[float, Floats]:
        return fgrad.sum(w * w), carry * np.array([1.0, 1.0, -1.0])

    kept = list(train(f, np.ones(1), itertools.repeat(()), optim.sgd(0.1), steps=3, carry=np.array([1.0, 0.0, 0.0])))
    assert [np.signbit(now.carry[2]) for now in kept] == [True, False, True]


# --- where it stops ---------------------------------------------------------------------------------------------------
def square_root(w: Floats, x: Floats) -> float:
    return fgrad.sum(fgrad.sqrt(w)) + fgrad.sum(w * x)


@pytest.mark.parametrize("jit", [True, False])
def test_a_loss_that_is_not_finite_stops_the_run(jit: bool) -> None:
    """With an error of the builtin kind, and the last snapshot whose parameters gave a finite loss."""
    run = train(square_root, np.ones(1), batches(np.ones((4, 1)), 2), optim.sgd(0.3), jit=jit)
    with pytest.raises(FloatingPointError, match=r"step \d+: the loss became nan: try a lower learning rate") as caught:
        list(run)
    assert isinstance(caught.value, errors.NonFiniteError)
    assert isinstance(caught.value.last, Snapshot)
    assert np.isfinite(square_root(caught.value.last.params, np.ones(1)))


def test_the_first_step_may_fail() -> None:
    start = begin(-np.ones(1), optim.sgd(0.1))
    with pytest.raises(errors.NonFiniteError, match="step 1: the loss became nan") as caught:
        next(train(square_root, start.params, batches(np.ones((4, 1)), 2), optim.sgd(0.1)))
    assert isinstance(caught.value.last, Snapshot)
    assert same(caught.value.last, start)


@pytest.mark.parametrize("jit", [True, False])
def test_a_gradient_that_is_not_finite_is_named(jit: bool) -> None:
    def f(params: dict[str, Floats]) -> float:
        return fgrad.sum(params["a"]) + fgrad.sum(fgrad.sqrt(params["b"]))

    params = {"a": np.ones(2), "b": np.zeros(2)}
    with pytest.raises(errors.NonFiniteError, match=r"the gradient of params\['b'\] became infinite or nan"):
        next(train(f, params, itertools.repeat(()), optim.sgd(0.1), jit=jit))


def test_data_that_are_not_finite_are_named() -> None:
    """And the snapshot before them is good."""
    rows = [(X, Y), (X, Y), (np.full((2, 4), np.nan), Y[:2])]
    with pytest.raises(errors.NonFiniteError, match=r"step 3: batch\[0\] holds .*: look at the data") as caught:
        list(train(loss, model(), rows, optim.sgd(0.1)))
    assert isinstance(caught.value.last, Snapshot)
    assert caught.value.last.step == 2


# --- going on ---------------------------------------------------------------------------------------------------------
OPTIMIZERS: dict[str, Callable[[], optim.Optimizer[object]]] = {
    "sgd": lambda: optim.sgd(0.1, momentum=0.9),
    "adam": lambda: optim.adam(optim.cosine_decay_schedule(0.01, 40)),
    "clipped": lambda: optim.chain(optim.clip_by_global_norm(0.1), optim.adamw(0.01)),
    "accumulated": lambda: optim.accumulate(optim.adam(0.01), 3),
}


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_that_is_resumed_gives_the_bits_of_one_that_is_not(tmp_path: Path, name: str, jit: bool) -> None:
    """Stopped anywhere, and saved and loaded between."""
    data = batches((X, Y), 8, key=Key(0))

    def run(start: Snapshot[nn.MLP, None], steps: int) -> Snapshot[nn.MLP, None]:
        return last(train(noisy, model(), data, OPTIMIZERS[name](), steps=steps, key=Key(1), start=start, jit=jit))

    start = begin(model(), OPTIMIZERS[name]())
    whole = run(start, 20)
    for stop in (1, 6, 7, 19):
        io.save(tmp_path / "run", run(start, stop))
        io.save(tmp_path / "end", run(io.load(tmp_path / "run", start), 20))
        assert (tmp_path / "end").read_bytes() == io.encode(whole)


def test_what_is_carried_is_resumed_too(tmp_path: Path) -> None:
    data, optimizer = batches((X, Y), 8, key=Key(0)), optim.sgd(0.1)
    kept = list(train(carried, model(), data, optimizer, steps=9, carry=np.zeros(4)))
    io.save(tmp_path / "run", kept[3])
    start = resume(tmp_path / "run", begin(model(1), optimizer, np.ones(4)))
    *_, now = train(carried, model(1), data, optimizer, steps=9, carry=np.ones(4), start=start)
    assert same(now, kept[-1])


def test_any_batches_are_skipped_up_to_where_a_run_stands() -> None:
    rows = [(X[i : i + 5], Y[i : i + 5]) for i in range(0, 40, 5)]
    kept = list(train(loss, model(), rows, optim.adam(0.01)))
    assert same(last(train(loss, model(), rows, optim.adam(0.01), start=kept[2])), kept[-1])
    assert list(train(loss, model(), rows, optim.adam(0.01), start=kept[2], steps=3)) == []


def test_saving_keeps_the_newest_and_the_last(tmp_path: Path) -> None:
    start, data = begin(model(), optim.adam(0.01)), batches((X, Y), 8)
    assert resume(tmp_path / "run", start) is start
    now = start
    for now in saving(train(loss, model(), data, optim.adam(0.01), steps=7), tmp_path / "run", every=3):
        there = resume(tmp_path / "run", start).step
        assert there == now.step - now.step % 3
    assert same(resume(tmp_path / "run", start), now)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_saving_keeps_the_last_of_a_loop_that_is_left(tmp_path: Path) -> None:
    """By a break, an error, or by who watches."""
    start, data, optimizer = begin(model(), optim.adam(0.01)), batches((X, Y), 8), optim.adam(0.01)
    now = start
    for now in saving(train(loss, model(), data, optimizer), tmp_path / "run", every=100):
        if now.step == 5:
            break
    assert same(resume(tmp_path / "run", start), now)

    def fails() -> None:
        for now in saving(train(loss, model(), data, optimizer), tmp_path / "run", every=100):
            assert 1 / (6 - now.step)

    with pytest.raises(ZeroDivisionError):
        fails()
    assert resume(tmp_path / "run", start).step == 6

    run = watch(saving(train(loss, model(), data, optimizer), tmp_path / "run", every=100), lambda now: 1.0, patience=2)
    assert [now.snapshot.step for now in run] == [1, 2, 3]
    assert resume(tmp_path / "run", start).step == 3


def test_another_model_or_optimiser_does_not_resume(tmp_path: Path) -> None:
    io.save(tmp_path / "run", begin(model(), optim.adam(0.01)))
    with pytest.raises(errors.StructureError, match=r"params\.params\.layers\[0\]\.w has shape \(4, 8\)"):
        resume(tmp_path / "run", begin(nn.MLP.init(Key(0), [4, 9, 2]), optim.adam(0.01)))
    with pytest.raises(errors.StructureError, match=r"params\.state"):
        resume(tmp_path / "run", begin(model(), optim.sgd(0.01)))
    with pytest.raises(errors.StructureError, match=r'\.activation is "tanh" in the file, but "relu"'):
        resume(tmp_path / "run", begin(attrs.evolve(model(), activation="relu"), optim.adam(0.01)))


def test_kill_nine_loses_nothing() -> None:
    """The campaign of tests/benchmarks/kill.py, in short."""
    command = [sys.executable, "-m", "tests.benchmarks.kill", "--times", "12"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("12 kills")


# --- watching ---------------------------------------------------------------------------------------------------------
def scored(*scores: float) -> tuple[Iterator[Snapshot[int, None]], Callable[[Snapshot[int, None]], float]]:
    snapshots = (Snapshot(i, None, i, 0.0, 0.0, None) for i in range(1, len(scores) + 1))
    return snapshots, lambda snapshot: scores[snapshot.step - 1]


def test_watching_remembers_the_best_and_stops_after_patience() -> None:
    run, score = scored(3.0, 1.0, 2.0, math.nan, 0.5, 0.7, 0.5, 0.6, 0.0)
    seen = [(now.snapshot.step, now.best.step, now.since) for now in watch(run, score, patience=3)]
    assert seen == [(1, 1, 0), (2, 2, 0), (3, 2, 1), (4, 2, 2), (5, 5, 0), (6, 5, 1), (7, 5, 2), (8, 5, 3)]


def test_watching_judges_some_and_takes_nan_for_the_worst() -> None:
    run, score = scored(*[0.0, math.nan, 0.0, math.nan, 0.0, 5.0, 0.0, 6.0])
    seen = [(now.snapshot.step, now.best.step) for now in watch(run, score, every=2)]
    assert seen == [(2, 2), (4, 2), (6, 6), (8, 6)]


def test_watching_goes_on_from_a_file(tmp_path: Path) -> None:
    """What was watched is a pytree: a run that is resumed stops where the other would have."""
    data, optimizer = batches((X, Y), 10, key=Key(0)), optim.sgd(0.1)

    def run(start: Watched[nn.MLP, None] | None) -> Iterator[Watched[nn.MLP, None]]:
        snapshots = train(loss, model(), data, optimizer, start=None if start is None else start.snapshot)
        return watch(snapshots, lambda now: abs(now.value - 0.3), every=3, patience=4, start=start)

    whole = list(run(None))
    assert whole[-1].best.step > whole[1].best.step
    io.save(tmp_path / "run", whole[1])
    again = list(run(io.load(tmp_path / "run", whole[0])))
    assert len(again) == len(whole) - 2
    assert same(again[-1], whole[-1])


def test_what_was_watched_is_saved_and_stays_stopped(tmp_path: Path) -> None:
    """The scores are in the file; a run that had stopped does not begin again."""
    data, optimizer = batches((X, Y), 10, key=Key(0)), optim.sgd(0.1)

    def run(steps: int) -> Watched[nn.MLP, None]:
        seen = resume(tmp_path / "run", Watched.begin(begin(model(), optimizer)))
        stream = train(loss, model(), data, optimizer, steps=steps, start=seen.snapshot)
        watched = watch(stream, lambda now: abs(now.value - 0.3), patience=4, start=seen)
        *_, seen = [seen, *saving(watched, tmp_path / "run", every=1)]
        return seen

    assert math.isnan(Watched.begin(begin(model(), optimizer)).score)
    first, last = run(2), run(100)
    assert first.snapshot.step == 2
    assert last.since == 4
    assert same(run(100), last)


def test_what_is_no_optimiser_is_said() -> None:
    with pytest.raises(errors.ArgumentError, match=r"adam.* is no optimiser: write one such as optim.adam\(1e-3\)"):
        train(loss, model(), batches((X, Y), 8), optim.adam)  # type: ignore[call-overload]  # wrong


# --- showing ----------------------------------------------------------------------------------------------------------
def shown(run: Callable[[Console], object], terminal: bool = False) -> str:
    file = text_io.StringIO()
    run(Console(file=file, width=100, force_terminal=terminal))
    return file.getvalue()


def test_a_log_file_has_ten_plain_lines() -> None:
    text = shown(lambda console: list(progress(range(95), 95, console=console, describe=lambda x: f"[b]loss {x}[/b]")))
    lines = text.splitlines()
    assert len(lines) == 10
    assert lines[-1] == "step 95 of 95: [b]loss 94[/b]"
    assert "\x1b" not in text


def test_few_items_have_a_line_each() -> None:
    text = shown(lambda console: list(progress("abc", 3, console=console)))
    assert text.splitlines() == ["step 1 of 3", "step 2 of 3", "step 3 of 3"]


def test_without_a_total_lines_become_rarer() -> None:
    text = shown(lambda console: list(progress(range(100), console=console)))
    assert text.splitlines() == [f"step {n}" for n in (1, 2, 4, 8, 16, 32, 64, 100)]


def test_where_a_loop_was_left_is_the_last_line() -> None:
    def run(console: Console) -> None:
        for x in progress(itertools.count(), 1000, console=console):
            if x == 149:
                break

    assert shown(run).splitlines() == ["step 100 of 1000", "step 150 of 1000"]


def test_epochs_of_snapshots_and_their_losses_are_shown() -> None:
    """A resumed run begins where it stood."""
    data = batches((X, Y), 25, key=Key(0))
    kept = list(train(loss, model(), data, optim.sgd(0.1), epochs=3))

    def show(some: list[Snapshot[nn.MLP, None]]) -> list[str]:
        return shown(
            lambda console: list(progress(some, 3, unit="epoch", size=data.per_epoch, console=console))
        ).splitlines()

    assert show(kept) == [f"epoch {i} of 3: loss {kept[2 * i - 1].value:.4g}" for i in (1, 2, 3)]
    assert [line[:12] for line in show(kept[4:])] == ["epoch 2 of 3", "epoch 3 of 3"]
    judged = list(watch(iter(kept), lambda now: -now.step, every=3))
    text = shown(lambda console: list(progress(judged, 6, console=console)))
    assert text.splitlines() == ["step 3 of 6: score -3, best -3", "step 6 of 6: score -6, best -6"]


def test_a_terminal_has_a_bar() -> None:
    text = shown(lambda console: list(progress("abc", 3, console=console, describe=str)), terminal=True)
    assert "3/3" in text
    assert "━" in text


class Output:
    """What stands in for a cell of a notebook."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    def clear_output(self, wait: bool) -> None: ...


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_has_a_bar_or_lines(monkeypatch: pytest.MonkeyPatch, widgets: bool) -> None:
    """Which it is depends on ipywidgets, without which rich shows no bar there."""
    displayed: list[object] = []
    members: dict[str, dict[str, object]] = {
        "IPython": {},
        "IPython.display": {"display": displayed.append},
        "ipywidgets": {"Output": Output},
    }
    for name, names in members.items():
        module = ModuleType(name)
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("fgrad.show.progress.find_spec", lambda name: sys.modules[name] if widgets else None)
    list(progress("abc", 3, console=Console(file=text_io.StringIO(), force_jupyter=True)))
    assert any(isinstance(shown, Output) for shown in displayed) == widgets
    assert widgets or len(displayed) == 3


def test_progress_hands_on_what_it_is_given() -> None:
    items = [object() for _ in range(20)]
    assert list(progress(items, 20, console=Console(quiet=True))) == items


def test_without_rich_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(errors.MissingExtraError, match=r'"fgrad\[show\]"'):
        progress([1, 2])


def test_batches_are_typed() -> None:
    data: Batches[tuple[Floats, Integers]] = batches((X, Y), 5)
    x, y = data[0]
    assert x.dtype == np.dtype("float64")
    assert y.dtype == np.dtype("int64")


def test_a_norm_beyond_the_dtype_is_no_failure() -> None:
    """Its gradient is finite."""

    def product(p: Floats, x: Floats) -> float:
        return np.sum(p * x)

    batch = [np.full(2, 2e38, np.float32)]
    (now,) = train(product, np.zeros(2, np.float32), batch, optim.sgd(1e-30))  # type: ignore[arg-type]  # of float32
    assert np.isfinite(now.params).all()


def test_what_is_given_is_copied_at_once() -> None:
    def distance(p: Floats, x: Floats) -> float:
        return np.sum((p - x) ** 2)

    start = np.zeros(2)
    run = train(distance, start, [np.ones(2)], optim.sgd(0.1))
    start[:] = 100.0
    np.testing.assert_allclose(next(run).params, 0.2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda run, path: watch(run, lambda now: now.value, every=0),
        lambda run, path: saving(run, path, every=0),
    ],
)
def test_every_is_positive(wrong: Callable[..., Iterator[object]], tmp_path: Path) -> None:
    with pytest.raises(errors.ArgumentError, match="every=0"):
        next(wrong(iter([]), tmp_path / "run"))
