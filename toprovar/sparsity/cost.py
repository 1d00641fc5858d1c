"""What a plan costs: counted products, and seconds by a cost model of a device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ..models.config import TransformerConfig
from ..ops.windows import Window as SeenWindow
from ..ops.windows import seen_share
from .compiled import BlockStep
from .plan import FROZEN, PredictedCost, SparsityPlan
from .shortcut_inputs import Sizes

TEXT_TOKENS = 32
"""Text length that FLOPs are counted for; cross-attention is a small share at any length."""

CHOSEN = ("layer", "part", "scale")
"""Ways in which a block's tokens are picked."""

Table = NDArray[np.float64]


@dataclass(frozen=True)
class WorkTable:
    """The work of one image under a plan, block by block.

    Attributes:
        rows: [S, 1] batch rows run, 0 where a scale is not run; tokens: [S, 1] of the scale.
        kept: [S, L] tokens worked on; keys: [S, L] keys that each of them attends to.
        measured, chosen, updated: [S, L] 1 where entropy is taken, tokens are picked, a stored
            update is added or kept.
        parts: [S, L] how many times tokens are picked: 3 = before every sub-layer.
        jumps: [S, 1] how many shortcuts predict the scale's tokens.
        mixtures: [S, 1] how many mixtures are made of the scale's tokens, over all groups.
        source: tokens of a source picture, which pass every layer before the first scale, in as
            many rows as that has; ``keys`` counts what scales see of them.
        cache: keys of a row that a bounded cache has room for; None = all are kept.
    """

    rows: Table
    tokens: Table
    kept: Table
    keys: Table
    measured: Table
    chosen: Table
    updated: Table
    parts: Table
    jumps: Table
    mixtures: Table
    cache: float | None = None
    source: int = 0

    @staticmethod
    def of(plan: SparsityPlan, guided: bool = True, edits: bool = False) -> WorkTable:
        """Of a plan.

        Args:
            guided: whether unconditional rows are run.
            edits: whether the model edits a source picture (``TransformerConfig.edits``).
        """
        steps = plan.compiled.scales
        tokens = np.array([[s.plan.tokens] for s in steps], dtype=np.float64)
        run = np.array([[float(s.plan.run)] for s in steps])
        rows = run * [[2.0 if guided and s.plan.guided else 1.0] for s in steps]
        source = plan.scales[-1].tokens if edits else 0
        kept, keys, measured, updated, chosen, parts = np.array([
            [(b.tokens, _seen(b, _source_keys(s.plan.grid, n, source)), b.measured,
              b.stored or b.fallback is not None, b.chosen in CHOSEN,
              3 if b.chosen == "part" else 1)
             for n, b in enumerate(s.blocks)] for s in steps], dtype=np.float64).transpose(2, 0, 1)
        mixtures = np.zeros_like(tokens)
        for s, step in enumerate(steps):
            if step.plan.run and step.plan.special:
                starts = list(step.plan.special.starts)
                chosen[s] = np.isin(np.arange(kept.shape[1]), starts)
                mixtures[s] = kept[s, starts].sum()
        return WorkTable(rows, tokens, kept, keys, measured, chosen, updated, parts,
                         run * [[float(s.jumps)] for s in steps], mixtures,
                         _cache_keys(plan, source) if plan.compiled.bounded else None, source)

    @staticmethod
    def dense(plan: SparsityPlan, guided: bool = True, edits: bool = False) -> WorkTable:
        """The same run with nothing left out; arguments as of ``of``."""
        tokens = np.array([[s.tokens] for s in plan.scales], dtype=np.float64)
        kept = np.repeat(tokens, plan.model.depth, axis=1)
        none = np.zeros_like(kept)
        rows = np.full_like(tokens, 2.0 if guided else 1.0)
        source = plan.scales[-1].tokens if edits else 0
        ahead = np.array([[_source_keys(s.grid, n, source) for n in range(plan.model.depth)]
                          for s in plan.scales], dtype=np.float64)
        return WorkTable(rows, tokens, kept, kept.cumsum(0) + ahead, none, none, none, none + 1,
                         np.zeros_like(tokens), np.zeros_like(tokens), None, source)

    @property
    def source_token_layers(self) -> float:
        """Of the source picture alone."""
        return float(self.rows[0, 0] * self.source * self.kept.shape[1])

    @property
    def token_layers(self) -> float:
        return float((self.rows * self.kept).sum()) + self.source_token_layers

    @property
    def kv_values(self) -> float:
        """Keys and values kept, each of the model's width: all that are written, or those that
        bounded layers hold, with the largest layer at work."""
        if self.cache is None:
            return 2 * self.token_layers
        return float(2 * self.rows.max() * self.cache)

    def scale_flops(self, shape: TransformerConfig) -> Table:
        """[S] of each scale's blocks and head, a multiply-add counted as two."""
        linear = _linear_flops(shape)
        attention = 4 * shape.width * (self.keys + TEXT_TOKENS)
        head = 2 * shape.width * 2 * shape.bits_per_token
        blocks = (self.rows * self.kept * (linear + attention)).sum(1)
        jumps = self.jumps * Sizes.of(shape).flops
        mixing = self.mixtures * 2 * shape.width
        return blocks + (self.rows * self.tokens * (head + jumps + mixing)).sum(1)

    def source_flops(self, shape: TransformerConfig) -> float:
        """Of the source picture's pass through the blocks."""
        attention = 4 * shape.width * (self.source + TEXT_TOKENS)
        return self.source_token_layers * (_linear_flops(shape) + attention)

    def flops(self, shape: TransformerConfig) -> float:
        """Of all blocks and the head."""
        return float(self.scale_flops(shape).sum()) + self.source_flops(shape)


