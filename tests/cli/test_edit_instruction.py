"""``toprovar instruct``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tiny import tiny_pipeline
from toprovar.cli import main

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def editing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("editing")
    tiny_pipeline(family="varedit").save_pretrained(folder)
    return folder


@pytest.fixture
def instruct(editing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("in.png")

    def call(*arguments: object, picture: str = "in.png") -> int:
        return main(["instruct", picture, "a red cat", "--model", str(editing), "--tau", "1",
                     *map(str, arguments)])

    return call


def told(path: str) -> dict[str, Any]:
    return json.loads(Image.open(path).info["toprovar"])


def test_an_edit_and_what_it_says_of_itself(instruct: Any, capsys: pytest.CaptureFixture[str]
                                            ) -> None:
    assert instruct("--num", 2, "--seed", 5, "--report", "r.json") == 0
    one, two = (Image.open(f"edit-{n}.png") for n in (1, 2))
    assert one.size == two.size == (70, 40) and one.tobytes() != two.tobytes()
    about = told("edit-2.png")
    assert about["prompt"] == "a red cat" and about["seed"] == 6
    assert about["source_picture"]["file"] == "in.png" and not about["source_picture"]["crop"]
    report = json.loads(Path("r.json").read_text())
    assert report["source"]["tokens"] == 256 and len(report["runs"]) == 2
    assert instruct("--seed", 6, "--out", "again.png") == 0
    assert Image.open("again.png").tobytes() == two.tobytes()
    assert "again.png" in capsys.readouterr().out
    assert main(["generate", "--from", "again.png"]) == 2
    assert "it is an edit of another picture: 'toprovar instruct'" in capsys.readouterr().err


def test_accelerated_and_cropped(instruct: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert instruct("--plan", "toprovar", "--budget", 0.7, "--crop", "--out", "e.webp") == 0
    out = capsys.readouterr().out
    assert "source  16x16     256     2" in out and "of a dense run's FLOPs" in out
    assert Image.open("e.webp").size == (40, 40)


def test_photos_are_turned_upright(instruct: Any) -> None:
    image = Image.open("in.png")
    exif = image.getexif()
    exif[0x0112] = 6  # held on its side
    image.convert("RGB").save("photo.jpg", exif=exif)
    assert instruct("--out", "e.png", picture="photo.jpg") == 0
    assert Image.open("e.png").size == (40, 70)


@pytest.mark.parametrize(("content", "message"), [
    (b"no picture", "photo: not a usable picture: none of PNG, JPEG"),
    (None, "PICTURE: there is no file 'photo'"),
    ("cut", "photo: the picture cannot be read: image file is truncated"),
])
def test_bad_pictures(instruct: Any, content: Any, message: str,
                      capsys: pytest.CaptureFixture[str]) -> None:
    if content == "cut":
        content = Path("in.png").read_bytes()[:4000]
    if content is not None:
        Path("photo").write_bytes(content)
    assert instruct(picture="photo") == 2
    assert message in capsys.readouterr().err
    assert not Path("edit.png").exists()


def test_nothing_is_written_over_the_picture(instruct: Any, capsys: pytest.CaptureFixture[str]
                                             ) -> None:
    before = Path("in.png").read_bytes()
    assert instruct("--out", "in.png") == 2
    assert "'in.png' is also what file reads" in capsys.readouterr().err
    assert Path("in.png").read_bytes() == before


def test_each_command_wants_its_own_model(instruct: Any, editing: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["instruct", "in.png", "a red cat"]) == 2
    assert "this command needs a VAREdit model" in capsys.readouterr().err
    for command in (["generate", "a cat"], ["analyze", "a cat"], ["compare", "a cat"],
                    ["calibrate", "a cat"], ["fit-skipvar", "a cat", "--out", "fit.json"]):
        assert main([*command, "--model", str(editing)]) == 2
        err = capsys.readouterr().err
        assert "the model is a VAREdit model, which edits pictures" in err, command
    assert main(["plan", "make", "fastvar", "p.json", "--model", str(editing)]) == 0
    plan = json.loads(Path("p.json").read_text())
    assert instruct("--plan", "p.json") == 0
    assert told("edit.png")["sparsity_plan"]["scales"] == plan["scales"]


def test_the_family_can_be_said(instruct: Any, tiny_model: Path) -> None:
    assert main(["instruct", "in.png", "a red cat", "--model", str(tiny_model), "--family",
                 "varedit", "--out", "said.png"]) == 0
    assert Image.open("said.png").size == (70, 40)
    assert told("said.png")["params"]["tau"][0] == 0.1
