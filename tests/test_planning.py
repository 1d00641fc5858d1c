"""``make_plan`` with what a script brings along, and ``load_pipeline``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import torch
from pydantic import Field

from tests.tiny import tiny_pipeline
from toprovar import Calibration, SparsityPlan, dense_plan, get_schedule, load_pipeline, make_plan
from toprovar.files import DATA
from toprovar.sparsity import shortcuts
from toprovar.sparsity.strategies.base import Option, PlanContext, Settings, Strategy

SCHEDULE = get_schedule("1.0", "0.06M")


class OwnSettings(Settings):
    off: Annotated[int, Option("scales at the end without guidance")] = Field(default=1, ge=0)


class Own(Strategy[OwnSettings]):
    name: ClassVar[str] = "own"
    summary: ClassVar[str] = "guidance ends early"
    settings: ClassVar[type[Settings]] = OwnSettings
    targets: ClassVar[bool] = False

    def plan(self, settings: OwnSettings, context: PlanContext) -> SparsityPlan:
        full = dense_plan(context.shape, context.schedule, self.name)
        first = len(full.scales) - settings.off
        scales = tuple(step.model_copy(update={"unconditional": s < first})
                       for s, step in enumerate(full.scales))
        return context.finished(full.model_copy(update={"scales": scales}))


def test_a_strategy_of_ones_own_plans_like_any_other() -> None:
    pipe = tiny_pipeline()
    plan: Any = make_plan(pipe, Own(), SCHEDULE, off=3)
    assert [step.guided for step in plan.scales] == [True] * 4 + [False] * 3
    assert plan.predicted.flop_share < 0.6
    done = pipe("a cat", seed=1, schedule=SCHEDULE, plan=plan, guidance_scale=2)
    assert done.report.plan == "own" and done.report.scales[-1].rows == 1
    with pytest.raises(ValueError, match="own has no option 'on'; it has off"):
        make_plan(pipe, Own(), SCHEDULE, on=1)
    with pytest.raises(ValueError, match="own run has no budget"):
        make_plan(pipe, Own(), SCHEDULE, budget=0.5)


def test_what_is_no_strategy_is_refused() -> None:
    nothing: Any = Own
    with pytest.raises(TypeError, match="expected a Strategy"):
        make_plan(tiny_pipeline(), nothing, SCHEDULE)


def test_a_calibration_may_be_given_as_its_file(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the shortcuts beside it, which plans by it then find."""
    for ending in (".json", ".safetensors"):
        shutil.copy(DATA / "calibrations" / f"infinity-emoji{ending}", tmp_path / f"own{ending}")
    monkeypatch.setattr(shortcuts, "_REGISTERED", {})
    pipe = load_pipeline(device="cpu")
    file = tmp_path / "own.json"
    plans: list[Any] = [make_plan(pipe, "toprovar", SCHEDULE, budget=0.3, calibration=given)
                        for given in (file, str(file), Calibration.load(file))]
    assert plans[0] == plans[1] == plans[2] and plans[0].shortcuts in shortcuts._REGISTERED
    with pytest.raises(ValueError, match=r"own\.json: calibrates a model of 10 layers"):
        make_plan(tiny_pipeline(), "toprovar", SCHEDULE, budget=0.3, calibration=file)
    with pytest.raises(ValueError, match="missing"):
        make_plan(pipe, "toprovar", SCHEDULE, budget=0.3, calibration=tmp_path / "missing.json")


def test_load_pipeline_chooses_device_and_dtype(tmp_path: Path) -> None:
    pipe = load_pipeline(device="cpu")
    assert pipe.transformer.compute_dtype == torch.float32
    assert pipe.config["default_pn"] == "0.25M"  # the embedded model
    tiny = tiny_pipeline()
    tiny.save_pretrained(tmp_path / "tiny")
    loaded = load_pipeline(tmp_path / "tiny", device="cpu", dtype="bf16")
    assert loaded.transformer.compute_dtype == torch.bfloat16
    assert loaded.transformer.shape == tiny.transformer.shape


@pytest.mark.parametrize(("how", "message"), [
    ({"model": "nowhere"}, "nowhere"), ({"device": "tpu9"}, "unknown device 'tpu9'"),
    ({"device": "cpu", "dtype": "int3"}, "unknown dtype 'int3'"),
    ({"device": "cpu", "memory": "6GB"}, "memory '6GB' has no effect on cpu: leave it out"),
])
def test_load_pipeline_names_what_it_cannot_do(how: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_pipeline(**how)
