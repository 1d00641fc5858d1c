"""What a run did and what it cost, as a value with a JSON form."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass
from typing import Any

import torch

from .. import __version__
from ..sparsity.plan import SparsityPlan

SOURCE = -1
"""Stands for the scale while a source picture's tokens pass the blocks."""


@dataclass(frozen=True)
class ScaleReport:
    """One scale: its grid, its tokens, how many of them each layer processed, and the time.

    Attributes:
        rows: batch rows run, 0 where the scale was not run.
        seconds: from the scale's start to its bits; on a GPU by the device's clock, and 0 until the
            run's own report, as the device is not waited for before.
    """

    index: int
    grid: tuple[int, int]
    tokens: int
    kept: tuple[int, ...]
    cfg: float
    tau: float
    seconds: float
    rows: int

    @property
    def run(self) -> bool:
        return self.rows > 0


@dataclass(frozen=True)
class SourceReport:
    """The pass of a source picture's tokens through the blocks, before the first scale.

    Attributes:
        layers: that it passed; rows: batch rows.
        cached: bytes of its keys and values in the KV cache, over all layers.
        seconds: see ``ScaleReport``.
    """

    grid: tuple[int, int]
    tokens: int
    layers: int
    rows: int
    cached: int
    seconds: float

    @property
    def token_layers(self) -> int:
        return self.rows * self.tokens * self.layers


@dataclass(frozen=True)
class RunReport:
    """A finished run.

    Attributes:
        plan: name of the strategy; used_plan: the plan as it was at the end of the run.
        token_layers: rows x tokens x layers processed, those of a source picture among them, and
            dense_token_layers those of a dense run: their quotient is the work saved, before any
            measurement.
        kv_bytes: size of the KV cache.
        replayed_scales: scales that were recorded in an earlier run and replayed in this one.
        recorded_scales: scales that this run recorded for later ones.
        dense_seconds: of a dense run's scale loop, to compare ``seconds["scales"]`` with; None
            where it is not known. ``dense_measured``: whether it is from dense runs on this device,
            or foreseen from this run's full scales.
        memory: what was planned of the device's memory, in one line; empty where nobody planned.
        source: what a source picture took; None = there was none. ``seconds["scales"]`` has its
            time, too.
        notes: why something was done other than asked, in words.
    """

    plan: str
    params: dict[str, Any]
    scales: tuple[ScaleReport, ...]
    images: int
    rows: int
    device: str
    dtype: str
    cache_dtype: str
    attention_backend: str
    kv_bytes: int
    seed: int | list[int] | None = None
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    used_plan: SparsityPlan | None = None
    replayed_scales: int = 0
    recorded_scales: int = 0
    dense_seconds: float | None = None
    dense_measured: bool = False
    memory: str = ""
    source: SourceReport | None = None

    @property
    def token_layers(self) -> int:
        return sum(s.rows * sum(s.kept) for s in self.scales) + self._of_source

    @property
    def dense_token_layers(self) -> int:
        scales = sum(self.rows * s.tokens * len(s.kept) for s in self.scales)
        return scales + self._of_source

    @property
    def _of_source(self) -> int:
        return 0 if self.source is None else self.source.token_layers

    def to_json(self) -> dict[str, Any]:
        values = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "used_plan"
        }
        values["scales"] = [dataclasses.asdict(s) for s in self.scales]
        if self.source is None:
            del values["source"]
        else:
            values["source"] = dataclasses.asdict(self.source)
        if self.used_plan is not None:
            plan = self.used_plan.model_dump(mode="json")
            values["plan_parameters"] = plan["parameters"]
            values["predicted"] = plan["predicted"]
        values["token_layers"] = self.token_layers
        values["dense_token_layers"] = self.dense_token_layers
        values["versions"] = {
            "toprovar": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        return values


def recording_notes(recorded: int) -> tuple[str, ...]:
    """What is worth knowing of a run that recorded this many scales."""
    if not recorded:
        return ()
    return (f"{recorded} scales were recorded for later pictures of this size and plan, "
            "which take less time than this one",)
