"""The official sampling loop, transcribed plainly: what the dense engine is measured against.

It computes what the official code computes in the way the official code does: keys and values are
concatenated scale by scale (in float32 where the official ones are), the rotation table is built
in every call, the text is projected to keys and values again in every block of every scale, norm,
modulation, gate and residual are separate operations. Weights are those of our own modules.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from toprovar.models.blocks import MAX_HEAD_SCALE, Block
from toprovar.models.latents import bits_to_codes, resize_codes, tokens_to_grid
from toprovar.models.rope import rotation_table
from toprovar.models.text import PackedText, linear_fp32
from toprovar.models.transformer import InfinityTransformer
from toprovar.ops.bit_sampling.reference import sample_bits
from toprovar.sampling.params import SamplingParams


@dataclass
class BlockCache:
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


@torch.inference_mode()
def reference_run(
    model: InfinityTransformer, text: PackedText, params: SamplingParams,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """One guided run, as (summed codes, logits of the last scale)."""
    schedule, batch = params.schedule, len(text)
    rows = PackedText.join([text, model.null_rows(text.lengths)])
    normed = PackedText(model.text_norm(rows.features), rows.lengths)
    cond = model.text_pool(normed)
    projected = model.text_proj(normed.features).split(rows.lengths)
    shared = linear_fp32(F.silu(cond), model.shared_modulation).unflatten(-1, (6, -1))
    scale, shift = linear_fp32(F.silu(cond), model.head_modulation)[:, None].chunk(2, -1)
    x = cond[:, None] + model.start.float()
    height, width = schedule.grids[-1]
    summed: Tensor | float = 0.0
    logits = x
    caches = [BlockCache() for _ in range(model.shape.depth)]
    for index, grid in enumerate(schedule.grids):
        x = x + model.level_embed.weight[index]
        for layer, cache in enumerate(caches):
            rotation = rotation_table(grid, schedule.rope_grid, model.shape.head_dim)
            x = _block(model.block(layer), x, shared, projected, rotation, cache)
        y = F.layer_norm(x.float(), x.shape[-1:], eps=1e-6) * (1 + scale) + shift
        logits = linear_fp32(y, model.head).mul(1 / params.tau_list[index])
        cfg = params.cfg_list[index]
        logits = cfg * logits[:batch] + (1 - cfg) * logits[batch:]
        bits = sample_bits(logits, params.top_k, params.top_p, generator)
        codes = bits_to_codes(tokens_to_grid(bits, grid), model.shape.latent_channels)
        summed = summed + resize_codes(codes, (height, width))
        if index + 1 < len(schedule):
            small = resize_codes(summed, schedule.grids[index + 1])
            x = model.embed_codes(small).repeat(2, 1, 1)
    assert isinstance(summed, Tensor)
    return summed, logits


def _block(
    block: Block, x: Tensor, shared: Tensor, text: tuple[Tensor, ...], rotation: Tensor,
    cache: BlockCache,
) -> Tensor:
    gamma1, gamma2, scale1, scale2, shift1, shift2 = (
        (block.modulation[0].float() + shared).unsqueeze(2).unbind(1)
    )
    y = F.layer_norm(x.float(), x.shape[-1:], eps=1e-6).mul(scale1 + 1).add(shift1)
    x = x + _self_attention(block, y, rotation, cache).mul(gamma1)
    norm = block.cross_norm
    y = F.layer_norm(x.float(), x.shape[-1:], norm.weight.float(), norm.bias.float(), norm.eps)
    x = x.float() + _cross_attention(block, y, text)
    y = F.layer_norm(x.float(), x.shape[-1:], eps=1e-6).mul(scale2 + 1).add(shift2)
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


def _cross_attention(block: Block, y: Tensor, text: tuple[Tensor, ...]) -> Tensor:
    attn = block.cross_attn
    q = attn.to_q(y.to(block.dtype)).unflatten(-1, (block.heads, -1)).transpose(1, 2)
    bias = torch.cat([torch.zeros_like(attn.v_bias), attn.v_bias])
    outs = []
    for row, features in zip(q, text, strict=True):
        kv = F.linear(features.to(block.dtype), attn.to_kv.weight, bias)
        k, v = kv.unflatten(-1, (2, block.heads, -1)).permute(1, 2, 0, 3).unbind(0)
        outs.append(F.scaled_dot_product_attention(row[None], k[None], v[None]))
    return attn.proj(torch.cat(outs).transpose(1, 2).flatten(-2))
