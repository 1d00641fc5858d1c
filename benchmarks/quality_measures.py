"""What ``benchmarks.quality`` measures beside the score: details, and features of whole sets."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality_detail import DetailTask
from toprovar.evaluation.compositional import Judge, PromptSpec, Result
from toprovar.evaluation.features import JudgeFeatures
from toprovar.evaluation.second import SecondNetwork
from toprovar.files import replace_file
from training.data.asked import scenes_for
from training.data.atlas import SpriteAtlas
from training.data.compose import compose

REAL = ("real a", "real b")
"""Two sets of fresh scenes for the same prompts: what is compared with, and its floor."""
_SEED = 40_001
_AT_ONCE = 16


@dataclass(frozen=True)
class Measures:
    """Everything that looks at pictures.

    Attributes:
        detail, atlas: None without the sprites; second: None without its weights.
    """

    judge: Judge
    features: JudgeFeatures
    detail: DetailTask | None = None
    atlas: SpriteAtlas | None = None
    second: SecondNetwork | None = None

    @classmethod
    def load(cls, device: torch.device, atlas: Path | None, second: Path | None) -> Measures:
        """The bundled judge, and what is given beside it."""
        judge = Judge.load(device=device)
        sprites = None if atlas is None else SpriteAtlas.load(atlas, device)
        return cls(judge, JudgeFeatures(judge),
                   None if sprites is None else DetailTask(sprites), sprites,
                   None if second is None else SecondNetwork.load(second, device))

    def spaces(self, pictures: Tensor) -> dict[str, np.ndarray]:
        """Features of pictures in every space, float16 [B, D]."""
        found = {"whole": self.features.whole(pictures), "fine": self.features.fine(pictures)}
        if self.second is not None:
            found["second"] = self.second.features(pictures)
        return {name: value.half().cpu().numpy() for name, value in found.items()}

    def of(self, pictures: Tensor, prompts: Sequence[PromptSpec], dense: Tensor | None = None
           ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Figures of every picture as JSON values, and features.

        Args:
            pictures: [B, 3, S, S] float in 0-1; dense: the dense run's, for the distance to it.
        """
        results = self.judge.results(pictures, prompts)
        figures: dict[str, Any] = {"passed": [int(r.verdict.passed) for r in results]}
        if self.detail is not None:
            figures["detail"] = self._details(pictures, prompts, results)
        if dense is not None:
            figures["seen"] = [round(v, 5) for v in
                               self.features.distance(pictures, dense).tolist()]
        return figures, self.spaces(pictures)

    def _details(self, pictures: Tensor, prompts: Sequence[PromptSpec], results: Sequence[Result]
                 ) -> list[list[int]]:
        assert self.detail is not None
        found = self.detail.look(pictures, prompts, [r.found for r in results])
        return [one.to_json() for one in found]

    def real(self, prompts: Sequence[PromptSpec], part: int, size: int
             ) -> dict[str, dict[str, np.ndarray]]:
        """Features of two fresh scenes for every prompt of a part; nothing without sprites."""
        if self.atlas is None:
            return {}
        found = {}
        for number, name in enumerate(REAL):
            scenes = scenes_for(prompts, _SEED + 2 * part + number)
            pieces = [self.spaces(compose(scenes[i : i + _AT_ONCE], self.atlas, size))
                      for i in range(0, len(scenes), _AT_ONCE)]
            found[name] = {space: np.concatenate([p[space] for p in pieces]) for space in pieces[0]}
        return found


def write_features(path: Path, rows: dict[str, dict[str, np.ndarray]]) -> None:
    """Features by row and space into one file, moved into place when whole."""
    data = io.BytesIO()
    named: dict[str, Any] = {f"{row}|{space}": values for row, spaces in rows.items()
                             for space, values in spaces.items()}
    np.savez(data, **named)
    replace_file(path, data.getvalue())


def read_features(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """What ``write_features`` wrote; empty where there is no file."""
    if not path.is_file():
        return {}
    found: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            row, space = key.rsplit("|", 1)
            found.setdefault(row, {})[space] = file[key]
    return found
