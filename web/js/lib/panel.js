// What every panel in a node has in common: the DOM widget, its size, its life and its memory.

import { h } from "./dom.js";
import { outputInHistory } from "./history.js";

/** Name of the widget that a panel is. */
export const PANEL = "toprovar_panel";

const SETTLED = 1500; // ms after which a graph that was opened stands on the page
const MARGIN = 10; // ComfyUI leaves this much around a DOM widget

// Where panels of removed nodes lay. The Vue renderer keeps a node's place where another node with
// its number follows at once, as undo does, and does not see that the panel is another.
const places = new Map();

export class Panel {
  /**
   * @param node the node it lies in
   * @param app ComfyUI's
   * @param label what a screen reader calls it
   */
  constructor(node, app, label) {
    this.node = node;
    this.app = app;
    this.body = h("div", { class: "tpv-body" });
    this.root = h("div", { class: "tpv-panel", role: "group", "aria-label": label }, this.body);
    this.height = 24;
    this.widget = node.addDOMWidget(PANEL, PANEL, this.root, {
      serialize: false, // not sent with the prompt
      hideOnZoom: false,
      margin: MARGIN,
      getMinHeight: () => (this.isEmpty ? 0 : this.height + 2 * MARGIN),
      getMaxHeight: () => (this.isEmpty ? 0 : undefined),
    });
    this.widget.serialize = false; // nor saved among the widgets' values
    this.chain("onExecuted", (output) => this.received(output ?? {}));
    this.chain("onConfigure", () => this.restoreSoon());
    this.chain("onAdded", () => this.listen());
    this.chain("onRemoved", () => this.release());
    this.listen();
  }

  /** Whether it takes no room. Where it had something to show, ``fit`` follows a change. */
  get isEmpty() {
    return false;
  }

  /** Call ``own`` after what the node does already. */
  chain(name, own) {
    const before = this.node[name];
    this.node[name] = function chained(...values) {
      const result = before?.apply(this, values);
      own(...values);
      return result;
    };
  }

  /** Start listening; again where a removed node comes back. */
  listen() {
    if (this.life) return;
    this.life = new AbortController();
    const { signal } = this.life;
    this.root.addEventListener("pointerdown", (event) => this.keepPointer(event), { signal });
    this.root.addEventListener("wheel", (event) => this.passWheel(event), { signal });
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.body);
    this.bind(signal);
  }

  /** Listeners of a kind of panel; all take the signal. */
  bind() {}

  release() {
    this.life?.abort();
    this.life = undefined;
    if (this.held) this.changed();
    this.observer?.disconnect();
    clearTimeout(this.later);
    if (this.inVue) {
      const { id } = this.node;
      places.set(id, this.root.parentElement);
      setTimeout(() => places.delete(id), 2 * SETTLED);
    }
    this.root.remove();
  }

  /** A left press works the panel instead of dragging the node; a middle one pans. */
  keepPointer(event) {
    if (event.button === 0) event.stopPropagation();
    else if (event.button === 1 && !this.inVue) this.app.canvas?.processMouseDown?.(event);
  }

  passWheel(event) {
    if (!this.inVue) this.app.canvas?.processMouseWheel?.(event);
  }

  /** Whether the Vue renderer shows it. */
  get inVue() {
    return Boolean(this.root.closest("[data-node-id]"));
  }

  resized() {
    const height = Math.ceil(this.body.offsetHeight);
    if (height && Math.abs(height - this.height) > 1) {
      this.height = height;
      this.fit();
    }
    this.shown?.();
  }

  /** The node as high as it must be; higher only where someone made it so. */
  fit() {
    const { node } = this;
    if (!node.graph || node.flags?.collapsed) return;
    if (this.inVue) return; // whose nodes are as high as what they show
    const needed = node.computeSize()[1];
    if (node.size[1] < needed || Math.abs(node.size[1] - this.fitted) < 2) {
      node.setSize([node.size[0], needed]);
      this.fitted = needed;
    }
    node.graph.setDirtyCanvas(true, true);
  }

  /** What the node last sent in this session: ComfyUI keeps it where nodes are made anew. */
  lastOutput() {
    const { node, app } = this;
    const inner = node.graph && app.graph && node.graph !== app.graph;
    return app.nodeOutputs?.[inner ? `${node.graph.id}:${node.id}` : String(node.id)];
  }

  restoreSoon() {
    this.output = undefined; // what was shown is of the graph that was there before
    this.restore();
    clearTimeout(this.later);
    this.later = setTimeout(() => { // outputs come back after the graph
      this.restore();
      this.comeBack();
      if (!this.output) this.restoreFromHistory();
      this.later = setTimeout(() => this.comeBack(), SETTLED); // a slow page draws nodes later
    }, 300);
  }

  async restoreFromHistory() {
    const { node, app } = this;
    const found = await outputInHistory(app.graph?.id, this.queueId(), node.comfyClass);
    if (found && !this.output && node.graph) this.received(found.output, found.inputs);
  }

  /** By what the queue knows the node; undefined in a subgraph that is used more than once, or not
   * at all. */
  queueId() {
    const { node, app } = this;
    const trail = (graph) => {
      if (graph === node.graph) return [node.id];
      const found = (graph.nodes ?? []).filter((one) => one.subgraph)
        .map((one) => [one.id, trail(one.subgraph)]).filter(([, inner]) => inner);
      return found.length === 1 ? [found[0][0], ...found[0][1]] : undefined;
    };
    return app.graph && node.graph ? trail(app.rootGraph ?? app.graph)?.join(":") : undefined;
  }

  /** Into the place of the node's forerunner, where nothing else has shown the panel. */
  comeBack() {
    const place = places.get(this.node.id);
    if (place?.isConnected && !this.root.isConnected) place.replaceChildren(this.root);
  }

  restore() {
    const output = this.lastOutput();
    if (output && output !== this.output) this.received(output);
  }

  /** @param inputs the node's when it sent this, if they may have changed since */
  received(output, inputs) {
    this.output = output;
    try {
      this.show(output, inputs);
    } catch (error) { // a picture that cannot be drawn must not stop the queue
      console.warn("ToProVAR: could not show a result", error);
      this.hint("This result cannot be shown.");
    }
  }

  /** Only words. */
  hint(...content) {
    this.body.replaceChildren(h("p", { class: "tpv-hint" }, ...content));
  }

  get changeTracker() {
    return this.app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  }

  /** All that changes from here until ``changed`` is one step of ComfyUI's undo history. */
  changing() {
    const { changeTracker: tracker } = this;
    if (this.held || !tracker?.beforeChange || !tracker.afterChange) return;
    this.held = tracker;
    tracker.beforeChange();
  }

  /** Have the change in ComfyUI's undo history. */
  changed() {
    this.node.graph?.setDirtyCanvas(true, true);
    if (this.held) {
      const tracker = this.held;
      this.held = undefined;
      tracker.afterChange();
      return;
    }
    const { changeTracker: tracker } = this;
    if (tracker?.captureCanvasState) tracker.captureCanvasState();
    else tracker?.checkState?.(); // its name in earlier frontends
  }
}
