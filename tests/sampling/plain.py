"""A plain sampling loop for tests: every token list spelt out, caches concatenated, float32.

Written against the description of the model, not against the engine: norms, rotation and
attention come from the operations' references.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from toprovar.models.latents import (
    bits_to_codes,
    fold_patches,
    resize_codes,
    tokens_to_grid,
    unfold_patches,
)
from toprovar.models.rope import rotation_table
from toprovar.models.text import PackedText
from toprovar.models.transformer import InfinityTransformer
from toprovar.ops.adaln.reference import gated_add, modulated_norm
from toprovar.ops.attention.reference import attention
from toprovar.ops.qk_rope.reference import normalise_rotate
from toprovar.schedules import ScaleSchedule


class Mixed(NamedTuple):
    """Random numbers of a group of layers that works on mixtures, [R, N] and [R, N, r], and its
    last layer."""

    exponential: Tensor
    normal: Tensor
    last: int


def plain_logits(
    model: InfinityTransformer, text: PackedText, schedule: ScaleSchedule, bits: list[Tensor],
    kept: dict[tuple[int, int], Tensor], cached: bool = False, exits: bool = False,
    mixed: dict[tuple[int, int], Mixed] | None = None,
) -> list[Tensor]:
    """Logits [R, N, 2 d] of every scale and row, under forced bits.

    Args:
        text: features of all R rows (no guidance is applied).
        bits: [R, N, d] per scale.
        kept: (scale, layer) -> indices [n] or [R, n]; all tokens where absent.
        cached: dropped tokens get the layer's update of the scale before, resized.
        exits: tokens that layer 0 drops add no codes.
        mixed: (scale, first layer of a group) -> what the group works on.
    """
    mixed = mixed or {}
    ends = {(s, m.last): m for (s, _), m in mixed.items()}
    after: dict[int, tuple[Tensor, tuple[int, int]]] = {}
    shape = model.shape
    normed = PackedText(model.text_norm(text.features), text.lengths)
    pooled = model.text_pool(normed)
    projected = model.text_proj(normed.features).split(text.lengths)
    shared = model.shared_modulation(F.silu(pooled)).unflatten(-1, (6, -1))
    head_scale, head_shift = model.head_modulation(F.silu(pooled)).chunk(2, -1)
    cache = [[(torch.empty(shape.num_heads, 0, shape.head_dim),) * 2 for _ in text.lengths]
             for _ in range(shape.depth)]
    height, width = (side * shape.patch for side in schedule.grids[-1])
    summed = torch.zeros(len(text), shape.latent_channels, height, width)
    x, logits = pooled[:, None] + model.start, []
    updates: dict[int, tuple[Tensor, tuple[int, int]]] = {}
    for s, grid in enumerate(schedule.grids):
        table = rotation_table(grid, schedule.rope_grid, shape.head_dim)
        for layer in range(shape.depth):
            if layer == 0 or (
                shape.level_embed_every_chunk and layer % shape.blocks_per_chunk == 0
            ):
                x = x + model.level_embed.weight[s]
            if (s, layer) in mixed:
                own = mixed[s, layer]
                energy = (x.detach().double() ** 2).sum(-1) / own.exponential
                places = [sorted(range(x.shape[1]), key=lambda i, e=e: -float(e[i]))
                          for e in energy]
                x = torch.einsum("rnj,rnc->rjc", own.normal / own.normal.shape[2] ** 0.5, x)
            index = kept.get((s, layer), torch.arange(x.shape[1]))
            rows, before = [], x
            for r in range(len(text)):
                own = index if index.ndim == 1 else index[r]
                row = x[r].clone()
                if cached and len(own) < len(row):
                    row = row + _resized(*updates[layer], grid)[r]
                    row[own] = x[r][own]
                row[own] = _block(model, layer, row[own], shared[r], projected[r], table[own],
                                  cache[layer], r)
                rows.append(row)
            x = torch.stack(rows)
            updates[layer] = (x - before, grid)
            if (s, layer) in ends:
                mixtures, x = x, _resized(*after[layer], grid, "area")
                for r, order in enumerate(places):
                    for j, mixture in enumerate(mixtures[r]):
                        x[r, order[j]] = mixture
            after[layer] = (x, grid)
        logits.append(model.head(modulated_norm(x, head_scale, head_shift)))
        codes = bits_to_codes(
            unfold_patches(tokens_to_grid(bits[s], grid), shape.patch), shape.latent_channels
        )
        if exits and (s, 0) in kept:
            for r in range(len(text)):
                index = kept[s, 0] if kept[s, 0].ndim == 1 else kept[s, 0][r]
                left = set(range(grid[0] * grid[1])) - set(index.tolist())
                for token in left:
                    down, across = token // grid[1] * shape.patch, token % grid[1] * shape.patch
                    codes[r, :, down : down + shape.patch, across : across + shape.patch] = 0
        summed = summed + resize_codes(codes, (height, width))
        if s + 1 < len(schedule):
            h, w = (side * shape.patch for side in schedule.grids[s + 1])
            small = fold_patches(resize_codes(summed, (h, w)), shape.patch)
            x = model.token_embed(small.flatten(2).transpose(1, 2))
    return logits


def _resized(update: Tensor, grid: tuple[int, int], new: tuple[int, int], mode: str = "bilinear"
             ) -> Tensor:
    image = update.transpose(1, 2).unflatten(2, grid)
    return F.interpolate(image, new, mode=mode).flatten(2).transpose(1, 2).clone()


def _block(model: InfinityTransformer, layer: int, x: Tensor, shared: Tensor, text: Tensor,
           rotation: Tensor, cache: list, r: int) -> Tensor:
    block, heads = model.block(layer), model.shape.num_heads
    x = x[None]
    g1, g2, s1, s2, b1, b2 = (shared + block.modulation[0, 0])[:, None]
    y = modulated_norm(x, s1, b1)
    q, k, v = block.self_attn.to_qkv(y).chunk(3, -1)
    q, v = q + block.self_attn.q_bias, v + block.self_attn.v_bias
    q, k, v = (t.unflatten(-1, (heads, -1)) for t in (q, k, v))
    scale = block.self_attn.log_scale.flatten().clamp_max(4.605170185988092).exp()
    q, k = normalise_rotate(q, rotation, scale), normalise_rotate(k, rotation)
    keys, values = cache[r]
    cache[r] = (torch.cat([keys, k[0].transpose(0, 1)], 1),
                torch.cat([values, v[0].transpose(0, 1)], 1))
    out = attention(q.transpose(1, 2), cache[r][0][None], cache[r][1][None], 1.0)
    x = gated_add(x, block.self_attn.proj(out.transpose(1, 2).flatten(-2)), g1)
    q = block.cross_attn.to_q(block.cross_norm(x)).unflatten(-1, (heads, -1)).transpose(1, 2)
    k, v = block.cross_attn.to_kv(text).chunk(2, -1)
    k, v = (t.unflatten(-1, (heads, -1)).transpose(0, 1)[None]
            for t in (k, v + block.cross_attn.v_bias))
    out = attention(q, k, v, q.shape[-1] ** -0.5)
    x = x + block.cross_attn.proj(out.transpose(1, 2).flatten(-2))
    hidden = F.gelu(block.ffn.fc1(modulated_norm(x, s2, b2)), approximate="tanh")
    return gated_add(x, block.ffn.fc2(hidden), g2)[0]
