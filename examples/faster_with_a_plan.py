"""Draw the same picture with about a third of the work.

A plan says what a run leaves out. This script draws a picture in full and with a plan, and
compares the two. Writes both pictures, the plan as a picture, and the report of the planned run
as JSON. Prints the share of the work that was done, the time against the full run, and how alike
the pictures are (SSIM, 1 = equal).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from toprovar import load_pipeline, make_plan, plan_picture, ssim

PROMPT = "a dog to the left of a car"


def main(out: Path, model: str | None, size: int | None) -> None:
    pipe = load_pipeline(model)
    schedule = pipe.resolve_schedule(size, size)
    plan = make_plan(pipe, "toprovar", schedule, budget=0.33)  # of the work of a full run

    for _ in range(2):  # the first round also sets up what later ones reuse: time the second
        full = pipe(PROMPT, seed=3, schedule=schedule)
        fast = pipe(PROMPT, seed=3, schedule=schedule, plan=plan)

    out.mkdir(parents=True, exist_ok=True)
    full.images[0].save(out / "full.png")
    fast.images[0].save(out / "fast.png")
    (out / "report.json").write_text(json.dumps(fast.report.to_json(), indent=1), "utf-8")
    used = fast.report.used_plan
    assert used is not None and used.predicted is not None
    plan_picture(used).save(out / "plan.png")

    times = [run.report.seconds["scales"] for run in (full, fast)]
    print(f"work: {used.predicted.flop_share:.0%} of a full run")
    print(f"time: {times[1]:.2f} s, a full run {times[0]:.2f} s ({times[0] / times[1]:.2f} x)")
    print(f"SSIM: {float(ssim(fast.images, full.images)):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out/faster_with_a_plan"),
                        help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", metavar="DIR", help="folder of a converted model (default: the "
                        "one that comes with ToProVAR)")
    parser.add_argument("--size", metavar="PIXELS", type=int,
                        help="side of the pictures (default: the model's own)")
    main(**vars(parser.parse_args()))
