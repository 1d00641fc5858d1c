"""What deciding costs: analysing and planning inside the run, and choosing tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from benchmarks.gpu import strategies, trace
from benchmarks.gpu.engine import Loop, engines
from benchmarks.gpu.sections import Bench
from benchmarks.gpu.timing import in_turn, warm_up
from toprovar.sparsity.plan import ScalePlan, SparsityPlan
from toprovar.sparsity.selection import Selector
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings


class GivenTokens(Selector):
    """Tokens that are known beforehand, so that choosing costs nothing."""

    def __init__(self, kept: dict[tuple[int, int], Tensor]) -> None:
        self.kept = kept

    def select(self, scale: int, layer: int, step: ScalePlan, x: Tensor, entropy: Tensor | None,
               part: int = 0) -> Tensor:
        return self.kept[scale, layer]


def run_overhead(bench: Bench, found: dict[str, Any]) -> None:
    """Shares of the scale loop.

    planning: a run that looks at its early scales, plans, and then keeps everything, against a
    dense one; for each way the engine runs. choosing: the preset against the same work on tokens
    that are given, with no entropy measured; eagerly, as recorded scales cannot be given tokens.
    What it keeps the GPU busy is then held against the fastest run's wall time.
    """
    subject, plan = bench.subject, strategies.plans(bench.subject)[strategies.PRESET]
    kinds = engines(bench.device)
    eager = kinds["eager"]
    start = len(subject.schedule) - strategies.PRUNED_SCALES
    planner = ToProVar(ToProVarSettings(alpha_max=0.0, start_scale=start, dropped="identity"))
    for name, options in kinds.items():
        found[f"planning, {name}"] = share(
            bench, Loop("dense", subject, None, options),
            Loop("planned inside", subject, planner, options))
    given = GivenTokens({
        (state.index, layer): index for state in Loop("", subject, plan, eager).run()
        for layer, index in state.kept.items()
    })
    chosen = found["choosing, eager"] = share(
        bench, Loop("tokens given", subject, unmeasured(plan), eager, given),
        Loop("preset", subject, plan, eager))
    fastest = Loop("preset", subject, plan)
    warm_up(fastest, bench.device)
    seconds = in_turn([fastest], bench.device, bench.rounds)[0]["seconds"]
    without, including = chosen["busy_seconds"]
    found["choosing, fastest"] = {"wall_share": (including - without) / seconds,
                                  "busy_share": chosen["busy_share"], "seconds": [seconds]}
    for what, row in found.items():
        if isinstance(row, dict):
            print(f"  {what}: {row['wall_share']:.1%} of the wall time, "
                  f"{row['busy_share']:.1%} of the busy time", flush=True)


def share(bench: Bench, without: Loop, including: Loop) -> dict[str, Any]:
    """What the second loop takes more than the first, as a share of the second."""
    pair = (without, including)
    for loop in pair:
        warm_up(loop, bench.device)
    rows = in_turn(pair, bench.device, bench.rounds)
    busy = [trace.record(loop, bench.device)["busy_seconds"] for loop in pair]
    return {
        "wall_share": 1 - rows[1]["faster_than_first"],
        "busy_share": 1 - busy[0] / busy[1],
        "seconds": [row["seconds"] for row in rows], "busy_seconds": busy,
    }


def unmeasured(plan: SparsityPlan) -> SparsityPlan:
    """The same counts, by a rule that needs no entropies."""
    scales = tuple(step.model_copy(update={"rule": "variance"}) for step in plan.scales)
    return plan.model_copy(update={"scales": scales})
