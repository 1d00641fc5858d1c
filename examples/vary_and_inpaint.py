"""Vary a picture, and draw a part of it anew.

Draws a picture, then four variations by another prompt that go further and further, then another
object in its right half. Writes the pictures, the mask and a sheet of them. Prints whether the
left half has changed, away from the mask's edge.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageChops

from toprovar import load_pipeline, picture_grid

PROMPT = "a dog to the left of a car on a green background"
OTHERS = "a cat to the left of a truck on a green background"
FLOWER = "a dog to the left of a flower on a green background"


def main(out: Path, model: str | None, size: int | None) -> None:
    pipe = load_pipeline(model)
    schedule = pipe.resolve_schedule(size, size)
    picture = pipe(PROMPT, seed=1, schedule=schedule).images[0]
    shown = {"drawn": picture}

    for strength in (0.1, 0.3, 0.5, 0.8):  # 0 = as it is, 1 = a new picture
        varied = pipe.vary(picture, OTHERS, strength, seed=2, schedule=schedule)
        shown[f"strength {strength}"] = varied.images[0]

    half = picture.width // 2
    mask = Image.new("L", picture.size)  # black stays, white is drawn anew
    mask.paste(255, (half, 0, *picture.size))
    shown["inpainted"] = pipe.inpaint(picture, mask, FLOWER, seed=1, schedule=schedule).images[0]

    out.mkdir(parents=True, exist_ok=True)
    for name, one in shown.items():
        one.save(out / f"{name.replace(' ', '-')}.png")
    mask.save(out / "mask.png")
    picture_grid(list(shown.values()), list(shown)).save(out / "sheet.png")
    kept = (0, 0, half - 16, picture.height)
    changed = ImageChops.difference(picture.crop(kept), shown["inpainted"].crop(kept)).getbbox()
    print(f"left half: {'unchanged' if changed is None else f'changed inside {changed}'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out/vary_and_inpaint"),
                        help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", metavar="DIR", help="folder of a converted model (default: the "
                        "one that comes with ToProVAR)")
    parser.add_argument("--size", metavar="PIXELS", type=int,
                        help="side of the pictures (default: the model's own)")
    main(**vars(parser.parse_args()))
