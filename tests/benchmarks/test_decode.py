"""The benchmark itself on tiny shapes; what it measures is for a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import decode
from toprovar.models.variants import autoencoder_variants


def test_a_quick_run_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "decode.json"
    assert decode.main(["--quick", "--device", "cpu", "--rounds", "2", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert "cuda" in result["decoder"]["why_not_ours"] or "interpreter" in str(result["decoder"])
    for name, errors in result["decoder"]["errors"].items():
        assert 0 < errors["relative_l2"] < 0.1 and errors["levels_max"] < 40, name
    plain, ours = (result["decoder"]["errors"][name]["relative_l2"]
                   for name in ("plain", "ours, step by step"))
    assert ours < 1.3 * plain
    assert all(0 < error < 0.05 for error in result["text"]["errors"].values())
    assert result["text"]["ratios_to_official_length"]["plain, 512 tokens"] == 1
    assert all(row["milliseconds"] > 0 for row in result["passes"].values())
    assert '"decoder"' in capsys.readouterr().out


def test_operations_of_the_released_decoder() -> None:
    found = decode.decoder_operations(autoencoder_variants()["d32"].config, 64, 64)
    assert found["plain"] == pytest.approx(9.85e12, rel=2e-3)
    assert found["ours"] == pytest.approx(8.26e12, rel=2e-3)
