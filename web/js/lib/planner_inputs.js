// Which inputs of the planner decide anything, given the others.

import { linked } from "./inputs.js";
import { PANEL } from "./panel.js";

const MADE = /^(strategy|target|speedup|budget|aspect|pixels|toprovar_|fastvar_|skipvar_)/;

/**
 * @param value name -> the value of an input
 * @returns name -> whether to show it
 */
export function plannerInputs(node, value) {
  const strategy = value("strategy");
  const target = value("target");
  const manual = target === "manual";
  const given = linked(node, "plan");
  return (name) => {
    if (name === PANEL) return true;
    if (name === "edits") return false; // the grid is its face
    if (given && MADE.test(name)) return false;
    if (name === "target") return strategy !== "dense";
    if (name === "speedup") return strategy !== "dense" && target === "speed-up";
    if (name === "budget") return strategy !== "dense" && target === "compute budget";
    if (name === "aspect" || name === "pixels") return !linked(node, "size");
    if (name.startsWith("toprovar_")) return strategy === "toprovar";
    if (name.startsWith("fastvar_")) return strategy === "fastvar" && manual;
    if (name === "skipvar_policy") return strategy === "skipvar" && manual;
    if (name === "skipvar_scales") {
      return strategy === "skipvar" && manual && value("skipvar_policy") !== "adaptive";
    }
    return true;
  };
}
