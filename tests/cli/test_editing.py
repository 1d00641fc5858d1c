"""``toprovar draft``, ``finish``, ``vary``, ``inpaint`` and ``edit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from toprovar.cli import main

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def call(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    small.resize((256, 256)).save("a.png")
    mask = np.zeros((256, 256), dtype=np.uint8)
    mask[64:128, 64:160] = 255
    Image.fromarray(mask).save("mask.png")

    def run(*arguments: object) -> int:
        return main([*map(str, arguments), "--model", str(tiny_model)])

    return run


def told(path: str) -> dict[str, Any]:
    return json.loads(Image.open(path).info["toprovar"])


def pixels(path: str) -> Any:
    return np.array(Image.open(path).convert("RGB"))


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("toprovar ")
    return error


@pytest.mark.parametrize("how", [[], ["--plan", "fastvar"]])
@pytest.mark.parametrize("file", ["d.png", "d.safetensors"])
def test_chosen_drafts_are_finished_as_generate_draws_them(
        call: Any, how: list[str], file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("draft", "a red cat", "--num", 3, "--seed", 7, "--until", 8, "--out", file,
                *how) == 0
    assert "3 drafts of 256x256, 5 of 7 scales" in capsys.readouterr().out
    assert call("finish", file, "--which", "3,1", "--out", "f.png", "--report", "r.json") == 0
    assert call("generate", "a red cat", "--seed", 7, "--num", 3, "--out", "g.png", *how) == 0
    for finished, drawn in (("f-1.png", "g-3.png"), ("f-2.png", "g-1.png")):
        assert np.array_equal(pixels(finished), pixels(drawn))
        assert told(finished)["seed"] == told(drawn)["seed"]
        assert call("generate", "--from", finished, "--out", "again.png") == 0
        assert np.array_equal(pixels("again.png"), pixels(drawn))
    assert len(json.loads(Path("r.json").read_text())["runs"]) == 2


def test_drafts_go_on_to_a_larger_size(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("draft", "a cat", "--num", 1, "--out", "d.safetensors", "--png", "s.png") == 0
    assert "1 draft of 256x256, 5 of 7 scales; finish some with" in capsys.readouterr().out
    assert call("draft", "a cat", "--num", 1, "--out", "d.safetensors", "--png", "s.png",
                "--until", 16, "--overwrite") == 0
    assert "7 of 7 scales; whole pictures already: a smaller --until" in capsys.readouterr().out
    assert call("finish", "s.png", "--pixels", "0.25M", "--out", "f.png") == 0
    assert Image.open("f.png").size == (512, 512)


def test_a_picture_is_drawn_at_its_own_size(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        call: Any, tiny_model: Path) -> None:
    """Also by a model whose own size is larger. What is asked for goes before."""
    import shutil

    shutil.copytree(tiny_model, tmp_path / "large")
    index = tmp_path / "large" / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "default_pn": "0.25M"}))
    mask = ["a.png", "a cat", "--mask", "mask.png"]

    def drawn(command: str, *how: object) -> tuple[list[int], str]:
        given = mask if command == "inpaint" else ["a.png", "a dog", "a cat", "--mask", "mask.png"]
        assert main([command, *map(str, (*given, *how)), "--model", "large", "--overwrite",
                     "--out", "o.png"]) == 0
        assert Image.open("o.png").size == (256, 256)
        return told("o.png")["params"]["schedule"]["grids"][-1], capsys.readouterr().out

    for command in ("inpaint", "edit"):
        grid, said = drawn(command)
        assert grid == [16, 16] and "note" not in said
        assert drawn(command, "--pixels", "0.25M")[0] == [32, 32]
    assert drawn("inpaint", "--padding-mask-crop", 8)[0] == [32, 32]
    assert main(["plan", "make", "fastvar", "p.json", "--pixels", "0.25M", "--model", "large"]) == 0
    grid, said = drawn("inpaint", "--plan", "p.json")
    assert grid == [32, 32] and "the picture of 256x256 pixels was drawn at 512x512" in said
    assert main(["draft", "a cat", "--num", "1", "--plan", "p.json", "--model", "large", "--out",
                 "d.png"]) == 0


def test_a_number_of_pixels_keeps_the_pictures_aspect(call: Any) -> None:
    Image.open("a.png").resize((300, 200)).save("wide.png")
    for name, how in (("v", ["vary", "wide.png", "a cat"]),
                      ("o", ["inpaint", "a.png", "a cat", "--right", 128])):
        assert call(*how, "--pixels", "0.25M", "--out", f"{name}.png") == 0
        assert Image.open(f"{name}.png").size == (624, 416)


def test_a_draft_is_not_finished_at_a_smaller_size(call: Any, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert call("draft", "a cat", "--num", 1, "--until", 4, "--pixels", "0.25M", "--out",
                "d.png") == 0
    # Before the model, which would be loaded in vain.
    monkeypatch.setattr("toprovar.cli.edited.load_pipeline", lambda _: pytest.fail("loaded"))
    for pixels, message in (("0.06M", "--pixels 0.06M: the draft is of 512x512 pixels (0.25M) and "
                                      "cannot be finished at 256x256 (0.06M), which is smaller"),
                            ("2M", "--pixels 2M: unknown pixel budget '2M'")):
        assert call("finish", "d.png", "--pixels", pixels) == 2
        assert message in refused(capsys)


def test_vary(call: Any) -> None:
    assert call("vary", "a.png", "a red cat", "--strength", 0.4, "--seed", 3, "--num", 2,
                "--out", "v.png") == 0
    about = told("v-2.png")
    assert about["edit"]["command"] == "vary" and about["edit"]["strength"] == 0.4
    assert about["edit"]["image"]["name"] == "a.png" and about["seed"] == 4
    assert call("vary", "a.png", "--from", "v-2.png", "--out", "again.png") == 0
    assert np.array_equal(pixels("again.png"), pixels("v-2.png"))
    assert call("vary", "a.png", "--from", "v-2.png", "--strength", 0, "--out", "zero.png") == 0
    assert call("vary", "a.png", "other words", "--strength", 0, "--out", "zero2.png") == 0
    assert np.array_equal(pixels("zero.png"), pixels("zero2.png"))


@pytest.mark.parametrize("how", [[], ["--plan", "stop"], ["--padding-mask-crop", "16"],
                                 ["--strength", "0.5", "--blend", "0"]])
def test_inpaint(call: Any, how: list[str]) -> None:
    assert call("inpaint", "a.png", "a red cat", "--mask", "mask.png", "--seed", 3,
                "--out", "i.png", *how) == 0
    around = np.ones((256, 256), dtype=bool)
    around[48:144, 48:176] = False
    assert np.array_equal(pixels("i.png")[around], pixels("a.png")[around])
    assert not np.array_equal(pixels("i.png"), pixels("a.png"))
    assert call("inpaint", "a.png", "--mask", "mask.png", "--from", "i.png",
                "--out", "again.png") == 0
    assert np.array_equal(pixels("again.png"), pixels("i.png"))


def test_outpaint(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("inpaint", "a.png", "a red cat", "--right", 256, "--out", "o.png") == 0
    assert Image.open("o.png").size == (352, 176)
    assert "drawn at 352x176" in capsys.readouterr().out
    assert call("inpaint", "a.png", "--from", "o.png", "--out", "again.png") == 0
    assert np.array_equal(pixels("again.png"), pixels("o.png"))


@pytest.mark.parametrize("how", [[], ["--mask", "mask.png"], ["--mask-share", "0.2", "--away", "2"],
                                 ["--mask-from", "logits", "--cfg", "1"]])
def test_edit(call: Any, how: list[str]) -> None:
    assert call("edit", "a.png", "a cat", "a dog", "--seed", 3, "--out", "e.png", *how) == 0
    about = told("e.png")["edit"]
    assert about["command"] == "edit" and about["source_prompt"] == "a cat"
    again = ["--mask", "mask.png"] if "--mask" in how else []
    assert call("edit", "a.png", "--from", "e.png", "--out", "again.png", *again) == 0
    assert np.array_equal(pixels("again.png"), pixels("e.png"))


def test_pictures_go_back_to_the_command_that_made_them(
        call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("vary", "a.png", "a red cat", "--out", "v.png") == 0
    assert call("generate", "--from", "v.png") == 2
    assert "draw it again with 'toprovar vary'" in refused(capsys)
    assert call("inpaint", "a.png", "--mask", "mask.png", "--from", "v.png") == 2
    assert "made by 'toprovar vary', not by 'toprovar inpaint'" in refused(capsys)
    assert call("vary", "mask.png", "--from", "v.png") == 2
    assert "is not the file that the picture was made from" in refused(capsys)


@pytest.mark.parametrize(("arguments", "message"), [
    (["vary", "none.png", "a"], "no file 'none.png'"),
    (["vary", "a.png"], "give a prompt"),
    (["vary", "a.png", "a", "--strength", "2"], "--strength must be between"),
    (["vary", "bad.png", "a"], "is no picture that can be read"),
    (["vary", "a.png", "a", "--out", "a.png", "--overwrite"], "is also what"),
    (["inpaint", "a.png", "a"], "give --mask FILE, or how much to add"),
    (["inpaint", "a.png", "a", "--mask", "mask.png", "--left", "8"], "not both"),
    (["inpaint", "a.png", "a", "--left", "-8"], "--left must be"),
    (["inpaint", "a.png", "a", "--left", "64", "--strength", "0.5"], "--strength needs a mask"),
    (["inpaint", "a.png", "a", "--mask", "black.png"], "black everywhere"),
    (["inpaint", "a.png", "a", "--mask", "mask.png", "--blend", "-2"], "--blend must be"),
    (["edit", "a.png", "a cat"], "give what the picture shows"),
    (["edit", "a.png", "a cat", "a dog", "--mask-from", "x"], "--mask-from must be one of"),
    (["edit", "a.png", "a cat", "a dog", "--mask", "mask.png", "--mask-share", "0.1"], "leave"),
    (["edit", "a.png", "a cat", "a dog", "--away", "-1"], "--away must be 0 or more"),
    (["draft", "a cat", "--out", "d.jpg"], "must end in .png or .safetensors"),
    (["draft", "a cat", "--until", "0"], "--until must be"),
    (["finish", "none.png"], "no file 'none.png'"),
    (["finish", "a.png"], "a.png"),
    (["finish", "bad.png"], "bad.png"),
])
def test_bad_input_is_refused_in_one_line(call: Any, arguments: list[str], message: str,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.png").write_bytes(b"no picture")
    Image.new("L", (64, 64)).save("black.png")
    files = {p.name: p.read_bytes() for p in Path().iterdir() if p.is_file()}
    assert call(*arguments) == 2
    assert message in refused(capsys)
    assert {p.name: p.read_bytes() for p in Path().iterdir() if p.is_file()} == files


def test_pictures_on_a_draft_are_counted_from_1(call: Any, capsys: pytest.CaptureFixture[str]
                                                ) -> None:
    assert call("draft", "a cat", "--num", 2, "--until", 4, "--out", "d.safetensors") == 0
    for which, message in (("0", "1 to 2"), ("3", "1 to 2"), ("1,x", "got 'x'"), ("1,1", "twice")):
        assert call("finish", "d.safetensors", "--which", which) == 2
        assert message in refused(capsys)
