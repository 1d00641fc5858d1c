"""Top-k by score with a minimum per region, one token at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence


def select_tokens(
    scores: Sequence[float], grid: tuple[int, int], count: int, region: int = 0,
    min_per_region: int = 0,
) -> list[int]:
    """The ``count`` best tokens of one map in rising order of index.

    First every region, a tile of ``region`` x ``region`` tokens (fewer at the lower and right
    edges), gets its best ``min_per_region`` tokens, or all it has; then the best of the others
    follow. Of equal scores the lower index goes first; NaN counts as -inf.

    Args:
        scores: h * w numbers in row-major order.
        grid: (h, w).
    """
    def merit(token: int) -> tuple[float, int]:
        score = scores[token]
        return (math.inf if math.isnan(score) else -score, token)

    _, width = grid
    tiles: dict[tuple[int, int], list[int]] = {}
    for token in range(len(scores)):
        y, x = divmod(token, width)
        tiles.setdefault((y // region, x // region) if region else (0, 0), []).append(token)
    chosen: list[int] = []
    for tile in tiles.values():
        chosen += sorted(tile, key=merit)[:min_per_region]
    rest = sorted(set(range(len(scores))) - set(chosen), key=merit)
    return sorted(chosen + rest[: count - len(chosen)])
