"""Editing a picture, spelt out for tests: token by token, key by key; and edits by the engine.

Written against the description of VAREdit, not against the engine. Blocks are those of ``plain``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.sampling.plain import _block
from tests.tiny import tiny_transformer
from toprovar.models.latents import (
    bits_to_codes,
    fold_patches,
    resize_codes,
    tokens_to_grid,
    unfold_patches,
)
from toprovar.models.text import PackedText
from toprovar.models.transformer import InfinityTransformer
from toprovar.ops.adaln.reference import modulated_norm
from toprovar.sampling.bits import ForcedBits
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import SamplingRun, ScaleState
from toprovar.schedules import ScaleSchedule, get_schedule

SCHEDULE = get_schedule("1.0", "0.06M")
CFG = 2.5


def place(n: int, schedule: ScaleSchedule) -> tuple[int, int]:
    """Where the token with the running number ``n`` lies, the source's first token being 0."""
    height, width = schedule.rope_grid
    if n < height * width:
        return height + n // width, width + n % width
    n -= height * width
    for h, w in get_schedule(schedule.template, "1M").grids:
        if n < h * w:  # Python's round goes to the even neighbour, as torch's
            return round(n // w * (height / h)), round(n % w * (width / w))
        n -= h * w
    raise IndexError(n)


def rotations(start: int, count: int, schedule: ScaleSchedule, head_dim: int) -> Tensor:
    """[count, D / 2, 2] of tokens from a running number on."""
    half, rows = head_dim // 2, []
    for n in range(start, start + count):
        angles = [axis * 10000.0 ** (-2 * j / half)
                  for axis in place(n, schedule) for j in range(half // 2)]
        rows.append([[math.cos(a), math.sin(a)] for a in angles])
    return torch.tensor(rows, dtype=torch.float64)


def averaged(keys: Tensor, grid: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """[H, h * w, D] in a source's raster -> [H, h2 * w2, D], cell by cell."""
    (height, width), (h, w) = grid, new
    picture = keys.unflatten(1, grid)
    cells = []
    for y in range(h):
        rows = slice(y * height // h, -(-(y + 1) * height // h))
        for x in range(w):
            columns = slice(x * width // w, -(-(x + 1) * width // w))
            cells.append(picture[:, rows, columns].flatten(1, 2).mean(1))
    return torch.stack(cells, 1)


def editing_logits(
    model: InfinityTransformer, text: PackedText, schedule: ScaleSchedule, source: Tensor,
    bits: list[Tensor], kept: dict[tuple[int, int], Tensor] | None = None,
) -> list[Tensor]:
    """Logits [R, N, 2 d] of every scale and row, under forced bits.

    Args:
        text: features of all R rows (no guidance is applied).
        source: [R, latent channels, H, W] features.
        bits: [R, N, d] per scale.
        kept: (scale, layer) -> indices [n] of the tokens that a block works on; all where absent.
    """
    shape, kept = model.shape, kept or {}
    kind = source.dtype
    normed = PackedText(model.text_norm(text.features), text.lengths)
    pooled = model.text_pool(normed)
    projected = model.text_proj(normed.features).split(text.lengths)
    shared = model.shared_modulation(F.silu(pooled)).unflatten(-1, (6, -1))
    head_scale, head_shift = model.head_modulation(F.silu(pooled)).chunk(2, -1)
    rows, grid = len(text), schedule.grids[-1]
    tokens = grid[0] * grid[1]
    none = torch.empty(shape.num_heads, 0, shape.head_dim, dtype=kind)
    cache = [[(none, none) for _ in range(rows)] for _ in range(shape.depth)]

    def levels(layer: int) -> bool:
        return layer == 0 or (shape.level_embed_every_chunk
                              and layer % shape.blocks_per_chunk == 0)

    folded = fold_patches(source, shape.patch).flatten(2).transpose(1, 2)
    x = model.token_embed(folded)
    turns = rotations(0, tokens, schedule, shape.head_dim).to(kind)
    for layer in range(shape.depth):
        if levels(layer):
            x = x + model.level_embed.weight[len(schedule) - 1]
        x = torch.stack([_block(model, layer, x[r], shared[r], projected[r], turns, cache[layer], r)
                         for r in range(rows)])
    whole = list(cache[0])  # block 0 sees averages of this
    cache[0] = [(none, none) for _ in range(rows)]

    height, width = (side * shape.patch for side in grid)
    summed = torch.zeros(rows, shape.latent_channels, height, width, dtype=kind)
    x, logits, start = pooled[:, None] + model.start, [], tokens
    for s, scale in enumerate(schedule.grids):
        count = scale[0] * scale[1]
        turns = rotations(start, count, schedule, shape.head_dim).to(kind)
        start += count
        for layer in range(shape.depth):
            if levels(layer):
                x = x + model.level_embed.weight[s]
            index = kept.get((s, layer), torch.arange(count))
            done = []
            for r in range(rows):
                row = x[r].clone()
                if len(index) and layer == 0:
                    means = [averaged(part, grid, scale) for part in whole[r]]
                    seen = [(torch.cat([means[0], cache[0][r][0]], 1),
                             torch.cat([means[1], cache[0][r][1]], 1))]
                    row[index] = _block(model, 0, row[index], shared[r], projected[r],
                                        turns[index], seen, 0)
                    cache[0][r] = (seen[0][0][:, count:], seen[0][1][:, count:])
                elif len(index):
                    row[index] = _block(model, layer, row[index], shared[r], projected[r],
                                        turns[index], cache[layer], r)
                done.append(row)
            x = torch.stack(done)
        logits.append(model.head(modulated_norm(x, head_scale, head_shift)))
        codes = bits_to_codes(
            unfold_patches(tokens_to_grid(bits[s], scale), shape.patch), shape.latent_channels)
        summed = summed + resize_codes(codes.to(kind), (height, width))
        if s + 1 < len(schedule):
            h, w = (side * shape.patch for side in schedule.grids[s + 1])
            small = fold_patches(resize_codes(summed, (h, w)), shape.patch)
            x = model.token_embed(small.flatten(2).transpose(1, 2))
    return logits


@dataclass(frozen=True)
class Odd:
    """A model and a size that no released model has."""

    template: str = "1.0"
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def schedule(self) -> ScaleSchedule:
        return get_schedule(self.template, "0.06M")

    def model(self) -> InfinityTransformer:
        return tiny_transformer(family="varedit", **self.changes)


def pictures(model: InfinityTransformer, schedule: ScaleSchedule, count: int, seed: int = 7
             ) -> Tensor:
    """Features as an encoder gives them: of any length, not normalised."""
    shape, (h, w) = model.shape, schedule.grids[-1]
    generator = torch.Generator().manual_seed(seed)
    size = (count, shape.latent_channels, h * shape.patch, w * shape.patch)
    return torch.randn(size, generator=generator) * 1.7


def bits_of(model: InfinityTransformer, schedule: ScaleSchedule, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, 2, (count, n, model.shape.bits_per_token), generator=generator,
                          dtype=torch.uint8) for n in schedule.tokens]


def edited(model: InfinityTransformer, text: PackedText, source: Tensor, plan: Any = None,
           schedule: ScaleSchedule = SCHEDULE, **how: Any) -> tuple[list[ScaleState], SamplingRun]:
    """A run under forced bits."""
    engine = {name: how.pop(name) for name in tuple(how) if name in vars(EngineOptions())}
    device = model.null_text.device
    run = SamplingRun(model, text.to(device), SamplingParams(schedule, how.pop("cfg", CFG), 1.0),
                      source=source, plan=plan, options=EngineOptions(**engine),
                      choose=ForcedBits(bits_of(model, schedule, len(text))), **how)
    return list(run), run


def expected(model: InfinityTransformer, text: PackedText, source: Tensor,
             schedule: ScaleSchedule, kept: Any = None) -> list[Tensor]:
    """The plain loop's logits with guidance."""
    count = len(text)
    rows = PackedText.join([text, model.null_rows(text.lengths)])
    each = source.expand(count, -1, -1, -1).repeat(2, 1, 1, 1)
    bits = [b.repeat(2, 1, 1) for b in bits_of(model, schedule, count)]
    with torch.inference_mode():
        both = editing_logits(model, rows, schedule, each, bits, kept)
    return [CFG * x[:count] + (1 - CFG) * x[count:] for x in both]


def close(found: list[ScaleState], logits: list[Tensor], limit: float = 2e-5) -> None:
    assert len(found) == len(logits)
    for state, wanted in zip(found, logits, strict=True):
        torch.testing.assert_close(state.logits.cpu(), wanted, atol=limit, rtol=0)
