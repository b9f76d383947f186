"""The command line: it learns, it repeats itself to the byte, and it says in one line what is wrong."""

import itertools
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from matplotlib.figure import Figure

from fgrad import cli, io, nn, optim, table
from fgrad.random import Key
from fgrad.show import plot

ROWS = "a,b,y\n" + "".join(f"{i % 7},{i * i % 11},{'pq'[i % 7 > 3]}\n" for i in range(40))
NUMBERS = "a,b,y\n" + "".join(f"{1e6 + i % 7},{i * i % 11 / 1e6},{3 * (i % 7) - i * i % 11 + 0.5}\n" for i in range(60))


def run(*words: str | Path) -> int:
    """The exit status of `fgrad train words…`."""
    try:
        return cli.main(["train", *map(str, words)])
    except SystemExit as end:
        return cast("int", end.code)


def csv_file(tmp_path: Path, content: str = ROWS) -> Path:
    file = tmp_path / "data.csv"
    file.write_text(content)
    return file


def saved_network(out: Path) -> nn.MLP:
    about = io.read_metadata(out / "params.safetensors")
    sizes, activation = cast("list[int]", about["sizes"]), cast("nn.Activation", about["activation"])
    return io.load(out / "params.safetensors", nn.MLP.init(Key(0), sizes, activation=activation))


@pytest.mark.parametrize(("name", "least"), [("moons", 97.0), ("iris", 93.0)])
def test_the_defaults_learn(name: str, least: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--out", tmp_path) == 0
    said = capsys.readouterr()
    assert said.err == ""
    accuracy = next(line for line in said.out.splitlines() if line.startswith("held-out accuracy"))
    assert float(accuracy.split()[2].rstrip("%")) >= least
    pictures = {"loss.png"} | ({"boundary.png"} if name == "moons" else set())
    assert {path.name for path in tmp_path.iterdir()} == pictures | {"params.safetensors"}
    for picture in pictures:
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG\r\n")
    data = table.DEMOS[name](0)
    assert (saved_network(tmp_path)(data.x).argmax(axis=-1) == data.y).mean() > 0.9  # on features as they are


def test_a_number_is_learnt_in_its_own_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(csv_file(tmp_path, NUMBERS), "--target", "y", "--out", out, "--batch", "12", "--epochs", "200") == 0
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
    run(*words, tmp_path / "here")
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
        (None, ["--target", "y"], "FILE: there is no such file (without a file: moons or iris)"),
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


@pytest.mark.parametrize("words", [[], ["train"], ["play"]])
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
    words = ["--target", "y", "--rate", "1e200", "--epochs", epochs, "--out", str(tmp_path / "out")]
    assert run(csv_file(tmp_path, NUMBERS), *words) == 1
    said = capsys.readouterr().err
    assert "in epoch" in said
    assert "try a --rate lower than 1e+200" in said
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


def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(optim, "sgd_step", interrupt)
    assert run(csv_file(tmp_path), "--target", "y", "--out", tmp_path / "out") == 130
    assert capsys.readouterr().err == "fgrad: interrupted\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent in another way there")
def test_ctrl_c_ends_a_process_cleanly(tmp_path: Path) -> None:
    words = ["train", str(csv_file(tmp_path)), "--target", "y", "--epochs", "1000000", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "fgrad", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # training begins
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (130, b"fgrad: interrupted\n")
    assert not (tmp_path / "out").exists()


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    said = capsys.readouterr().out
    for option in ("--target", "--hidden", "--epochs", "--rate", "--activation", "--seed", "--batch", "--out", "moons"):
        assert option in said


@pytest.mark.parametrize("content", [ROWS, NUMBERS])
def test_names_are_drawn_as_they_are(content: str, tmp_path: Path) -> None:
    file = csv_file(tmp_path, content.replace("a,b,y", "$x_$ 漢,_b,_$y$").replace("p\n", "_$\\frac$\n"))
    assert run(file, "--target", "_$y$", "--epochs", "1", "--out", tmp_path / "out") == 0


@pytest.mark.parametrize(("losses", "scale"), [([1.0, 0.5], "log"), ([1.0, 0.0], "linear")])
def test_losses_of_zero_are_drawn_on_a_linear_scale(losses: list[float], scale: str) -> None:
    ax = plot.curve(Figure().add_subplot(), {"training": losses})
    assert ax.get_yscale() == scale
