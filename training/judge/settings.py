"""Settings of a training run of the judge, read strictly from a JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from toprovar.evaluation.compositional.detector import DetectorConfig
from training.data.catalog import load_classes
from training.data.colours import COLOUR_NAMES
from training.judge.augment import AugmentSettings
from training.judge.stream import Mixture
from training.settings import OptimizerSettings, RunSettings, parse

_KINDS: dict[str, Any] = {
    "model": DetectorConfig,
    "run": RunSettings,
    "optimizer": OptimizerSettings,
    "augment": AugmentSettings,
    "mixture": Mixture,
}


@dataclass(frozen=True)
class JudgeSettings:
    """Everything about a run of ``training.train_judge``.

    Attributes:
        spoilt: classes of spoilt sprites beside the real ones, eleven sprites each.
        calibration: pictures of each kind on which the thresholds are chosen.
    """

    model: DetectorConfig
    run: RunSettings
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    mixture: Mixture = field(default_factory=Mixture)
    spoilt: int = 16
    calibration: int = 512

    def __post_init__(self) -> None:
        if len(self.run.views) != 1:
            raise ValueError("the judge is trained on one view")
        if self.run.views[0].size != self.model.input_size:
            raise ValueError(
                f"the view's pictures have side {self.run.views[0].size}, the detector takes "
                f"{self.model.input_size}"
            )


def load_settings(path: Path | str) -> JudgeSettings:
    """Read a settings file; unknown names are errors."""
    values = json.loads(Path(path).read_text(encoding="utf-8"))
    names = [f.name for f in fields(JudgeSettings)]
    if unknown := sorted(set(values) - set(names)):
        raise ValueError(f"{path}: unknown {', '.join(unknown)}; known: {', '.join(names)}")
    shape = {"classes": len(load_classes()), "colours": len(COLOUR_NAMES)}
    values["model"] = {**shape, **values.get("model", {})}
    parts = {n: parse(kind, values[n], n) for n, kind in _KINDS.items() if n in values}
    return JudgeSettings(**{**values, **parts})
