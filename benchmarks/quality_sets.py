"""Fréchet distance, precision and recall of the rows of ``benchmarks.quality``, from features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality_measures import REAL, read_features
from toprovar.evaluation.distribution import frechet_distance, frechet_interval, precision_recall

SPACES = ("whole", "fine", "second")
COVER = ("second", "whole")
"""Spaces of precision and recall, the first that there is."""
DRAWS = 50


class Sets:
    """The features of one size's parts, read when they are asked for."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._parts = [read_features(path.with_suffix(".npz")) for path in parts]

    def __bool__(self) -> bool:
        return any(self._parts)

    def row(self, name: str) -> dict[str, Any]:
        """Distances to fresh scenes over the parts that the row has; empty without features."""
        own = tuple(i for i, part in enumerate(self._parts) if {name, REAL[0]} <= part.keys())
        if not own:
            return {}
        found: dict[str, Any] = {}
        for space in SPACES:
            drawn, real = self._rows(name, space, own), self._rows(REAL[0], space, own)
            if drawn is None or real is None or len(drawn) < 2:
                continue
            low, high = frechet_interval(real, drawn, DRAWS)
            found[f"frechet_{space}"] = round(frechet_distance(real, drawn), 4)
            found[f"frechet_{space}_interval"] = [round(low, 4), round(high, 4)]
        for space in COVER:
            drawn, real = self._rows(name, space, own), self._rows(REAL[0], space, own)
            if drawn is not None and real is not None and len(drawn) > 3:
                cover = precision_recall(real, drawn)
                found |= {"cover_space": space, "precision": round(cover.precision, 4),
                          "recall": round(cover.recall, 4)}
                break
        return found

    def _rows(self, name: str, space: str, parts: Sequence[int]) -> Tensor | None:
        values = [self._parts[i][name][space] for i in parts
                  if space in self._parts[i].get(name, {})]
        if len(values) != len(parts):
            return None
        return torch.from_numpy(np.concatenate(values)).float()

    def floor(self) -> dict[str, Any]:
        """Two sets of fresh scenes against each other: what a perfect generator would get."""
        return self.row(REAL[1])


def details(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares of parts that are there and of objects with all of them, with 95 % intervals.

    Args:
        figures: of one row in every part of the benchmark; those without details are left out.
    """
    counts = [one for part in figures for one in part.get("detail", [])]
    if not counts:
        return {}
    table = torch.tensor(counts, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn = table[torch.randint(len(table), (1000, len(table)), generator=generator)].sum(1)
    found: dict[str, Any] = {}
    for name, part, whole in (("parts", 1, 0), ("whole_objects", 3, 2)):
        total = float(table[:, whole].sum())
        if total:
            shares = (drawn[:, part] / drawn[:, whole].clamp_min(1)).quantile(
                torch.tensor([0.025, 0.975], dtype=torch.float64))
            found[name] = round(float(table[:, part].sum()) / total, 4)
            found[f"{name}_interval"] = [round(v, 4) for v in shares.tolist()]
    return found

