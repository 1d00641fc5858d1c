"""The README's first picture: the same prompts and seeds drawn dense and accelerated.

    python -m benchmarks.front_picture --out docs/images/dense-and-fast.jpg

The words beside the rows are read from ``benchmarks/results/quality-h100.json``: share of the work,
score of the same pictures either way, and the speed-up measured on a CPU. One seed for all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.claims import ROOT
from toprovar import InfinityPipeline, bundled_model, get_schedule, make_plan
from toprovar.figures.sheet import SOFT, Sheet

RESULT = ROOT / "benchmarks" / "results" / "quality-h100.json"
PN, ROW, BUDGET = "0.25M", "toprovar @ 0.28", 0.28
SEED = 1
PROMPTS = ("a dog to the left of a car", "a frog above a mushroom",
           "a pink guitar and a yellow cap", "a green tree and a blue car")
SIDE, MARGIN, LEFT, GAP = 200.0, 12.0, 150.0, 6.0


def words(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Heading and lines of either row."""
    rows = found["sizes"][PN]
    fast = rows[ROW]
    dense = fast["score"] - fast["to_dense"]  # of the pictures that the fast row was tried on
    speed = found["times"][PN][ROW]
    return [
        ("Dense", ["all of the work", f"score {dense:.1%}"]),
        ("ToProVAR", [f"{fast['flops']:.0%} of the work", f"score {fast['score']:.1%}",
                      f"{speed:.1f} times as fast"]),
    ]


def draw() -> list[list[Image.Image]]:
    """Pictures of either row, at 512 x 512."""
    pipeline = InfinityPipeline.from_folder(bundled_model(), torch.float32)
    schedule = get_schedule("1.0", PN)
    plan = make_plan(pipeline, "toprovar", schedule, budget=BUDGET)
    return [[pipeline(prompt, seed=SEED, schedule=schedule, plan=given).images[0]
             for prompt in PROMPTS] for given in (None, plan)]


def composed(rows: list[list[Image.Image]], said: list[tuple[str, list[str]]]) -> Image.Image:
    width = LEFT + len(PROMPTS) * (SIDE + GAP) + MARGIN - GAP
    sheet = Sheet(width, 2 * (SIDE + GAP) + MARGIN + 26, scale=1.5)
    for r, (pictures, (heading, lines)) in enumerate(zip(rows, said, strict=True)):
        top = MARGIN + r * (SIDE + GAP)
        sheet.text(MARGIN, top + SIDE / 2 - 34, heading, size=19, bold=True)
        for n, line in enumerate(lines):
            sheet.text(MARGIN, top + SIDE / 2 - 6 + 19 * n, line, size=13)
        for c, picture in enumerate(pictures):
            sheet.picture(picture, LEFT + c * (SIDE + GAP), top, SIDE, SIDE, smooth=True)
    for c, prompt in enumerate(PROMPTS):
        sheet.text(LEFT + c * (SIDE + GAP) + SIDE / 2, 2 * (SIDE + GAP) + MARGIN + 2, prompt,
                   size=11, colour=SOFT, anchor="ma")
    return sheet.finish()


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args(argv)
    said = words(json.loads(RESULT.read_text(encoding="utf-8")))
    composed(draw(), said).save(given.out, quality=88)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
