"""The guide's sheet of samples: ``python -m training.samples --out docs/images/samples.jpg``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

from training.journal import save_sheet

PROMPTS = (
    "a red apple",
    "a yellow cat on a pink background",
    "three penguins",
    "a blue car on a gray background",
    "four stars on a black background",
    "a dog to the left of a car",
    "a heart above a fish",
    "a purple bell and an orange pumpkin",
    "a white rabbit on a black background",
    "a frog on a yellow background",
    "a green key to the right of a blue umbrella",
    "a guitar",
)
_SIDE = 256
_COLUMNS = 6


def main(argv: list[str] | None = None) -> int:
    from toprovar.bundled import bundled_model
    from toprovar.pipeline import InfinityPipeline
    from toprovar.schedules import get_schedule

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, help="pipeline folder (default: the embedded model)")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--pn", help="pixel budget, such as 1M (default: the model's)")
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args(argv)
    pipeline = InfinityPipeline.from_folder(given.model or bundled_model(), torch.float32)
    schedule = get_schedule("1.0", given.pn) if given.pn else None
    drawn = [pipeline(text, seed=given.seed, schedule=schedule, output_type="pt").images[0]
             for text in PROMPTS]
    # Smaller, so that the sheet stays small.
    images = F.interpolate(torch.stack(drawn).float(), (_SIDE, _SIDE), mode="area")
    save_sheet(given.out, images.clamp(0, 1) * 2 - 1, _COLUMNS, PROMPTS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
