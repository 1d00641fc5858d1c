"""ComfyUI's editor in the browser: workflows opened, run and looked at."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.browser.browser import Browser

READY = "() => Boolean(window.app?.graph && window.app.extensionManager?.setting)"
VUE = "Comfy.VueNodes.Enabled"
MISSING = "Comfy.Workflow.ShowMissingModelsWarning"
"""Older frontends' dialog about weights that are not there would cover the page."""
ADVERTISEMENT = "vueNodesBannerDismissed"
"""What the frontend remembers of its banner for the Vue renderer."""
MARK_PANELS = """() => app.graph.nodes.forEach((node) => {
  const panel = node.widgets?.find((w) => w.name === "toprovar_panel")?.element;
  if (panel) panel.id = `panel-${node.id}`;
})"""
OURS = ("toprovar", "ToProVAR")


class Editor:
    """Args:
        pictures: folder for screenshots.
    """

    def __init__(self, browser: Browser, url: str, pictures: Path) -> None:
        self.browser, self.url, self.pictures = browser, url, pictures

    def start(self, vue: bool = False) -> None:
        """Load the page, in the classic or the Vue renderer."""
        if not self.browser.evaluate("() => location.href").startswith(self.url):
            self.browser.do("open", url=self.url)
            self.browser.wait(READY)
        self.configure({VUE: vue, "Comfy.Workflow.WarnBlueprintOverwrite": False,
                        "Comfy.Minimap.Visible": False, MISSING: False})
        self.browser.evaluate("(key) => localStorage.setItem(key, 'true')", ADVERTISEMENT)
        self.browser.do("open", url=self.url)
        self.browser.wait(READY)
        self.browser.wait("() => !document.querySelector('#splash-loader')")

    def configure(self, settings: dict[str, Any]) -> None:
        """Change settings; those that this frontend does not know are left alone."""
        self.browser.evaluate(
            """async (settings) => {
              const { setting } = app.extensionManager;
              for (const [name, value] of Object.entries(settings)) {
                if (setting.get(name) !== undefined) await setting.set(name, value);
              }
            }""", settings)

    @property
    def is_vue(self) -> bool:
        return bool(self.browser.evaluate(
            "(name) => app.extensionManager.setting.get(name)", VUE))

    def load(self, workflow: dict[str, Any]) -> None:
        """Open a workflow, and have it fit the window."""
        self.browser.evaluate("async (graph) => { await app.loadGraphData(graph); }", workflow)
        self.browser.wait("(count) => app.graph.nodes.length === count", len(workflow["nodes"]))
        self.settle()

    def fit(self, node: int | None = None) -> None:
        """Show all nodes, or one."""
        self.browser.evaluate(
            """(id) => {
              const shown = app.graph.nodes.filter(
                (node) => id === null || String(node.id) === String(id));
              const boxes = shown.map((node) => node.getBounding());
              const [x, y] = [0, 1].map((i) => Math.min(...boxes.map((box) => box[i])));
              const right = Math.max(...boxes.map((box) => box[0] + box[2]));
              const bottom = Math.max(...boxes.map((box) => box[1] + box[3]));
              const { ds } = app.canvas; // beside and below the frontend's own bars
              const room = [window.innerWidth - 110, window.innerHeight - 160];
              ds.scale = Math.min(room[0] / (right - x), room[1] / (bottom - y), 1);
              ds.offset = [80 / ds.scale - x, 125 / ds.scale - y];
              app.canvas.setDirty(true, true);
            }""", node)
        self.settle()

    def settle(self) -> None:
        """A few frames later."""
        self.browser.evaluate(
            """() => new Promise((done) => {
              let frames = 6;
              const next = () => {
                app.canvas.setDirty(true, true);
                if (frames--) requestAnimationFrame(next);
                else setTimeout(done, 50);
              };
              next();
            })""")

    def run(self, seconds: float = 90) -> list[dict[str, Any]]:
        """Press Run, wait until the queue is done; what the nodes sent."""
        self.browser.evaluate(
            """() => {
              window.sent = []; window.cached = []; window.done = false; window.failed = null;
              const { api } = app;
              if (window.listening) return;
              window.listening = true;
              api.addEventListener("executed", ({ detail }) => window.sent.push(detail));
              api.addEventListener("execution_cached",
                ({ detail }) => window.cached.push(...detail.nodes.map(String)));
              api.addEventListener("execution_success", () => { window.done = true; });
              api.addEventListener("execution_error", ({ detail }) => { window.failed = detail; });
            }""")
        self.browser.click("[data-testid='queue-button'] button, button:has-text('Run')")
        self.browser.wait("() => window.done || window.failed", seconds=seconds)
        assert self.browser.evaluate("() => window.failed") is None
        self.settle()
        return self.browser.evaluate("() => window.sent")

    def cached(self) -> list[str]:
        """Nodes that the last run did not run again. Newer servers send what they showed anew."""
        return self.browser.evaluate("() => window.cached")

    def output(self, sent: list[dict[str, Any]], node: int) -> dict[str, Any]:
        return next(one["output"] for one in sent if str(one["node"]) == str(node))

    def panel(self, node: int) -> str:
        """Selector of a node's panel; panels are marked with their nodes."""
        self.browser.evaluate(MARK_PANELS)
        return f"#panel-{node}"

    def height(self, node: int) -> float:
        """Of a node as it is shown, at full size."""
        return self.browser.evaluate(
            """(id) => document.querySelector(`[data-node-id="${id}"]`)?.offsetHeight
              ?? app.graph.getNodeById(id).size[1]""", node)

    def values(self, node: int) -> dict[str, Any]:
        """What a node's inputs hold, by their plain names: those of a choice have its name before
        theirs on servers with dynamic inputs."""
        return self.browser.evaluate(
            """(id) => Object.fromEntries(app.graph.getNodeById(id).widgets
              .filter((w) => w.name !== "toprovar_panel")
              .map((w) => [w.name.split(".").at(-1), w.value]))""", node)

    def widget(self, node: int, name: str) -> Any:
        return self.values(node)[name]

    def set(self, node: int, **values: Any) -> None:
        """Change inputs as the editor does."""
        self.browser.evaluate(
            """([id, values]) => {
              const node = app.graph.getNodeById(id);
              for (const [name, value] of Object.entries(values)) {
                const widget = node.widgets.find((w) => w.name.split(".").at(-1) === name);
                widget.value = value;
                widget.callback?.(value);
              }
            }""", [node, values])
        self.settle()

    def shown_inputs(self, node: int) -> list[str]:
        """Plain names of the inputs that can be seen, in either renderer."""
        return self.browser.evaluate(
            """(id) => {
              const node = app.graph.getNodeById(id);
              const mine = node.widgets.filter((w) => w.name !== "toprovar_panel");
              const body = document.querySelector(`[data-node-id="${id}"]`);
              const rows = [...body?.querySelectorAll(".lg-node-widget") ?? []];
              const named = rows.length && rows.every((row) => row.dataset.widgetName);
              const seen = !body ? mine.filter((w) => node.isWidgetVisible(w))
                : mine.filter((w) => (named ? rows.find((r) => r.dataset.widgetName === w.name)
                  : rows[node.widgets.indexOf(w)])?.offsetHeight);
              return seen.map((w) => w.name.split(".").at(-1));
            }""", node)

    def reload(self) -> None:
        """Load the page anew: the editor opens what it had open."""
        count = self.browser.evaluate("() => app.graph.nodes.length")
        self.browser.do("open", url=self.url)
        self.browser.wait(READY)
        self.browser.wait("(count) => app.graph.nodes.length === count", count)
        self.settle()

    def drop(self, file: Path) -> None:
        """Open a file as if it were dropped on the canvas."""
        self.browser.evaluate(
            """async ([name, data]) => {
              const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
              await app.handleFile(new File([bytes], name, { type: "image/png" }));
            }""", [file.name, base64.b64encode(file.read_bytes()).decode("ascii")])
        self.settle()

    def saved(self) -> dict[str, Any]:
        """The workflow as it would be saved."""
        return json.loads(self.browser.evaluate("() => JSON.stringify(app.graph.serialize())"))

    def picture(self, name: str, clip: dict[str, float] | None = None) -> Path:
        self.pictures.mkdir(parents=True, exist_ok=True)
        file = self.pictures / f"{name}.png"
        self.browser.do("screenshot", file=str(file), **({"clip": clip} if clip else {}))
        return file

    def complaints(self) -> list[str]:
        """What went wrong in this pack's JavaScript since the last call; the frontend's own errors
        (a missing user.css, blocked hosts) are left out."""
        return [
            one["text"] for one in self.browser.do("console")
            if any(name in one["text"] + one["url"] for name in OURS)
            and "Content Security Policy" not in one["text"]
        ]
