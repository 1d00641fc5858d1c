"""Writes the pictures: ``python -m benchmarks.how_it_works [--out FOLDER] [NAME ...]``."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from toprovar.files import replace_file

from . import attention, growth, leaving_out, likeness
from .drawing import Studio

FIGURES: dict[str, Callable[[Studio], Image.Image]] = {
    "scales": growth.scales,
    "step": growth.step,
    "tokens": growth.tokens,
    "entropy": attention.entropy,
    "dropped": leaving_out.dropped,
    "shortcuts": leaving_out.shortcuts,
    "guidance": leaving_out.guidance,
    "plan": leaving_out.plan,
    "calibration": leaving_out.calibration,
    "misleading": likeness.misleading,
}
PALETTE = {"tokens", "plan", "calibration"}
"""Those that show no picture of the model: PNG in a few colours. The others are JPEG."""
COLOURS = 64


def encoded(name: str, image: Image.Image) -> tuple[str, bytes]:
    """A file's name and its contents."""
    buffer = io.BytesIO()
    if name not in PALETTE:
        image.save(buffer, "JPEG", quality=72, subsampling=2, optimize=True)
        return f"how-{name}.jpg", buffer.getvalue()
    image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
                   ).save(buffer, "PNG", optimize=True)
    return f"how-{name}.png", buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FIGURES)}; "
                        "default: all")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(FIGURES)):
        parser.error(f"there is no picture {unknown[0]!r}: choose from {', '.join(FIGURES)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    studio = Studio()
    for name in arguments.names or FIGURES:
        file, content = encoded(name, FIGURES[name](studio))
        replace_file(arguments.out / file, content)
        print(f"{arguments.out / file}: {len(content) / 1000:.0f} KB")


if __name__ == "__main__":
    main()
