"""Runs one block, or its parts, on given tokens against the run's KV cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..models.text import PackedText
from ..models.transformer import InfinityTransformer, TextContext
from ..ops import attention as attention_ops
from ..ops.attention_entropy import attention_entropy, attention_with_entropy
from ..ops.cross_attention import AbsorbedText, pays
from .cache import KVCache
from .params import EngineOptions

PARTS = 3
"""Sub-layers of a block: self-attention, cross-attention, feed-forward."""


class BlockRunner:
    """The blocks of one run.

    Args:
        transformer: borrowed, not changed.
        text: raw features of all rows, conditional rows first.
        batch: images, the number of conditional rows.
        options: how to compute.
        probe: a ``LayerProbe`` that sees every attention, or None.
        by_head: entropies are given head by head, [B, H, n].

    Attributes:
        cache: to be set before the first block, and again where it is laid out anew.
    """

    cache: KVCache

    def __init__(
        self, transformer: InfinityTransformer, text: PackedText, batch: int,
        options: EngineOptions, probe: Any = None, by_head: bool = False,
    ) -> None:
        device = transformer.null_text.device
        self.transformer, self.batch = transformer, batch
        self.probe, self.by_head = probe, by_head
        self.dtype = options.cache_dtype or transformer.compute_dtype
        self.piece = options.piece_for(device)
        self.text: TextContext = transformer.prepare_text(text)
        self._absorbed: dict[int, AbsorbedText] = {}

    def block(self, scale: int, layer: int, x: Tensor, rotation: Tensor, measure: bool = False
              ) -> Tensor | None:
        """One whole block.

        Args:
            x: [R, n, C] residual, changed in place; all rows, or the conditional ones.
            rotation: [n, D / 2, 2], or [R, n, D / 2, 2], of the tokens' places.
            measure: whether to take entropy.

        Returns:
            [B, n] float32 entropy (natural log, mean over heads) of the conditional rows, or
            [B, H, n]; None if not measured.
        """
        attended, entropy = self.attend(scale, layer, x, rotation, measure)
        self.transformer.block(layer).finish(
            x, attended, self.text.blocks[layer], self.piece, self._absorbed_text(layer, x)
        )
        return entropy

    def part(self, part: int, scale: int, layer: int, x: Tensor, rotation: Tensor) -> Tensor:
        """What one sub-layer adds to the residual ``x`` [R, n, C], which stays: alike, float32."""
        block, context = self.transformer.block(layer), self.text.blocks[layer]
        if part == 0:
            attended, _ = self.attend(scale, layer, x, rotation)
            return block.attention_update(attended, context, self.piece)
        if part == 1:
            return block.text_update(x, context, self.piece)
        return block.feed_forward_update(x, context, self.piece)

    def attend(self, scale: int, layer: int, x: Tensor, rotation: Tensor, measure: bool = False
               ) -> tuple[Tensor, Tensor | None]:
        """Self-attention of tokens ``x`` [R, n, C], whose keys and values join the cache.

        Returns:
            [R, n, C] heads side by side, before the projection; entropy as in ``block``.
        """
        heads = self.transformer.shape.num_heads
        rows, count, width = x.shape
        q = torch.empty(rows, count, heads, width // heads, dtype=self.dtype, device=x.device)
        k_new, v_new = self.cache.new(layer, count, rows)
        self.transformer.block(layer).project_qkv(
            x, self.text.blocks[layer], rotation, q, k_new, v_new, self.piece
        )
        q = q.transpose(1, 2)
        k, v = self.cache.visible(layer, rows)
        entropy = None
        if measure:
            out, entropy = self._measured(q, k, v)
        else:
            out = attention_ops.attention(q, k, v, 1.0)
        if self.probe:
            self.probe.attention(scale, layer, q, k, v, out)
        return out.transpose(1, 2).flatten(-2), entropy

    def _measured(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Attention of all rows, entropy of the conditional ones.

        On a GPU one kernel gives both. Elsewhere the output comes from the very call of a run that
        measures nothing, so that looking does not change a bit of the picture.
        """
        own, mean = slice(0, self.batch), not self.by_head
        if q.device.type != "cuda":
            entropy = attention_entropy(q[own], k[own], 1.0, mean_heads=mean)
            return attention_ops.attention(q, k, v, 1.0), entropy
        out = torch.empty_like(q)
        _, entropy = attention_with_entropy(
            q[own], k[own], v[own], 1.0, mean_heads=mean, out=out[own]
        )
        if q.shape[0] > self.batch:
            rest = slice(self.batch, None)
            out[rest] = attention_ops.attention(q[rest], k[rest], v[rest], 1.0)
        return out, entropy

    def _absorbed_text(self, layer: int, x: Tensor) -> AbsorbedText | None:
        """The text for cross-attention of tokens ``x``, with a block's projections multiplied in,
        where that is cheaper. Kept for later scales if it is small beside the KV cache."""
        shape, context = self.transformer.shape, self.text.blocks[layer]
        if x.dtype != torch.float32 or not pays(
            x.shape[1], context.text_k.shape[2], shape.num_heads, shape.width,
            self.transformer.compute_dtype,
        ):
            return None
        text = self._absorbed.get(layer)
        if text is None:
            text = self.transformer.block(layer).absorb_text(context)
            if shape.depth * text.nbytes <= self.cache.nbytes // 8:
                self._absorbed[layer] = text
        return text
