"""The speed sections: what runs against what, and what is noted of each."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from benchmarks.gpu import roofline, strategies, trace
from benchmarks.gpu.engine import Engine, best, engines
from benchmarks.gpu.models import Subject
from benchmarks.gpu.official import Official
from benchmarks.gpu.results import Results
from benchmarks.gpu.timing import Contender, in_turn, loop_seconds, once, warm_up
from toprovar.sampling.params import EngineOptions
from toprovar.sparsity.cost import count
from toprovar.sparsity.plan import SparsityPlan

Found = dict[str, Any]
WARM = ("first_seconds", "peak_bytes", "run_bytes")
"""What ``warm_up`` finds."""


@dataclass
class Bench:
    """What every section needs.

    Attributes:
        rounds: timed runs of each contender.
        draws: see ``Engine``.
        together: plans that are timed in turn with one dense run.
    """

    subject: Subject
    ceilings: roofline.Ceilings
    results: Results
    rounds: int = 5
    draws: str = "device"
    together: int = 5

    @property
    def device(self) -> torch.device:
        return self.subject.device

    def engine(self, name: str, plan: SparsityPlan | None = None, **changes: Any) -> Engine:
        return Engine(name, self.subject, plan, draws=self.draws, **changes)


def compare(bench: Bench, contenders: Sequence[tuple[Contender, SparsityPlan]],
            first: Found | None = None) -> list[Found]:
    """Warm up, time in turn, and look at one run of each under the profiler.

    Args:
        contenders: with the plan that they follow, for counting.
        first: what was found of the first contender before: it is only timed again.
    """
    device, subject = bench.device, bench.subject
    warm: list[Found] = []
    for i, (contender, _) in enumerate(contenders):
        if i == 0 and first:
            once(contender, device)
            warm.append({key: first[key] for key in WARM if key in first})
        else:
            warm.append(warm_up(contender, device))
    rows = in_turn([c for c, _ in contenders], device, bench.rounds)
    for i, ((contender, plan), row, own) in enumerate(zip(contenders, rows, warm, strict=True)):
        row |= own
        row["loop_seconds"] = loop_seconds(row["stages"])
        row["trace"] = first["trace"] if first and i == 0 else trace.record(contender, device)
        row["busy_seconds"] = row["trace"]["busy_seconds"]
        row["busy_faster_than_first"] = rows[0]["busy_seconds"] / row["busy_seconds"]
        row["roofline"] = roofline.shares(
            roofline.stage_work(subject, plan), row["stages"], bench.ceilings)
        cost = count(plan, subject.shape)
        row["flops"] = cost.flops
        row["flop_share"], row["kv_share"] = cost.flop_share, cost.kv_share
        row["notes"] = list(contender.notes)
        if isinstance(contender, Engine):
            row["replayed_scales"] = contender.replayed
        if not (first and i == 0):
            show(row)
    return rows


def show(row: Found) -> None:
    print(f"  {row['name']:42} {row['seconds'] * 1e3:8.1f} ms, busy "
          f"{row['busy_seconds'] * 1e3:8.1f} ms, first {row['first_seconds']:6.2f} s, "
          f"{row['roofline']['scales']['share']:4.0%} of roofline, "
          f"{row['faster_than_first']:5.2f} x / {row['busy_faster_than_first']:5.2f} x",
          flush=True)


def run_dense(bench: Bench, found: Found, variants: bool = True) -> None:
    """The official loop, and ours in full: each way the engine can run.

    Args:
        variants: also with plain blocks, and with a narrow residual.
    """
    plan = strategies.dense(bench.subject)
    kinds = engines(bench.device)
    if variants:
        name, options = best(bench.device)
        narrow = bench.subject.pipeline.transformer.compute_dtype
        kinds |= {
            "plain blocks": EngineOptions(graphs=False, fused=False),
            f"{name}, narrow residual": dataclasses.replace(options, residual_dtype=narrow),
        }
    ours = [bench.engine(f"dense, {name}", options=options) for name, options in kinds.items()]
    found["rows"] = compare(bench, [(Official(bench.subject), plan), *((c, plan) for c in ours)])


def run_strategies(bench: Bench, found: Found) -> None:
    """Every plan in turn with ours in full."""
    run_plans(bench, found, strategies.plans(bench.subject))


def run_large(bench: Bench, found: Found) -> None:
    """A model too large for everything: official, dense, the presets."""
    run_dense(bench, found, variants=False)
    every = strategies.plans(bench.subject)
    chosen = {name: every[name] for name in (strategies.PRESET, strategies.PRESET_UNGUIDED,
                                                  strategies.SHORTCUT,
                                                  f"{strategies.SHORTCUT}, late guidance off")}
    more: Found = {}
    run_plans(bench, more, chosen)
    found["strategies"] = more


def run_plans(bench: Bench, found: Found, plans: dict[str, SparsityPlan]) -> None:
    """Each plan and dense in turn, with the fastest engine; the preset eagerly besides."""
    name, _ = best(bench.device)
    found["engine"], found["rows"] = name, []
    whole = bench.engine("dense"), strategies.dense(bench.subject)
    kinds = list(engines(bench.device).items())
    own = [(plan_name, plan, kinds[-1][1]) for plan_name, plan in plans.items()]
    if len(kinds) > 1:
        own.append((f"{strategies.PRESET}, {kinds[0][0]}", plans[strategies.PRESET], kinds[0][1]))
    dense: Found | None = None
    for first in range(0, len(own), bench.together):
        some = own[first : first + bench.together]
        what = "; ".join(plan_name for plan_name, _, _ in some)
        if not bench.results.may_begin(what):
            continue
        with bench.results.attempt(what):
            contenders = [(bench.engine(n, plan, options=o), plan) for n, plan, o in some]
            rows = compare(bench, [whole, *contenders], dense)
            if dense is None:
                dense = rows[0]
                found["rows"].append(dense)
            found["rows"] += [row | {"dense_seconds": rows[0]["seconds"]} for row in rows[1:]]
        free(bench.device)
        bench.results.save()


def run_batches(bench: Bench, found: Found, sizes: Sequence[int] = (1, 2, 4, 8)) -> None:
    """Pictures a second by how many are made at once."""
    plan = strategies.plans(bench.subject)[strategies.PRESET]
    found["rows"] = []
    for images in sizes:
        for name, own in (("dense", None), (strategies.PRESET, plan)):
            if not bench.results.may_begin(f"batch of {images}, {name}"):
                continue
            with bench.results.attempt(f"batch of {images}, {name}"):
                row = batch(bench, name, own, images)
                found["rows"].append(row)
                print(f"  {images} x {name}: {row['images_per_second']:.2f} pictures a second",
                      flush=True)
            bench.results.save()
            free(bench.device)


def batch(bench: Bench, name: str, plan: SparsityPlan | None, images: int) -> Found:
    """Several pictures at once."""
    contender = bench.engine(name, plan, images=images)
    warm = warm_up(contender, bench.device)
    times = [once(contender, bench.device)[0] for _ in range(max(3, bench.rounds - 2))]
    return {"name": name, "images": images, **warm, "seconds": median(times), "rounds": times,
            "images_per_second": images / median(times), "notes": list(contender.notes)}


def free(device: torch.device) -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
