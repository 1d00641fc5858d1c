"""Pictures of the command line as graphs for ComfyUI's canvas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from toprovar.cli import main
from toprovar.cli.comfyui import EMBEDDED, comfyui_prompt

SMALL = ("generate", "a red apple", "--seed", "3", "--pixels", "0.06M", "--quiet")
ABOUT: dict[str, Any] = {
    "prompt": "a cat", "seed": 5, "params": {
        "schedule": {"template": "1.0", "pn": "1M"}, "cfg": [4.0, 4.0], "tau": [0.5, 0.7],
        "top_p": 0.97},
}


def graph_of(path: Path) -> dict[str, Any]:
    """Where ComfyUI's editor looks for one: a plain text chunk."""
    with Image.open(path) as picture:
        return json.loads(picture.info["prompt"])


def node(graph: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [one["inputs"] for one in graph.values() if one["class_type"] == f"ToProVAR_{kind}"]
    return found


def test_a_picture_says_what_draws_it(tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    assert main([*SMALL, "--cfg", "3", "--aspect", "2:1", "--plan", "skipvar", "--skip", "1",
                 "--out", str(out)]) == 0
    graph = graph_of(out)
    sampler, planner = node(graph, "Sampler"), node(graph, "SparsityPlanner")
    assert node(graph, "TextEncode")["text"] == "a red apple"
    assert node(graph, "LoadInfinity")["model"] == EMBEDDED
    assert (sampler["seed"], sampler["cfg"], sampler["aspect"], sampler["pixels"]) == (
        3, 3.0, "2:1", "0.06M")
    assert graph[sampler["plan"][0]]["inputs"] is planner
    assert planner["strategy"] == "skipvar" and planner["target"] == "manual"
    for group in ("", "strategy."):  # of servers without and with dynamic inputs
        assert planner[f"{group}skipvar_policy"] == "skip last scales"
        assert planner[f"{group}skipvar_scales"] == 1


def test_a_target_and_texts_are_as_the_planner_takes_them() -> None:
    asked = {**ABOUT, "plan_request": {"plan": "fastvar", "drop": "0.3,0.4,0.5"}}
    assert node(comfyui_prompt(asked, None), "SparsityPlanner")["fastvar_drop"] == "0.3, 0.4, 0.5"
    asked["plan_request"] = {"plan": "fastvar", "budget": 0.5}
    planner = node(comfyui_prompt(asked, None), "SparsityPlanner")
    assert planner["target"] == "compute budget"
    assert planner["budget"] == planner["target.budget"] == 0.5


@pytest.mark.parametrize(("request_", "strategy"), [
    (None, "dense"), ({"plan": "auto"}, None), ({"plan": "mine.json"}, None),
])
def test_what_no_planner_makes_is_left_to_the_sampler(request_: dict[str, str] | None,
                                                      strategy: str | None) -> None:
    graph = comfyui_prompt({**ABOUT, "plan_request": request_, "negative_prompt": "a dog"}, "a/2b")
    found = [one["inputs"]["strategy"] for one in graph.values()
             if one["class_type"] == "ToProVAR_SparsityPlanner"]
    assert found == ([strategy] if strategy else [])
    sampler = node(graph, "Sampler")
    assert (sampler["cfg"], sampler["tau"]) == (4.0, 0.0)  # tau differs from scale to scale
    assert graph[sampler["negative"][0]]["inputs"]["text"] == "a dog"
    assert node(graph, "LoadInfinity")["model"] == "2b"


def test_jpeg_is_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "a.jpg"
    assert main([*SMALL, "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert "prompt" not in picture.info
