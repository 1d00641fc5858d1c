// What a node has to say of its inputs, beneath them; nothing where it has nothing to say.

import { h } from "./dom.js";
import { Panel } from "./panel.js";

export class NotesPanel extends Panel {
  constructor(node, app) {
    super(node, app, "Notes");
    this.draw([]);
    this.restore();
  }

  get isEmpty() {
    return !this.body.childElementCount;
  }

  show(output) {
    this.draw(Array.isArray(output.toprovar_notes) ? output.toprovar_notes : []);
    this.fit();
  }

  draw(notes) {
    this.body.replaceChildren(...notes.map((note) => h("p", { class: "tpv-note" }, String(note))));
    this.root.classList.toggle("tpv-nothing", this.isEmpty);
  }
}
