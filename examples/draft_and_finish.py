"""Draft sixteen pictures, finish two.

Draws only the coarse scales of sixteen pictures, which is quick, saves them in a small file, reads
them back and finishes two. Writes a sheet of the drafts, the file and the two pictures. Prints
whether a finished draft is the very picture that is drawn at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from toprovar import load_draft, load_pipeline, picture_grid, save_draft

PROMPT = "a cat and a tree"
CHOSEN = (2, 11)


def main(out: Path, model: str | None, size: int | None) -> None:
    pipe = load_pipeline(model)
    draft = pipe.draft(PROMPT, seed=7, num_images_per_prompt=16, until=12, height=size)
    sheet = picture_grid(pipe.preview(draft), [f"draft {i}" for i in range(len(draft))], side=160)

    out.mkdir(parents=True, exist_ok=True)
    sheet.save(out / "drafts.png")
    save_draft(draft, out / "drafts.safetensors")
    print(f"{draft.done} of {len(draft.schedule)} scales of {len(draft)} pictures: "
          f"{(out / 'drafts.safetensors').stat().st_size / 1024:.0f} KiB")

    draft = load_draft(out / "drafts.safetensors")  # perhaps another day
    finished = pipe.finish(draft, which=CHOSEN).images
    for number, picture in zip(CHOSEN, finished, strict=True):
        picture.save(out / f"finished-{number}.png")
        at_once = pipe(PROMPT, seed=7 + number, height=size).images[0]
        print(f"draft {number}: the picture drawn at once" if picture == at_once
              else f"draft {number}: not the picture drawn at once")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out/draft_and_finish"),
                        help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", metavar="DIR", help="folder of a converted model (default: the "
                        "one that comes with ToProVAR)")
    parser.add_argument("--size", metavar="PIXELS", type=int,
                        help="side of the pictures (default: the model's own)")
    main(**vars(parser.parse_args()))
