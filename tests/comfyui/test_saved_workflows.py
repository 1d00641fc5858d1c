"""Workflows that one kind of server saved, opened on the other: by the pack's script alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.comfyui.client import Client
from tests.comfyui.graphs import layout_of
from tests.comfyui.server import ROOT, Server

RUN = """
import {{ adaptGraph, layoutOf }} from "./layout.mjs";
const {{ graph, layouts }} = {given};
adaptGraph(graph, new Map(Object.entries(layouts)));
console.log(JSON.stringify(graph));
"""
PLANNER, SIZE, COMPARE = "ToProVAR_SparsityPlanner", "ToProVAR_Size", "ToProVAR_CompareRuns"


@pytest.fixture(scope="module")
def layouts(server: Server) -> dict[str, Any]:
    info = Client(server.url).json("/object_info")
    found = {name: layout_of(info[name]) for name in (PLANNER, SIZE, COMPARE)}
    assert all(found.values())
    return found


def opened(folder: Path, graph: dict[str, Any], layouts: dict[str, Any], dynamic: bool
           ) -> dict[str, Any]:
    """The graph as a server with or without dynamic inputs makes it."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("the pack's script is run by node, which is not installed")
    shutil.copy(ROOT / "web" / "js" / "lib" / "layout.js", folder / "layout.mjs")
    images = {f"image_{n}": f"report_{n}" for n in range(1, 5)} if dynamic else {}
    known = {name: {**layout, "is_dynamic": dynamic, "implied": images if name == COMPARE else {}}
             for name, layout in layouts.items()}
    (folder / "run.mjs").write_text(
        RUN.format(given=json.dumps({"graph": graph, "layouts": known})), "utf-8")
    done = subprocess.run([node, str(folder / "run.mjs")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def graph_of(*nodes: dict[str, Any], links: list[list[Any]] | None = None) -> dict[str, Any]:
    return {"nodes": list(nodes), "links": links or []}


def node_of(kind: str, values: list[Any], inputs: list[dict[str, Any]] | None = None
            ) -> dict[str, Any]:
    return {"id": 1, "type": kind, "widgets_values": values, "inputs": inputs or []}


def test_a_planner_goes_there_and_back(layouts: dict[str, Any], tmp_path: Path) -> None:
    layout = layouts[PLANNER]
    values = {**layout["defaults"], "strategy": "fastvar", "target": "compute budget",
              "budget": 0.45, "fastvar_drop": "0.1, 0.2", "pixels": "1M", "edits": "{}"}
    plain = graph_of(node_of(PLANNER, [values[name] for name in layout["plain"]]))
    dynamic = opened(tmp_path, plain, layouts, dynamic=True)
    assert dynamic["nodes"][0]["widgets_values"] == [
        "fastvar", "0.1, 0.2", "compute budget", 0.45, values["aspect"], "1M", values["guided"],
        "{}"]
    assert opened(tmp_path, dynamic, layouts, dynamic=True) == dynamic
    assert opened(tmp_path, plain, layouts, dynamic=False) == plain
    back = opened(tmp_path, dynamic, layouts, dynamic=False)["nodes"][0]["widgets_values"]
    chosen = {"strategy", "target", "budget", "fastvar_drop", "pixels", "edits"}
    found = dict(zip(layout["plain"], back, strict=True))
    assert {name: found[name] for name in chosen} == {name: values[name] for name in chosen}


def test_a_planner_of_the_first_release_opens(layouts: dict[str, Any], tmp_path: Path) -> None:
    """It has the inputs of fewer strategies."""
    layout = layouts[PLANNER]
    first = layout["plain"][:layout["plain"].index("edits") + 1]
    values = {**layout["defaults"], "strategy": "skipvar", "skipvar_scales": 2}
    graph = graph_of(node_of(PLANNER, [values[name] for name in first]))
    found = opened(tmp_path, graph, layouts, dynamic=True)["nodes"][0]["widgets_values"]
    assert found[:4] == ["skipvar", values["skipvar_policy"], 2, "manual"]


@pytest.mark.parametrize(("saved", "dynamic", "plain"), [
    (["3:2", "1M", 0, 0], ["aspect and pixels", "3:2", "1M"],
     ["3:2", "1M", 0, 0, "aspect and pixels"]),
    (["1:1", "1M", 768, 512], ["width and height", 768, 512],
     ["1:1", "1M", 768, 512, "width and height"]),
])
def test_a_size_of_earlier_releases_is_what_it_was(
    layouts: dict[str, Any], tmp_path: Path, saved: list[Any], dynamic: list[Any],
    plain: list[Any],
) -> None:
    graph = graph_of(node_of(SIZE, saved))
    for kind, wanted in ((True, dynamic), (False, plain)):
        found = opened(tmp_path, graph, layouts, dynamic=kind)
        assert found["nodes"][0]["widgets_values"] == wanted


def test_links_of_a_comparison_stay(layouts: dict[str, Any], tmp_path: Path) -> None:
    """Pictures that a report brings anyway lose theirs; others keep them."""
    sockets = [("reference", 11), ("reference_report", 12), ("image_1", 13), ("report_1", 14),
               ("image_2", 15), ("report_2", 16), ("image_3", None), ("report_3", None)]
    inputs = [{"name": name, "type": "*", "link": link} for name, link in sockets]
    links = [[11, 5, 0, 1, 0, "IMAGE"], [12, 5, 2, 1, 1, "*"], [13, 6, 0, 1, 2, "IMAGE"],
             [14, 6, 2, 1, 3, "*"], [15, 8, 0, 1, 4, "IMAGE"], [16, 7, 2, 1, 5, "*"]]
    sampler = {"id": 6, "type": "ToProVAR_Sampler", "outputs": [{"links": [13]}, {"links": [14]}]}
    plain = graph_of(node_of(COMPARE, [320], inputs), sampler, links=links)
    found = opened(tmp_path, plain, layouts, dynamic=True)
    names = [(one["name"], one["link"]) for one in found["nodes"][0]["inputs"]]
    assert names == [("reference", 11), ("reference_report", 12), ("reports.report_1", 14),
                     ("image_2", 15), ("reports.report_2", 16)]
    assert {link[0]: link[4] for link in found["links"]} == {11: 0, 12: 1, 14: 2, 15: 3, 16: 4}
    assert found["nodes"][1]["outputs"] == [{"links": []}, {"links": [14]}]
    back = opened(tmp_path, found, layouts, dynamic=False)
    assert [one["name"] for one in back["nodes"][0]["inputs"]] == [
        "reference", "reference_report", "report_1", "image_2", "report_2"]
