"""Run by ComfyUI's Python: what the engine gives when called directly, as files.

    direct.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from toprovar import InfinityPipeline, bundled_model, get_schedule
from toprovar.planning import make_plan
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings


def main(folder: Path) -> None:
    pipe = InfinityPipeline.from_folder(bundled_model(), torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    small, wide = get_schedule("1.0", "0.06M"), get_schedule(2 / 3, "0.06M")
    plans = {
        "auto": make_plan(pipe, "auto", small),
        "toprovar": make_plan(pipe, "toprovar", small),
        "before": make_plan(pipe, "toprovar", small, planned="before",
                            settings=ToProVarSettings(start_scale=4, dropped="identity")),
        "inside": make_plan(pipe, "toprovar", small,
                            settings=ToProVarSettings(start_scale=5, dropped="cached")),
        "exit": make_plan(pipe, "toprovar", small, settings=ToProVarSettings(start_scale=5)),
        "fastvar": make_plan(pipe, "fastvar", small, drop=[0.4, 0.5, 1.0]),
        "skipvar": make_plan(pipe, "skipvar", small, skip=1),
        "dense": make_plan(pipe, "dense", small),
    }
    for name, plan in plans.items():
        save(pipe("a red apple", seed=7, schedule=small, plan=plan), folder / name)
    save(pipe("a blue car", "a cat", seed=3, schedule=wide, guidance_scale=2.5, tau=0.4,
              top_p=0.9, num_images_per_prompt=2, plan=make_plan(pipe, "dense", wide)),
         folder / "wide")
    save(pipe(["a red apple", "two blue cars"], seed=7, schedule=small, plan=plans["auto"]),
         folder / "two")
    save(pipe("a (red:0.2) apple", seed=7, schedule=small, plan=plans["auto"],
              prompt_weights=True), folder / "weighted")
    latents = pipe("a red apple", seed=7, schedule=small, plan=plans["dense"],
                   output_type="latent").images
    np.save(folder / "latents.npy", latents.numpy())
    with torch.inference_mode():
        image = (pipe.vae.decode(latents) + 1) / 2
        np.save(folder / "decoded.npy", image.numpy())
        picture = np.load(folder / "dense.npy")[0]
        signed = torch.from_numpy(picture).float().div(255).permute(2, 0, 1)[None] * 2 - 1
        np.save(folder / "encoded.npy", pipe.vae.encode(signed).numpy())


def save(done: object, path: Path) -> None:
    """Pictures as uint8 [B, H, W, 3]."""
    images = done.images  # type: ignore[attr-defined]  # a pipeline's output
    np.save(path.with_suffix(".npy"), np.stack([np.asarray(image) for image in images]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
