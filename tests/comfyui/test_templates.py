"""The workflows in the box: they fit the nodes, run as they are, and say what they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.comfyui.client import Client, RefusedError
from tests.comfyui.graphs import NOTES, to_api
from tests.comfyui.templates import TEMPLATES, short, template

READY = [path for path in TEMPLATES if "(embedded)" in path.read_text("utf-8")]
"""Those that need no download."""
LEAVING = next(path for path in TEMPLATES if short(path) == "calibrate")
"""Changes what the model's later runs leave out: ``test_calibrate`` has a server of its own."""


def small(prompt: dict[str, Any]) -> dict[str, Any]:
    """The same at the smallest size, to be quick."""
    for node in prompt.values():
        for name, value in (("pixels", "0.06M"), ("minutes", 0.5)):
            if name in node["inputs"]:
                node["inputs"][name] = value
    return prompt


@pytest.mark.parametrize("path", [path for path in READY if path != LEAVING],
                         ids=short)
def test_runs_as_it_is(client: Client, path: Path) -> None:
    run_template(client, path)


def run_template(client: Client, path: Path) -> None:
    """Run a workflow of the box, small; everything that it shows is there."""
    workflow = json.loads(path.read_text("utf-8"))
    done = client.run(small(to_api(workflow, client.json("/object_info"))))
    outputs = [node for node in workflow["nodes"]
               if node["type"] in ("SaveImage", "PreviewImage", "PreviewAny")]
    assert outputs
    for node in outputs:
        assert done.outputs[str(node["id"])], node["type"]


@pytest.mark.parametrize("path", sorted({*TEMPLATES} - {*READY}), ids=short)
def test_names_the_weights_that_are_missing(client: Client, path: Path) -> None:
    workflow = json.loads(path.read_text("utf-8"))
    prompt = to_api(workflow, client.json("/object_info"))
    at, load = next((key, node) for key, node in prompt.items()
                    if node["class_type"] == "ToProVAR_LoadInfinity")
    with pytest.raises(RefusedError) as refusal:
        client.queue(prompt)
    assert load["inputs"]["model"] in refusal.value.text(at)
    note = next(n for n in workflow["nodes"] if n["type"] in NOTES)["widgets_values"][0]
    for name in ("model", "vae", "text_encoder"):
        assert Path(load["inputs"][name]).name in note


def test_every_template_has_a_thumbnail() -> None:
    """Of the name, format and shape that ComfyUI's browser of templates asks for."""
    for path in TEMPLATES:
        with Image.open(path.with_suffix(".jpg")) as picture:
            assert picture.format == "JPEG" and picture.size == (512, 512), path.stem
    pictures = {path.with_suffix("") for path in TEMPLATES[0].parent.glob("*.jpg")}
    assert pictures == {path.with_suffix("") for path in TEMPLATES}


def test_names_are_titles_in_order() -> None:
    """The browser of templates shows files' names, and sorts by them."""
    assert [path.stem.split(" ", 1)[0] for path in TEMPLATES] == [
        str(n + 1) for n in range(len(TEMPLATES))]
    for path in TEMPLATES:
        assert not set(path.stem) & set('<>:"/\\|?*_'), path.stem
        assert path.stem.split(" ", 1)[1][0].isupper(), path.stem


@pytest.mark.parametrize("path", sorted({*TEMPLATES} - {*READY}), ids=short)
def test_missing_weights_have_addresses(client: Client, path: Path) -> None:
    """Each file that a loader names, as ComfyUI's list of missing models wants them."""
    workflow = json.loads(path.read_text("utf-8"))
    (loader,) = [n for n in workflow["nodes"] if n["type"] == "ToProVAR_LoadInfinity"]
    models = {model["name"]: model for model in loader["properties"]["models"]}
    files = {name for name in loader["widgets_values"][:3] if Path(name).suffix}
    assert set(models) == files and len(files) >= 2
    folders = client.json("/models")
    for model in models.values():
        assert model["directory"] in folders
        assert re.fullmatch(r"https://huggingface\.co/"
                            r"(FoundationVision/Infinity|google/flan-t5-xl|HiDream-ai/VAREdit)"
                            r"/resolve/main/[\w.-]+\.(pth|safetensors)", model["url"])


@pytest.mark.parametrize("path", TEMPLATES, ids=short)
def test_says_what_it_is_and_where_weights_go(path: Path) -> None:
    workflow = json.loads(path.read_text("utf-8"))
    notes = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] in NOTES]
    assert len(notes) == 1 and len(notes[0]) > 200
    assert workflow["version"] == 0.4 and workflow["last_node_id"] == len(workflow["nodes"])


def test_the_comparison_holds_the_same_prompt_and_seed(client: Client) -> None:
    prompt = to_api(template("four-strategies"), client.json("/object_info"))
    samplers = [n["inputs"] for n in prompt.values() if n["class_type"] == "ToProVAR_Sampler"]
    assert len(samplers) == 4
    assert len({json.dumps([s["seed"], s["conditioning"], s["size"]]) for s in samplers}) == 1
    strategies = {n["inputs"]["strategy"] for n in prompt.values()
                  if n["class_type"] == "ToProVAR_SparsityPlanner"}
    assert strategies == {"dense", "toprovar", "fastvar", "skipvar"}
