"""Compare ways of being faster on one sheet.

Draws one prompt and seed in full and with several strategies, each told to do at most 40 % of the
work. Writes the pictures on one sheet. Prints a table: the share of the work, the time of the
scales, and how alike the picture is to the full one (SSIM, 1 = equal).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from toprovar import load_pipeline, make_plan, picture_grid, ssim

PROMPT = "a red strawberry to the right of a brown key on a green background"
STRATEGIES = ("dense", "toprovar", "fastvar", "skipvar", "fastervar", "ldpruning")


def main(out: Path, model: str | None, size: int | None) -> None:
    pipe = load_pipeline(model)
    pipe.set_progress_bar_config(disable=True)
    schedule = pipe.resolve_schedule(size, size)
    pictures, captions = [], []
    print(f"{'strategy':12}{'work':>6}{'time':>9}{'SSIM':>8}")
    for name in STRATEGIES:
        plan = make_plan(pipe, name, schedule, budget=None if name == "dense" else 0.4)
        result = pipe(PROMPT, seed=5, schedule=schedule, plan=plan)
        pictures += result.images
        used = result.report.used_plan  # a strategy may also decide inside the run
        assert used is not None and used.predicted is not None
        work = used.predicted.flop_share
        alike = float(ssim(pictures[-1], pictures[0]))
        captions.append(f"{name}: work {work:.0%}, SSIM {alike:.3f}")
        print(f"{name:12}{work:6.0%}{result.report.seconds['scales']:7.2f} s{alike:8.3f}")
    out.mkdir(parents=True, exist_ok=True)
    picture_grid(pictures, captions, side=384).save(out / "strategies.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out/compare_strategies"),
                        help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", metavar="DIR", help="folder of a converted model (default: the "
                        "one that comes with ToProVAR)")
    parser.add_argument("--size", metavar="PIXELS", type=int,
                        help="side of the pictures (default: the model's own)")
    main(**vars(parser.parse_args()))
