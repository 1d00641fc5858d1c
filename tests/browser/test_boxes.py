"""Nothing lies over anything else, and nothing is cut off: measured on the page itself, for every
workflow of the box, after it was run where it needs no download."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.browser.editor import Editor
from tests.browser.measure import faults
from tests.browser.test_editor import no_complaints
from tests.comfyui.frontend import NEWEST, OWN
from tests.comfyui.templates import TEMPLATES, short, template

__all__ = ["no_complaints"]

LEAST_ZOOM = {False: 0.6, True: 0.5}
"""Of a whole workflow in a window of 1600 x 1000. The classic renderer draws no words below it; the
Vue renderer does, and some frontends move nodes further apart for it."""
NOTE = """() => {
  const node = app.graph.nodes.find((one) => one.type === "MarkdownNote");
  const whole = document.querySelector(`[data-node-id="${node.id}"]`)
    ?? node.widgets[0].element;
  return [whole, ...whole.querySelectorAll("*")]
    .filter((one) => one.tagName !== "TEXTAREA" && one.clientHeight // that is for editing
      && /auto|scroll/.test(getComputedStyle(one).overflowY))
    .map((one) => one.scrollHeight - one.clientHeight);
}"""
ZOOM = "() => app.canvas.ds.scale"
EVERYWHERE = "quick-start"
RUN_IN = ((OWN, False), (NEWEST, True))
"""Frontend and renderer in which every workflow is run; in the other pairs it is only this one, and
the rest are loaded. Where a frontend is named in COMFYUI_FRONTEND, all are run in both."""
LAST = "ToProVAR_CalibrateInfinity"
"""Changes what the model's later runs leave out."""


def is_last(path: Path) -> bool:
    return LAST in path.read_text("utf-8")


@pytest.mark.parametrize("path", sorted(TEMPLATES, key=is_last), ids=short)
def test_nothing_overlaps_and_nothing_is_cut_off(editor: Editor, frontend: str, path: Path
                                                 ) -> None:
    workflow = json.loads(path.read_text("utf-8"))
    editor.load(workflow)
    assert faults(editor) == []
    editor.fit()
    assert editor.browser.evaluate(ZOOM) >= LEAST_ZOOM[editor.is_vue]
    hidden = editor.browser.evaluate(NOTE)
    assert all(height <= 2 for height in hidden), f"the note scrolls by {hidden}"
    if "(embedded)" not in path.read_text("utf-8"):
        return
    pair = (frontend, editor.is_vue)
    if pair not in RUN_IN and short(path) != EVERYWHERE and "COMFYUI_FRONTEND" not in os.environ:
        return
    if is_last(path) and (frontend != NEWEST or not editor.is_vue):
        return  # half a minute each time, for the same panel
    for node in workflow["nodes"]:
        hasten(editor, node)
    editor.run(seconds=200)
    editor.fit()
    editor.picture(f"layout-{short(path)}")
    assert faults(editor) == []
    assert editor.browser.evaluate(ZOOM) >= LEAST_ZOOM[editor.is_vue]


def hasten(editor: Editor, node: dict[str, Any]) -> None:
    """Have a node do only what shows a result; with a seed that no other test has had."""
    if node["type"] == LAST:
        editor.set(node["id"], minutes=0.5)
    elif node["type"] == "ToProVAR_Sampler":
        editor.set(node["id"], seed=401 + editor.is_vue)


def test_faults_are_found(editor: Editor) -> None:
    """The measure itself: a node moved onto another, and one made too small for its panel."""
    workflow = template("quick-start")
    editor.load(workflow)
    before = faults(editor)
    one, other, *_ = (n for n in workflow["nodes"] if n["type"].startswith("ToProVAR_"))
    at = one["pos"]
    one["pos"] = [other["pos"][0] + 40, other["pos"][1] + 60]
    editor.load(workflow)
    one["pos"] = at
    moved = [fault for fault in faults(editor) if fault not in before]
    assert any("lies over" in fault for fault in moved)
    editor.load(workflow)
    sampler = next(n["id"] for n in workflow["nodes"] if n["type"] == "ToProVAR_Sampler")
    panel = editor.panel(sampler)
    editor.browser.evaluate(
        """(panel) => {
          const place = document.querySelector(panel);
          place.style.maxHeight = "6px";
        }""", panel)
    assert any("cut off" in fault for fault in faults(editor))
