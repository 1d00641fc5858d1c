"""Write a plan by hand.

Begins with the plan of a full run and changes it: no guidance in the last three scales, and half
of the last scale's tokens, chosen by the entropy of attention, leave it. Saves the plan as JSON,
reads it back and runs it. Writes the plan, the plan as a picture, and the picture drawn in full
and by the plan. Prints the work that is left and how alike the pictures are (SSIM, 1 = equal).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from toprovar import (
    ScalePlan,
    dense_plan,
    load_pipeline,
    load_plan,
    picture_grid,
    plan_picture,
    save_plan,
    ssim,
)

PROMPT = "a blue bird above a yellow house"


def main(out: Path, model: str | None, size: int | None) -> None:
    pipe = load_pipeline(model)
    schedule = pipe.resolve_schedule(size, size)
    depth = pipe.transformer.shape.depth

    full = dense_plan(pipe.transformer.shape, schedule)
    scales = list(full.scales)
    for s in range(len(scales) - 3, len(scales)):
        scales[s] = scales[s].model_copy(update={"unconditional": False})
    last = scales[-1]
    scales[-1] = ScalePlan(grid=last.grid, keep=(last.tokens // 2,) * depth, rule="entropy",
                           dropped="exit", unconditional=False)
    plan = full.model_copy(update={"strategy": "by hand", "scales": tuple(scales)})

    out.mkdir(parents=True, exist_ok=True)
    save_plan(plan, out / "plan.json")
    plan = load_plan(out / "plan.json")  # checks it, too
    plan_picture(plan).save(out / "plan.png")
    runs = [pipe(PROMPT, seed=6, schedule=schedule, plan=each) for each in (full, plan)]
    picture_grid([run.images[0] for run in runs], ["in full", "by hand"]).save(out / "sheet.png")
    work = runs[1].report.token_layers / runs[1].report.dense_token_layers
    print(f"work: {work:.0%} of a full run")
    print(f"SSIM: {float(ssim(runs[1].images, runs[0].images)):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out/plan_by_hand"),
                        help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", metavar="DIR", help="folder of a converted model (default: the "
                        "one that comes with ToProVAR)")
    parser.add_argument("--size", metavar="PIXELS", type=int,
                        help="side of the pictures (default: the model's own)")
    main(**vars(parser.parse_args()))
