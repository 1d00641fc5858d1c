"""What a masked edit takes against a whole picture: seconds in one run, and counted work.

    python -m benchmarks.editing_times --out out/editing-times.json [--pn 0.25M] [--device cuda]
    python -m benchmarks.editing_times --out out/editing-work.json --work

A square mask of a given share of the picture lies in its middle. Runs with and without a mask take
turns, so that ratios are of one machine in one state. Encoding and decoding are told apart from the
scale loop. Beside them stands the share of a whole picture's FLOPs, counted for this model and for
the shape of Infinity-2B at 1M pixels. ``--work`` counts alone, and draws nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.quality import load
from toprovar.devices import choose_device
from toprovar.editing.edit import Region
from toprovar.editing.mask import inside_cells, near_region
from toprovar.files import replace_file
from toprovar.models.config import TransformerConfig
from toprovar.models.variants import get_variant
from toprovar.pipeline import InfinityPipeline
from toprovar.planning import make_plan
from toprovar.schedules import ScaleSchedule, get_schedule
from toprovar.sparsity.cost import count
from toprovar.sparsity.plan import SparsityPlan, dense_plan
from toprovar.sparsity.restricted import restricted_plan

SHARES = (0.05, 0.1, 0.25, 0.5)


def middle(share: float, size: int) -> Tensor:
    """[1, 1, size, size]: white in a square of this share of the picture, of whole tokens."""
    side = max(1, round(share**0.5 * size / 16)) * 16
    first = (size - side) // 32 * 16
    mask = torch.zeros(1, 1, size, size)
    mask[..., first : first + side, first : first + side] = 1
    return mask


def work_share(plan: SparsityPlan, shape: TransformerConfig, schedule: ScaleSchedule, share: float,
               region: Region) -> float:
    """FLOPs of an edit, as a share of the same plan's for the whole picture."""
    inside = inside_cells(middle(share, schedule.image_size[0]), schedule.grids[-1])
    _, counts = near_region(inside, schedule.grids, region.margin, region.whole_until)
    return count(restricted_plan(plan, counts), shape).flops / count(plan, shape).flops


def counted(pipeline: InfinityPipeline, schedule: ScaleSchedule) -> dict[str, dict[str, float]]:
    """The share of a whole picture's FLOPs, by model and share of the picture."""
    shape, large = pipeline.transformer.shape, get_schedule("1.0", "1M")
    two = get_variant("2b").config
    dense, region, coarse = dense_plan(two, large), Region(), Region(whole_until=16)
    cases: dict[str, tuple[Any, TransformerConfig, ScaleSchedule, Region]] = {
        name: (make_plan(pipeline, name, schedule), shape, schedule, region)
        for name in ("dense", "toprovar")}
    cases |= {"2b at 1M, dense": (dense, two, large, region),
              "2b at 1M, dense, whole_until=16": (dense, two, large, coarse)}
    return {name: {f"{share:g}": round(work_share(plan, its, size, share, how), 4)
                   for share in SHARES}
            for name, (plan, its, size, how) in cases.items() if isinstance(plan, SparsityPlan)}


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    device = choose_device(arguments.device)
    torch.set_num_threads(arguments.threads)
    pipeline, schedule = load(device), get_schedule("1.0", arguments.pn)
    about = {"command": "python -m benchmarks.editing_times " + " ".join(sys.argv[1:]),
             "machine": describe(device), "pn": arguments.pn, "region": vars(Region()),
             "work": counted(pipeline, schedule)}
    if arguments.work:
        return about
    size = schedule.image_size[0]
    prompt = "a red car to the left of a blue cup"
    source = pipeline(prompt, seed=0, schedule=schedule, output_type="pt").images
    table: dict[str, Any] = {}
    for name in ("dense", "toprovar"):
        plan = make_plan(pipeline, name, schedule)
        calls: dict[str, dict[str, Any]] = {"whole": {}}
        calls |= {f"{share:g}": {"image": source, "mask_image": middle(share, size)}
                  for share in SHARES}
        seconds: dict[str, list[float]] = {key: [] for key in calls}
        totals: dict[str, list[float]] = {key: [] for key in calls}
        for turn in range(arguments.rounds + 1):
            for key, call in calls.items():
                began = time.perf_counter()
                report = pipeline(prompt, seed=1, schedule=schedule, plan=plan, **call).report
                if turn:  # the first is to warm up
                    totals[key].append(time.perf_counter() - began)
                    seconds[key].append(report.seconds["scales"])
        table[name] = {key: {
            "scales_seconds": round(median(seconds[key]), 4),
            "scales_ratio": round(median(seconds[key]) / median(seconds["whole"]), 4),
            "call_ratio": round(median(totals[key]) / median(totals["whole"]), 4),
        } for key in calls}
    return {**about, "rounds": arguments.rounds, "edits": table}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--out", type=Path, required=True)
    add("--work", action="store_true", help="count work alone, which takes seconds")
    add("--pn", default="0.25M")
    add("--rounds", type=int, default=5)
    add("--device", default="auto")
    add("--threads", type=int, default=2)
    arguments = parser.parse_args()
    result = measured(arguments)
    replace_file(arguments.out, (json.dumps(result, indent=1) + "\n").encode())
    for name, rows in {**result["work"], **result.get("edits", {})}.items():
        for key, row in rows.items():
            sys.stdout.write(f"{name:32} {key:6} {row}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
