"""What a run on random mixtures did, against what was recorded, under the recorded draws."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..sampling.run import LayerProbe
from .check import Check, compare

MIXED = ("rep_index.", "projected_", "restored_")
SHOWN = 8
"""Mixtures whose values were recorded."""


class MixedRecorder(LayerProbe):
    """Plays recorded draws back, and remembers places, mixtures and what became of them.

    Args:
        noise: recorded draws by group of layers.
    """

    def __init__(self, noise: dict[str, Tensor]) -> None:
        self.noise = noise
        self.groups: list[dict[str, Tensor]] = []
        self.restored: Tensor | None = None
        self._scale, self._last = -1, -1

    def __call__(self, scale: int, group: int, rows: range, tokens: int, count: int
                 ) -> tuple[Tensor, Tensor]:
        """See ``Draws``."""
        exponential, normal = (self.noise.get(f"{kind}.chunk{group}") for kind in (
            "exp", "gauss32"))
        wanted = (len(rows), tokens, count)
        if exponential is None or normal is None or normal.shape != wanted:
            found = "none" if normal is None else list(normal.shape)
            raise ValueError(f"recorded draws of group {group}: expected {list(wanted)} (rows, "
                             f"tokens, mixtures), found {found}")
        return exponential, normal.float() / 32

    def mixed(self, scale: int, layer: int, places: Tensor, x: Tensor) -> None:
        self._scale = scale
        self.groups.append({"rep_index": places.clone(), "projected": x.clone()})

    def unmixed(self, scale: int, layer: int, x: Tensor) -> None:
        self._last = layer
        self.groups[-1]["projected_out"] = x.clone()

    def block_output(self, scale: int, layer: int, x: Tensor) -> None:
        if (scale, layer) == (self._scale, self._last):
            self.restored = x.clone()

    def counts(self, prefix: str, settings: dict[str, Any], keys: list[int]) -> list[Check]:
        """Mixtures of each group, and keys that its layers have cached, against run.json.

        Args:
            keys: of each layer, at the end of the run.
        """
        ranks = [group["rep_index"].shape[1] for group in self.groups]
        lengths = keys[:: max(1, len(keys) // max(1, len(ranks)))]
        return [Check(f"{prefix} {name}", 0.0 if found == settings[name] else math.inf, 0.0)
                for name, found in (("ranks", ranks), ("cache_len_after_width40", lengths))
                if name in settings]

    def check(self, prefix: str, key: str, expected: dict[str, Tensor]) -> Check:
        """A golden ``rep_index.width40.chunk0``, ``projected_rows...`` and so on."""
        name, golden = f"{prefix} {key}", expected[key]
        what, _, group = key.split(".")
        if what == "rep_index":
            found = self._of(group, "rep_index")
            if found is None or found.shape != golden.shape:
                return Check(name, math.inf, 0.0, "places were not drawn here, or others")
            return Check(name, float((found.cpu() != golden).sum()), 0.0)
        what, rows = what.removesuffix("_mean_std").removesuffix("_rows"), what.endswith("_rows")
        found = self.restored if what == "restored" else self._of(group, what)
        if found is None:
            return Check(name, math.inf, 0.0, "nothing was mixed here")
        if not rows:
            values = found.cpu().double()
            return _relative(name, torch.stack([values.mean(), values.std()]), golden)
        tokens = expected[f"logits_tokens.{self._scale}"] if what == "restored" else slice(SHOWN)
        return _relative(name, found[:, tokens], golden)

    def _of(self, group: str, what: str) -> Tensor | None:
        number = int(group.removeprefix("chunk"))
        return self.groups[number].get(what) if number < len(self.groups) else None


def _relative(name: str, found: Tensor, golden: Tensor) -> Check:
    size = float(golden.abs().max())
    return compare(name, "mixture", found / size, golden / size)
