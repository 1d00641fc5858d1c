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
    """The parameters that decide which picture is drawn.

    Attributes:
        schedule: the scales to run.
        cfg: the strength of guidance, 0 or more, one number or one for each scale. 1 = no guidance
            at that scale.
        tau: the temperature, above 0, one number or one for each scale.
        cfg_insertion_layer: where guidance is applied; several places may be given. 0 = on the
            logits. -k = after layer depth - k, where the conditional and the unconditional row are
            both replaced by their mixture.
        top_k: how many of the likeliest values are drawn from; 0 = all. A bit has two values, so
            only 1 has an effect.
        top_p: draw from the likeliest values that have this share of the probability; 0 = all.
        mode: "sample" = draw bits at random. "greedy" = take the likelier value of every bit.
        away: how strongly guidance leads away from a second description, where the run has one: its
            difference from the prompt is added to the logits this many times.

    Raises:
        ValueError: a value is out of range; the message names it.
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
        """The guidance of each scale."""
        return per_scale("cfg", self.cfg, len(self.schedule))

    @property
    def tau_list(self) -> tuple[float, ...]:
        """The temperature of each scale."""
        return per_scale("tau", self.tau, len(self.schedule))

    @property
    def guided(self) -> bool:
        """Whether any scale has guidance, so that unconditional rows are run."""
        return any(c != 1 for c in self.cfg_list)

    def mixing_layers(self, depth: int) -> frozenset[int]:
        """The layers after which guidance mixes the rows, for a model of this depth.

        Args:
            depth: the number of layers of the model.

        Raises:
            ValueError: ``cfg_insertion_layer`` names a layer that the model does not have, or layer
                0, which the official code excludes.
        """
        layers = [depth + item for item in self.cfg_insertion_layer if item < 0]
        for layer in layers:
            if layer <= 0:
                raise ValueError(
                    f"cfg_insertion_layer {layer - depth} is out of reach: the model has {depth} "
                    f"layers, use {1 - depth} to -1, or 0 for the logits"
                )
        return frozenset(layers)

    def to_json(self) -> dict[str, Any]:
        """The parameters as values that ``json`` can write."""
        values = dataclasses.asdict(self)
        values["schedule"] = self.schedule.to_json()
        if not self.away:  # of edits alone
            del values["away"]
        return values


@dataclass(frozen=True)
class EngineOptions:
    """How a run computes. None of these options is meant to change what a picture shows; number
    formats other than the default change pixels a little.

    Attributes:
        cache_dtype: the dtype of the KV cache and of the attention. None = the dtype of the blocks.
            ``torch.float8_e4m3fn`` keeps keys and values in 8 bits and widens the part of each
            layer for its attention.
        residual_dtype: the dtype of the residual stream. float32 is exact. The half-precision dtype
            of the blocks saves memory traffic on large GPUs.
        attention_backend: the kernel of the attention: "auto", "flash", "efficient", "cudnn" or
            "math". "auto" lets torch choose.
        piece_tokens: on a CPU, the most tokens that a matrix product works on at once, so that
            intermediate values stay in its cache. None = chosen here.
        hosted_layers: how many layers, spread over the depth, keep their keys and values in host
            memory between their turns. 0 = all keys stay on the device. A plan that bounds the
            caches of layers does not need it.
        graphs: None = record each scale once as a CUDA graph, where that is possible, and replay it
            for later pictures of the same size and plan. True = the same, and an error where it is
            not possible. False = never; the pipeline then does not record its text encoder and its
            autoencoder either.
        fused: True = compute the blocks in few passes with the fused kernels. None = on CUDA
            devices.
        prefetch_weights: True = ask for the weights of the next matrix product while small kernels
            run, in recorded scales of few tokens. Pictures keep their bits.

    Raises:
        ValueError: a value is out of range.
    """

    cache_dtype: torch.dtype | None = None
    residual_dtype: torch.dtype = torch.float32
    attention_backend: str = "auto"
    piece_tokens: int | None = None
    hosted_layers: int = 0
    graphs: bool | None = None
    fused: bool | None = None
    prefetch_weights: bool = False

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
        """The most tokens that a matrix product works on at once on a device."""
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
