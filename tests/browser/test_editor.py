"""The pack as an artist meets it: ComfyUI's editor in Chromium, in both renderers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.editor import MARK_PANELS, Editor
from tests.comfyui.templates import TEMPLATES, short, template

SHARE = "(panel) => document.querySelector(`${panel} .tpv-big`).innerText"
COUNTED = "(panel) => !document.querySelector(`${panel} .tpv-asking`)"


def only(workflow: dict[str, Any], kind: str) -> int:
    """Id of the only node of a kind."""
    (found,) = [n["id"] for n in workflow["nodes"] if n["type"] == f"ToProVAR_{kind}"]
    return found


def assert_as_saved(editor: Editor, node: dict[str, Any]) -> None:
    """Every input that a node has holds what the workflow says. Its names are those of a server
    without dynamic inputs."""
    names = editor.browser.evaluate(
        """(type) => {
          const { required, optional } = LiteGraph.registered_node_types[type].nodeData.input;
          const every = { ...required, ...optional };
          const layout = Object.values(every).map((s) => s[1]?.toprovar_layout).find(Boolean);
          return layout?.plain ?? null;
        }""", node["type"])
    if names is None:
        saved = {n["id"]: n for n in editor.saved()["nodes"]}[node["id"]]
        assert saved["widgets_values"] == node["widgets_values"], node["type"]
        return
    given = dict(zip(names, node["widgets_values"], strict=False))
    found = editor.values(node["id"])
    assert found and found.items() <= ({"by": "aspect and pixels"} | given).items(), node["type"]


@pytest.fixture(autouse=True)
def no_complaints(editor: Editor) -> Iterator[None]:
    yield
    assert editor.complaints() == []


@pytest.mark.parametrize("path", TEMPLATES, ids=short)
def test_a_template_opens_with_all_its_nodes(editor: Editor, path: Path) -> None:
    workflow = json.loads(path.read_text("utf-8"))
    editor.load(workflow)
    missing = editor.browser.evaluate(
        "() => app.graph.nodes.filter((n) => !n.constructor.nodeData && !/Note/.test(n.type))"
        ".map((n) => n.type)")
    assert missing == []
    for node in workflow["nodes"]:  # what was saved is what is shown
        if node["type"].startswith("ToProVAR_"):
            assert_as_saved(editor, node)
    linked = editor.browser.evaluate("""() => app.graph.nodes.flatMap((node) => node.inputs ?? [])
      .filter((input) => input.link != null).length""")
    assert linked >= len(workflow["links"]) - 4  # those that only bring what a report brings
    editor.fit()
    editor.picture(f"template-{short(path)}")


def test_quick_start_through_the_run_button(editor: Editor) -> None:
    workflow = template("quick-start")
    editor.load(workflow)
    sampler = only(workflow, "Sampler")
    editor.set(sampler, seed=201 + editor.is_vue)  # a node that is not run anew sends nothing
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
    editor.browser.wait(COUNTED, panel)  # by the engine, before the next run
    predicted = editor.browser.evaluate(SHARE, panel)
    changed = editor.output(editor.run(), planner)["toprovar_plan"][0]
    assert predicted == f"{changed['predicted']['flop_share'] * 100:.0f} %"
    expected = list(plan["scales"][scale]["keep"])
    expected[2:5] = [tokens // 4] * 3
    expected[5] = tokens * 3 // 4
    assert changed["scales"][scale]["keep"] == expected
    assert changed["predicted"]["flop_share"] < plan["predicted"]["flop_share"]
    editor.picture("painted")
    said = "(panel) => document.querySelector(`${panel} .tpv-line`).innerText"
    assert editor.browser.evaluate(said, panel) == "4 edits, used in the last run."
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


def with_plan(editor: Editor) -> int:
    """A planner as a saved workflow has it, with the plan of its last run; its id."""
    workflow = template("analyse-and-plan")
    node = next(n for n in workflow["nodes"] if n["type"] == "ToProVAR_SparsityPlanner")
    scales = [{"grid": [side, side], "keep": [side * side] * 10} for side in (1, 2, 4, 6, 8, 12)]
    node["properties"]["toprovar_plan"] = {"plan": {"strategy": "dense", "scales": scales}}
    editor.load(workflow)
    editor.fit(node["id"])
    return node["id"]


def test_scales_and_layers_are_painted_whole(editor: Editor) -> None:
    planner = with_plan(editor)
    panel = editor.panel(planner)
    editor.browser.click(f"{panel} .tpv-cell[data-scale='5'][data-layer='3']", modifiers=["Shift"])
    editor.browser.click(f"{panel} .tpv-scale[data-scale='4']")
    editor.browser.click(f"{panel} .tpv-layer[data-layer='1']")
    editor.browser.click(f"{panel} .tpv-run[data-run='3']")
    edits = json.loads(editor.widget(planner, "edits"))
    every = {str(layer): 0.75 for layer in range(10)}
    assert edits["keep"].pop("5") == {**every, "1": 0.75}
    assert edits["keep"].pop("4") == {**every, "1": 0.75}
    assert edits["keep"] == {str(scale): {"1": 0.75} for scale in range(4)}
    assert edits["run"] == {"3": False}
    editor.picture("whole")
    editor.browser.click(f"{panel} .tpv-run[data-run='3']")
    assert "run" not in json.loads(editor.widget(planner, "edits"))


def test_the_grid_is_worked_by_keyboard(editor: Editor) -> None:
    planner = with_plan(editor)
    editor.browser.evaluate("(cell) => document.querySelector(cell).focus()",
                            f"{editor.panel(planner)} .tpv-cell")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Space", "Enter"):
        editor.browser.do("press", key=key)
    assert json.loads(editor.widget(planner, "edits")) == {"keep": {"2": {"1": 0.5}}}


def test_a_stroke_is_one_step_of_undo(editor: Editor) -> None:
    planner = with_plan(editor)
    panel = editor.panel(planner)
    cell = f"{panel} .tpv-cell[data-scale='4'][data-layer='%d']"
    editor.browser.do("drag", **{"from": cell % 1, "to": cell % 3})
    first = editor.widget(planner, "edits")
    editor.settle()  # the newest frontend takes what changes within 50 ms for the same step
    editor.browser.do("drag", **{"from": cell % 5, "to": cell % 7})
    assert len(json.loads(editor.widget(planner, "edits"))["keep"]["4"]) == 6
    editor.browser.evaluate(
        "() => app.extensionManager.workflow.activeWorkflow.changeTracker.undo()")
    assert editor.widget(planner, "edits") == first
    editor.browser.wait(  # the panel of the node as made anew
        f"(cell) => {{ ({MARK_PANELS})();"
        " return document.querySelector(cell)?.offsetHeight > 0; }", cell % 1)
    editor.browser.click(cell % 1)
    assert json.loads(editor.widget(planner, "edits"))["keep"]["4"]["1"] == 0.5


def test_rare_inputs_are_where_the_frontend_has_them(editor: Editor) -> None:
    """The classic renderer shows them as any other; the Vue one behind a button of the node."""
    workflow = template("four-strategies")
    editor.load(workflow)
    planner = [n["id"] for n in workflow["nodes"] if n["type"] == "ToProVAR_SparsityPlanner"][1]
    editor.fit(planner)
    rare = {"toprovar_tile", "guided"}
    if not rare <= set(editor.shown_inputs(planner)):
        assert editor.is_vue
        editor.browser.click(f"[data-node-id='{planner}'] button:has-text('advanced')")
        editor.settle()
    assert rare <= set(editor.shown_inputs(planner))


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
    panel = editor.panel(planner)
    editor.fit(planner)
    for strategy in ("toprovar", "fastvar", "skipvar", "dense"):
        editor.set(planner, strategy=strategy)
        height = "(panel) => document.querySelector(panel).offsetHeight"
        assert editor.browser.evaluate(height, panel) > 20, strategy
        shown = editor.shown_inputs(planner)
        assert "strategy" in shown and "edits" not in shown
        for other in ("toprovar", "fastvar", "skipvar"):
            assert any(n.startswith(f"{other}_") for n in shown) == (other == strategy), strategy
    editor.set(planner, strategy="fastvar", target="compute budget")
    assert "budget" in editor.shown_inputs(planner)
    assert "speedup" not in editor.shown_inputs(planner)


def test_the_analyzer_draws_maps(editor: Editor) -> None:
    workflow = template("analyse-and-plan")
    editor.load(workflow)
    analyzer = only(workflow, "EntropyAnalyzer")
    editor.set(analyzer, seed=101 + editor.is_vue)  # a node that is not run anew sends nothing
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
    editor.browser.evaluate("() => window.dispatchEvent(new PointerEvent('pointerup'))")
