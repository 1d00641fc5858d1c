"""Planner, plan files, comparison and analyzer through the queue."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.comfyui.client import Client
from tests.comfyui.server import Server
from tests.comfyui.workflows import (
    model_and_text,
    node,
    own,
    planned,
    planner,
    quick_start,
    sampler,
)

BEFORE = {"strategy": "toprovar", "toprovar_planned": "before the run", "toprovar_start_scale": 4,
          "toprovar_dropped": "identity"}


def plan_of(client: Client, **changes: Any) -> dict[str, Any]:
    """What the planner tells its widget."""
    prompt = {"load": model_and_text()["load"], "plan": planner(**changes),
              "look": node("PreviewImage", images=["plan", 1])}
    return client.run(prompt).outputs["plan"]["toprovar_plan"][0]


def test_the_planner_tells_its_widget_the_plan(client: Client) -> None:
    plan = plan_of(client, **BEFORE)
    assert plan["strategy"] == "toprovar" and len(plan["scales"]) == 7
    assert all(len(scale["keep"]) == plan["model"]["depth"] for scale in plan["scales"])
    assert 0 < plan["predicted"]["flop_share"] < 1
    assert min(plan["scales"][-1]["keep"]) < 256


def test_a_budget_is_met(client: Client) -> None:
    plan = plan_of(client, strategy="fastvar", target="compute budget", budget=0.5)
    assert plan["predicted"]["flop_share"] <= 0.5


def test_planning_inside_the_run_has_no_plan_yet(client: Client) -> None:
    plan = plan_of(client, strategy="toprovar", toprovar_dropped="identity")
    assert plan["in_the_run"] and len(plan["scales"]) == 7


def test_edits_of_the_grid_reach_the_run(client: Client) -> None:
    edits = json.dumps({"keep": {"6": {"2": 0.25, "3": 0}}, "run": {"5": False}})
    done = client.run(planned({"strategy": "dense", "edits": edits}))
    plan = done.outputs["plan"]["toprovar_plan"][0]
    assert plan["scales"][6]["keep"][2:4] == [64, 0] and plan["scales"][6]["keep"][4] == 256
    assert plan["parameters"]["edited"] and plan["predicted"]["flop_share"] < 1
    scales = done.outputs["sample"]["toprovar_report"][0]["runs"][0]["scales"]
    assert scales[6]["kept"][2:4] == [64, 0] and scales[5]["rows"] == 0
    assert done.progress("sample")[-1] == (6, 6)


def test_a_plan_is_saved_loaded_and_gives_the_same_picture(client: Client, server: Server
                                                           ) -> None:
    prompt = planned(BEFORE, seed=41)
    prompt["keep"] = own("SavePlan", plan=["plan", 0], filename_prefix="plans/mine")
    first = client.run(prompt)
    assert first.outputs["keep"]["text"] == ["saved plans/mine_00001_.json"]
    saved = server.base / "output" / "plans" / "mine_00001_.json"
    assert json.loads(saved.read_text("utf-8"))["strategy"] == "toprovar"
    again = quick_start(plan=["file", 0], seed=41, preview="off", pixels="auto")
    again["file"] = own("LoadPlan", file="plans/mine_00001_.json [output]")
    second = client.run(again)
    a, b = (client.picture(o.outputs["save"]["images"][0]) for o in (first, second))
    assert len(a) > 1000 and _pixels(a) == _pixels(b)


def test_a_changed_plan_file_is_read_again(client: Client, server: Server) -> None:
    prompt = planned(BEFORE)
    prompt["keep"] = own("SavePlan", plan=["plan", 0], filename_prefix="plans/changed")
    client.run(prompt)
    load = {"file": own("LoadPlan", file="plans/changed_00001_.json [output]"),
            "show": node("PreviewAny", source=["file", 1])}
    assert "file" in client.run(load).executed
    assert client.run(load).executed == []
    path = server.base / "output" / "plans" / "changed_00001_.json"
    values = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**values, "notes": ["changed by hand"]}), "utf-8")
    done = client.run(load)
    assert "changed by hand" in done.outputs["file"]["text"][0]


def test_the_used_plan_of_a_planned_run_can_be_saved(client: Client, server: Server) -> None:
    prompt = quick_start(seed=42)
    prompt["keep"] = own("SavePlan", plan=["sample", 3], filename_prefix="plans/used")
    client.run(prompt)
    assert (server.base / "output" / "plans" / "used_00001_.json").is_file()


def test_four_strategies_are_compared(client: Client) -> None:
    prompt = model_and_text()
    for name in ("dense", "toprovar", "fastvar", "skipvar"):
        prompt[f"plan {name}"] = planner(strategy=name)
        prompt[name] = sampler(plan=[f"plan {name}", 0], preview="off")
    prompt["compare"] = own(
        "CompareRuns", reference=["dense", 0], reference_report=["dense", 2], side=96,
        **{f"{kind}_{n}": [name, slot]
           for n, name in enumerate(("toprovar", "fastvar", "skipvar"), 1)
           for kind, slot in (("image", 0), ("report", 2))},
    )
    done = client.run(prompt)
    shown = done.outputs["compare"]
    dense, *others = shown["toprovar_comparison"][0]["runs"]
    assert dense["ssim"] == pytest.approx(1) and dense["equal_bits"] == 1
    assert dense["psnr"] is None  # equal
    assert [run["name"] for run in others] == ["toprovar", "fastvar", "skipvar"]
    for run in others:
        assert 0 < run["ssim"] < 1 and 0 < run["flop_share"] < 1 and run["psnr"] > 5
    assert len(shown["images"]) == 1 and "SSIM" in shown["text"][0]


def test_an_incomplete_pair_is_named(client: Client) -> None:
    prompt = quick_start()
    prompt["compare"] = own("CompareRuns", reference=["sample", 0], reference_report=["sample", 2],
                            image_1=["sample", 0], report_1=["sample", 2], image_3=["sample", 0],
                            side=96)
    done = client.wait(client.queue(prompt))
    assert done.status == "error"
    assert "image_3 is connected without report_3" in done.error["exception_message"]


def with_trace(plan: dict[str, Any]) -> dict[str, Any]:
    """The quick start with the analyzer connected to the planner."""
    prompt = planned({**plan, "trace": ["analyze", 0]})
    prompt["analyze"] = own("EntropyAnalyzer", model=["load", 0], conditioning=["text", 0], seed=1,
                            aspect="1:1", pixels="0.06M", cfg=0.0, tau=0.0)
    return prompt


def test_the_analyzer_measures_and_the_planner_uses_it(client: Client) -> None:
    done = client.run(with_trace(BEFORE))
    found = done.outputs["analyze"]["toprovar_trace"][0]
    depth = found["depth"]
    assert len(found["maps"]) == 7 * depth and len(found["summary"]["layers"]) == depth
    plan = done.outputs["plan"]["toprovar_plan"][0]
    assert plan["provenance"]["calibration"].startswith("trace of a red apple")
    assert done.progress("analyze")[-1] == (7, 7)


def test_the_analyzer_waits_where_its_trace_decides_nothing(client: Client, server: Server
                                                            ) -> None:
    for plan in ({"strategy": "fastvar"}, {"strategy": "toprovar", "toprovar_alpha_max": 0.5}):
        assert "analyze" not in client.run(with_trace(plan)).executed
    keep = planned(BEFORE)
    keep["keep"] = own("SavePlan", plan=["plan", 0], filename_prefix="plans/lazy")
    client.run(keep)
    given = with_trace({**BEFORE, "toprovar_alpha_max": 0.4, "plan": ["file", 0]})
    given["file"] = own("LoadPlan", file="plans/lazy_00001_.json [output]")
    given["text"]["inputs"]["text"] = "a plan was given"
    done = client.run(given)
    assert "plan" in done.executed and "analyze" not in done.executed


def _pixels(png: bytes) -> bytes:
    import io

    from PIL import Image

    return Image.open(io.BytesIO(png)).tobytes()
