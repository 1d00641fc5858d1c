"""What a command may write to, and when."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import save_file

from tests.sampling.plans import index_plan
from tests.tiny import tiny_transformer
from toprovar.cli import main
from toprovar.picture_files import save_picture
from toprovar.sampling.params import SamplingParams
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan_file import load_plan, save_plan


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of several kinds in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("index.json").write_text('{"_class_name": "InfinityPipeline"}')
    Path("prompts.txt").write_text("a cat\n")
    Image.new("RGB", (8, 8)).save("photo.png")
    Image.new("RGB", (8, 8)).save("photo-2.png")
    save_picture(Image.new("RGB", (8, 8)), Path("own.png"), {
        "prompt": "a cat", "seed": 1,
        "params": SamplingParams(get_schedule("1.0", "0.06M")).to_json()})
    save_file({"x": tiny_transformer().null_text.detach()}, "weights.safetensors")
    save_plan(index_plan(tiny_transformer().shape, get_schedule("1.0", "0.06M"), {}), "plan.json")
    os.link("plan.json", "link.json")
    Path("folder").mkdir()
    Path("folder/summary.json").write_text("{}")


NO_MODEL = ["--model", "absent"]
"""Whatever is refused is refused before a model is looked for."""


@pytest.mark.parametrize(("command", "message"), [
    ("generate x --out photo.png", "'photo.png' exists and is not a picture of this program"),
    ("generate x --num 2 --out photo.png", "'photo-2.png' exists"),
    ("generate x --out a.png --report a.png", "'a.png' is also the file of --out"),
    ("generate x --num 2 --out a.png --report a-2.png", "'a-2.png' is also the file of --out"),
    ("generate x --out a.png --report folder/../a.png", "is also the file of --out"),
    ("generate x --report index.json", "is not a report of 'toprovar generate'"),
    ("generate x --report folder", "is a folder"),
    ("generate x --plan plan.json --save-plan plan.json", "is also what --plan reads"),
    ("generate x --plan plan.json --save-plan link.json --overwrite", "is also what --plan reads"),
    ("generate --from own.png --out own.png", "is also what --from reads"),
    ("generate x --plan toprovar --save-plan index.json", "is not a sparsity plan"),
    ("plan make toprovar index.json --budget 0.5", "is not a sparsity plan"),
    ("compare x --out photo.png", "not a picture of this program"),
    ("compare x --out a.png --json index.json", "not figures of 'toprovar compare'"),
    ("compare x --out dense.png --pictures .", "'dense.png' is also the file of --out"),
    ("compare x --strategies plan.json --json plan.json", "also what --strategies reads"),
    ("analyze x --out folder", "'folder/summary.json' exists and is not a summary"),
    ("analyze --prompts prompts.txt --calibrate prompts.txt", "also what --prompts reads"),
    ("analyze x --calibrate weights.json", "'weights.safetensors' exists and is not a file of sh"),
    ("analyze x --calibrate index.json", "is not a calibration"),
    ("fit-skipvar x --out index.json", "is not decision models"),
])
def test_what_is_refused(command: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    model = [] if "plan make" in command else NO_MODEL
    assert main([*command.split(), *model]) == 2
    assert message in capsys.readouterr().err
    assert {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()} == before


def test_a_picture_of_a_plan_is_not_drawn_over_the_picture_it_is_in(
    capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    plan = json.loads(Path("plan.json").read_text())
    info.add_itxt("toprovar", json.dumps({"sparsity_plan": plan}))
    Image.new("RGB", (8, 8)).save("dog.png", pnginfo=info)
    assert main(["plan", "show", "dog.png", "--picture", "dog.png"]) == 2
    assert "is also what file reads" in capsys.readouterr().err
    for _ in range(2):  # the second replaces the first
        assert main(["plan", "show", "dog.png", "--picture", "shown.png"]) == 0
    assert main(["plan", "show", "dog.png", "--picture", "photo.png"]) == 2
    assert main(["plan", "show", "dog.png", "--picture", "photo.png", "--overwrite"]) == 0


def test_own_files_are_replaced_and_others_on_request(tiny_model: Path, cache: Path) -> None:
    def generate(*more: str) -> int:
        return main(["generate", "a cat", "--model", str(tiny_model), "--plan", "plan.json",
                     "--out", "a.png", *more])

    for _ in range(2):
        assert generate("--report", "r.json", "--save-plan", "p.json") == 0
    assert load_plan("p.json").strategy == "indices"
    assert generate("--report", "index.json") == 2
    assert generate("--report", "index.json", "--overwrite") == 0
    assert json.loads(Path("index.json").read_text())["plan"] == "indices"
    device = os.stat(os.devnull).st_rdev if os.name == "posix" else 0
    assert generate("--report", os.devnull, "--save-plan", os.devnull) == 0
    assert os.name != "posix" or os.stat(os.devnull).st_rdev == device


def test_pictures_are_written_as_they_are_finished(tiny_model: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    from toprovar.models.autoencoder import InfinityAutoencoder

    real, there = InfinityAutoencoder.decode, []

    def decode(self: Any, *args: Any, **how: Any) -> Any:
        there.append(sorted(p.name for p in Path().glob("b-*.png")))
        if len(there) == 3:
            raise KeyboardInterrupt
        return real(self, *args, **how)

    monkeypatch.setattr(InfinityAutoencoder, "decode", decode)
    assert main(["generate", "a cat", "--model", str(tiny_model), "--num", "4", "--out", "b.png"]
                ) == 130
    assert there == [[], ["b-1.png"], ["b-1.png", "b-2.png"]]
    assert [json.loads(Image.open(f"b-{i}.png").info["toprovar"])["seed"]  # type: ignore[attr-defined]
            for i in (1, 2)] == [0, 1]
