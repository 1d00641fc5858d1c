// What the analyzer sends, unpacked. No DOM here.

export class Trace {
  constructor(values) {
    this.grids = values.grids ?? [];
    this.depth = values.depth ?? 0;
    this.prompts = values.prompts ?? [];
    this.summary = values.summary ?? {};
    this.maps = new Map((values.maps ?? []).map((map) => [`${map.scale} ${map.layer}`, map]));
  }

  /** {low, high, values: Uint8Array, grid} of a map, or undefined where none was sent. */
  map(scale, layer) {
    const found = this.maps.get(`${scale} ${layer}`);
    const grid = this.grids[scale];
    if (!found || !grid) return undefined;
    if (typeof found.values === "string") {
      found.values = Uint8Array.from(atob(found.values), (one) => one.charCodeAt(0));
    }
    return found.values.length === grid[0] * grid[1] ? { ...found, grid } : undefined;
  }

  /** "global", "detail" or "". */
  layerClass(layer) {
    return this.summary.layers?.[layer]?.class ?? "";
  }

  score(layer) {
    return this.summary.layers?.[layer]?.score;
  }

  /** Mean of a figure of a scale: "rho", "entropy", "relative" ... */
  ofScale(scale, name) {
    return this.summary.scales?.[scale]?.[name]?.mean;
  }
}
