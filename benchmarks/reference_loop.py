"""The official sampling loop, transcribed plainly: what the engine is measured against.

It computes what the official code computes in the way the official code does: keys and values are
concatenated scale by scale (keys in float32, cast for every call of attention), rotation works in
float32 on queries and keys stacked, the text is projected to keys and values again in every block
of every scale, norm and modulation, gate and residual are separate operations. The rotation tables
are made once, as there. Casts are written out instead of left to autocast, and cross-attention is
one call where the prompts' lengths allow (in place of flash-attention's variable lengths): both
cost less than the official way. Weights are those of our own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from toprovar.models.blocks import MAX_HEAD_SCALE, Block
from toprovar.models.latents import (
    bits_to_codes,
    fold_patches,
    resize_codes,
    tokens_to_grid,
    unfold_patches,
)
from toprovar.models.rope import schedule_rotations
from toprovar.models.text import PackedText, linear_fp32
from toprovar.models.transformer import InfinityTransformer
from toprovar.ops.bit_sampling.reference import sample_bits
from toprovar.sampling.params import SamplingParams
from toprovar.schedules import ScaleSchedule

Norm = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass
class BlockCache:
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


@dataclass
class Text:
    """Projected text of all rows, packed, and the tokens of each."""

    packed: Tensor
    lengths: tuple[int, ...]


def ada_layer_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """LayerNorm(x) (1 + scale) + shift, float32. The official code compiles it (``torch.compile``);
    so may the caller."""
    return F.layer_norm(x.float(), x.shape[-1:], eps=1e-6).mul(scale.add(1)).add_(shift)


def reference_run(
    model: InfinityTransformer, text: PackedText, params: SamplingParams,
    generator: torch.Generator | None = None, norm: Norm = ada_layer_norm,
) -> tuple[Tensor, Tensor]:
    """One guided run, as (summed codes, logits of the last scale)."""
    *_, last = reference_scales(model, text, params, generator, norm)
    return last


@torch.inference_mode()
def reference_scales(
    model: InfinityTransformer, text: PackedText, params: SamplingParams,
    generator: torch.Generator | None = None, norm: Norm = ada_layer_norm,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One guided run, (summed codes, logits) after each scale."""
    schedule, batch, shape = params.schedule, len(text), model.shape
    rows = PackedText.join([text, model.null_rows(text.lengths)])
    normed = PackedText(model.text_norm(rows.features), rows.lengths)
    cond = model.text_pool(normed)
    projected = Text(model.text_proj(normed.features), rows.lengths)
    shared = linear_fp32(F.silu(cond), model.shared_modulation).unflatten(-1, (6, -1))
    scale, shift = linear_fp32(F.silu(cond), model.head_modulation)[:, None].chunk(2, -1)
    x = cond[:, None] + model.start.float()
    height, width = (side * shape.patch for side in schedule.grids[-1])
    summed: Tensor | float = 0.0
    caches = [BlockCache() for _ in range(shape.depth)]
    rotations = _rotations(schedule, shape.head_dim, x.device)
    for index, grid in enumerate(schedule.grids):
        x = x + model.level_embed.weight[index]
        for layer, cache in enumerate(caches):
            x = _block(model.block(layer), x, shared, projected, rotations[index], cache, norm)
        logits = linear_fp32(norm(x, scale, shift), model.head).mul(1 / params.tau_list[index])
        cfg = params.cfg_list[index]
        logits = cfg * logits[:batch] + (1 - cfg) * logits[batch:]
        bits = sample_bits(logits, params.top_k, params.top_p, generator)
        values = unfold_patches(tokens_to_grid(bits, grid), shape.patch)
        codes = bits_to_codes(values, shape.latent_channels)
        summed = summed + resize_codes(codes, (height, width))
        if index + 1 < len(schedule):
            h, w = (side * shape.patch for side in schedule.grids[index + 1])
            small = fold_patches(resize_codes(summed, (h, w)), shape.patch)
            x = model.embed_codes(small).repeat(2, 1, 1)
        yield summed, logits


@lru_cache(maxsize=4)
def _rotations(schedule: ScaleSchedule, head_dim: int, device: torch.device) -> list[Tensor]:
    return schedule_rotations(schedule, head_dim, device)


def _block(
    block: Block, x: Tensor, shared: Tensor, text: Text, rotation: Tensor, cache: BlockCache,
    norm: Norm,
) -> Tensor:
    gamma1, gamma2, scale1, scale2, shift1, shift2 = (
        (block.modulation[0].float() + shared).unsqueeze(2).unbind(1)
    )
    x = x + _self_attention(block, norm(x, scale1, shift1), rotation, cache).mul_(gamma1)
    affine = block.cross_norm
    y = F.layer_norm(
        x.float(), x.shape[-1:], affine.weight.float(), affine.bias.float(), affine.eps
    )
    x = x.float() + _cross_attention(block, y, text)
    y = norm(x, scale2, shift2)
    hidden = F.gelu(block.ffn.fc1(y.to(block.dtype)), approximate="tanh")
    return x + block.ffn.fc2(hidden).mul(gamma2)


def _self_attention(block: Block, y: Tensor, rotation: Tensor, cache: BlockCache) -> Tensor:
    attn = block.self_attn
    bias = torch.cat([attn.q_bias, torch.zeros_like(attn.q_bias), attn.v_bias])
    qkv = F.linear(y.to(block.dtype), attn.to_qkv.weight, bias)
    q, k, v = qkv.unflatten(-1, (3, block.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    scale = attn.log_scale.float().clamp_max(MAX_HEAD_SCALE).exp()
    q = F.normalize(q.float(), dim=-1, eps=1e-12).mul(scale).contiguous()
    k, v = F.normalize(k.float(), dim=-1, eps=1e-12).contiguous(), v.contiguous()
    q, k = _rotate(torch.stack([q, k]), rotation).unbind(0)
    cache.keys = [torch.cat([*cache.keys, k], dim=2)]
    cache.values = [torch.cat([*cache.values, v], dim=2)]
    out = F.scaled_dot_product_attention(
        q.to(block.dtype), cache.keys[0].to(block.dtype), cache.values[0], scale=1.0
    )
    return attn.proj(out.transpose(1, 2).flatten(-2))


def _rotate(x: Tensor, rotation: Tensor) -> Tensor:
    cos, sin = rotation.unbind(-1)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([cos * even - sin * odd, sin * even + cos * odd], -1).flatten(-2)


def _cross_attention(block: Block, y: Tensor, text: Text) -> Tensor:
    attn = block.cross_attn
    q = attn.to_q(y.to(block.dtype)).unflatten(-1, (block.heads, -1)).transpose(1, 2)
    bias = torch.cat([torch.zeros_like(attn.v_bias), attn.v_bias])
    kv = F.linear(text.packed.to(block.dtype), attn.to_kv.weight, bias)
    kv = kv.unflatten(-1, (2, block.heads, -1))  # [sum(lengths), 2, H, D]
    if len(set(text.lengths)) == 1:
        k, v = kv.unflatten(0, (len(text.lengths), -1)).permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(q, k, v)
    else:
        outs = []
        for row, own in zip(q, kv.split(text.lengths), strict=True):
            k, v = own.permute(1, 2, 0, 3).unbind(0)
            outs.append(F.scaled_dot_product_attention(row[None], k[None], v[None]))
        out = torch.cat(outs)
    return attn.proj(out.transpose(1, 2).flatten(-2))
