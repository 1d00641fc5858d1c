"""What was learned about a model once, for all its later plans: a value with a JSON form.

Made by :func:`toprovar.analysis.calibrate`. Thresholds do not carry over from model to model, so
a planner asks for the calibration of the very weights at hand, by their fingerprint.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from ..box import damage
from ..files import calibration_folders, replace_file
from ..reading import read_json, reading
from ..schedules import ScaleSchedule
from .kinds import Crossing, LayerClass, RatioScale

logger = logging.getLogger(__name__)

VERSION = 1
MOST_BYTES = 16 << 20
REMEDY = "make one with 'toprovar analyze --calibrate FILE'"
Side = Annotated[int, Field(ge=1, le=4096)]
_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Spread(BaseModel):
    """A mean and the standard deviation over prompts."""

    model_config = _FROZEN

    mean: float
    sd: float = Field(ge=0)


class ScaleStatistics(BaseModel):
    """One scale, over layers and prompts.

    Attributes:
        entropy: mean over tokens and layers, nats; relative: the same over log(keys).
        rho: share of tokens below their own map's mean, mean over layers; None for one token.
        spread: std(H) / mean(H) of a map; skew: see ``statistics.quantile_skew``.
        follows: correlation with the upsampled map of the scale before; None at the first scales.
        exit_ssim: SSIM to the dense picture when this scale and all later ones are not run.
        pruned_ssim: the same when this scale and all later ones run on a share of their tokens.
            None where it was not measured.
    """

    model_config = _FROZEN

    grid: tuple[Side, Side]
    entropy: Spread
    relative: Spread
    rho: Spread | None = None
    spread: Spread | None = None
    skew: Spread | None = None
    follows: Spread | None = None
    exit_ssim: Spread | None = None
    pruned_ssim: Spread | None = None


class Choice(BaseModel):
    """A way to do less that was tried.

    Attributes:
        guided: scales at the start that run with guidance.
        skipped: scales that are not run, ascending.
        shortcuts: (scale, layers that its shortcut leaves out), ascending.
        likeness: mean likeness to the dense pictures (``evaluation.metrics.likeness``); ssim: mean
            SSIM.
    """

    model_config = _FROZEN

    guided: int = Field(ge=1)
    skipped: tuple[int, ...] = ()
    shortcuts: tuple[tuple[int, int], ...] = ()
    likeness: float
    ssim: float


class ScheduleEntry(BaseModel):
    """A model on one schedule.

    Attributes:
        start_scale: the first scale to be pruned by default; None = prune nothing.
        start_reason: why this one, in words.
        unconditional_off: scales at the end whose guidance may be left out.
        choices: what was tried of running fewer scales, and fewer with guidance; a plan for a
            budget takes the best that it can pay.
        mixing_gain: of letting half the last scale's tokens, by entropy, take a longer shortcut,
            over half-way between the two choices: a share of what lies between them.
        representative_scale: the scale whose maps say which layers are Global.
        order_stability: mean Spearman correlation of the layers' order between prompts, there.
        beta, ratio_reference: of ``statistics.layer_score``.
        class_low, class_high: scores up to which a layer is Global, and from which it is Detail.
        principal_ratios: sigma_1 / sigma_2 of each layer: geometric mean over prompts, and the
            standard deviation of its natural logarithm.
        layer_scores: R of each layer, 1 = Detail.
        layer_classes: "ambiguous" where the score lies between, or prompts do not agree.
    """

    model_config = _FROZEN

    pn: str
    template: str
    scales: tuple[ScaleStatistics, ...] = Field(min_length=1, max_length=64)
    start_scale: int | None
    start_reason: str = ""
    unconditional_off: int = Field(default=0, ge=0)
    choices: tuple[Choice, ...] = ()
    mixing_gain: float = Field(default=0.0, ge=0, le=0.5)
    representative_scale: int
    order_stability: float | None = None
    beta: float = Field(ge=0)
    ratio_scale: RatioScale = "log"
    ratio_reference: float = Field(default=1.0, gt=0)
    class_low: float
    class_high: float
    principal_ratios: tuple[Spread, ...]
    layer_scores: tuple[float, ...]
    layer_classes: tuple[LayerClass, ...]

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        return tuple(s.grid for s in self.scales)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for name in ("start_scale", "representative_scale"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < len(self.scales):
                raise ValueError(f"{self.pn}: {name} {value} is not one of its "
                                 f"{len(self.scales)} scales")
        if not len(self.principal_ratios) == len(self.layer_scores) == len(self.layer_classes) > 0:
            raise ValueError(
                f"{self.pn}: {len(self.principal_ratios)} ratios, {len(self.layer_scores)} scores "
                f"and {len(self.layer_classes)} classes: expected one of each for every layer"
            )
        if not all(0 <= score <= 1 for score in self.layer_scores):
            raise ValueError(f"{self.pn}: layer scores must lie between 0 and 1, got "
                             f"{self.layer_scores}")
        if not self.class_low < self.class_high:
            raise ValueError(f"{self.pn}: class_low {self.class_low} must be below class_high "
                             f"{self.class_high}")
        for choice in self.choices:
            if choice.guided > len(self.scales) or not all(
                0 < s < len(self.scales)
                for s in (*choice.skipped, *(scale for scale, _ in choice.shortcuts))
            ) or not all(0 < n < len(self.layer_scores) for _, n in choice.shortcuts):
                raise ValueError(
                    f"{self.pn}: a choice of {choice.guided} guided scales without "
                    f"{list(choice.skipped)}, with shortcuts {list(choice.shortcuts)}, does not "
                    f"fit {len(self.scales)} scales of {len(self.layer_scores)} layers")
        return self


class Calibration(BaseModel):
    """A model's calibration.

    Attributes:
        model: fingerprint of the transformer; name: for the reader.
        entries: by pixel budget. Properties named like those of an entry are of the largest one.
        tau, crossing: of the start scale by rho (``statistics.start_scale``).
        rho_informative: False = rho does not tell scales apart in this model; a planner goes by
            each entry's ``start_scale`` instead. ``rho_reason`` says why.
        rho_accuracy: balanced accuracy with which the rule told prunable scales from others;
            0.5 = chance. ``scale_accuracy``: what one start scale for all prompts achieves.
        target_ssim: from which on a picture counts as unharmed.
        shortcuts: identity of the maps that choices with shortcuts use (``sparsity.shortcuts``),
            in the file beside this one; None = there are none.
        dropped: what dropped tokens of this model should get (``sparsity.plan.ScalePlan``).
        alpha_min, alpha_max: default bounds of the share dropped.
        prompts, seeds: how many were measured.
        provenance: how the file was made (command, versions, date, parameters).
    """

    model_config = _FROZEN

    version: Literal[1] = VERSION
    model: str = Field(min_length=1)
    name: str = ""
    depth: int = Field(ge=1, le=256)
    entries: dict[str, ScheduleEntry] = Field(min_length=1, max_length=64)
    tau: float = Field(ge=0, le=1)
    crossing: Crossing
    rho_informative: bool
    rho_reason: str = ""
    rho_accuracy: float | None = None
    scale_accuracy: float | None = None
    target_ssim: float = Field(default=0.8, gt=0, le=1)
    shortcuts: str | None = None
    dropped: Literal["identity", "cached", "exit"] = "identity"
    alpha_min: float = Field(default=0.0, ge=0, le=1)
    alpha_max: float = Field(default=0.9, ge=0, le=1)
    prompts: int = Field(ge=1)
    seeds: int = Field(default=1, ge=1)
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.alpha_min > self.alpha_max:
            raise ValueError(f"alpha_min {self.alpha_min} is above alpha_max {self.alpha_max}")
        for pn, entry in self.entries.items():
            if entry.pn != pn:
                raise ValueError(f"the entry for {pn} says it is for {entry.pn}")
            if len(entry.layer_scores) != self.depth:
                raise ValueError(f"{pn}: {len(entry.layer_scores)} layer scores for a model of "
                                 f"{self.depth} layers")
        return self

    @cached_property
    def main(self) -> ScheduleEntry:
        """The entry with the most scales."""
        return max(self.entries.values(), key=lambda e: len(e.scales))

    @property
    def beta(self) -> float:
        return self.main.beta

    @property
    def ratio_scale(self) -> RatioScale:
        return self.main.ratio_scale

    @property
    def ratio_reference(self) -> float:
        return self.main.ratio_reference

    @property
    def principal_ratios(self) -> tuple[Spread, ...]:
        return self.main.principal_ratios

    @property
    def layer_scores(self) -> tuple[float, ...]:
        return self.main.layer_scores

    @property
    def layer_classes(self) -> tuple[LayerClass, ...]:
        return self.main.layer_classes

    @property
    def start_scale(self) -> dict[str, int | None]:
        """By pixel budget."""
        return {pn: e.start_scale for pn, e in self.entries.items()}

    @property
    def representative_scale(self) -> dict[str, int]:
        """By pixel budget."""
        return {pn: e.representative_scale for pn, e in self.entries.items()}

    def entry(self, schedule: ScaleSchedule) -> tuple[ScheduleEntry, tuple[str, ...]]:
        """The entry for a schedule, and notes on what was stretched to fit.

        Aspect ratios share an entry: scale s of every template has about as many tokens. A budget
        that was not calibrated takes the nearest by number of scales; its start scale counts from
        the end then, because what may be pruned depends on how many scales still follow.
        """
        found = self.entries.get(schedule.pn)
        if found is not None:
            if found.template == schedule.template:
                return found, ()
            return found, (f"calibrated at aspect {found.template}, used at {schedule.template}",)
        count = len(schedule)
        found = min(self.entries.values(), key=lambda e: abs(len(e.scales) - count))
        start, last = found.start_scale, count - 1
        if start is not None:
            start = min(max(count - (len(found.scales) - start), 1), last)
        scales = (found.scales + found.scales[-1:] * count)[:count]
        scales = tuple(s.model_copy(update={"grid": g})
                       for s, g in zip(scales, schedule.grids, strict=True))
        entry = found.model_copy(update={
            "pn": schedule.pn, "template": schedule.template, "scales": scales,
            "start_scale": start, "choices": (),
            "representative_scale": min(found.representative_scale, last),
        })
        return entry, (f"not calibrated for {schedule.pn}: taken from {found.pn}",)

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, values: Any, where: str = "calibration") -> Calibration:
        """Check and build; a ValueError names the first fault."""
        with reading(where, "calibration", REMEDY):
            return cls.model_validate_json(json.dumps(values, allow_nan=False))

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a file; a ValueError as of :meth:`from_json`."""
        with reading(path, "calibration", REMEDY):
            values = read_json(path, MOST_BYTES)
        return cls.from_json(values, str(path))

    def save(self, path: str | Path) -> None:
        replace_file(path, (self.model_dump_json(indent=1) + "\n").encode())


def find_calibration(model: str, files: Iterable[str | Path] = ()) -> Calibration | None:
    """The calibration of these weights: from ``files``, the user's folder, or the box; None if
    there is none. A damaged file in a folder is named in a warning and passed over.

    Args:
        model: fingerprint.
    """
    box, own = calibration_folders()
    for path in files:
        if (found := Calibration.load(path)).model == model:
            return found
    for path in (*sorted(own.glob("*.json")), *sorted(box.glob("*.json"))):
        found = _read(path, _changed(path))
        if found is not None and found.model == model:
            return found
    return None


def _changed(path: Path) -> int:
    """When a file was changed, 0 if it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=32)
def _read(path: Path, changed: int) -> Calibration | None:
    """A file, None if it is damaged; read again only when it has ``changed``: samplers ask for
    every picture."""
    try:
        if (fault := damage(path)) is not None:
            raise ValueError(fault)
        return Calibration.load(path)
    except ValueError as error:
        logger.warning("a calibration is passed over: %s", error)
        return None
