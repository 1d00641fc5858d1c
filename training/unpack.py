"""The trained models of a pipeline folder as bundles, to go on from what the package ships.

``python -m training.unpack [--model FOLDER] --out FOLDER`` writes FOLDER/tokenizer and
FOLDER/transformer; the opposite of ``training.export``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from training.bundles import write_bundle
from training.data.tokenizer import word_ids

SHIPPED = Path("toprovar/bundled/infinity-emoji")


def unpack(model: Path, out: Path) -> None:
    """Write both bundles; their step and picture counters are 0."""
    from toprovar.pipeline import InfinityPipeline

    pipeline = InfinityPipeline.from_folder(model, torch.float32)
    text = pipeline.text_encoder
    config = text.config
    shape = {
        "channels": config.d_model, "layers": config.num_layers, "heads": config.num_heads,
        "head_dim": config.d_kv, "hidden": config.d_ff,
        "length": pipeline.transformer.shape.text_max_length,
    }
    begin = {"step": 0, "images": 0, "progress": 0.0}
    _write(out / "tokenizer", {"vae": pipeline.vae},
           {**begin, "vae": pipeline.vae.shape.to_dict()})
    _write(
        out / "transformer", {"transformer": pipeline.transformer, "text_encoder": text},
        {**begin, "transformer": pipeline.transformer.shape.to_dict(), "text_encoder": shape,
         "words": list(word_ids())},
    )


def _write(folder: Path, modules: dict[str, nn.Module], info: dict[str, object]) -> None:
    tensors = {
        f"{name}.{key}": p for name, module in modules.items()
        for key, p in module.named_parameters()
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_bundle(folder, tensors, info)


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, default=SHIPPED)
    options.add_argument("--out", type=Path, default=Path("training/runs/shipped"))
    given = options.parse_args(argv)
    unpack(given.model, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
