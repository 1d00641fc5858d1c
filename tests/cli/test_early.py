"""What the command line refuses before torch is imported, and so before a model is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from toprovar.cli import main
from toprovar.models.config import TransformerConfig
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan import dense_plan
from toprovar.sparsity.plan_file import plan_to_json, save_plan

ROOT = Path(__file__).parents[2]
GENERATE = [
    (["--size", "1000000000x1000000000"], "height must be between 1 and 8192"),
    (["--size", "1000000000x256"], "width must be between 1 and 8192"),
    (["--size", "8000x16"], "far from all"), (["--size", "0x256"], "width must be between"),
    (["--size", "9" * 5000 + "x1"], "must look like"), (["--size", "big"], "must look like"),
    (["--size", "256x256", "--aspect", "1:1"], "either --size"),
    (["--aspect", "1000000:1"], "far from all"), (["--aspect", "0:1"], "3:2"),
    (["--aspect", "9" * 400 + ":" + "9" * 400], "positive number"),
    (["--pixels", "9M"], "unknown pixel budget"),
    (["--num", "1000000"], "--num must be between 1 and 1000"), (["--num", "0"], "--num"),
    (["--seed", "99999999999999999999"], "seed must be between"),
    (["--cfg", "nan"], "--cfg must be a finite number"), (["--cfg", "-1"], "--cfg must be 0"),
    (["--tau", "inf"], "--tau must be a finite"), (["--tau", "0"], "--tau must be above 0"),
    (["--top-p", "2"], "--top-p must be between 0 and 1"),
    (["--vae-tile", "1"], "--vae-tile must be at least 4"), (["--stream", "-1"], "--stream"),
    (["--device", "abacus"], "unknown device"), (["--dtype", "int8"], "unknown dtype"),
    (["--attention", "fa9"], "unknown attention backend"),
    (["--model", "absent"], "toprovar convert"), (["--vae", "x.pth"], "together"),
    (["--transformer", "a", "--vae", "b", "--text-encoder", "c"], "no file or folder 'a'"),
    (["--out", "x.gif"], "must end in .png"), (["--out", "absent/x.png"], "does not exist"),
    (["--out", "here.png"], "is a folder"), (["--out", "file/x.png"], "does not exist"),
    (["--out", "n" * 300 + ".png"], "--out"), (["--out", "a\0.png"], "none of them 0"),
    (["--report", "absent/x.json"], "--report"), (["--save-plan", "x.json"], "needs --plan"),
    (["--negative", "a \udcff"], "half of a surrogate pair"),
    (["--plan", "nothing"], "no strategy and no file"), (["--plan", "file"], "not JSON"),
    (["--plan", "file.png"], "not a PNG, JPEG or WebP file"), (["--plan", "deep.json"], "nested"),
    (["--plan", "toprovar", "--alpha-min", "7"], "--alpha-min"),
    (["--plan", "toprovar", "--region", "5000"], "--region"),
    (["--plan", "toprovar", "--calibration", "file"], "not a usable calibration"),
    (["--plan", "toprovar", "--calibration", "absent"], "No such file"),
    (["--plan", "fastvar", "--drop", "2"], "--drop must be between 0 and 1"),
    (["--plan", "skipvar", "--skip", "4"], "--skip must be between 0 and 3"),
    (["--plan", "skipvar", "--skip", "1", "--uncond", "1"], "not both"),
    (["--plan", "skipvar", "--decisions", "file"], "not a usable decision model"),
    (["--plan", "toprovar", "--speedup", "nan"], "--speedup must be a finite"),
    (["--plan", "toprovar", "--speedup", "0.5"], "--speedup must be 1 or more"),
    (["--plan", "toprovar", "--budget", "0"], "--budget"),
    (["--plan", "toprovar", "--budget", "2"], "--budget must be between 0 and 1"),
    (["--plan", "toprovar", "--budget", "0.5", "--speedup", "2"], "not both"),
    (["--drop", "0.5"], "--drop is an option of fastvar"),
]
OTHERS = [
    (["compare", "a cat", "--strategies", "nothing"], "no strategy and no file"),
    (["compare", "a cat", "--side", "1000000"], "--side must be between 64 and 4096"),
    (["compare", "a cat", "--pictures", "file"], "--pictures must be a folder"),
    (["compare", "a cat", "--json", "absent/x.json"], "--json"),
    (["compare", "a cat", "--tau", "nan"], "--tau"),
    (["plan", "make", "dense", "x.txt"], "must end in .json"),
    (["plan", "make", "dense", "x.json", "--cfg", "nan"], "--cfg"),
    (["plan", "make", "dense", "x.json", "--device", "abacus"], "unknown device"),
    (["plan", "show", "file"], "not JSON"), (["plan", "show", "absent.json"], "No such file"),
    (["plan", "show", "good.json", "--picture", "x.gif"], "must end in .png"),
    (["plan", "diff", "good.json", "deep.json"], "nested"),
    (["plan", "validate", "absent"], "no file 'absent'"),
    (["plan", "validate", "good.json", "--model", "absent"], "toprovar convert"),
    (["analyze"], "at least one prompt"), (["analyze", "\udcff"], "half of a surrogate pair"),
    (["analyze", "a cat", "--scales", "0-999999999"], "--scales must look like"),
    (["analyze", "a cat", "--num-seeds", "10000000"], "--num-seeds"),
    (["analyze", "a cat", "--seed", str((1 << 64) - 1), "--num-seeds", "2"], "seed"),
    (["analyze", "--prompts", "absent"], "No such file"),
    (["analyze", "--prompts", "binary"], "not UTF-8"),
    (["analyze", "a cat", "--out", "file"], "must be a folder"),
    (["analyze", "a cat", "--calibration", "absent"], "no file 'absent'"),
    (["analyze", "a cat", "--calibrate", "x.json", "--target-ssim", "nan"], "--target-ssim"),
    (["fit-skipvar", "a cat", "--out", "absent/x.json"], "does not exist"),
    (["fit-skipvar", "a cat", "--out", "x.json", "--batch", "0"], "--batch"),
    (["conformance", "absent"], "no folder 'absent'"),
    (["conformance", ".", "--device", "abacus"], "unknown device"),
]
EVERY = [(["generate", "a cat", *how], message) for how, message in GENERATE] + OTHERS
SCRIPT = """
import contextlib, io, json, sys, time
from toprovar.cli import main
told = []
for arguments in json.load(open("cases.json")):
    errors, started = io.StringIO(), time.process_time()
    with contextlib.redirect_stderr(errors):
        status = main(arguments)
    told.append((status, errors.getvalue(), time.process_time() - started,
                 "torch" in sys.modules))
