"""Files in the box are held against their hashes when they are read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from toprovar import box
from toprovar.bundled import bundled_model
from toprovar.entropy.calibration import Calibration, find_calibration

PACKAGE = Path(box.__file__).parent
SCRIPT = """
import logging, sys
logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
from pathlib import Path
from toprovar.bundled import bundled_model
from toprovar.entropy.calibration import find_calibration
from toprovar.sparsity.strategies.skipvar.decision import find_decisions

def model():
    try:
        return bundled_model().name
    except ValueError as error:
        return str(error)

def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

known = sys.argv[1]
box = Path("toprovar")
print("whole:", model(), bool(find_calibration(known)), bool(find_decisions(known)))
for name in ("vae", "transformer"):  # as a checkout on another system ends lines
    path = box / "bundled/infinity-emoji" / name / "config.json"
    path.write_bytes(path.read_bytes().replace(b"\\n", b"\\r\\n"))
print("lines:", model())
flip(box / "bundled/infinity-emoji/transformer/diffusion_pytorch_model.safetensors")
print("flipped:", model())
(box / "bundled/infinity-emoji/text_encoder/model.safetensors").unlink()
print("missing:", model())
path = box / "data/calibrations/infinity-emoji.json"
path.write_text(path.read_text().replace('"prompts": ', '"prompts": 1'))  # valid, but another
print("calibration:", find_calibration(known))
print("asked again:", find_calibration(known))
flip(box / "data/skipvar/infinity-emoji.json")
print("decisions:", find_decisions(known))
"""


def test_the_list_is_up_to_date() -> None:
    assert box.hashes() == box._listed(), "write it anew: python -m toprovar.box"


def test_damage_is_told(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "toprovar", ignore=shutil.ignore_patterns("__pycache__"))
    [known] = [Calibration.load(path).model
               for path in (PACKAGE / "data" / "calibrations").glob("*.json")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, known], cwd=tmp_path, capture_output=True, text=True,
        check=True, env=os.environ | {"PYTHONPATH": str(tmp_path), "TOPROVAR_CACHE": str(tmp_path)})
    told = done.stdout.splitlines()
    assert told[0] == "whole: infinity-emoji True True" and told[1] == "lines: infinity-emoji"
    assert "the embedded model is damaged" in told[2] and "reinstall" in told[2]
    assert "transformer/diffusion_pytorch_model.safetensors is not as it was shipped" in told[2]
    assert "text_encoder/model.safetensors cannot be read (No such file" in told[3]
    assert told[4].startswith("a calibration is passed over: data/calibrations/infinity-emoji.json")
    assert told[5:7] == ["calibration: None", "asked again: None"]  # the warning comes once
    assert told[7].startswith("a decision model is passed over: data/skipvar/infinity-emoji.json")
    assert told[8] == "decisions: None"


def test_a_users_calibration_that_is_damaged_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:
    [shipped] = (PACKAGE / "data" / "calibrations").glob("*.json")
    folder = tmp_path / "calibrations"
    folder.mkdir()
    (folder / "broken.json").write_text(shipped.read_text(encoding="utf-8")[:-100])
    (folder / "gone.json").symlink_to(tmp_path / "nowhere")
    monkeypatch.setenv("TOPROVAR_CACHE", str(tmp_path))
    known = Calibration.load(shipped)
    assert find_calibration(known.model) == known
    assert "broken.json: not a usable calibration: not JSON" in caplog.text
    assert "gone.json: the calibration cannot be read" in caplog.text
    with pytest.raises(ValueError, match=r"broken\.json"):  # asked for by name
        find_calibration(known.model, [folder / "broken.json"])


def test_it_is_read_once() -> None:
    bundled_model()
    before = box._digest.cache_info()
    bundled_model()
    after = box._digest.cache_info()
    assert after.misses == before.misses and after.hits > before.hits
