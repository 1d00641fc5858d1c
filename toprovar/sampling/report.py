"""What a run did and what it cost, as a value with a JSON form."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass
from typing import Any

import torch

from .. import __version__


@dataclass(frozen=True)
class ScaleReport:
    """One scale: its grid, its tokens, how many of them each layer processed, and the time.

    Attributes:
        seconds: wall time from the scale's start to its bits. On a GPU the device is not waited
            for, so only the sum over scales is meaningful there.
    """

    index: int
    grid: tuple[int, int]
    tokens: int
    kept: tuple[int, ...]
    cfg: float
    tau: float
    seconds: float


@dataclass(frozen=True)
class RunReport:
    """A finished run.

    Attributes:
        token_layers: tokens x layers processed (of one row), and dense_token_layers those of a
            dense run: their quotient is the work saved, before any measurement.
        kv_bytes: size of the KV cache.
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

    @property
    def token_layers(self) -> int:
        return sum(sum(s.kept) for s in self.scales)

    @property
    def dense_token_layers(self) -> int:
        return sum(s.tokens * len(s.kept) for s in self.scales)

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        values["token_layers"] = self.token_layers
        values["dense_token_layers"] = self.dense_token_layers
        values["versions"] = {
            "toprovar": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        return values
