"""What a sampling run is asked to do, as validated values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ..arguments import guidance, number, share, single, temperature, whole
from ..ops import attention as attention_ops
from ..schedules import ScaleSchedule

Mode = Literal["sample", "greedy"]


@dataclass(frozen=True)
class SamplingParams:
    """Parameters that decide the picture.

    Attributes:
        schedule: the scales to run.
        cfg: guidance strength per scale; one number stands for all. 1 = none at that scale.
        tau: temperature per scale; one number stands for all.
        cfg_insertion_layer: where guidance is applied: 0 = on the logits; -k = after layer
            depth - k, at which both halves become the mixture. Several may be given.
        top_k: 0 = off; with two classes a bit, only 1 has an effect.
        top_p: 0 = off.
        mode: "sample" or "greedy".
        away: how far guidance leads away from a second description, where a run is given one: its
            difference from the prompt is added to the logits so many times.
    """

    schedule: ScaleSchedule
    cfg: tuple[float, ...] | float = 3.0
    tau: tuple[float, ...] | float = 0.5
    cfg_insertion_layer: tuple[int, ...] = (0,)
    top_k: int = 900
    top_p: float = 0.97
    mode: Mode = "sample"
    away: float = 0.0

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        scales = len(self.schedule)
        set_(self, "cfg", per_scale("cfg", guidance("cfg", self.cfg), scales))
        set_(self, "tau", per_scale("tau", temperature("tau", self.tau), scales))
        layers: Any = self.cfg_insertion_layer
        layers = [layers] if single(layers) else layers
        layers = tuple(whole("cfg_insertion_layer", n, -(1 << 31)) for n in layers)
        if not layers or max(layers) > 0:
            raise ValueError("cfg_insertion_layer must hold 0 (logits) or negative layers counted "
                             f"from the end, got {layers}")
        set_(self, "cfg_insertion_layer", layers)
        set_(self, "top_k", whole("top_k", self.top_k, 0))
        set_(self, "top_p", share("top_p", self.top_p))
        set_(self, "away", number("away", self.away))
        if self.mode not in ("sample", "greedy"):
            raise ValueError(f"mode must be 'sample' or 'greedy', got {self.mode!r}")

    @property
    def cfg_list(self) -> tuple[float, ...]:
        """Guidance of each scale."""
        return per_scale("cfg", self.cfg, len(self.schedule))

    @property
    def tau_list(self) -> tuple[float, ...]:
        """Temperature of each scale."""
        return per_scale("tau", self.tau, len(self.schedule))

    @property
    def guided(self) -> bool:
        """Whether any scale needs the unconditional half."""
        return any(c != 1 for c in self.cfg_list)

    def mixing_layers(self, depth: int) -> frozenset[int]:
        """Layers after which the halves are mixed. Layer 0 cannot be chosen (official rule)."""
        layers = [depth + item for item in self.cfg_insertion_layer if item < 0]
        for layer in layers:
            if layer <= 0:
                raise ValueError(
                    f"cfg_insertion_layer {layer - depth} is out of reach: the model has {depth} "
                    f"layers, use {1 - depth} to -1, or 0 for the logits"
                )
        return frozenset(layers)

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        values["schedule"] = self.schedule.to_json()
        if not self.away:  # of edits alone
            del values["away"]
        return values


@dataclass(frozen=True)
class EngineOptions:
    """How a run computes; none of it is meant to change the picture.

    Attributes:
        cache_dtype: dtype of the KV cache and of attention; None = that of the blocks.
            ``torch.float8_e4m3fn`` keeps keys and values in 8 bits and widens each layer's part
            for its attention.
        residual_dtype: dtype of the residual stream. float32 is the exact choice. The blocks'
            half-precision dtype saves memory traffic on large GPUs.
        attention_backend: see :mod:`toprovar.ops.attention`.
        piece_tokens: most tokens a matrix product works on at once on a CPU, so that intermediates
            stay in its cache; None = chosen here.
        hosted_layers: layers whose keys and values wait in host memory between their turns, spread
            over the depth (``HostedCache``); a plan that bounds the caches of layers has no need
            of it. 0 = all on the device.
        graphs: record each scale once and replay it for every later picture of the same size and
            plan; None = where that is possible. The KV cache stays on the device then. False also
            keeps a pipeline from recording its text encoder and its VAE.
        fused: blocks in few passes (see ``FusedRunner``); None = on CUDA devices.
    """

    cache_dtype: torch.dtype | None = None
    residual_dtype: torch.dtype = torch.float32
    attention_backend: str = "auto"
    piece_tokens: int | None = None
    hosted_layers: int = 0
    graphs: bool | None = None
    fused: bool | None = None

    def __post_init__(self) -> None:
        if self.attention_backend not in attention_ops.BACKENDS:
            raise ValueError(
                f"unknown attention backend {self.attention_backend!r}; expected one of "
                f"{', '.join(attention_ops.BACKENDS)}"
            )
        if self.piece_tokens is not None and self.piece_tokens < 1:
            raise ValueError(f"piece_tokens must be positive, got {self.piece_tokens}")
        if self.hosted_layers < 0:
            raise ValueError(f"hosted_layers must be 0 or more, got {self.hosted_layers}")

    def piece_for(self, device: torch.device) -> int:
        if self.piece_tokens is not None:
            return self.piece_tokens
        return 1024 if device.type == "cpu" else 1 << 30


def per_scale(name: str, value: Sequence[float] | float, scales: int) -> tuple[float, ...]:
    """One number for every scale, or one each."""
    if isinstance(value, (int, float)):
        return (float(value),) * scales
    if len(value) != scales:
        raise ValueError(
            f"{name} has {len(value)} entries, but the schedule has {scales} scales: give one "
            "number, or one per scale"
        )
    return tuple(value)
