// The browser side of the pack. ComfyUI loads every file below web/ as an extension; this is the
// only one that registers anything.

import { app } from "../../../scripts/app.js";

import { AnalyzerPanel } from "./lib/analyzer.js";
import { ComparePanel } from "./lib/compare.js";
import { adaptGraph, layoutOf } from "./lib/layout.js";
import { NotesPanel } from "./lib/notes.js";
import { PlannerPanel } from "./lib/planner.js";
import { ReportPanel } from "./lib/report.js";
import { DraftPanel, FinishPanel } from "./lib/sheet.js";
import { sortTemplates } from "./lib/templates.js";

const PREFIX = "ToProVAR_";
const PANELS = {
  ToProVAR_SparsityPlanner: PlannerPanel,
  ToProVAR_EntropyAnalyzer: AnalyzerPanel,
  ToProVAR_Sampler: ReportPanel,
  ToProVAR_CompareRuns: ComparePanel,
  ToProVAR_Inpaint: ReportPanel,
  ToProVAR_Edit: ReportPanel,
  ToProVAR_Draft: DraftPanel,
  ToProVAR_LoadDraft: DraftPanel,
  ToProVAR_Encode: DraftPanel,
  ToProVAR_FinishDrafts: FinishPanel,
  ToProVAR_LoadInfinity: NotesPanel,
  ToProVAR_TextEncode: NotesPanel,
};

const WIDTHS = { // of new nodes, so that their words and figures fit; saved ones keep theirs
  ToProVAR_LoadInfinity: 340,
  ToProVAR_TextEncode: 340,
  ToProVAR_SparsityPlanner: 340,
  ToProVAR_EntropyAnalyzer: 340,
  ToProVAR_Sampler: 340,
  ToProVAR_CalibrateInfinity: 340,
  ToProVAR_CompareRuns: 560,
};

const layouts = new Map(); // of nodes whose inputs lie in different ways on different servers

app.registerExtension({
  name: "ToProVAR",

  setup() {
    sortTemplates(app.api);
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = new URL("./toprovar.css", import.meta.url).href;
    document.head.append(sheet);
  },

  beforeRegisterNodeDef(nodeType, definition) {
    const layout = definition.name?.startsWith(PREFIX) ? layoutOf(definition) : undefined;
    if (layout) layouts.set(definition.name, layout);
  },

  beforeConfigureGraph(graph) {
    adaptGraph(graph, layouts);
  },

  nodeCreated(node) {
    const Panel = PANELS[node.comfyClass];
    if (Panel) new Panel(node, app, { dynamic: layouts.get(node.comfyClass)?.is_dynamic });
    const width = WIDTHS[node.comfyClass];
    if (width > node.size[0]) node.setSize([width, node.size[1]]);
  },
});
