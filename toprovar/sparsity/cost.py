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

    @staticmethod
    def of(plan: SparsityPlan, guided: bool = True) -> WorkTable:
        steps = plan.compiled.scales
        tokens = np.array([[s.plan.tokens] for s in steps], dtype=np.float64)
        run = np.array([[float(s.plan.run)] for s in steps])
        rows = run * [[2.0 if guided and s.plan.guided else 1.0] for s in steps]
        kept, keys, measured, updated, chosen, parts = np.array([
            [(b.tokens, _seen(b), b.measured, b.stored or b.fallback is not None,
              b.chosen in CHOSEN, 3 if b.chosen == "part" else 1) for b in s.blocks]
            for s in steps], dtype=np.float64).transpose(2, 0, 1)
        mixtures = np.zeros_like(tokens)
        for s, step in enumerate(steps):
            if step.plan.run and step.plan.special:
                starts = list(step.plan.special.starts)
                chosen[s] = np.isin(np.arange(kept.shape[1]), starts)
                mixtures[s] = kept[s, starts].sum()
        return WorkTable(rows, tokens, kept, keys, measured, chosen, updated, parts,
                         run * [[float(s.jumps)] for s in steps], mixtures,
                         _cache_keys(plan) if plan.compiled.bounded else None)

    @staticmethod
    def dense(plan: SparsityPlan, guided: bool = True) -> WorkTable:
        """The same run with nothing left out."""
        tokens = np.array([[s.tokens] for s in plan.scales], dtype=np.float64)
        kept = np.repeat(tokens, plan.model.depth, axis=1)
        none = np.zeros_like(kept)
        rows = np.full_like(tokens, 2.0 if guided else 1.0)
        return WorkTable(rows, tokens, kept, kept.cumsum(0), none, none, none, none + 1,
                         np.zeros_like(tokens), np.zeros_like(tokens))

    @property
    def token_layers(self) -> float:
        return float((self.rows * self.kept).sum())

    @property
    def kv_values(self) -> float:
        """Keys and values kept, each of the model's width: all that are written, or those that
        bounded layers hold, with the largest layer at work."""
        if self.cache is None:
            return 2 * self.token_layers
        return float(2 * self.rows.max() * self.cache)

    def scale_flops(self, shape: TransformerConfig) -> Table:
        """[S] of each scale's blocks and head, a multiply-add counted as two."""
        linear = 2 * shape.width * (6 * shape.width + 2 * shape.mlp_hidden)
        attention = 4 * shape.width * (self.keys + TEXT_TOKENS)
        head = 2 * shape.width * 2 * shape.bits_per_token
        blocks = (self.rows * self.kept * (linear + attention)).sum(1)
        jumps = self.jumps * Sizes.of(shape).flops
        mixing = self.mixtures * 2 * shape.width
        return blocks + (self.rows * self.tokens * (head + jumps + mixing)).sum(1)

    def flops(self, shape: TransformerConfig) -> float:
        """Of all blocks and the head."""
        return float(self.scale_flops(shape).sum())


def _seen(block: BlockStep) -> float:
    """Keys that a token of a block attends to, in the mean."""
    window = block.window
    if window is None:
        return block.keys
    return block.keys * seen_share(window.grids, SeenWindow(window.sinks, window.radius))


def _cache_keys(plan: SparsityPlan) -> float:
    """Keys that bounded layers hold, and those of the largest layer at work."""
    blocks = [step.blocks for step in plan.compiled.scales]
    held = sum(max(b.held for b in column) for column in zip(*blocks, strict=True))
    return held + max(b.keys for row in blocks for b in row)


def count(plan: SparsityPlan, shape: TransformerConfig, guided: bool = True) -> PredictedCost:
    """Products, FLOPs and KV cache of one image under ``plan``, and as shares of a dense run."""
    own, dense = WorkTable.of(plan, guided), WorkTable.dense(plan, guided)
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
        return float((run * blocks).sum() + scales.sum())

    def seconds(self, plan: SparsityPlan, guided: bool = True) -> float:
        """Seconds of the scale loop for one image under ``plan``."""
        return self.table_seconds(WorkTable.of(plan, guided))


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
        own, dense = WorkTable.of(plan, guided), WorkTable.dense(plan, guided)
        if self.model is None:
            return own.flops(shape) / dense.flops(shape)
        return self.model.table_seconds(own) / self.model.table_seconds(dense)


def predict(plan: SparsityPlan, shape: TransformerConfig, model: CostModel | None = None,
            guided: bool = True) -> SparsityPlan:
    """``plan`` with its predicted cost filled in."""
    cost = count(plan, shape, guided)
    if model is not None:
        cost = cost.model_copy(update={
            "seconds": model.seconds(plan, guided),
            "dense_seconds": model.table_seconds(WorkTable.dense(plan, guided)),
            "device": model.device,
        })
    return plan.model_copy(update={"predicted": cost})
