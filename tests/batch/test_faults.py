"""Real processes that are killed, run out of disk, or meet in one folder."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.batch.processes import check_whole, finish, lines, start, until, write_rows

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits are of POSIX")
ROWS = 30


@pytest.mark.parametrize(("how", "status"), [
    (signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_killed_run_goes_on(tmp_path: Path, tiny_model: Path, how: signal.Signals, status: int
                              ) -> None:
    rows, out = write_rows(tmp_path, ROWS), tmp_path / "o"
    first = start(rows, out, tiny_model)
    until(lambda: len(lines(out)) >= 3, first)
    first.send_signal(how)
    found, _, errors = finish(first)
    assert found == status and "Traceback" not in errors
    assert how == signal.SIGKILL or "run the same command again to continue" in errors
    check_whole(out)
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("*.png")}
    kept = [line["file"] for line in lines(out)]
    assert 3 <= len(kept) < ROWS
    found, said, _ = finish(start(rows, out, tiny_model))
    assert found == 0 and f"{ROWS} pictures, {ROWS - len(kept)} of them new" in said
    check_whole(out, ROWS)
    assert all((out / name).stat().st_mtime_ns == before[name] for name in kept)


def test_two_runs_on_one_folder(tmp_path: Path, tiny_model: Path) -> None:
    rows, out = write_rows(tmp_path, ROWS), tmp_path / "o"
    first = start(rows, out, tiny_model)
    until(lambda: len(lines(out)) >= 1, first)
    second = start(rows, out, tiny_model)
    first.send_signal(signal.SIGSTOP)  # it is at work all the while
    try:
        found, _, errors = finish(second)
    finally:
        first.send_signal(signal.SIGCONT)
    assert found == 2 and f"process {first.pid} on" in errors
    assert "is at work in this folder" in errors and errors.count("Traceback") == 0
    assert finish(first)[0] == 0
    check_whole(out, ROWS)


def test_pictures_that_cannot_be_written(tmp_path: Path, tiny_model: Path) -> None:
    """Files may not be as large as a picture."""
    rows, out = write_rows(tmp_path, 6), tmp_path / "o"
    found, _, errors = finish(start(rows, out, tiny_model, most_bytes=5000))
    assert found == 2 and "png cannot be written: the file is larger than may be written" in errors
    assert "run the same command again to continue" in errors and "Traceback" not in errors
    assert lines(out) == [] and not list(out.glob("*.png")) and not list(out.glob("*.tmp"))
    assert finish(start(rows, out, tiny_model))[0] == 0
    check_whole(out, 6)


def test_a_manifest_that_cannot_grow(tmp_path: Path, tiny_model: Path) -> None:
    """Its last line does not fit any more, and is not begun."""
    path = tmp_path / "rows.csv"
    path.write_text("prompt,seed,about\n" + "".join(
        f"a cat,{n},{'x' * 20_000}\n" for n in range(12)))
    out = tmp_path / "o"
    small = ("--format", "jpg", "--quality", "5")
    found, _, errors = finish(start(path, out, tiny_model, *small, most_bytes=100_000))
    assert found == 2 and "manifest.jsonl cannot be written: the file is larger" in errors
    assert (out / "manifest.jsonl").read_text().endswith("}\n")
    assert 1 <= len(lines(out)) < 12
    check_whole(out)
    assert finish(start(path, out, tiny_model, *small))[0] == 0
    check_whole(out, 12)


def test_a_full_disk(tmp_path: Path, tiny_model: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)],
                             capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        rows, out = write_rows(tmp_path, ROWS), disk / "o"
        found, _, errors = finish(start(rows, out, tiny_model))
        assert found == 2 and "cannot be written: the disk is full" in errors
        assert "run the same command again to continue" in errors and "Traceback" not in errors
        check_whole(out)
        assert 1 <= len(lines(out)) < ROWS and not list(out.glob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        assert finish(start(rows, out, tiny_model))[0] == 0
        check_whole(out, ROWS)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