def _linear_flops(shape: TransformerConfig) -> float:
    """Of a block's matrix products, a token."""
    return 2 * shape.width * (6 * shape.width + 2 * shape.mlp_hidden)


def _source_keys(grid: tuple[int, int], layer: int, source: int) -> int:
    """Keys that a layer sees of a source picture, or in the first layer of its averages at the
    scale's grid (``sampling.source_cache``)."""
    if not source or layer:
        return source
    return grid[0] * grid[1]


def _seen(block: BlockStep, ahead: int) -> float:
    """Keys that a token of a block attends to, in the mean.

    Args:
        ahead: those of a source picture, which are seen in any case.
    """
    window = block.window
    if window is None:
        return ahead + block.keys
    return ahead + block.keys * seen_share(window.grids, SeenWindow(window.sinks, window.radius))


def _cache_keys(plan: SparsityPlan, source: int) -> float:
    """Keys that bounded layers hold, and those of the largest layer at work, with the ``source``
    picture's before them; and its own in the first layer once more."""
    blocks = [step.blocks for step in plan.compiled.scales]
    held = sum(source + max(b.held for b in column) for column in zip(*blocks, strict=True))
    return held + source + max(b.keys for row in blocks for b in row) + source


def count(plan: SparsityPlan, shape: TransformerConfig, guided: bool = True) -> PredictedCost:
    """Products, FLOPs and KV cache of one image under ``plan``, and as shares of a dense run."""
    own, dense = (table(plan, guided, shape.edits) for table in (WorkTable.of, WorkTable.dense))
    flops = own.flops(shape)
    return PredictedCost(
        token_layers=int(own.token_layers), token_layer_share=own.token_layers / dense.token_layers,
        flops=flops, flop_share=flops / dense.flops(shape),
        kv_bytes=int(own.kv_values) * shape.width * 2, kv_share=own.kv_values / dense.kv_values,
    )


class CostModel(BaseModel):
    """Seconds of a block and of a scale on one device, fitted to a short measurement.

    A block of n tokens in each of R rows that sees M keys takes
    ``block + token R n + pair R n M`` seconds, plus ``entropy n M`` where entropy is taken
    (conditional row only), ``choice + move R N`` where tokens are picked (per picking) and
    ``update R N`` where a stored update is added or kept, N being all tokens of the scale. A scale
    takes ``scale + scale_token N`` besides, with a shortcut ``R N (update + token / 5)`` more: its
    products are about a fifth of a block's in a narrow model, fewer in a wide one.

    Attributes:
        device, dtype: what was measured; error: largest relative error of the fit on its own
            measurements.
    """

    model_config = FROZEN

    device: str
    dtype: str
    block: float
    token: float
    pair: float
    entropy: float = 0.0
    choice: float = 0.0
    move: float = 0.0
    update: float = 0.0
    scale: float = 0.0
    scale_token: float = 0.0
    error: float = 0.0

    def table_seconds(self, work: WorkTable) -> float:
        """Seconds of the scale loop for one image."""
        called, run = work.kept > 0, work.rows > 0
        every = work.rows * work.tokens
        blocks = (
            self.block * called * work.parts
            + work.rows * work.kept * (self.token + self.pair * work.keys)
            + self.entropy * work.measured * work.kept * work.keys
            + work.chosen * work.parts * (self.choice + self.move * every)
            + work.updated * work.parts * self.update * every
        )
        scales = run * (self.scale + self.scale_token * work.tokens)
        scales = scales + work.jumps * every * (self.update + self.token / 5)
        return float((run * blocks).sum() + scales.sum()) + self.source_seconds(work)

    def source_seconds(self, work: WorkTable) -> float:
        """Seconds of a source picture's pass through the blocks."""
        if not work.source:
            return 0.0
        return self.block * work.kept.shape[1] \
            + work.source_token_layers * (self.token + self.pair * work.source)

    def seconds(self, plan: SparsityPlan, guided: bool = True, edits: bool = False) -> float:
        """Seconds of the scale loop for one image under ``plan``, and of its source picture."""
        return self.table_seconds(WorkTable.of(plan, guided, edits))


@dataclass(frozen=True)
class Target:
    """What a plan is to come down to.

    Attributes:
        share: of a dense run's FLOPs, or of its seconds where ``model`` is given.
    """

    share: float
    model: CostModel | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"a budget is a share of a dense run between 0 and 1, got "
                             f"{self.share:g}")

    @staticmethod
    def speedup(factor: float, model: CostModel) -> Target:
        if not factor >= 1:
            raise ValueError(f"speed-up must be 1 or more, got {factor:g}")
        return Target(1 / factor, model)

    def cost(self, plan: SparsityPlan, shape: TransformerConfig, guided: bool = True) -> float:
        """The share that ``plan`` comes to."""
        own, dense = (table(plan, guided, shape.edits) for table in (WorkTable.of, WorkTable.dense))
        if self.model is None:
            return own.flops(shape) / dense.flops(shape)
        return self.model.table_seconds(own) / self.model.table_seconds(dense)


def predict(plan: SparsityPlan, shape: TransformerConfig, model: CostModel | None = None,
            guided: bool = True) -> SparsityPlan:
    """``plan`` with its predicted cost filled in."""
    cost = count(plan, shape, guided)
    if model is not None:
        cost = cost.model_copy(update={
            "seconds": model.seconds(plan, guided, shape.edits),
            "dense_seconds": model.table_seconds(WorkTable.dense(plan, guided, shape.edits)),
            "device": model.device,
        })
    return plan.model_copy(update={"predicted": cost})
