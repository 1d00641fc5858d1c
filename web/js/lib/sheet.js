// Drafts as small pictures with numbers. A click chooses those that are to be finished.

import { api } from "../../../../scripts/api.js";

import { button, h } from "./dom.js";
import { Panel } from "./panel.js";
import { ReportPanel } from "./report.js";
import { formatNumbers, parseNumbers } from "./numbers.js";
import { sent } from "./text.js";

const FINISH = "ToProVAR_FinishDrafts";
const WHICH = "which";

/** What a node sent of drafts, where it can be shown. */
function draftsIn(output) {
  const found = sent(output, "toprovar_drafts");
  return Array.isArray(found?.images) && found.images.length ? found : undefined;
}

/** The pictures, and words on what is chosen. */
export class Sheet {
  /** @param panel that it lies in; targets() = nodes that finish the drafts */
  constructor(panel, targets) {
    this.panel = panel;
    this.targets = targets;
    this.said = h("span", { class: "tpv-said" });
    this.grid = h("div", { class: "tpv-sheet", role: "group", "aria-label": "Drafts" });
    this.root = h("div", { class: "tpv-drafts" }, this.grid, h("div", { class: "tpv-tools" },
      button("all", "Choose all", { "data-which": "all" }),
      button("none", "Choose none", { "data-which": "" }), this.said));
  }

  bind(signal) {
    this.root.addEventListener("click", (event) => {
      const { number } = event.target.closest("[data-number]")?.dataset ?? {};
      const { which } = event.target.dataset;
      if (number !== undefined) this.toggle(Number(number));
      else if (which !== undefined) this.choose(which);
    }, { signal });
    this.root.addEventListener("load", () => this.panel.resized(), { signal, capture: true });
  }

  draw(drafts) {
    this.drafts = drafts;
    const [width, height] = drafts.size ?? [1, 1];
    const count = drafts.images.length;
    this.grid.style.setProperty("--columns", columnsFor(count, width / height));
    this.grid.style.setProperty("--shape", `${width} / ${height}`);
    this.grid.replaceChildren(...drafts.images.map((image, i) => h("button", {
      type: "button", class: "tpv-draft", "data-number": i + 1, title: drafts.captions?.[i],
    }, h("img", { src: api.apiURL(`/view?${new URLSearchParams(image)}`), alt: "",
      draggable: "false" }), h("span", { class: "tpv-number" }, String(i + 1)))));
    this.mark();
  }

  widgets() {
    return this.targets().map((node) => node.widgets?.find((one) => one.name === WHICH))
      .filter(Boolean);
  }

  /** Numbers that are chosen; undefined where they cannot be. */
  chosen() {
    const [widget] = this.widgets();
    return widget && parseNumbers(widget.value, this.drafts.images.length);
  }

  toggle(number) {
    const now = this.chosen();
    if (!now) return;
    const next = now.includes(number) ? now.filter((one) => one !== number) : [...now, number];
    this.choose(formatNumbers(next, this.drafts.images.length));
  }

  choose(text) {
    const widgets = this.widgets();
    if (!widgets.length) return;
    this.panel.changing();
    for (const widget of widgets) {
      widget.value = text;
      widget.callback?.(text);
    }
    this.panel.changed();
    this.mark();
  }

  mark() {
    if (!this.drafts) return;
    const now = this.chosen();
    this.root.classList.toggle("tpv-fixed", !now);
    for (const one of this.grid.children) {
      one.setAttribute("aria-pressed", String(now?.includes(Number(one.dataset.number)) ?? false));
    }
    const count = this.drafts.images.length;
    this.said.textContent = now
      ? now.length ? `${now.length} of ${count} chosen: run to finish them`
        : "Click those to finish, then run again"
      : "Connect to Finish Drafts to choose";
  }
}

/** As square as can be, rather with one more column than with a row that is not full. */
function columnsFor(count, shape) {
  const least = Math.min(count, Math.max(1, Math.ceil(Math.sqrt(count / shape))));
  return [least, least + 1].find((columns) => count % columns === 0) ?? least;
}

/** Of nodes that give drafts: what they look like. */
export class DraftPanel extends Panel {
  constructor(node, app) {
    super(node, app, "Drafts");
    this.sheet = new Sheet(this, () => finishersOf(node));
    if (this.life) this.sheet.bind(this.life.signal);
    this.about = h("p", { class: "tpv-said" });
    this.hint("After a run: the drafts with their numbers.");
    this.chain("onConnectionsChange", () => this.sheet.mark());
    this.restore();
  }

  bind(signal) {
    this.sheet?.bind(signal);
    this.root.addEventListener("pointerenter", () => this.sheet.mark(), { signal });
  }

  show(output) {
    const drafts = draftsIn(output);
    if (!drafts) return;
    this.sheet.draw(drafts);
    this.about.textContent = drafts.about ?? "";
    this.body.replaceChildren(this.sheet.root, this.about);
  }
}

/** Finish Drafts nodes behind a node's first output, in its own graph. */
function finishersOf(node) {
  const links = node.outputs?.[0]?.links ?? [];
  return links.map((id) => node.graph?.links?.get?.(id) ?? node.graph?.links?.[id])
    .map((link) => link && node.graph.getNodeById(link.target_id))
    .filter((found) => found?.comfyClass === FINISH);
}

/** Of Finish Drafts: the sheet to choose from, and what the run did. */
export class FinishPanel extends ReportPanel {
  constructor(node, app) {
    super(node, app);
    this.sheet = new Sheet(this, () => [node]);
    if (this.life) this.sheet.bind(this.life.signal);
    this.output = undefined; // which the report alone was drawn from
    this.hint("After a run: the drafts to choose from, and what finishing cost.");
    const widget = node.widgets?.find((one) => one.name === WHICH);
    if (widget) {
      const before = widget.callback;
      widget.callback = (...values) => {
        const result = before?.apply(widget, values);
        this.sheet.mark();
        return result;
      };
    }
    this.restore();
  }

  bind(signal) {
    super.bind(signal);
    this.sheet?.bind(signal);
    this.root.addEventListener("pointerenter", () => this.sheet.mark(), { signal });
  }

  show(output) {
    const drafts = draftsIn(output);
    if (!this.sheet || !drafts) return; // while it is made
    this.report = undefined;
    super.show(output);
    this.sheet.draw(drafts);
    if (!this.report) this.body.replaceChildren();
    this.body.prepend(this.sheet.root);
  }

  draw() { // another page of the report
    super.draw();
    this.body.prepend(this.sheet.root);
  }
}
