from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny import tiny_pipeline
from toprovar.cli import main
from toprovar.cli.analyze import _numbers
from toprovar.entropy.calibration import Calibration
from toprovar.entropy.trace import EntropyTrace
from toprovar.evaluation.compositional import bundled_prompts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().save_pretrained(folder)
    return folder


def analyze(*arguments: object) -> int:
    return main(["analyze", *map(str, arguments)])


def test_tables_and_files(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.txt").write_text("a cat\n\n  a dog  \n", encoding="utf-8")
    out = tmp_path / "deep" / "out"
    assert analyze("a red apple", "--prompts", tmp_path / "p.txt", "--model", model,
                   "--num-seeds", 2, "--seed", 5, "--batch", 4, "--heads", "--out", out) == 0
    captured = capsys.readouterr()
    assert "6 pictures" in captured.out and "6/6" in captured.err
    for word in ("H/log(keys)", "rho is", "sigma1/sigma2", "Spearman", "fitted to these pictures"):
        assert word in captured.out
    assert len([line for line in captured.out.splitlines() if "    256   " in line]) == 1
    trace = EntropyTrace.load(out / "trace.safetensors")
    assert trace.about.prompts == ("a red apple",) * 2 + ("a cat",) * 2 + ("a dog",) * 2
    assert trace.about.seeds == (5, 6) * 3 and trace.about.heads
    summary = json.loads((out / "summary.json").read_text())
    assert summary["model"] == trace.about.model and len(summary["layers"]) == 3
    names = {p.name for p in out.iterdir()}
    assert names == {"trace.safetensors", "summary.json", "layers.png", "rho.png",
                     *(f"maps-{i}.png" for i in range(6))}
    assert all(min(Image.open(p).size) > 200 for p in out.glob("*.png"))


def test_json_and_a_part_of_the_run(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze("a cat", "--model", model, "--scales", "4-6", "--layers", "0,2", "--json",
                   "--aspect", "3:2") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["scales"]) == ["4", "5", "6"] and list(found["layers"]) == ["0", "2"]
    assert found["schedule"]["template"] != "1.0" and found["calibrated"] is False


def test_calibration_is_written_and_used(model: Path, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.json"
    assert analyze("a cat", "a dog", "--model", model, "--pn", "0.06M", "--batch", 2,
                   "--shortcut-pictures", 8, "--calibrate", file) == 0
    captured = capsys.readouterr()
    assert "what dropped tokens get" in captured.err and "done: 100%" in captured.err
    assert "tau 0." in captured.out and str(file) in captured.out
    found = Calibration.load(file)
    beside = file.with_suffix(".safetensors")
    assert beside.exists() == (found.shortcuts is not None)
    assert found.name == model.name and found.prompts == 2 and list(found.entries) == ["0.06M"]
    assert "--pixels 0.06M" in found.provenance["command"]
    assert analyze("a cat", "--model", model, "--calibration", file, "--scales", "3-6") == 0
    assert "(the model's calibration)" in capsys.readouterr().out
    other = found.model_copy(update={"model": "other"})
    other.save(tmp_path / "other.json")
    assert analyze("a cat", "--model", model, "--calibration", tmp_path / "other.json") == 2
    assert "is of the model other" in capsys.readouterr().err
    assert str(tmp_path) not in file.read_text() and str(model.parent) not in file.read_text()


def test_bundled_prompts_touch_every_task(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze("--bundled", 9, "--model", model, "--scales", 6, "--batch", 9, "--json") == 0
    prompts = json.loads(capsys.readouterr().out)["prompts"]
    tasks = {p.text: p.task for p in bundled_prompts()}
    assert len(prompts) == 9 and len({tasks[p] for p in prompts}) == 6


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "at least one prompt"),
    (["--bundled", "0"], "between 1 and 900"),
    (["--prompts", "absent.txt"], "absent.txt"),
    (["x", "--scales", "a"], "--scales must look like 4,6-9"),
    (["x", "--scales", "9-4"], "names none"),
    (["x", "--scales", "7"], "no scale 7"),
    (["x", "--layers", "3"], "no layer 3"),
    (["x", "--num-seeds", "0"], "--num-seeds must be between 1"),
    (["x", "--batch", "0"], "--batch must be between 1"),
    (["x", "--pn", "9M"], "unknown pixel budget"),
    (["x", "--pn", "0.06M", "--pn", "1M"], "several --pn"),
    (["x", "--calibrate", "c.json", "--out", "o"], "leave out"),
    (["x", "--calibrate", "absent/c.json"], "create it first"),
    (["x", "--calibrate", "c.safetensors"], "give FILE.json"),
    (["x", "--calibrate", "c.json", "--shortcut-pictures", "-1"], "between 0 and 100000"),
    (["x", "--out", "file"], "must be a folder"),
    (["x", "--aspect", "wide"], "3:2"),
])
def test_bad_arguments_say_what_to_do(
    model: Path, tmp_path: Path, arguments: list[str], message: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert analyze(*arguments, "--model", model) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_numbers() -> None:
    assert _numbers("scales", "4, 6-8,7") == [4, 6, 7, 8] and _numbers("scales", None) is None


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_it_can_be_interrupted(model: Path, tmp_path: Path) -> None:
    import signal

    prompts = tmp_path / "p.txt"
    prompts.write_text("a cat\n" * 5000)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "toprovar", "analyze", "--prompts", str(prompts), "--model",
         str(model), "--out", str(out)], stderr=subprocess.PIPE, text=True,
        # Python ignores the signal where its parent does, as shells do for jobs in the background
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    try:
        # Once the bar has moved the run is under way
        text, end = "", time.monotonic() + 120
        while "1/5000" not in text and time.monotonic() < end and process.poll() is None:
            text += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130 and "interrupted" in rest and "Traceback" not in rest
    assert not out.exists()
