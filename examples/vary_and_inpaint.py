"""Vary a picture, and draw a part of it anew.

Draws a picture, then three variations by another prompt that go further and further, then another
object in its right half. Writes the pictures, the mask and a sheet of them. Prints whether
the left half has changed outside of the mask's soft edge (it has not).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageChops

from toprovar import load_pipeline, picture_grid


def main(out: Path, model: str | None, size: int | None) -> None:
    pipe = load_pipeline(model)
    background = "on a green background"
    picture = pipe(f"a dog to the left of a car {background}", seed=1, height=size, width=size).images[0]
    shown = {"drawn": picture}

    for strength in (0.3, 0.5, 0.8):  # 0 = as it is, 1 = a new picture
        varied = pipe.vary(picture, f"a cat to the left of a truck {background}", strength,
                           seed=2, height=size, width=size)
        shown[f"strength {strength}"] = varied.images[0]

    mask = Image.new("L", picture.size)  # black stays, white is drawn anew
    half = picture.width // 2
    mask.paste(255, (half, 0, *picture.size))
    shown["mask"] = mask
    shown["inpainted"] = pipe.inpaint(picture, mask, f"a dog to the left of a flower {background}",
                                      seed=1, height=size, width=size).images[0]

    out.mkdir(parents=True, exist_ok=True)
    for name, one in shown.items():
        one.save(out / f"{name.replace(' ', '-')}.png")
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
