// Which inputs of the planner decide anything, given the others.

import { linked } from "./inputs.js";
import { PANEL } from "./panel.js";

const MADE = new Set(["strategy", "target", "speedup", "budget", "aspect", "pixels"]);

/** Names of all strategies. */
export function strategies(node) {
  const widget = node.widgets?.find((one) => one.name === "strategy");
  const found = widget?.options?.values ?? [];
  return Array.isArray(found) ? found : [];
}

/** The strategy that an input is a setting of: it is named after it. */
export const ownerOf = (name, known) => known.find((one) => name.startsWith(`${one}_`));

/** Inputs that a speed-up or budget decides, by the node's definition. */
function decided(node) {
  const known = node.constructor?.nodeData?.input ?? {};
  return Object.entries({ ...known.required, ...known.optional })
    .filter(([, about]) => about?.[1]?.decided_by_target).map(([name]) => name);
}

/**
 * @param value name -> the value of an input
 * @returns name -> whether to show it
 */
export function plannerInputs(node, value) {
  const strategy = value("strategy");
  const target = value("target");
  const given = linked(node, "plan");
  const known = strategies(node);
  const byTarget = target === "manual" ? [] : decided(node);
  return (name) => {
    if (name === PANEL) return true;
    if (name === "edits") return false; // the grid is its face
    const own = ownerOf(name, known);
    if (given && (own || MADE.has(name))) return false;
    if (name === "target") return strategy !== "dense";
    if (name === "speedup") return strategy !== "dense" && target === "speed-up";
    if (name === "budget") return strategy !== "dense" && target === "compute budget";
    if (name === "aspect" || name === "pixels") return !linked(node, "size");
    return !own || (own === strategy && !byTarget.includes(name));
  };
}
