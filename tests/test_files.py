"""Files in place: whole or not at all, whatever ends the process, and nothing left behind for ever."""

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fgrad.files import replace_files

fcntl = pytest.importorskip("fcntl", reason="drafts are cleared away where there are locks")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def a_draft_of_a_killed_process(folder: Path) -> Path:
    """What is left of a process that was killed by itself between writing and moving."""
    code = (
        "import os, pathlib, signal, sys\n"
        "from fgrad.files import replace_files\n"
        "os.replace = pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "replace_files({pathlib.Path(sys.argv[1]): b'half'})"
    )
    before = set(folder.iterdir())
    done = subprocess.run([sys.executable, "-c", code, str(folder / "m")])
    assert done.returncode == -9
    (draft,) = set(folder.iterdir()) - before
    return draft


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"old")
    draft = a_draft_of_a_killed_process(tmp_path)
    assert (tmp_path / "m").read_bytes() == b"old"
    assert draft.read_bytes() == b"half"


def test_what_killed_processes_left_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    """By one that writes another file too; what is no draft stays."""
    (tmp_path / ".fgrad-notes").write_bytes(b"mine")
    a_draft_of_a_killed_process(tmp_path)
    a_draft_of_a_killed_process(tmp_path)
    replace_files({tmp_path / "other": b"new"})
    assert names(tmp_path) == {".fgrad-notes", "other"}


def test_the_draft_of_a_living_process_stays(tmp_path: Path) -> None:
    draft = tmp_path / ".fgrad-0123456789abcdef.tmp"
    with draft.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        replace_files({tmp_path / "m": b"new"})
        assert names(tmp_path) == {"m", draft.name}
    replace_files({tmp_path / "m": b"newer"})
    assert names(tmp_path) == {"m"}


def test_a_draft_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"kept")
    (tmp_path / ".fgrad-0.tmp").symlink_to(tmp_path / "precious")
    replace_files({tmp_path / "m": b"new"})
    assert (tmp_path / "precious").read_bytes() == b"kept"


def write_many(path: Path, letter: bytes) -> None:
    for _ in range(50):
        replace_files({path: letter * 10_000})


@pytest.mark.parametrize("worker", [threading.Thread, multiprocessing.get_context("spawn").Process])
def test_writers_at_once_clear_nobody_else_away(tmp_path: Path, worker: type[threading.Thread]) -> None:
    path = tmp_path / "m"
    workers = [worker(target=write_many, args=(path, letter)) for letter in (b"a", b"b", b"c")]
    for each in workers:
        each.start()
    while any(each.is_alive() for each in workers):
        if path.exists():
            data = path.read_bytes()
            assert len(data) == 10_000
            assert len(set(data)) == 1
    for each in workers:
        each.join()
        assert getattr(each, "exitcode", 0) == 0
    assert names(tmp_path) == {"m"}


def test_several_files_go_together(tmp_path: Path) -> None:
    """If one cannot be written, none is."""
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        replace_files({tmp_path / "a": b"new", tmp_path / "none" / "b": b"new"})
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == {"a"}


def test_a_new_file_has_the_rights_that_the_user_gives_new_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        replace_files({tmp_path / "m": b"new"})
    finally:
        os.umask(before)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o640


def test_without_locks_files_are_whole_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fgrad.files.fcntl", None)
    replace_files({tmp_path / "m": b"old"})
    replace_files({tmp_path / "m": b"new"})
    assert (tmp_path / "m").read_bytes() == b"new"
    assert names(tmp_path) == {"m"}


def test_a_file_system_without_locks_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / ".fgrad-0.tmp").write_bytes(b"whose?")
    replace_files({tmp_path / "m": b"new"})
    assert names(tmp_path) == {"m", ".fgrad-0.tmp"}
