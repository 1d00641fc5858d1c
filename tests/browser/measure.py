"""What is wrong with the layout of the workflow that is open, in either renderer.

All lengths are those of the graph: what the page has is divided by its zoom.
"""

from __future__ import annotations

from tests.browser.editor import Editor

MEASURE = """
async () => {
  const SLACK = 2; // pixels of borders and rounding
  await Promise.all([...document.images].map((one) => one.complete
    || new Promise((done) => { one.onload = done; one.onerror = done; })));
  const found = [];
  const name = (node) => `${node.title || node.type} (${node.id})`;
  const zoom = app.canvas.ds.scale;
  const [left, top] = app.canvas.ds.offset;
  const onGraph = (element) => {
    const box = element.getBoundingClientRect();
    const place = app.canvas.canvas.getBoundingClientRect();
    return [(box.x - place.x) / zoom - left, (box.y - place.y) / zoom - top,
      box.width / zoom, box.height / zoom];
  };
  const across = (a, b) => Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const down = (a, b) => Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  const over = (a, b) => across(a, b) > SLACK && down(a, b) > SLACK;
  const outside = (inner, outer) => Math.max(outer[0] - inner[0], outer[1] - inner[1],
    inner[0] + inner[2] - outer[0] - outer[2], inner[1] + inner[3] - outer[1] - outer[3]);
  const say = (box) => box.map(Math.round).join(" ");

  const bodies = new Map(app.graph.nodes.map((node) => [node,
    document.querySelector(`[data-node-id="${node.id}"]`)]));
  const boxes = app.graph.nodes.map((node) => {
    const body = bodies.get(node);
    return [node, body ? onGraph(body) : [...node.getBounding()]];
  });
  boxes.forEach(([one, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
    if (over(a, b)) found.push(`${name(one)} ${say(a)} lies over ${name(other)} ${say(b)}`);
  }));

  for (const [node, box] of boxes) {
    if (node.flags?.collapsed) continue; // a bar, on which all slots are one
    const body = bodies.get(node);
    const parts = body ? ofRows(body) : ofWidgets(node);
    for (const [what, part] of parts) {
      if (part[3] < 8) found.push(`${name(node)}: ${what} has no height: ${say(part)}`);
      if (outside(part, box) > SLACK) {
        found.push(`${name(node)} ${say(box)}: ${what} ${say(part)} reaches out`);
      }
    }
    parts.forEach(([what, a], i) => parts.slice(i + 1).forEach(([other, b]) => {
      if (over(a, b)) found.push(`${name(node)}: ${what} ${say(a)} lies over ${other} ${say(b)}`);
    }));
    const panel = node.widgets?.find((one) => one.name === "toprovar_panel")?.element;
    if (panel?.isConnected && panel.offsetHeight) { // an empty one is not shown
      const content = panel.firstElementChild;
      const [wide, high] = [content.scrollWidth, content.scrollHeight];
      if (high > panel.clientHeight + SLACK || wide > panel.clientWidth + SLACK) {
        found.push(`${name(node)}: the panel's ${wide} x ${high} are cut off at ${
          panel.clientWidth} x ${panel.clientHeight}`);
      }
      if (outside(onGraph(panel), box) > SLACK) {
        found.push(`${name(node)} ${say(box)}: the panel ${say(onGraph(panel))} reaches out`);
      }
    }
  }
  return found;

  function ofRows(body) {
    const rows = [...body.querySelectorAll(".lg-node-widget, .lg-slot--input, .lg-slot--output")];
    return rows.filter((row) => row.offsetHeight && !row.closest(".lg-node-widget .lg-slot--input")
        && !(row.matches(".lg-slot--input") && row.closest(".lg-node-widgets")))
      .map((row) => [row.dataset.widgetName || row.innerText.trim().slice(0, 20) || "a row",
        onGraph(row)]);
  }

  function ofWidgets(node) {
    const parts = (node.widgets ?? []).filter((one) => node.isWidgetVisible(one)
        && !one.element?.classList.contains("tpv-nothing")).map((one) => [one.name,
      [node.pos[0] + 10, node.pos[1] + one.y, node.size[0] - 20,
        one.computedHeight ?? one.computeSize?.(node.size[0])[1] ?? LiteGraph.NODE_WIDGET_HEIGHT]]);
    const half = LiteGraph.NODE_SLOT_HEIGHT / 2 - 4;
    const slot = (one, [, y], x) => [one.name, [x, y - half, node.size[0] / 2 - 4, 2 * half]];
    (node.inputs ?? []).forEach((one, i) => {
      if (!one.widget) parts.push(slot(one, node.getInputPos(i), node.pos[0]));
    });
    (node.outputs ?? []).forEach((one, i) => parts.push(
      slot(one, node.getOutputPos(i), node.pos[0] + node.size[0] / 2 + 4)));
    return parts;
  }
}
"""


def faults(editor: Editor) -> list[str]:
    """What lies over something else, reaches out of its node or is cut off; empty if nothing is."""
    editor.fit()
    return editor.browser.evaluate(MEASURE)
