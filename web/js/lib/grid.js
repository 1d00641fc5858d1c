// The scale × layer grid: cells of keep ratios, painted with the mouse or the keyboard.

import { h } from "./dom.js";
import { gridName, percent } from "./text.js";

const STEPS = [1, 0.75, 0.5, 0.25, 0];

/** The next lower step; from none to all. */
export const nextShare = (share) => STEPS.find((step) => step < share - 0.01) ?? 1;

export class PlanGrid {
  /**
   * @param on what happens: paint(cells, share), over(scale, layer) with nulls where the pointer
   *   left, toggle(scale), begin() and done() around a stroke; brush() = share to paint,
   *   undefined = next
   */
  constructor(on) {
    this.on = on;
    this.root = h("div", { class: "tpv-grid", role: "grid",
      "aria-label": "Keep ratios: scales down, layers across" });
    this.cells = [];
  }

  bind(signal) {
    const listen = (kind, act) => this.root.addEventListener(kind, act, { signal });
    listen("pointerdown", (event) => this.press(event));
    listen("pointerover", (event) => this.over(event));
    listen("pointerleave", () => this.on.over(null, null));
    listen("keydown", (event) => this.key(event));
    for (const kind of ["pointerup", "pointercancel"]) { // which nodes keep to themselves
      window.addEventListener(kind, () => this.lift(), { signal, capture: true });
    }
  }

  /** Draw a plan; cells are made anew only where its shape is another. */
  draw(plan) {
    this.plan = plan;
    if (this.cells.length !== plan.scales.length || this.cells[0]?.length !== plan.depth) {
      this.build();
    }
    plan.scales.forEach((step, scale) => {
      const runs = plan.runs(scale);
      this.rows[scale].classList.toggle("tpv-off", !runs);
      this.toggles[scale].setAttribute("aria-checked", String(runs));
      this.cells[scale].forEach((cell, layer) => {
        const share = plan.share(scale, layer);
        cell.style.setProperty("--keep", `${Math.round(share * 100)}%`);
        cell.classList.toggle("tpv-none", share === 0);
        cell.classList.toggle("tpv-edited", plan.edited(scale, layer));
        cell.setAttribute("aria-label", `scale ${scale}, layer ${layer}: ${
          runs ? `keeps ${percent(share)}` : "scale not run"}`);
      });
    });
  }

  build() {
    const { scales, depth } = this.plan;
    this.rows = [];
    this.toggles = [];
    this.cells = [];
    this.root.style.setProperty("--layers", depth);
    const step = depth > 20 ? 4 : 1;
    const head = h("div", { class: "tpv-row tpv-head", role: "row" }, h("span"),
      ...Array.from({ length: depth }, (_, layer) => h("span", {
        class: "tpv-layer", role: "columnheader", "data-layer": layer,
        title: `Layer ${layer}: click to change it at all scales`,
      }, layer % step ? "" : String(layer))), h("span"));
    scales.forEach((scale, s) => {
      const name = h("span", { class: "tpv-scale", role: "rowheader", "data-scale": s,
        title: `Scale ${s}, ${scale.grid.join(" × ")} tokens: click to change all its layers` },
      gridName(scale.grid));
      const cells = Array.from({ length: depth }, (_, l) => h("span", { class: "tpv-cell",
        role: "gridcell", "data-scale": s, "data-layer": l, tabindex: s + l ? -1 : 0 }));
      const toggle = h("span", { class: "tpv-run", role: "switch", "data-run": s,
        tabindex: s ? 0 : null, "aria-label": `Run scale ${s}`, "aria-disabled": s ? null : "true",
        title: s ? "Run this scale, or leave it out" : "The first scale is always run" });
      this.cells.push(cells);
      this.toggles.push(toggle);
      this.rows.push(h("div", { class: "tpv-row", role: "row" }, name, ...cells, toggle));
    });
    this.root.replaceChildren(head, ...this.rows);
  }

  /** Cells that an event is about: one, a scale's, or a layer's. */
  target(event) {
    const { scale, layer } = event.target.dataset ?? {};
    if (!this.plan || (scale === undefined && layer === undefined)) return [];
    const all = { scales: this.plan.scales.map((_, s) => s),
      layers: Array.from({ length: this.plan.depth }, (_, l) => l) };
    const wholeScale = layer === undefined || event.shiftKey;
    const wholeLayer = scale === undefined || (!wholeScale && (event.altKey || event.ctrlKey));
    const scales = wholeLayer ? all.scales : [Number(scale)];
    const layers = wholeScale ? all.layers : [Number(layer)];
    return scales.flatMap((s) => layers.map((l) => [s, l]));
  }

  press(event) {
    if (event.button !== 0) return;
    const { run } = event.target.dataset ?? {};
    if (run !== undefined) {
      this.toggle(Number(run));
      return;
    }
    const cells = this.target(event);
    if (!cells.length) return;
    event.preventDefault(); // no text selection
    event.target.focus?.({ preventScroll: true });
    this.stroke = this.strength(cells);
    this.on.begin();
    this.on.paint(cells, this.stroke);
  }

  over(event) {
    const { scale, layer } = event.target.dataset ?? {};
    this.on.over(scale === undefined ? null : Number(scale),
      layer === undefined ? null : Number(layer));
    if (this.stroke === undefined) return;
    if (!(event.buttons & 1)) this.lift();
    else if (event.target.classList.contains("tpv-cell")) {
      this.on.paint(this.target(event), this.stroke);
    }
  }

  lift() {
    if (this.stroke === undefined) return;
    this.stroke = undefined;
    this.on.done();
  }

  /** What a stroke over these cells paints. */
  strength(cells) {
    return this.on.brush() ?? nextShare(Math.max(...cells.map(([s, l]) => this.plan.share(s, l))));
  }

  toggle(scale) {
    if (scale === 0) return;
    this.on.toggle(scale);
    this.on.done();
  }

  key(event) {
    const { scale, layer, run } = event.target.dataset ?? {};
    if (run !== undefined && [" ", "Enter"].includes(event.key)) this.toggle(Number(run));
    else if (scale === undefined || layer === undefined) return;
    else if ([" ", "Enter"].includes(event.key)) {
      const cells = this.target(event);
      this.on.paint(cells, this.strength(cells));
      this.on.done();
    } else {
      const [down, across] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1],
        ArrowRight: [0, 1] }[event.key] ?? [];
      const next = this.cells[Number(scale) + down]?.[Number(layer) + across];
      if (!next) return;
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus({ preventScroll: true });
      this.on.over(Number(next.dataset.scale), Number(next.dataset.layer));
    }
    event.preventDefault();
    event.stopPropagation();
  }
}
