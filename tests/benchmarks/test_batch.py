"""The benchmark of many pictures, with a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import batch_driver
from benchmarks.batch import by_tenths, main
from benchmarks.batch_processes import one, resident

QUICK = ["--model", "tiny", "--device", "cpu", "--plans", "dense", "--rounds", "1", "--rows", "3"]


def test_one_process(tmp_path: Path) -> None:
    out = tmp_path / "batch.json"
    assert main([*QUICK, "--sections", "process", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["left_out"] == {}
    section = found["sections"]["process dense"]
    assert {"a loop of calls", "Batch", "bare, alone"} <= {row["name"] for row in section["rows"]}
    for row in section["rows"]:
        assert row["pictures"] == 3 and len(row["seconds"]) == 1
        assert row["pictures_per_second"] == pytest.approx(3 / row["seconds"][0], rel=1e-3)
    assert section["of_bare"]["Batch"] > 0


def test_an_unknown_section_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*QUICK, "--sections", "process,gpus", "--out", str(tmp_path / "b.json")])
    assert "no section gpus" in capsys.readouterr().err


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"nothing\.csv"):
        one(["batch", str(tmp_path / "nothing.csv"), "--out", str(tmp_path / "o")])


def test_memory_by_tenths() -> None:
    assert resident(1 << 30) == 0
    looks = [(i, 100 * i) for i in range(1, 41)]
    assert by_tenths(looks, 40) == [400 * i for i in range(1, 11)]
    with pytest.raises(ValueError, match="too fast"):
        by_tenths(looks[:30], 40)


def test_the_driver(tmp_path: Path) -> None:
    out = tmp_path / "driver.json"
    assert batch_driver.main(["--out", str(out), "--rows", "300", "--files", "20"]) == 0
    found = json.loads(out.read_text())
    assert found["rows"] == 300 and found["machine"]["device"] == "cpu"
    assert 200 < found["bytes_of_a_line"] < 400
    assert min(value for name, value in found.items() if name.endswith("_per_second")) > 0
