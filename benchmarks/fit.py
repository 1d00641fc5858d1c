"""Models on cards of several sizes: what a picture takes, and whether it fits at all.

  python -m benchmarks.fit --out fit.json

A card is one GPU whose memory is capped (``torch.cuda.set_per_process_memory_fraction``), used as
somebody would: ``enable_model_cpu_offload()``, then a new prompt and seed for every picture, text
encoder and decoder included. Weights are random, in the released shapes. The speed of the bus is
measured beside, as what waits in host memory comes over it.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.models import Subject, build
from benchmarks.gpu.results import Results
from benchmarks.gpu.user import prompt
from benchmarks.machine import describe
from toprovar.devices import choose_device, choose_dtype
from toprovar.memory.device import bus_speed
from toprovar.memory.needs import Request
from toprovar.memory.parts import Parts
from toprovar.memory.plan import MemoryPlanner
from toprovar.memory.request import Allowance
from toprovar.planning import make_plan

GIB = 1 << 30
BUSES = {"PCIe 3": 12e9, "PCIe 4": 25e9, "PCIe 5": 50e9}
"""Bytes a second of sixteen lanes, as large page-locked copies reach them."""


def plans(subject: Subject, wanted: Sequence[str]) -> dict[str, Callable[[], Any]]:
    """What somebody may ask for, by name."""
    pipe, schedule = subject.pipeline, subject.schedule
    made: dict[str, Callable[[], Any]] = {
        "dense": lambda: None,
        "no plan connected": lambda: make_plan(pipe, "auto", schedule),
        "budget 0.3": lambda: make_plan(pipe, "toprovar", schedule, budget=0.3),
    }
    return {name: made[name] for name in wanted}


def measure(subject: Subject, plan: Any, images: int, pictures: int, warm: int, first: int
            ) -> dict[str, Any]:
    """Seconds and memory of one way to draw.

    Args:
        first: number of the first prompt; rows have prompts of their own, as features are kept.
    """
    device, pipe = subject.device, subject.pipeline
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    seconds, first_peak, drawn = [], 0, None
    for number in range(warm + pictures):
        if number == warm and cuda:
            first_peak = torch.cuda.max_memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
        began = time.perf_counter()
        drawn = pipe([prompt(first + number * images + i) for i in range(images)], seed=number,
                     plan=plan, schedule=subject.schedule)
        seconds.append(time.perf_counter() - began)
    assert drawn is not None
    report, residency = drawn.report, pipe.residency
    memory = None if residency is None else residency.plan
    row: dict[str, Any] = {
        "seconds": median(seconds[warm:]) / images, "first_seconds": seconds[0] / images,
        "stages": report.seconds, "replayed_scales": report.replayed_scales,
        "runs": len(drawn.reports), "memory": report.memory,
        "notes": list(report.notes), "retries": 0 if residency is None else residency.retries,
    }
    if memory is not None:
        row |= {"foreseen_bytes": memory.peak, "foreseen_host_bytes": memory.host,
                "foreseen_seconds": memory.seconds, "placement": vars(memory.placement)}
    if cuda:
        row |= {"peak_bytes": torch.cuda.max_memory_allocated(device),
                "first_peak_bytes": first_peak,
                "reserved_bytes": torch.cuda.max_memory_reserved(device)}
    return row


def projected(subject: Subject, cap: float, images: int, means: str) -> dict[str, float]:
    """Seconds that the planner's own model foresees with other buses; for comparing only."""
    residency = subject.pipeline.residency
    if residency is None:
        return {}
    found = residency.planner(Request(subject.schedule, images, recorded=True))
    out = {}
    for name, bus in BUSES.items():
        planner = MemoryPlanner(found.parts, found.counts, replace(found.speed, bus=bus))
        out[name] = planner.choose(Allowance.parse(means), int(cap * GIB)).seconds
    return out


