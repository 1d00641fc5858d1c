"""Edits judged: one object replaced, recoloured or added, and the rest of the scene kept.

    python -m benchmarks.editing --folder out/editing --count 240 [--pn 0.25M] [--device cuda]
    python -m benchmarks.editing --folder out/editing --only-report

Sources are scenes that the embedded model draws and the judge reads as asked; the mask is the box
of the object that changes. Every row edits the same sources: with a mask at full and accelerated
speed, by words alone, and drawn anew with the source's seed, which is what can be done without
edits. Each case is written when done, so that what was interrupted goes on. Sheets of the pictures
lie beside the figures.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.editing_cases import (
    KINDS,
    Case,
    box_mask,
    make_case,
    moved,
    scored,
    shows,
    usable,
)
from benchmarks.machine import describe
from benchmarks.quality import load
from toprovar.devices import choose_device
from toprovar.editing.edit import Region
from toprovar.editing.outpaint import place
from toprovar.evaluation.compositional import Detection, Judge
from toprovar.files import replace_file
from toprovar.pipeline import InfinityPipeline
from toprovar.planning import make_plan
from toprovar.schedules import get_schedule

MOST_TRIED = 6
"""Cases made for each one that is asked for: not every source shows what it should."""


class Bench:
    """Sources and rows of edits on one model at one size."""

    def __init__(self, pipeline: InfinityPipeline, judge: Judge, pn: str, plan: str) -> None:
        self.pipeline, self.judge = pipeline, judge
        self.schedule = get_schedule("1.0", pn)
        self.accelerated = make_plan(pipeline, plan, self.schedule)
        self.size = self.schedule.image_size[0]

    def draw(self, prompt: str, **call: Any) -> Tensor:
        return self.pipeline(prompt, schedule=self.schedule, output_type="pt", **call).images

    def source(self, case: Case) -> tuple[Tensor, Tensor, list[Detection], Any] | None:
        """A source [1, 3, H, W] in the result's frame, its mask, what is on it, and where the
        wanted object should be; None where it does not show what it should."""
        picture = self.draw(case.source, seed=case.seed)
        found = self.judge.detect(picture)[0]
        if not usable(case, found):
            return None
        if case.changed is not None:
            box = shows(found, case.changed)[0].box
            pad = 0.05
            return picture, box_mask(box, self.size), found, (
                box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad)
        size, half = self.size, self.size // 2
        room = {"left": (size, 0, half, half), "right": (0, size, half, half),
                "above": (half, half, size, 0), "below": (half, half, 0, size)}[case.side]
        placed = place(picture, room, None, None, self.schedule, self.schedule.pn)
        box = placed.box
        frame = (box.left / size, box.top / size, box.width / size, box.height / size)
        there = [Detection(d.cls, d.colour, d.score, moved(d.box, frame)) for d in found]
        return placed.canvas, placed.mask, there, None

    def rows(self, parameters: dict[str, Any]) -> dict[str, Callable[..., Tensor]]:
        """By name: (case, source, mask) -> the edited picture."""
        def masked(case: Case, source: Tensor, mask: Tensor, plan: Any = None, **more: Any
                   ) -> Tensor:
            return self.draw(case.target, image=source, mask_image=mask, blend=16,
                             seed=case.seed + 1, plan=plan, **(parameters | more))

        return {
            "mask": masked,
            "mask, accelerated": lambda *a: masked(*a, plan=self.accelerated),
            "mask, all tokens": lambda *a: masked(*a, region=Region(whole_until=999)),
            "mask, away": lambda case, *a: self.pipeline.edit(
                a[0], case.source, case.target, mask_image=a[1], seed=case.seed + 1,
                schedule=self.schedule, output_type="pt", **parameters).images,
            "words": lambda case, source, mask: self.pipeline.edit(
                source, case.source, case.target, seed=case.seed + 1, schedule=self.schedule,
                output_type="pt", **parameters).images,
            "redrawn": lambda case, source, mask: self.draw(case.target, seed=case.seed),
        }


def wilson(passed: int, count: int) -> tuple[float, float]:
    """95 % interval of a share."""
    if not count:
        return 0.0, 1.0
    z, share = 1.96, passed / count
    middle, below = share + z * z / (2 * count), 1 + z * z / count
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - spread) / below, (middle + spread) / below


def work(arguments: argparse.Namespace) -> None:
    """Every case that is not done."""
    device = choose_device(arguments.device)
    torch.set_num_threads(arguments.threads)
    bench = Bench(load(device), Judge.load(device=device), arguments.pn, arguments.plan)
    region = Region(arguments.covered, arguments.margin, arguments.whole_until)
    rows = bench.rows({"region": region})
    for kind in arguments.kinds:
        done = 0
        for number in range(arguments.first, arguments.first + arguments.count * MOST_TRIED):
            if done >= arguments.count:
                break
            path = arguments.folder / f"{kind}-{number:04}.json"
            known = json.loads(path.read_text()) if path.exists() else {"rows": {}}
            case = make_case(kind, number)
            todo = [r for r in arguments.rows if r not in known["rows"]]
            if known.get("usable") is False:
                continue
            done += 1
            if not todo:
                continue
            made = bench.source(case)
            if made is None:
                done -= 1
                replace_file(path, json.dumps({"usable": False, "rows": {}}).encode())
                continue
            source, mask, before, where = made
            pictures = [source]
            for name in todo:
                began = time.perf_counter()
                picture = rows[name](case, source, mask)
                seconds = time.perf_counter() - began
                kept_place = None if name in ("redrawn", "words") else where
                known["rows"][name] = scored(bench.judge, case, before, picture, kept_place) | {
                    "seconds": round(seconds, 3)}
                pictures.append(picture)
            known |= {"usable": True, "source": case.source, "target": case.target,
                      "share": round(float(mask.mean()), 4)}
            replace_file(path, json.dumps(known).encode())
            _save_strip(arguments.folder / f"{kind}-{number:04}.png", pictures)


def _save_strip(path: Path, pictures: list[Tensor]) -> None:
    import io

    from PIL import Image

    strip = torch.cat([torch.nn.functional.interpolate(p.cpu(), (256, 256), mode="area")
                       for p in pictures], dim=3)[0]
    buffer = io.BytesIO()
    Image.fromarray((strip * 255).byte().permute(1, 2, 0).numpy()).save(buffer, "PNG")
    replace_file(path, buffer.getvalue())


def report(folder: Path) -> dict[str, Any]:
    """Shares of every row with their intervals, written and printed."""
    table: dict[str, Any] = {}
    for kind in KINDS:
        parts = [json.loads(p.read_text()) for p in sorted(folder.glob(f"{kind}-*.json"))]
        good = [p for p in parts if p.get("usable")]
        for name in dict.fromkeys(row for p in good for row in p["rows"]):
            own = [p["rows"][name] for p in good if name in p["rows"]]
            entry: dict[str, Any] = {"edits": len(own)}
            for what in ("found", "kept", "both", "clean"):
                passed = sum(row[what] for row in own)
                low, high = wilson(passed, len(own))
                entry[what] = {"share": round(passed / len(own), 4), "low": round(low, 4),
                               "high": round(high, 4)}
            seconds = sorted(row["seconds"] for row in own)
            entry["median_seconds"] = seconds[len(seconds) // 2]
            table.setdefault(kind, {})[name] = entry
            line = "  ".join(f"{what} {entry[what]['share']:.3f}" for what in
                             ("found", "kept", "both", "clean"))
            sys.stdout.write(f"{kind:9} {name:20} {len(own):4}  {line}  "
                             f"{entry['median_seconds']:.2f} s\n")
    about_path = folder / "about.json"
    about = json.loads(about_path.read_text()) if about_path.exists() else {}
    replace_file(folder / "editing.json",
                 (json.dumps({**about, "edits": table}, indent=1) + "\n").encode())
    return table


def arguments_of(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--folder", type=Path, required=True)
    add("--count", type=int, default=240, help="edits of each kind (default: 240)")
    add("--first", type=int, default=0, help="number of the first case (default: 0)")
    add("--pn", default="0.25M")
    add("--plan", default="toprovar", help="strategy of the accelerated row (default: toprovar)")
    add("--kinds", type=lambda text: tuple(text.split(",")), default=KINDS)
    add("--rows", type=lambda text: tuple(text.split(";")),
        default=("mask", "mask, accelerated", "mask, away", "words", "redrawn"),
        help="separated by ';'")
    usual = Region()
    add("--covered", type=float, default=usual.covered)
    add("--margin", type=int, default=usual.margin)
    add("--whole-until", type=int, default=usual.whole_until)
    add("--device", default="auto")
    add("--threads", type=int, default=2)
    add("--only-report", action="store_true")
    given = parser.parse_args(argv)
    given.folder.mkdir(parents=True, exist_ok=True)
    return given


def main() -> int:
    arguments = arguments_of(sys.argv[1:])
    if not arguments.only_report:
        work(arguments)
        about = {"command": "python -m benchmarks.editing " + " ".join(sys.argv[1:]),
                 "machine": describe(choose_device(arguments.device)), "pn": arguments.pn}
        replace_file(arguments.folder / "about.json", json.dumps(about, indent=1).encode())
    report(arguments.folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
