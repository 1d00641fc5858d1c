"""Templates as they lie on the canvas, before a run and after it: by the page's own measures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.browser.editor import Editor
from tests.comfyui.server import Installation, Server
from tests.comfyui.templates import TEMPLATES, short

LEAST_ZOOM = {False: 0.6, True: 0.5}
"""Of a whole workflow in a window of 1600 x 1000. The classic renderer draws no words below it; the
Vue renderer does, and some frontends move nodes further apart for it."""
BOXES = """() => app.graph.nodes.map((node) => {
  const element = document.querySelector(`[data-node-id="${node.id}"]`);
  const name = `${node.id} ${node.title}`;
  if (!element) return { name, box: [...node.getBounding()] };
  const { scale, offset } = app.canvas.ds;
  const [shown, page] = [element, app.canvas.canvas].map((e) => e.getBoundingClientRect());
  return { name, box: [(shown.x - page.x) / scale - offset[0],
    (shown.y - page.y) / scale - offset[1], shown.width / scale, shown.height / scale] };
})"""
NOTE = """() => {
  const node = app.graph.nodes.find((one) => one.type === "MarkdownNote");
  const whole = document.querySelector(`[data-node-id="${node.id}"]`)
    ?? node.widgets[0].element;
  return [whole, ...whole.querySelectorAll("*")]
    .filter((one) => one.tagName !== "TEXTAREA" && one.clientHeight // that is for editing
      && /auto|scroll/.test(getComputedStyle(one).overflowY))
    .map((one) => one.scrollHeight - one.clientHeight);
}"""
SMALL = """() => {
  for (const { widgets } of app.graph.nodes) {
    for (const widget of widgets ?? []) {
      if (widget.name === "pixels") widget.value = "0.06M";
      if (widget.name === "minutes") widget.value = 0.5;
    }
  }
}"""


@pytest.fixture(scope="module")
def server(installation: Installation, tmp_path_factory: pytest.TempPathFactory
           ) -> Iterator[Server]:
    """One of its own: a template calibrates the model, which later runs go by."""
    with Server(installation, tmp_path_factory.mktemp("layout")) as running:
        yield running


def overlaps(boxes: list[dict[str, Any]]) -> list[str]:
    found = []
    for one, other in combinations(boxes, 2):
        (x, y, w, h), (u, v, m, n) = one["box"], other["box"]
        across, down = min(x + w, u + m) - max(x, u), min(y + h, v + n) - max(y, v)
        if across > 1 and down > 1:
            found.append(f"{one['name']} and {other['name']}: {across:.0f} x {down:.0f}")
    return found


@pytest.mark.parametrize("path", TEMPLATES, ids=short)
def test_nothing_covers_anything(editor: Editor, path: Path) -> None:
    editor.load(json.loads(path.read_text("utf-8")))
    editor.fit()
    assert overlaps(editor.browser.evaluate(BOXES)) == []
    assert editor.browser.evaluate("() => app.canvas.ds.scale") >= LEAST_ZOOM[editor.is_vue]
    hidden = editor.browser.evaluate(NOTE)
    assert all(height <= 2 for height in hidden), f"the note scrolls by {hidden}"
    if "(embedded)" in path.read_text("utf-8"):
        editor.browser.evaluate(SMALL)
        editor.run(seconds=240)
        editor.browser.evaluate("() => new Promise((done) => setTimeout(done, 1500))")
        editor.fit()  # pictures have arrived, nodes have grown
        assert overlaps(editor.browser.evaluate(BOXES)) == []
        assert editor.browser.evaluate("() => app.canvas.ds.scale") >= LEAST_ZOOM[editor.is_vue]
    editor.picture(f"layout-{short(path)}")
