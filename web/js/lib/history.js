// What nodes sent in earlier runs, from the server's history: after the page was loaded anew,
// results that are still cached are not sent again by every server.

import { api } from "../../../../scripts/api.js";

const MOST = 24; // runs looked at, newest first
const FRESH = 5000; // ms for which one answer serves all panels

let asked; // {at, runs}: the last question

// The queue has changed: a run may have come into the history since.
api.addEventListener("status", () => { asked = undefined; });

/** The server's last runs, newest first. */
function lastRuns() {
  if (!asked || Date.now() - asked.at > FRESH) asked = { at: Date.now(), runs: fetchRuns() };
  return asked.runs;
}

async function fetchRuns() {
  try {
    const reply = await api.fetchApi(`/history?max_items=${MOST}`);
    return Object.values(await reply.json()).toSorted((a, b) => b.prompt[0] - a.prompt[0]);
  } catch (error) { // no history: panels stay as they are
    console.warn("ToProVAR: the history could not be read", error);
    return [];
  }
}

/**
 * What a node of this workflow last sent, and its inputs then; undefined where that is not known.
 *
 * @param workflow its id
 * @param node the node's id in the queue, "3" or "7:3" in a subgraph
 * @param kind its type
 */
export async function outputInHistory(workflow, node, kind) {
  if (!workflow) return undefined;
  const found = (await lastRuns()).find(({ prompt: [, , prompt, extra], outputs }) =>
    extra?.extra_pnginfo?.workflow?.id === workflow && prompt?.[node]?.class_type === kind
    && outputs?.[node]);
  return found && { output: found.outputs[node], inputs: found.prompt[2][node].inputs ?? {} };
}
