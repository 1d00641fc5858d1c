"""A few pictures of the prompt set as small JPEG files, for tests that have no atlas.

``python -m training.judge.examples --out DIR`` writes them with their ``prompts.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image

from toprovar.evaluation.compositional.prompts import write_prompts
from training.command import ATLAS
from training.data.atlas import SpriteAtlas
from training.judge.pictures import composed
from training.judge.prompt_set import prompt_set

_QUALITY = 85


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write example pictures with their prompts.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--atlas", type=Path, default=ATLAS)
    parser.add_argument("--every", type=int, default=25, help="use every n-th prompt")
    given = parser.parse_args(argv)
    scenes, prompts = prompt_set()
    rows = torch.arange(0, len(prompts), given.every)
    pictures = composed(scenes[rows], SpriteAtlas.load(given.atlas)).images
    given.out.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate((pictures * 255).round().to(torch.uint8)):
        image = Image.fromarray(picture.permute(1, 2, 0).numpy())
        image.save(given.out / f"{number:03d}.jpg", quality=_QUALITY, optimize=True)
    write_prompts(given.out / "prompts.json", [prompts[int(row)] for row in rows])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
