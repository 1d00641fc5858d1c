// Sparsity Planner: shows the plan of the last run, and lets it be edited.
//
// The edits are the text of the node's input "edits". The plan that they are laid over is kept in
// the node's properties, so that it is there again when the workflow is opened.

import { Cost } from "./cost.js";
import { button, h } from "./dom.js";
import { PlanGrid } from "./grid.js";
import { Panel } from "./panel.js";
import { EditedPlan, countEdits, parseEdits, writeEdits } from "./plan.js";
import { hideRows, layOutAsShown, markInputs } from "./planner_inputs.js";
import { gridName, percent, sent } from "./text.js";

const KEPT = "toprovar_plan"; // name of the property
const BRUSHES = [1, 0.75, 0.5, 0.25, 0];

export class PlannerPanel extends Panel {
  /** @param dynamic whether the frontend shows the inputs of the chosen strategy, and only these */
  constructor(node, app, { dynamic }) {
    super(node, app, "Sparsity plan");
    this.dynamic = dynamic;
    const edits = node.widgets.find((widget) => widget.name === "edits");
    if (edits) edits.hidden = true; // the grid is its face
    this.watched = new WeakSet();
    if (!dynamic) layOutAsShown(node);
    this.chain("onConnectionsChange", () => this.update());
    this.update();
  }

  bind(signal) {
    this.make();
    this.grid.bind(signal);
    this.body.addEventListener("click", (event) => this.press(event), { signal });
  }

  make() {
    if (this.grid) return;
    this.grid = new PlanGrid({
      paint: (cells, share) => this.paint(cells, share),
      toggle: (scale) => this.toggle(scale),
      over: (scale, layer) => this.tell(scale, layer),
      begin: () => this.changing(),
      done: () => this.changed(),
      brush: () => this.brush,
    });
    this.cost = new Cost();
    this.said = h("p", { class: "tpv-said tpv-line", "aria-live": "polite" });
    this.notes = h("div", { class: "tpv-notes" });
    this.reset = button("reset", "Forget all edits", { "data-act": "reset" });
    this.tools = h("div", { class: "tpv-tools" },
      h("span", { class: "tpv-brushes", role: "group", "aria-label": "Brush" },
        ...BRUSHES.map((share) => button(percent(share), `Paint cells to keep ${
          percent(share)}; without a brush, a click goes to the next step`,
        { "data-brush": share, "aria-pressed": "false", style: `--keep:${share * 100}%` }))),
      this.reset);
  }

  /** Have the panel follow an input. Dynamic ones come and go. */
  watch(widget) {
    if (widget === this.widget || this.watched.has(widget)) return;
    this.watched.add(widget);
    const before = widget.callback;
    widget.callback = (...values) => {
      const result = before?.apply(widget, values);
      this.update();
      return result;
    };
  }

  value(name) {
    return this.node.widgets?.find((widget) => widget.name === name)?.value;
  }

  restore() {
    this.update();
  }

  async restoreFromHistory() {
    if (!this.node.properties?.[KEPT]) await super.restoreFromHistory();
  }

  show(output, inputs) {
    const plan = sent(output, "toprovar_plan");
    if (!plan) return;
    this.node.properties[KEPT] = {
      plan: sent(output, "toprovar_unedited") ?? plan,
      counted: sent(output, "toprovar_counted"), edits: sent(output, "toprovar_edits") ?? "",
      made: this.asGiven(inputs) ? this.made() : "",
    };
    this.update();
  }

  /** What a plan depends on. */
  made() {
    return JSON.stringify(this.deciding().map((widget) => widget.value));
  }

  deciding() {
    return this.node.widgets.filter((w) => w !== this.widget && w.name !== "edits");
  }

  /** Whether inputs of an earlier run are those of now; what comes over a link is not known. */
  asGiven(inputs = {}) {
    return this.deciding().every(({ name, value }) =>
      inputs[name] === undefined || Array.isArray(inputs[name]) || inputs[name] === value);
  }

  update() {
    if (!this.grid || !this.watched) return;
    for (const widget of this.node.widgets ?? []) this.watch(widget);
    if (!this.dynamic && markInputs(this.node, (name) => this.value(name))) this.fit();
    this.draw();
    this.shown();
  }

  shown() {
    if (!this.dynamic) hideRows(this.node, this.root);
  }

