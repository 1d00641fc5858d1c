from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from toprovar.cli import main
from toprovar.sparsity.plan_file import load_plan
from toprovar.sparsity.plan_table import percent
from toprovar.sparsity.strategies.skipvar.decision import DecisionModel, DecisionModels

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def generate(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> int:
        return main(["generate", "a red cat", "--model", str(tiny_model), "--tau", "1",
                     *map(str, arguments)])

    return call


def told(path: str) -> dict[str, Any]:
    return json.loads(Image.open(path).info["toprovar"])


def pixels(path: str) -> bytes:
    return Image.open(path).tobytes()


def test_a_dense_plan_changes_nothing(generate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--out", "a.png") == 0
    assert "predicted" not in capsys.readouterr().out and "sparsity_plan" not in told("a.png")
    assert generate("--plan", "dense", "--out", "b.png") == 0
    out = capsys.readouterr().out
    assert "dense: 100 % of a dense run's FLOPs" in out and " s in the scale loop" in out
    assert pixels("a.png") == pixels("b.png")


def test_times_of_dense_say_where_they_are_from(generate: Any, capsys: pytest.CaptureFixture[str]
                                                ) -> None:
    """Two of them: for the run that was, and for the plan by the cost model."""
    assert generate("--plan", "toprovar", "--out", "a.png") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "as fast as dense" in line]
    assert len(lines) == 2
    assert lines[0].startswith("this run: ") and lines[0].endswith(
        " s, estimated from this run's full scales)")
    assert lines[1].startswith("the plan, before the run: ") and "by this device's cost" in lines[1]


def test_memory_is_of_gpus(generate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--device", "cpu", "--memory", "6GB", "--out", "a.png") == 2
    assert capsys.readouterr().err.splitlines()[-1] == \
        "toprovar generate: memory '6GB' has no effect on cpu: leave it out"


def test_a_budget_alone_means_toprovar(generate: Any) -> None:
    assert generate("--budget", "0.5", "--out", "a.png") == 0
    assert told("a.png")["plan_request"] == {"plan": "toprovar", "budget": 0.5}


def test_options_are_not_cut_short(generate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        generate("--plan", "toprovar", "--bud", "0.5", "--out", "a.png")
    assert "unrecognized arguments: --bud" in capsys.readouterr().err


@pytest.mark.parametrize("how", [
    ["toprovar"], ["toprovar", "--budget", "0.5"],
    ["toprovar", "--dropped", "identity", "--start-scale", "5"], ["fastvar", "--drop", "0.5,0.5"],
    ["toprovar", "--planned", "before", "--start-scale", "4", "--dropped", "cached"],
], ids=lambda how: "-".join(how))
def test_a_picture_can_be_made_again(generate: Any, how: list[str],
                                     capsys: pytest.CaptureFixture[str]) -> None:
    """From the saved plan, and from the picture itself."""
    assert generate("--plan", *how, "--seed", 5, "--out", "a.png", "--report", "a.json",
                    "--save-plan", "plan.json") == 0
    text = capsys.readouterr().out
    saved = told("a.png")
    assert saved["plan"] == how[0] and saved["plan_request"]["plan"] == how[0]
    assert load_plan("plan.json").predicted and not load_plan("plan.json").dense
    assert saved["sparsity_plan"] == json.loads(Path("plan.json").read_text())
    report = json.loads(Path("a.json").read_text())
    assert report["predicted"]["flop_share"] < 1 and report["speedup"]["predicted"] > 0
    assert report["token_layers"] < report["dense_token_layers"]
    rows = [line.split() for line in text.splitlines() if " 16x16 " in line]
    assert len(rows) == 1 and rows[0][:3] == ["6", "16x16", "256"]
    assert int(rows[0][3]) == report["scales"][6]["rows"]
    mean = sum(report["scales"][6]["kept"]) / 3 / 256
    assert percent(mean).split()[0] == rows[0][6]  # after the smallest share and its sign
    for source in ("plan.json", "a.png"):
        assert generate("--plan", source, "--seed", 5, "--out", "b.png") == 0
        assert pixels("a.png") == pixels("b.png")
    assert generate("--seed", 5, "--pixels", "0.06M", "--out", "c.png") == 0
    assert pixels("a.png") != pixels("c.png")


def test_each_image_is_planned_by_itself(generate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--plan", "toprovar", "--dropped", "identity", "--budget", 0.6, "--num", 2,
                    "--seed", 3, "--out", "a.png", "--report", "a.json", "--save-plan", "p.json"
                    ) == 0
    text = capsys.readouterr().out
    assert "image 1\n" in text and "image 2\n" in text
    assert len(json.loads(Path("a.json").read_text())["runs"]) == 2
    for i in (1, 2):
        saved = told(f"a-{i}.png")
        assert saved["seed"] == 2 + i and saved["plan_request"]["budget"] == 0.6
        assert saved["sparsity_plan"] == json.loads(Path(f"p-{i}.json").read_text())
        assert generate("--plan", f"p-{i}.json", "--seed", 2 + i, "--out", "b.png") == 0
        assert pixels("b.png") == pixels(f"a-{i}.png")


def test_the_automatic_choice_says_what_it_does(generate: Any, capsys: pytest.CaptureFixture[str]
                                               ) -> None:
    """The tiny model has so little work that there is nothing to gain."""
    assert generate("--plan", "auto", "--budget", 0.6, "--seed", 5, "--out", "a.png") == 0
    assert "could be saved at this size" in capsys.readouterr().out
    assert generate("--seed", 5, "--pixels", "0.06M", "--out", "b.png") == 0
    assert pixels("a.png") == pixels("b.png")
    assert told("a.png")["plan_request"] == {"plan": "auto", "budget": 0.6}


def test_the_plan_brings_its_size(generate: Any) -> None:
    assert generate("--plan", "fastvar", "--aspect", "3:2", "--out", "a.png", "--save-plan",
                    "p.json") == 0
    assert generate("--plan", "p.json", "--out", "b.png") == 0
    assert Image.open("b.png").size == Image.open("a.png").size == (336, 224)


def test_speedup_and_skipvar(generate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--plan", "skipvar", "--skip", 1, "--out", "a.png") == 0
    assert "not run" in capsys.readouterr().out
    assert generate("--plan", "fastvar", "--speedup", 1.5, "--out", "a.png", "--report", "r.json"
                    ) == 0
    report = json.loads(Path("r.json").read_text())
    assert report["speedup"]["predicted"] >= 1.5
    assert report["plan_request"] == {"plan": "fastvar", "speedup": 1.5}
    models = DecisionModels({"tiny": DecisionModel.always(skip=2)})
    models.save("d.json")
    assert generate("--plan", "skipvar", "--decisions", "d.json", "--out", "a.png") == 0
    out = capsys.readouterr().out
    assert "without the last 2 scales" in out and out.count("not run") >= 2
    assert told("a.png")["plan_request"]["decisions"] == "d.json"


@pytest.mark.parametrize(("arguments", "message"), [
    (["--plan", "fastest"], "no strategy and no file is called 'fastest'"),
    (["--plan", "dense", "--speedup", "2"], "not for dense"),
    (["--speedup", "0.5"], "--speedup must be 1 or more"),
    (["--plan", "toprovar", "--speedup", "2", "--budget", "0.5"], "either --speedup or --budget"),
    (["--plan", "toprovar", "--speedup", "0.5"], "--speedup must be 1 or more"),
    (["--plan", "toprovar", "--budget", "2"], "between 0 and 1"),
    (["--plan", "toprovar", "--drop", "0.5"], "--drop is an option of fastvar"),
    (["--alpha-max", "0.5"], "--alpha-max is an option of toprovar"),
    (["--plan", "toprovar", "--budget", "0.5", "--alpha-max", "0.5"], "leave out one"),
    (["--plan", "fastvar", "--budget", "0.5", "--drop", "0.5"], "leave out one"),
    (["--plan", "toprovar", "--budget", "0.5", "--dimensions", "scale"], "leaves scales out whole"),
    (["--plan", "toprovar", "--alpha-max", "2"], "--alpha-max must be between 0 and 1"),
    (["--plan", "toprovar", "--alpha-max", "0.1", "--alpha-min", "0.2"], "is above alpha_max"),
    (["--plan", "toprovar", "--dimensions", "fixed_exit"], "needs a start_scale"),
    (["--plan", "toprovar", "--planned", "before", "--dropped", "cached"], "needs a calibration"),
    (["--plan", "toprovar", "--calibration", "absent.json"], "absent.json"),
    (["--plan", "fastvar", "--drop", "a,b"], "--drop must look like"),
    (["--plan", "fastvar", "--drop", "0.5,2"], "between 0 and 1"),
    (["--plan", "skipvar", "--skip", "4"], "--skip must be between 0 and 3"),
    (["--plan", "skipvar", "--skip", "1", "--decisions", "d.json"], "one or the other"),
    (["--plan", "file.json"], "not a usable sparsity plan"),
    (["--plan", "plain.png"], "holds no sparsity plan"),
    (["--plan", "other.json"], "width = 64"),
    (["--plan", "dense", "--save-plan", "absent/p.json"], "does not exist"),
    (["--save-plan", "p.json"], "--save-plan needs --plan"),
])
def test_bad_arguments_say_what_to_do(
    generate: Any, tmp_path: Path, arguments: list[str], message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from toprovar.models.config import TransformerConfig
    from toprovar.schedules import get_schedule
    from toprovar.sparsity.plan import dense_plan
    from toprovar.sparsity.plan_file import save_plan

    Path("file.json").write_text("{}")
    Image.new("RGB", (8, 8)).save("plain.png")
    other = TransformerConfig(depth=3, width=64, num_heads=2, bits_per_token=8)
    save_plan(dense_plan(other, get_schedule("1.0", "0.06M")), "other.json")
    assert generate(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert {p.name for p in tmp_path.iterdir()} == {"file.json", "plain.png", "other.json"}
