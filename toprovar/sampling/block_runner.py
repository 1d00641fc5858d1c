"""Runs one block, or its parts, on given tokens against the run's KV cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..models.text import PackedText
from ..models.transformer import InfinityTransformer, TextContext
from ..ops import attention as attention_ops
from ..ops.attention_entropy import attention_entropy, attention_with_entropy
from ..ops.cross_attention import AbsorbedText, pays
from ..ops.resize_tokens import resize_tokens
from ..ops.sparse_attention import windowed_attention
from .attending import PLAIN, Attending, put_away
from .params import EngineOptions
from .source_cache import AnyCache

PARTS = 3
"""Sub-layers of a block: self-attention, cross-attention, feed-forward."""


class FallbackUpdate(NamedTuple):
    """What dropped tokens get: ``update`` [R, h w, C] of an earlier scale's ``grid``, resized."""

    update: Tensor
    grid: tuple[int, int]
    new_grid: tuple[int, int]
    resize: str

    def resized(self) -> Tensor:
        return resize_tokens(self.update, self.grid, self.new_grid, self.resize)


class BlockRunner:
    """The blocks of one run, piece by piece: for the CPU, and the reference of ``FusedRunner``.

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

    cache: AnyCache
    update_dtype: torch.dtype | None = None
    """Of updates that are kept for later scales; None = the residual's."""
    many_shapes = False
    """Whether the layers of the scale at hand have many different counts (``ops.attention``)."""

    def __init__(
        self, transformer: InfinityTransformer, text: PackedText, batch: int,
        options: EngineOptions, probe: Any = None, by_head: bool = False,
    ) -> None:
        device = transformer.null_text.device
        self.transformer, self.batch = transformer, batch
        self.probe, self.by_head = probe, by_head
        self.dtype = options.cache_dtype or transformer.compute_dtype
        self.piece = options.piece_for(device)
        self.every_row: TextContext = transformer.prepare_text(text)
        self.text, self._first = self.every_row, 0
        self._absorbed: dict[int, AbsorbedText] = {}

    def start_row(self, first: int) -> None:
        """From now on, rows of a residual are those from number ``first`` on."""
        if first != self._first:
            self.text, self._first = self.every_row.from_row(first), first
        self.cache.first = first

    def block(
        self, scale: int, layer: int, x: Tensor, rotation: Tensor, how: Attending = PLAIN,
        index: Tensor | None = None, standin: FallbackUpdate | None = None, follow: bool = False,
    ) -> Tensor | None:
        """One whole block.

        Args:
            x: [R, N, C] residual of all tokens, changed in place; all rows, or those of one kind
                (``start_row``).
            rotation: [N, D / 2, 2] of the tokens' places.
            how: what is wanted of its self-attention.
            index: the tokens to work on, [n] or [R, n] int64; None = all.
            standin: what the others get; None = nothing.
            follow: promises that the next call is of the next layer, on the same tokens, with
                ``x`` untouched in between.

        Returns:
            [B, n] float32 entropy (natural log, mean over heads) of the conditional rows, or
            [B, H, n]; None if not measured.
        """
        part = x if index is None else gather(x, index)
        turn = rotation if index is None else gather_rotation(rotation, index)
        entropy = None
        if part.shape[1]:
            attended, entropy = self.attend(scale, layer, part, turn, how)
            self.transformer.block(layer).finish(
                part, attended, self.text.blocks[layer], self.piece,
                self._absorbed_text(layer, part),
            )
        if index is not None:
            if standin is not None:
                x.add_(standin.resized())
            scatter_(x, index, part)
        return entropy

    def begin(self, layers: Sequence[int], rows: int) -> None:
        """A scale begins, of ``rows`` rows, whose blocks of these numbers will be run in turn."""
        self.cache.begin(layers, rows)

    def end(self) -> None:
        """The blocks of a scale are done."""
        self.cache.end()

    def part(self, part: int, scale: int, layer: int, x: Tensor, rotation: Tensor,
             index: Tensor | None = None, how: Attending = PLAIN) -> Tensor:
        """What one sub-layer adds to the residual ``x`` [R, N, C], which stays, at the tokens of
        ``index``: [R, n, C] float32."""
        block, context = self.transformer.block(layer), self.text.blocks[layer]
        if index is not None:
            x, rotation = gather(x, index), gather_rotation(rotation, index)
        if part == 0:
            attended, _ = self.attend(scale, layer, x, rotation, how)
            return block.attention_update(attended, context, self.piece)
        if part == 1:
            return block.text_update(x, context, self.piece)
        return block.feed_forward_update(x, context, self.piece)

    def attend(self, scale: int, layer: int, x: Tensor, rotation: Tensor,
               how: Attending = PLAIN) -> tuple[Tensor, Tensor | None]:
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
        if how.window is not None:
            out, _ = windowed_attention(q, k, v, 1.0, how.window)
            if how.measure:  # apart, so that looking does not change a bit of the picture
                own = slice(0, self.batch)
                _, entropy = windowed_attention(q[own], k[own], v[own], 1.0, how.window,
                                                entropy=True, mean_heads=not self.by_head)
        elif how.measure:
            out, entropy = self._measured(q, k, v)
        else:
            out = attention_ops.attention(q, k, v, 1.0, many_shapes=self.many_shapes)
        if self.probe:
            self.probe.attention(scale, layer, q, k, v, out)
        put_away(self.cache, layer, q, k, how.hold)
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
        shape, context = self.transformer.shape, self.every_row.blocks[layer]
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
        return text.from_row(self._first)


def gather(x: Tensor, index: Tensor) -> Tensor:
    """Tokens of ``x`` [R, N, C] at ``index`` [n] or [R, n]: a copy [R, n, C]."""
    if index.ndim == 1:
        return x.index_select(1, index)
    return x.take_along_dim(index[..., None], dim=1)


def gather_rotation(rotation: Tensor, index: Tensor) -> Tensor:
    """Rows of the table [N, D / 2, 2]: [n, D / 2, 2], or [R, n, D / 2, 2]."""
    return rotation.index_select(0, index) if index.ndim == 1 else rotation[index]


def scatter_(x: Tensor, index: Tensor, part: Tensor) -> None:
    """Puts ``part`` [R, n, C] back into ``x`` [R, N, C] at ``index``."""
    if index.ndim == 1:
        x.index_copy_(1, index, part.to(x.dtype))
    else:
        x.scatter_(1, index[..., None].expand_as(part), part.to(x.dtype))
