from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.tiny import tiny_pipeline
from toprovar.cli import main
from toprovar.models.fingerprint import model_fingerprint
from toprovar.pipeline import InfinityPipeline
from toprovar.sparsity.plan_file import load_plan, save_plan

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main(["plan", *map(str, arguments)])


def test_make_and_show(plan: Any, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan("make", "fastvar", "p.json", "--model", tiny_model, "--drop", "0.5,1", "--pn",
                "0.06M", "--aspect", "3:2") == 0
    made = capsys.readouterr().out
    found = load_plan("p.json")
    assert found.strategy == "fastvar" and found.parameters["drop"] == [0.5, 1.0]
    assert found.model.depth == 3 and found.scales[-1].grid == (14, 21) and not found.scales[-1].run
    assert found.predicted and found.predicted.speedup is None
    assert plan("show", "p.json", "--picture", "p.png") == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[:14] == made.splitlines()[:14]
    assert min(Image.open("p.png").size) > 300


@pytest.mark.parametrize(("how", "strategy"), [
    (["dense"], "dense"), (["skipvar", "--uncond", "2"], "skipvar"),
    (["skipvar", "--budget", "0.7"], "skipvar"),
    (["toprovar", "--start-scale", "4", "--rule", "random", "--rule-seed", "3", "--dropped",
      "cached"], "toprovar"),
    (["toprovar"], "toprovar"), (["toprovar", "--budget", "0.3"], "toprovar"),
    (["fastvar", "--speedup", "1.3"], "fastvar"), (["fastvar", "--costs"], "fastvar"),
], ids=lambda v: "-".join(v) if isinstance(v, list) else "")
def test_every_strategy_can_be_made(plan: Any, tiny_model: Path, how: list[str], strategy: str
                                    ) -> None:
    assert plan("make", how[0], "p.json", "--model", tiny_model, *how[1:]) == 0
    found = load_plan("p.json")
    assert found.strategy == strategy and found.predicted
    timed = "--speedup" in how or "--costs" in how
    assert (found.predicted.speedup is not None) == timed
    if "--speedup" in how:
        assert found.predicted.speedup and found.predicted.speedup >= 1.3
    if "--budget" in how:
        assert found.predicted.flop_share <= 0.7
    if "--rule" in how:
        assert found.scales[6].rule == "random" and found.seed == 3
    assert plan("validate", "p.json", "--model", tiny_model) == 0


def test_a_plan_without_guidance_costs_half(plan: Any, tiny_model: Path) -> None:
    for cfg in (1, 3):
        assert plan("make", "dense", f"{cfg}.json", "--model", tiny_model, "--cfg", cfg) == 0
    one, three = (load_plan(f"{cfg}.json").predicted for cfg in (1, 3))
    assert one and three and 2 * one.token_layers == three.token_layers


def test_validate(plan: Any, tiny_model: Path, tmp_path: Path,
                  capsys: pytest.CaptureFixture[str]) -> None:
    plan("make", "fastvar", "p.json", "--model", tiny_model)
    assert plan("validate", "p.json") == 0
    assert "checked without a model" in capsys.readouterr().out
    assert plan("validate", "p.json", "--pn", "0.06M") == 0
    assert plan("validate", "p.json", "--pn", "0.25M") == 1
    assert "another size" in capsys.readouterr().err
    assert plan("validate", "p.json", "--model", tiny_model) == 0
    assert "fits the model" in capsys.readouterr().out
    assert plan("validate", "p.json", "--model", tiny_model, "--pn", "0.25M") == 1
    assert "was made for the schedule 0.06M" in capsys.readouterr().err
    tiny_pipeline(depth=6, block_chunks=3).save_pretrained(tmp_path / "deep")
    assert plan("validate", "p.json", "--model", tmp_path / "deep") == 1
    assert "layers = 3, this one has 6" in capsys.readouterr().err
    broken = Path("p.json").read_text().replace('"sublayer"', '"head"')
    Path("q.json").write_text(broken)
    assert plan("validate", "q.json") == 1
    assert "scales.3.per" in capsys.readouterr().err


def test_other_weights_are_a_note(plan: Any, tiny_model: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    plan("make", "skipvar", "p.json", "--model", tiny_model, "--skip", "1")
    found = load_plan("p.json")
    own = model_fingerprint(InfinityPipeline.from_folder(tiny_model).transformer)
    for fingerprint, noted in ((own, False), ("some-others", True)):
        tag = found.model.model_copy(update={"fingerprint": fingerprint})
        save_plan(found.model_copy(update={"model": tag}), "q.json")
        capsys.readouterr()
        assert plan("validate", "q.json", "--model", tiny_model) == 0
        assert ("made for other weights" in capsys.readouterr().out) == noted


def test_diff(plan: Any, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, skip in (("a", 1), ("b", 2), ("c", 1)):
        plan("make", "skipvar", f"{name}.json", "--model", tiny_model, "--skip", skip)
    capsys.readouterr()
    assert plan("diff", "a.json", "c.json") == 0
    assert "alike" in capsys.readouterr().out
    assert plan("diff", "a.json", "b.json") == 1
    out = capsys.readouterr().out
    assert "parameter skip: 1 -> 2" in out and "scale 5: run -> not run" in out


@pytest.mark.parametrize(("arguments", "message"), [
    (["make", "toprovar", "p.json", "--dropped", "identity"], "needs a calibration"),
    (["make", "toprovar", "p.json", "--planned", "run"], "made before the run"),
    (["make", "skipvar", "p.json"], "fixed policies"),
    (["make", "dense", "p.json", "--budget", "0.5"], "not for dense"),
    (["make", "dense", "p.json", "--pn", "9M"], "unknown pixel budget"),
    (["make", "dense", "p.txt"], "must end in .json"),
    (["make", "dense", "absent/p.json"], "does not exist"),
    (["make", "fastvar", "p.json", "--skip", "1"], "--skip is an option of skipvar"),
    (["show", "absent.json"], "absent.json"),
    (["show", "ok.json", "--picture", "p.jpg"], "must end in .png"),
    (["show", "ok.json", "--picture", "absent/p.png"], "does not exist"),
    (["show", "empty.json"], "not a usable sparsity plan"),
    (["validate", "absent.json"], "there is no file"),
    (["validate", "ok.json", "--embedded", "--model", "x"], "either --embedded or --model"),
    (["diff", "ok.json", "absent.json"], "absent.json"),
])
def test_bad_arguments_say_what_to_do(
    plan: Any, tiny_model: Path, tmp_path: Path, arguments: list[str], message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan("make", "dense", "ok.json", "--model", tiny_model)
    Path("empty.json").write_text("{}")
    capsys.readouterr()
    assert plan(*arguments, *(["--model", tiny_model] if arguments[0] == "make" else [])) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert {p.name for p in tmp_path.iterdir()} == {"ok.json", "empty.json"}
