"""The README's first picture: the same prompts and seeds drawn dense and accelerated.

    python -m benchmarks.front_picture --out docs/images/dense-and-fast.jpg [--pn 1M]

The words beside the rows are of these very pictures: the share of the work that their plan takes,
counted. A score or a speed-up needs more pictures, or a quiet machine. One seed for all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image

from toprovar import InfinityPipeline, bundled_model, get_schedule, make_plan
from toprovar.figures.sheet import SOFT, Sheet
from toprovar.sparsity.plan import SparsityPlan

SEED = 1
PROMPTS = ("a dog to the left of a car", "a frog above a mushroom",
           "a pink guitar and a yellow cap", "a green tree and a blue car")
SIDE, MARGIN, LEFT, GAP = 200.0, 12.0, 150.0, 6.0


def words(plan: SparsityPlan) -> list[tuple[str, list[str]]]:
    """Heading and lines of either row."""
    if plan.predicted is None:
        raise ValueError("the plan does not say what it costs")
    return [("Dense", ["all of the work"]),
            ("ToProVAR", [f"{plan.predicted.flop_share:.0%} of the work"])]


def draw(pn: str, budget: float) -> tuple[SparsityPlan, list[list[Image.Image]]]:
    """The plan, and the pictures of either row."""
    pipeline = InfinityPipeline.from_folder(bundled_model(), torch.float32)
    schedule = get_schedule("1.0", pn)
    plan = make_plan(pipeline, "toprovar", schedule, budget=budget)
    assert isinstance(plan, SparsityPlan)
    return plan, [[pipeline(prompt, seed=SEED, schedule=schedule, plan=given).images[0]
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
    options.add_argument("--pn", default="0.25M", help="pixel budget (default: 0.25M)")
    options.add_argument("--budget", type=float, default=0.28, help="share of the work")
    given = options.parse_args(argv)
    plan, pictures = draw(given.pn, given.budget)
    composed(pictures, words(plan)).save(given.out, quality=88)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
