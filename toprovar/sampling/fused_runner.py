"""Runs blocks on a GPU: 12 launches a block, token sets by index, everything at fixed addresses.

Same arithmetic as ``BlockRunner``, its reference, in another order of passes: each residual add is
one pass with the norm that follows it, the last one with the first norm of the next block where
that works on the same tokens. Nothing is gathered: kernels read and write the residual by index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..models.blocks import Block
from ..models.transformer import InfinityTransformer
from ..ops import attention as attention_ops
from ..ops.adaln import gated_add_
from ..ops.attention_entropy import attention_with_entropy
from ..ops.fp8 import E4M3
from ..ops.qk_rope import rotate_qkv
from ..ops.sparse_attention import windowed_attention
from ..ops.text_attention import text_attention
from ..ops.token_merge import merge_update_
from ..ops.widen_cache import widen_cache
from .attending import PLAIN, Attending, put_away
from .block_runner import FallbackUpdate
from .device_text import DeviceText
from .layers import Activations, Layers
from .params import EngineOptions
from .prefetch import WeightPrefetch
from .source_cache import FACTORS as FACTORS
from .source_cache import AnyCache
from .streaming import stream_of


class FusedRunner:
    """The blocks of one run; attributes and methods as of ``BlockRunner``."""

    cache: AnyCache
    many_shapes = False

    def __init__(
        self, transformer: InfinityTransformer, text: DeviceText, batch: int,
        options: EngineOptions, probe: Any = None, by_head: bool = False,
    ) -> None:
        self.transformer, self.batch = transformer, batch
        self.text = self.every_row = text
        self._first = 0
        self.probe, self.by_head = probe, by_head
        #: of the KV cache
        self.dtype = options.cache_dtype or transformer.compute_dtype
        self._narrow = self.update_dtype = transformer.compute_dtype
        self._stream = stream_of(transformer)
        # Streamed weights lie elsewhere from scale to scale.
        self.prefetch = WeightPrefetch(transformer) \
            if options.prefetch_weights and self._stream is None else None
        self._layers = Layers(transformer, self.prefetch)
        self._next: tuple[int, Activations] | None = None

    def start_row(self, first: int) -> None:
        """See ``BlockRunner.start_row``."""
        if first != self._first:
            self.text, self._first = self.every_row.from_row(first), first
        self.cache.first = first

    def block(
        self, scale: int, layer: int, x: Tensor, rotation: Tensor, how: Attending = PLAIN,
        index: Tensor | None = None, standin: FallbackUpdate | None = None, follow: bool = False,
    ) -> Tensor | None:
        """See ``BlockRunner.block``."""
        entropy = None
        if index is None or index.numel():
            entropy = self._block(scale, layer, x, rotation, how, index, follow)
        if index is not None and standin is not None:
            merge_update_(x, None, index, standin.update, standin.grid, standin.new_grid,
                          standin.resize)
        return entropy

    def begin(self, layers: Sequence[int], rows: int) -> None:
        """See ``BlockRunner.begin``."""
        if self._stream is not None:
            self._stream.begin(layers)
        if self.prefetch is not None:
            self.prefetch.begin(layers)
        self.cache.begin(layers, rows)

    def end(self) -> None:
        """The blocks of a scale are done."""
        if self._stream is not None:
            self._stream.join()
        if self.prefetch is not None:
            self.prefetch.end()
        self.cache.end()

    def part(self, part: int, scale: int, layer: int, x: Tensor, rotation: Tensor,
             index: Tensor | None = None, how: Attending = PLAIN) -> Tensor:
        """See ``BlockRunner.part``."""
        block, text, run = self._weights(layer), self.text.layer(layer), self._layers
        rows = x.shape[0]
        if part == 0:
            y = run.norm(x, text.gain1[:rows], text.shift1[:rows], index)
            attended, _ = self._attend(block, scale, layer, y, rotation, how, index)
            update = run.linear(attended, block.self_attn.proj)
            return update.float().mul_(text.gamma1[:rows, None])
        if part == 1:
            y = run.norm(x, text.cross_gain, text.cross_shift, index)
            return self._see_text(block, layer, y, rows).float()
        y = run.norm(x, text.gain2[:rows], text.shift2[:rows], index)
        return run.feed(y, block).float().mul_(text.gamma2[:rows, None])

    def _weights(self, layer: int) -> Block:
        """A block whose weights are on the device."""
        if self._stream is None:
            return self.transformer.block(layer)
        return self._stream.use(layer)

    def _block(
        self, scale: int, layer: int, x: Tensor, rotation: Tensor, how: Attending,
        index: Tensor | None, follow: bool,
    ) -> Tensor | None:
        rows, block, text = x.shape[0], self._weights(layer), self.text.layer(layer)
        run = self._layers
        ready, self._next = self._next, None
        if ready is not None and ready[0] == layer:
            y = ready[1]
        else:
            y = run.norm(x, text.gain1[:rows], text.shift1[:rows], index)
        attended, entropy = self._attend(block, scale, layer, y, rotation, how, index)
        update = run.linear(attended, block.self_attn.proj)
        y = run.add_norm(x, update, text.gamma1[:rows], text.cross_gain, text.cross_shift, index)
        update = self._see_text(block, layer, y, rows)
        y = run.add_norm(x, update, None, text.gain2[:rows], text.shift2[:rows], index)
        update = run.feed(y, block)
        gate = text.gamma2[:rows]
        if follow:
            after = self.text.layer(layer + 1)
            self._next = layer + 1, run.add_norm(
                x, update, gate, after.gain1[:rows], after.shift1[:rows], index
            )
        else:
            gated_add_(x, update, gate, index)
        return entropy

    def _attend(
        self, block: Block, scale: int, layer: int, y: Activations, rotation: Tensor,
        how: Attending, index: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Self-attention of normalised tokens [R, n, C], whose keys and values join the cache:
        [R, n, C] of the blocks' dtype before the projection, and entropy as ``block`` returns."""
        heads, text = self.transformer.shape.num_heads, self.text.layer(layer)
        qkv = self._layers.linear(y, block.self_attn.to_qkv, text.qkv_bias)
        rows, count, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
        wide = self._narrow if self.dtype == E4M3 else self.dtype
        q = torch.empty(rows, count, heads, width // heads, dtype=wide, device=qkv.device)
        k_new, v_new = self.cache.new(layer, count, rows)
        factors = FACTORS if k_new.dtype == E4M3 else None
        rotate_qkv(qkv.view(rows, count, 3, heads, -1), rotation, q, k_new, v_new,
                   text.head_scale, index, factors=factors)
        q = q.transpose(1, 2)
        k, v = self.cache.visible(layer, rows)
        if factors is not None:
            scratch = torch.empty(2, *k.shape, dtype=wide, device=k.device)
            k, v = widen_cache(k, v, factors, scratch)
        entropy = None
        if how.window is not None:
            out, entropy = windowed_attention(q, k, v, 1.0, how.window, entropy=how.measure,
                                              mean_heads=not self.by_head)
            entropy = None if entropy is None else entropy[: self.batch]
        elif how.measure:  # of all rows: cheaper than a second launch for those that need none
            out, entropy = attention_with_entropy(q, k, v, 1.0, mean_heads=not self.by_head)
            entropy = entropy[: self.batch]
        else:
            out = attention_ops.attention(q, k, v, 1.0, many_shapes=self.many_shapes)
        if self.probe:
            self.probe.attention(scale, layer, q, k, v, out)
        put_away(self.cache, layer, q, k, how.hold)
        return out.transpose(1, 2).flatten(-2).to(self._narrow), entropy

    def _see_text(self, block: Block, layer: int, y: Activations, rows: int) -> Tensor:
        """Cross-attention of normalised tokens [R, n, C], projected."""
        attn, text = block.cross_attn, self.text.layer(layer)
        q = self._layers.linear(y, attn.to_q)
        seen = text_attention(q, text.text_k[:rows], text.text_v[:rows], self.text.lengths[:rows],
                              self.transformer.shape.head_dim ** -0.5)
        return self._layers.linear(seen, attn.proj)
