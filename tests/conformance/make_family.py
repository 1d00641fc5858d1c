"""A fixture family of an unusual shape, recorded from the plain loop of the sampling tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.sampling.plain import plain_logits
from tests.tiny import random_text, tiny_autoencoder, tiny_transformer
from toprovar.checkpoints.convert import convert
from toprovar.models.latents import bits_to_codes, resize_codes, tokens_to_grid, unfold_patches
from toprovar.schedules import get_schedule

CFG, TAU = 2.5, 0.8


@dataclass(frozen=True)
class Odd:
    """A shape that no released model has."""

    width: int = 48
    heads: int = 3
    depth: int = 4
    chunks: int = 2
    text: int = 128
    patchify: bool = True
    every_chunk: bool = False
    template: str = "0.75"


def make_family(folder: Path, odd: Odd) -> Path:
    """Forced bits for two prompts of unequal length, guidance on the logits."""
    patch = 2 if odd.patchify else 1
    model = tiny_transformer(
        width=odd.width, num_heads=odd.heads, depth=odd.depth, block_chunks=odd.chunks,
        bits_per_token=8 * patch**2, text_channels=odd.text, spatial_patchify=odd.patchify,
        level_embed_every_chunk=odd.every_chunk,
    )
    vae = tiny_autoencoder(
        stem_patch=1, stride=16 // patch,
        channel_multipliers=(1, 1, 2, 2) if odd.patchify else (1, 1, 1, 2, 2),
    )
    official(model, folder / "weights.safetensors")
    official(vae, folder / "vae.safetensors")
    schedule = get_schedule(odd.template, "0.06M")
    config = {
        "transformer": {
            "depth": odd.depth, "embed_dim": odd.width, "num_heads": odd.heads,
            "block_chunks": odd.chunks, "text_channels": odd.text, "text_maxlen": 16,
            "apply_spatial_patchify": int(odd.patchify),
            "add_lvl_embeding_only_first_block": int(not odd.every_chunk),
            "rope2d_normalized_by_hw": 2,
        },
        "vae": {"codebook_dim": 8, "patch_size": 16 // patch},
    }
    (folder / "config.json").write_text(json.dumps(config))

    run = folder / "runs" / "forced"
    run.mkdir(parents=True)
    (folder / "runs" / "lender").mkdir()  # lends its bits, has no run.json
    text = random_text(5, 3, channels=odd.text)
    generator = torch.Generator().manual_seed(4)
    bits = [torch.randint(0, 2, (2, n, 8 * patch**2), generator=generator, dtype=torch.uint8)
            for n in schedule.tokens]
    expected: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        rows = text.join([text, model.null_rows(text.lengths)])
        logits = plain_logits(model, rows, schedule, [b.repeat(2, 1, 1) for b in bits], {})
        for i, both in enumerate(logits):
            both = both / TAU
            expected[f"logits.{i}"] = CFG * both[:2] + (1 - CFG) * both[2:]
        h, w = schedule.grids[-1]
        summed = torch.zeros(2, 8, patch * h, patch * w)
        for b, grid in zip(bits, schedule.grids, strict=True):
            codes = bits_to_codes(unfold_patches(tokens_to_grid(b, grid), patch), 8)
            summed += resize_codes(codes, (patch * h, patch * w))
        expected["summed_codes"] = summed
        expected["image_float"] = vae.decode(summed)
    save_file({k: v.contiguous() for k, v in expected.items()}, run / "expected.safetensors")
    save_file({f"bits.{i}": b for i, b in enumerate(bits)},
              folder / "runs" / "lender" / "expected.safetensors")
    save_file({"kv_compact": text.features, "lens": torch.tensor(text.lengths)},
              folder / "inputs.safetensors")
    (run / "run.json").write_text(json.dumps({
        "h_div_w": float(odd.template), "pn": "0.06M",
        "scale_schedule": [[1, *g] for g in schedule.grids],
        "cfg_list": [CFG] * 7, "tau_list": [TAU] * 7, "cfg_insertion_layer": [0], "top_k": 0,
        "top_p": 0.0, "g_seed": None, "mode": "forced", "forced_bits_from": "lender", "batch": 2,
    }))
    return folder


def official(model: torch.nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ours = path.with_suffix("")
    model.save_pretrained(ours)  # type: ignore[operator]  # a diffusers model
    convert([ours], path)
