"""Weights of one transformer block, and the arithmetic on them.

A block holds weights only. What a run derives from them once (text keys and values, modulation,
the exponential of the head scales) is a ``BlockContext`` owned by the run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.adaln import gated_add_, modulated_norm
from ..ops.attention import attention
from ..ops.cross_attention import AbsorbedText, absorb, absorbed_add_
from ..ops.linear_gelu import linear_gelu
from ..ops.qk_rope import normalise_rotate
from .config import TransformerConfig

MAX_HEAD_SCALE = math.log(100)


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.empty(1, heads, 1, 1))
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.empty(width))
        self.v_bias = nn.Parameter(torch.empty(width))
        self.register_buffer("zero_k_bias", torch.zeros(width))
        self.proj = nn.Linear(width, width)


class CrossAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.v_bias = nn.Parameter(torch.empty(width))
        self.register_buffer("zero_k_bias", torch.zeros(width))
        self.proj = nn.Linear(width, width)


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)


@dataclass(frozen=True)
class BlockContext:
    """What one run derives from one block, once.

    Attributes:
        modulation: gamma1, gamma2, 1 + scale1, 1 + scale2, shift1, shift2, each [R, C] float32.
        head_scale: [H] float32, factor on the normalised queries.
        qkv_bias: [3 C] in the block's dtype.
        text_k, text_v: [R, H, L, D] in the block's dtype.
        text_mask: [R, 1, 1, L] bool or None.
    """

    modulation: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
    head_scale: Tensor
    qkv_bias: Tensor
    text_k: Tensor
    text_v: Tensor
    text_mask: Tensor | None

    def from_row(self, first: int) -> BlockContext:
        """The same from row ``first`` on, as views."""
        gamma1, gamma2, gain1, gain2, shift1, shift2 = (m[first:] for m in self.modulation)
        return BlockContext(
            (gamma1, gamma2, gain1, gain2, shift1, shift2), self.head_scale, self.qkv_bias,
            self.text_k[first:], self.text_v[first:],
            None if self.text_mask is None else self.text_mask[first:],
        )


class Block(nn.Module):
    """Self-attention over the cache, cross-attention to the text, feed-forward."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.num_heads
        self.modulation = nn.Parameter(torch.empty(1, 1, 6, width))
        self.self_attn = SelfAttention(width, config.num_heads)
        self.cross_norm = nn.LayerNorm(width, eps=1e-6)
        self.cross_attn = CrossAttention(width)
        self.ffn = FeedForward(width, config.mlp_hidden)

    @property
    def dtype(self) -> torch.dtype:
        return self.cross_attn.to_kv.weight.dtype

    def prepare(self, shared: Tensor, text: Tensor, text_mask: Tensor | None) -> BlockContext:
        """Everything about a run that does not change from scale to scale.

        Args:
            shared: [R, 6, C] float32, the modulation common to all blocks.
            text: [R, L, C] projected text.
            text_mask: [R, 1, 1, L] bool, or None when no row is padded.
        """
        gamma1, gamma2, scale1, scale2, shift1, shift2 = (
            (shared + self.modulation[0].float()).contiguous().unbind(1)
        )
        sa, ca = self.self_attn, self.cross_attn
        kv_bias = torch.cat([torch.zeros_like(ca.v_bias), ca.v_bias])
        kv = F.linear(text.to(self.dtype), ca.to_kv.weight, kv_bias)
        text_k, text_v = kv.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).contiguous()
        return BlockContext(
            modulation=(gamma1, gamma2, 1 + scale1, 1 + scale2, shift1, shift2),
            head_scale=sa.log_scale.float().clamp_max(MAX_HEAD_SCALE).exp().flatten(),
            qkv_bias=torch.cat([sa.q_bias, torch.zeros_like(sa.q_bias), sa.v_bias]),
            text_k=text_k,
            text_v=text_v,
            text_mask=text_mask,
        )

    def project_qkv(
        self, x: Tensor, context: BlockContext, rotation: Tensor,
        q_out: Tensor, k_out: Tensor, v_out: Tensor, piece: int,
    ) -> None:
        """First half of self-attention: queries, and this scale's keys and values.

        Args:
            x: [R, N, C] residual.
            rotation: [N, D / 2, 2] or [R, N, D / 2, 2] of the tokens' places.
            q_out, k_out, v_out: [R, N, H, D] to write to.
            piece: most tokens worked on at once.
        """
        _, _, gain, _, shift, _ = context.modulation
        weight = self.self_attn.to_qkv.weight
        for rows, tokens in pieces(x, piece):
            y = modulated_norm(x[rows, tokens], gain[rows], shift[rows], self.dtype)
            qkv = F.linear(y, weight, context.qkv_bias).unflatten(-1, (3, self.heads, -1))
            q, k, v = qkv.unbind(2)
            turn = rotation[rows, tokens] if rotation.ndim == 4 else rotation[tokens]
            normalise_rotate(q, turn, q_out[rows, tokens], context.head_scale)
            normalise_rotate(k, turn, k_out[rows, tokens])
            v_out[rows, tokens].copy_(v)

    def finish(
        self, x: Tensor, attended: Tensor, context: BlockContext, piece: int,
        text: AbsorbedText | None = None,
    ) -> None:
        """Second half: what attention gave, cross-attention and feed-forward, into ``x`` in place.

        Args:
            x: [R, N, C] residual, changed.
            attended: [R, N, C] output of self-attention, heads side by side.
            piece: most tokens worked on at once.
            text: from ``absorb_text``, where that is cheaper; float32 only.
        """
        gamma1, gamma2, _, gain2, _, shift2 = context.modulation
        sa, ffn = self.self_attn, self.ffn
        for rows, tokens in pieces(x, piece):
            part = x[rows, tokens]
            gated_add_(part, sa.proj(attended[rows, tokens].to(self.dtype)), gamma1[rows])
            self._attend_text(part, rows, context, text)
            y = modulated_norm(part, gain2[rows], shift2[rows], self.dtype)
            hidden = linear_gelu(y, ffn.fc1.weight, ffn.fc1.bias)
            gated_add_(part, ffn.fc2(hidden), gamma2[rows])

    def attention_update(self, attended: Tensor, context: BlockContext, piece: int) -> Tensor:
        """What self-attention adds to the residual: [R, n, C] float32 from ``attended`` alike."""
        gamma1 = context.modulation[0]
        out = torch.empty(attended.shape, dtype=torch.float32, device=attended.device)
        for rows, tokens in pieces(attended, piece):
            update = self.self_attn.proj(attended[rows, tokens].to(self.dtype))
            torch.mul(update, gamma1[rows, None], out=out[rows, tokens])
        return out

    def text_update(self, x: Tensor, context: BlockContext, piece: int) -> Tensor:
        """What cross-attention adds to the residual ``x`` [R, n, C]: alike, float32."""
        out = torch.empty(x.shape, dtype=torch.float32, device=x.device)
        for rows, tokens in pieces(x, piece):
            out[rows, tokens] = self._text_update(x[rows, tokens], rows, context)
        return out

    def feed_forward_update(self, x: Tensor, context: BlockContext, piece: int) -> Tensor:
        """What the feed-forward adds to the residual ``x`` [R, n, C]: alike, float32."""
        _, gamma2, _, gain2, _, shift2 = context.modulation
        ffn = self.ffn
        out = torch.empty(x.shape, dtype=torch.float32, device=x.device)
        for rows, tokens in pieces(x, piece):
            y = modulated_norm(x[rows, tokens], gain2[rows], shift2[rows], self.dtype)
            update = ffn.fc2(linear_gelu(y, ffn.fc1.weight, ffn.fc1.bias))
            torch.mul(update, gamma2[rows, None], out=out[rows, tokens])
        return out

    def absorb_text(self, context: BlockContext) -> AbsorbedText:
        """The run's text with this block's projections multiplied in, for ``finish``."""
        ca, norm = self.cross_attn, self.cross_norm
        return absorb(
            context.text_k, context.text_v, ca.to_q.weight, ca.to_q.bias, ca.proj.weight,
            ca.proj.bias, norm.weight.float(), norm.bias.float(),
        )

    def _attend_text(
        self, part: Tensor, rows: slice, context: BlockContext, text: AbsorbedText | None
    ) -> None:
        """Cross-attention of ``part`` [r, n, C], rows ``rows`` of the run, in place."""
        if text is None:
            gated_add_(part, self._text_update(part, rows, context), None)
            return
        norm = self.cross_norm
        mask = None if context.text_mask is None else context.text_mask[rows]
        own = AbsorbedText(text.keys[rows], text.bias[rows], text.values[rows], text.heads)
        absorbed_add_(part, F.layer_norm(part, norm.normalized_shape, eps=norm.eps), own, mask)

    def _text_update(self, part: Tensor, rows: slice, context: BlockContext) -> Tensor:
        """[r, n, C] in the block's dtype."""
        ca, norm = self.cross_attn, self.cross_norm
        mask = None if context.text_mask is None else context.text_mask[rows]
        y = F.layer_norm(
            part.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps
        )
        q = ca.to_q(y.to(self.dtype)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        seen = attention(q, context.text_k[rows], context.text_v[rows], q.shape[-1] ** -0.5, mask)
        return ca.proj(seen.transpose(1, 2).flatten(-2))


def pieces(x: Tensor, most: int) -> Iterator[tuple[slice, slice]]:
    """Cuts [R, N, C] into (rows, tokens) pieces of at most ``most`` tokens.

    Small inputs stay whole, so that weights are read once for all rows; large ones go row by row,
    so that a piece stays in the processor's cache and its modulation is one vector.
    """
    rows, tokens = x.shape[:2]
    if rows * tokens <= most:
        yield slice(0, rows), slice(0, tokens)
        return
    count = -(-tokens // most)
    step = -(-tokens // count)
    for r in range(rows):
        for start in range(0, tokens, step):
            yield slice(r, r + 1), slice(start, min(start + step, tokens))
