"""The pack as an artist meets it: ComfyUI's editor in Chromium, in both renderers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.editor import Editor
from tests.comfyui.server import ROOT

TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))


def template(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text("utf-8"))


def only(workflow: dict[str, Any], kind: str) -> int:
    """Id of the only node of a kind."""
    (found,) = [n["id"] for n in workflow["nodes"] if n["type"] == f"ToProVAR_{kind}"]
    return found


@pytest.fixture(autouse=True)
def no_complaints(editor: Editor) -> Iterator[None]:
    yield
    assert editor.complaints() == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_opens_with_all_its_nodes(editor: Editor, path: Path) -> None:
    workflow = json.loads(path.read_text("utf-8"))
    editor.load(workflow)
    missing = editor.browser.evaluate(
        "() => app.graph.nodes.filter((n) => n.has_errors || !n.constructor.nodeData"
        " && !/Note/.test(n.type)).map((n) => n.type)")
    assert missing == []
    saved = {n["id"]: n for n in editor.saved()["nodes"]}
    for node in workflow["nodes"]:  # what was saved is what is shown
        if node["type"].startswith("ToProVAR_"):
            assert saved[node["id"]]["widgets_values"] == node["widgets_values"], node["type"]
    editor.fit()
    editor.picture(f"template-{path.stem}")


def test_quick_start_through_the_run_button(editor: Editor) -> None:
    workflow = template("quick-start")
    editor.load(workflow)
    sampler = only(workflow, "Sampler")
    sent = editor.run()
    report = editor.output(sent, sampler)["toprovar_report"][0]
    assert len(report["runs"][0]["scales"]) == 10
    pictures = [one for one in sent if one["output"].get("images")]
    assert pictures
    panel = editor.panel(sampler)
    share = f"{report['runs'][0]['flop_share'] * 100:.0f} %"
    text = editor.browser.evaluate("(panel) => document.querySelector(panel).innerText", panel)
    assert share in text and "toprovar" in text
    bars = "(panel) => document.querySelectorAll(`${panel} .tpv-bar`).length"
    assert editor.browser.evaluate(bars, panel) == 10
    editor.fit()
    editor.picture("quick-start")


def test_a_painted_grid_reaches_the_server_and_is_saved(editor: Editor) -> None:
    workflow = template("analyse-and-plan")
    editor.load(workflow)
    planner = only(workflow, "SparsityPlanner")
    plan = editor.output(editor.run(), planner)["toprovar_plan"][0]
    panel = editor.panel(planner)
    editor.fit()
    editor.picture("planned")
    cell = f"{panel} .tpv-cell[data-scale='%d'][data-layer='%d']"
    scale = 6  # in full so far
    assert set(plan["scales"][scale]["keep"]) == {plan["scales"][scale]["grid"][0] ** 2}
    editor.browser.click(f"{panel} [data-brush='0.25']")
    editor.browser.do("drag", **{"from": cell % (scale, 2), "to": cell % (scale, 4)})
    edits = json.loads(editor.widget(planner, "edits"))
    assert edits["keep"] == {str(scale): {"2": 0.25, "3": 0.25, "4": 0.25}}
    editor.browser.click(f"{panel} [data-brush='0.25']")  # no brush: the next step
    editor.browser.click(cell % (scale, 5))
    assert json.loads(editor.widget(planner, "edits"))["keep"][str(scale)]["5"] == 0.75
    tokens = plan["scales"][scale]["grid"][0] ** 2
    changed = editor.output(editor.run(), planner)["toprovar_plan"][0]
    expected = list(plan["scales"][scale]["keep"])
    expected[2:5] = [tokens // 4] * 3
    expected[5] = tokens * 3 // 4
    assert changed["scales"][scale]["keep"] == expected
    assert changed["predicted"]["flop_share"] < plan["predicted"]["flop_share"]
    editor.picture("painted")
    # Saved, opened again, and there
    saved = editor.saved()
    editor.load(saved)
    assert json.loads(editor.widget(planner, "edits"))["keep"][str(scale)]["3"] == 0.25
    panel = editor.panel(planner)
    shown = editor.browser.evaluate(
        "(cell) => document.querySelector(cell)?.getAttribute('aria-label')", cell % (scale, 3))
    assert shown == f"scale {scale}, layer 3: keeps 25 %"
    editor.browser.click(f"{panel} [data-act='reset']")
    assert editor.widget(planner, "edits") == ""


def test_where_tokens_exit_a_scale_is_painted_as_one(editor: Editor) -> None:
    workflow = template("analyse-and-plan")
    editor.load(workflow)
    planner = only(workflow, "SparsityPlanner")
    plan = editor.output(editor.run(), planner)["toprovar_plan"][0]
    (scale,) = [s for s, step in enumerate(plan["scales"]) if step.get("dropped") == "exit"]
    panel = editor.panel(planner)
    editor.fit()
    editor.browser.click(f"{panel} [data-brush='0.5']")
    editor.browser.click(f"{panel} .tpv-cell[data-scale='{scale}'][data-layer='1']")
    edits = json.loads(editor.widget(planner, "edits"))["keep"][str(scale)]
    assert edits == {str(layer): 0.5 for layer in range(10)}
    changed = editor.output(editor.run(), planner)["toprovar_plan"][0]
    side = plan["scales"][scale]["grid"][0]
    assert changed["scales"][scale]["keep"] == [side * side // 2] * 10


def test_the_planner_shows_the_inputs_of_its_strategy(editor: Editor) -> None:
    workflow = template("four-strategies")
    editor.load(workflow)
    planner = next(n["id"] for n in workflow["nodes"] if n["type"] == "ToProVAR_SparsityPlanner")
    for strategy in ("toprovar", "fastvar", "skipvar", "dense"):
        editor.set(planner, strategy=strategy)
        shown = editor.shown_inputs(planner)
        assert "strategy" in shown and "edits" not in shown
        for other in ("toprovar", "fastvar", "skipvar"):
            assert any(n.startswith(f"{other}_") for n in shown) == (other == strategy), strategy
        assert ("target" in shown) == (strategy != "dense")


def test_the_analyzer_draws_maps(editor: Editor) -> None:
    workflow = template("analyse-and-plan")
    editor.load(workflow)
    analyzer = only(workflow, "EntropyAnalyzer")
    vue = "vue" in editor.pictures.name
    editor.set(analyzer, seed=101 + vue)  # a node that is not run anew sends nothing
    editor.run()
    panel = editor.panel(analyzer)
    drawn = editor.browser.evaluate(
        """(panel) => {
          const canvas = document.querySelector(`${panel} canvas`);
          const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          return new Set(data).size;
        }""", panel)
    assert drawn > 20
    assert editor.browser.evaluate(
        "(panel) => document.querySelectorAll(`${panel} input[type=range]`).length", panel) == 2
    editor.fit()
    editor.picture("analyzed")


def test_a_removed_node_leaves_nothing_behind(editor: Editor) -> None:
    workflow = template("analyse-and-plan")
    editor.load(workflow)
    planner = only(workflow, "SparsityPlanner")
    editor.panel(planner)
    gone = editor.browser.evaluate(
        """(id) => {
          const node = app.graph.getNodeById(id);
          const { element } = node.widgets.find((w) => w.name === "toprovar_panel");
          app.graph.remove(node);
          return !element.isConnected;
        }""", planner)
    assert gone
