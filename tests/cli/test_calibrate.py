"""``toprovar calibrate``: what it writes, goes on from, and refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.tiny import tiny_pipeline
from toprovar.analysis import Calibrator
from toprovar.analysis.calibration_files import FINDINGS
from toprovar.cli import main
from toprovar.cli.picture_prompts import prompts_of_pictures
from toprovar.entropy.calibration import Calibration
from toprovar.picture_files import save_picture

SHORT = ("--pixels", "0.06M", "--minutes", "0.01")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOPROVAR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(*arguments: Any) -> int:
    return main(["calibrate", *map(str, arguments)])


def test_a_calibration_lies_where_every_command_finds_it(
    model: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--model", model, "a cat", "a dog", *SHORT) == 0
    told = capsys.readouterr()
    files = list((cache / "calibrations").glob("*.json"))
    assert len(files) == 1 and str(files[0]) in told.out and "pictures in 0." in told.out
    assert "0:00 left" in told.err
    found = Calibration.load(files[0])
    assert found.name == model.name and found.prompts == 2 and list(found.entries) == ["0.06M"]
    assert found.provenance["command"].startswith("toprovar calibrate --pixels 0.06M")
    assert str(tmp_path) not in files[0].read_text()
    # Without prompts those in the box are drawn.
    assert run("--model", model, *SHORT, "--json", "--out", tmp_path / "general.json") == 0
    assert json.loads(capsys.readouterr().out)["prompts"] == 240


def test_the_next_one_goes_on(model: Path, cache: Path, tmp_path: Path,
                              capsys: pytest.CaptureFixture[str]) -> None:
    def pictures(*more: str) -> int:
        assert run("--model", model, "a cat", "a dog", "two cats", *SHORT, "--json", *more) == 0
        return json.loads(capsys.readouterr().out)["provenance"]["pictures"]

    first = pictures()
    second = pictures()
    assert second > first and len(list((cache / "calibrating").rglob(FINDINGS))) == 1
    assert pictures("--fresh") < second


def test_ctrl_c_keeps_what_was_found(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Calibrator, "_starts", interrupted)
    assert run("--model", model, "a cat", *SHORT) == 130
    assert "interrupted" in capsys.readouterr().err
    found, = (cache / "calibrations").glob("*.json")
    assert Calibration.load(found).prompts == 1 and list((cache / "calibrating").rglob(FINDINGS))
    assert not list(cache.rglob("*.tmp"))


@pytest.mark.parametrize(("arguments", "message"), [
    (["--minutes", "0"], "--minutes must be above 0, got 0"),
    (["--minutes", "nan"], "--minutes"),
    (["--target-ssim", "2"], "--target-ssim must be between 0 and 1"),
    (["--most-mb", "-1"], "--most-mb must be above 0"),
    (["--out", "c.safetensors"], "give FILE.json"),
    (["--out", "absent/c.json"], "create it first"),
    (["--num-seeds", "0"], "--num-seeds"),
    (["--pixels", "9M"], "unknown pixel budget"),
    (["--prompts", "absent.txt"], "absent.txt"),
    (["--from-pictures", "absent"], "--from-pictures: there is no folder 'absent'"),
])
def test_what_is_refused_before_a_model_is_loaded(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments, "--model", "absent") == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))


def test_prompts_of_pictures(tmp_path: Path) -> None:
    for number, prompt in enumerate(["a cat", "a dog", "a cat"]):
        path = tmp_path / f"{number}.png"
        save_picture(Image.new("RGB", (8, 8)), path, {"prompt": prompt})
        os.utime(path, (1000 + number, 1000 + number))
    save_picture(Image.new("RGB", (8, 8)), tmp_path / "none.jpg", {"left_out": ["prompt"]})
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    (tmp_path / "broken.webp").write_bytes(b"RIFF")
    assert prompts_of_pictures(tmp_path) == ["a cat", "a dog"]
    with pytest.raises(ValueError, match="there is no folder"):
        prompts_of_pictures(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="none of the 0 pictures"):
        prompts_of_pictures(tmp_path / "empty")


def test_a_calibration_of_other_weights_is_refused(model: Path, tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--model", model, "a cat", *SHORT, "--out", tmp_path / "c.json") == 0
    found = Calibration.load(tmp_path / "c.json")
    found.model_copy(update={"model": "other"}).save(tmp_path / "other.json")
    arguments = ["generate", "a cat", "--model", str(model), "--pixels", "0.06M", "--plan",
                 "toprovar", "--out", str(tmp_path / "x.png"), "--calibration"]
    capsys.readouterr()
    assert main([*arguments, str(tmp_path / "other.json")]) == 2
    told = capsys.readouterr().err
    assert "calibrates other weights (other, these are" in told and "Traceback" not in told
    assert not (tmp_path / "x.png").exists()