json.dump(told, open("told.json", "w"))
"""


def test_it_costs_no_import_of_torch(tmp_path: Path) -> None:
    (tmp_path / "here.png").mkdir()
    (tmp_path / "file").write_text("nothing")
    (tmp_path / "file.png").write_text("nothing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    save_plan(dense_plan(TransformerConfig(depth=4, width=32, num_heads=2, bits_per_token=8),
                         get_schedule("1.0", "0.06M")), tmp_path / "good.json")
    (tmp_path / "cases.json").write_text(json.dumps([arguments for arguments, _ in EVERY]))
    before = sorted(path.name for path in tmp_path.iterdir())
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, check=True,
                   env=os.environ | {"PYTHONPATH": str(ROOT)})
    told = json.loads((tmp_path / "told.json").read_text())
    for (arguments, message), (status, error, seconds, imported) in zip(EVERY, told, strict=True):
        assert status in (1, 2) and message in error, (arguments, error)
        assert error.count("\n") == 1 and error[:-1].isprintable(), arguments
        assert not imported and seconds < 1, (arguments, seconds)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "told.json"])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                            ) -> None:
    tmp_path.chmod(0o500)
    try:
        assert main(["generate", "a cat", "--out", str(tmp_path / "x.png")]) == 2
    finally:
        tmp_path.chmod(0o700)
    assert "cannot be written to" in capsys.readouterr().err


NAME = "\x1b[31mred\x1b]0;owned\x07\u202e\r"


def test_nothing_out_of_a_file_steers_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shape = TransformerConfig(depth=4, width=32, num_heads=2, bits_per_token=8)
    values = plan_to_json(dense_plan(shape, get_schedule("1.0", "0.06M")))
    values |= {"strategy": NAME, "schedule": NAME, "notes": [f"{NAME}\nwrote /fine"],
               "parameters": {NAME: NAME}, "provenance": {NAME: NAME},
               "model": {**values["model"], "fingerprint": NAME},
               "predicted": {"token_layers": 1, "token_layer_share": 1, "flops": 1,
                             "flop_share": 1, "kv_bytes": 1, "kv_share": 1, "seconds": 1,
                             "dense_seconds": 1, "device": NAME}}
    Path("a.json").write_text(json.dumps(values))
    Path("b.json").write_text(json.dumps({**values, "strategy": "x", "notes": [], "seed": 1,
                                          "provenance": {}, "parameters": {}}))
    Path("c.json").write_text(json.dumps({**values, NAME: 1}))
    for command in (["show", "a.json"], ["validate", "a.json"], ["diff", "a.json", "b.json"],
                    ["diff", "b.json", "a.json"], ["show", "c.json"], ["validate", "c.json"]):
        main(["plan", *command])
        told = capsys.readouterr()
        text = told.out + told.err
        assert "red" in text and all(line.isprintable() for line in text.splitlines()), command
        assert not any(line.startswith("wrote") for line in text.splitlines())
