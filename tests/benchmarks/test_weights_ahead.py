from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.weights_ahead import main


def test_both_ways_are_compared_by_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                         ) -> None:
    out = tmp_path / "found.json"
    assert main(["--models", "tiny", "--device", "cpu", "--rounds", "1", "--json", str(out)]) == 0
    found = json.loads(out.read_text())["models"]["tiny"]
    assert found["equal_bits"]
    assert set(found["on"]["stages"]) == set(found["off"]["stages"]) >= {"scale 0", "scale 6"}
    printed = capsys.readouterr().out
    assert "tiny: the bits are the same" in printed and "all scales" in printed
