"""The command line: it learns, it repeats itself to the byte, and it says in one line what is wrong."""

import csv
import io as streams
import itertools
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from matplotlib.figure import Figure

from fgrad import cli, io, nn, table, tree
from fgrad.cli import training
from fgrad.cli.options import OPTIMIZERS, SCHEDULES
from fgrad.ops.reducing import softmax
from fgrad.random import Key
from fgrad.show import plot
from fgrad.train import train

ROWS = "a,b,y\n" + "".join(f"{i % 7},{i * i % 11},{'pq'[i % 7 > 3]}\n" for i in range(40))
NUMBERS = "a,b,y\n" + "".join(f"{1e6 + i % 7},{i * i % 11 / 1e6},{3 * (i % 7) - i * i % 11 + 0.5}\n" for i in range(60))


def status(*words: str | Path) -> int:
    """The exit status of `fgrad words…`."""
    try:
        return cli.main([*map(str, words)])
    except SystemExit as end:
        return cast("int", end.code)


def run(*words: str | Path) -> int:
    """The exit status of `fgrad train words…`, with a small network for files."""
    small = ["--hidden", "4"] if str(words[0]).endswith(".csv") and "--hidden" not in words else []
    return status("train", *words, *small)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def csv_file(tmp_path: Path, content: str = ROWS) -> Path:
    file = tmp_path / "data.csv"
    file.write_text(content)
    return file


def saved_network(out: Path) -> nn.MLP:
    about = io.read_metadata(out / "params.safetensors")
    sizes, activation = cast("list[int]", about["sizes"]), cast("nn.Activation", about["activation"])
    return io.load(out / "params.safetensors", nn.MLP.init(Key(0), sizes, activation=activation))


