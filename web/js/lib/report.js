// Accelerated Sampler: what the run did, beneath the node.

import { button, h } from "./dom.js";
import { Panel } from "./panel.js";
import { finite, gridName, percent, seconds, sent } from "./text.js";

export class ReportPanel extends Panel {
  constructor(node, app) {
    super(node, app, "Report of the last run");
    this.number = 0;
    this.hint("After a run: what it cost, scale by scale.");
    this.restore();
  }

  bind(signal) {
    this.body.addEventListener("click", (event) => {
      const { step } = event.target.dataset;
      if (step === undefined) return;
      this.number += Number(step);
      this.draw();
    }, { signal });
  }

  show(output) {
    const report = sent(output, "toprovar_report");
    if (!Array.isArray(report?.runs) || !report.runs.length) return;
    this.report = report;
    this.draw();
  }

  draw() {
    const { runs } = this.report;
    this.number = (this.number + runs.length) % runs.length;
    const run = runs[this.number];
    const scales = run.scales ?? [];
    const loop = scales.reduce((sum, scale) => sum + (scale.seconds ?? 0), 0);
    const done = scales.filter((scale) => scale.rows !== 0).length;
    this.body.replaceChildren(
      h("div", { class: "tpv-cost" },
        h("span", { class: "tpv-big" }, percent(run.flop_share)), " of a dense run's FLOPs",
        h("span", { class: "tpv-meter", role: "img", "aria-label": percent(run.flop_share) },
          h("span", { style: `width:${Math.min(run.flop_share ?? 0, 1) * 100}%` }))),
      bars(scales),
      h("p", { class: "tpv-said" }, `${run.plan ?? "run"}: ${seconds(loop)} in ${done} of ${
        scales.length} scales${run.images > 1 ? `, ${run.images} images at once` : ""}${
        run.device ? `, ${run.device}` : ""}`),
      ...besideDense(run, loop),
      ...(run.notes ?? []).map((note) => h("p", { class: "tpv-note" }, String(note))),
      ...(runs.length > 1 ? [pages(this.number, runs.length)] : []));
  }
}

/** The time held against a dense run's, in one line; nothing where that is not known. */
function besideDense(run, loop) {
  if (!finite(run.dense_seconds) || !(loop > 0)) return [];
  const times = (run.dense_seconds / loop).toFixed(2);
  const how = run.dense_measured ? "measured" : "estimated from this run's full scales";
  const recorded = run.recorded_scales > 0
    ? `; ${run.recorded_scales} scales were recorded for later runs, which takes time once` : "";
  return [h("p", { class: "tpv-said" }, `${times < 1 ? "slower than dense: " : ""}${
    times} × as fast as dense (${seconds(run.dense_seconds)}, ${how})${recorded}`)];
}

function pages(number, count) {
  return h("div", { class: "tpv-tools" }, button("‹", "Picture before", { "data-step": -1 }),
    h("span", { class: "tpv-said" }, `picture ${number + 1} of ${count}`),
    button("›", "Next picture", { "data-step": 1 }));
}

/** Time of each scale as a bar, filled by the share of tokens that it worked on. */
function bars(scales) {
  const longest = Math.max(...scales.map((scale) => scale.seconds ?? 0), 1e-9);
  return h("div", { class: "tpv-bars", role: "img", "aria-label": "Time of each scale" },
    ...scales.map((scale, index) => {
      const kept = keptShare(scale);
      const what = scale.rows === 0 ? "not run"
        : `${seconds(scale.seconds)}, worked on ${percent(kept)} of its tokens${
          scale.rows === 1 ? ", without guidance" : ""}`;
      return h("span", { class: "tpv-bar", title: `scale ${index}, ${
        (scale.grid ?? []).join(" × ")} tokens: ${what}` },
      h("span", { class: "tpv-fill", style: `height:${
        Math.max(((scale.seconds ?? 0) / longest) * 100, 2)}%;--keep:${kept * 100}%` }),
      h("span", { class: "tpv-tick" }, gridName(scale.grid)));
    }));
}

function keptShare({ kept, tokens, rows }) {
  if (rows === 0) return 0;
  if (!Array.isArray(kept) || !finite(tokens) || !kept.length) return 1;
  return kept.reduce((sum, n) => sum + n, 0) / (kept.length * tokens);
}
