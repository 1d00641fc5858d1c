"""The transformer's arithmetic with a gradient, over many scales at once.

The same weights and the same operations as the inference engine's blocks, which change their
arguments in place and see one scale at a time. Scale i attends to the keys of scales <= i: one
attention call per scale over a prefix of the keys, no mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toprovar.models.blocks import MAX_HEAD_SCALE, Block
from toprovar.models.rope import schedule_rotations
from toprovar.models.text import TextPool, linear_fp32
from toprovar.models.transformer import InfinityTransformer
from toprovar.schedules import ScaleSchedule

NORM_EPS = 1e-6
UNIT_EPS = 1e-12


@dataclass(frozen=True)
class Layout:
    """Where the N tokens of some first scales lie.

    Attributes:
        spans: (start, end) of each scale's tokens.
        rotation: [N, head_dim / 2, 2].
        levels: int64 [N], the scale of every token.
    """

    spans: tuple[tuple[int, int], ...]
    rotation: Tensor
    levels: Tensor

    @classmethod
    def of(
        cls, schedule: ScaleSchedule, scales: int, head_dim: int, device: torch.device | str
    ) -> Layout:
        tokens = schedule.tokens[:scales]
        ends = torch.tensor(tokens).cumsum(0).tolist()
        levels = torch.repeat_interleave(torch.arange(len(tokens)), torch.tensor(tokens))
        rotation = torch.cat(schedule_rotations(schedule, head_dim)[:scales])
        spans = tuple(zip([0, *ends[:-1]], ends, strict=True))
        return cls(spans, rotation.to(device), levels.to(device))

    def first(self, scales: int) -> Layout:
        """The layout of fewer scales."""
        end = self.spans[scales - 1][1]
        return Layout(self.spans[:scales], self.rotation[:end], self.levels[:end])


@dataclass(frozen=True)
class Conditioning:
    """What the text gives: pooled [B, C], text [B, L, C], mask bool [B, 1, 1, L]."""

    pooled: Tensor
    text: Tensor
    mask: Tensor


def condition(model: InfinityTransformer, features: Tensor, mask: Tensor) -> Conditioning:
    """Padded text features [B, L, Ct] and their mask, bool [B, L], through the text modules."""
    normed = model.text_norm(features)
    mask = mask[:, None, None]
    return Conditioning(_pool(model.text_pool, normed, mask), model.text_proj(normed), mask)


def _pool(pool: TextPool, normed: Tensor, mask: Tensor) -> Tensor:
    _, heads, size = pool.query.shape
    k, v = linear_fp32(normed, pool.to_kv).chunk(2, dim=-1)
    k, v = (t.unflatten(-1, (heads, size)).transpose(1, 2) for t in (k, v + pool.v_bias.float()))
    scores = (k @ pool.query.float()[0, :, :, None]).mT * size**-0.5  # [B, heads, 1, L]
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    return linear_fp32((weights @ v).flatten(1), pool.proj)


def modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    y = F.layer_norm(x, x.shape[-1:], None, None, NORM_EPS)
    return y * (1 + scale[:, None]) + shift[:, None]


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    return F.linear(x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype))


def _layer(x: Tensor, layer: nn.Linear, dtype: torch.dtype) -> Tensor:
    return _linear(x, layer.weight, layer.bias, dtype)


def _turned(x: Tensor, rotation: Tensor, scale: Tensor | None) -> Tensor:
    """Unit vectors [B, N, H, D], times the head scale, with their channel pairs turned."""
    x = x.float()
    x = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(UNIT_EPS)
    if scale is not None:
        x = x * scale[:, None]
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotation[:, None].unbind(-1)
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


def block_forward(
    block: Block,
    x: Tensor,
    shared: Tensor,
    text: Tensor,
    mask: Tensor,
    rotation: Tensor,
    spans: tuple[tuple[int, int], ...],
    dtype: torch.dtype,
) -> Tensor:
    """One block over all scales: [B, N, C] float32 -> the same.

    Args:
        shared: [B, 6, C], modulation common to all blocks.
        text: [B, L, C] projected text; mask: bool [B, 1, 1, L].
        dtype: of the matrix products.
    """
    parts = (shared + block.modulation[0].float()).unbind(1)
    gamma1, gamma2, scale1, scale2, shift1, shift2 = parts
    sa, ca, ffn, heads = block.self_attn, block.cross_attn, block.ffn, block.heads

    bias = torch.cat([sa.q_bias, torch.zeros_like(sa.q_bias), sa.v_bias])
    qkv = _linear(modulated(x, scale1, shift1), sa.to_qkv.weight, bias, dtype)
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).unbind(2)
    head_scale = sa.log_scale.float().clamp_max(MAX_HEAD_SCALE).exp().flatten()
    q = _turned(q, rotation, head_scale).to(dtype).transpose(1, 2)
    k = _turned(k, rotation, None).to(dtype).transpose(1, 2)
    v = v.transpose(1, 2)
    seen = [
        F.scaled_dot_product_attention(
            q[:, :, start:end], k[:, :, :end], v[:, :, :end], scale=1.0
        ).transpose(1, 2)
        for start, end in spans
    ]
    x = x + gamma1[:, None] * _layer(torch.cat(seen, 1).flatten(2), sa.proj, dtype)

    norm = block.cross_norm
    y = F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    q = _layer(y, ca.to_q, dtype).unflatten(-1, (heads, -1)).transpose(1, 2)
    kv_bias = torch.cat([torch.zeros_like(ca.v_bias), ca.v_bias])
    kv = _linear(text, ca.to_kv.weight, kv_bias, dtype).unflatten(-1, (2, heads, -1))
    text_k, text_v = (t.transpose(1, 2) for t in kv.unbind(2))
    looked = F.scaled_dot_product_attention(q, text_k, text_v, attn_mask=mask)
    x = x + _layer(looked.transpose(1, 2).flatten(2), ca.proj, dtype)

    hidden = F.gelu(_layer(modulated(x, scale2, shift2), ffn.fc1, dtype), approximate="tanh")
    return x + gamma2[:, None] * _layer(hidden, ffn.fc2, dtype)


def forward(
    model: InfinityTransformer,
    text: Conditioning,
    inputs: Tensor,
    layout: Layout,
    dtype: torch.dtype = torch.float32,
    run_block: Callable[..., Tensor] = block_forward,
) -> Tensor:
    """Logits of all tokens of the layout's scales.

    Args:
        inputs: [B, N - 1, d] codes fed in for scales 1 and later (scale 0 is one token).

    Returns:
        [B, N, 2 d] float32; entry 2 j + c is the logit of bit j being c.
    """
    if model.shape.spatial_patchify:
        raise ValueError("training does not know spatial patchify")
    chunk = model.shape.blocks_per_chunk
    activated = F.silu(text.pooled)
    shared = linear_fp32(activated, model.shared_modulation).unflatten(-1, (6, -1))
    scale, shift = linear_fp32(activated, model.head_modulation).chunk(2, dim=-1)
    first = text.pooled[:, None] + model.start.float()
    x = torch.cat([first, linear_fp32(inputs, model.token_embed)], dim=1)
    level = model.level_embed(layout.levels)
    for layer in range(model.shape.depth):
        if layer == 0 or (model.shape.level_embed_every_chunk and layer % chunk == 0):
            x = x + level
        x = run_block(
            model.block(layer),
            x,
            shared,
            text.text,
            text.mask,
            layout.rotation,
            layout.spans,
            dtype,
        )
    return linear_fp32(modulated(x, scale, shift), model.head)
