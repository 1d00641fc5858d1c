"""Nothing lies over anything else, and nothing is cut off: measured on the page itself, for every
workflow of the box, after it was run where it needs no download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.editor import Editor
from tests.browser.measure import faults
from tests.browser.test_editor import TEMPLATES, no_complaints, template

__all__ = ["no_complaints"]

LAST = "ToProVAR_CalibrateInfinity"
"""Changes what the model's later runs leave out."""


def is_last(path: Path) -> bool:
    return LAST in path.read_text("utf-8")


@pytest.mark.parametrize("path", sorted(TEMPLATES, key=is_last), ids=lambda path: path.stem)
def test_nothing_overlaps_and_nothing_is_cut_off(editor: Editor, path: Path) -> None:
    workflow = json.loads(path.read_text("utf-8"))
    editor.load(workflow)
    assert faults(editor) == []
    if "(embedded)" not in path.read_text("utf-8"):
        return
    for node in workflow["nodes"]:
        hasten(editor, node)
    editor.run(seconds=200)
    editor.fit()
    editor.picture(f"layout-{path.stem}")
    assert faults(editor) == []


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
