"""What would wait in host memory for the released models, before any of them is loaded."""

from __future__ import annotations

from typing import Any

import torch

from ..devices import free_bytes
from ..models.autoencoder import InfinityAutoencoder
from ..models.transformer import InfinityTransformer
from ..models.variants import autoencoder_variants, transformer_variants
from ..schedules import get_schedule
from .device import speed_of
from .needs import Counts, Request
from .parts import Parts
from .placement import MemoryPlan, Speed
from .plan import MemoryPlanner
from .request import Allowance

FLAN_T5_XL = {"d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32,
              "vocab_size": 32128, "feed_forward_proj": "gated-gelu"}
"""The text encoder of all released models."""
A_CARD = Speed(flops=5e13, memory=4e11, bus=2.4e10, overhead=448 << 20)
"""One of 12 to 16 GB on PCIe 4, where there is none to ask."""


def foresee(device: torch.device, dtype: torch.dtype, allowance: Allowance,
            names: tuple[str, ...] = ("2b", "8b", "varedit-8b")) -> dict[str, MemoryPlan]:
    """The plan of one picture of each model's own size, by its name; of none where nobody knows
    how much memory there is."""
    free = free_bytes(device)
    limits = [n for n in (free, allowance.limit) if n is not None]
    if not limits:
        return {}
    found = {}
    for name in names:
        variant = transformer_variants()[name]
        with torch.device("meta"):
            transformer = InfinityTransformer.from_shape(variant.config)
            transformer.blocks.to(dtype)
            vae = InfinityAutoencoder.from_shape(autoencoder_variants()[variant.vae].config)
            _cast(vae, dtype)
            encoder = _encoder(dtype)
        request = Request(get_schedule("1.0", variant.pn), 1, recorded=True)
        card = torch.device("cuda")
        parts = Parts.of(transformer, vae, encoder, card)
        planner = MemoryPlanner(parts, Counts(transformer, vae, request),
                                speed_of(device) if device.type == "cuda" else A_CARD)
        found[name] = planner.choose(allowance, min(limits))
    return found


def _cast(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Cast without what diffusers wraps around it."""
    for part in module.children():
        part.to(dtype)


def _encoder(dtype: torch.dtype) -> Any:
    from transformers import T5Config, T5EncoderModel

    encoder: Any = T5EncoderModel(T5Config(**FLAN_T5_XL))
    return encoder.to(dtype)
