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
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator
from typing_extensions import Self

from ..box import damage
from ..checksums import file_sha256, sealed, unsealed
from ..files import calibration_folders, replace_file
from ..reading import read_json, reading
from ..schedules import ScaleSchedule
from .kinds import Crossing, LayerClass, RatioScale
from .schedule_entry import FROZEN, ScheduleEntry, Spread

logger = logging.getLogger(__name__)

VERSION = 1
MOST_BYTES = 16 << 20
REMEDY = "make one with 'toprovar calibrate'"
SHORTCUTS_SHA256 = "shortcuts_sha256"
"""The entry of a file that is the SHA-256 of the file of shortcuts beside it."""


class Calibration(BaseModel):
    """What was measured of one model, for all its later plans: which layers keep detail, from which
    scale on tokens may be dropped, and what savings do to its pictures.

    It is made by :func:`toprovar.calibrate`, and found again by the fingerprint of the model's
    weights. The properties ``beta``, ``ratio_scale``, ``ratio_reference``, ``principal_ratios``,
    ``layer_scores`` and ``layer_classes`` are those of the entry with the most scales.

    Attributes:
        version: the version of the file format.
        model: the fingerprint of the transformer's weights.
        name: the name of the model, for the reader.
        depth: the number of layers of the transformer.
        entries: the measurements at each pixel budget, by its name.
        tau: the threshold of rho for the start scale; rho is the share of tokens whose entropy is
            below the mean of their map.
        crossing: "rising" = pruning starts at the first scale whose rho is ``tau`` or more.
            "falling" = at the first scale whose rho is ``tau`` or less.
        rho_informative: False = rho does not tell the scales of this model apart. Plans then start
            at each entry's ``start_scale``.
        rho_reason: why that is so, in words.
        rho_accuracy: the balanced accuracy with which the rule by rho told scales that may be
            pruned from others; 0.5 is chance. None = not measured.
        scale_accuracy: the balanced accuracy of one fixed start scale for all prompts. None = not
            measured.
        target_ssim: from this SSIM to the dense picture on a picture counts as unharmed.
        shortcuts: the identity of the linear maps in the file of shortcuts beside this one. None =
            there are none.
        dropped: what dropped tokens of this model should get, as in a plan.
        alpha_min: the default of the smallest share of tokens that is dropped from a layer.
        alpha_max: the default of the largest share.
        prompts: how many prompts were measured.
        seeds: how many seeds each prompt was drawn with.
        provenance: how the file was made: command, versions, date, parameters.
    """

    model_config = FROZEN

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
    def unfinished(self) -> bool:
        """Whether the time was over before any combination of savings was measured. The prior for
        the family then knows more about what plans may leave out."""
        return self.dropped == "exit" and not any(e.choices for e in self.entries.values())

    def cut_short(self, pn: str) -> bool:
        """Whether the time was over before any combination of savings was measured at a pixel
        budget, though some were at another one. The prior for the family then knows more."""
        found = self.entries.get(pn)
        return found is not None and not found.choices and self.dropped == "exit" \
            and any(e.choices for e in self.entries.values())

    @property
    def beta(self) -> float:
        """The strength of the layer score."""
        return self.main.beta

    @property
    def ratio_scale(self) -> RatioScale:
        """Whether layer scores are made from ratios or from their logarithms."""
        return self.main.ratio_scale

    @property
    def ratio_reference(self) -> float:
        """The ratio of a pure Detail layer."""
        return self.main.ratio_reference

    @property
    def principal_ratios(self) -> tuple[Spread, ...]:
        """The ratio of the two largest singular values of each layer's map."""
        return self.main.principal_ratios

    @property
    def layer_scores(self) -> tuple[float, ...]:
        """The score of each layer, from 0 (Global) to 1 (Detail)."""
        return self.main.layer_scores

    @property
    def layer_classes(self) -> tuple[LayerClass, ...]:
        """The class of each layer: "global", "detail" or "ambiguous"."""
        return self.main.layer_classes

    @property
    def start_scale(self) -> dict[str, int | None]:
        """The first scale that is pruned by default, by pixel budget."""
        return {pn: e.start_scale for pn, e in self.entries.items()}

    @property
    def representative_scale(self) -> dict[str, int]:
        """The scale whose maps say which layers are Global, by pixel budget."""
        return {pn: e.representative_scale for pn, e in self.entries.items()}

    def entry(self, schedule: ScaleSchedule) -> tuple[ScheduleEntry, tuple[str, ...]]:
        """The entry for a schedule, with notes on what was adapted to it.

        All aspects of a pixel budget share an entry, since scale s of every aspect has about as
        many tokens. A pixel budget that was not measured takes the entry with the nearest number of
        scales. Its start scale then counts from the end, because it depends on how many scales
        still follow, and it has no measured combinations of savings.

        Args:
            schedule: the scales of the run that is planned.

        Returns:
            The entry, and the notes for the report; none where nothing was adapted.
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
            "start_scale": start, "choices": (), "selection": None,
            "representative_scale": min(found.representative_scale, last),
        })
        return entry, (f"not calibrated for {schedule.pn}: taken from {found.pn}",)

    def to_json(self) -> dict[str, Any]:
        """The calibration as values that ``json`` can write."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, values: Any, where: str = "calibration") -> Calibration:
        """Check values and build the calibration.

        Args:
            values: what ``json.load`` returns. Values with an entry ``sha256`` must be those that
                were saved with it.
            where: a name of the source for the message.

        Raises:
            ValueError: the values are no calibration; the message names the first fault.
        """
        with reading(where, "calibration", REMEDY):
            values = unsealed(values)
            if isinstance(values, dict):
                values = {k: v for k, v in values.items() if k != SHORTCUTS_SHA256}
            return cls.model_validate_json(json.dumps(values, allow_nan=False))

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read a file that :meth:`save` wrote.

        Files from before checksums were introduced are read too.

        Args:
            path: the JSON file. Its shortcuts lie beside it, with the ending ``.safetensors``.

        Raises:
            ValueError: the file is missing or damaged, or the file of shortcuts beside it is not
                the one that it was saved with. The message names the file.
        """
        with reading(path, "calibration", REMEDY):
            values = read_json(path, MOST_BYTES)
        found = cls.from_json(values, str(path))
        beside = shortcuts_beside(path)
        with reading(beside, "file of shortcuts", REMEDY):
            if SHORTCUTS_SHA256 in values and beside.is_file() \
                    and file_sha256(beside) != values[SHORTCUTS_SHA256]:
                raise ValueError(f"it is not the one that {Path(path).name} was saved with "
                                 f"({SHORTCUTS_SHA256!r} there)")
        return found

    def save(self, path: str | Path) -> None:
        """Write the calibration as a JSON file with the SHA-256 of its contents. The file is
        complete or absent.

        Args:
            path: where to write. Where the calibration has shortcuts, save their file first, to the
                same place with the ending ``.safetensors``: its SHA-256 is written down, too.
        """
        values, beside = self.to_json(), shortcuts_beside(path)
        if self.shortcuts and beside.is_file():
            values[SHORTCUTS_SHA256] = file_sha256(beside)
        replace_file(path, (json.dumps(sealed(values), indent=1) + "\n").encode())


def shortcuts_beside(path: str | Path) -> Path:
    """Where the shortcuts of a calibration in a file lie."""
    return Path(path).with_suffix(".safetensors")


def find_calibration(model: str, files: Iterable[str | Path] = (), pn: str | None = None
                     ) -> Calibration | None:
    """The calibration of these weights: from ``files``, folders that were added, the user's
    folder, or the box; None if there is none. A damaged file in a folder is named in a warning
    and passed over.

    Args:
        model: fingerprint.
        pn: the pixel budget that it is wanted for: of several, one that was measured there goes
            first. One whose time was over before it had measured a choice goes behind those that
            have, such as the one in the box.
    """
    box, own, *added = calibration_folders()
    for path in files:
        if (found := Calibration.load(path)).model == model:
            return found
    others: list[Calibration] = []
    for path in (p for folder in (*added, own, box) for p in sorted(folder.glob("*.json"))):
        found = _read(path, _changed(path), _changed(shortcuts_beside(path)))
        if found is not None and found.model == model:
            if not found.unfinished and (pn is None or pn in found.entries):
                return found
            others.append(found)
    return min(others, key=lambda one: (one.unfinished, pn not in one.entries), default=None)


def _changed(path: Path) -> int:
    """When a file was changed, 0 if it is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=32)
def _read(path: Path, changed: int, shortcuts_changed: int) -> Calibration | None:
    """A file, None if it or its shortcuts are damaged; read again only when they have changed:
    samplers ask for every picture."""
    try:
        if (fault := damage(path)) is not None:
            raise ValueError(fault)
        return Calibration.load(path)
    except ValueError as error:
        logger.warning("a calibration is passed over: %s", error)
        return None
