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
    """What a run did and what it cost.

    Attributes:
        plan: the name of the strategy.
        params: the sampling parameters as JSON values.
        scales: a report of each scale.
        images: how many images were drawn together.
        rows: how many rows were run; with guidance, two for each image.
        device: the device.
        dtype: the dtype of the blocks.
        cache_dtype: the dtype of the KV cache.
        attention_backend: the kernel of the attention.
        kv_bytes: the size of the KV cache in bytes.
        seed: the seed or seeds that the call was given. None = it was given generators.
        seconds: times in seconds by the name of the part, such as "text", "scales" and "decode".
        notes: remarks, such as why something was done otherwise than the caller wanted.
        used_plan: the plan as it was at the end of the run.
        replayed_scales: how many scales were replayed from the recordings of an earlier run.
        recorded_scales: how many scales this run recorded for later runs.
        dense_seconds: the time of a dense run's scale loop, to compare ``seconds["scales"]`` with.
            None = not known.
        dense_measured: True = that time was measured on this device. False = it was estimated from
            the scales that this run ran in full.
        memory: how the device's memory was planned, in one line. Empty = it was not planned.
        source: what the source picture of an edit took; ``seconds["scales"]`` includes its time.
            None = there was none.
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
        """The number of (row, token, layer) triples that were processed, those of a source picture
        included. Divided by ``dense_token_layers`` it is the share of the work that was done."""
        return sum(s.rows * sum(s.kept) for s in self.scales) + self._of_source

    @property
    def dense_token_layers(self) -> int:
        """The same for a run that leaves nothing out."""
        scales = sum(self.rows * s.tokens * len(s.kept) for s in self.scales)
        return scales + self._of_source

    @property
    def _of_source(self) -> int:
        return 0 if self.source is None else self.source.token_layers

    def to_json(self) -> dict[str, Any]:
        """The report as values that ``json`` can write, without the plan's scales."""
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
