"""The source picture of a run that edits one (VAREdit): its tokens go through the blocks first.

The picture's features, as the autoencoder's encoder gives them and not quantised, are embedded as
codes are, get the level embedding of the last scale and pass all blocks once, in every row. What
stays of them are their keys and values (``SourceCache``): scales attend to these and to earlier
scales. Each row sees its own text, so the conditional rows hold the picture as the instruction
reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from ..models.config import TransformerConfig
from ..models.latents import fold_patches
from ..models.rope import editing_rotations, schedule_rotations
from ..schedules import ScaleSchedule
from .forward import ScaleForward
from .report import SOURCE, SourceReport
from .source_cache import SourceCache
from .timing import Clock

Computed = Callable[[Hashable, Callable[[], Tensor], bool], Tensor]
"""(key, work, record it at once) -> the result of ``work``, computed or replayed."""


def source_tokens(shape: TransformerConfig, schedule: ScaleSchedule) -> int:
    """Tokens that come before the first scale: those of the last scale's grid, or none."""
    return schedule.tokens[-1] if shape.edits else 0


def checked_source(shape: TransformerConfig, schedule: ScaleSchedule, batch: int,
                   source: Tensor | None, device: torch.device) -> Tensor | None:
    """A run's source, folded to tokens: [B, d, h, w] float32 on ``device``; None = there is none.

    Args:
        source: [1 or B, latent channels, H, W], the encoder's features at the latent size of the
            schedule.

    Raises:
        ValueError: the model needs a source and there is none, or the other way round; or it has
            another shape, or values that are not finite.
    """
    if source is None:
        if shape.edits:
            raise ValueError("this model (VAREdit) edits a picture and cannot draw from text "
                             "alone: give the source picture")
        return None
    if not shape.edits:
        raise ValueError("a source picture was given, but this model (Infinity) draws from text "
                         "alone: editing by an instruction needs a VAREdit model, loaded with "
                         "family='varedit'")
    height, width = (side * shape.patch for side in schedule.grids[-1])
    wanted = (shape.latent_channels, height, width)
    if source.ndim != 4 or source.shape[0] not in (1, batch) or source.shape[1:] != wanted:
        raise ValueError(f"source: expected features [1 or {batch}, {', '.join(map(str, wanted))}] "
                         f"of the encoder at this size, got {list(source.shape)}")
    if not torch.isfinite(source).all():
        raise ValueError("source: expected finite numbers, got inf or nan")
    folded = fold_patches(source.to(device, torch.float32), shape.patch)
    return folded.expand(batch, -1, -1, -1)


def rotations_of(shape: TransformerConfig, schedule: ScaleSchedule, device: torch.device
                 ) -> tuple[Tensor | None, list[Tensor]]:
    """Turns of the source's places, if there is one, and of each scale's."""
    if not shape.edits:
        return None, schedule_rotations(schedule, shape.head_dim, device)
    source, *scales = editing_rotations(schedule, shape.head_dim, device)
    return source, scales


class SourcePass:
    """The pass of one run's source through the blocks.

    Args:
        source: [B, d, h, w] from ``checked_source``.
        rotation: of its places, from ``rotations_of``.
        level: number of its level embedding, that of the last scale.
        residual: dtype of the residual stream.
        room: [B, d, h, w] where recorded work reads the source; None = nothing is recorded.
    """

    def __init__(self, source: Tensor, rotation: Tensor, level: int, residual: torch.dtype,
                 room: Tensor | None) -> None:
        self.source, self.rotation, self.level = source, rotation, level
        self.residual, self.room = residual, room

    def __call__(self, forward: ScaleForward, rows: range, clock: Clock, computed: Computed
                 ) -> SourceReport:
        """Run it.

        Args:
            rows: batch rows of the first scale.
            computed: computes or replays.
        """
        runner, transformer = forward.blocks.runner, forward.transformer
        cache, shape = runner.cache, transformer.shape
        assert isinstance(cache, SourceCache)
        clock.mark(SOURCE)
        source = self.source if self.room is None else self.room.copy_(self.source)
        cache.scale_grid = None
        runner.start_row(rows.start)

        def work() -> Tensor:
            x = transformer.embed_codes(source).repeat(len(rows) // len(source), 1, 1)
            return forward.source(x.to(self.residual), self.rotation, self.level)

        computed(("source", rows, cache.layout), work, True)
        clock.mark(SOURCE)
        seconds = clock.seconds(SOURCE) if clock.device.type == "cpu" else 0.0
        values = 2 * shape.depth * len(rows) * cache.tokens * shape.width
        return SourceReport(cache.grid, cache.tokens, shape.depth, len(rows),
                            values * runner.dtype.itemsize, seconds)
