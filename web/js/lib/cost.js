// What a plan costs. The engine counts it: as the plan was made, and after edits when asked.

import { api } from "../../../../scripts/api.js";

import { h } from "./dom.js";
import { finite, percent } from "./text.js";

const ADDRESS = "/toprovar/plan_cost";
const PATIENCE = 120; // ms without another edit before the server is asked

export class Cost {
  constructor() {
    this.root = h("div", { class: "tpv-cost" });
    this.known = new Map(); // what was asked -> share of a dense run's FLOPs
  }

  /**
   * @param plan as the node sent it, with its predicted cost
   * @param counted what the server must know to count: shape of the model, guided
   * @param edits their text; "" = none
   */
  show(plan, counted, edits) {
    clearTimeout(this.timer);
    this.wanted = undefined; // answers to earlier questions come too late
    if (!edits) {
      this.draw(plan.predicted?.flop_share, plan.predicted);
      return;
    }
    const asked = JSON.stringify({ plan, edits, ...counted });
    this.wanted = asked;
    if (this.known.has(asked)) this.draw(this.known.get(asked));
    else if (counted) {
      this.root.classList.add("tpv-asking");
      this.timer = setTimeout(() => this.ask(asked), PATIENCE);
    } else this.draw(undefined); // a workflow of an earlier release: known after the next run
  }

  async ask(asked) {
    let share;
    try {
      const reply = await api.fetchApi(ADDRESS, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: asked });
      ({ flop_share: share } = await reply.json());
    } catch {
      // no server: the figure is not known
    }
    if (finite(share)) this.known.set(asked, share);
    if (this.known.size > 64) this.known.delete(this.known.keys().next().value);
    if (asked === this.wanted) this.draw(share);
  }

  draw(share, predicted) {
    this.root.classList.remove("tpv-asking");
    const faster = finite(predicted?.seconds)
      ? `, ${(predicted.dense_seconds / predicted.seconds).toFixed(2)} × as fast` : "";
    const told = finite(share) ? percent(share) : "?";
    this.root.replaceChildren(
      h("span", { class: "tpv-big" }, told), ` of a dense run's FLOPs${faster}`,
      h("span", { class: "tpv-meter", role: "img", "aria-label": told },
        h("span", { style: `width:${Math.min(share ?? 0, 1) * 100}%` })));
  }
}
