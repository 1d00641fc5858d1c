"""Weights of words, and what is said of prompts, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.test_generate_many import generate, pixels
from toprovar.cli import main
from toprovar.cli.picture_prompts import prompts_of_pictures
from toprovar.picture_files import read_parameters, save_picture

__all__ = ["generate"]

pytestmark = pytest.mark.usefixtures("cache")
EMBEDDING = ('the prompt was read without "embedding:bad": Infinity has no textual-inversion '
             "embeddings")

def test_words_have_weights_unless_they_are_switched_off(
    generate: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate("a red cat", "--out", "plain.png") == 0
    assert generate("a (red:1.0) cat, embedding:bad", "--out", "one.png") == 0
    assert f"note: {EMBEDDING}" in capsys.readouterr().out
    assert generate("a (red:3) cat", "--out", "three.png", "--report", "r.json") == 0
    assert "note" not in capsys.readouterr().out
    assert generate("a (red:3) cat", "--no-word-weights", "--out", "text.png") == 0
    assert 'note: the prompt has "(red:3)", which is read as it stands' in capsys.readouterr().out
    assert generate("a red cat", "--no-word-weights", "--out", "off.png") == 0
    assert pixels("plain.png") == pixels("off.png")
    assert len({pixels(f"{name}.png") for name in ("plain", "three", "text")}) == 3
    assert read_parameters("three.png")["prompt_weights"] is True
    assert read_parameters("text.png")["prompt_weights"] is False
    assert json.loads(Path("r.json").read_text())["prompt_weights"] is True


def test_the_comma_that_an_embedding_leaves_is_all_that_is_left(generate: Any) -> None:
    assert generate("embedding:bad, a (red:1.0) cat", "--out", "one.png") == 0
    assert generate("a red cat", "--out", "plain.png") == 0
    assert pixels("one.png") == pixels("plain.png")


def test_negative_prompts_have_weights_too(generate: Any, capsys: pytest.CaptureFixture[str]
                                           ) -> None:
    for name, negative in (("plain", "a dog"), ("weighted", "a (dog:3)"),
                           ("tagged", "a dog embedding:bad")):
        assert generate("a red cat", "--negative", negative, "--out", f"{name}.png") == 0
    assert f"note: {EMBEDDING.replace('the prompt', 'the negative prompt')}" in (
        capsys.readouterr().out)
    assert pixels("plain.png") == pixels("tagged.png") != pixels("weighted.png")


def test_a_picture_is_drawn_again_as_it_was_read(generate: Any) -> None:
    for name, option in (("on", "--word-weights"), ("off", "--no-word-weights")):
        assert generate("a (red:3) cat", option, "--out", f"{name}.png") == 0
        assert generate("--from", f"{name}.png", "--out", "again.png") == 0
        assert pixels("again.png") == pixels(f"{name}.png")
    assert generate("--from", "off.png", "--word-weights", "--out", "again.png") == 0
    assert pixels("again.png") == pixels("on.png")
    # Pictures of before there were weights do not say: all was text.
    about = {key: value for key, value in read_parameters("off.png").items()
             if key != "prompt_weights"}
    save_picture(Image.open("off.png"), Path("old.png"), about)
    assert generate("--from", "old.png", "--out", "again.png") == 0
    assert pixels("again.png") == pixels("off.png")


def test_unknown_words_of_every_prompt_are_named(
    generate: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("p.txt").write_text("a red cat\na zebra\na cat on a skateboard\n", encoding="utf-8")
    unknown = "the prompt has words that the text encoder does not know and cannot tell apart"
    assert generate("--prompts", "p.txt", "--num", 2, "--report", "r.json") == 0
    out = capsys.readouterr().out
    assert out.count(unknown) == 2
    assert f"note (a zebra): {unknown}: zebra\n" in out
    assert f"note (a cat on a skateboard): {unknown}: skateboard\n" in out
    runs = json.loads(Path("r.json").read_text())["runs"]
    assert {run["prompt"] for run in runs if f"{unknown}: zebra" in run["notes"]} == {"a zebra"}
    assert generate("a zebra", "--num", 2) == 0
    assert f"note: {unknown}: zebra\n" in capsys.readouterr().out


def test_comparisons_read_weights(tiny_model: Path, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    def compare(*given: str) -> dict[str, Any]:
        assert main(["compare", *given, "--strategies", "dense", "--no-warm-up", "--model",
                     str(tiny_model), "--out", str(tmp_path / "c.png"), "--overwrite",
                     "--pictures", str(tmp_path)]) == 0
        return json.loads((tmp_path / "c.json").read_text())

    assert compare("a (red:3) zebra")["prompt_weights"] is True
    out = capsys.readouterr().out
    assert "note (dense): the prompt has words" in out and "apart: zebra\n" in out
    weighted = pixels(str(tmp_path / "dense.png"))
    assert compare("a (red:3) zebra", "--no-word-weights")["prompt_weights"] is False
    assert 'has "(red:3)", which is read as it stands' in capsys.readouterr().out
    assert pixels(str(tmp_path / "dense.png")) != weighted


def test_calibration_takes_pictures_prompts_without_weights(generate: Any) -> None:
    assert generate("a (red:3) cat", "--out", "on.png") == 0
    assert prompts_of_pictures(Path.cwd()) == ["a red cat"]
    assert generate("a (red:3) cat", "--no-word-weights", "--out", "on.png", "--overwrite") == 0
    assert prompts_of_pictures(Path.cwd()) == ["a (red:3) cat"]


def test_commands_that_measure_name_unknown_words_beside_their_results(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", str(tiny_model), "--pixels", "0.06M")
    unknown = "the text encoder does not know and cannot tell apart: zebra\n"
    assert main(["analyze", "a red cat", "a (zebra:2)", "--json", *model]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["prompts"] == ["a red cat", "a (zebra:2)"]
    assert 'note: the prompt 2 of 2 has "(zebra:2)", which is read as it stands' in told.err
    assert "note: the prompt 2 of 2 has words that the text encoder does not know" in told.err
    assert main(["calibrate", "a zebra", "--minutes", "0.01", "--out",
                 str(tmp_path / "c.json"), *model]) == 0
    assert f"note: the prompt has words that {unknown}" in capsys.readouterr().err
    many = [f"a zebra {n}" for n in range(14)]
    assert main(["analyze", *many, "--scales", "0", "--json", *model]) == 0
    told = capsys.readouterr()
    assert told.err.count("zebra") == 10 and "note: 4 further notes on prompts" in told.err


def test_fits_name_unknown_words(tiny_model: Path, tmp_path: Path,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    assert main(["fit-skipvar", "a red apple", "a zebra", "--num-seeds", "2", "--target", "0.6",
                 "--pixels", "0.06M", "--model", str(tiny_model), "--out",
                 str(tmp_path / "own.json")]) == 0
    assert "the prompt 2 of 2 has words" in capsys.readouterr().err
