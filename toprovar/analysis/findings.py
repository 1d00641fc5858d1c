"""What calibration has measured so far, picture by picture, with a JSON form to go on from.

A calibration (``entropy.calibration``) is worked out of this; it holds means, which is what plans
need. Lists of values go by picture, from the first job on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ..entropy.kinds import LayerClass
from ..entropy.schedule_entry import ScaleStatistics
from ..files import replace_file
from ..reading import read_json, reading
from ..schedules import ScaleSchedule
from ..sparsity.plan import Way
from .choices import State
from .drawing import Alike, Job

VERSION = 1
MOST_BYTES = 64 << 20
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

StateKey = tuple[int, tuple[int, ...], tuple[tuple[int, int], ...]]


class Tried(BaseModel):
    """Pictures of one choice: fields as of ``schedule_entry.Choice``, [n] likeness and SSIM."""

    model_config = STRICT

    guided: int
    skipped: tuple[int, ...] = ()
    shortcuts: tuple[tuple[int, int], ...] = ()
    likeness: list[float] = Field(default_factory=list)
    ssim: list[float] = Field(default_factory=list)
    time: float | None = None


class Layers(BaseModel):
    """Fields of ``summary.LayerFit`` and ``ScheduleEntry`` that come out of entropy maps."""

    model_config = STRICT

    fit: dict[str, object]
    classes: tuple[LayerClass, ...]
    representative_scale: int
    order_stability: float | None = None
    rho_informative: bool = False
    rho_reason: str = ""


class ScheduleFindings(BaseModel):
    """One schedule's measurements.

    Attributes:
        scales, layers: out of the entropy maps of the first ``looked_at`` pictures.
        rho: [n][scale]; exit_ssim: [n][scale] when this scale and all later ones are not run; None
            where there is none.
        ways: SSIM [n] for each way to drop half the tokens of the last scale.
        unguided: [n][k] SSIM when the last 1, 2 ... scales have no guidance.
        pruned: by scale, SSIM [n] when pruning starts there.
        tried: choices; complete: pictures on which a whole round of them was measured; raced: the
            same of rounds with the shortcuts that there are; settled: more would change nothing.
        rules: likeness [n] of a plan that spares a part of the last scale's tokens, by rule.
        spared: the choice, the cheaper one, and the share that is worked on there.
    """

    model_config = STRICT

    pn: str
    template: str
    scales: tuple[ScaleStatistics, ...] = ()
    layers: Layers | None = None
    looked_at: int = 0
    rho: list[list[float | None]] = Field(default_factory=list)
    exit_ssim: list[list[float | None]] = Field(default_factory=list)
    ways: dict[Way, list[float]] = Field(default_factory=dict)
    unguided: list[list[float]] = Field(default_factory=list)
    pruned: dict[int, list[float]] = Field(default_factory=dict)
    tried: list[Tried] = Field(default_factory=list)
    complete: int = 0
    raced: int = 0
    settled: bool = False
    rules: dict[str, list[float]] = Field(default_factory=dict)
    spared: tuple[StateKey, StateKey, float] | None = None


class Findings(BaseModel):
    """All that one calibration has measured.

    Attributes:
        model: fingerprint of the transformer; jobs: SHA-256 of prompts, seeds, guidance and
            temperature, by which the values are known to be of the same pictures.
        shortcuts: identity of the maps that choices use; None = there are none yet.
        seconds: that were spent; pictures: that were drawn.
    """

    model_config = STRICT

    version: int = Field(default=VERSION, ge=VERSION, le=VERSION)
    model: str
    jobs: str
    schedules: dict[str, ScheduleFindings]
    shortcuts: str | None = None
    seconds: float = 0.0
    pictures: int = 0

    @staticmethod
    def begin(model: str, jobs: str, schedules: Sequence[ScaleSchedule]) -> Findings:
        """Of a calibration that has measured nothing."""
        return Findings(model=model, jobs=jobs, schedules={
            s.pn: ScheduleFindings(pn=s.pn, template=s.template) for s in schedules})

    def fits(self, other: Findings) -> bool:
        """Whether measurements can be carried on: the same model, pictures and sizes."""
        return (self.model, self.jobs) == (other.model, other.jobs) and {
            pn: s.template for pn, s in self.schedules.items()} == {
            pn: s.template for pn, s in other.schedules.items()}

    def save(self, path: str | Path) -> None:
        """Write a JSON file; it is whole or absent."""
        replace_file(path, self.model_dump_json().encode())

    @classmethod
    def load(cls, path: str | Path) -> Findings:
        """Read a file; a ValueError names what is wrong with it."""
        with reading(path, "file of a calibration's measurements", "delete it: the next "
                     "calibration begins anew"):
            return cls.model_validate_json(json.dumps(read_json(path, MOST_BYTES)))


def jobs_hash(jobs: Sequence[Job], cfg: object, tau: object) -> str:
    """What tells one set of pictures from another."""
    text = json.dumps([list(jobs), cfg, tau], default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def state_of(key: StateKey) -> State:
    """As the race knows it."""
    return State(*key)


def key_of(state: State) -> StateKey:
    """As it is written."""
    return state.guided, state.skipped, state.shortcuts


def alike(tried: Tried) -> list[Alike]:
    """(likeness, SSIM) of every picture."""
    return list(zip(tried.likeness, tried.ssim, strict=True))
