"""One scale through the transformer: from summed codes to logits."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import Tensor

from ..models.transformer import InfinityTransformer
from ..sparsity.compiled import ScaleStep
from .head import embed_scale
from .observers import LayerProbe
from .sparse import SparseBlocks


class Guidance(NamedTuple):
    """How a scale's rows are brought together.

    Attributes:
        cfg: scale of guidance; 1 where only one kind of row is run.
        layers: after which blocks guidance is mixed in.
        on_logits: whether it is applied to the logits: both kinds of rows are needed there.
    """

    cfg: float
    layers: Collection[int]
    on_logits: bool


class ScaleForward:
    """Runs scales of one run.

    Args:
        batch: images; rows of a scale are as many, or two or three times as many.
        probe: looks into every block, or None.
        check: called before every layer; an exception it raises ends the run. None = scales may be
            recorded, which nothing can interrupt.
    """

    def __init__(self, transformer: InfinityTransformer, blocks: SparseBlocks, batch: int,
                 probe: LayerProbe | None, check: Callable[[], None] | None) -> None:
        self.transformer, self.blocks, self.batch = transformer, blocks, batch
        self.probe, self.check = probe, check

    def input(self, scale: int, rows: int, codes: Tensor, dtype: torch.dtype) -> Tensor:
        """The residual [R, N, C] of ``dtype`` that a scale begins with, before the level embedding.

        Args:
            rows: R; codes: [B, latent channels, H, W] summed so far.
        """
        if scale == 0:
            return self.transformer.first_tokens(self.blocks.runner.text)[:rows].to(dtype)
        grid = self.blocks.plan_state.plan.scales[scale].grid
        return embed_scale(self.transformer, codes, grid, rows // self.batch, dtype)

    def __call__(self, scale: int, step: ScaleStep, x: Tensor, rotation: Tensor,
                 guidance: Guidance) -> Tensor:
        """Logits of the rows that count. May be recorded: host values that change from picture to
        picture must be in the recording's key.

        Args:
            x: [R, N, C] residual before the level embedding, changed.
            rotation: [N, D / 2, 2] of the tokens' places.

        Returns:
            [R or B, N, 2 d] float32.
        """
        self.blocks.choose_ahead(scale, x.shape[0])
        level = self.transformer.level_embed.weight[scale].to(x.dtype)
        if step.jumps:
            self.blocks.jump(scale, x.add_(level))
        self.blocks.runner.begin([layer for layer in range(step.first, len(step.blocks))
                                  if step.blocks[layer].tokens], x.shape[0])
        for layer in range(step.first, len(step.blocks)):
            if self.check is not None:
                self.check()
            if layer and layer == step.rejoin:
                self.blocks.rejoin(x)
            if self._embeds_level(layer) and not (step.jumps and layer == 0):
                x.add_(level)
            if self.probe:
                self.probe.block_input(scale, layer, x)
            mixes = layer in guidance.layers
            apart = mixes or self.probe is not None or self._embeds_level(layer + 1)
            x = self.blocks.run(scale, layer, x, rotation, apart)
            if mixes:
                other = slice(self.batch, 2 * self.batch)
                half = guidance.cfg * x[: self.batch] + (1 - guidance.cfg) * x[other]
                x[: self.batch], x[other] = half, half
            if self.probe:
                self.probe.block_output(scale, layer, x)
        self.blocks.runner.end()
        rows = x.shape[0] if guidance.on_logits else self.batch
        return self.transformer.logits(x[:rows], self.blocks.runner.text)

    def _embeds_level(self, layer: int) -> bool:
        shape = self.transformer.shape
        return layer == 0 or (shape.level_embed_every_chunk
                              and layer % shape.blocks_per_chunk == 0)
