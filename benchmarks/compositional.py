"""Compositional score of the embedded model (or another of its vocabulary), by the shipped judge.

    python -m benchmarks.compositional [--pn 0.06M] [--per-task 100] [--split seen] [--json FILE]

Prompt i of a task is drawn with seed 1000 + i. The judge was trained on composed scenes only,
never on a generator's pictures; its own figures are in docs/research/judge.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.machine import describe
from toprovar.bundled import bundled_model
from toprovar.devices import choose_device
from toprovar.evaluation.compositional import TASKS, Judge, bundled_prompts
from toprovar.files import replace_file
from toprovar.pipeline import InfinityPipeline
from toprovar.schedules import get_schedule

BATCH = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="pipeline folder (default: the embedded model)")
    parser.add_argument("--pn", default="0.06M")
    parser.add_argument("--split", default="seen")
    parser.add_argument("--per-task", type=int, default=100)
    parser.add_argument("--cfg", type=float)
    parser.add_argument("--tau", type=float)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    device = choose_device(given.device)
    pipeline = InfinityPipeline.from_folder(given.model or bundled_model(), torch.float32)
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    judge, schedule = Judge.load(device=device), get_schedule("1.0", given.pn)
    prompts, images, seconds = [], [], 0.0
    for task in TASKS:
        wanted = bundled_prompts(given.split, task)[: given.per_task]
        for start in tqdm(range(0, len(wanted), BATCH), desc=task, leave=False):
            batch = wanted[start : start + BATCH]
            began = time.perf_counter()
            result = pipeline(
                [p.text for p in batch], guidance_scale=given.cfg, tau=given.tau,
                seed=[1000 + start + i for i in range(len(batch))], schedule=schedule,
                output_type="pt",
            )
            seconds += time.perf_counter() - began
            prompts += batch
            images += list(result.images.cpu())
    report = judge.score(torch.stack(images).clamp(0, 1), prompts).to_json()
    report |= {
        "command": " ".join(["python -m benchmarks.compositional", *sys.argv[1:]]),
        "machine": describe(device), "pn": given.pn, "split": given.split,
        "seconds_per_image": seconds / len(images),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if given.json:
        replace_file(given.json, (text + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
