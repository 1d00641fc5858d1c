"""Calibrate a model for a short time.

A calibration measures what a model can leave out. This script measures for some seconds on its own
prompts, saves what was found, and draws a new prompt by a plan that uses it. Writes the
calibration and the picture in full and by the plan. Prints what was measured, the work of the
plan, and how alike the pictures are (SSIM, 1 = equal).

The embedded model has a better calibration already. More seconds give a better one; take five
minutes for a large model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from toprovar import calibrate, load_pipeline, make_plan, picture_grid, ssim

PROMPTS = ["a red apple", "two blue birds", "a dog to the left of a car", "a cup above a key",
           "a yellow hat on a gray background", "a frog and a flower"]
PROMPT = "a rabbit and a balloon"


def main(out: Path, model: str | None, size: int | None, seconds: float) -> None:
    pipe = load_pipeline(model)
    pipe.set_progress_bar_config(disable=True)
    schedule = pipe.resolve_schedule(size, size)
    found = calibrate(pipe, PROMPTS, schedules=[schedule], minutes=seconds / 60,
                      shortcut_pictures=48)
    out.mkdir(parents=True, exist_ok=True)
    written = found.save(out / "calibration.json")
    print(f"{found.findings.seconds:.0f} s, {found.work.pictures} pictures: "
          f"{', '.join(str(path) for path in written)}")

    plan = make_plan(pipe, "toprovar", schedule, budget=0.4, calibration=out / "calibration.json")
    runs = [pipe(PROMPT, seed=1, schedule=schedule, plan=each) for each in (None, plan)]
    picture_grid([run.images[0] for run in runs], ["in full", "by the plan"]
                 ).save(out / "sheet.png")
    used = runs[1].report.used_plan
    assert used is not None and used.predicted is not None
    print(f"work: {used.predicted.flop_share:.0%} of a full run")
    print(f"SSIM: {float(ssim(runs[1].images, runs[0].images)):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out/calibrate_a_model"),
                        help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", metavar="DIR", help="folder of a converted model (default: the "
                        "one that comes with ToProVAR)")
    parser.add_argument("--size", metavar="PIXELS", type=int,
                        help="side of the pictures (default: the model's own)")
    parser.add_argument("--seconds", type=float, default=120,
                        help="to measure for (default: %(default)s)")
    main(**vars(parser.parse_args()))
