"""How many mixtures stand for the tokens of a scale: the authors' measured ranks."""

from __future__ import annotations

import json
from functools import lru_cache

from ....files import DATA

TABLE_GROUPS = 8
"""The table has one rank for each eighth of the layers: the chunks of the 2B and 8B checkpoints."""
FULL_SIDE = 64


def alphas() -> tuple[str, ...]:
    """Names of the presets: shares of the features' energy that the ranks keep, highest first."""
    return tuple(_table())


def rank(alpha: str, group: int, tokens: int, share: float) -> int:
    """Mixtures that stand for the tokens of a scale in one group of layers.

    Args:
        alpha: name of the preset.
        group: which eighth of the layers, 0 to 7.
        tokens: of the scale.
        share: the scale's side as a share of the last one's; the table's nearest side serves.

    Returns:
        1 to ``tokens``: the table's number, in proportion where it was measured on another number
        of tokens.

    Raises:
        ValueError: there is no such preset.
    """
    if alpha not in alphas():
        raise ValueError(f"alpha must be one of {', '.join(alphas())} (share of the energy that is "
                         f"kept), got {alpha!r}")
    columns = _table()[alpha]
    side = min(columns, key=lambda known: abs(known / FULL_SIDE - share))
    return max(1, min(tokens, round(columns[side][group] * tokens / side**2)))


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[int, list[int]]]:
    text = (DATA / "fastervar_ranks.json").read_text(encoding="utf-8")
    return {alpha: {int(side): counts for side, counts in columns.items()}
            for alpha, columns in json.loads(text)["ranks"].items()}
