// Numbers as the panels write them.

export const finite = (value) => typeof value === "number" && Number.isFinite(value);

/** 0.734 -> "73 %"; "100 %" only where it is all, "0 %" only where it is nothing, as the server
 * words it. */
export function percent(share, digits = 0) {
  if (!finite(share)) return "–";
  const text = digits ? (share * 100).toFixed(digits) : String(Math.floor(share * 100 + 0.5));
  if (Number(text) === 100 && share < 1) return `${(Math.min(share, 0.999) * 100).toFixed(1)} %`;
  return Number(text) === 0 && share > 0 ? `<${digits ? "0.1" : "1"} %` : `${text} %`;
}

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
