"""No plan connected, and models that nobody has calibrated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.comfyui.client import Client
from tests.comfyui.graphs import to_api
from tests.comfyui.models import add_tiny, add_uncalibrated
from tests.comfyui.server import Server
from tests.comfyui.templates import template
from tests.comfyui.workflows import node, planned, planner, quick_start

PRIOR = "this model has no calibration: planned by the prior"
WAYS: dict[str, dict[str, Any]] = {
    "in the run": {"strategy": "toprovar"},
    "before": {"strategy": "toprovar", "toprovar_planned": "before the run"},
    "fastvar": {"strategy": "fastvar"},
    "skip": {"strategy": "skipvar"},
    "unguided": {"strategy": "skipvar", "skipvar_policy": "last scales without guidance"},
    "adaptive": {"strategy": "skipvar", "skipvar_policy": "adaptive"},
}


def in_models(server: Server, add: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    folder = server.base / "models" / "infinity"
    folder.mkdir(parents=True, exist_ok=True)
    return add(folder)


@pytest.fixture(scope="module")
def unknown(server: Server) -> dict[str, Any]:
    return in_models(server, add_uncalibrated)


@pytest.fixture(scope="module")
def tiny(server: Server) -> dict[str, Any]:
    return in_models(server, add_tiny)


def of(model: dict[str, Any], prompt: dict[str, Any]) -> dict[str, Any]:
    """The same workflow with another model."""
    prompt["load"]["inputs"].update(model)
    return prompt


def run_of(outcome: Any) -> dict[str, Any]:
    (run,) = outcome.outputs["sample"]["toprovar_report"][0]["runs"]
    return run


@pytest.mark.parametrize("target", [
    {}, {"target": "compute budget", "budget": 0.6}, {"target": "speed-up", "speedup": 1.3},
], ids=["manual", "budget", "speed-up"])
def test_every_strategy_plans_without_a_calibration(
    client: Client, unknown: dict[str, Any], target: dict[str, Any]
) -> None:
    prompt = {"load": quick_start()["load"]}
    for way, inputs in WAYS.items():
        prompt[way] = planner(**inputs, **target)
        prompt[f"look {way}"] = node("PreviewImage", images=[way, 1])
    done = client.run(of(unknown, prompt))
    plans = {way: done.outputs[way]["toprovar_plan"][0] for way in WAYS}
    for way, plan in plans.items():
        assert len(plan["scales"]) == 7 and "in_the_run" not in plan, way
        if target.get("budget"):
            assert plan["predicted"]["flop_share"] <= 0.6, way
        assert plan["predicted"]["flop_share"] < 1, way
    for way in ("in the run", "before"):
        assert plans[way]["notes"][0].startswith(PRIOR)
        assert PRIOR in done.outputs[way]["text"][0]
    assert plans["in the run"]["scales"] == plans["before"]["scales"]
    if not target:
        assert plans["adaptive"]["scales"] == plans["skip"]["scales"]
        assert "its fixed policy without the last scale is used" in done.outputs["adaptive"][
            "text"][0]


@pytest.mark.parametrize("plan", [
    WAYS["in the run"], WAYS["adaptive"],
    {"strategy": "toprovar", "target": "speed-up", "speedup": 1.3},
    {"strategy": "toprovar", "toprovar_dropped": "identity", "target": "compute budget",
     "budget": 0.7},
], ids=["toprovar", "adaptive", "speed-up", "identity"])
def test_plans_of_a_model_without_a_calibration_run(
    client: Client, unknown: dict[str, Any], plan: dict[str, Any]
) -> None:
    run = run_of(client.run(of(unknown, planned(plan))))
    assert run["flop_share"] < 1 and run["plan"] == plan["strategy"]


def test_the_planner_lets_a_prior_plan_be_edited(client: Client, unknown: dict[str, Any]) -> None:
    prompt = of(unknown, planned({"strategy": "toprovar", "edits": '{"run": {"6": false}}'}))
    done = client.run(prompt)
    assert done.outputs["plan"]["toprovar_unedited"][0]["scales"][6].get("run", True)
    assert run_of(done)["scales"][6]["rows"] == 0


def test_without_a_plan_the_prior_draws_all_at_once(client: Client, unknown: dict[str, Any]
                                                    ) -> None:
    prompt = of(unknown, quick_start("a red apple\na cat", images=2))
    prompt["text"]["inputs"]["prompt_per_line"] = True
    done = client.run(prompt)
    run = run_of(done)
    assert run["plan"] == "toprovar" and run["images"] == 4 and run["flop_share"] < 1
    assert any(note.startswith(PRIOR) for note in run["notes"])
    assert PRIOR in done.outputs["sample"]["text"][0]


def test_without_a_plan_it_draws_dense_where_nothing_is_gained(client: Client,
                                                               tiny: dict[str, Any]) -> None:
    done = client.run(of(tiny, quick_start()))
    run = run_of(done)
    assert run["flop_share"] == 1 and run["dense_seconds"] is None
    assert any(note.startswith("dense: only") for note in run["notes"])
    assert "as fast as dense" not in done.outputs["sample"]["text"][0]


def test_the_report_holds_the_time_against_dense_runs(client: Client) -> None:
    size: dict[str, Any] = {"aspect": "2:1", "preview": "off"}  # drawn by no other test
    first = run_of(client.run(quick_start(seed=51, **size)))
    assert not first["dense_measured"]
    for seed in (52, 53):
        run = run_of(client.run(planned({"strategy": "dense", "aspect": "2:1"}, seed=seed,
                                        **size)))
        assert run["dense_seconds"] is None
    done = client.run(quick_start(seed=54, **size))
    run, said = run_of(done), done.outputs["sample"]["text"][0]
    assert run["dense_measured"] and run["dense_seconds"] > 0
    assert "x as fast as dense (" in said and "s, measured)" in said


@pytest.mark.parametrize("name", ["infinity-2b-at-1024-px", "infinity-8b-at-512-px"])
def test_workflows_of_official_weights_choose_by_themselves(
    client: Client, unknown: dict[str, Any], name: str
) -> None:
    """With other weights in their place, small."""
    prompt = to_api(template(name), client.json("/object_info"))
    kinds = {one["class_type"]: key for key, one in prompt.items()}
    assert "ToProVAR_SparsityPlanner" not in kinds
    at = kinds["ToProVAR_Sampler"]
    assert "plan" not in prompt[at]["inputs"]
    prompt[at]["inputs"]["pixels"] = "0.06M"
    loader = prompt[kinds["ToProVAR_LoadInfinity"]]["inputs"]
    loader.update(unknown, vae="the model's own", text_encoder="the model's own")
    (run,) = client.run(prompt).outputs[at]["toprovar_report"][0]["runs"]
    assert run["plan"] == "toprovar" and run["flop_share"] < 1
    assert any(note.startswith(PRIOR) for note in run["notes"])
