"""What the states of the family's prior cost on models at hand, and the prior made of it.

    python -m benchmarks.prior measure --model NAME=FOLDER --out parts/     # for each model, or
    python -m benchmarks.prior measure --out parts/                          # the embedded one
    python -m benchmarks.prior write parts/*.json

``measure`` draws the same pictures under every state (scales at the end without guidance, scales
at the end that are not run) and holds them against dense ones; ``write`` averages over models and
makes ``toprovar/data/prior.json``. A calibration is not looked at.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.quality import jobs, load
from toprovar.analysis.choices import choice_plan
from toprovar.devices import choose_device
from toprovar.evaluation.metrics import likeness, ssim
from toprovar.files import DATA, replace_file
from toprovar.pipeline import InfinityPipeline
from toprovar.sampling.params import EngineOptions
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.prior import LEAST_GUIDED, Prior

MOST_UNGUIDED, MOST_SKIPPED = 8, 4
UNGUIDED = 3
"""Scales at the end that run without guidance by default: SkipVAR's mildest policy."""
BATCH = 48
ABOUT = (
    "An assumption, not a measurement, of Infinity models that nobody has calibrated. Counts are "
    "from the end of the schedule. That late scales need no guidance, and that the last ones may "
    "be left out, is published for Infinity (SkipVAR, FastVAR); likeness and SSIM to dense are "
    "means over the small models named in 'models', by benchmarks.prior."
)


def states(scales: int) -> list[tuple[int, int]]:
    """(unguided, skipped) that a schedule of so many scales has."""
    return [(u, k) for u in range(min(MOST_UNGUIDED, scales - LEAST_GUIDED) + 1)
            for k in range(min(MOST_SKIPPED, u) + 1) if u or not k]


def draw(pipeline: InfinityPipeline, pn: str, texts: list[str], seeds: list[int],
         plan: SparsityPlan | None) -> Tensor:
    """[P, 3, H, W] in [0, 1]."""
    found = []
    for at in range(0, len(texts), BATCH):
        done = pipeline(texts[at : at + BATCH], seed=seeds[at : at + BATCH], plan=plan,
                        schedule=get_schedule("1.0", pn), output_type="latent",
                        options=EngineOptions(graphs=False))
        with torch.inference_mode():
            found += [pipeline.vae.decode(c) for c in done.images.split(16)]
    return ((torch.cat(found) + 1) / 2).clamp(0, 1).clone()


def measure(name: str, folder: str | None, pns: list[str], pictures: int, device: torch.device
            ) -> dict[str, Any]:
    """Likeness and SSIM of every state of one model."""
    pipeline = load(device, folder)
    todo = [(spec.text, 50_000 + i) for i, (spec, _) in enumerate(jobs(-(-pictures // 6), 1))]
    texts, seeds = [text for text, _ in todo[:pictures]], [seed for _, seed in todo[:pictures]]
    found: dict[str, Any] = {"model": name, "pictures": pictures, "sizes": {},
                             "machine": describe(device), "date": time.strftime("%Y-%m-%d")}
    shape = pipeline.transformer.shape
    found["shape"] = f"{shape.depth} layers of width {shape.width}"
    for pn in pns:
        schedule = get_schedule("1.0", pn)
        dense = draw(pipeline, pn, texts, seeds, None)
        rows = []
        for unguided, skipped in states(len(schedule)):
            count = len(schedule)
            plan = choice_plan(shape, schedule, count - unguided,
                               tuple(range(count - skipped, count)))
            own = draw(pipeline, pn, texts, seeds, plan)
            rows.append({"unguided": unguided, "skipped": skipped,
                         "likeness": float(likeness(own, dense).mean()),
                         "ssim": float(ssim(own, dense).mean())})
            print(name, pn, rows[-1], flush=True)
        found["sizes"][pn] = rows
    return found


def made(parts: list[dict[str, Any]], stays: dict[str, float]) -> Prior:
    """The prior of what was measured.

    Args:
        stays: pixel budget -> share of the last scale's tokens that stay by default.
    """
    sizes = []
    for pn, stay in sorted(stays.items()):
        known: dict[tuple[int, int], list[dict[str, float]]] = defaultdict(list)
        for row in (row for part in parts for row in part["sizes"][pn]):
            known[row["unguided"], row["skipped"]].append(row)
        states = [{"unguided": u, "skipped": k, **{
            key: round(fmean(row[key] for row in rows), 4) for key in ("likeness", "ssim")}}
            for (u, k), rows in sorted(known.items())]
        sizes.append({"scales": len(get_schedule("1.0", pn)), "unguided": UNGUIDED, "stay": stay,
                      "states": states})
    return Prior.model_validate({
        "name": "the Infinity family", "about": ABOUT, "guide": (0.25, 0.75), "guides": 4,
        "sizes": sizes,
        "models": [f"{part['model']} ({part['shape']}, {', '.join(part['sizes'])})"
                   for part in parts],
        "provenance": {"command": "python -m benchmarks.prior",
                       "pictures": [part["pictures"] for part in parts],
                       "date": max(part["date"] for part in parts)},
    })


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure")
    one.add_argument("--model", metavar="NAME=FOLDER", help="default: the embedded model")
    one.add_argument("--pn", default="0.06M,0.25M")
    one.add_argument("--pictures", type=int, default=96)
    one.add_argument("--device", default="auto")
    one.add_argument("--out", type=Path, required=True)
    two = commands.add_parser("write")
    two.add_argument("parts", type=Path, nargs="+")
    two.add_argument("--stay", default="0.06M=0.7,0.25M=0.35", metavar="LIST",
                     help="of the last scale's tokens, where no budget is given")
    two.add_argument("--file", type=Path, default=DATA / "prior.json")
    given = parser.parse_args()
    if given.command == "measure":
        name, _, folder = (given.model or "infinity-emoji").partition("=")
        found = measure(name, folder or None, given.pn.split(","), given.pictures,
                        choose_device(given.device))
        given.out.mkdir(parents=True, exist_ok=True)
        replace_file(given.out / f"{name}.json", (json.dumps(found, indent=1) + "\n").encode())
        return 0
    prior = made([json.loads(p.read_text(encoding="utf-8")) for p in given.parts],
                 {pn: float(share) for pn, _, share in
                  (item.partition("=") for item in given.stay.split(","))})
    replace_file(given.file, (prior.model_dump_json(indent=1) + "\n").encode())
    print(given.file)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
