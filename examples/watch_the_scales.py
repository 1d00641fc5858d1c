"""Watch a picture grow, scale by scale.

Runs the loop over the scales by hand, without the pipeline's call. Writes the picture after each
scale, and all of them on one sheet. Prints the tokens and the time of each scale. The last picture
is that of the pipeline's own call with the same seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image

from toprovar import SamplingParams, SamplingRun, load_pipeline, picture_grid

PROMPT = "a purple balloon above an elephant"
SEED = 9


def main(out: Path, model: str | None, size: int | None) -> None:
    pipe = load_pipeline(model)
    schedule = pipe.resolve_schedule(size, size)
    params = SamplingParams(schedule, pipe.config["default_cfg"], pipe.config["default_tau"])
    run = SamplingRun(pipe.transformer, pipe.encode_prompt(PROMPT), params,
                      generators=torch.Generator().manual_seed(SEED))

    out.mkdir(parents=True, exist_ok=True)
    pictures, captions = [], []
    for state in run:  # break, and the run is over
        with torch.inference_mode():
            pixels = pipe.vae.decode(state.summed_codes)[0].permute(1, 2, 0)  # [H, W, 3], -1 to 1
        picture = Image.fromarray(((pixels + 1) / 2 * 255).byte().cpu().numpy())
        picture.save(out / f"scale-{state.index}.png")
        rows, columns = state.grid
        pictures.append(picture)
        captions.append(f"scale {state.index}: {rows} x {columns}")
        print(f"{captions[-1]} tokens, {state.report.seconds:.3f} s")
    picture_grid(pictures, captions, side=192).save(out / "scales.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out/watch_the_scales"),
                        help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", metavar="DIR", help="folder of a converted model (default: the "
                        "one that comes with ToProVAR)")
    parser.add_argument("--size", metavar="PIXELS", type=int,
                        help="side of the pictures (default: the model's own)")
    main(**vars(parser.parse_args()))
