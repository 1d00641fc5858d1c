// Entropy Analyzer: maps of the first picture by scale and layer, layers and scales.

import { h } from "./dom.js";
import { HeatMap } from "./heatmap.js";
import { Panel } from "./panel.js";
import { ScaleCurve } from "./curve.js";
import { finite, gridName, sent } from "./text.js";
import { Trace } from "./trace.js";

const LOOK = "toprovar_look"; // name of the property: which map is looked at

export class AnalyzerPanel extends Panel {
  constructor(node, app) {
    super(node, app, "Entropy maps");
    this.hint("After a run: entropy maps of every scale and layer.");
    this.restore();
  }

  bind(signal) {
    this.make();
    this.heat.bind(signal);
    this.scale.addEventListener("input", () => this.look(this.scale.value, this.layer.value),
      { signal });
    this.layer.addEventListener("input", () => this.look(this.scale.value, this.layer.value),
      { signal });
    this.layers.addEventListener("click", (event) => {
      const { layer } = event.target.closest("[data-layer]")?.dataset ?? {};
      if (layer !== undefined) this.look(this.scale.value, layer);
    }, { signal });
    this.curve.root.addEventListener("click", (event) => {
      const { scale } = event.target.dataset;
      if (scale !== undefined) this.look(scale, this.layer.value);
    }, { signal });
    for (const slider of [this.scale, this.layer]) {
      slider.addEventListener("change", () => this.changed(), { signal });
    }
  }

  make() {
    if (this.heat) return;
    this.heat = new HeatMap((row, column, value) => this.tell(row, column, value));
    this.curve = new ScaleCurve();
    this.scale = h("input", { type: "range", min: 0, step: 1, "aria-label": "Scale" });
    this.layer = h("input", { type: "range", min: 0, step: 1, "aria-label": "Layer" });
    this.scaleName = h("output");
    this.layerName = h("output");
    this.layers = h("div", { class: "tpv-layers", role: "group", "aria-label": "Layers" });
    this.said = h("p", { class: "tpv-said", "aria-live": "polite" });
  }

  show(output) {
    const values = sent(output, "toprovar_trace");
    if (!values?.grids?.length || !values.depth) return;
    this.trace = new Trace(values);
    const { grids, depth } = this.trace;
    this.scale.max = grids.length - 1;
    this.layer.max = depth - 1;
    this.layers.replaceChildren(...Array.from({ length: depth }, (_, n) => this.layerBar(n)));
    this.body.replaceChildren(this.heat.root, this.said,
      h("label", { class: "tpv-slider" }, "scale", this.scale, this.scaleName),
      h("label", { class: "tpv-slider" }, "layer", this.layer, this.layerName),
      h("p", { class: "tpv-caption" }, "layers: ", h("b", { class: "tpv-global" }, "Global"),
        " stay whole, ", h("b", { class: "tpv-detail" }, "Detail"), " can lose tokens"),
      this.layers,
      h("p", { class: "tpv-caption" }, "ρ by scale: share of low-entropy tokens"),
      this.curve.root);
    this.curve.draw(grids.map((_, scale) => this.trace.ofScale(scale, "rho")),
      grids.map(gridName));
    const look = this.node.properties?.[LOOK] ?? {};
    this.look(look.scale ?? grids.length - 1, look.layer ?? Math.floor(depth / 2));
  }

  layerBar(layer) {
    const kind = this.trace.layerClass(layer);
    const score = this.trace.score(layer);
    const height = finite(score) ? Math.round(15 + Math.min(Math.max(score, 0), 1) * 85) : 15;
    return h("button", {
      type: "button", class: `tpv-layer-bar tpv-${kind || "mixed"}`, "data-layer": layer,
      style: `--height:${height}%`, "aria-pressed": "false",
      title: `layer ${layer}: ${kind || "no class"}${
        finite(score) ? `, score ${score.toFixed(2)}` : ""}`,
    }, h("span"));
  }

  look(scale, layer) {
    const { grids, depth } = this.trace ?? {};
    if (!grids) return;
    this.scale.value = Math.min(Number(scale), grids.length - 1);
    this.layer.value = Math.min(Number(layer), depth - 1);
    const at = { scale: Number(this.scale.value), layer: Number(this.layer.value) };
    this.node.properties[LOOK] = at;
    this.scaleName.textContent = `${at.scale} · ${gridName(grids[at.scale])}`;
    this.layerName.textContent = `${at.layer} · ${this.trace.layerClass(at.layer) || "–"}`;
    for (const slider of [this.scale, this.layer]) {
      const share = Number(slider.max) ? slider.value / slider.max : 0;
      slider.style.setProperty("--at", `${share * 100}%`);
    }
    for (const bar of this.layers.children) {
      bar.setAttribute("aria-pressed", String(Number(bar.dataset.layer) === at.layer));
    }
    this.curve.mark(at.scale);
    const map = this.trace.map(at.scale, at.layer);
    this.heat.root.style.visibility = map ? "" : "hidden";
    if (map) this.heat.draw(map, `Entropy at scale ${at.scale}, layer ${at.layer}`);
    this.missing = !map;
    this.tell(null, null, null);
  }

  tell(row, column, value) {
    if (this.missing) this.said.textContent = "This map was too large to be sent.";
    else if (value !== null) {
      this.said.textContent = `row ${row}, column ${column}: ${value.toFixed(2)} nats`;
    } else {
      const { prompts } = this.trace;
      this.said.textContent = `${prompts[0] ?? ""}${prompts.length > 1
        ? ` (first of ${prompts.length} prompts)` : ""}`;
    }
  }
}
