"""The decision models of SkipVAR: two small logistic regressions, as numbers in a JSON file.

The file is one model, ``{"skip": {...}, "uncond": {...}}``, or several by name. The models that
SkipVAR's authors trained for Infinity-2B can be written in this form; they are not part of this
package, because their licence is not settled. One's own are made by ``toprovar fit-skipvar``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, RootModel, model_validator
from typing_extensions import Self

from ....box import damage
from ....files import DATA, replace_file
from ....reading import read_json, reading
from ....schedules import ScaleSchedule, get_schedule, pixel_budgets
from ...plan import FROZEN

logger = logging.getLogger(__name__)

MOST_BYTES = 1 << 20
TARGET = 0.84
"""SSIM to the dense picture that a fit keeps by default."""
FEATURES = ("diff_hf", "hf_ratio")
CLASSES = (0, 1, 2, 3)
"""How many scales at the end are left out, or run without guidance."""


class Regression(BaseModel):
    """A multinomial logistic regression on standardised features.

    Attributes:
        classes: what it can answer, some of ``CLASSES``.
        coef: [classes][features]; features are the first of ``FEATURES``. One row for two classes
            is that of the second, as scikit-learn has it.
        intercept: [classes]; scaler_mean, scaler_scale: [features].
    """

    model_config = FROZEN

    classes: tuple[int, ...] = Field(min_length=1)
    coef: tuple[tuple[float, ...], ...]
    intercept: tuple[float, ...]
    scaler_mean: tuple[float, ...]
    scaler_scale: tuple[float, ...]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not set(self.classes) <= set(CLASSES) or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be some of {CLASSES}, once each, got {self.classes}")
        rows, features = len(self.coef), len(self.scaler_mean)
        if rows != len(self.classes) and (rows, len(self.classes)) != (1, 2):
            raise ValueError(f"coef has {rows} rows for {len(self.classes)} classes")
        if len(self.intercept) != rows:
            raise ValueError(f"intercept has {len(self.intercept)} entries, coef {rows} rows")
        if not 1 <= features <= len(FEATURES):
            raise ValueError(f"scaler_mean has {features} features, expected 1 ({FEATURES[0]}) or "
                             f"{len(FEATURES)} ({', '.join(FEATURES)})")
        if len(self.scaler_scale) != features or any(len(row) != features for row in self.coef):
            raise ValueError(f"scaler_mean has {features} features: scaler_scale and every row of "
                             "coef must have as many")
        if min(self.scaler_scale) <= 0:
            raise ValueError(f"scaler_scale must be above 0, got {self.scaler_scale}")
        return self

    def scores(self, features: Sequence[float]) -> tuple[float, ...]:
        """A score for each class, before the softmax."""
        z = [(x - mean) / scale for x, mean, scale in
             zip(features, self.scaler_mean, self.scaler_scale, strict=False)]
        found = tuple(
            sum(c * v for c, v in zip(row, z, strict=True)) + bias
            for row, bias in zip(self.coef, self.intercept, strict=True)
        )
        return found if len(found) == len(self.classes) else (0.0, *found)

    def decide(self, features: Sequence[float]) -> int:
        """The likeliest class; the first of equals."""
        scores = self.scores(features)
        return self.classes[scores.index(max(scores))]


class DecisionModel(BaseModel):
    """What SkipVAR decides by.

    Attributes:
        skip: how many scales at the end to leave out.
        uncond: asked if none: how many at the end to run without guidance. None = none.
        pn: pixel budget that it was fitted at, None if not known.
        model: fingerprint of the weights that it was fitted to, None if not known.
        target_ssim: likeness to the dense picture that it was fitted for.
        provenance: how it was made, and how well it does.
    """

    model_config = FROZEN

    skip: Regression
    uncond: Regression | None = None
    pn: str | None = None
    model: str | None = None
    target_ssim: float | None = Field(default=None, gt=0, le=1)
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.pn is not None and self.pn not in pixel_budgets():
            raise ValueError(f"unknown pixel budget {self.pn!r}; expected one of "
                             f"{', '.join(pixel_budgets())}")
        return self

    def decide(self, features: Sequence[float]) -> tuple[int, int]:
        """(scales to leave out, scales without guidance); never both."""
        skip = self.skip.decide(features)
        if skip or self.uncond is None:
            return skip, 0
        return 0, self.uncond.decide(features)

    @staticmethod
    def always(skip: int = 0, uncond: int = 0) -> DecisionModel:
        """The model that answers the same whatever it sees."""
        return DecisionModel(skip=constant(skip), uncond=constant(uncond))


def constant(label: int) -> Regression:
    """The regression that knows one class."""
    zero = (0.0,) * len(FEATURES)
    return Regression(classes=(label,), coef=(zero,), intercept=(0.0,), scaler_mean=zero,
                      scaler_scale=(1.0,) * len(FEATURES))


class DecisionModels(RootModel[dict[str, DecisionModel]]):
    """Decision models by name: one for each pixel budget, or for each target."""

    def pick(self, schedule: ScaleSchedule, name: str | None = None
             ) -> tuple[DecisionModel, tuple[str, ...]]:
        """The one for a schedule, and notes on the fit.

        Args:
            name: the one to take; None = the only one, or the one fitted at the schedule's pixel
                budget, or nearest to it by number of scales.
        """
        models = self.root
        if name is not None:
            if name not in models:
                raise ValueError(f"there is no decision model {name!r}; expected one of "
                                 f"{', '.join(models)}")
            found = models[name]
        elif len(models) == 1:
            found = next(iter(models.values()))
        else:
            known = [m for m in models.values() if m.pn is not None]
            if len({m.pn for m in known}) < len(models):
                raise ValueError("several decision models fit: name one of "
                                 f"{', '.join(models)}")
            found = min(known, key=lambda m: abs(_scales(m.pn) - len(schedule)))
        if found.pn is not None and found.pn != schedule.pn:
            return found, (f"SkipVAR's decision model was fitted at {found.pn}, used at "
                           f"{schedule.pn}",)
        return found, ()

    def save(self, path: str | Path) -> None:
        replace_file(path, (self.model_dump_json(indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: str | Path) -> DecisionModels:
        """Read a file of one model (its name is then the file's) or of several."""
        with reading(path, "decision model", "make one with 'toprovar fit-skipvar'"):
            values = read_json(path, MOST_BYTES)
            if isinstance(values, dict) and "skip" in values:
                values = {Path(path).stem: values}
            found = cls.model_validate_json(json.dumps(values))
            if not found.root:
                raise ValueError("there is no decision model in it")
        return found


def find_decisions(model: str, files: Iterable[str | Path] = ()) -> DecisionModels | None:
    """The decision models fitted to these weights, from ``files`` or from those in the box; None
    if there are none. A damaged file in the box is named in a warning and passed over.

    Args:
        model: fingerprint.
    """
    known = [DecisionModels.load(path) for path in files]
    for path in sorted((DATA / "skipvar").glob("*.json")):
        try:
            if (fault := damage(path)) is not None:
                raise ValueError(fault)
            known.append(DecisionModels.load(path))
        except ValueError as error:
            logger.warning("a decision model is passed over: %s", error)
    for found in known:
        if all(m.model == model for m in found.root.values()):
            return found
    return None


def _scales(pn: str | None) -> int:
    return len(get_schedule("1.0", pn or "1M"))
