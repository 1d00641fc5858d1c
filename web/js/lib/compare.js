// Compare Runs: the figures as a table, times as bars.

import { h } from "./dom.js";
import { Panel } from "./panel.js";
import { finite, percent, seconds, sent } from "./text.js";

const COLUMNS = ["run", "time", "speed-up", "FLOPs", "SSIM", "PSNR", "equal bits"];

export class ComparePanel extends Panel {
  constructor(node, app) {
    super(node, app, "Comparison");
    this.hint("After a run: how far each run is from the reference, and what it cost.");
    this.restore();
  }

  show(output) {
    const found = sent(output, "toprovar_comparison");
    if (!Array.isArray(found?.runs)) return;
    const longest = Math.max(...found.runs.map((run) => run.seconds ?? 0), 1e-9);
    const notes = found.runs.flatMap((run) => (run.notes ?? []).map((n) => `${run.name}: ${n}`));
    const about = found.pictures > 1 ? `, mean of ${found.pictures} pictures` : "";
    this.body.replaceChildren(
      h("p", { class: "tpv-said" }, `${found.prompt ?? ""}${about}`),
      h("table", { class: "tpv-table" },
        h("thead", {}, h("tr", {}, ...COLUMNS.map((name) => h("th", {
          scope: "col", class: name === "time" ? "tpv-time" : null,
        }, name)))),
        h("tbody", {}, ...found.runs.map((run, index) => row(run, index, longest)))),
      ...notes.map((note) => h("p", { class: "tpv-note" }, note)));
  }
}

const number = (value, digits) => (finite(value) ? value.toFixed(digits) : "–");

function row(run, index, longest) {
  const same = index === 0;
  return h("tr", same ? { class: "tpv-reference" } : {},
    h("th", { scope: "row" }, String(run.name ?? `run ${index}`)),
    h("td", { class: "tpv-time" },
      h("span", { class: "tpv-meter" },
        h("span", { style: `width:${((run.seconds ?? 0) / longest) * 100}%` })),
      seconds(run.seconds)),
    h("td", {}, finite(run.speedup) ? `${run.speedup.toFixed(2)} ×` : "–"),
    h("td", {}, percent(run.flop_share)),
    h("td", {}, same ? "" : number(run.ssim, 3)),
    h("td", {}, same ? "" : run.psnr === null ? "equal" : `${number(run.psnr, 1)} dB`),
    h("td", {}, same ? "" : percent(run.equal_bits, 1)));
}
