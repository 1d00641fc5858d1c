"""What ComfyUI says of the nodes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.parse
from typing import Any

import pytest

from tests.comfyui.client import Client
from tests.comfyui.graphs import layout_of, plain_inputs
from tests.comfyui.server import ROOT
from tests.comfyui.test_pack import IDS
from tests.comfyui.workflows import EMBEDDED, PLANNER, SAMPLER


@pytest.fixture(scope="module")
def info(server: Any) -> dict[str, Any]:
    found = Client(server.url).json("/object_info")
    return {name: about for name, about in found.items() if name.startswith("ToProVAR_")}


def inputs(about: dict[str, Any]) -> dict[str, Any]:
    return plain_inputs(about)


def grouped(about: dict[str, Any]) -> dict[str, str]:
    """Members of a node's groups, by the names of servers with dynamic inputs: GROUP_MEMBER, since
    translations have no dots in their keys."""
    groups = (layout_of(about) or {"groups": {}})["groups"]
    return {f"{group}_{member}": member for group, options in groups.items()
            for members in options.values() for member in members}


def test_every_node_is_there_and_explains_itself(info: dict[str, Any]) -> None:
    assert info.keys() == IDS
    for name, about in info.items():
        assert about["category"] == "ToProVAR" and len(about["description"]) > 40, name
        assert about["display_name"] and "_" not in about["display_name"], name
        assert all(about["output_tooltips"]), name
        for key, (_kind, options) in inputs(about).items():
            assert len(options["tooltip"]) > 10, (name, key)


def test_rare_inputs_are_advanced(info: dict[str, Any]) -> None:
    found = {key for about in info.values() for key, (_, options) in inputs(about).items()
             if options.get("advanced")}
    assert {"dtype", "attention", "top_p", "overlay", "edits", "toprovar_rule"} <= found
    assert not found & {"prompt", "seed", "strategy", "model"}


def test_seeds_say_whether_they_change_after_a_run(info: dict[str, Any]) -> None:
    """The editor puts "randomize" beside an input of this name that does not say so. *Prompts from
    File* goes on with a folder only while its seed stays."""
    changing = {name: options["control_after_generate"] for name, about in info.items()
                for key, (_, options) in inputs(about).items() if key == "seed"}
    assert changing["ToProVAR_Sampler"] and not changing["ToProVAR_PromptsFromFile"]


def test_workflows_of_these_tests_name_every_required_widget(info: dict[str, Any]) -> None:
    for name, given in (("LoadInfinity", EMBEDDED), ("Sampler", SAMPLER),
                        ("SparsityPlanner", PLANNER)):
        about = info[f"ToProVAR_{name}"]
        required = {key for key, (_, options) in about["input"]["required"].items()
                    if "default" in options}
        assert required <= given.keys() <= inputs(about).keys(), name


def test_groups_are_told_to_the_browser(info: dict[str, Any]) -> None:
    """Its script lays out workflows of servers with and without dynamic inputs by this alone."""
    planner = layout_of(info["ToProVAR_SparsityPlanner"])
    assert planner is not None
    assert planner["plain"][:6] == ["strategy", "target", "speedup", "budget", "aspect", "pixels"]
    assert planner["dynamic"] == ["strategy", "target", "aspect", "pixels", "guided", "edits"]
    members = {m for options in planner["groups"].values() for each in options.values()
               for m in each}
    assert members | {*planner["dynamic"]} == {*planner["plain"]} == planner["defaults"].keys()


def test_choices_are_the_engines(info: dict[str, Any]) -> None:
    from toprovar.ops.attention import BACKENDS
    from toprovar.schedules import pixel_budgets, templates
    from toprovar.sparsity.strategies.registry import names
    from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

    planner = inputs(info["ToProVAR_SparsityPlanner"])
    assert set(planner["strategy"][1]["options"]) == set(names())
    loader = inputs(info["ToProVAR_LoadInfinity"])
    assert loader["attention"][1]["options"] == list(BACKENDS)
    size = inputs(info["ToProVAR_Size"])
    assert size["pixels"][1]["options"] == list(pixel_budgets())
    assert len(size["aspect"][1]["options"]) == len(templates())
    for key, (_, options) in planner.items():
        field = ToProVarSettings.model_fields.get(key.removeprefix("toprovar_"))
        if key.startswith("toprovar_") and field is not None and field.default is not None \
                and key != "toprovar_planned":  # whose values have other words on the node
            assert options["default"] == field.default, key


DOCUMENTED = """
import json
from docs_tools.nodes import plain_inputs, schemas
print(json.dumps({schema.node_id: {
    "display_name": schema.display_name, "description": schema.description,
    "category": schema.category, "output_node": schema.is_output_node,
    "outputs": [[one.display_name, one.io_type, one.tooltip] for one in schema.outputs],
    "inputs": {one.id: {"kind": one.io_type, "options": getattr(one, "choices", None),
                        "default": getattr(one, "default", None), "tooltip": one.tooltip,
                        "advanced": bool(one.advanced), "min": one.options.get("min"),
                        "max": one.options.get("max")} for one in plain_inputs(schema)},
} for schema in schemas()}))
"""
FILES = {("LoadInfinity", "model"), ("LoadInfinity", "vae"), ("LoadInfinity", "text_encoder"),
         ("LoadPlan", "file"), ("LoadDraft", "file"), ("PromptsFromFile", "file")}
"""Choices that depend on the server's folders."""


