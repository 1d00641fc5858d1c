"""Pictures by the thousand in one process: memory stays flat, and what repeats is bit-equal.

    python -m tests.fuzz.soak --pictures 1000 --json FILE

The embedded model on the CPU draws a mixed list of jobs over and over, in an order of its own each
time: two sizes, plans, batches, calls that are refused, that are interrupted and that a callback
breaks off. The exit status is 1 if a picture differs from the one drawn before, or the resident
memory at the end is more than 2 % above what it was after the warm-up.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import psutil
import torch

from benchmarks.machine import describe
from toprovar import InfinityPipeline, bundled_model, get_schedule, make_plan
from toprovar.sparsity.planner import Planner

MOST_GROWTH = 0.02
ROUNDS_OF_WARM_UP = 2
SMALL, LARGE = get_schedule("1.0", "0.06M"), get_schedule("1.0", "0.25M")


class StoppedError(Exception):
    """What a caller's own callback raises."""


@dataclass(frozen=True)
class Job:
    """One call.

    Attributes:
        pictures: that it finishes.
        draw: the pictures' bits, or what was raised.
    """

    name: str
    pictures: int
    draw: Callable[[], bytes]


def make_jobs(pipeline: Any) -> list[Job]:
    """Small ones are three times as many as large ones."""
    jobs = []

    def add(name: str, pictures: int = 1, prompt: Any = "a red apple", **how: Any) -> None:
        jobs.append(Job(name, pictures, lambda: bits(pipeline, prompt, **how)))

    plans: dict[str, Planner] = {
        name: make_plan(pipeline, name, SMALL, **how) for name, how in (
            ("fastvar", {}), ("toprovar", {"budget": 0.5, "planned": "run"}), ("skipvar", {}))}
    add("256", schedule=SMALL, seed=1)
    add("256, another seed", schedule=SMALL, seed=2)
    add("256, no guidance", schedule=SMALL, seed=1, guidance_scale=1.0)
    add("256, batch of 3", 3, ["a red apple", "two blue cars", "a dog"], schedule=SMALL, seed=5)
    add("256, decoded in tiles", schedule=SMALL, seed=1, vae_tile=8)
    for name, plan in plans.items():
        add(f"256, {name}", schedule=SMALL, seed=3, plan=plan)
    add("512", schedule=LARGE, seed=1)
    add("512, fastvar", schedule=LARGE, seed=1, plan=make_plan(pipeline, "fastvar", LARGE))
    add("refused", 0, schedule=SMALL, seed=1, tau=-1.0)
    add("another size's plan", 0, schedule=LARGE, seed=1, plan=plans["fastvar"])

    def interrupt(pipe: Any, scale: int, *_: Any) -> None:
        pipe.interrupt = scale == 4

    def fail(pipe: Any, scale: int, *_: Any) -> None:
        if scale == 3:
            raise StoppedError("the caller's own")

    add("interrupted", schedule=SMALL, seed=1, callback_on_step_end=interrupt)
    add("broken off", 0, schedule=SMALL, seed=1, callback_on_step_end=fail)
    return jobs


def bits(pipeline: Any, prompt: Any, **how: Any) -> bytes:
    """The pictures of a call, or its error, as bytes that repeat exactly."""
    try:
        images = pipeline(prompt, output_type="pt", **how).images
    except (ValueError, StoppedError) as error:
        return f"{type(error).__name__}: {error}".encode()
    return images.numpy().tobytes()


def soak(pictures: int, seed: int = 0, on_round: Callable[[dict[str, Any]], object] | None = None
         ) -> dict[str, Any]:
    """Draw at least so many pictures; what was found, as JSON."""
    pipeline = InfinityPipeline.from_folder(bundled_model(), torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    jobs, rng, process = make_jobs(pipeline), Random(seed), psutil.Process()
    first: dict[str, str] = {}
    unequal: list[dict[str, Any]] = []
    memory: list[int] = []
    drawn, round_, begin = 0, 0, time.perf_counter()
    while drawn < pictures or round_ < ROUNDS_OF_WARM_UP + 2:
        for job in rng.sample(jobs, len(jobs)):
            found = hashlib.sha256(job.draw()).hexdigest()
            if found != first.setdefault(job.name, found):
                unequal.append({"job": job.name, "round": round_})
            drawn += job.pictures
        gc.collect()
        memory.append(process.memory_info().rss)
        round_ += 1
        if on_round is not None:
            on_round({"round": round_, "pictures": drawn, "bytes": memory[-1],
                      "unequal": len(unequal)})
    warm = memory[ROUNDS_OF_WARM_UP:]
    part = max(1, len(warm) // 4)
    growth = median(warm[-part:]) / median(warm[:part]) - 1
    return {
        "machine": describe(torch.device("cpu")), "pictures": drawn, "rounds": round_,
        "jobs": [job.name for job in jobs], "seconds": round(time.perf_counter() - begin, 1),
        "bytes": memory, "warm_up_rounds": ROUNDS_OF_WARM_UP, "growth": round(growth, 4),
        "unequal": unequal, "passed": not unequal and growth <= MOST_GROWTH,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.soak")
    parser.add_argument("--pictures", type=int, default=1000, help="at least (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the order (default 0)")
    parser.add_argument("--json", metavar="FILE", help="write the result")
    arguments = parser.parse_args(argv)
    found = soak(arguments.pictures, arguments.seed, lambda now: print(
        f"round {now['round']}: {now['pictures']} pictures, {now['bytes'] / 2**20:.0f} MiB, "
        f"{now['unequal']} unequal", flush=True))
    print(f"{found['pictures']} pictures in {found['seconds']:.0f} s: memory after the warm-up "
          f"{found['growth']:+.1%}, {len(found['unequal'])} pictures unlike those before: "
          f"{'passed' if found['passed'] else 'FAILED'}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