def card(subject: Subject, cap: float | None, means: str, wanted: Sequence[str],
         batches: Iterable[int], pictures: int, warm: int) -> Iterable[dict[str, Any]]:
    """Rows of one card."""
    pipe, device = subject.pipeline, subject.device
    pipe.to("cpu")
    empty(device)
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        share = 1.0 if cap is None else min(1.0, cap * GIB / total)
        torch.cuda.set_per_process_memory_fraction(share, device)
    row: dict[str, Any] = {"cap_gib": cap, "means": means}
    began = time.perf_counter()
    if cap is None:
        pipe.to(device)
    elif device.type == "cuda":
        pipe.enable_model_cpu_offload(memory=means)
    else:
        pipe.manage_memory(device, f"{cap}GB {means}")
    row["placing_seconds"] = time.perf_counter() - began
    for images in batches:
        for row_number, (name, make) in enumerate(
                plans(subject, wanted if images == 1 else wanted[:1]).items()):
            try:
                found = measure(subject, make(), images, pictures if images == 1 else 2, warm,
                                100 * images + 20 * row_number)
                if cap is not None and name == "dense" and images == 1:
                    found["projected_seconds"] = projected(subject, cap, images, means)
            except torch.OutOfMemoryError as error:
                found = {"failed": str(error)}
            yield {**row, "name": name, "images": images, **found}


def _without_out(argv: Sequence[str] | None) -> list[str]:
    """The arguments, but for where the result goes."""
    given = list(sys.argv[1:] if argv is None else argv)
    at = given.index("--out") if "--out" in given else len(given)
    return given[:at] + given[at + 2 :]


def empty(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, default=Path("fit.json"))
    add("--model", default="2b", help="a released variant, or tiny (default: 2b)")
    add("--pn", help="pixel budget (default: the model's)")
    add("--device", default="auto")
    add("--caps", default="none,24,16,12,8,6", help="GiB, or none (default: none,24,16,12,8,6)")
    add("--means", default="exact", help="exact, auto, 8-bit; several with commas")
    add("--plans", default="dense,no plan connected,budget 0.3", help="what is asked for")
    add("--batches", default="1", help="images of a call (default: 1)")
    add("--pictures", type=int, default=4, help="timed of each kind (default: 4)")
    add("--warm", type=int, default=3, help="drawn before (default: 3)")
    add("--budget-seconds", type=float, help="begin nothing new after this time")
    given = parser.parse_args(argv)
    device = choose_device(given.device)
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)  # the cap wants a number
    dtype = choose_dtype("auto" if device.type == "cuda" else "float32", device)
    bus = bus_speed(device, 1 << 30) if device.type == "cuda" else None
    results = Results(given.out, {
        "command": " ".join(["python -m benchmarks.fit", *_without_out(argv)]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe(device), "model": given.model, "bus_bytes_per_second": bus,
        "rows": [],
    }, given.budget_seconds)
    subject = build(given.model, device, dtype, given.pn)
    results.data["weights_bytes"] = subject.weights
    results.data["parts"] = vars(Parts.of(
        subject.pipeline.transformer, subject.pipeline.vae, subject.pipeline.text_encoder, device))
    for means in given.means.split(","):
        for text in given.caps.split(","):
            cap = None if text == "none" else float(text)
            if not results.may_begin(f"{means} {text}"):
                continue
            for row in card(subject, cap, means, given.plans.split(","),
                            [int(n) for n in given.batches.split(",")], given.pictures,
                            given.warm):
                results.data["rows"].append(row)
                results.save()
                told = row.get("failed") or (
                    f"{row['seconds']:6.3f} s, peak {row.get('peak_bytes', 0) / GIB:5.2f} GiB "
                    f"(first {row.get('first_peak_bytes', 0) / GIB:5.2f}), replayed "
                    f"{row['replayed_scales']}; {row['memory']}")
                print(f"{given.model} {means} cap {text} x{row['images']} {row['name']}: {told}",
                      flush=True)


if __name__ == "__main__":
    main()
