"""Where a picture looks at the words in which two descriptions differ: masks by cross-attention.

The picture's bits are fed under both prompts, block by block, and the weights are taken that its
tokens give to the words of one prompt which the other lacks. This looks into every block, so
nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.text import PackedText
from ..sampling.bits import Sampler
from ..sampling.observers import LayerProbe
from ..sampling.params import EngineOptions, SamplingParams
from ..sampling.run import SamplingRun
from ..sampling.streaming import stream_of
from .edit import Edit
from .stack import BitStack
from .words import LOOK_FROM

if TYPE_CHECKING:
    from ..models.transformer import InfinityTransformer
    from ..schedules import ScaleSchedule

PIECE = 1 << 30


class CrossAttention(LayerProbe):
    """Weights of chosen words, summed over layers and heads.

    Args:
        transformer: whose blocks are looked into; text: features of all rows.
        chosen: [R, L] 1 for text tokens whose weights count; of rows without any nothing is seen.

    Attributes:
        found: by scale, [R, N] float32 mean weight over layers and heads.
    """

    def __init__(self, transformer: InfinityTransformer, text: PackedText, chosen: Tensor) -> None:
        self.transformer, self.chosen = transformer, chosen
        self.blocks = transformer.prepare_text(text).blocks
        self.found: dict[int, Tensor] = {}
        self._x: Tensor | None = None

    def block_input(self, scale: int, layer: int, x: Tensor) -> None:
        self._x = x.float().clone()

    def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                  ) -> None:
        assert self._x is not None
        block, context = self.transformer.block(layer), self.blocks[layer]
        attended = out.transpose(1, 2).flatten(-2)
        x = self._x + block.attention_update(attended, context, PIECE)
        norm, cross = block.cross_norm, block.cross_attn
        y = F.layer_norm(x, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)
        asked = cross.to_q(y.to(block.dtype)).unflatten(-1, (block.heads, -1)).transpose(1, 2)
        scores = (asked @ context.text_k.transpose(2, 3)).float() * asked.shape[-1] ** -0.5
        if context.text_mask is not None:
            scores = scores.masked_fill(~context.text_mask, -torch.inf)
        weights = (scores.softmax(-1) * self.chosen[:, None, None]).sum(-1).mean(1)
        depth = self.transformer.shape.depth
        self.found[scale] = self.found.get(scale, torch.zeros_like(weights)) + weights / depth


def attended_words(transformer: InfinityTransformer, source: BitStack, schedule: ScaleSchedule,
                   text: PackedText, ids: Sequence[Sequence[int]], until: int) -> Tensor:
    """How much each place looks at words in which its two prompts differ.

    Args:
        source: bits of B pictures.
        text: features of B target prompts, then of B source prompts; ids: their text tokens.
        until: the last scale that is looked at.

    Returns:
        [B, 1, h, w] float32 of the finest grid.

    Raises:
        ValueError: the blocks are streamed, so their weights are not at hand.
    """
    if stream_of(transformer) is not None:
        raise ValueError("mask_from cross-attention needs the blocks on the device, but here they "
                         "wait in host memory: use likelihood")
    device, count = transformer.null_text.device, len(source)
    text = text.to(device, torch.float32)
    chosen = torch.zeros(2 * count, max(text.lengths), device=device)
    for row, own in enumerate(ids):
        other = set(ids[(row + count) % (2 * count)])
        for place, token in enumerate(own[: text.lengths[row]]):
            chosen[row, place] = float(token not in other)
    with torch.inference_mode():
        probe = CrossAttention(transformer, text, chosen)
        both = source.pick([*range(count), *range(count)])
        known = torch.zeros(1, 1, dtype=torch.bool)
        edit = Edit(both, tuple(known.expand(1, n) for n in schedule.tokens))
        params = SamplingParams(schedule, 1.0)
        run = SamplingRun(transformer, text, params, probe=probe,
                          options=EngineOptions(graphs=False),
                          choose=edit.chooser(Sampler(params), device))
    total = torch.zeros(count, 1, *schedule.grids[-1], device=device)
    for state in run:
        if min(state.grid) >= LOOK_FROM:
            for rows in probe.found[state.index].chunk(2):
                total += _standard(rows.unflatten(1, state.grid)[:, None], schedule.grids[-1])
        if state.index == until:
            break
    return total.cpu()


def _standard(found: Tensor, grid: tuple[int, int]) -> Tensor:
    """In deviations from its mean, on a grid; 0 where nothing was looked for."""
    spread = found.std((2, 3), keepdim=True)
    values = torch.where(spread > 1e-9, (found - found.mean((2, 3), keepdim=True))
                         / spread.clamp_min(1e-9), torch.zeros_like(found))
    return F.interpolate(values, grid, mode="bilinear", align_corners=False)
