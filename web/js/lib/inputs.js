// Which inputs of a node are shown.

const NO_HEIGHT = () => [0, -4]; // the layout adds 4 to each

/**
 * Inputs that are not shown take no room. ComfyUI's layout counts them, which would leave a gap
 * above a panel.
 */
export function tuckAway(node) {
  for (const widget of node.widgets ?? []) {
    const own = widget.computeSize;
    if (Object.getOwnPropertyDescriptor(widget, "computeSize")?.get) continue;
    let given = own;
    Object.defineProperty(widget, "computeSize", {
      configurable: true,
      enumerable: true,
      get: () => (widget.hidden || (widget.advanced && !node.showAdvanced) ? NO_HEIGHT : given),
      set: (value) => { given = value; },
    });
  }
}

/** Whether something is connected to an input. */
export const linked = (node, name) =>
  Boolean(node.inputs?.some((input) => input.name === name && input.link != null));

/**
 * Show the inputs for which ``wanted(name)`` holds; connected ones stay.
 * Returns whether anything changed.
 */
export function showInputs(node, wanted) {
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

/**
 * The same in the Vue renderer, which in its first versions takes no notice of changes: rows are
 * hidden where they are drawn.
 *
 * @param element one in a row of the node
 */
export function hideRows(node, element) {
  const rows = [...(element.closest(".lg-node-widgets")?.children ?? [])]
    .filter((row) => row.classList.contains("lg-node-widget"));
  const drawn = node.widgets?.filter((w) => w.type && !w.options?.hidden && !w.options?.canvasOnly);
  const named = rows.length > 0 && rows.every((row) => row.dataset.widgetName);
  if (!drawn || (!named && rows.length !== drawn.length)) return;
  rows.forEach((row, index) => {
    const widget = named
      ? node.widgets.find((one) => one.name === row.dataset.widgetName) : drawn[index];
    const away = widget && (widget.hidden || (widget.advanced && !node.showAdvanced));
    row.style.display = away ? "none" : "";
  });
}
