"""Time and memory of editing a picture (VAREdit) with random weights of the released shapes.

    python -m benchmarks.varedit --out varedit.json            # 8B at 1024 and 512 px, on a GPU
    python -m benchmarks.varedit --model tiny --device cpu     # the same code, in a minute

Every row edits ``--rounds`` pictures one after the other, with other pictures and instructions
each time, after ``WARM`` that do not count; rows of one dtype take turns, so that ratios are of
neighbours. A time is from the source picture in memory to the PIL picture at its size. The first
row is the same network drawing from text, without a source: what the source costs is the
difference.
Random weights give times and memory of the shapes, and no pictures worth looking at.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.gpu.models import TINY, Subject, build
from benchmarks.machine import describe, synchronise
from toprovar.files import replace_file
from toprovar.models.config import INFINITY, VAREDIT
from toprovar.models.fp8 import quantize_blocks
from toprovar.planning import make_plan
from toprovar.sampling.params import EngineOptions
from toprovar.sampling.workspace import release
from toprovar.sparsity.plan import SparsityPlan

WARM = 3
"""Edits before those that count: kernels are compiled, scales recorded."""
STATED = {"varedit-8b": {"seconds": 1.99, "bytes": 50.41e9, "device": "H800"},
          "varedit-8b-512": {"seconds": 0.7, "device": "H800"}}
"""What the authors state of their program."""
TARGETS = {"varedit-8b": {"dense": 0.9, "accelerated": 0.45, "bytes": 24 << 30, "device": "H100"}}
"""Set beforehand; bytes with 8-bit weights."""
BUDGETS = (0.5, 0.35)
WORDS = "make it winter and let the light of the evening fall on the houses behind the trees"


@dataclasses.dataclass
class Row:
    """One way to edit.

    Attributes:
        plan: () -> of each edit, None = dense; source: whether a picture is edited at all.
        seconds: of each edit; parts: of each edit by name.
    """

    name: str
    plan: Callable[[], Any]
    options: EngineOptions
    source: bool = True
    seconds: list[float] = dataclasses.field(default_factory=list)
    parts: list[dict[str, float]] = dataclasses.field(default_factory=list)
    peak: int = 0
    report: Any = None

    def to_json(self) -> dict[str, Any]:
        report, cost = self.report, None
        if isinstance(report.used_plan, SparsityPlan) and report.used_plan.predicted:
            cost = report.used_plan.predicted.flop_share
        return {
            "name": self.name, "seconds": median(self.seconds), "all_seconds": self.seconds,
            "parts": {key: median(p[key] for p in self.parts) for key in self.parts[0]},
            "peak_bytes": self.peak, "kv_bytes": report.kv_bytes,
            "source": None if report.source is None else dataclasses.asdict(report.source),
            "token_layer_share": report.token_layers / report.dense_token_layers,
            "flop_share": cost, "replayed_scales": report.replayed_scales,
            "notes": list(report.notes),
        }


def edit(subject: Subject, row: Row, number: int) -> None:
    """One edit of a row, timed."""
    pipeline, device = subject.pipeline, subject.device
    set_family(subject, VAREDIT if row.source else INFINITY)
    generator = np.random.default_rng(number)
    tall, wide = subject.schedule.image_size
    tall = 3 * tall // 4  # so that there is padding
    small = generator.integers(0, 256, (tall // 16, wide // 16, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((wide, tall), Image.Resampling.BICUBIC)
    words = WORDS.split()
    prompt = " ".join(words[: 4 + number % (len(words) - 4)])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    plan = row.plan()
    synchronise(device)
    began = time.perf_counter()
    done = pipeline(
        prompt, image=image if row.source else None, seed=number, plan=plan,
        schedule=subject.schedule, guidance_scale=subject.params.cfg_list[0],
        tau=subject.params.tau_list[0], options=row.options)
    synchronise(device)
    seconds, parts = time.perf_counter() - began, dict(done.report.seconds)
    parts["source pass"] = done.report.source.seconds if done.report.source else 0.0
    row.report = done.report
    if number < WARM:
        return
    row.seconds.append(seconds)
    row.parts.append(parts)
    if device.type == "cuda":
        row.peak = max(row.peak, torch.cuda.max_memory_allocated(device))


def set_family(subject: Subject, family: str) -> None:
    """The network as one of the other family: weights have the same names and shapes."""
    transformer = subject.pipeline.transformer
    if transformer.shape.family != family:
        release(transformer)  # what was recorded is of the other
        transformer.shape = dataclasses.replace(transformer.shape, family=family)


def rows_of(subject: Subject, what: str, options: EngineOptions) -> list[Row]:
    """Dense, and accelerated as somebody asks for it who has no calibration."""
    pipeline, schedule = subject.pipeline, subject.schedule

    def budget(share: float) -> Callable[[], Any]:
        plan = make_plan(pipeline, "toprovar", schedule, budget=share)
        return lambda: plan

    def automatic() -> Any:
        return make_plan(pipeline, "auto", schedule)

    fastvar = make_plan(pipeline, "fastvar", schedule)
    return [
        Row(f"{what}: dense", lambda: None, options),
        *(Row(f"{what}: budget {share}", budget(share), options) for share in BUDGETS),
        Row(f"{what}: auto", automatic, options),
        Row(f"{what}: fastvar", lambda: fastvar, options),
    ]


def measure(subject: Subject, rows: list[Row], rounds: int) -> None:
    """All rows, taking turns."""
    for number in range(WARM + rounds):
        for row in rows:
            edit(subject, row, number)
    for row in rows:
        print(f"{subject.name:16} {row.name:34} {median(row.seconds) * 1e3:9.1f} ms  peak "
              f"{row.peak / 2**30:6.2f} GiB", flush=True)


def run(name: str, device: torch.device, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    """One model: its blocks in ``dtype``, then with weights of 8 bits."""
    subject = build(name, device, dtype)
    if name == "tiny":
        subject.pipeline.transformer.shape = dataclasses.replace(TINY, family=VAREDIT)
    options = EngineOptions()
    kind = str(dtype).removeprefix("torch.")
    alone = Row(f"{kind}: the same network from text", lambda: None, options, source=False)
    found: dict[str, Any] = {"model": name, "schedule": subject.schedule.to_json(),
                             "weights_bytes": subject.weights, "stated": STATED.get(name),
                             "targets": TARGETS.get(name)}
    measure(subject, [alone], rounds)
    set_family(subject, VAREDIT)
    rows = [alone, *(own := rows_of(subject, kind, options))]
    measure(subject, own, rounds)
    release(subject.pipeline.transformer)
    quantize_blocks(subject.pipeline.transformer)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    narrow = rows_of(subject, "8-bit weights", options)
    measure(subject, narrow, rounds)
    found["rows"] = [row.to_json() for row in (*rows, *narrow)]
    release(subject.pipeline.transformer)
    return found


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--model", default="varedit-8b,varedit-8b-512", help="names with commas between, or tiny")
    add("--device", default="cuda", help="cuda or cpu")
    add("--rounds", type=int, default=9, help="edits of a row that count")
    add("--out", default="varedit.json", help="where to write")
    given = parser.parse_args(argv)
    if given.rounds < 1:
        parser.error(f"--rounds must be 1 or more, got {given.rounds}")
    device = torch.device(given.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    found: dict[str, Any] = {"machine": describe(device), "rounds": given.rounds, "warm": WARM,
                             "models": []}
    for name in given.model.split(","):
        found["models"].append(run(name, device, dtype, given.rounds))
        replace_file(Path(given.out), (json.dumps(found, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
