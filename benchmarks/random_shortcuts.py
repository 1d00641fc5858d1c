"""Shortcuts that nobody fitted: for models without any, where only time counts, and for tests."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from toprovar.models.config import TransformerConfig
from toprovar.sparsity.linear_shortcut import LinearShortcut
from toprovar.sparsity.shortcut_inputs import Sizes
from toprovar.sparsity.shortcut_maps import LinearMap, ShortcutMap, quantized
from toprovar.sparsity.shortcuts import CODES, Shortcuts


def random_shortcuts(model: str, shape: TransformerConfig, wanted: Iterable[LinearShortcut], *,
                     strength: float = 1.0, seed: int = 0, eight_bits: bool = False) -> Shortcuts:
    """Maps of the sizes that fitted ones have.

    Args:
        model: fingerprint of the transformer.
        strength: of what they add, about as a multiple of the residual.
        eight_bits: as fitted ones are kept; otherwise in 16 bits.
    """
    sizes, wanted = Sizes.of(shape), sorted(set(wanted))
    generator = torch.Generator().manual_seed(seed)

    def drawn(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator) * columns**-0.5

    directions = {CODES: drawn(sizes.width, sizes.codes)} | {
        n: drawn(sizes.width, sizes.directions) for n in sorted({one.length for one in wanted})}
    maps: dict[LinearShortcut, ShortcutMap] = {}
    for one in wanted:
        found = LinearMap(drawn(sizes.rank, sizes.inputs),
                          strength * drawn(sizes.width, sizes.rank),
                          strength * 0.1 * drawn(1, sizes.width)[0])
        maps[one] = quantized(found) if eight_bits else found
    return Shortcuts(model, directions, maps, {"seed": seed})
