from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from toprovar.cli import main
from toprovar.sparsity.strategies.registry import names as strategies

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def compare(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> int:
        return main(["compare", "a red cat", "--model", str(tiny_model), "--tau", "1",
                     *map(str, arguments)])

    return call


def test_all_strategies_on_one_sheet(compare: Any, tiny_model: Path,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("--seed", 4, "--out", "c.png", "--pictures", "single", "--side", 128) == 0
    captured = capsys.readouterr()
    found = json.loads(Path("c.json").read_text())
    names = list(strategies())
    own = {one["name"]: one for one in found["strategies"]}
    assert list(own) == names and found["seed"] == 4 and found["schedule"]["pn"] == "0.06M"
    assert "single samples" in found["how"] and found["how"] in captured.out
    dense = own["dense"]
    assert dense["ssim"] == dense["equal_bits"] == dense["speedup"] == 1 and dense["psnr"] is None
    assert dense["latent_distance"] == 0
    for name in names[1:]:
        if name == "window":  # hides too little at this size, and says so
            assert own[name]["flop_share"] == 1 and "saves no time" in captured.out
            continue
        assert own[name]["flop_share"] < 1 and own[name]["latent_distance"] > 0
        assert own[name]["speedup"] == pytest.approx(dense["seconds"] / own[name]["seconds"])
        assert own[name]["speedup_predicted"] > 0
    # What runs the same scales has the same bits; the policy is noted.
    assert (own["skipvar"]["equal_bits"], own["skipvar"]["bit_scales"]) == (1, 6)
    assert "fixed policy" in captured.out and own["toprovar"]["bit_scales"] == 7
    sheet = Image.open("c.png")
    assert sheet.width > 4 * 128 and sheet.height > 2 * 128
    assert json.loads(sheet.info["toprovar"]) == found  # type: ignore[attr-defined]  # PNG has it
    assert f"{2 * len(names)}/{2 * len(names)}" in captured.err  # each once to warm up
    # The pictures are those that generate makes.
    assert main(["generate", "a red cat", "--model", str(tiny_model), "--tau", "1", "--seed", "4",
                 "--plan", "fastvar", "--out", "g.png"]) == 0
    assert Image.open("g.png").tobytes() == Image.open("single/fastvar.png").tobytes()
    assert sorted(p.stem for p in Path("single").iterdir()) == sorted(names)


def test_at_a_budget_those_that_come_near_it(compare: Any, capsys: pytest.CaptureFixture[str]
                                             ) -> None:
    assert compare("--budget", 0.4, "--no-warm-up") == 0
    shown = [one["name"] for one in json.loads(Path("compare.json").read_text())["strategies"]]
    assert shown[0] == "dense" and {"toprovar", "fastvar", "stop"} <= {*shown}
    assert not {"scalekv", "window"} & {*shown}
    told = capsys.readouterr().out
    assert "left out, as the target is out of their reach: scalekv" in told and "window (" in told
    assert compare("--budget", 0.4, "--no-warm-up", "--strategies", "window", "--overwrite") == 0
    found = json.loads(Path("compare.json").read_text())["strategies"]
    assert [one["name"] for one in found] == ["dense", "window"]


def test_a_choice_at_a_budget_and_a_plan_of_ones_own(compare: Any, tiny_model: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "make", "skipvar", "own.json", "--model", str(tiny_model), "--uncond", "1"
                 ]) == 0
    assert compare("--strategies", "fastvar,skipvar,own.json", "--budget", 0.5, "--no-warm-up",
                   "--json", "figures.json") == 0
    captured = capsys.readouterr()
    found = json.loads(Path("figures.json").read_text())
    own = {one["name"]: one for one in found["strategies"]}
    assert list(own) == ["dense", "fastvar", "skipvar", "own"] and found["budget"] == 0.5
    assert own["fastvar"]["flop_share"] <= 0.5 < own["own"]["flop_share"] < 1
    used = {name: own[name]["flop_share"] for name in ("fastvar", "skipvar")}
    assert used["fastvar"] > 0.48 > used["skipvar"]
    note = (f"asked for 50.0% of a dense run's FLOPs, used: fastvar {used['fastvar']:.1%}, skipvar "
            f"{used['skipvar']:.1%} ({100 * (0.5 - used['skipvar']):.0f} points less)")
    assert found["notes"] == [note] and note in captured.out
    assert any("seven fixed policies" in note for note in own["skipvar"]["notes"])
    assert not any("points below" in note for note in own["fastvar"]["notes"])
    assert own["own"]["bit_scales"] == 7 and 0.3 < own["own"]["equal_bits"] < 1
    assert "warm-up" not in found["how"] and "4/4" in captured.err
    assert Path("compare.png").is_file()


@pytest.mark.parametrize(("arguments", "message"), [
    (["--strategies", "fastest"], "no strategy and no file is called 'fastest'"),
    (["--strategies", "dense", "--speedup", "2"], "not for dense"),
    (["--strategies", "fastvar", "--skip", "1"], "--skip is an option of skipvar"),
    (["--speedup", "2", "--budget", "0.5"], "either --speedup or --budget"),
    (["--out", "x.jpg"], "must end in .png"),
    (["--out", "absent/x.png"], "does not exist"),
    (["--side", "10"], "--side must be between 64"),
    (["--pixels", "9M"], "unknown pixel budget"),
])
def test_bad_arguments_say_what_to_do(
    compare: Any, tmp_path: Path, arguments: list[str], message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compare(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_means_over_several_seeds(compare: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("--strategies", "fastvar,stop", "--seeds", "3-4,9", "--pictures", "p",
                   "--no-warm-up") == 0
    captured = capsys.readouterr()
    found = json.loads(Path("compare.json").read_text())
    assert found["seeds"] == [3, 4, 9] and found["seed"] == 3 and "9/9" in captured.err
    assert sorted(p.name for p in Path("p").iterdir()) == sorted(
        f"{name}-seed{seed}.png" for name in ("dense", "fastvar", "stop") for seed in (3, 4, 9))
    for one in found["strategies"][1:]:
        own = [each["ssim"] for each in one["each"]]
        assert len(set(own)) == 3 and one["ssim"] == pytest.approx(sum(own) / 3)
        assert f"{one['ssim']:.3f} ({min(own):.3f} to {max(own):.3f})" in captured.out
    alone = found["strategies"][1]["each"][2]
    assert compare("--strategies", "fastvar", "--seed", 9, "--no-warm-up") == 0
    again = json.loads(Path("compare.json").read_text())["strategies"][1]
    assert again["ssim"] == alone["ssim"] and again["latent_distance"] == alone["latent_distance"]


@pytest.mark.parametrize(("arguments", "wrong"), [
    (["--seeds", "1,x"], "--seeds must look like 1,2,3 or 4-7, got '1,x'"),
    (["--seeds", "7-4"], "--seeds must look like"), (["--seeds", "0-99999999999"], "must look"),
    (["--seeds", "1,1"], "each seed once"), (["--seeds", "1", "--seed", "2"], "not both"),
])
def test_lists_of_seeds_are_checked_at_once(
    compare: Any, arguments: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(*arguments) == 2
    error = capsys.readouterr().err
    assert wrong in error and "loading" not in error
