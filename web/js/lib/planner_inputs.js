// Which inputs the planner shows on a server without dynamic inputs, given the others. A server
// that has them has the frontend show the right ones, and nothing here is needed.

import { PANEL } from "./panel.js";

const MADE = new Set(["strategy", "target", "speedup", "budget", "aspect", "pixels"]);

/** Names of all strategies. */
function strategies(node) {
  const found = node.widgets?.find((one) => one.name === "strategy")?.options?.values ?? [];
  return Array.isArray(found) ? found : [];
}

/** Whether something is connected to an input. */
const linked = (node, name) =>
  Boolean(node.inputs?.some((input) => input.name === name && input.link != null));

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
function wantedInputs(node, value) {
  const strategy = value("strategy");
  const target = value("target");
  const given = linked(node, "plan");
  const known = strategies(node);
  const byTarget = target === "manual" ? [] : decided(node);
  return (name) => {
    if (name === PANEL) return true;
    if (name === "edits") return false; // the grid is its face
    const own = known.find((one) => name.startsWith(`${one}_`));
    if (given && (own || MADE.has(name))) return false;
    if (name === "target") return strategy !== "dense";
    if (name === "speedup") return strategy !== "dense" && target === "speed-up";
    if (name === "budget") return strategy !== "dense" && target === "compute budget";
    if (name === "aspect" || name === "pixels") return !linked(node, "size");
    return !own || (own === strategy && !byTarget.includes(name));
  };
}

/**
 * Mark the inputs that decide something as shown, the others as hidden; connected ones stay.
 * Returns whether anything changed.
 */
export function markInputs(node, value) {
  const wanted = wantedInputs(node, value);
  let changed = false;
  for (const widget of node.widgets ?? []) {
    const hidden = !wanted(widget.name) && !linked(node, widget.name);
    if (Boolean(widget.hidden) !== hidden) {
      widget.hidden = hidden;
      changed = true;
    }
  }
  return changed;
}

const NO_HEIGHT = () => [0, -4]; // the layout adds 4 to each

/**
 * Frontends that came before those servers' end lay hidden widgets out as if they were there: here
 * these take no room. Newer ones leave them out themselves, and are left alone.
 */
export function layOutAsShown(node) {
  if (typeof node.getLayoutWidgets === "function") return;
  for (const widget of node.widgets ?? []) {
    if (Object.getOwnPropertyDescriptor(widget, "computeSize")?.get) continue;
    let given = widget.computeSize;
    Object.defineProperty(widget, "computeSize", {
      configurable: true,
      enumerable: true,
      get: () => (widget.hidden ? NO_HEIGHT : given),
      set: (value) => { given = value; },
    });
  }
}

/**
 * Versions of the Vue renderer that take no notice of a widget's being hidden after the node was
 * drawn: their rows are hidden where they lie.
 *
 * @param element one in a row of the node
 */
export function hideRows(node, element) {
  const rows = [
    ...(element.closest(".lg-node-widgets")?.querySelectorAll(".lg-node-widget") ?? [])];
  const drawn = node.widgets?.filter((w) => w.type && !w.options?.hidden && !w.options?.canvasOnly);
  const named = rows.length > 0 && rows.every((row) => row.dataset.widgetName);
  if (!drawn || (!named && rows.length !== drawn.length)) return;
  rows.forEach((row, index) => {
    const widget = named
      ? node.widgets.find((one) => one.name === row.dataset.widgetName) : drawn[index];
    row.style.display = widget?.hidden ? "none" : "";
  });
}
