from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from toprovar.models.config import TransformerConfig
from toprovar.schedules import get_schedule
from toprovar.sparsity import plan_file
from toprovar.sparsity.cost import predict
from toprovar.sparsity.plan import SparsityPlan, dense_plan
from toprovar.sparsity.plan_file import (
    load_plan,
    plan_from_json,
    plan_schema,
    plan_to_json,
    save_plan,
)
from toprovar.sparsity.strategies.fastvar import fastvar_plan
from toprovar.sparsity.strategies.skipvar.policies import skipvar_plan
from toprovar.sparsity.strategies.toprovar.before import toprovar_plan
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

SHAPE = TransformerConfig(depth=4, width=32, num_heads=2, bits_per_token=8)
SCHEDULE = get_schedule("1.333", "0.06M")
PLANS = [
    dense_plan(SHAPE, SCHEDULE),
    predict(fastvar_plan(SHAPE, SCHEDULE, (0.3, 0.6)), SHAPE),
    skipvar_plan(SHAPE, SCHEDULE, skip=2),
    skipvar_plan(SHAPE, SCHEDULE, uncond=1),
    predict(toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(
        start_scale=4, dropped="cached", region=4, unconditional_off=1)), SHAPE),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: p.strategy)
def test_a_plan_comes_back_as_it_was(plan: SparsityPlan, tmp_path: Path) -> None:
    save_plan(plan, tmp_path / "p.json")
    assert load_plan(tmp_path / "p.json") == plan
    assert [p.name for p in tmp_path.iterdir()] == ["p.json"]


def change(**changes: Any) -> dict[str, Any]:
    return {**plan_to_json(PLANS[1]), **changes}


def scale(index: int, **changes: Any) -> dict[str, Any]:
    values = plan_to_json(PLANS[1])
    values["scales"][index].update(changes)
    return values


@pytest.mark.parametrize(("values", "message"), [
    ([1, 2], "not a usable sparsity plan"),
    ({"version": 1}, "no 'scales'"),
    (change(version=2), "plan version 2, this program reads version 1"),
    ({k: v for k, v in change().items() if k != "version"}, "plan version None"),
    (change(extra=1), "extra: Extra inputs"),
    (change(scales=[]), "the first scale must be run"),
    (change(strategy=7), "strategy: Input should be a valid string"),
    (scale(1, grid=[2, 2, 2]), "scales.1.grid"),
    (scale(1, keep=[1, 2, 3, 99]), "scales.1: layer 3 keeps 99 tokens"),
    (scale(1, keep=[1, 2]), "scale 1: keep has 2 entries, the model 4 layers"),
    (scale(1, rule="best"), "scales.1.rule"),
    (scale(6, source=6), "scale 6: source 6 is not an earlier scale"),
    (scale(4, unconditional=False), "scale 5: guidance cannot come back"),
    (change(predicted={**plan_to_json(PLANS[1])["predicted"], "flops": float("nan")}),
     "predicted.flops: nan is not a finite number"),
])
def test_what_is_wrong_is_named(values: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError) as caught:
        load_plan(path)
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.json"
    for content in (b"{", b"\xff\xfe\x00", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"not (JSON|UTF-8)"):
            load_plan(path)
    monkeypatch.setattr(plan_file, "MOST_BYTES", 10)
    path.write_text("{}" * 20)
    with pytest.raises(ValueError, match="larger than 10 bytes"):
        load_plan(path)


def test_the_schema_in_the_box_is_up_to_date() -> None:
    shipped = resources.files("toprovar").joinpath("data/sparsity-plan.schema.json")
    assert json.loads(shipped.read_text(encoding="utf-8")) == plan_schema(), (
        "write it anew: json.dumps(plan_schema(), indent=1)"
    )


def test_the_example_of_the_reference_is_a_plan() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "plan-file.md"
    text = page.read_text("utf-8").split("```json\n")[1].split("```")[0]
    plan = plan_from_json(json.loads(text))
    assert plan.schedule == "0.06M 1.0" and not plan.scales[6].run and plan.scales[5].partial(1)


def test_the_schema_knows_every_key_that_is_written() -> None:
    schema = plan_schema()
    definitions = {name: set(d["properties"]) for name, d in schema["$defs"].items()}
    for plan in PLANS:
        values = plan_to_json(plan)
        assert set(values) <= set(schema["properties"]) and set(schema["required"]) <= set(values)
        assert set(values["model"]) <= definitions["ModelTag"]
        for step in values["scales"]:
            assert set(step) <= definitions["ScalePlan"]
            assert set(schema["$defs"]["ScalePlan"]["required"]) <= set(step)
        if "predicted" in values:
            assert set(values["predicted"]) <= definitions["PredictedCost"]
    assert schema["additionalProperties"] is False