def test_the_reference_says_what_a_server_says(info: dict[str, Any]) -> None:
    """``docs/reference/nodes.md`` is written without a ComfyUI."""
    done = subprocess.run([sys.executable, "-c", DOCUMENTED], cwd=ROOT, check=True, text=True,
                          capture_output=True)
    known = json.loads(done.stdout)
    assert known.keys() == info.keys()
    for name, about in info.items():
        told, short = known[name], name.removeprefix("ToProVAR_")
        for key in ("display_name", "description", "category", "output_node"):
            assert told[key] == about[key], (name, key)
        assert told["outputs"] == [list(each) for each in zip(
            about["output_name"], about["output"], about["output_tooltips"], strict=True)], name
        real = {key: spec for key, spec in inputs(about).items()
                if not re.fullmatch(r"(image|report)_\d+", key)}  # as many as the server allows
        assert told["inputs"].keys() == real.keys(), name
        for key, (kind, options) in real.items():
            own = told["inputs"][key]
            same = {"kind": kind, "options": options.get("options"),
                    "default": options.get("default"), "tooltip": options["tooltip"],
                    "advanced": bool(options.get("advanced")), "min": options.get("min"),
                    "max": options.get("max")}
            if (short, key) in FILES:
                del own["options"], same["options"], own["default"], same["default"]
            if short == "Size":  # servers without dynamic inputs: 0 = not given, and all at once
                del own["min"], same["min"], own["advanced"], same["advanced"]
            assert own == same, (name, key)


def test_help_pages_are_served(client: Client) -> None:
    names = {name.removeprefix("ToProVAR_") for name in IDS}
    for name in names:
        page = client.get(f"/extensions/ComfyUI-ToProVAR/docs/ToProVAR_{name}.md").decode()
        assert page.startswith("# ") and len(page) > 400, name


def test_translations_are_served_and_complete(client: Client, info: dict[str, Any]) -> None:
    served = client.json("/i18n")
    for language in ("en", "zh"):
        nodes = served[language]["nodeDefs"]
        for name, about in info.items():
            told = nodes[name]
            assert told["display_name"] and told["description"], (language, name)
            known = {key: options["tooltip"] for key, (_, options) in inputs(about).items()}
            known |= {key: known[member] for key, member in grouped(about).items()}
            assert known.keys() <= told["inputs"].keys(), (language, name)
            assert all(entry["name"] and entry["tooltip"] for entry in told["inputs"].values())
            assert len(told["outputs"]) == len(about["output"]), (language, name)
            if language == "en":
                assert told["description"] == about["description"], name
                assert {key: told["inputs"][key]["tooltip"] for key in known} == known, name
    assert served["zh"]["nodeDefs"]["ToProVAR_Sampler"]["description"] != info[
        "ToProVAR_Sampler"]["description"]


def test_templates_are_served(client: Client) -> None:
    names = {path.stem for path in (ROOT / "example_workflows").glob("*.json")}
    assert names and set(client.json("/workflow_templates")["ComfyUI-ToProVAR"]) == names
    for name in names:
        place = urllib.parse.quote(f"/api/workflow_templates/ComfyUI-ToProVAR/{name}.json")
        assert "nodes" in client.json(place)