  draw() {
    const { plan, counted, made, edits: used } = this.node.properties?.[KEPT] ?? {};
    const edits = parseEdits(this.value("edits"));
    this.plan = undefined;
    if (!Array.isArray(plan?.scales) || plan.in_the_run) {
      this.words(plan, edits);
      return;
    }
    this.plan = new EditedPlan(plan, edits ?? { keep: {}, run: {} });
    if (this.cost.root.parentElement !== this.body) { // else the keyboard would lose its place
      this.body.replaceChildren(this.cost.root, this.grid.root, this.said, this.tools, this.notes);
    }
    this.notes.replaceChildren(...(plan.notes ?? []).map((note) =>
      h("p", { class: "tpv-note" }, String(note))));
    this.grid.draw(this.plan);
    this.stale = made !== this.made();
    this.used = used !== undefined && used === this.value("edits");
    this.grid.root.classList.toggle("tpv-stale", this.stale);
    this.reset.disabled = edits !== null && countEdits(edits) === 0;
    this.cost.show(plan, counted, countEdits(this.plan.edits) ? this.value("edits") : "");
    this.tell(null, null);
  }

  words(plan, edits) {
    const inside = plan?.in_the_run;
    const kept = edits && countEdits(edits)
      ? h("span", {}, ` ${countEdits(edits)} edits are kept.`) : null;
    if (inside) {
      this.hint("Each picture is planned inside its run. To see and edit one plan for all: ",
        button("plan before the run", "Makes one plan for all pictures", { "data-act": "before" }),
        kept);
    } else {
      this.hint("Run once to see the plan here, then paint on it.", kept);
    }
  }

  /** Words beneath the grid. */
  tell(scale, layer) {
    const { plan } = this;
    if (!plan) return;
    if (scale !== null && layer !== null && plan.scales[scale]) {
      const was = plan.edited(scale, layer) ? ` (planned ${percent(plan.planned(scale, layer))})` : "";
      this.said.textContent = plan.runs(scale)
        ? `${gridName(plan.scales[scale].grid)}, layer ${layer}: ${plan.kept(scale, layer)} of ${
          plan.tokens(scale)} tokens, ${percent(plan.share(scale, layer))}${was}`
        : `${gridName(plan.scales[scale].grid)} is not run`;
    } else if (plan.strays) {
      this.said.textContent = "Some edits are of another size or model: reset them.";
    } else if (this.stale) {
      this.said.textContent = "Inputs have changed: run to plan anew.";
    } else {
      const edits = countEdits(plan.edits);
      const count = edits === 1 ? "1 edit" : `${edits} edits`;
      this.said.textContent = edits ? `${count}, ${
        this.used ? "used in the last run." : "used from the next run on."}`
        : "Click or drag; shift: all layers, alt: all scales.";
    }
  }

  paint(cells, share) {
    if (!this.plan) return;
    for (const [scale, layer] of cells) {
      if (Math.abs(this.plan.planned(scale, layer) - share) < 0.005) this.plan.clear(scale, layer);
      else this.plan.setShare(scale, layer, share);
    }
    this.write();
    const [scale, layer] = cells[0] ?? [null, null];
    this.tell(scale, layer);
  }

  toggle(scale) {
    this.plan?.setRuns(scale, !this.plan.runs(scale));
    this.write();
  }

  press(event) {
    const chosen = event.target.closest("button");
    const { brush, act } = chosen?.dataset ?? {};
    if (brush !== undefined) {
      this.brush = this.brush === Number(brush) ? undefined : Number(brush);
      for (const one of this.tools.querySelectorAll("[data-brush]")) {
        one.setAttribute("aria-pressed", String(Number(one.dataset.brush) === this.brush));
      }
    } else if (act === "reset") {
      this.plan = undefined;
      this.write();
      this.changed();
    } else if (act === "before") this.planBefore();
  }

  planBefore() {
    const own = `${this.value("strategy")}_`;
    const widget = this.node.widgets.find((one) =>
      one.name.split(".").at(-1).startsWith(own) && one.value === "in the run");
    if (!widget) return;
    delete this.node.properties[KEPT];
    widget.value = "before the run";
    widget.callback?.(widget.value);
    this.changed();
  }

  /** The edits into the node's input, from where they are saved and sent. */
  write() {
    const widget = this.node.widgets.find((one) => one.name === "edits");
    if (!widget) return;
    widget.value = this.plan ? writeEdits(this.plan.edits) : "";
    widget.callback?.(widget.value); // which draws
  }
}
