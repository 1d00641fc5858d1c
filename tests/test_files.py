from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from toprovar import files
from toprovar.files import add_calibration_folder, calibration_folders, replace_file

posix = pytest.mark.skipif(os.name == "nt", reason="files of POSIX")


def rights(path: Path) -> int:
    return path.stat().st_mode & 0o777


@posix
@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_rights_that_the_umask_leaves(tmp_path: Path, mask: int, expected: int
                                                         ) -> None:
    before = os.umask(mask)
    try:
        replace_file(tmp_path / "a.json", b"1")
    finally:
        os.umask(before)
    assert rights(tmp_path / "a.json") == expected and os.listdir(tmp_path) == ["a.json"]


@posix
def test_a_replaced_file_keeps_its_rights_and_a_link_is_followed(tmp_path: Path) -> None:
    file, link = tmp_path / "a", tmp_path / "link"
    file.write_bytes(b"old")
    file.chmod(0o640)
    link.symlink_to("a")
    replace_file(link, b"new")
    assert link.is_symlink() and file.read_bytes() == b"new" and rights(file) == 0o640


@posix
def test_what_is_no_regular_file_is_written_to(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    replace_file(pipe, b"through")
    reader.join(60)
    assert read == [b"through"] and pipe.is_fifo()
    device = os.stat("/dev/null").st_rdev
    replace_file("/dev/null", b"gone")
    assert os.stat("/dev/null").st_rdev == device
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path, b"x")


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(TypeError):
        replace_file(tmp_path / "a", "no bytes")  # type: ignore[arg-type]  # on purpose
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"


ENDED = """
import os, signal, sys
from toprovar.cli import signals
try:
    with signals.terminable():
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
except signals.Terminated as error:
    sys.exit(error.number)
"""


@posix
@pytest.mark.parametrize(("name", "number"), [("SIGTERM", 15), ("SIGHUP", 1)])
def test_signals_end_a_command_in_order(name: str, number: int) -> None:
    assert subprocess.run([sys.executable, "-c", ENDED, name]).returncode == number


def test_added_folders_of_calibrations_come_last_and_once(monkeypatch: pytest.MonkeyPatch,
                                                          tmp_path: Path) -> None:
    monkeypatch.setattr(files, "_ADDED", [])
    monkeypatch.setenv("TOPROVAR_CACHE", str(tmp_path))
    before = calibration_folders()
    assert before[1:] == (tmp_path / "calibrations",)
    for name in ("b", "a", "b"):
        add_calibration_folder(str(tmp_path / name))
    assert calibration_folders() == (*before, tmp_path / "b", tmp_path / "a")
