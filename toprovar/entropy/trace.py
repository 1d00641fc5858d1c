"""The entropies of a run, collected by the sampler; ``trace_value`` has what comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..schedules import ScaleSchedule
from .trace_value import EntropyTrace, Place, TraceInfo, versions

__all__ = ["EntropyTrace", "Place", "TraceInfo", "TraceRecorder", "versions"]


class TraceRecorder:
    """Records the attention entropies of a run. Give it as ``watch`` to a call or a
    ``SamplingRun``, then take the result with :meth:`trace`. Use a new recorder for every run.

    Args:
        scales, layers: numbers of the scales and layers to measure, from 0. None = all.
        heads: True = keep the entropy of every attention head. False = take the mean over heads.
    """

    def __init__(self, scales: Iterable[int] | None = None, layers: Iterable[int] | None = None,
                 heads: bool = False) -> None:
        self.scales = None if scales is None else frozenset(scales)
        self.layers = None if layers is None else frozenset(layers)
        self.heads = heads
        self.maps: dict[Place, Tensor] = {}

    def wants(self, scale: int, layer: int) -> bool:
        """Whether the entropy of a scale and layer is measured."""
        return ((self.scales is None or scale in self.scales)
                and (self.layers is None or layer in self.layers))

    def record(self, scale: int, layer: int, grid: tuple[int, int], entropy: Tensor) -> None:
        """Take one map. It is copied, and stays on its device until :meth:`trace`. The run calls
        this.

        Args:
            scale, layer: the place of the map.
            grid: (h, w), the rows and columns of tokens of the scale; N = h w.
            entropy: [B, N] of the conditional rows, in nats, the mean over heads; [B, H, N] with
                ``heads``, H being the number of heads.

        Raises:
            ValueError: the tensor has another shape, or this place has been recorded before.
        """
        dims = 3 if self.heads else 2
        if entropy.ndim != dims or entropy.shape[-1] != grid[0] * grid[1]:
            raise ValueError(
                f"scale {scale}, layer {layer}: entropy must be [B, {'H, ' if self.heads else ''}"
                f"{grid[0] * grid[1]}], got {tuple(entropy.shape)}"
            )
        if (scale, layer) in self.maps:
            raise ValueError(f"scale {scale}, layer {layer} is recorded already: use a new "
                             "recorder for every run")
        self.maps[scale, layer] = entropy.detach().float().clone().unflatten(-1, grid)

    def trace(
        self,
        schedule: ScaleSchedule,
        depth: int,
        *,
        kept: Sequence[Sequence[int]] | None = None,
        prompts: Sequence[str] = (),
        seeds: Sequence[int] = (),
        model: str = "",
        params: Mapping[str, Any] | None = None,
        edits: bool = False,
    ) -> EntropyTrace:
        """The recorded entropies on the CPU, with a description of the run.

        Args:
            schedule: the scales of the run.
            depth: the number of layers of the model.
            kept: how many tokens were worked on, [scale][layer], from which the number of keys of a
                query follows. None = all tokens.
            prompts, seeds: one for each image, where they are known.
            model: the fingerprint of the model.
            params: the sampling parameters.
            edits: True = the model edits pictures, so queries also see the keys of the source
                picture.

        Raises:
            ValueError: nothing was recorded.
        """
        if not self.maps:
            raise ValueError("nothing was recorded: the run measured none of the scales and "
                             "layers asked for")
        counts = kept or [[n] * depth for n in schedule.tokens]
        tokens = schedule.tokens
        keys = {
            (scale, layer): sum(counts[s][layer] for s in range(scale + 1))
            + (tokens[-1 if layer else scale] if edits else 0)
            for scale, layer in self.maps
        }
        about = TraceInfo(
            depth=depth, schedule=schedule.to_json(), grids=schedule.grids, heads=self.heads,
            prompts=tuple(prompts), seeds=tuple(seeds), model=model,
            # As JSON gives it back: no tuples.
            params=json.loads(json.dumps(dict(params or {}))),
            versions=versions(),
        )
        return EntropyTrace({p: m.cpu() for p, m in self.maps.items()}, keys, about)
