"""Operations and bytes of every stage, and the least time they take on this device.

The ceilings are measured in the same run: the rate of one large matrix product and of one large
copy. A stage's bound is the greater of operations / rate and bytes / rate. Bytes are the fewest an
ideal program moves: weights once a scale, keys and values read once and written once, the residual
read and written once a block, every convolution's input and output once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.models import Subject, text_encoder_config
from benchmarks.machine import matmul_rate, timed
from toprovar.models.autoencoder import InfinityAutoencoder
from toprovar.models.config import AutoencoderConfig, TransformerConfig
from toprovar.sparsity.cost import WorkTable
from toprovar.sparsity.plan import SparsityPlan

NARROW = 2
"""Bytes of a bfloat16 value."""


@dataclass(frozen=True)
class Work:
    """Operations (a multiply-add is two) and bytes."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Ceilings:
    """Operations and bytes a second of this device, as measured."""

    flops: float
    bytes: float

    @staticmethod
    def measure(device: torch.device, dtype: torch.dtype) -> Ceilings:
        on_gpu = device.type == "cuda"
        source = torch.empty(1 << (30 if on_gpu else 24), dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        seconds = median(timed(lambda: target.copy_(source), device, 7))
        rate = matmul_rate(dtype, device, 8192 if on_gpu else 512)
        return Ceilings(rate, 2 * source.numel() / seconds)

    def bound(self, work: Work) -> float:
        """Least seconds."""
        return max(work.flops / self.flops, work.bytes / self.bytes)


def stage_work(subject: Subject, plan: SparsityPlan, images: int = 1) -> dict[str, Work]:
    """Of the text encoder, every scale that is run, and the decoder."""
    tokens = max(len(ids) for ids in
                 subject.pipeline.tokenizer(subject.prompts(images)).input_ids)
    height, width = (side * subject.shape.patch for side in subject.schedule.grids[-1])
    vae = decoder_work(subject.pipeline.vae.shape, height, width)
    scales = scale_work(plan, subject.shape, images)
    return {
        "text": text_work(subject.shape.text_channels, images, tokens),
        **{f"scale {i}": work for i, work in enumerate(scales) if work.flops},
        "decode": Work(vae.flops * images, vae.bytes * images),
    }


def scale_work(plan: SparsityPlan, shape: TransformerConfig, images: int = 1) -> list[Work]:
    """Of each scale's blocks and head."""
    table, c = WorkTable.of(plan), shape.width
    kept = table.rows * table.kept
    block = (6 * c * c + 2 * c * shape.mlp_hidden) * NARROW  # the weights that a scale reads
    own = 8 * c * kept + 2 * c * NARROW * kept  # residual in and out, keys and values written
    seen = 2 * c * NARROW * table.rows * table.keys * (table.kept > 0)
    weights = block * ((table.kept > 0) & (table.rows > 0)).sum(1)
    total = weights + images * (own + seen).sum(1)
    return [Work(images * float(flops), float(moved))
            for flops, moved in zip(table.scale_flops(shape), total, strict=True)]


@lru_cache(maxsize=8)
def text_work(channels: int, images: int, tokens: int) -> Work:
    """Of the text encoder on prompts of ``tokens`` tokens."""
    from transformers import T5EncoderModel

    with torch.device("meta"):
        model = T5EncoderModel(text_encoder_config(channels)).eval()
        ids = torch.zeros(images, tokens, dtype=torch.int64)
        embedded = torch.zeros(images, tokens, channels)
    flops = counted(lambda: model(inputs_embeds=embedded,
                                  attention_mask=torch.ones_like(ids)[:, None, None]))
    blocks = sum(p.numel() for name, p in model.named_parameters() if "block" in name)
    return Work(flops, NARROW * blocks)


@lru_cache(maxsize=8)
def decoder_work(shape: AutoencoderConfig, height: int, width: int) -> Work:
    """Of one picture's decoder, whose latent is ``height`` x ``width``."""
    with torch.device("meta"):
        vae = InfinityAutoencoder.from_shape(shape).eval()
        codes = torch.zeros(1, shape.latent_channels, height, width)
    moved = 0

    def count(module: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        nonlocal moved
        weights = sum(p.numel() for p in module.parameters())
        moved += NARROW * (given[0].numel() + out.numel() + weights)

    for module in vae.decoder.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    flops = counted(lambda: vae.decoder(codes))
    return Work(flops, moved)


def counted(call: Any) -> int:
    """Operations of a call on meta tensors."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def shares(work: dict[str, Work], seconds: dict[str, float], ceilings: Ceilings
           ) -> dict[str, dict[str, float]]:
    """For each stage its work, least and measured seconds, and their quotient; "scales" and "all"
    are sums."""
    sums = {"scales": [s for s in work if s.startswith("scale ")], "all": list(work)}
    found = {}
    for name, parts in ({stage: [stage] for stage in work} | sums).items():
        bound = sum(ceilings.bound(work[part]) for part in parts)
        taken = sum(seconds[part] for part in parts)
        found[name] = {
            "flops": sum(work[part].flops for part in parts),
            "bytes": sum(work[part].bytes for part in parts),
            "bound_seconds": bound, "seconds": taken, "share": bound / taken,
        }
    return found
