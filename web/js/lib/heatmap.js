// One entropy map on a canvas.

import { h } from "./dom.js";
import { colour, gradient } from "./ramp.js";

export class HeatMap {
  /** @param over what happens when the pointer is over a value: (row, column, value); nulls = left */
  constructor(over) {
    this.over = over;
    this.canvas = h("canvas", { class: "tpv-map", role: "img", width: 1, height: 1 });
    this.low = h("span");
    this.high = h("span");
    this.root = h("div", { class: "tpv-heat" }, this.canvas,
      h("div", { class: "tpv-legend" }, this.low,
        h("span", { class: "tpv-ramp", style: `background:${gradient()}` }), this.high));
  }

  bind(signal) {
    this.canvas.addEventListener("pointermove", (event) => this.point(event), { signal });
    this.canvas.addEventListener("pointerleave", () => this.over(null, null, null), { signal });
  }

  draw(map, label) {
    const [height, width] = map.grid;
    this.map = map;
    this.canvas.width = width;
    this.canvas.height = height;
    this.canvas.style.aspectRatio = `${width} / ${height}`;
    this.canvas.setAttribute("aria-label", label);
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(width, height);
    map.values.forEach((value, i) => image.data.set([...colour(value / 255), 255], i * 4));
    context.putImageData(image, 0, 0);
    this.low.textContent = map.low.toFixed(2);
    this.high.textContent = `${map.high.toFixed(2)} nats`;
  }

  point(event) {
    if (!this.map) return;
    const [height, width] = this.map.grid;
    // offsets are in the canvas's own pixels, whatever the zoom of the editor
    const column = Math.floor((event.offsetX / this.canvas.clientWidth) * width);
    const row = Math.floor((event.offsetY / this.canvas.clientHeight) * height);
    if (row < 0 || column < 0 || row >= height || column >= width) return;
    const { low, high, values } = this.map;
    this.over(row, column, low + (values[row * width + column] / 255) * (high - low));
  }
}
