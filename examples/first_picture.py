"""Draw a first picture.

Draws one prompt from four seeds with the model that comes with ToProVAR. Nothing is downloaded.
Writes four pictures, which hold their settings, and a sheet of them. Prints where they are and what
each part of the work took.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from toprovar import load_pipeline, picture_grid, read_parameters

PROMPT = "a cat and a balloon"


def main(out: Path, model: str | None, size: int | None) -> None:
    pipe = load_pipeline(model)  # on the GPU, where there is one
    seeds = [1, 2, 3, 4]
    result = pipe(PROMPT, seed=seeds, num_images_per_prompt=4, height=size, width=size)

    out.mkdir(parents=True, exist_ok=True)
    files = result.save(out / "picture.png")  # picture-1.png ...: each says how it was made
    picture_grid(result.images, [f"seed {seed}" for seed in seeds]).save(out / "sheet.png")

    width, height = result.images[0].size
    print(f"{len(seeds)} pictures of {width} x {height} pixels in {out}")
    print(f"{files[0].name} has the seed {read_parameters(files[0])['seed']}")
    for part, seconds in result.report.seconds.items():
        print(f"{part:8}{seconds:6.2f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out/first_picture"),
                        help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", metavar="DIR", help="folder of a converted model (default: the "
                        "one that comes with ToProVAR)")
    parser.add_argument("--size", metavar="PIXELS", type=int,
                        help="side of the pictures (default: the model's own)")
    main(**vars(parser.parse_args()))
