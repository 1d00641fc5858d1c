"""A fixture family of an unusual shape, recorded from the plain loop of the sampling tests."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.sampling.plain import plain_logits
from tests.tiny import random_text, tiny_autoencoder, tiny_transformer
from toprovar.checkpoints.convert import convert
from toprovar.models.latents import bits_to_codes, resize_codes, tokens_to_grid, unfold_patches
from toprovar.schedules import get_schedule

CFG, TAU = 2.5, 0.8


def make_family(folder: Path) -> Path:
    """Patchify, 3 heads of 16, depth 4 in 2 chunks, h/w 0.75, forced bits, two prompts."""
    model = tiny_transformer(width=48, num_heads=3, depth=4, block_chunks=2, bits_per_token=32,
                             text_channels=128, spatial_patchify=True)
    vae = tiny_autoencoder(stem_patch=1, stride=8, channel_multipliers=(1, 1, 2, 2))
    official(model, folder / "weights.safetensors")
    official(vae, folder / "vae.safetensors")
    schedule = get_schedule("0.75", "0.06M")
    config = {
        "transformer": {"depth": 4, "embed_dim": 48, "num_heads": 3, "block_chunks": 2,
                        "text_channels": 128, "text_maxlen": 16, "apply_spatial_patchify": 1,
                        "add_lvl_embeding_only_first_block": 1, "rope2d_normalized_by_hw": 2},
        "vae": {"codebook_dim": 8, "patch_size": 8},
    }
    (folder / "config.json").write_text(json.dumps(config))

    run = folder / "runs" / "forced"
    run.mkdir(parents=True)
    (folder / "runs" / "lender").mkdir()  # lends its bits, has no run.json
    text = random_text(5, 3, channels=128)
    generator = torch.Generator().manual_seed(4)
    bits = [torch.randint(0, 2, (2, n, 32), generator=generator, dtype=torch.uint8)
            for n in schedule.tokens]
    expected: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        rows = text.join([text, model.null_rows(text.lengths)])
        logits = plain_logits(model, rows, schedule, [b.repeat(2, 1, 1) for b in bits], {})
        for i, both in enumerate(logits):
            both = both / TAU
            expected[f"logits.{i}"] = CFG * both[:2] + (1 - CFG) * both[2:]
        h, w = schedule.grids[-1]
        summed = torch.zeros(2, 8, 2 * h, 2 * w)
        for b, grid in zip(bits, schedule.grids, strict=True):
            codes = bits_to_codes(unfold_patches(tokens_to_grid(b, grid), 2), 8)
            summed += resize_codes(codes, (2 * h, 2 * w))
        expected["summed_codes"] = summed
        expected["image_float"] = vae.decode(summed)
    save_file({k: v.contiguous() for k, v in expected.items()}, run / "expected.safetensors")
    save_file({f"bits.{i}": b for i, b in enumerate(bits)},
              folder / "runs" / "lender" / "expected.safetensors")
    save_file({"kv_compact": text.features, "lens": torch.tensor(text.lengths)},
              folder / "inputs.safetensors")
    (run / "run.json").write_text(json.dumps({
        "h_div_w": 0.75, "pn": "0.06M", "scale_schedule": [[1, *g] for g in schedule.grids],
        "cfg_list": [CFG] * 7, "tau_list": [TAU] * 7, "cfg_insertion_layer": [0], "top_k": 0,
        "top_p": 0.0, "g_seed": None, "mode": "forced", "forced_bits_from": "lender", "batch": 2,
    }))
    return folder


def official(model: torch.nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ours = path.with_suffix("")
    model.save_pretrained(ours)  # type: ignore[operator]  # a diffusers model
    convert([ours], path)
