"""Many prompts, other kinds of pictures, and pictures drawn again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from toprovar.cli import main
from toprovar.cli.prompt_rows import Row, read_rows
from toprovar.picture_files import read_parameters, save_picture

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def generate(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> int:
        return main(["generate", *map(str, arguments), "--model", str(tiny_model)])

    return call


def pixels(path: str) -> bytes:
    return Image.open(path).tobytes()


def test_prompts_of_a_text_file(generate: Any) -> None:
    Path("p.txt").write_text("# things\n\na red cat\n  a blue dog \n", encoding="utf-8")
    assert generate("--prompts", "p.txt", "--seed", 5, "--num", 2, "--grid", "all.png") == 0
    told = [read_parameters(f"out-{i}.png") for i in range(1, 5)]
    assert [(t["prompt"], t["seed"]) for t in told] == [
        ("a red cat", 5), ("a red cat", 6), ("a blue dog", 7), ("a blue dog", 8)]
    assert generate("a blue dog", "--seed", 8, "--out", "one.png") == 0
    assert pixels("one.png") == pixels("out-4.png")
    sheet = Image.open("all.png")
    assert sheet.width > 2 * 256 and sheet.height > 2 * 256
    assert read_parameters("all.png")["prompts"] == ["a red cat", "a blue dog"]


def test_prompts_of_a_table(generate: Any) -> None:
    Path("p.csv").write_text('Prompt,seed,negative,name\n"a red cat, a dog",7,,first\n'
                             "a blue cat,,a dog,\n", encoding="utf-8-sig")
    assert generate("--prompts", "p.csv", "--out", "o.png", "--report", "r.json") == 0
    first, second = read_parameters("first.png"), read_parameters("o-2.png")
    assert (first["prompt"], first["seed"], first["negative_prompt"]) == (
        "a red cat, a dog", 7, None)
    assert (second["prompt"], second["seed"], second["negative_prompt"]) == (
        "a blue cat", 1, "a dog")
    runs = json.loads(Path("r.json").read_text())["runs"]
    assert [run["prompt"] for run in runs] == ["a red cat, a dog", "a blue cat"]


@pytest.mark.parametrize(("name", "text", "wrong"), [
    ("p.txt", "# nothing\n", "it holds no prompt"),
    ("p.csv", "text\na cat\n", "line 1: no column is called 'prompt'"),
    ("p.csv", "prompt,size\na cat,3\n", "line 1: expected the columns prompt, negative, "),
    ("p.csv", "prompt,seed\na cat,x\n", "line 2: seed must be a whole number, got 'x'"),
    ("p.csv", "prompt,seed\na cat,99999999999999999999\n", "line 2: seed must be between"),
    ("p.csv", "prompt,seed\na cat, with a hat,3\n", "line 2: 3 cells, the head has 2"),
    ("p.csv", "prompt,seed\na cat,1\n ,2\n", "line 3: the prompt is empty"),
    ("p.csv", "prompt,name\na cat,../x\n", "line 2: '../x' is not a valid file name"),
    ("p.csv", "prompt,name\na cat,x\na dog,X\n", "line 3: the name 'X' is also that of line 2"),
    ("p.csv", 'prompt\n"a cat\n', "line 2: unexpected end of data"),
])
def test_bad_files_of_prompts_are_named(
    generate: Any, name: str, text: str, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_text(text, encoding="utf-8")
    assert generate("--prompts", name) == 2
    error = capsys.readouterr().err
    assert f"{name}: not a usable file of prompts: {wrong}" in error and "loading" not in error


def test_rows_are_read_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("name,prompt,seed\na,x,-1\n,y,\n", encoding="utf-8")
    assert read_rows(file) == [Row("x", None, -1, "a"), Row("y")]


@pytest.mark.parametrize(("arguments", "wrong"), [
    ([], "give a prompt, or --prompts FILE, or --from PICTURE"),
    (["a cat", "--prompts", "p.txt"], "give a prompt, or --prompts FILE, not both"),
    (["a cat", "--out", "x.gif"], "--out must end in .png, .jpg, .jpeg, .webp, got 'x.gif'"),
    (["a cat", "--grid", "x"], "--grid must end in .png"),
    (["a cat", "--grid", "out.png"], "is also the file of --out"),
    (["a cat", "--quality", "0"], "--quality must be between 1 and 100, got 0"),
    (["--from", "plain.png"], "not by 'toprovar generate'"),
    (["--from", "absent.png"], "cannot be read: No such file"),
    (["--from", "p.txt"], "not a PNG, JPEG or WebP file"),
    (["--prompts", "eleven.txt", "--num", "1000"], "one command draws at most 10000"),
])
def test_what_cannot_be_is_refused_at_once(
    generate: Any, arguments: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("p.txt").write_text("a cat\na dog\n")
    Path("eleven.txt").write_text("a cat\n" * 11)
    Image.new("RGB", (8, 8)).save("plain.png")
    assert generate(*arguments) == 2
    error = capsys.readouterr().err
    assert wrong in error and "loading" not in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.jpeg", "a.webp"])
def test_parameters_are_in_every_kind(generate: Any, name: str) -> None:
    assert generate("a red cat, très “chic”", "--seed", 3, "--plan", "stop", "--out", name) == 0
    told = read_parameters(name)
    assert told["prompt"] == "a red cat, très “chic”" and told["seed"] == 3
    assert told["sparsity_plan"]["strategy"] == "stop"
    assert generate("a blue dog", "--plan", name, "--out", "b.png") == 0  # its plan alone
    assert read_parameters("b.png")["sparsity_plan"] == told["sparsity_plan"]


def test_quality_changes_size_and_lossless_webp_nothing(generate: Any) -> None:
    assert generate("a red cat", "--out", "a.png") == 0
    for quality in (100, 30):
        assert generate("a red cat", "--out", f"{quality}.webp", "--quality", quality) == 0
        assert generate("a red cat", "--out", f"{quality}.jpg", "--quality", quality) == 0
    assert pixels("100.webp") == pixels("a.png")
    assert Path("30.jpg").stat().st_size < Path("100.jpg").stat().st_size


@pytest.mark.parametrize("how", [
    [], ["--plan", "fastvar"], ["--plan", "toprovar", "--dropped", "identity"], ["--greedy"],
    ["--cfg", "1", "--negative", "a dog"],
    ["--pixels", "0.25M", "--aspect", "3:2", "--tau", "0.4", "--top-p", "0.8", "--vae-tile", "8"],
])
def test_a_picture_drawn_again_is_the_same(generate: Any, how: list[str]) -> None:
    assert generate("a red cat", "--seed", 9, "--cfg", 3, *how, "--out", "a.png") == 0
    assert generate("--from", "a.png", "--out", "b.png") == 0
    assert pixels("a.png") == pixels("b.png")
    first, second = read_parameters("a.png"), read_parameters("b.png")
    assert {k: first[k] for k in ("prompt", "seed", "params")} == {
        k: second[k] for k in ("prompt", "seed", "params")}


def test_options_beside_a_picture_win(generate: Any) -> None:
    assert generate("a red cat", "--seed", 9, "--plan", "stop", "--out", "a.png") == 0
    assert generate("--from", "a.png", "--seed", 1, "--plan", "dense", "--out", "b.png") == 0
    assert generate("a red cat", "--seed", 1, "--out", "c.png") == 0
    assert pixels("b.png") == pixels("c.png") and read_parameters("b.png")["seed"] == 1


def test_a_damaged_description_is_named(generate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for about, wrong in (({"prompt": "a cat"}, "lacks a prompt, a seed or the sampling"),
                         ({"prompt": "a cat", "seed": 1, "params": {
                             "schedule": {"grids": "x"}, "mode": "sample", "cfg": [1], "tau": [1],
                         }}, "its scales cannot be read"),
                         ({"prompt": "a cat", "seed": 1, "params": {
                             "schedule": {}, "mode": "sample", "cfg": ["1"], "tau": [1],
                         }}, "its cfg is not a number for each scale")):
        save_picture(Image.new("RGB", (8, 8)), Path("a.png"), about)
        assert generate("--from", "a.png") == 2
        error = capsys.readouterr().err
        assert wrong in error and "Traceback" not in error


def test_quiet_prints_nothing_and_others_a_line_at_once(
    generate: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    assert generate("a red cat", "--quiet", "--out", "a.png", "--plan", "stop") == 0
    assert capfd.readouterr() == ("", "")
    assert generate("a red cat", "--out", "a.png") == 0
    assert capfd.readouterr().err.startswith("loading ")


def test_a_prompt_too_long_for_a_jpeg_is_drawn_and_left_out(
    generate: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = "a red cat " * 7000
    assert generate(prompt, "--num", 2, "--seed", 5, "--plan", "stop", "--out", "a.jpg", "--grid",
                    "g.jpg") == 0
    said = capsys.readouterr().out
    assert said.count("PNG holds everything") == 1
    assert "left out there: sparsity plan, prompt, prompts;" in said
    about = read_parameters("a-1.jpg")
    assert about["seed"] == 5 and about["params"]["cfg"] and "prompt" not in about
    assert generate("--from", "a-1.jpg", "--out", "b.png") == 2
    assert "its prompt did not fit into the file" in capsys.readouterr().err
    assert generate(prompt, "--from", "a-1.jpg", "--out", "b.png") == 2
    assert "its plan did not fit into the file" in capsys.readouterr().err
    assert generate(prompt, "--from", "a-1.jpg", "--plan", "stop", "--out", "b.png") == 0
    assert generate(prompt, "--seed", 5, "--plan", "stop", "--out", "c.png") == 0
    assert pixels("b.png") == pixels("c.png")
    assert read_parameters("c.png")["prompt"] == prompt
