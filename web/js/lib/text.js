// Numbers as the panels write them.

export const finite = (value) => typeof value === "number" && Number.isFinite(value);

/** 0.734 -> "73 %" */
export const percent = (share, digits = 0) =>
  finite(share) ? `${(share * 100).toFixed(digits)} %` : "–";

/** Seconds, three figures or so. */
export function seconds(value) {
  if (!finite(value)) return "–";
  if (value >= 100) return `${value.toFixed(0)} s`;
  return value >= 1 ? `${value.toFixed(2)} s` : `${(value * 1000).toFixed(0)} ms`;
}

/** [16, 16] -> "16²", [12, 20] -> "12×20" (rows × columns of tokens) */
export function gridName(grid) {
  const [height, width] = grid ?? [];
  if (!finite(height) || !finite(width)) return "";
  return height === width ? `${height}²` : `${height}×${width}`;
}

/** A value out of what a node sent, or undefined: outputs are lists, and may be missing. */
export const sent = (output, name) => (Array.isArray(output?.[name]) ? output[name][0] : undefined);
