"""Conversions that meet at one destination, and those that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.checkpoints.official_format import official_state
from tests.checkpoints.refusal import save
from toprovar.checkpoints import CheckpointError, convert, load_transformer
from toprovar.checkpoints.staging_room import LOCK

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("source") / "t.pth", official_state())


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


@pytest.mark.parametrize("name", ["pipe", "t.safetensors"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_the_second_of_two_conversions_is_refused(source: Path, tmp_path: Path, name: str,
                                                  overwrite: bool) -> None:
    errors: list[str] = []

    def second(done: int, total: int) -> None:
        if not errors:
            with pytest.raises(CheckpointError) as caught:
                convert([source], tmp_path / name, overwrite=overwrite)
            errors.append(str(caught.value))

    convert([source], tmp_path / name, overwrite=overwrite, progress=second)
    assert str(tmp_path / name) in errors[0] and "another conversion is writing there" in errors[0]
    assert names(tmp_path) == {name}
    assert load_transformer(tmp_path / name).shape.depth == 4


def test_many_at_once_one_succeeds(source: Path, tmp_path: Path) -> None:
    outcomes: list[str] = []
    together = threading.Barrier(6)

    def work() -> None:
        together.wait()
        try:
            convert([source], tmp_path / "pipe")
            outcomes.append("done")
        except CheckpointError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes.count("done") == 1
    assert all("another conversion" in o or "exists already" in o or "meanwhile" in o
               for o in outcomes if o != "done")
    assert names(tmp_path) == {"pipe"}


@pytest.mark.parametrize("name", ["pipe", "t.safetensors"])
def test_what_another_program_makes_meanwhile_is_not_replaced(source: Path, tmp_path: Path,
                                                              name: str) -> None:
    def other(done: int, total: int) -> None:
        place = tmp_path / name
        if name == "pipe":
            place.mkdir(exist_ok=True)
            place /= "mine.txt"
        place.write_text("mine")

    with pytest.raises(CheckpointError, match="made by another program meanwhile"):
        convert([source], tmp_path / name, progress=other)
    left = tmp_path / name / "mine.txt" if name == "pipe" else tmp_path / name
    assert names(tmp_path) == {name} and left.read_text() == "mine"


KILLED = """
import os, signal, sys
from toprovar.checkpoints import convert
def progress(done, total):
    os.kill(os.getpid(), signal.SIGKILL)
convert([sys.argv[1]], sys.argv[2], progress=progress)
"""


@posix
def test_what_a_killed_conversion_left_is_cleared_by_the_next(source: Path, tmp_path: Path
                                                              ) -> None:
    for name in ("pipe", "other"):
        run = subprocess.run([sys.executable, "-c", KILLED, str(source), str(tmp_path / name)])
        assert run.returncode == -signal.SIGKILL
    (tmp_path / ".mine.partial").mkdir()  # nothing says that a conversion made it
    assert names(tmp_path) == {".other.partial", ".mine.partial"}  # the second cleared the first's
    assert names(tmp_path / ".other.partial") == {"new", LOCK}
    convert([source], tmp_path / "pipe")
    assert names(tmp_path) == {"pipe", ".mine.partial"}


def test_an_output_that_a_killed_conversion_had_put_aside_comes_back(source: Path, tmp_path: Path
                                                                     ) -> None:
    convert([source], tmp_path / "pipe")
    room = tmp_path / ".pipe.partial"
    room.mkdir()
    (room / LOCK).touch()
    (tmp_path / "pipe").rename(room / "old")
    with pytest.raises(CheckpointError, match="exists already"):
        convert([source], tmp_path / "pipe")
    assert names(tmp_path) == {"pipe"} and load_transformer(tmp_path / "pipe").shape.depth == 4


TERMINATED = """
import os, signal, sys, tqdm
from toprovar.cli import main
def update(*_):
    os.kill(os.getpid(), signal.SIGTERM)
tqdm.tqdm.update = update
sys.exit(main(["convert", sys.argv[1], sys.argv[2]]))
"""


@posix
def test_a_terminated_conversion_leaves_nothing(source: Path, tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", TERMINATED, str(source), str(tmp_path / "a/pipe")],
                         capture_output=True, text=True)
    assert run.returncode == 128 + signal.SIGTERM and "terminated" in run.stderr
    assert "Traceback" not in run.stderr and not names(tmp_path)


@posix
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_destination_that_is_no_regular_file(source: Path, tmp_path: Path, overwrite: bool
                                               ) -> None:
    pipe = tmp_path / "p.safetensors"
    os.mkfifo(pipe)
    with pytest.raises(CheckpointError, match="no regular file"):
        convert([source], pipe, overwrite=overwrite)
    assert pipe.is_fifo() and names(tmp_path) == {"p.safetensors"}


@posix
def test_files_have_the_rights_that_the_umask_leaves(source: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        convert([source], tmp_path / "pipe")
    finally:
        os.umask(before)
    for path in (tmp_path / "pipe").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640)
