"""The manifest and its folder: what is there after whatever happened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from toprovar.batch.folder import HOLDER, agree, held
from toprovar.batch.manifest import Manifest
from toprovar.batch.sizing import Sizer


def line(row: int, **more: Any) -> dict[str, Any]:
    return {"row": row, "picture": 1, "id": "0" * 16, "status": "drawn", **more}


def test_lines_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    first = Manifest(path)
    for row in (3, 1, 2):
        first.append(line(row, prompt="ä \ud800 \n"))
    again = Manifest(path)
    assert list(again.lines) == [(3, 1), (1, 1), (2, 1)]
    assert again.keys() == {(row, 1, "0" * 16) for row in (1, 2, 3)}
    assert path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_half_written_last_line_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "m.jsonl"
    first = Manifest(path)
    first.append(line(1))
    first.append(line(2))
    first.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = Manifest(path)
    assert list(again.lines) == [(1, 1)]
    again.append(line(2))
    assert [json.loads(text)["row"] for text in path.read_text().splitlines()] == [1, 2]


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    for text in ("hello\n", '{"row": 1}\n', '{"row": "1", "picture": 1, "id": "", "status": "x"}\n',
                 "[]\n{}\n", "\xff\n"):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"m\.jsonl: line 1 is no line of a manifest"):
            Manifest(path)
        assert path.read_bytes() == text.encode("latin-1")


def test_what_is_not_wanted_is_taken_out(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "m.jsonl")
    for row in range(4):
        manifest.append(line(row))
    assert manifest.keep(lambda about: about["row"] % 2 == 0) == 2
    manifest.append(line(9))
    assert list(Manifest(manifest.path).lines) == [(0, 1), (2, 1), (9, 1)]


HOLD = """
import sys, time
from pathlib import Path
from toprovar.batch.folder import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_one_process_works_in_a_folder_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match=rf"process {other.pid} on .* is at work in this"), \
                held(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    assert (tmp_path / HOLDER).exists()  # it had no time to take it away
    with held(tmp_path):
        pass
    assert not (tmp_path / HOLDER).exists()


def test_a_folder_keeps_to_what_its_pictures_were_asked_for(tmp_path: Path) -> None:
    agree(tmp_path, {"tau": None, "num": 1, "sizes": (1, 2)})
    agree(tmp_path, {"tau": None, "num": 1, "sizes": (1, 2)})
    with pytest.raises(ValueError, match=r"made with other options: tau null \(now 0.5\)\. Give"):
        agree(tmp_path, {"tau": 0.5, "num": 1, "sizes": (1, 2)})


def test_batches_grow_while_that_pays() -> None:
    def settled(seconds: dict[int, float], most: int | None = None) -> int:
        sizer = Sizer()
        for _ in range(40):
            if most is not None and sizer.size > most:
                sizer.ran_out(sizer.size)
            sizer.took(sizer.size, seconds.get(sizer.size, 0.1 * sizer.size))
        return sizer.size

    assert settled({1: 1, 2: 1.2, 4: 1.8, 8: 3.55, 16: 7}) == 4
    assert settled({}, None) == 1
    assert settled({1: 1, 2: 1.1, 4: 1.2, 8: 1.3, 16: 1.4, 32: 1.5, 64: 1.6}) == 64
    assert settled({1: 1, 2: 1.1, 4: 1.2, 8: 1.3}, most=6) == 4
    fixed = Sizer(12)
    fixed.took(12, 1)
    assert fixed.size == 12
    fixed.ran_out(12)
    assert fixed.size == 6
