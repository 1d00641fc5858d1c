// The browser side of the pack. ComfyUI loads every file below web/ as an extension; this is the
// only one that registers anything.

import { app } from "../../../scripts/app.js";

import { AnalyzerPanel } from "./lib/analyzer.js";
import { ComparePanel } from "./lib/compare.js";
import { tuckAway } from "./lib/inputs.js";
import { PlannerPanel } from "./lib/planner.js";
import { ReportPanel } from "./lib/report.js";
import { sortTemplates } from "./lib/templates.js";

const PREFIX = "ToProVAR_";
const PANELS = {
  ToProVAR_SparsityPlanner: PlannerPanel,
  ToProVAR_EntropyAnalyzer: AnalyzerPanel,
  ToProVAR_Sampler: ReportPanel,
  ToProVAR_CompareRuns: ComparePanel,
};

app.registerExtension({
  name: "ToProVAR",

  setup() {
    sortTemplates(app.api);
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = new URL("./toprovar.css", import.meta.url).href;
    document.head.append(sheet);
  },

  nodeCreated(node) {
    if (!node.comfyClass?.startsWith(PREFIX)) return;
    tuckAway(node);
    const Panel = PANELS[node.comfyClass];
    if (Panel) new Panel(node, app);
  },
});
