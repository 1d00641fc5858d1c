// A figure over the scales, as a line with points to click.

import { svg } from "./dom.js";
import { finite } from "./text.js";

const WIDTH = 300;
const HEIGHT = 70;
const EDGE = { left: 26, right: 8, top: 6, bottom: 14 };

export class ScaleCurve {
  constructor() {
    this.root = svg("svg", { class: "tpv-curve", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
      "aria-label": "Share of low-entropy tokens by scale" });
  }

  /** @param values one for each scale; undefined or null = none */
  draw(values, names) {
    const known = values.filter(finite);
    const low = Math.min(...known, 0.4);
    const high = Math.max(...known, 0.6);
    const x = (scale) => EDGE.left
      + (scale / Math.max(values.length - 1, 1)) * (WIDTH - EDGE.left - EDGE.right);
    const y = (value) => EDGE.top
      + (1 - (value - low) / (high - low || 1)) * (HEIGHT - EDGE.top - EDGE.bottom);
    const points = values.map((value, scale) => [value, scale]).filter(([value]) => finite(value));
    this.root.replaceChildren(
      ...[low, high].map((value) => svg("text", { x: EDGE.left - 5, y: y(value) + 3,
        "text-anchor": "end" }, value.toFixed(2))),
      ...[low, high].map((value) => svg("line", { x1: EDGE.left, x2: WIDTH - EDGE.right,
        y1: y(value), y2: y(value) })),
      ...names.map((name, scale) => svg("text", { x: x(scale), y: HEIGHT - 2,
        "text-anchor": "middle" }, name)),
      svg("polyline", { points: points.map(([v, s]) => `${x(s)},${y(v)}`).join(" ") }),
      ...points.map(([value, scale]) => svg("circle", { cx: x(scale), cy: y(value), r: 3.5,
        "data-scale": scale }, svg("title", {}, `scale ${scale}: ${value.toFixed(3)}`))));
  }

  mark(scale) {
    for (const dot of this.root.querySelectorAll("circle")) {
      dot.classList.toggle("tpv-now", Number(dot.dataset.scale) === scale);
    }
  }
}
