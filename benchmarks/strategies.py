"""All strategies side by side: time, work, and how well the predicted gain is reached.

    python -m benchmarks.strategies [--models 125m,embedded] [--budget 0.3] [--json FILE]
    python -m benchmarks.strategies --quick --json
    python -m benchmarks.strategies --work --json      # their work alone: no run, no time

Every strategy is run in turn with dense (dense A dense B ...), so that a ratio is of neighbouring
runs; the median of the ratios is quoted. Times are of the scale loop (no text encoder, no VAE). The
125M geometry has random weights, whose entropies say nothing about pictures: its plans are static,
with the layers' scores given, and it measures speed alone. The embedded model plans inside the run.
Predictions come from a cost model fitted at the start of the same process.

``--json`` without a file prints one JSON object as the last line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.dense import TEXT_TOKENS, build
from benchmarks.machine import describe, synchronise
from toprovar.bundled import bundled_model
from toprovar.checkpoints.load import load_transformer
from toprovar.device_cost import measure
from toprovar.devices import DTYPE_ALIASES, DTYPES, choose_device
from toprovar.entropy.calibration import Calibration, find_calibration
from toprovar.files import replace_file
from toprovar.models.config import TransformerConfig
from toprovar.models.fingerprint import model_fingerprint
from toprovar.models.text import PackedText
from toprovar.models.transformer import InfinityTransformer
from toprovar.models.variants import get_variant
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import ScaleSchedule, get_schedule
from toprovar.sparsity.cost import CostModel, Target, WorkTable, count, predict
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.planner import Planner, RunContext, begin
from toprovar.sparsity.strategies.fastervar import fastervar_plan
from toprovar.sparsity.strategies.fastvar import fastvar_plan
from toprovar.sparsity.strategies.ldpruning import ldpruning_plan
from toprovar.sparsity.strategies.scalekv import scalekv_plan
from toprovar.sparsity.strategies.skipvar.policies import skipvar_plan
from toprovar.sparsity.strategies.stop import stop_plan
from toprovar.sparsity.strategies.toprovar.before import toprovar_plan
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings
from toprovar.sparsity.strategies.window import window_plan


@dataclass
class Subject:
    """One model at one size."""

    name: str
    model: InfinityTransformer
    text: PackedText
    params: SamplingParams
    cost: CostModel

    def calibration(self) -> Calibration | None:
        return find_calibration(model_fingerprint(self.model))

    def run(self, plan: Planner | None) -> tuple[float, SamplingRun]:
        """Seconds of the scale loop, and the run."""
        device = self.model.null_text.device
        synchronise(device)
        started = time.perf_counter()
        run = SamplingRun(self.model, self.text, self.params, plan=plan,
                          generators=torch.Generator().manual_seed(2))
        for _ in run:
            pass
        synchronise(device)
        return time.perf_counter() - started, run


def subject(name: str, pn: str, dtype: str, device: torch.device) -> Subject:
    kind = DTYPES[DTYPE_ALIASES.get(dtype, dtype)]
    if name == "embedded":
        model = load_transformer(bundled_model() / "transformer", dtype=kind, device=str(device))
    else:
        model = build(get_variant(name).config, kind, device)
    length = min(TEXT_TOKENS, model.shape.text_max_length)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(length, model.shape.text_channels, generator=generator)
    schedule = get_schedule("1.0", pn)
    return Subject(name, model, PackedText(features.to(device), (length,)),
                   SamplingParams(schedule, 3.0, 0.5), measure(model, schedule))


def strategies(name: str, shape: TransformerConfig, schedule: ScaleSchedule, budget: float,
               calibration: Calibration | None = None, cost: CostModel | None = None
               ) -> dict[str, Planner]:
    """What is compared on a model, by name."""
    target = Target(budget)
    if name == "embedded":
        planned: Planner = ToProVar(ToProVarSettings(), calibration, target, cost)
    else:
        # Early scales in full, then whatever reaches the budget.
        planned = toprovar_plan(shape, schedule, ToProVarSettings(start_scale=len(schedule) - 4),
                                None, target)
    return {
        "toprovar": planned,
        "fastvar": fastvar_plan(shape, schedule),
        "skipvar": skipvar_plan(shape, schedule, skip=1),
        "fastervar": fastervar_plan(shape, schedule),
        "stop": stop_plan(shape, schedule),
        "ldpruning": ldpruning_plan(shape, schedule),
        "window": window_plan(shape, schedule, radius=4),
        "scalekv": scalekv_plan(shape, schedule),
    }


def work(name: str, pn: str, budget: float) -> dict[str, dict[str, float]]:
    """Each strategy's share of a dense run's work, as ``compare`` has it: counted, not run.

    Raises:
        ValueError: a strategy that plans inside the run, whose work is not known without one.
    """
    schedule, calibration = get_schedule("1.0", pn), None
    if name == "embedded":
        model = load_transformer(bundled_model() / "transformer", device="cpu")
        shape, calibration = model.shape, find_calibration(model_fingerprint(model))
    else:
        shape = get_variant(name).config
    found = {}
    for strategy, plan in strategies(name, shape, schedule, budget, calibration).items():
        if plan.adaptive:
            raise ValueError(f"{strategy} plans inside the run on {name}: without --work it is run")
        cost = count(begin(plan, RunContext(shape, schedule))[0].plan, shape)
        found[strategy] = {"flop_share": round(cost.flop_share, 4),
                           "token_layer_share": round(cost.token_layer_share, 4)}
    return found


def compare(own: Subject, name: str, plan: Planner, rounds: int
            ) -> dict[str, Any]:
    """A strategy and dense in turn."""
    own.run(plan)
    ratios, dense_times, times = [], [], []
    run = None
    for _ in range(rounds):
        dense, _ = own.run(None)
        seconds, run = own.run(plan)
        dense_times.append(dense)
        times.append(seconds)
        ratios.append(dense / seconds)
    assert run is not None
    used = predict(run.plan_state.plan, own.model.shape, own.cost)
    cost = used.predicted
    assert cost is not None and cost.speedup is not None
    measured = median(ratios)
    return {
        "speedup_predicted": round(cost.speedup, 3), "speedup_measured": round(measured, 3),
        "reached": round(measured / cost.speedup, 3),
        "flop_share": round(cost.flop_share, 4),
        "token_layer_share": round(cost.token_layer_share, 4),
        "seconds": round(median(times), 4), "dense_seconds": round(median(dense_times), 4),
        "ratios": [round(r, 3) for r in ratios], "kv_bytes": run.report().kv_bytes,
        "notes": list(run.report().notes),
    }


def overhead(own: Subject, rounds: int) -> dict[str, float]:
    """Analysis, planning and choosing, as shares of a dense run.

    in_run: a run that is planned inside and then keeps everything, against a dense one: what
    measuring the early scales and planning cost. choosing: picking, gathering and measuring at the
    pruned scales, from the cost model (they cannot be timed apart from the work they save).
    """
    none = ToProVar(ToProVarSettings(alpha_max=0.0, start_scale=len(own.params.schedule) - 3,
                                     dropped="identity"), own.calibration())
    own.run(none)
    ratios = []
    for _ in range(rounds):
        dense, _ = own.run(None)
        seconds, _ = own.run(none)
        ratios.append(seconds / dense - 1)
    return {"in_run": round(median(ratios), 4)}


def choosing(own: Subject, plan: SparsityPlan) -> float:
    """Seconds of picking tokens and refreshing entropies, as a share of the dense run's."""
    with_all = own.cost.seconds(plan)
    bare = own.cost.model_copy(update={"entropy": 0.0, "choice": 0.0, "move": 0.0, "update": 0.0})
    return (with_all - bare.seconds(plan)) / own.cost.table_seconds(WorkTable.dense(plan))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--models", default="125m,embedded")
    add("--pn", help="pixel budget (default: 0.60M for 125m, 0.25M for embedded)")
    add("--budget", type=float, default=0.3, help="ToProVAR's share of a dense run's FLOPs")
    add("--dtype", default="float32")
    add("--rounds", type=int, default=5)
    add("--device", default="auto")
    add("--quick", action="store_true", help="the embedded model alone, in under a minute")
    add("--work", action="store_true", help="count the work of the plans, run nothing")
    add("--json", nargs="?", const="-", metavar="FILE")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    models = ["embedded"] if arguments.quick else arguments.models.split(",")
    rounds = 3 if arguments.quick else arguments.rounds
    results: dict[str, Any] = {
        "command": "python -m benchmarks.strategies " + " ".join(sys.argv[1:]),
        "machine": describe(device), "dtype": arguments.dtype, "models": {},
    }
    for name in models:
        pn = arguments.pn or ("0.25M" if name == "embedded" else "0.60M")
        if arguments.work:
            results["models"][name] = {"pn": pn, **work(name, pn, arguments.budget)}
            continue
        own = subject(name, pn, arguments.dtype, device)
        found: dict[str, Any] = {"pn": pn, "cost_model": own.cost.model_dump()}
        print(f"{name} at {pn}; cost model fits its measurements within {own.cost.error:.0%}")
        dense_seconds = []
        plans = strategies(name, own.model.shape, own.params.schedule, arguments.budget,
                           own.calibration(), own.cost)
        for strategy, plan in plans.items():
            found[strategy] = compare(own, strategy, plan, rounds)
            dense_seconds.append(found[strategy]["dense_seconds"])
            show(strategy, found[strategy])
            if strategy == "toprovar":
                _, run = own.run(plan)
                found["overhead"] = {"choosing": round(choosing(own, run.plan_state.plan), 4)}
        found["dense"] = {"seconds": round(median(dense_seconds), 4)}
        found["overhead"] |= overhead(own, rounds)
        print(f"  overhead, share of dense: {found['overhead']}")
        results["models"][name] = found
    main_result = results["models"][models[0]]
    results |= {key: main_result[key] for key in ("dense", "toprovar", "fastvar", "skipvar")
                if key in main_result}
    if arguments.json == "-":
        print(json.dumps(results))
    elif arguments.json:
        replace_file(Path(arguments.json), (json.dumps(results, indent=1) + "\n").encode())
    return 0


def show(name: str, row: dict[str, Any]) -> None:
    measured, predicted = row["speedup_measured"], row["speedup_predicted"]
    print(f"  {name:9} {measured:5.2f} x measured, {predicted:5.2f} x predicted "
          f"({row['reached']:.0%}), FLOPs {row['flop_share']:.2f}, "
          f"token-layers {row['token_layer_share']:.2f}")


if __name__ == "__main__":
    sys.exit(main())
