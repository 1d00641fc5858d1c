"""Edit a picture by words.

Draws a picture, says what it shows and what it should show, and lets the model find what has to
change. For comparison it also draws the new words from the same seed, which gives a picture of its
own. Writes these pictures, the mask that was found and a sheet. Prints how much of the picture lies
inside the mask.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from toprovar import load_pipeline, picture_grid

SOURCE = "a frog and a mushroom"
TARGET = "a frog and a flower"


def main(out: Path, model: str | None, size: int | None) -> None:
    pipe = load_pipeline(model)
    schedule = pipe.resolve_schedule(size, size)
    picture = pipe(SOURCE, seed=1, schedule=schedule).images[0]

    found = pipe.edit_mask(picture, SOURCE, TARGET, schedule=schedule)  # [1, 1, H, W]
    mask = Image.fromarray((found[0, 0] * 255).byte().cpu().numpy())
    edited = pipe.edit(picture, SOURCE, TARGET, mask_image=mask, seed=1, blend=16,
                       schedule=schedule).images[0]

    anew = pipe(TARGET, seed=1, schedule=schedule).images[0]

    out.mkdir(parents=True, exist_ok=True)
    shown = {"picture": picture, "mask": mask, "edited": edited, "anew": anew}
    for name, one in shown.items():
        one.save(out / f"{name}.png")
    captions = [SOURCE, "what has to change", TARGET, "the new words, drawn anew"]
    picture_grid(list(shown.values()), captions).save(out / "sheet.png")
    print(f"inside the mask: {float(found.mean()):.0%} of the picture")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out/edit_by_words"),
                        help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", metavar="DIR", help="folder of a converted model (default: the "
                        "one that comes with ToProVAR)")
    parser.add_argument("--size", metavar="PIXELS", type=int,
                        help="side of the pictures (default: the model's own)")
    main(**vars(parser.parse_args()))
