"""Model folders that no calibration and no decision model was made for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from tests.tiny import tiny_pipeline
from toprovar.bundled import bundled_model


def add_uncalibrated(folder: Path) -> dict[str, Any]:
    """The embedded model with a head a little larger: its weights are known to nobody, while its
    pictures are like the embedded one's. What Load Infinity gets for it."""
    place = folder / "uncalibrated"
    shutil.copytree(bundled_model(), place)
    weights = place / "transformer" / "diffusion_pytorch_model.safetensors"
    values = load_file(weights)
    values["head.weight"] = values["head.weight"] * 1.01
    save_file(values, weights, {"format": "pt"})
    return {"model": place.name}


def add_tiny(folder: Path) -> dict[str, Any]:
    """A model so small that nothing can be saved."""
    tiny_pipeline().save_pretrained(folder / "tiny")
    return {"model": "tiny"}
