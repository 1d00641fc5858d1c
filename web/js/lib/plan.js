// A plan with edits over it: shares to show. No DOM here.

/** The edits in a widget's text; null where it is no set of edits. */
export function parseEdits(text) {
  if (!text?.trim()) return { keep: {}, run: {} };
  try {
    const { keep = {}, run = {} } = JSON.parse(text);
    return { keep: { ...keep }, run: { ...run } };
  } catch {
    return null;
  }
}

/** The same as text; empty where nothing is edited. */
export function writeEdits({ keep, run }) {
  const rows = Object.entries(keep).filter(([, layers]) => Object.keys(layers).length);
  const found = {};
  if (rows.length) found.keep = Object.fromEntries(rows);
  if (Object.keys(run).length) found.run = run;
  return Object.keys(found).length ? JSON.stringify(found) : "";
}

/** How many cells and scales are edited. */
export const countEdits = ({ keep, run }) =>
  Object.values(keep).reduce((sum, layers) => sum + Object.keys(layers).length, 0)
  + Object.keys(run).length;

export class EditedPlan {
  /**
   * @param plan as the node sends it, without edits: scales with grid, keep, run, unconditional
   */
  constructor(plan, edits) {
    this.scales = plan.scales ?? [];
    this.depth = this.scales[0]?.keep?.length ?? 0;
    this.edits = edits;
  }

  tokens(scale) {
    const [height, width] = this.scales[scale].grid;
    return height * width;
  }

  runs(scale) {
    if (this.leaves(scale) && this.edits.keep[scale]?.[0] === 0) return false;
    return this.edits.run[scale] ?? this.scales[scale].run ?? true;
  }

  /** Whether tokens that are dropped leave the scale, and so do so in all layers. */
  leaves(scale) {
    return this.scales[scale].dropped === "exit";
  }

  /** The layers that change with one. */
  together(scale, layer) {
    let start = 0;
    for (const count of this.scales[scale].special?.groups ?? []) { // mixtures
      if (layer < start + count) return Array.from({ length: count }, (_, n) => start + n);
      start += count;
    }
    return this.leaves(scale) ? Array.from({ length: this.depth }, (_, l) => l) : [layer];
  }

  /** Share of tokens kept by the plan itself. */
  planned(scale, layer) {
    return this.scales[scale].keep[layer] / this.tokens(scale);
  }

  edited(scale, layer) {
    return this.edits.keep[scale]?.[layer] !== undefined;
  }

  share(scale, layer) {
    return this.edits.keep[scale]?.[layer] ?? this.planned(scale, layer);
  }

  /** Tokens worked on; rounded up as the server does. */
  kept(scale, layer) {
    if (!this.runs(scale)) return 0;
    const share = this.edits.keep[scale]?.[layer];
    return share === undefined ? this.scales[scale].keep[layer]
      : Math.ceil(Number((share * this.tokens(scale)).toFixed(6)));
  }

  setShare(scale, layer, share) {
    this.edits.keep[scale] ??= {};
    for (const one of this.together(scale, layer)) this.edits.keep[scale][one] = share;
  }

  clear(scale, layer) {
    for (const one of this.together(scale, layer)) delete this.edits.keep[scale]?.[one];
  }

  setRuns(scale, flag) {
    if (flag === (this.scales[scale].run ?? true)) delete this.edits.run[scale];
    else this.edits.run[scale] = flag;
  }

  /** Whether the edits name what the plan has not: another size or model. */
  get strays() {
    const { keep, run } = this.edits;
    return [...Object.keys(keep), ...Object.keys(run)].some((s) => Number(s) >= this.scales.length)
      || Object.values(keep).some((row) => Object.keys(row).some((l) => Number(l) >= this.depth));
  }
}
