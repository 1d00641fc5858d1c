"""Write trained models as a folder that diffusers and transformers load.

``python -m training.export --tokenizer BUNDLE --transformer BUNDLE --out FOLDER``
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from torch import nn

from toprovar.models.config import TransformerConfig
from toprovar.models.transformer import InfinityTransformer
from training.bundles import part, read_bundle
from training.data.tokenizer import save_tokenizer, word_ids
from training.loop import load_part
from training.settings import TextSettings
from training.text_encoder import build_text_encoder
from training.tokenizer_stage import load_autoencoder

log = logging.getLogger(__name__)
MOST_BYTES = 48 * 10**6


def export(tokenizer: Path, transformer: Path, out: Path, most: int = MOST_BYTES) -> int:
    """Write ``vae``, ``transformer``, ``text_encoder`` and ``tokenizer``; bytes of all weights."""
    vae = load_autoencoder(tokenizer, torch.device("cpu"))
    tensors, info = read_bundle(transformer)
    model = InfinityTransformer.from_shape(TransformerConfig(**info["transformer"]))
    load_part(model, part(tensors, "transformer"))
    if info["words"] != list(word_ids()):
        raise ValueError("the transformer was trained with another vocabulary than today's")
    text = build_text_encoder(TextSettings(**info["text_encoder"]))
    load_part(text, part(tensors, "text_encoder"))
    if vae.shape.latent_channels != model.shape.latent_channels:
        raise ValueError("the autoencoder and the transformer differ in bits per token")
    modules: dict[str, nn.Module] = {"vae": vae, "transformer": model, "text_encoder": text}
    check_size(modules, most)
    for name, module in modules.items():
        module.half().save_pretrained(out / name)  # type: ignore[operator]
    save_tokenizer(out / "tokenizer")
    weights = list(out.rglob("*.safetensors"))
    for path in weights:
        path.chmod(0o644)  # safetensors writes them for their owner only
    written = sum(path.stat().st_size for path in weights)
    if written > most:
        raise ValueError(f"the weights take {written} bytes, at most {most} are allowed")
    return written


def check_size(modules: dict[str, nn.Module], most: int = MOST_BYTES) -> int:
    """Bytes of all weights in fp16; an error when they are too many."""
    sizes = {name: 2 * sum(p.numel() for p in m.parameters()) for name, m in modules.items()}
    total = sum(sizes.values())
    if total > most:
        raise ValueError(f"the weights would take {total} bytes ({sizes}), at most {most} allowed")
    return total


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tokenizer", type=Path, default=Path("training/runs/tokenizer/bundle"))
    options.add_argument("--transformer", type=Path,
                         default=Path("training/runs/transformer/bundle"))
    options.add_argument("--out", type=Path, required=True)
    arguments = options.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    written = export(arguments.tokenizer, arguments.transformer, arguments.out)
    log.info("%d bytes of weights in %s", written, arguments.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