@pytest.mark.parametrize(
    ("name", "least"), [("moons", 100.0), ("digits", 97.0), ("iris", 93.0), ("breast-cancer", 95.0)]
)
def test_the_defaults_learn(name: str, least: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--out", tmp_path) == 0
    said = capsys.readouterr()
    assert said.err == ""
    accuracy = next(line for line in said.out.splitlines() if line.startswith("held-out accuracy"))
    assert float(accuracy.split()[2].rstrip("%")) >= least
    pictures = {"loss.png"} | ({"boundary.png"} if name == "moons" else set())
    assert contents(tmp_path).keys() == pictures | {"params.safetensors"}
    for picture in pictures:
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG\r\n")
    if name != "moons":  # which follow from the seed
        data = table.DEMOS[name](0)
        assert (saved_network(tmp_path)(data.x).argmax(axis=-1) == data.y).mean() > 0.9  # on features as they are


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(optimizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--optimizer", optimizer, "--weight-decay", "1e-3", "--schedule", "constant", "--hidden", "32,32"]
    assert run("iris", *words, "--out", tmp_path) == 0
    accuracy = re.search(r"accuracy (\S+)%", capsys.readouterr().out)
    assert accuracy is not None
    assert float(accuracy[1]) > 85


def test_every_schedule_is_its_own(tmp_path: Path) -> None:
    file = csv_file(tmp_path)
    for name in SCHEDULES:
        assert run(file, "--target", "y", "--epochs", "20", "--schedule", name, "--out", tmp_path / name) == 0
    assert len({(tmp_path / name / "params.safetensors").read_bytes() for name in SCHEDULES}) == len(SCHEDULES)


def test_weights_decay(tmp_path: Path) -> None:
    def size(*words: str) -> float:
        assert run(csv_file(tmp_path), "--target", "y", "--batch", "4", *words, "--out", tmp_path / "out") == 0
        return float(np.square(saved_network(tmp_path / "out").layers[1].w).sum())

    for optimizer in ("adam", "adamw"):
        assert size("--optimizer", optimizer, "--weight-decay", "1") < 0.7 * size("--optimizer", optimizer)


def test_of_each_class_the_same_share_is_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "page.html"
    assert run("iris", "--epochs", "1", "--held-out", "0.3", "--out", tmp_path, "--report", report) == 0
    rows = re.findall(r'<tr><th scope="row">[a-z]+</th>((?:<td[^>]*>\d+</td>)+)</tr>', report.read_text())
    counts = [[int(n) for n in re.findall(r">(\d+)<", row)] for row in rows]
    assert [sum(row[:3]) for row in counts if len(row) == 4] == [15, 15, 15]


def test_a_number_is_learnt_in_its_own_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["--target", "y", "--hidden", "16,16", "--batch", "12", "--epochs", "200"]
    assert run(csv_file(tmp_path, NUMBERS), *words, "--out", out) == 0
    error, mean = map(float, re.findall(r"error (\S+) \(predicting the mean: (\S+)\)", capsys.readouterr().out)[0])
    assert error < 0.1 * mean
    data = table.read(tmp_path / "data.csv", "y")
    residual = saved_network(out)(data.x)[:, 0] - data.y
    assert np.sqrt(np.mean(residual**2)) < 0.1 * mean
    about = io.read_metadata(out / "params.safetensors")
    assert (about["task"], about["features"], about["target"]) == ("regression", ["a", "b"], "y")


def test_metadata_name_what_the_numbers_mean(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(csv_file(tmp_path), "--target", "y", "--out", out, "--epochs", "1", "--hidden", "5", "--activation", "relu")
    about = io.read_metadata(out / "params.safetensors")
    assert (about["sizes"], about["activation"], about["classes"]) == ([2, 5, 2], "relu", ["p", "q"])
    for name in ("means", "scales"):
        assert len(cast("list[float]", about[name])) == 2


@pytest.mark.parametrize("batch", [[], ["--batch", "7"]])
def test_everything_follows_from_the_seed(tmp_path: Path, batch: list[str]) -> None:
    file, short = csv_file(tmp_path), ["--target", "y", "--epochs", "3", *batch]
    for seed, name in itertools.product("01", "ab"):
        assert run(file, *short, "--seed", seed, "--out", tmp_path / (name + seed)) == 0
    params = {name: (tmp_path / name / "params.safetensors").read_bytes() for name in ("a0", "b0", "a1", "b1")}
    assert params["a0"] == params["b0"]
    assert params["a1"] == params["b1"]
    assert params["a0"] != params["a1"]


def test_a_process_of_its_own_gives_the_same_bytes_and_a_plain_log(tmp_path: Path) -> None:
    words = [str(csv_file(tmp_path)), "--target", "y", "--epochs", "20", "--out"]
    command = [sys.executable, "-m", "fgrad", "train", *words, str(tmp_path / "there")]
    with (tmp_path / "log").open("wb") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    assert cli.main(["train", *words, str(tmp_path / "here")]) == 0
    here, there = (tmp_path / place / "params.safetensors" for place in ("here", "there"))
    assert here.read_bytes() == there.read_bytes()
    text = (tmp_path / "log").read_text()
    assert "epoch 20 of 20: loss" in text
    assert all(character.isprintable() or character == "\n" for character in text)


def test_a_bar_is_shown_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert run(csv_file(tmp_path), "--target", "y", "--epochs", "3", "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "3/3" in said
    assert "epoch 3 of 3" not in said


def test_a_picture_of_an_earlier_run_does_not_stay_beside_other_parameters(tmp_path: Path) -> None:
    two, three = csv_file(tmp_path), tmp_path / "three.csv"
    three.write_text("a,b,c,y\n" + "".join(f"{i},{i % 3},{i % 5},{i % 2}\n" for i in range(20)))
    out = tmp_path / "out"
    assert run(two, "--target", "y", "--epochs", "1", "--out", out) == 0
    (out / "mine.txt").write_text("kept")
    assert run(three, "--target", "y", "--epochs", "1", "--out", out) == 0
    assert {path.name for path in out.iterdir()} == {"params.safetensors", "loss.png", "mine.txt"}


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        (None, ["--target", "y"], "FILE: there is no such file (without a file: moons, digits, iris, breast-cancer)"),
        (ROWS, [], "FILE: which column is to be learnt? Say --target NAME"),
        (ROWS, ["--target", "z"], 'FILE:1: there is no column "z"; there are "a", "b", "y"'),
        (ROWS.replace("3,", "3,3,", 1), ["--target", "y"], "FILE:5: 4 cells, but the header has 3"),
        (ROWS.replace("\n3,", "\nabc,", 1), ["--target", "y"], "FILE:5: column \"a\": 'abc' is not a number"),
        (ROWS.replace("\n3,", "\nnan,", 1), ["--target", "y"], "FILE:5: column \"a\": 'nan' is not a finite number"),
        ("", ["--target", "y"], "FILE: the file is empty"),
        ("a,y\n", ["--target", "y"], "FILE: there is no row below the header"),
        ("a,a,y\n1,2,3\n", ["--target", "y"], 'FILE:1: column "a": the name appears twice'),
        ('"a\nb",y\nx,1\n', ["--target", "y"], "FILE:3: column \"a b\": 'x' is not a number"),
        ("a,y\n1,p\n2,q\n3,p\n4,q\n", ["--target", "y"], "FILE: 4 rows are too few, at least 5 are needed"),
        (ROWS.replace("p", "q"), ["--target", "y"], "FILE: column \"y\": every row holds 'q': nothing to learn"),
        (ROWS, ["--target", "y", "--task", "regression"], "FILE:2: column \"y\": 'p' is not a number"),
        (
            NUMBERS.replace("1000006.0", "1e200"),
            ["--target", "y"],
            'FILE: column "a": the numbers are too large to be squared',
        ),
        (ROWS, ["--target", "y", "--rate", "-1"], "argument --rate: '-1' is not a positive number"),
        (ROWS, ["--target", "y", "--rate", "nan"], "argument --rate: 'nan' is not a positive number"),
        (ROWS, ["--target", "y", "--epochs", "0"], "argument --epochs: '0' is not a positive integer"),
        (ROWS, ["--target", "y", "--batch", "half"], "argument --batch: 'half' is not a positive integer"),
        (ROWS, ["--target", "y", "--seed", "-1"], "argument --seed: '-1' is not an integer from 0"),
        (ROWS, ["--target", "y", "--held-out", "1"], "argument --held-out: '1' is not a number between 0 and 1"),
        (ROWS, ["--target", "y", "--hidden", "16,x"], "argument --hidden: '16,x' is not a list of positive integers"),
        (ROWS, ["--target", "y", "--hidden", "16,0"], "argument --hidden: '16,0' is not a list of positive integers"),
        (ROWS, ["--target", "y", "--activation", "step"], "argument --activation: invalid choice: 'step'"),
        (ROWS, ["--target", "y", "--optimizer", "sdg"], "argument --optimizer: invalid choice: 'sdg'"),
        (ROWS, ["--target", "y", "--schedule", "step"], "argument --schedule: invalid choice: 'step'"),
        (ROWS, ["--target", "y", "--weight-decay", "-1"], "argument --weight-decay: '-1' is not a number from 0"),
        (ROWS, ["--target", "y", "--checkpoint", "inf"], "argument --checkpoint: 'inf' is not a number from 0"),
        (ROWS, ["--target", "y", "--speed", "3"], "unrecognized arguments: --speed 3"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    content: str | None, words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "data.csv"
    if content is not None:
        csv_file(tmp_path, content)
    assert run(file, *words, "--out", tmp_path / "out") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"fgrad: {message.replace('FILE', str(file))}")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [[], ["train"], ["predict"], ["predict", "model"], ["play"]])
def test_an_unfinished_command_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_data_set_has_its_own_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("moons", "--target", "y", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err == 'fgrad: moons: the target is "moon", not "y"\n'


@pytest.mark.parametrize("place", ["taken", "taken/below", "out"])
def test_a_folder_that_cannot_be_is_found_out_first(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "out" / "loss.png").mkdir(parents=True)
    assert run(csv_file(tmp_path), "--target", "y", "--out", tmp_path / place) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"fgrad: {tmp_path / place.split('/')[0]}")
    assert said.err.count("\n") == 1
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("package", ["rich.progress", "matplotlib.figure", "safetensors.numpy", "sklearn.datasets"])
def test_a_missing_extra_is_found_out_first(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert run("moons", "--out", tmp_path / "out") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert 'pip install "fgrad[' in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("epochs", ["1", "500"])
def test_a_loss_that_runs_away_fails_in_one_line(
    epochs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--target", "y", "--optimizer", "sgd", "--rate", "1e200", "--epochs", epochs, "--batch", "64"]
    assert run(csv_file(tmp_path, NUMBERS), *words, "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert re.search(
        f"the loss became infinite or nan in epoch [12]: try a --rate lower than {re.escape('1e+200')}", said
    )
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    assert run(csv_file(tmp_path), "--target", "y", "--epochs", "1", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err == f"fgrad: {tmp_path / 'out'}: No space left on device\n"
    assert list((tmp_path / "out").iterdir()) == []


def interrupting(after: int) -> Callable[..., Iterator[Any]]:
    """Training that Ctrl-C stops after some steps."""

    def descend(*inputs: Any, **options: Any) -> Iterator[Any]:
        for now in whole(*inputs, **options):
            if now.step > after:
                raise KeyboardInterrupt
            yield now

    whole = train
    return descend


def test_a_run_interrupted_in_its_first_epoch_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "descend", interrupting(0))
    assert run(csv_file(tmp_path), "--target", "y", "--out", tmp_path / "out") == 130
    assert capsys.readouterr().err == "fgrad: interrupted\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ROWS, ["--optimizer", "adam", "--schedule", "warmup-cosine"]),
        (ROWS, ["--optimizer", "lion", "--schedule", "constant"]),
        (NUMBERS, ["--optimizer", "momentum", "--schedule", "linear", "--weight-decay", "0.01"]),
    ],
)
def test_a_resumed_run_gives_the_bytes_of_one_that_was_not_interrupted(
    content: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    words = [str(csv_file(tmp_path, content)), "--target", "y", "--epochs", "7", "--batch", "5", *words]
    assert run(*words, "--out", there, "--report", there / "page.html") == 0
    resumed = [*words, "--out", str(here), "--report", str(here / "page.html")]
    for after in (18, 31):  # steps; an epoch has 7 or 10
        with monkeypatch.context() as patch:
            patch.setattr(training, "descend", interrupting(after))
            assert run(*resumed, *["--resume"] * (after > 18)) == 130
        assert contents(here).keys() == {"checkpoint.safetensors"}
        assert "of 7; the same command with --resume goes on from there\n" in capsys.readouterr().err
    assert run(*resumed, "--resume") == 0
    assert "resumed after epoch" in capsys.readouterr().out
    assert contents(here) == contents(there)


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed in another way there")
def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    words = ["train", str(csv_file(tmp_path)), "--target", "y", "--epochs", "60", "--batch", "4", "--checkpoint", "0"]
    words += ["--hidden", "4"]
    here, checkpoint = tmp_path / "here", tmp_path / "here" / "checkpoint.safetensors"
    with subprocess.Popen(
        [sys.executable, "-m", "fgrad", *words, "--out", str(here)], stdout=subprocess.DEVNULL
    ) as run:
        while not checkpoint.exists():
            assert run.poll() is None
            time.sleep(0.01)
        run.kill()
    assert "params.safetensors" not in contents(here)
    for words_of_one in ([*words, "--out", str(here), "--resume"], [*words, "--out", str(tmp_path / "there")]):
        assert cli.main(words_of_one) == 0
    assert contents(here) == contents(tmp_path / "there")


@pytest.mark.parametrize(
    ("content", "words", "problem"),
    [
        (ROWS, ["--epochs", "8"], "other --epochs 7, not 8"),
        (ROWS, ["--epochs", "7", "--rate", "0.5"], "other --rate 0.005, not 0.5"),
        (ROWS, ["--epochs", "7", "--seed", "1"], "other --seed 0, not 1"),
        (ROWS.replace("\n3,", "\n3.5,", 1), ["--epochs", "7"], "other data"),
        (ROWS.replace("a,b,", "b,a,", 1), ["--epochs", "7"], "other data"),
    ],
)
def test_another_run_is_not_resumed(
    content: str,
    words: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = ["--target", "y", "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(training, "descend", interrupting(3))
        assert run(csv_file(tmp_path), "--epochs", "7", *out) == 130
    before = contents(tmp_path / "out")
    capsys.readouterr()
    assert run(csv_file(tmp_path, content), *words, *out, "--resume") == 2
    said = capsys.readouterr()
    path = tmp_path / "out" / "checkpoint.safetensors"
    assert said.out == ""
    assert said.err == f"fgrad: {path}: the interrupted run had {problem}; to begin anew, leave out --resume\n"
    assert contents(tmp_path / "out") == before


def test_a_checkpoint_or_none_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(csv_file(tmp_path)), "--target", "y", "--epochs", "3", "--out", str(tmp_path / "out")]
    assert run(*words, "--resume") == 0
    assert "there is no checkpoint to resume: the run begins anew" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(training, "descend", interrupting(2))
        assert run(*words) == 130
    assert run(*words) == 0
    assert "an earlier run was interrupted: this one begins anew, --resume would go on" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent in another way there")
def test_ctrl_c_ends_a_process_cleanly(tmp_path: Path) -> None:
    words = ["train", str(csv_file(tmp_path)), "--target", "y", "--epochs", "1000000", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "fgrad", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # training begins
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint.startswith(b"fgrad: interrupted")
    assert complaint.count(b"\n") == 1
    assert not (tmp_path / "out").exists() or contents(tmp_path / "out").keys() == {"checkpoint.safetensors"}


# --- predicting -------------------------------------------------------------------------------------------------------
def trained(tmp_path: Path, content: str = ROWS) -> tuple[Path, nn.MLP]:
    """A folder in which a small network was saved, and the network."""
    out = tmp_path / "out"
    assert run(csv_file(tmp_path, content), "--target", "y", "--epochs", "20", "--out", out) == 0
    return out, saved_network(out)


def untrained(tmp_path: Path, **changes: object) -> Path:
    """A network that was saved, and in whose metadata there may be something wrong."""
    about = {"sizes": [2, 5, 5, 1], "activation": "relu", "features": ["a", "b"], "target": "y", "classes": []}
    model = tree.map(lambda x: 100 * x, nn.MLP.init(Key(0), [2, 5, 5, 1], activation="relu"))
    io.save(tmp_path / "model", model, {**about, **changes})
    return tmp_path / "model"


def read_back(text: str) -> tuple[list[str], list[list[str]]]:
    header, *rows = csv.reader(streams.StringIO(text))
    return header, rows


def test_predictions_are_the_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, model = trained(tmp_path)
    data = table.read(tmp_path / "data.csv", "y")
    capsys.readouterr()
    assert status("predict", out, tmp_path / "data.csv") == 0
    said = capsys.readouterr()
    header, rows = read_back(said.out)
    expected = softmax(model(data.x))
    assert header == ["y", "p(p)", "p(q)"]
    np.testing.assert_array_equal([[float(cell) for cell in row[1:]] for row in rows], expected)
    assert [row[0] for row in rows] == [data.classes[i] for i in expected.argmax(axis=-1)]
    right = int((expected.argmax(axis=-1) == data.y).sum())
    assert said.err == f"accuracy {right / 40:.1%} ({right} of 40)\n"


def test_numbers_are_predicted_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, model = trained(tmp_path, NUMBERS)
    data = table.read(tmp_path / "data.csv", "y")
    capsys.readouterr()
    written = tmp_path / "new" / "said.csv"
    assert status("predict", out / "params.safetensors", tmp_path / "data.csv", "--out", written) == 0
    header, rows = read_back(written.read_text("utf-8"))
    assert header == ["y"]
    np.testing.assert_array_equal(np.array(rows, dtype=float), model(data.x))
    said = capsys.readouterr()
    rms = np.sqrt(np.mean((model(data.x)[:, 0] - data.y) ** 2))
    assert (said.out, said.err) == ("", f"root-mean-square error {rms:.4g} (60 rows)\n")


def test_columns_are_found_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = trained(tmp_path)
    capsys.readouterr()
    new = tmp_path / "new.csv"
    new.write_text("a,b\n1,2\n5,4\n")
    assert status("predict", out, new) == 0
    plain = capsys.readouterr()
    assert plain.err == ""
    new.write_text("note,,b,y,a\nfirst,,2,,1\nsecond,x,4,other,5\n")
    assert status("predict", out, new) == 0
    said = capsys.readouterr()
    assert said.out == plain.out
    assert said.err == "accuracy 0.0% (0 of 1)\n"  # an empty target is not judged, and one never seen is a mistake


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a,y\n1,p\n", ':1: there is no column "b"; there are "a", "y"'),
        ("a,b,b\n1,2,3\n", ':1: column "b": the name appears twice'),
        ("b,a\n1,2\n1,x\n", ":3: column \"a\": 'x' is not a number"),
        ("b,a\n1,2\n1\n", ":3: 1 cells, but the header has 2"),
        ("b,a\n1,1e999\n", ":2: column \"a\": '1e999' is not a finite number"),
        ("b,a\n1,1\n\n1e308,1e308\n", ":4: the numbers are too large for the network"),
        ("b,a,y\n1,1,p\n", ":2: column \"y\": 'p' is not a number"),
        ("b,a\n", ": there is no row below the header"),
        ("", ": the file is empty"),
        (None, ": No such file or directory"),
    ],
)
def test_a_bad_table_is_one_line(
    content: str | None, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.csv"
    if content is not None:
        new.write_text(content)
    assert status("predict", untrained(tmp_path), new, "--out", tmp_path / "said.csv") == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"fgrad: {new}{problem}\n")
    assert not (tmp_path / "said.csv").exists()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sizes": [2, 64]}, "is no network that `fgrad train` has saved"),
        ({"sizes": [2, True, 1]}, "is no network that `fgrad train` has saved"),
        ({"sizes": "2,1"}, "is no network that `fgrad train` has saved"),
        ({"sizes": [2, 10**12, 1]}, "the file is too small for a network of the sizes [2, 1000000000000, 1]"),
        ({"sizes": [2, 5, 1]}, "params.layers[2] is in the file"),
        ({"activation": "step"}, "is no network that `fgrad train` has saved"),
        ({"activation": ["tanh"]}, "is no network that `fgrad train` has saved"),
        ({"features": ["a", 1]}, "is no network that `fgrad train` has saved"),
        ({"features": ["a"]}, "is no network that `fgrad train` has saved"),
        ({"classes": ["p", "q"]}, "is no network that `fgrad train` has saved"),
        ({"target": None}, "is no network that `fgrad train` has saved"),
    ],
)
def test_a_file_that_is_no_network_is_one_line(
    changes: dict[str, object], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = csv_file(tmp_path, NUMBERS)
    assert status("predict", untrained(tmp_path), data, "--out", tmp_path / "said") == 0
    capsys.readouterr()
    assert status("predict", untrained(tmp_path, **changes), data) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"fgrad: {tmp_path / 'model'}: ")
    assert problem in said.err
    assert said.err.count("\n") == 1


def test_what_is_no_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = csv_file(tmp_path)
    for model in (data, tmp_path / "none", tmp_path):
        assert status("predict", model, data) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert said.err.startswith(f"fgrad: {model}")


# --- words and pictures -----------------------------------------------------------------------------------------------
def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    said = capsys.readouterr().out
    options = (
        "--target --hidden --activation --optimizer --rate --schedule --weight-decay --batch --epochs --seed --out"
    )
    for word in (*options.split(), "--report", "--resume", "--checkpoint", *table.DEMOS):
        assert word in said


@pytest.mark.parametrize("content", [ROWS, NUMBERS])
def test_names_are_drawn_as_they_are(content: str, tmp_path: Path) -> None:
    file = csv_file(tmp_path, content.replace("a,b,y", "$x_$ 漢,_b,_$y$").replace("p\n", "_$\\frac$\n"))
    assert run(file, "--target", "_$y$", "--epochs", "1", "--out", tmp_path / "out") == 0


@pytest.mark.parametrize(("losses", "scale"), [([1.0, 0.5], "log"), ([1.0, 0.0], "linear")])
def test_losses_of_zero_are_drawn_on_a_linear_scale(losses: list[float], scale: str) -> None:
    ax = plot.curve(Figure().add_subplot(), {"training": losses})
    assert ax.get_yscale() == scale


def test_a_constant_column_does_not_matter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However large it is."""
    verdicts = set()
    for constant in ("1", "1700000000000000000"):
        lines = ROWS.splitlines()
        wide = [f"c,{lines[0]}", *[f"{constant},{line}" for line in lines[1:]]]
        assert run(csv_file(tmp_path, "\n".join(wide)), "--target", "y", "--epochs", "20", "--out", tmp_path / "o") == 0
        verdicts.add(next(x for x in capsys.readouterr().out.splitlines() if x.startswith("held-out")))
    assert len(verdicts) == 1


def test_the_data_are_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = csv_file(tmp_path)
    assert run(data, "--target", "y", "--report", data, "--out", tmp_path / "out") == 2
    assert "is the data, which would be overwritten" in capsys.readouterr().err
    assert run(data, "--target", "y", "--epochs", "1", "--out", tmp_path / "out") == 0
    assert status("predict", tmp_path / "out", data, "--out", data) == 2
    assert data.read_text() == ROWS
