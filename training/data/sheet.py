"""Contact sheets: scenes drawn side by side with their captions, to be judged by eye.

``python -m training.data.sheet --atlas FILE --out FILE [--split heldout] [--seed N]``
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor

from training.data.atlas import SpriteAtlas
from training.data.captions import captions
from training.data.compose import compose
from training.data.files import replacing
from training.data.scene_batch import TASKS
from training.data.scenes import SPLITS, sample_scenes

_LINES = 3
_LINE = 12


def contact_sheet(pictures: Tensor, labels: list[str], columns: int, cell: int) -> Image.Image:
    """Pictures uint8 [B, 3, H, W] in a grid, ``cell`` pixels wide, each above its label."""
    if len(pictures) != len(labels):
        raise ValueError(f"{len(pictures)} pictures but {len(labels)} labels")
    rows = -(-len(labels) // columns)
    high = cell + _LINES * _LINE + 4
    sheet = Image.new("RGB", (columns * cell, rows * high), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left, top = place % columns * cell, place // columns * high
        image = Image.fromarray(picture.permute(1, 2, 0).cpu().numpy())
        sheet.paste(image.resize((cell - 2, cell), Image.Resampling.LANCZOS), (left, top))
        lines = textwrap.wrap(label, max(8, cell // 6))[:_LINES]
        for number, line in enumerate(lines):
            pen.text((left + 2, top + cell + 1 + number * _LINE), line, fill="black")
    return sheet


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draw a contact sheet of captioned scenes.")
    parser.add_argument("--atlas", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="picture file to write")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--task", choices=TASKS, help="only this task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="side of the drawn pictures")
    parser.add_argument("--cell", type=int, default=168, help="side they are shown at")
    given = parser.parse_args(argv)
    tasks = {given.task: 1.0} if given.task else None
    batch = sample_scenes(given.count, given.seed, given.split, tasks)
    pictures = compose(batch, SpriteAtlas.load(given.atlas), given.size)
    sheet = contact_sheet(pictures, captions(batch), given.columns, given.cell)
    with replacing(given.out) as temporary:
        sheet.save(temporary)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
